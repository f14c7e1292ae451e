//! Replication with Redis at the other end of the links: gyre as its replica, as its primary, and in chains of both.
//!
//! Random commands of every type go to the first server of a chain, with expiry, transactions, scripts and functions, while
//! the links are cut, reset and stopped at random bytes, snapshots go by socket and by disk, and backlogs are small. When the
//! links are left alone again every server of the chain must have the same data at the same offset, and some
//! synchronisations must have been partial and some full.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `GYRE_PEERS_SEED` | first seed (1) |
//! | `GYRE_PEERS_RUNS` | how many of each chain (1) |
//! | `GYRE_PEERS_SECONDS` | how long each is under load (2) |

mod common;
#[allow(dead_code)]
#[path = "differential/compare.rs"]
mod compare;
#[path = "differential/epoch.rs"]
mod epoch;
#[allow(dead_code)]
#[path = "differential/grammar.rs"]
mod grammar;
#[allow(dead_code)]
#[path = "differential/known_differences.rs"]
mod known_differences;
#[path = "differential/scripts.rs"]
mod scripts;
#[allow(dead_code)]
#[path = "differential/transactions.rs"]
mod transactions;

use common::proxy::{Proxy, Weather};
use common::redis_server::Redis;
use common::{Raw, Server, info, text};
use compare::show;
use grammar::{CONNECTIONS, Command, Grammar, OTHER, RESP3};
use gyre::resp::reader::{Value, read_value};
use gyre::system::rng::Rng;
use known_differences::same_numbers;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DATABASES: usize = 3;
/// How long a chain may take to be of one mind when its links are left alone.
const CONVERGENCE: Duration = Duration::from_secs(60);

/// A server of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gyre,
    /// Debian's, of version 7.0.
    Redis7,
    /// Of version 8.0.
    Redis8,
}

enum Running {
    Gyre(Server),
    Redis(Redis, tempfile::TempDir),
}

struct Node {
    kind: Kind,
    running: Running,
    /// What looks after it.
    raw: Raw,
}

/// What every server is told at its start: silent links are given up soon, and backlogs hold little.
const COMMON: &[&str] = &[
    "--repl-timeout",
    "3",
    "--repl-ping-replica-period",
    "1",
    "--repl-backlog-size",
    "16kb",
    "--repl-diskless-sync-delay",
    "0",
];

impl Node {
    /// None where there is no such server here.
    fn start(kind: Kind) -> Option<Node> {
        let running = match kind {
            Kind::Gyre => Running::Gyre(Server::with(COMMON)),
            Kind::Redis7 | Kind::Redis8 => {
                let dir = tempfile::tempdir().expect("a directory");
                let mut directives = COMMON.to_vec();
                directives.extend(["--logfile", "log", "--appendonly", "no"]);
                let redis = match kind {
                    Kind::Redis7 => Redis::start_of_system(dir.path(), &directives),
                    _ => Redis::start(dir.path(), &directives),
                };
                Running::Redis(redis?, dir)
            }
        };
        let raw = match &running {
            Running::Gyre(server) => server.raw(),
            Running::Redis(redis, _) => redis.raw(),
        };
        Some(Node { kind, running, raw })
    }
    fn port(&self) -> u16 {
        match &self.running {
            Running::Gyre(server) => server.port,
            Running::Redis(redis, _) => redis.port(),
        }
    }
    fn connect(&self) -> Raw {
        match &self.running {
            Running::Gyre(server) => server.raw(),
            Running::Redis(redis, _) => redis.raw(),
        }
    }
    fn socket(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port())).expect("a connection")
    }
    fn log(&self) -> String {
        match &self.running {
            Running::Gyre(server) => server.log(),
            Running::Redis(_, dir) => {
                std::fs::read_to_string(dir.path().join("log")).unwrap_or_default()
            }
        }
    }
    fn info(&mut self, field: &str) -> String {
        info(&mut self.raw, field)
    }
    fn count(&mut self, field: &str) -> u64 {
        self.info(field).parse().expect("a count")
    }
    fn set(&mut self, name: &str, value: &str) {
        self.raw.run(&["CONFIG", "SET", name, value]);
    }
    fn knows(&mut self, name: &str) -> bool {
        let answer = self.raw.run(&["COMMAND", "INFO", name]);
        let unknown = [Value::NullBulk, Value::NullArray, Value::Null];
        !answer
            .items()
            .is_some_and(|items| items.first().is_none_or(|it| unknown.contains(it)))
    }
}

/// Servers, each the replica of the one before it, through a proxy.
struct Chain {
    nodes: Vec<Node>,
    links: Vec<Proxy>,
    seed: u64,
    rng: Rng,
    recorder: Recorder,
}

impl Chain {
    /// None where one of the servers is not to be had.
    fn start(kinds: &[Kind], seed: u64) -> Option<Chain> {
        let nodes = kinds.iter().map(|kind| Node::start(*kind));
        let mut nodes = nodes.collect::<Option<Vec<_>>>()?;
        let mut links = Vec::new();
        for at in 1..nodes.len() {
            let proxy = Proxy::to(nodes[at - 1].port(), seed * 1000 + at as u64);
            let line = format!("REPLICAOF 127.0.0.1 {}", proxy.port);
            assert_eq!(nodes[at].raw.line(&line), Value::Simple("OK".into()));
            links.push(proxy);
        }
        let recorder = Recorder::start(&nodes[0]);
        let rng = Rng::new(seed);
        Some(Chain {
            nodes,
            links,
            seed,
            rng,
            recorder,
        })
    }

    /// Waits for a condition of the whole chain.
    fn await_all(&mut self, what: &str, mut holds: impl FnMut(&mut Chain) -> Result<(), String>) {
        let deadline = Instant::now() + CONVERGENCE;
        loop {
            let Err(reason) = holds(self) else {
                return;
            };
            if Instant::now() > deadline {
                for node in &self.nodes {
                    eprintln!(
                        "== {:?} on port {}\n{}",
                        node.kind,
                        node.port(),
                        tail(&node.log())
                    );
                }
                let place = reason.split("in database ").nth(1).unwrap_or_default();
                let key = place.split([' ', ':']).nth(1).unwrap_or_default();
                eprintln!("== the stream\n{}", self.recorder.about(key));
                panic!("seed {}: {what}: {reason}", self.seed);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until every replica is where the first server is.
    fn await_offsets(&mut self) {
        self.await_all("the same offsets", |chain| {
            let (id, offset) = chain.position(0);
            for at in 1..chain.nodes.len() {
                let (own_id, own) = chain.position(at);
                let link = chain.nodes[at].info("master_link_status");
                if (&own_id, own, link.as_str()) != (&id, offset, "up") {
                    return Err(format!(
                        "node {at} is at {own} of {own_id} ({link}), the first at {offset} of {id}"
                    ));
                }
            }
            Ok(())
        });
    }

    fn position(&mut self, at: usize) -> (String, u64) {
        let node = &mut self.nodes[at];
        (node.info("master_replid"), node.count("master_repl_offset"))
    }

    /// Waits until all have the same data.
    fn await_same_data(&mut self) {
        self.await_all("the same data", |chain| {
            for at in 1..chain.nodes.len() {
                let (before, behind) = chain.nodes.split_at_mut(at);
                same_data(&mut before[0], &mut behind[0])
                    .map_err(|reason| format!("nodes 0 and {at}: {reason}"))?;
            }
            Ok(())
        });
    }

    /// Partial and full synchronisations of the link before a node.
    fn syncs(&mut self, link: usize) -> (u64, u64) {
        let primary = &mut self.nodes[link];
        (primary.count("sync_partial_ok"), primary.count("sync_full"))
    }

    /// Does something to a link, or to how the next synchronisation goes.
    fn disturb(&mut self) {
        let link = self.rng.index(self.links.len());
        match self.rng.index(10) {
            0 => self.kill_replicas(link),
            1 => drop(self.nodes[link + 1].raw.line("CLIENT KILL TYPE master")),
            2 => self.links[link].cut(),
            3 => {
                self.links[link].set(Weather::Closed);
                self.links[link].cut();
            }
            4..=6 => self.links[link].set(Weather::Rough),
            7 => self.links[link].set(Weather::Calm),
            _ => {
                let (loads, sizes) = (
                    ["disabled", "on-empty-db", "swapdb", "flushdb"],
                    ["16kb", "64kb", "1mb"],
                );
                let (load, size) = (loads[self.rng.index(4)], sizes[self.rng.index(3)]);
                let sync = ["yes", "no"][self.rng.index(2)];
                self.nodes[link].set("repl-diskless-sync", sync);
                self.nodes[link].set("repl-backlog-size", size);
                self.nodes[link + 1].set("repl-diskless-load", load);
            }
        }
    }

    /// Has a server cut off its replicas, but for the recorder.
    fn kill_replicas(&mut self, at: usize) {
        let raw = &mut self.nodes[at].raw;
        let list = text(raw.line("CLIENT LIST TYPE replica"));
        for line in list
            .lines()
            .filter(|line| !line.contains(" name=recorder "))
        {
            let id = line.split(' ').next().and_then(|it| it.strip_prefix("id="));
            raw.run(&["CLIENT", "KILL", "ID", id.expect("an id")]);
        }
    }

    fn calm(&mut self) {
        self.links.iter().for_each(|link| link.set(Weather::Calm));
    }
}

/// A replica of the first server that keeps what it is told: it shows what led to a difference.
struct Recorder {
    stream: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn start(node: &Node) -> Recorder {
        let stream = Arc::new(Mutex::new(Vec::new()));
        let (own, mut socket) = (Arc::clone(&stream), node.socket());
        // No answer may wait when it asks.
        for line in ["CLIENT SETNAME recorder", "REPLCONF capa eof capa psync2"] {
            let mut answer = [0; 5];
            socket
                .write_all(format!("{line}\r\n").as_bytes())
                .expect("a server that reads");
            socket.read_exact(&mut answer).expect("OK");
        }
        socket
            .write_all(b"PSYNC ? -1\r\n")
            .expect("a server that reads");
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            let _ = socket.set_read_timeout(Some(Duration::from_millis(500)));
            loop {
                match socket.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(len) => own.lock().expect("no panic").extend(&buffer[..len]),
                    Err(_) => {}
                }
                if socket.write_all(b"REPLCONF ACK 1\r\n").is_err() {
                    return;
                }
            }
        });
        Recorder { stream }
    }
    /// The last commands of the stream that name this, as lines.
    fn about(&self, name: &str) -> String {
        let bytes = self.stream.lock().expect("no panic");
        let start = memchr::memmem::find(&bytes, b"*2\r\n$6\r\nSELECT").unwrap_or(0);
        let (mut at, mut lines, mut db) = (start, Vec::new(), Value::Null);
        while let Ok((value, len)) = read_value(&bytes[at..]) {
            at += len;
            let words = value.items().unwrap_or_default();
            if words.first() == Some(&Value::bulk("SELECT")) {
                db = words[1].clone();
            }
            if words
                .iter()
                .any(|word| word.as_bytes() == Some(name.as_bytes()))
            {
                let words: Vec<String> = words.iter().map(show).collect();
                lines.push(format!("{} {}", show(&db), words.join(" ")));
            }
        }
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// What two servers say of every key is the same; else what is not.
fn same_data(one: &mut Node, other: &mut Node) -> Result<(), String> {
    let kind = one.kind;
    let (libraries, others) = (libraries(one), libraries(other));
    if libraries != others {
        return Err(format!("functions: {libraries:?} and {others:?}"));
    }
    for db in 0..DATABASES {
        let (one, other) = (&mut one.raw, &mut other.raw);
        for raw in [&mut *one, &mut *other] {
            raw.run(&["SELECT", &db.to_string()]);
        }
        let keys = keys(one);
        let others = self::keys(other);
        if keys != others {
            let only = |a: &[Vec<u8>], b: &[Vec<u8>]| {
                let only = a.iter().find(|key| !b.contains(key));
                only.map(|key| key.escape_ascii().to_string())
            };
            let (missing, more) = (only(&keys, &others), only(&others, &keys));
            let (what, key) = match missing {
                Some(key) => ("missing", key),
                None => ("not removed", more.unwrap_or_default()),
            };
            return Err(format!("in database {db} {key}: {what}"));
        }
        let mut bytes = Vec::new();
        for key in &keys {
            encode(
                &[b"DEBUG".to_vec(), b"DIGEST-VALUE".to_vec(), key.clone()],
                &mut bytes,
            );
            encode(&[b"PEXPIRETIME".to_vec(), key.clone()], &mut bytes);
            encode(
                &[b"XINFO".to_vec(), b"GROUPS".to_vec(), key.clone()],
                &mut bytes,
            );
        }
        one.send(&bytes);
        other.send(&bytes);
        let answers =
            |raw: &mut Raw| -> Vec<Value> { (0..3 * keys.len()).map(|_| raw.read()).collect() };
        let (ours, theirs) = (answers(one), answers(other));
        for (key, (ours, theirs)) in keys.iter().zip(ours.chunks(3).zip(theirs.chunks(3))) {
            let name = format!("in database {db} {}", key.escape_ascii());
            if ours[1] != theirs[1] {
                return Err(format!(
                    "{name} expires at {:?} and {:?}",
                    ours[1], theirs[1]
                ));
            }
            let groups = |answer: &Value| {
                let groups = answer.items().unwrap_or_default().iter();
                // Its name, consumers, pending entries, the last that was delivered, and how many were read.
                let figures = groups.map(|it| {
                    let figures = it.items().unwrap_or_default();
                    let (start, end) = match kind {
                        Kind::Gyre => (2, 10),
                        // Redis does not tell its replicas of a consumer that an XCLAIM has made which claimed nothing.
                        Kind::Redis8 => (4, 10),
                        // Nor did it tell, in older versions, how many entries were read.
                        Kind::Redis7 => (4, 8),
                    };
                    [&figures[..2], &figures[start..end]].concat()
                });
                figures.collect::<Vec<_>>()
            };
            if groups(&ours[2]) != groups(&theirs[2]) {
                return Err(format!(
                    "{name}: has groups {} and {}",
                    show(&ours[2]),
                    show(&theirs[2])
                ));
            }
            if ours[0] != theirs[0] {
                // A digest takes in how scores are spelled, which differs between versions.
                let words: [&[u8]; 5] = [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"];
                let (ours, theirs) = (one.run(&words), other.run(&words));
                if !matches!(ours, Value::Array(_)) || !same_numbers(&ours, &theirs) {
                    let dumps = [one, other].map(|raw| raw.run(&[b"DUMP", &key[..]]));
                    let dumps = dumps.map(|it| {
                        let bytes = it.as_bytes().unwrap_or_default();
                        bytes.escape_ascii().to_string()
                    });
                    return Err(format!(
                        "{name} has other values:
{}",
                        dumps.join(
                            "
"
                        )
                    ));
                }
            }
        }
    }
    Ok(())
}

/// The code of every library.
fn libraries(node: &mut Node) -> Vec<String> {
    let answer = node.raw.line("FUNCTION LIST WITHCODE");
    let libraries = answer.items().unwrap_or_default().iter();
    let code = libraries.map(|it| text(it.items().unwrap_or_default()[7].clone()));
    let mut code: Vec<String> = code.collect();
    code.sort_unstable();
    code
}

fn keys(raw: &mut Raw) -> Vec<Vec<u8>> {
    let answer = raw.line("KEYS *");
    let keys = answer.items().expect("an array").iter();
    let mut keys: Vec<Vec<u8>> = keys
        .map(|key| key.as_bytes().expect("a key").to_vec())
        .collect();
    keys.sort_unstable();
    keys
}

fn encode(words: &[Vec<u8>], out: &mut Vec<u8>) {
    out.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend(word);
        out.extend(b"\r\n");
    }
}

/// Who writes to the first server.
struct Writer {
    connections: [Raw; CONNECTIONS],
    grammar: Grammar,
    commands: std::vec::IntoIter<Command>,
    queued: [bool; CONNECTIONS],
    seed: u64,
    sent: usize,
}

impl Writer {
    /// Of commands that all servers of the chain know.
    fn new(chain: &mut Chain) -> Writer {
        let mut grammar = Grammar::new();
        let nodes = &mut chain.nodes;
        grammar.forget(|name| !nodes.iter_mut().all(|node| node.knows(name)));
        let connections = std::array::from_fn(|_| nodes[0].connect());
        let mut writer = Writer {
            connections,
            grammar,
            commands: Vec::new().into_iter(),
            queued: [false; CONNECTIONS],
            seed: chain.seed * 10_000,
            sent: 0,
        };
        let library = ["FUNCTION", "LOAD", "REPLACE", scripts::LIBRARY];
        writer.connections[OTHER].run(&library);
        writer.connections[RESP3].line("HELLO 3");
        writer
    }

    /// Sends the next command.
    fn step(&mut self) {
        let Some(command) = self.commands.next() else {
            self.seed += 1;
            self.commands = epoch::generate(&self.grammar, self.seed).into_iter();
            // A library comes and goes.
            let name = ["one", "two"][(self.seed % 2) as usize];
            let code = format!(
                "#!lua name={name}\nredis.register_function('{name}', function() return {} end)",
                self.seed
            );
            self.connections[OTHER].run(&["FUNCTION", "LOAD", "REPLACE", &code]);
            if self.seed.is_multiple_of(3) {
                self.connections[OTHER].line("FUNCTION DELETE two");
            }
            return;
        };
        // What a sketch becomes depends on it, and it is no part of the stream.
        if command
            .words
            .iter()
            .any(|word| word == b"hll-sparse-max-bytes")
        {
            return;
        }
        let queued = &mut self.queued[command.on];
        match command.words[0].to_ascii_uppercase().as_slice() {
            b"MULTI" => *queued = true,
            b"EXEC" | b"DISCARD" => *queued = false,
            _ if command.blocks && !*queued => return,
            _ => {}
        }
        self.sent += 1;
        let raw = &mut self.connections[command.on];
        let mut run = |words: &[Vec<u8>]| {
            raw.command(words);
            assert!(raw.try_read().is_some(), "closed at {words:?}");
        };
        run(&command.words);
        command.after.iter().for_each(|words| run(words));
    }

    /// Writes more than a backlog holds. What another replica has not got yet is kept for it.
    fn much(&mut self) {
        for at in 0..40 {
            let value = vec![b'a' + at % 26; 4096];
            self.connections[OTHER].run(&[&b"SET"[..], b"much", &value]);
        }
    }
}

fn variable(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn run(kinds: &[Kind]) {
    let first = variable("GYRE_PEERS_SEED", 1);
    for seed in first..first + variable("GYRE_PEERS_RUNS", 1) {
        let Some(mut chain) = Chain::start(kinds, seed) else {
            return;
        };
        run_chain(&mut chain);
    }
}

fn run_chain(chain: &mut Chain) {
    let mut writer = Writer::new(chain);
    for _ in 0..500 {
        writer.step();
    }
    chain.await_offsets();
    // Every link goes on where it was, and is behind what is kept, at least once.
    for link in 0..chain.links.len() {
        let (partial, full) = chain.syncs(link);
        chain.links[link].cut();
        chain.await_all("a partial synchronisation", |chain| {
            let now = chain.syncs(link);
            (now.0 > partial).then_some(()).ok_or(format!("{now:?}"))
        });
        chain.await_offsets();
        chain.links[link].set(Weather::Closed);
        chain.links[link].cut();
        let deadline = Instant::now() + CONVERGENCE;
        while chain.nodes[link + 1].info("master_link_status") == "up" {
            assert!(Instant::now() < deadline, "the link is cut");
            writer.step();
        }
        let offset = chain.nodes[link + 1].count("master_repl_offset");
        while chain.nodes[link].count("repl_backlog_first_byte_offset") <= offset + 1 {
            writer.much();
        }
        chain.links[link].set(Weather::Calm);
        chain.await_all("a full synchronisation", |chain| {
            let now = chain.syncs(link);
            (now.1 > full).then_some(()).ok_or(format!("{now:?}"))
        });
        chain.await_offsets();
    }
    let end = Instant::now() + Duration::from_secs(variable("GYRE_PEERS_SECONDS", 2));
    let mut next = Instant::now();
    while Instant::now() < end {
        if Instant::now() >= next {
            chain.disturb();
            next = Instant::now() + Duration::from_millis(chain.rng.below(400));
        }
        writer.step();
    }
    chain.calm();
    // What is queued is never run.
    let sent = writer.sent;
    drop(writer);
    chain.await_offsets();
    chain.await_same_data();
    chain.await_offsets();
    let kinds: Vec<Kind> = chain.nodes.iter().map(|node| node.kind).collect();
    let mut syncs = Vec::new();
    for link in 0..chain.links.len() {
        let (partial, full) = chain.syncs(link);
        syncs.push(format!("{partial} partial and {full} full"));
    }
    let keys = text(chain.nodes[0].raw.line("INFO keyspace"))
        .lines()
        .count();
    println!(
        "{kinds:?}, seed {}: {sent} commands, synchronisations: {}; {keys} lines of keyspace",
        chain.seed,
        syncs.join(", ")
    );
}

#[test]
fn gyre_follows_redis_7() {
    run(&[Kind::Redis7, Kind::Gyre]);
}

#[test]
fn redis_7_follows_gyre() {
    run(&[Kind::Gyre, Kind::Redis7]);
}

#[test]
fn gyre_follows_redis_8() {
    run(&[Kind::Redis8, Kind::Gyre]);
}

#[test]
fn redis_8_follows_gyre() {
    run(&[Kind::Gyre, Kind::Redis8]);
}

#[test]
fn gyre_follows_gyre() {
    run(&[Kind::Gyre, Kind::Gyre, Kind::Gyre]);
}

#[test]
fn redis_between_two_gyres() {
    run(&[Kind::Gyre, Kind::Redis7, Kind::Gyre]);
}

#[test]
fn gyre_between_two_redis() {
    run(&[Kind::Redis7, Kind::Gyre, Kind::Redis7]);
}

#[test]
fn gyre_between_redis_7_and_8() {
    run(&[Kind::Redis7, Kind::Gyre, Kind::Redis8]);
}
