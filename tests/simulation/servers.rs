//! Three servers in one network, with a disk each, that only talk to clients: each is as good as alone.
//!
//! Their turns come in any order. One after the other dies, with its process or its machine, and comes back with what it
//! has promised, while the others go on: nothing of one server is in another, or is lost with it. That servers find each
//! other in this network is tested beside the simulator (`src/event_loop/simulator/tests.rs`); those that replicate will
//! do so here.

use crate::crashes::Lives;
use gyre::event_loop::{Faults, Simulator};
use gyre::system::rng::Rng;

/// Seeds of the ordinary test run.
const SEEDS: u64 = 15;
const SERVERS: u64 = 3;
/// How often a server lives.
const LIVES: u64 = 3;

/// Runs a seed: the events of all servers, and the sum of the trace.
fn run(seed: u64) -> (u64, (u64, u64)) {
    let mut rng = Rng::new(seed);
    let (first, handle) = Simulator::new(rng.next_u64(), Faults::NONE);
    let mut machines = vec![(first, handle.clone())];
    machines.extend((1..SERVERS).map(|_| handle.another(rng.next_u64())));
    let mut servers: Vec<(Lives, u64)> = machines
        .into_iter()
        .map(|machine| (Lives::new(rng.next_u64(), machine), LIVES))
        .collect();
    for (lives, _) in &mut servers {
        lives.begin();
    }
    let mut events = 0;
    while !servers.is_empty() {
        let index = rng.index(servers.len());
        let (lives, left) = &mut servers[index];
        if lives.turn() {
            continue;
        }
        *left -= 1;
        if lives.come_back() && *left > 0 {
            lives.begin();
        } else {
            events += lives.events();
            // The others go on without it.
            servers.swap_remove(index);
        }
    }
    (events, handle.trace_sum())
}

#[test]
fn three_servers_in_one_network_are_each_as_good_as_alone() {
    crate::many(SEEDS, "three_servers", |seed| {
        let (events, trace) = run(seed);
        if seed % 8 == 0 {
            assert_eq!(run(seed).1, trace, "the same seed gave another trace");
        }
        events
    });
}
