//! The stream commands through the checks, against a whole state without sockets.

use crate::clients::ClientKind;
use crate::commands::testing::{Harness, bulk, check, error, int, ok, text};
use crate::resp::reader::Value;

fn null_array() -> Value {
    Harness::new().line("XREAD STREAMS none 0")
}

/// Answers as text: aggregates as their parts between blanks.
fn script(lines: &[(&str, &str)]) -> Harness {
    let mut harness = Harness::new();
    run(&mut harness, lines);
    harness
}

fn run(harness: &mut Harness, lines: &[(&str, &str)]) {
    for (line, expected) in lines {
        let answer = text(&harness.line(line));
        assert_eq!(answer, *expected, "{line}");
    }
}

#[test]
fn ids_are_given_or_made() {
    let invalid = error("ERR Invalid stream ID specified as stream command argument");
    let not_greater =
        error("ERR The ID specified in XADD is equal or smaller than the target stream top item");
    let mut harness = check(&[
        ("XADD s NOMKSTREAM * f v", Value::NullBulk),
        ("EXISTS s", int(0)),
        ("XADD s * f v", bulk("1700000000000-0")),
        ("XADD s * f v", bulk("1700000000000-1")),
        ("XADD s 5-1 f v", not_greater.clone()),
        ("XADD s 1700000000000-* f v", bulk("1700000000000-2")),
        ("XADD s 1700000000001 f v", bulk("1700000000001-0")),
        ("XADD s 1700000000000-* f v", not_greater.clone()),
        (
            "XADD t 0-0 f v",
            error("ERR The ID specified in XADD must be greater than 0-0"),
        ),
        ("XADD t 0-* f v", bulk("0-1")),
        ("XADD t 01-02 f v", bulk("1-2")),
        ("XADD t - f v", invalid.clone()),
        ("XADD t 1-2-3 f v", invalid.clone()),
        ("XADD t 18446744073709551616 f v", invalid.clone()),
        ("XADD t -1-1 f v", invalid),
        (
            "XADD t 9-18446744073709551615 f v",
            bulk("9-18446744073709551615"),
        ),
        ("XADD t 9-* f v", not_greater),
        (
            "XADD t 18446744073709551615-18446744073709551615 f v",
            bulk("18446744073709551615-18446744073709551615"),
        ),
        (
            "XADD t * f v",
            error("ERR The stream has exhausted the last possible ID, unable to add more items"),
        ),
        (
            "XADD s * f",
            error("ERR wrong number of arguments for 'xadd' command"),
        ),
        (
            "XADD s * f v g",
            error("ERR wrong number of arguments for 'xadd' command"),
        ),
        (
            "XADD s MAXLEN 5 NOMKSTREAM x",
            error("ERR Invalid stream ID specified as stream command argument"),
        ),
        ("XLEN s", int(4)),
        ("XLEN none", int(0)),
        ("TYPE s", Value::Simple("stream".into())),
        ("OBJECT ENCODING s", bulk("stream")),
    ]);
    harness.line("SET str x");
    for command in [
        "XADD str * f v",
        "XLEN str",
        "XRANGE str - +",
        "XREAD STREAMS str 0",
        "XTRIM str MAXLEN 1",
    ] {
        assert!(
            text(&harness.line(command)).starts_with("WRONGTYPE"),
            "{command}"
        );
    }
}

#[test]
fn ranges_from_both_ends() {
    let mut harness = script(&[
        ("XADD s 1-1 a 1", "1-1"),
        ("XADD s 1-2 a x b y", "1-2"),
        ("XADD s 3-0 a 007", "3-0"),
        ("XRANGE s - +", "1-1 a 1 1-2 a x b y 3-0 a 007"),
        ("XREVRANGE s + - COUNT 2", "3-0 a 007 1-2 a x b y"),
        ("XRANGE s 1 1", "1-1 a 1 1-2 a x b y"),
        ("XRANGE s (1-1 (3-0", "1-2 a x b y"),
        ("XREVRANGE s (3-0 1-2", "1-2 a x b y"),
        ("XRANGE s 2 1", ""),
        ("XRANGE none - +", ""),
        (
            "XRANGE s (18446744073709551615-18446744073709551615 +",
            "ERR invalid start ID for the interval",
        ),
        ("XRANGE s - (0-0", "ERR invalid end ID for the interval"),
        ("XRANGE s - + COUNT", "ERR syntax error"),
        (
            "XRANGE s - + COUNT x",
            "ERR value is not an integer or out of range",
        ),
        (
            "XRANGE s (- +",
            "ERR Invalid stream ID specified as stream command argument",
        ),
    ]);
    assert_eq!(harness.line("XRANGE s - + COUNT 0"), null_array());
}

#[test]
fn trimming_and_what_the_journal_gets_of_it() {
    let mut harness = script(&[]);
    harness.config("stream-node-max-entries", "10");
    for n in 1..=35 {
        harness.line(&format!("XADD s {n} f {n}"));
    }
    run(
        &mut harness,
        &[
            ("XTRIM s MAXLEN ~ 28", "0"),
            ("XTRIM s MAXLEN ~ 24", "10"),
            ("XTRIM s MAXLEN ~ 0 LIMIT 5", "0"),
            ("XTRIM s MAXLEN = 20", "5"),
            ("XTRIM s MINID ~ 19", "0"),
            ("XTRIM s MINID 19", "3"),
            ("XLEN s", "17"),
            (
                "XTRIM s MAXLEN 1 LIMIT 5",
                "ERR syntax error, LIMIT cannot be used without the special ~ option",
            ),
            (
                "XTRIM s LIMIT 5",
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ),
            ("XTRIM s MAXLEN -1", "ERR The MAXLEN argument must be >= 0."),
            (
                "XTRIM s MAXLEN ~ 1 LIMIT -1",
                "ERR The LIMIT argument must be >= 0.",
            ),
            (
                "XTRIM s DELREF LIMIT 0",
                "ERR syntax error, XTRIM must be called with a trimming strategy",
            ),
            ("XTRIM s MAXLEN 1 KEEPREF ACKED", "ERR syntax error"),
            ("XTRIM none MAXLEN 1", "0"),
            (
                "XADD s MAXLEN 1 MINID 1 * f v",
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ),
        ],
    );
    let propagated_as = harness.propagated_as("XADD s MAXLEN ~ 15 LIMIT 100 * f v");
    assert_eq!(propagated_as, ["XADD s MAXLEN = 16 1700000000000-0 f v"]);
    let propagated_as = harness.propagated_as("XADD s MAXLEN ~ 10 1700000000000-* f v");
    assert_eq!(propagated_as, ["XADD s MAXLEN = 17 1700000000000-1 f v"]);
    assert_eq!(
        harness.propagated_as("XTRIM s MINID ~ 1000 LIMIT 0"),
        ["XTRIM s MINID = 31-0"]
    );
    assert!(
        harness
            .propagated_as("XADD s MAXLEN 10 1700000000001-1 f v")
            .is_empty()
    );
    // A LIMIT that was left over would be refused beside `=`, and the file would not load.
    assert_eq!(
        harness.propagated_as("XADD s MAXLEN ~ 8 LIMIT 1 NOMKSTREAM LIMIT 100 1700000000002-1 f v"),
        ["XADD s MAXLEN = 9 NOMKSTREAM 1700000000002-1 f v"]
    );
}

/// Redis leaves LIMIT where it was when it rewrites `~` to `=`, in the stream for replicas and in its append-only file: a
/// replica of a Redis 7.0 lacked streams that this one had.
#[test]
fn what_a_primary_has_left_of_limit_is_no_error() {
    for kind in [ClientKind::Primary, ClientKind::Internal] {
        let mut harness = Harness::new();
        let become_of = |harness: &mut Harness, kind| {
            let client = harness.state.clients.get_mut(harness.client);
            let client = client.expect("the client of the harness");
            client.session.kind = kind;
            client.reply.set_discard(kind == ClientKind::Primary);
        };
        let run = |harness: &mut Harness, line: &str| {
            become_of(harness, kind);
            let request =
                crate::resp::OwnedRequest::from_slices(&line.split(' ').collect::<Vec<_>>());
            let (state, host) = (&mut harness.state, &mut harness.host);
            crate::engine::process::process(state, host, harness.client, request.args());
            become_of(harness, ClientKind::Normal);
            if let Some(client) = harness.state.clients.get_mut(harness.client) {
                client.reply.output_mut().clear();
            }
        };
        run(&mut harness, "XADD s MAXLEN = 5 LIMIT 10 1-1 f v");
        run(&mut harness, "XADD s LIMIT 0 1-2 f v");
        assert_eq!(harness.line("XLEN s"), Value::Integer(2));
        run(&mut harness, "XTRIM s MINID = 1-2 LIMIT 10");
        assert_eq!(harness.line("XLEN s"), Value::Integer(1));
    }
}

/// Entries that are still needed stay before others that go: neither their number nor the first id tells which.
#[test]
fn trimming_with_references_is_told_by_the_id_where_it_ended() {
    for (line, expected) in [
        ("XTRIM s MAXLEN ~ 2 ACKED", "XTRIM s MINID = 5-0 ACKED"),
        ("XTRIM s MINID ~ 6 ACKED", "XTRIM s MINID = 5-0 ACKED"),
        ("XTRIM s MAXLEN ~ 1 DELREF", "XTRIM s MAXLEN = 2 DELREF"),
        ("XTRIM s MINID ~ 6 DELREF", "XTRIM s MINID = 5-0 DELREF"),
    ] {
        let mut left = Vec::new();
        for told in [false, true] {
            let mut harness = Harness::new();
            harness.config("stream-node-max-entries", if told { "100" } else { "2" });
            for id in 1..=6 {
                harness.line(&format!("XADD s {id} f v"));
            }
            harness.line("XGROUP CREATE s g 0");
            harness.line("XREADGROUP GROUP g c STREAMS s >");
            harness.line("XACK s g 2 3 4 5 6");
            if told {
                harness.line(expected);
            } else {
                assert_eq!(harness.propagated_as(line), [expected]);
            }
            left.push(text(&harness.line("XRANGE s - +")));
        }
        assert_eq!(left[0], left[1], "{line}");
    }
}

#[test]
fn deleting_and_the_ids_that_remain() {
    script(&[
        ("XADD s 1 f v", "1-0"),
        ("XADD s 2 f v", "2-0"),
        ("XADD s 3 f v", "3-0"),
        ("XDEL s 1 9 1", "1"),
        (
            "XDEL s 2 x",
            "ERR Invalid stream ID specified as stream command argument",
        ),
        ("XDEL none 1", "0"),
        (
            "XSETID s 2",
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        ),
        (
            "XSETID s 9 ENTRIESADDED 1",
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ),
        (
            "XSETID s 9 ENTRIESADDED -1",
            "ERR entries_added must be positive",
        ),
        (
            "XSETID s 9 MAXDELETEDID 10",
            "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
        ),
        ("XSETID none 9", "ERR no such key"),
        ("XSETID s 9 ENTRIESADDED 20 MAXDELETEDID 4", "OK"),
        (
            "XSETID s 3",
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ),
        (
            "XINFO STREAM s",
            "length 2 radix-tree-keys 1 radix-tree-nodes 2 last-generated-id 9-0 max-deleted-entry-id 4-0 \
             entries-added 20 recorded-first-entry-id 2-0 groups 0 first-entry 2-0 f v last-entry 3-0 f v",
        ),
        ("XDEL s 2 3", "2"),
        ("EXISTS s", "1"),
        ("XINFO STREAM none", "ERR no such key"),
        (
            "XINFO STREAM s FUL",
            "ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP.",
        ),
    ]);
}

#[test]
fn reading_behind_an_id() {
    let mut harness = script(&[
        ("XADD s 1 f v", "1-0"),
        ("XADD s 2 g w", "2-0"),
        ("XREAD STREAMS s 0", "s 1-0 f v 2-0 g w"),
        (
            "XREAD COUNT 1 STREAMS s none s 0 0 1",
            "s 1-0 f v s 2-0 g w",
        ),
        ("XREAD STREAMS s +", "s 2-0 g w"),
        (
            "XREAD STREAMS s t 0",
            "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified.",
        ),
        (
            "XREAD COUNT 1",
            "ERR wrong number of arguments for 'xread' command",
        ),
        ("XREAD COUNT 1 NOSTREAMS x", "ERR syntax error"),
        (
            "XREAD NOACK STREAMS s 0",
            "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
        ),
        (
            "XREAD STREAMS s >",
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        ),
        (
            "XREAD BLOCK x STREAMS s 0",
            "ERR timeout is not an integer or out of range",
        ),
        ("XREAD BLOCK -1 STREAMS s 0", "ERR timeout is negative"),
    ]);
    assert_eq!(harness.line("XREAD STREAMS s 2"), null_array());
    assert_eq!(harness.line("XREAD STREAMS s $"), null_array());
    harness.resp3();
    let Value::Map(streams) = harness.line("XREAD STREAMS s 1") else {
        panic!("a map of streams");
    };
    assert_eq!(streams.len(), 1);
}

#[test]
fn a_group_reads_acknowledges_and_claims() {
    let mut harness = script(&[
        (
            "XGROUP CREATE s g $",
            "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want \
                                 to use the MKSTREAM option to create an empty stream automatically.",
        ),
        ("XGROUP CREATE s g $ MKSTREAM", "OK"),
        (
            "XGROUP CREATE s g $",
            "BUSYGROUP Consumer Group name already exists",
        ),
        (
            "XGROUP CREATE s h 0 ENTRIESREAD -2",
            "ERR value for ENTRIESREAD must be positive or -1",
        ),
        ("XADD s 1 f 1", "1-0"),
        ("XADD s 2 f 2", "2-0"),
        ("XADD s 3 f 3", "3-0"),
        (
            "XREADGROUP GROUP g alice COUNT 2 STREAMS s >",
            "s 1-0 f 1 2-0 f 2",
        ),
        ("XREADGROUP GROUP g alice STREAMS s 0", "s 1-0 f 1 2-0 f 2"),
        ("XREADGROUP GROUP g alice STREAMS s 2", "s "),
        ("XREADGROUP GROUP g bob NOACK STREAMS s >", "s 3-0 f 3"),
        (
            "XREADGROUP GROUP x bob STREAMS s >",
            "NOGROUP No such key 's' or consumer group 'x' in XREADGROUP with GROUP option",
        ),
        ("XPENDING s g", "2 1-0 2-0 alice 2"),
        (
            "XPENDING s x",
            "NOGROUP No such key 's' or consumer group 'x'",
        ),
        ("XPENDING s g - + 10 alice", "1-0 alice 0 2 2-0 alice 0 2"),
        ("XPENDING s g (1-0 + 10", "2-0 alice 0 2"),
        ("XPENDING s g IDLE 5 - + 10", ""),
        ("XPENDING s g - + 10 nobody", ""),
        ("XPENDING s g - +", "ERR syntax error"),
        ("XCLAIM s g bob 10 1", ""),
        ("XCLAIM s g bob 0 1 7 RETRYCOUNT 4", "1-0 f 1"),
        ("XCLAIM s g bob 0 3 FORCE JUSTID", "3-0"),
        (
            "XCLAIM s g bob x 3",
            "ERR Invalid min-idle-time argument for XCLAIM",
        ),
        (
            "XCLAIM s g bob 0 3 FOO",
            "ERR Unrecognized XCLAIM option 'FOO'",
        ),
        ("XPENDING s g", "3 1-0 3-0 alice 1 bob 2"),
        ("XACK s g 1 2-0 9", "2"),
        ("XACK none g 1", "0"),
        ("XDEL s 3", "1"),
        ("XREADGROUP GROUP g bob STREAMS s 0", "s 3-0 NullArray"),
        ("XAUTOCLAIM s g carol 0 - COUNT 0", "ERR COUNT must be > 0"),
        ("XAUTOCLAIM s g carol 0 -", "0-0  3-0"),
        ("XPENDING s g", "0 NullBulk NullBulk NullArray"),
        ("XGROUP SETID s g 0 ENTRIESREAD 0", "OK"),
        ("XREADGROUP GROUP g alice STREAMS s >", "s 1-0 f 1 2-0 f 2"),
        ("XAUTOCLAIM s g carol 0 0 COUNT 1 JUSTID", "2-0 1-0 "),
        ("XGROUP CREATECONSUMER s g carol", "0"),
        ("XGROUP CREATECONSUMER s g dave", "1"),
        ("XGROUP DELCONSUMER s g carol", "1"),
        ("XGROUP DELCONSUMER s g nobody", "0"),
        (
            "XGROUP DELCONSUMER s x nobody",
            "NOGROUP No such consumer group 'x' for key name 's'",
        ),
        ("XGROUP DESTROY s x", "0"),
        (
            "XINFO CONSUMERS s x",
            "NOGROUP No such consumer group 'x' for key name 's'",
        ),
        (
            "XINFO CONSUMERS s g",
            "name alice pending 1 idle 0 inactive 0 name bob pending 0 idle 0 inactive 0 \
             name dave pending 0 idle 0 inactive -1",
        ),
        (
            "XINFO GROUPS s",
            "name g consumers 3 pending 1 last-delivered-id 2-0 entries-read NullBulk lag NullBulk",
        ),
        ("XGROUP DESTROY s g", "1"),
        (
            "XGROUP NOPE s g",
            "ERR unknown subcommand 'NOPE'. Try XGROUP HELP.",
        ),
    ]);
    assert!(text(&harness.line("XGROUP HELP")).contains("CREATECONSUMER"));
    assert!(text(&harness.line("XINFO HELP")).contains("CONSUMERS"));
}

#[test]
fn what_a_group_does_is_told_as_claims() {
    let mut harness = script(&[
        ("XADD s 1 f 1", "1-0"),
        ("XADD s 2 f 2", "2-0"),
        ("XADD s 3 f 3", "3-0"),
        ("XGROUP CREATE s g 0", "OK"),
    ]);
    let time = 1_700_000_000_000i64;
    assert_eq!(
        harness.propagated_as("XREADGROUP GROUP g c COUNT 1 STREAMS s >"),
        [
            format!("XCLAIM s g c 0 1-0 TIME {time} RETRYCOUNT 1 FORCE JUSTID LASTID 1-0"),
            "XGROUP SETID s g 1-0 ENTRIESREAD 1".to_owned(),
        ]
    );
    assert_eq!(
        harness.propagated_as("XREADGROUP GROUP g d COUNT 1 NOACK STREAMS s >"),
        [
            "XGROUP CREATECONSUMER s g d",
            "XGROUP SETID s g 2-0 ENTRIESREAD 2"
        ]
    );
    assert_eq!(
        harness.propagated_as("XCLAIM s g d 0 1-0 JUSTID"),
        [format!(
            "XCLAIM s g d 0 1-0 TIME {time} RETRYCOUNT 1 FORCE JUSTID LASTID 2-0"
        )]
    );
    assert_eq!(
        harness.propagated_as("XCLAIM s g d 0 9-0 LASTID 3"),
        ["XGROUP SETID s g 3-0 ENTRIESREAD 2"]
    );
    assert_eq!(
        harness.propagated_as("XAUTOCLAIM s g e 5 0"),
        ["XGROUP CREATECONSUMER s g e"]
    );
}

#[test]
fn the_whole_of_a_stream() {
    let mut harness = script(&[
        ("XADD s 1 f 1", "1-0"),
        ("XADD s 2 f 2", "2-0"),
        ("XGROUP CREATE s g 0", "OK"),
        ("XREADGROUP GROUP g c COUNT 1 STREAMS s >", "s 1-0 f 1"),
    ]);
    let time = 1_700_000_000_000i64;
    let full = format!(
        "length 2 radix-tree-keys 1 radix-tree-nodes 2 last-generated-id 2-0 max-deleted-entry-id 0-0 \
         entries-added 2 recorded-first-entry-id 1-0 entries 1-0 f 1 groups name g last-delivered-id 1-0 \
         entries-read 1 lag 1 pel-count 1 pending 1-0 c {time} 1 consumers name c seen-time {time} \
         active-time {time} pel-count 1 pending 1-0 {time} 1"
    );
    assert_eq!(text(&harness.line("XINFO STREAM s FULL COUNT 1")), full);
    harness.resp3();
    assert!(matches!(harness.line("XINFO STREAM s FULL"), Value::Map(fields) if fields.len() == 9));
    assert!(matches!(harness.line("XINFO STREAM s"), Value::Map(fields) if fields.len() == 10));
}

#[test]
fn deleting_with_an_eye_on_references() {
    let mut harness = Harness::new();
    harness.line("XADD s 1 f 1");
    harness.line("XADD s 2 f 2");
    harness.line("XADD s 3 f 3");
    for group in ["g", "h"] {
        assert_eq!(harness.line(&format!("XGROUP CREATE s {group} 0")), ok());
        harness.line(&format!("XREADGROUP GROUP {group} c STREAMS s >"));
    }
    run(
        &mut harness,
        &[
            ("XDELEX s ACKED IDS 2 1 9", "2 -1"),
            ("XACKDEL s g ACKED IDS 1 1", "2"),
            ("XACKDEL s g ACKED IDS 1 1", "-1"),
            ("XACKDEL s h ACKED IDS 1 1", "1"),
            ("XDELEX s KEEPREF IDS 1 2", "1"),
            ("XPENDING s g", "2 2-0 3-0 c 2"),
            ("XDELEX s DELREF IDS 2 2 3", "-1 1"),
            ("XPENDING s g", "0 NullBulk NullBulk NullArray"),
            ("XLEN s", "0"),
            ("XDELEX none IDS 2 1 2", "-1 -1"),
            ("XACKDEL s none IDS 1 1", "-1"),
            (
                "XDELEX s IDS 0 1",
                "ERR Number of IDs must be a positive integer",
            ),
            (
                "XDELEX s IDS x 1",
                "ERR Number of IDs must be a positive integer",
            ),
            (
                "XDELEX s IDS 3 1",
                "ERR The `numids` parameter must match the number of arguments",
            ),
            ("XDELEX s IDS 1 1 2", "ERR syntax error"),
            ("XDELEX s KEEPREF DELREF IDS 1 1", "ERR syntax error"),
            ("XADD t MAXLEN 1 ACKED 1 f v", "1-0"),
        ],
    );
}

/// One more than a command can set would not be taken from the append-only file, nor from a snapshot.
#[test]
fn counters_stay_where_commands_can_set_them() {
    let mut harness = Harness::new();
    for line in [
        "XADD s 1 f v",
        "XSETID s 2 ENTRIESADDED 9223372036854775807 MAXDELETEDID 0-0",
        "XADD s 3 f v",
        "XGROUP CREATE s g 0",
        "XREADGROUP GROUP g c STREAMS s >",
        "XCLAIM s g c 0 1 3 RETRYCOUNT 9223372036854775807 JUSTID",
        "XCLAIM s g c 0 1",
        "XREADGROUP GROUP g c STREAMS s 1",
    ] {
        let answer = harness.line(line);
        assert!(!matches!(answer, Value::Error(_)), "{line}: {answer:?}");
    }
    for expected in [1, 3].map(|id| format!("{id}-0")) {
        let pending = text(&harness.line(&format!("XPENDING s g {expected} {expected} 1")));
        assert!(pending.contains("9223372036854775807"), "{pending}");
    }
    let claimed = harness.propagated_as("XCLAIM s g c 0 1");
    assert!(
        claimed[0].contains("RETRYCOUNT 9223372036854775807"),
        "{claimed:?}"
    );
    let Value::Bulk(payload) = harness.line("DUMP s") else {
        panic!("no payload")
    };
    let restore: [&[u8]; 4] = [b"RESTORE", b"t", b"0", &payload];
    assert_eq!(harness.run(&restore), ok());
    assert_eq!(harness.line("DUMP t"), Value::Bulk(payload));
    let info = text(&harness.line("XINFO STREAM t"));
    assert!(info.contains("9223372036854775807"), "{info}");
}

/// Trimming takes entries away that the group has not read: its count cannot go on from where it stood.
#[test]
fn what_was_trimmed_away_counts_as_read() {
    for trim in [
        "XTRIM x MAXLEN 1",
        "XTRIM x MINID 5",
        "XADD x MAXLEN 1 6-0 f v",
    ] {
        let mut harness = Harness::new();
        for id in 1..=5 {
            harness.line(&format!("XADD x {id}-0 f v"));
        }
        harness.line("XGROUP CREATE x g 0");
        harness.line("XREADGROUP GROUP g c COUNT 1 STREAMS x >");
        harness.line(trim);
        harness.line("XREADGROUP GROUP g c STREAMS x >");
        let added = if trim.starts_with("XADD") { 6 } else { 5 };
        let groups = text(&harness.line("XINFO GROUPS x"));
        let expected = format!("entries-read {added} lag 0");
        assert!(groups.contains(&expected), "{trim}: {groups}");
    }
}

#[test]
fn the_last_entry_that_is_left_is_read() {
    script(&[
        ("XADD x 1-0 f 1", "1-0"),
        ("XADD x 2-0 f 2", "2-0"),
        ("XDEL x 2-0", "1"),
        ("XREAD STREAMS x +", "x 1-0 f 1"),
        ("XREAD STREAMS none x + +", "x 1-0 f 1"),
        ("XDEL x 1-0", "1"),
        ("XREAD STREAMS x +", "NullArray"),
        ("XGROUP CREATE new g $ MKSTREAM", "OK"),
        ("XREAD STREAMS new +", "NullArray"),
        ("XREAD STREAMS new x + +", "NullArray"),
    ]);
}

/// XDEL leaves the reference, and trimming with DELREF passes no entry of this id any more.
#[test]
fn trimming_removes_references_that_lead_nowhere() {
    for trim in [
        "XTRIM x MAXLEN 1 DELREF",
        "XTRIM x MINID 4 DELREF",
        "XADD x MAXLEN 1 DELREF 9-0 f v",
    ] {
        let mut harness = Harness::new();
        for id in 1..=4 {
            harness.line(&format!("XADD x {id}-0 f v"));
        }
        harness.line("XGROUP CREATE x g 0");
        harness.line("XREADGROUP GROUP g c STREAMS x >");
        harness.line("XDEL x 1-0 3-0");
        harness.line(trim);
        let left = if trim.starts_with("XADD") {
            "0 NullBulk NullBulk NullArray"
        } else {
            "1 4-0 4-0 c 1"
        };
        assert_eq!(text(&harness.line("XPENDING x g")), left, "{trim}");
    }
    // Nothing is left to trim, but the reference.
    script(&[
        ("XADD x 1-0 f v", "1-0"),
        ("XGROUP CREATE x g 0", "OK"),
        ("XREADGROUP GROUP g c STREAMS x >", "x 1-0 f v"),
        ("XDEL x 1-0", "1"),
        ("XTRIM x MAXLEN 0 KEEPREF", "0"),
        ("XPENDING x g", "1 1-0 1-0 c 1"),
        ("XTRIM x MAXLEN 0 DELREF", "0"),
        ("XPENDING x g", "0 NullBulk NullBulk NullArray"),
    ]);
}

#[test]
fn the_time_of_a_consumers_last_success_is_dumped() {
    let mut harness = Harness::new();
    harness.line("XGROUP CREATE x g $ MKSTREAM");
    harness.line("XGROUP CREATECONSUMER x g c");
    let Value::Bulk(payload) = harness.line("DUMP x") else {
        panic!("no payload");
    };
    harness.run(&[&b"RESTORE"[..], b"y", b"0", &payload]);
    harness.advance_ms(50);
    for key in ["x", "y"] {
        let consumers = text(&harness.line(&format!("XINFO CONSUMERS {key} g")));
        assert_eq!(consumers, "name c pending 0 idle 50 inactive -1", "{key}");
    }
}
