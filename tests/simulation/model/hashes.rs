//! Hashes, whose fields may expire each by itself. A field whose time is over counts for HLEN until the server says that
//! it went; to all else it is not there.

use super::{
    Answer, Args, Model, NOT_INTEGER, Outcome, Run, Value, int, integer, ok, optional, time_ms,
    word, wrong_arity,
};
use std::collections::BTreeMap;

type Hash = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;
/// Fields whose time is not over, with their values.
type Live = BTreeMap<Vec<u8>, Vec<u8>>;

pub const COMMANDS: &[(&str, i64, Run)] = &[
    ("hdel", -3, Model::hashes),
    ("hexists", 3, Model::hashes),
    ("hexpire", -6, Model::expire_fields),
    ("hexpireat", -6, Model::expire_fields),
    ("hexpiretime", -5, Model::ask_fields),
    ("hget", 3, Model::hashes),
    ("hgetall", 2, Model::hashes),
    ("hgetdel", -5, Model::ask_fields),
    ("hgetex", -5, Model::get_and_expire),
    ("hincrby", 4, Model::hashes),
    ("hkeys", 2, Model::hashes),
    ("hlen", 2, Model::hashes),
    ("hmget", -3, Model::hashes),
    ("hmset", -4, Model::hashes),
    ("hpersist", -5, Model::ask_fields),
    ("hpexpire", -6, Model::expire_fields),
    ("hpexpireat", -6, Model::expire_fields),
    ("hpexpiretime", -5, Model::ask_fields),
    ("hpttl", -5, Model::ask_fields),
    ("hrandfield", -2, Model::hashes),
    ("hscan", -3, Model::hashes),
    ("hset", -4, Model::hashes),
    ("hsetex", -6, Model::set_and_expire),
    ("hsetnx", 4, Model::hashes),
    ("hstrlen", 3, Model::hashes),
    ("httl", -5, Model::ask_fields),
    ("hvals", 2, Model::hashes),
];

impl Model {
    /// A hash, and of it what has not expired.
    fn fields(&self, key: &[u8]) -> Result<(Hash, Live), String> {
        let hash = self.hash(key)?.unwrap_or_default();
        let live = hash
            .iter()
            .filter(|(_, (_, at))| at.is_none_or(|at| self.now_ms <= at))
            .map(|(field, (value, _))| (field.clone(), value.clone()))
            .collect();
        Ok((hash, live))
    }

    fn hashes(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let key = &args[1];
        if matches!(name, "hset" | "hmset") && !args.len().is_multiple_of(2) {
            return Err(wrong_arity(name));
        }
        let by = match name {
            "hincrby" => integer(&args[3])?,
            "hrandfield" if args.len() > 2 => integer(&args[2])?,
            _ => 0,
        };
        let (mut hash, live) = self.fields(key)?;
        match name {
            "hset" | "hmset" | "hsetnx" => {
                if name == "hsetnx" && live.contains_key(&args[2]) {
                    return Ok(Answer::Int(0));
                }
                let mut added = 0;
                for pair in args[2..].chunks(2) {
                    added += usize::from(!hash.contains_key(&pair[0]));
                    hash.insert(pair[0].clone(), (pair[1].clone(), None));
                }
                self.put_back(key, Value::Hash(hash));
                Ok(if name == "hmset" { ok() } else { int(added) })
            }
            "hget" => Ok(optional(live.get(&args[2]))),
            "hmget" => {
                let values = args[2..].iter().map(|field| optional(live.get(field)));
                Ok(Answer::Array(values.collect()))
            }
            "hexists" => Ok(Answer::Int(i64::from(live.contains_key(&args[2])))),
            "hstrlen" => Ok(int(live.get(&args[2]).map_or(0, Vec::len))),
            "hlen" => Ok(int(hash.len())),
            "hgetall" => Ok(Answer::Pairs(live)),
            "hkeys" => Ok(Answer::Members(live.into_keys().collect())),
            "hvals" => {
                // Values may be equal: told apart by how often.
                let mut values: Vec<Vec<u8>> = live.into_values().collect();
                values.sort();
                Ok(Answer::Bag(values))
            }
            "hscan" => Ok(Answer::ScanPairs(live)),
            "hrandfield" => Ok(match args.len() {
                2 => Answer::OneOf(live.into_keys().collect()),
                _ => super::sets::random(live.into_keys().collect(), by),
            }),
            "hdel" => {
                let mut removed = 0;
                for field in &args[2..] {
                    removed += usize::from(hash.remove(field).is_some());
                }
                self.put_back(key, Value::Hash(hash));
                Ok(int(removed))
            }
            _ => {
                let held = live.get(&args[2]).map_or(&b"0"[..], |value| value);
                let held = integer(held).map_err(|_| "ERR hash value is not an integer")?;
                let sum = held.checked_add(by);
                let sum = sum.ok_or("ERR increment or decrement would overflow")?;
                let at = hash.get(&args[2]).and_then(|(_, at)| *at);
                hash.insert(args[2].clone(), (sum.to_string().into_bytes(), at));
                self.put_back(key, Value::Hash(hash));
                Ok(Answer::Int(sum))
            }
        }
    }

    /// HEXPIRE and its like: `key time [condition] FIELDS n field...`.
    fn expire_fields(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let number = integer(&args[2])?;
        if number < 0 {
            return Err("ERR invalid expire time, must be >= 0".into());
        }
        let unit = match name {
            "hexpire" => "EX",
            "hpexpire" => "PX",
            "hexpireat" => "EXAT",
            _ => "PXAT",
        };
        let at = time_ms(unit, number, self.now_ms).ok_or_else(|| super::invalid_expire(name))?;
        let condition = word(&args[3]);
        let fields = &args[if condition == "FIELDS" { 5 } else { 6 }..];
        let (mut hash, live) = self.fields(&args[1])?;
        let mut answers = Vec::new();
        for field in fields {
            let old = match hash.get(field) {
                // It may be named twice, and be gone the second time.
                Some((_, old)) if live.contains_key(field) => *old,
                _ => {
                    answers.push(Answer::Int(-2));
                    continue;
                }
            };
            let done = match condition.as_str() {
                "NX" => old.is_none(),
                "XX" => old.is_some(),
                "GT" => old.is_some_and(|old| at > old),
                "LT" => old.is_none_or(|old| at < old),
                _ => true,
            };
            answers.push(Answer::Int(match done {
                false => 0,
                true if at <= self.now_ms => {
                    hash.remove(field);
                    2
                }
                true => {
                    hash.entry(field.clone())
                        .and_modify(|pair| pair.1 = Some(at));
                    1
                }
            }));
        }
        self.put_back(&args[1], Value::Hash(hash));
        Ok(Answer::Array(answers))
    }

    /// Commands of the form `key FIELDS n field...`.
    fn ask_fields(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let (mut hash, live) = self.fields(&args[1])?;
        let mut answers = Vec::new();
        for field in &args[4..] {
            let at = hash.get(field).and_then(|(_, at)| *at);
            let is_there = live.contains_key(field) && hash.contains_key(field);
            answers.push(match (name, at) {
                ("hgetdel", _) if is_there => {
                    Answer::Bulk(hash.remove(field).expect("it is there").0)
                }
                ("hgetdel", _) => Answer::Null,
                _ if !is_there => Answer::Int(-2),
                (_, None) => Answer::Int(-1),
                ("hpersist", _) => {
                    hash.entry(field.clone()).and_modify(|pair| pair.1 = None);
                    Answer::Int(1)
                }
                ("httl", Some(at)) => Answer::Int((at - self.now_ms + 999) / 1000),
                ("hpttl", Some(at)) => Answer::Int(at - self.now_ms),
                ("hexpiretime", Some(at)) => Answer::Int((at + 999) / 1000),
                (_, Some(at)) => Answer::Int(at),
            });
        }
        self.put_back(&args[1], Value::Hash(hash));
        Ok(Answer::Array(answers))
    }

    /// HGETEX: `key [EX n|PX n|EXAT n|PXAT n|PERSIST] FIELDS n field...`.
    fn get_and_expire(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let (mut hash, live) = self.fields(&args[1])?;
        let option = word(&args[2]);
        let (fields, at) = match option.as_str() {
            "FIELDS" => (&args[4..], None),
            "PERSIST" => (&args[5..], None),
            unit => (&args[6..], Some(self.field_time(name, unit, &args[3])?)),
        };
        let mut answers = Vec::new();
        for field in fields {
            let value = live.get(field).filter(|_| hash.contains_key(field));
            answers.push(optional(value));
            if value.is_none() || option == "FIELDS" {
                continue;
            }
            if at.is_some_and(|at| at <= self.now_ms) {
                hash.remove(field);
            } else {
                hash.entry(field.clone()).and_modify(|pair| pair.1 = at);
            }
        }
        self.put_back(&args[1], Value::Hash(hash));
        Ok(Answer::Array(answers))
    }

    fn field_time(&self, name: &str, unit: &str, number: &[u8]) -> Result<i64, String> {
        let number = integer(number).map_err(|_| NOT_INTEGER)?;
        time_ms(unit, number, self.now_ms)
            .filter(|_| number >= 0)
            .ok_or_else(|| super::invalid_expire(name))
    }

    /// HSETEX: `key [FNX|FXX] [EX n|PX n|EXAT n|PXAT n|KEEPTTL] FIELDS n field value...`.
    fn set_and_expire(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let (mut at, mut keep, mut condition) = (None, false, String::new());
        let mut rest = 2;
        while word(&args[rest]) != "FIELDS" {
            match word(&args[rest]).as_str() {
                "KEEPTTL" => keep = true,
                option @ ("FNX" | "FXX") => condition = option.to_owned(),
                unit => {
                    rest += 1;
                    at = Some(self.field_time(name, unit, &args[rest])?);
                }
            }
            rest += 1;
        }
        let pairs = || args[rest + 2..].chunks(2);
        let (mut hash, live) = self.fields(&args[1])?;
        let refused = match condition.as_str() {
            "FNX" => pairs().any(|pair| live.contains_key(&pair[0])),
            "FXX" => pairs().any(|pair| !live.contains_key(&pair[0])),
            _ => false,
        };
        if refused {
            return Ok(Answer::Int(0));
        }
        for pair in pairs() {
            let old = hash.get(&pair[0]).and_then(|(_, at)| *at);
            let at = if keep { old } else { at };
            if at.is_some_and(|at| at <= self.now_ms) && !keep {
                hash.remove(&pair[0]);
            } else {
                hash.insert(pair[0].clone(), (pair[1].clone(), at));
            }
        }
        self.put_back(&args[1], Value::Hash(hash));
        Ok(Answer::Int(1))
    }
}
