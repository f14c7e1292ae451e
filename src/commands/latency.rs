//! LATENCY: how long commands took (HISTOGRAM), and the event monitor, which records nothing yet.
//!
//! The monitor answers what Redis answers when no event was ever recorded. Mirrors `latencyCommand` of Redis's
//! latency.c.

use super::{
    Argument, CommandError, CommandId, CommandSpec, Context, Group, Handler, WideContext, flags,
    help,
};
use crate::observe::Histogram;
use crate::resp::{Args, Reply};

const FLAGS: u32 = flags::ADMIN | flags::NOSCRIPT | flags::LOADING | flags::STALE;
const ASKS_ALL: &[&str] = &[
    "nondeterministic_output",
    "request_policy:all_nodes",
    "response_policy:special",
];

const ROW: CommandSpec = CommandSpec {
    since: "2.8.13",
    group: Group::Server,
    arity: 2,
    flags: FLAGS,
    tips: ASKS_ALL,
    ..CommandSpec::DEFAULT
};

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec::container(
    "latency",
    "2.8.13",
    Group::Server,
    "Holds the commands on how long things took.",
    SUBCOMMANDS,
)];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "doctor",
        summary: "Returns a report about slow events, for people.",
        handler: Handler::Plain(doctor),
        ..ROW
    },
    CommandSpec {
        name: "graph",
        summary: "Draws the recorded times of an event.",
        arity: 3,
        arguments: &[Argument::string("event")],
        handler: Handler::Plain(graph),
        ..ROW
    },
    CommandSpec {
        name: "help",
        summary: "Returns a text about the subcommands.",
        flags: flags::LOADING | flags::STALE,
        tips: &[],
        handler: Handler::Plain(print_help),
        ..ROW
    },
    CommandSpec {
        name: "histogram",
        summary: "Returns how the run times of commands are distributed, for those named or for all.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands with latency information being retrieved.",
        arity: -2,
        arguments: &[Argument::string("command").multiple().optional()],
        handler: Handler::Wide(histogram),
        ..ROW
    },
    CommandSpec {
        name: "history",
        summary: "Returns the recorded times of an event.",
        arity: 3,
        arguments: &[Argument::string("event")],
        handler: Handler::Plain(no_samples),
        ..ROW
    },
    CommandSpec {
        name: "latest",
        summary: "Returns the newest recorded time of every event.",
        handler: Handler::Plain(no_samples),
        ..ROW
    },
    CommandSpec {
        name: "reset",
        summary: "Forgets the recorded times of the events named, or of all.",
        arity: -2,
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arguments: &[Argument::string("event").multiple().optional()],
        handler: Handler::Plain(reset),
        ..ROW
    },
];

fn print_help(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::of_rows(context.reply, args, SUBCOMMANDS);
    Ok(())
}

fn doctor(context: &mut Context<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let text = "Latency monitoring is disabled: this server does not record latency events yet, whatever \
                latency-monitor-threshold says. LATENCY HISTOGRAM and INFO latencystats tell how long commands take, \
                INFO gyre how long the longest turn of the loop was.\n";
    context.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn graph(_context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let event = String::from_utf8_lossy(args.at(2));
    Err(CommandError::text_owned(format!(
        "ERR No samples available for event '{event}'"
    )))
}

fn no_samples(context: &mut Context<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    context.reply.array(0);
    Ok(())
}

fn reset(context: &mut Context<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    context.reply.integer(0);
    Ok(())
}

fn histogram(context: &mut WideContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let table = &context.state.table;
    let ids: Vec<CommandId> = if args.len() == 2 {
        table.iter().map(|(id, _)| id).collect()
    } else {
        let named = args.iter().skip(2).filter_map(|name| table.find_full(name));
        named
            .flat_map(|id| {
                std::iter::once(id).chain(table.get(id).subcommands.iter().map(|(_, sub)| *sub))
            })
            .collect()
    };
    let state = &mut *context.state;
    let Some(client) = state.clients.get_mut(context.client) else {
        return Ok(());
    };
    let mark = client.reply.begin_deferred();
    let mut shown = 0;
    for id in ids {
        let stats = state.observe.commands.get(id.0 as usize);
        if let Some(histogram) = stats.and_then(|stats| stats.histogram.as_deref()) {
            client.reply.bulk(state.table.get(id).name.as_bytes());
            write_distribution(&mut client.reply, "calls", histogram);
            shown += 1;
        }
    }
    client.reply.end_deferred_map(mark, shown);
    Ok(())
}

/// Cumulative counts by powers of two of about a microsecond; a bound that adds nothing is left out. The bounds have
/// the names that Redis gives them: 1, 2, 4, 8, 16, 33, 66, ...
/// `what` names what was counted.
pub(super) fn write_distribution(reply: &mut Reply, what: &str, histogram: &Histogram) {
    reply.map(2);
    reply.bulk(what.as_bytes());
    reply.integer(i64::try_from(histogram.total()).unwrap_or(i64::MAX));
    reply.bulk(b"histogram_usec");
    let mark = reply.begin_deferred();
    let (mut before, mut shown) = (0, 0);
    for power in 10..64 {
        if before == histogram.total() {
            break;
        }
        let bound_ns = 1u64 << power;
        let count = histogram.count_up_to(bound_ns - 1);
        if count > before {
            reply.integer(((bound_ns + bound_ns / 128 - 1) / 1000) as i64);
            reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
            shown += 1;
        }
        before = count;
    }
    reply.end_deferred_map(mark, shown);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{Harness, text};
    use crate::resp::reader::{Value, read_all};

    #[test]
    fn counts_are_cumulative() {
        let mut histogram = Histogram::default();
        [500, 900, 1500, 20_000, 20_001, 1_000_000_000]
            .iter()
            .for_each(|ns| histogram.record(*ns));
        let mut reply = Reply::default();
        write_distribution(&mut reply, "calls", &histogram);
        let values = read_all(&reply.output().to_vec()).expect("whole values");
        let items = values[0].items().expect("an array");
        assert_eq!(items[1], Value::Integer(6));
        let pairs: Vec<Value> = [1, 2, 2, 3, 33, 5, 1_082_130, 6]
            .map(Value::Integer)
            .to_vec();
        assert_eq!(items[3].items(), Some(pairs.as_slice()));
    }

    #[test]
    fn commands_and_their_subcommands_are_found() {
        let mut harness = Harness::new();
        harness.line("SET a 1");
        harness.line("CLIENT ID");
        harness.line("CLIENT GETNAME");
        let shown = |harness: &mut Harness, line: &str| {
            harness.line(line).items().map(|items| items.len() / 2)
        };
        assert_eq!(shown(&mut harness, "LATENCY HISTOGRAM client"), Some(2));
        assert_eq!(
            shown(&mut harness, "LATENCY HISTOGRAM client|id set nosuch get"),
            Some(2)
        );
        assert_eq!(shown(&mut harness, "LATENCY HISTOGRAM"), Some(4));
        assert_eq!(harness.line("LATENCY RESET a b"), Value::Integer(0));
        assert_eq!(harness.line("LATENCY LATEST"), Value::Array(vec![]));
        let graph = text(&harness.line("LATENCY GRAPH x"));
        assert!(
            graph.contains("ERR No samples available for event 'x'"),
            "{graph}"
        );
    }
}
