//! LZF: the compression of RDB strings and of the inner nodes of lists; the format of lzf_c.c and lzf_d.c.
//!
//! A stream is a row of pieces, each told by its first byte:
//!
//! | first byte | what follows |
//! | --- | --- |
//! | `000lllll` | `lllll + 1` bytes to take as they are |
//! | `lllooooo` | one byte, the low part of the offset: `lll + 2` bytes to repeat, from `offset + 1` bytes back |
//! | `111ooooo` | two bytes, further length and the low part of the offset: the same with `7 + further + 2` bytes |
//!
//! A repetition may reach into what it is itself writing. The stream does not say how long the result is.

/// Longest run of bytes taken as they are.
const LITERALS_MAX: usize = 32;
/// Farthest that a repetition reaches back.
const DISTANCE_MAX: usize = 1 << 13;
/// Longest repetition.
const REPEAT_MAX: usize = 7 + 255 + 2;
/// Shortest repetition that is looked for: what is hashed.
const REPEAT_MIN: usize = 3;
/// Size of the largest table of places, as a power of two.
const TABLE_BITS_MAX: u32 = 13;

/// Compresses, unless the result would be longer than `limit` bytes. O(n).
pub fn compress(input: &[u8], limit: usize) -> Option<Vec<u8>> {
    // Most strings of a snapshot are small: clearing the largest table for each would cost more than all the rest.
    match input.len() {
        0..=128 => compress_with(input, limit, &mut [0; 1 << 7]),
        129..=1024 => compress_with(input, limit, &mut [0; 1 << 10]),
        _ => compress_with(input, limit, &mut [0; 1 << TABLE_BITS_MAX]),
    }
}

/// `table` has a place by the hash of its three bytes, one more than it is so that zero is none.
fn compress_with<const SIZE: usize>(
    input: &[u8],
    limit: usize,
    table: &mut [u32; SIZE],
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(limit.min(input.len()));
    let shift = 32 - const { SIZE.ilog2() };
    let slot = |at: usize| {
        let three = u32::from_le_bytes([input[at], input[at + 1], input[at + 2], 0]);
        (three.wrapping_mul(0x9E37_79B1) >> shift) as usize
    };
    let mut at = 0;
    let mut literals = 0;
    // Positions beyond what the table can hold are left as they are.
    let hashable = input.len().min(u32::MAX as usize);
    while at + REPEAT_MIN <= hashable {
        let place = &mut table[slot(at)];
        let before = *place as usize;
        *place = at as u32 + 1;
        let len = match before.checked_sub(1) {
            Some(before) if at - before <= DISTANCE_MAX => common(&input[before..], &input[at..]),
            _ => 0,
        };
        if len < REPEAT_MIN {
            at += 1;
            continue;
        }
        put_literals(&mut out, &input[literals..at]);
        put_repetition(&mut out, at - before, len);
        if out.len() > limit {
            return None;
        }
        // The last places of what is skipped are the likeliest to be met again.
        for skipped in (at + 1..at + len).rev().take(2) {
            if skipped + REPEAT_MIN <= hashable {
                table[slot(skipped)] = skipped as u32 + 1;
            }
        }
        at += len;
        literals = at;
    }
    put_literals(&mut out, &input[literals..]);
    (out.len() <= limit).then_some(out)
}

/// How many bytes two places share at their front, as far as one repetition goes.
fn common(before: &[u8], here: &[u8]) -> usize {
    let here = &here[..here.len().min(REPEAT_MAX)];
    // Eight at a time: values that repeat themselves are what there is to compress.
    let (before_words, _) = before.as_chunks::<8>();
    let (words, _) = here.as_chunks::<8>();
    let differ =
        |(one, other): (&[u8; 8], &[u8; 8])| u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
    let mut pairs = before_words.iter().zip(words);
    let words_shared = pairs.clone().take_while(|pair| differ(*pair) == 0).count();
    if let Some(pair) = pairs.nth(words_shared) {
        return words_shared * 8 + differ(pair).trailing_zeros() as usize / 8;
    }
    let from = words_shared * 8;
    let rest = before[from..].iter().zip(&here[from..]);
    from + rest.take_while(|(one, other)| one == other).count()
}

fn put_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn put_repetition(out: &mut Vec<u8>, distance_less_one: usize, len: usize) {
    let offset = distance_less_one;
    let high = (offset >> 8) as u8;
    let len = len - 2;
    if len < 7 {
        out.push((len as u8) << 5 | high);
    } else {
        out.push(7 << 5 | high);
        out.push((len - 7) as u8);
    }
    out.push(offset as u8);
}

/// Decompresses what becomes exactly `len` bytes; none if it does not. O(len), and no more memory than the input can
/// stand for.
pub fn decompress(input: &[u8], len: usize) -> Option<Vec<u8>> {
    // Three bytes give 264 at the most.
    if len > input.len().saturating_mul(REPEAT_MAX / 3) {
        return None;
    }
    let mut out: Vec<u8> = Vec::with_capacity(len);
    let mut rest = input;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if usize::from(first) < LITERALS_MAX {
            let (literals, behind) = rest.split_at_checked(usize::from(first) + 1)?;
            rest = behind;
            if literals.len() > len - out.len() {
                return None;
            }
            out.extend_from_slice(literals);
            continue;
        }
        let mut repeat = usize::from(first >> 5);
        if repeat == 7 {
            let (&further, behind) = rest.split_first()?;
            repeat += usize::from(further);
            rest = behind;
        }
        repeat += 2;
        let (&low, behind) = rest.split_first()?;
        rest = behind;
        let distance = (usize::from(first & 0x1F) << 8 | usize::from(low)) + 1;
        let from = out.len().checked_sub(distance)?;
        if repeat > len - out.len() {
            return None;
        }
        if distance >= repeat {
            out.extend_from_within(from..from + repeat);
        } else {
            for at in from..from + repeat {
                out.push(out[at]);
            }
        }
    }
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn pieces_are_what_the_format_says() {
        // Three as they are, then nine from three back, which reach into themselves.
        assert_eq!(
            decompress(b"\x02abc\xE0\x00\x02", 12).unwrap(),
            b"abcabcabcabc"
        );
        assert_eq!(decompress(b"\x00x\x20\x00", 4).unwrap(), b"xxxx");
        assert_eq!(
            compress(b"abcabcabcabc", 9).unwrap(),
            b"\x02abc\xE0\x00\x02"
        );
        assert_eq!(decompress(b"", 0).unwrap(), b"");
        assert_eq!(compress(b"", 0).unwrap(), b"");
    }

    #[test]
    fn what_is_broken_is_refused() {
        for (input, len) in [
            (&b"\x02ab"[..], 3),      // literals cut off
            (b"\x00x\x20", 4),        // offset cut off
            (b"\x00x\xE0\x00", 10),   // the same, long
            (b"\x00x\x20\x01", 4),    // from before the beginning
            (b"\x02abc", 2),          // longer than said
            (b"\x02abc", 4),          // shorter than said
            (b"\x00x\x20\x00", 3),    // a repetition too long
            (b"\x02abc", usize::MAX), // no allocation for what cannot be
        ] {
            assert_eq!(decompress(input, len), None, "{input:?} {len}");
        }
    }

    #[test]
    fn limits_hold() {
        let noise: Vec<u8> = (0u32..100).map(|n| ((n * n * 37) >> 3) as u8).collect();
        assert!(compress(&noise, 96).is_none());
        assert!(compress(&[7; 10_000], 200).is_some_and(|out| out.len() < 130));
        assert!(compress(&[7; 10_000], 20).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn comes_back(seed in vec(0u8..6, 0..50), chunks in vec((any::<usize>(), 0usize..600, any::<u8>()), 0..40)) {
            let mut input = seed;
            for (from, len, byte) in chunks {
                let from = from % (input.len() + 1);
                let again: Vec<u8> = input[from..].iter().take(len).copied().collect();
                input.push(byte);
                input.extend(again);
            }
            let packed = compress(&input, usize::MAX).unwrap();
            prop_assert!(packed.len() <= input.len() + input.len() / LITERALS_MAX + 1);
            prop_assert_eq!(decompress(&packed, input.len()), Some(input.clone()));
            prop_assert_eq!(decompress(&packed, input.len() + 1), None);
        }

        #[test]
        fn noise_does_no_harm(noise in vec(any::<u8>(), 0..80), len in 0usize..400) {
            if let Some(out) = decompress(&noise, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}
