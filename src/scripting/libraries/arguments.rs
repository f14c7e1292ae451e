//! What a library's function is called with: the checks and conversions that Lua's own library functions make
//! (`luaL_check…` and `luaL_opt…`), with the same words when they fail.

use std::borrow::Cow;

use mlua::{BorrowedBytes, Function, IntoLuaMulti, Lua, MultiValue, Table, Value};

/// The arguments of one call, counted from 1 as Lua does.
pub(super) struct Args<'l> {
    pub lua: &'l Lua,
    values: MultiValue,
}

/// Sets `table[name]` to a function.
pub(super) fn set_function<R: IntoLuaMulti>(
    lua: &Lua,
    table: &Table,
    name: &str,
    body: impl Fn(&Args<'_>) -> mlua::Result<R> + 'static,
) -> mlua::Result<()> {
    let function: Function =
        lua.create_function(move |lua, values: MultiValue| body(&Args { lua, values }))?;
    table.raw_set(name, function)
}

/// The name that Lua's messages give a value's type.
pub(in crate::scripting) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) | Value::Number(_) => "number",
        Value::LightUserData(_) | Value::UserData(_) | Value::Error(_) | Value::Other(_) => {
            "userdata"
        }
        other => other.type_name(),
    }
}

/// A double as C on x86-64 casts it to a signed integer of 64 bits: what does not fit becomes the smallest.
pub(in crate::scripting) fn as_i64(number: f64) -> i64 {
    // The upper end itself does not fit; the lower end does.
    if number >= i64::MIN as f64 && number < -(i64::MIN as f64) {
        number as i64
    } else {
        i64::MIN
    }
}

/// A number as C casts it to 32 bits.
pub(in crate::scripting) fn as_i32(number: f64) -> i32 {
    if number > f64::from(i32::MIN) - 1.0 && number < f64::from(i32::MAX) + 1.0 {
        number as i32
    } else {
        i32::MIN
    }
}

impl Args<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Argument `index`, if it was given.
    pub fn get(&self, index: usize) -> Option<&Value> {
        self.values.get(index.checked_sub(1)?)
    }

    /// True where there is nothing or nil.
    pub fn is_nil(&self, index: usize) -> bool {
        matches!(self.get(index), None | Some(Value::Nil))
    }

    /// An error with these words.
    #[cold]
    pub fn raise(&self, text: &str) -> mlua::Error {
        mlua::Error::runtime(text)
    }

    /// An error about argument `index`, with the name under which the function was called.
    #[cold]
    pub fn bad(&self, index: usize, text: &str) -> mlua::Error {
        let called = self.lua.inspect_stack(0, |function| {
            let names = function.names();
            let method = names.name_what == Some("method");
            let name = names.name.map_or_else(|| "?".to_owned(), Cow::into_owned);
            (method, name)
        });
        let (method, name) = called.unwrap_or((false, "?".to_owned()));
        // Called as a method, the object is nobody's first argument.
        let text = match index.checked_sub(usize::from(method)) {
            Some(0) if method => format!("calling '{name}' on bad self ({text})"),
            index => format!(
                "bad argument #{} to '{name}' ({text})",
                index.unwrap_or_default()
            ),
        };
        self.raise(&text)
    }

    /// The error of an argument that is of another type than wanted.
    #[cold]
    fn bad_type(&self, index: usize, wanted: &str) -> mlua::Error {
        let got = self.get(index).map_or("no value", type_name);
        self.bad(index, &format!("{wanted} expected, got {got}"))
    }

    /// Argument `index` if it is a number or a string that spells one.
    pub fn number(&self, index: usize) -> mlua::Result<Option<f64>> {
        Ok(match self.get(index) {
            Some(Value::Integer(number)) => Some(*number as f64),
            Some(Value::Number(number)) => Some(*number),
            Some(Value::String(text)) => self.lua.coerce_number(Value::String(text.clone()))?,
            _ => None,
        })
    }

    /// Argument `index`, which must be a number.
    pub fn check_number(&self, index: usize) -> mlua::Result<f64> {
        match self.number(index)? {
            Some(number) => Ok(number),
            None => Err(self.bad_type(index, "number")),
        }
    }

    /// Argument `index`, which must be a number, cut to an integer.
    pub fn check_integer(&self, index: usize) -> mlua::Result<i64> {
        self.check_number(index).map(as_i64)
    }

    /// Argument `index` cut to an integer, or `default` where it is missing.
    pub fn integer_or(&self, index: usize, default: i64) -> mlua::Result<i64> {
        if self.is_nil(index) {
            Ok(default)
        } else {
            self.check_integer(index)
        }
    }

    /// Argument `index`, which must be a string or a number, as a string.
    pub fn check_string(&self, index: usize) -> mlua::Result<mlua::String> {
        match self.get(index) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(number @ (Value::Integer(_) | Value::Number(_))) => {
                match self.lua.coerce_string(number.clone())? {
                    Some(text) => Ok(text),
                    None => Err(self.bad_type(index, "string")),
                }
            }
            _ => Err(self.bad_type(index, "string")),
        }
    }
}

/// The bytes of a string up to its first zero: what C takes for the whole of it.
pub(super) fn up_to_zero<'s>(bytes: &'s BorrowedBytes<'_>) -> &'s [u8] {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    &bytes[..end]
}
