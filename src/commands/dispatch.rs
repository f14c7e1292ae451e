//! The gates that every command passes, in the order in which Redis applies them, and [`call`], which runs one.
//!
//! [`process`] is for commands that come from a connection: it finds the command, asks each gate and then calls it.
//! [`call`] runs a command for whoever asks (a client, later EXEC, a script, the append-only file's loader, a
//! primary's stream); statistics, slow log and propagation hang on it, once.

use super::eviction::Room;
use super::{Command, CommandError, CommandId, Context, Handler, Host, State, WideContext, flags};
use crate::clients::{Blocked, ClientKey, ClientKind, ReplyMode};
use crate::observe::{Executed, LatencyEvent};
use crate::resp::{Args, OwnedRequest};
use crate::system::crash;

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was run or refused, and answered.
    Done,
    /// It has to wait and must be given again later; it was not answered.
    Postponed,
}

/// Takes a command from a connection through the gates and runs it.
pub fn process(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    args: Args<'_>,
) -> Outcome {
    let found = state.table.find(args.at(0));
    process_found(state, host, client, found, args)
}

/// The same for a name that was looked up already.
pub fn process_found(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    found: Option<CommandId>,
    args: Args<'_>,
) -> Outcome {
    let unix_us = state.now.unix_us;
    if state.messaging.hears_commands {
        super::tracking::limit(state);
    }
    state.caller = Some(client);
    state.clients.answer(Some(client));
    let names = found.map_or(1, |id| {
        1 + usize::from(!state.table.get(id).subcommands.is_empty())
    });
    let words = crash::ArgumentList {
        len: args.len(),
        names,
        word: &|index| args.at(index),
    };
    let outcome =
        crash::with_arguments(&words, || process_checked(state, host, client, found, args));
    state.clients.answer(None);
    state.caller = None;
    if state.messaging.hears_commands && outcome == Outcome::Done {
        super::tracking::command_ended(state, client, found);
    }
    if outcome == Outcome::Done && state.observe.executed.is_some() {
        record(state, client, unix_us, args);
    }
    outcome
}

fn process_checked(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    found: Option<CommandId>,
    args: Args<'_>,
) -> Outcome {
    if found.is_none() && is_browser(args.at(0)) {
        turn_away(state, client);
        return Outcome::Done;
    }
    let checked = resolve(state, found, args)
        .and_then(|id| gates(state, host, client, id, args).map(|passed| (id, passed)));
    match checked {
        Ok((_, Gate::Postpone)) => return Outcome::Postponed,
        Ok((id, Gate::Pass)) => {
            crash::set_command(state.table.get(id).spec.name);
            let own = call_flags(state, id, args);
            if own & flags::RUNS_IN_MULTI == 0 && is_in_multi(state, client) {
                super::transactions::queue(state, client, id, own, args);
            } else {
                call(state, host, client, id, args);
            }
        }
        Err((id, error)) => refuse(state, client, id, &error, args),
    }
    // CLIENT REPLY SKIP is for the answer, which a command that waits has not given yet.
    if state.clients.get(client).is_none_or(|client| {
        client.waits.is_none() && client.session.blocked != Some(Blocked::Script)
    }) {
        settle_reply_mode(state, client);
    }
    Outcome::Done
}

/// Runs a command of a source that is trusted (the append-only file): no gate is asked but whether there is such a
/// command with so many arguments. Within MULTI it is queued. The answer goes where the client's answers go.
pub fn run_trusted(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    args: Args<'_>,
) -> Result<(), String> {
    let found = state.table.find(args.at(0));
    let id = resolve(state, found, args).map_err(|(_, error)| match error {
        CommandError::WrongArity(_) => error.text().into_owned(),
        _ => format!("Unknown command '{}'", String::from_utf8_lossy(args.at(0))),
    })?;
    let own = state.table.get(id).flags;
    if own & flags::RUNS_IN_MULTI == 0 && is_in_multi(state, client) {
        super::transactions::queue(state, client, id, own, args);
    } else {
        call(state, host, client, id, args);
    }
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
    let is_due = warned.is_none_or(|at| now_ns.saturating_sub(at) > BETWEEN_WARNINGS_NS);
    if is_due && let Some(client) = state.clients.get(key) {
        *warned = Some(now_ns);
        log::warn!(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. This \
             is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis instance. \
             Connection from {} aborted.",
            client.session.address
        );
    }
    state.clients.close(key, false);
}

fn is_in_multi(state: &State, client: ClientKey) -> bool {
    state
        .clients
        .get(client)
        .is_some_and(|client| client.session.in_multi)
}

/// Tells a simulation what was answered.
#[cold]
fn record(state: &mut State, client: ClientKey, unix_us: i64, args: Args<'_>) {
    let client = state
        .clients
        .get(client)
        .map_or(0, |client| client.session.id);
    if let Some(executed) = &mut state.observe.executed {
        executed.push(Executed {
            client,
            unix_us,
            args: args.iter().map(<[u8]>::to_vec).collect(),
        });
    }
}

enum Gate {
    Pass,
    Postpone,
}

/// Whether a command that has waited may run now.
pub(super) enum Admitted {
    /// It may.
    Runs,
    /// It was refused, and answered so.
    Refused,
    /// CLIENT PAUSE holds it back.
    Postponed,
}

/// Takes a command that was woken through the gates again: memory, the disk or a pause may forbid now what they allowed
/// when it began to wait.
pub(super) fn admit(
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

type Refusal = (Option<CommandId>, CommandError);

/// Finds the command or subcommand and checks its arity.
fn resolve(
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
    let mut shown = String::new();
    for arg in args.iter().skip(1) {
        if shown.len() >= SHOWN {
            break;
        }
        let room = SHOWN - shown.len();
        let cut = &arg[..arg.len().min(room)];
        shown.push_str(&format!("'{}' ", String::from_utf8_lossy(cut)));
    }
    let name = args.at(0);
    let name = String::from_utf8_lossy(&name[..name.len().min(SHOWN)]);
    CommandError::text_owned(format!(
        "ERR unknown command '{name}', with args beginning with: {shown}"
    ))
}

fn unknown_subcommand(container: &str, name: &[u8]) -> CommandError {
    let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
    let container = container.to_ascii_uppercase();
    CommandError::text_owned(format!(
        "ERR unknown subcommand '{name}'. Try {container} HELP."
    ))
}

/// Flags of this call: those of the command's row, or what the program that it runs says of itself.
fn call_flags(state: &State, id: CommandId, args: Args<'_>) -> u32 {
    let all = state.table.get(id).flags;
    if all & flags::RUNS_SCRIPT != 0 {
        return super::scripting::command_flags(state, id, args, all);
    }
    all
}

/// All gates after the command is known.
fn gates(
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
        return refuse(super::scripting::run::busy_error(is_function));
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
    super::trail::drain(state);
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
fn refuse(
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
        let reason = error.text();
        // As Redis words it: of the codes all are told but the one that says nothing.
        let reason = reason.strip_prefix("ERR ").unwrap_or(&reason);
        format!("EXECABORT Transaction discarded because of: {reason}").into()
    } else {
        error.text()
    };
    let Some(client) = state.clients.get_mut(client) else {
        return;
    };
    if client.session.in_multi
        && let Some(transaction) = &mut client.transaction
    {
        transaction.aborted = true;
    }
    client.reply.error(text.as_bytes());
    state.observe.error_replied(client.reply.last_error_code());
}

/// Runs a command and everything that hangs on it. Whether the client now waits for a key instead of having been
/// answered (a command of a client that waited already waits on).
pub fn call(
    state: &mut State,
    host: &mut dyn Host,
    key: ClientKey,
    id: CommandId,
    args: Args<'_>,
) -> bool {
    let start = state.now;
    let dirty = state.keyspace.dirty;
    let propagates = state.journal.has_consumers();
    let written = state.journal.written_bytes();
    let handler = state.table.get(id).spec.handler;
    if state.messaging.hears_commands && super::monitor::is_shown_before(state.table.get(id).flags)
    {
        super::monitor::show(state, key, args);
    }
    let Some(client) = state.clients.get_mut(key) else {
        return false;
    };
    let runs_again = client.waits.is_some();
    let is_script = client.session.kind == ClientKind::Script;
    if !runs_again && !is_script {
        client.session.commands += 1;
    }
    if client.session.reply_mode != ReplyMode::On {
        client.reply.set_discard(matches!(
            client.session.reply_mode,
            ReplyMode::Off | ReplyMode::Skip
        ));
    }
    let errors = client.reply.error_count();
    let db = client.session.db;

    let result = match handler {
        Handler::Plain(run) => {
            let may_block = !client.session.in_multi && client.session.kind != ClientKind::Script;
            let mut context = Context {
                db: state.keyspace.db(db, start, client.session.no_touch),
                session: &mut client.session,
                reply: &mut client.reply,
                effects: &mut state.effects,
                settings: state.config.settings(),
                now: start,
                rng: &mut state.rng,
                propagates,
                may_block,
                runs_again,
            };
            run(&mut context, args)
        }
        Handler::Wide(run) => run(
            &mut WideContext {
                state,
                host,
                client: key,
            },
            args,
        ),
        Handler::Container => Ok(()),
    };

    if is_script
        && let Some(caller) = state
            .caller
            .and_then(|caller| state.clients.get_mut(caller))
    {
        // What a script runs is its caller's.
        caller.session.commands += 1;
    }
    let wait = state.effects.block.take();
    let acks = state.effects.wait_for_acks.take();
    let mut failed = false;
    if let Some(client) = state.clients.get_mut(key) {
        if let Err(error) = &result {
            client.reply.error(error.text().as_bytes());
            state.observe.stats.denied_auth += u64::from(*error == CommandError::WrongPass);
        }
        let counted = std::mem::take(&mut state.effects.errors_counted);
        failed = client.reply.error_count() != errors && !counted;
        if failed {
            state.observe.error_replied(client.reply.last_error_code());
        }
    }
    let failures = u64::from(failed) + std::mem::take(&mut state.effects.failures);
    let end_ns = host.monotonic_ns();
    let elapsed_ns = end_ns.saturating_sub(start.mono_ns);
    state.now.mono_ns = end_ns;
    state.now.unix_us = start.unix_us.saturating_add((elapsed_ns / 1000) as i64);
    let waits = wait.is_some() || acks.is_some();
    if let Some(wait) = wait
        && state
            .clients
            .get(key)
            .is_some_and(|client| client.waits.is_none())
    {
        super::blocking::begin(state, key, id, args, wait);
    }
    if let Some((wait, until_ms)) = acks {
        super::acks::begin_wait(state, key, id, wait, until_ms);
    }
    // A command that waits is counted when it is answered.
    if !std::mem::take(&mut state.effects.skip_statistics) && !waits {
        state.observe.command_run(id.0, elapsed_ns, failures);
        if state.observe.latency.is_on() {
            let is_fast = state.table.get(id).flags & flags::FAST != 0;
            let event = if is_fast {
                LatencyEvent::FastCommand
            } else {
                LatencyEvent::Command
            };
            let unix_s = state.now.unix_s();
            state.observe.latency.took(event, elapsed_ns, unix_s);
        }
        log_if_slow(state, key, id, args, elapsed_ns);
    }
    // What expired under the command's eyes was gone before it ran.
    super::trail::drain(state);
    if state.messaging.hears_commands {
        super::tracking::remember(state, key, id, args);
        // One that waited was shown when it began to.
        if !runs_again {
            super::monitor::ran(state, key, id, args);
        }
    }
    // A command that saves sets the number back.
    if state.keyspace.dirty > dirty || state.effects.propagate {
        propagate(state, db, args);
    }
    if propagates && state.journal.written_bytes() != written {
        note_write(state, key);
    }
    state.effects.rewritten.clear();
    state.effects.redacted.clear();
    state.effects.do_not_propagate = false;
    state.effects.propagate = false;
    if state.keyspace.has_dirty_watchers() {
        super::transactions::mark_dirty(state);
    }
    waits
}

/// Remembers how far the journal was when this client had written last, for WAITAOF.
fn note_write(state: &mut State, key: ClientKey) {
    let offset = state.journal.written_bytes();
    if let Some(client) = state.clients.get_mut(key) {
        client.session.write_offset = offset;
    }
}

/// Notes a command in the slow log if it took long enough.
#[inline]
pub(super) fn log_if_slow(
    state: &mut State,
    key: ClientKey,
    id: CommandId,
    args: Args<'_>,
    elapsed_ns: u64,
) {
    let slower_than = state.config.settings().slowlog_log_slower_than_us;
    if slower_than >= 0 && elapsed_ns >= (slower_than as u64).saturating_mul(1000) {
        log_slow(state, key, id, args, elapsed_ns);
    }
}

#[cold]
fn log_slow(state: &mut State, key: ClientKey, id: CommandId, args: Args<'_>, elapsed_ns: u64) {
    if state.table.get(id).flags & flags::SKIP_SLOWLOG != 0 {
        return;
    }
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    // What a script calls is part of the script's time.
    if client.session.kind == ClientKind::Script {
        return;
    }
    let address = client.session.address.to_string();
    let max_len = state.config.settings().slowlog_max_len;
    let mut shown = OwnedRequest::new();
    if !state.effects.redacted.is_empty() {
        for (index, arg) in args.iter().enumerate() {
            let hide = state.effects.redacted.contains(&index);
            shown.push(if hide { b"(redacted)" } else { arg });
        }
    }
    state.observe.slowlog.push(
        if shown.args().is_empty() {
            args
        } else {
            shown.args()
        },
        elapsed_ns / 1000,
        state.now.unix_s(),
        &address,
        &client.session.name,
        max_len,
    );
}

/// Gives the journal what the command asks for, or the command as it was. Several commands are one unit.
fn propagate(state: &mut State, db: usize, args: Args<'_>) {
    if state.effects.do_not_propagate || !state.journal.has_consumers() {
        return;
    }
    let unix_s = state.now.unix_s();
    if state.effects.rewritten.is_empty() {
        state.journal.append(db, unix_s, args);
        return;
    }
    let rewritten = std::mem::take(&mut state.effects.rewritten);
    let is_unit = rewritten.len() > 1 && !state.journal.is_in_unit();
    if is_unit {
        state.journal.begin_unit();
    }
    for command in &rewritten {
        let words = command.iter().map(Vec::as_slice);
        state.journal.append_words(db, unix_s, words);
    }
    if is_unit {
        state.journal.end_unit();
    }
}

/// CLIENT REPLY SKIP lasts for one command.
pub(super) fn settle_reply_mode(state: &mut State, key: ClientKey) {
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    match client.session.reply_mode {
        ReplyMode::On => return,
        ReplyMode::Off => {}
        ReplyMode::SkipNext => client.session.reply_mode = ReplyMode::Skip,
        ReplyMode::Skip => client.session.reply_mode = ReplyMode::On,
    }
    client.reply.set_discard(matches!(
        client.session.reply_mode,
        ReplyMode::Off | ReplyMode::Skip
    ));
}
