//! SCRIPT: the cache of scripts, and the end of one that runs for too long.

use super::{eval, spec};
use crate::commands::help;
use crate::engine::{CommandError, ServerContext, parse, script};
use crate::resp::Args;
use crate::scripting::interpreter::Tell;

pub(super) fn load(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let text = args.at(2);
    let id = match context.state.scripting.scripts.by_text(text) {
        Some(id) => id,
        None => eval::learn(context.state, text, true)?,
    };
    let scripts = &mut context.state.scripting.scripts;
    scripts.keep(id);
    let digest = scripts.get(id).map(|script| script.digest);
    context.reply().bulk(&digest.unwrap_or([b'0'; 40]));
    Ok(())
}

pub(super) fn exists(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    context.reply().array(args.len().saturating_sub(2));
    for digest in args.skip(2).iter() {
        let is_known = context.state.scripting.scripts.by_digest(digest).is_some();
        context.reply().integer(is_known.into());
    }
    Ok(())
}

pub(super) fn show(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let scripts = &context.state.scripting.scripts;
    let script = scripts
        .by_digest(args.at(2))
        .and_then(|id| scripts.get(id))
        .ok_or(CommandError::fixed(
            "NOSCRIPT No matching script. Please use EVAL.",
        ))?;
    let text = std::sync::Arc::clone(&script.text);
    context.reply().bulk(&text);
    Ok(())
}

/// SYNC and ASYNC are the same: what the scripts leave in the interpreter is collected at once, which is quick.
pub(super) fn flush(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let is_known = args.len() == 2
        || (args.len() == 3
            && (parse::is_word(args.at(2), "SYNC") || parse::is_word(args.at(2), "ASYNC")));
    if !is_known {
        return Err(CommandError::fixed(
            "ERR SCRIPT FLUSH only support SYNC|ASYNC option",
        ));
    }
    let scripting = &mut context.state.scripting;
    scripting.scripts.clear();
    if let Some(interpreter) = &mut scripting.interpreter {
        interpreter.resume(Tell::ForgetAll);
    }
    context.reply().ok();
    Ok(())
}

pub(super) fn kill(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    script::kill(context, false)
}

/// There is no debugger. Switching it off is no harm.
pub(super) fn debug(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mode = args.at(2);
    if parse::is_word(mode, "NO") {
        context.reply().ok();
        return Ok(());
    }
    if parse::is_word(mode, "YES") || parse::is_word(mode, "SYNC") {
        return Err(CommandError::fixed(
            "ERR SCRIPT DEBUG is not supported: there is no debugger of scripts",
        ));
    }
    Err(CommandError::fixed("ERR Use SCRIPT DEBUG YES/SYNC/NO"))
}

pub(super) fn print_help(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    help::of_rows(context.reply(), args, spec::SUBCOMMANDS);
    Ok(())
}
