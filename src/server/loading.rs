//! The data as the disk has them: loading in slices of a turn.
//!
//! In: the files that are there when the server starts or DEBUG LOADAOF asks for them. Out: a
//! keyspace, and the append-only file opened behind what was loaded.
//!
//! Invariants:
//! * Loading takes a bounded time of each turn, in which clients are answered -LOADING.
//! * A file that is wrong ends the server and stays as it is; but not one that comes from a primary.
//!
//! Mirrors `loadDataFromDisk` of Redis's server.c, which holds the loop and serves clients from within the loading.

use super::End;
use super::service::Core;
use crate::engine;
use crate::engine::Host;
use crate::engine::persistence::loading::Progress;
use crate::engine::persistence::receive;
use crate::event_loop::{EventLoop, Phase};
use crate::persistence::loading::LoadFailure;
use crate::system::signals;

/// Time for loading in one turn, ns.
const LOAD_NS: u64 = 10_000_000;
/// The same for what comes over a link, ns.
const RECEIVED_NS: u64 = 3_000_000;
/// The same for data that are loaded beside those that serve, ns.
const ASIDE_NS: u64 = 1_000_000;
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

    /// Goes on with taking in the snapshot of a primary.
    pub(super) fn receive_some(&mut self, events: &mut EventLoop) {
        let Some(progress) = receive::progress(&self.state) else {
            return;
        };
        let progress = progress.map(|figure| events.seam().observed(figure));
        let (state, mut host) = self.state_and_host(events);
        let until_ns = host.monotonic_ns().saturating_add(ASIDE_NS);
        let mut items = 0_u32;
        let mut enough = |host: &mut dyn Host| {
            items += 1;
            items.is_multiple_of(LOAD_ITEMS) && host.monotonic_ns() >= until_ns
        };
        let progress = receive::go_on(state, &mut host, progress, &mut enough);
        let nobody_wakes = state.persistence.waker.is_none() && receive::waits_for_helper(state);
        if progress == Progress::More || nobody_wakes {
            events.stay_awake();
        }
        events.mark(Phase::Load);
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
        // The clients of a replica go on asking it: they are told that it loads, without waiting for long.
        let slice_ns = match loading.received {
            true => RECEIVED_NS,
            false => LOAD_NS,
        };
        let until_ns = host.monotonic_ns().saturating_add(slice_ns);
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
        if let Ok(progress @ (Progress::More | Progress::Waits)) = stepped {
            state.persistence.loading = Some(loading);
            if progress == Progress::More {
                events.stay_awake();
            }
            return;
        }
        if loading.received {
            let result = stepped.map(|_| ());
            receive::loaded(state, &mut host, &loading, result);
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
                crate::engine::replication::role::restored(&mut self.state);
                crate::engine::cluster::check_data(&mut self.state);
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
        engine::persistence::loading::log_fatal(disk, settings, &failure);
        self.ended = Some(End::Failed);
    }
}
