//! The text of INFO: what the server tells of itself, section by section.
//!
//! In: names of sections, and the state. Out: lines `field:value` in Redis's order and with Redis's names, because tools
//! parse them; our own figures stand in a section of their own. A section is a row of [`SECTIONS`]: its name and the
//! function that writes its fields. The command answers this text, `/metrics` takes its figures from it, and the report
//! of a crash shows it. Nothing walks the keys or the clients; what is not O(1) is a line for each database or command.
//! Mirrors `genRedisInfoString` of Redis's server.c.

use super::{LoopFigures, State};
use crate::clients::Listening;
use crate::config::{Settings, Supervised};
use crate::event_loop::{Phase, Recorder};
use crate::keyspace::Type;
use crate::observe::{Histogram, MemoryFigures, WaitPart};
use crate::persistence::aof::AofState;
use crate::persistence::status::ChildKind;
use crate::system::numbers::write_fixed;
use crate::system::{memory, process};
use std::fmt::{Display, Write};

/// When a section is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The section is part of the default page, and of every larger one.
    Default,
    /// The section is shown with `all` and `everything`.
    All,
    /// The section is shown only when it is named: what it tells is for the makers of the server.
    Named,
}

struct Section {
    name: &'static str,
    title: &'static str,
    shown: Shown,
    write: fn(&mut Page<'_>),
}

const fn section(
    name: &'static str,
    title: &'static str,
    shown: Shown,
    write: fn(&mut Page<'_>),
) -> Section {
    Section {
        name,
        title,
        shown,
        write,
    }
}

const SECTIONS: &[Section] = &[
    section("server", "Server", Shown::Default, server),
    section("clients", "Clients", Shown::Default, clients),
    section("memory", "Memory", Shown::Default, memory_section),
    section("persistence", "Persistence", Shown::Default, persistence),
    section("threads", "Threads", Shown::Default, threads),
    section("stats", "Stats", Shown::Default, stats),
    section(
        "replication",
        "Replication",
        Shown::Default,
        super::replication::report::section,
    ),
    section("cpu", "CPU", Shown::Default, cpu),
    section("modules", "Modules", Shown::Default, |_| {}),
    section("commandstats", "Commandstats", Shown::All, command_stats),
    section("errorstats", "Errorstats", Shown::Default, error_stats),
    section("latencystats", "Latencystats", Shown::All, latency_stats),
    section("cluster", "Cluster", Shown::Default, |page| {
        let is_node = page.state.cluster.is_some();
        page.field("cluster_enabled", u8::from(is_node))
    }),
    section("keyspace", "Keyspace", Shown::Default, keyspace),
    section("keysizes", "Keysizes", Shown::Default, key_sizes),
    section("users", "Users", Shown::All, users),
    section("gyre", "Gyre", Shown::All, gyre),
    section("loop", "Loop", Shown::All, loop_section),
    section("debug", "Debug", Shown::Named, debug),
];

/// The text of the named sections; of the default ones if none is named.
pub fn build(
    state: &State,
    figures: LoopFigures,
    recorder: &Recorder,
    used_memory: u64,
    names: &[&[u8]],
) -> String {
    let named = |word: &str| {
        names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(word.as_bytes()))
    };
    let all = named("all") || named("everything");
    let default = names.is_empty() || named("default");
    let mut page = Page {
        state,
        figures,
        recorder,
        used_memory,
        out: String::new(),
    };
    for section in SECTIONS {
        let wanted = match section.shown {
            Shown::Default => all || default,
            Shown::All => all,
            Shown::Named => false,
        };
        let alias = section.name == "modules" && named("module_list");
        if !wanted && !alias && !named(section.name) {
            continue;
        }
        if !page.out.is_empty() {
            page.out.push_str("\r\n");
        }
        page.line(format_args!("# {}", section.title));
        (section.write)(&mut page);
    }
    page.out
}

/// The text as it grows, and what it is made from.
pub(super) struct Page<'a> {
    pub(super) state: &'a State,
    figures: LoopFigures,
    recorder: &'a Recorder,
    used_memory: u64,
    out: String,
}

impl Page<'_> {
    fn line(&mut self, text: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{text}\r\n");
    }
    pub(super) fn field(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.out, "{name}:{value}\r\n");
    }
    /// Writes several fields of one value: what does not exist here, and tools ask for.
    fn fields(&mut self, names: &[&str], value: impl Display) {
        names.iter().for_each(|name| self.field(name, &value));
    }
    fn fixed(&mut self, name: &str, value: f64, decimals: usize) {
        self.field(name, fixed(value, decimals));
    }
    fn percent(&mut self, name: &str, value: f64) {
        self.field(name, format_args!("{}%", fixed(value, 2)));
    }
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(&format!("{name}_human"), human(bytes));
    }
}

pub(super) fn fixed(value: f64, decimals: usize) -> String {
    let mut out = Vec::new();
    write_fixed(&mut out, value, decimals);
    String::from_utf8_lossy(&out).into_owned()
}

/// Bytes with a unit, as Redis's `bytesToHuman` spells them.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    let mut limit = 1u64 << 20;
    for (power, unit) in (1..).zip(UNITS) {
        if bytes < 1024 {
            break;
        }
        if bytes < limit {
            return format!("{}{unit}", fixed(bytes as f64 / 1024f64.powi(power), 2));
        }
        limit = limit.saturating_mul(1024);
    }
    format!("{bytes}B")
}

/// A name without what would break a line or a field: error codes come from scripts, and can hold anything.
pub(super) fn safe(name: &str) -> String {
    name.replace(['#', ':', '\r', '\n'], "_")
}

fn server(page: &mut Page<'_>) {
    let state = page.state;
    let (settings, run) = (state.config.settings(), &state.observe.stats);
    let uptime_s = state.now.mono_ns.saturating_sub(run.start_ns) / 1_000_000_000;
    page.field("redis_version", crate::REDIS_VERSION);
    page.field("gyre_version", crate::GYRE_VERSION);
    page.field("redis_git_sha1", "00000000");
    page.field("redis_git_dirty", 0);
    page.field(
        "redis_build_id",
        format_args!("gyre-{}", crate::GYRE_VERSION),
    );
    page.field("redis_mode", state.mode());
    page.field("os", process::system_name());
    page.field("arch_bits", usize::BITS);
    page.field("monotonic_clock", "POSIX clock_gettime");
    page.field("multiplexing_api", "epoll");
    page.field("atomicvar_api", "rust-std");
    page.field("gcc_version", "0.0.0");
    page.field("process_id", process::pid());
    page.field("process_supervised", supervisor(settings.supervised));
    page.field("run_id", &run.run_id);
    page.field("tcp_port", settings.any_port());
    page.field("server_time_usec", state.now.unix_us);
    page.field("uptime_in_seconds", uptime_s);
    page.field("uptime_in_days", uptime_s / 86_400);
    page.field("hz", state.effective_hz());
    page.field("configured_hz", settings.hz);
    page.field("lru_clock", state.now.unix_s() & 0xFF_FFFF);
    if let Some(ending) = &state.ending {
        let left_ns = ending.until_ns.saturating_sub(state.now.mono_ns);
        page.field("shutdown_in_milliseconds", left_ns / 1_000_000);
    }
    page.field("executable", process::executable_path().display());
    page.field(
        "config_file",
        state.config.file().unwrap_or("".as_ref()).display(),
    );
    page.field("io_threads_active", 0);
    listeners(page, settings);
}

/// What is listened on, in the order in which Redis knows the kinds.
fn listeners(page: &mut Page<'_>, settings: &Settings) {
    let addresses: String = settings
        .bind
        .iter()
        .map(|address| {
            let optional = if address.optional { "-" } else { "" };
            format!(",bind={optional}{}", address.host)
        })
        .collect();
    let mut lines = Vec::new();
    for (name, port) in [("tcp", settings.port), ("tls", settings.tls.port)] {
        if port != 0 {
            lines.push(format!("name={name}{addresses},port={port}"));
        }
    }
    if let Some(path) = &settings.unixsocket {
        lines.push(format!("name=unix,bind={}", path.display()));
    }
    for (number, line) in lines.iter().enumerate() {
        page.field(&format!("listener{number}"), line);
    }
}

fn supervisor(supervised: Supervised) -> &'static str {
    match supervised {
        Supervised::No => "no",
        Supervised::Systemd => "systemd",
        Supervised::Upstart => "upstart",
        Supervised::Auto if std::env::var_os("UPSTART_JOB").is_some() => "upstart",
        Supervised::Auto if std::env::var_os("NOTIFY_SOCKET").is_some() => "systemd",
        Supervised::Auto => "no",
    }
}

fn clients(page: &mut Page<'_>) {
    let state = page.state;
    let (input, output) = state.observe.client_memory.recent_peaks(state.now.mono_ns);
    // Only a pause makes clients wait that are not counted as they begin to.
    let blocked = match state.pause {
        None => state.clients.waiting,
        Some(_) => state
            .clients
            .iter()
            .filter(|(_, client)| client.session.blocked.is_some())
            .count(),
    };
    page.field(
        "connected_clients",
        state
            .clients
            .connected
            .saturating_sub(state.replication.attached),
    );
    page.field("cluster_connections", state.cluster_links.count);
    page.field("maxclients", state.config.settings().maxclients);
    page.field("connected_priority_clients", state.clients.priority);
    page.field("client_recent_max_input_buffer", input);
    page.field("client_recent_max_output_buffer", output);
    page.field("blocked_clients", blocked);
    let tracking = &state.messaging.tracking;
    page.field("tracking_clients", tracking.clients());
    page.field("pubsub_clients", state.messaging.pubsub.clients());
    let (watching, watched) = state.keyspace.watchers();
    page.field("watching_clients", watching);
    page.field("clients_in_timeout_table", state.clients.deadlines());
    page.field("total_watched_keys", watched);
    let (keys, on_removal) = state.keyspace.waited_keys();
    page.field("total_blocking_keys", keys);
    page.field("total_blocking_keys_on_nokey", on_removal);
}

fn memory_section(page: &mut Page<'_>) {
    let state = page.state;
    let figures = MemoryFigures::measure(
        page.used_memory,
        state.persistence.aof.buffered(),
        super::functions::memory(state),
        &state.keyspace,
        &state.observe,
    );
    let settings = state.config.settings();
    page.bytes("used_memory", figures.used);
    page.bytes("used_memory_rss", figures.resident);
    page.bytes("used_memory_peak", figures.peak);
    page.percent("used_memory_peak_perc", figures.peak_percent());
    page.field("used_memory_overhead", figures.overhead);
    page.field("used_memory_startup", figures.startup);
    page.field("used_memory_dataset", figures.dataset);
    page.percent("used_memory_dataset_perc", figures.dataset_percent());
    page.field("allocator_allocated", figures.allocator.allocated);
    page.field("allocator_active", figures.allocator.active);
    page.field("allocator_resident", figures.allocator.resident);
    page.field("allocator_muzzy", 0);
    page.bytes("total_system_memory", process::total_system_memory());
    let scripting = &page.state.scripting;
    let (machine, scripts) = (scripting.memory as u64, scripting.scripts.memory() as u64);
    let (functions, libraries) = (&scripting.libraries, scripting.libraries.len());
    let (cached, function_memory) = (scripting.scripts.len(), functions.memory() as u64);
    let function_count = functions.functions_len();
    page.field("used_memory_lua", machine);
    page.field("used_memory_vm_eval", machine);
    page.field("used_memory_lua_human", human(machine));
    page.field("used_memory_scripts_eval", scripts);
    page.field("number_of_cached_scripts", cached);
    page.field("number_of_functions", function_count);
    page.field("number_of_libraries", libraries);
    // There is one machine for both.
    page.field("used_memory_vm_functions", 0);
    page.bytes("used_memory_vm_total", machine);
    page.field("used_memory_functions", function_memory);
    page.bytes("used_memory_scripts", scripts + function_memory);
    page.bytes("maxmemory", settings.maxmemory);
    page.field("maxmemory_policy", settings.maxmemory_policy.name());
    for (name, (times, bytes)) in [
        ("allocator_frag", figures.fragmentation()),
        ("allocator_rss", figures.allocator_rss()),
        ("rss_overhead", figures.rss_overhead()),
        ("mem_fragmentation", figures.total_fragmentation()),
    ] {
        page.fixed(&format!("{name}_ratio"), times, 2);
        page.field(&format!("{name}_bytes"), bytes);
    }
    page.field(
        "mem_not_counted_for_evict",
        super::eviction::not_counted(state),
    );
    let replication = &state.replication;
    let stream = replication.stream.as_ref();
    let buffers = stream.map_or(0, |stream| stream.memory_bytes());
    // Without replicas all of it is kept for those who come back.
    let backlog = match replication.attached {
        0 => buffers,
        _ => buffers.min(state.config.settings().repl_backlog_size as usize),
    };
    let snapshots = replication.replicas.values().map(|it| it.snapshot.len());
    page.field("mem_replication_backlog", backlog);
    page.field("mem_total_replication_buffers", buffers);
    page.field("mem_replica_full_sync_buffer", 0);
    page.field(
        "mem_clients_slaves",
        buffers - backlog + snapshots.sum::<usize>(),
    );
    page.field("mem_clients_normal", figures.clients);
    page.field("mem_cluster_links", super::cluster::links_memory(state));
    page.field("mem_aof_buffer", figures.aof_buffer);
    page.field("mem_allocator", memory::allocator_name());
    page.fields(
        &[
            "mem_overhead_db_hashtable_rehashing",
            "active_defrag_running",
        ],
        0,
    );
    page.field(
        "lazyfree_pending_objects",
        state.keyspace.lazyfree_pending(),
    );
    page.field("lazyfreed_objects", state.keyspace.stats.lazyfreed);
}

/// A figure that may be unknown, which is spelled as -1.
fn or_minus_one(figure: Option<u64>) -> i64 {
    figure.map_or(-1, |it| i64::try_from(it).unwrap_or(i64::MAX))
}

/// Writes the fields of snapshots, of the append-only file, and of how far loading has come.
fn persistence(page: &mut Page<'_>) {
    let state = page.state;
    let now_s = state.now.unix_s();
    let saving = &state.persistence;
    page.field("loading", u8::from(saving.loading.is_some()));
    page.field("async_loading", u8::from(saving.loads_aside));
    let progress = saving.progress(state.now.mono_ns);
    let copied = progress.map_or(0, |it| it.copied_bytes);
    page.field("current_cow_peak", copied);
    page.field("current_cow_size", copied);
    let age_ns = progress.map_or(0, |it| state.now.mono_ns.saturating_sub(it.reported_ns));
    page.field("current_cow_size_age", age_ns / 1_000_000_000);
    let percent = progress.map_or(0.0, |it| it.percent());
    page.field("current_fork_perc", format_args!("{percent:.2}"));
    let (done, total) = progress.map_or((0, 0), |it| (it.keys_done, it.keys_total));
    page.field("current_save_keys_processed", done);
    page.field("current_save_keys_total", total);
    // Not one of Redis, which tells of no end.
    let left_s = progress.and_then(|it| it.seconds_left());
    page.field("current_save_seconds_left", or_minus_one(left_s));
    page.field("rdb_changes_since_last_save", state.keyspace.dirty);
    let is_snapshot = saving.saving() == Some(ChildKind::Snapshot);
    page.field("rdb_bgsave_in_progress", u8::from(is_snapshot));
    let last_save = match saving.last_save_unix_s {
        0 => state.observe.stats.start_unix_ms / 1000,
        at => at,
    };
    page.field("rdb_last_save_time", last_save);
    let status = if saving.last_status_ok { "ok" } else { "err" };
    page.field("rdb_last_bgsave_status", status);
    page.field("rdb_last_bgsave_time_sec", saving.last_duration_s);
    let running_s = progress.map_or(-1, |it| now_s.saturating_sub(it.started_unix_s));
    let current = if is_snapshot { running_s } else { -1 };
    page.field("rdb_current_bgsave_time_sec", current);
    let snapshot = progress.filter(|_| is_snapshot);
    let method = snapshot.map_or("none", |it| it.method);
    page.field("rdb_current_bgsave_type", method);
    page.field("rdb_last_bgsave_type", saving.last_method());
    let left_s = left_s.filter(|_| progress.is_some_and(|it| it.is_forkless()));
    page.field("forkless_estimated_seconds_remaining", or_minus_one(left_s));
    page.field("forkless_held_commands", saving.holds_for_save);
    page.field("forkless_hurried_values", state.keyspace.hurried());
    page.field("rdb_saves", saving.saves);
    page.field("rdb_last_cow_size", saving.last_copied_bytes);
    page.field("rdb_last_load_keys_expired", saving.expired_keys);
    page.field("rdb_last_load_keys_loaded", saving.loaded_keys);
    let aof = &saving.aof;
    let rewrite = &saving.rewrite;
    let is_rewriting = saving.saving() == Some(ChildKind::Rewrite);
    page.field("aof_enabled", u8::from(aof.state != AofState::Off));
    page.field("aof_rewrite_in_progress", u8::from(is_rewriting));
    page.field("aof_rewrite_scheduled", u8::from(rewrite.scheduled));
    page.field("aof_last_rewrite_time_sec", rewrite.last_duration_s);
    let current = if is_rewriting { running_s } else { -1 };
    page.field("aof_current_rewrite_time_sec", current);
    let status = |ok: bool| if ok { "ok" } else { "err" };
    page.field("aof_last_bgrewrite_status", status(rewrite.last_ok));
    page.field("aof_rewrites", rewrite.rewrites);
    page.field("aof_rewrites_consecutive_failures", rewrite.failures);
    page.field("aof_last_write_status", status(aof.last_write_ok()));
    page.field("aof_last_cow_size", rewrite.last_copied_bytes);
    page.fields(&["module_fork_in_progress", "module_fork_last_cow_size"], 0);
    if aof.state != AofState::Off {
        page.field("aof_current_size", aof.current_bytes);
        page.field("aof_base_size", aof.base_bytes);
        page.field("aof_pending_rewrite", u8::from(rewrite.scheduled));
        page.field("aof_buffer_length", aof.buffered());
        page.field("aof_pending_bio_fsync", aof.pending_syncs());
        page.field("aof_delayed_fsync", aof.delayed_syncs);
    }
    if let Some(loading) = &saving.loading {
        let (total, loaded) = loading.bytes();
        let elapsed_ns = state.now.mono_ns.saturating_sub(loading.started_ns).max(1);
        let per_s = loaded as f64 * 1_000_000_000.0 / elapsed_ns as f64;
        // Of what comes over a link nobody may know how much it is.
        let percent = match total {
            0 => 0.0,
            _ => loaded as f64 * 100.0 / total as f64,
        };
        page.field("loading_start_time", loading.started_unix_s);
        page.field("loading_total_bytes", total);
        page.field("loading_rdb_used_mem", loading.used_memory());
        page.field("loading_loaded_bytes", loaded);
        page.field("loading_loaded_perc", format_args!("{percent:.2}"));
        let eta_s = total.saturating_sub(loaded) as f64 / per_s.max(1.0);
        page.field("loading_eta_seconds", eta_s as u64);
    }
}

fn stats(page: &mut Page<'_>) {
    let (stats, figures) = (&page.state.observe.stats, page.figures);
    let keys = page.state.keyspace.stats;
    page.field("total_connections_received", stats.connections_received);
    page.field("total_commands_processed", stats.commands_processed);
    page.field(
        "instantaneous_ops_per_sec",
        stats.commands_per_second.per_second(),
    );
    page.field("total_net_input_bytes", figures.bytes_in);
    page.field("total_net_output_bytes", figures.bytes_out);
    page.field("total_net_repl_input_bytes", stats.repl_bytes_in);
    page.field("total_net_repl_output_bytes", stats.repl_bytes_out);
    page.fixed(
        "instantaneous_input_kbps",
        stats.in_per_second.per_second() as f64 / 1024.0,
        2,
    );
    page.fixed(
        "instantaneous_output_kbps",
        stats.out_per_second.per_second() as f64 / 1024.0,
        2,
    );
    page.fields(
        &[
            "instantaneous_input_repl_kbps",
            "instantaneous_output_repl_kbps",
        ],
        "0.00",
    );
    page.field("rejected_connections", stats.connections_rejected);
    page.field(
        "rejected_priority_connections",
        stats.priority_connections_rejected,
    );
    page.field(
        "rejected_connections_per_address",
        stats.host_connections_rejected,
    );
    let replication = &page.state.replication;
    page.field("sync_full", replication.full_syncs);
    page.field("sync_partial_ok", replication.partial_syncs);
    page.field("sync_partial_err", replication.partial_syncs_refused);
    page.field("expired_subkeys", keys.expired_subkeys);
    page.field("expired_keys", keys.expired);
    page.fixed("expired_stale_perc", keys.expired_stale_perc, 2);
    page.field(
        "expired_time_cap_reached_count",
        keys.expired_time_cap_reached,
    );
    page.field("expire_cycle_cpu_milliseconds", keys.expire_cycle_cpu_ms);
    page.field("evicted_keys", keys.evicted);
    page.field("evicted_clients", stats.evicted_clients);
    page.field("evicted_scripts", page.state.scripting.scripts.evicted);
    page.fields(
        &[
            "total_eviction_exceeded_time",
            "current_eviction_exceeded_time",
        ],
        0,
    );
    page.field("keyspace_hits", keys.hits);
    page.field("keyspace_misses", keys.misses);
    let pubsub = &page.state.messaging.pubsub;
    page.field("pubsub_channels", pubsub.count(Listening::Channel));
    page.field("pubsub_patterns", pubsub.count(Listening::Pattern));
    page.field("pubsubshard_channels", pubsub.count(Listening::Shard));
    page.field("latest_fork_usec", page.state.persistence.fork_us);
    page.field("total_forks", page.state.persistence.forks);
    page.field("migrate_cached_sockets", page.state.migrations.sockets());
    page.field("slave_expires_tracked_keys", page.state.own_keys.len());
    page.fields(
        &[
            "active_defrag_hits",
            "active_defrag_misses",
            "active_defrag_key_hits",
            "active_defrag_key_misses",
            "total_active_defrag_time",
            "current_active_defrag_time",
        ],
        0,
    );
    let tracking = &page.state.messaging.tracking;
    page.field("tracking_total_keys", tracking.keys());
    page.field("tracking_total_items", tracking.items());
    page.field("tracking_total_prefixes", tracking.prefixes());
    page.field("unexpected_error_replies", stats.unexpected_error_replies);
    page.field("total_error_replies", stats.error_replies);
    page.field(
        "dump_payload_sanitizations",
        stats.dump_payload_sanitizations,
    );
    page.field("total_reads_processed", stats.reads_processed);
    page.field("total_writes_processed", stats.writes_processed);
    page.fields(
        &[
            "io_threaded_reads_processed",
            "io_threaded_writes_processed",
        ],
        0,
    );
    page.field(
        "client_query_buffer_limit_disconnections",
        stats.client_query_buffer_limit_disconnections,
    );
    page.field(
        "client_output_buffer_limit_disconnections",
        stats.client_output_buffer_limit_disconnections,
    );
    page.fields(&["reply_buffer_shrinks", "reply_buffer_expands"], 0);
    page.field("eventloop_cycles", figures.turns);
    page.field("eventloop_duration_sum", figures.awake_us);
    page.field("eventloop_duration_cmd_sum", figures.command_us);
    page.field(
        "instantaneous_eventloop_cycles_per_sec",
        stats.turns_per_second.per_second(),
    );
    page.field(
        "instantaneous_eventloop_duration_usec",
        stats.turn_us.per_second(),
    );
    page.field("acl_access_denied_auth", stats.denied_auth);
    page.field("acl_access_denied_cmd", stats.denied_command);
    page.field("acl_access_denied_key", stats.denied_key);
    page.field("acl_access_denied_channel", stats.denied_channel);
    page.field("acl_access_denied_db", stats.denied_database);
    page.field("acl_access_denied_tls_cert", stats.denied_certificate);
    let failures = &page.state.auth_failures;
    page.field("auth_delayed", failures.delayed);
    page.field("auth_refused_unseen", failures.refused);
    page.field("auth_failing_addresses", failures.len());
}

fn cpu(page: &mut Page<'_>) {
    for (suffix, of) in [
        ("", process::CpuOf::Process),
        ("_children", process::CpuOf::Children),
        ("_main_thread", process::CpuOf::Thread),
    ] {
        let time = process::cpu_time(of);
        for (kind, us) in [("sys", time.system_us), ("user", time.user_us)] {
            let value = format_args!("{}.{:06}", us / 1_000_000, us % 1_000_000).to_string();
            page.field(&format!("used_cpu_{kind}{suffix}"), value);
        }
    }
}

fn command_stats(page: &mut Page<'_>) {
    let state = page.state;
    for ((_, command), stats) in state.table.iter().zip(&state.observe.commands) {
        if stats.calls == 0 && stats.failed == 0 && stats.rejected == 0 {
            continue;
        }
        let us = stats.ns / 1000;
        let per_call = if stats.calls == 0 {
            0.0
        } else {
            us as f64 / stats.calls as f64
        };
        page.field(
            &format!("cmdstat_{}", safe(&command.name)),
            format_args!(
                "calls={},usec={us},usec_per_call={},rejected_calls={},failed_calls={}",
                stats.calls,
                fixed(per_call, 2),
                stats.rejected,
                stats.failed
            ),
        );
    }
}

fn error_stats(page: &mut Page<'_>) {
    let state = page.state;
    for (code, count) in &state.observe.errors {
        let code = safe(&String::from_utf8_lossy(code));
        page.field(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn latency_stats(page: &mut Page<'_>) {
    let state = page.state;
    let settings = state.config.settings();
    if !settings.latency_tracking {
        return;
    }
    for ((_, command), stats) in state.table.iter().zip(&state.observe.commands) {
        let Some(histogram) = &stats.histogram else {
            continue;
        };
        let percentiles: Vec<String> = settings
            .latency_tracking_info_percentiles
            .iter()
            .map(|percent| {
                let us = histogram.percentile(*percent) as f64 / 1000.0;
                let name = fixed(*percent, 6);
                let name = name.trim_end_matches('0').trim_end_matches('.');
                format!("p{name}={}", fixed(us, 3))
            })
            .collect();
        page.field(
            &format!("latency_percentiles_usec_{}", safe(&command.name)),
            percentiles.join(","),
        );
    }
}

fn keyspace(page: &mut Page<'_>) {
    let keyspace = &page.state.keyspace;
    for index in 0..keyspace.count() {
        let (keys, expires, average_ttl_ms) = keyspace.figures(index);
        if keys > 0 {
            page.field(
                &format!("db{index}"),
                format_args!(
                    "keys={keys},expires={expires},avg_ttl={average_ttl_ms},subexpiry={}",
                    keyspace.hashes_with_expiring_fields(index)
                ),
            );
        }
    }
}

/// What users have used since the start, those who have; a line for each.
fn users(page: &mut Page<'_>) {
    for user in page.state.users.iter() {
        let usage = user.usage();
        if !usage.is_used() {
            continue;
        }
        page.field(
            &format!("user_{}", safe(&String::from_utf8_lossy(user.name()))),
            format_args!(
                "commands={},cpu_usec={},waits={},refusals={}",
                usage.commands(),
                usage.cpu_ns() / 1000,
                usage.waits(),
                usage.refusals(),
            ),
        );
    }
}

/// Writes how many keys of each type have what size, by powers of two.
fn key_sizes(page: &mut Page<'_>) {
    const KINDS: [(Type, &str); 5] = [
        (Type::String, "strings_sizes"),
        (Type::List, "lists_items"),
        (Type::Set, "sets_items"),
        (Type::SortedSet, "zsets_items"),
        (Type::Hash, "hashes_items"),
    ];
    let keyspace = &page.state.keyspace;
    for index in (0..keyspace.count()).filter(|index| keyspace.figures(*index).0 > 0) {
        let sizes = keyspace.sizes(index);
        for (kind, name) in KINDS {
            let bins: Vec<String> = sizes
                .of(kind)
                .map(|(least, keys)| format!("{}={keys}", power_of_two(least)))
                .collect();
            if !bins.is_empty() {
                page.field(&format!("db{index}_distrib_{name}"), bins.join(","));
            }
        }
    }
}

/// A power of two as `512`, `1K`, `2M`.
fn power_of_two(number: u64) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    let step = number.checked_ilog2().unwrap_or(0) / 10;
    let unit = UNITS.get(step as usize).unwrap_or(&"");
    format!("{}{unit}", number >> (10 * step))
}

/// Writes the figures that Redis does not have: those of the loop that everything runs in.
fn gyre(page: &mut Page<'_>) {
    let figures = page.figures;
    page.field("gyre_version", crate::GYRE_VERSION);
    page.field("loop_turns", figures.turns);
    page.field("loop_awake_usec", figures.awake_us);
    page.field("loop_command_usec", figures.command_us);
    page.field("loop_longest_turn_usec", figures.longest_turn_ns / 1000);
    page.field("loop_longest_turn_number", figures.longest_turn);
    page.field("loop_sources", figures.sources);
    page.field("loop_ignored_events", figures.ignored_events);
    page.field("journal_effects", page.state.journal.effects());
}

/// Writes what the loop's recorder knows; LOOP STATS has it in more detail.
fn loop_section(page: &mut Page<'_>) {
    let recorder = page.recorder;
    page.field("loop_recording", u8::from(recorder.is_on()));
    page.field("loop_turns_recorded", recorder.cost().turns);
    let spread = |histogram: &Histogram| {
        let us = |percent| fixed(histogram.percentile(percent) as f64 / 1000.0, 3);
        let max = fixed(histogram.max() as f64 / 1000.0, 3);
        format!(
            "p50={},p99={},p99.9={},max={max}",
            us(50.0),
            us(99.0),
            us(99.9)
        )
    };
    for phase in Phase::ALL {
        if let Some(histogram) = recorder.histogram(phase) {
            let (turns, usec) = (histogram.total(), recorder.sum_ns(phase) / 1000);
            page.field(
                &format!("loop_phase_{}", phase.name()),
                format_args!("turns={turns},usec={usec},{}", spread(histogram)),
            );
        }
    }
    for part in WaitPart::ALL {
        if let Some(histogram) = page.state.observe.waits.histogram(part) {
            page.field(
                &format!("loop_{}_usec", part.name().replace('-', "_")),
                format_args!("commands={},{}", histogram.total(), spread(histogram)),
            );
        }
    }
    let waits = &page.state.observe.waits;
    page.field("loop_commands_unmeasured", waits.unmeasured);
    page.field("loop_long_waits_kept", waits.long().len());
    let cost_us = (recorder.cost().total_ns() + waits.cost_ns()) / 1000;
    page.field("loop_awake_recorded_usec", recorder.awake_sum_ns() / 1000);
    page.field("loop_recorder_cost_usec", cost_us);
}

fn debug(page: &mut Page<'_>) {
    page.field("eventloop_duration_aof_sum", page.figures.journal_us);
    page.field("eventloop_duration_cron_sum", page.figures.timers_us);
    page.field(
        "eventloop_duration_max",
        page.figures.longest_turn_ns / 1000,
    );
    page.field(
        "eventloop_cmd_per_cycle_max",
        page.state.observe.stats.commands_per_turn_max,
    );
    page.fields(
        &[
            "allocator_allocated_lua",
            "allocator_active_lua",
            "allocator_resident_lua",
            "allocator_frag_bytes_lua",
        ],
        0,
    );
}

/// Writes the line of the one thread that serves all sockets.
fn threads(page: &mut Page<'_>) {
    let state = page.state;
    let stats = &state.observe.stats;
    page.field(
        "io_thread_0",
        format_args!(
            "clients={},reads={},writes={}",
            state.clients.connected, stats.reads_processed, stats.writes_processed
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spelled_for_people() {
        assert_eq!(
            [0, 1023, 1024, 1 << 20].map(human),
            ["0B", "1023B", "1.00K", "1.00M"]
        );
        assert_eq!(human(1536 << 20), "1.50G");
        assert_eq!([1 << 40, 1 << 50].map(human), ["1.00T", "1.00P"]);
        assert_eq!(human(u64::MAX), format!("{}B", u64::MAX));
    }
}
