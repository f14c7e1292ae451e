//! All databases and what they share.

use super::database::live;
use super::entry::Entry;
use super::events::Events;
use super::evict::EvictionPool;
use super::expire::ExpireState;
use super::lazyfree::FreeThread;
use super::long_strings::LongStrings;
use super::table::{Borrowed, Place, Table};
use super::waiting::Became;
use super::{AccessPolicy, Clock, Db, EntryRef, EventClass, KeyspaceEvent, Type, Waiter, interest};
use crate::structures::dict::{Distribution, HashSeed};
use crate::structures::hash::Hash;
use crate::system::machine::{Machine, Stopwatch};
use crate::system::rng::Rng;
use std::collections::VecDeque;

/// How a removed value is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    /// The value is freed before the command returns (DEL).
    Now,
    /// The value is freed by the free thread when it is large (UNLINK, lazyfree-* directives).
    Lazily,
    /// The same for whole databases whose end somebody waits for ([`Keyspace::ring_when_freed`]).
    Awaited,
}

/// Why a key cannot be copied, moved or renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TransferError {
    NoSuchKey,
    TargetExists,
    SameObject,
}

/// Counters of the keyspace (INFO stats).
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct KeyspaceStats {
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
    pub expired_subkeys: u64,
    pub evicted: u64,
    pub expired_stale_perc: f64,
    pub expired_time_cap_reached: u64,
    pub expire_cycle_cpu_ms: u64,
    /// Objects handed to the free thread, those of [`Keyspace::lazyfree_pending`] included; brought up to date by
    /// [`Keyspace::fold_stats`].
    pub lazyfreed: u64,
}

/// Settings that the keyspace needs; handed over again by `configure` after CONFIG SET.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyspaceSettings {
    /// Access clocks are LFU counters instead of LRU times.
    pub lfu: bool,
    /// `lfu-log-factor`.
    pub lfu_log_factor: u32,
    /// `lfu-decay-time`, minutes.
    pub lfu_decay_minutes: u32,
    /// `lazyfree-lazy-expire`.
    pub lazy_expire: bool,
    /// `lazyfree-lazy-eviction`.
    pub lazy_eviction: bool,
    /// `lazyfree-lazy-server-del` (implicit DEL of RENAME, SET over a key).
    pub lazy_server_del: bool,
    /// Keys expire by themselves (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expire: bool,
    /// List elements of so many bytes get nodes of their own (DEBUG QUICKLIST-PACKED-THRESHOLD); 0: the default.
    pub list_packed_threshold: usize,
    /// The removal of each expired key is timed (for LATENCY).
    pub times_removals: bool,
}

/// One database.
pub(super) struct Database {
    pub(super) table: Table,
    /// Running average of the time to live, ms.
    pub(super) average_ttl_ms: u64,
    /// Where active expiry goes on.
    pub(super) expire_cursor: u64,
}

impl Database {
    fn new(seed: HashSeed, indexes_slots: bool) -> Database {
        let mut table = Table::new(seed);
        if indexes_slots {
            table.index_slots();
        }
        Database {
            table,
            average_ttl_ms: 0,
            expire_cursor: 0,
        }
    }
}

/// What all databases share.
pub(super) struct Shared {
    pub(super) settings: KeyspaceSettings,
    /// Nothing expires or is evicted (CLIENT PAUSE).
    pub(super) frozen: bool,
    pub(super) policy: AccessPolicy,
    pub(super) free: FreeThread,
    /// Objects handed to the free thread since [`Keyspace::fold_stats`].
    pub(super) lazyfreed: u64,
    pub(super) rng: Rng,
    pub(super) events: Events,
    /// Keys the hash of databases and collections.
    pub(super) hash_seed: HashSeed,
    /// The longest removal of an expired key since it was asked for, ns; 0 unless they are timed.
    pub(super) slowest_removal_ns: u64,
    /// What times them.
    pub(super) stopwatch: Stopwatch,
    /// Databases keep an account of the keys of each slot of a cluster.
    pub(super) indexes_slots: bool,
    /// Long strings that are shared with those to whom a reading gave them.
    pub(super) long_strings: LongStrings,
}

impl Shared {
    /// Frees an entry that no table knows any more.
    #[inline]
    pub(super) fn free_entry(&mut self, entry: impl Into<Option<Entry>>, lazily: bool) {
        if let Some(entry) = entry.into() {
            self.lazyfreed += self.free.entry(entry, lazily);
        }
    }
    /// What follows from the removal of an expired entry.
    #[cold]
    pub(super) fn expired(
        &mut self,
        entry: Option<Entry>,
        (db, key): (usize, &[u8]),
        stats: &mut KeyspaceStats,
    ) {
        stats.expired += 1;
        self.events
            .modified(db, EventClass::Expired, "expired", key);
        let Some(entry) = entry else { return };
        if !self.settings.times_removals {
            return self.free_entry(entry, self.settings.lazy_expire);
        }
        let begin_ns = self.stopwatch.now_ns();
        self.free_entry(entry, self.settings.lazy_expire);
        let ns = self.stopwatch.since_ns(begin_ns);
        self.slowest_removal_ns = self.slowest_removal_ns.max(ns);
    }
    /// Brings the access clock up to date.
    #[inline]
    pub(super) fn refresh(&mut self, entry: &Entry, now: Clock) {
        entry.set_access(self.policy.accessed(entry.access(), now, &mut self.rng));
    }
    /// Puts an entry where its key belongs, over another one if there is one.
    pub(super) fn put(&mut self, db: usize, table: &mut Table, entry: Entry) {
        let hash = table.hash(entry.key());
        // What was there is replaced by another key of the same name.
        self.events.event(db, EventClass::New, "new", entry.key());
        match table.place(hash, entry.key()) {
            Place::Held(mut held) => {
                if let Some(old) = held.replace(entry) {
                    self.free_entry(old, self.settings.lazy_server_del);
                }
            }
            Place::Free(table) => table.insert(hash, entry),
        }
    }
}

/// All databases and what they share.
pub struct Keyspace {
    /// Changes since the last save (INFO `rdb_changes_since_last_save`).
    pub dirty: u64,
    /// Counters.
    pub stats: KeyspaceStats,
    pub(super) databases: Vec<Database>,
    pub(super) shared: Shared,
    pub(super) expiring: ExpireState,
    pub(super) pool: EvictionPool,
    /// Tables that flushes have removed while they were read.
    pub(super) removed_tables: Vec<Table>,
    /// Large values that somebody waits for, by the number that their database had when the reading began.
    pub(super) wished: VecDeque<(usize, Box<[u8]>)>,
    /// Wishes so far.
    pub(super) wishes: u64,
    /// Clients that have waited for one, and need not any more.
    pub(super) released: Vec<u64>,
    /// Large values that earlier readings of a point in time had to read at once.
    pub(super) hurried: u64,
    /// The longest of the last one's, until it is asked for, ns.
    pub(super) slowest_hurry_ns: u64,
}

impl Keyspace {
    /// `count` databases; `seed` keys the hash and all sampling.
    pub fn new(count: usize, seed: [u64; 4]) -> Keyspace {
        let hash_seed = HashSeed(seed);
        let databases = (0..count.max(1))
            .map(|_| Database::new(hash_seed, false))
            .collect();
        let settings = KeyspaceSettings {
            lfu_log_factor: 10,
            lfu_decay_minutes: 1,
            active_expire: true,
            ..Default::default()
        };
        Keyspace {
            dirty: 0,
            stats: KeyspaceStats::default(),
            databases,
            shared: Shared {
                settings,
                frozen: false,
                policy: AccessPolicy::default(),
                free: FreeThread::default(),
                lazyfreed: 0,
                rng: Rng::new(seed[0] ^ seed[2].rotate_left(32)),
                events: Events::default(),
                hash_seed,
                indexes_slots: false,
                long_strings: LongStrings::default(),
                slowest_removal_ns: 0,
                stopwatch: Stopwatch::default(),
            },
            expiring: ExpireState::default(),
            pool: EvictionPool::default(),
            removed_tables: Vec::new(),
            wished: VecDeque::new(),
            wishes: 0,
            released: Vec::new(),
            hurried: 0,
            slowest_hurry_ns: 0,
        }
    }
    /// Sets who frees what would take long and what times that, before there is anything.
    pub fn set_machine(&mut self, machine: &Machine) {
        self.shared.free = FreeThread::new(&machine.jobs);
        self.shared.stopwatch = machine.stopwatch;
    }
    /// Takes changed directives.
    pub fn configure(&mut self, settings: KeyspaceSettings) {
        let KeyspaceSettings {
            lfu,
            lfu_log_factor: log_factor,
            lfu_decay_minutes: decay_minutes,
            ..
        } = settings;
        self.shared.policy = AccessPolicy {
            lfu,
            log_factor,
            decay_minutes,
        };
        self.shared.settings = settings;
    }
    /// While writes are paused the data stays as it is: expired keys are answered as missing but not removed, and
    /// nothing is evicted.
    pub fn freeze(&mut self, frozen: bool) {
        self.shared.frozen = frozen;
    }
    /// The settings in force.
    pub fn settings(&self) -> KeyspaceSettings {
        self.shared.settings
    }
    /// Keeps an account of the keys of each slot of a cluster from here on. O(N) where there are keys.
    pub fn index_slots(&mut self) {
        self.shared.indexes_slots = true;
        for database in &mut self.databases {
            database.table.index_slots();
        }
    }
    /// Keys in a slot of a database, those included that have expired but are still there; [`Keyspace::index_slots`] was called.
    pub fn keys_in_slot(&self, index: usize, slot: u16) -> usize {
        let database = self.databases.get(index);
        database.map_or(0, |database| database.table.keys_in_slot(slot))
    }
    /// Some of these keys, in no order.
    pub fn some_keys_in_slot(&mut self, index: usize, slot: u16, most: usize) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        if let Some(database) = self.databases.get_mut(index)
            && most > 0
        {
            database.table.for_each_in_slot(slot, &mut |entry| {
                keys.push(entry.key().to_vec());
                keys.len() < most
            });
        }
        keys
    }
    /// Number of databases.
    pub fn count(&self) -> usize {
        self.databases.len()
    }
    /// A database as a command sees it; `index` is below `count` (SELECT sees to it). `no_touch`: reads leave the
    /// access clock alone (CLIENT NO-TOUCH).
    #[inline]
    pub fn db(&mut self, index: usize, now: Clock, no_touch: bool) -> Db<'_> {
        Db {
            database: &mut self.databases[index],
            shared: &mut self.shared,
            stats: &mut self.stats,
            dirty: &mut self.dirty,
            index,
            now,
            no_touch,
        }
    }
    /// (keys, keys with expiry, average TTL in ms) of a database, without changing it.
    pub fn figures(&self, index: usize) -> (usize, usize, u64) {
        let database = &self.databases[index];
        (
            database.table.len(),
            database.table.volatile_len(),
            database.average_ttl_ms,
        )
    }
    /// How many keys of a database have what size.
    pub fn sizes(&self, index: usize) -> super::Sizes {
        self.databases[index].table.sizes()
    }
    /// Bytes of a database's hash tables without its entries: (main, expires), as MEMORY STATS tells them.
    pub fn overhead_bytes(&self, index: usize) -> (usize, usize) {
        self.databases[index].table.memory_bytes()
    }

    /// Shapes of a database's hash tables: (main, expires), for DEBUG HTSTATS. Reads every bucket.
    pub fn distributions(&self, index: usize) -> (Distribution, Distribution) {
        self.databases[index].table.distributions()
    }

    /// Seed for the hash tables of new collections.
    pub fn hash_seed(&self) -> HashSeed {
        self.shared.hash_seed
    }
    /// Every entry of a database, those included that have expired but are still there (snapshots). O(N).
    pub fn for_each(&self, index: usize, each: &mut dyn FnMut(EntryRef<'_>)) {
        let policy = self.shared.policy;
        self.databases[index]
            .table
            .for_each(&mut |entry| each(EntryRef::new(Borrowed::of(entry), policy)));
    }
    /// Switches a service's interest in keyspace events on or off; bits of [`super::interest`]. Notifications are
    /// about all classes of events until [`Keyspace::set_notified`] narrows them.
    pub fn set_interest(&mut self, service: u32, on: bool) {
        if service & interest::NOTIFICATIONS != 0 {
            self.shared.events.notified = if on { u32::MAX } else { 0 };
        }
        let interest = &mut self.shared.events.interest;
        *interest = if on {
            *interest | service
        } else {
            *interest & !service
        };
    }
    /// Says which classes of events the notifications are about: bits of [`EventClass::bit`].
    pub fn set_notified(&mut self, classes: u32) {
        self.shared.events.notified = classes;
    }
    /// Bits of the classes of events that the notifications are about.
    pub fn notified(&self) -> u32 {
        self.shared.events.notified
    }
    /// Services interested in the events.
    #[cfg(test)]
    pub fn interest(&self) -> u32 {
        self.shared.events.interest
    }
    /// Whether there is anything to take.
    pub fn has_events(&self) -> bool {
        !self.shared.events.is_empty()
    }
    /// Memory of the events that nobody has taken yet, bytes.
    pub fn event_memory(&self) -> usize {
        self.shared.events.memory_bytes()
    }
    /// Gives the events away, in the order of the changes; to be taken after each command, cycle of expiry and
    /// eviction.
    pub fn take_events(&mut self) -> Vec<KeyspaceEvent> {
        self.shared.events.take()
    }
    /// Takes back the list that was given away, so that its memory is used again.
    pub fn reuse_events(&mut self, taken: Vec<KeyspaceEvent>) {
        self.shared.events.reuse(taken);
    }
    /// What was given away last, once it is back.
    #[cfg(test)]
    pub fn taken_events(&self) -> &[KeyspaceEvent] {
        self.shared.events.taken()
    }

    /// SWAPDB. Counts as one change; clients stay in the number they selected.
    pub fn swap(&mut self, a: usize, b: usize, now: Clock) {
        if a != b {
            // Watched keys whose time is over go first: one that arrives in the other database would go there later,
            // and be taken for a change of something that its watchers never saw.
            for name in self.shared.events.watched.names(&[a, b]) {
                self.db(a, now, true).peek(&name);
                self.db(b, now, true).peek(&name);
            }
            self.concern_swapped(a, b);
            self.concern_swapped(b, a);
            self.databases.swap(a, b);
            self.shared.events.whole(KeyspaceEvent::Swapped { a, b });
        }
        self.dirty += 1;
    }
    /// COPY within or across databases, expiry included. The command touches the new key.
    pub fn copy(
        &mut self,
        (from_db, from): (usize, &[u8]),
        (to_db, to): (usize, &[u8]),
        replace: bool,
        now: Clock,
    ) -> Result<(), TransferError> {
        if from_db == to_db && from == to {
            return Err(TransferError::SameObject);
        }
        let access = self.shared.policy.fresh(now);
        let copied = self
            .db(from_db, now, false)
            .copied(from, to, access)
            .ok_or(TransferError::NoSuchKey)?;
        if self.db(to_db, now, true).peek(to).is_some() && !replace {
            return Err(TransferError::TargetExists);
        }
        self.shared
            .put(to_db, &mut self.databases[to_db].table, copied);
        Ok(())
    }
    /// MOVE. The command touches the key in both databases.
    pub fn move_key(
        &mut self,
        from: usize,
        to: usize,
        key: &[u8],
        now: Clock,
    ) -> Result<(), TransferError> {
        if from == to {
            return Err(TransferError::SameObject);
        }
        if self.db(from, now, false).peek(key).is_none() {
            return Err(TransferError::NoSuchKey);
        }
        if self.db(to, now, false).peek(key).is_some() {
            return Err(TransferError::TargetExists);
        }
        let hash = self.hash(key);
        let place = live(
            &mut self.databases[from].table,
            &mut self.shared,
            &mut self.stats,
            from,
            now,
            (hash, key),
        );
        let Place::Held(held) = place else {
            return Err(TransferError::NoSuchKey);
        };
        let (entry, _) = held.remove();
        // It may replace a key that has expired: while nothing is removed, such a key is not seen but still there.
        self.shared.put(to, &mut self.databases[to].table, entry);
        Ok(())
    }
    /// Empties one database or all (`None`); number of keys removed. Whether that is a change to be saved and propagated
    /// is up to the caller, who counts it in `dirty`: it is one for FLUSHALL, and none where data is loaded anew. With
    /// `Free::Now` it is O(N); else whole tables are handed to a thread.
    pub fn flush(&mut self, db: Option<usize>, free: Free) -> u64 {
        let range = match db {
            Some(index) => index..index + 1,
            None => 0..self.databases.len(),
        };
        let mut removed = 0;
        for index in range.clone() {
            self.concern_all(index, None);
        }
        for index in range {
            let database = &mut self.databases[index];
            if database.table.len() == 0 {
                continue;
            }
            let new = Database::new(self.shared.hash_seed, self.shared.indexes_slots);
            let old = std::mem::replace(database, new).table;
            removed += old.len() as u64;
            self.free_table(old, free);
        }
        self.fold_stats();
        self.shared.events.whole(KeyspaceEvent::Flushed { db });
        removed
    }
    /// As many empty databases, with the same settings: for data that are to be put in the place of these.
    pub fn beside(&self) -> Keyspace {
        let HashSeed(seed) = self.shared.hash_seed;
        let mut beside = Keyspace::new(self.count(), seed);
        beside.configure(self.shared.settings);
        if self.shared.indexes_slots {
            beside.index_slots();
        }
        beside
    }
    /// Puts the databases of another keyspace, which was [`Keyspace::beside`] this one, in the place of its own; these are freed
    /// by the free thread. Whoever waits for keys or watches them is told as by [`Keyspace::swap`], whoever caches them as by
    /// [`Keyspace::flush`].
    pub fn take_over(&mut self, mut new: Keyspace, now: Clock) {
        debug_assert_eq!(new.count(), self.count());
        let all: Vec<usize> = (0..self.databases.len()).collect();
        // As in `swap`.
        for name in self.shared.events.watched.names(&all) {
            for index in all.iter().copied() {
                self.db(index, now, true).peek(&name);
            }
        }
        for index in all {
            if let Some(other) = new.databases.get_mut(index) {
                self.concern_all(index, Some(&other.table));
                if let Some(own) = self.databases.get_mut(index) {
                    std::mem::swap(own, other);
                }
            }
        }
        self.shared
            .events
            .whole(KeyspaceEvent::Flushed { db: None });
        self.throw_away(new);
    }
    /// Has the free thread free a keyspace that was [`Keyspace::beside`] this one.
    pub fn throw_away(&mut self, other: Keyspace) {
        for database in other.databases {
            self.free_table(database.table, Free::Lazily);
        }
        self.fold_stats();
    }
    /// Tells those who wait for keys or watch them of data that were loaded where there were none.
    pub fn tell_of_new_data(&mut self) {
        let nothing = Table::new(self.shared.hash_seed);
        for (index, database) in self.databases.iter().enumerate() {
            let new = Some(&database.table);
            concern(&mut self.shared.events, index, &nothing, new);
        }
    }
    /// Frees a table that is of no database any more, when nobody reads it.
    fn free_table(&mut self, old: Table, free: Free) {
        if old.len() == 0 {
            return;
        }
        let (kept, figures) = (
            &mut self.removed_tables,
            (&mut self.released, &mut self.hurried),
        );
        let rng = &mut self.shared.rng;
        let random = &mut || rng.next_u64();
        let Some(old) = super::point_in_time::keep_while_read(kept, figures, random, old) else {
            return;
        };
        match free {
            Free::Now => drop(old),
            Free::Lazily => self.shared.lazyfreed += self.shared.free.table(old),
            Free::Awaited => self.shared.lazyfreed += self.shared.free.awaited_table(old),
        }
    }
    /// The free thread may wake the loop from now on, so that a command can wait for what it has to free.
    pub fn wake_with(&mut self, waker: crate::event_loop::Waker) {
        self.shared.free.wake_with(waker);
    }
    /// Whether a command can wait for the free thread.
    pub fn rings_when_freed(&self) -> bool {
        self.shared.free.can_ring()
    }
    /// Wakes the loop when all is free that was flushed until now with [`Free::Awaited`]; the number that [`Keyspace::rung`] has
    /// reached then. None where nothing is left to be freed.
    pub fn ring_when_freed(&mut self) -> Option<u64> {
        self.shared.free.ring_after()
    }
    /// See [`Keyspace::ring_when_freed`].
    pub fn rung(&self) -> u64 {
        self.shared.free.rung()
    }
    /// Frees a hash that is of no database (the table of client-side caching) in the free thread, if it is large.
    pub fn free_hash(&mut self, hash: Hash) {
        self.shared.lazyfreed += self.shared.free.hash(hash);
        self.fold_stats();
    }
    /// Tells those who wait for or watch keys of a database that it is about to be emptied or replaced.
    fn concern_all(&mut self, index: usize, replaced_with: Option<&Table>) {
        if let Some(database) = self.databases.get(index) {
            concern(
                &mut self.shared.events,
                index,
                &database.table,
                replaced_with,
            );
        }
    }
    /// The same for one that is about to be swapped with another.
    fn concern_swapped(&mut self, index: usize, other: usize) {
        if let (Some(old), Some(new)) = (self.databases.get(index), self.databases.get(other)) {
            concern(&mut self.shared.events, index, &old.table, Some(&new.table));
        }
    }
    /// Puts a client into the queues of `keys`; its ticket.
    pub fn wait(
        &mut self,
        db: usize,
        keys: &[Vec<u8>],
        client: u64,
        kind: Type,
        on_removal: bool,
    ) -> u64 {
        let waiting = &mut self.shared.events.waiting;
        let ticket = waiting.ticket();
        for key in keys {
            let waiter = Waiter {
                client,
                ticket,
                kind,
                on_removal,
            };
            waiting.add(db, key, waiter);
        }
        self.set_interest(interest::BLOCKED, true);
        ticket
    }
    /// Takes a client out of the queues of `keys`.
    pub fn end_wait(&mut self, db: usize, keys: &[Vec<u8>], ticket: u64) {
        let waiting = &mut self.shared.events.waiting;
        for key in keys {
            waiting.remove(db, key, ticket);
        }
        let waits = !waiting.is_empty();
        self.set_interest(interest::BLOCKED, waits);
    }
    /// Has those looked at again who wait for `keys`, as if they had changed.
    pub fn ready_again(&mut self, db: usize, keys: &[Vec<u8>]) {
        for key in keys {
            self.shared.events.waiting.key_changed(db, key);
        }
    }
    /// Whether a key that somebody waits for has changed.
    #[inline]
    pub fn has_ready(&self) -> bool {
        self.shared.events.waiting.has_ready()
    }
    /// Takes the keys that have changed and that somebody waits for, in the order of the changes.
    pub fn take_ready(&mut self) -> Vec<(usize, Vec<u8>)> {
        self.shared.events.waiting.take_ready()
    }
    /// The first client in a key's queue with a ticket above `after`.
    pub fn next_waiter(&self, db: usize, key: &[u8], after: u64) -> Option<Waiter> {
        self.shared.events.waiting.next(db, key, after)
    }
    /// Whether somebody waits for the removal of a key.
    pub fn waits_for_removal(&self, db: usize, key: &[u8]) -> bool {
        self.shared.events.waiting.any_on_removal(db, key)
    }
    /// Keys that somebody waits for, and those of them where somebody waits for the removal (INFO). O(clients that
    /// wait).
    pub fn waited_keys(&self) -> (usize, usize) {
        self.shared.events.waiting.keys()
    }
    /// The keys that somebody waits for, with the clients' ids, in no order. O(clients that wait).
    pub fn waiting(&self) -> impl Iterator<Item = (&[u8], impl Iterator<Item = u64>)> {
        self.shared.events.waiting.all()
    }
    /// Clients that watch, and keys that are watched (INFO). O(watched keys).
    pub fn watchers(&self) -> (usize, usize) {
        self.shared.events.watched.figures()
    }
    /// WATCH; whether the client did not watch the key before. `found_expired`: the key is there but its time is over.
    pub fn watch(&mut self, db: usize, key: &[u8], client: u64, found_expired: bool) -> bool {
        self.set_interest(interest::WATCHERS, true);
        self.shared
            .events
            .watched
            .add(db, key, client, found_expired)
    }
    /// Ends the watching of a key.
    pub fn unwatch(&mut self, db: usize, key: &[u8], client: u64) {
        let watched = &mut self.shared.events.watched;
        watched.remove(db, key, client);
        let watches = !watched.is_empty();
        self.set_interest(interest::WATCHERS, watches);
    }
    /// A key is being sent to another server, as it is now.
    pub fn begin_move(&mut self, db: usize, key: &[u8]) {
        self.set_interest(interest::MOVING, true);
        self.shared.events.moving.begin(db, key);
    }
    /// A key is on its way to another server no more; whether it has changed since it was sent.
    pub fn end_move(&mut self, db: usize, key: &[u8]) -> bool {
        let moving = &mut self.shared.events.moving;
        let changed = moving.end(db, key);
        let moves = !moving.is_empty();
        self.set_interest(interest::MOVING, moves);
        changed
    }
    /// Whether any key is on its way to another server.
    #[inline]
    pub fn has_moving(&self) -> bool {
        self.shared.events.interest & interest::MOVING != 0
    }
    /// Whether this key is on its way to another server.
    pub fn is_moving(&self, db: usize, key: &[u8]) -> bool {
        self.shared.events.moving.has(db, key)
    }
    /// Whether a watched key has changed.
    #[inline]
    pub fn has_dirty_watchers(&self) -> bool {
        self.shared.events.watched.has_dirty()
    }
    /// Takes the ids of the clients whose watched keys have changed; one may be there more than once.
    pub fn take_dirty_watchers(&mut self) -> Vec<u64> {
        self.shared.events.watched.take_dirty()
    }
    /// Brings counters that the shared part gathers into the public ones: before they are shown or reset.
    pub fn fold_stats(&mut self) {
        self.stats.lazyfreed += std::mem::take(&mut self.shared.lazyfreed);
    }
    /// The longest removal of an expired key since the last call, ns; 0 unless `times_removals` is set.
    pub fn take_slowest_removal_ns(&mut self) -> u64 {
        std::mem::take(&mut self.shared.slowest_removal_ns)
    }
    /// Objects handed to the free thread and not yet freed.
    pub fn lazyfree_pending(&self) -> u64 {
        self.shared.free.pending()
    }
    /// Makes room for so many keys and expiries that are about to come, `steps` buckets at most; whether there is.
    pub fn reserve_some(&mut self, db: usize, keys: usize, volatile: usize, steps: usize) -> bool {
        let database = self.databases.get_mut(db);
        database.is_none_or(|it| it.table.reserve_some(keys, volatile, steps))
    }
    /// Prefetches what a lookup of this key will touch; two calls (stage 0 the bucket, stage 1 the entry) around other
    /// work.
    #[inline]
    pub fn prefetch(&self, db: usize, key_hash: u64, stage: u32) {
        let Some(database) = self.databases.get(db) else {
            return;
        };
        if stage == 0 {
            database.table.prefetch_bucket(key_hash)
        } else {
            database.table.prefetch_element(key_hash)
        }
    }
    /// Hash of a key, for `prefetch`; the same in all databases.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.databases[0].table.hash(key)
    }
}

/// Tells those who wait for or watch keys of a database, whose table this is, that it is about to be emptied or replaced.
fn concern(events: &mut Events, index: usize, old: &Table, replaced_with: Option<&Table>) {
    events.moving.database_changed(index);
    if events.interest & (interest::BLOCKED | interest::WATCHERS) == 0 {
        return;
    }
    events.waiting.database_changed(index);
    let has = |table: &Table, key: &[u8]| table.contains(table.hash(key), key);
    events.watched.database_changed(index, |key| {
        let replaced = replaced_with.is_some_and(|new| has(new, key));
        match (has(old, key), replaced) {
            (_, true) => Became::Other,
            (true, false) => Became::Missing,
            (false, false) => Became::Same,
        }
    });
}
