//! Rows of SORT and SORT_RO. Facts as Redis documents them, in our own words.

use crate::engine::{
    Argument, BeginSearch, CommandError, CommandSpec, FindKeys, Group, Handler, KeySpec, acl,
    flags, key_flags, parse,
};
use crate::resp::Args;

const SORTED_KEY: KeySpec = KeySpec::first(key_flags::RO | key_flags::ACCESS);
const fn unknown(flags: u32, notes: &'static str) -> KeySpec {
    KeySpec {
        flags,
        begin: BeginSearch::Unknown,
        find: FindKeys::Unknown,
        notes,
    }
}
const PATTERN_KEYS: KeySpec = unknown(
    key_flags::RO | key_flags::ACCESS,
    "Keys of `BY` and `GET`; their names come from the elements, so nobody knows them beforehand",
);
const STORE_KEY: KeySpec = unknown(
    key_flags::OW | key_flags::UPDATE,
    "Key of `STORE`, a word that may stand anywhere among the options",
);

/// A pattern of names of keys, shown as `pattern`.
const fn pattern(name: &'static str) -> Argument {
    Argument {
        key_spec: 1,
        ..Argument::pattern(name).shown_as("pattern")
    }
}
const ARGUMENTS: &[Argument] = &[
    Argument::key("key"),
    pattern("by-pattern").after("BY").optional(),
    Argument::block(
        "limit",
        &[Argument::integer("offset"), Argument::integer("count")],
    )
    .after("LIMIT")
    .optional(),
    Argument {
        multiple_token: true,
        ..pattern("get-pattern").after("GET").optional().multiple()
    },
    Argument::one_of(
        "order",
        &[
            Argument::token("asc", "ASC"),
            Argument::token("desc", "DESC"),
        ],
    )
    .optional(),
    Argument::token("sorting", "ALPHA").optional(),
];
const STORE: Argument = Argument {
    key_spec: 2,
    ..Argument::key("destination").after("STORE").optional()
};

/// What both rows share.
const SORT: CommandSpec = CommandSpec {
    group: Group::Generic,
    complexity: "O(N+M*log(M)) with N elements at the key of which M are answered; O(N) without sorting.",
    arity: -2,
    acl: acl::SET | acl::SORTEDSET | acl::LIST | acl::DANGEROUS,
    reads_unnamed: Some(reads_by_pattern),
    ..CommandSpec::DEFAULT
};

/// The key that is sorted, and the last one that STORE names.
fn sort_keys(args: Args<'_>) -> Result<Vec<(usize, u32)>, CommandError> {
    let mut keys = sort_ro_keys(args)?;
    let mut at = 2;
    while let Some(word) = args.get(at) {
        at += 1;
        if parse::is_word(word, "LIMIT") {
            at += 2;
        } else if parse::is_word(word, "GET") || parse::is_word(word, "BY") {
            at += 1;
        } else if parse::is_word(word, "STORE") && at < args.len() {
            keys.truncate(1);
            keys.push((at, key_flags::OW | key_flags::UPDATE));
        }
    }
    Ok(keys)
}

/// The first option that reads other keys; options behind a mistake do not count.
fn reads_by_pattern(args: Args<'_>) -> Option<CommandError> {
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let is = |option: &str| parse::is_word(word, option);
        let value = args.get(at + 1);
        match value {
            Some(pattern) if is("BY") && pattern.contains(&b'*') => {
                return Some(CommandError::fixed(
                    "ERR BY option of SORT denied due to insufficient ACL permissions.",
                ));
            }
            Some(_) if is("GET") => {
                return Some(CommandError::fixed(
                    "ERR GET option of SORT denied due to insufficient ACL permissions.",
                ));
            }
            Some(_) if is("BY") || is("STORE") => at += 2,
            Some(_) if is("LIMIT") && args.get(at + 2).is_some() => at += 3,
            _ if is("ASC") || is("DESC") || is("ALPHA") => at += 1,
            _ => return None,
        }
    }
    None
}

fn sort_ro_keys(_args: Args<'_>) -> Result<Vec<(usize, u32)>, CommandError> {
    Ok(vec![(1, key_flags::RO | key_flags::ACCESS)])
}

/// The rows of this group.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "sort",
        summary: "Answers or stores the elements of a list, set or sorted set in order.",
        flags: flags::WRITE | flags::DENYOOM,
        keys: &[SORTED_KEY, PATTERN_KEYS, STORE_KEY],
        get_keys: Some(sort_keys),
        arguments: &[
            ARGUMENTS[0],
            ARGUMENTS[1],
            ARGUMENTS[2],
            ARGUMENTS[3],
            ARGUMENTS[4],
            ARGUMENTS[5],
            STORE,
        ],
        handler: Handler::Database(super::sort),
        ..SORT
    },
    CommandSpec {
        name: "sort_ro",
        summary: "Answers the elements of a list, set or sorted set in order; for replicas.",
        since: "7.0.0",
        flags: flags::READONLY,
        keys: &[SORTED_KEY, PATTERN_KEYS],
        get_keys: Some(sort_ro_keys),
        arguments: ARGUMENTS,
        handler: Handler::Database(super::sort_ro),
        ..SORT
    },
];
