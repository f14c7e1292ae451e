//! Background saves that the loop does itself: what is in the file, and what becomes of it when something goes wrong.

mod common;

use common::redis_server::Redis;
use common::{Raw, Server, info, text, wait_for};
use gyre::resp::reader::Value;
use gyre::system::rng::Rng;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

const FORKLESS: [&str; 8] = [
    "--bgsave-default-method",
    "forkless",
    "--enable-debug-command",
    "yes",
    "--save",
    "",
    "--hash-max-listpack-entries",
    "16",
];

fn is_saving(raw: &mut Raw) -> bool {
    info(raw, "rdb_bgsave_in_progress") == "1"
}

/// Keys of all types, some of them large, in two databases.
fn fill(raw: &mut Raw) {
    raw.line("DEBUG POPULATE 20000 key 40");
    for number in 0..3000 {
        raw.send(
            format!(
                "HSET hash {number} value\r\nSADD set m{number}\r\nZADD zset {number} m{number}\r\nRPUSH list e{number}\r\n\
                 XADD stream {}-1 f v\r\n",
                number + 1
            )
            .as_bytes(),
        );
        (0..5).for_each(|_| drop(raw.read()));
    }
    raw.line("XGROUP CREATE stream group 0");
    raw.line("XREADGROUP GROUP group alice COUNT 1500 STREAMS stream >");
    raw.line("HPEXPIREAT hash 9999999999999 FIELDS 1 7");
    raw.line("SELECT 3");
    raw.line("SET other x");
    raw.line("HSET hash f v");
    raw.line("SELECT 0");
}

/// Changes of all that [`fill`] has made, until it is told to end.
fn rage(raw: &mut Raw, seed: u64, is_over: &AtomicBool) {
    let mut rng = Rng::new(seed);
    while !is_over.load(Ordering::Relaxed) {
        let number = rng.below(20_000);
        let small = rng.below(3000);
        let line = match rng.below(24) {
            0..4 => format!("SET key:{number} {}", rng.next_u64()),
            4 => format!("DEL key:{number}"),
            5 => format!("APPEND key:{number} more"),
            6 => format!("RENAME key:{number} renamed:{}", rng.below(50)),
            7 => format!("PEXPIRE key:{number} {}", rng.below(20)),
            8 => format!("HSET hash {small} other"),
            9 => format!("HDEL hash {small}"),
            10 => format!("SREM set m{small}"),
            11 => format!("ZADD zset 7 m{small}"),
            12 => "LPOP list".to_owned(),
            13 => "XADD stream * f v".to_owned(),
            14 => format!("XDEL stream {small}-1"),
            15 => "XACK stream group 5-1".to_owned(),
            16 => format!("COPY hash copy:{}", rng.below(5)),
            17 if rng.below(40) == 0 => "DEL hash".to_owned(),
            18 if rng.below(40) == 0 => "SET set a_string".to_owned(),
            19 if rng.below(200) == 0 => "SWAPDB 0 3".to_owned(),
            20 if rng.below(100) == 0 => "FLUSHDB ASYNC".to_owned(),
            21 if rng.below(4) == 0 => {
                format!("EVAL redis.call('HSET','hash',ARGV[1],1) 0 {small}")
            }
            21 => format!("EVAL redis.call('HSET',KEYS[1],ARGV[1],1) 1 hash {small}"),
            22 => format!("MOVE key:{number} 3"),
            _ => format!("HSET new:{} f v", rng.below(100_000)),
        };
        raw.line(&line);
    }
}

#[test]
fn the_file_holds_what_was_there_at_the_beginning() {
    for round in 0..4 {
        let server = Server::with(&FORKLESS);
        let mut raw = server.raw();
        fill(&mut raw);
        // Nobody else is there between the two.
        let digest = text(raw.line("DEBUG DIGEST"));
        assert_eq!(text(raw.line("BGSAVE")), "Background saving started");
        let is_over = AtomicBool::new(false);
        let during = std::thread::scope(|scope| {
            for number in 0..3 {
                let (server, is_over) = (&server, &is_over);
                scope.spawn(move || rage(&mut server.raw(), 10 * round + number, is_over));
            }
            let mut during = 0;
            wait_for("the end of the save", || {
                let page = text(raw.line("INFO persistence"));
                during += usize::from(page.contains("rdb_bgsave_in_progress:1"));
                page.contains("rdb_saves:1") || page.contains("rdb_last_bgsave_status:err")
            });
            is_over.store(true, Ordering::Relaxed);
            during
        });
        assert!(during > 0, "it was over before anybody wrote");
        assert_eq!(info(&mut raw, "rdb_last_bgsave_status"), "ok");
        assert_eq!(info(&mut raw, "rdb_last_bgsave_type"), "forkless");
        // It is the file of a Redis, too.
        if let Some(redis) = Redis::start(server.dir.path(), &[]) {
            let loaded = text(redis.raw().line("DEBUG DIGEST"));
            assert_eq!(loaded, digest, "round {round} in Redis");
        }
        // It is loaded in the place of what is there now.
        assert_eq!(text(raw.line("DEBUG RELOAD NOSAVE")), "OK");
        assert_eq!(text(raw.line("DEBUG DIGEST")), digest, "round {round}");
    }
}

/// Slow enough that it is under way when something happens.
fn begin_slow_save(server: &Server) -> Raw {
    let mut raw = server.raw();
    raw.line("DEBUG POPULATE 2000 key 40");
    assert_eq!(text(raw.line("SAVE")), "OK");
    raw.line("SET later x");
    raw.line("CONFIG SET rdb-key-save-delay 100000");
    assert_eq!(text(raw.line("BGSAVE")), "Background saving started");
    assert!(is_saving(&mut raw));
    raw
}

/// With a single key it was over at once, however long it was to rest behind each: a child rests behind its last one, too.
#[test]
fn a_save_rests_behind_its_last_key() {
    let server = Server::with(&FORKLESS);
    let mut raw = server.raw();
    raw.line("SET a 1");
    raw.line("CONFIG SET rdb-key-save-delay 100000000");
    raw.line("BGSAVE");
    wait_for("the key", || {
        info(&mut raw, "current_save_keys_processed") == "1"
    });
    (0..20).for_each(|_| drop(raw.line("PING")));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(is_saving(&mut raw));
    assert!(!files(&server).contains(&"dump.rdb".to_owned()));
    raw.line("BGSAVE CANCEL");
    raw.line("CONFIG SET rdb-key-save-delay 1000");
    raw.line("BGSAVE");
    wait_for("the end of the save", || !is_saving(&mut raw));
    assert_eq!(info(&mut raw, "rdb_last_bgsave_status"), "ok");
}

/// Who gives up a save, and one that waits, leaves nothing of it and may save anew.
#[test]
fn a_save_is_cancelled_by_whomever_it_is_done() {
    for method in ["fork", "forkless"] {
        let mut directives = FORKLESS.to_vec();
        directives[1] = method;
        let server = Server::with(&directives);
        let mut raw = server.raw();
        let none = b"ERR Background saving is currently not in progress or scheduled";
        assert_eq!(raw.line("BGSAVE CANCEL"), Value::Error(none.to_vec()));
        assert_eq!(
            raw.line("BGSAVE CANCEL SCHEDULE"),
            Value::Error(b"ERR syntax error".to_vec())
        );
        drop(begin_slow_save(&server));
        assert_eq!(info(&mut raw, "rdb_current_bgsave_type"), method);
        wait_for("its file", || files(&server).len() == 2);
        assert_eq!(
            text(raw.line("BGSAVE CANCEL")),
            "Background saving cancelled"
        );
        assert!(!is_saving(&mut raw));
        assert_eq!(info(&mut raw, "rdb_last_bgsave_status"), "ok");
        assert_eq!(info(&mut raw, "rdb_last_bgsave_type"), method);
        wait_for("the removal of its file", || files(&server) == ["dump.rdb"]);
        // One that waits for another.
        raw.line("BGREWRITEAOF");
        assert_eq!(
            text(raw.line("BGSAVE SCHEDULE")),
            "Background saving scheduled"
        );
        assert_eq!(
            text(raw.line("BGSAVE CANCEL")),
            "Scheduled background saving cancelled"
        );
        assert_eq!(raw.line("BGSAVE CANCEL"), Value::Error(none.to_vec()));
        assert_eq!(info(&mut raw, "aof_rewrite_in_progress"), "1");
        raw.send(b"SHUTDOWN NOSAVE\r\n");
    }
}

/// All tell of the same save, and what they tell grows.
#[test]
fn how_far_a_save_is_is_told() {
    let server = Server::with(&FORKLESS);
    let mut raw = begin_slow_save(&server);
    raw.line("CONFIG SET rdb-key-save-delay 3000");
    wait_for("some keys", || {
        let done = info(&mut raw, "current_save_keys_processed");
        done.parse::<u64>().is_ok_and(|done| done > 10)
    });
    assert_eq!(info(&mut raw, "current_save_keys_total"), "2001");
    let percent = info(&mut raw, "current_fork_perc");
    let percent: f64 = percent.parse().expect("a figure");
    assert!(percent > 0.0 && percent < 100.0, "{percent}");
    for field in [
        "current_save_seconds_left",
        "forkless_estimated_seconds_remaining",
    ] {
        assert_ne!(info(&mut raw, field), "-1");
    }
    assert_eq!(info(&mut raw, "rdb_current_bgsave_type"), "forkless");
    let Value::Array(stats) = raw.line("LOOP STATS") else {
        panic!("not a list")
    };
    let save = stats.iter().position(|it| text(it.clone()) == "save");
    let save = format!("{:?}", stats[save.expect("a field") + 1]);
    assert!(save.contains("Integer(2001)"), "{save}");
    // What is overwritten before its turn is kept.
    let before: u64 = info(&mut raw, "current_cow_size").parse().expect("bytes");
    for number in 1900..2000 {
        raw.line(&format!("SET key:{number} new"));
    }
    wait_for("the bytes that are kept", || {
        let kept: u64 = info(&mut raw, "current_cow_size").parse().expect("bytes");
        kept >= before + 50 * 40
    });
    raw.line("CONFIG SET rdb-key-save-delay 0");
    wait_for("the end of the save", || !is_saving(&mut raw));
    assert_ne!(info(&mut raw, "rdb_last_cow_size"), "0");
    for (field, value) in [
        ("current_cow_size", "0"),
        ("current_fork_perc", "0.00"),
        ("current_save_keys_processed", "0"),
        ("current_save_keys_total", "0"),
        ("current_save_seconds_left", "-1"),
        ("forkless_estimated_seconds_remaining", "-1"),
        ("rdb_current_bgsave_type", "none"),
    ] {
        assert_eq!(info(&mut raw, field), value, "{field}");
    }
}

/// The helper waits for a disk that does not answer: writes go on, and the server ends when it is told to.
#[test]
fn a_disk_that_does_not_answer_keeps_nobody_up() {
    for how in ["SHUTDOWN NOSAVE", "SIGTERM"] {
        let mut server = Server::with(&FORKLESS);
        let mut raw = server.raw();
        raw.line("DEBUG POPULATE 2000 key 40");
        raw.line("CONFIG SET forkless-disk-timeout 1");
        // A pipe that nobody reads holds whoever opens it to write.
        let name = format!("temp-{}.bg.rdb", info(&mut raw, "process_id"));
        let made = std::process::Command::new("mkfifo")
            .arg(server.dir.path().join(name))
            .status();
        assert!(made.expect("mkfifo").success());
        raw.line("BGSAVE");
        wait_for("the end of the save", || !is_saving(&mut raw));
        assert_eq!(info(&mut raw, "rdb_last_bgsave_status"), "err");
        assert_eq!(text(raw.line("SET a 1")), "OK");
        // It would have to wait for the same disk.
        if how == "SIGTERM" {
            let refused = "ERR Errors trying to SHUTDOWN. Check logs.";
            let refused = Value::Error(refused.as_bytes().to_vec());
            assert_eq!(raw.line("SHUTDOWN SAVE"), refused);
            raw.line("BGSAVE");
        }
        let began = std::time::Instant::now();
        match how {
            "SIGTERM" => common::signal(server.pid(), "-TERM"),
            _ => raw.send(format!("{how}\r\n").as_bytes()),
        }
        assert_eq!(server.wait(), Some(0));
        assert!(began.elapsed().as_secs() < 30);
    }
}

fn files(server: &Server) -> Vec<String> {
    let files = std::fs::read_dir(server.dir.path()).expect("a directory");
    let name = |file: std::io::Result<std::fs::DirEntry>| {
        file.expect("a file")
            .file_name()
            .to_string_lossy()
            .into_owned()
    };
    let mut names: Vec<String> = files
        .map(name)
        .filter(|name| name.ends_with(".rdb"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_flush_of_everything_gives_the_save_up() {
    let server = Server::with(&FORKLESS);
    let mut raw = begin_slow_save(&server);
    assert_eq!(
        raw.line("BGSAVE"),
        Value::Error(b"ERR Background save already in progress".to_vec())
    );
    assert_eq!(text(raw.line("FLUSHALL")), "OK");
    assert!(!is_saving(&mut raw));
    wait_for("the removal of its file", || files(&server) == ["dump.rdb"]);
    // It is no failure.
    assert_eq!(info(&mut raw, "rdb_last_bgsave_status"), "ok");
    raw.line("CONFIG SET rdb-key-save-delay 0");
    raw.line("SET a 1");
    assert_eq!(text(raw.line("BGSAVE")), "Background saving started");
    wait_for("the end of the save", || !is_saving(&mut raw));
    assert_eq!(text(raw.line("DEBUG RELOAD NOSAVE")), "OK");
    assert_eq!(text(raw.line("GET a")), "1");
}

#[test]
fn who_is_killed_leaves_the_old_file() {
    let mut server = Server::with(&FORKLESS);
    let mut raw = begin_slow_save(&server);
    assert_eq!(
        raw.line("SAVE"),
        Value::Error(b"ERR Background save already in progress".to_vec())
    );
    drop(raw);
    wait_for("its file", || files(&server).len() == 2);
    server.kill();
    server.start_again();
    assert_eq!(files(&server), ["dump.rdb"]);
    let mut raw = server.raw();
    assert_eq!(raw.line("DBSIZE"), Value::Integer(2000));
    assert_eq!(raw.line("EXISTS later"), Value::Integer(0));
}

#[test]
fn a_shutdown_ends_the_save_and_leaves_no_file_of_it() {
    for (how, keys) in [("NOSAVE", 2000), ("SAVE", 2001)] {
        let mut server = Server::with(&FORKLESS);
        let mut raw = begin_slow_save(&server);
        raw.line("CONFIG SET rdb-key-save-delay 0");
        raw.send(format!("SHUTDOWN {how}\r\n").as_bytes());
        assert_eq!(server.wait(), Some(0));
        assert_eq!(files(&server), ["dump.rdb"], "SHUTDOWN {how}");
        server.start_again();
        assert_eq!(server.raw().line("DBSIZE"), Value::Integer(keys));
    }
}

#[test]
fn who_changes_what_is_large_waits_until_it_is_read() {
    let server = Server::with(&FORKLESS);
    let mut raw = server.raw();
    raw.line("DEBUG POPULATE 20000 key 40");
    for name in ["set", "other", "third"] {
        for number in 0..3000 {
            raw.send(format!("SADD {name} {number}\r\n").as_bytes());
        }
        (0..3000).for_each(|_| drop(raw.read()));
    }
    raw.line("CONFIG SET rdb-key-save-delay 1000");
    assert_eq!(text(raw.line("BGSAVE")), "Background saving started");
    let mut writer = server.raw();
    assert_eq!(writer.line("SADD set new"), Value::Integer(1));
    assert_eq!(info(&mut raw, "forkless_held_commands"), "1");
    assert_eq!(info(&mut raw, "forkless_hurried_values"), "0");
    // What was sent is run, though its sender has ended its side.
    let mut leaver = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    leaver
        .write_all(b"SADD third new\r\nSET left 1\r\n")
        .expect("sent");
    leaver.shutdown(Shutdown::Write).expect("half closed");
    wait_for("what was left", || {
        raw.line("EXISTS left") == Value::Integer(1)
    });
    // A program can wait for the keys that it names, and for no others.
    let written = writer.line("EVAL return(redis.call('SADD','other','new')) 0");
    assert_eq!(written, Value::Integer(1));
    assert_eq!(info(&mut raw, "forkless_held_commands"), "2");
    assert_eq!(info(&mut raw, "forkless_hurried_values"), "1");
    assert!(is_saving(&mut raw));
    raw.line("CONFIG SET rdb-key-save-delay 0");
    wait_for("the end of the save", || !is_saving(&mut raw));
    assert_eq!(text(raw.line("DEBUG RELOAD NOSAVE")), "OK");
    for name in ["set", "other", "third"] {
        assert_eq!(raw.line(&format!("SCARD {name}")), Value::Integer(3000));
    }
}

/// The new base is of one moment, and what follows it is all that came after.
#[test]
fn a_rewrite_of_the_append_only_file_loses_and_repeats_nothing() {
    for round in 0..2 {
        let mut directives = FORKLESS.to_vec();
        // In the second round the base is made of commands.
        let preamble = ["yes", "no"][round as usize];
        directives.extend(["--appendonly", "yes", "--aof-use-rdb-preamble", preamble]);
        let mut server = Server::with(&directives);
        let mut raw = server.raw();
        fill(&mut raw);
        let is_over = AtomicBool::new(false);
        let incremented = std::thread::scope(|scope| {
            for number in 0..2 {
                let (server, is_over) = (&server, &is_over);
                scope.spawn(move || rage(&mut server.raw(), 10 * round + number, is_over));
            }
            let counter = scope.spawn(|| {
                let mut raw = server.raw();
                raw.line("SELECT 5");
                let mut last = Value::Integer(0);
                while !is_over.load(Ordering::Relaxed) {
                    last = raw.line("INCR counter");
                }
                last
            });
            for rewrites in 1..4 {
                let started = text(raw.line("BGREWRITEAOF"));
                assert_eq!(started, "Background append only file rewriting started");
                wait_for("the end of the rewrite", || {
                    info(&mut raw, "aof_rewrite_in_progress") == "0"
                });
                assert_eq!(info(&mut raw, "aof_last_bgrewrite_status"), "ok");
                assert_eq!(info(&mut raw, "aof_rewrites"), rewrites.to_string());
                assert_eq!(info(&mut raw, "total_forks"), "0");
            }
            is_over.store(true, Ordering::Relaxed);
            counter.join().expect("no panic")
        });
        raw.line("SELECT 5");
        assert_eq!(
            text(raw.line("GET counter")),
            text(raw.line("GETRANGE counter 0 -1"))
        );
        let counter = raw.line("INCRBY counter 0");
        assert_eq!(counter, incremented);
        // What expires meanwhile would be another digest.
        raw.line("DEBUG SET-ACTIVE-EXPIRE 1");
        wait_for("what expires soon", || {
            let before = text(raw.line("DEBUG DIGEST"));
            std::thread::sleep(std::time::Duration::from_millis(50));
            text(raw.line("DEBUG DIGEST")) == before
        });
        let digest = text(raw.line("DEBUG DIGEST"));
        assert_eq!(text(raw.line("DEBUG LOADAOF")), "OK");
        assert_eq!(text(raw.line("DEBUG DIGEST")), digest, "round {round}");
        server.kill();
        server.start_again();
        assert_eq!(
            text(server.raw().line("DEBUG DIGEST")),
            digest,
            "round {round}"
        );
    }
}

#[test]
fn appendonly_is_switched_on_and_off_while_the_loop_saves() {
    let server = Server::with(&FORKLESS);
    let mut raw = begin_slow_save(&server);
    // The rewrite waits for the end of the save.
    assert_eq!(text(raw.line("CONFIG SET appendonly yes")), "OK");
    assert_eq!(info(&mut raw, "aof_rewrite_scheduled"), "1");
    raw.line("INCR before");
    raw.line("CONFIG SET rdb-key-save-delay 0");
    wait_for("the rewrite", || {
        info(&mut raw, "aof_rewrites") == "1" && info(&mut raw, "aof_rewrite_in_progress") == "0"
    });
    raw.line("INCR before");
    // One that is given up leaves nothing that the next one could stumble over.
    raw.line("CONFIG SET rdb-key-save-delay 100000");
    raw.line("BGREWRITEAOF");
    assert_eq!(info(&mut raw, "aof_rewrite_in_progress"), "1");
    assert_eq!(text(raw.line("CONFIG SET appendonly no")), "OK");
    assert_eq!(info(&mut raw, "aof_rewrite_in_progress"), "0");
    assert!(server.log().contains("Killing running AOF rewrite"));
    assert_eq!(text(raw.line("CONFIG SET appendonly yes")), "OK");
    raw.line("INCR before");
    raw.line("CONFIG SET rdb-key-save-delay 0");
    wait_for("the rewrite", || {
        info(&mut raw, "aof_rewrite_in_progress") == "0"
    });
    assert_eq!(info(&mut raw, "aof_last_bgrewrite_status"), "ok");
    raw.line("INCR before");
    assert_eq!(text(raw.line("DEBUG LOADAOF")), "OK");
    assert_eq!(text(raw.line("GET before")), "4");
    assert_eq!(raw.line("DBSIZE"), Value::Integer(2002));
}

/// What a save keeps is not held against `maxmemory`: to evict for it made more of it, until nothing was left.
#[test]
fn a_save_has_nothing_evicted() {
    let server = Server::with(&FORKLESS);
    let mut raw = server.raw();
    raw.line("DEBUG POPULATE 30000 key 1000");
    let used: u64 = info(&mut raw, "used_memory").parse().expect("a figure");
    raw.line("CONFIG SET maxmemory-policy allkeys-lru");
    raw.line(&format!("CONFIG SET maxmemory {}", used + 500_000));
    raw.line("CONFIG SET rdb-key-save-delay 100");
    assert_eq!(text(raw.line("BGSAVE")), "Background saving started");
    let mut rng = Rng::new(1);
    for _ in 0..3000 {
        let line = format!("SET key:{} {}", rng.below(30_000), "y".repeat(1000));
        assert_eq!(text(raw.line(&line)), "OK");
    }
    assert!(is_saving(&mut raw));
    let Value::Integer(keys) = raw.line("DBSIZE") else {
        panic!("a number")
    };
    assert!(keys > 28_000, "{keys} keys are left");
}

/// All who are held back were admitted anew, and held back again, each time that a large value had been read.
#[test]
fn who_is_held_back_is_admitted_once() {
    const CLIENTS: usize = 300;
    let server = Server::with(&FORKLESS);
    let mut raw = server.raw();
    let members: String = (0..2000).map(|member| format!(" {member}")).collect();
    for number in 0..CLIENTS {
        raw.line(&format!("SADD set{number}{members}"));
    }
    raw.line("CONFIG SET rdb-key-save-delay 10000000");
    raw.line("CLIENT PAUSE 100000 WRITE");
    let mut writers: Vec<Raw> = (0..CLIENTS).map(|_| server.raw()).collect();
    for (number, writer) in writers.iter_mut().enumerate() {
        writer.send(format!("SADD set{number} new\r\nSCARD set{number}\r\n").as_bytes());
    }
    wait_for("all of them", || {
        info(&mut raw, "blocked_clients") == CLIENTS.to_string()
    });
    assert_eq!(text(raw.line("BGSAVE")), "Background saving started");
    raw.line("CLIENT UNPAUSE");
    for writer in &mut writers {
        assert_eq!(writer.read(), Value::Integer(1));
        assert_eq!(writer.read(), Value::Integer(2001));
    }
    assert!(is_saving(&mut raw));
    let held: usize = info(&mut raw, "forkless_held_commands")
        .parse()
        .expect("a number");
    assert!(held > CLIENTS / 2 && held <= CLIENTS, "{held} times held");
    assert_eq!(info(&mut raw, "forkless_hurried_values"), "0");
    raw.line("CONFIG SET rdb-key-save-delay 0");
    wait_for("the end of the save", || !is_saving(&mut raw));
    assert_eq!(text(raw.line("DEBUG RELOAD NOSAVE")), "OK");
    for number in 0..CLIENTS {
        let members = raw.line(&format!("SCARD set{number}"));
        assert_eq!(members, Value::Integer(2000));
    }
}

/// Whoever can wait before it begins does: a transaction for all that it changes, a program for the keys that it names, a
/// command that is served because a key is ready, a group that reads.
#[test]
fn all_who_can_wait_do() {
    let server = Server::with(&FORKLESS);
    let mut raw = server.raw();
    let fields: String = (0..3000).map(|field| format!(" {field} old")).collect();
    for name in ["first", "second", "named"] {
        raw.line(&format!("HSET {name}{fields}"));
    }
    raw.line("SELECT 2");
    raw.line(&format!("HSET elsewhere{fields}"));
    raw.line("SELECT 0");
    let element = "x".repeat(5000);
    for number in 1..200 {
        raw.line(&format!("RPUSH list {element}"));
        raw.line(&format!("XADD stream {number}-1 f {element}"));
    }
    raw.line("XGROUP CREATE stream group 0");
    let mut popper = server.raw();
    popper.send(b"BLMOVE source list LEFT LEFT 0\r\n");
    wait_for("the one that waits", || {
        info(&mut raw, "blocked_clients") == "1"
    });
    let mut transaction = server.raw();
    transaction.send(
        b"MULTI\r\nHSET first 7 new\r\nSELECT 2\r\nHSET elsewhere 7 new\r\nSELECT 0\r\nHSET second 7 new\r\n",
    );
    (0..6).for_each(|_| drop(transaction.read()));
    raw.line("CONFIG SET rdb-key-save-delay 10000000");
    raw.line("CLIENT PAUSE 100000 WRITE");
    transaction.send(b"EXEC\r\n");
    let mut program = server.raw();
    program.send(b"EVAL \"return redis.call('HSET', KEYS[1], 7, 'new')\" 1 named\r\n");
    let mut group = server.raw();
    group.send(b"XREADGROUP GROUP group alice COUNT 1 STREAMS stream >\r\n");
    let mut pusher = server.raw();
    pusher.send(b"LPUSH source element\r\n");
    wait_for("all of them", || info(&mut raw, "blocked_clients") == "5");
    assert_eq!(text(raw.line("BGSAVE")), "Background saving started");
    raw.line("CLIENT UNPAUSE");
    let zero = || Value::Integer(0);
    let ok = || Value::Simple("OK".to_owned());
    let answer = Value::Array(vec![zero(), ok(), zero(), ok(), zero()]);
    assert_eq!(transaction.read(), answer);
    assert_eq!(program.read(), zero());
    assert!(matches!(group.read(), Value::Array(_)));
    assert_eq!(pusher.read(), Value::Integer(1));
    assert_eq!(text(popper.read()), "element");
    assert!(is_saving(&mut raw));
    assert_eq!(info(&mut raw, "forkless_hurried_values"), "0");
    // One of them may have found its value on its way.
    let held: usize = info(&mut raw, "forkless_held_commands")
        .parse()
        .expect("a number");
    assert!((3..=5).contains(&held), "{held} times held");
    raw.line("CONFIG SET rdb-key-save-delay 0");
    wait_for("the end of the save", || !is_saving(&mut raw));
    assert_eq!(text(raw.line("DEBUG RELOAD NOSAVE")), "OK");
    for name in ["first", "second", "named"] {
        assert_eq!(text(raw.line(&format!("HGET {name} 7"))), "old");
    }
    assert_eq!(raw.line("LLEN list"), Value::Integer(199));
    let pending = format!("{:?}", raw.line("XPENDING stream group"));
    assert!(pending.contains("Integer(0)"), "{pending}");
}

/// Writers of a large hash were held until all of it was in the file, and fields that expired stayed as long.
#[test]
fn fields_of_a_large_hash_change_while_it_is_read() {
    for format in ["BGSAVE", "BGREWRITEAOF"] {
        let mut directives = FORKLESS.to_vec();
        directives.extend(["--aof-use-rdb-preamble", "no", "--appendonly", "yes"]);
        let mut server = Server::with(&directives);
        let mut raw = server.raw();
        wait_for("the first base", || {
            info(&mut raw, "aof_rewrite_in_progress") == "0"
        });
        raw.line("DEBUG POPULATE 20000 key 40");
        let fields: String = (0..3000).map(|field| format!(" {field} old")).collect();
        raw.line(&format!("HSET hash{fields}"));
        raw.line("HPEXPIRE hash 100000000 FIELDS 3 1 2 3");
        raw.line("CONFIG SET rdb-key-save-delay 3000000");
        raw.line("DEBUG SET-ACTIVE-EXPIRE 0");
        raw.line("HPEXPIRE hash 1 FIELDS 3 5 6 7");
        assert!(text(raw.line(format)).starts_with("Background"));
        raw.line("DEBUG SET-ACTIVE-EXPIRE 1");
        wait_for("their removal", || {
            raw.line("HLEN hash") == Value::Integer(2997)
        });
        assert_eq!(raw.line("HSET hash 10 new 1 new"), Value::Integer(0));
        assert_eq!(raw.line("HDEL hash 20 21 later"), Value::Integer(2));
        assert_eq!(raw.line("HSET hash later 1"), Value::Integer(1));
        raw.line("HPERSIST hash FIELDS 1 2");
        raw.line("MULTI");
        raw.line("HINCRBY hash later 2");
        assert_eq!(raw.line("EXEC"), Value::Array(vec![Value::Integer(3)]));
        let written = raw.line("EVAL return(redis.call('HSET','hash',11,'new')) 0");
        assert_eq!(written, Value::Integer(0));
        assert_ne!(raw.line("HRANDFIELD hash"), Value::NullBulk);
        assert_eq!(info(&mut raw, "forkless_held_commands"), "0");
        assert_eq!(info(&mut raw, "forkless_hurried_values"), "0");
        assert!(
            info(&mut raw, "rdb_bgsave_in_progress") != info(&mut raw, "aof_rewrite_in_progress")
        );
        let is_rewrite = format == "BGREWRITEAOF";
        let now = text(raw.line("DEBUG DIGEST"));
        raw.line("CONFIG SET rdb-key-save-delay 0");
        wait_for("the end", || {
            info(&mut raw, "rdb_bgsave_in_progress") == "0"
                && info(&mut raw, "aof_rewrite_in_progress") == "0"
        });
        assert_eq!(info(&mut raw, "rdb_last_bgsave_status"), "ok");
        if is_rewrite {
            server.kill();
            server.start_again();
            assert_eq!(text(server.raw().line("DEBUG DIGEST")), now);
            continue;
        }
        raw.line("CONFIG SET appendonly no");
        assert_eq!(text(raw.line("DEBUG RELOAD NOSAVE")), "OK");
        assert_eq!(raw.line("HEXISTS hash later"), Value::Integer(0));
        for field in [1, 2, 10, 11, 20, 21, 2999] {
            assert_eq!(text(raw.line(&format!("HGET hash {field}"))), "old");
        }
        let times = format!("{:?}", raw.line("HTTL hash FIELDS 4 1 2 3 10"));
        assert_eq!(times.matches("Integer(-1)").count(), 1, "{times}");
    }
}

/// Nor is a database that was flushed, and is kept until it is read.
#[test]
fn a_flushed_database_that_a_save_keeps_has_nothing_evicted() {
    let server = Server::with(&FORKLESS);
    let mut raw = server.raw();
    raw.line("SELECT 1");
    raw.line("DEBUG POPULATE 30000 key 1000");
    raw.line("SELECT 0");
    raw.line("DEBUG POPULATE 1000 key 1000");
    let used: u64 = info(&mut raw, "used_memory").parse().expect("a figure");
    raw.line("CONFIG SET maxmemory-policy allkeys-lru");
    raw.line(&format!("CONFIG SET maxmemory {}", used + 500_000));
    raw.line("CONFIG SET rdb-key-save-delay 10000");
    assert_eq!(text(raw.line("BGSAVE")), "Background saving started");
    raw.line("SELECT 1");
    raw.line("FLUSHDB ASYNC");
    raw.line("SELECT 0");
    for number in 0..3000 {
        let line = format!("SET new:{number} {}", "y".repeat(1000));
        assert_eq!(text(raw.line(&line)), "OK");
    }
    assert!(is_saving(&mut raw));
    assert_eq!(raw.line("DBSIZE"), Value::Integer(4000));
}

/// What takes long because of a save says so.
#[test]
fn a_value_that_is_read_at_once_is_told() {
    let server = Server::with(&FORKLESS);
    let mut raw = server.raw();
    raw.line("DEBUG POPULATE 20000 key 40");
    for hundred in 0..100 {
        let members: String = (0..3000)
            .map(|member| format!(" {hundred}:{member}"))
            .collect();
        raw.line(&format!("SADD set{members}"));
    }
    raw.line("CONFIG SET latency-monitor-threshold 1");
    raw.line("CONFIG SET rdb-key-save-delay 10000000");
    assert_eq!(text(raw.line("BGSAVE")), "Background saving started");
    raw.line("EVAL redis.call('SADD','set','new') 0");
    let events = format!("{:?}", raw.line("LATENCY LATEST"));
    let name = format!("{:?}", Value::Bulk(b"save-hurry".to_vec()));
    assert!(events.contains(&name), "{events}");
    assert_eq!(info(&mut raw, "forkless_hurried_values"), "1");
    let Value::Array(stats) = raw.line("LOOP STATS") else {
        panic!("a map")
    };
    let stats = format!("{stats:?}");
    let hurried = format!(
        "{:?}, {:?}",
        Value::Bulk(b"hurried-values".to_vec()),
        Value::Integer(1)
    );
    assert!(stats.contains(&hurried), "{stats}");
}

/// Elements are read in parts that the helper puts together; what it has of one that is longer than all that may wait for it is
/// no reason not to read the rest.
#[test]
fn elements_that_are_longer_than_what_may_wait_are_saved() {
    for compresses in ["yes", "no"] {
        let server = Server::with(&FORKLESS);
        let mut raw = server.raw();
        raw.line(&format!("CONFIG SET rdbcompression {compresses}"));
        let long: Vec<u8> = (0..9_000_000u32).map(|it| (it / 5) as u8).collect();
        let words = |words: [&'static str; 3]| words.map(|word| word.as_bytes().to_vec());
        for command in [
            words(["RPUSH", "list", ""]),
            words(["HSET", "hash", "field"]),
            words(["SADD", "set", ""]),
            words(["ZADD", "sorted", "1"]),
        ] {
            let mut command: Vec<Vec<u8>> =
                command.into_iter().filter(|it| !it.is_empty()).collect();
            command.push(long.clone());
            raw.command(&command);
            assert_eq!(raw.read(), Value::Integer(1));
        }
        raw.command(&[&b"XADD"[..], b"stream", b"1-1", b"field", &long]);
        assert_eq!(text(raw.read()), "1-1");
        let digest = text(raw.line("DEBUG DIGEST"));
        assert_eq!(text(raw.line("BGSAVE")), "Background saving started");
        wait_for("the end of the save", || !is_saving(&mut raw));
        assert_eq!(text(raw.line("DEBUG RELOAD NOSAVE")), "OK");
        assert_eq!(text(raw.line("DEBUG DIGEST")), digest);
    }
}

/// A copy of a string of any length was counted, but nobody was told how long it took.
#[test]
fn a_long_string_that_is_copied_is_told() {
    let server = Server::with(&FORKLESS);
    let mut raw = server.raw();
    raw.line("DEBUG POPULATE 20000 key 40");
    raw.line("SETRANGE long 67108863 x");
    raw.line("CONFIG SET latency-monitor-threshold 1");
    raw.line("CONFIG SET rdb-key-save-delay 10000000");
    // In one turn: its helper has not seen the string yet, which is read now.
    let script = "return redis.call('APPEND','long','y')";
    let eval = format!("EVAL \"{script}\" 0\r\n");
    raw.send(format!("BGSAVE\r\n{eval}").as_bytes());
    assert_eq!(text(raw.read()), "Background saving started");
    assert_eq!(raw.read(), Value::Integer(67_108_865));
    let events = format!("{:?}", raw.line("LATENCY LATEST"));
    let name = format!("{:?}", Value::Bulk(b"save-hurry".to_vec()));
    assert!(events.contains(&name), "{events}");
    assert_eq!(info(&mut raw, "forkless_hurried_values"), "1");
}
