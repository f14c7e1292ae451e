//! Streams with their consumer groups, to bytes and back.
//!
//! ```text
//! nodes, each: key 16 │ listpack ─ entries ─ last id ─ first id, greatest deleted id, entries ever added (since 7.0)
//! groups, each: name │ last id │ entries read (since 7.0) │ pending entries, each: id 16 │ time 8 │ deliveries
//!   consumers, each: name │ seen 8 │ active 8 (since 7.2) │ pending entries, each: id 16
//! ```
//!
//! Pending entries of a consumer refer to those of its group; each of those has exactly one consumer. Mirrors the
//! stream parts of `rdbSaveObject` and `rdbLoadObject` of rdb.c.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::load::listpack;
use super::read::{Reader, invalid};
use super::save::Room;
use super::write::Writer;
use super::{FileVersion, LoadError, kind};
use crate::keyspace::{Inside, Position};
use crate::structures::dict::HashSeed;
use crate::structures::listpack::Listpack;
use crate::structures::stream::{Consumer, Group, Pending, Stream, StreamId, Summary};

/// An id of 16 bytes.
const ID_BYTES: usize = 16;
/// How many entries a group has read, where that is not known.
const UNKNOWN: i64 = -1;

/// Writes a stream as Redis does since 7.2, or as 7.0 did.
pub fn save(stream: &Stream, writer: &mut Writer<'_>) {
    writer.len(stream.nodes_len());
    stream.nodes().for_each(|node| save_node(node, writer));
    save_summary(stream, writer);
    for (name, group) in stream.groups() {
        save_group_head(name, group, writer);
        group.pending_iter().for_each(|it| save_pending(it, writer));
        writer.len(group.consumers_len());
        for consumer in group.consumers() {
            save_consumer_head(consumer, writer);
            consumer.pending().for_each(|id| writer.raw(&id.to_bytes()));
        }
    }
}

/// What a part begins with: [`Position::stage`]. In the order of the bytes, where those from [`GROUP`] on repeat for each
/// group, and the last two of them for each of its consumers.
pub(in crate::persistence) mod stage {
    /// The node whose key is not less than `at`; the number of nodes before the first.
    pub(in crate::persistence) const NODES: u8 = 0;
    /// The head of the group `within.0`.
    pub(in crate::persistence) const GROUP: u8 = 1;
    /// What is pending for that group, from the id `at` on.
    pub(in crate::persistence) const PENDING: u8 = 2;
    /// The head of its consumer `within.1`.
    pub(in crate::persistence) const CONSUMER: u8 = 3;
    /// What is pending for that consumer, from the id `at` on.
    pub(in crate::persistence) const OWNED: u8 = 4;
}

/// Writes a part of what [`save`] writes. Where the next one begins; none at the end.
pub(super) fn save_part(
    stream: &Stream,
    from: &Position,
    mut room: Room,
    writer: &mut Writer<'_>,
) -> Option<Position> {
    let mut next = save_stage(stream, from, &mut room, writer)?;
    while room.is_left(writer.written()) {
        next = save_stage(stream, &next, &mut room, writer)?;
    }
    Some(next)
}

/// Writes what is left of one stage, or as much as there is room for. Where to go on. The stream is as it was when the
/// position was made; by one of another stream it ends early.
fn save_stage(
    stream: &Stream,
    from: &Position,
    room: &mut Room,
    writer: &mut Writer<'_>,
) -> Option<Position> {
    let id = StreamId::from_bytes(from.at.to_be_bytes());
    if from.stage == stage::NODES {
        return save_nodes(stream, from, room, writer);
    }
    let (name, consumer_name) = &from.within;
    let group = stream.group(name)?;
    if from.stage == stage::GROUP {
        save_group_head(name, group, writer);
        room.take_one();
        return Some(Position {
            stage: stage::PENDING,
            ..from.clone()
        });
    }
    if from.stage == stage::PENDING {
        for pending in group.pending_between(id, StreamId::MAX, None) {
            if !room.is_left(writer.written()) {
                return Some(from.clone().moved_to(pending.0));
            }
            save_pending(pending, writer);
            room.take_one();
        }
        writer.len(group.consumers_len());
        return consumer_at(stream, &from.within.0, group.consumers().next());
    }
    let consumer = group.consumer(group.find(consumer_name)?)?;
    if from.stage == stage::CONSUMER {
        save_consumer_head(consumer, writer);
        room.take_one();
        return Some(Position {
            stage: stage::OWNED,
            ..from.clone()
        });
    }
    for id in consumer.pending_from(id) {
        if !room.is_left(writer.written()) {
            return Some(from.clone().moved_to(id));
        }
        writer.raw(&id.to_bytes());
        room.take_one();
    }
    consumer_at(stream, &from.within.0, group.consumer_after(consumer_name))
}

impl Position {
    /// The same stage from another id on.
    pub(in crate::persistence) fn moved_to(self, id: StreamId) -> Position {
        let at = u128::from_be_bytes(id.to_bytes());
        Position {
            at,
            inside: Inside::default(),
            ..self
        }
    }
}

fn save_nodes(
    stream: &Stream,
    from: &Position,
    room: &mut Room,
    writer: &mut Writer<'_>,
) -> Option<Position> {
    if *from == Position::default() {
        writer.len(stream.nodes_len());
    }
    let first = StreamId::from_bytes(from.at.to_be_bytes());
    let mut inside = from.inside;
    for node in stream.nodes_from(first) {
        if !room.is_left(writer.written()) {
            return Some(Position::default().moved_to(node.0));
        }
        let rest = writer.element(std::mem::take(&mut inside), *room, |writer| {
            save_node(node, writer);
        });
        if let Some(inside) = rest {
            return Some(Position {
                inside,
                ..Position::default().moved_to(node.0)
            });
        }
        room.take_one();
    }
    save_summary(stream, writer);
    group_at(stream.groups().next())
}

/// Where a group begins, if there is one.
pub(in crate::persistence) fn group_at(group: Option<(&[u8], &Group)>) -> Option<Position> {
    let (name, _) = group?;
    Some(Position {
        stage: stage::GROUP,
        within: (name.into(), Box::default()),
        ..Position::default()
    })
}

/// Where a consumer of a group begins, or where there is none, the next group.
pub(in crate::persistence) fn consumer_at(
    stream: &Stream,
    group: &[u8],
    consumer: Option<&Consumer>,
) -> Option<Position> {
    let Some(consumer) = consumer else {
        return group_at(stream.group_after(group));
    };
    Some(Position {
        stage: stage::CONSUMER,
        within: (group.into(), consumer.name().into()),
        ..Position::default()
    })
}

fn save_node((key, node): (StreamId, &Listpack), writer: &mut Writer<'_>) {
    writer.string(&key.to_bytes());
    writer.string(node.as_bytes());
}

fn save_summary(stream: &Stream, writer: &mut Writer<'_>) {
    let summary = stream.summary();
    writer.number(summary.length);
    save_id(summary.last_id, writer);
    save_id(summary.first_id, writer);
    save_id(summary.max_deleted_id, writer);
    writer.number(summary.entries_added);
    writer.len(stream.groups_len());
}

fn save_id(id: StreamId, writer: &mut Writer<'_>) {
    writer.number(id.ms);
    writer.number(id.seq);
}

fn save_group_head(name: &[u8], group: &Group, writer: &mut Writer<'_>) {
    writer.string(name);
    save_id(group.last_id, writer);
    // -1, for not known, is all ones.
    writer.number(group.entries_read.cast_unsigned());
    writer.len(group.pending_len());
}

fn save_pending((id, pending): (StreamId, &Pending), writer: &mut Writer<'_>) {
    writer.raw(&id.to_bytes());
    writer.time_ms(pending.delivered_ms);
    writer.number(pending.deliveries);
}

fn save_consumer_head(consumer: &Consumer, writer: &mut Writer<'_>) {
    writer.string(consumer.name());
    writer.time_ms(consumer.seen_ms);
    if writer.version() >= FileVersion::V12 {
        writer.time_ms(consumer.active_ms);
    }
    writer.len(consumer.pending_len());
}

/// Reads a stream of one of its three types.
pub fn load(kind: u8, reader: &mut Reader<'_>, seed: HashSeed) -> Result<Stream, LoadError> {
    const NODE: &str = "Stream listpack integrity check failed.";
    let mut stream = Stream::new(seed);
    for _ in 0..reader.count(2)? {
        let key = reader.string()?;
        let key: [u8; ID_BYTES] = key.as_ref().try_into().map_err(|_| {
            invalid!(
                reader,
                "Stream node key entry is not the size of a stream ID"
            )
        })?;
        let node = listpack(reader, NODE)?;
        if node.is_empty() {
            return Err(invalid!(reader, "Empty listpack inside stream"));
        }
        stream
            .load_node(StreamId::from_bytes(key), node)
            .map_err(|_| invalid!(reader, NODE))?;
    }
    let mut summary = Summary {
        length: reader.number()?,
        last_id: id(reader)?,
        ..Summary::default()
    };
    summary.entries_added = summary.length;
    if kind != kind::STREAM_OLD {
        summary.first_id = id(reader)?;
        summary.max_deleted_id = id(reader)?;
        summary.entries_added = reader.number()?;
    }
    stream.load_summary(summary).map_err(|_| {
        invalid!(
            reader,
            "Stream length or last ID inconsistent with its entries"
        )
    })?;
    for _ in 0..reader.count(1)? {
        group(kind, reader, &mut stream)?;
    }
    Ok(stream)
}

fn id(reader: &mut Reader<'_>) -> Result<StreamId, LoadError> {
    Ok(StreamId::new(reader.number()?, reader.number()?))
}

fn raw_id(reader: &mut Reader<'_>) -> Result<StreamId, LoadError> {
    reader.array::<ID_BYTES>().map(StreamId::from_bytes)
}

fn group(kind: u8, reader: &mut Reader<'_>, stream: &mut Stream) -> Result<(), LoadError> {
    let name = reader.string()?;
    let last_id = id(reader)?;
    let entries_read = if kind == kind::STREAM_OLD {
        stream.estimate_entries_read(last_id)
    } else {
        reader.number()?.cast_signed()
    };
    if entries_read < UNKNOWN {
        return Err(invalid!(
            reader,
            "Stream consumer group with an invalid count of entries read"
        ));
    }
    let Some(group) = stream.add_group(&name, last_id, entries_read) else {
        return Err(invalid!(reader, "Duplicated consumer group name"));
    };
    for _ in 0..reader.count(ID_BYTES)? {
        let id = raw_id(reader)?;
        let (delivered_ms, deliveries) = (reader.time_ms()?, reader.number()?);
        if !group.load_pending(id, delivered_ms, deliveries) {
            return Err(invalid!(
                reader,
                "Duplicated global PEL entry loading stream consumer group"
            ));
        }
    }
    for _ in 0..reader.count(1)? {
        consumer(kind, reader, group)?;
    }
    if !group.is_loaded() {
        return Err(invalid!(reader, "Stream CG PEL entry without consumer"));
    }
    Ok(())
}

fn consumer(kind: u8, reader: &mut Reader<'_>, group: &mut Group) -> Result<(), LoadError> {
    let name = reader.string()?;
    let seen_ms = reader.time_ms()?;
    // What older versions do not tell apart: it was active when it was seen.
    let active_ms = if kind == kind::STREAM_ACTIVE_TIME {
        reader.time_ms()?
    } else {
        seen_ms
    };
    let Some(key) = group.add_consumer(&name, seen_ms) else {
        return Err(invalid!(reader, "Duplicate stream consumer detected."));
    };
    if let Some(consumer) = group.consumer_mut(key) {
        consumer.active_ms = active_ms;
    }
    for _ in 0..reader.count(ID_BYTES)? {
        let id = raw_id(reader)?;
        if group.pending(id).is_none() {
            return Err(invalid!(
                reader,
                "Consumer entry not found in group global PEL"
            ));
        }
        if !group.load_owner(id, key) {
            return Err(invalid!(
                reader,
                "Stream consumer PEL entry already has a consumer assigned"
            ));
        }
    }
    Ok(())
}
