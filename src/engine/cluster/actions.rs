//! What follows from what a node has decided, but for what goes over the bus.

use crate::clients::Listening;
use crate::cluster::Action;
use crate::engine::cluster::channels;
use crate::engine::replication::role;
use crate::engine::{Host, State, keyspace_events, pubsub, transactions};
use crate::journal::Targets;
use crate::keyspace::{EventClass, Free};

/// Does what is no matter of the bus or of nodes.conf.
pub fn perform(state: &mut State, host: &mut dyn Host, action: Action) {
    match action {
        Action::Follow { ip, port } => role::follow(state, host, &ip, port),
        Action::Lead => role::lead(state, host),
        Action::Pause { .. } => {
            // The end of it is told as well.
            state.pauses.for_cluster = true;
            state.apply_pause();
        }
        Action::Unpause => {
            state.pauses.for_cluster = false;
            state.apply_pause();
        }
        Action::Publish {
            is_sharded,
            channel,
            message,
        } => {
            let kind = match is_sharded {
                true => Listening::Shard,
                false => Listening::Channel,
            };
            pubsub::publish(state, kind, &channel, &message);
        }
        Action::FlushAll => {
            state.keyspace.flush(None, Free::Lazily);
        }
        Action::DropSlot(slot) => drop_slot(state, slot),
        Action::DropChannels(slots) => channels::drop_channels(state, &slots),
        Action::Connect { .. } | Action::Send { .. } | Action::Close(_) | Action::Save { .. } => {
            debug_assert!(false, "the server does that: {action:?}");
        }
    }
}

/// Has a node that is a replica follow its primary where it does not, as after a start.
pub fn follow_primary(state: &mut State, host: &mut dyn Host) {
    if state.replication.is_replica() {
        return;
    }
    let Some(cluster) = &state.cluster else {
        return;
    };
    let primary = cluster.my_primary().and_then(|key| cluster.node(key));
    let Some(primary) = primary.filter(|it| !it.ip.is_empty()) else {
        return;
    };
    let port = match cluster.settings().tls_replication {
        true => primary.tls_port,
        false => primary.tcp_port,
    };
    if port != 0 {
        let ip = primary.ip.clone();
        role::follow(state, host, &ip, port);
    }
}

/// Keys of a slot that are deleted in one unit.
const AT_ONCE: usize = 100;

/// Deletes the keys of a slot that is another node's now; replicas and the append-only file are told.
fn drop_slot(state: &mut State, slot: u16) {
    let lazily = state.config.settings().lazyfree_lazy_server_del;
    let free = if lazily { Free::Lazily } else { Free::Now };
    for db in 0..state.keyspace.count() {
        loop {
            let keys = state.keyspace.some_keys_in_slot(db, slot, AT_ONCE);
            if keys.is_empty() {
                break;
            }
            let mut database = state.keyspace.db(db, state.now, true);
            for key in &keys {
                if database.remove_expired_or_not(key, free) {
                    database.signal_modified(EventClass::Generic, "del", key);
                }
            }
            keyspace_events::drain(state, None);
            let word: &[u8] = if lazily { b"UNLINK" } else { b"DEL" };
            let keys = keys.iter().map(Vec::as_slice);
            let words: Vec<&[u8]> = [word].into_iter().chain(keys).collect();
            let unix_s = state.now.unix_s();
            let words = words.iter().copied();
            state.journal.append_words(db, unix_s, Targets::ALL, words);
        }
    }
    if state.keyspace.has_dirty_watchers() {
        transactions::mark_dirty(state);
    }
}
