//! The value of a hash: fields with their values and, since Redis 7.4, an expiry each.
//!
//! In come fields, values and times; out come the same, found, counted or gone. It knows no clock: a field whose expiry
//! lies before the `now` of a caller is told as expired ([`Pair::is_expired`]), and stays until someone removes it.
//! Mirrors `t_hash.c` of Redis.
//!
//! | encoding | what it is |
//! | --- | --- |
//! | `listpack` | field, value, field, value ... in one [`Listpack`] |
//! | `listpackex` | field, value, expiry (0: none) ..., sorted by expiry, those without at the end; byte-compatible with Redis 7.4 |
//! | `hashtable` | a dict of fields that are one allocation each (`hash/field.rs`), and a queue of expiries (`hash/table.rs`) |
//!
//! A hash becomes a table when it has more fields than `hash-max-listpack-entries`, or is given a field or value longer
//! than `hash-max-listpack-value`; it never goes back. The limits come with each call that may convert.

mod field;
mod table;
#[cfg(test)]
mod tests;

use super::Collection;
use super::dict::{Distribution, HashSeed};
use super::listpack::{Item, Listpack, Position};
use crate::system::size_class::size_class;
use table::Table;

/// Latest expiry that a field can have, Unix ms: Redis keeps them in 48 bits.
pub const EXPIRY_MAX: i64 = (1 << 48) - 1;
/// What stands in a `listpackex` for "no expiry".
const NO_EXPIRY: i64 = 0;

/// When a hash ceases to be a listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLimits {
    /// `hash-max-listpack-entries`: most fields.
    pub max_entries: usize,
    /// `hash-max-listpack-value`: longest field or value, bytes.
    pub max_value: usize,
    /// Keys the hash table that it then gets.
    pub seed: HashSeed,
}

impl HashLimits {
    /// Nothing but a table.
    pub fn none(seed: HashSeed) -> HashLimits {
        HashLimits {
            max_entries: 0,
            max_value: 0,
            seed,
        }
    }
}

/// How large a hash is, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashSize {
    /// Its fields.
    pub fields: usize,
    /// The earliest expiry of one, Unix ms.
    pub earliest: Option<i64>,
}

/// What whoever reads the fields of a hash has done with one ([`Hash::read_on`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldRead {
    /// Read it, and wants the next.
    Whole,
    /// Read it, and wants no more for now.
    Last,
    /// Read a part of it, and wants no more for now ([`Hash::unfinished`]).
    InPart,
}

/// A field as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// Its name.
    pub field: Item<'a>,
    /// Its value.
    pub value: Item<'a>,
    /// Unix ms at which it expires.
    pub expiry: Option<i64>,
}

impl Pair<'_> {
    /// Whether its time is over (not just reached).
    #[inline]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expiry.is_some_and(|at| at < now_ms)
    }
}

/// A hash.
#[derive(Clone, Default)]
pub struct Hash {
    body: Body,
}

#[derive(Clone)]
enum Body {
    Pairs(Listpack),
    Triples(Box<Triples>),
    Table(Box<Table>),
}

/// A listpack with expiries.
struct Triples {
    pack: Listpack,
    /// See [`Hash::indexed_at`].
    indexed_at: Option<i64>,
}

impl Clone for Triples {
    /// The copy is in no index yet.
    fn clone(&self) -> Triples {
        Triples {
            pack: self.pack.clone(),
            indexed_at: None,
        }
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::Pairs(Listpack::new())
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One of two iterators.
enum Either<A, B> {
    Left(A),
    Right(B),
}

impl<T, A: Iterator<Item = T>, B: Iterator<Item = T>> Iterator for Either<A, B> {
    type Item = T;
    #[inline]
    fn next(&mut self) -> Option<T> {
        match self {
            Either::Left(it) => it.next(),
            Either::Right(it) => it.next(),
        }
    }
}

/// The expiry that an element of a `listpackex` says.
fn expiry_of(item: Item<'_>) -> Option<i64> {
    item.as_int().filter(|at| *at != NO_EXPIRY)
}

/// The pairs of a listpack.
fn pack_iter(pack: &Listpack, with_expiry: bool) -> impl Iterator<Item = Pair<'_>> {
    let mut items = pack.iter();
    std::iter::from_fn(move || {
        let (field, value) = (items.next()?, items.next()?);
        let expiry = if with_expiry {
            expiry_of(items.next()?)
        } else {
            None
        };
        Some(Pair {
            field,
            value,
            expiry,
        })
    })
}

/// Where a field's name stands in a listpack.
fn pack_find(pack: &Listpack, name: &[u8], width: usize) -> Option<Position> {
    pack.find(pack.first()?, name, width - 1)
}

/// The pair that begins there.
fn pack_pair(pack: &Listpack, at: Position, with_expiry: bool) -> Option<Pair<'_>> {
    let value = pack.next(at)?;
    let expiry = if with_expiry {
        expiry_of(pack.get(pack.next(value)?))
    } else {
        None
    };
    Some(Pair {
        field: pack.get(at),
        value: pack.get(value),
        expiry,
    })
}

impl Triples {
    /// Where a field with this expiry goes: before the first that has none or not an earlier one.
    fn place_for(&self, expiry: i64) -> Option<Position> {
        let mut at = self.pack.first();
        while let Some(name) = at {
            let expiry_at = self.pack.next(self.pack.next(name)?)?;
            match expiry_of(self.pack.get(expiry_at)) {
                Some(earlier) if earlier < expiry => at = self.pack.next(expiry_at),
                _ => return Some(name),
            }
        }
        None
    }
    fn insert(&mut self, name: &[u8], value: &[u8], expiry: Option<i64>) {
        let place = expiry.and_then(|at| self.place_for(at));
        match place {
            None => {
                self.pack.push_back(name);
                self.pack.push_back(value);
                self.pack.push_back_int(expiry.unwrap_or(NO_EXPIRY));
            }
            Some(place) => {
                let place = self.pack.insert_before(place, name);
                let place = self.pack.insert_after(place, value);
                let text = itoa::Buffer::new()
                    .format(expiry.unwrap_or(NO_EXPIRY))
                    .to_owned();
                self.pack.insert_after(place, text.as_bytes());
            }
        }
    }
    /// Moves the field at a position to where its new expiry belongs.
    fn set_expiry(&mut self, at: Position, expiry: Option<i64>) {
        let Some(pair) = pack_pair(&self.pack, at, true) else {
            return;
        };
        let (name, value) = (pair.field.to_vec(), pair.value.to_vec());
        self.pack.remove_many(at, 3);
        self.insert(&name, &value, expiry);
    }
}

impl Hash {
    /// An empty one.
    pub fn new() -> Hash {
        Hash::default()
    }

    /// Takes a listpack of pairs (or, `with_expiry`, of triples) as DUMP and RDB carry it; none if it is not one, is
    /// empty, or a field comes twice. With too many fields it becomes a table at once; lengths are not looked at, as
    /// in Redis. O(N).
    pub fn from_listpack(pack: Listpack, with_expiry: bool, limits: &HashLimits) -> Option<Hash> {
        let width = if with_expiry { 3 } else { 2 };
        let elements = pack.len();
        if elements == 0 || !elements.is_multiple_of(width) {
            return None;
        }
        // A listpack that was checked in its frame only may count otherwise than it reads.
        if pack.iter().count() != elements {
            return None;
        }
        let mut names = std::collections::HashSet::new();
        let mut before = Some(i64::MIN);
        for (index, item) in pack.iter().enumerate() {
            if index % width == 0 && !names.insert(item.to_vec()) {
                return None;
            }
            if index % width == 2 {
                let expiry = item.as_int().filter(|at| (0..=EXPIRY_MAX).contains(at))?;
                let expiry = (expiry != NO_EXPIRY).then_some(expiry);
                // Sorted, and none behind those that have none.
                match (before, expiry) {
                    (None, Some(_)) => return None,
                    (Some(before), Some(at)) if at < before => return None,
                    _ => before = expiry,
                }
            }
        }
        let body = if with_expiry {
            Body::Triples(Box::new(Triples {
                pack,
                indexed_at: None,
            }))
        } else {
            Body::Pairs(pack)
        };
        let mut hash = Hash { body };
        if hash.len() > limits.max_entries {
            hash.make_table(limits.seed);
        }
        Some(hash)
    }

    /// The listpack, and whether it has expiries; none for a table.
    pub fn listpack(&self) -> Option<(&Listpack, bool)> {
        match &self.body {
            Body::Pairs(pack) => Some((pack, false)),
            Body::Triples(triples) => Some((&triples.pack, true)),
            Body::Table(_) => None,
        }
    }

    /// A field, expired or not.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Pair<'_>> {
        match &self.body {
            Body::Table(table) => table.get(field),
            Body::Pairs(pack) => pack_pair(pack, pack_find(pack, field, 2)?, false),
            Body::Triples(triples) => {
                let pack = &triples.pack;
                pack_pair(pack, pack_find(pack, field, 3)?, true)
            }
        }
    }

    /// Readies the hash for arguments (fields and values) that are about to be stored: a table, if there are too many
    /// or one is too long. `lens` are their lengths.
    pub fn prepare(&mut self, lens: impl Iterator<Item = usize>, limits: &HashLimits) {
        let pack = match &self.body {
            Body::Pairs(pack) => pack,
            Body::Triples(triples) => &triples.pack,
            Body::Table(_) => return,
        };
        let (mut sum, mut count) = (0usize, 0usize);
        for len in lens {
            if len > limits.max_value {
                return self.make_table(limits.seed);
            }
            sum = sum.saturating_add(len);
            count = count.saturating_add(1);
        }
        // A field that is given twice counts twice, as in Redis.
        if count / 2 > limits.max_entries || !pack.has_room(sum) {
            self.make_table(limits.seed);
        }
    }

    /// Stores a value; whether the field is new. The expiry of an old field goes, unless `keep_expiry`.
    #[inline]
    pub fn set(
        &mut self,
        field: &[u8],
        value: &[u8],
        keep_expiry: bool,
        limits: &HashLimits,
    ) -> bool {
        if let Body::Table(table) = &mut self.body {
            return table.set(field, value, keep_expiry);
        }
        self.set_packed(field, value, keep_expiry, limits)
    }

    fn set_packed(
        &mut self,
        field: &[u8],
        value: &[u8],
        keep_expiry: bool,
        limits: &HashLimits,
    ) -> bool {
        self.prepare([field.len(), value.len()].into_iter(), limits);
        let created = match &mut self.body {
            Body::Table(table) => return table.set(field, value, keep_expiry),
            Body::Pairs(pack) => {
                let found = pack_find(pack, field, 2).and_then(|at| pack.next(at));
                match found {
                    Some(place) => {
                        pack.replace(place, value);
                    }
                    None => {
                        pack.push_back(field);
                        pack.push_back(value);
                    }
                }
                found.is_none()
            }
            Body::Triples(triples) => {
                let pack = &mut triples.pack;
                match pack_find(pack, field, 3) {
                    Some(at) => {
                        let expires = pack_pair(pack, at, true).and_then(|pair| pair.expiry);
                        if let Some(place) = pack.next(at) {
                            pack.replace(place, value);
                        }
                        if expires.is_some() && !keep_expiry {
                            triples.set_expiry(at, None);
                        }
                        false
                    }
                    None => {
                        triples.insert(field, value, None);
                        true
                    }
                }
            }
        };
        // Also when nothing was added: the limit may be lower than it was.
        if self.len() > limits.max_entries {
            self.make_table(limits.seed);
        }
        created
    }

    /// Adds a field with its expiry, for hashes that are built from outside; false if it is there already.
    pub fn insert(
        &mut self,
        field: &[u8],
        value: &[u8],
        expiry: Option<i64>,
        limits: &HashLimits,
    ) -> bool {
        if self.get(field).is_some() {
            return false;
        }
        self.prepare([field.len(), value.len()].into_iter(), limits);
        if expiry.is_some() {
            self.make_expiring();
        }
        match &mut self.body {
            Body::Table(table) => table.insert_new(field, value, expiry),
            Body::Triples(triples) => triples.insert(field, value, expiry),
            Body::Pairs(pack) => {
                pack.push_back(field);
                pack.push_back(value);
            }
        }
        if self.listpack().is_some() && self.len() > limits.max_entries {
            self.make_table(limits.seed);
        }
        true
    }

    /// Removes a field, expired or not; whether it was there.
    #[inline]
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let (pack, width) = match &mut self.body {
            Body::Table(table) => return table.remove(field),
            Body::Pairs(pack) => (pack, 2),
            Body::Triples(triples) => (&mut triples.pack, 3),
        };
        match pack_find(pack, field, width) {
            Some(at) => {
                pack.remove_many(at, width);
                true
            }
            None => false,
        }
    }

    /// Sets or removes a field's expiry (Unix ms, positive); false where there is no such field. A `listpack` becomes
    /// a `listpackex`, whatever the answer.
    pub fn set_expiry(&mut self, field: &[u8], expiry: Option<i64>) -> bool {
        self.make_expiring();
        match &mut self.body {
            Body::Table(table) => table.set_expiry(field, expiry),
            Body::Pairs(_) => false,
            Body::Triples(triples) => match pack_find(&triples.pack, field, 3) {
                Some(at) => {
                    triples.set_expiry(at, expiry);
                    true
                }
                None => false,
            },
        }
    }

    /// Makes room for expiries: a `listpack` becomes a `listpackex`.
    pub fn make_expiring(&mut self) {
        let Body::Pairs(pack) = &self.body else {
            return;
        };
        let mut triples = Listpack::new();
        for (index, item) in pack.iter().enumerate() {
            item.with_bytes(|bytes| triples.push_back(bytes));
            if index % 2 == 1 {
                triples.push_back_int(NO_EXPIRY);
            }
        }
        self.body = Body::Triples(Box::new(Triples {
            pack: triples,
            indexed_at: None,
        }));
    }

    /// Becomes a table.
    fn make_table(&mut self, seed: HashSeed) {
        if matches!(self.body, Body::Table(_)) {
            return;
        }
        let mut table = Table::new(seed);
        for pair in self.iter() {
            pair.field.with_bytes(|field| {
                pair.value
                    .with_bytes(|value| table.insert_new(field, value, pair.expiry));
            });
        }
        table.indexed_at = self.indexed_at();
        self.body = Body::Table(Box::new(table));
    }

    /// Removes up to `max` fields whose time is over, the earliest first; calls back with the name of each. How many.
    pub fn remove_expired(
        &mut self,
        now_ms: i64,
        max: usize,
        mut each: impl FnMut(&[u8]),
    ) -> usize {
        match &mut self.body {
            Body::Pairs(_) => 0,
            Body::Table(table) => table.remove_expired(now_ms, max, &mut each),
            Body::Triples(triples) => {
                let expired = pack_iter(&triples.pack, true)
                    .take_while(|pair| pair.is_expired(now_ms))
                    .take(max)
                    .map(|pair| pair.field.with_bytes(&mut each))
                    .count();
                if expired > 0
                    && let Some(first) = triples.pack.first()
                {
                    triples.pack.remove_many(first, 3 * expired);
                }
                expired
            }
        }
    }

    /// The earliest expiry of a field.
    pub fn earliest_expiry(&self) -> Option<i64> {
        match &self.body {
            Body::Pairs(_) => None,
            Body::Triples(triples) => expiry_of(triples.pack.get(triples.pack.seek(2)?)),
            Body::Table(table) => table.earliest(),
        }
    }

    /// Number of fields with an expiry. O(N) for a `listpackex`.
    pub fn expiring_len(&self) -> usize {
        match &self.body {
            Body::Pairs(_) => 0,
            Body::Triples(triples) => pack_iter(&triples.pack, true)
                .take_while(|pair| pair.expiry.is_some())
                .count(),
            Body::Table(table) => table.expiring_len(),
        }
    }

    /// Number of fields whose time is not over. O(number of the others).
    pub fn live_len(&self, now_ms: i64) -> usize {
        let expired = match &self.body {
            Body::Pairs(_) => 0,
            Body::Triples(triples) => pack_iter(&triples.pack, true)
                .take_while(|pair| pair.is_expired(now_ms))
                .count(),
            Body::Table(table) => table.expired_len(now_ms),
        };
        self.len().saturating_sub(expired)
    }

    /// All fields, expired ones included.
    pub fn iter(&self) -> impl Iterator<Item = Pair<'_>> {
        match &self.body {
            Body::Pairs(pack) => Either::Left(Either::Left(pack_iter(pack, false))),
            Body::Triples(triples) => Either::Left(Either::Right(pack_iter(&triples.pack, true))),
            Body::Table(table) => Either::Right(table.iter()),
        }
    }

    /// All fields whose time is not over.
    pub fn iter_live(&self, now_ms: i64) -> impl Iterator<Item = Pair<'_>> {
        self.iter().filter(move |pair| !pair.is_expired(now_ms))
    }

    /// One step of HSCAN, expired fields included; the next cursor, 0 at the end. A listpack is emitted whole.
    pub fn scan(&self, cursor: u64, mut emit: impl FnMut(Pair<'_>)) -> u64 {
        match &self.body {
            Body::Table(table) => table.scan(cursor, &mut emit),
            _ => {
                self.iter().for_each(emit);
                0
            }
        }
    }

    /// A field at random, each with the same chance, expired ones included. `random` gives 64 random bits.
    pub fn random(&self, random: &mut dyn FnMut() -> u64) -> Option<Pair<'_>> {
        let (pack, width) = match &self.body {
            Body::Table(table) => return table.random(random),
            Body::Pairs(pack) => (pack, 2),
            Body::Triples(triples) => (&triples.pack, 3),
        };
        let len = pack.len() / width;
        let index = ((u128::from(random()) * len as u128) >> 64) as usize;
        let at = pack.seek(i64::try_from(index * width).ok()?)?;
        pack_pair(pack, at, width == 3)
    }

    /// The time under which the database's index of hashes with expiring fields knows this hash. The index keeps it;
    /// a copy has none.
    pub fn indexed_at(&self) -> Option<i64> {
        match &self.body {
            Body::Pairs(_) => None,
            Body::Triples(triples) => triples.indexed_at,
            Body::Table(table) => table.indexed_at,
        }
    }

    /// Notes that time. Without expiries there is nothing to note.
    pub fn set_indexed_at(&mut self, at: Option<i64>) {
        match &mut self.body {
            Body::Pairs(_) => debug_assert!(at.is_none()),
            Body::Triples(triples) => triples.indexed_at = at,
            Body::Table(table) => table.indexed_at = at,
        }
    }

    /// Begins to read the fields of a hash table as they are now, unless that is under way; how large the hash was then. None
    /// where it is a listpack.
    pub fn begin_reading(&mut self) -> Option<HashSize> {
        match &mut self.body {
            Body::Table(table) => Some(table.begin_reading()),
            _ => None,
        }
    }

    /// Reads on until `each` says so, or to the end; whether it is the end. Each field comes once, as it was at the beginning.
    pub fn read_on(&mut self, each: &mut dyn FnMut(Pair<'_>) -> FieldRead) -> bool {
        match &mut self.body {
            Body::Table(table) => table.read_on(each),
            _ => true,
        }
    }

    /// The field that was read in part, as it was at the beginning, until [`Hash::finish`].
    pub fn unfinished(&self) -> Option<Pair<'_>> {
        match &self.body {
            Body::Table(table) => table.unfinished(),
            _ => None,
        }
    }

    /// The field that was read in part has been read.
    pub fn finish(&mut self) {
        if let Body::Table(table) = &mut self.body {
            table.finish();
        }
    }

    /// Bytes of fields that have changed and are kept to be read.
    pub fn kept_bytes(&self) -> usize {
        match &self.body {
            Body::Table(table) => table.kept_bytes(),
            _ => 0,
        }
    }

    /// Ends a reading, whether all was read or not.
    pub fn end_reading(&mut self) {
        if let Body::Table(table) = &mut self.body {
            table.end_reading();
        }
    }

    /// The shape of the hash table, where there is one (DEBUG HTSTATS-KEY).
    pub fn distribution(&self) -> Option<Distribution> {
        match &self.body {
            Body::Table(table) => Some(table.distribution()),
            _ => None,
        }
    }

    /// Asserts what must always hold. Reads every field.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        match &self.body {
            Body::Pairs(pack) => assert!(pack.len().is_multiple_of(2)),
            Body::Triples(triples) => {
                assert!(triples.pack.len().is_multiple_of(3));
                let order: Vec<i64> = pack_iter(&triples.pack, true)
                    .map(|pair| pair.expiry.unwrap_or(i64::MAX))
                    .collect();
                assert!(order.is_sorted(), "{order:?}");
            }
            Body::Table(table) => table.check_invariants(),
        }
    }
}

impl Collection for Hash {
    #[inline]
    fn len(&self) -> usize {
        match &self.body {
            Body::Pairs(pack) => pack.len() / 2,
            Body::Triples(triples) => triples.pack.len() / 3,
            Body::Table(table) => table.len(),
        }
    }
    fn encoding(&self) -> &'static str {
        match &self.body {
            Body::Pairs(_) => "listpack",
            Body::Triples(_) => "listpackex",
            Body::Table(_) => "hashtable",
        }
    }
    fn memory_bytes(&self, samples: usize) -> usize {
        size_class(size_of::<Hash>())
            + match &self.body {
                Body::Pairs(pack) => pack.memory_bytes(),
                Body::Triples(triples) => {
                    size_class(size_of::<Triples>()) + triples.pack.memory_bytes()
                }
                Body::Table(table) => table.memory_bytes(samples),
            }
    }
    fn free_effort(&self) -> usize {
        match &self.body {
            Body::Table(table) => table.len(),
            _ => 1,
        }
    }
}
