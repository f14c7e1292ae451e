//! Whether a command may run: the checks, in the order in which Redis makes them.
//!
//! In: a command and who asks. Out: that it runs, waits, or the error that it is refused with. Mirrors the checks of
//! `processCommand` of Redis's server.c.

use super::eviction::Room;
use super::{Command, CommandError, CommandId, Handler, Host, State, flags, shown, shown_cut};
use crate::clients::ClientKey;
use crate::resp::Args;

pub(crate) enum Gate {
    Pass,
    Postpone,
}

/// Whether a command that has waited may run now.
pub(crate) enum Admitted {
    /// It may.
    Runs,
    /// It was refused, and answered so.
    Refused,
    /// CLIENT PAUSE holds it back.
    Postponed,
}

/// Takes a command that was woken through the gates again: memory, the disk or a pause may forbid now what they allowed
/// when it began to wait.
pub(crate) fn admit(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    id: CommandId,
    args: Args<'_>,
) -> Admitted {
    match gates(state, host, client, id, args) {
        Ok(Gate::Pass) => Admitted::Runs,
        Ok(Gate::Postpone) => Admitted::Postponed,
        Err((id, error)) => {
            refuse(state, client, id, &error, args);
            Admitted::Refused
        }
    }
}

pub(crate) type Refusal = (Option<CommandId>, CommandError);

/// Finds the command or subcommand and checks its arity.
pub(crate) fn resolve(
    state: &mut State,
    found: Option<CommandId>,
    args: Args<'_>,
) -> Result<CommandId, Refusal> {
    let Some(top) = found else {
        return Err((None, unknown_command(args)));
    };
    let mut id = top;
    let container = state.table.get(top);
    if !container.subcommands.is_empty() && args.len() > 1 {
        match state.table.find_subcommand(top, args.at(1)) {
            Some(sub) => id = sub,
            // A container that can also be called by itself (COMMAND) takes no unknown words either.
            None => return Err((None, unknown_subcommand(&container.name, args.at(1)))),
        }
    }
    let command = state.table.get(id);
    let wrong = !command.spec.accepts(args.len());
    if wrong || (matches!(command.spec.handler, Handler::Container)) {
        return Err((Some(id), CommandError::WrongArity(command.name.clone())));
    }
    Ok(id)
}

fn unknown_command(args: Args<'_>) -> CommandError {
    const SHOWN: usize = 128;
    let mut told = Vec::new();
    for arg in args.iter().skip(1) {
        let Some(room) = SHOWN.checked_sub(told.len()).filter(|room| *room > 0) else {
            break;
        };
        let arg = shown(arg);
        told.push(b'\'');
        told.extend_from_slice(arg.get(..room).unwrap_or(arg));
        told.extend_from_slice(b"' ");
    }
    CommandError::of_parts(&[
        b"ERR unknown command '",
        shown_cut(args.at(0)),
        b"', with args beginning with: ",
        &told,
    ])
}

fn unknown_subcommand(container: &str, name: &[u8]) -> CommandError {
    CommandError::of_parts(&[
        b"ERR unknown subcommand '",
        shown_cut(name),
        b"'. Try ",
        container.to_ascii_uppercase().as_bytes(),
        b" HELP.",
    ])
}

/// Flags of this call: those of the command's row, or what the program that it runs says of itself.
pub(crate) fn call_flags(state: &State, id: CommandId, args: Args<'_>) -> u32 {
    let all = state.table.get(id).flags;
    if all & flags::RUNS_SCRIPT != 0 {
        return super::script::command_flags(state, id, args, all);
    }
    all
}

/// All gates after the command is known.
pub(crate) fn gates(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    id: CommandId,
    args: Args<'_>,
) -> Result<Gate, Refusal> {
    let refuse = |error: CommandError| Err((Some(id), error));
    let mut all = call_flags(state, id, args);
    let settings = state.config.settings();
    let Some(caller) = state.clients.get_mut(client) else {
        return Ok(Gate::Pass);
    };
    if all & flags::RUNS_QUEUE != 0
        && let Some(transaction) = &caller.transaction
    {
        // EXEC is what it runs.
        all |= transaction.flags & (flags::WRITE | flags::DENYOOM | flags::MAY_REPLICATE);
        all &= !(transaction.lacks & (flags::LOADING | flags::STALE));
    }
    let session = &mut caller.session;
    session.last_command = Some(id.0);
    if all & flags::PROTECTED != 0 && !protected_allowed(settings, session, args) {
        return refuse(protected_error(args));
    }
    if !session.authenticated && all & flags::NO_AUTH == 0 {
        return refuse(CommandError::NoAuth);
    }
    if session.in_multi && all & flags::NO_MULTI != 0 {
        return refuse(CommandError::fixed(
            "ERR Command not allowed inside a transaction",
        ));
    }
    if settings.maxmemory > 0
        && state.pause.is_none()
        && state.persistence.loading.is_none()
        && !state.scripting.is_busy()
    {
        let room = super::eviction::make_room(state, host);
        if state.keyspace.has_touched() {
            tell_evicted(state);
        }
        if room == Room::None && all & flags::DENYOOM != 0 {
            return refuse(CommandError::OutOfMemory);
        }
    }
    let settings = state.config.settings();
    if settings.stop_writes_on_bgsave_error
        && !state.persistence.last_status_ok
        && !settings.save.is_empty()
        && (all & flags::WRITE != 0 || state.table.get(id).spec.name == "ping")
    {
        return refuse(CommandError::SnapshotFailed);
    }
    if all & flags::WRITE != 0
        && let Some(reason) = state.persistence.aof.error()
    {
        return refuse(CommandError::text_owned(format!(
            "MISCONF Errors writing to the AOF file: {reason}"
        )));
    }
    if state
        .clients
        .get(client)
        .is_some_and(super::pubsub::is_restricted)
        && !super::pubsub::is_allowed_while_restricted(top_name(state.table.get(id)))
    {
        return refuse(CommandError::text_owned(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context",
            state.table.get(id).name
        )));
    }
    if state.persistence.loading.is_some() && all & flags::LOADING == 0 {
        return refuse(CommandError::Loading);
    }
    if state.scripting.is_busy() && all & flags::ALLOW_BUSY == 0 {
        let is_function = state
            .scripting
            .running
            .as_ref()
            .is_some_and(|running| running.is_function);
        return refuse(super::script::busy_error(is_function));
    }
    let monitors = !state.messaging.monitors.is_empty()
        && state
            .clients
            .get(client)
            .is_some_and(|client| client.session.monitors);
    if monitors && reads_or_writes(state, client, all) {
        // To Redis it is a kind of replica.
        return refuse(CommandError::fixed(
            "ERR Replica can't interact with the keyspace",
        ));
    }
    if let Some(pause) = state.pause
        && !monitors
        && (!pause.writes_only || all & (flags::WRITE | flags::MAY_REPLICATE) != 0)
    {
        state.clients.hold(client);
        return Ok(Gate::Postpone);
    }
    Ok(Gate::Pass)
}

/// Tells what was evicted to make room for a command. It is not the command's doing, and its client hears of it before the
/// answer: what it reads now is no longer what was evicted.
#[cold]
fn tell_evicted(state: &mut State) {
    let caller = state.caller.take();
    let answering = state.clients.answer(None);
    super::keyspace_events::drain(state);
    state.clients.answer(answering);
    state.caller = caller;
}

/// Name of a command, whatever it was renamed to; nothing for a subcommand: SLOWLOG RESET is not RESET.
fn top_name(command: &Command) -> &'static str {
    if command.parent.is_some() {
        return "";
    }
    command.spec.name
}

/// Whether a command, or one of those that EXEC runs, has to do with keys.
#[cold]
fn reads_or_writes(state: &State, client: ClientKey, all: u32) -> bool {
    let queued = state
        .clients
        .get(client)
        .and_then(|client| client.transaction.as_ref())
        .filter(|_| all & flags::RUNS_QUEUE != 0)
        .map_or(0, |transaction| transaction.flags);
    (all | queued) & (flags::READONLY | flags::WRITE | flags::MAY_REPLICATE) != 0
}

fn protected_allowed(
    settings: &crate::config::Settings,
    session: &crate::clients::Session,
    args: Args<'_>,
) -> bool {
    let local = session.is_local();
    if args.at(0).eq_ignore_ascii_case(b"debug") {
        settings.enable_debug_command.allows(local)
    } else {
        settings.enable_module_command.allows(local)
    }
}

fn protected_error(args: Args<'_>) -> CommandError {
    let name = if args.at(0).eq_ignore_ascii_case(b"debug") {
        "DEBUG"
    } else {
        "MODULE"
    };
    let option = if name == "DEBUG" {
        "enable-debug-command"
    } else {
        "enable-module-command"
    };
    CommandError::text_owned(format!(
        "ERR {name} command not allowed. If the {option} option is set to \"local\", you can run it from a local \
         connection, otherwise you need to set this option in the configuration file, and then restart the server."
    ))
}

/// Answers a command that did not get through the gates.
pub(crate) fn refuse(
    state: &mut State,
    client: ClientKey,
    id: Option<CommandId>,
    error: &CommandError,
    args: Args<'_>,
) {
    if let Some(id) = id {
        state.observe.command_rejected(id.0);
    }
    let runs_queue = id.is_some_and(|id| state.table.get(id).flags & flags::RUNS_QUEUE != 0);
    let text = if runs_queue {
        super::transactions::discard(state, client);
        // A MULTI was shown: that it is over, too.
        super::monitor::show(state, client, args);
        let reason = error.bytes();
        // As Redis words it: of the codes all are told but the one that says nothing.
        let reason = reason.strip_prefix(b"ERR ").unwrap_or(&reason);
        [b"EXECABORT Transaction discarded because of: ", reason]
            .concat()
            .into()
    } else {
        error.bytes()
    };
    let Some(client) = state.clients.get_mut(client) else {
        return;
    };
    if client.session.in_multi
        && let Some(transaction) = &mut client.transaction
    {
        transaction.aborted = true;
    }
    client.reply.error(text);
    state.observe.error_replied(client.reply.last_error_code());
}
