//! The output buffer against a plain vector.

use super::*;
use proptest::prelude::*;

fn slices(output: &OutputBuffer, n: usize) -> Vec<u8> {
    let mut slices = vec![IoSlice::new(&[]); n];
    let used = output.io_slices(&mut slices);
    slices[..used].iter().flat_map(|s| s.to_vec()).collect()
}

#[test]
fn an_idle_buffer_holds_nothing_and_takes_one_from_a_pool() {
    let mut output = OutputBuffer::new();
    assert_eq!((output.memory_bytes(), output.release()), (0, None));
    output.install(Vec::with_capacity(CHUNK_LEN));
    output.extend(b"abc");
    assert_eq!(output.release(), None, "something waits");
    output.advance(3);
    let buffer = output.release().expect("the buffer");
    assert!(buffer.is_empty() && buffer.capacity() == CHUNK_LEN);
    assert_eq!((output.memory_bytes(), output.total_bytes()), (0, 3));
    assert!(!output.has_buffer());
}

#[test]
fn a_long_reply_is_chunks_and_a_large_value_is_shared() {
    let mut output = OutputBuffer::new();
    for _ in 0..1000 {
        output.extend(&[b'x'; 100]);
    }
    assert!(output.chunks.len() >= 5);
    assert!(output.chunks.iter().all(|c| c.memory() <= CHUNK_LEN));
    let blob: Blob = Arc::new(vec![b'y'; SHARE_LEN]);
    output.extend_blob(&blob);
    assert_eq!(Arc::strong_count(&blob), 2);
    output.extend_blob(&Arc::new(b"z".to_vec()));
    let expected = [&[b'x'; 100_000][..], &blob, b"z"].concat();
    assert_eq!(output.to_vec(), expected);
    assert_eq!(slices(&output, 64), expected);
    assert_eq!(output.len(), expected.len());
    assert!(output.memory_bytes() >= expected.len());
    output.advance(100_001);
    assert!(slices(&output, 1).iter().all(|b| *b == b'y'));
    output.clear();
    assert_eq!(Arc::strong_count(&blob), 1);
    assert_eq!((output.len(), output.memory_bytes()), (0, 0));
    assert_eq!(output.total_bytes(), expected.len() as u64);
}

/// A tail that is written in small bits while it is appended to must not grow for ever.
#[test]
fn a_tail_that_is_never_empty_reuses_its_room() {
    let mut output = OutputBuffer::new();
    output.extend(b"0123456789");
    for _ in 0..10_000 {
        output.extend(b"0123456789");
        output.advance(10);
    }
    assert_eq!(output.to_vec(), b"0123456789");
    assert_eq!(output.memory_bytes(), FIRST_LEN);
}

#[derive(Clone, Debug)]
enum Op {
    Extend(usize),
    Blob(usize),
    Advance(usize),
    Replace(usize, usize),
    Append(usize, usize),
    Release,
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let size = || prop_oneof![0usize..40, 4000usize..4200, 16_000usize..40_000];
    prop_oneof![
        8 => size().prop_map(Op::Extend),
        2 => size().prop_map(Op::Blob),
        6 => (0usize..50_000).prop_map(Op::Advance),
        3 => (0usize..100, 1usize..9).prop_map(|(at, len)| Op::Replace(at, len)),
        1 => (size(), size()).prop_map(|(a, b)| Op::Append(a, b)),
        1 => Just(Op::Release),
        1 => Just(Op::Clear),
    ]
}

proptest! {
    #[test]
    fn behaves_like_a_vector(ops in proptest::collection::vec(op(), 1..60)) {
        let mut output = OutputBuffer::new();
        let mut model: Vec<u8> = Vec::new();
        // Positions (from the beginning of time) of four bytes that may be replaced.
        let mut holes: Vec<u64> = Vec::new();
        let mut gone = 0u64;
        for (step, op) in ops.into_iter().enumerate() {
            let fill = |n: usize| (0..n).map(|i| (i + step) as u8).collect::<Vec<u8>>();
            match op {
                Op::Extend(n) => {
                    holes.push(output.total_bytes());
                    output.extend(b"hole");
                    output.extend(&fill(n));
                    model.extend(b"hole");
                    model.extend(fill(n));
                }
                Op::Blob(n) => {
                    output.extend_blob(&Arc::new(fill(n)));
                    model.extend(fill(n));
                }
                Op::Advance(n) => {
                    let n = n.min(model.len());
                    output.advance(n);
                    model.drain(..n);
                    gone += n as u64;
                    holes.retain(|hole| *hole >= gone);
                }
                Op::Replace(at, len) => {
                    if !holes.is_empty() {
                        let hole = holes.swap_remove(at % holes.len());
                        let new = vec![b'#'; len];
                        output.replace(hole, 4, &new);
                        let at = (hole - gone) as usize;
                        model.splice(at..at + 4, new);
                        for other in holes.iter_mut().filter(|other| **other > hole) {
                            *other = *other + len as u64 - 4;
                        }
                    }
                }
                Op::Append(a, b) => {
                    let mut other = OutputBuffer::new();
                    other.extend(&fill(a));
                    other.push_blob(Arc::new(fill(b)));
                    other.extend(b"end");
                    let sent = 3.min(a);
                    other.advance(sent);
                    output.append(&mut other);
                    prop_assert!(other.is_empty());
                    prop_assert_eq!(other.total_bytes(), (a + b + 3) as u64);
                    model.extend(&fill(a)[sent..]);
                    model.extend(fill(b));
                    model.extend(b"end");
                }
                Op::Release => {
                    if let Some(buffer) = output.release() {
                        prop_assert!(model.is_empty());
                        output.install(buffer);
                    }
                }
                Op::Clear => {
                    output.clear();
                    gone += model.len() as u64;
                    model.clear();
                    holes.clear();
                }
            }
            prop_assert_eq!(output.len(), model.len());
            prop_assert_eq!(output.total_bytes(), gone + model.len() as u64);
            prop_assert!(output.to_vec() == model);
            prop_assert!(slices(&output, 200) == model);
            prop_assert!(model.starts_with(output.front()));
            prop_assert!(output.memory_bytes() >= output.len().saturating_sub(SHARE_LEN));
        }
    }
}

/// The time of a soft limit began some messages before CLIENT LIST showed that much.
#[test]
fn client_list_shows_what_the_limits_count() {
    let mut output = OutputBuffer::new();
    output.extend(b"+OK\r\n");
    assert_eq!(output.figures().3, 0);
    for _ in 0..200 {
        output.extend(&[b'x'; 1000]);
        let shown = output.figures().3;
        assert!(shown == output.memory_bytes() || output.len() <= CHUNK_LEN);
    }
}
