//! The rows of CLIENT and its subcommands.

use crate::commands::tracking;
use crate::engine::{Argument, CommandSpec, Group, Handler, flags};

const FLAGS: u32 = flags::NOSCRIPT | flags::LOADING | flags::STALE;
const ADMIN: u32 = FLAGS | flags::ADMIN;

const ROW: CommandSpec = CommandSpec {
    group: Group::Connection,
    flags: FLAGS,
    ..CommandSpec::DEFAULT
};

const TYPES: &[Argument] = &[
    Argument::token("normal", "NORMAL"),
    Argument::token("master", "MASTER"),
    Argument::token("replica", "REPLICA"),
    Argument::token("pubsub", "PUBSUB"),
];

const ON_OFF: &[Argument] = &[Argument::one_of(
    "enabled",
    &[Argument::token("on", "ON"), Argument::token("off", "OFF")],
)];

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "client",
    summary: "Holds the commands on client connections.",
    since: "2.4.0",
    complexity: "That of the subcommand.",
    arity: -2,
    flags: 0,
    subcommands: SUBCOMMANDS,
    ..ROW
}];

/// The subcommands, in the order of HELP.
pub const SUBCOMMANDS: &[CommandSpec] = &[
    tracking::CACHING,
    CommandSpec {
        name: "getname",
        summary: "Returns the name of this connection.",
        since: "2.6.9",
        arity: 2,
        handler: Handler::Database(super::get_name),
        ..ROW
    },
    tracking::GET_REDIR,
    CommandSpec {
        name: "help",
        summary: "Returns a text about the subcommands.",
        since: "5.0.0",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        handler: Handler::Database(super::print_help),
        ..ROW
    },
    CommandSpec {
        name: "id",
        summary: "Returns the number of this connection, which never comes again.",
        since: "5.0.0",
        arity: 2,
        handler: Handler::Database(super::id),
        ..ROW
    },
    CommandSpec {
        name: "info",
        summary: "Returns the line of this connection in CLIENT LIST.",
        since: "6.2.0",
        arity: 2,
        tips: &["nondeterministic_output"],
        handler: Handler::Server(super::info),
        ..ROW
    },
    CommandSpec {
        name: "kill",
        summary: "Closes the connections that all filters match.",
        since: "2.4.0",
        complexity: "O(N) in the number of clients.",
        arity: -3,
        flags: ADMIN,
        history: &[
            ("2.8.12", "Filters."),
            ("2.8.12", "Filter `ID`."),
            ("3.2.0", "`TYPE master`."),
            ("5.0.0", "`TYPE replica`; `slave` still means the same."),
            ("6.2.0", "Filter `LADDR`."),
            ("7.4.0", "Filter `MAXAGE`."),
        ],
        arguments: KILL,
        handler: Handler::Server(super::kill),
        ..ROW
    },
    CommandSpec {
        name: "list",
        summary: "Returns a line for each connection that all filters match.",
        since: "2.4.0",
        complexity: "O(N) in the number of clients.",
        arity: -2,
        flags: ADMIN,
        tips: &["nondeterministic_output"],
        history: &[
            ("2.8.12", "Field `id`."),
            ("5.0.0", "Filter `TYPE`."),
            ("6.0.0", "Field `user`."),
            (
                "6.2.0",
                "Fields `argv-mem`, `tot-mem`, `laddr` and `redir`; filter `ID`.",
            ),
            ("7.0.0", "Fields `resp`, `multi-mem`, `rbs` and `rbp`."),
            ("7.0.3", "Field `ssub`."),
            ("7.2.0", "Fields `lib-name` and `lib-ver`."),
            ("7.4.0", "Field `watch`."),
            ("8.0.0", "Field `io-thread`."),
        ],
        arguments: &[
            Argument::one_of("client-type", TYPES)
                .after("TYPE")
                .optional()
                .since("5.0.0"),
            Argument::integer("client-id")
                .after("ID")
                .optional()
                .multiple()
                .since("6.2.0"),
        ],
        handler: Handler::Server(super::list),
        ..ROW
    },
    CommandSpec {
        name: "no-evict",
        summary: "Protects this connection when clients are evicted for their memory.",
        since: "7.0.0",
        arity: 3,
        flags: ADMIN,
        arguments: ON_OFF,
        handler: Handler::Database(super::no_evict),
        ..ROW
    },
    CommandSpec {
        name: "no-touch",
        summary: "Makes reads of this connection leave the keys' access clocks alone.",
        since: "7.2.0",
        arity: 3,
        arguments: ON_OFF,
        handler: Handler::Database(super::no_touch),
        ..ROW
    },
    CommandSpec {
        name: "pause",
        summary: "Holds back the commands of all clients, or only writes, for so many milliseconds.",
        since: "3.0.0",
        arity: -3,
        flags: ADMIN,
        history: &[("6.2.0", "Mode `WRITE`.")],
        arguments: &[
            Argument::integer("timeout"),
            Argument::one_of(
                "mode",
                &[
                    Argument::token("write", "WRITE"),
                    Argument::token("all", "ALL"),
                ],
            )
            .optional()
            .since("6.2.0"),
        ],
        handler: Handler::Server(super::pause),
        ..ROW
    },
    CommandSpec {
        name: "reply",
        summary: "Turns the answers to this connection on or off, or skips the next one.",
        since: "3.2.0",
        arity: 3,
        arguments: &[Argument::one_of(
            "action",
            &[
                Argument::token("on", "ON"),
                Argument::token("off", "OFF"),
                Argument::token("skip", "SKIP"),
            ],
        )],
        handler: Handler::Database(super::reply),
        ..ROW
    },
    CommandSpec {
        name: "setinfo",
        summary: "Tells the name or version of the client's library.",
        since: "7.2.0",
        arity: 4,
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arguments: &[Argument::one_of(
            "attr",
            &[
                Argument::string("libname").after("LIB-NAME"),
                Argument::string("libver").after("LIB-VER"),
            ],
        )],
        handler: Handler::Database(super::set_info),
        ..ROW
    },
    CommandSpec {
        name: "setname",
        summary: "Names this connection; an empty name takes the name away.",
        since: "2.6.9",
        arity: 3,
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arguments: &[Argument::string("connection-name")],
        handler: Handler::Database(super::set_name),
        ..ROW
    },
    tracking::TRACKING,
    tracking::TRACKING_INFO,
    CommandSpec {
        name: "unblock",
        summary: "Ends the wait of a client that is blocked by a command.",
        since: "5.0.0",
        complexity: "O(log N) in the number of clients.",
        arity: -3,
        flags: ADMIN,
        arguments: &[
            Argument::integer("client-id"),
            Argument::one_of(
                "unblock-type",
                &[
                    Argument::token("timeout", "TIMEOUT"),
                    Argument::token("error", "ERROR"),
                ],
            )
            .optional(),
        ],
        handler: Handler::Server(super::unblock),
        ..ROW
    },
    CommandSpec {
        name: "unpause",
        summary: "Ends CLIENT PAUSE.",
        since: "6.2.0",
        complexity: "O(N) in the number of clients that wait.",
        arity: 2,
        flags: ADMIN,
        handler: Handler::Server(super::unpause),
        ..ROW
    },
];

const KILL: &[Argument] = &[Argument::one_of(
    "filter",
    &[
        Argument::string("old-format")
            .shown_as("ip:port")
            .deprecated("2.8.12"),
        Argument::one_of(
            "new-format",
            &[
                Argument::integer("client-id")
                    .after("ID")
                    .optional()
                    .since("2.8.12"),
                Argument::one_of(
                    "client-type",
                    &[
                        Argument::token("normal", "NORMAL"),
                        Argument::token("master", "MASTER").since("3.2.0"),
                        Argument::token("slave", "SLAVE"),
                        Argument::token("replica", "REPLICA").since("5.0.0"),
                        Argument::token("pubsub", "PUBSUB"),
                    ],
                )
                .after("TYPE")
                .optional()
                .since("2.8.12"),
                Argument::string("username").after("USER").optional(),
                Argument::string("addr")
                    .shown_as("ip:port")
                    .after("ADDR")
                    .optional(),
                Argument::string("laddr")
                    .shown_as("ip:port")
                    .after("LADDR")
                    .optional()
                    .since("6.2.0"),
                Argument::one_of(
                    "skipme",
                    &[Argument::token("yes", "YES"), Argument::token("no", "NO")],
                )
                .after("SKIPME")
                .optional(),
                Argument::integer("maxage")
                    .after("MAXAGE")
                    .optional()
                    .since("7.4.0"),
            ],
        )
        .multiple(),
    ],
)];
