//! (being built: signatures first) A key with its value and metadata in one allocation.

use crate::resp::Blob;

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

/// What a writer stores.
#[derive(Clone, Debug)]
pub enum NewValue<'a> {
    /// A string: stored as an integer where it is a canonical one (Redis's `tryObjectEncoding`).
    String(&'a [u8]),
    /// A string that reports `raw` (results of APPEND and SETRANGE).
    Raw(&'a [u8]),
    /// A long string, adopted without a copy.
    Blob(Blob),
    /// An integer.
    Int(i64),
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
