//! Primaries, replicas and their replicas in one network, with a disk each, while clients write and all goes wrong.
//!
//! A seed sets up 2 to 4 servers, each in its own way. Links are cut, slow, reset; servers die with their processes or machines
//! and come back; roles change; clients write whatever the grammar of the other simulations has. What must hold at the end of
//! each turn is in `checks`. In the end everything is healed and nobody writes any more: then all that follow a primary hold what
//! it holds, at the same offset of the same stream, within a bounded time.

mod checks;
mod clients;
mod member;

use crate::commands::Vocabulary;
use checks::{Histories, differences, is_whole, print_of};
use clients::{Asker, Writer};
use gyre::event_loop::{Faults, Simulator, SimulatorHandle};
use gyre::system::log::{self, LogLevel, LogOptions};
use gyre::system::rng::Rng;
use member::Member;
use std::time::Duration;

/// Seeds of the ordinary test run.
const SEEDS: u64 = 100;
/// Time within which all replicas are where their primaries are, once nothing goes wrong any more, s.
const CONVERGED_S: u64 = 300;
/// Turns without which that is not said.
const CONVERGED_TURNS: u64 = 100_000;

/// How often things have happened that a run is to show.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    turns: u64,
    crashes: u64,
    role_changes: u64,
    full_syncs: u64,
    partial_syncs: u64,
    /// Data of two servers that were compared at one offset.
    compared: u64,
    /// Writes that WAIT said to be on replicas.
    confirmed: u64,
    /// Files that WAITAOF said to have a write.
    promised: u64,
    /// Those that were looked for behind a crash.
    found: u64,
}

impl Seen {
    fn counts(&mut self) -> [&mut u64; 9] {
        let Seen {
            turns,
            crashes,
            role_changes,
            full_syncs,
            partial_syncs,
            compared,
            confirmed,
            promised,
            found,
        } = self;
        [
            turns,
            crashes,
            role_changes,
            full_syncs,
            partial_syncs,
            compared,
            confirmed,
            promised,
            found,
        ]
    }
    fn add(&mut self, mut other: Seen) {
        for (sum, count) in self.counts().into_iter().zip(other.counts()) {
            *sum += *count;
        }
    }
}

/// All servers of a seed, and what is known of them.
struct Tree {
    rng: Rng,
    handle: SimulatorHandle,
    members: Vec<Member>,
    histories: Histories,
    faults: Faults,
    may: Vocabulary,
    /// Databases are emptied and exchanged, keys evicted: then keys that are written once do not stay.
    is_wild: bool,
    /// Faults are likelier by this.
    intensity: u64,
    asked: u64,
    /// Each turn is shown, with what the servers log (`SIMULATION_LOG`).
    is_shown: bool,
    seen: Seen,
}

impl Tree {
    fn new(seed: u64) -> Tree {
        if std::env::var_os("SIMULATION_LOG").is_some() {
            log::init(LogOptions {
                file: None,
                level: LogLevel::Verbose,
            });
        }
        let mut rng = Rng::new(seed);
        let (first, handle) = Simulator::new(rng.next_u64(), Faults::NONE);
        let count = 2 + rng.index(3);
        let mut machines = vec![(first, handle.clone())];
        machines.extend((1..count).map(|_| handle.another(rng.next_u64())));
        let mut simulators = Vec::new();
        let mut members = Vec::new();
        for (simulator, handle) in machines {
            simulators.push(simulator);
            members.push(Member::new(&mut rng, handle));
        }
        let mut faults = Faults::any(&mut rng);
        faults.link_reset = [0, 1, 5][rng.index(3)];
        faults.longest_latency_ms = [0, 5, 100, 1000][rng.index(4)];
        faults.accept_error /= 4;
        if rng.below(3) == 0 {
            faults.clock_jump = 1 + rng.below(5) as u32;
            faults.longest_jump_ms = 5000;
        }
        let is_wild = rng.below(3) == 0;
        let may = Vocabulary {
            whole_database: true,
            field_expiry: true,
            blocking: rng.below(2) == 0,
            pauses: rng.below(4) == 0,
            others: rng.below(3) == 0,
            removed_messages: false,
            undeclared_keys: rng.below(3) == 0,
            strings: [100, 20, 40][rng.index(3)],
        };
        let mut tree = Tree {
            handle,
            members,
            histories: Histories::default(),
            faults,
            may,
            is_wild,
            intensity: [0, 1, 1, 3][rng.index(4)],
            asked: 0,
            is_shown: std::env::var_os("SIMULATION_LOG").is_some(),
            seen: Seen::default(),
            rng,
        };
        for (index, simulator) in simulators.into_iter().enumerate() {
            let primary = match index {
                0 => None,
                _ => Some(tree.rng.index(index)),
            };
            tree.members[index].follows = primary;
            tree.start(index, simulator);
        }
        tree
    }

    fn start(&mut self, index: usize, simulator: Simulator) {
        let primary = self.members[index].follows;
        let primary = primary.map(|primary| self.members[primary].handle.clone());
        self.members[index].start(simulator, primary.as_ref());
    }

    /// Monotonic time, which is the same for all.
    fn now_ns(&mut self) -> u64 {
        let servers = self.members.iter_mut().filter_map(|it| it.server.as_mut());
        servers.map(|it| it.state().now.mono_ns).max().unwrap_or(0)
    }

    fn chance(&mut self, in_10_000: u64) -> bool {
        self.rng.below(10_000) < in_10_000
    }

    /// A turn of one of them, and what is done around it.
    fn step(&mut self, most_ms: u64) {
        let index = self.rng.index(self.members.len());
        if self.members[index].server.is_none() {
            let member = &mut self.members[index];
            member.down = member.down.saturating_sub(1);
            if member.down == 0 {
                let simulator = member.handle.restart();
                self.start(index, simulator);
            }
            return;
        }
        let most = Duration::from_millis(self.rng.below(most_ms + 1));
        self.seen.turns += 1;
        if self.is_shown {
            let ms = self.now_ns() / 1_000_000;
            println!(
                "-- turn {} of server {index} behind {ms} ms",
                self.seen.turns
            );
        }
        let goes_on = self.members[index].turn(most);
        self.members[index].forget_answers();
        self.histories.look(&mut self.members, index, self.is_wild);
        if !goes_on {
            self.kill(index, false);
        }
    }

    fn kill(&mut self, index: usize, with_machine: bool) {
        self.seen.crashes += 1;
        self.members[index].die(with_machine);
        self.members[index].down = self.rng.below(100);
    }

    /// Whether one server is another, or follows it over others.
    fn is_below(&self, mut index: usize, above: usize) -> bool {
        for _ in 0..self.members.len() {
            if index == above {
                return true;
            }
            match self.members[index].follows {
                Some(next) => index = next,
                None => return false,
            }
        }
        false
    }

    /// Tells a server whom to follow; who is above it and is to be below it leads first.
    fn follow(&mut self, index: usize, primary: Option<usize>) {
        self.seen.role_changes += 1;
        if let Some(primary) = primary
            && self.is_below(primary, index)
        {
            self.follow(primary, None);
        }
        self.members[index].follows = primary;
        self.tell_to_follow(index);
    }

    fn tell_to_follow(&mut self, index: usize) {
        let primary = self.members[index].follows;
        let primary = primary.map(|primary| self.members[primary].handle.clone());
        let member = &mut self.members[index];
        if member.server.is_some() {
            member.tell_to_follow(primary.as_ref());
        }
    }

    /// What goes wrong, is ordered, or comes, in front of a turn.
    fn stir(&mut self) {
        let (count, often) = (self.members.len(), self.intensity);
        let index = self.rng.index(count);
        let other = (index + 1 + self.rng.index(count - 1)) % count;
        let target = self.members[other].handle.clone();
        if self.chance(20 * often) {
            self.members[index].handle.cut_to(&target);
        }
        if self.chance(60 * often) {
            self.handle.heal();
        }
        if self.chance(6 * often) {
            self.members[index].handle.partition();
        }
        if self.chance(40 * often) {
            self.members[index].handle.reset_links();
        }
        if self.chance(20 * often) && self.members[index].server.is_some() {
            let with_machine = self.rng.below(2) == 0;
            self.kill(index, with_machine);
        }
        if self.chance(20 * often) {
            let primary = (self.rng.below(3) > 0).then_some(other);
            self.follow(index, primary);
        }
        if self.chance(15 * often) {
            self.handle
                .advance(Duration::from_millis(self.rng.below(6000)));
        }
        if self.members[index].server.is_some() && self.chance(150) {
            self.order(index);
        }
        self.talk(index);
    }

    /// An order to a server that is not about its role.
    fn order(&mut self, index: usize) {
        let has_file = self.members[index].has_file();
        let line = match self.rng.below(16) {
            0 => "CLIENT KILL TYPE replica",
            1 => "CLIENT KILL TYPE master",
            2 => "CLIENT KILL TYPE normal SKIPME yes",
            3 | 4 => "BGSAVE SCHEDULE",
            5 => "SAVE",
            6 | 7 if has_file => "BGREWRITEAOF",
            8 => "CONFIG SET repl-backlog-size 3000",
            9 => "CONFIG SET repl-diskless-sync yes repl-diskless-load swapdb",
            10 => "CONFIG SET repl-diskless-sync no repl-diskless-load disabled",
            11 if self.intensity > 0 => "SHUTDOWN SAVE",
            12 if self.intensity > 0 => "SHUTDOWN NOSAVE",
            // All that may go goes: memory is a figure of the process, and the same seed shall do the same again.
            13 if self.is_wild => "CONFIG SET maxmemory-policy allkeys-random maxmemory 1",
            14 if self.is_wild => "CONFIG SET maxmemory-policy volatile-ttl maxmemory 1",
            _ => "CONFIG SET maxmemory 0",
        };
        self.members[index].tell(line);
    }

    fn talk(&mut self, index: usize) {
        let (may, is_wild) = (self.may, self.is_wild);
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            let (handle, rng) = (&member.handle, &mut self.rng);
            member
                .writers
                .retain_mut(|it| it.act(rng, handle, may, is_wild));
        }
        let member = &mut self.members[index];
        if member.server.is_none() {
            return;
        }
        let is_primary = member.follows.is_none();
        let most = if is_primary { 3 } else { 1 };
        if member.writers.len() < most && self.rng.below(20) == 0 {
            let writer = Writer::new(&mut self.rng, &member.handle);
            member.writers.push(writer);
        }
        if is_primary && member.asker.is_none() && self.rng.below(5) == 0 {
            self.asked += 1;
            member.asker = Some(Asker::new(&mut self.rng, &member.handle, self.asked));
        }
    }

    /// Nothing goes wrong any more and nobody writes.
    fn calm(&mut self) {
        self.handle.set_faults(Faults::NONE);
        self.handle.heal();
        for index in 0..self.members.len() {
            self.members[index].fall_silent();
            self.members[index].down = 0;
            if self.members[index].server.is_some() {
                self.members[index].tell("CONFIG SET maxmemory 0");
                self.members[index].tell("CLIENT UNPAUSE");
            }
        }
    }

    fn converge(&mut self) {
        let begun_ns = self.now_ns();
        let mut turns = 0;
        while !self.has_converged() {
            if turns % 2000 == 0 {
                // An order may have been refused by a server that was loading, or lost.
                for index in 0..self.members.len() {
                    self.tell_to_follow(index);
                }
            }
            self.step(50);
            turns += 1;
            let passed_s = self.now_ns().saturating_sub(begun_ns) / 1_000_000_000;
            if turns > CONVERGED_TURNS || passed_s > CONVERGED_S {
                for index in 0..self.members.len() {
                    eprintln!("{}", self.shown(index));
                }
                panic!("the replicas are not where their primaries are, after {passed_s} s");
            }
        }
        for index in 0..self.members.len() {
            let Some(primary) = self.members[index].follows else {
                continue;
            };
            let [own, theirs] = [index, primary].map(|index| {
                let server = self.members[index].server.as_mut().expect("it lives");
                print_of(server.state())
            });
            assert!(
                own == theirs,
                "server {index} and its primary {primary} differ:\n{}",
                differences(&own, &theirs)
            );
        }
    }

    fn has_converged(&mut self) -> bool {
        let mut places = Vec::new();
        for member in &mut self.members {
            let Some(server) = &mut member.server else {
                return false;
            };
            let state = server.state();
            if !member.has_loaded || state.persistence.loading.is_some() {
                return false;
            }
            let link = state.replication.link.as_deref();
            let is_in_place = match member.follows {
                None => link.is_none(),
                Some(_) => link.is_some_and(|it| it.is_up()) && is_whole(state),
            };
            if !is_in_place || state.scripting.is_busy() {
                return false;
            }
            let host = state.replication.link.as_ref().map(|it| it.host.clone());
            places.push((state.replication.id.clone(), state.journal.offset(), host));
        }
        (0..self.members.len()).all(|index| match self.members[index].follows {
            None => true,
            Some(primary) => {
                let (own, theirs) = (&places[index], &places[primary]);
                let host = self.members[primary].handle.address().to_string();
                own.0 == theirs.0 && own.1 == theirs.1 && own.2.as_ref() == Some(&host)
            }
        })
    }

    /// A server in a line.
    fn shown(&mut self, index: usize) -> String {
        let member = &mut self.members[index];
        let (follows, has_loaded) = (member.follows, member.has_loaded);
        let Some(server) = &mut member.server else {
            return format!("server {index}: down for {}", member.down);
        };
        let state = server.state();
        let replication = &state.replication;
        let link = replication.link.as_ref();
        let link = link.map(|it| {
            let retry = it.retry_ns.saturating_sub(state.now.mono_ns) / 1_000_000;
            format!(
                "{} {} broke: {:?}, retry in {retry} ms",
                it.host,
                it.state_name(),
                it.broke
            )
        });
        let replicas = replication.replicas.values();
        let replicas: Vec<String> = replicas
            .map(|it| {
                format!(
                    "{:?} at {} acked {} snapshot {}",
                    it.phase,
                    it.cursor,
                    it.acked,
                    it.snapshot.len()
                )
            })
            .collect();
        format!(
            "server {index}: follows {follows:?}, loaded {has_loaded}, loading {}, {} / {} up to {}, offset {}, link {link:?}, \
             replicas {replicas:?}, saves {}, transfer {:?}, {:?}",
            state.persistence.loading.is_some(),
            replication.id,
            replication.second_id,
            replication.second_offset,
            state.journal.offset(),
            state.persistence.is_saving(),
            replication.transfer,
            member.directives.join(" "),
        )
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for index in 0..self.members.len() {
                eprintln!("{}", self.shown(index));
            }
        }
    }
}

/// Runs a seed; what it has shown, and the sum of its trace.
fn run(seed: u64) -> (Seen, (u64, u64)) {
    let mut tree = Tree::new(seed);
    let turns = 200 + tree.rng.below(1500);
    let quiet = tree.rng.below(300);
    let most_ms = [1, 10, 40][tree.rng.index(3)];
    for turn in 0..turns {
        if turn == quiet {
            let faults = tree.faults;
            tree.handle.set_faults(faults);
        }
        tree.stir();
        tree.step(most_ms);
    }
    tree.calm();
    tree.converge();
    let mut seen = tree.seen;
    let histories = &tree.histories;
    seen.full_syncs = histories.full_syncs;
    seen.partial_syncs = histories.partial_syncs;
    seen.compared = histories.compared;
    seen.confirmed = histories.confirmed;
    seen.promised = histories.promised;
    seen.found = histories.found;
    (seen, tree.handle.trace_sum())
}

#[test]
fn replicas_hold_what_their_primaries_hold_whatever_happens_to_them() {
    let mut seen = Seen::default();
    let ran = crate::many(SEEDS, "replicas_hold", |seed| {
        let (also, trace) = run(seed);
        if seed % 16 == 0 {
            assert_eq!(run(seed).1, trace, "the same seed gave another trace");
        }
        seen.add(also);
        also.turns
    });
    println!("{seen:?}");
    assert!(
        ran < SEEDS || seen.counts().iter().all(|count| **count > 0),
        "{seen:?}"
    );
}
