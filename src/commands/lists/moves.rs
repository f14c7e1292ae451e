//! Elements that go from one list to another, pops from the first of several lists, and the commands that wait for one.

use super::{End, limits, pop_at, pop_many, pop_one, push_all};
use crate::engine::{CommandError, Context, Wait, parse};
use crate::keyspace::{EventClass, KeyEntry, Type};
use crate::resp::Args;
use crate::structures::Collection;

/// Moves one element and answers it; whether there was one.
fn move_one(
    context: &mut Context<'_>,
    (source, from): (&[u8], End),
    (destination, to): (&[u8], End),
) -> Result<bool, CommandError> {
    let KeyEntry::Occupied(held) = context.db.entry(source) else {
        return Ok(false);
    };
    held.entry().list()?;
    if let KeyEntry::Occupied(held) = context.db.entry(destination) {
        held.entry().list()?;
    }
    let KeyEntry::Occupied(mut held) = context.db.entry(source) else {
        return Ok(false);
    };
    let list = held.list_mut()?;
    // Redis counts the bytes of what it holds as a string, which an integer from a quicklist is not.
    let nodes = list.as_quicklist().is_some();
    let popped = pop_at(list, from, |item| {
        let counted = if nodes && item.as_int().is_some() {
            0
        } else {
            item.len()
        };
        (item.to_vec(), counted)
    });
    let Some((element, bytes)) = popped else {
        return Ok(false);
    };
    // Of a list that is moved onto itself there may be nothing left just now; then it is not to be removed.
    let emptied = list.is_empty() && source != destination;
    let elements = std::iter::once(&element[..]);
    let (db, settings) = (&mut context.db, context.settings);
    push_all(db, settings, destination, to, bytes, elements)?;
    if !emptied {
        let limits = limits(settings, db);
        if let KeyEntry::Occupied(mut held) = db.entry(source) {
            held.list_mut()?.shrunk(&limits);
        }
    }
    db.signal_modified(EventClass::List, to.push_event(), destination);
    db.signal_also_modified(EventClass::List, from.pop_event(), source);
    if emptied {
        db.remove_emptied(source);
    }
    context.reply.bulk(&element);
    Ok(true)
}

pub(super) fn lmove(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (End::parse(args.at(3))?, End::parse(args.at(4))?);
    if !move_one(context, (args.at(1), from), (args.at(2), to))? {
        context.reply.null();
    }
    Ok(())
}

pub(super) fn rpoplpush(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to) = ((args.at(1), End::Right), (args.at(2), End::Left));
    if !move_one(context, from, to)? {
        context.reply.null();
    }
    Ok(())
}

pub(super) fn blmove(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (End::parse(args.at(3))?, End::parse(args.at(4))?);
    let deadline_ns = parse::timeout(args.at(5), context.now)?;
    if move_one(context, (args.at(1), from), (args.at(2), to))? {
        context.rewrite(&[b"LMOVE", args.at(1), args.at(2), args.at(3), args.at(4)]);
    } else {
        wait_to_move(context, args.at(1), deadline_ns);
    }
    Ok(())
}

pub(super) fn brpoplpush(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let deadline_ns = parse::timeout(args.at(3), context.now)?;
    let (from, to) = ((args.at(1), End::Right), (args.at(2), End::Left));
    if move_one(context, from, to)? {
        context.rewrite(&[b"RPOPLPUSH", args.at(1), args.at(2)]);
    } else {
        wait_to_move(context, args.at(1), deadline_ns);
    }
    Ok(())
}

fn wait_to_move(context: &mut Context<'_>, source: &[u8], deadline_ns: Option<u64>) {
    if context.may_block {
        wait(context, vec![source.to_vec()], deadline_ns);
    } else {
        // Not what its timeout answers: Redis has it so.
        context.reply.null();
    }
}

fn wait(context: &mut Context<'_>, keys: Vec<Vec<u8>>, deadline_ns: Option<u64>) {
    context.block(Wait {
        keys,
        kind: Type::List,
        deadline_ns,
        on_removal: false,
        again_as: None,
    });
}

/// The first of the keys that is a list. One of another type before it is an error.
fn first_list<'k>(
    context: &mut Context<'_>,
    keys: Args<'k>,
) -> Result<Option<&'k [u8]>, CommandError> {
    for key in keys.iter() {
        if let KeyEntry::Occupied(held) = context.db.entry(key) {
            held.entry().list()?;
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn blocking_pop(context: &mut Context<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let keys = args.take(last).skip(1);
    let deadline_ns = parse::timeout(args.at(last), context.now)?;
    let Some(key) = first_list(context, keys)? else {
        wait(
            context,
            keys.iter().map(<[u8]>::to_vec).collect(),
            deadline_ns,
        );
        return Ok(());
    };
    context.reply.array(2);
    context.reply.bulk(key);
    pop_one(context, key, end)?;
    context.rewrite(&[end.pop_command(), key]);
    Ok(())
}

pub(super) fn blpop(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    blocking_pop(context, args, End::Left)
}

pub(super) fn brpop(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    blocking_pop(context, args, End::Right)
}

/// `numkeys key [key ...] LEFT|RIGHT [COUNT count]`.
struct MultiPop<'a> {
    keys: Args<'a>,
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    fn parse(args: Args<'a>) -> Result<MultiPop<'a>, CommandError> {
        let numkeys = positive(args.at(0), "ERR numkeys should be greater than 0")?;
        let place = numkeys.checked_add(1).and_then(|at| args.get(at));
        let end = End::parse(place.ok_or(CommandError::Syntax)?)?;
        let options = args.skip(numkeys + 2);
        let count = match options.len() {
            0 => 1,
            // A third word would be a second option, and there is but one; its number is read before that is seen.
            2.. if parse::is_word(options.at(0), "COUNT") => {
                let count = positive(options.at(1), "ERR count should be greater than 0")?;
                if options.len() > 2 {
                    return Err(CommandError::Syntax);
                }
                count
            }
            _ => return Err(CommandError::Syntax),
        };
        let keys = args.take(numkeys + 1).skip(1);
        Ok(MultiPop { keys, end, count })
    }

    /// Pops from the first list and answers; whether there was one.
    fn run(&self, context: &mut Context<'_>) -> Result<bool, CommandError> {
        let Some(key) = first_list(context, self.keys)? else {
            return Ok(false);
        };
        let len = match context.db.entry(key) {
            KeyEntry::Occupied(held) => held.entry().list()?.len(),
            KeyEntry::Vacant(_) => 0,
        };
        let count = self.count.min(len);
        context.reply.array(2);
        context.reply.bulk(key);
        pop_many(context, key, self.end, count)?;
        let mut digits = itoa::Buffer::new();
        let count = digits.format(count).as_bytes();
        context.rewrite(&[self.end.pop_command(), key, count]);
        Ok(true)
    }
}

/// A number from 1 on; whatever is wrong with it, the answer is `otherwise`.
fn positive(arg: &[u8], otherwise: &'static str) -> Result<usize, CommandError> {
    let value = parse::integer(arg).ok();
    let value = value.and_then(|value| usize::try_from(value).ok());
    value
        .filter(|&value| value > 0)
        .ok_or(CommandError::fixed(otherwise))
}

pub(super) fn lmpop(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !MultiPop::parse(args.skip(1))?.run(context)? {
        context.reply.null_array();
    }
    Ok(())
}

pub(super) fn blmpop(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let pop = MultiPop::parse(args.skip(2))?;
    let deadline_ns = parse::timeout(args.at(1), context.now)?;
    if !pop.run(context)? {
        let keys = pop.keys.iter().map(<[u8]>::to_vec).collect();
        wait(context, keys, deadline_ns);
    }
    Ok(())
}
