//! Time from the system, and its spelling in log lines.
//!
//! Out: nanoseconds of a clock that never goes back, microseconds since 1970, local calendar time. Handlers never call
//! these: time is passed in to them. Mirrors monotonic.c, `ustime` and localtime.c.
//!
//! Spelling needs no locks and no memory ([`log_time`]), so that a signal handler may do it; only finding the offset of
//! local time asks the C library, and the last answer is kept for handlers.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since some point in the past; never goes back.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place to write to, and this clock exists on every system we build for.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Microseconds since 1970; 0 if the clock stands before that.
pub fn unix_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as u64)
}

/// Seconds by which local time was ahead of UTC when it was last asked for.
static UTC_OFFSET_S: AtomicI64 = AtomicI64::new(0);

/// Seconds by which local time is ahead of UTC at `unix_s`. Not for signal handlers: the C library takes a lock.
pub fn utc_offset_s(unix_s: i64) -> i64 {
    // SAFETY: all-zero bytes are a valid `tm`: integers and a pointer that may be null.
    let mut broken_down: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type; localtime_r keeps neither.
    let found = unsafe { libc::localtime_r(&unix_s, &mut broken_down) };
    let offset = if found.is_null() {
        0
    } else {
        broken_down.tm_gmtoff
    };
    UTC_OFFSET_S.store(offset, Ordering::Relaxed);
    offset
}

/// The offset that [`utc_offset_s`] answered last; safe in a signal handler.
pub fn last_utc_offset_s() -> i64 {
    UTC_OFFSET_S.load(Ordering::Relaxed)
}

/// A point in time as a calendar shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    /// Year of our Lord.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl Calendar {
    /// The calendar at `seconds` since 1970, already shifted to the wanted zone. Pure arithmetic.
    pub fn at(seconds: i64) -> Calendar {
        let days = seconds.div_euclid(86_400);
        let rest = seconds.rem_euclid(86_400);
        // Years that start in March put the leap day at the end; 400 of them are 146097 days.
        let since_march_0000 = days + 719_468;
        let era = since_march_0000.div_euclid(146_097);
        let day_of_era = since_march_0000.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Calendar {
            year,
            month: month as u8,
            day: day as u8,
            hour: (rest / 3600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
        }
    }
}

/// Spells a time as log lines carry it (`24 Nov 2026 15:00:58.123`), in local time `offset_s` ahead of UTC, with
/// neither locks nor memory from the heap.
pub fn log_time(out: &mut impl std::fmt::Write, unix_us: u64, offset_s: i64) -> std::fmt::Result {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = (unix_us / 1_000_000) as i64;
    let milliseconds = unix_us / 1000 % 1000;
    let at = Calendar::at(seconds.saturating_add(offset_s));
    let month = MONTHS[usize::from(at.month).saturating_sub(1).min(11)];
    write!(
        out,
        "{:02} {month} {} {:02}:{:02}:{:02}.{milliseconds:03}",
        at.day, at.year, at.hour, at.minute, at.second
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_clock_does_not_go_back() {
        let first = monotonic_ns();
        assert!(monotonic_ns() >= first && first > 0);
        assert!(unix_us() > 1_700_000_000_000_000);
    }

    #[test]
    fn log_times() {
        let mut text = String::new();
        log_time(&mut text, 1_795_532_458_123_999, 0).unwrap();
        assert_eq!(text, "24 Nov 2026 15:00:58.123");
        text.clear();
        log_time(&mut text, 951_827_696_000_000, -3600).unwrap();
        assert_eq!(text, "29 Feb 2000 11:34:56.000");
    }

    /// The C library's calendar is the oracle.
    #[test]
    fn calendar_agrees_with_the_c_library() {
        for i in -300_000..300_000i64 {
            let seconds = i * 100_003;
            // SAFETY: as in `utc_offset_s`.
            let mut tm: libc::tm = unsafe { std::mem::zeroed() };
            // SAFETY: both pointers are to live values of the right type.
            unsafe { libc::gmtime_r(&seconds, &mut tm) };
            let at = Calendar::at(seconds);
            let expected = (
                i64::from(tm.tm_year) + 1900,
                tm.tm_mon + 1,
                tm.tm_mday,
                tm.tm_hour,
                tm.tm_min,
                tm.tm_sec,
            );
            let ours = (
                at.year,
                i32::from(at.month),
                i32::from(at.day),
                i32::from(at.hour),
                i32::from(at.minute),
                i32::from(at.second),
            );
            assert_eq!(ours, expected, "{seconds}");
        }
    }

    #[test]
    fn the_offset_is_kept_for_handlers() {
        let offset = utc_offset_s(1_795_532_458);
        assert_eq!(last_utc_offset_s(), offset);
    }
}
