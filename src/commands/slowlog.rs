//! SLOWLOG: the commands that took too long. Mirrors `slowlogCommand` of Redis's slowlog.c; what is kept, and how it
//! is cut, is decided in [`crate::observe::SlowLog`].

use super::help;
use crate::engine::{
    Argument, CommandError, CommandSpec, Context, Group, Handler, ServerContext, flags,
};
use crate::resp::Args;
use crate::system::numbers;

const FLAGS: u32 = flags::ADMIN | flags::LOADING | flags::STALE;
const DEFAULT_COUNT: usize = 10;

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec::container(
    "slowlog",
    "2.2.12",
    Group::Server,
    "Holds the commands on the log of slow commands.",
    SUBCOMMANDS,
)];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "get",
        summary: "Returns the newest entries: 10 of them if no number is given, all for -1.",
        since: "2.2.12",
        complexity: "O(N) where N is the number of entries returned",
        group: Group::Server,
        arity: -2,
        flags: FLAGS,
        tips: &["request_policy:all_nodes", "nondeterministic_output"],
        history: &[("4.0.0", "Entries tell the client's address and name.")],
        arguments: &[Argument::integer("count").optional()],
        handler: Handler::Server(get),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "help",
        summary: "Returns a text about the subcommands.",
        since: "6.2.0",
        group: Group::Server,
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        handler: Handler::Database(print_help),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "len",
        summary: "Returns how many entries are kept.",
        since: "2.2.12",
        group: Group::Server,
        arity: 2,
        flags: FLAGS,
        tips: &[
            "request_policy:all_nodes",
            "response_policy:agg_sum",
            "nondeterministic_output",
        ],
        handler: Handler::Server(len),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "reset",
        summary: "Forgets all entries.",
        since: "2.2.12",
        complexity: "O(N) where N is the number of entries in the slowlog",
        group: Group::Server,
        arity: 2,
        flags: FLAGS,
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        handler: Handler::Server(reset),
        ..CommandSpec::DEFAULT
    },
];

fn print_help(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::of_rows(context.reply, args, SUBCOMMANDS);
    Ok(())
}

fn get(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    const BAD_COUNT: CommandError =
        CommandError::fixed("ERR count should be greater than or equal to -1");
    let count = match args.get(2) {
        _ if args.len() > 3 => return Err(CommandError::subcommand_syntax(args)),
        None => DEFAULT_COUNT,
        Some(text) => match numbers::parse_i64(text).ok_or(BAD_COUNT)? {
            -1 => usize::MAX,
            count => usize::try_from(count).map_err(|_| BAD_COUNT)?,
        },
    };
    let entries: Vec<_> = context
        .state
        .observe
        .slowlog
        .iter()
        .take(count)
        .cloned()
        .collect();
    let reply = context.reply();
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer(entry.unix_s);
        reply.integer(i64::try_from(entry.duration_us).unwrap_or(i64::MAX));
        reply.array(entry.arguments.len());
        entry
            .arguments
            .iter()
            .for_each(|argument| reply.bulk(argument));
        reply.bulk(entry.address.as_bytes());
        reply.bulk(&entry.client_name);
    }
    Ok(())
}

fn len(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let len = context.state.observe.slowlog.len();
    context.reply().count(len);
    Ok(())
}

fn reset(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    context.state.observe.slowlog.clear();
    context.reply().ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Harness, text};
    use crate::resp::OwnedRequest;
    use crate::resp::reader::Value;

    #[test]
    fn entries_have_six_fields_and_counts_are_checked() {
        let mut harness = Harness::new();
        for n in 0..12 {
            let request = OwnedRequest::from_slices(&["get".to_owned(), format!("k{n}")]);
            harness
                .state
                .observe
                .slowlog
                .push(request.args(), 7, 9, "1.2.3.4:5", b"me", 100);
        }
        assert_eq!(harness.line("SLOWLOG LEN"), Value::Integer(12));
        let first_of = |reply: &Value| text(&reply.items().expect("an array")[0]);
        let ten = harness.line("SLOWLOG GET");
        assert_eq!(ten.items().map(<[Value]>::len), Some(10));
        let first = first_of(&ten);
        assert!(
            first.contains("11") && first.contains('7') && first.contains('9'),
            "{first}"
        );
        assert_eq!(
            ten.items().expect("an array")[0]
                .items()
                .map(<[Value]>::len),
            Some(6)
        );
        assert_eq!(
            harness.line("SLOWLOG GET -1").items().map(<[Value]>::len),
            Some(12)
        );
        assert_eq!(
            harness.line("SLOWLOG GET 0").items().map(<[Value]>::len),
            Some(0)
        );
        for bad in ["-2", "x", "99999999999999999999"] {
            let reply = text(&harness.line(&format!("SLOWLOG GET {bad}")));
            assert!(
                reply.contains("ERR count should be greater than or equal to -1"),
                "{reply}"
            );
        }
        let extra = text(&harness.line("slowlog GET 1 2"));
        assert!(
            extra.contains(
                "unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP."
            ),
            "{extra}"
        );
        harness.line("SLOWLOG RESET");
        assert_eq!(harness.line("SLOWLOG LEN"), Value::Integer(0));
    }
}
