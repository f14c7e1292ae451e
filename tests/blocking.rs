//! Clients that wait for keys: who is served, in which order, and how waiting ends.

mod common;

use common::{Raw, Server, wait_for};
use gyre::resp::reader::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn pair(key: &str, element: &str) -> Value {
    Value::Array(vec![bulk(key), bulk(element)])
}

/// Waits until so many clients are blocked.
fn await_blocked(control: &mut Raw, count: usize) {
    let wanted = format!("\r\nblocked_clients:{count}\r\n");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let Value::Bulk(page) = control.line("INFO clients") else {
            panic!("INFO answers a bulk")
        };
        if String::from_utf8_lossy(&page).contains(&wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "never {count} blocked clients");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Connections that wait, one after the other, each with its own command.
fn waiters(server: &Server, control: &mut Raw, commands: &[&str]) -> Vec<Raw> {
    let mut all = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        let mut raw = server.raw();
        raw.send(format!("{command}\r\n").as_bytes());
        await_blocked(control, index + 1);
        all.push(raw);
    }
    all
}

#[test]
fn who_waited_first_is_served_first() {
    let server = Server::start();
    let mut control = server.raw();
    let mut waiting = waiters(
        &server,
        &mut control,
        &["BLPOP k 0", "BRPOP k 0", "BLPOP other k 0"],
    );
    assert_eq!(control.line("RPUSH k a b c d"), Value::Integer(4));
    assert_eq!(waiting[0].read(), pair("k", "a"));
    assert_eq!(waiting[1].read(), pair("k", "d"));
    assert_eq!(waiting[2].read(), pair("k", "b"));
    assert_eq!(control.line("LRANGE k 0 -1"), Value::Array(vec![bulk("c")]));
    await_blocked(&mut control, 0);
}

#[test]
fn a_served_client_makes_the_next_key_ready() {
    let server = Server::start();
    let mut control = server.raw();
    let mut waiting = waiters(
        &server,
        &mut control,
        &["BLMOVE a b LEFT RIGHT 0", "BRPOPLPUSH b c 0", "BLPOP c 0"],
    );
    control.line("LPUSH a x");
    assert_eq!(waiting[0].read(), bulk("x"));
    assert_eq!(waiting[1].read(), bulk("x"));
    assert_eq!(waiting[2].read(), pair("c", "x"));
    assert_eq!(control.line("EXISTS a b c"), Value::Integer(0));
}

#[test]
fn a_key_of_another_type_wakes_nobody_who_cannot_use_it() {
    let server = Server::start();
    let mut control = server.raw();
    let mut waiting = waiters(&server, &mut control, &["BLPOP k 0", "BZPOPMIN k 0"]);
    control.line("SET k x");
    control.line("DEL k");
    control.line("ZADD k 1 m");
    assert_eq!(
        waiting[1].read(),
        Value::Array(vec![bulk("k"), bulk("m"), bulk("1")])
    );
    await_blocked(&mut control, 1);
    control.line("RPUSH k y");
    assert_eq!(waiting[0].read(), pair("k", "y"));
}

#[test]
fn transactions_wake_only_with_what_is_left_at_their_end() {
    let server = Server::start();
    let mut control = server.raw();
    let mut waiting = waiters(&server, &mut control, &["BLPOP k 0"]);
    for command in ["MULTI", "RPUSH k a", "DEL k", "EXEC"] {
        control.line(command);
    }
    await_blocked(&mut control, 1);
    for command in ["MULTI", "RPUSH k a", "LSET k 0 b", "EXEC"] {
        control.line(command);
    }
    assert_eq!(waiting[0].read(), pair("k", "b"));
    control.line("MULTI");
    control.line("BLPOP none 0");
    assert_eq!(control.line("EXEC"), Value::Array(vec![Value::NullArray]));
}

#[test]
fn waiting_ends_with_its_time_and_the_pipeline_goes_on() {
    let server = Server::start();
    let mut raw = server.raw();
    let begin = Instant::now();
    raw.send(b"BLPOP k 0.1\r\nPING\r\nBLMOVE k l LEFT LEFT 0.01\r\nPING\r\n");
    assert_eq!(raw.read(), Value::NullArray);
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(raw.read(), Value::Simple("PONG".into()));
    assert_eq!(raw.read(), Value::NullArray);
    assert_eq!(raw.read(), Value::Simple("PONG".into()));
}

#[test]
fn client_unblock_ends_a_wait_with_null_or_an_error() {
    let server = Server::start();
    let mut control = server.raw();
    for (reason, expected) in [
        ("", Value::NullArray),
        (" TIMEOUT", Value::NullArray),
        (
            " ERROR",
            Value::Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK".to_vec()),
        ),
    ] {
        let mut raw = server.raw();
        let Value::Integer(id) = raw.line("CLIENT ID") else {
            panic!("a client has an id")
        };
        raw.send(b"BLPOP k 0\r\nPING\r\n");
        await_blocked(&mut control, 1);
        let command = format!("CLIENT UNBLOCK {id}{reason}");
        assert_eq!(control.line(&command), Value::Integer(1));
        assert_eq!(raw.read(), expected);
        assert_eq!(raw.read(), Value::Simple("PONG".into()));
        assert_eq!(control.line(&command), Value::Integer(0));
    }
}

#[test]
fn who_goes_away_waits_no_longer() {
    let server = Server::start();
    let mut control = server.raw();
    let waiting = waiters(&server, &mut control, &["BLPOP k 0", "BLPOP k 5"]);
    drop(waiting);
    await_blocked(&mut control, 0);
    assert_eq!(control.line("RPUSH k a"), Value::Integer(1));
    assert_eq!(control.line("LLEN k"), Value::Integer(1));
}

#[test]
fn a_key_that_is_renamed_moved_or_swapped_into_place_wakes() {
    let server = Server::start();
    let mut control = server.raw();
    for steps in [
        &["RPUSH src x", "RENAME src k"][..],
        &["SELECT 1", "RPUSH k x", "MOVE k 0", "SELECT 0"],
        &["SELECT 1", "RPUSH k x", "SWAPDB 0 1", "SELECT 0"],
        &["RPUSH src x", "COPY src k", "DEL src"],
    ] {
        let mut waiting = waiters(&server, &mut control, &["BLPOP k 0"]);
        for step in steps {
            control.line(step);
        }
        assert_eq!(waiting[0].read(), pair("k", "x"), "{steps:?}");
        await_blocked(&mut control, 0);
        control.line("FLUSHALL");
    }
}

#[test]
fn streams_wake_their_readers_and_tell_groups_that_go() {
    let server = Server::start();
    let mut control = server.raw();
    control.line("XADD s 1-0 f old");
    control.line("XGROUP CREATE s g $");
    control.line("XGROUP CREATE s h $");
    let mut waiting = waiters(
        &server,
        &mut control,
        &[
            "XREAD BLOCK 0 STREAMS s $",
            "XREADGROUP GROUP g a BLOCK 0 STREAMS s >",
            "XREADGROUP GROUP g b BLOCK 0 STREAMS s >",
            "XREADGROUP GROUP h c BLOCK 0 STREAMS s >",
            "XREAD BLOCK 50 STREAMS none $",
        ],
    );
    assert_eq!(waiting[4].read(), Value::NullArray, "its time is over");
    control.line("XADD s 2-0 f new");
    let entry = Value::Array(vec![
        bulk("2-0"),
        Value::Array(vec![bulk("f"), bulk("new")]),
    ]);
    let found = Value::Array(vec![Value::Array(vec![
        bulk("s"),
        Value::Array(vec![entry]),
    ])]);
    // `$` meant the last entry when it began; of one group, the one who waited first gets the entry.
    for reader in [0, 1, 3] {
        assert_eq!(waiting[reader].read(), found, "reader {reader}");
    }
    await_blocked(&mut control, 1);
    control.line("XGROUP DESTROY s g");
    let Value::Error(error) = waiting[2].read() else {
        panic!("the group is gone");
    };
    assert!(error.starts_with(b"NOGROUP"));
    let mut waiting = waiters(
        &server,
        &mut control,
        &["XREADGROUP GROUP h c BLOCK 0 STREAMS s >"],
    );
    control.line("DEL s");
    let Value::Error(error) = waiting[0].read() else {
        panic!("the key is gone");
    };
    assert!(error.starts_with(b"NOGROUP No such key 's' or consumer group 'h'"));
    // Another type in its place is told as that.
    control.line("XADD s * f v");
    control.line("XGROUP CREATE s h $");
    let mut waiting = waiters(
        &server,
        &mut control,
        &["XREADGROUP GROUP h c BLOCK 0 STREAMS s >"],
    );
    control.line("SET s string");
    let Value::Error(error) = waiting[0].read() else {
        panic!("the key is a string");
    };
    assert!(error.starts_with(b"WRONGTYPE"));
}

/// SKIP was used up when the command began to wait, and its answer came all the same.
#[test]
fn what_a_client_does_not_want_to_hear_stays_unsaid_after_waiting() {
    let server = Server::start();
    let mut control = server.raw();
    for ends_by_itself in [false, true] {
        let mut quiet = server.raw();
        let seconds = if ends_by_itself { "0.01" } else { "0" };
        quiet.send(format!("CLIENT REPLY SKIP\r\nBLPOP k {seconds}\r\n").as_bytes());
        if !ends_by_itself {
            await_blocked(&mut control, 1);
            control.line("RPUSH k a");
        }
        await_blocked(&mut control, 0);
        quiet.send(b"ECHO heard\r\n");
        assert_eq!(quiet.read(), bulk("heard"));
    }
}

/// Waits until so many connections are open, `control` among them.
fn await_connected(control: &mut Raw, count: usize) {
    let wanted = format!("\r\nconnected_clients:{count}\r\n");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let Value::Bulk(page) = control.line("INFO clients") else {
            panic!("INFO answers a bulk")
        };
        let page = String::from_utf8_lossy(&page).into_owned();
        if page.contains(&wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "never {count} clients: {page}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends and closes at once: the bytes and the end come on one edge.
fn send_and_close(server: &Server, bytes: &[u8]) {
    let stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    (&stream).write_all(bytes).expect("sent");
}

/// Each of these connections leaked, and the next element was given to a client that was long gone.
#[test]
fn who_sends_a_blocking_command_and_closes_does_not_wait() {
    let server = Server::start();
    let mut control = server.raw();
    control.line("XGROUP CREATE s g $ MKSTREAM");
    for command in [
        "BLPOP q 0",
        "BRPOP q 0",
        "BLMOVE q r LEFT LEFT 0",
        "BRPOPLPUSH q r 0",
        "BLMPOP 0 1 q LEFT",
        "BZPOPMIN q 0",
        "BZPOPMAX q 0",
        "BZMPOP 0 1 q MIN",
        "XREAD BLOCK 0 STREAMS q $",
        "XREADGROUP GROUP g c BLOCK 0 STREAMS s >",
        "WAIT 1 0",
        "WAITAOF 0 1 0",
    ] {
        for before in ["", "PING\r\nPING\r\n", &"PING\r\n".repeat(5000)] {
            send_and_close(
                &server,
                format!("{before}{command}\r\nSET q 1\r\n").as_bytes(),
            );
        }
    }
    for _ in 0..50 {
        send_and_close(&server, b"BLPOP q 0\r\n");
    }
    await_connected(&mut control, 1);
    await_blocked(&mut control, 0);
    assert_eq!(control.line("RPUSH q 1"), Value::Integer(1));
    assert_eq!(control.line("LLEN q"), Value::Integer(1));
}

/// `printf ... | nc`: the end of the sending side alone. Who is not waiting gets all answers; who waits is as good as gone
/// (to Redis as well), after the answers that it is owed.
#[test]
fn who_ends_its_sending_while_it_waits_is_let_go_with_what_it_is_owed() {
    let server = Server::start();
    let mut control = server.raw();
    for later in [false, true] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
        stream
            .write_all(b"ECHO owed\r\nBLPOP q 0\r\nECHO never\r\n")
            .expect("sent");
        if later {
            await_blocked(&mut control, 1);
        }
        stream.shutdown(Shutdown::Write).expect("half closed");
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("the end");
        assert_eq!(String::from_utf8_lossy(&got), "$4\r\nowed\r\n");
    }
    control.line("RPUSH q a");
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    stream
        .write_all(b"BLPOP q 0\r\nECHO served\r\n")
        .expect("sent");
    stream.shutdown(Shutdown::Write).expect("half closed");
    let mut got = String::new();
    stream.read_to_string(&mut got).expect("the end");
    assert_eq!(got, "*2\r\n$1\r\nq\r\n$1\r\na\r\n$6\r\nserved\r\n");
}

/// The end of a client stands behind all that it has sent, and arrives only when there is room for that.
#[test]
fn the_end_behind_more_than_the_buffers_hold_is_seen() {
    let server = Server::with(&["--client-query-buffer-limit", "32mb"]);
    let mut control = server.raw();
    let requests = "SET k 0123456789012345678901234567890123456789\r\n".repeat(200_000);
    let flood = |mut stream: TcpStream| {
        stream
            .set_write_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        stream.write_all(b"BLPOP q 0\r\n")?;
        stream.write_all(requests.as_bytes())?;
        std::io::Result::Ok(stream)
    };
    let connect = || TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    drop(flood(connect()).expect("all was read"));
    await_connected(&mut control, 1);
    assert_eq!(control.line("RPUSH q 1"), Value::Integer(1));
    assert_eq!(control.line("LLEN q"), Value::Integer(1));
    control.line("DEL q");
    // What was taken in is run when the client goes on.
    let stream = flood(connect()).expect("all was read");
    assert_eq!(control.line("EXISTS k"), Value::Integer(0));
    assert_eq!(control.line("RPUSH q 1"), Value::Integer(1));
    let mut raw = Raw::over(stream);
    assert_eq!(raw.read(), pair("q", "1"));
    for _ in 0..200_000 {
        assert_eq!(raw.read(), Value::Simple("OK".into()));
    }
    drop(raw);
    // There is a bound.
    let mut stream = flood(connect()).expect("all was read");
    for _ in 0..4 {
        if stream.write_all(requests.as_bytes()).is_err() {
            break;
        }
    }
    await_connected(&mut control, 1);
}

/// What had run counted with what waits, and a client that was within the limit was closed.
#[test]
fn what_has_run_does_not_count_against_the_limit_of_what_waits() {
    let server = Server::with(&["--client-query-buffer-limit", "1mb"]);
    let mut control = server.raw();
    let mut raw = server.raw();
    let Value::Integer(id) = raw.line("CLIENT ID") else {
        panic!("CLIENT ID answers a number")
    };
    let request = format!("SET k {:0990}\r\n", 0);
    let requests = |count| request.repeat(count).into_bytes();
    let waiting = |control: &mut Raw| -> usize {
        let Value::Bulk(line) = control.run(&["CLIENT", "LIST", "ID", &id.to_string()]) else {
            panic!("CLIENT LIST answers a bulk")
        };
        let line = String::from_utf8(line).expect("text");
        let field = |name| line.split(' ').find_map(|word| word.strip_prefix(name));
        field("qbuf=")
            .expect("the client is there")
            .parse()
            .expect("a number")
    };
    raw.send(b"BLPOP q 0\r\n");
    await_blocked(&mut control, 1);
    raw.send(&requests(400));
    raw.send(b"BLPOP q 0\r\n");
    raw.send(&requests(600));
    wait_for("the first part", || waiting(&mut control) > 998_000);
    control.line("RPUSH q 1");
    assert_eq!(raw.read(), pair("q", "1"));
    for _ in 0..400 {
        assert_eq!(raw.read(), Value::Simple("OK".into()));
    }
    wait_for("the second wait", || waiting(&mut control) < 600_000);
    raw.send(&requests(200));
    // Some are parsed already, and no longer in the buffer.
    wait_for("the second part", || waiting(&mut control) > 780_000);
    control.line("RPUSH q 2");
    assert_eq!(raw.read(), pair("q", "2"));
    for _ in 0..800 {
        assert_eq!(raw.read(), Value::Simple("OK".into()));
    }
    // There is a bound all the same.
    raw.send(b"BLPOP q 0\r\n");
    await_blocked(&mut control, 1);
    for _ in 0..12 {
        if !raw.send_unless_gone(&requests(100)) {
            break;
        }
    }
    await_connected(&mut control, 1);
}

/// Connections of clients that had long hung up piled up, and their commands ran when the pause was over.
#[test]
fn who_goes_away_during_a_pause_is_gone_and_runs_nothing() {
    let server = Server::start();
    let mut control = server.raw();
    control.line("RPUSH w a");
    control.line("CLIENT PAUSE 60000 WRITE");
    for command in ["BLPOP w 0", "LPOP w", "SET s 1", "MULTI\r\nLPOP w\r\nEXEC"] {
        for _ in 0..10 {
            send_and_close(&server, format!("{command}\r\n").as_bytes());
        }
    }
    // And one that goes when it has been held for a while.
    let mut held = server.raw();
    held.send(b"LPOP w\r\n");
    await_connected(&mut control, 2);
    drop(held);
    await_connected(&mut control, 1);
    control.line("CLIENT UNPAUSE");
    assert_eq!(control.line("LRANGE w 0 -1"), Value::Array(vec![bulk("a")]));
    assert_eq!(control.line("EXISTS s"), Value::Integer(0));
}

#[test]
fn held_commands_run_in_the_order_in_which_they_came() {
    let server = Server::start();
    let mut control = server.raw();
    let mut all: Vec<Raw> = (0..5).map(|_| server.raw()).collect();
    for raw in &mut all {
        raw.line("PING");
    }
    control.line("CLIENT PAUSE 60000 WRITE");
    let order = [3, 0, 4, 2, 1];
    for (held, index) in order.iter().enumerate() {
        all[*index].send(format!("RPUSH l {index}\r\n").as_bytes());
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let list = control.line("CLIENT LIST");
            let list = String::from_utf8_lossy(list.as_bytes().expect("text")).into_owned();
            if list.matches(" flags=b ").count() == held + 1 {
                break;
            }
            assert!(Instant::now() < deadline, "it is held: {list}");
        }
    }
    control.line("CLIENT UNPAUSE");
    for (place, index) in order.iter().enumerate() {
        assert_eq!(all[*index].read(), Value::Integer(place as i64 + 1));
    }
    let wanted = order.map(|index| bulk(&index.to_string())).to_vec();
    assert_eq!(control.line("LRANGE l 0 -1"), Value::Array(wanted));
}

/// What waits was let in when there was room; when it is woken there is none.
#[test]
fn a_command_that_is_woken_is_checked_again() {
    let server = Server::start();
    let mut control = server.raw();
    let mut waiting = waiters(
        &server,
        &mut control,
        &["BLMOVE a b LEFT LEFT 0", "BLPOP a 0"],
    );
    control.send(b"MULTI\r\nRPUSH a x y\r\nCONFIG SET maxmemory 1\r\nEXEC\r\n");
    for _ in 0..4 {
        control.read();
    }
    let Value::Error(error) = waiting[0].read() else {
        panic!("it takes memory")
    };
    assert!(error.starts_with(b"OOM"));
    assert_eq!(waiting[1].read(), pair("a", "x"), "it takes none");
    control.line("CONFIG SET maxmemory 0");
    assert_eq!(control.line("LRANGE a 0 -1"), Value::Array(vec![bulk("y")]));
    assert_eq!(control.line("EXISTS b"), Value::Integer(0));
}

/// The same for writes that are refused because snapshots fail, and for the end of it.
#[test]
fn a_command_that_is_woken_is_refused_when_snapshots_fail() {
    let server = Server::start();
    let mut control = server.raw();
    let mut waiting = waiters(&server, &mut control, &["BLPOP a 0"]);
    // Nothing can be renamed over a directory.
    std::fs::create_dir(server.dir.path().join("dump.rdb")).expect("a directory in the way");
    control.run(&["CONFIG", "SET", "save", "3600 1"]);
    control.line("BGSAVE");
    let status = |control: &mut Raw, wanted: &str| {
        let Value::Bulk(page) = control.line("INFO persistence") else {
            panic!("INFO answers a bulk")
        };
        let page = String::from_utf8_lossy(&page);
        page.contains("rdb_bgsave_in_progress:0") && page.contains(wanted)
    };
    wait_for("the failure", || {
        status(&mut control, "rdb_last_bgsave_status:err")
    });
    // A push is refused too, but for the one of a transaction that was queued before.
    control.line("CONFIG SET stop-writes-on-bgsave-error no");
    control.send(b"MULTI\r\nRPUSH a x\r\nCONFIG SET stop-writes-on-bgsave-error yes\r\nEXEC\r\n");
    for _ in 0..4 {
        control.read();
    }
    let Value::Error(error) = waiting[0].read() else {
        panic!("it writes")
    };
    assert!(error.starts_with(b"MISCONF"));
    assert_eq!(control.line("LRANGE a 0 -1"), Value::Array(vec![bulk("x")]));
}

/// And for a pause: who is woken while it lasts is held until its end, and takes nothing meanwhile.
#[test]
fn a_command_that_is_woken_is_held_by_a_pause() {
    let server = Server::start();
    let mut control = server.raw();
    let mut waiting = waiters(&server, &mut control, &["BLPOP a 0", "BLPOP a 0"]);
    control.send(b"MULTI\r\nRPUSH a x\r\nCLIENT PAUSE 60000 WRITE\r\nEXEC\r\n");
    for _ in 0..4 {
        control.read();
    }
    assert_eq!(control.line("LRANGE a 0 -1"), Value::Array(vec![bulk("x")]));
    control.line("CLIENT UNPAUSE");
    assert_eq!(waiting[0].read(), pair("a", "x"));
    assert_eq!(control.line("RPUSH a y"), Value::Integer(1));
    assert_eq!(waiting[1].read(), pair("a", "y"));
}

/// A script pushes in time, and is busy until the time of who waits is over: the element was left and nil was answered.
#[test]
fn what_a_busy_script_has_pushed_is_given_before_deadlines_are_looked_at() {
    let server = Server::with(&["--lua-time-limit", "5"]);
    let mut control = server.raw();
    let mut waiting = waiters(&server, &mut control, &["BLPOP k 0.2"]);
    let mut script = server.raw();
    let text =
        "redis.call('RPUSH', 'k', 'x') local n = 0 for i = 1, 200000000 do n = n + 1 end return n";
    script.send(
        format!(
            "*3\r\n$4\r\nEVAL\r\n${}\r\n{text}\r\n$1\r\n0\r\n",
            text.len()
        )
        .as_bytes(),
    );
    assert_eq!(waiting[0].read(), pair("k", "x"));
    assert_eq!(script.read(), Value::Integer(200_000_000));
    assert_eq!(control.line("EXISTS k"), Value::Integer(0));
}

/// It was there until the end of the turn, for whoever asked in the same pipeline or transaction.
#[test]
fn who_was_killed_counts_nowhere_from_then_on() {
    let server = Server::start();
    let mut control = server.raw();
    for in_multi in [false, true] {
        let mut doomed = server.raw();
        let Value::Integer(id) = doomed.line("CLIENT ID") else {
            panic!("an id")
        };
        doomed.send(b"SUBSCRIBE c\r\n");
        doomed.read();
        let (begin, end) = if in_multi {
            ("MULTI\r\n", "EXEC\r\n")
        } else {
            ("", "")
        };
        control.send(
            format!(
                "{begin}CLIENT KILL ID {id}\r\nPUBSUB NUMSUB c\r\nCLIENT UNBLOCK {id}\r\nCLIENT LIST ID {id}\r\nPUBLISH \
                 c m\r\nCLIENT TRACKING ON REDIRECT {id}\r\n{end}"
            )
            .as_bytes(),
        );
        let mut answers: Vec<Value> = Vec::new();
        if in_multi {
            for _ in 0..7 {
                control.read();
            }
            let Value::Array(all) = control.read() else {
                panic!("EXEC answers an array")
            };
            answers.extend(all);
        } else {
            answers.extend((0..6).map(|_| control.read()));
        }
        assert_eq!(
            answers[..5],
            [
                Value::Integer(1),
                Value::Array(vec![bulk("c"), Value::Integer(0)]),
                Value::Integer(0),
                bulk(""),
                Value::Integer(0),
            ]
        );
        assert!(matches!(&answers[5], Value::Error(_)), "{:?}", answers[5]);
    }
}

#[test]
fn a_command_that_waited_is_counted_once_and_those_of_a_script_with_their_caller() {
    let server = Server::start();
    let mut control = server.raw();
    let mut raw = server.raw();
    let commands = |raw: &mut Raw| {
        let line = raw.line("CLIENT INFO");
        let line = String::from_utf8_lossy(line.as_bytes().expect("text")).into_owned();
        let at = line.find("tot-cmds=").expect("the field") + "tot-cmds=".len();
        let digits = line[at..].chars().take_while(char::is_ascii_digit);
        digits.collect::<String>().parse::<u64>().expect("a number")
    };
    let before = commands(&mut raw);
    raw.send(b"BLPOP k 0\r\n");
    await_blocked(&mut control, 1);
    control.line("RPUSH k a");
    raw.read();
    assert_eq!(commands(&mut raw), before + 2);
    raw.send(b"EVAL \"redis.call('PING') return redis.call('PING')\" 0\r\n");
    raw.read();
    assert_eq!(commands(&mut raw), before + 6);
}
