//! MODULE as a server answers it that has no modules and cannot load any.
//!
//! LOAD and its like are behind `enable-module-command`, as in Redis; where that lets them through, loading fails as it
//! does there for a file that is no module. Mirrors `moduleCommand` of Redis's module.c.

use super::help;
use crate::engine::{Argument, CommandError, CommandSpec, Context, Group, Handler, flags};
use crate::resp::Args;

const LOADS: u32 = flags::ADMIN | flags::NOSCRIPT | flags::PROTECTED | flags::NO_ASYNC_LOADING;

const ROW: CommandSpec = CommandSpec {
    since: "4.0.0",
    group: Group::Server,
    ..CommandSpec::DEFAULT
};

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec::container(
    "module",
    "4.0.0",
    Group::Server,
    "Holds the commands on modules.",
    SUBCOMMANDS,
)];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "help",
        summary: "Returns a text about the subcommands.",
        since: "5.0.0",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        handler: Handler::Database(print_help),
        ..ROW
    },
    CommandSpec {
        name: "list",
        summary: "Returns the modules that are loaded: none.",
        complexity: "O(N) in the number of modules.",
        arity: 2,
        flags: flags::ADMIN | flags::NOSCRIPT,
        tips: &["nondeterministic_output_order"],
        handler: Handler::Database(list),
        ..ROW
    },
    CommandSpec {
        name: "load",
        summary: "Would load a module; there are none that gyre can load.",
        arity: -3,
        flags: LOADS,
        arguments: &[
            Argument::string("path"),
            Argument::string("arg").optional().multiple(),
        ],
        handler: Handler::Database(load),
        ..ROW
    },
    CommandSpec {
        name: "loadex",
        summary: "Would load a module with directives of its own; there are none that gyre can load.",
        since: "7.0.0",
        arity: -3,
        flags: LOADS,
        arguments: &[
            Argument::string("path"),
            Argument {
                multiple_token: true,
                ..Argument::block(
                    "configs",
                    &[Argument::string("name"), Argument::string("value")],
                )
                .after("CONFIG")
                .optional()
                .multiple()
            },
            Argument::string("args").after("ARGS").optional().multiple(),
        ],
        handler: Handler::Database(load),
        ..ROW
    },
    CommandSpec {
        name: "unload",
        summary: "Would unload a module; none is loaded.",
        arity: 3,
        flags: LOADS,
        arguments: &[Argument::string("name")],
        handler: Handler::Database(unload),
        ..ROW
    },
];

type Answer = Result<(), CommandError>;

fn print_help(context: &mut Context<'_>, args: Args<'_>) -> Answer {
    help::of_rows(context.reply, args, SUBCOMMANDS);
    Ok(())
}

fn list(context: &mut Context<'_>, _args: Args<'_>) -> Answer {
    context.reply.array(0);
    Ok(())
}

fn load(_context: &mut Context<'_>, _args: Args<'_>) -> Answer {
    Err(CommandError::fixed(
        "ERR Error loading the extension. Please check the server logs.",
    ))
}

fn unload(_context: &mut Context<'_>, _args: Args<'_>) -> Answer {
    Err(CommandError::fixed(
        "ERR Error unloading module: no such module with that name",
    ))
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Harness;
    use crate::resp::reader::Value;

    #[test]
    fn there_are_no_modules_and_none_is_loaded() {
        let mut harness = Harness::new();
        assert_eq!(harness.line("MODULE LIST"), Value::Array(Vec::new()));
        let Value::Array(lines) = harness.line("MODULE HELP") else {
            panic!("lines")
        };
        assert_eq!(lines[1], Value::Simple("LIST".into()));
        for line in [
            "MODULE LOAD x",
            "MODULE LOADEX x CONFIG a b",
            "MODULE UNLOAD x",
        ] {
            let Value::Error(text) = harness.line(line) else {
                panic!("{line} was run")
            };
            assert!(text.starts_with(b"ERR MODULE command not allowed. If the"));
        }
        assert_eq!(
            harness.line("MODULE NO"),
            Value::Error(b"ERR unknown subcommand 'NO'. Try MODULE HELP.".to_vec())
        );
    }
}
