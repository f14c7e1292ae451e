//! The ends of ranges as commands write them.
//!
//! In: the arguments that stand for the lower and the upper end. Out: a range, or the error that Redis answers.
//! Mirrors `zslParseRange` and `zslParseLexRange` of Redis's t_zset.c.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::engine::{CommandError, parse};
use crate::structures::sorted_set::{LexBound, LexRange, ScoreRange};
use crate::system::numbers::parse_decimal;
use std::ops::Range;

/// A range of scores: a number, or `(` and a number that is itself not meant.
pub(super) fn scores(min: &[u8], max: &[u8]) -> Result<ScoreRange, CommandError> {
    match (score(min), score(max)) {
        (Some((min, min_exclusive)), Some((max, max_exclusive))) => Ok(ScoreRange {
            min,
            max,
            min_exclusive,
            max_exclusive,
        }),
        _ => Err(CommandError::fixed("ERR min or max is not a float")),
    }
}

fn score(text: &[u8]) -> Option<(f64, bool)> {
    match text.strip_prefix(b"(") {
        Some(text) => Some((parse_decimal(text)?, true)),
        None => Some((parse_decimal(text)?, false)),
    }
}

/// A range of members: `-`, `+`, or `[` or `(` and a member.
pub(super) fn members<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, CommandError> {
    match (member(min), member(max)) {
        (Some(min), Some(max)) => Ok(LexRange { min, max }),
        _ => Err(CommandError::fixed(
            "ERR min or max not valid string range item",
        )),
    }
}

fn member(text: &[u8]) -> Option<LexBound<'_>> {
    let (first, rest) = text.split_first()?;
    let alone = rest.first().is_none_or(|byte| *byte == 0);
    match first {
        b'-' if alone => Some(LexBound::Lowest),
        b'+' if alone => Some(LexBound::Highest),
        b'[' => Some(LexBound::Including(rest)),
        b'(' => Some(LexBound::Excluding(rest)),
        _ => None,
    }
}

/// Ranks as ZRANGE takes them: both ends are meant, and negative ones count from the end.
#[derive(Clone, Copy)]
pub(super) struct Ranks {
    start: i64,
    end: i64,
}

impl Ranks {
    /// Reads both.
    pub(super) fn parse(start: &[u8], end: &[u8]) -> Result<Ranks, CommandError> {
        Ok(Ranks {
            start: parse::integer(start)?,
            end: parse::integer(end)?,
        })
    }
    /// Those that a set of `len` members has.
    pub(super) fn within(self, len: usize) -> Range<usize> {
        let len = i64::try_from(len).unwrap_or(i64::MAX);
        let from_start = |rank: i64| {
            if rank < 0 {
                rank.saturating_add(len)
            } else {
                rank
            }
        };
        let start = from_start(self.start).max(0);
        let end = from_start(self.end).saturating_add(1).clamp(0, len);
        if start >= end {
            return 0..0;
        }
        usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_bounds() {
        for (text, expected) in [
            ("1", Some((1.0, false))),
            ("(1.5", Some((1.5, true))),
            ("-inf", Some((f64::NEG_INFINITY, false))),
            ("(+inf", Some((f64::INFINITY, true))),
            ("1e999", Some((f64::INFINITY, false))),
            ("1e-999", Some((0.0, false))),
            ("+.5", Some((0.5, false))),
            ("0x10", None),
            ("", Some((0.0, false))),
            ("(", Some((0.0, true))),
            (" 3", None),
            ("3\0x", Some((3.0, false))),
            ("nan", None),
            ("3 ", None),
            (" ", None),
            ("str", None),
            ("((1", None),
        ] {
            assert_eq!(score(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn member_bounds() {
        assert_eq!(member(b"-"), Some(LexBound::Lowest));
        assert_eq!(member(b"+"), Some(LexBound::Highest));
        assert_eq!(member(b"["), Some(LexBound::Including(b"")));
        assert_eq!(member(b"(a"), Some(LexBound::Excluding(b"a")));
        for bad in [&b""[..], b"a", b"-x", b"+x"] {
            assert_eq!(member(bad), None);
        }
    }

    #[test]
    fn ranks() {
        let within = |start, end| Ranks { start, end }.within(5);
        assert_eq!(within(0, -1), 0..5);
        assert_eq!(within(1, 3), 1..4);
        assert_eq!(within(-2, 100), 3..5);
        assert_eq!(within(-100, 0), 0..1);
        for (start, end) in [(5, 9), (3, 2), (0, -6), (i64::MAX, i64::MAX), (0, i64::MIN)] {
            assert!(within(start, end).is_empty());
        }
        assert_eq!(within(i64::MIN, i64::MAX), 0..5);
    }
}
