//! Commands: Lua scripts. EVAL, EVALSHA, EVAL_RO, EVALSHA_RO, SCRIPT.
//!
//! A script runs inside the interpreter's coroutine ([`crate::scripting::interpreter`]) and stands still whenever it
//! calls a command; [`run`] runs that command for it and goes on. One that runs for too long is left standing, and the
//! loop turns: its caller waits, everyone else reads BUSY, and each turn gives it a slice of time.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `spec.rs` | the rows of the command table |
//! | `eval.rs` | which script, with which arguments |
//! | [`run`] | the gates of a script and of its commands, its slices, its end |
//! | `script.rs` | SCRIPT |
//!
//! Mirrors script.c and eval.c of Redis.

mod eval;
pub mod run;
mod script;
pub(crate) mod spec;
#[cfg(test)]
mod tests;

pub use run::{go_on, wants_turns};
pub use spec::COMMANDS;

use super::{CommandError, CommandId, State, flags};
use crate::resp::Args;
use crate::scripting::flags::ScriptFlags;
use crate::scripting::interpreter::{Interpreter, Options};

/// The flags of a command that runs a program, by what the program says of itself.
pub(super) fn command_flags(state: &State, id: CommandId, args: Args<'_>, all: u32) -> u32 {
    let said = match state.table.get(id).spec.name {
        "fcall" | "fcall_ro" => super::functions::run::flags_of(state, args),
        _ => eval::flags_of(state, id, args),
    };
    match said {
        Some(said) => with_flags(all, said),
        None => all,
    }
}

/// The flags of a command whose program has these.
pub(super) fn with_flags(all: u32, said: ScriptFlags) -> u32 {
    let mut all = all & !(flags::STALE | flags::DENYOOM | flags::WRITE | flags::MAY_REPLICATE);
    if !said.has(ScriptFlags::ALLOW_OOM.and(ScriptFlags::NO_WRITES)) {
        all |= flags::DENYOOM;
    }
    if !said.has(ScriptFlags::NO_WRITES) {
        all |= flags::WRITE;
    }
    if said.has(ScriptFlags::ALLOW_STALE) {
        all |= flags::STALE;
    }
    all
}

/// The interpreter, made when it is first needed. None while a program runs in it: it is not here then, or stands in the
/// middle of that program and would take what it is told for an answer.
pub(super) fn interpreter(state: &mut State) -> Result<&mut Interpreter, CommandError> {
    if state.scripting.running.is_some() {
        return Err(CommandError::fixed("ERR a script runs"));
    }
    if state.scripting.interpreter.is_none() {
        let options = Options {
            deprecated: state.config.settings().lua_enable_deprecated_api,
        };
        let made = Interpreter::new(options).map_err(|error| {
            log::error!("The interpreter of scripts cannot be made: {error}");
            CommandError::fixed("ERR the interpreter of scripts cannot be made")
        })?;
        state.scripting.interpreter = Some(Box::new(made));
    }
    state
        .scripting
        .interpreter
        .as_deref_mut()
        .ok_or(CommandError::fixed("ERR a script runs"))
}
