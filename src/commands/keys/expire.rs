//! Times to live: EXPIRE and its like set them, TTL and its like tell them, PERSIST removes them.

use crate::commands::strings::{expire_del, rewrite_as_del};
use crate::engine::parse::{ExpireCondition, ExpireOption, ExpireUnit};
use crate::engine::{CommandError, Context};
use crate::keyspace::{EventClass, KeyEntry};
use crate::resp::Args;

fn set_expiry(
    context: &mut Context<'_>,
    args: Args<'_>,
    unit: ExpireUnit,
    command: &str,
) -> Result<(), CommandError> {
    let condition = ExpireCondition::parse(args.skip(3))?;
    let (key, now_ms) = (args.at(1), context.now.unix_ms());
    let at_ms = ExpireOption {
        unit,
        text: args.at(2),
    }
    .any_unix_ms(now_ms, command)?;
    let free = expire_del(context);
    let held = match context.db.entry(key) {
        KeyEntry::Occupied(held) if condition.holds(held.entry().expire_at(), at_ms) => held,
        _ => {
            context.reply.integer(0);
            return Ok(());
        }
    };
    if at_ms <= context.now.expiry_ms() {
        held.remove(free);
        context.db.signal_modified(EventClass::Generic, "del", key);
        rewrite_as_del(context, key, free);
    } else {
        let mut held = held;
        held.set_expiry(Some(at_ms));
        context
            .db
            .signal_modified(EventClass::Generic, "expire", key);
        rewrite_as_time(context, args, unit, at_ms);
    }
    context.reply.integer(1);
    Ok(())
}

/// Gives the journal PEXPIREAT with the same conditions, unless that is what it was.
fn rewrite_as_time(context: &mut Context<'_>, args: Args<'_>, unit: ExpireUnit, at_ms: i64) {
    if !context.propagates || unit == ExpireUnit::UnixMilliseconds {
        return;
    }
    let mut buffer = itoa::Buffer::new();
    let mut words: Vec<&[u8]> = vec![b"PEXPIREAT", args.at(1), buffer.format(at_ms).as_bytes()];
    words.extend(args.skip(3).iter());
    context.rewrite(&words);
}

pub(super) fn expire(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiry(context, args, ExpireUnit::Seconds, "expire")
}

pub(super) fn pexpire(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiry(context, args, ExpireUnit::Milliseconds, "pexpire")
}

pub(super) fn expireat(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiry(context, args, ExpireUnit::UnixSeconds, "expireat")
}

pub(super) fn pexpireat(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiry(context, args, ExpireUnit::UnixMilliseconds, "pexpireat")
}

/// Milliseconds as seconds, rounded to the nearest.
fn seconds(ms: i64) -> i64 {
    // Of the greatest time too; the quotient always fits.
    i64::try_from(ms.max(0).unsigned_abs().saturating_add(500) / 1000).unwrap_or(i64::MAX)
}

/// Answers what `of` makes of a key's expiry: -2 for a missing key, -1 for one without.
fn reply_expiry(context: &mut Context<'_>, key: &[u8], of: impl FnOnce(i64) -> i64) {
    let answer = match context.db.read_no_touch(key) {
        None => -2,
        Some(entry) => entry.expire_at().map_or(-1, |at_ms| of(at_ms).max(0)),
    };
    context.reply.integer(answer);
}

pub(super) fn ttl(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = context.now.unix_ms();
    reply_expiry(context, args.at(1), |at_ms| {
        seconds(at_ms.saturating_sub(now_ms))
    });
    Ok(())
}

pub(super) fn pttl(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = context.now.unix_ms();
    reply_expiry(context, args.at(1), |at_ms| at_ms.saturating_sub(now_ms));
    Ok(())
}

pub(super) fn expiretime(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_expiry(context, args.at(1), seconds);
    Ok(())
}

pub(super) fn pexpiretime(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_expiry(context, args.at(1), |at_ms| at_ms);
    Ok(())
}

pub(super) fn persist(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let persisted = match context.db.entry(key) {
        KeyEntry::Occupied(mut held) if held.entry().expire_at().is_some() => {
            held.set_expiry(None);
            true
        }
        _ => false,
    };
    if persisted {
        context
            .db
            .signal_modified(EventClass::Generic, "persist", key);
    }
    context.reply.integer(i64::from(persisted));
    Ok(())
}
