//! Clients that wait for elements and go away at any moment, on the edge of their last bytes or later, behind more than
//! the sockets hold, while commands are held back: whoever the server was told is gone waits no longer and is given
//! nothing.
//!
//! What is right is known without a second server: of each element the turn in which it left the list, of each peer the
//! turn in which the server was told of its end. An element that a peer gets although that turn was not later, and although
//! it was waiting when the turn began, is lost by the server's fault.

use crate::commands::multibulk;
use crate::world::server;
use gyre::clients::Blocked;
use gyre::event_loop::{Faults, SimulatedPeer, SimulatorHandle};
use gyre::observe::Executed;
use gyre::server::Server;
use gyre::structures::listpack::Item;
use gyre::system::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SEEDS: u64 = 100;
const TURNS: u64 = 250;

/// How a consumer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    Never,
    Finish,
    Close,
    Reset,
}

/// A client that asks for one element.
struct Consumer {
    peer: SimulatedPeer,
    leaving: Leaving,
    leaves_at: u64,
    left: bool,
    /// Turns at whose beginning it waited.
    waited_at: BTreeSet<u64>,
    told_at: Option<u64>,
    got: Vec<u8>,
}

struct World {
    server: Server,
    handle: SimulatorHandle,
    rng: Rng,
    control: SimulatedPeer,
    consumers: Vec<Consumer>,
    pushed: u64,
    /// Elements whose pushes were run.
    arrived: u64,
    /// The turn in which each element left the list.
    popped_at: BTreeMap<u64, u64>,
    turn: u64,
}

fn words(line: &str) -> Vec<u8> {
    let words: Vec<Vec<u8>> = line
        .split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect();
    multibulk(&words)
}

/// The numbers behind each `e` of some replies.
fn elements(bytes: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(bytes);
    let parts = text.split("\r\n");
    parts
        .filter_map(|part| part.strip_prefix('e')?.parse().ok())
        .collect()
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let faults = Faults::any(&mut rng);
        let (server, handle) = server(&[], rng.next_u64(), faults);
        let control = handle.connect();
        World {
            server,
            handle,
            rng,
            control,
            consumers: Vec::new(),
            pushed: 0,
            arrived: 0,
            popped_at: BTreeMap::new(),
            turn: 0,
        }
    }

    fn add_consumer(&mut self) {
        let rng = &mut self.rng;
        let peer = self.handle.connect();
        self.handle
            .set_inbox(peer, [64, 1000, 20_000, 1 << 18][rng.index(4)]);
        let mut bytes = words("PING").repeat(rng.index(4) * rng.index(20));
        let command = [
            "BLPOP q 0",
            "BRPOP q 0",
            "BLMPOP 0 1 q LEFT",
            "BLPOP nothing q 0",
            "BLPOP q 0.03",
        ][rng.index(5)];
        bytes.extend(words(command));
        if rng.below(3) == 0 {
            // More than some sockets hold, in front of the end.
            bytes.extend(words("PING").repeat(rng.index(5000)));
        }
        self.handle.send(peer, &bytes);
        let leaving = [
            Leaving::Never,
            Leaving::Finish,
            Leaving::Close,
            Leaving::Reset,
        ][rng.index(4)];
        let leaves_at = self.turn + [0, 0, rng.below(30), rng.below(200)][rng.index(4)];
        self.consumers.push(Consumer {
            peer,
            leaving,
            leaves_at,
            left: false,
            waited_at: BTreeSet::new(),
            told_at: None,
            got: Vec::new(),
        });
    }

    fn push(&mut self) {
        let n = 1 + self.rng.below(3);
        for _ in 0..n {
            self.pushed += 1;
            let line = format!("RPUSH q e{}", self.pushed);
            self.handle.send(self.control, &words(&line));
        }
    }

    fn leave(&mut self) {
        for consumer in &mut self.consumers {
            if consumer.left || consumer.leaves_at > self.turn {
                continue;
            }
            consumer.left = true;
            match consumer.leaving {
                Leaving::Never => {}
                Leaving::Finish => self.handle.finish(consumer.peer),
                Leaving::Close => self.handle.close(consumer.peer),
                Leaving::Reset => self.handle.reset(consumer.peer),
            }
        }
    }

    /// Peers whose commands wait.
    fn waiting(&mut self) -> BTreeSet<SimulatedPeer> {
        let accepted = self.handle.accepted();
        let clients = self.server.state().clients.iter();
        clients
            .filter(|(_, client)| {
                let blocked = &client.session.blocked;
                matches!(blocked, Some(Blocked::Command(_) | Blocked::Held { .. }))
            })
            .map(|(_, client)| accepted[client.session.id as usize - 1])
            .collect()
    }

    fn in_list(&mut self) -> BTreeSet<u64> {
        let state = self.server.state();
        let now = state.now;
        let mut found = BTreeSet::new();
        let mut db = state.keyspace.db(0, now, true);
        if let Some(entry) = db.peek(b"q") {
            entry.list().expect("a list").for_each(|item| match item {
                Item::Bytes(element) => found.extend(elements(element)),
                Item::Int(number) => panic!("{number} was never pushed"),
            });
        }
        found
    }

    fn step(&mut self, most: Duration) {
        self.turn += 1;
        let turn = self.turn;
        let waiting = self.waiting();
        for consumer in &mut self.consumers {
            if waiting.contains(&consumer.peer) {
                consumer.waited_at.insert(turn);
            }
        }
        self.server.turn(Some(most)).expect("a turn");
        self.count_pushes();
        let there = self.in_list();
        for element in 1..=self.arrived {
            if !there.contains(&element) {
                self.popped_at.entry(element).or_insert(turn);
            }
        }
        let waiting = self.waiting();
        for consumer in &mut self.consumers {
            if self.handle.end_was_told(consumer.peer) {
                consumer.told_at.get_or_insert(turn);
                assert!(
                    !waiting.contains(&consumer.peer),
                    "{:?} waits though the server was told that it is gone ({:?})",
                    consumer.peer,
                    consumer.leaving
                );
            }
            consumer
                .got
                .extend(self.handle.take(consumer.peer, usize::MAX));
            consumer.got.extend(self.handle.take_lost(consumer.peer));
        }
    }

    fn count_pushes(&mut self) {
        let executed = self.server.state().observe.executed.as_mut();
        let executed = std::mem::take(executed.expect("a record is kept"));
        let is_push =
            |it: &&Executed| matches!(it, Executed::Command { args, .. } if args[0] == b"RPUSH");
        let pushes = executed.iter().filter(is_push);
        self.arrived += pushes.count() as u64;
    }

    fn check_end(&mut self) {
        let mut seen = BTreeSet::new();
        for consumer in &self.consumers {
            for element in elements(&consumer.got) {
                assert!(seen.insert(element), "e{element} was given twice");
                let popped_at = self.popped_at[&element];
                let knew = consumer.told_at.is_some_and(|told_at| told_at <= popped_at);
                assert!(
                    !(knew && consumer.waited_at.contains(&popped_at)),
                    "e{element} was given to {:?}, which was gone ({:?})",
                    consumer.peer,
                    consumer.leaving
                );
            }
        }
        let there = self.in_list();
        assert!(there.is_disjoint(&seen));
        let is_polite =
            |consumer: &Consumer| matches!(consumer.leaving, Leaving::Never | Leaving::Finish);
        if self.consumers.iter().all(is_polite) {
            let all: BTreeSet<u64> = there.union(&seen).copied().collect();
            assert_eq!(all, (1..=self.pushed).collect(), "elements are gone");
        }
        assert!(
            there.is_empty() || self.waiting().is_empty(),
            "somebody waits for what is there"
        );
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    let polite = seed.is_multiple_of(4);
    while world.turn < TURNS {
        if world.consumers.len() < 12 && world.rng.below(8) == 0 {
            world.add_consumer();
            if polite && let Some(last) = world.consumers.last_mut() {
                last.leaving = [Leaving::Never, Leaving::Finish][last.peer.0 % 2];
            }
        }
        if world.rng.below(12) == 0 {
            world.push();
        }
        match world.rng.below(60) {
            0 => world
                .handle
                .send(world.control, &words("CLIENT PAUSE 30 WRITE")),
            1 => world.handle.send(world.control, &words("CLIENT UNPAUSE")),
            _ => {}
        }
        world.leave();
        let most_ms = world.rng.below(5);
        world.step(Duration::from_millis(most_ms));
    }
    // Everything arrives.
    world.handle.set_faults(Faults::NONE);
    world.handle.send(world.control, &words("CLIENT UNPAUSE"));
    for consumer in &world.consumers {
        world.handle.set_inbox(consumer.peer, 1 << 18);
    }
    for _ in 0..100 {
        world.leave();
        world.turn += 10;
        world.handle.advance(Duration::from_millis(20));
        world.step(Duration::from_millis(20));
    }
    world.check_end();
}

#[test]
fn nothing_is_given_to_a_client_that_is_known_to_be_gone() {
    for seed in 0..SEEDS {
        let ran = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = ran {
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}
