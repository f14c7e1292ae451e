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
