//! The object codec of RDB: one value to bytes and back.
//!
//! In: a bounded slice of bytes, or a value of the keyspace. Out: a value, or a [`LoadError`] with the offset and the
//! reason; or bytes that Redis 7.0 loads.
//!
//! What always holds: no byte from outside leads to a panic, to an allocation larger than a small multiple of the bytes
//! that are really there, or to more than O(n log n) work. Whatever is wrong in a payload, inside its packed lists
//! too, is found here and never later: a value that was built is whole.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`read`] | lengths, strings, numbers: read |
//! | [`write`] | the same, written |
//! | [`packed`] | the packed formats of old: ziplist, zipmap, intset |
//! | [`file`] | the frame of a file around the values |
//! | [`load`] | a value of any type from bytes, of Redis 2.6 to 8.0 |
//! | [`save`] | a value to bytes, in the types of Redis 7.0 or 8.0 |
//! | [`stream`] | streams with their groups, both ways |
//! | [`library`] | libraries of functions, and the frame of FUNCTION DUMP |
//! | [`payload`] | the frame of DUMP: a type, a value, the version and a checksum |
//!
//! Mirrors rdb.c, ziplist.c and zipmap.c of Redis.

pub mod file;
pub mod library;
pub mod load;
pub mod packed;
pub mod payload;
pub mod read;
pub mod save;
pub mod stream;
#[cfg(test)]
pub(crate) mod tests;
pub mod write;

use crate::keyspace::Keyspace;
use std::fmt;

/// Version of what is written for ourselves and in payloads, that of Redis 7.4 and 8.0; also the latest that is read.
pub const VERSION: u16 = FileVersion::V12.number();

/// Version of a file that is written. An older one is read by more servers, but cannot say all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileVersion {
    /// That of Redis 7.0, which all later ones and Valkey read: small sets are written by their members, consumers of streams
    /// without the time when they were active. Fields of hashes cannot expire.
    V10,
    /// That of Redis 7.4 and 8.0.
    V12,
}

impl FileVersion {
    /// The number in the head of the file.
    pub const fn number(self) -> u16 {
        match self {
            FileVersion::V10 => 10,
            FileVersion::V12 => 12,
        }
    }
    /// The oldest that can hold these data.
    pub fn oldest_for(keyspace: &Keyspace) -> FileVersion {
        match keyspace.has_expiring_fields() {
            true => FileVersion::V12,
            false => FileVersion::V10,
        }
    }
}

/// Types of a value in an RDB file; only those are written whose names say nothing of another version.
#[allow(missing_docs)]
pub mod kind {
    pub const STRING: u8 = 0;
    /// Elements one by one (before 3.2).
    pub const LIST_OLD: u8 = 1;
    pub const SET: u8 = 2;
    /// Scores as text (before 4.0).
    pub const ZSET_OLD: u8 = 3;
    pub const HASH: u8 = 4;
    pub const ZSET: u8 = 5;
    pub const MODULE_OLD: u8 = 6;
    pub const MODULE: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    /// Nodes that are ziplists (3.2 to 6.2).
    pub const QUICKLIST_ZIPLISTS: u8 = 14;
    /// Streams without first id and counters (5.0 to 6.2).
    pub const STREAM_OLD: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    pub const QUICKLIST: u8 = 18;
    pub const STREAM: u8 = 19;
    /// Since 7.2.
    pub const SET_LISTPACK: u8 = 20;
    /// Since 7.2: consumers have an active time.
    pub const STREAM_ACTIVE_TIME: u8 = 21;
    /// Release candidates of 7.4.
    pub const HASH_TTL_PRE_GA: u8 = 22;
    /// Release candidates of 7.4.
    pub const HASH_LISTPACK_TTL_PRE_GA: u8 = 23;
    /// Since 7.4: fields that expire.
    pub const HASH_TTL: u8 = 24;
    /// Since 7.4: fields that expire.
    pub const HASH_LISTPACK_TTL: u8 = 25;
    /// What 22 is in a file of Valkey 9, and fields that expire are there. The number is our own: none can be in a file,
    /// for from 243 on they are marks between the keys.
    pub const HASH_TTL_VALKEY: u8 = 255;
}

/// What a snapshot says of the stream of its server: which state of it the data are, so that whoever loads it can go on there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveInfo {
    /// The database that is selected where the stream goes on behind the data.
    pub stream_db: usize,
    /// Whose stream it is.
    pub replication_id: String,
    /// How much of it the data are.
    pub offset: i64,
}

impl SaveInfo {
    /// Digits of a replication ID.
    pub const ID_LEN: usize = 40;
}

/// Why bytes are no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// Where in the bytes it was found.
    pub offset: usize,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with bytes that are no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The bytes end before the value does.
    Truncated,
    /// A collection without elements, which cannot be stored (an RDB file's loader skips such a key).
    EmptyKey,
    /// There is no such type.
    UnknownType(u8),
    /// A value of a module, by its name; there are no modules here.
    Module(String),
    /// Anything else.
    Invalid(&'static str),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: ", self.offset)?;
        match &self.reason {
            Reason::Truncated => f.write_str("unexpected end"),
            Reason::EmptyKey => f.write_str("empty collection"),
            Reason::UnknownType(kind) => write!(f, "unknown type {kind}"),
            Reason::Module(name) => write!(
                f,
                "the data is of a module: no matching module type '{name}'"
            ),
            Reason::Invalid(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for LoadError {}
