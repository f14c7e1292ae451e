//! The one place where Lua is spoken to past its binding: `redis.call`, and the tables of keys and arguments.
//!
//! The binding gives each value that Rust sees a handle and each call that may run out of memory a protected call of
//! its own. That is right everywhere else, and here it was half of a script's time: a loop of INCRs took 1.5 times as
//! long as in Redis. What is made here are functions of C instead, which read its arguments where Lua has them and push
//! their result.
//!
//! In: a closure that gets the arguments and a buffer, and says what the buffer holds. Out: a function for scripts.
//! What always holds: while something is pushed, which may raise an error and so jump out of the function, no frame of
//! Rust below has anything to drop. The closure runs before, and is done. Whatever allocates in Lua may collect, and a
//! collection may run a finalizer, which is a program: from before the closure begins until the last value is pushed
//! one flag for all functions is set, and who calls one of them meanwhile gets an error. So nobody writes to a buffer
//! that is being read. An error that jumps out leaves the flag set; the next program starts with it clear.
#![allow(unsafe_code)]

use mlua::ffi;
use mlua::{Function, Lua, lua_State};
use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Levels of a reply that is pushed here.
const MAX_DEPTH: u32 = 16;
/// A buffer larger than this is given back after the call.
const KEPT: usize = 64 * 1024;

/// An argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Arg<'a> {
    /// A string.
    Text(&'a [u8]),
    /// A number.
    Number(f64),
    /// Something else.
    Other,
}

/// The arguments of one call, as they lie on the stack of Lua.
pub(super) struct Args<'a> {
    state: *mut lua_State,
    len: usize,
    stack: PhantomData<&'a ()>,
}

impl<'a> Args<'a> {
    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Arg<'a>> + '_ {
        (1..=self.len).map(|index| self.get(index))
    }
    fn get(&self, index: usize) -> Arg<'a> {
        let index = index as c_int;
        // SAFETY: the index is one of the arguments, which stay on the stack while the closure runs, for no Lua runs
        // meanwhile. A string is not moved and, being on the stack, not collected. `lua_tolstring` of a string
        // allocates nothing and so raises nothing; neither do the others.
        unsafe {
            match ffi::lua_type(self.state, index) {
                ffi::LUA_TSTRING => {
                    let mut len = 0;
                    let text = ffi::lua_tolstring(self.state, index, &mut len);
                    Arg::Text(std::slice::from_raw_parts(text.cast(), len))
                }
                ffi::LUA_TNUMBER => Arg::Number(ffi::lua_tonumber(self.state, index)),
                _ => Arg::Other,
            }
        }
    }
}

/// What the buffer holds after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A reply in RESP2, to be pushed.
    Reply,
    /// The text of an error, to be raised as the table that Redis raises. `counted`: the statistics know it.
    Raise {
        /// Whether it was counted.
        counted: bool,
    },
    /// Something else: the other function, of the binding, makes the value (or the error).
    Convert,
    /// Keys and arguments, to be pushed as two tables: see [`put_list`].
    Lists,
}

/// What a function does.
pub(super) type Run<'f> = &'f dyn Fn(&Args<'_>, &mut Vec<u8>) -> Outcome;

/// What is behind a function.
struct Held<'f> {
    run: Run<'f>,
    buffer: UnsafeCell<Vec<u8>>,
    /// One of the functions that share it runs, or its result is being pushed.
    in_call: &'f Cell<bool>,
}

/// Forgets the closure when its time is over: whoever still has the function gets an error.
struct Release(*mut *const Held<'static>, #[allow(dead_code)] Function);

impl Drop for Release {
    fn drop(&mut self) {
        // SAFETY: the block belongs to the function, which is held here and so alive.
        unsafe { *self.0 = std::ptr::null() };
    }
}

/// Makes functions of Lua that do what is in `runs`, and passes them to `body`; when that returns they are dead.
/// `convert` is called for [`Outcome::Convert`]. `in_call` is true while one of the functions runs, and stays so where an
/// error has ended it; it may be cleared where no program runs, and nowhere else.
pub(super) fn with_functions<R, const N: usize>(
    lua: &Lua,
    runs: [Run<'_>; N],
    in_call: &Cell<bool>,
    convert: &Function,
    body: impl FnOnce([&Function; N]) -> mlua::Result<R>,
) -> mlua::Result<R> {
    let held = runs.map(|run| Held {
        run,
        buffer: UnsafeCell::default(),
        in_call,
    });
    let made: mlua::Result<Vec<Release>> = held
        .iter()
        .map(|held| function(lua, held, convert))
        .collect();
    let made = made?;
    body(std::array::from_fn(|index| &made[index].1))
}

/// A function for what is held. It must be dropped before that, and is: it is made later.
fn function(lua: &Lua, held: &Held<'_>, convert: &Function) -> mlua::Result<Release> {
    let pointer: *const Held<'_> = held;
    let mut block: *mut *const Held<'static> = std::ptr::null_mut();
    // SAFETY: runs protected, with `convert` on the stack. The lifetime is widened to store the pointer; `Release`
    // takes it out of the block before what it points to goes.
    let function: Function = unsafe {
        lua.exec_raw(convert, |state| {
            let size = size_of::<*const Held<'_>>();
            block = ffi::lua_newuserdata(state, size).cast();
            *block = pointer.cast();
            ffi::lua_insert(state, -2);
            ffi::lua_pushcclosure(state, call, 2);
        })
    }?;
    Ok(Release(block, function))
}

/// The function of C: two upvalues, the block with the pointer and the function that converts.
unsafe extern "C-unwind" fn call(state: *mut lua_State) -> c_int {
    // SAFETY: the first upvalue is the block that `with_functions` made.
    let held =
        unsafe { *ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<*const Held<'_>>() };
    // SAFETY: not null, it points to what `with_functions` has on its stack.
    let Some(held) = (unsafe { held.as_ref() }) else {
        // SAFETY: raises; nothing is to be dropped.
        return unsafe { raise(state, b"ERR the host has gone", false) };
    };
    if held.in_call.replace(true) {
        // SAFETY: as above. The flag stays set: it belongs to the call that is under way.
        return unsafe { raise(state, b"ERR a call within a call", false) };
    }
    let outcome = run(state, held);
    // SAFETY: the closure is done, and while the flag is set no other runs, also not from a finalizer that what is
    // pushed here sets off: nobody writes to the buffer, or drops it. What is pushed is copied. An error that jumps out of
    // here leaves nothing to drop.
    let pushed = unsafe {
        let bytes: *const Vec<u8> = held.buffer.get();
        let (start, len) = ((*bytes).as_ptr(), (*bytes).len());
        let bytes = std::slice::from_raw_parts(start, len);
        match outcome {
            Outcome::Reply => {
                push_reply(state, bytes, 0);
                1
            }
            Outcome::Lists => {
                let rest = push_list(state, bytes);
                push_list(state, rest);
                2
            }
            Outcome::Raise { counted } => {
                push_error(state, bytes, counted);
                0
            }
            Outcome::Convert => {
                // The buffer is not read, and what the other function raises leaves no flag behind.
                held.in_call.set(false);
                ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
                ffi::lua_call(state, 0, 1);
                1
            }
        }
    };
    if outcome != Outcome::Convert {
        // SAFETY: as above, and what was pushed of the buffer is copied: nobody reads it any more.
        unsafe { give_back(&mut *held.buffer.get()) };
    }
    held.in_call.set(false);
    if let Outcome::Raise { .. } = outcome {
        // SAFETY: the error is on top; nothing is to be dropped.
        unsafe { ffi::lua_error(state) };
    }
    pushed
}

/// Runs the closure. Everything that it makes is dropped when it returns.
fn run(state: *mut lua_State, held: &Held<'_>) -> Outcome {
    // SAFETY: the stack of a running function of C.
    let len = unsafe { ffi::lua_gettop(state) };
    let args = Args {
        state,
        len: usize::try_from(len).unwrap_or(0),
        stack: PhantomData,
    };
    // SAFETY: `in_call` lets nobody else in, and what reads the buffer does so before it is cleared.
    let buffer = unsafe { &mut *held.buffer.get() };
    // What an error that jumped out has left.
    give_back(buffer);
    catch_unwind(AssertUnwindSafe(|| (held.run)(&args, buffer))).unwrap_or_else(|_| {
        buffer.clear();
        buffer.extend_from_slice(b"ERR the call has failed");
        Outcome::Raise { counted: false }
    })
}

/// Empties a buffer; much room is not kept for the next call, which may be far away.
fn give_back(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEPT {
        *buffer = Vec::new();
    }
}

/// Raises an error as Redis does: a table with its text.
///
/// # Safety
/// Within a function of C that is called by Lua, with nothing to be dropped in any frame up to it.
unsafe fn raise(state: *mut lua_State, text: &[u8], counted: bool) -> c_int {
    // SAFETY: as the caller promises; a function of C has room for twenty values.
    unsafe {
        push_error(state, text, counted);
        ffi::lua_error(state)
    }
}

/// # Safety
/// As [`raise`].
unsafe fn push_error(state: *mut lua_State, text: &[u8], counted: bool) {
    // SAFETY: as above.
    unsafe {
        push_field(state, c"err", text);
        if counted {
            ffi::lua_pushboolean(state, 1);
            ffi::lua_setfield(state, -2, c"ignore_error_stats_update".as_ptr());
        }
    }
}

/// Pushes a table with one field.
///
/// # Safety
/// As [`raise`].
unsafe fn push_field(state: *mut lua_State, name: &CStr, text: &[u8]) {
    // SAFETY: as above; the table has no metatable, so that setting a field runs nothing.
    unsafe {
        ffi::lua_createtable(state, 0, 2);
        push_text(state, text);
        ffi::lua_setfield(state, -2, name.as_ptr());
    }
}

/// # Safety
/// As [`raise`].
unsafe fn push_text(state: *mut lua_State, text: &[u8]) {
    // SAFETY: as above; Lua copies the bytes.
    unsafe { ffi::lua_pushlstring_(state, text.as_ptr().cast(), text.len()) };
}

/// Pushes a reply in RESP2; what follows it. Our own commands wrote it, yet nothing is taken for granted: what is cut
/// off or of no known kind becomes nil.
///
/// # Safety
/// As [`raise`].
unsafe fn push_reply(state: *mut lua_State, bytes: &[u8], depth: u32) -> &[u8] {
    if let [b':', digits @ ..] = bytes
        && let Some((number, len)) = short_integer(digits)
    {
        // SAFETY: there is room for one more.
        unsafe { ffi::lua_pushnumber(state, f64::from(number)) };
        return digits.get(len + 2..).unwrap_or_default();
    }
    let (line, rest) = split_line(bytes);
    let (kind, text) = line.split_first().unwrap_or((&b'_', &[]));
    // SAFETY: as the caller promises; each level takes two places, and asks for them.
    unsafe {
        match kind {
            b':' => ffi::lua_pushnumber(state, integer(text) as f64),
            b'$' => {
                if let Ok(len) = usize::try_from(integer(text)) {
                    push_text(state, rest.get(..len).unwrap_or_default());
                    return rest.get(len + 2..).unwrap_or_default();
                }
                ffi::lua_pushboolean(state, 0);
            }
            b'+' => push_field(state, c"ok", text),
            b'-' => push_error(state, text, true),
            b'*' if depth < MAX_DEPTH => {
                let Ok(len) = usize::try_from(integer(text)) else {
                    ffi::lua_pushboolean(state, 0);
                    return rest;
                };
                let mut rest = rest;
                if ffi::lua_checkstack(state, 4) == 0 {
                    ffi::lua_pushnil(state);
                    return &[];
                }
                // An element takes three bytes at least: no more room than that is made in advance.
                let room = len.min(rest.len() / 3);
                ffi::lua_createtable(state, c_int::try_from(room).unwrap_or(0), 0);
                for index in 1..=len {
                    // A length that promises more than there is would keep us here for ever.
                    if rest.is_empty() {
                        break;
                    }
                    rest = push_reply(state, rest, depth + 1);
                    ffi::lua_rawseti_(state, -2, index as c_int);
                }
                return rest;
            }
            _ => ffi::lua_pushnil(state),
        }
    }
    rest
}

/// A number of up to nine digits before a line's end, and how many: what most integers are.
fn short_integer(digits: &[u8]) -> Option<(u32, usize)> {
    let mut number = 0;
    for (index, byte) in digits.iter().take(10).enumerate() {
        match byte {
            b'0'..=b'9' if index < 9 => number = number * 10 + u32::from(byte - b'0'),
            b'\r' if index > 0 => return Some((number, index)),
            _ => return None,
        }
    }
    None
}

/// A line, and what is behind its end.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 2..).unwrap_or_default())
}

fn integer(text: &[u8]) -> i64 {
    crate::system::numbers::parse_i64(text).unwrap_or_default()
}

/// Adds a list to the buffer of [`Outcome::Lists`]; there are two.
pub(super) fn put_list<'a>(buffer: &mut Vec<u8>, items: impl ExactSizeIterator<Item = &'a [u8]>) {
    let put = |buffer: &mut Vec<u8>, n: usize| buffer.extend_from_slice(&n.to_ne_bytes());
    put(buffer, items.len());
    for item in items {
        put(buffer, item.len());
        buffer.extend_from_slice(item);
    }
}

/// Pushes a list as a table; what follows it.
///
/// # Safety
/// As [`raise`].
unsafe fn push_list(state: *mut lua_State, bytes: &[u8]) -> &[u8] {
    let (len, mut rest) = take_number(bytes);
    // SAFETY: as the caller promises.
    unsafe {
        let room = len.min(rest.len() / size_of::<usize>());
        ffi::lua_createtable(state, c_int::try_from(room).unwrap_or(0), 0);
        for index in 1..=len {
            let (len, after) = take_number(rest);
            push_text(state, after.get(..len).unwrap_or_default());
            ffi::lua_rawseti_(state, -2, index as c_int);
            rest = after.get(len..).unwrap_or_default();
        }
    }
    rest
}

fn take_number(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes.split_first_chunk() {
        Some((number, rest)) => (usize::from_ne_bytes(*number), rest),
        None => (0, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls a function whose closure does `run`, from a script.
    fn eval<T: mlua::FromLua>(
        script: &str,
        run: &dyn Fn(&Args<'_>, &mut Vec<u8>) -> Outcome,
    ) -> mlua::Result<T> {
        let lua = Lua::new();
        let convert = lua.create_function(|_, ()| Ok("converted"))?;
        let in_call = Cell::new(false);
        with_functions(&lua, [run], &in_call, &convert, |[function]| {
            lua.globals().set("f", function)?;
            lua.load(script).eval()
        })
    }

    fn reply(bytes: &'static [u8]) -> impl Fn(&Args<'_>, &mut Vec<u8>) -> Outcome {
        move |_, buffer| {
            buffer.extend_from_slice(bytes);
            Outcome::Reply
        }
    }

    #[test]
    fn arguments_are_seen_as_they_are() {
        let seen = std::cell::RefCell::new(Vec::new());
        let run = |args: &Args<'_>, _: &mut Vec<u8>| {
            let shown = args.iter().map(|arg| format!("{arg:?}"));
            seen.borrow_mut().extend(shown);
            assert_eq!(args.iter().count(), 5);
            Outcome::Convert
        };
        let got: String = eval("return f('a\\0b', 1.5, nil, {}, '7')", &run).expect("it runs");
        assert_eq!(got, "converted");
        assert_eq!(
            *seen.borrow(),
            [
                "Text([97, 0, 98])",
                "Number(1.5)",
                "Other",
                "Other",
                "Text([55])"
            ]
        );
    }

    #[test]
    fn replies_are_pushed() {
        let nested = b"*4\r\n:7\r\n$2\r\nab\r\n*2\r\n$-1\r\n*-1\r\n+OK\r\n";
        let script = "local t = f() return t[1] == 7 and t[2] == 'ab' and t[3][1] == false and t[3][2] == false and \
                      t[4].ok == 'OK' and #t == 4";
        assert!(eval::<bool>(script, &reply(nested)).expect("it runs"));
        for cut in 0..nested.len() {
            let run = move |_: &Args<'_>, buffer: &mut Vec<u8>| {
                buffer.extend_from_slice(&nested[..cut]);
                Outcome::Reply
            };
            let _ = eval::<mlua::Value>("return f()", &run).expect("it runs");
        }
        // Deeper than any reply of ours.
        let deep = |_: &Args<'_>, buffer: &mut Vec<u8>| {
            buffer.extend_from_slice("*1\r\n".repeat(5000).as_bytes());
            Outcome::Reply
        };
        eval::<mlua::Value>("return f()", &deep).expect("it runs");
    }

    #[test]
    fn lists_come_as_two_tables() {
        let run = |_: &Args<'_>, buffer: &mut Vec<u8>| {
            put_list(buffer, [&b"k"[..]].into_iter());
            put_list(buffer, [&b""[..], b"a\0"].into_iter());
            Outcome::Lists
        };
        let script = "local k, a = f() return #k == 1 and k[1] == 'k' and #a == 2 and a[1] == '' and a[2] == 'a\\0'";
        assert!(eval::<bool>(script, &run).expect("it runs"));
    }

    #[test]
    fn errors_are_tables_that_can_be_caught() {
        let run = |_: &Args<'_>, buffer: &mut Vec<u8>| {
            buffer.extend_from_slice(b"ERR no");
            Outcome::Raise { counted: true }
        };
        let script = "local ok, e = pcall(f) return not ok and e.err == 'ERR no' and e.ignore_error_stats_update";
        assert!(eval::<bool>(script, &run).expect("it runs"));
    }

    /// A finalizer ran while a reply was pushed and made another call, which used the buffer again.
    #[test]
    fn a_finalizer_cannot_call_while_a_reply_is_pushed() {
        let long = |args: &Args<'_>, buffer: &mut Vec<u8>| {
            let (len, text) = match args.get(1) {
                Arg::Number(_) => (20_000, "$4\r\nlong\r\n"),
                _ => (20_000, "$4\r\ngone\r\n"),
            };
            buffer.extend_from_slice(format!("*{len}\r\n").as_bytes());
            buffer.extend_from_slice(text.repeat(len).as_bytes());
            Outcome::Reply
        };
        let script = "refused, wrong = 0, 0
            for i = 1, 20 do
                local p = newproxy(true)
                getmetatable(p).__gc = function()
                    local ok, e = pcall(f)
                    if not ok and e.err == 'ERR a call within a call' then refused = refused + 1 end
                end
                p = nil
                for _, text in ipairs(f(1)) do if text ~= 'long' then wrong = wrong + 1 end end
            end
            return wrong == 0 and refused > 0";
        assert!(eval::<bool>(script, &long).expect("it runs"));
    }

    /// Where an error ends a push the flag stays, until a program begins.
    #[test]
    fn an_error_while_a_reply_is_pushed_ends_calls_until_the_next_program() {
        let lua = Lua::new();
        let convert = lua.create_function(|_, ()| Ok(())).expect("a function");
        let in_call = Cell::new(false);
        let run = |_: &Args<'_>, buffer: &mut Vec<u8>| {
            buffer.extend_from_slice(b"$100000\r\n");
            buffer.resize(buffer.len() + 100_000, b'x');
            buffer.extend_from_slice(b"\r\n");
            Outcome::Reply
        };
        with_functions(&lua, [&run], &in_call, &convert, |[function]| {
            lua.set_memory_limit(lua.used_memory() + 50_000)?;
            assert!(function.call::<()>(()).is_err() && in_call.get());
            lua.set_memory_limit(0)?;
            let refused = function.call::<()>(()).is_err();
            in_call.set(false);
            assert!(refused && function.call::<()>(()).is_ok() && !in_call.get());
            Ok(())
        })
        .expect("it is made");
    }

    #[test]
    fn a_function_that_outlives_its_closure_is_dead() {
        let lua = Lua::new();
        let convert = lua.create_function(|_, ()| Ok(())).expect("a function");
        let run = reply(b":1\r\n");
        let in_call = Cell::new(false);
        with_functions(&lua, [&run], &in_call, &convert, |[function]| {
            lua.globals().set("f", function)
        })
        .expect("it is made");
        drop(run);
        let script = "local ok, e = pcall(f) return not ok and e.err == 'ERR the host has gone'";
        assert!(lua.load(script).eval::<bool>().expect("it runs"));
    }
}
