//! The hash commands through the checks, against a whole state without sockets.

use crate::commands::testing::{Harness, bulk, check, error, int, ok};
use crate::keyspace::{KeyspaceEvent, interest};
use crate::resp::reader::Value;
use proptest::prelude::*;
use std::collections::BTreeMap;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_FIELDS: &str = "ERR Mandatory argument FIELDS is missing or not at the right position";
const MISMATCH: &str = "ERR The `numfields` parameter must match the number of arguments";
const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

fn ints(numbers: &[i64]) -> Value {
    Value::Array(numbers.iter().map(|number| int(*number)).collect())
}
/// An array of bulks; `-` stands for null.
fn bulks(texts: &[&str]) -> Value {
    let value = |text: &&str| match *text {
        "-" => Value::NullBulk,
        text => bulk(text),
    };
    Value::Array(texts.iter().map(value).collect())
}
fn words(value: &Value) -> Vec<String> {
    let items = value.items().expect("an array");
    let word =
        |item: &Value| String::from_utf8_lossy(item.as_bytes().expect("a string")).into_owned();
    items.iter().map(word).collect()
}
fn sorted(value: &Value) -> Vec<String> {
    let mut all = words(value);
    all.sort();
    all
}

/// Both encodings: limits of a listpack, and none.
fn encodings() -> [Harness; 2] {
    let mut table = Harness::new();
    table.config("hash-max-listpack-entries", "0");
    [Harness::new(), table]
}

#[test]
fn setting_and_reading() {
    for mut harness in encodings() {
        for (line, expected) in [
            ("hset h a 1 b 2", int(2)),
            ("hset h a 3 c 4 c 5", int(1)),
            ("hget h a", bulk("3")),
            ("hget h x", Value::NullBulk),
            ("hget none x", Value::NullBulk),
            ("hmget h a x c", bulks(&["3", "-", "5"])),
            ("hmget none a b", bulks(&["-", "-"])),
            ("hsetnx h a 9", int(0)),
            ("hsetnx h d 9", int(1)),
            ("hsetnx fresh d 9", int(1)),
            ("hlen h", int(4)),
            ("hlen none", int(0)),
            ("hexists h d", int(1)),
            ("hexists h x", int(0)),
            ("hstrlen h d", int(1)),
            ("hstrlen h x", int(0)),
            ("hstrlen none x", int(0)),
            ("hmset h d 77", ok()),
            ("hget h d", bulk("77")),
            ("hdel h a x d", int(2)),
            ("hdel none a", int(0)),
            ("hdel h b c b", int(2)),
            ("exists h", int(0)),
            (
                "hset h a",
                error("ERR wrong number of arguments for 'hset' command"),
            ),
            (
                "hset h a 1 b",
                error("ERR wrong number of arguments for 'hset' command"),
            ),
            (
                "hmset h a 1 b",
                error("ERR wrong number of arguments for 'hmset' command"),
            ),
            ("exists h", int(0)),
        ] {
            assert_eq!(harness.line(line), expected, "{line}");
        }
    }
}

#[test]
fn whole_hashes() {
    for mut harness in encodings() {
        harness.line("hset h a 1 b 2");
        assert_eq!(sorted(&harness.line("hkeys h")), ["a", "b"]);
        assert_eq!(sorted(&harness.line("hvals h")), ["1", "2"]);
        assert_eq!(sorted(&harness.line("hgetall h")), ["1", "2", "a", "b"]);
        for line in ["hkeys none", "hvals none", "hgetall none"] {
            assert_eq!(harness.line(line), Value::Array(vec![]), "{line}");
        }
        harness.resp3();
        assert!(matches!(harness.line("hgetall h"), Value::Map(pairs) if pairs.len() == 2));
        assert!(matches!(harness.line("hkeys h"), Value::Array(names) if names.len() == 2));
    }
}

#[test]
fn other_types_are_refused() {
    let mut harness = Harness::new();
    harness.line("set s x");
    for line in [
        "hset s a 1",
        "hsetnx s a 1",
        "hmset s a 1",
        "hget s a",
        "hmget s a",
        "hdel s a",
        "hlen s",
        "hstrlen s a",
        "hexists s a",
        "hkeys s",
        "hvals s",
        "hgetall s",
        "hincrby s a 1",
        "hincrbyfloat s a 1",
        "hrandfield s",
        "hrandfield s 2",
        "hscan s 0",
        "hexpire s 1 FIELDS 1 a",
        "hpexpire s 1 FIELDS 1 a",
        "hexpireat s 1 FIELDS 1 a",
        "hpexpireat s 1 FIELDS 1 a",
        "httl s FIELDS 1 a",
        "hpttl s FIELDS 1 a",
        "hexpiretime s FIELDS 1 a",
        "hpexpiretime s FIELDS 1 a",
        "hpersist s FIELDS 1 a",
        "hgetdel s FIELDS 1 a",
        "hgetex s FIELDS 1 a",
        "hsetex s FIELDS 1 a b",
    ] {
        assert_eq!(harness.line(line), error(WRONG_TYPE), "{line}");
    }
    assert_eq!(harness.line("get s"), bulk("x"));
}

#[test]
fn counting() {
    for mut harness in encodings() {
        for (line, expected) in [
            ("hincrby h n 5", int(5)),
            ("hincrby h n -7", int(-2)),
            ("hset h max 9223372036854775807 text abc spaced 1x", int(3)),
            (
                "hincrby h max 1",
                error("ERR increment or decrement would overflow"),
            ),
            (
                "hincrby h text 1",
                error("ERR hash value is not an integer"),
            ),
            (
                "hincrby h n x",
                error("ERR value is not an integer or out of range"),
            ),
            ("hincrbyfloat h n 0.5", bulk("-1.5")),
            ("hincrbyfloat h f 3.0e3", bulk("3000")),
            (
                "hincrbyfloat h text 1",
                error("ERR hash value is not a float"),
            ),
            (
                "hincrbyfloat h n x",
                error("ERR value is not a valid float"),
            ),
            (
                "hincrbyfloat h n inf",
                error("ERR value is NaN or Infinity"),
            ),
            ("hget h n", bulk("-1.5")),
        ] {
            assert_eq!(harness.line(line), expected, "{line}");
        }
        assert_eq!(
            harness.propagated_as("hincrbyfloat h n 1"),
            ["HSET h n -0.5"]
        );
        // HSET would end the expiry wherever it is run again.
        harness.line("hexpire h 100 fields 1 n");
        assert_eq!(
            harness.propagated_as("hincrbyfloat h n 1"),
            ["HSETEX h KEEPTTL FIELDS 1 n 0.5"]
        );
        assert_eq!(
            harness.propagated_as("hincrbyfloat h f 1"),
            ["HSET h f 3001"],
            "another field of the same hash"
        );
        assert_eq!(
            harness.line("hincrby fresh n x"),
            error("ERR value is not an integer or out of range")
        );
        assert_eq!(harness.line("exists fresh"), int(0));
    }
}

#[test]
fn encodings_change_as_in_redis() {
    let mut harness = Harness::new();
    harness.config("hash-max-listpack-entries", "3");
    harness.config("hash-max-listpack-value", "5");
    for (line, encoding) in [
        ("hset h a 1 b 2 c 3", "listpack"),
        ("hset h a 55555", "listpack"),
        ("hset h d 4", "hashtable"),
        ("hset long a 666666", "hashtable"),
        ("hset field aaaaaa 6", "hashtable"),
        ("hset sum n 1", "listpack"),
        ("hincrby sum n 999999", "hashtable"),
        ("hset nx a 1", "listpack"),
        ("hsetnx nx b 666666", "hashtable"),
        ("hset e a 1", "listpack"),
        ("hexpire e 100 FIELDS 1 x", "listpackex"),
        ("hpersist e FIELDS 1 a", "listpackex"),
        ("hset e b 1 c 2 d 3", "hashtable"),
        ("hset g a 1", "listpack"),
        ("hgetex g FIELDS 1 x", "listpack"),
        ("hgetex g EX 10 FIELDS 1 x", "listpackex"),
        ("hset p a 1", "listpack"),
        ("hgetex p PERSIST FIELDS 1 x", "listpackex"),
        ("hset s a 1 b 1", "listpack"),
        ("hsetex s EXAT 1 FIELDS 1 a 1", "listpackex"),
    ] {
        harness.line(line);
        let key = line.split(' ').nth(1).unwrap();
        assert_eq!(
            harness.line(&format!("object encoding {key}")),
            bulk(encoding),
            "{line}"
        );
    }
}

#[test]
fn random_fields() {
    for mut harness in encodings() {
        for number in 0..40 {
            harness.line(&format!("hset h f{number} v{number}"));
        }
        for count in [1, 5, 13, 14, 39, 40, 50] {
            let drawn = words(&harness.line(&format!("hrandfield h {count} withvalues")));
            let pairs: BTreeMap<&String, &String> =
                drawn.chunks(2).map(|pair| (&pair[0], &pair[1])).collect();
            assert_eq!(pairs.len(), count.min(40), "different ones");
            assert!(pairs.iter().all(|(field, value)| field[1..] == value[1..]));
            let names = words(&harness.line(&format!("hrandfield h {count}")));
            assert_eq!(names.len(), count.min(40));
        }
        assert_eq!(words(&harness.line("hrandfield h -100")).len(), 100);
        assert_eq!(
            words(&harness.line("hrandfield h -100 withvalues")).len(),
            200
        );
        assert!(matches!(harness.line("hrandfield h"), Value::Bulk(_)));
        for (line, expected) in [
            ("hrandfield none", Value::NullBulk),
            ("hrandfield none 3", Value::Array(vec![])),
            ("hrandfield none -3 withvalues", Value::Array(vec![])),
            ("hrandfield h 0", Value::Array(vec![])),
            ("hrandfield h 1 2", error("ERR syntax error")),
            ("hrandfield h 1 withvalues x", error("ERR syntax error")),
            (
                "hrandfield h x",
                error("ERR value is not an integer or out of range"),
            ),
            (
                "hrandfield h -9223372036854770000 withvalues",
                error("ERR value is out of range"),
            ),
            (
                // More than fits into memory, and asked for in vain until there is none left.
                "hrandfield h -4611686018427387903",
                error("ERR value is out of range"),
            ),
            (
                "hrandfield h -9223372036854775808",
                error(
                    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
                ),
            ),
        ] {
            assert_eq!(harness.line(line), expected, "{line}");
        }
        harness.resp3();
        let nested = harness.line("hrandfield h 3 withvalues");
        let pairs = nested.items().expect("an array");
        assert!(pairs.len() == 3 && pairs.iter().all(|pair| words(pair).len() == 2));
        assert_eq!(harness.line("hrandfield none"), Value::Null);
    }
}

/// With any count each field comes equally often.
#[test]
fn random_fields_are_fair() {
    for mut harness in encodings() {
        for number in 0..12 {
            harness.line(&format!("hset h f{number} v"));
        }
        for count in [2, 6, 11, -6] {
            let mut drawn: BTreeMap<String, i32> = BTreeMap::new();
            let rounds = 12_000 / i32::abs(count);
            for _ in 0..rounds {
                for name in words(&harness.line(&format!("hrandfield h {count}"))) {
                    *drawn.entry(name).or_default() += 1;
                }
            }
            assert_eq!(drawn.len(), 12);
            assert!(
                drawn.values().all(|times| (850..1150).contains(times)),
                "{count}: {drawn:?}"
            );
        }
    }
}

#[test]
fn scanning() {
    for mut harness in encodings() {
        for number in 0..100 {
            harness.line(&format!("hset h f{number} v{number}"));
        }
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        let mut cursor = "0".to_owned();
        loop {
            let answer = harness.line(&format!("hscan h {cursor} count 7"));
            let parts = answer.items().expect("an array");
            for pair in words(&parts[1]).chunks(2) {
                found.insert(pair[0].clone(), pair[1].clone());
            }
            cursor = String::from_utf8_lossy(parts[0].as_bytes().unwrap()).into_owned();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(found.len(), 100);
        assert!(found.iter().all(|(field, value)| field[1..] == value[1..]));
        let all = harness.line("hscan h 0 count 1000 match f9* novalues");
        assert_eq!(words(&all.items().unwrap()[1]).len(), 11);
        for (line, expected) in [
            ("hscan h x", error("ERR invalid cursor")),
            ("hscan h 0 count", error("ERR syntax error")),
            ("hscan h 0 count 0", error("ERR syntax error")),
            (
                "hscan h 0 match novalues count 1000",
                Value::Array(vec![bulk("0"), Value::Array(vec![])]),
            ),
            (
                "hscan none 0 type",
                Value::Array(vec![bulk("0"), Value::Array(vec![])]),
            ),
        ] {
            assert_eq!(harness.line(line), expected, "{line}");
        }
    }
}

#[test]
fn field_expiry_is_set_told_and_removed() {
    for mut harness in encodings() {
        let now_s = 1_700_000_000;
        for (line, expected) in [
            ("hset h a 1 b 2 c 3".to_owned(), int(3)),
            ("hexpire h 100 FIELDS 2 a x".to_owned(), ints(&[1, -2])),
            ("hexpire none 100 FIELDS 2 a x".to_owned(), ints(&[-2, -2])),
            ("hpexpire h 1500 NX FIELDS 2 a b".to_owned(), ints(&[0, 1])),
            (
                "httl h FIELDS 4 a b c x".to_owned(),
                ints(&[100, 2, -1, -2]),
            ),
            ("hpttl h FIELDS 2 a b".to_owned(), ints(&[100_000, 1500])),
            (
                "hexpiretime h FIELDS 2 a b".to_owned(),
                ints(&[now_s + 100, now_s + 2]),
            ),
            (
                "hpexpiretime h FIELDS 2 b c".to_owned(),
                ints(&[now_s * 1000 + 1500, -1]),
            ),
            ("httl none FIELDS 2 a b".to_owned(), ints(&[-2, -2])),
            (
                "hexpire h 50 GT FIELDS 3 a b c".to_owned(),
                ints(&[0, 1, 0]),
            ),
            (
                "hexpire h 70 LT FIELDS 3 a b c".to_owned(),
                ints(&[1, 0, 1]),
            ),
            ("hexpire h 80 XX FIELDS 2 a c".to_owned(), ints(&[1, 1])),
            ("hpersist h FIELDS 3 a a x".to_owned(), ints(&[1, -1, -2])),
            ("hpersist none FIELDS 1 a".to_owned(), ints(&[-2])),
            ("hexpire h 80 XX FIELDS 1 a".to_owned(), ints(&[0])),
            (format!("hexpireat h {} FIELDS 1 a", now_s + 9), ints(&[1])),
            (
                format!("hpexpireat h {} FIELDS 1 b", now_s * 1000 + 5),
                ints(&[1]),
            ),
            ("hpttl h FIELDS 2 a b".to_owned(), ints(&[9000, 5])),
            ("hset h a 5".to_owned(), int(0)),
            ("httl h FIELDS 1 a".to_owned(), ints(&[-1])),
            ("hincrby h c 1".to_owned(), int(4)),
            ("httl h FIELDS 1 c".to_owned(), ints(&[80])),
            ("hincrbyfloat h c 1".to_owned(), bulk("5")),
            ("httl h FIELDS 1 c".to_owned(), ints(&[80])),
            ("hexpire h 0 FIELDS 2 a x".to_owned(), ints(&[2, -2])),
            (
                format!("hpexpireat h {} FIELDS 1 b", now_s * 1000 - 5),
                ints(&[2]),
            ),
            ("hlen h".to_owned(), int(1)),
            ("hexpireat h 1 FIELDS 1 c".to_owned(), ints(&[2])),
            ("exists h".to_owned(), int(0)),
        ] {
            assert_eq!(harness.line(&line), expected, "{line}");
        }
        assert_eq!(harness.state.keyspace.stats.expired_subkeys, 3);
        assert_eq!(harness.state.keyspace.hashes_with_expiring_fields(0), 0);
    }
}

#[test]
fn arguments_of_field_expiry_are_checked() {
    let too_late =
        |command: &str| error(&format!("ERR invalid expire time in '{command}' command"));
    check(&[
        ("hset h a 1", int(1)),
        (
            "hexpire h x FIELDS 1 a",
            error("ERR value is not an integer or out of range"),
        ),
        (
            "hexpire h -1 FIELDS 1 a",
            error("ERR invalid expire time, must be >= 0"),
        ),
        ("hexpire h 281474976710 FIELDS 1 a", too_late("hexpire")),
        (
            "hexpire h 9223372036854775807 FIELDS 1 a",
            too_late("hexpire"),
        ),
        ("hpexpire h 70368744177664 FIELDS 1 a", too_late("hpexpire")),
        ("hexpireat h 70368744178 FIELDS 1 a", too_late("hexpireat")),
        (
            "hpexpireat h 70368744177664 FIELDS 1 a",
            too_late("hpexpireat"),
        ),
        ("hpexpireat h 70368744177663 FIELDS 1 a", ints(&[1])),
        (
            "hexpire h 10 FIELDS 0 a",
            error("ERR Parameter `numFields` should be greater than 0"),
        ),
        (
            "hexpire h 10 FIELDS x a",
            error("ERR Parameter `numFields` should be greater than 0"),
        ),
        ("hexpire h 10 FIELDS 2 a", error(MISMATCH)),
        ("hexpire h 10 NX FIELDS 1 a b", error(MISMATCH)),
        ("hexpire h 10 FIELD 1 a", error(NO_FIELDS)),
        ("hexpire h 10 NX XX FIELDS 1 a", error(NO_FIELDS)),
        ("httl h FIELDS 0 a", error(NOT_POSITIVE)),
        ("hpttl h FIELDS 3 a", error(MISMATCH)),
        ("hexpiretime h 1 FIELDS a", error(NO_FIELDS)),
        ("hpersist h FIELDS -1 a", error(NOT_POSITIVE)),
        (
            "hpersist h FIELDS 1",
            error("ERR wrong number of arguments for 'hpersist' command"),
        ),
        ("hgetdel h FIELDS 2 a", error(MISMATCH)),
        ("hgetdel h FIELD 1 a", error(NO_FIELDS)),
        ("hgetdel h FIELDS 0 a", error(NOT_POSITIVE)),
        ("hgetex h EX 10 FIELDS 2 a", error(MISMATCH)),
        ("hgetex h PERSIST 1 FIELDS 1 a", error(NO_FIELDS)),
        (
            "hgetex h PX -1 FIELDS 1 a",
            error("ERR invalid expire time, must be >= 0"),
        ),
        (
            "hgetex h PX x FIELDS 1 a",
            error("ERR value is not an integer or out of range"),
        ),
        ("hgetex h EX 281474976710 FIELDS 1 a", too_late("hgetex")),
        (
            "hsetex h EX 1 EX 2 FIELDS 1 a b",
            error("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"),
        ),
        (
            "hsetex h KEEPTTL EX 2 FIELDS 1 a b",
            error("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"),
        ),
        (
            "hsetex h FNX FXX FIELDS 1 a b",
            error("ERR Only one of FXX or FNX arguments can be specified"),
        ),
        ("hsetex h FIELDS 1 a b EX", wrong_arity("hsetex")),
        ("hsetex h FIELDS 1 a b EX 10", wrong_arity("hsetex")),
        ("hsetex h FIELDS 1 a b c", wrong_arity("hsetex")),
        (
            "hsetex h FNX FNX EX 10",
            error("ERR Only one of FXX or FNX arguments can be specified"),
        ),
        ("hsetex h FNX FIELDS 1 EX", wrong_arity("hsetex")),
        (
            "hsetex h FNX FXX 1 a b EX",
            error("ERR Only one of FXX or FNX arguments can be specified"),
        ),
        ("hgetex h EX 10 FIELDS", wrong_arity("hgetex")),
        ("hgetex h EX 10 1", wrong_arity("hgetex")),
        (
            "hsetex h FIELDS 0 a b",
            error("ERR invalid number of fields"),
        ),
        (
            "hsetex h FIELDS 2 a b",
            error("ERR wrong number of arguments for 'hsetex' command"),
        ),
        (
            "hsetex h EX 10 PX 20 a",
            error("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"),
        ),
        (
            "hsetex h EX 10 FNX KEEPTT",
            error("ERR unknown argument: KEEPTT"),
        ),
        (
            "hsetex h FNX EX 10 FIELDS",
            error("ERR wrong number of arguments for 'hsetex' command"),
        ),
        ("hget h a", bulk("1")),
    ]);
}

#[test]
fn expired_fields_are_missing_and_go_when_they_are_met() {
    for mut harness in encodings() {
        harness.line("hset h a 1 b 2 c 3 d 4 e 5 f 6");
        harness.line("hpexpire h 10 FIELDS 4 a b c d");
        harness.advance_ms(10);
        assert_eq!(
            harness.line("hget h a"),
            bulk("1"),
            "its time is reached, not over"
        );
        harness.advance_ms(1);
        assert_eq!(harness.line("hlen h"), int(6), "nobody has met them");
        assert_eq!(sorted(&harness.line("hkeys h")), ["e", "f"]);
        assert_eq!(sorted(&harness.line("hvals h")), ["5", "6"]);
        assert_eq!(sorted(&harness.line("hgetall h")), ["5", "6", "e", "f"]);
        let scanned = harness.line("hscan h 0 count 100 novalues");
        assert_eq!(sorted(&scanned.items().unwrap()[1]), ["e", "f"]);
        assert_eq!(harness.line("httl h FIELDS 2 a e"), ints(&[-2, -1]));
        assert_eq!(harness.line("hget h a"), Value::NullBulk);
        assert_eq!(harness.line("hlen h"), int(5));
        assert_eq!(harness.line("hexists h b"), int(0));
        assert_eq!(harness.line("hlen h"), int(4));
        assert_eq!(harness.line("hincrby h c 10"), int(10));
        assert_eq!(harness.line("httl h FIELDS 1 c"), ints(&[-1]));
        assert_eq!(harness.line("hexpire h 100 FIELDS 1 d"), ints(&[-2]));
        assert_eq!(harness.line("hlen h"), int(3));
        assert_eq!(harness.state.keyspace.stats.expired_subkeys, 4);

        harness.line("hset all a 1 b 2 c 3");
        harness.line("hpexpire all 10 FIELDS 3 a b c");
        harness.advance_ms(11);
        assert_eq!(harness.line("exists all"), int(1));
        assert_eq!(harness.line("hmget all a x"), bulks(&["-", "-"]));
        assert_eq!(harness.line("hlen all"), int(2));
        assert_eq!(harness.line("hrandfield all"), Value::NullBulk);
        assert_eq!(harness.line("exists all"), int(0));
        for (key, line, answer) in [
            ("nx", "hsetnx nx a 2", int(1)),
            ("rand", "hrandfield rand 2", Value::Array(vec![])),
            ("del", "hdel del a", int(1)),
            ("getdel", "hgetdel getdel FIELDS 1 a", bulks(&["-"])),
            ("getex", "hgetex getex FIELDS 1 a", bulks(&["-"])),
            ("fnx", "hsetex fnx FNX FIELDS 1 a 2", int(1)),
            ("fxx", "hsetex fxx FXX FIELDS 1 a 2", int(0)),
        ] {
            harness.line(&format!("hset {key} a 1"));
            harness.line(&format!("hpexpire {key} 10 FIELDS 1 a"));
            harness.advance_ms(11);
            assert_eq!(harness.line(line), answer, "{line}");
        }
        assert_eq!(harness.line("exists nx fnx"), int(2));
        assert_eq!(harness.line("exists rand del getdel getex"), int(0));
    }
}

#[test]
fn combined_commands() {
    for mut harness in encodings() {
        for (line, expected) in [
            ("hset h a 1 b 2 c 3", int(3)),
            ("hgetdel h FIELDS 3 a x a", bulks(&["1", "-", "-"])),
            ("hgetdel none FIELDS 2 a b", bulks(&["-", "-"])),
            ("hgetdel h FIELDS 2 b c", bulks(&["2", "3"])),
            ("exists h", int(0)),
            ("hsetex h FXX FIELDS 1 a 1", int(0)),
            ("exists h", int(0)),
            ("hsetex h EX 100 FIELDS 2 a 1 b 2", int(1)),
            ("httl h FIELDS 2 a b", ints(&[100, 100])),
            ("hsetex h FNX FIELDS 2 c 1 b 2", int(0)),
            ("hexists h c", int(0)),
            ("hsetex h FXX KEEPTTL FIELDS 1 a 5", int(1)),
            ("hget h a", bulk("5")),
            ("httl h FIELDS 1 a", ints(&[100])),
            ("hsetex h FIELDS 1 a 6", int(1)),
            ("httl h FIELDS 1 a", ints(&[-1])),
            ("hsetex h PXAT 1700000000500 FIELDS 1 a 7", int(1)),
            ("hpttl h FIELDS 1 a", ints(&[500])),
            ("hgetex h FIELDS 2 a x", bulks(&["7", "-"])),
            ("hpttl h FIELDS 1 a", ints(&[500])),
            ("hgetex h EXAT 1700000009 FIELDS 2 a x", bulks(&["7", "-"])),
            ("hpttl h FIELDS 1 a", ints(&[9000])),
            ("hgetex h PERSIST FIELDS 1 a", bulks(&["7"])),
            ("hpttl h FIELDS 1 a", ints(&[-1])),
            ("hgetex h PX 0 FIELDS 1 a", bulks(&["7"])),
            ("hexists h a", int(0)),
            ("hgetex none EX 10 FIELDS 1 a", bulks(&["-"])),
            ("hsetex h EXAT 1 FIELDS 2 b 1 c 2", int(1)),
            ("exists h", int(0)),
        ] {
            assert_eq!(harness.line(line), expected, "{line}");
        }
    }
}

#[test]
fn the_journal_gets_absolute_times_and_only_what_was_done() {
    for mut harness in encodings() {
        harness.line("hset h a 1 b 2 c 3 d 4 e 5");
        let at = 1_700_000_100_000_i64;
        for (line, expected) in [
            (
                "hexpire h 100 FIELDS 2 a x",
                vec![format!("HPEXPIREAT h {at} FIELDS 1 a")],
            ),
            (
                "hpexpire h 100000 NX FIELDS 2 a b",
                vec![format!("HPEXPIREAT h {at} NX FIELDS 1 b")],
            ),
            ("hexpireat h 1 FIELDS 2 a x", vec!["HDEL h a".to_owned()]),
            ("hexpire h 100 XX FIELDS 1 c", vec![]),
            (
                "hgetex h PERSIST FIELDS 3 b c x",
                vec!["HPERSIST h FIELDS 1 b".to_owned()],
            ),
            (
                "hgetex h EX 100 FIELDS 2 b x",
                vec![format!("HPEXPIREAT h {at} FIELDS 1 b")],
            ),
            ("hgetex h PX 0 FIELDS 1 b", vec!["HDEL h b".to_owned()]),
            ("hgetdel h FIELDS 2 c x", vec!["HDEL h c x".to_owned()]),
            (
                "hsetex h FNX EX 100 FIELDS 1 n v",
                vec![format!("hsetex h FNX PXAT {at} FIELDS 1 n v")],
            ),
            ("hsetex h EXAT 1 FIELDS 1 n v", vec!["HDEL h n".to_owned()]),
        ] {
            assert_eq!(harness.propagated_as(line), expected, "{line}");
        }
    }
}

/// Runs a line and answers the events that it raised, as class and name; changes are marked.
fn events(harness: &mut Harness, line: &str) -> Vec<String> {
    harness.state.keyspace.set_interest(interest::ALL, true);
    // What a line before this one has told is not to be seen again.
    harness.state.keyspace.take_events();
    harness.line(line);
    spell(harness.state.keyspace.taken_events())
}

fn spell(events: &[KeyspaceEvent]) -> Vec<String> {
    let spell = |event: &KeyspaceEvent| match event {
        KeyspaceEvent::Key {
            class,
            event,
            modified,
            ..
        } => format!("{}{class:?} {event}", if *modified { "*" } else { "" }),
        KeyspaceEvent::FieldExpired { key, field, .. } => {
            format!(
                "{} {}",
                String::from_utf8_lossy(key),
                String::from_utf8_lossy(field)
            )
        }
        other => format!("{other:?}"),
    };
    events.iter().map(spell).collect()
}

#[test]
fn every_change_is_told_once() {
    for mut harness in encodings() {
        for (line, expected) in [
            ("hset h a 1 b 2", &["New new", "*Hash hset"][..]),
            ("hset h a 1", &["*Hash hset"]),
            ("hsetnx h a 1", &[]),
            ("hsetnx h c 1", &["*Hash hset"]),
            ("hincrby h a 1", &["*Hash hincrby"]),
            ("hincrbyfloat h a 1", &["*Hash hincrbyfloat"]),
            ("hdel h x", &[]),
            ("hdel h c x", &["*Hash hdel"]),
            ("hexpire h 10 FIELDS 2 a b", &["*Hash hexpire"]),
            ("hexpire h 10 NX FIELDS 2 a x", &[]),
            ("hpersist h FIELDS 1 a", &["*Hash hpersist"]),
            ("hpersist h FIELDS 1 a", &[]),
            ("hgetex h FIELDS 1 a", &[]),
            ("hgetex h EX 5 FIELDS 1 a", &["*Hash hexpire"]),
            ("hgetex h PERSIST FIELDS 1 a", &["*Hash hpersist"]),
            ("hexpireat h 1 FIELDS 1 b", &["*Hash hdel"]),
            ("hgetdel h FIELDS 1 a", &["*Hash hdel", "Generic del"]),
            (
                "hsetex h EX 10 FIELDS 1 a 1",
                &["New new", "*Hash hset", "Hash hexpire"],
            ),
            (
                "hsetex h EXAT 1 FIELDS 1 a 1",
                &["*Hash hset", "Hash hdel", "Generic del"],
            ),
            ("hset h a 1", &["New new", "*Hash hset"]),
            ("hexpireat h 1 FIELDS 1 a", &["*Hash hdel", "Generic del"]),
            ("hset h a 1 b 2", &["New new", "*Hash hset"]),
            ("hpexpire h 1 FIELDS 2 a b", &["*Hash hexpire"]),
        ] {
            assert_eq!(events(&mut harness, line), expected, "{line}");
        }
        harness.advance_ms(2);
        assert_eq!(events(&mut harness, "hget h a"), ["h a", "*Hash hexpired"]);
        assert_eq!(
            events(&mut harness, "hget h b"),
            ["h b", "*Hash hexpired", "Generic del"]
        );
    }
}

/// One cycle of active expiry with a clock that stands still; what was told.
fn cycle(harness: &mut Harness) -> Vec<String> {
    harness.state.keyspace.set_interest(interest::ALL, true);
    harness.state.keyspace.take_events();
    let now = harness.state.now;
    harness
        .state
        .keyspace
        .expire_cycle(now, 1, 1_000_000, &mut || 0);
    spell(&harness.state.keyspace.take_events())
}

#[test]
fn active_expiry_removes_fields_in_their_order() {
    for mut harness in encodings() {
        harness.line("hset h a 1 b 2 c 3");
        harness.line("hpexpire h 20 FIELDS 1 a");
        harness.line("hpexpire h 10 FIELDS 1 b");
        assert_eq!(harness.state.keyspace.hashes_with_expiring_fields(0), 1);
        assert!(cycle(&mut harness).is_empty());
        harness.advance_ms(15);
        assert_eq!(cycle(&mut harness), ["h b", "*Hash hexpired"]);
        assert_eq!(harness.line("hlen h"), int(2));
        harness.advance_ms(15);
        assert_eq!(cycle(&mut harness), ["h a", "*Hash hexpired"]);
        assert_eq!(harness.state.keyspace.hashes_with_expiring_fields(0), 0);
        harness.line("hpexpire h 10 FIELDS 1 c");
        harness.advance_ms(11);
        assert_eq!(
            cycle(&mut harness),
            ["h c", "*Hash hexpired", "Generic del"]
        );
        assert_eq!(harness.line("dbsize"), int(0));
        assert_eq!(harness.state.keyspace.stats.expired_subkeys, 3);
    }
}

#[test]
fn active_expiry_stops_when_time_is_over() {
    for mut harness in encodings() {
        for number in 0..500 {
            harness.line(&format!("hset h f{number} 1"));
            harness.line(&format!("hpexpire h 10 FIELDS 1 f{number}"));
        }
        harness.advance_ms(11);
        let now = harness.state.now;
        let mut time_ns = 0;
        let mut clock = || {
            time_ns += 1000;
            time_ns
        };
        let cycle = harness
            .state
            .keyspace
            .expire_cycle(now, 1, 3000, &mut clock);
        assert!(cycle.time_cap_reached);
        let left = harness.line("hlen h");
        assert!(left != int(500) && left != int(0), "{left:?}");
        harness
            .state
            .keyspace
            .expire_cycle(now, 1, 1_000_000, &mut || 0);
        assert_eq!(harness.line("exists h"), int(0));
    }
}

/// The index goes along wherever a key goes.
#[test]
fn active_expiry_finds_hashes_that_have_moved() {
    for mut harness in encodings() {
        let ready = |harness: &mut Harness, key: &str| {
            harness.line(&format!("hset {key} a 1 b 2"));
            harness.line(&format!("hpexpire {key} 10 FIELDS 1 a"));
        };
        for key in [
            "renamed", "moved", "copied", "over", "kept", "gone", "set", "dropped",
        ] {
            ready(&mut harness, key);
        }
        harness.line("rename renamed new");
        harness.line("move moved 1");
        harness.line("copy copied copy");
        harness.line("copy copied over replace");
        harness.line("del gone");
        harness.line("set set x");
        harness.line("hdel dropped a");
        harness.line("expire kept 100");
        let keyspace = &harness.state.keyspace;
        assert_eq!(keyspace.hashes_with_expiring_fields(0), 5);
        assert_eq!(keyspace.hashes_with_expiring_fields(1), 1);
        harness.line("swapdb 0 1");
        assert_eq!(harness.state.keyspace.hashes_with_expiring_fields(1), 5);
        harness.line("swapdb 0 1");
        harness.advance_ms(11);
        cycle(&mut harness);
        for key in ["new", "copied", "copy", "over", "kept"] {
            assert_eq!(
                harness.line(&format!("hgetall {key}")),
                bulks(&["b", "2"]),
                "{key}"
            );
            assert_eq!(harness.line(&format!("hlen {key}")), int(1), "{key}");
        }
        assert_eq!(harness.state.keyspace.hashes_with_expiring_fields(0), 0);
        assert_eq!(harness.state.keyspace.hashes_with_expiring_fields(1), 0);
        assert_eq!(harness.state.keyspace.stats.expired_subkeys, 6);
        ready(&mut harness, "flushed");
        harness.line("flushall");
        assert_eq!(harness.state.keyspace.hashes_with_expiring_fields(0), 0);
        ready(&mut harness, "whole");
        harness.line("pexpire whole 5");
        harness.advance_ms(11);
        assert_eq!(cycle(&mut harness), ["*Expired expired"]);
    }
}

#[test]
fn info_tells_of_expiring_fields() {
    let mut harness = Harness::new();
    harness.line("hset h a 1 b 2");
    harness.line("hexpire h 10 FIELDS 1 a");
    let info = crate::commands::testing::text(&harness.line("info keyspace"));
    assert!(
        info.contains("db0:keys=1,expires=0,avg_ttl=0,subexpiry=1"),
        "{info}"
    );
    harness.line("hpersist h FIELDS 1 a");
    let info = crate::commands::testing::text(&harness.line("info keyspace"));
    assert!(info.contains("subexpiry=0"), "{info}");
}

/// A command of few keys and fields, as a line; `@` stands for time that passes.
fn any_line() -> impl Strategy<Value = String> {
    let key = || (0..4u8).prop_map(|number| format!("k{number}"));
    let field = || (0..5u8).prop_map(|number| format!("f{number}"));
    let ms = || 0..30i64;
    prop_oneof![
        4 => (key(), field(), 0..9u8).prop_map(|(k, f, v)| format!("hset {k} {f} {v}")),
        1 => (key(), field(), 0..9u8).prop_map(|(k, f, v)| format!("hsetnx {k} {f} {v}")),
        1 => (key(), field()).prop_map(|(k, f)| format!("hincrby {k} {f} 1")),
        1 => (key(), field()).prop_map(|(k, f)| format!("hdel {k} {f}")),
        6 => (key(), ms(), field(), field())
            .prop_map(|(k, ms, f, g)| format!("hpexpire {k} {ms} FIELDS 2 {f} {g}")),
        1 => (key(), ms(), field()).prop_map(|(k, ms, f)| format!("hpexpire {k} {ms} LT FIELDS 1 {f}")),
        1 => (key(), field()).prop_map(|(k, f)| format!("hpersist {k} FIELDS 1 {f}")),
        2 => (key(), field(), field()).prop_map(|(k, f, g)| format!("hmget {k} {f} {g}")),
        1 => (key(), ms(), field()).prop_map(|(k, ms, f)| format!("hgetex {k} PX {ms} FIELDS 1 {f}")),
        1 => (key(), field()).prop_map(|(k, f)| format!("hgetex {k} PERSIST FIELDS 1 {f}")),
        1 => (key(), field()).prop_map(|(k, f)| format!("hgetdel {k} FIELDS 1 {f}")),
        2 => (key(), ms(), field()).prop_map(|(k, ms, f)| format!("hsetex {k} PX {ms} FIELDS 1 {f} 7")),
        1 => (key(), field()).prop_map(|(k, f)| format!("hsetex {k} FXX KEEPTTL FIELDS 1 {f} 8")),
        1 => (key(), field(), field()).prop_map(|(k, f, g)| format!("hpttl {k} FIELDS 2 {f} {g}")),
        1 => key().prop_map(|k| format!("hlen {k}")),
        1 => (key(), key()).prop_map(|(k, l)| format!("rename {k} {l}")),
        1 => (key(), key()).prop_map(|(k, l)| format!("copy {k} {l} replace")),
        1 => key().prop_map(|k| format!("move {k} 1")),
        1 => Just("swapdb 0 1".to_owned()),
        1 => key().prop_map(|k| format!("del {k}")),
        1 => key().prop_map(|k| format!("set {k} 1")),
        1 => (key(), ms()).prop_map(|(k, ms)| format!("pexpire {k} {ms}")),
        2 => (1..8i64).prop_map(|ms| format!("@ {ms}")),
        1 => Just("cycle".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Both encodings answer the same, and the index of expiring fields never loses a hash.
    #[test]
    fn encodings_agree_and_the_index_keeps_up(lines in proptest::collection::vec(any_line(), 0..80)) {
        let mut both = encodings();
        for line in lines {
            let mut answers = Vec::new();
            for harness in &mut both {
                if let Some(ms) = line.strip_prefix("@ ") {
                    harness.advance_ms(ms.parse().unwrap());
                } else if line == "cycle" {
                    cycle(harness);
                } else {
                    answers.push(harness.line(&line));
                }
                for index in 0..2 {
                    harness.state.keyspace.check_field_index(index);
                }
                for key in ["k0", "k1", "k2", "k3"] {
                    if harness.line(&format!("type {key}")) == Value::Simple("hash".into()) {
                        let all = words(&harness.line(&format!("hgetall {key}")));
                        let mut pairs: Vec<_> = all.chunks(2).map(<[String]>::to_vec).collect();
                        pairs.sort();
                        answers.push(bulk(&format!("{key} {pairs:?}")));
                        answers.push(harness.line(&format!("hlen {key}")));
                    }
                }
            }
            let (one, other) = answers.split_at(answers.len() / 2);
            prop_assert_eq!(one, other, "{}", line);
        }
    }
}

/// A command that takes an expired field for missing has the journal told that it is gone: the file is run again with
/// nothing expired, and there HPERSIST would revive it, HSETEX keep its old time, SORT store it.
#[test]
fn a_field_that_a_write_takes_for_missing_is_told_to_have_expired() {
    use crate::keyspace::{KeyspaceEvent, interest};
    for line in [
        "HPERSIST h FIELDS 2 gone stays",
        "HSETEX h KEEPTTL FIELDS 1 gone v",
        "HSETEX h FNX FIELDS 1 gone v",
        "HINCRBY h gone 1",
        "HGETEX h PERSIST FIELDS 2 gone stays",
        "HPEXPIRE h 5000 FIELDS 2 gone stays",
        "SORT list BY nosort GET *->gone STORE sorted",
    ] {
        let mut harness = Harness::new();
        harness.state.keyspace.set_interest(interest::JOURNAL, true);
        harness.line("RPUSH list h");
        harness.line("HSETEX h PX 10 FIELDS 1 gone 1");
        harness.line("HSETEX h PX 1000 FIELDS 1 stays 1");
        harness.advance_ms(11);
        harness.line(line);
        let events = harness.state.keyspace.taken_events();
        let told = KeyspaceEvent::FieldExpired {
            db: 0,
            key: b"h".to_vec(),
            field: b"gone".to_vec(),
        };
        assert!(events.contains(&told), "{line}: {events:?}");
        harness.state.keyspace.check_field_index(0);
    }
}

/// While writes are paused expired fields stay where they are, and were drawn.
#[test]
fn no_expired_field_is_drawn_while_writes_are_paused() {
    let mut harness = Harness::new();
    harness.line("HSETEX h PX 10 FIELDS 3 a 1 b 2 c 3");
    harness.line("HSET h d 4");
    harness.line("HSETEX all PX 10 FIELDS 1 a 1");
    harness.advance_ms(11);
    harness.state.keyspace.freeze(true);
    assert_eq!(harness.line("HRANDFIELD h"), bulk("d"));
    for (line, expected) in [
        ("HRANDFIELD h 1", "d"),
        ("HRANDFIELD h 3", "d"),
        ("HRANDFIELD h 9 WITHVALUES", "d 4"),
        ("HRANDFIELD h -3", "d d d"),
        ("HRANDFIELD all 2", ""),
        ("HRANDFIELD all -2", ""),
    ] {
        let expected = expected.split_terminator(' ').map(bulk).collect();
        assert_eq!(harness.line(line), Value::Array(expected), "{line}");
    }
    assert_eq!(harness.line("HRANDFIELD all"), Value::NullBulk);
    assert_eq!(harness.line("HLEN h"), int(4));
}

fn wrong_arity(name: &str) -> Value {
    error(&format!(
        "ERR wrong number of arguments for '{name}' command"
    ))
}

/// They make room rather than take it.
#[test]
fn fields_are_given_a_time_to_live_without_memory() {
    let mut harness = Harness::new();
    harness.line("HSET h f v g w");
    harness.host.used_memory = 2000;
    harness.config("maxmemory", "1000");
    assert_eq!(
        harness.line("HSET h f v"),
        error("OOM command not allowed when used memory > 'maxmemory'.")
    );
    for line in [
        "HEXPIRE h 100 FIELDS 1 f",
        "HPEXPIRE h 100000 FIELDS 1 f",
        "HEXPIREAT h 33177117420 FIELDS 1 f",
        "HPEXPIREAT h 33177117420000 FIELDS 1 f",
    ] {
        assert_eq!(harness.line(line), ints(&[1]), "{line}");
    }
    assert_eq!(harness.line("HEXPIRE h 0 FIELDS 1 g"), ints(&[2]));
    assert_eq!(harness.line("HLEN h"), int(1));
}

/// The last field went by itself, the key with it, and a command that sets a field anew made another key.
#[test]
fn a_key_whose_last_field_expires_under_a_command_that_sets_one_stays() {
    for mut harness in encodings() {
        for (line, events_of) in [
            (
                "hsetex h EX 100 FIELDS 1 f w",
                &["h f", "*Hash hexpired", "*Hash hset", "Hash hexpire"][..],
            ),
            (
                "hsetex h FNX FIELDS 1 f w",
                &["h f", "*Hash hexpired", "*Hash hset"],
            ),
            ("hsetnx h f w", &["h f", "*Hash hexpired", "*Hash hset"]),
            ("hincrby h f 1", &["h f", "*Hash hexpired", "*Hash hincrby"]),
            (
                "hincrbyfloat h f 1",
                &["h f", "*Hash hexpired", "*Hash hincrbyfloat"],
            ),
        ] {
            harness.line("hsetex h PX 2 FIELDS 1 f 5");
            harness.line("expire h 1000");
            harness.advance_ms(3);
            assert_eq!(events(&mut harness, line), events_of, "{line}");
            assert_eq!(harness.line("ttl h"), int(1000), "{line}");
            assert_eq!(harness.line("hlen h"), int(1), "{line}");
            harness.state.keyspace.check_field_index(0);
            harness.line("del h");
        }
        // Nothing is set, so the key goes.
        harness.line("hsetex h PX 2 FIELDS 1 f 5");
        harness.advance_ms(3);
        assert_eq!(
            events(&mut harness, "hsetex h FXX FIELDS 1 f w"),
            ["h f", "*Hash hexpired", "Generic del"]
        );
        assert_eq!(harness.line("exists h"), int(0));
    }
}

/// The journal has the field's HDEL first, which removes the key where it is run again: the key's expiry has to follow.
#[test]
fn the_journal_gets_the_expiry_of_a_key_that_stays_without_a_field() {
    for mut harness in encodings() {
        for (line, first) in [
            ("hsetex h FIELDS 1 f w", "hsetex h FIELDS 1 f w"),
            (
                "hsetex h EXAT 1700000100 FIELDS 1 f w",
                "hsetex h PXAT 1700000100000 FIELDS 1 f w",
            ),
            ("hsetnx h f w", "hsetnx h f w"),
            ("hincrby h f 1", "hincrby h f 1"),
            ("hincrbyfloat h f 1", "HSET h f 1"),
        ] {
            let key = format!("PEXPIREAT h {}", 1_700_000_200_000_i64);
            harness.line("hsetex h PX 2 FIELDS 1 f 5");
            harness.line("pexpireat h 1700000200000");
            harness.advance_ms(3);
            assert_eq!(harness.propagated_as(line), [first, &key], "{line}");
            // Neither where a field is left nor where the key does not expire.
            harness.line("del h");
            harness.line("hsetex h PX 2 FIELDS 1 f 5");
            harness.line("hset h other 1");
            harness.line("pexpireat h 1700000200000");
            harness.advance_ms(3);
            assert!(!harness.propagated_as(line).contains(&key), "{line}");
            harness.line("del h");
            harness.line("hsetex h PX 2 FIELDS 1 f 5");
            harness.advance_ms(3);
            let propagated_as = harness.propagated_as(line);
            assert!(
                !propagated_as.iter().any(|it| it.starts_with("PEXPIREAT")),
                "{line}"
            );
            harness.line("del h");
        }
    }
}

#[test]
fn fields_that_expire_under_one_command_are_one_event_before_its_own() {
    for mut harness in encodings() {
        let expired = ["h a", "h b", "*Hash hexpired"];
        for (line, then) in [
            ("hmget h a b c", &[][..]),
            ("hgetdel h FIELDS 3 a b c", &["*Hash hdel"]),
            ("hgetdel h FIELDS 2 a b", &[]),
            ("hgetex h EX 100 FIELDS 3 a b c", &["*Hash hexpire"]),
            ("hgetex h PERSIST FIELDS 3 a b t", &["*Hash hpersist"]),
            ("hgetex h FIELDS 3 a b c", &[]),
            ("hexpire h 100 FIELDS 3 a b c", &["*Hash hexpire"]),
            ("hpersist h FIELDS 3 a b t", &["*Hash hpersist"]),
            ("hsetex h FIELDS 2 a 1 b 2", &["*Hash hset"]),
        ] {
            harness.line("hset h c 3 d 4");
            harness.line("hsetex h PX 2 FIELDS 2 a 1 b 2");
            harness.line("hsetex h EX 2000 FIELDS 1 t 1");
            harness.advance_ms(3);
            let expected = [&expired[..], then].concat();
            assert_eq!(events(&mut harness, line), expected, "{line}");
            harness.state.keyspace.check_field_index(0);
            harness.line("del h");
        }
        for line in [
            "hmget h a b",
            "hgetdel h FIELDS 2 a b",
            "hgetex h FIELDS 2 a b",
            "hexpire h 9 FIELDS 2 a b",
            "hpersist h FIELDS 2 a b",
        ] {
            harness.line("hsetex h PX 2 FIELDS 2 a 1 b 2");
            harness.advance_ms(3);
            let expected = [&expired[..], &["Generic del"]].concat();
            assert_eq!(events(&mut harness, line), expected, "{line}");
            assert_eq!(harness.line("exists h"), int(0), "{line}");
        }
    }
}

#[test]
fn hgetex_answers_a_field_that_it_removes_once() {
    for mut harness in encodings() {
        harness.line("hset h a 1 b 2");
        assert_eq!(
            harness.line("hgetex h EX 0 FIELDS 2 a a"),
            Value::Array(vec![bulk("1"), Value::NullBulk])
        );
        assert_eq!(harness.line("hexists h a"), int(0));
    }
}
