//! What a library gives to `redis.register_function`: by position, or by name in one table.
//!
//! In: the arguments as Lua has them. Out: the function, or Redis's text of what is wrong. Mirrors `luaRegisterFunction`
//! of Redis's function_lua.c.

use super::metadata::{BAD_NAME, is_name};
use crate::scripting::flags::ScriptFlags;
use mlua::{Lua, Table, Value};

/// A function that a library registers, with what is called.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its name; it keeps the rule.
    pub name: Vec<u8>,
    /// What its author says of it.
    pub description: Option<Vec<u8>>,
    /// What it may do, and where it may run.
    pub flags: ScriptFlags,
    /// What is called.
    pub callback: mlua::Function,
}

/// Reads the arguments. The error is Redis's text, without a code in front.
pub fn read(lua: &Lua, arguments: &[Value]) -> Result<Registration, &'static str> {
    let registration = match arguments {
        [Value::Table(named)] => by_name(lua, named)?,
        [_] => {
            return Err(
                "calling redis.register_function with a single argument is only applicable to Lua table (representing \
                 named arguments).",
            );
        }
        [name, callback] => Registration {
            name: text(lua, name)
                .ok_or("first argument to redis.register_function must be a string")?,
            description: None,
            flags: ScriptFlags::default(),
            callback: function(callback)
                .ok_or("second argument to redis.register_function must be a function")?,
        },
        _ => return Err("wrong number of arguments to redis.register_function"),
    };
    if !is_name(&registration.name) {
        return Err(BAD_NAME);
    }
    Ok(registration)
}

fn by_name(lua: &Lua, named: &Table) -> Result<Registration, &'static str> {
    const UNKNOWN: &str = "unknown argument given to redis.register_function";
    let (mut name, mut description, mut callback) = (None, None, None);
    let mut flags = ScriptFlags::default();
    for pair in named.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|_| UNKNOWN)?;
        let key = text(lua, &key)
            .ok_or("named argument key given to redis.register_function is not a string")?;
        match key.to_ascii_lowercase().as_slice() {
            b"function_name" => {
                let wrong =
                    "function_name argument given to redis.register_function must be a string";
                name = Some(text(lua, &value).ok_or(wrong)?);
            }
            b"description" => {
                let wrong =
                    "description argument given to redis.register_function must be a string";
                description = Some(text(lua, &value).ok_or(wrong)?);
            }
            b"callback" => {
                let wrong = "callback argument given to redis.register_function must be a function";
                callback = Some(function(&value).ok_or(wrong)?);
            }
            b"flags" => {
                let Value::Table(list) = &value else {
                    return Err(
                        "flags argument to redis.register_function must be a table representing function flags",
                    );
                };
                flags = read_flags(lua, list).ok_or("unknown flag given")?;
            }
            _ => return Err(UNKNOWN),
        }
    }
    Ok(Registration {
        name: name.ok_or("redis.register_function must get a function name argument")?,
        description,
        flags,
        callback: callback.ok_or("redis.register_function must get a callback argument")?,
    })
}

fn read_flags(lua: &Lua, list: &Table) -> Option<ScriptFlags> {
    let mut flags = ScriptFlags::default();
    for index in 1.. {
        match list.raw_get(index).ok()? {
            Value::Nil => break,
            value => flags = flags.and(ScriptFlags::by_name(&text(lua, &value)?)?),
        }
    }
    Some(flags)
}

/// A string, or a number as Lua spells it.
fn text(lua: &Lua, value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(_) | Value::Number(_) => {
            let text = lua.coerce_string(value.clone()).ok()??;
            Some(text.as_bytes().to_vec())
        }
        _ => None,
    }
}

fn function(value: &Value) -> Option<mlua::Function> {
    match value {
        Value::Function(function) => Some(function.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlua::MultiValue;

    fn registered(arguments: &str) -> Result<Registration, &'static str> {
        let lua = Lua::new();
        let values: MultiValue = lua
            .load(format!("return {arguments}"))
            .eval()
            .expect("values");
        read(&lua, &values.into_iter().collect::<Vec<_>>())
    }

    #[test]
    fn by_position() {
        let done = registered("'f_1', print").expect("registered");
        assert_eq!(
            (done.name.as_slice(), done.description),
            (&b"f_1"[..], None)
        );
        assert_eq!(registered("12, print").expect("registered").name, b"12");
        let wrong = |arguments: &str| registered(arguments).map(drop).expect_err("an error");
        let count = "wrong number of arguments to redis.register_function";
        assert_eq!(wrong(""), count);
        assert_eq!(wrong("'f', print, {}"), count);
        assert_eq!(
            wrong("'f'"),
            "calling redis.register_function with a single argument is only applicable to Lua table (representing named \
             arguments)."
        );
        assert_eq!(
            wrong("nil, print"),
            "first argument to redis.register_function must be a string"
        );
        assert_eq!(
            wrong("'f', 'print'"),
            "second argument to redis.register_function must be a function"
        );
        for name in ["''", "'a-b'", "'a\\0b'", "1.5"] {
            assert_eq!(wrong(&format!("{name}, print")), BAD_NAME);
        }
    }

    #[test]
    fn by_name() {
        let done = registered(
            "{FUNCTION_NAME='f', callback=print, description=5, flags={'NO-writes', 'allow-stale'}}",
        )
        .expect("registered");
        assert_eq!(done.description.as_deref(), Some(&b"5"[..]));
        let flags: Vec<_> = done.flags.names().collect();
        assert_eq!(flags, ["no-writes", "allow-stale"]);
        let wrong = |arguments: &str| registered(arguments).map(drop).expect_err("an error");
        for (arguments, text) in [
            (
                "{function_name=print}",
                "function_name argument given to redis.register_function must be a string",
            ),
            (
                "{description={}}",
                "description argument given to redis.register_function must be a string",
            ),
            (
                "{callback='f'}",
                "callback argument given to redis.register_function must be a function",
            ),
            (
                "{flags='no-writes'}",
                "flags argument to redis.register_function must be a table representing function flags",
            ),
            ("{flags={'unknown'}}", "unknown flag given"),
            ("{flags={print}}", "unknown flag given"),
            ("{x=1}", "unknown argument given to redis.register_function"),
            ("{1}", "unknown argument given to redis.register_function"),
            (
                "{[print]=1}",
                "named argument key given to redis.register_function is not a string",
            ),
            (
                "{callback=print}",
                "redis.register_function must get a function name argument",
            ),
            (
                "{function_name='f'}",
                "redis.register_function must get a callback argument",
            ),
            ("{function_name='a b', callback=print}", BAD_NAME),
        ] {
            assert_eq!(wrong(arguments), text, "{arguments}");
        }
    }
}
