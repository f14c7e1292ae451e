//! Times to live of fields: HEXPIRE and its like set them, HTTL and its like tell them, HPERSIST removes them.

use crate::engine::parse::{self, ExpireCondition, ExpireUnit};
use crate::engine::{CommandError, Context};
use crate::keyspace::{EventClass, KeyEntry};
use crate::resp::Args;
use crate::structures::Collection;
use crate::structures::hash::{Hash, Pair};

/// Latest expiry of a field, Unix ms: Redis keeps two of its 48 bits for later.
const EXPIRY_MAX: i64 = (1 << 46) - 1;

/// Answers of commands on fields; Redis gives no other.
const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const CONDITION_NOT_MET: i64 = 0;
const DONE: i64 = 1;
const DELETED: i64 = 2;

/// The fields behind `FIELDS numfields` at argument `at`. `not_positive` is the error for a count that is no positive
/// integer.
pub(super) fn fields<'a>(
    args: Args<'a>,
    at: usize,
    not_positive: &'static str,
) -> Result<Args<'a>, CommandError> {
    if !parse::is_word(args.at(at), "FIELDS") {
        return Err(CommandError::fixed(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let count = parse::integer(args.at(at + 1))
        .ok()
        .filter(|count| *count > 0)
        .ok_or(CommandError::fixed(not_positive))?;
    let fields = args.skip(at + 2);
    if usize::try_from(count) != Ok(fields.len()) {
        return Err(CommandError::fixed(
            "ERR The `numfields` parameter must match the number of arguments",
        ));
    }
    Ok(fields)
}

/// The error of most commands for a bad `numfields`.
pub(super) const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

/// Unix ms of an expiry as commands on fields take it.
pub(super) fn unix_ms(
    text: &[u8],
    unit: ExpireUnit,
    now_ms: i64,
    command: &str,
) -> Result<i64, CommandError> {
    let number = parse::integer(text)?;
    if number < 0 {
        return Err(CommandError::fixed("ERR invalid expire time, must be >= 0"));
    }
    let scale = match unit {
        ExpireUnit::Seconds | ExpireUnit::UnixSeconds => 1000,
        ExpireUnit::Milliseconds | ExpireUnit::UnixMilliseconds => 1,
    };
    let base_ms = if unit.is_absolute() { 0 } else { now_ms };
    number
        .checked_mul(scale)
        .and_then(|ms| ms.checked_add(base_ms))
        .filter(|at| *at <= EXPIRY_MAX)
        .ok_or_else(|| CommandError::InvalidExpire(command.to_owned()))
}

/// Which fields a command on expiries has changed and how; the journal and keyspace events are made from it.
#[derive(Default)]
pub(super) struct Changes<'a> {
    /// These have got the expiry.
    pub(super) expiring: Vec<&'a [u8]>,
    /// These are gone, for their expiry is in the past.
    pub(super) deleted: Vec<&'a [u8]>,
}

impl<'a> Changes<'a> {
    /// Sets a field's expiry, which must exist; it is removed when that is not in the future.
    pub(super) fn expire(
        &mut self,
        hash: &mut Hash,
        field: &'a [u8],
        at_ms: i64,
        now_ms: i64,
    ) -> i64 {
        if at_ms <= now_ms {
            hash.remove(field);
            self.deleted.push(field);
            DELETED
        } else {
            hash.set_expiry(field, Some(at_ms));
            self.expiring.push(field);
            DONE
        }
    }
    /// Gives the journal `HDEL key field` for each field that is gone.
    pub(super) fn rewrite_deleted(&self, context: &mut Context<'_>, key: &[u8]) {
        for field in &self.deleted {
            context.rewrite(&[b"HDEL", key, field]);
        }
    }
    /// Gives the journal `HPEXPIREAT key ms condition FIELDS n field ...` for the others.
    pub(super) fn rewrite_expiring(
        &self,
        context: &mut Context<'_>,
        key: &[u8],
        at_ms: i64,
        condition: Option<&[u8]>,
    ) {
        if !context.propagates || self.expiring.is_empty() {
            return;
        }
        let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
        let mut words: Vec<&[u8]> = vec![b"HPEXPIREAT", key, time.format(at_ms).as_bytes()];
        words.extend(condition);
        words.push(b"FIELDS");
        words.push(count.format(self.expiring.len()).as_bytes());
        words.extend(&self.expiring);
        context.rewrite(&words);
    }
    /// Counts fields that have expired by a command and tells what happened to the key, which may now be empty. With
    /// `signalled` the change is already known, under another name.
    pub(super) fn signal(
        &self,
        context: &mut Context<'_>,
        key: &[u8],
        emptied: bool,
        signalled: bool,
    ) {
        context.db.count_expired_fields(self.deleted.len());
        let event = match (self.deleted.is_empty(), self.expiring.is_empty()) {
            (true, true) => None,
            (false, _) => Some("hdel"),
            (true, false) => Some("hexpire"),
        };
        if let Some(event) = event {
            if signalled {
                context.db.event(EventClass::Hash, event, key);
            } else {
                context.db.signal_modified(EventClass::Hash, event, key);
            }
        }
        if emptied {
            context.db.remove_emptied(key);
        }
    }
}

/// Reads the optional condition at argument 3; it and where `FIELDS` is then.
fn condition(args: Args<'_>) -> (ExpireCondition, Option<&[u8]>, usize) {
    let mut condition = ExpireCondition::default();
    let word = args.at(3);
    let flag = match () {
        () if parse::is_word(word, "NX") => &mut condition.nx,
        () if parse::is_word(word, "XX") => &mut condition.xx,
        () if parse::is_word(word, "GT") => &mut condition.gt,
        () if parse::is_word(word, "LT") => &mut condition.lt,
        () => return (condition, None, 3),
    };
    *flag = true;
    (condition, Some(word), 4)
}

fn set_expiry(
    context: &mut Context<'_>,
    args: Args<'_>,
    unit: ExpireUnit,
    command: &str,
) -> Result<(), CommandError> {
    let (key, now_ms) = (args.at(1), context.now.expiry_ms());
    // The type is judged before the arguments, as in Redis.
    if let KeyEntry::Occupied(mut held) = context.db.entry(key) {
        held.hash_mut()?;
    }
    let at_ms = unix_ms(args.at(2), unit, context.now.unix_ms(), command)?;
    let (condition, word, fields_at) = condition(args);
    let fields = fields(
        args,
        fields_at,
        "ERR Parameter `numFields` should be greater than 0",
    )?;
    context.reply.array(fields.len());
    super::expire_before_change(context, key, fields.iter())?;
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        fields.iter().for_each(|_| context.reply.integer(NO_FIELD));
        return Ok(());
    };
    let hash = held.hash_mut()?;
    hash.make_expiring();
    let mut changes = Changes::default();
    for field in fields.iter() {
        let answer = match hash.get(field) {
            None => NO_FIELD,
            Some(pair) if pair.is_expired(now_ms) => NO_FIELD,
            Some(pair) if !condition.holds(pair.expiry, at_ms) => CONDITION_NOT_MET,
            Some(_) => changes.expire(hash, field, at_ms, now_ms),
        };
        context.reply.integer(answer);
    }
    let emptied = hash.is_empty();
    held.reindex_fields();
    changes.rewrite_deleted(context, key);
    changes.rewrite_expiring(context, key, at_ms, word);
    changes.signal(context, key, emptied, false);
    Ok(())
}

pub(super) fn hexpire(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiry(context, args, ExpireUnit::Seconds, "hexpire")
}

pub(super) fn hpexpire(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiry(context, args, ExpireUnit::Milliseconds, "hpexpire")
}

pub(super) fn hexpireat(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiry(context, args, ExpireUnit::UnixSeconds, "hexpireat")
}

pub(super) fn hpexpireat(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiry(context, args, ExpireUnit::UnixMilliseconds, "hpexpireat")
}

/// Answers what `of` makes of each field's expiry.
fn reply_expiries(
    context: &mut Context<'_>,
    args: Args<'_>,
    of: impl Fn(i64) -> i64,
) -> Result<(), CommandError> {
    let now_ms = context.now.expiry_ms();
    let entry = context.db.read(args.at(1));
    let hash = entry.as_ref().map(|entry| entry.hash()).transpose()?;
    let fields = fields(args, 2, NOT_POSITIVE)?;
    context.reply.array(fields.len());
    for field in fields.iter() {
        let pair = hash
            .and_then(|hash| hash.get(field))
            .filter(|pair| !pair.is_expired(now_ms));
        let answer = match pair {
            None => NO_FIELD,
            Some(Pair { expiry: None, .. }) => NO_EXPIRY,
            Some(Pair {
                expiry: Some(at), ..
            }) => of(at),
        };
        context.reply.integer(answer);
    }
    Ok(())
}

/// Milliseconds as seconds, rounded up.
fn seconds(ms: i64) -> i64 {
    ms.saturating_add(999) / 1000
}

pub(super) fn httl(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = context.now.unix_ms();
    reply_expiries(context, args, |at| seconds(at.saturating_sub(now_ms)))
}

pub(super) fn hpttl(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = context.now.unix_ms();
    reply_expiries(context, args, |at| at.saturating_sub(now_ms))
}

pub(super) fn hexpiretime(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_expiries(context, args, seconds)
}

pub(super) fn hpexpiretime(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_expiries(context, args, |at| at)
}

pub(super) fn hpersist(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now_ms) = (args.at(1), context.now.expiry_ms());
    if let KeyEntry::Occupied(mut held) = context.db.entry(key) {
        held.hash_mut()?;
    }
    let fields = fields(args, 2, NOT_POSITIVE)?;
    context.reply.array(fields.len());
    super::expire_before_change(context, key, fields.iter())?;
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        fields.iter().for_each(|_| context.reply.integer(NO_FIELD));
        return Ok(());
    };
    let hash = held.hash_mut()?;
    let emptied = hash.is_empty();
    let mut changed = false;
    for field in fields.iter() {
        let answer = match hash.get(field) {
            None => NO_FIELD,
            Some(pair) if pair.is_expired(now_ms) => NO_FIELD,
            Some(Pair { expiry: None, .. }) => NO_EXPIRY,
            Some(_) => {
                hash.set_expiry(field, None);
                changed = true;
                DONE
            }
        };
        context.reply.integer(answer);
    }
    if changed {
        held.reindex_fields();
        context
            .db
            .signal_modified(EventClass::Hash, "hpersist", key);
    }
    if emptied {
        context.db.remove_emptied(key);
    }
    Ok(())
}
