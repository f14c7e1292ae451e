//! A value to bytes, in the types of Redis 8.0.
//!
//! Mirrors `rdbSaveObjectType` and `rdbSaveObject` of rdb.c.

use super::load::{PACKED, PLAIN};
use super::write::Writer;
use super::{kind, stream};
use crate::keyspace::{Stored, Value};
use crate::structures::Collection;
use crate::structures::hash::Hash;
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

/// Writes a value without its type. O(bytes).
pub fn save(value: Stored<'_>, writer: &mut Writer<'_>) {
    match value {
        Stored::String(Value::Int(number)) => writer.integer_string(number),
        Stored::String(Value::Bytes(bytes)) => writer.string(bytes),
        Stored::String(Value::Blob(blob)) => writer.string(blob),
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
    for node in list.nodes() {
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
    for pair in hash.iter() {
        if let Some(earliest) = earliest {
            // 0 is none, so that the earliest itself is 1.
            let behind = |at: i64| at.saturating_sub(earliest).saturating_add(1);
            writer.number(pair.expiry.map_or(0, behind).unsigned_abs());
        }
        save_item(pair.field, writer);
        save_item(pair.value, writer);
    }
}
