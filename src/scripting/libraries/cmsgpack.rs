//! `cmsgpack`: values to MessagePack and back.
//!
//! A table whose keys are exactly the integers from 1 to its size is an array, every other one a map. A number is an
//! integer where that loses nothing, else a float where that loses nothing, else a double. Tables nested deeper than 16
//! are packed as nil, and so is what MessagePack knows nothing of. Mirrors `lua_cmsgpack.c`.

use mlua::{Lua, Table, Value, Variadic};

use super::arguments::{Args, as_i32, as_i64, set_function};
use super::pieces::{self, Piece};
use super::{MOST_HANDLES, check_room};

/// How deep packed tables nest: what stops at a table that contains itself.
const MOST_NESTING: usize = 16;

/// How many values one call unpacks at most: Lua gives a function no more room.
const MOST_RESULTS: usize = 7000;

/// What Lua says before the reason when its stack cannot grow.
const TOO_MANY_RESULTS: &str =
    "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)";

/// Sets the global `cmsgpack`.
///
/// # Errors
/// When the interpreter has no memory left.
pub fn install(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let table = lua.create_table()?;
    set_function(lua, &table, "pack", |args| {
        if args.len() == 0 {
            return Err(args.bad(0, "MessagePack pack needs input."));
        }
        let mut packer = Packer::default();
        for index in 1..=args.len() {
            if let Some(value) = args.get(index) {
                packer.value(value, 0)?;
            }
        }
        args.lua.create_string(packer.out)
    })?;
    set_function(lua, &table, "unpack", |args| unpack(args, 0, 0))?;
    set_function(lua, &table, "unpack_one", |args| {
        let offset = args.integer_or(2, 0)?;
        unpack(args, 1, offset)
    })?;
    set_function(lua, &table, "unpack_limit", |args| {
        let limit = args.check_integer(2)?;
        let offset = args.integer_or(3, 0)?;
        unpack(args, limit, offset)
    })?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    globals.raw_set("cmsgpack", table)
}

#[derive(Default)]
struct Packer {
    out: Vec<u8>,
}

impl Packer {
    fn value(&mut self, value: &Value, level: usize) -> mlua::Result<()> {
        check_room(self.out.len(), 0)?;
        match value {
            Value::Boolean(truth) => self.out.push(0xc2 | u8::from(*truth)),
            Value::Integer(number) => self.integer(*number),
            Value::Number(number) => self.number(*number),
            Value::String(text) => {
                let text = text.as_bytes();
                check_room(self.out.len(), text.len())?;
                let length = text.len() as u32;
                match length {
                    0..=0x1f => self.out.push(0xa0 | length as u8),
                    0x20..=0xff => self.out.extend_from_slice(&[0xd9, length as u8]),
                    _ => self.length(0xda, length),
                }
                self.out.extend_from_slice(&text);
            }
            Value::Table(table) if level < MOST_NESTING => self.table(table, level)?,
            _ => self.out.push(0xc0),
        }
        Ok(())
    }

    /// A code for a length of 16 bits or the next code for one of 32 bits, and the length.
    fn length(&mut self, code: u8, length: u32) {
        match u16::try_from(length) {
            Ok(length) => {
                self.out.push(code);
                self.out.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                self.out.push(code + 1);
                self.out.extend_from_slice(&length.to_be_bytes());
            }
        }
    }

    /// A code and the last `bytes` bytes of a number.
    fn coded(&mut self, code: u8, number: i64, bytes: usize) {
        self.out.push(code);
        self.out
            .extend_from_slice(&number.to_be_bytes()[8 - bytes..]);
    }

    fn integer(&mut self, number: i64) {
        match number {
            -32..=0x7f => self.out.push(number as u8),
            0x80..=0xff => self.coded(0xcc, number, 1),
            0x100..=0xffff => self.coded(0xcd, number, 2),
            0x1_0000..=0xffff_ffff => self.coded(0xce, number, 4),
            0x1_0000_0000.. => self.coded(0xcf, number, 8),
            -0x80..=-33 => self.coded(0xd0, number, 1),
            -0x8000..=-0x81 => self.coded(0xd1, number, 2),
            -0x8000_0000..=-0x8001 => self.coded(0xd2, number, 4),
            _ => self.coded(0xd3, number, 8),
        }
    }

    fn number(&mut self, number: f64) {
        if as_i64(number) as f64 == number {
            return self.integer(as_i64(number));
        }
        let float = number as f32;
        if f64::from(float) == number {
            self.out.push(0xca);
            self.out.extend_from_slice(&float.to_be_bytes());
        } else {
            self.out.push(0xcb);
            self.out.extend_from_slice(&number.to_be_bytes());
        }
    }

    /// Packs a table in one pass where its first keys tell what it is; recursion is bounded by [`MOST_NESTING`].
    fn table(&mut self, table: &Table, level: usize) -> mlua::Result<()> {
        let start = self.out.len();
        // The code stands before the elements, and their number is known only after them.
        self.out.push(0);
        let mut count: i64 = 0;
        let mut array = true;
        let mut unclear = false;
        let packed = table.for_each(|key: Value, value: Value| {
            if array {
                match key {
                    Value::Integer(index) if index == count + 1 => {
                        count += 1;
                        return self.value(&value, level + 1);
                    }
                    Value::Integer(_) | Value::Number(_) => unclear = true,
                    _ => unclear = count > 0,
                }
                if unclear {
                    return Err(mlua::Error::StackError);
                }
                array = false;
            }
            count += 1;
            self.value(&key, level + 1)?;
            self.value(&value, level + 1)
        });
        if unclear {
            self.out.truncate(start);
            return self.table_in_two_passes(table, level);
        }
        packed?;
        self.patch_head(start, array, count);
        Ok(())
    }

    /// Puts the code of `count` elements in the byte kept at `start`, and makes room where it is longer.
    fn patch_head(&mut self, start: usize, array: bool, count: i64) {
        if count <= 15 {
            self.out[start] = if array { 0x90 } else { 0x80 } | count as u8;
            return;
        }
        let body = self.out.len();
        self.head(array, count);
        let head = self.out.split_off(body);
        self.out.splice(start..=start, head);
    }

    fn head(&mut self, array: bool, count: i64) {
        let (short, long) = if array { (0x90, 0xdc) } else { (0x80, 0xde) };
        if count <= 15 {
            self.out.push(short | count as u8);
        } else {
            self.length(long, count as u32);
        }
    }

    /// Packs a table after a look at all its keys.
    fn table_in_two_passes(&mut self, table: &Table, level: usize) -> mlua::Result<()> {
        let mut count: i64 = 0;
        let mut largest: i64 = 0;
        let mut array = true;
        // Reading a value as a boolean does not make a handle of it.
        table.for_each(|key: Value, _: bool| {
            let index = match key {
                Value::Integer(index) => index,
                Value::Number(index) if f64::from(as_i32(index)) == index => as_i64(index),
                _ => 0,
            };
            array &= index > 0 && i32::try_from(index).is_ok();
            largest = largest.max(index);
            count += 1;
            Ok(())
        })?;
        array &= largest == count;
        self.head(array, count);
        if array {
            for index in 1..=count {
                let value: Value = table.raw_get(index)?;
                self.value(&value, level + 1)?;
            }
            return Ok(());
        }
        table.for_each(|key: Value, value: Value| {
            self.value(&key, level + 1)?;
            self.value(&value, level + 1)
        })
    }
}

/// A table that is being filled.
struct Open<'d> {
    table: Table,
    is_map: bool,
    /// Elements (pairs) still to come; never zero.
    left: u32,
    /// The last index of an array that was filled.
    index: u32,
    /// The key of a map whose value is next.
    key: Option<Piece<'d>>,
}

/// What stands at one place of the input.
enum Read<'d> {
    Piece(Piece<'d>),
    Array(u32),
    Map(u32),
}

struct Unpacker<'d, 'a> {
    args: &'a Args<'a>,
    rest: &'d [u8],
}

impl<'d> Unpacker<'d, '_> {
    fn take(&mut self, count: usize) -> mlua::Result<&'d [u8]> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.args.raise("Missing bytes in input.")),
        }
    }

    /// The next `count` bytes (8 at most) as a number.
    fn unsigned(&mut self, count: usize) -> mlua::Result<u64> {
        let bytes = self.take(count)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn signed(&mut self, count: usize) -> mlua::Result<i64> {
        let unused = 64 - 8 * count as u32;
        Ok(((self.unsigned(count)? << unused) as i64) >> unused)
    }

    fn bytes(&mut self, count: usize) -> mlua::Result<Read<'d>> {
        Ok(Read::Piece(Piece::Bytes(self.take(count)?)))
    }

    fn read(&mut self) -> mlua::Result<Read<'d>> {
        let code = self.take(1)?[0];
        Ok(Read::Piece(match code {
            0x00..=0x7f => Piece::Number(f64::from(code)),
            0x80..=0x8f => return Ok(Read::Map(u32::from(code & 0xf))),
            0x90..=0x9f => return Ok(Read::Array(u32::from(code & 0xf))),
            0xa0..=0xbf => return self.bytes(usize::from(code & 0x1f)),
            0xc0 => Piece::Nil,
            0xc2 | 0xc3 => Piece::Boolean(code == 0xc3),
            0xca => Piece::Number(f64::from(f32::from_bits(self.unsigned(4)? as u32))),
            0xcb => Piece::Number(f64::from_bits(self.unsigned(8)?)),
            0xcc => Piece::Number(self.unsigned(1)? as f64),
            0xcd => Piece::Number(self.unsigned(2)? as f64),
            0xce => Piece::Number(self.unsigned(4)? as f64),
            // Redis reads 64 bits as signed, however they are marked.
            0xcf | 0xd3 => Piece::Number(self.signed(8)? as f64),
            0xd0 => Piece::Number(self.signed(1)? as f64),
            0xd1 => Piece::Number(self.signed(2)? as f64),
            0xd2 => Piece::Number(self.signed(4)? as f64),
            0xd9..=0xdb => {
                let length = self.unsigned(1 << (code - 0xd9))?;
                return self.bytes(length as usize);
            }
            0xdc | 0xdd => return Ok(Read::Array(self.unsigned(2 << (code - 0xdc))? as u32)),
            0xde | 0xdf => return Ok(Read::Map(self.unsigned(2 << (code - 0xde))? as u32)),
            0xe0.. => Piece::Number(f64::from(code as i8)),
            _ => return Err(self.args.raise("Bad data format in input.")),
        }))
    }

    /// Reads one value whole. `held` tables are held besides those that it makes.
    fn value(&mut self, held: usize) -> mlua::Result<Piece<'d>> {
        let lua = self.args.lua;
        let mut open: Vec<Open<'d>> = Vec::new();
        loop {
            let (is_map, left) = match self.read()? {
                Read::Piece(piece) => {
                    if let Some(whole) = close(lua, &mut open, piece)? {
                        return Ok(whole);
                    }
                    continue;
                }
                Read::Array(left) => (false, left),
                Read::Map(left) => (true, left),
            };
            // Every open table may hold a second one as its key.
            if held + 2 * open.len() > MOST_HANDLES {
                return Err(self.args.raise(if is_map {
                    TOO_MANY_RESULTS
                } else {
                    "stack overflow (in function mp_decode_to_lua_array)"
                }));
            }
            let table = lua.create_table()?;
            if left == 0 {
                if let Some(whole) = close(lua, &mut open, Piece::Table(table))? {
                    return Ok(whole);
                }
                continue;
            }
            open.push(Open {
                table,
                is_map,
                left,
                index: 0,
                key: None,
            });
        }
    }
}

/// Puts a finished value in the innermost open table, and that one in the next where it is full. Returns the value
/// that has none around it.
fn close<'d>(
    lua: &Lua,
    open: &mut Vec<Open<'d>>,
    mut piece: Piece<'d>,
) -> mlua::Result<Option<Piece<'d>>> {
    loop {
        let Some(around) = open.last_mut() else {
            return Ok(Some(piece));
        };
        let key = if around.is_map {
            match around.key.take() {
                Some(key) => key,
                None => {
                    around.key = Some(piece);
                    return Ok(None);
                }
            }
        } else {
            around.index += 1;
            Piece::Number(f64::from(around.index))
        };
        pieces::set(lua, &around.table, key, piece)?;
        around.left -= 1;
        if around.left > 0 {
            return Ok(None);
        }
        match open.pop() {
            Some(full) => piece = Piece::Table(full.table),
            None => return Ok(None),
        }
    }
}

/// Unpacks `limit` values from `offset` on and returns the next offset before them; or all, without an offset, when
/// both are zero.
fn unpack(args: &Args<'_>, limit: i64, offset: i64) -> mlua::Result<Variadic<Value>> {
    let data = args.check_string(1)?;
    let data = data.as_bytes();
    let all = limit == 0 && offset == 0;
    // Redis prints the length in the place of the limit, and both as integers of 32 bits.
    let (shown, length) = (offset as i32, data.len() as i32);
    let rest = match usize::try_from(offset) {
        Ok(start) if limit >= 0 => data.get(start..).ok_or_else(|| {
            args.raise(&format!(
                "Start offset {shown} greater than input length {length}."
            ))
        })?,
        _ => {
            return Err(args.raise(&format!(
                "Invalid request to unpack with offset of {shown} and limit of {length}."
            )));
        }
    };
    let limit = if all {
        usize::MAX
    } else {
        usize::try_from(limit).unwrap_or(0)
    };
    let mut unpacker = Unpacker { args, rest };
    // The place of the offset is kept free.
    let mut results = if all { vec![] } else { vec![Value::Nil] };
    let before = results.len();
    let mut held = 0;
    while !unpacker.rest.is_empty() && results.len() - before < limit {
        if results.len() >= MOST_RESULTS || held >= MOST_HANDLES {
            return Err(args.raise(TOO_MANY_RESULTS));
        }
        let value = super::make(args.lua, data.len(), || unpacker.value(held))?;
        held += usize::from(matches!(value, Piece::Bytes(_) | Piece::Table(_)));
        results.push(mlua::IntoLua::into_lua(value, args.lua)?);
    }
    if !all {
        results[0] = if unpacker.rest.is_empty() {
            Value::Integer(-1)
        } else {
            Value::Integer((data.len() - unpacker.rest.len()) as i64)
        };
    }
    Ok(Variadic::from(results))
}

#[cfg(test)]
mod tests {
    use super::super::error_text;
    use super::*;
    use proptest::prelude::*;

    fn lua() -> Lua {
        let lua = Lua::new();
        install(&lua, &lua.globals()).unwrap();
        lua
    }

    fn packed(lua: &Lua, value: &str) -> String {
        let text: mlua::String = lua.load(format!("cmsgpack.pack({value})")).eval().unwrap();
        text.as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn unpack_error(lua: &Lua, data: &[u8]) -> Option<String> {
        let function: mlua::Function = lua
            .load("return function(s) return cmsgpack.unpack(s) end")
            .set_name("=s")
            .eval()
            .unwrap();
        let result = function.call::<mlua::MultiValue>(lua.create_string(data).unwrap());
        result.err().map(|error| error_text(&error))
    }

    #[test]
    fn values_take_the_shortest_form() {
        let lua = lua();
        let check = |value: &str, wanted: &str| assert_eq!(packed(&lua, value), wanted, "{value}");
        check("nil", "c0");
        check("true, false", "c3c2");
        check("print", "c0");
        check("0, 127, 128, 255, 256", "007fcc80ccffcd0100");
        check("65535, 65536, 4294967295", "cdffffce00010000ceffffffff");
        check("4294967296", "cf0000000100000000");
        check("-1, -32, -33, -128, -129", "ffe0d0dfd080d1ff7f");
        check("-32768, -32769, -2147483648", "d18000d2ffff7fffd280000000");
        check("-2147483649", "d3ffffffff7fffffff");
        check("-1099511627776", "d3ffffff0000000000");
        check("0.1", "cb3fb999999999999a");
        check("0.5", "ca3f000000");
        check("2^63", "ca5f000000");
        check("-2^63", "d38000000000000000");
        check("math.huge", "ca7f800000");
        check("-0.0", "00");
        check("'abc'", "a3616263");
        check("{}", "90");
        check("{1, 2, 3}", "93010203");
        check("{[3]=3, [2]=2, [1]=1}", "93010203");
        check("{[2]=1}", "810201");
        check("{a=1}", "81a16101");
        check("{[true]=1}", "81c301");
        check("{1, a=2}", "820101a16102");
        check("{[1.5]=1}", "81ca3fc0000001");
        check("{[{1}]={2}}", "8191019102");
        let head = |value: &str| packed(&lua, value)[..6].to_owned();
        assert_eq!(head("('x'):rep(31)"), "bf7878");
        assert_eq!(head("('x'):rep(32)"), "d92078");
        assert_eq!(head("('x'):rep(256)"), "da0100");
        assert_eq!(head("('x'):rep(65536)"), "db0001");
        let list = "(function() local t = {} for i = 1, 16 do t[i] = i end return t end)()";
        assert_eq!(packed(&lua, list), "dc00100102030405060708090a0b0c0d0e0f10");
        let map = "(function() local t = {} for i = 1, 20 do t['k' .. i] = i end return t end)()";
        assert_eq!(head(map), "de0014");
    }

    #[test]
    fn tables_that_contain_themselves_end_at_the_sixteenth_level() {
        let lua = lua();
        lua.load("t = {} t[1] = t m = {} m.x = m").exec().unwrap();
        assert_eq!(packed(&lua, "t"), format!("{}c0", "91".repeat(16)));
        assert_eq!(packed(&lua, "m"), format!("{}c0", "81a178".repeat(16)));
    }

    #[test]
    fn streams_are_read_in_steps() {
        let lua = lua();
        let check = |script: &str| {
            let ok: bool = lua.load(script).eval().unwrap();
            assert!(ok, "{script}");
        };
        check(
            "local a, b, c = cmsgpack.unpack(cmsgpack.pack(1, 'x', {2})) return a == 1 and b == 'x' and c[1] == 2",
        );
        check("local n, a = cmsgpack.unpack_one(cmsgpack.pack(1, 2)) return n == 1 and a == 1");
        check("local n, a = cmsgpack.unpack_one(cmsgpack.pack(1, 2), 1) return n == -1 and a == 2");
        check(
            "local n, a, b, c = cmsgpack.unpack_limit('\\1\\2\\3', 2) return n == 2 and a == 1 and b == 2 and c == nil",
        );
        check("local n, a = cmsgpack.unpack_limit('\\1\\2\\3', 0, 2) return n == 2 and a == nil");
        check("select('#', cmsgpack.unpack('')) == 0");
        check("local n = cmsgpack.unpack_one('') return n == -1");
        check("cmsgpack.unpack('\\207\\255\\255\\255\\255\\255\\255\\255\\255') == -1");
        check(
            "local t = cmsgpack.unpack('\\130\\161a\\192\\1\\195') return t.a == nil and t[1] == true",
        );
        check("local a = cmsgpack.unpack('\\209\\255\\0') return a == -256");
        check("select('#', cmsgpack.unpack(('\\1'):rep(6990))) == 6990");
    }

    #[test]
    fn errors_have_the_words_of_redis() {
        let lua = lua();
        let check = |script: &str, wanted: &str| {
            let error = lua.load(script).set_name("=s").exec().unwrap_err();
            assert_eq!(error_text(&error), wanted, "{script}");
        };
        check(
            "cmsgpack.pack()",
            "bad argument #0 to 'pack' (MessagePack pack needs input.)",
        );
        check("cmsgpack.unpack('\\193')", "Bad data format in input.");
        check("cmsgpack.unpack('\\146\\1')", "Missing bytes in input.");
        check(
            "cmsgpack.unpack_one('abc', 9)",
            "Start offset 9 greater than input length 3.",
        );
        check(
            "cmsgpack.unpack_limit('abc', 1, -1)",
            "Invalid request to unpack with offset of -1 and limit of 3.",
        );
        check(
            "cmsgpack.unpack_limit('abc', -1)",
            "Invalid request to unpack with offset of 0 and limit of 3.",
        );
        check(
            "cmsgpack.unpack_one('abc', {})",
            "bad argument #2 to 'unpack_one' (number expected, got table)",
        );
        check(
            "cmsgpack.unpack()",
            "bad argument #1 to 'unpack' (string expected, got no value)",
        );
        check("cmsgpack.unpack(('\\1'):rep(9000))", TOO_MANY_RESULTS);
        check("cmsgpack.unpack(('\\144'):rep(9000))", TOO_MANY_RESULTS);
        let error = lua.load("cmsgpack.unpack('\\129\\192\\1')").exec();
        assert_eq!(error_text(&error.unwrap_err()), "table index is nil");
        let error = lua
            .load("cmsgpack.unpack('\\129\\202\\127\\192\\0\\0\\1')")
            .exec();
        assert_eq!(error_text(&error.unwrap_err()), "table index is NaN");
    }

    #[test]
    fn hostile_input_is_refused() {
        let lua = lua();
        // The same text over and over: far too much if it were packed.
        let huge = "local s = ('x'):rep(2^16) local t = {} for i = 1, 512 do t[i] = s end cmsgpack.pack(t)";
        let error = lua.load(huge).exec().unwrap_err();
        assert_eq!(error_text(&error), "not enough memory");
        let missing = Some("Missing bytes in input.".to_owned());
        for head in [
            &b"\xdb\xff\xff\xff\xff"[..],
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
        ] {
            assert_eq!(unpack_error(&lua, head), missing);
        }
        for code in [&b"\x91"[..], b"\x81", b"\x81\xa1x", b"\xdd\xff\xff\xff\xff"] {
            let deep = code.repeat(100_000);
            let error = unpack_error(&lua, &deep).unwrap();
            assert!(error.contains("stack overflow"), "{error}");
            let error = unpack_error(&lua, &code.repeat(2500)).unwrap();
            assert!(error.contains("Missing bytes"), "{error}");
        }
        let fine = lua
            .load("local t = {1, 2.5, 'x', {a = {b = false}}, -70000} return cmsgpack.pack(t, t)");
        let data: mlua::String = fine.eval().unwrap();
        let data = data.as_bytes().to_vec();
        let whole = data.len() / 2;
        for end in 0..data.len() {
            let error = unpack_error(&lua, &data[..end]);
            assert_eq!(error.is_none(), end == 0 || end == whole, "{end}");
        }
    }

    fn values() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            any::<i16>().prop_map(|number| number.to_string()),
            any::<f32>().prop_filter_map("finite", |n| n.is_finite().then(|| format!("{n:e}"))),
            "[a-z]{0,40}".prop_map(|text| format!("'{text}'")),
            Just("true".to_owned()),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20)
                    .prop_map(|values| format!("{{{}}}", values.join(","))),
                proptest::collection::vec(("[a-z]{1,3}", inner), 0..20).prop_map(|pairs| {
                    let pairs: Vec<String> = pairs
                        .iter()
                        .map(|(key, value)| format!("['{key}']={value}"))
                        .collect();
                    format!("{{{}}}", pairs.join(","))
                }),
            ]
        })
    }

    /// A function of Lua that compares two values to their leaves.
    const SAME: &str = "
        local function same(a, b)
            if type(a) ~= 'table' or type(b) ~= 'table' then return a == b end
            for k, v in pairs(a) do if not same(v, b[k]) then return false end end
            for k in pairs(b) do if a[k] == nil then return false end end
            return true
        end ";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_packed_unpacks(value in values()) {
            let lua = lua();
            let script = format!("{SAME} local v = {value} return same(v, cmsgpack.unpack(cmsgpack.pack(v)))");
            let same: bool = lua.load(script).eval().unwrap();
            prop_assert!(same);
        }

        #[test]
        fn no_data_panics(data: Vec<u8>) {
            unpack_error(&lua(), &data);
        }
    }
}
