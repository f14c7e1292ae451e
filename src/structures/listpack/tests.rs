//! The listpack against a plain vector, against bytes that Redis wrote, and against bytes that nobody wrote.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn of<T: AsRef<[u8]>>(elements: &[T]) -> Listpack {
    let mut listpack = Listpack::new();
    for element in elements {
        listpack.push_back(element.as_ref());
    }
    listpack
}

fn elements(listpack: &Listpack) -> Vec<Vec<u8>> {
    listpack.iter().map(|item| item.to_vec()).collect()
}

#[test]
fn bytes_are_redis() {
    let listpack = of(&["1", "127", "128", "-1", "-4096", "4096", "01", ""]);
    let expected = [
        &[33, 0, 0, 0, 8, 0][..],
        &[1, 1],
        &[127, 1],
        &[0xC0, 128, 2],
        &[0xDF, 0xFF, 2],
        &[0xD0, 0x00, 2],
        &[0xF1, 0x00, 0x10, 3],
        &[0x82, b'0', b'1', 3],
        &[0x80, 1],
        &[0xFF],
    ]
    .concat();
    let mut expected = expected;
    expected[0] = expected.len() as u8;
    assert_eq!(listpack.as_bytes(), expected);
}

#[test]
fn widths_of_integers_and_strings() {
    for (int, span) in [
        (0i64, 2),
        (127, 2),
        (128, 3),
        (4095, 3),
        (-4096, 3),
        (-4097, 4),
        (32767, 4),
        (-32769, 5),
        (8_388_607, 5),
        (-8_388_609, 6),
        (i64::from(i32::MAX), 6),
        (i64::from(i32::MIN) - 1, 10),
        (i64::MAX, 10),
        (i64::MIN, 10),
    ] {
        let mut listpack = Listpack::new();
        listpack.push_back_int(int);
        assert_eq!(listpack.byte_len(), 7 + span, "{int}");
        let item = listpack.get(listpack.first().unwrap());
        assert_eq!(item.as_int(), Some(int));
        assert_eq!(item.len(), int.to_string().len());
        assert_eq!(of(&[int.to_string()]), listpack);
    }
    for (len, span) in [
        (63, 65),
        (64, 67),
        (125, 128),
        (126, 130),
        (4095, 4099),
        (4096, 4103),
        (16377, 16384),
        (16378, 16386),
        (2_097_145, 2_097_153),
        (2_097_146, 2_097_155),
    ] {
        let listpack = of(&[vec![b'x'; len]]);
        assert_eq!(listpack.byte_len(), 7 + span, "{len}");
        assert!(Listpack::from_bytes(listpack.clone().into_bytes(), true).is_ok());
        assert_eq!(listpack.get(listpack.last().unwrap()).len(), len);
    }
}

#[test]
fn only_canonical_integers_are_integers() {
    for text in ["", "-", "-0", "00", "+1", " 1", "1 ", "9223372036854775808"] {
        let listpack = of(&[text]);
        let item = listpack.get(listpack.first().unwrap());
        assert_eq!(item.as_int(), None, "{text:?}");
        assert!(item.is(text.as_bytes()));
    }
}

#[test]
fn strings_that_should_be_integers_are_found_too() {
    // Another writer may have stored 12 as a string, and 5 as a wide integer.
    let bytes = [
        &[14, 0, 0, 0, 2, 0][..],
        &[0x82, b'1', b'2', 3, 0xC0, 5, 2],
        &[0xFF],
    ]
    .concat();
    let listpack = Listpack::from_bytes(bytes, true).unwrap();
    let first = listpack.first().unwrap();
    assert_eq!(listpack.find(first, b"12", 0), Some(first));
    assert_eq!(listpack.find(first, b"5", 0), listpack.next(first));
    assert_eq!(listpack.find(first, b"6", 0), None);
}

#[test]
fn broken_bytes_are_refused() {
    let good = of(&["a", "17", &"x".repeat(200)]).into_bytes();
    assert!(Listpack::from_bytes(good.clone(), true).is_ok());
    for len in 0..good.len() {
        assert!(Listpack::from_bytes(good[..len].to_vec(), false).is_err());
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Listpack::from_bytes(bytes, true).is_err()
    };
    assert!(with(0, 0), "total");
    assert!(with(4, 2), "count");
    assert!(with(6, 0x82), "a longer string than stands there");
    assert!(with(8, 3), "backward length");
    assert!(with(6, 0xFF), "an end in the middle");
    assert!(with(6, 0xF5), "no such encoding");
    let mut uncounted = good.clone();
    uncounted[4..6].fill(0xFF);
    let uncounted = Listpack::from_bytes(uncounted, true).unwrap();
    assert_eq!(uncounted.len(), 3);
    assert!(uncounted.seek(2).is_some() && uncounted.seek(3).is_none());
    assert!(uncounted.seek(-3).is_some() && uncounted.seek(-4).is_none());
}

#[test]
fn more_than_can_be_counted() {
    let mut listpack = Listpack::new();
    for n in 0..70_000 {
        listpack.push_back_int(n % 100);
    }
    assert_eq!(listpack.len(), 70_000);
    assert_eq!(listpack.as_bytes()[4..6], [0xFF, 0xFF]);
    let at = listpack.seek(69_999).unwrap();
    assert_eq!(listpack.seek(-1), Some(at));
    let tail = listpack.split_off(listpack.seek(60_000).unwrap());
    assert_eq!((listpack.len(), tail.len()), (60_000, 10_000));
    assert_ne!(listpack.as_bytes()[4..6], [0xFF, 0xFF]);
    listpack.append(&tail);
    assert_eq!(listpack.len(), 70_000);
}

#[test]
fn queues_do_not_move_all_and_do_not_grow() {
    let mut listpack = of(&(1000..1100).map(|n| format!("job:{n}")).collect::<Vec<_>>());
    for n in 0..10_000 {
        listpack.push_back(format!("job:{}", 1000 + n % 1000).as_bytes());
        listpack.remove(listpack.first().unwrap());
    }
    assert_eq!(listpack.len(), 100);
    assert!(listpack.memory_bytes() < 2 * listpack.byte_len());
    for n in 0..10_000 {
        listpack.push_front(format!("job:{}", 1000 + n % 1000).as_bytes());
        listpack.remove(listpack.last().unwrap());
    }
    assert_eq!(listpack.len(), 100);
    assert!(listpack.memory_bytes() < 2 * listpack.byte_len());
    let len = listpack.byte_len();
    listpack.shrink_to_fit();
    assert_eq!(
        listpack.memory_bytes(),
        class(len) + crate::structures::bytes::HEAD
    );
    listpack.remove_many(listpack.first().unwrap(), 99);
    assert!(listpack.memory_bytes() <= 128);
}

#[derive(Clone, Debug)]
enum Step {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    PushBackInt(i64),
    InsertBefore(usize, Vec<u8>),
    InsertAfter(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    ReplaceInt(usize, i64),
    Remove(usize),
    RemoveMany(usize, usize),
    RemoveRange(i64, usize),
    RemovePositions(Vec<usize>),
    PopFront,
    PopBack,
    Split(usize),
    AppendSelf,
    Shrink,
    ReserveFront(usize),
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        (-5000i64..5000).prop_map(|n| n.to_string().into_bytes()),
        vec(any::<u8>(), 0..80),
        vec(prop_oneof![Just(b'-'), Just(b'0'), Just(b'7')], 0..5),
        (60usize..400, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        (4090usize..4100).prop_map(|len| vec![b'L'; len]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => element().prop_map(Step::PushBack),
        3 => element().prop_map(Step::PushFront),
        1 => any::<i64>().prop_map(Step::PushBackInt),
        1 => (any::<usize>(), element()).prop_map(|(at, e)| Step::InsertBefore(at, e)),
        1 => (any::<usize>(), element()).prop_map(|(at, e)| Step::InsertAfter(at, e)),
        1 => (any::<usize>(), element()).prop_map(|(at, e)| Step::Replace(at, e)),
        1 => (any::<usize>(), -300i64..300).prop_map(|(at, e)| Step::ReplaceInt(at, e)),
        2 => any::<usize>().prop_map(Step::Remove),
        1 => (any::<usize>(), 0usize..6).prop_map(|(at, n)| Step::RemoveMany(at, n)),
        1 => (-20i64..20, 0usize..4).prop_map(|(at, n)| Step::RemoveRange(at, n)),
        1 => vec(any::<usize>(), 0..5).prop_map(Step::RemovePositions),
        1 => Just(Step::PopFront),
        1 => Just(Step::PopBack),
        1 => any::<usize>().prop_map(Step::Split),
        1 => Just(Step::AppendSelf),
        1 => Just(Step::Shrink),
        1 => (0usize..300).prop_map(Step::ReserveFront),
    ]
}

fn text(int: i64) -> Vec<u8> {
    int.to_string().into_bytes()
}

/// Does one step on both; the position-taking ones are skipped while there is nothing to take.
fn apply(step: Step, listpack: &mut Listpack, model: &mut Vec<Vec<u8>>) {
    let some = |at: usize, model: &Vec<Vec<u8>>| at % model.len();
    let seek = |listpack: &Listpack, at: usize| listpack.seek(at as i64).expect("in range");
    match step {
        Step::PushBack(e) => {
            listpack.push_back(&e);
            model.push(e);
        }
        Step::PushFront(e) => {
            listpack.push_front(&e);
            model.insert(0, e);
        }
        Step::PushBackInt(n) => {
            listpack.push_back_int(n);
            model.push(text(n));
        }
        Step::RemoveRange(index, count) => {
            let from = if index < 0 {
                model.len() as i64 + index
            } else {
                index
            };
            let from = usize::try_from(from).unwrap_or(usize::MAX).min(model.len());
            let to = from.saturating_add(count).min(model.len());
            model.drain(from..to);
            assert_eq!(listpack.remove_range(index, count), to - from);
        }
        Step::AppendSelf if model.len() < 40 => {
            listpack.append(&listpack.clone());
            model.extend(model.clone());
        }
        Step::PopFront => {
            let popped = listpack.pop_front(|item| item.to_vec());
            assert_eq!(popped, (!model.is_empty()).then(|| model.remove(0)));
        }
        Step::PopBack => {
            let popped = listpack.pop_back(|item| item.to_vec());
            listpack.give_back();
            assert_eq!(popped, model.pop());
        }
        Step::Shrink => listpack.shrink_to_fit(),
        Step::ReserveFront(more) => listpack.reserve_front(more),
        _ if model.is_empty() => {}
        Step::InsertBefore(at, e) => {
            let at = some(at, model);
            let stands = listpack.insert_before(seek(listpack, at), &e);
            assert!(listpack.get(stands).is(&e));
            model.insert(at, e);
        }
        Step::InsertAfter(at, e) => {
            let at = some(at, model);
            let stands = listpack.insert_after(seek(listpack, at), &e);
            assert!(listpack.get(stands).is(&e));
            model.insert(at + 1, e);
        }
        Step::Replace(at, e) => {
            let at = some(at, model);
            let stands = listpack.replace(seek(listpack, at), &e);
            assert!(listpack.get(stands).is(&e));
            model[at] = e;
        }
        Step::ReplaceInt(at, n) => {
            let at = some(at, model);
            listpack.replace_int(seek(listpack, at), n);
            model[at] = text(n);
        }
        Step::Remove(at) => {
            let at = some(at, model);
            let next = listpack.remove(seek(listpack, at));
            model.remove(at);
            assert_eq!(
                next.map(|p| listpack.get(p).to_vec()),
                model.get(at).cloned()
            );
        }
        Step::RemoveMany(at, n) => {
            let at = some(at, model);
            let next = listpack.remove_many(seek(listpack, at), n);
            model.drain(at..(at + n).min(model.len()));
            assert_eq!(
                next.map(|p| listpack.get(p).to_vec()),
                model.get(at).cloned()
            );
        }
        Step::RemovePositions(indexes) => {
            let indexes: BTreeSet<_> = indexes.into_iter().map(|at| some(at, model)).collect();
            let positions: Vec<_> = indexes.iter().map(|&at| seek(listpack, at)).collect();
            listpack.remove_positions(&positions);
            for &at in indexes.iter().rev() {
                model.remove(at);
            }
        }
        Step::Split(at) => {
            let at = some(at, model);
            let tail = listpack.split_off(seek(listpack, at));
            assert_eq!(elements(&tail), model.split_off(at));
            tail.check().unwrap();
        }
        Step::AppendSelf => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn is_a_vector(steps in vec(step(), 1..60)) {
        let mut listpack = Listpack::new();
        let mut model = Vec::new();
        for step in steps {
            apply(step, &mut listpack, &mut model);
            prop_assert!(listpack.check().is_ok());
            prop_assert_eq!(listpack.len(), model.len());
            prop_assert_eq!(&elements(&listpack), &model);
            // The same bytes as if it had been written in one go, whatever its past.
            prop_assert!(listpack == of(&model));
        }
        let mut backwards: Vec<_> = listpack.iter().rev().map(|item| item.to_vec()).collect();
        backwards.reverse();
        prop_assert_eq!(&backwards, &model);
        for (index, element) in model.iter().enumerate() {
            let at = listpack.seek(index as i64).unwrap();
            prop_assert!(listpack.get(at).is(element));
            prop_assert_eq!(listpack.get(at).len(), element.len());
            prop_assert_eq!(listpack.seek(index as i64 - model.len() as i64), Some(at));
            let first = listpack.first().unwrap();
            let found = listpack.find(first, element, 0).unwrap();
            prop_assert_eq!(found, listpack.seek(model.iter().position(|e| e == element).unwrap() as i64).unwrap());
            prop_assert_eq!(
                listpack.find(first, element, 1),
                model.iter().step_by(2).position(|e| e == element).and_then(|i| listpack.seek(2 * i as i64))
            );
            prop_assert_eq!(listpack.iter_from(at).count(), model.len() - index);
            prop_assert_eq!(listpack.iter_to(at).count(), index + 1);
        }
        prop_assert_eq!(listpack.seek(model.len() as i64), None);
        prop_assert_eq!(listpack.seek(-1 - model.len() as i64), None);
        prop_assert_eq!(listpack.pairs().count(), model.len() / 2);
    }

    /// Whatever stands in the bytes, nothing panics, and everything ends.
    #[test]
    fn noise_does_no_harm(noise in vec(any::<u8>(), 0..60), count in any::<u16>(), steps in vec(step(), 1..12)) {
        let total = (HEADER + noise.len() + 1) as u32;
        let bytes = [&total.to_le_bytes()[..], &count.to_le_bytes(), &noise, &[END]].concat();
        let mut listpack = Listpack::from_bytes(bytes, false).unwrap();
        for step in steps {
            let _ = (listpack.iter().count(), listpack.iter().rev().count(), listpack.pairs().count());
            let mut positions = Vec::new();
            let mut at = listpack.first();
            while let Some(position) = at {
                positions.push(position);
                let _ = (listpack.get(position).len(), listpack.previous(position), listpack.seek(3), listpack.seek(-2));
                let _ = (listpack.find(position, b"7", 1), listpack.iter_to(position).count());
                at = listpack.next(position);
            }
            if let Some(last) = listpack.last() {
                positions.push(last);
            }
            let Some(&at) = positions.last() else { continue };
            match step {
                Step::PushBack(e) => listpack.push_back(&e),
                Step::PushFront(e) => listpack.push_front(&e),
                Step::InsertBefore(_, e) => drop(listpack.insert_before(at, &e)),
                Step::InsertAfter(_, e) => drop(listpack.insert_after(at, &e)),
                Step::Replace(_, e) => drop(listpack.replace(at, &e)),
                Step::Remove(_) => drop(listpack.remove(at)),
                Step::RemoveMany(_, n) => drop(listpack.remove_many(positions[0], n)),
                Step::RemovePositions(_) => {
                    positions.dedup();
                    if positions.is_sorted() {
                        listpack.remove_positions(&positions);
                    }
                }
                Step::PopFront => drop(listpack.pop_front(|item| item.len())),
                Step::PopBack => drop(listpack.pop_back(|item| item.len())),
                Step::RemoveRange(i, n) => drop(listpack.remove_range(i, n)),
                Step::Split(_) => drop(listpack.split_off(at)),
                Step::AppendSelf => listpack.append(&listpack.clone()),
                _ => listpack.shrink_to_fit(),
            }
        }
    }

    #[test]
    fn deep_checks_let_only_readable_ones_in(noise in vec(any::<u8>(), 0..12), count in 0u16..6) {
        let total = (HEADER + noise.len() + 1) as u32;
        let bytes = [&total.to_le_bytes()[..], &count.to_le_bytes(), &noise, &[END]].concat();
        if let Ok(listpack) = Listpack::from_bytes(bytes, true) {
            prop_assert_eq!(listpack.iter().count(), listpack.len());
            prop_assert_eq!(listpack.iter().rev().count(), listpack.len());
        }
    }
}
