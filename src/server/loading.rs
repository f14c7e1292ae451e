//! The data as the disk has them: loading in slices of a turn, and the child that writes them.
//!
//! In: the files that are there when the server starts or DEBUG LOADAOF asks for them; the pipe of the child that saves.
//! Out: a keyspace, the append-only file opened behind what was loaded; a save that is done or has failed.
//!
//! Invariants:
//! * Loading takes a bounded time of each turn, in which clients are answered -LOADING.
//! * A file that is wrong ends the server and stays as it is.
//!
//! Mirrors `loadDataFromDisk` of Redis's server.c, which holds the loop and serves clients from within the loading.

use super::End;
use super::endpoints::TimerOwner;
use super::service::Core;
use crate::engine;
use crate::engine::Host;
use crate::engine::persistence::forkless::{self, Slice};
use crate::event_loop::{EventLoop, Phase, Progress, Received, Token};
use crate::persistence::loading::LoadFailure;
use crate::system::signals;
use std::cell::RefCell;
use std::io;

/// Time for loading in one turn, ns.
const LOAD_NS: u64 = 10_000_000;
/// A turn that has been awake for less had next to nothing else to do, ns.
const IDLE_NS: u64 = 50_000;
/// Least and most time for a save in one turn, ns.
const SAVE_LEAST_NS: u64 = 30_000;
const SAVE_MOST_NS: u64 = 1_000_000;
/// Keys or commands that are loaded between two readings of the clock, which costs more than most of them.
const LOAD_ITEMS: u32 = 64;

impl Core {
    /// Begins to load the data, if there is any; else opens the append-only file.
    pub(super) fn begin_loading(&mut self, events: &mut EventLoop) -> Result<(), LoadFailure> {
        engine::persistence::loading::begin(&mut self.state)?;
        match self.state.persistence.loading {
            Some(_) => signals::set_loading(true),
            None => self.open_append_only(events)?,
        }
        Ok(())
    }

    /// Opens the append-only file for what follows; when all has been loaded, for its end is where new effects go.
    fn open_append_only(&mut self, events: &mut EventLoop) -> Result<(), LoadFailure> {
        let (state, mut host) = self.state_and_host(events);
        engine::persistence::aof::open_at_start(state, &mut host)
    }

    /// Loads on for a while; the loop stays awake until all is loaded. A file that is wrong ends the server, with the
    /// file untouched.
    pub(super) fn load_some(&mut self, events: &mut EventLoop) {
        if self.state.scripting.is_busy() {
            // It came from the append-only file, and what follows it there waits for its end.
            return;
        }
        // Out of the state for the step, which changes the rest of it.
        let Some(mut loading) = self.state.persistence.loading.take() else {
            return;
        };
        let (state, mut host) = self.state_and_host(events);
        let until_ns = host.monotonic_ns().saturating_add(LOAD_NS);
        let mut items = 0_u32;
        let mut enough = |host: &mut dyn Host| {
            items += 1;
            items.is_multiple_of(LOAD_ITEMS) && host.monotonic_ns() >= until_ns
        };
        // What it loads shall still find that something is loaded.
        state.persistence.load_steps = true;
        let stepped =
            engine::persistence::loading::step(state, &mut host, &mut loading, &mut enough);
        state.persistence.load_steps = false;
        if let Ok(false) = stepped {
            state.persistence.loading = Some(loading);
            events.stay_awake();
            return;
        }
        if loading.asked.is_some() {
            let took_ns = host.monotonic_ns().saturating_sub(loading.started_ns);
            if let Some(asked) = engine::persistence::loading::end_again(state, &mut loading) {
                let failure = stepped.as_ref().err();
                engine::persistence::loading::aof_loaded(state, asked, took_ns, failure);
            }
            // It may have been switched meanwhile, which waited for this. Whoever asked has long been answered: what
            // fails here is tried again by the cron.
            if let Err(reason) = engine::persistence::aof::follow_setting(state, &mut host) {
                log::warn!("{reason}");
            }
            return;
        }
        let failure = match stepped {
            Ok(_) => {
                signals::set_loading(false);
                let ns = events.turn_ns().saturating_sub(loading.started_ns);
                log::info!(
                    "DB loaded from disk: {:.3} seconds",
                    ns as f64 / 1_000_000_000.0
                );
                self.state.keyspace.dirty = 0;
                match self.open_append_only(events) {
                    // Only now is it said that the server is ready: a file that cannot be written would make that
                    // untrue.
                    Ok(()) => {
                        self.ready(events);
                        return;
                    }
                    Err(failure) => failure,
                }
            }
            Err(failure) => failure,
        };
        let settings = self.state.config.settings();
        let disk = &self.state.persistence.disk;
        engine::persistence::loading::tell_fatal(disk, settings, &failure);
        self.ended = Some(End::Failed);
    }

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
        let state = &mut self.state;
        // The loop's clock and figures, as two who ask in turn.
        let events = RefCell::new(events);
        let slice = forkless::go_on(
            state,
            &mut || {
                let now_ns = events.borrow_mut().seam().monotonic_ns();
                now_ns.saturating_sub(began_ns) >= budget_ns
            },
            &mut |figure| events.borrow_mut().seam().observed(figure),
        );
        let events = events.into_inner();
        let rests_until_ns = match slice {
            Slice::Rests(until_ns) => Some(until_ns),
            _ => None,
        };
        self.timers
            .follow(events, TimerOwner::Save, rests_until_ns, |at_ns| at_ns);
        if slice == Slice::More || slice == Slice::Waits && !events.seam().tells_of_jobs() {
            events.stay_awake();
        }
        // Who was held back asks anew: what it waited for may have passed.
        if self.state.pause.is_none() && forkless::may_admit_held(&mut self.state) {
            self.state.persistence.held_for_save = 0;
            self.resume_paused(events);
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
