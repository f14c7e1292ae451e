//! A short run of the real server under valgrind: no invalid access, no use of uninitialised memory.
//!
//! Ignored by default, for it needs valgrind and takes a while: `make valgrind`.

mod common;

use common::Raw;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
#[ignore = "needs valgrind; run by `make valgrind`"]
fn a_short_run_is_clean() {
    let port = TcpListener::bind(("127.0.0.1", 0))
        .expect("a free port")
        .local_addr()
        .expect("its address")
        .port();
    let dir = tempfile::tempdir().expect("a directory");
    let report = dir.path().join("report");
    // The title is written over the arguments that /proc names, and there valgrind's own are named, not its guest's.
    let mut child = Command::new("valgrind")
        .args([
            "--error-exitcode=99",
            "--leak-check=no",
            &format!("--log-file={}", report.display()),
        ])
        .arg(env!("CARGO_BIN_EXE_gyre"))
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--set-proc-title",
            "no",
            "--save",
            "",
            "--dir",
        ])
        .arg(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("valgrind starts: `make valgrind` installs it");
    let deadline = Instant::now() + Duration::from_secs(60);
    let stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) => assert!(Instant::now() < deadline, "the server did not start"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut raw = Raw::over(stream);
    for round in 0..300 {
        let key = format!("key:{}", round * 7 % 101);
        raw.run(&["SET", &key, &"x".repeat(round * 13 % 2000), "PX", "50"]);
        raw.run(&["APPEND", &key, "tail"]);
        raw.run(&["SETRANGE", &key, "30", "middle"]);
        raw.run(&["GETRANGE", &key, "0", "40"]);
        raw.run(&["INCR", "counter"]);
        raw.run(&["RENAME", &key, &format!("other:{}", round % 50)]);
        raw.run(&["SCAN", "0", "MATCH", "*1*", "COUNT", "10"]);
    }
    raw.run(&["SET", "large", &"y".repeat(300_000)]);
    raw.run(&["GET", "large"]);
    for line in [
        "HELLO 3",
        "INFO everything",
        "COMMAND DOCS",
        "CONFIG GET *",
        "CLIENT LIST",
        "RANDOMKEY",
        "KEYS *",
    ] {
        raw.line(line);
    }
    raw.line("FLUSHALL ASYNC");
    raw.command(&["SHUTDOWN", "NOSAVE"]);
    let status = child.wait().expect("it ends");
    let report = std::fs::read_to_string(&report).expect("a report");
    assert!(
        status.success() && report.contains("ERROR SUMMARY: 0 errors"),
        "{status}:\n{report}"
    );
}
