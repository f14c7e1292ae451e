//! Keyspace notifications: what happens to keys, published.
//!
//! In: keyspace events. Out: for each event of a class that `notify-keyspace-events` names, a message to
//! `__keyspace@<db>__:<key>` (the event) and one to `__keyevent@<db>__:<event>` (the key), as K and E say. While nobody
//! listens to anything, or nothing is to be told, the keyspace records no events for this. Mirrors `notify.c` of Redis.

use super::State;
use super::pubsub::publish;
use crate::clients::Listening;
use crate::config::events;
use crate::keyspace::{EventClass, KeyspaceEvent, interest};

/// Every class with its bit of `notify_keyspace_events`.
const CLASSES: [(EventClass, u32); 11] = [
    (EventClass::Generic, events::GENERIC),
    (EventClass::String, events::STRING),
    (EventClass::List, events::LIST),
    (EventClass::Set, events::SET),
    (EventClass::Hash, events::HASH),
    (EventClass::SortedSet, events::SORTED_SET),
    (EventClass::Stream, events::STREAM),
    (EventClass::Expired, events::EXPIRED),
    (EventClass::Evicted, events::EVICTED),
    (EventClass::New, events::NEW),
    (EventClass::KeyMiss, events::KEY_MISS),
];

/// Has the keyspace record the events that are to be published from here on; call it when the directive has changed,
/// or who listens.
pub fn follow_interest(state: &mut State) {
    let set = state.config.settings().notify_keyspace_events;
    let mut classes = 0;
    // Neither K nor E: there is no channel to publish to. Nobody subscribed to anything: there is nobody to hear it.
    if set & (events::KEYSPACE | events::KEYEVENT) != 0 && !state.messaging.pubsub.is_silent() {
        for (class, bit) in CLASSES {
            if set & bit != 0 {
                classes |= class.bit();
            }
        }
    }
    state
        .keyspace
        .set_interest(interest::NOTIFICATIONS, classes != 0);
    state.keyspace.set_notified(classes);
}

/// Publishes an event, if its class is wanted.
pub(crate) fn publish_event(state: &mut State, happened: &KeyspaceEvent) {
    let KeyspaceEvent::Key {
        db,
        class,
        event,
        key,
        ..
    } = happened
    else {
        return;
    };
    // Changes without a name are for those who watch or cache the key only.
    if event.is_empty() || state.keyspace.notified() & class.bit() == 0 {
        return;
    }
    let set = state.config.settings().notify_keyspace_events;
    let mut channel = Vec::with_capacity(key.len().max(event.len()).saturating_add(40));
    for (wanted, space, ends_with, message) in [
        (events::KEYSPACE, "keyspace", &key[..], event.as_bytes()),
        (events::KEYEVENT, "keyevent", event.as_bytes(), &key[..]),
    ] {
        if set & wanted != 0 {
            channel.clear();
            channel.extend_from_slice(format!("__{space}@{db}__:").as_bytes());
            channel.extend_from_slice(ends_with);
            publish(state, Listening::Channel, &channel, message);
        }
    }
}
