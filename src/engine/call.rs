//! Running a command, for whoever asks: a client, EXEC, a script, the append-only file's loader.
//!
//! In: a command that may run, and its arguments. Out: its answer in the client's buffer; statistics, slow log, MONITOR,
//! events and propagation, each once. Mirrors `call` of Redis's server.c.

use super::propagate::{note_write, propagate};
use super::{Context, Effects, Handler, Host, Invocation, ServerContext, State, WaitFor, flags};
use crate::clients::{Asking, ClientKey, ClientKind, ReplyMode};
use crate::journal::Targets;
use crate::observe::LatencyEvent;
use crate::resp::OwnedRequest;

/// Runs a command and everything that hangs on it. Whether the client now waits for a key instead of having been
/// answered (a command of a client that waited already waits on). Re-entrant: EXEC and scripts call commands from within.
pub fn call(state: &mut State, host: &mut dyn Host, invocation: &Invocation<'_>) -> bool {
    let Invocation {
        asker,
        client: key,
        command: id,
        args,
        ..
    } = *invocation;
    // The clock stands where the command before ended: one look at it for each command, however many come together.
    let start = state.now;
    let dirty = state.keyspace.dirty;
    let propagates = state.journal.has_consumers();
    // What is given to the journal within a unit is published when that ends, so it is the call that ends it (EXEC,
    // EVAL) whose client is said below to have written.
    let published = state.journal.published();
    let handler = state.table.get(id).spec.handler;
    if state.messaging.hears_commands && super::monitor::is_shown_before(state.table.get(id).flags)
    {
        super::monitor::show(state, key, id, args);
    }
    let Some(client) = state.clients.get_mut(key) else {
        return false;
    };
    let runs_again = client.session.waiting().is_some();
    if !runs_again && asker == key {
        client.session.commands += 1;
    }
    let is_primary = client.session.kind == ClientKind::Primary;
    if client.session.reply_mode != ReplyMode::On || is_primary {
        // A primary is answered nothing, whatever it sends.
        let mode = client.session.reply_mode;
        client
            .reply
            .set_discard(is_primary || matches!(mode, ReplyMode::Off | ReplyMode::Skip));
    }
    // A handler may write errors among other values and return that it is done (EXEC): whether it failed is told by
    // what stands in the reply.
    let errors = client.reply.error_count();
    let db = client.session.db;

    let mut effects = Effects::default();
    let result = match handler {
        Handler::Database(run) => {
            // Within a transaction or a script nobody could go on behind a command that waits: it answers at once as if
            // its time were over.
            let may_block = !client.session.in_multi()
                && !matches!(
                    client.session.kind,
                    ClientKind::Script | ClientKind::Primary
                );
            let mut context = Context {
                db: state.keyspace.db(db, start, client.session.no_touch),
                session: &mut client.session,
                reply: &mut client.reply,
                effects: &mut effects,
                settings: state.config.settings(),
                now: start,
                rng: &mut state.rng,
                propagates,
                may_block,
            };
            run(&mut context, args)
        }
        Handler::Server(run) => run(
            &mut ServerContext {
                state,
                host,
                client: key,
                asker,
                effects: &mut effects,
            },
            args,
        ),
        Handler::Container => Ok(()),
    };

    if asker != key
        && let Some(asker) = state.clients.get_mut(asker)
    {
        // What a script runs is its caller's.
        asker.session.commands += 1;
        state.budgets.note_called();
    }
    if effects.close_caller {
        state.requests.close_caller = Some(asker);
    }
    let mut failed = false;
    if let Some(client) = state.clients.get_mut(key) {
        if let Err(error) = &result {
            client.reply.error(error.bytes());
        }
        failed = client.reply.error_count() != errors && !effects.errors_counted;
        let is_primary = client.session.kind == ClientKind::Primary;
        if is_primary && let Err(error) = &result {
            let name = state.table.get(id).name.clone();
            super::replication::replica::diverged(state, key, &name, &error.bytes());
        }
    }
    if failed && let Some(client) = state.clients.get_mut(key) {
        state.observe.error_replied(client.reply.last_error_code());
    }
    // Time moves on between handlers only. Each sees one moment from its beginning to its end, so that what it
    // compares, stores and gives the journal agrees.
    let end_ns = host.monotonic_ns();
    let elapsed_ns = end_ns.saturating_sub(start.mono_ns);
    let end = start.at(end_ns);
    (state.now.unix_us, state.now.mono_ns) = (end.unix_us, end.mono_ns);
    let waits = begin_to_wait(state, invocation, &mut effects);
    // A command that waits is counted when it is answered.
    if !effects.stands && !waits {
        let failures = u64::from(failed) + effects.failures();
        note_run(state, invocation, elapsed_ns, failures);
    }
    // What expired under the command's eyes was gone before it ran.
    let begins_unit = super::keyspace_events::drain_for_command(state, asker, id);
    if state.messaging.hears_commands {
        // Behind the events of the keys that it found expired: remembered before, their reader would be told at once to
        // forget them again.
        super::tracking::remember(state, asker, id, args);
        // One that waited was shown when it began to, one that stands is shown behind what it runs.
        if !runs_again && !effects.stands {
            super::monitor::ran(state, key, id, args);
        }
    }
    // A command that saves sets the number back.
    if (state.keyspace.dirty > dirty || effects.propagate) && !effects.do_not_propagate {
        // What is no write must count no change: it would be in the append-only file, and run again at the next start.
        debug_assert!(
            state.table.get(id).flags & (flags::WRITE | flags::MAY_REPLICATE) != 0,
            "{} changed data",
            state.table.get(id).spec.name
        );
        // What a file says again was said to replicas when it happened.
        if !(state.persistence.is_loading() && is_loader(state, asker)) {
            let targets = match effects.for_replicas {
                true if !invocation.targets.has(Targets::REPLICAS) => Targets::NONE,
                true => Targets::REPLICAS,
                false => invocation.targets,
            };
            propagate(state, db, args, targets, effects.propagated_as());
        }
    }
    if state.keyspace.dirty > dirty && state.replication.is_replica() {
        let link = state.replication.link.as_ref();
        let is_own = link.is_none_or(|link| link.client() != Some(asker));
        // What a file repeats was the primary's.
        if is_own && !(state.persistence.is_loading() && is_loader(state, asker)) {
            super::replication::own_keys::note(state, id, db, args);
        }
    }
    // Behind the command itself: what went under its eyes and its own effect are one unit.
    if begins_unit {
        state.journal.end_unit();
    }
    if state.journal.published() != published {
        note_write(state, key);
    }
    // Its own client is marked as well: a change between WATCH and MULTI fails the transaction, whoever makes it.
    if state.keyspace.has_dirty_watchers() {
        super::transactions::mark_dirty(state);
    }
    effects.end();
    waits
}

/// Has the client wait if its handler has asked for it; whether it waits.
#[inline]
fn begin_to_wait(state: &mut State, invocation: &Invocation<'_>, effects: &mut Effects) -> bool {
    let (key, id) = (invocation.client, invocation.command);
    let Some(wait) = effects.take_block() else {
        return false;
    };
    match wait {
        WaitFor::Key(wait) => {
            let client = state.clients.get(key);
            // One that waits already keeps its place.
            if client.is_some_and(|client| client.session.waiting().is_none()) {
                super::blocking::begin(state, key, id, invocation.args, wait);
            }
        }
        WaitFor::Work => super::blocking::begin_work(state, key, id),
        WaitFor::Turn(due_ns) => {
            super::blocking::begin_turn(state, key, id, invocation.args, due_ns);
        }
        WaitFor::Acks(wait, deadline_ns) => {
            super::acks::begin_wait(state, key, id, wait, deadline_ns);
        }
    }
    true
}

/// Counts a command that has run, in the statistics, the latency monitor and the slow log.
#[inline]
pub(crate) fn note_run(
    state: &mut State,
    invocation: &Invocation<'_>,
    elapsed_ns: u64,
    failures: u64,
) {
    let id = invocation.command;
    // The commands of a file ran once, and were counted then; those of its scripts too.
    if state.persistence.is_loading() && is_loader(state, invocation.asker) {
        return;
    }
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
    let slower_than = state.config.settings().slowlog_log_slower_than_us;
    if slower_than >= 0 && elapsed_ns >= (slower_than as u64).saturating_mul(1000) {
        log_slow(state, invocation, elapsed_ns);
    }
}

/// Whether it is who runs the commands of the append-only file: those are no client's.
fn is_loader(state: &State, client: ClientKey) -> bool {
    let client = state.clients.get(client);
    client.is_some_and(|client| client.session.kind == ClientKind::Internal)
}

/// Notes a command in the slow log, without its secrets.
#[cold]
fn log_slow(state: &mut State, invocation: &Invocation<'_>, elapsed_ns: u64) {
    let args = invocation.args;
    let hidden = state.table.hidden_arguments(invocation.command, args);
    if state.table.get(invocation.command).flags & flags::SKIP_SLOWLOG != 0 {
        return;
    }
    let Some(client) = state.clients.get_mut(invocation.client) else {
        return;
    };
    // What a script calls is part of the script's time.
    if client.session.kind == ClientKind::Script {
        return;
    }
    let address = client.connection().address().to_string();
    let max_len = state.config.settings().slowlog_max_len;
    let mut shown = OwnedRequest::new();
    if !hidden.is_empty() {
        let mut hidden = hidden.into_iter().peekable();
        for (index, arg) in args.iter().enumerate() {
            let hides = hidden.next_if_eq(&index).is_some();
            shown.push(if hides { b"(redacted)" } else { arg });
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
pub(crate) fn advance_reply_mode(state: &mut State, key: ClientKey) {
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    if client.session.asking != Asking::No && !client.session.in_multi() {
        client.session.asking = match client.session.asking {
            Asking::Begins => Asking::Holds,
            _ => Asking::No,
        };
    }
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
