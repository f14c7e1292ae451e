//! What a reading of a point in time makes of entries, and where it goes on in one that it reads in parts.
//!
//! In: entries, and places in them. Out: bytes, with strings that somebody else puts in later. What the bytes are is the
//! [`Encoder`]'s affair, which knows a format; the reading ([`super::point_in_time`]) knows none.

use super::entry::Entry;
use super::table::Borrowed;
use super::{AccessPolicy, EntryRef};
use crate::structures::Blob;
use crate::structures::hash::{Hash, HashSize};

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
    /// Encodes a part of a large hash whose fields are read while they change; whether it is the last one.
    fn fields(&self, part: FieldsPart<'_>, out: &mut Encoded) -> bool;
}

/// A part of a large hash that is to be encoded.
pub struct FieldsPart<'a> {
    /// The entry, without its value.
    pub entry: EntryRef<'a>,
    /// How large the hash was when its reading began.
    pub was: HashSize,
    /// Nothing of it has been encoded.
    pub is_first: bool,
    /// Where the field that has not been read to its end goes on, and will go on ([`Hash::unfinished`]).
    pub inside: &'a mut Inside,
    /// Its value, of which [`Hash::read_on`] gives the fields.
    pub hash: &'a mut Hash,
}

/// Encodes the part of a large value that begins at `from`, which then is where the next one begins; whether it is the last.
pub(super) fn encode_part(
    encoder: &dyn Encoder,
    policy: AccessPolicy,
    entry: &mut Entry,
    from: &mut Position,
    out: &mut Encoded,
) -> bool {
    let Some((mut hash, was)) = take_table(entry) else {
        let entry = EntryRef::new(Borrowed::of(entry), policy);
        let Some(next) = encoder.part(&entry, from, out) else {
            return true;
        };
        *from = next;
        return false;
    };
    let is_first = *from == Position::default();
    from.stage = 1;
    let part = FieldsPart {
        entry: EntryRef::new(Borrowed::of(entry), policy),
        was,
        is_first,
        inside: &mut from.inside,
        hash: &mut hash,
    };
    let is_last = encoder.fields(part, out);
    if is_last {
        hash.end_reading();
    }
    if let Ok(value) = entry.hash_mut() {
        *value = hash;
    }
    is_last
}

/// Takes the value out of an entry for a moment, where it is a hash table, whose reading begins if it has not; how large it was
/// then.
fn take_table(entry: &mut Entry) -> Option<(Hash, HashSize)> {
    let hash = entry.hash_mut().ok()?;
    let was = hash.begin_reading()?;
    Some((std::mem::take(hash), was))
}

/// Whether an entry is one whose fields are read one by one.
pub(super) fn is_hash_table(entry: &Entry) -> bool {
    entry.hash().is_ok_and(|hash| hash.listpack().is_none())
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
    /// An empty one with room for about as much, which then is not moved as it grows.
    pub(super) fn emptied(&self) -> Encoded {
        /// More than that comes of long strings, the next of which may be shorter.
        const MOST: usize = 512 * 1024;
        Encoded {
            bytes: Vec::with_capacity(self.bytes.len().min(MOST)),
            strings: Vec::with_capacity(self.strings.len().min(MOST / size_of::<Deferred>())),
            ..Encoded::default()
        }
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
