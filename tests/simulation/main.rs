//! Whole servers on simulated sockets and clocks, against a plain model of the commands.
//!
//! Each seed is one small world: 1 to 20 clients with pipelines of commands, a network that cuts, delays, resets, and a
//! wall clock that may jump. The server tells in which order it answered what ([`gyre::observe::Executed`]); the model
//! answers the same commands in the same order, and every byte that a client receives must be what the model says.
//!
//! `SEEDS=n` runs that many, `FIRST_SEED=n` begins there; a seed that fails says how to run it again.

mod answers;
mod client;
mod commands;
mod crashes;
mod disk;
mod model;
mod replicas;
mod scenarios;
mod servers;
mod users;
mod waiting;
mod world;

use gyre::system::rng::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Seeds of the ordinary test run.
const SEEDS: u64 = 300;

fn from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// Runs seeds, as many as it returns; `SEEDS` and `FIRST_SEED` say which, if not the usual ones. A seed that fails says how to
/// run it again.
fn many(usual: u64, test: &str, mut run: impl FnMut(u64) -> u64) -> u64 {
    let first = from_environment("FIRST_SEED", 1);
    let seeds = from_environment("SEEDS", usual);
    let start = std::time::Instant::now();
    let mut events = 0;
    for seed in first..first + seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(ran) => events += ran,
            Err(panic) => {
                eprintln!("seed {seed} failed; run it again with:");
                eprintln!(
                    "  FIRST_SEED={seed} SEEDS=1 cargo test --test simulation {test} -- --nocapture"
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    let took = start.elapsed();
    println!("{test}: {seeds} seeds, {events} events in {took:?}");
    seeds
}

#[test]
fn servers_agree_with_the_model_whatever_happens_to_their_clients() {
    let turns = std::cell::Cell::new(0);
    many(SEEDS, "servers_agree", |seed| {
        let ran = world::run(seed, false);
        turns.set(turns.get() + ran.turns);
        // Every so often the same again: nothing may depend on addresses, hash seeds or the machine's clocks.
        if seed % 8 == 0 {
            let again = world::run(seed, false);
            assert_eq!(ran.trace, again.trace, "the same seed gave another trace");
        }
        ran.commands
    });
    println!("{} turns", turns.get());
}

/// The trace itself, not only its sum.
#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    let mut rng = Rng::new(from_environment("FIRST_SEED", 1));
    for _ in 0..10 {
        let seed = rng.next_u64();
        let (first, second) = (world::run(seed, true), world::run(seed, true));
        assert!(
            first.text.is_some() && first.text == second.text,
            "seed {seed}"
        );
        let other = world::run(seed ^ 1, false);
        assert_ne!(first.trace, other.trace);
    }
}
