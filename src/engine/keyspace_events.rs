//! Keyspace events, brought to those who want to know.
//!
//! In: what the keyspace has recorded while a command, a cycle of expiry or an eviction ran. Out: removals for the
//! journal, notifications, invalidations for clients that cache keys. They are drained after every command, before the
//! command itself is propagated, and before the loop sleeps.

use super::{CommandId, State, flags};
use crate::clients::ClientKey;
use crate::journal::Targets;
use crate::keyspace::{EventClass, KeyspaceEvent};
use crate::observe::Executed;

/// Tells everyone what has changed, and that `by` has changed it; none: it went by itself. Costs one branch where
/// nobody is interested.
#[inline]
pub fn drain(state: &mut State, by: Option<ClientKey>) {
    if state.keyspace.has_events() {
        let events = state.keyspace.take_events();
        deliver(state, by, events);
    }
}

/// The same for a command that `by` has run and that is to be propagated behind it: keys that went under its eyes make
/// one unit with its own effects. Whether a unit was begun, which the caller ends.
#[inline]
pub(crate) fn drain_for_command(state: &mut State, by: ClientKey, id: CommandId) -> bool {
    state.keyspace.has_events() && deliver_for_command(state, by, id)
}

fn deliver_for_command(state: &mut State, by: ClientKey, id: CommandId) -> bool {
    let events = state.keyspace.take_events();
    // Keys that a command does not name may be in any slot of a cluster, and cannot stand in one transaction.
    let names_keys = state.table.get(id).flags & flags::TOUCHES_ARBITRARY_KEYS == 0;
    // A reader must not have the removal without the command that was run because of it, or the other way round.
    let is_unit = names_keys && state.journal.has_consumers() && events.iter().any(is_removal);
    if is_unit {
        state.journal.begin_unit();
    }
    deliver(state, Some(by), events);
    is_unit
}

/// Whether a key or a field went by itself.
fn is_removal(event: &KeyspaceEvent) -> bool {
    match event {
        KeyspaceEvent::Key { class, .. } => {
            matches!(class, EventClass::Expired | EventClass::Evicted)
        }
        KeyspaceEvent::FieldExpired { .. } => true,
        KeyspaceEvent::Flushed { .. } | KeyspaceEvent::Swapped { .. } => false,
    }
}

fn deliver(state: &mut State, by: Option<ClientKey>, events: Vec<KeyspaceEvent>) {
    // In the order in which they happened. Nothing that is done here changes a key, so no event comes of an event.
    for event in &events {
        if state.observe.executed.is_some() {
            record(state, event);
        }
        journal(state, event);
        super::notifications::publish_event(state, event);
        if state.messaging.tracking.is_active() {
            super::tracking::changed(state, event, by);
        }
    }
    // Given back, so that recording the next events takes no memory anew.
    state.keyspace.reuse_events(events);
}

/// Gives the journal the keys and fields that went by themselves: expired ones, evicted ones.
fn journal(state: &mut State, event: &KeyspaceEvent) {
    if !state.journal.has_consumers() {
        return;
    }
    let unix_s = state.now.unix_s();
    let settings = state.keyspace.settings();
    match event {
        KeyspaceEvent::Key { db, class, key, .. } => {
            let lazily = match class {
                // Others are the doing of a command, which is given to the journal by itself. As it is freed here, so
                // it is to be freed there.
                EventClass::Expired => settings.lazy_expire,
                EventClass::Evicted => settings.lazy_eviction,
                _ => return,
            };
            let command: &[u8] = if lazily { b"UNLINK" } else { b"DEL" };
            let words = [command, key];
            state
                .journal
                .append_words(*db, unix_s, Targets::ALL, words.into_iter());
        }
        KeyspaceEvent::FieldExpired { db, key, field } => {
            let words: [&[u8]; 3] = [b"HDEL", key, field];
            state
                .journal
                .append_words(*db, unix_s, Targets::ALL, words.into_iter());
        }
        KeyspaceEvent::Flushed { .. } | KeyspaceEvent::Swapped { .. } => {}
    }
}

/// Tells a simulation what went by itself.
#[cold]
fn record(state: &mut State, event: &KeyspaceEvent) {
    let unix_us = state.now.unix_us;
    let what = match event {
        KeyspaceEvent::Key {
            db,
            class: class @ (EventClass::Expired | EventClass::Evicted),
            key,
            modified: true,
            ..
        } => Executed::Removed {
            db: *db,
            key: key.clone(),
            evicted: *class == EventClass::Evicted,
            unix_us,
        },
        KeyspaceEvent::FieldExpired { db, key, field } => Executed::FieldExpired {
            db: *db,
            key: key.clone(),
            field: field.clone(),
            unix_us,
        },
        _ => return,
    };
    state.observe.executed(|| what);
}
