//! Client-side caching: CLIENT TRACKING and its kin, and who is told that a key is invalid.
//!
//! In: the modes of a client, the keys that commands of tracking clients read, the trail of changes. Out: invalidations,
//! pushed to RESP3 clients or sent as messages of a channel to a RESP2 subscriber that another client names. Who may
//! hold which key is kept in [`crate::messaging::tracking`]. Mirrors the half of `tracking.c` of Redis that knows clients,
//! and what of `clientCommand` belongs to it.
//!
//! Where gyre does otherwise than Redis 7.0, it tells more: a client with NOLOOP hears of its keys that expire, are
//! evicted or are given up while its own command runs; SWAPDB makes all keys invalid; a script makes its caller a reader of
//! the keys that it has read (as in 7.2), and of all that it declares (as in 7.0).
//!
//! | file | what |
//! | --- | --- |
//! | `spec` | the rows |

mod spec;
#[cfg(test)]
mod tests;

pub use spec::{CACHING, GET_REDIR, TRACKING, TRACKING_INFO};

use super::{
    BeginSearch, CommandError, CommandId, FindKeys, State, WideContext, flags, key_flags, keyspecs,
    parse,
};
use crate::clients::{CachingMode, ClientKey, ClientKind, Remembered};
use crate::keyspace::{EventClass, Touched, interest};
use crate::resp::{Args, Reply};
use crate::structures::dict::HashSeed;
use std::collections::{BTreeSet, HashSet};

/// The channel on which RESP2 clients hear of invalid keys.
const CHANNEL: &[u8] = b"__redis__:invalidate";

// ---- the commands ------------------------------------------------------------------------------------------------

/// What CLIENT TRACKING was given.
#[derive(Default)]
struct Options<'a> {
    redirect: u64,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(context: &WideContext<'_>, args: Args<'a>) -> Result<Options<'a>, CommandError> {
        let mut options = Options::default();
        let mut rest = args;
        while let Some(option) = rest.get(0) {
            rest = rest.skip(1);
            match (option, rest.get(0)) {
                (option, Some(id)) if parse::is_word(option, "REDIRECT") => {
                    rest = rest.skip(1);
                    if options.redirect != 0 {
                        return Err(CommandError::fixed(
                            "ERR A client can only redirect to a single other client",
                        ));
                    }
                    let id = u64::try_from(parse::integer(id)?).ok();
                    options.redirect = id
                        .filter(|id| context.state.clients.by_id(*id).is_some())
                        .ok_or(CommandError::fixed(
                        "ERR The client ID you want redirect to does not exist",
                    ))?;
                }
                (option, Some(prefix)) if parse::is_word(option, "PREFIX") => {
                    rest = rest.skip(1);
                    options.prefixes.push(prefix);
                }
                (option, _) if parse::is_word(option, "BCAST") => options.broadcast = true,
                (option, _) if parse::is_word(option, "OPTIN") => options.opt_in = true,
                (option, _) if parse::is_word(option, "OPTOUT") => options.opt_out = true,
                (option, _) if parse::is_word(option, "NOLOOP") => options.no_loop = true,
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    /// Whether the options go together, and with the modes that the client has.
    fn check(&self, now: Option<&CachingMode>) -> Result<(), CommandError> {
        let refuse = |text| Err(CommandError::fixed(text));
        if !self.broadcast && !self.prefixes.is_empty() {
            return refuse("ERR PREFIX option requires BCAST mode to be enabled");
        }
        if now.is_some_and(|now| now.broadcast != self.broadcast) {
            return refuse(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
                 re-enabling it with a different mode.",
            );
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return refuse("ERR OPTIN and OPTOUT are not compatible with BCAST");
        }
        if self.opt_in && self.opt_out {
            return refuse("ERR You can't specify both OPTIN mode and OPTOUT mode");
        }
        let remembered = now.map_or(Remembered::Every, |now| now.remembered);
        if (self.opt_in && remembered == Remembered::OptOut)
            || (self.opt_out && remembered == Remembered::OptIn)
        {
            return refuse(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
                 re-enabling it with a different mode.",
            );
        }
        self.check_prefixes(now.map(|now| &now.prefixes))
    }

    /// No key may have two of a client's prefixes.
    fn check_prefixes(&self, held: Option<&BTreeSet<Vec<u8>>>) -> Result<(), CommandError> {
        // What begins with a prefix stands behind it in order, before anything else does: one pass finds all that overlap.
        let mut all: Vec<&[u8]> = self.prefixes.to_vec();
        all.extend(held.into_iter().flatten().map(Vec::as_slice));
        all.sort_unstable();
        let mut overlapping = HashSet::new();
        let mut first: Option<&[u8]> = None;
        for prefix in all {
            match first {
                Some(begin) if prefix.starts_with(begin) => {
                    overlapping.extend([begin, prefix]);
                }
                _ => first = Some(prefix),
            }
        }
        let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        let refuse = |prefix: &[u8], what: &str, other: &[u8]| {
            let (prefix, other) = (
                String::from_utf8_lossy(prefix),
                String::from_utf8_lossy(other),
            );
            Err(CommandError::text_owned(format!(
                "ERR Prefix '{prefix}' overlaps with {what} prefix '{other}'. Prefixes for a single client must not \
                 overlap."
            )))
        };
        for (at, prefix) in self.prefixes.iter().enumerate() {
            if !overlapping.contains(prefix) {
                continue;
            }
            let mut held = held.into_iter().flatten();
            if let Some(other) = held.find(|other| overlap(prefix, other)) {
                return refuse(prefix, "an existing", other);
            }
            let mut others = self.prefixes.iter().skip(at + 1);
            if let Some(other) = others.find(|other| overlap(prefix, other)) {
                return refuse(prefix, "another provided", other);
            }
        }
        Ok(())
    }

    fn remembered(&self) -> Remembered {
        match (self.opt_in, self.opt_out) {
            (true, _) => Remembered::OptIn,
            (_, true) => Remembered::OptOut,
            _ => Remembered::Every,
        }
    }
}

/// `CLIENT TRACKING ON|OFF [REDIRECT id] [PREFIX prefix]... [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`.
fn tracking(context: &mut WideContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(context, args.skip(3))?;
    match () {
        () if parse::is_word(args.at(2), "ON") => {
            options.check(context.caller().caching.as_deref())?;
            enable(context.state, context.client, &options);
        }
        () if parse::is_word(args.at(2), "OFF") => disable(context.state, context.client),
        () => return Err(CommandError::Syntax),
    }
    context.reply().ok();
    Ok(())
}

/// `CLIENT CACHING YES|NO`: about the next command or transaction.
fn caching(context: &mut WideContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(mode) = &mut context.caller().caching else {
        return Err(CommandError::fixed(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
             enabled",
        ));
    };
    match () {
        () if parse::is_word(args.at(2), "YES") => {
            if mode.remembered != Remembered::OptIn {
                return Err(CommandError::fixed(
                    "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
                ));
            }
        }
        () if parse::is_word(args.at(2), "NO") => {
            if mode.remembered != Remembered::OptOut {
                return Err(CommandError::fixed(
                    "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
                ));
            }
        }
        () => return Err(CommandError::Syntax),
    }
    mode.caching = true;
    context.reply().ok();
    Ok(())
}

/// The client that is told in place of this one, as commands show it: 0 where it is told itself, -1 without tracking.
pub fn shown_redirect(mode: Option<&CachingMode>) -> i64 {
    mode.map_or(-1, |mode| i64::try_from(mode.redirect).unwrap_or(i64::MAX))
}

fn get_redir(context: &mut WideContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let id = shown_redirect(context.caller().caching.as_deref());
    context.reply().integer(id);
    Ok(())
}

fn tracking_info(context: &mut WideContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let client = context.caller();
    let mode = client.caching.as_deref();
    let is = |what: fn(&CachingMode) -> bool| mode.is_some_and(what);
    let opt_in = is(|mode| mode.remembered == Remembered::OptIn);
    let opt_out = is(|mode| mode.remembered == Remembered::OptOut);
    let caching = is(|mode| mode.caching);
    let words = [
        ("off", mode.is_none()),
        ("on", mode.is_some()),
        ("bcast", is(|mode| mode.broadcast)),
        ("optin", opt_in),
        ("caching-yes", opt_in && caching),
        ("optout", opt_out),
        ("caching-no", opt_out && caching),
        ("noloop", is(|mode| mode.no_loop)),
        ("broken_redirect", is(|mode| mode.broken_redirect)),
    ];
    let words = words.iter().filter(|(_, holds)| *holds);
    let reply = &mut client.reply;
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(words.clone().count());
    for (word, _) in words {
        reply.bulk(word.as_bytes());
    }
    reply.bulk(b"redirect");
    reply.integer(shown_redirect(mode));
    reply.bulk(b"prefixes");
    reply.array(mode.map_or(0, |mode| mode.prefixes.len()));
    for prefix in mode.into_iter().flat_map(|mode| &mode.prefixes) {
        reply.bulk(prefix);
    }
    Ok(())
}

/// Has a client's keys tracked, or changes how.
fn enable(state: &mut State, key: ClientKey, options: &Options<'_>) {
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    let id = client.session.id;
    let begins = client.caching.is_none();
    let mode = client.caching.get_or_insert_default();
    mode.broadcast = options.broadcast;
    mode.remembered = options.remembered();
    mode.no_loop = options.no_loop;
    mode.redirect = options.redirect;
    mode.broken_redirect = false;
    let tracking = &mut state.messaging.tracking;
    if begins {
        tracking.begin(HashSeed(std::array::from_fn(|_| state.rng.next_u64())));
    }
    if options.broadcast {
        let every = [&b""[..]];
        let prefixes = match options.prefixes.as_slice() {
            [] => &every[..],
            prefixes => prefixes,
        };
        for prefix in prefixes {
            tracking.add_prefix(prefix, id);
            mode.prefixes.insert(prefix.to_vec());
        }
    }
    state.keyspace.set_interest(interest::TRACKING, true);
    state.messaging.settle();
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
    if let Some(table) = tracking.end() {
        state.keyspace.free_hash(table);
        state.keyspace.set_interest(interest::TRACKING, false);
    }
    state.messaging.settle();
}

// ---- around commands ---------------------------------------------------------------------------------------------

/// After a command of `key` has run: the keys that it has read are remembered. Only commands that write nothing make
/// their client a reader. What a script reads is its caller's; what it declares and does not read is nobody's.
pub(super) fn remember(state: &mut State, key: ClientKey, id: CommandId, args: Args<'_>) {
    let command = state.table.get(id);
    let is_script = command.flags & flags::SKIP_MONITOR != 0;
    if is_script || command.flags & flags::READONLY == 0 || command.flags & flags::PUBSUB != 0 {
        return;
    }
    let reader = state.caller.unwrap_or(key);
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
        for (at, _) in keys {
            tracking.remember(args.at(at), reader_id);
        }
    }
}

/// A command of this client has run or was refused; `found` is its name's row. CLIENT CACHING holds until the command or
/// transaction after it is answered.
pub(super) fn command_ended(state: &mut State, key: ClientKey, found: Option<CommandId>) {
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    if let Some(mode) = &mut client.caching
        && mode.caching
        && !client.session.in_multi
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
        let Some(key) = state.messaging.tracking.random_key(random) else {
            return;
        };
        invalidate(state, &key, false);
    }
}

// ---- invalidation ------------------------------------------------------------------------------------------------

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

/// Something of the trail, told to those who hold what has changed.
pub(super) fn changed(state: &mut State, note: &Touched) {
    match note {
        Touched::Key {
            class,
            key,
            modified: true,
            ..
        } => {
            let by_itself = matches!(class, EventClass::Expired | EventClass::Evicted);
            let by = state.caller.filter(|_| !by_itself);
            let by = by.and_then(|key| Some(state.clients.get(key)?.session.id));
            state.messaging.tracking.note(key, by);
            invalidate(state, key, !by_itself);
        }
        Touched::Key { .. } | Touched::FieldExpired { .. } => {}
        Touched::Flushed { .. } | Touched::Swapped { .. } => invalidate_all(state),
    }
}

/// Tells those who have read a key that it is invalid, but for a client that has changed it and wants no echo
/// (`through_caller`). They have to read it again to be told again.
fn invalidate(state: &mut State, name: &[u8], through_caller: bool) {
    for id in state.messaging.tracking.forget(name) {
        let Some(key) = state.clients.by_id(id) else {
            continue;
        };
        let is_caller = through_caller && state.caller == Some(key);
        let wants = state
            .clients
            .get(key)
            .and_then(|client| client.caching.as_ref())
            // What it read before it switched to the broadcast does not concern it.
            .is_some_and(|mode| !(mode.broadcast || is_caller && mode.no_loop));
        if wants {
            tell(state, key, &Invalid::Key(name));
        }
    }
}

/// A flush that is waited for tells its own client that nothing is valid any more before it answers, because in Redis it
/// is over only then. In a transaction or a script the message comes behind the whole answer as ever.
pub(in crate::commands) fn tell_before_answer(state: &mut State, key: ClientKey) {
    let tracks_alone = state.clients.get(key).is_some_and(|client| {
        client.caching.is_some()
            && !client.session.in_multi
            && client.session.kind != ClientKind::Script
    });
    if tracks_alone {
        let answering = state.clients.answer(None);
        super::trail::drain(state);
        state.clients.answer(answering);
    }
}

/// Tells every client that tracks that nothing is valid any more. O(clients).
fn invalidate_all(state: &mut State) {
    for key in state.clients.keys() {
        let tracks = |key| Some(state.clients.get(key)?.caching.is_some());
        if tracks(key) == Some(true) {
            tell(state, key, &Invalid::Every);
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
        array_of(&mut every, broadcast.keys.keys());
        let every_bytes = every.output().to_vec();
        for id in broadcast.clients {
            let Some(key) = state.clients.by_id(id) else {
                continue;
            };
            let caching = state.clients.get(key).and_then(|it| it.caching.as_ref());
            let Some(mode) = caching else { continue };
            if !mode.no_loop {
                tell(state, key, &Invalid::Keys(&every_bytes));
                continue;
            }
            let by_others = broadcast.keys.iter().filter(|(_, by)| **by != Some(id));
            if by_others.clone().next().is_some() {
                array_of(&mut some, by_others.map(|(key, _)| key));
                let bytes = some.output().to_vec();
                tell(state, key, &Invalid::Keys(&bytes));
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
fn tell(state: &mut State, key: ClientKey, invalid: &Invalid<'_>) {
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    let Some(mode) = &mut client.caching else {
        return;
    };
    let (redirect, resp3) = (mode.redirect, client.session.resp3);
    let target = match redirect {
        0 => Some(key),
        id => state.clients.by_id(id),
    };
    let target = target
        .and_then(|target| Some((target, &state.clients.get(target)?.session)))
        .filter(|(_, session)| !session.closing);
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
    if session.resp3 {
        state.clients.push(target, |reply| {
            reply.push(2);
            reply.bulk(b"invalidate");
            invalid.write(reply);
        });
    } else if redirect != 0 && session.kind == ClientKind::PubSub {
        state.clients.push(target, |reply| {
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(CHANNEL);
            invalid.write(reply);
        });
    }
}
