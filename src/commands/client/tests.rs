//! Tests of CLIENT without sockets.

use crate::clients::{Address, Client, ClientKey, Connection};
use crate::commands::testing::Harness;
use crate::event_loop::Token;
use crate::resp::reader::Value;

fn error(text: &str) -> Value {
    Value::Error(text.as_bytes().to_vec())
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

fn text(value: &Value) -> String {
    String::from_utf8(value.as_bytes().expect("a string").to_vec()).unwrap()
}

/// Adds a client from this port.
fn other(harness: &mut Harness, port: u16) -> ClientKey {
    let state = &harness.state;
    let address = Address::Inet(([127, 0, 0, 1], port).into());
    let (token, now_ns) = (Token(port.into()), state.now.mono_ns);
    let connection = Connection::new(token, 0, address, Address::None, now_ns);
    let client = Client::connected(
        connection,
        crate::clients::Identity::default_user(&state.users),
    );
    harness.state.clients.insert(client)
}

#[test]
fn names_are_checked_and_an_empty_one_takes_it_away() {
    let mut harness = Harness::new();
    let bad = error("ERR Client names cannot contain spaces, newlines or special characters.");
    assert_eq!(harness.line("CLIENT GETNAME"), Value::NullBulk);
    for name in ["a b", "a\n", "\u{e9}", "\u{7f}"] {
        assert_eq!(harness.run(&["CLIENT", "SETNAME", name]), bad, "{name:?}");
    }
    assert_eq!(harness.line("CLIENT SETNAME me"), ok());
    assert_eq!(harness.line("CLIENT GETNAME"), Value::bulk("me"));
    assert_eq!(harness.run(&["CLIENT", "SETNAME", ""]), ok());
    assert_eq!(harness.line("CLIENT GETNAME"), Value::NullBulk);
}

#[test]
fn library_name_and_version() {
    let mut harness = Harness::new();
    assert_eq!(harness.line("CLIENT SETINFO lib-name redis-py"), ok());
    assert_eq!(harness.line("CLIENT SETINFO LIB-VER 5.0"), ok());
    assert_eq!(
        harness.run(&["CLIENT", "SETINFO", "lib-ver", "a b"]),
        error("ERR lib-ver cannot contain spaces, newlines or special characters.")
    );
    assert_eq!(
        harness.line("CLIENT SETINFO foo x"),
        error("ERR Unrecognized option 'foo'")
    );
    assert_eq!(
        harness.line("CLIENT SETINFO lib-name"),
        error("ERR wrong number of arguments for 'client|setinfo' command")
    );
    let line = text(&harness.line("CLIENT INFO"));
    assert!(line.contains(" lib-name=redis-py lib-ver=5.0 "), "{line}");
}

#[test]
fn a_line_has_the_fields_in_order() {
    let mut harness = Harness::new();
    let line = text(&harness.line("CLIENT LIST"));
    let fields: Vec<&str> = line
        .trim_end()
        .split(' ')
        .map(|field| field.split('=').next().unwrap())
        .collect();
    let expected = "id addr laddr fd name age idle flags db sub psub ssub multi watch qbuf qbuf-free argv-mem multi-mem \
                    rbs rbp obl oll omem tot-mem events cmd user redir resp lib-name lib-ver io-thread tot-net-in \
                    tot-net-out tot-cmds";
    assert_eq!(fields.join(" "), expected);
    assert!(line.contains(" flags=N "), "{line}");
    assert!(line.contains(" qbuf=26 "), "{line}");
    assert!(line.contains(" argv-mem=10 "), "{line}");
    assert!(line.contains(" cmd=client|list "), "{line}");
    assert_eq!(harness.line("CLIENT NO-TOUCH ON"), ok());
    assert_eq!(harness.line("CLIENT NO-EVICT on"), ok());
    assert!(text(&harness.line("CLIENT INFO")).contains(" flags=eT "));
    assert_eq!(
        harness.line("CLIENT NO-TOUCH maybe"),
        error("ERR syntax error")
    );
    harness.resp3();
    let Value::Verbatim(format, _) = harness.line("CLIENT INFO") else {
        panic!("verbatim in RESP3")
    };
    assert_eq!(format, "txt");
}

#[test]
fn list_filters() {
    let mut harness = Harness::new();
    other(&mut harness, 7001);
    other(&mut harness, 7002);
    let mut ids = |line: &str| -> Vec<String> {
        let listed = text(&harness.line(line));
        let ids = listed.lines().map(|line| line.split(' ').next().unwrap());
        ids.map(|id| id[3..].to_owned()).collect()
    };
    assert_eq!(ids("CLIENT LIST"), ["1", "2", "3"]);
    assert_eq!(ids("CLIENT LIST TYPE normal"), ["1", "2", "3"]);
    assert!(ids("CLIENT LIST TYPE pubsub").is_empty());
    assert_eq!(ids("CLIENT LIST ID 3 1 99 -1 3"), ["3", "1", "3"]);
    assert_eq!(ids("CLIENT LIST ADDR 127.0.0.1:7002"), ["3"]);
    assert_eq!(ids("CLIENT LIST ID 1 2 SKIPME yes"), ["2"]);
    assert_eq!(
        harness.line("CLIENT LIST ID 1 x"),
        error("ERR Invalid client ID")
    );
    assert_eq!(
        harness.line("CLIENT LIST TYPE foo"),
        error("ERR Unknown client type 'foo'")
    );
    for bad in ["CLIENT LIST ID", "CLIENT LIST TYPE", "CLIENT LIST foo bar"] {
        assert_eq!(harness.line(bad), error("ERR syntax error"), "{bad}");
    }
}

#[test]
fn kill_answers_by_its_form() {
    let mut harness = Harness::new();
    let doomed = other(&mut harness, 7001);
    other(&mut harness, 7002);
    assert_eq!(
        harness.line("CLIENT KILL 127.0.0.1:1"),
        error("ERR No such client")
    );
    assert_eq!(harness.line("CLIENT KILL 127.0.0.1:7001"), ok());
    assert!(
        harness
            .state
            .clients
            .get(doomed)
            .unwrap()
            .connection()
            .is_closing()
    );
    assert_eq!(
        harness.line("CLIENT KILL 127.0.0.1:7001"),
        error("ERR No such client"),
        "one that is being closed is gone"
    );
    assert_eq!(
        harness.line("CLIENT KILL ID 1 SKIPME yes"),
        Value::Integer(0)
    );
    assert_eq!(harness.state.requests.close_caller, None);
    assert_eq!(
        harness.line("CLIENT KILL MAXAGE 10 SKIPME yes"),
        Value::Integer(0)
    );
    harness.advance_ms(10_000);
    assert_eq!(harness.line("CLIENT KILL MAXAGE 10"), Value::Integer(1));
    assert_eq!(
        harness.line("CLIENT KILL ID 1 SKIPME no"),
        Value::Integer(1)
    );
    assert_eq!(harness.state.requests.close_caller, Some(harness.client));
    for (line, wrong) in [
        (
            "CLIENT KILL",
            "ERR wrong number of arguments for 'client|kill' command",
        ),
        ("CLIENT KILL id 10 wrong_arg", "ERR syntax error"),
        (
            "CLIENT KILL id str",
            "ERR client-id should be greater than 0",
        ),
        ("CLIENT KILL id 0", "ERR client-id should be greater than 0"),
        ("CLIENT KILL type wrong", "ERR Unknown client type 'wrong'"),
        ("CLIENT KILL user wrong", "ERR No such user 'wrong'"),
        ("CLIENT KILL skipme maybe", "ERR syntax error"),
        (
            "CLIENT KILL maxage x",
            "ERR maxage is not an integer or out of range",
        ),
        (
            "CLIENT KILL maxage 0",
            "ERR maxage should be greater than 0",
        ),
    ] {
        assert_eq!(harness.line(line), error(wrong), "{line}");
    }
}

#[test]
fn pause_only_grows_until_unpause() {
    let mut harness = Harness::new();
    for (line, wrong) in [
        (
            "CLIENT PAUSE x",
            "ERR timeout is not an integer or out of range",
        ),
        ("CLIENT PAUSE -1", "ERR timeout is negative"),
        (
            "CLIENT PAUSE 9223372036854775807",
            "ERR timeout is out of range",
        ),
        (
            "CLIENT PAUSE 10 x",
            "ERR CLIENT PAUSE mode must be WRITE or ALL",
        ),
    ] {
        assert_eq!(harness.line(line), error(wrong), "{line}");
    }
    assert_eq!(harness.line("CLIENT PAUSE 0"), ok());
    assert_eq!(harness.state.pause, None);
    let now_ms = harness.state.now.unix_ms();
    assert_eq!(harness.line("CLIENT PAUSE 1000 write"), ok());
    assert_eq!(harness.line("CLIENT PAUSE 500 WRITE"), ok());
    let pause = harness.state.pause.unwrap();
    assert_eq!((pause.until_ms, pause.writes_only), (now_ms + 1000, true));
    assert_eq!(harness.line("CLIENT UNPAUSE"), ok());
    assert!(harness.state.pause.is_none() && harness.state.requests.unpaused);
}

#[test]
fn reply_off_on_and_skip() {
    let mut harness = Harness::new();
    let mut run = |lines: &[&str]| -> String {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let request = crate::resp::OwnedRequest::from_slices(&words);
            crate::engine::process::process(
                &mut harness.state,
                &mut harness.host,
                harness.client,
                request.args(),
            );
        }
        let client = harness.state.clients.get_mut(harness.client).unwrap();
        let bytes = client.reply.output().to_vec();
        client.reply.output_mut().clear();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(
        run(&[
            "CLIENT REPLY OFF",
            "PING",
            "NOSUCH",
            "CLIENT REPLY SKIP",
            "PING"
        ]),
        ""
    );
    assert_eq!(run(&["CLIENT REPLY ON"]), "+OK\r\n");
    assert_eq!(
        run(&["CLIENT REPLY SKIP", "PING a", "PING b"]),
        "$1\r\nb\r\n"
    );
    assert_eq!(
        run(&["CLIENT REPLY SKIP", "CLIENT REPLY ON", "PING"]),
        "+OK\r\n+PONG\r\n"
    );
    assert_eq!(run(&["CLIENT REPLY SKIP", "NOSUCH", "PING"]), "+PONG\r\n");
    assert_eq!(run(&["CLIENT REPLY x"]), "-ERR syntax error\r\n");
    assert_eq!(
        run(&["CLIENT REPLY OFF", "RESET", "PING"]),
        "+RESET\r\n+PONG\r\n"
    );
}

#[test]
fn unblock_finds_nobody_to_unblock() {
    let mut harness = Harness::new();
    assert_eq!(harness.line("CLIENT UNBLOCK 1"), Value::Integer(0));
    assert_eq!(harness.line("CLIENT UNBLOCK 1 ERROR"), Value::Integer(0));
    assert_eq!(
        harness.line("CLIENT UNBLOCK 1 x"),
        error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    );
    assert_eq!(
        harness.line("CLIENT UNBLOCK x"),
        error("ERR value is not an integer or out of range")
    );
    assert_eq!(harness.line("CLIENT ID"), Value::Integer(1));
    assert_eq!(
        harness.line("CLIENT NOSUCH"),
        error("ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.")
    );
}

#[test]
fn help_has_a_line_for_each_row() {
    let mut harness = Harness::new();
    let help = harness.line("CLIENT HELP");
    let lines: Vec<String> = help.items().unwrap().iter().map(text).collect();
    assert_eq!(
        lines[0],
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    );
    assert!(
        lines.contains(&"PAUSE <timeout> [WRITE|ALL]".to_owned()),
        "{lines:?}"
    );
    assert!(lines.contains(&"    Ends CLIENT PAUSE.".to_owned()));
    assert_eq!(lines[lines.len() - 2..], ["HELP", "    Print this help."]);
}

#[test]
fn while_paused_expired_keys_are_missing_but_not_removed() {
    let mut harness = Harness::new();
    harness.line("set key value px 10");
    harness.line("client pause 100 write");
    harness.advance_ms(50);
    assert_eq!(harness.line("get key"), Value::NullBulk);
    assert_eq!(
        harness.line("dbsize"),
        Value::Integer(1),
        "the data stays as it is"
    );
    harness.line("client unpause");
    assert_eq!(harness.line("get key"), Value::NullBulk);
    assert_eq!(harness.line("dbsize"), Value::Integer(0));
}
