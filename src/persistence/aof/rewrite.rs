//! A data set as the shortest commands that make it (`aof-use-rdb-preamble no`).
//!
//! In: the keyspace and the libraries of functions, at once or piece by piece ([`CommandEncoder`]). Out: commands as RESP,
//! several elements to each. Mirrors `rewriteAppendOnlyFileRio` of aof.c.

use crate::journal::write_command;
use crate::keyspace::{Deferred, Encoded, Encoder, EntryRef, Keyspace, Position, Stored, Value};
use crate::persistence::snapshot::delay;
use crate::structures::Collection;
use crate::structures::hash::Pair;
use crate::structures::listpack::Item;
use crate::structures::stream::{Entry, Stream, StreamId};
use std::io::{self, Write};
use std::sync::Arc;

/// Elements that one command carries.
const PER_COMMAND: usize = 64;
/// Shorter strings are copied by the loop, longer ones by whoever writes them.
const SHARE_MIN: usize = 16 * 1024;
/// Bytes that are gathered before they are written.
const FLUSH_BYTES: usize = 256 * 1024;

/// Writes the libraries and all databases, with a rest after each key (`rdb-key-save-delay`, for tests). `progress` is
/// told the number of keys written, now and then. O(N).
pub fn write_to(
    keyspace: &Keyspace,
    libraries: &[Arc<[u8]>],
    timestamp_s: Option<i64>,
    key_delay_us: u64,
    sink: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let mut out = beginning(libraries, timestamp_s);
    let mut keys = 0;
    for index in 0..keyspace.count() {
        if keyspace.figures(index).0 == 0 {
            continue;
        }
        select(&mut out, index);
        let mut result = Ok(());
        keyspace.for_each(index, &mut |entry| {
            if result.is_err() {
                return;
            }
            write_entry(&mut out, &entry);
            delay(key_delay_us);
            keys += 1;
            if keys % 1024 == 0 {
                progress(keys);
            }
            if out.len() >= FLUSH_BYTES {
                result = sink.write_all(&out);
                out.clear();
            }
        });
        result?;
    }
    progress(keys);
    sink.write_all(&out)
}

/// What stands before the keys.
pub fn beginning(libraries: &[Arc<[u8]>], timestamp_s: Option<i64>) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(seconds) = timestamp_s {
        out.extend_from_slice(format!("#TS:{seconds}\r\n").as_bytes());
    }
    for code in libraries {
        write_command(&mut out, [b"FUNCTION", &b"LOAD"[..], code].into_iter());
    }
    out
}

/// The keys that follow are those of this database.
pub fn select(out: &mut Vec<u8>, db: usize) {
    let number = db.to_string();
    write_command(out, [&b"SELECT"[..], number.as_bytes()].into_iter());
}

/// Entries as the commands that make them, for a base that the loop writes itself.
#[derive(Debug)]
pub struct CommandEncoder {
    /// Elements of a large value that are written in one part.
    pub part_elements: usize,
}

impl Encoder for CommandEncoder {
    fn part(&self, entry: &EntryRef<'_>, from: &Position, out: &mut Encoded) -> Option<Position> {
        match entry.stored() {
            Stored::String(Value::Blob(blob)) if blob.len() >= SHARE_MIN => {
                let key = entry.key();
                let head = format!("*3\r\n$3\r\nSET\r\n${}\r\n", key.len());
                out.bytes.extend_from_slice(head.as_bytes());
                out.bytes.extend_from_slice(key);
                let head = format!("\r\n${}\r\n", blob.len());
                out.bytes.extend_from_slice(head.as_bytes());
                let shared = Deferred::Shared(Arc::clone(blob));
                out.strings.push((out.bytes.len(), shared));
                out.shared_bytes += blob.len();
                out.bytes.extend_from_slice(b"\r\n");
                write_expiry(&mut out.bytes, entry);
                None
            }
            _ => {
                let next = write_part(&mut out.bytes, entry, from, self.part_elements);
                if next.is_none() {
                    write_expiry(&mut out.bytes, entry);
                }
                next
            }
        }
    }
}

/// Appends what a [`CommandEncoder`] has left, with the strings that are shared.
pub fn put_in(encoded: &Encoded, out: &mut Vec<u8>) {
    let mut written = 0;
    for (at, string) in &encoded.strings {
        out.extend_from_slice(encoded.bytes.get(written..*at).unwrap_or_default());
        written = *at;
        // Commands have each other string in its place.
        if let Deferred::Shared(blob) = string {
            out.extend_from_slice(blob);
        }
    }
    out.extend_from_slice(encoded.bytes.get(written..).unwrap_or_default());
}

/// The stage of a stream behind its entries.
const REST: u8 = 1;

/// The commands that make a part of a large value; where the next part begins, or none after the last.
fn write_part(
    out: &mut Vec<u8>,
    entry: &EntryRef<'_>,
    from: &Position,
    elements: usize,
) -> Option<Position> {
    let key = entry.key();
    match entry.stored() {
        Stored::List(list) => {
            let mut batch = Batch::new(out, b"RPUSH", key, PER_COMMAND);
            let from = from.at as usize;
            list.range(from, elements, false, |element| batch.add(&element));
            batch.end();
            let next = from + elements;
            (next < list.len()).then_some(Position::at(next as u128))
        }
        Stored::Set(set) if set.as_intset().is_none() && set.as_listpack().is_none() => {
            let mut batch = Batch::new(out, b"SADD", key, PER_COMMAND);
            let next = scanned(from.at, elements, |cursor, written| {
                set.scan(cursor, |member| {
                    *written += 1;
                    batch.add(&member);
                })
            });
            batch.end();
            next
        }
        Stored::SortedSet(set) if set.as_listpack().is_none() => {
            let mut batch = Batch::new(out, b"ZADD", key, PER_COMMAND * 2);
            let from = from.at as usize;
            for (member, score) in set.iter_from(from, elements, false) {
                batch.add_scored(member, score);
            }
            batch.end();
            let next = from + elements;
            (next < set.len()).then_some(Position::at(next as u128))
        }
        Stored::Hash(hash) if hash.listpack().is_none() => {
            let mut batch = Batch::new(out, b"HMSET", key, PER_COMMAND * 2);
            let mut expiries = Vec::new();
            let next = scanned(from.at, elements, |cursor, written| {
                hash.scan(cursor, |pair| {
                    *written += 1;
                    batch.add(&pair.field);
                    batch.add(&pair.value);
                    if pair.expiry.is_some() {
                        write_field_expiry(&mut expiries, key, &pair);
                    }
                })
            });
            batch.end();
            // A field has to be there first.
            out.append(&mut expiries);
            next
        }
        Stored::Stream(stream) if from.stage != REST => {
            let from = StreamId::from_bytes(from.at.to_be_bytes());
            let mut entries = stream.range(from, StreamId::MAX);
            for entry in entries.by_ref().take(elements) {
                write_stream_entry(out, key, &entry);
            }
            let next = entries.next().map(|entry| entry.id().to_bytes());
            Some(match next {
                Some(id) => Position::at(u128::from_be_bytes(id)),
                None => Position {
                    stage: REST,
                    ..Position::default()
                },
            })
        }
        Stored::Stream(stream) => {
            write_stream_rest(out, key, stream);
            None
        }
        Stored::String(_) | Stored::Set(_) | Stored::SortedSet(_) | Stored::Hash(_) => {
            write_value(out, entry);
            None
        }
    }
}

/// Steps of a scan, from a cursor on; `step` counts what it has written.
fn scanned(
    from: u128,
    elements: usize,
    mut step: impl FnMut(u64, &mut usize) -> u64,
) -> Option<Position> {
    let (mut cursor, mut written) = (from as u64, 0);
    while written < elements {
        cursor = step(cursor, &mut written);
        if cursor == 0 {
            return None;
        }
    }
    Some(Position::at(cursor.into()))
}

/// The commands that make one key.
pub fn write_entry(out: &mut Vec<u8>, entry: &EntryRef<'_>) {
    write_value(out, entry);
    write_expiry(out, entry);
}

fn write_expiry(out: &mut Vec<u8>, entry: &EntryRef<'_>) {
    if let Some(at) = entry.expire_at() {
        let at = at.to_string();
        let words = [&b"PEXPIREAT"[..], entry.key(), at.as_bytes()];
        write_command(out, words.into_iter());
    }
}

fn write_field_expiry(out: &mut Vec<u8>, key: &[u8], pair: &Pair<'_>) {
    if let Some(at) = pair.expiry {
        let at = at.to_string();
        pair.field.with_bytes(|field| {
            let words: [&[u8]; 6] = [b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", field];
            write_command(out, words.into_iter());
        });
    }
}

fn write_value(out: &mut Vec<u8>, entry: &EntryRef<'_>) {
    let key = entry.key();
    match entry.stored() {
        Stored::String(value) => value.with_bytes(|bytes| {
            write_command(out, [&b"SET"[..], key, bytes].into_iter());
        }),
        Stored::List(list) => {
            let mut batch = Batch::new(out, b"RPUSH", key, PER_COMMAND);
            list.for_each(|element| batch.add(&element));
            batch.end();
        }
        Stored::Set(set) => {
            let mut batch = Batch::new(out, b"SADD", key, PER_COMMAND);
            set.for_each(|member| batch.add(&member));
            batch.end();
        }
        Stored::SortedSet(set) => {
            let mut batch = Batch::new(out, b"ZADD", key, PER_COMMAND * 2);
            for (member, score) in set.iter() {
                batch.add_scored(member, score);
            }
            batch.end();
        }
        Stored::Hash(hash) => {
            let mut batch = Batch::new(out, b"HMSET", key, PER_COMMAND * 2);
            for pair in hash.iter() {
                batch.add(&pair.field);
                batch.add(&pair.value);
            }
            batch.end();
            for pair in hash.iter() {
                write_field_expiry(out, key, &pair);
            }
        }
        Stored::Stream(stream) => {
            for entry in stream.range(StreamId::MIN, StreamId::MAX) {
                write_stream_entry(out, key, &entry);
            }
            write_stream_rest(out, key, stream);
        }
    }
}

/// Gathers the words of one command after the other.
struct Batch<'a> {
    out: &'a mut Vec<u8>,
    command: &'static [u8],
    key: &'a [u8],
    most: usize,
    words: Vec<Vec<u8>>,
}

impl<'a> Batch<'a> {
    fn new(out: &'a mut Vec<u8>, command: &'static [u8], key: &'a [u8], most: usize) -> Batch<'a> {
        Batch {
            out,
            command,
            key,
            most,
            words: Vec::with_capacity(most),
        }
    }
    fn add(&mut self, word: &Item<'_>) {
        self.words.push(word.to_vec());
        if self.words.len() == self.most {
            self.end();
        }
    }
    fn add_scored(&mut self, member: Item<'_>, score: f64) {
        let mut text = Vec::new();
        crate::system::numbers::write_double(&mut text, score);
        self.add(&Item::Bytes(&text));
        self.add(&member);
    }
    fn end(&mut self) {
        if self.words.is_empty() {
            return;
        }
        let mut all: Vec<&[u8]> = vec![self.command, self.key];
        all.extend(self.words.iter().map(Vec::as_slice));
        write_command(self.out, all.into_iter());
        self.words.clear();
    }
}

fn write_stream_entry(out: &mut Vec<u8>, key: &[u8], entry: &Entry<'_>) {
    let mut words = vec![b"XADD".to_vec(), key.to_vec(), entry.id().text().to_vec()];
    for (field, value) in entry.pairs() {
        words.push(field.to_vec());
        words.push(value.to_vec());
    }
    write_command(out, words.iter().map(Vec::as_slice));
}

/// What a stream has besides its entries.
fn write_stream_rest(out: &mut Vec<u8>, key: &[u8], stream: &Stream) {
    if stream.is_empty() {
        // A stream may be empty, but is only made by its first entry.
        let words: [&[u8]; 7] = [b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"];
        write_command(out, words.into_iter());
    }
    let added = stream.entries_added().to_string();
    let (last, deleted) = (stream.last_id().text(), stream.max_deleted_id().text());
    let words: [&[u8]; 7] = [
        b"XSETID",
        key,
        &last,
        b"ENTRIESADDED",
        added.as_bytes(),
        b"MAXDELETEDID",
        &deleted,
    ];
    write_command(out, words.into_iter());
    for (name, group) in stream.groups() {
        let (last, read) = (group.last_id.text(), group.entries_read.to_string());
        let words: [&[u8]; 7] = [
            b"XGROUP",
            b"CREATE",
            key,
            name,
            &last,
            b"ENTRIESREAD",
            read.as_bytes(),
        ];
        write_command(out, words.into_iter());
        for consumer in group.consumers() {
            if consumer.pending_len() == 0 {
                let words: [&[u8]; 5] = [b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()];
                write_command(out, words.into_iter());
            }
            for id in consumer.pending() {
                let Some(pending) = group.pending(id) else {
                    continue;
                };
                let (id, at) = (id.text(), pending.delivered_ms.to_string());
                let count = pending.deliveries.to_string();
                let words: [&[u8]; 12] = [
                    b"XCLAIM",
                    key,
                    name,
                    consumer.name(),
                    b"0",
                    &id,
                    b"TIME",
                    at.as_bytes(),
                    b"RETRYCOUNT",
                    count.as_bytes(),
                    b"JUSTID",
                    b"FORCE",
                ];
                write_command(out, words.into_iter());
            }
        }
    }
}
