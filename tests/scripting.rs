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

/// What commands asked the loop for behind a script that had stood still was done for whoever sent a command next: it was
/// closed in the place of the one that had asked, and those whom a pause held stayed held.
#[test]
fn what_is_asked_for_behind_a_busy_script_is_done_at_once_and_for_its_caller() {
    let server = start();
    let (mut caller, mut other, mut held) = (server.raw(), server.raw(), server.raw());
    let Value::Integer(id) = caller.run(&["CLIENT", "ID"]) else {
        panic!("no id");
    };
    let slow = "#!lua flags=no-writes\nfor i = 1, 20000000 do end return 1";
    other.run(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    held.command(&["SET", "k", "v"]);
    for words in [
        &["MULTI"][..],
        &["EVAL", slow, "0"],
        &["CLIENT", "UNPAUSE"],
        &["CLIENT", "KILL", "ID", &id.to_string(), "SKIPME", "no"],
    ] {
        caller.run(words);
    }
    caller.command(&["EXEC"]);
    await_busy(&mut other);
    let done = [
        Value::Integer(1),
        Value::Simple("OK".into()),
        Value::Integer(1),
    ];
    assert_eq!(caller.read(), Value::Array(done.to_vec()));
    assert_eq!(caller.try_read(), None, "it has killed itself");
    // Nobody has sent anything since.
    assert_eq!(held.read(), Value::Simple("OK".into()));
    assert_eq!(other.run(&["ECHO", "x"]), Value::bulk("x"));
    assert_eq!(other.run(&["ECHO", "y"]), Value::bulk("y"));
}

/// A script that had stood still was noted as written by nobody: WAITAOF of its caller answered at once.
#[test]
fn waitaof_waits_for_what_a_script_wrote_that_stood_still() {
    let server = Server::with(&[
        "--busy-reply-threshold",
        "20",
        "--appendonly",
        "yes",
        "--appendfsync",
        "no",
    ]);
    let (mut caller, mut other) = (server.raw(), server.raw());
    let slow = "for i = 1, 20000000 do end return redis.call('incr', 'n')";
    for in_multi in [false, true] {
        if in_multi {
            caller.run(&["MULTI"]);
        }
        caller.command(&["EVAL", slow, "0"]);
        if in_multi {
            caller.read();
            caller.command(&["EXEC"]);
        }
        await_busy(&mut other);
        caller.read();
        let none = Value::Array(vec![Value::Integer(0), Value::Integer(0)]);
        assert_eq!(caller.run(&["WAITAOF", "1", "0", "50"]), none);
    }
}

#[test]
fn a_transaction_whose_script_stands_is_shown_and_measured_when_it_ends() {
    let server = Server::with(&[
        "--busy-reply-threshold",
        "20",
        "--latency-monitor-threshold",
        "5",
    ]);
    let (mut caller, mut other) = (server.raw(), server.raw());
    let mut monitor = server.raw();
    monitor.run(&["MONITOR"]);
    let slow = "for i = 1, 20000000 do end return redis.call('incr', 'n')";
    for words in [&["MULTI"][..], &["EVAL", slow, "0"], &["INCR", "n"]] {
        caller.run(words);
    }
    caller.command(&["exec"]);
    await_busy(&mut other);
    caller.read();
    caller.run(&["ECHO", "end"]);
    let mut shown = Vec::new();
    loop {
        let Value::Simple(line) = monitor.read() else {
            panic!("a line of MONITOR");
        };
        let word = line.split('"').nth(1).unwrap_or_default().to_owned();
        match word.as_str() {
            "ECHO" => break,
            "PING" => {}
            _ => shown.push(word),
        }
    }
    assert_eq!(shown, ["MULTI", "EVAL", "incr", "INCR", "exec"]);
    let latency = format!("{:?}", other.run(&["LATENCY", "LATEST"]));
    let command = format!("{:?}", Value::bulk("command"));
    assert!(latency.contains(&command), "{latency}");
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
                  redis.call('sadd', 's', 'x', 'y', 'z') redis.set_repl(redis.REPL_NONE) \
                  redis.call('set', 'unseen', '1') return #redis.call('spop', 's', 2)";
    assert_eq!(
        server.raw().run(&["EVAL", script, "1", "k"]),
        Value::Integer(2)
    );
    server.kill();
    server.start_again();
    let mut client = server.raw();
    assert_eq!(client.run(&["GET", "k"]), Value::bulk("a"));
    assert_eq!(client.run(&["EXISTS", "n", "unseen"]), Value::Integer(1));
    // What is propagated in place of a command goes where that would.
    assert_eq!(client.run(&["SCARD", "s"]), Value::Integer(3));
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
    let answer = raw.run(&["EVAL", "redis.log(5, 'x')", "0"]);
    assert!(text(&answer).starts_with("ERR Invalid log level. script: "));
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

/// Since Redis 8.0 commands that wait run in scripts, and answer at once that there is nothing.
#[test]
fn commands_that_wait_do_not_wait_in_scripts() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.line("XGROUP CREATE s g $ MKSTREAM");
    for call in [
        "'blpop', 'k', 0",
        "'brpop', 'k', 0",
        "'brpoplpush', 'k', 'k2', 0",
        "'blmove', 'k', 'k2', 'left', 'left', 0",
        "'blmpop', 0, 1, 'k', 'left'",
        "'bzpopmin', 'k', 0",
        "'bzpopmax', 'k', 0",
        "'bzmpop', 0, 1, 'k', 'min'",
        "'xread', 'BLOCK', 0, 'STREAMS', 's', '$'",
        "'xreadgroup', 'GROUP', 'g', 'c', 'BLOCK', 0, 'STREAMS', 's', '>'",
    ] {
        let script = format!("return redis.call({call}) == false");
        let answer = raw.run(&["EVAL", &script, "0"]);
        assert_eq!(answer, Value::Integer(1), "{call}");
    }
    let script = "redis.call('rpush', 'k', 'a', 'b') return redis.call('blpop', 'k', 0)";
    assert_eq!(
        raw.run(&["EVAL", script, "0"]),
        Value::Array(vec![Value::bulk("k"), Value::bulk("a")])
    );
    let script = "redis.call('xadd', 's', '1-0', 'f', 'v') return #redis.call('xreadgroup', 'GROUP', 'g', 'c', \
                  'BLOCK', 0, 'STREAMS', 's', '>')[1][2]";
    assert_eq!(raw.run(&["EVAL", script, "0"]), Value::Integer(1));
}

/// Seventeen digits were sent, and an exponent for integers that need none.
#[test]
fn numbers_go_to_commands_as_integers_or_as_shortest_doubles() {
    let server = Server::start();
    let mut raw = server.raw();
    for (number, expected) in [
        ("1e17", "100000000000000000"),
        ("-1e17", "-100000000000000000"),
        ("2^62", "4611686018427387904"),
        ("2^63", "9223372036854776000"),
        ("1e19", "1e+19"),
        ("0.1", "0.1"),
        ("4.35", "4.35"),
        ("1/3", "0.3333333333333333"),
        ("1e-5", "0.00001"),
        ("-0.0", "0"),
        ("-1/0", "-inf"),
        ("5e-324", "5e-324"),
    ] {
        let script = format!("return redis.call('ECHO', {number})");
        let answer = raw.run(&["EVAL", &script, "0"]);
        assert_eq!(answer, Value::bulk(expected), "{number}");
    }
    let script = "return redis.call('HINCRBY', 'h', 'f', 1e17) == 1e17";
    assert_eq!(raw.run(&["EVAL", script, "0"]), Value::Integer(1));
}

#[test]
fn os_has_a_clock_and_nothing_else() {
    let server = start();
    let mut raw = server.raw();
    let script =
        "local t = os.clock() while os.clock() - t < 0.2 do end return {double = os.clock() - t}";
    let elapsed: f64 = text(&raw.run(&["EVAL", script, "0"]))
        .parse()
        .expect("seconds");
    assert!((0.2..60.0).contains(&elapsed), "{elapsed}");
    let script =
        "local names = {} for name in pairs(os) do names[#names + 1] = name end return names";
    assert_eq!(
        raw.run(&["EVAL", script, "0"]),
        Value::Array(vec![Value::bulk("clock")])
    );
    for name in [
        "execute",
        "exit",
        "getenv",
        "remove",
        "rename",
        "setlocale",
        "tmpname",
    ] {
        let answer = text(&raw.run(&["EVAL", &format!("os.{name}()"), "0"]));
        assert!(
            answer.contains(&format!("attempt to call field '{name}'")),
            "{answer}"
        );
    }
    let answer = text(&raw.run(&["EVAL", "os.clock = nil", "0"]));
    assert!(
        answer.contains("Attempt to modify a readonly table"),
        "{answer}"
    );
}

/// The time of its beginning is what a script sees, so one that waits for a time never ended.
#[test]
fn a_script_that_waits_for_a_time_ends() {
    let server = start();
    let mut raw = server.raw();
    let script = "local function now() local t = redis.call('TIME') return t[1] * 1e6 + t[2] end \
                  local t = now() local steps = 0 while now() < t + 200000 do steps = steps + 1 end return steps > 0";
    assert_eq!(raw.run(&["EVAL", script, "0"]), Value::Integer(1));
    // Before it has run for too long it stands still.
    let script = "local t = redis.call('TIME') for i = 1, 100 do local now = redis.call('TIME') \
                  if now[1] ~= t[1] or now[2] ~= t[2] then return i end end return 0";
    assert_eq!(raw.run(&["EVAL", script, "0"]), Value::Integer(0));
}

/// What a client with NO-TOUCH reads by a script or a function keeps its idle time, as what it reads itself.
#[test]
fn scripts_of_a_client_with_no_touch_do_not_touch() {
    let server = Server::start();
    let (mut raw, mut other) = (server.raw(), server.raw());
    let library = "#!lua name=lib\nredis.register_function('f', function(k) return redis.call('get', k[1]) end)";
    raw.run(&["FUNCTION", "LOAD", library]);
    raw.line("SET plain v");
    let Value::Bulk(payload) = raw.line("DUMP plain") else {
        panic!("no payload")
    };
    let words: [&[u8]; 7] = [
        b"RESTORE",
        b"k",
        b"0",
        &payload,
        b"REPLACE",
        b"IDLETIME",
        b"1000",
    ];
    assert_eq!(raw.run(&words), Value::Simple("OK".into()));
    raw.line("CLIENT NO-TOUCH on");
    let read = "return redis.call('get', KEYS[1])";
    for words in [
        ["EVAL", read, "1", "k"],
        ["EVAL_RO", read, "1", "k"],
        ["FCALL", "f", "1", "k"],
    ] {
        assert_eq!(raw.run(&words), Value::bulk("v"));
        let idle = other.line("OBJECT IDLETIME k");
        assert!(
            matches!(idle, Value::Integer(1000..)),
            "{words:?}: {idle:?}"
        );
    }
    assert_eq!(other.run(&["EVAL", read, "1", "k"]), Value::bulk("v"));
    assert!(matches!(
        other.line("OBJECT IDLETIME k"),
        Value::Integer(0..60)
    ));
}

/// A second interpreter was made for it, and scripts that were known had been compiled in neither.
#[test]
fn a_script_cannot_run_another() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.line("DEBUG SET-DISABLE-DENY-SCRIPTS 1");
    let script = "return redis.pcall('eval', 'return 1', 0)";
    assert_eq!(raw.run(&["EVAL", script, "0"]), error("ERR a script runs"));
    assert_eq!(raw.run(&["EVAL", "return 1", "0"]), Value::Integer(1));
}

/// The error is the command's in the statistics, but both have failed.
#[test]
fn a_script_fails_with_its_command() {
    let server = start();
    let mut raw = server.raw();
    raw.line("SET s text");
    let failed = "return redis.call('incr', 's')";
    for words in [
        ["EVAL", failed, "0"],
        ["EVAL", "return redis.pcall('incr', 's')", "0"],
        ["EVAL", "redis.pcall('incr', 's') return 1", "0"],
    ] {
        raw.run(&words);
    }
    let stats = |raw: &mut Raw, section: &str| text(&raw.run(&["INFO", section]));
    let failed_calls = |stats: &str, name: &str| {
        let line = stats
            .lines()
            .find(|line| line.starts_with(&format!("cmdstat_{name}:")))
            .unwrap_or_default();
        let (_, count) = line.rsplit_once("failed_calls=").unwrap_or_default();
        count.trim().to_owned()
    };
    let commands = stats(&mut raw, "commandstats");
    assert_eq!(failed_calls(&commands, "eval"), "2", "{commands}");
    assert_eq!(failed_calls(&commands, "incr"), "3", "{commands}");
    assert!(stats(&mut raw, "errorstats").contains("errorstat_ERR:count=3"));
    assert!(stats(&mut raw, "stats").contains("total_error_replies:3"));
    // Of those in a table each that is no command's is counted where it is returned.
    let script = "return {redis.pcall('incr', 's'), redis.error_reply('ONE x'), {err = 'TWO y'}, {err = 'TWO z'}}";
    raw.run(&["EVAL", script, "0"]);
    let errors = stats(&mut raw, "errorstats");
    for line in [
        "errorstat_ERR:count=4",
        "errorstat_ONE:count=1",
        "errorstat_TWO:count=2",
    ] {
        assert!(errors.contains(line), "{line} in {errors}");
    }
    // The command's error fails the script once more, as in Redis.
    let commands = stats(&mut raw, "commandstats");
    assert_eq!(failed_calls(&commands, "eval"), "4", "{commands}");
    // One that ends late, when it has been busy.
    let mut other = server.raw();
    raw.command(&[
        "EVAL",
        "while redis.call('exists', 'end') == 0 do end return redis.call('incr', 's')",
        "0",
    ]);
    await_busy(&mut other);
    assert_eq!(other.run(&["SCRIPT", "KILL"]), Value::Simple("OK".into()));
    assert!(matches!(raw.read(), Value::Error(_)));
    assert_eq!(failed_calls(&stats(&mut raw, "commandstats"), "eval"), "5");
}

/// A finalizer ran while the elements of another reply were pushed, and read into the same buffer: elements of the one
/// came back as bytes of the other. None is ever set now.
#[test]
fn proxies_have_no_finalizers() {
    let server = Server::with(&["--lua-enable-deprecated-api", "yes"]);
    let mut raw = server.raw();
    let script = "for i = 1, 20000 do redis.call('rpush', 'long', 'element' .. i) redis.call('rpush', 'other', 'xxxxxxxxxxxxxxxx') end";
    raw.run(&["EVAL", script, "0"]);
    let script = "
        local called = 0
        local function call() called = called + 1 redis.call('lrange', 'other', 0, -1) end
        for i = 1, 20 do
            local proxy = newproxy(true)
            getmetatable(proxy).__gc = call
            rawset(getmetatable(proxy), '__gc', call)
            local copy = newproxy(proxy)
            getmetatable(copy).__gc = call
            assert(not pcall(setmetatable, getmetatable(proxy), nil) and getmetatable(getmetatable(proxy)) == false)
            getmetatable(proxy).__len = function() return 7 end
            assert(#proxy == 7 and getmetatable(proxy).__gc == nil)
            proxy, copy = nil, nil
            for i, element in ipairs(redis.call('lrange', 'long', 0, -1)) do
                if element ~= 'element' .. i then return element end
            end
        end
        collectgarbage() collectgarbage()
        return called";
    assert_eq!(raw.run(&["EVAL", script, "0"]), Value::Integer(0));
    // What a proxy calls its metatable is not the one that a copy shares.
    let script = "
        local proxy, own = newproxy(true), {}
        local m = getmetatable(proxy)
        m.__metatable, m.__index = string, function() return 7 end
        local copy = newproxy(proxy)
        m.__metatable = own
        local other = newproxy(copy)
        m.__gc = function() error('called') end
        assert(m.__gc == nil and getmetatable(own) == nil and string.len('ab') == 2)
        return copy.x + other.x";
    assert_eq!(raw.run(&["EVAL", script, "0"]), Value::Integer(14));
    assert_eq!(raw.line("SCRIPT FLUSH"), Value::Simple("OK".into()));
    assert_eq!(raw.run(&["EVAL", "return 5", "0"]), Value::Integer(5));
}

/// What was counted for a script that ended late within EXEC was the EXEC, twice.
#[test]
fn a_busy_script_in_a_transaction_is_counted_as_itself() {
    let server = start();
    let (mut raw, mut other) = (server.raw(), server.raw());
    raw.line("MULTI");
    raw.run(&["EVAL", "while true do end", "0"]);
    raw.command(&["EXEC"]);
    await_busy(&mut other);
    assert_eq!(other.run(&["SCRIPT", "KILL"]), Value::Simple("OK".into()));
    assert!(matches!(raw.read(), Value::Array(answers) if answers.len() == 1));
    let stats = text(&raw.run(&["INFO", "commandstats"]));
    for line in ["cmdstat_eval:calls=1,", "cmdstat_exec:calls=1,"] {
        assert!(stats.contains(line), "{line} in {stats}");
    }
}

/// A file with a script in its own words, as Redis before 7 wrote them, and a transaction with one, between other commands.
fn write_slow_script(server: &Server) {
    use std::io::Write as _;
    let path = server
        .dir
        .path()
        .join("appendonlydir/appendonly.aof.1.incr.aof");
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(path)
        .expect("an append-only file");
    let slow = "redis.call('append', KEYS[1], 'y') for i = 1, 60000 do redis.call('ping') end \
                redis.call('append', KEYS[1], 'z')";
    for words in [
        &["SELECT", "0"][..],
        &["APPEND", "x", "x"],
        &["EVAL", slow, "1", "x"],
        &["APPEND", "x", "1"],
        &["MULTI"],
        &["EVAL", slow, "1", "x"],
        &["APPEND", "x", "2"],
        &["EXEC"],
        &["APPEND", "x", "3"],
    ] {
        write!(file, "*{}\r\n", words.len()).expect("written");
        for word in words {
            write!(file, "${}\r\n{word}\r\n", word.len()).expect("written");
        }
    }
}

/// The server was deaf while a script of the append-only file ran.
#[test]
fn others_are_answered_while_a_slow_script_of_the_append_only_file_runs() {
    let mut server = Server::with(&["--appendonly", "yes", "--busy-reply-threshold", "1"]);
    write_slow_script(&server);
    let is_loading =
        |answer: &Value| matches!(answer, Value::Error(text) if text.starts_with(b"LOADING"));
    let (mut raw, mut other) = (server.raw(), server.raw());
    // Who waits for a key gets what is there when all is loaded, and not what a command in the middle leaves.
    let mut waits = server.raw();
    waits.command(&["BLPOP", "x", "0"]);
    raw.command(&["DEBUG", "LOADAOF"]);
    raw.command(&["GET", "x"]);
    while !is_loading(&other.line("PING")) {}
    while !server.log().contains("Slow script detected") {
        assert!(is_loading(&other.line("SCRIPT KILL")) && is_loading(&other.line("GET x")));
    }
    // What may run while data is loaded may not while a script is busy.
    assert_eq!(other.line("DEBUG LOADAOF"), error(BUSY));
    assert_eq!(raw.read(), Value::Simple("OK".into()));
    assert_eq!(raw.read(), Value::bulk("xyz1yz23"));
    assert!(text(&raw.run(&["INFO", "persistence"])).contains("aof_enabled:1"));
    // In a transaction it cannot wait.
    raw.line("MULTI");
    raw.line("DEBUG LOADAOF");
    assert_eq!(
        raw.line("EXEC"),
        Value::Array(vec![Value::Simple("OK".into())])
    );
    assert_eq!(raw.line("GET x"), Value::bulk("xyz1yz23"));
    raw.line("SET after 1");
    // The same at the start of the server.
    server.spawn_again();
    let mut seen = false;
    let value = loop {
        let Ok(stream) = std::net::TcpStream::connect(("127.0.0.1", server.port)) else {
            continue;
        };
        let answer = Raw::over(stream).line("GET x");
        if !is_loading(&answer) {
            break answer;
        }
        seen |= server.log().matches("Slow script detected").count() > 2;
    };
    assert!(seen, "{}", server.log());
    assert_eq!(value, Value::bulk("xyz1yz23"));
    assert_eq!(server.raw().line("GET after"), Value::bulk("1"));
}

/// The reply of the last `redis.call`, and the arguments of the last script, held their room until the next one came.
#[test]
fn what_was_large_leaves_no_room_behind() {
    const LARGE: usize = 32 << 20;
    let server = Server::start();
    let mut client = server.raw();
    let used = |client: &mut common::Raw| -> usize {
        let Value::Bulk(page) = client.run(&["INFO", "memory"]) else {
            panic!("INFO is a text")
        };
        let page = String::from_utf8_lossy(&page).into_owned();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        line.and_then(|number| number.parse().ok())
            .expect("a number")
    };
    let large = "x".repeat(LARGE);
    client.run(&["SET", "large", &large]);
    let get = "local n = #redis.call('get', 'large') collectgarbage() collectgarbage() return n";
    let given = "return #ARGV[1]";
    client.run(&["EVAL", "return 1", "0"]);
    let before = used(&mut client);
    let len = Value::Integer(LARGE as i64);
    for arguments in [&["EVAL", get, "0"][..], &["EVAL", given, "0", &large]] {
        assert_eq!(client.run(arguments), len);
        client.run(&["EVAL", "collectgarbage() collectgarbage()", "0"]);
        let kept = used(&mut client).saturating_sub(before);
        assert!(kept < LARGE / 2, "{kept} bytes after {}", arguments[1]);
    }
}
