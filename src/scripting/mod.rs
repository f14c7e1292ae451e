//! Lua: scripts and functions.
//!
//! In: a script with its keys and arguments. Out: a sequence of things that it asks for: a command to be run for it,
//! a moment for the loop, its end with a reply. The interpreter lives on a stack of its own (a coroutine of the
//! machine, not of Lua), so a script that calls a command simply stands still until it is answered: nothing that the
//! commands borrow is borrowed while Lua runs, and a script that runs for too long is left standing while the loop
//! turns. Mirrors `script.c`, `script_lua.c`, `eval.c` and `functions.c` of Redis.

pub mod flags;
pub mod functions;
pub mod libraries;

/// The interpreter and what it has loaded.
#[derive(Default)]
pub struct Scripting {
    /// The libraries of functions.
    pub libraries: functions::Libraries,
}
