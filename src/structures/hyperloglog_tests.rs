//! Tests of HyperLogLog against registers in a plain array.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// The registers that these elements lead to.
fn naive(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut registers = vec![0; REGISTERS];
    for element in elements {
        let (index, value) = place(element);
        registers[index] = value.max(registers[index]);
    }
    registers
}

fn registers_of(bytes: &[u8]) -> Vec<u8> {
    let mut registers = Registers::default();
    registers.merge(bytes).expect("it is whole");
    registers.values().to_vec()
}

fn numbered(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers
        .map(|number| format!("element-{number}").into_bytes())
        .collect()
}

fn with(elements: &[Vec<u8>], sparse_max: usize) -> Vec<u8> {
    let mut bytes = empty();
    let (_, result) = add(&mut bytes, elements.iter().map(Vec::as_slice), sparse_max);
    result.expect("it is whole");
    bytes
}

#[test]
fn the_hash_is_murmur_with_redis_seed() {
    // Registers of these elements as PFDEBUG GETREG of Redis 7.0 shows them.
    assert_eq!(encoding(&empty()), Some(Encoding::Sparse));
    assert_eq!(empty()[16..], [0x7f, 0xff]);
    let [mut a, mut b] = [empty(), empty()];
    assert_eq!(
        add(&mut a, [b"a".as_slice()].into_iter(), 3000),
        (1, Ok(()))
    );
    assert_eq!(add(&mut b, [b"a".as_slice(), b"a"].into_iter(), 3000).0, 1);
    assert_eq!(a, b);
    assert_eq!(cached_count(&a), None);
    assert_eq!(count(&a), Ok(1));
}

/// `hll-sparse-max-bytes` may be as large as one likes; a string could once be made to grow beyond its limit.
#[test]
fn what_is_longer_than_all_registers_does_not_grow() {
    let mut bytes = empty();
    bytes.resize(SPARSE_LEN_MAX, 0);
    let before = bytes.clone();
    let added = add(&mut bytes, [b"a".as_slice()].into_iter(), usize::MAX);
    assert_eq!(added, (0, Err(Corrupt)));
    assert_eq!(bytes, before);
}

#[test]
fn sparse_and_dense_hold_the_same() {
    let elements = numbered(0..5000);
    let expected = naive(&elements);
    let (sparse, dense) = (with(&elements, usize::MAX), with(&elements, 0));
    assert_eq!(encoding(&sparse), Some(Encoding::Sparse));
    assert_eq!(encoding(&dense), Some(Encoding::Dense));
    assert_eq!(registers_of(&sparse), expected);
    assert_eq!(registers_of(&dense), expected);
    assert_eq!(
        to_dense(&sparse).map(|bytes| bytes[16..].to_vec()),
        Ok(dense[16..].to_vec())
    );
    assert_eq!(count(&sparse), count(&dense));
    let estimate = count(&dense).unwrap();
    assert!((4900..5100).contains(&estimate), "{estimate}");
}

#[test]
fn a_register_above_32_makes_it_dense() {
    let mut bytes = with(&numbered(0..10), 3000);
    assert_eq!(sparse_raise(&mut bytes, 7, 33, 3000), Ok(true));
    assert_eq!(encoding(&bytes), Some(Encoding::Dense));
    assert_eq!(registers_of(&bytes)[7], 33);
}

#[test]
fn the_length_stays_within_the_limit() {
    let mut bytes = empty();
    for element in numbered(0..2000) {
        let before = bytes.len();
        let (_, result) = add(&mut bytes, [element.as_slice()].into_iter(), 500);
        assert_eq!(result, Ok(()));
        match encoding(&bytes) {
            Some(Encoding::Sparse) => assert!(bytes.len() <= 500 && bytes.len() <= before + 3),
            _ => assert_eq!(bytes.len(), DENSE_LEN),
        }
    }
    assert_eq!(bytes.len(), DENSE_LEN);
}

#[test]
fn estimates_are_close() {
    let mut bytes = empty();
    let mut added = 0;
    for total in [10u32, 100, 1000, 10_000, 100_000] {
        let elements = numbered(added..total);
        add(&mut bytes, elements.iter().map(Vec::as_slice), 3000)
            .1
            .unwrap();
        added = total;
        let estimate = count(&bytes).unwrap() as f64;
        let error = (estimate - f64::from(total)).abs() / f64::from(total);
        // Six times the standard error.
        assert!(error < 6.0 * 1.04 / 128.0, "{total}: {estimate}");
    }
}

#[test]
fn registers_that_no_hash_leads_to_are_estimated_without_end() {
    let mut bytes = to_dense(&empty()).unwrap();
    bytes[16..].fill(0xff);
    assert_eq!(count(&bytes), Ok(1 << 63));
}

#[test]
fn merging_is_adding() {
    let (left, right) = (numbered(0..900), numbered(600..1500));
    let both = numbered(0..1500);
    for sparse_max in [0, 1000, usize::MAX] {
        let mut registers = Registers::default();
        registers.merge(&with(&left, sparse_max)).unwrap();
        registers.merge(&with(&right, usize::MAX)).unwrap();
        assert_eq!(registers.values(), naive(&both));
        assert_eq!(registers.count(), count(&with(&both, 0)).unwrap());
        for dense in [false, true] {
            let mut target = with(&left, usize::MAX);
            registers.store(&mut target, dense, usize::MAX).unwrap();
            assert_eq!(registers_of(&target), naive(&both));
            assert_eq!(encoding(&target) == Some(Encoding::Dense), dense);
        }
    }
}

fn any_run() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

proptest! {
    #[test]
    fn raising_agrees_with_an_array(
        raises in vec((prop_oneof![0usize..200, 0usize..REGISTERS], 1u8..=34), 0..200),
        sparse_max in prop_oneof![Just(usize::MAX), 16usize..300],
    ) {
        let mut naive = vec![0u8; REGISTERS];
        let mut bytes = empty();
        for (index, value) in raises {
            let was_less = naive[index] < value;
            naive[index] = value.max(naive[index]);
            let got = match encoding(&bytes) {
                Some(Encoding::Dense) => Ok(dense_raise(&mut bytes[HEADER_LEN..], index, value)),
                _ => sparse_raise(&mut bytes, index, value, sparse_max),
            };
            prop_assert_eq!(got, Ok(was_less));
        }
        prop_assert_eq!(registers_of(&bytes), naive);
    }

    #[test]
    fn runs_are_found_as_one_by_one(opcodes in vec(any::<u8>(), 0..80), index in 0usize..3000) {
        let mut bytes = empty();
        bytes.truncate(HEADER_LEN);
        bytes.extend_from_slice(&opcodes);
        let mut first = 0;
        let naive = runs(&bytes).find(|run| {
            first += run.len;
            index < first
        });
        match find(&bytes, index) {
            Ok(found) => {
                prop_assert_eq!(Some(found.run), naive);
                prop_assert_eq!(found.first, first - found.run.len);
            }
            Err(Corrupt) => prop_assert_eq!(naive, None),
        }
    }

    #[test]
    fn packing_loses_nothing(eight in proptest::array::uniform8(0u8..64)) {
        let packed = pack(&eight);
        prop_assert_eq!(unpack(&packed), eight);
        for (index, register) in eight.iter().enumerate() {
            prop_assert_eq!(dense_get(&packed, index), *register);
        }
    }

    #[test]
    fn nothing_panics_on_what_is_no_hyperloglog(opcodes in any_run(), dense in any::<bool>(), cut in 0usize..20) {
        let mut bytes = empty();
        bytes.truncate(cut.min(HEADER_LEN));
        bytes.extend_from_slice(&opcodes);
        if dense && bytes.len() > ENCODING_AT {
            bytes[ENCODING_AT] = 0;
        }
        let _ = count(&bytes);
        let _ = to_dense(&bytes);
        let _ = Registers::default().merge(&bytes);
        runs(&bytes).count();
        if encoding(&bytes).is_some() {
            let elements = numbered(0..50);
            let _ = add(&mut bytes, elements.iter().map(Vec::as_slice), 3000);
        }
    }
}
