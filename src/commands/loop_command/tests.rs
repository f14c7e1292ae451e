//! Forms of the replies. Turns come from a loop over the simulator; whole servers are in tests/loop_trace.rs.

use crate::commands::testing::{Harness, text};
use crate::event_loop::{
    Accepted, EventLoop, Faults, Phase, Progress, Service, Simulator, TimerId, Token, Work,
};
use crate::observe::{Blocker, Completion, LongWait};
use crate::resp::reader::Value;
use std::io;
use std::time::Duration;

/// A service whose turn number `stalled` takes half a second in one phase.
struct Staller {
    stalled: u64,
    phase: Phase,
}

impl Service for Staller {
    fn turn_begins(&mut self, events: &mut EventLoop) {
        events.set_turn_time(1_700_000_000_000_000);
    }
    fn accepted(&mut self, _: &mut EventLoop, _: Token, _: Accepted) {}
    fn accept_failed(&mut self, _: &mut EventLoop, _: Token, _: &io::Error) {}
    fn readable(&mut self, _: &mut EventLoop, _: Token) -> Progress {
        Progress::Drained
    }
    fn writable(&mut self, _: &mut EventLoop, _: Token) {}
    fn timer(&mut self, _: &mut EventLoop, _: TimerId) {}
    fn woken(&mut self, _: &mut EventLoop) {}
    fn before_sleep(&mut self, events: &mut EventLoop) {
        if events.this_turn().turn == self.stalled {
            events.seam().sleep(Duration::from_millis(500));
            events.worked(
                1,
                Work {
                    who: 7,
                    what: 0,
                    ns: 500_000_000,
                },
            );
            events.mark(self.phase);
        }
    }
}

fn with_turns(stalled: u64, phase: Phase) -> (Harness, EventLoop) {
    let (simulator, _) = Simulator::new(5, Faults::NONE);
    let mut events = EventLoop::new(Box::new(simulator));
    events.record(true, 16);
    let mut service = Staller { stalled, phase };
    for _ in 0..40 {
        events.stay_awake();
        events.turn(&mut service, None).expect("a turn");
    }
    let mut harness = Harness::new();
    std::mem::swap(&mut harness.host.recorder, events.recorder_mut());
    (harness, events)
}

fn get<'a>(value: &'a Value, name: &str) -> &'a Value {
    let Value::Map(pairs) = value else {
        panic!("a map: {value:?}");
    };
    let found = pairs
        .iter()
        .find(|(key, _)| key.as_bytes() == Some(name.as_bytes()));
    found.map_or_else(|| panic!("no {name} in {value:?}"), |(_, value)| value)
}

fn us(value: &Value) -> f64 {
    match value {
        Value::Double(us) => us.parse().expect("a number"),
        other => panic!("a double: {other:?}"),
    }
}

#[test]
fn a_turn_with_a_stalled_phase_is_the_slowest() {
    for phase in [Phase::Expire, Phase::Journal, Phase::Write] {
        let (mut harness, _) = with_turns(30, phase);
        harness.line("HELLO 3");
        let slowest = harness.line("LOOP SLOWEST 3");
        let turns = slowest.items().expect("an array");
        assert_eq!(turns.len(), 3);
        assert_eq!(get(&turns[0], "turn"), &Value::Integer(30));
        let phases = get(&turns[0], "phases");
        assert!(us(get(phases, phase.name())) >= 500_000.0);
        assert!(us(get(&turns[0], "awake-us")) >= 500_000.0);
        assert!(us(get(&turns[1], "awake-us")) < 500_000.0);
        let longest = get(&turns[0], "longest");
        assert_eq!(get(longest, "client-id"), &Value::Integer(7));
        assert_eq!(get(&turns[1], "longest"), &Value::Null);
        let name = phase.name();
        let histogram = harness.line(&format!("LOOP HISTOGRAM {name} awake"));
        assert_eq!(get(get(&histogram, name), "count"), &Value::Integer(1));
        assert_eq!(get(get(&histogram, "awake"), "count"), &Value::Integer(40));
    }
}

#[test]
fn traces_are_the_newest_turns() {
    let (mut harness, _) = with_turns(2, Phase::Load);
    harness.line("HELLO 3");
    let turns_of = |reply: &Value| -> Vec<i64> {
        let turns = reply.items().expect("an array");
        turns
            .iter()
            .map(|turn| match get(turn, "turn") {
                Value::Integer(number) => *number,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let newest: Vec<i64> = (31..=40).rev().collect();
    assert_eq!(turns_of(&harness.line("LOOP TRACE")), newest);
    assert_eq!(turns_of(&harness.line("loop trace 2")), [40, 39]);
    assert_eq!(turns_of(&harness.line("LOOP TRACE -1")).len(), 16);
    assert_eq!(turns_of(&harness.line("LOOP TRACE 0")).len(), 0);
    for bad in ["-2", "x", "99999999999999999999"] {
        let reply = text(&harness.line(&format!("LOOP TRACE {bad}")));
        assert!(reply.contains("greater than or equal to -1"), "{reply}");
    }
    assert!(text(&harness.line("LOOP SLOWEST 1 2")).contains("syntax error"));
}

#[test]
fn statistics_tell_shares_and_their_own_cost_and_are_reset() {
    let (mut harness, _) = with_turns(3, Phase::Evict);
    let flat = harness.line("LOOP STATS");
    assert_eq!(flat.items().map(<[Value]>::len), Some(26), "RESP2 is flat");
    harness.line("HELLO 3");
    let stats = harness.line("LOOP STATS");
    assert_eq!(get(&stats, "turns-recorded"), &Value::Integer(40));
    assert_eq!(get(&stats, "turns-kept"), &Value::Integer(16));
    let evict = get(get(&stats, "phases"), "evict");
    assert!(us(get(evict, "percent-of-awake")) > 50.0);
    assert!(us(get(evict, "max-us")) >= 500_000.0);
    assert_eq!(get(get(&stats, "cost"), "clock-looks"), &Value::Integer(1));
    assert_eq!(get(&stats, "save"), &Value::Map(Vec::new()));
    assert_eq!(harness.line("LOOP RESET"), Value::Simple("OK".to_owned()));
    let stats = harness.line("LOOP STATS");
    assert_eq!(get(&stats, "turns-recorded"), &Value::Integer(0));
    assert_eq!(
        harness.line("LOOP SLOWEST").items().map(<[Value]>::len),
        Some(0)
    );
    let unknown = text(&harness.line("LOOP HISTOGRAM dream"));
    assert!(unknown.contains("ERR Unknown phase 'dream'"), "{unknown}");
}

#[test]
fn whoever_waited_is_shown_with_whom_it_waited_behind() {
    let mut harness = Harness::new();
    harness.line("HELLO 3");
    let work = Work {
        who: 9,
        what: 0,
        ns: 20_000_000,
    };
    let completion = Completion {
        commands: 3,
        turn: 12,
        parts_ns: [21_000_000, 1500, 2000],
        ..Completion::default()
    };
    let wait = |blocked_by| LongWait {
        id: 0,
        unix_ms: 1_700_000_000_000,
        client: 4,
        address: "1.2.3.4:5".to_owned(),
        name: b"worker".to_vec(),
        completion,
        blocked_by,
    };
    let blocker = Blocker {
        work,
        turn_before: false,
        address: String::new(),
        name: Vec::new(),
    };
    harness.state.observe.waits.keep(wait(None));
    harness.state.observe.waits.keep(wait(Some(blocker)));
    let reply = harness.line("LOOP WAITED");
    let waits = reply.items().expect("an array");
    assert_eq!(get(&waits[0], "id"), &Value::Integer(1));
    assert!((us(get(&waits[0], "wait-turn-us")) - 21_000.0).abs() < 1e-9);
    assert!((us(get(&waits[0], "wait-executing-us")) - 1.5).abs() < 1e-9);
    let behind = get(&waits[0], "blocked-by");
    assert_eq!(get(behind, "client-id"), &Value::Integer(9));
    assert_eq!(
        get(behind, "when").as_bytes(),
        Some(&b"in the same turn"[..])
    );
    assert_eq!(get(&waits[1], "blocked-by"), &Value::Null);
    assert!(text(&harness.line("LOOP HELP")).contains("WAITED"));
}
