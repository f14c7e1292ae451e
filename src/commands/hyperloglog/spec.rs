//! Rows of the HyperLogLog commands. Facts as Redis documents them, in our own words.

use crate::engine::{
    Argument, CommandSpec, DatabaseHandler, Group, Handler, KeySpec, acl, flags, key_flags,
};

const KEY: Argument = Argument::key("key");

/// What all rows of the group share.
const HYPERLOGLOG: CommandSpec = CommandSpec {
    group: Group::HyperLogLog,
    since: "2.8.9",
    acl: acl::HYPERLOGLOG,
    ..CommandSpec::DEFAULT
};

const fn database(run: DatabaseHandler) -> Handler {
    Handler::Database(run)
}

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "pfadd",
        summary: "Adds elements to a HyperLogLog; a missing key begins empty.",
        complexity: "O(1) for each element.",
        arity: -2,
        flags: flags::WRITE | flags::DENYOOM | flags::FAST,
        keys: &[KeySpec::first(key_flags::RW | key_flags::INSERT)],
        arguments: &[KEY, Argument::string("element").optional().multiple()],
        handler: database(super::pfadd),
        ..HYPERLOGLOG
    },
    CommandSpec {
        name: "pfcount",
        summary: "Estimates how many different elements were added to one or more HyperLogLogs.",
        complexity: "O(1) with one key, whose count is kept until it changes. O(N) in the number of keys, and slower, with several.",
        arity: -2,
        flags: flags::READONLY | flags::MAY_REPLICATE,
        keys: &[KeySpec {
            notes: "RW because the count of a single key is kept in it",
            ..KeySpec::range(key_flags::RW | key_flags::ACCESS, 1, -1, 1)
        }],
        arguments: &[KEY.multiple()],
        handler: database(super::pfcount),
        ..HYPERLOGLOG
    },
    CommandSpec {
        name: "pfdebug",
        is_internal: true,
        summary: "Shows registers or encoding of a HyperLogLog.",
        complexity: "N/A",
        arity: 3,
        flags: flags::WRITE | flags::DENYOOM | flags::ADMIN,
        keys: &[KeySpec::range(key_flags::RW | key_flags::ACCESS, 2, 0, 1)],
        arguments: &[Argument::string("subcommand"), KEY],
        handler: database(super::pfdebug),
        ..HYPERLOGLOG
    },
    CommandSpec {
        name: "pfmerge",
        summary: "Merges HyperLogLogs into one.",
        complexity: "O(N) in the number of HyperLogLogs, each of which is read whole.",
        arity: -2,
        flags: flags::WRITE | flags::DENYOOM,
        keys: &[
            KeySpec::first(key_flags::RW | key_flags::ACCESS | key_flags::INSERT),
            KeySpec::range(key_flags::RO | key_flags::ACCESS, 2, -1, 1),
        ],
        arguments: &[
            Argument::key("destkey"),
            Argument {
                key_spec: 1,
                ..Argument::key("sourcekey").optional().multiple()
            },
        ],
        handler: database(super::pfmerge),
        ..HYPERLOGLOG
    },
    CommandSpec {
        name: "pfselftest",
        is_internal: true,
        summary: "Tests the HyperLogLog itself; the server does nothing else meanwhile.",
        complexity: "N/A",
        arity: 1,
        flags: flags::ADMIN,
        handler: database(super::pfselftest),
        ..HYPERLOGLOG
    },
];
