//! Strings, and the numbers in them.

use super::{
    Answer, Args, Model, Outcome, Run, SYNTAX, Value, bulk, int, integer, ok, optional,
    positive_time_ms, word, wrong_arity,
};

pub const COMMANDS: &[(&str, i64, Run)] = &[
    ("append", 3, Model::strings),
    ("decr", 2, Model::strings),
    ("decrby", 3, Model::strings),
    ("get", 2, Model::strings),
    ("getdel", 2, Model::strings),
    ("getex", -2, Model::strings),
    ("getrange", 4, Model::strings),
    ("getset", 3, Model::strings),
    ("incr", 2, Model::strings),
    ("incrby", 3, Model::strings),
    ("incrbyfloat", 3, Model::strings),
    ("mget", -2, Model::strings),
    ("mset", -3, Model::strings),
    ("msetnx", -3, Model::strings),
    ("psetex", 4, Model::strings),
    ("set", -3, Model::strings),
    ("setex", 4, Model::strings),
    ("setnx", 3, Model::strings),
    ("setrange", 4, Model::strings),
    ("strlen", 2, Model::strings),
    ("substr", 4, Model::strings),
];

/// A string and when it expires.
type Expiring = (Vec<u8>, Option<i64>);

impl Model {
    fn put_string(&mut self, key: &[u8], value: &[u8], at: Option<i64>) {
        self.put(self.db, key, Value::String(value.to_vec()), at);
    }

    /// A string and its expiry.
    fn string_entry(&self, key: &[u8]) -> Result<Option<Expiring>, String> {
        let at = self.expiry(key);
        Ok(self.string(key)?.map(|value| (value, at)))
    }

    fn strings(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let key = &args[1];
        match name {
            "append" | "setrange" | "getrange" | "substr" | "strlen" => self.edit(name, args),
            "incr" => self.add(key, 1),
            "decr" => self.add(key, -1),
            "incrby" => self.add(key, integer(&args[2])?),
            "decrby" => {
                let by = integer(&args[2])?;
                let by = by.checked_neg().ok_or("ERR decrement would overflow")?;
                self.add(key, by)
            }
            "incrbyfloat" => self.add_float(args),
            "get" => Ok(optional(self.string(key)?.as_ref())),
            "getdel" => {
                let held = self.string(key)?;
                self.remove(self.db, key);
                Ok(optional(held.as_ref()))
            }
            "getset" => {
                let held = self.string(key)?;
                self.put_string(key, &args[2], None);
                Ok(optional(held.as_ref()))
            }
            "getex" => self.getex(args),
            "set" => self.set_string(args),
            "setnx" => {
                let free = !self.exists(self.db, key);
                if free {
                    self.put_string(key, &args[2], None);
                }
                Ok(Answer::Int(i64::from(free)))
            }
            "setex" | "psetex" => {
                let unit = if name == "setex" { "EX" } else { "PX" };
                let at = positive_time_ms(unit, &args[2], self.now_ms, name)?;
                self.put_string(key, &args[3], Some(at));
                Ok(ok())
            }
            "mget" => {
                let values = args[1..].iter();
                let values = values.map(|key| optional(self.string(key).ok().flatten().as_ref()));
                Ok(Answer::Array(values.collect()))
            }
            _ => {
                if args.len().is_multiple_of(2) {
                    return Err(wrong_arity(name));
                }
                let pairs = || args[1..].chunks(2);
                if name == "msetnx" && pairs().any(|pair| self.exists(self.db, &pair[0])) {
                    return Ok(Answer::Int(0));
                }
                for pair in pairs() {
                    self.put_string(&pair[0], &pair[1], None);
                }
                Ok(if name == "mset" { ok() } else { Answer::Int(1) })
            }
        }
    }

    fn edit(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let key = &args[1];
        match name {
            "strlen" => Ok(int(self.string(key)?.map_or(0, |value| value.len()))),
            "append" => {
                let (mut value, at) = self.string_entry(key)?.unwrap_or_default();
                value.extend(&args[2]);
                self.put_string(key, &value, at);
                Ok(int(value.len()))
            }
            "setrange" => {
                let offset = integer(&args[2])?;
                let offset = usize::try_from(offset).map_err(|_| "ERR offset is out of range")?;
                let patch = &args[3];
                let held = self.string_entry(key)?;
                let (mut value, at) = held.unwrap_or_default();
                if patch.is_empty() {
                    return Ok(int(value.len()));
                }
                let end = offset.checked_add(patch.len());
                let Some(end) = end.filter(|end| *end <= 512 * 1024 * 1024) else {
                    return Err(
                        "ERR string exceeds maximum allowed size (proto-max-bulk-len)".into(),
                    );
                };
                if value.len() < end {
                    value.resize(end, 0);
                }
                value[offset..end].copy_from_slice(patch);
                self.put_string(key, &value, at);
                Ok(int(value.len()))
            }
            _ => {
                let (start, end) = (integer(&args[2])?, integer(&args[3])?);
                let (value, _) = self.string_entry(key)?.unwrap_or_default();
                let len = value.len() as i128;
                let place = |index: i64| {
                    if index < 0 {
                        i128::from(index) + len
                    } else {
                        i128::from(index)
                    }
                };
                let in_wrong_order = start < 0 && end < start;
                let (from, to) = (place(start).max(0), place(end).max(0).min(len - 1));
                Ok(if in_wrong_order || from > to {
                    bulk("")
                } else {
                    bulk(&value[from as usize..=to as usize])
                })
            }
        }
    }

    fn add(&mut self, key: &[u8], by: i64) -> Outcome {
        let (value, at) = self.string_entry(key)?.unwrap_or((b"0".to_vec(), None));
        let sum = integer(&value)?
            .checked_add(by)
            .ok_or("ERR increment or decrement would overflow")?;
        self.put_string(key, sum.to_string().as_bytes(), at);
        Ok(Answer::Int(sum))
    }

    /// Only ever asked for sums of small multiples of a quarter, which doubles hold exactly.
    fn add_float(&mut self, args: Args<'_>) -> Outcome {
        let number = |text: &[u8]| {
            std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse::<f64>().ok())
                .ok_or("ERR value is not a valid float")
        };
        let (value, at) = self
            .string_entry(&args[1])?
            .unwrap_or((b"0".to_vec(), None));
        let sum = (number(&value)? + number(&args[2])?).to_string();
        self.put_string(&args[1], sum.as_bytes(), at);
        Ok(bulk(sum.as_bytes()))
    }

    fn set_string(&mut self, args: Args<'_>) -> Outcome {
        let (mut nx, mut xx, mut get, mut keep) = (false, false, false, false);
        let mut equal: Option<Vec<u8>> = None;
        let mut time: Option<(String, Vec<u8>)> = None;
        let mut rest = args[3..].iter();
        while let Some(word) = rest.next() {
            let word = super::word(word);
            match word.as_str() {
                "NX" if !xx && equal.is_none() => nx = true,
                "XX" if !nx && equal.is_none() => xx = true,
                "GET" => get = true,
                "KEEPTTL" if time.is_none() => keep = true,
                "IFEQ" if !nx && !xx && equal.is_none() => {
                    equal = Some(rest.next().ok_or(SYNTAX)?.clone());
                }
                "EX" | "PX" | "EXAT" | "PXAT"
                    if !keep && time.as_ref().is_none_or(|(unit, _)| *unit == word) =>
                {
                    time = Some((word, rest.next().ok_or(SYNTAX)?.clone()));
                }
                _ => return Err(SYNTAX.into()),
            }
        }
        let mut at = None;
        if let Some((unit, text)) = time {
            at = Some(positive_time_ms(&unit, &text, self.now_ms, "set")?);
        }
        let key = &args[1];
        let old_at = self.expiry(key);
        let held = if get || equal.is_some() {
            self.string(key)?
        } else {
            None
        };
        let done = match self.exists(self.db, key) {
            true => !nx && equal.is_none_or(|equal| Some(equal) == held),
            false => !xx && equal.is_none(),
        };
        if done {
            if keep {
                at = old_at;
            }
            self.put_string(key, &args[2], at);
        }
        Ok(match held {
            Some(value) if get => Answer::Bulk(value),
            None if get => Answer::Null,
            _ if done => ok(),
            _ => Answer::Null,
        })
    }

    fn getex(&mut self, args: Args<'_>) -> Outcome {
        let word = args.get(2).map(|text| word(text));
        match (word.as_deref(), args.len()) {
            (None, _) | (Some("PERSIST"), 3) | (Some("EX" | "PX" | "EXAT" | "PXAT"), 4) => {}
            _ => return Err(SYNTAX.into()),
        }
        let Some((value, mut at)) = self.string_entry(&args[1])? else {
            return Ok(Answer::Null);
        };
        match word.as_deref() {
            None => {}
            Some("PERSIST") => at = None,
            Some(unit) => {
                at = Some(positive_time_ms(unit, &args[3], self.now_ms, "getex")?);
                if unit.ends_with("AT") && at <= Some(self.now_ms) {
                    self.remove(self.db, &args[1]);
                    return Ok(Answer::Bulk(value));
                }
            }
        }
        self.put_string(&args[1], &value, at);
        Ok(Answer::Bulk(value))
    }
}
