//! Turns of the loop as JSON, the same for the page and for tools.

use crate::engine::{CommandId, State};
use crate::event_loop::{Phase, TurnReport, Work};
use serde_json::{Value, json};

/// One turn. Phases in which no time passed are left out.
pub(super) fn turn(state: &State, report: &TurnReport) -> Value {
    let phases: serde_json::Map<String, Value> = Phase::ALL
        .into_iter()
        .filter(|phase| report.time_in(*phase) > 0)
        .map(|phase| (phase.name().to_owned(), json!(report.time_in(phase))))
        .collect();
    json!({
        "turn": report.turn,
        "at_us": report.woke_unix_us,
        "awake_ns": report.awake_ns(),
        "ns": phases,
        "events": report.events,
        "readable": report.readable,
        "writable": report.writable,
        "accepted": report.accepted,
        "timers": report.timers,
        "woken": report.woken,
        "carried": report.carried,
        "commands": report.works,
        "in": report.bytes_in,
        "out": report.bytes_out,
        "longest": work(state, report.longest[0]),
    })
}

/// A piece of work; null if there was none.
pub(super) fn work(state: &State, work: Work) -> Value {
    if work.ns == 0 {
        return Value::Null;
    }
    json!({ "command": command_name(state, work.what), "client": work.who, "ns": work.ns })
}

/// Name of a command that a piece of work was.
pub(super) fn command_name(state: &State, what: u32) -> String {
    u16::try_from(what)
        .ok()
        .filter(|id| usize::from(*id) < state.table.len())
        .map_or_else(String::new, |id| {
            state.table.get(CommandId(id)).name.clone()
        })
}
