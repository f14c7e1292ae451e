//! Tests of client-side caching and MONITOR with clients that have no sockets.

use crate::clients::{Client, ClientKey, ClientKind};
use crate::commands::testing::{Harness, bulk, error, int, ok, text};
use crate::engine::{Invocation, call::call, keyspace_events, process::process};
use crate::resp::reader::{Value, read_all};
use crate::resp::{OwnedRequest, Protocol};

/// Some clients of one server.
struct Room(Harness);

impl Room {
    fn new() -> Room {
        Room(Harness::new())
    }
    fn join(&mut self, protocol: Protocol) -> ClientKey {
        let identity = crate::clients::Identity::default_user(&self.0.state.users);
        let mut client = Client::without_socket(ClientKind::Normal, identity);
        client.set_protocol(protocol);
        self.0.state.clients.insert(client)
    }
    /// Runs a command; all that the client has read by then.
    fn run(&mut self, client: ClientKey, line: &str) -> Vec<Value> {
        let request = OwnedRequest::from_slices(&line.split(' ').collect::<Vec<_>>());
        let harness = &mut self.0;
        process(
            &mut harness.state,
            &mut harness.host,
            client,
            request.args(),
        );
        self.heard(client)
    }
    /// Runs commands of which each is answered with one value and nothing besides.
    fn quiet(&mut self, client: ClientKey, lines: &[&str]) {
        for line in lines {
            let values = self.run(client, line);
            assert_eq!(values.len(), 1, "{line}: {values:?}");
            assert!(!matches!(values[0], Value::Error(_)), "{line}: {values:?}");
        }
    }
    /// What the client was sent since the last time.
    fn heard(&mut self, client: ClientKey) -> Vec<Value> {
        let client = self.0.state.clients.get_mut(client).expect("it is there");
        let bytes = client.reply.output().to_vec();
        client.reply.output_mut().clear();
        read_all(&bytes).expect("whole values")
    }
    /// The end of a turn.
    fn sleep(&mut self) {
        keyspace_events::drain(&mut self.0.state, None);
        crate::engine::tracking::broadcast(&mut self.0.state);
    }
    fn id(&self, client: ClientKey) -> u64 {
        self.0.state.clients.get(client).unwrap().session.id
    }
}

fn keys(names: &[&str]) -> Value {
    Value::Array(names.iter().map(|name| bulk(name)).collect())
}
fn invalid(names: &[&str]) -> Value {
    Value::Push(vec![bulk("invalidate"), keys(names)])
}
fn all_invalid() -> Value {
    Value::Push(vec![bulk("invalidate"), Value::Null])
}

#[test]
fn a_key_that_was_read_is_told_of_once() {
    let mut room = Room::new();
    let [reader, writer] = [Protocol::Resp3, Protocol::Resp2].map(|it| room.join(it));
    room.quiet(
        reader,
        &["GET before", "CLIENT TRACKING ON", "MGET a b c", "STRLEN a"],
    );
    room.quiet(writer, &["SET before 1", "SET other 1"]);
    assert_eq!(room.heard(reader), []);
    room.quiet(writer, &["SET a 1", "SET a 2", "MSET b 1 x 1"]);
    assert_eq!(room.heard(reader), [invalid(&["a"]), invalid(&["b"])]);
    room.quiet(reader, &["GET a"]);
    room.quiet(writer, &["RENAME a d", "SET c 1"]);
    assert_eq!(room.heard(reader), [invalid(&["a"]), invalid(&["c"])]);
    // A command that writes makes nobody a reader.
    room.quiet(reader, &["GETSET k 1", "CLIENT TRACKING OFF"]);
    room.quiet(writer, &["SET k 2"]);
    assert_eq!(room.heard(reader), []);
    assert_eq!(room.0.state.messaging.tracking.keys(), 0);
    assert_eq!(room.0.state.keyspace.interest(), 0);
}

#[test]
fn expiry_eviction_and_flushes_are_changes() {
    let mut room = Room::new();
    let [reader, writer] = [Protocol::Resp3, Protocol::Resp2].map(|it| room.join(it));
    room.quiet(writer, &["SET a 1 PX 5"]);
    // It is told of what goes by itself even under its own hands.
    room.quiet(reader, &["CLIENT TRACKING ON NOLOOP", "GET a"]);
    room.0.advance_ms(10);
    let values = room.run(reader, "EXISTS a");
    assert!(values.contains(&invalid(&["a"])) && values.contains(&int(0)));
    room.quiet(reader, &["GET a", "GET b"]);
    for flush in ["FLUSHALL", "FLUSHDB", "SWAPDB 0 1"] {
        room.quiet(writer, &[flush]);
        assert_eq!(room.heard(reader), [all_invalid()], "{flush}");
        assert_eq!(room.0.state.messaging.tracking.items(), 0);
    }
    room.quiet(writer, &["SET b 1"]);
    assert_eq!(room.heard(reader), []);
}

#[test]
fn options_that_do_not_go_together() {
    let mut room = Room::new();
    let client = room.join(Protocol::Resp2);
    let bcast = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
                 re-enabling it with a different mode.";
    let opt = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
               re-enabling it with a different mode.";
    let overlap = |a: &str, what: &str, b: &str| {
        format!(
            "ERR Prefix '{a}' overlaps with {what} prefix '{b}'. Prefixes for a single client must not overlap."
        )
    };
    let own = |text: &str| text.to_owned();
    let id = room.id(client);
    for (line, expected) in [
        ("MAYBE", own("ERR syntax error")),
        ("ON FOO", own("ERR syntax error")),
        ("ON REDIRECT", own("ERR syntax error")),
        ("ON PREFIX", own("ERR syntax error")),
        (
            "ON REDIRECT x",
            own("ERR value is not an integer or out of range"),
        ),
        (
            "ON REDIRECT 9999",
            own("ERR The client ID you want redirect to does not exist"),
        ),
        (
            "ON REDIRECT 0",
            own("ERR The client ID you want redirect to does not exist"),
        ),
        (
            "ON REDIRECT -1",
            own("ERR The client ID you want redirect to does not exist"),
        ),
        (
            &format!("ON REDIRECT {id} REDIRECT {id}"),
            own("ERR A client can only redirect to a single other client"),
        ),
        (
            "ON PREFIX a",
            own("ERR PREFIX option requires BCAST mode to be enabled"),
        ),
        (
            "ON BCAST OPTIN",
            own("ERR OPTIN and OPTOUT are not compatible with BCAST"),
        ),
        (
            "ON OPTIN OPTOUT",
            own("ERR You can't specify both OPTIN mode and OPTOUT mode"),
        ),
        (
            "ON BCAST PREFIX FOOBAR PREFIX FOO",
            overlap("FOOBAR", "another provided", "FOO"),
        ),
        (
            "ON BCAST PREFIX x PREFIX FOO PREFIX FOO",
            overlap("FOO", "another provided", "FOO"),
        ),
        ("ON BCAST PREFIX FOO PREFIX BAR", own("OK")),
        (
            "ON BCAST PREFIX FOOBAR",
            overlap("FOOBAR", "an existing", "FOO"),
        ),
        ("ON BCAST PREFIX BAZ", own("OK")),
        ("ON", own(bcast)),
        ("OFF", own("OK")),
        ("ON OPTIN", own("OK")),
        ("ON OPTOUT", own(opt)),
        ("ON BCAST", own(bcast)),
        // Redis forgets the mode where none is given.
        ("ON", own("OK")),
        ("ON OPTOUT", own("OK")),
        ("ON OPTIN", own(opt)),
        ("OFF", own("OK")),
        ("OFF", own("OK")),
    ] {
        let values = room.run(client, &format!("CLIENT TRACKING {line}"));
        assert_eq!(
            values.iter().map(text).collect::<Vec<_>>(),
            [expected],
            "{line}"
        );
    }
    let tracking = &room.0.state.messaging.tracking;
    assert_eq!((tracking.clients(), tracking.prefixes()), (0, 0));
}

#[test]
fn caching_holds_for_one_command_or_transaction() {
    let mut room = Room::new();
    let [reader, writer] = [Protocol::Resp3, Protocol::Resp2].map(|it| room.join(it));
    let only_with = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT \
                     mode enabled";
    assert_eq!(room.run(reader, "CLIENT CACHING YES"), [error(only_with)]);
    room.quiet(reader, &["CLIENT TRACKING ON OPTIN"]);
    assert_eq!(
        room.run(reader, "CLIENT CACHING NO"),
        [error(
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."
        )]
    );
    assert_eq!(
        room.run(reader, "CLIENT CACHING MAYBE"),
        [error("ERR syntax error")]
    );
    room.quiet(
        reader,
        &["GET a", "CLIENT CACHING YES", "CLIENT ID", "GET b", "GET c"],
    );
    // A refused command is one, too.
    room.quiet(reader, &["CLIENT CACHING YES"]);
    room.run(reader, "NOSUCH");
    room.quiet(reader, &["GET c"]);
    room.quiet(
        reader,
        &[
            "CLIENT CACHING YES",
            "MULTI",
            "GET d",
            "GET e",
            "EXEC",
            "GET f",
        ],
    );
    room.quiet(
        reader,
        &[
            "MULTI",
            "GET g",
            "CLIENT CACHING YES",
            "GET h",
            "EXEC",
            "GET i",
        ],
    );
    room.quiet(writer, &["MSET a 1 b 1 c 1 d 1 e 1 f 1 g 1 h 1 i 1"]);
    assert_eq!(
        room.heard(reader),
        ["b", "d", "e", "h"].map(|key| invalid(&[key]))
    );
    room.quiet(
        reader,
        &["CLIENT TRACKING OFF", "CLIENT TRACKING ON OPTOUT"],
    );
    assert_eq!(
        room.run(reader, "CLIENT CACHING YES"),
        [error(
            "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
        )]
    );
    room.quiet(reader, &["CLIENT CACHING NO", "GET a", "GET b"]);
    room.quiet(writer, &["MSET a 1 b 1"]);
    assert_eq!(room.heard(reader), [invalid(&["b"])]);
}

#[test]
fn modes_are_shown() {
    let mut room = Room::new();
    let client = room.join(Protocol::Resp2);
    let other = room.join(Protocol::Resp3);
    let id = room.id(other);
    let flags_of = |room: &mut Room| {
        let client_list = text(&room.run(client, "CLIENT INFO")[0]);
        let flags = client_list.split("flags=").nth(1).unwrap();
        let redirect = client_list.split("redir=").nth(1).unwrap();
        let word = |text: &str| text.split(' ').next().unwrap().to_owned();
        (word(flags), word(redirect))
    };
    for (mode, flags, redirect, prefixes, letters) in [
        ("OFF", "off", -1, "", "N"),
        ("ON", "on", 0, "", "t"),
        ("OFF", "off", -1, "", "N"),
        ("ON OPTIN NOLOOP", "on optin noloop", 0, "", "t"),
        ("ON", "on", 0, "", "t"),
        ("ON OPTOUT", "on optout", 0, "", "t"),
        ("OFF", "off", -1, "", "N"),
        (
            "ON BCAST PREFIX foo PREFIX bar",
            "on bcast",
            0,
            "bar foo",
            "tB",
        ),
    ] {
        room.quiet(client, &[&format!("CLIENT TRACKING {mode}")]);
        let info = text(&room.run(client, "CLIENT TRACKINGINFO")[0]);
        let expected = format!("flags {flags} redirect {redirect} prefixes {prefixes}");
        assert_eq!(info.trim_end(), expected.trim_end(), "{mode}");
        assert_eq!(room.run(client, "CLIENT GETREDIR"), [int(redirect)]);
        assert_eq!(
            flags_of(&mut room),
            (letters.to_owned(), redirect.to_string())
        );
    }
    room.quiet(
        client,
        &[
            "CLIENT TRACKING OFF",
            "CLIENT TRACKING ON OPTIN",
            "CLIENT CACHING YES",
        ],
    );
    let info = text(&room.run(client, "CLIENT TRACKINGINFO")[0]);
    assert!(
        info.starts_with("flags on optin caching-yes redirect"),
        "{info}"
    );
    // The client that is told in place of this one goes, and that is only found out when there is something to tell.
    room.quiet(
        client,
        &[
            "CLIENT TRACKING OFF",
            &format!("CLIENT TRACKING ON REDIRECT {id}"),
            "GET k",
        ],
    );
    room.0.state.clients.remove(other);
    assert_eq!(flags_of(&mut room), ("t".to_owned(), id.to_string()));
    room.quiet(client, &["SET k 1"]);
    assert_eq!(flags_of(&mut room), ("tR".to_owned(), id.to_string()));
    let info = text(&room.run(client, "CLIENT TRACKINGINFO")[0]);
    assert!(
        info.starts_with("flags on broken_redirect redirect"),
        "{info}"
    );
    // In RESP3 the flags are a set.
    let third = room.join(Protocol::Resp3);
    let Value::Map(pairs) = &room.run(third, "CLIENT TRACKINGINFO")[0] else {
        panic!("a map")
    };
    assert_eq!(pairs[0], (bulk("flags"), Value::Set(vec![bulk("off")])));
    assert_eq!(pairs[2], (bulk("prefixes"), Value::Array(vec![])));
}

#[test]
fn redirection_by_push_and_by_message() {
    let mut room = Room::new();
    let [reader, pushed, subscriber, deaf] = [
        Protocol::Resp2,
        Protocol::Resp3,
        Protocol::Resp2,
        Protocol::Resp2,
    ]
    .map(|it| room.join(it));
    let session = &mut room.0.state.clients.get_mut(subscriber).unwrap().session;
    session.kind = ClientKind::PubSub;
    let writer = room.join(Protocol::Resp2);
    let message =
        |payload: Value| Value::Array(vec![bulk("message"), bulk("__redis__:invalidate"), payload]);
    for (target, heard, flushed) in [
        (pushed, vec![invalid(&["k"])], vec![all_invalid()]),
        (
            subscriber,
            vec![message(keys(&["k"]))],
            vec![message(Value::NullBulk)],
        ),
        (deaf, vec![], vec![]),
    ] {
        let id = room.id(target);
        room.quiet(
            reader,
            &[&format!("CLIENT TRACKING ON REDIRECT {id}"), "GET k"],
        );
        room.quiet(writer, &["SET k 1"]);
        assert_eq!(room.heard(target), heard);
        room.quiet(writer, &["FLUSHALL"]);
        assert_eq!(room.heard(target), flushed);
        assert_eq!(room.heard(reader), []);
    }
    // RESP2 alone hears nothing, and RESP3 hears that its deputy is gone.
    room.quiet(reader, &["CLIENT TRACKING ON", "GET k"]);
    room.quiet(writer, &["SET k 1"]);
    assert_eq!(room.heard(reader), []);
    let [third, gone] = [Protocol::Resp3, Protocol::Resp3].map(|it| room.join(it));
    let id = room.id(gone);
    room.quiet(
        third,
        &[&format!("CLIENT TRACKING ON REDIRECT {id}"), "GET k"],
    );
    room.0.state.clients.close(gone, false);
    room.quiet(writer, &["SET k 1"]);
    let broken = Value::Push(vec![bulk("tracking-redir-broken"), int(id as i64)]);
    assert_eq!(room.heard(third), [broken]);
}

#[test]
fn no_loop_keeps_a_client_from_its_own_changes() {
    let mut room = Room::new();
    let [reader, writer] = [Protocol::Resp3, Protocol::Resp2].map(|it| room.join(it));
    room.quiet(
        reader,
        &["CLIENT TRACKING ON NOLOOP", "MGET a b", "SET a 1"],
    );
    room.quiet(writer, &["SET b 1"]);
    assert_eq!(room.heard(reader), [invalid(&["b"])]);
    // Its change has made it no reader any more, as for everybody.
    room.quiet(writer, &["SET a 1"]);
    assert_eq!(room.heard(reader), []);
    room.quiet(
        reader,
        &["CLIENT TRACKING OFF", "CLIENT TRACKING ON BCAST NOLOOP"],
    );
    room.quiet(reader, &["SET mine 1", "SET both 1", "SET gone 1 PX 5"]);
    room.quiet(writer, &["SET both 1"]);
    room.sleep();
    assert_eq!(room.heard(reader), [invalid(&["both"])]);
    room.0.advance_ms(10);
    room.quiet(reader, &["MULTI", "SET gone2 1", "GET gone", "EXEC"]);
    room.sleep();
    assert_eq!(room.heard(reader), [invalid(&["gone"])]);
}

#[test]
fn broadcasts_are_collected_by_prefix() {
    let mut room = Room::new();
    let [all, some, writer] =
        [Protocol::Resp3, Protocol::Resp3, Protocol::Resp2].map(|it| room.join(it));
    room.quiet(all, &["GET a:1", "CLIENT TRACKING ON BCAST"]);
    room.quiet(some, &["CLIENT TRACKING ON BCAST PREFIX a: PREFIX b:"]);
    room.quiet(writer, &["MSET b:2 1 a:1 1 c:1 1 b:1 1 a:1 2"]);
    assert_eq!(room.heard(all), []);
    room.sleep();
    assert_eq!(room.heard(all), [invalid(&["a:1", "b:1", "b:2", "c:1"])]);
    assert_eq!(
        room.heard(some),
        [invalid(&["a:1"]), invalid(&["b:1", "b:2"])]
    );
    room.sleep();
    assert_eq!(room.heard(all), []);
    let figures = text(&room.run(writer, "INFO everything")[0]);
    for figure in [
        "tracking_clients:2\r\n",
        "tracking_total_prefixes:3\r\n",
        "tracking_total_keys:0\r\n",
    ] {
        assert!(figures.contains(figure), "{figure}");
    }
    // Whoever goes takes its prefixes along.
    super::disable(&mut room.0.state, some);
    assert_eq!(room.0.state.messaging.tracking.prefixes(), 1);
    assert_eq!(room.run(all, "RESET"), [Value::Simple("RESET".into())]);
    let tracking = &room.0.state.messaging.tracking;
    assert_eq!((tracking.clients(), tracking.prefixes()), (0, 0));
}

#[test]
fn the_table_keeps_its_limit() {
    let mut room = Room::new();
    let reader = room.join(Protocol::Resp3);
    room.quiet(reader, &["CLIENT TRACKING ON NOLOOP"]);
    for key in 0..250 {
        room.quiet(reader, &[&format!("GET key{key}")]);
    }
    room.0.config("tracking-table-max-keys", "1");
    for left in [150, 1, 1] {
        crate::engine::tracking::limit(&mut room.0.state);
        let tracking = &room.0.state.messaging.tracking;
        assert_eq!((tracking.keys(), tracking.items()), (left, left));
    }
    let mut told = room.heard(reader);
    assert_eq!(told.len(), 249);
    told.sort_by_key(|value| format!("{value:?}"));
    told.dedup();
    assert_eq!(told.len(), 249);
    // Each command sees to it before it runs.
    room.quiet(reader, &["GET k1"]);
    assert_eq!(room.run(reader, "PING").len(), 2);
}

#[test]
fn a_script_reads_for_its_caller() {
    let mut room = Room::new();
    let [reader, writer] = [Protocol::Resp3, Protocol::Resp2].map(|it| room.join(it));
    let script = room.join(Protocol::Resp3);
    room.quiet(reader, &["CLIENT TRACKING ON"]);
    let state = &mut room.0.state;
    let request = OwnedRequest::from_slices(&["GET", "k"]);
    let id = state.table.find(b"GET").unwrap();
    let of_reader = Invocation {
        asker: reader,
        ..Invocation::of(script, id, request.args())
    };
    call(state, &mut room.0.host, &of_reader);
    room.heard(script);
    room.quiet(writer, &["SET k 1"]);
    assert_eq!(room.heard(script), []);
    assert_eq!(room.heard(reader), [invalid(&["k"])]);
}

// ---- MONITOR -----------------------------------------------------------------------------------------------------

/// The lines without their times.
fn lines(values: Vec<Value>) -> Vec<String> {
    let line = |value: &Value| match value {
        Value::Simple(line) if line.starts_with("1700000000.") => {
            line.split_once(' ').unwrap().1.to_owned()
        }
        other => text(other),
    };
    values.iter().map(line).collect()
}

#[test]
fn monitors_see_what_runs() {
    let mut room = Room::new();
    let [monitor, other] = [Protocol::Resp2, Protocol::Resp3].map(|it| room.join(it));
    assert_eq!(room.run(monitor, "MONITOR"), [ok()]);
    let now = room.0.state.now.unix_us;
    room.run(other, "SET k \"\\\x01\u{e9}\n");
    let values = room.heard(monitor);
    let expected = format!(
        "{}.{:06} [0 ?:0] \"SET\" \"k\" \"\\\"\\\\\\x01\\xc3\\xa9\\n\"",
        now / 1_000_000,
        now % 1_000_000
    );
    assert_eq!(values, [Value::Simple(expected)]);
    for (line, shown) in [
        ("SELECT 3", vec!["[3 ?:0] \"SELECT\" \"3\""]),
        ("GET", vec![]),
        ("NOSUCH", vec![]),
        ("INCR k x", vec![]),
        ("LPOP k x", vec!["[3 ?:0] \"LPOP\" \"k\" \"x\""]),
        // What administers is nobody's business.
        ("CONFIG GET port", vec![]),
        ("CLIENT LIST", vec![]),
        ("CLIENT ID", vec!["[3 ?:0] \"CLIENT\" \"ID\""]),
        ("AUTH wrong", vec!["[3 ?:0] \"AUTH\" \"(redacted)\""]),
        (
            "HELLO 3 AUTH some body",
            vec!["[3 ?:0] \"HELLO\" \"3\" \"AUTH\" \"(redacted)\" \"(redacted)\""],
        ),
        ("MULTI", vec!["[3 ?:0] \"MULTI\""]),
        ("SET a 1", vec![]),
        ("GET a", vec![]),
        (
            "EXEC",
            vec![
                "[3 ?:0] \"SET\" \"a\" \"1\"",
                "[3 ?:0] \"GET\" \"a\"",
                "[3 ?:0] \"EXEC\"",
            ],
        ),
        ("MULTI", vec!["[3 ?:0] \"MULTI\""]),
        ("NOSUCH", vec![]),
        ("EXEC", vec!["[3 ?:0] \"EXEC\""]),
        ("MULTI", vec!["[3 ?:0] \"MULTI\""]),
        ("SET a 1", vec![]),
        ("EXEC x", vec!["[3 ?:0] \"EXEC\" \"x\""]),
        ("BLPOP list 0", vec!["[3 ?:0] \"BLPOP\" \"list\" \"0\""]),
    ] {
        room.run(other, line);
        assert_eq!(lines(room.heard(monitor)), shown, "{line}");
    }
    // Served, it is not shown again.
    let third = room.join(Protocol::Resp2);
    room.run(third, "SELECT 3");
    room.run(third, "RPUSH list x");
    let harness = &mut room.0;
    crate::engine::blocking::serve_ready(&mut harness.state, &mut harness.host);
    assert_eq!(room.heard(other).len(), 1);
    assert_eq!(
        lines(room.heard(monitor)),
        [
            "[3 ?:0] \"SELECT\" \"3\"",
            "[3 ?:0] \"RPUSH\" \"list\" \"x\""
        ]
    );
}

#[test]
fn a_monitor_is_a_kind_of_replica() {
    let mut room = Room::new();
    let monitor = room.join(Protocol::Resp2);
    room.run(monitor, "MULTI");
    room.run(monitor, "MONITOR");
    assert_eq!(
        room.run(monitor, "EXEC"),
        [Value::Array(vec![error(
            "ERR MONITOR isn't allowed for DENY BLOCKING client"
        )])]
    );
    assert_eq!(room.run(monitor, "MONITOR"), [ok()]);
    assert_eq!(room.run(monitor, "MONITOR"), []);
    let refused = error("ERR Replica can't interact with the keyspace");
    for line in ["GET k", "SET k 1"] {
        assert_eq!(
            room.run(monitor, line),
            std::slice::from_ref(&refused),
            "{line}"
        );
    }
    assert_eq!(
        lines(room.run(monitor, "PING")),
        ["PONG", "[0 ?:0] \"PING\""]
    );
    assert!(text(&room.run(monitor, "CLIENT LIST")[0]).contains(" flags=O "));
    assert_eq!(room.run(monitor, "CLIENT REPLY OFF"), []);
    assert_eq!(room.run(monitor, "PING"), []);
    assert_eq!(room.run(monitor, "RESET"), [Value::Simple("RESET".into())]);
    assert_eq!(room.run(monitor, "GET k"), [Value::NullBulk]);
    assert!(room.0.state.messaging.monitors.is_empty());
    // A script's commands have no address.
    room.run(monitor, "MONITOR");
    let script = room.join(Protocol::Resp2);
    let state = &mut room.0.state;
    state.clients.get_mut(script).unwrap().session.kind = ClientKind::Script;
    let request = OwnedRequest::from_slices(&["GET", "k"]);
    let id = state.table.find(b"GET").unwrap();
    call(
        state,
        &mut room.0.host,
        &Invocation::of(script, id, request.args()),
    );
    room.heard(monitor);
    let request = OwnedRequest::from_slices(&["SET", "k", "v"]);
    let id = room.0.state.table.find(b"SET").unwrap();
    let set = Invocation::of(script, id, request.args());
    call(&mut room.0.state, &mut room.0.host, &set);
    assert_eq!(lines(room.heard(monitor)), ["[0 lua] \"SET\" \"k\" \"v\""]);
}
