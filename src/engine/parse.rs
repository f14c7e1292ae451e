//! Small parsers of arguments that several groups share.
//!
//! In: one argument, or the options at the end of a command. Out: a number, a database index, options; or the error
//! that Redis answers. Nothing here looks at the keyspace, so that a command can parse all it was given before it
//! changes anything. Mirrors the `get...FromObjectOrReply` family of Redis's object.c and the option loops of
//! t_string.c, expire.c and db.c.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::CommandError;
use crate::keyspace::{Clock, Type};
use crate::resp::Args;
use crate::system::{glob, numbers};

/// Whether an argument is this word, in any case.
#[inline]
pub fn is_word(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// A 64-bit integer.
#[inline]
pub fn integer(arg: &[u8]) -> Result<i64, CommandError> {
    numbers::parse_i64(arg).ok_or(CommandError::NotInteger)
}

/// An integer between two bounds, both included.
pub fn integer_within(arg: &[u8], min: i64, max: i64) -> Result<i64, CommandError> {
    let value = integer(arg)?;
    if value < min || value > max {
        return Err(CommandError::text_owned(format!(
            "ERR value is out of range, value must between {min} and {max}"
        )));
    }
    Ok(value)
}

/// A 32-bit integer (C's `int`: database numbers and their like).
pub fn int(arg: &[u8]) -> Result<i32, CommandError> {
    let value = integer_within(arg, i64::from(i32::MIN), i64::from(i32::MAX))?;
    i32::try_from(value).map_err(|_| CommandError::NotInteger)
}

/// A 32-bit integer; whatever is wrong with it, the answer is `otherwise` (a whole text, prefix included).
pub fn int_or(arg: &[u8], otherwise: &'static str) -> Result<i32, CommandError> {
    int(arg).map_err(|_| CommandError::fixed(otherwise))
}

/// Timeout of a blocking command, in seconds with a fraction: the monotonic time at which it gives up, ns; 0: never.
pub fn timeout(arg: &[u8], now: Clock) -> Result<Option<u64>, CommandError> {
    // In the precision of Redis, a long double: a part of a millisecond must not become none, which would be for ever.
    let seconds = numbers::LongDouble::parse(arg).ok_or(CommandError::fixed(
        "ERR timeout is not a float or out of range",
    ))?;
    match seconds.thousandfold_ceiling() {
        Some(ms) => timeout_at(ms, now),
        None => Err(CommandError::fixed("ERR timeout is out of range")),
    }
}

/// A timeout that is given in whole milliseconds (XREAD's BLOCK), as the monotonic time at which it ends, ns; 0: never.
pub fn timeout_ms(arg: &[u8], now: Clock) -> Result<Option<u64>, CommandError> {
    let ms = numbers::parse_i64(arg).ok_or(CommandError::fixed(
        "ERR timeout is not an integer or out of range",
    ))?;
    timeout_at(ms, now)
}

fn timeout_at(ms: i64, now: Clock) -> Result<Option<u64>, CommandError> {
    let left_ms = u64::try_from(ms).map_err(|_| CommandError::fixed("ERR timeout is negative"))?;
    if left_ms == 0 {
        return Ok(None);
    }
    // The bound of Redis, which counts in Unix milliseconds. A step of the system's clock neither ends nor prolongs the
    // waiting here, and the part of a millisecond that has passed when the command begins takes nothing from it.
    if now.unix_ms().checked_add(ms).is_none() {
        return Err(CommandError::fixed("ERR timeout is out of range"));
    }
    let left_ns = left_ms.saturating_mul(1_000_000);
    Ok(Some(now.mono_ns.saturating_add(left_ns)))
}

/// The number of one of `count` databases.
pub fn database(arg: &[u8], count: usize) -> Result<usize, CommandError> {
    database_of(int(arg)?, count)
}

/// The index of a database by its number, which is parsed already.
pub fn database_of(number: i32, count: usize) -> Result<usize, CommandError> {
    match usize::try_from(number) {
        Ok(index) if index < count => Ok(index),
        _ => Err(CommandError::DatabaseOutOfRange),
    }
}

/// In what a time to live is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpireUnit {
    /// `EX`: seconds from now.
    Seconds,
    /// `PX`: milliseconds from now.
    Milliseconds,
    /// `EXAT`: Unix time in seconds.
    UnixSeconds,
    /// `PXAT`: Unix time in milliseconds.
    UnixMilliseconds,
}

impl ExpireUnit {
    /// The unit that an option's word stands for.
    pub fn of_word(word: &[u8]) -> Option<ExpireUnit> {
        const WORDS: [(&str, ExpireUnit); 4] = [
            ("EX", ExpireUnit::Seconds),
            ("PX", ExpireUnit::Milliseconds),
            ("EXAT", ExpireUnit::UnixSeconds),
            ("PXAT", ExpireUnit::UnixMilliseconds),
        ];
        WORDS
            .iter()
            .find(|(known, _)| is_word(word, known))
            .map(|(_, unit)| *unit)
    }
    /// Given as a time, not as a distance from now.
    pub fn is_absolute(self) -> bool {
        matches!(self, ExpireUnit::UnixSeconds | ExpireUnit::UnixMilliseconds)
    }
    fn is_seconds(self) -> bool {
        matches!(self, ExpireUnit::Seconds | ExpireUnit::UnixSeconds)
    }
}

/// `EX`, `PX`, `EXAT` or `PXAT` with its number, which is read late: a syntax error elsewhere comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpireOption<'a> {
    /// Unit.
    pub unit: ExpireUnit,
    /// The number as it was given.
    pub text: &'a [u8],
}

impl ExpireOption<'_> {
    /// Unix ms of expiry, for options that take positive numbers only (SET and its like).
    pub fn unix_ms(&self, now_ms: i64, command: &str) -> Result<i64, CommandError> {
        let number = integer(self.text)?;
        let invalid = || CommandError::InvalidExpire(command.to_owned());
        if number <= 0 {
            return Err(invalid());
        }
        self.scaled(number, now_ms)
            .filter(|at| *at > 0)
            .ok_or_else(invalid)
    }
    /// Unix ms of expiry, for commands that take any number (EXPIRE and its like).
    pub fn any_unix_ms(&self, now_ms: i64, command: &str) -> Result<i64, CommandError> {
        let number = integer(self.text)?;
        self.scaled(number, now_ms)
            .ok_or_else(|| CommandError::InvalidExpire(command.to_owned()))
    }
    fn scaled(&self, number: i64, now_ms: i64) -> Option<i64> {
        // What does not fit is an error of the option, whichever step it is that goes beyond.
        let number_ms = if self.unit.is_seconds() {
            number.checked_mul(1000)?
        } else {
            number
        };
        if self.unit.is_absolute() {
            Some(number_ms)
        } else {
            number_ms.checked_add(now_ms)
        }
    }
}

/// `NX`, `XX`, `GT` and `LT` of the EXPIRE family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireCondition {
    /// Only when there is no expiry.
    pub nx: bool,
    /// Only when there is an expiry.
    pub xx: bool,
    /// Only when the new expiry is later.
    pub gt: bool,
    /// Only when the new expiry is earlier.
    pub lt: bool,
}

impl ExpireCondition {
    /// Reads all of `options`.
    pub fn parse(options: Args<'_>) -> Result<ExpireCondition, CommandError> {
        let mut condition = ExpireCondition::default();
        for option in options.iter() {
            let flag = match () {
                () if is_word(option, "NX") => &mut condition.nx,
                () if is_word(option, "XX") => &mut condition.xx,
                () if is_word(option, "GT") => &mut condition.gt,
                () if is_word(option, "LT") => &mut condition.lt,
                () => {
                    return Err(CommandError::showing("ERR Unsupported option ", option, ""));
                }
            };
            *flag = true;
        }
        if condition.nx && (condition.xx || condition.gt || condition.lt) {
            // Behind the reading of all of them: an option that is unknown is told first.
            return Err(CommandError::fixed(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if condition.gt && condition.lt {
            return Err(CommandError::fixed(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(condition)
    }
    /// Whether a key that expires at `current` may be made to expire at `at`. No expiry counts as infinitely late.
    pub fn holds(&self, current: Option<i64>, at: i64) -> bool {
        let (nx, xx) = (!self.nx || current.is_none(), !self.xx || current.is_some());
        let gt = !self.gt || current.is_some_and(|current| at > current);
        let lt = !self.lt || current.is_none_or(|current| at < current);
        nx && xx && gt && lt
    }
}

/// A SCAN cursor.
pub fn cursor(arg: &[u8]) -> Result<u64, CommandError> {
    numbers::parse_u64(arg).ok_or(CommandError::fixed("ERR invalid cursor"))
}

/// Options of SCAN, SSCAN, HSCAN and ZSCAN.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions<'a> {
    /// `MATCH`, unless it matches everything.
    pub pattern: Option<&'a [u8]>,
    /// `COUNT`: about so many elements, at least 1.
    pub count: u64,
    /// `TYPE`, as it was given.
    pub kind: Option<&'a [u8]>,
    /// `NOVALUES`.
    pub no_values: bool,
}

impl<'a> ScanOptions<'a> {
    /// Reads all of `options`; `TYPE` is an option only where a whole database is scanned.
    pub fn parse(options: Args<'a>, with_type: bool) -> Result<ScanOptions<'a>, CommandError> {
        ScanOptions::parse_all(options, with_type, false)
    }
    /// Reads all of the options of HSCAN, which knows `NOVALUES`.
    pub fn parse_hash(options: Args<'a>) -> Result<ScanOptions<'a>, CommandError> {
        ScanOptions::parse_all(options, false, true)
    }
    fn parse_all(
        options: Args<'a>,
        with_type: bool,
        with_no_values: bool,
    ) -> Result<ScanOptions<'a>, CommandError> {
        let mut parsed = ScanOptions {
            pattern: None,
            count: 10,
            kind: None,
            no_values: false,
        };
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            if with_no_values && is_word(option, "NOVALUES") {
                parsed.no_values = true;
                continue;
            }
            let Some(value) = rest.next() else {
                return Err(CommandError::Syntax);
            };
            if is_word(option, "COUNT") {
                parsed.count = match u64::try_from(integer(value)?) {
                    Ok(count) if count > 0 => count,
                    _ => return Err(CommandError::Syntax),
                };
            } else if is_word(option, "MATCH") {
                parsed.pattern = (value != b"*").then_some(value);
            } else if with_type && is_word(option, "TYPE") {
                parsed.kind = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }
    /// Whether an element's name passes `MATCH`.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.pattern
            .is_none_or(|pattern| glob::matches(pattern, name))
    }
    /// Whether a key's type passes `TYPE`. A name that is no type's passes nothing.
    pub fn matches_type(&self, kind: Type) -> bool {
        self.kind.is_none_or(|name| is_word(name, kind.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedRequest;

    fn text<T: std::fmt::Debug>(result: Result<T, CommandError>) -> String {
        result.unwrap_err().text().into_owned()
    }

    #[test]
    fn database_numbers_are_checked_in_redis_order() {
        assert_eq!(database(b"15", 16), Ok(15));
        assert_eq!(text(database(b"16", 16)), "ERR DB index is out of range");
        assert_eq!(text(database(b"-1", 16)), "ERR DB index is out of range");
        assert_eq!(
            text(database(b"x", 16)),
            "ERR value is not an integer or out of range"
        );
        assert_eq!(
            text(database(b"2147483648", 16)),
            "ERR value is out of range, value must between -2147483648 and 2147483647"
        );
        assert_eq!(
            text(int_or(b"x", "ERR invalid first DB index")),
            "ERR invalid first DB index"
        );
    }

    #[test]
    fn expire_options_do_not_overflow() {
        let now_ms = 1_700_000_000_000;
        let option = |unit, text| ExpireOption { unit, text };
        assert_eq!(
            option(ExpireUnit::Seconds, b"10").unix_ms(now_ms, "set"),
            Ok(now_ms + 10_000)
        );
        assert_eq!(
            option(ExpireUnit::UnixMilliseconds, b"10").unix_ms(now_ms, "set"),
            Ok(10)
        );
        for (unit, number) in [
            (ExpireUnit::Seconds, "9223372036854775807"),
            (ExpireUnit::Seconds, "9223372036854775"),
            (ExpireUnit::Milliseconds, "9223372036854775807"),
            (ExpireUnit::UnixSeconds, "9223372036854776"),
            (ExpireUnit::Seconds, "0"),
            (ExpireUnit::Seconds, "-1"),
        ] {
            let got = option(unit, number.as_bytes()).unix_ms(now_ms, "set");
            assert_eq!(
                text(got),
                "ERR invalid expire time in 'set' command",
                "{unit:?} {number}"
            );
        }
        assert_eq!(
            option(ExpireUnit::Seconds, b"-10").any_unix_ms(now_ms, "expire"),
            Ok(now_ms - 10_000)
        );
        let lowest =
            option(ExpireUnit::Seconds, b"-9223372036854775808").any_unix_ms(now_ms, "expire");
        assert_eq!(text(lowest), "ERR invalid expire time in 'expire' command");
    }

    #[test]
    fn expire_conditions_exclude_each_other() {
        let parse =
            |words: &[&str]| ExpireCondition::parse(OwnedRequest::from_slices(words).args());
        let incompatible = "ERR NX and XX, GT or LT options at the same time are not compatible";
        assert_eq!(text(parse(&["nx", "xx"])), incompatible);
        assert_eq!(text(parse(&["gt", "NX"])), incompatible);
        assert_eq!(
            text(parse(&["GT", "LT"])),
            "ERR GT and LT options at the same time are not compatible"
        );
        assert_eq!(text(parse(&["AB"])), "ERR Unsupported option AB");
        let xx_gt = parse(&["XX", "GT"]).unwrap();
        assert!(xx_gt.holds(Some(5), 6) && !xx_gt.holds(Some(5), 5) && !xx_gt.holds(None, 6));
        let lt = parse(&["LT"]).unwrap();
        assert!(lt.holds(None, 6) && lt.holds(Some(7), 6) && !lt.holds(Some(6), 6));
    }

    #[test]
    fn scan_options() {
        fn parse(words: &[&str], with_type: bool) -> Result<(Option<Vec<u8>>, u64), String> {
            let request = OwnedRequest::from_slices(words);
            ScanOptions::parse(request.args(), with_type)
                .map(|options| (options.pattern.map(<[u8]>::to_vec), options.count))
                .map_err(|error| error.text().into_owned())
        }
        assert_eq!(parse(&[], true), Ok((None, 10)));
        assert_eq!(parse(&["match", "*", "COUNT", "3"], true), Ok((None, 3)));
        assert_eq!(
            parse(&["MATCH", "a*"], true),
            Ok((Some(b"a*".to_vec()), 10))
        );
        let syntax = Err("ERR syntax error".to_owned());
        for bad in [
            &["COUNT"][..],
            &["COUNT", "0"],
            &["COUNT", "-5"],
            &["FOO", "1"],
            &["MATCH"],
        ] {
            assert_eq!(parse(bad, true), syntax, "{bad:?}");
        }
        assert_eq!(parse(&["TYPE", "string"], false), syntax);
        assert_eq!(
            parse(&["COUNT", "x"], true),
            Err("ERR value is not an integer or out of range".to_owned())
        );
        assert_eq!(text(cursor(b"x")), "ERR invalid cursor");
        assert_eq!(cursor(b"18446744073709551615"), Ok(u64::MAX));
    }
}
