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
pub use waits::{Blocker, Completion, LongWait, WaitPart, Waits, blocker_of};

use std::collections::BTreeMap;

/// Distinct error codes that are counted. Whoever can call a script can make any number of them: at one more, all are
/// forgotten and counting stops.
const ERROR_CODES: usize = 128;
/// The only code that is left when counting has stopped.
const ERRORS_DISABLED: &[u8] = b"ERRORSTATS_DISABLED";

/// All observations.
#[derive(Default)]
pub struct Observe {
    /// Plain counters.
    pub stats: Stats,
    /// The statistics of each command, by its id.
    pub commands: Vec<CommandStats>,
    /// Error replies by their first word; see [`Observe::error_replied`].
    pub errors: BTreeMap<Vec<u8>, u64>,
    /// Error replies are no longer counted by their first word: there were too many.
    errors_disabled: bool,
    /// Commands run when the turn began.
    turn_commands: u64,
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
    /// What happened, in its order; kept only where a simulation asks for it and takes it.
    pub executed: Option<Vec<Executed>>,
}

/// What a simulation is told, in the order in which it happened: all that a model must know to answer the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    /// A command of a client was run or refused, and answered, or began to wait.
    Command {
        /// Id of the client.
        client: u64,
        /// Wall-clock time for the command, µs.
        unix_us: i64,
        /// The command.
        args: Vec<Vec<u8>>,
    },
    /// A command of EXEC's queue begins; told before the EXEC itself.
    Queued {
        /// Wall-clock time for the command, µs.
        unix_us: i64,
    },
    /// A command that waited for a key was run again, and answered.
    Woken {
        /// Id of the client.
        client: u64,
        /// Wall-clock time for the command, µs.
        unix_us: i64,
    },
    /// The command that is told next waits for work that goes on without it; that it is answered is told as
    /// [`Executed::GaveUp`].
    Works {
        /// Id of the client.
        client: u64,
    },
    /// A command that waited was ended: its time was over, CLIENT UNBLOCK said so, or its work was done.
    GaveUp {
        /// Id of the client.
        client: u64,
        /// Wall-clock time, µs.
        unix_us: i64,
    },
    /// A command that waited for a key was run again, and waits on in its place.
    WaitsOn {
        /// Id of the client.
        client: u64,
        /// It could have been answered, but a save holds it, and those behind it.
        is_held: bool,
    },
    /// A command that waited for a key is held back by CLIENT PAUSE instead, and begins anew behind it.
    Held {
        /// Id of the client.
        client: u64,
    },
    /// Bytes of a client were not the protocol: it was told so, and is closed.
    ProtocolError {
        /// Id of the client.
        client: u64,
    },
    /// A client that waited has ended its side: its commands are dropped, and it is closed when it has been sent what it is
    /// owed from before.
    Dropped {
        /// Id of the client.
        client: u64,
    },
    /// A client counts nowhere any more: it waits, watches and listens no longer. May be told more than once.
    Gone {
        /// Id of the client.
        client: u64,
    },
    /// A key went by itself, before the command that is told next.
    Removed {
        /// Database.
        db: usize,
        /// The key.
        key: Vec<u8>,
        /// It was evicted; else it had expired.
        evicted: bool,
        /// Wall-clock time, µs.
        unix_us: i64,
    },
    /// A field of a hash had expired and went, before the command that is told next.
    FieldExpired {
        /// Database.
        db: usize,
        /// Key of the hash.
        key: Vec<u8>,
        /// The field.
        field: Vec<u8>,
        /// Wall-clock time, µs.
        unix_us: i64,
    },
    /// The disk fails: writes are refused, the command that is told next among them if it is one.
    RefusesWrites,
    /// The command that is told next was propagated as these: what it chose by chance can be told from them.
    PropagatedAs(Vec<Vec<Vec<u8>>>),
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
    /// A command ran, and failed so often: a script may answer several errors.
    #[inline]
    pub fn command_run(&mut self, id: u16, elapsed_ns: u64, failures: u64) {
        self.stats.commands_processed += 1;
        self.stats.command_ns += elapsed_ns;
        let Some(command) = self.commands.get_mut(id as usize) else {
            return;
        };
        command.calls += 1;
        command.ns += elapsed_ns;
        command.failed += failures;
        if self.track_latency {
            command.histogram.get_or_insert_default().record(elapsed_ns);
        }
    }
    /// A command was refused by a check before it ran.
    pub fn command_rejected(&mut self, id: u16) {
        if let Some(command) = self.commands.get_mut(id as usize) {
            command.rejected += 1;
        }
    }
    /// An error was answered; `code` is its first word.
    pub fn error_replied(&mut self, code: &[u8]) {
        self.errors_replied(code, 1);
    }
    /// So many errors with the same code were answered.
    pub fn errors_replied(&mut self, code: &[u8], times: u64) {
        self.stats.error_replies += times;
        if self.errors_disabled {
        } else if let Some(count) = self.errors.get_mut(code) {
            *count += times;
        } else if self.errors.len() < ERROR_CODES {
            self.errors.insert(code.to_vec(), times);
        } else {
            self.disable_errors();
        }
    }
    /// Stops counting errors by their codes, until CONFIG RESETSTAT.
    #[cold]
    fn disable_errors(&mut self) {
        let codes: Vec<_> = self
            .errors
            .keys()
            .map(|code| String::from_utf8_lossy(code).replace(['#', ':', '\r', '\n'], "_"))
            .collect();
        log::warn!(
            "Errorstats stopped adding new errors because the number of errors reached the limit, may be misuse of lua \
             error_reply, please check INFO ERRORSTATS, this can be re-enabled via CONFIG RESETSTAT."
        );
        log::warn!("Current errors code list: {}", codes.join(", "));
        self.errors.clear();
        self.errors.insert(ERRORS_DISABLED.to_vec(), 1);
        self.errors_disabled = true;
    }
    /// Tells a simulation what has happened, if there is one.
    #[inline]
    pub fn executed(&mut self, what: impl FnOnce() -> Executed) {
        if let Some(executed) = &mut self.executed {
            executed.push(what());
        }
    }
    /// A turn of the loop has ended.
    #[inline]
    pub fn turn_ended(&mut self) {
        let commands = self.stats.commands_processed;
        // Statistics that were reset in this turn begin at zero.
        let in_turn = commands.saturating_sub(self.turn_commands);
        self.stats.commands_per_turn_max = self.stats.commands_per_turn_max.max(in_turn);
        self.turn_commands = commands;
    }
    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        self.stats.reset();
        self.commands
            .iter_mut()
            .for_each(|command| *command = CommandStats::default());
        self.errors.clear();
        self.errors_disabled = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_up_to_a_bound() {
        let mut observe = Observe::new(1);
        for n in 0..ERROR_CODES {
            observe.error_replied(format!("E{n}").as_bytes());
        }
        observe.error_replied(b"E0");
        assert_eq!((observe.errors.len(), observe.errors[&b"E0"[..]]), (128, 2));
        for _ in 0..2 {
            observe.error_replied(b"ONE_TOO_MANY");
            let left: Vec<_> = observe.errors.iter().collect();
            assert_eq!(left, [(&ERRORS_DISABLED.to_vec(), &1)]);
        }
        assert_eq!(observe.stats.error_replies, 131);
        observe.reset();
        observe.error_replied(b"ERR");
        assert_eq!(observe.errors.len(), 1);
        assert_eq!(observe.errors[&b"ERR"[..]], 1);
    }

    #[test]
    fn the_fullest_turn_is_remembered() {
        let mut observe = Observe::new(1);
        for commands in [3, 7, 2] {
            (0..commands).for_each(|_| observe.command_run(0, 1, 0));
            observe.turn_ended();
        }
        assert_eq!(observe.stats.commands_per_turn_max, 7);
    }
}
