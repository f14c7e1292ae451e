//! The sorted-set commands, each with its answers, errors and effects.

use crate::commands::testing::{Harness, bulk, check, error, int, ok, text};
use crate::resp::reader::Value;
use crate::structures::Collection;

fn list(items: &[&str]) -> Value {
    Value::Array(items.iter().map(|item| bulk(item)).collect())
}

/// Answers as text, aggregates as their parts between blanks.
fn answers(lines: &[(&str, &str)]) -> Harness {
    let mut harness = Harness::new();
    for (line, expected) in lines {
        assert_eq!(text(&harness.line(line)), *expected, "{line}");
    }
    harness
}

#[test]
fn zadd_and_its_options() {
    let gt_lt = "ERR GT, LT, and/or NX options at the same time are not compatible";
    answers(&[
        ("ZADD k 1 a 2 b", "2"),
        ("ZADD k 1 a 3 b 4 c", "1"),
        ("ZADD k CH 1 a 5 b 6 d", "2"),
        ("ZADD k NX 9 a 7 e", "1"),
        ("ZADD k XX 9 nobody 8 e", "0"),
        ("ZADD missing XX 1 a", "0"),
        ("ZADD k gt ch 0 a 2 a", "1"),
        ("ZADD k LT CH 3 a 1.5 a", "1"),
        ("ZADD k INCR 2 a", "3.5"),
        ("ZADD k XX INCR 1 nobody", "NullBulk"),
        ("ZADD k NX INCR 1 a", "NullBulk"),
        ("ZADD k GT INCR -1 a", "NullBulk"),
        ("ZADD missing XX INCR 1 a", "NullBulk"),
        ("EXISTS missing", "0"),
        ("ZADD k INCR 0 a", "3.5"),
        ("ZINCRBY k -1.5 a", "2"),
        ("ZINCRBY k inf i", "inf"),
        (
            "ZINCRBY k -inf i",
            "ERR resulting score is not a number (NaN)",
        ),
        ("ZADD k nan a", "ERR value is not a valid float"),
        ("ZADD k 1 a x b", "ERR value is not a valid float"),
        ("ZADD k 1 a 2", "ERR syntax error"),
        ("ZADD k NX CH", "ERR syntax error"),
        ("ZINCRBY k nx a", "ERR syntax error"),
        (
            "ZADD k NX XX 1 a",
            "ERR XX and NX options at the same time are not compatible",
        ),
        ("ZADD k GT NX 1 a", gt_lt),
        ("ZADD k GT LT 1 a", gt_lt),
        (
            "ZADD k INCR 1 a 2 b",
            "ERR INCR option supports a single increment-element pair",
        ),
        ("ZRANGE k 0 -1 WITHSCORES", "a 2 c 4 b 5 d 6 e 8 i inf"),
        ("SET s 1", "OK"),
        (
            "ZADD s 1 a",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        ("ZADD s x a", "ERR value is not a valid float"),
    ]);
}

#[test]
fn one_by_one() {
    answers(&[
        ("ZADD k 1 a 2 b 3 c", "3"),
        ("ZCARD k", "3"),
        ("ZCARD missing", "0"),
        ("ZSCORE k b", "2"),
        ("ZSCORE k nobody", "NullBulk"),
        ("ZSCORE missing a", "NullBulk"),
        ("ZMSCORE k a nobody c", "1 NullBulk 3"),
        ("ZMSCORE missing a b", "NullBulk NullBulk"),
        ("ZRANK k c", "2"),
        ("ZREVRANK k c", "0"),
        ("ZRANK k nobody", "NullBulk"),
        ("ZRANK k b WITHSCORE", "1 2"),
        ("ZREVRANK k a withscore", "2 1"),
        ("ZRANK k b WITHSCORES", "ERR syntax error"),
        (
            "ZRANK k b WITHSCORE x",
            "ERR wrong number of arguments for 'zrank' command",
        ),
        ("ZREM k a nobody b a", "2"),
        ("ZREM k c", "1"),
        ("EXISTS k", "0"),
        ("ZREM k c", "0"),
    ]);
    let mut harness = Harness::new();
    assert_eq!(harness.line("ZRANK k a WITHSCORE"), Value::NullArray);
    assert_eq!(harness.line("ZRANK k a"), Value::NullBulk);
}

#[test]
fn ranges_by_rank_score_and_bytes() {
    let limit =
        "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
    let scores = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";
    let mut harness = answers(&[
        ("ZADD k 1 a 2 b 3 c 4 d 5 e", "5"),
        ("ZRANGE k 1 2", "b c"),
        ("ZRANGE k -2 -1 REV", "b a"),
        ("ZREVRANGE k 0 1 WITHSCORES", "e 5 d 4"),
        ("ZRANGE k 9 10", ""),
        ("ZRANGE missing 0 -1", ""),
        ("ZRANGE k (1 4 BYSCORE", "b c d"),
        ("ZRANGE k 4 (1 BYSCORE REV", "d c b"),
        ("ZRANGEBYSCORE k -inf +inf LIMIT 1 2 WITHSCORES", "b 2 c 3"),
        ("ZRANGEBYSCORE k -inf +inf LIMIT 3 -1", "d e"),
        ("ZRANGEBYSCORE k -inf +inf LIMIT -1 2", ""),
        ("ZRANGEBYSCORE k -inf +inf LIMIT 0 0", ""),
        ("ZREVRANGEBYSCORE k 4 2 LIMIT 1 1", "c"),
        ("ZCOUNT k (1 (4", "2"),
        ("ZCOUNT k 4 1", "0"),
        (
            "ZRANGE k 1 x",
            "ERR value is not an integer or out of range",
        ),
        ("ZRANGE k 0 1 LIMIT 0 1", limit),
        ("ZREVRANGE k 0 1 LIMIT 0 1", limit),
        ("ZRANGE k 0 1 LIMIT 5 -1", "a b"),
        ("ZRANGE k 0 1 REV REV", "ERR syntax error"),
        ("ZRANGE k - + BYLEX BYSCORE", "ERR syntax error"),
        ("ZRANGEBYSCORE k 0 1 BYLEX", "ERR syntax error"),
        ("ZRANGE k - + BYLEX WITHSCORES", scores),
        ("ZRANGEBYLEX k - + WITHSCORES", scores),
        ("ZRANGE k x 1 BYSCORE", "ERR min or max is not a float"),
        ("ZCOUNT k nan 1", "ERR min or max is not a float"),
        (
            "ZRANGEBYLEX k a [b",
            "ERR min or max not valid string range item",
        ),
        ("ZADD l 0 foo 0 bar 0 baz 0 qux", "4"),
        ("ZRANGEBYLEX l [bar (foo", "bar baz"),
        ("ZREVRANGEBYLEX l + (bar LIMIT 1 2", "foo baz"),
        ("ZRANGE l + - BYLEX REV LIMIT 0 1", "qux"),
        ("ZLEXCOUNT l - +", "4"),
        ("ZLEXCOUNT l (bar [qux", "3"),
        ("ZLEXCOUNT l + -", "0"),
        ("ZLEXCOUNT missing - +", "0"),
    ]);
    harness.resp3();
    let double = |text: &str| Value::Double(text.into());
    let pair = |member: &str, score| Value::Array(vec![bulk(member), double(score)]);
    assert_eq!(
        harness.line("ZRANGE k 0 1 WITHSCORES"),
        Value::Array(vec![pair("a", "1"), pair("b", "2")])
    );
    assert_eq!(harness.line("ZSCORE k a"), double("1"));
    assert_eq!(
        harness.line("ZPOPMIN k"),
        Value::Array(vec![bulk("a"), double("1")])
    );
    assert_eq!(
        harness.line("ZPOPMAX k 1"),
        Value::Array(vec![pair("e", "5")])
    );
}

#[test]
fn removed_and_stored_ranges() {
    answers(&[
        ("ZADD k 1 a 2 b 3 c 4 d 5 e 6 f", "6"),
        ("ZREMRANGEBYRANK k 0 0", "1"),
        ("ZREMRANGEBYSCORE k (2 3", "1"),
        ("ZREMRANGEBYLEX k (e +", "1"),
        ("ZRANGE k 0 -1", "b d e"),
        ("ZRANGESTORE t k 2 4 BYSCORE", "2"),
        ("ZRANGE t 0 -1 WITHSCORES", "b 2 d 4"),
        ("ZRANGESTORE t k 0 0 REV", "1"),
        ("ZRANGE t 0 -1 WITHSCORES", "e 5"),
        ("ZRANGESTORE t k 0 0 WITHSCORES", "ERR syntax error"),
        ("ZRANGESTORE t missing 0 -1", "0"),
        ("EXISTS t", "0"),
        ("ZRANGESTORE k k 0 1", "2"),
        ("ZREMRANGEBYRANK k 0 -1", "2"),
        ("EXISTS k", "0"),
        ("ZREMRANGEBYRANK k 0 -1", "0"),
        (
            "ZREMRANGEBYRANK k x 1",
            "ERR value is not an integer or out of range",
        ),
        ("ZREMRANGEBYSCORE k x 1", "ERR min or max is not a float"),
        (
            "ZREMRANGEBYLEX k x +",
            "ERR min or max not valid string range item",
        ),
    ]);
}

#[test]
fn pops() {
    let positive = "ERR value is out of range, must be positive";
    let mut harness = answers(&[
        ("ZADD k 1 a 2 b 3 c 4 d 5 e", "5"),
        ("ZPOPMIN k", "a 1"),
        ("ZPOPMAX k 2", "e 5 d 4"),
        ("ZPOPMIN k 0", ""),
        ("ZPOPMIN missing", ""),
        ("ZPOPMIN missing 2", ""),
        ("ZPOPMIN k -1", positive),
        ("ZPOPMAX k x", positive),
        ("ZPOPMIN k 1 2", "ERR syntax error"),
        ("ZMPOP 2 missing k MIN", "k b 2"),
        ("BZPOPMAX missing k 0", "k c 3"),
        ("EXISTS k", "0"),
        ("ZADD k 1 a 2 b 3 c", "3"),
        ("BZMPOP 0 1 k MAX COUNT 2", "k c 3 b 2"),
        ("BZPOPMIN k 0", "k a 1"),
        ("ZMPOP 0 k MIN", "ERR numkeys should be greater than 0"),
        ("ZMPOP x k MIN", "ERR numkeys should be greater than 0"),
        ("ZMPOP 1 k MID", "ERR syntax error"),
        ("ZMPOP 2 k MIN", "ERR syntax error"),
        (
            "ZMPOP 1 k MIN COUNT 0",
            "ERR count should be greater than 0",
        ),
        ("ZMPOP 1 k MIN COUNT 1 COUNT 1", "ERR syntax error"),
        ("ZMPOP 9223372036854775807 k MIN", "ERR syntax error"),
        ("BZPOPMIN k x", "ERR timeout is not a float or out of range"),
        ("BZMPOP -1 1 k MIN", "ERR timeout is negative"),
        ("SET s 1", "OK"),
        ("ZADD k 1 a", "1"),
        (
            "BZPOPMIN s k 0",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
    ]);
    assert_eq!(harness.line("ZMPOP 1 missing MIN"), Value::NullArray);
    harness.line("ZADD k 2 b 3 c");
    assert_eq!(harness.propagated_as("BZPOPMAX x k 0"), ["ZPOPMAX k"]);
    assert_eq!(
        harness.propagated_as("ZMPOP 1 k MIN COUNT 9"),
        ["ZPOPMIN k 2"]
    );
    harness.line("ZADD k 2 b 3 c");
    assert_eq!(harness.propagated_as("BZMPOP 0 1 k MAX"), ["ZPOPMAX k 1"]);
    assert!(harness.propagated_as("ZPOPMIN k").is_empty());
}

#[test]
fn algebra_of_sorted_sets_and_sets() {
    let keys = "ERR at least 1 input key is needed for 'zunionstore' command";
    answers(&[
        ("ZADD a 1 x 2 y 3 z", "3"),
        ("ZADD b 10 y 20 z 30 w", "3"),
        ("SADD s x y 7", "3"),
        ("ZUNION 2 a b", "x y z w"),
        ("ZUNION 2 a b WITHSCORES", "x 1 y 12 z 23 w 30"),
        (
            "ZUNION 2 a b WEIGHTS 2 -1 AGGREGATE MIN WITHSCORES",
            "w -30 z -20 y -10 x 2",
        ),
        ("ZINTER 2 a b WITHSCORES AGGREGATE MAX", "y 10 z 20"),
        ("ZINTER 2 a s WITHSCORES WEIGHTS 1 5", "x 6 y 7"),
        ("ZINTER 2 a missing", ""),
        ("ZINTER 2 a a WITHSCORES", "x 2 y 4 z 6"),
        ("ZDIFF 2 a b WITHSCORES", "x 1"),
        ("ZDIFF 2 a a", ""),
        ("ZDIFF 2 missing a", ""),
        ("ZDIFF 3 s a missing WITHSCORES", "7 1"),
        ("ZINTERCARD 2 a b", "2"),
        ("ZINTERCARD 2 a b LIMIT 1", "1"),
        ("ZINTERCARD 2 a b LIMIT 0", "2"),
        ("ZINTERCARD 1 s", "3"),
        ("ZUNIONSTORE t 2 a s", "4"),
        ("ZRANGE t 0 -1 WITHSCORES", "7 1 x 2 y 3 z 3"),
        ("ZINTERSTORE t 2 t b", "2"),
        ("ZRANGE t 0 -1 WITHSCORES", "y 13 z 23"),
        ("ZDIFFSTORE t 2 a missing", "3"),
        ("ZINTERSTORE t 2 a missing", "0"),
        ("EXISTS t", "0"),
        ("ZUNIONSTORE t 0 a", keys),
        ("ZUNIONSTORE t 3 a b", "ERR syntax error"),
        (
            "ZUNIONSTORE t x a",
            "ERR value is not an integer or out of range",
        ),
        ("ZUNION 1 a WEIGHTS x", "ERR weight value is not a float"),
        ("ZUNION 2 a b WEIGHTS 1", "ERR syntax error"),
        ("ZUNION 1 a AGGREGATE AVG", "ERR syntax error"),
        ("ZUNIONSTORE t 1 a WITHSCORES", "ERR syntax error"),
        ("ZDIFF 1 a WEIGHTS 1", "ERR syntax error"),
        ("ZINTERCARD 1 a LIMIT -1", "ERR LIMIT can't be negative"),
        ("ZINTERCARD 1 a WITHSCORES", "ERR syntax error"),
        ("SET str 1", "OK"),
        (
            "ZUNION 2 a str NONSENSE",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        // Infinities of both signs, and infinity times nothing, are 0.
        ("ZADD p inf i", "1"),
        ("ZADD n -inf i", "1"),
        ("ZUNION 2 p n WITHSCORES", "i 0"),
        ("ZINTER 1 p WEIGHTS 0 WITHSCORES", "i 0"),
    ]);
}

/// Differences are found in two ways; the second one is taken where the others are small.
#[test]
fn large_differences() {
    let mut harness = Harness::new();
    for at in 0..300 {
        harness.line(&format!("ZADD big {at} m{at}"));
    }
    for set in ["p", "q", "r"] {
        harness.line(&format!("ZADD {set} 0 m0 0 m1 0 m2{set}"));
    }
    assert_eq!(harness.line("ZDIFFSTORE t 4 big p q r"), int(298));
    assert_eq!(harness.line("ZRANGE t 0 1"), list(&["m2", "m3"]));
}

#[test]
fn encodings() {
    let mut harness = Harness::new();
    harness.config("zset-max-listpack-entries", "3");
    harness.config("zset-max-listpack-value", "8");
    let encoding =
        |harness: &mut Harness, key| text(&harness.line(&format!("OBJECT ENCODING {key}")));
    harness.line("ZADD k 1 a 2 b 3 c");
    assert_eq!(encoding(&mut harness, "k"), "listpack");
    harness.line("ZADD k 4 d");
    assert_eq!(encoding(&mut harness, "k"), "skiplist");
    harness.line("ZREM k d");
    assert_eq!(encoding(&mut harness, "k"), "skiplist");
    harness.line("ZUNIONSTORE t 1 k");
    assert_eq!(encoding(&mut harness, "t"), "listpack");
    harness.line("ZRANGESTORE t k 0 -1");
    assert_eq!(encoding(&mut harness, "t"), "listpack");
    harness.line("ZADD k 1 much-too-long");
    harness.line("ZRANGESTORE t k 0 0");
    assert_eq!(encoding(&mut harness, "t"), "listpack");
    harness.line("ZRANGESTORE t k 0 1");
    assert_eq!(encoding(&mut harness, "t"), "skiplist");
    harness.line("ZADD new 1 much-too-long");
    assert_eq!(encoding(&mut harness, "new"), "skiplist");
    harness.config("zset-max-listpack-entries", "0");
    harness.line("ZADD none 1 a");
    assert_eq!(encoding(&mut harness, "none"), "skiplist");
}

#[test]
fn scans() {
    let mut harness = check(&[("ZADD k 1 a 2.5 b 3 c", int(3))]);
    let whole = Value::Array(vec![bulk("0"), list(&["a", "1", "b", "2.5", "c", "3"])]);
    assert_eq!(harness.line("ZSCAN k 0"), whole);
    let some = Value::Array(vec![bulk("0"), list(&["b", "2.5"])]);
    assert_eq!(harness.line("ZSCAN k 0 MATCH b* COUNT 1"), some);
    let nothing = Value::Array(vec![bulk("0"), list(&[])]);
    assert_eq!(harness.line("ZSCAN missing 0"), nothing);
    assert_eq!(harness.line("ZSCAN k x"), error("ERR invalid cursor"));
    assert_eq!(harness.line("ZSCAN k 0 COUNT 0"), error("ERR syntax error"));
    harness.config("zset-max-listpack-entries", "0");
    harness.resp3();
    // In a hash table, scores are printed with 17 digits, and are strings in either dialect.
    harness.line("ZADD large 0.1 a");
    let large = Value::Array(vec![bulk("0"), list(&["a", "0.10000000000000001"])]);
    assert_eq!(harness.line("ZSCAN large 0"), large);
}

#[test]
fn random_members() {
    let mut harness = check(&[
        ("ZADD k 1 a 2 b 3 c", int(3)),
        ("ZRANDMEMBER missing", Value::NullBulk),
        ("ZRANDMEMBER missing 3", Value::Array(vec![])),
        ("ZRANDMEMBER k 0", Value::Array(vec![])),
        ("ZRANDMEMBER k 1 WITHSCORE", error("ERR syntax error")),
        (
            "ZRANDMEMBER k x",
            error("ERR value is not an integer or out of range"),
        ),
        (
            "ZRANDMEMBER k -9223372036854775808",
            error(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
        ),
        (
            "ZRANDMEMBER k -9223372036854770000 WITHSCORES",
            error("ERR value is out of range"),
        ),
    ]);
    assert!(["a", "b", "c"].contains(&text(&harness.line("ZRANDMEMBER k")).as_str()));
    let mut two = text(&harness.line("ZRANDMEMBER k 2 WITHSCORES"));
    two.retain(|c| c.is_ascii_digit());
    assert!(two.len() == 2 && !["11", "22", "33"].contains(&two.as_str()));
    assert_eq!(text(&harness.line("ZRANDMEMBER k 9")).len(), 5);
    assert_eq!(text(&harness.line("ZRANDMEMBER k -9")).len(), 17);
    harness.resp3();
    let Value::Array(pairs) = harness.line("ZRANDMEMBER k -2 WITHSCORES") else {
        panic!("an array")
    };
    assert!(matches!(&pairs[0], Value::Array(pair) if pair.len() == 2));
}

/// What Redis does not store, we do not: the sign of a zero in a listpack; in a hash table it stays.
#[test]
fn zeros() {
    let mut harness = check(&[("ZADD k -0.0 a", int(1)), ("ZSCORE k a", bulk("0"))]);
    // Redis counts the pairs that are given, not the members that are new.
    harness.line("CONFIG SET zset-max-listpack-entries 1");
    harness.line("ZADD twice 1 a 1 a");
    assert_eq!(harness.line("OBJECT ENCODING twice"), bulk("skiplist"));
    harness.line("GEOADD places 1 1 a 1 1 a");
    assert_eq!(harness.line("OBJECT ENCODING places"), bulk("skiplist"));
    harness.line("ZADD once 1 a");
    assert_eq!(harness.line("OBJECT ENCODING once"), bulk("listpack"));
    harness.line("ZADD once NX 1 a 1 a");
    assert_eq!(harness.line("OBJECT ENCODING once"), bulk("skiplist"));
    harness.line("CONFIG SET zset-max-listpack-entries 128");
    harness.config("zset-max-listpack-entries", "0");
    assert_eq!(harness.line("ZADD l -0.0 a"), int(1));
    assert_eq!(harness.line("ZSCORE l a"), bulk("-0"));
    assert_eq!(harness.line("ZADD l CH 0 a"), int(0));
}

#[test]
fn stored_results_replace_any_type_and_expiry() {
    let mut harness = check(&[
        ("ZADD k 1 a", int(1)),
        ("SET t x EX 100", ok()),
        ("ZUNIONSTORE t 1 k", int(1)),
        ("TTL t", int(-1)),
    ]);
    let db = &mut harness.state.keyspace.db(0, harness.state.now, false);
    let entry = db.read(b"t").unwrap();
    assert_eq!(entry.sorted_set().unwrap().len(), 1);
}
