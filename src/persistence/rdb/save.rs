//! A value to bytes, in the types of Redis 8.0, or in those that Redis 7.0 knows ([`FileVersion`]).
//!
//! Mirrors `rdbSaveObjectType` and `rdbSaveObject` of rdb.c.

use super::file::{Usage, op};
use super::load::{PACKED, PLAIN};
use super::write::Writer;
use super::{FileVersion, kind, stream};
use crate::keyspace::{EntryRef, FieldsPart, Inside, Position, Stored, Value};
use crate::structures::Collection;
use crate::structures::hash::{FieldRead, Hash, HashSize, Pair};
use crate::structures::list::List;
use crate::structures::listpack::Item;
use crate::structures::quicklist::NodeView;
use crate::structures::set::Set;
use crate::structures::sorted_set::SortedSet;

/// The type that [`save`] writes for a value in a file of this version. A hash whose fields expire has none in version 10: its
/// type is that of version 12, which the file should have had.
pub fn kind_of(value: Stored<'_>, version: FileVersion) -> u8 {
    let is_v12 = version >= FileVersion::V12;
    match value {
        Stored::String(_) => kind::STRING,
        Stored::List(_) => kind::QUICKLIST,
        Stored::Set(set) if set.as_intset().is_some() => kind::SET_INTSET,
        Stored::Set(set) if set.as_listpack().is_some() && is_v12 => kind::SET_LISTPACK,
        Stored::Set(_) => kind::SET,
        Stored::SortedSet(set) if set.as_listpack().is_some() => kind::ZSET_LISTPACK,
        Stored::SortedSet(_) => kind::ZSET,
        Stored::Hash(hash) => kind_of_hash(hash, is_v12),
        Stored::Stream(_) if is_v12 => kind::STREAM_ACTIVE_TIME,
        Stored::Stream(_) => kind::STREAM,
    }
}

fn kind_of_hash(hash: &Hash, is_v12: bool) -> u8 {
    match (hash.listpack(), hash.earliest_expiry()) {
        (Some((_, false)), _) => kind::HASH_LISTPACK,
        // It has room for expiries, as after HPERSIST, but none is there.
        (Some((_, true)), None) if !is_v12 => kind::HASH,
        (Some((_, true)), _) => kind::HASH_LISTPACK_TTL,
        (None, Some(_)) => kind::HASH_TTL,
        (_, None) => kind::HASH,
    }
}

/// Writes what stands before a value: expiry, use, type and key.
pub fn head(entry: &EntryRef<'_>, kind: u8, usage: Option<Usage>, writer: &mut Writer<'_>) {
    if let Some(at) = entry.expire_at() {
        writer.byte(op::EXPIRE_MS);
        writer.time_ms(at);
    }
    match usage {
        Some(Usage::Idle(seconds)) => {
            writer.byte(op::IDLE);
            writer.number(seconds);
        }
        Some(Usage::Frequency(frequency)) => {
            writer.byte(op::FREQ);
            writer.byte(frequency);
        }
        None => {}
    }
    writer.byte(kind);
    writer.string(entry.key());
}

/// Writes a value without its type. O(bytes).
pub fn save(value: Stored<'_>, writer: &mut Writer<'_>) {
    match value {
        Stored::String(Value::Int(number)) => writer.integer_string(number),
        Stored::String(Value::Bytes(bytes)) => writer.string(bytes),
        Stored::String(Value::Blob(blob)) => writer.shared_string(blob),
        Stored::List(list) => save_list(list, writer),
        Stored::Set(set) => save_set(set, writer),
        Stored::SortedSet(set) => save_sorted_set(set, writer),
        Stored::Hash(hash) => save_hash(hash, writer),
        Stored::Stream(value) => stream::save(value, writer),
    }
}

fn save_item(item: Item<'_>, writer: &mut Writer<'_>) {
    match item {
        Item::Int(number) => writer.integer_string(number),
        Item::Bytes(bytes) => writer.string(bytes),
    }
}

fn save_list(list: &List, writer: &mut Writer<'_>) {
    writer.len(list.node_count());
    list.nodes().for_each(|node| save_node(node, writer));
}

fn save_node(node: NodeView<'_>, writer: &mut Writer<'_>) {
    let plain = match node {
        NodeView::Packed(_) => false,
        NodeView::Plain(_) => true,
        NodeView::Compressed { plain, .. } => plain,
    };
    writer.number(if plain { PLAIN } else { PACKED });
    match node {
        NodeView::Packed(pack) => writer.string(pack.as_bytes()),
        NodeView::Plain(bytes) => writer.string(bytes),
        NodeView::Compressed { bytes, size, .. } => writer.compressed(bytes, size),
    }
}

fn save_set(set: &Set, writer: &mut Writer<'_>) {
    if let Some(intset) = set.as_intset() {
        return writer.string(intset.as_bytes());
    }
    if let Some(pack) = set.as_listpack()
        && writer.version() >= FileVersion::V12
    {
        return writer.string(pack.as_bytes());
    }
    writer.len(set.len());
    set.for_each(|item| save_item(item, writer));
}

fn save_sorted_set(set: &SortedSet, writer: &mut Writer<'_>) {
    if let Some(pack) = set.as_listpack() {
        return writer.string(pack.as_bytes());
    }
    writer.len(set.len());
    // From the greatest on: so Redis finds the place of each at once when it loads them.
    let last = set.len().saturating_sub(1);
    for (member, score) in set.iter_from(last, set.len(), true) {
        save_item(member, writer);
        writer.score(score);
    }
}

fn save_hash(hash: &Hash, writer: &mut Writer<'_>) {
    let earliest = hash.earliest_expiry();
    let kind = kind_of_hash(hash, writer.version() >= FileVersion::V12);
    if let Some((pack, has_expiries)) = hash.listpack()
        && kind != kind::HASH
    {
        if has_expiries {
            writer.time_ms(earliest.unwrap_or(0));
        }
        return writer.string(pack.as_bytes());
    }
    if let Some(earliest) = earliest {
        writer.time_ms(earliest);
    }
    writer.len(hash.len());
    hash.iter()
        .for_each(|pair| save_pair(pair, earliest, writer));
}

/// The type of a hash table that is read by its fields.
pub fn kind_of_fields(was: HashSize) -> u8 {
    match was.earliest {
        Some(_) => kind::HASH_TTL,
        None => kind::HASH,
    }
}

/// Writes a part of a hash table that is read by its fields, the first with what stands before them; whether it is the last.
pub fn save_fields(part: &mut FieldsPart<'_>, size: PartSize, writer: &mut Writer<'_>) -> bool {
    let earliest = part.was.earliest;
    if part.is_first {
        if let Some(earliest) = earliest {
            writer.time_ms(earliest);
        }
        writer.len(part.was.fields);
    }
    let room = Room::new(size, writer.written());
    part.read_on(room, writer, Writer::written, |writer, pair, inside| {
        writer.element(inside, room, |writer| save_pair(pair, earliest, writer))
    })
}

impl FieldsPart<'_> {
    /// Reads on as long as there is room; whether it is the end. `write` writes a field from a place in it on, and says where it
    /// goes on.
    pub(in crate::persistence) fn read_on<W>(
        &mut self,
        mut room: Room,
        writer: &mut W,
        written: impl Fn(&W) -> usize,
        write: impl Fn(&mut W, Pair<'_>, Inside) -> Option<Inside>,
    ) -> bool {
        let inside = &mut *self.inside;
        if let Some(pair) = self.hash.unfinished() {
            if let Some(rest) = write(writer, pair, std::mem::take(inside)) {
                *inside = rest;
                return false;
            }
            self.hash.finish();
            room.take_one();
        }
        self.hash.read_on(&mut |pair| {
            if let Some(rest) = write(writer, pair, Inside::default()) {
                *inside = rest;
                return FieldRead::InPart;
            }
            room.take_one();
            match room.is_left(written(writer)) {
                true => FieldRead::Whole,
                false => FieldRead::Last,
            }
        })
    }
}

fn save_pair(pair: Pair<'_>, earliest: Option<i64>, writer: &mut Writer<'_>) {
    if let Some(earliest) = earliest {
        // 0 is none, so that the earliest itself is 1.
        let behind = |at: i64| at.saturating_sub(earliest).saturating_add(1);
        writer.number(pair.expiry.map_or(0, behind).unsigned_abs());
    }
    save_item(pair.field, writer);
    save_item(pair.value, writer);
}

/// How much of a large collection is written in one part: until either is reached. An element, a node of a list or of a stream,
/// and a listpack that are longer are written in parts themselves. A string is written whole.
#[derive(Clone, Copy, Debug)]
pub struct PartSize {
    /// Elements that are written one by one, each of which may be a miss of the cache.
    pub elements: usize,
    /// Bytes that are copied.
    pub bytes: usize,
}

impl PartSize {
    /// All at once.
    pub const WHOLE: PartSize = PartSize {
        elements: usize::MAX,
        bytes: usize::MAX,
    };
    /// Some 50 microseconds of the loop.
    pub const USUAL: PartSize = PartSize {
        elements: 512,
        bytes: 128 * 1024,
    };
}

/// What may still be written into a part.
#[derive(Clone, Copy, Debug)]
pub(in crate::persistence) struct Room {
    elements: usize,
    /// Bytes of the buffer at which the part is full.
    end: usize,
    /// Strings that are longer are written in parts, bytes.
    longest: usize,
}

/// Shorter strings are never written in parts: of some it is not known how they are written before all of it is there.
const PART_MIN: usize = 32;

impl Room {
    /// For all that comes.
    pub(in crate::persistence) const ALL: Room = Room {
        elements: usize::MAX,
        end: usize::MAX,
        longest: usize::MAX,
    };
    /// For a buffer that has so many bytes.
    pub(in crate::persistence) fn new(size: PartSize, written: usize) -> Room {
        Room {
            elements: size.elements,
            end: written.saturating_add(size.bytes),
            longest: size.bytes.max(PART_MIN),
        }
    }
    /// Whether a string of so many bytes is to be written in parts.
    pub(in crate::persistence) fn is_long(&self, len: usize) -> bool {
        len > self.longest
    }
    /// Bytes for which there is room in the buffer, which has so many.
    pub(in crate::persistence) fn left(&self, written: usize) -> usize {
        self.end.saturating_sub(written)
    }
    /// Whether another element may be written to the buffer, which has so many bytes now.
    pub(in crate::persistence) fn is_left(&self, written: usize) -> bool {
        self.elements > 0 && written < self.end
    }
    /// An element was written.
    pub(in crate::persistence) fn take_one(&mut self) {
        self.elements = self.elements.saturating_sub(1);
    }
}

/// Writes a part of a value, the first from the default position; where the next part begins, or none after the last. All
/// parts together hold what [`save`] writes (members of hash tables in another order). A value that is no large
/// collection has one part: whether it is large is found by writing the first.
pub fn save_part(
    value: Stored<'_>,
    from: &Position,
    size: PartSize,
    writer: &mut Writer<'_>,
) -> Option<Position> {
    // What stands before the elements is none of them: with it alone a part would not go on.
    let room = |writer: &Writer<'_>| Room::new(size, writer.written());
    let is_first = *from == Position::default();
    let kind = kind_of(value, writer.version());
    match value {
        Stored::List(list) => part_of_list(list, from, room(writer), writer),
        Stored::Set(set) if kind == kind::SET => {
            if is_first {
                writer.len(set.len());
            }
            let room = room(writer);
            part_of_table(from, room, writer, Writer::written, |cursor, each| {
                set.scan(cursor, |item| {
                    each(&mut |writer, inside| {
                        writer.element(inside, room, |writer| save_item(item, writer))
                    });
                })
            })
        }
        Stored::SortedSet(set) if set.as_listpack().is_none() => {
            part_of_sorted_set(set, from, room(writer), writer)
        }
        Stored::Hash(hash) if matches!(kind, kind::HASH | kind::HASH_TTL) => {
            let earliest = hash.earliest_expiry();
            if is_first {
                if let Some(earliest) = earliest {
                    writer.time_ms(earliest);
                }
                writer.len(hash.len());
            }
            let room = room(writer);
            part_of_table(from, room, writer, Writer::written, |cursor, each| {
                hash.scan(cursor, |pair| {
                    each(&mut |writer, inside| {
                        writer.element(inside, room, |writer| save_pair(pair, earliest, writer))
                    });
                })
            })
        }
        Stored::Stream(value) => stream::save_part(value, from, room(writer), writer),
        Stored::String(_) => {
            save(value, writer);
            None
        }
        packed => {
            let room = room(writer);
            let inside = writer.element(from.inside, room, |writer| save(packed, writer))?;
            Some(Position {
                inside,
                ..Position::default()
            })
        }
    }
}

/// Writes a part of an element, from a place in it on; where it goes on.
type WriteElement<'e, W> = &'e mut dyn FnMut(&mut W, Inside) -> Option<Inside>;

/// What is called for each element of a bucket, with what writes it.
type EachElement<'e, W> = &'e mut dyn FnMut(WriteElement<'_, W>);

/// Elements of a hash table from a place on: the cursor of a scan and, above its 64 bits, the elements of its bucket that
/// are written already, for a few elements of a bucket may be more than a part. `scan` gives the elements of one bucket;
/// `written` tells how many bytes the buffer has.
pub(in crate::persistence) fn part_of_table<W>(
    from: &Position,
    mut room: Room,
    writer: &mut W,
    written: impl Fn(&W) -> usize,
    mut scan: impl FnMut(u64, EachElement<'_, W>) -> u64,
) -> Option<Position> {
    let (mut cursor, mut done) = (from.at as u64, (from.at >> 64) as usize);
    let mut inside = from.inside;
    loop {
        let (mut seen, mut rest) = (0, None);
        let next = scan(cursor, &mut |write| {
            if seen == done && rest.is_none() && room.is_left(written(writer)) {
                rest = write(writer, std::mem::take(&mut inside));
                if rest.is_none() {
                    room.take_one();
                    done += 1;
                }
            }
            seen += 1;
        });
        if done < seen {
            return Some(Position {
                inside: rest.unwrap_or_default(),
                ..Position::at((done as u128) << 64 | u128::from(cursor))
            });
        }
        if next == 0 {
            return None;
        }
        (cursor, done) = (next, 0);
        if !room.is_left(written(writer)) {
            return Some(Position::at(cursor.into()));
        }
    }
}

fn part_of_list(
    list: &List,
    from: &Position,
    room: Room,
    writer: &mut Writer<'_>,
) -> Option<Position> {
    if *from == Position::default() {
        writer.len(list.node_count());
    }
    // Nodes are copied whole, so that only their bytes count.
    let (mut next, mut inside) = (from.at as usize, from.inside);
    for node in list.nodes_from(next) {
        let rest = writer.element(inside, room, |writer| save_node(node, writer));
        if let Some(inside) = rest {
            return Some(Position {
                inside,
                ..Position::at(next as u128)
            });
        }
        inside = Inside::default();
        next += 1;
        if !room.is_left(writer.written()) {
            break;
        }
    }
    (next < list.node_count()).then(|| Position::at(next as u128))
}

fn part_of_sorted_set(
    set: &SortedSet,
    from: &Position,
    mut room: Room,
    writer: &mut Writer<'_>,
) -> Option<Position> {
    if *from == Position::default() {
        writer.len(set.len());
    }
    let (mut next, mut inside) = (from.at as usize, from.inside);
    let first = set.len().checked_sub(next + 1)?;
    for (member, score) in set.iter_from(first, set.len() - next, true) {
        let rest = writer.element(inside, room, |writer| {
            save_item(member, writer);
            writer.score(score);
        });
        if let Some(inside) = rest {
            return Some(Position {
                inside,
                ..Position::at(next as u128)
            });
        }
        inside = Inside::default();
        room.take_one();
        next += 1;
        if !room.is_left(writer.written()) {
            break;
        }
    }
    (next < set.len()).then(|| Position::at(next as u128))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{stored, value};
    use super::super::write::{Partial, put_in};
    use super::*;
    use crate::keyspace::{Encoded, NewValue};
    use crate::structures::dict::HashSeed;
    use crate::structures::hash::HashLimits;
    use crate::structures::list::ListLimits;
    use crate::structures::set::SetLimits;
    use crate::structures::sorted_set::Limits;
    use crate::structures::stream::{NodeLimits, Stream, StreamId};
    use proptest::prelude::*;

    const SEED: HashSeed = HashSeed([1, 2, 3, 4]);

    fn whole(value: Stored<'_>) -> Vec<u8> {
        whole_as(value, false)
    }

    fn whole_as(value: Stored<'_>, compress: bool) -> Vec<u8> {
        whole_in(value, compress, FileVersion::V12)
    }

    fn whole_in(value: Stored<'_>, compress: bool, version: FileVersion) -> Vec<u8> {
        let mut bytes = Vec::new();
        let writer = Writer::new(&mut bytes, compress);
        save(value, &mut writer.in_version(version));
        bytes
    }

    /// The parts of a value, each as it would be added to what waits.
    fn parts(value: Stored<'_>, size: PartSize) -> Vec<Vec<u8>> {
        parts_as(value, size, false)
    }

    fn parts_as(value: Stored<'_>, size: PartSize, compress: bool) -> Vec<Vec<u8>> {
        parts_in(value, size, compress, FileVersion::V12)
    }

    fn parts_in(
        value: Stored<'_>,
        size: PartSize,
        compress: bool,
        version: FileVersion,
    ) -> Vec<Vec<u8>> {
        let (mut parts, mut next) = (Vec::new(), Some(Position::default()));
        let mut partial = Partial::new();
        while let Some(from) = next {
            let mut encoded = Encoded::default();
            let mut writer = Writer::deferring(&mut encoded, compress).in_version(version);
            next = save_part(value, &from, size, &mut writer);
            assert_ne!(next.as_ref(), Some(&from), "it does not go on");
            let mut bytes = Vec::new();
            put_in(&encoded, compress, &mut partial, &mut |put| {
                bytes.extend_from_slice(put.bytes());
                Ok(())
            })
            .expect("no file");
            parts.push(bytes);
        }
        assert!(partial.is_empty(), "all strings are whole");
        parts
    }

    /// Whether its parts come by a scan, which goes through a hash table in another order.
    fn is_by_buckets(value: Stored<'_>, version: FileVersion) -> bool {
        let kind = kind_of(value, version);
        matches!(kind, kind::SET | kind::HASH | kind::HASH_TTL)
    }

    fn hash(fields: usize, len: usize) -> NewValue<'static> {
        let mut hash = Hash::new();
        for field in 0..fields {
            let name = field.to_string().into_bytes();
            let value = vec![b'v'; len];
            hash.set(&name, &value, false, &HashLimits::none(SEED));
        }
        NewValue::Hash(Box::new(hash))
    }

    fn member(number: usize, len: usize) -> Vec<u8> {
        let mut member = format!("member {number}:").into_bytes();
        member.resize(len.max(member.len()), b'm');
        member
    }

    fn list(elements: usize, len: usize) -> NewValue<'static> {
        let limits = ListLimits {
            fill: -2,
            depth: 0,
            packed_threshold: 0,
        };
        let mut list = List::quicklist(&limits);
        (0..elements).for_each(|_| list.push_back(&vec![b'e'; len]));
        NewValue::List(list)
    }

    fn set(members: usize, len: usize) -> NewValue<'static> {
        let limits = SetLimits {
            intset_entries: 0,
            listpack_entries: 0,
            listpack_value: 0,
            seed: SEED,
        };
        let mut set = Set::new();
        for number in 0..members {
            set.add(&member(number, len), &limits);
        }
        NewValue::Set(set)
    }

    fn sorted_set(members: usize, len: usize) -> NewValue<'static> {
        let limits = Limits {
            max_entries: 0,
            max_value: 0,
        };
        let mut set = SortedSet::new_large(SEED);
        for number in 0..members {
            set.insert(&member(number, len), number as f64, limits);
        }
        NewValue::SortedSet(Box::new(set))
    }

    fn entries(entries: u64, len: usize) -> Stream {
        let limits = NodeLimits {
            bytes: 4096,
            entries: 100,
        };
        let mut stream = Stream::new(SEED);
        for ms in 1..=entries {
            let pair = [&b"field"[..], &vec![b'v'; len]];
            let id = StreamId { ms, seq: 0 };
            let added = stream.append(id, pair.into_iter(), limits);
            added.expect("a later id");
        }
        stream
    }

    /// A part was so many elements, however large they were: a thousand fields of 1 MB were read in one go.
    #[test]
    fn a_part_ends_when_enough_bytes_are_copied() {
        let size = PartSize::USUAL;
        for len in [30_000, 300_000] {
            let stream = NewValue::Stream(Box::new(entries(40, len)));
            let values = [
                hash(40, len),
                list(40, len),
                set(40, len),
                sorted_set(40, len),
                stream,
            ];
            for value in values {
                let parts = parts(stored(&value), size);
                let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
                // What is written last may go beyond by itself, if it is not too long to be written at once.
                let beyond = if len > size.bytes { 0 } else { len };
                assert!(longest < size.bytes + beyond + 100, "{value:?}: {longest}");
                assert!(
                    parts.len() >= 40 * len / (size.bytes + beyond + 100),
                    "{value:?}"
                );
            }
        }
        // Small elements are counted.
        let parts = parts(stored(&hash(5000, 1)), size);
        assert!((9..12).contains(&parts.len()), "{}", parts.len());
    }

    /// An element of 10 MB was read in one go. Its parts are put together where they are compressed, and are those of one string.
    #[test]
    fn long_elements_come_in_parts() {
        let len = 2_000_000;
        for compress in [false, true] {
            let values = [
                hash(2, len),
                list(2, len),
                set(2, len),
                sorted_set(2, len),
                NewValue::Stream(Box::new(entries(2, len))),
            ];
            for value in values {
                let (value, size) = (stored(&value), PartSize::USUAL);
                let (mut next, mut count) = (Some(Position::default()), 0);
                while let Some(from) = next {
                    let mut encoded = Encoded::default();
                    let mut writer = Writer::deferring(&mut encoded, compress);
                    next = save_part(value, &from, size, &mut writer);
                    let copied = encoded.bytes.len();
                    assert!(copied < size.bytes + 100, "{copied}");
                    count += 1;
                }
                assert!(count >= 2 * len / size.bytes);
                let parts = parts_as(value, size, compress).concat();
                let whole = whole_as(value, compress);
                assert_eq!(parts.len(), whole.len());
                assert!(parts == whole || is_by_buckets(value, FileVersion::V12));
            }
        }
    }

    /// The groups were written in one part, whatever was pending.
    #[test]
    fn what_is_pending_comes_in_parts() {
        let mut stream = entries(30_000, 1);
        let group = stream.add_group(b"group", StreamId::MIN, 0).expect("new");
        let alice = group.add_consumer(b"alice", 1).expect("new");
        for ms in 1..=30_000 {
            group.deliver(StreamId { ms, seq: 0 }, alice, 1);
        }
        let value = NewValue::Stream(Box::new(stream));
        let parts = parts(stored(&value), PartSize::USUAL);
        let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
        assert!(longest < PartSize::USUAL.bytes + 5000, "{longest}");
        assert!(parts.len() > 2 * 30_000 / PartSize::USUAL.elements);
        assert_eq!(parts.concat(), whole(stored(&value)));
    }

    /// Groups, each with consumers, each with ids that are pending for it.
    type Groups = Vec<(u8, Vec<(u8, Vec<(u8, u8)>)>)>;

    fn with_groups(groups: &Groups) -> NewValue<'static> {
        let mut stream = entries(50, 3);
        for (name, consumers) in groups {
            let last = StreamId::new(u64::from(*name), 0);
            let Some(group) = stream.add_group(&[*name; 3], last, -1) else {
                continue;
            };
            for (name, pending) in consumers {
                let Some(consumer) = group.add_consumer(&[*name; 2], 7) else {
                    continue;
                };
                for (ms, seq) in pending {
                    let id = StreamId::new(u64::from(*ms), u64::from(*seq));
                    group.deliver(id, consumer, i64::from(*seq));
                }
            }
        }
        NewValue::Stream(Box::new(stream))
    }

    fn groups() -> impl Strategy<Value = Groups> {
        let pending = proptest::collection::vec(any::<(u8, u8)>(), 0..40);
        let consumers = proptest::collection::vec((any::<u8>(), pending), 0..6);
        proptest::collection::vec((any::<u8>(), consumers), 0..8)
    }

    /// A part that had room for the head of a value alone was followed by itself, for ever.
    #[test]
    fn the_smallest_parts_go_on() {
        let size = PartSize {
            elements: 1,
            bytes: 1,
        };
        for value in [hash(40, 1), set(40, 1), list(40, 9000), sorted_set(40, 1)] {
            assert!(parts(stored(&value), size).len() > 1, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn parts_of_a_stream_are_the_whole(groups in groups(), elements in 1usize..50, bytes in 1usize..2000) {
            let value = with_groups(&groups);
            let parts = parts(stored(&value), PartSize { elements, bytes });
            prop_assert_eq!(parts.concat(), whole(stored(&value)));
        }

        #[test]
        fn parts_of_any_value_are_the_whole(
            value in value(), elements in 1usize..20, bytes in 1usize..300, compress: bool,
        ) {
            let size = PartSize { elements, bytes };
            let value = stored(&value);
            for version in [FileVersion::V10, FileVersion::V12] {
                let mut parts = parts_in(value, size, compress, version).concat();
                let mut whole = whole_in(value, compress, version);
                if is_by_buckets(value, version) {
                    parts.sort_unstable();
                    whole.sort_unstable();
                }
                prop_assert_eq!(parts, whole);
            }
        }
    }
}
