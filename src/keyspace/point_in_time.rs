//! A point in time of all databases, read piece by piece while commands go on.
//!
//! In: an [`Encoder`], and time to go on. Out: each key with its value as it was when the reading began, encoded once.
//! No memory is copied for it but what waits to be taken away. It takes the place of the fork of Redis's `rdbSaveBackground`.
//!
//! Each table remembers the shape that it had when the reading began. The buckets of that shape are passed in order, and the
//! entries in them read; but before an entry changes whose bucket has not been passed, it is read first and marked
//! ([`crate::structures::dict::Mark`]), so that what is read is what was there at the beginning, and only once. What is new
//! since then is marked as well.
//!
//! A value is large when its encoder does not come to its end in one part. It is read in parts, others meanwhile wait for
//! their turn. A large hash is read as a table is: before a field changes it is kept as it was, so that nobody waits. Who
//! changes another large value before it is read has it read to its end at once, which takes long; who can wait asks
//! [`Keyspace::wish_for`], as does who would have to copy a long string that is shared, and is named by
//! [`Keyspace::take_released`] when it may go on. What somebody waits for is read first, in the order in which it was asked
//! for. One that is removed meanwhile is taken over, and freed when it is read.
//!
//! Invariants:
//! * All changes of entries come through the table ([`super::table`]), which calls [`Table::read_before_change`] first.
//! * While parts of a large value are on their way nothing else is put between them: it is kept aside.

use super::encoded::{Encoded, Encoder, Position, encode_part, is_hash_table};
use super::entry::Entry;
use super::keyspace::Keyspace;
use super::long_strings::{Address, LONG_STRING, LongStrings, long_strings};
use super::table::{Borrowed, Table};
use super::{AccessPolicy, EntryRef};
use crate::structures::dict::{Geometry, Mark};
use crate::structures::hash::Hash;
use crate::system::machine::Stopwatch;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Elements by which the bytes of a large value are estimated.
const SAMPLES: usize = 5;

/// A large value that is still to be read, or in part.
enum Large {
    /// It is in the table.
    Key(Box<[u8]>),
    /// It has been removed. With the bytes that it is taken for.
    Taken(Entry, usize),
}

impl Large {
    /// The entry, where it is not the table's any more.
    fn taken(self) -> Option<Entry> {
        match self {
            Large::Key(_) => None,
            Large::Taken(entry, _) => Some(entry),
        }
    }
    /// Whether it is the value of this key, in the table.
    fn is_key(&self, key: &[u8]) -> bool {
        matches!(self, Large::Key(it) if **it == *key)
    }
}

/// What a change has to wait for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What is wished for comes in the order of these; 0: it is under way.
    pub place: u64,
    what: Wished,
}

#[derive(Clone, Debug)]
enum Wished {
    /// A large value is to be read.
    Value {
        /// The number that the database had when the reading began.
        db: usize,
        key: Box<[u8]>,
    },
    /// Whoever was given a long string is to let go of it.
    String(Address),
}

/// What is kept of a large value that is still to be read and in the table.
#[derive(Default)]
struct Wanted {
    /// Its place among those that are wished for; 0: it is not.
    place: u64,
    /// Clients that wait for it.
    waiting: Vec<u64>,
    /// Bytes of its fields that have changed and are kept.
    kept_bytes: usize,
}

/// How a value is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// If it is a hash, by its fields.
    Fields,
    /// In place: what is shared has to be copied.
    InPlace,
    /// As a whole: it is moved, or only its expiry changes.
    Whole,
}

/// Why an entry is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Because {
    /// It is its bucket's turn. If it is large it may begin.
    InTurn,
    /// Somebody will change it, and may wait.
    Wished,
    /// It changes now.
    Changes,
}

/// How far [`Reading::go_on`] goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// To the end of the large value that is under way.
    Current,
    /// To the end of all large values that have been come across.
    Large,
    /// To the end of the table.
    All,
}

/// How far the reading of one table has come.
pub(super) struct Reading {
    /// The number that the database had when the reading began.
    db: usize,
    was: Geometry,
    /// All buckets below have been passed.
    next: usize,
    /// What marks the entries of others that have been read or are new.
    mark: Mark,
    /// Large values that have been come across and are not read yet. What is no more in `large_keys` was read.
    large: VecDeque<Large>,
    /// The large values that are still to be read and in the table, by their keys.
    large_keys: HashMap<Box<[u8]>, Wanted>,
    /// Clients whose value was read or is gone.
    released: Vec<u64>,
    /// Long strings that have been shared, which nobody has taken note of.
    long: Vec<Address>,
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
    /// The longest of these since it was asked for, ns.
    slowest_hurry_ns: u64,
    /// What times them.
    stopwatch: Stopwatch,
    /// Bytes that are kept although their turn had not come, because somebody changed what they are of.
    copied_bytes: usize,
    /// Those of them that are fields of hashes which are still to be read.
    kept_bytes: usize,
    /// Values that were taken over and are read: to be freed.
    done_with: Vec<Entry>,
    /// Bytes of the values that were taken over, about, and of the table where that was removed as a whole.
    taken_bytes: usize,
}

impl Reading {
    fn new(
        db: usize,
        table: &mut Table,
        encoder: &Arc<dyn Encoder>,
        policy: AccessPolicy,
        stopwatch: Stopwatch,
    ) -> Reading {
        Reading {
            db,
            was: table.geometry(),
            next: 0,
            mark: table.begin_mark(),
            large: VecDeque::new(),
            large_keys: HashMap::new(),
            released: Vec::new(),
            long: Vec::new(),
            current: None,
            encoder: Arc::clone(encoder),
            policy,
            encoded: Encoded::default(),
            aside: Encoded::default(),
            is_cut: false,
            hurried: 0,
            slowest_hurry_ns: 0,
            stopwatch,
            copied_bytes: 0,
            kept_bytes: 0,
            done_with: Vec::new(),
            taken_bytes: 0,
        }
    }
    /// The mark for an entry of this hash, where its bucket is still to be passed.
    #[inline]
    pub(super) fn unpassed_mark(&self, hash: u64) -> Option<Mark> {
        let bucket = self.was.bucket_of(hash)?;
        (bucket >= self.next).then_some(self.mark)
    }
    /// Where what is read now goes, unless it is the next part of the large value that is under way.
    fn out(&mut self) -> &mut Encoded {
        match self.current {
            Some(_) => &mut self.aside,
            None => &mut self.encoded,
        }
    }
    /// Passes the next bucket.
    fn pass_bucket(&mut self, table: &mut Table) {
        let (was, bucket, mark) = (self.was, self.next, self.mark);
        table.pass_bucket(was, bucket, mark, &mut |entry| {
            self.read(entry, Because::InTurn);
        });
        self.next += 1;
    }
    /// Reads the entry of a key, if there is one and its turn has not come.
    fn read_early(&mut self, table: &mut Table, hash: u64, key: &[u8], because: Because) {
        let mark = self.unpassed_mark(hash);
        if let Some(entry) = mark.and_then(|mark| table.mark(hash, key, mark)) {
            let waiting = self.waiting();
            self.read(&entry, because);
            self.copied_bytes += self.waiting() - waiting;
        }
    }
    /// Reads an entry. That a value is large shows when it does not end with its first part: then that part is kept and the
    /// value goes on where it is its turn; else the part is taken back, and the value noted.
    fn read(&mut self, entry: &Entry, because: Because) {
        let encoder = Arc::clone(&self.encoder);
        let begins = because == Because::InTurn && self.current.is_none();
        let entry_ref = EntryRef::new(Borrowed::of(entry), self.policy);
        let out = self.out();
        let before = (out.bytes.len(), out.strings.len(), out.shared_bytes);
        let Some(next) = encoder.part(&entry_ref, &Position::default(), out) else {
            out.keys += 1;
            if out.shared_bytes - before.2 >= LONG_STRING {
                if because != Because::Changes {
                    out.lent_bytes += out.shared_bytes - before.2;
                }
                let strings = out.strings.get(before.1..).unwrap_or_default();
                let long: Vec<Address> = long_strings(strings).collect();
                self.long.extend(long);
            }
            return;
        };
        let key: Box<[u8]> = entry.key().into();
        // A hash has its fields read in another way, from the first on.
        let goes_on = begins && !is_hash_table(entry);
        if !goes_on {
            out.cut(before);
        }
        if begins {
            let next = if goes_on { next } else { Position::default() };
            self.current = Some((Large::Key(key.clone()), next));
        } else {
            self.large.push_back(Large::Key(key.clone()));
        }
        self.large_keys.insert(key, Wanted::default());
    }
    /// Nobody has to wait for the value of a key any more. Whether it was still to be read.
    fn release(&mut self, key: &[u8]) -> bool {
        match self.large_keys.remove(key) {
            Some(mut wanted) => {
                self.released.append(&mut wanted.waiting);
                self.kept_bytes -= wanted.kept_bytes;
                true
            }
            None => false,
        }
    }
    /// Begins with a value that is wished for. Nothing is begun where it was read or is gone.
    fn begin(&mut self, key: Box<[u8]>) {
        if self.current.is_none() && self.large_keys.contains_key(&key) {
            self.current = Some((Large::Key(key), Position::default()));
        }
    }
    /// Reads a part of a large value, if one is left; whether there was one.
    fn read_large(&mut self, table: &mut Table) -> bool {
        if self.current.is_none() {
            self.current = loop {
                match self.large.pop_front() {
                    None => break None,
                    Some(Large::Key(key)) if !self.large_keys.contains_key(&key) => {}
                    Some(large) => break Some((large, Position::default())),
                }
            };
        }
        let Some((large, from)) = &mut self.current else {
            return false;
        };
        let (encoder, policy) = (&*self.encoder, self.policy);
        let mut part = |entry: &mut Entry| {
            let is_last = encode_part(encoder, policy, entry, from, &mut self.encoded);
            let kept_bytes = entry.hash().map_or(0, Hash::kept_bytes);
            (is_last, kept_bytes)
        };
        let (is_last, kept) = match large {
            Large::Taken(entry, _) => (part(entry).0, None),
            // Whoever removes it takes care that it is not looked for here.
            Large::Key(key) => {
                let (is_last, kept_bytes) = table.with_entry(key, part).unwrap_or((true, 0));
                (is_last, Some((key.clone(), kept_bytes)))
            }
        };
        if is_last {
            self.end_current();
        } else if let Some((key, kept_bytes)) = kept {
            self.note_kept(&key, kept_bytes);
        }
        true
    }
    /// Takes note of the bytes that the large hash of a key keeps of fields that have changed.
    pub(super) fn note_kept(&mut self, key: &[u8], bytes: usize) {
        if let Some(wanted) = self.large_keys.get_mut(key) {
            let before = std::mem::replace(&mut wanted.kept_bytes, bytes);
            self.kept_bytes = self.kept_bytes - before + bytes;
            self.copied_bytes += bytes.saturating_sub(before);
        }
    }
    /// The large value under way is read whole.
    fn end_current(&mut self) {
        match self.current.take() {
            Some((Large::Key(key), _)) => drop(self.release(&key)),
            Some((Large::Taken(entry, bytes), _)) => {
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
    fn hurry(&mut self, table: &mut Table, key: &[u8]) {
        self.hurried += 1;
        let is_current = |current: &Option<(Large, Position)>| {
            current.as_ref().is_some_and(|(large, _)| large.is_key(key))
        };
        if is_current(&self.current) {
            while is_current(&self.current) {
                self.read_large(table);
            }
            return;
        }
        self.release(key);
        let (encoder, policy) = (Arc::clone(&self.encoder), self.policy);
        let out = self.out();
        table.with_entry(key, |entry| {
            let mut from = Position::default();
            while !encode_part(&*encoder, policy, entry, &mut from, out) {}
            out.keys += 1;
        });
    }
    /// The entry of a key is about to change, to come or to go.
    fn before_change(&mut self, table: &mut Table, hash: u64, key: &[u8]) {
        self.read_early(table, hash, key, Because::Changes);
        if self.wants(key) {
            let (waiting, begin_ns) = (self.waiting(), self.stopwatch.now_ns());
            self.hurry(table, key);
            let ns = self.stopwatch.since_ns(begin_ns);
            self.slowest_hurry_ns = self.slowest_hurry_ns.max(ns);
            self.copied_bytes += self.waiting() - waiting;
        }
    }
    /// Whether a removed entry is still to be read; then it is taken over.
    fn take(&mut self, entry: Entry) -> Option<Entry> {
        if self.large_keys.is_empty() || !self.release(entry.key()) {
            return Some(entry);
        }
        let own_bytes = entry.memory_bytes(SAMPLES);
        // What a hash keeps of fields that have changed is not of its own size, and was counted as copied.
        let bytes = own_bytes + entry.hash().map_or(0, Hash::kept_bytes);
        self.taken_bytes += bytes;
        self.copied_bytes += own_bytes;
        match &mut self.current {
            Some((large, _)) if large.is_key(entry.key()) => {
                *large = Large::Taken(entry, bytes);
            }
            _ => self.large.push_back(Large::Taken(entry, bytes)),
        }
        None
    }
    /// Goes on: with the large value that is under way until its end, or else with all that is left. `over` is asked after
    /// each bucket and each part whether it is time to stop.
    fn go_on(&mut self, table: &mut Table, extent: Extent, over: &mut dyn FnMut(&Reading) -> bool) {
        loop {
            if extent == Extent::Current && self.current.is_none() {
                return;
            }
            if !self.read_large(table) {
                if extent == Extent::Large || self.next == self.was.buckets() {
                    return;
                }
                table.prefetch_ahead(self.next);
                self.pass_bucket(table);
            }
            if over(self) {
                return;
            }
        }
    }
    fn is_done(&self) -> bool {
        self.next == self.was.buckets() && self.large.is_empty() && self.current.is_none()
    }
}

impl Table {
    /// Takes note of the long strings that have been shared.
    fn note_long(&mut self, strings: &mut LongStrings) {
        if let Some(reading) = &mut self.reading {
            reading.long.drain(..).for_each(|it| strings.add(it));
        }
    }
    /// Counts the copy that a change of a string in place makes where it is shared. Its bucket has been read.
    #[cold]
    pub(super) fn count_copy(&mut self, entry: &Entry, strings: &mut LongStrings) {
        self.note_long(strings);
        strings.copied += u64::from(strings.has(entry).is_some());
    }
    /// To be called before an entry of this key changes or goes in whatever way, where there is a reading.
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
    pub(super) fn before_removal(&mut self, hash: u64, key: &[u8]) {
        if self.reading.is_some() {
            self.read_before_removal(hash, key);
        }
    }
    #[cold]
    fn read_before_removal(&mut self, hash: u64, key: &[u8]) {
        if let Some(mut reading) = self.reading.take() {
            reading.read_early(self, hash, key, Because::Changes);
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
    /// Ends the reading of hashes that are read in part.
    fn end_reading_fields(&mut self) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        for key in reading.large_keys.keys() {
            self.with_entry(key, |entry| {
                if let Ok(hash) = entry.hash_mut() {
                    hash.end_reading();
                }
            });
        }
        self.reading = Some(reading);
    }
    fn go_on_reading(&mut self, extent: Extent, over: &mut dyn FnMut(&Reading) -> bool) {
        if let Some(mut reading) = self.reading.take() {
            reading.go_on(self, extent, over);
            self.reading = Some(reading);
        }
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
    /// Begins to read all databases as they are now; the sizes of those that have keys. O(1), but see [`Marks::begin`].
    ///
    /// [`Marks::begin`]: crate::structures::dict::Marks::begin
    ///
    /// # Panics
    /// When a reading is under way.
    pub fn begin_reading(&mut self, encoder: &Arc<dyn Encoder>) -> Vec<DatabaseSize> {
        assert!(!self.is_reading(), "one point in time is read at a time");
        let (policy, stopwatch) = (self.shared.policy, self.shared.stopwatch);
        let mut sizes = Vec::new();
        for (db, database) in self.databases.iter_mut().enumerate() {
            let table = &mut database.table;
            if table.len() == 0 {
                continue;
            }
            table.reading = Some(Box::new(Reading::new(
                db, table, encoder, policy, stopwatch,
            )));
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
        // A large value comes to its end before anything else is read, which would have to be kept aside.
        let mut is_over = self.read_on(None, Extent::Current, over);
        // Then what somebody waits for, in the order of the wishes.
        while !is_over && let Some((db, key)) = self.wished.pop_front() {
            let mut tables = self.readings();
            let wanted = tables.find_map(|it| it.reading.as_mut().filter(|it| it.db == db));
            if let Some(reading) = wanted {
                reading.begin(key);
            }
            drop(tables);
            is_over = self.read_on(Some(db), Extent::Current, over);
        }
        // Then hashes that keep fields which have changed, wherever they are: writes are held where that is much.
        for db in self.those_that_keep() {
            is_over = is_over || self.read_on(Some(db), Extent::Large, over);
        }
        // Then tables that were small: each bucket of one that grows by millions before its turn would be many thousands.
        for db in self.small_ones() {
            is_over = is_over || self.read_on(Some(db), Extent::All, over);
        }
        if !is_over {
            self.read_on(None, Extent::All, over);
        }
        let mut done_with = Vec::new();
        let mut is_done = true;
        for table in self.readings() {
            if let Some(reading) = &mut table.reading {
                is_done &= reading.is_done();
                done_with.append(&mut reading.done_with);
            }
        }
        // Whatever they were removed by, they are large.
        for entry in done_with {
            self.shared.free_entry(entry, true);
        }
        is_done
    }
    /// The databases in which fields are kept, by their numbers at the beginning.
    fn those_that_keep(&mut self) -> Vec<usize> {
        let readings = self.readings().filter_map(|table| table.reading.as_ref());
        let keep = readings.filter(|it| it.kept_bytes > 0);
        keep.map(|it| it.db).collect()
    }
    /// The databases that had few buckets and are still to be read, by their numbers at the beginning.
    fn small_ones(&mut self) -> Vec<usize> {
        const FEW: usize = 64;
        let readings = self.readings().filter_map(|table| table.reading.as_ref());
        let small = readings.filter(|it| it.was.buckets() < FEW && !it.is_done());
        small.map(|it| it.db).collect()
    }
    /// Goes on in one table, by the number of its database at the beginning, or in all; whether `over` has said stop.
    fn read_on(
        &mut self,
        db: Option<usize>,
        extent: Extent,
        over: &mut dyn FnMut(usize) -> bool,
    ) -> bool {
        let before = self.unread_bytes();
        let mut is_over = false;
        let mut grown = 0;
        for table in self.readings() {
            let Some(reading) = &table.reading else {
                continue;
            };
            if is_over || db.is_some_and(|db| db != reading.db) {
                continue;
            }
            let own = reading.waiting();
            let mut waiting = own;
            table.go_on_reading(extent, &mut |reading| {
                waiting = reading.waiting();
                is_over |= over(before + grown + waiting - own);
                is_over
            });
            grown += waiting - own;
        }
        is_over
    }
    /// Large values that were read, and long strings that were copied at once, because somebody changed them who could not
    /// wait.
    pub fn hurried(&self) -> u64 {
        let tables = self.databases.iter().map(|it| &it.table);
        let readings = tables.chain(&self.removed_tables);
        let hurried = readings.filter_map(|table| Some(table.reading.as_ref()?.hurried));
        self.hurried + hurried.sum::<u64>() + self.shared.long_strings.copied
    }
    /// The longest time, ns, for which a value that was read at once, or a long string that was copied, kept the loop, since
    /// the last call.
    pub fn take_slowest_hurry_ns(&mut self) -> u64 {
        let copy_ns = std::mem::take(&mut self.shared.long_strings.slowest_copy_ns);
        let mut slowest_ns = std::mem::take(&mut self.slowest_hurry_ns).max(copy_ns);
        for table in self.readings() {
            if let Some(reading) = &mut table.reading {
                slowest_ns = slowest_ns.max(std::mem::take(&mut reading.slowest_hurry_ns));
            }
        }
        slowest_ns
    }
    /// Bytes of fields that have changed and are kept, about, because their hash is still to be read.
    pub fn kept_for_reading(&self) -> usize {
        let tables = self.databases.iter().map(|it| &it.table);
        let readings = tables.chain(&self.removed_tables);
        let bytes = |table: &Table| table.reading.as_ref().map_or(0, |it| it.kept_bytes);
        readings.map(bytes).sum()
    }
    /// Bytes that are there for the reading alone, about: what was read and waits, and values that were removed and are still to
    /// be read, flushed databases among them. To evict keys for them would make more of them.
    pub fn bytes_for_reading(&self) -> usize {
        let tables = self.databases.iter().map(|it| &it.table);
        let readings = tables.chain(&self.removed_tables);
        let bytes = |table: &Table| {
            let reading = table.reading.as_ref();
            reading.map_or(0, |it| {
                let waiting = it.encoded.memory_bytes() + it.aside.memory_bytes();
                waiting + it.kept_bytes + it.taken_bytes
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
    /// Takes the ids of the clients that waited ([`Keyspace::wait_for`]) and may go on.
    pub fn take_released(&mut self) -> Vec<u64> {
        let mut released = std::mem::take(&mut self.released);
        for table in self.readings() {
            if let Some(reading) = &mut table.reading {
                released.append(&mut reading.released);
            }
        }
        released
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
        let databases = self.databases.iter_mut().map(|it| &mut it.table);
        for table in databases.chain(&mut self.removed_tables) {
            table.note_long(&mut self.shared.long_strings);
        }
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
                    let next = reading.encoded.emptied();
                    take(reading.db, std::mem::replace(&mut reading.encoded, next));
                }
                if reading.is_cut {
                    return;
                }
            }
        }
    }
    /// Ends the reading, whether all was read or not.
    pub fn end_reading(&mut self) {
        self.hurried = self.hurried() - self.shared.long_strings.copied;
        self.slowest_hurry_ns = self.take_slowest_hurry_ns();
        for table in self.readings() {
            table.end_reading_fields();
        }
        self.release_all();
        let mut unread = Vec::new();
        for table in self.readings() {
            if let Some(reading) = table.reading.take() {
                let has_passed_all = reading.next == reading.was.buckets();
                table.end_mark(reading.mark, has_passed_all);
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
    /// What a change of a key has to wait for, if anything: that its value, which is large, is read, which it will be soon; or,
    /// where it is not changed as a whole, that others let go of a long string. O(1) but for reading the key's entry, which the change
    /// would have had done anyway.
    pub fn wish_for(&mut self, db: usize, key: &[u8], change: Change) -> Option<Wish> {
        if let Some(wish) = self.wish_for_value(db, key) {
            let table = &self.databases.get(db)?.table;
            let is_by_fields = change == Change::Fields
                && table.get(key).is_some_and(|entry| is_hash_table(&entry));
            return (!is_by_fields).then_some(wish);
        }
        if change == Change::Whole {
            return None;
        }
        let table = &mut self.databases.get_mut(db)?.table;
        let strings = &mut self.shared.long_strings;
        table.note_long(strings);
        if strings.is_empty() {
            return None;
        }
        let string = strings.has(&*table.get(key)?)?;
        // What is still to be read is let go of later.
        Some(Wish {
            place: u64::MAX,
            what: Wished::String(string),
        })
    }
    fn wish_for_value(&mut self, db: usize, key: &[u8]) -> Option<Wish> {
        let table = &mut self.databases.get_mut(db)?.table;
        let mut reading = table.reading.take()?;
        let hash = table.hash(key);
        reading.read_early(table, hash, key, Because::Wished);
        let wish = reading.large_keys.get_mut(key).map(|wanted| {
            let is_current = matches!(&reading.current, Some((large, _)) if large.is_key(key));
            if wanted.place == 0 && !is_current {
                self.wishes += 1;
                wanted.place = self.wishes;
                self.wished.push_back((reading.db, key.into()));
            }
            Wish {
                place: if is_current { 0 } else { wanted.place },
                what: Wished::Value {
                    db: reading.db,
                    key: key.into(),
                },
            }
        });
        table.reading = Some(reading);
        wish
    }
    /// Has a client wait, which is named by [`Keyspace::take_released`] when it need not any more.
    pub fn wait_for(&mut self, wish: &Wish, client: u64) {
        let waiting = match &wish.what {
            Wished::Value { db, key } => self.readings().find_map(|table| {
                let reading = table.reading.as_mut().filter(|it| it.db == *db)?;
                let wanted = reading.large_keys.get_mut(key)?;
                Some(&mut wanted.waiting)
            }),
            Wished::String(string) => {
                let strings = &mut self.shared.long_strings.shared;
                strings.get_mut(string).map(|(_, waiting)| waiting)
            }
        };
        match waiting {
            Some(waiting) => waiting.push(client),
            None => self.released.push(client),
        }
    }
    /// Lets all go on that wait for the reading, in the order in which their values were wished for.
    fn release_all(&mut self) {
        for (db, key) in std::mem::take(&mut self.wished) {
            for table in self.readings() {
                if let Some(reading) = &mut table.reading
                    && reading.db == db
                {
                    reading.release(&key);
                }
            }
        }
        // The one under way is not among the wishes any more.
        for table in self.readings() {
            if let Some(reading) = &mut table.reading
                && let Some((Large::Key(key), _)) = &reading.current
            {
                let key = key.clone();
                reading.release(&key);
            }
        }
        self.released = self.take_released();
    }
}

/// Keeps a table that a flush has taken out of its database, until it is read. Given back where nothing of it is wanted.
/// Nobody waits for anything in it any more.
pub(super) fn keep_while_read(
    kept: &mut Vec<Table>,
    (released, hurried): (&mut Vec<u64>, &mut u64),
    random: &mut dyn FnMut() -> u64,
    mut table: Table,
) -> Option<Table> {
    if let Some(reading) = &mut table.reading {
        released.append(&mut reading.released);
        // In the order of their numbers: the order of a hash table is another one in each process.
        let wanted = reading.large_keys.values_mut();
        let mut waiting: Vec<u64> = wanted.flat_map(|it| it.waiting.drain(..)).collect();
        waiting.sort_unstable();
        released.append(&mut waiting);
    }
    match table.reading.take() {
        Some(mut reading) if !(reading.is_done() && reading.waiting() == 0) => {
            reading.taken_bytes += bytes_of(&table, random);
            table.reading = Some(reading);
            kept.push(table);
            None
        }
        reading => {
            *hurried += reading.map_or(0, |it| it.hurried);
            Some(table)
        }
    }
}

/// Bytes of a table, about: those of some of its entries stand for all. O(1).
fn bytes_of(table: &Table, random: &mut dyn FnMut() -> u64) -> usize {
    /// Entries that are looked at.
    const ENTRIES: usize = 256;
    let (main, volatile) = table.memory_bytes();
    let mut entries = 0usize;
    if table.len() <= ENTRIES {
        table.for_each(&mut |entry| entries += entry.memory_bytes(SAMPLES));
    } else {
        let mut drawn = 0usize;
        for _ in 0..ENTRIES {
            let entry = table.random(false, random);
            drawn += entry.map_or(0, |entry| entry.memory_bytes(SAMPLES));
        }
        entries = drawn.saturating_mul(table.len()) / ENTRIES;
    }
    main + volatile + entries
}

impl Reading {
    /// Whether the value of a key is large and still to be read, though its bucket was.
    pub(super) fn wants(&self, key: &[u8]) -> bool {
        !self.large_keys.is_empty() && self.large_keys.contains_key(key)
    }
    /// Bytes that wait to be taken away.
    fn waiting(&self) -> usize {
        self.encoded.len() + self.aside.len()
    }
}
