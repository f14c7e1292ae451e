//! Replies as Lua values, and Lua values as replies.
//!
//! In: the bytes of one reply, in either dialect; the value that a script returned. Out: a Lua value; a reply in the
//! caller's dialect. What comes in was written by our own commands; what goes out may be nested without an end, so its
//! depth is bounded. Mirrors the conversions of Redis's script_lua.c.

use crate::resp::Reply;
use crate::system::numbers::{parse_f64, parse_i64};
use mlua::{Lua, Result, String as LuaString, Table, Value};
use std::collections::BTreeMap;

/// Levels of a returned table; Redis is bounded by the stack of Lua.
const MAX_DEPTH: usize = 500;
/// Levels of a command's reply.
const MAX_REPLY_DEPTH: usize = 64;
/// Room made for a table's items before they are there.
const MAX_RESERVED: usize = 1024;

/// The names of fields, made once.
pub(super) struct Names {
    pub(super) err: LuaString,
    pub(super) ok: LuaString,
    double: LuaString,
    big_number: LuaString,
    verbatim_string: LuaString,
    format: LuaString,
    string: LuaString,
    map: LuaString,
    set: LuaString,
    pub(super) ignore: LuaString,
    pub(super) source: LuaString,
    pub(super) line: LuaString,
}

impl Names {
    pub(super) fn new(lua: &Lua) -> Result<Names> {
        Ok(Names {
            err: lua.create_string("err")?,
            ok: lua.create_string("ok")?,
            double: lua.create_string("double")?,
            big_number: lua.create_string("big_number")?,
            verbatim_string: lua.create_string("verbatim_string")?,
            format: lua.create_string("format")?,
            string: lua.create_string("string")?,
            map: lua.create_string("map")?,
            set: lua.create_string("set")?,
            ignore: lua.create_string("ignore_error_stats_update")?,
            source: lua.create_string("source")?,
            line: lua.create_string("line")?,
        })
    }
}

/// Reads the reply of a command.
pub(super) fn from_reply(lua: &Lua, names: &Names, bytes: &[u8]) -> Result<Value> {
    Reader {
        lua,
        names,
        rest: bytes,
    }
    .value(0)
}

struct Reader<'a> {
    lua: &'a Lua,
    names: &'a Names,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b'\r', self.rest).unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 2..).unwrap_or_default();
        line
    }
    fn payload(&mut self, len: usize) -> &'a [u8] {
        let payload = self.rest.get(..len).unwrap_or_default();
        self.rest = self.rest.get(len + 2..).unwrap_or_default();
        payload
    }
    fn table(&self, key: &LuaString, value: impl mlua::IntoLua) -> Result<Value> {
        let table = self.lua.create_table()?;
        table.raw_set(key, value)?;
        Ok(Value::Table(table))
    }
    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > MAX_REPLY_DEPTH {
            return Err(mlua::Error::runtime("a reply is nested too deep"));
        }
        let kind = self.rest.first().copied().unwrap_or(b'_');
        self.rest = self.rest.get(1..).unwrap_or_default();
        let line = self.line();
        let number = || parse_i64(line).unwrap_or_default();
        Ok(match kind {
            b':' => Value::Number(number() as f64),
            b'$' => match usize::try_from(number()) {
                Ok(len) => Value::String(self.lua.create_string(self.payload(len))?),
                Err(_) => Value::Boolean(false),
            },
            b'+' => self.table(&self.names.ok, self.lua.create_string(line)?)?,
            b'-' => Value::Table(error_table(
                self.lua,
                self.names,
                &super::api::error_text(line, true),
                true,
            )?),
            b'*' | b'>' => match usize::try_from(number()) {
                Ok(len) => {
                    let table = self
                        .lua
                        .create_table_with_capacity(len.min(MAX_RESERVED), 0)?;
                    for index in 1..=len {
                        table.raw_set(index, self.value(depth + 1)?)?;
                    }
                    Value::Table(table)
                }
                Err(_) => Value::Boolean(false),
            },
            b'%' => {
                let table = self.lua.create_table()?;
                for _ in 0..number() {
                    let key = self.value(depth + 1)?;
                    table.raw_set(key, self.value(depth + 1)?)?;
                }
                self.table(&self.names.map, table)?
            }
            b'~' => {
                let table = self.lua.create_table()?;
                for _ in 0..number() {
                    table.raw_set(self.value(depth + 1)?, true)?;
                }
                self.table(&self.names.set, table)?
            }
            b'|' => {
                for _ in 0..number().saturating_mul(2) {
                    self.value(depth + 1)?;
                }
                self.value(depth + 1)?
            }
            b'#' => Value::Boolean(line == b"t"),
            b',' => self.table(&self.names.double, parse_f64(line).unwrap_or(f64::NAN))?,
            b'(' => self.table(&self.names.big_number, self.lua.create_string(line)?)?,
            b'=' => {
                let payload = self.payload(usize::try_from(number()).unwrap_or_default());
                let format = payload.get(..3).unwrap_or_default();
                let text = payload.get(4..).unwrap_or_default();
                let inner = self.lua.create_table()?;
                inner.raw_set(&self.names.string, self.lua.create_string(text)?)?;
                inner.raw_set(&self.names.format, self.lua.create_string(format)?)?;
                self.table(&self.names.verbatim_string, inner)?
            }
            _ => Value::Nil,
        })
    }
}

/// The table that is an error. `counted`: the statistics know it already.
pub(super) fn error_table(lua: &Lua, names: &Names, text: &[u8], counted: bool) -> Result<Table> {
    let table = lua.create_table()?;
    table.raw_set(&names.err, lua.create_string(text)?)?;
    if counted {
        table.raw_set(&names.ignore, true)?;
    }
    Ok(table)
}

/// Errors that were written to a reply, for the statistics.
#[derive(Debug, Default)]
pub struct Errors {
    /// How many there are that the statistics know: those of commands.
    pub counted: u64,
    /// Codes of the others, and how often each was written: a table may hold the same one millions of times.
    pub fresh: BTreeMap<Vec<u8>, u64>,
}

impl Errors {
    /// Writes an error.
    pub(super) fn write(&mut self, reply: &mut Reply, text: impl AsRef<[u8]>, counted: bool) {
        reply.error(up_to_zero(text.as_ref()));
        if counted {
            self.counted += 1;
        } else {
            let code = reply.last_error_code();
            match self.fresh.get_mut(code) {
                Some(count) => *count += 1,
                None => {
                    self.fresh.insert(code.to_vec(), 1);
                }
            }
        }
    }
}

/// Writes what a script returned, and notes the errors in it.
pub(super) fn write(
    names: &Names,
    reply: &mut Reply,
    value: &Value,
    resp3: bool,
    errors: &mut Errors,
) -> Result<()> {
    let mut writer = Writer {
        names,
        reply,
        resp3,
        errors,
    };
    writer.value(value, 0)
}

struct Writer<'a> {
    names: &'a Names,
    reply: &'a mut Reply,
    /// What the script speaks.
    resp3: bool,
    errors: &'a mut Errors,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            let text = "ERR reached lua stack limit";
            self.errors.write(self.reply, text, false);
            return Ok(());
        }
        match value {
            Value::String(text) => self.reply.bulk(&text.as_bytes()),
            Value::Integer(number) => self.reply.integer(*number),
            Value::Number(number) => self.reply.integer(truncated(*number)),
            Value::Boolean(flag) if self.resp3 => self.reply.boolean(*flag),
            Value::Boolean(true) => self.reply.integer(1),
            Value::Table(table) => self.table(table, depth)?,
            _ => self.reply.null(),
        }
        Ok(())
    }
    fn table(&mut self, table: &Table, depth: usize) -> Result<()> {
        let names = self.names;
        let error: Value = table.raw_get(&names.err)?;
        // A number is none, here.
        if matches!(error, Value::String(_))
            && let Some(text) = text(&error)
        {
            let counted = matches!(table.raw_get(&names.ignore)?, Value::Boolean(true));
            self.errors.write(self.reply, text, counted);
            return Ok(());
        }
        if let Value::String(text) = table.raw_get(&names.ok)? {
            self.reply.raw(b"+");
            self.reply.raw(&one_line(up_to_zero(&text.as_bytes())));
            self.reply.raw(b"\r\n");
            return Ok(());
        }
        match table.raw_get(&names.double)? {
            Value::Number(number) => return self.double(number),
            Value::Integer(number) => return self.double(number as f64),
            _ => {}
        }
        if let Value::String(digits) = table.raw_get(&names.big_number)? {
            let digits = one_line(&digits.as_bytes());
            self.reply.big_number(&String::from_utf8_lossy(&digits));
            return Ok(());
        }
        if let Value::Table(inner) = table.raw_get(&names.verbatim_string)?
            && let Value::String(format) = inner.raw_get(&names.format)?
            && let Value::String(text) = inner.raw_get(&names.string)?
        {
            let format = format.to_string_lossy();
            self.reply.verbatim(&format, &text.as_bytes());
            return Ok(());
        }
        if let Value::Table(map) = table.raw_get(&names.map)? {
            let mark = self.reply.begin_deferred();
            let mut len = 0;
            for pair in map.pairs::<Value, Value>() {
                let (key, value) = pair?;
                self.value(&key, depth + 1)?;
                self.value(&value, depth + 1)?;
                len += 1;
            }
            self.reply.end_deferred_map(mark, len);
            return Ok(());
        }
        if let Value::Table(set) = table.raw_get(&names.set)? {
            let mark = self.reply.begin_deferred();
            let mut len = 0;
            for pair in set.pairs::<Value, Value>() {
                self.value(&pair?.0, depth + 1)?;
                len += 1;
            }
            self.reply.end_deferred_set(mark, len);
            return Ok(());
        }
        let mark = self.reply.begin_deferred();
        let mut len = 0;
        loop {
            match table.raw_get(len + 1)? {
                Value::Nil => break,
                value => self.value(&value, depth + 1)?,
            }
            len += 1;
        }
        self.reply.end_deferred_array(mark, len);
        Ok(())
    }
    fn double(&mut self, number: f64) -> Result<()> {
        self.reply.double(number);
        Ok(())
    }
}

/// What C makes of a double that becomes an integer.
fn truncated(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) {
        number as i64
    } else {
        i64::MIN
    }
}

/// What a C string holds of it: Redis writes what scripts return up to the first zero byte.
pub(super) fn up_to_zero(text: &[u8]) -> &[u8] {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

fn one_line(text: &[u8]) -> Vec<u8> {
    let clean = |byte: &u8| {
        if matches!(byte, b'\r' | b'\n') {
            b' '
        } else {
            *byte
        }
    };
    text.iter().map(clean).collect()
}

/// The bytes of a string or a number, as Lua coerces it.
pub(super) fn text(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        // The binding makes an integer of each number that is one; Lua has doubles only.
        Value::Integer(number) => Some(number_text(*number as f64)),
        Value::Number(number) => Some(number_text(*number)),
        _ => None,
    }
}

fn number_text(number: f64) -> Vec<u8> {
    if number.is_nan() && number.is_sign_negative() {
        // As C shows it; 0/0 is such a one.
        return b"-nan".to_vec();
    }
    let mut out = Vec::new();
    crate::system::numbers::write_general(&mut out, number, 14);
    out
}
