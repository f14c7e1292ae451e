//! Transactions: what is queued, what others do to the keys that are watched, and keys that expire meanwhile.

use super::compare::{self, Class};
use super::grammar::{CONNECTIONS, Command, Grammar, Inner, OTHER, pick};
use super::known_differences;
use gyre::resp::reader::Value;
use gyre::system::rng::Rng;

/// Longer than any time to live that is waited for.
const OVER_MS: u64 = 6;
/// A time to live that is not over when the next command of the same pipeline comes, and a wait for its end.
const SOON: (&str, u64) = ("40", 50);

/// Whether a command may come between MULTI and EXEC.
pub fn may_be_queued(command: &Command) -> bool {
    // There the queued arguments of a MSET still refer to the value.
    command.class != Class::Loose || !command.words[0].eq_ignore_ascii_case(b"OBJECT")
}

/// Whether a command is about transactions.
pub fn is_control(command: &Command) -> bool {
    ["MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"]
        .iter()
        .any(|name| command.words[0].eq_ignore_ascii_case(name.as_bytes()))
}

fn plain(on: usize, words: &[&[u8]]) -> Command {
    let words = words.iter().map(|word| word.to_vec()).collect();
    Command {
        on,
        ..Command::new(words, Class::Exact)
    }
}

fn some_key(rng: &mut Rng) -> Vec<u8> {
    // Not streams, for there a change of a consumer group counts as one in gyre; nor those that are ordered by name, for
    // another may get their names.
    let kind = pick(rng, &["str", "list", "set", "zset", "hash", "hll"]);
    format!("{kind}{}", rng.index(4)).into_bytes()
}

/// A command of the grammar whose first key is this one.
fn about(grammar: &Grammar, rng: &mut Rng, key: &[u8]) -> Command {
    for _ in 0..400 {
        let command = grammar.command(rng, false);
        if command.words.get(1).is_some_and(|word| word == key) && !is_control(&command) {
            return command;
        }
    }
    plain(OTHER, &[b"DEL", key])
}

/// A whole transaction on a connection.
/// `expires`: so do keys that are watched. gyre takes them away when they are watched, Redis later or never: the events
/// differ.
pub fn transaction(
    grammar: &Grammar,
    rng: &mut Rng,
    on: usize,
    expires: bool,
    out: &mut Vec<Command>,
) {
    let db = pick(rng, &["0", "0", "1", "2"]).as_bytes();
    out.push(plain(on, &[b"SELECT", db]));
    let theirs = if rng.index(8) == 0 { b"1" } else { db };
    out.push(plain(OTHER, &[b"SELECT", theirs]));
    if rng.index(4) != 0 {
        watch(grammar, rng, on, expires, out);
    }
    out.push(plain(on, &[b"MULTI"]));
    for _ in 0..1 + rng.index(6) {
        let command = loop {
            let command = grammar.command(rng, true);
            if may_be_queued(&command) && !is_control(&command) {
                break command;
            }
        };
        out.push(Command { on, ..command });
    }
    match rng.index(24) {
        0 => out.push(plain(on, &[b"GET"])),
        1 => out.push(plain(on, &[b"NOSUCH", b"str0"])),
        2 => out.push(plain(on, &[b"OBJECT", b"NOSUCH", b"str0"])),
        3 => out.push(plain(on, &[b"MULTI"])),
        4 => out.push(plain(on, &[b"WATCH", b"str0"])),
        5 => out.push(plain(on, &[b"UNWATCH"])),
        6 => {
            // Time stands still while a transaction runs.
            out.push(plain(on, &[b"SET", b"str0", b"v", b"PX", b"1"]));
            let mut read = plain(on, &[b"GET", b"str0"]);
            read.after = vec![vec![b"DEL".to_vec(), b"str0".to_vec()]];
            out.push(read);
        }
        _ => {}
    }
    let end: &[u8] = if rng.index(8) == 0 {
        b"DISCARD"
    } else {
        b"EXEC"
    };
    out.push(plain(on, &[end]));
}

/// Keys that are watched, and what happens to them or to others before MULTI.
fn watch(grammar: &Grammar, rng: &mut Rng, on: usize, expires: bool, out: &mut Vec<Command>) {
    let keys: Vec<Vec<u8>> = (0..1 + rng.index(3)).map(|_| some_key(rng)).collect();
    let key = keys[rng.index(keys.len())].as_slice();
    let mut watch: Vec<&[u8]> = vec![b"WATCH"];
    watch.extend(keys.iter().map(Vec::as_slice));
    let watch = plain(on, &watch);
    let another = some_key(rng);
    let pausing = |command, pause_ms| Command {
        pause_ms,
        ..command
    };
    match rng.index(18) {
        11..=16 if !expires => out.push(watch),
        0 | 1 => out.push(watch),
        2..=5 => {
            out.push(watch);
            let change = about(grammar, rng, key);
            out.push(Command {
                on: OTHER,
                ..change
            });
        }
        6 => {
            out.push(watch);
            let change = about(grammar, rng, &another);
            out.push(Command {
                on: OTHER,
                ..change
            });
        }
        7 => {
            out.push(watch);
            let own = about(grammar, rng, key);
            out.push(Command { on, ..own });
        }
        8 => {
            out.push(watch);
            let words = pick(rng, &["FLUSHDB", "FLUSHALL", "FLUSHDB ASYNC", "SWAPDB 0 1"]);
            let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
            out.push(plain(OTHER, &words));
        }
        9 => {
            out.push(watch);
            out.push(plain(OTHER, &[b"RENAME", key, &another]));
        }
        10 => {
            out.push(watch);
            out.push(plain(OTHER, &[b"RENAME", &another, key]));
        }
        11 | 12 => {
            out.push(watch);
            let expire = plain(OTHER, &[b"PEXPIRE", key, b"1"]);
            out.push(pausing(expire, OVER_MS));
        }
        // It expires by itself while it is watched.
        13 | 14 => {
            out.push(plain(on, &[b"PEXPIRE", key, SOON.0.as_bytes()]));
            out.push(pausing(watch, SOON.1));
            if rng.index(2) == 0 {
                out.push(plain(OTHER, &[b"EXISTS", key]));
            }
        }
        // It had expired when it was watched; now and then the cycle takes it away after that.
        15 | 16 => {
            let expire = plain(OTHER, &[b"PEXPIRE", key, b"1"]);
            out.push(pausing(expire, OVER_MS));
            let pause_ms = if rng.index(4) == 0 { 150 } else { 0 };
            out.push(pausing(watch, pause_ms));
            match rng.index(4) {
                0 => out.push(plain(OTHER, &[b"EXISTS", key])),
                1 => out.push(plain(OTHER, &[b"SET", key, b"new"])),
                _ => {}
            }
        }
        _ => {
            out.push(watch.clone());
            out.push(watch);
            let ttl = pick(rng, &["-1", "1000000"]).as_bytes();
            out.push(plain(OTHER, &[b"PEXPIRE", key, ttl]));
        }
    }
    if rng.index(8) == 0 {
        out.push(plain(on, &[b"UNWATCH"]));
    }
}

/// A key that has expired and the commands that meet it, or fields that have.
pub fn expiring(grammar: &Grammar, rng: &mut Rng, on: usize, fields: bool, out: &mut Vec<Command>) {
    let key = if rng.index(8) == 0 {
        format!("stream{}", rng.index(4)).into_bytes()
    } else {
        some_key(rng)
    };
    let ttl = pick(rng, &["1", "2", "3"]).as_bytes();
    let mut expire = if fields && key.starts_with(b"hash") {
        expiring_fields(rng, on, &key, ttl)
    } else if key.starts_with(b"str") && !key.starts_with(b"stream") {
        plain(on, &[b"SET", &key, b"v", b"PX", ttl])
    } else {
        plain(on, &[b"PEXPIRE", &key, ttl])
    };
    if fields && key.starts_with(b"hash") {
        // The hash stays: HMGET and its like take away the last field of one without telling in Redis.
        out.push(plain(on, &[b"HSET", &key, b"stays", b"v"]));
    }
    expire.pause_ms = OVER_MS;
    out.push(expire);
    for _ in 0..1 + rng.index(3) {
        let next = about(grammar, rng, &key);
        // Redis gives a field a new life as long as nobody has removed it; HPERSIST and HSETEX remove it first, and tell
        // it, in gyre alone: see docs/compatibility.md. A key that is moved would come under one of them later.
        let is_given = |name: &str| next.words[0].to_ascii_uppercase() == name.as_bytes();
        if ![
            "HEXPIRE",
            "HPEXPIRE",
            "HEXPIREAT",
            "HPEXPIREAT",
            "HPERSIST",
            "HSETEX",
            "RENAME",
            "RENAMENX",
            "COPY",
            "MOVE",
        ]
        .into_iter()
        .any(is_given)
        {
            out.push(Command { on, ..next });
        }
    }
    // Met before it can be watched: see `transaction`.
    out.push(plain(on, &[b"EXISTS", &key]));
    if fields && key.starts_with(b"hash") {
        // Whoever reads it removes it.
        let mut words: Vec<&[u8]> = vec![b"HMGET", &key];
        words.extend(EXPIRING.iter().map(|name| name.as_bytes()));
        out.push(plain(on, &words));
    }
}

/// The fields that do.
const EXPIRING: &[&str] = &["a", "b", "c", "d", "1", "2"];

/// Gives fields a time to live, or is the first to meet some that have it.
fn expiring_fields(rng: &mut Rng, on: usize, key: &[u8], ttl: &[u8]) -> Command {
    let names: Vec<&[u8]> = (0..1 + rng.index(3))
        .map(|_| pick(rng, EXPIRING).as_bytes())
        .collect();
    let count = names.len().to_string();
    let given = rng.index(2) == 0;
    let mut words: Vec<&[u8]> = if given {
        vec![b"HSETEX", key, b"PX", ttl, b"FIELDS", count.as_bytes()]
    } else {
        vec![b"HPEXPIRE", key, ttl, b"FIELDS", count.as_bytes()]
    };
    for name in names {
        words.push(name);
        if given {
            words.push(b"5");
        }
    }
    plain(on, &words)
}

/// What is queued on each connection, for EXEC's reply is compared as the replies of the commands are.
#[derive(Default)]
pub struct Queues {
    /// None: no transaction; in one, those whose replies matter.
    queues: [Option<Vec<Option<Command>>>; CONNECTIONS],
}

impl Queues {
    /// Whether two replies to a command agree.
    pub fn agree(&mut self, command: &Command, ours: &Value, theirs: &Value) -> bool {
        let queue = &mut self.queues[command.on];
        let is = |name: &str| command.words[0].eq_ignore_ascii_case(name.as_bytes());
        if is("MULTI") {
            queue.get_or_insert_default();
        } else if is("EXEC") || is("DISCARD") {
            let queued = queue.take().unwrap_or_default();
            if let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs) {
                return ours.len() == theirs.len()
                    && ours.len() == queued.len()
                    && (ours.iter().zip(theirs).zip(&queued)).all(|((ours, theirs), command)| {
                        command
                            .as_ref()
                            .is_none_or(|command| same(command, ours, theirs))
                    });
            }
        } else if let Some(queue) = queue {
            if *ours == Value::Simple("QUEUED".into()) {
                queue.push(Some(command.clone()));
                queue.extend(command.after.iter().map(|_| None));
                return ours == theirs;
            }
            queue.extend(command.after.iter().map(|_| None));
        }
        same(command, ours, theirs)
    }
}

fn same(command: &Command, ours: &Value, theirs: &Value) -> bool {
    if compare::same(command.class, ours, theirs)
        || known_differences::reason(command, ours, theirs).is_some()
    {
        return true;
    }
    match &command.inner {
        Inner::Nothing => false,
        Inner::Itself(inner) => same(inner, ours, theirs),
        Inner::Listed(inner) => match (ours, theirs) {
            (Value::Array(ours), Value::Array(theirs)) => {
                ours.len() == theirs.len()
                    && ours.len() == inner.len()
                    && (ours.iter().zip(theirs).zip(inner))
                        .all(|((ours, theirs), inner)| same(inner, ours, theirs))
            }
            // The first that failed ended the script.
            (Value::Error(_), Value::Error(_)) => {
                (inner.iter()).any(|inner| known_differences::reason(inner, ours, theirs).is_some())
            }
            _ => false,
        },
    }
}
