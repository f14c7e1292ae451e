//! `/metrics` in the OpenMetrics text format.
//!
//! Families are named as the widespread exporter for Redis names them, so that existing dashboards and alerts work;
//! what only gyre has begins with `gyre_`. Most figures are INFO's own, taken from its text, so the two cannot differ.
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>

use crate::engine::{Host, State, info};
use crate::event_loop::{Phase, Recorder};
use crate::observe::WaitPart;
use crate::system::histogram::Histogram;
use std::collections::HashMap;
use std::fmt::{Display, Write};

/// What the text is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

use Kind::{Counter, Gauge, Unknown};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    /// The sample's name ends in `_total`, the family's does not.
    Counter,
    /// A counter whose name, known from elsewhere, does not say so.
    Unknown,
}

/// Field of INFO, family, kind.
const FAMILIES: &[(&str, &str, Kind)] = &[
    ("uptime_in_seconds", "redis_uptime_in_seconds", Gauge),
    ("process_id", "redis_process_id", Gauge),
    ("connected_clients", "redis_connected_clients", Gauge),
    ("maxclients", "redis_max_clients", Gauge),
    ("blocked_clients", "redis_blocked_clients", Gauge),
    ("tracking_clients", "redis_tracking_clients", Gauge),
    ("pubsub_clients", "redis_pubsub_clients", Gauge),
    (
        "clients_in_timeout_table",
        "redis_clients_in_timeout_table",
        Gauge,
    ),
    (
        "client_recent_max_input_buffer",
        "redis_client_recent_max_input_buffer_bytes",
        Gauge,
    ),
    (
        "client_recent_max_output_buffer",
        "redis_client_recent_max_output_buffer_bytes",
        Gauge,
    ),
    ("used_memory", "redis_memory_used_bytes", Gauge),
    ("used_memory_rss", "redis_memory_used_rss_bytes", Gauge),
    ("used_memory_peak", "redis_memory_used_peak_bytes", Gauge),
    ("used_memory_lua", "redis_memory_used_lua_bytes", Gauge),
    (
        "used_memory_scripts",
        "redis_memory_used_scripts_bytes",
        Gauge,
    ),
    (
        "used_memory_overhead",
        "redis_memory_used_overhead_bytes",
        Gauge,
    ),
    (
        "used_memory_startup",
        "redis_memory_used_startup_bytes",
        Gauge,
    ),
    (
        "used_memory_dataset",
        "redis_memory_used_dataset_bytes",
        Gauge,
    ),
    ("maxmemory", "redis_memory_max_bytes", Gauge),
    (
        "mem_fragmentation_ratio",
        "redis_mem_fragmentation_ratio",
        Gauge,
    ),
    (
        "mem_fragmentation_bytes",
        "redis_mem_fragmentation_bytes",
        Gauge,
    ),
    ("mem_clients_normal", "redis_mem_clients_normal", Gauge),
    ("mem_aof_buffer", "redis_mem_aof_buffer", Gauge),
    (
        "allocator_allocated",
        "redis_allocator_allocated_bytes",
        Gauge,
    ),
    ("allocator_active", "redis_allocator_active_bytes", Gauge),
    (
        "allocator_resident",
        "redis_allocator_resident_bytes",
        Gauge,
    ),
    (
        "lazyfree_pending_objects",
        "redis_lazyfree_pending_objects",
        Gauge,
    ),
    (
        "number_of_cached_scripts",
        "redis_number_of_cached_scripts",
        Gauge,
    ),
    ("number_of_functions", "redis_number_of_functions", Gauge),
    ("loading", "redis_loading_dump_file", Gauge),
    (
        "rdb_changes_since_last_save",
        "redis_rdb_changes_since_last_save",
        Gauge,
    ),
    (
        "rdb_bgsave_in_progress",
        "redis_rdb_bgsave_in_progress",
        Gauge,
    ),
    (
        "rdb_last_save_time",
        "redis_rdb_last_save_timestamp_seconds",
        Gauge,
    ),
    (
        "rdb_last_bgsave_status",
        "redis_rdb_last_bgsave_status",
        Gauge,
    ),
    (
        "rdb_last_bgsave_time_sec",
        "redis_rdb_last_bgsave_duration_sec",
        Gauge,
    ),
    (
        "rdb_current_bgsave_time_sec",
        "redis_rdb_current_bgsave_duration_sec",
        Gauge,
    ),
    ("current_fork_perc", "redis_current_save_percentage", Gauge),
    (
        "current_save_keys_processed",
        "redis_current_save_keys_processed",
        Gauge,
    ),
    (
        "current_save_keys_total",
        "redis_current_save_keys_total",
        Gauge,
    ),
    (
        "current_save_seconds_left",
        "gyre_current_save_seconds_left",
        Gauge,
    ),
    ("current_cow_size", "redis_current_cow_size_bytes", Gauge),
    (
        "forkless_held_commands",
        "gyre_forkless_held_commands",
        Counter,
    ),
    (
        "forkless_hurried_values",
        "gyre_forkless_hurried_values",
        Counter,
    ),
    ("rdb_last_cow_size", "redis_rdb_last_cow_size_bytes", Gauge),
    ("aof_enabled", "redis_aof_enabled", Gauge),
    (
        "aof_rewrite_in_progress",
        "redis_aof_rewrite_in_progress",
        Gauge,
    ),
    (
        "aof_rewrite_scheduled",
        "redis_aof_rewrite_scheduled",
        Gauge,
    ),
    (
        "aof_last_rewrite_time_sec",
        "redis_aof_last_rewrite_duration_sec",
        Gauge,
    ),
    (
        "aof_current_rewrite_time_sec",
        "redis_aof_current_rewrite_duration_sec",
        Gauge,
    ),
    ("aof_last_cow_size", "redis_aof_last_cow_size_bytes", Gauge),
    (
        "aof_last_bgrewrite_status",
        "redis_aof_last_bgrewrite_status",
        Gauge,
    ),
    (
        "aof_last_write_status",
        "redis_aof_last_write_status",
        Gauge,
    ),
    ("aof_current_size", "redis_aof_current_size_bytes", Gauge),
    ("aof_base_size", "redis_aof_base_size_bytes", Gauge),
    ("aof_pending_rewrite", "redis_aof_pending_rewrite", Gauge),
    ("aof_buffer_length", "redis_aof_buffer_length", Gauge),
    (
        "aof_pending_bio_fsync",
        "redis_aof_pending_bio_fsync",
        Gauge,
    ),
    ("aof_delayed_fsync", "redis_aof_delayed_fsync", Unknown),
    (
        "total_connections_received",
        "redis_connections_received",
        Counter,
    ),
    (
        "total_commands_processed",
        "redis_commands_processed",
        Counter,
    ),
    (
        "instantaneous_ops_per_sec",
        "redis_instantaneous_ops_per_sec",
        Gauge,
    ),
    ("total_net_input_bytes", "redis_net_input_bytes", Counter),
    ("total_net_output_bytes", "redis_net_output_bytes", Counter),
    (
        "rejected_connections",
        "redis_rejected_connections",
        Counter,
    ),
    ("expired_keys", "redis_expired_keys", Counter),
    ("expired_subkeys", "redis_expired_subkeys", Counter),
    (
        "expired_stale_perc",
        "redis_expired_stale_percentage",
        Gauge,
    ),
    (
        "expired_time_cap_reached_count",
        "redis_expired_time_cap_reached",
        Counter,
    ),
    ("evicted_keys", "redis_evicted_keys", Counter),
    ("evicted_clients", "redis_evicted_clients", Counter),
    ("keyspace_hits", "redis_keyspace_hits", Counter),
    ("keyspace_misses", "redis_keyspace_misses", Counter),
    ("pubsub_channels", "redis_pubsub_channels", Gauge),
    ("pubsub_patterns", "redis_pubsub_patterns", Gauge),
    ("pubsubshard_channels", "redis_pubsubshard_channels", Gauge),
    ("latest_fork_usec", "redis_latest_fork_usec", Gauge),
    ("tracking_total_keys", "redis_tracking_total_keys", Gauge),
    ("tracking_total_items", "redis_tracking_total_items", Gauge),
    (
        "tracking_total_prefixes",
        "redis_tracking_total_prefixes",
        Gauge,
    ),
    (
        "unexpected_error_replies",
        "redis_unexpected_error_replies",
        Unknown,
    ),
    ("total_error_replies", "redis_total_error_replies", Unknown),
    (
        "total_reads_processed",
        "redis_total_reads_processed",
        Unknown,
    ),
    (
        "total_writes_processed",
        "redis_total_writes_processed",
        Unknown,
    ),
    ("used_cpu_sys", "redis_cpu_sys_seconds", Counter),
    ("used_cpu_user", "redis_cpu_user_seconds", Counter),
    (
        "used_cpu_sys_children",
        "redis_cpu_sys_children_seconds",
        Counter,
    ),
    (
        "used_cpu_user_children",
        "redis_cpu_user_children_seconds",
        Counter,
    ),
    (
        "used_cpu_sys_main_thread",
        "redis_cpu_sys_main_thread_seconds",
        Counter,
    ),
    (
        "used_cpu_user_main_thread",
        "redis_cpu_user_main_thread_seconds",
        Counter,
    ),
    ("connected_slaves", "redis_connected_slaves", Gauge),
    ("master_repl_offset", "redis_master_repl_offset", Gauge),
    ("second_repl_offset", "redis_second_repl_offset", Gauge),
    ("repl_backlog_active", "redis_repl_backlog_is_active", Gauge),
    (
        "repl_backlog_size",
        "redis_replication_backlog_bytes",
        Gauge,
    ),
    (
        "repl_backlog_first_byte_offset",
        "redis_repl_backlog_first_byte_offset",
        Gauge,
    ),
    (
        "repl_backlog_histlen",
        "redis_repl_backlog_history_bytes",
        Gauge,
    ),
    (
        "mem_total_replication_buffers",
        "gyre_replication_stream_bytes",
        Gauge,
    ),
    ("sync_full", "redis_replica_resyncs_full", Counter),
    (
        "sync_partial_ok",
        "redis_replica_partial_resync_accepted",
        Counter,
    ),
    (
        "sync_partial_err",
        "redis_replica_partial_resync_denied",
        Counter,
    ),
    (
        "master_sync_in_progress",
        "redis_master_sync_in_progress",
        Gauge,
    ),
    ("slave_repl_offset", "redis_slave_repl_offset", Gauge),
    ("eventloop_cycles", "gyre_loop_turns", Counter),
];

/// Bounds of the buckets of every histogram, ns: powers of two from about a microsecond to about a minute.
const BUCKETS: std::ops::RangeInclusive<u32> = 10..=36;

/// The text under way.
struct Text {
    out: String,
}

impl Text {
    /// Begins a family.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.out, "# TYPE {name} {kind}");
        if !help.is_empty() {
            let _ = writeln!(self.out, "# HELP {name} {help}");
        }
    }
    /// One sample. Labels are pairs.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(name);
        if !labels.is_empty() {
            let pairs: Vec<String> = labels
                .iter()
                .map(|(label, text)| format!("{label}=\"{}\"", escaped(text)))
                .collect();
            let _ = write!(self.out, "{{{}}}", pairs.join(","));
        }
        let _ = writeln!(self.out, " {value}");
    }
    /// The samples of one histogram of times, in seconds. Without a sum there is no count either.
    fn histogram(
        &mut self,
        name: &str,
        label: (&str, &str),
        histogram: &Histogram,
        sum_s: Option<f64>,
    ) {
        let bucket = format!("{name}_bucket");
        for power in BUCKETS {
            let bound_ns = 1_u64 << power;
            let bound = (bound_ns as f64 / 1e9).to_string();
            let count = histogram.count_up_to(bound_ns - 1);
            self.sample(&bucket, &[label, ("le", &bound)], count);
        }
        // The format wants one without a bound, which holds all.
        self.sample(&bucket, &[label, ("le", "+Inf")], histogram.total());
        if let Some(sum_s) = sum_s {
            self.sample(&format!("{name}_count"), &[label], histogram.total());
            self.sample(&format!("{name}_sum"), &[label], sum_s);
        }
    }
}

/// A label's value in quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// All of it.
pub(super) fn text(state: &mut State, host: &mut dyn Host) -> String {
    let (used, figures) = (host.used_memory(), host.loop_figures());
    state.keyspace.fold_stats();
    let state = &*state;
    // INFO's own text, so that the two tell the same.
    let page = info::build(state, figures, host.recorder(), used, &[b"everything"]);
    let fields: HashMap<&str, &str> = page
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let mut text = Text {
        out: String::with_capacity(32 * 1024),
    };
    text.family("redis_up", "gauge", "The server answers.");
    text.sample("redis_up", &[], 1);
    instance(&mut text, &fields);
    for (field, family, kind) in FAMILIES {
        let Some(value) = fields.get(field).and_then(|value| number(value)) else {
            // Fields come and go with what the server does: one that is not there is no sample.
            continue;
        };
        match kind {
            Gauge => text.family(family, "gauge", ""),
            Counter => text.family(family, "counter", ""),
            Unknown => text.family(family, "unknown", ""),
        }
        // The format wants it on each sample of a counter, and not in the name of its family.
        let suffix = if *kind == Counter { "_total" } else { "" };
        text.sample(&format!("{family}{suffix}"), &[], value);
    }
    text.family("redis_slowlog_length", "gauge", "");
    text.sample("redis_slowlog_length", &[], state.observe.slowlog.len());
    replication(&mut text, state);
    keyspace(&mut text, state);
    commands(&mut text, state);
    users(&mut text, state);
    errors(&mut text, state);
    latencies(&mut text, state);
    waits(&mut text, state);
    text.out
}

/// A field's value as a number: INFO spells some in words.
fn number(value: &str) -> Option<&str> {
    match value {
        "ok" => Some("1"),
        "err" | "fail" => Some("0"),
        _ => value.parse::<f64>().is_ok().then_some(value),
    }
}

fn instance(text: &mut Text, fields: &HashMap<&str, &str>) {
    let field = |name| fields.get(name).copied().unwrap_or_default();
    text.family("redis_instance_info", "gauge", "What this server is.");
    let labels = [
        ("role", field("role")),
        ("redis_version", field("redis_version")),
        ("gyre_version", crate::GYRE_VERSION),
        ("redis_mode", field("redis_mode")),
        ("os", field("os")),
        ("tcp_port", field("tcp_port")),
        ("run_id", field("run_id")),
        ("maxmemory_policy", field("maxmemory_policy")),
    ];
    text.sample("redis_instance_info", &labels, 1);
}

/// What users have used: those who have used something.
fn users(text: &mut Text, state: &State) {
    let names: Vec<_> = state
        .users
        .iter()
        .filter(|user| user.usage().is_used())
        .map(|user| {
            (
                String::from_utf8_lossy(user.name()).into_owned(),
                user.usage(),
            )
        })
        .collect();
    type Figure = fn(&crate::acl::Usage) -> f64;
    let families: [(&str, &str, Figure); 4] = [
        (
            "gyre_user_commands",
            "Commands that the user's clients have run.",
            |it| it.commands() as f64,
        ),
        ("gyre_user_cpu_seconds", "Time that they took.", |it| {
            it.cpu_ns() as f64 / 1e9
        }),
        (
            "gyre_user_waits",
            "Commands that had to wait for the user's budget.",
            |it| it.waits() as f64,
        ),
        (
            "gyre_user_refusals",
            "Commands that were refused for the user's budget.",
            |it| it.refusals() as f64,
        ),
    ];
    for (family, help, figure) in families {
        text.family(family, "counter", help);
        for (name, usage) in &names {
            text.sample(&format!("{family}_total"), &[("user", name)], figure(usage));
        }
    }
}

/// The link to a primary, and how far each replica is behind.
fn replication(text: &mut Text, state: &State) {
    let (replication, now_ns) = (&state.replication, state.now.mono_ns);
    if let Some(link) = &replication.link {
        let port = link.port.to_string();
        let labels = [
            ("master_host", link.host.as_str()),
            ("master_port", port.as_str()),
        ];
        text.family(
            "redis_master_link_up",
            "gauge",
            "The primary's stream comes.",
        );
        text.sample("redis_master_link_up", &labels, u8::from(link.is_up()));
        text.family(
            "gyre_master_link_state",
            "gauge",
            "How far the link to the primary is, and why it broke last.",
        );
        let state_labels = [("state", link.state_name()), ("broke", link.broke.as_str())];
        text.sample("gyre_master_link_state", &state_labels, 1);
    }
    let offset = state.journal.offset();
    let replicas: Vec<_> = replication
        .replicas
        .values()
        .filter(|it| it.is_attached())
        .filter_map(|it| {
            let ip = crate::engine::replication::primary::address_of(state, it)?;
            Some((it, ip, it.port.to_string()))
        })
        .collect();
    type Figure = fn(&crate::replication::Replica, i64, u64) -> f64;
    let figures: [(&str, &str, Figure); 3] = [
        (
            "redis_connected_slave_offset_bytes",
            "What a replica has applied of the stream.",
            |it, _, _| it.acked as f64,
        ),
        (
            "gyre_connected_slave_behind_bytes",
            "What a replica has not acknowledged of the stream.",
            |it, offset, _| (offset - it.acked) as f64,
        ),
        (
            "redis_connected_slave_lag_seconds",
            "How long ago a replica has acknowledged.",
            |it, _, now_ns| now_ns.saturating_sub(it.acked_ns) as f64 / 1e9,
        ),
    ];
    for (name, help, figure) in figures {
        text.family(name, "gauge", help);
        for (replica, ip, port) in &replicas {
            let labels = [
                ("slave_ip", ip.as_str()),
                ("slave_port", port.as_str()),
                ("slave_state", replica.state_name()),
            ];
            text.sample(name, &labels, figure(replica, offset, now_ns));
        }
    }
}

fn keyspace(text: &mut Text, state: &State) {
    let figures: Vec<_> = (0..state.keyspace.count())
        .map(|index| (format!("db{index}"), state.keyspace.figures(index)))
        .collect();
    text.family("redis_db_keys", "gauge", "Keys of a database.");
    for (db, (keys, ..)) in &figures {
        text.sample("redis_db_keys", &[("db", db)], keys);
    }
    text.family("redis_db_keys_expiring", "gauge", "Keys with an expiry.");
    for (db, (_, expiring, _)) in &figures {
        text.sample("redis_db_keys_expiring", &[("db", db)], expiring);
    }
    text.family(
        "redis_db_avg_ttl_seconds",
        "gauge",
        "Average time to live of keys with an expiry.",
    );
    for (db, (_, _, ttl_ms)) in &figures {
        text.sample(
            "redis_db_avg_ttl_seconds",
            &[("db", db)],
            *ttl_ms as f64 / 1000.0,
        );
    }
}

fn commands(text: &mut Text, state: &State) {
    let ran: Vec<_> = state
        .table
        .iter()
        .zip(&state.observe.commands)
        .filter(|(_, stats)| stats.calls + stats.failed + stats.rejected > 0)
        .map(|((_, command), stats)| (command.name.as_str(), stats))
        .collect();
    text.family("redis_commands", "counter", "Calls of a command.");
    for (name, stats) in &ran {
        text.sample("redis_commands_total", &[("cmd", name)], stats.calls);
    }
    text.family(
        "redis_commands_duration_seconds",
        "counter",
        "Time running a command.",
    );
    for (name, stats) in &ran {
        let seconds = stats.ns as f64 / 1e9;
        text.sample(
            "redis_commands_duration_seconds_total",
            &[("cmd", name)],
            seconds,
        );
    }
    text.family(
        "redis_commands_rejected_calls",
        "counter",
        "Calls refused before they ran.",
    );
    for (name, stats) in &ran {
        text.sample(
            "redis_commands_rejected_calls_total",
            &[("cmd", name)],
            stats.rejected,
        );
    }
    text.family(
        "redis_commands_failed_calls",
        "counter",
        "Calls that answered an error.",
    );
    for (name, stats) in &ran {
        text.sample(
            "redis_commands_failed_calls_total",
            &[("cmd", name)],
            stats.failed,
        );
    }
}

fn errors(text: &mut Text, state: &State) {
    text.family(
        "redis_errors",
        "counter",
        "Error replies by their first word.",
    );
    for (code, count) in &state.observe.errors {
        let code = String::from_utf8_lossy(code);
        text.sample("redis_errors_total", &[("err", &code)], count);
    }
}

/// How long commands run.
fn latencies(text: &mut Text, state: &State) {
    let name = "gyre_command_duration_seconds";
    text.family(
        name,
        "histogram",
        "Time running a command, without the waiting before and after.",
    );
    for ((_, command), stats) in state.table.iter().zip(&state.observe.commands) {
        if let Some(histogram) = &stats.histogram {
            let sum_s = stats.ns as f64 / 1e9;
            text.histogram(name, ("cmd", &command.name), histogram, Some(sum_s));
        }
    }
}

/// How long clients wait.
fn waits(text: &mut Text, state: &State) {
    let name = "gyre_client_wait_seconds";
    text.family(
        name,
        "histogram",
        "From bytes being ready to replies written: waiting for the turn, executing, waiting for the socket.",
    );
    for part in WaitPart::ALL {
        if let Some(histogram) = state.observe.waits.histogram(part) {
            text.histogram(name, ("part", part.name()), histogram, None);
        }
    }
}

/// The loop's phases; apart, because they come from the loop and not from the state.
pub(super) fn phases(out: &mut String, recorder: &Recorder, viewers: usize) {
    let mut text = Text {
        out: std::mem::take(out),
    };
    let name = "gyre_loop_phase_seconds";
    text.family(
        name,
        "histogram",
        "Time in a phase of a turn, of the turns in which it took any.",
    );
    for phase in Phase::ALL {
        if let Some(histogram) = recorder.histogram(phase) {
            let sum_s = recorder.sum_ns(phase) as f64 / 1e9;
            text.histogram(name, ("phase", phase.name()), histogram, Some(sum_s));
        }
    }
    text.family(
        "gyre_http_viewers",
        "gauge",
        "Connections that watch the loop.",
    );
    text.sample("gyre_http_viewers", &[], viewers);
    text.out.push_str("# EOF\n");
    *out = text.out;
}
