//! The HTTP pages over real sockets: what is at each path, who may ask, and what bad requests get.

mod common;

use common::{Server, skips, wait_for};
use gyre::resp::reader::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// A server with HTTP pages, and their port.
fn start(directives: &[&str]) -> (Server, u16) {
    for _ in 0..10 {
        let probe = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = probe.local_addr().expect("its address").port();
        drop(probe);
        let text = port.to_string();
        let mut all = vec!["--http-port", &text];
        all.extend_from_slice(directives);
        let server = Server::with(&all);
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return (server, port);
        }
    }
    panic!("no port was free")
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("a timeout");
    stream
}

/// Sends bytes and reads until the server closes.
fn exchange(port: u16, request: &[u8]) -> String {
    let mut stream = connect(port);
    stream.write_all(request).expect("it takes them");
    let mut answer = Vec::new();
    // A reset may follow the last bytes of an answer to what was not read.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(port: u16, path: &str, fields: &str) -> (u16, String) {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n");
    let answer = exchange(port, request.as_bytes());
    let status = answer.get(9..12).and_then(|text| text.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (
        status.unwrap_or_else(|| panic!("no status: {answer:?}")),
        body.to_owned(),
    )
}

/// The parts of a chunked body put together.
fn joined(chunked: &str) -> String {
    let mut out = String::new();
    let mut rest = chunked;
    loop {
        let (len, after) = rest.split_once("\r\n").expect("a length");
        let len = usize::from_str_radix(len, 16).expect("a length");
        if len == 0 {
            return out;
        }
        out.push_str(&after[..len]);
        rest = &after[len + 2..];
    }
}

#[test]
fn health_and_metrics() {
    let (server, port) = start(&[]);
    let mut raw = server.raw();
    raw.line("SET k 1");
    raw.line("GET k");
    raw.line("NOSUCH");
    assert_eq!(get(port, "/healthz", ""), (200, "ok\n".to_owned()));
    assert_eq!(get(port, "/readyz", ""), (200, "ready\n".to_owned()));
    let (status, text) = get(port, "/metrics", "");
    assert_eq!(status, 200);
    for line in [
        "redis_up 1\n",
        "redis_connected_clients 1\n",
        "redis_db_keys{db=\"db0\"} 1\n",
        "redis_commands_total{cmd=\"get\"} 1\n",
        "redis_errors_total{err=\"ERR\"} 1\n",
        "# TYPE redis_commands_processed counter\n",
        "redis_keyspace_hits_total 1\n",
        "gyre_command_duration_seconds_bucket{cmd=\"set\",le=\"+Inf\"} 1\n",
        "gyre_loop_phase_seconds_bucket{phase=\"execute\"",
        "gyre_client_wait_seconds_bucket{part=\"wait-total\",le=\"+Inf\"} ",
    ] {
        assert!(text.contains(line), "{line:?} is missing of {text}");
    }
    assert!(text.ends_with("# EOF\n"));
    // Every family is told once, and its samples follow it.
    let mut families = std::collections::HashSet::new();
    let mut family = "";
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(told) = line.strip_prefix("# TYPE ") {
            family = told.split(' ').next().expect("a name");
            assert!(families.insert(family), "{family} comes twice");
        }
        let name = line
            .trim_start_matches("# TYPE ")
            .trim_start_matches("# HELP ");
        assert!(name.starts_with(family), "{line} is not of {family}");
    }
}

/// Who is asked whether it is ready says no while it refuses writes.
#[test]
fn a_server_that_cannot_save_is_not_ready() {
    for method in ["fork", "forkless"] {
        let directives = ["--save", "3600 1", "--bgsave-default-method", method];
        let (server, port) = start(&directives);
        let mut raw = server.raw();
        let path = server.dir.path().join("dump.rdb");
        std::fs::create_dir(&path).expect("a directory in the way");
        raw.line("SET a 1");
        raw.line("BGSAVE");
        wait_for("the failed save", || get(port, "/readyz", "").0 == 503);
        let (_, text) = get(port, "/readyz", "");
        assert_eq!(
            text,
            "writes are refused: the last background save failed\n"
        );
        assert_eq!(get(port, "/healthz", ""), (200, "ok\n".to_owned()));
        std::fs::remove_dir(&path).expect("removed");
        raw.line("BGSAVE");
        wait_for("a save", || get(port, "/readyz", "").0 == 200);
    }
}

#[test]
fn the_trace_is_json_and_shows_a_stall() {
    let (server, port) = start(&[]);
    let mut raw = server.raw();
    for n in 0..300 {
        raw.line(&format!("SET k{n} {n}"));
    }
    raw.line("DEBUG SLEEP 0.05");
    for path in ["/trace", "/trace?turns=5"] {
        let (status, body) = get(port, path, "");
        assert_eq!(status, 200);
        let trace: serde_json::Value = serde_json::from_str(&joined(&body)).expect("JSON");
        let events = trace["traceEvents"].as_array().expect("events");
        let turns = events.iter().filter(|event| event["cat"] == "turn").count();
        if path == "/trace" {
            let execute = events.iter().filter(|event| event["name"] == "execute");
            let longest = execute
                .filter_map(|event| event["dur"].as_f64())
                .fold(0.0, f64::max);
            assert!(longest >= 50_000.0, "{longest} of {}", events.len());

            assert!(turns > 300, "{turns}");
        } else {
            assert_eq!(turns, 5);
        }
    }
    // Without chunks for who does not know them.
    let old = exchange(port, b"GET /trace?turns=1 HTTP/1.0\r\n\r\n");
    let body = old.split_once("\r\n\r\n").expect("a body").1;
    serde_json::from_str::<serde_json::Value>(body).expect("JSON");
}

#[test]
fn events_come_while_the_loop_turns() {
    let (server, port) = start(&[]);
    let mut viewer = connect(port);
    viewer
        .write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("it takes them");
    let mut raw = server.raw();
    let mut seen = String::new();
    let mut buffer = [0; 16 * 1024];
    let until = Instant::now() + Duration::from_secs(20);
    let mut commands = 0;
    while commands < 20 && Instant::now() < until {
        for _ in 0..50 {
            raw.line("INCR n");
        }
        let n = viewer.read(&mut buffer).expect("an event");
        assert!(n > 0, "the stream ended");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        while let Some(end) = seen.find("\n\n") {
            let event = seen[..end].to_owned();
            seen.drain(..end + 2);
            let data = event.split_once("data: ").expect("data").1;
            let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
            assert!(data["turns"].as_array().expect("turns").len() <= 48);
            let ran = data["commands"].as_array().expect("commands");
            let incr = ran.iter().filter(|command| command["name"] == "incr");
            commands += incr
                .filter_map(|command| command["calls"].as_u64())
                .sum::<u64>();
        }
    }
    assert!(commands >= 20, "{commands}");
}

#[test]
fn a_viewer_that_does_not_read_is_dropped_and_nobody_waits_for_it() {
    let (server, port) = start(&[]);
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address: std::net::SocketAddr = ([127, 0, 0, 1], port).into();
    socket.connect(&address.into()).expect("a connection");
    let mut viewer: TcpStream = socket.into();
    // Names make events large, so that it does not take long.
    let mut clients: Vec<_> = (0..60).map(|_| server.raw()).collect();
    let name = "n".repeat(8000);
    for raw in &mut clients {
        raw.line(&format!("CLIENT SETNAME {name}"));
    }
    viewer
        .write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("it takes them");
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        assert_eq!(clients[0].line("PING"), Value::Simple("PONG".into()));
        let (_, text) = get(port, "/metrics", "");
        assert!(Instant::now() < until, "it is still there");
        if text.contains("gyre_http_viewers 0\n") {
            break;
        }
    }
}

#[test]
fn a_password_is_needed_where_there_is_one() {
    let (_server, port) = start(&["--requirepass", "se:cret"]);
    let basic = "Authorization: Basic YW55Ym9keTpzZTpjcmV0\r\n";
    for path in ["/", "/metrics", "/trace", "/events"] {
        assert_eq!(get(port, path, "").0, 401, "{path}");
        assert_eq!(
            get(port, path, "Authorization: Bearer no\r\n").0,
            401,
            "{path}"
        );
    }
    assert_eq!(
        get(port, "/metrics", "Authorization: Bearer se:cret\r\n").0,
        200
    );
    assert_eq!(get(port, "/", basic).0, 200);
    assert_eq!(get(port, "/healthz", "").0, 200);
    assert_eq!(get(port, "/healthz", "Authorization: Bearer no\r\n").0, 401);
}

#[test]
fn bad_requests_are_refused_and_nothing_is_run() {
    let (server, port) = start(&[]);
    let status = |request: &[u8]| {
        let answer = exchange(port, request);
        answer.get(9..12).unwrap_or("none").to_owned()
    };
    assert_eq!(status(b"*1\r\n$8\r\nFLUSHALL\r\n"), "400");
    assert_eq!(status(b"SET a b\r\n"), "400");
    assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), "400");
    assert_eq!(
        status(b"GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        "404"
    );
    assert_eq!(
        status(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"),
        "405"
    );
    assert_eq!(
        status(b"DELETE /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        "405"
    );
    assert_eq!(
        status(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"),
        "400"
    );
    let long = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(9000));
    assert_eq!(status(long.as_bytes()), "431");
    let many = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "A: b\r\n".repeat(100)
    );
    assert_eq!(status(many.as_bytes()), "431");
    assert_eq!(
        status(b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        "421"
    );
    // Three requests at once on one connection, cut anywhere.
    let mut stream = connect(port);
    for part in [
        "GET /healthz HTTP/1.1\r\nHo",
        "st: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ] {
        stream.write_all(part.as_bytes()).expect("it takes them");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert_eq!(answer.matches("\r\n\r\nok\n").count(), 2, "{answer}");
    // A browser's request to the port of the clients is no command.
    let mut raw = server.raw();
    raw.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nFLUSHALL\r\n");
    assert_eq!(raw.try_read(), None);
    assert!(
        server.log().contains("Possible SECURITY ATTACK"),
        "{}",
        server.log()
    );
}

/// The next request comes while a long answer is on its way and nobody reads; the client has nothing more to say.
#[test]
fn requests_that_come_during_a_long_answer_are_answered() {
    let (server, port) = start(&[]);
    let mut raw = server.raw();
    for n in 0..1000 {
        raw.line(&format!("SET k{n} {n}"));
    }
    let mut stream = connect(port);
    let trace = b"GET /trace HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..30 {
        stream.write_all(trace).expect("it takes them");
    }
    std::thread::sleep(Duration::from_millis(100));
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("it takes them");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("half closed");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 31);
    assert!(answer.ends_with("\r\n\r\nok\n"));
}

#[test]
fn the_port_can_be_opened_and_closed_while_the_server_runs() {
    let (server, port) = start(&[]);
    let mut raw = server.raw();
    let mut viewer = connect(port);
    viewer
        .write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("it takes them");
    assert_eq!(
        raw.line("CONFIG SET http-port 0"),
        Value::Simple("OK".into())
    );
    // Closed at the end of the turn that answered.
    raw.line("PING");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    // Whoever watches is sent away.
    let mut events = Vec::new();
    let _ = viewer.read_to_end(&mut events);
    drop(viewer);
    assert_eq!(
        raw.line(&format!("CONFIG SET http-port {port}")),
        Value::Simple("OK".into())
    );
    assert_eq!(get(port, "/healthz", "").0, 200);
    let taken = format!("CONFIG SET http-port {}", server.port);
    assert!(matches!(raw.line(&taken), Value::Error(_)));
    assert_eq!(get(port, "/healthz", "").0, 200);
}

/// The text of the metrics is read by the parser that Prometheus's own client has.
#[test]
fn a_real_parser_takes_the_metrics() {
    const PARSE: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
families = list(parse(sys.stdin.read()))
print(len(families), sum(len(family.samples) for family in families))
";
    let Some(python) = common::python_with("prometheus_client") else {
        skips::without_oracle("Python's prometheus_client");
        return;
    };
    let (server, port) = start(&[]);
    let mut raw = server.raw();
    for line in ["SET k 1", "HSET h f 1", "GET h", "NOSUCH", "ZADD z 1 a"] {
        raw.line(line);
    }
    let (_, text) = get(port, "/metrics", "");
    let mut child = std::process::Command::new(python)
        .args(["-c", PARSE])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let families: usize = said
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number");
    assert!(families > 80, "{said}");
}

/// Whoever may not ask INFO sees no page, and who may not any more no further event.
#[test]
fn pages_are_for_users_who_may_watch() {
    let (server, port) = start(&[]);
    let mut admin = server.raw();
    admin.line("ACL SETUSER mon on >secret +info");
    admin.line("ACL SETUSER app on >secret ~* +@all -info");
    admin.line("ACL SETUSER root on nopass +@all");
    assert_eq!(admin.line("AUTH root x"), Value::Simple("OK".into()));
    // A default user that everybody is, and that may do next to nothing.
    admin.line("ACL SETUSER default -@all +ping");
    let (mon, app) = ("bW9uOnNlY3JldA==", "YXBwOnNlY3JldA==");
    for path in ["/", "/metrics", "/trace"] {
        assert_eq!(get(port, path, "").0, 401, "{path}");
        assert_eq!(
            get(port, path, &format!("Authorization: Basic {app}\r\n")).0,
            401
        );
        assert_eq!(
            get(port, path, &format!("Authorization: Basic {mon}\r\n")).0,
            200
        );
    }
    let mut viewer = connect(port);
    let request =
        format!("GET /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {mon}\r\n\r\n");
    viewer.write_all(request.as_bytes()).expect("it takes them");
    let mut buffer = [0; 16 * 1024];
    let n = viewer.read(&mut buffer).expect("an event");
    assert!(buffer[..n].starts_with(b"HTTP/1.1 200"));
    assert_eq!(admin.line("ACL DELUSER mon"), Value::Integer(1));
    // What was on its way comes, and then the end.
    loop {
        match viewer.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                break;
            }
        }
    }
}
