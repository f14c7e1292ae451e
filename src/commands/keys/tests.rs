//! The key and database commands through the checks, against a whole state without sockets.

use crate::commands::testing::{Harness, bulk, check, error, int, ok};
use crate::resp::reader::Value;

const OUT_OF_RANGE: &str = "ERR DB index is out of range";
const SAME: &str = "ERR source and destination objects are the same";

/// The elements of an array of bulks, sorted.
fn sorted(value: &Value) -> Vec<String> {
    let items = value.items().expect("an array");
    let mut names: Vec<String> = items
        .iter()
        .map(|item| String::from_utf8_lossy(item.as_bytes().expect("a string")).into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn presence() {
    check(&[
        ("mset a 1 b 2 c 3", ok()),
        ("exists a a x", int(2)),
        ("touch a x b", int(2)),
        ("type a", Value::Simple("string".into())),
        ("type x", Value::Simple("none".into())),
        ("dbsize", int(3)),
        ("del a x", int(1)),
        ("unlink b c b", int(2)),
        ("dbsize", int(0)),
        ("randomkey", Value::NullBulk),
        ("set only 1", ok()),
        ("randomkey", bulk("only")),
    ]);
}

#[test]
fn names() {
    check(&[
        ("rename a b", error("ERR no such key")),
        ("rename a a", error("ERR no such key")),
        ("mset a 1 b 2", ok()),
        ("expire a 100", int(1)),
        ("rename a a", ok()),
        ("renamenx a a", int(0)),
        ("renamenx a b", int(0)),
        ("rename a b", ok()),
        ("exists a", int(0)),
        ("get b", bulk("1")),
        ("ttl b", int(100)),
        ("renamenx b c", int(1)),
        ("renamenx b c", error("ERR no such key")),
    ]);
}

#[test]
fn databases() {
    check(&[
        ("select 16", error(OUT_OF_RANGE)),
        (
            "select x",
            error("ERR value is not an integer or out of range"),
        ),
        ("set a 1 ex 100", ok()),
        ("move a 0", error(SAME)),
        ("move a 16", error(OUT_OF_RANGE)),
        ("move x 1", int(0)),
        ("copy a a", error(SAME)),
        ("copy a b", int(1)),
        ("copy a b", int(0)),
        ("copy a b replace", int(1)),
        ("ttl b", int(100)),
        ("copy x b", int(0)),
        ("copy a a db 1", int(1)),
        ("copy a a db 16", error(OUT_OF_RANGE)),
        ("copy a b db", error("ERR syntax error")),
        ("move a 1", int(0)),
        ("move a 2", int(1)),
        ("exists a", int(0)),
        ("select 2", ok()),
        ("ttl a", int(100)),
        ("swapdb x 1", error("ERR invalid first DB index")),
        ("swapdb 1 x", error("ERR invalid second DB index")),
        ("swapdb 0 16", error(OUT_OF_RANGE)),
        ("swapdb 0 2", ok()),
        ("get b", bulk("1")),
        ("flushdb bogus", error("ERR syntax error")),
        ("flushdb", ok()),
        ("dbsize", int(0)),
        ("select 0", ok()),
        ("dbsize", int(1)),
        ("flushall async", ok()),
        ("dbsize", int(0)),
        ("flushall sync", ok()),
    ]);
}

#[test]
fn expiry() {
    let mut harness = check(&[
        ("ttl k", int(-2)),
        ("expire k 10", int(0)),
        ("set k v", ok()),
        ("ttl k", int(-1)),
        ("pexpiretime k", int(-1)),
        ("expire k 10", int(1)),
        ("pttl k", int(10_000)),
        ("pexpiretime k", int(1_700_000_010_000)),
        ("expiretime k", int(1_700_000_010)),
        // The greatest time is rounded up to a second as every other.
        ("set late v pxat 9223372036854775807", ok()),
        ("expiretime late", int(9_223_372_036_854_776)),
        ("pexpiretime late", int(i64::MAX)),
        ("expire k 20 nx", int(0)),
        ("expire k 5 gt", int(0)),
        ("expire k 20 xx gt", int(1)),
        ("expire k 30 lt", int(0)),
        ("pexpire k 1500 LT", int(1)),
        ("ttl k", int(2)),
        ("persist k", int(1)),
        ("persist k", int(0)),
        ("expire k 10 gt", int(0)),
        ("expire k 10 lt", int(1)),
        ("expire k 10 foo", error("ERR Unsupported option foo")),
        (
            "expire k x nx",
            error("ERR value is not an integer or out of range"),
        ),
        (
            "expire k 9223372036854775807",
            error("ERR invalid expire time in 'expire' command"),
        ),
        (
            "pexpire k 9223372036854775807",
            error("ERR invalid expire time in 'pexpire' command"),
        ),
        (
            "expireat k 9223372036854775807",
            error("ERR invalid expire time in 'expireat' command"),
        ),
        ("pexpireat k 9223372036854775807", int(1)),
        ("expireat k 1", int(1)),
        ("exists k", int(0)),
        ("set k v px 50", ok()),
    ]);
    harness.advance_ms(49);
    assert_eq!(harness.line("pttl k"), int(1));
    // It lives through its last millisecond, as in Redis.
    harness.advance_ms(1);
    assert_eq!(harness.line("pttl k"), int(0));
    harness.advance_ms(1);
    assert_eq!(harness.line("get k"), Value::NullBulk);
    assert_eq!(harness.line("pttl k"), int(-2));
}

#[test]
fn patterns() {
    let mut harness = check(&[("mset foo 1 bar 2 baz 3 qux 4", ok())]);
    assert_eq!(
        sorted(&harness.line("keys *")),
        ["bar", "baz", "foo", "qux"]
    );
    assert_eq!(sorted(&harness.line("keys ba?")), ["bar", "baz"]);
    assert!(sorted(&harness.line("keys x*")).is_empty());
}

#[test]
fn scanning_sees_every_key() {
    let mut harness = Harness::new();
    for number in 0..1000 {
        harness.line(&format!("set key:{number} {number}"));
    }
    let mut scan = |options: &str| {
        let (mut cursor, mut keys, mut calls) = ("0".to_owned(), Vec::new(), 0);
        loop {
            let answer = harness.line(&format!("scan {cursor}{options}"));
            let items = answer.items().expect("an array");
            cursor = String::from_utf8_lossy(items[0].as_bytes().expect("a cursor")).into_owned();
            keys.extend(sorted(&items[1]));
            calls += 1;
            if cursor == "0" {
                break;
            }
        }
        keys.sort();
        keys.dedup();
        (keys.len(), calls)
    };
    let (all, calls) = scan("");
    assert_eq!(all, 1000);
    assert!(calls > 30, "about ten keys a call, not {}", 1000 / calls);
    assert_eq!(scan(" count 5000").0, 1000);
    assert_eq!(scan(" match key:1?").0, 10);
    assert_eq!(scan(" type string").0, 1000);
    assert_eq!(scan(" type LIST").0, 0);
    for (line, text) in [
        ("scan x", "ERR invalid cursor"),
        ("scan 0 count 0", "ERR syntax error"),
        (
            "scan 0 count x",
            "ERR value is not an integer or out of range",
        ),
        ("scan 0 match", "ERR syntax error"),
    ] {
        assert_eq!(harness.line(line), error(text), "{line}");
    }
}

#[test]
fn objects() {
    let mut harness = check(&[
        ("object encoding x", Value::NullBulk),
        ("set k v", ok()),
        ("object encoding k", bulk("embstr")),
        ("object refcount k", int(1)),
        ("set n 9999", ok()),
        ("object refcount n", int(2_147_483_647)),
        ("incr n", int(10_000)),
        ("object refcount n", int(1)),
        (
            "object bogus k",
            error("ERR unknown subcommand 'bogus'. Try OBJECT HELP."),
        ),
        (
            "object encoding",
            error("ERR wrong number of arguments for 'object|encoding' command"),
        ),
    ]);
    // They count as look-ups: two of k and two of n, and one of x.
    let stats = &harness.state.keyspace.stats;
    assert_eq!((stats.hits, stats.misses), (4, 1));
    harness.advance_ms(7000);
    assert_eq!(harness.line("object idletime k"), int(7));
    harness.line("touch k");
    assert_eq!(harness.line("object idletime k"), int(0));
    let refused = harness.line("object freq k");
    assert!(
        refused
            .as_bytes()
            .is_some_and(|text| text.starts_with(b"ERR An LFU maxmemory policy is not selected"))
    );
    let help = harness.line("object help");
    let lines: Vec<&[u8]> = help
        .items()
        .expect("an array")
        .iter()
        .filter_map(Value::as_bytes)
        .collect();
    assert_eq!(
        lines[0],
        b"OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    );
    assert_eq!(lines[1], b"ENCODING <key>");
    assert_eq!(lines.len(), 11);
}

#[test]
fn each_change_is_told() {
    let mut harness = check(&[("mset a 1 b 2 c 3", ok())]);
    for (line, changes) in [
        ("del x", 0),
        ("del a b", 2),
        ("expire x 5", 0),
        ("expire c 5", 1),
        ("persist c", 1),
        ("persist c", 0),
        ("copy c d", 1),
        ("rename d e", 1),
        ("rename e d", 1),
        ("move d 1", 1),
        ("expire c -1", 1),
        ("swapdb 0 1", 1),
        ("flushall", 1),
        ("touch d", 0),
    ] {
        let before = harness.state.keyspace.dirty;
        harness.line(line);
        assert_eq!(harness.state.keyspace.dirty - before, changes, "{line}");
    }
}

#[test]
fn the_journal_gets_absolute_times() {
    let mut harness = Harness::new();
    harness.line("mset a 1 b 2");
    for (line, expected) in [
        ("expire a 10", &["PEXPIREAT a 1700000010000"][..]),
        ("pexpire a 10 xx", &["PEXPIREAT a 1700000000010 xx"]),
        ("expire a 10 nx", &[]),
        ("expireat a 1700000100", &["PEXPIREAT a 1700000100000"]),
        ("pexpireat a 1700000100000", &[]),
        ("persist a", &[]),
        ("pexpireat a 1", &["DEL a"]),
        ("expire b 0", &["DEL b"]),
    ] {
        assert_eq!(harness.propagated_as(line), expected, "{line}");
    }
}
