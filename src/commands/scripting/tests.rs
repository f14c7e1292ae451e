//! What scripts see and answer.

use crate::commands::testing::{Harness, bulk, error, int, ok};
use crate::resp::reader::Value;

fn eval(harness: &mut Harness, script: &str) -> Value {
    harness.run(&["EVAL", script, "0"])
}

/// Redis writes such an error after a `-`, as a C string whose line breaks are cut off at the end only, and counts what
/// stands before its first blank.
#[test]
fn errors_with_an_odd_beginning_are_written_and_counted_as_redis_does() {
    for (text, wanted, code) in [
        ("\\r\\nq", &b"  q"[..], &b""[..]),
        ("q\\r\\n", b"q", b"ERR"),
        ("q q\\r\\n", b"q q", b"q"),
        ("a\\0b c", b"a", b"ERR"),
        ("\\0x y", b"", b"ERR"),
        (" ", b" ", b""),
        ("", b"", b"ERR"),
        ("-a q", b"-a q", b"-a"),
    ] {
        for nested in [false, true] {
            let mut harness = Harness::new();
            let script = match nested {
                true => format!("return {{{{err='{text}'}}}}"),
                false => format!("return {{err='{text}'}}"),
            };
            let wanted = Value::Error(wanted.to_vec());
            let wanted = if nested {
                Value::Array(vec![wanted])
            } else {
                wanted
            };
            assert_eq!(eval(&mut harness, &script), wanted, "{script}");
            let counted: Vec<_> = harness.state.observe.errors.iter().collect();
            assert_eq!(counted, [(&code.to_vec(), &1)], "{script}");
        }
    }
    let mut harness = Harness::new();
    let Value::Error(error) = eval(&mut harness, "error({err='\\r\\nq\\0r'})") else {
        panic!("an error")
    };
    assert!(error.starts_with(b"  q script: "), "{error:?}");
    assert!(harness.state.observe.errors.contains_key(&b""[..]));
}

#[test]
fn values_of_lua_become_replies() {
    let mut harness = Harness::new();
    for (script, expected) in [
        ("return 100.5", int(100)),
        ("return 'hello'", bulk("hello")),
        ("return true", int(1)),
        ("return false", Value::NullBulk),
        ("return nil", Value::NullBulk),
        ("return {ok='fine'}", Value::Simple("fine".into())),
        (
            "return {err='ERR This is an error'}",
            error("ERR This is an error"),
        ),
        (
            "return {1,2,3,'ciao',{1,2}}",
            Value::Array(vec![
                int(1),
                int(2),
                int(3),
                bulk("ciao"),
                Value::Array(vec![int(1), int(2)]),
            ]),
        ),
        ("return {double=3.5}", bulk("3.5")),
        (
            "return {big_number='12345678901234567890'}",
            bulk("12345678901234567890"),
        ),
        ("return _G", Value::Array(vec![])),
    ] {
        assert_eq!(eval(&mut harness, script), expected, "{script}");
    }
}

#[test]
fn commands_are_called_and_their_replies_converted() {
    let mut harness = Harness::new();
    for (script, expected) in [
        ("return redis.call('set','k','v')", ok()),
        ("return redis.call('get','k')", bulk("v")),
        (
            "return redis.call('get','none') == false and 1 or 2",
            int(1),
        ),
        ("return redis.call('incrby','n',41)+1", int(42)),
        (
            "redis.call('rpush','l',1,2.5,'c') return redis.call('lrange','l',0,-1)",
            Value::Array(vec![bulk("1"), bulk("2.5"), bulk("c")]),
        ),
        ("return redis.call('type','l')['ok']", bulk("list")),
        (
            "return redis.pcall('incr','k').err",
            bulk("ERR value is not an integer or out of range"),
        ),
    ] {
        assert_eq!(eval(&mut harness, script), expected, "{script}");
    }
    let answer = eval(&mut harness, "return redis.call('incr','k')");
    assert_eq!(
        answer,
        error(
            "ERR value is not an integer or out of range script: 1f71dc1cd0b838440b29a02b9ecb8480e01af28a, on @user_script:1."
        )
    );
}

#[test]
fn scripts_are_known_by_their_digest() {
    let mut harness = Harness::new();
    let digest = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    let unknown = error("NOSCRIPT No matching script. Please use EVAL.");
    assert_eq!(harness.run(&["EVALSHA", digest, "0"]), unknown);
    assert_eq!(harness.run(&["EVALSHA_RO", "short", "0"]), unknown);
    assert_eq!(harness.run(&["SCRIPT", "LOAD", "return 1"]), bulk(digest));
    assert_eq!(
        harness.run(&["EVALSHA", &digest.to_uppercase(), "0"]),
        int(1)
    );
    assert_eq!(harness.run(&["EVAL_RO", "return 1", "0"]), int(1));
    assert_eq!(
        harness.run(&["SCRIPT", "EXISTS", digest, "other"]),
        Value::Array(vec![int(1), int(0)])
    );
    assert_eq!(harness.run(&["SCRIPT", "SHOW", digest]), bulk("return 1"));
    assert_eq!(harness.line("SCRIPT FLUSH"), ok());
    assert_eq!(harness.run(&["EVALSHA", digest, "0"]), unknown);
    assert_eq!(
        harness.line("SCRIPT KILL"),
        error("NOTBUSY No scripts in execution right now.")
    );
    assert_eq!(harness.line("SCRIPT DEBUG NO"), ok());
    assert!(matches!(harness.line("SCRIPT HELP"), Value::Array(_)));
}

/// A script that was given much once kept the room for it.
#[test]
fn large_arguments_leave_no_large_room_behind() {
    let mut harness = Harness::new();
    let large = "x".repeat(1 << 20);
    for (arg, keeps) in [("small", true), (&large, false)] {
        assert_eq!(
            harness.run(&["EVAL", "return #ARGV[1]", "0", arg]),
            int(arg.len() as i64)
        );
        let room = harness.state.scripting.spare.memory_bytes();
        assert_eq!(room > 0, keeps);
    }
}

/// Calls of the `redis` table with the wrong number of arguments, and with numbers that C cannot cast.
#[test]
fn what_is_no_argument_is_told_as_redis_tells_it() {
    let mut harness = Harness::new();
    let flags = "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
    for (call, expected) in [
        (
            "redis.set_repl()",
            "redis.set_repl() requires one argument.",
        ),
        (
            "redis.set_repl(1, 2)",
            "redis.set_repl() requires one argument.",
        ),
        ("redis.set_repl(0/0)", flags),
        ("redis.set_repl(256)", flags),
        ("redis.setresp()", "redis.setresp() requires one argument."),
        ("redis.setresp(0/0)", "RESP version must be 2 or 3."),
        ("redis.sha1hex()", "wrong number of arguments"),
        (
            "redis.log(1)",
            "redis.log() requires two arguments or more.",
        ),
        (
            "redis.log('x', 'y')",
            "First argument must be a number (log level).",
        ),
        ("redis.log(0/0, 'y')", "Invalid log level."),
        (
            "redis.acl_check_cmd()",
            "Please specify at least one argument for this redis lib call",
        ),
        (
            "math.random('x')",
            "user_script:1: bad argument #1 to 'random' (number expected, got string)",
        ),
        (
            "math.random(1, {})",
            "user_script:1: bad argument #2 to 'random' (number expected, got table)",
        ),
        (
            "math.randomseed(nil)",
            "user_script:1: bad argument #1 to 'randomseed' (number expected, got nil)",
        ),
    ] {
        let answer = harness.run(&["EVAL", call, "0"]);
        let Value::Error(text) = &answer else {
            panic!("{call}: {answer:?}");
        };
        let text = String::from_utf8_lossy(text);
        let shown = text.split(" script: ").next();
        assert_eq!(shown, Some(format!("ERR {expected}").as_str()), "{call}");
    }
    // Numbers are text as Lua writes them.
    for (call, digest) in [
        (
            "redis.sha1hex(0/0) ",
            "03eaab157a1d1ab44dd8518f1632efd37ae16b69",
        ),
        (
            "redis.sha1hex(1e15)",
            "29649fb9b5a7f057fcfd4d03bc770039deb636be",
        ),
    ] {
        let script = format!("return {call}");
        assert_eq!(harness.run(&["EVAL", &script, "0"]), bulk(digest), "{call}");
    }
}
