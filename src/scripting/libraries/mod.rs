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

mod arguments;
pub mod bit;
pub mod cjson;
pub mod cmsgpack;
mod pieces;
pub mod structs;

use mlua::{Lua, Table};

/// How many values of the interpreter a library holds at once at most.
const MOST_HANDLES: usize = 6000;

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

/// Sets the four libraries as globals.
///
/// # Errors
/// When the interpreter has no memory left.
pub fn install_all(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    cjson::install(lua, globals)?;
    cmsgpack::install(lua, globals)?;
    structs::install(lua, globals)?;
    bit::install(lua, globals)
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
