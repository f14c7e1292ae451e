//! The latency monitor: what took long, by kind of event, for LATENCY.
//!
//! In: how long an event took, in whole milliseconds, from wherever such a thing may happen; kept if it was at least
//! `latency-monitor-threshold`. Out: for each event its worst time ever and one sample per second, 160 of them.
//! Events have Redis's names, as far as the same happens here, and after them one for each phase of the loop.
//!
//! Invariant: memory is bounded, 160 samples for each of a fixed number of events.
//!
//! Mirrors `latencyAddSample` and its time series of Redis's latency.c.

use crate::event_loop::{PHASES, Phase};
use std::collections::{BTreeMap, VecDeque};

/// Samples that are kept of an event.
const SAMPLES: usize = 160;

/// What can take long. The order is that of LATENCY LATEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LatencyEvent {
    /// A command that is not marked as fast.
    Command,
    /// A command whose row says `fast`.
    FastCommand,
    /// Forking a child that saves.
    Fork,
    /// Writing to the append-only file.
    AofWrite,
    /// Writing to the append-only file while a sync was under way.
    AofWritePendingFsync,
    /// Writing to the append-only file while a child was saving.
    AofWriteActiveChild,
    /// Writing to the append-only file while there was neither a sync nor a child.
    AofWriteAlone,
    /// Syncing the append-only file under `appendfsync always`.
    AofFsyncAlways,
    /// A cycle of active expiry.
    ExpireCycle,
    /// Removing one expired key.
    ExpireDel,
    /// Evicting for one command, or between two turns.
    EvictionCycle,
    /// Removing one evicted key.
    EvictionDel,
    /// Removing the file of a child that was killed while it saved.
    RdbUnlinkTempFile,
    /// Reading a large value at once for a save of the loop, because somebody changed it who could not wait: gyre's own.
    SaveHurry,
    /// A phase of one turn of the loop: gyre's own. Needs the loop's recorder.
    Loop(LoopPhase),
}

/// A phase of the loop as an event; ordered as the phases are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoopPhase(usize);

/// Names of the phases as events.
const LOOP_NAMES: [&str; PHASES] = [
    "loop-sleep",
    "loop-accept",
    "loop-read",
    "loop-parse",
    "loop-execute",
    "loop-timers",
    "loop-load",
    "loop-expire",
    "loop-evict",
    "loop-unblock",
    "loop-journal",
    "loop-write",
    "loop-close",
    "loop-save",
    "loop-rest",
];

impl LatencyEvent {
    /// The event of a phase.
    pub fn of_phase(phase: Phase) -> LatencyEvent {
        LatencyEvent::Loop(LoopPhase(phase as usize))
    }

    /// Its name, as LATENCY spells it.
    pub fn name(self) -> &'static str {
        match self {
            LatencyEvent::Command => "command",
            LatencyEvent::FastCommand => "fast-command",
            LatencyEvent::Fork => "fork",
            LatencyEvent::AofWrite => "aof-write",
            LatencyEvent::AofWritePendingFsync => "aof-write-pending-fsync",
            LatencyEvent::AofWriteActiveChild => "aof-write-active-child",
            LatencyEvent::AofWriteAlone => "aof-write-alone",
            LatencyEvent::AofFsyncAlways => "aof-fsync-always",
            LatencyEvent::ExpireCycle => "expire-cycle",
            LatencyEvent::ExpireDel => "expire-del",
            LatencyEvent::EvictionCycle => "eviction-cycle",
            LatencyEvent::EvictionDel => "eviction-del",
            LatencyEvent::RdbUnlinkTempFile => "rdb-unlink-temp-file",
            LatencyEvent::SaveHurry => "save-hurry",
            LatencyEvent::Loop(LoopPhase(index)) => LOOP_NAMES[index],
        }
    }
}

/// One second in which an event took long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Unix s.
    pub unix_s: i64,
    /// The longest time in that second, ms.
    pub ms: u64,
}

/// Samples of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// The oldest first; never empty in a monitor.
    pub samples: VecDeque<Sample>,
    /// The longest time since the last reset, ms.
    pub worst_ms: u64,
}

/// What a series comes to; times in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Samples.
    pub samples: u64,
    /// Their mean.
    pub average_ms: u64,
    /// Mean distance from the mean.
    pub deviation_ms: u64,
    /// Shortest.
    pub low_ms: u64,
    /// Longest.
    pub high_ms: u64,
    /// From the oldest sample to now, s; at least 1.
    pub period_s: i64,
}

impl Series {
    fn add(&mut self, unix_s: i64, ms: u64) {
        self.worst_ms = self.worst_ms.max(ms);
        match self.samples.back_mut() {
            Some(last) if last.unix_s == unix_s => last.ms = last.ms.max(ms),
            _ => {
                if self.samples.len() == SAMPLES {
                    self.samples.pop_front();
                }
                self.samples.push_back(Sample { unix_s, ms });
            }
        }
    }

    /// Mean, spread and extremes.
    pub fn summary(&self, now_s: i64) -> Summary {
        let count = self.samples.len() as u64;
        let Some(oldest) = self.samples.iter().map(|sample| sample.unix_s).min() else {
            return Summary::default();
        };
        let times = || self.samples.iter().map(|sample| sample.ms);
        let average_ms = times().fold(0, u64::saturating_add) / count;
        let distances = times().map(|ms| ms.abs_diff(average_ms));
        Summary {
            samples: count,
            average_ms,
            deviation_ms: distances.fold(0, u64::saturating_add) / count,
            low_ms: times().min().unwrap_or(0),
            high_ms: times().max().unwrap_or(0),
            period_s: now_s.saturating_sub(oldest).max(1),
        }
    }
}

/// The monitor.
#[derive(Debug, Default)]
pub struct LatencyMonitor {
    /// `latency-monitor-threshold`, ms; 0: nothing is kept.
    pub threshold_ms: u64,
    events: BTreeMap<LatencyEvent, Series>,
}

impl LatencyMonitor {
    /// Whether anything is kept: only then it is worth looking at a clock.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.threshold_ms > 0
    }

    /// An event took so long, ns; kept if that is long enough.
    #[inline]
    pub fn took(&mut self, event: LatencyEvent, ns: u64, unix_s: i64) {
        if self.threshold_ms > 0 && ns / 1_000_000 >= self.threshold_ms {
            self.add(event, ns / 1_000_000, unix_s);
        }
    }

    #[cold]
    fn add(&mut self, event: LatencyEvent, ms: u64, unix_s: i64) {
        self.events.entry(event).or_default().add(unix_s, ms);
    }

    /// The events that have samples.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (LatencyEvent, &Series)> {
        self.events.iter().map(|(event, series)| (*event, series))
    }

    /// The samples of an event by its name.
    pub fn series(&self, name: &[u8]) -> Option<(LatencyEvent, &Series)> {
        self.iter()
            .find(|(event, _)| event.name().as_bytes() == name)
    }

    /// Forgets an event (its name in any case of letters), or all; how many had samples.
    pub fn reset(&mut self, name: Option<&[u8]>) -> usize {
        let before = self.events.len();
        match name {
            None => self.events.clear(),
            Some(name) => self
                .events
                .retain(|event, _| !event.name().as_bytes().eq_ignore_ascii_case(name)),
        }
        before - self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_second_has_one_sample_and_an_event_160() {
        let mut monitor = LatencyMonitor::default();
        monitor.took(LatencyEvent::Command, 500 * MS, 1);
        assert_eq!(monitor.iter().len(), 0, "it is off");
        monitor.threshold_ms = 10;
        monitor.took(LatencyEvent::Command, 10 * MS - 1, 1);
        assert_eq!(monitor.iter().len(), 0, "short of the threshold");
        for ms in [10, 30, 20] {
            monitor.took(LatencyEvent::Command, ms * MS, 1);
        }
        let (_, series) = monitor.series(b"command").expect("samples");
        assert_eq!(series.samples, [Sample { unix_s: 1, ms: 30 }]);
        for second in 2..=400 {
            monitor.took(LatencyEvent::Command, 11 * MS, second);
        }
        let (_, series) = monitor.series(b"command").expect("samples");
        assert_eq!((series.samples.len(), series.worst_ms), (SAMPLES, 30));
        assert_eq!(series.samples[0].unix_s, 241);
        assert!(monitor.series(b"Command").is_none());
    }

    #[test]
    fn events_are_reset_by_name_or_all() {
        let mut monitor = LatencyMonitor {
            threshold_ms: 1,
            ..LatencyMonitor::default()
        };
        let write = LatencyEvent::of_phase(Phase::Write);
        for event in [write, LatencyEvent::Fork, LatencyEvent::Command] {
            monitor.took(event, MS, 1);
        }
        let names: Vec<_> = monitor.iter().map(|(event, _)| event.name()).collect();
        assert_eq!(names, ["command", "fork", "loop-write"]);
        assert_eq!(monitor.reset(Some(b"FORK")), 1);
        assert_eq!(monitor.reset(Some(b"nothing")), 0);
        assert_eq!(monitor.reset(None), 2);
    }

    #[test]
    fn summaries_tell_mean_and_spread() {
        let mut series = Series::default();
        assert_eq!(series.summary(9), Summary::default());
        for (second, ms) in [(10, 100), (11, 300), (12, 20)] {
            series.add(second, ms);
        }
        let expected = Summary {
            samples: 3,
            average_ms: 140,
            deviation_ms: 106,
            low_ms: 20,
            high_ms: 300,
            period_s: 3,
        };
        assert_eq!(series.summary(13), expected);
        assert_eq!(series.summary(5).period_s, 1, "the clock was set back");
    }

    #[test]
    fn phases_are_events_of_their_names() {
        for phase in Phase::ALL {
            let name = LatencyEvent::of_phase(phase).name();
            assert_eq!(name.strip_prefix("loop-"), Some(phase.name()));
        }
    }
}
