//! LATENCY: how long commands took (HISTOGRAM), and what the latency monitor kept: events that took long.
//!
//! Mirrors `latencyCommand` of Redis's latency.c. What is kept is decided in
//! [`LatencyMonitor`](crate::observe::LatencyMonitor); the drawing is in `graph`, the advice in `doctor`.

mod doctor;
mod graph;

use super::help;
use crate::engine::{
    Argument, CommandError, CommandId, CommandSpec, Context, Group, Handler, ServerContext, flags,
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
        handler: Handler::Server(doctor),
        ..ROW
    },
    CommandSpec {
        name: "graph",
        summary: "Draws the recorded times of an event.",
        arity: 3,
        arguments: &[Argument::string("event")],
        handler: Handler::Server(graph),
        ..ROW
    },
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
        summary: "Returns how the run times of commands are distributed, for those named or for all.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands with latency information being retrieved.",
        arity: -2,
        arguments: &[Argument::string("command").multiple().optional()],
        handler: Handler::Server(histogram),
        ..ROW
    },
    CommandSpec {
        name: "history",
        summary: "Returns the recorded times of an event.",
        arity: 3,
        arguments: &[Argument::string("event")],
        handler: Handler::Server(history),
        ..ROW
    },
    CommandSpec {
        name: "latest",
        summary: "Returns the newest recorded time of every event.",
        handler: Handler::Server(latest),
        ..ROW
    },
    CommandSpec {
        name: "reset",
        summary: "Forgets the recorded times of the events named, or of all.",
        arity: -2,
        tips: &["request_policy:all_nodes", "response_policy:agg_sum"],
        arguments: &[Argument::string("event").multiple().optional()],
        handler: Handler::Server(reset),
        ..ROW
    },
];

fn print_help(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::of_rows(context.reply, args, SUBCOMMANDS);
    Ok(())
}

fn doctor(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let has_huge_pages = crate::system::process::anonymous_huge_pages() > 0;
    let text = doctor::report(context.state, has_huge_pages);
    context.reply().verbatim("txt", text.as_bytes());
    Ok(())
}

fn graph(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_s = context.now().unix_s();
    let Some((event, series)) = context.state.observe.latency.series(args.at(2)) else {
        let problem = "ERR No samples available for event '";
        return Err(CommandError::showing(problem, args.at(2), "'"));
    };
    let drawn = graph::draw(event.name(), series, now_s);
    context.reply().verbatim("txt", drawn.as_bytes());
    Ok(())
}

fn history(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let series = context.state.observe.latency.series(args.at(2));
    let samples = series.map_or_else(Vec::new, |(_, series)| {
        series.samples.iter().copied().collect()
    });
    let reply = context.reply();
    reply.array(samples.len());
    for sample in samples {
        reply.array(2);
        reply.integer(sample.unix_s);
        reply.integer(i64::try_from(sample.ms).unwrap_or(i64::MAX));
    }
    Ok(())
}

fn latest(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let state = &mut *context.state;
    let Some(client) = state.clients.get_mut(context.client) else {
        return Ok(());
    };
    let reply = &mut client.reply;
    let events = state.observe.latency.iter();
    reply.array(events.len());
    for (event, series) in events {
        let (unix_s, ms) = series
            .samples
            .back()
            .map_or((0, 0), |last| (last.unix_s, last.ms));
        reply.array(4);
        reply.bulk(event.name().as_bytes());
        reply.integer(unix_s);
        reply.integer(i64::try_from(ms).unwrap_or(i64::MAX));
        reply.integer(i64::try_from(series.worst_ms).unwrap_or(i64::MAX));
    }
    Ok(())
}

fn reset(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let monitor = &mut context.state.observe.latency;
    let gone = if args.len() == 2 {
        monitor.reset(None)
    } else {
        args.iter()
            .skip(2)
            .map(|name| monitor.reset(Some(name)))
            .sum()
    };
    context.reply().count(gone);
    Ok(())
}

fn histogram(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
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
    use crate::event_loop::Phase;
    use crate::observe::LatencyEvent;
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

    #[test]
    fn what_was_kept_is_shown_explained_and_forgotten() {
        let mut harness = Harness::new();
        let doctor = |harness: &mut Harness| text(&harness.line("LATENCY DOCTOR"));
        assert!(doctor(&mut harness).contains("Latency monitoring is disabled"));
        harness.line("CONFIG SET latency-monitor-threshold 5");
        assert!(doctor(&mut harness).contains("No latency spike was observed"));
        let now_s = harness.state.now.unix_s();
        let monitor = &mut harness.state.observe.latency;
        assert_eq!(monitor.threshold_ms, 5);
        for (event, ms) in [
            (LatencyEvent::of_phase(Phase::Write), 40),
            (LatencyEvent::Command, 4),
            (LatencyEvent::Command, 30),
            (LatencyEvent::Fork, 9),
        ] {
            monitor.took(event, ms * 1_000_000, now_s - 3);
        }
        let [time, ms] = [now_s - 3, 30].map(Value::Integer);
        let history = Value::Array(vec![Value::Array(vec![time.clone(), ms.clone()])]);
        assert_eq!(harness.line("LATENCY HISTORY command"), history);
        let latest = harness.line("LATENCY LATEST");
        let latest = latest.items().expect("an array");
        assert_eq!(latest.len(), 3);
        let command = vec![Value::bulk("command"), time, ms.clone(), ms];
        assert_eq!(latest[0], Value::Array(command));
        let report = doctor(&mut harness);
        for part in [
            "1. command: 1 latency spikes (average 30ms, mean deviation 0ms, period 3.00 sec). Worst all time event 30ms.",
            "Fork rate is",
            "slowlog-log-slower-than 5000",
            "LOOP SLOWEST",
        ] {
            assert!(report.contains(part), "{part} in {report}");
        }
        assert!(text(&harness.line("LATENCY GRAPH fork")).contains("fork - high 9 ms"));
        assert_eq!(
            harness.line("LATENCY RESET FORK nothing"),
            Value::Integer(1)
        );
        assert_eq!(harness.line("LATENCY RESET"), Value::Integer(2));
    }
}
