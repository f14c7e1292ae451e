//! Rows of the set commands. Facts as Redis documents them, in our own words.

use super::{algebra, random};
use crate::engine::{
    Argument, BeginSearch, CommandSpec, DatabaseHandler, FindKeys, Group, Handler, KeySpec, acl,
    flags, key_flags,
};

const READ: u32 = flags::READONLY;
const READ_FAST: u32 = flags::READONLY | flags::FAST;
const WRITE_FAST: u32 = flags::WRITE | flags::FAST;
const GROW: u32 = flags::WRITE | flags::DENYOOM;
const GROW_FAST: u32 = flags::WRITE | flags::DENYOOM | flags::FAST;

const KEY: Argument = Argument::key("key");
const MEMBER: Argument = Argument::string("member");
const DESTINATION: Argument = Argument::key("destination");
/// The keys to read of a command that stores.
const SOURCES: Argument = Argument {
    key_spec: 1,
    ..KEY.multiple()
};

const KEY_READ: &[KeySpec] = &[KeySpec::first(key_flags::RO)];
const KEY_ACCESS: &[KeySpec] = &[KeySpec::first(key_flags::RO | key_flags::ACCESS)];
const KEY_POP: &[KeySpec] = &[KeySpec::first(
    key_flags::RW | key_flags::ACCESS | key_flags::DELETE,
)];
const KEYS_ACCESS: &[KeySpec] = &[KeySpec::range(key_flags::RO | key_flags::ACCESS, 1, -1, 1)];
const STORE_KEYS: &[KeySpec] = &[
    KeySpec::first(key_flags::OW | key_flags::UPDATE),
    KeySpec::range(key_flags::RO | key_flags::ACCESS, 2, -1, 1),
];

const UNORDERED: &[&str] = &["nondeterministic_output_order"];
const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];
const MEMBERS_HISTORY: &[(&str, &str)] = &[("2.4.0", "Several members at once.")];

const INTERSECTION: &str =
    "O(N*M) at worst, N being the size of the smallest set and M the number of sets.";
const ALL_MEMBERS: &str = "O(N) in the number of members of all sets.";

/// What all rows of the group share.
const SET: CommandSpec = CommandSpec {
    group: Group::Set,
    acl: acl::SET,
    ..CommandSpec::DEFAULT
};

const fn database(run: DatabaseHandler) -> Handler {
    Handler::Database(run)
}

/// The rows of this group.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "sadd",
        summary: "Adds members to a set.",
        complexity: "O(1) for each member.",
        arity: -3,
        flags: GROW_FAST,
        keys: &[KeySpec::first(key_flags::RW | key_flags::INSERT)],
        history: MEMBERS_HISTORY,
        arguments: &[KEY, MEMBER.multiple()],
        handler: database(super::sadd),
        ..SET
    },
    CommandSpec {
        name: "scard",
        summary: "Answers the number of members of a set.",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY],
        handler: database(super::scard),
        ..SET
    },
    CommandSpec {
        name: "sdiff",
        summary: "Answers the members of the first set that no other has.",
        complexity: ALL_MEMBERS,
        arity: -2,
        flags: READ,
        keys: KEYS_ACCESS,
        tips: UNORDERED,
        arguments: &[KEY.multiple()],
        handler: database(algebra::sdiff),
        ..SET
    },
    CommandSpec {
        name: "sdiffstore",
        summary: "Stores the members of the first set that no other has.",
        complexity: ALL_MEMBERS,
        arity: -3,
        flags: GROW,
        keys: STORE_KEYS,
        arguments: &[DESTINATION, SOURCES],
        handler: database(algebra::sdiffstore),
        ..SET
    },
    CommandSpec {
        name: "sinter",
        summary: "Answers the members that all sets have.",
        complexity: INTERSECTION,
        arity: -2,
        flags: READ,
        keys: KEYS_ACCESS,
        tips: UNORDERED,
        arguments: &[KEY.multiple()],
        handler: database(algebra::sinter),
        ..SET
    },
    CommandSpec {
        name: "sintercard",
        summary: "Answers the number of members that all sets have, on request counting only so far.",
        since: "7.0.0",
        complexity: INTERSECTION,
        arity: -3,
        flags: READ,
        keys: &[KeySpec {
            flags: key_flags::RO | key_flags::ACCESS,
            begin: BeginSearch::Index(1),
            find: FindKeys::KeyNum {
                key_num: 0,
                first: 1,
                step: 1,
            },
            notes: "",
        }],
        arguments: &[
            Argument::integer("numkeys"),
            KEY.multiple(),
            Argument::integer("limit").after("LIMIT").optional(),
        ],
        handler: database(algebra::sintercard),
        ..SET
    },
    CommandSpec {
        name: "sinterstore",
        summary: "Stores the members that all sets have.",
        complexity: INTERSECTION,
        arity: -3,
        flags: GROW,
        keys: STORE_KEYS,
        arguments: &[DESTINATION, SOURCES],
        handler: database(algebra::sinterstore),
        ..SET
    },
    CommandSpec {
        name: "sismember",
        summary: "Tells whether a set has a member.",
        arity: 3,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY, MEMBER],
        handler: database(super::sismember),
        ..SET
    },
    CommandSpec {
        name: "smembers",
        summary: "Answers all members of a set.",
        complexity: "O(N) in the number of members.",
        arity: 2,
        flags: READ,
        keys: KEY_ACCESS,
        tips: UNORDERED,
        arguments: &[KEY],
        handler: database(super::smembers),
        ..SET
    },
    CommandSpec {
        name: "smismember",
        summary: "Tells of several members whether a set has them.",
        since: "6.2.0",
        complexity: "O(N) in the number of members asked for.",
        arity: -3,
        flags: READ_FAST,
        keys: KEY_ACCESS,
        arguments: &[KEY, MEMBER.multiple()],
        handler: database(super::smismember),
        ..SET
    },
    CommandSpec {
        name: "smove",
        summary: "Moves a member from one set to another.",
        arity: 4,
        flags: WRITE_FAST,
        keys: &[
            KEY_POP[0],
            KeySpec::range(key_flags::RW | key_flags::INSERT, 2, 0, 1),
        ],
        arguments: &[
            Argument::key("source"),
            Argument {
                key_spec: 1,
                ..DESTINATION
            },
            MEMBER,
        ],
        handler: database(super::smove),
        ..SET
    },
    CommandSpec {
        name: "spop",
        summary: "Removes one or several members at random and answers them.",
        complexity: "O(1) without a count, O(N) in the count otherwise.",
        arity: -2,
        flags: WRITE_FAST,
        keys: KEY_POP,
        tips: NONDETERMINISTIC,
        history: &[("3.2.0", "Argument `count`.")],
        arguments: &[KEY, Argument::integer("count").optional().since("3.2.0")],
        handler: database(random::spop),
        ..SET
    },
    CommandSpec {
        name: "srandmember",
        summary: "Answers one or several members at random.",
        complexity: "O(1) without a count, O(N) in the absolute count otherwise.",
        arity: -2,
        flags: READ,
        keys: KEY_ACCESS,
        tips: NONDETERMINISTIC,
        history: &[("2.6.0", "Argument `count`.")],
        arguments: &[KEY, Argument::integer("count").optional().since("2.6.0")],
        handler: database(random::srandmember),
        ..SET
    },
    CommandSpec {
        name: "srem",
        summary: "Removes members from a set.",
        complexity: "O(N) in the number of members to remove.",
        arity: -3,
        flags: WRITE_FAST,
        keys: &[KeySpec::first(key_flags::RW | key_flags::DELETE)],
        history: MEMBERS_HISTORY,
        arguments: &[KEY, MEMBER.multiple()],
        handler: database(super::srem),
        ..SET
    },
    CommandSpec {
        name: "sscan",
        summary: "Goes through the members of a set a few at a time.",
        since: "2.8.0",
        complexity: "O(1) for a call, O(N) for all members.",
        arity: -3,
        flags: READ,
        keys: KEY_ACCESS,
        tips: NONDETERMINISTIC,
        arguments: &[
            KEY,
            Argument::integer("cursor"),
            Argument::pattern("pattern").after("MATCH").optional(),
            Argument::integer("count").after("COUNT").optional(),
        ],
        handler: database(super::sscan),
        ..SET
    },
    CommandSpec {
        name: "sunion",
        summary: "Answers the members that any of the sets has.",
        complexity: ALL_MEMBERS,
        arity: -2,
        flags: READ,
        keys: KEYS_ACCESS,
        tips: UNORDERED,
        arguments: &[KEY.multiple()],
        handler: database(algebra::sunion),
        ..SET
    },
    CommandSpec {
        name: "sunionstore",
        summary: "Stores the members that any of the sets has.",
        complexity: ALL_MEMBERS,
        arity: -3,
        flags: GROW,
        keys: STORE_KEYS,
        arguments: &[DESTINATION, SOURCES],
        handler: database(algebra::sunionstore),
        ..SET
    },
];
