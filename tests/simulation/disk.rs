//! Servers that keep their data on the simulated disk: what was promised is there after a restart.

use gyre::config::Config;
use gyre::event_loop::{Faults, SimulatedPeer, Simulator, SimulatorHandle};
use gyre::resp::reader::read_value;
use gyre::server::Server;
use gyre::system::rng::Rng;
use gyre::system::simulated_children::ChildFaults;
use gyre::system::simulated_disk::DiskFaults;
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
            if read_value(&answer).is_ok() {
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

/// The file that a rewrite has ended is synced in the background. The next one was loaded behind what a crash had taken of
/// it meanwhile, or the server did not start.
#[test]
fn what_follows_a_file_that_has_lost_its_end_is_not_loaded() {
    let mut lost = 0;
    for seed in 0..60 {
        let method = "--bgsave-default-method";
        let directives = ["--appendonly", "yes", "--save", "", method, "fork"];
        let mut bench = Bench::new(&directives, seed);
        bench.handle.jobs().set_delays(JobDelays {
            usual_ns: 60_000_000_000,
            slow: 0,
            slow_ns: 0,
        });
        // The rewrite never ends, and so both files count.
        bench.handle.children().set_faults(ChildFaults {
            dies: 1000,
            ..ChildFaults::NONE
        });
        for number in 0..30 {
            bench.run(&format!("RPUSH list {number}"));
            if number == 15 {
                bench.run("BGREWRITEAOF");
            }
            bench.handle.advance(Duration::from_millis(100));
        }
        let mut bench = bench.restart(true);
        let count = bench.integer("LLEN list");
        for number in 0..count {
            let found = bench.integer(&format!("LINDEX list {number}"));
            assert_eq!(found, number, "seed {seed}");
        }
        // What is written now is behind the hole no more.
        bench.run("RPUSH list last");
        let mut bench = bench.restart(false);
        assert_eq!(bench.integer("LLEN list"), count + 1, "seed {seed}");
        lost += u64::from(count < 16);
    }
    assert!(lost > 0);
}

/// Lets the server turn until nothing is being saved.
fn wait_for_save(bench: &mut Bench) {
    for _ in 0..TURNS {
        if !bench.server.state().persistence.is_saving() {
            return;
        }
        bench
            .server
            .turn(Some(Duration::from_millis(20)))
            .expect("a turn");
    }
    panic!("the save never ends");
}

/// What a child or the loop has written is there when it has ended well. One that could not be forked, was killed or could not write
/// leaves the snapshot of before, or its own.
fn background_saves(seed: u64, method: &str) -> (SimulatorHandle, [u64; 2]) {
    let mut rng = Rng::new(seed);
    let directives = ["--save", "", "--bgsave-default-method", method];
    let mut bench = Bench::new(&directives, seed);
    let (mut good, mut bad) = (0, 0);
    // What the file may hold after a crash.
    let mut maybe = vec![0];
    for _ in 0..4 {
        bench
            .handle
            .children()
            .set_faults(ChildFaults::any(&mut rng));
        let faults = DiskFaults {
            read_error: 0,
            ..DiskFaults::any(&mut rng)
        };
        bench.handle.disk().set_faults(faults);
        for _ in 0..rng.below(6) {
            let now = bench.integer("INCR a");
            let persistence = &bench.server.state().persistence;
            let before = persistence.saves;
            let command = ["BGSAVE", "BGSAVE SCHEDULE", "FLUSHALL"][rng.index(3)];
            // Else the child of before may be the one that ends well.
            let is_only_one = !persistence.is_saving() && !persistence.scheduled;
            bench.run(command);
            let now = match bench.integer("EXISTS a") {
                0 => 0,
                _ => now,
            };
            maybe.push(now);
            if rng.below(3) > 0 {
                wait_for_save(&mut bench);
                let persistence = &bench.server.state().persistence;
                let is_saved = persistence.saves > before;
                good += u64::from(is_saved);
                bad += u64::from(!persistence.last_status_ok);
                if is_saved && is_only_one && command != "FLUSHALL" {
                    maybe = vec![now];
                }
            }
        }
        bench.handle.disk().set_faults(DiskFaults::NONE);
        let crashes = rng.below(2) == 0;
        bench = bench.restart(crashes);
        let kept = bench.integer("GET a").max(0);
        assert!(maybe.contains(&kept), "seed {seed}: {kept} of {maybe:?}");
        if crashes {
            // Else the disk may not have the name that the file has now.
            maybe = vec![kept];
        }
    }
    (bench.handle.clone(), [good, bad])
}

#[test]
fn a_background_save_that_was_told_is_there() {
    let mut sum = [0; 2];
    for (seed, method) in (0..100).zip(["fork", "forkless"].into_iter().cycle()) {
        let (handle, counts) = background_saves(seed, method);
        if seed % 10 < 2 {
            let (again, _) = background_saves(seed, method);
            assert_eq!(handle.trace_sum(), again.trace_sum(), "seed {seed}");
        }
        (0..2).for_each(|at| sum[at] += counts[at]);
    }
    assert!(sum.iter().all(|count| *count > 10), "{sum:?}");
}
