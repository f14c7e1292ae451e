//! CLIENT: what is known of each connection, and what may be done to it.
//!
//! In: the caller's session, or filters that pick clients. Out: lines about clients, changed sessions, clients marked
//! to be closed. Closing oneself happens after the answer; others are closed at the end of the turn. Mirrors
//! `clientCommand` of Redis's networking.c.
//!
//! | file | what |
//! | --- | --- |
//! | `spec` | the rows |
//! | `filter` | the filters of LIST and KILL |

mod filter;
mod spec;
#[cfg(test)]
mod tests;

pub use spec::COMMANDS;

use super::help;
use crate::clients::{ClientKey, ClientKind, ReplyMode};
use crate::engine::client_line::write_line;
use crate::engine::detach::detach;
pub use crate::engine::{CommandError, Context, Pause, ServerContext, blocking, parse};
use crate::resp::Args;
use crate::system::numbers;
use filter::Filter;

/// What a bad name is answered with.
pub const NAME_ERROR: CommandError =
    CommandError::fixed("ERR Client names cannot contain spaces, newlines or special characters.");

/// Whether a name may stand in a line of CLIENT LIST, whose fields are parted by blanks.
pub fn is_printable(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_graphic)
}

/// `ON` or `OFF`.
fn on_off(arg: &[u8]) -> Result<bool, CommandError> {
    match () {
        () if parse::is_word(arg, "ON") => Ok(true),
        () if parse::is_word(arg, "OFF") => Ok(false),
        () => Err(CommandError::Syntax),
    }
}

fn id(context: &mut Context<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let id = context.session.id;
    context.reply.integer(i64::try_from(id).unwrap_or(i64::MAX));
    Ok(())
}

fn get_name(context: &mut Context<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let name = &context.session.name;
    context
        .reply
        .bulk_or_null((!name.is_empty()).then_some(name.as_slice()));
    Ok(())
}

fn set_name(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !is_printable(args.at(2)) {
        return Err(NAME_ERROR);
    }
    context.session.name = args.at(2).to_vec();
    context.reply.ok();
    Ok(())
}

fn set_info(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (attribute, value) = (args.at(2), args.at(3));
    let field = match () {
        () if parse::is_word(attribute, "LIB-NAME") => &mut context.session.lib_name,
        () if parse::is_word(attribute, "LIB-VER") => &mut context.session.lib_ver,
        () => {
            return Err(CommandError::showing(
                "ERR Unrecognized option '",
                attribute,
                "'",
            ));
        }
    };
    if !is_printable(value) {
        let problem = " cannot contain spaces, newlines or special characters.";
        return Err(CommandError::showing("ERR ", attribute, problem));
    }
    *field = value.to_vec();
    context.reply.ok();
    Ok(())
}

fn no_evict(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    context.session.no_evict = on_off(args.at(2))?;
    context.reply.ok();
    Ok(())
}

fn no_touch(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    context.session.no_touch = on_off(args.at(2))?;
    context.reply.ok();
    Ok(())
}

/// `CLIENT REPLY`: only ON is answered.
fn reply(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mode = &mut context.session.reply_mode;
    match () {
        () if parse::is_word(args.at(2), "ON") => {
            *mode = ReplyMode::On;
            context.reply.set_discard(false);
            context.reply.ok();
        }
        () if parse::is_word(args.at(2), "OFF") => *mode = ReplyMode::Off,
        () if parse::is_word(args.at(2), "SKIP") => {
            if *mode != ReplyMode::Off {
                *mode = ReplyMode::SkipNext;
            }
        }
        () => return Err(CommandError::Syntax),
    }
    Ok(())
}

fn info(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut text = Vec::new();
    let key = context.client;
    line_of(context, key, args, &mut text);
    context.reply().verbatim("txt", &text);
    Ok(())
}

/// Appends one client's line; `args` are those of the caller, which stand for its input.
fn line_of(context: &ServerContext<'_>, key: ClientKey, args: Args<'_>, text: &mut Vec<u8>) {
    let state = &*context.state;
    if let Some(client) = state.clients.get(key) {
        let running = (key == context.client).then_some(args);
        write_line(text, client, &state.table, state.now, running);
        text.push(b'\n');
    }
}

/// The clients that a filter matches, in the order of their ids. Those that are being closed are gone already.
fn matching(context: &ServerContext<'_>, filter: &Filter<'_>) -> Vec<ClientKey> {
    let state = &*context.state;
    let matches = |(key, client): &(ClientKey, &crate::clients::Client)| {
        !client.connection().is_closing()
            && client.session.kind != ClientKind::Internal
            && !(filter.skip_me && *key == context.client)
            && filter.matches(client, state.now)
    };
    state
        .clients
        .iter()
        .filter(matches)
        .map(|(key, _)| key)
        .collect()
}

fn list(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let filter = Filter::of_list(args.skip(2), &context.state.users)?;
    let mut text = Vec::new();
    match &filter.only_ids {
        // Asked for by their ids they come in the order that was asked for, each as often as it was named.
        Some(ids) => {
            for id in ids {
                if let Some(key) = context.state.clients.by_id(*id) {
                    line_of(context, key, args, &mut text);
                }
            }
        }
        None => {
            for key in matching(context, &filter) {
                line_of(context, key, args, &mut text);
            }
        }
    }
    context.reply().verbatim("txt", &text);
    Ok(())
}

fn kill(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let old_form = args.len() == 3;
    let filter = if old_form {
        Filter::of_address(args.at(2))
    } else {
        Filter::of_kill(args.skip(2), &context.state.users)?
    };
    let doomed = matching(context, &filter);
    for key in &doomed {
        if *key == context.client {
            context.effects.close_caller = true;
        } else {
            context.state.clients.close(*key, false);
            detach(context.state, *key);
        }
    }
    if !old_form {
        context.reply().count(doomed.len());
    } else if doomed.is_empty() {
        return Err(CommandError::fixed("ERR No such client"));
    } else {
        context.reply().ok();
    }
    Ok(())
}

/// `CLIENT PAUSE timeout [WRITE|ALL]`. A pause in force is only ever made longer and stricter.
fn pause(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let writes_only = match args.get(3) {
        _ if args.len() > 4 => return Err(CommandError::subcommand_syntax(args)),
        None => false,
        Some(mode) if parse::is_word(mode, "WRITE") => true,
        Some(mode) if parse::is_word(mode, "ALL") => false,
        Some(_) => {
            return Err(CommandError::fixed(
                "ERR CLIENT PAUSE mode must be WRITE or ALL",
            ));
        }
    };
    let Some(timeout_ms) = numbers::parse_i64(args.at(2)) else {
        return Err(CommandError::fixed(
            "ERR timeout is not an integer or out of range",
        ));
    };
    if timeout_ms < 0 {
        return Err(CommandError::fixed("ERR timeout is negative"));
    }
    let now_ms = context.now().unix_ms();
    let Some(until_ms) = timeout_ms.checked_add(now_ms) else {
        return Err(CommandError::fixed("ERR timeout is out of range"));
    };
    let asked = Pause {
        until_ms,
        writes_only,
    };
    let own = context.state.pauses.by_client;
    let in_force = own.filter(|pause| pause.until_ms > now_ms);
    context.state.pauses.by_client = match in_force {
        Some(pause) => Some(Pause {
            until_ms: pause.until_ms.max(until_ms),
            writes_only: pause.writes_only && writes_only,
        }),
        None => (timeout_ms > 0).then_some(asked),
    };
    context.state.apply_pause();
    context.reply().ok();
    Ok(())
}

fn unpause(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    context.state.pauses.by_client = None;
    context.state.apply_pause();
    context.state.requests.unpaused = context.state.pause.is_none();
    context.reply().ok();
    Ok(())
}

/// `CLIENT UNBLOCK id [TIMEOUT|ERROR]`. A paused client is not blocked by a command.
fn unblock(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 4 {
        return Err(CommandError::subcommand_syntax(args));
    }
    let error = match args.get(3) {
        Some(reason) if parse::is_word(reason, "ERROR") => Some(CommandError::fixed(
            "UNBLOCKED client unblocked via CLIENT UNBLOCK",
        )),
        Some(reason) if !parse::is_word(reason, "TIMEOUT") => {
            return Err(CommandError::fixed(
                "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            ));
        }
        _ => None,
    };
    let id = parse::integer(args.at(2))?;
    let key = u64::try_from(id)
        .ok()
        .and_then(|id| context.state.clients.by_id(id));
    let unblocked = key.is_some_and(|key| blocking::unblock(context.state, key, error.as_ref()));
    context.reply().integer(unblocked.into());
    Ok(())
}

fn print_help(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::of_rows(context.reply, args, spec::SUBCOMMANDS);
    Ok(())
}
