//! Clients that wait for keys: who is served, in which order, and how waiting ends.

mod common;

use common::{Raw, Server};
use gyre::resp::reader::Value;
use std::time::{Duration, Instant};

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn pair(key: &str, element: &str) -> Value {
    Value::Array(vec![bulk(key), bulk(element)])
}

/// Waits until so many clients are blocked.
fn await_blocked(control: &mut Raw, count: usize) {
    let wanted = format!("\r\nblocked_clients:{count}\r\n");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let Value::Bulk(page) = control.line("INFO clients") else {
            panic!("INFO answers a bulk")
        };
        if String::from_utf8_lossy(&page).contains(&wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "never {count} blocked clients");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Connections that wait, one after the other, each with its own command.
fn waiters(server: &Server, control: &mut Raw, commands: &[&str]) -> Vec<Raw> {
    let mut all = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        let mut raw = server.raw();
        raw.send(format!("{command}\r\n").as_bytes());
        await_blocked(control, index + 1);
        all.push(raw);
    }
    all
}

#[test]
fn who_waited_first_is_served_first() {
    let server = Server::start();
    let mut control = server.raw();
    let mut waiting = waiters(
        &server,
        &mut control,
        &["BLPOP k 0", "BRPOP k 0", "BLPOP other k 0"],
    );
    assert_eq!(control.line("RPUSH k a b c d"), Value::Integer(4));
    assert_eq!(waiting[0].read(), pair("k", "a"));
    assert_eq!(waiting[1].read(), pair("k", "d"));
    assert_eq!(waiting[2].read(), pair("k", "b"));
    assert_eq!(control.line("LRANGE k 0 -1"), Value::Array(vec![bulk("c")]));
    await_blocked(&mut control, 0);
}

#[test]
fn a_served_client_makes_the_next_key_ready() {
    let server = Server::start();
    let mut control = server.raw();
    let mut waiting = waiters(
        &server,
        &mut control,
        &["BLMOVE a b LEFT RIGHT 0", "BRPOPLPUSH b c 0", "BLPOP c 0"],
    );
    control.line("LPUSH a x");
    assert_eq!(waiting[0].read(), bulk("x"));
    assert_eq!(waiting[1].read(), bulk("x"));
    assert_eq!(waiting[2].read(), pair("c", "x"));
    assert_eq!(control.line("EXISTS a b c"), Value::Integer(0));
}

#[test]
fn a_key_of_another_type_wakes_nobody_who_cannot_use_it() {
    let server = Server::start();
    let mut control = server.raw();
    let mut waiting = waiters(&server, &mut control, &["BLPOP k 0", "BZPOPMIN k 0"]);
    control.line("SET k x");
    control.line("DEL k");
    control.line("ZADD k 1 m");
    assert_eq!(
        waiting[1].read(),
        Value::Array(vec![bulk("k"), bulk("m"), bulk("1")])
    );
    await_blocked(&mut control, 1);
    control.line("RPUSH k y");
    assert_eq!(waiting[0].read(), pair("k", "y"));
}

#[test]
fn transactions_wake_only_with_what_is_left_at_their_end() {
    let server = Server::start();
    let mut control = server.raw();
    let mut waiting = waiters(&server, &mut control, &["BLPOP k 0"]);
    for command in ["MULTI", "RPUSH k a", "DEL k", "EXEC"] {
        control.line(command);
    }
    await_blocked(&mut control, 1);
    for command in ["MULTI", "RPUSH k a", "LSET k 0 b", "EXEC"] {
        control.line(command);
    }
    assert_eq!(waiting[0].read(), pair("k", "b"));
    control.line("MULTI");
    control.line("BLPOP none 0");
    assert_eq!(control.line("EXEC"), Value::Array(vec![Value::NullArray]));
}

#[test]
fn waiting_ends_with_its_time_and_the_pipeline_goes_on() {
    let server = Server::start();
    let mut raw = server.raw();
    let begin = Instant::now();
    raw.send(b"BLPOP k 0.1\r\nPING\r\nBLMOVE k l LEFT LEFT 0.01\r\nPING\r\n");
    assert_eq!(raw.read(), Value::NullArray);
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(raw.read(), Value::Simple("PONG".into()));
    assert_eq!(raw.read(), Value::NullArray);
    assert_eq!(raw.read(), Value::Simple("PONG".into()));
}

#[test]
fn client_unblock_ends_a_wait_with_null_or_an_error() {
    let server = Server::start();
    let mut control = server.raw();
    for (reason, expected) in [
        ("", Value::NullArray),
        (" TIMEOUT", Value::NullArray),
        (
            " ERROR",
            Value::Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK".to_vec()),
        ),
    ] {
        let mut raw = server.raw();
        let Value::Integer(id) = raw.line("CLIENT ID") else {
            panic!("a client has an id")
        };
        raw.send(b"BLPOP k 0\r\nPING\r\n");
        await_blocked(&mut control, 1);
        let command = format!("CLIENT UNBLOCK {id}{reason}");
        assert_eq!(control.line(&command), Value::Integer(1));
        assert_eq!(raw.read(), expected);
        assert_eq!(raw.read(), Value::Simple("PONG".into()));
        assert_eq!(control.line(&command), Value::Integer(0));
    }
}

#[test]
fn who_goes_away_waits_no_longer() {
    let server = Server::start();
    let mut control = server.raw();
    let waiting = waiters(&server, &mut control, &["BLPOP k 0", "BLPOP k 5"]);
    drop(waiting);
    await_blocked(&mut control, 0);
    assert_eq!(control.line("RPUSH k a"), Value::Integer(1));
    assert_eq!(control.line("LLEN k"), Value::Integer(1));
}

#[test]
fn a_key_that_is_renamed_moved_or_swapped_into_place_wakes() {
    let server = Server::start();
    let mut control = server.raw();
    for steps in [
        &["RPUSH src x", "RENAME src k"][..],
        &["SELECT 1", "RPUSH k x", "MOVE k 0", "SELECT 0"],
        &["SELECT 1", "RPUSH k x", "SWAPDB 0 1", "SELECT 0"],
        &["RPUSH src x", "COPY src k", "DEL src"],
    ] {
        let mut waiting = waiters(&server, &mut control, &["BLPOP k 0"]);
        for step in steps {
            control.line(step);
        }
        assert_eq!(waiting[0].read(), pair("k", "x"), "{steps:?}");
        await_blocked(&mut control, 0);
        control.line("FLUSHALL");
    }
}

#[test]
fn streams_wake_their_readers_and_tell_groups_that_go() {
    let server = Server::start();
    let mut control = server.raw();
    control.line("XADD s 1-0 f old");
    control.line("XGROUP CREATE s g $");
    control.line("XGROUP CREATE s h $");
    let mut waiting = waiters(
        &server,
        &mut control,
        &[
            "XREAD BLOCK 0 STREAMS s $",
            "XREADGROUP GROUP g a BLOCK 0 STREAMS s >",
            "XREADGROUP GROUP g b BLOCK 0 STREAMS s >",
            "XREADGROUP GROUP h c BLOCK 0 STREAMS s >",
            "XREAD BLOCK 50 STREAMS none $",
        ],
    );
    assert_eq!(waiting[4].read(), Value::NullArray, "its time is over");
    control.line("XADD s 2-0 f new");
    let entry = Value::Array(vec![
        bulk("2-0"),
        Value::Array(vec![bulk("f"), bulk("new")]),
    ]);
    let found = Value::Array(vec![Value::Array(vec![
        bulk("s"),
        Value::Array(vec![entry]),
    ])]);
    // `$` meant the last entry when it began; of one group, the one who waited first gets the entry.
    for reader in [0, 1, 3] {
        assert_eq!(waiting[reader].read(), found, "reader {reader}");
    }
    await_blocked(&mut control, 1);
    control.line("XGROUP DESTROY s g");
    let Value::Error(error) = waiting[2].read() else {
        panic!("the group is gone");
    };
    assert!(error.starts_with(b"NOGROUP"));
    let mut waiting = waiters(
        &server,
        &mut control,
        &["XREADGROUP GROUP h c BLOCK 0 STREAMS s >"],
    );
    control.line("DEL s");
    let Value::Error(error) = waiting[0].read() else {
        panic!("the key is gone");
    };
    assert!(error.starts_with(b"NOGROUP No such key 's' or consumer group 'h'"));
    // Another type in its place is told as that.
    control.line("XADD s * f v");
    control.line("XGROUP CREATE s h $");
    let mut waiting = waiters(
        &server,
        &mut control,
        &["XREADGROUP GROUP h c BLOCK 0 STREAMS s >"],
    );
    control.line("SET s string");
    let Value::Error(error) = waiting[0].read() else {
        panic!("the key is a string");
    };
    assert!(error.starts_with(b"WRONGTYPE"));
}

/// SKIP was used up when the command began to wait, and its answer came all the same.
#[test]
fn what_a_client_does_not_want_to_hear_stays_unsaid_after_waiting() {
    let server = Server::start();
    let mut control = server.raw();
    for ends_by_itself in [false, true] {
        let mut quiet = server.raw();
        let seconds = if ends_by_itself { "0.01" } else { "0" };
        quiet.send(format!("CLIENT REPLY SKIP\r\nBLPOP k {seconds}\r\n").as_bytes());
        if !ends_by_itself {
            await_blocked(&mut control, 1);
            control.line("RPUSH k a");
        }
        await_blocked(&mut control, 0);
        quiet.send(b"ECHO heard\r\n");
        assert_eq!(quiet.read(), bulk("heard"));
    }
}
