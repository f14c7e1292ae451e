//! The two servers, with the same connections to each.

use super::common::redis_server::Redis;
use super::common::{Raw, Server};
use super::compare::{Class, show};
use super::events::{self, COPY, Event, MARK};
use super::grammar::{CONNECTIONS, Command, RESP3};
use super::known_differences::{is_passed_over, same_numbers};
use super::scripts::LIBRARY;
use gyre::resp::reader::Value;
use std::time::Duration;

const DATABASES: usize = 3;

/// The connection for comparisons.
const LOOK: usize = 2;

type Connections = [Raw; CONNECTIONS];

/// What is compared of INFO beside the figures of commands and errors.
const FIGURES: &[&str] = &["total_error_replies"];

pub struct Pair {
    ours: Connections,
    theirs: Connections,
    /// A subscriber to what is told of keys on each side: ours, theirs.
    subscribers: [Raw; 2],
    gyre: Server,
    _redis: Redis,
    _dir: tempfile::TempDir,
}

fn encode(words: &[Vec<u8>], out: &mut Vec<u8>) {
    out.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend(word);
        out.extend(b"\r\n");
    }
}

impl Pair {
    /// Both servers; none where there is no redis-server and the test may be passed over.
    pub fn start() -> Option<Pair> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let redis = Redis::start(dir.path(), &["--appendonly", "no"])?;
        let gyre = Server::start();
        Some(Pair {
            ours: std::array::from_fn(|_| gyre.raw()),
            theirs: std::array::from_fn(|_| redis.raw()),
            subscribers: [gyre.raw(), redis.raw()].map(subscribe),
            gyre,
            _redis: redis,
            _dir: dir,
        })
    }

    /// Whether gyre has a command.
    pub fn gyre_knows(&mut self, name: &str) -> bool {
        let answer = self.ours[LOOK].run(&["COMMAND", "INFO", name]);
        !matches!(
            answer.items(),
            Some([Value::NullBulk | Value::NullArray | Value::Null])
        )
    }

    /// Empty databases, fresh connections.
    pub fn reset(&mut self) {
        for connections in [&mut self.ours, &mut self.theirs] {
            for (at, connection) in connections.iter_mut().enumerate() {
                connection.line("RESET");
                connection.line("SELECT 0");
                if at == RESP3 {
                    connection.line("HELLO 3");
                }
            }
            connections[LOOK].line("CONFIG SET notify-keyspace-events KEA");
            connections[LOOK].line("DEBUG SET-ACTIVE-EXPIRE 0");
            connections[LOOK].line("FLUSHALL");
            connections[LOOK].line("SCRIPT FLUSH");
            connections[LOOK].run(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
            connections[LOOK].line("CONFIG RESETSTAT");
        }
        self.events();
    }

    /// What was told of keys since it was asked last, on each side.
    fn events(&mut self) -> [Vec<Event>; 2] {
        self.both(&command(&[b"PUBLISH", MARK.as_bytes(), b""]));
        self.subscribers.each_mut().map(|subscriber| {
            let mut events = Vec::new();
            loop {
                let message = subscriber.read();
                let is_mark = message.items().is_some_and(|words| words.len() == 3);
                if is_mark {
                    return events;
                }
                events.extend(Event::of(&message));
            }
        })
    }

    /// Compares what was told of keys since it was asked last.
    pub fn compare_events(&mut self) -> Option<(String, String)> {
        // What has expired unseen is met now.
        for db in 0..DATABASES {
            self.both(&command(&[b"SELECT", db.to_string().as_bytes()]));
            self.both(&command(&[b"SCAN", b"0", b"COUNT", b"100000"]));
        }
        let [ours, theirs] = self.events();
        events::difference(&ours, &theirs)
    }

    /// Compares how often commands were called and failed, and which errors were answered.
    pub fn compare_figures(&mut self) -> Option<(String, String)> {
        let mut sections = (Vec::new(), Vec::new());
        for section in ["stats", "commandstats", "errorstats"] {
            let (ours, theirs) = self.both(&command(&[b"INFO", section.as_bytes()]));
            sections.0.extend(figures(&ours));
            sections.1.extend(figures(&theirs));
        }
        let (mut ours, mut theirs) = sections;
        ours.sort_unstable();
        theirs.sort_unstable();
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            let only = these.iter().filter(|figure| !those.contains(figure));
            only.cloned().collect()
        };
        let (ours, theirs) = (only(&ours, &theirs), only(&theirs, &ours));
        let first = ours.iter().chain(&theirs);
        let first = first.filter(|figure| !is_passed_over(figure)).min()?;
        let name = first
            .split([':', '='])
            .next()
            .unwrap_or_default()
            .to_owned();
        let text = format!("gyre:  {}\nredis: {}", ours.join(" "), theirs.join(" "));
        Some((format!("INFO {name}"), text))
    }

    /// Runs commands on both, pipelined as long as they are on the same connection; the replies of each.
    pub fn run<'c>(&mut self, commands: impl Iterator<Item = &'c Command>) -> Vec<(Value, Value)> {
        let commands: Vec<&Command> = commands.collect();
        let mut replies = Vec::new();
        for run in commands.chunk_by(|a, b| a.on == b.on && a.pause_ms == 0) {
            let at = run[0].on;
            let mut bytes = Vec::new();
            for command in run {
                encode(&command.words, &mut bytes);
                command
                    .after
                    .iter()
                    .for_each(|words| encode(words, &mut bytes));
            }
            self.ours[at].send(&bytes);
            self.theirs[at].send(&bytes);
            for command in run {
                let closed = |who: &str| -> Value {
                    let log = self.gyre.log();
                    panic!(
                        "{who} closes the connection at {}\n{log}",
                        super::print(command)
                    )
                };
                let mut read = || {
                    let ours = self.ours[at].try_read();
                    let theirs = self.theirs[at].try_read();
                    (
                        ours.unwrap_or_else(|| closed("gyre")),
                        theirs.unwrap_or_else(|| closed("redis")),
                    )
                };
                replies.push(read());
                command.after.iter().for_each(|_| drop(read()));
                if command.pause_ms > 0 {
                    std::thread::sleep(Duration::from_millis(command.pause_ms));
                }
            }
        }
        replies
    }

    /// The same on the third connections.
    fn both(&mut self, words: &[Vec<u8>]) -> (Value, Value) {
        let mut bytes = Vec::new();
        encode(words, &mut bytes);
        self.ours[LOOK].send(&bytes);
        self.theirs[LOOK].send(&bytes);
        (self.ours[LOOK].read(), self.theirs[LOOK].read())
    }

    /// Many of them, pipelined.
    fn both_of(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<(Value, Value)> {
        self.each(commands, commands)
    }

    /// Different ones to each.
    fn each(&mut self, ours: &[Vec<Vec<u8>>], theirs: &[Vec<Vec<u8>>]) -> Vec<(Value, Value)> {
        let bytes = |commands: &[Vec<Vec<u8>>]| {
            let mut bytes = Vec::new();
            commands.iter().for_each(|words| encode(words, &mut bytes));
            bytes
        };
        self.ours[LOOK].send(&bytes(ours));
        self.theirs[LOOK].send(&bytes(theirs));
        ours.iter()
            .map(|_| (self.ours[LOOK].read(), self.theirs[LOOK].read()))
            .collect()
    }

    /// Compares all keys of all databases: their encodings, expiries and digests, and whether a value that one server
    /// dumps is the same value in the other.
    pub fn compare_data(&mut self) -> Option<(String, String)> {
        for db in 0..DATABASES {
            self.both(&command(&[b"SELECT", db.to_string().as_bytes()]));
            let (ours, theirs) = self.both(&command(&[b"KEYS", b"*"]));
            let (ours, theirs) = (keys(&ours), keys(&theirs));
            if ours != theirs {
                let text = format!("gyre:  {ours:?}\nredis: {theirs:?}");
                return Some((format!("keys of database {db}"), text));
            }
            if let Some(found) = self.compare_keys(&ours) {
                return Some(found);
            }
        }
        None
    }

    fn compare_keys(&mut self, keys: &[Vec<u8>]) -> Option<(String, String)> {
        let asked: Vec<_> = keys
            .iter()
            .flat_map(|key| {
                [
                    command(&[b"DEBUG", b"DIGEST-VALUE", key]),
                    command(&[b"OBJECT", b"ENCODING", key]),
                    command(&[b"PTTL", key]),
                    command(&[b"DUMP", key]),
                ]
            })
            .collect();
        let answers = self.both_of(&asked);
        for (key, answers) in keys.iter().zip(answers.chunks(4)) {
            let name = key.escape_ascii().to_string();
            let kind = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
            let classes = [Class::Exact, Class::Exact, Class::Times];
            let what = ["DEBUG DIGEST-VALUE", "OBJECT ENCODING", "PTTL"];
            for ((class, what), (ours, theirs)) in classes.into_iter().zip(what).zip(answers) {
                let text = || format!("{what} {} {}", show(ours), show(theirs));
                let is_same = super::compare::same(class, ours, theirs)
                    || (what == "DEBUG DIGEST-VALUE" && self.is_same_by_scores(key))
                    || (what == "OBJECT ENCODING" && self.is_a_mixed_set(key))
                    || is_passed_over(&text());
                if !is_same {
                    let detail = match what {
                        "OBJECT ENCODING" => format!(" {} {}", show(ours), show(theirs)),
                        _ => String::new(),
                    };
                    let text = format!("{name}\ngyre:  {}\nredis: {}", show(ours), show(theirs));
                    return Some((format!("{what} {kind}{detail}"), text));
                }
            }
        }
        self.compare_dumps(keys, &answers)
    }

    /// Whether a value is a sorted set whose scores differ in their spelling alone, which a digest takes in.
    fn is_same_by_scores(&mut self, key: &[u8]) -> bool {
        let (ours, theirs) = self.both(&command(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]));
        !matches!(ours, Value::Error(_)) && same_numbers(&ours, &theirs)
    }

    /// Whether a value is a set of integers and others: one that SUNIONSTORE or SDIFFSTORE has gathered is a listpack or
    /// a hash table by which came first, and a hash table has an order of its own.
    fn is_a_mixed_set(&mut self, key: &[u8]) -> bool {
        let (members, _) = self.both(&command(&[b"SMEMBERS", key]));
        let is_integer = |member: &Value| {
            let text = member.as_bytes().map(String::from_utf8_lossy);
            text.is_some_and(|text| text.parse::<i64>().is_ok())
        };
        let members = members.items().unwrap_or_default();
        members.iter().any(is_integer) && !members.iter().all(is_integer)
    }

    /// Each server restores what the other one dumped.
    fn compare_dumps(
        &mut self,
        keys: &[Vec<u8>],
        answers: &[(Value, Value)],
    ) -> Option<(String, String)> {
        const COPY: &[u8] = self::COPY.as_bytes();
        let (mut to_ours, mut to_theirs) = (Vec::new(), Vec::new());
        for answers in answers.chunks(4) {
            let (Value::Bulk(ofgyre), Value::Bulk(of_redis)) = &answers[3] else {
                return Some(("DUMP".into(), format!("no payloads: {:?}", answers[3])));
            };
            for (payload, to) in [(of_redis, &mut to_ours), (ofgyre, &mut to_theirs)] {
                to.push(command(&[b"RESTORE", COPY, b"0", payload, b"REPLACE"]));
                to.push(command(&[b"DEBUG", b"DIGEST-VALUE", COPY]));
                to.push(command(&[b"OBJECT", b"ENCODING", COPY]));
                to.push(command(&[b"DEL", COPY]));
            }
        }
        let copies = self.each(&to_ours, &to_theirs);
        for ((key, before), after) in keys.iter().zip(answers.chunks(4)).zip(copies.chunks(4)) {
            let (restored, digests, encodings) = (&after[0], &after[1], &after[2]);
            // Not that of the value itself, which may expire, or lose the sign of a zero on the way.
            if digests.0 == digests.1 && encodings.0 == encodings.1 {
                continue;
            }
            // Each server's copy is its own value again, and the two spell their scores differently.
            let is_kept = matches!((&before[0].0, &before[0].1), (Value::Array(ours), Value::Array(theirs))
                if ours.first() == digest(&digests.0) && theirs.first() == digest(&digests.1));
            if is_kept && encodings.0 == encodings.1 && self.is_same_by_scores(key)
                || digests.0 == digests.1 && self.is_a_mixed_set(key)
                || is_passed_over(&format!("{} {}", show(&encodings.0), show(&encodings.1)))
            {
                continue;
            }
            let name = key.escape_ascii().to_string();
            let kind = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
            let payload = |value: &Value| {
                value
                    .as_bytes()
                    .unwrap_or_default()
                    .escape_ascii()
                    .to_string()
            };
            let text = format!(
                "{name}\nredis's payload in gyre: {} {} {}\ngyre's payload in redis: {} {} {}\nthe value itself: {}\n\
                 of gyre:  {}\nof redis: {}",
                show(&restored.0),
                show(&digests.0),
                show(&encodings.0),
                show(&restored.1),
                show(&digests.1),
                show(&encodings.1),
                show(&before[0].0),
                payload(&before[3].0),
                payload(&before[3].1)
            );
            let what = format!("DUMP and RESTORE {kind} {}", show(&encodings.1));
            return Some((what, text));
        }
        None
    }
}

fn command(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}

fn keys(value: &Value) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = value
        .items()
        .unwrap_or_default()
        .iter()
        .filter_map(|key| key.as_bytes().map(<[u8]>::to_vec))
        .collect();
    keys.sort_unstable();
    keys
}

/// The one digest that is answered.
fn digest(answer: &Value) -> Option<&Value> {
    answer.items()?.first()
}

fn subscribe(mut raw: Raw) -> Raw {
    raw.line("PSUBSCRIBE __key*__:*");
    raw.run(&["SUBSCRIBE", MARK]);
    raw
}

/// The figures of a section of INFO that do not depend on time, each with its name.
fn figures(section: &Value) -> Vec<String> {
    let text = String::from_utf8_lossy(section.as_bytes().unwrap_or_default()).into_owned();
    let mut figures = Vec::new();
    for line in text.lines() {
        let Some((name, values)) = line.split_once(':') else {
            continue;
        };
        if FIGURES.contains(&name) {
            figures.push(line.to_owned());
        }
        if !(name.starts_with("cmdstat_") || name.starts_with("errorstat_")) {
            continue;
        }
        for value in values.split(',').filter(|value| !value.starts_with("usec")) {
            figures.push(format!("{name}:{value}"));
        }
    }
    figures
}
