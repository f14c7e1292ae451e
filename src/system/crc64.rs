//! CRC-64 with the polynomial of Jones, as DUMP payloads and RDB files carry it; mirrors crc64.c of Redis.
//!
//! In: a running sum and bytes. Out: the new sum. No initial value, no final xor, bits reflected.

use crc_fast::{CrcAlgorithm, Digest};

/// Continues the sum `crc` (0 to start with) over `bytes`.
pub fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc64Redis, crc);
    digest.update(bytes);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The polynomial 0xad93d23594c935a9 with its bits reversed.
    const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

    /// A bit at a time, straight from the definition.
    fn oracle(crc: u64, bytes: &[u8]) -> u64 {
        bytes.iter().fold(crc, |mut sum, &byte| {
            sum ^= u64::from(byte);
            for _ in 0..8 {
                sum = if sum & 1 == 1 {
                    sum >> 1 ^ POLYNOMIAL
                } else {
                    sum >> 1
                };
            }
            sum
        })
    }

    #[test]
    fn the_test_vector_of_redis() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(0, b""), 0);
    }

    proptest! {
        // Long enough for each of the forms in which the crate takes bytes.
        #[test]
        fn agrees_with_the_definition(
            start: u64,
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            prop_assert_eq!(crc64(start, &bytes), oracle(start, &bytes));
        }

        #[test]
        fn may_be_fed_in_pieces(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
            at in 0usize..2000,
        ) {
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(crc64(crc64(0, head), tail), crc64(0, &bytes));
        }
    }
}
