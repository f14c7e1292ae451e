//! Sharded channels whose slot goes to another node: who listens to them is told, and listens no more.
//!
//! Mirrors `removeChannelsInSlot` of Redis's cluster.c and `pubsubShardUnsubscribeAllChannelsInSlot` of its pubsub.c.

use crate::clients::Listening;
use crate::engine::{State, notifications, pubsub};
use crate::structures::slots::{SlotSet, slot_of};

/// Ends the sharded subscriptions of these slots.
pub fn drop_channels(state: &mut State, slots: &SlotSet) {
    let all = state.messaging.pubsub.channels(Listening::Shard);
    let gone = all.into_iter().filter(|name| slots.contains(slot_of(name)));
    let gone: Vec<Vec<u8>> = gone.map(<[u8]>::to_vec).collect();
    for name in gone {
        let listeners = state.messaging.pubsub.listeners(Listening::Shard, &name);
        // They are taken out of what is gone through.
        let listeners = listeners.to_vec();
        for key in listeners {
            let Some(client) = state.clients.get_mut(key) else {
                continue;
            };
            let Some(its) = client.subscriptions.as_mut() else {
                continue;
            };
            let pubsub = &mut state.messaging.pubsub;
            pubsub.unsubscribe(Listening::Shard, &name, key, its);
            let left = its.count(Listening::Shard);
            // Before the class changes with the last subscription: until then the limits for subscribers hold.
            state.clients.push(key, |reply| {
                reply.push(3);
                reply.bulk(b"sunsubscribe");
                reply.bulk(&name);
                reply.count(left);
            });
            if let Some(client) = state.clients.get_mut(key) {
                pubsub::update_kind(client);
            }
        }
    }
    notifications::follow_interest(state);
}
