//! Replication over real sockets: what a replica is told, byte by byte; replicas of this server, and this server as one.

mod common;

use common::{Raw, Server, info, text, wait_for};
use gyre::resp::reader::Value;

/// A line of the primary without its end. Empty lines are signs of life.
fn line(raw: &mut Raw) -> String {
    let mut line = Vec::new();
    loop {
        let byte = raw.read_bytes(1);
        match byte.first() {
            Some(b'\n') if line.is_empty() => {}
            Some(b'\n') => return String::from_utf8(line).expect("text"),
            Some(b'\r') => {}
            Some(byte) => line.push(*byte),
            None => panic!("the connection has ended"),
        }
    }
}

/// Takes a snapshot that ends with a mark.
fn snapshot(raw: &mut Raw) -> Vec<u8> {
    let head = line(raw);
    let mark = head.strip_prefix("$EOF:").expect("a mark").to_owned();
    let mut bytes = Vec::new();
    while !bytes.ends_with(mark.as_bytes()) {
        bytes.extend(raw.read_bytes(1));
    }
    bytes.truncate(bytes.len() - mark.len());
    bytes
}

/// An error's text.
fn refused(value: Value) -> String {
    match value {
        Value::Error(text) => String::from_utf8(text).expect("text"),
        other => panic!("{other:?}"),
    }
}

fn ok() -> Value {
    Value::Simple("OK".to_owned())
}

/// A replica by hand: it introduces itself, gets a snapshot, and the stream from its moment on; then it comes back.
#[test]
fn a_replica_gets_a_snapshot_and_the_stream_and_goes_on_where_it_was() {
    let server = Server::with(&["--repl-diskless-sync-delay", "0"]);
    let mut client = server.raw();
    assert_eq!(client.line("SET before 1"), ok());
    let mut replica = server.raw();
    assert_eq!(replica.line("REPLCONF listening-port 7777"), ok());
    assert_eq!(
        replica.line("REPLCONF capa eof capa psync2 capa unknown"),
        ok()
    );
    assert_eq!(
        replica.line("REPLCONF nonsense 1"),
        Value::Error(b"ERR Unrecognized REPLCONF option: nonsense".to_vec())
    );
    replica.send(b"PSYNC ? -1\r\n");
    let answer = line(&mut replica);
    let words: Vec<&str> = answer.split(' ').collect();
    assert_eq!((words[0], words.len()), ("+FULLRESYNC", 3), "{answer}");
    let (id, offset) = (words[1].to_owned(), words[2].parse::<u64>().unwrap());
    let bytes = snapshot(&mut replica);
    assert!(bytes.starts_with(b"REDIS") && bytes.windows(6).any(|it| it == b"before"));
    // Nothing of the stream comes before it is known that the snapshot has come whole.
    assert_eq!(client.line("SET after 2"), ok());
    replica.send(format!("REPLCONF ACK {offset}\r\n").as_bytes());
    let stream = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$5\r\nafter\r\n$1\r\n2\r\n";
    assert_eq!(replica.read_bytes(stream.len()), stream);
    assert_eq!(info(&mut client, "connected_slaves"), "1");
    assert!(info(&mut client, "slave0").contains("port=7777,state=online"));
    let now = offset + stream.len() as u64;
    assert_eq!(info(&mut client, "master_repl_offset"), now.to_string());
    // Only what is acknowledged counts.
    client.send(b"SET third 3\r\nWAIT 1 0\r\n");
    assert_eq!(client.read(), ok());
    let third = b"*3\r\n$3\r\nSET\r\n$5\r\nthird\r\n$1\r\n3\r\n";
    assert_eq!(replica.read_bytes(third.len()), third);
    let getack = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
    assert_eq!(replica.read_bytes(getack.len()), getack);
    let now = now + third.len() as u64;
    replica.send(format!("REPLCONF ACK {now}\r\n").as_bytes());
    assert_eq!(client.read(), Value::Integer(1));
    drop(replica);
    wait_for("its end", || info(&mut client, "connected_slaves") == "0");
    assert_eq!(client.line("SET missed 4"), ok());
    let mut replica = server.raw();
    assert_eq!(replica.line("REPLCONF capa psync2"), ok());
    replica.send(format!("PSYNC {id} {}\r\n", now + 1).as_bytes());
    assert_eq!(line(&mut replica), format!("+CONTINUE {id}"));
    let missed = b"*3\r\n$3\r\nSET\r\n$6\r\nmissed\r\n$1\r\n4\r\n";
    assert_eq!(replica.read_bytes(getack.len()), getack);
    assert_eq!(replica.read_bytes(missed.len()), missed);
    // Others have no part of the stream.
    let mut other = server.raw();
    other.send(b"PSYNC 0123456789012345678901234567890123456789 5\r\n");
    assert!(line(&mut other).starts_with("+FULLRESYNC "));
    assert_eq!(info(&mut client, "sync_partial_ok"), "1");
    assert_eq!(info(&mut client, "sync_partial_err"), "1");
}

#[test]
fn roles_are_told() {
    let server = Server::start();
    let mut client = server.raw();
    assert_eq!(
        client.line("ROLE"),
        Value::Array(vec![
            Value::Bulk(b"master".to_vec()),
            Value::Integer(0),
            Value::Array(Vec::new())
        ])
    );
    assert_eq!(client.line("REPLICAOF NO ONE"), ok());
    for (bad, reason) in [
        ("SLAVEOF host port", "ERR Invalid master port"),
        ("REPLICAOF host 65536", "ERR Invalid master port"),
        ("REPLCONF capa", "ERR syntax error"),
    ] {
        assert_eq!(refused(client.line(bad)), reason, "{bad}");
    }
    assert_eq!(client.line("REPLICAOF 127.0.0.1 1"), ok());
    assert_eq!(info(&mut client, "role"), "slave");
    assert_eq!(info(&mut client, "master_link_status"), "down");
    assert_eq!(
        refused(client.line("SET key value")),
        "READONLY You can't write against a read only replica."
    );
    assert_eq!(
        refused(client.line("SYNC")),
        "NOMASTERLINK Can't SYNC while not connected with my master"
    );
    assert_eq!(client.line("CONFIG SET replica-serve-stale-data no"), ok());
    assert!(refused(client.line("GET key")).starts_with("MASTERDOWN "));
    assert_eq!(client.line("SLAVEOF NO ONE"), ok());
    assert_eq!(client.line("SET key value"), ok());
    assert_eq!(info(&mut client, "role"), "master");
}

/// Waits until a server follows another one, with all that this has.
fn await_link(replica: &mut Raw, primary: &mut Raw) {
    wait_for("the link", || {
        info(replica, "master_link_status") == "up"
            && info(replica, "master_repl_offset") == info(primary, "master_repl_offset")
    });
}

/// Two servers of which the second follows the first, and a connection to each.
fn pair(first: &[&str], second: &[&str]) -> (Server, Server, Raw, Raw) {
    let first = [&["--repl-diskless-sync-delay", "0"], first].concat();
    let (first, second) = (Server::with(&first), Server::with(second));
    let (mut one, mut two) = (first.raw(), second.raw());
    assert_eq!(
        two.line(&format!("REPLICAOF 127.0.0.1 {}", first.port)),
        ok()
    );
    await_link(&mut two, &mut one);
    (first, second, one, two)
}

/// FAILOVER loses nothing: who writes meanwhile is held, and then told that this is a replica now.
#[test]
fn a_primary_hands_its_role_over() {
    let first = Server::with(&["--repl-diskless-sync-delay", "0"]);
    let second = Server::with(&["--repl-diskless-sync-delay", "0"]);
    let (mut one, mut two) = (first.raw(), second.raw());
    for (line, reason) in [
        ("FAILOVER ABORT", "ERR No failover in progress."),
        ("FAILOVER", "ERR FAILOVER requires connected replicas."),
        (
            "FAILOVER TIMEOUT 0",
            "ERR FAILOVER timeout must be greater than 0",
        ),
        ("FAILOVER TO here", "ERR syntax error"),
    ] {
        assert_eq!(refused(one.line(line)), reason, "{line}");
    }
    assert_eq!(one.line("SET key 1"), ok());
    assert_eq!(
        two.line(&format!("REPLICAOF localhost {}", first.port)),
        ok()
    );
    await_link(&mut two, &mut one);
    for (line, reason) in [
        (
            "FAILOVER TO 127.0.0.1 1",
            "ERR FAILOVER target HOST and PORT is not a replica.",
        ),
        (
            "FAILOVER FORCE",
            "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
        ),
    ] {
        assert_eq!(refused(one.line(line)), reason, "{line}");
    }
    assert_eq!(
        refused(two.line("FAILOVER")),
        "ERR FAILOVER is not valid when server is a replica."
    );
    let mut writer = first.raw();
    one.send(b"SET key 2\r\nFAILOVER\r\n");
    assert_eq!((one.read(), one.read()), (ok(), ok()));
    writer.send(b"SET key 3\r\n");
    assert!(refused(writer.read()).starts_with("READONLY "));
    wait_for("the other role", || info(&mut two, "role") == "master");
    await_link(&mut one, &mut two);
    assert_eq!(info(&mut one, "master_failover_state"), "no-failover");
    assert_eq!(two.line("GET key"), Value::bulk("2"));
    assert_eq!(two.line("SET key 4"), ok());
    assert_eq!(two.line("WAIT 1 0"), Value::Integer(1));
    assert_eq!(one.line("GET key"), Value::bulk("4"));
    assert_eq!(info(&mut one, "sync_full"), "1");
    assert_eq!(info(&mut two, "sync_full"), "0", "the stream went on");
}

/// A server that is to end lets its replicas catch up first, and can be told not to end.
#[test]
fn the_end_waits_for_replicas() {
    let (first, second, mut one, mut two) = pair(&[], &[]);
    common::signal(second.pid(), "-STOP");
    assert_eq!(one.line("SET key 1"), ok());
    let (mut ender, mut writer) = (first.raw(), first.raw());
    ender.send(b"SHUTDOWN\r\n");
    wait_for("the end under way", || {
        text(one.line("INFO server")).contains("shutdown_in_milliseconds:")
    });
    writer.send(b"SET key 2\r\n");
    assert_eq!(one.line("SHUTDOWN ABORT"), ok());
    assert_eq!(
        refused(ender.read()),
        "ERR Errors trying to SHUTDOWN. Check logs."
    );
    assert_eq!(writer.read(), ok());
    ender.send(b"SHUTDOWN\r\n");
    wait_for("the end under way", || {
        text(one.line("INFO server")).contains("shutdown_in_milliseconds:")
    });
    common::signal(second.pid(), "-CONT");
    wait_for("the end", || !ender.send_unless_gone(b"PING\r\n"));
    wait_for("the link's end", || {
        info(&mut two, "master_link_status") == "down"
    });
    assert_eq!(two.line("GET key"), Value::bulk("2"));
}

/// What is on a replica's disk is told by the replica, also with a sync a second.
#[test]
fn the_disks_of_replicas_are_waited_for() {
    let first = Server::with(&["--repl-diskless-sync-delay", "0"]);
    let mut one = first.raw();
    for policy in ["always", "everysec"] {
        let second = Server::with(&["--appendonly", "yes", "--appendfsync", policy]);
        let mut two = second.raw();
        assert_eq!(
            two.line(&format!("REPLICAOF 127.0.0.1 {}", first.port)),
            ok()
        );
        await_link(&mut two, &mut one);
        wait_for("the file", || {
            info(&mut two, "aof_enabled") == "1" && info(&mut two, "aof_rewrite_in_progress") == "0"
        });
        one.send(b"SET key value\r\nWAITAOF 0 1 0\r\n");
        assert_eq!(one.read(), ok());
        assert_eq!(
            one.read(),
            Value::Array(vec![Value::Integer(0), Value::Integer(1)]),
            "{policy}"
        );
        assert_eq!(
            one.line("WAITAOF 0 2 10"),
            Value::Array(vec![Value::Integer(0), Value::Integer(1)])
        );
        drop(second);
        wait_for("its end", || info(&mut one, "connected_slaves") == "0");
    }
}

/// A script that stands still and then writes: WAIT of its client waits for what it wrote. It was answered by the offset before.
#[test]
fn a_script_that_stood_still_is_waited_for() {
    let (_first, second, mut one, mut two) = pair(&["--busy-reply-threshold", "20"], &[]);
    common::signal(second.pid(), "-STOP");
    let script = "local ends = redis.call('TIME')[1] + 2 while redis.call('TIME')[1] + 0 < ends do end \
                  return redis.call('SET', 'key', 'value')";
    one.command(&["EVAL", script, "0"]);
    one.send(b"WAIT 1 50\r\n");
    assert_eq!(one.read(), ok());
    assert_eq!(one.read(), Value::Integer(0), "the replica stands still");
    common::signal(second.pid(), "-CONT");
    assert_eq!(one.line("WAIT 1 0"), Value::Integer(1));
    assert_eq!(two.line("GET key"), Value::bulk("value"));
}

/// Who waits for a key when the role goes away is told so. It waited for ever.
#[test]
fn who_waits_learns_of_a_failover() {
    let (first, _second, mut one, _two) = pair(&[], &[]);
    let mut waiter = first.raw();
    waiter.send(b"BLPOP list 0\r\n");
    wait_for("the wait", || info(&mut one, "blocked_clients") == "1");
    assert_eq!(one.line("FAILOVER"), ok());
    assert!(refused(waiter.read()).starts_with("UNBLOCKED "));
}

/// What is answered to a replica would be taken for a part of the stream.
#[test]
fn a_replica_that_asks_for_an_answer_is_cut_off() {
    let server = Server::with(&["--repl-diskless-sync-delay", "0"]);
    let mut client = server.raw();
    let mut replica = server.raw();
    assert_eq!(replica.line("REPLCONF capa eof"), ok());
    replica.send(b"PSYNC ? -1\r\n");
    assert!(line(&mut replica).starts_with("+FULLRESYNC "));
    snapshot(&mut replica);
    replica.send(b"REPLCONF ACK 0\r\n\nPING\r\n");
    wait_for("its end", || info(&mut client, "connected_slaves") == "0");
}

/// FLUSHALL gives up the snapshot that is being written. A replica that waited for its file waited for ever, and so did all
/// that came later.
#[test]
fn a_replica_whose_snapshot_is_given_up_gets_another_one() {
    let server = Server::with(&[
        "--repl-diskless-sync",
        "no",
        "--rdb-key-save-delay",
        "10000",
    ]);
    let mut client = server.raw();
    client.line("DEBUG POPULATE 1000");
    let asks = |server: &Server| {
        let mut replica = server.raw();
        replica.send(b"PSYNC ? -1\r\n");
        assert!(line(&mut replica).starts_with("+FULLRESYNC "));
        replica
    };
    let mut replica = asks(&server);
    assert_eq!(client.line("FLUSHALL"), ok());
    assert_eq!(
        replica.try_read(),
        None,
        "it is told by the end of the link"
    );
    assert_eq!(client.line("SET key value"), ok());
    let mut replica = asks(&server);
    let length = line(&mut replica);
    let length = length.strip_prefix('$').and_then(|it| it.parse().ok());
    let bytes = replica.read_bytes(length.expect("a length"));
    assert!(bytes.windows(5).any(|it| it == b"value"));
}

/// Clients of a replica hear what is published at its primary; its file does not.
#[test]
fn messages_reach_the_clients_of_replicas() {
    let (_first, second, mut one, _two) = pair(&["--appendonly", "yes"], &[]);
    let mut listener = second.raw();
    listener.send(b"SUBSCRIBE news\r\n");
    listener.read();
    let size = info(&mut one, "aof_current_size");
    assert_eq!(one.line("PUBLISH news first"), Value::Integer(0));
    let script = "return redis.call('PUBLISH', 'news', 'second')";
    assert_eq!(one.run(&["EVAL", script, "0"]), Value::Integer(0));
    for text in ["first", "second"] {
        let message = ["message", "news", text].map(Value::bulk).to_vec();
        assert_eq!(listener.read(), Value::Array(message));
    }
    assert_eq!(info(&mut one, "aof_current_size"), size);
}

/// A snapshot that says that its stream goes on in a database which is not here: its link is given up, with its socket.
#[test]
fn a_stream_for_a_database_that_is_not_here_is_refused() {
    let primary = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = primary.local_addr().expect("an address").port();
    let replica = Server::start();
    let mut client = replica.raw();
    assert_eq!(client.line(&format!("REPLICAOF 127.0.0.1 {port}")), ok());
    let (stream, _) = primary.accept().expect("a replica");
    let mut link = Raw::over(stream);
    loop {
        let Value::Array(words) = link.read() else {
            panic!("no request")
        };
        let is = |name: &[u8]| words.first().and_then(Value::as_bytes) == Some(name);
        match () {
            () if is(b"PING") => link.send(b"+PONG\r\n"),
            () if is(b"PSYNC") => break,
            () => link.send(b"+OK\r\n"),
        }
    }
    let id = "0123456789abcdef0123456789abcdef01234567";
    let snapshot = b"REDIS0010\xfa\x0erepl-stream-db\x0599999\xff\0\0\0\0\0\0\0\0";
    link.send(format!("+FULLRESYNC {id} 0\r\n${}\r\n", snapshot.len()).as_bytes());
    link.send(snapshot);
    wait_for("the end of the link", || {
        !link.send_unless_gone(b"*1\r\n$4\r\nPING\r\n")
    });
    assert_eq!(info(&mut client, "master_link_status"), "down");
    assert_eq!(client.line("PING"), Value::Simple("PONG".to_owned()));
}
