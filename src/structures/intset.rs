//! Integers in a sorted array, byte-compatible with Redis's (intset.c), since RDB and DUMP carry it.
//!
//! ```text
//! ┌───────────────┬───────────────┬──────────────────────────────────┐
//! │ width (4, LE) │ count (4, LE) │ count × width bytes, LE, rising  │
//! └───────────────┴───────────────┴──────────────────────────────────┘
//! ```
//!
//! The width is 2, 4 or 8 bytes: that of the widest integer that was ever in it. It never shrinks.
//!
//! Invariants: the integers rise strictly and each fits the width; the buffer ends with the last of them.

use crate::system::size_class::size_class;

/// Bytes before the first integer.
const HEADER: usize = 8;

/// A sorted array of different integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intset {
    bytes: Vec<u8>,
}

/// Bytes that are no intset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

impl Default for Intset {
    fn default() -> Intset {
        Intset::new()
    }
}

/// Bytes that an integer needs.
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

impl Intset {
    /// An empty one (8 bytes).
    pub fn new() -> Intset {
        let mut bytes = Vec::with_capacity(size_class(HEADER + 2));
        bytes.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
        Intset { bytes }
    }

    /// Takes bytes from outside. An empty intset is refused, as Redis refuses it: no key holds one. O(n).
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Intset, Corrupt> {
        let (Some(width), Some(count)) = (word(&bytes, 0), word(&bytes, 4)) else {
            return Err(Corrupt);
        };
        let contents = bytes.len() - HEADER;
        if !matches!(width, 2 | 4 | 8) || count == 0 || count.checked_mul(width) != Some(contents) {
            return Err(Corrupt);
        }
        let set = Intset { bytes };
        let mut values = set.iter();
        let mut last = values.next();
        for value in values {
            if Some(value) <= last {
                return Err(Corrupt);
            }
            last = Some(value);
        }
        Ok(set)
    }

    /// As DUMP and RDB carry it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// Number of integers.
    #[inline]
    pub fn len(&self) -> usize {
        word(&self.bytes, 4).unwrap_or(0)
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes with the allocator's rounding.
    pub fn memory_bytes(&self) -> usize {
        size_class(self.bytes.capacity())
    }

    /// Bytes of each integer: 2, 4 or 8.
    #[inline]
    fn width(&self) -> usize {
        usize::from(self.bytes[0])
    }

    /// The integer of an index below the length.
    #[inline]
    fn at(&self, index: usize) -> i64 {
        let width = self.width();
        let from = HEADER + index * width;
        match (width, &self.bytes[from..from + width]) {
            (2, &[a, b]) => i64::from(i16::from_le_bytes([a, b])),
            (4, &[a, b, c, d]) => i64::from(i32::from_le_bytes([a, b, c, d])),
            (_, &[a, b, c, d, e, f, g, h]) => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => unreachable!("a width is 2, 4 or 8"),
        }
    }

    /// The integer of an index.
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }
    /// The least.
    pub fn min(&self) -> Option<i64> {
        self.get(0)
    }
    /// The greatest.
    pub fn max(&self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }
    /// All, rising.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator {
        (0..self.len()).map(|index| self.at(index))
    }

    /// Where an integer stands, or would have to be put. O(log n).
    #[inline]
    fn position(&self, value: i64) -> Result<usize, usize> {
        let len = self.len();
        // Integers often come in order.
        if len == 0 || value > self.at(len - 1) {
            return Err(len);
        }
        let (mut low, mut high) = (0, len);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.at(middle);
            if found == value {
                return Ok(middle);
            }
            if found < value {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Err(low)
    }

    /// Whether an integer is in it. O(log n).
    #[inline]
    pub fn contains(&self, value: i64) -> bool {
        width_of(value) <= self.width() && self.position(value).is_ok()
    }

    /// Adds an integer; whether it was new. O(n).
    pub fn add(&mut self, value: i64) -> bool {
        let needed = width_of(value);
        if needed > self.width() {
            self.widen(needed);
        }
        let Err(index) = self.position(value) else {
            return false;
        };
        let width = self.width();
        self.reserve(width);
        let (from, end) = (HEADER + index * width, self.bytes.len());
        self.bytes.resize(end + width, 0);
        self.bytes.copy_within(from..end, from + width);
        self.put(index, value);
        self.set_len(self.len() + 1);
        true
    }

    /// Removes an integer; whether it was there. O(n).
    pub fn remove(&mut self, value: i64) -> bool {
        if width_of(value) > self.width() {
            return false;
        }
        let Ok(index) = self.position(value) else {
            return false;
        };
        self.remove_at(index);
        true
    }

    /// Removes the integer of an index below the length, and returns it. O(n).
    pub fn remove_at(&mut self, index: usize) -> i64 {
        let value = self.at(index);
        let width = self.width();
        let from = HEADER + index * width;
        self.bytes.drain(from..from + width);
        self.set_len(self.len() - 1);
        if self.bytes.len() < self.bytes.capacity() / 2 {
            self.bytes.shrink_to(size_class(self.bytes.len()));
        }
        value
    }

    /// Rewrites every integer with more bytes.
    fn widen(&mut self, width: usize) {
        let len = self.len();
        let mut wide = Vec::with_capacity(size_class(HEADER + (len + 1) * width));
        wide.extend_from_slice(&(width as u32).to_le_bytes());
        wide.extend_from_slice(&(len as u32).to_le_bytes());
        for value in self.iter() {
            wide.extend_from_slice(&value.to_le_bytes()[..width]);
        }
        self.bytes = wide;
    }

    /// Writes an integer that fits the width.
    fn put(&mut self, index: usize, value: i64) {
        let width = self.width();
        let from = HEADER + index * width;
        // The low bytes of a two's complement are the number in fewer bytes.
        self.bytes[from..from + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }

    fn set_len(&mut self, len: usize) {
        self.bytes[4..HEADER].copy_from_slice(&(len as u32).to_le_bytes());
    }

    /// Makes room, an eighth more than is needed, in sizes that the allocator hands out.
    fn reserve(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            let wanted = size_class(needed + if needed > 128 { needed / 8 } else { 0 });
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
    }
}

/// The little-endian 32-bit number at an offset.
#[inline]
fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*word) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Integers at and around the ends of each width.
    fn edges() -> impl Strategy<Value = i64> {
        let near = |middle: i64| (-2i64..3).prop_map(move |by| middle.saturating_add(by));
        prop_oneof![
            near(0),
            near(i64::from(i16::MIN)),
            near(i64::from(i16::MAX)),
            near(i64::from(i32::MIN)),
            near(i64::from(i32::MAX)),
            near(i64::MIN),
            near(i64::MAX),
            -50i64..50,
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_set(steps in prop::collection::vec((any::<bool>(), edges()), 0..200)) {
            let (mut set, mut model) = (Intset::new(), BTreeSet::new());
            let mut widest = 2;
            for (adds, value) in steps {
                if adds {
                    widest = widest.max(width_of(value));
                    prop_assert_eq!(set.add(value), model.insert(value));
                } else {
                    prop_assert_eq!(set.contains(value), model.contains(&value));
                    prop_assert_eq!(set.remove(value), model.remove(&value));
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.as_bytes().len(), 8 + model.len() * widest);
                prop_assert_eq!((set.min(), set.max()), (model.first().copied(), model.last().copied()));
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            let again = Intset::from_bytes(set.as_bytes().to_vec());
            prop_assert_eq!(again.is_ok(), !set.is_empty());
            if let Ok(again) = again {
                prop_assert_eq!(again, set);
            }
        }

        #[test]
        fn any_bytes_are_an_intset_or_refused(
            width in 0u8..10,
            count in 0u8..6,
            contents in prop::collection::vec(0u8..3, 0..40),
        ) {
            let mut bytes = vec![width, 0, 0, 0, count, 0, 0, 0];
            bytes.extend_from_slice(&contents);
            for cut in 0..8 {
                prop_assert_eq!(Intset::from_bytes(bytes[..cut].to_vec()), Err(Corrupt));
            }
            if let Ok(set) = Intset::from_bytes(bytes.clone()) {
                let values: BTreeSet<i64> = set.iter().collect();
                prop_assert_eq!(values.len(), usize::from(count));
                prop_assert!(set.iter().eq(values));
                prop_assert_eq!(set.as_bytes(), bytes);
            }
        }
    }

    #[test]
    fn is_laid_out_as_in_redis() {
        let mut set = Intset::new();
        assert_eq!(set.as_bytes(), [2, 0, 0, 0, 0, 0, 0, 0]);
        set.add(-1);
        set.add(5);
        set.add(3);
        assert_eq!(
            set.as_bytes(),
            [2, 0, 0, 0, 3, 0, 0, 0, 0xff, 0xff, 3, 0, 5, 0]
        );
        set.add(65536);
        assert_eq!(
            set.as_bytes(),
            [
                4, 0, 0, 0, 4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0, 5, 0, 0, 0, 0, 0, 1, 0
            ]
        );
        set.remove(65536);
        assert_eq!(set.as_bytes()[0], 4, "the width stays");
    }

    #[test]
    fn refuses_what_does_not_rise() {
        let with = |values: [u8; 2]| vec![2, 0, 0, 0, 2, 0, 0, 0, values[0], 0, values[1], 0];
        assert!(Intset::from_bytes(with([1, 2])).is_ok());
        assert_eq!(Intset::from_bytes(with([2, 2])), Err(Corrupt));
        assert_eq!(Intset::from_bytes(with([2, 1])), Err(Corrupt));
        let huge = vec![8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0];
        assert_eq!(Intset::from_bytes(huge), Err(Corrupt));
    }
}
