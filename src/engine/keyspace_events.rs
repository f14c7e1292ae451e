//! The trail of changes, brought to those who want to know.
//!
//! In: what the door of the keyspace has noted while a command, a cycle of expiry or an eviction ran. Out: removals for
//! the journal, invalidations for clients that cache keys. It is drained after every command, before the command itself is propagated, and before the loop sleeps.

use super::State;
use crate::clients::ClientKey;
use crate::keyspace::{EventClass, Touched};

/// Tells everyone what has changed, and that `by` has changed it; none: it went by itself. Costs one branch where nobody is interested.
#[inline]
pub fn drain(state: &mut State, by: Option<ClientKey>) {
    if state.keyspace.has_touched() {
        tell(state, by);
    }
}

fn tell(state: &mut State, by: Option<ClientKey>) {
    let notes = state.keyspace.take_touched();
    for note in &notes {
        journal(state, note);
        super::notifications::tell(state, note);
        if state.messaging.tracking.is_active() {
            super::tracking::changed(state, note, by);
        }
    }
    state.keyspace.reuse_touched(notes);
}

/// Gives the journal the keys and fields that went by themselves: expired ones, evicted ones.
fn journal(state: &mut State, note: &Touched) {
    if !state.journal.has_consumers() {
        return;
    }
    let unix_s = state.now.unix_s();
    let settings = state.keyspace.settings();
    match note {
        Touched::Key { db, class, key, .. } => {
            let lazily = match class {
                EventClass::Expired => settings.lazy_expire,
                EventClass::Evicted => settings.lazy_eviction,
                _ => return,
            };
            let command: &[u8] = if lazily { b"UNLINK" } else { b"DEL" };
            let words = [command, key];
            state.journal.append_words(*db, unix_s, words.into_iter());
        }
        Touched::FieldExpired { db, key, field } => {
            let words: [&[u8]; 3] = [b"HDEL", key, field];
            state.journal.append_words(*db, unix_s, words.into_iter());
        }
        Touched::Flushed { .. } | Touched::Swapped { .. } => {}
    }
}
