//! XINFO: what a stream, its groups and their consumers look like.

use super::group::no_group_for_key;
use super::{count, write_entries, write_entry, write_id};
use crate::commands::help;
use crate::engine::{CommandError, Context, parse};
use crate::resp::{Args, Reply};
use crate::structures::stream::{Consumer, Group, Stream, StreamId};

/// Entries that FULL shows without COUNT.
const FULL_COUNT: usize = 10;

pub(super) fn stream(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let entry = context.db.read(args.at(2)).ok_or(CommandError::NoSuchKey)?;
    let stream = entry.stream()?;
    let full = match args.len() {
        3 => None,
        4..=6 if !parse::is_word(args.at(3), "FULL") => {
            return Err(CommandError::subcommand_syntax(args));
        }
        4 => Some(FULL_COUNT),
        5 => return Err(CommandError::subcommand_syntax(args)),
        6 if parse::is_word(args.at(4), "COUNT") => Some(match parse::integer(args.at(5))? {
            ..0 => FULL_COUNT,
            _ => count(args.at(5))?,
        }),
        _ => return Err(CommandError::subcommand_syntax(args)),
    };
    match full {
        None => write_stream(context.reply, stream),
        Some(count) => write_full(context.reply, stream, count),
    }
    Ok(())
}

fn field_count(reply: &mut Reply, name: &str, value: usize) {
    reply.bulk(name.as_bytes());
    reply.count(value);
}

fn field_integer(reply: &mut Reply, name: &str, value: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(value);
}

fn field_id(reply: &mut Reply, name: &str, value: StreamId) {
    reply.bulk(name.as_bytes());
    write_id(reply, value);
}

/// The seven fields that both forms begin with.
fn write_head(reply: &mut Reply, stream: &Stream) {
    let summary = stream.summary();
    let as_integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    field_integer(reply, "length", as_integer(summary.length));
    field_count(reply, "radix-tree-keys", stream.nodes_len());
    // One more for the root.
    field_count(reply, "radix-tree-nodes", stream.nodes_len() + 1);
    field_id(reply, "last-generated-id", summary.last_id);
    field_id(reply, "max-deleted-entry-id", summary.max_deleted_id);
    field_integer(reply, "entries-added", as_integer(summary.entries_added));
    field_id(reply, "recorded-first-entry-id", summary.first_id);
}

fn write_stream(reply: &mut Reply, stream: &Stream) {
    reply.map(10);
    write_head(reply, stream);
    field_count(reply, "groups", stream.groups_len());
    reply.bulk(b"first-entry");
    match stream.range(StreamId::MIN, StreamId::MAX).next() {
        Some(entry) => write_entry(reply, &entry),
        None => reply.null(),
    }
    reply.bulk(b"last-entry");
    match stream.range_back(StreamId::MIN, StreamId::MAX).next() {
        Some(entry) => write_entry(reply, &entry),
        None => reply.null(),
    }
}

fn write_full(reply: &mut Reply, stream: &Stream, count: usize) {
    reply.map(9);
    write_head(reply, stream);
    reply.bulk(b"entries");
    write_entries(reply, stream.range(StreamId::MIN, StreamId::MAX), count);
    reply.bulk(b"groups");
    reply.array(stream.groups_len());
    for (name, group) in stream.groups() {
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(name);
        write_position(reply, stream, group);
        field_count(reply, "pel-count", group.pending_len());
        write_group_pending(reply, group, count);
        reply.bulk(b"consumers");
        reply.array(group.consumers_len());
        for consumer in group.consumers() {
            write_full_consumer(reply, group, consumer, count);
        }
    }
}

/// Last id, entries read and lag of a group.
fn write_position(reply: &mut Reply, stream: &Stream, group: &Group) {
    field_id(reply, "last-delivered-id", group.last_id);
    reply.bulk(b"entries-read");
    match group.entries_read {
        -1 => reply.null(),
        read => reply.integer(read),
    }
    reply.bulk(b"lag");
    match stream.lag(group) {
        Some(lag) => reply.integer(lag),
        None => reply.null(),
    }
}

/// How many of `len` are shown; 0: all.
fn shown(len: usize, count: usize) -> usize {
    if count == 0 { len } else { len.min(count) }
}

fn deliveries(pending: &crate::structures::stream::Pending) -> i64 {
    i64::try_from(pending.deliveries).unwrap_or(i64::MAX)
}

fn write_group_pending(reply: &mut Reply, group: &Group, count: usize) {
    reply.bulk(b"pending");
    let shown = shown(group.pending_len(), count);
    reply.array(shown);
    for (id, pending) in group.pending_iter().take(shown) {
        reply.array(4);
        write_id(reply, id);
        reply.bulk(group.owner_name(pending));
        reply.integer(pending.delivered_ms);
        reply.integer(deliveries(pending));
    }
}

fn write_full_consumer(reply: &mut Reply, group: &Group, consumer: &Consumer, count: usize) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(consumer.name());
    field_integer(reply, "seen-time", consumer.seen_ms);
    field_integer(reply, "active-time", consumer.active_ms);
    field_count(reply, "pel-count", consumer.pending_len());
    reply.bulk(b"pending");
    let shown = shown(consumer.pending_len(), count);
    reply.array(shown);
    for id in consumer.pending().take(shown) {
        reply.array(3);
        write_id(reply, id);
        let pending = group.pending(id);
        reply.integer(pending.map_or(0, |pending| pending.delivered_ms));
        reply.integer(pending.map_or(0, deliveries));
    }
}

pub(super) fn groups(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let entry = context.db.read(args.at(2)).ok_or(CommandError::NoSuchKey)?;
    let stream = entry.stream()?;
    let reply = &mut *context.reply;
    reply.array(stream.groups_len());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        field_count(reply, "consumers", group.consumers_len());
        field_count(reply, "pending", group.pending_len());
        write_position(reply, stream, group);
    }
    Ok(())
}

pub(super) fn consumers(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = context.now.unix_ms();
    let entry = context.db.read(args.at(2)).ok_or(CommandError::NoSuchKey)?;
    let group = entry
        .stream()?
        .group(args.at(3))
        .ok_or_else(|| no_group_for_key(args.at(2), args.at(3)))?;
    let reply = &mut *context.reply;
    reply.array(group.consumers_len());
    for consumer in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        field_count(reply, "pending", consumer.pending_len());
        let idle_ms = now_ms.saturating_sub(consumer.seen_ms).max(0);
        field_integer(reply, "idle", idle_ms);
        let inactive_ms = match consumer.active_ms {
            -1 => -1,
            active_ms => now_ms.saturating_sub(active_ms),
        };
        field_integer(reply, "inactive", inactive_ms);
    }
    Ok(())
}

pub(super) fn help(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::of_rows(context.reply, args, super::spec::XINFO);
    Ok(())
}
