//! `/trace`: the recorded turns in the trace-event format that Perfetto and chrome://tracing open.
//!
//! Each turn is a slice, its phases are slices within it. The recorder keeps how long a phase took in a turn, not when
//! it began: phases are drawn one after the other in their order, and phases that take turns (read, parse, execute) as
//! one slice each. <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>

use crate::event_loop::{Phase, Recorder, TurnReport};
use serde_json::{Value, json};

/// Turns that are sent when nobody says how many.
pub(super) const DEFAULT_TURNS: u64 = 1000;
/// Turns in one part.
const PART: usize = 64;

/// How far a trace has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// The last turn that was sent, or the one before the first.
    after: u64,
    /// The last turn to send.
    until: u64,
    state: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Begin,
    Middle,
    Done,
}

impl Cursor {
    /// The newest `turns` of what is recorded now.
    pub fn newest(recorder: &Recorder, turns: u64) -> Cursor {
        let newest = recorder.newest_first().next().map_or(0, |it| it.turn);
        Cursor {
            after: newest.saturating_sub(turns),
            until: newest,
            state: Stage::Begin,
        }
    }

    /// The next part; empty when all was sent. Turns that the ring has lost meanwhile are missing.
    pub fn next(&mut self, recorder: &Recorder) -> String {
        let mut out = String::new();
        if self.state == Stage::Done {
            return out;
        }
        // The names of the two rows come first, and the bracket of the list that the last part closes.
        if self.state == Stage::Begin {
            out.push_str("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
            for (thread, name) in [(1, "turns"), (2, "phases")] {
                let name = json!({
                    "name": "thread_name", "ph": "M", "pid": 1, "tid": thread, "args": { "name": name }
                });
                out.push_str(&format!("{name},\n"));
            }
            let name =
                json!({ "name": "process_name", "ph": "M", "pid": 1, "args": { "name": "gyre" } });
            out.push_str(&name.to_string());
            self.state = Stage::Middle;
        }
        let turns = recorder.since(self.after);
        // The ring may have lost turns up to the last one meanwhile: then those that are left are all beyond it.
        let wanted = turns.iter().take_while(|it| it.turn <= self.until);
        let mut sent = 0;
        for report in wanted.take(PART) {
            sent += 1;
            self.after = report.turn;
            for event in events(report) {
                out.push_str(",\n");
                out.push_str(&event.to_string());
            }
        }
        let is_last = self.after >= self.until || sent < PART;
        if is_last {
            out.push_str("]}\n");
            self.state = Stage::Done;
        }
        out
    }
}

/// The slices of a turn.
fn events(report: &TurnReport) -> Vec<Value> {
    let us = |ns: u64| ns as f64 / 1000.0;
    let mut events = vec![json!({
        "name": format!("turn {}", report.turn),
        "cat": "turn",
        "ph": "X",
        "ts": us(report.woke_ns),
        "dur": us(report.awake_ns()),
        "pid": 1,
        "tid": 1,
        "args": {
            "turn": report.turn,
            "slept_us": us(report.time_in(Phase::Sleep)),
            "events": report.events,
            "commands": report.works,
            "bytes_in": report.bytes_in,
            "bytes_out": report.bytes_out,
            "carried": report.carried,
        },
    })];
    let mut at = report.woke_ns;
    for phase in Phase::ALL {
        let ns = report.time_in(phase);
        if phase == Phase::Sleep || ns == 0 {
            continue;
        }
        events.push(json!({
            "name": phase.name(),
            "cat": "phase",
            "ph": "X",
            "ts": us(at),
            "dur": us(ns),
            "pid": 1,
            "tid": 2,
            "args": { "turn": report.turn },
        }));
        at += ns;
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slow reader of a trace, while the ring goes on past all that it asked for.
    #[test]
    fn a_trace_whose_turns_are_lost_is_json_nevertheless() {
        let mut recorder = Recorder::default();
        recorder.configure(true, 200);
        let turns = |recorder: &mut Recorder, numbers: std::ops::RangeInclusive<u64>| {
            for turn in numbers {
                let report = TurnReport {
                    turn,
                    ..TurnReport::default()
                };
                recorder.record(&report, report.awake_ns());
            }
        };
        turns(&mut recorder, 1..=200);
        let mut cursor = Cursor::newest(&recorder, 200);
        let mut text = cursor.next(&recorder);
        turns(&mut recorder, 201..=1000);
        loop {
            let part = cursor.next(&recorder);
            if part.is_empty() {
                break;
            }
            text.push_str(&part);
        }
        let trace: Value = serde_json::from_str(&text).expect("JSON");
        let events = trace["traceEvents"].as_array().expect("events");
        let shown = events.iter().filter(|event| event["cat"] == "turn").count();
        assert_eq!(shown, PART);
    }
}
