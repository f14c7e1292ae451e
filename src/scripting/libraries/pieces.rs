//! Values on their way from bytes into tables.
//!
//! Handing a value to the interpreter through a handle costs an allocation; most that a decoder reads (numbers, short
//! texts) can be pushed without one.

use std::str;

use mlua::{IntoLua, Lua, Table, Value};

/// A value that was read: a scalar that may still lie in the input, or a table that is finished.
pub(super) enum Piece<'d> {
    Nil,
    /// The null of JSON, which a table can hold.
    Null,
    Boolean(bool),
    Number(f64),
    Bytes(&'d [u8]),
    Table(Table),
}

impl IntoLua for Piece<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        Ok(match self {
            Self::Nil => Value::Nil,
            Self::Null => Value::NULL,
            Self::Boolean(truth) => Value::Boolean(truth),
            Self::Number(number) => Value::Number(number),
            Self::Bytes(bytes) => Value::String(lua.create_string(bytes)?),
            Self::Table(table) => Value::Table(table),
        })
    }
}

/// `table[key] = value`, without metamethods.
///
/// # Errors
/// A key that no table takes, in the words of the interpreter.
pub(super) fn set(lua: &Lua, table: &Table, key: Piece<'_>, value: Piece<'_>) -> mlua::Result<()> {
    match value {
        Piece::Nil => set_value(lua, table, key, Value::Nil),
        Piece::Null => set_value(lua, table, key, Value::NULL),
        Piece::Boolean(truth) => set_value(lua, table, key, truth),
        Piece::Number(number) => set_value(lua, table, key, number),
        Piece::Table(value) => set_value(lua, table, key, value),
        Piece::Bytes(bytes) => match str::from_utf8(bytes) {
            Ok(text) => set_value(lua, table, key, text),
            Err(_) => set_value(lua, table, key, lua.create_string(bytes)?),
        },
    }
}

fn set_value(lua: &Lua, table: &Table, key: Piece<'_>, value: impl IntoLua) -> mlua::Result<()> {
    match key {
        // The interpreter would raise these through frames of ours.
        Piece::Nil => Err(mlua::Error::runtime("table index is nil")),
        Piece::Number(number) if number.is_nan() => Err(mlua::Error::runtime("table index is NaN")),
        Piece::Number(number) => table.raw_set(number, value),
        Piece::Null => table.raw_set(Value::NULL, value),
        Piece::Boolean(truth) => table.raw_set(truth, value),
        Piece::Table(key) => table.raw_set(key, value),
        Piece::Bytes(bytes) => match str::from_utf8(bytes) {
            Ok(text) => table.raw_set(text, value),
            Err(_) => table.raw_set(lua.create_string(bytes)?, value),
        },
    }
}
