//! Commands that wait for a key: how they begin to, are run again, give up. FLUSHALL, FLUSHDB and MIGRATE wait here too,
//! for no key, until the free thread is done with what was there, or the other server has answered.
//!
//! In: the [`Wait`](super::Wait) of a handler that had nothing to answer with, keys that became ready in
//! the keyspace, deadlines. Out: the command run again from the beginning, in the order in which the clients came; it
//! answers, or finds too little and keeps its place. Mirrors `blocked.c` of Redis, as of 7.2.

use super::admit::{Admission, Origin, admit, refuse};
use super::call::{advance_reply_mode, call};
use super::{CommandError, CommandId, Host, Invocation, State, Wait, WaitFor};
use crate::clients::hosts;
use crate::clients::{
    Awaited, AwaitedKeys, BlockedCommand, ClientKey, ClientKind, Freeing, HeldBy, Session,
};
use crate::observe::Executed;
use crate::resp::{Args, OwnedRequest};

/// Has a client wait; called once its handler has asked for it.
pub(crate) fn begin(
    state: &mut State,
    key: ClientKey,
    command: CommandId,
    args: Args<'_>,
    wait: Wait,
) {
    let Some(client) = state.clients.get(key) else {
        return;
    };
    let (id, db) = (client.session.id, client.session.db);
    let ticket = state
        .keyspace
        .wait(db, &wait.keys, id, wait.kind, wait.on_removal);
    // Owned from here on: the bytes that the arguments were borrowed from are those of the next request soon.
    let request = match &wait.again_as {
        Some(words) => OwnedRequest::from_slices(words),
        None => args.to_owned(),
    };
    let keys = AwaitedKeys {
        request,
        db,
        names: wait.keys,
        ticket,
        is_held: false,
    };
    let blocked = BlockedCommand {
        command: command.0,
        deadline_ns: wait.deadline_ns,
        awaits: Awaited::Keys(keys),
    };
    state.clients.begin_wait(key, blocked);
}

/// Has a client wait for work that goes on without it.
pub(crate) fn begin_work(state: &mut State, key: ClientKey, command: CommandId) {
    record(state, key, |client| Executed::Works { client });
    let blocked = BlockedCommand {
        command: command.0,
        deadline_ns: None,
        awaits: Awaited::Work,
    };
    state.clients.begin_wait(key, blocked);
}

/// Has a client wait until its host may try a password again: the loop and all others go on meanwhile.
pub(crate) fn begin_turn(
    state: &mut State,
    key: ClientKey,
    command: CommandId,
    args: Args<'_>,
    due_ns: u64,
) {
    let blocked = BlockedCommand {
        command: command.0,
        deadline_ns: Some(due_ns),
        awaits: Awaited::Turn(args.to_owned()),
    };
    state.clients.begin_wait(key, blocked);
}

/// Has a client whose databases are being freed wait for the bell; what its handler is to ask for.
pub fn wait_for_freeing(state: &mut State, key: ClientKey, bell: u64) -> Option<WaitFor> {
    let client = state.clients.get(key)?;
    let freeing = Freeing {
        client: client.session.id,
        bell,
        since_ns: state.now.mono_ns,
    };
    state.clients.freeing.push_back(freeing);
    Some(WaitFor::Work)
}

/// Whether a client can wait for something else than a key: it has a connection, and nothing follows in its
/// transaction.
pub fn can_wait(session: &Session) -> bool {
    !session.in_multi() && matches!(session.kind, ClientKind::Normal | ClientKind::PubSub)
}

/// Answers the clients whose databases are free by now.
pub fn end_freeing(state: &mut State, now_ns: u64) {
    let rung = state.keyspace.rung();
    let freeing = &mut state.clients.freeing;
    // Bells ring in the order in which they were asked for, so those that have rung are at the front.
    let free = freeing.partition_point(|freeing| freeing.bell <= rung);
    let free: Vec<Freeing> = freeing.drain(..free).collect();
    for freeing in free {
        let took_ns = now_ns.saturating_sub(freeing.since_ns);
        if let Some(key) = state.clients.by_id(freeing.client) {
            give_up(state, key, took_ns, None);
        }
    }
}

/// Ends a client's waiting without an answer; also for one that is about to be closed.
pub fn end(state: &mut State, key: ClientKey) -> Option<Box<BlockedCommand>> {
    let blocked = state.clients.end_wait(key)?;
    match &blocked.awaits {
        Awaited::Keys(keys) => {
            state.keyspace.end_wait(keys.db, &keys.names, keys.ticket);
            if keys.is_held {
                // What it would have got is for those behind it.
                state.keyspace.ready_again(keys.db, &keys.names);
            }
        }
        // Its place in `waits_for_acks` is passed over there.
        Awaited::Acks(_) => {}
        Awaited::Turn(_) => leave_turns(state, key),
        Awaited::Work => {
            if let Some(client) = state.clients.get(key) {
                let id = client.session.id;
                state.clients.freeing.retain(|freeing| freeing.client != id);
            }
        }
    }
    Some(blocked)
}

/// Gives the turns behind a client's to those that waited behind it, unless its own has come.
fn leave_turns(state: &mut State, key: ClientKey) {
    let Some(client) = state.clients.get(key) else {
        return;
    };
    let Some(host) = hosts::counted(client.connection()) else {
        return;
    };
    let (id, now_ns) = (client.session.id, state.now.mono_ns);
    for (id, due_ns) in state.auth_failures.leave(host, id, now_ns) {
        state.clients.change_deadline(id, due_ns);
    }
}

/// Runs the commands again that wait for keys which have become ready, and those that this makes ready in turn.
pub fn serve_ready(state: &mut State, host: &mut dyn Host) {
    while state.keyspace.has_ready() {
        for (db, name) in state.keyspace.take_ready() {
            serve_key(state, host, db, &name);
        }
    }
}

fn serve_key(state: &mut State, host: &mut dyn Host, db: usize, name: &[u8]) {
    let mut after = 0;
    while let Some(waiter) = state.keyspace.next_waiter(db, name, after) {
        after = waiter.ticket;
        let now = state.now;
        // Looked at again for each: the one before may have taken the last element, and the key with it. One whose time is
        // over is none, and goes when somebody asks for it, as with Redis.
        let kind = state
            .keyspace
            .db(db, now, true)
            .again(name)
            .map(|entry| entry.kind());
        if kind.is_none() && !state.keyspace.waits_for_removal(db, name) {
            // Whoever came first has taken all. To ask each of the others would cost a push as much as all that wait.
            return;
        }
        if kind != Some(waiter.kind) && !waiter.on_removal {
            // What is there is of no use to this client; others may wait for another type or for the removal.
            continue;
        }
        if let Some(key) = state.clients.by_id(waiter.client)
            && run_again(state, host, key)
        {
            return;
        }
    }
}

/// Has a client served, in its place among those that wait, that was to be served when a save held it.
pub fn serve_held(state: &mut State, key: ClientKey) {
    let client = state.clients.get_mut(key);
    let blocked = client.and_then(|client| client.session.waiting_mut());
    if let Some(keys) = blocked.and_then(BlockedCommand::keys_mut)
        && std::mem::take(&mut keys.is_held)
    {
        state.keyspace.ready_again(keys.db, &keys.names);
    }
}

/// Runs a client's command again, if it may run now: it is asked what it was asked when it came. When it is answered,
/// the client goes on. Whether those behind it have to wait, because a save holds it.
fn run_again(state: &mut State, host: &mut dyn Host, key: ClientKey) -> bool {
    let Some(blocked) = state
        .clients
        .get_mut(key)
        .filter(|client| !client.connection().is_closing())
        .and_then(|client| client.session.waiting_mut())
    else {
        return false;
    };
    let command = CommandId(blocked.command);
    let Some(keys) = blocked.keys_mut() else {
        return false;
    };
    if keys.is_held {
        return true;
    }
    // Taken out for the call, which borrows its arguments and changes the client that had them.
    let request = std::mem::take(&mut keys.request);
    let unix_us = state.now.unix_us;
    let answering = state.clients.set_answering(Some(key));
    // Its own user pays, whoever has woken it.
    let paying = super::budgets::set_paying(state, Some(key));
    let args = request.args();
    // Memory, the disk or a pause may forbid now what they allowed when it began to wait.
    let became = match admit(state, host, Origin::Connection, key, command, args) {
        Ok(Admission::Runs) => match call(state, host, &Invocation::of(key, command, args)) {
            true => Became::WaitsOn,
            false => Became::Answered,
        },
        Ok(Admission::Postponed(by)) => Became::Held(by),
        Err(error) => {
            refuse(state, key, Some(command), &error, args);
            Became::Answered
        }
    };
    super::budgets::set_paying(state, paying);
    state.clients.set_answering(answering);
    // It leaves its queues only now: while it ran, that it waits told `call` that it had been counted and shown before.
    match became {
        Became::Answered => {
            end(state, key);
            record(state, key, |client| Executed::Woken { client, unix_us });
        }
        Became::WaitsOn | Became::Held(HeldBy::Save | HeldBy::Migration) => {
            let is_held = became != Became::WaitsOn;
            // It has kept its ticket, and so its place: it is asked before those who came later next time, too.
            let client = state.clients.get_mut(key);
            let blocked = client.and_then(|client| client.session.waiting_mut());
            if let Some(keys) = blocked.and_then(BlockedCommand::keys_mut) {
                keys.request = request;
                keys.is_held = is_held;
            }
            record(state, key, |client| Executed::WaitsOn { client, is_held });
            return is_held;
        }
        Became::Held(by @ (HeldBy::Pause | HeldBy::Script | HeldBy::Budget)) => {
            // From now on it waits for the end of what holds it, and begins anew then.
            end(state, key);
            state.clients.hold_request(key, request, by);
            record(state, key, |client| Executed::Held { client });
            return false;
        }
    }
    advance_reply_mode(state, key);
    super::tracking::command_ended(state, key, None);
    false
}

/// Tells a simulation what became of a client that waited.
fn record(state: &mut State, key: ClientKey, what: impl FnOnce(u64) -> Executed) {
    if state.observe.executed.is_some()
        && let Some(client) = state.clients.get(key)
    {
        let client = client.session.id;
        state.observe.executed(|| what(client));
    }
}

/// What became of a command that was woken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Became {
    Answered,
    WaitsOn,
    Held(HeldBy),
}

/// Answers the clients whose time is over by now.
pub fn expire(state: &mut State) {
    let now_ns = state.now.mono_ns;
    // Taken out before anything else, so that each is met once: one that stayed would be the first for ever, and nobody
    // behind it would ever be told that its time is over.
    while let Some(id) = state.clients.take_overdue(now_ns) {
        // Also one that is being closed and not detached yet.
        match state.clients.by_id_or_closing(id) {
            Some(key) => give_up(state, key, 0, None),
            None => log::error!("Client id={id} is gone, and had still a deadline"),
        }
    }
}

/// CLIENT UNBLOCK: answers as if the time were over, or with `error`; whether the client was waiting for something that
/// may be given up. One that waits for the end of work would read that it is done what is not.
pub fn unblock(state: &mut State, key: ClientKey, error: Option<&CommandError>) -> bool {
    let waits = state
        .clients
        .get(key)
        .and_then(|client| client.session.waiting())
        .is_some_and(BlockedCommand::may_give_up);
    if waits {
        give_up(state, key, 0, error);
    }
    waits
}

/// Ends a client's waiting with an answer: that nothing came, or (who waited for work) that it is done, or an error.
pub(crate) fn give_up(
    state: &mut State,
    key: ClientKey,
    took_ns: u64,
    error: Option<&CommandError>,
) {
    let answer = match error {
        Some(error) => Ended::Error(error),
        None => Ended::Usual,
    };
    end_with(state, key, took_ns, answer);
}

/// Ends the waiting of a client that waited for work, with a simple string.
pub(crate) fn end_work(state: &mut State, key: ClientKey, took_ns: u64, answer: &'static str) {
    end_with(state, key, took_ns, Ended::Simple(answer));
}

/// What a client is answered whose waiting ends.
#[derive(Clone, Copy)]
enum Ended<'a> {
    /// What its command answers when its time is over, or (who waited for work) OK.
    Usual,
    Simple(&'static str),
    Error(&'a CommandError),
}

fn end_with(state: &mut State, key: ClientKey, took_ns: u64, answer: Ended<'_>) {
    let Some(blocked) = end(state, key) else {
        return;
    };
    let unix_us = state.now.unix_us;
    let BlockedCommand {
        command, awaits, ..
    } = *blocked;
    let awaits = match (answer, awaits) {
        (Ended::Usual, Awaited::Turn(request)) => {
            state.clients.take_turn(key, request);
            return;
        }
        (_, awaits) => awaits,
    };
    record(state, key, |client| Executed::GaveUp { client, unix_us });
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    match answer {
        Ended::Error(error) => {
            client.reply.error(error.bytes());
            state.observe.error_replied(client.reply.last_error_code());
        }
        Ended::Simple(text) => client.reply.simple(text),
        Ended::Usual => match awaits {
            Awaited::Keys(_) | Awaited::Turn(_) => client.reply.null_array(),
            Awaited::Acks(wait) => super::acks::give_up(state, key, &wait),
            Awaited::Work => client.reply.ok(),
        },
    }
    // Counted here, because `call` counts no command that waits.
    let failures = u64::from(matches!(answer, Ended::Error(_)));
    state.observe.command_run(command, took_ns, failures);
    advance_reply_mode(state, key);
    super::tracking::command_ended(state, key, None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Client;
    use crate::commands::testing::Harness;
    use crate::config::Config;
    use crate::engine::persistence::forkless;
    use crate::engine::process::process;
    use crate::system::helper::Jobs;
    use crate::system::simulated_jobs::SimulatedJobs;

    /// A deadline whose client is gone is a fault of ours. It stayed the first for ever: nobody's time was over any more,
    /// and its timer, of the past, had the loop turn without a rest.
    #[test]
    fn a_deadline_that_is_nobodys_is_passed_over_once() {
        let mut harness = Harness::new();
        let state = &mut harness.state;
        let waiting = |deadline_ns| BlockedCommand {
            command: 0,
            deadline_ns: Some(deadline_ns),
            awaits: Awaited::Acks(crate::clients::AckWait {
                offset: 0,
                stream_offset: 0,
                on_disk: false,
                local: false,
                replicas: 1,
            }),
        };
        let identity = crate::clients::Identity::default_user(&state.users);
        let lost = Client::without_socket(ClientKind::Normal, identity);
        let lost = state.clients.insert(lost);
        state.clients.begin_wait(lost, waiting(1));
        state.clients.remove(lost);
        state.clients.begin_wait(harness.client, waiting(2));
        state.now.mono_ns = 2;
        expire(state);
        assert_eq!(state.clients.next_deadline(), None);
        let client = state.clients.get(harness.client).expect("it stays");
        assert_eq!(client.reply.output().to_vec(), b":0\r\n");
    }

    /// What was left of the time was reckoned in whole milliseconds, from the end of the command: where a millisecond of the
    /// Unix clock had ended meanwhile, the client was answered up to one too early.
    #[test]
    fn nobody_is_answered_before_the_time_is_over() {
        for line in [
            "BLPOP missing 0.02",
            "BZPOPMIN missing 0.02",
            "XREAD BLOCK 20 STREAMS missing $",
            "WAIT 1 20",
        ] {
            let mut harness = Harness::new();
            let Harness {
                state,
                host,
                client,
                ..
            } = &mut harness;
            let begun_ns = 50_000_999_000;
            state.now.unix_us += 999;
            state.now.mono_ns = begun_ns;
            (host.clock_ns, host.tick_ns) = (begun_ns, 2_000);
            let request = OwnedRequest::from_slices(&line.split(' ').collect::<Vec<_>>());
            process(state, host, *client, request.args());
            let deadline = state.clients.next_deadline();
            let deadline_ns = deadline.expect("a client that waits").0;
            assert_eq!(deadline_ns, begun_ns + 20_000_000, "{line}");
        }
    }

    /// A command that a save held when it was to be served began to wait anew, behind those that had come later, and with a time
    /// of its own.
    #[test]
    fn who_is_held_for_a_save_keeps_place_and_time() {
        for is_late in [false, true] {
            let directory = tempfile::tempdir().expect("a directory");
            let mut harness = Harness::new();
            harness.state.config = Config::with_dir(directory.path());
            let jobs = Jobs::Simulated(SimulatedJobs::new(1));
            let persistence = &mut harness.state.persistence;
            persistence.snapshot_helper = crate::persistence::forkless::helper(&jobs);
            persistence.part_size.elements = 2;
            persistence.part_size.bytes = 20;
            harness.line("CONFIG SET bgsave-default-method forkless");
            let elements: String = (0..2000).map(|it| format!(" {it:020}")).collect();
            harness.line(&format!("RPUSH large{elements}"));
            let newcomer = |harness: &mut Harness| {
                let identity = crate::clients::Identity::default_user(&harness.state.users);
                let client = Client::without_socket(ClientKind::Normal, identity);
                harness.state.clients.insert(client)
            };
            let (first, second) = (newcomer(&mut harness), newcomer(&mut harness));
            for (client, line) in [
                (first, "BLMOVE source large LEFT LEFT 10"),
                (second, "BLPOP source 0"),
            ] {
                let words: Vec<&str> = line.split(' ').collect();
                let request = OwnedRequest::from_slices(&words);
                let Harness { state, host, .. } = &mut harness;
                process(state, host, client, request.args());
            }
            harness.line("BGSAVE");
            harness.line("RPUSH source one");
            let Harness { state, host, .. } = &mut harness;
            let waits = |state: &State, key| {
                let client: &Client = state.clients.get(key).expect("it stays");
                client.session.waiting().is_some()
            };
            let reply = |state: &State, key| {
                let client: &Client = state.clients.get(key).expect("it stays");
                String::from_utf8(client.reply.output().to_vec()).expect("text")
            };
            for _ in 0..3 {
                serve_ready(state, host);
                assert!(waits(state, first) && waits(state, second));
                state.keyspace.ready_again(0, &[b"source".to_vec()]);
            }
            serve_ready(state, host);
            assert_eq!(state.persistence.holds_for_save, 1);
            let (deadline_ns, _) = state.clients.next_deadline().expect("a deadline");
            state.now.mono_ns = deadline_ns - 1;
            expire(state);
            assert!(waits(state, first));
            if is_late {
                state.now.mono_ns = deadline_ns;
                expire(state);
                assert_eq!(reply(state, first), "*-1\r\n");
                serve_ready(state, host);
                assert!(reply(state, second).ends_with("$3\r\none\r\n"));
                continue;
            }
            let mut released = Vec::new();
            while released.is_empty() {
                let progress = forkless::progress(state).expect("a save");
                forkless::go_on(state, progress, true, &mut || true);
                released = forkless::take_released(state);
            }
            for id in released {
                let key = state.clients.by_id(id).expect("it stays");
                serve_held(state, key);
            }
            serve_ready(state, host);
            assert_eq!(reply(state, first), "$3\r\none\r\n");
            assert!(waits(state, second) && !waits(state, first));
            assert_eq!(state.persistence.held_for_save, 0);
            assert_eq!(state.keyspace.hurried(), 0);
        }
    }
}
