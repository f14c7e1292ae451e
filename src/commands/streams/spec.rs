//! Rows of the stream commands. Facts as Redis documents them, in our own words.

use super::{add, claim, delete, group, info, read};
use crate::engine::{
    Argument, ArgumentType, BeginSearch, CommandSpec, DatabaseHandler, FindKeys, Group, Handler,
    KeySpec, acl, flags, key_flags,
};

const READ: u32 = flags::READONLY;
const WRITE: u32 = flags::WRITE;
const WRITE_FAST: u32 = flags::WRITE | flags::FAST;

const KEY: Argument = Argument::key("key");
const GROUP: Argument = Argument::string("group");
const CONSUMER: Argument = Argument::string("consumer");
const IDS: Argument = Argument::string("id").multiple();
const COUNT: Argument = Argument::integer("count").after("COUNT").optional();
const MIN_IDLE: Argument = Argument::string("min-idle-time");
const JUSTID: Argument = Argument::token("justid", "JUSTID").optional();

const fn key_at(flags: u32, at: i32) -> KeySpec {
    KeySpec::range(flags, at, 0, 1)
}

const KEY_UPDATE: &[KeySpec] = &[KeySpec::first(key_flags::RW | key_flags::UPDATE)];
const KEY_DELETE: &[KeySpec] = &[KeySpec::first(key_flags::RW | key_flags::DELETE)];
const KEY_READ: &[KeySpec] = &[KeySpec::first(key_flags::RO | key_flags::ACCESS)];
const SUB_READ: &[KeySpec] = &[key_at(key_flags::RO | key_flags::ACCESS, 2)];
const SUB_INSERT: &[KeySpec] = &[key_at(key_flags::RW | key_flags::INSERT, 2)];
const SUB_DELETE: &[KeySpec] = &[key_at(key_flags::RW | key_flags::DELETE, 2)];
const SUB_UPDATE: &[KeySpec] = &[key_at(key_flags::RW | key_flags::UPDATE, 2)];

/// Keys are the first half of what stands behind STREAMS.
const fn streams(start_from: i32) -> KeySpec {
    KeySpec {
        flags: key_flags::RO | key_flags::ACCESS,
        begin: BeginSearch::Keyword {
            keyword: "STREAMS",
            start_from,
        },
        find: FindKeys::Range {
            last: -1,
            step: 1,
            limit: 2,
        },
        notes: "",
    }
}

const STRATEGY: &[Argument] = &[
    Argument::token("maxlen", "MAXLEN"),
    Argument::token("minid", "MINID").since("6.2.0"),
];
const OPERATOR: &[Argument] = &[
    Argument::token("equal", "="),
    Argument::token("approximately", "~"),
];
const TRIM: &[Argument] = &[
    Argument::one_of("strategy", STRATEGY),
    Argument::one_of("operator", OPERATOR).optional(),
    Argument::string("threshold"),
    Argument::integer("count")
        .after("LIMIT")
        .optional()
        .since("6.2.0"),
];
const REFERENCES: &[Argument] = &[
    Argument::token("keepref", "KEEPREF"),
    Argument::token("delref", "DELREF"),
    Argument::token("acked", "ACKED"),
];
const CONDITION: Argument = Argument::one_of("condition", REFERENCES).optional();
const COUNTED_IDS: &[Argument] = &[
    Argument::integer("numids"),
    Argument::string("id").multiple(),
];
const ENTRY_ID: &[Argument] = &[Argument::token("auto-id", "*"), Argument::string("id")];
const PAIR: &[Argument] = &[Argument::string("field"), Argument::string("value")];
const START_ID: &[Argument] = &[Argument::string("id"), Argument::token("new-id", "$")];
const STREAMS: &[Argument] = &[KEY.multiple(), IDS];
const BLOCK: Argument = Argument::integer("milliseconds").after("BLOCK").optional();
const OWNER: &[Argument] = &[GROUP, CONSUMER];
const PENDING: &[Argument] = &[
    Argument::integer("min-idle-time")
        .after("IDLE")
        .optional()
        .since("6.2.0"),
    Argument::string("start"),
    Argument::string("end"),
    Argument::integer("count"),
    CONSUMER.optional(),
];
const ENTRIESREAD: Argument = Argument::integer("entriesread")
    .shown_as("entries-read")
    .after("ENTRIESREAD")
    .optional();

const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];
const EXCLUSIVE: &[(&str, &str)] = &[("6.2.0", "Intervals can exclude their ends.")];
const REFERENCE_OPTIONS: (&str, &str) = (
    "8.2.0",
    "Takes `KEEPREF`, `DELREF` and `ACKED` for what groups still refer to.",
);

/// What all rows of the group share.
const STREAM: CommandSpec = CommandSpec {
    group: Group::Stream,
    since: "5.0.0",
    acl: acl::STREAM,
    ..CommandSpec::DEFAULT
};

const fn database(run: DatabaseHandler) -> Handler {
    Handler::Database(run)
}

/// Subcommands of XGROUP.
pub(super) const XGROUP: &[CommandSpec] = &[
    CommandSpec {
        name: "create",
        summary: "Creates a consumer group.",
        arity: -5,
        flags: flags::WRITE | flags::DENYOOM,
        keys: SUB_INSERT,
        history: &[("7.0.0", "Takes `ENTRIESREAD`.")],
        arguments: &[
            KEY,
            GROUP,
            Argument::one_of("id-selector", START_ID),
            Argument::token("mkstream", "MKSTREAM").optional(),
            ENTRIESREAD,
        ],
        handler: database(group::create),
        ..STREAM
    },
    CommandSpec {
        name: "createconsumer",
        summary: "Creates a consumer in a group.",
        since: "6.2.0",
        arity: 5,
        flags: flags::WRITE | flags::DENYOOM,
        keys: SUB_INSERT,
        arguments: &[KEY, GROUP, CONSUMER],
        handler: database(group::create_consumer),
        ..STREAM
    },
    CommandSpec {
        name: "delconsumer",
        summary: "Removes a consumer with all that is pending for it.",
        arity: 5,
        flags: WRITE,
        keys: SUB_DELETE,
        arguments: &[KEY, GROUP, CONSUMER],
        handler: database(group::delete_consumer),
        ..STREAM
    },
    CommandSpec {
        name: "destroy",
        summary: "Removes a consumer group.",
        complexity: "O(N) in the number of the group's pending entries.",
        arity: 4,
        flags: WRITE,
        keys: SUB_DELETE,
        arguments: &[KEY, GROUP],
        handler: database(group::destroy),
        ..STREAM
    },
    CommandSpec {
        name: "help",
        summary: "Shows the subcommands.",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        handler: database(group::help),
        ..STREAM
    },
    CommandSpec {
        name: "setid",
        summary: "Sets up to where a group has read.",
        arity: -5,
        flags: WRITE,
        keys: SUB_UPDATE,
        history: &[("7.0.0", "Takes `ENTRIESREAD`.")],
        arguments: &[
            KEY,
            GROUP,
            Argument::one_of("id-selector", START_ID),
            ENTRIESREAD,
        ],
        handler: database(group::set_id),
        ..STREAM
    },
];

/// Subcommands of XINFO.
pub(super) const XINFO: &[CommandSpec] = &[
    CommandSpec {
        name: "consumers",
        summary: "Lists the consumers of a group.",
        arity: 4,
        flags: READ,
        keys: SUB_READ,
        tips: NONDETERMINISTIC,
        history: &[(
            "7.2.0",
            "Has the field `inactive`; `idle` also ends by attempts that got nothing.",
        )],
        arguments: &[KEY, GROUP],
        handler: database(info::consumers),
        ..STREAM
    },
    CommandSpec {
        name: "groups",
        summary: "Lists the consumer groups of a stream.",
        arity: 3,
        flags: READ,
        keys: SUB_READ,
        history: &[("7.0.0", "Has the fields `entries-read` and `lag`.")],
        arguments: &[KEY],
        handler: database(info::groups),
        ..STREAM
    },
    CommandSpec {
        name: "help",
        summary: "Shows the subcommands.",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        handler: database(info::help),
        ..STREAM
    },
    CommandSpec {
        name: "stream",
        summary: "Shows what is known of a stream.",
        arity: -3,
        flags: READ,
        keys: SUB_READ,
        history: &[
            ("6.0.0", "Takes `FULL`."),
            (
                "7.0.0",
                "Has the fields `max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, `entries-read` \
                 and `lag`.",
            ),
            (
                "7.2.0",
                "Has the field `active-time`; `seen-time` also moves by attempts that got nothing.",
            ),
        ],
        arguments: &[
            KEY,
            Argument::block("full-block", &[Argument::token("full", "FULL"), COUNT]).optional(),
        ],
        handler: database(info::stream),
        ..STREAM
    },
];

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "xack",
        summary: "Acknowledges entries that a group's consumers have processed.",
        complexity: "O(1) for each id.",
        arity: -4,
        flags: WRITE_FAST,
        keys: KEY_UPDATE,
        arguments: &[KEY, GROUP, IDS],
        handler: database(delete::xack),
        ..STREAM
    },
    CommandSpec {
        name: "xackdel",
        summary: "Acknowledges entries for a group and deletes those that may go.",
        since: "8.2.0",
        complexity: "O(1) for each id.",
        arity: -6,
        flags: WRITE_FAST,
        keys: KEY_DELETE,
        arguments: &[
            KEY,
            GROUP,
            CONDITION,
            Argument::block("ids", COUNTED_IDS).after("IDS"),
        ],
        handler: database(delete::xackdel),
        ..STREAM
    },
    CommandSpec {
        name: "xadd",
        summary: "Adds an entry to a stream, which is created if it does not exist.",
        complexity: "O(1) for the entry, O(N) in the number of entries that are trimmed.",
        arity: -5,
        flags: flags::WRITE | flags::DENYOOM | flags::FAST,
        keys: &[KeySpec {
            notes: "It may also trim, which is why this is no INSERT",
            ..KeySpec::first(key_flags::RW | key_flags::UPDATE)
        }],
        tips: NONDETERMINISTIC,
        history: &[
            ("6.2.0", "Takes `NOMKSTREAM`, `MINID` and `LIMIT`."),
            ("7.0.0", "Takes ids of the form `<ms>-*`."),
            REFERENCE_OPTIONS,
        ],
        arguments: &[
            KEY,
            Argument::token("nomkstream", "NOMKSTREAM")
                .optional()
                .since("6.2.0"),
            CONDITION.since("8.2.0"),
            Argument::block("trim", TRIM).optional(),
            Argument::one_of("id-selector", ENTRY_ID),
            Argument::block("data", PAIR).multiple(),
        ],
        handler: database(add::xadd),
        ..STREAM
    },
    CommandSpec {
        name: "xautoclaim",
        summary: "Hands pending entries that nobody has touched for long to a consumer.",
        since: "6.2.0",
        complexity: "O(1) if COUNT is small.",
        arity: -6,
        flags: WRITE_FAST,
        keys: KEY_DELETE,
        tips: NONDETERMINISTIC,
        history: &[(
            "7.0.0",
            "Answers the ids of entries that are gone, and no longer pending, in a third part.",
        )],
        arguments: &[
            KEY,
            GROUP,
            CONSUMER,
            MIN_IDLE,
            Argument::string("start"),
            COUNT,
            JUSTID,
        ],
        handler: database(claim::xautoclaim),
        ..STREAM
    },
    CommandSpec {
        name: "xclaim",
        summary: "Hands pending entries to a consumer.",
        complexity: "O(log N) in the number of the group's pending entries.",
        arity: -6,
        flags: WRITE_FAST,
        keys: KEY_UPDATE,
        tips: NONDETERMINISTIC,
        arguments: &[
            KEY,
            GROUP,
            CONSUMER,
            MIN_IDLE,
            IDS,
            Argument::integer("ms").after("IDLE").optional(),
            Argument::new("unix-time-milliseconds", ArgumentType::UnixTime)
                .after("TIME")
                .optional(),
            Argument::integer("count").after("RETRYCOUNT").optional(),
            Argument::token("force", "FORCE").optional(),
            JUSTID,
            Argument::string("lastid").after("LASTID").optional(),
        ],
        handler: database(claim::xclaim),
        ..STREAM
    },
    CommandSpec {
        name: "xdel",
        summary: "Deletes entries from a stream.",
        complexity: "O(1) for each entry, whatever the length of the stream.",
        arity: -3,
        flags: WRITE_FAST,
        keys: KEY_DELETE,
        arguments: &[KEY, IDS],
        handler: database(delete::xdel),
        ..STREAM
    },
    CommandSpec {
        name: "xdelex",
        summary: "Deletes entries from a stream and says what becomes of groups' references to them.",
        since: "8.2.0",
        complexity: "O(1) for each entry, whatever the length of the stream.",
        arity: -5,
        flags: WRITE_FAST,
        keys: KEY_DELETE,
        arguments: &[
            KEY,
            CONDITION,
            Argument::block("ids", COUNTED_IDS).after("IDS"),
        ],
        handler: database(delete::xdelex),
        ..STREAM
    },
    CommandSpec::container(
        "xgroup",
        "5.0.0",
        Group::Stream,
        "Manages consumer groups.",
        XGROUP,
    ),
    CommandSpec::container(
        "xinfo",
        "5.0.0",
        Group::Stream,
        "Shows streams, groups and consumers.",
        XINFO,
    ),
    CommandSpec {
        name: "xlen",
        summary: "Answers the number of entries in a stream.",
        arity: 2,
        flags: flags::READONLY | flags::FAST,
        keys: &[KeySpec::first(key_flags::RO)],
        arguments: &[KEY],
        handler: database(super::xlen),
        ..STREAM
    },
    CommandSpec {
        name: "xpending",
        summary: "Shows what a group was given and has not acknowledged.",
        complexity: "O(N) in the number of entries that are answered, or looked at with IDLE; the summary is O(C) in \
                     the number of consumers.",
        arity: -3,
        flags: READ,
        keys: KEY_READ,
        tips: NONDETERMINISTIC,
        history: &[(
            "6.2.0",
            "Takes `IDLE`, and intervals can exclude their ends.",
        )],
        arguments: &[KEY, GROUP, Argument::block("filters", PENDING).optional()],
        handler: database(claim::xpending),
        ..STREAM
    },
    CommandSpec {
        name: "xrange",
        summary: "Answers the entries between two ids.",
        complexity: "O(N) in the number of entries that are answered; O(1) with a small COUNT.",
        arity: -4,
        flags: READ,
        keys: KEY_READ,
        history: EXCLUSIVE,
        arguments: &[
            KEY,
            Argument::string("start"),
            Argument::string("end"),
            COUNT,
        ],
        handler: database(super::xrange),
        ..STREAM
    },
    CommandSpec {
        name: "xread",
        summary: "Answers the entries behind an id, of several streams; waits for some if asked to.",
        complexity: "O(N) in the number of entries that are answered, for each stream. A client that waits costs XADD \
                     O(1).",
        arity: -4,
        flags: flags::BLOCKING | flags::READONLY,
        keys: &[streams(1)],
        history: &[("7.4.0", "Takes `+` for the last entry.")],
        arguments: &[
            COUNT,
            BLOCK,
            Argument::block("streams", STREAMS).after("STREAMS"),
        ],
        handler: database(read::xread),
        ..STREAM
    },
    CommandSpec {
        name: "xreadgroup",
        summary: "Delivers a group's next entries to a consumer, or answers what it has not acknowledged; waits for \
                  some if asked to.",
        complexity: "O(N) in the number of entries that are answered, for each stream. A client that waits costs XADD \
                     O(1).",
        arity: -7,
        flags: flags::BLOCKING | flags::WRITE,
        keys: &[streams(4)],
        arguments: &[
            Argument::block("group-block", OWNER).after("GROUP"),
            COUNT,
            BLOCK,
            Argument::token("noack", "NOACK").optional(),
            Argument::block("streams", STREAMS).after("STREAMS"),
        ],
        handler: database(read::xreadgroup),
        ..STREAM
    },
    CommandSpec {
        name: "xrevrange",
        summary: "Answers the entries between two ids, the last one first.",
        complexity: "O(N) in the number of entries that are answered; O(1) with a small COUNT.",
        arity: -4,
        flags: READ,
        keys: KEY_READ,
        history: EXCLUSIVE,
        arguments: &[
            KEY,
            Argument::string("end"),
            Argument::string("start"),
            COUNT,
        ],
        handler: database(super::xrevrange),
        ..STREAM
    },
    CommandSpec {
        name: "xsetid",
        summary: "Sets the last id of a stream, for those who copy one.",
        arity: -3,
        flags: flags::WRITE | flags::DENYOOM | flags::FAST,
        keys: KEY_UPDATE,
        history: &[("7.0.0", "Takes `ENTRIESADDED` and `MAXDELETEDID`.")],
        arguments: &[
            KEY,
            Argument::string("last-id"),
            Argument::integer("entries-added")
                .after("ENTRIESADDED")
                .optional()
                .since("7.0.0"),
            Argument::string("max-deleted-id")
                .after("MAXDELETEDID")
                .optional()
                .since("7.0.0"),
        ],
        handler: database(add::xsetid),
        ..STREAM
    },
    CommandSpec {
        name: "xtrim",
        summary: "Removes the oldest entries of a stream.",
        complexity: "O(N) in the number of entries that go, most of them with their whole node.",
        arity: -4,
        flags: WRITE,
        keys: KEY_DELETE,
        tips: NONDETERMINISTIC,
        history: &[("6.2.0", "Takes `MINID` and `LIMIT`."), REFERENCE_OPTIONS],
        arguments: &[KEY, Argument::block("trim", TRIM), CONDITION.since("8.2.0")],
        handler: database(add::xtrim),
        ..STREAM
    },
];
