//! Strings: GET, SET and everything of Redis's string group.
//!
//! In: keys and values from the arguments. Out: values written straight from the keyspace into the reply; each change
//! told once through [`Db::signal_modified`]. A value that was received as a shared buffer is stored and answered
//! without a copy. Relative expiry and conditions are rewritten for the journal, so that its reader needs neither our
//! clock nor our values. The hot commands (GET, plain SET, INCR, MSET) hash each key once and allocate nothing of
//! their own.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | reading, setting, counting |
//! | [`set`] | SET with options and the commands that are SET in other words; GETEX, DELEX, MSETEX |
//! | [`edit`] | APPEND, SETRANGE, GETRANGE |
//! | [`lcs`] | the longest common subsequence |
//! | [`spec`] | the rows of the command table |
//!
//! Mirrors `t_string.c` of Redis.

mod edit;
mod lcs;
mod set;
mod spec;

pub use spec::COMMANDS;

use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{Db, EventClass, Expiry, Free, KeyEntry, NewValue, Value};
use crate::resp::{Args, Reply};
use crate::system::long_double::LongDouble;
use crate::system::numbers;
use std::sync::Arc;

/// Answers a string.
#[inline]
fn write_value(reply: &mut Reply, value: Value<'_>) {
    match value {
        Value::Bytes(bytes) => reply.bulk(bytes),
        Value::Int(number) => reply.bulk_i64(number),
        Value::Blob(blob) => reply.blob(blob),
    }
}

/// An argument as a value to store.
#[inline]
fn new_value<'a>(args: Args<'a>, index: usize) -> NewValue<'a> {
    match args.blob(index) {
        None => NewValue::String(args.at(index)),
        Some(blob) => NewValue::Blob(Arc::clone(blob)),
    }
}

/// Stores a value whatever was there, and tells it.
#[inline]
fn store(db: &mut Db<'_>, key: &[u8], value: NewValue<'_>, expiry: Expiry) {
    match db.entry(key) {
        KeyEntry::Occupied(mut held) => held.set(value, expiry),
        KeyEntry::Vacant(place) => place.insert(value, expiry),
    }
    db.signal_modified(EventClass::String, "set", key);
}

/// How DEL and its like free what they remove.
fn user_del(context: &Context<'_>) -> Free {
    if context.settings.lazyfree_lazy_user_del {
        Free::Lazily
    } else {
        Free::Now
    }
}

/// How a key is freed that is removed because its new expiry is in the past.
pub(super) fn expire_del(context: &Context<'_>) -> Free {
    if context.settings.lazyfree_lazy_expire {
        Free::Lazily
    } else {
        Free::Now
    }
}

/// Gives the journal a removal as DEL or UNLINK.
pub(super) fn rewrite_as_del(context: &mut Context<'_>, key: &[u8], free: Free) {
    let name: &[u8] = if free == Free::Lazily {
        b"UNLINK"
    } else {
        b"DEL"
    };
    context.rewrite(&[name, key]);
}

/// Answers the string at a key, or null; whether there was one.
#[inline]
fn reply_string(context: &mut Context<'_>, key: &[u8]) -> Result<bool, CommandError> {
    let Some(entry) = context.db.read(key) else {
        context.reply.null();
        return Ok(false);
    };
    write_value(context.reply, entry.string()?);
    Ok(true)
}

fn get(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_string(context, args.at(1)).map(|_| ())
}

fn strlen(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let len = match context.db.read(args.at(1)) {
        Some(entry) => entry.string()?.len(),
        None => 0,
    };
    context.reply.count(len);
    Ok(())
}

fn getdel(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    if reply_string(context, key)? {
        let free = user_del(context);
        context.db.remove(key, free);
        context.db.signal_modified(EventClass::Generic, "del", key);
        rewrite_as_del(context, key, free);
    }
    Ok(())
}

fn getset(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    reply_string(context, key)?;
    store(&mut context.db, key, new_value(args, 2), Expiry::Clear);
    context.rewrite(&[b"SET", key, args.at(2)]);
    Ok(())
}

fn mget(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let keys = args.skip(1);
    context.reply.array(keys.len());
    for key in keys.iter() {
        match context.db.read(key) {
            Some(entry) => match entry.string() {
                Ok(value) => write_value(context.reply, value),
                // A key of another type counts as missing here, unlike everywhere else.
                Err(_) => context.reply.null(),
            },
            None => context.reply.null(),
        }
    }
    Ok(())
}

/// Stores every pair of key and value from argument 1 on.
fn store_pairs(context: &mut Context<'_>, args: Args<'_>) {
    for index in (1..args.len()).step_by(2) {
        store(
            &mut context.db,
            args.at(index),
            new_value(args, index + 1),
            Expiry::Clear,
        );
    }
}

fn mset(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity("mset".into()));
    }
    store_pairs(context, args);
    context.reply.ok();
    Ok(())
}

fn msetnx(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity("msetnx".into()));
    }
    let mut keys = args.skip(1).iter().step_by(2);
    if keys.any(|key| matches!(context.db.entry(key), KeyEntry::Occupied(_))) {
        context.reply.integer(0);
        return Ok(());
    }
    store_pairs(context, args);
    context.reply.integer(1);
    Ok(())
}

/// The integer that a stored string is.
#[inline]
fn integer_of(value: Value<'_>) -> Result<i64, CommandError> {
    match value {
        Value::Int(number) => Ok(number),
        // Results of APPEND and SETRANGE stay bytes even when they spell a number.
        Value::Bytes(bytes) => parse::integer(bytes),
        Value::Blob(blob) => parse::integer(blob),
    }
}

#[inline]
fn increment(context: &mut Context<'_>, key: &[u8], by: i64) -> Result<(), CommandError> {
    let sum = match context.db.entry(key) {
        KeyEntry::Occupied(mut held) => {
            let old = integer_of(held.entry().string()?)?;
            let sum = old.checked_add(by).ok_or(CommandError::IncrOverflow)?;
            held.set(NewValue::Int(sum), Expiry::Keep);
            sum
        }
        KeyEntry::Vacant(place) => {
            place.insert(NewValue::Int(by), Expiry::Clear);
            by
        }
    };
    context
        .db
        .signal_modified(EventClass::String, "incrby", key);
    context.reply.integer(sum);
    Ok(())
}

fn incr(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    increment(context, args.at(1), 1)
}

fn decr(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    increment(context, args.at(1), -1)
}

fn incrby(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    increment(context, args.at(1), parse::integer(args.at(2))?)
}

fn decrby(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = parse::integer(args.at(2))?;
    increment(
        context,
        args.at(1),
        by.checked_neg().ok_or(CommandError::DecrOverflow)?,
    )
}

fn incrbyfloat(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let slot = context.db.entry(key);
    let old = match &slot {
        KeyEntry::Occupied(held) => match held.entry().string()? {
            Value::Int(number) => Some(LongDouble::from_i64(number)),
            Value::Bytes(bytes) => LongDouble::parse(bytes),
            Value::Blob(blob) => LongDouble::parse(blob),
        },
        KeyEntry::Vacant(_) => Some(LongDouble::ZERO),
    };
    let old = old.ok_or(CommandError::NotFloat)?;
    let by = LongDouble::parse(args.at(2)).ok_or(CommandError::NotFloat)?;
    let sum = old.add(by).ok_or(CommandError::NanOrInfinity)?;
    let mut text = Vec::with_capacity(numbers::I64_TEXT_MAX);
    sum.write(&mut text);
    match slot {
        KeyEntry::Occupied(mut held) => held.set(NewValue::Text(&text), Expiry::Keep),
        KeyEntry::Vacant(place) => place.insert(NewValue::Text(&text), Expiry::Clear),
    }
    context
        .db
        .signal_modified(EventClass::String, "incrbyfloat", key);
    context.reply.bulk(&text);
    // As a result, not as an addition: nobody else must come to another last digit.
    context.rewrite(&[b"SET", key, &text, b"KEEPTTL"]);
    Ok(())
}

#[cfg(test)]
mod tests;
