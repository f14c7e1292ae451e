//! Data goes from Redis to gyre and back, as snapshots and as append-only files, and stays the same.

mod common;

use common::redis_server::Redis;
use common::{Raw, Server};
use gyre::resp::reader::Value;
use std::fs;
use std::time::{Duration, Instant};

/// Every type in every encoding.
fn fill(raw: &mut Raw) {
    let mut run = |words: &[&str]| {
        raw.command(words);
        let answer = raw.read();
        assert!(!matches!(answer, Value::Error(_)), "{words:?}: {answer:?}");
    };
    let line = |text: &'static str| text.split(' ').collect::<Vec<_>>();
    for text in [
        "SET int 12345",
        "SET negative -99999999999",
        "SET short hello",
        "SET volatile x PXAT 9999999999999",
        "SETRANGE raw 3 abc",
        "RPUSH list a b 3 4 -5 70000 5000000000",
        "SADD ints16 1 2 3",
        "SADD ints32 1 70000",
        "SADD ints64 1 -5000000000",
        "SADD words a b c",
        "HSET hash f v g 7",
        // No score that Redis 7.0 and 8.0 spell differently in a digest.
        "ZADD zset 1 a 2.5 b -inf c +inf d 12345678 e",
        "XADD stream 1-1 f v",
        "XADD stream 2-1 f v g w",
        "XADD stream 3-1 f v",
        "XDEL stream 2-1",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group alice COUNT 1 STREAMS stream >",
        "XGROUP CREATECONSUMER stream group bob",
        "XADD empty MAXLEN 0 5-5 f v",
        "PFADD hll a b c",
        "SETBIT bits 100000 1",
        "GEOADD geo 13.361389 38.115556 Palermo",
        "CONFIG SET list-compress-depth 1",
        "CONFIG SET list-max-listpack-size 4",
    ] {
        run(&line(text));
    }
    let long = "y".repeat(3000);
    run(&["SET", "compressible", &long]);
    run(&["HSET", "longhash", "f", &long]);
    run(&["SET", "binary", "\u{1}\u{0}\r\n"]);
    for index in 0..300 {
        let number = index.to_string();
        let member = format!("m{index}");
        run(&["RPUSH", "biglist", &format!("{index}{long}"), &number]);
        run(&["HSET", "bighash", &member, &number]);
        run(&["HSET", "bighash2", &number, &long]);
        run(&["SADD", "bigset", &member]);
        run(&["ZADD", "bigzset", &format!("{index}.5"), &member]);
        run(&[
            "XADD",
            "bigstream",
            &format!("{}-1", index + 1),
            "f",
            &member,
        ]);
    }
    run(&["SELECT", "9"]);
    run(&["SET", "other", "1"]);
    run(&["SELECT", "0"]);
}

fn digest(raw: &mut Raw) -> String {
    match raw.line("DEBUG DIGEST") {
        Value::Simple(text) => text,
        Value::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn snapshots_go_both_ways() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dump.rdb");
    let before = {
        let Some(redis) = Redis::start(directory.path(), &[]) else {
            return;
        };
        let mut raw = redis.raw();
        fill(&mut raw);
        assert_eq!(raw.line("SAVE"), Value::Simple("OK".into()));
        digest(&mut raw)
    };
    let dir = directory.path().to_str().expect("a plain path");
    {
        let server = Server::with(&["--dir", dir]);
        let mut raw = server.raw();
        assert_eq!(digest(&mut raw), before, "loaded by gyre");
        fs::remove_file(&path).expect("the snapshot");
        assert_eq!(raw.line("SAVE"), Value::Simple("OK".into()));
    }
    let redis = Redis::start(directory.path(), &[]).expect("it was there");
    assert_eq!(digest(&mut redis.raw()), before, "loaded by Redis again");
}

#[test]
fn append_only_files_go_both_ways() {
    for preamble in ["yes", "no"] {
        let directory = tempfile::tempdir().expect("a directory");
        let on: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
        let before = {
            let Some(redis) = Redis::start(directory.path(), on) else {
                return;
            };
            let mut raw = redis.raw();
            fill(&mut raw);
            digest(&mut raw)
        };
        let dir = directory.path().to_str().expect("a plain path");
        {
            let mut directives = on.to_vec();
            directives.extend(["--dir", dir, "--aof-use-rdb-preamble", preamble]);
            let server = Server::with(&directives);
            let mut raw = server.raw();
            assert_eq!(digest(&mut raw), before, "loaded by gyre");
            raw.line("BGREWRITEAOF");
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                let Value::Bulk(page) = raw.line("INFO persistence") else {
                    panic!("INFO answers a bulk")
                };
                let page = String::from_utf8_lossy(&page).into_owned();
                if page.contains("aof_rewrite_in_progress:0") {
                    assert!(page.contains("aof_last_bgrewrite_status:ok"), "{page}");
                    break;
                }
                assert!(Instant::now() < deadline, "the rewrite does not end");
                std::thread::sleep(Duration::from_millis(5));
            }
            raw.line("SET after rewrite");
            raw.line("DEL after");
        }
        let redis = Redis::start(directory.path(), on).expect("it was there");
        assert_eq!(
            digest(&mut redis.raw()),
            before,
            "preamble {preamble}: loaded by Redis again"
        );
    }
}
