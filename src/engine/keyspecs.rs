//! Where the keys of a command are: key specifications, read.
//!
//! In: a command's row and the arguments of one call. Out: the index of each key with its [`key_flags`], or the old
//! summary of first key, last key and step. For COMMAND GETKEYS now, and for ACL, cluster routing and client tracking
//! later. Mirrors `getKeysFromCommandWithSpecs` of Redis's db.c and `populateCommandLegacyRangeSpec` of its server.c.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::{BeginSearch, CommandError, CommandSpec, FindKeys, KeySpec, key_flags};
use crate::resp::Args;
use crate::system::numbers;

/// Whether calls of this command can have keys at all.
pub fn has_keys(spec: &CommandSpec) -> bool {
    spec.get_keys.is_some() || spec.keys.iter().any(is_key)
}

fn is_key(spec: &KeySpec) -> bool {
    spec.flags & key_flags::NOT_KEY == 0
}

/// The keys of one call: argument indexes with their flags, in the order of the specifications. An error when the
/// arguments do not fit the command; it may also have no keys.
pub fn keys_of(spec: &CommandSpec, args: Args<'_>) -> Result<Vec<(usize, u32)>, CommandError> {
    // Specifications are preferred if there are any that can be relied on; else the command's own function knows.
    let variable = spec
        .keys
        .iter()
        .any(|key| key.flags & key_flags::VARIABLE_FLAGS != 0);
    if spec.keys.iter().any(is_key)
        && !variable
        && let Some(keys) = by_specs(spec.keys.iter().filter(|spec| is_key(spec)), args)
    {
        return Ok(keys);
    }
    match spec.get_keys {
        Some(find) => find(args),
        None => Err(CommandError::fixed(
            "ERR Invalid arguments specified for command",
        )),
    }
}

/// Where the arguments of one call are that say which node of a cluster runs it: its keys, or its sharded channels. None where
/// the arguments do not fit the command, which will be refused for that.
pub fn routed_by(spec: &CommandSpec, args: Args<'_>) -> Vec<usize> {
    let found = if spec.get_keys.is_none() && spec.keys.iter().all(|key| !is_key(key)) {
        by_specs(spec.keys.iter(), args)
    } else {
        keys_of(spec, args).ok()
    };
    let found = found.unwrap_or_default();
    found.into_iter().map(|(at, _)| at).collect()
}

/// The keys that the specifications find; none if one of them is unknown, incomplete or does not fit.
fn by_specs<'a>(
    specs: impl Iterator<Item = &'a KeySpec>,
    args: Args<'_>,
) -> Option<Vec<(usize, u32)>> {
    let mut keys = Vec::new();
    for spec in specs {
        let first = match spec.begin {
            BeginSearch::Index(at) => usize::try_from(at).ok()?,
            BeginSearch::Keyword {
                keyword,
                start_from,
            } => match after_keyword(args, keyword, start_from) {
                Some(at) => at,
                None => continue,
            },
            BeginSearch::Unknown => return None,
        };
        let (first, last, step) = range(spec.find, first, args)?;
        // Arguments that do not fit have no keys: the command will be refused for them.
        if last >= args.len() || last < first {
            return None;
        }
        keys.extend((first..=last).step_by(step).map(|at| (at, spec.flags)));
        if spec.flags & key_flags::INCOMPLETE != 0 {
            // There are more than these: the command's own function has to find all.
            return None;
        }
    }
    Some(keys)
}

/// First and last key and the distance between keys; none if the arguments do not fit.
fn range(find: FindKeys, first: usize, args: Args<'_>) -> Option<(usize, usize, usize)> {
    // Signed and checked throughout: rows count from the end, and clients give numbers of keys.
    let count = i64::try_from(args.len()).ok()?;
    let begin = i64::try_from(first).ok()?;
    match find {
        FindKeys::Range { last, step, limit } => {
            let last = match (last, limit) {
                (0.., _) => begin.checked_add(last.into())?,
                (_, 0) => count.checked_add(last.into())?,
                _ => {
                    let share = count.checked_sub(begin)?.checked_div(limit.into())?;
                    begin.checked_add(share)?.checked_add(last.into())?
                }
            };
            Some((first, last.try_into().ok()?, positive(step)))
        }
        FindKeys::KeyNum {
            key_num,
            first: relative,
            step,
        } => {
            let at = usize::try_from(begin.checked_add(key_num.into())?).ok()?;
            let keys = usize::try_from(numbers::parse_i64(args.get(at)?)?).ok()?;
            let first = usize::try_from(begin.checked_add(relative.into())?).ok()?;
            let last = first.checked_add(keys)?.checked_sub(1)?;
            Some((first, last, positive(step)))
        }
        FindKeys::Unknown => None,
    }
}

fn positive(step: i32) -> usize {
    usize::try_from(step).unwrap_or(1).max(1)
}

/// The argument after a keyword, which is looked for forwards, or backwards from the end.
fn after_keyword(args: Args<'_>, keyword: &str, start_from: i32) -> Option<usize> {
    let is_keyword = |at: &usize| {
        args.get(*at)
            .is_some_and(|arg| arg.eq_ignore_ascii_case(keyword.as_bytes()))
    };
    // The last argument (or, backwards, the one after the name) cannot be a keyword with a key behind it.
    let found = match usize::try_from(start_from) {
        Ok(start) => (start..args.len().saturating_sub(1)).find(is_keyword),
        Err(_) => {
            let back = usize::try_from(start_from.unsigned_abs()).ok()?;
            let start = args.len().checked_sub(back)?;
            (2..=start).rev().find(is_keyword)
        }
    };
    found?.checked_add(1)
}

/// First key, last key (negative: from the end) and step, as COMMAND INFO summed keys up before there were
/// specifications; and whether that sum leaves keys out, which is what the flag `movablekeys` says.
pub fn legacy_range(specs: &[KeySpec]) -> (i32, i32, i32, bool) {
    let absolute = |begin: i32, last: i32| {
        if last >= 0 {
            begin.saturating_add(last)
        } else {
            last
        }
    };
    let incomplete = |spec: &KeySpec| spec.flags & key_flags::INCOMPLETE != 0;
    // One range says all by itself; of several only those that begin where the one before ends can be summed up.
    match specs {
        [] => return (0, 0, 0, false),
        [
            spec @ KeySpec {
                begin: BeginSearch::Index(begin),
                find: FindKeys::Range { last, step, .. },
                ..
            },
        ] => return (*begin, absolute(*begin, *last), *step, incomplete(spec)),
        _ => {}
    }
    let mut first = None;
    let mut last_key = 0;
    let mut movable = false;
    for spec in specs {
        let (BeginSearch::Index(begin), FindKeys::Range { last, step: 1, .. }) =
            (spec.begin, spec.find)
        else {
            movable = true;
            continue;
        };
        if last_key != 0 && last_key != begin.saturating_sub(1) {
            movable = true;
            continue;
        }
        movable |= incomplete(spec);
        first = Some(first.map_or(begin, |first: i32| first.min(begin)));
        // From the end counts as beyond any from the beginning: the comparison is of unsigned numbers.
        let last = absolute(begin, last);
        if last.cast_unsigned() > last_key.cast_unsigned() {
            last_key = last;
        }
    }
    match first {
        Some(first) => (first, last_key, 1, movable),
        None => (0, 0, 0, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedRequest;

    const RW: u32 = key_flags::RW;

    fn keys(keys: &'static [KeySpec], line: &str) -> Option<Vec<usize>> {
        let words: Vec<&str> = line.split(' ').collect();
        let spec = CommandSpec {
            keys,
            ..CommandSpec::DEFAULT
        };
        let found = keys_of(&spec, OwnedRequest::from_slices(&words).args());
        Some(found.ok()?.into_iter().map(|(at, _)| at).collect())
    }

    #[test]
    fn ranges() {
        const ONE: &[KeySpec] = &[KeySpec::first(RW)];
        const ALL: &[KeySpec] = &[KeySpec::range(RW, 1, -1, 1)];
        const PAIRS: &[KeySpec] = &[KeySpec::range(RW, 1, -1, 2)];
        const ALL_BUT_LAST: &[KeySpec] = &[KeySpec::range(RW, 1, -2, 1)];
        const HALF: &[KeySpec] = &[KeySpec {
            find: FindKeys::Range {
                last: -1,
                step: 1,
                limit: 2,
            },
            ..KeySpec::first(RW)
        }];
        assert_eq!(keys(ONE, "get a"), Some(vec![1]));
        assert_eq!(keys(ONE, "get"), None);
        assert_eq!(keys(ALL, "del a b c"), Some(vec![1, 2, 3]));
        assert_eq!(keys(PAIRS, "mset a 1 b 2"), Some(vec![1, 3]));
        assert_eq!(keys(ALL_BUT_LAST, "blpop a b 0"), Some(vec![1, 2]));
        assert_eq!(keys(ALL_BUT_LAST, "blpop a"), None);
        assert_eq!(keys(HALF, "cmd a b 1 2"), Some(vec![1, 2]));
    }

    #[test]
    fn counted_keys_do_not_overflow() {
        const COUNTED: &[KeySpec] = &[KeySpec {
            flags: RW,
            begin: BeginSearch::Index(2),
            find: FindKeys::KeyNum {
                key_num: 0,
                first: 1,
                step: 1,
            },
            notes: "",
        }];
        assert_eq!(keys(COUNTED, "eval x 2 a b c"), Some(vec![3, 4]));
        for bad in [
            "eval x 0",
            "eval x 0 a",
            "eval x 3 a b",
            "eval x -1 a",
            "eval x y a",
            "eval x 9223372036854775807 a",
            "eval",
        ] {
            assert_eq!(keys(COUNTED, bad), None, "{bad}");
        }
    }

    #[test]
    fn keywords_are_looked_for_from_either_side() {
        const fn keyword(start_from: i32) -> KeySpec {
            KeySpec {
                begin: BeginSearch::Keyword {
                    keyword: "KEYS",
                    start_from,
                },
                ..KeySpec::first(RW)
            }
        }
        const FORWARDS: &[KeySpec] = &[KeySpec::first(RW), keyword(2)];
        const BACKWARDS: &[KeySpec] = &[KeySpec::first(RW), keyword(-2)];
        assert_eq!(keys(FORWARDS, "c a x keys b"), Some(vec![1, 4]));
        assert_eq!(keys(FORWARDS, "c a x keys"), Some(vec![1]));
        assert_eq!(keys(FORWARDS, "c a"), Some(vec![1]));
        assert_eq!(keys(BACKWARDS, "c a Keys b keys c"), Some(vec![1, 5]));
        assert_eq!(keys(BACKWARDS, "c a"), Some(vec![1]));
        assert_eq!(keys(BACKWARDS, "c keys"), Some(vec![1]));
    }

    #[test]
    fn what_is_no_key_is_left_out_and_incomplete_is_not_enough() {
        const CHANNEL: &[KeySpec] = &[KeySpec::first(key_flags::NOT_KEY)];
        const INCOMPLETE: &[KeySpec] = &[KeySpec::first(key_flags::INCOMPLETE)];
        assert_eq!(keys(CHANNEL, "spublish a b"), None);
        let spec = CommandSpec {
            keys: CHANNEL,
            ..CommandSpec::DEFAULT
        };
        let request = OwnedRequest::from_slices(&["spublish", "a", "b"]);
        assert_eq!(routed_by(&spec, request.args()), [1]);
        assert_eq!(keys(INCOMPLETE, "migrate a b"), None);
        assert_eq!(legacy_range(INCOMPLETE), (1, 1, 1, true));
    }

    #[test]
    fn summed_up() {
        assert_eq!(legacy_range(&[]), (0, 0, 0, false));
        let mset = KeySpec::range(RW, 1, -1, 2);
        assert_eq!(legacy_range(&[mset]), (1, -1, 2, false));
        let (first, second) = (KeySpec::first(RW), KeySpec::range(RW, 2, 0, 1));
        assert_eq!(legacy_range(&[first, second]), (1, 2, 1, false));
        let far = KeySpec::range(RW, 4, 0, 1);
        assert_eq!(legacy_range(&[first, far]), (1, 1, 1, true));
        let unknown = KeySpec {
            begin: BeginSearch::Unknown,
            ..first
        };
        assert_eq!(legacy_range(&[first, unknown]), (1, 1, 1, true));
        assert_eq!(legacy_range(&[unknown]), (0, 0, 0, true));
    }
}
