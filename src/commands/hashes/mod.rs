//! Hashes: HSET, HGET and everything of Redis's hash group.
//!
//! In: keys, fields and values from the arguments. Out: fields written straight from the keyspace into the reply;
//! each change told once through [`Db::signal_modified`](crate::keyspace::Db::signal_modified). A field whose time is
//! over is answered as missing; the command that came across it removes it, as in Redis 7.4.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | reading, setting, counting |
//! | [`expire`] | HEXPIRE, HTTL, HPERSIST and their like |
//! | [`combined`] | HGETDEL, HGETEX, HSETEX |
//! | [`walk`] | HRANDFIELD, HSCAN |
//! | [`spec`] | the rows of the command table |
//!
//! Mirrors `t_hash.c` of Redis.

mod combined;
mod expire;
mod spec;
mod walk;

pub use spec::COMMANDS;

use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{EventClass, FieldsExpired, KeyEntry, NewValue, OccupiedEntry};
use crate::resp::{Args, Reply};
use crate::structures::Collection;
use crate::structures::hash::{HashLimits, Pair};
use crate::structures::listpack::Item;
use crate::system::long_double::LongDouble;
use crate::system::numbers;

/// When a hash ceases to be a listpack.
#[inline]
fn limits(context: &Context<'_>) -> HashLimits {
    HashLimits {
        max_entries: context.settings.hash_max_listpack_entries,
        max_value: context.settings.hash_max_listpack_value,
        seed: context.db.hash_seed(),
    }
}

/// Answers a field's name or value.
#[inline]
fn write_item(reply: &mut Reply, item: Item<'_>) {
    match item {
        Item::Bytes(bytes) => reply.bulk(bytes),
        Item::Int(number) => reply.bulk_i64(number),
    }
}

/// The hash at a key, created where there is none.
#[inline]
fn hash_at<'s>(context: &'s mut Context<'_>, key: &'s [u8]) -> OccupiedEntry<'s> {
    let make = |_| NewValue::Hash(Box::default());
    context.db.entry(key).or_insert(make).0
}

/// Looks up one field of the hash at a key, which need not exist, and answers by it: none where the field is missing or
/// its time is over.
#[inline]
fn reply_field(
    context: &mut Context<'_>,
    args: Args<'_>,
    answer: impl FnOnce(&mut Reply, Option<Item<'_>>),
) -> Result<(), CommandError> {
    let (key, field) = (args.at(1), args.at(2));
    let now_ms = context.now.expiry_ms();
    let Some(entry) = context.db.read(key) else {
        answer(context.reply, None);
        return Ok(());
    };
    match entry.hash()?.get(field) {
        Some(pair) if pair.is_expired(now_ms) => {
            answer(context.reply, None);
            context.db.expire_field(key, field);
        }
        found => answer(context.reply, found.map(|pair| pair.value)),
    }
    Ok(())
}

fn hget(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_field(context, args, |reply, value| match value {
        Some(value) => write_item(reply, value),
        None => reply.null(),
    })
}

fn hexists(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_field(context, args, |reply, value| {
        reply.integer(i64::from(value.is_some()));
    })
}

fn hstrlen(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_field(context, args, |reply, value| {
        reply.count(value.map_or(0, |value| value.len()));
    })
}

fn hmget(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, fields) = (args.at(1), args.skip(2));
    let now_ms = context.now.expiry_ms();
    let entry = context.db.read(key);
    let hash = entry.as_ref().map(|entry| entry.hash()).transpose()?;
    context.reply.array(fields.len());
    let mut expired = false;
    for field in fields.iter() {
        match hash.and_then(|hash| hash.get(field)) {
            Some(pair) if !pair.is_expired(now_ms) => write_item(context.reply, pair.value),
            found => {
                expired |= found.is_some();
                context.reply.null();
            }
        }
    }
    if expired {
        context.db.expire_named(key, fields.iter());
    }
    Ok(())
}

/// Removes those of the fields whose time is over before a command changes the hash, with one event. The key stays,
/// though no field be left: the command sets one, or removes the key. Where the command is run again they may not have
/// expired, so it does not just take them for missing.
fn expire_before_change<'f>(
    context: &mut Context<'_>,
    key: &[u8],
    fields: impl Iterator<Item = &'f [u8]> + Clone,
) -> Result<FieldsExpired, CommandError> {
    let now_ms = context.now.expiry_ms();
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Ok(FieldsExpired::None);
    };
    let hash = held.hash_mut()?;
    let expired = |field: &[u8]| hash.get(field).is_some_and(|pair| pair.is_expired(now_ms));
    if hash.indexed_at().is_some() && fields.clone().any(expired) {
        return Ok(context.db.expire_before_change(key, fields));
    }
    Ok(FieldsExpired::None)
}

/// Gives the journal the expiry of a key that has stayed though its last field had expired: whoever runs the HDEL of
/// that field removes the key, and makes one without an expiry. `command` is what the journal gets before, if nothing
/// was given yet.
fn rewrite_key_expiry(
    context: &mut Context<'_>,
    key: &[u8],
    expired: FieldsExpired,
    command: Option<Args<'_>>,
) {
    if expired != FieldsExpired::All || !context.propagates {
        return;
    }
    let Some(at_ms) = context.db.peek(key).and_then(|entry| entry.expire_at()) else {
        return;
    };
    if let Some(args) = command {
        let words: Vec<&[u8]> = args.iter().collect();
        context.rewrite(&words);
    }
    let mut time = itoa::Buffer::new();
    context.rewrite(&[b"PEXPIREAT", key, time.format(at_ms).as_bytes()]);
}

fn hlen(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let len = match context.db.read(args.at(1)) {
        Some(entry) => entry.hash()?.len(),
        None => 0,
    };
    context.reply.count(len);
    Ok(())
}

/// Answers every field that has not expired, by `answer`, after a header by `head`.
#[inline]
fn reply_all(
    context: &mut Context<'_>,
    key: &[u8],
    head: impl FnOnce(&mut Reply, usize),
    answer: impl Fn(&mut Reply, Pair<'_>),
) -> Result<(), CommandError> {
    let now_ms = context.now.expiry_ms();
    match context.db.read(key) {
        None => head(context.reply, 0),
        Some(entry) => {
            let hash = entry.hash()?;
            head(context.reply, hash.live_len(now_ms));
            for pair in hash.iter_live(now_ms) {
                answer(context.reply, pair);
            }
        }
    }
    Ok(())
}

fn hkeys(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_all(context, args.at(1), Reply::array, |reply, pair| {
        write_item(reply, pair.field);
    })
}

fn hvals(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_all(context, args.at(1), Reply::array, |reply, pair| {
        write_item(reply, pair.value);
    })
}

fn hgetall(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_all(context, args.at(1), Reply::map, |reply, pair| {
        write_item(reply, pair.field);
        write_item(reply, pair.value);
    })
}

/// Stores the pairs from argument 2 on; how many fields are new.
#[inline]
fn store_pairs(
    context: &mut Context<'_>,
    args: Args<'_>,
    name: &'static str,
) -> Result<i64, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity(name.into()));
    }
    let limits = limits(context);
    let key = args.at(1);
    let mut held = hash_at(context, key);
    let hash = held.hash_mut()?;
    hash.prepare(args.skip(2).iter().map(<[u8]>::len), &limits);
    let mut created = 0;
    for index in (2..args.len()).step_by(2) {
        let is_new = hash.set(args.at(index), args.at(index + 1), false, &limits);
        created += i64::from(is_new);
    }
    reindex(&mut held)?;
    context.db.signal_modified(EventClass::Hash, "hset", key);
    Ok(created)
}

/// Tells the index of expiring fields that some may have lost their expiry.
#[inline]
fn reindex(held: &mut OccupiedEntry<'_>) -> Result<(), CommandError> {
    if held.hash_mut()?.indexed_at().is_some() {
        held.reindex_fields();
    }
    Ok(())
}

fn hset(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let created = store_pairs(context, args, "hset")?;
    context.reply.integer(created);
    Ok(())
}

fn hmset(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_pairs(context, args, "hmset")?;
    context.reply.ok();
    Ok(())
}

/// The value of a field that a write command builds on, by `read`. If its time is over it is removed; the key stays for
/// the value that comes.
fn live_value<T>(
    context: &mut Context<'_>,
    key: &[u8],
    field: &[u8],
    read: impl FnOnce(Item<'_>) -> T,
) -> Result<(Option<T>, FieldsExpired), CommandError> {
    let now_ms = context.now.expiry_ms();
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Ok((None, FieldsExpired::None));
    };
    match held.hash_mut()?.get(field) {
        None => Ok((None, FieldsExpired::None)),
        Some(pair) if !pair.is_expired(now_ms) => Ok((Some(read(pair.value)), FieldsExpired::None)),
        Some(_) => {
            let fields = std::iter::once(field);
            Ok((None, context.db.expire_before_change(key, fields)))
        }
    }
}

fn hsetnx(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, field) = (args.at(1), args.at(2));
    let (old, expired) = live_value(context, key, field, |_| ())?;
    let is_there = old.is_some();
    if !is_there {
        let limits = limits(context);
        let mut held = hash_at(context, key);
        held.hash_mut()?.set(field, args.at(3), false, &limits);
        context.db.signal_modified(EventClass::Hash, "hset", key);
        rewrite_key_expiry(context, key, expired, Some(args));
    }
    context.reply.integer(i64::from(!is_there));
    Ok(())
}

/// Stores what a counting command has come to. The expiry of a field that was there (`keep`) stays.
fn store_sum(
    context: &mut Context<'_>,
    args: Args<'_>,
    (text, keep): (&[u8], bool),
    event: &'static str,
) -> Result<(), CommandError> {
    let limits = limits(context);
    let key = args.at(1);
    let mut held = hash_at(context, key);
    held.hash_mut()?.set(args.at(2), text, keep, &limits);
    context.db.signal_modified(EventClass::Hash, event, key);
    Ok(())
}

fn hincrby(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = parse::integer(args.at(3))?;
    let (old, expired) = live_value(context, args.at(1), args.at(2), |value| match value {
        Item::Int(number) => Some(number),
        Item::Bytes(bytes) => numbers::parse_i64(bytes),
    })?;
    let keep = old.is_some();
    let old = old
        .unwrap_or(Some(0))
        .ok_or(CommandError::fixed("ERR hash value is not an integer"))?;
    let sum = old.checked_add(by).ok_or(CommandError::IncrOverflow)?;
    let text = itoa::Buffer::new().format(sum).to_owned();
    store_sum(context, args, (text.as_bytes(), keep), "hincrby")?;
    rewrite_key_expiry(context, args.at(1), expired, Some(args));
    context.reply.integer(sum);
    Ok(())
}

fn hincrbyfloat(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = LongDouble::parse(args.at(3)).ok_or(CommandError::NotFloat)?;
    if by.is_infinite() {
        return Err(CommandError::fixed("ERR value is NaN or Infinity"));
    }
    let (old, expired) = live_value(context, args.at(1), args.at(2), |value| match value {
        Item::Int(number) => Some(LongDouble::from_i64(number)),
        Item::Bytes(bytes) => LongDouble::parse(bytes),
    })?;
    let keep = old.is_some();
    let old = old
        .unwrap_or(Some(LongDouble::ZERO))
        .ok_or(CommandError::fixed("ERR hash value is not a float"))?;
    let sum = old.add(by).ok_or(CommandError::NanOrInfinity)?;
    let mut text = Vec::with_capacity(numbers::I64_TEXT_MAX);
    sum.write(&mut text);
    store_sum(context, args, (&text, keep), "hincrbyfloat")?;
    context.reply.bulk(&text);
    // As a result, not as an addition: nobody else must come to another last digit. A plain HSET would end the field's
    // expiry.
    let (key, field) = (args.at(1), args.at(2));
    if keep && has_expiry(context, key, field)? {
        context.rewrite(&[b"HSETEX", key, b"KEEPTTL", b"FIELDS", b"1", field, &text]);
    } else {
        context.rewrite(&[b"HSET", key, field, &text]);
    }
    rewrite_key_expiry(context, key, expired, None);
    Ok(())
}

/// Whether a field is to expire.
fn has_expiry(context: &mut Context<'_>, key: &[u8], field: &[u8]) -> Result<bool, CommandError> {
    let Some(entry) = context.db.peek(key) else {
        return Ok(false);
    };
    let hash = entry.hash()?;
    // Most hashes have no such field at all.
    Ok(hash.indexed_at().is_some() && hash.get(field).is_some_and(|pair| pair.expiry.is_some()))
}

/// Removes fields from a hash until it is empty; tells it, and how many there were. Expired ones count, as in Redis:
/// to look at each would cost more than it tells.
fn remove_fields(
    context: &mut Context<'_>,
    key: &[u8],
    fields: Args<'_>,
) -> Result<i64, CommandError> {
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Ok(0);
    };
    let hash = held.hash_mut()?;
    let mut removed = 0;
    for field in fields.iter() {
        if hash.is_empty() {
            break;
        }
        removed += i64::from(hash.remove(field));
    }
    let emptied = hash.is_empty();
    reindex(&mut held)?;
    if removed > 0 {
        signal_removed(context, key, emptied);
    }
    Ok(removed)
}

/// Tells that fields were removed; the key goes with the last of them.
fn signal_removed(context: &mut Context<'_>, key: &[u8], emptied: bool) {
    context.db.signal_modified(EventClass::Hash, "hdel", key);
    if emptied {
        context.db.remove_emptied(key);
    }
}

fn hdel(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let removed = remove_fields(context, args.at(1), args.skip(2))?;
    context.reply.integer(removed);
    Ok(())
}

#[cfg(test)]
mod tests;
