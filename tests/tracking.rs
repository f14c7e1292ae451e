//! Client-side caching and MONITOR over sockets.

mod common;

use common::{Raw, Server};
use gyre::resp::reader::Value;
use std::io::{Read, Write};

fn bulk(text: &str) -> Value {
    Value::bulk(text)
}
fn invalid(keys: &[&str]) -> Value {
    let keys = keys.iter().map(|key| bulk(key)).collect();
    Value::Push(vec![bulk("invalidate"), Value::Array(keys)])
}
fn message(keys: &[&str]) -> Value {
    let keys = keys.iter().map(|key| bulk(key)).collect();
    Value::Array(vec![
        bulk("message"),
        bulk("__redis__:invalidate"),
        Value::Array(keys),
    ])
}
fn ok() -> Value {
    Value::Simple("OK".into())
}
fn quiet(client: &mut Raw, lines: &[&str]) {
    for line in lines {
        let answer = client.line(line);
        assert!(
            !matches!(answer, Value::Error(_) | Value::Push(_)),
            "{line}: {answer:?}"
        );
    }
}
fn figure(client: &mut Raw, name: &str) -> String {
    let Value::Bulk(info) = client.line("INFO everything") else {
        panic!("INFO is a bulk")
    };
    let info = String::from_utf8_lossy(&info).into_owned();
    let line = info
        .lines()
        .find(|line| line.starts_with(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name}"))[name.len() + 1..].to_owned()
}
fn client_id(client: &mut Raw) -> i64 {
    match client.line("CLIENT ID") {
        Value::Integer(id) => id,
        other => panic!("{other:?}"),
    }
}

/// What a client does itself it hears of after the answer, never in the middle of one.
#[test]
fn own_changes_are_told_after_the_answer() {
    let server = Server::start();
    let (mut client, mut other) = (server.raw(), server.raw());
    quiet(
        &mut client,
        &["HELLO 3", "CLIENT TRACKING ON", "MSET a 1 b 1", "MGET a b"],
    );
    assert_eq!(client.line("SET a 2"), ok());
    assert_eq!(client.read(), invalid(&["a"]));
    quiet(
        &mut client,
        &["GET a", "MULTI", "SET a 3", "GET b", "FLUSHALL", "PING"],
    );
    let Value::Array(answers) = client.line("EXEC") else {
        panic!("the answers, undisturbed")
    };
    assert_eq!(answers.len(), 4);
    assert_eq!(client.read(), invalid(&["a"]));
    assert_eq!(
        client.read(),
        Value::Push(vec![bulk("invalidate"), Value::Null])
    );
    // A command that waited is answered first, too.
    quiet(&mut client, &["RPUSH to x", "LRANGE to 0 -1"]);
    client.send(b"BLMOVE from to LEFT LEFT 0\r\n");
    while figure(&mut other, "blocked_clients") != "1" {}
    quiet(&mut other, &["RPUSH from y"]);
    assert_eq!(client.read(), bulk("y"));
    assert_eq!(client.read(), invalid(&["to"]));
    // Pushes come even where answers do not.
    quiet(&mut client, &["GET k"]);
    client.send(b"CLIENT REPLY OFF\r\n");
    client.send(b"GET k\r\n");
    quiet(&mut other, &["SET k 1"]);
    assert_eq!(client.read(), invalid(&["k"]));
    assert_eq!(client.line("CLIENT REPLY ON"), ok());
}

/// As a library without RESP3 does it: one connection reads, another one listens.
#[test]
fn another_connection_listens() {
    let server = Server::start();
    let (mut reader, mut listener, mut writer) = (server.raw(), server.raw(), server.raw());
    let id = client_id(&mut listener);
    quiet(
        &mut reader,
        &[&format!("CLIENT TRACKING ON REDIRECT {id}"), "GET deaf"],
    );
    quiet(&mut writer, &["SET deaf 1"]);
    quiet(&mut listener, &["SUBSCRIBE __redis__:invalidate"]);
    quiet(&mut reader, &["GET a", "GET b"]);
    quiet(&mut writer, &["INCR a", "INCR c", "INCR b"]);
    assert_eq!(listener.read(), message(&["a"]));
    assert_eq!(listener.read(), message(&["b"]));
    quiet(&mut reader, &["CLIENT TRACKING OFF"]);
    quiet(
        &mut reader,
        &[&format!(
            "CLIENT TRACKING ON BCAST REDIRECT {id} PREFIX a: PREFIX b:"
        )],
    );
    quiet(
        &mut reader,
        &[
            "MULTI", "INCR b:1", "INCR a:2", "INCR a:1", "INCR c:1", "EXEC",
        ],
    );
    assert_eq!(listener.read(), message(&["a:1", "a:2"]));
    assert_eq!(listener.read(), message(&["b:1"]));
    quiet(&mut reader, &["HELLO 3"]);
    drop(listener);
    loop {
        reader.send(b"INCR a:1\r\n");
        let first = reader.read();
        if !matches!(first, Value::Integer(_)) {
            assert_eq!(
                first,
                Value::Push(vec![bulk("tracking-redir-broken"), Value::Integer(id)])
            );
            break;
        }
    }
}

#[test]
fn a_client_that_goes_leaves_nothing_behind() {
    let server = Server::with(&["--tracking-table-max-keys", "10"]);
    let (mut reader, mut other) = (server.raw(), server.raw());
    quiet(&mut reader, &["CLIENT TRACKING ON"]);
    for key in 0..30 {
        quiet(&mut reader, &[&format!("GET {key}")]);
    }
    // The command that reads may exceed the limit; the next one makes up for it.
    assert_eq!(figure(&mut other, "tracking_total_keys"), "10");
    assert_eq!(figure(&mut other, "tracking_total_items"), "10");
    quiet(&mut other, &["CLIENT TRACKING ON BCAST PREFIX x"]);
    assert_eq!(figure(&mut reader, "tracking_clients"), "2");
    assert_eq!(figure(&mut reader, "tracking_total_prefixes"), "1");
    drop(reader);
    while figure(&mut other, "tracking_clients") != "1" {}
    quiet(&mut other, &["RESET"]);
    for name in [
        "tracking_clients",
        "tracking_total_keys",
        "tracking_total_prefixes",
    ] {
        assert_eq!(figure(&mut other, name), "0", "{name}");
    }
}

#[test]
fn monitors_are_shown_addresses() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("socket");
    let path = path.to_str().expect("a path");
    let server = Server::with(&["--unixsocket", path]);
    let (mut monitor, mut client) = (server.raw(), server.raw());
    assert_eq!(monitor.line("MONITOR"), ok());
    let Value::Bulk(info) = client.line("CLIENT INFO") else {
        panic!("CLIENT INFO is a bulk")
    };
    let info = String::from_utf8_lossy(&info).into_owned();
    let address = info
        .split(' ')
        .find_map(|field| field.strip_prefix("addr="));
    let address = address.expect("an address").to_owned();
    let line = |monitor: &mut Raw| match monitor.read() {
        Value::Simple(line) => {
            let (time, rest) = line.split_once(' ').expect("a time");
            let (seconds, micros) = time.split_once('.').expect("seconds and microseconds");
            assert!(seconds.len() == 10 && micros.len() == 6, "{line}");
            rest.to_owned()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        line(&mut monitor),
        format!("[0 {address}] \"CLIENT\" \"INFO\"")
    );
    quiet(&mut client, &["KEYS *"]);
    assert_eq!(line(&mut monitor), format!("[0 {address}] \"KEYS\" \"*\""));
    let mut unix = std::os::unix::net::UnixStream::connect(path).expect("a connection");
    unix.write_all(b"PING\r\n").expect("it reads");
    let mut answer = [0; 7];
    unix.read_exact(&mut answer).expect("an answer");
    assert_eq!(line(&mut monitor), format!("[0 unix:{path}] \"PING\""));
    // QUIT ends it like everything else, and who monitors is no more told.
    assert_eq!(monitor.line("QUIT"), ok());
    quiet(&mut client, &["PING"]);
    assert!(!matches!(monitor.try_read(), Some(Value::Simple(line)) if line.contains("PING")));
    let Value::Bulk(list) = client.line("CLIENT LIST") else {
        panic!("CLIENT LIST is a bulk")
    };
    assert!(!String::from_utf8_lossy(&list).contains("flags=O"));
}

/// Redis 7.0 remembers what a script declares if it reads anything; since 7.2 only what it reads.
#[test]
fn a_script_makes_its_caller_a_reader() {
    let server = Server::start();
    let (mut reader, mut writer) = (server.raw(), server.raw());
    quiet(&mut reader, &["HELLO 3", "CLIENT TRACKING ON OPTIN"]);
    let read = [
        "EVAL",
        "return redis.call('get', 'hidden')",
        "1",
        "declared",
    ];
    let write = [
        "EVAL",
        "return redis.call('set', KEYS[1], 1)",
        "1",
        "declared",
    ];
    assert_eq!(reader.run(&write), ok());
    assert_eq!(reader.run(&read), Value::Null);
    quiet(&mut writer, &["MSET hidden 1 declared 1"]);
    // Only reads count, and only where the client has opted in.
    quiet(&mut reader, &["CLIENT CACHING YES"]);
    assert_eq!(reader.run(&write), ok());
    quiet(&mut writer, &["MSET hidden 1 declared 1"]);
    quiet(&mut reader, &["CLIENT CACHING YES"]);
    assert_eq!(reader.run(&read), bulk("1"));
    quiet(&mut writer, &["MSET hidden 2 declared 2"]);
    assert_eq!(reader.read(), invalid(&["hidden"]));
    quiet(&mut reader, &["PING"]);
    // Its own writes come behind its answer.
    quiet(&mut reader, &["CLIENT CACHING YES", "GET declared"]);
    assert_eq!(reader.run(&write), ok());
    assert_eq!(reader.read(), invalid(&["declared"]));
    assert_eq!(figure(&mut writer, "tracking_total_keys"), "0");
}

#[test]
fn monitors_see_a_script_before_its_commands() {
    let server = Server::start();
    let (mut monitor, mut client) = (server.raw(), server.raw());
    assert_eq!(monitor.line("MONITOR"), ok());
    let script = "redis.call('select', 2); return redis.pcall('lpush', KEYS[1], 'a b')";
    client.run(&["EVAL", script, "1", "k"]);
    quiet(&mut client, &["PING"]);
    let mut read = || match monitor.read() {
        Value::Simple(line) => line.split_once(' ').expect("a time").1.to_owned(),
        other => panic!("{other:?}"),
    };
    let eval = read();
    assert!(eval.contains("\"EVAL\" \"redis.call('select', 2);") && eval.ends_with("\"1\" \"k\""));
    assert_eq!(read(), "[2 lua] \"select\" \"2\"");
    assert_eq!(read(), "[2 lua] \"lpush\" \"k\" \"a b\"");
    assert!(read().ends_with("] \"PING\""));
}

/// A flush that is waited for is over before it answers, and so is what it tells, as in Redis 8; one that goes on in the
/// background, in a transaction or in a script answers first.
#[test]
fn a_flush_tells_its_own_client_before_it_answers() {
    let server = Server::start();
    let mut client = server.raw();
    quiet(&mut client, &["HELLO 3", "CLIENT TRACKING ON"]);
    let all = Value::Push(vec![bulk("invalidate"), Value::Null]);
    for (line, tells_first) in [
        ("FLUSHDB", true),
        ("FLUSHALL SYNC", true),
        ("FLUSHDB ASYNC", false),
        ("EVAL \"return redis.call('FLUSHDB')\" 0", false),
    ] {
        for with_key in [true, false] {
            if with_key {
                quiet(&mut client, &["SET a 1", "GET a"]);
            }
            client.send(format!("{line}\r\n").as_bytes());
            let got = [client.read(), client.read()];
            let wanted = match tells_first {
                true => [all.clone(), ok()],
                false => [ok(), all.clone()],
            };
            assert_eq!(got, wanted, "{line}");
        }
    }
}

/// What is told of an evicted key is longer than the key was, where many are told: that must not have more keys evicted.
#[test]
fn telling_of_evicted_keys_evicts_no_others() {
    const KEYS: usize = 300;
    let server = Server::with(&["--maxmemory-policy", "allkeys-lru"]);
    let mut writer = server.raw();
    let mut readers: Vec<_> = (0..10).map(|_| server.raw()).collect();
    for reader in &mut readers {
        quiet(reader, &["HELLO 3", "CLIENT TRACKING ON"]);
    }
    for number in 0..KEYS {
        let key = format!("{number}{}", "x".repeat(1000));
        quiet(&mut writer, &[&format!("SET {key} x")]);
        for reader in &mut readers {
            quiet(reader, &[&format!("GET {key}")]);
        }
    }
    // The answers' buffers, and what reading has grown, are there before the limit is set.
    let used: u64 = figure(&mut writer, "used_memory").parse().expect("bytes");
    quiet(
        &mut writer,
        &[&format!("CONFIG SET maxmemory {}", used - 40_000)],
    );
    let evicted: usize = figure(&mut writer, "evicted_keys").parse().expect("keys");
    assert!((10..=100).contains(&evicted), "{evicted} keys");
    let left = writer.line("DBSIZE");
    assert!(
        matches!(left, Value::Integer(left) if (200..=290).contains(&left)),
        "{left:?}"
    );
}
