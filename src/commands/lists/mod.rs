//! Lists: LPUSH, LRANGE and everything of Redis's list group.
//!
//! In: keys and elements from the arguments. Out: elements written straight from the listpacks into the reply; each
//! change told once through [`Db::signal_modified`]. A list that became empty goes with its key. What pops from the
//! first of several keys, or waits for one, is given to the journal as the plain pop that it came down to.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | pushing, popping, reading |
//! | [`edit`] | changes in the middle (LSET, LINSERT, LREM, LTRIM), and LPOS |
//! | [`moves`] | from list to list (LMOVE), from the first of several (LMPOP), and the commands that wait |
//! | [`spec`] | the rows of the command table |
//!
//! Mirrors `t_list.c` of Redis.

mod edit;
mod moves;
mod spec;
#[cfg(test)]
mod tests;

pub use spec::COMMANDS;

use crate::config::Settings;
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{Db, EventClass, KeyEntry, NewValue};
use crate::resp::{Args, Reply};
use crate::structures::Collection;
use crate::structures::list::{List, ListLimits};
use crate::structures::listpack::Item;

/// One of the two ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Left,
    Right,
}

impl End {
    /// `LEFT` or `RIGHT`.
    fn parse(arg: &[u8]) -> Result<End, CommandError> {
        if parse::is_word(arg, "left") {
            Ok(End::Left)
        } else if parse::is_word(arg, "right") {
            Ok(End::Right)
        } else {
            Err(CommandError::Syntax)
        }
    }

    fn push_event(self) -> &'static str {
        match self {
            End::Left => "lpush",
            End::Right => "rpush",
        }
    }

    fn pop_event(self) -> &'static str {
        match self {
            End::Left => "lpop",
            End::Right => "rpop",
        }
    }

    /// The command that pops there, for the journal.
    fn pop_command(self) -> &'static [u8] {
        match self {
            End::Left => b"LPOP",
            End::Right => b"RPOP",
        }
    }
}

/// Answers an element.
#[inline]
fn write_item(reply: &mut Reply, item: Item<'_>) {
    match item {
        Item::Bytes(bytes) => reply.bulk(bytes),
        Item::Int(number) => reply.bulk_i64(number),
    }
}

#[inline]
fn push_at(list: &mut List, end: End, element: &[u8]) {
    match end {
        End::Left => list.push_front(element),
        End::Right => list.push_back(element),
    }
}

#[inline]
fn pop_at<R>(list: &mut List, end: End, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
    match end {
        End::Left => list.pop_front(take),
        End::Right => list.pop_back(take),
    }
}

/// The directives that decide the encoding of lists.
#[inline]
pub fn limits(settings: &Settings, db: &Db<'_>) -> ListLimits {
    ListLimits {
        fill: settings.list_max_listpack_size,
        depth: settings.list_compress_depth,
        packed_threshold: db.list_packed_threshold(),
    }
}

/// Pushes elements of `bytes` in all in order, onto a new list if there is none; the new length.
#[inline]
fn push_all<'e>(
    db: &mut Db<'_>,
    settings: &Settings,
    key: &[u8],
    end: End,
    bytes: usize,
    elements: impl ExactSizeIterator<Item = &'e [u8]>,
) -> Result<usize, CommandError> {
    let limits = limits(settings, db);
    let slot = db.entry(key);
    let (mut held, _) = slot.or_insert(|_| NewValue::List(List::new()));
    let list = held.list_mut()?;
    list.grow(bytes, elements.len(), &limits);
    for element in elements {
        push_at(list, end, element);
    }
    Ok(list.len())
}

fn push(context: &mut Context<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    let key = args.at(1);
    let elements = args.skip(2).iter();
    let bytes = elements.clone().map(<[u8]>::len).sum();
    let len = push_all(&mut context.db, context.settings, key, end, bytes, elements)?;
    context
        .db
        .signal_modified(EventClass::List, end.push_event(), key);
    context.reply.count(len);
    Ok(())
}

fn lpush(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push(context, args, End::Left)
}

fn rpush(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push(context, args, End::Right)
}

/// Pushes only if there is a list.
fn push_existing(context: &mut Context<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    if let KeyEntry::Vacant(_) = context.db.entry(args.at(1)) {
        context.reply.integer(0);
        return Ok(());
    }
    push(context, args, end)
}

fn lpushx(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push_existing(context, args, End::Left)
}

fn rpushx(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push_existing(context, args, End::Right)
}

/// Tells that elements were popped, and removes the key if it has none left.
#[inline]
fn popped(db: &mut Db<'_>, key: &[u8], end: End, emptied: bool) {
    db.signal_modified(EventClass::List, end.pop_event(), key);
    if emptied {
        db.remove_emptied(key);
    }
}

/// Pops one element and answers it; whether there was a list.
#[inline]
fn pop_one(context: &mut Context<'_>, key: &[u8], end: End) -> Result<bool, CommandError> {
    let limits = limits(context.settings, &context.db);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Ok(false);
    };
    let list = held.list_mut()?;
    pop_at(list, end, |item| write_item(context.reply, item));
    list.shrunk(&limits);
    let emptied = list.is_empty();
    popped(&mut context.db, key, end, emptied);
    Ok(true)
}

/// Answers up to `count` elements as an array, in the order in which they are popped, and removes them. The list has
/// more than none.
fn pop_many(
    context: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
) -> Result<(), CommandError> {
    let limits = limits(context.settings, &context.db);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Ok(());
    };
    let list = held.list_mut()?;
    let len = list.len();
    let count = count.min(len);
    context.reply.array(count);
    let write = |item: Item<'_>| write_item(context.reply, item);
    match end {
        End::Left => {
            list.range(0, count, false, write);
            list.remove_range(0, count);
        }
        End::Right => {
            list.range(len.wrapping_sub(1), count, true, write);
            list.remove_range(len - count, count);
        }
    }
    list.shrunk(&limits);
    let emptied = list.is_empty();
    popped(&mut context.db, key, end, emptied);
    Ok(())
}

/// A count of elements to pop; negative ones and what is no number get the same answer.
fn pop_count(arg: &[u8]) -> Result<usize, CommandError> {
    let count = parse::integer(arg).ok();
    let count = count.and_then(|count| usize::try_from(count).ok());
    count.ok_or(CommandError::fixed(
        "ERR value is out of range, must be positive",
    ))
}

fn pop(context: &mut Context<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    let key = args.at(1);
    if args.len() == 2 {
        if !pop_one(context, key, end)? {
            context.reply.null();
        }
        return Ok(());
    }
    if args.len() > 3 {
        let name = String::from_utf8_lossy(end.pop_command()).to_lowercase();
        return Err(CommandError::WrongArity(name));
    }
    let count = pop_count(args.at(2))?;
    match context.db.entry(key) {
        KeyEntry::Vacant(_) => context.reply.null_array(),
        KeyEntry::Occupied(held) => {
            held.entry().list()?;
            if count == 0 {
                context.reply.array(0);
            } else {
                pop_many(context, key, end, count)?;
            }
        }
    }
    Ok(())
}

fn lpop(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(context, args, End::Left)
}

fn rpop(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(context, args, End::Right)
}

fn llen(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let len = match context.db.read(args.at(1)) {
        Some(entry) => entry.list()?.len(),
        None => 0,
    };
    context.reply.count(len);
    Ok(())
}

fn lindex(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    // The key comes first: without one, even an index that is no number answers null.
    let Some(entry) = context.db.read(args.at(1)) else {
        context.reply.null();
        return Ok(());
    };
    let list = entry.list()?;
    let index = parse::integer(args.at(2))?;
    if list
        .get(index, |item| write_item(context.reply, item))
        .is_none()
    {
        context.reply.null();
    }
    Ok(())
}

/// A range of indexes, negative ones from the end, as a part of a list of `len`: the first index and how many.
fn clamp_range(start: i64, stop: i64, len: usize) -> Option<(usize, usize)> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_front = |index: i64| if index < 0 { len + index } else { index };
    let start = from_front(start).max(0);
    let stop = from_front(stop).min(len - 1);
    if start > stop {
        return None;
    }
    let count = stop - start + 1;
    Some((usize::try_from(start).ok()?, usize::try_from(count).ok()?))
}

fn lrange(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let start = parse::integer(args.at(2))?;
    let stop = parse::integer(args.at(3))?;
    let Some(entry) = context.db.read(args.at(1)) else {
        context.reply.array(0);
        return Ok(());
    };
    let list = entry.list()?;
    let Some((from, count)) = clamp_range(start, stop, list.len()) else {
        context.reply.array(0);
        return Ok(());
    };
    context.reply.array(count);
    list.range(from, count, false, |item| write_item(context.reply, item));
    Ok(())
}
