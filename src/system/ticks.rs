//! A monotonic clock that costs a few nanoseconds: the processor's time-stamp counter, anchored to the system's clock.
//!
//! The server reads the clock once per command, and with pipelining a command takes little longer than reading the
//! system's clock does. So the counter is read instead and scaled; every [`ANCHOR_NS`] the scale and the offset are
//! taken anew from the system's clock, which bounds the error by what the counter can drift in that time. Where the
//! processor does not promise an invariant counter, every reading is the system's.
//!
//! Mirrors `monotonic.c` of Redis, where the same is a build option.
#![allow(unsafe_code)]

use std::time::Instant;

/// Readings further than this from the anchor go to the system's clock, which becomes the new anchor. ns.
const ANCHOR_NS: u64 = 20_000_000;

/// The clock. Readings never go back.
#[derive(Debug)]
pub struct TickClock {
    start: Instant,
    invariant: bool,
    anchor_ticks: u64,
    anchor_ns: u64,
    /// Nanoseconds per tick, times 2^32; 0 until it is known.
    scale: u64,
    /// Ticks from the anchor on after which a new one is taken.
    range: u64,
    last_ns: u64,
}

impl Default for TickClock {
    fn default() -> TickClock {
        TickClock::new()
    }
}

impl TickClock {
    /// A clock that begins at 1: 0 can stand for "never".
    pub fn new() -> TickClock {
        TickClock {
            start: Instant::now(),
            invariant: counter_is_invariant(),
            anchor_ticks: ticks(),
            anchor_ns: 0,
            scale: 0,
            range: 0,
            last_ns: 0,
        }
    }

    /// Nanoseconds since the clock was made, plus one.
    #[inline]
    pub fn now_ns(&mut self) -> u64 {
        let passed = ticks().wrapping_sub(self.anchor_ticks);
        // Also when the counter went back: the difference is huge then.
        if passed >= self.range {
            return self.anchor();
        }
        let ns = self.anchor_ns + ((u128::from(passed) * u128::from(self.scale)) >> 32) as u64;
        self.last_ns = self.last_ns.max(ns);
        self.last_ns
    }

    /// Reads the system's clock and takes it as the new anchor.
    #[cold]
    fn anchor(&mut self) -> u64 {
        let before = ticks();
        let ns = self.start.elapsed().as_nanos() as u64 + 1;
        let now_ticks = ticks();
        self.last_ns = self.last_ns.max(ns);
        if !self.invariant {
            return self.last_ns;
        }
        let (passed_ns, passed) = (
            ns.saturating_sub(self.anchor_ns),
            now_ticks.wrapping_sub(self.anchor_ticks),
        );
        // When the process was interrupted between the two clocks they do not belong together: the next reading tries
        // again. Too short a span would give a coarse scale; a counter that went back gives a huge one.
        let is_torn = now_ticks.wrapping_sub(before) > passed / 1024;
        let is_fit = passed > 0 && passed < u64::MAX / 2 && passed_ns > ANCHOR_NS / 4;
        if is_fit && !is_torn {
            self.scale = ((u128::from(passed_ns) << 32) / u128::from(passed)) as u64;
            self.range = ((u128::from(ANCHOR_NS) << 32) / u128::from(self.scale.max(1))) as u64;
            (self.anchor_ticks, self.anchor_ns) = (now_ticks, ns);
        } else if passed >= u64::MAX / 2 {
            // Begin anew, without a scale until the next span is measured.
            (self.anchor_ticks, self.anchor_ns, self.range) = (now_ticks, ns, 0);
        }
        self.last_ns
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction; it reads a counter and touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn ticks() -> u64 {
    0
}

/// Whether the counter ticks at one rate through all power states (CPUID 8000_0007h, EDX bit 8).
#[cfg(target_arch = "x86_64")]
fn counter_is_invariant() -> bool {
    use core::arch::x86_64::__cpuid;
    __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
}

#[cfg(not(target_arch = "x86_64"))]
fn counter_is_invariant() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_never_goes_back_and_stays_with_the_system() {
        let mut clock = TickClock::new();
        let start = Instant::now();
        let first = clock.now_ns();
        // The first reading lies between these two moments of the system's clock, and so does each later one.
        let first_latest = start.elapsed().as_nanos() as u64;
        let slack_ns = 1_000_000;
        let mut last = first;
        while start.elapsed() < Duration::from_millis(200) {
            let before = start.elapsed().as_nanos() as u64;
            let now = clock.now_ns();
            let after = start.elapsed().as_nanos() as u64;
            assert!(now >= last);
            let passed = now - first;
            assert!(
                passed + first_latest + slack_ns >= before,
                "behind: {passed} of {before}"
            );
            assert!(passed <= after + slack_ns, "ahead: {passed} of {after}");
            last = now;
        }
    }

    #[test]
    fn without_an_invariant_counter_it_is_the_systems_clock() {
        let mut clock = TickClock {
            invariant: false,
            ..TickClock::new()
        };
        let first = clock.now_ns();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now_ns() >= first + 2_000_000);
        assert_eq!(clock.scale, 0);
    }
}
