//! Runs of neighbours: ZRANGE in all its spellings, ZRANGESTORE, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX.

use super::bounds::{self, Ranks};
use super::{begin_pairs, limits, reply_member, reply_pair, store};
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{EventClass, KeyEntry};
use crate::resp::Args;
use crate::structures::Collection;
use crate::structures::sorted_set::{LexRange, ScoreRange, SortedSet};
use std::ops::Range;

/// What the ends of a range are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// A range as it was given.
enum Wanted<'a> {
    Rank(Ranks),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl<'a> Wanted<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Wanted<'a>, CommandError> {
        Ok(match by {
            By::Rank => Wanted::Rank(Ranks::parse(min, max)?),
            By::Score => Wanted::Score(bounds::scores(min, max)?),
            By::Lex => Wanted::Lex(bounds::members(min, max)?),
        })
    }

    /// The ranks that are meant in a set; those given as ranks count from its end when `reverse`.
    fn ranks(&self, set: &SortedSet, reverse: bool) -> Range<usize> {
        match self {
            Wanted::Score(range) => set.ranks_by_score(range),
            Wanted::Lex(range) => set.ranks_by_lex(range),
            Wanted::Rank(ranks) => {
                let len = set.len();
                let found = ranks.within(len);
                if reverse {
                    len - found.end..len - found.start
                } else {
                    found
                }
            }
        }
    }
}

/// What a command's name says already.
#[derive(Clone, Copy)]
struct Form {
    by: Option<By>,
    reverse: Option<bool>,
    /// ZRANGESTORE.
    stores: bool,
}

/// A request for a run of neighbours.
struct Query<'a> {
    wanted: Wanted<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    limit: i64,
}

impl<'a> Query<'a> {
    /// Reads `min max [options]`.
    fn parse(args: Args<'a>, form: Form) -> Result<Query<'a>, CommandError> {
        let (mut by, mut reverse) = (form.by, form.reverse);
        let (mut offset, mut limit, mut with_scores) = (0, -1, false);
        let options = args.skip(2);
        let mut at = 0;
        while let Some(word) = options.get(at) {
            at += 1;
            match () {
                () if !form.stores && parse::is_word(word, "WITHSCORES") => with_scores = true,
                () if parse::is_word(word, "LIMIT") && options.len() - at >= 2 => {
                    offset = parse::integer(options.at(at))?;
                    limit = parse::integer(options.at(at + 1))?;
                    at += 2;
                }
                () if reverse.is_none() && parse::is_word(word, "REV") => {
                    reverse = Some(true);
                }
                // The first of these decides; Redis takes a second one for an error.
                () if by.is_none() && parse::is_word(word, "BYLEX") => by = Some(By::Lex),
                () if by.is_none() && parse::is_word(word, "BYSCORE") => by = Some(By::Score),
                () => return Err(CommandError::Syntax),
            }
        }
        let by = by.unwrap_or(By::Rank);
        let reverse = reverse.unwrap_or(false);
        if limit != -1 && by == By::Rank {
            return Err(CommandError::fixed(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(CommandError::fixed(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        if by == By::Rank {
            // Without a limit Redis does not look at the offset, either.
            offset = 0;
        }
        // Downwards, the upper end comes first.
        let (min, max) = if reverse && by != By::Rank {
            (args.at(1), args.at(0))
        } else {
            (args.at(0), args.at(1))
        };
        Ok(Query {
            wanted: Wanted::parse(by, min, max)?,
            reverse,
            with_scores,
            offset,
            limit,
        })
    }

    /// Where the run begins in a set and how long it is.
    fn run(&self, set: &SortedSet) -> (usize, usize) {
        let ranks = self.wanted.ranks(set, self.reverse);
        // A negative offset is beyond every end, a negative limit is none.
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let count = ranks.len().saturating_sub(offset).min(limit);
        if count == 0 {
            return (0, 0);
        }
        let start = if self.reverse {
            ranks.end - 1 - offset
        } else {
            ranks.start + offset
        };
        (start, count)
    }
}

fn reply_range(
    context: &mut Context<'_>,
    args: Args<'_>,
    by: Option<By>,
    reverse: Option<bool>,
) -> Result<(), CommandError> {
    let form = Form {
        by,
        reverse,
        stores: false,
    };
    let query = Query::parse(args.skip(2), form)?;
    let Some(entry) = context.db.read(args.at(1)) else {
        context.reply.array(0);
        return Ok(());
    };
    let set = entry.sorted_set()?;
    let (start, count) = query.run(set);
    let reply = &mut *context.reply;
    if query.with_scores {
        begin_pairs(reply, count);
        for (member, score) in set.iter_from(start, count, query.reverse) {
            reply_pair(reply, member, score);
        }
    } else {
        reply.array(count);
        for member in set.members_from(start, count, query.reverse) {
            reply_member(reply, member);
        }
    }
    Ok(())
}

pub(super) fn zrange(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_range(context, args, None, None)
}

pub(super) fn zrevrange(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_range(context, args, Some(By::Rank), Some(true))
}

pub(super) fn zrangebyscore(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_range(context, args, Some(By::Score), Some(false))
}

pub(super) fn zrevrangebyscore(
    context: &mut Context<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    reply_range(context, args, Some(By::Score), Some(true))
}

pub(super) fn zrangebylex(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_range(context, args, Some(By::Lex), Some(false))
}

pub(super) fn zrevrangebylex(
    context: &mut Context<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    reply_range(context, args, Some(By::Lex), Some(true))
}

pub(super) fn zrangestore(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let form = Form {
        by: None,
        reverse: None,
        stores: true,
    };
    let query = Query::parse(args.skip(3), form)?;
    let limits = limits(context.settings);
    let seed = context.db.hash_seed();
    let mut result = SortedSet::new(seed);
    if let Some(entry) = context.db.read(args.at(2)) {
        let set = entry.sorted_set()?;
        let (start, count) = query.run(set);
        if count > limits.max_entries {
            result = SortedSet::new_large(seed);
        }
        for (member, score) in set.iter_from(start, count, query.reverse) {
            member.with_bytes(|member| result.insert(member, score, limits));
        }
    }
    store(context, args.at(1), result, "zrangestore");
    Ok(())
}

fn remove_range(
    context: &mut Context<'_>,
    args: Args<'_>,
    by: By,
    event: &'static str,
) -> Result<(), CommandError> {
    let wanted = Wanted::parse(by, args.at(2), args.at(3))?;
    let key = args.at(1);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        context.reply.integer(0);
        return Ok(());
    };
    let set = held.sorted_set_mut()?;
    let ranks = wanted.ranks(set, false);
    let removed = ranks.len();
    let all = removed == set.len();
    if !all {
        set.remove_ranks(ranks);
    }
    if removed > 0 {
        context
            .db
            .signal_modified(EventClass::SortedSet, event, key);
        if all {
            // The whole goes at once, which is faster than one by one.
            context.db.remove_emptied(key);
        }
    }
    context.reply.count(removed);
    Ok(())
}

pub(super) fn zremrangebyrank(
    context: &mut Context<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    remove_range(context, args, By::Rank, "zremrangebyrank")
}

pub(super) fn zremrangebyscore(
    context: &mut Context<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    remove_range(context, args, By::Score, "zremrangebyscore")
}

pub(super) fn zremrangebylex(
    context: &mut Context<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    remove_range(context, args, By::Lex, "zremrangebylex")
}
