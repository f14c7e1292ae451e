//! Libraries of functions: how they are loaded into the interpreter and forgotten.
//!
//! In: the code of a library, from FUNCTION LOAD, a snapshot or a file. Out: its functions in the registry and in the
//! interpreter. Mirrors `functionsCreateWithLibraryCtx` of Redis's functions.c.

use super::{Host, State, script};
use crate::resp::Args;
use crate::scripting::flags::ScriptFlags;
use crate::scripting::functions::metadata::{self, shown};
use crate::scripting::functions::{Function, Library};
use crate::scripting::interpreter::{Ask, Tell};
use std::sync::Arc;

/// Runs the code of a library and adds what it registers; its name. The error is Redis's text without a code; nothing
/// has changed then. `limit_ms`: how long the code may run.
pub fn load(
    state: &mut State,
    host: &mut dyn Host,
    code: &[u8],
    replace: bool,
    limit_ms: Option<u64>,
) -> Result<Vec<u8>, String> {
    let found = metadata::parse(code)?;
    // Asked before the code runs, which may take long.
    state.scripting.libraries.may_load(&found.name, replace)?;
    let library = run_code(state, host, code, limit_ms)?;
    let handles: Vec<u64> = library.handles().collect();
    // The functions are in the interpreter already: where the registry does not take them they have to go from there.
    match state.scripting.libraries.add(library) {
        Ok(replaced) => {
            forget(state, replaced);
            Ok(found.name)
        }
        Err(error) => {
            drop_handles(state, handles);
            Err(error)
        }
    }
}

/// Time for the code of a library that comes from a primary, ms.
pub const FOREIGN_LIMIT_MS: u64 = 5000;

/// Runs the code of a library, whose first line has been checked.
pub(crate) fn run_code(
    state: &mut State,
    host: &mut dyn Host,
    code: &[u8],
    limit_ms: Option<u64>,
) -> Result<Library, String> {
    let found = metadata::parse(code)?;
    let functions = load_code(state, host, found.program, limit_ms)?;
    Ok(Library {
        name: found.name,
        code: Arc::from(code),
        functions: functions.into_iter().map(Arc::new).collect(),
    })
}

/// Has the interpreter forget libraries that are gone from the registry.
pub(crate) fn forget(state: &mut State, libraries: impl IntoIterator<Item = Library>) {
    let handles: Vec<u64> = libraries
        .into_iter()
        .flat_map(|library| library.handles().collect::<Vec<_>>())
        .collect();
    drop_handles(state, handles);
}

/// Removes all libraries.
pub fn flush(state: &mut State) {
    let all = state.scripting.libraries.clear();
    forget(state, all);
}

/// Bytes that libraries take, the interpreter's part not counted (`functions.caches`).
pub fn memory(state: &State) -> usize {
    state.scripting.libraries.memory()
}

/// Runs the code of a library in the interpreter, for at most `limit_ms`; what it registered. The error is Redis's text.
fn load_code(
    state: &mut State,
    host: &mut dyn Host,
    program: &[u8],
    limit_ms: Option<u64>,
) -> Result<Vec<Function>, String> {
    const FAILED: &str = "the interpreter of scripts has failed";
    let began_ns = host.monotonic_ns();
    let interpreter = script::interpreter(state).map_err(|error| error.text().into_owned())?;
    let mut tell = Tell::LoadLibrary(program.to_vec());
    loop {
        match interpreter.resume(tell) {
            Ask::Loaded(result) => return result.map_err(|error| shown(&error)),
            Ask::Clock => tell = Tell::Clock(host.monotonic_ns()),
            Ask::Busy => {
                // The loop does not turn meanwhile, so what a client loads has a limit. What a file has was within it
                // once.
                let elapsed_ms = host.monotonic_ns().saturating_sub(began_ns) / 1_000_000;
                tell = match limit_ms {
                    Some(limit_ms) if elapsed_ms > limit_ms => Tell::Kill,
                    _ => Tell::GoOn,
                };
            }
            other => {
                // It calls no commands: `redis.call` is not there while a library is loaded.
                log::error!("The interpreter answered the load of a library with {other:?}");
                return Err(FAILED.into());
            }
        }
    }
}

/// Has the interpreter forget functions. It is there if there were any.
pub(crate) fn drop_handles(state: &mut State, handles: Vec<u64>) {
    if let Some(interpreter) = &mut state.scripting.interpreter
        && !handles.is_empty()
    {
        interpreter.resume(Tell::ForgetFunctions(handles));
    }
}

/// What the function that a command names says of itself, if there is one.
pub fn flags_of(state: &State, args: Args<'_>) -> Option<ScriptFlags> {
    let function = state.scripting.libraries.function(args.at(1))?;
    Some(function.flags)
}
