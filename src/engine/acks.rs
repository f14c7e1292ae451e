//! Clients that wait until their writes have reached replicas, or the disk.
//!
//! In: how far the append-only file has been synced, as an offset of the journal; what replicas have acknowledged; each
//! client's offset after its last write. Out: an answer when enough is acknowledged or the time is over. Mirrors
//! `processClientsWaitingReplicas` of Redis's replication.c.

use super::{CommandError, CommandId, State, blocking};
use crate::clients::{AckWait, Awaited, BlockedCommand, ClientKey};
use crate::persistence::aof::AofState;
use crate::resp::Reply;

pub(crate) const APPENDONLY_OFF: CommandError = CommandError::fixed(
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
);

/// What is acknowledged of a client's writes: whether this server's file has them, and how many replicas.
pub(crate) fn acknowledged(state: &mut State, wait: &AckWait) -> (bool, i64) {
    if !wait.on_disk {
        return (false, state.replication.acked(wait.stream_offset));
    }
    let aof = &mut state.persistence.aof;
    let is_synced = aof.state == AofState::On && aof.synced_offset() >= wait.offset;
    (
        is_synced,
        state.replication.acked_on_disk(wait.stream_offset),
    )
}

/// Whether that is what it waits for.
pub(crate) fn is_enough(wait: &AckWait, (is_synced, replicas): (bool, i64)) -> bool {
    replicas >= wait.replicas && (!wait.local || is_synced)
}

pub(crate) fn write_reply(reply: &mut Reply, wait: &AckWait, (is_synced, replicas): (bool, i64)) {
    if wait.on_disk {
        reply.array(2);
        reply.integer(i64::from(is_synced));
    }
    reply.integer(replicas);
}

/// Has a client wait for acknowledgements; called once its handler has asked for it.
pub(crate) fn begin_wait(
    state: &mut State,
    key: ClientKey,
    command: CommandId,
    wait: AckWait,
    deadline_ns: Option<u64>,
) {
    let blocked = BlockedCommand {
        command: command.0,
        deadline_ns,
        awaits: Awaited::Acks(wait),
    };
    state.clients.begin_wait(key, blocked);
    state.waits_for_acks.push(key);
    // They say it once a second; who waits does not wait for that.
    state.replication.asks_acks |= wait.replicas > 0;
}

/// What a client reads whose time is over.
pub(crate) fn give_up(state: &mut State, key: ClientKey, wait: &AckWait) {
    let acknowledged = acknowledged(state, wait);
    if let Some(client) = state.clients.get_mut(key) {
        write_reply(&mut client.reply, wait, acknowledged);
    }
}

/// Answers the clients whose writes are where they are waited for, and those who waited for a file that was switched off.
/// Call it when the append-only file was flushed. O(clients that wait, times replicas)
pub fn serve(state: &mut State) {
    if state.waits_for_acks.is_empty() {
        return;
    }
    let is_off = state.persistence.aof.state == AofState::Off;
    for key in std::mem::take(&mut state.waits_for_acks) {
        let client = state.clients.get(key);
        let awaits = client.and_then(|client| Some(&client.session.waiting()?.awaits));
        // Else the client is gone, or was told that its time is over.
        let Some(&Awaited::Acks(wait)) = awaits else {
            continue;
        };
        if wait.local && is_off {
            blocking::unblock(state, key, Some(&APPENDONLY_OFF));
            continue;
        }
        let acknowledged = acknowledged(state, &wait);
        if is_enough(&wait, acknowledged) {
            blocking::unblock(state, key, None);
        } else {
            // Not yet: its place behind those that came before it stays.
            state.waits_for_acks.push(key);
        }
    }
}
