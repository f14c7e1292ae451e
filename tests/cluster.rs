//! Nodes of a cluster over real sockets: formed, resharded, failed over, mixed with Redis, and started in one line.

mod common;

use common::redis_server::Redis;
use common::{AWAITED, Raw, Server, wait_for};
use gyre::resp::reader::Value;
use gyre::structures::slots::slot_of;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn ok() -> Value {
    Value::Simple("OK".to_owned())
}

fn text(value: Value) -> String {
    match value {
        Value::Bulk(bytes) | Value::Error(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::Simple(text) => text,
        other => panic!("{other:?} is no text"),
    }
}

/// A node, whoever serves it.
struct Node {
    port: u16,
    bus: u16,
}

impl Node {
    fn raw(&self) -> Raw {
        Raw::over(TcpStream::connect(("127.0.0.1", self.port)).expect("a connection"))
    }
    fn says(&self, line: &str) -> String {
        text(self.raw().line(line))
    }
    fn id(&self) -> String {
        self.says("CLUSTER MYID")
    }
    fn is_ok(&self) -> bool {
        self.says("CLUSTER INFO").contains("cluster_state:ok")
    }
}

fn directives(bus: u16) -> Vec<String> {
    let words = format!(
        "--cluster-enabled yes --cluster-node-timeout 4000 --cluster-port {bus} --appendonly no"
    );
    words.split(' ').map(str::to_owned).collect()
}

fn gyre() -> (Server, Node) {
    for _ in 0..10 {
        let bus = free_port();
        let directives = directives(bus);
        let directives: Vec<&str> = directives.iter().map(String::as_str).collect();
        let server = Server::with(&directives);
        // The bus's port may have been taken meanwhile: then it has ended.
        if TcpStream::connect(("127.0.0.1", bus)).is_ok() {
            let port = server.port;
            return (server, Node { port, bus });
        }
    }
    panic!("no free port for a bus");
}

/// The first `primaries` share the slots; each of the others follows one of them.
fn form(nodes: &[&Node], primaries: usize) {
    for (at, node) in nodes.iter().enumerate() {
        let epoch = format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1);
        assert_eq!(node.raw().line(&epoch), ok());
        if at < primaries {
            let bound = |at: usize| 16384 * at / primaries;
            let range = format!("CLUSTER ADDSLOTSRANGE {} {}", bound(at), bound(at + 1) - 1);
            assert_eq!(node.raw().line(&range), ok());
        }
        let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", nodes[0].port, nodes[0].bus);
        assert_eq!(node.raw().line(&meet), ok());
    }
    let known = format!("cluster_known_nodes:{}\r", nodes.len());
    for node in nodes {
        wait_for("all to know all", || {
            node.says("CLUSTER INFO").contains(&known)
        });
    }
    for (at, node) in nodes.iter().enumerate().skip(primaries) {
        let replicate = format!("CLUSTER REPLICATE {}", nodes[at % primaries].id());
        wait_for("a primary to be known as one", || {
            node.raw().line(&replicate) == ok()
        });
        wait_for("the replica's data", || {
            node.says("INFO replication")
                .contains("master_link_status:up")
        });
    }
    for node in nodes {
        wait_for("all slots served", || node.is_ok());
    }
}

/// Sends a command to the node that has its key, following what it is told.
fn routed(start: &Node, line: &str) -> Value {
    let mut port = start.port;
    let deadline = Instant::now() + AWAITED;
    loop {
        let stream = TcpStream::connect(("127.0.0.1", port));
        let answer = stream
            .ok()
            .and_then(|stream| {
                let mut raw = Raw::over(stream);
                raw.send_unless_gone(format!("{line}\r\n").as_bytes())
                    .then(|| raw.read_unless_gone())
            })
            .flatten();
        match &answer {
            Some(Value::Error(error)) if error.starts_with(b"MOVED") => {
                let error = String::from_utf8_lossy(error).into_owned();
                port = error
                    .rsplit(':')
                    .next()
                    .expect("a port")
                    .parse()
                    .expect("a port");
            }
            Some(Value::Error(error)) if error.starts_with(b"CLUSTERDOWN") => {}
            Some(answer) => return answer.clone(),
            // Its node is gone: somebody else knows who has its place.
            None => port = start.port,
        }
        assert!(Instant::now() < deadline, "{line}: {answer:?}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Keys of each third of the slots.
fn keys() -> impl Iterator<Item = String> {
    (0..300).map(|at| format!("key:{at}"))
}

#[test]
fn who_dies_is_replaced_and_comes_back_as_a_replica() {
    let (mut first, one) = gyre();
    let (_second, two) = gyre();
    let (_third, three) = gyre();
    let (_fourth, replica) = gyre();
    form(&[&one, &two, &three, &replica], 3);
    for key in keys() {
        assert_eq!(routed(&two, &format!("SET {key} {key}")), ok());
    }
    let all = one.raw().line("DBSIZE");
    wait_for("the replica's keys", || replica.raw().line("DBSIZE") == all);
    // A replica serves nothing before it is asked to.
    let mine = keys()
        .find(|key| slot_of(key.as_bytes()) < 5461)
        .expect("a key");
    let mut raw = replica.raw();
    let slot = slot_of(mine.as_bytes());
    let moved = format!("MOVED {slot} 127.0.0.1:{}", one.port);
    assert_eq!(text(raw.line(&format!("GET {mine}"))), moved);
    assert_eq!(raw.line("READONLY"), ok());
    assert_eq!(raw.line(&format!("GET {mine}")), bulk(&mine));
    assert_eq!(text(raw.line(&format!("SET {mine} x"))), moved);

    first.kill();
    wait_for("the replica to lead", || {
        text_of_role(&replica) == "master" && replica.is_ok() && two.is_ok()
    });
    for key in keys() {
        assert_eq!(routed(&two, &format!("GET {key}")), bulk(&key));
    }
    assert_eq!(routed(&two, &format!("SET {mine} new")), ok());
    first.start_again();
    wait_for("the old one to follow", || {
        text_of_role(&one) == "slave"
            && one
                .says("INFO replication")
                .contains("master_link_status:up")
    });
    let mut raw = one.raw();
    raw.line("READONLY");
    assert_eq!(raw.line(&format!("GET {mine}")), bulk("new"));
    // And it knows as much after another start, from nodes.conf.
    first.start_again();
    wait_for("it to follow again", || text_of_role(&one) == "slave");
}

/// Has a replica take its primary's place without loss, and waits for it. It is asked again, as people would: whoever has not heard
/// yet that it is a replica of that primary does not answer it or vote for it, and after five seconds it gives up.
fn take_over(replica: &Node, primary: &Node) {
    let mut asked: Option<Instant> = None;
    wait_for("the roles to have changed", || {
        if text_of_role(replica) == "master" {
            return text_of_role(primary) == "slave";
        }
        if asked.is_none_or(|at| at.elapsed().as_millis() > 5500) {
            assert_eq!(replica.raw().line("CLUSTER FAILOVER"), ok());
            asked = Some(Instant::now());
        }
        false
    });
}

fn text_of_role(node: &Node) -> String {
    match node.raw().line("ROLE") {
        Value::Array(parts) => text(parts[0].clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slot_moves_with_its_keys() {
    let (_first, from) = gyre();
    let (mut second, to) = gyre();
    form(&[&from, &to], 2);
    let slot = slot_of(b"{a}");
    assert!(slot >= 8192, "{slot}");
    // So it is the second one's.
    let (from, to) = (&to, &from);
    for at in 0..20 {
        assert_eq!(from.raw().line(&format!("SET {{a}}{at} {at}")), ok());
    }
    let count = format!("CLUSTER COUNTKEYSINSLOT {slot}");
    assert_eq!(from.raw().line(&count), Value::Integer(20));
    let importing = format!("CLUSTER SETSLOT {slot} IMPORTING {}", from.id());
    assert_eq!(to.raw().line(&importing), ok());
    let migrating = format!("CLUSTER SETSLOT {slot} MIGRATING {}", to.id());
    assert_eq!(from.raw().line(&migrating), ok());
    let ask = format!("ASK {slot} 127.0.0.1:{}", to.port);
    assert_eq!(from.says("GET {a}none"), ask);
    assert_eq!(from.raw().line("GET {a}1"), bulk("1"));
    let port = to.port.to_string();
    let migrate = |keys: &[&str]| {
        let mut raw = from.raw();
        let words = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        raw.command(&[&words, keys].concat());
        assert_eq!(raw.read(), ok());
    };
    migrate(&["{a}1", "{a}2"]);
    assert_eq!(from.says("GET {a}1"), ask);
    assert!(from.says("MGET {a}1 {a}3").starts_with("TRYAGAIN"));
    let mut raw = to.raw();
    assert!(text(raw.line("GET {a}1")).starts_with("MOVED"));
    assert_eq!(raw.line("ASKING"), ok());
    assert_eq!(raw.line("GET {a}1"), bulk("1"));
    // Once only.
    assert!(text(raw.line("GET {a}1")).starts_with("MOVED"));
    let keys = from
        .raw()
        .line(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
    let Value::Array(keys) = keys else {
        panic!("{keys:?}")
    };
    assert_eq!(keys.len(), 18);
    let keys: Vec<String> = keys.into_iter().map(text).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    migrate(&keys);
    for node in [to, from] {
        let line = format!("CLUSTER SETSLOT {slot} NODE {}", to.id());
        assert_eq!(node.raw().line(&line), ok());
    }
    assert_eq!(to.raw().line(&count), Value::Integer(20));
    assert!(from.says("GET {a}1").starts_with("MOVED"));
    assert_eq!(to.raw().line("GET {a}1"), bulk("1"));
    second.start_again();
    wait_for("all slots served", || from.is_ok());
    assert!(from.says("GET {a}1").starts_with("MOVED"));
}

#[test]
fn a_manual_failover_loses_nothing() {
    let (_first, one) = gyre();
    let (_second, replica) = gyre();
    form(&[&one, &replica], 1);
    let mut written = 0;
    let mut failing = None;
    while failing.is_none_or(|since: Instant| since.elapsed().as_millis() < 2000) {
        assert_eq!(routed(&one, "INCR n"), Value::Integer(written + 1));
        written += 1;
        if written == 100 {
            assert_eq!(replica.raw().line("CLUSTER FAILOVER"), ok());
            failing = Some(Instant::now());
        }
    }
    take_over(&replica, &one);
    assert_eq!(routed(&one, "GET n"), bulk(&written.to_string()));
}

#[test]
fn messages_and_shards_reach_all_nodes() {
    let (_first, one) = gyre();
    let (_second, two) = gyre();
    form(&[&one, &two], 2);
    let mut listener = two.raw();
    listener.line("SUBSCRIBE news");
    one.raw().line("PUBLISH news here");
    let Value::Array(message) = listener.read() else {
        panic!("no message")
    };
    assert_eq!(message[2], bulk("here"));
    // A channel of a shard is its slot's.
    let owner = if slot_of(b"shard") < 8192 { &one } else { &two };
    let other = if slot_of(b"shard") < 8192 { &two } else { &one };
    assert!(other.says("SSUBSCRIBE shard").starts_with("MOVED"));
    let mut listener = owner.raw();
    listener.line("SSUBSCRIBE shard");
    assert_eq!(owner.raw().line("SPUBLISH shard x"), Value::Integer(1));
}

#[test]
fn gyre_and_redis_are_nodes_of_one_cluster() {
    let dir = tempfile::tempdir().expect("a directory");
    let bus = free_port();
    let directives = directives(bus);
    let directives: Vec<&str> = directives.iter().map(String::as_str).collect();
    let Some(redis) = Redis::start_of_system(dir.path(), &directives) else {
        return;
    };
    let redis = (redis.port(), redis);
    let peer = Node { port: redis.0, bus };
    let (mut first, one) = gyre();
    let (_second, two) = gyre();
    // Redis follows gyre's first, and takes its place.
    form(&[&one, &two, &peer], 2);
    let (_third, three) = gyre();
    let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", one.port, one.bus);
    three.raw().line(&meet);
    wait_for("all to know all", || {
        [&one, &two, &three, &peer].iter().all(|node| {
            node.says("CLUSTER INFO")
                .contains("cluster_known_nodes:4\r")
        })
    });
    for key in keys() {
        assert_eq!(routed(&two, &format!("SET {key} {key}")), ok());
    }
    let all = one.raw().line("DBSIZE");
    wait_for("Redis's keys", || peer.raw().line("DBSIZE") == all);
    take_over(&peer, &one);
    wait_for("it to follow Redis", || {
        one.says("INFO replication")
            .contains("master_link_status:up")
    });
    take_over(&one, &peer);
    wait_for("Redis to follow", || {
        peer.says("INFO replication")
            .contains("master_link_status:up")
    });
    for key in keys() {
        assert_eq!(routed(&two, &format!("GET {key}")), bulk(&key));
    }
    first.kill();
    // Of two primaries one is no majority: nobody takes its place, and both say so.
    wait_for("the cluster to be down", || !two.is_ok());
    first.start_again();
    wait_for("the cluster to be back", || two.is_ok() && peer.is_ok());
}

/// A cluster of one line, which ends with the test.
struct Local {
    child: Child,
    ready: String,
}

impl Local {
    fn start(dir: &Path, port: u16) -> Option<Local> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gyre"))
            .args(["--cluster-local", "3", "--replicas", "1"])
            .args(["--port", &port.to_string(), "--dir"])
            .arg(dir)
            .args(["--bind", "127.0.0.1", "--cluster-node-timeout", "4000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut ready = String::new();
        for line in lines {
            ready = line.expect("a line");
            if ready.starts_with("The cluster is ready") {
                return Some(Local { child, ready });
            }
        }
        let _ = child.wait();
        assert!(!ready.is_empty() || port > 0);
        None
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
    }
}

#[test]
fn one_line_starts_a_cluster_and_looks_after_it() {
    let dir = tempfile::tempdir().expect("a directory");
    // Below those that the system gives to others, so that there is room for the buses; another test run may have them.
    let started = (0..10).find_map(|_| {
        let port = 12_000 + free_port() % 8_000;
        Some((Local::start(dir.path(), port)?, port))
    });
    let (local, port) = started.expect("a cluster");
    assert!(local.ready.contains("3 primaries with 1 replicas each"));
    let node = |at: u16| Node {
        port: port + at,
        bus: port + at + 10_000,
    };
    assert_eq!(routed(&node(0), "SET a 1"), ok());
    assert!(node(5).says("CLUSTER INFO").contains("cluster_size:3\r"));
    let pid = |at: u16| {
        let stream = TcpStream::connect(("127.0.0.1", port + at)).ok()?;
        let mut raw = Raw::over(stream);
        let info = raw
            .send_unless_gone(b"INFO server\r\n")
            .then(|| raw.read_unless_gone());
        let info = text(info.flatten()?);
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("process_id:"))?;
        line.parse::<u32>().ok()
    };
    let before = pid(4).expect("a process");
    let _ = Command::new("kill")
        .args(["-KILL", &before.to_string()])
        .status();
    wait_for("it to be started again", || {
        pid(4).is_some_and(|now| now != before)
    });
    drop(local);
    for at in 0..6 {
        assert!(pid(at).is_none(), "all have ended");
    }
    // The same cluster again, with its data.
    let local = Local::start(dir.path(), port).expect("a cluster");
    assert_eq!(
        routed(&node(0), "CLUSTER COUNTKEYSINSLOT 0"),
        Value::Integer(0)
    );
    assert!(
        node(5)
            .says("CLUSTER INFO")
            .contains("cluster_known_nodes:6\r")
    );
    drop(local);
}
