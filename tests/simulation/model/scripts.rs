//! Scripts and functions: a few fixed ones, whose effects are spelled out here once more.

use super::{Answer, Args, Model, Outcome, Run, bulk, ok, small, word, wrong_arity};
use sha1::{Digest, Sha1};

/// The scripts that are called; each takes two keys and one argument, and from [`UNDECLARED`] on one argument alone.
pub const SCRIPTS: &[&str] = &[
    "return redis.call('INCR', KEYS[1])",
    "redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('LLEN', KEYS[1])",
    "local v = redis.call('LPOP', KEYS[1]) if v then redis.call('RPUSH', KEYS[2], v) end return v",
    "redis.call('SET', KEYS[1], ARGV[1]) redis.call('SADD', KEYS[2], ARGV[1]) return {1, ARGV[1], redis.call('SCARD', KEYS[2])}",
    "local r = redis.pcall('HINCRBY', KEYS[1], 'n', 1) if type(r) == 'table' then return redis.error_reply('MINE failed') end return r",
    "return redis.call('SPOP', KEYS[1])",
    "redis.call('ZADD', KEYS[1], 1, ARGV[1]) redis.call('XADD', KEYS[2], '*', 'f', ARGV[1]) return redis.status_reply('DONE')",
    "redis.call('PUBLISH', 'ch1', ARGV[1]) return {}",
    "return redis.call('BLPOP', KEYS[1], 0)",
    "redis.call('RPUSH', 'l1', ARGV[1]) redis.call('HSET', 'h1', 'f1', ARGV[1]) return redis.call('SADD', 's1', ARGV[1])",
    "redis.call('LPUSH', 'l2', ARGV[1]) redis.call('ZADD', 'z1', 2, ARGV[1]) redis.call('XADD', 'x1', '*', 'f', ARGV[1]) return redis.status_reply('DONE')",
    "redis.call('LPOP', 'l1') redis.call('HDEL', 'h1', 'f2') return redis.call('RPOP', 'l2')",
];

/// The first of the scripts that change keys of which they do not say so.
pub const UNDECLARED: usize = 9;

/// A library with the functions `sim0`, `sim1`, ...: the scripts.
pub const FUNCTIONS: &str = "#!lua name=sim
redis.register_function('sim1', function(KEYS, ARGV) redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('LLEN', KEYS[1]) end)
redis.register_function('sim2', function(KEYS, ARGV) local v = redis.call('LPOP', KEYS[1]) if v then redis.call('RPUSH', KEYS[2], v) end return v end)";

pub const COMMANDS: &[(&str, i64, Run)] = &[
    ("eval", -3, Model::eval),
    ("evalsha", -3, Model::eval),
    ("fcall", -3, Model::fcall),
    ("function", -2, Model::function),
    ("script", -2, Model::script),
];

/// The digest that names a script.
pub fn sha1(body: &[u8]) -> String {
    Sha1::digest(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Model {
    /// What `redis.call` answers within a script.
    fn within(&mut self, words: &[&[u8]]) -> Outcome {
        let args: Vec<Vec<u8>> = words.iter().map(|word| word.to_vec()).collect();
        let name = String::from_utf8_lossy(words[0]).to_lowercase();
        self.call(&name, &args)
    }

    fn eval(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let sha = match name {
            "eval" => {
                let sha = sha1(&args[1]);
                self.scripts.insert(sha.clone());
                sha
            }
            _ => String::from_utf8_lossy(&args[1]).into_owned(),
        };
        if !self.scripts.contains(&sha) {
            return Err("NOSCRIPT No matching script. Please use EVAL.".into());
        }
        let which = SCRIPTS.iter().position(|body| sha1(body.as_bytes()) == sha);
        self.program(
            which.expect("a known script"),
            args,
            &format!("script: {sha}, on @user_script:1."),
        )
    }

    fn fcall(&mut self, _: &str, args: Args<'_>) -> Outcome {
        if !self.has_functions {
            return Err("ERR Function not found".into());
        }
        let name = String::from_utf8_lossy(&args[1]);
        let (which, line) = match &*name {
            "sim1" => (1, 2),
            _ => (2, 3),
        };
        self.program(
            which,
            args,
            &format!("script: {name}, on @user_function:{line}."),
        )
    }

    /// Runs a program with its keys and arguments; `place` is what an error of `redis.call` ends with.
    fn program(&mut self, which: usize, args: Args<'_>, place: &str) -> Outcome {
        let keys = small(&args[2]);
        let (keys, argv) = args[3..].split_at(keys);
        let (resp3, may_wait) = (self.resp3, self.may_wait);
        (self.resp3, self.may_wait) = (false, false);
        let answer = self.effects(which, keys, argv);
        (self.resp3, self.may_wait) = (resp3, may_wait);
        let answer = answer.map(|answer| match answer {
            // Lua's numbers are doubles.
            Answer::Int(number) => Answer::Int(through_lua(number)),
            answer => answer,
        });
        answer.map_err(|error| match error.starts_with("MINE") {
            true => error,
            false => format!("{error} {place}"),
        })
    }

    fn effects(&mut self, which: usize, keys: Args<'_>, argv: Args<'_>) -> Outcome {
        match which {
            0 => self.within(&[b"INCR", &keys[0]]),
            1 => {
                self.within(&[b"RPUSH", &keys[0], &argv[0]])?;
                self.within(&[b"LLEN", &keys[0]])
            }
            2 => {
                let popped = self.within(&[b"LPOP", &keys[0]])?;
                if let Answer::Bulk(element) = &popped {
                    self.within(&[b"RPUSH", &keys[1], element])?;
                }
                Ok(popped)
            }
            3 => {
                self.within(&[b"SET", &keys[0], &argv[0]])?;
                self.within(&[b"SADD", &keys[1], &argv[0]])?;
                let count = self.within(&[b"SCARD", &keys[1]])?;
                Ok(Answer::Array(vec![Answer::Int(1), bulk(&argv[0]), count]))
            }
            4 => {
                let sum = self.within(&[b"HINCRBY", &keys[0], b"n", b"1"]);
                sum.map_err(|_| "MINE failed".into())
            }
            5 => self.within(&[b"SPOP", &keys[0]]),
            6 => {
                self.within(&[b"ZADD", &keys[0], b"1", &argv[0]])?;
                self.within(&[b"XADD", &keys[1], b"*", b"f", &argv[0]])?;
                Ok(Answer::Simple("DONE".into()))
            }
            7 => {
                self.within(&[b"PUBLISH", b"ch1", &argv[0]])?;
                Ok(Answer::Array(Vec::new()))
            }
            9 => {
                self.within(&[b"RPUSH", b"l1", &argv[0]])?;
                self.within(&[b"HSET", b"h1", b"f1", &argv[0]])?;
                self.within(&[b"SADD", b"s1", &argv[0]])
            }
            10 => {
                self.within(&[b"LPUSH", b"l2", &argv[0]])?;
                self.within(&[b"ZADD", b"z1", b"2", &argv[0]])?;
                self.within(&[b"XADD", b"x1", b"*", b"f", &argv[0]])?;
                Ok(Answer::Simple("DONE".into()))
            }
            11 => {
                self.within(&[b"LPOP", b"l1"])?;
                self.within(&[b"HDEL", b"h1", b"f2"])?;
                self.within(&[b"RPOP", b"l2"])
            }
            // Nobody waits within a script; no answer is false.
            _ => Ok(match self.within(&[b"BLPOP", &keys[0], b"0"])? {
                Answer::NullArray => Answer::Null,
                popped => popped,
            }),
        }
    }

    /// SCRIPT LOAD, EXISTS, FLUSH.
    fn script(&mut self, name: &str, args: Args<'_>) -> Outcome {
        match (word(&args[1]).as_str(), args.get(2)) {
            ("LOAD", Some(body)) => {
                let sha = sha1(body);
                self.scripts.insert(sha.clone());
                Ok(bulk(sha))
            }
            ("EXISTS", Some(sha)) => {
                let sha = String::from_utf8_lossy(sha);
                let known = self.scripts.contains(&*sha);
                Ok(Answer::Array(vec![Answer::Int(i64::from(known))]))
            }
            ("FLUSH", _) => {
                self.scripts.clear();
                Ok(ok())
            }
            _ => Err(wrong_arity(name)),
        }
    }

    /// FUNCTION LOAD REPLACE, FLUSH.
    fn function(&mut self, name: &str, args: Args<'_>) -> Outcome {
        match word(&args[1]).as_str() {
            "LOAD" => {
                self.has_functions = true;
                Ok(bulk("sim"))
            }
            "FLUSH" => {
                self.has_functions = false;
                Ok(ok())
            }
            _ => Err(wrong_arity(name)),
        }
    }
}

/// An integer that has been a number of Lua, which is a double, and is one again: what is too large becomes the least of all,
/// as the machine's conversion has it.
fn through_lua(number: i64) -> i64 {
    match number as f64 {
        double if double >= i64::MAX as f64 => i64::MIN,
        double => double as i64,
    }
}
