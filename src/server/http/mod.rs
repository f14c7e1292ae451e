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
//!   when the last part is gone, a viewer that is [`connection::MOST_OUTPUT`] behind is dropped.
//! * Requests of one connection are answered one after the other, and a bounded number in one turn.

mod connection;
mod credentials;
mod json;
mod live;
mod metrics;
mod routes;
mod trace;

use super::host::LoopHost;
use super::service::Core;
use crate::event_loop::{Accepted, EventLoop, Peer, Progress, TimerId, Token};
use connection::{Connection, Taken};
use std::io;

/// Connections at one time; one more is told to come later.
const MOST_CONNECTIONS: usize = 128;
/// Requests of one connection that are answered in one turn.
const REQUESTS_PER_TURN: usize = 8;
/// A connection that says nothing for so long is closed, ns.
const IDLE_NS: u64 = 60_000_000_000;

/// The connections, and the clock of those who watch.
#[derive(Default)]
pub(super) struct Http {
    /// By token.
    connections: Vec<Option<Box<Connection>>>,
    open: usize,
    /// Connections that watch the loop.
    pub(super) viewers: usize,
    pub(super) timer: Option<TimerId>,
    live: live::Live,
}

impl Http {
    fn get(&mut self, token: Token) -> Option<&mut Connection> {
        self.connections.get_mut(token.0)?.as_deref_mut()
    }

    /// Whether a source is one of these connections.
    pub(super) fn has(&self, token: Token) -> bool {
        self.connections.get(token.0).is_some_and(Option::is_some)
    }

    /// Tokens of all connections.
    fn tokens(&self) -> Vec<Token> {
        let open = self.connections.iter().enumerate();
        open.filter_map(|(index, connection)| connection.is_some().then_some(Token(index)))
            .collect()
    }
}

/// What was to be written is written, or the socket is full, or gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    All,
    Some,
    Gone,
}

impl Core {
    /// A listener of `http-port` took a connection.
    pub(super) fn http_accepted(&mut self, events: &mut EventLoop, accepted: &Accepted) {
        let token = accepted.token;
        if self.http.open >= MOST_CONNECTIONS {
            let busy = routes::plain(503, "too many connections\n").bytes(false, false);
            let _ = events.write(token, &[io::IoSlice::new(&busy)]);
            events.close(token);
            return;
        }
        if self.http.connections.len() <= token.0 {
            self.http.connections.resize_with(token.0 + 1, || None);
        }
        let is_local = match &accepted.peer {
            Peer::Inet { local, .. } => local.ip().to_canonical().is_loopback(),
            Peer::Unix(_) => true,
        };
        let connection = Connection::new(events.turn_ns(), is_local);
        self.http.connections[token.0] = Some(Box::new(connection));
        self.http.open += 1;
    }

    /// Bytes came, or room to write.
    pub(super) fn http_readable(&mut self, events: &mut EventLoop, token: Token) -> Progress {
        if !self.http_write(events, token) {
            return Progress::Drained;
        }
        for _ in 0..REQUESTS_PER_TURN {
            let Some(connection) = self.http.get(token) else {
                return Progress::Drained;
            };
            if connection.is_busy() {
                // The next request waits for the answer to this one.
                return Progress::Drained;
            }
            match connection.take_request() {
                Taken::Request(request) => {
                    self.http_answer(events, token, &request);
                    if !self.http_write(events, token) {
                        return Progress::Drained;
                    }
                }
                Taken::Wrong(status, text) => {
                    let response = routes::plain(status, text);
                    if let Some(connection) = self.http.get(token) {
                        connection.respond(&response, false, true);
                    }
                    self.http_write(events, token);
                    return Progress::Drained;
                }
                Taken::Incomplete => match connection.read(events, token) {
                    Ok(0) => {
                        self.http_close(events, token);
                        return Progress::Drained;
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Progress::Drained;
                    }
                    Err(_) => {
                        self.http_close(events, token);
                        return Progress::Drained;
                    }
                },
            }
        }
        Progress::MoreLeft
    }

    /// The socket takes bytes again.
    pub(super) fn http_writable(&mut self, events: &mut EventLoop, token: Token) {
        let was_busy = self.http.get(token).is_some_and(|it| it.is_busy());
        // What came while the answer was on its way was not read, though its edge was told: it is looked for now.
        if self.http_write(events, token)
            && self
                .http
                .get(token)
                .is_some_and(|it| !it.is_busy() && (was_busy || it.has_input()))
        {
            events.carry(token);
        }
    }

    fn http_answer(&mut self, events: &mut EventLoop, token: Token, request: &connection::Request) {
        let password = self.state.config.settings().requirepass.clone();
        let is_local = self.http.get(token).is_some_and(|it| it.is_local);
        let response = match routes::admit(request, password.as_deref(), is_local) {
            Ok(route) => self.http_route(events, token, route, request),
            Err(refusal) => Some(refusal),
        };
        if let (Some(response), Some(connection)) = (response, self.http.get(token)) {
            connection.respond(&response, request.is_head, !request.keep_alive);
        }
    }

    /// What is at a path. None: the connection has become a stream.
    fn http_route(
        &mut self,
        events: &mut EventLoop,
        token: Token,
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
            Route::Ready => Some(routes::plain(200, "ready\n")),
            Route::Metrics => {
                let mut host = LoopHost {
                    events,
                    listeners: &mut self.listeners,
                    gauge: &mut self.gauge,
                    command_ns: self.state.observe.stats.command_ns,
                };
                let mut text = metrics::text(&mut self.state, &mut host);
                metrics::phases(&mut text, events.recorder(), self.http.viewers);
                Some(routes::with_type(metrics::CONTENT_TYPE, text))
            }
            Route::Trace => {
                let turns = request.number("turns").unwrap_or(trace::DEFAULT_TURNS);
                let cursor = trace::Cursor::newest(events.recorder(), turns);
                self.http.get(token)?.begin_trace(cursor, request);
                None
            }
            Route::Events if request.is_head => Some(routes::with_type(live::CONTENT_TYPE, "")),
            Route::Events => {
                self.http.get(token)?.begin_events();
                self.http.viewers += 1;
                self.http_watch(events);
                None
            }
        }
    }

    /// Sends what a watching connection is to see first, and sets the clock for the rest.
    fn http_watch(&mut self, events: &mut EventLoop) {
        if self.http.timer.is_none() {
            self.http.timer = Some(events.set_timer(events.turn_ns()));
        }
    }

    /// The clock of those who watch: all get the same event.
    pub(super) fn http_tick(&mut self, events: &mut EventLoop) {
        self.http.timer = None;
        if self.http.viewers == 0 {
            return;
        }
        let used_memory = events.seam().observed(self.gauge.used());
        let event = live::event(&mut self.http.live, &self.state, events, used_memory);
        for token in self.http.tokens() {
            let Some(connection) = self.http.get(token) else {
                continue;
            };
            if !connection.is_viewer() {
                continue;
            }
            if connection.push_event(&event) {
                self.http_write(events, token);
            } else {
                log::debug!("Dropping a viewer that does not read");
                self.http_close(events, token);
            }
        }
        let next = events.turn_ns().saturating_add(live::PERIOD_NS);
        self.http.timer = Some(events.set_timer(next));
    }

    /// Writes what waits; whether the connection is still there.
    fn http_write(&mut self, events: &mut EventLoop, token: Token) -> bool {
        let Some(connection) = self
            .http
            .connections
            .get_mut(token.0)
            .and_then(Option::as_mut)
        else {
            return false;
        };
        match connection.write(events, token) {
            Written::Gone => {
                self.http_close(events, token);
                false
            }
            Written::All if connection.closes => {
                self.http_close(events, token);
                false
            }
            Written::All | Written::Some => true,
        }
    }

    fn http_close(&mut self, events: &mut EventLoop, token: Token) {
        let slot = self.http.connections.get_mut(token.0);
        if let Some(connection) = slot.and_then(Option::take) {
            self.http.open -= 1;
            self.http.viewers -= usize::from(connection.is_viewer());
            events.close(token);
        }
    }

    /// Closes connections that have said nothing for long, or do not take what they asked for; once a second.
    pub(super) fn http_sweep(&mut self, events: &mut EventLoop) {
        if !self.listeners.has_http() {
            // The pages were switched off: whoever watches them goes too.
            self.http_close_all(events);
            return;
        }
        let now = events.turn_ns();
        for token in self.http.tokens() {
            if let Some(connection) = self.http.get(token)
                && now.saturating_sub(connection.last_ns) > IDLE_NS
                && !(connection.is_viewer() && connection.is_written())
            {
                self.http_close(events, token);
            }
        }
    }

    /// Closes all, with their listeners' end.
    pub(super) fn http_close_all(&mut self, events: &mut EventLoop) {
        for token in self.http.tokens() {
            self.http_close(events, token);
        }
    }
}
