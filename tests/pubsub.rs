//! Pub/Sub and keyspace notifications of the whole server, and the events of every command beside Redis.
//!
//! The comparison needs `redis-server` 7.0 on the PATH; without it that test says so and passes.

mod common;

use common::redis_server::Redis;
use common::{Raw, Server};
use gyre::resp::reader::Value;
use std::time::{Duration, Instant};

/// Short: the parts of an array between blanks, pushes after `>`, null as `-`.
fn spell(value: &Value) -> String {
    let join = |items: &[Value]| items.iter().map(spell).collect::<Vec<_>>().join(" ");
    match value {
        Value::Array(items) => join(items),
        Value::Push(items) => format!("> {}", join(items)),
        Value::NullBulk | Value::NullArray | Value::Null => "-".to_owned(),
        Value::Integer(n) => n.to_string(),
        Value::Simple(text) => text.clone(),
        Value::Bulk(bytes) | Value::Error(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

fn read(raw: &mut Raw, count: usize) -> Vec<String> {
    (0..count).map(|_| spell(&raw.read())).collect()
}

#[test]
fn messages_reach_clients_of_either_protocol_in_order() {
    let server = Server::start();
    let (mut two, mut three, mut publisher) = (server.raw(), server.raw(), server.raw());
    three.line("HELLO 3");
    two.command(&["SUBSCRIBE", "c", "d"]);
    assert_eq!(read(&mut two, 2), ["subscribe c 1", "subscribe d 2"]);
    three.command(&["PSUBSCRIBE", "c*"]);
    assert_eq!(read(&mut three, 1), ["> psubscribe c* 1"]);
    for n in 0..1000 {
        publisher.command(&["PUBLISH", "c", &n.to_string()]);
    }
    for n in 0..1000 {
        assert_eq!(publisher.read(), Value::Integer(2));
        assert_eq!(read(&mut two, 1), [format!("message c {n}")]);
        assert_eq!(read(&mut three, 1), [format!("> pmessage c* c {n}")]);
    }
    let long = "x".repeat(200_000);
    publisher.run(&["PUBLISH", "c", &long]);
    assert_eq!(read(&mut two, 1), [format!("message c {long}")]);
    assert_eq!(read(&mut three, 1), [format!("> pmessage c* c {long}")]);
}

/// Two scripts of a transaction stand still while the loop turns: what its commands publish to their own client comes
/// behind the whole answer.
#[test]
fn no_message_comes_in_the_middle_of_a_transaction_that_stands_still() {
    let server = Server::with(&["--busy-reply-threshold", "20"]);
    let (mut client, mut other) = (server.raw(), server.raw());
    client.line("HELLO 3");
    client.line("SUBSCRIBE c");
    let forever = "redis.call('publish', 'c', KEYS[1]) while true do end";
    for words in [
        &["MULTI"][..],
        &["ECHO", "first"],
        &["EVAL", forever, "1", "in it"],
        &["PUBLISH", "c", "after it"],
        &["EVAL", forever, "1", "again"],
        &["ECHO", "last"],
    ] {
        client.run(words);
    }
    client.command(&["EXEC"]);
    let until = Instant::now() + Duration::from_secs(10);
    let mut killed = 0;
    loop {
        match spell(&other.line("SCRIPT KILL")).as_str() {
            "OK" => killed += 1,
            _ if killed > 0 => break,
            _ => {}
        }
        assert!(Instant::now() < until, "killed {killed}");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(killed >= 2, "both stood still");
    let Value::Array(answers) = client.read() else {
        panic!("EXEC is answered first");
    };
    let answers: Vec<String> = answers.iter().map(spell).collect();
    assert_eq!(answers.len(), 5);
    assert!(answers[1].contains("killed") && answers[3].contains("killed"));
    assert_eq!(
        [&answers[0], &answers[2], &answers[4]],
        ["first", "1", "last"]
    );
    let messages = ["in it", "after it", "again"].map(|it| format!("> message c {it}"));
    assert_eq!(read(&mut client, 3), messages);
    assert_eq!(spell(&client.line("PING")), "PONG");
}

/// Everyone who goes is forgotten: channels have no listeners left, and a publish reaches nobody.
#[test]
fn listeners_that_go_are_forgotten() {
    let server = Server::start();
    let mut asking = server.raw();
    let mut listeners: Vec<Raw> = (0..100).map(|_| server.raw()).collect();
    for listener in &mut listeners {
        listener.send(b"SUBSCRIBE c d\r\nPSUBSCRIBE p*\r\nSSUBSCRIBE s\r\n");
        read(listener, 4);
    }
    assert_eq!(asking.line("PUBLISH c x"), Value::Integer(100));
    let left = listeners.split_off(30);
    drop(listeners);
    let deadline = Instant::now() + Duration::from_secs(10);
    while asking.line("PUBLISH c x") != Value::Integer(70) {
        assert!(Instant::now() < deadline, "they are not forgotten");
    }
    drop(left);
    while !spell(&asking.line("PUBSUB CHANNELS")).is_empty() {
        assert!(Instant::now() < deadline, "they are not forgotten");
    }
    assert_eq!(asking.line("PUBSUB NUMPAT"), Value::Integer(0));
    assert_eq!(asking.line("SPUBLISH s x"), Value::Integer(0));
    let info = spell(&asking.line("INFO clients"));
    assert!(info.contains("pubsub_clients:0"), "{info}");
}

/// A listener that does not read is cut off at its limit, even if it is one transaction that sends it everything.
#[test]
fn a_listener_that_does_not_read_is_cut_off() {
    let server = Server::with(&["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
    let (mut deaf, mut publisher) = (server.raw(), server.raw());
    deaf.command(&["SUBSCRIBE", "c"]);
    read(&mut deaf, 1);
    let message = "x".repeat(10_000);
    publisher.line("MULTI");
    for _ in 0..2000 {
        publisher.command(&["PUBLISH", "c", &message]);
    }
    for _ in 0..2000 {
        publisher.read();
    }
    let answer = publisher.line("EXEC");
    let Value::Array(counts) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(counts.len(), 2000);
    assert_eq!(publisher.line("PUBLISH c x"), Value::Integer(0));
    let stats = spell(&publisher.line("INFO stats"));
    assert!(stats.contains("client_output_buffer_limit_disconnections:1"));
    let memory = spell(&publisher.line("INFO memory"));
    let peak = memory
        .lines()
        .find_map(|line| line.strip_prefix("used_memory_peak:"))
        .and_then(|peak| peak.trim().parse::<u64>().ok());
    // 20 MB were published, and queued; the listener's part of it must not come on top.
    assert!(peak.is_some_and(|peak| peak < 45_000_000), "{peak:?}");
    while deaf.read_unless_gone().is_some() {}
}

/// The same of one script. The script's own client hears what it published to itself after its answer.
#[test]
fn scripts_publish_within_bounds_and_before_their_answer() {
    let server = Server::with(&["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
    let (mut deaf, mut three) = (server.raw(), server.raw());
    deaf.command(&["SUBSCRIBE", "c"]);
    read(&mut deaf, 1);
    let publish = "for i = 1, 20000 do redis.call('PUBLISH', 'c', ARGV[1]) end return 'done'";
    let message = "x".repeat(1000);
    assert_eq!(spell(&three.run(&["EVAL", publish, "0", &message])), "done");
    assert_eq!(three.line("PUBLISH c x"), Value::Integer(0));
    let memory = spell(&three.line("INFO memory"));
    let peak = memory
        .lines()
        .find_map(|line| line.strip_prefix("used_memory_peak:"))
        .and_then(|peak| peak.trim().parse::<u64>().ok());
    assert!(peak.is_some_and(|peak| peak < 12_000_000), "{peak:?}");
    while deaf.read_unless_gone().is_some() {}
    three.line("HELLO 3");
    three.command(&["SUBSCRIBE", "d"]);
    read(&mut three, 1);
    let script = "redis.call('PUBLISH', 'd', 'one') return redis.call('PUBLISH', 'd', 'two')";
    three.command(&["EVAL", script, "0"]);
    assert_eq!(
        read(&mut three, 3),
        ["1", "> message d one", "> message d two"]
    );
    let refused = spell(&three.run(&["EVAL", "return redis.call('SUBSCRIBE', 'e')", "0"]));
    assert!(refused.starts_with("ERR This Redis command is not allowed from script"));
}

#[test]
fn an_idle_listener_is_not_timed_out() {
    let server = Server::with(&["--timeout", "1", "--hz", "100"]);
    let (mut listener, mut idle) = (server.raw(), server.raw());
    listener.command(&["SUBSCRIBE", "c"]);
    read(&mut listener, 1);
    assert!(idle.read_unless_gone().is_none(), "closed after a second");
    let mut publisher = server.raw();
    assert_eq!(publisher.line("PUBLISH c x"), Value::Integer(1));
    assert_eq!(read(&mut listener, 1), ["message c x"]);
}

/// Messages are for those who listen now: nothing of them is kept.
#[test]
fn messages_are_not_in_the_append_only_file() {
    let server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut client = server.raw();
    client.line("SET key value");
    client.line("PUBLISH secretchannel x");
    client.line("SPUBLISH secretchannel x");
    client.line("SET key2 value");
    let dir = server.dir.path().join("appendonlydir");
    let mut all = Vec::new();
    for file in std::fs::read_dir(dir).expect("the folder").flatten() {
        all.extend(std::fs::read(file.path()).expect("a file"));
    }
    let text = String::from_utf8_lossy(&all);
    assert!(text.contains("key2") && !text.contains("secretchannel"));
}

// ---- events beside Redis ------------------------------------------------------------------------------------------

/// A client and somebody who listens to all events.
struct Watched {
    client: Raw,
    blocked: Raw,
    marker: Raw,
    listener: Raw,
}

impl Watched {
    fn of(connect: impl Fn() -> Raw) -> Watched {
        let (mut client, mut listener) = (connect(), connect());
        let set = client.line("CONFIG SET notify-keyspace-events EAmn");
        assert_eq!(set, Value::Simple("OK".into()));
        listener.command(&["PSUBSCRIBE", "__keyevent@*", "end"]);
        read(&mut listener, 2);
        Watched {
            client,
            blocked: connect(),
            marker: connect(),
            listener,
        }
    }
    /// Runs a line; its answer, and the events that it raised, as `event@db key`.
    fn run(&mut self, line: &str) -> (String, Vec<String>) {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = if let ["BLOCKED", rest @ ..] = &words[..] {
            self.blocked.command(rest);
            // It has come to wait when the other connection's next command is answered, or a little later.
            std::thread::sleep(Duration::from_millis(30));
            String::new()
        } else if let ["REDUMP", from, rest @ ..] = &words[..] {
            // RESTORE of what DUMP of the first key answers.
            let Value::Bulk(dump) = self.client.run(&["DUMP", from]) else {
                panic!("{from} is not there")
            };
            let mut request: Vec<&[u8]> = vec![b"RESTORE", rest[0].as_bytes(), b"0", &dump];
            request.extend(rest[1..].iter().map(|word| word.as_bytes()));
            spell(&self.client.run(&request))
        } else if let ["EXPIRED", rest @ ..] = &words[..] {
            // With a key whose time is over, and that nobody has looked at since.
            self.client.run(&["SET", "volatile", "1", "PX", "1"]);
            std::thread::sleep(Duration::from_millis(3));
            spell(&self.client.run(rest))
        } else if let ["SLEEP", ms] = words[..] {
            std::thread::sleep(Duration::from_millis(ms.parse().expect("ms")));
            String::new()
        } else {
            spell(&self.client.run(&words))
        };
        self.marker.run(&["PUBLISH", "end", ""]);
        let mut events = Vec::new();
        loop {
            let message = spell(&self.listener.read());
            let mut parts = message.splitn(4, ' ').skip(2);
            let channel = parts.next().unwrap_or_default();
            if channel == "end" {
                return (answer, events);
            }
            let (db, event) = channel
                .strip_prefix("__keyevent@")
                .and_then(|rest| rest.split_once("__:"))
                .expect("an event's channel");
            events.push(format!("{event}@{db} {}", parts.next().unwrap_or_default()));
        }
    }
}

include!("pubsub_events.in");

#[test]
fn every_command_raises_the_events_that_redis_raises() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(redis) = Redis::start(directory.path(), &[]) else {
        return;
    };
    let server = Server::start();
    let (mut ours, mut theirs) = (Watched::of(|| server.raw()), Watched::of(|| redis.raw()));
    let mut differences = Vec::new();
    for line in EVENTS.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (our_answer, our_events) = ours.run(line);
        let (their_answer, their_events) = theirs.run(line);
        if our_events != their_events {
            differences.push(format!(
                "{line}\n    ours:   {our_events:?} ({our_answer})\n    theirs: {their_events:?} ({their_answer})"
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
