//! Tests of the kernels on bits, each against one that goes bit by bit.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

const OPERATIONS: [Operation; 8] = [
    Operation::And,
    Operation::Or,
    Operation::Xor,
    Operation::Not,
    Operation::Diff,
    Operation::Diff1,
    Operation::AndOr,
    Operation::One,
];

fn bit(bytes: &[u8], at: usize) -> bool {
    bytes
        .get(at / 8)
        .is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0)
}

/// What an operation makes of the same bit of every source.
fn naive_bit(operation: Operation, bits: &[bool]) -> bool {
    let (first, others) = (bits[0], &bits[1..]);
    let any = others.contains(&true);
    match operation {
        Operation::And => !bits.contains(&false),
        Operation::Or => bits.contains(&true),
        Operation::Xor => bits.iter().filter(|bit| **bit).count() % 2 == 1,
        Operation::Not => !first,
        Operation::Diff => first && !any,
        Operation::Diff1 => !first && any,
        Operation::AndOr => first && any,
        Operation::One => bits.iter().filter(|bit| **bit).count() == 1,
    }
}

fn naive_combine(operation: Operation, sources: &[Vec<u8>]) -> Vec<u8> {
    let len = sources.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = vec![0u8; len];
    for at in 0..len * 8 {
        let bits: Vec<bool> = sources.iter().map(|source| bit(source, at)).collect();
        if naive_bit(operation, &bits) {
            out[at / 8] |= 0x80 >> (at % 8);
        }
    }
    out
}

/// Strings whose lengths lie around what the kernels take at a time, with long runs of equal bytes.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let runs = vec(
        (prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0usize..90),
        0..8,
    );
    let runs = runs.prop_map(|runs| {
        let run = |(byte, len): (u8, usize)| std::iter::repeat_n(byte, len);
        runs.into_iter().flat_map(run).collect()
    });
    prop_oneof![vec(any::<u8>(), 0..80), vec(any::<u8>(), 250..600), runs]
}

proptest! {
    #[test]
    fn counting_and_searching_agree_with_the_naive_ones(
        bytes in any_bytes(),
        ends in (0usize..5000, 0usize..5000),
    ) {
        let all: Vec<bool> = (0..bytes.len() * 8).map(|at| bit(&bytes, at)).collect();
        let ones = |bits: &[bool]| bits.iter().filter(|bit| **bit).count() as u64;
        prop_assert_eq!(count_ones(&bytes), ones(&all));
        for wanted in [false, true] {
            prop_assert_eq!(find(&bytes, wanted), all.iter().position(|bit| *bit == wanted));
        }
        if !all.is_empty() {
            let (first, last) = (ends.0 % all.len(), ends.1 % all.len());
            let range = all.get(first..=last).unwrap_or_default();
            prop_assert_eq!(count_ones_between(&bytes, first, last), ones(range));
            for wanted in [false, true] {
                let naive = range.iter().position(|bit| *bit == wanted).map(|at| first + at);
                prop_assert_eq!(find_between(&bytes, wanted, first, last), naive);
            }
        }
    }

    #[test]
    fn combining_agrees_with_the_naive_one(sources in vec(any_bytes(), 1..5)) {
        let slices: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
        for operation in OPERATIONS {
            prop_assert_eq!(
                combine(operation, &slices),
                naive_combine(operation, &sources),
                "{:?}", operation
            );
        }
    }

    #[test]
    fn fields_agree_with_the_naive_ones(
        mut bytes in vec(any::<u8>(), 0..24),
        offset in 0usize..200,
        width in 1u32..=64,
        value in any::<u64>(),
    ) {
        let before = bytes.clone();
        let naive = (offset..offset + width as usize)
            .fold(0u64, |sum, at| sum << 1 | u64::from(bit(&before, at)));
        prop_assert_eq!(field(&bytes, offset, width), naive);
        let highest = 1i128 << (width - 1);
        let with_sign = i128::from(naive) - if i128::from(naive) >= highest { highest * 2 } else { 0 };
        prop_assert_eq!(i128::from(signed_field(&bytes, offset, width)), with_sign);

        set_field(&mut bytes, offset, width, value);
        for at in 0..before.len() * 8 {
            let expected = match at.checked_sub(offset) {
                Some(index) if index < width as usize => value >> (width as usize - 1 - index) & 1 == 1,
                _ => bit(&before, at),
            };
            prop_assert_eq!(bit(&bytes, at), expected, "bit {}", at);
        }
    }
}

#[test]
fn strings_of_several_blocks() {
    let long: Vec<u8> = (0..3 * BLOCK + 77).map(|at| (at * 7 % 251) as u8).collect();
    let other: Vec<u8> = (0..BLOCK + 5).map(|at| (at * 13 % 241) as u8).collect();
    for operation in OPERATIONS {
        for sources in [[long.clone(), other.clone()], [other.clone(), long.clone()]] {
            let slices: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
            assert_eq!(
                combine(operation, &slices),
                naive_combine(operation, &sources),
                "{operation:?}"
            );
        }
    }
    assert_eq!(combine(Operation::Or, &[]), b"");
    assert_eq!(count_ones_between(b"ab", 9, 8), 0);
    assert_eq!(count_ones_between(b"ab", 0, 16), 0, "not within the string");
}
