//! The codec with all types: formats of old, refusals, and any value there and back, whole and broken.

use super::file::{FileReader, FileValue, Part};
use super::load::Loader;
use super::packed::tests::make_ziplist;
use super::write::Writer;
use super::{FileVersion, Reason, kind, payload, save};
use crate::config::{Config, Settings};
use crate::keyspace::{NewValue, Stored, Value};
use crate::structures::Collection;
use crate::structures::dict::HashSeed;
use crate::structures::hash::{Hash, HashLimits};
use crate::structures::list::{List, ListLimits};
use crate::structures::listpack::{Item, Listpack};
use crate::structures::set::{Set, SetLimits};
use crate::structures::sorted_set::{Limits, SortedSet};
use crate::structures::stream::{NodeLimits, Stream, StreamId};
use crate::system::crc64::crc64;
use proptest::prelude::*;

const SEED: HashSeed = HashSeed([1, 2, 3, 4]);

fn settings() -> Settings {
    let config = Config::with_dir(std::path::Path::new("/"));
    config.settings().clone()
}

/// A value by the bytes of a payload without its footer.
fn restored(body: &[u8], settings: &Settings) -> Result<NewValue<'static>, Reason> {
    let loader = Loader {
        settings,
        seed: SEED,
    };
    payload::restore(body, &loader).map_err(|error| error.reason)
}

/// To write it.
pub(crate) fn stored<'a>(value: &'a NewValue<'_>) -> Stored<'a> {
    match value {
        NewValue::String(bytes) | NewValue::Raw(bytes) | NewValue::Text(bytes) => {
            Stored::String(Value::Bytes(bytes))
        }
        NewValue::Blob(blob) => Stored::String(Value::Blob(blob)),
        NewValue::Int(number) => Stored::String(Value::Int(*number)),
        NewValue::List(list) => Stored::List(list),
        NewValue::Set(set) => Stored::Set(set),
        NewValue::SortedSet(set) => Stored::SortedSet(set),
        NewValue::Hash(hash) => Stored::Hash(hash),
        NewValue::Stream(stream) => Stored::Stream(stream),
    }
}

/// All that is in a value, in an order of its own; reads every element.
fn contents(value: Stored<'_>) -> Vec<Vec<u8>> {
    let text = |item: Item<'_>| item.to_vec();
    let mut all: Vec<Vec<u8>> = match value {
        Stored::String(value) => return vec![value.to_vec()],
        Stored::List(list) => {
            let mut all = Vec::new();
            list.for_each(|item| all.push(text(item)));
            return all;
        }
        Stored::Set(set) => set.iter().map(text).collect(),
        Stored::SortedSet(set) => {
            let members = set.iter();
            return members
                .map(|(member, score)| [text(member), score.to_be_bytes().to_vec()].concat())
                .collect();
        }
        Stored::Hash(hash) => hash
            .iter()
            .map(|pair| {
                let expiry = format!("={:?}=", pair.expiry).into_bytes();
                [text(pair.field), expiry, text(pair.value)].concat()
            })
            .collect(),
        Stored::Stream(stream) => {
            let mut all = vec![format!("{:?}", stream.summary()).into_bytes()];
            for entry in stream.range(StreamId::MIN, StreamId::MAX) {
                all.push(entry.id().to_bytes().to_vec());
                for (field, value) in entry.pairs() {
                    all.extend([text(field), text(value)]);
                }
            }
            for (name, group) in stream.groups() {
                all.push(name.to_vec());
                all.push(format!("{:?} {}", group.last_id, group.entries_read).into_bytes());
                for (id, pending) in group.pending_iter() {
                    let (at, count) = (pending.delivered_ms, pending.deliveries);
                    all.push(format!("{id:?} {at} {count}").into_bytes());
                    all.push(group.owner_name(pending).to_vec());
                }
                for consumer in group.consumers() {
                    let ids: Vec<StreamId> = consumer.pending().collect();
                    all.push(format!("{} {ids:?}", consumer.seen_ms).into_bytes());
                }
            }
            return all;
        }
    };
    all.sort();
    all
}

/// What comes back from a payload.
fn round_trip(value: Stored<'_>, compress: bool, settings: &Settings) -> NewValue<'static> {
    let payload = payload::dump(value, compress);
    let body = payload::verify(&payload, true).expect("a right frame");
    restored(body, settings).expect("a right value")
}

fn encoding(value: &NewValue<'_>) -> &'static str {
    match stored(value) {
        Stored::String(_) => "string",
        Stored::List(it) => it.encoding(),
        Stored::Set(it) => it.encoding(),
        Stored::SortedSet(it) => it.encoding(),
        Stored::Hash(it) => it.encoding(),
        Stored::Stream(it) => it.encoding(),
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out, false).string(bytes);
    out
}

fn body(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut all = vec![kind];
    parts.iter().for_each(|part| all.extend_from_slice(part));
    all
}

// ---- of old ----------------------------------------------------------------------------------------

fn texts(words: &[&str]) -> Vec<Result<i64, Vec<u8>>> {
    let element = |word: &&str| match word.parse() {
        Ok(number) => Ok(number),
        Err(_) => Err(word.as_bytes().to_vec()),
    };
    words.iter().map(element).collect()
}

#[test]
fn formats_of_old() {
    let settings = settings();
    let pairs = string(&make_ziplist(&texts(&["a", "1", "b", "2.5"])));
    let hash = restored(&body(kind::HASH_ZIPLIST, &[&pairs]), &settings).expect("a hash");
    assert_eq!(
        contents(stored(&hash)),
        [b"a=None=1".to_vec(), b"b=None=2.5".to_vec()]
    );
    assert_eq!(encoding(&hash), "listpack");
    let set = restored(&body(kind::ZSET_ZIPLIST, &[&pairs]), &settings).expect("a sorted set");
    let NewValue::SortedSet(set) = set else {
        panic!("{set:?}")
    };
    assert_eq!(
        (set.score_of(b"a"), set.score_of(b"b")),
        (Some(1.0), Some(2.5))
    );
    let map = string(b"\x02\x01a\x011\x00\x01b\x032.5\x00\xff".as_slice());
    let wrong_map = string(b"\x02\x01a\x01\x001\x01b\x03\x012.5x\xff");
    assert!(restored(&body(kind::HASH_ZIPMAP, &[&map]), &settings).is_err());
    let map = restored(&body(kind::HASH_ZIPMAP, &[&wrong_map]), &settings).expect("a hash");
    assert_eq!(
        contents(stored(&map)),
        [b"a=None=1".to_vec(), b"b=None=2.5".to_vec()]
    );
    let scores = body(kind::ZSET_OLD, &[b"\x03\x01x\xff\x01y\x041e10\x01z\xfe"]);
    let NewValue::SortedSet(set) = restored(&scores, &settings).expect("a sorted set") else {
        panic!("another type")
    };
    assert_eq!(set.score_of(b"x"), Some(f64::NEG_INFINITY));
    assert_eq!(set.score_of(b"y"), Some(1e10));
    assert_eq!(encoding(&NewValue::SortedSet(set)), "listpack");
    let members = body(kind::SET, &[b"\x02\xc0\x07\x01a"]);
    let set = restored(&members, &settings).expect("a set");
    assert_eq!(contents(stored(&set)), [b"7".to_vec(), b"a".to_vec()]);
    let many = make_ziplist(&texts(&["x", "-300", "y"]));
    let elements = [b"x".to_vec(), b"-300".to_vec(), b"y".to_vec()];
    let nodes = [b"\x02".to_vec(), string(&many), string(&make_ziplist(&[]))].concat();
    let cases = [
        body(kind::LIST_ZIPLIST, &[&string(&many)]),
        body(kind::LIST_OLD, &[b"\x03\x01x\xc1\xd4\xfe\x01y"]),
        body(kind::QUICKLIST_ZIPLISTS, &[&nodes]),
        // Nodes of one large element stay such.
        body(kind::QUICKLIST, &[b"\x03\x01\x01x\x01\x04-300\x01\x01y"]),
    ];
    let encodings = ["listpack", "listpack", "listpack", "quicklist"];
    for (bytes, expected) in cases.into_iter().zip(encodings) {
        let list = restored(&bytes, &settings).expect("a list");
        assert_eq!(
            (contents(stored(&list)), encoding(&list)),
            (elements.to_vec(), expected)
        );
    }
    let ints = body(kind::SET, &[b"\x03\xc0\x07\xc0\x03\xc0\x05"]);
    assert_eq!(
        encoding(&restored(&ints, &settings).expect("a set")),
        "intset"
    );
}

#[test]
fn limits_are_those_of_here() {
    let small = Settings {
        hash_max_listpack_entries: 1,
        zset_max_listpack_entries: 1,
        set_max_intset_entries: 1,
        set_max_listpack_entries: 0,
        ..settings()
    };
    let pairs = string(&make_ziplist(&texts(&["a", "1", "b", "2.5"])));
    for (kind, expected) in [
        (kind::HASH_ZIPLIST, "hashtable"),
        (kind::ZSET_ZIPLIST, "skiplist"),
    ] {
        let value = restored(&body(kind, &[&pairs]), &small).expect("a value");
        assert_eq!(encoding(&value), expected);
        assert_eq!(contents(stored(&value)).len(), 2);
    }
    let ints = string(b"\x02\0\0\0\x02\0\0\0\xff\xff\x01\0");
    let set = restored(&body(kind::SET_INTSET, &[&ints]), &small).expect("a set");
    assert_eq!(encoding(&set), "hashtable");
    let set = restored(&body(kind::SET_INTSET, &[&ints]), &settings()).expect("a set");
    assert_eq!(encoding(&set), "intset");
}

#[test]
fn modules_are_named() {
    // "ReJSON-RL", version 3.
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = |letter: &u8| {
        letters
            .iter()
            .position(|known| known == letter)
            .expect("a letter")
    };
    let id = b"ReJSON-RL"
        .iter()
        .fold(0u64, |id, letter| id << 6 | place(letter) as u64)
        << 10
        | 3;
    let mut module = vec![0x81];
    module.extend(id.to_be_bytes());
    let answer = restored(&body(kind::MODULE, &[&module]), &settings());
    assert_eq!(answer.err(), Some(Reason::Module("ReJSON-RL".into())));
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let settings = settings();
    let empty_pack = string(Listpack::new().as_bytes());
    let unordered = string(&make_ziplist(&texts(&["a", "2", "b", "1"])));
    let not_a_number = string(&make_ziplist(&texts(&["a", "x"])));
    let odd = string(&make_ziplist(&texts(&["a", "1", "b"])));
    let twice = string(&make_ziplist(&texts(&["a", "1", "a", "1"])));
    let cases: &[(u8, &[u8])] = &[
        (kind::LIST_OLD, b"\x00"),
        (kind::QUICKLIST, b"\x00"),
        (kind::QUICKLIST, b"\x01\x03\x01a"),
        (kind::QUICKLIST, b"\x01\x01\x00"),
        (
            kind::QUICKLIST,
            &[b"\x01\x02".as_slice(), &empty_pack].concat(),
        ),
        (kind::SET, b"\x00"),
        (kind::SET, b"\x02\x01a\x01a"),
        (kind::SET, b"\x02\xc0\x01\xc0\x01"),
        (kind::SET_LISTPACK, &empty_pack),
        (kind::ZSET, b"\x00"),
        (kind::ZSET, b"\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x7f"),
        (kind::ZSET_LISTPACK, &empty_pack),
        (kind::ZSET_ZIPLIST, &unordered),
        (kind::ZSET_ZIPLIST, &not_a_number),
        (kind::ZSET_ZIPLIST, &odd),
        (kind::ZSET_ZIPLIST, &twice),
        (kind::HASH, b"\x00"),
        (kind::HASH, b"\x02\x01a\x01b\x01a\x01b"),
        (kind::HASH_LISTPACK, &empty_pack),
        (kind::HASH_ZIPLIST, &odd),
        (kind::HASH_ZIPLIST, &twice),
        (kind::STREAM, b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"),
        (kind::MODULE, b"\x81"),
        (8, b"\x00"),
        (26, b"\x00"),
        (255, b""),
    ];
    for (kind, bytes) in cases {
        assert!(
            restored(&body(*kind, &[bytes]), &settings).is_err(),
            "{kind} {bytes:?}"
        );
    }
}

/// The append-only file is rewritten as commands, which have to take what was restored.
#[test]
fn numbers_that_no_command_takes_are_refused() {
    type Change = fn(&mut Stream);
    let changes: [(bool, Change); 5] = [
        (true, |_| ()),
        (true, |stream| {
            stream.group_mut(b"group").expect("a group").entries_read = -1;
        }),
        (false, |stream| {
            stream.group_mut(b"group").expect("a group").entries_read = -2;
        }),
        (false, |stream| {
            let fewer = stream.summary().length - 1;
            stream.set_ids(stream.last_id(), Some(fewer), None);
        }),
        (false, |stream| {
            stream.set_ids(stream.last_id(), None, stream.last_id().next());
        }),
    ];
    let words: Vec<Vec<u8>> = (0..6).map(|word: u8| vec![b'a' + word]).collect();
    for (index, (is_good, change)) in changes.into_iter().enumerate() {
        let mut stream = stream(&words, 3);
        change(&mut stream);
        let payload = payload::dump(Stored::Stream(&stream), false);
        let body = payload::verify(&payload, true).expect("a right frame");
        let restored = restored(body, &settings());
        assert_eq!(restored.is_ok(), is_good, "change {index}");
    }
}

#[test]
fn hashes_with_expiring_fields() {
    for entries in [0, 100] {
        let settings = Settings {
            hash_max_listpack_entries: entries,
            ..settings()
        };
        let limits = HashLimits {
            max_entries: entries,
            max_value: 64,
            seed: SEED,
        };
        let mut hash = Hash::new();
        hash.set(b"a", b"1", false, &limits);
        hash.set(b"b", b"2", false, &limits);
        assert!(hash.set_expiry(b"a", Some(2_000_000_000_000)));
        let again = round_trip(Stored::Hash(&hash), true, &settings);
        let payload = payload::dump(Stored::Hash(&hash), true);
        let expected = if entries == 0 {
            kind::HASH_TTL
        } else {
            kind::HASH_LISTPACK_TTL
        };
        assert_eq!((payload[0], payload[payload.len() - 10]), (expected, 12));
        assert_eq!(contents(stored(&again)), contents(Stored::Hash(&hash)));
        // Without an expiry left the encoding stays, and is kept by the type.
        assert!(hash.set_expiry(b"a", None));
        let payload = payload::dump(Stored::Hash(&hash), true);
        let expected = match entries {
            0 => kind::HASH,
            _ => kind::HASH_LISTPACK_TTL,
        };
        assert_eq!(payload[0], expected);
        let again = round_trip(Stored::Hash(&hash), true, &settings);
        assert_eq!(contents(stored(&again)), contents(Stored::Hash(&hash)));
    }
    // As the release candidates wrote it: expiries as they are.
    let old = body(
        kind::HASH_TTL_PRE_GA,
        &[b"\x02\x00\x01a\x01b\x80\x00\x01\x00\x00\x01c\x01d"],
    );
    let old = restored(&old, &settings()).expect("a hash");
    assert_eq!(
        contents(stored(&old)),
        [b"a=None=b".to_vec(), b"c=Some(65536)=d".to_vec()]
    );
}

// ---- any value -------------------------------------------------------------------------------------

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..12),
        2 => any::<i16>().prop_map(|number| number.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        1 => (1usize..200).prop_map(|len| vec![b'x'; len]),
    ]
}

fn words(most: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(word(), 1..most)
}

/// A value of any type and encoding.
pub(crate) fn value() -> impl Strategy<Value = NewValue<'static>> {
    let numbers = proptest::collection::vec(any::<i32>(), 1..30);
    let scored = proptest::collection::vec((word(), -1e6..1e6f64), 1..40);
    let pairs = proptest::collection::vec((word(), word(), 0i64..3), 1..40);
    prop_oneof![
        word().prop_map(|word| NewValue::Blob(word.into())),
        (words(60), -5i32..6, 0usize..3).prop_map(|(words, fill, depth)| {
            let limits = ListLimits {
                fill,
                depth,
                packed_threshold: 100,
            };
            let mut list = List::quicklist(&limits);
            words.iter().for_each(|word| list.push_back(word));
            list.built(&limits);
            NewValue::List(list)
        }),
        (words(40), 0usize..30).prop_map(|(words, limit)| {
            let limits = SetLimits {
                intset_entries: limit,
                listpack_entries: limit,
                listpack_value: 64,
                seed: SEED,
            };
            let mut set = Set::new();
            for word in &words {
                set.add(word, &limits);
            }
            NewValue::Set(set)
        }),
        numbers.prop_map(|numbers| {
            let limits = SetLimits {
                intset_entries: 512,
                listpack_entries: 0,
                listpack_value: 64,
                seed: SEED,
            };
            let mut set = Set::new();
            for number in numbers {
                set.add(number.to_string().as_bytes(), &limits);
            }
            NewValue::Set(set)
        }),
        (scored, 0usize..30).prop_map(|(scored, limit)| {
            let limits = Limits {
                max_entries: limit,
                max_value: 64,
            };
            let mut set = SortedSet::new(SEED);
            for (member, score) in &scored {
                set.insert(member, *score, limits);
            }
            NewValue::SortedSet(Box::new(set))
        }),
        (pairs, 0usize..30).prop_map(|(pairs, limit)| {
            let limits = HashLimits {
                max_entries: limit,
                max_value: 64,
                seed: SEED,
            };
            let mut hash = Hash::new();
            for (field, value, expiry) in &pairs {
                hash.set(field, value, false, &limits);
                if *expiry == 1 {
                    hash.set_expiry(field, Some(2_000_000_000_000 + value.len() as i64));
                }
            }
            NewValue::Hash(Box::new(hash))
        }),
        (words(60), 1usize..10)
            .prop_map(|(words, limit)| NewValue::Stream(Box::new(stream(&words, limit)))),
    ]
}

/// A stream with deleted entries, and a group of which every entry is in another state.
fn stream(words: &[Vec<u8>], limit: usize) -> Stream {
    let limits = NodeLimits {
        bytes: 0,
        entries: limit,
    };
    let mut stream = Stream::new(SEED);
    for (at, word) in words.iter().enumerate() {
        let id = StreamId::new(at as u64 / 3 + 1, at as u64 % 3);
        let names: &[&[u8]] = if at % 4 == 0 {
            &[b"other", b"two"]
        } else {
            &[b"field"]
        };
        let pairs: Vec<&[u8]> = names.iter().flat_map(|name| [*name, word]).collect();
        stream
            .append(id, pairs.iter().copied(), limits)
            .expect("a greater id");
    }
    for at in (0..words.len()).step_by(5) {
        stream.delete(
            StreamId::new(at as u64 / 3 + 1, at as u64 % 3),
            Default::default(),
        );
    }
    let group = stream
        .add_group(b"group", StreamId::new(3, 0), -1)
        .expect("a group");
    let alice = group.add_consumer(b"alice", 1000).expect("a consumer");
    let bob = group.add_consumer(b"bob", 2000).expect("a consumer");
    for at in 0..words.len().min(9) {
        let id = StreamId::new(at as u64 / 3 + 1, at as u64 % 3);
        group.deliver(id, if at % 2 == 0 { alice } else { bob }, 3000);
    }
    stream
}

/// Of a value whose limits are those of `settings`, everything comes back; of others at least the contents.
fn round_trip_any(value: &NewValue<'static>, compress: bool) {
    let again = round_trip(stored(value), compress, &settings());
    assert_eq!(contents(stored(&again)), contents(stored(value)));
}

/// Changes, removes, inserts bytes, or cuts them off.
pub(crate) fn mutate(bytes: &mut Vec<u8>, changes: &[(prop::sample::Index, u8)]) {
    for (index, to) in changes {
        if bytes.is_empty() {
            return;
        }
        let at = index.index(bytes.len());
        match to % 8 {
            0 => {
                bytes.remove(at);
            }
            1 => bytes.insert(at, *to),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => bytes.truncate(at.max(1)),
            _ => bytes[at] = *to,
        }
    }
}

proptest! {
    #[test]
    fn what_is_dumped_is_restored(value in value(), compress: bool) {
        round_trip_any(&value, compress);
    }

    #[test]
    fn what_is_written_for_redis_7_0_is_of_its_types_and_comes_back(value in value(), compress: bool) {
        let mut value = value;
        if let NewValue::Hash(hash) = &mut value {
            let expiring = hash.iter().filter(|pair| pair.expiry.is_some());
            let names: Vec<Vec<u8>> = expiring.map(|pair| pair.field.to_vec()).collect();
            for name in names {
                hash.set_expiry(&name, None);
            }
        }
        let value = stored(&value);
        let mut body = vec![save::kind_of(value, FileVersion::V10)];
        prop_assert!(body[0] <= kind::STREAM, "{}", body[0]);
        save::save(value, &mut Writer::new(&mut body, compress).in_version(FileVersion::V10));
        let again = restored(&body, &settings()).expect("a right value");
        prop_assert_eq!(contents(stored(&again)), contents(value));
    }

    #[test]
    fn what_goes_to_others_is_whole_and_as_old_as_it_can_be(value in value(), compress: bool) {
        let value = stored(&value);
        let payload = payload::dump_for_others(value, compress);
        let version = u16::from_le_bytes([payload[payload.len() - 10], payload[payload.len() - 9]]);
        let is_old = match value {
            Stored::Hash(hash) => hash.earliest_expiry().is_none(),
            Stored::Stream(stream) => stream.groups_len() == 0,
            _ => true,
        };
        prop_assert_eq!(version, if is_old { 10 } else { 12 });
        let body = payload::verify(&payload, true).expect("a right frame");
        let again = restored(body, &settings()).expect("a right value");
        prop_assert_eq!(contents(stored(&again)), contents(value));
    }

    #[test]
    fn broken_payloads_are_refused_or_whole(
        value in value(),
        compress: bool,
        changes in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
    ) {
        let mut bytes = payload::dump(stored(&value), compress);
        bytes.truncate(bytes.len() - 10);
        mutate(&mut bytes, &changes);
        if let Ok(value) = restored(&bytes, &settings()) {
            // Whatever came of it can be read to its end, and dumped and restored again.
            round_trip_any(&value, compress);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_whole(kind in 0u8..27, bytes: Vec<u8>) {
        if let Ok(value) = restored(&body(kind, &[&bytes]), &settings()) {
            round_trip_any(&value, true);
        }
    }

    #[test]
    fn frames(bytes in proptest::collection::vec(any::<u8>(), 0..30), version in 0u16..20) {
        let mut framed = bytes.clone();
        framed.extend(version.to_le_bytes());
        framed.extend(crc64(0, &framed).to_le_bytes());
        prop_assert_eq!(payload::verify(&framed, true), (version <= 12).then_some(&bytes[..]));
        prop_assert_eq!(payload::verify(&bytes, true), None);
    }
}

/// All keys of a file with their values.
fn keys_of(file: &[u8], settings: &Settings) -> Result<Vec<(Vec<u8>, NewValue<'static>)>, Reason> {
    let loader = Loader {
        settings,
        seed: SEED,
    };
    let mut reader = FileReader::new(file).map_err(|error| error.reason)?;
    let mut keys = Vec::new();
    loop {
        match reader
            .next(file, &loader, true)
            .map_err(|error| error.reason)?
        {
            Part::End => return Ok(keys),
            Part::Entry { key, value, .. } => {
                let value = match value {
                    FileValue::Text(text) => NewValue::Blob(std::sync::Arc::new(text.into_owned())),
                    FileValue::Built(value) => value,
                    FileValue::Empty => panic!("an empty collection"),
                };
                keys.push((key.into_owned(), value));
            }
            _ => {}
        }
    }
}

#[test]
fn files_of_valkey_with_its_own_hash() {
    let mut settings = settings();
    let mut file = b"VALKEY080\xfe\x00\x16\x01h\x02".to_vec();
    file.extend(b"\x01a\x011");
    file.extend(9_999_999_999_999_i64.to_le_bytes());
    file.extend(b"\x01b\x012");
    file.extend((-1_i64).to_le_bytes());
    file.push(0xff);
    let sealed = |file: &[u8]| [file, &crc64(0, file).to_le_bytes()].concat();
    for limit in [128, 1] {
        settings.hash_max_listpack_entries = limit;
        let keys = keys_of(&sealed(&file), &settings).expect("a file");
        let [(key, NewValue::Hash(hash))] = keys.as_slice() else {
            panic!("one hash, not {keys:?}");
        };
        assert_eq!((key.as_slice(), hash.len()), (&b"h"[..], 2));
        let expiry = |field: &[u8]| hash.get(field).expect("a field").expiry;
        assert_eq!(expiry(b"a"), Some(9_999_999_999_999));
        assert_eq!(expiry(b"b"), None);
    }
    // Twice the same field, a wrong expiry, a version that is not known.
    let mut twice = file.clone();
    twice[27] = b'a';
    assert!(keys_of(&sealed(&twice), &settings).is_err());
    let mut wrong = file.clone();
    wrong[37] = 0xfe;
    assert!(keys_of(&sealed(&wrong), &settings).is_err());
    let mut newer = file.clone();
    newer[8] = b'9';
    assert!(keys_of(&sealed(&newer), &settings).is_err());
    for cut in 0..file.len() {
        assert!(keys_of(&file[..cut], &settings).is_err(), "cut at {cut}");
    }
    // The number that stands for it here is no type in a payload.
    assert!(
        restored(
            b"\xff\x01\x01a\x011\xff\xff\xff\xff\xff\xff\xff\xff",
            &settings
        )
        .is_err()
    );
}

/// Redis keeps expiries of fields in 48 bits; what does not fit would be another time in a hash table.
#[test]
fn an_expiry_of_a_field_beyond_48_bits_is_refused_in_every_form() {
    let settings = settings();
    for (at, fits) in [
        ((1i64 << 48) - 1, true),
        (1 << 48, false),
        (i64::MAX, false),
    ] {
        let mut pack = Listpack::new();
        for part in [b"f", b"v"] {
            pack.push_back(part);
        }
        pack.push_back_int(at);
        let bytes = string(pack.as_bytes());
        let least = at.to_le_bytes();
        let packed = body(kind::HASH_LISTPACK_TTL, &[&least, &bytes]);
        assert_eq!(restored(&packed, &settings).is_ok(), fits, "{at}");
        let early = body(kind::HASH_LISTPACK_TTL_PRE_GA, &[&bytes]);
        assert_eq!(restored(&early, &settings).is_ok(), fits, "{at}");
        // The least expiry, and how far behind it each field's is, plus one.
        let table = body(kind::HASH_TTL, &[&least, b"\x01\x01\x01f\x01v"]);
        assert_eq!(restored(&table, &settings).is_ok(), fits, "{at}");
    }
}
