//! Sets. What SPOP took is known from what it was propagated as.

use super::{Answer, Args, Model, Outcome, Run, Value, int, integer, small, word};
use std::collections::BTreeSet;

type Set = BTreeSet<Vec<u8>>;

pub const COMMANDS: &[(&str, i64, Run)] = &[
    ("sadd", -3, Model::sets),
    ("scard", 2, Model::sets),
    ("sdiff", -2, Model::combine),
    ("sdiffstore", -3, Model::combine),
    ("sinter", -2, Model::combine),
    ("sintercard", -3, Model::combine),
    ("sinterstore", -3, Model::combine),
    ("sismember", 3, Model::sets),
    ("smembers", 2, Model::sets),
    ("smismember", -3, Model::sets),
    ("smove", 4, Model::sets),
    ("spop", -2, Model::pop_members),
    ("srandmember", -2, Model::sets),
    ("srem", -3, Model::sets),
    ("sscan", -3, Model::sets),
    ("sunion", -2, Model::combine),
    ("sunionstore", -3, Model::combine),
];

/// Members chosen by chance, with the count of SRANDMEMBER and HRANDFIELD.
pub fn random(from: Set, count: i64) -> Answer {
    let many = count.unsigned_abs() as usize;
    match count {
        _ if from.is_empty() => Answer::Array(Vec::new()),
        0.. => Answer::Some(many.min(from.len()), from),
        _ => Answer::Repeated(many, from),
    }
}

impl Model {
    fn sets(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let key = &args[1];
        let count = match name {
            "srandmember" if args.len() > 2 => integer(&args[2])?,
            _ => 0,
        };
        if name == "smove" {
            return self.move_member(&args[1], &args[2], &args[3]);
        }
        let mut set = self.set(key)?.unwrap_or_default();
        match name {
            "sadd" | "srem" => {
                let mut changed = 0;
                for member in &args[2..] {
                    changed += usize::from(match name {
                        "sadd" => set.insert(member.clone()),
                        _ => set.remove(member),
                    });
                }
                self.put_back(key, Value::Set(set));
                Ok(int(changed))
            }
            "scard" => Ok(int(set.len())),
            "sismember" => Ok(Answer::Int(i64::from(set.contains(&args[2])))),
            "smismember" => {
                let asked = args[2..].iter();
                let asked = asked.map(|member| Answer::Int(i64::from(set.contains(member))));
                Ok(Answer::Array(asked.collect()))
            }
            "smembers" => Ok(Answer::Members(set)),
            "sscan" => Ok(Answer::Scan {
                keys: set,
                whole: true,
                may_repeat: false,
            }),
            _ if args.len() > 2 => Ok(random(set, count)),
            _ => Ok(Answer::OneOf(set)),
        }
    }

    fn move_member(&mut self, from: &[u8], to: &[u8], member: &Vec<u8>) -> Outcome {
        let Some(mut source) = self.set(from)? else {
            return Ok(Answer::Int(0));
        };
        self.set(to)?;
        if from == to {
            return Ok(Answer::Int(i64::from(source.contains(member))));
        }
        if !source.remove(member) {
            return Ok(Answer::Int(0));
        }
        self.put_back(from, Value::Set(source));
        let mut set = self.set(to)?.unwrap_or_default();
        set.insert(member.clone());
        self.put_back(to, Value::Set(set));
        Ok(Answer::Int(1))
    }

    fn pop_members(&mut self, _: &str, args: Args<'_>) -> Outcome {
        let key = &args[1];
        let count = args.get(2).map(|count| small(count));
        let set = self.set(key)?;
        let Some(mut set) = set.filter(|_| count != Some(0)) else {
            return Ok(match count {
                Some(_) => Answer::Members(Set::new()),
                None => Answer::Null,
            });
        };
        let wanted = count.unwrap_or(1).min(set.len());
        let popped = if wanted == set.len() && count.is_some() {
            set.clone()
        } else {
            self.told_popped(key, wanted)
        };
        assert_eq!(popped.len(), wanted, "members that SPOP took");
        for member in &popped {
            assert!(set.remove(member), "SPOP took what is not there");
        }
        self.put_back(key, Value::Set(set));
        Ok(match count {
            Some(_) => Answer::Members(popped),
            None => Answer::OneOf(popped),
        })
    }

    /// What the next SREM of this key says that went.
    fn told_popped(&mut self, key: &[u8], wanted: usize) -> Set {
        let mut popped = Set::new();
        while popped.len() < wanted {
            let told = self.propagated_as.pop_front();
            let told = told.expect("SPOP was propagated as SREM");
            if word(&told[0]) == "SREM" && told[1] == key {
                popped.extend(told.into_iter().skip(2));
            }
        }
        popped
    }

    /// Set algebra: `[destination] key...`, for SINTERCARD `n key... [LIMIT n]`.
    fn combine(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let stores = name.ends_with("store");
        let (keys, limit) = match name {
            "sintercard" => {
                let keys = small(&args[1]);
                let limit = args.get(3 + keys).map_or(0, |limit| small(limit));
                (&args[2..2 + keys], limit)
            }
            _ => (&args[1 + usize::from(stores)..], 0),
        };
        let mut sets = Vec::new();
        for key in keys {
            sets.push(self.set(key)?.unwrap_or_default());
        }
        let (first, others) = sets.split_first().expect("a key");
        let mut result = first.clone();
        if name.starts_with("sinter") {
            result.retain(|member| others.iter().all(|set| set.contains(member)));
        } else if name.starts_with("sdiff") {
            result.retain(|member| !others.iter().any(|set| set.contains(member)));
        } else {
            result.extend(others.iter().flatten().cloned());
        }
        let len = result.len();
        if name == "sintercard" {
            return Ok(int(if limit > 0 { len.min(limit) } else { len }));
        }
        if stores {
            self.store(&args[1], Value::Set(result));
            return Ok(int(len));
        }
        Ok(Answer::Members(result))
    }
}
