//! The plain model: what each command must answer, in the most straightforward code. A database is a sorted map from
//! keys to bytes and an optional time; nothing is shared with the server but the words of the errors.

use std::collections::{BTreeMap, BTreeSet};

/// Numbers of the databases that there are.
pub const DATABASES: usize = 16;
const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
const SYNTAX: &str = "ERR syntax error";

/// What must be answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Answer>),
    /// An integer between two bounds.
    IntWithin(i64, i64),
    /// An array of exactly these bulk strings, in any order.
    Members(BTreeSet<Vec<u8>>),
    /// One of these bulk strings; null if there are none.
    OneOf(BTreeSet<Vec<u8>>),
    /// A cursor and some of these keys; all of them if the cursor ends a scan that began at 0. A key comes twice only
    /// if the table shrinks meanwhile, which it does when the scan removes what has expired.
    Scan {
        keys: BTreeSet<Vec<u8>>,
        whole: bool,
        may_repeat: bool,
    },
    /// HELLO, in this protocol.
    Hello(i64),
}

fn ok() -> Answer {
    Answer::Simple("OK".into())
}
fn bulk(bytes: &[u8]) -> Answer {
    Answer::Bulk(bytes.to_vec())
}
fn invalid_expire(command: &str) -> String {
    format!("ERR invalid expire time in '{command}' command")
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    pub id: i64,
    pub db: usize,
    pub resp3: bool,
    pub name: Vec<u8>,
    /// Replies are off.
    pub off: bool,
    /// This command is not answered; the next will not be.
    pub skip: bool,
    pub skip_next: bool,
    /// It asked to be closed.
    pub quit: bool,
}

type Database = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

/// All databases.
#[derive(Clone, Debug)]
pub struct Model {
    pub databases: Vec<Database>,
    now_ms: i64,
}

type Outcome = Result<Answer, String>;

fn integer(text: &[u8]) -> Result<i64, String> {
    let number: Option<i64> = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    // Only the one canonical spelling counts.
    number
        .filter(|number| number.to_string().as_bytes() == text)
        .ok_or_else(|| NOT_INTEGER.to_owned())
}

fn database(text: &[u8]) -> Result<usize, String> {
    let number = integer(text)?;
    if i32::try_from(number).is_err() {
        return Err(
            "ERR value is out of range, value must between -2147483648 and 2147483647".to_owned(),
        );
    }
    usize::try_from(number)
        .ok()
        .filter(|number| *number < DATABASES)
        .ok_or_else(|| "ERR DB index is out of range".to_owned())
}

/// The time that a number and its unit (`EX`, `PX`, `EXAT`, `PXAT`) stand for, if there is such a time.
fn time_ms(unit: &str, number: i64, now_ms: i64) -> Option<i64> {
    let ms = i128::from(number) * if unit.starts_with('E') { 1000 } else { 1 };
    let at = if unit.ends_with("AT") {
        ms
    } else {
        ms + i128::from(now_ms)
    };
    // Each step must fit by itself.
    i64::try_from(ms).ok()?;
    i64::try_from(at).ok()
}

fn positive_time_ms(unit: &str, text: &[u8], now_ms: i64, command: &str) -> Result<i64, String> {
    let number = integer(text)?;
    if number <= 0 {
        return Err(invalid_expire(command));
    }
    time_ms(unit, number, now_ms)
        .filter(|at| *at > 0)
        .ok_or_else(|| invalid_expire(command))
}

const ARITIES: &[(&str, i64)] = &[
    ("append", 3),
    ("client", -2),
    ("copy", -3),
    ("dbsize", 1),
    ("decr", 2),
    ("decrby", 3),
    ("del", -2),
    ("echo", 2),
    ("exists", -2),
    ("expire", -3),
    ("expireat", -3),
    ("expiretime", 2),
    ("flushall", -1),
    ("flushdb", -1),
    ("get", 2),
    ("getdel", 2),
    ("getex", -2),
    ("getrange", 4),
    ("getset", 3),
    ("hello", -1),
    ("incr", 2),
    ("incrby", 3),
    ("incrbyfloat", 3),
    ("keys", 2),
    ("mget", -2),
    ("move", 3),
    ("mset", -3),
    ("msetnx", -3),
    ("persist", 2),
    ("pexpire", -3),
    ("pexpireat", -3),
    ("pexpiretime", 2),
    ("ping", -1),
    ("psetex", 4),
    ("pttl", 2),
    ("quit", -1),
    ("randomkey", 1),
    ("rename", 3),
    ("renamenx", 3),
    ("reset", 1),
    ("scan", -2),
    ("select", 2),
    ("set", -3),
    ("setex", 4),
    ("setnx", 3),
    ("setrange", 4),
    ("strlen", 2),
    ("substr", 4),
    ("swapdb", 3),
    ("touch", -2),
    ("ttl", 2),
    ("type", 2),
    ("unlink", -2),
];

impl Default for Model {
    fn default() -> Model {
        Model {
            databases: vec![BTreeMap::new(); DATABASES],
            now_ms: 0,
        }
    }
}

impl Model {
    /// Runs one command; what must be answered, if anything.
    pub fn run(&mut self, caller: &mut Caller, now_ms: i64, args: &[Vec<u8>]) -> Option<Answer> {
        self.now_ms = now_ms;
        let name = String::from_utf8_lossy(&args[0]).to_lowercase();
        let answer = match ARITIES.iter().find(|(known, _)| *known == name) {
            None => Err(unknown(args)),
            Some((_, arity)) => {
                let given = args.len() as i64;
                if given == *arity || (*arity < 0 && given >= -arity) {
                    self.command(caller, &name, args)
                } else {
                    Err(format!(
                        "ERR wrong number of arguments for '{name}' command"
                    ))
                }
            }
        };
        let silent = caller.off || caller.skip || (name == "client" && caller.skip_next);
        caller.skip = std::mem::take(&mut caller.skip_next);
        (!silent).then(|| answer.unwrap_or_else(Answer::Error))
    }

    /// The value at a key. An expired key is gone once someone looks at it.
    fn look(&mut self, db: usize, key: &[u8]) -> Option<(Vec<u8>, Option<i64>)> {
        let (value, at) = self.databases[db].get(key)?.clone();
        if at.is_some_and(|at| self.now_ms > at) {
            self.databases[db].remove(key);
            return None;
        }
        Some((value, at))
    }

    fn put(&mut self, db: usize, key: &[u8], value: &[u8], at: Option<i64>) {
        self.databases[db].insert(key.to_vec(), (value.to_vec(), at));
    }

    fn live(&self, db: usize) -> BTreeSet<Vec<u8>> {
        self.databases[db]
            .iter()
            .filter(|(_, (_, at))| at.is_none_or(|at| self.now_ms <= at))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// All that is not expired at a time, of all databases.
    pub fn contents(&self, now_ms: i64) -> Vec<Database> {
        let mut contents = self.databases.clone();
        for database in &mut contents {
            database.retain(|_, (_, at)| at.is_none_or(|at| now_ms <= at));
        }
        contents
    }

    fn command(&mut self, caller: &mut Caller, name: &str, args: &[Vec<u8>]) -> Outcome {
        let db = caller.db;
        let key = args.get(1).map_or(&b""[..], |key| key);
        match name {
            "append" | "setrange" | "getrange" | "substr" | "strlen" => self.edit(db, name, args),
            "incr" => self.add(db, key, 1),
            "decr" => self.add(db, key, -1),
            "incrby" => self.add(db, key, integer(&args[2])?),
            "decrby" => {
                let by = integer(&args[2])?;
                let by = by.checked_neg().ok_or("ERR decrement would overflow")?;
                self.add(db, key, by)
            }
            "incrbyfloat" => self.add_float(db, args),
            "client" | "hello" | "ping" | "echo" | "quit" | "reset" | "select" => {
                connection(caller, name, args)
            }
            "copy" => self.copy(db, args),
            "move" => {
                let to = database(&args[2])?;
                if to == db {
                    return Err("ERR source and destination objects are the same".into());
                }
                let Some((value, at)) = self.look(db, key) else {
                    return Ok(Answer::Int(0));
                };
                if self.look(to, key).is_some() {
                    return Ok(Answer::Int(0));
                }
                self.databases[db].remove(key);
                self.put(to, key, &value, at);
                Ok(Answer::Int(1))
            }
            "rename" | "renamenx" => {
                let Some((value, at)) = self.look(db, key) else {
                    return Err("ERR no such key".into());
                };
                let to = &args[2];
                let is_free = key != to && self.look(db, to).is_none();
                if name == "renamenx" && !is_free {
                    return Ok(Answer::Int(0));
                }
                self.databases[db].remove(key);
                self.put(db, to, &value, at);
                Ok(if name == "rename" {
                    ok()
                } else {
                    Answer::Int(1)
                })
            }
            "del" | "unlink" => {
                let mut removed = 0;
                for key in &args[1..] {
                    removed += i64::from(self.look(db, key).is_some());
                    self.databases[db].remove(key);
                }
                Ok(Answer::Int(removed))
            }
            "exists" | "touch" => {
                let found = args[1..].iter().filter(|key| self.look(db, key).is_some());
                Ok(Answer::Int(found.count() as i64))
            }
            "type" => Ok(Answer::Simple(
                self.look(db, key).map_or("none", |_| "string").into(),
            )),
            "expire" | "pexpire" | "expireat" | "pexpireat" => self.expire(db, name, args),
            "ttl" | "pttl" | "expiretime" | "pexpiretime" => {
                let now = if name.contains("time") {
                    0
                } else {
                    self.now_ms
                };
                Ok(Answer::Int(match self.look(db, key) {
                    None => -2,
                    Some((_, None)) => -1,
                    Some((_, Some(at))) if name.starts_with('p') => at - now,
                    Some((_, Some(at))) => (at - now).saturating_add(500) / 1000,
                }))
            }
            "persist" => match self.look(db, key) {
                Some((value, Some(_))) => {
                    self.put(db, key, &value, None);
                    Ok(Answer::Int(1))
                }
                _ => Ok(Answer::Int(0)),
            },
            "flushdb" | "flushall" => {
                let how = args.get(1).map(|how| how.to_ascii_uppercase());
                if args.len() > 2 || !matches!(how.as_deref(), None | Some(b"SYNC" | b"ASYNC")) {
                    return Err(SYNTAX.into());
                }
                for index in 0..DATABASES {
                    if name == "flushall" || index == db {
                        self.databases[index].clear();
                    }
                }
                Ok(ok())
            }
            "swapdb" => {
                let index = |text: &[u8], which: &str| {
                    integer(text)
                        .ok()
                        .and_then(|number| i32::try_from(number).ok())
                        .ok_or(format!("ERR invalid {which} DB index"))
                };
                let (a, b) = (index(&args[1], "first")?, index(&args[2], "second")?);
                let inside = |number: i32| usize::try_from(number).is_ok_and(|n| n < DATABASES);
                if !inside(a) || !inside(b) {
                    return Err("ERR DB index is out of range".into());
                }
                self.databases.swap(a as usize, b as usize);
                Ok(ok())
            }
            "dbsize" => {
                let (live, all) = (self.live(db).len(), self.databases[db].len());
                Ok(Answer::IntWithin(live as i64, all as i64))
            }
            "keys" => Ok(Answer::Members(if key == b"*" {
                self.live(db)
            } else {
                self.live(db).into_iter().filter(|k| k == key).collect()
            })),
            "randomkey" => Ok(Answer::OneOf(self.live(db))),
            "scan" => {
                let cursor = std::str::from_utf8(key)
                    .ok()
                    .and_then(|text| text.parse::<u64>().ok());
                let cursor = cursor.ok_or("ERR invalid cursor")?;
                if args.len() > 2 && integer(&args[3])? <= 0 {
                    return Err(SYNTAX.into());
                }
                Ok(Answer::Scan {
                    keys: self.live(db),
                    whole: cursor == 0,
                    may_repeat: self.databases[db].len() > self.live(db).len(),
                })
            }
            _ => self.strings(db, name, args),
        }
    }

    fn strings(&mut self, db: usize, name: &str, args: &[Vec<u8>]) -> Outcome {
        let key = &args[1];
        let get = |held: Option<(Vec<u8>, Option<i64>)>| {
            held.map_or(Answer::Null, |(value, _)| Answer::Bulk(value))
        };
        match name {
            "get" => Ok(get(self.look(db, key))),
            "getdel" => {
                let held = self.look(db, key);
                self.databases[db].remove(key);
                Ok(get(held))
            }
            "getset" => {
                let held = self.look(db, key);
                self.put(db, key, &args[2], None);
                Ok(get(held))
            }
            "getex" => self.getex(db, args),
            "set" => self.set(db, args),
            "setnx" => {
                let free = self.look(db, key).is_none();
                if free {
                    self.put(db, key, &args[2], None);
                }
                Ok(Answer::Int(i64::from(free)))
            }
            "setex" | "psetex" => {
                let unit = if name == "setex" { "EX" } else { "PX" };
                let at = positive_time_ms(unit, &args[2], self.now_ms, name)?;
                self.put(db, key, &args[3], Some(at));
                Ok(ok())
            }
            "mget" => Ok(Answer::Array(
                args[1..]
                    .iter()
                    .map(|key| get(self.look(db, key)))
                    .collect(),
            )),
            "mset" | "msetnx" => {
                if args.len().is_multiple_of(2) {
                    return Err(format!(
                        "ERR wrong number of arguments for '{name}' command"
                    ));
                }
                if name == "msetnx"
                    && args[1..]
                        .chunks(2)
                        .any(|pair| self.look(db, &pair[0]).is_some())
                {
                    return Ok(Answer::Int(0));
                }
                for pair in args[1..].chunks(2) {
                    self.put(db, &pair[0], &pair[1], None);
                }
                Ok(if name == "mset" { ok() } else { Answer::Int(1) })
            }
            _ => unreachable!("{name} is in the table of arities only"),
        }
    }

    fn edit(&mut self, db: usize, name: &str, args: &[Vec<u8>]) -> Outcome {
        let key = &args[1];
        match name {
            "strlen" => Ok(Answer::Int(
                self.look(db, key).map_or(0, |(value, _)| value.len()) as i64,
            )),
            "append" => {
                let (mut value, at) = self.look(db, key).unwrap_or_default();
                value.extend(&args[2]);
                self.put(db, key, &value, at);
                Ok(Answer::Int(value.len() as i64))
            }
            "setrange" => {
                let offset = integer(&args[2])?;
                let offset = usize::try_from(offset).map_err(|_| "ERR offset is out of range")?;
                let patch = &args[3];
                let held = self.look(db, key);
                let exists = held.is_some();
                let (mut value, at) = held.unwrap_or_default();
                if patch.is_empty() {
                    return Ok(Answer::Int(value.len() as i64));
                }
                let end = offset.checked_add(patch.len());
                let Some(end) = end.filter(|end| *end <= 512 * 1024 * 1024) else {
                    return Err(
                        "ERR string exceeds maximum allowed size (proto-max-bulk-len)".into(),
                    );
                };
                let _ = exists;
                if value.len() < end {
                    value.resize(end, 0);
                }
                value[offset..end].copy_from_slice(patch);
                self.put(db, key, &value, at);
                Ok(Answer::Int(value.len() as i64))
            }
            _ => {
                let (start, end) = (integer(&args[2])?, integer(&args[3])?);
                let (value, _) = self.look(db, key).unwrap_or_default();
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
                    bulk(b"")
                } else {
                    bulk(&value[from as usize..=to as usize])
                })
            }
        }
    }

    fn add(&mut self, db: usize, key: &[u8], by: i64) -> Outcome {
        let (value, at) = self.look(db, key).unwrap_or((b"0".to_vec(), None));
        let sum = integer(&value)?
            .checked_add(by)
            .ok_or("ERR increment or decrement would overflow")?;
        self.put(db, key, sum.to_string().as_bytes(), at);
        Ok(Answer::Int(sum))
    }

    /// Only ever asked for sums of small multiples of a quarter, which doubles hold exactly.
    fn add_float(&mut self, db: usize, args: &[Vec<u8>]) -> Outcome {
        let number = |text: &[u8]| {
            std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse::<f64>().ok())
                .ok_or("ERR value is not a valid float")
        };
        let (value, at) = self.look(db, &args[1]).unwrap_or((b"0".to_vec(), None));
        let sum = (number(&value)? + number(&args[2])?).to_string();
        self.put(db, &args[1], sum.as_bytes(), at);
        Ok(bulk(sum.as_bytes()))
    }

    fn set(&mut self, db: usize, args: &[Vec<u8>]) -> Outcome {
        let (mut nx, mut xx, mut get, mut keep) = (false, false, false, false);
        let mut equal: Option<Vec<u8>> = None;
        let mut time: Option<(String, Vec<u8>)> = None;
        let mut rest = args[3..].iter();
        while let Some(word) = rest.next() {
            let word = String::from_utf8_lossy(word).to_uppercase();
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
        let held = self.look(db, &args[1]);
        let done = match &held {
            Some((value, _)) => !nx && equal.is_none_or(|equal| equal == *value),
            None => !xx && equal.is_none(),
        };
        if done {
            if keep {
                at = held.as_ref().and_then(|(_, at)| *at);
            }
            self.put(db, &args[1], &args[2], at);
        }
        Ok(match held {
            Some((value, _)) if get => Answer::Bulk(value),
            None if get => Answer::Null,
            _ if done => ok(),
            _ => Answer::Null,
        })
    }

    fn getex(&mut self, db: usize, args: &[Vec<u8>]) -> Outcome {
        let word = args
            .get(2)
            .map(|word| String::from_utf8_lossy(word).to_uppercase());
        match (word.as_deref(), args.len()) {
            (None, _) | (Some("PERSIST"), 3) | (Some("EX" | "PX" | "EXAT" | "PXAT"), 4) => {}
            _ => return Err(SYNTAX.into()),
        }
        let Some((value, mut at)) = self.look(db, &args[1]) else {
            return Ok(Answer::Null);
        };
        match word.as_deref() {
            None => {}
            Some("PERSIST") => at = None,
            Some(unit) => {
                at = Some(positive_time_ms(unit, &args[3], self.now_ms, "getex")?);
                if unit.ends_with("AT") && at <= Some(self.now_ms) {
                    self.databases[db].remove(&args[1]);
                    return Ok(Answer::Bulk(value));
                }
            }
        }
        self.put(db, &args[1], &value, at);
        Ok(Answer::Bulk(value))
    }

    fn expire(&mut self, db: usize, name: &str, args: &[Vec<u8>]) -> Outcome {
        let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
        for word in &args[3..] {
            match word.to_ascii_uppercase().as_slice() {
                b"NX" => nx = true,
                b"XX" => xx = true,
                b"GT" => gt = true,
                b"LT" => lt = true,
                _ => {
                    let word = String::from_utf8_lossy(word);
                    return Err(format!("ERR Unsupported option {word}"));
                }
            }
        }
        if nx && (xx || gt || lt) {
            return Err(
                "ERR NX and XX, GT or LT options at the same time are not compatible".into(),
            );
        }
        if gt && lt {
            return Err("ERR GT and LT options at the same time are not compatible".into());
        }
        let unit = match name {
            "expire" => "EX",
            "pexpire" => "PX",
            "expireat" => "EXAT",
            _ => "PXAT",
        };
        let number = integer(&args[2])?;
        let at = time_ms(unit, number, self.now_ms).ok_or_else(|| invalid_expire(name))?;
        let Some((value, old)) = self.look(db, &args[1]) else {
            return Ok(Answer::Int(0));
        };
        // A key without an expiry lives for ever.
        let until = old.unwrap_or(i64::MAX);
        let refused = (nx && old.is_some())
            || (xx && old.is_none())
            || (gt && (old.is_none() || at <= until))
            || (lt && old.is_some() && at >= until);
        if refused {
            return Ok(Answer::Int(0));
        }
        if at <= self.now_ms {
            self.databases[db].remove(&args[1]);
        } else {
            self.put(db, &args[1], &value, Some(at));
        }
        Ok(Answer::Int(1))
    }

    fn copy(&mut self, db: usize, args: &[Vec<u8>]) -> Outcome {
        let (mut to_db, mut replace) = (db, false);
        let mut rest = args[3..].iter();
        while let Some(word) = rest.next() {
            match word.to_ascii_uppercase().as_slice() {
                b"REPLACE" => replace = true,
                b"DB" => to_db = database(rest.next().ok_or(SYNTAX)?)?,
                _ => return Err(SYNTAX.into()),
            }
        }
        if to_db == db && args[1] == args[2] {
            return Err("ERR source and destination objects are the same".into());
        }
        let Some((value, at)) = self.look(db, &args[1]) else {
            return Ok(Answer::Int(0));
        };
        if self.look(to_db, &args[2]).is_some() && !replace {
            return Ok(Answer::Int(0));
        }
        self.put(to_db, &args[2], &value, at);
        Ok(Answer::Int(1))
    }
}

fn unknown(args: &[Vec<u8>]) -> String {
    let shown: String = args[1..]
        .iter()
        .map(|arg| format!("'{}' ", String::from_utf8_lossy(arg)))
        .collect();
    let name = String::from_utf8_lossy(&args[0]);
    format!("ERR unknown command '{name}', with args beginning with: {shown}")
}

fn connection(caller: &mut Caller, name: &str, args: &[Vec<u8>]) -> Outcome {
    match name {
        "ping" if args.len() > 2 => {
            Err("ERR wrong number of arguments for 'ping' command".to_owned())
        }
        "ping" => Ok(match args.get(1) {
            Some(message) => bulk(message),
            None => Answer::Simple("PONG".into()),
        }),
        "echo" => Ok(bulk(&args[1])),
        "quit" => {
            caller.quit = true;
            Ok(ok())
        }
        "reset" => {
            let skip = caller.skip;
            *caller = Caller {
                id: caller.id,
                ..Caller::default()
            };
            // Nobody sends RESET while an answer is skipped.
            assert!(!skip);
            Ok(Answer::Simple("RESET".into()))
        }
        "select" => {
            caller.db = database(&args[1])?;
            Ok(ok())
        }
        "hello" => {
            match args.get(1).map(|text| integer(text)) {
                None => {}
                Some(Ok(2)) => caller.resp3 = false,
                Some(Ok(3)) => caller.resp3 = true,
                Some(Ok(_)) => return Err("NOPROTO unsupported protocol version".into()),
                Some(Err(_)) => {
                    return Err("ERR Protocol version is not an integer or out of range".into());
                }
            }
            Ok(Answer::Hello(if caller.resp3 { 3 } else { 2 }))
        }
        _ => client(caller, args),
    }
}

fn client(caller: &mut Caller, args: &[Vec<u8>]) -> Outcome {
    let sub = String::from_utf8_lossy(&args[1]).to_lowercase();
    match sub.as_str() {
        "id" => Ok(Answer::Int(caller.id)),
        "getname" if caller.name.is_empty() => Ok(Answer::Null),
        "getname" => Ok(bulk(&caller.name)),
        "setname" => {
            if args[2].iter().any(|byte| !(b'!'..=b'~').contains(byte)) {
                return Err(
                    "ERR Client names cannot contain spaces, newlines or special characters."
                        .into(),
                );
            }
            caller.name = args[2].clone();
            Ok(ok())
        }
        "reply" => {
            match args[2].to_ascii_uppercase().as_slice() {
                b"ON" => (caller.off, caller.skip) = (false, false),
                b"OFF" => caller.off = true,
                b"SKIP" if caller.off => {}
                b"SKIP" => caller.skip_next = true,
                _ => return Err(SYNTAX.into()),
            }
            Ok(ok())
        }
        _ => unreachable!("CLIENT {sub} is never asked"),
    }
}
