//! How long clients really waited, and whom for.
//!
//! In: one [`Completion`] when the replies of a client's commands have been written. Out: four histograms (LOOP STATS,
//! LOOP HISTOGRAM, metrics) and a small ring of the slow ones (LOOP WAITED). The execution time of a command, which
//! the slow log and LATENCY HISTOGRAM show, is the smallest part of what a client of a busy server waits for:
//!
//! ```text
//!   poll tells of the bytes ──▶ first command begins ──▶ last command ends ──▶ replies written
//!                     waiting for its turn      executing       waiting for the socket
//!                     └────────────────────────── total ──────────────────────────┘
//! ```
//!
//! Invariants: the three parts add up to the total; a part's histogram has as many entries as the total's.

use crate::clients::{Client, Clients};
use crate::event_loop::Work;
use crate::system::histogram::Histogram;
use std::collections::VecDeque;

/// Slow ones that are kept.
const KEPT: usize = 128;
/// Longest client name that is kept, bytes.
const NAME_LEN: usize = 64;

/// The parts of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum WaitPart {
    /// From the bytes being ready to the first command's beginning: others were served, and its own bytes read.
    Turn,
    /// Running its commands, those of the same client that came together included.
    Executing,
    /// From the last command's end to the last byte taken by the socket: the turn's other work, and a slow reader.
    Socket,
    /// All of it.
    Total,
}

impl WaitPart {
    /// All of them.
    pub const ALL: [WaitPart; 4] = [
        WaitPart::Turn,
        WaitPart::Executing,
        WaitPart::Socket,
        WaitPart::Total,
    ];

    /// Its name, as commands spell it.
    pub fn name(self) -> &'static str {
        match self {
            WaitPart::Turn => "wait-turn",
            WaitPart::Executing => "wait-executing",
            WaitPart::Socket => "wait-socket",
            WaitPart::Total => "wait-total",
        }
    }

    /// The part of a name, in any case of letters.
    pub fn by_name(name: &[u8]) -> Option<WaitPart> {
        let mut all = WaitPart::ALL.into_iter();
        all.find(|part| name.eq_ignore_ascii_case(part.name().as_bytes()))
    }
}

/// The commands of one client that ran together have been answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Commands.
    pub commands: u32,
    /// The turn in which they ran.
    pub turn: u64,
    /// Parts, ns: waiting for the turn, executing, waiting for the socket.
    pub parts_ns: [u64; 3],
    /// So long, at most, may the bytes have lain in the socket unseen, ns: the turn before was still under way.
    pub unseen_ns: u64,
    /// Its own longest command.
    pub longest: Work,
    /// The longest command of another client in the same turn.
    pub blocked_by: Option<Work>,
    /// The longest command of another client in the turn before, when bytes may have lain unseen.
    pub blocked_by_before: Option<Work>,
}

impl Completion {
    /// The whole wait, ns.
    pub fn total_ns(&self) -> u64 {
        self.parts_ns.iter().sum()
    }

    /// Whom it waited blocked_by: of the commands of others, the one that took longest, and whether that ran in the turn
    /// before.
    pub fn culprit(&self) -> Option<(Work, bool)> {
        let both = [
            self.blocked_by.map(|work| (work, false)),
            self.blocked_by_before.map(|work| (work, true)),
        ];
        both.into_iter().flatten().max_by_key(|(work, _)| work.ns)
    }
}

/// Whom a client waited behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The longest command of another.
    pub work: Work,
    /// It ran in the turn before.
    pub turn_before: bool,
    /// Address of its client; empty when that has gone.
    pub address: String,
    /// Name of its client.
    pub name: Vec<u8>,
}

/// A wait that was long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongWait {
    /// From 0, never repeats.
    pub id: u64,
    /// Unix ms when the replies were written.
    pub unix_ms: i64,
    /// Its client's id.
    pub client: u64,
    /// Address of the client.
    pub address: String,
    /// Name of the client.
    pub name: Vec<u8>,
    /// How it went.
    pub completion: Completion,
    /// Whom it waited behind.
    pub blocked_by: Option<Blocker>,
}

/// How long clients waited.
#[derive(Default)]
pub struct Waits {
    parts: Option<Box<[Histogram; 4]>>,
    long: VecDeque<LongWait>,
    next_id: u64,
    /// Commands that ran while the replies of earlier ones were still waiting for the socket: not measured.
    pub unmeasured: u64,
    /// Completions recorded.
    pub completions: u64,
    /// Completions whose recording was timed, and the time for them, ns.
    pub timed: (u64, u64),
}

impl Waits {
    /// Records a completion. O(1).
    #[inline]
    pub fn record(&mut self, completion: &Completion) {
        let parts = self.parts.get_or_insert_default();
        for (histogram, ns) in parts.iter_mut().zip(completion.parts_ns) {
            histogram.record_many(ns, completion.commands);
        }
        parts[WaitPart::Total as usize].record_many(completion.total_ns(), completion.commands);
        self.completions += 1;
    }

    /// Keeps a long one, with the next number; the oldest goes.
    pub fn keep(&mut self, mut wait: LongWait) {
        wait.name.truncate(NAME_LEN);
        wait.id = self.next_id;
        self.next_id += 1;
        self.long.truncate(KEPT - 1);
        self.long.push_front(wait);
    }

    /// What recording one completion takes, ns, by those that were timed.
    pub fn ns_per_completion(&self) -> Option<u64> {
        self.timed.1.checked_div(self.timed.0)
    }

    /// Estimate of what recording all of them took, ns.
    pub fn cost_ns(&self) -> u64 {
        self.completions * self.ns_per_completion().unwrap_or(0)
    }

    /// The long ones, the newest first.
    pub fn long(&self) -> impl ExactSizeIterator<Item = &LongWait> {
        self.long.iter()
    }

    /// How a part is distributed over commands. None while nothing was recorded.
    pub fn histogram(&self, part: WaitPart) -> Option<&Histogram> {
        self.parts.as_ref().map(|parts| &parts[part as usize])
    }

    /// Forgets everything; numbers of long waits go on.
    pub fn reset(&mut self) {
        *self = Waits {
            next_id: self.next_id,
            ..Waits::default()
        };
    }
}

/// Who ran the longest of the commands that a client waited behind; the address is empty when its client has gone.
pub fn blocker_of(clients: &Clients, completion: &Completion) -> Option<Blocker> {
    let (work, turn_before) = completion.culprit()?;
    let client: Option<&Client> = clients.by_id(work.who).and_then(|key| clients.get(key));
    Some(Blocker {
        work,
        turn_before,
        address: client.map_or_else(String::new, |client| {
            client.connection().address().to_string()
        }),
        name: client.map_or_else(Vec::new, |client| client.session.name.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_commands_that_came_together_count_each() {
        let mut waits = Waits::default();
        assert!(waits.histogram(WaitPart::Total).is_none());
        let completion = Completion {
            commands: 16,
            parts_ns: [1000, 20_000, 3000],
            ..Completion::default()
        };
        assert_eq!(completion.total_ns(), 24_000);
        waits.record(&completion);
        for part in WaitPart::ALL {
            assert_eq!(waits.histogram(part).map(Histogram::total), Some(16));
            assert_eq!(WaitPart::by_name(part.name().as_bytes()), Some(part));
        }
        let total = waits.histogram(WaitPart::Total).expect("recorded");
        assert!((24_000..25_000).contains(&total.percentile(50.0)));
        assert_eq!((waits.completions, waits.long().len()), (1, 0));
    }

    #[test]
    fn the_culprit_is_the_longest_command_of_another() {
        let work = |who, ns| Some(Work { who, what: 1, ns });
        let mut completion = Completion::default();
        assert_eq!(completion.culprit(), None);
        completion.blocked_by = work(7, 500);
        assert_eq!(completion.culprit(), work(7, 500).map(|work| (work, false)));
        completion.blocked_by_before = work(8, 900);
        assert_eq!(completion.culprit(), work(8, 900).map(|work| (work, true)));
    }

    #[test]
    fn only_the_newest_long_waits_are_kept() {
        let mut waits = Waits::default();
        let wait = |client| LongWait {
            id: 0,
            unix_ms: 5,
            client,
            address: String::new(),
            name: vec![b'n'; 100],
            completion: Completion::default(),
            blocked_by: None,
        };
        (0..300).for_each(|client| waits.keep(wait(client)));
        assert_eq!(waits.long().len(), KEPT);
        let newest = waits.long().next().expect("one");
        assert_eq!(
            (newest.id, newest.client, newest.name.len()),
            (299, 299, NAME_LEN)
        );
        waits.reset();
        waits.keep(wait(1));
        assert_eq!(waits.long().next().map(|wait| wait.id), Some(300));
    }
}
