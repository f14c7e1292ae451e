//! The list commands as clients see them.

use crate::commands::testing::{Harness, bulk, check, error, int, ok};
use crate::resp::reader::Value;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

fn array(items: &[&str]) -> Value {
    Value::Array(items.iter().map(|item| bulk(item)).collect())
}

fn numbers(items: &[i64]) -> Value {
    Value::Array(items.iter().map(|item| int(*item)).collect())
}

/// A key with its popped elements.
fn popped(key: &str, items: &[&str]) -> Value {
    Value::Array(vec![bulk(key), array(items)])
}

#[test]
fn pushes_and_pops() {
    check(&[
        ("LPUSH l a b", int(2)),
        ("RPUSH l 1 2", int(4)),
        ("LRANGE l 0 -1", array(&["b", "a", "1", "2"])),
        ("LRANGE l -3 2", array(&["a", "1"])),
        ("LRANGE l 2 1", array(&[])),
        ("LRANGE l 4 9", array(&[])),
        ("LRANGE none 0 -1", array(&[])),
        ("LLEN l", int(4)),
        ("LLEN none", int(0)),
        ("LPUSHX none a", int(0)),
        ("RPUSHX l c", int(5)),
        ("LPUSHX l d", int(6)),
        ("LPOP l", bulk("d")),
        ("RPOP l 2", array(&["c", "2"])),
        ("LPOP l 0", array(&[])),
        ("LPOP l 99", array(&["b", "a", "1"])),
        ("EXISTS l", int(0)),
        ("LPOP l", Value::NullBulk),
        ("LPOP l 1", Value::NullArray),
        ("OBJECT ENCODING none", Value::NullBulk),
        ("RPUSH l x", int(1)),
        ("OBJECT ENCODING l", bulk("listpack")),
        ("TYPE l", Value::Simple("list".into())),
    ]);
}

#[test]
fn errors_come_in_redis_order() {
    let not_integer = "ERR value is not an integer or out of range";
    let not_positive = "ERR value is out of range, must be positive";
    check(&[
        ("SET s x", ok()),
        ("LPUSH s a", error(WRONG_TYPE)),
        ("RPUSHX s a", error(WRONG_TYPE)),
        ("LLEN s", error(WRONG_TYPE)),
        ("LRANGE s 0 x", error(not_integer)),
        ("LRANGE s 0 0", error(WRONG_TYPE)),
        ("LINDEX none x", Value::NullBulk),
        ("LINDEX s x", error(WRONG_TYPE)),
        ("LSET none x y", error("ERR no such key")),
        ("LSET s x y", error(WRONG_TYPE)),
        ("LPOP s", error(WRONG_TYPE)),
        ("LPOP s -1", error(not_positive)),
        ("LPOP s x", error(not_positive)),
        ("LPOP s 0", error(WRONG_TYPE)),
        (
            "RPOP s 1 2",
            error("ERR wrong number of arguments for 'rpop' command"),
        ),
        ("LREM s x y", error(not_integer)),
        ("LREM s 1 y", error(WRONG_TYPE)),
        ("LTRIM s 0 0", error(WRONG_TYPE)),
        ("LINSERT s middle a b", error("ERR syntax error")),
        ("LINSERT s before a b", error(WRONG_TYPE)),
        ("LINSERT none before a b", int(0)),
        ("LMOVE s t left up", error("ERR syntax error")),
        ("LMOVE s t left right", error(WRONG_TYPE)),
        ("LMOVE none s left right", Value::NullBulk),
        ("RPUSH l a", int(1)),
        ("LINDEX l x", error(not_integer)),
        ("LSET l x y", error(not_integer)),
        ("LSET l 1 y", error("ERR index out of range")),
        ("LSET l -2 y", error("ERR index out of range")),
        ("LMOVE l s left right", error(WRONG_TYPE)),
        ("RPOPLPUSH l s", error(WRONG_TYPE)),
        ("LRANGE l 0 -1", array(&["a"])),
        (
            "BLPOP s x",
            error("ERR timeout is not a float or out of range"),
        ),
        ("BLPOP s -1", error("ERR timeout is negative")),
        // As Redis reads them: with the range of a long double.
        ("BLPOP l 1e-400", array(&["l", "a"])),
        ("BLPOP none s -0.0009", error(WRONG_TYPE)),
        ("BLPOP s -inf", error("ERR timeout is negative")),
        ("BLPOP s inf", error("ERR timeout is out of range")),
        (
            "BLPOP s 9223372036854775",
            error("ERR timeout is out of range"),
        ),
        (
            "BLPOP s nan",
            error("ERR timeout is not a float or out of range"),
        ),
        ("RPUSH l a", int(1)),
        ("BLPOP none s 0", error(WRONG_TYPE)),
        ("BRPOP s 0", error(WRONG_TYPE)),
        ("BLMOVE s t left x 0", error("ERR syntax error")),
        ("BLMOVE l s left left 0", error(WRONG_TYPE)),
        ("BRPOPLPUSH l s 0", error(WRONG_TYPE)),
    ]);
}

#[test]
fn edits() {
    check(&[
        ("RPUSH l a b c a b c a", int(7)),
        ("LSET l -1 z", ok()),
        ("LSET l 0 12", ok()),
        ("LINDEX l 0", bulk("12")),
        ("LINDEX l -1", bulk("z")),
        ("LINDEX l 7", Value::NullBulk),
        ("LINSERT l BEFORE b x", int(8)),
        ("LINSERT l AFTER 12 y", int(9)),
        ("LINSERT l AFTER none y", int(-1)),
        (
            "LRANGE l 0 -1",
            array(&["12", "y", "x", "b", "c", "a", "b", "c", "z"]),
        ),
        ("LREM l -1 b", int(1)),
        ("LREM l 0 c", int(2)),
        ("LREM l 1 none", int(0)),
        ("LRANGE l 0 -1", array(&["12", "y", "x", "b", "a", "z"])),
        ("LTRIM l 1 -2", ok()),
        ("LRANGE l 0 -1", array(&["y", "x", "b", "a"])),
        ("LTRIM l -100 100", ok()),
        ("LLEN l", int(4)),
        ("LTRIM l 5 9", ok()),
        ("EXISTS l", int(0)),
        ("LTRIM l 0 0", ok()),
        ("LREM l 0 a", int(0)),
        ("RPUSH l a a", int(2)),
        ("LREM l -5 a", int(2)),
        ("EXISTS l", int(0)),
    ]);
}

#[test]
fn positions() {
    check(&[
        ("RPUSH l a b c 1 2 3 c c", int(8)),
        ("LPOS l a", int(0)),
        ("LPOS l c", int(2)),
        ("LPOS l 3", int(5)),
        ("LPOS l x", Value::NullBulk),
        ("LPOS l c RANK 2", int(6)),
        ("LPOS l c RANK -1", int(7)),
        ("LPOS l c RANK 4", Value::NullBulk),
        ("LPOS l c COUNT 0", numbers(&[2, 6, 7])),
        ("LPOS l c COUNT 2 RANK 2", numbers(&[6, 7])),
        ("LPOS l c COUNT 2 RANK -1", numbers(&[7, 6])),
        ("LPOS l c COUNT 0 MAXLEN 3", numbers(&[2])),
        ("LPOS l c MAXLEN 2", Value::NullBulk),
        ("LPOS l c RANK -1 MAXLEN 1", int(7)),
        ("LPOS l x COUNT 0", array(&[])),
        ("LPOS none x COUNT 0", array(&[])),
        ("LPOS none x", Value::NullBulk),
        ("LPOS l c COUNT", error("ERR syntax error")),
        ("LPOS l c OTHER 1", error("ERR syntax error")),
        ("LPOS l c COUNT -1", error("ERR COUNT can't be negative")),
        ("LPOS l c MAXLEN x", error("ERR MAXLEN can't be negative")),
        (
            "LPOS l c RANK 0",
            error(
                "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
            ),
        ),
        (
            "LPOS l c RANK -9223372036854775808",
            error(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
        ),
    ]);
}

#[test]
fn moves() {
    check(&[
        ("RPUSH a 1 2 3", int(3)),
        ("LMOVE a b LEFT right", bulk("1")),
        ("RPOPLPUSH a b", bulk("3")),
        ("LRANGE b 0 -1", array(&["3", "1"])),
        ("LMOVE b b left right", bulk("3")),
        ("LRANGE b 0 -1", array(&["1", "3"])),
        ("LMOVE a b right left", bulk("2")),
        ("EXISTS a", int(0)),
        ("RPUSH one x", int(1)),
        ("RPOPLPUSH one one", bulk("x")),
        ("LRANGE one 0 -1", array(&["x"])),
        ("BRPOPLPUSH one two 0", bulk("x")),
        ("BLMOVE two one left left 0", bulk("x")),
        ("EXISTS two", int(0)),
        ("LMOVE none a left left", Value::NullBulk),
    ]);
}

#[test]
fn pops_from_the_first_of_several() {
    let syntax = "ERR syntax error";
    check(&[
        ("RPUSH b 1 2 3 4", int(4)),
        ("LMPOP 2 a b LEFT", popped("b", &["1"])),
        ("LMPOP 2 a b right COUNT 2", popped("b", &["4", "3"])),
        ("BLMPOP 0 1 b LEFT COUNT 9", popped("b", &["2"])),
        ("LMPOP 2 a b LEFT", Value::NullArray),
        ("RPUSH b x", int(1)),
        ("BLPOP a b 0", array(&["b", "x"])),
        ("RPUSH b x y", int(2)),
        ("BRPOP b a 0.5", array(&["b", "y"])),
        (
            "LMPOP 0 a LEFT",
            error("ERR numkeys should be greater than 0"),
        ),
        (
            "LMPOP x a LEFT",
            error("ERR numkeys should be greater than 0"),
        ),
        ("LMPOP 9 a LEFT", error(syntax)),
        ("LMPOP 9223372036854775807 a LEFT", error(syntax)),
        ("LMPOP 1 a UP", error(syntax)),
        ("LMPOP 1 a LEFT COUNT", error(syntax)),
        (
            "LMPOP 1 a LEFT COUNT 0",
            error("ERR count should be greater than 0"),
        ),
        ("LMPOP 1 a LEFT COUNT 1 COUNT 2", error(syntax)),
        ("LMPOP 1 a LEFT MANY 2", error(syntax)),
        ("SET s x", ok()),
        ("LMPOP 2 a s LEFT", error(WRONG_TYPE)),
        ("LMPOP 2 b s LEFT", popped("b", &["x"])),
        ("BLMPOP -1 1 s LEFT", error("ERR timeout is negative")),
        (
            "BLMPOP -1 0 s LEFT",
            error("ERR numkeys should be greater than 0"),
        ),
    ]);
}

#[test]
fn the_journal_gets_what_it_came_down_to() {
    let mut harness = check(&[("RPUSH l a b c d e f g", int(7))]);
    for (line, propagated_as) in [
        ("BLPOP none l 0", "LPOP l"),
        ("BRPOP l 0", "RPOP l"),
        ("BRPOPLPUSH l m 0", "RPOPLPUSH l m"),
        ("BLMOVE l m LEFT right 0", "LMOVE l m LEFT right"),
        ("LMPOP 2 none l left COUNT 2", "LPOP l 2"),
        ("BLMPOP 0 1 m right COUNT 9", "RPOP m 2"),
    ] {
        assert_eq!(harness.propagated_as(line), [propagated_as], "{line}");
    }
    assert_eq!(harness.propagated_as("BLPOP none 0"), Vec::<String>::new());
}

#[test]
fn nodes_follow_the_directives() {
    let mut harness = Harness::new();
    let arguments = ["--enable-debug-command", "yes"].map(Into::into);
    harness.state.config = crate::config::Config::load(&arguments, &mut || Ok(Vec::new()))
        .expect("a good configuration");
    harness.config("list-max-listpack-size", "2");
    harness.config("list-compress-depth", "1");
    harness.line("RPUSH l 1 2 3 4 5");
    let object = crate::commands::testing::text(&harness.line("DEBUG OBJECT l"));
    assert!(
        object.contains(
            "ql_nodes:3 ql_avg_node:1.67 ql_listpack_max:2 ql_compressed:1 ql_uncompressed_size:"
        ),
        "{object}"
    );
    assert_eq!(harness.line("DEBUG QUICKLIST-PACKED-THRESHOLD 4b"), ok());
    harness.line("RPUSH large 1 12345 2");
    let object = crate::commands::testing::text(&harness.line("DEBUG OBJECT large"));
    assert!(object.contains("ql_nodes:3 "), "{object}");
    assert_eq!(harness.line("LSET large 1 short"), ok());
    assert_eq!(
        harness.line("LRANGE large 0 -1"),
        array(&["1", "short", "2"])
    );
    assert_eq!(harness.line("DEBUG QUICKLIST-PACKED-THRESHOLD 0"), ok());
    assert_eq!(
        harness.line("DEBUG QUICKLIST-PACKED-THRESHOLD 4gb"),
        error("ERR argument must be a memory value bigger than 1 and smaller than 4gb")
    );
    assert_eq!(
        harness.line("DEBUG LISTPACK l"),
        error("ERR Not a listpack encoded object.")
    );
    harness.line("RPUSH small a b");
    assert_eq!(
        harness.line("DEBUG QUICKLIST small"),
        error("ERR Not a quicklist encoded object.")
    );
    assert_eq!(
        harness.line("DEBUG LISTPACK small"),
        Value::Simple("Listpack structure printed on stdout".into())
    );
    let object = crate::commands::testing::text(&harness.line("DEBUG OBJECT small"));
    assert!(!object.contains("ql_nodes"), "{object}");
    assert_eq!(
        harness.line("DEBUG QUICKLIST l 1"),
        Value::Simple("Quicklist structure printed on stdout".into())
    );
}

#[test]
fn encodings_grow_and_shrink_as_in_redis() {
    let mut harness = Harness::new();
    harness.config("list-max-listpack-size", "4");
    for (line, encoding) in [
        ("RPUSH l a b c d", "listpack"),
        // Even an insertion that finds no pivot looks first whether there would be room.
        ("LINSERT l before none x", "quicklist"),
        ("LREM l 1 a", "quicklist"),
        ("LREM l 1 none", "quicklist"),
        // Half of what is allowed.
        ("LPOP l", "listpack"),
        ("RPUSH l c d e", "quicklist"),
        ("LTRIM l 0 2", "quicklist"),
        ("LTRIM l 0 1", "listpack"),
        ("RPUSH l x y z", "quicklist"),
        ("RPOP l 2", "quicklist"),
        ("RPOP l 1", "listpack"),
        ("LMOVE l l left right", "listpack"),
        ("LSET l 0 y", "listpack"),
        ("RPUSH l x y z", "quicklist"),
        // One element in each of two nodes.
        ("LMPOP 1 l left COUNT 3", "quicklist"),
        ("SORT l ALPHA STORE l", "listpack"),
        ("RPUSH l 1 2 3 4", "quicklist"),
        ("LTRIM l 2 -1", "quicklist"),
        ("SORT l ALPHA STORE l", "listpack"),
    ] {
        harness.line(line);
        let encoded = harness.line("OBJECT ENCODING l");
        assert_eq!(encoded, bulk(encoding), "{line}");
    }
    harness.config("list-max-listpack-size", "-1");
    let element = "x".repeat(2000);
    harness.line(&format!("RPUSH large {element} {element}"));
    assert_eq!(harness.line("OBJECT ENCODING large"), bulk("listpack"));
    harness.line("RPOPLPUSH large other");
    harness.line(&format!("LSET large 0 {element}{element}{element}"));
    assert_eq!(harness.line("OBJECT ENCODING large"), bulk("quicklist"));
    harness.line("LSET large 0 x");
    assert_eq!(harness.line("OBJECT ENCODING large"), bulk("listpack"));
}
