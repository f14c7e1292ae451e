//! Changes in the middle of a list, and looking for its elements.

use super::{clamp_range, limits};
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{EventClass, KeyEntry};
use crate::resp::Args;
use crate::structures::Collection;
use crate::structures::listpack::Needle;
use std::ops::ControlFlow;

pub(super) fn lset(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let limits = limits(context.settings, &context.db);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Err(CommandError::NoSuchKey);
    };
    let list = held.list_mut()?;
    let index = parse::integer(args.at(2))?;
    let element = args.at(3);
    list.grow(element.len(), 1, &limits);
    if !list.set(index, element) {
        return Err(CommandError::OutOfRange);
    }
    list.shrunk(&limits);
    context.db.signal_modified(EventClass::List, "lset", key);
    context.reply.ok();
    Ok(())
}

pub(super) fn linsert(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, place) = (args.at(1), args.at(2));
    let after = if parse::is_word(place, "after") {
        true
    } else if parse::is_word(place, "before") {
        false
    } else {
        return Err(CommandError::Syntax);
    };
    let limits = limits(context.settings, &context.db);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        context.reply.integer(0);
        return Ok(());
    };
    let list = held.list_mut()?;
    // Before the pivot is looked for, as in Redis: even where it is missing the encoding may change.
    list.grow(args.at(4).len(), 1, &limits);
    if !list.insert(args.at(3), args.at(4), after) {
        context.reply.integer(-1);
        return Ok(());
    }
    let len = list.len();
    context.db.signal_modified(EventClass::List, "linsert", key);
    context.reply.count(len);
    Ok(())
}

pub(super) fn lrem(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let count = parse::integer_within(args.at(2), -i64::MAX, i64::MAX)?;
    let limits = limits(context.settings, &context.db);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        context.reply.integer(0);
        return Ok(());
    };
    let list = held.list_mut()?;
    let limit = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let removed = list.remove(args.at(3), limit, count < 0);
    let emptied = list.is_empty();
    if removed > 0 {
        list.shrunk(&limits);
        context.db.signal_modified(EventClass::List, "lrem", key);
    }
    if emptied {
        context.db.remove_emptied(key);
    }
    context.reply.count(removed);
    Ok(())
}

pub(super) fn ltrim(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let start = parse::integer(args.at(2))?;
    let stop = parse::integer(args.at(3))?;
    let limits = limits(context.settings, &context.db);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        context.reply.ok();
        return Ok(());
    };
    let list = held.list_mut()?;
    let len = list.len();
    let (from, count) = clamp_range(start, stop, len).unwrap_or((len, 0));
    list.remove_range(from + count, len - from - count);
    list.remove_range(0, from);
    list.shrunk(&limits);
    if count == len {
        // Nothing was trimmed, so there is nothing to propagate; but it is told all the same, as Redis does.
        context
            .db
            .signal_also_modified(EventClass::List, "ltrim", key);
    } else {
        context.db.signal_modified(EventClass::List, "ltrim", key);
    }
    if count == 0 {
        context.db.remove_emptied(key);
    }
    context.reply.ok();
    Ok(())
}

/// What LPOS looks for.
struct Search {
    /// Which match is the first to be answered; 1 is the first of all.
    rank: u64,
    from_end: bool,
    /// So many matches as an array (0: all) instead of one alone.
    count: Option<u64>,
    /// How many elements are looked at; 0: all.
    max_len: u64,
}

impl Search {
    fn parse(options: Args<'_>) -> Result<Search, CommandError> {
        let mut search = Search {
            rank: 1,
            from_end: false,
            count: None,
            max_len: 0,
        };
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            let value = rest.next().ok_or(CommandError::Syntax)?;
            if parse::is_word(option, "RANK") {
                let rank = parse::integer_within(value, -i64::MAX, i64::MAX)?;
                if rank == 0 {
                    return Err(CommandError::fixed(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
                    ));
                }
                search.rank = rank.unsigned_abs();
                search.from_end = rank < 0;
            } else if parse::is_word(option, "COUNT") {
                search.count = Some(natural(value, "ERR COUNT can't be negative")?);
            } else if parse::is_word(option, "MAXLEN") {
                search.max_len = natural(value, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(search)
    }
}

/// A number from 0 on; whatever is wrong with it, the answer is `otherwise`.
fn natural(arg: &[u8], otherwise: &'static str) -> Result<u64, CommandError> {
    let value = parse::integer(arg).ok();
    let value = value.and_then(|value| u64::try_from(value).ok());
    value.ok_or(CommandError::fixed(otherwise))
}

pub(super) fn lpos(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let search = Search::parse(args.skip(3))?;
    let reply = &mut *context.reply;
    let Some(entry) = context.db.read(args.at(1)) else {
        match search.count {
            Some(_) => reply.array(0),
            None => reply.null(),
        }
        return Ok(());
    };
    let list = entry.list()?;
    let len = list.len();
    let needle = Needle::new(args.at(2));
    let wanted = match search.count {
        None => 1,
        Some(0) => u64::MAX,
        Some(count) => count,
    };
    let array = search.count.map(|_| reply.begin_deferred());
    let from = if search.from_end {
        len.saturating_sub(1)
    } else {
        0
    };
    let (mut looked, mut matches, mut answered) = (0usize, 0u64, 0u64);
    list.walk(from, search.from_end, |item| {
        if needle.is(item) {
            matches += 1;
            if matches >= search.rank {
                reply.count(if search.from_end {
                    len - 1 - looked
                } else {
                    looked
                });
                answered += 1;
            }
        }
        looked += 1;
        if answered == wanted || looked as u64 == search.max_len {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    match array {
        Some(array) => {
            let answered = usize::try_from(answered).unwrap_or(usize::MAX);
            reply.end_deferred_array(array, answered);
        }
        None if answered == 0 => reply.null(),
        None => {}
    }
    Ok(())
}
