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
