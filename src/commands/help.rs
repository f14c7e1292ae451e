//! The answer of `HELP`, which every container command has.
//!
//! In: the lines of one container. Out: an array of simple strings, framed as `addReplyHelp` of Redis's
//! networking.c frames them.

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
    reply.simple("    Prints this help.");
}
