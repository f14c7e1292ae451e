//! The rows of ACL.

use crate::engine::{Argument, CommandSpec, Group, Handler, flags};

const FLAGS: u32 = flags::NOSCRIPT | flags::LOADING | flags::STALE;

const ROW: CommandSpec = CommandSpec {
    since: "6.0.0",
    group: Group::Server,
    flags: FLAGS,
    ..CommandSpec::DEFAULT
};

/// What only administrators may.
const ADMIN: CommandSpec = CommandSpec {
    flags: FLAGS | flags::ADMIN,
    ..ROW
};

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec::container(
    "acl",
    "6.0.0",
    Group::Server,
    "Holds the commands on users and what they may do.",
    SUBCOMMANDS,
)];

/// What is told of each change: all nodes have to learn of it.
const EVERYWHERE: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

pub(super) const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "cat",
        summary: "Returns the categories of commands, or the commands of one.",
        complexity: "O(N) in the number of commands.",
        arity: -2,
        arguments: &[Argument::string("category").optional()],
        handler: Handler::Server(super::cat),
        ..ROW
    },
    CommandSpec {
        name: "delrole",
        summary: "Deletes roles that no user has.",
        since: "8.0.0",
        complexity: "O(N) in the number of users.",
        arity: -3,
        tips: EVERYWHERE,
        arguments: &[Argument::string("rolename").multiple()],
        handler: Handler::Server(super::roles::delete),
        ..ADMIN
    },
    CommandSpec {
        name: "deluser",
        summary: "Deletes users, and closes their connections.",
        complexity: "O(N) in the number of clients.",
        arity: -3,
        tips: EVERYWHERE,
        arguments: &[Argument::string("username").multiple()],
        handler: Handler::Server(super::delete),
        ..ADMIN
    },
    CommandSpec {
        name: "digest",
        summary: "Returns a fingerprint of all users, roles and rules.",
        since: "8.0.0",
        complexity: "O(N) in the number of users and roles.",
        arity: 2,
        handler: Handler::Server(super::digest),
        ..ADMIN
    },
    CommandSpec {
        name: "dryrun",
        summary: "Tells whether a user may run a command, and does not run it.",
        since: "7.0.0",
        complexity: "O(N) in the number of the user's rules.",
        arity: -4,
        arguments: &[
            Argument::string("username"),
            Argument::string("command"),
            Argument::string("arg").optional().multiple(),
        ],
        handler: Handler::Server(super::dry_run),
        ..ADMIN
    },
    CommandSpec {
        name: "genpass",
        summary: "Returns random hex digits, for a password: so many bits, or 256.",
        arity: -2,
        arguments: &[Argument::integer("bits").optional()],
        handler: Handler::Server(super::generate_password),
        ..ROW
    },
    CommandSpec {
        name: "getrole",
        summary: "Returns what a role allows.",
        since: "8.0.0",
        complexity: "O(N) in the number of the role's rules.",
        arity: 3,
        arguments: &[Argument::string("rolename")],
        handler: Handler::Server(super::roles::get),
        ..ADMIN
    },
    CommandSpec {
        name: "getuser",
        summary: "Returns what a user may do.",
        complexity: "O(N) in the number of the user's rules.",
        arity: 3,
        history: &[
            ("6.2.0", "Patterns of channels."),
            (
                "7.0.0",
                "Selectors; patterns of keys and channels are texts.",
            ),
        ],
        arguments: &[Argument::string("username")],
        handler: Handler::Server(super::get),
        ..ADMIN
    },
    CommandSpec {
        name: "help",
        summary: "Returns a text about the subcommands.",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        handler: Handler::Database(super::print_help),
        ..ROW
    },
    CommandSpec {
        name: "list",
        summary: "Returns the users with their rules, as a file of users spells them.",
        complexity: "O(N) in the number of users.",
        arity: 2,
        handler: Handler::Server(super::list),
        ..ADMIN
    },
    CommandSpec {
        name: "load",
        summary: "Reads the users anew from the file that is configured.",
        complexity: "O(N) in the number of users and clients.",
        arity: 2,
        handler: Handler::Server(super::load),
        ..ADMIN
    },
    CommandSpec {
        name: "log",
        summary: "Returns what was refused of late, or forgets it.",
        complexity: "O(N) in the number of entries that are shown.",
        arity: -2,
        history: &[(
            "7.2.0",
            "Entries have numbers and the times of their beginning and last change.",
        )],
        arguments: &[Argument::one_of(
            "operation",
            &[
                Argument::integer("count"),
                Argument::token("reset", "RESET"),
            ],
        )
        .optional()],
        handler: Handler::Server(super::log),
        ..ADMIN
    },
    CommandSpec {
        name: "roles",
        summary: "Returns the names of the roles.",
        since: "8.0.0",
        complexity: "O(N) in the number of roles.",
        arity: 2,
        handler: Handler::Server(super::roles::names),
        ..ADMIN
    },
    CommandSpec {
        name: "save",
        summary: "Writes the users to the file that is configured.",
        complexity: "O(N) in the number of users.",
        arity: 2,
        tips: EVERYWHERE,
        handler: Handler::Server(super::save),
        ..ADMIN
    },
    CommandSpec {
        name: "setrole",
        summary: "Makes or changes a role: rules that several users share.",
        since: "8.0.0",
        complexity: "O(N) in the number of rules, users and clients.",
        arity: -3,
        tips: EVERYWHERE,
        arguments: &[
            Argument::string("rolename"),
            Argument::string("rule").optional().multiple(),
        ],
        handler: Handler::Server(super::roles::set),
        ..ADMIN
    },
    CommandSpec {
        name: "setuser",
        summary: "Makes or changes a user.",
        complexity: "O(N) in the number of rules and clients.",
        arity: -3,
        history: &[
            ("6.2.0", "Patterns of channels."),
            (
                "7.0.0",
                "Selectors, and patterns of keys to read or to write.",
            ),
        ],
        tips: EVERYWHERE,
        arguments: &[
            Argument::string("username"),
            Argument::string("rule").optional().multiple(),
        ],
        handler: Handler::Server(super::set),
        ..ADMIN
    },
    CommandSpec {
        name: "users",
        summary: "Returns the names of the users.",
        complexity: "O(N) in the number of users.",
        arity: 2,
        handler: Handler::Server(super::names),
        ..ADMIN
    },
    CommandSpec {
        name: "whoami",
        summary: "Returns the name of this connection's user.",
        arity: 2,
        handler: Handler::Database(super::who_am_i),
        ..ROW
    },
];
