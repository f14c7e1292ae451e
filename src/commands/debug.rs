//! DEBUG: what tests and operators ask of a server that ordinary clients may not.
//!
//! In: a subcommand, found in [`SUBCOMMANDS`] (they are not in the command table, as in Redis). Only subcommands
//! whose work is really done are there; those that need a type, persistence or replication of a later issue are
//! unknown. Whether `enable-debug-command` lets a client is asked in [`crate::engine::admit`]. Mirrors `debugCommand` of Redis's debug.c.

use super::help;
use crate::commands::cluster::debug as cluster_debug;
use crate::engine::{
    CommandError, CommandSpec, Group, Handler, ServerContext, WaitFor, blocking, flags, parse,
    persistence,
};
use crate::keyspace::{Digest, EntryRef, Expiry, KeyEntry, NewValue, Stored, Value, digest_of};
use crate::persistence::loading::OnDuplicate;
use crate::persistence::rdb::save;
use crate::persistence::rdb::write::Writer;
use crate::resp::{Args, Reply};
use crate::structures::Collection;
use crate::structures::dict::Distribution;
use crate::structures::listpack::Item;
use crate::structures::quicklist::NodeView;
use crate::system::{crash, glob, numbers};
use std::io::Write as _;
use std::time::Duration;

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "debug",
    is_internal: true,
    summary: "Holds the commands for debugging.",
    complexity: "Depends on subcommand.",
    group: Group::Server,
    arity: -2,
    flags: flags::ADMIN | flags::NOSCRIPT | flags::LOADING | flags::STALE | flags::PROTECTED,
    handler: Handler::Server(debug),
    ..CommandSpec::DEFAULT
}];

type Run = fn(&mut ServerContext<'_>, Args<'_>) -> Result<(), CommandError>;

struct Subcommand {
    name: &'static str,
    /// Fewest and most arguments, `DEBUG` and the name included.
    arguments: (usize, usize),
    usage: &'static str,
    summary: &'static str,
    run: Run,
}

const fn sub(
    name: &'static str,
    arguments: (usize, usize),
    usage: &'static str,
    summary: &'static str,
    run: Run,
) -> Subcommand {
    Subcommand {
        name,
        arguments,
        usage,
        summary,
        run,
    }
}

const ANY: usize = usize::MAX;

const SUBCOMMANDS: &[Subcommand] = &[
    sub(
        "aof-flush-sleep",
        (3, 3),
        "AOF-FLUSH-SLEEP <microseconds>",
        "Rests before each write to the append-only file.",
        aof_flush_sleep,
    ),
    sub(
        "assert",
        (2, ANY),
        "ASSERT",
        "Ends the server as a failed assertion does.",
        assert,
    ),
    sub(
        "change-repl-id",
        (2, 2),
        "CHANGE-REPL-ID",
        "Gives the stream another ID, and forgets the second one.",
        change_replication_id,
    ),
    sub(
        "clusterlink",
        (5, 5),
        "CLUSTERLINK KILL <to|from|all> <node-id>",
        "Closes the connections of the bus to or from a node.",
        cluster_debug::kill_cluster_links,
    ),
    sub(
        "config-rewrite-force-all",
        (2, 2),
        "CONFIG-REWRITE-FORCE-ALL",
        "CONFIG REWRITE that writes every directive.",
        rewrite_all,
    ),
    sub(
        "internal_secret",
        (2, 2),
        "INTERNAL_SECRET",
        "Answers a checksum of the secret that the nodes of a cluster have agreed on.",
        cluster_debug::internal_secret,
    ),
    sub(
        "drop-cluster-packet-filter",
        (3, 3),
        "DROP-CLUSTER-PACKET-FILTER <packet-type>",
        "Passes messages of the bus over that are of this type; -1: none.",
        cluster_debug::drop_cluster_messages,
    ),
    sub(
        "digest",
        (2, 2),
        "DIGEST",
        "Returns a fingerprint of all data.",
        digest,
    ),
    sub(
        "digest-value",
        (2, ANY),
        "DIGEST-VALUE <key> [<key> ...]",
        "Returns a fingerprint of each value.",
        digest_value,
    ),
    sub(
        "error",
        (3, 3),
        "ERROR <string>",
        "Answers this error.",
        error,
    ),
    sub(
        "htstats",
        (3, ANY),
        "HTSTATS <dbid> [full]",
        "Returns the shape of a database's hash tables.",
        table_stats,
    ),
    sub(
        "htstats-key",
        (3, ANY),
        "HTSTATS-KEY <key> [full]",
        "The same for the hash table of a value.",
        table_stats_of_key,
    ),
    sub(
        "loadaof",
        (2, 2),
        "LOADAOF",
        "Writes the append-only file out, forgets all data and loads it again.",
        load_aof,
    ),
    sub(
        "replybuffer",
        (4, 4),
        "REPLYBUFFER RESIZING <0|1>",
        "Whether clients give their output buffers back when all is written.",
        reply_buffer,
    ),
    sub(
        "reload",
        (2, ANY),
        "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
        "Saves a snapshot, forgets all data and loads it again.",
        reload,
    ),
    sub(
        "listpack",
        (3, 3),
        "LISTPACK <key>",
        "Writes the elements of a small hash, set or sorted set to the log.",
        list_packs,
    ),
    sub(
        "log",
        (3, 3),
        "LOG <message>",
        "Writes a line to the log.",
        log_message,
    ),
    sub(
        "object",
        (3, 3),
        "OBJECT <key>",
        "Returns what is known of a key and its value.",
        object,
    ),
    sub(
        "panic",
        (2, ANY),
        "PANIC",
        "Ends the server by a panic.",
        panic_now,
    ),
    sub(
        "pause-cron",
        (3, 3),
        "PAUSE-CRON <0|1>",
        "Stops the periodic work, or lets it go on.",
        pause_cron,
    ),
    sub(
        "populate",
        (3, 5),
        "POPULATE <count> [<prefix>] [<size>]",
        "Creates strings <prefix>:0, <prefix>:1 and so on.",
        populate,
    ),
    sub(
        "protocol",
        (3, 3),
        "PROTOCOL <type>",
        "Answers an example: string, integer, double, bignum, null, array, set, map, attrib, push, verbatim, true, false.",
        protocol,
    ),
    sub(
        "quicklist",
        (3, 4),
        "QUICKLIST <key> [0|1]",
        "Writes the nodes of a list to the log, with 1 also their elements.",
        list_nodes,
    ),
    sub(
        "quicklist-packed-threshold",
        (3, 3),
        "QUICKLIST-PACKED-THRESHOLD <size>",
        "List elements of so many bytes get nodes of their own; 0: the default.",
        packed_threshold,
    ),
    sub(
        "replicate",
        (3, ANY),
        "REPLICATE <command> [<argument> ...]",
        "Sends a command to the replicas, whatever it is.",
        replicate,
    ),
    sub(
        "sdslen",
        (3, 3),
        "SDSLEN <key>",
        "Returns lengths and allocations of a key and its string.",
        string_lengths,
    ),
    sub(
        "segfault",
        (2, ANY),
        "SEGFAULT",
        "Ends the server by a memory fault.",
        segfault,
    ),
    sub(
        "set-active-expire",
        (3, 3),
        "SET-ACTIVE-EXPIRE <0|1>",
        "Whether keys expire without being looked at.",
        set_active_expire,
    ),
    sub(
        "set-disable-deny-scripts",
        (3, 3),
        "SET-DISABLE-DENY-SCRIPTS <0|1>",
        "Whether scripts may call commands that are denied to them.",
        set_disable_deny_scripts,
    ),
    sub(
        "set-skip-checksum-validation",
        (3, 3),
        "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
        "Whether RESTORE takes payloads whose checksum is wrong.",
        skip_checksum,
    ),
    sub(
        "sleep",
        (3, 3),
        "SLEEP <seconds>",
        "Stops the whole server for a time.",
        sleep,
    ),
    sub(
        "stringmatch-len",
        (4, 4),
        "STRINGMATCH-LEN <pattern> <string>",
        "Whether a glob pattern matches.",
        string_match,
    ),
    sub(
        "stringmatch-test",
        (2, 2),
        "STRINGMATCH-TEST",
        "Matches random patterns with random strings.",
        string_match_test,
    ),
];

fn debug(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() == 2 && parse::is_word(args.at(1), "HELP") {
        let lines: Vec<String> = SUBCOMMANDS
            .iter()
            .flat_map(|sub| [sub.usage.to_owned(), format!("    {}", sub.summary)])
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        help::help(context.reply(), args, &lines);
        return Ok(());
    }
    let found = SUBCOMMANDS
        .iter()
        .find(|sub| parse::is_word(args.at(1), sub.name));
    match found.filter(|sub| (sub.arguments.0..=sub.arguments.1).contains(&args.len())) {
        Some(sub) => (sub.run)(context, args),
        None => Err(CommandError::subcommand_syntax(args)),
    }
}

// ---- the server ----------------------------------------------------------------------------------

fn sleep(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    // Whatever is no length of time is none.
    let duration = Duration::try_from_secs_f64(numbers::decimal_prefix(args.at(2)));
    context.host.sleep(duration.unwrap_or_default());
    context.reply().ok();
    Ok(())
}

fn set_active_expire(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    context.state.active_expire = parse::integer(args.at(2))? != 0;
    context.state.apply_settings();
    context.reply().ok();
    Ok(())
}

fn change_replication_id(
    context: &mut ServerContext<'_>,
    _args: Args<'_>,
) -> Result<(), CommandError> {
    log::info!("Changing replication IDs after receiving change-repl-id");
    let id = crate::engine::replication::new_id(context.state);
    context.state.replication.id = id;
    context.state.replication.clear_second_id();
    context.reply().ok();
    Ok(())
}

fn replicate(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let words: Vec<&[u8]> = args.iter().skip(2).collect();
    context.state.journal.tell_replicas(&words);
    context.reply().ok();
    Ok(())
}

fn set_disable_deny_scripts(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    context.state.scripting.calls_denied = parse::integer(args.at(2))? != 0;
    context.reply().ok();
    Ok(())
}

fn aof_flush_sleep(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let us = parse::integer(args.at(2))?;
    context.state.persistence.aof.flush_sleep_us = u64::try_from(us).unwrap_or(0);
    context.reply().ok();
    Ok(())
}

fn skip_checksum(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    context.state.skip_checksum_validation = parse::integer(args.at(2))? != 0;
    context.reply().ok();
    Ok(())
}

fn reload(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (mut save, mut flush, mut on_duplicate) = (true, true, OnDuplicate::Fail);
    for option in args.iter().skip(2) {
        match () {
            () if parse::is_word(option, "MERGE") => on_duplicate = OnDuplicate::Replace,
            () if parse::is_word(option, "NOFLUSH") => flush = false,
            () if parse::is_word(option, "NOSAVE") => save = false,
            () => {
                return Err(CommandError::fixed(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    if context.state.persistence.loads_any() {
        return Err(CommandError::Loading);
    }
    persistence::reload(context.state, context.host, save, flush, on_duplicate)?;
    context.reply().ok();
    Ok(())
}

fn load_aof(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    if context.state.persistence.loads_any() {
        return Err(CommandError::Loading);
    }
    persistence::aof::flush(context.state, true);
    if context.state.persistence.aof.buffered() > 0 {
        return Err(CommandError::fixed(
            "ERR The append-only file cannot be written now, check server logs.",
        ));
    }
    let session = context.session();
    let (id, can_wait) = (session.id, blocking::can_wait(session));
    // A child that rewrites the append-only file would replace it under the loader.
    if can_wait && !context.state.persistence.is_saving() {
        return match persistence::loading::begin_again(context.state, id) {
            Ok(()) => {
                context.effects.details_mut().block = Some(WaitFor::Work);
                Ok(())
            }
            Err(failure) => Err(persistence::loading::aof_failure(&failure)),
        };
    }
    persistence::loading::load_again(context.state, context.host, id)
        .map_err(|failure| persistence::loading::aof_failure(&failure))?;
    log::warn!("Append Only File loaded by DEBUG LOADAOF");
    context.reply().ok();
    Ok(())
}

fn reply_buffer(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !parse::is_word(args.at(2), "RESIZING") {
        return Err(CommandError::Syntax);
    }
    context.state.clients.keep_buffers = parse::integer(args.at(3))? == 0;
    context.reply().ok();
    Ok(())
}

fn pause_cron(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    context.state.cron_paused = parse::integer(args.at(2))? != 0;
    context.reply().ok();
    Ok(())
}

fn rewrite_all(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    context
        .state
        .config
        .rewrite(&crate::commands::users::kept_lines(context.state), true)
        .map_err(|error| {
            CommandError::text_owned(format!("ERR CONFIG-REWRITE-FORCE-ALL failed: {error}"))
        })?;
    context.reply().ok();
    Ok(())
}

fn log_message(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    log::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.at(2)));
    context.reply().ok();
    Ok(())
}

fn packed_threshold(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    // Somewhat below 4 GiB, so that sizes of nodes fit 32 bits.
    const MAX: u64 = (1 << 32) - (1 << 20);
    let bytes = numbers::parse_bytes(args.at(2)).filter(|&bytes| bytes <= MAX);
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let keyspace = &mut context.state.keyspace;
    let mut settings = keyspace.settings();
    settings.list_packed_threshold = bytes.ok_or(CommandError::fixed(
        "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
    ))?;
    keyspace.configure(settings);
    context.reply().ok();
    Ok(())
}

/// Writes lines to standard output, as Redis does, and says so.
fn print_lines(
    context: &mut ServerContext<'_>,
    what: &str,
    lines: &str,
) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    out.write_all(lines.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| CommandError::text_owned(format!("ERR cannot write: {error}")))?;
    context
        .reply()
        .simple(&format!("{what} structure printed on stdout"));
    Ok(())
}

fn push_elements<'i>(lines: &mut String, items: impl Iterator<Item = Item<'i>>) {
    for (index, item) in items.enumerate() {
        item.with_bytes(|bytes| {
            lines.push_str(&format!(
                "  {index}: {:?}\n",
                String::from_utf8_lossy(bytes)
            ));
        });
    }
}

fn list_packs(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut db = context.db();
    let entry = db.peek(args.at(2)).ok_or(CommandError::NoSuchKey)?;
    let listpack = match entry.stored() {
        Stored::Hash(hash) => hash.listpack().map(|(listpack, _)| listpack),
        Stored::List(list) => list.as_listpack(),
        Stored::Set(set) => set.as_listpack(),
        Stored::SortedSet(set) => set.as_listpack(),
        _ => None,
    };
    let listpack = listpack.ok_or(CommandError::fixed("ERR Not a listpack encoded object."))?;
    let mut lines = format!(
        "{} bytes, {} elements\n",
        listpack.byte_len(),
        listpack.len()
    );
    push_elements(&mut lines, listpack.iter());
    print_lines(context, "Listpack", &lines)
}

fn list_nodes(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let full = args.len() == 4 && parse::integer(args.at(3))? != 0;
    let mut db = context.db();
    let entry = db.peek(args.at(2)).ok_or(CommandError::NoSuchKey)?;
    let list = match entry.stored() {
        Stored::List(list) => list.as_quicklist(),
        _ => None,
    };
    let list = list.ok_or(CommandError::fixed("ERR Not a quicklist encoded object."))?;
    let mut lines = format!("{} elements, {} nodes\n", list.len(), list.node_count());
    for (index, node) in list.nodes().enumerate() {
        let line = match node {
            NodeView::Packed(listpack) => {
                format!(
                    "node {index}: listpack, {} bytes, {} elements\n",
                    listpack.byte_len(),
                    listpack.len()
                )
            }
            NodeView::Plain(bytes) => format!("node {index}: plain, {} bytes\n", bytes.len()),
            NodeView::Compressed { bytes, size, plain } => {
                let kind = if plain { "plain" } else { "listpack" };
                format!(
                    "node {index}: {kind}, {size} bytes, compressed to {}\n",
                    bytes.len()
                )
            }
        };
        lines.push_str(&line);
        if let (true, NodeView::Packed(listpack)) = (full, node) {
            push_elements(&mut lines, listpack.iter());
        }
    }
    print_lines(context, "Quicklist", &lines)
}

fn error(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    context.reply().error(args.at(2));
    Ok(())
}

fn segfault(_context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    crash::segfault()
}

#[allow(clippy::panic)]
fn panic_now(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    panic!("DEBUG PANIC called at Unix time {}", context.now().unix_s())
}

#[allow(clippy::panic)]
fn assert(_context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    panic!("=== ASSERTION FAILED === '1 == 2' is not true (DEBUG ASSERT)")
}

fn string_match(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let matches = glob::matches(args.at(2), args.at(3));
    context.reply().integer(i64::from(matches));
    Ok(())
}

fn string_match_test(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    const ROUNDS: usize = 20_000;
    let rng = &mut context.state.rng;
    let (mut pattern, mut text) = ([0; 32], [0; 32]);
    for _ in 0..ROUNDS {
        rng.fill(&mut pattern);
        rng.fill(&mut text);
        // Few letters, so that something matches, and every sign that means something.
        let letters = b"ab*?[]^-\\";
        pattern
            .iter_mut()
            .for_each(|byte| *byte = letters[usize::from(*byte) % letters.len()]);
        text.iter_mut().for_each(|byte| *byte = b'a' + *byte % 2);
        let (pattern_len, text_len) = (rng.index(33), rng.index(33));
        glob::matches(&pattern[..pattern_len], &text[..text_len]);
    }
    context
        .reply()
        .simple("Apparently Redis did not crash: test passed");
    Ok(())
}

// 3.141 is what Redis answers, not a careless pi.
#[allow(clippy::approx_constant)]
fn protocol(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    const NAMES: &str =
        "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false";
    let reply = context.reply();
    let numbers = |reply: &mut Reply| (0..3).for_each(|n| reply.integer(n));
    let name = args.at(2).to_ascii_lowercase();
    match name.as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12345),
        b"double" => reply.double(3.141),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            numbers(reply);
        }
        b"set" => {
            reply.set(3);
            numbers(reply);
        }
        b"map" => {
            reply.map(3);
            for n in 0..3 {
                reply.integer(n);
                reply.boolean(n == 1);
            }
        }
        b"attrib" => {
            if reply.resp3() {
                reply.attribute(1);
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if !reply.resp3() {
                return Err(CommandError::fixed(
                    "ERR RESP2 is not supported by this command",
                ));
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            reply.bulk(b"Some real reply following the push reply");
        }
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(CommandError::text_owned(format!(
                "ERR Wrong protocol type name. Please use one of the following: {NAMES}"
            )));
        }
    }
    Ok(())
}

// ---- keys ----------------------------------------------------------------------------------------

fn object(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now = context.now();
    let index = context.session().db;
    // A key whose time is over is shown as long as it is there.
    let mut clock = now;
    clock.keeps_expired = true;
    let mut db = context.state.keyspace.db(index, clock, true);
    let entry = db.peek(args.at(2)).ok_or(CommandError::NoSuchKey)?;
    let line = format!(
        "Value at:{:p} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        entry.key().as_ptr(),
        entry.encoding(),
        serialized_len(&entry),
        entry.lru_bits(),
        entry.idle_ms(now) / 1000
    );
    let quicklist = match entry.stored() {
        Stored::List(list) => list.as_quicklist(),
        _ => None,
    };
    let nodes = match quicklist {
        Some(list) => format!(
            " ql_nodes:{} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:{} ql_uncompressed_size:{}",
            list.node_count(),
            list.len() as f64 / list.node_count() as f64,
            list.fill(),
            i32::from(list.compresses()),
            list.uncompressed_bytes()
        ),
        _ => String::new(),
    };
    context.reply().simple(&(line + &nodes));
    Ok(())
}

/// Bytes of the value in an RDB file.
fn serialized_len(entry: &EntryRef<'_>) -> usize {
    let mut out = Vec::new();
    save::save(entry.stored(), &mut Writer::new(&mut out, false));
    out.len()
}

fn string_lengths(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    const NOT_A_STRING: CommandError = CommandError::fixed("ERR Not an sds encoded string.");
    let mut db = context.db();
    let entry = db.peek(args.at(2)).ok_or(CommandError::NoSuchKey)?;
    // A short string lies in the key's own allocation, so its bytes are counted there.
    let (len, free, apart) = match entry.string() {
        Ok(Value::Bytes(bytes)) => (bytes.len(), 0, 0),
        Ok(Value::Blob(blob)) => (blob.len(), blob.capacity() - blob.len(), blob.capacity()),
        Ok(Value::Int(_)) | Err(_) => return Err(NOT_A_STRING),
    };
    let line = format!(
        "key_sds_len:{}, key_sds_avail:0, key_zmalloc: {}, val_sds_len:{len}, val_sds_avail:{free}, val_zmalloc: {apart}",
        entry.key().len(),
        entry.memory_bytes(0).saturating_sub(apart)
    );
    context.reply().simple(&line);
    Ok(())
}

/// Keys that are there stay as they are. Nothing is counted as a change and nothing propagated, as in Redis.
fn populate(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    const NOT_POSITIVE: CommandError =
        CommandError::fixed("ERR value is out of range, must be positive");
    let number = |at: usize| -> Result<usize, CommandError> {
        let number = numbers::parse_i64(args.at(at)).ok_or(NOT_POSITIVE)?;
        usize::try_from(number).map_err(|_| NOT_POSITIVE)
    };
    let count = number(2)?;
    let prefix = args.get(3).unwrap_or(b"key");
    let size = if args.len() == 5 { number(4)? } else { 0 };
    if size > context.state.config.settings().proto_max_bulk_len {
        return Err(CommandError::StringTooLong);
    }
    let mut db = context.db();
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for n in 0..count {
        key.clear();
        key.extend_from_slice(prefix);
        key.push(b':');
        numbers::write_u64(&mut key, n as u64);
        if let KeyEntry::Vacant(vacant) = db.entry(&key) {
            value.clear();
            value.extend_from_slice(b"value:");
            numbers::write_u64(&mut value, n as u64);
            if size > 0 {
                value.resize(size, 0);
            }
            vacant.insert(NewValue::String(&value), Expiry::Clear);
        }
    }
    context.reply().ok();
    Ok(())
}

fn table_stats(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let number = parse::integer(args.at(2))?;
    let full = args.get(3).is_some_and(|word| parse::is_word(word, "full"));
    let index = usize::try_from(number)
        .ok()
        .filter(|index| *index < context.state.keyspace.count());
    let index = index.ok_or(CommandError::fixed("ERR Out of range database"))?;
    let (main, expires) = context.state.keyspace.distributions(index);
    let text = format!(
        "[Dictionary HT]\n{}[Expires HT]\n{}",
        shape(&main, full),
        shape(&expires, full)
    );
    context.reply().verbatim("txt", text.as_bytes());
    Ok(())
}

/// The shape of a table in Redis's lines. A slot is a bucket of several elements here; there is no second table.
fn shape(table: &Distribution, full: bool) -> String {
    let mut text = "Hash table 0 stats (main hash table):\n".to_owned();
    if table.elements == 0 {
        text.push_str("No stats available for empty dictionaries\n");
        return text;
    }
    text.push_str(&format!(
        " table size: {}\n number of elements: {}\n",
        table.buckets, table.elements
    ));
    if full {
        let used = table.buckets.saturating_sub(table.empty_buckets).max(1);
        let longest = table.histogram.len().saturating_sub(1);
        let average = table.elements as f64 / used as f64;
        text.push_str(&format!(
            " different slots: {used}\n max chain length: {longest}\n avg chain length (counted): {average:.2}\n \
             avg chain length (computed): {average:.2}\n Chain length distribution:\n"
        ));
        for (len, buckets) in table
            .histogram
            .iter()
            .enumerate()
            .filter(|(_, buckets)| **buckets > 0)
        {
            let share = *buckets as f64 * 100.0 / table.buckets as f64;
            text.push_str(&format!("   {len}: {buckets} ({share:.2}%)\n"));
        }
    }
    text
}

fn table_stats_of_key(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let full = args.get(3).is_some_and(|word| parse::is_word(word, "full"));
    let table = match context.db().peek(args.at(2)) {
        Some(entry) => match entry.stored() {
            Stored::Set(set) => set.distribution(),
            Stored::Hash(hash) => hash.distribution(),
            Stored::SortedSet(set) => set.distribution(),
            _ => None,
        },
        None => return Err(CommandError::NoSuchKey),
    };
    let table = table.ok_or(CommandError::fixed(
        "ERR The value stored at the specified key is not represented using an hash table",
    ))?;
    let text = shape(&table, full);
    context.reply().verbatim("txt", text.as_bytes());
    Ok(())
}

// ---- fingerprints --------------------------------------------------------------------------------

fn digest(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let digest = digest_of(&mut context.state.keyspace, context.state.now);
    context.reply().simple(&digest);
    Ok(())
}

fn digest_value(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    context.reply().array(args.len() - 2);
    for key in args.iter().skip(2) {
        let digest = context.db().peek(key).as_ref().map(Digest::of_value);
        context.reply().simple(&digest.unwrap_or_default().hex());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{Harness, text};
    use crate::resp::reader::Value as Answer;

    fn harness() -> Harness {
        let mut harness = Harness::new();
        let arguments = ["--enable-debug-command", "yes"].map(Into::into);
        harness.state.config = crate::config::Config::load(&arguments, &mut || Ok(Vec::new()))
            .expect("a good configuration");
        harness
    }

    #[test]
    fn it_is_closed_unless_opened() {
        let reply = text(&Harness::new().line("DEBUG SLEEP 0"));
        assert!(reply.contains("ERR DEBUG command not allowed"), "{reply}");
        assert_eq!(harness().line("DEBUG SLEEP 0"), Answer::Simple("OK".into()));
    }

    /// It went by the name as it was sent: renamed, DEBUG was opened and closed by `enable-module-command`.
    #[test]
    fn a_new_name_opens_nothing_and_closes_nothing() {
        for (mut harness, is_open) in [(harness(), true), (Harness::new(), false)] {
            let table = &mut harness.state.table;
            table.rename(b"debug", b"inspect").expect("a new name");
            let reply = text(&harness.line("INSPECT SLEEP 0"));
            assert_eq!(!reply.contains("ERR DEBUG command not"), is_open, "{reply}");
        }
    }

    #[test]
    fn unknown_subcommands_are_named() {
        let mut harness = harness();
        for line in ["DEBUG nosuch", "DEBUG SLEEP", "DEBUG sleep 1 2"] {
            let reply = text(&harness.line(line));
            assert!(reply.contains("Try DEBUG HELP."), "{reply}");
        }
        let help = harness.line("DEBUG HELP");
        assert_eq!(
            help.items().map(<[Answer]>::len),
            Some(SUBCOMMANDS.len() * 2 + 3)
        );
        for bad in ["DEBUG PAUSE-CRON x", "DEBUG HTSTATS 99"] {
            assert!(matches!(harness.line(bad), Answer::Error(_)), "{bad}");
        }
        let not_positive = b"ERR value is out of range, must be positive".to_vec();
        for bad in ["x", "-1"] {
            let answer = harness.run(&["DEBUG", "POPULATE", bad]);
            assert_eq!(answer, Answer::Error(not_positive.clone()), "{bad}");
        }
    }

    /// Redis reads the number that the text begins with; what is no time to sleep is none.
    #[test]
    fn sleeps_as_long_as_the_text_begins_with() {
        let mut harness = harness();
        for text in [
            "0\r\n", " 5", "x", "", "0x10", "-1", "1e300", "nan", "inf", "-",
        ] {
            let answer = harness.run(&["DEBUG", "SLEEP", text]);
            assert_eq!(answer, Answer::Simple("OK".into()), "{text:?}");
        }
    }

    #[test]
    fn switches_are_switched() {
        let mut harness = harness();
        harness.line("DEBUG SET-ACTIVE-EXPIRE 0");
        harness.line("DEBUG PAUSE-CRON 1");
        harness.line("DEBUG REPLYBUFFER RESIZING 0");
        assert!(harness.state.clients.keep_buffers);
        assert_eq!(
            (harness.state.active_expire, harness.state.cron_paused),
            (false, true)
        );
        assert!(!harness.state.keyspace.settings().active_expire);
        harness.line("DEBUG SET-ACTIVE-EXPIRE 1");
        assert!(harness.state.keyspace.settings().active_expire);
    }

    #[test]
    fn populate_creates_what_is_missing_and_counts_no_change() {
        let mut harness = harness();
        harness.line("SET key:1 mine");
        let dirty = harness.state.keyspace.dirty;
        assert_eq!(
            harness.line("DEBUG POPULATE 3"),
            Answer::Simple("OK".into())
        );
        assert_eq!(
            harness.line("DEBUG POPULATE 2 big 10"),
            Answer::Simple("OK".into())
        );
        assert_eq!(harness.state.keyspace.dirty, dirty);
        assert_eq!(
            harness.line("MGET key:1 key:2"),
            Answer::Array(vec![Answer::bulk("mine"), Answer::bulk("value:2")])
        );
        assert_eq!(harness.line("GET big:1"), Answer::bulk(b"value:1\0\0\0"));
        assert!(text(&harness.line("DEBUG POPULATE -1")).len() > 10);
        let negative = harness.line("DEBUG POPULATE -1");
        assert_eq!(
            negative,
            Answer::Error(b"ERR value is out of range, must be positive".to_vec())
        );
        let stats = harness.line("DEBUG HTSTATS 0 full");
        assert!(text(&stats).contains("number of elements: 5"), "{stats:?}");
    }

    #[test]
    fn objects_are_described() {
        let mut harness = harness();
        let mut len = |value: &str| {
            harness.run(&["SET", "k", value]);
            let line = text(&harness.line("DEBUG OBJECT k"));
            let after = line
                .split("serializedlength:")
                .nth(1)
                .expect("the field")
                .to_owned();
            after
                .split(' ')
                .next()
                .expect("a number")
                .parse::<usize>()
                .expect("a number")
        };
        let long = "x".repeat(64);
        assert_eq!(
            ["1", "-129", "70000", "5000000000", "ab"].map(&mut len),
            [2, 3, 5, 11, 3]
        );
        assert_eq!(len(&long), 66);
        assert_eq!(
            harness.line("DEBUG OBJECT none"),
            Answer::Error(b"ERR no such key".to_vec())
        );
        assert!(text(&harness.line("DEBUG SDSLEN k")).contains("val_sds_len:64"));
        harness.line("SET k 5");
        assert!(text(&harness.line("DEBUG SDSLEN k")).contains("Not an sds encoded string."));
        let no_table = text(&harness.line("DEBUG HTSTATS-KEY k"));
        assert!(no_table.contains("not represented using an hash table"));
        let long = "x".repeat(65);
        for line in ["HSET h f", "SADD s", "ZADD z 1"] {
            harness.line(&format!("{line} {long}"));
            let key = line.split(' ').nth(1).expect("a key");
            let shape = text(&harness.line(&format!("DEBUG HTSTATS-KEY {key} full")));
            assert!(shape.contains("number of elements: 1"), "{key}: {shape}");
        }
        // INCR changes the number where it is (the conformance suite looks at the address).
        let place = |harness: &mut Harness| {
            text(&harness.line("DEBUG OBJECT k"))
                .split(' ')
                .nth(1)
                .map(str::to_owned)
        };
        let before = place(&mut harness);
        harness.line("INCR k");
        assert_eq!(place(&mut harness), before);
    }

    /// The sums are those of Redis 8.0.6 for the same data.
    #[test]
    fn fingerprints_are_those_of_redis() {
        let mut harness = harness();
        let empty = "0".repeat(40);
        assert_eq!(harness.line("DEBUG DIGEST"), Answer::Simple(empty.clone()));
        harness.line("SET a hello");
        harness.line("SET b 12345");
        harness.line("SELECT 3");
        harness.line("SET c x EX 1000");
        let values = harness.line("DEBUG DIGEST-VALUE c none");
        let of_c = "0745672cb1bf060476eedeb8a28f5ffe1ff5a2be".to_owned();
        assert_eq!(
            values,
            Answer::Array(vec![Answer::Simple(of_c), Answer::Simple(empty)])
        );
        assert_eq!(
            harness.line("DEBUG DIGEST"),
            Answer::Simple("124c33df5efbf1d99832ebdee80e7876987817c9".into())
        );
        for (line, sum) in [
            ("RPUSH l a 12 b", "a321242d509160fd2e1651d5d59af1b8d48e6580"),
            ("HSET h f 1 g x", "cc9cdbb46c5ff000497e1954a353620ed67a4cb9"),
            ("SADD s a 12 b", "a6cb320b073705356139f26fb4e18858a07e0492"),
            (
                "ZADD z 1.5 a 0.1 b",
                "eb5face2f168441f137058348c953f6ce5913dcc",
            ),
            (
                "ZADD y 1e15 a -0 b 1e300 c inf d",
                "e2527f63be6e2fd8b68ecac271c0623d912f7e12",
            ),
            ("XADD x 1-1 f v", "2ed9a7a81688084b1f7eae33456ef7727d357031"),
        ] {
            harness.line(line);
            let key = line.split(' ').nth(1).expect("a key");
            assert_eq!(
                harness.line(&format!("DEBUG DIGEST-VALUE {key}")),
                Answer::Array(vec![Answer::Simple(sum.into())]),
                "{line}"
            );
        }
        harness.line("HPEXPIRE h 1000000 FIELDS 1 f");
        let of_h = "bc07f7825e8036195d0d70801f21baaf92ab6426".to_owned();
        assert_eq!(
            harness.line("DEBUG DIGEST-VALUE h"),
            Answer::Array(vec![Answer::Simple(of_h)])
        );
    }

    #[test]
    fn protocol_examples_are_whole_values() {
        let mut harness = harness();
        assert_eq!(harness.line("DEBUG PROTOCOL double"), Answer::bulk("3.141"));
        assert!(matches!(
            harness.line("DEBUG PROTOCOL push"),
            Answer::Error(_)
        ));
        assert!(matches!(
            harness.line("DEBUG PROTOCOL what"),
            Answer::Error(_)
        ));
        harness.resp3();
        assert_eq!(harness.line("DEBUG PROTOCOL true"), Answer::Boolean(true));
        assert!(matches!(
            harness.line("DEBUG PROTOCOL attrib"),
            Answer::Attribute(..)
        ));
        assert!(matches!(
            harness.line("DEBUG PROTOCOL bignum"),
            Answer::BigNumber(_)
        ));
        assert_eq!(
            harness.line("DEBUG ERROR MY-CODE"),
            Answer::Error(b"MY-CODE".to_vec())
        );
        assert_eq!(
            harness.line("DEBUG STRINGMATCH-LEN a* abc"),
            Answer::Integer(1)
        );
        assert!(text(&harness.line("DEBUG STRINGMATCH-TEST")).contains("test passed"));
    }
}
