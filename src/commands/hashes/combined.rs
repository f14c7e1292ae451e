//! Commands that do two things at once: HGETDEL, HGETEX, HSETEX of Redis 8.

use super::expire::{Changes, NOT_POSITIVE, fields, unix_ms};
use super::{limits, reindex, signal_removed, write_item};
use crate::engine::parse::{self, ExpireUnit};
use crate::engine::{CommandError, Context};
use crate::keyspace::{EventClass, KeyEntry};
use crate::resp::{Args, Reply};
use crate::structures::Collection;
use crate::structures::hash::Hash;

/// Answers fields of a hash that is not there.
fn reply_nones(reply: &mut Reply, fields: Args<'_>) {
    reply.array(fields.len());
    fields.iter().for_each(|_| reply.null());
}

/// The type is judged before the arguments, as in Redis.
fn check_type(context: &mut Context<'_>, key: &[u8]) -> Result<(), CommandError> {
    if let KeyEntry::Occupied(mut held) = context.db.entry(key) {
        held.hash_mut()?;
    }
    Ok(())
}

pub(super) fn hgetdel(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now_ms) = (args.at(1), context.now.expiry_ms());
    check_type(context, key)?;
    let fields = fields(args, 2, NOT_POSITIVE)?;
    super::expire_before_change(context, key, fields.iter())?;
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        reply_nones(context.reply, fields);
        return Ok(());
    };
    let hash = held.hash_mut()?;
    let mut is_changed = false;
    context.reply.array(fields.len());
    // One by one, for a field that is named twice is there only once.
    for field in fields.iter() {
        match hash.get(field) {
            Some(pair) if !pair.is_expired(now_ms) => {
                write_item(context.reply, pair.value);
                hash.remove(field);
                is_changed = true;
            }
            _ => context.reply.null(),
        }
    }
    let emptied = hash.is_empty();
    reindex(&mut held)?;
    if is_changed {
        // All that were named, as Redis has it.
        let mut words: Vec<&[u8]> = vec![b"HDEL", key];
        words.extend(fields.iter());
        context.rewrite(&words);
        signal_removed(context, key, emptied);
    } else if emptied {
        context.db.remove_emptied(key);
    }
    Ok(())
}

/// What HGETEX does to the expiry of what it answers.
#[derive(Clone, Copy)]
enum Then {
    Nothing,
    Persist,
    ExpireAt(i64),
}

pub(super) fn hgetex(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now_ms) = (args.at(1), context.now.expiry_ms());
    check_type(context, key)?;
    let (then, fields_at) = if let Some(unit) = ExpireUnit::of_word(args.at(2)) {
        let at_ms = unix_ms(args.at(3), unit, context.now.unix_ms(), "hgetex")?;
        (Then::ExpireAt(at_ms), 4)
    } else if parse::is_word(args.at(2), "PERSIST") {
        (Then::Persist, 3)
    } else {
        (Then::Nothing, 2)
    };
    if fields_at + 1 >= args.len() {
        return Err(CommandError::WrongArity("hgetex".into()));
    }
    let fields = fields(args, fields_at, NOT_POSITIVE)?;
    super::expire_before_change(context, key, fields.iter())?;
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        reply_nones(context.reply, fields);
        return Ok(());
    };
    let hash = held.hash_mut()?;
    if !matches!(then, Then::Nothing) {
        hash.make_expiring();
    }
    let mut changes = Changes::default();
    let mut persisted: Vec<&[u8]> = Vec::new();
    context.reply.array(fields.len());
    // One by one, for a field that is named twice may be gone the second time.
    for field in fields.iter() {
        let live = hash.get(field).filter(|pair| !pair.is_expired(now_ms));
        let Some(pair) = live else {
            context.reply.null();
            continue;
        };
        write_item(context.reply, pair.value);
        match then {
            Then::Persist if pair.expiry.is_some() => {
                hash.set_expiry(field, None);
                persisted.push(field);
            }
            Then::Nothing | Then::Persist => {}
            Then::ExpireAt(at_ms) => {
                changes.expire(hash, field, at_ms, now_ms);
            }
        }
    }
    let emptied = hash.is_empty();
    held.reindex_fields();
    if !persisted.is_empty() {
        rewrite_persisted(context, key, &persisted);
        context
            .db
            .signal_modified(EventClass::Hash, "hpersist", key);
    }
    changes.rewrite_deleted(context, key);
    if let Then::ExpireAt(at_ms) = then {
        changes.rewrite_expiring(context, key, at_ms, None);
    }
    changes.signal(context, key, emptied, false);
    Ok(())
}

fn rewrite_persisted(context: &mut Context<'_>, key: &[u8], fields: &[&[u8]]) {
    let mut count = itoa::Buffer::new();
    let count = count.format(fields.len()).as_bytes();
    let mut words: Vec<&[u8]> = vec![b"HPERSIST", key, b"FIELDS", count];
    words.extend(fields);
    context.rewrite(&words);
}

/// When HSETEX sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    /// `FNX`: none of the fields exists.
    NoneExists,
    /// `FXX`: all of them exist.
    AllExist,
}

/// What HSETEX does to expiries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    Clear,
    Keep,
    ExpireAt(i64),
}

/// Arguments of HSETEX.
struct SetEx<'a> {
    condition: Condition,
    lifetime: Lifetime,
    /// Which argument the time is; before it stands its unit.
    time_at: usize,
    /// Fields and values in turn.
    pairs: Args<'a>,
}

impl<'a> SetEx<'a> {
    /// Reads from argument 2 on; the fields stand last.
    fn parse(args: Args<'a>, now_ms: i64) -> Result<SetEx<'a>, CommandError> {
        let wrong_arity = || CommandError::WrongArity("hsetex".into());
        let mut parsed = SetEx {
            condition: Condition::Always,
            lifetime: Lifetime::Clear,
            time_at: 0,
            pairs: args.skip(args.len()),
        };
        let mut at = 2;
        while at < args.len() {
            let word = args.at(at);
            if parse::is_word(word, "FIELDS") {
                if args.len() - at < 4 {
                    return Err(wrong_arity());
                }
                let count = parse::integer_within(args.at(at + 1), 1, i64::from(i32::MAX))
                    .map_err(|_| CommandError::fixed("ERR invalid number of fields"))?;
                parsed.pairs = args.skip(at + 2);
                let pairs = parsed.pairs.len();
                if !pairs.is_multiple_of(2) || usize::try_from(count) != Ok(pairs / 2) {
                    return Err(wrong_arity());
                }
                return Ok(parsed);
            }
            if let Some(unit) = ExpireUnit::of_word(word) {
                parsed.check_lifetime()?;
                if at + 1 >= args.len() {
                    return Err(CommandError::fixed("ERR missing expire time"));
                }
                let at_ms = unix_ms(args.at(at + 1), unit, now_ms, "hsetex")?;
                parsed.lifetime = Lifetime::ExpireAt(at_ms);
                at += 1;
                parsed.time_at = at;
            } else if parse::is_word(word, "KEEPTTL") {
                parsed.check_lifetime()?;
                parsed.lifetime = Lifetime::Keep;
            } else if parse::is_word(word, "FNX") {
                parsed.check_condition()?;
                parsed.condition = Condition::NoneExists;
            } else if parse::is_word(word, "FXX") {
                parsed.check_condition()?;
                parsed.condition = Condition::AllExist;
            } else {
                return Err(CommandError::showing("ERR unknown argument: ", word, ""));
            }
            at += 1;
        }
        Err(wrong_arity())
    }
    /// How many fields are set.
    fn count(&self) -> usize {
        self.pairs.len() / 2
    }
    fn check_lifetime(&self) -> Result<(), CommandError> {
        if self.lifetime == Lifetime::Clear {
            return Ok(());
        }
        Err(CommandError::fixed(
            "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
        ))
    }
    fn check_condition(&self) -> Result<(), CommandError> {
        if self.condition == Condition::Always {
            return Ok(());
        }
        Err(CommandError::fixed(
            "ERR Only one of FXX or FNX arguments can be specified",
        ))
    }
    fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let pairs = self.pairs;
        (0..self.count()).map(move |index| (pairs.at(2 * index), pairs.at(2 * index + 1)))
    }
    /// Whether the condition holds for what is there.
    fn holds(&self, hash: Option<&Hash>, now_ms: i64) -> bool {
        let exists = |field: &[u8]| {
            hash.and_then(|hash| hash.get(field))
                .is_some_and(|pair| !pair.is_expired(now_ms))
        };
        match self.condition {
            Condition::Always => true,
            Condition::NoneExists => !self.fields().any(|(field, _)| exists(field)),
            Condition::AllExist => self.fields().all(|(field, _)| exists(field)),
        }
    }
}

pub(super) fn hsetex(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now_ms) = (args.at(1), context.now.expiry_ms());
    let wanted = SetEx::parse(args, context.now.unix_ms())?;
    let limits = limits(context);
    let fields = wanted.fields().map(|(field, _)| field);
    let expired = super::expire_before_change(context, key, fields)?;
    let mut slot = context.db.entry(key);
    let holds = match &mut slot {
        KeyEntry::Occupied(held) => wanted.holds(Some(held.hash_mut()?), now_ms),
        KeyEntry::Vacant(_) => wanted.holds(None, now_ms),
    };
    if !holds {
        let emptied = match slot {
            KeyEntry::Occupied(mut held) => held.hash_mut()?.is_empty(),
            KeyEntry::Vacant(_) => false,
        };
        if emptied {
            context.db.remove_emptied(key);
        }
        context.reply.integer(0);
        return Ok(());
    }
    let make = |_| crate::keyspace::NewValue::Hash(Box::default());
    let (mut held, _) = slot.or_insert(make);
    let hash = held.hash_mut()?;
    let lens = wanted
        .fields()
        .flat_map(|(field, value)| [field.len(), value.len()]);
    hash.prepare(lens, &limits);
    if matches!(wanted.lifetime, Lifetime::ExpireAt(_)) {
        hash.make_expiring();
    }
    let mut changes = Changes::default();
    for (field, value) in wanted.fields() {
        let keep = wanted.lifetime == Lifetime::Keep;
        hash.set(field, value, keep, &limits);
        if let Lifetime::ExpireAt(at_ms) = wanted.lifetime {
            changes.expire(hash, field, at_ms, now_ms);
        }
    }
    let emptied = hash.is_empty();
    held.reindex_fields();
    let rewritten = rewrite_set(context, args, &wanted, &changes);
    super::rewrite_key_expiry(context, key, expired, (!rewritten).then_some(args));
    context.db.signal_modified(EventClass::Hash, "hset", key);
    changes.signal(context, key, emptied, true);
    context.reply.integer(1);
    Ok(())
}

/// Gives the journal what HSETEX came to: itself with a time that is absolute. False where that is what was called.
fn rewrite_set(
    context: &mut Context<'_>,
    args: Args<'_>,
    wanted: &SetEx<'_>,
    changes: &Changes<'_>,
) -> bool {
    if !context.propagates {
        return false;
    }
    if !changes.deleted.is_empty() {
        // Nothing was there that the fields could have replaced, or it is gone with them.
        changes.rewrite_deleted(context, args.at(1));
        return true;
    }
    if let Lifetime::ExpireAt(at_ms) = wanted.lifetime {
        let mut time = itoa::Buffer::new();
        let mut words: Vec<&[u8]> = args.iter().collect();
        let from = wanted.time_at.saturating_sub(1);
        let new = [b"PXAT", time.format(at_ms).as_bytes()];
        for (word, new) in words.iter_mut().skip(from).zip(new) {
            *word = new;
        }
        context.rewrite(&words);
        return true;
    }
    false
}
