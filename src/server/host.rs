//! What commands may ask of the loop and the process.

use super::endpoints::{Endpoint, Endpoints};
use super::http;
use super::listeners::Listeners;
use crate::config::Settings;
use crate::engine::{Host, LoopFigures};
use crate::event_loop::{EventLoop, Recorder, TLS_DESCRIPTORS, Token};
use crate::system::child::{Child, Exit, Pipe};
use crate::system::oom_score::{self, OomScore};
use crate::system::{memory, process};
use std::path::Path;
use std::time::Duration;

/// Used memory at the price of a few loads: the allocator's own sum is dear, so it is taken now and then, and what
/// the loop's thread has allocated and freed since is added.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryGauge {
    in_use: u64,
    thread_net: i64,
    /// When the allocator was asked last, monotonic ns.
    asked_ns: u64,
}

/// The allocator is not asked more often than this, ns.
const ASK_NS: u64 = 1_000_000;

impl MemoryGauge {
    /// Asks the allocator.
    pub fn refresh(&mut self, now_ns: u64) {
        self.asked_ns = now_ns;
        self.in_use = memory::allocator_stats().in_use();
        self.thread_net = net_of_this_thread();
    }
    /// Bytes in use now.
    pub fn used(&self) -> u64 {
        self.in_use
            .saturating_add_signed(net_of_this_thread() - self.thread_net)
    }
}

fn net_of_this_thread() -> i64 {
    memory::ThreadMemory::of_this_thread().map_or(0, |thread| thread.net_bytes())
}

/// Descriptors that are not for clients: those of the HTTP pages, and of connections that are no clients yet or any more.
pub(super) fn other_descriptors(settings: &Settings) -> u32 {
    http::descriptors(settings) + tls_descriptors(settings)
}

/// Those of connections that have not come to the end of their handshake, or are closed and have something to send.
fn tls_descriptors(settings: &Settings) -> u32 {
    match settings.tls.port != 0 || settings.has_http_over_tls() {
        true => TLS_DESCRIPTORS,
        false => 0,
    }
}

/// The production host, made for each call: borrows of the loop and of what belongs to it.
pub(super) struct LoopHost<'a> {
    pub(super) events: &'a mut EventLoop,
    pub(super) endpoints: &'a mut Endpoints,
    pub(super) listeners: &'a mut Listeners,
    pub(super) gauge: &'a mut MemoryGauge,
    /// Output buffers for the next clients.
    pub(super) pool: &'a mut Vec<Vec<u8>>,
    pub(super) command_ns: u64,
}

impl Host for LoopHost<'_> {
    fn rebind(&mut self, settings: &Settings) -> Result<(), String> {
        // The pages and TLS need descriptors of their own, which must not be taken from those of clients.
        let others = other_descriptors(settings);
        let needs_http = http::descriptors(settings) > 0 && !self.listeners.has_http();
        let needs_tls = tls_descriptors(settings) > 0 && !self.listeners.has_tls();
        if needs_http || needs_tls {
            let possible = process::adjust_open_files(settings.maxclients, others)?;
            if possible.maxclients < settings.maxclients {
                return Err(format!(
                    "The HTTP pages and TLS need {others} file descriptors beside those of maxclients: set maxclients to {} or \
                     less",
                    possible.maxclients
                ));
            }
        }
        self.listeners.reopen(self.events, self.endpoints, settings)
    }
    fn configure_tls(&mut self, settings: &Settings) -> bool {
        // What came of it is recorded: a replay has no such files.
        let seam = self.events.seam();
        let done = seam.is_replay() || {
            let configured = seam.configure_tls(&settings.tls.options);
            configured
                .inspect_err(|reason| log::warn!("{reason}"))
                .is_ok()
        };
        seam.observed(u64::from(done)) != 0
    }
    fn adjust_max_clients(&mut self, wanted: usize, settings: &Settings) -> usize {
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        process::adjust_open_files(wanted, other_descriptors(settings))
            .map_or(0, |possible| possible.maxclients as usize)
    }
    fn used_memory(&mut self) -> u64 {
        self.events.seam().observed(self.gauge.used())
    }
    fn fresh_used_memory(&mut self) -> u64 {
        let now_ns = self.monotonic_ns();
        // A moment ago is fresh enough: eviction asks again and again.
        if now_ns.saturating_sub(self.gauge.asked_ns) >= ASK_NS {
            self.gauge.refresh(now_ns);
        }
        self.events.seam().observed(self.gauge.used())
    }
    fn release_pooled(&mut self) {
        self.pool.clear();
    }
    fn change_directory(&mut self, path: &Path) -> Result<(), String> {
        // Whether it could be is recorded: a replay answers the same, and goes nowhere.
        let seam = self.events.seam();
        let failed = match seam.is_replay() {
            true => None,
            false => std::env::set_current_dir(path).err(),
        };
        let code = failed.map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        match seam.observed(u64::from(code.unsigned_abs())) {
            0 => Ok(()),
            code => {
                let code = i32::try_from(code).unwrap_or(libc::EIO);
                let error = std::io::Error::from_raw_os_error(code);
                Err(process::os_error_text(&error))
            }
        }
    }
    fn adjust_oom_score(&mut self, how: OomScore, wish: i32) -> bool {
        // What came of it is recorded.
        let seam = self.events.seam();
        let done = seam.is_replay() || oom_score::adjust(how, wish).is_ok();
        seam.observed(u64::from(done)) != 0
    }
    fn random_u64(&mut self) -> u64 {
        self.events.seam().random_u64()
    }
    fn sleep(&mut self, duration: Duration) {
        self.events.seam().sleep(duration);
    }
    #[inline]
    fn monotonic_ns(&mut self) -> u64 {
        self.events.seam().monotonic_ns()
    }
    fn loop_figures(&self) -> LoopFigures {
        // The time for commands is the engine's: the loop knows only phases.
        let totals = self.events.totals();
        LoopFigures {
            turns: totals.turns,
            awake_us: totals.awake_ns / 1000,
            timers_us: totals.timers_ns / 1000,
            journal_us: totals.journal_ns / 1000,
            command_us: self.command_ns / 1000,
            longest_turn_ns: totals.longest.awake_ns(),
            longest_turn: totals.longest.turn,
            sources: self.events.source_count(),
            ignored_events: totals.ignored,
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
        }
    }
    fn adopt_pipe(&mut self, pipe: Pipe) -> std::io::Result<Token> {
        let token = self.events.adopt_pipe(pipe)?;
        self.endpoints.register(token, Endpoint::ChildPipe);
        Ok(token)
    }
    fn wait_for_child(&mut self, child: &Child) -> Exit {
        let exit = child.wait();
        Exit::from_code(self.events.seam().observed(exit.code()))
    }
    fn close_source(&mut self, token: Token) {
        self.endpoints.close(self.events, token);
    }
    fn reset_loop_figures(&mut self) {
        self.events.reset_totals();
    }
    fn record_loop(&mut self, is_on: bool, turns: usize) {
        self.events.record(is_on, turns);
    }
    fn recorder(&mut self) -> &mut Recorder {
        self.events.recorder_mut()
    }
}
