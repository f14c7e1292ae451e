//! The tree and the sorted set against sorted vectors, invariants checked after every step or batch.

use super::*;
use crate::system::rng::Rng;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SEED: HashSeed = HashSeed([1, 2, 3, 4]);
const NEVER_SMALL: Limits = Limits {
    max_entries: 0,
    max_value: 0,
};
const SMALL: Limits = Limits {
    max_entries: 128,
    max_value: 64,
};

/// A sorted set as one would write it without thinking of time.
#[derive(Default)]
struct Model {
    scores: BTreeMap<Vec<u8>, f64>,
}

impl Model {
    fn sorted(&self) -> Vec<(f64, Vec<u8>)> {
        let mut all: Vec<_> = self.scores.iter().map(|(m, s)| (*s, m.clone())).collect();
        all.sort_by(|a, b| a.partial_cmp(b).unwrap());
        all
    }
}

fn contents(set: &SortedSet, rank: usize, count: usize, reverse: bool) -> Vec<(f64, Vec<u8>)> {
    let iter = set.iter_from(rank, count, reverse);
    let expected = iter.len();
    let all: Vec<_> = iter.map(|(m, s)| (s, m.to_vec())).collect();
    assert_eq!(all.len(), expected);
    all
}

fn assert_same(set: &SortedSet, model: &Model) {
    set.check_invariants();
    let sorted = model.sorted();
    assert_eq!(set.len(), sorted.len());
    assert_eq!(contents(set, 0, usize::MAX, false), sorted);
    let mut reversed = sorted.clone();
    reversed.reverse();
    let last = sorted.len().saturating_sub(1);
    assert_eq!(contents(set, last, usize::MAX, true), reversed);
}

/// Asks everything that has an order, at every rank.
fn assert_answers(set: &SortedSet, model: &Model) {
    let sorted = model.sorted();
    for (rank, (score, member)) in sorted.iter().enumerate() {
        assert_eq!(set.rank_of(member), Some((rank, *score)));
        assert_eq!(set.score_of(member), Some(*score));
        assert_eq!(
            contents(set, rank, 2, false),
            sorted[rank..sorted.len().min(rank + 2)]
        );
        for exclusive in [false, true] {
            let range = ScoreRange {
                min: *score,
                max: *score + 3.0,
                min_exclusive: exclusive,
                max_exclusive: exclusive,
            };
            let inside = |s: f64| range.reaches(s) && range.keeps(s);
            let expected = sorted.iter().filter(|(s, _)| inside(*s)).count();
            let ranks = set.ranks_by_score(&range);
            assert_eq!(ranks.len(), expected);
            assert!(
                contents(set, ranks.start, ranks.len(), false)
                    .iter()
                    .all(|(s, _)| inside(*s))
            );
        }
    }
    assert_eq!(set.rank_of(b"not there"), None);
    assert_eq!(set.score_of(b"not there"), None);
    assert!(contents(set, sorted.len(), 5, false).is_empty());
}

fn member(number: u32) -> Vec<u8> {
    format!("element:{number:06}").into_bytes()
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, i32),
    Add(u32, i32),
    Remove(u32),
    RemoveRanks(usize, usize),
    Pop(bool),
}

/// Few members and few scores, so that scores tie and members are met again.
fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..600u32, -4..40i32).prop_map(|(m, s)| Step::Insert(m, s)),
        2 => (0..600u32, -2..3i32).prop_map(|(m, s)| Step::Add(m, s)),
        2 => (0..600u32).prop_map(Step::Remove),
        1 => (0..600usize, 0..40usize).prop_map(|(a, n)| Step::RemoveRanks(a, n)),
        1 => any::<bool>().prop_map(Step::Pop),
    ]
}

fn apply(set: &mut SortedSet, model: &mut Model, limits: Limits, step: &Step) {
    match *step {
        Step::Insert(m, s) => {
            let (m, s) = (member(m), f64::from(s) / 2.0);
            let expected = match model.scores.insert(m.clone(), s) {
                None => Change::Added(s),
                Some(old) if old == s => Change::Same(s),
                Some(_) => Change::Updated(s),
            };
            assert_eq!(set.insert(&m, s, limits), expected);
        }
        Step::Add(m, s) => {
            let (m, s) = (member(m), f64::from(s));
            let old = model.scores.get(&m).copied();
            let change = set.update(&m, limits, |current| {
                assert_eq!(current, old);
                Some(current? + s)
            });
            match old {
                None => assert_eq!(change, Change::Refused),
                Some(old) => {
                    model.scores.insert(m, old + s);
                }
            }
        }
        Step::Remove(m) => assert_eq!(set.remove(&member(m)), model.scores.remove(&member(m))),
        Step::RemoveRanks(start, count) => {
            let sorted = model.sorted();
            let end = sorted.len().min(start + count);
            let gone = sorted.get(start..end).unwrap_or(&[]);
            assert_eq!(set.remove_ranks(start..start + count), gone.len());
            for (_, m) in gone {
                model.scores.remove(m);
            }
        }
        Step::Pop(highest) => {
            let sorted = model.sorted();
            let expected = if highest {
                sorted.last()
            } else {
                sorted.first()
            };
            let popped = set.pop(highest, |m, s| (s, m.to_vec()));
            assert_eq!(popped.as_ref(), expected);
            if let Some((_, m)) = popped {
                model.scores.remove(&m);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn large_sets_are_sorted_maps(steps in prop::collection::vec(step(), 1..1200)) {
        let mut set = SortedSet::new_large(SEED);
        let mut model = Model::default();
        for (at, step) in steps.iter().enumerate() {
            apply(&mut set, &mut model, NEVER_SMALL, step);
            if at % 50 == 0 {
                assert_same(&set, &model);
            }
        }
        assert_same(&set, &model);
        assert_answers(&set, &model);
        assert_same(&set.clone(), &model);
    }

    #[test]
    fn small_sets_are_sorted_maps(steps in prop::collection::vec(step(), 1..300)) {
        let mut set = SortedSet::new(SEED);
        let mut model = Model::default();
        let mut large = false;
        for step in &steps {
            apply(&mut set, &mut model, SMALL, step);
            large |= model.scores.len() > SMALL.max_entries;
            assert_eq!(set.encoding(), if large { "skiplist" } else { "listpack" });
            assert_same(&set, &model);
        }
        assert_answers(&set, &model);
    }

    #[test]
    fn lex_ranges(members in prop::collection::btree_set("[a-c]{0,4}", 0..200),
                  low in "[a-c]{0,4}", high in "[a-c]{0,4}",
                  open in any::<(bool, bool)>()) {
        let mut large = SortedSet::new_large(SEED);
        let mut small = SortedSet::new(SEED);
        for member in &members {
            large.insert(member.as_bytes(), 0.0, NEVER_SMALL);
            small.insert(member.as_bytes(), 0.0, Limits { max_entries: 1000, max_value: 64 });
        }
        let bound = |text, open: bool| if open {
            LexBound::Excluding(text)
        } else {
            LexBound::Including(text)
        };
        let (low, high) = (low.as_bytes(), high.as_bytes());
        for min in [LexBound::Lowest, bound(low, open.0), LexBound::Highest] {
            for max in [LexBound::Lowest, bound(high, open.1), LexBound::Highest] {
                let range = LexRange { min, max };
                let expected: Vec<Vec<u8>> = members.iter().map(|m| m.as_bytes().to_vec())
                    .filter(|m| range.reaches(m) && range.keeps(m)).collect();
                for set in [&large, &small] {
                    let ranks = set.ranks_by_lex(&range);
                    let found: Vec<_> = set.members_from(ranks.start, ranks.len(), false)
                        .map(|m| m.to_vec()).collect();
                    assert_eq!(found, expected);
                }
            }
        }
    }
}

/// Thousands of members: trees of several levels, filled and emptied in every order.
#[test]
fn many_members_in_any_order() {
    const MANY: u32 = 4_500;
    let orders: [fn(u32) -> u32; 4] = [
        |at| at,
        |at| MANY - 1 - at,
        |at| (at * 7919) % MANY,
        |at| {
            if at % 2 == 0 {
                at / 2
            } else {
                MANY - 1 - at / 2
            }
        },
    ];
    for (filled, order) in orders.iter().enumerate() {
        for (emptied, removal) in orders.iter().enumerate() {
            let mut set = SortedSet::new_large(SEED);
            for at in 0..MANY {
                let number = order(at);
                // Ten members to a score.
                let score = f64::from(number / 10);
                set.insert(&member(number), score, NEVER_SMALL);
            }
            set.check_invariants();
            for rank in (0..MANY).step_by(499) {
                assert_eq!(
                    set.rank_of(&member(rank)),
                    Some((rank as usize, f64::from(rank / 10)))
                );
                assert_eq!(contents(&set, rank as usize, 1, false)[0].1, member(rank));
            }
            let Shape::Large(large) = &set.shape else {
                panic!("large")
            };
            let per_member = large.tree.memory_bytes() as f64 / f64::from(MANY);
            let most = [18.5, 18.5, 22.0, 24.5][filled];
            assert!(
                per_member < most,
                "order {filled}: {per_member} bytes in the tree"
            );
            for at in 0..MANY {
                let number = removal(at);
                assert_eq!(set.remove(&member(number)), Some(f64::from(number / 10)));
                if at % 1500 == 0 || at + 20 > MANY {
                    set.check_invariants();
                }
            }
            assert_eq!(set.len(), 0, "filled {filled}, emptied {emptied}");
        }
    }
}

/// Random insertions: the leaves stay well filled, and all in all a member of 19 bytes costs less than 72.
#[test]
fn memory_of_random_insertions() {
    let mut rng = Rng::new(7);
    let mut set = SortedSet::new_large(SEED);
    const MANY: usize = 20_000;
    while set.len() < MANY {
        let number = rng.below(1_000_000_000_000);
        let member = format!("element:{number:011}");
        set.insert(member.as_bytes(), rng.unit_f64(), NEVER_SMALL);
    }
    let each = set.memory_bytes(0) as f64 / MANY as f64;
    assert!(each < 70.0, "{each} bytes a member");
    let sampled = set.memory_bytes(5) as f64 / MANY as f64;
    assert!((each - sampled).abs() < 1.0);
    set.check_invariants();
    // Popping from the ends leaves the rest as it was.
    for at in 0..MANY - 10 {
        assert!(set.pop(at % 3 == 0, |_, _| ()).is_some());
    }
    set.check_invariants();
    assert!(set.memory_bytes(0) < 16 << 10);
}

#[test]
fn scores_at_the_limits() {
    for mut set in [SortedSet::new(SEED), SortedSet::new_large(SEED)] {
        let scores = [
            f64::INFINITY,
            f64::NEG_INFINITY,
            0.0,
            -0.0,
            f64::MAX,
            f64::MIN,
            5e-324,
            1.0 / 3.0,
            (1u64 << 53) as f64 + 2.0,
            1e20,
        ];
        for (at, score) in scores.iter().enumerate() {
            assert_eq!(
                set.insert(&member(at as u32), *score, SMALL),
                Change::Added(*score)
            );
        }
        set.check_invariants();
        for (at, score) in scores.iter().enumerate() {
            assert_eq!(set.score_of(&member(at as u32)), Some(*score));
        }
        // Zeros are one score, so that their members decide.
        assert_eq!(set.rank_of(&member(2)).unwrap().0, 2);
        assert_eq!(set.rank_of(&member(3)).unwrap().0, 3);
        assert_eq!(set.insert(&member(2), -0.0, SMALL), Change::Same(-0.0));
        assert_eq!(set.ranks_by_score(&ScoreRange::inclusive(0.0, 0.0)), 2..4);
        assert_eq!(set.ranks_by_score(&ScoreRange::ALL), 0..10);
        assert_eq!(set.ranks_by_score(&ScoreRange::inclusive(2.0, 1.0)), 0..0);
    }
}

#[test]
fn limits_decide_the_shape() {
    let limits = Limits {
        max_entries: 2,
        max_value: 5,
    };
    let mut set = SortedSet::for_first(SEED, b"a", limits);
    assert_eq!(set.encoding(), "listpack");
    set.insert(b"a", 1.0, limits);
    set.insert(b"b", 2.0, limits);
    assert_eq!(set.encoding(), "listpack");
    set.insert(b"c", 3.0, limits);
    assert_eq!(set.encoding(), "skiplist");
    set.fit(limits);
    assert_eq!(set.encoding(), "skiplist");
    set.remove(b"c");
    set.fit(limits);
    assert_eq!(set.encoding(), "listpack");
    assert_eq!(contents(&set, 0, 9, false).len(), 2);
    set.remove(b"a");
    set.insert(b"longer", 0.0, limits);
    assert_eq!(set.encoding(), "skiplist");
    set.fit(limits);
    assert_eq!(set.encoding(), "skiplist", "a member is too long");
    let none = Limits {
        max_entries: 0,
        ..limits
    };
    assert_eq!(
        SortedSet::for_first(SEED, b"a", none).encoding(),
        "skiplist"
    );
    assert_eq!(
        SortedSet::for_first(SEED, b"longer", limits).encoding(),
        "skiplist"
    );
}

/// The bytes are Redis's: `ZADD k 1 a 2.5 b inf 7` as its DUMP has them behind the type.
#[test]
fn listpack_as_redis_writes_it() {
    let mut set = SortedSet::new(SEED);
    for (member, score) in [(&b"7"[..], f64::INFINITY), (b"b", 2.5), (b"a", 1.0)] {
        set.insert(member, score, SMALL);
    }
    let expected = b"\x1b\0\0\0\x06\0\x81a\x02\x01\x01\x81b\x02\x832.5\x04\x07\x01\x83inf\x04\xff";
    assert_eq!(set.as_listpack().unwrap().as_bytes(), expected);
}

#[test]
fn random_members_are_fair_and_scans_are_whole() {
    for (count, limits) in [(20, SMALL), (20, NEVER_SMALL), (500, NEVER_SMALL)] {
        let mut set = SortedSet::for_first(SEED, b"", limits);
        for at in 0..count {
            set.insert(&member(at), f64::from(at), limits);
        }
        let mut rng = Rng::new(3);
        let mut drawn = vec![0u32; count as usize];
        for _ in 0..count * 200 {
            let (_, score) = set.random(&mut rng).unwrap();
            drawn[score as usize] += 1;
        }
        assert!(drawn.iter().all(|n| (120..300).contains(n)), "{drawn:?}");
        let mut seen = vec![false; count as usize];
        let mut cursor = 0;
        loop {
            cursor = set.scan(cursor, |m, score| {
                assert_eq!(m.to_vec(), member(score as u32));
                seen[score as usize] = true;
            });
            if cursor == 0 {
                break;
            }
        }
        assert!(seen.iter().all(|seen| *seen));
    }
    assert!(SortedSet::new(SEED).random(&mut Rng::new(1)).is_none());
    assert!(
        SortedSet::new_large(SEED)
            .random(&mut Rng::new(1))
            .is_none()
    );
}

/// A score that is NaN was once stored: the tree never found it again, so ZREM freed the member in the dict, and the
/// tree kept its address.
#[test]
fn nan_is_refused_in_every_way_in() {
    for limits in [SMALL, NEVER_SMALL] {
        let mut set = SortedSet::for_first(SEED, b"m", limits);
        assert_eq!(set.insert(b"m", f64::NAN, limits), Change::Refused);
        assert_eq!(set.len(), 0);
        assert_eq!(set.insert(b"m", 1.0, limits), Change::Added(1.0));
        assert_eq!(set.insert(b"m", -f64::NAN, limits), Change::Refused);
        let sum = set.update(b"m", limits, |old| old.map(|old| old + f64::NAN));
        assert_eq!(sum, Change::Refused);
        set.check_invariants();
        assert_eq!(set.remove(b"m"), Some(1.0));
        assert_eq!(set.len(), 0);
    }
    let mut builder = Builder::new(SEED);
    builder.put(b"a", |_| f64::NAN);
    builder.put(b"b", |_| 2.0);
    builder.put(b"b", |_| f64::NAN);
    let set = builder.finish();
    set.check_invariants();
    assert_eq!(contents(&set, 0, 9, false), [(2.0, b"b".to_vec())]);
}

#[test]
fn a_builder_that_does_not_finish_frees_its_members() {
    // What it would leak, AddressSanitizer reports.
    let mut builder = Builder::new(SEED);
    builder.put(b"member", |_| 1.0);
    drop(builder);
}
