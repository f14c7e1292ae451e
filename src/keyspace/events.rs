//! Keyspace events: what has changed, for those who want to know.
//!
//! In: each change as it is signalled ([`super::Db::signal_modified`]). Out: events, in order, to be drained after the
//! command that made them, and what clients that wait for the key or watch it are to learn. While no service is
//! interested a change costs one branch and nothing is kept.

use super::moving::Moving;
use super::waiting::{Waiting, Watched};

/// Class of a keyspace event, as `notify-keyspace-events` groups them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EventClass {
    Generic,
    String,
    List,
    Set,
    Hash,
    SortedSet,
    Stream,
    Expired,
    Evicted,
    New,
    KeyMiss,
}

impl EventClass {
    /// A bit of its own.
    #[inline]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Services that want to know of changes; bits of [`super::Keyspace::set_interest`].
pub mod interest {
    /// Clients that WATCH keys.
    pub const WATCHERS: u32 = 1 << 0;
    /// Clients blocked on keys.
    pub const BLOCKED: u32 = 1 << 1;
    /// Clients that cache keys (CLIENT TRACKING).
    pub const TRACKING: u32 = 1 << 2;
    /// `notify-keyspace-events`.
    pub const NOTIFICATIONS: u32 = 1 << 3;
    /// The journal: it must learn of keys removed by expiry and eviction, which no command names.
    pub const JOURNAL: u32 = 1 << 4;
    /// Keys on their way to another server.
    pub const MOVING: u32 = 1 << 5;
    /// Everyone.
    #[cfg(test)]
    pub const ALL: u32 = (1 << 6) - 1;
}

/// Events that the list that is used again may have room for.
const KEPT: usize = 1024;

/// One keyspace event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyspaceEvent {
    /// Something happened to a key. Classes `Expired` and `Evicted`: it was removed, and no command says so.
    Key {
        /// Database.
        db: usize,
        /// Class of the event.
        class: EventClass,
        /// Name of the event; empty: a change without one (PFCOUNT, which stores its count).
        event: &'static str,
        /// The key.
        key: Vec<u8>,
        /// The value changed; without this it is only an event (`keymiss`, or a second event of one change).
        modified: bool,
    },
    /// A field of a hash has expired and was removed, and no command says so. Told to the journal only; the change of
    /// the key (`hexpired`) is told besides.
    FieldExpired {
        /// Database.
        db: usize,
        /// Key of the hash.
        key: Vec<u8>,
        /// The field.
        field: Vec<u8>,
    },
    /// All keys of a database, or of all databases, were removed.
    Flushed {
        /// Which one.
        db: Option<usize>,
    },
    /// Two databases changed places.
    Swapped {
        /// One.
        a: usize,
        /// The other.
        b: usize,
    },
}

/// The events of the running command, and who is interested in such.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) interest: u32,
    /// Bits of the classes that `interest::NOTIFICATIONS` is about.
    pub(super) notified: u32,
    /// Clients that wait for keys.
    pub(super) waiting: Waiting,
    /// Clients that watch keys.
    pub(super) watched: Watched,
    /// Keys on their way to another server.
    pub(super) moving: Moving,
    pending: Vec<KeyspaceEvent>,
    /// Memory of the names in `pending`, bytes.
    pending_bytes: usize,
    /// Empty: the room of what was given away last, which is used again.
    room: Vec<KeyspaceEvent>,
    /// What was given away last.
    #[cfg(test)]
    taken: Vec<KeyspaceEvent>,
}

impl Events {
    /// A key has changed.
    #[inline]
    pub(super) fn modified(
        &mut self,
        db: usize,
        class: EventClass,
        event: &'static str,
        key: &[u8],
    ) {
        if self.interest != 0 {
            self.signal(db, class, event, key);
        }
    }
    /// Something happened that is no change.
    #[inline]
    pub(super) fn event(&mut self, db: usize, class: EventClass, event: &'static str, key: &[u8]) {
        if self.notified & class.bit() != 0 {
            self.record(db, class, event, key, false);
        }
    }
    #[cold]
    fn signal(&mut self, db: usize, class: EventClass, event: &'static str, key: &[u8]) {
        if self.interest & interest::BLOCKED != 0 {
            self.waiting.key_changed(db, key);
        }
        // The journal is told of changes by the commands that make them, and needs to hear only of keys that go by
        // themselves.
        let by_itself = matches!(class, EventClass::Expired | EventClass::Evicted);
        if self.interest & interest::WATCHERS != 0 {
            match by_itself {
                true => self.watched.key_went(db, key),
                false => self.watched.key_changed(db, key),
            }
        }
        // Fields whose time is over are gone at the other server as well.
        if self.interest & interest::MOVING != 0 && !by_itself && event != "hexpired" {
            self.moving.key_changed(db, key);
        }
        let wanted = self.interest & interest::TRACKING != 0 || self.notified & class.bit() != 0;
        if wanted || (by_itself && self.interest & interest::JOURNAL != 0) {
            self.record(db, class, event, key, true);
        }
    }
    /// Whether anyone reads events of what commands change.
    fn records_changes(&self) -> bool {
        self.interest & (interest::TRACKING | interest::NOTIFICATIONS) != 0
    }
    #[cold]
    fn record(
        &mut self,
        db: usize,
        class: EventClass,
        event: &'static str,
        key: &[u8],
        modified: bool,
    ) {
        self.pending_bytes += key.len();
        self.pending.push(KeyspaceEvent::Key {
            db,
            class,
            event,
            key: key.to_vec(),
            modified,
        });
    }
    /// Records that a field is gone, for the journal.
    pub(super) fn field_expired(&mut self, db: usize, key: &[u8], field: &[u8]) {
        if self.interest & interest::JOURNAL != 0 {
            self.pending_bytes += key.len() + field.len();
            self.pending.push(KeyspaceEvent::FieldExpired {
                db,
                key: key.to_vec(),
                field: field.to_vec(),
            });
        }
    }
    /// Records what concerns whole databases.
    pub(super) fn whole(&mut self, event: KeyspaceEvent) {
        if self.records_changes() {
            self.pending.push(event);
        }
    }
    /// Gives the events away.
    pub(super) fn take(&mut self) -> Vec<KeyspaceEvent> {
        #[cfg(test)]
        self.taken.clear();
        self.pending_bytes = 0;
        std::mem::replace(&mut self.pending, std::mem::take(&mut self.room))
    }
    /// Takes back what was given away, so that its memory is used again, unless it is much.
    pub(super) fn reuse(&mut self, mut taken: Vec<KeyspaceEvent>) {
        #[cfg(test)]
        self.taken.clone_from(&taken);
        // Their keys may be long, and the next events far away.
        taken.clear();
        if taken.capacity() <= KEPT {
            self.room = taken;
        }
    }
    /// What was given away last.
    #[cfg(test)]
    pub(super) fn taken(&self) -> &[KeyspaceEvent] {
        &self.taken
    }
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
    /// Memory of what was not given away yet, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        match self.pending.is_empty() {
            true => 0,
            false => self.pending.capacity() * size_of::<KeyspaceEvent>() + self.pending_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever deleted a million keys once had the room for a million events held for good.
    #[test]
    fn many_events_leave_no_large_room_behind() {
        let mut events = Events {
            interest: interest::TRACKING,
            ..Events::default()
        };
        for (number, keeps) in [(KEPT / 2, true), (KEPT * 2, false)] {
            for _ in 0..number {
                events.modified(0, EventClass::Generic, "del", b"k");
            }
            let taken = events.take();
            assert_eq!(taken.len(), number);
            events.reuse(taken);
            assert!(events.room.is_empty());
            assert_eq!(events.room.capacity() > 0, keeps, "{number}");
        }
    }
}
