//! A value to bytes, in the types of Redis 8.0.
//!
//! Mirrors `rdbSaveObjectType` and `rdbSaveObject` of rdb.c.

use super::file::{Usage, op};
use super::load::{PACKED, PLAIN};
use super::write::Writer;
use super::{kind, stream};
use crate::keyspace::{EntryRef, Position, Stored, Value};
use crate::structures::Collection;
use crate::structures::hash::{Hash, Pair};
use crate::structures::list::List;
use crate::structures::listpack::Item;
use crate::structures::quicklist::NodeView;
use crate::structures::set::Set;
use crate::structures::sorted_set::SortedSet;

/// The type that [`save`] writes for a value.
pub fn kind_of(value: Stored<'_>) -> u8 {
    match value {
        Stored::String(_) => kind::STRING,
        Stored::List(_) => kind::QUICKLIST,
        Stored::Set(set) if set.as_intset().is_some() => kind::SET_INTSET,
        Stored::Set(set) if set.as_listpack().is_some() => kind::SET_LISTPACK,
        Stored::Set(_) => kind::SET,
        Stored::SortedSet(set) if set.as_listpack().is_some() => kind::ZSET_LISTPACK,
        Stored::SortedSet(_) => kind::ZSET,
        Stored::Hash(hash) => kind_of_hash(hash),
        Stored::Stream(_) => kind::STREAM_ACTIVE_TIME,
    }
}

fn kind_of_hash(hash: &Hash) -> u8 {
    match (hash.listpack(), hash.earliest_expiry()) {
        (Some((_, false)), _) => kind::HASH_LISTPACK,
        (Some((_, true)), _) => kind::HASH_LISTPACK_TTL,
        (None, Some(_)) => kind::HASH_TTL,
        (_, None) => kind::HASH,
    }
}

/// Writes what stands before a value: expiry, use, type and key.
pub fn head(entry: &EntryRef<'_>, usage: Option<Usage>, writer: &mut Writer<'_>) {
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
    writer.byte(kind_of(entry.stored()));
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
    if let Some(pack) = set.as_listpack() {
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
    match (hash.listpack(), earliest) {
        (Some((pack, false)), _) => return writer.string(pack.as_bytes()),
        (Some((pack, true)), earliest) => {
            writer.time_ms(earliest.unwrap_or(0));
            return writer.string(pack.as_bytes());
        }
        _ => {}
    }
    if let Some(earliest) = earliest {
        writer.time_ms(earliest);
    }
    writer.len(hash.len());
    hash.iter()
        .for_each(|pair| save_pair(pair, earliest, writer));
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

/// Elements in one part of a large collection.
const PART_ELEMENTS: usize = 256;
/// Nodes of a list or a stream in one part, each of which is some KiB.
const PART_NODES: usize = 16;

/// Writes a part of a value, the first with `from` 0; where the next part begins, or none after the last. All parts together
/// are what [`save`] writes. A value that is no large collection has one part.
pub fn save_part(value: Stored<'_>, from: Position, writer: &mut Writer<'_>) -> Option<Position> {
    match value {
        Stored::List(list) => part_of_list(list, from, writer),
        Stored::Set(set) if set.as_intset().is_none() && set.as_listpack().is_none() => {
            if from == 0 {
                writer.len(set.len());
            }
            part_of_table(from, |cursor, written| {
                set.scan(cursor, |item| {
                    *written += 1;
                    save_item(item, writer);
                })
            })
        }
        Stored::SortedSet(set) if set.as_listpack().is_none() => {
            part_of_sorted_set(set, from, writer)
        }
        Stored::Hash(hash) if hash.listpack().is_none() => {
            let earliest = hash.earliest_expiry();
            if from == 0 {
                if let Some(earliest) = earliest {
                    writer.time_ms(earliest);
                }
                writer.len(hash.len());
            }
            part_of_table(from, |cursor, written| {
                hash.scan(cursor, |pair| {
                    *written += 1;
                    save_pair(pair, earliest, writer);
                })
            })
        }
        Stored::Stream(value) => stream::save_part(value, from, PART_NODES, writer),
        whole => {
            save(whole, writer);
            None
        }
    }
}

/// Steps of a scan, from a cursor on; `step` counts what it has written.
fn part_of_table(from: Position, mut step: impl FnMut(u64, &mut usize) -> u64) -> Option<Position> {
    let (mut cursor, mut written) = (from as u64, 0);
    while written < PART_ELEMENTS {
        cursor = step(cursor, &mut written);
        if cursor == 0 {
            return None;
        }
    }
    Some(cursor.into())
}

fn part_of_list(list: &List, from: Position, writer: &mut Writer<'_>) -> Option<Position> {
    if from == 0 {
        writer.len(list.node_count());
    }
    let from = from as usize;
    let nodes = list.nodes_from(from).take(PART_NODES);
    nodes.for_each(|node| save_node(node, writer));
    let next = from + PART_NODES;
    (next < list.node_count()).then_some(next as Position)
}

fn part_of_sorted_set(
    set: &SortedSet,
    from: Position,
    writer: &mut Writer<'_>,
) -> Option<Position> {
    if from == 0 {
        writer.len(set.len());
    }
    let from = from as usize;
    let first = set.len().checked_sub(from + 1)?;
    for (member, score) in set.iter_from(first, PART_ELEMENTS, true) {
        save_item(member, writer);
        writer.score(score);
    }
    let next = from + PART_ELEMENTS;
    (next < set.len()).then_some(next as Position)
}
