//! What a reading of a point in time makes of entries, and where it goes on in one that it reads in parts.
//!
//! In: entries, and places in them. Out: bytes, with strings that somebody else puts in later. What the bytes are is the
//! [`Encoder`]'s affair, which knows a format; the reading ([`super::point_in_time`]) knows none.

use super::EntryRef;
use crate::structures::Blob;

/// Where a value that is encoded in parts goes on. What it says is the encoder's affair; the default is the beginning.
///
/// A value may be a tree of ordered things (a stream has groups, which have consumers, which have ids): then `within` names
/// the ones that hold the place, and `at` is it. Names and ids are found again in O(log n), which numbers would not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// What comes next.
    pub stage: u8,
    /// A place among things of that kind: an index, a cursor, an id.
    pub at: u128,
    /// Names of what it is in, the outer one first.
    pub within: (Box<[u8]>, Box<[u8]>),
    /// Where the element at that place goes on.
    pub inside: Inside,
}

/// A place in an element that is so long that it is encoded in parts itself; the default is its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// Which of its long strings.
    pub string: u8,
    /// Bytes of that which are encoded.
    pub at: usize,
}

impl Position {
    /// A place in a value that is no tree.
    pub fn at(at: u128) -> Position {
        Position {
            at,
            ..Position::default()
        }
    }
}

/// Makes bytes of entries.
pub trait Encoder: Send + Sync {
    /// Encodes a part of an entry, which has not changed since the part before; where the next one begins, or none after the
    /// last. How much is a part is the encoder's affair: it bounds the time that the loop is away.
    fn part(&self, entry: &EntryRef<'_>, from: &Position, out: &mut Encoded) -> Option<Position>;
}

/// Encodes all of an entry. O(bytes).
pub(super) fn encode_whole(encoder: &dyn Encoder, entry: &EntryRef<'_>, out: &mut Encoded) {
    let mut next = Some(Position::default());
    while let Some(from) = next {
        next = encoder.part(entry, &from, out);
    }
    out.keys += 1;
}

/// What an encoder has left. Strings that may be compressed, or are so long that to copy them would stall, have only their
/// place here: whoever takes it away puts them in.
#[derive(Debug, Default)]
pub struct Encoded {
    /// All but the strings that are put in later, and those of them that are short.
    pub bytes: Vec<u8>,
    /// Strings to be put in, by their places in `bytes`, in order.
    pub strings: Vec<(usize, Deferred)>,
    /// Keys in it.
    pub keys: u64,
    /// Bytes of the strings that are shared.
    pub shared_bytes: usize,
    /// Those of them that are of long strings which nobody was about to change: as long as nobody does, they take no memory.
    pub lent_bytes: usize,
}

/// A string that is put in later.
#[derive(Clone, Debug)]
pub enum Deferred {
    /// It stands in `bytes`, so many bytes from its place on.
    Here(usize),
    /// It is shared with the entry; nobody changes it while it is.
    Shared(Blob),
    /// A part of a string of so many bytes, which stands in `bytes` like [`Deferred::Here`]; the parts before and behind it are
    /// in what was left before and is left next.
    Part {
        /// Bytes of the part.
        here: usize,
        /// Bytes of the string.
        whole: usize,
    },
}

impl Encoded {
    /// Bytes that wait here.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared_bytes
    }
    /// Memory that it has, but for shared strings.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.strings.capacity() * size_of::<(usize, Deferred)>()
    }
    /// Whether nothing waits here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.keys == 0
    }
    /// Takes back what has come since there were so many bytes, strings and shared bytes.
    pub(super) fn cut(&mut self, (bytes, strings, shared_bytes): (usize, usize, usize)) {
        self.bytes.truncate(bytes);
        self.strings.truncate(strings);
        self.shared_bytes = shared_bytes;
    }
    /// Moves all of another one behind this.
    pub(super) fn append(&mut self, other: &mut Encoded) {
        if self.is_empty() {
            return std::mem::swap(self, other);
        }
        let base = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        let strings = other.strings.drain(..);
        self.strings.extend(strings.map(|(at, it)| (base + at, it)));
        self.keys += std::mem::take(&mut other.keys);
        self.shared_bytes += std::mem::take(&mut other.shared_bytes);
        self.lent_bytes += std::mem::take(&mut other.lent_bytes);
    }
}
