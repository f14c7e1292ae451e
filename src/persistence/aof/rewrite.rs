//! A data set as the shortest commands that make it (`aof-use-rdb-preamble no`).
//!
//! In: the keyspace and the libraries of functions, at once or piece by piece ([`CommandEncoder`]). Out: commands as RESP,
//! several elements to each. Mirrors `rewriteAppendOnlyFileRio` of aof.c.

use crate::journal::write_command;
use crate::keyspace::{
    Deferred, Encoded, Encoder, EntryRef, FieldsPart, Inside, Keyspace, Position, Stored, Value,
};
use crate::persistence::rdb::save::{PartSize, Room, part_of_table};
use crate::persistence::rdb::stream::{consumer_at, group_at, stage};
use crate::persistence::rdb::write::{GATHERED, Portion, Sink};
use crate::persistence::snapshot::delay;
use crate::structures::Collection;
use crate::structures::hash::Pair;
use crate::structures::list::List;
use crate::structures::listpack::Item;
use crate::structures::quicklist::NodeView;
use crate::structures::sorted_set::SortedSet;
use crate::structures::stream::{Entry, Group, Pending, Stream, StreamId};
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
    /// How much of a large value is written in one part.
    pub part_size: PartSize,
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
                let next = write_part(&mut out.bytes, entry, from, self.part_size);
                if next.is_none() {
                    write_expiry(&mut out.bytes, entry);
                }
                next
            }
        }
    }
    fn fields(&self, mut part: FieldsPart<'_>, out: &mut Encoded) -> bool {
        let key: Box<[u8]> = part.entry.key().into();
        let room = Room::new(self.part_size, out.bytes.len());
        let mut fields = Fields::new(&mut out.bytes, &key);
        let is_last = part.read_on(
            room,
            &mut fields,
            Fields::written,
            |fields, pair, inside| fields.add(&pair, inside, room),
        );
        fields.end();
        if is_last {
            write_expiry(&mut out.bytes, &part.entry);
        }
        is_last
    }
}

/// Gives what a [`CommandEncoder`] has left to a sink, with the strings that are shared.
pub fn put_in(encoded: &Encoded, sink: Sink<'_>) -> io::Result<()> {
    let mut gathered = Vec::with_capacity(encoded.len().min(2 * GATHERED));
    let mut written = 0;
    for (at, string) in &encoded.strings {
        gathered.extend_from_slice(encoded.bytes.get(written..*at).unwrap_or_default());
        written = *at;
        // Commands have each other string in its place.
        let Deferred::Shared(blob) = string else {
            continue;
        };
        let is_long = blob.len() >= GATHERED;
        if !is_long {
            gathered.extend_from_slice(blob);
        }
        if is_long || gathered.len() >= GATHERED {
            sink(Portion::Gathered(&mut gathered))?;
            gathered.clear();
        }
        if is_long {
            sink(Portion::Shared(blob))?;
        }
    }
    gathered.extend_from_slice(encoded.bytes.get(written..).unwrap_or_default());
    sink(Portion::Gathered(&mut gathered))
}

/// The commands that make a part of a large value; where the next part begins, or none after the last.
fn write_part(
    out: &mut Vec<u8>,
    entry: &EntryRef<'_>,
    from: &Position,
    size: PartSize,
) -> Option<Position> {
    let key = entry.key();
    let mut room = Room::new(size, out.len());
    match entry.stored() {
        Stored::List(list) => {
            let batch = Batch::new(out, b"RPUSH", key, PER_COMMAND);
            part_of_list(list, from, room, batch)
        }
        Stored::Set(set) if set.as_intset().is_none() && set.as_listpack().is_none() => {
            let mut batch = Batch::new(out, b"SADD", key, PER_COMMAND);
            let next = part_of_table(from, room, &mut batch, Batch::written, |cursor, each| {
                set.scan(cursor, |member| {
                    each(&mut |batch, inside| batch.element(&[member], inside, room));
                })
            });
            batch.end();
            next
        }
        Stored::SortedSet(set) if set.as_listpack().is_none() => {
            let batch = Batch::new(out, b"ZADD", key, PER_COMMAND * 2);
            part_of_sorted_set(set, from, room, batch)
        }
        Stored::Hash(hash) if hash.listpack().is_none() => {
            let mut fields = Fields::new(out, key);
            let next = part_of_table(from, room, &mut fields, Fields::written, |cursor, each| {
                hash.scan(cursor, |pair| {
                    each(&mut |fields, inside| fields.add(&pair, inside, room));
                })
            });
            fields.end();
            next
        }
        Stored::Stream(stream) => {
            let mut next = write_stream_stage(out, key, stream, from, &mut room)?;
            while room.is_left(out.len()) {
                next = write_stream_stage(out, key, stream, &next, &mut room)?;
            }
            Some(next)
        }
        Stored::String(_) | Stored::Set(_) | Stored::SortedSet(_) | Stored::Hash(_) => {
            write_value(out, entry);
            None
        }
    }
}

fn part_of_list(
    list: &List,
    from: &Position,
    mut room: Room,
    mut batch: Batch<'_>,
) -> Option<Position> {
    // By nodes: to find an element by its index takes longer the longer the list is.
    let (mut next, mut inside) = (from.at as usize, from.inside);
    while next < list.node_count() && room.is_left(batch.written()) {
        // One that is compressed is written whole: it would have to be unpacked for each part.
        if let Some(NodeView::Plain(element)) = list.nodes_from(next).next() {
            let rest = batch.element(&[Item::Bytes(element)], inside, room);
            if let Some(inside) = rest {
                return Some(Position {
                    inside,
                    ..Position::at(next as u128)
                });
            }
            room.take_one();
        } else {
            list.for_each_in_node(next, |element| {
                batch.add(&element);
                room.take_one();
            });
        }
        inside = Inside::default();
        next += 1;
    }
    batch.end();
    (next < list.node_count()).then(|| Position::at(next as u128))
}

fn part_of_sorted_set(
    set: &SortedSet,
    from: &Position,
    mut room: Room,
    mut batch: Batch<'_>,
) -> Option<Position> {
    let (mut next, mut inside) = (from.at as usize, from.inside);
    for (member, score) in set.iter_from(next, set.len().saturating_sub(next), false) {
        if !room.is_left(batch.written()) {
            break;
        }
        let text = score_text(score);
        let words = [Item::Bytes(&text), member];
        if let Some(inside) = batch.element(&words, std::mem::take(&mut inside), room) {
            return Some(Position {
                inside,
                ..Position::at(next as u128)
            });
        }
        room.take_one();
        next += 1;
    }
    batch.end();
    (next < set.len()).then(|| Position::at(next as u128))
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
        let words = expiry_words(key, &at, pair.field);
        write_long(out, [&words[..]].into_iter(), Inside::default(), Room::ALL);
    }
}

fn expiry_words<'a>(key: &'a [u8], at: &'a str, field: Item<'a>) -> [Item<'a>; 6] {
    let words = [b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1"].map(Item::Bytes);
    let [name, key, at, fields, one] = words;
    [name, key, at, fields, one, field]
}

fn score_text(score: f64) -> Vec<u8> {
    let mut text = Vec::new();
    crate::system::numbers::write_double(&mut text, score);
    text
}

/// Bytes of words.
fn len_of(words: &[Item<'_>]) -> usize {
    words.iter().map(Item::len).sum()
}

/// Writes commands that are so long that they are written in parts, from a place on, as much as there is room for, but always
/// something; where they go on. The place is that in the bytes of all of them.
fn write_long<'a>(
    out: &mut Vec<u8>,
    commands: impl Iterator<Item = &'a [Item<'a>]>,
    from: Inside,
    room: Room,
) -> Option<Inside> {
    let (begin, mut before) = (out.len(), from.at);
    let mut left = room.left(begin).max(1);
    let mut is_whole = true;
    let mut put = |bytes: &[u8]| {
        let rest = bytes.get(before..).unwrap_or_default();
        before = before.saturating_sub(bytes.len());
        let part = rest.get(..left).unwrap_or(rest);
        out.extend_from_slice(part);
        left -= part.len();
        is_whole &= part.len() == rest.len();
    };
    for words in commands {
        put(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            put(format!("${}\r\n", word.len()).as_bytes());
            word.with_bytes(&mut put);
            put(b"\r\n");
        }
    }
    let at = from.at + (out.len() - begin);
    (!is_whole).then_some(Inside { string: 0, at })
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
        Stored::Stream(_) => {
            let rest = write_part(out, entry, &Position::default(), PartSize::WHOLE);
            debug_assert!(rest.is_none(), "all of it is one part");
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
    /// Bytes of `words`.
    gathered: usize,
}

impl<'a> Batch<'a> {
    fn new(out: &'a mut Vec<u8>, command: &'static [u8], key: &'a [u8], most: usize) -> Batch<'a> {
        Batch {
            out,
            command,
            key,
            most,
            words: Vec::new(),
            gathered: 0,
        }
    }
    /// Bytes of the buffer, and of what will go there.
    fn written(&self) -> usize {
        self.out.len() + self.gathered
    }
    fn add(&mut self, word: &Item<'_>) {
        let word = word.to_vec();
        self.gathered += word.len();
        self.words.push(word);
        if self.words.len() == self.most {
            self.end();
        }
    }
    fn add_scored(&mut self, member: Item<'_>, score: f64) {
        self.add(&Item::Bytes(&score_text(score)));
        self.add(&member);
    }
    /// What its commands begin with.
    fn head(&self) -> [Item<'a>; 2] {
        [Item::Bytes(self.command), Item::Bytes(self.key)]
    }
    /// Adds the words of one element; or, where they are long, a part of a command of their own, from a place on. Where that
    /// goes on.
    fn element(&mut self, words: &[Item<'_>], from: Inside, room: Room) -> Option<Inside> {
        if !room.is_long(len_of(words)) {
            words.iter().for_each(|word| self.add(word));
            return None;
        }
        self.end();
        let command = [&self.head()[..], words].concat();
        write_long(self.out, [&command[..]].into_iter(), from, room)
    }
    fn end(&mut self) {
        if self.words.is_empty() {
            return;
        }
        let mut all: Vec<&[u8]> = vec![self.command, self.key];
        all.extend(self.words.iter().map(Vec::as_slice));
        write_command(self.out, all.into_iter());
        self.words.clear();
        self.gathered = 0;
    }
}

/// Gathers fields of a hash, and their expiries behind them: a field has to be there before its expiry.
struct Fields<'a> {
    batch: Batch<'a>,
    expiries: Vec<u8>,
}

impl<'a> Fields<'a> {
    fn new(out: &'a mut Vec<u8>, key: &'a [u8]) -> Fields<'a> {
        Fields {
            batch: Batch::new(out, b"HMSET", key, PER_COMMAND * 2),
            expiries: Vec::new(),
        }
    }
    /// Bytes of the buffer, and of what will go there.
    fn written(&self) -> usize {
        self.batch.written() + self.expiries.len()
    }
    /// Adds a field; or, where it is long, a part of commands of its own, from a place on. Where that goes on.
    fn add(&mut self, pair: &Pair<'_>, inside: Inside, room: Room) -> Option<Inside> {
        let (words, key) = ([pair.field, pair.value], self.batch.key);
        if !room.is_long(len_of(&words)) {
            words.iter().for_each(|word| self.batch.add(word));
            write_field_expiry(&mut self.expiries, key, pair);
            return None;
        }
        // Nothing may be put between its parts.
        self.end();
        let set = [&self.batch.head()[..], &words[..]].concat();
        let at = pair.expiry.map(|at| at.to_string());
        let expire = at.as_ref().map(|at| expiry_words(key, at, pair.field));
        let commands = [Some(&set[..]), expire.as_ref().map(|it| &it[..])];
        write_long(self.batch.out, commands.into_iter().flatten(), inside, room)
    }
    fn end(&mut self) {
        self.batch.end();
        self.batch.out.append(&mut self.expiries);
    }
}

/// Writes an entry, or a part of a long one.
fn write_part_of_stream_entry(
    out: &mut Vec<u8>,
    key: &[u8],
    entry: &Entry<'_>,
    from: Inside,
    room: Room,
) -> Option<Inside> {
    /// All words are looked at for each part: an entry with more of them is written whole.
    const WORDS_MAX: usize = 1024;
    let id = entry.id().text();
    let mut words: Vec<Item<'_>> = [&b"XADD"[..], key, &id].map(Item::Bytes).into();
    let pairs = entry.pairs().flat_map(|(field, value)| [field, value]);
    words.extend(pairs.take(WORDS_MAX));
    if words.len() >= WORDS_MAX || !room.is_long(len_of(&words)) {
        write_stream_entry(out, key, entry);
        return None;
    }
    write_long(out, [&words[..]].into_iter(), from, room)
}

fn write_stream_entry(out: &mut Vec<u8>, key: &[u8], entry: &Entry<'_>) {
    let mut words = vec![b"XADD".to_vec(), key.to_vec(), entry.id().text().to_vec()];
    for (field, value) in entry.pairs() {
        words.push(field.to_vec());
        words.push(value.to_vec());
    }
    write_command(out, words.iter().map(Vec::as_slice));
}

/// Writes what is left of one stage, or as much as there is room for. Where to go on, if anything is left. The stages are those
/// of an RDB file, but that entries are found by their ids, and what is pending is written with its consumer.
fn write_stream_stage(
    out: &mut Vec<u8>,
    key: &[u8],
    stream: &Stream,
    from: &Position,
    room: &mut Room,
) -> Option<Position> {
    let id = StreamId::from_bytes(from.at.to_be_bytes());
    if from.stage == stage::NODES {
        let mut inside = from.inside;
        for entry in stream.range(id, StreamId::MAX) {
            let here = Position::default().moved_to(entry.id());
            if !room.is_left(out.len()) {
                return Some(here);
            }
            let from = std::mem::take(&mut inside);
            if let Some(inside) = write_part_of_stream_entry(out, key, &entry, from, *room) {
                return Some(Position { inside, ..here });
            }
            room.take_one();
        }
        write_stream_ids(out, key, stream);
        return group_at(stream.groups().next());
    }
    let (name, consumer_name) = &from.within;
    let group = stream.group(name)?;
    if from.stage == stage::GROUP {
        write_group(out, key, name, group);
        room.take_one();
        return consumer_at(stream, name, group.consumers().next());
    }
    let consumer = group.consumer(group.find(consumer_name)?)?;
    if consumer.pending_len() == 0 {
        let words: [&[u8]; 5] = [b"XGROUP", b"CREATECONSUMER", key, name, consumer_name];
        write_command(out, words.into_iter());
        room.take_one();
    }
    for id in consumer.pending_from(id) {
        if !room.is_left(out.len()) {
            return Some(from.clone().moved_to(id));
        }
        if let Some(pending) = group.pending(id) {
            write_pending(out, key, [name, consumer_name], id, pending);
        }
        room.take_one();
    }
    consumer_at(stream, name, group.consumer_after(consumer_name))
}

/// The ids that a stream knows besides those of its entries.
fn write_stream_ids(out: &mut Vec<u8>, key: &[u8], stream: &Stream) {
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
}

fn write_group(out: &mut Vec<u8>, key: &[u8], name: &[u8], group: &Group) {
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
}

fn write_pending(
    out: &mut Vec<u8>,
    key: &[u8],
    [group, consumer]: [&[u8]; 2],
    id: StreamId,
    pending: &Pending,
) {
    let (id, at) = (id.text(), pending.delivered_ms.to_string());
    let count = pending.deliveries.to_string();
    let words: [&[u8]; 12] = [
        b"XCLAIM",
        key,
        group,
        consumer,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Clock, Expiry, KeyEntry, NewValue};
    use crate::persistence::rdb::tests::value;
    use crate::structures::dict::HashSeed;
    use crate::structures::hash::{Hash, HashLimits};
    use crate::structures::list::ListLimits;
    use crate::structures::set::{Set, SetLimits};
    use crate::structures::sorted_set::Limits;
    use crate::structures::stream::NodeLimits;
    use proptest::prelude::*;

    const SEED: HashSeed = HashSeed([1, 2, 3, 4]);

    /// What is written of a value, in parts and as a whole.
    fn parts_and_whole(value: NewValue<'static>, part_size: PartSize) -> (Vec<Vec<u8>>, Vec<u8>) {
        let now = Clock {
            unix_us: 1,
            mono_ns: 1,
            keeps_expired: false,
        };
        let mut keyspace = Keyspace::new(1, SEED.0);
        if let KeyEntry::Vacant(vacant) = keyspace.db(0, now, true).entry(b"key") {
            vacant.insert(value, Expiry::At(77));
        }
        let (mut parts, mut whole) = (Vec::new(), Vec::new());
        let encoder = CommandEncoder { part_size };
        keyspace.for_each(0, &mut |entry| {
            let mut next = Some(Position::default());
            while let Some(from) = next {
                let mut encoded = Encoded::default();
                next = encoder.part(&entry, &from, &mut encoded);
                assert_ne!(next.as_ref(), Some(&from), "it does not go on");
                let mut bytes = Vec::new();
                put_in(&encoded, &mut |put| {
                    bytes.extend_from_slice(put.bytes());
                    Ok(())
                })
                .expect("no file");
                parts.push(bytes);
            }
            write_entry(&mut whole, &entry);
        });
        (parts, whole)
    }

    /// The commands, but what adds several elements as so many commands.
    fn commands(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let mut rest = bytes;
        let number = |of: &mut &[u8]| {
            let end = of.windows(2).position(|it| it == b"\r\n").expect("a line");
            let text = std::str::from_utf8(&of[1..end]).expect("text");
            *of = &of[end + 2..];
            text.parse::<usize>().expect("a number")
        };
        let mut all = Vec::new();
        while !rest.is_empty() {
            let mut words = Vec::new();
            for _ in 0..number(&mut rest) {
                let len = number(&mut rest);
                words.push(rest[..len].to_vec());
                rest = &rest[len + 2..];
            }
            let each = match &*words[0] {
                b"RPUSH" | b"SADD" => 1,
                b"ZADD" | b"HMSET" => 2,
                _ => words.len() - 1,
            };
            let elements = words[2..].chunks(each);
            all.extend(elements.map(|element| [&words[..2], element].concat()));
        }
        all
    }

    fn member(number: usize, len: usize) -> Vec<u8> {
        let mut member = format!("member {number}:").into_bytes();
        member.resize(len.max(member.len()), b'm');
        member
    }

    fn stream(entries: u64, len: usize) -> Stream {
        let limits = NodeLimits {
            bytes: 4096,
            entries: 100,
        };
        let mut stream = Stream::new(SEED);
        for ms in 1..=entries {
            let pair = [&b"field"[..], &vec![b'v'; len]];
            let added = stream.append(StreamId::new(ms, 0), pair.into_iter(), limits);
            added.expect("a later id");
        }
        stream
    }

    fn pending(mut stream: Stream, ids: u64) -> NewValue<'static> {
        for name in [&b"one"[..], b"other"] {
            let group = stream.add_group(name, StreamId::MIN, 0).expect("new");
            group.add_consumer(b"nobody", 1).expect("new");
            let alice = group.add_consumer(b"alice", 1).expect("new");
            for ms in 1..=ids {
                group.deliver(StreamId::new(ms, 0), alice, 1);
            }
        }
        NewValue::Stream(Box::new(stream))
    }

    /// Values of so many elements of so many bytes, one of each type that is written in parts.
    fn large(elements: usize, len: usize) -> [NewValue<'static>; 5] {
        let mut hash = Hash::new();
        let mut list = List::quicklist(&ListLimits {
            fill: -2,
            depth: 0,
            packed_threshold: 0,
        });
        let mut set = Set::new();
        let mut sorted = SortedSet::new_large(SEED);
        for number in 0..elements {
            let member = member(number, len);
            hash.set(&member, b"v", false, &HashLimits::none(SEED));
            list.push_back(&member);
            let limits = SetLimits {
                intset_entries: 0,
                listpack_entries: 0,
                listpack_value: 0,
                seed: SEED,
            };
            set.add(&member, &limits);
            let limits = Limits {
                max_entries: 0,
                max_value: 0,
            };
            sorted.insert(&member, number as f64, limits);
        }
        [
            NewValue::Hash(Box::new(hash)),
            NewValue::List(list),
            NewValue::Set(set),
            NewValue::SortedSet(Box::new(sorted)),
            NewValue::Stream(Box::new(stream(elements as u64, len))),
        ]
    }

    /// An element of any length was written in one go.
    #[test]
    fn long_elements_come_in_parts() {
        let (size, len) = (PartSize::USUAL, 1_000_000);
        for value in large(2, len) {
            let (parts, whole) = parts_and_whole(value, size);
            let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
            assert!(longest < size.bytes + 300, "{longest}");
            let (mut parts, mut whole) = (commands(&parts.concat()), commands(&whole));
            parts.sort_unstable();
            whole.sort_unstable();
            assert!(parts == whole);
        }
    }

    /// A part was so many elements, however large they were, and all that is pending in a stream was one.
    #[test]
    fn a_part_ends_when_enough_bytes_are_written() {
        let size = PartSize::USUAL;
        let len = 30_000;
        for value in large(40, len) {
            let (parts, _) = parts_and_whole(value, size);
            let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
            assert!(longest < size.bytes + len + 300, "{longest}");
            assert!(parts.len() >= 40 * len / (size.bytes + len));
        }
        for value in large(5000, 1) {
            let (parts, _) = parts_and_whole(value, size);
            assert!((2..15).contains(&parts.len()), "{}", parts.len());
        }
        let (parts, _) = parts_and_whole(pending(stream(1, 1), 5000), size);
        let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
        assert!(longest < size.bytes + 300, "{longest}");
        assert!(parts.len() > 2 * 5000 / size.elements);
    }

    /// Each stream was taken for a large value, however small it was: whoever changed it had to wait.
    #[test]
    fn a_small_stream_is_one_part() {
        let (parts, whole) = parts_and_whole(pending(stream(10, 10), 5), PartSize::USUAL);
        assert_eq!(parts, [whole]);
    }

    proptest! {
        #[test]
        fn parts_of_any_value_make_the_whole(value in value(), elements in 1usize..20, bytes in 1usize..300) {
            let (parts, whole) = parts_and_whole(value, PartSize { elements, bytes });
            let (mut parts, mut whole) = (commands(&parts.concat()), commands(&whole));
            // It expires when all of it is there.
            prop_assert_eq!(parts.last(), whole.last());
            let is_table = |name: &[u8]| matches!(name, b"SADD" | b"HMSET" | b"HPEXPIREAT");
            if whole.iter().any(|words| is_table(&words[0])) {
                parts.sort_unstable();
                whole.sort_unstable();
            }
            prop_assert_eq!(parts, whole);
        }

        #[test]
        fn parts_of_what_is_pending_make_the_whole(ids in 0u64..30, elements in 1usize..20, bytes in 1usize..300) {
            let value = pending(stream(5, 5), ids);
            let (parts, whole) = parts_and_whole(value, PartSize { elements, bytes });
            prop_assert_eq!(parts.concat(), whole);
        }
    }

    /// Long strings go to the file as they are, between what stands before and behind them.
    #[test]
    fn strings_of_any_length_are_put_in() {
        for len in [SHARE_MIN - 1, SHARE_MIN, GATHERED, GATHERED + 1] {
            let value = NewValue::Blob(Arc::new(vec![b'x'; len]));
            let (parts, whole) = parts_and_whole(value, PartSize::USUAL);
            assert!(parts.concat() == whole, "{len}");
        }
    }
}
