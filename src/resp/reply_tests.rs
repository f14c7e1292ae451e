//! Each spelling in both dialects, and: what is written is read back.

use super::*;
use crate::resp::reader::{Value, read_all};
use proptest::prelude::*;
use std::sync::Arc;

/// What `write` writes in RESP2 and in RESP3.
fn both(write: impl Fn(&mut Reply)) -> (String, String) {
    let [two, three] = [Protocol::Resp2, Protocol::Resp3].map(|protocol| {
        let mut reply = Reply::new(protocol);
        write(&mut reply);
        String::from_utf8(reply.output().to_vec()).unwrap()
    });
    (two, three)
}

fn check(write: impl Fn(&mut Reply), resp2: &str, resp3: &str) {
    assert_eq!(both(write), (resp2.to_string(), resp3.to_string()));
}

#[test]
fn scalars() {
    check(|r| r.ok(), "+OK\r\n", "+OK\r\n");
    check(|r| r.simple("QUEUED"), "+QUEUED\r\n", "+QUEUED\r\n");
    check(|r| r.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n");
    check(
        |r| r.bulk(b"a\r\nb"),
        "$4\r\na\r\nb\r\n",
        "$4\r\na\r\nb\r\n",
    );
    check(|r| r.bulk_i64(-17), "$3\r\n-17\r\n", "$3\r\n-17\r\n");
    check(|r| r.bulk_or_null(None), "$-1\r\n", "_\r\n");
    check(|r| r.null(), "$-1\r\n", "_\r\n");
    check(|r| r.null_array(), "*-1\r\n", "_\r\n");
    check(|r| r.boolean(true), ":1\r\n", "#t\r\n");
    check(|r| r.boolean(false), ":0\r\n", "#f\r\n");
    check(
        |r| r.big_number("123456789012345678901"),
        "$21\r\n123456789012345678901\r\n",
        "(123456789012345678901\r\n",
    );
    check(
        |r| r.verbatim("txt", b"hi"),
        "$2\r\nhi\r\n",
        "=6\r\ntxt:hi\r\n",
    );
    check(|r| r.raw(b":5\r\n"), ":5\r\n", ":5\r\n");
}

#[test]
fn integers_of_each_width() {
    for n in [
        0,
        1,
        9,
        10,
        42,
        99,
        100,
        255,
        256,
        -1,
        -10,
        i64::MAX,
        i64::MIN,
    ] {
        check(|r| r.integer(n), &format!(":{n}\r\n"), &format!(":{n}\r\n"));
    }
    check(|r| r.count(7), ":7\r\n", ":7\r\n");
    for n in [0usize, 9, 10, 99, 100, 999, 1000, 70_000] {
        let body = "x".repeat(n);
        let text = format!("${n}\r\n{body}\r\n");
        check(|r| r.bulk(body.as_bytes()), &text, &text);
        let blob = Arc::new(body.clone().into_bytes());
        check(|r| r.blob(&blob), &text, &text);
    }
}

#[test]
fn doubles() {
    for (value, text) in [
        (3.0, "3"),
        (3.25, "3.25"),
        (-0.5, "-0.5"),
        (0.0, "0"),
        (-0.0, "-0"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
        (17179869184.0, "17179869184"),
        (0.1, "0.1"),
    ] {
        let bulk = format!("${}\r\n{text}\r\n", text.len());
        check(|r| r.double(value), &bulk, &format!(",{text}\r\n"));
        check(|r| r.bulk_double(value), &bulk, &bulk);
    }
}

#[test]
fn aggregates() {
    check(|r| r.array(3), "*3\r\n", "*3\r\n");
    check(|r| r.array(123), "*123\r\n", "*123\r\n");
    check(|r| r.map(6), "*12\r\n", "%6\r\n");
    check(|r| r.set(2), "*2\r\n", "~2\r\n");
    check(|r| r.push(3), "*3\r\n", ">3\r\n");
    let mut reply = Reply::new(Protocol::Resp3);
    reply.attribute(1);
    assert_eq!(reply.output().to_vec(), b"|1\r\n");
}

#[test]
fn errors_are_one_line_and_are_counted() {
    let mut reply = Reply::default();
    reply.error("WRONGTYPE Operation");
    reply.error("ERR a\r\nb\n");
    assert_eq!(
        reply.output().to_vec(),
        b"-WRONGTYPE Operation\r\n-ERR a  b\r\n"
    );
    assert_eq!(
        (reply.error_count(), reply.last_error()),
        (2, &b"ERR a  b"[..])
    );
    assert_eq!(reply.last_error_code(), b"ERR");
    reply.error("NOSCRIPT No matching script.");
    assert_eq!(reply.last_error_code(), b"NOSCRIPT");
    reply.error("WITHOUTBLANK");
    assert_eq!(reply.last_error_code(), b"ERR");
    // Line breaks in front are no code.
    reply.error("\r\nq");
    assert_eq!(
        (reply.last_error_code(), reply.last_error()),
        (&b""[..], &b"  q"[..])
    );
    reply.output_mut().clear();
    let long = "ERR ".to_string() + &"x".repeat(1000);
    reply.error(&long);
    assert_eq!(reply.output().to_vec(), format!("-{long}\r\n").as_bytes());
}

#[test]
fn discarded_replies_write_nothing_but_errors_count() {
    let mut reply = Reply::new(Protocol::Resp3);
    reply.set_discard(true);
    reply.ok();
    reply.simple("x");
    reply.error("ERR x");
    reply.integer(5);
    reply.bulk(b"x");
    reply.blob(&Arc::new(vec![0; 20_000]));
    reply.bulk_i64(5);
    reply.null();
    reply.null_array();
    reply.boolean(true);
    reply.double(1.5);
    reply.bulk_double(1.5);
    reply.verbatim("txt", b"x");
    reply.big_number("1");
    reply.raw(b"+x\r\n");
    reply.map(1);
    reply.attribute(1);
    let mark = reply.begin_deferred();
    reply.end_deferred_array(mark, 100);
    assert_eq!((reply.bytes_written(), reply.error_count()), (0, 1));
    reply.set_discard(false);
    reply.ok();
    assert_eq!(reply.bytes_written(), 5);
}

#[test]
fn deferred_aggregates_nest_and_reach_over_chunks() {
    let mut reply = Reply::new(Protocol::Resp3);
    reply.ok();
    let outer = reply.begin_deferred();
    for i in 0..300usize {
        let inner = reply.begin_deferred();
        for _ in 0..i {
            reply.bulk(b"0123456789");
        }
        if i % 50 == 0 {
            reply.blob(&Arc::new(vec![b'b'; 20_000]));
            reply.end_deferred_set(inner, i + 1);
        } else {
            reply.end_deferred_array(inner, i);
        }
    }
    let empty = reply.begin_deferred();
    reply.end_deferred_map(empty, 0);
    reply.end_deferred_array(outer, 301);
    let values = read_all(&reply.output().to_vec()).unwrap();
    assert_eq!(values.len(), 2);
    let items = values[1].items().unwrap();
    assert_eq!(items.len(), 301);
    for (i, item) in items[..300].iter().enumerate() {
        let len = i + usize::from(i % 50 == 0);
        assert_eq!(item.items().map(<[Value]>::len), Some(len), "{i}");
    }
    assert_eq!(items[300], Value::Map(vec![]));
}

// ---- what is written is read back ----------------------------------------------------------------

fn value() -> impl Strategy<Value = Value> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..150);
    let leaf = prop_oneof![
        "[a-zA-Z ]{0,9}".prop_map(Value::Simple),
        "[A-Z]{1,9} [a-z ]{0,9}[a-z]".prop_map(|s| Value::Error(s.into_bytes())),
        any::<i64>().prop_map(Value::Integer),
        (-200i64..200).prop_map(Value::Integer),
        bytes().prop_map(Value::Bulk),
        (9_000usize..40_000).prop_map(|n| Value::Bulk(vec![b'v'; n])),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<f64>().prop_map(|d| {
            let mut text = Vec::new();
            write_double(&mut text, d);
            Value::Double(String::from_utf8(text).unwrap())
        }),
        bytes().prop_map(|b| Value::Verbatim("txt".into(), b)),
        "[1-9][0-9]{20,30}".prop_map(Value::BigNumber),
    ];
    leaf.prop_recursive(4, 200, 12, |inner| {
        let items = || proptest::collection::vec(inner.clone(), 0..12);
        let pairs = || proptest::collection::vec((inner.clone(), inner.clone()), 0..12);
        prop_oneof![
            items().prop_map(Value::Array),
            items().prop_map(Value::Set),
            items().prop_map(Value::Push),
            pairs().prop_map(Value::Map),
        ]
    })
}

/// Writes a value; aggregates deferred or not by turns.
fn write(reply: &mut Reply, value: &Value, turn: &mut u32) {
    *turn += 1;
    let deferred = (*turn).is_multiple_of(2);
    match value {
        Value::Simple(text) => reply.simple(text),
        Value::Error(text) => reply.error(text),
        Value::Integer(n) => reply.integer(*n),
        Value::Bulk(bytes) if deferred => reply.blob(&Arc::new(bytes.clone())),
        Value::Bulk(bytes) => reply.bulk(bytes),
        Value::Null => reply.null(),
        Value::Boolean(b) => reply.boolean(*b),
        Value::Double(text) => reply.double(text.parse().unwrap()),
        Value::Verbatim(format, text) => reply.verbatim(format, text),
        Value::BigNumber(digits) => reply.big_number(digits),
        Value::Array(items) | Value::Set(items) if deferred => {
            let mark = reply.begin_deferred();
            items.iter().for_each(|item| write(reply, item, turn));
            match value {
                Value::Array(_) => reply.end_deferred_array(mark, items.len()),
                _ => reply.end_deferred_set(mark, items.len()),
            }
        }
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            match value {
                Value::Array(_) => reply.array(items.len()),
                Value::Set(_) => reply.set(items.len()),
                _ => reply.push(items.len()),
            }
            items.iter().for_each(|item| write(reply, item, turn));
        }
        Value::Map(pairs) => {
            let mark = deferred.then(|| reply.begin_deferred());
            if mark.is_none() {
                reply.map(pairs.len());
            }
            for (key, value) in pairs {
                write(reply, key, turn);
                write(reply, value, turn);
            }
            if let Some(mark) = mark {
                reply.end_deferred_map(mark, pairs.len());
            }
        }
        other => unreachable!("{other:?}"),
    }
}

/// What a RESP2 client sees of a value.
fn in_resp2(value: &Value) -> Value {
    match value {
        Value::Null => Value::NullBulk,
        Value::Boolean(b) => Value::Integer(i64::from(*b)),
        Value::Double(text) | Value::BigNumber(text) => Value::bulk(text),
        Value::Verbatim(_, text) => Value::bulk(text),
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            Value::Array(items.iter().map(in_resp2).collect())
        }
        Value::Map(pairs) => Value::Array(
            pairs
                .iter()
                .flat_map(|(k, v)| [in_resp2(k), in_resp2(v)])
                .collect(),
        ),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_is_read_back(values in proptest::collection::vec(value(), 1..5)) {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let mut reply = Reply::new(protocol);
            let mut turn = 0;
            values.iter().for_each(|value| write(&mut reply, value, &mut turn));
            let bytes = reply.output().to_vec();
            prop_assert_eq!(bytes.len() as u64, reply.bytes_written());
            let read = read_all(&bytes).expect("what was written is values");
            if protocol == Protocol::Resp3 {
                prop_assert!(read == values);
            } else {
                prop_assert!(read == values.iter().map(in_resp2).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn doubles_read_back_the_same(value in any::<f64>()) {
        let mut text = Vec::new();
        write_double(&mut text, value);
        let back: f64 = std::str::from_utf8(&text).unwrap().parse().unwrap();
        prop_assert!(back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()));
    }
}

/// `cargo test --release --lib resp -- --ignored --nocapture bench`
#[test]
#[ignore = "a measurement"]
fn bench_reply() {
    fn measure(name: &str, write: impl Fn(&mut Reply)) {
        let mut reply = Reply::default();
        reply.output_mut().install(Vec::with_capacity(16 * 1024));
        let (rounds, batch) = (100_000, 100);
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            for _ in 0..batch {
                write(std::hint::black_box(&mut reply));
            }
            let n = reply.output().len();
            reply.output_mut().advance(n);
        }
        let ns = start.elapsed().as_nanos() as f64 / f64::from(rounds * batch);
        println!("reply {name}: {ns:.1} ns");
    }
    let value = [b'x'; 64];
    let kib = [b'x'; 1024];
    measure("bulk 64 B", |r| r.bulk(std::hint::black_box(&value)));
    measure("bulk 1 KiB", |r| r.bulk(std::hint::black_box(&kib)));
    measure("ok", |r| r.ok());
    measure("null", |r| r.null());
    measure("integer 7", |r| r.integer(std::hint::black_box(7)));
    measure("integer 123456", |r| {
        r.integer(std::hint::black_box(123_456))
    });
    measure("array 100", |r| r.array(std::hint::black_box(100)));
    measure("deferred empty", |r| {
        let mark = r.begin_deferred();
        r.end_deferred_array(mark, std::hint::black_box(0));
    });
    measure("double 3.25", |r| r.double(std::hint::black_box(3.25)));
}
