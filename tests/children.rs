//! Children that save: what they hold of their server, and what becomes of them when it goes.

mod common;

use common::{AWAITED, Raw, Server, signal, wait_for};
use gyre::resp::reader::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Numbers of the children of a process.
fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .map(|number| number.parse().expect("a number"))
        .collect()
}

/// Whether there is such a process, and it has not ended.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Has a child write a snapshot that takes an hour; its process number.
fn slow_save(server: &Server, raw: &mut Raw) -> u32 {
    for line in [
        "SET a 1",
        "CONFIG SET rdb-key-save-delay 1000000000",
        "BGSAVE",
    ] {
        let answer = raw.line(line);
        assert!(!matches!(answer, Value::Error(_)), "{line}: {answer:?}");
    }
    let mut child = 0;
    wait_for("the child", || {
        child = children(server.pid()).first().copied().unwrap_or(0);
        server.dir.path().join(format!("temp-{child}.rdb")).exists()
    });
    child
}

/// What is tested here is the child, which the default does without.
const FORK: [&str; 2] = ["--bgsave-default-method", "fork"];

/// A server whose saves are a child's, with these directives as well.
fn with_child(directives: &[&str]) -> Server {
    let all: Vec<&str> = FORK.iter().chain(directives).copied().collect();
    Server::with(&all)
}

/// The child of a killed server went on, and renamed what it had begun long ago over the snapshot of the next server.
#[test]
fn the_child_of_a_killed_server_ends_and_leaves_the_snapshot_alone() {
    let mut server = Server::with(&FORK);
    let mut raw = server.raw();
    let child = slow_save(&server, &mut raw);
    let temporary = server.dir.path().join(format!("temp-{child}.rdb"));
    server.kill();
    wait_for("the end of the child", || !lives(child));
    assert!(!temporary.exists());
    assert!(!server.dir.path().join("dump.rdb").exists());
}

/// The child was ended, and half of what the loop knew of its pipe forgotten, before the server found that it could not give
/// the last snapshot its name, and went on.
#[test]
fn a_child_that_saves_goes_on_with_the_server_whose_end_was_refused() {
    let mut server = with_child(&["--save", "3600 1"]);
    let mut raw = server.raw();
    let child = slow_save(&server, &mut raw);
    raw.line("CONFIG SET rdb-key-save-delay 0");
    let path = server.dir.path().join("dump.rdb");
    fs::create_dir(&path).expect("a directory in the place of the file");
    let refused = Value::Error("ERR Errors trying to SHUTDOWN. Check logs.".into());
    assert_eq!(raw.line("SHUTDOWN"), refused);
    signal(server.pid(), "-TERM");
    wait_for("the refusal", || {
        let refused = "Error trying to save the DB, can't exit.";
        server.log().matches(refused).count() == 2
    });
    // A turn after it: who is open between two turns is counted there.
    assert_eq!(raw.line("PING"), Value::Simple("PONG".into()));
    assert!(lives(child));
    let stat = fs::read_to_string(format!("/proc/{child}/stat")).expect("it lives");
    assert!(!stat.contains(") T "), "it stands still: {stat}");
    fs::remove_dir(&path).expect("an empty directory");
    signal(server.pid(), "-TERM");
    assert_eq!(server.wait(), Some(0));
    assert!(!lives(child) && path.is_file());
    assert!(!server.dir.path().join(format!("temp-{child}.rdb")).exists());
}

/// Nor may one whose death signal never came put its file in place.
#[test]
fn a_child_that_was_stopped_while_its_server_died_leaves_the_newer_snapshot_alone() {
    let mut server = Server::with(&FORK);
    let mut raw = server.raw();
    let child = slow_save(&server, &mut raw);
    signal(child, "-STOP");
    server.kill();
    server.start_again();
    let mut raw = server.raw();
    raw.line("SET newer 1");
    assert_eq!(raw.line("SAVE"), Value::Simple("OK".into()));
    let path = server.dir.path().join("dump.rdb");
    let newer = fs::read(&path).expect("a snapshot");
    signal(child, "-CONT");
    wait_for("the end of the child", || !lives(child));
    assert_eq!(fs::read(&path).expect("a snapshot"), newer);
    assert!(!server.dir.path().join(format!("temp-{child}.rdb")).exists());
}

#[test]
fn a_rewriting_child_removes_what_it_was_writing_when_its_server_goes() {
    let mut server = with_child(&["--appendonly", "yes"]);
    let mut raw = server.raw();
    raw.line("SET a 1");
    raw.line("CONFIG SET rdb-key-save-delay 1000000000");
    raw.line("BGREWRITEAOF");
    let mut child = 0;
    let path = |child| {
        server
            .dir
            .path()
            .join("appendonlydir")
            .join(format!("temp-rewriteaof-bg-{child}.aof"))
    };
    wait_for("the child", || {
        child = children(server.pid()).first().copied().unwrap_or(0);
        path(child).exists()
    });
    let temporary = path(child);
    server.kill();
    wait_for("the end of the child", || !lives(child));
    assert!(!temporary.exists());
}

/// Reads until the end, which must come soon.
fn ends(mut stream: impl Read) {
    let begun = Instant::now();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("no end after {:?}: {error}", begun.elapsed()),
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(AWAITED)).expect("a timeout");
    stream
}

/// While a child held copies of all sockets, nothing that the server closed was closed for its peer.
#[test]
fn connections_end_though_a_child_is_at_work() {
    let socket = tempfile::tempdir().expect("a directory");
    let socket = socket.path().join("socket");
    let mut server = with_child(&["--unixsocket", socket.to_str().expect("a plain path")]);
    let mut raw = server.raw();
    let mut by_unix = UnixStream::connect(&socket).expect("a connection");
    by_unix.set_read_timeout(Some(AWAITED)).expect("a timeout");
    by_unix.write_all(b"PING\r\n").expect("it is read");
    by_unix.read_exact(&mut [0; 7]).expect("an answer");
    let mut streams: Vec<TcpStream> = (0..4).map(|_| connect(server.port)).collect();
    for stream in &mut streams {
        stream.write_all(b"PING\r\n").expect("it is read");
        stream.read_exact(&mut [0; 7]).expect("an answer");
    }
    let child = slow_save(&server, &mut raw);

    let mut next = || streams.pop().expect("one more");
    // QUIT, and by a Unix socket.
    let mut stream = next();
    stream.write_all(b"QUIT\r\n").expect("it is read");
    ends(stream);
    by_unix.write_all(b"QUIT\r\n").expect("it is read");
    ends(by_unix);
    // CLIENT KILL.
    let stream = next();
    let address = stream.local_addr().expect("an address");
    raw.line(&format!("CLIENT KILL {address}"));
    ends(stream);
    // A broken protocol.
    let mut stream = next();
    stream.write_all(b"*1\r\n+x\r\n").expect("it is read");
    ends(stream);
    // The server's death.
    let last = next();
    server.kill();
    ends(last);
    wait_for("the end of the child", || !lives(child));
}

/// A child that crashes tells of it in the log, as a child; what belongs to its parent stays.
#[test]
fn the_crash_of_a_child_leaves_the_pid_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pid");
    let server = with_child(&["--pidfile", file.to_str().expect("a plain path")]);
    let mut raw = server.raw();
    let child = slow_save(&server, &mut raw);
    signal(child, "-ABRT");
    wait_for("the end of the child", || {
        server.log().contains("terminated by signal 6")
    });
    let log = server.log();
    assert!(log.contains("REDIS BUG REPORT END"), "{log}");
    let line = format!("{child}:C ");
    assert!(log.contains(&line), "{log}");
    assert!(file.exists(), "{log}");
    assert_eq!(raw.line("PING"), Value::Simple("PONG".into()));
}
