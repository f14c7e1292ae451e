//! (being built: signatures first) One database, and what all databases share.

use super::{Clock, Expiry, NewValue, Type, Value, WrongType};
use std::marker::PhantomData;

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

/// How a removed value is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    /// Before the command returns (DEL).
    Now,
    /// By the free thread when it is large (UNLINK, lazyfree-* directives).
    Lazily,
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
    pub lazyfreed: u64,
}

/// What one cycle of active expiry did.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct ExpireCycle {
    pub expired: u64,
    pub time_cap_reached: bool,
}

/// All databases and what they share.
pub struct Keyspace {
    /// Changes since the last save (INFO `rdb_changes_since_last_save`).
    pub dirty: u64,
    /// Counters.
    pub stats: KeyspaceStats,
    // databases, hash seed, LRU/LFU policy and factors, free thread's channel, touched-key trail, rng
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
}

impl Keyspace {
    /// `count` databases; `seed` keys the hash and all sampling.
    pub fn new(_count: usize, _seed: [u64; 4]) -> Keyspace {
        todo!()
    }
    /// Takes changed directives.
    pub fn configure(&mut self, _settings: KeyspaceSettings) {}
    /// Number of databases.
    pub fn count(&self) -> usize {
        todo!()
    }
    /// A database as a command sees it. `no_touch`: reads leave the access clock alone (CLIENT NO-TOUCH).
    pub fn db(&mut self, _index: usize, _now: Clock, _no_touch: bool) -> Db<'_> {
        todo!()
    }
    /// (keys, keys with expiry, average TTL in ms) of a database, without changing it.
    pub fn figures(&self, _index: usize) -> (usize, usize, u64) {
        todo!()
    }
    /// SWAPDB.
    pub fn swap(&mut self, _a: usize, _b: usize) {}
    /// COPY within or across databases, expiry included.
    pub fn copy(
        &mut self,
        _from: (usize, &[u8]),
        _to: (usize, &[u8]),
        _replace: bool,
        _now: Clock,
    ) -> Result<(), TransferError> {
        todo!()
    }
    /// MOVE.
    pub fn move_key(
        &mut self,
        _from: usize,
        _to: usize,
        _key: &[u8],
        _now: Clock,
    ) -> Result<(), TransferError> {
        todo!()
    }
    /// FLUSHDB (one) or FLUSHALL (`None`): number of keys removed.
    pub fn flush(&mut self, _db: Option<usize>, _free: Free) -> u64 {
        todo!()
    }
    /// One cycle of active expiry within a time budget (`clock` is called between small steps).
    pub fn expire_cycle(
        &mut self,
        _now: Clock,
        _effort: u32,
        _budget_ns: u64,
        _clock: &mut dyn FnMut() -> u64,
    ) -> ExpireCycle {
        todo!()
    }
    /// Evicts one key by the policy: its database and key, or `None` where nothing can be evicted.
    pub fn evict_one(
        &mut self,
        _policy: crate::config::MaxmemoryPolicy,
        _samples: u32,
        _now: Clock,
    ) -> Option<(usize, Vec<u8>)> {
        todo!()
    }
    /// Objects handed to the free thread and not yet freed.
    pub fn lazyfree_pending(&self) -> u64 {
        0
    }
    /// Prefetches what a lookup of this key will touch; two calls (stage 0 the bucket, stage 1 the entry) around other work.
    pub fn prefetch(&self, _db: usize, _key_hash: u64, _stage: u32) {}
    /// Hash of a key, for `prefetch`.
    pub fn hash(&self, _key: &[u8]) -> u64 {
        0
    }
}

/// One database as a command sees it: time and access rules included. Expired keys do not exist here.
pub struct Db<'a> {
    _p: PhantomData<&'a mut ()>,
}

/// A stored key with its value, read-only.
pub struct EntryRef<'a> {
    _p: PhantomData<&'a ()>,
}

impl<'a> EntryRef<'a> {
    /// The key.
    pub fn key(&self) -> &[u8] {
        todo!()
    }
    /// Type of the value.
    pub fn kind(&self) -> Type {
        todo!()
    }
    /// The value of a string; else WRONGTYPE.
    pub fn string(&self) -> Result<Value<'_>, WrongType> {
        todo!()
    }
    /// Unix ms of expiry.
    pub fn expire_at(&self) -> Option<i64> {
        todo!()
    }
    /// Name for OBJECT ENCODING.
    pub fn encoding(&self) -> &'static str {
        todo!()
    }
    /// Seconds since the last access (OBJECT IDLETIME), 0 under an LFU policy.
    pub fn idle_ms(&self, _now: Clock) -> u64 {
        todo!()
    }
    /// LFU counter after decay (OBJECT FREQ).
    pub fn frequency(&self, _now: Clock) -> u8 {
        todo!()
    }
    /// Raw 24-bit access clock (DEBUG OBJECT `lru:`).
    pub fn lru_bits(&self) -> u32 {
        todo!()
    }
    /// Bytes of entry and value with the allocator's rounding (MEMORY USAGE).
    pub fn memory_bytes(&self) -> usize {
        todo!()
    }
}

/// A key's place in the database, found with one hash.
pub enum Slot<'a> {
    /// The key exists.
    Occupied(Occupied<'a>),
    /// It does not (or has just expired).
    Vacant(Vacant<'a>),
}

/// An existing key, to change. Changing calls do not `touch`: the command does, once, naming its event.
pub struct Occupied<'a> {
    _p: PhantomData<&'a mut ()>,
}

impl Occupied<'_> {
    /// To read.
    pub fn entry(&self) -> EntryRef<'_> {
        todo!()
    }
    /// Replaces the value, whatever its type (an overwritten large value is freed by `lazyfree-lazy-server-del`).
    pub fn set(&mut self, _value: NewValue<'_>, _expiry: Expiry) {}
    /// Appends to a string (an integer becomes raw); the new length. The caller has checked the limit.
    pub fn append(&mut self, _bytes: &[u8]) -> Result<usize, WrongType> {
        todo!()
    }
    /// Overwrites from `offset`, padding with zero bytes; the new length.
    pub fn set_range(&mut self, _offset: usize, _bytes: &[u8]) -> Result<usize, WrongType> {
        todo!()
    }
    /// Sets or removes the expiry.
    pub fn set_expiry(&mut self, _at_ms: Option<i64>) {}
    /// Removes the key.
    pub fn remove(self, _free: Free) {}
}

/// A key that does not exist, to create.
pub struct Vacant<'a> {
    _p: PhantomData<&'a mut ()>,
}

impl Vacant<'_> {
    /// Creates it.
    pub fn insert(self, _value: NewValue<'_>, _expiry: Expiry) {}
}

impl Db<'_> {
    /// Its number.
    pub fn index(&self) -> usize {
        todo!()
    }
    /// Keys, expired but not yet removed ones included (DBSIZE).
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether it has no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Looks a key up to read it: counts hit or miss, refreshes the access clock, raises the miss event.
    pub fn read(&mut self, _key: &[u8]) -> Option<EntryRef<'_>> {
        todo!()
    }
    /// Looks a key up without counting or refreshing (TYPE, OBJECT, TTL, DEBUG).
    pub fn peek(&mut self, _key: &[u8]) -> Option<EntryRef<'_>> {
        todo!()
    }
    /// A key's place, to change: refreshes the access clock, counts nothing.
    pub fn slot(&mut self, _key: &[u8]) -> Slot<'_> {
        todo!()
    }
    /// Removes a key; whether it existed.
    pub fn remove(&mut self, _key: &[u8], _free: Free) -> bool {
        todo!()
    }
    /// RENAME within this database: expiry goes along; `replace` false: RENAMENX.
    pub fn rename(
        &mut self,
        _from: &[u8],
        _to: &[u8],
        _replace: bool,
    ) -> Result<(), TransferError> {
        todo!()
    }
    /// The door: every change to a key is told here, once per change, with its event (`set`, `del`, `expire`...).
    pub fn touch(&mut self, _class: EventClass, _event: &'static str, _key: &[u8]) {}
    /// One step of SCAN; calls back with each entry that is not expired.
    pub fn scan(&mut self, _cursor: u64, _each: &mut dyn FnMut(EntryRef<'_>)) -> u64 {
        todo!()
    }
    /// Every entry that is not expired (KEYS; O(N)).
    pub fn for_each(&mut self, _each: &mut dyn FnMut(EntryRef<'_>)) {}
    /// A random key that is not expired.
    pub fn random_key(&mut self) -> Option<Vec<u8>> {
        todo!()
    }
}
