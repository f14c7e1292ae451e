//! The dict against `std`'s map, whole and in parts; `measure` prints its figures.

use super::*;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Instant;

const SEED: HashSeed = HashSeed([1, 2, 3, 4]);

/// A boxed element that counts its drops, because packed pointers hide from leak checkers.
struct Counted(Box<CountedData>);

struct CountedData {
    key: Vec<u8>,
    value: u64,
    alive: Rc<Cell<isize>>,
}

impl Counted {
    fn new(key: &[u8], value: u64, alive: &Rc<Cell<isize>>) -> Counted {
        alive.set(alive.get() + 1);
        Counted(Box::new(CountedData {
            key: key.to_vec(),
            value,
            alive: alive.clone(),
        }))
    }
}

impl Drop for CountedData {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

// SAFETY: a box's pointer goes out and comes back; the key is in the box's own memory.
unsafe impl Element for Counted {
    fn into_raw(self) -> NonNull<u8> {
        NonNull::from(Box::leak(self.0)).cast()
    }
    unsafe fn from_raw(raw: NonNull<u8>) -> Counted {
        // SAFETY: see `into_raw`.
        Counted(unsafe { Box::from_raw(raw.cast().as_ptr()) })
    }
    unsafe fn key_of<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: see `into_raw`; the box is alive.
        unsafe { &raw.cast::<CountedData>().as_ref().key }
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

/// A deterministic source of random bits (splitmix64).
fn random_bits(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn filled(keys: std::ops::Range<u64>, alive: &Rc<Cell<isize>>) -> Dict<Counted> {
    let mut dict = Dict::new(SEED);
    for number in keys {
        assert!(
            dict.insert(Counted::new(&key(number), number, alive))
                .is_none()
        );
    }
    dict
}

#[test]
fn an_empty_dict_allocates_nothing_and_finds_nothing() {
    let mut dict: Dict<Counted> = Dict::new(SEED);
    assert_eq!(dict.memory_bytes(), 0);
    assert!(dict.find(b"a").is_none());
    assert!(dict.find_mut(b"a").is_none());
    assert!(dict.remove(b"a").is_none());
    assert!(dict.random(&mut random_bits(1)).is_none());
    assert_eq!(dict.iter().count(), 0);
    assert_eq!(dict.scan(0, |_| panic!("nothing to emit")), 0);
    assert_eq!(dict.scan(77, |_| panic!("nothing to emit")), 0);
    dict.sample(5, &mut random_bits(1), |_| panic!("nothing to emit"));
    dict.prefetch_bucket(1);
    dict.prefetch_element(1, false);
    assert!(dict.drain_some(10, |_| panic!("nothing to drain")));
    dict.check_invariants();
}

#[test]
fn a_small_dict_is_small() {
    let alive = Rc::default();
    for (count, lines) in [(1, 1), (9, 1), (10, 2), (16, 2), (17, 3)] {
        assert_eq!(
            filled(0..count, &alive).directory.bytes(),
            lines * 64,
            "{count} elements"
        );
    }
    assert_eq!(alive.get(), 0);
}

#[test]
fn growth_and_shrinking_keep_every_invariant_at_every_length() {
    let alive = Rc::default();
    let mut dict = Dict::new(SEED);
    for number in 0..3000 {
        dict.insert(Counted::new(&key(number), number, &alive));
        dict.check_invariants();
        assert!(dict.len() <= most_for(dict.bucket_count()));
    }
    for number in 0..3000 {
        assert_eq!(
            dict.remove(&key(number)).map(|item| item.0.value),
            Some(number)
        );
        dict.check_invariants();
        assert!(dict.len() >= least_for(dict.bucket_count()));
        assert_eq!(dict.len() as isize, alive.get());
    }
    assert_eq!(dict.bucket_count(), 1);
    assert_eq!(dict.chains, ChainUse::default());
}

/// Room that was made is filled without a split; what is not filled goes with the elements.
#[test]
fn room_is_made_around_what_is_there() {
    let alive = Rc::default();
    for (there, room) in [(0, 0), (0, 1), (0, 40_000), (500, 100), (500, 40_000)] {
        let mut dict = filled(0..there, &alive);
        while !dict.reserve_some(room, 100) {
            dict.check_invariants();
        }
        let buckets = dict.bucket_count();
        assert!(
            room == 0
                || most_for(buckets) >= room && most_for(buckets - 1) < room.max(there as usize)
        );
        for number in there..room as u64 {
            dict.insert(Counted::new(&key(number), number, &alive));
        }
        assert_eq!(dict.bucket_count(), buckets, "{there} of {room}");
        dict.check_invariants();
        let all = dict.len() as u64;
        assert!((0..all).all(|number| dict.find(&key(number)).is_some()));
        let mut seen = HashSet::new();
        let mut cursor = 0;
        loop {
            cursor = dict.scan(cursor, |it| {
                seen.insert(it.0.value);
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen.len() as u64, all);
        // Half empty, and on the way to one bucket.
        let mut sparse = filled(0..there, &alive);
        while !sparse.reserve_some(room, 1000) {}
        for number in 0..there {
            assert!(sparse.remove(&key(number)).is_some());
            sparse.check_invariants();
        }
    }
    assert_eq!(alive.get(), 0);
}

/// Segments come and go, and the first one moves, under elements that stay.
#[test]
fn segments_come_and_go() {
    let alive = Rc::default();
    let mut dict = filled(0..60_000, &alive);
    assert!(dict.bucket_count() > 3 * directory::SEGMENT_BUCKETS);
    dict.check_invariants();
    for number in 20..60_000 {
        assert!(dict.remove(&key(number)).is_some());
    }
    dict.check_invariants();
    assert!(dict.memory_bytes() < 64 * 20);
    for number in 0..20 {
        assert!(dict.find(&key(number)).is_some());
    }
}

#[test]
fn element_mut_changes_replaces_and_removes() {
    let alive = Rc::default();
    let mut dict = filled(0..100, &alive);
    // A changed pointer is written back.
    let mut found = dict.find_mut(&key(7)).unwrap();
    *found = Counted::new(&key(7), 70, &alive);
    drop(found);
    assert_eq!(dict.find(&key(7)).unwrap().0.value, 70);
    // A changed value needs no new pointer.
    dict.find_mut(&key(7)).unwrap().0.value += 1;
    assert_eq!(dict.find(&key(7)).unwrap().0.value, 71);
    let old = dict
        .find_mut(&key(8))
        .unwrap()
        .replace(Counted::new(&key(8), 80, &alive));
    assert_eq!((old.0.value, dict.find(&key(8)).unwrap().0.value), (8, 80));
    drop(old);
    // The element that was put there last is the one that is removed.
    let mut found = dict.find_mut(&key(9)).unwrap();
    *found = Counted::new(&key(9), 90, &alive);
    assert_eq!(found.remove().0.value, 90);
    assert!(dict.find(&key(9)).is_none());
    assert_eq!((dict.len(), alive.get()), (99, 99));
    dict.check_invariants();
    assert_eq!(dict.find(&key(10)).unwrap().key(), key(10));
    drop(dict);
    assert_eq!(alive.get(), 0);
}

#[test]
#[should_panic(expected = "48 bits")]
fn a_pointer_beyond_48_bits_is_refused() {
    struct High;
    // SAFETY: none of its pointers is ever used: the dict refuses them.
    unsafe impl Element for High {
        fn into_raw(self) -> NonNull<u8> {
            NonNull::new(ptr::without_provenance_mut(1 << 48)).unwrap()
        }
        unsafe fn from_raw(_: NonNull<u8>) -> High {
            High
        }
        unsafe fn key_of<'a>(_: NonNull<u8>) -> &'a [u8] {
            b""
        }
    }
    let mut dict = Dict::new(SEED);
    let hash = dict.hash(b"");
    dict.insert_new_hashed(hash, High);
}

#[test]
fn equal_seeds_hash_alike_and_others_do_not() {
    let hashes = |seed| Dict::<Counted>::new(HashSeed(seed)).hash(b"some key");
    assert_eq!(hashes([1, 2, 3, 4]), hashes([1, 2, 3, 4]));
    assert_ne!(hashes([1, 2, 3, 4]), hashes([5, 6, 7, 8]));
}

#[test]
fn random_choice_is_uniform() {
    let alive = Rc::default();
    // 100 buckets and something: amid a round of splits, where buckets differ most.
    let dict = filled(0..700, &alive);
    let mut random = random_bits(42);
    let mut seen = [0u32; 700];
    for _ in 0..700 * 400 {
        seen[dict.random(&mut random).unwrap().0.value as usize] += 1;
    }
    // Chi-squared of 699 degrees of freedom: mean 699, deviation 37.
    let chi: f64 = seen
        .iter()
        .map(|&n| (f64::from(n) - 400.0).powi(2) / 400.0)
        .sum();
    assert!((550.0..850.0).contains(&chi), "chi-squared {chi}");
}

#[test]
fn random_choice_finds_the_last_one_among_collisions() {
    let alive = Rc::default();
    let mut dict = Dict::new(SEED);
    dict.hash_mask = 0;
    for number in 0..2000 {
        dict.insert(Counted::new(&key(number), number, &alive));
    }
    let mut random = random_bits(3);
    let values: HashSet<u64> = (0..200)
        .map(|_| dict.random(&mut random).unwrap().0.value)
        .collect();
    assert!(values.len() > 50, "{} of 200 differ", values.len());
    for number in 1..2000 {
        dict.remove(&key(number));
    }
    assert_eq!(dict.random(&mut random).unwrap().0.value, 0);
}

#[test]
fn samples_are_different_elements() {
    let alive = Rc::default();
    let dict = filled(0..100, &alive);
    let mut random = random_bits(5);
    for count in [0, 1, 5, 99, 100, 1000] {
        let mut seen = HashSet::new();
        dict.sample(count, &mut random, |item| {
            assert!(seen.insert(item.0.value))
        });
        assert_eq!(seen.len(), count.min(100));
    }
}

#[test]
fn draining_in_slices_leaves_a_usable_dict() {
    let alive = Rc::default();
    let mut dict = filled(0..5000, &alive);
    let mut drained = HashSet::new();
    while !dict.drain_some(77, |item| assert!(drained.insert(item.0.value))) {
        dict.check_invariants();
        for number in (0..5000).step_by(97) {
            assert_eq!(dict.find(&key(number)).is_none(), drained.contains(&number));
        }
        assert!(dict.insert(Counted::new(b"extra", 5000, &alive)).is_none());
        assert!(dict.remove(b"extra").is_some());
    }
    assert_eq!(
        (drained.len(), alive.get(), dict.memory_bytes()),
        (5000, 0, 0)
    );
    dict.insert(Counted::new(b"again", 1, &alive));
    assert!(dict.find(b"again").is_some());
}

#[test]
fn scan_cursor_visits_each_bucket_once_when_nothing_changes() {
    let alive = Rc::default();
    for count in [1, 9, 10, 50, 116, 117, 118, 1000] {
        let dict = filled(0..count, &alive);
        let mut seen = HashSet::new();
        let (mut cursor, mut calls) = (0, 0);
        loop {
            cursor = dict.scan(cursor, |item| assert!(seen.insert(item.0.value)));
            calls += 1;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!((seen.len() as u64, calls), (count, dict.bucket_count()));
    }
}

/// The memory goal, at every position of the split pointer.
#[test]
fn an_element_costs_at_most_10_3_bytes() {
    let alive = Rc::default();
    let mut dict = filled(0..120_000, &alive);
    for number in 120_000..250_000 {
        dict.insert(Counted::new(&key(number), number, &alive));
        if number % 1000 == 0 {
            // The last segment may be nearly unused: half a byte per element here, nothing later.
            let unused = (dict
                .bucket_count()
                .next_multiple_of(directory::SEGMENT_BUCKETS)
                - dict.bucket_count())
                * 64;
            let bytes = (dict.memory_bytes() - unused) as f64 / dict.len() as f64;
            assert!(bytes <= 10.3, "{bytes} bytes per element at {}", dict.len());
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    InsertMany(u64, u64),
    Remove(u64),
    RemoveMany(u64, u64),
    Change(u64),
    RemoveFound(u64),
    Scan,
    Drain(usize),
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0u64..400;
    prop_oneof![
        6 => number.clone().prop_map(Step::Insert),
        2 => (number.clone(), 0u64..150).prop_map(|(from, n)| Step::InsertMany(from, n)),
        4 => number.clone().prop_map(Step::Remove),
        2 => (number.clone(), 0u64..200).prop_map(|(from, n)| Step::RemoveMany(from, n)),
        2 => number.clone().prop_map(Step::Change),
        2 => number.prop_map(Step::RemoveFound),
        6 => Just(Step::Scan),
        1 => (0usize..30).prop_map(Step::Drain),
        1 => Just(Step::Check),
    ]
}

/// Hashes as they are, and such as collide in tag, in bucket or in all.
fn hash_mask() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => Just(u64::MAX),
        1 => Just(0),
        1 => Just(u64::MAX >> 8),
        1 => Just(0xff << 56),
        1 => Just(0x03 << 56 | 0x07),
        1 => Just(0x01 << 57 | 0xf0),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Every operation against the naive map, with a scan running through all of them: what is
    /// there from its begin to its end must have come out.
    #[test]
    fn behaves_like_a_map(mask in hash_mask(), steps in proptest::collection::vec(step(), 1..120)) {
        let alive = Rc::default();
        let mut dict: Dict<Counted> = Dict::new(SEED);
        dict.hash_mask = mask;
        let mut model: HashMap<u64, u64> = HashMap::new();
        let (mut cursor, mut emitted) = (0, HashSet::new());
        // Present without a gap since the scan began.
        let mut steady: HashSet<u64> = HashSet::new();
        let mut fresh = 1000;
        for step in steps {
            match step {
                Step::Insert(number) => {
                    fresh += 1;
                    let old = dict.insert(Counted::new(&key(number), fresh, &alive));
                    prop_assert_eq!(old.map(|item| item.0.value), model.insert(number, fresh));
                }
                Step::InsertMany(from, count) => for number in from..from + count {
                    let old = dict.insert(Counted::new(&key(number), number, &alive));
                    prop_assert_eq!(old.map(|item| item.0.value), model.insert(number, number));
                },
                Step::Remove(number) => {
                    let old = dict.remove(&key(number));
                    prop_assert_eq!(old.map(|item| item.0.value), model.remove(&number));
                    steady.remove(&number);
                }
                Step::RemoveMany(from, count) => for number in from..from + count {
                    let old = dict.remove(&key(number));
                    prop_assert_eq!(old.map(|item| item.0.value), model.remove(&number));
                    steady.remove(&number);
                },
                Step::Change(number) => {
                    let found = dict.find_mut(&key(number));
                    prop_assert_eq!(found.is_some(), model.contains_key(&number));
                    if let Some(mut found) = found {
                        fresh += 1;
                        *found = Counted::new(&key(number), fresh, &alive);
                        model.insert(number, fresh);
                    }
                }
                Step::RemoveFound(number) => {
                    let old = dict.find_mut(&key(number)).map(ElementMut::remove);
                    prop_assert_eq!(old.map(|item| item.0.value), model.remove(&number));
                    steady.remove(&number);
                }
                Step::Scan => {
                    if cursor == 0 {
                        steady = model.keys().copied().collect();
                        emitted.clear();
                    }
                    let mut this_call = HashSet::new();
                    cursor = dict.scan(cursor, |item| {
                        assert!(this_call.insert(item.0.key.clone()), "twice in one call");
                    });
                    emitted.extend(this_call);
                    if cursor == 0 {
                        for &number in &steady {
                            prop_assert!(emitted.contains(&key(number)), "scan lost {}", number);
                        }
                    }
                }
                Step::Drain(max) => {
                    let mut gone = Vec::new();
                    let done = dict.drain_some(max, |item| gone.push(item));
                    prop_assert_eq!(gone.len(), max.min(model.len()));
                    for item in gone {
                        let number = std::str::from_utf8(&item.0.key[4..]).unwrap().parse().unwrap();
                        prop_assert_eq!(model.remove(&number), Some(item.0.value));
                        steady.remove(&number);
                    }
                    prop_assert_eq!(done, model.is_empty());
                }
                Step::Check => {
                    for number in 0..550 {
                        let found = dict.find(&key(number)).map(|item| item.0.value);
                        prop_assert_eq!(found, model.get(&number).copied());
                    }
                    let all: HashMap<Vec<u8>, u64> =
                        dict.iter().map(|item| (item.key().to_vec(), item.0.value)).collect();
                    let wanted: HashMap<Vec<u8>, u64> =
                        model.iter().map(|(&number, &value)| (key(number), value)).collect();
                    prop_assert_eq!(all, wanted);
                    if let Some(chosen) = dict.random(&mut random_bits(fresh)) {
                        prop_assert!(model.values().any(|&value| value == chosen.0.value));
                    }
                    dict.distribution();
                }
            }
            dict.check_invariants();
            prop_assert_eq!(dict.len(), model.len());
            prop_assert_eq!(alive.get(), model.len() as isize);
        }
        drop(dict);
        prop_assert_eq!(alive.get(), 0);
    }
}

/// A key of 16 bytes in a box: what the figures are measured with.
struct Key16(Box<[u8; 16]>);

// SAFETY: a box's pointer goes out and comes back; the key is all that is in the box.
unsafe impl Element for Key16 {
    fn into_raw(self) -> NonNull<u8> {
        NonNull::from(Box::leak(self.0)).cast()
    }
    unsafe fn from_raw(raw: NonNull<u8>) -> Key16 {
        // SAFETY: see `into_raw`.
        Key16(unsafe { Box::from_raw(raw.cast().as_ptr()) })
    }
    unsafe fn key_of<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: see `into_raw`; the box is alive.
        unsafe { raw.cast::<[u8; 16]>().as_ref() }
    }
}

fn key16(number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// `cargo test --release --lib structures::dict::tests::measure -- --ignored --nocapture`
#[test]
#[ignore = "prints figures, takes a minute and 2 GB"]
fn measure() {
    let mut dict: Dict<Key16> = Dict::new(SEED);
    let mut longest = (0, 0);
    let mut slow = [0u32; 3];
    let marks = [
        1_000_000, 1_300_000, 1_600_000, 2_000_000, 3_000_000, 10_000_000, 20_000_000,
    ];
    let mut next_mark = marks.iter().peekable();
    let (mut begun, mut since) = (Instant::now(), 0);
    for number in 0..20_000_000u64 {
        let element = Key16(Box::new(key16(number)));
        let hash = dict.hash(&element.0[..]);
        let before = Instant::now();
        dict.insert_new_hashed(hash, element);
        let took_us = before.elapsed().as_micros();
        longest = longest.max((took_us, number));
        for (count, limit_us) in slow.iter_mut().zip([50, 200, 1000]) {
            *count += u32::from(took_us > limit_us);
        }
        if next_mark.next_if(|&&mark| mark == number + 1).is_some() {
            let took = begun.elapsed().as_nanos() as u64 / (number + 1 - since);
            report(&dict, took);
            (begun, since) = (Instant::now(), number + 1);
        }
    }
    println!("longest insertion {} µs, at {}", longest.0, longest.1);
    println!("insertions above 50 µs, 200 µs, 1 ms: {slow:?}");
    let mut longest_us = 0;
    let begun = Instant::now();
    for number in 0..20_000_000u64 {
        let before = Instant::now();
        assert!(dict.remove(&key16(number)).is_some());
        longest_us = longest_us.max(before.elapsed().as_micros());
    }
    println!(
        "removal {} ns, longest {longest_us} µs",
        begun.elapsed().as_nanos() / 20_000_000
    );
}

fn report(dict: &Dict<Key16>, insertion_ns: u64) {
    let len = dict.len() as u64;
    let mut random = random_bits(9);
    let rounds = 1_000_000;
    let begun = Instant::now();
    for _ in 0..rounds {
        assert!(dict.find(&key16(random() % len)).is_some());
    }
    let hit_ns = begun.elapsed().as_nanos() / rounds;
    let begun = Instant::now();
    let mut miss_nodes = 0;
    for _ in 0..rounds {
        let absent = key16(len + random() % len);
        assert!(dict.find(&absent).is_none());
    }
    let miss_ns = begun.elapsed().as_nanos() / rounds;
    for _ in 0..rounds {
        let hash = dict.hash(&key16(len + random() % len));
        let nodes = std::iter::successors(Some(dict.bucket_of(hash)), |node| {
            node.next_for(tag_of(hash))
        });
        miss_nodes += nodes.count();
    }
    let begun = Instant::now();
    let mut batch = [(0, [0; 16]); 16];
    for _ in 0..rounds / 16 {
        for slot in &mut batch {
            let key = key16(random() % len);
            *slot = (dict.hash(&key), key);
            dict.prefetch_bucket(slot.0);
        }
        batch
            .iter()
            .for_each(|(hash, _)| dict.prefetch_element(*hash, false));
        batch
            .iter()
            .for_each(|(hash, key)| assert!(dict.find_hashed(*hash, key).is_some()));
    }
    let batch_ns = begun.elapsed().as_nanos() / rounds;
    let shape = dict.distribution();
    println!(
        "{len:>9}: {:.2} B/element, insert {insertion_ns} ns, hit {hit_ns} ns, miss {miss_ns} ns, \
         hit in a prefetched batch {batch_ns} ns, lines per hit {:.2}, per miss {:.2}, \
         longest chain {}",
        shape.bytes as f64 / len as f64,
        shape.nodes_for_all_hits as f64 / len as f64,
        miss_nodes as f64 / rounds as f64,
        shape.max_chain,
    );
}

/// Whatever becomes of the dict, each element is in one bucket of an earlier shape, the one that its hash names.
#[test]
fn the_buckets_of_an_earlier_shape_are_found_again() {
    let alive = Rc::new(Cell::new(0));
    for (before, after) in [
        (0, 50),
        (1, 3),
        (40, 40),
        (100, 1000),
        (1000, 100),
        (1000, 3),
        (777, 900),
        (5000, 4000),
    ] {
        let mut dict = filled(0..before, &alive);
        let was = dict.geometry();
        for number in before..after {
            dict.insert(Counted::new(&key(number), number, &alive));
        }
        for number in after..before {
            dict.remove(&key(number));
        }
        let mut seen = Vec::new();
        let mark = Marks::default().begin(&mut dict);
        for bucket in 0..was.buckets() {
            let first = seen.len();
            dict.pass_bucket(was, bucket, mark, |found| seen.push(found.0.key.clone()));
            for key in &seen[first..] {
                assert_eq!(was.bucket_of(dict.hash(key)), Some(bucket));
            }
        }
        seen.sort();
        let len = seen.len();
        seen.dedup();
        assert_eq!(seen.len(), len, "an element came twice");
        let expected = if before == 0 { 0 } else { after };
        assert_eq!(len as u64, expected, "from {before} to {after}");
    }
}

/// Whoever passes all buckets, with changes in between, sees what was there at the beginning and has no mark, and leaves none.
#[test]
fn what_is_marked_is_passed_over_once() {
    let alive = Rc::new(Cell::new(0));
    let mut random = random_bits(7);
    let mut dict = filled(0..0, &alive);
    let mut marks = Marks::default();
    for round in 0..200 {
        for _ in 0..random() % 300 {
            let number = random() % 500;
            dict.insert(Counted::new(&key(number), number, &alive));
        }
        let was = dict.geometry();
        let mark = marks.begin(&mut dict);
        let mut expected: Vec<Vec<u8>> = dict.iter().map(|it| it.key().to_vec()).collect();
        let (mut seen, mut early) = (Vec::new(), Vec::new());
        let gives_up_at = if round % 10 < 8 {
            was.buckets() / 2
        } else {
            usize::MAX
        };
        for bucket in 0..was.buckets().min(gives_up_at) {
            for _ in 0..random() % 8 {
                let name = key(random() % 500);
                let hash = dict.hash(&name);
                let is_unpassed = was.bucket_of(hash).is_some_and(|it| it >= bucket);
                let was_there = dict.find(&name).is_some();
                if is_unpassed && dict.mark(hash, &name, mark).is_some() {
                    early.push(name.clone());
                }
                match random() % 4 {
                    0 => drop(dict.remove(&name)),
                    1 => drop(dict.insert(Counted::new(&name, 1, &alive))),
                    2 => {
                        if let Some(mut found) = dict.find_mut(&name) {
                            drop(found.replace(Counted::new(&name, 2, &alive)));
                        }
                    }
                    _ => {}
                }
                if is_unpassed && !was_there && dict.find(&name).is_some() {
                    assert!(dict.mark(hash, &name, mark).is_some(), "it is new");
                }
            }
            dict.pass_bucket(was, bucket, mark, |found| seen.push(found.0.key.clone()));
        }
        dict.check_invariants();
        let has_passed_all = gives_up_at == usize::MAX;
        if has_passed_all {
            seen.append(&mut early);
            seen.sort();
            expected.sort();
            assert_eq!(seen, expected, "round {round}");
        }
        marks.end(mark, has_passed_all);
    }
    drop(dict);
    assert_eq!(alive.get(), 0);
}

#[test]
#[should_panic(expected = "aligned to 8")]
fn a_pointer_whose_low_bits_are_not_free_is_refused() {
    struct Odd;
    // SAFETY: none of its pointers is ever used: the dict refuses them.
    unsafe impl Element for Odd {
        fn into_raw(self) -> NonNull<u8> {
            NonNull::new(ptr::without_provenance_mut(12)).unwrap()
        }
        unsafe fn from_raw(_: NonNull<u8>) -> Odd {
            Odd
        }
        unsafe fn key_of<'a>(_: NonNull<u8>) -> &'a [u8] {
            b""
        }
    }
    let mut dict = Dict::new(SEED);
    let hash = dict.hash(b"");
    dict.insert_new_hashed(hash, Odd);
}
