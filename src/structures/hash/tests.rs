//! Hashes against `std`'s map, through all encodings.

use super::*;
use crate::system::rng::Rng;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SEED: HashSeed = HashSeed([1, 2, 3, 4]);

fn limits(max_entries: usize, max_value: usize) -> HashLimits {
    HashLimits {
        max_entries,
        max_value,
        seed: SEED,
    }
}

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

fn content(hash: &Hash) -> Model {
    let pairs = hash
        .iter()
        .map(|pair| (pair.field.to_vec(), (pair.value.to_vec(), pair.expiry)));
    let model: Model = pairs.collect();
    assert_eq!(model.len(), hash.len(), "no field twice");
    model
}

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>, Vec<u8>, bool),
    Remove(Vec<u8>),
    Expiry(Vec<u8>, Option<i64>),
    Expire(i64, usize),
    Clone,
}

fn step() -> impl Strategy<Value = Step> {
    let field = prop_oneof![
        8 => (0..12u8).prop_map(|number| vec![b'f', b'0' + number]),
        2 => (0..3i64).prop_map(|number| number.to_string().into_bytes()),
        1 => Just(vec![b'l'; 300]),
    ];
    let value = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..40),
        2 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 250..270),
    ];
    prop_oneof![
        6 => (field.clone(), value, any::<bool>()).prop_map(|(field, value, keep)| Step::Set(field, value, keep)),
        3 => field.clone().prop_map(Step::Remove),
        4 => (field, proptest::option::weighted(0.8, 1..20i64)).prop_map(|(field, at)| Step::Expiry(field, at)),
        1 => (1..20i64, 0..4usize).prop_map(|(now, max)| Step::Expire(now, max)),
        1 => Just(Step::Clone),
    ]
}

fn run(steps: Vec<Step>, limits: &HashLimits) {
    let (mut hash, mut model) = (Hash::new(), Model::new());
    for step in steps {
        match step {
            Step::Set(field, value, keep) => {
                let old = model.get(&field).cloned();
                let created = hash.set(&field, &value, keep, limits);
                assert_eq!(created, old.is_none());
                let expiry = old.and_then(|(_, at)| at).filter(|_| keep);
                model.insert(field, (value, expiry));
            }
            Step::Remove(field) => {
                assert_eq!(hash.remove(&field), model.remove(&field).is_some());
            }
            Step::Expiry(field, at) => {
                let found = model.get_mut(&field);
                assert_eq!(hash.set_expiry(&field, at), found.is_some());
                if let Some((_, expiry)) = found {
                    *expiry = at;
                }
            }
            Step::Expire(now, max) => {
                let mut gone = Vec::new();
                let expired = |at: &Option<i64>| at.is_some_and(|at| at < now);
                let all = model.values().filter(|(_, at)| expired(at)).count();
                assert_eq!(hash.live_len(now), model.len() - all);
                assert_eq!(hash.iter_live(now).count(), model.len() - all);
                let count = hash.remove_expired(now, max, |field| gone.push(field.to_vec()));
                assert_eq!((count, gone.len()), (all.min(max), all.min(max)));
                for field in gone {
                    let (_, at) = model.remove(&field).expect("it was there");
                    assert!(expired(&at));
                }
            }
            Step::Clone => {
                hash.check_invariants();
                hash = hash.clone();
            }
        }
        hash.check_invariants();
        assert_eq!(content(&hash), model);
        let earliest = model.values().filter_map(|(_, at)| *at).min();
        assert_eq!(hash.earliest_expiry(), earliest);
        let expiring = model.values().filter(|(_, at)| at.is_some()).count();
        assert_eq!(hash.expiring_len(), expiring);
        for (field, (value, expiry)) in &model {
            let pair = hash.get(field).expect("it is there");
            assert!(pair.field.is(field) && pair.value.is(value));
            assert_eq!(pair.expiry, *expiry);
        }
        assert!(hash.get(b"missing").is_none());
        let mut scanned = Model::new();
        let mut cursor = 0;
        loop {
            cursor = hash.scan(cursor, |pair| {
                scanned.insert(pair.field.to_vec(), (pair.value.to_vec(), pair.expiry));
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned, model);
    }
}

proptest! {
    #[test]
    fn a_listpack_is_the_model(steps in proptest::collection::vec(step(), 0..60)) {
        run(steps, &limits(512, 1000));
    }
    #[test]
    fn a_table_is_the_model(steps in proptest::collection::vec(step(), 0..60)) {
        run(steps, &HashLimits::none(SEED));
    }
    #[test]
    fn what_grows_out_of_a_listpack_is_the_model(steps in proptest::collection::vec(step(), 0..60)) {
        run(steps, &limits(5, 64));
    }
}

#[test]
fn conversions_are_redis_ones() {
    let limits = limits(2, 4);
    let mut hash = Hash::new();
    assert!(hash.set(b"a", b"1", false, &limits));
    assert!(hash.set(b"b", b"1", false, &limits));
    assert_eq!(hash.encoding(), "listpack");
    assert!(!hash.set(b"b", b"4444", false, &limits));
    assert_eq!(hash.encoding(), "listpack");
    assert!(hash.set(b"c", b"1", false, &limits));
    assert_eq!(hash.encoding(), "hashtable");
    hash.remove(b"c");
    assert_eq!(hash.encoding(), "hashtable", "there is no way back");

    let mut hash = Hash::new();
    for field in [b"a", b"b", b"c"] {
        hash.set(
            field,
            b"1",
            false,
            &HashLimits {
                max_entries: 3,
                ..limits
            },
        );
    }
    assert_eq!(hash.encoding(), "listpack");
    hash.set(b"a", b"2", false, &limits);
    assert_eq!(hash.encoding(), "hashtable", "the limit is lower now");

    let mut hash = Hash::new();
    hash.set(b"a", b"55555", false, &limits);
    assert_eq!(hash.encoding(), "hashtable");

    let mut hash = Hash::new();
    hash.prepare([1, 5].into_iter(), &limits);
    assert_eq!(hash.encoding(), "hashtable", "before anything is stored");

    let mut hash = Hash::new();
    hash.set(b"a", b"1", false, &limits);
    assert!(!hash.set_expiry(b"x", Some(5)));
    assert_eq!(hash.encoding(), "listpackex");
}

#[test]
fn triples_are_sorted_by_expiry_and_new_ones_go_before_their_equals() {
    let limits = limits(512, 64);
    let mut hash = Hash::new();
    for field in [b"a", b"b", b"c", b"d"] {
        hash.set(field, b"v", false, &limits);
    }
    for (field, at) in [(b"c", 20), (b"a", 10), (b"d", 20)] {
        hash.set_expiry(field, Some(at));
    }
    let order: Vec<Vec<u8>> = hash.iter().map(|pair| pair.field.to_vec()).collect();
    assert_eq!(order, [b"a", b"d", b"c", b"b"]);
    hash.set(b"a", b"w", false, &limits);
    let last = hash.iter().last().expect("not empty");
    assert!(last.field.is(b"a") && last.expiry.is_none());
}

#[test]
fn listpacks_from_outside_are_checked() {
    let limits = limits(3, 64);
    let pack = |items: &[&str]| {
        let mut pack = Listpack::new();
        for item in items {
            pack.push_back(item.as_bytes());
        }
        pack
    };
    let pairs = |items: &[&str]| Hash::from_listpack(pack(items), false, &limits);
    let triples = |items: &[&str]| Hash::from_listpack(pack(items), true, &limits);
    assert_eq!(pairs(&["a", "1", "b", "2"]).map(|hash| hash.len()), Some(2));
    assert!(pairs(&[]).is_none());
    assert!(pairs(&["a", "1", "b"]).is_none());
    assert!(pairs(&["a", "1", "a", "2"]).is_none());
    let large = pairs(&["a", "1", "b", "2", "c", "3", "d", "4"]).expect("well-formed");
    assert_eq!(large.encoding(), "hashtable");
    let good = triples(&["a", "1", "5", "b", "2", "9", "c", "3", "0"]).expect("well-formed");
    assert_eq!(
        (good.encoding(), good.earliest_expiry()),
        ("listpackex", Some(5))
    );
    assert!(triples(&["a", "1", "9", "b", "2", "5"]).is_none());
    assert!(triples(&["a", "1", "0", "b", "2", "5"]).is_none());
    assert!(triples(&["a", "1", "-5"]).is_none());
    assert!(triples(&["a", "1", "x"]).is_none());
    let (pack, with_expiry) = good.listpack().expect("a listpack");
    assert_eq!((pack.len(), with_expiry), (9, true));
}

#[test]
fn every_field_is_drawn_about_equally_often() {
    for limits in [limits(512, 64), HashLimits::none(SEED)] {
        let mut hash = Hash::new();
        for number in 0..20 {
            hash.set(format!("f{number}").as_bytes(), b"v", false, &limits);
        }
        hash.set_expiry(b"f3", Some(7));
        let mut rng = crate::system::rng::Rng::new(1);
        let mut drawn: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for _ in 0..20_000 {
            let pair = hash.random(&mut || rng.next_u64()).expect("not empty");
            *drawn.entry(pair.field.to_vec()).or_default() += 1;
        }
        assert_eq!(drawn.len(), 20);
        assert!(
            drawn.values().all(|count| (800..1200).contains(count)),
            "{drawn:?}"
        );
    }
}

#[test]
fn a_usual_field_takes_less_than_48_bytes() {
    let mut hash = Hash::new();
    let count = 20_000;
    for number in 0..count {
        let field = format!("element:{number:010}");
        hash.set(
            field.as_bytes(),
            b"xxxxxxxx",
            false,
            &HashLimits::none(SEED),
        );
    }
    let exact = hash.memory_bytes(0);
    assert!(exact / count < 48, "{} per field", exact / count);
    let shape = hash.distribution().expect("a table");
    assert_eq!(shape.elements, count);
    assert!(Hash::new().distribution().is_none());
    let sampled = hash.memory_bytes(5);
    assert!(sampled.abs_diff(exact) < exact / 100);
}

/// A field that is read in parts and changes or goes between two of them is what it was until it is read, however often: it was
/// read on from what it had become.
#[test]
fn a_field_that_is_read_in_part_stays_what_it_was() {
    let mut rng = Rng::new(3);
    let mut hash = Hash::new();
    let limits = limits(0, 0);
    // More than there are marks, of which each other one gives up.
    for round in 0..30 {
        for number in 0..rng.below(30) {
            let name = format!("f{number}").into_bytes();
            hash.set(&name, &vec![b'v'; rng.index(400)], false, &limits);
            if rng.below(3) == 0 {
                hash.set_expiry(&name, Some(100 + number as i64));
            }
        }
        let expected = content(&hash);
        let Some(was) = hash.begin_reading() else {
            continue;
        };
        let mut read = Model::new();
        let note = |read: &mut Model, pair: Pair<'_>| {
            let value = (pair.value.to_vec(), pair.expiry);
            let before = read.insert(pair.field.to_vec(), value);
            assert!(before.is_none(), "a field comes once");
        };
        let (mut left, mut kept_most) = (rng.below(200), 0);
        let has_ended = loop {
            for _ in 0..rng.below(4) {
                // The one that is read in part, or any.
                let begun = hash.unfinished().map(|pair| pair.field.to_vec());
                let other = format!("f{}", rng.below(60)).into_bytes();
                let name = begun.filter(|_| rng.below(2) == 0).unwrap_or(other);
                match rng.below(4) {
                    0 => drop(hash.remove(&name)),
                    1 => drop(hash.set_expiry(&name, Some(1 + rng.below(300) as i64))),
                    2 => drop(hash.remove_expired(rng.below(150) as i64, 2, |_| ())),
                    _ => drop(hash.set(&name, b"other", rng.below(2) == 0, &limits)),
                }
                kept_most = kept_most.max(hash.kept_bytes());
                assert_eq!(hash.begin_reading(), Some(was), "it is under way");
            }
            if rng.below(2) == 0
                && let Some(pair) = hash.unfinished()
            {
                note(&mut read, pair);
                hash.finish();
            }
            if round % 2 == 1 && left == 0 {
                break false;
            }
            left = left.saturating_sub(1);
            if hash.unfinished().is_some() {
                continue;
            }
            let mut whole = rng.below(3);
            let is_end = hash.read_on(&mut |pair| {
                if rng.below(3) == 0 {
                    return FieldRead::InPart;
                }
                note(&mut read, pair);
                whole = whole.saturating_sub(1);
                match whole {
                    0 => FieldRead::Last,
                    _ => FieldRead::Whole,
                }
            });
            if is_end {
                break true;
            }
        };
        if has_ended {
            assert_eq!(read, expected, "round {round}");
            assert_eq!(was.fields, expected.len());
            let earliest = expected.values().filter_map(|(_, at)| *at).min();
            assert_eq!(was.earliest, earliest);
            assert_eq!(hash.kept_bytes(), 0);
            assert!(expected.len() < 10 || kept_most > 0);
        }
        hash.end_reading();
        assert!(hash.unfinished().is_none() && hash.kept_bytes() == 0);
        hash.check_invariants();
    }
}

/// What is kept of a field that is read in part was not counted, however long it is.
#[test]
fn a_field_that_is_read_in_part_counts_when_it_is_kept() {
    let (mut hash, limits) = (Hash::new(), limits(0, 0));
    hash.set(b"f", &[b'v'; 1000], false, &limits);
    hash.begin_reading();
    assert!(!hash.read_on(&mut |_| FieldRead::InPart));
    assert_eq!(hash.kept_bytes(), 0);
    hash.set(b"f", b"w", false, &limits);
    assert!(hash.kept_bytes() >= 1000);
    hash.finish();
    assert_eq!(hash.kept_bytes(), 0);
}
