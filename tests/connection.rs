//! PING, AUTH, HELLO, RESET, QUIT, CLIENT and COMMAND on a real server.

mod common;

use common::{Raw, Server, wait_for};
use gyre::resp::reader::Value;
use std::time::{Duration, Instant};

fn ok() -> Value {
    Value::Simple("OK".into())
}

fn text(value: &Value) -> String {
    String::from_utf8(value.as_bytes().expect("a string").to_vec()).expect("text")
}

/// A field of a line of CLIENT LIST.
fn field(line: &str, name: &str) -> String {
    let prefix = format!("{name}=");
    let found = line
        .split(' ')
        .find_map(|field| field.strip_prefix(&prefix));
    found
        .unwrap_or_else(|| panic!("no {name} in {line}"))
        .trim_end()
        .to_owned()
}

/// Asks until the answer is the wanted one.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether anything more comes before the connection closes.
fn is_closed(raw: &mut Raw) -> bool {
    raw.try_read().is_none()
}

/// What was pipelined behind QUIT is neither run nor answered.
#[test]
fn quit_runs_nothing_after_it() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.send(b"SET a 1\r\nQUIT\r\nSET a 2\r\nPING\r\n");
    assert_eq!(raw.read(), ok());
    assert_eq!(raw.read(), ok());
    assert!(is_closed(&mut raw));
    assert_eq!(server.raw().line("GET a"), Value::bulk("1"));
}

#[test]
fn authentication_opens_the_door() {
    let server = Server::with(&["--requirepass", "s3cret"]);
    let mut raw = server.raw();
    let refused = Value::Error(b"NOAUTH Authentication required.".to_vec());
    assert_eq!(raw.line("PING"), refused);
    assert_eq!(raw.line("CLIENT LIST"), refused);
    assert!(text(&raw.line("AUTH wrong")).starts_with("WRONGPASS "));
    assert!(text(&raw.line("HELLO 3")).starts_with("NOAUTH HELLO "));
    assert!(matches!(
        raw.line("HELLO 3 AUTH default s3cret SETNAME me"),
        Value::Map(_)
    ));
    assert_eq!(raw.line("GET nosuch"), Value::Null);
    assert_eq!(raw.line("CLIENT GETNAME"), Value::bulk("me"));
    assert_eq!(raw.line("RESET"), Value::Simple("RESET".into()));
    assert_eq!(raw.line("GET nosuch"), refused);
    assert_eq!(raw.line("AUTH s3cret"), ok());
    assert_eq!(raw.line("GET nosuch"), Value::NullBulk);
}

/// AUTH and a command in one packet: the command runs as the user who has just come in.
#[test]
fn a_pipeline_may_begin_with_auth() {
    let server = Server::with(&["--requirepass", "s3cret"]);
    let mut raw = server.raw();
    raw.send(b"AUTH s3cret\r\nECHO in\r\n");
    assert_eq!(raw.read(), ok());
    assert_eq!(raw.read(), Value::bulk("in"));
}

#[test]
fn client_list_shows_connections_as_they_are() {
    let server = Server::start();
    let mut raw = server.raw();
    let mut other = server.raw();
    assert_eq!(other.line("CLIENT SETNAME other"), ok());
    assert_eq!(other.line("SELECT 3"), ok());
    let id = match other.line("CLIENT ID") {
        Value::Integer(id) => id,
        value => panic!("{value:?}"),
    };
    // The connection that found the server started may not have been seen to end yet.
    wait_for("two clients", || {
        text(&raw.line("CLIENT LIST")).lines().count() == 2
    });
    let line = text(&raw.line(&format!("CLIENT LIST ID {id}")));
    assert_eq!(field(&line, "id"), id.to_string());
    assert_eq!(field(&line, "name"), "other");
    assert_eq!(field(&line, "db"), "3");
    assert_eq!(field(&line, "cmd"), "client|id");
    assert_eq!(field(&line, "events"), "r");
    assert_eq!(field(&line, "user"), "default");
    assert_eq!(field(&line, "laddr"), format!("127.0.0.1:{}", server.port));
    let own = text(&raw.line("CLIENT INFO"));
    assert_eq!(field(&own, "qbuf"), "26");
    assert_eq!(field(&own, "resp"), "2");
    assert_eq!(field(&own, "tot-cmds"), "3");
}

#[test]
fn killed_clients_are_gone_and_oneself_after_the_answer() {
    let server = Server::start();
    let mut raw = server.raw();
    let mut other = server.raw();
    let mut third = server.raw();
    assert_eq!(other.line("PING"), Value::Simple("PONG".into()));
    assert_eq!(third.line("PING"), Value::Simple("PONG".into()));
    let address = field(&text(&other.line("CLIENT INFO")), "addr");
    assert_eq!(raw.line(&format!("CLIENT KILL {address}")), ok());
    assert!(is_closed(&mut other));
    assert_eq!(raw.line("CLIENT KILL TYPE normal"), Value::Integer(1));
    assert!(is_closed(&mut third));
    raw.send(b"CLIENT KILL SKIPME no\r\nSET after 1\r\n");
    assert_eq!(raw.read(), Value::Integer(1));
    assert!(is_closed(&mut raw));
    assert_eq!(server.raw().line("EXISTS after"), Value::Integer(0));
}

#[test]
fn pause_holds_writes_back_and_unpause_lets_them_go() {
    let server = Server::start();
    let mut raw = server.raw();
    let mut writer = server.raw();
    assert_eq!(raw.line("CLIENT PAUSE 60000 WRITE"), ok());
    writer.send(b"GET k\r\nSET k v\r\nGET k\r\n");
    assert_eq!(writer.read(), Value::NullBulk);
    let mut list = || text(&raw.line("CLIENT LIST"));
    wait_until("a held write", || list().contains(" flags=b "));
    assert_eq!(raw.line("EXISTS k"), Value::Integer(0));
    assert_eq!(raw.line("CLIENT UNPAUSE"), ok());
    assert_eq!(writer.read(), ok());
    assert_eq!(writer.read(), Value::bulk("v"));
}

#[test]
fn a_reset_that_is_to_be_skipped_is_not_answered() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.send(b"CLIENT REPLY SKIP\r\nRESET\r\nPING\r\n");
    assert_eq!(raw.read(), Value::Simple("PONG".into()));
    raw.send(b"CLIENT REPLY OFF\r\nPING\r\nRESET\r\n");
    assert_eq!(raw.read(), Value::Simple("RESET".into()));
}

#[test]
fn pause_ends_by_itself_and_does_not_wait_for_a_cron() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.line("DEBUG PAUSE-CRON 1");
    assert_eq!(raw.line("CLIENT PAUSE 150 ALL"), ok());
    let start = Instant::now();
    assert_eq!(raw.line("PING"), Value::Simple("PONG".into()));
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(100), "{waited:?}");
}

/// A transaction that pauses, then writes: who waits for the key is served when the pause is over, for that is a write.
#[test]
fn who_waits_for_a_key_waits_for_the_end_of_a_pause_too() {
    let server = Server::start();
    let mut raw = server.raw();
    let mut waiter = server.raw();
    waiter.send(b"BLPOP l 0\r\n");
    let mut list = || text(&raw.line("CLIENT LIST"));
    wait_until("a client that waits", || list().contains(" flags=b "));
    raw.send(b"MULTI\r\nCLIENT PAUSE 60000 WRITE\r\nRPUSH l a\r\nEXEC\r\n");
    for _ in 0..3 {
        raw.read();
    }
    assert_eq!(raw.read(), Value::Array(vec![ok(), Value::Integer(1)]));
    assert_eq!(raw.line("LLEN l"), Value::Integer(1));
    assert_eq!(raw.line("CLIENT UNPAUSE"), ok());
    let served = Value::Array(vec![Value::bulk("l"), Value::bulk("a")]);
    assert_eq!(waiter.read(), served);
    assert_eq!(raw.line("LLEN l"), Value::Integer(0));
}

/// Commands that wait for EXEC count like bytes that wait to be parsed.
#[test]
fn a_transaction_without_end_is_cut_off() {
    let server = Server::with(&["--client-query-buffer-limit", "1mb"]);
    let mut raw = server.raw();
    assert_eq!(raw.line("MULTI"), ok());
    let value = "x".repeat(10_000);
    let mut sent = 0;
    while sent < 1000 && raw.send_unless_gone(format!("SET k {value}\r\n").as_bytes()) {
        sent += 1;
        if raw.read_unless_gone() != Some(Value::Simple("QUEUED".into())) {
            break;
        }
    }
    assert!((90..=110).contains(&sent), "{sent}");
    let info = text(&server.raw().line("INFO stats"));
    assert!(
        info.contains("client_query_buffer_limit_disconnections:1\r\n"),
        "{info}"
    );
}

#[test]
fn replies_off_skip_and_on() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.send(b"CLIENT REPLY OFF\r\nPING\r\nNOSUCH\r\nCLIENT REPLY ON\r\n");
    assert_eq!(raw.read(), ok());
    raw.send(b"CLIENT REPLY SKIP\r\nPING a\r\nPING b\r\n");
    assert_eq!(raw.read(), Value::bulk("b"));
}

/// What a client library learns at its start: it must be able to find its way about.
#[test]
fn command_describes_every_command_of_the_server() {
    let server = Server::start();
    let mut raw = server.raw();
    let Value::Integer(count) = raw.line("COMMAND COUNT") else {
        panic!("a count")
    };
    let all = raw.line("COMMAND");
    let all = all.items().expect("an array");
    assert_eq!(all.len() as i64, count);
    for command in all {
        let parts = command.items().expect("an array");
        assert_eq!(parts.len(), 10, "{command:?}");
    }
    assert_eq!(
        raw.line("COMMAND GETKEYS MSET a 1 b 2"),
        Value::Array(vec![Value::bulk("a"), Value::bulk("b")])
    );
}

#[test]
fn renamed_commands_are_described_by_their_new_names() {
    let server = Server::with(&[
        "--rename-command",
        "ECHO",
        "say",
        "--rename-command",
        "client",
        "c",
    ]);
    let mut raw = server.raw();
    assert_eq!(raw.line("SAY x"), Value::bulk("x"));
    assert!(text(&raw.line("ECHO x")).starts_with("ERR unknown command 'ECHO'"));
    assert_eq!(
        raw.line("COMMAND LIST FILTERBY PATTERN c|id"),
        Value::Array(vec![Value::bulk("c|id")])
    );
    let info = raw.line("COMMAND INFO echo say");
    let info = info.items().expect("an array");
    assert_eq!(info[0], Value::NullBulk);
    assert_eq!(info[1].items().expect("an array")[0], Value::bulk("say"));
}

/// A thousand connections that come and go leave nothing behind.
#[test]
fn connections_come_and_go() {
    let server = Server::start();
    let mut raw = server.raw();
    for _ in 0..20 {
        let mut many: Vec<Raw> = (0..50).map(|_| server.raw()).collect();
        for one in &mut many {
            assert_eq!(one.line("PING"), Value::Simple("PONG".into()));
        }
    }
    wait_until("one client left", || {
        text(&raw.line("CLIENT LIST")).lines().count() == 1
    });
}
