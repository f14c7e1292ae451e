//! Unions, intersections and differences of sorted sets and sets, answered or stored.

use super::{begin_pairs, limits, reply_member, reply_pair, store};
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{Db, EntryRef, Stored};
use crate::resp::Args;
use crate::structures::Collection;
use crate::structures::dict::HashSeed;
use crate::structures::listpack::Item;
use crate::structures::set::Set;
use crate::structures::sorted_set::{Builder, SortedSet};
use crate::system::numbers::parse_f64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// How the scores of a member in several inputs become one.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // Infinities of both signs cancel out.
            Aggregate::Sum => zero_if_nan(a + b),
            Aggregate::Min if b < a => b,
            Aggregate::Max if b > a => b,
            Aggregate::Min | Aggregate::Max => a,
        }
    }
}

fn zero_if_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What an operation works on.
#[derive(Clone, Copy)]
enum Source<'a> {
    Sorted(&'a SortedSet),
    /// A set, whose members have the score 1.
    Plain(&'a Set),
    Missing,
}

impl<'a> Source<'a> {
    fn of(entry: &'a Option<EntryRef<'_>>) -> Source<'a> {
        match entry.as_ref().map(EntryRef::stored) {
            Some(Stored::SortedSet(set)) => Source::Sorted(set),
            Some(Stored::Set(set)) => Source::Plain(set),
            _ => Source::Missing,
        }
    }
    fn len(self) -> usize {
        match self {
            Source::Sorted(set) => set.len(),
            Source::Plain(set) => set.len(),
            Source::Missing => 0,
        }
    }
    fn is(self, other: Source<'_>) -> bool {
        match (self, other) {
            (Source::Sorted(this), Source::Sorted(other)) => std::ptr::eq(this, other),
            (Source::Plain(this), Source::Plain(other)) => std::ptr::eq(this, other),
            _ => false,
        }
    }
    fn score_of(self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Sorted(set) => set.score_of(member),
            Source::Plain(set) => set.contains(member).then_some(1.0),
            Source::Missing => None,
        }
    }
    /// Calls back with each member until told to stop with `false`.
    fn for_each(self, mut each: impl FnMut(Item<'_>, f64) -> bool) {
        match self {
            Source::Sorted(set) => {
                for (member, score) in set.iter() {
                    if !each(member, score) {
                        return;
                    }
                }
            }
            Source::Plain(set) => {
                for member in set.iter() {
                    if !each(member, 1.0) {
                        return;
                    }
                }
            }
            Source::Missing => {}
        }
    }
}

/// What is asked for beside the keys.
struct Options {
    /// One for each key.
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// ZINTERCARD's; 0: none.
    limit: usize,
}

/// Which options a command has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Answers,
    Stores,
    Counts,
}

impl Options {
    fn parse(
        args: Args<'_>,
        keys: usize,
        operation: Operation,
        kind: Kind,
    ) -> Result<Options, CommandError> {
        let mut options = Options {
            weights: vec![1.0; keys],
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: 0,
        };
        let combines = operation != Operation::Difference && kind != Kind::Counts;
        let mut at = 0;
        while let Some(word) = args.get(at) {
            let left = args.len() - at;
            at += 1;
            match () {
                () if combines && left > keys && parse::is_word(word, "WEIGHTS") => {
                    for weight in &mut options.weights {
                        *weight = parse_f64(args.at(at))
                            .ok_or(CommandError::fixed("ERR weight value is not a float"))?;
                        at += 1;
                    }
                }
                () if combines && left >= 2 && parse::is_word(word, "AGGREGATE") => {
                    options.aggregate = match args.at(at) {
                        name if parse::is_word(name, "SUM") => Aggregate::Sum,
                        name if parse::is_word(name, "MIN") => Aggregate::Min,
                        name if parse::is_word(name, "MAX") => Aggregate::Max,
                        _ => return Err(CommandError::Syntax),
                    };
                    at += 1;
                }
                () if kind == Kind::Answers && parse::is_word(word, "WITHSCORES") => {
                    options.with_scores = true;
                }
                () if kind == Kind::Counts && left >= 2 && parse::is_word(word, "LIMIT") => {
                    options.limit = match parse::integer(args.at(at)).map(usize::try_from) {
                        Ok(Ok(limit)) => limit,
                        _ => return Err(CommandError::fixed("ERR LIMIT can't be negative")),
                    };
                    at += 1;
                }
                () => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }
}

/// Looks up all keys; an error if one is neither a sorted set nor a set.
fn check_types(db: &mut Db<'_>, keys: Args<'_>) -> Result<(), CommandError> {
    for key in keys.iter() {
        if let Some(entry) = db.read(key)
            && !matches!(entry.stored(), Stored::SortedSet(_) | Stored::Set(_))
        {
            return Err(CommandError::WrongType);
        }
    }
    Ok(())
}

/// Inputs with their weights, the smallest first: that is the order in which Redis adds up, which for doubles matters.
fn by_size<'a>(sources: &[Source<'a>], options: &Options) -> Vec<(Source<'a>, f64)> {
    let weights = options.weights.iter().copied();
    let mut sorted: Vec<_> = sources.iter().copied().zip(weights).collect();
    sorted.sort_by_key(|(source, _)| source.len());
    sorted
}

/// Calls back with each member that all have and its score, until told to stop with `false`.
fn intersect(sources: &[Source<'_>], options: &Options, mut each: impl FnMut(&[u8], f64) -> bool) {
    let sorted = by_size(sources, options);
    let Some(((smallest, weight), others)) = sorted.split_first() else {
        return;
    };
    smallest.for_each(|member, own| {
        member.with_bytes(|member| {
            let mut score = zero_if_nan(own * weight);
            for (other, weight) in others {
                let found = if other.is(*smallest) {
                    Some(own)
                } else {
                    other.score_of(member)
                };
                match found {
                    Some(found) => score = options.aggregate.of(score, found * weight),
                    None => return true,
                }
            }
            each(member, score)
        })
    });
}

/// A sorted set of the members that any has.
fn unite(sources: &[Source<'_>], options: &Options, seed: HashSeed) -> SortedSet {
    let mut union = Builder::new(seed);
    for (source, weight) in by_size(sources, options) {
        source.for_each(|member, score| {
            let score = zero_if_nan(score * weight);
            member.with_bytes(|member| {
                union.put(member, |current| match current {
                    Some(current) => options.aggregate.of(current, score),
                    None => score,
                });
            });
            true
        });
    }
    union.finish()
}

/// A sorted set of the members of the first that no other has.
///
/// There are two ways: to look each member of the first up in the others, or to take the members of the others out of
/// a copy of the first. As in Redis the one with less work is taken; the first gets a start, for it often ends early.
fn subtract(sources: &[Source<'_>], seed: HashSeed) -> SortedSet {
    let mut rest = Builder::new(seed);
    let Some((first, others)) = sources.split_first() else {
        return rest.finish();
    };
    if others.iter().any(|other| other.is(*first)) {
        return rest.finish();
    }
    let looking_up = first.len().saturating_mul(sources.len()) / 2;
    let taking_out = sources
        .iter()
        .fold(0usize, |sum, source| sum.saturating_add(source.len()));
    let look_up = looking_up <= taking_out;
    let mut others = others.to_vec();
    // The largest first, which most probably has the member.
    others.sort_by_key(|source| std::cmp::Reverse(source.len()));
    first.for_each(|member, score| {
        member.with_bytes(|member| {
            if !look_up || others.iter().all(|other| other.score_of(member).is_none()) {
                rest.put(member, |_| score);
            }
        });
        true
    });
    if !look_up {
        for other in others {
            other.for_each(|member, _| {
                member.with_bytes(|member| rest.remove(member));
                !rest.is_empty()
            });
        }
    }
    rest.finish()
}

/// Runs an operation; `args` begin with the number of keys.
fn compute(
    context: &mut Context<'_>,
    args: Args<'_>,
    operation: Operation,
    kind: Kind,
    name: &str,
) -> Result<(SortedSet, Options, usize), CommandError> {
    let number = parse::integer(args.at(0))?;
    if number < 1 {
        return Err(CommandError::text_owned(format!(
            "ERR at least 1 input key is needed for '{name}' command"
        )));
    }
    let rest = args.skip(1);
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    if number > rest.len() {
        return Err(CommandError::Syntax);
    }
    let keys = rest.take(number);
    check_types(&mut context.db, keys)?;
    let options = Options::parse(rest.skip(number), number, operation, kind)?;
    let seed = context.db.hash_seed();
    let db = &context.db;
    let entries: Vec<_> = keys.iter().map(|key| db.again(key)).collect();
    let sources: Vec<_> = entries.iter().map(Source::of).collect();
    let mut counted = 0;
    let result = match operation {
        Operation::Union => unite(&sources, &options, seed),
        Operation::Difference => subtract(&sources, seed),
        Operation::Intersection if kind == Kind::Counts => {
            intersect(&sources, &options, |_, _| {
                counted += 1;
                counted != options.limit
            });
            SortedSet::new(seed)
        }
        Operation::Intersection => {
            let mut common = Builder::new(seed);
            intersect(&sources, &options, |member, score| {
                common.put(member, |_| score);
                true
            });
            common.finish()
        }
    };
    Ok((result, options, counted))
}

fn reply_with(
    context: &mut Context<'_>,
    args: Args<'_>,
    operation: Operation,
    name: &str,
) -> Result<(), CommandError> {
    let (result, options, _) = compute(context, args.skip(1), operation, Kind::Answers, name)?;
    let reply = &mut *context.reply;
    if options.with_scores {
        begin_pairs(reply, result.len());
        for (member, score) in result.iter() {
            reply_pair(reply, member, score);
        }
    } else {
        reply.array(result.len());
        for member in result.members_from(0, usize::MAX, false) {
            reply_member(reply, member);
        }
    }
    Ok(())
}

fn store_result(
    context: &mut Context<'_>,
    args: Args<'_>,
    operation: Operation,
    name: &'static str,
) -> Result<(), CommandError> {
    let (mut result, ..) = compute(context, args.skip(2), operation, Kind::Stores, name)?;
    result.fit(limits(context.settings));
    store(context, args.at(1), result, name);
    Ok(())
}

pub(super) fn zunion(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with(context, args, Operation::Union, "zunion")
}

pub(super) fn zinter(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with(context, args, Operation::Intersection, "zinter")
}

pub(super) fn zdiff(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with(context, args, Operation::Difference, "zdiff")
}

pub(super) fn zunionstore(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_result(context, args, Operation::Union, "zunionstore")
}

pub(super) fn zinterstore(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_result(context, args, Operation::Intersection, "zinterstore")
}

pub(super) fn zdiffstore(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_result(context, args, Operation::Difference, "zdiffstore")
}

pub(super) fn zintercard(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (operation, kind) = (Operation::Intersection, Kind::Counts);
    let (_, _, counted) = compute(context, args.skip(1), operation, kind, "zintercard")?;
    context.reply.count(counted);
    Ok(())
}
