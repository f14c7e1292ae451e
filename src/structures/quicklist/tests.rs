//! The quicklist against a plain vector, for all fills and depths.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn elements(list: &Quicklist) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    list.for_each(|item| all.push(item.to_vec()));
    all
}

fn of(fill: i32, depth: usize, elements: impl IntoIterator<Item = Vec<u8>>) -> Quicklist {
    let mut list = Quicklist::with_options(fill, depth);
    for element in elements {
        list.push_back(&element);
    }
    list
}

fn check(list: &Quicklist) {
    let depth = usize::from(list.depth);
    let nodes = list.nodes.len();
    let mut sum = 0;
    for (at, node) in list.nodes.iter().enumerate() {
        assert!(node.count > 0, "no node is empty");
        sum += node.count as usize;
        let inner = depth > 0 && at >= depth && at + depth < nodes;
        if matches!(node.body, Body::Compressed { .. }) {
            assert!(inner, "node {at} of {nodes} is within depth {depth}");
        }
        match node.contents() {
            Contents::Packed(listpack) => {
                assert_eq!(listpack.byte_len(), node.size());
                assert_eq!(listpack.iter().count(), node.count as usize);
                assert!(Listpack::from_bytes(listpack.as_bytes().to_vec(), true).is_ok());
            }
            Contents::Plain(bytes) => assert_eq!((bytes.len(), node.count), (node.size(), 1)),
        }
    }
    assert_eq!(sum, list.len);
}

#[test]
fn fills_are_redis() {
    let element = |n: usize| format!("element-{n:04}").into_bytes();
    // By count.
    assert_eq!(of(3, 0, (0..10).map(element)).node_count(), 4);
    assert_eq!(of(0, 0, (0..10).map(element)).node_count(), 10);
    // By count, but with the bound: 12 + 2 bytes each; the next one reckoned with 12 + 8.
    let list = of(1000, 0, (0..1000).map(element));
    assert_eq!(list.nodes[0].count, 584);
    // By size.
    for (fill, bytes) in [
        (-1, 4096),
        (-2, 8192),
        (-3, 16384),
        (-4, 32768),
        (-5, 65536),
    ] {
        let list = of(fill, 0, (0..9999).map(element));
        let count = (bytes - 20 - 7) / 14 + 1;
        assert_eq!(list.nodes[0].count as usize, count, "fill {fill}");
    }
}

#[test]
fn large_elements_have_their_own_nodes() {
    let mut list = Quicklist::with_options(-2, 0);
    list.set_packed_threshold(10);
    for element in ["a", "b", "larger than ten", "c", "larger than ten too"] {
        list.push_back(element.as_bytes());
    }
    list.push_front(b"larger still than ten");
    let plain: Vec<bool> = list.nodes.iter().map(Node::is_plain).collect();
    assert_eq!(plain, [true, false, true, false, true]);
    // One between two others splits their node; taking its place by a small one joins the next.
    assert!(list.insert(b"a", b"again a large one", true));
    assert_eq!(list.node_count(), 7);
    assert!(list.set(2, b"small"));
    assert_eq!(list.node_count(), 6);
    assert!(list.set(1, b"and this one became large"));
    check(&list);
    assert_eq!(
        elements(&list).join(&b'|'),
        b"larger still than ten|and this one became large|small|b|larger than ten|c|larger than ten too"
    );
}

#[test]
fn inner_nodes_are_compressed() {
    let element = |n: usize| format!("the same again and again {}", n % 3).into_bytes();
    let list = of(-1, 2, (0..3000).map(element));
    let compressed: Vec<bool> = list
        .nodes()
        .map(|node| matches!(node, NodeView::Compressed { .. }))
        .collect();
    let nodes = list.node_count();
    assert!(nodes > 10);
    for (at, compressed) in compressed.into_iter().enumerate() {
        assert_eq!(
            compressed,
            at >= 2 && at + 2 < nodes,
            "node {at} of {nodes}"
        );
    }
    assert!(list.memory_bytes(0) < list.uncompressed_bytes() / 2);
    check(&list);
    assert_eq!(elements(&list), (0..3000).map(element).collect::<Vec<_>>());
    assert_eq!(list.get(1500, |item| item.to_vec()), Some(element(1500)));
}

#[test]
fn nodes_come_and_go_whole() {
    let list = of(
        4,
        1,
        (0..20).map(|n| format!("{n} and some words of text, words of text").into_bytes()),
    );
    let mut copy = Quicklist::with_options(4, 1);
    for node in list.nodes() {
        let (bytes, plain) = match node {
            NodeView::Packed(listpack) => (listpack.as_bytes().to_vec(), false),
            NodeView::Plain(bytes) => (bytes.to_vec(), true),
            NodeView::Compressed { bytes, size, plain } => {
                (lzf::decompress(bytes, size).unwrap(), plain)
            }
        };
        assert!(!plain);
        copy.push_listpack(Listpack::from_bytes(bytes, true).unwrap())
            .unwrap();
    }
    copy.push_plain(b"plain".to_vec());
    copy.push_listpack(Listpack::new()).unwrap();
    check(&copy);
    assert_eq!((copy.len(), copy.node_count()), (21, 6));
    assert_eq!(copy.pop_back(|item| item.to_vec()), Some(b"plain".to_vec()));
    assert_eq!(elements(&copy), elements(&list));
    // A count that lies.
    let lie = [9, 0, 0, 0, 2, 0, 1, 1, 0xFF].to_vec();
    assert!(
        copy.push_listpack(Listpack::from_bytes(lie, false).unwrap())
            .is_err()
    );
}

#[test]
fn small_lists_are_small() {
    assert_eq!((size_of::<Quicklist>(), size_of::<Node>()), (48, 40));
    let list = of(-2, 0, [b"x".to_vec()]);
    assert_eq!(
        list.memory_bytes(0),
        size_class(size_of::<Quicklist>()) + 48 + 32
    );
    let mut list = of(
        -2,
        0,
        (0..100_000).map(|n| format!("element {n}").into_bytes()),
    );
    assert!(list.memory_bytes(0) < list.uncompressed_bytes() * 21 / 20);
    assert!(list.free_effort() > 100);
    list.remove_range(1, 99_998);
    assert_eq!(
        elements(&list),
        [b"element 0".to_vec(), b"element 99999".to_vec()]
    );
    assert!(list.memory_bytes(0) < 16_384 + 1024);
}

#[derive(Clone, Debug)]
enum Step {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    PopBack,
    PopFront,
    Set(i64, Vec<u8>),
    Insert(usize, Vec<u8>, bool),
    Remove(usize, usize, bool),
    RemoveRange(usize, usize),
    Threshold(usize),
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u8..20).prop_map(|n| n.to_string().into_bytes()),
        2 => (b'a'..b'e', 40usize..90).prop_map(|(byte, len)| vec![byte; len]),
        1 => vec(any::<u8>(), 0..30),
        1 => (b'a'..b'e', 1000usize..1500).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => element().prop_map(Step::PushBack),
        6 => element().prop_map(Step::PushFront),
        1 => Just(Step::PopBack),
        1 => Just(Step::PopFront),
        2 => (-30i64..30, element()).prop_map(|(at, e)| Step::Set(at, e)),
        4 => (any::<usize>(), element(), any::<bool>()).prop_map(|(at, e, after)| Step::Insert(at, e, after)),
        1 => (any::<usize>(), 0usize..4, any::<bool>()).prop_map(|(at, n, r)| Step::Remove(at, n, r)),
        1 => (0usize..40, 0usize..12).prop_map(|(at, n)| Step::RemoveRange(at, n)),
        1 => prop_oneof![Just(50usize), Just(1200), Just(0)].prop_map(Step::Threshold),
    ]
}

fn apply(step: Step, list: &mut Quicklist, model: &mut Vec<Vec<u8>>) {
    match step {
        Step::PushBack(e) => {
            list.push_back(&e);
            model.push(e);
        }
        Step::PushFront(e) => {
            list.push_front(&e);
            model.insert(0, e);
        }
        Step::PopBack => assert_eq!(list.pop_back(|item| item.to_vec()), model.pop()),
        Step::PopFront => {
            let expected = (!model.is_empty()).then(|| model.remove(0));
            assert_eq!(list.pop_front(|item| item.to_vec()), expected);
        }
        Step::Set(index, e) => {
            let len = model.len() as i64;
            let there = index >= -len && index < len;
            assert_eq!(list.set(index, &e), there);
            if there {
                model[index.rem_euclid(len) as usize] = e;
            }
        }
        Step::Insert(at, e, after) => {
            let pivot = if model.is_empty() {
                b"none".to_vec()
            } else {
                model[at % model.len()].clone()
            };
            let found = model.iter().position(|element| *element == pivot);
            assert_eq!(list.insert(&pivot, &e, after), found.is_some());
            if let Some(found) = found {
                model.insert(found + usize::from(after), e);
            }
        }
        Step::Remove(at, limit, reverse) => {
            let what = if model.is_empty() {
                b"none".to_vec()
            } else {
                model[at % model.len()].clone()
            };
            let mut places: Vec<_> = (0..model.len()).filter(|&at| model[at] == what).collect();
            if reverse {
                places.reverse();
            }
            if limit > 0 {
                places.truncate(limit);
            }
            assert_eq!(list.remove(&what, limit, reverse), places.len());
            places.sort_unstable();
            for at in places.into_iter().rev() {
                model.remove(at);
            }
        }
        Step::RemoveRange(from, count) => {
            list.remove_range(from, count);
            let from = from.min(model.len());
            model.drain(from..(from + count).min(model.len()));
        }
        Step::Threshold(bytes) => list.set_packed_threshold(bytes),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn is_a_vector(
        fill in prop_oneof![Just(0), Just(1), Just(2), Just(5), Just(1000), Just(-1), Just(-2)],
        depth in 0usize..4,
        steps in vec(step(), 1..120),
        from in 0usize..50,
        count in 0usize..50,
    ) {
        let mut list = Quicklist::with_options(fill, depth);
        let mut model = Vec::new();
        for step in steps {
            apply(step, &mut list, &mut model);
            check(&list);
            prop_assert_eq!(list.len(), model.len());
        }
        prop_assert_eq!(&elements(&list), &model);
        prop_assert_eq!(&elements(&list.clone()), &model);
        for (index, element) in model.iter().enumerate() {
            prop_assert!(list.get(index as i64, |item| item.is(element)).unwrap());
            let from_end = index as i64 - model.len() as i64;
            prop_assert!(list.get(from_end, |item| item.is(element)).unwrap());
        }
        let mut seen = Vec::new();
        list.range(from, count, false, |item| seen.push(item.to_vec()));
        let forward: Vec<_> = model.iter().skip(from).take(count).cloned().collect();
        prop_assert_eq!(&seen, &forward);
        seen.clear();
        list.range(from, count, true, |item| seen.push(item.to_vec()));
        let mut backward: Vec<_> = Vec::new();
        if from < model.len() {
            backward = model[..=from].iter().rev().take(count).cloned().collect();
        }
        prop_assert_eq!(&seen, &backward);
    }
}
