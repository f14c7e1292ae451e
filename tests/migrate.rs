//! MIGRATE over real sockets: between two servers, from and to Redis, and to a target that the test plays.

mod common;

use common::redis_server::Redis;
use common::{Raw, Server, info, text, wait_for};
use gyre::resp::reader::Value;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn ok() -> Value {
    Value::Simple("OK".to_owned())
}
fn error(text: &str) -> Value {
    Value::Error(text.as_bytes().to_vec())
}

/// One key of each kind and encoding that matters, some with a time to live.
fn fill(raw: &mut Raw) -> Vec<String> {
    let long: String = (0..600).map(|it| format!(" f{it} {it}")).collect();
    let members: String = (0..600).map(|it| format!(" {it} m{it}")).collect();
    let lines = [
        "SET string value".to_owned(),
        "SET int 12 EX 1000".to_owned(),
        "RPUSH list a b c".to_owned(),
        "SADD set a b c".to_owned(),
        "SADD ints 1 2 3".to_owned(),
        "HSET hash f v g w".to_owned(),
        format!("HSET long{long}"),
        format!("ZADD sorted{members}"),
        "XADD stream 1-1 f v".to_owned(),
        "XGROUP CREATE stream group 0".to_owned(),
        "PEXPIRE list 100000".to_owned(),
        "HPEXPIRE hash 100000 FIELDS 1 f".to_owned(),
    ];
    for line in lines {
        assert!(!matches!(raw.line(&line), Value::Error(_)), "{line}");
    }
    let keys = [
        "string", "int", "list", "set", "ints", "hash", "long", "sorted", "stream",
    ];
    keys.map(str::to_owned).to_vec()
}

fn digest(raw: &mut Raw, keys: &[String]) -> Value {
    raw.line(&format!("DEBUG DIGEST-VALUE {}", keys.join(" ")))
}

/// Moves all keys from one server to another and looks whether all is there, and only there.
fn moves_all(from: &mut Raw, to: &mut Raw, to_port: u16) {
    let keys = fill(from);
    let before = digest(from, &keys);
    let all = keys.join(" ");
    let line = format!("MIGRATE localhost {to_port}  0 20000 KEYS none {all}");
    assert_eq!(from.line(&line), ok());
    assert_eq!(from.line("DBSIZE"), Value::Integer(0));
    assert_eq!(digest(to, &keys), before);
    assert_eq!(to.line("TTL string"), Value::Integer(-1));
    let Value::Integer(ttl_s) = to.line("TTL int") else {
        panic!("no time to live");
    };
    assert!((900..=1000).contains(&ttl_s), "{ttl_s}");
    assert_eq!(text(from.line(&line)), "NOKEY");
    to.line("FLUSHALL");
}

#[test]
fn keys_of_all_types_go_from_server_to_server() {
    let (from, to) = (Server::start(), Server::start());
    moves_all(&mut from.raw(), &mut to.raw(), to.port);
    assert_eq!(info(&mut from.raw(), "migrate_cached_sockets"), "1");
}

#[test]
fn keys_go_from_redis_and_to_redis() {
    let gyre = Server::start();
    let dir = tempfile::tempdir().expect("a directory");
    let Some(redis) = Redis::start(dir.path(), &[]) else {
        return;
    };
    moves_all(&mut gyre.raw(), &mut redis.raw(), redis.port());
    moves_all(&mut redis.raw(), &mut gyre.raw(), gyre.port);
    // Errors are the same words.
    for line in [
        "SET a 1",
        "MIGRATE 127.0.0.1 PORT a 0 1000 KEYS b",
        "MIGRATE 127.0.0.1 PORT a 0 x",
        "MIGRATE 127.0.0.1 PORT a x 0",
        "MIGRATE 127.0.0.1 PORT a x 0 NONSENSE",
        "MIGRATE 127.0.0.1 PORT a 0 1000 AUTH",
        "MIGRATE 127.0.0.1 PORT a 0 1000 AUTH2 x",
        "MIGRATE 127.0.0.1 PORT a 0",
        "MIGRATE 127.0.0.1 PORT none 0 1000",
        "MIGRATE 127.0.0.1 PORT a 0 1000 COPY",
        "MIGRATE 127.0.0.1 PORT a 0 1000",
        "MIGRATE 127.0.0.1 PORT a 77 1000",
        "MIGRATE 127.0.0.1 PORT a 0 1000 AUTH2 nobody x",
        "MIGRATE 127.0.0.1 1 a 0 1000",
        "MIGRATE 127.0.0.1 x a 0 1000",
        "GET a",
        "MIGRATE 127.0.0.1 PORT a 0 1000 REPLACE",
        "COMMAND INFO MIGRATE",
        "COMMAND GETKEYS MIGRATE h 1 k 0 9 AUTH keys COPY",
        "COMMAND GETKEYS MIGRATE h 1  0 9 AUTH2 keys keys KEYS a b",
        "COMMAND GETKEYSANDFLAGS MIGRATE h 1 k 0 9",
    ] {
        let of_gyre = gyre
            .raw()
            .line(&line.replace("PORT", &redis.port().to_string()));
        let of_redis = redis
            .raw()
            .line(&line.replace("PORT", &gyre.port.to_string()));
        assert_eq!(of_gyre, of_redis, "{line}");
    }
}

#[test]
fn options_are_those_of_redis() {
    let (from, to) = (Server::start(), Server::start());
    let (mut raw, mut there) = (from.raw(), to.raw());
    let port = to.port;
    raw.line("SET a 1");
    raw.line("SET b 1 PX 100000");
    let migrate = |raw: &mut Raw, rest: &str| raw.line(&format!("MIGRATE 127.0.0.1 {port} {rest}"));
    assert_eq!(migrate(&mut raw, "a 0 5000 COPY"), ok());
    assert_eq!(text(raw.line("GET a")), "1");
    raw.line("SET a 2");
    let busy = "ERR Target instance replied with error: BUSYKEY Target key name already exists.";
    assert_eq!(migrate(&mut raw, "a 0 5000"), error(busy));
    assert_eq!(text(there.line("GET a")), "1");
    assert_eq!(migrate(&mut raw, "a 0 0 REPLACE"), ok());
    assert_eq!(text(there.line("GET a")), "2");
    // Those that were taken go, that which was not stays.
    raw.line("SET a 3");
    assert_eq!(migrate(&mut raw, " 0 5000 KEYS none a b"), error(busy));
    assert_eq!(raw.line("EXISTS a b"), Value::Integer(1));
    assert_eq!(migrate(&mut raw, "a 3 5000"), ok());
    there.line("SELECT 3");
    assert_eq!(text(there.line("GET a")), "3");
    // It cannot wait where the next command has to follow.
    raw.line("SET a 4");
    let refused =
        "ERR MIGRATE waits for another server, which cannot be done in a transaction or a script";
    raw.line("MULTI");
    migrate(&mut raw, "a 0 5000");
    migrate(&mut raw, "none 0 5000");
    let nokey = Value::Simple("NOKEY".to_owned());
    assert_eq!(raw.line("EXEC"), Value::Array(vec![error(refused), nokey]));
    let script = format!("return redis.pcall('MIGRATE', '127.0.0.1', '{port}', 'a', '0', '100')");
    assert_eq!(raw.run(&["EVAL", &script, "0"]), error(refused));
    assert_eq!(text(raw.line("GET a")), "4");
}

/// Nobody but who waits is shown a password; a wrong one moves nothing.
#[test]
fn passwords_are_asked_for_and_not_shown() {
    let from = Server::with(&["--slowlog-log-slower-than", "0"]);
    let to = Server::with(&["--requirepass", "secret"]);
    let (mut raw, mut there) = (from.raw(), to.raw());
    there.line("AUTH secret");
    let mut monitor = from.raw();
    monitor.line("MONITOR");
    raw.line("SET a 1");
    let migrate = |raw: &mut Raw, rest: &str| {
        let line = format!("MIGRATE 127.0.0.1 {} a 0 5000 {rest}", to.port);
        raw.line(line.trim_end())
    };
    let refused = |text: &str| error(&format!("ERR Target instance replied with error: {text}"));
    let wrong = refused("WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(migrate(&mut raw, "AUTH hunter2"), wrong);
    assert_eq!(migrate(&mut raw, "AUTH2 nobody hunter2"), wrong);
    assert_eq!(
        migrate(&mut raw, ""),
        refused("NOAUTH Authentication required.")
    );
    assert_eq!(text(raw.line("GET a")), "1");
    assert_eq!(migrate(&mut raw, "AUTH2 default secret"), ok());
    raw.line("SET a 2");
    assert_eq!(migrate(&mut raw, "REPLACE AUTH secret"), ok());
    assert_eq!(text(there.line("GET a")), "2");
    // Answered at once, it is in the slow log.
    assert_eq!(text(migrate(&mut raw, "AUTH2 hunter2 hunter2")), "NOKEY");
    let Value::Array(entries) = raw.line("SLOWLOG GET 1") else {
        panic!("no entries");
    };
    let Value::Array(entry) = &entries[0] else {
        panic!("no entry");
    };
    let port = to.port.to_string();
    let hidden = ["AUTH2", "(redacted)", "(redacted)"];
    let words = ["MIGRATE", "127.0.0.1", &port, "a", "0", "5000"];
    let words: Vec<Value> = words.into_iter().chain(hidden).map(Value::bulk).collect();
    assert_eq!(entry[3], Value::Array(words));
    raw.line("ECHO end");
    let mut shown = String::new();
    while !shown.contains("\"end\"") {
        shown.push_str(&text(monitor.read()));
    }
    assert!(
        shown.contains("\"AUTH2\" \"(redacted)\" \"(redacted)\""),
        "{shown}"
    );
    assert!(
        !shown.contains("hunter2") && !shown.contains("secret"),
        "{shown}"
    );
}

#[test]
fn what_went_is_one_removal_for_files_and_events() {
    let from = Server::with(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--notify-keyspace-events",
        "KEA",
    ]);
    let to = Server::start();
    let mut raw = from.raw();
    for key in ["a", "b", "c"] {
        raw.line(&format!("SET {key} 1"));
    }
    let mut watcher = from.raw();
    watcher.line("WATCH a");
    let mut listener = from.raw();
    listener.line("PSUBSCRIBE __keyevent@0__:*");
    let line = format!("MIGRATE 127.0.0.1 {}  0 5000 KEYS a none b", to.port);
    assert_eq!(raw.line(&line), ok());
    for key in ["a", "b"] {
        let event = ["pmessage", "__keyevent@0__:*", "__keyevent@0__:del", key];
        assert_eq!(
            listener.read(),
            Value::Array(event.map(Value::bulk).to_vec())
        );
    }
    watcher.line("MULTI");
    assert_eq!(watcher.line("EXEC"), Value::NullArray);
    let files = std::fs::read_dir(from.dir.path().join("appendonlydir")).expect("the files");
    let all: Vec<u8> = files
        .flat_map(|file| std::fs::read(file.expect("a file").path()).expect("its bytes"))
        .collect();
    let all = String::from_utf8_lossy(&all).into_owned();
    assert!(
        all.contains("*3\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n"),
        "{all}"
    );
    assert!(!all.contains("MIGRATE"), "{all}");
}

/// A target that the test plays.
struct Target {
    listener: TcpListener,
}

impl Target {
    fn new() -> Target {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
        Target { listener }
    }
    fn port(&self) -> u16 {
        self.listener.local_addr().expect("its address").port()
    }
    /// Takes a connection and answers its SELECT.
    fn greet(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().expect("a connection");
        let mut raw = Raw::over(stream.try_clone().expect("a second handle"));
        let Value::Array(words) = raw.read() else {
            panic!("no request");
        };
        assert_eq!(words[0], Value::bulk("SELECT"));
        raw.send(b"+OK\r\n");
        stream
    }
    /// The same, until a key was sent.
    fn take_key(&self) -> Raw {
        let mut raw = Raw::over(self.greet());
        let Value::Array(words) = raw.read() else {
            panic!("no request");
        };
        assert_eq!(words[0], Value::bulk("RESTORE"));
        raw
    }
}

/// Redis stands still for as long as the target is silent.
#[test]
fn others_go_on_while_a_target_is_silent_and_its_writers_wait() {
    let from = Server::start();
    let target = Target::new();
    let (mut raw, mut other, mut writer) = (from.raw(), from.raw(), from.raw());
    raw.line("SET a 1");
    let id = text(raw.line("CLIENT ID"));
    let begun = Instant::now();
    raw.send(format!("MIGRATE 127.0.0.1 {} a 0 2000\r\n", target.port()).as_bytes());
    let silent = target.take_key();
    writer.send(b"APPEND a 2\r\n");
    wait_for("the writer waits", || {
        text(other.line("CLIENT LIST")).contains("cmd=append")
    });
    assert_eq!(text(other.line("GET a")), "1");
    assert_eq!(other.line("SET b 1"), ok());
    let id = id
        .trim_start_matches("Integer(")
        .trim_end_matches(')')
        .to_owned();
    assert_eq!(
        other.line(&format!("CLIENT UNBLOCK {id}")),
        Value::Integer(0)
    );
    assert_eq!(info(&mut other, "blocked_clients"), "1");
    assert!(
        begun.elapsed() < Duration::from_millis(2000),
        "others waited"
    );
    let lost = "IOERR error or timeout reading from target instance";
    assert_eq!(raw.read(), error(lost));
    assert!(begun.elapsed() >= Duration::from_millis(2000));
    // It stays, and whoever waited goes on with it.
    assert_eq!(writer.read(), Value::Integer(2));
    assert_eq!(text(other.line("GET a")), "12");
    assert_eq!(info(&mut other, "migrate_cached_sockets"), "0");
    drop(silent);
}

#[test]
fn a_writer_that_waited_finds_the_key_gone_and_one_that_could_not_keeps_it() {
    let from = Server::start();
    let target = Target::new();
    let (mut raw, mut other, mut writer) = (from.raw(), from.raw(), from.raw());
    raw.line("MSET a 1 b 1");
    raw.send(format!("MIGRATE 127.0.0.1 {} a 0 20000\r\n", target.port()).as_bytes());
    let mut there = target.take_key();
    writer.send(b"APPEND a 2\r\n");
    wait_for("the writer waits", || {
        text(other.line("CLIENT LIST")).contains("cmd=append")
    });
    there.send(b"+OK\r\n");
    assert_eq!(raw.read(), ok());
    assert_eq!(writer.read(), Value::Integer(1));
    assert_eq!(text(other.line("GET a")), "2");
    // A program that does not name the key cannot wait for it.
    raw.send(format!("MIGRATE 127.0.0.1 {} b 0 20000\r\n", target.port()).as_bytes());
    there.read();
    other.run(&["EVAL", "return redis.call('SET', 'b', '2')", "0"]);
    there.send(b"+OK\r\n");
    let stays =
        "ERR Key changed while it was migrated, and stays: the target has what it was before: 'b'";
    assert_eq!(raw.read(), error(stays));
    assert_eq!(text(other.line("GET b")), "2");
}

/// What was sent goes to its end; what was not is not begun.
#[test]
fn a_client_that_goes_while_it_waits_leaves_its_keys_at_one_place() {
    for is_killed in [false, true] {
        let from = Server::start();
        let target = Target::new();
        let (mut raw, mut other) = (from.raw(), from.raw());
        raw.line("SET a 1");
        let Value::Integer(id) = raw.line("CLIENT ID") else {
            panic!("no id");
        };
        raw.send(format!("MIGRATE 127.0.0.1 {} a 0 20000\r\n", target.port()).as_bytes());
        let mut there = target.take_key();
        if is_killed {
            assert_eq!(
                other.line(&format!("CLIENT KILL ID {id}")),
                Value::Integer(1)
            );
            assert_eq!(raw.read_unless_gone(), None);
        }
        drop(raw);
        assert_eq!(text(other.line("GET a")), "1");
        there.send(b"+OK\r\n");
        wait_for("the key goes", || {
            other.line("EXISTS a") == Value::Integer(0)
        });
    }
}

#[test]
fn sockets_that_a_target_has_closed_are_replaced() {
    let (from, to) = (Server::start(), Server::start());
    let (mut raw, mut there) = (from.raw(), to.raw());
    for round in 0..3 {
        raw.line("SET a 1");
        let line = format!("MIGRATE 127.0.0.1 {} a 0 5000 REPLACE", to.port);
        assert_eq!(raw.line(&line), ok(), "{round}");
        there.line("CLIENT KILL TYPE normal SKIPME yes");
    }
    // One that is closed at the very moment of its use: the target reads what was sent, and resets.
    let target = Target::new();
    let line = format!("MIGRATE 127.0.0.1 {} a 0 5000\r\n", target.port());
    raw.line("SET a 1");
    raw.send(line.as_bytes());
    let mut first = target.take_key();
    first.send(b"+OK\r\n");
    assert_eq!(raw.read(), ok());
    raw.line("SET a 2");
    raw.send(line.as_bytes());
    first.read();
    drop(first);
    target.take_key().send(b"+OK\r\n");
    assert_eq!(raw.read(), ok());
    assert_eq!(raw.line("EXISTS a"), Value::Integer(0));
}

#[test]
fn large_values_go_while_others_are_served() {
    let (from, to) = (Server::start(), Server::start());
    let (mut raw, mut there) = (from.raw(), to.raw());
    let value = (0..3_000_000)
        .map(|it| format!("{it:08}"))
        .collect::<String>();
    for key in ["a", "b", "c"] {
        assert_eq!(raw.run(&["SET", key, &value]), ok());
    }
    let line = format!("MIGRATE localhost {}  0 60000 KEYS a b c", to.port);
    raw.command(&line.split(' ').collect::<Vec<_>>());
    let mut other = from.raw();
    assert_eq!(text(other.line("PING")), "PONG");
    assert_eq!(raw.read(), ok());
    for key in ["a", "b", "c"] {
        assert_eq!(text(there.run(&["GET", key])), value);
    }
    assert_eq!(raw.line("DBSIZE"), Value::Integer(0));
}

/// Unused ones are closed after ten seconds; here it is those of a target that nobody can reach that leave none.
#[test]
fn who_cannot_be_reached_is_told() {
    let from = Server::start();
    let mut raw = from.raw();
    raw.line("SET a 1");
    let port = Target::new().port();
    let unknown = "IOERR error or timeout connecting to the client";
    let refused = "IOERR error or timeout writing to target instance";
    for (target, said) in [
        (format!("127.0.0.1 {port}"), refused),
        ("no.such.host.invalid 6379".to_owned(), unknown),
        ("127.0.0.1 0".to_owned(), refused),
        ("127.0.0.1 none".to_owned(), refused),
        ("127.0.0.1 -1".to_owned(), unknown),
    ] {
        let answer = raw.line(&format!("MIGRATE {target} a 0 10000"));
        assert_eq!(answer, error(said), "{target}");
    }
    assert_eq!(info(&mut raw, "migrate_cached_sockets"), "0");
    assert_eq!(text(raw.line("GET a")), "1");
}
