//! A key's place in a database: found with one hash, then read, changed, created or removed.

use super::entry::{Borrowed, Entry, Held, Table};
use super::keyspace::{Free, Shared};
use super::{AccessPolicy, Clock, EventClass, Expiry, NewValue, Type, Value, WrongType};

/// A stored key with its value, read-only.
pub struct EntryRef<'a> {
    entry: Borrowed<'a>,
    policy: AccessPolicy,
}

impl<'a> EntryRef<'a> {
    pub(super) fn new(entry: Borrowed<'a>, policy: AccessPolicy) -> EntryRef<'a> {
        EntryRef { entry, policy }
    }
    /// The key.
    pub fn key(&self) -> &[u8] {
        self.entry.key()
    }
    /// Type of the value.
    pub fn kind(&self) -> Type {
        self.entry.kind()
    }
    /// The value of a string; else WRONGTYPE.
    #[inline]
    pub fn string(&self) -> Result<Value<'_>, WrongType> {
        self.entry.string()
    }
    /// Unix ms of expiry.
    pub fn expire_at(&self) -> Option<i64> {
        self.entry.expire_at()
    }
    /// Name for OBJECT ENCODING.
    pub fn encoding(&self) -> &'static str {
        self.entry.encoding()
    }
    /// Milliseconds since the last access, in steps of a second (OBJECT IDLETIME); 0 under an LFU policy.
    pub fn idle_ms(&self, now: Clock) -> u64 {
        if self.policy.lfu {
            0
        } else {
            self.policy.idle_ms(self.entry.access(), now)
        }
    }
    /// LFU counter after decay (OBJECT FREQ).
    pub fn frequency(&self, now: Clock) -> u8 {
        self.policy.decayed(self.entry.access(), now)
    }
    /// Raw 24-bit access clock (DEBUG OBJECT `lru:`).
    pub fn lru_bits(&self) -> u32 {
        self.entry.access()
    }
    /// Bytes of entry and value with the allocator's rounding (MEMORY USAGE).
    pub fn memory_bytes(&self) -> usize {
        self.entry.memory_bytes()
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
    pub(super) held: Held<'a>,
    pub(super) shared: &'a mut Shared,
}

impl Occupied<'_> {
    /// To read.
    pub fn entry(&self) -> EntryRef<'_> {
        EntryRef::new(Borrowed::of(self.held.entry()), self.shared.policy)
    }
    /// Replaces the value, whatever its type (an overwritten large value is freed by `lazyfree-lazy-server-del`).
    #[inline]
    pub fn set(&mut self, value: NewValue<'_>, expiry: Expiry) {
        let at = match expiry {
            Expiry::Keep => self.held.entry().expire_at(),
            Expiry::Clear => None,
            Expiry::At(at) => Some(at),
        };
        let old = self.held.assign(value, at);
        self.free(old);
    }
    /// Appends to a string (an integer becomes raw); the new length. The caller has checked the limit.
    pub fn append(&mut self, bytes: &[u8]) -> Result<usize, WrongType> {
        let (len, old) = self.held.append(bytes)?;
        self.free(old);
        Ok(len)
    }
    /// Overwrites from `offset`, padding with zero bytes; the new length. The caller has checked the limit.
    pub fn set_range(&mut self, offset: usize, bytes: &[u8]) -> Result<usize, WrongType> {
        let (len, old) = self.held.set_range(offset, bytes)?;
        self.free(old);
        Ok(len)
    }
    /// Sets or removes the expiry.
    pub fn set_expiry(&mut self, at_ms: Option<i64>) {
        let old = self.held.set_expiry(at_ms);
        self.free(old);
    }
    /// Removes the key.
    pub fn remove(self, free: Free) {
        let (entry, _) = self.held.remove();
        self.shared.free_entry(entry, free == Free::Lazily);
    }
    #[inline]
    fn free(&mut self, old: Option<Entry>) {
        if let Some(old) = old {
            let lazily = self.shared.settings.lazy_server_del;
            self.shared.free_entry(old, lazily);
        }
    }
}

/// A key that does not exist, to create.
pub struct Vacant<'a> {
    pub(super) table: &'a mut Table,
    pub(super) shared: &'a mut Shared,
    pub(super) key: &'a [u8],
    pub(super) hash: u64,
    pub(super) db: usize,
    pub(super) now: Clock,
}

impl Vacant<'_> {
    /// Creates it. The `new` event is raised here; the command's own event is the command's to `touch`.
    #[inline]
    pub fn insert(self, value: NewValue<'_>, expiry: Expiry) {
        let at = match expiry {
            Expiry::At(at) => Some(at),
            Expiry::Keep | Expiry::Clear => None,
        };
        let entry = Entry::new(self.key, value, self.shared.policy.fresh(self.now), at);
        self.table.insert(self.hash, entry);
        self.shared
            .trail
            .event(self.db, EventClass::New, "new", self.key);
    }
}
