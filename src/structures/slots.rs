//! Hash slots: which of the 16384 slots of a cluster a key is in, and sets of slots.
//!
//! In: keys, slots. Out: slots, ranges. Mirrors `keyHashSlot` of Redis's cluster.c and the bitmaps of its nodes.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// Slots in a cluster.
pub const SLOTS: usize = 16_384;
/// Bytes of a set of them on the wire.
pub const SET_BYTES: usize = SLOTS / 8;

/// The slot of a key: CRC-16 (XMODEM) of its hash tag, modulo [`SLOTS`]. The tag is what stands between the first `{` and the
/// first `}` behind it, if that is not empty; else the whole key.
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(tag(key)) & (SLOTS as u16).wrapping_sub(1)
}

/// The slot of all keys that a glob pattern can match, if they are of one: of a pattern that is no pattern, or whose tag is
/// complete before the first byte with a meaning.
pub fn slot_of_pattern(pattern: &[u8]) -> Option<u16> {
    let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    let Some(plain) = pattern.iter().position(special) else {
        return Some(slot_of(pattern));
    };
    let plain = pattern.get(..plain)?;
    let is_tagged = tag(plain).len() < plain.len();
    is_tagged.then(|| slot_of(plain))
}

/// What of a key decides on its slot.
pub fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    let behind = key.get(open.saturating_add(1)..).unwrap_or_default();
    match memchr::memchr(b'}', behind) {
        None | Some(0) => key,
        Some(len) => behind.get(..len).unwrap_or_default(),
    }
}

/// CRC-16 with the polynomial 0x1021, no initial value, nothing reflected.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum: u16, byte| {
        let [high, low] = sum.to_be_bytes();
        let entry = TABLE.get(usize::from(high ^ byte)).copied();
        u16::from_be_bytes([low, 0]) ^ entry.unwrap_or_default()
    })
}

const TABLE: [u16; 256] = table();

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 0x8000 != 0 {
                sum << 1 ^ 0x1021
            } else {
                sum << 1
            };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
}

/// A set of slots: a bit for each, in the order of the wire (slot 0 is the lowest bit of the first byte).
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet {
    bits: Box<[u8; SET_BYTES]>,
    len: usize,
}

impl Default for SlotSet {
    fn default() -> SlotSet {
        SlotSet {
            bits: Box::new([0; SET_BYTES]),
            len: 0,
        }
    }
}

impl std::fmt::Debug for SlotSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.ranges()).finish()
    }
}

impl SlotSet {
    /// The set that these bytes are on the wire; missing ones are zero.
    pub fn from_bytes(bytes: &[u8]) -> SlotSet {
        let mut set = SlotSet::default();
        for (to, from) in set.bits.iter_mut().zip(bytes) {
            *to = *from;
        }
        let ones = set.words().map(|(_, word)| word.count_ones() as usize);
        set.len = ones.sum();
        set
    }
    /// As on the wire.
    pub fn as_bytes(&self) -> &[u8; SET_BYTES] {
        &self.bits
    }
    /// How many are in it.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Whether a slot is in it.
    #[inline]
    pub fn contains(&self, slot: u16) -> bool {
        let byte = self.bits.get(usize::from(slot >> 3));
        byte.is_some_and(|byte| byte >> (slot & 7) & 1 == 1)
    }
    /// Puts a slot in; whether it is new.
    pub fn insert(&mut self, slot: u16) -> bool {
        self.change(slot, true)
    }
    /// Takes a slot out; whether it was in.
    pub fn remove(&mut self, slot: u16) -> bool {
        self.change(slot, false)
    }
    fn change(&mut self, slot: u16, is_in: bool) -> bool {
        let Some(byte) = self.bits.get_mut(usize::from(slot >> 3)) else {
            return false;
        };
        let bit = 1u8 << (slot & 7);
        if (*byte & bit != 0) == is_in {
            return false;
        }
        *byte ^= bit;
        self.len = if is_in {
            self.len.saturating_add(1)
        } else {
            self.len.saturating_sub(1)
        };
        true
    }
    /// The slots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.words().flat_map(|(first, word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let at = (left != 0).then(|| left.trailing_zeros() as u16)?;
                left &= left.wrapping_sub(1);
                Some(first.saturating_add(at))
            })
        })
    }
    /// The bits, 64 at a time, with the slot of the lowest: most sets are empty for the most part.
    fn words(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let words = self.bits.as_chunks::<8>().0.iter();
        let words = words.map(|bytes| u64::from_le_bytes(*bytes));
        (0..SLOTS as u16).step_by(64).zip(words)
    }
    /// First and last slot of each run, ascending.
    pub fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for (first, word) in self.words() {
            let (mut at, mut left) = (first, word);
            while left != 0 {
                let zeros = left.trailing_zeros();
                left >>= zeros;
                let ones = left.trailing_ones();
                left = left.checked_shr(ones).unwrap_or(0);
                let start = at.saturating_add(zeros as u16);
                at = start.saturating_add(ones as u16);
                let end = at.saturating_sub(1);
                match ranges.last_mut() {
                    Some((_, last)) if last.saturating_add(1) == start => *last = end,
                    _ => ranges.push((start, end)),
                }
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_test_vectors_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b""), 0);
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"somekey"), 11058);
    }

    #[test]
    fn the_first_tag_that_is_not_empty_counts() {
        for (key, expected) in [
            (&b"{user1000}.following"[..], &b"user1000"[..]),
            (b"foo{}{bar}", b"foo{}{bar}"),
            (b"foo{{bar}}zap", b"{bar"),
            (b"foo{bar}{zap}", b"bar"),
            (b"foo{bar", b"foo{bar"),
            (b"}foo{bar}", b"bar"),
            (b"{", b"{"),
        ] {
            assert_eq!(tag(key), expected);
        }
    }

    #[test]
    fn patterns_that_name_one_slot() {
        let foo = Some(slot_of(b"foo"));
        for (pattern, slot) in [
            (&b"foo"[..], foo),
            (b"{foo}*", foo),
            (b"a{foo}?b", foo),
            (b"*{foo}", None),
            (b"{f*o}", None),
            (b"{foo*", None),
            (b"{}{foo}*", None),
            (b"{foo\\}*", None),
            (b"{fo[o]}", None),
            (b"{}foo", Some(slot_of(b"{}foo"))),
        ] {
            assert_eq!(slot_of_pattern(pattern), slot, "{}", pattern.escape_ascii());
        }
    }

    #[test]
    fn ranges_go_over_the_ends_of_words() {
        let mut set = SlotSet::default();
        for slot in (0..=64)
            .chain(100..=300)
            .chain(320..=383)
            .chain(16_320..16_384)
        {
            set.insert(slot);
        }
        let expected = [(0, 64), (100, 300), (320, 383), (16_320, 16_383)];
        assert_eq!(set.ranges(), expected);
        assert_eq!(set.iter().count(), set.len());
    }

    proptest! {
        #[test]
        fn a_set_behaves_like_a_set(
            changes in proptest::collection::vec((0..SLOTS as u16, any::<bool>()), 0..200),
        ) {
            let (mut set, mut oracle) = (SlotSet::default(), BTreeSet::new());
            for (slot, is_in) in changes {
                // Near each other, so that there are runs.
                let slot = slot % 40;
                if is_in {
                    prop_assert_eq!(set.insert(slot), oracle.insert(slot));
                } else {
                    prop_assert_eq!(set.remove(slot), oracle.remove(&slot));
                }
                prop_assert_eq!(set.len(), oracle.len());
            }
            prop_assert!(set.iter().eq(oracle.iter().copied()));
            let from_ranges = set.ranges().into_iter().flat_map(|(first, last)| first..=last);
            prop_assert!(from_ranges.eq(oracle.iter().copied()));
            prop_assert_eq!(SlotSet::from_bytes(set.as_bytes()), set);
        }
    }
}
