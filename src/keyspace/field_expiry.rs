//! Fields of hashes that go by themselves.
//!
//! In: hashes as they come, change and go, and the time. Out: expired fields are gone, and an event is recorded. Each
//! database has an index of its hashes with expiring fields, ordered by the earliest of each, so that active expiry
//! looks at nothing but what has expired. Mirrors the active and lazy expiry of fields in Redis's t_hash.c.
//!
//! Invariant: the index holds (time, key) exactly for those hashes that say `indexed_at` that time. The table tells
//! it of every entry that comes or goes, so that RENAME, MOVE, COPY, SWAPDB, eviction and FLUSHALL need no care. A
//! command that changes expiries calls [`OccupiedEntry::reindex_fields`](super::Occupied::reindex_fields); until then the
//! time in the index may be off, which delays active expiry and nothing else.

use super::database::live;
use super::entry::Entry;
use super::keyspace::Shared;
use super::table::Place;
use super::{Clock, Db, EventClass, Keyspace, KeyspaceStats, Type};
use crate::structures::Collection;
use crate::structures::hash::Hash;
use std::collections::BTreeSet;

/// Fields removed between two looks at the clock.
const FIELDS_PER_STEP: usize = 64;

/// When a field of a hash expires, and the key of the hash.
type Due = (i64, Box<[u8]>);

/// Hashes with expiring fields, by the earliest expiry of each.
#[derive(Default)]
pub(super) struct FieldIndex {
    due: BTreeSet<Due>,
}

impl FieldIndex {
    /// Hashes in the index.
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
    /// An entry has come into the table.
    #[inline]
    pub(super) fn enter(&mut self, entry: &mut Entry) {
        if entry.kind() == Type::Hash {
            self.reindex(entry);
        }
    }
    /// An entry is about to leave the table.
    #[inline]
    pub(super) fn leave(&mut self, entry: &mut Entry) {
        if entry.kind() == Type::Hash {
            self.change(entry, |_| None);
        }
    }
    /// An entry in the table may have changed.
    #[inline]
    pub(super) fn reindex(&mut self, entry: &mut Entry) {
        self.change(entry, Hash::earliest_expiry);
    }
    #[inline]
    fn change(&mut self, entry: &mut Entry, to: impl FnOnce(&Hash) -> Option<i64>) {
        let Ok(hash) = entry.hash_mut() else { return };
        let (from, to) = (hash.indexed_at(), to(hash));
        if from == to {
            return;
        }
        hash.set_indexed_at(to);
        let mut place = (0, Box::from(entry.key()));
        if let Some(from) = from {
            place.0 = from;
            self.due.remove(&place);
        }
        if let Some(to) = to {
            place.0 = to;
            self.due.insert(place);
        }
    }
    /// The first hash that has a field whose time is over, and its place in the index.
    fn first_before(&self, now_ms: i64) -> Option<Due> {
        self.due.first().filter(|(at, _)| *at < now_ms).cloned()
    }
}

/// What became of a hash whose expired fields were looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldsExpired {
    /// Nothing had expired, or nothing may expire now.
    None,
    /// Some fields are gone.
    Some,
    /// All are gone, and with them the key, unless it was to be kept.
    All,
}

/// Which fields are removed if their time is over.
enum Which<'i, 'f> {
    /// So many, the earliest first.
    Most(usize),
    Named(&'i mut (dyn Iterator<Item = &'f [u8]> + 'i)),
}

/// What becomes of a hash that has no field left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Emptied {
    Remove,
    Keep,
}

/// Removes expired fields of the hash at `place` and records it, with one event however many they are.
fn expire_at_place(
    place: Place<'_>,
    shared: &mut Shared,
    stats: &mut KeyspaceStats,
    db: usize,
    now_ms: i64,
    (which, then): (Which<'_, '_>, Emptied),
) -> FieldsExpired {
    let Place::Held(mut held) = place else {
        return FieldsExpired::None;
    };
    let key = held.entry().key().to_vec();
    let Ok(hash) = held.entry_mut().hash_mut() else {
        return FieldsExpired::None;
    };
    let events = &mut shared.events;
    let removed = match which {
        Which::Most(max) => {
            hash.remove_expired(now_ms, max, |field| events.field_expired(db, &key, field))
        }
        Which::Named(fields) => {
            let mut removed = 0;
            for field in fields {
                if hash.get(field).is_some_and(|pair| pair.is_expired(now_ms)) {
                    hash.remove(field);
                    events.field_expired(db, &key, field);
                    removed += 1;
                }
            }
            removed
        }
    };
    let emptied = hash.is_empty();
    stats.expired_subkeys += removed as u64;
    if removed > 0 {
        events.modified(db, EventClass::Hash, "hexpired", &key);
    }
    if !emptied || then == Emptied::Keep {
        // Even when nothing has expired: so an index that is off comes in step.
        held.reindex_fields();
        return match (removed, emptied) {
            (0, _) => FieldsExpired::None,
            (_, false) => FieldsExpired::Some,
            (_, true) => FieldsExpired::All,
        };
    }
    let (entry, _) = held.remove_to_free();
    shared.free_entry(entry, shared.settings.lazy_expire);
    shared.events.event(db, EventClass::Generic, "del", &key);
    FieldsExpired::All
}

impl Db<'_> {
    /// Removes one field of a hash if its time is over, as a command does that only came across it.
    #[cold]
    pub fn expire_field(&mut self, key: &[u8], field: &[u8]) -> FieldsExpired {
        self.expire_named(key, std::iter::once(field))
    }
    /// Removes those of the named fields whose time is over, as [`Db::expire_field`] does. The key goes with the last field of
    /// all.
    #[cold]
    pub fn expire_named<'f>(
        &mut self,
        key: &[u8],
        mut fields: impl Iterator<Item = &'f [u8]>,
    ) -> FieldsExpired {
        self.expire_now(key, (Which::Named(&mut fields), Emptied::Remove))
    }
    /// The same for a command that goes on with the hash: the key stays, with its expiry, though no field be left. The
    /// command sets one, or removes the key ([`Db::remove_emptied`]).
    #[cold]
    pub fn expire_before_change<'f>(
        &mut self,
        key: &[u8],
        mut fields: impl Iterator<Item = &'f [u8]>,
    ) -> FieldsExpired {
        self.expire_now(key, (Which::Named(&mut fields), Emptied::Keep))
    }
    /// Removes all fields of a hash whose time is over, as [`Db::expire_field`] does one. O(their number).
    pub fn expire_fields(&mut self, key: &[u8]) -> FieldsExpired {
        self.expire_now(key, (Which::Most(usize::MAX), Emptied::Remove))
    }
    /// Counts fields that a command has removed because their new expiry is in the past.
    pub fn count_expired_fields(&mut self, fields: usize) {
        self.stats.expired_subkeys += fields as u64;
    }
    fn expire_now(&mut self, key: &[u8], which: (Which<'_, '_>, Emptied)) -> FieldsExpired {
        if self.shared.frozen {
            return FieldsExpired::None;
        }
        let hash = self.database.table.hash(key);
        let place = self.database.table.place(hash, key);
        let now_ms = self.now.expiry_ms();
        expire_at_place(place, self.shared, self.stats, self.index, now_ms, which)
    }
}

impl Keyspace {
    /// Hashes with expiring fields in a database (INFO `subexpiry`).
    pub fn hashes_with_expiring_fields(&self, index: usize) -> usize {
        self.databases[index].table.field_expiry.len()
    }
    /// Whether there is one in any database. O(databases)
    pub fn has_expiring_fields(&self) -> bool {
        let mut databases = self.databases.iter();
        databases.any(|it| it.table.field_expiry.len() > 0)
    }

    /// Asserts that the index of a database says what its hashes say. Reads every key.
    #[cfg(any(test, debug_assertions))]
    pub fn check_field_index(&self, index: usize) {
        let table = &self.databases[index].table;
        let mut due = BTreeSet::new();
        table.for_each(&mut |entry| {
            if let Ok(hash) = entry.hash() {
                hash.check_invariants();
                assert_eq!(hash.indexed_at(), hash.earliest_expiry());
                due.extend(hash.indexed_at().map(|at| (at, Box::from(entry.key()))));
            }
        });
        assert_eq!(table.field_expiry.due, due);
    }

    /// Removes expired fields in one database until there are none, or `over` says so between two small steps (there
    /// is always one); true when time ran out.
    pub(super) fn expire_fields_of(
        &mut self,
        index: usize,
        now: Clock,
        over: &mut dyn FnMut() -> bool,
    ) -> bool {
        let now_ms = now.expiry_ms();
        let mut stepped = false;
        while let Some(due) = self.databases[index]
            .table
            .field_expiry
            .first_before(now_ms)
        {
            if stepped && over() {
                return true;
            }
            stepped = true;
            let table = &mut self.databases[index].table;
            let key = due.1.clone();
            let hash = table.hash(&key);
            // A key that has expired itself goes whole.
            let place = live(
                table,
                &mut self.shared,
                &mut self.stats,
                index,
                now,
                (hash, &key),
            );
            expire_at_place(
                place,
                &mut self.shared,
                &mut self.stats,
                index,
                now_ms,
                (Which::Most(FIELDS_PER_STEP), Emptied::Remove),
            );
        }
        false
    }
}
