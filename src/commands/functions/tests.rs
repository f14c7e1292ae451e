//! Functions through a whole state: loading, calling, and every refusal in Redis's words.

use crate::clients::ClientKind;
use crate::commands::testing::{Harness, bulk, error, int, ok, text};
use crate::journal::Targets;
use crate::resp::reader::Value;

fn load(harness: &mut Harness, name: &str, program: &str) -> Value {
    harness.run(&["FUNCTION", "LOAD", &format!("#!lua name={name}\n{program}")])
}

fn with(program: &str) -> Harness {
    let mut harness = Harness::new();
    assert_eq!(load(&mut harness, "lib", program), bulk("lib"));
    harness
}

fn refused(program: &str) -> String {
    let mut harness = Harness::new();
    let answer = load(&mut harness, "lib", program);
    assert_eq!(text(&harness.line("FUNCTION LIST")), "", "{program}");
    text(&answer)
}

#[test]
fn functions_keep_their_state_and_get_keys_and_arguments() {
    let mut harness = with(
        "local n = 0
        redis.register_function('inc', function(keys, args) n = n + 1 return {n, #keys, #args, keys[1], args[1]} end)
        redis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)
        redis.register_function('globals', function() return {tostring(_G), 1} end)",
    );
    assert_eq!(text(&harness.line("FCALL inc 2 k1 k2 a1")), "1 2 1 k1 a1");
    assert_eq!(text(&harness.line("FCALL INC 0 a b")), "2 0 2");
    assert_eq!(harness.line("FCALL put 1 key value"), ok());
    assert_eq!(harness.line("GET key"), bulk("value"));
    // A new library of the name begins anew.
    let again = "#!lua name=lib\nlocal n = 5 redis.register_function('inc', function() n = n + 1 return n end)";
    assert_eq!(
        harness.run(&["FUNCTION", "LOAD", again]),
        error("ERR Library 'lib' already exists")
    );
    assert_eq!(
        harness.run(&["FUNCTION", "LOAD", "REPLACE", "replace", again]),
        bulk("lib")
    );
    assert_eq!(harness.line("FCALL inc 0"), int(6));
    assert_eq!(harness.line("FCALL put 0"), error("ERR Function not found"));
}

/// More than the binding has handles for: a library of that many once ended the server.
#[test]
fn a_library_has_as_many_functions_as_it_likes() {
    let program = |count: u32, last: &str| {
        format!(
            "local f, i = function() return 1 end, 1
            while i <= {count} do redis.register_function('f' .. i, f) i = i + 1 end {last}"
        )
    };
    let mut harness = with(&program(9000, ""));
    assert_eq!(harness.line("FCALL f9000 0"), int(1));
    assert_eq!(harness.line("FUNCTION FLUSH"), ok());
    let failed = load(&mut harness, "lib", &program(9000, "x = 1"));
    assert!(text(&failed).contains("Attempt to modify a readonly table"));
    assert_eq!(load(&mut harness, "lib", &program(9000, "")), bulk("lib"));
    assert_eq!(harness.line("FCALL F1 0"), int(1));
}

#[test]
fn calls_are_checked() {
    let mut harness = with("redis.register_function('f', function() return 1 end)");
    for (line, expected) in [
        ("FCALL g x", "ERR Function not found"),
        ("FCALL f x", "ERR Bad number of keys provided"),
        (
            "FCALL f 2 a",
            "ERR Number of keys can't be greater than number of args",
        ),
        ("FCALL f -1 a", "ERR Number of keys can't be negative"),
        (
            "FCALL f",
            "ERR wrong number of arguments for 'fcall' command",
        ),
        (
            "FCALL_RO f 0",
            "ERR Can not execute a script with write flag using *_ro command.",
        ),
        ("FUNCTION DELETE g", "ERR Library not found"),
        ("FUNCTION LOAD x y", "ERR Unknown option given: x"),
        ("FUNCTION LOAD REPLACE", "ERR Missing library metadata"),
        ("FUNCTION LIST x", "ERR Unknown argument x"),
        (
            "FUNCTION LIST WITHCODE WITHCODE",
            "ERR Unknown argument WITHCODE",
        ),
        (
            "FUNCTION LIST LIBRARYNAME",
            "ERR library name argument was not given",
        ),
        (
            "FUNCTION FLUSH x",
            "ERR FUNCTION FLUSH only supports SYNC|ASYNC option",
        ),
        (
            "FUNCTION FLUSH SYNC x",
            "ERR unknown subcommand or wrong number of arguments for 'FLUSH'. Try FUNCTION HELP.",
        ),
        (
            "FUNCTION restore a b c",
            "ERR unknown subcommand or wrong number of arguments for 'restore'. Try FUNCTION HELP.",
        ),
        (
            "FUNCTION RESTORE abcdefghijkl",
            "ERR DUMP payload version or checksum are wrong",
        ),
        (
            "FUNCTION RESTORE a b",
            "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
        ),
        (
            "FUNCTION KILL",
            "NOTBUSY No scripts in execution right now.",
        ),
    ] {
        assert_eq!(harness.line(line), error(expected), "{line}");
    }
    assert_eq!(
        text(&harness.line("COMMAND GETKEYS FCALL f 2 a b c")),
        "a b"
    );
    assert_eq!(text(&harness.line("COMMAND GETKEYS FCALL_RO f 1 a")), "a");
    for line in ["FCALL f 0", "FCALL f 3 a", "FCALL f -1 a"] {
        let line = format!("COMMAND GETKEYS {line}");
        assert_eq!(harness.line(&line), Value::Array(vec![]), "{line}");
    }
    assert!(text(&harness.line("FUNCTION HELP")).starts_with("FUNCTION <subcommand>"));
}

/// What a function fails with names it and the line, as Redis 7.0.15 does.
#[test]
fn errors_of_functions() {
    let mut harness = with(
        "redis.register_function('keys', function(k, a) return {tostring(KEYS), 1} end)
        redis.register_function('table', function(k, a) error({err='MY bad'}) end)
        redis.register_function('reply', function(k, a) return redis.error_reply('MY bad') end)
        redis.register_function('lua', function(k, a) local x = nil + 1 end)
        redis.register_function('field', function(k, a) redis.nosuch() end)
        redis.register_function('again', function(k, a) redis.register_function('x', 1) end)
        redis.register_function('empty', function(k, a) redis.call() end)
        redis.register_function('unknown', function(k, a) return redis.pcall('nosuch') end)
        redis.register_function('command', function(k, a) return redis.call('incr', k[1]) end)
        redis.register_function('global', function(k, a) x = 1 end)",
    );
    harness.line("SET string x");
    for (call, expected) in [
        (
            "keys 0",
            "ERR user_function:2: Script attempted to access nonexistent global variable 'KEYS' script: keys, on \
             @user_function:2.",
        ),
        ("table 0", "MY bad script: table, on @user_function:3."),
        ("reply 0", "MY bad"),
        (
            "lua 0",
            "ERR user_function:5: attempt to perform arithmetic on a nil value script: lua, on @user_function:5.",
        ),
        (
            "FIELD 0",
            "ERR user_function:6: attempt to call field 'nosuch' (a nil value) script: field, on @user_function:6.",
        ),
        (
            "again 0",
            "ERR user_function:7: attempt to call field 'register_function' (a nil value) script: again, on \
             @user_function:7.",
        ),
        (
            "empty 0",
            "ERR Please specify at least one argument for this redis lib call script: empty, on @user_function:8.",
        ),
        ("unknown 0", "ERR Unknown Redis command called from script"),
        (
            "command 1 string",
            "ERR value is not an integer or out of range script: command, on @user_function:10.",
        ),
        (
            "global 0",
            "ERR user_function:11: Attempt to modify a readonly table script: global, on @user_function:11.",
        ),
    ] {
        assert_eq!(
            harness.line(&format!("FCALL {call}")),
            error(expected),
            "{call}"
        );
    }
}

#[test]
fn what_fails_to_load_is_told_and_leaves_nothing() {
    for (program, expected) in [
        (
            "local x = x y",
            "ERR Error compiling function: user_function:2: '=' expected near '<eof>'",
        ),
        (
            "\u{1b}Lua",
            "ERR Error compiling function: user_function:2: unexpected symbol near 'char(27)'",
        ),
        ("return 1", "ERR No functions registered"),
    ] {
        assert_eq!(refused(program), expected);
    }
    for (program, expected) in [
        (
            "redis.call('PING')",
            "user_function:2: Script attempted to access nonexistent global variable 'call'",
        ),
        (
            "math.random()",
            "user_function:2: Script attempted to access nonexistent global variable 'math'",
        ),
        (
            "local m = getmetatable(_G)",
            "user_function:2: Script attempted to access nonexistent global variable 'getmetatable'",
        ),
        (
            "a = 1",
            "user_function:2: Attempt to modify a readonly table",
        ),
        (
            "redis.x = 1",
            "user_function:2: Attempt to modify a readonly table",
        ),
        (
            "redis.register_function()",
            "wrong number of arguments to redis.register_function",
        ),
        (
            "redis.register_function('f', 1)",
            "second argument to redis.register_function must be a function",
        ),
        (
            "redis.register_function('f', function() end) redis.register_function('F', function() end)",
            "Function already exists in the library",
        ),
    ] {
        let expected = format!("ERR Error registering functions: ERR {expected}");
        assert_eq!(refused(program), expected);
    }
}

#[test]
fn a_failed_replacement_keeps_the_old_library() {
    let mut harness = with("redis.register_function('f', function() return 'old' end)");
    assert_eq!(
        load(
            &mut harness,
            "other",
            "redis.register_function('g', function() return 'g' end)"
        ),
        bulk("other")
    );
    for (program, expected) in [
        ("no program", "ERR Error compiling function"),
        (
            "redis.register_function('f')",
            "ERR Error registering functions",
        ),
        (
            "redis.register_function('f', function() end) redis.register_function('G', function() end)",
            "ERR Function G already exists",
        ),
    ] {
        let code = format!("#!lua name=lib\n{program}");
        let answer = text(&harness.run(&["FUNCTION", "LOAD", "REPLACE", &code]));
        assert!(answer.starts_with(expected), "{answer}");
        assert_eq!(harness.line("FCALL f 0"), bulk("old"));
        assert_eq!(harness.line("FCALL g 0"), bulk("g"));
    }
}

/// A library keeps what it was given for loading, but that is of no use later.
#[test]
fn what_loading_needs_is_of_no_use_later() {
    let mut harness = with(
        "local lib = redis
        lib.register_function('write', function() lib.redis = redis end)
        lib.register_function('again', function() lib.register_function('f', function() end) end)
        lib.register_function('share', function() local mt = getmetatable(_G) mt.__index.redis = 1 end)
        lib.register_function('loaded', function() return loadstring('return KEYS')() end)",
    );
    for (function, expected) in [
        ("write", "Attempt to modify a readonly table"),
        ("again", "can only be called on FUNCTION LOAD command"),
        ("share", "ERR"),
        ("loaded", "nonexistent global variable 'KEYS'"),
    ] {
        // A script's keys are not seen by functions.
        harness.line("EVAL return{KEYS[1]} 1 secret");
        let answer = harness.line(&format!("FCALL {function} 0"));
        assert!(matches!(answer, Value::Error(_)), "{function}: {answer:?}");
        assert!(text(&answer).contains(expected), "{answer:?}");
    }
    assert_eq!(
        text(&load(&mut harness, "b", "redis.redis.call('ping')")),
        "ERR Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable \
         'redis'"
    );
}

#[test]
fn readers_only_read() {
    let mut harness = with(
        "redis.register_function{function_name='set', flags={'no-writes'},
            callback=function(keys) return redis.call('SET', keys[1], 1) end}
        redis.register_function{function_name='get', flags={'no-writes'},
            callback=function(keys) return redis.call('GET', keys[1]) end}",
    );
    let expected = "ERR Write commands are not allowed from read-only scripts. script: set, on @user_function:3.";
    assert_eq!(harness.line("FCALL set 1 k"), error(expected));
    assert_eq!(harness.line("FCALL_RO set 1 k"), error(expected));
    harness.line("SET k v");
    assert_eq!(harness.line("FCALL_RO get 1 k"), bulk("v"));
    assert_eq!(harness.line("FCALL get 1 k"), bulk("v"));
}

#[test]
fn memory_that_is_over_is_asked_about_each_function() {
    let mut harness = with(
        "redis.register_function('plain', function(keys) return redis.call('SET', keys[1], 1) end)
        redis.register_function{function_name='allowed', flags={'allow-oom'},
            callback=function(keys) return redis.call('SET', keys[1], 1) end}
        redis.register_function{function_name='reader', flags={'no-writes'}, callback=function() return 'read' end}",
    );
    let refused = error("OOM command not allowed when used memory > 'maxmemory'.");
    let dump = harness.line("FUNCTION DUMP");
    harness.host.used_memory = 2000;
    harness.config("maxmemory", "1000");
    assert_eq!(harness.line("FCALL plain 1 k"), refused);
    assert_eq!(harness.line("FCALL allowed 1 k"), ok());
    assert_eq!(harness.line("FCALL reader 0"), bulk("read"));
    assert_eq!(harness.line("FCALL_RO reader 0"), bulk("read"));
    assert_eq!(load(&mut harness, "x", ""), refused);
    let Value::Bulk(dump) = dump else {
        panic!("{dump:?}")
    };
    assert_eq!(harness.run(&[b"FUNCTION", &b"RESTORE"[..], &dump]), refused);
    // Of those that were queued EXEC is asked by their own flags too.
    for (call, expected) in [
        ("FCALL reader 0", "read"),
        (
            "FCALL plain 1 k",
            "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.",
        ),
    ] {
        harness.host.used_memory = 0;
        assert_eq!(harness.line("MULTI"), ok());
        assert_eq!(harness.line(call), Value::Simple("QUEUED".into()));
        harness.host.used_memory = 2000;
        assert_eq!(text(&harness.line("EXEC")), expected);
    }
    assert_eq!(harness.line("FUNCTION FLUSH"), ok());
}

#[test]
fn functions_are_listed() {
    let mut harness = with(
        "redis.register_function{function_name='f', description='what it does', flags={'no-writes', 'allow-oom'},
            callback=function() end}
        redis.register_function('g', function() end)",
    );
    load(
        &mut harness,
        "Other",
        "redis.register_function('h', function() end)",
    );
    assert_eq!(
        text(&harness.line("FUNCTION LIST LIBRARYNAME L*")),
        "library_name lib engine LUA functions name f description what it does flags no-writes allow-oom name g \
         description NullBulk flags "
            .trim_end_matches('\n')
    );
    let listed = text(&harness.line("FUNCTION LIST WITHCODE LIBRARYNAME OTHER"));
    assert!(
        listed.contains("library_code #!lua name=Other\nredis.register"),
        "{listed}"
    );
    assert_eq!(
        text(&harness.line("FUNCTION STATS")),
        "running_script NullBulk engines LUA libraries_count 2 functions_count 3"
    );
    harness.resp3();
    let Value::Array(libraries) = harness.line("FUNCTION LIST") else {
        panic!("an array of libraries")
    };
    assert!(matches!(&libraries[0], Value::Map(pairs) if pairs.len() == 3));
    assert!(matches!(harness.line("FUNCTION STATS"), Value::Map(pairs) if pairs.len() == 2));
    let page = text(&harness.line("INFO memory"));
    assert!(
        page.contains("number_of_functions:3") && page.contains("number_of_libraries:2"),
        "{page}"
    );
}

#[test]
fn dumps_are_restored_all_or_nothing() {
    let mut harness = with("redis.register_function('f', function() return 'dumped' end)");
    let Value::Bulk(dump) = harness.line("FUNCTION DUMP") else {
        panic!("a dump is a bulk")
    };
    let restore = |harness: &mut Harness, policy: &str| {
        let mut words: Vec<&[u8]> = vec![b"FUNCTION", b"RESTORE", &dump];
        if !policy.is_empty() {
            words.push(policy.as_bytes());
        }
        harness.run(&words)
    };
    assert_eq!(
        restore(&mut harness, ""),
        error("ERR Library lib already exists")
    );
    assert_eq!(harness.line("FUNCTION DELETE lib"), ok());
    assert_eq!(restore(&mut harness, "append"), ok());
    assert_eq!(harness.line("FCALL f 0"), bulk("dumped"));
    let new = "#!lua name=lib\nredis.register_function('f', function() return 'new' end)";
    harness.run(&["FUNCTION", "LOAD", "REPLACE", new]);
    assert_eq!(harness.line("FCALL f 0"), bulk("new"));
    assert_eq!(restore(&mut harness, "REPLACE"), ok());
    assert_eq!(harness.line("FCALL f 0"), bulk("dumped"));
    harness.line("FUNCTION FLUSH ASYNC");
    let taken = "redis.register_function('F', function() return 'other' end)";
    assert_eq!(load(&mut harness, "other", taken), bulk("other"));
    assert_eq!(
        restore(&mut harness, "REPLACE"),
        error("ERR Function f already exists")
    );
    assert_eq!(harness.line("FCALL f 0"), bulk("other"));
    assert_eq!(restore(&mut harness, "FLUSH"), ok());
    assert_eq!(harness.line("FCALL f 0"), bulk("dumped"));
    assert_eq!(
        harness.line("FUNCTION DELETE other"),
        error("ERR Library not found")
    );
}

/// What FCALL did goes on, not that it was called; libraries go on as they came.
#[test]
fn effects_are_told_on() {
    let mut harness = Harness::new();
    harness.state.journal.attach(Targets::AOF);
    let code = "redis.register_function('f', function(keys) redis.call('SET', keys[1], 1) redis.call('INCR', keys[1]) end)";
    load(&mut harness, "lib", code);
    harness.line("FCALL f 1 k");
    harness.line("FUNCTION FLUSH");
    let bytes = {
        let mut bytes = Vec::new();
        harness.state.journal.take(Targets::AOF, &mut bytes);
        bytes
    };
    let told = String::from_utf8_lossy(&bytes).into_owned();
    let at = |word: &str| {
        told.find(&format!("\r\n{word}\r\n"))
            .unwrap_or_else(|| panic!("no {word} in {told}"))
    };
    let order = [
        at("LOAD"),
        at("MULTI"),
        at("SET"),
        at("INCR"),
        at("EXEC"),
        at("FLUSH"),
    ];
    assert!(order.is_sorted(), "{told}");
    assert!(!told.contains("FCALL"));
}

/// A start failed on what the append-only file repeated, or lost a library, because loading it took longer than before.
#[test]
fn what_a_client_loads_has_a_time_limit() {
    let program = "for i = 1, 1000000 do end redis.register_function('f', function() return 1 end)";
    let mut harness = with(program);
    let Value::Bulk(dump) = harness.line("FUNCTION DUMP") else {
        panic!("a dump is a bulk")
    };
    // Each look at the clock finds it a second later.
    harness.host.tick_ns = 1_000_000_000;
    let restore = |harness: &mut Harness| {
        let words: [&[u8]; 4] = [b"FUNCTION", b"RESTORE", &dump, b"FLUSH"];
        harness.run(&words)
    };
    for (kind, limited) in [(ClientKind::Normal, true), (ClientKind::Internal, false)] {
        harness.line("FUNCTION FLUSH");
        let client = harness.state.clients.get_mut(harness.client);
        client.expect("the client of the harness").session.kind = kind;
        let loaded = load(&mut harness, "lib", program);
        let timeout = error("ERR Error registering functions: ERR FUNCTION LOAD timeout");
        let (expected, restored) = match limited {
            true => (timeout.clone(), timeout),
            false => (bulk("lib"), ok()),
        };
        assert_eq!(loaded, expected, "{kind:?}");
        assert_eq!(restore(&mut harness), restored, "{kind:?}");
    }
}

/// What a primary sends has been within the limit there, which nobody here has seen: it has more time, and not for ever.
#[test]
fn what_a_primary_loads_has_more_time() {
    for (look_ms, is_there) in [(1, true), (10_000, false)] {
        let mut harness = Harness::new();
        harness.host.tick_ns = look_ms * 1_000_000;
        let program =
            "for i = 1, 100000 do end redis.register_function('f', function() return 1 end)";
        let code = format!("#!lua name=lib\n{program}");
        let request = crate::resp::OwnedRequest::from_slices(&["FUNCTION", "LOAD", &code]);
        let client = harness.state.clients.get_mut(harness.client);
        client.expect("the client of the harness").session.kind = ClientKind::Primary;
        let (state, host) = (&mut harness.state, &mut harness.host);
        crate::engine::process::process(state, host, harness.client, request.args());
        let libraries = &harness.state.scripting.libraries;
        assert_eq!(libraries.codes().len() == 1, is_there, "{look_ms}");
    }
}
