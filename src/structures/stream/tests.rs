//! The whole structure against a naive model: a list of entries, and a list of who has what.

use super::*;
use crate::structures::listpack::Item;
use proptest::prelude::*;
use std::collections::BTreeSet;

type Pair = (Vec<u8>, Vec<u8>);

fn bytes(item: Item<'_>) -> Vec<u8> {
    item.to_vec()
}

fn pairs(entry: &Entry<'_>) -> Vec<Pair> {
    let pairs: Vec<Pair> = entry
        .pairs()
        .map(|(field, value)| (bytes(field), bytes(value)))
        .collect();
    assert_eq!(pairs.len(), entry.len());
    pairs
}

const SMALL: NodeLimits = NodeLimits {
    bytes: 120,
    entries: 4,
};

fn append(stream: &mut Stream, id: StreamId, pairs: &[Pair]) -> Result<(), AppendError> {
    let flat: Vec<&[u8]> = pairs
        .iter()
        .flat_map(|(field, value)| [field.as_slice(), value.as_slice()])
        .collect();
    stream.append(id, flat.iter().copied(), SMALL)
}

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId { ms, seq }
}

/// A stream of `count` entries `1-0`, `2-0`, ... with one field, in nodes of four.
fn stream_of(count: u64) -> Stream {
    let mut stream = Stream::default();
    for ms in 1..=count {
        let pair = (b"f".to_vec(), ms.to_string().into_bytes());
        append(&mut stream, id(ms, 0), &[pair]).unwrap();
    }
    stream
}

fn ids(stream: &Stream) -> Vec<u64> {
    stream
        .range(StreamId::MIN, StreamId::MAX)
        .map(|entry| entry.id().ms)
        .collect()
}

/// What always holds, and that DUMP's way there and back changes nothing.
fn check(stream: &Stream) {
    let mut loaded = Stream::default();
    for (key, node) in stream.nodes() {
        let node = Listpack::from_bytes(node.as_bytes().to_vec(), true).expect("a sound listpack");
        loaded.load_node(key, node).expect("a sound node");
    }
    loaded
        .load_summary(stream.summary())
        .expect("a sound stream");
    assert_eq!(loaded.summary(), stream.summary());
    let forward: Vec<StreamId> = stream
        .range(StreamId::MIN, StreamId::MAX)
        .map(|entry| entry.id())
        .collect();
    assert_eq!(forward.len(), stream.len());
    assert_eq!(
        forward.first().copied().unwrap_or_default(),
        stream.first_id()
    );
    assert_eq!(forward.last().copied(), stream.last_entry_id());
    for group in stream.groups.values() {
        let owned: BTreeSet<StreamId> = group.consumers().flat_map(Consumer::pending).collect();
        let pending: Vec<StreamId> = group.pending_iter().map(|(id, _)| id).collect();
        assert!(
            owned.iter().eq(&pending),
            "owners have exactly what is pending"
        );
        assert!(group.is_loaded());
    }
}

#[test]
fn the_layout_is_redis_own() {
    let mut stream = Stream::default();
    let pair = |field: &str, value: &str| (field.as_bytes().to_vec(), value.as_bytes().to_vec());
    append(&mut stream, id(1000, 5), &[pair("a", "1"), pair("b", "x")]).unwrap();
    append(&mut stream, id(1001, 0), &[pair("a", "2"), pair("b", "y")]).unwrap();
    append(&mut stream, id(1001, 7), &[pair("c", "z")]).unwrap();
    let (key, node) = stream.nodes().next().unwrap();
    assert_eq!(key, id(1000, 5));
    let elements: Vec<String> = node
        .iter()
        .map(|item| String::from_utf8(item.to_vec()).unwrap())
        .collect();
    let expected = "3 0 2 a b 0  2 0 0 1 x 5  2 1 -5 2 y 5  0 1 2 1 c z 6";
    let expected: Vec<&str> = expected.split_whitespace().collect();
    assert_eq!(elements, expected);
    assert_eq!(
        stream.delete(id(1001, 0), References::Keep),
        Deletion::Deleted
    );
    let (_, node) = stream.nodes().next().unwrap();
    let elements: Vec<Option<i64>> = node.iter().map(|item| item.as_int()).collect();
    assert_eq!(elements[..3], [Some(2), Some(1), Some(2)]);
    assert_eq!(elements[12], Some(3), "its flags say deleted");
}

#[test]
fn trimming_by_nodes_and_exactly() {
    let trim = |stream: &mut Stream, keep, approximate, limit| {
        stream
            .trim(Trim {
                keep,
                approximate,
                limit,
                references: References::Keep,
            })
            .removed
    };
    let mut stream = stream_of(10);
    assert_eq!(stream.nodes_len(), 3);
    assert_eq!(
        trim(&mut stream, Keep::Newest(7), true, 0),
        0,
        "no whole node"
    );
    assert_eq!(trim(&mut stream, Keep::Newest(5), true, 0), 4);
    assert_eq!(
        trim(&mut stream, Keep::Newest(0), true, 3),
        0,
        "over the limit"
    );
    assert_eq!(trim(&mut stream, Keep::Newest(3), false, 0), 3);
    assert_eq!(ids(&stream), [8, 9, 10]);
    assert_eq!(stream.first_stored_id(), Some(id(5, 0)));
    assert_eq!(trim(&mut stream, Keep::From(id(10, 0)), true, 0), 1);
    assert_eq!(trim(&mut stream, Keep::From(id(10, 0)), false, 0), 1);
    assert_eq!(ids(&stream), [10]);
    check(&stream);
    assert_eq!(trim(&mut stream, Keep::Newest(0), false, 0), 1);
    assert_eq!((stream.nodes_len(), stream.first_id()), (0, StreamId::MIN));
    assert_eq!(stream.last_id(), id(10, 0));
}

#[test]
fn references_decide_what_may_go() {
    let mut stream = stream_of(10);
    for name in [b"g".as_slice(), b"h"] {
        let group = stream.add_group(name, id(6, 0), -1).unwrap();
        let consumer = group.add_consumer(b"c", 0).unwrap();
        group.deliver(id(2, 0), consumer, 0);
    }
    assert_eq!(
        stream.delete(id(2, 0), References::Acknowledged),
        Deletion::Referenced
    );
    assert_eq!(
        stream.delete(id(7, 0), References::Acknowledged),
        Deletion::Referenced
    );
    assert_eq!(
        stream.delete(id(99, 0), References::Acknowledged),
        Deletion::NoEntry
    );
    let how = |keep, references| Trim {
        keep,
        approximate: false,
        limit: 0,
        references,
    };
    assert_eq!(
        stream
            .trim(how(Keep::Newest(2), References::Acknowledged))
            .removed,
        5
    );
    assert_eq!(ids(&stream), [2, 7, 8, 9, 10]);
    check(&stream);
    assert_eq!(
        stream
            .trim(how(Keep::From(id(8, 0)), References::Delete))
            .removed,
        2
    );
    assert_eq!(stream.group(b"g").unwrap().pending_len(), 0);
    check(&stream);
    let group = stream.group_mut(b"h").unwrap();
    let consumer = group.find(b"c").unwrap();
    group.deliver(id(9, 0), consumer, 0);
    assert_eq!(stream.delete(id(9, 0), References::Keep), Deletion::Deleted);
    assert_eq!(stream.group(b"h").unwrap().pending_len(), 1);
    assert_eq!(
        stream.delete(id(9, 0), References::Delete),
        Deletion::NoEntry
    );
    assert_eq!(stream.group(b"h").unwrap().pending_len(), 0);
}

/// Exact trimming once ended with the node in which it first had something to keep.
#[test]
fn needed_entries_do_not_end_exact_trimming() {
    let mut stream = stream_of(10);
    let group = stream.add_group(b"g", id(10, 0), 10).unwrap();
    let consumer = group.add_consumer(b"c", 0).unwrap();
    for needed in [1, 2, 3, 4, 5] {
        group.deliver(id(needed, 0), consumer, 0);
    }
    let trimmed = stream.trim(Trim {
        keep: Keep::Newest(8),
        approximate: false,
        limit: 0,
        references: References::Acknowledged,
    });
    assert_eq!(trimmed.removed, 2);
    assert_eq!(ids(&stream), [1, 2, 3, 4, 5, 8, 9, 10]);
    check(&stream);
}

#[test]
fn groups_and_their_consumers() {
    let mut group = Group::new(StreamId::MIN, 0);
    let alice = group.add_consumer(b"alice", 5).unwrap();
    let bob = group.add_consumer(b"bob", 5).unwrap();
    assert_eq!(group.add_consumer(b"alice", 6), None);
    for ms in 1..=4 {
        group.deliver(id(ms, 0), alice, 10);
    }
    group.claim(id(2, 0), bob, 11, 7);
    group.deliver_again(id(3, 0), 12);
    let of = |group: &Group, who| -> Vec<u64> {
        let range = group.pending_between(id(2, 0), id(3, 0), who);
        range.map(|(id, _)| id.ms).collect()
    };
    assert_eq!(of(&group, Some(alice)), [3]);
    assert_eq!(of(&group, Some(bob)), [2]);
    assert_eq!(of(&group, None), [2, 3]);
    assert_eq!(group.pending_between(id(3, 0), id(2, 0), None).count(), 0);
    let pending = group.pending(id(3, 0)).unwrap();
    assert_eq!((pending.delivered_ms, pending.deliveries), (12, 2));
    assert!(group.acknowledge(id(1, 0)) && !group.acknowledge(id(1, 0)));
    assert_eq!(group.remove_consumer(b"alice"), Some(2));
    assert_eq!((group.pending_len(), group.consumers_len()), (1, 1));
    let carol = group.add_consumer(b"carol", 5).unwrap();
    assert_eq!(carol, alice, "its place is used again");
    assert_eq!(group.owner_name(group.pending(id(2, 0)).unwrap()), b"bob");
}

#[test]
fn loading_refuses_what_does_not_fit() {
    let mut group = Group::new(StreamId::MIN, -1);
    assert!(group.load_pending(id(1, 0), 3, 2));
    assert!(!group.load_pending(id(1, 0), 3, 2), "twice");
    let consumer = group.add_consumer(b"c", 0).unwrap();
    assert!(!group.is_loaded(), "nobody owns it");
    assert!(!group.load_owner(id(2, 0), consumer), "not pending");
    assert!(group.load_owner(id(1, 0), consumer));
    assert!(!group.load_owner(id(1, 0), consumer), "twice");
    assert!(group.is_loaded());

    let source = stream_of(8);
    let nodes: Vec<(StreamId, Listpack)> = source
        .nodes()
        .map(|(key, node)| (key, node.clone()))
        .collect();
    let mut stream = Stream::default();
    stream.load_node(nodes[1].0, nodes[1].1.clone()).unwrap();
    assert!(
        stream.load_node(nodes[0].0, nodes[0].1.clone()).is_err(),
        "order"
    );
    let summary = source.summary();
    assert!(stream.load_summary(summary).is_err(), "length");
    let short = Summary {
        length: 4,
        last_id: id(7, 0),
        ..summary
    };
    assert!(stream.load_summary(short).is_err(), "last id");
}

#[test]
fn any_damage_to_a_node_is_found_or_harmless() {
    let mut stream = stream_of(3);
    let pair = |field: &str| (field.as_bytes().to_vec(), b"some longer value".to_vec());
    append(&mut stream, id(4, 0), &[pair("x"), pair("y")]).unwrap();
    stream.delete(id(2, 0), References::Keep);
    let (key, node) = stream.nodes().next().unwrap();
    let sound = node.as_bytes().to_vec();
    for at in 0..sound.len() {
        for value in 0..=255u8 {
            let mut damaged = sound.clone();
            damaged[at] = value;
            let Ok(node) = Listpack::from_bytes(damaged, true) else {
                continue;
            };
            let mut loaded = Stream::default();
            if loaded.load_node(key, node).is_err() {
                continue;
            }
            let summary = Summary {
                length: loaded.length,
                last_id: loaded.last_id,
                ..stream.summary()
            };
            loaded.load_summary(summary).unwrap();
            for entry in loaded.range_back(StreamId::MIN, StreamId::MAX) {
                pairs(&entry);
            }
            check(&loaded);
            loaded.delete(id(3, 0), References::Keep);
            loaded.trim(Trim {
                keep: Keep::Newest(1),
                approximate: false,
                limit: 0,
                references: References::Keep,
            });
            check(&loaded);
        }
    }
}

#[test]
fn lag_as_far_as_it_can_be_known() {
    let mut stream = stream_of(5);
    let group = |last: u64, read| Group::new(id(last, 0), read);
    assert_eq!(Stream::default().lag(&group(0, -1)), Some(0));
    assert_eq!(stream.lag(&group(0, -1)), Some(5));
    assert_eq!(stream.lag(&group(5, -1)), Some(0));
    assert_eq!(stream.lag(&group(2, -1)), None);
    assert_eq!(stream.lag(&group(2, 2)), Some(3));
    stream.delete(id(3, 0), References::Keep);
    assert_eq!(stream.lag(&group(2, 2)), None, "a hole ahead");
    assert_eq!(stream.lag(&group(4, 4)), Some(1), "the hole is behind");
    stream.delete(id(1, 0), References::Keep);
    stream.delete(id(2, 0), References::Keep);
    assert_eq!(
        stream.lag(&group(2, 2)),
        Some(2),
        "all holes are before what is left"
    );
    assert_eq!(stream.entries_read_after(&group(4, 4), id(5, 0)), 5);
    assert_eq!(stream.entries_read_after(&group(0, -1), id(4, 0)), 4);
}

#[test]
fn memory_grows_with_entries_and_pending() {
    let (small, large) = (stream_of(10), stream_of(1000));
    assert!(large.memory_bytes(0) > 20 * small.memory_bytes(0));
    let (exact, sampled) = (large.memory_bytes(0), large.memory_bytes(5));
    assert!(sampled > exact / 2 && sampled < exact * 2);
    let mut grouped = small.clone();
    let group = grouped.add_group(b"g", StreamId::MIN, -1).unwrap();
    let consumer = group.add_consumer(b"c", 0).unwrap();
    for ms in 1..=1000 {
        group.deliver(id(ms, 0), consumer, 0);
    }
    assert!(grouped.memory_bytes(0) > small.memory_bytes(0) + 50_000);
    assert!(large.free_effort() >= large.nodes_len());
}

#[derive(Clone, Debug)]
enum Step {
    Append { ms: u64, fields: Vec<Pair> },
    Delete { index: usize },
    Trim { how: Trim },
    Deliver { index: usize, to: usize },
    Acknowledge { index: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let field = prop_oneof![
        Just(b"f".to_vec()),
        Just(b"g".to_vec()),
        Just(b"12".to_vec()),
    ];
    let value = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..5),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        proptest::collection::vec(any::<u8>(), 60..130),
    ];
    let fields = proptest::collection::vec((field, value), 1..4);
    let keep = prop_oneof![
        (0u64..12).prop_map(Keep::Newest),
        (0u64..40).prop_map(|ms| Keep::From(StreamId { ms, seq: 1 })),
    ];
    let references = prop_oneof![
        3 => Just(References::Keep),
        1 => Just(References::Delete),
        1 => Just(References::Acknowledged),
    ];
    let trim = (keep, any::<bool>(), 0u64..8, references);
    prop_oneof![
        8 => (0u64..3, fields).prop_map(|(ms, fields)| Step::Append { ms, fields }),
        3 => (0usize..20).prop_map(|index| Step::Delete { index }),
        1 => trim.prop_map(|(keep, approximate, limit, references)| Step::Trim {
            how: Trim { keep, approximate, limit, references },
        }),
        3 => (0usize..20, 0usize..3).prop_map(|(index, to)| Step::Deliver { index, to }),
        2 => (0usize..20).prop_map(|index| Step::Acknowledge { index }),
    ]
}

/// Trimming as the documentation says it: exactly from the oldest on; approximately no more than that.
fn model_trim(
    model: &[(StreamId, Vec<Pair>)],
    how: Trim,
    needed: &dyn Fn(StreamId) -> bool,
) -> Vec<StreamId> {
    let mut left = model.len() as u64;
    let mut gone = Vec::new();
    for (id, _) in model {
        if !goes(left, *id, how.keep) {
            break;
        }
        if how.references == References::Acknowledged && needed(*id) {
            continue;
        }
        gone.push(*id);
        left -= 1;
    }
    gone
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_sequence_agrees_with_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        let mut stream = Stream::default();
        let mut model: Vec<(StreamId, Vec<Pair>)> = Vec::new();
        let mut last = StreamId::MIN;
        let group = stream.add_group(b"g", StreamId::MIN, 0).unwrap();
        let consumers = [b"a", b"b", b"c"].map(|name| group.add_consumer(name, 0).unwrap());
        for step in steps {
            match step {
                Step::Append { ms, fields } => {
                    let new = StreamId { ms: last.ms + ms, seq: if ms == 0 { last.seq + 1 } else { 0 } };
                    prop_assert_eq!(append(&mut stream, new, &fields), Ok(()));
                    prop_assert_eq!(append(&mut stream, new, &fields), Err(AppendError::NotGreater));
                    model.push((new, fields));
                    last = new;
                }
                Step::Delete { index } => {
                    let Some((id, _)) = model.get(index).cloned() else { continue };
                    prop_assert_eq!(stream.delete(id, References::Keep), Deletion::Deleted);
                    prop_assert_eq!(stream.delete(id, References::Keep), Deletion::NoEntry);
                    model.remove(index);
                }
                Step::Trim { how } => {
                    let exact = Trim { approximate: false, limit: 0, ..how };
                    let group = stream.group(b"g").unwrap().clone();
                    let expected = model_trim(&model, exact, &|id| group.needs(id));
                    let before = model.len();
                    let mut again = stream.clone();
                    let Trimmed { removed, end, .. } = stream.trim(how);
                    if how.approximate {
                        let exact = Trim { keep: Keep::From(end), ..exact };
                        prop_assert_eq!(again.trim(exact).removed, removed);
                        prop_assert_eq!(ids(&again), ids(&stream));
                    }
                    let left: BTreeSet<StreamId> =
                        stream.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id()).collect();
                    model.retain(|(id, _)| left.contains(id));
                    prop_assert_eq!(model.len(), left.len());
                    prop_assert_eq!(before - model.len(), removed as usize);
                    if how.approximate || how.limit > 0 {
                        prop_assert!(removed as usize <= expected.len());
                    } else {
                        prop_assert_eq!(removed as usize, expected.len());
                        prop_assert!(expected.iter().all(|id| !left.contains(id)));
                    }
                }
                Step::Deliver { index, to } => {
                    let Some((id, _)) = model.get(index) else { continue };
                    let group = stream.group_mut(b"g").unwrap();
                    group.deliver(*id, consumers[to], 1);
                    group.last_id = group.last_id.max(*id);
                }
                Step::Acknowledge { index } => {
                    let Some((id, _)) = model.get(index) else { continue };
                    let group = stream.group_mut(b"g").unwrap();
                    prop_assert_eq!(group.pending(*id).is_some(), group.acknowledge(*id));
                }
            }
            check(&stream);
        }
        let forward: Vec<(StreamId, Vec<Pair>)> =
            stream.range(StreamId::MIN, StreamId::MAX).map(|entry| (entry.id(), pairs(&entry))).collect();
        prop_assert_eq!(&forward, &model);
        let mut backward: Vec<(StreamId, Vec<Pair>)> =
            stream.range_back(StreamId::MIN, StreamId::MAX).map(|entry| (entry.id(), pairs(&entry))).collect();
        backward.reverse();
        prop_assert_eq!(&backward, &model);
        for start in 0..=last.ms + 1 {
            for end in [start, start + 3] {
                let (start, end) = (StreamId { ms: start, seq: 1 }, StreamId { ms: end, seq: u64::MAX });
                let expected: Vec<StreamId> =
                    model.iter().map(|(id, _)| *id).filter(|id| (start..=end).contains(id)).collect();
                let found: Vec<StreamId> = stream.range(start, end).map(|entry| entry.id()).collect();
                prop_assert_eq!(&found, &expected);
                let mut found: Vec<StreamId> = stream.range_back(start, end).map(|entry| entry.id()).collect();
                found.reverse();
                prop_assert_eq!(&found, &expected);
            }
        }
        prop_assert_eq!(stream.clone().summary(), stream.summary());
    }
}
