//! Replication: who gets the stream of effects, and whose stream this server follows.
//!
//! In: effects in the journal, what replicas and the primary say, the clock. Out: the stream, snapshots for replicas, the
//! role and its change. Sockets are the server's. Mirrors replication.c of Redis.
//!
//! | file | what |
//! | --- | --- |
//! | `admission` | what is asked before a command runs |
//! | `failover` | FAILOVER: handing the role over |
//! | `own_keys` | keys with a time that a writable replica has of its clients |
//! | `primary` | replicas: PSYNC, snapshots, acknowledgements, what is done once a second |
//! | `replica` | the link to a primary: a snapshot, the stream, their loss |
//! | `report` | what INFO tells of it |
//! | `role` | REPLICAOF: the change from one to the other |

pub(super) mod admission;
pub mod failover;
pub mod own_keys;
pub mod primary;
pub mod replica;
pub(super) mod report;
pub mod role;

use super::State;
use crate::journal::Targets;
use crate::keyspace::interest;
use crate::replication::Stream;

/// Brings what replicas are to get from the journal to the stream, and forgets what nobody needs any more.
pub fn feed(state: &mut State) {
    let replication = &mut state.replication;
    let Some(stream) = &mut replication.stream else {
        return;
    };
    if state.journal.waiting(Targets::REPLICAS) > 0 {
        let scratch = &mut replication.scratch;
        state.journal.take(Targets::REPLICAS, scratch);
        stream.append(scratch);
        clear(scratch);
        debug_assert_eq!(stream.end(), state.journal.offset());
    }
    forget_unneeded(state);
}

/// Forgets what of the stream is older than the backlog and still to be read by no replica.
fn forget_unneeded(state: &mut State) {
    let keep = state.config.settings().repl_backlog_size;
    let needed = state.replication.needed();
    if let Some(stream) = &mut state.replication.stream {
        stream.trim(keep, needed);
    }
}

/// Has the effects kept for replicas from here on, if they are not. A stream that begins anew has an ID of its own: whoever
/// knows the old one has not seen what came between.
pub(crate) fn begin_stream(state: &mut State) {
    if state.replication.stream.is_some() {
        return;
    }
    let offset = state.journal.offset();
    state.replication.stream = Some(Stream::new(offset));
    if !state.replication.is_replica() {
        state.replication.id = new_id(state);
        state.replication.clear_second_id();
        read_journal(state, true);
    }
    log::info!(
        "Replication backlog created, my new replication IDs are '{}' and '{}'",
        state.replication.id,
        state.replication.second_id
    );
}

/// An ID that no stream has yet.
pub fn new_id(state: &mut State) -> String {
    super::state::hex_id(&mut state.rng)
}

/// Nothing is kept for replicas any more.
pub(crate) fn end_stream(state: &mut State) {
    read_journal(state, false);
    state.replication.stream = None;
}

/// Empties a buffer; a large one leaves no large room behind.
fn clear(bytes: &mut Vec<u8>) {
    const KEPT: usize = 1024 * 1024;
    bytes.clear();
    if bytes.capacity() > KEPT {
        *bytes = Vec::new();
    }
}

/// Has the journal read for replicas, or not any more.
pub(crate) fn read_journal(state: &mut State, reads: bool) {
    match reads {
        true => {
            state.journal.attach(Targets::REPLICAS);
            // The next effect names its database.
            state.journal.restart(Targets::REPLICAS);
        }
        false => state.journal.detach(Targets::REPLICAS),
    }
    // Keys that go by themselves are told where the journal is read.
    let is_read = state.journal.has_consumers();
    state.keyspace.set_interest(interest::JOURNAL, is_read);
}

/// Cuts all replicas off: they have to hear of another ID, or get another snapshot.
pub(crate) fn disconnect_replicas(state: &mut State) {
    let attached = state
        .replication
        .replicas
        .values()
        .filter(|it| it.is_attached());
    for key in attached.map(|it| it.client).collect::<Vec<_>>() {
        state.clients.close(key, false);
    }
}

/// Tells modules that have a part of the role what it is.
pub(crate) fn apply_role(state: &mut State) {
    let is_replica = state.replication.is_replica();
    state.journal.set_follows(is_replica);
    // Keys of a replica are removed by its primary alone; till then they are not shown.
    let is_paused = state.pause.is_some();
    state.keyspace.freeze(is_replica || is_paused);
    crate::system::log::set_role(match is_replica {
        true => crate::system::log::Role::Replica,
        false => crate::system::log::Role::Primary,
    });
}
