//! The bitmap commands through the checks.

use crate::commands::testing::{Harness, bulk, check, error, int, ok};
use crate::resp::reader::Value;

const SYNTAX: &str = "ERR syntax error";
const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
const BAD_OFFSET: &str = "ERR bit offset is not an integer or out of range";
const BAD_BIT: &str = "ERR bit is not an integer or out of range";
const BAD_TYPE: &str = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";

fn ints(numbers: &[i64]) -> Value {
    Value::Array(numbers.iter().map(|number| int(*number)).collect())
}

#[test]
fn single_bits() {
    let mut harness = check(&[
        ("setbit k 1 1", int(0)),
        ("get k", bulk("@")),
        ("object encoding k", bulk("raw")),
        ("setbit k 1 1", int(1)),
        ("getbit k 1", int(1)),
        ("getbit k 0", int(0)),
        ("getbit k 4000000000", int(0)),
        ("getbit none 3", int(0)),
        ("setbit k 1 0", int(1)),
        ("setbit k 9999 1", int(0)),
        ("strlen k", int(1250)),
        ("bitcount k", int(1)),
        ("set n 123", ok()),
        ("getbit n 2", int(1)),
        ("setbit n 6 0", int(0)),
        ("object encoding n", bulk("raw")),
        ("setbit n 7 0", int(1)),
        ("get n", bulk("023")),
        ("setbit k 4294967296 1", error(BAD_OFFSET)),
        ("setbit k -1 1", error(BAD_OFFSET)),
        ("setbit k x 1", error(BAD_OFFSET)),
        ("setbit k #1 1", error(BAD_OFFSET)),
        ("getbit k 4294967296", error(BAD_OFFSET)),
        ("setbit k 0 2", error(BAD_BIT)),
        ("setbit k 0 -1", error(BAD_BIT)),
        ("setbit k 0 x", error(BAD_BIT)),
    ]);
    harness.config("proto-max-bulk-len", "1048576");
    assert_eq!(harness.line("setbit far 8388607 1"), int(0));
    assert_eq!(harness.line("strlen far"), int(1_048_576));
    assert_eq!(harness.line("setbit far 8388608 1"), error(BAD_OFFSET));
}

#[test]
fn a_change_is_told_where_there_is_one() {
    let mut harness = Harness::new();
    let mut dirty = 0;
    for (line, is_change) in [
        ("setbit a 0 0", true),
        ("setbit a 0 0", false),
        ("setbit a 0 1", true),
        ("setbit a 90 0", true),
        ("bitfield b set i5 0 0", true),
        ("bitfield b set i5 0 0", false),
        ("bitfield b get i5 0", false),
        ("bitfield b set i5 0 1", true),
        ("bitfield b overflow fail incrby i5 0 100", false),
        ("bitfield b overflow fail incrby i5 900 100", true),
        ("bitop or c none", false),
        ("bitop or c a", true),
        ("bitop or c none", true),
    ] {
        harness.line(line);
        dirty += u64::from(is_change);
        assert_eq!(harness.state.keyspace.dirty, dirty, "{line}");
    }
}

#[test]
fn counting() {
    check(&[
        ("bitcount none", int(0)),
        ("bitcount none a b c d", error(SYNTAX)),
        ("set s foobar", ok()),
        ("bitcount s", int(26)),
        ("bitcount s 0 0", int(4)),
        ("bitcount s 1 -2 byte", int(18)),
        ("bitcount s -2 1", int(0)),
        ("bitcount s 0 1000", int(26)),
        ("bitcount s 5 30 BIT", int(17)),
        ("bitcount s 5 5 bit", int(1)),
        ("bitcount s -1 -3 nonsense", error(SYNTAX)),
        ("bitcount s -3 -1 nonsense", error(SYNTAX)),
        ("bitcount s 0", error(SYNTAX)),
        ("bitcount s 0 1 bit bit", error(SYNTAX)),
        ("bitcount s a 1", error(NOT_INTEGER)),
        ("bitcount s 0 9223372036854775808", error(NOT_INTEGER)),
        (
            "bitcount s -9223372036854775808 9223372036854775807",
            int(26),
        ),
        ("set n 12", ok()),
        ("bitcount n", int(6)),
    ]);
}

#[test]
fn searching() {
    let mut harness = check(&[
        ("bitpos none 1", int(-1)),
        ("bitpos none 0 5 6 nonsense", error(SYNTAX)),
        (
            "bitpos none 2",
            error("ERR The bit argument must be 1 or 0."),
        ),
        ("bitpos none x", error(NOT_INTEGER)),
        ("setrange full 0 x", int(1)),
        ("bitpos full 0 1", int(-1)),
        ("bitpos full 1 0 0 bit", int(-1)),
        ("bitpos full 1 0 1 bit", int(1)),
        ("bitpos full 1 0 -1 foo", error(SYNTAX)),
        ("bitpos full 1 0 -1 bit bit", error(SYNTAX)),
        ("bitpos full 1 x", error(NOT_INTEGER)),
    ]);
    let ones = b"\xff\xff\xff".as_slice();
    harness.run(&[b"set".as_slice(), b"ones", ones]);
    for (line, at) in [
        ("bitpos ones 0", 24),
        ("bitpos ones 0 0", 24),
        ("bitpos ones 0 2", 24),
        ("bitpos ones 0 0 -1", -1),
        ("bitpos ones 0 3", -1),
        ("bitpos ones 1 1", 8),
        ("bitpos ones 1 -1", 16),
        ("bitpos ones 1 5 -3 bit", 5),
        ("bitpos ones 1 9 8 bit", -1),
    ] {
        assert_eq!(harness.line(line), int(at), "{line}");
    }
}

#[test]
fn combining() {
    let two = |name: &str| {
        error(&format!(
            "ERR BITOP {name} must be called with at least two source keys."
        ))
    };
    let mut harness = check(&[
        ("set a abc", ok()),
        ("set b ab", ok()),
        ("set n 12", ok()),
        ("bitop AND r a b", int(3)),
        ("get r", bulk("ab\0")),
        ("bitop or r a b none", int(3)),
        ("get r", bulk("abc")),
        ("bitop xor r a b", int(3)),
        ("get r", bulk("\0\0c")),
        ("bitop diff r a b", int(3)),
        ("get r", bulk("\0\0c")),
        ("bitop diff1 r b a", int(3)),
        ("get r", bulk("\0\0c")),
        ("bitop andor r a b none", int(3)),
        ("get r", bulk("ab\0")),
        ("bitop one r a b", int(3)),
        ("get r", bulk("\0\0c")),
        // The result is bytes even where it spells a number, as in Redis.
        ("bitop or n n none", int(2)),
        ("object encoding n", bulk("raw")),
        ("get n", bulk("12")),
        ("bitop or none none", int(0)),
        ("expire a 100", int(1)),
        ("bitop or a a", int(3)),
        ("ttl a", int(-1)),
        ("bitop or a none", int(0)),
        ("exists a", int(0)),
        (
            "bitop not r a b",
            error("ERR BITOP NOT must be called with a single source key."),
        ),
        ("bitop diff r a", two("DIFF")),
        ("bitop Diff1 r a", two("DIFF1")),
        ("bitop andor r a", two("ANDOR")),
        ("bitop nand r a", error(SYNTAX)),
    ]);
    harness.run(&[b"set".as_slice(), b"s", b"\xaa\x00\xff\x55"]);
    harness.line("bitop not r s");
    assert_eq!(
        harness.line("get r"),
        Value::bulk(b"\x55\xff\x00\xaa".as_slice())
    );
    harness.line("setbit long 80000 1");
    assert_eq!(harness.line("bitop xor long2 long s"), int(10_001));
    assert_eq!(harness.line("bitcount long2"), int(17));
}

#[test]
fn fields() {
    check(&[
        ("bitfield k", ints(&[])),
        ("bitfield k overflow fail", ints(&[])),
        ("exists k", int(0)),
        (
            "bitfield k set u8 0 255 get u8 0 get i8 0",
            ints(&[0, 255, -1]),
        ),
        (
            "bitfield k set i8 #1 -2 get i8 8 get u16 0",
            ints(&[0, -2, 65534]),
        ),
        ("bitfield_ro k get u16 0 get i5 700", ints(&[65534, 0])),
        ("bitfield k incrby u8 0 2", ints(&[1])),
        (
            "bitfield k overflow sat incrby u8 0 300 incrby i8 8 -300",
            ints(&[255, -128]),
        ),
        (
            "bitfield k overflow sat incrby u8 0 -300 incrby i8 8 300",
            ints(&[0, 127]),
        ),
        (
            "bitfield k overflow fail incrby u8 0 -1 overflow wrap incrby u8 0 -1",
            Value::Array(vec![Value::NullBulk, int(255)]),
        ),
        // A negative value for an unsigned integer is read as unsigned, thus far too great.
        (
            "bitfield k overflow sat set u4 0 -1 get u4 0",
            ints(&[15, 15]),
        ),
        ("bitfield k set i64 64 -9223372036854775808", ints(&[0])),
        (
            "bitfield k overflow sat incrby i64 64 -1",
            ints(&[i64::MIN]),
        ),
        ("bitfield k incrby i64 64 -1", ints(&[i64::MAX])),
        ("bitfield k set u63 100 9223372036854775807 get u63 100", {
            // What lay there: the low 28 bits of the number before, then zeros.
            ints(&[((1 << 28) - 1) << 35, i64::MAX])
        }),
        ("bitfield k get u64 0", error(BAD_TYPE)),
        ("bitfield k get i65 0", error(BAD_TYPE)),
        ("bitfield k get i0 0", error(BAD_TYPE)),
        ("bitfield k get x8 0", error(BAD_TYPE)),
        ("bitfield k get u8 -1", error(BAD_OFFSET)),
        ("bitfield k get u8 #536870912", error(BAD_OFFSET)),
        ("bitfield k get u8 #9223372036854775807", error(BAD_OFFSET)),
        ("bitfield k set u8 0 x", error(NOT_INTEGER)),
        (
            "bitfield k overflow none",
            error("ERR Invalid OVERFLOW type specified"),
        ),
        ("bitfield k get u8", error(SYNTAX)),
        ("bitfield k set u8 0", error(SYNTAX)),
        ("bitfield k overflow", error(SYNTAX)),
        ("bitfield k put u8 0 1", error(SYNTAX)),
        (
            "bitfield_ro k set u8 0 1",
            error("ERR BITFIELD_RO only supports the GET subcommand"),
        ),
        ("set n 1", ok()),
        ("bitfield n get u8 0 get u16 0", ints(&[49, 12544])),
        ("object encoding n", bulk("int")),
    ]);
}

#[test]
fn keys_of_bitfield_depend_on_its_operations() {
    let mut harness = Harness::new();
    let simple = |names: &[&str]| {
        let names = names.iter().map(|name| Value::Simple((*name).to_owned()));
        Value::Array(names.collect())
    };
    for (rest, expected) in [
        ("get u8 0", &["RO", "access"][..]),
        ("get u8 0 set u8 0 1", &["RW", "access", "update"]),
        ("nonsense", &["RW", "access", "update"]),
    ] {
        let answer = harness.line(&format!("command getkeysandflags bitfield k {rest}"));
        let pair = Value::Array(vec![bulk("k"), simple(expected)]);
        assert_eq!(answer, Value::Array(vec![pair]), "{rest}");
    }
}

/// Since 8.0 arguments are read before the key is.
#[test]
fn arguments_are_judged_although_the_key_is_missing() {
    let not_integer = error("ERR value is not an integer or out of range");
    check(&[
        ("BITCOUNT none a b", not_integer.clone()),
        ("BITCOUNT none 0 b", not_integer.clone()),
        ("BITCOUNT none 0 1 word", error("ERR syntax error")),
        ("BITCOUNT none -1 -2 word", error("ERR syntax error")),
        ("BITCOUNT none 0", error("ERR syntax error")),
        ("BITCOUNT none -1 -2", int(0)),
        ("BITPOS none 1 a", not_integer.clone()),
        ("BITPOS none 0 a", not_integer.clone()),
        ("BITPOS none 1 0 a", not_integer.clone()),
        ("BITPOS none 1 0 1 word", error("ERR syntax error")),
        ("BITPOS none 1 0 1 bit more", error("ERR syntax error")),
        ("BITPOS none 0 5 9 bit", int(0)),
        ("BITPOS none 1 5 9", int(-1)),
        ("LPUSH list a", int(1)),
        ("BITPOS list 1 a", not_integer.clone()),
        ("BITCOUNT list a b", not_integer),
    ]);
}
