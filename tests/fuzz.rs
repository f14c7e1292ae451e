//! Random and mutated inputs through parser and dispatch of a whole server on a simulator: no panic, no growth, and
//! every answer well-formed.
//!
//! Inputs are made from the command table's own documentation of arguments (what COMMAND DOCS tells), then, most of
//! them, broken: bytes changed, cut, doubled, tokens spliced in. Some are soups of tokens of the protocol, some are
//! noise. The ordinary run is short; `GYRE_FUZZ_INPUTS=10000000` is the long one.
//!
//! Inputs come in lives: each has a server of its own and a seed. One that fails tells its number, and `GYRE_FUZZ_LIFE`
//! plays that one alone.

#[path = "fuzz/acl.rs"]
mod acl;

use gyre::commands::GROUPS;
use gyre::config::Config;
use gyre::engine::{Argument, ArgumentType, CommandSpec};
use gyre::event_loop::{Faults, SimulatedPeer, Simulator, SimulatorHandle};
use gyre::resp::reader::{ReadError, read_all};
use gyre::server::Server;
use gyre::system::memory;
use gyre::system::rng::Rng;
use std::time::Duration;

#[cfg(not(feature = "sanitizer"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(feature = "sanitizer")]
#[global_allocator]
static ALLOCATOR: memory::Counted = memory::Counted;

const INPUTS: u64 = 100_000;
const INPUTS_OF_A_LIFE: u64 = 10_000;
/// Connections that are open at once.
const PEERS: usize = 4;
/// What a server may hold more at the end of its life than at the beginning, emptied: tables, logs, statistics.
const GROWTH: u64 = 8 * 1024 * 1024;

const STRINGS: &[&[u8]] = &[
    b"",
    b"a",
    b"b",
    b"key",
    b"*",
    b"?",
    b"[a-",
    b"\\",
    b"0",
    b"-1",
    b"1",
    b"\x00",
    b"\xff\xfe",
    b"\r\n",
    b"nan",
    b"inf",
    b"-inf",
    b"1e400",
    b"0x10",
    b"default",
    b"get",
    b"set",
    b"string",
    b"maxmemory",
    b"maxmemory-policy",
    b"allkeys-lfu",
    b"hz",
    b"100",
    b"timeout",
    b"slowlog-log-slower-than",
    b"slowlog-max-len",
    b"requirepass",
    b"%s%n",
    b"|",
    b"config|get",
    b"no-such",
    b"127.0.0.1:10000",
    b"normal",
    b"yes",
    b"no",
];
const NUMBERS: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"2",
    b"10",
    b"100",
    b"1000",
    b"2147483647",
    b"2147483648",
    b"-2147483649",
    b"4294967296",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"18446744073709551615",
    b"99999999999999999999999",
    b"",
    b"-0",
    b"01",
    b"1.5",
    b"1e3",
    b" 1",
    b"9223372036854775",
];
const TOKENS: &[&[u8]] = &[
    b"*",
    b"$",
    b"\r\n",
    b"\r",
    b"\n",
    b"*1\r\n",
    b"*2\r\n",
    b"*3\r\n",
    b"$3\r\n",
    b"$4\r\n",
    b"$0\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"PING",
    b"GET",
    b"SET a b",
    b"PING\r\n",
    b"\"",
    b"'",
    b"\\x",
    b"\\x41",
    b"\"a\\n\"",
    b" ",
    b"\x00",
    b"99999999999",
    b"*1048576\r\n",
    b"*1048577\r\n",
    b"$1048576\r\n",
    b"$32768\r\n",
    b"-",
    b"+",
    b":",
    b"_",
    b"%",
    b"~",
    b">",
    b"|",
    b"*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n",
];

fn pick<'a>(rng: &mut Rng, from: &[&'a [u8]]) -> &'a [u8] {
    from[rng.index(from.len())]
}

fn word(rng: &mut Rng) -> Vec<u8> {
    match rng.below(12) {
        0 => {
            let mut bytes = vec![0; rng.index(40)];
            rng.fill(&mut bytes);
            bytes
        }
        1 => vec![b'x'; [50, 500, 5000, 40_000][rng.index(4)]],
        2..=4 => pick(rng, NUMBERS).to_vec(),
        _ => pick(rng, STRINGS).to_vec(),
    }
}

/// Words for an argument as the table documents it.
fn argument(rng: &mut Rng, argument: &Argument, words: &mut Vec<Vec<u8>>) {
    if argument.optional && rng.below(2) == 0 {
        return;
    }
    let times = if argument.multiple {
        1 + rng.below(4)
    } else {
        1
    };
    for time in 0..times {
        if !argument.token.is_empty() && (time == 0 || argument.multiple_token) {
            words.push(argument.token.as_bytes().to_vec());
        }
        match argument.kind {
            ArgumentType::PureToken => {}
            ArgumentType::OneOf if !argument.arguments.is_empty() => {
                let one = &argument.arguments[rng.index(argument.arguments.len())];
                self::argument(rng, one, words);
            }
            ArgumentType::Block | ArgumentType::OneOf => {
                for part in argument.arguments {
                    self::argument(rng, part, words);
                }
            }
            ArgumentType::Key => words.push(pick(rng, &[b"a", b"b", b"c", b"", b"key"]).to_vec()),
            ArgumentType::Integer | ArgumentType::UnixTime | ArgumentType::Double => {
                words.push(if rng.below(3) == 0 {
                    pick(rng, NUMBERS).to_vec()
                } else {
                    rng.below(2000).to_string().into_bytes()
                });
            }
            ArgumentType::String | ArgumentType::Pattern => words.push(word(rng)),
        }
    }
}

/// Every command and subcommand, with the words that call it.
fn specs() -> Vec<(Vec<&'static str>, &'static CommandSpec)> {
    let mut all = Vec::new();
    for spec in GROUPS.iter().flat_map(|group| group.iter()) {
        all.push((vec![spec.name], spec));
        for sub in spec.subcommands {
            all.push((vec![spec.name, sub.name], sub));
        }
    }
    // These reach beyond the server, into the process that runs the test or onto its disk; and one is a second's work.
    all.retain(|(name, _)| {
        !matches!(
            name[..],
            ["debug", ..]
                | ["config", "rewrite"]
                | ["save" | "bgsave" | "bgrewriteaof"]
                | ["pfselftest"]
        )
    });
    all
}

fn command(rng: &mut Rng, specs: &[(Vec<&'static str>, &'static CommandSpec)]) -> Vec<Vec<u8>> {
    let (name, spec) = &specs[rng.index(specs.len())];
    // What lists the whole table is slow and always the same.
    if name[0] == "command" && rng.below(8) > 0 {
        return vec![b"PING".to_vec()];
    }
    let mut words: Vec<Vec<u8>> = name.iter().map(|word| word.as_bytes().to_vec()).collect();
    for part in spec.arguments {
        argument(rng, part, &mut words);
    }
    // Words too many, too few, doubled, exchanged.
    match rng.below(10) {
        0 => words.push(word(rng)),
        1 if words.len() > 1 => drop(words.pop()),
        2 => {
            let again = words[rng.index(words.len())].clone();
            words.insert(1 + rng.index(words.len()), again);
        }
        3 if words.len() > 2 => {
            let (a, b) = (
                1 + rng.index(words.len() - 1),
                1 + rng.index(words.len() - 1),
            );
            words.swap(a, b);
        }
        4 if words.len() > 1 => {
            let at = 1 + rng.index(words.len() - 1);
            words[at] = word(rng);
        }
        _ => {}
    }
    words
}

fn multibulk(words: &[Vec<u8>], bytes: &mut Vec<u8>) {
    bytes.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..1 + rng.below(4) {
        let at = rng.index(bytes.len() + 1);
        match rng.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
            2 => bytes.truncate(at),
            3 => {
                let token = pick(rng, TOKENS);
                bytes.splice(at..at, token.iter().copied());
            }
            4 => {
                let end = (at + rng.index(20)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + rng.index(50)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// One input, and whether it is what a client in its right mind could send.
fn input(rng: &mut Rng, specs: &[(Vec<&'static str>, &'static CommandSpec)]) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    match rng.below(20) {
        0 => {
            bytes = vec![0; rng.index(100)];
            rng.fill(&mut bytes);
            (bytes, false)
        }
        1..=3 => {
            for _ in 0..1 + rng.below(12) {
                bytes.extend(pick(rng, TOKENS));
            }
            (bytes, false)
        }
        kind => {
            for _ in 0..1 + rng.below(3) {
                let words = command(rng, specs);
                multibulk(&words, &mut bytes);
            }
            if kind < 12 {
                mutate(rng, &mut bytes);
            }
            (bytes, kind >= 12)
        }
    }
}

/// Tells what was being done when a life ends in a panic.
struct LastWords {
    life: u64,
    input: Vec<u8>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shown = &self.input[..self.input.len().min(2000)];
            eprintln!(
                "life {} failed at the input {}",
                self.life,
                shown.escape_ascii()
            );
            eprintln!(
                "run it again with: GYRE_FUZZ_LIFE={} cargo test --test fuzz",
                self.life
            );
        }
    }
}

struct Life {
    server: Server,
    handle: SimulatorHandle,
    peers: Vec<SimulatedPeer>,
    /// Commands that were answered.
    executed: u64,
}

fn born(seed: u64) -> Life {
    // Small limits, so that no single command is slow.
    let args = [
        "--bind",
        "127.0.0.1",
        "--proto-max-bulk-len",
        "1mb",
        "--client-query-buffer-limit",
        "4mb",
    ];
    let args: Vec<std::ffi::OsString> = args.map(Into::into).into();
    let directory = tempfile::tempdir().expect("a directory");
    let config = Config::load_in(directory.path(), &args, &mut || Ok(Vec::new()));
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let (simulator, handle) = Simulator::new(seed, Faults::NONE);
    let mut server = Server::new(config, Box::new(simulator)).unwrap_or_else(|e| panic!("{e}"));
    server.start().expect("a listener");
    server.state().observe.executed = Some(Vec::new());
    let peers = (0..PEERS).map(|_| handle.connect()).collect();
    Life {
        server,
        handle,
        peers,
        executed: 0,
    }
}

impl Life {
    fn turn(&mut self) {
        self.server
            .turn(Some(Duration::from_millis(1)))
            .expect("a turn");
        let executed = self.server.state().observe.executed.replace(Vec::new());
        self.executed += executed.map_or(0, |executed| executed.len() as u64);
    }

    /// Turns until all that was sent is dealt with.
    fn run_until_quiet(&mut self) {
        for _ in 0..20 {
            self.turn();
            if let Some(pause) = &mut self.server.state().pause {
                pause.until_ms = 0;
                self.handle.advance(Duration::from_secs(1));
                continue;
            }
            if self.peers.iter().all(|peer| self.handle.unread(*peer) == 0) {
                return;
            }
        }
    }

    fn renew(&mut self, index: usize) {
        self.handle.close(self.peers[index]);
        self.peers[index] = self.handle.connect();
    }

    /// Every answer is one, whole.
    fn check_answers(&mut self) {
        for index in 0..PEERS {
            let mut taken = self.handle.take(self.peers[index], usize::MAX);
            // A long answer (COMMAND DOCS) comes in as many pieces as the socket has room for.
            for _ in 0..20 {
                if !matches!(read_all(&taken), Err(ReadError::Incomplete)) {
                    break;
                }
                self.turn();
                taken.extend(self.handle.take(self.peers[index], usize::MAX));
            }
            let ended = self.server.ended().is_some();
            // A server that was told to end writes of a long answer what the socket takes.
            if let Err(error) = read_all(&taken)
                && !ended
            {
                panic!(
                    "{error:?} in the answers {}",
                    taken[..taken.len().min(2000)].escape_ascii()
                );
            }
            if self.handle.is_closed(self.peers[index]) {
                self.renew(index);
            }
        }
    }

    /// Empties it; what it holds then.
    fn emptied(&mut self) -> u64 {
        for index in 0..PEERS {
            self.renew(index);
        }
        for _ in 0..5 {
            self.turn();
        }
        let state = self.server.state();
        state.keyspace.flush(None, gyre::keyspace::Free::Now);
        state.observe.slowlog = Default::default();
        // Each command that was called has a histogram, and there are many commands.
        state.observe.reset();
        memory::allocator_stats().allocated
    }
}

fn live(life: u64, inputs: u64, specs: &[(Vec<&'static str>, &'static CommandSpec)]) -> u64 {
    let mut rng = Rng::new(life);
    let mut world = born(rng.next_u64());
    let snapshot = world.server.state().config.snapshot();
    let mut last = LastWords {
        life,
        input: Vec::new(),
    };
    let mut at_first = 0;
    for number in 0..inputs {
        let (bytes, sane) = input(&mut rng, specs);
        let index = rng.index(PEERS);
        last.input.clone_from(&bytes);
        if rng.below(4) == 0 && !bytes.is_empty() {
            let cut = rng.index(bytes.len());
            world.handle.send(world.peers[index], &bytes[..cut]);
            world.turn();
            world.handle.send(world.peers[index], &bytes[cut..]);
        } else {
            world.handle.send(world.peers[index], &bytes);
        }
        world.run_until_quiet();
        world.check_answers();
        // The middle of a request swallows what comes after it, for a while.
        if rng.below(if sane { 50 } else { 2 }) == 0 {
            world.renew(index);
        }
        if number % 100 == 99 {
            let state = world.server.state();
            state.config.restore(snapshot.clone());
            state.apply_settings();
            if memory::allocator_stats().allocated > 256 << 20 {
                state.keyspace.flush(None, gyre::keyspace::Free::Now);
            }
        }
        if world.server.ended().is_some() {
            world = Life {
                executed: world.executed,
                ..born(rng.next_u64())
            };
            at_first = 0;
        }
        if at_first == 0 {
            at_first = world.emptied();
        }
    }
    let at_last = world.emptied();
    assert!(
        at_last <= at_first + GROWTH,
        "it held {at_first} bytes at first, and {at_last} at last"
    );
    // Or all this would be about nothing.
    assert!(
        inputs < 1000 || world.executed > inputs,
        "{} commands were run",
        world.executed
    );
    world.executed
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// What the allocator holds is all that the process holds: one test at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn no_input_breaks_the_server() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let specs = specs();
    assert!(specs.len() > 50);
    if let Some(life) = from_environment("GYRE_FUZZ_LIFE") {
        live(life, INPUTS_OF_A_LIFE, &specs);
        return;
    }
    let inputs = from_environment("GYRE_FUZZ_INPUTS").unwrap_or(INPUTS);
    let start = std::time::Instant::now();
    let mut executed = 0;
    for life in 0..inputs.div_ceil(INPUTS_OF_A_LIFE) {
        executed += live(life, INPUTS_OF_A_LIFE.min(inputs), &specs);
        if life % 100 == 99 {
            let allocated = memory::allocator_stats().allocated;
            println!(
                "{} inputs, {allocated} bytes held",
                (life + 1) * INPUTS_OF_A_LIFE
            );
        }
    }
    println!(
        "{inputs} inputs, {executed} commands in {:?}",
        start.elapsed()
    );
}
