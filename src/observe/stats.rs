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
    /// Takes two counters: what is averaged is how much `value` gained for each one that `base` gained.
    pub fn sample_per(&mut self, base: u64, value: u64) {
        let steps = base.saturating_sub(self.last_ns);
        let gained = value.saturating_sub(self.last_value);
        if let Some(average) = gained.checked_div(steps) {
            self.samples[self.next] = average;
            self.next = (self.next + 1) % RATE_SAMPLES;
        }
        self.last_value = value;
        self.last_ns = base;
    }
    /// Per second (or, after [`Rates::sample_per`], per step).
    pub fn per_second(&self) -> u64 {
        self.samples.iter().sum::<u64>() / RATE_SAMPLES as u64
    }
}

/// Plain counters since the start or CONFIG RESETSTAT; names follow INFO's.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Stats {
    pub connections_received: u64,
    pub dump_payload_sanitizations: u64,
    pub connections_rejected: u64,
    /// Those of them that came from `priority-subnets`.
    pub priority_connections_rejected: u64,
    /// Those of them whose host had as many as `maxclients-per-address` allows.
    pub host_connections_rejected: u64,
    pub commands_processed: u64,
    /// Wrong passwords; not reset.
    pub denied_auth: u64,
    /// Commands that users may not run; nor are these reset.
    pub denied_command: u64,
    /// Keys that they may not touch.
    pub denied_key: u64,
    /// Channels that they may not name.
    pub denied_channel: u64,
    /// Databases that they may not use.
    pub denied_database: u64,
    /// Certificates that name no user.
    pub denied_certificate: u64,
    /// Most commands that were run in one turn of the loop.
    pub commands_per_turn_max: u64,
    /// Time running commands, ns.
    pub command_ns: u64,
    pub error_replies: u64,
    pub unexpected_error_replies: u64,
    pub reads_processed: u64,
    pub writes_processed: u64,
    pub bytes_in: u64,
    /// Bytes that came over the link to a primary.
    pub repl_bytes_in: u64,
    /// Bytes of the stream and of snapshots that went to replicas.
    pub repl_bytes_out: u64,
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
    /// Turns of the loop.
    pub turns_per_second: Rates,
    /// Time awake in a turn, µs.
    pub turn_us: Rates,
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
            denied_auth: self.denied_auth,
            denied_command: self.denied_command,
            denied_key: self.denied_key,
            denied_channel: self.denied_channel,
            denied_database: self.denied_database,
            denied_certificate: self.denied_certificate,
            peak_memory: self.peak_memory,
            startup_memory: self.startup_memory,
            start_unix_ms: self.start_unix_ms,
            start_ns: self.start_ns,
            run_id: std::mem::take(&mut self.run_id),
            ..Stats::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_averaged_over_the_last_samples() {
        let mut rates = Rates::default();
        (1..=40).for_each(|n| rates.sample(n * 100_000_000, n * 50));
        assert_eq!(rates.per_second(), 500);
        let mut average = Rates::default();
        (1..=40).for_each(|n| average.sample_per(n * 10, n * 70));
        assert_eq!(average.per_second(), 7);
        average.sample_per(400, 400 * 7);
        assert_eq!(average.per_second(), 7, "nothing gained, nothing sampled");
    }

    #[test]
    fn a_reset_keeps_what_belongs_to_the_run() {
        let mut stats = Stats {
            commands_processed: 5,
            peak_memory: 7,
            run_id: "a".to_owned(),
            ..Stats::default()
        };
        stats.reset();
        assert_eq!((stats.commands_processed, stats.peak_memory), (0, 7));
        assert_eq!(stats.run_id, "a");
    }
}
