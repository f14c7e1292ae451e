//! LOOP and LATENCY on a real server: a stall is seen, and whoever waited is told for whom.

mod common;

use common::{Raw, Server, wait_for};
use gyre::resp::reader::Value;
use std::time::Duration;

fn ask(raw: &mut Raw, line: &str) -> Value {
    raw.command(&line.split(' ').collect::<Vec<_>>());
    raw.read()
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

fn int(value: &Value) -> i64 {
    match value {
        Value::Integer(number) => *number,
        other => panic!("an integer: {other:?}"),
    }
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.as_bytes().expect("a text")).into_owned()
}

fn resp3(server: &Server) -> Raw {
    let mut raw = server.raw();
    ask(&mut raw, "HELLO 3");
    raw
}

#[test]
fn a_stall_is_the_slowest_turn_and_a_latency_event() {
    let server = Server::with(&["--latency-monitor-threshold", "50"]);
    let mut raw = resp3(&server);
    let id = int(&ask(&mut raw, "CLIENT ID"));
    ask(&mut raw, "DEBUG SLEEP 0.12");
    let slowest = ask(&mut raw, "LOOP SLOWEST 1");
    let turn = &slowest.items().expect("an array")[0];
    assert!(us(get(turn, "awake-us")) >= 120_000.0);
    assert!(us(get(get(turn, "phases"), "execute")) >= 120_000.0);
    assert_eq!(text(get(get(turn, "longest"), "command")), "debug");
    assert_eq!(int(get(get(turn, "longest"), "client-id")), id);
    assert_eq!(int(get(turn, "commands")), 1);
    assert!(int(get(turn, "bytes-in")) > 0 && int(get(turn, "bytes-out")) > 0);
    let latest = ask(&mut raw, "LATENCY LATEST");
    let names: Vec<String> = latest
        .items()
        .expect("an array")
        .iter()
        .map(|event| text(&event.items().expect("an array")[0]))
        .collect();
    assert_eq!(names, ["command", "loop-execute"]);
    let doctor = text(&ask(&mut raw, "LATENCY DOCTOR"));
    assert!(doctor.contains("LOOP SLOWEST"), "{doctor}");
    ask(&mut raw, "LOOP RESET");
    let slowest = ask(&mut raw, "LOOP SLOWEST");
    let longest = slowest.items().expect("an array").first();
    assert!(longest.is_none_or(|turn| us(get(turn, "awake-us")) < 120_000.0));
}

#[test]
fn who_waited_is_told_for_whom() {
    let server = Server::start();
    let mut culprit = server.raw();
    ask(&mut culprit, "CLIENT SETNAME culprit");
    let culprit_id = int(&ask(&mut culprit, "CLIENT ID"));
    let mut victim = server.raw();
    ask(&mut victim, "CLIENT SETNAME victim");
    let victim_id = int(&ask(&mut victim, "CLIENT ID"));
    let mut watcher = resp3(&server);
    let mut first = server.raw();
    // Both are in hand when the loop wakes up after the first sleep: in one turn the victim waits for the second.
    // From outside nobody sees that the first sleep has begun, so on a busy machine it may take more than one round.
    let mut round = || {
        ask(&mut watcher, "LOOP RESET");
        first.command(&["DEBUG", "SLEEP", "0.1"]);
        std::thread::sleep(Duration::from_millis(30));
        culprit.command(&["DEBUG", "SLEEP", "0.15"]);
        victim.command(&["PING"]);
        first.read();
        culprit.read();
        victim.read();
        ask(&mut watcher, "LOOP WAITED -1")
    };
    let came_together = |waited: &Value| {
        let mut waits = waited.items().expect("an array").iter();
        waits.any(|wait| {
            int(get(wait, "client-id")) == victim_id
                && us(get(wait, "total-us")) >= 150_000.0
                // Only a poll that took no time counts for one that found its events waiting: a slow one hides them.
                && (cfg!(feature = "sanitizer") || us(get(wait, "perhaps-unseen-us")) >= 60_000.0)
        })
    };
    let waited = (0..40).map(|_| round()).find(came_together);
    let waited = waited.expect("a round in which both came while the first slept");
    let waits = waited.items().expect("an array");
    let of = |id: i64| {
        let mut all = waits.iter();
        all.find(|wait| int(get(wait, "client-id")) == id)
            .unwrap_or_else(|| panic!("client {id} in {waits:?}"))
    };
    let wait = of(victim_id);
    assert_eq!(text(get(wait, "name")), "victim");
    assert_eq!(text(get(wait, "command")), "ping");
    assert!(us(get(wait, "total-us")) >= 150_000.0, "{wait:?}");
    assert!(us(get(wait, "wait-executing-us")) < 50_000.0);
    let behind = get(wait, "blocked-by");
    assert_eq!(int(get(behind, "client-id")), culprit_id);
    assert_eq!(text(get(behind, "name")), "culprit");
    assert_eq!(text(get(behind, "command")), "debug");
    assert_eq!(text(get(behind, "when")), "in the same turn");
    assert!(us(get(behind, "us")) >= 150_000.0);
    // It waited for itself, and before that perhaps for the first.
    let own = of(culprit_id);
    assert!(us(get(own, "wait-executing-us")) >= 150_000.0);
    let total = us(get(own, "total-us"));
    let parts = ["wait-turn-us", "wait-executing-us", "wait-socket-us"];
    let sum: f64 = parts.map(|part| us(get(own, part))).iter().sum();
    assert!((total - sum).abs() < 0.01, "{own:?}");
}

#[test]
fn recording_is_switched_at_run_time_and_answers_have_both_forms() {
    let server = Server::with(&["--loop-trace", "no"]);
    let mut raw = resp3(&server);
    let stats = ask(&mut raw, "LOOP STATS");
    assert_eq!(text(get(&stats, "recording")), "no");
    assert_eq!(int(get(&stats, "turns-recorded")), 0);
    assert_eq!(ask(&mut raw, "LOOP TRACE"), Value::Array(vec![]));
    assert_eq!(ask(&mut raw, "LOOP HISTOGRAM"), Value::Map(vec![]));
    ask(&mut raw, "CONFIG SET loop-trace yes loop-trace-turns 5");
    for _ in 0..20 {
        ask(&mut raw, "PING");
    }
    let stats = ask(&mut raw, "LOOP STATS");
    assert_eq!(text(get(&stats, "recording")), "yes");
    assert_eq!(int(get(&stats, "turns-kept")), 5);
    assert!(int(get(&stats, "turns-recorded")) >= 20);
    let write = get(get(&stats, "phases"), "write");
    assert!(us(get(write, "total-us")) > 0.0);
    let waits = get(get(&stats, "waits"), "wait-total");
    assert!(int(get(waits, "commands")) >= 20);
    // One turn in 64 is timed, and a look at the clock may be too quick for it.
    wait_for("a look that was timed", || {
        let stats = ask(&mut raw, "LOOP STATS");
        let cost = get(&stats, "cost");
        int(get(cost, "ns-per-look")) > 0 && us(get(cost, "percent-of-awake")) > 0.0
    });
    let histogram = ask(&mut raw, "LOOP HISTOGRAM parse wait-socket");
    assert!(int(get(get(&histogram, "wait-socket"), "count")) >= 20);
    let mut old = server.raw();
    let trace = ask(&mut old, "LOOP TRACE 2");
    let turns = trace.items().expect("an array");
    assert_eq!(turns.len(), 2);
    assert_eq!(turns[0].items().map(<[Value]>::len), Some(20));
    let info = text(&ask(&mut old, "INFO loop"));
    for field in [
        "loop_recording:1",
        "loop_phase_execute:turns=",
        "loop_wait_total_usec:commands=",
    ] {
        assert!(info.contains(field), "{field} in {info}");
    }
    let info = text(&ask(&mut old, "INFO"));
    assert!(!info.contains("# Loop"), "only when asked for");
    ask(&mut old, "CONFIG SET loop-trace no");
    let recorded = int(get(&ask(&mut raw, "LOOP STATS"), "turns-recorded"));
    for _ in 0..20 {
        ask(&mut raw, "PING");
    }
    assert_eq!(
        int(get(&ask(&mut raw, "LOOP STATS"), "turns-recorded")),
        recorded
    );
    assert_eq!(ask(&mut raw, "LOOP RESET"), Value::Simple("OK".to_owned()));
    assert_eq!(ask(&mut raw, "LOOP SLOWEST"), Value::Array(vec![]));
    let help = format!("{:?}", ask(&mut raw, "LOOP HELP"));
    assert!(help.contains("WAITED"), "{help}");
}
