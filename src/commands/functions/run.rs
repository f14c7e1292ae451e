//! Running functions: FCALL, FCALL_RO, and what is seen of the one that runs: FUNCTION STATS, FUNCTION KILL.
//!
//! In: a function's name, keys and arguments. Out: its reply, through the same host as a script's. Mirrors
//! `fcallCommandGeneric` and `functionStatsCommand` of Redis's functions.c.

use crate::engine::script::{self, Program, busy_error, start};
use crate::engine::{CommandError, ServerContext, key_flags};
use crate::resp::Args;
use crate::scripting::functions::ENGINE;
use crate::scripting::interpreter::Tell;
use crate::system::numbers;

/// The keys of a call of FCALL; none where their number does not fit.
pub(super) fn call_keys(args: Args<'_>) -> Result<Vec<(usize, u32)>, CommandError> {
    Ok(keys(
        args,
        key_flags::RW | key_flags::ACCESS | key_flags::UPDATE,
    ))
}

/// The keys of FCALL_RO, which are only read.
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

pub(super) fn fcall(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run(context, args, false)
}

pub(super) fn fcall_ro(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    run(context, args, true)
}

fn run(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
    read_only: bool,
) -> Result<(), CommandError> {
    let libraries = &context.state.scripting.libraries;
    let function = libraries
        .function(args.at(1))
        .cloned()
        .ok_or(CommandError::fixed("ERR Function not found"))?;
    let keys = number_of_keys(args)?;
    let mut request = std::mem::take(&mut context.state.scripting.spare);
    request.clear();
    args.skip(3).iter().for_each(|arg| request.push(arg));
    let tell = Tell::RunFunction {
        handle: function.handle,
        keys,
        args: request,
    };
    let program = Program {
        name: &function.name,
        is_function: true,
        flags: Some(function.flags),
        read_only,
    };
    start(context, args, &program, tell)
}

pub(super) fn stats(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let ServerContext {
        state,
        host,
        client,
        ..
    } = context;
    let Some(client) = state.clients.get_mut(*client) else {
        return Ok(());
    };
    let reply = &mut client.reply;
    let running = state.scripting.running.as_deref();
    if running.is_some_and(|running| !running.is_function) {
        return Err(busy_error(false));
    }
    reply.map(2);
    reply.bulk(b"running_script");
    match running {
        None => reply.null(),
        Some(running) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(&running.name);
            reply.bulk(b"command");
            let request = running.command.as_ref().map(|called| called.request.args());
            let words = request.iter().flat_map(|args| args.iter());
            reply.array(request.map_or(0, |args| args.len()));
            words.for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            let elapsed_ns = host.monotonic_ns().saturating_sub(running.now.mono_ns);
            reply.integer((elapsed_ns / 1_000_000) as i64);
        }
    }
    let libraries = &state.scripting.libraries;
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(ENGINE.as_bytes());
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.count(libraries.len());
    reply.bulk(b"functions_count");
    reply.count(libraries.functions_len());
    Ok(())
}

pub(super) fn kill(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    script::kill(context, true)
}
