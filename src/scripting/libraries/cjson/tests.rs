//! JSON as Redis's scripts know it.

use mlua::{Function, Lua, MultiValue};
use proptest::prelude::*;

use super::super::error_text;
use super::install;

fn lua() -> Lua {
    let lua = Lua::new();
    install(&lua, &lua.globals()).unwrap();
    lua
}

fn text(lua: &Lua, script: &str) -> String {
    let text: mlua::String = lua.load(script).eval().unwrap();
    String::from_utf8_lossy(&text.as_bytes()).into_owned()
}

fn error(lua: &Lua, script: &str) -> String {
    error_text(&lua.load(script).set_name("=s").exec().unwrap_err())
}

#[test]
fn scalars_are_written() {
    let lua = lua();
    let check = |value: &str, wanted: &str| {
        assert_eq!(
            text(&lua, &format!("cjson.encode({value})")),
            wanted,
            "{value}"
        );
    };
    check("nil", "null");
    check("cjson.null", "null");
    check("true", "true");
    check("0", "0");
    check("-0.0", "-0");
    check("42", "42");
    check("0.1", "0.1");
    check("1/3", "0.33333333333333");
    check("99999999999999", "99999999999999");
    check("123456789012345", "1.2345678901234e+14");
    check("2^53", "9.007199254741e+15");
    check("1e100", "1e+100");
    check("1e-5", "1e-05");
    check("0.0001", "0.0001");
    check("'a\"b/c\\\\'", r#""a\"b\/c\\""#);
    check(
        r"'\0\1\8\9\10\11\12\13\27\127\200'",
        "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001b\\u007f\u{fffd}\"",
    );
}

#[test]
fn tables_are_lists_or_objects() {
    let lua = lua();
    let check = |value: &str, wanted: &str| {
        assert_eq!(
            text(&lua, &format!("cjson.encode({value})")),
            wanted,
            "{value}"
        );
    };
    check("{}", "{}");
    check("{1, 'x', true, {}}", r#"[1,"x",true,{}]"#);
    check("{a = 1}", r#"{"a":1}"#);
    check("{[1] = 1, [3] = 3}", "[1,null,3]");
    check("{[3] = {3}, [2] = 2, [1] = {1}}", "[[1],2,[3]]");
    check(
        "{[10] = 1}",
        "[null,null,null,null,null,null,null,null,null,1]",
    );
    check("{1, a = {}}", r#"{"1":1,"a":{}}"#);
    check("{{}, a = {}}", r#"{"1":{},"a":{}}"#);
    check("{[1.5] = 1}", r#"{"1.5":1}"#);
    check("{[0] = 1}", r#"{"0":1}"#);
    check("{[3e9] = 1}", r#"{"3000000000":1}"#);
    check(
        "{cjson.null, {a = {b = {1, {2}, 3}}}, 4}",
        r#"[null,{"a":{"b":[1,[2],3]}},4]"#,
    );
    check("{1, 2, nil, 4}", "[1,2,null,4]");
    // More tables than are held at once.
    let many = "(function() local t = {} for i = 1, 9000 do t[i] = {i} end return t end)()";
    let json = text(&lua, &format!("cjson.encode({many})"));
    assert!(json.starts_with("[[1],[2],") && json.ends_with(",[8999],[9000]]"));
    let many = "(function() local t = {} for i = 1, 9000 do t['k' .. i] = {i} end return t end)()";
    let json = text(&lua, &format!("cjson.encode({many})"));
    assert!(json.contains(r#""k8999":[8999]"#) && json.contains(r#""k1":[1]"#));
}

#[test]
fn what_json_cannot_say_is_refused() {
    let lua = lua();
    let check = |script: &str, wanted: &str| {
        assert_eq!(error(&lua, script), wanted, "{script}");
    };
    check(
        "cjson.encode(print)",
        "Cannot serialise function: type not supported",
    );
    check(
        "cjson.encode({x = {print}})",
        "Cannot serialise function: type not supported",
    );
    check(
        "cjson.encode({[true] = 1})",
        "Cannot serialise boolean: table key must be a number or string",
    );
    check(
        "cjson.encode({[11] = 1})",
        "Cannot serialise table: excessively sparse array",
    );
    check(
        "cjson.encode({print, [100] = 1})",
        "Cannot serialise table: excessively sparse array",
    );
    // The first in the order of the text is told, however deep it stands.
    check(
        "cjson.encode({{{[true] = 1}}, print})",
        "Cannot serialise boolean: table key must be a number or string",
    );
    check(
        "cjson.encode(0/0)",
        "Cannot serialise number: must not be NaN or Inf",
    );
    check(
        "cjson.encode({[math.huge] = 1})",
        "Cannot serialise number: must not be NaN or Inf",
    );
    check(
        "cjson.encode()",
        "bad argument #1 to 'encode' (expected 1 argument)",
    );
    check(
        "cjson.encode(1, 2)",
        "bad argument #1 to 'encode' (expected 1 argument)",
    );
    check(
        "local t = {} t[1] = t cjson.encode(t)",
        "Cannot serialise, excessive nesting (1001)",
    );
    check(
        "local t = {} t.x = t t.y = t cjson.encode(t)",
        "Cannot serialise, excessive nesting (1001)",
    );
}

#[test]
fn settings_hold_for_their_module() {
    let lua = lua();
    let check = |script: &str| {
        let ok: bool = lua.load(script).eval().unwrap();
        assert!(ok, "{script}");
    };
    check("local a, b, c = cjson.encode_sparse_array() return a == false and b == 2 and c == 10");
    check("cjson.encode_max_depth() == 1000 and cjson.decode_max_depth() == 1000");
    check("cjson.encode_number_precision() == 14 and cjson.encode_keep_buffer() == true");
    check("cjson.encode_invalid_numbers() == false and cjson.decode_invalid_numbers() == true");
    check("cjson._NAME == 'cjson' and cjson._VERSION == '2.1.0'");
    check("local c = cjson.new() c.encode_max_depth(2) return cjson.encode_max_depth() == 1000");
    check(
        "local c = cjson.new() c.encode_sparse_array(true) return c.encode({[99] = 1}) == '{\"99\":1}'",
    );
    check(
        "local c = cjson.new() c.encode_sparse_array(false, 0) return #c.encode({[99] = 1}) == 2 + 98 * 5 + 1",
    );
    check(
        "local c = cjson.new() c.encode_number_precision(3) return c.encode(1234.5) == '1.23e+03'",
    );
    check(
        "local c = cjson.new() c.encode_number_precision(3) return c.encode({999, 1000}) == '[999,1e+03]'",
    );
    check(
        "local c = cjson.new() return c.encode_invalid_numbers('null') == 'null' and c.encode({0/0}) == '[null]'",
    );
    check(
        "local c = cjson.new() return c.encode_invalid_numbers(true) and c.encode({0/0, 1/0, -1/0}) == '[nan,inf,-inf]'",
    );
    check("local c = cjson.new() return c.encode_keep_buffer('off') == false");
    check(
        "local c = cjson.new() c.decode_invalid_numbers(false) return not pcall(c.decode, '0x10')",
    );
    check(
        "local c = cjson.new() c.encode_max_depth(2) return not pcall(c.encode, {{{}}}) and pcall(c.encode, {{}})",
    );
    let fails = |script: &str, wanted: &str| {
        assert_eq!(error(&lua, script), wanted, "{script}");
    };
    fails(
        "cjson.encode_max_depth(0)",
        "bad argument #1 to 'encode_max_depth' (expected integer between 1 and 2147483647)",
    );
    fails(
        "cjson.encode_number_precision(15)",
        "bad argument #1 to 'encode_number_precision' (expected integer between 1 and 14)",
    );
    fails(
        "cjson.encode_sparse_array(true, -1)",
        "bad argument #1 to 'encode_sparse_array' (expected integer between 0 and 2147483647)",
    );
    fails(
        "cjson.encode_max_depth(1, 2)",
        "bad argument #2 to 'encode_max_depth' (found too many arguments)",
    );
    fails(
        "cjson.encode_invalid_numbers('x')",
        "bad argument #1 to 'encode_invalid_numbers' (invalid option 'x')",
    );
    fails(
        "cjson.encode_keep_buffer({})",
        "bad argument #1 to 'encode_keep_buffer' (string expected, got table)",
    );
    // The same text, or table, over and over: far too much if it were written.
    let huge = "not enough memory";
    let script =
        "local s = ('x'):rep(2^16) local t = {} for i = 1, 512 do t[i] = s end cjson.encode(t)";
    assert_eq!(error(&lua, script), huge);
    // A bound of ours stands where a script lifts its own.
    fails(
        "local c = cjson.new() c.encode_sparse_array(false, 0) c.encode({[2147483647] = 1})",
        "Cannot serialise table: excessively sparse array",
    );
    fails(
        "local c = cjson.new() c.encode_max_depth(2147483647) local t = {} t[1] = t c.encode(t)",
        "Cannot serialise, excessive nesting (4001)",
    );
    fails(
        "local c = cjson.new() c.decode_max_depth(2147483647) c.decode(('['):rep(100000))",
        "Found too many nested data structures (4001) at character 4001",
    );
}

#[test]
fn json_is_read() {
    let lua = lua();
    let check = |script: &str| {
        let ok: bool = lua.load(script).eval().unwrap();
        assert!(ok, "{script}");
    };
    let numbers = "table.concat(cjson.decode('[0.0, -5e3, -1, 0.3e-3, 1023.2, 0e10]'), ' ')";
    assert_eq!(text(&lua, numbers), "0 -5000 -1 0.0003 1023.2 0");
    let numbers = "table.concat(cjson.decode('[0x10, 0x1.8p1, -0xA, 0x.8, 1., 007, -.5, +5, 1e400, 0x, 0]'), ' ')";
    assert!(error(&lua, &format!("return {numbers}")).contains("invalid token"));
    let numbers = "table.concat(cjson.decode('[0x10, 0x1.8p1, -0xA, 0x.8, 1., 007, -.5, +5, 1e400, 12345678901234567890]'), ' ')";
    assert_eq!(
        text(&lua, numbers),
        "16 3 -10 0.5 1 7 -0.5 5 inf 1.2345678901235e+19"
    );
    check(
        "local t = cjson.decode('[inf, -Infinity, NaN, nan(x1)]') return t[1] == 1/0 and t[2] == -1/0 and t[3] ~= t[3]",
    );
    check("cjson.decode(' \\t\\r\\n5 ') == 5");
    check("cjson.decode('null') == cjson.null and cjson.decode('false') == false");
    check("cjson.decode('\"\"') == '' and cjson.decode('\"\\\\u0000\"') == '\\0'");
    check("cjson.decode([[\"\\\"\\\\\\/\\b\\t\\n\\f\\r\"]]) == '\"\\\\/\\b\\t\\n\\f\\r'");
    check("cjson.decode([[\"\\u00e9\\u20AC\\ud83d\\ude00x\"]]) == '\u{e9}\u{20ac}\u{1f600}x'");
    check(
        "local t = cjson.decode('{\"a\": {\"b\": [1, {}, []]}, \"c\": null}') return t.a.b[1] == 1 and t.c == cjson.null",
    );
    check("cjson.decode('[1,2]\\0garbage')[2] == 2");
    check("cjson.decode('{\"a\":1,\"a\":2}').a == 2");
    check("cjson.decode('{\"\\\\u0041b\":{\"c\\\\n\":\"\\\\t\"}}').Ab['c\\n'] == '\\t'");
    check("cjson.decode(12) == 12");
    check("#cjson.decode(('['):rep(1000) .. (']'):rep(1000)) == 1");
}

#[test]
fn what_is_no_json_is_refused() {
    let lua = lua();
    let check = |json: &str, wanted: &str| {
        assert_eq!(
            error(&lua, &format!("cjson.decode([==[{json}]==])")),
            wanted,
            "{json}"
        );
    };
    check("", "Expected value but found T_END at character 1");
    check("]", "Expected value but found T_ARR_END at character 1");
    check(
        "[1",
        "Expected comma or array end but found T_END at character 3",
    );
    check("[1,", "Expected value but found T_END at character 4");
    check(
        "[1 2]",
        "Expected comma or array end but found T_NUMBER at character 4",
    );
    check(
        "{",
        "Expected object key string but found T_END at character 2",
    );
    check(
        "{1:2}",
        "Expected object key string but found T_NUMBER at character 2",
    );
    check(
        "{\"a\"}",
        "Expected colon but found T_OBJ_END at character 5",
    );
    check(
        "{\"a\":1]",
        "Expected comma or object end but found T_ARR_END at character 7",
    );
    check(
        "{\"a\":1,}",
        "Expected object key string but found T_OBJ_END at character 8",
    );
    check(
        "5 true",
        "Expected the end but found T_BOOLEAN at character 3",
    );
    check("x", "Expected value but found invalid token at character 1");
    check(
        "nul",
        "Expected value but found invalid token at character 1",
    );
    check(
        "-",
        "Expected value but found invalid number at character 1",
    );
    check(
        "+",
        "Expected value but found invalid number at character 1",
    );
    check(
        "1e",
        "Expected the end but found invalid token at character 2",
    );
    check(
        "\"abc",
        "Expected value but found unexpected end of string at character 5",
    );
    check(
        "\"ab\\x\"",
        "Expected value but found invalid escape code at character 4",
    );
    check(
        "\"\\u12g4\"",
        "Expected value but found invalid unicode escape code at character 2",
    );
    check(
        "\"\\ud800\"",
        "Expected value but found invalid unicode escape code at character 2",
    );
    check(
        "\"\\udc00\\ud800\"",
        "Expected value but found invalid unicode escape code at character 2",
    );
    assert_eq!(
        error(&lua, "cjson.decode('a\\0')"),
        "JSON parser does not support UTF-16 or UTF-32"
    );
    assert_eq!(
        error(&lua, "cjson.decode(('['):rep(100000))"),
        "Found too many nested data structures (1001) at character 1001"
    );
    assert_eq!(
        error(&lua, "cjson.decode(('{\"a\":'):rep(100000))"),
        "Found too many nested data structures (1001) at character 5001"
    );
    assert_eq!(
        error(&lua, "cjson.decode({})"),
        "bad argument #1 to 'decode' (string expected, got table)"
    );
}

#[test]
fn json_cut_anywhere_is_an_error() {
    let lua = lua();
    let decode: Function = lua.load("cjson.decode").eval().unwrap();
    let json = r#"{"a":[1,2.5e3,"x\u00e9\n",{"b":null}],"c":true}"#;
    assert!(decode.call::<MultiValue>(json).is_ok());
    for end in 0..json.len() {
        assert!(decode.call::<MultiValue>(&json[..end]).is_err(), "{end}");
    }
}

/// JSON values, written without space.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (-99_999_999_999_999_i64..99_999_999_999_999).prop_map(|number| number.to_string()),
        Just("true".to_owned()),
        Just("null".to_owned()),
        "[a-z\u{e9}\u{1f600} ]{0,10}".prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..8)
                .prop_map(|values| format!("[{}]", values.join(","))),
            // One key: the order of more is the table's.
            ("[a-z]{1,3}", inner).prop_map(|(key, value)| format!("{{\"{key}\":{value}}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_read_is_written_again(json in json()) {
        let lua = lua();
        let again: Function = lua.load("function(s) return cjson.encode(cjson.decode(s)) end")
            .eval().unwrap();
        let written: String = again.call(json.as_str()).unwrap();
        prop_assert_eq!(written, json);
    }

    #[test]
    fn no_text_panics(json: Vec<u8>, spoiled in json(), at: usize, byte: u8) {
        let lua = lua();
        let decode: Function = lua.load("cjson.decode").eval().unwrap();
        let _ = decode.call::<MultiValue>(lua.create_string(&json).unwrap());
        let mut spoiled = spoiled.into_bytes();
        let at = at % spoiled.len();
        spoiled[at] = byte;
        let _ = decode.call::<MultiValue>(lua.create_string(&spoiled).unwrap());
    }
}
