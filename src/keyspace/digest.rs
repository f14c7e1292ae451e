//! Redis's fingerprint of data (DEBUG DIGEST): SHA-1 sums, mixed where the order counts and XORed where it does not.
//!
//! In: entries. Out: 20 bytes, which are those of Redis for the same data, whatever its encoding. Mirrors
//! `mixDigest`, `xorObjectDigest` and `computeDatasetDigest` of debug.c.

use super::{Clock, Db, EntryRef, Keyspace, Stored, Type};
use crate::structures::listpack::Item;
use crate::structures::stream::StreamId;
use crate::system::numbers;
use sha1::{Digest as _, Sha1};

/// A fingerprint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; 20]);

/// A fingerprint of all databases, as DEBUG DIGEST answers it. O(keys and their elements).
pub fn digest_of(keyspace: &mut Keyspace, now: Clock) -> String {
    let mut all = Digest::default();
    for index in 0..keyspace.count() {
        all.add_database(keyspace.db(index, now, true));
    }
    all.hex()
}

impl Digest {
    /// The fingerprint of one value and of whether it expires.
    pub fn of_value(entry: &EntryRef<'_>) -> Digest {
        let mut one = Digest::default();
        one.add_value(entry);
        one
    }
    /// Adds a database to the fingerprint of all data. O(keys and their elements).
    fn add_database(&mut self, mut db: Db<'_>) {
        if db.is_empty() {
            return;
        }
        self.mix(&(db.index() as u32).to_be_bytes());
        db.for_each(&mut |entry| {
            let mut one = Digest::default();
            one.mix(entry.key());
            one.add_value(&entry);
            self.xor(&one.0);
        });
    }
    /// The fingerprint in hexadecimal.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
    fn xor(&mut self, bytes: &[u8]) {
        let sum = Sha1::digest(bytes);
        self.0
            .iter_mut()
            .zip(sum)
            .for_each(|(own, other)| *own ^= other);
    }
    fn mix(&mut self, bytes: &[u8]) {
        self.xor(bytes);
        self.0 = Sha1::digest(self.0).into();
    }
    fn add_value(&mut self, entry: &EntryRef<'_>) {
        self.mix(&type_number(entry.kind()).to_be_bytes());
        match entry.stored() {
            Stored::String(value) => value.with_bytes(|bytes| self.mix(bytes)),
            Stored::List(list) => {
                list.for_each(|item| item.with_bytes(|bytes| self.mix(bytes)));
            }
            Stored::Set(set) => set.for_each(|item| item.with_bytes(|bytes| self.xor(bytes))),
            Stored::SortedSet(set) => {
                let mut text = Vec::new();
                for (member, score) in set.iter() {
                    text.clear();
                    numbers::write_scientific(&mut text, score);
                    self.xor(&Digest::of_pair(member, Item::Bytes(&text)).0);
                }
            }
            Stored::Hash(hash) => {
                for pair in hash.iter() {
                    let mut one = Digest::of_pair(pair.field, pair.value);
                    if pair.expiry.is_some() {
                        one.xor(b"!!hexpire!!");
                    }
                    self.xor(&one.0);
                }
            }
            Stored::Stream(stream) => {
                for entry in stream.range(StreamId::MIN, StreamId::MAX) {
                    let id = entry.id();
                    self.mix(format!("{}.{}", id.ms, id.seq).as_bytes());
                    for (field, value) in entry.pairs() {
                        field.with_bytes(|bytes| self.mix(bytes));
                        value.with_bytes(|bytes| self.mix(bytes));
                    }
                }
            }
        }
        if entry.expire_at().is_some() {
            self.xor(b"!!expire!!");
        }
    }
    /// The fingerprint of a field with its value, or of a member with its score.
    fn of_pair(one: Item<'_>, other: Item<'_>) -> Digest {
        let mut pair = Digest::default();
        one.with_bytes(|bytes| pair.mix(bytes));
        other.with_bytes(|bytes| pair.mix(bytes));
        pair
    }
}

/// `OBJ_STRING` and its like of Redis's server.h.
fn type_number(kind: Type) -> u32 {
    match kind {
        Type::String => 0,
        Type::List => 1,
        Type::Set => 2,
        Type::SortedSet => 3,
        Type::Hash => 4,
        Type::Module => 5,
        Type::Stream => 6,
    }
}
