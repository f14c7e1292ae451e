//! What follows from what a node has decided, but for what goes over the bus.

use crate::clients::Listening;
use crate::cluster::Action;
use crate::engine::replication::role;
use crate::engine::{Host, State, pubsub};
use crate::keyspace::Free;

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
        Action::DropSlot(_) | Action::DropChannels(_) => {}
        Action::Connect { .. } | Action::Send { .. } | Action::Close(_) | Action::Save { .. } => {
            debug_assert!(false, "the server does that: {action:?}");
        }
    }
}
