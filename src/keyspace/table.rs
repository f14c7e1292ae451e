//! The owner of a database's entries: the dict of all of them, and the index of those with an expiry.
//!
//! In: entries, and changes of them through [`Held`]. Out: entries by reference, how many have what size, and old
//! allocations that somebody has to free (at once, or by the free thread).
//!
//! An entry has names besides the dict's own: in the index, in a [`Held`], and as the one whose size is not counted yet.
//! All of them are the entry's address, so each must be turned or forgotten before the entry moves or is freed; that is
//! what `unsafe` stands for in this file. Mirrors `kvstore` of Redis and the `keys` and `expires` of its `redisDb`.

#![allow(unsafe_code)]

use super::entry::{BytesMut, Entry};
use super::field_expiry::FieldIndex;
use super::long_strings::LongStrings;
use super::point_in_time::Reading;
use super::sizes::{Bin, Counted, Sizes};
use super::slots::{SlotIndex, cut};
use super::{NewValue, Type, WrongType};
use crate::structures::dict::{Dict, Distribution, Element, Geometry, HashSeed, Mark, Marks};
use crate::structures::slots::slot_of;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// An entry borrowed from its table.
pub(super) struct Borrowed<'a>(ManuallyDrop<Entry>, PhantomData<&'a Entry>);

impl<'a> Borrowed<'a> {
    /// An entry as borrowed from its dict, without the detour over the dict's slot.
    #[inline]
    pub(super) fn of(entry: &'a Entry) -> Borrowed<'a> {
        // SAFETY: the entry is borrowed for 'a, during which it lives.
        Borrowed(unsafe { entry.alias() }, PhantomData)
    }
}

impl std::ops::Deref for Borrowed<'_> {
    type Target = Entry;
    #[inline]
    fn deref(&self) -> &Entry {
        &self.0
    }
}

/// An element of the index of keys with an expiry: another name for an entry that the same table owns.
struct Alias(ManuallyDrop<Entry>);

// SAFETY: as for `Entry`; dropping an alias frees nothing. The table keeps each alias pointing to a live entry.
unsafe impl Element for Alias {
    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::into_inner(self.0).into_raw()
    }
    unsafe fn from_raw(raw: NonNull<u8>) -> Alias {
        // SAFETY: `raw` is what `into_raw` of an alias gave, which is the address of an entry.
        Alias(ManuallyDrop::new(unsafe { Entry::from_raw(raw) }))
    }
    unsafe fn key_of<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: the caller vouches that `raw` is a live entry for 'a.
        unsafe { Entry::key_of(raw) }
    }
}

/// The entries of a database and the index of those with an expiry.
///
/// Invariant: the index holds an alias of exactly those entries that have an expiry, and each alias points to the
/// entry's present allocation. Every change of an entry goes through [`Held`], which keeps it so; the old allocation
/// is given out (to be freed) only after the alias has been turned to the new one.
///
/// Sizes are counted as entries come, go and change. A collection is changed through a reference that the table does
/// not see the end of; so the last one that was given out is remembered, and counted when the next is, when it is
/// replaced or removed, or when somebody asks.
pub(super) struct Table {
    // Dropped before the entries that it points to.
    volatile: Dict<Alias>,
    entries: Dict<Entry>,
    /// Hashes with expiring fields; entries are told to it as they come and go.
    pub(super) field_expiry: FieldIndex,
    sizes: Sizes,
    /// Another name of an entry of this table whose size may not be what was counted.
    uncounted: Option<ManuallyDrop<Entry>>,
    /// How far the reading of a point in time has come, while there is one.
    pub(super) reading: Option<Box<Reading>>,
    /// Marks that readings may have left among the entries.
    marks: Marks,
    /// Which keys are in which slot, where this server is a node of a cluster.
    slots: Option<Box<SlotIndex>>,
}

/// Where a key is, or would be.
pub(super) enum Place<'a> {
    /// The key is there.
    Held(Held<'a>),
    /// The key is not there; the table to add it to.
    Free(&'a mut Table),
}

/// An entry of a table that is exclusively borrowed, so that it lives until this changes it.
pub(super) struct Held<'a> {
    table: &'a mut Table,
    entry: ManuallyDrop<Entry>,
    hash: u64,
}

impl Table {
    /// A table without entries.
    pub(super) fn new(seed: HashSeed) -> Table {
        Table {
            volatile: Dict::new(seed),
            entries: Dict::new(seed),
            field_expiry: FieldIndex::default(),
            sizes: Sizes::default(),
            uncounted: None,
            reading: None,
            marks: Marks::default(),
            slots: None,
        }
    }
    /// How many entries have what size.
    pub(super) fn sizes(&self) -> Sizes {
        let mut sizes = self.sizes.clone();
        if let Some(entry) = &self.uncounted {
            sizes.moved(entry.counted(), entry.size());
        }
        sizes
    }
    /// Panics if what is remembered is not an entry of this table, without a look at what it points to.
    #[cfg(test)]
    pub(super) fn check_uncounted(&self) {
        if let Some(name) = &self.uncounted {
            let is_one = self.entries.iter().any(|entry| entry.is_same(name));
            assert!(is_one, "an entry that is freed is remembered");
        }
    }
    /// Counts an entry that was counted as `from`.
    #[inline]
    fn count(&mut self, from: Counted, entry: &mut Entry) {
        let to = entry.size();
        entry.set_counted(to);
        self.sizes.moved(from, to);
    }
    /// Remembers an entry whose collection is about to be changed through a reference, and counts the one before it.
    #[inline]
    fn count_later(&mut self, entry: &Entry) {
        if self.is_uncounted(entry) {
            return;
        }
        // SAFETY: the entry is of this table; whoever frees or replaces it forgets this name first.
        let name = unsafe { entry.alias() };
        if let Some(mut before) = self.uncounted.replace(name) {
            self.count(before.counted(), &mut before);
        }
    }
    /// Whether it is the entry whose size may not be what was counted.
    #[inline]
    fn is_uncounted(&self, entry: &Entry) -> bool {
        self.uncounted.as_ref().is_some_and(|it| it.is_same(entry))
    }
    /// Where an entry is counted now. It is about to be replaced, freed or counted anew, so its name is not kept.
    #[inline]
    fn forget(&mut self, entry: &Entry) -> Counted {
        if self.is_uncounted(entry) {
            self.uncounted = None;
        }
        entry.counted()
    }
    /// Makes room for so many entries and expiries, some at a time; whether there is.
    pub(super) fn reserve_some(&mut self, keys: usize, volatile: usize, steps: usize) -> bool {
        self.entries.reserve_some(keys, steps) && self.volatile.reserve_some(volatile, steps)
    }
    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
    /// Number of entries with an expiry.
    pub(super) fn volatile_len(&self) -> usize {
        self.volatile.len()
    }
    /// The hash of a key, as the functions that take one expect it.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.entries.hash(key)
    }
    /// Bytes of the two dicts without the entries: (main, index).
    pub(super) fn memory_bytes(&self) -> (usize, usize) {
        (self.entries.memory_bytes(), self.volatile.memory_bytes())
    }
    /// Shapes of the two dicts: (main, index).
    pub(super) fn distributions(&self) -> (Distribution, Distribution) {
        (self.entries.distribution(), self.volatile.distribution())
    }
    /// Brings the bucket of a hash into the cache.
    #[inline]
    pub(super) fn prefetch_bucket(&self, hash: u64) {
        self.entries.prefetch_bucket(hash);
    }
    /// Brings the entry of a hash into the cache, whose bucket is there already.
    #[inline]
    pub(super) fn prefetch_element(&self, hash: u64) {
        // A reading reads all of what changes.
        self.entries.prefetch_element(hash, self.reading.is_some());
    }
    /// The place of a key.
    #[inline]
    pub(super) fn place(&mut self, hash: u64, key: &[u8]) -> Place<'_> {
        // SAFETY: the name is kept beside the exclusive borrow of the table that owns the entry, and `Held` replaces
        // it when it replaces the entry.
        let found = self
            .entries
            .find_hashed(hash, key)
            .map(|entry| unsafe { entry.alias() });
        match found {
            Some(entry) => Place::Held(Held {
                table: self,
                entry,
                hash,
            }),
            None => Place::Free(self),
        }
    }
    /// Whether a key is there, expired or not.
    pub(super) fn contains(&self, hash: u64, key: &[u8]) -> bool {
        self.entries.find_hashed(hash, key).is_some()
    }
    /// The entry of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<Borrowed<'_>> {
        let entry = self.entries.find(key)?;
        // SAFETY: the table is borrowed, so that its entries live.
        Some(Borrowed(unsafe { entry.alias() }, PhantomData))
    }
    /// Does something to the entry of a key that neither moves it nor changes what others may see.
    pub(super) fn with_entry<T>(
        &mut self,
        key: &[u8],
        work: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        // SAFETY: the table is borrowed, so that its entries live and nobody else has them.
        let mut entry = unsafe { self.entries.find(key)?.alias() };
        Some(work(&mut entry))
    }
    /// Adds an entry whose key is not there.
    pub(super) fn insert(&mut self, hash: u64, mut entry: Entry) {
        self.field_expiry.enter(&mut entry);
        self.count(None, &mut entry);
        if let Some(slots) = &mut self.slots {
            slots.add(slot_of(entry.key()), hash);
        }
        if entry.expire_at().is_some() {
            // SAFETY: the entry goes into the same table; `Held` removes or turns the alias before the entry is freed.
            self.index(hash, Alias(unsafe { entry.alias() }));
        }
        let Some(reading) = &self.reading else {
            return self.entries.insert_new_hashed(hash, entry);
        };
        // What is new is none of the reading's, which may have to pass it yet.
        match reading.unpassed_mark(hash) {
            Some(mark) => self.insert_marked(hash, entry, mark),
            None => self.entries.insert_new_hashed(hash, entry),
        }
    }
    #[cold]
    fn insert_marked(&mut self, hash: u64, entry: Entry, mark: Mark) {
        // SAFETY: the entry lives on in the table.
        let name = unsafe { entry.alias() };
        self.entries.insert_new_hashed(hash, entry);
        self.entries.mark(hash, name.key(), mark);
    }
    /// Keeps an account of the keys of each slot from here on. O(N) where there are keys.
    pub(super) fn index_slots(&mut self) {
        if self.slots.is_some() {
            return;
        }
        let mut slots = Box::<SlotIndex>::default();
        for entry in self.entries.iter() {
            slots.add(slot_of(entry.key()), self.entries.hash(entry.key()));
        }
        self.slots = Some(slots);
    }
    /// Keys in a slot, expired ones included; none are where no account is kept.
    pub(super) fn keys_in_slot(&self, slot: u16) -> usize {
        self.slots.as_ref().map_or(0, |slots| slots.count(slot))
    }
    /// Calls `each` with the entries of a slot, in no order, until it says false.
    pub(super) fn for_each_in_slot(&mut self, slot: u16, each: &mut dyn FnMut(&Entry) -> bool) {
        let (entries, Some(slots)) = (&self.entries, &mut self.slots) else {
            return;
        };
        slots.hashes(slot, &mut |hash| {
            let mut goes_on = true;
            entries.for_each_near(u64::from(hash), &mut |entry| {
                let is_meant =
                    cut(entries.hash(entry.key())) == hash && slot_of(entry.key()) == slot;
                goes_on = goes_on && (!is_meant || each(entry));
            });
            // Zero is counted as one, but stands in another bucket.
            if hash == 1 {
                entries.for_each_near(0, &mut |entry| {
                    let is_meant =
                        entries.hash(entry.key()) as u32 == 0 && slot_of(entry.key()) == slot;
                    goes_on = goes_on && (!is_meant || each(entry));
                });
            }
            goes_on
        });
    }
    /// A mark for a reading that begins.
    pub(super) fn begin_mark(&mut self) -> Mark {
        self.marks.begin(&mut self.entries)
    }
    /// The reading with this mark has passed all entries, or has given up.
    pub(super) fn end_mark(&mut self, mark: Mark, has_passed_all: bool) {
        self.marks.end(mark, has_passed_all);
    }
    /// Marks the entry of a key; none where it is marked so already, or not there.
    pub(super) fn mark(&mut self, hash: u64, key: &[u8], mark: Mark) -> Option<Borrowed<'_>> {
        let entry = self.entries.mark(hash, key, mark)?;
        // SAFETY: the table is borrowed, so that its entries live.
        Some(Borrowed(unsafe { entry.alias() }, PhantomData))
    }
    /// The shape of the dict of all entries.
    pub(super) fn geometry(&self) -> Geometry {
        self.entries.geometry()
    }
    /// The entries of a bucket of an earlier shape that do not have this mark; takes all marks from it.
    pub(super) fn pass_bucket(
        &mut self,
        was: Geometry,
        bucket: usize,
        mark: Mark,
        each: &mut dyn FnMut(&Entry),
    ) {
        self.entries.pass_bucket(was, bucket, mark, each);
    }
    /// For whoever reads all buckets in order: prefetches what comes behind this one.
    pub(super) fn prefetch_ahead(&self, bucket: usize) {
        self.entries.prefetch_ahead(bucket);
    }
    /// One step over all entries.
    pub(super) fn scan(&self, cursor: u64, each: &mut dyn FnMut(&Entry)) -> u64 {
        self.entries.scan(cursor, each)
    }
    /// One step over the entries with an expiry.
    pub(super) fn scan_volatile(&self, cursor: u64, each: &mut dyn FnMut(&Entry)) -> u64 {
        self.volatile.scan(cursor, |alias| each(&alias.0))
    }
    /// Calls `each` with every entry, in no order.
    pub(super) fn for_each(&self, each: &mut dyn FnMut(&Entry)) {
        self.entries.iter().for_each(|entry| each(&entry));
    }
    /// Any entry, each about equally likely.
    pub(super) fn random(
        &self,
        volatile: bool,
        random: &mut dyn FnMut() -> u64,
    ) -> Option<Borrowed<'_>> {
        if volatile {
            let alias = self.volatile.random(random)?;
            // SAFETY: the table is borrowed, so that its entries live.
            Some(Borrowed(unsafe { alias.0.alias() }, PhantomData))
        } else {
            let entry = self.entries.random(random)?;
            // SAFETY: as above.
            Some(Borrowed(unsafe { entry.alias() }, PhantomData))
        }
    }
    /// Some entries of a random region of the table, cheaper than as many random ones.
    pub(super) fn sample(
        &self,
        volatile: bool,
        count: usize,
        random: &mut dyn FnMut() -> u64,
        each: &mut dyn FnMut(&Entry),
    ) {
        if volatile {
            self.volatile.sample(count, random, |alias| each(&alias.0));
        } else {
            self.entries.sample(count, random, each);
        }
    }
    /// Adds an entry whose key is not there, and holds it.
    pub(super) fn insert_held(&mut self, hash: u64, entry: Entry) -> Held<'_> {
        // SAFETY: the table owns the entry from here on; the name is kept as in `place`.
        let name = unsafe { entry.alias() };
        self.insert(hash, entry);
        Held {
            table: self,
            entry: name,
            hash,
        }
    }
    /// Adds an entry to those with an expiry.
    fn index(&mut self, hash: u64, alias: Alias) {
        // Of two of one key the wrong one could be taken out, and the other would outlive its entry.
        let present = self.volatile.find_hashed(hash, alias.0.key()).is_some();
        assert!(!present, "a key is in the index once");
        self.volatile.insert_new_hashed(hash, alias);
    }
    /// Removes a key from those with an expiry.
    fn unindex(&mut self, hash: u64, key: &[u8]) {
        let place = self.volatile.find_mut_hashed(hash, key);
        place
            .expect("a key with an expiry is in the index")
            .remove();
    }
}

impl<'a> Held<'a> {
    /// The entry, to read.
    #[inline]
    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }
    /// The entry, to read as long as the table is borrowed.
    #[inline]
    pub(super) fn into_borrowed(self) -> Borrowed<'a> {
        Borrowed(self.entry, PhantomData)
    }
    /// The entry is about to change.
    #[inline]
    fn before_change(&mut self) {
        // The key is not looked for in the entry where nobody asks for it.
        if self.table.reading.is_some() {
            self.table.read_before_change(self.hash, self.entry.key());
        }
    }
    /// What is in the collection is about to change: a large hash that is still to be read keeps what it was itself.
    #[cold]
    fn before_change_within(&mut self) {
        self.table.before_removal(self.hash, self.entry.key());
        let key = self.entry.key();
        if !self.table.reading.as_ref().is_some_and(|it| it.wants(key)) {
            return;
        }
        let hash = self.entry.hash_mut().ok();
        let kept_bytes = hash.and_then(|hash| hash.begin_reading().map(|_| hash.kept_bytes()));
        match (&mut self.table.reading, kept_bytes) {
            (Some(reading), Some(bytes)) => reading.note_kept(self.entry.key(), bytes),
            _ => self.before_change(),
        }
    }
    /// A string is about to be changed in place, and is copied for it where it is shared with a save.
    #[inline]
    pub(super) fn before_string_change(&mut self, strings: &mut LongStrings) {
        if self.table.reading.is_some() || !strings.is_empty() {
            self.before_change();
            self.table.count_copy(&self.entry, strings);
        }
    }
    /// Replaces value and expiry. Returns what is to be freed.
    #[inline]
    pub(super) fn assign(&mut self, value: NewValue<'_>, at: Option<i64>) -> Option<Entry> {
        if self.table.reading.is_some() {
            return self.assign_while_read(value, at);
        }
        self.assign_now(value, at)
    }
    /// [`Held::assign`] while a point in time is read, which takes over what it has still to read.
    #[cold]
    fn assign_while_read(&mut self, value: NewValue<'_>, at: Option<i64>) -> Option<Entry> {
        self.table.before_removal(self.hash, self.entry.key());
        let key = self.entry.key();
        if self.table.reading.as_ref().is_some_and(|it| it.wants(key)) {
            let new = Entry::new(key, value, self.entry.access(), at);
            return self.replace(new);
        }
        self.assign_now(value, at)
    }
    #[inline]
    fn assign_now(&mut self, value: NewValue<'_>, at: Option<i64>) -> Option<Entry> {
        let had = self.entry.expire_at().is_some();
        if let Some(len) = self.entry.embedded_len() {
            return self.assign_over_embedded(value, at, had, len);
        }
        let counted = self.table.forget(&self.entry);
        self.table.field_expiry.leave(&mut self.entry);
        let new = self.entry.assign(value, at);
        let old = self.reindex_expiry(had, new);
        self.table.field_expiry.enter(&mut self.entry);
        self.table.count(counted, &mut self.entry);
        old
    }
    /// [`Held::assign`] over a string of `len` bytes in the entry itself: no index of fields knows it, and a string of
    /// about the same length in its place is counted as it was.
    #[inline]
    fn assign_over_embedded(
        &mut self,
        value: NewValue<'_>,
        at: Option<i64>,
        had: bool,
        len: usize,
    ) -> Option<Entry> {
        let new = self.entry.assign(value, at);
        let old = self.reindex_expiry(had, new);
        let counted = Bin::of(len);
        if self.entry.embedded_len().map(Bin::of) != Some(counted) {
            self.table.field_expiry.enter(&mut self.entry);
            let counted = Some((Type::String, counted));
            self.table.count(counted, &mut self.entry);
        }
        old
    }
    /// Appends to a string. Returns the new length and what is to be freed.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(usize, Option<Entry>), WrongType> {
        self.before_change();
        let had = self.entry.expire_at().is_some();
        let counted = self.entry.counted();
        let (len, new) = self.entry.append(bytes)?;
        let old = self.reindex_expiry(had, new);
        self.table.count(counted, &mut self.entry);
        Ok((len, old))
    }
    /// Overwrites part of a string. Returns the new length and what is to be freed.
    pub(super) fn set_range(
        &mut self,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(usize, Option<Entry>), WrongType> {
        self.before_change();
        let had = self.entry.expire_at().is_some();
        let counted = self.entry.counted();
        let (len, new) = self.entry.set_range(offset, bytes)?;
        let old = self.reindex_expiry(had, new);
        self.table.count(counted, &mut self.entry);
        Ok((len, old))
    }
    /// Shortens a string. Returns what is to be freed.
    pub(super) fn truncate(&mut self, len: usize) -> Result<Option<Entry>, WrongType> {
        self.before_change();
        let had = self.entry.expire_at().is_some();
        let counted = self.entry.counted();
        let new = self.entry.truncate(len)?;
        let old = self.reindex_expiry(had, new);
        self.table.count(counted, &mut self.entry);
        Ok(old)
    }
    /// The entry, to change its collection, which never moves the entry.
    #[inline]
    pub(super) fn entry_mut(&mut self) -> &mut Entry {
        if self.table.reading.is_some() {
            self.before_change_within();
        }
        self.table.count_later(&self.entry);
        &mut self.entry
    }
    /// The bytes of a string, to be changed in place, and what is to be freed.
    pub(super) fn bytes_mut(&mut self) -> Result<(&mut [u8], Option<Entry>), WrongType> {
        self.before_change();
        let had = self.entry.expire_at().is_some();
        let old = match self.entry.bytes_mut() {
            Ok(_) => None,
            Err(BytesMut::WrongType) => return Err(WrongType),
            Err(BytesMut::Moved(new)) => self.reindex_expiry(had, Some(new)),
        };
        match self.entry.bytes_mut() {
            Ok(bytes) => Ok((bytes, old)),
            Err(_) => Err(WrongType),
        }
    }
    /// Sets or removes the expiry. Returns what is to be freed.
    pub(super) fn set_expiry(&mut self, at: Option<i64>) -> Option<Entry> {
        self.before_change();
        let had = self.entry.expire_at().is_some();
        let uncounted = self.table.is_uncounted(&self.entry);
        let new = self.entry.set_expiry(at);
        let old = self.reindex_expiry(had, new);
        // What is counted has moved along with the value.
        if old.is_some() && uncounted {
            self.table.count_later(&self.entry);
        }
        old
    }
    /// Puts another entry of the same key in this one's place, which is returned.
    pub(super) fn replace(&mut self, new: Entry) -> Option<Entry> {
        // Under another key the index of keys with an expiry would keep the address of an entry that is freed.
        assert_eq!(self.entry.key(), new.key());
        self.table.before_removal(self.hash, self.entry.key());
        let had = self.entry.expire_at().is_some();
        let counted = self.table.forget(&self.entry);
        self.table.field_expiry.leave(&mut self.entry);
        let old = self.reindex_expiry(had, Some(new));
        self.table.field_expiry.enter(&mut self.entry);
        self.table.count(counted, &mut self.entry);
        self.table.take_over(old?)
    }
    /// Brings the index of hashes with expiring fields in step after this one was changed.
    #[inline]
    pub(super) fn reindex_fields(&mut self) {
        self.table.field_expiry.reindex(&mut self.entry);
    }
    /// Removes the entry to free it. None where it is taken over, to be freed later.
    pub(super) fn remove_to_free(self) -> (Option<Entry>, &'a mut Table) {
        self.table.before_removal(self.hash, self.entry.key());
        let (entry, table) = self.remove_now();
        (table.take_over(entry), table)
    }
    /// Removes the entry to keep it.
    pub(super) fn remove(mut self) -> (Entry, &'a mut Table) {
        self.before_change();
        self.remove_now()
    }
    fn remove_now(mut self) -> (Entry, &'a mut Table) {
        let counted = self.table.forget(&self.entry);
        self.table.sizes.moved(counted, None);
        if let Some(slots) = &mut self.table.slots {
            slots.remove(slot_of(self.entry.key()), self.hash);
        }
        self.table.field_expiry.leave(&mut self.entry);
        if self.entry.expire_at().is_some() {
            self.table.unindex(self.hash, self.entry.key());
        }
        let entry = self
            .table
            .entries
            .find_mut_hashed(self.hash, self.entry.key())
            .map(|found| found.remove());
        (entry.expect("a held entry is in its table"), self.table)
    }

    /// Brings the table in step after a change: `had`: the entry had an expiry before; `new`: takes its place.
    /// The old entry, which is still whole as far as its key goes, is returned after nothing points to it any more.
    #[inline]
    fn reindex_expiry(&mut self, had: bool, new: Option<Entry>) -> Option<Entry> {
        let has = new.as_ref().unwrap_or(&self.entry).expire_at().is_some();
        if had == has && new.is_none() {
            return None;
        }
        self.reindex_expiry_slow(had, has, new)
    }
    /// The part of [`Held::reindex_expiry`] that finds something to do.
    fn reindex_expiry_slow(&mut self, had: bool, has: bool, new: Option<Entry>) -> Option<Entry> {
        if has {
            // SAFETY: the entry is about to be, or already is, the one that the table owns under this key.
            let alias = Alias(unsafe { new.as_ref().unwrap_or(&self.entry).alias() });
            if had {
                let mut place = self
                    .table
                    .volatile
                    .find_mut_hashed(self.hash, self.entry.key());
                place
                    .as_mut()
                    .expect("a key with an expiry is in the index")
                    .replace(alias);
            } else {
                self.table.index(self.hash, alias);
            }
        } else if had {
            self.table.unindex(self.hash, self.entry.key());
        }
        let new = new?;
        // Strings too: whoever asks one for a collection to change has it remembered, and gets nothing.
        self.table.forget(&self.entry);
        // SAFETY: the name moves on together with the table's ownership.
        let name = unsafe { new.alias() };
        let old = {
            let mut place = self
                .table
                .entries
                .find_mut_hashed(self.hash, self.entry.key());
            place
                .as_mut()
                .expect("a held entry is in its table")
                .replace(new)
        };
        self.entry = name;
        Some(old)
    }
}
