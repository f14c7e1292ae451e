//! Rows of the sorted-set commands. Facts as Redis documents them, in our own words.

use super::{add, algebra, pop, range, read};
use crate::engine::{
    Argument, ArgumentType, BeginSearch, CommandSpec, DatabaseHandler, FindKeys, Group, Handler,
    KeySpec, acl, flags, key_flags,
};

const READ: u32 = flags::READONLY;
const READ_FAST: u32 = flags::READONLY | flags::FAST;
const WRITE: u32 = flags::WRITE;
const WRITE_FAST: u32 = flags::WRITE | flags::FAST;
const GROW: u32 = flags::WRITE | flags::DENYOOM;
const GROW_FAST: u32 = flags::WRITE | flags::DENYOOM | flags::FAST;
const BLOCK: u32 = flags::WRITE | flags::BLOCKING;
const BLOCK_FAST: u32 = flags::WRITE | flags::FAST | flags::BLOCKING;

const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];

const ACCESSED: u32 = key_flags::RO | key_flags::ACCESS;
const TAKEN: u32 = key_flags::RW | key_flags::ACCESS | key_flags::DELETE;
const OVERWRITTEN: u32 = key_flags::OW | key_flags::UPDATE;

const KEY_META: &[KeySpec] = &[KeySpec::first(key_flags::RO)];
const KEY_READ: &[KeySpec] = &[KeySpec::first(ACCESSED)];
const KEY_DELETE: &[KeySpec] = &[KeySpec::first(key_flags::RW | key_flags::DELETE)];
const KEY_TAKE: &[KeySpec] = &[KeySpec::first(TAKEN)];

/// Keys behind their number, which is the argument `index`.
const fn counted(flags: u32, index: i32) -> KeySpec {
    KeySpec {
        flags,
        begin: BeginSearch::Index(index),
        find: FindKeys::KeyNum {
            key_num: 0,
            first: 1,
            step: 1,
        },
        notes: "",
    }
}

const KEYS_READ: &[KeySpec] = &[counted(ACCESSED, 1)];
const KEYS_STORED: &[KeySpec] = &[KeySpec::first(OVERWRITTEN), counted(ACCESSED, 2)];

const KEY: Argument = Argument::key("key");
const KEYS: Argument = KEY.multiple();
const SOURCES: Argument = Argument {
    key_spec: 1,
    ..KEYS
};
const DESTINATION: Argument = Argument::key("destination");
const NUMKEYS: Argument = Argument::integer("numkeys");
const MEMBER: Argument = Argument::string("member");
const TIMEOUT: Argument = Argument::new("timeout", ArgumentType::Double);
const MIN_SCORE: Argument = Argument::new("min", ArgumentType::Double);
const MAX_SCORE: Argument = Argument::new("max", ArgumentType::Double);
const MIN_MEMBER: Argument = Argument::string("min");
const MAX_MEMBER: Argument = Argument::string("max");
const WITHSCORES: Argument = Argument::token("withscores", "WITHSCORES").optional();
const WITHSCORE: Argument = Argument::token("withscore", "WITHSCORE").optional();
const COUNT: Argument = Argument::integer("count").after("COUNT").optional();
const WHERE: Argument = Argument::one_of(
    "where",
    &[Argument::token("min", "MIN"), Argument::token("max", "MAX")],
);
const LIMIT: Argument = Argument::block(
    "limit",
    &[Argument::integer("offset"), Argument::integer("count")],
)
.after("LIMIT")
.optional();
const SORTED_BY: Argument = Argument::one_of(
    "sortby",
    &[
        Argument::token("byscore", "BYSCORE"),
        Argument::token("bylex", "BYLEX"),
    ],
)
.optional();
const REV: Argument = Argument::token("rev", "REV").optional();
const WEIGHTS: Argument = Argument::integer("weight")
    .after("WEIGHTS")
    .multiple()
    .optional();
const AGGREGATE: Argument = Argument::one_of(
    "aggregate",
    &[
        Argument::token("sum", "SUM"),
        Argument::token("min", "MIN"),
        Argument::token("max", "MAX"),
    ],
)
.after("AGGREGATE")
.optional();

const ZADD_ARGUMENTS: &[Argument] = &[
    KEY,
    Argument::one_of(
        "condition",
        &[Argument::token("nx", "NX"), Argument::token("xx", "XX")],
    )
    .optional()
    .since("3.0.2"),
    Argument::one_of(
        "comparison",
        &[Argument::token("gt", "GT"), Argument::token("lt", "LT")],
    )
    .optional()
    .since("6.2.0"),
    Argument::token("change", "CH").optional().since("3.0.2"),
    Argument::token("increment", "INCR")
        .optional()
        .since("3.0.2"),
    Argument::block(
        "data",
        &[Argument::new("score", ArgumentType::Double), MEMBER],
    )
    .multiple(),
];

const LOG: &str = "O(log(N)) with N members in the sorted set.";
const LOG_AND_ANSWER: &str = "O(log(N)+M) with N members in the sorted set and M of them answered.";
const LOG_AND_REMOVED: &str = "O(log(N)+M) with N members in the sorted set and M of them removed.";
const UNION_COST: &str =
    "O(N)+O(M*log(M)) with N members in all inputs together and M in the result.";
const INTER_COST: &str =
    "O(N*K)+O(M*log(M)) with N members in the smallest of K inputs and M in the result.";
const DIFF_COST: &str =
    "O(L)+O(K*log(K)) at worst, with L members in all inputs together and K in the result.";

/// What all rows of the group share.
const SORTED_SET: CommandSpec = CommandSpec {
    group: Group::SortedSet,
    acl: acl::SORTEDSET,
    ..CommandSpec::DEFAULT
};

/// What the rows of commands that ZRANGE replaces have in common.
const DEPRECATED: CommandSpec = CommandSpec {
    complexity: LOG_AND_ANSWER,
    arity: -4,
    flags: READ,
    keys: KEY_READ,
    deprecated_since: "6.2.0",
    ..SORTED_SET
};

const fn database(run: DatabaseHandler) -> Handler {
    Handler::Database(run)
}

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "bzmpop",
        summary: "Takes members from an end of the first non-empty sorted set of several, or waits for one.",
        since: "7.0.0",
        complexity: "O(K)+O(M*log(N)) with K keys, N members in the sorted set and M of them taken.",
        arity: -5,
        flags: BLOCK,
        keys: &[counted(TAKEN, 2)],
        arguments: &[TIMEOUT, NUMKEYS, KEYS, WHERE, COUNT],
        handler: database(pop::bzmpop),
        ..SORTED_SET
    },
    CommandSpec {
        name: "bzpopmax",
        summary: "Takes the member with the highest score from the first non-empty of several sorted sets, or waits.",
        since: "5.0.0",
        complexity: LOG,
        arity: -3,
        flags: BLOCK_FAST,
        keys: &[KeySpec::range(TAKEN, 1, -2, 1)],
        history: &[("6.0.0", "The timeout may have a fraction.")],
        arguments: &[KEYS, TIMEOUT],
        handler: database(pop::bzpopmax),
        ..SORTED_SET
    },
    CommandSpec {
        name: "bzpopmin",
        summary: "Takes the member with the lowest score from the first non-empty of several sorted sets, or waits.",
        since: "5.0.0",
        complexity: LOG,
        arity: -3,
        flags: BLOCK_FAST,
        keys: &[KeySpec::range(TAKEN, 1, -2, 1)],
        history: &[("6.0.0", "The timeout may have a fraction.")],
        arguments: &[KEYS, TIMEOUT],
        handler: database(pop::bzpopmin),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zadd",
        summary: "Adds members with scores, or changes the scores of those that are there.",
        since: "1.2.0",
        complexity: "O(log(N)) for each pair, with N members in the sorted set.",
        arity: -4,
        flags: GROW_FAST,
        keys: &[KeySpec::first(key_flags::RW | key_flags::UPDATE)],
        history: &[
            ("2.4.0", "Takes several pairs."),
            ("3.0.2", "`XX`, `NX`, `CH` and `INCR`."),
            ("6.2.0", "`GT` and `LT`."),
        ],
        arguments: ZADD_ARGUMENTS,
        handler: database(add::zadd),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zcard",
        summary: "Answers the number of members.",
        since: "1.2.0",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_META,
        arguments: &[KEY],
        handler: database(read::zcard),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zcount",
        summary: "Counts the members with scores in a range.",
        since: "2.0.0",
        complexity: LOG,
        arity: 4,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY, MIN_SCORE, MAX_SCORE],
        handler: database(read::zcount),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zdiff",
        summary: "Answers the members of the first input that no other has.",
        since: "6.2.0",
        complexity: DIFF_COST,
        arity: -3,
        flags: READ,
        keys: KEYS_READ,
        arguments: &[NUMKEYS, KEYS, WITHSCORES],
        handler: database(algebra::zdiff),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zdiffstore",
        summary: "Stores the members of the first input that no other has.",
        since: "6.2.0",
        complexity: DIFF_COST,
        arity: -4,
        flags: GROW,
        keys: KEYS_STORED,
        arguments: &[DESTINATION, NUMKEYS, SOURCES],
        handler: database(algebra::zdiffstore),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zincrby",
        summary: "Adds to the score of a member; a missing one begins at 0.",
        since: "1.2.0",
        complexity: LOG,
        arity: 4,
        flags: GROW_FAST,
        keys: &[KeySpec::first(
            key_flags::RW | key_flags::ACCESS | key_flags::UPDATE,
        )],
        arguments: &[KEY, Argument::integer("increment"), MEMBER],
        handler: database(add::zincrby),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zinter",
        summary: "Answers the members that all inputs have.",
        since: "6.2.0",
        complexity: INTER_COST,
        arity: -3,
        flags: READ,
        keys: KEYS_READ,
        arguments: &[NUMKEYS, KEYS, WEIGHTS, AGGREGATE, WITHSCORES],
        handler: database(algebra::zinter),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zintercard",
        summary: "Counts the members that all inputs have, up to a limit.",
        since: "7.0.0",
        complexity: "O(N*K) at worst, with N members in the smallest of K inputs.",
        arity: -3,
        flags: READ,
        keys: KEYS_READ,
        arguments: &[
            NUMKEYS,
            KEYS,
            Argument::integer("limit").after("LIMIT").optional(),
        ],
        handler: database(algebra::zintercard),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zinterstore",
        summary: "Stores the members that all inputs have.",
        since: "2.0.0",
        complexity: INTER_COST,
        arity: -4,
        flags: GROW,
        keys: KEYS_STORED,
        arguments: &[DESTINATION, NUMKEYS, SOURCES, WEIGHTS, AGGREGATE],
        handler: database(algebra::zinterstore),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zlexcount",
        summary: "Counts the members in a range of their bytes.",
        since: "2.8.9",
        complexity: LOG,
        arity: 4,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY, MIN_MEMBER, MAX_MEMBER],
        handler: database(read::zlexcount),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zmpop",
        summary: "Takes members from an end of the first non-empty sorted set of several.",
        since: "7.0.0",
        complexity: "O(K)+O(M*log(N)) with K keys, N members in the sorted set and M of them taken.",
        arity: -4,
        flags: WRITE,
        keys: &[counted(TAKEN, 1)],
        arguments: &[NUMKEYS, KEYS, WHERE, COUNT],
        handler: database(pop::zmpop),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zmscore",
        summary: "Answers the scores of several members.",
        since: "6.2.0",
        complexity: "O(N) with N members asked for.",
        arity: -3,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY, MEMBER.multiple()],
        handler: database(read::zmscore),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zpopmax",
        summary: "Takes the members with the highest scores.",
        since: "5.0.0",
        complexity: "O(log(N)*M) with N members in the sorted set and M of them taken.",
        arity: -2,
        flags: WRITE_FAST,
        keys: KEY_TAKE,
        arguments: &[KEY, Argument::integer("count").optional()],
        handler: database(pop::zpopmax),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zpopmin",
        summary: "Takes the members with the lowest scores.",
        since: "5.0.0",
        complexity: "O(log(N)*M) with N members in the sorted set and M of them taken.",
        arity: -2,
        flags: WRITE_FAST,
        keys: KEY_TAKE,
        arguments: &[KEY, Argument::integer("count").optional()],
        handler: database(pop::zpopmin),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrandmember",
        summary: "Answers members at random.",
        since: "6.2.0",
        complexity: "O(N) with N members answered.",
        arity: -2,
        flags: READ,
        keys: KEY_READ,
        tips: NONDETERMINISTIC,
        arguments: &[
            KEY,
            Argument::block("options", &[Argument::integer("count"), WITHSCORES]).optional(),
        ],
        handler: database(read::zrandmember),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrange",
        summary: "Answers a run of members by rank, score or bytes, in either direction.",
        since: "1.2.0",
        complexity: LOG_AND_ANSWER,
        arity: -4,
        flags: READ,
        keys: KEY_READ,
        history: &[("6.2.0", "`REV`, `BYSCORE`, `BYLEX` and `LIMIT`.")],
        arguments: &[
            KEY,
            Argument::string("start"),
            Argument::string("stop"),
            SORTED_BY.since("6.2.0"),
            REV.since("6.2.0"),
            LIMIT.since("6.2.0"),
            WITHSCORES,
        ],
        handler: database(range::zrange),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrangebylex",
        summary: "Answers the members in a range of their bytes.",
        since: "2.8.9",
        replaced_by: "`ZRANGE` with the `BYLEX` argument",
        arguments: &[KEY, MIN_MEMBER, MAX_MEMBER, LIMIT],
        handler: database(range::zrangebylex),
        ..DEPRECATED
    },
    CommandSpec {
        name: "zrangebyscore",
        summary: "Answers the members with scores in a range.",
        since: "1.0.5",
        replaced_by: "`ZRANGE` with the `BYSCORE` argument",
        history: &[("2.0.0", "`WITHSCORES`.")],
        arguments: &[KEY, MIN_SCORE, MAX_SCORE, WITHSCORES.since("2.0.0"), LIMIT],
        handler: database(range::zrangebyscore),
        ..DEPRECATED
    },
    CommandSpec {
        name: "zrangestore",
        summary: "Stores a run of members by rank, score or bytes.",
        since: "6.2.0",
        complexity: "O(log(N)+M) with N members in the sorted set and M of them stored.",
        arity: -5,
        flags: GROW,
        keys: &[
            KeySpec::first(OVERWRITTEN),
            KeySpec::range(ACCESSED, 2, 0, 1),
        ],
        arguments: &[
            Argument::key("dst"),
            Argument {
                key_spec: 1,
                ..Argument::key("src")
            },
            MIN_MEMBER,
            MAX_MEMBER,
            SORTED_BY,
            REV,
            LIMIT,
        ],
        handler: database(range::zrangestore),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrank",
        summary: "Answers the rank of a member, the lowest score first.",
        since: "2.0.0",
        complexity: LOG,
        arity: -3,
        flags: READ_FAST,
        keys: KEY_READ,
        history: &[("7.2.0", "`WITHSCORE`.")],
        arguments: &[KEY, MEMBER, WITHSCORE],
        handler: database(read::zrank),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrem",
        summary: "Removes members.",
        since: "1.2.0",
        complexity: "O(M*log(N)) with N members in the sorted set and M to be removed.",
        arity: -3,
        flags: WRITE_FAST,
        keys: KEY_DELETE,
        history: &[("2.4.0", "Takes several members.")],
        arguments: &[KEY, MEMBER.multiple()],
        handler: database(add::zrem),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zremrangebylex",
        summary: "Removes the members in a range of their bytes.",
        since: "2.8.9",
        complexity: LOG_AND_REMOVED,
        arity: 4,
        flags: WRITE,
        keys: KEY_DELETE,
        arguments: &[KEY, MIN_MEMBER, MAX_MEMBER],
        handler: database(range::zremrangebylex),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zremrangebyrank",
        summary: "Removes the members with ranks in a range.",
        since: "2.0.0",
        complexity: LOG_AND_REMOVED,
        arity: 4,
        flags: WRITE,
        keys: KEY_DELETE,
        arguments: &[KEY, Argument::integer("start"), Argument::integer("stop")],
        handler: database(range::zremrangebyrank),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zremrangebyscore",
        summary: "Removes the members with scores in a range.",
        since: "1.2.0",
        complexity: LOG_AND_REMOVED,
        arity: 4,
        flags: WRITE,
        keys: KEY_DELETE,
        arguments: &[KEY, MIN_SCORE, MAX_SCORE],
        handler: database(range::zremrangebyscore),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrevrange",
        summary: "Answers a run of members by rank, the highest score first.",
        since: "1.2.0",
        replaced_by: "`ZRANGE` with the `REV` argument",
        arguments: &[
            KEY,
            Argument::integer("start"),
            Argument::integer("stop"),
            WITHSCORES,
        ],
        handler: database(range::zrevrange),
        ..DEPRECATED
    },
    CommandSpec {
        name: "zrevrangebylex",
        summary: "Answers the members in a range of their bytes, the highest first.",
        since: "2.8.9",
        replaced_by: "`ZRANGE` with the `REV` and `BYLEX` arguments",
        arguments: &[KEY, MAX_MEMBER, MIN_MEMBER, LIMIT],
        handler: database(range::zrevrangebylex),
        ..DEPRECATED
    },
    CommandSpec {
        name: "zrevrangebyscore",
        summary: "Answers the members with scores in a range, the highest score first.",
        since: "2.2.0",
        replaced_by: "`ZRANGE` with the `REV` and `BYSCORE` arguments",
        history: &[("2.1.6", "Either end may be exclusive.")],
        arguments: &[KEY, MAX_SCORE, MIN_SCORE, WITHSCORES, LIMIT],
        handler: database(range::zrevrangebyscore),
        ..DEPRECATED
    },
    CommandSpec {
        name: "zrevrank",
        summary: "Answers the rank of a member, the highest score first.",
        since: "2.0.0",
        complexity: LOG,
        arity: -3,
        flags: READ_FAST,
        keys: KEY_READ,
        history: &[("7.2.0", "`WITHSCORE`.")],
        arguments: &[KEY, MEMBER, WITHSCORE],
        handler: database(read::zrevrank),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zscan",
        summary: "Iterates over members and their scores.",
        since: "2.8.0",
        complexity: "O(1) for every call, O(N) for all members.",
        arity: -3,
        flags: READ,
        keys: KEY_READ,
        tips: NONDETERMINISTIC,
        arguments: &[
            KEY,
            Argument::integer("cursor"),
            Argument::pattern("pattern").after("MATCH").optional(),
            COUNT,
        ],
        handler: database(read::zscan),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zscore",
        summary: "Answers the score of a member.",
        since: "1.2.0",
        arity: 3,
        flags: READ_FAST,
        keys: KEY_READ,
        arguments: &[KEY, MEMBER],
        handler: database(read::zscore),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zunion",
        summary: "Answers the members that any input has.",
        since: "6.2.0",
        complexity: UNION_COST,
        arity: -3,
        flags: READ,
        keys: KEYS_READ,
        arguments: &[NUMKEYS, KEYS, WEIGHTS, AGGREGATE, WITHSCORES],
        handler: database(algebra::zunion),
        ..SORTED_SET
    },
    CommandSpec {
        name: "zunionstore",
        summary: "Stores the members that any input has.",
        since: "2.0.0",
        complexity: UNION_COST,
        arity: -4,
        flags: GROW,
        keys: KEYS_STORED,
        arguments: &[DESTINATION, NUMKEYS, SOURCES, WEIGHTS, AGGREGATE],
        handler: database(algebra::zunionstore),
        ..SORTED_SET
    },
];
