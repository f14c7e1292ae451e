//! Rows of the hash commands. Facts as Redis documents them, in our own words.

use super::{combined, expire, walk};
use crate::engine::{
    Argument, ArgumentType, CommandSpec, DatabaseHandler, Group, Handler, KeySpec, flags, key_flags,
};

const READ: u32 = flags::READONLY;
const READ_FAST: u32 = flags::READONLY | flags::FAST;
const WRITE_FAST: u32 = flags::WRITE | flags::FAST;
const GROW_FAST: u32 = flags::WRITE | flags::DENYOOM | flags::FAST;

const KEY: Argument = Argument::key("key");
const FIELD: Argument = Argument::string("field");
const VALUE: Argument = Argument::string("value");

/// Reads values.
const KEY_READ: &[KeySpec] = &[KeySpec::first(key_flags::RO | key_flags::ACCESS)];
/// Reads what is not the user's data.
const KEY_LOOK: &[KeySpec] = &[KeySpec::first(key_flags::RO)];
const KEY_CHANGE: &[KeySpec] = &[KeySpec::first(key_flags::RW | key_flags::UPDATE)];
const KEY_UPDATE: &[KeySpec] = &[KeySpec::first(
    key_flags::RW | key_flags::ACCESS | key_flags::UPDATE,
)];

const UNORDERED: &[&str] = &["nondeterministic_output_order"];

const PAIRS: &[Argument] = &[KEY, Argument::block("data", &[FIELD, VALUE]).multiple()];
const FIELDS: Argument = Argument::block(
    "fields",
    &[Argument::integer("numfields"), FIELD.multiple()],
)
.after("FIELDS");

const UNIX_SECONDS: Argument = Argument::new("unix-time-seconds", ArgumentType::UnixTime);
const UNIX_MILLISECONDS: Argument = Argument::new("unix-time-milliseconds", ArgumentType::UnixTime);
const EX: Argument = Argument::integer("seconds").after("EX");
const PX: Argument = Argument::integer("milliseconds").after("PX");
const EXAT: Argument = UNIX_SECONDS.after("EXAT");
const PXAT: Argument = UNIX_MILLISECONDS.after("PXAT");

const CONDITION: Argument = Argument::one_of(
    "condition",
    &[
        Argument::token("nx", "NX"),
        Argument::token("xx", "XX"),
        Argument::token("gt", "GT"),
        Argument::token("lt", "LT"),
    ],
);
const GETEX_EXPIRATIONS: &[Argument] = &[EX, PX, EXAT, PXAT, Argument::token("persist", "PERSIST")];
const SETEX: &[Argument] = &[
    KEY,
    Argument::one_of(
        "condition",
        &[Argument::token("fnx", "FNX"), Argument::token("fxx", "FXX")],
    )
    .optional(),
    Argument::one_of(
        "expiration",
        &[EX, PX, EXAT, PXAT, Argument::token("keepttl", "KEEPTTL")],
    )
    .optional(),
    Argument::block(
        "fields",
        &[
            Argument::integer("numfields"),
            Argument::block("data", &[FIELD, VALUE]).multiple(),
        ],
    )
    .after("FIELDS"),
];
const RANDOM: &[Argument] = &[
    KEY,
    Argument::block(
        "options",
        &[
            Argument::integer("count"),
            Argument::token("withvalues", "WITHVALUES").optional(),
        ],
    )
    .optional(),
];
const SCAN: &[Argument] = &[
    KEY,
    Argument::integer("cursor"),
    Argument::pattern("pattern").after("MATCH").optional(),
    Argument::integer("count").after("COUNT").optional(),
    Argument::token("novalues", "NOVALUES").optional(),
];

/// What all rows of the group share.
const HASH: CommandSpec = CommandSpec {
    group: Group::Hash,
    ..CommandSpec::DEFAULT
};

const fn database(run: DatabaseHandler) -> Handler {
    Handler::Database(run)
}

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "hdel",
        summary: "Removes fields from a hash, and the key with the last of them.",
        since: "2.0.0",
        complexity: "O(N) in the number of fields named.",
        arity: -3,
        flags: WRITE_FAST,
        keys: &[KeySpec::first(key_flags::RW | key_flags::DELETE)],
        arguments: &[KEY, FIELD.multiple()],
        handler: database(super::hdel),
        history: &[("2.4.0", "Takes several fields.")],
        ..HASH
    },
    CommandSpec {
        name: "hexists",
        summary: "Tells whether a field is in a hash.",
        since: "2.0.0",
        complexity: "O(1)",
        arity: 3,
        flags: READ_FAST,
        keys: KEY_LOOK,
        arguments: &[KEY, FIELD],
        handler: database(super::hexists),
        ..HASH
    },
    CommandSpec {
        name: "hexpire",
        summary: "Has fields expire after so many seconds.",
        since: "7.4.0",
        complexity: "O(N) in the number of fields named.",
        arity: -6,
        flags: WRITE_FAST,
        keys: KEY_CHANGE,
        arguments: &[
            KEY,
            Argument::integer("seconds"),
            CONDITION.optional(),
            FIELDS,
        ],
        handler: database(expire::hexpire),
        ..HASH
    },
    CommandSpec {
        name: "hexpireat",
        summary: "Has fields expire at a Unix time in seconds.",
        since: "7.4.0",
        complexity: "O(N) in the number of fields named.",
        arity: -6,
        flags: WRITE_FAST,
        keys: KEY_CHANGE,
        arguments: &[KEY, UNIX_SECONDS, CONDITION.optional(), FIELDS],
        handler: database(expire::hexpireat),
        ..HASH
    },
    CommandSpec {
        name: "hexpiretime",
        summary: "Tells the Unix time in seconds at which fields expire.",
        since: "7.4.0",
        complexity: "O(N) in the number of fields named.",
        arity: -5,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY, FIELDS],
        handler: database(expire::hexpiretime),
        ..HASH
    },
    CommandSpec {
        name: "hget",
        summary: "Answers the value of a field.",
        since: "2.0.0",
        complexity: "O(1)",
        arity: 3,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY, FIELD],
        handler: database(super::hget),
        ..HASH
    },
    CommandSpec {
        name: "hgetall",
        summary: "Answers every field with its value.",
        since: "2.0.0",
        complexity: "O(N) in the number of fields of the hash.",
        arity: 2,
        flags: READ,
        keys: KEY_READ,
        arguments: &[KEY],
        handler: database(super::hgetall),
        tips: UNORDERED,
        ..HASH
    },
    CommandSpec {
        name: "hgetdel",
        summary: "Answers the values of fields and removes them.",
        since: "8.0.0",
        complexity: "O(N) in the number of fields named.",
        arity: -5,
        flags: WRITE_FAST,
        keys: &[KeySpec::first(
            key_flags::RW | key_flags::ACCESS | key_flags::DELETE,
        )],
        arguments: &[KEY, FIELDS],
        handler: database(combined::hgetdel),
        ..HASH
    },
    CommandSpec {
        name: "hgetex",
        summary: "Answers the values of fields and sets or removes their expiry.",
        since: "8.0.0",
        complexity: "O(N) in the number of fields named.",
        arity: -5,
        flags: WRITE_FAST,
        keys: &[KeySpec::first(
            key_flags::RW | key_flags::ACCESS | key_flags::UPDATE,
        )],
        arguments: &[
            KEY,
            Argument::one_of("expiration", GETEX_EXPIRATIONS).optional(),
            FIELDS,
        ],
        handler: database(combined::hgetex),
        ..HASH
    },
    CommandSpec {
        name: "hincrby",
        summary: "Adds to the integer in a field; a missing field counts as 0.",
        since: "2.0.0",
        complexity: "O(1)",
        arity: 4,
        flags: GROW_FAST,
        keys: KEY_UPDATE,
        arguments: &[KEY, FIELD, Argument::integer("increment")],
        handler: database(super::hincrby),
        ..HASH
    },
    CommandSpec {
        name: "hincrbyfloat",
        summary: "Adds to the floating-point number in a field; a missing field counts as 0.",
        since: "2.6.0",
        complexity: "O(1)",
        arity: 4,
        flags: GROW_FAST,
        keys: KEY_UPDATE,
        arguments: &[KEY, FIELD, Argument::new("increment", ArgumentType::Double)],
        handler: database(super::hincrbyfloat),
        ..HASH
    },
    CommandSpec {
        name: "hkeys",
        summary: "Answers the names of all fields.",
        since: "2.0.0",
        complexity: "O(N) in the number of fields of the hash.",
        arity: 2,
        flags: READ,
        keys: KEY_READ,
        arguments: &[KEY],
        handler: database(super::hkeys),
        tips: UNORDERED,
        ..HASH
    },
    CommandSpec {
        name: "hlen",
        summary: "Tells how many fields a hash has.",
        since: "2.0.0",
        complexity: "O(1)",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_LOOK,
        arguments: &[KEY],
        handler: database(super::hlen),
        ..HASH
    },
    CommandSpec {
        name: "hmget",
        summary: "Answers the values of several fields.",
        since: "2.0.0",
        complexity: "O(N) in the number of fields named.",
        arity: -3,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY, FIELD.multiple()],
        handler: database(super::hmget),
        ..HASH
    },
    CommandSpec {
        name: "hmset",
        summary: "Stores values in fields.",
        since: "2.0.0",
        complexity: "O(N) in the number of fields named.",
        arity: -4,
        flags: GROW_FAST,
        keys: KEY_CHANGE,
        arguments: PAIRS,
        handler: database(super::hmset),
        deprecated_since: "4.0.0",
        replaced_by: "`HSET` with multiple field-value pairs",
        ..HASH
    },
    CommandSpec {
        name: "hpersist",
        summary: "Removes the expiry of fields.",
        since: "7.4.0",
        complexity: "O(N) in the number of fields named.",
        arity: -5,
        flags: WRITE_FAST,
        keys: KEY_CHANGE,
        arguments: &[KEY, FIELDS],
        handler: database(expire::hpersist),
        ..HASH
    },
    CommandSpec {
        name: "hpexpire",
        summary: "Has fields expire after so many milliseconds.",
        since: "7.4.0",
        complexity: "O(N) in the number of fields named.",
        arity: -6,
        flags: WRITE_FAST,
        keys: KEY_CHANGE,
        arguments: &[
            KEY,
            Argument::integer("milliseconds"),
            CONDITION.optional(),
            FIELDS,
        ],
        handler: database(expire::hpexpire),
        ..HASH
    },
    CommandSpec {
        name: "hpexpireat",
        summary: "Has fields expire at a Unix time in milliseconds.",
        since: "7.4.0",
        complexity: "O(N) in the number of fields named.",
        arity: -6,
        flags: WRITE_FAST,
        keys: KEY_CHANGE,
        arguments: &[KEY, UNIX_MILLISECONDS, CONDITION.optional(), FIELDS],
        handler: database(expire::hpexpireat),
        ..HASH
    },
    CommandSpec {
        name: "hpexpiretime",
        summary: "Tells the Unix time in milliseconds at which fields expire.",
        since: "7.4.0",
        complexity: "O(N) in the number of fields named.",
        arity: -5,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY, FIELDS],
        handler: database(expire::hpexpiretime),
        ..HASH
    },
    CommandSpec {
        name: "hpttl",
        summary: "Tells how many milliseconds fields have left.",
        since: "7.4.0",
        complexity: "O(N) in the number of fields named.",
        arity: -5,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY, FIELDS],
        handler: database(expire::hpttl),
        tips: &["nondeterministic_output"],
        ..HASH
    },
    CommandSpec {
        name: "hrandfield",
        summary: "Answers fields of a hash by chance.",
        since: "6.2.0",
        complexity: "O(N) in the number of fields answered.",
        arity: -2,
        flags: READ,
        keys: KEY_READ,
        arguments: RANDOM,
        handler: database(walk::hrandfield),
        tips: &["nondeterministic_output"],
        ..HASH
    },
    CommandSpec {
        name: "hscan",
        summary: "Goes through the fields of a hash step by step.",
        since: "2.8.0",
        complexity: "O(1) for each call, O(N) in the number of fields for the whole way.",
        arity: -3,
        flags: READ,
        keys: KEY_READ,
        arguments: SCAN,
        handler: database(walk::hscan),
        tips: &["nondeterministic_output"],
        ..HASH
    },
    CommandSpec {
        name: "hset",
        summary: "Stores values in fields.",
        since: "2.0.0",
        complexity: "O(N) in the number of fields stored.",
        arity: -4,
        flags: GROW_FAST,
        keys: KEY_CHANGE,
        arguments: PAIRS,
        handler: database(super::hset),
        history: &[("4.0.0", "Takes several fields with their values.")],
        ..HASH
    },
    CommandSpec {
        name: "hsetex",
        summary: "Stores values in fields and sets their expiry.",
        since: "8.0.0",
        complexity: "O(N) in the number of fields stored.",
        arity: -6,
        flags: GROW_FAST,
        keys: KEY_CHANGE,
        arguments: SETEX,
        handler: database(combined::hsetex),
        ..HASH
    },
    CommandSpec {
        name: "hsetnx",
        summary: "Stores a value in a field that does not exist.",
        since: "2.0.0",
        complexity: "O(1)",
        arity: 4,
        flags: GROW_FAST,
        keys: &[KeySpec::first(key_flags::RW | key_flags::INSERT)],
        arguments: &[KEY, FIELD, VALUE],
        handler: database(super::hsetnx),
        ..HASH
    },
    CommandSpec {
        name: "hstrlen",
        summary: "Tells the length of the value of a field.",
        since: "3.2.0",
        complexity: "O(1)",
        arity: 3,
        flags: READ_FAST,
        keys: KEY_LOOK,
        arguments: &[KEY, FIELD],
        handler: database(super::hstrlen),
        ..HASH
    },
    CommandSpec {
        name: "httl",
        summary: "Tells how many seconds fields have left.",
        since: "7.4.0",
        complexity: "O(N) in the number of fields named.",
        arity: -5,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY, FIELDS],
        handler: database(expire::httl),
        tips: &["nondeterministic_output"],
        ..HASH
    },
    CommandSpec {
        name: "hvals",
        summary: "Answers the values of all fields.",
        since: "2.0.0",
        complexity: "O(N) in the number of fields of the hash.",
        arity: 2,
        flags: READ,
        keys: KEY_READ,
        arguments: &[KEY],
        handler: database(super::hvals),
        tips: UNORDERED,
        ..HASH
    },
];
