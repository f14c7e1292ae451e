//! HTTP on the same loop: metrics, health, the trace, the live page.
//!
//! In: connections of the listeners of `http-port`, which are sources of the same loop as every client's. Out: answers
//! to GET and HEAD. A request reads; there is none that runs a command or changes anything. Whoever does not read what
//! is sent is dropped, never waited for.
//!
//! | file | what |
//! | --- | --- |
//! | `connection` | one connection: a request's head, the bytes that wait to be written |
//! | `credentials` | who may ask |
//! | `routes` | what is at which path |
//! | `metrics` | `/metrics`: OpenMetrics text |
//! | `trace` | `/trace`: recorded turns as trace events, a part each turn |
//! | `live` | `/events`: what the page shows, four times a second |
//!
//! Invariants:
//! * Bytes that wait for one connection are bounded: a response has a bounded length, a trace is made a part at a time
//!   when the last part is gone, a viewer that is `MOST_OUTPUT` of `connection.rs` behind is dropped.
//! * Requests of one connection are answered one after the other, and a bounded number in one turn.

mod connection;
mod credentials;
mod json;
mod live;
mod metrics;
mod routes;
mod trace;

use super::endpoints::{Endpoint, TimerOwner};
use super::service::Core;
use crate::config::Settings;
use crate::engine::permissions;
use crate::event_loop::{Accepted, EventLoop, Peer, Progress, Received, Token};
use crate::net::HostKey;
use connection::{Connection, Taken};
use slab::Slab;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

/// Connections at one time. One more takes the place of the one that has asked for nothing for the longest time; where
/// all are busy, it is told to come later.
const MOST_CONNECTIONS: usize = 128;
/// So many of these places, the last ones, are for those who ask whether the server lives.
const PROBE_PLACES: usize = 8;
/// Listeners of `http-bind` that are reckoned with.
const LISTENERS: usize = 4;
/// Requests of one connection that are answered in one turn, and of all of them.
const REQUESTS_PER_TURN: usize = 8;
const ALL_REQUESTS_PER_TURN: usize = 32;
/// Bytes that are written to all of them in one turn.
const ALL_BYTES_PER_TURN: usize = 1024 * 1024;
/// A connection that says nothing for so long is closed, ns.
const IDLE_NS: u64 = 60_000_000_000;

/// Index of a connection in the slab; used again as soon as the connection is closed, so it is kept by the table of
/// endpoints alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HttpKey(usize);

/// The connections, and the clock of those who watch.
#[derive(Default)]
pub(super) struct Http {
    connections: Slab<Box<Connection>>,
    /// Those of them that may ask for anything.
    open_to_all: usize,
    /// Connections that watch the loop.
    pub(super) viewers: usize,
    live: live::Live,
    /// What may still be done in this turn.
    requests_left: usize,
    bytes_left: usize,
    /// Connections that had their share in this turn and have more: they come behind those that had none.
    served: Vec<Token>,
    /// The text of `/metrics` that was made in this turn, for all who ask in it.
    metrics: Option<Vec<u8>>,
}

/// Descriptors that the pages need at most.
pub(super) fn descriptors(settings: &Settings) -> u32 {
    match settings.http_port {
        0 => 0,
        _ => (MOST_CONNECTIONS + LISTENERS) as u32,
    }
}

impl Http {
    fn get(&mut self, key: HttpKey) -> Option<&mut Connection> {
        self.connections.get_mut(key.0).map(Box::as_mut)
    }

    /// Keys of all connections.
    fn keys(&self) -> Vec<HttpKey> {
        let open = self.connections.iter();
        open.map(|(index, _)| HttpKey(index)).collect()
    }
}

/// What was to be written is written, or the socket is full, or gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    All,
    Some,
    /// The socket would take more, but not in this turn.
    Bounded,
    Gone,
}

impl Core {
    /// A listener of `http-port` took a connection.
    pub(super) fn http_accepted(&mut self, events: &mut EventLoop, accepted: &Accepted) {
        let token = accepted.token;
        // A place that becomes free is of the kind that it was: those for probes stay for probes.
        let may_all = self.http.open_to_all < MOST_CONNECTIONS - PROBE_PLACES
            || self.http_displace(events, false);
        let is_full =
            self.http.connections.len() >= MOST_CONNECTIONS && !self.http_displace(events, true);
        if is_full {
            // As far as the socket takes it, which is all of so short a line: it has just been opened.
            let busy = routes::plain(503, "too many connections\n").bytes(false, false);
            let _ = events.write(token, &[io::IoSlice::new(&busy)]);
            self.endpoints.close(events, token);
            return;
        }
        let (is_local, is_from_here) = match &accepted.peer {
            Peer::Inet { local, remote } => (
                local.ip().to_canonical().is_loopback(),
                remote.ip().to_canonical().is_loopback(),
            ),
            Peer::Unix(_) => (true, true),
        };
        let mut connection = Connection::new(token, events.turn_ns(), is_local);
        connection.is_from_here = is_from_here;
        connection.host = match &accepted.peer {
            Peer::Inet { remote, .. } if !is_from_here => Some(HostKey::of(remote.ip())),
            Peer::Inet { .. } | Peer::Unix(_) => None,
        };
        connection.only_probes = !may_all;
        let key = HttpKey(self.http.connections.insert(Box::new(connection)));
        self.endpoints.register(token, Endpoint::Http(key));
        self.http.open_to_all += usize::from(may_all);
    }

    /// Closes the connection that has asked for nothing for the longest time, of those in places for probes or of the
    /// others; whether there was one.
    fn http_displace(&mut self, events: &mut EventLoop, only_probes: bool) -> bool {
        let connections = self.http.connections.iter();
        let idle = connections.filter_map(|(index, connection)| {
            // One that is busy has an answer on its way, or watches.
            let is_idle = connection.only_probes == only_probes && !connection.is_busy();
            is_idle.then_some((connection.last_ns, HttpKey(index)))
        });
        let Some((_, oldest)) = idle.min() else {
            return false;
        };
        log::debug!("An idle HTTP connection makes room for a new one");
        self.http_close(events, oldest);
        true
    }

    /// A turn begins: all that the pages may do in one is still to be done.
    pub(super) fn http_turn_begins(&mut self) {
        self.http.requests_left = ALL_REQUESTS_PER_TURN;
        self.http.bytes_left = ALL_BYTES_PER_TURN;
        self.http.metrics = None;
    }

    /// The turn ends: those that have more to be done are served again in the next one, behind those that had nothing.
    pub(super) fn http_turn_ends(&mut self, events: &mut EventLoop) {
        for token in self.http.served.drain(..) {
            events.carry(token);
        }
    }

    /// Bytes came, or room to write.
    pub(super) fn http_readable(&mut self, events: &mut EventLoop, key: HttpKey) -> Progress {
        // First what waits: while an answer is on its way no other request is read, so that what waits for one
        // connection is bounded.
        if !self.http_write(events, key) {
            return Progress::Drained;
        }
        // Until a read says otherwise.
        let mut more = true;
        for _ in 0..REQUESTS_PER_TURN {
            let is_over = self.http.requests_left == 0;
            let Some(connection) = self.http.get(key) else {
                return Progress::Drained;
            };
            if connection.is_busy() {
                // The next request waits for the answer to this one.
                return Progress::Drained;
            }
            if is_over {
                // All of them together have had their share of this turn.
                return Progress::MoreLeft;
            }
            match connection.take_request() {
                Taken::Request(request) => {
                    self.http.requests_left -= 1;
                    self.http_answer(events, key, &request);
                    if !self.http_write(events, key) {
                        return Progress::Drained;
                    }
                }
                Taken::Wrong(status, text) => {
                    let response = routes::plain(status, text);
                    if let Some(connection) = self.http.get(key) {
                        connection.respond(&response, false, true);
                    }
                    self.http_write(events, key);
                    return Progress::Drained;
                }
                Taken::Incomplete if !more => return Progress::Drained,
                Taken::Incomplete => match connection.read(events) {
                    Ok(Received { len: 0, .. }) => {
                        self.http_close(events, key);
                        return Progress::Drained;
                    }
                    Ok(received) => more = received.more,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Progress::Drained;
                    }
                    Err(_) => {
                        self.http_close(events, key);
                        return Progress::Drained;
                    }
                },
            }
        }
        if let Some(connection) = self.http.get(key) {
            // It has had its share. Not carried at once: others may have had nothing, and are served before it in the
            // next turn.
            let token = connection.token;
            self.http.served.push(token);
        }
        Progress::Drained
    }

    /// The socket takes bytes again.
    pub(super) fn http_writable(&mut self, events: &mut EventLoop, key: HttpKey) {
        let was_busy = self.http.get(key).is_some_and(|it| it.is_busy());
        // What came while the answer was on its way was not read, though its edge was told: it is looked for now.
        if self.http_write(events, key)
            && let Some(connection) = self.http.get(key)
            && !connection.is_busy()
            && (was_busy || connection.has_input())
        {
            events.carry(connection.token);
        }
    }

    fn http_answer(&mut self, events: &mut EventLoop, key: HttpKey, request: &connection::Request) {
        let host = self.http.get(key).and_then(|connection| connection.host);
        // A password is worth no less to who guesses it here.
        let tries = host.filter(|_| request.authorization.is_some());
        let (limits, now_ns) = (permissions::auth_limits(&self.state), events.turn_ns());
        if let Some(host) = tries
            && self.state.auth_failures.must_wait(host, limits, now_ns)
        {
            let late = routes::plain(429, "too many wrong passwords from this address\n");
            if let Some(connection) = self.http.get(key) {
                connection.respond(&late, request.is_head, true);
            }
            return;
        }
        let settings = self.state.config.settings();
        let state = &self.state;
        let default = state.users.default_user();
        let is_open = default.has_nopass() && permissions::may_watch(state, default);
        let watcher = RefCell::new(is_open.then(|| Rc::clone(default)));
        let is_right = |name: Option<&[u8]>, password: &[u8]| {
            let found = permissions::watcher(state, name, password);
            let is_right = found.is_some();
            watcher.replace(found);
            is_right
        };
        let Some(connection) = self.http.get(key) else {
            return;
        };
        let asker = routes::Asker {
            is_right: (!is_open).then_some(&is_right),
            is_local: connection.is_local,
            is_kept_out: settings.protected_mode && !connection.is_from_here,
            only_probes: connection.only_probes,
        };
        let admitted = routes::admit(request, &asker);
        connection.watcher = watcher.into_inner();
        let response = match admitted {
            Ok(route) => self.http_route(events, key, route, request),
            Err(refusal) => Some(refusal),
        };
        if let Some(host) = tries
            && response.as_ref().is_some_and(|it| it.status == 401)
        {
            self.state.observe.stats.denied_auth += 1;
            self.state.auth_failures.failed(host, limits, now_ns);
        }
        if let (Some(response), Some(connection)) = (response, self.http.get(key)) {
            // A place for probes is free again behind each answer.
            let closes = !request.keep_alive || connection.only_probes;
            connection.respond(&response, request.is_head, closes);
        }
    }

    /// What is at a path. None: the connection has become a stream.
    fn http_route(
        &mut self,
        events: &mut EventLoop,
        key: HttpKey,
        route: routes::Route,
        request: &connection::Request,
    ) -> Option<routes::Response> {
        use routes::Route;
        match route {
            Route::Page => Some(routes::page()),
            Route::Health => Some(routes::plain(200, "ok\n")),
            Route::Ready if self.state.persistence.loading.is_some() => {
                Some(routes::plain(503, "loading\n"))
            }
            Route::Ready => match crate::engine::admit::unkept(&self.state) {
                // It answers reads, but whoever writes is to go elsewhere.
                Some(unkept) => Some(routes::plain(503, &format!("{unkept}\n"))),
                None => Some(routes::plain(200, "ready\n")),
            },
            Route::Metrics => {
                // Made once in a turn, however many ask for it.
                if let Some(text) = &self.http.metrics {
                    return Some(routes::with_type(metrics::CONTENT_TYPE, text.clone()));
                }
                let (state, mut host) = self.state_and_host(events);
                let mut text = metrics::text(state, &mut host);
                metrics::phases(&mut text, events.recorder(), self.http.viewers);
                let text: Vec<u8> = text.into();
                self.http.metrics = Some(text.clone());
                Some(routes::with_type(metrics::CONTENT_TYPE, text))
            }
            Route::Trace => {
                let turns = request.number("turns").unwrap_or(trace::DEFAULT_TURNS);
                let cursor = trace::Cursor::newest(events.recorder(), turns);
                self.http.get(key)?.begin_trace(cursor, request);
                None
            }
            Route::Events if request.is_head => Some(routes::with_type(live::CONTENT_TYPE, "")),
            Route::Events => {
                // The answer has no end: the connection is a viewer's from here on.
                self.http.get(key)?.begin_events();
                self.http.viewers += 1;
                self.http_watch(events);
                None
            }
        }
    }

    /// Sends what a watching connection is to see first, and sets the clock for the rest.
    fn http_watch(&mut self, events: &mut EventLoop) {
        if !self.timers.is_set(TimerOwner::HttpEvents) {
            let now_ns = events.turn_ns();
            self.timers.set(events, TimerOwner::HttpEvents, now_ns);
        }
    }

    /// The clock of those who watch: all get the same event.
    pub(super) fn http_tick(&mut self, events: &mut EventLoop) {
        // The timer is not set again: where nobody watches the loop need not wake up for it.
        if self.http.viewers == 0 {
            return;
        }
        let used_memory = events.seam().observed(self.gauge.used());
        let event = live::event(&mut self.http.live, &self.state, events, used_memory);
        for key in self.http.keys() {
            let Some(connection) = self.http.get(key) else {
                continue;
            };
            if !connection.is_viewer() {
                continue;
            }
            // Asked when it came; its user may have gone since.
            let watcher = connection.watcher.as_ref();
            if !watcher.is_some_and(|user| permissions::may_watch(&self.state, user)) {
                self.http_close(events, key);
                continue;
            }
            if connection.push_event(&event) {
                self.http_write(events, key);
            } else {
                log::debug!("Dropping a viewer that does not read");
                self.http_close(events, key);
            }
        }
        let next = events.turn_ns().saturating_add(live::PERIOD_NS);
        self.timers.set(events, TimerOwner::HttpEvents, next);
    }

    /// Writes what waits; whether the connection is still there.
    fn http_write(&mut self, events: &mut EventLoop, key: HttpKey) -> bool {
        let Some(connection) = self.http.connections.get_mut(key.0) else {
            return false;
        };
        let before = self.http.bytes_left;
        match connection.write(events, &mut self.http.bytes_left) {
            Written::Gone => {
                self.http_close(events, key);
                false
            }
            Written::All if connection.closes => {
                self.http_close(events, key);
                false
            }
            Written::Bounded => {
                // One that has written has had its share, and comes behind those that could not.
                match self.http.bytes_left < before {
                    true => self.http.served.push(connection.token),
                    false => events.carry(connection.token),
                }
                true
            }
            Written::All | Written::Some => true,
        }
    }

    fn http_close(&mut self, events: &mut EventLoop, key: HttpKey) {
        if let Some(connection) = self.http.connections.try_remove(key.0) {
            self.http.open_to_all -= usize::from(!connection.only_probes);
            self.http.viewers -= usize::from(connection.is_viewer());
            self.endpoints.close(events, connection.token);
        }
    }

    /// Closes connections that have said nothing for long, or do not take what they asked for; with each sample of figures.
    pub(super) fn http_sweep(&mut self, events: &mut EventLoop) {
        if !self.listeners.has_http() {
            // The pages were switched off: whoever watches them goes too.
            self.http_close_all(events);
            return;
        }
        let now = events.turn_ns();
        for key in self.http.keys() {
            // A viewer that has taken all that there was is not idle: it sends nothing.
            if let Some(connection) = self.http.get(key)
                && now.saturating_sub(connection.last_ns) > IDLE_NS
                && !(connection.is_viewer() && connection.is_written())
            {
                self.http_close(events, key);
            }
        }
    }

    /// Closes all, with their listeners' end.
    pub(super) fn http_close_all(&mut self, events: &mut EventLoop) {
        for key in self.http.keys() {
            self.http_close(events, key);
        }
    }
}
