//! The libraries that scripts find beside Lua's own: `cjson`, `cmsgpack`, `struct` and `bit`.
//!
//! In: an interpreter and the table of its globals. Out: four more tables in it. Their functions are closures that
//! know only their own settings: nothing that a script overwrites changes what they do. Nesting that a client chooses
//! is followed on stacks of the heap, never by recursion without bound, for scripts run on a small stack.
//!
//! Two bounds come from the interpreter. A function of Lua 5.1 may use 8000 slots of the stack, which is what limits
//! Redis's own libraries; and a value that Rust holds lives in a table of handles with as many places, which must not
//! run full. So what these libraries hold at once stays below [`MOST_HANDLES`].
//!
//! Errors are [`mlua::Error::RuntimeError`]s with the words of Redis's libraries, without the place of the call: the
//! binding hands a failure of a Rust function to a script as an object, and that a script sees a string with the place
//! before it is the sandbox's business, for it alone knows where errors can be caught.
//! Mirrors `deps/lua/src/lua_{cjson,cmsgpack,struct,bit}.c` of Redis.

pub(super) mod arguments;
pub mod bit;
pub mod cjson;
pub mod cmsgpack;
mod pieces;
pub mod structs;

use mlua::{Function, Lua, Table, Value};

/// How many values of the interpreter a library holds at once at most.
const MOST_HANDLES: usize = 6000;

/// How many values `unpack` returns at most.
const MOST_UNPACKED: usize = 7000;

/// The most bytes that one call makes: as many as a script may use in all. A string that stands at many places of a
/// table, or a table that does, grows without end otherwise, and nothing stops a call of ours. Tests get there sooner.
const MOST_BYTES: usize = if cfg!(test) { 1 << 24 } else { 1 << 30 };

/// Checks that `more` bytes may follow the `made` ones.
fn check_room(made: usize, more: usize) -> mlua::Result<()> {
    if made.saturating_add(more) > MOST_BYTES {
        return Err(mlua::Error::MemoryError("not enough memory".to_owned()));
    }
    Ok(())
}

/// Input up to which what is made of it is small, bytes: no more than some hundred bytes for each.
const SMALL: usize = 64 * 1024;

/// Makes values of an input. Where memory is limited the binding makes each in a protected call, which takes half of the
/// time; a small input does without the limit, and what comes after it meets it again.
fn make<T>(lua: &Lua, input: usize, make: impl FnOnce() -> mlua::Result<T>) -> mlua::Result<T> {
    if input > SMALL {
        return make();
    }
    let limit = lua.set_memory_limit(0)?;
    let made = make();
    lua.set_memory_limit(limit)?;
    made
}

/// Sets the four libraries as globals.
///
/// # Errors
/// When the interpreter has no memory left.
pub fn install_all(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    cjson::install(lua, globals)?;
    cmsgpack::install(lua, globals)?;
    structs::install(lua, globals)?;
    bit::install(lua, globals)?;
    bound_unpack(lua, globals)
}

/// Lets `unpack` return no more values than a function of ours can be called with: each is held while it runs, and a
/// table of handles that runs full is a panic. (Lua itself stops a little later, at 8000, with the same words.)
fn bound_unpack(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let layer = "
        local unpack, type, tonumber, error, most = ...
        return function(t, i, j)
            if type(t) == 'table' and (tonumber(j) or #t) - (tonumber(i) or 1) >= most then
                error('too many results to unpack', 2)
            end
            return unpack(t, i, j)
        end";
    let unpack: Value = globals.raw_get("unpack")?;
    if !unpack.is_function() {
        return Ok(());
    }
    let [kind, number, error] = ["type", "tonumber", "error"].map(|name| globals.raw_get(name));
    let (kind, number, error): (Value, Value, Value) = (kind?, number?, error?);
    // With no globals of its own: a script may ask for a function's.
    let layer = lua.load(layer).set_environment(lua.create_table()?);
    let bounded: Function = layer.call((unpack, kind, number, error, MOST_UNPACKED))?;
    globals.raw_set("unpack", bounded)
}

/// The text that an error would have had if it had been raised as a string: what stands at the root of its causes.
#[cfg(test)]
fn error_text(error: &mlua::Error) -> String {
    match error {
        mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } => {
            error_text(cause)
        }
        mlua::Error::RuntimeError(text) | mlua::Error::MemoryError(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpack_returns_no_more_than_a_call_takes() {
        let lua = Lua::new();
        install_all(&lua, &lua.globals()).unwrap();
        let check = |script: &str| {
            let ok: bool = lua.load(script).eval().unwrap();
            assert!(ok, "{script}");
        };
        check("local a, b, c = unpack({1, 2, 3}) return a == 1 and b == 2 and c == 3");
        check("local a, b = unpack({1, 2, 3}, 2, '3') return a == 2 and b == 3");
        check(
            "return select('#', unpack({}, 5)) == 0 and select('#', unpack({}, 1, 7000)) == 7000",
        );
        check("return select('#', unpack({1, 2, 3}, -2147483648, -2147483646)) == 3");
        check(
            "return #cmsgpack.pack(unpack((function() local t = {} for i = 1, 7000 do t[i] = 'x' end return t end)())) == 14000",
        );
        check("local ok, e = pcall(unpack, {}, 1, 7001) return e == 'too many results to unpack'");
        check(
            "local ok, e = pcall(unpack, {}, 0, 2147483647) return e == 'too many results to unpack'",
        );
    }

    #[test]
    fn errors_name_the_function_as_it_was_called() {
        let lua = Lua::new();
        install_all(&lua, &lua.globals()).unwrap();
        let error = |script: &str| error_text(&lua.load(script).exec().unwrap_err());
        let what = "(expected 1 argument)";
        assert_eq!(
            error("return cjson.decode()"),
            format!("bad argument #1 to 'decode' {what}")
        );
        assert_eq!(
            error("local f = cjson.decode f()"),
            format!("bad argument #1 to 'f' {what}")
        );
        assert_eq!(
            error("cjson:decode(1)"),
            format!("calling 'decode' on bad self {what}")
        );
        let decode: mlua::Function = lua.load("cjson.decode").eval().unwrap();
        assert_eq!(
            error_text(&decode.call::<()>(()).unwrap_err()),
            format!("bad argument #1 to '?' {what}")
        );
    }
}
