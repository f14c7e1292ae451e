//! Values as commands see them: what a reader gets and what a writer gives.

use crate::structures::Blob;
use crate::structures::hash::Hash;
use crate::structures::list::List;
use crate::structures::set::Set;
use crate::structures::sorted_set::SortedSet;
use crate::structures::stream::Stream;
use crate::system::numbers::i64_text_len;

/// Type of a value, with Redis's RDB-independent numbering of `TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Type {
    String = 0,
    List = 1,
    Set = 2,
    SortedSet = 3,
    Hash = 4,
    Module = 5,
    Stream = 6,
}

impl Type {
    /// The name that `TYPE` answers.
    pub fn name(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::List => "list",
            Type::Set => "set",
            Type::SortedSet => "zset",
            Type::Hash => "hash",
            Type::Module => "module",
            Type::Stream => "stream",
        }
    }
    /// The type of a number from an entry's header.
    pub(super) fn from_bits(bits: u8) -> Type {
        match bits {
            1 => Type::List,
            2 => Type::Set,
            3 => Type::SortedSet,
            4 => Type::Hash,
            5 => Type::Module,
            6 => Type::Stream,
            _ => Type::String,
        }
    }
}

/// A value as a reader sees it.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A string that is a canonical 64-bit integer.
    Int(i64),
    /// A string stored inside the entry.
    Bytes(&'a [u8]),
    /// A long string in its own, shareable buffer.
    Blob(&'a Blob),
}

impl Value<'_> {
    /// Length of the string in bytes.
    pub fn len(&self) -> usize {
        match self {
            Value::Int(number) => i64_text_len(*number),
            Value::Bytes(bytes) => bytes.len(),
            Value::Blob(blob) => blob.len(),
        }
    }
    /// Whether it is the empty string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Calls back with the bytes of the string.
    #[inline]
    pub fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Value::Int(number) => read(itoa::Buffer::new().format(*number).as_bytes()),
            Value::Bytes(bytes) => read(bytes),
            Value::Blob(blob) => read(blob),
        }
    }
    /// The string, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.with_bytes(<[u8]>::to_vec)
    }
}

/// A value of any type, as DUMP, DEBUG and SORT read it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Stored<'a> {
    String(Value<'a>),
    List(&'a List),
    Set(&'a Set),
    SortedSet(&'a SortedSet),
    Hash(&'a Hash),
    Stream(&'a Stream),
}

/// What a writer stores.
#[derive(Clone, Debug)]
pub enum NewValue<'a> {
    /// A string: stored as an integer where it is a canonical one (Redis's `tryObjectEncoding`).
    String(&'a [u8]),
    /// A string that reports `raw` (results of APPEND and SETRANGE).
    Raw(&'a [u8]),
    /// A string that stays one although it may spell an integer (results of INCRBYFLOAT).
    Text(&'a [u8]),
    /// A long string, adopted without a copy.
    Blob(Blob),
    /// An integer.
    Int(i64),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A sorted set.
    SortedSet(Box<SortedSet>),
    /// A hash.
    Hash(Box<Hash>),
    /// A stream.
    Stream(Box<Stream>),
}

/// What becomes of the expiry when a value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Left as it is (`KEEPTTL`).
    Keep,
    /// Removed.
    Clear,
    /// At this Unix time in milliseconds.
    At(i64),
}
