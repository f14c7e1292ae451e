//! What is saved in the background, seen from the loop: slices of a save that it does itself, and the pipe of a child.
//!
//! In: time of a turn, or what a child says. Out: a save that is done or has failed.
//!
//! Invariant: a slice takes a bounded time of a turn, at its end, when nobody waits for the turn any more.
//!
//! Mirrors `receiveChildInfo` and `checkChildrenDone` of Redis.

use super::endpoints::TimerOwner;
use super::service::Core;
use crate::clients::HeldBy;
use crate::engine;
use crate::engine::Host;
use crate::engine::persistence::forkless::{self, Slice};
use crate::event_loop::{EventLoop, Phase, Progress, Received, Token};
use std::io;

/// A turn that was awake for longer had other work, ns.
const BUSY_NS: u64 = 50_000;
/// The loop is idle when it has had no other work for so long, ns.
const IDLE_AFTER_NS: u64 = 1_000_000;
/// Less time than this is saved up for a later turn, ns: what is read in it would not be worth the look at the clock.
const SAVE_LEAST_NS: i64 = 30_000;
/// Most time for a save in one turn, ns.
const SAVE_MOST_NS: i64 = 1_000_000;
/// Time for it in a turn that has found nothing else to do, where it has none in its account, ns: so long may be kept whoever
/// comes just then.
const QUIET_NS: u64 = 50_000;
/// When there has been nothing else to do for so long, ns. Clients that are answered all at once are all silent for a moment.
const QUIET_AFTER_NS: u64 = 50_000;

/// What it takes to read for a save because of a change, about, ns for a byte: that is work for the save, too, and paid for.
const EARLY_NS_PER_BYTE: i64 = 3;
/// The most that may be owed, ns.
const OWED_MOST_NS: i64 = 1_000_000_000;

/// The account of the time that a save may have. It gains its share of all time that passes, and pays what it took: so the
/// share holds over many turns, however short they are and whatever a single entry takes. What nobody else wanted is free.
///
/// Invariant: never more than [`SAVE_MOST_NS`], so that no turn is longer for what was not needed before.
#[derive(Debug)]
pub(super) struct SaveShare {
    credit_ns: i64,
    /// Until when it has gained, monotonic ns; none: there was no save.
    at_ns: Option<u64>,
    /// When there was other work last.
    busy_at_ns: u64,
    /// Commands that had run by then.
    commands: u64,
    /// Bytes that were read because of changes, and are paid for.
    early_bytes: u64,
    /// Time of this turn that need not be paid for, ns.
    free_ns: u64,
}

impl Default for SaveShare {
    fn default() -> SaveShare {
        SaveShare {
            credit_ns: SAVE_MOST_NS,
            at_ns: None,
            busy_at_ns: 0,
            commands: 0,
            early_bytes: 0,
            free_ns: 0,
        }
    }
}

impl SaveShare {
    /// Time for the save in this turn, ns, which has been awake for `awake_ns`; 0: none this time. `commands` have run so far;
    /// the share is in percent.
    fn budget_ns(&mut self, now_ns: u64, awake_ns: u64, commands: u64, share: u64) -> u64 {
        let since_ns = now_ns.saturating_sub(self.at_ns.replace(now_ns).unwrap_or(now_ns));
        if commands != self.commands || awake_ns > BUSY_NS {
            (self.commands, self.busy_at_ns) = (commands, now_ns);
        }
        let quiet_ns = now_ns.saturating_sub(self.busy_at_ns);
        self.free_ns = if quiet_ns < QUIET_AFTER_NS {
            0
        } else {
            QUIET_NS
        };
        if share >= 100 || quiet_ns >= IDLE_AFTER_NS {
            // Nobody is held up, and nothing is owed to anyone who comes now.
            self.credit_ns = SAVE_MOST_NS;
        } else {
            let gain_ns = i64::try_from(since_ns / 100 * share).unwrap_or(i64::MAX);
            self.credit_ns = self.credit_ns.saturating_add(gain_ns).min(SAVE_MOST_NS);
        }
        match self.credit_ns {
            SAVE_LEAST_NS.. => self.credit_ns.unsigned_abs().max(self.free_ns),
            _ => self.free_ns,
        }
    }
    /// So many bytes were read because of changes so far. While writes bring the save forward, it needs no time of its own: it
    /// would only slow them down.
    fn read_early(&mut self, bytes: u64) {
        let new = bytes.saturating_sub(std::mem::replace(&mut self.early_bytes, bytes));
        let ns = i64::try_from(new)
            .unwrap_or(i64::MAX)
            .saturating_mul(EARLY_NS_PER_BYTE);
        self.credit_ns = self.credit_ns.saturating_sub(ns).max(-OWED_MOST_NS);
    }
    /// So much was taken, ns.
    fn spent(&mut self, ns: u64) {
        let ns = i64::try_from(ns.saturating_sub(self.free_ns)).unwrap_or(i64::MAX);
        self.credit_ns = self.credit_ns.saturating_sub(ns);
    }
}

impl Core {
    /// Goes on with a save that the loop does itself: for its share of the time while there is other work, else for as long as a
    /// turn may take.
    pub(super) fn save_some(&mut self, events: &mut EventLoop) {
        let began_ns = events.seam().monotonic_ns();
        let share = self.state.config.settings().forkless_loop_share;
        let awake_ns = began_ns.saturating_sub(events.this_turn().woke_ns);
        let mut slice = Slice::None;
        if let Some(progress) = forkless::progress(&self.state) {
            let progress = progress.map(|figure| events.seam().observed(figure));
            let commands = self.state.observe.stats.commands_processed;
            let account = &mut self.save_share;
            account.read_early(forkless::early_bytes(&self.state));
            let budget_ns = account.budget_ns(began_ns, awake_ns, commands, share);
            let mut spent_ns = 0;
            slice = forkless::go_on(&mut self.state, progress, budget_ns > 0, &mut || {
                let now_ns = events.seam().monotonic_ns();
                spent_ns = now_ns.saturating_sub(began_ns);
                spent_ns >= budget_ns
            });
            account.spent(spent_ns);
        } else {
            self.save_share = SaveShare::default();
        }
        let rests_until_ns = match slice {
            Slice::Rests(until_ns) => Some(until_ns),
            _ => None,
        };
        self.timers
            .follow(events, TimerOwner::Save, rests_until_ns, |at_ns| at_ns);
        if slice == Slice::More || slice == Slice::Waits && !events.seam().tells_of_jobs() {
            events.stay_awake();
        }
        // Who was held back for something that has passed is admitted anew.
        for id in forkless::take_released(&mut self.state) {
            let clients = &self.state.clients;
            if let Some(key) = clients.by_id_or_closing(id) {
                self.resume(events, key, HeldBy::Save);
                engine::blocking::serve_held(&mut self.state, key);
            }
        }
        events.mark(Phase::Save);
    }

    /// Reads what the child that saves has to say; at the end of its pipe it is done.
    pub(super) fn hear_child(&mut self, events: &mut EventLoop, token: Token) -> Progress {
        let Some(child) = &mut self.state.persistence.child else {
            return Progress::Drained;
        };
        let mut buffer = [0; 1024];
        match events.read(token, &mut buffer) {
            Ok(Received { len: 0, .. }) => {}
            Ok(Received { len, more }) => {
                child.heard(&buffer[..len], events.turn_ns());
                return if more {
                    Progress::MoreLeft
                } else {
                    Progress::Drained
                };
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Drained,
            Err(error) => log::warn!("Reading from the child that saves: {error}"),
        }
        // Its end of the pipe is closed by its exit, so this does not wait.
        let (state, mut host) = self.state_and_host(events);
        if let Some(child) = &state.persistence.child {
            let exit = host.wait_for_child(&child.child);
            host.close_source(token);
            engine::persistence::child_ended(state, exit);
        }
        Progress::Drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::rng::Rng;

    /// Percent of the time that a save takes, in turns that others take so long for, ns, and sleep in; an entry takes `step_ns`.
    fn taken_percent(share: u64, others_ns: u64, sleep_ns: u64, step_ns: u64) -> f64 {
        let mut account = SaveShare::default();
        let mut rng = Rng::new(1);
        let (mut now_ns, mut saved_ns, mut commands) = (7_u64, 0_u64, 0);
        let (began_ns, mut longest_ns) = (now_ns, 0);
        for _ in 0..200_000 {
            now_ns += rng.below(2 * sleep_ns + 1);
            let awake_ns = rng.below(2 * others_ns + 1);
            now_ns += awake_ns;
            commands += 1;
            let budget_ns = account.budget_ns(now_ns, awake_ns, commands, share);
            let mut spent_ns = 0;
            while spent_ns < budget_ns {
                spent_ns += step_ns;
            }
            account.spent(spent_ns);
            longest_ns = longest_ns.max(spent_ns);
            (now_ns, saved_ns) = (now_ns + spent_ns, saved_ns + spent_ns);
        }
        assert!(longest_ns <= SAVE_MOST_NS.unsigned_abs() + step_ns);
        saved_ns as f64 * 100.0 / (now_ns - began_ns) as f64
    }

    /// With turns of 20 µs a save took half of the time and more, for each turn gave it its least; with one client that waits
    /// for each answer, nearly all.
    #[test]
    fn a_save_takes_its_share_however_long_turns_are() {
        for share in [5, 25, 50, 90] {
            for others_ns in [2_000, 20_000, 60_000, 400_000] {
                for (sleep_ns, step_ns) in [(0, 300), (0, 90_000), (30_000, 300)] {
                    let percent = taken_percent(share, others_ns, sleep_ns, step_ns);
                    let off = (percent - share as f64).abs();
                    // No turn takes more than its bound, so long turns leave a large share unused.
                    let is_bounded = others_ns * share / (100 - share) > 600_000;
                    assert!(
                        off < 1.0 || is_bounded && percent < share as f64,
                        "{percent} of {share} with {others_ns}, {sleep_ns}, {step_ns}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_nobody_else_wants_a_save_takes() {
        let mut account = SaveShare::default();
        let most_ns = SAVE_MOST_NS.unsigned_abs();
        assert_eq!(account.budget_ns(5_000_000, 0, 1, 25), most_ns);
        account.spent(most_ns);
        assert_eq!(account.budget_ns(5_010_000, 0, 2, 25), 0);
        // In the turns between two commands it takes little at a time, which costs nothing.
        let quiet_ns = 5_010_000 + QUIET_AFTER_NS;
        assert_eq!(account.budget_ns(quiet_ns - 1, 1000, 2, 25), 0);
        for turn in 0..5 {
            let now_ns = quiet_ns + turn * 1000;
            assert_eq!(account.budget_ns(now_ns, 1000, 2, 25), QUIET_NS);
            account.spent(QUIET_NS);
        }
        assert_eq!(account.budget_ns(quiet_ns + 5000, 0, 3, 25), 0);
        assert!(account.credit_ns > 0, "{}", account.credit_ns);
        // A command later it is idle again.
        for turn in 1..5 {
            let now_ns = quiet_ns + 5000 + turn * IDLE_AFTER_NS;
            assert_eq!(account.budget_ns(now_ns, 1000, 3, 25), most_ns);
            account.spent(most_ns);
        }
        // One who is set to 100 takes no heed of others.
        for turn in 0..5 {
            assert_eq!(
                account.budget_ns(20_000_000 + turn, 900_000, turn, 100),
                most_ns
            );
            account.spent(most_ns);
        }
    }

    /// What writes have had read is paid for, so that the save takes its share and not that on top of it; nobody is owed to when
    /// there is nobody else.
    #[test]
    fn what_was_read_because_of_writes_counts_for_the_share() {
        let mut account = SaveShare::default();
        let (mut now_ns, mut commands, mut saved_ns) = (1_000_000_000, 0, 0);
        account.budget_ns(now_ns, 0, 0, 25);
        let begun_ns = now_ns;
        // For 100 ms half of the time goes into early reading.
        let early_ns = 50_000_000;
        let bytes = early_ns / EARLY_NS_PER_BYTE.unsigned_abs();
        account.read_early(bytes);
        account.read_early(bytes);
        while now_ns < begun_ns + 2_000_000_000 {
            now_ns += 100_000;
            commands += 1;
            let budget_ns = account.budget_ns(now_ns, 90_000, commands, 25);
            account.spent(budget_ns);
            saved_ns += budget_ns;
        }
        let percent = (saved_ns + early_ns) as f64 * 100.0 / (now_ns - begun_ns) as f64;
        assert!((percent - 25.0).abs() < 0.2, "{percent}");
        account.read_early(u64::MAX);
        assert_eq!(account.credit_ns, -OWED_MOST_NS);
        let idle_ns = now_ns + IDLE_AFTER_NS;
        let budget_ns = account.budget_ns(idle_ns, 0, commands, 25);
        assert_eq!(budget_ns, SAVE_MOST_NS.unsigned_abs());
    }
}
