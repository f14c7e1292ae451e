//! Listpack: elements packed in one buffer, byte-compatible with Redis's (listpack.c).
//!
//! ```text
//! | total bytes u32 | elements u16 | element | element | … | 0xFF |
//! element: | encoding, length and data | backward length, 1 to 5 bytes |
//! ```
//!
//! | first byte | what follows |
//! | --- | --- |
//! | `0xxxxxxx` | nothing: an integer of 0 to 127 |
//! | `10xxxxxx` | a string of up to 63 bytes |
//! | `110xxxxx` | one byte: an integer of 13 bits |
//! | `1110xxxx` | one byte of length, a string of up to 4095 bytes |
//! | `0xF0` | four bytes of length, a string |
//! | `0xF1` … `0xF4` | an integer of 2, 3, 4 or 8 bytes |
//!
//! All integers are little-endian, save the length of a string of 12 bits and the backward length, which is read from
//! its end: seven bits a byte, the lowest last, all but the first byte with the high bit set. A count of 65535 says
//! that there are that many elements or more and that they have to be counted.
//!
//! The packed bytes stand somewhere in their buffer, not always at its front: a listpack that shrank or grew at its
//! front has a gap there, so that queues work at both ends without moving everything at every step. Positions count
//! from the header and never see the gap.
//!
//! A listpack is one pointer; what its buffer needs to know of itself stands before the bytes.
//!
//! Bytes from outside may be checked in full or only in their frame. Every access therefore stays within the buffer
//! and ends, whatever the bytes say; what a broken listpack yields is meaningless, but it is no panic.

#![allow(unsafe_code)]

use super::bytes::{Bytes, GAP_MAX, class};
use super::one_of::Thin;
use crate::system::numbers::{i64_text_len, parse_i64};

/// Bytes of the header: total length and number of elements.
const HEADER: usize = 6;
/// The byte behind the last element.
const END: u8 = 0xFF;
/// The count that means "count them".
const UNCOUNTED: u16 = u16::MAX;
/// Redis lets no listpack grow past this.
const SAFE_BYTES: usize = 1 << 30;
/// Longest encoded integer.
const INT_MAX: usize = 9;
/// A buffer below this is not worth shrinking.
const SHRINK_FROM: usize = 128;
/// Above this, the allocator's classes are linear, and growth must not be.
const CLASSES_MAX: usize = 32 << 10;

/// Bytes that an element takes with its backward length, by its first byte; 0 where that does not tell.
static SPANS: [u8; 256] = {
    let mut spans = [0u8; 256];
    let mut first = 0;
    while first < 256 {
        spans[first] = match first {
            0..=0x7F => 2,
            0x80..=0xBF => 2 + (first & 0x3F) as u8,
            0xC0..=0xDF => 3,
            0xF1 => 4,
            0xF2 => 5,
            0xF3 => 6,
            0xF4 => 10,
            _ => 0,
        };
        first += 1;
    }
    spans
};

/// Elements packed in one buffer. Always well-formed, unless it was taken from outside without a deep check.
#[repr(transparent)]
pub struct Listpack {
    /// A gap of `start` bytes, then the listpack up to the end.
    bytes: Bytes,
}

// SAFETY: it is its bytes alone, which are one pointer to an allocation aligned to eight.
unsafe impl Thin for Listpack {}

/// Where an element stands: the offset of its first byte. Good until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u32);

/// An element as it is stored: canonical integers are integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Item<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl Item<'_> {
    /// Length as a string, in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match *self {
            Item::Bytes(bytes) => bytes.len(),
            Item::Int(int) => i64_text_len(int),
        }
    }

    /// Whether it is the empty string.
    #[inline]
    pub fn is_empty(&self) -> bool {
        matches!(self, Item::Bytes([]))
    }

    /// Calls back with the bytes of the string.
    #[inline]
    pub fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        match *self {
            Item::Bytes(bytes) => read(bytes),
            Item::Int(int) => read(itoa::Buffer::new().format(int).as_bytes()),
        }
    }

    /// The string, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.with_bytes(<[u8]>::to_vec)
    }

    /// Whether it is this string.
    #[inline]
    pub fn is(&self, bytes: &[u8]) -> bool {
        match *self {
            Item::Bytes(own) => own == bytes,
            Item::Int(int) => parse_i64(bytes) == Some(int),
        }
    }

    /// The integer, where it is one.
    #[inline]
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            Item::Int(int) => Some(int),
            Item::Bytes(_) => None,
        }
    }
}

/// A string to look for, with the integer that it may be stored as. Worth making once for many comparisons.
#[derive(Clone, Copy, Debug)]
pub struct Needle<'a> {
    bytes: &'a [u8],
    int: Option<i64>,
}

impl<'a> Needle<'a> {
    /// A needle of this string.
    pub fn new(bytes: &'a [u8]) -> Needle<'a> {
        Needle {
            bytes,
            int: parse_i64(bytes),
        }
    }

    /// The string.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the item is this string.
    #[inline]
    pub fn is(&self, item: Item<'_>) -> bool {
        match item {
            Item::Bytes(own) => own == self.bytes,
            Item::Int(int) => self.int == Some(int),
        }
    }
}

/// Bytes that are no listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// An element on its way in: what stands before its data, and the data of a string.
struct Encoded<'a> {
    head: [u8; INT_MAX],
    head_len: u8,
    data: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    fn new(element: &'a [u8]) -> Encoded<'a> {
        match parse_i64(element) {
            Some(int) => Encoded::int(int),
            None => Encoded::string(element),
        }
    }

    #[inline]
    fn string(data: &'a [u8]) -> Encoded<'a> {
        let len = data.len();
        let mut head = [0; INT_MAX];
        let head_len = if len < 64 {
            head[0] = 0x80 | len as u8;
            1
        } else if len < 4096 {
            head[0] = 0xE0 | (len >> 8) as u8;
            head[1] = len as u8;
            2
        } else {
            head[0] = 0xF0;
            head[1..5].copy_from_slice(&(len as u32).to_le_bytes());
            5
        };
        Encoded {
            head,
            head_len,
            data,
        }
    }

    #[inline]
    fn int(int: i64) -> Encoded<'static> {
        let mut head = [0; INT_MAX];
        let head_len = match int {
            0..=127 => {
                head[0] = int as u8;
                1
            }
            -4096..=4095 => {
                let bits = int as u16 & 0x1FFF;
                head[0] = 0xC0 | (bits >> 8) as u8;
                head[1] = bits as u8;
                2
            }
            _ => {
                let (first, width) = match int {
                    -0x8000..=0x7FFF => (0xF1, 2),
                    -0x80_0000..=0x7F_FFFF => (0xF2, 3),
                    -0x8000_0000..=0x7FFF_FFFF => (0xF3, 4),
                    _ => (0xF4, 8),
                };
                head[0] = first;
                head[1..].copy_from_slice(&int.to_le_bytes());
                1 + width
            }
        };
        Encoded {
            head,
            head_len,
            data: &[],
        }
    }

    /// Bytes without the backward length.
    #[inline]
    fn len(&self) -> usize {
        usize::from(self.head_len) + self.data.len()
    }

    /// Bytes with the backward length.
    #[inline]
    fn span(&self) -> usize {
        self.len() + backlen_width(self.len())
    }

    /// Writes it into exactly `span` bytes.
    #[inline]
    fn write(&self, out: &mut [u8]) {
        let head_len = usize::from(self.head_len);
        let len = self.len();
        out[..head_len].copy_from_slice(&self.head[..head_len]);
        out[head_len..len].copy_from_slice(self.data);
        write_backlen(&mut out[len..], len);
    }
}

/// Bytes that a backward length takes. The odd limits are Redis's, and part of the format.
#[inline]
fn backlen_width(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16383 => 2,
        16383..2097151 => 3,
        2097151..268435455 => 4,
        _ => 5,
    }
}

/// Writes a backward length into exactly its width.
#[inline]
fn write_backlen(out: &mut [u8], len: usize) {
    let mut rest = len;
    let (first, others) = out.split_first_mut().expect("at least one byte wide");
    for byte in others.iter_mut().rev() {
        *byte = (rest & 127) as u8 | 128;
        rest >>= 7;
    }
    *first = rest as u8;
}

/// Reads the backward length that ends before `end`.
#[inline]
fn read_backlen(bytes: &[u8], end: usize) -> Option<usize> {
    let mut len = 0;
    for (step, &byte) in bytes.get(..end)?.iter().rev().take(5).enumerate() {
        len |= usize::from(byte & 127) << (7 * step);
        if byte & 128 == 0 {
            return Some(len);
        }
    }
    None
}

/// Bytes of the element at `at` with its backward length; none at the end, behind it, or where the bytes make no
/// sense. Says nothing about whether they are all there.
#[inline]
fn span_at(bytes: &[u8], at: usize) -> Option<usize> {
    let first = *bytes.get(at)?;
    match SPANS[usize::from(first)] {
        0 => long_span(bytes, at, first),
        span => Some(usize::from(span)),
    }
}

fn long_span(bytes: &[u8], at: usize, first: u8) -> Option<usize> {
    let len = match first {
        0xE0..=0xEF => 2 + (usize::from(first & 0x0F) << 8 | usize::from(*bytes.get(at + 1)?)),
        0xF0 => 5 + u32::from_le_bytes(*bytes.get(at + 1..)?.first_chunk()?) as usize,
        _ => return None,
    };
    Some(len + backlen_width(len))
}

/// The element at `at`. What does not make sense is the empty string.
#[inline]
fn item_at(bytes: &[u8], at: usize) -> Item<'_> {
    let rest = bytes.get(at..).unwrap_or_default();
    let string = |from: usize, len: usize| {
        Item::Bytes(rest.get(from..from.saturating_add(len)).unwrap_or_default())
    };
    let Some(&first) = rest.first() else {
        return Item::Bytes(&[]);
    };
    match first {
        0..=0x7F => Item::Int(i64::from(first)),
        0x80..=0xBF => string(1, usize::from(first & 0x3F)),
        0xE0..=0xEF if rest.len() > 1 => {
            string(2, usize::from(first & 0x0F) << 8 | usize::from(rest[1]))
        }
        0xF0 if rest.len() > 4 => {
            let len = u32::from_le_bytes([rest[1], rest[2], rest[3], rest[4]]);
            string(5, len as usize)
        }
        _ => int_at(rest, first).unwrap_or(Item::Bytes(&[])),
    }
}

/// Element and span in one, with the usual small ones first.
#[inline]
fn decode(bytes: &[u8], at: usize) -> Option<(Item<'_>, usize)> {
    match *bytes.get(at)? {
        int @ 0..=0x7F => Some((Item::Int(i64::from(int)), 2)),
        first @ 0x80..=0xBF => {
            let len = usize::from(first & 0x3F);
            let string = bytes.get(at + 1..at + 1 + len).unwrap_or_default();
            Some((Item::Bytes(string), len + 2))
        }
        _ => Some((item_at(bytes, at), span_at(bytes, at)?)),
    }
}

/// The integer of more than a byte at the front of `rest`.
fn int_at(rest: &[u8], first: u8) -> Option<Item<'_>> {
    let rest = rest.get(1..)?;
    let int = match first {
        0xC0..=0xDF => {
            // Up into the highest bits and down again, to spread the sign.
            let bits = u16::from(first & 0x1F) << 8 | u16::from(*rest.first()?);
            i64::from((bits << 3) as i16 >> 3)
        }
        0xF1 => i64::from(i16::from_le_bytes(*rest.first_chunk()?)),
        0xF2 => {
            let &[a, b, c] = rest.first_chunk()?;
            i64::from(i32::from_le_bytes([0, a, b, c]) >> 8)
        }
        0xF3 => i64::from(i32::from_le_bytes(*rest.first_chunk()?)),
        0xF4 => i64::from_le_bytes(*rest.first_chunk()?),
        _ => return None,
    };
    Some(Item::Int(int))
}

impl Default for Listpack {
    fn default() -> Listpack {
        Listpack::new()
    }
}

impl Clone for Listpack {
    fn clone(&self) -> Listpack {
        Listpack {
            bytes: Bytes::new(self.as_bytes(), 0),
        }
    }
}

impl PartialEq for Listpack {
    fn eq(&self, other: &Listpack) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Listpack {}

impl std::fmt::Debug for Listpack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Listpack {
    /// An empty one (7 bytes).
    pub fn new() -> Listpack {
        Listpack::with_capacity(0)
    }

    /// An empty one with room for so many bytes in all.
    pub fn with_capacity(bytes: usize) -> Listpack {
        let empty = [HEADER as u8 + 1, 0, 0, 0, 0, 0, END];
        Listpack {
            bytes: Bytes::new(&empty, bytes),
        }
    }

    /// Takes bytes from outside: header, end, and with `deep` every element and backward length are checked. Without
    /// `deep` only header and end are, and what is wrong inside must not lead to a panic or a read outside later; but
    /// `len` may then be another number than that of the elements that come.
    pub fn from_bytes(bytes: Vec<u8>, deep: bool) -> Result<Listpack, Corrupt> {
        let Some(total) = bytes.first_chunk::<4>() else {
            return Err(Corrupt);
        };
        if bytes.len() <= HEADER
            || u32::from_le_bytes(*total) as usize != bytes.len()
            || bytes.last() != Some(&END)
        {
            return Err(Corrupt);
        }
        let listpack = Listpack {
            bytes: Bytes::new(&bytes, 0),
        };
        if deep {
            listpack.check()?;
        }
        Ok(listpack)
    }

    /// Whether every element is whole, every backward length right, and the count too.
    fn check(&self) -> Result<(), Corrupt> {
        let bytes = self.live();
        let end = bytes.len() - 1;
        let mut at = HEADER;
        let mut count = 0usize;
        while at < end {
            let span = span_at(bytes, at).ok_or(Corrupt)?;
            let behind = at.checked_add(span).filter(|&behind| behind <= end);
            let behind = behind.ok_or(Corrupt)?;
            let back = read_backlen(bytes, behind).ok_or(Corrupt)?;
            if back + backlen_width(back) != span {
                return Err(Corrupt);
            }
            at = behind;
            count += 1;
        }
        let said = self.count();
        if said != UNCOUNTED && usize::from(said) != count {
            return Err(Corrupt);
        }
        Ok(())
    }

    /// As DUMP and RDB carry it.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.live()
    }

    /// As DUMP and RDB carry it, to own.
    pub fn into_bytes(self) -> Vec<u8> {
        self.live().to_vec()
    }

    /// Number of elements. O(1) below 65535, O(n) above.
    #[inline]
    pub fn len(&self) -> usize {
        match self.count() {
            UNCOUNTED => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.byte_len() <= HEADER + 1
    }

    /// Bytes of the listpack.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.bytes.live_len()
    }

    /// Bytes with the allocator's rounding.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.memory_bytes()
    }

    /// Whether `more` bytes can be added without passing 1 GiB.
    #[inline]
    pub fn has_room(&self, more: usize) -> bool {
        self.byte_len().saturating_add(more) <= SAFE_BYTES
    }

    /// Appends; numbers are stored as such.
    pub fn push_back(&mut self, element: &[u8]) {
        self.push_back_encoded(&Encoded::new(element));
    }

    /// Prepends. O(bytes) at worst, though a gap is kept so that a run of them moves little.
    pub fn push_front(&mut self, element: &[u8]) {
        self.splice(HEADER, 0, &Encoded::new(element));
    }

    /// Appends an integer.
    pub fn push_back_int(&mut self, element: i64) {
        self.push_back_encoded(&Encoded::int(element));
    }

    /// The first element.
    #[inline]
    pub fn first(&self) -> Option<Position> {
        self.at(HEADER)
    }

    /// The last element.
    #[inline]
    pub fn last(&self) -> Option<Position> {
        self.before(self.live().len() - 1)
    }

    /// The element behind.
    #[inline]
    pub fn next(&self, at: Position) -> Option<Position> {
        let at = at.0 as usize;
        self.at(at.checked_add(span_at(self.live(), at)?)?)
    }

    /// The element before.
    #[inline]
    pub fn previous(&self, at: Position) -> Option<Position> {
        self.before(at.0 as usize)
    }

    /// The element of an index; negative ones count from the end (-1: the last). O(distance to the nearer end).
    pub fn seek(&self, index: i64) -> Option<Position> {
        let count = self.count();
        let len = i64::from(count);
        let counted = count != UNCOUNTED;
        if counted && (index >= len || index < -len) {
            return None;
        }
        let forward = if counted && index >= 0 {
            index <= len / 2
        } else if counted {
            len + index < len / 2
        } else {
            index >= 0
        };
        if forward {
            let steps = if index < 0 { len + index } else { index };
            let mut at = HEADER;
            let bytes = self.live();
            for _ in 0..steps {
                at = at.checked_add(span_at(bytes, at)?)?;
            }
            self.at(at)
        } else {
            let steps = if index < 0 {
                -(index + 1)
            } else {
                len - 1 - index
            };
            let mut at = self.last()?;
            for _ in 0..steps {
                at = self.previous(at)?;
            }
            Some(at)
        }
    }

    /// The element there.
    #[inline]
    pub fn get(&self, at: Position) -> Item<'_> {
        item_at(self.live(), at.0 as usize)
    }

    /// Inserts before an element; where it now stands.
    pub fn insert_before(&mut self, at: Position, element: &[u8]) -> Position {
        self.splice(at.0 as usize, 0, &Encoded::new(element));
        at
    }

    /// Inserts behind an element; where it now stands.
    pub fn insert_after(&mut self, at: Position, element: &[u8]) -> Position {
        let behind = Position(self.behind(at.0 as usize) as u32);
        self.insert_before(behind, element)
    }

    /// Puts another element in the place of this one; where it stands (the same place).
    pub fn replace(&mut self, at: Position, element: &[u8]) -> Position {
        self.replace_encoded(at, &Encoded::new(element))
    }

    /// Replaces an element with an integer; in place where the width is the same.
    pub fn replace_int(&mut self, at: Position, element: i64) -> Position {
        self.replace_encoded(at, &Encoded::int(element))
    }

    fn replace_encoded(&mut self, at: Position, element: &Encoded<'_>) -> Position {
        let from = at.0 as usize;
        let old = self.behind(from) - from;
        self.splice(from, old, element);
        at
    }

    /// Removes an element; the one that stood behind it.
    pub fn remove(&mut self, at: Position) -> Option<Position> {
        self.remove_many(at, 1)
    }

    /// Removes up to `count` elements from `at` on; the one that stood behind them.
    pub fn remove_many(&mut self, at: Position, count: usize) -> Option<Position> {
        let from = at.0 as usize;
        let end = self.live().len() - 1;
        let mut to = from;
        let mut removed = 0usize;
        while removed < count && to < end {
            to = self.behind(to);
            removed += 1;
        }
        if removed > 0 {
            self.cut(from, to - from);
            self.add_to_count(-(removed as isize));
            self.shrink();
        }
        self.at(from)
    }

    /// Removes `count` elements from an index on (negative: from the end); how many there were to remove.
    pub fn remove_range(&mut self, index: i64, count: usize) -> usize {
        let Some(at) = self.seek(index) else {
            return 0;
        };
        let before = self.len();
        self.remove_many(at, count);
        before - self.len()
    }

    /// Removes the elements at these positions, which ascend. O(bytes), however many they are.
    pub fn remove_positions(&mut self, positions: &[Position]) {
        let Some(first) = positions.first() else {
            return;
        };
        debug_assert!(positions.is_sorted());
        let start = self.start();
        let mut to = start + first.0 as usize;
        for (nth, at) in positions.iter().enumerate() {
            let from = start + self.behind(at.0 as usize);
            let until = match positions.get(nth + 1) {
                Some(next) => start + next.0 as usize,
                None => self.bytes.len(),
            };
            if from <= until {
                self.bytes.copy_within(from..until, to);
                to += until - from;
            }
        }
        self.bytes.truncate(to);
        self.add_to_count(-(positions.len() as isize));
        self.shrink();
    }

    /// Where elements are the needle: the first `limit` of them or, in reverse, the last; in rising order. O(bytes).
    pub fn matches(&self, needle: Needle<'_>, limit: usize, reverse: bool) -> Vec<Position> {
        let mut positions = Vec::new();
        let mut next = self.first();
        while let Some(from) = next
            && let Some(position) = self.find_needle(from, needle, 0)
        {
            positions.push(position);
            if positions.len() == limit && !reverse {
                break;
            }
            next = self.next(position);
        }
        positions.drain(..positions.len().saturating_sub(limit));
        positions
    }

    /// Removes the elements that [`Listpack::matches`] finds; how many there were. O(bytes).
    pub fn remove_matches(&mut self, needle: Needle<'_>, limit: usize, reverse: bool) -> usize {
        let positions = self.matches(needle, limit, reverse);
        self.remove_positions(&positions);
        positions.len()
    }

    /// Takes the first element off, after showing it. O(1), for nothing is moved and no room given back
    /// ([`Listpack::give_back`] does that).
    #[inline]
    pub fn pop_front<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let at = self.first()?;
        let taken = take(self.get(at));
        self.cut(HEADER, self.behind(HEADER) - HEADER);
        self.add_to_count(-1);
        Some(taken)
    }

    /// Takes the last element off, likewise.
    #[inline]
    pub fn pop_back<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let at = self.last()?;
        let taken = take(self.get(at));
        let from = at.0 as usize;
        self.cut(from, self.live().len() - 1 - from);
        self.add_to_count(-1);
        Some(taken)
    }

    /// Gives back room if less than half of it is used.
    #[inline]
    pub fn give_back(&mut self) {
        self.shrink();
    }

    /// Finds an element from `from` on, looking at every `1 + skip`-th.
    pub fn find(&self, from: Position, element: &[u8], skip: usize) -> Option<Position> {
        self.find_needle(from, Needle::new(element), skip)
    }

    /// Finds an element that is prepared for the search, which one who looks more than once does once.
    fn find_needle(&self, from: Position, needle: Needle<'_>, skip: usize) -> Option<Position> {
        let bytes = self.live();
        let mut at = from.0 as usize;
        loop {
            let found = match bytes.get(at)? {
                // The usual short string without the detour through an item.
                first @ 0x80..=0xBF => {
                    let len = usize::from(first & 0x3F);
                    len == needle.bytes.len()
                        && bytes.get(at + 1..at + 1 + len) == Some(needle.bytes)
                }
                &END => return None,
                _ => needle.is(item_at(bytes, at)),
            };
            if found {
                return Some(Position(at as u32));
            }
            for _ in 0..=skip {
                at = at.checked_add(span_at(bytes, at)?)?;
            }
        }
    }

    /// All elements, from either end.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        let bytes = self.live();
        Iter {
            bytes,
            front: HEADER,
            back: bytes.len() - 1,
        }
    }

    /// The elements from `at` on.
    #[inline]
    pub fn iter_from(&self, at: Position) -> Iter<'_> {
        Iter {
            front: at.0 as usize,
            ..self.iter()
        }
    }

    /// The elements up to and with the one at `at`, to be walked from their back.
    #[inline]
    pub fn iter_to(&self, at: Position) -> Iter<'_> {
        let back = self.behind(at.0 as usize);
        Iter {
            back,
            ..self.iter()
        }
    }

    /// All elements two by two: fields and values, members and scores. One left over at the end does not come.
    #[inline]
    pub fn pairs(&self) -> impl Iterator<Item = (Item<'_>, Item<'_>)> {
        let mut iter = self.iter();
        std::iter::from_fn(move || Some((iter.next()?, iter.next()?)))
    }

    /// Appends all elements of another one.
    pub fn append(&mut self, other: &Listpack) {
        let theirs = other.live();
        let more = &theirs[HEADER..theirs.len() - 1];
        self.reserve_back(more.len());
        self.bytes.pop();
        self.bytes.extend_from_slice(more);
        self.bytes.push(END);
        let count = match (self.count(), other.count()) {
            (UNCOUNTED, _) | (_, UNCOUNTED) => UNCOUNTED,
            (ours, theirs) => ours.saturating_add(theirs),
        };
        self.set_count(count);
    }

    /// Splits: the elements from `at` on leave and are returned.
    pub fn split_off(&mut self, at: Position) -> Listpack {
        let counted = self.count() != UNCOUNTED;
        let tail_count = self.iter_from(at).count();
        let from = at.0 as usize;
        let live = self.live();
        let end = live.len() - 1;
        let from = from.clamp(HEADER, end);
        let mut tail = Listpack::with_capacity(HEADER + 1 + end - from);
        tail.bytes.pop();
        tail.bytes.extend_from_slice(&live[from..]);
        tail.set_count(u16::try_from(tail_count).unwrap_or(UNCOUNTED));
        self.bytes.truncate(self.start() + from);
        self.bytes.push(END);
        if counted {
            self.add_to_count(-(tail_count as isize));
        } else {
            let head_count = self.iter().count();
            self.set_count(u16::try_from(head_count).unwrap_or(UNCOUNTED));
        }
        self.shrink();
        tail
    }

    /// Gives back room that is not used.
    pub fn shrink_to_fit(&mut self) {
        self.shrink_to(0);
    }

    /// Makes room for so many bytes at the front, so that prepending moves nothing until they are used up. O(bytes).
    pub fn reserve_front(&mut self, more: usize) {
        let (gap, more) = (self.start(), more.min(GAP_MAX));
        if gap >= more {
            return;
        }
        let len = self.byte_len();
        self.reserve_exactly(more + len);
        let room = self.bytes.capacity() - len;
        // What the class rounded up is left at the back, where it takes nothing to use it.
        let new_gap = more.min(room);
        let end = new_gap + len;
        if end > self.bytes.len() {
            self.bytes.resize(end);
        }
        self.bytes.copy_within(gap..gap + len, new_gap);
        self.bytes.set_bounds(new_gap, end);
    }

    // The buffer.

    /// Bytes of the gap.
    #[inline]
    fn start(&self) -> usize {
        self.bytes.start()
    }

    #[inline]
    fn live(&self) -> &[u8] {
        self.bytes.live()
    }

    #[inline]
    fn live_mut(&mut self) -> &mut [u8] {
        self.bytes.live_mut()
    }

    /// The position `at`, unless it is the end or behind it.
    #[inline]
    fn at(&self, at: usize) -> Option<Position> {
        match self.live().get(at) {
            None | Some(&END) => None,
            Some(_) => Some(Position(at as u32)),
        }
    }

    /// The element that ends where `at` begins.
    #[inline]
    fn before(&self, at: usize) -> Option<Position> {
        before(self.live(), at).map(|at| Position(at as u32))
    }

    /// Where the element at `at` ends; never past the end of all.
    #[inline]
    fn behind(&self, at: usize) -> usize {
        let bytes = self.live();
        let end = bytes.len() - 1;
        match span_at(bytes, at) {
            Some(span) => at.saturating_add(span).min(end),
            // Makes no sense, so it takes all the rest with it.
            None => end,
        }
    }

    #[inline]
    fn count(&self) -> u16 {
        let live = self.live();
        u16::from_le_bytes([live[4], live[5]])
    }

    #[inline]
    fn set_count(&mut self, count: u16) {
        self.live_mut()[4..HEADER].copy_from_slice(&count.to_le_bytes());
    }

    /// Counts elements that came or went. What is not counted stays so.
    #[inline]
    fn add_to_count(&mut self, more: isize) {
        let count = self.count();
        if count != UNCOUNTED {
            let sum = (count as isize).saturating_add(more);
            self.set_count(sum.clamp(0, UNCOUNTED as isize) as u16);
        }
    }

    #[inline]
    fn push_back_encoded(&mut self, element: &Encoded<'_>) {
        let span = element.span();
        self.reserve_back(span);
        let at = self.bytes.len() - 1;
        self.bytes.resize(at + span);
        element.write(&mut self.bytes[at..]);
        self.bytes.push(END);
        self.add_to_count(1);
    }

    /// Puts an element in the place of `old` bytes (none, or one element) at `at`.
    fn splice(&mut self, at: usize, old: usize, element: &Encoded<'_>) {
        let end = self.live().len() - 1;
        let at = at.clamp(HEADER, end);
        let old = old.min(end - at);
        let new = element.span();
        if new > old {
            self.open(at, new - old);
        } else if new < old {
            self.cut(at, old - new);
        }
        element.write(&mut self.live_mut()[at..at + new]);
        if old == 0 {
            self.add_to_count(1);
        } else {
            self.shrink();
        }
    }

    /// Makes room for `more` bytes at `at`, moving whichever side is the shorter if the gap allows.
    fn open(&mut self, at: usize, more: usize) {
        let len = self.byte_len();
        if at <= len - at && more <= GAP_MAX {
            if self.start() < more {
                // As much room at the front as the growing of a buffer would bring at its back.
                let grown = self.grown(len.saturating_add(more));
                self.reserve_front((grown - len).max(more));
            }
            let (start, end) = (self.start(), self.bytes.len());
            self.bytes.copy_within(start..start + at, start - more);
            self.bytes.set_bounds(start - more, end);
        } else {
            self.reserve_back(more);
            let from = self.start() + at;
            let end = self.bytes.len();
            self.bytes.resize(end + more);
            self.bytes.copy_within(from..end, from + more);
        }
    }

    /// Takes `fewer` bytes out at `at`, moving whichever side is the shorter.
    fn cut(&mut self, at: usize, fewer: usize) {
        if self.start() + fewer > GAP_MAX {
            self.close_gap();
        }
        let from = self.start() + at;
        let end = self.bytes.len();
        if at < end - from - fewer && fewer <= GAP_MAX {
            let start = self.start();
            self.bytes.copy_within(start..from, start + fewer);
            self.bytes.set_bounds(start + fewer, end);
        } else {
            self.bytes.copy_within(from + fewer..end, from);
            self.bytes.truncate(end - fewer);
        }
    }

    /// The capacity to take when so many bytes are needed: the class that holds them, and where classes no longer grow
    /// with size, a part more, so that appending stays cheap.
    fn grown(&self, needed: usize) -> usize {
        if needed > CLASSES_MAX {
            class(needed.saturating_add(needed / 8))
        } else {
            class(needed)
        }
    }

    /// Makes room for so many bytes behind the end.
    #[inline]
    pub fn reserve_back(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            self.reserve_back_slowly(more);
        }
    }

    #[cold]
    fn reserve_back_slowly(&mut self, more: usize) {
        let gap = self.start();
        self.close_gap();
        // A small gap would soon be used up, and the move be made again and again: so then the buffer grows.
        let enough = gap >= more && gap >= self.bytes.capacity() / 8;
        if !enough {
            let needed = self.bytes.len().saturating_add(more);
            self.reserve_exactly(self.grown(needed.max(self.bytes.capacity() + 1)));
        }
    }

    fn reserve_exactly(&mut self, capacity: usize) {
        if capacity > self.bytes.capacity() {
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
    }

    fn close_gap(&mut self) {
        let gap = self.start();
        if gap > 0 {
            let len = self.byte_len();
            self.bytes.copy_within(gap.., 0);
            self.bytes.set_bounds(0, len);
        }
    }

    /// Gives back room once more than half of it is not used.
    #[inline]
    fn shrink(&mut self) {
        let capacity = self.bytes.capacity();
        if capacity > SHRINK_FROM && self.byte_len() < capacity / 2 {
            self.shrink_to(self.byte_len() / 8);
        }
    }

    #[cold]
    fn shrink_to(&mut self, spare: usize) {
        self.close_gap();
        self.bytes.shrink_to(self.bytes.len() + spare);
    }
}

#[inline]
fn before(bytes: &[u8], at: usize) -> Option<usize> {
    if at <= HEADER {
        return None;
    }
    let back = read_backlen(bytes, at)?;
    at.checked_sub(back + backlen_width(back))
        .filter(|&from| from >= HEADER && from < at)
}

/// The elements of a listpack, from either end.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        match decode(self.bytes, self.front) {
            Some((item, span)) => {
                self.front = self.front.saturating_add(span);
                Some(item)
            }
            None => {
                self.front = self.back;
                None
            }
        }
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match before(self.bytes, self.back) {
            Some(at) if at >= self.front => {
                self.back = at;
                Some(item_at(self.bytes, at))
            }
            _ => {
                self.back = self.front;
                None
            }
        }
    }
}

impl<'a> IntoIterator for &'a Listpack {
    type Item = Item<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
