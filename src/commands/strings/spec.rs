//! Rows of the string commands. Facts as Redis documents them, in our own words.

use super::{edit, lcs, set};
use crate::engine::{
    Argument, ArgumentType, BeginSearch, CommandSpec, DatabaseHandler, FindKeys, Group, Handler,
    KeySpec, flags, key_flags,
};

const READ: u32 = flags::READONLY;
const READ_FAST: u32 = flags::READONLY | flags::FAST;
const WRITE_FAST: u32 = flags::WRITE | flags::FAST;
const GROW: u32 = flags::WRITE | flags::DENYOOM;
const GROW_FAST: u32 = flags::WRITE | flags::DENYOOM | flags::FAST;

const KEY: Argument = Argument::key("key");
const VALUE: Argument = Argument::string("value");

const KEY_READ: &[KeySpec] = &[KeySpec::first(key_flags::RO | key_flags::ACCESS)];
const KEY_UPDATE: &[KeySpec] = &[KeySpec::first(
    key_flags::RW | key_flags::ACCESS | key_flags::UPDATE,
)];
const KEY_OVERWRITE: &[KeySpec] = &[KeySpec::first(key_flags::OW | key_flags::UPDATE)];

const EX: Argument = Argument::integer("seconds").after("EX");
const PX: Argument = Argument::integer("milliseconds").after("PX");
const EXAT: Argument = Argument::new("unix-time-seconds", ArgumentType::UnixTime).after("EXAT");
const PXAT: Argument =
    Argument::new("unix-time-milliseconds", ArgumentType::UnixTime).after("PXAT");
const NX: Argument = Argument::token("nx", "NX");
const XX: Argument = Argument::token("xx", "XX");

const COMPARISONS: &[Argument] = &[
    Argument::string("ifeq-value").after("IFEQ"),
    Argument::string("ifne-value").after("IFNE"),
    Argument::string("ifdeq-digest").after("IFDEQ"),
    Argument::string("ifdne-digest").after("IFDNE"),
];

const SET_CONDITIONS: &[Argument] = &[
    NX,
    XX,
    COMPARISONS[0].since("8.4.0"),
    COMPARISONS[1].since("8.4.0"),
    COMPARISONS[2].since("8.4.0"),
    COMPARISONS[3].since("8.4.0"),
];
const KEEPTTL: Argument = Argument::token("keepttl", "KEEPTTL");
const SET_EXPIRATIONS: &[Argument] = &[
    EX.since("2.6.12"),
    PX.since("2.6.12"),
    EXAT.since("6.2.0"),
    PXAT.since("6.2.0"),
    KEEPTTL.since("6.0.0"),
];

const SET_ARGUMENTS: &[Argument] = &[
    KEY,
    VALUE,
    Argument::one_of("condition", SET_CONDITIONS)
        .optional()
        .since("2.6.12"),
    Argument::token("get", "GET").optional().since("6.2.0"),
    Argument::one_of("expiration", SET_EXPIRATIONS).optional(),
];

const MSETEX_EXPIRATIONS: &[Argument] = &[EX, PX, EXAT, PXAT, KEEPTTL];
const GETEX_EXPIRATIONS: &[Argument] = &[EX, PX, EXAT, PXAT, Argument::token("persist", "PERSIST")];

const PAIRS: &[Argument] = &[Argument::block("data", &[KEY, VALUE]).multiple()];

/// What all rows of the group share.
const STRING: CommandSpec = CommandSpec {
    group: Group::String,
    ..CommandSpec::DEFAULT
};

const fn database(run: DatabaseHandler) -> Handler {
    Handler::Database(run)
}

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "append",
        summary: "Adds bytes to the end of a string; a missing key begins empty.",
        since: "2.0.0",
        complexity: "O(1), amortized: room for growth is reserved ahead.",
        arity: 3,
        flags: GROW_FAST,
        keys: &[KeySpec::first(key_flags::RW | key_flags::INSERT)],
        arguments: &[KEY, VALUE],
        handler: database(edit::append),
        ..STRING
    },
    CommandSpec {
        name: "decr",
        summary: "Takes one from the integer at a key; a missing key counts as 0.",
        arity: 2,
        flags: GROW_FAST,
        keys: KEY_UPDATE,
        arguments: &[KEY],
        handler: database(super::decr),
        ..STRING
    },
    CommandSpec {
        name: "decrby",
        summary: "Takes a number from the integer at a key; a missing key counts as 0.",
        arity: 3,
        flags: GROW_FAST,
        keys: KEY_UPDATE,
        arguments: &[KEY, Argument::integer("decrement")],
        handler: database(super::decrby),
        ..STRING
    },
    CommandSpec {
        name: "delex",
        summary: "Removes a key if its value or the value's digest compares as asked.",
        since: "8.4.0",
        complexity: "O(1) for IFEQ and IFNE, O(N) in the length of the value for IFDEQ and IFDNE.",
        arity: -2,
        flags: WRITE_FAST,
        keys: &[KeySpec::first(
            key_flags::RW | key_flags::ACCESS | key_flags::DELETE | key_flags::VARIABLE_FLAGS,
        )],
        get_keys: Some(set::delex_keys),
        arguments: &[KEY, Argument::one_of("condition", COMPARISONS).optional()],
        handler: database(set::delex),
        ..STRING
    },
    CommandSpec {
        name: "digest",
        summary: "Answers the XXH3 hash of a string, in hexadecimal.",
        since: "8.4.0",
        complexity: "O(N) in the length of the value.",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY],
        handler: database(set::digest),
        ..STRING
    },
    CommandSpec {
        name: "get",
        summary: "Answers the string at a key.",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY],
        handler: database(super::get),
        ..STRING
    },
    CommandSpec {
        name: "getdel",
        summary: "Answers the string at a key and removes the key.",
        since: "6.2.0",
        arity: 2,
        flags: WRITE_FAST,
        keys: &[KeySpec::first(
            key_flags::RW | key_flags::ACCESS | key_flags::DELETE,
        )],
        arguments: &[KEY],
        handler: database(super::getdel),
        ..STRING
    },
    CommandSpec {
        name: "getex",
        summary: "Answers the string at a key and sets or removes its expiry.",
        since: "6.2.0",
        arity: -2,
        flags: WRITE_FAST,
        keys: KEY_UPDATE,
        arguments: &[
            KEY,
            Argument::one_of("expiration", GETEX_EXPIRATIONS).optional(),
        ],
        handler: database(set::getex),
        ..STRING
    },
    CommandSpec {
        name: "getrange",
        summary: "Answers a part of the string at a key.",
        since: "2.4.0",
        complexity: "O(N) in the length of the answer.",
        arity: 4,
        flags: READ,
        keys: KEY_READ,
        arguments: &[KEY, Argument::integer("start"), Argument::integer("end")],
        handler: database(edit::getrange),
        ..STRING
    },
    CommandSpec {
        name: "getset",
        summary: "Stores a string and answers the one that was there.",
        arity: 3,
        flags: GROW_FAST,
        keys: KEY_UPDATE,
        deprecated_since: "6.2.0",
        replaced_by: "`SET` with the `!GET` argument",
        arguments: &[KEY, VALUE],
        handler: database(super::getset),
        ..STRING
    },
    CommandSpec {
        name: "incr",
        summary: "Adds one to the integer at a key; a missing key counts as 0.",
        arity: 2,
        flags: GROW_FAST,
        keys: KEY_UPDATE,
        arguments: &[KEY],
        handler: database(super::incr),
        ..STRING
    },
    CommandSpec {
        name: "incrby",
        summary: "Adds a number to the integer at a key; a missing key counts as 0.",
        arity: 3,
        flags: GROW_FAST,
        keys: KEY_UPDATE,
        arguments: &[KEY, Argument::integer("increment")],
        handler: database(super::incrby),
        ..STRING
    },
    CommandSpec {
        name: "incrbyfloat",
        summary: "Adds a number with decimals to the one at a key; a missing key counts as 0.",
        since: "2.6.0",
        arity: 3,
        flags: GROW_FAST,
        keys: KEY_UPDATE,
        arguments: &[KEY, Argument::new("increment", ArgumentType::Double)],
        handler: database(super::incrbyfloat),
        ..STRING
    },
    CommandSpec {
        name: "lcs",
        summary: "Finds the longest common subsequence of two strings.",
        since: "7.0.0",
        complexity: "O(N*M) in the lengths of the two strings.",
        arity: -3,
        flags: READ,
        keys: &[KeySpec::range(key_flags::RO | key_flags::ACCESS, 1, 1, 1)],
        arguments: &[
            Argument::key("key1"),
            Argument::key("key2"),
            Argument::token("len", "LEN").optional(),
            Argument::token("idx", "IDX").optional(),
            Argument::integer("min-match-len")
                .after("MINMATCHLEN")
                .optional(),
            Argument::token("withmatchlen", "WITHMATCHLEN").optional(),
        ],
        handler: database(lcs::lcs),
        ..STRING
    },
    CommandSpec {
        name: "mget",
        summary: "Answers the strings at several keys; null for each that is missing or no string.",
        complexity: "O(N) in the number of keys.",
        arity: -2,
        flags: READ_FAST,
        keys: &[KeySpec::range(key_flags::RO | key_flags::ACCESS, 1, -1, 1)],
        tips: &["request_policy:multi_shard"],
        arguments: &[KEY.multiple()],
        handler: database(super::mget),
        ..STRING
    },
    CommandSpec {
        name: "mset",
        summary: "Stores several strings at once.",
        since: "1.0.1",
        complexity: "O(N) in the number of keys.",
        arity: -3,
        flags: GROW,
        keys: &[KeySpec::range(key_flags::OW | key_flags::UPDATE, 1, -1, 2)],
        tips: &[
            "request_policy:multi_shard",
            "response_policy:all_succeeded",
        ],
        arguments: PAIRS,
        handler: database(super::mset),
        ..STRING
    },
    CommandSpec {
        name: "msetex",
        summary: "Stores several strings at once with one expiry, if all or none of the keys exist.",
        since: "8.4.0",
        complexity: "O(N) in the number of keys.",
        arity: -4,
        flags: GROW,
        keys: &[KeySpec {
            flags: key_flags::OW | key_flags::UPDATE,
            begin: BeginSearch::Index(1),
            find: FindKeys::KeyNum {
                key_num: 0,
                first: 1,
                step: 2,
            },
            notes: "",
        }],
        tips: &[
            "request_policy:multi_shard",
            "response_policy:all_succeeded",
        ],
        arguments: &[
            Argument::integer("numkeys"),
            PAIRS[0],
            Argument::one_of("condition", &[NX, XX]).optional(),
            Argument::one_of("expiration", MSETEX_EXPIRATIONS).optional(),
        ],
        handler: database(set::msetex),
        ..STRING
    },
    CommandSpec {
        name: "msetnx",
        summary: "Stores several strings at once, but none if any of the keys exists.",
        since: "1.0.1",
        complexity: "O(N) in the number of keys.",
        arity: -3,
        flags: GROW,
        keys: &[KeySpec::range(key_flags::OW | key_flags::INSERT, 1, -1, 2)],
        arguments: PAIRS,
        handler: database(super::msetnx),
        ..STRING
    },
    CommandSpec {
        name: "psetex",
        summary: "Stores a string that expires after some milliseconds.",
        since: "2.6.0",
        arity: 4,
        flags: GROW,
        keys: KEY_OVERWRITE,
        deprecated_since: "2.6.12",
        replaced_by: "`SET` with the `PX` argument",
        arguments: &[KEY, Argument::integer("milliseconds"), VALUE],
        handler: database(set::psetex),
        ..STRING
    },
    CommandSpec {
        name: "set",
        summary: "Stores a string, whatever was at the key before; on request with an expiry or a condition.",
        arity: -3,
        flags: GROW,
        keys: &[KeySpec {
            notes: "Read only with GET or a comparison",
            ..KeySpec::first(
                key_flags::RW | key_flags::ACCESS | key_flags::UPDATE | key_flags::VARIABLE_FLAGS,
            )
        }],
        get_keys: Some(set::set_keys),
        history: &[
            ("2.6.12", "Options `EX`, `PX`, `NX` and `XX`."),
            ("6.0.0", "Option `KEEPTTL`."),
            ("6.2.0", "Options `GET`, `EXAT` and `PXAT`."),
            ("7.0.0", "`NX` and `GET` go together."),
            ("8.4.0", "Options `IFEQ`, `IFNE`, `IFDEQ` and `IFDNE`."),
        ],
        arguments: SET_ARGUMENTS,
        handler: database(set::set),
        ..STRING
    },
    CommandSpec {
        name: "setex",
        summary: "Stores a string that expires after some seconds.",
        since: "2.0.0",
        arity: 4,
        flags: GROW,
        keys: KEY_OVERWRITE,
        deprecated_since: "2.6.12",
        replaced_by: "`SET` with the `EX` argument",
        arguments: &[KEY, Argument::integer("seconds"), VALUE],
        handler: database(set::setex),
        ..STRING
    },
    CommandSpec {
        name: "setnx",
        summary: "Stores a string only if the key does not exist.",
        arity: 3,
        flags: GROW_FAST,
        keys: &[KeySpec::first(key_flags::OW | key_flags::INSERT)],
        deprecated_since: "2.6.12",
        replaced_by: "`SET` with the `NX` argument",
        arguments: &[KEY, VALUE],
        handler: database(set::setnx),
        ..STRING
    },
    CommandSpec {
        name: "setrange",
        summary: "Overwrites a part of a string from an offset on; what lies between is filled with zero bytes.",
        since: "2.2.0",
        complexity: "O(N) in the length of the new part; O(1) for a short one, padding aside.",
        arity: 4,
        flags: GROW,
        keys: &[KeySpec::first(key_flags::RW | key_flags::UPDATE)],
        arguments: &[KEY, Argument::integer("offset"), VALUE],
        handler: database(edit::setrange),
        ..STRING
    },
    CommandSpec {
        name: "strlen",
        summary: "Answers the length of the string at a key.",
        since: "2.2.0",
        arity: 2,
        flags: READ_FAST,
        keys: &[KeySpec::first(key_flags::RO)],
        arguments: &[KEY],
        handler: database(super::strlen),
        ..STRING
    },
    CommandSpec {
        name: "substr",
        summary: "Answers a part of the string at a key.",
        complexity: "O(N) in the length of the answer.",
        arity: 4,
        flags: READ,
        keys: KEY_READ,
        deprecated_since: "2.0.0",
        replaced_by: "`GETRANGE`",
        arguments: &[KEY, Argument::integer("start"), Argument::integer("end")],
        handler: database(edit::getrange),
        ..STRING
    },
];
