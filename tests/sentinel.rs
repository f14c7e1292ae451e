//! Redis's Sentinel over gyre: a primary dies under load, a replica takes its place, and no write is lost that another
//! server had confirmed.

mod common;

use common::redis_server::program_of_system;
use common::{Raw, info, signal, text, wait_for};
use gyre::resp::reader::Value;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// A server that keeps its directives in a file, as CONFIG REWRITE and Sentinel want it.
struct Node {
    name: &'static str,
    program: std::path::PathBuf,
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
    arguments: &'static [&'static str],
}

const GYRE: &str = "gyre";
const REDIS: &str = "redis-server";
const SENTINEL: &str = "sentinel";

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

impl Node {
    /// None where there is no such program.
    fn start(name: &'static str, directives: &str) -> Option<Node> {
        let (program, arguments): (&Path, &[&str]) = match name {
            GYRE => (Path::new(env!("CARGO_BIN_EXE_gyre")), &[]),
            REDIS => (program_of_system()?, &[]),
            _ => (program_of_system()?, &["--sentinel"]),
        };
        // Another process may take the port meanwhile.
        for _ in 0..5 {
            let port = free_port();
            let dir = tempfile::tempdir().expect("a directory");
            let own = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nlogfile log\n{directives}",
                dir.path().display()
            );
            std::fs::write(dir.path().join("node.conf"), own).expect("a file");
            let child = spawn(program, dir.path(), arguments);
            let program = program.to_owned();
            let mut node = Node {
                name,
                program,
                child,
                port,
                dir,
                arguments,
            };
            if node.await_answer() {
                return Some(node);
            }
        }
        panic!("no port for {name}");
    }
    fn await_answer(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            if let Some(mut raw) = connect(self.port)
                && raw.send_unless_gone(b"PING\r\n")
                && raw.read_unless_gone() == Some(Value::Simple("PONG".into()))
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} does not answer:\n{}", self.name, self.log());
    }
    fn start_again(&mut self) {
        self.child = spawn(&self.program, self.dir.path(), self.arguments);
        assert!(self.await_answer(), "{}", self.log());
    }
    fn raw(&self) -> Raw {
        connect(self.port).expect("a connection")
    }
    fn kill(&mut self) {
        signal(self.child.id(), "-KILL");
        let _ = self.child.wait();
    }
    fn directives(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("node.conf")).expect("its file")
    }
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, dir: &Path, arguments: &[&str]) -> Child {
    Command::new(program)
        .arg(dir.join("node.conf"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a program")
}

fn connect(port: u16) -> Option<Raw> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    // A connection to a port on which nobody listens may be given that port itself.
    (stream.local_addr().ok() != stream.peer_addr().ok()).then(|| Raw::over(stream))
}

/// Where the Sentinels say that the primary is.
fn primary(sentinel: &mut Raw) -> u16 {
    let answer = sentinel.line("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster");
    let port = answer.items().and_then(|it| it.get(1)?.as_bytes());
    let port = port.map(|port| String::from_utf8_lossy(port).into_owned());
    port.and_then(|port| port.parse().ok()).expect("a port")
}

/// What somebody has written who asks Sentinel for the primary, and takes for written what one replica has confirmed.
#[derive(Default)]
struct Written {
    confirmed: Vec<u64>,
    /// The longest time between two confirmations.
    gap: Duration,
}

fn write(sentinel: u16, ends: &AtomicBool) -> Written {
    let mut asks = connect(sentinel).expect("a Sentinel");
    let (mut written, mut last, mut number) = (Written::default(), Instant::now(), 0_u64);
    while !ends.load(SeqCst) {
        let Some(mut raw) = connect(primary(&mut asks)) else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        while !ends.load(SeqCst) {
            number += 1;
            let line = format!("SET key:{number} {number}\r\nWAIT 1 300\r\n");
            if !raw.send_unless_gone(line.as_bytes()) {
                break;
            }
            let answers = (raw.read_unless_gone(), raw.read_unless_gone());
            match answers {
                (Some(Value::Simple(_)), Some(Value::Integer(1..))) => {
                    written.gap = written.gap.max(last.elapsed());
                    last = Instant::now();
                    written.confirmed.push(number);
                }
                // It is none any more, or has no replica.
                (Some(Value::Simple(_)), Some(Value::Integer(0))) => {}
                _ => break,
            }
        }
    }
    written
}

/// The first of the servers is the primary, and dies.
fn fail_over(names: [&'static str; 3]) {
    const DIRECTIVES: &str =
        "save \"\"\nrepl-diskless-sync-delay 0\nrepl-timeout 5\nrepl-ping-replica-period 1\n";
    let mut nodes = Vec::new();
    for name in names {
        let replica_of = nodes.first().map_or(String::new(), |first: &Node| {
            format!("replicaof 127.0.0.1 {}\n", first.port)
        });
        // The third one is never to be promoted.
        let priority = ["1", "2", "0"][nodes.len()];
        let directives = format!("{DIRECTIVES}replica-priority {priority}\n{replica_of}");
        let Some(node) = Node::start(name, &directives) else {
            return;
        };
        nodes.push(node);
    }
    let first = nodes[0].port;
    let mut raw = nodes[0].raw();
    wait_for("two replicas", || {
        let page = text(raw.line("INFO replication"));
        page.matches("state=online").count() == 2
    });
    let watched = format!(
        "sentinel monitor mymaster 127.0.0.1 {first} 2\nsentinel down-after-milliseconds mymaster 1000\n\
         sentinel failover-timeout mymaster 3000\nsentinel parallel-syncs mymaster 2\n"
    );
    let sentinels = [(), ()].map(|()| Node::start(SENTINEL, &watched));
    let [Some(one), Some(two)] = sentinels else {
        return;
    };
    for sentinel in [&one, &two] {
        let faster =
            "SENTINEL DEBUG INFO-PERIOD 300 PUBLISH-PERIOD 200 PING-PERIOD 200 ASK-PERIOD 200";
        assert_eq!(sentinel.raw().line(faster), Value::Simple("OK".into()));
    }
    let mut asks = one.raw();
    let mut about = |field: &str| -> u64 {
        let answer = asks.line("SENTINEL MASTER mymaster");
        let words = answer.items().expect("fields");
        let at = words.iter().position(|word| *word == Value::bulk(field));
        let value = text(words[at.expect("the field") + 1].clone());
        value.parse().expect("a number")
    };
    // They find each other and the replicas by what the primary tells and carries for them.
    wait_for("the other Sentinel and the replicas", || {
        about("num-other-sentinels") == 1 && about("num-slaves") == 2
    });
    let ends = Arc::new(AtomicBool::new(false));
    let (own, port) = (Arc::clone(&ends), two.port);
    let writer = std::thread::spawn(move || write(port, &own));
    std::thread::sleep(Duration::from_millis(500));
    nodes[0].kill();
    wait_for("another primary", || primary(&mut asks) != first);
    let second = primary(&mut asks);
    assert_eq!(second, nodes[1].port, "the priority decides");
    // It closes its clients when it is promoted, so that they ask for the primary again.
    wait_for("its role", || info(&mut nodes[1].raw(), "role") == "master");
    await_replica(&nodes[2], second);
    let mut raw = nodes[1].raw();
    std::thread::sleep(Duration::from_millis(500));
    ends.store(true, SeqCst);
    let written = writer.join().expect("the writer");
    assert!(written.confirmed.len() > 100, "{}", written.confirmed.len());
    for number in &written.confirmed {
        let value = raw.line(&format!("GET key:{number}"));
        assert_eq!(
            value,
            Value::bulk(number.to_string()),
            "{names:?}: key:{number} was confirmed and is lost"
        );
    }
    println!(
        "{names:?}: {} writes confirmed, {} became the primary, {} ms without one",
        written.confirmed.len(),
        nodes[1].name,
        written.gap.as_millis()
    );
    // Whoever follows another one now has it in its file; the old primary comes back as a replica.
    let line = format!("replicaof 127.0.0.1 {second}");
    for node in &nodes[1..] {
        wait_for("the file", || {
            node.directives().contains(&line) == (node.port != second)
        });
    }
    nodes[0].start_again();
    await_replica(&nodes[0], second);
    wait_for("its file", || nodes[0].directives().contains(&line));
    // On demand, the role goes back. Whoever still took the server for a primary that has come back would undo that.
    for sentinel in [&one, &two] {
        wait_for("its role, as both see it", || {
            let answer = sentinel.raw().line("SENTINEL REPLICAS mymaster");
            let mut replicas = answer.items().unwrap_or_default().iter();
            let has = |it: &Value, word: &str| {
                let words = it.items().unwrap_or_default();
                words.contains(&Value::bulk(word))
            };
            let port = first.to_string();
            replicas.all(|it| !has(it, &port) || has(it, "slave") && !has(it, "master"))
        });
    }
    wait_for("a failover on demand", || {
        asks.line("SENTINEL FAILOVER mymaster") == Value::Simple("OK".into())
    });
    wait_for("the first primary again", || primary(&mut asks) == first);
    await_replica(&nodes[1], first);
    await_replica(&nodes[2], first);
    let sizes: Vec<Value> = nodes.iter().map(|it| it.raw().line("DBSIZE")).collect();
    assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
}

/// What a server tells of replication. Sentinel closes connections, so each look has one of its own.
fn replication(port: u16) -> Option<String> {
    let mut raw = connect(port)?;
    raw.send_unless_gone(b"INFO replication\r\n")
        .then_some(())?;
    raw.read_unless_gone().map(text)
}

/// Waits until a server has all of the stream of the one on this port.
fn await_replica(node: &Node, primary: u16) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (own, other) = (replication(node.port), replication(primary));
        let (own, other) = (own.unwrap_or_default(), other.unwrap_or_default());
        let mut lines = other.lines();
        let offset = lines.find(|line| line.starts_with("master_repl_offset:"));
        let is_replica = own.contains(&format!("master_port:{primary}\r"))
            && own.contains("master_link_status:up")
            && offset.is_some_and(|offset| own.contains(offset));
        if is_replica {
            return;
        }
        if Instant::now() > deadline {
            let name = node.name;
            panic!(
                "{name} does not follow {primary}:\n{own}\nof {other}\n{}",
                node.log()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The roles change between servers of both kinds, each way. Most of the time Sentinel waits for its own clocks, so all of it
/// happens at once.
#[test]
fn sentinel_fails_over_and_back() {
    const SETS: [[&str; 3]; 4] = [
        [GYRE, GYRE, GYRE],
        [GYRE, GYRE, REDIS],
        [GYRE, REDIS, GYRE],
        [REDIS, GYRE, GYRE],
    ];
    if program_of_system().is_none() {
        return;
    }
    std::thread::scope(|scope| {
        for names in SETS {
            scope.spawn(move || fail_over(names));
        }
    });
}
