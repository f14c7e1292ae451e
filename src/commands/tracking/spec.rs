//! The rows of client-side caching; they are subcommands of CLIENT.

use crate::engine::{Argument, CommandSpec, Group, Handler, flags};

const ROW: CommandSpec = CommandSpec {
    group: Group::Connection,
    since: "6.0.0",
    flags: flags::NOSCRIPT | flags::LOADING | flags::STALE,
    ..CommandSpec::DEFAULT
};

/// CLIENT CACHING.
pub const CACHING: CommandSpec = CommandSpec {
    name: "caching",
    summary: "Tells whether the keys of the next command are to be tracked, where that is for the client to choose.",
    arity: 3,
    arguments: &[Argument::one_of(
        "mode",
        &[Argument::token("yes", "YES"), Argument::token("no", "NO")],
    )],
    handler: Handler::Server(super::caching),
    ..ROW
};

/// CLIENT GETREDIR.
pub const GET_REDIR: CommandSpec = CommandSpec {
    name: "getredir",
    summary: "Returns the number of the connection that is told of invalid keys in place of this one.",
    arity: 2,
    handler: Handler::Server(super::get_redir),
    ..ROW
};

/// CLIENT TRACKING.
pub const TRACKING: CommandSpec = CommandSpec {
    name: "tracking",
    summary: "Turns client-side caching on or off: the connection is told when keys that it has read change.",
    complexity: "O(1), and O(N*M) to compare N new prefixes with M others.",
    arity: -3,
    arguments: &[
        Argument::one_of(
            "status",
            &[Argument::token("on", "ON"), Argument::token("off", "OFF")],
        ),
        Argument::integer("client-id").after("REDIRECT").optional(),
        Argument {
            multiple_token: true,
            ..Argument::string("prefix")
                .after("PREFIX")
                .optional()
                .multiple()
        },
        Argument::token("bcast", "BCAST").optional(),
        Argument::token("optin", "OPTIN").optional(),
        Argument::token("optout", "OPTOUT").optional(),
        Argument::token("noloop", "NOLOOP").optional(),
    ],
    handler: Handler::Server(super::tracking),
    ..ROW
};

/// CLIENT TRACKINGINFO.
pub const TRACKING_INFO: CommandSpec = CommandSpec {
    name: "trackinginfo",
    summary: "Returns the modes of client-side caching of this connection.",
    since: "6.2.0",
    arity: 2,
    handler: Handler::Server(super::tracking_info),
    ..ROW
};
