//! Client-side caching around commands: which keys a client has read, and who is told that one is invalid.
//!
//! In: the keys that commands of tracking clients read, keyspace events. Out: invalidations, pushed to RESP3 clients
//! or sent as messages of a channel to a RESP2 subscriber that another client names. Who may hold which key is kept in
//! [`crate::messaging::tracking`]. Mirrors the half of `tracking.c` of Redis that knows clients.

use super::{BeginSearch, CommandId, FindKeys, State, flags, key_flags, keyspecs};
use crate::acl::access;
use crate::clients::{CachingMode, ClientKey, ClientKind};
use crate::keyspace::{EventClass, KeyspaceEvent, interest};
use crate::resp::{Args, Reply};

/// The channel on which RESP2 clients hear of invalid keys.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// The client that is told in place of this one, as commands show it: 0 where it is told itself, -1 without tracking.
pub fn shown_redirect(mode: Option<&CachingMode>) -> i64 {
    mode.map_or(-1, |mode| i64::try_from(mode.redirect).unwrap_or(i64::MAX))
}

/// Ends a client's tracking, if it has any: CLIENT TRACKING OFF, RESET, and when the client goes.
pub fn disable(state: &mut State, key: ClientKey) {
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    let Some(mode) = client.caching.take() else {
        return;
    };
    let tracking = &mut state.messaging.tracking;
    for prefix in &mode.prefixes {
        tracking.remove_prefix(prefix, client.session.id);
    }
    // With the last one its table goes, and the keyspace records no more events for it.
    if let Some(table) = tracking.end() {
        state.keyspace.free_hash(table);
        state.keyspace.set_interest(interest::TRACKING, false);
    }
    state.messaging.note_listeners();
}

/// After a command has run: `reader`, who asked for it, is remembered with the keys that it has read. Only commands
/// that write nothing make their client a reader. What a script reads is its caller's; what it declares and does not
/// read is nobody's.
pub(crate) fn remember(state: &mut State, reader: ClientKey, id: CommandId, args: Args<'_>) {
    let command = state.table.get(id);
    // A script reads by the commands that it calls, and each of those comes here by itself.
    let is_script = command.flags & flags::SKIP_MONITOR != 0;
    if is_script || command.flags & flags::READONLY == 0 || command.flags & flags::PUBSUB != 0 {
        return;
    }
    let Some(client) = state.clients.get(reader) else {
        return;
    };
    if !client.caching.as_ref().is_some_and(|mode| mode.remembers()) {
        return;
    }
    let reader_id = client.session.id;
    let tracking = &mut state.messaging.tracking;
    // The usual command has one key in one place.
    if let [only] = command.spec.keys
        && let (BeginSearch::Index(at), FindKeys::Range { last: 0, .. }) = (only.begin, only.find)
        && only.flags & (key_flags::NOT_KEY | key_flags::VARIABLE_FLAGS) == 0
    {
        if let Some(name) = usize::try_from(at).ok().and_then(|at| args.get(at)) {
            tracking.remember(name, reader_id);
        }
        return;
    }
    if let Ok(keys) = keyspecs::keys_of(command.spec, args) {
        // Where they cannot be told the arguments were wrong, and nothing was read.
        for (at, _) in keys {
            tracking.remember(args.at(at), reader_id);
        }
    }
}

/// A command of this client has run or was refused; `found` is its name's row. CLIENT CACHING holds until the command
/// or transaction after it is answered.
pub(crate) fn command_ended(state: &mut State, key: ClientKey, found: Option<CommandId>) {
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    // Not behind CLIENT CACHING itself, which is what has switched it on, nor while its transaction or its wait is not
    // over.
    if let Some(mode) = &mut client.caching
        && mode.caching
        && !client.session.in_multi()
        && client.session.blocked.is_none()
        && found.is_none_or(|id| state.table.get(id).spec.name != "client")
    {
        mode.caching = false;
    }
}

/// Keeps the table within `tracking-table-max-keys`: keys are given up, as if they had changed. A bounded effort.
pub fn limit(state: &mut State) {
    let max_keys = state.config.settings().tracking_table_max_keys;
    for _ in 0..state.messaging.tracking.excess(max_keys) {
        let rng = &mut state.rng;
        let random = &mut || rng.next_u64();
        // Any of them: which keys are no longer read is not known.
        let Some(key) = state.messaging.tracking.random_key(random) else {
            return;
        };
        invalidate(state, &key, None);
    }
}

/// What a client is told.
enum Invalid<'a> {
    /// One key.
    Key(&'a [u8]),
    /// Some keys, as the array that is sent.
    Keys(&'a [u8]),
    /// All keys.
    Every,
}

impl Invalid<'_> {
    fn write(&self, reply: &mut Reply) {
        match self {
            Invalid::Key(key) => {
                reply.array(1);
                reply.bulk(key);
            }
            Invalid::Keys(array) => reply.raw(array),
            Invalid::Every => reply.null(),
        }
    }
}

/// Tells the clients that hold what has changed of one keyspace event. `by`: who has changed it.
pub(crate) fn changed(state: &mut State, event: &KeyspaceEvent, by: Option<ClientKey>) {
    match event {
        KeyspaceEvent::Key {
            class,
            key,
            modified: true,
            ..
        } => {
            // A key whose time is over was changed by nobody, though a client's command has found it so: NOLOOP keeps
            // nothing from that client.
            let by_itself = matches!(class, EventClass::Expired | EventClass::Evicted);
            let by = by.filter(|_| !by_itself);
            let by_id = by.and_then(|key| Some(state.clients.get(key)?.session.id));
            state.messaging.tracking.note(key, by_id);
            invalidate(state, key, by);
        }
        KeyspaceEvent::Key { .. } | KeyspaceEvent::FieldExpired { .. } => {}
        KeyspaceEvent::Flushed { .. } | KeyspaceEvent::Swapped { .. } => invalidate_all(state),
    }
}

/// Tells those who have read a key that it is invalid, but for a client that has changed it and wants no echo
/// (`by`). They have to read it again to be told again.
fn invalidate(state: &mut State, name: &[u8], by: Option<ClientKey>) {
    for id in state.messaging.tracking.forget(name) {
        // Clients that have gone stay in the table until then.
        let Some(key) = state.clients.by_id(id) else {
            continue;
        };
        let is_changer = by == Some(key);
        let wants = state
            .clients
            .get(key)
            .and_then(|client| client.caching.as_ref())
            // What it read before it switched to the broadcast does not concern it.
            .is_some_and(|mode| !(mode.broadcast || is_changer && mode.no_loop));
        if wants {
            send(state, key, &Invalid::Key(name));
        }
    }
}

/// A flush that is waited for tells its own client that nothing is valid any more before it answers, because in Redis
/// it is over only then. In a transaction or a script the message comes behind the whole answer as ever.
pub(crate) fn send_before_reply(state: &mut State, key: ClientKey, asker: ClientKey) {
    let tracks_alone = state.clients.get(key).is_some_and(|client| {
        client.caching.is_some()
            && !client.session.in_multi()
            && client.session.kind != ClientKind::Script
    });
    if tracks_alone {
        // While nobody is being answered what is pushed is not put behind the answer.
        let answering = state.clients.set_answering(None);
        super::keyspace_events::drain(state, Some(asker));
        state.clients.set_answering(answering);
    }
}

/// Tells every client that tracks that nothing is valid any more. O(clients).
fn invalidate_all(state: &mut State) {
    for key in state.clients.keys() {
        let tracks = |key| Some(state.clients.get(key)?.caching.is_some());
        if tracks(key) == Some(true) {
            send(state, key, &Invalid::Every);
        }
    }
    let table = state.messaging.tracking.forget_all();
    state.keyspace.free_hash(table);
}

/// Tells those who listen to prefixes what has changed in this turn of the loop; before it sleeps.
pub fn broadcast(state: &mut State) {
    if !state.messaging.tracking.has_noted() {
        return;
    }
    let mut every = Reply::default();
    let mut some = Reply::default();
    for broadcast in state.messaging.tracking.take_noted() {
        // Encoded once for all who get all of it; only NOLOOP has some get less.
        array_of(&mut every, broadcast.keys.keys());
        let every_bytes = every.output().to_vec();
        for id in broadcast.clients {
            let Some(key) = state.clients.by_id(id) else {
                continue;
            };
            let Some(client) = state.clients.get(key) else {
                continue;
            };
            let Some(mode) = client.caching.as_ref() else {
                continue;
            };
            // Names of keys are told to nobody who may not read them.
            let restricted = client.session.identity.restricted();
            let restricted = restricted.filter(|user| !user.sees_all_keys()).cloned();
            if !mode.no_loop && restricted.is_none() {
                send(state, key, &Invalid::Keys(&every_bytes));
                continue;
            }
            let no_loop = mode.no_loop;
            let is_told = |key: &[u8]| {
                (restricted.as_ref()).is_none_or(|user| user.may_access_key(key, access::READ))
            };
            let by_others = broadcast
                .keys
                .iter()
                .filter(|(key, by)| !(no_loop && **by == Some(id)) && is_told(key));
            if by_others.clone().next().is_some() {
                array_of(&mut some, by_others.map(|(key, _)| key));
                let bytes = some.output().to_vec();
                send(state, key, &Invalid::Keys(&bytes));
            }
        }
    }
}

fn array_of<'a>(reply: &mut Reply, keys: impl Iterator<Item = &'a Vec<u8>> + Clone) {
    reply.output_mut().clear();
    reply.array(keys.clone().count());
    for key in keys {
        reply.bulk(key);
    }
}

/// Sends an invalidation to the client that is to hear of it in place of `key`, or to that one itself. RESP2 can only
/// hear of it through another client.
fn send(state: &mut State, key: ClientKey, invalid: &Invalid<'_>) {
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    let Some(mode) = &mut client.caching else {
        return;
    };
    let (redirect, resp3) = (mode.redirect, client.session.resp3());
    // By its id, which never repeats: the client that was named may have gone.
    let target = match redirect {
        0 => Some(key),
        id => state.clients.by_id(id),
    };
    let target = target
        .and_then(|target| Some((target, state.clients.get(target)?)))
        .filter(|(_, client)| !client.connection().is_closing())
        .map(|(target, client)| (target, &client.session));
    // It cannot be told of keys any more, and must not believe what it holds: it is told that, where its protocol can.
    let Some((target, session)) = target else {
        if let Some(mode) = state
            .clients
            .get_mut(key)
            .and_then(|it| it.caching.as_mut())
        {
            mode.broken_redirect = true;
        }
        if resp3 {
            state.clients.push(key, |reply| {
                reply.push(2);
                reply.bulk(b"tracking-redir-broken");
                reply.integer(i64::try_from(redirect).unwrap_or(i64::MAX));
            });
        }
        return;
    };
    if session.resp3() {
        state.clients.push(target, |reply| {
            reply.push(2);
            reply.bulk(b"invalidate");
            invalid.write(reply);
        });
    // RESP2 knows messages only, and those only for who listens.
    } else if redirect != 0 && session.kind == ClientKind::PubSub {
        state.clients.push(target, |reply| {
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(CHANNEL);
            invalid.write(reply);
        });
    }
}
