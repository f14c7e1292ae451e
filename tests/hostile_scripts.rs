//! Scripts that try to take the server down: each gets an error, and the server answers the next client.

mod common;

use common::Server;
use gyre::resp::reader::Value;

/// Runs a script and then another command, which must be answered as ever.
fn survives(server: &Server, script: &str) -> Value {
    let mut raw = server.raw();
    let answer = raw.run(&["EVAL", script, "0"]);
    assert_eq!(
        raw.line("PING"),
        Value::Simple("PONG".into()),
        "after {script}"
    );
    answer
}

fn error(answer: Value, script: &str) -> String {
    match answer {
        Value::Error(text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("{script}: {other:?}"),
    }
}

/// Makes a call (written with `...`) with some 20,000 values, built up by recursion: more than `unpack` gives.
fn with_many(call: &str, value: &str) -> String {
    let hundred = vec![value; 100].join(",");
    format!(
        "local function g(n, ...) if n == 0 then return {call} end return g(n - 1, {hundred}, ...) end \
         return g(200)"
    )
}

#[test]
fn calls_with_very_many_values() {
    let server = Server::start();
    for call in [
        "redis.call",
        "redis.pcall",
        "cmsgpack.pack",
        "struct.pack",
        "cjson.encode",
        "bit.band",
        "redis.log",
        "pcall",
        "math.random",
        "tostring",
    ] {
        for value in ["'a'", "{}", "1"] {
            survives(&server, &with_many(&format!("{call}(...)"), value));
            survives(&server, &with_many(&format!("pcall({call}, ...)"), value));
        }
    }
    // As many as unpack gives are right.
    let mset = "local t = {} for i = 1, 3000 do t[2*i-1] = 'k' .. i t[2*i] = i end return redis.call('mset', unpack(t))";
    assert_eq!(survives(&server, mset), Value::Simple("OK".into()));
    let answer = survives(&server, "return #redis.call('keys', 'k*')");
    assert_eq!(answer, Value::Integer(3000));
    // And it goes on working after all of that.
    let answer = survives(&server, "return {pcall(function() end)}");
    assert_eq!(answer, Value::Array(vec![Value::Integer(1)]));
}

#[test]
fn many_results_of_protected_calls() {
    let server = Server::start();
    for script in [
        "return unpack({}, 1, 100)",
        "return pcall(unpack, {}, 1, 100)",
        "return xpcall(function() return unpack({}, 1, 100) end, error)",
        "local function f() return pcall(f) end return f()",
        "local function f() return xpcall(f, error) end return f()",
        "local function f() return coroutine.resume(coroutine.create(f)) end return f()",
    ] {
        let answer = survives(&server, script);
        let wanted = [Value::NullBulk, Value::Integer(1)];
        assert!(wanted.contains(&answer), "{script}: {answer:?}");
    }
}

#[test]
fn very_many_scripts() {
    let server = Server::start();
    let mut raw = server.raw();
    for n in 0..12_000 {
        raw.command(&["SCRIPT", "LOAD", &format!("return {n}")]);
        if n % 100 == 99 {
            (0..100).for_each(|_| assert!(matches!(raw.read(), Value::Bulk(_))));
        }
    }
    assert_eq!(
        raw.run(&["EVAL", "return 11999", "0"]),
        Value::Integer(11_999)
    );
    assert_eq!(raw.line("SCRIPT FLUSH"), Value::Simple("OK".into()));
    assert_eq!(raw.run(&["EVAL", "return 5", "0"]), Value::Integer(5));
}

#[test]
fn memory_stack_and_patterns() {
    let server = Server::start();
    for script in [
        "return string.rep('x', 1e10)",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} local i = 0 while true do i = i + 1 t[i] = string.rep('x', 1e6) .. i end",
        "local function f() return 1 + f() end return f()",
        "local t = {} t[1] = t return cjson.encode(t)",
        "return string.find(string.rep('a', 1e6), string.rep('a?', 5e5) .. 'b')",
        "return string.format('%99999999d', 1)",
        "return ('x'):rep(1e5):gsub('x', function() return ('y'):rep(1e6) end)",
        "return loadstring('\\27Lua')()",
        "return load(function() return '\\27Lua' end)()",
        "local co = coroutine.wrap(function() error({}) end) co()",
        "error(setmetatable({}, {__tostring = function() error('x') end}))",
        "return table.concat({}, '', 1, 2147483647)",
        "return table.insert({}, 2^31, 1)",
        "return table.insert({}, -2^31, 1)",
        "local t = setmetatable({}, {__index = function(t, k) return t[k .. 'x'] end}) return t.a",
        "return coroutine.wrap(function() return coroutine.yield(redis.call('ping')) end)()()",
    ] {
        let answer = survives(&server, script);
        if !script.contains("coroutine") {
            error(answer, script);
        }
    }
}

/// Functions of the sandbox stand in for Lua's; what they say does not tell of it.
#[test]
fn errors_do_not_tell_of_the_sandbox() {
    let server = Server::start();
    for script in [
        "return ('abc'):find('[')",
        "local ok, e = pcall(string.gsub, 'abc', '[', '') error(e, 0)",
        "local ok, e = pcall(function() return ('abc'):find('[') end) return redis.error_reply(e)",
    ] {
        let text = error(survives(&server, script), script);
        assert!(text.contains("malformed pattern"), "{script}: {text}");
        assert!(!text.contains("sandbox"), "{script}: {text}");
    }
}

/// The interpreter as it comes hashes some 32 bytes of a string. Of 40,000 documents that differ elsewhere it made one
/// chain, and one LRANGE of them in a script held the server for eleven seconds and more.
#[test]
fn strings_that_differ_in_a_few_places() {
    let server = Server::start();
    let mut raw = server.raw();
    let push = |raw: &mut common::Raw, key: &str, document: &dyn Fn(usize) -> String| {
        let documents: Vec<String> = (0..20_000).map(document).collect();
        for some in documents.chunks(1000) {
            let mut words = vec!["RPUSH", key];
            words.extend(some.iter().map(String::as_str));
            assert!(matches!(raw.run(&words), Value::Integer(_)));
        }
    };
    // Of 300 bytes every tenth from the last was looked at: these five places are not among them.
    let similar = |n: usize| {
        let mut document = vec![b'x'; 300];
        for (place, digit) in format!("{n:05}").bytes().enumerate() {
            document[100 + place * 10] = digit;
        }
        String::from_utf8(document).expect("letters and digits")
    };
    push(&mut raw, "similar", &similar);
    push(&mut raw, "different", &|n| format!("{n:05}").repeat(60));
    let mut read = |key: &str| {
        let began = std::time::Instant::now();
        let script = "return #redis.call('lrange', KEYS[1], 0, -1)";
        let answer = raw.run(&["EVAL", script, "1", key]);
        assert_eq!(answer, Value::Integer(20_000));
        began.elapsed()
    };
    read("different");
    let (different, similar) = (read("different"), read("similar"));
    let limit = different * 10 + std::time::Duration::from_millis(200);
    assert!(
        similar < limit,
        "{similar:?}, where others take {different:?}"
    );
}

/// Nothing held the name of a chunk while it was compiled, when the text that named it went on behind a zero byte: a
/// collection freed it, and errors of the functions read what lay there later.
#[test]
fn the_name_of_a_chunk_outlives_collections() {
    let server = Server::start();
    let script = r#"
        local body = {}
        for i = 1, 20000 do body[i] = 'do local a = function() return "constant' .. i .. '" end end' end
        body = table.concat(body, ' ') .. ' error("x")'
        local wrong = 0
        for i = 1, 5 do
            local name = 'name' .. i .. string.rep('y', 20)
            local f = loadstring(body, '@' .. name .. '\0')
            local ok, e = pcall(f)
            if string.sub(e, 1, #name) ~= name then wrong = wrong + 1 end
        end
        return wrong"#;
    assert_eq!(survives(&server, script), Value::Integer(0));
}
