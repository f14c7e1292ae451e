//! A server is recorded and its turns are run again: the same replies, the same data, nothing secret in the file.

mod common;

use common::{Server, skips};
use gyre::resp::reader::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the tool on a recording.
fn replay(file: &Path, options: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gyre"))
        .arg("--replay")
        .arg(file)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn digest(server: &Server) -> String {
    let mut raw = server.raw();
    raw.line("AUTH hunter2");
    match raw.line("DEBUG DIGEST") {
        Value::Simple(digest) => digest,
        other => panic!("{other:?}"),
    }
}

/// A bit of everything: pipelines over several connections, randomness, time, a client that waits, a child.
fn live(server: &Server) {
    let mut clients: Vec<_> = (0..4).map(|_| server.raw()).collect();
    for (index, raw) in clients.iter_mut().enumerate() {
        assert_eq!(raw.line("AUTH hunter2"), Value::Simple("OK".into()));
        let mut pipeline = Vec::new();
        for n in 0..300 {
            let key = format!("k{}", (n * 7 + index) % 50);
            let _ = match n % 5 {
                0 => write!(pipeline, "SET s:{key} {n} PX {}\r\n", 20 + n),
                1 => write!(pipeline, "SADD set:{key} {n} {index}\r\n"),
                2 => write!(pipeline, "SRANDMEMBER set:{key}\r\n"),
                3 => write!(pipeline, "SPOP set:k{}\r\n", n % 50),
                _ => write!(pipeline, "ZADD z {n} {key}\r\nTIME\r\nRANDOMKEY\r\n"),
            };
        }
        raw.send(&pipeline);
    }
    for raw in &mut clients {
        for n in 0..300 {
            for _ in 0..if n % 5 == 4 { 3 } else { 1 } {
                raw.read();
            }
        }
    }
    let (first, others) = clients.split_first_mut().expect("clients");
    first.send(b"BLPOP queue 0\r\n");
    for line in ["MULTI", "INCR n", "RPUSH queue job", "EXEC", "BGSAVE"] {
        others[0].line(line);
    }
    assert_eq!(
        first.read(),
        Value::Array(vec![
            Value::Bulk(b"queue".to_vec()),
            Value::Bulk(b"job".to_vec())
        ])
    );
    while !text(&match others[0].line("INFO persistence") {
        Value::Bulk(info) => info,
        other => panic!("{other:?}"),
    })
    .contains("rdb_bgsave_in_progress:0")
    {}
    others[1].send(b"*2\r\n$4\r\nAUTH\r\n$5\r\nwr");
    others[2].line("PING");
    others[1].send(b"ong\r\n");
    assert!(matches!(others[1].read(), Value::Error(_)));
    // A right one in pieces is right in the replay too, though its mask is known only at its end.
    others[1].send(b"*2\r\n$4\r\nAUTH\r\n$7\r\nhunt");
    others[2].line("PING");
    others[1].send(b"er");
    others[2].line("PING");
    others[1].send(b"2\r\n");
    assert_eq!(others[1].read(), Value::Simple("OK".into()));
}

#[test]
fn the_same_turns_give_the_same_replies_and_data() {
    let mut server = Server::with(&["--requirepass", "hunter2", "--record", "recording"]);
    let mut raw = server.raw();
    raw.line("AUTH hunter2");
    for n in 0..200 {
        raw.line(&format!("HSET before f{n} {n}"));
    }
    assert_eq!(raw.line("SAVE"), Value::Simple("OK".into()));
    // The second life begins with data.
    server.kill();
    server.start_again();
    live(&server);
    let digest = digest(&server);
    let _ = std::process::Command::new("kill")
        .args(["-TERM", &server.pid().to_string()])
        .status();
    assert_eq!(server.wait(), Some(0));

    let file = server.dir.path().join("recording");
    let bytes = std::fs::read(&file).expect("a recording");
    let found = |word: &[u8]| bytes.windows(word.len()).any(|it| it == word);
    assert!(found(b"SRANDMEMBER") && !found(b"hunter2") && !found(b"wrong"));
    assert!(!found(b"*******") && !found(b"hunt"), "masked as a whole");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&file).expect("a file").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);

    let output = replay(&file, &[], "");
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown} {}", text(&output.stderr));
    assert!(shown.contains(&format!("digest: {digest}")), "{shown}");
    assert!(shown.contains("0 others"), "{shown}");

    // Up to a turn, with all of its traffic shown.
    let output = replay(&file, &["--until", "8", "--step"], "\n\nc\n");
    let shown = text(&output.stdout);
    assert!(shown.contains("turns: 8,"), "{shown}");
    assert!(shown.contains("Enter runs turn 3") && !shown.contains("Enter runs turn 4"));
    assert!(shown.contains("AUTH\\r\\n"), "{shown}");
}

/// Roles of the file of users were left out, and the replay began with a user of a role that nobody knew.
#[test]
fn users_with_roles_are_in_the_recording() {
    let dir = tempfile::tempdir().expect("a directory");
    let acl_file = dir.path().join("users.acl");
    let lines = "role readers ~r:* +@read\nuser default on nopass ~* &* +@all\n\
                 user ann on >hunter2 role=readers (~\"it's\" +set) ~it's\n";
    std::fs::write(&acl_file, lines).expect("a file");
    let aclfile = acl_file.display().to_string();
    let mut server = Server::with(&["--aclfile", &aclfile, "--record", "recording"]);
    let mut raw = server.raw();
    assert_eq!(raw.line("AUTH ann hunter2"), Value::Simple("OK".into()));
    assert_eq!(raw.line("GET r:1"), Value::NullBulk);
    assert_eq!(raw.line("SET it's 1"), Value::Simple("OK".into()));
    let _ = std::process::Command::new("kill")
        .args(["-TERM", &server.pid().to_string()])
        .status();
    assert_eq!(server.wait(), Some(0));
    let output = replay(&server.dir.path().join("recording"), &[], "");
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown} {}", text(&output.stderr));
    assert!(shown.contains("0 others"), "{shown}");
}

/// The recording has neither the password nor its hash: what stands for the one was not what stands for the other, and the
/// replay let nobody in.
#[test]
fn users_whose_passwords_were_given_as_hashes_are_let_in_again() {
    // Of "hunter2" and of "other".
    let hashes = [
        "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7",
        "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa",
    ];
    let mut server = Server::with(&["--requirepass", "first", "--record", "recording"]);
    let acl_file = server.dir.path().join("users.acl");
    let lines = format!(
        "user default on nopass ~* &* +@all\nuser ann on #{} +get ~a*\n",
        hashes[0]
    );
    std::fs::write(&acl_file, lines).expect("a file");
    server.kill();
    server.start_again_with(&[
        "--aclfile",
        &acl_file.display().to_string(),
        "--record",
        "recording",
    ]);
    let mut raw = server.raw();
    let rules = format!("ACL SETUSER bob on #{} +set ~b*", hashes[1]);
    assert_eq!(raw.line(&rules), Value::Simple("OK".into()));
    for (user, password) in [("ann", "hunter3"), ("bob", "hunter2"), ("nobody", "other")] {
        let answer = raw.line(&format!("AUTH {user} {password}"));
        assert!(matches!(answer, Value::Error(_)), "{answer:?}");
    }
    assert_eq!(raw.line("AUTH ann hunter2"), Value::Simple("OK".into()));
    assert_eq!(raw.line("GET a"), Value::NullBulk);
    // In pieces as well.
    raw.send(b"*3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$5\r\not");
    assert!(matches!(server.raw().line("PING"), Value::Simple(_)));
    raw.send(b"her\r\n");
    assert_eq!(raw.read(), Value::Simple("OK".into()));
    assert_eq!(raw.line("SET b 1"), Value::Simple("OK".into()));
    common::signal(server.pid(), "-TERM");
    assert_eq!(server.wait(), Some(0));
    let file = server.dir.path().join("recording");
    let bytes = std::fs::read(&file).expect("a recording");
    let found = |word: &str| bytes.windows(word.len()).any(|it| it == word.as_bytes());
    assert!(!found("hunter2") && !found(hashes[0]) && !found(hashes[1]));
    let output = replay(&file, &[], "");
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown} {}", text(&output.stderr));
    assert!(shown.contains("0 others"), "{shown}");
}

#[test]
fn a_recording_of_a_killed_server_is_played_to_where_it_breaks_off() {
    let mut server = Server::with(&["--record", "recording", "--appendonly", "yes"]);
    let mut raw = server.raw();
    for n in 0..50 {
        raw.line(&format!("SET k{n} {n}"));
    }
    server.kill();
    let output = replay(&server.dir.path().join("recording"), &[], "");
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown} {}", text(&output.stderr));
    assert!(
        shown.contains("keys: 50") || shown.contains("keys: 49"),
        "{shown}"
    );
}

/// The replay has children of its own, whom nobody kills: how those ended that were recorded is in the recording. How long
/// the append-only file took is not: how often that is timed depends on the disk, so no clock of the seam is asked.
#[test]
fn a_child_that_was_killed_is_one_in_the_replay_too() {
    let directives = [
        "--record",
        "recording",
        "--appendonly",
        "yes",
        "--save",
        "3600 1",
        "--latency-monitor-threshold",
        "1",
        "--bgsave-default-method",
        "fork",
    ];
    let mut server = Server::with(&directives);
    let mut raw = server.raw();
    for n in 0..20 {
        raw.line(&format!("SET k{n} {n}"));
    }
    raw.line("CONFIG SET rdb-key-save-delay 20000");
    raw.line("BGSAVE");
    let log = server.log();
    let pid = log.split("Background saving started by pid ").nth(1);
    let pid = pid.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    common::signal(pid.expect("the number of the child"), "-KILL");
    let is_refused = |answer| matches!(answer, Value::Error(text) if text.starts_with(b"MISCONF"));
    common::wait_for("the end of the child", || {
        is_refused(raw.line("SET refused 1"))
    });
    // The recording has that answer before the server sleeps, and it has slept when it reads this.
    raw.line("PING");
    server.kill();
    let output = replay(&server.dir.path().join("recording"), &[], "");
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown} {}", text(&output.stderr));
    assert!(shown.contains("0 others"), "{shown}");
}

/// The replay has a helper of its own, which is as fast as it likes and writes nothing that others see: how far the recorded
/// one was, and how it ended, is in the recording.
#[test]
fn a_save_of_the_loop_is_replayed_whether_it_went_well_or_not() {
    for goes_well in [true, false] {
        let directives = [
            "--record",
            "recording",
            "--save",
            "3600 1",
            "--bgsave-default-method",
            "forkless",
        ];
        let mut server = Server::with(&directives);
        let mut raw = server.raw();
        for n in 0..3000 {
            raw.line(&format!("SET k{n} {n}"));
            raw.line(&format!("RPUSH list element{n}"));
        }
        if !goes_well {
            // Nothing can be renamed over a directory.
            std::fs::create_dir(server.dir.path().join("dump.rdb")).expect("in the way");
        }
        raw.line("BGSAVE");
        let mut during = 0;
        let mut number = 0;
        common::wait_for("the end of the save", || {
            number += 1;
            raw.line(&format!("RPUSH list more{number}"));
            raw.line(&format!("SET k{number} new"));
            let page = common::text(raw.line("INFO persistence"));
            during += usize::from(page.contains("rdb_bgsave_in_progress:1"));
            page.contains("rdb_bgsave_in_progress:0")
        });
        assert!(during > 0, "it was over before anybody looked");
        let page = common::text(raw.line("INFO persistence"));
        let status = if goes_well { "ok" } else { "err" };
        assert!(page.contains(&format!("rdb_last_bgsave_status:{status}")));
        let answer = raw.line("SET last 1");
        assert_eq!(matches!(answer, Value::Error(_)), !goes_well);
        // The recording has that answer before the server sleeps, and it has slept when it reads this.
        raw.line("PING");
        server.kill();
        let output = replay(&server.dir.path().join("recording"), &[], "");
        let shown = text(&output.stdout);
        assert!(output.status.success(), "{shown} {}", text(&output.stderr));
        assert!(shown.contains("0 others"), "{shown}");
    }
}

#[test]
fn what_is_no_recording_is_refused_in_words() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("other");
    std::fs::write(&file, "REDIS0011").expect("a file");
    let output = replay(&file, &[], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("not a recording"),
        "{output:?}"
    );
    let output = replay(&dir.path().join("none"), &["--nonsense"], "");
    assert!(text(&output.stderr).starts_with("Usage"), "{output:?}");
    // A record file that cannot be made, and one that would be too small for the data.
    let output = Command::new(env!("CARGO_BIN_EXE_gyre"))
        .args([
            "--port",
            "0",
            "--unixsocket",
            "s",
            "--record",
            "no/such/folder",
            "--dir",
        ])
        .arg(dir.path())
        .output()
        .expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains("Can't record to no/such/folder"),
        "{output:?}"
    );
}

/// What redis-benchmark does, with its randomness and ours, is the same again.
#[test]
fn a_run_of_redis_benchmark_is_replayed() {
    let there = Command::new("redis-benchmark").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        skips::without_oracle("redis-benchmark");
        return;
    }
    let mut server = Server::with(&["--record", "recording"]);
    let port = server.port.to_string();
    let status = Command::new("redis-benchmark")
        .args([
            "-p", &port, "-n", "1000", "-c", "10", "-P", "4", "-r", "100", "-q",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("it runs");
    assert!(status.success());
    let mut raw = server.raw();
    let script = "for i = 1, 50 do redis.call('sadd', 'drawn', math.random(1000)) end \
                  return redis.call('spop', 'drawn', 20)";
    assert!(matches!(raw.run(&["EVAL", script, "0"]), Value::Array(_)));
    let Value::Simple(digest) = raw.line("DEBUG DIGEST") else {
        panic!("a digest")
    };
    raw.send(b"SHUTDOWN NOSAVE\r\n");
    assert_eq!(server.wait(), Some(0));
    let output = replay(&server.dir.path().join("recording"), &[], "");
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown} {}", text(&output.stderr));
    assert!(shown.contains(&format!("digest: {digest}")), "{shown}");
}

/// What is recorded names another folder; the replay saves in its own. Figures of the process differ and disturb
/// nothing, and the credential of an HTTP request is not in the file.
#[test]
fn a_replay_touches_nothing_else_and_keeps_step() {
    use std::io::Read;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|probe| probe.local_addr())
        .expect("a free port")
        .port();
    let mut server = Server::with(&[
        "--requirepass",
        "hunter2",
        "--http-port",
        &port.to_string(),
        "--enable-protected-configs",
        "yes",
        "--record",
        "recording",
    ]);
    let recording = server.dir.path().join("recording");
    let mut raw = server.raw();
    raw.line("AUTH hunter2");
    raw.line("SET k v");
    let folder = elsewhere.path().to_str().expect("a path").to_owned();
    assert_eq!(
        raw.run(&["CONFIG", "SET", "dir", &folder]),
        Value::Simple("OK".into())
    );
    let nowhere = raw.run(&["CONFIG", "SET", "dir", "/no/such/folder"]);
    assert!(matches!(nowhere, Value::Error(_)), "{nowhere:?}");
    for line in ["INFO everything", "SAVE", "INFO everything", "PING"] {
        raw.line(line);
    }
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream
        .write_all(
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
              Authorization: Bearer hunter2\r\n\r\n",
        )
        .expect("it takes them");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let digest = digest(&server);
    raw.send(b"SHUTDOWN NOSAVE\r\n");
    assert_eq!(server.wait(), Some(0));
    let bytes = std::fs::read(&recording).expect("a recording");
    assert!(!bytes.windows(7).any(|it| it == b"hunter2"));

    let saved = elsewhere.path().join("dump.rdb");
    std::fs::write(&saved, "untouched").expect("a file");
    let output = replay(&recording, &[], "");
    let shown = text(&output.stdout);
    assert!(!shown.contains("It went another way"), "{shown}");
    assert!(shown.contains(&format!("digest: {digest}")), "{shown}");
    assert_eq!(std::fs::read(&saved).expect("a file"), b"untouched");
}
