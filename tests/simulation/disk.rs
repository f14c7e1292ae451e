//! Servers that keep their data on the simulated disk: what was promised is there after a restart.

use gyre::config::Config;
use gyre::event_loop::{Faults, SimulatedPeer, Simulator, SimulatorHandle};
use gyre::server::Server;
use gyre::system::rng::Rng;
use gyre::system::simulated_jobs::JobDelays;
use std::collections::BTreeMap;
use std::time::Duration;

/// Turns within which a server has loaded, or answers.
const TURNS: usize = 20_000;

/// A server and the one client that it has.
struct Bench {
    server: Server,
    handle: SimulatorHandle,
    directives: Vec<String>,
    peer: SimulatedPeer,
    seed: u64,
}

fn start(simulator: Simulator, directives: &[String]) -> Server {
    let mut args: Vec<std::ffi::OsString> = ["--bind", "127.0.0.1"].map(Into::into).into();
    args.extend(directives.iter().map(Into::into));
    let config = Config::load_in(std::path::Path::new("/"), &args, &mut || Ok(Vec::new()))
        .unwrap_or_else(|error| panic!("{error}"));
    let mut server = Server::new(config, Box::new(simulator)).unwrap_or_else(|e| panic!("{e}"));
    server.start().expect("a listener");
    assert!(server.load(), "the data cannot be loaded");
    let mut turns = 0;
    while server.state().persistence.loading.is_some() {
        server.turn(Some(Duration::ZERO)).expect("a turn");
        turns += 1;
        assert!(turns < TURNS && server.ended().is_none(), "it never loads");
    }
    server
}

impl Bench {
    fn new(directives: &[&str], seed: u64) -> Bench {
        let directives: Vec<String> = directives.iter().map(|word| (*word).to_owned()).collect();
        let (simulator, handle) = Simulator::new(seed, Faults::NONE);
        let server = start(simulator, &directives);
        let peer = handle.connect();
        Bench {
            server,
            handle,
            directives,
            peer,
            seed,
        }
    }
    /// The server ends without a word, with the machine or without, and starts again.
    fn restart(self, crashes: bool) -> Bench {
        let Bench {
            server,
            handle,
            directives,
            seed,
            ..
        } = self;
        let disk = handle.disk();
        if crashes {
            disk.crash();
        } else {
            disk.end_process();
        }
        drop(server);
        let server = start(handle.restart(), &directives);
        let peer = handle.connect();
        Bench {
            server,
            handle,
            directives,
            peer,
            seed,
        }
    }
    /// What a command is answered.
    fn run(&mut self, line: &str) -> String {
        self.handle
            .send(self.peer, format!("{line}\r\n").as_bytes());
        let mut answer = Vec::new();
        for _ in 0..TURNS {
            self.server
                .turn(Some(Duration::from_millis(1)))
                .expect("a turn");
            answer.extend(self.handle.take(self.peer, usize::MAX));
            if answer.ends_with(b"\r\n") && !(answer[0] == b'$' && answer.len() < 6) {
                return String::from_utf8_lossy(&answer).trim_end().to_owned();
            }
        }
        panic!("{line} is not answered");
    }
    fn integer(&mut self, line: &str) -> i64 {
        let answer = self.run(line);
        let text = answer.trim_start_matches(['$', ':']);
        let text = text.split("\r\n").last().unwrap_or_default();
        text.parse().unwrap_or(0)
    }
}

/// With `always` whatever was answered is there, whether the machine crashes or only the server.
#[test]
fn always_keeps_what_was_answered() {
    for seed in 0..60 {
        let directives = [
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
        ];
        let mut bench = Bench::new(&directives, seed);
        let mut rng = Rng::new(seed);
        let mut counts: BTreeMap<u64, i64> = BTreeMap::new();
        for _ in 0..4 {
            for _ in 0..rng.below(20) {
                let key = rng.below(5);
                *counts.entry(key).or_default() += 1;
                let now = bench.integer(&format!("INCR k{key}"));
                assert_eq!(now, counts[&key], "seed {seed}");
            }
            bench = bench.restart(rng.below(2) == 0);
            for (key, count) in &counts {
                assert_eq!(bench.integer(&format!("GET k{key}")), *count, "seed {seed}");
            }
        }
    }
}

/// What SAVE was answered OK for is there; what came after it is not.
#[test]
fn a_snapshot_that_was_answered_for_survives_a_crash() {
    for seed in 0..30 {
        let mut bench = Bench::new(&["--save", ""], seed);
        bench.run("SET a 1");
        assert_eq!(bench.run("SAVE"), "+OK");
        bench.run("SET a 2");
        let mut bench = bench.restart(true);
        assert_eq!(bench.integer("GET a"), 1, "seed {seed}");
    }
}

/// Under `everysec` a write waits for a sync that is under way, so as not to be held up by the system, but not for long.
#[test]
fn a_slow_sync_holds_the_next_write_back_for_two_seconds() {
    let (mut held_back_once, mut delayed) = (false, 0);
    for seed in 0..10 {
        let mut bench = Bench::new(&["--appendonly", "yes", "--save", ""], seed);
        bench.handle.jobs().set_delays(JobDelays {
            usual_ns: 60_000_000_000,
            slow: 0,
            slow_ns: 0,
        });
        for _ in 0..8 {
            bench.run("INCR a");
            held_back_once |= bench.server.state().persistence.aof.buffered() > 0;
            bench.handle.advance(Duration::from_millis(700));
        }
        delayed += bench.server.state().persistence.aof.delayed_syncs;
        // Only the process ends: what was written is there, and of what was held back nothing.
        let held_back = bench.server.state().persistence.aof.buffered();
        let mut bench = bench.restart(false);
        let least = if held_back == 0 { 8 } else { 8 - 3 };
        let found = bench.integer("GET a");
        assert!((least..=8).contains(&found), "seed {seed}: {found}");
    }
    assert!(held_back_once && delayed > 0);
}
