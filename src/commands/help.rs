//! The answer of `HELP`, which every container command has.
//!
//! In: the rows of a container's subcommands, or lines of its own where rows cannot say enough. Out: an array of simple strings, framed as `addReplyHelp` of Redis's
//! networking.c frames them.

use crate::engine::{Argument, ArgumentType, CommandSpec};
use crate::resp::{Args, Reply};

/// Answers HELP: `lines` are usages, each followed by its explanation, which is indented by four blanks.
pub fn help(reply: &mut Reply, args: Args<'_>, lines: &[&str]) {
    let container = String::from_utf8_lossy(args.at(0)).to_ascii_uppercase();
    reply.array(lines.len().saturating_add(3));
    reply.simple(&format!(
        "{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    ));
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Print this help.");
}

/// Answers HELP from the rows of the subcommands: each one's syntax, then its summary.
pub fn of_rows(reply: &mut Reply, args: Args<'_>, subcommands: &[CommandSpec]) {
    let mut lines = Vec::new();
    for spec in subcommands.iter().filter(|spec| spec.name != "help") {
        lines.push(syntax(spec));
        lines.push(format!("    {}", spec.summary));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    help(reply, args, &lines);
}

/// A command as its user writes it: `PAUSE <timeout> [WRITE|ALL]`.
pub fn syntax(spec: &CommandSpec) -> String {
    let mut out = spec.name.to_ascii_uppercase();
    for argument in spec.arguments {
        out.push(' ');
        describe(&mut out, argument);
    }
    out
}

/// A longer argument is not written a second time to say that it may be repeated.
const SHOWN_AGAIN: usize = 40;

fn describe(out: &mut String, argument: &Argument) {
    if argument.optional {
        out.push('[');
    }
    let start = out.len();
    describe_once(out, argument);
    if argument.multiple {
        // Without its token in front, unless that is repeated too.
        let mut again = out[start..].to_owned();
        if !argument.multiple_token && !argument.token.is_empty() {
            again = again[argument.token.len()..].trim_start().to_owned();
        }
        let again = if again.len() <= SHOWN_AGAIN {
            again + " "
        } else {
            String::new()
        };
        out.push_str(&format!(" [{again}...]"));
    }
    if argument.optional {
        out.push(']');
    }
}

fn describe_once(out: &mut String, argument: &Argument) {
    out.push_str(argument.token);
    if argument.kind == ArgumentType::PureToken {
        return;
    }
    if !argument.token.is_empty() {
        out.push(' ');
    }
    let one_of = argument.kind == ArgumentType::OneOf;
    if argument.arguments.is_empty() {
        out.push_str(&format!("<{}>", argument.display_text()));
        return;
    }
    // The brackets of an optional argument hold its alternatives together, if no token stands before them.
    let held = argument.optional && argument.token.is_empty() && !argument.multiple;
    let bracketed = one_of && !held;
    if bracketed {
        out.push('(');
    }
    for (index, member) in argument.arguments.iter().enumerate() {
        if index > 0 {
            out.push_str(if one_of { "|" } else { " " });
        }
        if one_of {
            // That one of them may be left out is said by the whole.
            describe(
                out,
                &Argument {
                    optional: false,
                    ..*member
                },
            );
        } else {
            describe(out, member);
        }
    }
    if bracketed {
        out.push(')');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::reader::Value;

    /// HELP of every container begins with what it is called with, and ends with itself.
    #[test]
    fn every_container_has_help() {
        let mut harness = crate::commands::testing::Harness::new();
        for line in [
            "ACL HELP",
            "CLIENT HELP",
            "CONFIG HELP",
            "FUNCTION HELP",
            "LATENCY HELP",
            "MEMORY HELP",
            "OBJECT HELP",
            "PUBSUB HELP",
            "SCRIPT HELP",
            "SLOWLOG HELP",
            "XGROUP HELP",
            "XINFO HELP",
        ] {
            let Value::Array(lines) = harness.line(line) else {
                panic!("{line} is no array");
            };
            let container = line.split(' ').next().unwrap_or_default();
            let first = format!("{container} <subcommand>");
            assert!(
                lines[0]
                    .as_bytes()
                    .unwrap_or_default()
                    .starts_with(first.as_bytes()),
                "{line}: {lines:?}"
            );
            assert_eq!(
                lines[lines.len() - 2].as_bytes(),
                Some(&b"HELP"[..]),
                "{line}"
            );
        }
    }

    #[test]
    fn syntax_of_arguments() {
        const UNITS: &[Argument] = &[
            Argument::integer("seconds").after("EX"),
            Argument::token("keepttl", "KEEPTTL"),
        ];
        let syntax = |argument: Argument| {
            let mut out = String::new();
            describe(&mut out, &argument);
            out
        };
        let units = Argument::one_of("how", UNITS);
        assert_eq!(syntax(Argument::key("key")), "<key>");
        let count = Argument::integer("count").after("COUNT").optional();
        assert_eq!(syntax(count), "[COUNT <count>]");
        assert_eq!(syntax(Argument::key("key").multiple()), "<key> [<key> ...]");
        let ids = Argument::integer("id").after("ID").multiple().optional();
        assert_eq!(syntax(ids), "[ID <id> [<id> ...]]");
        assert_eq!(syntax(units), "(EX <seconds>|KEEPTTL)");
        assert_eq!(syntax(units.optional()), "[EX <seconds>|KEEPTTL]");
        assert_eq!(
            syntax(units.after("UNIT").optional()),
            "[UNIT (EX <seconds>|KEEPTTL)]"
        );
        const PAIR: &[Argument] = &[Argument::string("user"), Argument::string("password")];
        assert_eq!(
            syntax(Argument::block("auth", PAIR).after("AUTH")),
            "AUTH <user> <password>"
        );
    }
}
