//! Scripts and functions: random commands called from them, and values of every kind on their way through Lua.

use super::compare::Class;
use super::grammar::{Command, Grammar, Inner, pick};
use super::transactions::is_control;
use gyre::system::rng::Rng;

/// The one library; loaded at the beginning of an epoch.
pub const LIBRARY: &str = r#"#!lua name=differential
local function each(words, call)
  local out, at = {}, 1
  while words[at] do
    local keep, count = words[at], tonumber(words[at + 1])
    local reply = call(unpack(words, at + 2, at + 1 + count))
    if keep == 'keep' then out[#out + 1] = reply end
    at = at + 2 + count
  end
  return out
end
redis.register_function('calls', function(keys, args) return each(args, redis.pcall) end)
redis.register_function('strict', function(keys, args) return each(args, redis.call) end)
redis.register_function{
  function_name = 'reads',
  callback = function(keys, args) return each(args, redis.pcall) end,
  flags = {'no-writes'}}
redis.register_function{
  function_name = 'three',
  callback = function(keys, args) redis.setresp(3) return redis.pcall(unpack(args)) end}
redis.register_function{
  function_name = 'given',
  callback = function(keys, args) return {keys, args, #keys, #args, keys[1] or false} end,
  flags = {'no-writes', 'allow-stale', 'no-cluster'}}
"#;

/// Calls the commands of ARGV one after the other: whether its reply is wanted, how many words, the words.
const CALLS: &str = "local out, at = {}, 1 while ARGV[at] do \
    local keep, count = ARGV[at], tonumber(ARGV[at + 1]) \
    local reply = redis.pcall(unpack(ARGV, at + 2, at + 1 + count)) \
    if keep == 'keep' then out[#out + 1] = reply end at = at + 2 + count end return out";

/// Values through the libraries; ARGV are random values.
const ROUND_TRIPS: &[&str] = &[
    "return cjson.encode(ARGV)",
    "return cjson.decode(cjson.encode(ARGV))",
    "return cjson.encode({tonumber(ARGV[1]) or 0, tonumber(ARGV[2]) or 'none', {}, {1, {2}}, true, cjson.null})",
    "return {pcall(cjson.decode, ARGV[1])}",
    "return cjson.encode(cjson.decode('[1,2.5,\"x\",null,true,[],{}]'))",
    "return {cjson.decode('{\"a\":[1,2,{\"b\":3}]}').a[3].b, cjson.encode(1e20), cjson.encode(0.1), cjson.encode(-0.5e-7)}",
    "return cjson.encode({[1] = ARGV[1], [2] = ARGV[2], [4] = ARGV[3]})",
    "return cjson.encode({['k' .. ARGV[1]] = ARGV[2]})",
    "return redis.sha1hex(ARGV[1])",
    "return cmsgpack.pack(ARGV)",
    "return cmsgpack.pack(tonumber(ARGV[1]) or ARGV[1], tonumber(ARGV[2]), true, false, nil, {1, {2, 'x'}})",
    "return {cmsgpack.unpack(cmsgpack.pack(unpack(ARGV)))}",
    "return {pcall(cmsgpack.unpack, ARGV[1])}",
    "return {pcall(cmsgpack.unpack_one, cmsgpack.pack(unpack(ARGV)), 1)}",
    "return {pcall(cmsgpack.unpack_limit, cmsgpack.pack(unpack(ARGV)), 2, 0)}",
    "local n = tonumber(ARGV[1]) or 77 return {struct.pack('>I2i4<i8', n % 1000, 5, 6), struct.pack('>d<f', n, n)}",
    "return {struct.unpack('>I2i4sBz', struct.pack('>I2i4sBz', 9, -9, ARGV[1], 200, 'x'))}",
    "return {pcall(struct.unpack, '>I4', ARGV[1])}",
    "return {struct.unpack('Bc0', struct.pack('Bc0', #ARGV[1] % 256, ARGV[1])), struct.size('>I2i4!8bL')}",
    "local n = tonumber(ARGV[1]) or 3 return {bit.tobit(n), bit.bnot(n), bit.band(n, 255), bit.bor(n, 7), \
     bit.bxor(n, 5), bit.lshift(n, 3), bit.rshift(n, 3), bit.arshift(n, 3), bit.rol(n, 9), bit.ror(n, 9), \
     bit.bswap(n), bit.tohex(n), bit.tohex(n, -4)}",
    "return {tostring(tonumber(ARGV[1])), tonumber(ARGV[1]), tostring(tonumber(ARGV[2], 16))}",
    "return {pcall(function() return ARGV[1] + ARGV[2] end)}",
    "return {pcall(function() return ARGV[1] < ARGV[2] end)}",
    "return {pcall(function() return nosuch(ARGV[1]) end)}",
    "return {pcall(function() return ARGV[1].x.y end)}",
    "return {pcall(function() nosuch = 1 end)}",
    "return {ARGV[1]:rep(3, ','), ARGV[1]:upper(), ARGV[1]:reverse(), ARGV[1]:sub(2, -2), ARGV[1]:byte(1, 3)}",
    "return {string.format('%s|%5s|%-5s|%q', ARGV[1], ARGV[1], 'x', ARGV[2])}",
    "local n = tonumber(ARGV[1]) or 7.25 return {pcall(string.format, '%d %5.2f %g %e %x %c %i', n, n, n, n, 300, 65, 3)}",
    "return {ARGV[1]:find('l+'), ARGV[1]:match('(%w)(%w*)'), ARGV[1]:gsub('[ab]', '<%0>')}",
    "local t = {unpack(ARGV)} table.sort(t) return {t, table.concat(t, '-'), #t}",
    "local t = {} for w in ARGV[1]:gmatch('%a') do t[#t + 1] = w end return t",
    "local n = tonumber(ARGV[1]) or 5 return {math.floor(n), math.ceil(n), math.abs(n), math.max(n, 3), n % 3, n / 3, 2 ^ 3}",
    "return {KEYS[1] or false, #KEYS, #ARGV, select('#', unpack(ARGV)), type(ARGV[1])}",
    "redis.call('SET', 'str0', 'v', 'PX', 1) local n = 0 for i = 1, 300000 do n = n + i end \
     local v = redis.call('GET', 'str0') redis.call('DEL', 'str0') return v",
    "return {redis.pcall('GET'), redis.pcall('NOSUCH', 'x'), redis.pcall('MULTI'), redis.pcall('SUBSCRIBE', 'c')}",
    "return redis.pcall()",
    "return redis.call('GET', {})",
    "return {redis.pcall('ECHO', 1.5), redis.pcall('ECHO', 1e15), redis.pcall('ECHO', 1e20), redis.pcall('ECHO', -0.1)}",
    "local e = redis.pcall('GET', KEYS[1] or 'list0', 'more') return {e.err, type(e), e.ok or 'none'}",
    "error(ARGV[1])",
    "error({err = 'MINE ' .. #ARGV[1]})",
    "return redis.error_reply(ARGV[1])",
    "return redis.error_reply('MINE and ' .. #ARGV[1])",
    "return redis.status_reply(ARGV[1]:gsub('[\\r\\n]', ''))",
    "return redis.call('ECHO', unpack(ARGV))",
    "local ok, e = pcall(redis.call, 'LPUSH', 'str0') return {ok, type(e), type(e) == 'table' and e.err or tostring(e)}",
    "return {pcall(cjson.encode, {[1] = 1, [100] = 2})}",
    "return {pcall(cjson.encode, {1, function() end})}",
    "return {pcall(cjson.encode, 1/0), pcall(cjson.encode, 0/0)}",
    "return {pcall(cjson.decode, '[' .. ARGV[1] .. ',' .. ARGV[2] .. ']')}",
    "return {pcall(cjson.decode, '{\"' .. ARGV[1] .. '\":' .. ARGV[2])}",
    "local d = cjson.decode('[1e400,-0,1E5,0.1e-5,\"\\\\u00e9\\\\n\\\\ud83d\\\\ude00\"]') return {tostring(d[1]), tostring(d[2]), d[3], tostring(d[4]), d[5]}",
    "local ok, t = pcall(cjson.decode, ARGV[1]) return {ok, type(t), tostring(ok and type(t) ~= 'table' and t)}",
    "return cjson.encode(tonumber(ARGV[1]) or ARGV[1])",
    "return cmsgpack.pack({a = tonumber(ARGV[1]) or ARGV[1]})",
    "return cmsgpack.pack({tonumber(ARGV[1]), -33, 128, -129, 65536, -2^31 - 1, 2^32, 2^53, 2^63, 1e300, 0.5})",
    "return cmsgpack.pack({[1] = 'x', [2] = 'y', [3] = {}}, ARGV[1]:rep(50))",
    "return {cmsgpack.unpack(cmsgpack.pack(tonumber(ARGV[1]), ARGV[2], {ARGV[3]}))}",
    "return {pcall(struct.pack, ARGV[1], 1, 2)}",
    "return {pcall(struct.unpack, 'z', ARGV[1])}",
    "return {pcall(struct.unpack, 'i3', ARGV[1], 1)}",
    "return {pcall(struct.pack, 'i33', 1)}",
    "return {pcall(struct.pack, 'c3', ARGV[1])}",
    "return {pcall(struct.size, 's')}",
    "return {pcall(bit.band, ARGV[1], 7)}",
    "return {pcall(bit.lshift, 1)}",
    "return {pcall(bit.tohex, ARGV[1], 20)}",
    "return {pcall(function() return (string.rep()) end)}",
    "return {pcall(string.format, '%d', ARGV[1])}",
    "return {pcall(string.format, ARGV[1], 1)}",
    "return {pcall(string.find, ARGV[1], ARGV[2])}",
    "return {pcall(string.gsub, ARGV[1], '.', ARGV[2])}",
    "return {pcall(table.concat, {1, {}, 3})}",
    "return {pcall(table.concat, ARGV, ARGV[1], 2, 4)}",
    "return {pcall(ipairs)}",
    "return {pcall(function() local t = setmetatable({}, 1) return t end)}",
    "return {pcall(redis.call, 'GET')}",
    "return {pcall(redis.error_reply, {})}",
    "return {pcall(redis.setresp, 4)}",
    "return {pcall(redis.setresp)}",
    "return {pcall(redis.set_repl, 9)}",
    "return {pcall(redis.log, 'x', 'y')}",
    "return {pcall(redis.log)}",
    "return {pcall(redis.sha1hex)}",
    "return {pcall(redis.acl_check_cmd, 'GET', 'x')}",
    "return {pcall(redis.acl_check_cmd, 'NOSUCH', 'x')}",
    "return {pcall(redis.register_function, 'x', print)}",
    "return {pcall(loadstring('return ' .. ARGV[1]) or tostring)}",
    "return {loadstring('syntax error here')}",
    "local n = 0 for k, v in pairs(ARGV) do n = n + k end for i, v in ipairs(KEYS) do n = n + #v end return n",
    "local t = setmetatable({}, {__index = function(t, k) return k .. '!' end, __call = function(_, x) return x end}) return {t.a, t(ARGV[1])}",
    "local co = coroutine.wrap(function(a) local b = coroutine.yield(a) return b end) return {co(ARGV[1]), co(ARGV[2])}",
    "return {pcall(coroutine.wrap(function() error('inside') end))}",
    "local f = function(...) return select('#', ...), ... end return {f(nil, ARGV[1])}",
    "KEYS = 1",
    "redis = 1",
    "redis.call = 1",
    "string.rep = 1",
    "return {pcall(rawset, string, 'x', 1)}",
    "return {pcall(function() local x = nil; return #x end)}",
    "return {pcall(function() return {} .. 'x' end)}",
    "return {pcall(function() return {} < {} end)}",
    "return {pcall(function() return -ARGV[1] end)}",
    "return {pcall(function() for i = 1, ARGV[1] do return i end end)}",
    "return {pcall(error)}",
    "return {pcall(error, {code = 5})}",
    "return {pcall(error, 'text', 0)}",
    "return {xpcall(function() error(ARGV[1]) end, function(m) return 'handled ' .. m end)}",
    "error()",
    "error({err = 5})",
    "error({err = ''})",
    "error({err = ARGV[1]})",
    "error(5)",
    "error(nil)",
    "error('text', 0)",
    "local function f() error({err = 'DEEP x', source = 'me', line = '7'}) end f()",
    "return {redis.error_reply('-X y'), redis.error_reply('X  y'), redis.error_reply('X\\r\\ny'), redis.error_reply(' ')}",
    "return redis.call('GET', KEYS[1], 'x')",
    "return redis.call('INCR', 'list0', redis.call('LPUSH', 'list0', 'x'))",
    "local e = redis.pcall('INCR', 'hash0', 'x') error(e)",
    "local ok, e = pcall(redis.call, 'INCR', 'hash0', 'x') error(e)",
    "assert(false, ARGV[1])",
    "assert(nil)",
    "assert(redis.pcall('NOSUCH').ok, 'gone')",
    "return nosuch",
    "return syntax error",
    "return {redis.REDIS_VERSION_NUM ~= nil, redis.REPL_ALL, redis.LOG_WARNING, _VERSION}",
    "#!lua flags=no-writes\nreturn redis.pcall('SET', 'str1', 'x')",
    "#!lua flags=no-writes\nreturn redis.call('SET', 'str1', 'x')",
    "#!lua flags=nosuch\nreturn 1",
    "#!lua\nreturn #ARGV",
    "#!python\nreturn 1",
];

fn own(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}

/// One of the grammar's that a script may call; now and then one that it may not.
fn inner(grammar: &Grammar, rng: &mut Rng) -> Command {
    loop {
        let command = grammar.command(rng, true);
        // A script's arguments still refer to the value.
        let refcount =
            command.class == Class::Loose && command.words[0].eq_ignore_ascii_case(b"OBJECT");
        if !refcount && (!is_control(&command) || rng.index(4) == 0) {
            return command;
        }
    }
}

/// A step: what is sent before it, and it.
pub fn script(grammar: &Grammar, rng: &mut Rng, on: usize, out: &mut Vec<Command>) {
    let mut command = match rng.index(10) {
        0..=2 => several(grammar, rng, out, on),
        3..=4 => one(grammar, rng, out, on),
        5 => three(grammar, rng, out, on),
        6..=7 => {
            let values: Vec<Vec<u8>> = (0..3).map(|_| value(rng)).collect();
            let source = pick(rng, ROUND_TRIPS);
            let words = eval(rng, source.as_bytes(), &[], &values, out, on);
            Command::new(words, Class::Exact)
        }
        8 => {
            let mut source = String::new();
            if rng.index(3) == 0 {
                source.push_str("redis.setresp(3) ");
            }
            source.push_str("return ");
            expression(rng, 3, &mut source);
            Command::new(
                eval(rng, source.as_bytes(), &[], &[], out, on),
                Class::Exact,
            )
        }
        _ => {
            let words: Vec<Vec<u8>> = (0..rng.index(4)).map(|_| value(rng)).collect();
            let keys = rng
                .index(words.len() + 2)
                .saturating_sub(usize::from(rng.index(4) != 0));
            let name = pick(rng, &["FCALL", "FCALL_RO"]);
            let function = pick(rng, &["given", "given", "given", "nosuch", "GIVEN"]);
            let mut call = own(&[
                name.as_bytes(),
                function.as_bytes(),
                keys.to_string().as_bytes(),
            ]);
            call.extend(words);
            Command::new(call, Class::Exact)
        }
    };
    command.on = on;
    out.push(command);
}

fn value(rng: &mut Rng) -> Vec<u8> {
    const VALUES: &[&str] = &[
        "a",
        "hello world",
        "",
        "1",
        "-7",
        "3.25",
        "1e3",
        "0x10",
        "9007199254740993",
        "-0",
        "[1,2]",
        "{\"a\":1}",
        "[1.5,null]",
        "\"x\"",
        "[1,",
        "4294967296",
        "1e300",
        "%d",
        "nan",
        "inf",
        "\u{e9}t\u{e9}",
        " 12 ",
        "aabbll",
    ];
    match rng.index(12) {
        0 => (0..rng.index(12)).map(|_| rng.index(256) as u8).collect(),
        1 => vec![b'v'; 40],
        2 => rng.index(100_000).to_string().into_bytes(),
        _ => pick(rng, VALUES).into(),
    }
}

/// EVAL, EVAL_RO, or EVALSHA of what was loaded before; sometimes of what was not.
fn eval(
    rng: &mut Rng,
    source: &[u8],
    keys: &[Vec<u8>],
    args: &[Vec<u8>],
    out: &mut Vec<Command>,
    on: usize,
) -> Vec<Vec<u8>> {
    let count = keys.len().to_string().into_bytes();
    let mut words = match rng.index(8) {
        0 => own(&[b"EVAL_RO", source]),
        1 | 2 => {
            let mut load = Command::new(own(&[b"SCRIPT", b"LOAD", source]), Class::Exact);
            load.on = on;
            out.push(load);
            let name: &[u8] = if rng.index(4) == 0 {
                b"EVALSHA_RO"
            } else {
                b"EVALSHA"
            };
            own(&[name, sha1(source).as_bytes()])
        }
        _ => own(&[b"EVAL", source]),
    };
    words.push(count);
    words.extend(keys.iter().cloned());
    words.extend(args.iter().cloned());
    words
}

fn sha1(text: &[u8]) -> String {
    use sha1::Digest as _;
    let sum = sha1::Sha1::digest(text);
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Commands as arguments of [`CALLS`], and those whose replies come back.
fn list_of_calls(grammar: &Grammar, rng: &mut Rng) -> (Vec<Vec<u8>>, Vec<Command>) {
    let (mut args, mut kept) = (Vec::new(), Vec::new());
    let mut add = |keep: &[u8], words: &[Vec<u8>]| {
        args.push(keep.to_vec());
        args.push(words.len().to_string().into_bytes());
        args.extend(words.iter().cloned());
    };
    for _ in 0..1 + rng.index(5) {
        let command = inner(grammar, rng);
        add(b"keep", &command.words);
        command.after.iter().for_each(|words| add(b"drop", words));
        kept.push(command);
    }
    (args, kept)
}

/// Several calls in a row.
fn several(grammar: &Grammar, rng: &mut Rng, out: &mut Vec<Command>, on: usize) -> Command {
    let (args, kept) = list_of_calls(grammar, rng);
    let words = if rng.index(2) == 0 {
        eval(rng, CALLS.as_bytes(), &[], &args, out, on)
    } else {
        let name = pick(rng, &["FCALL", "FCALL", "FCALL", "FCALL_RO"]);
        let function = pick(rng, &["calls", "calls", "strict", "reads", "reads"]);
        let mut words = own(&[name.as_bytes(), function.as_bytes(), b"0"]);
        words.extend(args);
        words
    };
    Command {
        inner: Inner::Listed(kept),
        ..Command::new(words, Class::Exact)
    }
}

/// One call, its words as text of the script, as arguments or in part as keys.
fn one(grammar: &Grammar, rng: &mut Rng, out: &mut Vec<Command>, on: usize) -> Command {
    let called = inner(grammar, rng);
    let call = pick(rng, &["redis.call", "redis.pcall"]);
    let words = called.words.as_slice();
    let words = match rng.index(4) {
        0 | 1 => {
            let mut source = format!("return {call}(");
            for (at, word) in words.iter().enumerate() {
                if at > 0 {
                    source.push_str(", ");
                }
                literal(rng, word, &mut source);
            }
            source.push(')');
            eval(rng, source.as_bytes(), &[], &[], out, on)
        }
        2 if words.len() > 1 => {
            let source = format!("return {call}(ARGV[1], KEYS[1], unpack(ARGV, 2))");
            let mut rest = vec![words[0].clone()];
            rest.extend_from_slice(&words[2..]);
            eval(rng, source.as_bytes(), &words[1..2], &rest, out, on)
        }
        _ => {
            let source = format!("local r = {call}(unpack(ARGV)) return r");
            eval(rng, source.as_bytes(), &[], words, out, on)
        }
    };
    Command {
        after: called.after.clone(),
        inner: Inner::Itself(Box::new(called)),
        ..Command::new(words, Class::Exact)
    }
}

/// One call whose reply comes into Lua as RESP3 has it; there maps and sets lose their order.
fn three(grammar: &Grammar, rng: &mut Rng, out: &mut Vec<Command>, on: usize) -> Command {
    let called = loop {
        let called = inner(grammar, rng);
        if matches!(called.class, Class::Exact | Class::Unordered | Class::Pairs) {
            break called;
        }
    };
    let words = if rng.index(2) == 0 {
        let source = b"redis.setresp(3) return redis.pcall(unpack(ARGV))";
        eval(rng, source, &[], &called.words, out, on)
    } else {
        let mut words = own(&[b"FCALL", b"three", b"0"]);
        words.extend(called.words.iter().cloned());
        words
    };
    Command {
        inner: Inner::Itself(Box::new(Command {
            class: Class::AnyOrder,
            ..called
        })),
        ..Command::new(words, Class::AnyOrder)
    }
}

/// A word as Lua has it.
fn literal(rng: &mut Rng, word: &[u8], out: &mut String) {
    let text = std::str::from_utf8(word).unwrap_or_default();
    let number = text.parse::<i32>().map(|number| number.to_string());
    if number.is_ok_and(|number| number == text) && rng.index(2) == 0 {
        out.push_str(text);
        return;
    }
    out.push('\'');
    for byte in word {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'*' | b'-' | b'+' => {
                out.push(char::from(*byte));
            }
            other => out.push_str(&format!("\\{other:03}")),
        }
    }
    out.push('\'');
}

/// An expression whose value becomes a reply.
fn expression(rng: &mut Rng, depth: usize, out: &mut String) {
    const SIMPLE: &[&str] = &[
        "nil",
        "true",
        "false",
        "0",
        "3.99",
        "-3.99",
        "1e3",
        "2^53",
        "2^31",
        "-2^40",
        "'x'",
        "''",
        "'1.5'",
        "'\\r\\n'",
        "{}",
        "{nil}",
        "{1, nil, 3}",
        "{1, 2, n = 3}",
        "{ok = 'FINE'}",
        "{ok = 'two\\nlines'}",
        "{ok = 5}",
        "{err = 'MINE text'}",
        "{err = 'no code'}",
        "{err = 'two\\r\\nlines'}",
        "{err = 5}",
        "redis.error_reply('x')",
        "redis.error_reply('-MINE x')",
        "redis.error_reply('')",
        "redis.error_reply()",
        "redis.status_reply('x')",
        "redis.status_reply(1)",
        "{double = 1.5}",
        "{double = -0.1}",
        "{double = 1e100}",
        "{double = '2'}",
        "{map = {}}",
        "{map = {a = 1}}",
        "{map = {[1] = {2, 3}}}",
        "{map = 5}",
        "{set = {}}",
        "{set = {a = true}}",
        "{set = {[7] = true}}",
        "{big_number = '123456789012345678901234567890'}",
        "{big_number = '1\\r\\n2'}",
        "{verbatim_string = {format = 'txt', string = 'hi'}}",
        "{verbatim_string = {format = 'toolong', string = 'hi'}}",
        "{verbatim_string = 'hi'}",
        "function() end",
        "redis",
        "print",
        "tostring(12345678901234567890)",
        "tostring(0.1)",
        "1/0",
        "7 % -3",
        "'10' + 5",
        "#'abc'",
        "not nil",
        "1 == 1.0",
        "'a' .. 1 .. 2.5",
        "tonumber('0x1F')",
        "tonumber('z', 36)",
        "string.format('%.3f', 2/3)",
        "type(redis.call)",
        "select(2, 'a', 'b', 'c')",
        "cjson.encode({1, 'x', cjson.null})",
        "cmsgpack.pack({1, -1, 1.5, 'x', true, 70000, 2^40})",
        "struct.pack('<i2', 5)",
        "bit.band(-1, 65535)",
        "redis.sha1hex('x')",
    ];
    if depth > 0 && rng.index(3) == 0 {
        out.push('{');
        for at in 0..rng.index(5) {
            if at > 0 {
                out.push_str(", ");
            }
            expression(rng, depth - 1, out);
        }
        out.push('}');
    } else {
        out.push_str(pick(rng, SIMPLE));
    }
}
