//! `cjson`: values to JSON and back.
//!
//! Each `cjson.new()` has settings of its own; those of the global live as long as the interpreter, so what one script
//! sets holds for the next. Mirrors `lua_cjson.c` (version 2.1.0).

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::arguments::{Args, set_function, up_to_zero};

/// What a script can set.
#[derive(Clone, Copy)]
struct Config {
    /// Whether an array with large holes becomes an object rather than an error.
    sparse_convert: bool,
    /// How many places for each element make a hole large; 0 for none.
    sparse_ratio: i32,
    /// Up to this last index no hole is large.
    sparse_safe: i32,
    encode_depth: i32,
    decode_depth: i32,
    /// Significant digits of numbers, 1 to 14.
    precision: i32,
    /// Only remembered: we need no buffer between calls.
    keep_buffer: bool,
    encode_invalid: InvalidNumbers,
    decode_invalid: bool,
}

/// What becomes of NaN and the infinities.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InvalidNumbers {
    Refused,
    Written,
    Null,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth: 1000,
            decode_depth: 1000,
            precision: 14,
            keep_buffer: true,
            encode_invalid: InvalidNumbers::Refused,
            decode_invalid: true,
        }
    }
}

/// The settings that the functions of one module share.
type Settings = Rc<Cell<Config>>;

/// Sets the global `cjson`.
///
/// # Errors
/// When the interpreter has no memory left.
pub fn install(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    globals.raw_set("cjson", new_module(lua)?)
}

/// A module with settings as they are at first.
fn new_module(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let settings = Settings::default();
    let config = Rc::clone(&settings);
    set_function(lua, &table, "encode", move |args| {
        let json = encode::encode(args, &config.get())?;
        args.lua.create_string(json)
    })?;
    let config = Rc::clone(&settings);
    set_function(lua, &table, "decode", move |args| {
        decode::decode(args, &config.get())
    })?;
    set_function(lua, &table, "new", |args| new_module(args.lua))?;
    let config = Rc::clone(&settings);
    set_function(lua, &table, "encode_sparse_array", move |args| {
        at_most(args, 3)?;
        // What was accepted stays set when a later argument is refused.
        let convert = boolean_setting(args, &config, |config| &mut config.sparse_convert)?;
        let all = i32::MAX;
        let ratio = integer_setting(args, 2, &config, 0..=all, |config| &mut config.sparse_ratio)?;
        let safe = integer_setting(args, 3, &config, 0..=all, |config| &mut config.sparse_safe)?;
        Ok((convert, ratio, safe))
    })?;
    let integer = |name: &str, last: i32, field: fn(&mut Config) -> &mut i32| {
        let config = Rc::clone(&settings);
        set_function(lua, &table, name, move |args| {
            at_most(args, 1)?;
            integer_setting(args, 1, &config, 1..=last, field)
        })
    };
    integer("encode_max_depth", i32::MAX, |config| {
        &mut config.encode_depth
    })?;
    integer("decode_max_depth", i32::MAX, |config| {
        &mut config.decode_depth
    })?;
    integer("encode_number_precision", 14, |config| {
        &mut config.precision
    })?;
    let boolean = |name: &str, field: fn(&mut Config) -> &mut bool| {
        let config = Rc::clone(&settings);
        set_function(lua, &table, name, move |args| {
            at_most(args, 1)?;
            boolean_setting(args, &config, field)
        })
    };
    boolean("encode_keep_buffer", |config| &mut config.keep_buffer)?;
    boolean("decode_invalid_numbers", |config| {
        &mut config.decode_invalid
    })?;
    set_function(lua, &table, "encode_invalid_numbers", move |args| {
        encode_invalid_numbers(args, &settings)
    })?;
    table.raw_set("null", Value::NULL)?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    Ok(table)
}

fn at_most(args: &Args<'_>, count: usize) -> mlua::Result<()> {
    if args.len() > count {
        return Err(args.bad(count + 1, "found too many arguments"));
    }
    Ok(())
}

/// Sets an integer where argument `index` is there, and returns what it is now.
fn integer_setting(
    args: &Args<'_>,
    index: usize,
    settings: &Settings,
    range: std::ops::RangeInclusive<i32>,
    field: fn(&mut Config) -> &mut i32,
) -> mlua::Result<i32> {
    let mut config = settings.get();
    if !args.is_nil(index) {
        // Only the lower half counts, as where C stores a long integer in an int.
        let value = args.check_integer(index)? as i32;
        if !range.contains(&value) {
            let (first, last) = range.into_inner();
            // Whichever argument it was, the first is named.
            return Err(args.bad(1, &format!("expected integer between {first} and {last}")));
        }
        *field(&mut config) = value;
        settings.set(config);
    }
    Ok(*field(&mut config))
}

/// Sets a switch where the first argument is there (`true`, `false`, "on", "off"), and returns what it is now.
fn boolean_setting(
    args: &Args<'_>,
    settings: &Settings,
    field: fn(&mut Config) -> &mut bool,
) -> mlua::Result<bool> {
    let mut config = settings.get();
    match args.get(1) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(value)) => *field(&mut config) = *value,
        Some(_) => *field(&mut config) = option(args, &["off", "on"])? == 1,
    }
    settings.set(config);
    Ok(*field(&mut config))
}

/// Which of the words the first argument is.
fn option(args: &Args<'_>, words: &[&str]) -> mlua::Result<usize> {
    let text = args.check_string(1)?;
    let text = text.as_bytes();
    let text = up_to_zero(&text);
    words
        .iter()
        .position(|word| word.as_bytes() == text)
        .ok_or_else(|| {
            let text = String::from_utf8_lossy(text);
            args.bad(1, &format!("invalid option '{text}'"))
        })
}

fn encode_invalid_numbers(args: &Args<'_>, settings: &Settings) -> mlua::Result<Value> {
    at_most(args, 1)?;
    let mut config = settings.get();
    match args.get(1) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(true)) => config.encode_invalid = InvalidNumbers::Written,
        Some(Value::Boolean(false)) => config.encode_invalid = InvalidNumbers::Refused,
        Some(_) => {
            config.encode_invalid = match option(args, &["off", "on", "null"])? {
                0 => InvalidNumbers::Refused,
                1 => InvalidNumbers::Written,
                _ => InvalidNumbers::Null,
            }
        }
    }
    settings.set(config);
    Ok(match config.encode_invalid {
        InvalidNumbers::Refused => Value::Boolean(false),
        InvalidNumbers::Written => Value::Boolean(true),
        InvalidNumbers::Null => Value::String(args.lua.create_string("null")?),
    })
}
