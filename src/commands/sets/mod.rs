//! Sets: members without order, each once.
//!
//! In: keys of sets and members. Out: membership, members, new sets; each change told once through
//! [`Db::signal_modified`](crate::keyspace::Db::signal_modified). A set that has lost its last member goes with its
//! key.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | commands on one set, SMOVE and SSCAN |
//! | [`algebra`] | SINTER, SUNION, SDIFF, their STORE forms and SINTERCARD |
//! | [`random`] | SPOP and SRANDMEMBER |
//! | [`spec`] | the rows of the command table |
//!
//! Mirrors `t_set.c` of Redis.

mod algebra;
mod random;
mod spec;
#[cfg(test)]
mod tests;

pub use spec::COMMANDS;

use super::keys::Gathered;
use crate::config::Settings;
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{Db, EventClass, KeyEntry, NewValue};
use crate::resp::{Args, Reply};
use crate::structures::Collection;
use crate::structures::listpack::Item;
use crate::structures::set::{PREFETCH_MOST, Set, SetLimits};

/// The directives that decide the encoding of sets.
#[inline]
pub fn limits(settings: &Settings, db: &Db<'_>) -> SetLimits {
    SetLimits {
        intset_entries: settings.set_max_intset_entries,
        listpack_entries: settings.set_max_listpack_entries,
        listpack_value: settings.set_max_listpack_value,
        seed: db.hash_seed(),
    }
}

/// Answers a member.
#[inline]
fn reply_item(reply: &mut Reply, item: Item<'_>) {
    match item {
        Item::Bytes(bytes) => reply.bulk(bytes),
        Item::Int(value) => reply.bulk_i64(value),
    }
}

/// Prefetches, every so many members, what the next ones will touch.
#[inline]
fn prefetch_members(set: &Set, members: Args<'_>, index: usize) {
    if index.is_multiple_of(PREFETCH_MOST) && index + 1 < members.len() {
        set.prefetch(members.skip(index).iter());
    }
}

fn sadd(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, members) = (args.at(1), args.skip(2));
    let limits = limits(context.settings, &context.db);
    let slot = context.db.entry(key);
    let (mut held, _) = slot.or_insert(|_| NewValue::Set(Set::new()));
    let set = held.set_mut()?;
    set.expect(members.at(0), members.len(), &limits);
    let mut added = 0;
    for (index, member) in members.iter().enumerate() {
        prefetch_members(set, members, index);
        added += usize::from(set.add(member, &limits));
    }
    if added > 0 {
        context.db.signal_modified(EventClass::Set, "sadd", key);
    }
    context.reply.count(added);
    Ok(())
}

fn srem(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        context.reply.integer(0);
        return Ok(());
    };
    let set = held.set_mut()?;
    let mut removed = 0;
    let members = args.skip(2);
    for (index, member) in members.iter().enumerate() {
        prefetch_members(set, members, index);
        removed += usize::from(set.remove(member));
    }
    let emptied = set.is_empty();
    if removed > 0 {
        context.db.signal_modified(EventClass::Set, "srem", key);
    }
    if emptied {
        context.db.remove_emptied(key);
    }
    context.reply.count(removed);
    Ok(())
}

fn smove(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to, member) = (args.at(1), args.at(2), args.at(3));
    let limits = limits(context.settings, &context.db);
    // Both types are checked before anything changes, but that of the target only if there is a source.
    if let KeyEntry::Occupied(mut held) = context.db.entry(from) {
        held.set_mut()?;
    } else {
        // Looked at all the same: one whose time is over goes now.
        context.db.peek(to);
        context.reply.integer(0);
        return Ok(());
    }
    if let KeyEntry::Occupied(mut held) = context.db.entry(to) {
        let target = held.set_mut()?;
        if from == to {
            let found = target.contains(member);
            context.reply.integer(i64::from(found));
            return Ok(());
        }
    }
    let (mut removed, mut emptied) = (false, false);
    if let KeyEntry::Occupied(mut held) = context.db.entry(from) {
        let source = held.set_mut()?;
        removed = source.remove(member);
        emptied = source.is_empty();
    }
    context.reply.integer(i64::from(removed));
    if !removed {
        return Ok(());
    }
    context.db.signal_modified(EventClass::Set, "srem", from);
    if emptied {
        context.db.remove_emptied(from);
    }
    let slot = context.db.entry(to);
    let (mut held, _) = slot.or_insert(|_| NewValue::Set(Set::new()));
    let target = held.set_mut()?;
    if target.is_empty() {
        target.expect(member, 1, &limits);
    }
    if target.add(member, &limits) {
        context.db.signal_also_modified(EventClass::Set, "sadd", to);
    }
    Ok(())
}

fn sismember(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let found = match context.db.read(args.at(1)) {
        Some(entry) => entry.set()?.contains(args.at(2)),
        None => false,
    };
    context.reply.integer(i64::from(found));
    Ok(())
}

fn smismember(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let entry = context.db.read(args.at(1));
    let set = match &entry {
        Some(entry) => Some(entry.set()?),
        None => None,
    };
    let members = args.skip(2);
    context.reply.array(members.len());
    for (index, member) in members.iter().enumerate() {
        let found = set.is_some_and(|set| {
            prefetch_members(set, members, index);
            set.contains(member)
        });
        context.reply.integer(i64::from(found));
    }
    Ok(())
}

fn scard(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = match context.db.read(args.at(1)) {
        Some(entry) => entry.set()?.len(),
        None => 0,
    };
    context.reply.count(count);
    Ok(())
}

fn smembers(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let reply = &mut *context.reply;
    match context.db.read(args.at(1)) {
        Some(entry) => {
            let set = entry.set()?;
            reply.set(set.len());
            set.for_each(|item| reply_item(reply, item));
        }
        None => reply.set(0),
    }
    Ok(())
}

fn sscan(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut cursor = parse::cursor(args.at(2))?;
    let reply = &mut *context.reply;
    let Some(entry) = context.db.read(args.at(1)) else {
        // A missing key is answered before the options are looked at.
        Gathered::default().reply_scan(reply, 0);
        return Ok(());
    };
    let set = entry.set()?;
    let options = parse::ScanOptions::parse(args.skip(3), false)?;
    let mut seen = 0;
    let mut steps = options.count.saturating_mul(10);
    let mut found = Gathered::default();
    loop {
        cursor = set.scan(cursor, |item| {
            seen += 1;
            item.with_bytes(|bytes| {
                if options.matches(bytes) {
                    found.push(bytes);
                }
            });
        });
        if cursor == 0 || steps == 0 || seen >= options.count {
            break;
        }
        steps -= 1;
    }
    found.reply_scan(reply, cursor);
    Ok(())
}
