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
use super::write::Writer;
use super::{LoadError, kind};
use crate::keyspace::Position;
use crate::structures::dict::HashSeed;
use crate::structures::stream::{Group, Stream, StreamId, Summary};

/// An id of 16 bytes.
const ID_BYTES: usize = 16;
/// How many entries a group has read, where that is not known.
const UNKNOWN: i64 = -1;

/// Writes a stream as Redis does since 7.2.
pub fn save(stream: &Stream, writer: &mut Writer<'_>) {
    writer.len(stream.nodes_len());
    for (key, node) in stream.nodes() {
        writer.string(&key.to_bytes());
        writer.string(node.as_bytes());
    }
    save_rest(stream, writer);
}

/// What follows the nodes. As an id it is the least that an entry can have, which only the first node may have for a key.
const REST: Position = 1;

/// Writes a part of what [`save`] writes: so many nodes, or what follows them. Where the next one begins; none at the end.
pub(super) fn save_part(
    stream: &Stream,
    from: Position,
    nodes: usize,
    writer: &mut Writer<'_>,
) -> Option<Position> {
    if from == REST {
        save_rest(stream, writer);
        return None;
    }
    if from == 0 {
        writer.len(stream.nodes_len());
    }
    let mut left = stream.nodes_from(StreamId::from_bytes(from.to_be_bytes()));
    for (key, node) in left.by_ref().take(nodes) {
        writer.string(&key.to_bytes());
        writer.string(node.as_bytes());
    }
    let next = left
        .next()
        .map(|(key, _)| Position::from_be_bytes(key.to_bytes()));
    Some(next.unwrap_or(REST))
}

fn save_rest(stream: &Stream, writer: &mut Writer<'_>) {
    let summary = stream.summary();
    writer.number(summary.length);
    save_id(summary.last_id, writer);
    save_id(summary.first_id, writer);
    save_id(summary.max_deleted_id, writer);
    writer.number(summary.entries_added);
    writer.len(stream.groups_len());
    for (name, group) in stream.groups() {
        writer.string(name);
        save_group(group, writer);
    }
}

fn save_id(id: StreamId, writer: &mut Writer<'_>) {
    writer.number(id.ms);
    writer.number(id.seq);
}

fn save_group(group: &Group, writer: &mut Writer<'_>) {
    save_id(group.last_id, writer);
    // -1, for not known, is all ones.
    writer.number(group.entries_read.cast_unsigned());
    writer.len(group.pending_len());
    for (id, pending) in group.pending_iter() {
        writer.raw(&id.to_bytes());
        writer.time_ms(pending.delivered_ms);
        writer.number(pending.deliveries);
    }
    writer.len(group.consumers_len());
    for consumer in group.consumers() {
        writer.string(consumer.name());
        writer.time_ms(consumer.seen_ms);
        writer.time_ms(consumer.active_ms);
        writer.len(consumer.pending_len());
        for id in consumer.pending() {
            writer.raw(&id.to_bytes());
        }
    }
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
