//! The HyperLogLog commands through the checks.

use crate::commands::testing::{Harness, bulk, check, error, int, ok};
use crate::resp::reader::Value;

const NO_HLL: &str = "WRONGTYPE Key is not a valid HyperLogLog string value.";
const CORRUPT: &str = "INVALIDOBJ Corrupted HLL object detected";

#[test]
fn adding_counting_merging() {
    let mut harness = check(&[
        ("pfadd h", int(1)),
        ("pfadd h", int(0)),
        ("pfcount h", int(0)),
        ("pfadd h a b c", int(1)),
        ("pfadd h b", int(0)),
        ("pfcount h", int(3)),
        ("pfcount h", int(3)),
        ("pfcount none", int(0)),
        ("object encoding h", bulk("raw")),
        ("pfadd other c d", int(1)),
        ("pfcount h other none", int(4)),
        ("pfmerge h other none", ok()),
        ("pfcount h", int(4)),
        ("pfdebug encoding h", Value::Simple("sparse".into())),
        ("pfdebug todense h", int(1)),
        ("pfdebug todense h", int(0)),
        ("pfdebug encoding h", Value::Simple("dense".into())),
        ("pfdebug decode h", error("ERR HLL encoding is not sparse")),
        ("pfmerge both other h", ok()),
        ("strlen both", int(12_304)),
        ("pfcount both", int(4)),
        ("pfmerge empty", ok()),
        ("strlen empty", int(18)),
        ("pfdebug decode empty", bulk("Z:16384")),
        (
            "pfdebug nothing h",
            error("ERR Unknown PFDEBUG subcommand 'nothing'"),
        ),
        (
            "pfdebug encoding none",
            error("ERR The specified key does not exist"),
        ),
        ("pfselftest", ok()),
    ]);
    let Value::Array(registers) = harness.line("pfdebug getreg other") else {
        panic!("registers")
    };
    assert_eq!(registers.len(), 16_384);
    assert_eq!(registers.iter().filter(|it| **it != int(0)).count(), 2);
}

#[test]
fn many_elements_grow_it_until_it_is_dense() {
    let mut harness = Harness::new();
    harness.config("hll-sparse-max-bytes", "1500");
    harness.line("expire h 100");
    let mut was_sparse_for = 0;
    for number in 0..1500 {
        harness.line(&format!("pfadd h e{number}"));
        if harness.line("pfdebug encoding h") == Value::Simple("sparse".into()) {
            was_sparse_for = number;
        }
    }
    assert!((400..1400).contains(&was_sparse_for), "{was_sparse_for}");
    let Value::Integer(count) = harness.line("pfcount h") else {
        panic!("a count")
    };
    assert!((1450..1550).contains(&count), "{count}");
}

#[test]
fn a_count_is_kept_until_the_next_change() {
    let mut harness = Harness::new();
    let mut dirty = 0;
    for (line, is_change) in [
        ("pfadd h a", true),
        ("pfcount h", true),
        ("pfcount h", false),
        ("pfcount h none", false),
        ("pfadd h a", false),
        ("pfcount h", false),
        ("pfadd h b", true),
        ("pfcount h", true),
        ("pfmerge h", true),
    ] {
        harness.line(line);
        dirty += u64::from(is_change);
        assert_eq!(harness.state.keyspace.dirty, dirty, "{line}");
    }
}

#[test]
fn what_is_no_hyperloglog_is_refused() {
    let mut harness = Harness::new();
    for bytes in [
        b"".as_slice(),
        b"1234",
        b"HYLL",
        b"foo bar foo bar foo bar",
        b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0\x7f\xff",
        b"HYLL\0\0\0\0\0\0\0\0\0\0\0\0\x7f\xff",
    ] {
        harness.run(&[b"set".as_slice(), b"h", bytes]);
        for line in [
            "pfadd h a",
            "pfcount h",
            "pfcount h h",
            "pfmerge x h",
            "pfmerge h",
            "pfdebug getreg h",
        ] {
            assert_eq!(harness.line(line), error(NO_HLL), "{line} {bytes:?}");
        }
    }
    for opcodes in [
        b"".as_slice(),
        b"\x7f",
        b"\x7f\xfe",
        b"\x7f\xff\x00",
        b"\x88",
    ] {
        let bytes = [b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80".as_slice(), opcodes].concat();
        harness.run(&[b"set".as_slice(), b"h", &bytes]);
        for line in [
            "pfcount h",
            "pfcount h h",
            "pfmerge x h",
            "pfmerge h",
            "pfdebug todense h",
        ] {
            assert_eq!(harness.line(line), error(CORRUPT), "{line} {opcodes:?}");
        }
    }
    harness.run(&[
        b"set".as_slice(),
        b"h",
        b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x88",
    ]);
    assert_eq!(harness.line("pfadd h a b c"), error(CORRUPT));
}
