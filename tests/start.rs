//! How a server begins and ends: what it refuses, what it tells whoever watches over it, and what it leaves in the log
//! when it crashes.

mod common;

use common::{AWAITED, Raw, Server, signal, wait_for};
use gyre::resp::reader::Value;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A server that is expected to end by itself.
fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gyre"))
        .current_dir(dir)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

/// Whoever starts a Sentinel by habit learns at once whose to take: by the option, or by the name that packages give it.
#[test]
fn a_sentinel_is_redis_s_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let link = dir.path().join("redis-sentinel");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_gyre"), &link).expect("a link");
    let by_name = Command::new(&link).arg("sentinel.conf").output();
    let outputs = [
        run(dir.path(), &["--sentinel"]),
        run(dir.path(), &["sentinel.conf", "--sentinel"]),
        by_name.expect("the binary starts"),
    ];
    for output in outputs {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.starts_with("gyre is a data server and no Sentinel."),
            "{text}"
        );
        assert!(text.contains("redis-sentinel FILE"), "{text}");
    }
}

/// Such a server once started without what it was asked for, open to everybody.
#[test]
fn a_configuration_that_asks_for_what_is_missing_starts_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("redis.conf");
    fs::write(&file, "port 0\nloadmodule /usr/lib/a.so\n").expect("a file");
    let output = run(dir.path(), &["redis.conf"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(
            "at line 2 of redis.conf\n>>> 'loadmodule /usr/lib/a.so'\ngyre loads no modules yet"
        ),
        "{text}"
    );
    assert!(
        text.contains("start with --ignore-unsupported to do without."),
        "{text}"
    );
    // With the flag it goes on, to the next obstacle (it listens nowhere), and names what it does without.
    let output = run(dir.path(), &["redis.conf", "--ignore-unsupported"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Configured to not listen anywhere"), "{text}");

    let server = Server::with(&["--ignore-unsupported", "--loadmodule", "/usr/lib/a.so"]);
    wait_for("the warning", || {
        server
            .log()
            .contains("accepted but has no effect in gyre yet: loadmodule")
    });
}

/// A server whose messages to systemd arrive here.
struct Supervised {
    child: Child,
    socket: UnixDatagram,
    dir: tempfile::TempDir,
    told: String,
}

impl Supervised {
    fn start(mode: &str, directives: &[&str]) -> Supervised {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(AWAITED)).expect("a timeout");
        let child = Command::new(env!("CARGO_BIN_EXE_gyre"))
            .args(["--port", "0", "--unixsocket", "socket", "--logfile", "log"])
            .args(["--supervised", mode, "--daemonize", "yes"])
            .args(["--dir", dir.path().to_str().expect("a plain path")])
            .args(directives)
            .env("NOTIFY_SOCKET", &path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        Supervised {
            child,
            socket,
            dir,
            told: String::new(),
        }
    }
    /// Reads messages until one has this in it.
    fn await_message(&mut self, part: &str) {
        while !self.told.contains(part) {
            let mut buffer = [0; 4096];
            let len = self.socket.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("{error} while waiting for {part} after {}", self.told)
            });
            self.told.push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
    }
    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn systemd_hears_of_loading_readiness_saving_and_stopping() {
    for mode in ["systemd", "auto"] {
        let mut server = Supervised::start(mode, &["--shutdown-on-sigterm", "save"]);
        server.await_message("READY=1\n");
        signal(server.child.id(), "-TERM");
        server.await_message("STATUS=Saving the final RDB snapshot\n");
        assert_eq!(
            server.told,
            "STATUS=Redis is loading...\nSTATUS=Ready to accept connections\nREADY=1\nSTOPPING=1\n\
             STATUS=Saving the final RDB snapshot\n",
        );
        // It has not become a daemon: the process that systemd knows is the server.
        assert_eq!(server.child.wait().expect("its end").code(), Some(0));
        let log = server.log();
        assert!(
            log.contains(
                "Supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec and \
                 TimeoutStopSec in your service unit."
            ),
            "{log}"
        );
    }
}

#[test]
fn systemd_hears_why_the_server_does_not_stop() {
    let mut server = Supervised::start("systemd", &["--shutdown-on-sigterm", "save"]);
    server.await_message("READY=1\n");
    // No snapshot can take the place of a folder.
    fs::create_dir_all(server.dir.path().join("dump.rdb/full")).expect("a folder");
    signal(server.child.id(), "-TERM");
    server.await_message("STATUS=Error trying to save the DB, can't exit.\n");
    wait_for("the line", || {
        server
            .log()
            .contains("Errors trying to shut down the server. Check the logs for more information.")
    });
    assert!(matches!(server.child.try_wait(), Ok(None)));
}

#[test]
fn what_the_machine_should_do_better_is_said_at_the_start() {
    let overcommit = fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    let most = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    let server = Server::with(&["--tcp-backlog", "2000000000"]);
    let log = server.log();
    let warns = log.contains("# WARNING Memory overcommit must be enabled!");
    assert_eq!(warns, overcommit.trim() != "1", "{overcommit}: {log}");
    let most = most.trim();
    let line = format!(
        "# WARNING: The TCP backlog setting of 2000000000 cannot be enforced because /proc/sys/net/core/somaxconn is set \
         to the lower value of {most}."
    );
    assert!(most.is_empty() || log.contains(&line), "{log}");
}

fn score(pid: u32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default();
    text.trim().parse().unwrap_or(-1)
}

#[test]
fn the_oom_score_follows_the_directives_for_the_server_and_its_child() {
    let server = Server::start();
    let mut raw = server.raw();
    let ok = Value::Simple("OK".into());
    let before = score(server.pid());
    let set = |raw: &mut Raw, words: &[&str]| raw.run(&[&["CONFIG", "SET"], words].concat());
    assert_eq!(set(&mut raw, &["oom-score-adj-values", "10 20 30"]), ok);
    assert_eq!(score(server.pid()), before);
    assert_eq!(set(&mut raw, &["oom-score-adj", "yes"]), ok);
    assert_eq!(score(server.pid()), before + 10);
    raw.line("SET a 1");
    raw.line("CONFIG SET bgsave-default-method fork");
    raw.line("CONFIG SET rdb-key-save-delay 1000000000");
    raw.line("BGSAVE");
    let pid = server.pid();
    wait_for("the child's score", || {
        let children =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let child = children
            .split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok());
        child.is_some_and(|child| score(child) == before + 30)
    });
    assert_eq!(
        set(
            &mut raw,
            &[
                "oom-score-adj-values",
                "15 20 30",
                "oom-score-adj",
                "absolute"
            ]
        ),
        ok
    );
    assert_eq!(score(pid), 15);
    assert_eq!(set(&mut raw, &["oom-score-adj", "no"]), ok);
    assert_eq!(score(pid), before);
    let Value::Error(text) = set(&mut raw, &["oom-score-adj-values", "-2001 0 0"]) else {
        panic!("no error")
    };
    assert!(String::from_utf8_lossy(&text).contains("must be between -2000 and 2000"));
}

/// Crashes a server by a command; its log.
fn crash(directives: &[&str], command: &str) -> String {
    let mut server = Server::with(directives);
    let mut raw = server.raw();
    raw.line("CLIENT SETNAME somebody");
    // What a report shows is renewed once a second.
    wait_for("the notes", || {
        let Value::Bulk(text) = raw.line("INFO server") else {
            panic!("a page")
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let uptime = text.split("uptime_in_seconds:").nth(1);
        let seconds = uptime.and_then(|rest| rest.lines().next()?.parse().ok());
        seconds.is_some_and(|seconds: u64| seconds >= 2)
    });
    raw.command(&command.split(' ').collect::<Vec<_>>());
    server.wait();
    server.log()
}

#[test]
fn a_crash_leaves_a_stack_figures_clients_and_the_command() {
    let log = crash(&[], "DEBUG SEGFAULT");
    let mut rest = log.as_str();
    for part in [
        "=== REDIS BUG REPORT START: Cut & paste starting from here ===",
        "crashed by signal: 11",
        "------ STACK TRACE ------",
        "in debugCommand",
        "------ STACK TRACE DONE ------",
        "------ INFO OUTPUT ------",
        "# Server",
        "cmdstat_client",
        "------ CLIENT LIST OUTPUT ------",
        "name=somebody",
        "------ CURRENT CLIENT INFO ------",
        "argc: '2'",
        "argv[0]: '\"DEBUG\"'",
        "argv[1]: '\"SEGFAULT\"'",
        "=== REDIS BUG REPORT END. Make sure to include from START to END. ===",
    ] {
        let at = rest.find(part);
        let at = at.unwrap_or_else(|| panic!("no {part} in what is left of {log}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_report_hides_the_data_of_users_where_it_is_told_to() {
    let log = crash(&["--hide-user-data-from-log", "yes"], "DEBUG SEGFAULT");
    assert!(
        log.contains("argv[0]: '\"DEBUG\"'\nargv[1]: '*redacted*'"),
        "{log}"
    );
    let hides = [
        "--hide-user-data-from-log",
        "yes",
        "--use-exit-on-panic",
        "yes",
    ];
    let log = crash(&hides, "DEBUG ASSERT");
    assert!(log.contains("ASSERTION FAILED"), "{log}");
    assert!(
        log.contains("client->argv[0] = \"DEBUG\"\nclient->argv[1] = *redacted*"),
        "{log}"
    );
}

/// Whoever wants to know what a server does all the time sends it SIGALRM.
#[test]
fn an_alarm_from_outside_leaves_a_stack_and_life_goes_on() {
    let server = Server::start();
    let mut raw = server.raw();
    signal(server.pid(), "-ALRM");
    wait_for("the stack", || server.log().contains("STACK TRACE DONE"));
    assert!(server.log().contains("Received SIGALRM"));
    assert_eq!(raw.line("PING"), Value::Simple("PONG".into()));
}
