//! What is read of a point in time, whatever commands do meanwhile.

use super::super::*;
use super::{at, keyspace, set};
use crate::config::MaxmemoryPolicy;
use crate::structures::Collection;
use crate::structures::hash::{FieldRead, Hash, HashLimits, Pair};
use crate::system::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A line for each entry; a large one comes in parts, and its line is only whole if nothing stands between them.
struct Lines;

const PARTS: u128 = 5;
/// Hashes with more fields come in parts, every other one with a last part that is empty.
const LARGE: usize = 16;

fn line(entry: &EntryRef<'_>) -> String {
    let key = String::from_utf8_lossy(entry.key()).into_owned();
    let value = match entry.stored() {
        Stored::Hash(hash) => hash.iter().map(field).collect(),
        _ => Digest::of_value(entry).hex(),
    };
    sorted(&format!("{key} {value} {:?}\n", entry.expire_at()))
}

fn field(pair: Pair<'_>) -> String {
    let (name, value) = (pair.field.to_vec(), pair.value.to_vec());
    let text = |bytes| String::from_utf8(bytes).expect("they are text here");
    format!("{}={}@{:?};", text(name), text(value), pair.expiry)
}

/// A line whose fields, if it is a hash, are in order.
fn sorted(line: &str) -> String {
    let mut words: Vec<String> = line.splitn(3, ' ').map(str::to_owned).collect();
    if let Some(fields) = words.get_mut(1) {
        let mut all: Vec<&str> = fields.split_inclusive(';').collect();
        all.sort_unstable();
        *fields = all.concat();
    }
    words.join(" ")
}

impl Encoder for Lines {
    fn part(&self, entry: &EntryRef<'_>, from: &Position, out: &mut Encoded) -> Option<Position> {
        let line = line(entry).into_bytes();
        let is_large = matches!(entry.stored(), Stored::Hash(hash) if hash.len() > LARGE);
        if !is_large {
            out.bytes.extend_from_slice(&line);
            return None;
        }
        let (each, at) = (line.len() / PARTS as usize, from.at as usize);
        if from.at == PARTS {
            return None;
        }
        let is_last = from.at + 1 == PARTS;
        let end = if is_last { line.len() } else { (at + 1) * each };
        out.bytes.extend_from_slice(&line[at * each..end]);
        let goes_on = !is_last || entry.key().last().is_some_and(|it| it % 2 == 0);
        goes_on.then(|| Position::at(from.at + 1))
    }
    fn fields(&self, part: FieldsPart<'_>, out: &mut Encoded) -> bool {
        let mut text = Vec::new();
        if part.is_first {
            text.extend_from_slice(part.entry.key());
            text.push(b' ');
        }
        let mut left = part.was.fields.div_ceil(PARTS as usize);
        // Some fields come in two parts.
        let whole = part.hash.unfinished().map(field);
        if let Some(whole) = whole {
            text.extend_from_slice(&whole.as_bytes()[part.inside.at..]);
            part.hash.finish();
        }
        let is_last = part.hash.read_on(&mut |pair| {
            let whole = field(pair);
            if whole.starts_with("f1") {
                part.inside.at = whole.len() / 2;
                text.extend_from_slice(&whole.as_bytes()[..part.inside.at]);
                return FieldRead::InPart;
            }
            text.extend_from_slice(whole.as_bytes());
            left -= 1;
            if left > 0 {
                FieldRead::Whole
            } else {
                FieldRead::Last
            }
        });
        if is_last {
            text.extend_from_slice(format!(" {:?}\n", part.entry.expire_at()).as_bytes());
        }
        out.bytes.append(&mut text);
        is_last
    }
}

type Lined = BTreeMap<usize, Vec<String>>;

/// All that is there, as it is to be read.
fn lines_of(keyspace: &Keyspace) -> Lined {
    let mut lines = Lined::new();
    for db in 0..keyspace.count() {
        keyspace.for_each(db, &mut |entry| {
            lines.entry(db).or_default().push(line(&entry))
        });
    }
    lines.values_mut().for_each(|lines| lines.sort());
    lines
}

struct Reader {
    bytes: BTreeMap<usize, Vec<u8>>,
    /// The database whose line is not at its end; others must wait.
    keys: u64,
}

impl Reader {
    fn take(&mut self, keyspace: &mut Keyspace) {
        keyspace.take_read(&mut |db, encoded| {
            let unfinished = self
                .bytes
                .iter()
                .find(|(_, text)| text.last().is_some_and(|it| *it != b'\n'));
            assert!(
                unfinished.is_none_or(|(other, _)| *other == db),
                "something stands within a value"
            );
            self.keys += encoded.keys;
            self.bytes.entry(db).or_default().extend(encoded.bytes);
        });
    }
    fn lines(&self) -> Lined {
        let lines = |bytes: &Vec<u8>| {
            let text = String::from_utf8(bytes.clone()).expect("lines are text");
            let mut lines: Vec<String> = text.split_inclusive('\n').map(sorted).collect();
            lines.sort();
            lines
        };
        self.bytes
            .iter()
            .map(|(db, bytes)| (*db, lines(bytes)))
            .collect()
    }
}

fn hash_limits(db: &Db<'_>) -> HashLimits {
    HashLimits {
        max_entries: 8,
        max_value: 64,
        seed: db.hash_seed(),
    }
}

fn large_hash(db: &Db<'_>, fields: usize) -> NewValue<'static> {
    let limits = hash_limits(db);
    let mut hash = Hash::new();
    for number in 0..fields {
        hash.set(format!("f{number}").as_bytes(), b"v", false, &limits);
    }
    NewValue::Hash(Box::new(hash))
}

fn put(db: &mut Db<'_>, key: &[u8], value: NewValue<'static>) {
    match db.entry(key) {
        KeyEntry::Occupied(mut held) => held.set(value, Expiry::Clear),
        KeyEntry::Vacant(vacant) => vacant.insert(value, Expiry::Clear),
    }
}

/// Anything that a command or the server may do to keys.
fn change(keyspace: &mut Keyspace, rng: &mut Rng, now: Clock, keys: u64) {
    let key = |rng: &mut Rng| format!("key{}", rng.below(keys)).into_bytes();
    let (first, second) = (key(rng), key(rng));
    let index = rng.index(2);
    let mut db = keyspace.db(index, now, false);
    match rng.below(25) {
        0..3 => set(&mut db, &first, &rng.next_u64().to_le_bytes(), Expiry::Keep),
        3 => set(&mut db, &first, &[b'x'; 3000], Expiry::Clear),
        4 => set(&mut db, &first, b"soon", Expiry::At(now.unix_us / 1000 + 3)),
        5 => {
            if let KeyEntry::Occupied(mut held) = db.entry(&first) {
                let _ = held.append(b"more");
            }
        }
        6 => {
            if let KeyEntry::Occupied(mut held) = db.entry(&first) {
                let _ = held.set_range(2, b"within");
                let _ = held.truncate(3);
            }
        }
        7 => {
            if let KeyEntry::Occupied(mut held) = db.entry(&first)
                && let Ok(bytes) = held.bytes_mut()
                && let Some(byte) = bytes.first_mut()
            {
                *byte ^= 1;
            }
        }
        8..10 => {
            let fields = 10 + rng.index(20);
            let hash = large_hash(&db, fields);
            put(&mut db, &first, hash);
        }
        10..12 => {
            let limits = hash_limits(&db);
            if let KeyEntry::Occupied(mut held) = db.entry(&first)
                && let Ok(hash) = held.hash_mut()
            {
                for _ in 0..1 + rng.below(4) {
                    let name = format!("f{}", rng.below(40)).into_bytes();
                    let value = rng.below(1000).to_string().into_bytes();
                    match rng.below(3) {
                        0 => drop(hash.remove(&name)),
                        _ => drop(hash.set(&name, &value, rng.below(2) == 0, &limits)),
                    }
                }
                let is_empty = hash.is_empty();
                held.reindex_fields();
                if is_empty {
                    held.remove(Free::Now);
                }
            }
        }
        12 => drop(db.remove(
            &first,
            if rng.below(2) == 0 {
                Free::Now
            } else {
                Free::Lazily
            },
        )),
        13 => {
            if let KeyEntry::Occupied(mut held) = db.entry(&first) {
                held.set_expiry(Some(now.unix_us / 1000 + 5));
            }
        }
        14 => drop(db.rename(&first, &second, true)),
        15 => drop(keyspace.move_key(index, 1 - index, &first, now)),
        16 => {
            let to = (rng.index(2), &second[..]);
            let _ = keyspace.copy((index, &first), to, true, now);
        }
        17 => drop(keyspace.evict_one(MaxmemoryPolicy::AllkeysRandom, 5, now)),
        18 => drop(db.peek(&first)),
        // Nobody has asked for what the next two do, so that nothing large is read for them.
        19..21 => {
            let before = keyspace.hurried();
            keyspace.expire_cycle(now, 1, u64::MAX, &mut || 0);
            assert_eq!(keyspace.hurried(), before);
        }
        21..23 => {
            let before = keyspace.hurried();
            let mut db = keyspace.db(index, now, false);
            db.expire_field(&first, b"f2");
            db.expire_named(&first, [&b"f3"[..], b"f4"].into_iter());
            if rng.below(3) == 0 {
                db.expire_fields(&first);
            }
            assert_eq!(keyspace.hurried(), before);
        }
        23 => {
            if let KeyEntry::Occupied(mut held) = db.entry(&first)
                && let Ok(hash) = held.hash_mut()
            {
                for (field, in_ms) in [(&b"f2"[..], 1), (b"f3", 2), (b"f4", 2), (b"f5", 9)] {
                    hash.set_expiry(field, Some(now.unix_us / 1000 + in_ms));
                }
                held.reindex_fields();
            }
        }
        _ if rng.below(8) > 0 => {}
        _ if rng.below(2) == 0 => keyspace.swap(0, 1, now),
        _ => drop(keyspace.flush(
            Some(index),
            if rng.below(2) == 0 {
                Free::Now
            } else {
                Free::Lazily
            },
        )),
    }
}

/// What is read is what was there at the beginning: nothing is missed, comes twice, or is of a later time.
#[test]
fn what_is_read_is_what_was_there_at_the_beginning() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut keyspace = keyspace();
        let mut now_ms = 1_000_000;
        let keys = 1 + rng.below(300);
        for _ in 0..rng.below(2 * keys) {
            change(&mut keyspace, &mut rng, at(now_ms), keys);
            now_ms += i64::from(rng.below(20) == 0);
        }
        // A second one after the first, whose end may have come early.
        for _ in 0..2 {
            let expected = lines_of(&keyspace);
            let encoder: Arc<dyn Encoder> = Arc::new(Lines);
            let sizes = keyspace.begin_reading(&encoder);
            assert_eq!(sizes.len(), expected.len());
            for size in sizes {
                assert_eq!(size.keys, expected[&size.db].len());
            }
            let mut reader = Reader {
                bytes: BTreeMap::new(),
                keys: 0,
            };
            let gives_up = rng.below(10) == 0;
            let (mut clients, mut waiting) = (0, BTreeSet::new());
            // Keys that were not there, so that the tables grow, or few, so that they shrink.
            let other_keys = 1 + rng.below(3 * keys);
            let done = loop {
                for _ in 0..rng.below(12) {
                    change(&mut keyspace, &mut rng, at(now_ms), other_keys);
                    now_ms += i64::from(rng.below(50) == 0);
                }
                if rng.below(10) == 0 {
                    let key = format!("key{}", rng.below(keys)).into_bytes();
                    let client = rng.below(2) == 0;
                    clients += u64::from(client);
                    let change = [Change::Fields, Change::InPlace, Change::Whole][rng.index(3)];
                    let wish = keyspace.wish_for(rng.index(2), &key, change);
                    if let Some(wish) = wish.filter(|_| client) {
                        keyspace.wait_for(&wish, clients);
                        waiting.insert(clients);
                    }
                }
                let mut left = rng.below(6);
                let done = keyspace.go_on_reading(&mut |_| {
                    left = left.saturating_sub(1);
                    left == 0
                });
                if rng.below(2) == 0 {
                    reader.take(&mut keyspace);
                }
                for client in keyspace.take_released() {
                    assert!(waiting.remove(&client), "nobody waited");
                }
                if done || gives_up && rng.below(20) == 0 {
                    break done;
                }
            };
            reader.take(&mut keyspace);
            keyspace.end_reading();
            for client in keyspace.take_released() {
                assert!(waiting.remove(&client), "nobody waited");
            }
            assert!(waiting.is_empty(), "nobody waits for what is over");
            assert!(!keyspace.is_reading());
            if done {
                let mut read = reader.lines();
                read.retain(|_, lines| !lines.is_empty());
                assert_eq!(read, expected, "seed {seed}");
                assert_eq!(
                    reader.keys,
                    expected.values().map(|it| it.len() as u64).sum::<u64>()
                );
            } else {
                assert!(gives_up);
            }
        }
    }
}

/// Each who waits is named once, when its value was read, and values are read in the order of the first wishes, whichever
/// databases they are in.
#[test]
fn who_waits_goes_on_in_the_order_of_the_wishes() {
    let mut keyspace = keyspace();
    for number in 0..100 {
        let mut db = keyspace.db(number % 2, at(1), false);
        let hash = large_hash(&db, 20);
        put(&mut db, format!("key{number}").as_bytes(), hash);
    }
    let encoder: Arc<dyn Encoder> = Arc::new(Lines);
    keyspace.begin_reading(&encoder);
    let mut asked: Vec<usize> = (0..100).collect();
    let mut rng = Rng::new(1);
    for place in 0..100 {
        asked.swap(place, rng.index(100));
    }
    // Everybody comes twice, as another client.
    for (client, number) in asked.iter().chain(&asked).enumerate() {
        let key = format!("key{number}").into_bytes();
        let wish = keyspace
            .wish_for(number % 2, &key, Change::InPlace)
            .expect("it is large");
        keyspace.wait_for(&wish, client as u64);
    }
    let mut released = Vec::new();
    loop {
        // One part at a time.
        let done = keyspace.go_on_reading(&mut |_| true);
        released.push(keyspace.take_released());
        if done {
            break;
        }
    }
    released.retain(|some| !some.is_empty());
    let expected: Vec<Vec<u64>> = (0..100).map(|first| vec![first, first + 100]).collect();
    assert_eq!(released, expected);
    keyspace.end_reading();
}

/// Shares every string.
struct Sharing;

impl Encoder for Sharing {
    fn part(&self, entry: &EntryRef<'_>, _: &Position, out: &mut Encoded) -> Option<Position> {
        if let Stored::String(Value::Blob(blob)) = entry.stored() {
            out.shared_bytes += blob.len();
            out.strings.push((0, Deferred::Shared(Arc::clone(blob))));
        }
        None
    }
    fn fields(&self, _: FieldsPart<'_>, _: &mut Encoded) -> bool {
        true
    }
}

/// Who changed half a gigabyte that was shared copied it first.
#[test]
fn who_changes_a_long_string_waits_until_it_is_let_go_of() {
    let mut keyspace = keyspace();
    for (key, len) in [
        (&b"long"[..], 300_000),
        (b"second", 400_000),
        (b"short", 9000),
    ] {
        let mut db = keyspace.db(0, at(1), false);
        put(&mut db, key, NewValue::Blob(Arc::new(vec![b'x'; len])));
    }
    assert!(keyspace.wish_for(0, b"long", Change::InPlace).is_none());
    let encoder: Arc<dyn Encoder> = Arc::new(Sharing);
    keyspace.begin_reading(&encoder);
    // It is shared by the question, which reads it.
    let wish = keyspace
        .wish_for(0, b"long", Change::InPlace)
        .expect("it is shared");
    keyspace.wait_for(&wish, 7);
    assert!(keyspace.wish_for(0, b"long", Change::Whole).is_none());
    assert!(keyspace.wish_for(0, b"short", Change::InPlace).is_none());
    while !keyspace.go_on_reading(&mut |_| true) {}
    let mut taken = Vec::new();
    keyspace.take_read(&mut |_, encoded| taken.push(encoded));
    keyspace.end_reading();
    assert!(keyspace.take_released().is_empty(), "others have it yet");
    // One that cannot wait changes a copy, which is nobody else's.
    let mut db = keyspace.db(0, at(1), false);
    let KeyEntry::Occupied(mut held) = db.entry(b"second") else {
        panic!("it is there")
    };
    held.append(b"y").expect("a string");
    held.append(b"y").expect("a string");
    assert_eq!(keyspace.hurried(), 1);
    assert!(keyspace.take_slowest_hurry_ns() > 0, "it is timed");
    assert!(keyspace.wish_for(0, b"second", Change::InPlace).is_none());
    let strings: Vec<usize> = taken.iter().flat_map(|it| it.long_strings()).collect();
    assert_eq!(strings.len(), 2);
    drop(taken);
    strings.into_iter().for_each(|it| keyspace.let_go(it));
    assert_eq!(keyspace.take_released(), [7]);
    assert!(keyspace.wish_for(0, b"long", Change::InPlace).is_none());
    // Who waits for one that nobody takes goes on at the end.
    keyspace.begin_reading(&encoder);
    let wish = keyspace
        .wish_for(0, b"long", Change::InPlace)
        .expect("it is shared");
    keyspace.wait_for(&wish, 8);
    keyspace.end_reading();
    keyspace.let_go_of_all();
    assert_eq!(keyspace.take_released(), [8]);
}

/// What was flushed and is kept to be read counts as what it takes, and not against `maxmemory`.
#[test]
fn a_flushed_database_that_is_still_to_be_read_is_counted() {
    for keys in [100, 20_000] {
        let mut keyspace = keyspace();
        let mut expected = 0;
        for number in 0..keys {
            let mut db = keyspace.db(0, at(1), false);
            let key = format!("key{number}").into_bytes();
            let len = 100 + number % 1000;
            set(&mut db, &key, &vec![b'x'; len], Expiry::Clear);
            expected += db.peek(&key).expect("a key").memory_bytes(0);
        }
        let encoder: Arc<dyn Encoder> = Arc::new(Lines);
        keyspace.begin_reading(&encoder);
        assert_eq!(keyspace.bytes_for_reading(), 0);
        keyspace.flush(Some(0), Free::Lazily);
        let counted = keyspace.bytes_for_reading();
        assert!(counted > expected * 8 / 10, "{counted} of {expected}");
        assert!(counted < expected * 12 / 10, "{counted} of {expected}");
        keyspace.end_reading();
        assert_eq!(keyspace.bytes_for_reading(), 0);
    }
}

/// What a client does to the fields of a large hash waits for nothing, whoever does it, and the hash is read as it was.
#[test]
fn who_changes_fields_of_a_hash_waits_for_nothing() {
    let mut keyspace = keyspace();
    let mut db = keyspace.db(0, at(1), false);
    let (hash, limits) = (large_hash(&db, 1000), hash_limits(&db));
    put(&mut db, b"key", hash);
    let expected = lines_of(&keyspace);
    let encoder: Arc<dyn Encoder> = Arc::new(Lines);
    keyspace.begin_reading(&encoder);
    let mut reader = Reader {
        bytes: BTreeMap::new(),
        keys: 0,
    };
    let (mut step, mut kept_bytes) = (0, 0);
    loop {
        for number in 0..100 {
            let name = format!("f{}", (step * 100 + number) % 1500);
            assert!(keyspace.wish_for(0, b"key", Change::Fields).is_none());
            let mut db = keyspace.db(0, at(1), false);
            let KeyEntry::Occupied(mut held) = db.entry(b"key") else {
                panic!("it is there")
            };
            let hash = held.hash_mut().expect("a hash");
            match number % 2 {
                0 => drop(hash.remove(name.as_bytes())),
                _ => drop(hash.set(name.as_bytes(), b"other", false, &limits)),
            }
        }
        step += 1;
        kept_bytes = kept_bytes.max(keyspace.kept_for_reading());
        if keyspace.go_on_reading(&mut |_| true) {
            break;
        }
    }
    reader.take(&mut keyspace);
    assert_eq!(reader.lines(), expected);
    assert_eq!((keyspace.hurried(), keyspace.kept_for_reading()), (0, 0));
    assert!(step > 3 && kept_bytes > 100, "{step} {kept_bytes}");
    // Others move it, and wait.
    assert!(keyspace.wish_for(0, b"key", Change::Whole).is_none());
    keyspace.end_reading();
    keyspace.begin_reading(&encoder);
    assert!(keyspace.wish_for(0, b"key", Change::Whole).is_some());
    keyspace.end_reading();
}

/// A hash of a later database kept what changed in it until all earlier ones were read, though all writes were held for that: who
/// changes it need not wish for it (active expiry of its fields). What one keeps that is removed counted as the data's.
#[test]
fn a_hash_that_keeps_fields_is_read_before_other_databases() {
    let mut left = Vec::new();
    for is_removed in [false, true] {
        let mut keyspace = keyspace();
        for number in 0..5000 {
            let mut db = keyspace.db(0, at(1), false);
            set(
                &mut db,
                format!("key{number}").as_bytes(),
                b"v",
                Expiry::Clear,
            );
        }
        let mut db = keyspace.db(1, at(1), false);
        let (hash, limits) = (large_hash(&db, 1000), hash_limits(&db));
        put(&mut db, b"hash", hash);
        let encoder: Arc<dyn Encoder> = Arc::new(Lines);
        keyspace.begin_reading(&encoder);
        let mut db = keyspace.db(1, at(1), false);
        let KeyEntry::Occupied(mut held) = db.entry(b"hash") else {
            panic!("it is there")
        };
        let hash = held.hash_mut().expect("a hash");
        for number in 0..1000 {
            hash.set(format!("f{number}").as_bytes(), b"w", false, &limits);
        }
        // What is kept is looked at before each change.
        held.hash_mut().expect("a hash");
        let kept_bytes = keyspace.kept_for_reading();
        assert!(kept_bytes >= 1000 * 8, "{kept_bytes}");
        if is_removed {
            let mut db = keyspace.db(1, at(1), false);
            let value_bytes = db.peek(b"hash").map_or(0, |it| it.memory_bytes(5));
            db.remove(b"hash", Free::Now);
            assert_eq!(keyspace.kept_for_reading(), 0);
            assert!(keyspace.bytes_for_reading() >= value_bytes + kept_bytes);
        }
        let mut parts = 0;
        while keyspace.kept_for_reading() > 0 {
            assert!(!keyspace.go_on_reading(&mut |_| true));
            parts += 1;
            assert!(parts < 400, "others are read first");
        }
        while !keyspace.go_on_reading(&mut |_| false) {}
        keyspace.take_read(&mut |_, encoded| drop(encoded));
        left.push(keyspace.bytes_for_reading());
        keyspace.end_reading();
    }
    assert_eq!(left[0], left[1], "nothing of the removed one is left");
}

/// A database of ten keys that grew by millions before its turn had all of its buckets passed at once.
#[test]
fn a_small_database_is_read_before_it_grows() {
    let mut keyspace = keyspace();
    for number in 0..20_000 {
        let mut db = keyspace.db(usize::from(number < 10), at(1), false);
        let key = format!("key{number}");
        set(&mut db, key.as_bytes(), b"v", Expiry::Clear);
    }
    let encoder: Arc<dyn Encoder> = Arc::new(Lines);
    keyspace.begin_reading(&encoder);
    // A bucket or two.
    for _ in 0..3 {
        assert!(!keyspace.go_on_reading(&mut |_| true));
    }
    let mut read = BTreeMap::new();
    keyspace.take_read(&mut |db, encoded| *read.entry(db).or_insert(0) += encoded.keys);
    assert_eq!(read.get(&1), Some(&10));
    keyspace.end_reading();
}
