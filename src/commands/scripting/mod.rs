//! Commands: Lua scripts. EVAL, EVALSHA, EVAL_RO, EVALSHA_RO, SCRIPT.
//!
//! A script runs inside the interpreter's coroutine ([`crate::scripting::interpreter`]) and stands still whenever it
//! calls a command; [`crate::engine::script`] runs that command for it and goes on. One that runs for too long is left standing, and the
//! loop turns: its caller waits, everyone else reads BUSY, and each turn gives it a slice of time.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `spec.rs` | the rows of the command table |
//! | `eval.rs` | which script, with which arguments |
//! | `script.rs` | SCRIPT |
//!
//! Mirrors script.c and eval.c of Redis.

mod eval;
mod script;
pub(crate) mod spec;
#[cfg(test)]
mod tests;

pub use spec::COMMANDS;
