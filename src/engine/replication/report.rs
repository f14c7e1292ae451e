//! What INFO tells of replication.

use crate::engine::info::{Page, fixed, safe};
use crate::replication::{Link, LinkState, Phase};

/// The section of INFO.
pub(in crate::engine) fn section(page: &mut Page<'_>) {
    let state = page.state;
    let (replication, settings) = (&state.replication, state.config.settings());
    let offset = state.journal.offset();
    match &replication.link {
        None => page.field("role", "master"),
        Some(link) => {
            page.field("role", "slave");
            primary_link(page, link);
        }
    }
    page.field("connected_slaves", replication.attached);
    if settings.min_replicas_to_write > 0 && settings.min_replicas_max_lag_s > 0 {
        page.field("min_slaves_good_slaves", replication.good);
    }
    let replicas = replication.replicas.values().filter(|it| it.is_attached());
    for (index, replica) in replicas.enumerate() {
        let Some(address) = super::primary::address_of(state, replica) else {
            continue;
        };
        let lag_s = match replica.phase {
            Phase::Online => state.now.mono_ns.saturating_sub(replica.acked_ns) / 1_000_000_000,
            _ => 0,
        };
        page.field(
            &format!("slave{index}"),
            format_args!(
                "ip={address},port={},state={},offset={},lag={lag_s},type=replica",
                replica.port,
                replica.state_name(),
                replica.acked,
            ),
        );
    }
    page.field("master_failover_state", replication.failover.state_name());
    page.field("master_replid", &replication.id);
    page.field("master_replid2", &replication.second_id);
    page.field("master_repl_offset", offset);
    page.field("second_repl_offset", replication.second_offset);
    let stream = replication.stream.as_ref();
    page.field("repl_backlog_active", u8::from(stream.is_some()));
    page.field("repl_backlog_size", settings.repl_backlog_size);
    page.field(
        "repl_backlog_first_byte_offset",
        stream.map_or(0, |stream| stream.start().saturating_add(1)),
    );
    page.field(
        "repl_backlog_histlen",
        stream.map_or(0, |stream| stream.len()),
    );
}

/// What a replica tells of the link to its primary.
fn primary_link(page: &mut Page<'_>, link: &Link) {
    const SECOND_NS: u64 = 1_000_000_000;
    let state = page.state;
    let (now_ns, settings) = (state.now.mono_ns, state.config.settings());
    let ago_s = |ns: u64| now_ns.saturating_sub(ns) / SECOND_NS;
    let offset = state.journal.offset();
    let client = link.client().and_then(|key| state.clients.get(key));
    page.field("master_host", safe(&link.host));
    page.field("master_port", link.port);
    let status = if link.is_up() { "up" } else { "down" };
    page.field("master_link_status", status);
    match client {
        Some(client) => {
            let last_ns = client.connection().last_interaction_ns();
            page.field("master_last_io_seconds_ago", ago_s(last_ns));
        }
        None => page.field("master_last_io_seconds_ago", -1),
    }
    page.field("master_sync_in_progress", u8::from(link.syncs()));
    let unapplied = client.map_or(0, |client| {
        // What was parsed and has not run is among the bytes that are not applied.
        let unparsed = client.connection().query().len();
        unparsed.saturating_add(link.unapplied.len() - link.unapplied_from)
    });
    page.field("slave_read_repl_offset", offset + unapplied as i64);
    page.field("slave_repl_offset", offset);
    if let LinkState::Receiving(_, receiving) | LinkState::Loading(_, receiving) = &link.state {
        let payload = &receiving.payload;
        let total = payload.left().map(|left| left + payload.received);
        let percent = total.map_or(0.0, |total| {
            payload.received as f64 * 100.0 / (total.max(1)) as f64
        });
        match total {
            Some(total) => page.field("master_sync_total_bytes", total),
            None => page.field("master_sync_total_bytes", -1),
        }
        page.field("master_sync_read_bytes", payload.received);
        match payload.left() {
            Some(left) => page.field("master_sync_left_bytes", left),
            None => page.field("master_sync_left_bytes", -1),
        }
        page.field("master_sync_perc", fixed(percent, 2));
        page.field("master_sync_last_io_seconds_ago", ago_s(link.io_ns));
    }
    page.field("replica_full_sync_buffer_size", 0);
    page.field("replica_full_sync_buffer_peak", 0);
    if !link.is_up() {
        match link.down_since_ns {
            Some(since_ns) => page.field("master_link_down_since_seconds", ago_s(since_ns)),
            None => page.field("master_link_down_since_seconds", -1),
        }
    }
    page.field("slave_priority", settings.replica_priority);
    page.field("slave_read_only", u8::from(settings.replica_read_only));
    page.field("replica_announced", u8::from(settings.replica_announced));
}
