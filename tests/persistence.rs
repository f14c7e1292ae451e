//! Data that outlives the server: snapshots, the append-only file, and what becomes of them when something goes wrong.

mod common;

use common::{Raw, Server, info, signal, text, wait_for};
use gyre::resp::reader::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// One key of every type and encoding, in two databases, some with an expiry.
fn fill(raw: &mut Raw) {
    let long = "x".repeat(3000);
    for line in [
        "SET int 12345",
        "SET short hello",
        "SET gone x PX 1",
        "SET soon x EX 10000",
        "RPUSH list a b 3 4 -5",
        "SADD ints 1 2 3 70000",
        "SADD words a b c",
        "HSET hash f v g 7",
        "HSET expiring a 1 b 2",
        "HPEXPIREAT expiring 9999999999999 FIELDS 1 a",
        "ZADD zset 1 a 2.5 b -inf c",
        "XADD stream 1-1 f v",
        "XADD stream 2-1 f v g w",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group alice COUNT 1 STREAMS stream >",
        "XGROUP CREATECONSUMER stream group bob",
        "PFADD hll a b c",
        "SETBIT bits 100000 1",
    ] {
        let answer = raw.line(line);
        assert!(!matches!(answer, Value::Error(_)), "{line}: {answer:?}");
    }
    raw.command(&["SET", "long", &long]);
    raw.read();
    for index in 0..600 {
        raw.line(&format!("RPUSH biglist {index} {long}"));
        raw.line(&format!("HSET bighash {index} v{index}"));
        raw.line(&format!("SADD bigset m{index}"));
        raw.line(&format!("ZADD bigzset {index} m{index}"));
    }
    raw.line("SELECT 3");
    raw.line("SET other 1");
    raw.line("SELECT 0");
    wait_for("the expiry", || {
        raw.line("EXISTS gone") == Value::Integer(0)
    });
}

/// What was granted once must be there again, whatever the directives say by now.
#[test]
fn bounds_of_today_do_not_bind_what_the_file_repeats() {
    let server = Server::with(&["--appendonly", "yes", "--stream-node-max-entries", "1"]);
    let mut raw = server.raw();
    raw.line("SETBIT bits 80000000 1");
    raw.line("SETRANGE text 10000000 x");
    for _ in 0..300 {
        raw.line("XADD s * a b");
    }
    raw.line("XTRIM s MAXLEN ~ 10 LIMIT 0");
    let before = digest(&mut raw);
    raw.line("CONFIG SET proto-max-bulk-len 1mb");
    assert!(matches!(
        raw.line("SETBIT bits 80000000 0"),
        Value::Error(_)
    ));
    assert_eq!(text(raw.line("DEBUG LOADAOF")), "OK");
    assert_eq!(digest(&mut raw), before);
    assert_eq!(raw.line("XLEN s"), Value::Integer(10));
}

/// It answered OK, and everything was gone.
#[test]
fn without_an_append_only_file_there_is_nothing_to_load_again() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.line("SET k v");
    let failed = b"ERR Error trying to load the AOF files, check server logs.";
    assert_eq!(raw.line("DEBUG LOADAOF"), Value::Error(failed.to_vec()));
    assert_eq!(text(raw.line("GET k")), "v");
}

/// The file begins after the transaction that asks for it, and has all of it.
#[test]
fn a_transaction_may_switch_the_file_on() {
    let mut server = Server::start();
    let mut raw = server.raw();
    for line in [
        "MULTI",
        "SET a 1",
        "CONFIG SET appendonly yes",
        "SET b 2",
        "EXEC",
    ] {
        let answer = raw.line(line);
        assert!(!matches!(answer, Value::Error(_)), "{line}: {answer:?}");
    }
    assert!(
        server
            .log()
            .contains("AOF was enabled during a transaction")
    );
    wait_for("the first file", || {
        info(&mut raw, "aof_rewrites") == "1" && info(&mut raw, "aof_rewrite_in_progress") == "0"
    });
    raw.line("SET c 3");
    server.kill();
    let mut again = Server::with(&["--appendonly", "yes"]);
    let from = server.dir.path().join("appendonlydir");
    again.kill();
    let to = again.dir.path().join("appendonlydir");
    std::fs::remove_dir_all(&to).expect("its own files");
    std::fs::rename(&from, &to).expect("the same disk");
    again.start_again();
    let mut raw = again.raw();
    let all = raw.line("MGET a b c");
    let expected = ["1", "2", "3"].map(Value::bulk);
    assert_eq!(all, Value::Array(expected.to_vec()));
}

/// Where a child saved, all that was written until the rewrite could begin was kept, and applied twice after a restart.
#[test]
fn what_is_written_before_the_first_rewrite_begins_is_applied_once() {
    let server = Server::start();
    let mut raw = server.raw();
    for line in ["SET a 1", "CONFIG SET rdb-key-save-delay 1500000", "BGSAVE"] {
        let answer = raw.line(line);
        assert!(!matches!(answer, Value::Error(_)), "{line}: {answer:?}");
    }
    raw.line("CONFIG SET rdb-key-save-delay 0");
    assert_eq!(text(raw.line("CONFIG SET appendonly yes")), "OK");
    assert_eq!(info(&mut raw, "rdb_bgsave_in_progress"), "1");
    for _ in 0..5 {
        raw.line("INCR counter");
    }
    assert_eq!(info(&mut raw, "aof_buffer_length"), "0");
    wait_for("the first file", || {
        info(&mut raw, "aof_rewrites") == "1" && info(&mut raw, "aof_rewrite_in_progress") == "0"
    });
    raw.line("INCR counter");
    assert_eq!(text(raw.line("DEBUG LOADAOF")), "OK");
    assert_eq!(raw.line("GET counter"), Value::bulk("6"));
}

/// A manifest that could not be opened was taken for a missing one: the server began empty, and overwrote it.
#[test]
fn a_manifest_that_cannot_be_read_ends_the_start() {
    let mut server = Server::with(&["--appendonly", "yes"]);
    server.raw().line("SET a 1");
    server.kill();
    let directory = server.dir.path().join("appendonlydir");
    let manifest = directory.join("appendonly.aof.manifest");
    let aside = server.dir.path().join("aside");
    for everything in [false, true] {
        let path = if everything { &directory } else { &manifest };
        fs::rename(path, &aside).expect("moved");
        if everything {
            fs::write(path, b"no directory").expect("written");
        } else {
            fs::create_dir(path).expect("made");
        }
        server.spawn_again();
        assert_eq!(server.wait(), Some(1), "{}", server.log());
        let log = server.log();
        let last = log.lines().last().expect("a line");
        assert!(last.contains("appendonly.aof.manifest"), "{last}");
        if everything {
            fs::remove_file(path).expect("still there");
        } else {
            fs::remove_dir(path).expect("still there");
        }
        fs::rename(&aside, path).expect("moved back");
    }
    server.start_again();
    assert_eq!(server.raw().line("GET a"), Value::bulk("1"));
}

/// The directory changed, the file stayed, and a server that began in the new place found nothing.
#[test]
fn the_directory_does_not_change_under_the_append_only_file() {
    let server = Server::with(&["--appendonly", "yes", "--enable-protected-configs", "yes"]);
    let other = tempfile::tempdir().expect("a directory");
    let set = format!("CONFIG SET dir {}", other.path().display());
    let mut raw = server.raw();
    raw.line("SET a 1");
    assert!(matches!(raw.line(&set), Value::Error(_)));
    let here = server.dir.path().display().to_string();
    let named = Value::Array(["dir", &here].map(Value::bulk).to_vec());
    assert_eq!(raw.line("CONFIG GET dir"), named);
    raw.line("CONFIG SET appendonly no");
    assert_eq!(text(raw.line(&set)), "OK");
    assert_eq!(text(raw.line("CONFIG SET appendonly yes")), "OK");
    wait_for("the first base", || {
        info(&mut raw, "aof_rewrite_in_progress") == "0"
    });
    raw.line("SET b 2");
    assert_eq!(text(raw.line("DEBUG LOADAOF")), "OK");
    assert_eq!(raw.line("EXISTS a b"), Value::Integer(2));
    let manifest = other.path().join("appendonlydir/appendonly.aof.manifest");
    let manifest = fs::read_to_string(manifest).expect("a manifest");
    assert!(
        manifest.starts_with("file appendonly.aof.1.base.rdb seq 1 type b"),
        "{manifest}"
    );
}

/// What was off when the directory changed wrote where it had been before.
#[test]
fn rewrites_of_a_file_that_is_off_follow_the_directory() {
    let directives = ["--enable-protected-configs", "yes"];
    // A child rests behind its last key, too.
    let method = ["--bgsave-default-method", "fork"];
    let server = Server::with(&[directives, method].concat());
    let places = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let files = |place: &std::path::Path| -> Vec<String> {
        let Ok(entries) = fs::read_dir(place.join("appendonlydir")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let mut raw = server.raw();
    let rewritten = |raw: &mut Raw| {
        wait_for("the rewrite", || {
            info(raw, "aof_rewrite_in_progress") == "0"
        });
    };
    let set = |raw: &mut Raw, place: &std::path::Path| {
        let set = format!("CONFIG SET dir {}", place.display());
        assert_eq!(text(raw.line(&set)), "OK");
    };
    raw.line("SET a 1");
    set(&mut raw, places[0].path());
    raw.line("BGREWRITEAOF");
    rewritten(&mut raw);
    assert_eq!(files(server.dir.path()), Vec::<String>::new());
    let base = ["appendonly.aof.1.base.rdb", "appendonly.aof.manifest"];
    assert_eq!(files(places[0].path()), base);
    // One that is under way ends where it began.
    raw.line("CONFIG SET rdb-key-save-delay 60000000");
    raw.line("BGREWRITEAOF");
    wait_for("its file", || files(places[0].path()).len() == 3);
    set(&mut raw, places[1].path());
    assert_eq!(text(raw.line("CONFIG SET rdb-key-save-delay 0")), "OK");
    assert_eq!(text(raw.line("CONFIG SET appendonly yes")), "OK");
    rewritten(&mut raw);
    assert_eq!(files(places[0].path()), base);
    let whole = [
        "appendonly.aof.1.base.rdb",
        "appendonly.aof.1.incr.aof",
        "appendonly.aof.manifest",
    ];
    assert_eq!(files(places[1].path()), whole);
    // What is loaded anew is what is here.
    raw.line("SET b 1");
    raw.line("CONFIG SET appendonly no");
    set(&mut raw, places[0].path());
    assert_eq!(text(raw.line("DEBUG LOADAOF")), "OK");
    assert_eq!(raw.line("EXISTS a b"), Value::Integer(1));
}

/// While a script was busy, answers went out for what the file did not have.
#[test]
fn what_came_before_a_busy_script_is_in_the_file_before_it_is_answered() {
    for end in ["kill", "SHUTDOWN NOSAVE"] {
        let mut server = Server::with(&[
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--busy-reply-threshold",
            "1",
        ]);
        let mut raw = server.raw();
        raw.send(b"SET foo 1\r\nEVAL \"redis.call('set','bar',1) while true do end\" 0\r\n");
        assert_eq!(raw.read(), Value::Simple("OK".into()));
        if end == "kill" {
            server.kill();
        } else {
            let mut other = server.raw();
            wait_for("the script", || {
                matches!(other.line("PING"), Value::Error(_))
            });
            other.send(b"SHUTDOWN NOSAVE\r\n");
            assert_eq!(server.wait(), Some(0), "{}", server.log());
        }
        server.start_again();
        let mut raw = server.raw();
        assert_eq!(raw.line("GET foo"), Value::bulk("1"), "{end}");
        // Half of a script is nothing.
        assert_eq!(raw.line("EXISTS bar"), Value::Integer(0), "{end}");
    }
}

/// A supervisor that asked each second for the end never got its first append-only file done: asking ended the child.
#[test]
fn a_shutdown_that_is_refused_leaves_the_child_at_work() {
    let mut server = Server::with(&["--bgsave-default-method", "fork"]);
    let mut raw = server.raw();
    raw.line("SET a 1");
    raw.line("CONFIG SET rdb-key-save-delay 100000000");
    assert_eq!(text(raw.line("CONFIG SET appendonly yes")), "OK");
    assert!(matches!(raw.line("SHUTDOWN"), Value::Error(_)));
    signal(server.pid(), "-TERM");
    wait_for("the second refusal", || {
        server
            .log()
            .matches("Writing initial AOF, can't exit")
            .count()
            == 2
    });
    assert_eq!(info(&mut raw, "aof_rewrite_in_progress"), "1");
    assert_eq!(info(&mut raw, "aof_rewrites"), "1");
    raw.line("CONFIG SET appendonly no");
    // A last snapshot that cannot be written is as little a reason.
    assert!(matches!(raw.line("BGSAVE"), Value::Simple(_)));
    let in_the_way = server.dir.path().join(format!("temp-{}.rdb", server.pid()));
    fs::create_dir(&in_the_way).expect("made");
    raw.line("CONFIG SET rdb-key-save-delay 0");
    assert!(matches!(raw.line("SHUTDOWN SAVE"), Value::Error(_)));
    assert_eq!(info(&mut raw, "rdb_bgsave_in_progress"), "1");
    fs::remove_dir(&in_the_way).expect("removed");
    raw.send(b"SHUTDOWN SAVE\r\n");
    assert_eq!(server.wait(), Some(0), "{}", server.log());
    server.start_again();
    assert_eq!(server.raw().line("EXISTS a"), Value::Integer(1));
}

/// What a crash has left is no use to anyone, and was there for ever.
#[test]
fn files_that_no_manifest_lists_are_removed_at_the_start() {
    let mut server = Server::with(&["--appendonly", "yes"]);
    let mut raw = server.raw();
    raw.line("SET a 1");
    raw.line("BGREWRITEAOF");
    wait_for("the rewrite", || {
        info(&mut raw, "aof_rewrite_in_progress") == "0"
    });
    server.kill();
    let directory = server.dir.path().join("appendonlydir");
    let left = [
        "appendonly.aof.1.base.rdb",
        "appendonly.aof.1.incr.aof",
        "temp-appendonly.aof.incr",
    ];
    for name in left {
        fs::write(directory.join(name), b"x").expect("written");
    }
    fs::write(directory.join("mine.txt"), b"x").expect("written");
    server.start_again();
    assert_eq!(server.raw().line("EXISTS a"), Value::Integer(1));
    assert!(left.iter().all(|name| !directory.join(name).exists()));
    assert!(directory.join("mine.txt").exists());
}

/// Switched on while a snapshot is loaded, the file begins with what was loaded; it is not one of old that goes on.
#[test]
fn the_append_only_file_may_be_switched_while_data_is_loaded() {
    let mut server = Server::with(&["--appendonly", "yes", "--dbfilename", "d.rdb"]);
    let mut raw = server.raw();
    raw.line("SET old 1");
    raw.line("CONFIG SET appendonly no");
    raw.line("DEL old");
    raw.line("DEBUG POPULATE 3000");
    raw.line("SAVE");
    server.kill();
    let off = ["--dbfilename", "d.rdb", "--key-load-delay", "500"];
    let mut other = Server::with(&off);
    other.kill();
    for name in ["d.rdb", "appendonlydir"] {
        fs::rename(server.dir.path().join(name), other.dir.path().join(name)).expect("moved");
    }
    other.spawn_again();
    let mut raw = loop {
        if let Ok(stream) = std::net::TcpStream::connect(("127.0.0.1", other.port)) {
            break Raw::over(stream);
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(info(&mut raw, "loading"), "1");
    assert_eq!(text(raw.line("CONFIG SET appendonly yes")), "OK");
    assert_eq!(text(raw.line("CONFIG SET key-load-delay 0")), "OK");
    wait_for("the first base", || {
        info(&mut raw, "loading") == "0"
            && info(&mut raw, "aof_rewrite_in_progress") == "0"
            && info(&mut raw, "aof_rewrites") == "1"
    });
    raw.line("SET new 1");
    assert_eq!(text(raw.line("DEBUG LOADAOF")), "OK");
    assert_eq!(raw.line("EXISTS new key:2999 old"), Value::Integer(2));
}

/// Switched while DEBUG LOADAOF was loading, the file was never what the directive said: OK was read for nothing.
#[test]
fn the_append_only_file_may_be_switched_while_it_is_loaded_anew() {
    let server = Server::with(&["--appendonly", "yes"]);
    let mut raw = server.raw();
    raw.line("DEBUG POPULATE 3000");
    raw.line("BGREWRITEAOF");
    wait_for("the rewrite", || {
        info(&mut raw, "aof_rewrite_in_progress") == "0"
    });
    for (switch, figure) in [("no", "0"), ("yes", "1")] {
        raw.line("CONFIG SET key-load-delay 500");
        let mut other = server.raw();
        other.send(b"DEBUG LOADAOF\r\n");
        wait_for("loading", || info(&mut raw, "loading") == "1");
        let set = format!("CONFIG SET appendonly {switch}");
        assert_eq!(text(raw.line(&set)), "OK");
        assert_eq!(info(&mut raw, "loading"), "1");
        raw.line("CONFIG SET key-load-delay 0");
        assert_eq!(other.read(), Value::Simple("OK".into()));
        assert_eq!(info(&mut raw, "aof_enabled"), figure);
        wait_for("the rewrite", || {
            info(&mut raw, "aof_rewrite_in_progress") == "0"
        });
    }
}

fn digest(raw: &mut Raw) -> String {
    text(raw.line("DEBUG DIGEST"))
}

#[test]
fn everything_survives_a_reload_a_rewrite_and_a_restart() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut raw = server.raw();
    fill(&mut raw);
    let before = digest(&mut raw);
    assert_ne!(before, "0".repeat(40));
    assert_eq!(text(raw.line("DEBUG RELOAD")), "OK");
    assert_eq!(digest(&mut raw), before, "after DEBUG RELOAD");
    assert_eq!(text(raw.line("DEBUG LOADAOF")), "OK");
    assert_eq!(digest(&mut raw), before, "after DEBUG LOADAOF");
    for preamble in ["no", "yes"] {
        raw.line(&format!("CONFIG SET aof-use-rdb-preamble {preamble}"));
        let rewrites: u64 = info(&mut raw, "aof_rewrites").parse().expect("a number");
        raw.line("BGREWRITEAOF");
        raw.line("SET during rewrite");
        wait_for("the rewrite", || {
            info(&mut raw, "aof_rewrite_in_progress") == "0"
        });
        assert_eq!(info(&mut raw, "aof_last_bgrewrite_status"), "ok");
        assert_eq!(info(&mut raw, "aof_rewrites"), (rewrites + 1).to_string());
        let before = digest(&mut raw);
        assert_eq!(text(raw.line("DEBUG LOADAOF")), "OK");
        assert_eq!(digest(&mut raw), before, "preamble {preamble}");
    }
    let before = digest(&mut raw);
    server.kill();
    server.start_again();
    assert_eq!(digest(&mut server.raw()), before, "after kill -9");
}

/// DEBUG RELOAD emptied the keyspace, which counted as a change: the command was in the append-only file, and loaded at
/// the next start a snapshot that was younger than the place where it stood.
#[test]
fn loading_anew_is_no_change_that_the_append_only_file_repeats() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut raw = server.raw();
    for line in [
        "SET n 0",
        "SAVE",
        "DEBUG RELOAD NOSAVE",
        "DEBUG RELOAD NOSAVE NOFLUSH MERGE",
        "INCR n",
    ] {
        let answer = raw.line(line);
        assert!(!matches!(answer, Value::Error(_)), "{line}: {answer:?}");
    }
    assert_eq!(info(&mut raw, "rdb_changes_since_last_save"), "1");
    raw.line("SET m 1");
    raw.line("DEBUG LOADAOF");
    raw.line("SAVE");
    // One that fails in the middle has loaded something before.
    let snapshot = server.dir.path().join("dump.rdb");
    let bytes = fs::read(&snapshot).expect("a snapshot");
    fs::write(&snapshot, &bytes[..bytes.len() - 12]).expect("written");
    let answer = raw.line("DEBUG RELOAD NOSAVE");
    assert!(matches!(answer, Value::Error(_)), "{answer:?}");
    fs::write(&snapshot, &bytes).expect("written");
    raw.line("SET last 1");
    let file = fs::read_to_string(incremental(&server)).expect("plain commands");
    assert!(file.contains("last") && !file.contains("DEBUG"), "{file}");
    server.kill();
    server.start_again();
    assert_eq!(
        server.raw().line("MGET n m last"),
        Value::Array(vec![Value::Bulk(b"1".to_vec()); 3])
    );
}

/// The EXEC of a file that was loaded within a transaction, or of a script, ended the whole: what followed stood alone.
#[test]
fn what_runs_within_a_transaction_does_not_end_it() {
    let server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut raw = server.raw();
    for line in [
        "MULTI",
        "SET a 1",
        "SET b 1",
        "EXEC",
        "MULTI",
        "DEBUG LOADAOF",
        "SET c 1",
        "SET d 1",
        "EXEC",
        "DEBUG SET-DISABLE-DENY-SCRIPTS 1",
    ] {
        let answer = raw.line(line);
        assert!(!matches!(answer, Value::Error(_)), "{line}: {answer:?}");
    }
    let script = "redis.call('multi') redis.call('set','e','1') redis.call('set','f','1') redis.call('exec') \
                  redis.call('set','g','1')";
    raw.command(&["EVAL", script, "0"]);
    assert_eq!(raw.read(), Value::NullBulk);
    let file = fs::read_to_string(incremental(&server)).expect("plain commands");
    let words = file
        .split("\r\n")
        .filter(|line| !line.starts_with(['*', '$']));
    let words: Vec<&str> = words.collect();
    assert_eq!(
        words.join(" "),
        "MULTI SELECT 0 SET a 1 SET b 1 EXEC MULTI SELECT 0 SET c 1 SET d 1 EXEC MULTI set e 1 set f 1 set g 1 EXEC "
    );
}

#[test]
fn a_snapshot_is_loaded_at_the_start() {
    let mut server = Server::start();
    let mut raw = server.raw();
    fill(&mut raw);
    let before = digest(&mut raw);
    assert!(text(raw.line("BGSAVE")).starts_with("Background saving started"));
    wait_for("the save", || {
        info(&mut raw, "rdb_bgsave_in_progress") == "0"
    });
    assert_eq!(info(&mut raw, "rdb_last_bgsave_status"), "ok");
    assert_eq!(info(&mut raw, "rdb_changes_since_last_save"), "0");
    raw.line("SET unsaved 1");
    server.kill();
    server.start_again();
    let mut raw = server.raw();
    assert_eq!(digest(&mut raw), before);
    // SHUTDOWN SAVE writes what is there.
    raw.line("SET saved 1");
    raw.send(b"SHUTDOWN SAVE\r\n");
    assert_eq!(server.wait(), Some(0), "{}", server.log());
    server.start_again();
    assert_eq!(server.raw().line("EXISTS saved unsaved"), Value::Integer(1));
}

#[test]
fn a_snapshot_that_cannot_be_written_keeps_the_old_one_and_refuses_writes() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.line("SET a 1");
    assert_eq!(text(raw.line("SAVE")), "OK");
    let path = server.dir.path().join("dump.rdb");
    let before = fs::read(&path).expect("a snapshot");
    // Nothing can be renamed over a directory.
    fs::rename(&path, server.dir.path().join("kept")).expect("moved");
    fs::create_dir(&path).expect("a directory in the way");
    raw.command(&["CONFIG", "SET", "save", "3600 1"]);
    raw.read();
    raw.line("SET b 1");
    assert!(matches!(raw.line("SAVE"), Value::Error(_)));
    raw.line("BGSAVE");
    wait_for("the save", || {
        info(&mut raw, "rdb_bgsave_in_progress") == "0"
    });
    assert_eq!(info(&mut raw, "rdb_last_bgsave_status"), "err");
    let refused = format!("{:?}", raw.line("SET c 1"));
    assert!(refused.contains("77, 73, 83, 67, 79, 78, 70"), "{refused}"); // MISCONF
    assert_eq!(text(raw.line("GET b")), "1");
    fs::remove_dir(&path).expect("an empty directory");
    raw.line("BGSAVE");
    wait_for("the save", || {
        info(&mut raw, "rdb_last_bgsave_status") == "ok"
    });
    assert_eq!(text(raw.line("SET c 1")), "OK");
    assert!(fs::read(&path).expect("a snapshot").len() > before.len());
    let left = fs::read_dir(server.dir.path()).expect("a directory");
    let temporary = left
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("temp-"));
    assert!(!temporary, "temporary files are removed");
}

fn incremental(server: &Server) -> PathBuf {
    let directory = server.dir.path().join("appendonlydir");
    directory.join("appendonly.aof.1.incr.aof")
}

#[test]
fn a_file_that_ends_in_the_middle_of_a_command_is_loaded_up_to_there() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut raw = server.raw();
    raw.line("SET a 1");
    raw.line("MULTI");
    raw.line("SET b 1");
    raw.line("SET c 1");
    raw.line("EXEC");
    server.kill();
    let path = incremental(&server);
    let whole = fs::read(&path).expect("a file");
    for cut in [1, 5, 14, 20, 60] {
        fs::write(&path, &whole[..whole.len() - cut]).expect("written");
        server.start_again();
        // The transaction is not whole, so none of it counts.
        assert_eq!(
            server.raw().line("EXISTS a b c"),
            Value::Integer(1),
            "cut {cut}: {}",
            server.log()
        );
        assert!(
            server
                .log()
                .contains("loaded anyway because aof-load-truncated")
        );
    }
}

/// Left there, the beginning of a note would swallow the first line of what is written behind it.
#[test]
fn half_a_note_of_the_time_is_cut_off_like_half_a_command() {
    for truncates in [true, false] {
        let word = if truncates { "yes" } else { "no" };
        let mut server = Server::with(&["--appendonly", "yes", "--aof-load-truncated", word]);
        server.raw().line("SET a 1");
        server.kill();
        let path = incremental(&server);
        let whole = fs::read(&path).expect("a file");
        for torn in ["#", "#TS:17", "#TS:1795942\r"] {
            let all = [&whole[..], torn.as_bytes()].concat();
            fs::write(&path, &all).expect("written");
            if truncates {
                server.start_again();
                assert_eq!(server.raw().line("GET a"), Value::bulk("1"), "{torn:?}");
                assert_eq!(fs::read(&path).expect("a file"), whole, "{torn:?}");
                server.kill();
            } else {
                server.spawn_again();
                assert_eq!(server.wait(), Some(1), "{torn:?}");
                assert_eq!(fs::read(&path).expect("a file"), all, "{torn:?}");
            }
        }
    }
}

/// What a crash has left behind the last command, as some file systems do, is cut off where it is no more than the operator
/// allows for; with half a transaction before it, that as well.
#[test]
fn a_corrupt_tail_of_a_file_is_cut_off_up_to_a_size() {
    let multi = "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n1\r\n";
    for (before, size, is_cut) in [
        ("", 8, true),
        ("", 7, false),
        (multi, 50, true),
        (multi, 49, false),
    ] {
        let size = size.to_string();
        let mut directives = vec!["--appendonly", "yes", "--appendfsync", "always"];
        directives.extend(["--aof-load-corrupt-tail-max-size", &size]);
        let mut server = Server::with(&directives);
        server.raw().line("SET a 1");
        server.kill();
        let path = incremental(&server);
        let whole = fs::read(&path).expect("a file");
        let mut wrong = whole.clone();
        wrong.extend(before.as_bytes());
        wrong.extend([0; 8]);
        fs::write(&path, &wrong).expect("written");
        server.spawn_again();
        if !is_cut {
            assert_eq!(server.wait(), Some(1), "{}", server.log());
            assert_eq!(fs::read(&path).expect("a file"), wrong);
            continue;
        }
        wait_for("its start", || {
            server.log().contains("loaded anyway because")
        });
        assert_eq!(fs::read(&path).expect("a file"), whole);
        let log = server.log();
        let cut = wrong.len() - whole.len();
        assert!(
            log.contains(&format!("the last {cut} bytes of the AOF file")),
            "{log}"
        );
    }
}

#[test]
fn a_file_that_is_wrong_is_refused_and_left_alone() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    server.raw().line("SET a 1");
    server.kill();
    let path = incremental(&server);
    let whole = fs::read(&path).expect("a file");
    let mut wrong = whole.clone();
    wrong.extend(b"!!!\r\n*1\r\n$4\r\nPING\r\n");
    fs::write(&path, &wrong).expect("written");
    server.spawn_again();
    assert_eq!(server.wait(), Some(1), "{}", server.log());
    assert!(
        server
            .log()
            .contains("Bad file format reading the append only file")
    );
    assert_eq!(fs::read(&path).expect("a file"), wrong);
    // The tool says so too, and cuts it off when it is told to.
    let manifest = path.with_file_name("appendonly.aof.manifest");
    let check = |args: &[&str]| {
        let mut command = Command::new("sh");
        let line = format!(
            "echo y | {} --check-aof {} {}",
            env!("CARGO_BIN_EXE_gyre"),
            args.join(" "),
            manifest.display()
        );
        command.arg("-c").arg(line).output().expect("the tool")
    };
    assert_eq!(check(&[]).status.code(), Some(1));
    let fixed = check(&["--fix"]);
    assert_eq!(fixed.status.code(), Some(0), "{fixed:?}");
    assert_eq!(fs::read(&path).expect("a file"), whole);
    server.start_again();
    assert_eq!(server.raw().line("EXISTS a"), Value::Integer(1));
}

#[test]
fn the_append_only_file_is_switched_on_and_off_while_running() {
    let mut server = Server::start();
    let mut raw = server.raw();
    raw.line("SET before 1");
    assert_eq!(text(raw.line("CONFIG SET appendonly yes")), "OK");
    raw.line("SET during 1");
    wait_for("the first base", || {
        info(&mut raw, "aof_enabled") == "1" && info(&mut raw, "aof_rewrite_in_progress") == "0"
    });
    raw.line("SET after 1");
    let before = digest(&mut raw);
    assert_eq!(text(raw.line("DEBUG LOADAOF")), "OK");
    assert_eq!(digest(&mut raw), before);
    assert_eq!(text(raw.line("CONFIG SET appendonly no")), "OK");
    raw.line("SET unwritten 1");
    assert_eq!(info(&mut raw, "aof_enabled"), "0");
    // What was switched on by CONFIG SET is not in the directives of the next start.
    raw.line("CONFIG SET appendonly yes");
    wait_for("the next base", || {
        info(&mut raw, "aof_rewrite_in_progress") == "0"
    });
    assert_eq!(
        raw.line("EXISTS before during after unwritten"),
        Value::Integer(4)
    );
    drop(raw);
    server.kill();
    assert!(
        server
            .dir
            .path()
            .join("appendonlydir/appendonly.aof.manifest")
            .exists()
    );
}

#[test]
fn what_expires_by_itself_is_in_the_file() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut raw = server.raw();
    raw.line("SET a 1 PX 1");
    raw.line("HSET h f v g w");
    raw.line("HPEXPIRE h 1 FIELDS 1 f");
    wait_for("the expiry", || {
        raw.line("EXISTS a") == Value::Integer(0) && raw.line("HLEN h") == Value::Integer(1)
    });
    raw.line("SPOP none");
    server.kill();
    let text =
        String::from_utf8_lossy(&fs::read(incremental(&server)).expect("a file")).into_owned();
    assert!(text.contains("PXAT"), "{text}");
    assert!(text.contains("$3\r\nDEL\r\n$1\r\na\r\n"), "{text}");
    assert!(text.contains("HPEXPIREAT"), "{text}");
    assert!(
        text.contains("$4\r\nHDEL\r\n$1\r\nh\r\n$1\r\nf\r\n"),
        "{text}"
    );
}

#[test]
fn what_has_expired_since_was_there_when_the_commands_of_the_file_ran() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut raw = server.raw();
    raw.line("SET base 1 PX 500");
    raw.line("HSET hashbase f v g w");
    raw.line("HPEXPIRE hashbase 500 FIELDS 1 f");
    raw.line("BGREWRITEAOF");
    wait_for("the rewrite", || {
        info(&mut raw, "aof_rewrite_in_progress") == "0"
    });
    // Saved from expiry in time: that they are loaded later must not kill them.
    raw.line("SET tail 1 PX 500");
    let started = Instant::now();
    for line in [
        "PERSIST base",
        "HPERSIST hashbase FIELDS 1 f",
        "PERSIST tail",
    ] {
        let answer = raw.line(line);
        assert!(!matches!(answer, Value::Error(_)), "{line}: {answer:?}");
    }
    let alive = raw.line("EXISTS base tail") == Value::Integer(2);
    server.kill();
    assert!(alive, "this machine is too slow: {:?}", started.elapsed());
    let manifest = server.dir.path().join("appendonlydir");
    let manifest = fs::read_to_string(manifest.join("appendonly.aof.manifest")).expect("one");
    let name = manifest
        .lines()
        .find_map(|line| line.split(' ').nth(1).filter(|name| name.contains("incr")))
        .expect("an incremental file");
    let path = server.dir.path().join("appendonlydir").join(name);
    let mut file = fs::read(&path).expect("a file");
    // As of old: the list was one and the same until it expired.
    for command in [
        "RPUSH list a",
        "PEXPIREAT list 1000",
        "RPUSH list b",
        "SET back 1 PXAT 1000",
        "PERSIST back",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        file.extend(format!("*{}\r\n", words.len()).bytes());
        for word in words {
            file.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
    }
    fs::write(&path, file).expect("written");
    std::thread::sleep(Duration::from_millis(600));
    server.start_again();
    let mut raw = server.raw();
    assert_eq!(raw.line("EXISTS base tail back"), Value::Integer(3));
    assert_eq!(raw.line("HLEN hashbase"), Value::Integer(2));
    assert_eq!(raw.line("LLEN list"), Value::Integer(0));
}

#[test]
fn flushall_ends_the_child_empties_the_snapshot_and_is_always_in_the_file() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut raw = server.raw();
    raw.line("SET a 1");
    raw.line("SET b 1");
    raw.line("CONFIG SET rdb-key-save-delay 100000000");
    raw.line("BGSAVE");
    assert_eq!(info(&mut raw, "rdb_bgsave_in_progress"), "1");
    raw.line("FLUSHALL");
    assert_eq!(info(&mut raw, "rdb_bgsave_in_progress"), "0");
    assert_ne!(info(&mut raw, "rdb_changes_since_last_save"), "0");
    let snapshot = server.dir.path().join("dump.rdb");
    assert!(!snapshot.exists(), "without save points nothing is written");
    raw.line("CONFIG SET rdb-key-save-delay 0");
    raw.command(&["CONFIG", "SET", "save", "3600 1"]);
    raw.read();
    raw.line("SET a 1");
    raw.line("FLUSHALL");
    assert_eq!(info(&mut raw, "rdb_changes_since_last_save"), "0");
    assert!(snapshot.exists());
    raw.line("FLUSHDB");
    server.kill();
    let text = fs::read_to_string(incremental(&server)).expect("a file");
    let count = |word: &str| text.matches(word).count();
    assert_eq!((count("FLUSHALL"), count("FLUSHDB")), (2, 1), "{text}");
    server.start_again();
    assert_eq!(server.raw().line("DBSIZE"), Value::Integer(0));
}

/// In its middle there is nothing: who was killed then would come back with half of a transaction.
#[test]
fn flushall_within_a_transaction_or_a_script_saves_what_is_there_at_its_end() {
    let mut server = Server::with(&["--save", "3600 1"]);
    let mut raw = server.raw();
    let both = "redis.call('FLUSHALL') redis.call('SET', 'new', '1')";
    let cases: [&[&[&str]]; 3] = [
        &[&["MULTI"], &["FLUSHALL"], &["SET", "new", "0"], &["EXEC"]],
        &[&["EVAL", both, "0"]],
        &[
            &["MULTI"],
            &["EVAL", "redis.call('FLUSHALL')", "0"],
            &["SET", "new", "2"],
            &["EXEC"],
        ],
    ];
    for (number, lines) in cases.into_iter().enumerate() {
        raw.line("SET old 1");
        for line in lines {
            raw.command(line);
            raw.read();
        }
        assert_eq!(info(&mut raw, "rdb_changes_since_last_save"), "0");
        server.kill();
        server.start_again();
        raw = server.raw();
        let new = Value::Bulk(number.to_string().into_bytes());
        assert_eq!(raw.line("GET new"), new, "{lines:?}");
        assert_eq!(raw.line("DBSIZE"), Value::Integer(1), "{lines:?}");
    }
}

#[test]
fn a_snapshot_that_is_wrong_is_refused_with_its_reason() {
    let mut server = Server::start();
    let mut raw = server.raw();
    raw.line("SET a 1");
    raw.line("SAVE");
    server.kill();
    let path = server.dir.path().join("dump.rdb");
    let whole = fs::read(&path).expect("a snapshot");
    let mut wrong_sum = whole.clone();
    wrong_sum.truncate(whole.len() - 8);
    wrong_sum.extend(b"foobar00");
    for (bytes, reason) in [
        (wrong_sum, "RDB CRC error"),
        (
            whole[..whole.len() - 12].to_vec(),
            "Unexpected EOF reading RDB file",
        ),
        (b"RADIS0010".to_vec(), "Wrong signature"),
    ] {
        fs::write(&path, &bytes).expect("written");
        server.spawn_again();
        assert_eq!(server.wait(), Some(1), "{}", server.log());
        let log = server.log();
        assert!(log.contains(reason), "{reason}: {log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(
            last.contains("Terminating server after rdb file reading failure."),
            "{last}"
        );
        assert_eq!(fs::read(&path).expect("still there"), bytes);
    }
}

#[test]
fn a_file_of_the_manifest_that_is_not_there_is_named_in_the_last_line() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    server.raw().line("SET a 1");
    server.kill();
    fs::remove_file(incremental(&server)).expect("removed");
    server.spawn_again();
    assert_eq!(server.wait(), Some(1));
    let log = server.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.contains("appendonly.aof.1.incr.aof length. stat: No such file or directory"),
        "{last}"
    );
}

#[test]
fn a_second_interrupt_leaves_no_temporary_file() {
    let mut server = Server::with(&["--shutdown-on-sigint", "save"]);
    let mut raw = server.raw();
    raw.line("SET a 1");
    raw.line("CONFIG SET rdb-key-save-delay 100000000");
    let temporary = server.dir.path().join(format!("temp-{}.rdb", server.pid()));
    signal(server.pid(), "-INT");
    wait_for("the snapshot", || temporary.exists());
    signal(server.pid(), "-INT");
    assert_eq!(server.wait(), Some(1), "{}", server.log());
    assert!(!temporary.exists());
}

#[test]
fn a_shutdown_that_waits_for_the_periodic_work_can_be_called_off() {
    let server = Server::start();
    let mut raw = server.raw();
    assert!(matches!(raw.line("SHUTDOWN ABORT"), Value::Error(_)));
    raw.line("DEBUG PAUSE-CRON 1");
    signal(server.pid(), "-TERM");
    wait_for("the signal", || server.log().contains("Received SIGTERM"));
    assert_eq!(text(raw.line("SHUTDOWN ABORT")), "OK");
    raw.line("DEBUG PAUSE-CRON 0");
    assert_eq!(text(raw.line("PING")), "PONG");
    assert!(server.log().contains("Shutdown manually aborted"));
}

/// What a script of the file runs is as little a client's as the script: it was counted, timed and logged.
#[test]
fn what_a_script_of_the_append_only_file_runs_is_not_counted() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    server.raw().line("PING");
    server.kill();
    let script = "return redis.call('SET', KEYS[1], '1')";
    let eval = format!(
        "*4\r\n$4\r\nEVAL\r\n${}\r\n{script}\r\n$1\r\n1\r\n$1\r\na\r\n",
        script.len()
    );
    fs::write(incremental(&server), eval).expect("written");
    server.start_again();
    let mut raw = server.raw();
    assert_eq!(text(raw.line("GET a")), "1");
    let stats = text(raw.line("INFO commandstats"));
    assert!(stats.contains("cmdstat_get:calls=1,"), "{stats}");
    for name in ["cmdstat_eval:", "cmdstat_set:"] {
        assert!(!stats.contains(name), "{stats}");
    }
}

/// The file is read long after it was written. A life that was prolonged in time must not end because the time that it
/// had at first is over when the file is read.
#[test]
fn what_was_persisted_in_time_is_not_expired_by_loading() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut raw = server.raw();
    let lives = 1000;
    for line in [
        &format!("SET base v PX {lives}")[..],
        "HSET fields f 1 g 2",
        &format!("HPEXPIRE fields {lives} FIELDS 1 f"),
        "BGREWRITEAOF",
    ] {
        raw.line(line);
    }
    wait_for("the rewrite", || {
        info(&mut raw, "aof_rewrite_in_progress") == "0"
            && info(&mut raw, "aof_rewrite_scheduled") == "0"
    });
    for line in [
        "PERSIST base",
        "HINCRBY fields f 1",
        "HPERSIST fields FIELDS 1 f",
        &format!("SET counter 5 PX {lives}"),
        "INCR counter",
        "PERSIST counter",
        "RPUSH list a",
        &format!("PEXPIRE list {lives}"),
        "RPUSH list b",
        "EXPIRE list 1000",
        "HSET late f 1",
        &format!("HPEXPIRE late {lives} FIELDS 1 f"),
        "HINCRBY late f 1",
        "HPERSIST late FIELDS 1 f",
        &format!("SET gone v PX {lives}"),
    ] {
        assert!(!matches!(raw.line(line), Value::Error(_)), "{line}");
    }
    wait_for("the expiry of the one that was left", || {
        raw.line("EXISTS gone") == Value::Integer(0)
    });
    drop(raw);
    server.kill();
    server.start_again();
    let mut raw = server.raw();
    let answers: Vec<String> = [
        "GET base",
        "HGET fields f",
        "GET counter",
        "LLEN list",
        "HGET late f",
        "EXISTS gone",
    ]
    .iter()
    .map(|line| text(raw.line(line)))
    .collect();
    assert_eq!(
        answers,
        ["v", "2", "6", "Integer(2)", "2", "Integer(0)"],
        "{answers:?}"
    );
}

#[test]
fn a_server_that_loads_answers_so_and_ends_when_it_is_told_to() {
    let mut server = Server::with(&["--key-load-delay", "2000"]);
    let mut raw = server.raw();
    assert_eq!(text(raw.line("DEBUG POPULATE 20000")), "OK");
    assert_eq!(text(raw.line("SAVE")), "OK");
    let path = server.dir.path().join("dump.rdb");
    let before = fs::read(&path).expect("a snapshot");
    server.spawn_again();
    let mut answer = String::new();
    wait_for("an answer", || {
        let Ok(stream) = std::net::TcpStream::connect(("127.0.0.1", server.port)) else {
            return false;
        };
        let mut raw = Raw::over(stream);
        answer = format!("{:?}", raw.line("GET key:1"));
        let progress: f64 = info(&mut raw, "loading_loaded_perc")
            .parse()
            .expect("a number");
        assert!(progress < 100.0, "{progress}");
        true
    });
    assert!(answer.contains("76, 79, 65, 68, 73, 78, 71"), "{answer}"); // LOADING
    signal(server.pid(), "-TERM");
    assert_eq!(server.wait(), Some(0), "{}", server.log());
    assert!(server.log().contains("shutdown signal during loading"));
    assert_eq!(fs::read(&path).expect("still there"), before);
}

/// `key-load-delay` made snapshots slow to load and append-only files not.
#[test]
fn commands_of_the_append_only_file_are_loaded_with_their_delay() {
    let delay = ["--appendonly", "yes", "--key-load-delay", "10000"];
    let mut server = Server::with(&delay);
    let mut raw = server.raw();
    for number in 0..50 {
        raw.run(&["SET", &format!("k{number}"), "v"]);
    }
    raw.command(&["SHUTDOWN"]);
    assert_eq!(server.wait(), Some(0));
    let begun = std::time::Instant::now();
    server.spawn_again();
    wait_for("the loading to begin", || {
        std::net::TcpStream::connect(("127.0.0.1", server.port)).is_ok()
    });
    let mut monitor = server.raw();
    assert_eq!(text(monitor.line("MONITOR")), "OK");
    let mut raw = server.raw();
    wait_for("the end of the loading", || {
        matches!(raw.line("DBSIZE"), Value::Integer(_))
    });
    assert!(begun.elapsed() >= std::time::Duration::from_millis(500));
    assert_eq!(raw.run(&["DBSIZE"]), Value::Integer(50));
    // They are no client's: they were shown, counted and timed as if they were.
    raw.line("ECHO end");
    let mut shown = String::new();
    while !shown.contains("end") {
        shown.push_str(&text(monitor.read()));
    }
    assert!(!shown.contains("\"SET\""), "{shown}");
    let stats = text(raw.line("INFO commandstats"));
    assert!(!stats.contains("cmdstat_set:"), "{stats}");
}
