//! INFO, SLOWLOG, LATENCY, MEMORY, DEBUG and SHUTDOWN on a real server.

mod common;

use common::{Raw, Server, wait_for};
use gyre::resp::reader::Value;
use std::time::{Duration, Instant};

fn ask(raw: &mut Raw, line: &str) -> Value {
    raw.command(&line.split(' ').collect::<Vec<_>>());
    raw.read()
}

fn info(raw: &mut Raw, section: &str) -> String {
    let answer = ask(raw, &format!("INFO {section}"));
    String::from_utf8(answer.as_bytes().expect("a text").to_vec()).expect("UTF-8")
}

fn field(info: &str, name: &str) -> String {
    let line = info
        .split("\r\n")
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {info}"))
        .to_owned()
}

fn ended(server: &mut Server) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.is_running() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    !server.is_running()
}

#[test]
fn info_tells_of_this_process() {
    let server = Server::start();
    let mut raw = server.raw();
    let section = info(&mut raw, "server");
    assert_eq!(field(&section, "process_id"), server.pid().to_string());
    assert_eq!(field(&section, "tcp_port"), server.port.to_string());
    assert_eq!(field(&section, "run_id").len(), 40);
    assert_eq!(
        field(&section, "listener0"),
        format!("name=tcp,bind=127.0.0.1,port={}", server.port)
    );
    let section = info(&mut raw, "replication");
    assert_eq!(field(&section, "master_replid").len(), 40);
    let before: u64 = field(&info(&mut raw, "stats"), "eventloop_cycles")
        .parse()
        .expect("a number");
    let after: u64 = field(&info(&mut raw, "stats"), "eventloop_cycles")
        .parse()
        .expect("a number");
    assert!(after > before);
    let used: u64 = field(&info(&mut raw, "memory"), "used_memory")
        .parse()
        .expect("a number");
    raw.command(&[b"SET".to_vec(), b"big".to_vec(), vec![b'x'; 8 << 20]]);
    raw.read();
    let section = info(&mut raw, "memory");
    let now: u64 = field(&section, "used_memory").parse().expect("a number");
    // Buffers of the start may have been given back meanwhile.
    assert!(now >= used + (7 << 20), "{used} → {now}");
    let peak: u64 = field(&section, "used_memory_peak")
        .parse()
        .expect("a number");
    assert!(peak >= now);
}

#[test]
fn clients_are_weighed_by_the_cron() {
    let server = Server::with(&["--hz", "100"]);
    let mut raw = server.raw();
    let deadline = Instant::now() + Duration::from_secs(20);
    while field(&info(&mut raw, "memory"), "mem_clients_normal") == "0" {
        assert!(Instant::now() < deadline, "no client was weighed");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_slow_command_is_logged_and_measured() {
    let server = Server::with(&["--slowlog-log-slower-than", "20000"]);
    let mut raw = server.raw();
    ask(&mut raw, "CLIENT SETNAME me");
    ask(&mut raw, "PING");
    assert_eq!(
        ask(&mut raw, "DEBUG SLEEP 0.05"),
        Value::Simple("OK".into())
    );
    let log = ask(&mut raw, "SLOWLOG GET");
    let entries = log.items().expect("an array");
    assert_eq!(entries.len(), 1, "{entries:?}");
    let entry = entries[0].items().expect("an array");
    let words = ["DEBUG", "SLEEP", "0.05"].map(Value::bulk).to_vec();
    assert_eq!(entry[3], Value::Array(words));
    assert_eq!(entry[5], Value::bulk("me"));
    assert!(matches!(entry[2], Value::Integer(us) if us >= 50_000));
    let section = info(&mut raw, "latencystats");
    let percentiles = field(&section, "latency_percentiles_usec_debug");
    let median = percentiles
        .strip_prefix("p50=")
        .and_then(|rest| rest.split(',').next());
    let median: f64 = median.expect("the median").parse().expect("a number");
    assert!((50_000.0..5_000_000.0).contains(&median), "{percentiles}");
    let longest: u64 = field(&info(&mut raw, "gyre"), "loop_longest_turn_usec")
        .parse()
        .expect("a number");
    assert!(longest >= 50_000);
    ask(&mut raw, "CONFIG RESETSTAT");
    assert!(!info(&mut raw, "latencystats").contains("usec_debug"));
}

#[test]
fn a_paused_cron_expires_nothing_and_goes_on_later() {
    let server = Server::with(&["--hz", "100"]);
    let mut raw = server.raw();
    ask(&mut raw, "DEBUG PAUSE-CRON 1");
    ask(&mut raw, "SET k v PX 1");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ask(&mut raw, "DBSIZE"), Value::Integer(1));
    ask(&mut raw, "DEBUG SET-ACTIVE-EXPIRE 0");
    ask(&mut raw, "DEBUG PAUSE-CRON 0");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ask(&mut raw, "DBSIZE"), Value::Integer(1));
    ask(&mut raw, "DEBUG SET-ACTIVE-EXPIRE 1");
    let deadline = Instant::now() + Duration::from_secs(20);
    while ask(&mut raw, "DBSIZE") != Value::Integer(0) {
        assert!(Instant::now() < deadline, "the key never expired");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn crashes_on_request_leave_a_report() {
    for (command, sign) in [
        ("DEBUG SEGFAULT", "crashed by signal"),
        ("DEBUG PANIC", "DEBUG PANIC called at Unix time"),
        ("DEBUG ASSERT", "ASSERTION FAILED"),
    ] {
        let mut server = Server::start();
        let mut raw = server.raw();
        raw.command(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(raw.try_read(), None, "{command}");
        assert!(ended(&mut server), "{command}");
        let log = server.log();
        assert!(log.contains("BUG REPORT START"), "{command}: {log}");
        assert!(log.contains(sign), "{command}: {log}");
    }
}

#[test]
fn shutdown_closes_without_an_answer_and_ends() {
    let mut server = Server::start();
    let mut raw = server.raw();
    // Nothing can be renamed over a directory.
    std::fs::create_dir(server.dir.path().join("dump.rdb")).expect("a directory in the way");
    let refused = Value::Error(b"ERR Errors trying to SHUTDOWN. Check logs.".to_vec());
    assert_eq!(ask(&mut raw, "SHUTDOWN SAVE"), refused);
    assert_eq!(ask(&mut raw, "PING"), Value::Simple("PONG".into()));
    raw.command(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(raw.try_read(), None);
    assert!(ended(&mut server));
    assert!(server.log().contains("bye bye"), "{}", server.log());
}

#[test]
fn memory_and_small_commands_answer() {
    let server = Server::start();
    let mut raw = server.raw();
    assert_eq!(ask(&mut raw, "MEMORY PURGE"), Value::Simple("OK".into()));
    let text = ask(&mut raw, "MEMORY MALLOC-STATS");
    assert!(text.as_bytes().is_some_and(|text| text.len() > 1000));
    assert!(
        ask(&mut raw, "MEMORY DOCTOR")
            .as_bytes()
            .is_some_and(|text| text.starts_with(b"This instance is empty"))
    );
    for container in ["MEMORY", "SLOWLOG", "LATENCY", "DEBUG"] {
        let help = ask(&mut raw, &format!("{container} HELP"));
        let head = format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
        assert_eq!(
            help.items().map(|lines| lines[0].clone()),
            Some(Value::Simple(head))
        );
    }
    assert!(
        matches!(ask(&mut raw, "LATENCY HISTOGRAM memory|purge"), Value::Array(items) if items.len() == 2)
    );
    assert!(matches!(ask(&mut raw, "LATENCY DOCTOR"), Value::Bulk(_)));
    assert_eq!(
        ask(&mut raw, "LATENCY HISTORY command"),
        Value::Array(vec![])
    );
    assert!(matches!(ask(&mut raw, "LOLWUT"), Value::Bulk(_)));
    assert!(matches!(ask(&mut raw, "LASTSAVE"), Value::Integer(at) if at > 1_000_000_000));
    assert!(matches!(ask(&mut raw, "TIME"), Value::Array(parts) if parts.len() == 2));
    assert!(matches!(ask(&mut raw, "ROLE"), Value::Array(parts) if parts.len() == 3));
}

/// The thread that frees at the lowest priority gets next to no time where others keep the processors busy, and the client
/// of a FLUSHALL waited for it.
#[test]
fn what_a_client_waits_for_is_freed_at_the_usual_priority() {
    let server = Server::with(&["--enable-debug-command", "local"]);
    let mut raw = server.raw();
    raw.line("DEBUG POPULATE 1000");
    raw.line("FLUSHALL ASYNC");
    raw.line("DEBUG POPULATE 1000");
    assert_eq!(raw.line("FLUSHALL SYNC"), Value::Simple("OK".into()));
    let nice = |name: &str| -> Option<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid()));
        tasks.expect("its threads").flatten().find_map(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
            let (head, rest) = stat.rsplit_once(") ")?;
            let (_, known) = head.split_once('(')?;
            // Field 19 of the line; the first of the rest is the third.
            (known == name).then(|| rest.split(' ').nth(16).map(str::to_owned))?
        })
    };
    wait_for("the thread to yield", || {
        nice("gyre-free").as_deref() == Some("19")
    });
    let own = std::fs::read_to_string("/proc/self/stat").expect("ours");
    let (_, rest) = own.rsplit_once(") ").expect("a name");
    assert_eq!(nice("gyre-flush").as_deref(), rest.split(' ').nth(16));
}

/// FLUSHALL and FLUSHDB have the client wait for the thread that frees; nobody else does.
#[test]
fn a_flush_has_only_its_own_client_wait() {
    const KEYS: u32 = 200_000;
    let server = Server::with(&["--enable-debug-command", "yes"]);
    let (mut flusher, mut other) = (server.raw(), server.raw());
    let freed = |raw: &mut Raw| field(&info(raw, "memory"), "lazyfreed_objects");
    let Value::Integer(id) = ask(&mut flusher, "CLIENT ID") else {
        panic!("no id");
    };
    for flush in ["FLUSHALL", "FLUSHDB SYNC"] {
        ask(&mut other, "CONFIG RESETSTAT");
        ask(&mut other, &format!("DEBUG POPULATE {KEYS}"));
        flusher.send(format!("{flush}\r\nPING\r\n").as_bytes());
        let deadline = Instant::now() + Duration::from_secs(20);
        while ask(&mut other, "DBSIZE") != Value::Integer(0) {
            assert!(Instant::now() < deadline, "{flush} does not begin");
        }
        // It would read OK for what is not done yet.
        let unblocked = ask(&mut other, &format!("CLIENT UNBLOCK {id}"));
        assert_eq!(unblocked, Value::Integer(0), "{flush}");
        assert_eq!(flusher.read(), Value::Simple("OK".into()), "{flush}");
        assert_eq!(flusher.read(), Value::Simple("PONG".into()), "{flush}");
        assert_eq!(freed(&mut other), KEYS.to_string(), "{flush}");
        assert_eq!(
            field(&info(&mut other, "memory"), "lazyfree_pending_objects"),
            "0"
        );
        let calls = info(&mut other, "commandstats");
        assert!(calls.contains("calls=1,"), "{calls}");
    }
    assert_eq!(field(&info(&mut other, "clients"), "blocked_clients"), "0");
    // Where nobody can wait, and where nothing is there.
    ask(&mut other, "CONFIG RESETSTAT");
    for line in ["SET a 1", "MULTI", "FLUSHALL", "EXEC", "FLUSHALL"] {
        ask(&mut flusher, line);
    }
    ask(&mut flusher, "SET a 1");
    let script = ["EVAL", "return redis.call('FLUSHALL')", "0"];
    flusher.command(&script);
    assert_eq!(flusher.read(), Value::Simple("OK".into()));
    assert_eq!(freed(&mut other), "0");
    // A client that goes meanwhile leaves nothing behind.
    ask(&mut other, &format!("DEBUG POPULATE {KEYS}"));
    flusher.send(b"FLUSHALL\r\n");
    drop(flusher);
    let deadline = Instant::now() + Duration::from_secs(20);
    while freed(&mut other) != KEYS.to_string()
        || field(&info(&mut other, "clients"), "blocked_clients") != "0"
    {
        assert!(Instant::now() < deadline, "it is not freed");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client of WAIT or WAITAOF waits, is answered in its time, and can be let go.
#[test]
fn waiting_for_replicas_ends_in_its_time() {
    let server = Server::start();
    let (mut raw, mut other) = (server.raw(), server.raw());
    let none = || Value::Array(vec![Value::Integer(0), Value::Integer(0)]);
    let begin = Instant::now();
    assert_eq!(ask(&mut raw, "WAIT 1 60"), Value::Integer(0));
    assert_eq!(ask(&mut raw, "WAITAOF 0 1 60"), none());
    assert!(begin.elapsed() >= Duration::from_millis(120));
    let id = ask(&mut raw, "CLIENT ID");
    let Value::Integer(id) = id else {
        panic!("an id")
    };
    for (line, mode, answer) in [
        ("WAIT 1 0", "TIMEOUT", Value::Integer(0)),
        ("WAITAOF 0 1 0", "TIMEOUT", none()),
        (
            "WAITAOF 0 1 0",
            "ERROR",
            Value::Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK".to_vec()),
        ),
    ] {
        raw.command(&line.split(' ').collect::<Vec<_>>());
        let unblock = format!("CLIENT UNBLOCK {id} {mode}");
        wait_for("the wait", || {
            ask(&mut other, &unblock) != Value::Integer(0)
        });
        assert_eq!(raw.read(), answer, "{line} {mode}");
    }
    // In scripts and transactions nobody waits.
    assert_eq!(
        raw.run(&["EVAL", "return redis.call('WAIT', 1, 0)", "0"]),
        Value::Integer(0)
    );
}

/// WAITAOF answers when what the client wrote is on the disk, whatever the policy, and when the file goes away.
#[test]
fn waiting_for_the_disk_ends_when_it_is_there() {
    let server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut raw = server.raw();
    let local = Value::Array(vec![Value::Integer(1), Value::Integer(0)]);
    assert_eq!(ask(&mut raw, "WAITAOF 1 0 0"), local, "nothing written yet");
    ask(&mut raw, "SET k 1");
    assert_eq!(ask(&mut raw, "WAITAOF 1 0 0"), local);
    ask(&mut raw, "CONFIG SET appendfsync everysec");
    ask(&mut raw, "SET k 2");
    assert_eq!(ask(&mut raw, "WAITAOF 1 0 0"), local, "at the next sync");
    ask(&mut raw, "CONFIG SET appendfsync no");
    ask(&mut raw, "SET k 3");
    let none = Value::Array(vec![Value::Integer(0), Value::Integer(0)]);
    assert_eq!(ask(&mut raw, "WAITAOF 1 0 20"), none);
    raw.command(&["WAITAOF", "1", "0", "0"]);
    let mut other = server.raw();
    wait_for("the wait", || {
        field(&info(&mut other, "clients"), "blocked_clients") == "1"
    });
    ask(&mut other, "CONFIG SET appendonly no");
    assert_eq!(
        raw.read(),
        Value::Error(
            b"ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.".to_vec()
        )
    );
    // A file that is being made anew holds what was written before and during its making.
    ask(&mut raw, "SET k 4");
    ask(&mut other, "CONFIG SET appendfsync everysec");
    ask(&mut other, "CONFIG SET appendonly yes");
    ask(&mut raw, "SET k 5");
    assert_eq!(ask(&mut raw, "WAITAOF 1 0 0"), local);
}

/// While DEBUG LOADAOF was loading, those who waited read that the append-only file is off.
#[test]
fn waiting_for_the_disk_goes_on_while_the_file_is_loaded_anew() {
    let server = Server::with(&["--appendonly", "yes", "--appendfsync", "no"]);
    let mut other = server.raw();
    ask(&mut other, "DEBUG POPULATE 3000");
    ask(&mut other, "BGREWRITEAOF");
    wait_for("the rewrite", || {
        field(&info(&mut other, "persistence"), "aof_rewrite_in_progress") == "0"
    });
    let mut raw = server.raw();
    ask(&mut raw, "SET k 1");
    raw.command(&["WAITAOF", "1", "0", "0"]);
    wait_for("the wait", || {
        field(&info(&mut other, "clients"), "blocked_clients") == "1"
    });
    ask(&mut other, "CONFIG SET key-load-delay 500");
    let mut third = server.raw();
    third.send(b"DEBUG LOADAOF\r\n");
    wait_for("loading", || {
        let page = info(&mut other, "persistence");
        assert_eq!(field(&page, "aof_enabled"), "1");
        field(&page, "loading") == "1"
    });
    ask(&mut other, "CONFIG SET key-load-delay 0");
    assert_eq!(third.read(), Value::Simple("OK".into()));
    ask(&mut other, "CONFIG SET appendfsync everysec");
    let local = Value::Array(vec![Value::Integer(1), Value::Integer(0)]);
    ask(&mut other, "SET k 2");
    assert_eq!(raw.read(), local);
}

#[test]
fn modules_are_refused_even_where_loading_is_allowed() {
    let server = Server::with(&["--enable-module-command", "yes"]);
    let mut raw = server.raw();
    let error = |text: &str| Value::Error(text.as_bytes().to_vec());
    let failed = error("ERR Error loading the extension. Please check the server logs.");
    assert_eq!(ask(&mut raw, "MODULE LOAD x"), failed);
    assert_eq!(ask(&mut raw, "MODULE LOADEX x"), failed);
    assert_eq!(
        ask(&mut raw, "MODULE UNLOAD x"),
        error("ERR Error unloading module: no such module with that name")
    );
    assert_eq!(ask(&mut raw, "MODULE LIST"), Value::Array(Vec::new()));
}

/// The allocator's caches grow while keys go: counted as used, every key would go and then all writes be refused.
#[test]
fn little_room_is_kept_to_and_not_emptied() {
    let server = Server::start();
    let mut raw = server.raw();
    let used = |raw: &mut Raw| -> u64 {
        let memory = info(raw, "memory");
        field(&memory, "used_memory").parse().expect("a number")
    };
    for n in 0..5000 {
        raw.run(&["SET", &format!("before:{n}"), &"x".repeat(n % 400)]);
    }
    ask(&mut raw, "FLUSHALL");
    let limit = used(&mut raw) + 100 * 1024;
    ask(&mut raw, "CONFIG SET maxmemory-policy allkeys-lru");
    ask(&mut raw, &format!("CONFIG SET maxmemory {limit}"));
    for n in 0..20_000 {
        let answer = raw.run(&["SET", &format!("key:{n}"), &"x".repeat(n % 400)]);
        assert_eq!(answer, Value::Simple("OK".into()), "write {n}");
    }
    let Value::Integer(left) = ask(&mut raw, "DBSIZE") else {
        panic!("a number")
    };
    assert!(left > 50, "{left} keys are left");
    assert!(used(&mut raw) <= limit + 4096);
}

#[test]
fn figures_of_8_0_are_told() {
    let server = Server::with(&["--requirepass", "secret"]);
    let mut raw = server.raw();
    raw.run(&["AUTH", "wrong"]);
    raw.run(&["AUTH", "secret"]);
    raw.run(&["PING"]);
    let stats = info(&mut raw, "stats");
    assert_eq!(field(&stats, "acl_access_denied_auth"), "1");
    assert_eq!(field(&stats, "acl_access_denied_cmd"), "0");
    // As in Redis, this is kept when others are reset.
    raw.run(&["CONFIG", "RESETSTAT"]);
    let stats = info(&mut raw, "stats");
    assert_eq!(field(&stats, "acl_access_denied_auth"), "1");
    let threads = info(&mut raw, "threads");
    assert!(field(&threads, "io_thread_0").starts_with("clients=1,reads="));
    // The periodic work of some turn has taken a microsecond.
    let deadline = Instant::now() + Duration::from_secs(20);
    let debug = loop {
        let debug = info(&mut raw, "debug");
        if field(&debug, "eventloop_duration_cron_sum") != "0" {
            break debug;
        }
        assert!(Instant::now() < deadline, "{debug}");
    };
    assert_ne!(field(&debug, "eventloop_cmd_per_cycle_max"), "0");
    let line = ask(&mut raw, "CLIENT LIST");
    let line = String::from_utf8_lossy(line.as_bytes().expect("a text")).into_owned();
    assert!(line.contains(" multi=-1 watch=0 qbuf="), "{line}");
    assert!(line.contains(" lib-ver= io-thread=0 tot-net-in="), "{line}");
}
