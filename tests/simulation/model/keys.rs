//! Keys of whatever type: their expiry, names and databases.

use super::{
    Answer, Args, DATABASES, Entry, Model, Outcome, Run, SYNTAX, database, integer, invalid_expire,
    ok, time_ms,
};

pub const COMMANDS: &[(&str, i64, Run)] = &[
    ("copy", -3, Model::keys),
    ("dbsize", 1, Model::keys),
    ("del", -2, Model::keys),
    ("exists", -2, Model::keys),
    ("expire", -3, Model::keys),
    ("expireat", -3, Model::keys),
    ("expiretime", 2, Model::keys),
    ("flushall", -1, Model::keys),
    ("flushdb", -1, Model::keys),
    ("keys", 2, Model::keys),
    ("move", 3, Model::keys),
    ("persist", 2, Model::keys),
    ("pexpire", -3, Model::keys),
    ("pexpireat", -3, Model::keys),
    ("pexpiretime", 2, Model::keys),
    ("pttl", 2, Model::keys),
    ("randomkey", 1, Model::keys),
    ("rename", 3, Model::keys),
    ("renamenx", 3, Model::keys),
    ("scan", -2, Model::keys),
    ("swapdb", 3, Model::keys),
    ("touch", -2, Model::keys),
    ("ttl", 2, Model::keys),
    ("type", 2, Model::keys),
    ("unlink", -2, Model::keys),
];

impl Model {
    fn keys(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let db = self.db;
        let key = args.get(1).map_or(&b""[..], |key| key);
        match name {
            "copy" => self.copy(args),
            "move" => {
                let to = database(&args[2])?;
                if to == db {
                    return Err("ERR source and destination objects are the same".into());
                }
                let Some(entry) = self.get(db, key).cloned() else {
                    return Ok(Answer::Int(0));
                };
                if self.exists(to, key) {
                    return Ok(Answer::Int(0));
                }
                self.remove(db, key);
                self.put(to, key, entry.value, entry.at);
                Ok(Answer::Int(1))
            }
            "rename" | "renamenx" => {
                let Some(entry) = self.get(db, key).cloned() else {
                    return Err("ERR no such key".into());
                };
                let to = &args[2];
                let is_free = key != to && !self.exists(db, to);
                if name == "renamenx" && !is_free {
                    return Ok(Answer::Int(0));
                }
                self.remove(db, key);
                self.put(db, to, entry.value, entry.at);
                Ok(if name == "rename" {
                    ok()
                } else {
                    Answer::Int(1)
                })
            }
            "del" | "unlink" => {
                let mut removed = 0;
                for key in &args[1..] {
                    removed += i64::from(self.exists(db, key));
                    self.remove(db, key);
                }
                Ok(Answer::Int(removed))
            }
            "exists" | "touch" => {
                let found = args[1..].iter().filter(|key| self.exists(db, key));
                Ok(Answer::Int(found.count() as i64))
            }
            "type" => Ok(Answer::Simple(
                self.get(db, key)
                    .map_or("none", |entry| entry.value.kind())
                    .into(),
            )),
            "expire" | "pexpire" | "expireat" | "pexpireat" => self.expire(name, args),
            "ttl" | "pttl" | "expiretime" | "pexpiretime" => {
                let now = if name.contains("time") {
                    0
                } else {
                    self.now_ms
                };
                Ok(Answer::Int(match self.get(db, key).map(|entry| entry.at) {
                    None => -2,
                    Some(None) => -1,
                    Some(Some(at)) if name.starts_with('p') => at - now,
                    Some(Some(at)) => (at - now).saturating_add(500) / 1000,
                }))
            }
            "persist" => match self.get(db, key).cloned() {
                Some(entry) if entry.at.is_some() => {
                    self.put(db, key, entry.value, None);
                    Ok(Answer::Int(1))
                }
                _ => Ok(Answer::Int(0)),
            },
            "flushdb" | "flushall" => {
                let how = args.get(1).map(|how| how.to_ascii_uppercase());
                if args.len() > 2 || !matches!(how.as_deref(), None | Some(b"SYNC" | b"ASYNC")) {
                    return Err(SYNTAX.into());
                }
                self.floods += 1;
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
                self.floods += 1;
                self.databases.swap(a as usize, b as usize);
                Ok(ok())
            }
            "dbsize" => {
                let (live, all) = (self.live(db).len(), self.databases[db].len());
                // What a server has loaded may have expired before it was written down that it went.
                let most = if self.is_restarted {
                    i64::MAX
                } else {
                    all as i64
                };
                Ok(Answer::IntWithin(live as i64, most))
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
            _ => unreachable!("{name} is in the table only"),
        }
    }

    fn expire(&mut self, name: &str, args: Args<'_>) -> Outcome {
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
        let Some(Entry { value, at: old }) = self.get(self.db, &args[1]).cloned() else {
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
            self.remove(self.db, &args[1]);
        } else {
            self.put(self.db, &args[1], value, Some(at));
        }
        Ok(Answer::Int(1))
    }

    fn copy(&mut self, args: Args<'_>) -> Outcome {
        let db = self.db;
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
        let Some(entry) = self.get(db, &args[1]).cloned() else {
            return Ok(Answer::Int(0));
        };
        if self.exists(to_db, &args[2]) && !replace {
            return Ok(Answer::Int(0));
        }
        self.put(to_db, &args[2], entry.value, entry.at);
        Ok(Answer::Int(1))
    }
}
