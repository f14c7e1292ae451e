//! Members at random: SPOP, which removes them and is propagated as what it removed, and SRANDMEMBER.

use super::{limits, reply_item};
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{EventClass, Free, KeyEntry};
use crate::resp::Args;
use crate::structures::Collection;
use crate::structures::listpack::Item;
use crate::structures::set::{Popped, Set};
use std::borrow::Cow;

/// When what SPOP leaves is at most this many times less than what it takes, what it leaves is drawn instead.
const LEAVE_FACTOR: usize = 5;
/// Members in one propagated SREM.
const SREM_BATCH: usize = 1024;
/// Most members that SRANDMEMBER answers with repetitions: more would not fit into memory anyway.
const REPEATED_MOST: u64 = 1 << 28;
/// How often SRANDMEMBER looks whether its client's output has become too large.
const CHECK_OUTPUT_EVERY: u64 = 1024;

pub(super) fn spop(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match args.len() {
        2 => pop_one(context, args.at(1)),
        3 => pop_many(context, args.at(1), args.at(2)),
        _ => Err(CommandError::Syntax),
    }
}

fn pop_one(context: &mut Context<'_>, key: &[u8]) -> Result<(), CommandError> {
    let rng = &mut *context.rng;
    let mut popped = None;
    let mut emptied = false;
    if let KeyEntry::Occupied(mut held) = context.db.entry(key) {
        let set = held.set_mut()?;
        popped = set.pop(&mut || rng.next_u64());
        emptied = set.is_empty();
    }
    let Some(popped) = popped else {
        context.reply.null();
        return Ok(());
    };
    context.db.signal_modified(EventClass::Set, "spop", key);
    if emptied {
        context.db.remove_emptied(key);
    }
    reply_item(context.reply, popped.item());
    if context.propagates {
        propagate_removal(context, key, std::iter::once(popped.item()));
    }
    Ok(())
}

fn pop_many(context: &mut Context<'_>, key: &[u8], count: &[u8]) -> Result<(), CommandError> {
    let count = match parse::integer(count).map(usize::try_from) {
        Ok(Ok(count)) => count,
        _ => {
            return Err(CommandError::fixed(
                "ERR value is out of range, must be positive",
            ));
        }
    };
    let limits = limits(context.settings, &context.db);
    let (reply, rng) = (&mut *context.reply, &mut *context.rng);
    let random = &mut || rng.next_u64();
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        reply.set(0);
        return Ok(());
    };
    let set = held.set_mut()?;
    let len = set.len();
    if count == 0 {
        reply.set(0);
        return Ok(());
    }
    if count >= len {
        reply.set(len);
        set.for_each(|item| reply_item(reply, item));
        remove_all(context, key);
        return Ok(());
    }
    reply.set(count);
    let left = len - count;
    if left * LEAVE_FACTOR > count {
        let popped: Vec<Popped> = (0..count).map_while(|_| set.pop(random)).collect();
        for popped in &popped {
            reply_item(reply, popped.item());
        }
        context.db.signal_modified(EventClass::Set, "spop", key);
        if context.propagates {
            propagate_removal(context, key, popped.iter().map(Popped::item));
        }
        return Ok(());
    }
    // Nearly all of them: those that stay are drawn, and make up a new set.
    let mut kept = if set.as_intset().is_some() {
        Set::new()
    } else {
        Set::packed()
    };
    for _ in 0..left {
        if let Some(popped) = set.pop(random) {
            kept.add_item(popped.item(), &limits);
        }
    }
    let leaving = std::mem::replace(set, kept);
    leaving.for_each(|item| reply_item(reply, item));
    context.db.signal_modified(EventClass::Set, "spop", key);
    if context.propagates {
        propagate_removal(context, key, leaving.iter());
    }
    Ok(())
}

/// Removes a set of which all has been answered.
fn remove_all(context: &mut Context<'_>, key: &[u8]) {
    context.db.signal_modified(EventClass::Set, "spop", key);
    let free = if context.settings.lazyfree_lazy_server_del {
        Free::Lazily
    } else {
        Free::Now
    };
    if context.db.remove(key, free) {
        context.db.event(EventClass::Generic, "del", key);
    }
    let command: &[u8] = match context.settings.lazyfree_lazy_server_del {
        true => b"UNLINK",
        false => b"DEL",
    };
    context.rewrite(&[command, key]);
}

/// Has the journal remove these members, in batches.
fn propagate_removal<'i>(
    context: &mut Context<'_>,
    key: &[u8],
    items: impl Iterator<Item = Item<'i>>,
) {
    let mut items = items.map(|item| match item {
        Item::Bytes(bytes) => Cow::Borrowed(bytes),
        item => Cow::Owned(item.to_vec()),
    });
    loop {
        let batch: Vec<Cow<'_, [u8]>> = items.by_ref().take(SREM_BATCH).collect();
        if batch.is_empty() {
            return;
        }
        let mut command: Vec<&[u8]> = vec![b"SREM", key];
        command.extend(batch.iter().map(|member| &**member));
        context.rewrite(&command);
    }
}

pub(super) fn srandmember(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = match args.len() {
        2 => None,
        3 => Some(parse::integer_within(args.at(2), -i64::MAX, i64::MAX)?),
        _ => return Err(CommandError::Syntax),
    };
    let rng = &mut *context.rng;
    let random = &mut || rng.next_u64();
    let reply = &mut *context.reply;
    let Some(entry) = context.db.read(args.at(1)) else {
        match count {
            None => reply.null(),
            Some(_) => reply.array(0),
        }
        return Ok(());
    };
    let set = entry.set()?;
    match count {
        None => {
            if let Some(item) = set.random(random) {
                reply_item(reply, item);
            }
        }
        Some(count @ ..0) => {
            let count = count.unsigned_abs();
            if count > REPEATED_MOST {
                return Err(CommandError::fixed("ERR value is out of range"));
            }
            let limit = context.settings.client_output_buffer_limits[0].hard_bytes;
            reply.array(count as usize);
            for drawn in 0..count {
                // A client that is to be closed for it anyway need not get all.
                if drawn % CHECK_OUTPUT_EVERY == 0
                    && limit > 0
                    && reply.output().len() as u64 > limit
                {
                    break;
                }
                if let Some(item) = set.random(random) {
                    reply_item(reply, item);
                }
            }
        }
        Some(count) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            reply.array(count.min(set.len()));
            set.sample(count, random, |item| reply_item(reply, item));
        }
    }
    Ok(())
}
