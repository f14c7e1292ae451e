//! Many connections, slow ones, and ones that never read: nobody is delayed, nothing grows without bound.

mod common;

use common::{Raw, Server, info, wait_for};
use gyre::resp::reader::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Whether the server has closed this connection (whatever it sent before).
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("nonblocking");
    let mut buffer = [0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

fn raise_file_limit(files: u32) -> usize {
    gyre::system::process::adjust_open_files(files, 0)
        .map_or(0, |possible| possible.maxclients as usize)
}

fn resident_kib(pid: u32) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process's status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("VmRSS");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number")
}

#[test]
fn ten_thousand_connections_are_all_answered() {
    let wanted = raise_file_limit(10_100).saturating_sub(100).min(10_000);
    let server = Server::with(&["--maxclients", "10100"]);
    let before = resident_kib(server.pid());
    let mut all: Vec<TcpStream> = (0..wanted)
        .map(|_| TcpStream::connect(("127.0.0.1", server.port)).expect("a connection"))
        .collect();
    for stream in &mut all {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        stream.write_all(b"*1\r\n$4\r\nPING\r\n").expect("sent");
    }
    for stream in &mut all {
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"+PONG\r\n");
    }
    // An idle connection holds its session and its socket, but no buffers.
    let each = (resident_kib(server.pid()) - before) * 1024 / wanted as u64;
    // AddressSanitizer's allocator surrounds each allocation and keeps what is freed.
    if !cfg!(feature = "sanitizer") {
        assert!(each < 2500, "{each} bytes per idle connection");
    }
    // With all of them open and idle, another one is served as ever.
    let mut other = server.raw();
    let start = Instant::now();
    for _ in 0..100 {
        other.command(&["PING"]);
        assert_eq!(other.read(), Value::Simple("PONG".into()));
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "idle connections delay others: {:?}",
        start.elapsed()
    );
}

#[test]
fn a_client_that_sends_byte_by_byte_delays_nobody() {
    let server = Server::start();
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(("127.0.0.1", server.port)).expect("a connection"))
        .collect();
    let mut other = server.raw();
    let mut slowest = Duration::ZERO;
    for byte in b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n" {
        for stream in &mut slow {
            stream.write_all(&[*byte]).expect("a byte");
        }
        let start = Instant::now();
        other.command(&["PING"]);
        assert_eq!(other.read(), Value::Simple("PONG".into()));
        slowest = slowest.max(start.elapsed());
    }
    assert!(
        slowest < Duration::from_millis(500),
        "an answer took {slowest:?}"
    );
    for stream in &mut slow {
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"+OK\r\n");
    }
}

#[test]
fn a_client_that_never_reads_is_cut_off_and_its_memory_comes_back() {
    let limit = "normal 8mb 0 0";
    let mut server = Server::with(&["--client-output-buffer-limit", limit]);
    let mut other = server.raw();
    other.command(&["SET", "big", &"x".repeat(100_000)]);
    other.read();
    let mut greedy = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    greedy
        .set_write_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    let request = b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n".repeat(100);
    // 10 MB of replies a time: more than sockets and limit hold, before long.
    wait_for("the greedy client is cut off", || {
        let _ = greedy.write_all(&request);
        server
            .log()
            .contains("closed for overcoming of output buffer limits")
    });
    other.command(&["PING"]);
    assert_eq!(other.read(), Value::Simple("PONG".into()));
    wait_for("the memory returns", || {
        resident_kib(server.pid()) < 60 * 1024
    });
    assert!(server.is_running());
}

#[test]
fn endless_input_is_cut_off() {
    let server = Server::with(&[
        "--client-query-buffer-limit",
        "1mb",
        "--proto-max-bulk-len",
        "1mb",
    ]);
    // A bulk that is announced too long is refused before its bytes come.
    let mut raw = server.raw();
    raw.send(b"*2\r\n$3\r\nGET\r\n$2000000\r\n");
    assert_eq!(
        raw.read(),
        Value::Error(b"ERR Protocol error: invalid bulk length".to_vec())
    );
    assert_eq!(raw.try_read(), None);
    // A line without an end, likewise.
    let mut raw = server.raw();
    raw.send(&vec![b'a'; 70_000]);
    assert_eq!(
        raw.read(),
        Value::Error(b"ERR Protocol error: too big inline request".to_vec())
    );
    assert_eq!(raw.try_read(), None);
    // A request whose every argument is fine but that never ends fills the query buffer up to its limit.
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    stream
        .set_write_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    stream.write_all(b"*1000000\r\n").expect("sent");
    let argument = [&b"$1000\r\n"[..], &[b'x'; 1000], b"\r\n"].concat();
    wait_for("the endless request is cut off", || {
        let _ = stream.write_all(&argument.repeat(20));
        is_closed(&mut stream.try_clone().expect("a clone"))
    });
    assert!(
        server
            .log()
            .contains("Closing client that reached max query buffer length"),
        "{}",
        server.log()
    );
}

#[test]
fn idle_clients_time_out() {
    let server = Server::with(&["--timeout", "1"]);
    let mut idle = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    wait_for("the idle client is closed", || is_closed(&mut idle));
}

#[test]
fn one_client_too_many_is_told_so() {
    let server = Server::with(&["--maxclients", "3"]);
    let mut first: Vec<Raw> = Vec::new();
    // The connection that found the server ready may still count for a moment.
    wait_for("three clients are served", || {
        let mut raw = server.raw();
        raw.command(&["PING"]);
        if raw.try_read() == Some(Value::Simple("PONG".into())) {
            first.push(raw);
        }
        first.len() == 3
    });
    let mut late = server.raw();
    assert_eq!(
        late.read(),
        Value::Error(b"ERR max number of clients reached".to_vec())
    );
    assert_eq!(late.try_read(), None);
    drop(first.pop());
    wait_for("a place becomes free", || {
        let mut raw = server.raw();
        raw.command(&["PING"]);
        raw.try_read() == Some(Value::Simple("PONG".into()))
    });
}

#[test]
fn running_out_of_descriptors_is_survived() {
    let server = Server::start();
    let mut others: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(("127.0.0.1", server.port)).expect("a connection"))
        .collect();
    let mut asking = server.raw();
    wait_for("all are accepted", || {
        info(&mut asking, "connected_clients") == "21"
    });
    // Now the process may open no more; what connects waits in the listener's queue. It may have a file of the system open just
    // when one looks.
    let looks = (0..1000).map(|_| open_files(server.pid()));
    let limit = looks.min().unwrap_or(0).to_string();
    let limited = std::process::Command::new("prlimit")
        .args([
            "--pid",
            &server.pid().to_string(),
            &format!("--nofile={limit}:"),
        ])
        .status();
    assert!(limited.expect("prlimit of util-linux").success());
    let mut late = server.raw();
    late.command(&["PING"]);
    wait_for("the failure is logged", || {
        server
            .log()
            .contains("Accepting client connection: Too many open files")
    });
    others.truncate(10);
    assert_eq!(
        late.read(),
        Value::Simple("PONG".into()),
        "served once descriptors are free, though no new edge comes"
    );
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |files| files.count())
}

/// The kernel knows no such interval (32767 s at most): every connection was refused, and the listener rested as if
/// descriptors had run out.
#[test]
fn an_interval_of_keepalive_that_the_kernel_refuses_refuses_nobody() {
    let server = Server::with(&["--tcp-keepalive", "40000"]);
    let mut raw = server.raw();
    assert_eq!(raw.line("PING"), Value::Simple("PONG".into()));
    for seconds in ["100000", "0", "300"] {
        assert_eq!(
            raw.line(&format!("CONFIG SET tcp-keepalive {seconds}")),
            Value::Simple("OK".into())
        );
        assert_eq!(server.raw().line("PING"), Value::Simple("PONG".into()));
    }
    assert!(!server.log().contains("Accepting client connection"));
}

#[test]
fn unix_sockets_and_ipv6_listen_too() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("gyre.sock");
    let path_text = path.to_str().expect("a plain path");
    let bind = ["--bind", "127.0.0.1", "-::1", "-192.0.2.1"];
    let server = Server::with(
        &[
            &bind[..],
            &["--unixsocket", path_text, "--unixsocketperm", "700"],
        ]
        .concat(),
    );
    let mut unix = UnixStream::connect(&path).expect("the Unix socket");
    unix.write_all(b"PING\r\n").expect("sent");
    let mut answer = [0; 7];
    unix.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"+PONG\r\n");
    let mode = std::fs::metadata(&path)
        .expect("the socket's file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    if let Ok(mut stream) = TcpStream::connect(("::1", server.port)) {
        stream.write_all(b"PING\r\n").expect("sent");
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"+PONG\r\n");
    } else {
        assert!(
            std::net::TcpListener::bind(("::1", 0)).is_err(),
            "IPv6 is there but not listened on"
        );
    }
}

#[test]
fn a_busy_port_ends_the_start_with_a_message() {
    let server = Server::start();
    let port = server.port.to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_gyre"))
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
        .output()
        .expect("the binary runs");
    let log = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains(&format!("127.0.0.1:{port}: bind: Address already in use")),
        "{log}"
    );
}

#[test]
fn a_wrong_directive_ends_the_start_with_file_line_and_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("redis.conf");
    std::fs::write(&file, "port 0\nmaxclients many\n").expect("written");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_gyre"))
        .arg(&file)
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    for part in [
        "FATAL CONFIG FILE ERROR",
        "line 2",
        "redis.conf",
        "maxclients many",
    ] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

#[test]
fn signals_shut_down_in_order() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Server::start();
        let pid = server.pid().to_string();
        let sent = |signal: &str| {
            let status = std::process::Command::new("kill")
                .args([signal, &pid])
                .status()
                .expect("kill runs");
            assert!(status.success());
        };
        sent("-HUP");
        let mut raw = server.raw();
        raw.command(&["PING"]);
        assert_eq!(
            raw.read(),
            Value::Simple("PONG".into()),
            "SIGHUP is ignored"
        );
        sent(signal);
        assert_eq!(raw.try_read(), None);
        wait_for("the process ends", || !server.is_running());
        assert!(server.log().contains("bye bye"), "{}", server.log());
    }
}

#[test]
fn a_client_that_has_ended_its_sending_gets_all_answers() {
    const LEN: usize = 1_000_000;
    const TIMES: usize = 30;
    let server = Server::start();
    let mut raw = server.raw();
    assert_eq!(
        raw.run(&["SET", "big", &"x".repeat(LEN)]),
        Value::Simple("OK".into())
    );
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    stream
        .write_all("GET big\r\n".repeat(TIMES).as_bytes())
        .expect("the server reads");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("half closed");
    // Far more than the sockets hold is waiting when the server sees the end.
    std::thread::sleep(Duration::from_millis(300));
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("answers, then the end");
    assert_eq!(got.len(), TIMES * (LEN + "$1000000\r\n\r\n".len()));
    // And one that goes away with answers owed does not stay.
    let mut gone = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    gone.write_all("GET big\r\n".repeat(TIMES).as_bytes())
        .expect("the server reads");
    gone.shutdown(std::net::Shutdown::Write)
        .expect("half closed");
    std::thread::sleep(Duration::from_millis(100));
    drop(gone);
    wait_for("only one client is left", || {
        raw.line("CLIENT LIST")
            .as_bytes()
            .is_some_and(|list| list.iter().filter(|byte| **byte == b'\n').count() == 1)
    });
}

#[test]
fn lowering_maxmemory_evicts_without_refusing_writes() {
    let server = Server::with(&["--maxmemory-policy", "allkeys-lru"]);
    let mut raw = server.raw();
    let line = raw.line("DEBUG POPULATE 100000 key 100");
    assert_eq!(line, Value::Simple("OK".into()));
    let Value::Integer(before) = raw.line("DBSIZE") else {
        panic!("no size");
    };
    assert_eq!(
        raw.line("CONFIG SET maxmemory 6mb"),
        Value::Simple("OK".into())
    );
    // Far over the limit: eviction is under way, and that is not out of memory.
    assert_eq!(raw.line("SET a b"), Value::Simple("OK".into()));
    // It goes on without further commands.
    wait_for(
        "eviction",
        || matches!(raw.line("DBSIZE"), Value::Integer(after) if after < before - 20_000),
    );
    assert_eq!(
        raw.line("CONFIG SET maxmemory-policy noeviction maxmemory 1mb"),
        Value::Simple("OK".into())
    );
    assert!(matches!(raw.line("SET a b"), Value::Error(_)));
}

#[test]
fn a_port_of_zero_closes_tcp_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("gyre.sock");
    let server = Server::with(&["--unixsocket", path.to_str().expect("a plain path")]);
    let mut raw = server.raw();
    assert_eq!(raw.line("CONFIG SET port 0"), Value::Simple("OK".into()));
    assert_eq!(
        raw.line("PING"),
        Value::Simple("PONG".into()),
        "open connections go on"
    );
    assert!(TcpStream::connect(("127.0.0.1", server.port)).is_err());
    let back = format!("CONFIG SET port {}", server.port);
    assert_eq!(raw.line(&back), Value::Simple("OK".into()));
    assert_eq!(server.raw().line("PING"), Value::Simple("PONG".into()));
}

#[test]
fn a_signal_that_shall_save_does_not_end_a_server_that_cannot() {
    let mut server = Server::with(&["--shutdown-on-sigterm", "save"]);
    // Nothing can be renamed over a directory.
    std::fs::create_dir(server.dir.path().join("dump.rdb")).expect("a directory in the way");
    let status = std::process::Command::new("kill")
        .args(["-TERM", &server.pid().to_string()])
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    wait_for("the refusal", || {
        server
            .log()
            .contains("Error trying to save the DB, can't exit.")
    });
    assert_eq!(server.raw().line("PING"), Value::Simple("PONG".into()));
    assert!(server.is_running());
}

#[test]
fn changing_the_addresses_keeps_what_stays_and_comes_back_from_what_fails() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("gyre.sock");
    let server = Server::with(&["--unixsocket", path.to_str().expect("a plain path")]);
    let inode = |path: &std::path::Path| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).expect("the socket's file").ino()
    };
    let before = inode(&path);
    let mut raw = server.raw();
    // To an address that overlaps the old one, so that the old one must go first; and back.
    for bind in ["CONFIG SET bind 0.0.0.0", "CONFIG SET bind 127.0.0.1"] {
        assert_eq!(raw.line(bind), Value::Simple("OK".into()), "{bind}");
        assert_eq!(
            server.raw().line("PING"),
            Value::Simple("PONG".into()),
            "{bind}"
        );
    }
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let refused = Value::Error(
        b"ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs."
            .to_vec(),
    );
    assert_eq!(raw.line(&format!("CONFIG SET port {port}")), refused);
    assert_eq!(
        server.raw().line("PING"),
        Value::Simple("PONG".into()),
        "the old port is open"
    );
    assert_eq!(inode(&path), before, "the Unix socket was left alone");
}

/// Who has not authenticated and never reads would have the server keep its answers without end: there is no limit for
/// ordinary clients.
#[test]
fn who_has_not_authenticated_is_owed_little() {
    let server = Server::with(&["--requirepass", "s3cret"]);
    let mut control = server.raw();
    control.line("AUTH s3cret");
    let mut flood = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    flood
        .set_write_timeout(Some(Duration::from_millis(200)))
        .expect("a timeout");
    // Each answer is longer than what asks for it. What the system takes in for a client is not the server's.
    let requests = "GET k\r\n".repeat(10_000);
    let is_gone = |control: &mut Raw| {
        let Value::Bulk(page) = control.line("INFO clients") else {
            panic!("INFO answers a bulk")
        };
        String::from_utf8_lossy(&page).contains("\r\nconnected_clients:1\r\n")
    };
    wait_for("the end of the one that never reads", || {
        let _ = flood.write(requests.as_bytes());
        is_gone(&mut control)
    });
    let Value::Bulk(page) = control.line("INFO stats") else {
        panic!("INFO answers a bulk")
    };
    let page = String::from_utf8_lossy(&page);
    assert!(
        page.contains("\r\nclient_output_buffer_limit_disconnections:1\r\n"),
        "{page}"
    );
}
