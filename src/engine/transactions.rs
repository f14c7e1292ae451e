//! What is queued between MULTI and EXEC and run by EXEC, and what is watched.
//!
//! In: commands of a client that is in MULTI; keys that have changed. Out: the queue run without anything in between.
//! Mirrors `multi.c` of Redis.

use super::admit::{Origin, admit, refuse};
use super::call::{call, note_run};
use super::{CommandId, Host, Invocation, State};
use crate::clients::{ClientKey, StandingExec, Watching};
use crate::keyspace::Keyspace;
use crate::observe::Executed;
use crate::resp::{Args, OwnedRequest};
use crate::system::crash;

/// Queues a command of a client that is in MULTI, and says so. `call_flags`: those of this call, which for a script
/// are its own.
pub(crate) fn queue(
    state: &mut State,
    key: ClientKey,
    id: CommandId,
    call_flags: u32,
    args: Args<'_>,
) {
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    let is_dirty = client.session.is_dirty();
    if let Some(transaction) = &mut client.session.transaction
        // What comes after a refusal or a change is never run: there is no point in keeping it.
        && !transaction.aborted
        && !is_dirty
    {
        let request = args.to_owned();
        transaction.queue_bytes += request.memory_bytes();
        // EXEC is checked for all that it runs: it is what one of them is (a write), and may not (run while data is
        // loaded) what one of them may not.
        transaction.flags |= call_flags;
        transaction.lacks |= !call_flags;
        transaction.queue.push((id.0, request));
    }
    client.reply.simple("QUEUED");
}

/// Ends a client's transaction, and its watching with it.
pub fn discard(state: &mut State, key: ClientKey) {
    unwatch(state, key);
    if let Some(client) = state.clients.get_mut(key) {
        client.session.transaction = None;
    }
}

/// Forgets what a client watches.
pub fn unwatch(state: &mut State, key: ClientKey) {
    if state.keyspace.has_dirty_watchers() {
        // A key that went by itself is noted but nobody is marked yet. Marked later, it would fail a transaction that
        // does not watch it any more.
        mark_dirty(state);
    }
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    let id = client.session.id;
    if let Some(mut watching) = client.session.watching.take() {
        forget_watched(&mut state.keyspace, id, &mut watching);
    }
}

fn forget_watched(keyspace: &mut Keyspace, id: u64, watching: &mut Watching) {
    watching.name_bytes = 0;
    for key in std::mem::take(&mut watching.keys) {
        keyspace.unwatch(key.db, &key.name, id);
    }
}

/// Marks the clients whose watched keys have changed. One change is enough: they need watch nothing any more.
#[cold]
pub(crate) fn mark_dirty(state: &mut State) {
    for id in state.keyspace.take_dirty_watchers() {
        let client = state
            .clients
            .by_id(id)
            .and_then(|key| state.clients.get_mut(key));
        if let Some(watching) = client.and_then(|client| client.session.watching.as_mut()) {
            watching.dirty = true;
            forget_watched(&mut state.keyspace, id, watching);
        }
    }
}

/// Runs what is queued, to its end (then it is true) or until a script stands still; the rest is kept for then, with
/// `exec`, which is the EXEC that was sent.
pub(crate) fn run_queue(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    queue: Vec<(u16, OwnedRequest)>,
    exec: Args<'_>,
    started_ns: u64,
) -> bool {
    let mut queue = queue.into_iter();
    while let Some((command, request)) = queue.next() {
        let id = CommandId(command);
        let args = request.args();
        crash::set_command(state.table.get(id).spec.name);
        let unix_us = state.now.unix_us;
        state.observe.executed(|| Executed::Queued { unix_us });
        match admit(state, host, Origin::Exec, client, id, args) {
            // It cannot wait: its client is in MULTI until the queue is through.
            Ok(_) => {
                call(state, host, &Invocation::of(client, id, args));
            }
            // Each command of the queue has its answer, whatever it is.
            Err(error) => refuse(state, client, Some(id), &error, args),
        }
        // The script of this command has not ended. What follows it in the queue must not run before the rest of its
        // effects.
        if state.scripting.runs_for(client) {
            if let Some(client) = state.clients.get_mut(client) {
                let transaction = client.session.transaction.get_or_insert_default();
                transaction.queue = queue.collect();
                transaction.standing = Some(StandingExec {
                    since_ns: started_ns,
                    request: exec.to_owned(),
                });
            }
            state.clients.reply_begun(client);
            return false;
        }
    }
    // Ended before anything else runs, whose effects would be a part of it.
    state.journal.end_unit();
    super::persistence::save_emptied(state, host);
    discard(state, client);
    state.clients.reply_complete(client);
    true
}

/// Goes on with an EXEC whose script has ended; whether it has come to its end.
pub(crate) fn go_on(state: &mut State, host: &mut dyn Host, client: ClientKey) -> bool {
    let transaction = state
        .clients
        .get_mut(client)
        .and_then(|client| client.session.transaction.as_deref_mut());
    let Some(transaction) = transaction else {
        return true;
    };
    let Some(standing) = transaction.standing.take() else {
        return true;
    };
    let (exec, started_ns) = (standing.request, standing.since_ns);
    let queue = std::mem::take(&mut transaction.queue);
    if !run_queue(state, host, client, queue, exec.args(), started_ns) {
        return false;
    }
    // EXEC itself has not been counted or shown: its call ended when the script stood still. Its time is all the time
    // since.
    if let Some(id) = state.table.find(exec.args().get(0).unwrap_or_default()) {
        let elapsed_ns = state.now.mono_ns.saturating_sub(started_ns);
        let invocation = Invocation::of(client, id, exec.args());
        note_run(state, &invocation, elapsed_ns, 0);
        if state.messaging.hears_commands {
            super::monitor::ran(state, client, id, exec.args());
        }
    }
    true
}
