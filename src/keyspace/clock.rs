//! The time as a command sees it: fixed while the command runs.

/// Wall clock and monotonic clock, read together at the start of a command; handlers never read a clock themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Microseconds since the Unix epoch.
    pub unix_us: i64,
    /// Nanoseconds of a clock that never jumps; its zero has no meaning.
    pub mono_ns: u64,
    /// Keys and fields whose time is over count as living: so the append-only file is loaded, whose commands ran when
    /// they did live.
    pub keeps_expired: bool,
}

impl Clock {
    /// The clock when the monotonic one has gone on to `mono_ns`. The Unix clock follows by whole microseconds of the
    /// monotonic one, not of each step: the rests of many short steps would be lost, and with them milliseconds in a turn.
    #[inline]
    pub fn at(self, mono_ns: u64) -> Clock {
        let elapsed_us = (mono_ns / 1000).saturating_sub(self.mono_ns / 1000);
        Clock {
            unix_us: self.unix_us.saturating_add(elapsed_us as i64),
            mono_ns,
            ..self
        }
    }
    /// Milliseconds since the Unix epoch: the unit of expiry.
    pub fn unix_ms(&self) -> i64 {
        self.unix_us / 1000
    }
    /// What an expiry is compared with, Unix ms: what lies before it is over.
    #[inline]
    pub fn expiry_ms(&self) -> i64 {
        if self.keeps_expired {
            i64::MIN
        } else {
            self.unix_ms()
        }
    }
    /// Seconds since the Unix epoch.
    pub fn unix_s(&self) -> i64 {
        self.unix_us / 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each command of less than a microsecond left the Unix clock where it was.
    #[test]
    fn many_short_steps_are_as_long_as_one() {
        let start = Clock {
            unix_us: 1_700_000_000_000_000,
            mono_ns: 123_456_789,
            keeps_expired: true,
        };
        let mut now = start;
        for _ in 0..10_000 {
            now = now.at(now.mono_ns + 999);
        }
        assert_eq!(now.unix_us, start.unix_us + 9_990);
        assert_eq!(now, start.at(start.mono_ns + 9_990_000));
        let earlier = start.at(start.mono_ns - 1);
        assert_eq!(earlier.unix_us, start.unix_us);
    }
}
