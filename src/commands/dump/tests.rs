//! DUMP and RESTORE through the checks: Redis's payloads and errors, and broken payloads of every type in use.

use crate::commands::testing::{Harness, bulk, error, int, ok, text};
use crate::persistence::rdb::payload::dump;
use crate::persistence::rdb::tests::{mutate, stored, value};
use crate::resp::reader::Value;
use crate::system::crc64::crc64;
use proptest::prelude::*;

const BAD: &str = "ERR Bad data format";
const BAD_FRAME: &str = "ERR DUMP payload version or checksum are wrong";
const BUSY: &str = "BUSYKEY Target key name already exists.";

fn payload(answer: Value) -> Vec<u8> {
    match answer {
        Value::Bulk(bytes) => bytes,
        other => panic!("{other:?} is no payload"),
    }
}

/// A payload with a right footer.
fn framed(body: &[u8], version: u16) -> Vec<u8> {
    let mut bytes = body.to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(crc64(0, &bytes).to_le_bytes());
    bytes
}

fn restore(harness: &mut Harness, bytes: &[u8], options: &[&str]) -> Value {
    let mut words: Vec<&[u8]> = vec![b"RESTORE", b"k", b"0", bytes];
    words.extend(options.iter().map(|word| word.as_bytes()));
    harness.run(&words)
}

/// The payloads are those of Redis 7.0.15.
#[test]
fn strings_as_redis_dumps_them() {
    let mut harness = Harness::new();
    harness.line("SET s hello");
    harness.line("SET n -300");
    let dumped = payload(harness.line("DUMP s"));
    assert_eq!(dumped, framed(b"\x00\x05hello", 12));
    assert_eq!(
        payload(harness.line("DUMP n")),
        framed(b"\x00\xc1\xd4\xfe", 12)
    );
    assert_eq!(harness.line("DUMP none"), Value::NullBulk);
    assert_eq!(restore(&mut harness, &dumped, &[]), ok());
    assert_eq!(harness.line("GET k"), bulk("hello"));
    assert_eq!(
        restore(&mut harness, &framed(b"\x00\xc1\xd4\xfe", 3), &["REPLACE"]),
        ok()
    );
    assert_eq!(harness.line("OBJECT ENCODING k"), bulk("int"));
}

#[test]
fn errors_come_in_the_order_of_redis() {
    let mut harness = Harness::new();
    harness.line("SET k v");
    let good = framed(b"\x00\x01a", 10);
    let cases: &[(&[&str], &str)] = &[
        (&["RESTORE", "k", "x", "y", "WHAT"], "ERR syntax error"),
        (&["RESTORE", "k", "x", "y", "IDLETIME"], "ERR syntax error"),
        (
            &["RESTORE", "k", "x", "y", "IDLETIME", "1", "FREQ", "1"],
            "ERR syntax error",
        ),
        (
            &["RESTORE", "k", "x", "y", "IDLETIME", "-1"],
            "ERR Invalid IDLETIME value, must be >= 0",
        ),
        (
            &["RESTORE", "k", "x", "y", "FREQ", "256"],
            "ERR Invalid FREQ value, must be >= 0 and <= 255",
        ),
        (
            &["RESTORE", "k", "x", "y", "FREQ", "z"],
            "ERR value is not an integer or out of range",
        ),
        (&["RESTORE", "k", "x", "y"], BUSY),
        (
            &["RESTORE", "new", "x", "y"],
            "ERR value is not an integer or out of range",
        ),
        (
            &["RESTORE", "new", "-1", "y"],
            "ERR Invalid TTL value, must be >= 0",
        ),
        (&["RESTORE", "new", "0", "y"], BAD_FRAME),
    ];
    for (words, expected) in cases {
        assert_eq!(harness.run(words), error(expected), "{words:?}");
    }
    let mut flipped = good.clone();
    flipped[2] ^= 1;
    assert_eq!(
        restore(&mut harness, &flipped, &["REPLACE"]),
        error(BAD_FRAME)
    );
    assert_eq!(
        restore(&mut harness, &framed(b"\x00\x01a", 13), &["REPLACE"]),
        error(BAD_FRAME)
    );
    for body in [
        &b""[..],
        b"\x00",
        b"\x00\x05a",
        b"\x08\x01a",
        b"\x63",
        b"\x00\x01ab",
        b"\x07\x01",
    ] {
        let answer = restore(&mut harness, &framed(body, 10), &["REPLACE"]);
        assert_eq!(answer, error(BAD), "{body:?}");
    }
    assert_eq!(harness.line("GET k"), bulk("v"), "nothing has changed");
}

#[test]
fn times_to_live() {
    let mut harness = Harness::new();
    let good = framed(b"\x00\x01a", 10);
    let now = harness.state.now.unix_ms();
    let past = (now - 1).to_string();
    let future = (now + 5000).to_string();
    let mut run = |ttl: &str, options: &[&str]| {
        let mut words: Vec<&[u8]> = vec![b"RESTORE", b"k", ttl.as_bytes(), &good];
        words.extend(options.iter().map(|word| word.as_bytes()));
        let answer = harness.run(&words);
        (answer, harness.line("PTTL k"))
    };
    assert_eq!(run("1000", &[]), (ok(), int(1000)));
    assert_eq!(run(&future, &["absttl", "replace"]), (ok(), int(5000)));
    assert_eq!(run("0", &["REPLACE"]), (ok(), int(-1)));
    // It has expired before it came: what it was to replace is gone.
    assert_eq!(run(&past, &["ABSTTL", "REPLACE"]), (ok(), int(-2)));
    assert_eq!(run(&past, &["ABSTTL"]), (ok(), int(-2)));
}

#[test]
fn access_clocks_are_restored() {
    let mut harness = Harness::new();
    let good = framed(b"\x00\x01a", 10);
    assert_eq!(restore(&mut harness, &good, &["IDLETIME", "1000"]), ok());
    assert_eq!(harness.line("OBJECT IDLETIME k"), int(1000));
    harness.config("maxmemory-policy", "allkeys-lfu");
    harness.state.apply_settings();
    assert_eq!(
        restore(&mut harness, &good, &["FREQ", "100", "REPLACE"]),
        ok()
    );
    assert_eq!(harness.line("OBJECT FREQ k"), int(100));
}

#[test]
fn checksums_may_be_skipped() {
    let mut harness = Harness::new();
    let mut bad = framed(b"\x00\x01a", 10);
    *bad.last_mut().expect("a byte") ^= 1;
    assert_eq!(restore(&mut harness, &bad, &[]), error(BAD_FRAME));
    harness.state.skip_checksum_validation = true;
    assert_eq!(restore(&mut harness, &bad, &[]), ok());
    assert_eq!(harness.line("RESTORE-ASKING k 0 x"), error(BUSY));
}

/// Commands that read and change a value of each type in every corner.
const USES: &[(&str, &[&str])] = &[
    (
        "string",
        &[
            "GET k",
            "STRLEN k",
            "GETRANGE k 0 -1",
            "BITCOUNT k",
            "PFCOUNT k",
            "PFADD k a",
            "BITFIELD k GET u8 0",
            "APPEND k x",
            "SETRANGE k 5 y",
            "INCR k",
            "SETBIT k 7 1",
        ],
    ),
    (
        "list",
        &[
            "LRANGE k 0 -1",
            "LINDEX k -1",
            "LPOS k x RANK -1",
            "LINSERT k BEFORE x y",
            "LSET k 0 z",
            "LPUSH k a",
            "RPUSH k b",
            "LREM k 0 x",
            "SORT k ALPHA",
            "LTRIM k 0 5",
            "LPOP k",
            "RPOP k 2",
            "LMOVE k k LEFT RIGHT",
        ],
    ),
    (
        "set",
        &[
            "SMEMBERS k",
            "SISMEMBER k 5",
            "SRANDMEMBER k 5",
            "SADD k 1 x",
            "SSCAN k 0 COUNT 100",
            "SREM k x",
            "SORT k ALPHA",
            "SPOP k 2",
            "SUNIONSTORE k2 k",
            "SPOP k 1000",
        ],
    ),
    (
        "zset",
        &[
            "ZRANGE k 0 -1 WITHSCORES",
            "ZREVRANGE k 0 -1",
            "ZRANGEBYSCORE k -inf +inf",
            "ZRANGEBYLEX k - +",
            "ZRANDMEMBER k 5 WITHSCORES",
            "ZADD k 5 x",
            "ZRANK k x",
            "ZINCRBY k 1 x",
            "ZSCAN k 0",
            "ZREM k x",
            "ZPOPMIN k",
            "ZPOPMAX k 3",
            "ZUNIONSTORE k2 1 k",
            "ZREMRANGEBYRANK k 0 2",
        ],
    ),
    (
        "hash",
        &[
            "HGETALL k",
            "HKEYS k",
            "HRANDFIELD k 5 WITHVALUES",
            "HSET k f v",
            "HSCAN k 0",
            "HINCRBY k n 1",
            "HTTL k FIELDS 1 f",
            "HPEXPIRE k 1000 FIELDS 1 f",
            "HDEL k f",
            "HSTRLEN k n",
        ],
    ),
    (
        "stream",
        &[
            "XRANGE k - +",
            "XREVRANGE k + -",
            "XINFO STREAM k FULL",
            "XINFO GROUPS k",
            "XPENDING k group - + 100",
            "XADD k * a 1",
            "XREADGROUP GROUP group carol STREAMS k >",
            "XCLAIM k group carol 0 1-0 2-0",
            "XAUTOCLAIM k group bob 0 0",
            "XACK k group 1-0 1-1",
            "XDEL k 1-1 2-0",
            "XTRIM k MAXLEN 3",
            "XGROUP DELCONSUMER k group alice",
            "XREAD STREAMS k 0",
        ],
    ),
];

proptest! {
    /// Whatever RESTORE takes can be used; the server lives on, and what it refuses changes nothing.
    #[test]
    fn broken_payloads_do_no_harm(
        value in value(),
        compress: bool,
        changes in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 0..3),
        start: prop::sample::Index,
    ) {
        let mut harness = Harness::new();
        let mut bytes = dump(stored(&value), compress);
        bytes.truncate(bytes.len() - 10);
        mutate(&mut bytes, &changes);
        let answer = restore(&mut harness, &framed(&bytes, 12), &[]);
        prop_assert!(answer == ok() || answer == error(BAD), "{answer:?}");
        prop_assert!(answer == ok() || !changes.is_empty(), "{answer:?}");
        let kind = text(&harness.line("TYPE k"));
        prop_assert_eq!(answer == ok(), kind != "none");
        if let Some((_, uses)) = USES.iter().find(|(name, _)| *name == kind) {
            let start = start.index(uses.len());
            for line in uses[start..].iter().chain(&uses[..start]) {
                harness.line(line);
            }
        }
        harness.line("DUMP k");
        harness.line("COPY k k3");
        harness.line("DEL k k2 k3");
        prop_assert_eq!(harness.line("DBSIZE"), int(0));
    }
}
