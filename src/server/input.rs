//! From a socket's bytes to commands: what a client sent is read, parsed in batches and run.
//!
//! In: a source that is ready, what its client holds already. Out: commands given to [`Core::execute`], and what is left
//! of an incomplete request, kept with the client. Mirrors `readQueryFromClient` and `processInputBuffer` of Redis.
//!
//! Invariants:
//! * While a request runs, its bytes are in a buffer that no one else owns (the shared read buffer or the client's
//!   own, taken out), so its arguments are borrowed and not copied.
//! * Bytes read and commands run of one client in one turn are bounded; what was left behind is looked at next turn.

use super::service::Core;
use crate::clients::{Blocked, ClientKey, ClientKind};
use crate::engine;
use crate::engine::budgets;
use crate::engine::replication::{primary, replica};
use crate::engine::{CommandId, Outcome};
use crate::event_loop::{EventLoop, Phase, Progress, Received, Token};
use crate::net::{COMMAND_BUDGET, READ_BUDGET};
use crate::observe::Executed;
use crate::resp::{Args, Limits, Parsed, ProtocolError, Span};
use crate::structures::Blob;
use std::io;
use zeroize::Zeroize;

/// Requests that are parsed before the first of them runs, so that the memory they will touch can be prefetched.
const BATCH: usize = 16;
/// What a client may send ahead before it has authenticated, bytes.
const UNAUTHENTICATED: usize = 1024 * 1024;
/// Arguments of one request beyond which it does not join a batch.
const MAX_MULTIBULK: usize = 1024 * 1024;
/// Spans that a batch has room for without giving it back.
const KEPT_SPANS: usize = 16 * 1024;

/// Requests that were parsed together; reused for every batch.
#[derive(Default)]
pub(super) struct Batch {
    spans: Vec<Span>,
    blobs: Vec<Blob>,
    requests: Vec<ParsedRequest>,
}

/// One request of a batch, as ranges of the bytes and of the batch's spans.
#[derive(Clone, Copy)]
struct ParsedRequest {
    start: usize,
    end: usize,
    first_span: usize,
    last_span: usize,
    /// The command that its name names; looked up together with the prefetch, which has to know where the keys are.
    command: Option<CommandId>,
}

impl Batch {
    fn args<'a>(&'a self, bytes: &'a [u8], request: &ParsedRequest) -> Args<'a> {
        let spans = &self.spans[request.first_span..request.last_span];
        Args::new(&bytes[request.start..request.end], spans, &self.blobs)
    }
    /// Gives back what a request with very many arguments has left.
    fn trim(&mut self) {
        if self.spans.capacity() > KEPT_SPANS {
            self.spans = Vec::new();
        }
        if self.blobs.capacity() > KEPT_SPANS {
            self.blobs = Vec::new();
        }
    }
}

/// What stopped the parsing of a batch.
enum Stop {
    /// The batch is full or the bytes are used up.
    Full,
    /// The last request is incomplete.
    Incomplete,
    /// A large bulk is on its way: so many bytes of its request stay in the buffer.
    Large(usize),
    /// The bytes are not the protocol.
    Error(ProtocolError),
}

/// What one read brought.
enum Input {
    /// Bytes, and where they are.
    Bytes(Read),
    /// There is nothing for now.
    Nothing,
    /// The peer has ended its side.
    Ended,
    /// The connection is broken.
    Failed,
}

/// Bytes that were read.
struct Read {
    len: usize,
    /// More may be there that no edge will tell of.
    more: bool,
    /// They are part of a large bulk, already in their place; else they are in the shared buffer.
    is_large: bool,
}

/// How far running a buffer came.
struct Ran {
    /// Bytes that are done with.
    consumed: usize,
    /// Bytes after those that are to be kept, the beginning of a request. (What a large bulk has taken is not.)
    keep: usize,
}

impl Core {
    /// Serves a client whose socket has bytes, or its end, to read.
    pub(super) fn read_client(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        token: Token,
    ) -> Progress {
        let Some(client) = self.state.clients.get_mut(key) else {
            return Progress::Drained;
        };
        // Its end is decided already, and the socket is closed with what it still holds.
        if !client.connection().is_open() {
            return Progress::Drained;
        }
        match &client.session.blocked {
            None => {}
            // It leaves its bytes in the socket; when it goes on it is put on the ready list.
            Some(Blocked::Script) => return Progress::Drained,
            Some(_) => {
                let progress = self.read_ahead(events, key, token);
                self.note_transport(events, key);
                return progress;
            }
        }
        // It has one as long as replies wait in it, and gives it back when they are written.
        if !client.reply.output().has_buffer()
            && let Some(buffer) = self.pool.pop()
        {
            client.reply.output_mut().install(buffer);
        }
        let id = client.session.id;
        self.note_ready(events, key);
        let progress = self.serve(events, key, token);
        self.state.budgets.served(id);
        self.note_transport(events, key);
        self.note_served(events, key, progress);
        progress
    }

    /// Runs what the client holds and reads on, until there is no more or a bound is reached.
    pub(super) fn serve(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        token: Token,
    ) -> Progress {
        let mut commands_left = COMMAND_BUDGET;
        let mut read_left = READ_BUDGET;
        let Some(client) = self.state.clients.get_mut(key) else {
            return Progress::Drained;
        };
        // What a bound or a wait left behind came first and runs first. No edge will tell of it.
        if std::mem::take(&mut client.connection_mut().query_mut().stalled) {
            self.run_held(events, key, &mut commands_left);
            if commands_left == 0 && self.is_served(key) {
                return Progress::MoreLeft;
            }
        }
        // Until the socket has no more, because its edge is spent; or until a bound is reached.
        while self.is_served(key) {
            let done = self.read_once(events, key, token, &mut read_left, &mut commands_left);
            if let Some(progress) = done {
                return progress;
            }
        }
        if self.waits(key) {
            // The edge is spent: what the socket still holds, perhaps an end, is told by no other.
            return self.read_ahead(events, key, token);
        }
        Progress::Drained
    }

    /// Whether the client's command waits, and bytes that come meanwhile are taken in.
    fn waits(&self, key: ClientKey) -> bool {
        self.state.clients.get(key).is_some_and(|client| {
            let blocked = &client.session.blocked;
            client.connection().is_open() && !matches!(blocked, None | Some(Blocked::Script))
        })
    }

    /// Takes in what a client sends while its command waits, without running it. Behind more than the system has room for
    /// its end would never be seen, and it would wait for ever; so, as in Redis, the bound is that of its query buffer
    /// (`client-query-buffer-limit`), beyond which it is closed.
    fn read_ahead(&mut self, events: &mut EventLoop, key: ClientKey, token: Token) -> Progress {
        let mut read_left = READ_BUDGET;
        loop {
            let read = match self.read_some(events, key, token) {
                Input::Bytes(read) => read,
                Input::Nothing => return Progress::Drained,
                Input::Ended => {
                    self.drop_waiting(key);
                    return Progress::Drained;
                }
                Input::Failed => {
                    self.state.clients.close(key, false);
                    return Progress::Drained;
                }
            };
            let Some(client) = self.state.clients.get_mut(key) else {
                return Progress::Drained;
            };
            // What comes may be whole requests: it is looked at when the client goes on.
            client.connection_mut().query_mut().stalled = true;
            if !read.is_large {
                let bytes = &self.scratch[..read.len];
                client.connection_mut().query_mut().append(bytes);
            }
            self.enforce_query_limit(key);
            read_left = read_left.saturating_sub(read.len);
            if self.is_gone(key) || !read.more {
                return Progress::Drained;
            }
            if read_left == 0 {
                return Progress::MoreLeft;
            }
        }
    }

    /// Reads once: into the large bulk that is on its way, or into the shared buffer.
    fn read_some(&mut self, events: &mut EventLoop, key: ClientKey, token: Token) -> Input {
        let Some(client) = self.state.clients.get_mut(key) else {
            return Input::Nothing;
        };
        let connection = client.connection_mut();
        let parser = &mut connection.query_mut().parser;
        // A large bulk is read to where it stays; it is not copied from the shared buffer.
        let (result, is_large) = match parser.large_wanted(READ_BUDGET) {
            Some(room) => {
                let result = events.read(token, room);
                if let Ok(received) = &result {
                    parser.large_filled(received.len);
                }
                (result, true)
            }
            None => (events.read(token, &mut self.scratch), false),
        };
        let Received { len, more } = match result {
            Ok(Received { len: 0, .. }) => return Input::Ended,
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Input::Nothing,
            // Over TLS, an end that the peer has not announced: what was whole before it runs and is answered all the same.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Input::Ended,
            Err(error) => {
                log::debug!("Reading from client: {error}");
                return Input::Failed;
            }
        };
        connection.was_read(len, events.turn_ns());
        self.state.observe.stats.reads_processed += 1;
        Input::Bytes(Read {
            len,
            more,
            is_large,
        })
    }

    /// Reads once and runs what came. `None`: go on reading; else the end of serving this client.
    fn read_once(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        token: Token,
        read_left: &mut usize,
        commands_left: &mut usize,
    ) -> Option<Progress> {
        let read = match self.read_some(events, key, token) {
            Input::Bytes(read) => read,
            Input::Nothing => return Some(Progress::Drained),
            Input::Ended => {
                if let Some(client) = self.state.clients.get(key) {
                    log::debug!("Client closed connection id={}", client.session.id);
                }
                // The end is that of its sending side only (`printf ... | nc`): it may still read, so what it is owed
                // is written, at the end of the turn like everybody's, before the connection closes. One that is gone
                // altogether fails the write.
                // A primary is owed nothing, and its link is to be made anew.
                let link = self.state.replication.link.as_ref();
                let is_primary = link.is_some_and(|link| link.client() == Some(key));
                self.state.clients.close(key, !is_primary);
                self.state.clients.mark_pending_write(key);
                return Some(Progress::Drained);
            }
            Input::Failed => {
                self.state.clients.close(key, false);
                return Some(Progress::Drained);
            }
        };
        // Of a large bulk there is nothing to run before the `\r\n` behind it, and that comes by the shared buffer.
        if !read.is_large {
            self.run_read(events, key, read.len, commands_left);
        }
        // Behind the run: what counts is what could not be run.
        self.enforce_query_limit(key);
        *read_left = read_left.saturating_sub(read.len);
        if !self.is_served(key) {
            // Gone, or it waits: the caller sees to that.
            return None;
        }
        // Also where the read said that there is no more: whole requests may be held.
        if *commands_left == 0 || *read_left == 0 {
            return Some(Progress::MoreLeft);
        }
        (!read.more).then_some(Progress::Drained)
    }

    /// Runs `n` bytes of the shared buffer, behind what the client already holds.
    fn run_read(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        n: usize,
        commands_left: &mut usize,
    ) {
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        // The usual case: requests run where they were read, and only the beginning of one that is not whole is copied.
        // The shared buffer is taken out meanwhile, so that arguments borrow from it while everything else may change.
        if client.connection().query().is_idle() {
            let scratch = std::mem::take(&mut self.scratch);
            let ran = self.run(events, key, &scratch[..n], commands_left);
            if let Some(client) = self.state.clients.get_mut(key) {
                let query = client.connection_mut().query_mut();
                query
                    .bytes
                    .extend_from_slice(&scratch[ran.consumed..ran.consumed + ran.keep]);
            }
            let mut scratch = scratch;
            self.wipe_secret(&mut scratch[..n]);
            self.scratch = scratch;
            return;
        }
        // The parser wants a request in one piece: this goes behind the beginning that is there.
        let query = client.connection_mut().query_mut();
        query.append(&self.scratch[..n]);
        self.run_held(events, key, commands_left);
    }

    /// Runs what the client holds in its own buffer.
    fn run_held(&mut self, events: &mut EventLoop, key: ClientKey, commands_left: &mut usize) {
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        let query = client.connection_mut().query_mut();
        let mut bytes = std::mem::take(&mut query.bytes);
        let done = std::mem::take(&mut query.done);
        // Nothing can come behind these bytes while they are away: only reading appends, and nobody reads within a run.
        let ran = self.run(events, key, &bytes[done..], commands_left);
        self.wipe_secret(&mut bytes[done..done + ran.consumed]);
        if let Some(client) = self.state.clients.get_mut(key) {
            let query = client.connection_mut().query_mut();
            query.bytes = bytes;
            query.bytes.truncate(done + ran.consumed + ran.keep);
            query.done = done;
            query.consume(ran.consumed);
        }
    }

    /// Overwrites bytes that have run, if a password was among them: these buffers live long, and hold what was last read
    /// until as much is read again. Not everything can be wiped: what the kernel and the network hold, the first part of a
    /// request that came in pieces until the next read, what MULTI has queued or the allocator has moved, and the
    /// passwords that answers show (CONFIG GET, and ACL SETUSER the rule that it refuses).
    #[inline]
    fn wipe_secret(&mut self, bytes: &mut [u8]) {
        if std::mem::take(&mut self.state.requests.had_secret) {
            bytes.zeroize();
        }
    }

    /// Whether the client's requests may go on running.
    fn is_served(&self, key: ClientKey) -> bool {
        let client = self.state.clients.get(key);
        client.is_some_and(|client| client.is_served())
    }

    /// Parses and runs requests from `bytes` until they are used up, incomplete, or a bound is reached.
    fn run(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        bytes: &[u8],
        commands_left: &mut usize,
    ) -> Ran {
        // The one look at the clock for these bytes; after each command its end is read, which is the next one's
        // beginning.
        self.refresh_clock(events);
        budgets::set_paying(&mut self.state, Some(key));
        let mut batch = std::mem::take(&mut self.batch);
        let ran = self.run_batches(events, key, bytes, commands_left, &mut batch);
        budgets::set_paying(&mut self.state, None);
        self.note_ran(events, key);
        batch.trim();
        self.batch = batch;
        self.state.clients.mark_pending_write(key);
        ran
    }

    /// Runs what was held back, then `bytes`, a batch at a time: the requests of a batch are parsed before the first of
    /// them runs.
    fn run_batches(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        bytes: &[u8],
        commands_left: &mut usize,
        batch: &mut Batch,
    ) -> Ran {
        let dropped = Ran {
            consumed: bytes.len(),
            keep: 0,
        };
        // They were parsed before these bytes came, so these stay where they are until those have run.
        if !self.run_parsed(events, key, commands_left) {
            return if self.is_gone(key) {
                dropped
            } else {
                Ran {
                    consumed: 0,
                    keep: bytes.len(),
                }
            };
        }
        let mut at = 0;
        loop {
            // What ran before this batch ends here.
            events.mark_at(Phase::Execute, self.state.now.mono_ns);
            let stop = self.parse_batch(key, bytes, &mut at, batch, *commands_left);
            self.prefetch(key, bytes, batch);
            self.note_parsed(events);
            // All of the batch at once, though one of it may stop the rest.
            *commands_left = commands_left.saturating_sub(batch.requests.len());
            if !self.run_batch(events, key, bytes, batch) {
                return dropped;
            }
            let left = bytes.len() - at;
            match stop {
                Stop::Incomplete => {
                    return Ran {
                        consumed: at,
                        keep: left,
                    };
                }
                Stop::Large(keep) => return Ran { consumed: at, keep },
                // Answered behind the requests before it, as they came. Nothing that follows can be understood.
                Stop::Error(error) if self.is_served(key) => {
                    self.protocol_error(key, error);
                    return dropped;
                }
                // The error is found again when the requests before it have run.
                Stop::Error(_) => {
                    return Ran {
                        consumed: at,
                        keep: left,
                    };
                }
                Stop::Full if left == 0 => {
                    return Ran {
                        consumed: at,
                        keep: 0,
                    };
                }
                Stop::Full => {}
            }
            if *commands_left == 0 || !self.is_served(key) {
                // Whole requests may be left, which no read will bring again.
                if let Some(client) = self.state.clients.get_mut(key) {
                    client.connection_mut().query_mut().stalled = true;
                }
                return Ran {
                    consumed: at,
                    keep: left,
                };
            }
        }
    }

    /// Runs the requests of a batch, and keeps those that cannot run now; whether the client is still there.
    #[inline]
    fn run_batch(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        bytes: &[u8],
        batch: &Batch,
    ) -> bool {
        for (index, request) in batch.requests.iter().enumerate() {
            let args = batch.args(bytes, request);
            let outcome = self.execute(events, key, request.command, args);
            // Those behind it are parsed already, and their bytes are about to be dropped: they are kept whole. The
            // one that was postponed has not run, and is the first of them; one that waits or has closed its client
            // has.
            if outcome == Outcome::Postponed || !self.is_served(key) {
                if self.is_gone(key) {
                    return false;
                }
                let next = if outcome == Outcome::Postponed {
                    index
                } else {
                    index + 1
                };
                self.hold_back(key, bytes, batch, next);
                break;
            }
        }
        true
    }

    /// Whether the client is on its way out, so that what is left of its input is of no interest.
    pub(super) fn is_gone(&self, key: ClientKey) -> bool {
        let client = self.state.clients.get(key);
        client.is_none_or(|client| !client.connection().is_open())
    }

    /// Runs requests that were held back; whether the client may go on.
    fn run_parsed(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        commands_left: &mut usize,
    ) -> bool {
        loop {
            let Some(client) = self.state.clients.get_mut(key) else {
                return false;
            };
            let query = client.connection_mut().query_mut();
            let Some(mut request) = query.parsed.pop_front() else {
                return true;
            };
            // The bound is for these too: a client can have very many of them behind a pause.
            if *commands_left == 0 {
                query.parsed.push_front(request);
                query.stalled = true;
                return false;
            }
            *commands_left -= 1;
            let command = self.state.table.find(request.args().at(0));
            let outcome = self.execute(events, key, command, request.args());
            let is_served = self.is_served(key);
            if !is_served && let Some(client) = self.state.clients.get_mut(key) {
                let query = client.connection_mut().query_mut();
                if outcome == Outcome::Postponed {
                    query.parsed.push_front(std::mem::take(&mut request));
                }
                // What follows waits with it, and is looked at when it goes on.
                query.stalled = true;
            }
            if std::mem::take(&mut self.state.requests.had_secret) {
                request.wipe();
            }
            if !is_served {
                return false;
            }
        }
    }

    /// Keeps the requests from `next` on until the client may go on.
    fn hold_back(&mut self, key: ClientKey, bytes: &[u8], batch: &Batch, next: usize) {
        // They are wiped where they lie now; what they are kept in, when they have run.
        let mut rest = batch.requests[next..].iter();
        let state = &mut self.state;
        let has_secret =
            rest.any(|request| engine::process::may_carry_secrets(state, request.command));
        state.requests.had_secret |= has_secret;
        if let Some(client) = self.state.clients.get_mut(key) {
            let query = client.connection_mut().query_mut();
            query.stalled = true;
            let rest = batch.requests[next..].iter();
            query
                .parsed
                .extend(rest.map(|request| batch.args(bytes, request).to_owned()));
        }
    }

    /// Fills the batch with whole requests from `at` on.
    fn parse_batch(
        &mut self,
        key: ClientKey,
        bytes: &[u8],
        at: &mut usize,
        batch: &mut Batch,
        most: usize,
    ) -> Stop {
        batch.spans.clear();
        batch.blobs.clear();
        batch.requests.clear();
        let settings = self.state.config.settings();
        let Some(client) = self.state.clients.get_mut(key) else {
            return Stop::Full;
        };
        let authenticated = !client.session.identity.is_stranger();
        let is_primary = client.session.kind == ClientKind::Primary;
        let limits = if is_primary {
            // All is within the bounds of the primary, and goes on to replicas byte by byte.
            Limits {
                proto_max_bulk_len: usize::MAX,
                large_bulk_len: usize::MAX,
                ..Limits::default()
            }
        } else {
            Limits {
                proto_max_bulk_len: settings.proto_max_bulk_len,
                proto_inline_max_size: settings.proto_inline_max_size,
                max_multibulk: MAX_MULTIBULK,
                authenticated,
                ..Limits::default()
            }
        };
        let parser = &mut client.connection_mut().query_mut().parser;
        let mut link = match is_primary {
            true => self.state.replication.link.as_deref_mut(),
            false => None,
        };
        let mut has_empty = false;
        // AUTH changes the limits of the request after it.
        let most = if authenticated { most.min(BATCH) } else { 1 };
        let mut stop = None;
        while stop.is_none() && batch.requests.len() < most && *at < bytes.len() {
            let first_span = batch.spans.len();
            let parsed = parser.parse(&bytes[*at..], &mut batch.spans, &mut batch.blobs, &limits);
            match parsed {
                Ok(Parsed::Request { consumed }) => {
                    let (start, end) = (*at, *at + consumed);
                    if let Some(link) = &mut link {
                        replica::parsed(link, &bytes[start..end], true);
                    }
                    let last_span = batch.spans.len();
                    batch.requests.push(ParsedRequest {
                        start,
                        end,
                        first_span,
                        last_span,
                        command: None,
                    });
                    *at = end;
                }
                Ok(Parsed::Empty { consumed }) => {
                    if let Some(link) = &mut link {
                        replica::parsed(link, &bytes[*at..*at + consumed], false);
                    }
                    has_empty = true;
                    *at += consumed;
                }
                Ok(Parsed::Large { keep }) => stop = Some(Stop::Large(keep)),
                Ok(Parsed::Incomplete) => stop = Some(Stop::Incomplete),
                Err(error) => stop = Some(Stop::Error(error)),
            }
        }
        if has_empty && self.state.replication.attached > 0 {
            // A replica that loads shows that it is there.
            primary::is_alive(&mut self.state, key);
        }
        stop.unwrap_or(Stop::Full)
    }

    /// Looks the names of a batch up, and brings the memory that its commands will look at into the cache: all buckets
    /// first, then all entries, so that the waits overlap instead of adding up.
    fn prefetch(&mut self, key: ClientKey, bytes: &[u8], batch: &mut Batch) {
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        let db = client.session.db;
        let alone = batch.requests.len() < 2;
        let mut hashes = [0u64; BATCH];
        let mut found = 0;
        for index in 0..batch.requests.len() {
            let args = batch.args(bytes, &batch.requests[index]);
            let command = self.state.table.find(args.at(0));
            // One key stands for the command: most have no other.
            let first = command.map_or(0, |id| self.state.table.get(id).first_key as usize);
            if let (true, Some(name)) = (first > 0 && !alone, args.get(first)) {
                let hash = self.state.keyspace.hash(name);
                self.state.keyspace.prefetch(db, hash, 0);
                hashes[found] = hash;
                found += 1;
            }
            // Kept for the run, which need not look the name up again.
            batch.requests[index].command = command;
        }
        for hash in &hashes[..found] {
            self.state.keyspace.prefetch(db, *hash, 1);
        }
    }

    /// Runs one request and drains what it wants to happen beyond itself.
    pub(super) fn execute(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        command: Option<CommandId>,
        args: Args<'_>,
    ) -> Outcome {
        if args.is_empty() {
            return Outcome::Done;
        }
        // Before each command and not once a turn: what others were sent meanwhile may be over `maxmemory-clients`, and
        // this client may be the one that goes for it.
        if self.state.clients.counts_memory {
            engine::client_eviction::evict(&mut self.state);
            if !self.is_served(key) {
                return Outcome::Done;
            }
        }
        let before_ns = self.state.now.mono_ns;
        let waiting = self.state.clients.waiting;
        let link = self.state.replication.link.as_ref();
        let is_primary = link.is_some_and(|link| link.client() == Some(key));
        let owed = self.state.replication.attached > 0;
        let owed = owed.then(|| primary::owed(&self.state, key)).flatten();
        let (state, mut host) = self.state_and_host(events);
        let outcome = engine::process::process_found(state, &mut host, key, command, args);
        if let Some(owed) = owed {
            primary::answered(&mut self.state, key, owed, args);
        }
        if outcome == Outcome::Postponed || self.state.clients.waiting > waiting {
            // Its end may have been told before it began to wait; it is told once.
            self.drop_if_gone(events, key);
        }
        if outcome == Outcome::Done {
            self.note_command(events, key, before_ns);
            if is_primary {
                replica::ran(&mut self.state, key);
            }
        }
        // In this order: what the command has asked for and the limits may close its client and others, and who is
        // closed is out of all lists before anyone is served from them.
        self.do_requested(events, key);
        self.enforce_output_limit(events, key);
        self.enforce_pushed_limits(events);
        self.detach_closing();
        if self.state.keyspace.has_ready() || !self.state.clients.unblocked.is_empty() {
            self.serve_waiting(events);
        }
        outcome
    }

    /// Does what the commands of a client have asked the loop for.
    #[inline]
    pub(super) fn do_requested(&mut self, events: &mut EventLoop, key: ClientKey) {
        let requests = &self.state.requests;
        if requests.close_caller.is_some() || requests.shutdown.is_some() || requests.unpaused {
            self.do_requested_now(events, key);
        }
    }

    #[cold]
    fn do_requested_now(&mut self, events: &mut EventLoop, key: ClientKey) {
        // Taken before anything is done: what follows may run commands that ask anew.
        let requests = &mut self.state.requests;
        let (closes, shutdown) = (requests.close_caller.take(), requests.shutdown.take());
        let unpaused = std::mem::take(&mut requests.unpaused);
        if let Some(caller) = closes {
            self.state.clients.close(caller, true);
        }
        if let Some(shutdown) = shutdown {
            self.shut_down(events, shutdown, Some(key));
        }
        if unpaused {
            self.resume_held(events);
        }
    }

    /// Answers bytes that are not the protocol, and closes: where the next request would begin cannot be known.
    fn protocol_error(&mut self, key: ClientKey, error: ProtocolError) {
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        log::debug!(
            "Protocol error ({}) from client: id={}",
            error.log_text(),
            client.session.id
        );
        client.reply.error(error.reply());
        let id = client.session.id;
        self.state
            .observe
            .executed(|| Executed::ProtocolError { client: id });
        let code = client.reply.last_error_code().to_vec();
        self.state.observe.error_replied(&code);
        let is_primary = client.session.kind == ClientKind::Primary;
        self.state.clients.close(key, !is_primary);
        if is_primary && let Some(link) = &mut self.state.replication.link {
            log::warn!("Protocol error from the master: its stream is not gone on with");
            link.is_corrupt = true;
        }
    }

    /// Cuts a client off that holds more input than it may: bytes of unfinished requests, requests held back, and its
    /// queue of MULTI.
    fn enforce_query_limit(&mut self, key: ClientKey) {
        // What came in counts for `maxmemory-clients` as well.
        engine::client_eviction::count(&mut self.state, key);
        let limit = self.state.config.settings().client_query_buffer_limit;
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        let (session, connection) = (&client.session, client.connection());
        let queued = session.transaction.as_ref();
        let queued = queued.map_or(0, |it| it.queue_bytes);
        let held = connection.query().waiting_bytes().saturating_add(queued);
        // Strangers may have little: whoever can connect could fill the memory otherwise.
        if session.kind == ClientKind::Primary {
            return;
        }
        let is_over = held > limit || (held > UNAUTHENTICATED && session.identity.is_stranger());
        if is_over && !connection.is_closing() {
            log::warn!(
                "Closing client that reached max query buffer length: id={} addr={} (qbuf {held})",
                session.id,
                connection.address()
            );
            self.state
                .observe
                .stats
                .client_query_buffer_limit_disconnections += 1;
            self.state.clients.close(key, false);
        }
    }
}
