//! The rows of FUNCTION with its subcommands, FCALL and FCALL_RO.

use crate::engine::{
    Argument, BeginSearch, CommandSpec, FindKeys, Group, Handler, KeySpec, acl, flags, key_flags,
};

const ROW: CommandSpec = CommandSpec {
    since: "7.0.0",
    group: Group::Scripting,
    acl: acl::SCRIPTING,
    ..CommandSpec::DEFAULT
};

const CALL: u32 = flags::NOSCRIPT
    | flags::SKIP_MONITOR
    | flags::NO_MANDATORY_KEYS
    | flags::STALE
    | flags::RUNS_SCRIPT;

const CALL_ARGUMENTS: &[Argument] = &[
    Argument::string("function"),
    Argument::integer("numkeys"),
    Argument::key("key").optional().multiple(),
    Argument::string("arg").optional().multiple(),
];

const fn keys(flags: u32, notes: &'static str) -> KeySpec {
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

const ALL_MUST: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "fcall",
        summary: "Runs a function.",
        complexity: "That of the function.",
        arity: -3,
        flags: CALL | flags::MAY_REPLICATE,
        keys: &[keys(
            key_flags::RW | key_flags::ACCESS | key_flags::UPDATE,
            "How the keys are used is not known: as if they were read and changed",
        )],
        get_keys: Some(super::run::call_keys),
        arguments: CALL_ARGUMENTS,
        handler: Handler::Server(super::run::fcall),
        ..ROW
    },
    CommandSpec {
        name: "fcall_ro",
        summary: "Runs a function that only reads.",
        complexity: "That of the function.",
        arity: -3,
        flags: CALL | flags::READONLY,
        keys: &[keys(
            key_flags::RO | key_flags::ACCESS,
            "How the keys are used is not known: as if they were read",
        )],
        get_keys: Some(super::run::call_keys_ro),
        arguments: CALL_ARGUMENTS,
        handler: Handler::Server(super::run::fcall_ro),
        ..ROW
    },
    CommandSpec {
        acl: 0,
        ..CommandSpec::container(
            "function",
            "7.0.0",
            Group::Scripting,
            "Holds the commands on libraries of functions.",
            SUBCOMMANDS,
        )
    },
];

/// The subcommands, in the order of HELP.
pub const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "load",
        summary: "Loads a library; a library of its name is an error or, with REPLACE, goes.",
        complexity: "O(1), beside what the library itself does",
        arity: -3,
        flags: flags::NOSCRIPT | flags::WRITE | flags::DENYOOM,
        tips: ALL_MUST,
        arguments: &[
            Argument::token("replace", "REPLACE").optional(),
            Argument::string("function-code"),
        ],
        handler: Handler::Server(super::load_command),
        ..ROW
    },
    CommandSpec {
        name: "delete",
        summary: "Removes a library with its functions.",
        arity: 3,
        flags: flags::NOSCRIPT | flags::WRITE,
        tips: ALL_MUST,
        arguments: &[Argument::string("library-name")],
        handler: Handler::Server(super::delete),
        ..ROW
    },
    CommandSpec {
        name: "list",
        summary: "Returns the libraries with their functions; with WITHCODE also their code.",
        complexity: "O(N) in the number of functions",
        arity: -2,
        flags: flags::NOSCRIPT,
        tips: &["nondeterministic_output_order"],
        arguments: &[
            Argument::string("library-name-pattern")
                .after("LIBRARYNAME")
                .optional(),
            Argument::token("withcode", "WITHCODE").optional(),
        ],
        handler: Handler::Server(super::list),
        ..ROW
    },
    CommandSpec {
        name: "stats",
        summary: "Returns which function runs, by which command and for how long, and how much is loaded.",
        arity: 2,
        flags: flags::NOSCRIPT | flags::ALLOW_BUSY,
        tips: &[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ],
        handler: Handler::Server(super::run::stats),
        ..ROW
    },
    CommandSpec {
        name: "kill",
        summary: "Ends the function that runs, if it has not written yet.",
        arity: 2,
        flags: flags::NOSCRIPT | flags::ALLOW_BUSY,
        tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
        handler: Handler::Server(super::run::kill),
        ..ROW
    },
    CommandSpec {
        name: "flush",
        summary: "Removes all libraries.",
        complexity: "O(N) in the number of functions",
        arity: -2,
        flags: flags::NOSCRIPT | flags::WRITE,
        tips: ALL_MUST,
        arguments: &[Argument::one_of(
            "flush-type",
            &[
                Argument::token("async", "ASYNC"),
                Argument::token("sync", "SYNC"),
            ],
        )
        .optional()],
        handler: Handler::Server(super::flush_command),
        ..ROW
    },
    CommandSpec {
        name: "dump",
        summary: "Returns all libraries as bytes that FUNCTION RESTORE takes.",
        complexity: "O(N) in the number of libraries",
        arity: 2,
        flags: flags::NOSCRIPT,
        handler: Handler::Server(super::dump),
        ..ROW
    },
    CommandSpec {
        name: "restore",
        summary: "Loads the libraries of a dump, beside or in the place of those that are there; all or none of them.",
        complexity: "O(N) in the number of functions in the dump",
        arity: -3,
        flags: flags::NOSCRIPT | flags::WRITE | flags::DENYOOM,
        tips: ALL_MUST,
        arguments: &[
            Argument::string("serialized-value"),
            Argument::one_of(
                "policy",
                &[
                    Argument::token("flush", "FLUSH"),
                    Argument::token("append", "APPEND"),
                    Argument::token("replace", "REPLACE"),
                ],
            )
            .optional(),
        ],
        handler: Handler::Server(super::restore),
        ..ROW
    },
    CommandSpec {
        name: "help",
        summary: "Returns a text about the subcommands.",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        handler: Handler::Database(super::print_help),
        ..ROW
    },
];
