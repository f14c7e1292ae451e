//! SORT through the checks, against a whole state without sockets.

use crate::commands::testing::{Harness, bulk, error, int, ok};
use crate::engine::keyspecs;
use crate::resp::OwnedRequest;
use crate::resp::reader::Value;

const SYNTAX: &str = "ERR syntax error";
const NOT_DOUBLE: &str = "ERR One or more scores can't be converted into double";

/// The strings of an answer, nulls as `-`.
fn words(answer: Value) -> String {
    let Value::Array(items) = answer else {
        panic!("not an array: {answer:?}")
    };
    let word = |item: &Value| match item {
        Value::NullBulk => "-".to_owned(),
        item => crate::commands::testing::text(item),
    };
    items.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn check(harness: &mut Harness, lines: &[(&str, &str)]) {
    for (line, expected) in lines {
        assert_eq!(words(harness.line(line)), *expected, "{line}");
    }
}

#[test]
fn numbers_and_texts() {
    let mut harness = Harness::new();
    harness.line("sadd s 10 2 -1 3.5 1e2");
    harness.line("sadd t b a c 10 9");
    check(
        &mut harness,
        &[
            ("sort none", ""),
            ("sort s", "-1 2 3.5 10 1e2"),
            ("sort s desc", "1e2 10 3.5 2 -1"),
            ("sort s asc limit 1 2", "2 3.5"),
            ("sort s limit -5 2", "-1 2"),
            ("sort s limit 3 -1", "10 1e2"),
            ("sort s limit 9 1", ""),
            ("sort s limit 0 0", ""),
            ("sort s desc limit 4 9223372036854775807", "-1"),
            ("sort t alpha", "10 9 a b c"),
            ("sort t alpha desc limit 1 2", "b a"),
            ("sort_ro t alpha limit 0 1", "10"),
        ],
    );
    harness.line("set k v");
    harness.line("sadd nan nan");
    for (line, text) in [
        ("sort t", NOT_DOUBLE),
        ("sort nan", NOT_DOUBLE),
        ("sort s limit 1", SYNTAX),
        ("sort s by", SYNTAX),
        ("sort s get", SYNTAX),
        ("sort s store", SYNTAX),
        ("sort s upwards", SYNTAX),
        ("sort_ro s store d", SYNTAX),
        (
            "sort s limit x 1",
            "ERR value is not an integer or out of range",
        ),
        (
            "sort k",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
    ] {
        assert_eq!(harness.line(line), error(text), "{line}");
    }
}

#[test]
fn by_and_get_look_other_keys_up() {
    let mut harness = Harness::new();
    harness.line("rpush l 1 2 3 4");
    harness.line("mset w1 30 w2 10 w3 20 name_1 one name_2 two x1y d x2y c x3y b x4y a");
    harness.line("hset h1 f 3 g a");
    harness.line("hset h2 f 1");
    harness.line("hset h3 f 2 g b");
    check(
        &mut harness,
        &[
            // A missing weight is 0.
            ("sort l by w*", "4 2 3 1"),
            ("sort l by w* desc", "1 3 2 4"),
            ("sort l by w* limit 1 2", "2 3"),
            ("sort l by x*y alpha", "4 3 2 1"),
            ("sort l by h*->f desc", "1 3 2 4"),
            // Missing texts come first, in the order that they have.
            ("sort l by h*->g alpha", "2 4 1 3"),
            ("sort l by w*->f", "1 2 3 4"),
            ("sort l get name_*", "one two - -"),
            ("sort l get # get h*->f desc", "4 - 3 2 2 1 1 3"),
            ("sort l get constant", "- - - -"),
            ("sort l by nosort", "1 2 3 4"),
            ("sort l by nosort desc limit 1 2", "3 2"),
            ("sort l by nosort limit 9 2", ""),
            ("sort l by nosort by w*", "1 2 3 4"),
            ("sort l by h*-> alpha limit 0 1", "1"),
        ],
    );
    assert_eq!(harness.line("sort l by x*y"), error(NOT_DOUBLE));
}

#[test]
fn sorted_sets_have_an_order_of_their_own() {
    let mut harness = Harness::new();
    harness.line("zadd z 1 c 2 a 3 e 4 b 5 d");
    check(
        &mut harness,
        &[
            ("sort z alpha", "a b c d e"),
            ("sort z by nosort", "c a e b d"),
            ("sort z by nosort desc", "d b e a c"),
            ("sort z by nosort limit 1 2", "a e"),
            ("sort z by nosort desc limit 1 2", "b e"),
            ("sort z by nosort limit 5 2", ""),
            ("sort z by nosort desc limit 9 2", ""),
        ],
    );
}

#[test]
fn results_are_stored_as_lists() {
    let mut harness = Harness::new();
    harness.line("sadd s 3 1 2");
    harness.line("sadd t b 10 a");
    harness.line("set d old ex 100");
    assert_eq!(harness.line("sort s store d"), int(3));
    assert_eq!(harness.line("ttl d"), int(-1));
    assert_eq!(words(harness.line("lrange d 0 -1")), "1 2 3");
    assert_eq!(harness.line("sort s get none* get # store d"), int(6));
    assert_eq!(words(harness.line("lrange d 0 -1")), " 1  2  3");
    // A set without an order is stored in the order of its texts.
    assert_eq!(harness.line("sort t by nosort store d"), int(3));
    assert_eq!(words(harness.line("lrange d 0 -1")), "10 a b");
    assert_eq!(harness.line("sort s limit 9 1 store d"), int(0));
    assert_eq!(harness.line("exists d"), int(0));
    assert_eq!(harness.line("sort none store d"), int(0));
    assert_eq!(harness.line("set d v"), ok());
    assert_eq!(harness.line("sort t store d"), error(NOT_DOUBLE));
    assert_eq!(harness.line("get d"), bulk("v"));
}

#[test]
fn texts_end_at_a_zero_byte_unless_they_are_stored() {
    let mut harness = Harness::new();
    harness.run(&[b"rpush".as_slice(), b"l", b"a\0b", b"a\0a", b"1"]);
    assert_eq!(words(harness.line("sort l alpha")), "1 a\0b a\0a");
    harness.line("sort l alpha store d");
    assert_eq!(words(harness.line("lrange d 0 -1")), "1 a\0a a\0b");
    harness.run(&[b"rpush".as_slice(), b"n", b"1e400", b"1\0x", b""]);
    assert_eq!(words(harness.line("sort n")), " 1\0x 1e400");
    for bad in ["0x10", " 2", "nan"] {
        harness.run(&["rpush", "n", bad]);
        assert_eq!(harness.line("sort n"), error(NOT_DOUBLE), "{bad:?}");
        harness.line("rpop n");
    }
}

#[test]
fn the_last_store_is_a_key() {
    let mut harness = Harness::new();
    let mut keys = |line: &str| {
        let request = OwnedRequest::from_slices(&line.split(' ').collect::<Vec<_>>());
        let id = harness.state.table.find(request.args().at(0)).unwrap();
        let spec = harness.state.table.get(id).spec;
        let found = keyspecs::keys_of(spec, request.args()).unwrap();
        found.into_iter().map(|(at, _)| at).collect::<Vec<_>>()
    };
    assert_eq!(keys("sort a by store get store limit 1 2"), [1]);
    assert_eq!(keys("sort a store b get x store c"), [1, 7]);
    assert_eq!(keys("sort a store"), [1]);
    assert_eq!(keys("sort_ro a store b"), [1]);
}
