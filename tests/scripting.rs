//! Scripts on a real server: busy ones and their end, what waits behind them, and what they cannot do.

mod common;

use common::{Raw, Server};
use gyre::resp::reader::Value;
use std::time::Duration;

const BUSY: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

fn error(text: &str) -> Value {
    Value::Error(text.as_bytes().to_vec())
}

fn text(value: &Value) -> String {
    match value {
        Value::Error(bytes) | Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

fn start() -> Server {
    Server::with(&["--busy-reply-threshold", "20"])
}

/// Waits until others read BUSY.
fn await_busy(other: &mut Raw) {
    for _ in 0..500 {
        if other.run(&["PING"]) == error(BUSY) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no script is busy");
}

#[test]
fn a_script_that_loops_for_ever_is_told_and_killed() {
    let server = start();
    let (mut caller, mut other) = (server.raw(), server.raw());
    caller.command(&["EVAL", "while true do end", "0"]);
    // What is behind it waits.
    caller.command(&["ECHO", "behind"]);
    await_busy(&mut other);
    assert_eq!(other.run(&["SHUTDOWN"]), error(BUSY));
    assert_eq!(other.run(&["SCRIPT", "KILL"]), Value::Simple("OK".into()));
    assert!(text(&caller.read()).contains("Script killed by user with SCRIPT KILL"));
    assert_eq!(caller.read(), Value::bulk("behind"));
    assert_eq!(
        other.run(&["SCRIPT", "KILL"]),
        error("NOTBUSY No scripts in execution right now.")
    );
}

#[test]
fn no_pcall_catches_the_end() {
    let server = start();
    let (mut caller, mut other) = (server.raw(), server.raw());
    let loops = "local f = function() while true do redis.call('ping') end end \
                 local busy, print = function() while true do end end, function() end";
    for script in [
        "while true do pcall(f) end",
        "while true do xpcall(f, function() return 1 end) end",
        "while true do coroutine.resume(coroutine.create(f)) end",
        "while true do load(f) end",
        // The time goes by in functions of the script, so that each look at the clock falls into them.
        "while true do xpcall(busy, function() end) end",
        "while true do xpcall(busy, error) end",
        "while true do xpcall(error, busy) end",
        "while true do coroutine.resume(coroutine.create(function() xpcall(busy, print) end)) end",
    ] {
        caller.command(&["EVAL", &format!("{loops} {script}"), "0"]);
        await_busy(&mut other);
        assert_eq!(other.run(&["SCRIPT", "KILL"]), Value::Simple("OK".into()));
        let answer = text(&caller.read());
        assert!(answer.contains("killed by user"), "{script}: {answer}");
    }
}

#[test]
fn a_script_that_has_written_is_not_killed_and_ends_by_itself() {
    let server = start();
    let (mut caller, mut other) = (server.raw(), server.raw());
    let script = "redis.call('set', 'k', 'v') \
                  for i = 1, 30000000 do end return redis.call('get', 'k')";
    caller.command(&["EVAL", script, "0"]);
    await_busy(&mut other);
    let answer = text(&other.run(&["SCRIPT", "KILL"]));
    assert!(
        answer.starts_with("UNKILLABLE") || answer.starts_with("NOTBUSY"),
        "{answer}"
    );
    assert_eq!(caller.read(), Value::bulk("v"));
    assert_eq!(other.run(&["GET", "k"]), Value::bulk("v"));
}

#[test]
fn an_exec_goes_on_behind_its_busy_script_even_without_its_caller() {
    for stays in [true, false] {
        let server = start();
        let (mut caller, mut other) = (server.raw(), server.raw());
        let slow = "for i = 1, 20000000 do end return redis.call('incr', 'n')";
        caller.run(&["MULTI"]);
        caller.run(&["INCR", "n"]);
        caller.run(&["EVAL", slow, "0"]);
        caller.run(&["INCR", "n"]);
        caller.run(&["EVAL", slow, "0"]);
        caller.command(&["EXEC"]);
        await_busy(&mut other);
        if stays {
            let numbers = (1..=4).map(Value::Integer).collect();
            assert_eq!(caller.read(), Value::Array(numbers));
            assert_eq!(caller.run(&["ECHO", "x"]), Value::bulk("x"));
        } else {
            drop(caller);
        }
        for _ in 0..1000 {
            match other.run(&["GET", "n"]) {
                Value::Error(_) => std::thread::sleep(Duration::from_millis(10)),
                value => {
                    assert_eq!(value, Value::bulk("4"));
                    break;
                }
            }
        }
    }
}

#[test]
fn shutdown_without_saving_ends_a_busy_server_and_half_of_a_script_is_lost() {
    let mut server = Server::with(&["--busy-reply-threshold", "20", "--appendonly", "yes"]);
    let (mut caller, mut other) = (server.raw(), server.raw());
    other.run(&["SET", "before", "1"]);
    caller.command(&["EVAL", "redis.call('set', 'k', 'v') while true do end", "0"]);
    await_busy(&mut other);
    other.command(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(server.wait(), Some(0));
    server.start_again();
    let mut client = server.raw();
    assert_eq!(client.run(&["EXISTS", "k", "before"]), Value::Integer(1));
}

#[test]
fn effects_of_a_script_are_in_the_append_only_file() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let script = "redis.call('set', KEYS[1], 'a') redis.call('incr', 'n') \
                  redis.set_repl(redis.REPL_NONE) redis.call('set', 'unseen', '1') return 1";
    assert_eq!(
        server.raw().run(&["EVAL", script, "1", "k"]),
        Value::Integer(1)
    );
    server.kill();
    server.start_again();
    let mut client = server.raw();
    assert_eq!(client.run(&["GET", "k"]), Value::bulk("a"));
    assert_eq!(client.run(&["EXISTS", "n", "unseen"]), Value::Integer(1));
}

/// None of them may change what another script sees, reach the system, or end the server.
#[test]
fn the_sandbox_holds() {
    let server = Server::start();
    let mut client = server.raw();
    for script in [
        "string.rep = nil",
        "rawset(string, 'rep', nil)",
        "rawset(_G, 'x', 1)",
        "table.insert(string, 1)",
        "setmetatable(_G, nil)",
        "getmetatable(_G).__index = nil",
        "getmetatable('').__index.rep = nil",
        "getmetatable('').__index = nil",
        "getmetatable(setmetatable({}, string)).rep = nil",
        "_G.redis.call = nil",
        "for k, v in pairs(_G) do if type(v) == 'table' and k ~= 'KEYS' and k ~= 'ARGV' then v.x = 1 end end",
        "x = 1",
        "return os.exit(1)",
        "return io.open('/etc/passwd')",
        "return require('os')",
        "return dofile('/etc/passwd')",
        "return debug.getregistry()",
        "return getfenv(1)",
        "return newproxy(true)",
        "return loadstring(string.dump(function() return 1 end))()",
        "return loadstring('\\27Lua')()",
        "return loadstring('x = 1')()",
        "return load(function() return nil end, 'x')().y",
        "return string.rep('x', 1e10)",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e9 do t[i] = {} end",
        "local function f() return 1 + f() end return f()",
        "local function f() return ('x'):gsub('x', f) end return f()",
        "local function f() return coroutine.wrap(f)() end return f()",
        "return string.find(('a'):rep(100000), ('a?'):rep(100000))",
        "return redis.call('set', 'k', unpack({}, 1, 1e9))",
        "local t = {} for i = 1, 7999 do t[i] = 'x' .. i end return redis.call('rpush', 'l', unpack(t))",
        "return cjson.decode(('['):rep(100000))",
    ] {
        let answer = client.run(&["EVAL", script, "0"]);
        assert!(matches!(answer, Value::Error(_)), "{script}: {answer:?}");
    }
    let intact = "return ('ab'):rep(2) .. string.rep('c', 2) .. #redis.call('ping').ok";
    assert_eq!(client.run(&["EVAL", intact, "0"]), Value::bulk("ababcc4"));
    assert_eq!(
        client.run(&["EVAL", "return rawget(_G, 'x') or 'none'", "0"]),
        Value::bulk("none")
    );
}

/// Each was a difference from Redis once.
#[test]
fn what_a_program_sees_and_returns() {
    let server = start();
    let mut raw = server.raw();
    let library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    raw.run(&["FUNCTION", "LOAD", library]);
    assert_eq!(raw.line("FCALL f 0"), Value::Integer(1));
    // Compiled after a function ran, it has the globals of scripts; the comma keeps them from being variables.
    let program = "return {unpack(ARGV, 1)}";
    let answer = raw.run(&["EVAL", program, "0", "given"]);
    assert_eq!(answer, Value::Array(vec![Value::bulk("given")]));
    let answer = raw.run(&["EVAL", "return {err = 5}", "0"]);
    assert_eq!(answer, Value::Array(Vec::new()));
    let program = "return redis.pcall('xRead', 'BLOCK', '0', 'STREAMS', 's', '$')";
    assert_eq!(
        raw.run(&["EVAL", program, "0"]),
        error("ERR xRead command is not allowed with BLOCK option from scripts")
    );
}

/// A signal to shut down waits for the script: all of its effects are saved, or none.
#[test]
fn a_signal_waits_for_a_busy_script() {
    let mut server = Server::with(&["--save", "3600 1", "--busy-reply-threshold", "1"]);
    let mut raw = server.raw();
    let script = "redis.call('set', 'first', 1) local n = 0 for i = 1, 3e7 do n = n + i end \
                  return redis.call('set', 'second', 1)";
    raw.command(&["EVAL", script, "0"]);
    let mut other = server.raw();
    while !matches!(other.line("PING"), Value::Error(text) if text.starts_with(b"BUSY")) {}
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &server.pid().to_string()])
        .status();
    assert!(killed.is_ok_and(|status| status.success()));
    assert_eq!(server.wait(), Some(0));
    server.start_again();
    assert_eq!(server.raw().line("EXISTS first second"), Value::Integer(2));
}
