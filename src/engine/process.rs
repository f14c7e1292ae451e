//! Commands as they come from connections, and from files that are trusted.
//!
//! In: a client and the arguments of one command. Out: the command run, queued, refused and answered, or held back.
//! Mirrors `processCommand` of Redis's server.c.

use super::admit::{Admission, Origin, Unresolved, admit, call_flags, refuse, resolve};
use super::call::{advance_reply_mode, call};
use super::{CommandId, Host, Invocation, State, flags};
use crate::clients::{Blocked, ClientKey};
use crate::config::secrets;
use crate::observe::Executed;
use crate::resp::Args;
use crate::system::crash;

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was run or refused, and answered.
    Done,
    /// It has to wait and must be given again later; it was not answered.
    Postponed,
}

/// Runs a command from a connection, if it may run.
#[cfg(test)]
pub fn process(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    args: Args<'_>,
) -> Outcome {
    let found = state.table.find(args.at(0));
    process_found(state, host, client, found, args)
}

/// Runs a request of a connection, if it may run; `found` is the command that its name names.
pub fn process_found(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    found: Option<CommandId>,
    args: Args<'_>,
) -> Outcome {
    let unix_us = state.now.unix_us;
    if state.messaging.hears_commands {
        // A bounded effort before each command, which may add keys to the table; the cron makes the same effort.
        super::tracking::limit(state);
    }
    // What the command sends to its own client comes behind its answer.
    state.clients.set_answering(Some(client));
    // The words that name a command are shown in the report of a crash even where `hide-user-data-from-log` hides the
    // others.
    let names = found.map_or(1, |id| {
        1 + usize::from(!state.table.get(id).subcommands.is_empty())
    });
    // Whatever comes of it: a password that is refused is one that somebody has. One of a misspelt command, too.
    state.requests.had_secret |= may_carry_secrets(state, found);
    let name = found.map(|id| state.table.get(id).spec.name);
    let words = crash::ArgumentList {
        len: args.len(),
        names,
        word: &|index| args.at(index),
        hides: &|index| secrets::hides(name, args, index),
    };
    let link = state.replication.link.as_ref();
    let is_primary = link.is_some_and(|link| link.client() == Some(client));
    // To its primary what has expired lives on: it says what goes, and when.
    state.now.keeps_expired = is_primary;
    let origin = match is_primary {
        true => Origin::Primary,
        false => Origin::Connection,
    };
    let outcome = crash::with_arguments(&words, || {
        process_checked(state, host, origin, client, found, args)
    });
    state.now.keeps_expired = false;
    state.clients.set_answering(None);
    if state.messaging.hears_commands && outcome == Outcome::Done {
        super::tracking::command_ended(state, client, found);
    }
    if outcome == Outcome::Done && state.observe.executed.is_some() {
        record(state, client, unix_us, args);
    }
    outcome
}

/// Whether a request of this command may have passwords among its arguments; none: of a command that nobody knows.
#[inline]
pub fn may_carry_secrets(state: &State, found: Option<CommandId>) -> bool {
    found.is_none_or(|id| state.table.get(id).may_carry_secrets)
}

fn process_checked(
    state: &mut State,
    host: &mut dyn Host,
    origin: Origin,
    client: ClientKey,
    found: Option<CommandId>,
    args: Args<'_>,
) -> Outcome {
    if found.is_none() && is_browser(args.at(0)) {
        turn_away(state, client);
        return Outcome::Done;
    }
    match resolve(state, found, args) {
        Ok(id) => match admit(state, host, origin, client, id, args) {
            Ok(Admission::Postponed(_)) => return Outcome::Postponed,
            Ok(Admission::Runs) => {
                crash::set_command(state.table.get(id).spec.name);
                let own = call_flags(state, id, args);
                // Queued behind all checks: what would be refused is refused now, and spoils the transaction.
                if own & flags::RUNS_IN_MULTI == 0 && is_in_multi(state, client) {
                    super::transactions::queue(state, client, id, own, args);
                } else {
                    call(state, host, &Invocation::of(client, id, args));
                }
            }
            Err(error) => refuse(state, client, Some(id), &error, args),
        },
        Err(unresolved) => {
            let error = unresolved.error(state, origin, args);
            refuse(state, client, unresolved.command(), &error, args);
        }
    }
    // CLIENT REPLY SKIP is for the answer, which a command that waits has not given yet.
    let waits = state.clients.get(client).is_some_and(|client| {
        let blocked = &client.session.blocked;
        matches!(blocked, Some(Blocked::Command(_) | Blocked::Script))
    });
    if !waits {
        advance_reply_mode(state, client);
    }
    Outcome::Done
}

/// Runs a command of a source that is trusted (the append-only file): what can be wrong is that there is no such command
/// with so many arguments. Within MULTI it is queued. The answer goes where the client's answers go.
pub fn run_trusted(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    args: Args<'_>,
) -> Result<(), String> {
    let found = state.table.find(args.at(0));
    let id = resolve(state, found, args).map_err(|unresolved| match unresolved {
        Unresolved::Arity(_) => {
            let error = unresolved.error(state, Origin::Trusted, args);
            error.text().into_owned()
        }
        _ => format!("Unknown command '{}'", String::from_utf8_lossy(args.at(0))),
    })?;
    if let Err(error) = admit(state, host, Origin::Trusted, client, id, args) {
        return Err(error.text().into_owned());
    }
    let own = state.table.get(id).flags;
    if own & flags::RUNS_IN_MULTI == 0 && is_in_multi(state, client) {
        super::transactions::queue(state, client, id, own, args);
    } else {
        call(state, host, &Invocation::of(client, id, args));
    }
    // Nobody reads the answers of a file, and they would add up.
    if let Some(client) = state.clients.get_mut(client) {
        client.reply.output_mut().clear();
    }
    Ok(())
}

/// Whether this is the beginning of an HTTP request: a web page has its visitor's browser send one.
fn is_browser(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Closes the connection of a browser before a line of its request's body is taken for a command.
#[cold]
fn turn_away(state: &mut State, key: ClientKey) {
    const BETWEEN_WARNINGS_NS: u64 = 60_000_000_000;
    let now_ns = state.now.mono_ns;
    let warned = &mut state.observe.attack_warned_ns;
    // A page can have its browsers try as often as it likes: they must not fill the log.
    let is_due = warned.is_none_or(|at| now_ns.saturating_sub(at) > BETWEEN_WARNINGS_NS);
    if is_due && let Some(client) = state.clients.get(key) {
        *warned = Some(now_ns);
        log::warn!(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. This \
             is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis instance. \
             Connection from {} aborted.",
            client.connection().address()
        );
    }
    state.clients.close(key, false);
}

fn is_in_multi(state: &State, client: ClientKey) -> bool {
    state
        .clients
        .get(client)
        .is_some_and(|client| client.session.in_multi())
}

/// Tells a simulation what was answered.
#[cold]
fn record(state: &mut State, client: ClientKey, unix_us: i64, args: Args<'_>) {
    let client = state
        .clients
        .get(client)
        .map_or(0, |client| client.session.id);
    if super::admit::unkept(state).is_some() {
        state.observe.executed(|| Executed::RefusesWrites);
    }
    state.observe.executed(|| Executed::Command {
        client,
        unix_us,
        args: args.iter().map(<[u8]>::to_vec).collect(),
    });
}
