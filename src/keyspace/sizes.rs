//! How many keys of a database have what size (INFO keysizes), counted as they change.
//!
//! A key's size is the length of its string or the number of its elements; streams are not counted. Sizes are gathered
//! by powers of two: bin 0 holds the empty ones, bin n those from 2^(n-1) on. [`Table`](super::table::Table) tells
//! what comes, goes and changes. Mirrors `updateKeysizesHist` of db.c.

use super::Type;
use super::entry::Entry;
use super::layout::{EMBEDDED, INT, OBJECT};
use crate::structures::Collection;

/// Bins of a histogram: the empty ones, and one for each power of two that a length can have.
const BINS: usize = 65;
/// Types that are counted, by their number.
const TYPES: usize = 5;

/// The bin of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bin(u8);

impl Bin {
    /// The bin of this many bytes or elements.
    #[inline]
    pub(super) fn of(len: usize) -> Bin {
        Bin((usize::BITS - len.leading_zeros()) as u8)
    }
    /// As an entry keeps it, where 0 is "not counted".
    #[inline]
    pub(super) fn to_bits(self) -> u16 {
        u16::from(self.0) + 1
    }
    #[inline]
    pub(super) fn from_bits(bits: u16) -> Option<Bin> {
        bits.checked_sub(1).map(|bin| Bin(bin as u8))
    }
}

/// A type and a bin: where an entry is counted.
pub(super) type Counted = Option<(Type, Bin)>;

impl Entry {
    /// The bin in which the entry's size is to be counted; a stream's is not.
    #[inline]
    pub(super) fn size(&self) -> Counted {
        let head = self.head();
        let len = match (head.kind(), head.encoding()) {
            (Type::Stream | Type::Module, _) => return None,
            (_, EMBEDDED | INT) => head.value_len(),
            (Type::String, _) => self.string().map_or(0, |value| value.len()),
            _ => self.collection().map_or(0, Collection::len),
        };
        Some((head.kind(), Bin::of(len)))
    }
    /// The length of a string that stands in the entry itself: it is counted as what the header says.
    #[inline]
    pub(super) fn embedded_len(&self) -> Option<usize> {
        let head = self.head();
        (head.encoding() != OBJECT).then(|| head.value_len())
    }
    /// The bin in which the entry's size has been counted. What is behind a pointer may have changed since.
    #[inline]
    pub(super) fn counted(&self) -> Counted {
        let head = self.head();
        if head.encoding() != OBJECT {
            return self.size();
        }
        Bin::from_bits(head.value_len() as u16).map(|bin| (head.kind(), bin))
    }
}

/// How many keys of each type have what size.
#[derive(Clone, Debug)]
pub struct Sizes([[u64; BINS]; TYPES]);

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes([[0; BINS]; TYPES])
    }
}

impl Sizes {
    #[inline]
    pub(super) fn moved(&mut self, from: Counted, to: Counted) {
        if from == to {
            return;
        }
        if let Some(count) = self.count(from) {
            debug_assert!(*count > 0, "a key was never counted as {from:?}");
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.count(to) {
            *count += 1;
        }
    }
    #[inline]
    fn count(&mut self, at: Counted) -> Option<&mut u64> {
        let (kind, bin) = at?;
        self.0.get_mut(kind as usize)?.get_mut(usize::from(bin.0))
    }
    /// The sizes of a type that some key has: the least of the bin, and the number of keys.
    pub fn of(&self, kind: Type) -> impl Iterator<Item = (u64, u64)> {
        let bins = self.0.get(kind as usize).into_iter().flatten();
        let least = |bin: usize| bin.checked_sub(1).map_or(0, |shift| 1u64 << shift);
        bins.enumerate()
            .filter(|(_, count)| **count > 0)
            .map(move |(bin, count)| (least(bin), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_powers_of_two() {
        let mut sizes = Sizes::default();
        for len in [0, 1, 2, 3, 4, 7, 8, 1023, 1024, usize::MAX] {
            sizes.moved(None, Some((Type::Set, Bin::of(len))));
        }
        let all: Vec<_> = sizes.of(Type::Set).collect();
        assert_eq!(
            all,
            [
                (0, 1),
                (1, 1),
                (2, 2),
                (4, 2),
                (8, 1),
                (512, 1),
                (1024, 1),
                (1 << 63, 1)
            ]
        );
        assert_eq!(sizes.of(Type::Hash).count(), 0);
        sizes.moved(
            Some((Type::Set, Bin::of(3))),
            Some((Type::String, Bin::of(3))),
        );
        assert_eq!(sizes.of(Type::Set).nth(2), Some((2, 1)));
        assert_eq!(sizes.of(Type::String).next(), Some((2, 1)));
        assert_eq!(Bin::from_bits(Bin::of(5).to_bits()), Some(Bin::of(5)));
        assert_eq!(Bin::from_bits(0), None);
    }
}
