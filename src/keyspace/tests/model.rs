//! The keyspace against a plain map: any sequence of operations, with sizes around every edge.

use super::super::*;
use super::{at, get, keyspace, set};
use crate::structures::slots::slot_of;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Sizes at which something changes: classes, embedding, lengths of keys.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..140usize,
        2 => (0..12usize, 0..9usize).prop_map(|(class, off)| [160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024][class] - 28 + 4 * off),
        2 => 1015..1035usize,
        1 => 1035..6000usize,
    ]
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    (
        0..12u8,
        prop_oneof![3 => Just(3usize), 1 => Just(16), 1 => 253..259usize],
    )
        .prop_map(|(which, len)| vec![b'a' + which; len])
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (size(), any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        1 => (-20..20i64).prop_map(|number| number.to_string().into_bytes()),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Set {
        key: Vec<u8>,
        value: Vec<u8>,
        expiry: u8,
    },
    SetBlob {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Append {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    SetRange {
        key: Vec<u8>,
        offset: usize,
        value: Vec<u8>,
    },
    Expire {
        key: Vec<u8>,
        ms: Option<i64>,
    },
    NotAList {
        key: Vec<u8>,
    },
    Rename {
        from: Vec<u8>,
        to: Vec<u8>,
        replace: bool,
    },
    Copy {
        from: Vec<u8>,
        to: Vec<u8>,
        across: bool,
        replace: bool,
    },
    Move {
        key: Vec<u8>,
    },
    Remove {
        key: Vec<u8>,
        lazily: bool,
    },
    Pass {
        ms: i64,
    },
    Cycle,
    Select,
    Swap,
    Flush {
        all: bool,
        lazily: bool,
    },
    Scan,
    Random,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (key(), value(), 0..5u8).prop_map(|(key, value, expiry)| Op::Set { key, value, expiry }),
        2 => (key(), value()).prop_map(|(key, value)| Op::SetBlob { key, value }),
        5 => (key(), value()).prop_map(|(key, value)| Op::Append { key, value }),
        4 => (key(), size(), value()).prop_map(|(key, offset, value)| Op::SetRange { key, offset, value }),
        4 => (key(), proptest::option::of(-2..30i64)).prop_map(|(key, ms)| Op::Expire { key, ms }),
        4 => key().prop_map(|key| Op::NotAList { key }),
        3 => (key(), key(), any::<bool>()).prop_map(|(from, to, replace)| Op::Rename { from, to, replace }),
        3 => (key(), key(), any::<bool>(), any::<bool>()).prop_map(|(from, to, across, replace)| Op::Copy { from, to, across, replace }),
        2 => key().prop_map(|key| Op::Move { key }),
        2 => (key(), any::<bool>()).prop_map(|(key, lazily)| Op::Remove { key, lazily }),
        2 => (0..12i64).prop_map(|ms| Op::Pass { ms }),
        1 => Just(Op::Cycle),
        1 => Just(Op::Select),
        1 => Just(Op::Swap),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(all, lazily)| Op::Flush { all, lazily }),
        1 => Just(Op::Scan),
        1 => Just(Op::Random),
    ]
}

type Model = [BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>; 2];

/// Everything of one database that can be seen.
fn contents(
    keyspace: &mut Keyspace,
    db: usize,
    now: Clock,
) -> BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)> {
    let mut seen = BTreeMap::new();
    keyspace.db(db, now, true).for_each(&mut |entry| {
        let value = entry.string().unwrap().to_vec();
        assert!(
            seen.insert(entry.key().to_vec(), (value, entry.expire_at()))
                .is_none(),
            "a key is there once"
        );
    });
    seen
}

/// The account of the keys of each slot against all keys. `slots`: those that keys were in before.
fn check_slots(keyspace: &mut Keyspace, db: usize, slots: &mut BTreeSet<u16>) {
    let mut expected: BTreeMap<u16, BTreeSet<Vec<u8>>> = BTreeMap::new();
    keyspace.for_each(db, &mut |entry| {
        let keys = expected.entry(slot_of(entry.key())).or_default();
        keys.insert(entry.key().to_vec());
    });
    slots.extend(expected.keys());
    for slot in slots.iter().copied() {
        let keys = expected.remove(&slot).unwrap_or_default();
        assert_eq!(keyspace.keys_in_slot(db, slot), keys.len());
        let listed = keyspace.some_keys_in_slot(db, slot, usize::MAX);
        assert_eq!(listed.len(), keys.len());
        assert_eq!(BTreeSet::from_iter(listed), keys);
        assert_eq!(
            keyspace.some_keys_in_slot(db, slot, 1).len(),
            keys.len().min(1)
        );
    }
}

/// `indexed_after`: so many operations go before the account of slots.
fn run(ops: Vec<Op>, indexed_after: usize) {
    let mut keyspace = keyspace();
    let (mut slots, mut left) = (BTreeSet::new(), indexed_after);
    let mut model: Model = Default::default();
    let (mut now_ms, mut index) = (1000i64, 0usize);
    for op in ops {
        if left == 0 {
            keyspace.index_slots();
        }
        left = left.saturating_sub(1);
        for database in &mut model {
            database.retain(|_, (_, expiry)| expiry.is_none_or(|at| now_ms <= at));
        }
        let now = at(now_ms);
        let mut db = keyspace.db(index, now, false);
        match op.clone() {
            Op::Set { key, value, expiry } => {
                let old = model[index].get(&key).and_then(|(_, at)| *at);
                let (expiry, expected) = match expiry {
                    0 => (Expiry::Keep, old),
                    1 => (Expiry::At(now_ms + 7), Some(now_ms + 7)),
                    2 => (Expiry::At(now_ms + 100_000), Some(now_ms + 100_000)),
                    _ => (Expiry::Clear, None),
                };
                set(&mut db, &key, &value, expiry);
                model[index].insert(key, (value, expected));
            }
            Op::SetBlob { key, value } => {
                let blob = std::sync::Arc::new(value.clone());
                match db.entry(&key) {
                    KeyEntry::Occupied(mut occupied) => {
                        occupied.set(NewValue::Blob(blob), Expiry::Clear)
                    }
                    KeyEntry::Vacant(vacant) => vacant.insert(NewValue::Blob(blob), Expiry::Clear),
                }
                model[index].insert(key, (value, None));
            }
            Op::Append { key, value } => {
                let expected = model[index].entry(key.clone()).or_default();
                expected.0.extend_from_slice(&value);
                match db.entry(&key) {
                    KeyEntry::Occupied(mut occupied) => {
                        assert_eq!(occupied.append(&value), Ok(expected.0.len()))
                    }
                    KeyEntry::Vacant(vacant) => {
                        vacant.insert(NewValue::String(&value), Expiry::Clear)
                    }
                }
            }
            Op::SetRange { key, offset, value } => {
                if let KeyEntry::Occupied(mut occupied) = db.entry(&key) {
                    let expected = &mut model[index].get_mut(&key).expect("the model has it too").0;
                    if expected.len() < offset + value.len() {
                        expected.resize(offset + value.len(), 0);
                    }
                    expected[offset..offset + value.len()].copy_from_slice(&value);
                    assert_eq!(occupied.set_range(offset, &value), Ok(expected.len()));
                } else {
                    assert!(!model[index].contains_key(&key));
                }
            }
            Op::Expire { key, ms } => {
                let at = ms.map(|ms| now_ms + ms);
                match (db.entry(&key), model[index].get_mut(&key)) {
                    (KeyEntry::Occupied(mut occupied), Some(expected)) => {
                        occupied.set_expiry(at);
                        expected.1 = at;
                    }
                    (KeyEntry::Vacant(_), None) => {}
                    _ => panic!("only one of them has the key"),
                }
            }
            Op::NotAList { key } => {
                if let KeyEntry::Occupied(mut occupied) = db.entry(&key) {
                    assert!(occupied.list_mut().is_err());
                }
            }
            Op::Rename { from, to, replace } => {
                let expected = match (
                    model[index].contains_key(&from),
                    model[index].contains_key(&to),
                ) {
                    (false, _) => Err(TransferError::NoSuchKey),
                    _ if from == to => Err(TransferError::SameObject),
                    (_, true) if !replace => Err(TransferError::TargetExists),
                    _ => Ok(()),
                };
                assert_eq!(db.rename(&from, &to, replace), expected);
                if expected.is_ok() {
                    let moved = model[index].remove(&from).unwrap();
                    model[index].insert(to, moved);
                }
            }
            Op::Copy {
                from,
                to,
                across,
                replace,
            } => {
                let target = if across { 1 - index } else { index };
                let expected = match (
                    model[index].contains_key(&from),
                    model[target].contains_key(&to),
                ) {
                    _ if from == to && !across => Err(TransferError::SameObject),
                    (false, _) => Err(TransferError::NoSuchKey),
                    (_, true) if !replace => Err(TransferError::TargetExists),
                    _ => Ok(()),
                };
                assert_eq!(
                    keyspace.copy((index, &from), (target, &to), replace, now),
                    expected
                );
                if expected.is_ok() {
                    let copied = model[index][&from].clone();
                    model[target].insert(to, copied);
                }
            }
            Op::Move { key } => {
                let expected = match (
                    model[index].contains_key(&key),
                    model[1 - index].contains_key(&key),
                ) {
                    (false, _) => Err(TransferError::NoSuchKey),
                    (_, true) => Err(TransferError::TargetExists),
                    _ => Ok(()),
                };
                assert_eq!(keyspace.move_key(index, 1 - index, &key, now), expected);
                if expected.is_ok() {
                    let moved = model[index].remove(&key).unwrap();
                    model[1 - index].insert(key, moved);
                }
            }
            Op::Remove { key, lazily } => {
                let free = if lazily { Free::Lazily } else { Free::Now };
                assert_eq!(db.remove(&key, free), model[index].remove(&key).is_some());
            }
            Op::Pass { ms } => now_ms += ms,
            Op::Cycle => {
                let cycle = keyspace.expire_cycle(now, 10, u64::MAX, &mut || 0);
                assert!(!cycle.time_cap_reached);
            }
            Op::Select => index = 1 - index,
            Op::Swap => {
                keyspace.swap(0, 1, now);
                model.swap(0, 1);
            }
            Op::Flush { all, lazily } => {
                let free = if lazily { Free::Lazily } else { Free::Now };
                keyspace.flush((!all).then_some(index), free);
                model[index].clear();
                if all {
                    model[1 - index].clear();
                }
            }
            Op::Scan => {
                let (mut cursor, mut seen) = (0, BTreeSet::new());
                loop {
                    cursor = db.scan(cursor, &mut |entry| {
                        seen.insert(entry.key().to_vec());
                    });
                    if cursor == 0 {
                        break;
                    }
                }
                assert!(seen.iter().eq(model[index].keys()));
                assert_eq!(
                    db.len(),
                    model[index].len(),
                    "SCAN removes what has expired"
                );
            }
            Op::Random => match db.random_key() {
                Some(key) => assert!(model[index].contains_key(&key)),
                None => assert!(model[index].is_empty()),
            },
        }
        let now = at(now_ms);
        for (db, expected) in model.iter_mut().enumerate() {
            expected.retain(|_, (_, expiry)| expiry.is_none_or(|at| now_ms <= at));
            keyspace.databases[db].table.check_uncounted();
            if keyspace.shared.indexes_slots {
                check_slots(&mut keyspace, db, &mut slots);
            }
            assert_eq!(&contents(&mut keyspace, db, now), expected, "after {op:?}");
            let sizes = keyspace.sizes(db);
            let counted: u64 = sizes.of(Type::String).map(|(_, keys)| keys).sum();
            assert_eq!(counted, keyspace.figures(db).0 as u64);
            let volatile = expected.values().filter(|(_, at)| at.is_some()).count();
            let (keys, with_expiry, _) = keyspace.figures(db);
            assert!(keys >= expected.len() && with_expiry - volatile == keys - expected.len());
            for (key, (value, _)) in expected.iter() {
                assert_eq!(
                    get(&mut keyspace.db(db, now, false), key).as_ref(),
                    Some(value)
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_map(
        ops in proptest::collection::vec(op(), 1..60),
        indexed_after in 0..60usize,
    ) {
        run(ops, indexed_after);
    }
}
