//! Rows of the key and database commands. Facts as Redis documents them, in our own words.

use super::{databases, expire};
use crate::engine::{
    Argument, ArgumentType, CommandSpec, DatabaseHandler, Databases, Group, Handler, KeySpec,
    OtherDatabases, ServerHandler, acl, flags, key_flags,
};

const READ: u32 = flags::READONLY;
const READ_FAST: u32 = flags::READONLY | flags::FAST;
const WRITE: u32 = flags::WRITE;
const WRITE_FAST: u32 = flags::WRITE | flags::FAST;

const KEY: Argument = Argument::key("key");

const KEY_ACCESS: &[KeySpec] = &[KeySpec::first(key_flags::RO | key_flags::ACCESS)];
const KEY_UPDATE: &[KeySpec] = &[KeySpec::first(key_flags::RW | key_flags::UPDATE)];
const KEYS_READ: &[KeySpec] = &[KeySpec::range(key_flags::RO, 1, -1, 1)];
const KEYS_REMOVE: &[KeySpec] = &[KeySpec::range(key_flags::RM | key_flags::DELETE, 1, -1, 1)];
const OBJECT_KEY: &[KeySpec] = &[KeySpec::range(key_flags::RO, 2, 0, 1)];

const SHARDS_SUM: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];
const ALL_SHARDS_SUCCEED: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];

/// What all rows of the group share.
const GENERIC: CommandSpec = CommandSpec {
    group: Group::Generic,
    acl: acl::KEYSPACE,
    ..CommandSpec::DEFAULT
};
const SERVER: CommandSpec = CommandSpec {
    group: Group::Server,
    acl: acl::KEYSPACE,
    ..CommandSpec::DEFAULT
};
const DANGEROUS: u32 = acl::KEYSPACE | acl::DANGEROUS;

const fn database(run: DatabaseHandler) -> Handler {
    Handler::Database(run)
}
const fn server(run: ServerHandler) -> Handler {
    Handler::Server(run)
}

const EXPIRE_CONDITION: Argument = Argument::one_of(
    "condition",
    &[
        Argument::token("nx", "NX"),
        Argument::token("xx", "XX"),
        Argument::token("gt", "GT"),
        Argument::token("lt", "LT"),
    ],
)
.optional()
.since("7.0.0");
const EXPIRE_HISTORY: &[(&str, &str)] = &[("7.0.0", "Options `NX`, `XX`, `GT` and `LT`.")];
const TTL_HISTORY: &[(&str, &str)] = &[("2.8.0", "Answers -2 for a missing key.")];

const EXPIRE: CommandSpec = CommandSpec {
    arity: -3,
    flags: WRITE_FAST,
    keys: KEY_UPDATE,
    history: EXPIRE_HISTORY,
    ..GENERIC
};

const FLUSH: CommandSpec = CommandSpec {
    arity: -1,
    flags: WRITE,
    acl: DANGEROUS,
    tips: ALL_SHARDS_SUCCEED,
    history: &[("4.0.0", "Option `ASYNC`."), ("6.2.0", "Option `SYNC`.")],
    arguments: &[Argument::one_of(
        "flush-type",
        &[
            Argument::token("async", "ASYNC").since("4.0.0"),
            Argument::token("sync", "SYNC").since("6.2.0"),
        ],
    )
    .optional()],
    ..SERVER
};

const OBJECT: CommandSpec = CommandSpec {
    since: "2.2.3",
    arity: 3,
    flags: READ,
    keys: OBJECT_KEY,
    tips: NONDETERMINISTIC,
    arguments: &[KEY],
    ..GENERIC
};

/// Subcommands of OBJECT.
const OBJECT_SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "encoding",
        summary: "Answer how the value of <key> is held in memory.",
        handler: database(super::object_encoding),
        ..OBJECT
    },
    CommandSpec {
        name: "freq",
        summary: "Answer the logarithmic counter of accesses to <key>, under an LFU policy.",
        since: "4.0.0",
        handler: database(super::object_freq),
        ..OBJECT
    },
    CommandSpec {
        name: "help",
        summary: "Show the subcommands.",
        since: "6.2.0",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        handler: database(super::object_help),
        ..GENERIC
    },
    CommandSpec {
        name: "idletime",
        summary: "Answer the seconds since the last access to <key>, unless under an LFU policy.",
        handler: database(super::object_idletime),
        ..OBJECT
    },
    CommandSpec {
        name: "refcount",
        summary: "Answer the number of references to the value of <key>.",
        handler: database(super::object_refcount),
        ..OBJECT
    },
];

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "copy",
        summary: "Copies a value with its expiry to another key, if need be in another database.",
        since: "6.2.0",
        complexity: "O(N) in the number of elements of a collection, O(1) for a string.",
        arity: -3,
        flags: flags::WRITE | flags::DENYOOM,
        keys: &[
            KeySpec::first(key_flags::RO | key_flags::ACCESS),
            KeySpec::range(key_flags::OW | key_flags::UPDATE, 2, 0, 1),
        ],
        arguments: &[
            Argument::key("source"),
            Argument {
                key_spec: 1,
                ..Argument::key("destination")
            },
            Argument::integer("destination-db").after("DB").optional(),
            Argument::token("replace", "REPLACE").optional(),
        ],
        databases: Databases::selected_and(OtherDatabases::Behind("DB", 3)),
        handler: server(super::copy),
        ..GENERIC
    },
    CommandSpec {
        name: "dbsize",
        summary: "Answers the number of keys in the selected database.",
        flags: READ_FAST,
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        handler: database(databases::dbsize),
        ..SERVER
    },
    CommandSpec {
        name: "del",
        summary: "Removes keys.",
        complexity: "O(N) in the number of keys, and for each that is a collection in the number of its elements.",
        arity: -2,
        flags: WRITE,
        keys: KEYS_REMOVE,
        tips: SHARDS_SUM,
        arguments: &[KEY.multiple()],
        handler: database(super::del),
        ..GENERIC
    },
    CommandSpec {
        name: "exists",
        summary: "Counts those of the keys that exist; one named twice counts twice.",
        complexity: "O(N) in the number of keys.",
        arity: -2,
        flags: READ_FAST,
        keys: KEYS_READ,
        tips: SHARDS_SUM,
        history: &[("3.0.3", "Takes several keys.")],
        arguments: &[KEY.multiple()],
        handler: database(super::exists),
        ..GENERIC
    },
    CommandSpec {
        name: "expire",
        summary: "Lets a key expire after some seconds.",
        arguments: &[KEY, Argument::integer("seconds"), EXPIRE_CONDITION],
        handler: database(expire::expire),
        ..EXPIRE
    },
    CommandSpec {
        name: "expireat",
        summary: "Lets a key expire at a Unix time in seconds.",
        since: "1.2.0",
        arguments: &[
            KEY,
            Argument::new("unix-time-seconds", ArgumentType::UnixTime),
            EXPIRE_CONDITION,
        ],
        handler: database(expire::expireat),
        ..EXPIRE
    },
    CommandSpec {
        name: "expiretime",
        summary: "Answers the Unix time in seconds at which a key expires.",
        since: "7.0.0",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_ACCESS,
        arguments: &[KEY],
        handler: database(expire::expiretime),
        ..GENERIC
    },
    CommandSpec {
        name: "flushall",
        summary: "Removes all keys of all databases.",
        complexity: "O(N) in the number of all keys; with ASYNC on another thread.",
        databases: Databases::only(OtherDatabases::All),
        handler: server(databases::flushall),
        ..FLUSH
    },
    CommandSpec {
        name: "flushdb",
        summary: "Removes all keys of the selected database.",
        complexity: "O(N) in the number of its keys; with ASYNC on another thread.",
        handler: server(databases::flushdb),
        ..FLUSH
    },
    CommandSpec {
        name: "keys",
        summary: "Answers all keys that match a pattern.",
        complexity: "O(N) in the number of keys of the database; SCAN does the same in small steps.",
        arity: 2,
        flags: READ,
        acl: DANGEROUS,
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        arguments: &[Argument::pattern("pattern")],
        handler: database(databases::keys),
        ..GENERIC
    },
    CommandSpec {
        name: "move",
        summary: "Moves a key to another database, unless that has it already.",
        arity: 3,
        flags: WRITE_FAST,
        keys: &[KeySpec::first(
            key_flags::RW | key_flags::ACCESS | key_flags::UPDATE,
        )],
        arguments: &[KEY, Argument::integer("db")],
        databases: Databases::selected_and(OtherDatabases::At(&[2])),
        handler: server(super::move_key),
        ..GENERIC
    },
    CommandSpec {
        name: "object",
        summary: "What is known of a key's value beside the value.",
        since: "2.2.3",
        complexity: "That of the subcommand.",
        arity: -2,
        acl: 0,
        subcommands: OBJECT_SUBCOMMANDS,
        handler: Handler::Container,
        ..GENERIC
    },
    CommandSpec {
        name: "persist",
        summary: "Removes the expiry of a key.",
        since: "2.2.0",
        arity: 2,
        flags: WRITE_FAST,
        keys: KEY_UPDATE,
        arguments: &[KEY],
        handler: database(expire::persist),
        ..GENERIC
    },
    CommandSpec {
        name: "pexpire",
        summary: "Lets a key expire after some milliseconds.",
        since: "2.6.0",
        arguments: &[KEY, Argument::integer("milliseconds"), EXPIRE_CONDITION],
        handler: database(expire::pexpire),
        ..EXPIRE
    },
    CommandSpec {
        name: "pexpireat",
        summary: "Lets a key expire at a Unix time in milliseconds.",
        since: "2.6.0",
        arguments: &[
            KEY,
            Argument::new("unix-time-milliseconds", ArgumentType::UnixTime),
            EXPIRE_CONDITION,
        ],
        handler: database(expire::pexpireat),
        ..EXPIRE
    },
    CommandSpec {
        name: "pexpiretime",
        summary: "Answers the Unix time in milliseconds at which a key expires.",
        since: "7.0.0",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_ACCESS,
        arguments: &[KEY],
        handler: database(expire::pexpiretime),
        ..GENERIC
    },
    CommandSpec {
        name: "pttl",
        summary: "Answers the milliseconds that a key has yet to live.",
        since: "2.6.0",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_ACCESS,
        tips: NONDETERMINISTIC,
        history: TTL_HISTORY,
        arguments: &[KEY],
        handler: database(expire::pttl),
        ..GENERIC
    },
    CommandSpec {
        name: "randomkey",
        summary: "Answers a random key.",
        flags: READ | flags::TOUCHES_ARBITRARY_KEYS,
        tips: &[
            "request_policy:all_shards",
            "response_policy:special",
            "nondeterministic_output",
        ],
        handler: database(databases::randomkey),
        ..GENERIC
    },
    CommandSpec {
        name: "rename",
        summary: "Gives a key another name, over whatever had that name.",
        arity: 3,
        flags: WRITE,
        keys: &[
            KeySpec::first(key_flags::RW | key_flags::ACCESS | key_flags::DELETE),
            KeySpec::range(key_flags::OW | key_flags::UPDATE, 2, 0, 1),
        ],
        arguments: &[
            KEY,
            Argument {
                key_spec: 1,
                ..Argument::key("newkey")
            },
        ],
        handler: database(super::rename),
        ..GENERIC
    },
    CommandSpec {
        name: "renamenx",
        summary: "Gives a key another name, unless a key has that name.",
        arity: 3,
        flags: WRITE_FAST,
        keys: &[
            KeySpec::first(key_flags::RW | key_flags::ACCESS | key_flags::DELETE),
            KeySpec::range(key_flags::OW | key_flags::INSERT, 2, 0, 1),
        ],
        history: &[("3.2.0", "Two equal names are no error.")],
        arguments: &[
            KEY,
            Argument {
                key_spec: 1,
                ..Argument::key("newkey")
            },
        ],
        handler: database(super::renamenx),
        ..GENERIC
    },
    CommandSpec {
        name: "scan",
        summary: "Goes through the keys of the database, a few at each call.",
        since: "2.8.0",
        complexity: "O(1) for a call, O(N) for going through all N keys.",
        arity: -2,
        flags: READ | flags::TOUCHES_ARBITRARY_KEYS,
        tips: &[
            "nondeterministic_output",
            "request_policy:special",
            "response_policy:special",
        ],
        history: &[("6.0.0", "Option `TYPE`.")],
        arguments: &[
            Argument::integer("cursor"),
            Argument::pattern("pattern").after("MATCH").optional(),
            Argument::integer("count").after("COUNT").optional(),
            Argument::string("type")
                .after("TYPE")
                .optional()
                .since("6.0.0"),
        ],
        handler: database(databases::scan),
        ..GENERIC
    },
    CommandSpec {
        name: "select",
        summary: "Chooses the database of the connection.",
        group: Group::Connection,
        arity: 2,
        flags: flags::LOADING | flags::STALE | flags::FAST,
        arguments: &[Argument::integer("index")],
        databases: Databases::only(OtherDatabases::At(&[1])),
        handler: database(databases::select),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "swapdb",
        summary: "Lets two databases change places; who is connected to one sees the other at once.",
        since: "4.0.0",
        complexity: "O(N) in the number of clients that watch or wait for keys of the two.",
        arity: 3,
        flags: WRITE_FAST,
        acl: DANGEROUS,
        arguments: &[Argument::integer("index1"), Argument::integer("index2")],
        databases: Databases::only(OtherDatabases::At(&[1, 2])),
        handler: server(databases::swapdb),
        ..SERVER
    },
    CommandSpec {
        name: "touch",
        summary: "Counts those of the keys that exist, as an access to each.",
        since: "3.2.1",
        complexity: "O(N) in the number of keys.",
        arity: -2,
        flags: READ_FAST,
        keys: KEYS_READ,
        tips: SHARDS_SUM,
        arguments: &[KEY.multiple()],
        handler: database(super::touch),
        ..GENERIC
    },
    CommandSpec {
        name: "ttl",
        summary: "Answers the seconds that a key has yet to live.",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_ACCESS,
        tips: NONDETERMINISTIC,
        history: TTL_HISTORY,
        arguments: &[KEY],
        handler: database(expire::ttl),
        ..GENERIC
    },
    CommandSpec {
        name: "type",
        summary: "Answers the type of the value at a key.",
        arity: 2,
        flags: READ_FAST,
        keys: &[KeySpec::first(key_flags::RO)],
        arguments: &[KEY],
        handler: database(super::type_of),
        ..GENERIC
    },
    CommandSpec {
        name: "unlink",
        summary: "Removes keys; the memory of large values is freed on another thread.",
        since: "4.0.0",
        complexity: "O(1) for each key, whatever its size.",
        arity: -2,
        flags: WRITE_FAST,
        keys: KEYS_REMOVE,
        tips: SHARDS_SUM,
        arguments: &[KEY.multiple()],
        handler: database(super::unlink),
        ..GENERIC
    },
];
