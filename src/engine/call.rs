//! Running a command, for whoever asks: a client, EXEC, a script, the append-only file's loader.
//!
//! In: a command that may run, and its arguments. Out: its answer in the client's buffer; statistics, slow log, MONITOR,
//! events and propagation, each once. Mirrors `call` of Redis's server.c.

use super::propagate::{note_write, propagate};
use super::{CommandError, CommandId, Context, Handler, Host, State, WideContext, flags};
use crate::clients::{ClientKey, ClientKind, ReplyMode};
use crate::observe::LatencyEvent;
use crate::resp::{Args, OwnedRequest};

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
            client.reply.error(error.bytes());
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
    super::keyspace_events::drain(state);
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

/// Notes a command in the slow log if it took long enough.
#[inline]
pub(crate) fn log_if_slow(
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

/// CLIENT REPLY SKIP lasts for one command.
pub(crate) fn settle_reply_mode(state: &mut State, key: ClientKey) {
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
