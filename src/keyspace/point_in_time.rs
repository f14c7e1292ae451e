//! A point in time of all databases, read piece by piece while commands go on.
//!
//! In: an [`Encoder`], and time to go on. Out: each key with its value as it was when the reading began, encoded once.
//! No memory is copied for it but what waits to be taken away. It takes the place of the fork of Redis's `rdbSaveBackground`.
//!
//! Each table remembers the shape that it had when the reading began, and which of the buckets of that shape have been
//! read. They are read in order; but before anything in a bucket changes, that bucket is read first, so that what is read
//! is what was there at the beginning. It costs little: what is read early is not read again. What is new since then goes
//! into buckets that have been read, for adding it is a change of the bucket.
//!
//! A large collection is read in parts. Who changes it before it is read has it read to its end at once, which takes long;
//! [`Keyspace::must_wait`] tells commands that can wait for it. One that is removed meanwhile is taken over, and freed when
//! it is read.
//!
//! Invariants:
//! * All changes of entries come through the table ([`super::table`]), which calls [`Table::read_before_change`] first.
//! * While parts of a large value are on their way nothing else is put between them: it is kept aside.

use super::entry::Entry;
use super::keyspace::Keyspace;
use super::table::{Borrowed, Table};
use super::{AccessPolicy, EntryRef, Stored};
use crate::structures::dict::Geometry;
use crate::structures::{Blob, Collection};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Where a value that is encoded in parts goes on. What it counts is the encoder's affair; 0 is its beginning.
pub type Position = u128;

/// Makes bytes of entries.
pub trait Encoder: Send + Sync {
    /// Encodes an entry whole. O(bytes).
    fn entry(&self, entry: &EntryRef<'_>, out: &mut Encoded);
    /// Encodes a part of a large entry, which has not changed since the part before; where the next one begins, or none
    /// after the last.
    fn part(&self, entry: &EntryRef<'_>, from: Position, out: &mut Encoded) -> Option<Position>;
}

/// What an encoder has left. Strings that may be compressed, or are so long that to copy them would stall, have only their
/// place here: whoever takes it away puts them in.
#[derive(Debug, Default)]
pub struct Encoded {
    /// All but the strings that are put in later, and those of them that are short.
    pub bytes: Vec<u8>,
    /// Strings to be put in, by their places in `bytes`, in order.
    pub strings: Vec<(usize, Deferred)>,
    /// Keys in it.
    pub keys: u64,
    /// Bytes of the strings that are shared.
    pub shared_bytes: usize,
}

/// A string that is put in later.
#[derive(Clone, Debug)]
pub enum Deferred {
    /// It stands in `bytes`, so many bytes from its place on.
    Here(usize),
    /// It is shared with the entry; nobody changes it while it is.
    Shared(Blob),
}

impl Encoded {
    /// Bytes that wait here.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared_bytes
    }
    /// Memory that it has, but for shared strings.
    fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.strings.capacity() * size_of::<(usize, Deferred)>()
    }
    /// Whether nothing waits here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Moves all of another one behind this.
    fn append(&mut self, other: &mut Encoded) {
        if self.is_empty() {
            return std::mem::swap(self, other);
        }
        let base = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        let strings = other.strings.drain(..);
        self.strings.extend(strings.map(|(at, it)| (base + at, it)));
        self.keys += std::mem::take(&mut other.keys);
        self.shared_bytes += std::mem::take(&mut other.shared_bytes);
    }
}

/// Elements by which the bytes of a large value are estimated.
const SAMPLES: usize = 5;

/// A large value that is still to be read, or in part.
enum Large {
    /// It is in the table.
    Key(Box<[u8]>),
    /// It has been removed.
    Taken(Entry),
}

impl Large {
    /// The entry, where it is not the table's any more.
    fn taken(self) -> Option<Entry> {
        match self {
            Large::Key(_) => None,
            Large::Taken(entry) => Some(entry),
        }
    }
    /// Whether it is the value of this key, in the table.
    fn is_key(&self, key: &[u8]) -> bool {
        matches!(self, Large::Key(it) if **it == *key)
    }
}

/// How far the reading of one table has come.
pub(super) struct Reading {
    /// The number that the database had when the reading began.
    db: usize,
    was: Geometry,
    /// All buckets below have been read.
    next: usize,
    /// A bit for each bucket that has been read.
    read: Vec<u64>,
    /// Large values of buckets that have been read, which are not read yet. What is no more in `large_keys` was read.
    large: VecDeque<Large>,
    large_keys: HashSet<Box<[u8]>>,
    /// The one of which a part has been read.
    current: Option<(Large, Position)>,
    encoder: Arc<dyn Encoder>,
    policy: AccessPolicy,
    encoded: Encoded,
    /// What came while `current` was under way.
    aside: Encoded,
    /// What was taken away last ended within `current`.
    is_cut: bool,
    /// Large values that were read at once, because somebody changed them.
    hurried: u64,
    /// Large values that were read.
    large_read: u64,
    /// Bytes that are kept although their turn had not come, because somebody changed what they are of.
    copied_bytes: usize,
    /// Values that were taken over and are read: to be freed.
    done_with: Vec<Entry>,
    /// Bytes of the values that were taken over, about.
    taken_bytes: usize,
}

/// Whether reading a value whole would take long.
fn is_large(value: Stored<'_>) -> bool {
    /// Elements that are read one by one.
    const ELEMENTS: usize = if cfg!(test) { 16 } else { 1024 };
    /// Nodes, each of which is copied whole.
    const NODES: usize = 64;
    match value {
        Stored::String(_) => false,
        Stored::List(list) => list.node_count() > NODES,
        Stored::Set(set) => {
            set.as_intset().is_none() && set.as_listpack().is_none() && set.len() > ELEMENTS
        }
        Stored::SortedSet(set) => set.as_listpack().is_none() && set.len() > ELEMENTS,
        Stored::Hash(hash) => hash.listpack().is_none() && hash.len() > ELEMENTS,
        Stored::Stream(stream) => {
            let pending: usize = stream.groups().map(|(_, it)| it.pending_len()).sum();
            stream.nodes_len() > NODES || pending > ELEMENTS
        }
    }
}

impl Reading {
    fn new(db: usize, table: &Table, encoder: &Arc<dyn Encoder>, policy: AccessPolicy) -> Reading {
        let was = table.geometry();
        Reading {
            db,
            was,
            next: 0,
            read: vec![0; was.buckets().div_ceil(64)],
            large: VecDeque::new(),
            large_keys: HashSet::new(),
            current: None,
            encoder: Arc::clone(encoder),
            policy,
            encoded: Encoded::default(),
            aside: Encoded::default(),
            is_cut: false,
            hurried: 0,
            large_read: 0,
            copied_bytes: 0,
            done_with: Vec::new(),
            taken_bytes: 0,
        }
    }
    fn is_read(&self, bucket: usize) -> bool {
        bucket < self.next || self.read[bucket / 64] >> (bucket % 64) & 1 != 0
    }
    /// Where what is read now goes, unless it is the next part of the large value that is under way.
    fn out(&mut self) -> &mut Encoded {
        match self.current {
            Some(_) => &mut self.aside,
            None => &mut self.encoded,
        }
    }
    /// Reads a bucket; large values are only noted.
    fn read_bucket(&mut self, table: &Table, bucket: usize) {
        if self.is_read(bucket) {
            return;
        }
        self.read[bucket / 64] |= 1 << (bucket % 64);
        let (encoder, policy) = (Arc::clone(&self.encoder), self.policy);
        table.for_each_in(self.was, bucket, &mut |entry| {
            if is_large(entry.stored()) {
                let key: Box<[u8]> = entry.key().into();
                self.large_keys.insert(key.clone());
                self.large.push_back(Large::Key(key));
                return;
            }
            let out = self.out();
            encoder.entry(&EntryRef::new(Borrowed::of(entry), policy), out);
            out.keys += 1;
        });
    }
    /// Reads a part of a large value, if one is left; whether there was one.
    fn read_large(&mut self, table: &Table) -> bool {
        if self.current.is_none() {
            self.current = loop {
                match self.large.pop_front() {
                    None => break None,
                    Some(Large::Key(key)) if !self.large_keys.contains(&key) => {}
                    Some(large) => break Some((large, 0)),
                }
            };
        }
        let Some((large, from)) = &mut self.current else {
            return false;
        };
        let encoder = &self.encoder;
        let mut part = |entry: &Entry| {
            let entry = EntryRef::new(Borrowed::of(entry), self.policy);
            encoder.part(&entry, *from, &mut self.encoded)
        };
        let next = match large {
            Large::Taken(entry) => part(entry),
            // Whoever removes it takes care that it is not looked for here.
            Large::Key(key) => table.get(key).and_then(|entry| part(&entry)),
        };
        match next {
            Some(next) => *from = next,
            None => self.end_current(),
        }
        true
    }
    /// The large value under way is read whole.
    fn end_current(&mut self) {
        self.large_read += 1;
        match self.current.take() {
            Some((Large::Key(key), _)) => drop(self.large_keys.remove(&key)),
            Some((Large::Taken(entry), _)) => {
                let bytes = entry.memory_bytes(SAMPLES);
                self.taken_bytes = self.taken_bytes.saturating_sub(bytes);
                self.done_with.push(entry);
            }
            None => {}
        }
        self.encoded.keys += 1;
        self.encoded.append(&mut self.aside);
    }
    /// Reads what is left of the large value of a key at once.
    #[cold]
    fn hurry(&mut self, table: &Table, key: &[u8]) {
        self.hurried += 1;
        self.large_read += 1;
        let is_current = |current: &Option<(Large, Position)>| {
            current.as_ref().is_some_and(|(large, _)| large.is_key(key))
        };
        if is_current(&self.current) {
            while is_current(&self.current) {
                self.read_large(table);
            }
            return;
        }
        self.large_keys.remove(key);
        let Some(entry) = table.get(key) else { return };
        let encoder = Arc::clone(&self.encoder);
        let entry = EntryRef::new(Borrowed::of(&entry), self.policy);
        let out = self.out();
        encoder.entry(&entry, out);
        out.keys += 1;
    }
    /// The entry of a key is about to change, to come or to go.
    fn before_change(&mut self, table: &Table, hash: u64, key: &[u8]) {
        let waiting = self.waiting();
        if let Some(bucket) = self.was.bucket_of(hash) {
            self.read_bucket(table, bucket);
        }
        if self.wants(key) {
            self.hurry(table, key);
        }
        self.copied_bytes += self.waiting() - waiting;
    }
    /// Whether a removed entry is still to be read; then it is taken over.
    fn take(&mut self, entry: Entry) -> Option<Entry> {
        if self.large_keys.is_empty() || !self.large_keys.remove(entry.key()) {
            return Some(entry);
        }
        let bytes = entry.memory_bytes(SAMPLES);
        self.taken_bytes += bytes;
        self.copied_bytes += bytes;
        match &mut self.current {
            Some((large, _)) if large.is_key(entry.key()) => *large = Large::Taken(entry),
            _ => self.large.push_back(Large::Taken(entry)),
        }
        None
    }
    /// Goes on; whether all is read. `over` is asked after each bucket and each part whether it is time to stop.
    fn go_on(&mut self, table: &Table, over: &mut dyn FnMut(&Reading) -> bool) -> bool {
        loop {
            if !self.read_large(table) {
                if self.next == self.was.buckets() {
                    return true;
                }
                self.read_bucket(table, self.next);
                self.next += 1;
            }
            if over(self) {
                return self.is_done();
            }
        }
    }
    fn is_done(&self) -> bool {
        self.next == self.was.buckets() && self.large.is_empty() && self.current.is_none()
    }
}

impl Table {
    /// To be called before an entry of this key changes, comes or goes in whatever way, where there is a reading.
    #[cold]
    pub(super) fn read_before_change(&mut self, hash: u64, key: &[u8]) {
        // Out of the table for the while, because it reads it.
        if let Some(mut reading) = self.reading.take() {
            reading.before_change(self, hash, key);
            self.reading = Some(reading);
        }
    }
    /// To be called in place of [`Table::read_before_change`] where an entry is about to be removed and offered to
    /// [`Table::take_over`].
    #[inline]
    pub(super) fn before_removal(&mut self, hash: u64) {
        if self.reading.is_some() {
            self.read_before_removal(hash);
        }
    }
    #[cold]
    fn read_before_removal(&mut self, hash: u64) {
        if let Some(mut reading) = self.reading.take() {
            let waiting = reading.waiting();
            if let Some(bucket) = reading.was.bucket_of(hash) {
                reading.read_bucket(self, bucket);
            }
            reading.copied_bytes += reading.waiting() - waiting;
            self.reading = Some(reading);
        }
    }
    /// Offers an entry that was removed and would now be freed. Given back where it is not to be read any more.
    #[inline]
    pub(super) fn take_over(&mut self, entry: Entry) -> Option<Entry> {
        match &mut self.reading {
            Some(reading) => reading.take(entry),
            None => Some(entry),
        }
    }
    fn go_on_reading(&mut self, over: &mut dyn FnMut(&Reading) -> bool) -> bool {
        let Some(mut reading) = self.reading.take() else {
            return true;
        };
        let done = reading.go_on(self, over);
        self.reading = Some(reading);
        done
    }
}

/// How many keys a database has that is about to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseSize {
    /// Its number.
    pub db: usize,
    /// Its keys.
    pub keys: usize,
    /// Those with an expiry.
    pub volatile: usize,
}

impl Keyspace {
    /// Begins to read all databases as they are now; the sizes of those that have keys. O(buckets / 64) for the marks.
    ///
    /// # Panics
    /// When a reading is under way.
    pub fn begin_reading(&mut self, encoder: &Arc<dyn Encoder>) -> Vec<DatabaseSize> {
        assert!(!self.is_reading(), "one point in time is read at a time");
        let policy = self.shared.policy;
        let mut sizes = Vec::new();
        for (db, database) in self.databases.iter_mut().enumerate() {
            let table = &mut database.table;
            if table.len() == 0 {
                continue;
            }
            table.reading = Some(Box::new(Reading::new(db, table, encoder, policy)));
            let (keys, volatile) = (table.len(), table.volatile_len());
            sizes.push(DatabaseSize { db, keys, volatile });
        }
        sizes
    }
    fn readings(&mut self) -> impl Iterator<Item = &mut Table> {
        let databases = self.databases.iter_mut().map(|it| &mut it.table);
        let all = databases.chain(self.removed_tables.iter_mut());
        all.filter(|table| table.reading.is_some())
    }
    /// Whether a point in time is being read, or was read and not all of it was taken away.
    pub fn is_reading(&self) -> bool {
        !self.removed_tables.is_empty()
            || self.databases.iter().any(|it| it.table.reading.is_some())
    }
    /// Goes on reading; whether all is read. `over` is told the bytes that wait to be taken away, and says whether to stop;
    /// it is asked after a few entries each.
    pub fn go_on_reading(&mut self, over: &mut dyn FnMut(usize) -> bool) -> bool {
        let before = self.unread_bytes();
        let (mut is_over, mut is_done) = (false, true);
        let mut done_with = Vec::new();
        // A large value comes to its end before other databases are read: theirs would have to be kept aside.
        for goes_on_within in [true, false] {
            for table in self.readings() {
                let Some(reading) = &table.reading else {
                    continue;
                };
                if reading.current.is_some() != goes_on_within {
                    continue;
                }
                if is_over {
                    is_done &= reading.is_done();
                    continue;
                }
                let own = reading.waiting();
                is_done &= table.go_on_reading(&mut |reading| {
                    is_over |= over(before + reading.waiting() - own);
                    is_over
                });
                if let Some(reading) = &mut table.reading {
                    done_with.append(&mut reading.done_with);
                }
            }
        }
        // Whatever they were removed by, they are large.
        for entry in done_with {
            self.shared.free_entry(entry, true);
        }
        is_done
    }
    /// Large values that were read at once, because somebody changed them who could not wait.
    pub fn hurried(&self) -> u64 {
        let tables = self.databases.iter().map(|it| &it.table);
        let readings = tables.chain(&self.removed_tables);
        let hurried = readings.filter_map(|table| Some(table.reading.as_ref()?.hurried));
        self.hurried + hurried.sum::<u64>()
    }
    /// Bytes that are there for the reading alone, about: what was read and waits, and values that were removed and are still to
    /// be read. To evict keys for them would make more of them. (Of databases that were flushed nobody knows the bytes.)
    pub fn bytes_for_reading(&self) -> usize {
        let tables = self.databases.iter().map(|it| &it.table);
        let readings = tables.chain(&self.removed_tables);
        let bytes = |table: &Table| {
            let reading = table.reading.as_ref();
            reading.map_or(0, |it| {
                it.encoded.memory_bytes() + it.aside.memory_bytes() + it.taken_bytes
            })
        };
        readings.map(bytes).sum()
    }
    /// Bytes that the reading under way has kept because of changes of what was not read yet: what a child would have had the
    /// system copy.
    pub fn copied_for_reading(&self) -> usize {
        let tables = self.databases.iter().map(|it| &it.table);
        let readings = tables.chain(&self.removed_tables);
        let bytes = |table: &Table| table.reading.as_ref().map_or(0, |it| it.copied_bytes);
        readings.map(bytes).sum()
    }
    /// Large values that the reading under way has come to the end of: whoever waits for one looks again when there are more.
    pub fn large_read(&mut self) -> u64 {
        let readings = self.readings();
        let read = readings.filter_map(|table| Some(table.reading.as_ref()?.large_read));
        read.sum()
    }
    /// Bytes that were read and wait to be taken away.
    pub fn unread_bytes(&mut self) -> usize {
        let readings = self.readings();
        readings
            .map(|table| table.reading.as_ref().map_or(0, |it| it.waiting()))
            .sum()
    }
    /// Gives away what has been read, by the number that its database had at the beginning. Parts of a large value come
    /// one behind the other, with nothing between them.
    pub fn take_read(&mut self, take: &mut dyn FnMut(usize, Encoded)) {
        // First what goes on where the last call ended within a value, last what ends within one. One database at most has
        // a large value under way, for no other is read before its end.
        let order = |reading: &Reading| match (reading.is_cut, &reading.current) {
            (true, _) => 0,
            (false, None) => 1,
            (false, Some(_)) => 2,
        };
        for turn in 0..3 {
            for table in self.readings() {
                let Some(reading) = &mut table.reading else {
                    continue;
                };
                if order(reading) != turn {
                    continue;
                }
                reading.is_cut = reading.current.is_some();
                if !reading.encoded.is_empty() {
                    take(reading.db, std::mem::take(&mut reading.encoded));
                }
                if reading.is_cut {
                    return;
                }
            }
        }
    }
    /// Ends the reading, whether all was read or not.
    pub fn end_reading(&mut self) {
        self.hurried = self.hurried();
        let mut unread = Vec::new();
        for table in self.readings() {
            if let Some(reading) = table.reading.take() {
                let current = reading.current.map(|(large, _)| large);
                let taken = reading
                    .large
                    .into_iter()
                    .chain(current)
                    .filter_map(Large::taken);
                unread.extend(taken.chain(reading.done_with));
            }
        }
        for entry in unread {
            self.shared.free_entry(entry, true);
        }
        for table in std::mem::take(&mut self.removed_tables) {
            self.shared.lazyfreed += self.shared.free.table(table);
        }
    }
    /// Whether a change of this key would have to read a large value to its end first. Who can wait asks for it to be read
    /// next, and waits.
    pub fn must_wait(&mut self, db: usize, key: &[u8]) -> bool {
        let Some(database) = self.databases.get_mut(db) else {
            return false;
        };
        let table = &mut database.table;
        let Some(mut reading) = table.reading.take() else {
            return false;
        };
        let hash = table.hash(key);
        let is_read = reading
            .was
            .bucket_of(hash)
            .is_none_or(|it| reading.is_read(it));
        let is_large = match is_read {
            true => reading.large_keys.contains(key),
            false => table.get(key).is_some_and(|entry| is_large(entry.stored())),
        };
        if is_large {
            if !is_read && let Some(bucket) = reading.was.bucket_of(hash) {
                reading.read_bucket(table, bucket);
            }
            let place = reading.large.iter().position(|it| it.is_key(key));
            if let Some(large) = place.and_then(|at| reading.large.remove(at)) {
                reading.large.push_front(large);
            }
        }
        table.reading = Some(reading);
        is_large
    }
}

/// Keeps a table that a flush has taken out of its database, until it is read. Given back where nothing of it is wanted.
pub(super) fn keep_while_read(kept: &mut Vec<Table>, mut table: Table) -> Option<Table> {
    match &table.reading {
        Some(reading) if !(reading.is_done() && reading.waiting() == 0) => {
            kept.push(table);
            None
        }
        _ => {
            table.reading = None;
            Some(table)
        }
    }
}

impl Reading {
    /// Whether the value of a key is large and still to be read, though its bucket was.
    pub(super) fn wants(&self, key: &[u8]) -> bool {
        !self.large_keys.is_empty() && self.large_keys.contains(key)
    }
    /// Bytes that wait to be taken away.
    fn waiting(&self) -> usize {
        self.encoded.len() + self.aside.len()
    }
}
