//! MEMORY: where the memory is, and giving back what is not used. Mirrors `memoryCommand` of Redis's object.c.

use super::help;
use crate::engine::{
    Argument, CommandError, CommandSpec, Context, Group, Handler, KeySpec, ServerContext, flags,
    key_flags, parse,
};
use crate::observe::MemoryFigures;
use crate::resp::{Args, Reply};
use crate::system::memory;

const ROW: CommandSpec = CommandSpec {
    since: "4.0.0",
    group: Group::Server,
    arity: 2,
    tips: &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ],
    ..CommandSpec::DEFAULT
};

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec::container(
    "memory",
    "4.0.0",
    Group::Server,
    "Holds the commands on the server's memory.",
    SUBCOMMANDS,
)];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "doctor",
        summary: "Returns a report about problems with memory.",
        handler: Handler::Server(doctor),
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
        name: "malloc-stats",
        summary: "Returns what the allocator tells of itself.",
        complexity: "Depends on how much memory is allocated, could be slow",
        handler: Handler::Database(malloc_stats),
        ..ROW
    },
    CommandSpec {
        name: "purge",
        summary: "Gives unused pages back to the system.",
        complexity: "Depends on how much memory is allocated, could be slow",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        handler: Handler::Database(purge),
        ..ROW
    },
    CommandSpec {
        name: "stats",
        summary: "Returns figures about the server's memory.",
        handler: Handler::Server(stats),
        ..ROW
    },
    CommandSpec {
        name: "usage",
        summary: "Returns the bytes that a key and its value take.",
        complexity: "O(N) where N is the number of samples.",
        arity: -3,
        flags: flags::READONLY,
        tips: &[],
        keys: &[KeySpec::range(key_flags::RO, 2, 0, 1)],
        arguments: &[
            Argument::key("key"),
            Argument::integer("count").after("SAMPLES").optional(),
        ],
        handler: Handler::Database(usage),
        ..ROW
    },
];

fn print_help(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::of_rows(context.reply, args, SUBCOMMANDS);
    Ok(())
}

fn usage(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut samples = 5;
    let mut options = args.iter().skip(3);
    while let Some(option) = options.next() {
        let count = options
            .next()
            .filter(|_| parse::is_word(option, "SAMPLES"))
            .ok_or(CommandError::Syntax)?;
        samples = usize::try_from(parse::integer(count)?).map_err(|_| CommandError::Syntax)?;
    }
    match context
        .db
        .peek(args.at(2))
        .map(|entry| entry.memory_bytes(samples))
    {
        Some(bytes) => context.reply.count(bytes),
        None => context.reply.null(),
    }
    Ok(())
}

fn purge(context: &mut Context<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    if !memory::purge() {
        return Err(CommandError::fixed("ERR Error purging dirty pages"));
    }
    context.reply.ok();
    Ok(())
}

fn malloc_stats(context: &mut Context<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    context.reply.verbatim("txt", &memory::statistics_text());
    Ok(())
}

fn measure(context: &mut ServerContext<'_>) -> MemoryFigures {
    let used = context.host.used_memory();
    let state = &context.state;
    let buffered = state.persistence.aof.buffered();
    MemoryFigures::measure(
        used,
        buffered,
        crate::engine::functions::memory(state),
        &state.keyspace,
        &state.observe,
    )
}

fn stats(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let figures = measure(context);
    let databases = figures.databases.clone();
    let scripting = &context.state.scripting;
    let scripts = scripting.scripts.memory() as u64;
    let functions = scripting.libraries.memory() as u64;
    let machine = scripting.memory as u64;
    let stream = context.state.replication.stream.as_ref();
    let backlog = stream.map_or(0, |stream| stream.memory_bytes() as u64);
    let links = crate::engine::cluster::links_memory(context.state) as u64;
    let reply = context.reply();
    reply.map(33 + databases.len());
    field(reply, "peak.allocated", figures.peak);
    field(reply, "total.allocated", figures.used);
    field(reply, "startup.allocated", figures.startup);
    field(reply, "replication.backlog", backlog);
    field(reply, "replica.fullsync.buffer", 0);
    field(reply, "clients.slaves", 0);
    field(reply, "clients.normal", figures.clients);
    field(reply, "cluster.links", links);
    field(reply, "aof.buffer", figures.aof_buffer);
    field(reply, "lua.caches", scripts);
    field(reply, "functions.caches", functions);
    field(reply, "script.VMs", machine);
    for database in databases {
        reply.bulk(format!("db.{}", database.index).as_bytes());
        reply.map(2);
        field(reply, "overhead.hashtable.main", database.main);
        field(reply, "overhead.hashtable.expires", database.expires);
    }
    field(reply, "overhead.db.hashtable.lut", figures.tables());
    // The dict grows a bucket at a time: there never is a second table.
    field(reply, "overhead.db.hashtable.rehashing", 0);
    field(reply, "overhead.total", figures.overhead);
    field(reply, "db.dict.rehashing.count", 0);
    field(reply, "keys.count", figures.keys);
    field(reply, "keys.bytes-per-key", figures.bytes_per_key());
    field(reply, "dataset.bytes", figures.dataset);
    double(reply, "dataset.percentage", figures.dataset_percent());
    double(reply, "peak.percentage", figures.peak_percent());
    field(reply, "allocator.allocated", figures.allocator.allocated);
    field(reply, "allocator.active", figures.allocator.active);
    field(reply, "allocator.resident", figures.allocator.resident);
    field(reply, "allocator.muzzy", 0);
    for (name, (times, bytes)) in [
        ("allocator-fragmentation", figures.fragmentation()),
        ("allocator-rss", figures.allocator_rss()),
        ("rss-overhead", figures.rss_overhead()),
    ] {
        double(reply, &format!("{name}.ratio"), times);
        reply.bulk(format!("{name}.bytes").as_bytes());
        reply.integer(bytes);
    }
    let (times, bytes) = figures.total_fragmentation();
    double(reply, "fragmentation", times);
    reply.bulk(b"fragmentation.bytes");
    reply.integer(bytes);
    Ok(())
}

fn field(reply: &mut Reply, name: &str, value: u64) {
    reply.bulk(name.as_bytes());
    reply.integer(i64::try_from(value).unwrap_or(i64::MAX));
}

fn double(reply: &mut Reply, name: &str, value: f64) {
    reply.bulk(name.as_bytes());
    reply.double(value);
}

fn doctor(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let figures = measure(context);
    let clients = context.state.clients.connected as u64;
    context
        .reply()
        .verbatim("txt", report(&figures, clients).as_bytes());
    Ok(())
}

/// Below this there is nothing to say about, bytes.
const ALMOST_EMPTY: u64 = 5 << 20;
/// Memory that is lost between two figures is worth a word from here on, bytes.
const WORTH_A_WORD: i64 = 10 << 20;
/// Buffers of an average client are large from here on, bytes.
const LARGE_BUFFERS: u64 = 200 << 10;

/// What is worth a word, by Redis's measures.
fn report(figures: &MemoryFigures, clients: u64) -> String {
    if figures.used < ALMOST_EMPTY {
        return "This instance is empty or holds very little data: there is nothing to diagnose yet. Ask again when it \
                has been filled.\n"
            .to_owned();
    }
    let beyond = |(times, bytes): (f64, i64), limit: f64| times > limit && bytes > WORTH_A_WORD;
    let mut found: Vec<&str> = Vec::new();
    if figures.peak as f64 / figures.used as f64 > 1.5 {
        found.push(
            "Peak memory: at some time more than 1.5 times as much memory was in use as now. Pages of that time may \
             still be resident. They are used again when the data grows; MEMORY PURGE gives back what it can.",
        );
    }
    if beyond(figures.total_fragmentation(), 1.4) {
        found.push(
            "High total RSS: the process has over 1.4 times as much memory resident as it uses. After a peak that is \
             harmless; otherwise the allocations are fragmented.",
        );
    }
    if beyond(figures.fragmentation(), 1.1) {
        found.push(
            "High allocator fragmentation: pages in use hold over 10% of free space, which values of changing size \
             leave behind.",
        );
    }
    if beyond(figures.allocator_rss(), 1.1) {
        found.push(
            "High allocator RSS overhead: the allocator keeps over 10% of its resident pages for later. MEMORY PURGE \
             gives them back.",
        );
    }
    if beyond(figures.rss_overhead(), 1.1) {
        found.push(
            "High process RSS overhead: over 10% of the resident memory does not come from the allocator: code, \
             stacks, or libraries with allocators of their own.",
        );
    }
    if figures.clients.checked_div(clients).unwrap_or(0) > LARGE_BUFFERS {
        found.push(
            "Big client buffers: clients hold more than 200 KiB each on average. CLIENT LIST shows which (omem, \
             tot-mem); they read too slowly or send very long pipelines.",
        );
    }
    if found.is_empty() {
        return "No problem with memory was found in this instance.\n".to_owned();
    }
    let mut text = "Problems with memory were found in this instance:\n\n".to_owned();
    found
        .iter()
        .for_each(|problem| text.push_str(&format!(" * {problem}\n\n")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{Harness, text};
    use crate::resp::reader::Value;

    #[test]
    fn usage_reads_its_options_first() {
        let mut harness = Harness::new();
        harness.line("SET small 1");
        harness.run(&[b"SET".to_vec(), b"large".to_vec(), vec![b'x'; 10_000]]);
        let bytes = |reply: Value| match reply {
            Value::Integer(bytes) => bytes,
            other => panic!("{other:?}"),
        };
        assert!(bytes(harness.line("MEMORY USAGE small")) < 100);
        assert!(bytes(harness.line("MEMORY USAGE large SAMPLES 0")) >= 10_000);
        assert_eq!(harness.line("MEMORY USAGE nothing"), Value::NullBulk);
        for bad in [
            "MEMORY USAGE small SAMPLES",
            "MEMORY USAGE nothing X 1",
            "MEMORY USAGE small SAMPLES -1",
        ] {
            assert!(
                text(&harness.line(bad)).contains("ERR syntax error"),
                "{bad}"
            );
        }
        let reply = text(&harness.line("MEMORY USAGE small SAMPLES x"));
        assert!(reply.contains("not an integer"), "{reply}");
    }

    #[test]
    fn stats_has_as_many_pairs_as_it_says() {
        let mut harness = Harness::new();
        harness.line("SET a 1");
        let reply = harness.line("MEMORY STATS");
        assert_eq!(reply.items().map(<[Value]>::len), Some(68));
        assert!(text(&reply).contains("db.0"));
    }

    #[test]
    fn the_doctor_says_what_the_figures_say() {
        let mut figures = MemoryFigures {
            used: 1 << 20,
            ..MemoryFigures::default()
        };
        assert!(report(&figures, 1).contains("empty"));
        figures.used = 100 << 20;
        figures.peak = figures.used;
        assert!(report(&figures, 1).contains("No problem"));
        figures.peak = 200 << 20;
        figures.resident = 190 << 20;
        figures.clients = 1 << 20;
        let text = report(&figures, 2);
        assert!(
            text.contains("Peak memory") && text.contains("High total RSS"),
            "{text}"
        );
        assert!(text.contains("Big client buffers"), "{text}");
        assert!(!text.contains("High allocator RSS"), "{text}");
    }

    #[test]
    fn the_allocator_answers() {
        let mut harness = Harness::new();
        assert_eq!(harness.line("MEMORY PURGE"), Value::Simple("OK".into()));
        let text = text(&harness.line("MEMORY MALLOC-STATS"));
        assert!(text.contains("jemalloc"), "{text}");
    }
}
