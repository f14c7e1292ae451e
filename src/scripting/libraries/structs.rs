//! `struct`: values packed to bytes and back by a format, as C lays them out.
//!
//! | letter | value |
//! | --- | --- |
//! | `<` `>` | little, big endian from here on (little at the start) |
//! | `!n` | alignment to at most n bytes from here on (8 without n; 1 at the start) |
//! | `x` | a byte of padding |
//! | `b B` `h H` `l L` `T` | 1, 2, 8 and 8 bytes, signed in small letters |
//! | `in` `In` | n bytes (4 without n, 32 at most) |
//! | `f` `d` | a float, a double |
//! | `s` | a string up to its zero |
//! | `cn` | n bytes of a string (1 without n); `c0`: the whole string, unpacked by the number before it |
//! | space | nothing |
//!
//! Mirrors `lua_struct.c`.

use mlua::{IntoLua, Lua, Table, Value, Variadic};

use super::arguments::{Args, as_i64, set_function, up_to_zero};
use super::check_room;

/// The most bytes of one integer.
const MOST_INTEGER_BYTES: usize = 32;

/// What `!` without a number means.
const MOST_ALIGNMENT: usize = 8;

/// How many values one call unpacks at most: Lua gives a function no more room.
const MOST_RESULTS: usize = 7000;

/// Sets the global `struct`.
///
/// # Errors
/// When the interpreter has no memory left.
pub fn install(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let table = lua.create_table()?;
    set_function(lua, &table, "pack", |args| {
        args.lua.create_string(pack(args)?)
    })?;
    set_function(lua, &table, "unpack", unpack)?;
    set_function(lua, &table, "size", |args| {
        size(args).map(|size| size as f64)
    })?;
    globals.raw_set("struct", table)
}

/// A format being read, with the endianness and the alignment that hold at this place.
struct Format<'f, 'a> {
    args: &'a Args<'a>,
    rest: &'f [u8],
    big_endian: bool,
    alignment: usize,
}

impl<'f, 'a> Format<'f, 'a> {
    fn new(args: &'a Args<'a>, text: &'f [u8]) -> Self {
        Self {
            args,
            rest: text,
            big_endian: false,
            alignment: 1,
        }
    }

    /// The next letter with the size of its value and the padding before it when it would begin at `at`.
    fn next(&mut self, at: usize) -> mlua::Result<Option<(u8, usize, usize)>> {
        let Some((&letter, rest)) = self.rest.split_first() else {
            return Ok(None);
        };
        self.rest = rest;
        let size = match letter {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'f' => 4,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > MOST_INTEGER_BYTES {
                    return Err(self.args.raise(&format!(
                        "integral size {size} is larger than limit of {MOST_INTEGER_BYTES}"
                    )));
                }
                size
            }
            _ => 0,
        };
        let padding = if size == 0 || letter == b'c' {
            0
        } else {
            // An alignment is a power of two; a size need not be, and then this is what Redis computes.
            let size = size.min(self.alignment);
            (size - (at & (size - 1))) & (size - 1)
        };
        Ok(Some((letter, size, padding)))
    }

    /// The number that stands here, or `default`.
    fn number(&mut self, default: usize) -> mlua::Result<usize> {
        if !self.rest.first().is_some_and(u8::is_ascii_digit) {
            return Ok(default);
        }
        let mut number: i32 = 0;
        while let Some((digit @ b'0'..=b'9', rest)) = self.rest.split_first() {
            number = number
                .checked_mul(10)
                .and_then(|number| number.checked_add(i32::from(digit - b'0')))
                .ok_or_else(|| self.args.raise("integral size overflow"))?;
            self.rest = rest;
        }
        Ok(number as usize)
    }

    /// Obeys a letter that stands for no value.
    fn control(&mut self, letter: u8) -> mlua::Result<()> {
        match letter {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let alignment = self.number(MOST_ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    return Err(self
                        .args
                        .raise(&format!("alignment {alignment} is not a power of 2")));
                }
                self.alignment = alignment;
            }
            _ => {
                let option = String::from_utf8_lossy(&[letter]).into_owned();
                return Err(self
                    .args
                    .bad(1, &format!("invalid format option '{option}'")));
            }
        }
        Ok(())
    }
}

/// A number's bits as C on x86-64 casts a double: negative ones as signed, others as unsigned.
fn as_bits(number: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if number >= HALF {
        (as_i64(number - HALF) as u64) ^ (1 << 63)
    } else {
        as_i64(number) as u64
    }
}

/// Appends the lowest `size` bytes of an integer; those beyond its 8 are zero.
fn put_integer(out: &mut Vec<u8>, value: u64, size: usize, big_endian: bool) {
    let start = out.len();
    out.extend((0..size).map(|place| value.checked_shr(place as u32 * 8).unwrap_or(0) as u8));
    if big_endian {
        out[start..].reverse();
    }
}

fn pack(args: &Args<'_>) -> mlua::Result<Vec<u8>> {
    let format = args.check_string(1)?;
    let format = format.as_bytes();
    let mut format = Format::new(args, up_to_zero(&format));
    let mut out = Vec::new();
    let mut next_arg = 2;
    let mut argument = || {
        next_arg += 1;
        next_arg - 1
    };
    while let Some((letter, size, padding)) = format.next(out.len())? {
        out.resize(out.len() + padding, 0);
        match letter {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let value = as_bits(args.check_number(argument())?);
                put_integer(&mut out, value, size, format.big_endian);
            }
            b'x' => out.push(0),
            b'f' => {
                let value = args.check_number(argument())? as f32;
                put_integer(
                    &mut out,
                    u64::from(value.to_bits()),
                    size,
                    format.big_endian,
                );
            }
            b'd' => {
                let value = args.check_number(argument())?;
                put_integer(&mut out, value.to_bits(), size, format.big_endian);
            }
            b'c' | b's' => {
                let index = argument();
                let text = args.check_string(index)?;
                let text = text.as_bytes();
                let size = if size == 0 { text.len() } else { size };
                let Some(text) = text.get(..size) else {
                    // Redis has counted on by now, and so names the argument behind the short one.
                    return Err(args.bad(index + 1, "string too short"));
                };
                check_room(out.len(), text.len())?;
                out.extend_from_slice(text);
                if letter == b's' {
                    out.push(0);
                }
            }
            _ => format.control(letter)?,
        }
    }
    Ok(out)
}

/// A value out of the bytes.
enum Unpacked {
    Number(f64),
    Bytes(Vec<u8>),
}

impl IntoLua for Unpacked {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        match self {
            Self::Number(number) => Ok(Value::Number(number)),
            Self::Bytes(bytes) => lua.create_string(bytes).map(Value::String),
        }
    }
}

impl Unpacked {
    /// The number that this is or spells.
    fn number(&self, lua: &Lua) -> mlua::Result<Option<f64>> {
        match self {
            Self::Number(number) => Ok(Some(*number)),
            Self::Bytes(bytes) => lua.coerce_number(Value::String(lua.create_string(bytes)?)),
        }
    }
}

fn get_integer(bytes: &[u8], big_endian: bool, signed: bool) -> f64 {
    let add = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
    let mut value = if big_endian {
        bytes.iter().fold(0, add)
    } else {
        bytes.iter().rev().fold(0, add)
    };
    if !signed {
        return value as f64;
    }
    // The machine takes a shift modulo 64, which is what Redis does with integers of more than 8 bytes.
    let mask = u64::MAX << ((bytes.len() * 8).wrapping_sub(1) & 63);
    if value & mask != 0 {
        value |= mask;
    }
    value as i64 as f64
}

fn unpack(args: &Args<'_>) -> mlua::Result<Variadic<Unpacked>> {
    let format = args.check_string(1)?;
    let format = format.as_bytes();
    let data = args.check_string(2)?;
    let data = data.as_bytes();
    let offset = args.integer_or(3, 1)?;
    if offset == 0 {
        return Err(args.bad(3, "offset must be 1 or greater"));
    }
    // A negative offset is beyond any end, as it is in Redis.
    let mut at = (offset as usize).wrapping_sub(1);
    let mut format = Format::new(args, up_to_zero(&format));
    let mut results: Vec<Unpacked> = Vec::new();
    let short = || args.bad(2, "data string too short");
    while let Some((letter, mut size, padding)) = format.next(at)? {
        at = at.wrapping_add(padding);
        let rest = data.get(at..).ok_or_else(short)?;
        let bytes = rest.get(..size).ok_or_else(short)?;
        if results.len() + args.len() > MOST_RESULTS {
            return Err(args.raise("stack overflow (too many results)"));
        }
        let big_endian = format.big_endian;
        match letter {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let signed = letter.is_ascii_lowercase();
                results.push(Unpacked::Number(get_integer(bytes, big_endian, signed)));
            }
            b'x' => {}
            b'f' | b'd' => {
                let mut buffer = [0; 8];
                buffer[..size].copy_from_slice(bytes);
                if big_endian {
                    buffer[..size].reverse();
                }
                let bits = u64::from_le_bytes(buffer);
                results.push(Unpacked::Number(if letter == b'f' {
                    f64::from(f32::from_bits(bits as u32))
                } else {
                    f64::from_bits(bits)
                }));
            }
            b'c' => {
                let mut bytes = bytes;
                if size == 0 {
                    let length = match results.last() {
                        Some(last) => last.number(args.lua)?,
                        None => None,
                    };
                    let Some(length) = length else {
                        return Err(args.raise("format 'c0' needs a previous size"));
                    };
                    results.pop();
                    size = as_bits(length) as usize;
                    bytes = rest.get(..size).ok_or_else(short)?;
                }
                results.push(Unpacked::Bytes(bytes.to_vec()));
            }
            b's' => {
                let Some(end) = memchr::memchr(0, rest) else {
                    return Err(args.raise("unfinished string in data"));
                };
                size = end + 1;
                results.push(Unpacked::Bytes(rest[..end].to_vec()));
            }
            _ => format.control(letter)?,
        }
        at += size;
    }
    results.push(Unpacked::Number(at.wrapping_add(1) as i64 as f64));
    Ok(Variadic::from(results))
}

fn size(args: &Args<'_>) -> mlua::Result<usize> {
    let format = args.check_string(1)?;
    let format = format.as_bytes();
    let mut format = Format::new(args, up_to_zero(&format));
    let mut total: usize = 0;
    while let Some((letter, size, padding)) = format.next(total)? {
        match letter {
            b's' => return Err(args.bad(1, "option 's' has no fixed size")),
            b'c' if size == 0 => return Err(args.bad(1, "option 'c0' has no fixed size")),
            // A letter that means nothing is passed over here, as Redis does.
            _ if !letter.is_ascii_alphanumeric() => format.control(letter)?,
            _ => {}
        }
        total = total.wrapping_add(padding).wrapping_add(size);
    }
    Ok(total)
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

    fn bytes(lua: &Lua, script: &str) -> Vec<u8> {
        let text: mlua::String = lua.load(script).eval().unwrap();
        text.as_bytes().to_vec()
    }

    fn error(lua: &Lua, script: &str) -> String {
        error_text(&lua.load(script).set_name("=s").exec().unwrap_err())
    }

    #[test]
    fn values_are_laid_out_as_in_c() {
        let lua = lua();
        let check =
            |script: &str, wanted: &[u8]| assert_eq!(bytes(&lua, script), wanted, "{script}");
        check("struct.pack('b', -1)", b"\xff");
        check("struct.pack('>h', 258)", b"\x01\x02");
        check("struct.pack('<h', 258)", b"\x02\x01");
        check("struct.pack('>I3', 0x010203)", b"\x01\x02\x03");
        check(
            "struct.pack('i10', -1)",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\0\0",
        );
        check("struct.pack('>d', 1)", b"\x3f\xf0\0\0\0\0\0\0");
        check("struct.pack('f', 1)", b"\0\0\x80\x3f");
        check("struct.pack('!4bi', 1, 2)", b"\x01\0\0\0\x02\0\0\0");
        check(
            "struct.pack('!bd', 1, 0)",
            &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        );
        check("struct.pack('bxh', 1, 2)", b"\x01\0\x02\0");
        check("struct.pack('s', 'ab')", b"ab\0");
        check("struct.pack('c2', 'abc')", b"ab");
        check("struct.pack('c', 'abc')", b"a");
        check("struct.pack('c0', 'abc')", b"abc");
        check("struct.pack('i0', 5)", b"");
        check("struct.pack('L', 2^64)", b"\0\0\0\0\0\0\0\0");
        check("struct.pack('L', 2^63)", b"\0\0\0\0\0\0\0\x80");
        check("struct.pack('s', 12)", b"12\0");
        check("struct.pack('b', '7')", b"\x07");
        check("struct.pack(' b \\0z', 1)", b"\x01");
    }

    #[test]
    fn values_come_back_with_the_next_offset() {
        let lua = lua();
        let check = |script: &str| {
            let ok: bool = lua.load(script).eval().unwrap();
            assert!(ok, "{script}");
        };
        check("local a, n = struct.unpack('b', '\\255') return a == -1 and n == 2");
        check("local a, n = struct.unpack('B', '\\255') return a == 255 and n == 2");
        check(
            "local a, b, n = struct.unpack('>HI3', '\\1\\2\\0\\1\\0') return a == 258 and b == 256 and n == 6",
        );
        check("local s, n = struct.unpack('s', 'ab\\0cd', 2) return s == 'b' and n == 4");
        check("local s, n = struct.unpack('Bc0', '\\2abc') return s == 'ab' and n == 4");
        check("local s, n = struct.unpack('sc0', '1\\0abc') return s == 'a' and n == 4");
        check("local n = struct.unpack('', '') return n == 1");
        check(
            "local a, n = struct.unpack('i16', '\\255' .. string.rep('\\0', 15)) return a == 255 and n == 17",
        );
        check("struct.size('!8bd') == 16");
        check("struct.size('c3i3z') == 6");
        check("struct.size('c2147483647c2147483647') == 4294967294");
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let lua = lua();
        let check = |script: &str, wanted: &str| {
            assert_eq!(error(&lua, script), wanted, "{script}");
        };
        check(
            "struct.pack('i33', 1)",
            "integral size 33 is larger than limit of 32",
        );
        check("struct.pack('i99999999999', 1)", "integral size overflow");
        check("struct.size('!3')", "alignment 3 is not a power of 2");
        check("struct.size('!0')", "alignment 0 is not a power of 2");
        check(
            "struct.pack('b4', 1)",
            "bad argument #1 to 'pack' (invalid format option '4')",
        );
        check(
            "struct.pack('b')",
            "bad argument #2 to 'pack' (number expected, got no value)",
        );
        check(
            "struct.pack('c4', 'abc')",
            "bad argument #3 to 'pack' (string too short)",
        );
        check(
            "struct.pack()",
            "bad argument #1 to 'pack' (string expected, got no value)",
        );
        check(
            "struct.unpack('i', 'abc')",
            "bad argument #2 to 'unpack' (data string too short)",
        );
        check(
            "struct.unpack('b', 'abc', 4)",
            "bad argument #2 to 'unpack' (data string too short)",
        );
        check(
            "struct.unpack('b', 'abc', -1)",
            "bad argument #2 to 'unpack' (data string too short)",
        );
        check(
            "struct.unpack('b', 'abc', 0)",
            "bad argument #3 to 'unpack' (offset must be 1 or greater)",
        );
        check("struct.unpack('s', 'abc')", "unfinished string in data");
        check(
            "struct.unpack('c0', 'abc')",
            "format 'c0' needs a previous size",
        );
        check(
            "struct.unpack('Bc0', '\\9abc')",
            "bad argument #2 to 'unpack' (data string too short)",
        );
        check(
            "struct.unpack('bc0', '\\255abc')",
            "bad argument #2 to 'unpack' (data string too short)",
        );
        check(
            "struct.unpack('c2147483647', 'abc')",
            "bad argument #2 to 'unpack' (data string too short)",
        );
        check(
            "struct.unpack(string.rep('b', 9000), string.rep('a', 9000))",
            "stack overflow (too many results)",
        );
        check(
            "struct.size('s')",
            "bad argument #1 to 'size' (option 's' has no fixed size)",
        );
        check(
            "struct.size('c0')",
            "bad argument #1 to 'size' (option 'c0' has no fixed size)",
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_packed_unpacks(a: i32, b: u16, c: f64, text in "[a-z]{0,20}", big: bool, align in 0u32..4) {
            let lua = lua();
            let format = format!("{}!{}iHdsBc0", if big { '>' } else { '<' }, 1 << align);
            let pack: mlua::Function = lua.globals().get::<Table>("struct").unwrap().get("pack").unwrap();
            let unpack: mlua::Function = lua.globals().get::<Table>("struct").unwrap().get("unpack").unwrap();
            let packed: mlua::String =
                pack.call((format.as_str(), a, b, c, text.as_str(), text.len(), text.as_str())).unwrap();
            let (a2, b2, c2, text2, text3, next): (i32, u16, f64, String, String, usize) =
                unpack.call((format.as_str(), &packed)).unwrap();
            prop_assert_eq!((a2, b2, c2.to_bits()), (a, b, c.to_bits()));
            prop_assert_eq!((&text2, &text3, next), (&text, &text, packed.as_bytes().len() + 1));
            // Cut anywhere, it is an error and nothing worse.
            for end in 0..packed.as_bytes().len() {
                let cut = lua.create_string(&packed.as_bytes()[..end]).unwrap();
                prop_assert!(unpack.call::<mlua::MultiValue>((format.as_str(), cut)).is_err());
            }
        }

        #[test]
        fn no_format_and_no_data_panics(format: Vec<u8>, data: Vec<u8>, offset: i64) {
            let lua = lua();
            let table: Table = lua.globals().get("struct").unwrap();
            for name in ["pack", "unpack", "size"] {
                let function: mlua::Function = table.get(name).unwrap();
                let args = (lua.create_string(&format).unwrap(), lua.create_string(&data).unwrap(), offset);
                let _ = function.call::<mlua::MultiValue>(args);
            }
        }
    }
}
