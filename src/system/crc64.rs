//! CRC-64 with the polynomial of Jones, as DUMP payloads and RDB files carry it; mirrors crc64.c and crcspeed.c.
//!
//! In: a running sum and bytes. Out: the new sum. No initial value, no final xor, bits reflected. Eight bytes are
//! taken at once through eight tables (slicing by eight), which are computed while compiling.

/// The polynomial 0xad93d23594c935a9 with its bits reversed.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// `TABLES[0]` advances the sum by one byte; `TABLES[k]` by that byte and `k` zero bytes behind it.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0u64; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 {
                sum >> 1 ^ POLYNOMIAL
            } else {
                sum >> 1
            };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// Continues the sum `crc` (0 to start with) over `bytes`.
pub fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    let mut sum = crc;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0u8; 8];
        word.copy_from_slice(chunk);
        let mixed = (sum ^ u64::from_le_bytes(word)).to_le_bytes();
        sum = 0;
        for (i, &byte) in mixed.iter().enumerate() {
            sum ^= TABLES[7 - i][usize::from(byte)];
        }
    }
    for &byte in chunks.remainder() {
        sum = sum >> 8 ^ TABLES[0][usize::from(sum as u8 ^ byte)];
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        #[test]
        fn agrees_with_the_definition(start: u64, bytes: Vec<u8>) {
            prop_assert_eq!(crc64(start, &bytes), oracle(start, &bytes));
        }

        #[test]
        fn may_be_fed_in_pieces(bytes: Vec<u8>, at in 0usize..100) {
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(crc64(crc64(0, head), tail), crc64(0, &bytes));
        }
    }
}
