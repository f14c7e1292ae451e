//! Members and scores one by one: ZADD, ZINCRBY, ZREM.

use super::limits;
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{EventClass, KeyEntry, NewValue};
use crate::resp::Args;
use crate::structures::Collection;
use crate::structures::sorted_set::{Change, Limits, SortedSet};
use crate::system::numbers::parse_f64;

/// Options of ZADD.
#[derive(Clone, Copy, Default)]
struct Options {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    /// Count changed members, too.
    ch: bool,
    incr: bool,
}

impl Options {
    /// Reads options up to the first score; how many there are.
    fn parse(args: Args<'_>) -> (Options, usize) {
        let mut options = Options::default();
        for (count, word) in args.iter().enumerate() {
            let flag = match () {
                () if parse::is_word(word, "NX") => &mut options.nx,
                () if parse::is_word(word, "XX") => &mut options.xx,
                () if parse::is_word(word, "CH") => &mut options.ch,
                () if parse::is_word(word, "INCR") => &mut options.incr,
                () if parse::is_word(word, "GT") => &mut options.gt,
                () if parse::is_word(word, "LT") => &mut options.lt,
                () => return (options, count),
            };
            *flag = true;
        }
        (options, args.len())
    }

    fn check(&self, pairs: usize) -> Result<(), CommandError> {
        let text = if self.nx && self.xx {
            "ERR XX and NX options at the same time are not compatible"
        } else if (self.nx && (self.gt || self.lt)) || (self.gt && self.lt) {
            "ERR GT, LT, and/or NX options at the same time are not compatible"
        } else if self.incr && pairs > 1 {
            "ERR INCR option supports a single increment-element pair"
        } else {
            return Ok(());
        };
        Err(CommandError::fixed(text))
    }

    /// The score that a member shall have; none if nothing is to be done, and an error if it is no number.
    #[inline]
    fn score(&self, current: Option<f64>, given: f64) -> Result<Option<f64>, CommandError> {
        let Some(current) = current else {
            return Ok((!self.xx).then_some(given));
        };
        if self.nx {
            return Ok(None);
        }
        let score = if self.incr { current + given } else { given };
        if score.is_nan() {
            return Err(CommandError::fixed(
                "ERR resulting score is not a number (NaN)",
            ));
        }
        let refused = (self.lt && score >= current) || (self.gt && score <= current);
        Ok((!refused).then_some(score))
    }
}

/// Adds or changes one member.
#[inline]
fn put(
    set: &mut SortedSet,
    options: Options,
    member: &[u8],
    given: f64,
    limits: Limits,
) -> Result<Change, CommandError> {
    let mut error = None;
    let change = set.update(member, limits, |current| {
        options.score(current, given).unwrap_or_else(|nan| {
            error = Some(nan);
            None
        })
    });
    error.map_or(Ok(change), Err)
}

fn score(arg: &[u8]) -> Result<f64, CommandError> {
    parse_f64(arg).ok_or(CommandError::NotFloat)
}

pub(super) fn zadd(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (options, count) = Options::parse(args.skip(2));
    add(context, args.at(1), options, args.skip(2 + count))
}

pub(super) fn zincrby(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    // Redis takes ZADD's options here, too, as far as the arity leaves room for them: then the pair is not whole.
    let (mut options, count) = Options::parse(args.skip(2));
    options.incr = true;
    add(context, args.at(1), options, args.skip(2 + count))
}

fn add(
    context: &mut Context<'_>,
    key: &[u8],
    options: Options,
    pairs: Args<'_>,
) -> Result<(), CommandError> {
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    options.check(pairs.len() / 2)?;
    // One pair is what is mostly given, and needs no room elsewhere.
    let first_score = score(pairs.at(0))?;
    let mut more = Vec::new();
    for pair in 1..pairs.len() / 2 {
        more.push(score(pairs.at(2 * pair))?);
    }
    let limits = limits(context.settings);
    let slot = context.db.entry(key);
    let mut held = match slot {
        KeyEntry::Vacant(_) if options.xx => {
            if options.incr {
                context.reply.null();
            } else {
                context.reply.integer(0);
            }
            return Ok(());
        }
        slot => {
            let first = pairs.at(1);
            let make =
                |seed| NewValue::SortedSet(Box::new(SortedSet::for_first(seed, first, limits)));
            slot.or_insert(make).0
        }
    };
    let set = held.sorted_set_mut()?;
    set.expect(pairs.len() / 2, limits);
    let (mut added, mut updated) = (0, 0);
    let mut result = None;
    let scores = std::iter::once(first_score).chain(more);
    for (pair, given) in scores.enumerate() {
        let change = put(set, options, pairs.at(2 * pair + 1), given, limits)?;
        result = match change {
            Change::Added(score) => {
                added += 1;
                Some(score)
            }
            Change::Updated(score) => {
                updated += 1;
                Some(score)
            }
            Change::Same(score) => Some(score),
            Change::Refused => None,
        };
    }
    if added + updated > 0 {
        let event = if options.incr { "zincr" } else { "zadd" };
        context
            .db
            .signal_modified(EventClass::SortedSet, event, key);
    }
    match (options.incr, result) {
        (true, Some(score)) => context.reply.double(score),
        (true, None) => context.reply.null(),
        (false, _) if options.ch => context.reply.integer(added + updated),
        (false, _) => context.reply.integer(added),
    }
    Ok(())
}

pub(super) fn zrem(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        context.reply.integer(0);
        return Ok(());
    };
    let set = held.sorted_set_mut()?;
    let mut removed = 0;
    for member in args.skip(2).iter() {
        removed += i64::from(set.remove(member).is_some());
        if set.is_empty() {
            break;
        }
    }
    let emptied = set.is_empty();
    if removed > 0 {
        context
            .db
            .signal_modified(EventClass::SortedSet, "zrem", key);
        if emptied {
            context.db.remove_emptied(key);
        }
    }
    context.reply.integer(removed);
    Ok(())
}
