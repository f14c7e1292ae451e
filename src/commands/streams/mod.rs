//! Streams: XADD, XREAD, consumer groups and everything of Redis's stream group.
//!
//! In: ids, fields and values from the arguments. Out: entries written straight from their nodes into the reply; each
//! change told once through [`crate::keyspace::Db::signal_modified`], or quietly where only consumer groups changed.
//! What depends on the clock, on node boundaries or on who asks first is rewritten for the journal: `*` as the id
//! that was given, approximate trimming as exact trimming to what was left, deliveries as XCLAIM and XGROUP SETID.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | ids, entries in replies, XLEN, XRANGE, XREVRANGE |
//! | [`add`] | XADD, XTRIM, XSETID |
//! | [`delete`] | XDEL, XDELEX, XACK, XACKDEL |
//! | [`read`] | XREAD, XREADGROUP |
//! | [`claim`] | XPENDING, XCLAIM, XAUTOCLAIM |
//! | [`group`] | XGROUP |
//! | [`info`] | XINFO |
//! | [`spec`] | the rows of the command table |
//!
//! Mirrors `t_stream.c` of Redis, as of 7.4 where it differs from 7.0 (lag, seen and active times), with the commands
//! and options that 8.2 added.

mod add;
mod claim;
mod delete;
mod group;
mod info;
mod read;
mod spec;

pub use spec::COMMANDS;

use crate::engine::{CommandError, Context, Effects, parse, shown};
use crate::resp::{Args, Reply};
use crate::structures::Collection;
use crate::structures::listpack::Item;
use crate::structures::stream::{Entry, Group, Pending, StreamId};
use crate::system::numbers;

const INVALID_ID: CommandError =
    CommandError::fixed("ERR Invalid stream ID specified as stream command argument");
/// Longer ids are refused before they are looked at.
const ID_TEXT_MAX: usize = 127;

// ---- ids -------------------------------------------------------------------------------------------

/// One of the numbers of an id. Redis reads them as C does, which allows blanks before, a sign and leading zeros.
fn id_part(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"+").unwrap_or(text);
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let zeros = text.iter().take_while(|digit| **digit == b'0').count();
    match text.get(zeros..) {
        None | Some([]) => Some(0),
        Some(digits) => numbers::parse_u64(digits),
    }
}

/// An id whose sequence number may be left to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartialId {
    Whole(StreamId),
    /// `ms-*`.
    Within(u64),
}

fn parse_partial(arg: &[u8], missing_seq: u64) -> Result<PartialId, CommandError> {
    if arg.len() > ID_TEXT_MAX {
        return Err(INVALID_ID);
    }
    let (ms, seq) = match memchr::memchr(b'-', arg) {
        Some(dash) => (arg.get(..dash), arg.get(dash.saturating_add(1)..)),
        None => (Some(arg), None),
    };
    let ms = ms.and_then(id_part).ok_or(INVALID_ID)?;
    match seq {
        None => Ok(PartialId::Whole(StreamId::new(ms, missing_seq))),
        Some(b"*") => Ok(PartialId::Within(ms)),
        Some(seq) => {
            let seq = id_part(seq).ok_or(INVALID_ID)?;
            Ok(PartialId::Whole(StreamId::new(ms, seq)))
        }
    }
}

/// An id that names one entry; neither `-` nor `+`.
fn id(arg: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match parse_partial(arg, missing_seq)? {
        PartialId::Whole(id) => Ok(id),
        PartialId::Within(_) => Err(INVALID_ID),
    }
}

/// An id, or `-` or `+` for the first and the last that are possible.
fn id_or_end(arg: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match arg {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => id(arg, missing_seq),
    }
}

/// The ids of several arguments: all or none.
fn ids(args: Args<'_>) -> Result<Vec<StreamId>, CommandError> {
    args.iter().map(|arg| id(arg, 0)).collect()
}

/// Where an interval begins; `(` excludes.
fn interval_start(arg: &[u8]) -> Result<StreamId, CommandError> {
    match arg.strip_prefix(b"(") {
        Some(open) if !open.is_empty() => id(open, 0)?
            .next()
            .ok_or(CommandError::fixed("ERR invalid start ID for the interval")),
        _ => id_or_end(arg, 0),
    }
}

/// Where an interval ends; `(` excludes.
fn interval_end(arg: &[u8]) -> Result<StreamId, CommandError> {
    match arg.strip_prefix(b"(") {
        Some(open) if !open.is_empty() => id(open, u64::MAX)?
            .previous()
            .ok_or(CommandError::fixed("ERR invalid end ID for the interval")),
        _ => id_or_end(arg, u64::MAX),
    }
}

// ---- replies ---------------------------------------------------------------------------------------

#[inline]
fn write_item(reply: &mut Reply, item: Item<'_>) {
    match item {
        Item::Int(number) => reply.bulk_i64(number),
        Item::Bytes(bytes) => reply.bulk(bytes),
    }
}

fn write_id(reply: &mut Reply, id: StreamId) {
    reply.bulk(&id.text());
}

/// An entry: its id, and its fields and values in one array.
#[inline]
fn write_entry(reply: &mut Reply, entry: &Entry<'_>) {
    reply.array(2);
    write_id(reply, entry.id());
    reply.array(entry.len().saturating_mul(2));
    for (field, value) in entry.pairs() {
        write_item(reply, field);
        write_item(reply, value);
    }
}

/// Entries as an array, `count` of them at most (0: all); how many there were.
fn write_entries<'a>(
    reply: &mut Reply,
    entries: impl Iterator<Item = Entry<'a>>,
    count: usize,
) -> usize {
    let mark = reply.begin_deferred();
    let mut written = 0;
    for entry in entries {
        write_entry(reply, &entry);
        written += 1;
        if written == count {
            break;
        }
    }
    reply.end_deferred_array(mark, written);
    written
}

/// A number of entries for which a client may give any 64-bit integer; negative ones count as 0.
fn count(arg: &[u8]) -> Result<usize, CommandError> {
    let count = parse::integer(arg)?;
    Ok(usize::try_from(count.max(0)).unwrap_or(usize::MAX))
}

/// Neither key nor group, in the words that most commands share.
fn no_group(key: &[u8], group: &[u8], more: &str) -> CommandError {
    CommandError::of_parts(&[
        b"NOGROUP No such key '",
        shown(key),
        b"' or consumer group '",
        shown(group),
        b"'",
        more.as_bytes(),
    ])
}

// ---- the journal -----------------------------------------------------------------------------------

/// What a command with several effects gives the journal instead of itself.
struct Rewrites<'a> {
    effects: &'a mut Effects,
    active: bool,
}

impl Rewrites<'_> {
    fn push(&mut self, words: &[&[u8]]) {
        if self.active {
            let words = words.iter().map(|word| word.to_vec()).collect();
            self.effects.details_mut().propagated_as.push(words);
        }
    }
    /// Who has a pending entry now, since when and how often it was delivered.
    fn claim(
        &mut self,
        (key, name): (&[u8], &[u8]),
        group: &Group,
        id: StreamId,
        pending: &Pending,
    ) {
        if !self.active {
            return;
        }
        let mut number = itoa::Buffer::new();
        let delivered = number.format(pending.delivered_ms).to_owned();
        let deliveries = number.format(pending.deliveries);
        self.push(&[
            b"XCLAIM",
            key,
            name,
            group.owner_name(pending),
            b"0",
            &id.text(),
            b"TIME",
            delivered.as_bytes(),
            b"RETRYCOUNT",
            deliveries.as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            &group.last_id.text(),
        ]);
    }
    /// How far a group has read.
    fn group_position(&mut self, (key, name): (&[u8], &[u8]), group: &Group) {
        if !self.active {
            return;
        }
        let mut number = itoa::Buffer::new();
        self.push(&[
            b"XGROUP",
            b"SETID",
            key,
            name,
            &group.last_id.text(),
            b"ENTRIESREAD",
            number.format(group.entries_read).as_bytes(),
        ]);
    }
    fn create_consumer(&mut self, (key, name): (&[u8], &[u8]), consumer: &[u8]) {
        self.push(&[b"XGROUP", b"CREATECONSUMER", key, name, consumer]);
    }
    /// The command itself is not for the journal, even if there is nothing instead.
    fn finish(self) {
        if self.effects.propagated_as().is_empty() {
            self.effects.do_not_propagate = true;
        }
    }
}

// ---- reading without groups ------------------------------------------------------------------------

fn xlen(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let len = match context.db.read(args.at(1)) {
        Some(entry) => entry.stream()?.len(),
        None => 0,
    };
    context.reply.count(len);
    Ok(())
}

fn xrange(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let start = interval_start(args.at(2))?;
    let end = interval_end(args.at(3))?;
    range(context, args, (start, end), false)
}

fn xrevrange(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let start = interval_start(args.at(3))?;
    let end = interval_end(args.at(2))?;
    range(context, args, (start, end), true)
}

fn range(
    context: &mut Context<'_>,
    args: Args<'_>,
    (start, end): (StreamId, StreamId),
    backward: bool,
) -> Result<(), CommandError> {
    let mut wanted = None;
    let mut rest = args.skip(4);
    while let Some(option) = rest.get(0) {
        if !parse::is_word(option, "COUNT") || rest.len() < 2 {
            return Err(CommandError::Syntax);
        }
        wanted = Some(count(rest.at(1))?);
        rest = rest.skip(2);
    }
    let Some(entry) = context.db.read(args.at(1)) else {
        context.reply.array(0);
        return Ok(());
    };
    let stream = entry.stream()?;
    if wanted == Some(0) {
        context.reply.null_array();
        return Ok(());
    }
    let wanted = wanted.unwrap_or(0);
    if backward {
        write_entries(context.reply, stream.range_back(start, end), wanted);
    } else {
        write_entries(context.reply, stream.range(start, end), wanted);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
