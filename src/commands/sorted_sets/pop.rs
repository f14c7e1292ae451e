//! Taking from the ends: ZPOPMIN, ZPOPMAX, ZMPOP, and those that wait for something to take.

use super::reply_member;
use crate::engine::{CommandError, Context, Wait, parse};
use crate::keyspace::{EventClass, KeyEntry, Type};
use crate::resp::Args;
use crate::structures::Collection;

/// The shape of the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Member, score, member, score…
    Flat,
    /// The key, then one member and its score.
    KeyAndOne,
    /// Pairs of member and score.
    Pairs,
    /// The key, then pairs.
    KeyAndPairs,
}

/// Takes up to `count` from the sorted set at a key and answers them; how many, none if there is no such set.
fn pop_from(
    context: &mut Context<'_>,
    key: &[u8],
    highest: bool,
    count: usize,
    form: Form,
) -> Result<Option<usize>, CommandError> {
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Ok(None);
    };
    let set = held.sorted_set_mut()?;
    let count = count.min(set.len());
    let reply = &mut *context.reply;
    match form {
        Form::Flat => reply.array(count * 2),
        Form::Pairs => reply.array(count),
        Form::KeyAndOne => {
            reply.array(count * 2 + 1);
            reply.bulk(key);
        }
        Form::KeyAndPairs => {
            reply.array(2);
            reply.bulk(key);
            reply.array(count);
        }
    }
    for _ in 0..count {
        set.pop(highest, |member, score| {
            if matches!(form, Form::Pairs | Form::KeyAndPairs) {
                reply.array(2);
            }
            reply_member(reply, member);
            reply.double(score);
        });
    }
    let emptied = set.is_empty();
    if count > 0 {
        let event = if highest { "zpopmax" } else { "zpopmin" };
        context
            .db
            .signal_modified(EventClass::SortedSet, event, key);
        if emptied {
            context.db.remove_emptied(key);
        }
    }
    Ok(Some(count))
}

/// Gives the journal what was popped, from the one key that had something.
fn propagate(context: &mut Context<'_>, key: &[u8], highest: bool, count: Option<usize>) {
    if !context.propagates {
        return;
    }
    let name: &[u8] = if highest { b"ZPOPMAX" } else { b"ZPOPMIN" };
    match count {
        Some(count) => {
            let mut text = itoa::Buffer::new();
            context.rewrite(&[name, key, text.format(count).as_bytes()]);
        }
        None => context.rewrite(&[name, key]),
    }
}

fn pop(context: &mut Context<'_>, args: Args<'_>, highest: bool) -> Result<(), CommandError> {
    let count = match args.len() {
        2 => None,
        3 => Some(match parse::integer(args.at(2)).map(usize::try_from) {
            Ok(Ok(count)) => count,
            _ => {
                return Err(CommandError::fixed(
                    "ERR value is out of range, must be positive",
                ));
            }
        }),
        _ => return Err(CommandError::Syntax),
    };
    let form = if context.reply.resp3() && count.is_some() {
        Form::Pairs
    } else {
        Form::Flat
    };
    let popped = pop_from(context, args.at(1), highest, count.unwrap_or(1), form)?;
    if popped.is_none() {
        context.reply.array(0);
    }
    Ok(())
}

pub(super) fn zpopmin(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(context, args, false)
}

pub(super) fn zpopmax(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(context, args, true)
}

/// Takes from the first of the keys that is a sorted set; whether there was one.
fn pop_first(
    context: &mut Context<'_>,
    keys: Args<'_>,
    highest: bool,
    count: usize,
    form: Form,
) -> Result<bool, CommandError> {
    for key in keys.iter() {
        if let Some(popped) = pop_from(context, key, highest, count, form)? {
            let counted = form == Form::KeyAndPairs;
            propagate(context, key, highest, counted.then_some(popped));
            return Ok(true);
        }
    }
    Ok(false)
}

fn wait_for(context: &mut Context<'_>, keys: Args<'_>, deadline_ns: Option<u64>) {
    context.block(Wait {
        keys: keys.iter().map(<[u8]>::to_vec).collect(),
        kind: Type::SortedSet,
        deadline_ns,
        on_removal: false,
        again_as: None,
    });
}

fn blocking_pop(
    context: &mut Context<'_>,
    args: Args<'_>,
    highest: bool,
) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let keys = args.take(last).skip(1);
    let deadline_ns = parse::timeout(args.at(last), context.now)?;
    if !pop_first(context, keys, highest, 1, Form::KeyAndOne)? {
        wait_for(context, keys, deadline_ns);
    }
    Ok(())
}

pub(super) fn bzpopmin(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    blocking_pop(context, args, false)
}

pub(super) fn bzpopmax(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    blocking_pop(context, args, true)
}

/// `numkeys key… MIN|MAX [COUNT count]`.
struct Many<'a> {
    keys: Args<'a>,
    highest: bool,
    count: usize,
}

impl<'a> Many<'a> {
    fn parse(args: Args<'a>) -> Result<Many<'a>, CommandError> {
        fn positive(arg: &[u8], error: &'static str) -> Result<usize, CommandError> {
            match parse::integer(arg) {
                Ok(number) if number > 0 => Ok(usize::try_from(number).unwrap_or(usize::MAX)),
                _ => Err(CommandError::fixed(error)),
            }
        }
        let number = positive(args.at(0), "ERR numkeys should be greater than 0")?;
        let rest = args.skip(1);
        let end = rest.get(number).ok_or(CommandError::Syntax)?;
        let highest = match () {
            () if parse::is_word(end, "MIN") => false,
            () if parse::is_word(end, "MAX") => true,
            () => return Err(CommandError::Syntax),
        };
        let mut count = None;
        let options = rest.skip(number + 1);
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match options.next() {
                Some(value) if count.is_none() && parse::is_word(option, "COUNT") => {
                    count = Some(positive(value, "ERR count should be greater than 0")?);
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(Many {
            keys: rest.take(number),
            highest,
            count: count.unwrap_or(1),
        })
    }

    fn pop(&self, context: &mut Context<'_>) -> Result<bool, CommandError> {
        let form = Form::KeyAndPairs;
        pop_first(context, self.keys, self.highest, self.count, form)
    }
}

pub(super) fn zmpop(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !Many::parse(args.skip(1))?.pop(context)? {
        context.reply.null_array();
    }
    Ok(())
}

pub(super) fn bzmpop(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let many = Many::parse(args.skip(2))?;
    let deadline_ns = parse::timeout(args.at(1), context.now)?;
    if !many.pop(context)? {
        wait_for(context, many.keys, deadline_ns);
    }
    Ok(())
}
