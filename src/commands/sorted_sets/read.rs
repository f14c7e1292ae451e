//! Questions: scores, ranks, counts; ZSCAN; ZRANDMEMBER.

use super::{begin_pairs, bounds, reply_member, reply_pair};
use crate::engine::{CommandError, Context, parse};
use crate::resp::{Args, Reply};
use crate::structures::Collection;
use crate::structures::sorted_set::SortedSet;
use crate::system::numbers::write_general;

/// Most members that ZRANDMEMBER answers with repetitions: more would not fit into memory anyway.
const REPEATED_MOST: u64 = 1 << 28;
/// How often ZRANDMEMBER looks whether its client's output has become too large.
const CHECK_OUTPUT_EVERY: u64 = 1024;

/// Calls back with the reply and the sorted set at the key, none if there is no key.
#[inline]
fn ask(
    context: &mut Context<'_>,
    key: &[u8],
    answer: impl FnOnce(&mut Reply, Option<&SortedSet>),
) -> Result<(), CommandError> {
    match context.db.read(key) {
        Some(entry) => answer(context.reply, Some(entry.sorted_set()?)),
        None => answer(context.reply, None),
    }
    Ok(())
}

fn reply_score(reply: &mut Reply, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

pub(super) fn zcard(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ask(context, args.at(1), |reply, set| {
        reply.count(set.map_or(0, |set| set.len()));
    })
}

pub(super) fn zscore(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ask(context, args.at(1), |reply, set| {
        reply_score(reply, set.and_then(|set| set.score_of(args.at(2))));
    })
}

pub(super) fn zmscore(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ask(context, args.at(1), |reply, set| {
        let members = args.skip(2);
        reply.array(members.len());
        for member in members.iter() {
            reply_score(reply, set.and_then(|set| set.score_of(member)));
        }
    })
}

fn rank(context: &mut Context<'_>, args: Args<'_>, reverse: bool) -> Result<(), CommandError> {
    let with_score = match args.len() {
        3 => false,
        4 if parse::is_word(args.at(3), "WITHSCORE") => true,
        4 => return Err(CommandError::Syntax),
        _ => {
            let name = String::from_utf8_lossy(args.at(0)).to_ascii_lowercase();
            return Err(CommandError::WrongArity(name));
        }
    };
    ask(context, args.at(1), |reply, set| {
        let found = set.and_then(|set| Some((set.rank_of(args.at(2))?, set.len())));
        match found {
            Some(((rank, score), len)) => {
                if with_score {
                    reply.array(2);
                }
                reply.count(if reverse { len - 1 - rank } else { rank });
                if with_score {
                    reply.double(score);
                }
            }
            None if with_score => reply.null_array(),
            None => reply.null(),
        }
    })
}

pub(super) fn zrank(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    rank(context, args, false)
}

pub(super) fn zrevrank(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    rank(context, args, true)
}

pub(super) fn zcount(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let range = bounds::scores(args.at(2), args.at(3))?;
    ask(context, args.at(1), |reply, set| {
        reply.count(set.map_or(0, |set| set.ranks_by_score(&range).len()));
    })
}

pub(super) fn zlexcount(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let range = bounds::members(args.at(2), args.at(3))?;
    ask(context, args.at(1), |reply, set| {
        reply.count(set.map_or(0, |set| set.ranks_by_lex(&range).len()));
    })
}

pub(super) fn zscan(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut cursor = parse::cursor(args.at(2))?;
    let Some(entry) = context.db.read(args.at(1)) else {
        context.reply.array(2);
        context.reply.bulk(b"0");
        context.reply.array(0);
        return Ok(());
    };
    let set = entry.sorted_set()?;
    let options = parse::ScanOptions::parse(args.skip(3), false)?;
    let reply = &mut *context.reply;
    // A hash table's scores are printed as Redis prints long doubles, a listpack's as they stand there.
    let small = set.as_listpack().is_some();
    let mut found = Vec::new();
    let mut seen = 0;
    let mut steps = options.count.saturating_mul(10);
    loop {
        cursor = set.scan(cursor, |member, score| {
            seen += 1;
            if member.with_bytes(|name| options.matches(name)) {
                found.push((member, score));
            }
        });
        steps -= 1;
        if cursor == 0 || steps == 0 || seen >= options.count {
            break;
        }
    }
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(cursor).as_bytes());
    reply.array(found.len() * 2);
    let mut text = Vec::new();
    for (member, score) in found {
        reply_member(reply, member);
        if small {
            reply.bulk_double(score);
        } else {
            text.clear();
            write_general(&mut text, score, 17);
            reply.bulk(&text);
        }
    }
    Ok(())
}

pub(super) fn zrandmember(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = match args.get(2) {
        Some(count) => Some(parse::integer_within(count, -i64::MAX, i64::MAX)?),
        None => None,
    };
    let with_scores = match args.get(3) {
        Some(word) if args.len() == 4 && parse::is_word(word, "WITHSCORES") => true,
        Some(_) => return Err(CommandError::Syntax),
        None => false,
    };
    if with_scores && count.is_some_and(|count| count.unsigned_abs() > i64::MAX as u64 / 2) {
        return Err(CommandError::fixed("ERR value is out of range"));
    }
    let Some(entry) = context.db.read(args.at(1)) else {
        match count {
            Some(_) => context.reply.array(0),
            None => context.reply.null(),
        }
        return Ok(());
    };
    let set = entry.sorted_set()?;
    let (reply, rng) = (&mut *context.reply, &mut *context.rng);
    let begin = |reply: &mut Reply, count: usize| {
        if with_scores {
            begin_pairs(reply, count);
        } else {
            reply.array(count);
        }
    };
    let answer = |reply: &mut Reply, (member, score)| {
        if with_scores {
            reply_pair(reply, member, score);
        } else {
            reply_member(reply, member);
        }
    };
    match count {
        None => match set.random(rng) {
            Some((member, _)) => reply_member(reply, member),
            None => reply.null(),
        },
        Some(count @ ..0) => {
            let count = count.unsigned_abs();
            if count > REPEATED_MOST {
                return Err(CommandError::fixed("ERR value is out of range"));
            }
            let limit = context.settings.client_output_buffer_limits[0].hard_bytes;
            begin(reply, count as usize);
            for drawn in 0..count {
                // A client that is to be closed for it anyway need not get all.
                let look = drawn % CHECK_OUTPUT_EVERY == 0 && limit > 0;
                if look && reply.output().len() as u64 > limit {
                    break;
                }
                if let Some(pair) = set.random(rng) {
                    answer(reply, pair);
                }
            }
        }
        Some(count) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            begin(reply, count.min(set.len()));
            set.sample(count, rng, |pair| answer(reply, pair));
        }
    }
    Ok(())
}
