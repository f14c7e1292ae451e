//! When and how often a key is used: the 24 bits that eviction decides by.
//!
//! Under an LRU policy they are the seconds of the last access, wrapping. Under an LFU policy they are the minute
//! of the last decay (16 bits) and a logarithmic counter (8 bits). Mirrors the clocks in Redis's `evict.c`.

use super::Clock;
use crate::system::rng::Rng;

/// Largest access clock.
const LRU_CLOCK_MAX: u32 = (1 << 24) - 1;
/// Counter of a new key, so that it is not the first to be evicted.
const LFU_INIT: u8 = 5;

/// How access clocks are kept.
#[derive(Clone, Copy, Debug)]
pub struct AccessPolicy {
    /// Counters instead of times.
    pub lfu: bool,
    /// `lfu-log-factor`.
    pub log_factor: u32,
    /// `lfu-decay-time`, minutes; 0 never decays.
    pub decay_minutes: u32,
}

impl Default for AccessPolicy {
    fn default() -> AccessPolicy {
        AccessPolicy {
            lfu: false,
            log_factor: 10,
            decay_minutes: 1,
        }
    }
}

fn lru_clock(now: Clock) -> u32 {
    (now.unix_s() as u64 & LRU_CLOCK_MAX as u64) as u32
}

fn minutes(now: Clock) -> u32 {
    (now.unix_s().div_euclid(60) as u64 & 0xffff) as u32
}

impl AccessPolicy {
    /// The clock of a new key.
    #[inline]
    pub fn fresh(&self, now: Clock) -> u32 {
        if self.lfu {
            minutes(now) << 8 | u32::from(LFU_INIT)
        } else {
            lru_clock(now)
        }
    }
    /// The clock after an access.
    #[inline]
    pub fn accessed(&self, bits: u32, now: Clock, rng: &mut Rng) -> u32 {
        if !self.lfu {
            return lru_clock(now);
        }
        let counter = self.increment(self.decayed(bits, now), rng);
        minutes(now) << 8 | u32::from(counter)
    }
    /// The clock of a key that was restored with an idle time or a counter; none where the policy keeps the other.
    pub fn restored(&self, now: Clock, idle_s: Option<i64>, counter: Option<u8>) -> Option<u32> {
        if self.lfu {
            return counter.map(|counter| minutes(now) << 8 | u32::from(counter));
        }
        let (clock, max) = (i64::from(lru_clock(now)), i64::from(LRU_CLOCK_MAX));
        let then = clock.saturating_sub(idle_s?);
        // Older than the clock can tell: as old as it can.
        let then = if then < 0 {
            (clock + max / 2) % max
        } else {
            then
        };
        u32::try_from(then).ok()
    }
    /// Milliseconds since the last access as far as an LRU clock knows.
    pub fn idle_ms(&self, bits: u32, now: Clock) -> u64 {
        let clock = lru_clock(now);
        let seconds = if clock >= bits {
            clock - bits
        } else {
            clock + (LRU_CLOCK_MAX - bits)
        };
        u64::from(seconds) * 1000
    }
    /// The LFU counter, less one for each decay period since it was last brought up to date.
    pub fn decayed(&self, bits: u32, now: Clock) -> u8 {
        let (then, counter) = (bits >> 8, (bits & 0xff) as u8);
        let now = minutes(now);
        let elapsed = if now >= then {
            now - then
        } else {
            65535 - then + now
        };
        let periods = elapsed.checked_div(self.decay_minutes).unwrap_or(0);
        counter.saturating_sub(periods.min(255) as u8)
    }
    /// Increments a counter with a probability that falls as it grows.
    fn increment(&self, counter: u8, rng: &mut Rng) -> u8 {
        if counter == 255 {
            return 255;
        }
        let base = f64::from(counter.saturating_sub(LFU_INIT));
        let probability = 1.0 / (base * f64::from(self.log_factor) + 1.0);
        if rng.unit_f64() < probability {
            counter + 1
        } else {
            counter
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_s(seconds: i64) -> Clock {
        Clock {
            unix_us: seconds * 1_000_000,
            mono_ns: 0,
            keeps_expired: false,
        }
    }

    #[test]
    fn lru_clock_wraps() {
        let policy = AccessPolicy::default();
        let mut rng = Rng::new(1);
        let before_wrap = at_s(i64::from(LRU_CLOCK_MAX) - 1);
        let bits = policy.accessed(0, before_wrap, &mut rng);
        assert_eq!(bits, LRU_CLOCK_MAX - 1);
        assert_eq!(policy.idle_ms(bits, at_s(i64::from(LRU_CLOCK_MAX))), 1000);
        // As in Redis, one second is lost over the wrap.
        assert_eq!(
            policy.idle_ms(bits, at_s(i64::from(LRU_CLOCK_MAX) + 11)),
            11_000
        );
    }

    #[test]
    fn lfu_counts_and_decays() {
        let policy = AccessPolicy {
            lfu: true,
            log_factor: 10,
            decay_minutes: 1,
        };
        let mut rng = Rng::new(1);
        let mut bits = policy.fresh(at_s(600));
        assert_eq!(policy.decayed(bits, at_s(600)), 5);
        bits = policy.accessed(bits, at_s(600), &mut rng);
        assert_eq!(
            policy.decayed(bits, at_s(600)),
            6,
            "the first increments are certain"
        );
        for _ in 0..1_000_000 {
            bits = policy.accessed(bits, at_s(600), &mut rng);
        }
        // Redis documents that factor 10 saturates after a million hits.
        let counter = policy.decayed(bits, at_s(600));
        assert!(counter > 240, "{counter}");
        assert_eq!(policy.decayed(bits, at_s(600 + 60 * 7)), counter - 7);
        assert_eq!(policy.decayed(bits, at_s(600 + 60 * 60 * 24)), 0);
        let eternal = AccessPolicy {
            decay_minutes: 0,
            ..policy
        };
        assert_eq!(eternal.decayed(bits, at_s(600 + 60 * 60 * 24)), counter);
    }

    #[test]
    fn restored_clocks() {
        let lru = AccessPolicy::default();
        let now = at_s(1_700_000_000);
        let bits = lru
            .restored(now, Some(1000), Some(7))
            .expect("an idle time");
        assert_eq!(lru.idle_ms(bits, now), 1_000_000);
        assert_eq!(lru.restored(now, None, Some(7)), None);
        let ancient = lru
            .restored(now, Some(i64::MAX), None)
            .expect("an idle time");
        assert!(lru.idle_ms(ancient, now) >= 8_000_000_000);
        let lfu = AccessPolicy { lfu: true, ..lru };
        assert_eq!(lfu.restored(now, Some(1000), None), None);
        let bits = lfu.restored(now, None, Some(7)).expect("a counter");
        assert_eq!(lfu.decayed(bits, now), 7);
    }

    #[test]
    fn lfu_factor_zero_always_counts() {
        let policy = AccessPolicy {
            lfu: true,
            log_factor: 0,
            decay_minutes: 1,
        };
        let mut rng = Rng::new(1);
        let mut bits = policy.fresh(at_s(0));
        for _ in 0..300 {
            bits = policy.accessed(bits, at_s(0), &mut rng);
        }
        assert_eq!(policy.decayed(bits, at_s(0)), 255);
    }
}
