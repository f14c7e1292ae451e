//! One database as a command sees it: time and access rules included.

use super::entry::Entry;
use super::key_entry::{EntryRef, KeyEntry, OccupiedEntry, VacantEntry};
use super::keyspace::{Database, Free, KeyspaceStats, Shared, TransferError};
use super::table::{Borrowed, Place, Table};
use super::{Clock, EventClass};
use crate::structures::dict::HashSeed;

/// One database as a command sees it: time and access rules included. Expired keys do not exist here.
pub struct Db<'a> {
    pub(super) database: &'a mut Database,
    pub(super) shared: &'a mut Shared,
    pub(super) stats: &'a mut KeyspaceStats,
    pub(super) dirty: &'a mut u64,
    pub(super) index: usize,
    pub(super) now: Clock,
    pub(super) no_touch: bool,
}

/// How a lookup behaves.
#[derive(Clone, Copy)]
struct Look {
    /// Count hit or miss, and raise the miss event.
    count: bool,
    /// Refresh the access clock.
    refresh: bool,
}

/// The place of a key that has not expired; an expired one is removed on the way.
#[inline]
pub(super) fn live<'t>(
    table: &'t mut Table,
    shared: &mut Shared,
    stats: &mut KeyspaceStats,
    db: usize,
    now: Clock,
    (hash, key): (u64, &[u8]),
) -> Place<'t> {
    match table.place(hash, key) {
        Place::Held(held) if held.entry().is_expired(now.expiry_ms()) => {
            let (entry, table) = held.remove_to_free();
            shared.expired(entry, (db, key), stats);
            Place::Free(table)
        }
        place => place,
    }
}

/// [`live`] in a [`Db`]. A macro, for a method would borrow all of the `Db` for as long as the place lives.
macro_rules! live {
    ($db:ident, $hash:expr, $key:expr) => {
        live(
            &mut $db.database.table,
            $db.shared,
            $db.stats,
            $db.index,
            $db.now,
            ($hash, $key),
        )
    };
}

impl Db<'_> {
    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }
    /// The time by which its keys expire; fixed while a command runs.
    pub fn now(&self) -> Clock {
        self.now
    }
    /// Keys, expired but not yet removed ones included (DBSIZE).
    pub fn len(&self) -> usize {
        self.database.table.len()
    }
    /// Whether it has no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Looks a key up to read it: counts hit or miss, refreshes the access clock, raises the miss event.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        let refresh = !self.no_touch;
        self.find_live(
            key,
            Look {
                count: true,
                refresh,
            },
        )
    }
    /// The entry of a key, counted as a hit or a miss as by [`Db::read`], but without refreshing its access clock
    /// (TYPE, TTL).
    pub fn read_no_touch(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        self.find_live(
            key,
            Look {
                count: true,
                refresh: false,
            },
        )
    }
    /// The entry of a key, counted as by [`Db::read_no_touch`], without the event that tells of a miss (OBJECT).
    pub fn read_quietly(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        let found = self.peek(key).is_some();
        self.stats.hits += u64::from(found);
        self.stats.misses += u64::from(!found);
        self.peek(key)
    }
    /// Looks a key up without counting or refreshing (DEBUG).
    pub fn peek(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        self.find_live(
            key,
            Look {
                count: false,
                refresh: false,
            },
        )
    }
    /// Refreshes a key's access clock even for a client with NO-TOUCH (TOUCH); whether the key exists.
    pub fn refresh(&mut self, key: &[u8]) -> bool {
        self.find_live(
            key,
            Look {
                count: true,
                refresh: true,
            },
        )
        .is_some()
    }
    #[inline]
    fn find_live(&mut self, key: &[u8], look: Look) -> Option<EntryRef<'_>> {
        let hash = self.database.table.hash(key);
        if self.shared.frozen
            && let Place::Held(held) = self.database.table.place(hash, key)
            && held.entry().is_expired(self.now.expiry_ms())
        {
            self.stats.misses += u64::from(look.count);
            return None;
        }
        match live!(self, hash, key) {
            Place::Held(held) => {
                self.stats.hits += u64::from(look.count);
                if look.refresh {
                    self.shared.refresh(held.entry(), self.now);
                }
                Some(EntryRef::new(held.into_borrowed(), self.shared.policy))
            }
            Place::Free(_) => {
                if look.count {
                    self.stats.misses += 1;
                    self.shared
                        .events
                        .event(self.index, EventClass::KeyMiss, "keymiss", key);
                }
                None
            }
        }
    }
    /// Looks a key up again that this command has [`Db::read`]. It counts, refreshes and removes nothing, so that a
    /// command can hold the values of several keys at once.
    pub fn again(&self, key: &[u8]) -> Option<EntryRef<'_>> {
        let entry = self.database.table.get(key)?;
        // While writes are paused an expired key is still there, and `read` has hidden it.
        (!entry.is_expired(self.now.expiry_ms())).then(|| EntryRef::new(entry, self.shared.policy))
    }
    /// Whether a key is still there although its time is over, as while writes are paused.
    pub fn holds_expired(&self, key: &[u8]) -> bool {
        let entry = self.database.table.get(key);
        entry.is_some_and(|entry| entry.is_expired(self.now.expiry_ms()))
    }
    /// Seed for the hash tables of new collections.
    pub fn hash_seed(&self) -> HashSeed {
        self.shared.hash_seed
    }
    /// List elements of so many bytes get nodes of their own (0: the default).
    #[inline]
    pub fn list_packed_threshold(&self) -> usize {
        self.shared.settings.list_packed_threshold
    }
    /// Removes a collection that a command has emptied, whose change it has signalled; raises `del`.
    pub fn remove_emptied(&mut self, key: &[u8]) {
        if self.remove(key, Free::Now) {
            self.event(EventClass::Generic, "del", key);
        }
    }
    /// A key's place, to change: refreshes the access clock, counts nothing.
    #[inline]
    pub fn entry<'s>(&'s mut self, key: &'s [u8]) -> KeyEntry<'s> {
        let hash = self.database.table.hash(key);
        match live!(self, hash, key) {
            Place::Held(held) => {
                if !self.no_touch {
                    self.shared.refresh(held.entry(), self.now);
                }
                KeyEntry::Occupied(OccupiedEntry {
                    held,
                    shared: self.shared,
                })
            }
            Place::Free(table) => KeyEntry::Vacant(VacantEntry {
                table,
                shared: self.shared,
                key,
                hash,
                db: self.index,
                now: self.now,
            }),
        }
    }
    /// Removes a key; whether it existed.
    pub fn remove(&mut self, key: &[u8], free: Free) -> bool {
        let hash = self.database.table.hash(key);
        match live!(self, hash, key) {
            Place::Held(held) => {
                let (entry, _) = held.remove_to_free();
                self.shared.free_entry(entry, free == Free::Lazily);
                true
            }
            Place::Free(_) => false,
        }
    }
    /// Whether a key that is there has a time, over or not.
    pub fn has_expiry(&mut self, key: &[u8]) -> bool {
        let hash = self.database.table.hash(key);
        match self.database.table.place(hash, key) {
            Place::Held(held) => held.entry().expire_at().is_some(),
            Place::Free(_) => false,
        }
    }
    /// Removes a key whose time is over, also while others of that kind stay; whether it was one.
    pub fn expire_own(&mut self, key: &[u8]) -> bool {
        let hash = self.database.table.hash(key);
        let now_ms = self.now.expiry_ms();
        let is_over = match self.database.table.place(hash, key) {
            Place::Held(held) => held.entry().is_expired(now_ms),
            Place::Free(_) => false,
        };
        if is_over {
            // It is `live` that removes it.
            let _ = live!(self, hash, key);
        }
        is_over
    }
    /// [`Db::remove`], of an expired key too: where Redis deletes without a look at the expiry, and tells it as `del`.
    pub fn remove_expired_or_not(&mut self, key: &[u8], free: Free) -> bool {
        let hash = self.database.table.hash(key);
        match self.database.table.place(hash, key) {
            Place::Held(held) => {
                let (entry, _) = held.remove_to_free();
                self.shared.free_entry(entry, free == Free::Lazily);
                true
            }
            Place::Free(_) => false,
        }
    }
    /// A copy of a value under another key, owned by nobody yet.
    pub(super) fn copied(&mut self, from: &[u8], to: &[u8], access: u32) -> Option<Entry> {
        let hash = self.database.table.hash(from);
        match live!(self, hash, from) {
            Place::Held(held) => {
                self.stats.hits += 1;
                self.shared.refresh(held.entry(), self.now);
                Some(held.entry().copied(to, access))
            }
            Place::Free(_) => {
                self.stats.misses += 1;
                self.shared
                    .events
                    .event(self.index, EventClass::KeyMiss, "keymiss", from);
                None
            }
        }
    }
    /// RENAME within this database: expiry goes along; `replace` false: RENAMENX. Two equal names are `SameObject`
    /// when the key exists.
    pub fn rename(&mut self, from: &[u8], to: &[u8], replace: bool) -> Result<(), TransferError> {
        let KeyEntry::Occupied(_) = self.entry(from) else {
            return Err(TransferError::NoSuchKey);
        };
        if from == to {
            return Err(TransferError::SameObject);
        }
        if matches!(self.entry(to), KeyEntry::Occupied(_)) && !replace {
            return Err(TransferError::TargetExists);
        }
        let hash = self.database.table.hash(from);
        let Place::Held(held) = self.database.table.place(hash, from) else {
            return Err(TransferError::NoSuchKey);
        };
        let entry = held.remove().0.renamed(to);
        self.shared.put(self.index, &mut self.database.table, entry);
        Ok(())
    }
    /// Says that a key has changed: to be called once for every change, with its event (`set`, `del`, `expire`...).
    #[inline]
    pub fn signal_modified(&mut self, class: EventClass, event: &'static str, key: &[u8]) {
        *self.dirty += 1;
        self.shared.events.modified(self.index, class, event, key);
    }
    /// A change that only the journal is to learn of: what consumer groups do with a stream's entries (XACK, XCLAIM,
    /// XREADGROUP) fails no watcher, wakes nobody and has no event in Redis.
    #[inline]
    pub fn count_change(&mut self) {
        *self.dirty += 1;
    }
    /// A further key of a change that has been signalled (RENAME's new name): told like a change, but not dirty again.
    pub fn signal_also_modified(&mut self, class: EventClass, event: &'static str, key: &[u8]) {
        self.shared.events.modified(self.index, class, event, key);
    }
    /// A further event of a change that has been signalled (`expire` after `set` in SET EX): not dirty again.
    #[inline]
    pub fn event(&mut self, class: EventClass, event: &'static str, key: &[u8]) {
        self.shared.events.event(self.index, class, event, key);
    }
    /// One step of SCAN; calls back with each entry that is not expired. Expired ones are removed.
    pub fn scan(&mut self, cursor: u64, each: &mut dyn FnMut(EntryRef<'_>)) -> u64 {
        let (now_ms, policy) = (self.now.expiry_ms(), self.shared.policy);
        let mut expired: Vec<Vec<u8>> = Vec::new();
        let next = self.database.table.scan(cursor, &mut |entry| {
            if entry.is_expired(now_ms) {
                expired.push(entry.key().to_vec());
            } else {
                each(EntryRef::new(Borrowed::of(entry), policy));
            }
        });
        for key in expired {
            self.peek(&key);
        }
        next
    }
    /// Every entry that is not expired (KEYS; O(N)).
    pub fn for_each(&mut self, each: &mut dyn FnMut(EntryRef<'_>)) {
        let (now_ms, policy) = (self.now.expiry_ms(), self.shared.policy);
        self.database.table.for_each(&mut |entry| {
            if !entry.is_expired(now_ms) {
                each(EntryRef::new(Borrowed::of(entry), policy));
            }
        });
    }
    /// A random key that is not expired. Each expired one that is drawn is removed, as in Redis, so that the loop ends;
    /// its work is what expiry would have done anyway. While writes are paused nothing is removed: then, again as in
    /// Redis, one that has expired is named after so many vain draws.
    pub fn random_key(&mut self) -> Option<Vec<u8>> {
        const DRAWS_WHILE_FROZEN: u32 = 100;
        let mut draws = 0;
        loop {
            let rng = &mut self.shared.rng;
            let entry = self.database.table.random(false, &mut || rng.next_u64())?;
            let key = entry.key().to_vec();
            draws += 1;
            let give_up = self.shared.frozen && draws >= DRAWS_WHILE_FROZEN;
            if give_up || !entry.is_expired(self.now.expiry_ms()) {
                return Some(key);
            }
            self.peek(&key);
        }
    }
}
