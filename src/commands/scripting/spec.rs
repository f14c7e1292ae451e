//! Rows of the scripting commands. Facts as Redis documents them, in our own words.

use super::{eval, script};
use crate::engine::{
    Argument, BeginSearch, CommandSpec, FindKeys, Group, Handler, KeySpec, ServerHandler, flags,
    key_flags,
};

const ROW: CommandSpec = CommandSpec {
    group: Group::Scripting,
    ..CommandSpec::DEFAULT
};

const RUN: u32 = flags::NOSCRIPT
    | flags::SKIP_MONITOR
    | flags::NO_MANDATORY_KEYS
    | flags::STALE
    | flags::RUNS_SCRIPT;

/// Keys that an argument counts.
pub(crate) const fn counted(flags: u32, notes: &'static str) -> KeySpec {
    KeySpec {
        flags,
        begin: BeginSearch::Index(2),
        find: FindKeys::KeyNum {
            key_num: 0,
            first: 1,
            step: 1,
        },
        notes,
    }
}

/// Keys of a program that may do anything.
const KEYS_ANY: &[KeySpec] = &[counted(
    key_flags::RW | key_flags::ACCESS | key_flags::UPDATE,
    "What the program does with its keys is not known, so the worst is assumed.",
)];
/// Keys of a program that only reads.
pub(crate) const KEYS_READ: &[KeySpec] = &[counted(key_flags::RO | key_flags::ACCESS, "")];

const NUMKEYS: Argument = Argument::integer("numkeys");
const KEYS: Argument = Argument::key("key").optional().multiple();
const ARGS: Argument = Argument::string("arg").optional().multiple();
const OF_TEXT: &[Argument] = &[Argument::string("script"), NUMKEYS, KEYS, ARGS];
const OF_DIGEST: &[Argument] = &[Argument::string("sha1"), NUMKEYS, KEYS, ARGS];

const fn server(run: ServerHandler) -> Handler {
    Handler::Server(run)
}

const EVAL: CommandSpec = CommandSpec {
    complexity: "Depends on the script that is executed.",
    arity: -3,
    flags: RUN | flags::MAY_REPLICATE,
    keys: KEYS_ANY,
    ..ROW
};
const EVAL_RO: CommandSpec = CommandSpec {
    since: "7.0.0",
    flags: RUN | flags::READONLY,
    keys: KEYS_READ,
    ..EVAL
};

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "eval",
        summary: "Runs a Lua script.",
        since: "2.6.0",
        arguments: OF_TEXT,
        handler: server(eval::eval),
        ..EVAL
    },
    CommandSpec {
        name: "evalsha",
        summary: "Runs a Lua script that is known, by its digest.",
        since: "2.6.0",
        arguments: OF_DIGEST,
        handler: server(eval::evalsha),
        ..EVAL
    },
    CommandSpec {
        name: "eval_ro",
        summary: "Runs a Lua script that only reads.",
        arguments: OF_TEXT,
        handler: server(eval::eval_ro),
        ..EVAL_RO
    },
    CommandSpec {
        name: "evalsha_ro",
        summary: "Runs a Lua script that only reads and is known, by its digest.",
        arguments: OF_DIGEST,
        handler: server(eval::evalsha_ro),
        ..EVAL_RO
    },
    CommandSpec {
        complexity: "Depends on subcommand.",
        ..CommandSpec::container(
            "script",
            "2.6.0",
            Group::Scripting,
            "Holds the commands on the cache of scripts.",
            SUBCOMMANDS,
        )
    },
];

/// The subcommands of SCRIPT.
pub(super) const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "debug",
        summary: "Would set the mode of the debugger, which there is not: only NO is taken.",
        since: "3.2.0",
        arity: 3,
        flags: flags::NOSCRIPT,
        arguments: &[Argument::one_of(
            "mode",
            &[
                Argument::token("yes", "YES"),
                Argument::token("sync", "SYNC"),
                Argument::token("no", "NO"),
            ],
        )],
        handler: server(script::debug),
        ..ROW
    },
    CommandSpec {
        name: "exists",
        summary: "Tells which scripts are known.",
        since: "2.6.0",
        complexity: "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).",
        arity: -3,
        flags: flags::NOSCRIPT,
        tips: &[
            "request_policy:all_shards",
            "response_policy:agg_logical_and",
        ],
        arguments: &[Argument::string("sha1").multiple()],
        handler: server(script::exists),
        ..ROW
    },
    CommandSpec {
        name: "flush",
        summary: "Forgets all scripts.",
        since: "2.6.0",
        complexity: "O(N) with N being the number of scripts in cache",
        arity: -2,
        flags: flags::NOSCRIPT,
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        history: &[("6.2.0", "`ASYNC` and `SYNC`.")],
        arguments: &[Argument::one_of(
            "flush-type",
            &[
                Argument::token("async", "ASYNC"),
                Argument::token("sync", "SYNC"),
            ],
        )
        .optional()
        .since("6.2.0")],
        handler: server(script::flush),
        ..ROW
    },
    CommandSpec {
        name: "help",
        summary: "Returns a text about the subcommands.",
        since: "5.0.0",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        handler: server(script::print_help),
        ..ROW
    },
    CommandSpec {
        name: "kill",
        summary: "Ends the script that runs, if it has not written yet.",
        since: "2.6.0",
        arity: 2,
        flags: flags::NOSCRIPT | flags::ALLOW_BUSY,
        tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
        handler: server(script::kill),
        ..ROW
    },
    CommandSpec {
        name: "load",
        summary: "Takes a script in, without running it.",
        since: "2.6.0",
        complexity: "O(N) with N being the length in bytes of the script body.",
        arity: 3,
        flags: flags::NOSCRIPT | flags::STALE,
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arguments: &[Argument::string("script")],
        handler: server(script::load),
        ..ROW
    },
    CommandSpec {
        name: "show",
        summary: "Returns the text of a script that is known.",
        since: "8.0.0",
        arity: 3,
        flags: flags::NOSCRIPT,
        arguments: &[Argument::string("sha1")],
        handler: server(script::show),
        ..ROW
    },
];
