//! `/events`: what the live page shows, as server-sent events, four times a second.
//!
//! Under load there are far more turns than an eye can follow. Each event has all turns since the last one up to
//! [`MOST_TURNS`], the slowest and the newest of them, and says how many it leaves out.

use super::json;
use crate::clients::{Blocked, Client, ClientKind};
use crate::engine::{CommandId, State};
use crate::event_loop::{EventLoop, Phase, TurnReport};
use crate::observe::WaitPart;
use serde_json::{Value, json};

/// What the stream is.
pub(super) const CONTENT_TYPE: &str = "text/event-stream; charset=utf-8";
/// Time between two events, ns.
pub(super) const PERIOD_NS: u64 = 250_000_000;
/// Turns in one event.
const MOST_TURNS: usize = 48;
/// Turns of one event that are chosen because they were the slowest, wherever they were.
const SLOWEST: usize = 8;
/// Connections in one event.
const MOST_CLIENTS: usize = 60;
/// Commands in one event.
const MOST_COMMANDS: usize = 12;
/// Slow waits in one event.
const MOST_WAITS: usize = 8;

/// What the last event told.
#[derive(Default)]
pub(super) struct Live {
    turn: u64,
    at_ns: u64,
    /// Calls of each command and the time for them, ns.
    calls: Vec<(u64, u64)>,
    sums_ns: Vec<u64>,
}

/// The next event, for all who watch.
pub(super) fn event(
    live: &mut Live,
    state: &State,
    events: &EventLoop,
    used_memory: u64,
) -> Vec<u8> {
    let now_ns = events.turn_ns();
    let recorder = events.recorder();
    let (turns, left_out) = pick(&recorder.since(live.turn));
    let period_ns = now_ns.saturating_sub(live.at_ns);
    let sums_ns: Vec<u64> = Phase::ALL
        .iter()
        .map(|phase| recorder.sum_ns(*phase))
        .collect();
    let phases: serde_json::Map<String, Value> = Phase::ALL
        .into_iter()
        .map(|phase| {
            // The recorder counts from its start; the page shows what came since the last event.
            let before = live.sums_ns.get(phase as usize).copied().unwrap_or(0);
            let ns = sums_ns[phase as usize].saturating_sub(before);
            (phase.name().to_owned(), json!(ns))
        })
        .collect();
    let stats = &state.observe.stats;
    let body = json!({
        "version": crate::GYRE_VERSION,
        "at_us": state.now.unix_us,
        "period_ns": if live.at_ns == 0 { 0 } else { period_ns },
        "recording": recorder.is_on(),
        "turns": turns.iter().map(|report| json::turn(state, report)).collect::<Vec<_>>(),
        "left_out": left_out,
        "phases_ns": phases,
        "totals": {
            "turns": events.totals().turns,
            "commands": stats.commands_processed,
            "per_second": stats.commands_per_second.per_second(),
            "in_per_second": stats.in_per_second.per_second(),
            "out_per_second": stats.out_per_second.per_second(),
            "turns_per_second": stats.turns_per_second.per_second(),
            "keys": (0..state.keyspace.count()).map(|db| state.keyspace.figures(db).0).sum::<usize>(),
            "used_memory": used_memory,
            "clients": state.clients.connected,
            "blocked": state.clients.waiting,
            "uptime_s": now_ns.saturating_sub(stats.start_ns) / 1_000_000_000,
        },
        "save": save(state),
        "slowest": recorder.slowest().iter().take(MOST_WAITS).map(|report| json::turn(state, report)).collect::<Vec<_>>(),
        "waits": waits(state),
        "percentiles_us": percentiles(state),
        "commands": commands(live, state),
        "clients": clients(state, now_ns),
    });
    live.turn = recorder
        .newest_first()
        .next()
        .map_or(live.turn, |report| report.turn);
    live.at_ns = now_ns;
    live.sums_ns = sums_ns;
    format!("data: {body}\n\n").into_bytes()
}

/// The turns to show of these, and how many are left out.
fn pick(turns: &[&TurnReport]) -> (Vec<TurnReport>, usize) {
    if turns.len() <= MOST_TURNS {
        return (turns.iter().map(|report| **report).collect(), 0);
    }
    // The newest show what is going on, the slowest what has gone wrong; others are only counted.
    let (older, newest) = turns.split_at(turns.len() - (MOST_TURNS - SLOWEST));
    let mut slow: Vec<&TurnReport> = older.to_vec();
    slow.sort_unstable_by_key(|report| std::cmp::Reverse(report.awake_ns()));
    slow.truncate(SLOWEST);
    // Drawn in the order of time.
    slow.sort_unstable_by_key(|report| report.turn);
    let picked = slow.iter().chain(newest).map(|report| **report).collect();
    (picked, turns.len() - MOST_TURNS)
}

/// How far the background save is, where there is one.
fn save(state: &State) -> Value {
    let Some(progress) = state.persistence.progress(state.now.mono_ns) else {
        return Value::Null;
    };
    json!({
        "what": progress.what(),
        "method": progress.method,
        "percent": progress.percent(),
        "seconds_left": progress.seconds_left(),
    })
}

/// Clients that waited long, and behind whom.
fn waits(state: &State) -> Value {
    let long = state.observe.waits.long().take(MOST_WAITS).map(|wait| {
        let completion = &wait.completion;
        let [turn, executing, socket] = completion.parts_ns;
        json!({
            "id": wait.id,
            "at_ms": wait.unix_ms,
            "client": wait.client,
            "turn": completion.turn,
            "command": json::command_name(state, completion.longest.what),
            "turn_ns": turn,
            "executing_ns": executing,
            "socket_ns": socket,
            "blocked_by": completion.culprit().map(|(work, _)| json::work(state, work)),
        })
    });
    long.collect()
}

/// How long clients wait, µs: 50, 99 and 99.9 in 100, and the longest, of each part.
fn percentiles(state: &State) -> Value {
    let parts = WaitPart::ALL.into_iter().filter_map(|part| {
        let histogram = state.observe.waits.histogram(part)?;
        let us = |percent: f64| histogram.percentile(percent) as f64 / 1000.0;
        let figures = json!([
            us(50.0),
            us(99.0),
            us(99.9),
            histogram.max() as f64 / 1000.0
        ]);
        Some((part.name().to_owned(), figures))
    });
    Value::Object(parts.collect())
}

/// The commands that took most time since the last event.
fn commands(live: &mut Live, state: &State) -> Value {
    let stats = &state.observe.commands;
    // As many as there are commands, from the first event on.
    live.calls.resize(stats.len(), (0, 0));
    let mut ran: Vec<(usize, u64, u64)> = Vec::new();
    for (index, (now, before)) in stats.iter().zip(&mut live.calls).enumerate() {
        // Less than before: they were reset.
        let calls = now.calls.saturating_sub(before.0);
        let ns = now.ns.saturating_sub(before.1);
        *before = (now.calls, now.ns);
        if calls > 0 {
            ran.push((index, calls, ns));
        }
    }
    ran.sort_unstable_by_key(|(_, _, ns)| std::cmp::Reverse(*ns));
    ran.truncate(MOST_COMMANDS);
    let shown = ran.into_iter().map(|(index, calls, ns)| {
        let id = CommandId(index as u16);
        json!({ "name": state.table.get(id).name, "calls": calls, "ns": ns })
    });
    shown.collect()
}

/// Connections and what they are at. Of many, those with the lowest ids.
fn clients(state: &State, now_ns: u64) -> Value {
    // Scripts and the loader are clients without a socket.
    let real = state
        .clients
        .iter()
        .filter(|(_, client)| client.connection().token().is_some());
    let shown = real.take(MOST_CLIENTS).map(|(_, client)| {
        let (session, connection) = (&client.session, client.connection());
        let command = session.last_command.map(CommandId);
        json!({
            "id": session.id,
            "name": String::from_utf8_lossy(&session.name),
            "address": connection.address().to_string(),
            "state": state_of(client),
            "command": command.map(|id| state.table.get(id).name.as_str()),
            "idle_ms": now_ns.saturating_sub(connection.last_interaction_ns()) / 1_000_000,
            "input": connection.query().len(),
            "output": client.reply.output().len(),
            "commands": session.commands,
        })
    });
    shown.collect()
}

/// What a connection waits for between two turns.
fn state_of(client: &Client) -> &'static str {
    match client.session.blocked {
        Some(Blocked::Command(_)) => "blocked",
        Some(_) => "held back",
        None if !client.reply.output().is_empty() => "writing",
        None if !client.connection().query().is_empty() => "half a request",
        None if client.session.in_multi() => "in MULTI",
        None if client.session.kind == ClientKind::PubSub => "subscribed",
        None => "waiting",
    }
}
