//! The set commands through the checks, against a whole state without sockets.

use crate::commands::testing::{Harness, bulk, check, error, int, ok};
use crate::resp::reader::Value;
use std::collections::BTreeSet;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const SYNTAX: &str = "ERR syntax error";
const NOT_POSITIVE: &str = "ERR value is out of range, must be positive";

fn empty() -> Value {
    Value::Array(vec![])
}

/// The members in an answer, in order.
fn members(answer: Value) -> Vec<String> {
    let (Value::Array(items) | Value::Set(items)) = answer else {
        panic!("not members: {answer:?}")
    };
    let mut words: Vec<String> = items.iter().map(crate::commands::testing::text).collect();
    words.sort();
    words
}

#[test]
fn members_come_and_go() {
    let mut harness = check(&[
        ("sadd s a b a 7", int(3)),
        ("sadd s a", int(0)),
        ("scard s", int(3)),
        ("sismember s a", int(1)),
        ("sismember s c", int(0)),
        ("sismember none c", int(0)),
        (
            "smismember s a x 7",
            Value::Array(vec![int(1), int(0), int(1)]),
        ),
        ("smismember none a", Value::Array(vec![int(0)])),
        ("srem s a x", int(1)),
        ("srem none a", int(0)),
        ("scard s", int(2)),
        ("srem s b 7", int(2)),
        ("exists s", int(0)),
        ("scard s", int(0)),
        ("smembers s", empty()),
        ("set k v", ok()),
    ]);
    for line in [
        "sadd k a",
        "srem k a",
        "sismember k a",
        "smismember k a",
        "scard k",
        "smembers k",
        "spop k",
        "spop k 1",
        "srandmember k",
        "srandmember k 1",
        "sinter k",
        "sinter none k",
        "sintercard 1 k",
        "sunion none k",
        "sdiff none k",
        "sinterstore d none k",
        "sunionstore d k",
        "sdiffstore d k",
        "sscan k 0",
    ] {
        assert_eq!(harness.line(line), error(WRONG_TYPE), "{line}");
    }
}

#[test]
fn encodings_follow_the_directives() {
    let mut harness = Harness::new();
    harness.config("set-max-intset-entries", "3");
    harness.config("set-max-listpack-entries", "0");
    harness.line("sadd s 1 2 3");
    assert_eq!(harness.line("object encoding s"), bulk("intset"));
    harness.line("sadd s 4");
    assert_eq!(harness.line("object encoding s"), bulk("hashtable"));
    harness.line("sadd t 1 2");
    harness.line("sadd t x");
    assert_eq!(harness.line("object encoding t"), bulk("hashtable"));
    assert_eq!(members(harness.line("smembers t")), ["1", "2", "x"]);
    harness.config("set-max-listpack-entries", "3");
    harness.line("sadd u 1 2");
    harness.line("sadd u x");
    assert_eq!(harness.line("object encoding u"), bulk("listpack"));
    harness.line("sadd u y");
    assert_eq!(harness.line("object encoding u"), bulk("hashtable"));
    assert_eq!(members(harness.line("smembers u")), ["1", "2", "x", "y"]);
    // A command with many members decides by their number.
    harness.line("sadd v a a a a");
    assert_eq!(harness.line("object encoding v"), bulk("hashtable"));
    harness.line("copy v w");
    assert_eq!(harness.line("object encoding w"), bulk("hashtable"));
    assert_eq!(members(harness.line("smembers w")), ["a"]);
    // Integers too many for an intset, but not for a listpack.
    harness.config("set-max-intset-entries", "2");
    harness.line("sadd x 1 2 1");
    assert_eq!(harness.line("object encoding x"), bulk("listpack"));
    harness.line("sadd y 1 2");
    harness.line("sadd y 3");
    assert_eq!(harness.line("object encoding y"), bulk("hashtable"));
}

#[test]
fn results_have_the_encoding_of_their_members() {
    let mut harness = Harness::new();
    let words: Vec<String> = (0..200).map(|n| format!("m{n}")).collect();
    harness.line(&format!("sadd large 1 2 3 {}", words.join(" ")));
    harness.line("sadd ints 1 2 7");
    harness.line("sadd mixed 1 2 m1");
    for (line, key, encoding) in [
        ("sunionstore d ints mixed", "d", "listpack"),
        ("sunionstore d ints ints", "d", "intset"),
        ("sunionstore d ints large", "d", "hashtable"),
        ("sinterstore d ints large", "d", "intset"),
        ("sinterstore d mixed large", "d", "listpack"),
        // All that is left are integers, though no set is an intset.
        ("sdiffstore e mixed ints", "e", "listpack"),
        ("sdiffstore e mixed e", "e", "intset"),
        ("sinterstore d large mixed ints", "d", "intset"),
        ("smove large new m9", "new", "listpack"),
        ("smove large newint 3", "newint", "intset"),
        // Drawing nearly all makes a new set of the rest.
        ("spop large 190", "large", "listpack"),
    ] {
        harness.line(line);
        let encoded = harness.line(&format!("object encoding {key}"));
        assert_eq!(encoded, bulk(encoding), "{line}");
    }
    let long = "x".repeat(65);
    harness.line(&format!("sadd long {long}"));
    assert_eq!(harness.line("object encoding long"), bulk("hashtable"));
}

#[test]
fn smove_checks_both_ends_before_it_moves() {
    check(&[
        ("sadd a 1 2 x", int(3)),
        ("smove none k 1", int(0)),
        ("smove a b 1", int(1)),
        ("smove a b 9", int(0)),
        ("smove a a x", int(1)),
        ("smove a a 9", int(0)),
        ("sismember b 1", int(1)),
        ("set k v", ok()),
        ("smove none k 1", int(0)),
        ("smove a k 2", error(WRONG_TYPE)),
        ("smove k a 2", error(WRONG_TYPE)),
        ("smove a b 2", int(1)),
        ("smove a b x", int(1)),
        ("exists a", int(0)),
        ("scard b", int(3)),
    ]);
}

#[test]
fn algebra() {
    let mut harness = check(&[
        ("sadd a 1 2 3 x", int(4)),
        ("sadd b 2 3 4", int(3)),
        ("sadd c 3 x", int(2)),
        ("sinter a none", empty()),
        ("sunion none", empty()),
        ("sdiff none a", empty()),
        ("sdiff a b a", empty()),
        ("sintercard 2 a b", int(2)),
        ("sintercard 2 a b LIMIT 1", int(1)),
        ("sintercard 2 a b limit 0", int(2)),
        ("sintercard 2 a a limit 10", int(4)),
        ("sintercard 2 a none", int(0)),
        ("sinterstore d a b c", int(1)),
        ("sunionstore e a b c", int(5)),
        ("sdiffstore f a b", int(2)),
        ("object encoding d", bulk("intset")),
    ]);
    let mut answer = |line: &str| members(harness.line(line)).join(" ");
    assert_eq!(answer("sinter a b"), "2 3");
    assert_eq!(answer("sinter a"), "1 2 3 x");
    assert_eq!(answer("sunion a b c none"), "1 2 3 4 x");
    assert_eq!(answer("sdiff a b"), "1 x");
    assert_eq!(answer("sdiff a b c"), "1");
    // So many others that taking their members out is less work than looking up.
    assert_eq!(answer("sdiff a c c c c c c c c"), "1 2");
    assert_eq!(answer("smembers e"), "1 2 3 4 x");
    for (line, expected) in [
        ("sinterstore d a none", int(0)),
        ("exists d", int(0)),
        ("sdiffstore d none a", int(0)),
        ("sunionstore e none", int(0)),
        ("exists e", int(0)),
        ("set f v", ok()),
        ("expire f 100", int(1)),
        ("sunionstore f f2", int(0)),
        ("exists f", int(0)),
        ("set f v ex 100", ok()),
        ("sunionstore f a c", int(4)),
        ("ttl f", int(-1)),
        ("sunionstore a a b", int(5)),
    ] {
        assert_eq!(harness.line(line), expected, "{line}");
    }
    for (line, text) in [
        ("sintercard 0 a", "ERR numkeys should be greater than 0"),
        ("sintercard x a", "ERR numkeys should be greater than 0"),
        (
            "sintercard 2 a",
            "ERR Number of keys can't be greater than number of args",
        ),
        ("sintercard 1 a LIMIT", SYNTAX),
        ("sintercard 1 a b", SYNTAX),
        ("sintercard 1 a LIMIT -1", "ERR LIMIT can't be negative"),
        ("sintercard 1 a LIMIT x", "ERR LIMIT can't be negative"),
    ] {
        assert_eq!(harness.line(line), error(text), "{line}");
    }
}

#[test]
fn sets_are_sets_in_resp3() {
    let mut harness = Harness::new();
    harness.resp3();
    harness.line("sadd s a");
    let one = Value::Set(vec![bulk("a")]);
    for line in [
        "smembers s",
        "sinter s s",
        "sunion s",
        "sdiff s",
        "spop s 9",
    ] {
        assert_eq!(harness.line(line), one, "{line}");
    }
    for line in ["smembers s", "sinter s", "sunion s", "sdiff s", "spop s 9"] {
        assert_eq!(harness.line(line), Value::Set(vec![]), "{line}");
    }
    harness.line("sadd s a");
    assert_eq!(
        harness.line("srandmember s 2"),
        Value::Array(vec![bulk("a")])
    );
    assert_eq!(harness.line("spop none"), Value::Null);
}

#[test]
fn spop_takes_what_it_answers() {
    let mut harness = check(&[
        ("spop none", Value::NullBulk),
        ("spop none 2", empty()),
        ("sadd s a", int(1)),
        ("spop s 0", empty()),
        ("spop s -1", error(NOT_POSITIVE)),
        ("spop s x", error(NOT_POSITIVE)),
        ("spop s 1 2", error(SYNTAX)),
        ("spop s", bulk("a")),
        ("exists s", int(0)),
    ]);
    // A few of many, nearly all, and more than all; of integers and of strings.
    for prefix in ["", "m"] {
        for (count, left) in [(3, 97), (95, 5), (100, 0), (1000, 0)] {
            let all: BTreeSet<String> = (0..100).map(|n| format!("{prefix}{n}")).collect();
            let words = all.iter().cloned().collect::<Vec<_>>().join(" ");
            harness.line(&format!("sadd s {words}"));
            let popped = members(harness.line(&format!("spop s {count}")));
            let kept = members(harness.line("smembers s"));
            assert_eq!(kept.len(), left);
            assert_eq!(popped.len(), 100 - left);
            assert_eq!(popped.into_iter().chain(kept).collect::<BTreeSet<_>>(), all);
            harness.line("del s");
        }
    }
}

#[test]
fn spop_is_propagated_as_what_it_removed() {
    let mut harness = Harness::new();
    harness.line("sadd s a");
    harness.line("sadd t 1");
    assert_eq!(harness.propagated_as("spop s"), ["SREM s a"]);
    assert_eq!(harness.propagated_as("spop t"), ["SREM t 1"]);
    harness.line("sadd s a b");
    assert_eq!(harness.propagated_as("spop s 5"), ["DEL s"]);
    let numbers: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
    for count in [1500, 2900] {
        harness.line(&format!("sadd s {}", numbers.join(" ")));
        let commands = harness.propagated_as(&format!("spop s {count}"));
        let mut removed = BTreeSet::new();
        for command in &commands {
            let members = command.strip_prefix("SREM s ").unwrap();
            assert!(members.split(' ').count() <= 1024);
            removed.extend(members.split(' ').map(str::to_owned));
        }
        assert_eq!(removed.len(), count);
        for member in removed {
            assert_eq!(harness.line(&format!("sismember s {member}")), int(0));
        }
        assert_eq!(harness.line("scard s"), int(3000 - count as i64));
        harness.line("del s");
    }
}

#[test]
fn srandmember_answers_members() {
    let mut harness = check(&[
        ("srandmember none", Value::NullBulk),
        ("srandmember none 5", empty()),
        ("srandmember none -5", empty()),
        ("sadd s a b c 1", int(4)),
        ("srandmember s 0", empty()),
        ("srandmember s 1 2", error(SYNTAX)),
        (
            "srandmember s x",
            error("ERR value is not an integer or out of range"),
        ),
        (
            "srandmember s -9223372036854775808",
            error(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
        ),
    ]);
    for count in 1..6 {
        let different = members(harness.line(&format!("srandmember s {count}")));
        assert_eq!(different.len(), count.min(4));
        assert_eq!(
            different.iter().collect::<BTreeSet<_>>().len(),
            count.min(4)
        );
    }
    assert_eq!(
        harness.line("srandmember s 9223372036854775807"),
        harness.line("smembers s")
    );
    let drawn = members(harness.line("srandmember s -200"));
    assert_eq!(drawn.len(), 200);
    assert_eq!(drawn.into_iter().collect::<BTreeSet<_>>().len(), 4);
    // No client waits for so many, no server has so much memory.
    assert!(matches!(
        harness.line("srandmember s -9223372036854775807"),
        Value::Error(_)
    ));
}

#[test]
fn sscan_goes_through_all() {
    let mut harness = Harness::new();
    let page = |answer: Value| {
        let Value::Array(parts) = answer else {
            panic!("not a page: {answer:?}")
        };
        let cursor = crate::commands::testing::text(&parts[0]);
        (cursor, members(parts[1].clone()))
    };
    for prefix in ["", "m"] {
        let all: BTreeSet<String> = (0..400).map(|n| format!("{prefix}{n}")).collect();
        for member in &all {
            harness.line(&format!("sadd s {member}"));
        }
        let (mut found, mut cursor) = (BTreeSet::new(), "0".to_owned());
        loop {
            let (next, page) = page(harness.line(&format!("sscan s {cursor} count 20")));
            found.extend(page);
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(found, all);
        let (_, some) = page(harness.line(&format!("sscan s 0 match {prefix}1?? count 1000")));
        assert_eq!(some.len(), 100);
        harness.line("del s");
    }
    harness.line("sadd s a");
    for (line, text) in [
        ("sscan s x", "ERR invalid cursor"),
        ("sscan none x", "ERR invalid cursor"),
        ("sscan s 0 count", SYNTAX),
        ("sscan s 0 count 0", SYNTAX),
        ("sscan s 0 type set", SYNTAX),
    ] {
        assert_eq!(harness.line(line), error(text), "{line}");
    }
    assert_eq!(
        harness.line("sscan none 0 count x"),
        Value::Array(vec![bulk("0"), empty()])
    );
}
