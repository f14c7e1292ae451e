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
