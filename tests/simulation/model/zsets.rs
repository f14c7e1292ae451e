//! Sorted sets, and the commands that wait for a member of one. Scores are small multiples of a half, or infinite.

use super::{
    Answer, Args, Model, Outcome, Run, SYNTAX, Value, bulk, double, int, integer, small, span, word,
};
use std::collections::BTreeMap;

type SortedSet = BTreeMap<Vec<u8>, f64>;
type Pair = (Vec<u8>, f64);

pub const COMMANDS: &[(&str, i64, Run)] = &[
    ("bzmpop", -5, Model::zpop_or_wait),
    ("bzpopmax", -3, Model::zpop_or_wait),
    ("bzpopmin", -3, Model::zpop_or_wait),
    ("zadd", -4, Model::zadd),
    ("zcard", 2, Model::zsets),
    ("zcount", 4, Model::zsets),
    ("zdiffstore", -4, Model::zcombine),
    ("zincrby", 4, Model::zsets),
    ("zinterstore", -4, Model::zcombine),
    ("zmpop", -4, Model::zmpop),
    ("zmscore", -3, Model::zsets),
    ("zpopmax", -2, Model::zpop),
    ("zpopmin", -2, Model::zpop),
    ("zrandmember", -2, Model::zsets),
    ("zrange", -4, Model::zrange),
    ("zrangebyscore", -4, Model::zrange),
    ("zrank", 3, Model::zsets),
    ("zrem", -3, Model::zsets),
    ("zremrangebyrank", 4, Model::zsets),
    ("zremrangebyscore", 4, Model::zsets),
    ("zrevrange", -4, Model::zrange),
    ("zrevrank", 3, Model::zsets),
    ("zscore", 3, Model::zsets),
    ("zunionstore", -4, Model::zcombine),
];

/// Members by score, then by name.
fn sorted(set: &SortedSet) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = set
        .iter()
        .map(|(name, score)| (name.clone(), *score))
        .collect();
    pairs.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    pairs
}

/// A bound of scores: the number, and whether it is excluded.
fn bound(text: &[u8]) -> Result<(f64, bool), String> {
    let (text, excluded) = match text.strip_prefix(b"(") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let number = double(text).map_err(|_| "ERR min or max is not a float")?;
    Ok((number, excluded))
}

fn within(score: f64, min: (f64, bool), max: (f64, bool)) -> bool {
    (score > min.0 || (score == min.0 && !min.1)) && (score < max.0 || (score == max.0 && !max.1))
}

fn plus(a: f64, b: f64) -> f64 {
    let sum = a + b;
    // Zero has one sign here.
    if sum == 0.0 { 0.0 } else { sum }
}

impl Model {
    fn zsets(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let key = &args[1];
        let by = match name {
            "zincrby" => double(&args[2])?,
            _ => 0.0,
        };
        let (from, to) = match name {
            "zremrangebyrank" => (integer(&args[2])?, integer(&args[3])?),
            "zrandmember" if args.len() > 2 => (integer(&args[2])?, 0),
            _ => (0, 0),
        };
        let bounds = match name {
            "zcount" | "zremrangebyscore" => Some((bound(&args[2])?, bound(&args[3])?)),
            _ => None,
        };
        let mut set = self.sorted_set(key)?.unwrap_or_default();
        match name {
            "zcard" => Ok(int(set.len())),
            "zscore" => Ok(set
                .get(&args[2])
                .map_or(Answer::Null, |score| Answer::Score(*score))),
            "zmscore" => {
                let scores = args[2..].iter().map(|member| set.get(member));
                let scores =
                    scores.map(|score| score.map_or(Answer::Null, |it| Answer::Score(*it)));
                Ok(Answer::Array(scores.collect()))
            }
            "zcount" => {
                let (min, max) = bounds.expect("bounds");
                Ok(int(set
                    .values()
                    .filter(|score| within(**score, min, max))
                    .count()))
            }
            "zrank" | "zrevrank" => {
                let pairs = sorted(&set);
                let at = pairs.iter().position(|(member, _)| *member == args[2]);
                Ok(at.map_or(Answer::Null, |at| {
                    int(if name == "zrank" {
                        at
                    } else {
                        pairs.len() - 1 - at
                    })
                }))
            }
            "zincrby" => {
                let score = plus(set.get(&args[3]).copied().unwrap_or(0.0), by);
                if score.is_nan() {
                    return Err("ERR resulting score is not a number (NaN)".into());
                }
                set.insert(args[3].clone(), score);
                self.put_back(key, Value::SortedSet(set));
                Ok(Answer::Score(score))
            }
            "zrandmember" => Ok(match args.len() {
                2 => Answer::OneOf(set.into_keys().collect()),
                _ => super::sets::random(set.into_keys().collect(), from),
            }),
            _ => {
                let pairs = sorted(&set);
                let before = pairs.len();
                if name == "zrem" {
                    set.retain(|member, _| !args[2..].contains(member));
                } else if let Some((min, max)) = bounds {
                    set.retain(|_, score| !within(*score, min, max));
                } else {
                    let (from, to) = span(from, to, before);
                    set = pairs[..from].iter().chain(&pairs[to..]).cloned().collect();
                }
                let removed = before - set.len();
                self.put_back(key, Value::SortedSet(set));
                Ok(int(removed))
            }
        }
    }

    fn zadd(&mut self, _: &str, args: Args<'_>) -> Outcome {
        let (mut nx, mut xx, mut gt, mut lt, mut ch, mut incr) =
            (false, false, false, false, false, false);
        let mut at = 2;
        loop {
            match word(args.get(at).ok_or(SYNTAX)?).as_str() {
                "NX" => nx = true,
                "XX" => xx = true,
                "GT" => gt = true,
                "LT" => lt = true,
                "CH" => ch = true,
                "INCR" => incr = true,
                _ => break,
            }
            at += 1;
        }
        if args.len() == at || !(args.len() - at).is_multiple_of(2) {
            return Err(SYNTAX.into());
        }
        if nx && xx {
            return Err("ERR XX and NX options at the same time are not compatible".into());
        }
        if [nx, gt, lt].iter().filter(|given| **given).count() > 1 {
            return Err("ERR GT, LT, and/or NX options at the same time are not compatible".into());
        }
        if incr && args.len() - at > 2 {
            return Err("ERR INCR option supports a single increment-element pair".into());
        }
        let mut pairs = Vec::new();
        for pair in args[at..].chunks(2) {
            pairs.push((double(&pair[0])?, &pair[1]));
        }
        let held = self.sorted_set(&args[1])?;
        let mut set = held.unwrap_or_default();
        let (mut added, mut changed, mut last) = (0, 0, None);
        for (score, member) in pairs {
            let old = set.get(member).copied();
            let score = if incr {
                plus(old.unwrap_or(0.0), score)
            } else {
                score
            };
            if score.is_nan() {
                return Err("ERR resulting score is not a number (NaN)".into());
            }
            let done = match old {
                None => !xx,
                Some(old) => !nx && (!gt || score > old) && (!lt || score < old),
            };
            if done {
                added += usize::from(old.is_none());
                changed += usize::from(old.is_some_and(|old| old != score));
                set.insert(member.clone(), score);
                last = Some(score);
            }
        }
        self.put_back(&args[1], Value::SortedSet(set));
        Ok(match incr {
            true => last.map_or(Answer::Null, Answer::Score),
            false => int(added + if ch { changed } else { 0 }),
        })
    }

    /// Members, with their scores if that is asked for; RESP3 puts each pair into an array of its own.
    fn members(&self, pairs: Vec<Pair>, with_scores: bool) -> Answer {
        let resp3 = self.resp3;
        Answer::Array(
            pairs
                .into_iter()
                .flat_map(|(member, score)| match (with_scores, resp3) {
                    (false, _) => vec![Answer::Bulk(member)],
                    (true, false) => vec![Answer::Bulk(member), Answer::Score(score)],
                    (true, true) => vec![Answer::Array(vec![
                        Answer::Bulk(member),
                        Answer::Score(score),
                    ])],
                })
                .collect(),
        )
    }

    /// ZRANGE by rank or BYSCORE, REV, WITHSCORES; ZREVRANGE and ZRANGEBYSCORE.
    fn zrange(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let options: Vec<String> = args[4..].iter().map(|option| word(option)).collect();
        let has = |option: &str| options.iter().any(|given| given == option);
        let reverse = has("REV") || name == "zrevrange";
        let with_scores = has("WITHSCORES");
        let by_score = has("BYSCORE") || name == "zrangebyscore";
        if by_score {
            let (mut min, mut max) = (bound(&args[2])?, bound(&args[3])?);
            if reverse {
                std::mem::swap(&mut min, &mut max);
            }
            let mut pairs = sorted(&self.sorted_set(&args[1])?.unwrap_or_default());
            pairs.retain(|(_, score)| within(*score, min, max));
            if reverse {
                pairs.reverse();
            }
            return Ok(self.members(pairs, with_scores));
        }
        let (from, to) = (integer(&args[2])?, integer(&args[3])?);
        let mut pairs = sorted(&self.sorted_set(&args[1])?.unwrap_or_default());
        if reverse {
            pairs.reverse();
        }
        let (from, to) = span(from, to, pairs.len());
        Ok(self.members(pairs[from..to].to_vec(), with_scores))
    }

    /// Takes the first or last members of a sorted set.
    fn take(&mut self, key: &[u8], max: bool, count: usize) -> Result<Option<Vec<Pair>>, String> {
        let Some(mut set) = self.sorted_set(key)? else {
            return Ok(None);
        };
        let mut pairs = sorted(&set);
        if max {
            pairs.reverse();
        }
        pairs.truncate(count);
        set.retain(|member, _| !pairs.iter().any(|pair| pair.0 == *member));
        self.put_back(key, Value::SortedSet(set));
        Ok(Some(pairs))
    }

    fn zpop(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let count = args.get(2).map(|count| small(count));
        let taken = self.take(&args[1], name == "zpopmax", count.unwrap_or(1))?;
        let taken = taken.unwrap_or_default();
        if count.is_some() {
            return Ok(self.members(taken, true));
        }
        let flat = taken.into_iter();
        Ok(Answer::Array(
            flat.flat_map(|(member, score)| [Answer::Bulk(member), Answer::Score(score)])
                .collect(),
        ))
    }

    fn take_of_first(&mut self, keys: Args<'_>, max: bool, count: usize) -> Outcome {
        for key in keys {
            if let Some(pairs) = self.take(key, max, count)? {
                let pairs = pairs.into_iter().map(|(member, score)| {
                    Answer::Array(vec![Answer::Bulk(member), Answer::Score(score)])
                });
                let pairs = Answer::Array(pairs.collect());
                return Ok(Answer::Array(vec![bulk(key), pairs]));
            }
        }
        Ok(Answer::NullArray)
    }

    fn zmpop(&mut self, _: &str, args: Args<'_>) -> Outcome {
        let keys = small(&args[1]);
        let rest = &args[2 + keys..];
        let count = rest.get(2).map_or(1, |count| small(count));
        self.take_of_first(&args[2..2 + keys], word(&rest[0]) == "MAX", count)
    }

    fn zpop_or_wait(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let (keys, timeout, outcome) = if name == "bzmpop" {
            let keys = small(&args[2]);
            let rest = &args[3 + keys..];
            let keys = &args[3..3 + keys];
            let count = rest.get(2).map_or(1, |count| small(count));
            (
                keys,
                &args[1],
                self.take_of_first(keys, word(&rest[0]) == "MAX", count)?,
            )
        } else {
            let (timeout, keys) = args[1..].split_last().ok_or(SYNTAX)?;
            let mut outcome = Answer::NullArray;
            for key in keys {
                if let Some(pairs) = self.take(key, name == "bzpopmax", 1)? {
                    let (member, score) = pairs.into_iter().next().expect("a member");
                    let parts = vec![bulk(key), Answer::Bulk(member), Answer::Score(score)];
                    outcome = Answer::Array(parts);
                    break;
                }
            }
            (keys, timeout, outcome)
        };
        match outcome {
            Answer::NullArray => self.wait("zset", keys, timeout, Answer::NullArray),
            outcome => Ok(outcome),
        }
    }

    /// ZUNIONSTORE and its like, without weights: `destination n key...`. Sets count as sorted sets of score 1.
    fn zcombine(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let mut sets: Vec<SortedSet> = Vec::new();
        for key in &args[3..3 + small(&args[2])] {
            sets.push(match self.get(self.db, key).map(|entry| &entry.value) {
                None => SortedSet::new(),
                Some(Value::SortedSet(set)) => set.clone(),
                Some(Value::Set(set)) => set.iter().map(|member| (member.clone(), 1.0)).collect(),
                Some(_) => return Err(super::WRONG_TYPE.into()),
            });
        }
        let (first, others) = sets.split_first().expect("a key");
        let mut result = first.clone();
        match name {
            "zdiffstore" => {
                result.retain(|member, _| !others.iter().any(|set| set.contains_key(member)));
            }
            "zinterstore" => {
                result.retain(|member, _| others.iter().all(|set| set.contains_key(member)));
                for (member, score) in &mut result {
                    *score = others
                        .iter()
                        .fold(*score, |sum, set| join(sum, set[member]));
                }
            }
            _ => {
                for (member, score) in others.iter().flatten() {
                    let held = result.entry(member.clone());
                    held.and_modify(|held| *held = join(*held, *score))
                        .or_insert(*score);
                }
            }
        }
        let len = result.len();
        self.store(&args[1], Value::SortedSet(result));
        Ok(int(len))
    }
}

/// The sum of two scores where infinities may cancel each other out.
fn join(a: f64, b: f64) -> f64 {
    let sum = plus(a, b);
    if sum.is_nan() { 0.0 } else { sum }
}
