//! Counters.

use super::Histogram;

/// Samples that an instantaneous rate is averaged over.
const RATE_SAMPLES: usize = 16;

/// Statistics of one command.
#[derive(Default)]
pub struct CommandStats {
    /// Times run.
    pub calls: u64,
    /// Time running, ns.
    pub ns: u64,
    /// Refused before running.
    pub rejected: u64,
    /// Ran and answered an error.
    pub failed: u64,
    /// Distribution of its run times; allocated at the first call.
    pub histogram: Option<Box<Histogram>>,
}

/// A rate per second, averaged over the last samples as Redis's `instantaneous_*` figures are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    samples: [u64; RATE_SAMPLES],
    next: usize,
    last_value: u64,
    last_ns: u64,
}

impl Rates {
    /// Takes the counter's value at a moment.
    pub fn sample(&mut self, now_ns: u64, value: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.last_ns);
        if elapsed_ns == 0 {
            return;
        }
        let gained = u128::from(value.saturating_sub(self.last_value));
        if self.last_ns != 0 {
            self.samples[self.next] = (gained * 1_000_000_000 / u128::from(elapsed_ns)) as u64;
            self.next = (self.next + 1) % RATE_SAMPLES;
        }
        self.last_value = value;
        self.last_ns = now_ns;
    }
    /// Per second.
    pub fn per_second(&self) -> u64 {
        self.samples.iter().sum::<u64>() / RATE_SAMPLES as u64
    }
}

/// Plain counters since the start or CONFIG RESETSTAT; names follow INFO's.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Stats {
    pub connections_received: u64,
    pub connections_rejected: u64,
    pub commands_processed: u64,
    /// Time running commands, ns.
    pub command_ns: u64,
    pub error_replies: u64,
    pub unexpected_error_replies: u64,
    pub reads_processed: u64,
    pub writes_processed: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub client_query_buffer_limit_disconnections: u64,
    pub client_output_buffer_limit_disconnections: u64,
    pub evicted_clients: u64,
    /// Largest used memory seen, bytes; not reset.
    pub peak_memory: u64,
    /// Used memory right after start, bytes; not reset.
    pub startup_memory: u64,
    pub commands_per_second: Rates,
    pub in_per_second: Rates,
    pub out_per_second: Rates,
    /// Unix ms of the start; not reset.
    pub start_unix_ms: i64,
    /// Monotonic ns of the start; not reset.
    pub start_ns: u64,
    /// Hex identity of this run; not reset.
    pub run_id: String,
}

impl Stats {
    /// Sets what CONFIG RESETSTAT resets to zero.
    pub fn reset(&mut self) {
        *self = Stats {
            peak_memory: self.peak_memory,
            startup_memory: self.startup_memory,
            start_unix_ms: self.start_unix_ms,
            start_ns: self.start_ns,
            run_id: std::mem::take(&mut self.run_id),
            ..Stats::default()
        };
    }
}
