//! A data set as the shortest commands that make it (`aof-use-rdb-preamble no`).
//!
//! In: the keyspace and the libraries of functions. Out: commands as RESP, several elements to each. Mirrors `rewriteAppendOnlyFileRio` of aof.c.

use crate::journal::write_command;
use crate::keyspace::{EntryRef, Keyspace, Stored};
use crate::persistence::snapshot::delay;
use crate::structures::Collection;
use crate::structures::listpack::Item;
use crate::structures::stream::{Stream, StreamId};
use std::io::{self, Write};
use std::sync::Arc;

/// Elements that one command carries.
const PER_COMMAND: usize = 64;
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
    let mut out = Vec::new();
    let mut keys = 0;
    if let Some(seconds) = timestamp_s {
        out.extend_from_slice(format!("#TS:{seconds}\r\n").as_bytes());
    }
    for code in libraries {
        write_command(&mut out, [b"FUNCTION", &b"LOAD"[..], code].into_iter());
    }
    for index in 0..keyspace.count() {
        if keyspace.figures(index).0 == 0 {
            continue;
        }
        let number = index.to_string();
        write_command(&mut out, [&b"SELECT"[..], number.as_bytes()].into_iter());
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

/// The commands that make one key.
pub fn write_entry(out: &mut Vec<u8>, entry: &EntryRef<'_>) {
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
            let mut text = Vec::new();
            for (member, score) in set.iter() {
                text.clear();
                crate::system::numbers::write_double(&mut text, score);
                batch.add(&Item::Bytes(&text));
                batch.add(&member);
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
                if let Some(at) = pair.expiry {
                    let at = at.to_string();
                    pair.field.with_bytes(|field| {
                        let words: [&[u8]; 6] =
                            [b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", field];
                        write_command(out, words.into_iter());
                    });
                }
            }
        }
        Stored::Stream(stream) => write_stream(out, key, stream),
    }
    if let Some(at) = entry.expire_at() {
        let at = at.to_string();
        write_command(out, [&b"PEXPIREAT"[..], key, at.as_bytes()].into_iter());
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

fn write_stream(out: &mut Vec<u8>, key: &[u8], stream: &Stream) {
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let mut words = vec![b"XADD".to_vec(), key.to_vec(), entry.id().text().to_vec()];
        for (field, value) in entry.pairs() {
            words.push(field.to_vec());
            words.push(value.to_vec());
        }
        write_command(out, words.iter().map(Vec::as_slice));
    }
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
