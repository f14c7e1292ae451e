//! The string commands through the checks, against a whole state without sockets.

use crate::commands::testing::{Harness, bulk, check, error, int, ok};
use crate::resp::OwnedRequest;
use crate::resp::reader::Value;
use std::sync::Arc;

const SYNTAX: &str = "ERR syntax error";
const NOT_INTEGER: &str = "ERR value is not an integer or out of range";

#[test]
fn get_and_set() {
    let mut harness = check(&[
        ("get k", Value::NullBulk),
        ("set k v", ok()),
        ("get k", bulk("v")),
        ("strlen k", int(1)),
        ("getset k w", bulk("v")),
        ("getdel k", bulk("w")),
        ("getdel k", Value::NullBulk),
        ("exists k", int(0)),
        ("setnx k 1", int(1)),
        ("setnx k 2", int(0)),
        ("mset a 1 b 2 a 3", ok()),
        (
            "mget a x b",
            Value::Array(vec![bulk("3"), Value::NullBulk, bulk("2")]),
        ),
        ("msetnx c 1 a 2", int(0)),
        ("msetnx c 1 c 2", int(1)),
        ("get c", bulk("2")),
        (
            "mset a 1 b",
            error("ERR wrong number of arguments for 'mset' command"),
        ),
        (
            "msetnx a 1 b",
            error("ERR wrong number of arguments for 'msetnx' command"),
        ),
    ]);
    assert_eq!(
        harness.run(&[b"set".as_slice(), b"\0\r\n", b"\xff\0"]),
        ok()
    );
    assert_eq!(
        harness.run(&[b"get".as_slice(), b"\0\r\n"]),
        Value::bulk(b"\xff\0")
    );
}

#[test]
fn set_options() {
    check(&[
        ("set k v xx", Value::NullBulk),
        ("set k v nx", ok()),
        ("set k w NX", Value::NullBulk),
        ("set k w nx get", bulk("v")),
        ("get k", bulk("v")),
        ("set k w xx get", bulk("v")),
        ("set new v get", Value::NullBulk),
        ("get new", bulk("v")),
        ("set k v ex 100", ok()),
        ("ttl k", int(100)),
        ("set k v keepttl", ok()),
        ("pttl k", int(100_000)),
        ("set k v", ok()),
        ("ttl k", int(-1)),
        ("set k v pxat 1700000005000", ok()),
        ("pttl k", int(5000)),
        ("set k v exat 1700000007 exat 1700000009", ok()),
        ("expiretime k", int(1_700_000_009)),
        ("set k v ex", error(SYNTAX)),
        ("set k v nx xx", error(SYNTAX)),
        ("set k v ex 10 px 10", error(SYNTAX)),
        ("set k v ex 10 keepttl", error(SYNTAX)),
        ("set k v persist", error(SYNTAX)),
        ("set k v bogus", error(SYNTAX)),
        (
            "set k v ex 0",
            error("ERR invalid expire time in 'set' command"),
        ),
        ("set k v ex x", error(NOT_INTEGER)),
        (
            "setex k 0 v",
            error("ERR invalid expire time in 'setex' command"),
        ),
        ("setex k 10 v", ok()),
        (
            "psetex k -1 v",
            error("ERR invalid expire time in 'psetex' command"),
        ),
        ("psetex k 1500 v", ok()),
        ("pttl k", int(1500)),
    ]);
}

#[test]
fn set_comparisons() {
    check(&[
        ("set k hello", ok()),
        ("set k world ifeq other", Value::NullBulk),
        ("set k world IFEQ hello", ok()),
        ("set k x ifne world", Value::NullBulk),
        ("set k x ifne other get", bulk("world")),
        ("get k", bulk("x")),
        ("set k y ifeq nope get", bulk("x")),
        ("set none v ifeq x", Value::NullBulk),
        ("exists none", int(0)),
        ("set none v ifne x", ok()),
        ("set k 12", ok()),
        ("set k 13 ifeq 12 ex 10", ok()),
        ("ttl k", int(10)),
        ("set k v ifeq a nx", error(SYNTAX)),
        ("set k v xx ifne a", error(SYNTAX)),
        ("set k v ifeq a ifne b", error(SYNTAX)),
        ("set k v ifeq", error(SYNTAX)),
        ("set k abc", ok()),
        ("digest k", bulk("78af5f94892f3950")),
        ("digest missing", Value::NullBulk),
        ("set k v ifdeq 78af5f94892f3951", Value::NullBulk),
        ("set k v ifdne 78af5f94892f3950", Value::NullBulk),
        (
            "set k v ifdeq 1234",
            error("ERR must be exactly 16 hexadecimal characters"),
        ),
        ("set k v ifdeq 78AF5F94892F3950", ok()),
        ("delex k ifeq x", int(0)),
        (
            "delex k what x",
            error("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"),
        ),
        (
            "delex k ifeq",
            error("ERR wrong number of arguments for 'delex' command"),
        ),
        ("delex k ifeq v", int(1)),
        ("delex k ifeq", int(0)),
        ("set k v", ok()),
        ("delex k", int(1)),
    ]);
}

#[test]
fn msetex() {
    check(&[
        ("msetex 2 a 1 b 2 ex 10", int(1)),
        ("ttl b", int(10)),
        ("msetex 2 a 3 c 4 nx", int(0)),
        ("msetex 2 a 3 c 4 xx", int(0)),
        ("get a", bulk("1")),
        ("msetex 1 a 3 keepttl xx", int(1)),
        ("ttl a", int(10)),
        ("msetex 1 a 3", int(1)),
        ("ttl a", int(-1)),
        ("msetex x a 1", error("ERR invalid numkeys value")),
        ("msetex 0 a 1", error("ERR invalid numkeys value")),
        ("msetex 2147483648 a 1", error("ERR invalid numkeys value")),
        (
            "msetex 2 a 1 b",
            error("ERR wrong number of key-value pairs"),
        ),
        ("msetex 1 a 1 get", error(SYNTAX)),
        ("msetex 1 a 1 nx xx", error(SYNTAX)),
        (
            "msetex 1 a 1 ex 0",
            error("ERR invalid expire time in 'msetex' command"),
        ),
    ]);
}

#[test]
fn getex_changes_the_expiry() {
    check(&[
        ("getex k", Value::NullBulk),
        ("set k v", ok()),
        ("getex k ex 10", bulk("v")),
        ("ttl k", int(10)),
        ("getex k", bulk("v")),
        ("ttl k", int(10)),
        ("getex k persist", bulk("v")),
        ("ttl k", int(-1)),
        (
            "getex k ex 0",
            error("ERR invalid expire time in 'getex' command"),
        ),
        ("getex k keepttl", error(SYNTAX)),
        ("getex k persist ex 5", error(SYNTAX)),
        ("getex missing ex 0", Value::NullBulk),
        ("getex k pxat 1000", bulk("v")),
        ("exists k", int(0)),
    ]);
}

#[test]
fn counting() {
    check(&[
        ("incr n", int(1)),
        ("incrby n 41", int(42)),
        ("decr n", int(41)),
        ("decrby n 1", int(40)),
        ("object encoding n", bulk("int")),
        ("set n 9223372036854775807", ok()),
        ("incr n", error("ERR increment or decrement would overflow")),
        ("get n", bulk("9223372036854775807")),
        (
            "decrby n -9223372036854775808",
            error("ERR decrement would overflow"),
        ),
        ("incrby n 1.5", error(NOT_INTEGER)),
        ("set n 011", ok()),
        ("incr n", error(NOT_INTEGER)),
        ("set n 1 ex 50", ok()),
        ("incr n", int(2)),
        ("ttl n", int(50)),
        ("append n 1", int(2)),
        ("incr n", int(22)),
        ("incrbyfloat f 10.5", bulk("10.5")),
        ("incrbyfloat f 0.1", bulk("10.6")),
        ("incrbyfloat f x", error("ERR value is not a valid float")),
        (
            "incrbyfloat f inf",
            error("ERR increment would produce NaN or Infinity"),
        ),
        ("incrbyfloat n 1.5", bulk("23.5")),
        ("ttl n", int(50)),
    ]);
}

#[test]
fn parts() {
    check(&[
        ("setrange k 0 ", int(0)),
        ("exists k", int(0)),
        ("setrange k 2 ab", int(4)),
        ("get k", Value::bulk(b"\0\0ab")),
        ("object encoding k", bulk("raw")),
        ("setrange k 0 ", int(4)),
        ("setrange k -1 x", error("ERR offset is out of range")),
        ("setrange k x x", error(NOT_INTEGER)),
        (
            "setrange k 536870912 x",
            error("ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ),
        (
            "setrange none 9223372036854775807 x",
            error("ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ),
        ("set n 1234", ok()),
        ("getrange n 1 -2", bulk("23")),
        ("substr n 0 0", bulk("1")),
        ("setrange n 1 9", int(4)),
        ("get n", bulk("1934")),
        ("append a hello", int(5)),
        ("append a -world", int(11)),
        ("get a", bulk("hello-world")),
        ("append d 12", int(2)),
        ("object encoding d", bulk("int")),
        ("append d 3", int(3)),
        ("object encoding d", bulk("raw")),
        ("getrange missing 0 -1", bulk("")),
    ]);
}

#[test]
fn encodings() {
    let mut harness = check(&[
        ("set n -9223372036854775808", ok()),
        ("object encoding n", bulk("int")),
        ("set n 0001", ok()),
        ("object encoding n", bulk("embstr")),
    ]);
    for (len, encoding) in [(44, "embstr"), (45, "raw")] {
        assert_eq!(harness.run(&["set", "s", &"x".repeat(len)]), ok());
        assert_eq!(harness.line("object encoding s"), bulk(encoding));
    }
}

#[test]
fn a_long_argument_is_kept_and_answered_without_a_copy() {
    let mut harness = Harness::new();
    let blob = Arc::new(vec![b'x'; 100_000]);
    let mut request = OwnedRequest::from_slices(&["set", "k"]);
    request.push_blob(Arc::clone(&blob));
    assert_eq!(harness.run_request(&request), ok());
    drop(request);
    assert_eq!(
        Arc::strong_count(&blob),
        2,
        "the keyspace holds the argument itself"
    );
    assert_eq!(harness.line("get k"), Value::bulk(blob.as_slice()));
    assert_eq!(harness.line("append k y"), int(100_001));
    assert_eq!(
        blob.len(),
        100_000,
        "a shared buffer is not changed in place"
    );
}

#[test]
fn common_subsequence() {
    let pair = |a: i64, b: i64| Value::Array(vec![int(a), int(b)]);
    let found = |a: (i64, i64), b: (i64, i64)| vec![pair(a.0, a.1), pair(b.0, b.1)];
    let (first, second) = (found((4, 7), (5, 8)), found((2, 3), (0, 1)));
    let with_len = Value::Array([first.clone(), vec![int(4)]].concat());
    let matches = Value::Array(vec![Value::Array(first), Value::Array(second)]);
    let mut harness = check(&[
        ("mset a ohmytext b mynewtext", ok()),
        ("lcs a b", bulk("mytext")),
        ("lcs a b len", int(6)),
        ("lcs a missing", bulk("")),
        (
            "lcs a b idx",
            Value::Array(vec![bulk("matches"), matches.clone(), bulk("len"), int(6)]),
        ),
        (
            "lcs a b idx minmatchlen 4 withmatchlen",
            Value::Array(vec![
                bulk("matches"),
                Value::Array(vec![with_len]),
                bulk("len"),
                int(6),
            ]),
        ),
        (
            "lcs a b idx len",
            error("ERR If you want both the length and indexes, please just use IDX."),
        ),
        ("lcs a b bogus", error(SYNTAX)),
        ("lcs a b minmatchlen", error(SYNTAX)),
    ]);
    harness.resp3();
    let map = Value::Map(vec![(bulk("matches"), matches), (bulk("len"), int(6))]);
    assert_eq!(harness.line("lcs a b idx"), map);
}

#[test]
fn each_change_is_told_once() {
    let mut harness = Harness::new();
    for (line, changes) in [
        ("set k v", 1),
        ("set k v ex 10", 1),
        ("set k v nx", 0),
        ("mset a 1 b 2", 2),
        ("incr n", 1),
        ("get k", 0),
        ("getex k", 0),
        ("getex k persist", 1),
        ("getex k persist", 0),
        ("append k ", 1),
        ("setrange k 0 ", 0),
        ("getdel k", 1),
        ("getdel k", 0),
        ("set k v ifeq x", 0),
        ("incrby n x", 0),
    ] {
        let before = harness.state.keyspace.dirty;
        harness.line(line);
        assert_eq!(harness.state.keyspace.dirty - before, changes, "{line}");
    }
}

/// The journal's reader has another clock, and may have other values: it gets results.
#[test]
fn the_journal_gets_what_depends_on_nothing() {
    let mut harness = Harness::new();
    harness.line("mset a v b w n 10 f 1.5");
    for (line, expected) in [
        ("set a v", &[][..]),
        ("set a v xx", &[]),
        ("set a v keepttl", &[]),
        ("set a v ex 10", &["SET a v PXAT 1700000010000"]),
        ("set a v px 10 xx get", &["SET a v PXAT 1700000000010"]),
        ("set a v exat 1700000100", &["SET a v PXAT 1700000100000"]),
        ("set a v get", &["SET a v"]),
        ("set a v nx get", &[]),
        ("set a v xx get keepttl", &["SET a v XX KEEPTTL"]),
        ("set a w ifeq v", &["SET a w"]),
        ("set a w ifeq v", &[]),
        ("setex a 10 v", &["SET a v PXAT 1700000010000"]),
        ("psetex a 10 v", &["SET a v PXAT 1700000000010"]),
        (
            "msetex 2 a v b w ex 1",
            &["MSETEX 2 a v b w PXAT 1700000001000"],
        ),
        ("getex a", &[]),
        ("getex a ex 10", &["PEXPIREAT a 1700000010000"]),
        ("getex a persist", &["PERSIST a"]),
        ("getex a persist", &[]),
        ("getex a exat 1", &["DEL a"]),
        ("getset a v", &["SET a v"]),
        ("getdel a", &["DEL a"]),
        ("getdel a", &[]),
        ("delex b ifeq w", &["DEL b"]),
        ("incr n", &[]),
        ("incrbyfloat f 0.25", &["SET f 1.75 KEEPTTL"]),
    ] {
        assert_eq!(harness.propagated_as(line), expected, "{line}");
    }
}
