//! LATENCY DOCTOR: what the samples come to, and what to do about it, for people.
//!
//! The lines of figures have Redis's form, because scripts look for them; the advice is ours, and names the means that
//! this server has. Each piece of advice is given once, however many events call for it.

use crate::config::Fsync;
use crate::engine::State;
use crate::observe::{LatencyEvent, LatencyMonitor};

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Advice {
    EnableSlowlog,
    TuneSlowlog,
    ReadSlowlog,
    WatchLoop,
    Scheduler,
    FasterFork,
    Disk,
    NoSyncDuringRewrite,
    RelaxFsync,
    RaiseHz,
    LargeObjects,
    Evictions,
    SlowReaders,
    HugePages,
}

/// The report.
pub(super) fn report(state: &State, has_huge_pages: bool) -> String {
    let monitor = &state.observe.latency;
    if monitor.iter().len() == 0 && !monitor.is_on() {
        return "Latency monitoring is disabled in this instance. \"CONFIG SET latency-monitor-threshold \
                <milliseconds>\" switches it on. LOOP SLOWEST and LOOP WAITED show what held the loop up even without \
                it.\n"
            .to_owned();
    }
    let mut advice = Vec::new();
    let mut out = String::new();
    describe(state, monitor, &mut out, &mut advice);
    let has_events = !out.is_empty();
    if has_events {
        out.insert_str(0, "There were latency spikes in this instance:\n\n");
    }
    if has_huge_pages {
        advice.push(Advice::HugePages);
    }
    advice.sort_unstable();
    advice.dedup();
    if advice.is_empty() {
        out.push_str(if has_events {
            "\nFor none of these events there is a simple remedy to suggest.\n"
        } else {
            "No latency spike was observed during the lifetime of this instance.\n"
        });
        return out;
    }
    out.push_str("\nI have a few advices for you:\n\n");
    for advice in advice {
        out.push_str("- ");
        out.push_str(&text(advice, monitor.threshold_ms));
        out.push('\n');
    }
    out
}

fn describe(state: &State, monitor: &LatencyMonitor, out: &mut String, advice: &mut Vec<Advice>) {
    for (number, (event, series)) in (1..).zip(monitor.iter()) {
        let summary = series.summary(state.now.unix_s());
        let period = summary.period_s as f64 / summary.samples.max(1) as f64;
        out.push_str(&format!(
            "{number}. {}: {} latency spikes (average {}ms, mean deviation {}ms, period {period:.2} sec). Worst all \
             time event {}ms.",
            event.name(),
            summary.samples,
            summary.average_ms,
            summary.deviation_ms,
            series.worst_ms
        ));
        if event == LatencyEvent::Fork {
            let rate = fork_rate(state);
            let (quality, is_bad) = match rate {
                ..10.0 => ("terrible", true),
                ..25.0 => ("poor", true),
                ..100.0 => ("good", false),
                _ => ("excellent", false),
            };
            out.push_str(&format!(" Fork rate is {rate:.2} GB/sec ({quality})."));
            if is_bad {
                advice.push(Advice::FasterFork);
            }
        }
        out.push('\n');
        advise(state, event, advice);
    }
}

/// Memory whose page tables the last fork copied per second, GB.
fn fork_rate(state: &State) -> f64 {
    let us = state.persistence.fork_us.max(1) as f64;
    crate::system::process::resident_memory() as f64 / (1u64 << 30) as f64 * 1_000_000.0 / us
}

fn advise(state: &State, event: LatencyEvent, advice: &mut Vec<Advice>) {
    let settings = state.config.settings();
    match event {
        LatencyEvent::Command => {
            let slower_than_us = settings.slowlog_log_slower_than_us;
            if slower_than_us < 0 {
                advice.push(Advice::EnableSlowlog);
            } else if slower_than_us as u64 / 1000 > state.observe.latency.threshold_ms {
                advice.push(Advice::TuneSlowlog);
            }
            advice.extend([Advice::ReadSlowlog, Advice::LargeObjects]);
        }
        LatencyEvent::FastCommand => advice.push(Advice::Scheduler),
        LatencyEvent::Fork => {}
        LatencyEvent::AofWriteActiveChild => {
            advice.push(Advice::Disk);
            if !settings.no_appendfsync_on_rewrite {
                advice.push(Advice::NoSyncDuringRewrite);
            }
        }
        LatencyEvent::AofWrite
        | LatencyEvent::AofWritePendingFsync
        | LatencyEvent::AofWriteAlone
        | LatencyEvent::RdbUnlinkTempFile => advice.push(Advice::Disk),
        LatencyEvent::AofFsyncAlways => {
            advice.push(Advice::Disk);
            if settings.appendfsync == Fsync::Always {
                advice.push(Advice::RelaxFsync);
            }
        }
        LatencyEvent::ExpireCycle => {
            advice.push(Advice::LargeObjects);
            if settings.hz < 100 {
                advice.push(Advice::RaiseHz);
            }
        }
        LatencyEvent::ExpireDel | LatencyEvent::EvictionDel | LatencyEvent::SaveHurry => {
            advice.push(Advice::LargeObjects)
        }
        LatencyEvent::EvictionCycle => advice.push(Advice::Evictions),
        LatencyEvent::Loop(_) => {
            advice.push(Advice::WatchLoop);
            if event.name() == "loop-write" {
                advice.push(Advice::SlowReaders);
            }
        }
    }
}

fn text(advice: Advice, threshold_ms: u64) -> String {
    let threshold_us = threshold_ms.saturating_mul(1000);
    let fixed = match advice {
        Advice::EnableSlowlog => {
            return format!(
                "Commands took long, and the slow log, which would name them, is off: CONFIG SET \
                 slowlog-log-slower-than {threshold_us}."
            );
        }
        Advice::TuneSlowlog => {
            return format!(
                "The slow log begins later than this monitor does, so it does not name all of these commands: CONFIG \
                 SET slowlog-log-slower-than {threshold_us}."
            );
        }
        Advice::ReadSlowlog => {
            "SLOWLOG GET names the commands that took long, LOOP WAITED the clients that had to wait for them."
        }
        Advice::WatchLoop => {
            "Whole phases of the event loop took long: LOOP SLOWEST shows these turns phase by phase, with the longest \
             command in each."
        }
        Advice::Scheduler => {
            "Commands that do little took long, so the processor was probably not ours: look for other load on this \
             machine or a noisy neighbour of a virtual one, give the server a core of its own, and measure with \
             redis-cli --intrinsic-latency 100 what the machine itself does."
        }
        Advice::FasterFork => {
            "Forking is slow here. Some kinds of virtual machines copy page tables slowly; others, or real machines, \
             do it many times faster. Save less often, or when the load is low."
        }
        Advice::Disk => {
            "The disk kept the append-only file waiting. Put it on a local SSD that no other program is busy with."
        }
        Advice::NoSyncDuringRewrite => {
            "Writes waited while a child was saving. If losing up to 30 seconds in a crash is acceptable for that time, \
             set no-appendfsync-on-rewrite to yes."
        }
        Advice::RelaxFsync => {
            "appendfsync is always, so each turn with a write waits for the disk. everysec loses a second at most and \
             does not wait."
        }
        Advice::RaiseHz => {
            "Expiry had much to do at once. A higher hz (100, for example) cuts it into smaller pieces."
        }
        Advice::LargeObjects => {
            "Large values take long to build, to read and to free. UNLINK, and lazyfree-lazy-user-del, \
             lazyfree-lazy-expire and lazyfree-lazy-eviction, free them on another thread; smaller ones are better \
             still."
        }
        Advice::Evictions => {
            "Much had to be evicted at once. A sudden fall of maxmemory does that, and so do large results of STORE \
             commands and RESTORE."
        }
        Advice::SlowReaders => {
            "Writing replies took long: many clients at once, or very large replies. Ask for less in one reply (SCAN \
             instead of KEYS, ranges instead of whole collections)."
        }
        Advice::HugePages => {
            "Transparent huge pages are in use. After a fork each first write copies 2 MiB then. 'echo never > \
             /sys/kernel/mm/transparent_hugepage/enabled' and a restart of the server end that."
        }
    };
    fixed.to_owned()
}
