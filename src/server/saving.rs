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

/// A turn that has been awake for less had next to nothing else to do, ns.
const IDLE_NS: u64 = 50_000;
/// Least and most time for a save in one turn, ns.
const SAVE_LEAST_NS: u64 = 30_000;
const SAVE_MOST_NS: u64 = 1_000_000;
impl Core {
    /// Goes on with a save that the loop does itself: for its share of the time while there is other work, else for as long as a
    /// turn may take.
    pub(super) fn save_some(&mut self, events: &mut EventLoop) {
        let began_ns = events.seam().monotonic_ns();
        let share = self.state.config.settings().forkless_loop_share;
        let others_ns = began_ns.saturating_sub(events.this_turn().woke_ns);
        let is_busy = others_ns > IDLE_NS;
        let budget_ns = match is_busy && share < 100 {
            true => (others_ns * share / (100 - share)).clamp(SAVE_LEAST_NS, SAVE_MOST_NS),
            false => SAVE_MOST_NS,
        };
        let mut slice = Slice::None;
        if let Some(progress) = forkless::progress(&self.state) {
            let progress = progress.map(|figure| events.seam().observed(figure));
            slice = forkless::go_on(&mut self.state, progress, &mut || {
                let now_ns = events.seam().monotonic_ns();
                now_ns.saturating_sub(began_ns) >= budget_ns
            });
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
