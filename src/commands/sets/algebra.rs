//! Intersections, unions and differences of sets, answered or stored.

use super::{limits, reply_item};
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{Db, EntryRef, EventClass, NewValue};
use crate::resp::Args;
use crate::structures::Collection;
use crate::structures::dict::HashSeed;
use crate::structures::listpack::Item;
use crate::structures::set::{PREFETCH_MOST, Set, SetLimits};

/// The entries of all keys, missing ones as `None`; an error if one is no set.
fn entries<'d>(
    db: &'d mut Db<'_>,
    keys: Args<'_>,
) -> Result<Vec<Option<EntryRef<'d>>>, CommandError> {
    for key in keys.iter() {
        if let Some(entry) = db.read(key) {
            entry.set()?;
        }
    }
    let db = &*db;
    Ok(keys.iter().map(|key| db.again(key)).collect())
}

/// The sets of entries that are sets.
fn sets_of<'e>(entries: &'e [Option<EntryRef<'_>>]) -> Vec<Option<&'e Set>> {
    let set = |entry: &'e EntryRef<'_>| entry.set().ok();
    entries
        .iter()
        .map(|entry| entry.as_ref().and_then(set))
        .collect()
}

/// Calls back with each member that all sets have, until told to stop with `false`. O(smallest × number of sets).
fn intersect(sets: &[Option<&Set>], mut each: impl FnMut(Item<'_>) -> bool) {
    // A missing key is an empty set.
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<&Set>>>() else {
        return;
    };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else {
        return;
    };
    let differs = |set: &&&Set| !std::ptr::eq(**set, *smallest);
    let others: Vec<&Set> = others.iter().filter(differs).copied().collect();
    let mut items = smallest.iter();
    let mut ahead = Vec::with_capacity(PREFETCH_MOST);
    loop {
        ahead.clear();
        ahead.extend(items.by_ref().take(PREFETCH_MOST));
        if ahead.is_empty() {
            return;
        }
        // Most members are not even in the next larger set, so the others are not worth it.
        if let Some(set) = others.first() {
            set.prefetch(ahead.iter().filter_map(|item| match item {
                Item::Bytes(bytes) => Some(*bytes),
                Item::Int(_) => None,
            }));
        }
        for item in &ahead {
            if others.iter().all(|set| set.contains_item(*item)) && !each(*item) {
                return;
            }
        }
    }
}

/// What the result is gathered in. One that is stored begins as an intset and becomes what its members ask for; one that
/// is answered is a hash table from the start, unless there are only integers: members are looked up at each addition.
fn gathering(sets: &[Option<&Set>], seed: HashSeed, stored: bool) -> Set {
    let integers = |set: &&Set| set.as_intset().is_some();
    if stored || sets.iter().flatten().all(integers) {
        Set::new()
    } else {
        Set::table(seed)
    }
}

/// The members that any of the sets has, in `union`, which is empty. O(members).
fn unite(sets: &[Option<&Set>], mut union: Set, limits: &SetLimits) -> Set {
    for set in sets.iter().flatten() {
        set.for_each(|item| {
            union.add_item(item, limits);
        });
    }
    union
}

/// The members of the first set that no other has, in `rest`, which is empty.
///
/// There are two ways: to look each member of the first up in the others, or to take the members of the others out of
/// a copy of the first. As in Redis the one with less work is taken; the first gets a start, for it often ends early.
fn subtract(sets: &[Option<&Set>], mut rest: Set, limits: &SetLimits) -> Set {
    let Some((Some(first), others)) = sets.split_first() else {
        return rest;
    };
    let mut others: Vec<&Set> = others.iter().flatten().copied().collect();
    if others.iter().any(|set| std::ptr::eq(*set, *first)) {
        return rest;
    }
    let looking_up = first.len().saturating_mul(others.len() + 1) / 2;
    let taking_out = others
        .iter()
        .fold(first.len(), |sum, set| sum.saturating_add(set.len()));
    if looking_up <= taking_out {
        // The largest first, which most probably has the member.
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        first.for_each(|item| {
            if !others.iter().any(|set| set.contains_item(item)) {
                rest.add_item(item, limits);
            }
        });
        return rest;
    }
    first.for_each(|item| {
        rest.add_item(item, limits);
    });
    for set in others {
        if rest.is_empty() {
            break;
        }
        set.for_each(|item| {
            rest.remove_item(item);
        });
    }
    rest
}

/// Puts a set in the place of whatever is at the key; an empty one removes the key. Answers its size.
fn store(context: &mut Context<'_>, key: &[u8], set: Set, event: &'static str) {
    let len = set.len();
    context.reply.count(len);
    let value = (len > 0).then(|| NewValue::Set(set));
    context.store(key, value, EventClass::Set, event);
}

/// Answers a set.
fn reply_set(context: &mut Context<'_>, set: &Set) {
    let reply = &mut *context.reply;
    reply.set(set.len());
    set.for_each(|item| reply_item(reply, item));
}

pub(super) fn sinter(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let entries = entries(&mut context.db, args.skip(1))?;
    let reply = &mut *context.reply;
    let mark = reply.begin_deferred();
    let mut count = 0;
    intersect(&sets_of(&entries), |item| {
        reply_item(reply, item);
        count += 1;
        true
    });
    reply.end_deferred_set(mark, count);
    Ok(())
}

pub(super) fn sintercard(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    const NUMKEYS: CommandError = CommandError::fixed("ERR numkeys should be greater than 0");
    const NEGATIVE: CommandError = CommandError::fixed("ERR LIMIT can't be negative");
    let numkeys = match parse::integer(args.at(1)) {
        Ok(number) if number > 0 => usize::try_from(number).unwrap_or(usize::MAX),
        _ => return Err(NUMKEYS),
    };
    let rest = args.skip(2);
    if numkeys > rest.len() {
        return Err(CommandError::fixed(
            "ERR Number of keys can't be greater than number of args",
        ));
    }
    let mut limit = usize::MAX;
    let options = rest.skip(numkeys);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let value = match options.next() {
            Some(value) if parse::is_word(option, "LIMIT") => value,
            _ => return Err(CommandError::Syntax),
        };
        limit = match parse::integer(value).map(usize::try_from) {
            Ok(Ok(0)) => usize::MAX,
            Ok(Ok(limit)) => limit,
            _ => return Err(NEGATIVE),
        };
    }
    let entries = entries(&mut context.db, rest.take(numkeys))?;
    let mut count = 0;
    intersect(&sets_of(&entries), |_| {
        count += 1;
        count < limit
    });
    context.reply.count(count);
    Ok(())
}

pub(super) fn sinterstore(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let limits = limits(context.settings, &context.db);
    let entries = entries(&mut context.db, args.skip(2))?;
    let sets = sets_of(&entries);
    // An intset if the smallest set is one; what becomes of a listpack is decided when all is there.
    let smallest = sets.iter().flatten().min_by_key(|set| set.len());
    let mut result = match smallest {
        Some(set) if set.as_intset().is_some() => Set::new(),
        _ => Set::packed(),
    };
    intersect(&sets, |item| {
        result.add_item(item, &limits);
        true
    });
    drop(entries);
    result.tighten(&limits);
    store(context, args.at(1), result, "sinterstore");
    Ok(())
}

pub(super) fn sunion(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let union = union_of(context, args.skip(1), false)?;
    reply_set(context, &union);
    Ok(())
}

pub(super) fn sunionstore(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let union = union_of(context, args.skip(2), true)?;
    store(context, args.at(1), union, "sunionstore");
    Ok(())
}

fn union_of(context: &mut Context<'_>, keys: Args<'_>, stored: bool) -> Result<Set, CommandError> {
    let (seed, limits) = (
        context.db.hash_seed(),
        limits(context.settings, &context.db),
    );
    let entries = entries(&mut context.db, keys)?;
    let sets = sets_of(&entries);
    Ok(unite(&sets, gathering(&sets, seed, stored), &limits))
}

pub(super) fn sdiff(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let rest = difference_of(context, args.skip(1), false)?;
    reply_set(context, &rest);
    Ok(())
}

pub(super) fn sdiffstore(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let rest = difference_of(context, args.skip(2), true)?;
    store(context, args.at(1), rest, "sdiffstore");
    Ok(())
}

fn difference_of(
    context: &mut Context<'_>,
    keys: Args<'_>,
    stored: bool,
) -> Result<Set, CommandError> {
    let (seed, limits) = (
        context.db.hash_seed(),
        limits(context.settings, &context.db),
    );
    let entries = entries(&mut context.db, keys)?;
    let sets = sets_of(&entries);
    Ok(subtract(&sets, gathering(&sets, seed, stored), &limits))
}
