//! Commands: functions. FUNCTION with its subcommands, FCALL, FCALL_RO.
//!
//! In: libraries from a client, a dump or a file. Out: functions that FCALL runs. A library's code is run once, aside, and
//! what it registered is added when all went well: what fails changes nothing.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`run`] | running a function, and the one that runs: STATS, KILL |
//! | [`spec`] | the rows |
//!
//! Mirrors functions.c of Redis.

pub mod run;
pub mod spec;
#[cfg(test)]
mod tests;

pub use spec::COMMANDS;

use super::help;
use crate::clients::ClientKind;
use crate::engine::functions::{FOREIGN_LIMIT_MS, drop_handles, flush, forget, load, run_code};
use crate::engine::{CommandError, Context, Host, ServerContext, State, parse};
use crate::persistence::rdb::{library, payload};
use crate::resp::{Args, Reply};
use crate::scripting::functions::{ENGINE, Function, Libraries, Library, Policy, metadata};
use crate::system::glob;

/// FUNCTION LOAD may take so long, ms, where a client asks for it.
const LOAD_LIMIT_MS: u64 = 500;

fn print_help(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::of_rows(context.reply, args, spec::SUBCOMMANDS);
    Ok(())
}

/// A text of the registry or of the interpreter as an error of the generic kind.
fn generic(text: String) -> CommandError {
    CommandError::text_owned(format!("ERR {text}"))
}

// ---- loading -------------------------------------------------------------------------------------

/// How long a library of this client may load: as long as it likes, where it was loaded before.
fn load_limit(context: &mut ServerContext<'_>) -> Option<u64> {
    match context.session().kind {
        ClientKind::Internal => None,
        ClientKind::Primary => Some(FOREIGN_LIMIT_MS),
        _ => Some(LOAD_LIMIT_MS),
    }
}

fn load_command(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let mut replace = false;
    for option in args.iter().take(last).skip(2) {
        if !parse::is_word(option, "REPLACE") {
            return Err(CommandError::showing(
                "ERR Unknown option given: ",
                option,
                "",
            ));
        }
        replace = true;
    }
    let limit = load_limit(context);
    let name = load(context.state, context.host, args.at(last), replace, limit).map_err(generic)?;
    context.state.keyspace.dirty += 1;
    context.reply().bulk(&name);
    Ok(())
}

fn delete(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let removed = context.state.scripting.libraries.remove(args.at(2));
    if removed.is_none() {
        return Err(CommandError::fixed("ERR Library not found"));
    }
    forget(context.state, removed);
    context.state.keyspace.dirty += 1;
    context.reply().ok();
    Ok(())
}

/// The interpreter's memory is freed at once either way: it cannot be given to another thread.
fn flush_command(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match args.get(2) {
        _ if args.len() > 3 => return Err(CommandError::subcommand_syntax(args)),
        Some(word) if !parse::is_word(word, "SYNC") && !parse::is_word(word, "ASYNC") => {
            return Err(CommandError::fixed(
                "ERR FUNCTION FLUSH only supports SYNC|ASYNC option",
            ));
        }
        _ => {}
    }
    flush(context.state);
    context.state.keyspace.dirty += 1;
    context.reply().ok();
    Ok(())
}

// ---- dumps ---------------------------------------------------------------------------------------

fn dump(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let codes = context.state.scripting.libraries.codes();
    let compress = context.state.config.settings().rdb_compression;
    let bytes = library::dump(codes.iter().map(|code| &**code), compress);
    context.reply().bulk(&bytes);
    Ok(())
}

fn restore(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let policy = match args.get(3) {
        _ if args.len() > 4 => return Err(CommandError::subcommand_syntax(args)),
        None => Policy::Append,
        Some(word) if parse::is_word(word, "APPEND") => Policy::Append,
        Some(word) if parse::is_word(word, "REPLACE") => Policy::Replace,
        Some(word) if parse::is_word(word, "FLUSH") => Policy::Flush,
        Some(_) => {
            return Err(CommandError::fixed(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let check_sum = !context.state.skip_checksum_validation;
    let body = payload::verify(args.at(2), check_sum).ok_or(CommandError::fixed(
        "ERR DUMP payload version or checksum are wrong",
    ))?;
    let codes = library::restore(body).map_err(|error| generic(error.to_owned()))?;
    let mut aside = Libraries::default();
    let limit = load_limit(context);
    let (state, host) = (&mut *context.state, &mut *context.host);
    for code in codes {
        if let Err(error) = load_aside(state, host, &mut aside, &code, limit) {
            forget(state, aside.clear());
            return Err(generic(error));
        }
    }
    match state.scripting.libraries.join(aside, policy) {
        Ok(gone) => forget(state, gone),
        Err((error, refused)) => {
            forget(state, refused);
            return Err(generic(error));
        }
    }
    context.state.keyspace.dirty += 1;
    context.reply().ok();
    Ok(())
}

/// Loads a library of a dump into a registry that nobody sees yet.
fn load_aside(
    state: &mut State,
    host: &mut dyn Host,
    aside: &mut Libraries,
    code: &[u8],
    limit_ms: Option<u64>,
) -> Result<(), String> {
    let found = metadata::parse(code)?;
    aside.may_load(&found.name, false)?;
    // A made-up dump from a client could hold the server for ever, as it can Redis. What a file repeats may take longer than
    // it did, on a slower machine or on one with more to do.
    let library = run_code(state, host, code, limit_ms)?;
    let handles = library.handles().collect();
    aside
        .add(library)
        .map(|_| ())
        .inspect_err(|_| drop_handles(state, handles))
}

// ---- listing -------------------------------------------------------------------------------------

fn list(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (mut with_code, mut pattern) = (false, None);
    let mut options = args.iter().skip(2);
    while let Some(option) = options.next() {
        if !with_code && parse::is_word(option, "WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && parse::is_word(option, "LIBRARYNAME") {
            let missing = CommandError::fixed("ERR library name argument was not given");
            pattern = Some(options.next().ok_or(missing)?);
        } else {
            return Err(CommandError::showing("ERR Unknown argument ", option, ""));
        }
    }
    let ServerContext { state, client, .. } = context;
    let Some(client) = state.clients.get_mut(*client) else {
        return Ok(());
    };
    let reply = &mut client.reply;
    let wanted = |library: &&Library| {
        pattern.is_none_or(|pattern| glob::matches_nocase(pattern, &library.name))
    };
    let libraries = &state.scripting.libraries;
    reply.array(libraries.iter().filter(wanted).count());
    for library in libraries.iter().filter(wanted) {
        describe(reply, library, with_code);
    }
    Ok(())
}

fn describe(reply: &mut Reply, library: &Library, with_code: bool) {
    reply.map(if with_code { 4 } else { 3 });
    reply.bulk(b"library_name");
    reply.bulk(&library.name);
    reply.bulk(b"engine");
    reply.bulk(ENGINE.as_bytes());
    reply.bulk(b"functions");
    reply.array(library.functions.len());
    for function in &library.functions {
        let Function {
            name,
            description,
            flags,
            ..
        } = &**function;
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"description");
        reply.bulk_or_null(description.as_deref());
        reply.bulk(b"flags");
        reply.set(flags.names().count());
        flags.names().for_each(|flag| reply.simple(flag));
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(&library.code);
    }
}
