//! Functions of a whole server: they outlive it, they go to Redis and back, and one that runs for too long can be ended.
//!
//! What needs `redis-server` on the PATH says so and passes without it.

mod common;

use common::redis_server::Redis;
use common::{Raw, Server, wait_for};
use gyre::resp::reader::Value;

/// Two libraries; one has long code (which a snapshot compresses), every flag and a description.
fn load(raw: &mut Raw) {
    let counter = "#!lua name=counter\n\
        local calls = 0\n\
        redis.register_function('count', function(keys, args)\n\
        calls = calls + 1\n\
        redis.call('SET', keys[1], args[1])\n\
        return calls\n\
        end)";
    let padding = format!("-- {}\n", "pad ".repeat(100));
    let reader = "redis.register_function{function_name='get', description='reads \u{e9}',\n\
        callback=function(keys) return redis.call('GET', keys[1]) end,\n\
        flags={'no-writes', 'allow-oom', 'allow-stale', 'no-cluster', 'allow-cross-slot-keys'}}";
    let reader = format!("#!lua name=reader\n{padding}{reader}");
    for (name, code) in [("counter", counter), ("reader", &reader)] {
        let answer = raw.run(&["FUNCTION", "LOAD", code]);
        assert_eq!(answer, Value::bulk(name));
    }
    assert_eq!(call(raw, "7"), Value::Integer(1));
}

fn call(raw: &mut Raw, value: &str) -> Value {
    raw.run(&["FCALL", "count", "1", "key", value])
}

/// All that FUNCTION LIST tells, in an order of its own: Redis lists in the order of a hash table.
fn listed(raw: &mut Raw) -> Vec<Value> {
    match raw.line("FUNCTION LIST WITHCODE") {
        Value::Array(mut libraries) => {
            libraries.sort_by_key(|library| format!("{library:?}"));
            assert_eq!(libraries.len(), 2);
            libraries
        }
        other => panic!("{other:?}"),
    }
}

/// The libraries are there and run, each anew.
fn check(raw: &mut Raw, before: &[Value]) {
    assert_eq!(listed(raw), before);
    assert_eq!(raw.line("FCALL_RO get 1 key"), Value::bulk("7"));
    assert_eq!(call(raw, "7"), Value::Integer(1), "its state began anew");
    assert_eq!(call(raw, "7"), Value::Integer(2));
}

#[test]
fn libraries_outlive_the_server() {
    let appends: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
    let plain = [appends, &["--aof-use-rdb-preamble", "no"]].concat();
    for directives in [&[][..], appends, &plain] {
        let mut server = Server::with(directives);
        let mut raw = server.raw();
        load(&mut raw);
        let before = listed(&mut raw);
        assert_eq!(raw.line("FLUSHALL"), Value::Simple("OK".into()));
        assert_eq!(call(&mut raw, "7"), Value::Integer(2), "FLUSHALL keeps it");
        if directives.is_empty() {
            assert_eq!(raw.line("SAVE"), Value::Simple("OK".into()));
        }
        server.start_again();
        let mut raw = server.raw();
        check(&mut raw, &before);
        if !directives.is_empty() {
            // As the commands that loaded them; now as a new base.
            rewrite(&mut raw);
            server.start_again();
            let mut raw = server.raw();
            check(&mut raw, &before);
            assert_eq!(
                raw.line("FUNCTION DELETE reader"),
                Value::Simple("OK".into())
            );
            server.start_again();
            let mut raw = server.raw();
            assert!(matches!(raw.line("FUNCTION LIST"), Value::Array(all) if all.len() == 1));
            assert_eq!(raw.line("FUNCTION FLUSH"), Value::Simple("OK".into()));
            server.start_again();
            assert_eq!(server.raw().line("FUNCTION LIST"), Value::Array(vec![]));
        }
    }
}

fn rewrite(raw: &mut Raw) {
    raw.line("BGREWRITEAOF");
    wait_for("the rewrite", || {
        let Value::Bulk(page) = raw.line("INFO persistence") else {
            panic!("INFO answers a bulk")
        };
        let page = String::from_utf8_lossy(&page).into_owned();
        page.contains("aof_rewrite_in_progress:0") && page.contains("aof_last_bgrewrite_status:ok")
    });
}

/// What a function did is written, not that it was called.
#[test]
fn effects_go_to_the_file() {
    let server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    load(&mut server.raw());
    let directory = server.dir.path().join("appendonlydir");
    let file = std::fs::read_dir(directory)
        .expect("a directory")
        .filter_map(Result::ok)
        .find(|file| file.file_name().to_string_lossy().contains(".incr."))
        .expect("an incremental file");
    let text = std::fs::read(file.path()).expect("its bytes");
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("FUNCTION") && text.contains("SET\r\n$3\r\nkey\r\n$1\r\n7"));
    assert!(!text.contains("FCALL"));
}

#[test]
fn dumps_go_both_ways() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(redis) = Redis::start(directory.path(), &[]) else {
        return;
    };
    let server = Server::start();
    let (mut theirs, mut ours) = (redis.raw(), server.raw());
    load(&mut theirs);
    let before = listed(&mut theirs);
    let Value::Bulk(dump) = theirs.line("FUNCTION DUMP") else {
        panic!("a dump is a bulk")
    };
    ours.line("SET key 7");
    assert_eq!(
        ours.run(&[b"FUNCTION", &b"RESTORE"[..], &dump]),
        Value::Simple("OK".into())
    );
    check(&mut ours, &before);
    let Value::Bulk(dump) = ours.line("FUNCTION DUMP") else {
        panic!("a dump is a bulk")
    };
    theirs.line("FUNCTION FLUSH");
    assert_eq!(
        theirs.run(&[b"FUNCTION", &b"RESTORE"[..], &dump]),
        Value::Simple("OK".into())
    );
    check(&mut theirs, &before);
}

#[test]
fn files_go_both_ways() {
    let appends: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
    for directives in [&[][..], appends] {
        let directory = tempfile::tempdir().expect("a directory");
        let dir = directory.path().to_str().expect("a plain path");
        let saves = |raw: &mut Raw| {
            if directives.is_empty() {
                assert_eq!(raw.line("SAVE"), Value::Simple("OK".into()));
            }
        };
        let before = {
            let Some(redis) = Redis::start(directory.path(), directives) else {
                return;
            };
            let mut raw = redis.raw();
            load(&mut raw);
            saves(&mut raw);
            listed(&mut raw)
        };
        {
            let server = Server::with(&[directives, &["--dir", dir]].concat());
            let mut raw = server.raw();
            check(&mut raw, &before);
            if directives.is_empty() {
                saves(&mut raw);
            } else {
                rewrite(&mut raw);
            }
        }
        let redis = Redis::start(directory.path(), directives).expect("it was there");
        check(&mut redis.raw(), &before);
    }
}

#[test]
fn a_function_that_never_ends_is_killed() {
    let server = Server::with(&["--busy-reply-threshold", "20"]);
    let (mut busy, mut other) = (server.raw(), server.raw());
    let code = "#!lua name=endless\n\
        redis.register_function{function_name='spin', flags={'no-writes'},\n\
        callback=function() while true do end end}\n\
        redis.register_function('write', function(keys) redis.call('SET', keys[1], 1) while true do end end)";
    busy.run(&["FUNCTION", "LOAD", code]);
    assert_eq!(
        other.line("FUNCTION KILL"),
        Value::Error(b"NOTBUSY No scripts in execution right now.".to_vec())
    );
    busy.command(&["FCALL", "spin", "0", "a"]);
    let expected =
        b"BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
    wait_for("BUSY", || match other.line("PING") {
        Value::Error(text) => {
            assert_eq!(text, expected, "{}", String::from_utf8_lossy(&text));
            true
        }
        _ => false,
    });
    let Value::Array(stats) = other.line("FUNCTION STATS") else {
        panic!("STATS answers while a function runs")
    };
    let Value::Array(running) = &stats[1] else {
        panic!("{stats:?}")
    };
    assert_eq!(running[1], Value::bulk("spin"));
    let words = ["FCALL", "spin", "0", "a"].map(Value::bulk);
    assert_eq!(running[3], Value::Array(words.to_vec()));
    assert!(matches!(running[5], Value::Integer(ms) if ms >= 20));
    assert_eq!(other.line("SCRIPT KILL"), Value::Error(expected.to_vec()));
    assert_eq!(other.line("FUNCTION KILL"), Value::Simple("OK".into()));
    match busy.read() {
        Value::Error(text) => {
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(text.contains("Script killed by user"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(other.line("PING"), Value::Simple("PONG".into()));

    // One that has written is not ended halfway.
    busy.command(&["FCALL", "write", "1", "key"]);
    wait_for("BUSY", || matches!(other.line("PING"), Value::Error(_)));
    match other.line("FUNCTION KILL") {
        Value::Error(text) => assert!(text.starts_with(b"UNKILLABLE")),
        other => panic!("{other:?}"),
    }
    other.command(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(other.read_unless_gone(), None);
}
