//! Strings as rows of bits: counting, searching, combining, and integers of any width at any place.
//!
//! In: bytes, and positions in bits. Bit 0 is the most significant bit of the first byte, so that bits read from left
//! to right as the bytes do. Out: counts, positions, new strings. What lies behind the end of a string reads as zero.
//!
//! The kernels are plain loops over words or blocks without early exits, which the compiler turns into vector code;
//! where the processor has wider vectors than the platform promises, the same loops compiled for those are called. Each
//! kernel is tested against a naive one that goes bit by bit. Mirrors the low-level half of Redis's bitops.c.

#![allow(unsafe_code)]

/// From this length on a call into the wide kernels is worth the look at the processor's features.
const WIDE_LEN: usize = 256;
/// Bytes that [`combine`] works on at a time: small enough that block and scratch stay in the first-level cache while
/// all sources pass over them.
const BLOCK: usize = 4096;
/// Bytes that [`find`] decides on at a time.
const STRIDE: usize = 64;

/// Returns what the loop gives, as it is compiled for wide vectors where the processor has them.
macro_rules! widest {
    ($len:expr, $wide:ident, $plain:ident, ($($arg:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        if $len >= WIDE_LEN && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
            // SAFETY: the processor has the features that the function is compiled for.
            return unsafe { $wide($($arg),*) };
        }
        $plain($($arg),*)
    }};
}

// ---- counting ----------------------------------------------------------------------------------------------------

/// Number of set bits. O(n).
///
/// ```
/// assert_eq!(gyre::structures::bits::count_ones(b"\x01\xff"), 9);
/// ```
pub fn count_ones(bytes: &[u8]) -> u64 {
    widest!(bytes.len(), count_ones_wide, count_ones_plain, (bytes))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn count_ones_wide(bytes: &[u8]) -> u64 {
    count_ones_plain(bytes)
}

#[inline(always)]
fn count_ones_plain(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let count = |word: &[u8; 8]| u64::from(u64::from_ne_bytes(*word).count_ones());
    let of_words: u64 = words.iter().map(count).sum();
    let of_rest: u64 = rest.iter().map(|byte| u64::from(byte.count_ones())).sum();
    of_words + of_rest
}

/// The bits of a byte from number `bit` (0 to 7, from the left) on.
fn from_bit(bit: usize) -> u8 {
    0xff >> (bit & 7)
}

/// The bits of a byte up to number `bit`, included.
fn to_bit(bit: usize) -> u8 {
    0xff << (7 - (bit & 7))
}

/// The bytes of a row of bits, its ends apart: of these only some bits count.
struct Parts<'a> {
    /// The first byte and which bits of it.
    head: (u8, u8),
    middle: &'a [u8],
    /// The last byte and which bits of it, if it is not the first.
    tail: Option<(u8, u8)>,
}

impl Parts<'_> {
    /// The bits from `first` to `last`, both included, if they lie within the string in this order.
    fn of(bytes: &[u8], first: usize, last: usize) -> Option<Parts<'_>> {
        if first > last {
            return None;
        }
        match bytes.get(first / 8..=last / 8)? {
            [] => None,
            [only] => Some(Parts {
                head: (*only, from_bit(first) & to_bit(last)),
                middle: &[],
                tail: None,
            }),
            [head, middle @ .., tail] => Some(Parts {
                head: (*head, from_bit(first)),
                middle,
                tail: Some((*tail, to_bit(last))),
            }),
        }
    }
}

/// Number of set bits among those from `first` to `last`, both included; 0 if these do not lie within the string in
/// this order. O(n).
pub fn count_ones_between(bytes: &[u8], first: usize, last: usize) -> u64 {
    let Some(parts) = Parts::of(bytes, first, last) else {
        return 0;
    };
    let ones = |(byte, mask): (u8, u8)| u64::from((byte & mask).count_ones());
    ones(parts.head) + count_ones(parts.middle) + parts.tail.map_or(0, ones)
}

// ---- searching ---------------------------------------------------------------------------------------------------

/// Position of the first bit that is set (`bit` true) or clear. O(n).
pub fn find(bytes: &[u8], bit: bool) -> Option<usize> {
    let byte = find_byte(bytes, bit)?;
    Some(byte * 8 + find_in((bytes[byte], 0xff), bit)?)
}

/// The first byte that has such a bit.
fn find_byte(bytes: &[u8], bit: bool) -> Option<usize> {
    widest!(bytes.len(), find_byte_wide, find_byte_plain, (bytes, bit))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn find_byte_wide(bytes: &[u8], bit: bool) -> Option<usize> {
    find_byte_plain(bytes, bit)
}

/// Whole strides are judged without an early exit, for the sake of vectors.
#[inline(always)]
fn find_byte_plain(bytes: &[u8], bit: bool) -> Option<usize> {
    let without = if bit { 0 } else { 0xff };
    let (strides, _) = bytes.as_chunks::<STRIDE>();
    let is_without =
        |stride: &&[u8; STRIDE]| stride.iter().fold(0, |seen, byte| seen | (byte ^ without)) == 0;
    let start = strides.iter().take_while(is_without).count() * STRIDE;
    let rest = &bytes[start..];
    rest.iter()
        .position(|byte| *byte != without)
        .map(|at| start + at)
}

/// The first bit of a byte that is set or clear, among those of `mask`.
fn find_in((byte, mask): (u8, u8), bit: bool) -> Option<usize> {
    let wanted = if bit { byte & mask } else { !byte & mask };
    (wanted != 0).then_some(wanted.leading_zeros() as usize)
}

/// The position that [`find`] gives, among the bits from `first` to `last`, both included; none if these do not lie within
/// the string in this order. The position counts from the beginning of the string.
pub fn find_between(bytes: &[u8], bit: bool, first: usize, last: usize) -> Option<usize> {
    let parts = Parts::of(bytes, first, last)?;
    let byte = first / 8;
    if let Some(at) = find_in(parts.head, bit) {
        return Some(byte * 8 + at);
    }
    if let Some(at) = find(parts.middle, bit) {
        return Some((byte + 1) * 8 + at);
    }
    find_in(parts.tail?, bit).map(|at| (byte + 1 + parts.middle.len()) * 8 + at)
}

// ---- combining ---------------------------------------------------------------------------------------------------

/// How [`combine`] makes one row of bits from several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Set in all.
    And,
    /// Set in any.
    Or,
    /// Set in an odd number.
    Xor,
    /// Not set in the first.
    Not,
    /// Set in the first and in none of the others.
    Diff,
    /// Set in any of the others but not in the first.
    Diff1,
    /// Set in the first and in any of the others.
    AndOr,
    /// Set in exactly one.
    One,
}

/// Combines strings bit by bit into one as long as the longest; the shorter ones go on with zeros. O(n) in the lengths
/// of all.
///
/// ```
/// use gyre::structures::bits::{Operation, combine};
/// assert_eq!(combine(Operation::And, &[b"\xff\x0f", b"\x3c"]), b"\x3c\x00");
/// ```
pub fn combine(operation: Operation, sources: &[&[u8]]) -> Vec<u8> {
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    widest!(len, combine_wide, combine_plain, (operation, sources, len))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn combine_wide(operation: Operation, sources: &[&[u8]], len: usize) -> Vec<u8> {
    combine_plain(operation, sources, len)
}

#[inline(always)]
fn combine_plain(operation: Operation, sources: &[&[u8]], len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    let mut scratch = [0; BLOCK];
    let Some((first, others)) = sources.split_first() else {
        return out;
    };
    while out.len() < len {
        let start = out.len();
        let end = len.min(start + BLOCK);
        out.extend_from_slice(part(first, start, end));
        out.resize(end, 0);
        let parts = others.iter().map(|source| part(source, start, end));
        let (block, scratch) = (&mut out[start..], &mut scratch[..end - start]);
        combine_block(operation, block, parts, scratch);
    }
    out
}

/// What a source has between two positions.
#[inline(always)]
fn part(source: &[u8], start: usize, end: usize) -> &[u8] {
    &source[start.min(source.len())..end.min(source.len())]
}

/// One block, which holds the first source and gets the result. `parts` are the others; they may be shorter.
#[inline(always)]
fn combine_block<'a>(
    operation: Operation,
    block: &mut [u8],
    parts: impl Iterator<Item = &'a [u8]>,
    scratch: &mut [u8],
) {
    match operation {
        Operation::Not => block.iter_mut().for_each(|to| *to = !*to),
        Operation::And => {
            for part in parts {
                each(block, part, |to, from| *to &= from);
                block[part.len()..].fill(0);
            }
        }
        Operation::Or => parts.for_each(|part| each(block, part, |to, from| *to |= from)),
        Operation::Xor => parts.for_each(|part| each(block, part, |to, from| *to ^= from)),
        Operation::Diff => parts.for_each(|part| each(block, part, |to, from| *to &= !from)),
        Operation::Diff1 | Operation::AndOr => {
            scratch.fill(0);
            parts.for_each(|part| each(scratch, part, |to, from| *to |= from));
            if operation == Operation::AndOr {
                each(block, scratch, |to, from| *to &= from);
            } else {
                each(block, scratch, |to, from| *to = from & !*to);
            }
        }
        Operation::One => {
            // The block becomes the parity, the scratch what was seen twice or more.
            scratch.fill(0);
            for part in parts {
                let both = block.iter_mut().zip(scratch.iter_mut()).zip(part);
                for ((once, twice), from) in both {
                    *twice |= *once & from;
                    *once ^= from;
                }
            }
            each(block, scratch, |to, from| *to &= !from);
        }
    }
}

/// Does this to each byte for which there is one in `part`.
#[inline(always)]
fn each(block: &mut [u8], part: &[u8], change: impl Fn(&mut u8, u8)) {
    block
        .iter_mut()
        .zip(part)
        .for_each(|(to, from)| change(to, *from));
}

// ---- integers ----------------------------------------------------------------------------------------------------

/// Bytes that an integer of 64 bits at any bit touches.
const FIELD_BYTES: usize = 9;

/// The integer of `width` bits (1 to 64) from bit `offset` on, its most significant bit first. O(1).
pub fn field(bytes: &[u8], offset: usize, width: u32) -> u64 {
    let start = (offset / 8).min(bytes.len());
    let end = bytes.len().min(start + FIELD_BYTES);
    let mut window = [0; 16];
    window[..end - start].copy_from_slice(&bytes[start..end]);
    let shift = 128 - (offset & 7) as u32 - width;
    (u128::from_be_bytes(window) >> shift) as u64 & mask(width)
}

/// Writes such an integer: the low `width` bits of `value`. Bits beyond the end of the string are not written. O(1).
pub fn set_field(bytes: &mut [u8], offset: usize, width: u32, value: u64) {
    let start = (offset / 8).min(bytes.len());
    let end = bytes.len().min(start + FIELD_BYTES);
    let mut window = [0; 16];
    window[..end - start].copy_from_slice(&bytes[start..end]);
    let shift = 128 - (offset & 7) as u32 - width;
    let keep = u128::from_be_bytes(window) & !(u128::from(mask(width)) << shift);
    let new = keep | u128::from(value & mask(width)) << shift;
    bytes[start..end].copy_from_slice(&new.to_be_bytes()[..end - start]);
}

/// The low `width` bits.
fn mask(width: u32) -> u64 {
    u64::MAX >> (64 - width)
}

/// [`field`] with its sign: the most significant bit counts negatively.
pub fn signed_field(bytes: &[u8], offset: usize, width: u32) -> i64 {
    signed(field(bytes, offset, width), width)
}

/// The low `width` bits of a number as a signed one.
pub fn signed(value: u64, width: u32) -> i64 {
    (value << (64 - width)) as i64 >> (64 - width)
}

#[cfg(test)]
#[path = "bits_tests.rs"]
mod tests;
