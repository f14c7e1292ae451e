//! What the server knows of its own work: counters, per-command statistics, the slow log.
//!
//! In: one call per command run, refused or answered with an error, and samples once per cron. Out: figures for
//! INFO, SLOWLOG, LATENCY HISTOGRAM. Mirrors `server.stat_*`, `slowlog.c` and the `commandstats`, `latencystats` and
//! `errorstats` of Redis.

mod client_memory;
mod latency;
mod memory;
mod slowlog;
mod stats;
mod waits;

pub use crate::system::histogram::Histogram;
pub use client_memory::ClientMemory;
pub use latency::{LatencyEvent, LatencyMonitor, Sample, Series, Summary};
pub use memory::{DatabaseMemory, MemoryFigures};
pub use slowlog::{SlowEntry, SlowLog};
pub use stats::{CommandStats, Rates, Stats};
pub use waits::{Behind, Landing, LongWait, WaitPart, Waits};

use std::collections::BTreeMap;

/// Distinct error prefixes that are counted; beyond that counting stops, as in Redis.
const ERROR_PREFIXES: usize = 128;

/// All observations.
#[derive(Default)]
pub struct Observe {
    /// Plain counters.
    pub stats: Stats,
    /// By command id.
    pub commands: Vec<CommandStats>,
    /// Error replies by their first word.
    pub errors: BTreeMap<Vec<u8>, u64>,
    /// The slow log.
    pub slowlog: SlowLog,
    /// Events that took long.
    pub latency: LatencyMonitor,
    /// How long clients waited, while the loop's recorder runs.
    pub waits: Waits,
    /// Memory of the clients.
    pub client_memory: ClientMemory,
    /// When a browser was last warned of, monotonic ns.
    pub attack_warned_ns: Option<u64>,
    /// Whether latency histograms are kept (`latency-tracking`).
    pub track_latency: bool,
    /// Every command in the order in which it was answered; kept only where a simulation asks for it and takes it.
    pub executed: Option<Vec<Executed>>,
}

/// A command that was answered, run or refused: what a model must know to answer it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Whose.
    pub client: u64,
    /// Wall-clock time for the command, µs.
    pub unix_us: i64,
    /// The command.
    pub args: Vec<Vec<u8>>,
}

impl Observe {
    /// Observations of a table of so many commands.
    pub fn new(commands: usize) -> Observe {
        let mut observe = Observe::default();
        observe
            .commands
            .resize_with(commands, CommandStats::default);
        observe
    }
    /// A command ran.
    #[inline]
    pub fn command_run(&mut self, id: u16, elapsed_ns: u64, failed: bool) {
        self.stats.commands_processed += 1;
        self.stats.command_ns += elapsed_ns;
        let Some(command) = self.commands.get_mut(id as usize) else {
            return;
        };
        command.calls += 1;
        command.ns += elapsed_ns;
        command.failed += u64::from(failed);
        if self.track_latency {
            command.histogram.get_or_insert_default().record(elapsed_ns);
        }
    }
    /// A command was refused by a gate.
    pub fn command_rejected(&mut self, id: u16) {
        if let Some(command) = self.commands.get_mut(id as usize) {
            command.rejected += 1;
        }
    }
    /// An error was answered; `code` is its first word.
    pub fn error_replied(&mut self, code: &[u8]) {
        self.stats.error_replies += 1;
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERROR_PREFIXES {
            self.errors.insert(code.to_vec(), 1);
        }
    }
    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        self.stats.reset();
        self.commands
            .iter_mut()
            .for_each(|command| *command = CommandStats::default());
        self.errors.clear();
    }
}
