//! Clients that wait until their writes have reached replicas, or the disk.
//!
//! In: how far the append-only file has been synced, as an offset of the journal; each client's offset after its last
//! write. Out: an answer when enough is acknowledged or the time is over. There are no replicas yet, so their number is
//! always zero. Mirrors `processClientsWaitingReplicas` of Redis's replication.c.

use super::{CommandError, CommandId, State, blocking};
use crate::clients::{AckWait, Awaited, BlockedCommand, ClientKey};
use crate::persistence::aof::AofState;
use crate::resp::Reply;

/// Replicas that have acknowledged an offset: there are none.
pub(crate) const REPLICAS: i64 = 0;

pub(crate) const APPENDONLY_OFF: CommandError = CommandError::fixed(
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
);

/// Whether the effects up to an offset of the journal are on the disk.
pub(crate) fn is_synced(state: &mut State, offset: u64) -> bool {
    let aof = &mut state.persistence.aof;
    aof.state == AofState::On && aof.synced_offset() >= offset
}

pub(crate) fn write_reply(reply: &mut Reply, is_synced: bool) {
    reply.array(2);
    reply.integer(i64::from(is_synced));
    reply.integer(REPLICAS);
}

/// Has a client wait for acknowledgements; called once its handler has asked for it.
pub(crate) fn begin_wait(
    state: &mut State,
    key: ClientKey,
    command: CommandId,
    wait: Option<AckWait>,
    deadline_ns: Option<u64>,
) {
    let blocked = BlockedCommand {
        command: command.0,
        deadline_ns,
        awaits: Awaited::Acks(wait),
    };
    state.clients.begin_wait(key, blocked);
    // Without it nothing but its time can end it: there are no replicas that could acknowledge.
    if wait.is_some() {
        state.waits_for_sync.push(key);
    }
}

/// What a client reads whose time is over.
pub(crate) fn give_up(state: &mut State, key: ClientKey, wait: Option<AckWait>) {
    let is_synced = wait.is_some_and(|wait| is_synced(state, wait.offset));
    if let Some(client) = state.clients.get_mut(key) {
        match wait {
            Some(_) => write_reply(&mut client.reply, is_synced),
            None => client.reply.integer(REPLICAS),
        }
    }
}

/// Answers the clients of WAITAOF whose writes are on the disk now, and those who waited for a file that was switched
/// off. Call it when the append-only file was flushed.
pub fn serve(state: &mut State) {
    if state.waits_for_sync.is_empty() {
        return;
    }
    let is_off = state.persistence.aof.state == AofState::Off;
    for key in std::mem::take(&mut state.waits_for_sync) {
        let client = state.clients.get(key);
        let awaits = client.and_then(|client| Some(&client.session.waiting()?.awaits));
        // Else the client is gone, or was told that its time is over.
        let Some(&Awaited::Acks(Some(wait))) = awaits else {
            continue;
        };
        if wait.local && is_off {
            blocking::unblock(state, key, Some(&APPENDONLY_OFF));
        } else if REPLICAS >= wait.replicas && (!wait.local || is_synced(state, wait.offset)) {
            blocking::unblock(state, key, None);
        } else {
            // Not yet: its place behind those that came before it stays.
            state.waits_for_sync.push(key);
        }
    }
}
