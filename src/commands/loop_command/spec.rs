//! The rows of LOOP. The command is gyre's own, so `since` names gyre's version and not Redis's.

use super::{histogram, print_help, reset, slowest, stats, trace, users, waited};
use crate::engine::{Argument, CommandSpec, Group, Handler, flags};

const ROW: CommandSpec = CommandSpec {
    since: "gyre 0.1",
    group: Group::Server,
    arity: 2,
    flags: flags::ADMIN | flags::NOSCRIPT | flags::LOADING | flags::STALE,
    tips: &["nondeterministic_output"],
    ..CommandSpec::DEFAULT
};
const COUNT: &[Argument] = &[Argument::integer("count").optional()];

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec::container(
    "loop",
    "gyre 0.1",
    Group::Server,
    "Holds the commands that show the event loop at work.",
    SUBCOMMANDS,
)];

pub(super) const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "help",
        summary: "Returns a text about the subcommands.",
        flags: flags::LOADING | flags::STALE,
        tips: &[],
        handler: Handler::Database(print_help),
        ..ROW
    },
    CommandSpec {
        name: "histogram",
        summary: "Returns how the times of phases (and of awake, wait-turn, wait-executing, wait-socket, wait-total) \
                  are distributed, for those named or for all.",
        complexity: "O(N) where N is the number of phases asked for",
        arity: -2,
        arguments: &[Argument::string("phase").multiple().optional()],
        handler: Handler::Server(histogram),
        ..ROW
    },
    CommandSpec {
        name: "reset",
        summary: "Forgets the recorded turns, the histograms, the long waits and what users have used.",
        tips: &[],
        handler: Handler::Server(reset),
        ..ROW
    },
    CommandSpec {
        name: "slowest",
        summary: "Returns the turns that were awake longest, the slowest first: 10 of them if no number is given.",
        complexity: "O(N) where N is the number of turns returned",
        arity: -2,
        arguments: COUNT,
        handler: Handler::Server(slowest),
        ..ROW
    },
    CommandSpec {
        name: "stats",
        summary: "Returns how much time each phase of the loop took, how long clients waited, and what recording costs.",
        handler: Handler::Server(stats),
        ..ROW
    },
    CommandSpec {
        name: "trace",
        summary: "Returns the last turns, phase by phase, the newest first: 10 of them if no number is given.",
        complexity: "O(N) where N is the number of turns returned",
        arity: -2,
        arguments: COUNT,
        handler: Handler::Server(trace),
        ..ROW
    },
    CommandSpec {
        name: "users",
        summary: "Returns what the commands of each user have taken of the loop's time since the start, and how they fared with \
                  its budget.",
        complexity: "O(N) where N is the number of users",
        handler: Handler::Server(users),
        ..ROW
    },
    CommandSpec {
        name: "waited",
        summary: "Returns the clients that waited long and whom they waited behind, the newest first: 10 of them if no \
                  number is given.",
        complexity: "O(N) where N is the number of entries returned",
        arity: -2,
        arguments: COUNT,
        handler: Handler::Server(waited),
        ..ROW
    },
];
