//! A key's place in a database: found with one hash, then read, changed, created or removed.

use super::entry::Entry;
use super::keyspace::{Free, Shared};
use super::table::{Borrowed, Held, Table};
use super::{AccessPolicy, Clock, EventClass, Expiry, NewValue, Stored, Type, Value, WrongType};
use crate::structures::dict::HashSeed;
use crate::structures::hash::Hash;
use crate::structures::list::List;
use crate::structures::set::Set;
use crate::structures::sorted_set::SortedSet;
use crate::structures::stream::Stream;

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
    /// Bytes of entry and value with the allocator's rounding (MEMORY USAGE); elements of a collection are extrapolated
    /// from `samples` of them (0: all are counted).
    pub fn memory_bytes(&self, samples: usize) -> usize {
        self.entry.memory_bytes(samples)
    }
    /// The list; else WRONGTYPE.
    #[inline]
    pub fn list(&self) -> Result<&List, WrongType> {
        self.entry.list()
    }
    /// The set; else WRONGTYPE.
    #[inline]
    pub fn set(&self) -> Result<&Set, WrongType> {
        self.entry.set()
    }
    /// The sorted set; else WRONGTYPE.
    #[inline]
    pub fn sorted_set(&self) -> Result<&SortedSet, WrongType> {
        self.entry.sorted_set()
    }
    /// The hash; else WRONGTYPE.
    #[inline]
    pub fn hash(&self) -> Result<&Hash, WrongType> {
        self.entry.hash()
    }
    /// The stream; else WRONGTYPE.
    #[inline]
    pub fn stream(&self) -> Result<&Stream, WrongType> {
        self.entry.stream()
    }
    /// The value, whatever its type.
    pub fn stored(&self) -> Stored<'_> {
        self.entry.stored()
    }
}

/// A key's place in the database, found with one hash.
pub enum KeyEntry<'a> {
    /// The key exists.
    Occupied(OccupiedEntry<'a>),
    /// It does not (or has just expired).
    Vacant(VacantEntry<'a>),
}

/// An existing key, to change. Changing calls signal nothing: the command calls [`super::Db::signal_modified`], once,
/// naming its event.
pub struct OccupiedEntry<'a> {
    pub(super) held: Held<'a>,
    pub(super) shared: &'a mut Shared,
}

/// A long string was copied, since then.
#[inline]
fn note_copy(shared: &mut Shared, begin_ns: Option<u64>) {
    if let Some(begin_ns) = begin_ns {
        let ns = shared.stopwatch.since_ns(begin_ns);
        let strings = &mut shared.long_strings;
        strings.slowest_copy_ns = strings.slowest_copy_ns.max(ns);
    }
}

impl OccupiedEntry<'_> {
    /// The entry, to read.
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
    /// To be called before a string is changed in place. Where that copies a long one which is shared with a save: when it
    /// began, ns, which is for [`note_copy`].
    #[inline]
    fn before_string_change(&mut self) -> Option<u64> {
        let strings = &mut self.shared.long_strings;
        let copied = strings.copied;
        self.held.before_string_change(strings);
        (strings.copied != copied).then(|| self.shared.stopwatch.now_ns())
    }
    /// Appends to a string (an integer becomes raw); the new length. The caller has checked the limit.
    pub fn append(&mut self, bytes: &[u8]) -> Result<usize, WrongType> {
        let copy_ns = self.before_string_change();
        let (len, old) = self.held.append(bytes)?;
        note_copy(self.shared, copy_ns);
        self.free(old);
        Ok(len)
    }
    /// Overwrites from `offset`, padding with zero bytes; the new length. The caller has checked the limit.
    pub fn set_range(&mut self, offset: usize, bytes: &[u8]) -> Result<usize, WrongType> {
        let copy_ns = self.before_string_change();
        let (len, old) = self.held.set_range(offset, bytes)?;
        note_copy(self.shared, copy_ns);
        self.free(old);
        Ok(len)
    }
    /// Shortens a string to `len` bytes, if it is longer.
    pub fn truncate(&mut self, len: usize) -> Result<(), WrongType> {
        let copy_ns = self.before_string_change();
        let old = self.held.truncate(len)?;
        note_copy(self.shared, copy_ns);
        self.free(old);
        Ok(())
    }
    /// The bytes of a string, to be changed in place (SETBIT, PFADD); it reports `raw` from then on.
    pub fn bytes_mut(&mut self) -> Result<&mut [u8], WrongType> {
        let copy_ns = self.before_string_change();
        let (bytes, old) = self.held.bytes_mut()?;
        note_copy(self.shared, copy_ns);
        if let Some(old) = old {
            self.shared.free_entry(old, false);
        }
        Ok(bytes)
    }
    /// The list, to change; else WRONGTYPE. One that becomes empty must be removed before the command ends.
    #[inline]
    pub fn list_mut(&mut self) -> Result<&mut List, WrongType> {
        self.held.entry_mut().list_mut()
    }
    /// The set, likewise.
    #[inline]
    pub fn set_mut(&mut self) -> Result<&mut Set, WrongType> {
        self.held.entry_mut().set_mut()
    }
    /// The sorted set, likewise.
    #[inline]
    pub fn sorted_set_mut(&mut self) -> Result<&mut SortedSet, WrongType> {
        self.held.entry_mut().sorted_set_mut()
    }
    /// The hash, likewise. Where expiries of fields change, [`OccupiedEntry::reindex_fields`] has to follow.
    #[inline]
    pub fn hash_mut(&mut self) -> Result<&mut Hash, WrongType> {
        self.held.entry_mut().hash_mut()
    }
    /// After a change of a hash that may have touched expiries of its fields: active expiry learns of it.
    #[inline]
    pub fn reindex_fields(&mut self) {
        self.held.reindex_fields();
    }
    /// The stream, which may be empty.
    #[inline]
    pub fn stream_mut(&mut self) -> Result<&mut Stream, WrongType> {
        self.held.entry_mut().stream_mut()
    }
    /// Sets or removes the expiry.
    pub fn set_expiry(&mut self, at_ms: Option<i64>) {
        let old = self.held.set_expiry(at_ms);
        self.free(old);
    }
    /// Sets the access clock to that of a key idle for `idle_s` or used `counter` times, whichever the policy keeps.
    pub fn set_use(&mut self, now: Clock, idle_s: Option<i64>, counter: Option<u8>) {
        if let Some(bits) = self.shared.policy.restored(now, idle_s, counter) {
            self.held.entry().set_access(bits);
        }
    }
    /// Removes the key.
    pub fn remove(self, free: Free) {
        let (entry, _) = self.held.remove_to_free();
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
pub struct VacantEntry<'a> {
    pub(super) table: &'a mut Table,
    pub(super) shared: &'a mut Shared,
    pub(super) key: &'a [u8],
    pub(super) hash: u64,
    pub(super) db: usize,
    pub(super) now: Clock,
}

impl<'a> KeyEntry<'a> {
    /// The key, created with `make` where it does not exist; whether it was created.
    pub fn or_insert(
        self,
        make: impl FnOnce(HashSeed) -> NewValue<'static>,
    ) -> (OccupiedEntry<'a>, bool) {
        match self {
            KeyEntry::Occupied(occupied) => (occupied, false),
            KeyEntry::Vacant(vacant) => {
                let value = make(vacant.shared.hash_seed);
                (vacant.insert_held(value, Expiry::Clear), true)
            }
        }
    }
}

impl<'a> VacantEntry<'a> {
    /// Creates it. The `new` event is raised here; the command's own event is the command's to signal.
    #[inline]
    pub fn insert(self, value: NewValue<'_>, expiry: Expiry) {
        self.insert_held(value, expiry);
    }
    /// Adds an entry at this key ([`VacantEntry::insert`]) and holds it, for changes that follow.
    #[inline]
    pub fn insert_held(self, value: NewValue<'_>, expiry: Expiry) -> OccupiedEntry<'a> {
        let at = match expiry {
            Expiry::At(at) => Some(at),
            Expiry::Keep | Expiry::Clear => None,
        };
        let entry = Entry::new(self.key, value, self.shared.policy.fresh(self.now), at);
        let held = self.table.insert_held(self.hash, entry);
        self.shared
            .events
            .event(self.db, EventClass::New, "new", self.key);
        OccupiedEntry {
            held,
            shared: self.shared,
        }
    }
}
