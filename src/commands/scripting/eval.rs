//! EVAL and its like: which script, with which keys and arguments.

use crate::engine::script::{self, Program};
use crate::engine::{CommandError, ServerContext, State, shown};
use crate::resp::Args;
use crate::scripting::cache;
use crate::scripting::interpreter::{Ask, Tell};
use crate::system::numbers;

const NO_SCRIPT: CommandError =
    CommandError::fixed("NOSCRIPT No matching script. Please use EVAL.");

pub(super) fn eval(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run_script(context, args, false, false)
}
pub(super) fn eval_ro(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run_script(context, args, false, true)
}
pub(super) fn evalsha(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run_script(context, args, true, false)
}
pub(super) fn evalsha_ro(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    run_script(context, args, true, true)
}

/// The number of keys that the argument after the program tells; there are so many.
fn count_keys(args: Args<'_>) -> Result<usize, CommandError> {
    let keys = numbers::parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    if keys > args.len().saturating_sub(3) as i64 {
        return Err(CommandError::fixed(
            "ERR Number of keys can't be greater than number of args",
        ));
    }
    usize::try_from(keys).map_err(|_| CommandError::fixed("ERR Number of keys can't be negative"))
}

fn run_script(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
    by_digest: bool,
    read_only: bool,
) -> Result<(), CommandError> {
    let name = args.at(1);
    if by_digest && name.len() != size_of::<cache::Digest>() {
        return Err(NO_SCRIPT);
    }
    let keys = count_keys(args)?;
    let scripts = &context.state.scripting.scripts;
    let known = if by_digest {
        Some(scripts.by_digest(name).ok_or(NO_SCRIPT)?)
    } else {
        scripts.by_text(name)
    };
    let id = match known {
        Some(id) => id,
        None => learn(context.state, name, false)?,
    };
    context.state.scripting.scripts.touch(id);
    let Some(script) = context.state.scripting.scripts.get(id) else {
        return Err(NO_SCRIPT);
    };
    let program = Program {
        name: &script.digest.clone(),
        is_function: false,
        flags: script.flags,
        read_only,
    };
    let mut request = std::mem::take(&mut context.state.scripting.spare);
    request.clear();
    for arg in args.skip(3).iter() {
        request.push(arg);
    }
    let tell = Tell::Run {
        id,
        keys,
        args: request,
    };
    script::start(context, args, &program, tell)
}

/// Takes a script in that is not known.
pub(super) fn learn(state: &mut State, text: &[u8], is_loaded: bool) -> Result<u32, CommandError> {
    let digest = cache::digest(text);
    // Its text may share its hash with another.
    if let Some(id) = state.scripting.scripts.by_digest(&digest) {
        return Ok(id);
    }
    let error = |text: Vec<u8>| CommandError::of_parts(&[b"ERR ", shown(&text)]);
    let (flags, start) = cache::shebang(text).map_err(error)?;
    let id = state.scripting.scripts.next_id();
    let program = text.get(start..).unwrap_or_default().to_vec();
    let interpreter = script::interpreter(state)?;
    match interpreter.resume(Tell::Compile { id, program }) {
        Ask::Compiled(Ok(())) => {}
        Ask::Compiled(Err(problem)) => {
            let what = "ERR Error compiling script (new function): ";
            return Err(CommandError::showing(what, &problem, ""));
        }
        other => {
            log::error!("The interpreter answered a compilation with {other:?}");
            return Err(error("the interpreter of scripts has failed".into()));
        }
    }
    if let Some(gone) = state.scripting.scripts.add(text, digest, flags, is_loaded) {
        script::interpreter(state)?.resume(Tell::Forget(gone));
    }
    Ok(id)
}
