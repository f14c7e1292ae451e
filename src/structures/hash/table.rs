//! The fields of a large hash: a dict of them, and a queue of those with an expiry.
//!
//! The queue is ordered by expiry, so that the earliest is known at once and active expiry touches nothing but what has
//! expired. One entry is one number: the expiry, then bits of the field's hash (which make the order the same in every
//! run with the same seed), then the field's address.
//!
//! Invariant: the queue has exactly one entry for each field with an expiry, naming its present allocation.
#![allow(unsafe_code)]

use super::field::{Field, expiry_at, name_at, value_at};
use super::{EXPIRY_MAX, FieldRead, HashSize, Item, Pair};
use crate::structures::dict::{Dict, Distribution, ElementRef, HashSeed, Marks, Reading};
use crate::system::size_class::size_class;
use std::collections::BTreeSet;
use std::ptr::{self, NonNull};

const ADDRESS_BITS: u32 = 48;
/// Bytes of the queue for each expiry, about: nodes of 11 numbers, two thirds full.
const QUEUE_BYTES: usize = 25;

/// A field's place in the queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due(u128);

impl Due {
    /// `hash` is the name's in the dict.
    fn new(expiry: i64, hash: u64, address: NonNull<u8>) -> Due {
        let address = address.as_ptr().expose_provenance() as u128;
        Due(Due::least_at(expiry).0 | u128::from(hash as u32) << ADDRESS_BITS | address)
    }
    /// Not after any field that expires then; later ones than the greatest would be taken for it.
    fn least_at(expiry: i64) -> Due {
        let expiry = expiry.clamp(0, EXPIRY_MAX) as u128;
        Due(expiry << (ADDRESS_BITS + 32))
    }
    fn expiry(self) -> i64 {
        (self.0 >> (ADDRESS_BITS + 32)) as i64
    }
    fn address(self) -> Option<NonNull<u8>> {
        let address = (self.0 & ((1 << ADDRESS_BITS) - 1)) as usize;
        NonNull::new(ptr::with_exposed_provenance_mut(address))
    }
}

/// A dict of fields with the queue of their expiries.
pub(super) struct Table {
    dict: Dict<Field>,
    queue: BTreeSet<Due>,
    seed: HashSeed,
    /// See `Hash::indexed_at`.
    pub(super) indexed_at: Option<i64>,
    /// What was there at one moment, while that is read.
    reading: Option<Box<FieldReading>>,
    /// Marks that readings may have left.
    marks: Marks,
}

/// A hash as it was when its fields began to be read.
struct FieldReading {
    fields: Reading<Field>,
    was: HashSize,
    unfinished: Option<Unfinished>,
}

/// A field that is read in parts.
struct Unfinished {
    name: Box<[u8]>,
    /// What it was, where it has changed or gone since.
    kept: Option<Field>,
}

/// What is known of a field that is in the dict.
#[inline]
fn pair_of<'a>(found: &ElementRef<'a, Field>) -> Pair<'a> {
    let raw = found.raw();
    // SAFETY: the field is in the dict, which is borrowed for 'a and so keeps it as it is.
    unsafe {
        Pair {
            field: Item::Bytes(name_at(raw)),
            value: Item::Bytes(value_at(raw)),
            expiry: expiry_at(raw),
        }
    }
}

/// A field with its value, borrowed through a plain reference.
#[inline]
fn pair(field: &Field) -> Pair<'_> {
    Pair {
        field: Item::Bytes(field.name()),
        value: Item::Bytes(field.value()),
        expiry: field.expiry(),
    }
}

impl Table {
    pub(super) fn new(seed: HashSeed) -> Table {
        Table {
            dict: Dict::new(seed),
            queue: BTreeSet::new(),
            seed,
            indexed_at: None,
            reading: None,
            marks: Marks::default(),
        }
    }
    /// A field is about to change or to go: where it is still to be read, what it is now is kept.
    #[inline]
    fn before_change(&mut self, hash: u64, name: &[u8]) {
        if self.reading.is_some() {
            self.keep(hash, name);
        }
    }
    #[cold]
    fn keep(&mut self, hash: u64, name: &[u8]) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        let unfinished = reading.unfinished.as_mut();
        let unfinished = unfinished.filter(|it| it.kept.is_none() && *it.name == *name);
        let found = match unfinished {
            Some(_) => self.dict.find_hashed(hash, name),
            None => (reading.fields).before_change(&mut self.dict, hash, name),
        };
        let Some(found) = found else { return };
        let field = Field::new(found.name(), found.value(), found.expiry());
        let bytes = field.capacity();
        match unfinished {
            Some(unfinished) => unfinished.kept = Some(field),
            None => reading.fields.keep(field, bytes),
        }
    }
    fn insert_new_hashed(&mut self, hash: u64, name: &[u8], field: Field) {
        self.dict.insert_new_hashed(hash, field);
        if let Some(reading) = &self.reading {
            reading.fields.after_insert(&mut self.dict, hash, name);
        }
    }
    /// Begins to read the fields as they are now, unless that is under way.
    pub(super) fn begin_reading(&mut self) -> HashSize {
        let was = HashSize {
            fields: self.len(),
            earliest: self.earliest(),
        };
        let (dict, marks) = (&mut self.dict, &mut self.marks);
        let reading = self.reading.get_or_insert_with(|| {
            let fields = Reading::begin(dict, marks);
            Box::new(FieldReading {
                fields,
                was,
                unfinished: None,
            })
        });
        reading.was
    }
    /// See `Hash::unfinished`.
    pub(super) fn unfinished(&self) -> Option<Pair<'_>> {
        let unfinished = self.reading.as_ref()?.unfinished.as_ref()?;
        match &unfinished.kept {
            Some(field) => Some(pair(field)),
            None => self.get(&unfinished.name),
        }
    }
    /// See `Hash::finish`.
    pub(super) fn finish(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.unfinished = None;
        }
    }
    /// See `Hash::read_on`.
    pub(super) fn read_on(&mut self, each: &mut dyn FnMut(Pair<'_>) -> FieldRead) -> bool {
        let Some(reading) = &mut self.reading else {
            return true;
        };
        let FieldReading {
            fields, unfinished, ..
        } = &mut **reading;
        let is_end = fields.go_on(
            &mut self.dict,
            Field::capacity,
            |field, is_kept| match each(pair(field)) {
                FieldRead::Whole => true,
                FieldRead::Last => false,
                FieldRead::InPart => {
                    let (name, value, expiry) = (field.name(), field.value(), field.expiry());
                    *unfinished = Some(Unfinished {
                        name: name.into(),
                        kept: is_kept.then(|| Field::new(name, value, expiry)),
                    });
                    false
                }
            },
        );
        is_end && unfinished.is_none()
    }
    /// Bytes of what has changed and is kept to be read.
    pub(super) fn kept_bytes(&self) -> usize {
        let Some(reading) = &self.reading else {
            return 0;
        };
        let unfinished = reading.unfinished.as_ref();
        let kept = unfinished.and_then(|it| it.kept.as_ref());
        reading.fields.kept_bytes() + kept.map_or(0, Field::capacity)
    }
    /// Ends a reading, whether all was read or not.
    pub(super) fn end_reading(&mut self) {
        if let Some(reading) = self.reading.take() {
            reading.fields.end(&mut self.marks);
        }
    }
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.dict.len()
    }
    #[inline]
    pub(super) fn get(&self, name: &[u8]) -> Option<Pair<'_>> {
        self.dict.find(name).map(|found| pair_of(&found))
    }
    /// Stores a value; whether the field is new. An old expiry stays when `keep` says so.
    #[inline]
    pub(super) fn set(&mut self, name: &[u8], value: &[u8], keep: bool) -> bool {
        let hash = self.dict.hash(name);
        self.before_change(hash, name);
        if let Some(mut found) = self.dict.find_mut_hashed(hash, name) {
            match found.expiry() {
                None => found.set_value(value),
                Some(expiry) => {
                    // Taken out first, for the allocation may be another afterwards.
                    self.queue.remove(&Due::new(expiry, hash, found.address()));
                    if keep {
                        found.set_value(value);
                        self.queue.insert(Due::new(expiry, hash, found.address()));
                    } else {
                        *found = Field::new(name, value, None);
                    }
                }
            }
            return false;
        }
        self.insert_new_hashed(hash, name, Field::new(name, value, None));
        true
    }
    /// Adds a field that is not there.
    pub(super) fn insert_new(&mut self, name: &[u8], value: &[u8], expiry: Option<i64>) {
        let hash = self.dict.hash(name);
        let field = Field::new(name, value, expiry);
        if let Some(at) = expiry {
            self.queue.insert(Due::new(at, hash, field.address()));
        }
        self.insert_new_hashed(hash, name, field);
    }
    /// Sets or removes a field's expiry; false where there is no such field.
    pub(super) fn set_expiry(&mut self, name: &[u8], expiry: Option<i64>) -> bool {
        let hash = self.dict.hash(name);
        self.before_change(hash, name);
        let Some(mut found) = self.dict.find_mut_hashed(hash, name) else {
            return false;
        };
        if let Some(old) = found.expiry() {
            self.queue.remove(&Due::new(old, hash, found.address()));
        }
        found.set_expiry(expiry);
        if let Some(at) = expiry {
            self.queue.insert(Due::new(at, hash, found.address()));
        }
        true
    }
    #[inline]
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        let hash = self.dict.hash(name);
        self.before_change(hash, name);
        let Some(removed) = self.dict.remove_hashed(hash, name) else {
            return false;
        };
        if let Some(at) = removed.expiry() {
            self.queue.remove(&Due::new(at, hash, removed.address()));
        }
        true
    }
    /// Removes up to `max` fields that expire before `now_ms`, the earliest first; how many.
    pub(super) fn remove_expired(
        &mut self,
        now_ms: i64,
        max: usize,
        each: &mut dyn FnMut(&[u8]),
    ) -> usize {
        let mut removed = 0;
        while removed < max
            && let Some(&due) = self.queue.first()
            && due.expiry() < now_ms
        {
            self.queue.pop_first();
            let Some(raw) = due.address() else { continue };
            // SAFETY: the queue names live fields of the dict, which nothing changes before the removal below; the
            // name is used after it only through the removed field.
            let name = unsafe { name_at(raw) };
            let hash = self.dict.hash(name);
            self.before_change(hash, name);
            if let Some(field) = self.dict.remove_hashed(hash, name) {
                each(field.name());
                removed += 1;
            }
        }
        removed
    }
    pub(super) fn earliest(&self) -> Option<i64> {
        self.queue.first().map(|due| due.expiry())
    }
    pub(super) fn expiring_len(&self) -> usize {
        self.queue.len()
    }
    /// Fields that expire before `now_ms`. O(their number).
    pub(super) fn expired_len(&self, now_ms: i64) -> usize {
        self.queue.range(..Due::least_at(now_ms)).count()
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = Pair<'_>> {
        self.dict.iter().map(|found| pair_of(&found))
    }
    pub(super) fn scan(&self, cursor: u64, emit: &mut dyn FnMut(Pair<'_>)) -> u64 {
        self.dict.scan(cursor, |field| emit(pair(field)))
    }
    pub(super) fn random(&self, random: &mut dyn FnMut() -> u64) -> Option<Pair<'_>> {
        self.dict.random(random).map(|found| pair_of(&found))
    }
    pub(super) fn memory_bytes(&self, samples: usize) -> usize {
        let own = size_class(size_of::<Table>())
            + self.dict.memory_bytes()
            + self.queue.len() * QUEUE_BYTES;
        let len = self.dict.len();
        let wanted = if samples == 0 { len } else { samples.min(len) };
        let fields: usize = self
            .dict
            .iter()
            .take(wanted)
            .map(|field| field.capacity())
            .sum();
        if wanted == len {
            return own + fields;
        }
        own + (fields as f64 / wanted as f64 * len as f64) as usize
    }
    pub(super) fn distribution(&self) -> Distribution {
        self.dict.distribution()
    }
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        self.dict.check_invariants();
        let mut due: Vec<Due> = Vec::new();
        for field in self.dict.iter() {
            if let Some(at) = field.expiry() {
                due.push(Due::new(at, self.dict.hash(field.name()), field.address()));
            }
        }
        due.sort_unstable();
        assert!(
            self.queue.iter().copied().eq(due),
            "the queue is the dict's"
        );
    }
}

impl Clone for Table {
    /// The copy is in no index yet.
    fn clone(&self) -> Table {
        let mut copy = Table::new(self.seed);
        for field in self.dict.iter() {
            copy.insert_new(field.name(), field.value(), field.expiry());
        }
        copy
    }
}
