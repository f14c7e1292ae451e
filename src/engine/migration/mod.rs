//! Keys that clients send to other servers (MIGRATE), while the loop goes on.
//!
//! In: what the command asks for, and (through a [`Wire`]) sockets that are ready. Out: RESTORE at the other server, the
//! keys gone here as it acknowledges them, their removal in the journal, the client answered. Mirrors `migrateCommand` of
//! Redis's cluster.c, which holds up the whole server instead.
//!
//! What nobody may lose or find twice:
//! * A key is serialised when it is sent, and from then on until it is answered for all who would change it wait
//!   ([`HeldBy::Migration`](crate::clients::HeldBy)): the other server gets what is here, and what comes later finds the key
//!   gone. Reads go on. With COPY nobody waits, for nothing goes.
//! * Who cannot be held (a program that did not name the key, EXEC in a program, FLUSHALL) changes it all the same. Then
//!   it stays as it is now, unless it is gone, and the client is told.
//! * Only `+OK` of the other server removes a key. AUTH and SELECT are answered before the first key is sent, so that none
//!   comes to the wrong database.
//! * Once a key is sent the migration goes on to its end, whether its client still waits or not.
//! * A server that becomes a replica gives all of it up, and its clients are told. Nothing is removed while writes are paused, a script stands still or data are loaded.
//!
//! Sockets are kept for a while and used again. One that turns out to be closed before anything was heard on it is
//! replaced once. All that waits for the other server waits for [`Request::patience_ns`] at most without a sign of it.

mod exchange;
#[cfg(test)]
mod tests;

use super::replication::role::UNBLOCKED;
use super::{CommandError, State, blocking, keyspace_events, transactions};
use crate::event_loop::{ConnectAddress, Received, Token};
use crate::journal::Targets;
use crate::keyspace::{EventClass, Free};
use crate::persistence::rdb::payload;
use crate::system::process::os_error_text;
use exchange::{Exchange, Garbled, Subject};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind, IoSlice};

/// Sockets that are open at one time.
const MOST_SOCKETS: usize = 64;
/// How long one that nobody uses is kept, ns.
const KEPT_NS: u64 = 10_000_000_000;
/// Keys are serialised while less than this waits to be written, bytes.
const AHEAD: usize = 64 * 1024;
/// What is written to one socket, and serialised for it, in one turn, bytes. A larger value is serialised at once.
const TURN_BUDGET: usize = 1024 * 1024;
/// What is read from one socket in one turn, bytes.
const READ_BUDGET: usize = 64 * 1024;

const NOT_CONNECTED: CommandError =
    CommandError::fixed("IOERR error or timeout connecting to the client");
const NOT_WRITTEN: CommandError =
    CommandError::fixed("IOERR error or timeout writing to target instance");
const NOT_READ: CommandError =
    CommandError::fixed("IOERR error or timeout reading from target instance");

/// The sockets of migrations, as the server has them.
pub trait Wire {
    /// Begins to connect.
    fn connect(&mut self, to: &ConnectAddress) -> io::Result<Token>;
    /// How connecting came out; `WouldBlock` while it is under way.
    fn connected(&mut self, token: Token) -> io::Result<()>;
    /// Reads what there is.
    fn read(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<Received>;
    /// Writes what the socket takes.
    fn write(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Closes a socket.
    fn close(&mut self, token: Token);
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The other server's host, by name or address.
    pub host: Vec<u8>,
    /// Its port, as it was given.
    pub port: Vec<u8>,
    /// The database there.
    pub to_db: i64,
    /// The keys, each once.
    pub keys: Vec<Vec<u8>>,
    /// How long the other server may be silent, ns.
    pub patience_ns: u64,
    /// The keys stay here as well.
    pub copies: bool,
    /// What is there under these keys is replaced.
    pub replaces: bool,
    /// User (none: the default one) and password there.
    pub credentials: Option<(Option<Vec<u8>>, Vec<u8>)>,
}

impl Request {
    /// The name of its socket among those that are kept.
    fn socket_name(&self) -> Vec<u8> {
        [&self.host[..], b":", &self.port].concat()
    }
}

/// A client's request on its way.
#[derive(Debug)]
struct Migration {
    request: Request,
    client: u64,
    /// The database here.
    db: usize,
    since_ns: u64,
    /// Keys before this one were looked at.
    next: usize,
    /// Some key was sent.
    has_sent: bool,
    error: Option<CommandError>,
    may_retry: bool,
}

/// A socket to another server.
#[derive(Debug)]
struct Link {
    name: Vec<u8>,
    is_connected: bool,
    /// It was used before.
    is_used_again: bool,
    /// The database that is selected, as far as it is known.
    db: Option<i64>,
    /// When it is given up: the other server was silent for too long, or nobody has used it.
    deadline_ns: u64,
    exchange: Exchange,
    /// Who uses it; none: it is kept for the next.
    user: Option<Box<Migration>>,
    /// The socket takes nothing for now.
    is_full: bool,
}

/// Migrations and their sockets.
#[derive(Debug, Default)]
pub struct Migrations {
    begun: VecDeque<Box<Migration>>,
    links: BTreeMap<Token, Link>,
    /// Sockets that are ready, or have more to do.
    ready: BTreeSet<Token>,
    /// Clients that were held for a key on its way, by id.
    held: Vec<u64>,
    /// Keys are on their way no more: who was held may go on.
    has_released: bool,
}

impl Migrations {
    /// Sockets that are open.
    pub fn sockets(&self) -> usize {
        self.links.len()
    }
    /// Whether there is anything to go on with, or to close one day.
    #[inline]
    pub fn is_active(&self) -> bool {
        !self.links.is_empty() || !self.begun.is_empty()
    }
    /// A client is held until keys have gone their way.
    pub(super) fn hold(&mut self, client: u64) {
        self.held.push(client);
    }
    /// A socket is ready for something.
    pub fn note_ready(&mut self, token: Token) {
        if let Some(link) = self.links.get_mut(&token) {
            link.is_full = false;
            self.ready.insert(token);
        }
    }
    /// Takes the clients that may go on, in the order in which they were held.
    pub fn take_released(&mut self) -> Vec<u64> {
        match std::mem::take(&mut self.has_released) {
            true => std::mem::take(&mut self.held),
            false => Vec::new(),
        }
    }
}

/// What is left to do after a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Something can go on at once.
    pub more: bool,
    /// When to come again, monotonic ns.
    pub at_ns: Option<u64>,
}

/// Begins a migration for a client, which is to wait for it as for [`WaitFor::Work`](super::WaitFor).
pub fn begin(state: &mut State, client: u64, db: usize, request: Request) {
    state.migrations.begun.push_back(Box::new(Migration {
        request,
        client,
        db,
        since_ns: state.now.mono_ns,
        next: 0,
        has_sent: false,
        error: None,
        may_retry: true,
    }));
}

/// Whether keys may be removed now.
fn may_go_on(state: &State) -> bool {
    state.pause.is_none() && !state.scripting.is_busy() && !state.persistence.loads_any()
}

/// Takes all migrations as far as they come without waiting. For the end of a turn.
pub fn go_on(state: &mut State, wire: &mut dyn Wire, now_ns: u64) -> Left {
    if !may_go_on(state) {
        return Left::default();
    }
    let mut run = Run {
        state,
        wire,
        now_ns,
    };
    if run.state.replication.is_replica() {
        // What is here is the primary's to remove.
        run.end_all(&UNBLOCKED);
    }
    while let Some(migration) = run.state.migrations.begun.pop_front() {
        run.start(migration, true);
    }
    for token in std::mem::take(&mut run.state.migrations.ready) {
        run.serve(token);
    }
    // Behind what came: an answer that is there is not late.
    run.expire();
    let migrations = &state.migrations;
    Left {
        more: !migrations.ready.is_empty() || !migrations.begun.is_empty(),
        at_ns: migrations.links.values().map(|link| link.deadline_ns).min(),
    }
}

/// One going on.
struct Run<'a> {
    state: &'a mut State,
    wire: &'a mut dyn Wire,
    now_ns: u64,
}

impl Run<'_> {
    /// Whether somebody waits for a migration.
    fn is_awaited(&self, migration: &Migration) -> bool {
        self.state.clients.by_id(migration.client).is_some()
    }

    /// Finds a migration a socket, or has one connected.
    fn start(&mut self, migration: Box<Migration>, takes_kept: bool) {
        if !self.is_awaited(&migration) {
            return;
        }
        let name = migration.request.socket_name();
        let links = &mut self.state.migrations.links;
        let mut kept = links.iter_mut().filter(|(_, link)| link.user.is_none());
        if let Some((token, link)) = kept.find(|(_, link)| takes_kept && link.name == name) {
            let token = *token;
            link.is_used_again = true;
            link.user = Some(migration);
            return self.greet(token);
        }
        if links.len() >= MOST_SOCKETS {
            // The one that nobody has used for longest.
            let kept = links.iter().filter(|(_, link)| link.user.is_none());
            let oldest = kept.min_by_key(|(_, link)| link.deadline_ns);
            let Some(token) = oldest.map(|(token, _)| *token) else {
                return self.end(&migration, Err(&NOT_CONNECTED));
            };
            self.close(token);
        }
        let connected = port(&migration.request.port).and_then(|port| {
            let to = ConnectAddress::Name {
                host: String::from_utf8_lossy(&migration.request.host).into_owned(),
                port,
                source: None,
                // Those that keys go to are nodes of the cluster, where there is one.
                tls: self.state.config.settings().tls.cluster,
            };
            self.wire.connect(&to).map_err(|_| NOT_CONNECTED)
        });
        let token = match connected {
            Ok(token) => token,
            Err(error) => return self.end(&migration, Err(&error)),
        };
        let link = Link {
            name,
            is_connected: false,
            is_used_again: false,
            db: None,
            deadline_ns: self.now_ns.saturating_add(migration.request.patience_ns),
            exchange: Exchange::new(self.state.cluster.is_some()),
            user: Some(migration),
            is_full: false,
        };
        self.state.migrations.links.insert(token, link);
    }

    /// Begins to speak on a socket that is connected.
    fn greet(&mut self, token: Token) {
        let in_cluster = self.state.cluster.is_some();
        let Some(link) = self.state.migrations.links.get_mut(&token) else {
            return;
        };
        let Some(migration) = &link.user else {
            return;
        };
        let request = &migration.request;
        link.exchange = Exchange::new(in_cluster);
        link.deadline_ns = self.now_ns.saturating_add(request.patience_ns);
        if let Some((user, password)) = &request.credentials {
            link.exchange.auth(user.as_deref(), password);
        }
        if link.db != Some(request.to_db) {
            link.exchange.select(request.to_db);
        }
        self.state.migrations.ready.insert(token);
    }

    /// Does what can be done on a socket.
    fn serve(&mut self, token: Token) {
        let Some(link) = self.state.migrations.links.get_mut(&token) else {
            return;
        };
        if !link.is_connected {
            match self.wire.connected(token) {
                Ok(()) => link.is_connected = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    let name = String::from_utf8_lossy(&link.name);
                    let (kind, error) = (error.kind(), os_error_text(&error));
                    log::debug!("MIGRATE: connecting to {name} failed: {error}");
                    // Who is refused is told of it by Redis when it writes.
                    let told = match kind {
                        ErrorKind::HostUnreachable => &NOT_CONNECTED,
                        _ => &NOT_WRITTEN,
                    };
                    return self.lose(token, told, false);
                }
            }
            let is_awaited = |it: &Migration| self.state.clients.by_id(it.client).is_some();
            if !link.user.as_deref().is_some_and(is_awaited) {
                return self.close(token);
            }
            self.greet(token);
            self.state.migrations.ready.remove(&token);
        }
        if self.read(token) && self.write(token) {
            self.end_if_over(token);
        }
    }

    /// Hears what came; whether the socket is still there.
    fn read(&mut self, token: Token) -> bool {
        let mut buffer = [0; 4096];
        let mut read = 0;
        loop {
            let Some(link) = self.state.migrations.links.get_mut(&token) else {
                return false;
            };
            let more = match self.wire.read(token, &mut buffer) {
                Ok(Received { len: 0, .. }) => {
                    self.end_behind_answers(token);
                    return false;
                }
                // Nobody has asked for anything.
                Ok(_) if link.user.is_none() => {
                    self.close(token);
                    return false;
                }
                Ok(Received { len, more }) => {
                    link.exchange.heard(buffer.get(..len).unwrap_or_default());
                    let patience_ns = link.user.as_ref().map(|it| it.request.patience_ns);
                    link.deadline_ns = self.now_ns.saturating_add(patience_ns.unwrap_or(0));
                    read += len;
                    more
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(_) => {
                    self.end_behind_answers(token);
                    return false;
                }
            };
            if more && read < READ_BUDGET {
                continue;
            }
            if more {
                self.state.migrations.ready.insert(token);
            }
            return read == 0 || self.answers(token);
        }
    }

    /// The other side has ended the connection. What it said before holds.
    fn end_behind_answers(&mut self, token: Token) {
        if self.answers(token) {
            self.end_if_over(token);
        }
        self.lose(token, &NOT_READ, true);
    }

    /// Does what the answers that are there say; whether the socket can be used on.
    fn answers(&mut self, token: Token) -> bool {
        let Some(link) = self.state.migrations.links.get_mut(&token) else {
            return false;
        };
        let Some(migration) = &mut link.user else {
            return false;
        };
        let mut acknowledged = Vec::new();
        let mut refused = Vec::new();
        let garbled = loop {
            match link.exchange.next_answer() {
                Ok(Some((subject, answer))) => {
                    match (subject, &answer) {
                        (Subject::Select, Ok(())) => link.db = Some(migration.request.to_db),
                        (Subject::Key(key), Ok(())) => acknowledged.push(key),
                        (Subject::Key(key), Err(_)) => refused.push(key),
                        (Subject::Auth | Subject::Select, _) => {}
                    }
                    if let Err(text) = answer {
                        // Whatever it was about: it is asked for again.
                        link.db = None;
                        migration.error.get_or_insert_with(|| target_error(&text));
                    }
                }
                Ok(None) => break false,
                Err(Garbled) => break true,
            }
        };
        let (db, request, client) = (migration.db, &migration.request, migration.client);
        let names = |keys: Vec<usize>| {
            let names = keys.into_iter().filter_map(|key| request.keys.get(key));
            names.cloned().collect::<Vec<_>>()
        };
        let (acknowledged, refused) = (names(acknowledged), names(refused));
        if !request.copies {
            release(self.state, db, refused.iter());
            let stayed = remove(self.state, db, client, &acknowledged);
            let link = self.state.migrations.links.get_mut(&token);
            if let Some(key) = stayed.first()
                && let Some(migration) = link.and_then(|link| link.user.as_mut())
            {
                migration.error.get_or_insert_with(|| changed(key));
            }
        }
        if garbled {
            self.lose(token, &NOT_READ, false);
        }
        !garbled
    }

    /// Writes what the socket takes, serialising further keys as it does; whether it is still there.
    fn write(&mut self, token: Token) -> bool {
        let mut written = 0;
        loop {
            self.serialise(token);
            let Some(link) = self.state.migrations.links.get_mut(&token) else {
                return false;
            };
            if link.exchange.unwritten() == 0 || link.is_full {
                return true;
            }
            if written >= TURN_BUDGET {
                self.state.migrations.ready.insert(token);
                return true;
            }
            let wire = &mut *self.wire;
            match link.exchange.write(|slices| wire.write(token, slices)) {
                Ok(0) => {
                    link.is_full = true;
                    return true;
                }
                Ok(taken) => {
                    written += taken;
                    let patience_ns = link.user.as_ref().map(|it| it.request.patience_ns);
                    link.deadline_ns = self.now_ns.saturating_add(patience_ns.unwrap_or(0));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    link.is_full = true;
                    return true;
                }
                Err(_) => {
                    self.lose(token, &NOT_WRITTEN, true);
                    return false;
                }
            }
        }
    }

    /// Puts keys into what is to be written, until that is enough for now. Those that are not there, or whose time is over,
    /// are passed over.
    fn serialise(&mut self, token: Token) {
        let state = &mut *self.state;
        let Some(link) = state.migrations.links.get_mut(&token) else {
            return;
        };
        let Some(migration) = &mut link.user else {
            return;
        };
        // Who asks and where comes first, and is answered.
        if link.exchange.is_greeting() || migration.error.is_some() && !migration.has_sent {
            return;
        }
        let compress = state.config.settings().rdb_compression;
        let request = &migration.request;
        while link.exchange.unwritten() < AHEAD
            && let Some(key) = request.keys.get(migration.next)
        {
            let number = migration.next;
            migration.next += 1;
            let mut db = state.keyspace.db(migration.db, state.now, true);
            let Some(entry) = db.peek(key) else {
                continue;
            };
            let ttl_ms = entry
                .expire_at()
                .map_or(0, |at_ms| at_ms.saturating_sub(state.now.unix_ms()).max(1));
            let payload = payload::dump_for_others(entry.stored(), compress);
            migration.has_sent = true;
            if !request.copies {
                state.keyspace.begin_move(migration.db, key);
            }
            link.exchange
                .restore(number, key, ttl_ms, payload, request.replaces);
        }
    }

    /// Answers the client if all is answered, and keeps the socket.
    fn end_if_over(&mut self, token: Token) {
        let Some(link) = self.state.migrations.links.get_mut(&token) else {
            return;
        };
        let Some(migration) = &link.user else {
            return;
        };
        let is_refused = migration.error.is_some() && !migration.has_sent;
        let is_through = is_refused || migration.next >= migration.request.keys.len();
        if !is_through || !link.exchange.is_over() {
            return;
        }
        link.deadline_ns = self.now_ns.saturating_add(KEPT_NS);
        if let Some(migration) = link.user.take() {
            let done = if migration.has_sent { "OK" } else { "NOKEY" };
            self.end(&migration, migration.error.as_ref().map_or(Ok(done), Err));
        }
    }

    /// A socket is of no use any more. Whoever used it is told of this error, unless it can be replaced.
    fn lose(&mut self, token: Token, error: &CommandError, may_be_replaced: bool) {
        let Some(mut link) = self.state.migrations.links.remove(&token) else {
            return;
        };
        self.state.migrations.ready.remove(&token);
        self.wire.close(token);
        let Some(mut migration) = link.user.take() else {
            return;
        };
        if !migration.request.copies {
            let keys = &migration.request.keys;
            let unanswered = link.exchange.unanswered();
            let unanswered = unanswered.filter_map(|key| keys.get(key));
            release(self.state, migration.db, unanswered);
        }
        // A server closes sockets that were silent for long, and tells nobody.
        let is_stale = link.is_used_again && !link.exchange.has_heard;
        if may_be_replaced && is_stale && std::mem::take(&mut migration.may_retry) {
            (migration.next, migration.has_sent) = (0, false);
            return self.start(migration, false);
        }
        self.end(&migration, Err(migration.error.as_ref().unwrap_or(error)));
    }

    fn close(&mut self, token: Token) {
        self.state.migrations.links.remove(&token);
        self.state.migrations.ready.remove(&token);
        self.wire.close(token);
    }

    /// Gives everything up, and closes all sockets.
    fn end_all(&mut self, error: &CommandError) {
        for migration in std::mem::take(&mut self.state.migrations.begun) {
            self.end(&migration, Err(error));
        }
        let tokens: Vec<Token> = self.state.migrations.links.keys().copied().collect();
        for token in tokens {
            self.lose(token, error, false);
        }
    }

    /// Gives up what has been silent for too long.
    fn expire(&mut self) {
        let links = self.state.migrations.links.iter();
        let over = links.filter(|(_, link)| link.deadline_ns <= self.now_ns);
        for token in over.map(|(token, _)| *token).collect::<Vec<_>>() {
            let Some(link) = self.state.migrations.links.get(&token) else {
                continue;
            };
            let error = match (link.is_connected, link.exchange.unwritten()) {
                (false, _) => &NOT_CONNECTED,
                (true, 0) => &NOT_READ,
                (true, _) => &NOT_WRITTEN,
            };
            self.lose(token, error, false);
        }
    }

    /// Answers whoever waits for a migration.
    fn end(&mut self, migration: &Migration, answer: Result<&'static str, &CommandError>) {
        let Some(key) = self.state.clients.by_id(migration.client) else {
            return;
        };
        let took_ns = self.now_ns.saturating_sub(migration.since_ns);
        match answer {
            Ok(text) => blocking::end_work(self.state, key, took_ns, text),
            Err(error) => blocking::give_up(self.state, key, took_ns, Some(error)),
        }
    }
}

/// A port as C's `atoi` reads it, or what Redis says of one where nobody can listen.
fn port(text: &[u8]) -> Result<u16, CommandError> {
    if text.starts_with(b"-") {
        return Err(NOT_CONNECTED);
    }
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = text.get(..digits).unwrap_or_default();
    let port = std::str::from_utf8(digits)
        .ok()
        .and_then(|it| it.parse().ok());
    port.filter(|port| *port != 0).ok_or(NOT_WRITTEN)
}

fn target_error(text: &[u8]) -> CommandError {
    CommandError::of_parts(&[b"ERR Target instance replied with error: ", text])
}

fn changed(key: &[u8]) -> CommandError {
    CommandError::of_parts(&[
        b"ERR Key changed while it was migrated, and stays: the target has what it was before: '",
        super::shown_cut(key),
        b"'",
    ])
}

/// Keys are on their way no more, and stay.
fn release<'k>(state: &mut State, db: usize, keys: impl Iterator<Item = &'k Vec<u8>>) {
    for key in keys {
        state.keyspace.end_move(db, key);
        state.migrations.has_released = true;
    }
}

/// Removes keys that the other server has; those that stay, because they have changed.
fn remove(state: &mut State, db: usize, client: u64, keys: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if keys.is_empty() {
        return Vec::new();
    }
    let lazily = state.config.settings().lazyfree_lazy_server_del;
    let free = if lazily { Free::Lazily } else { Free::Now };
    let by = state.clients.by_id(client);
    let (mut removed, mut stayed) = (Vec::new(), Vec::new());
    for key in keys {
        let has_changed = state.keyspace.end_move(db, key);
        let mut database = state.keyspace.db(db, state.now, true);
        if has_changed {
            if database.peek(key).is_some() {
                stayed.push(key.clone());
            }
        } else if database.remove(key, free) {
            database.signal_modified(EventClass::Generic, "del", key);
            removed.push(key.as_slice());
        }
    }
    state.migrations.has_released = true;
    // What went by its time, when it was looked at, goes to the journal before.
    let is_unit = state.journal.has_consumers();
    if is_unit {
        state.journal.begin_unit();
    }
    keyspace_events::drain(state, by);
    if !removed.is_empty() {
        let words: Vec<&[u8]> = [&b"DEL"[..]].into_iter().chain(removed).collect();
        let unix_s = state.now.unix_s();
        let words = words.iter().copied();
        state.journal.append_words(db, unix_s, Targets::ALL, words);
    }
    if is_unit {
        state.journal.end_unit();
    }
    if let Some(by) = by {
        super::propagate::note_write(state, by);
    }
    if state.keyspace.has_dirty_watchers() {
        transactions::mark_dirty(state);
    }
    stayed
}
