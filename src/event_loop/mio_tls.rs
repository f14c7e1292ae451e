//! TLS below the seam over mio: listeners, handshakes on their way, and the sockets that come of them.
//!
//! In: what poll tells of listeners and of connections that are not done with their handshake, calls of accept. Out:
//! connections whose handshake is done. Nobody above knows of the others: they are no clients, count against no
//! `maxclients`, are in no recording, and cost nobody anything but what is bounded here:
//!
//! * The work of handshakes is done where a listener is accepted from, so it is measured as accepting, and takes
//!   [`TURN_NS`] of a turn, or one step where that takes longer. What is left makes the next turn not sleep.
//! * From each listener `max-new-tls-connections-per-cycle` connections are taken in a turn, as in Redis.
//! * There are [`MOST_HANDSHAKES`] at a time; more wait in the kernel's queue. Each has [`HANDSHAKE_NS`], and where all places
//!   are taken the oldest goes after [`CROWDED_NS`], so that whoever connects and is silent keeps no others out.
//!
//! What is closed before the kernel has all that was written to it lingers here until it does, as within the kernel it would:
//! [`MOST_LINGERING`] at a time, for [`HANDSHAKE_NS`] at most.
//!
//! A handshake has a token of its own kind at mio, since the loop gives one to a connection only when that is accepted. It
//! is registered anew then, which makes epoll tell all that it is ready for: no edge is lost between the two.
//!
//! Mirrors the accept handler of Redis's tls.c.

use super::mio_seam::INTERESTS;
use super::seam::{Readiness, Token};
use super::tls_connection::{Buffers, TlsConnection};
use crate::system::ticks::TickClock;
use crate::system::tls::{TlsContext, TlsOptions, names_of_user};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use rustls::pki_types::ServerName;
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Handshakes at a time, of all listeners.
const MOST_HANDSHAKES: usize = 256;
/// Sockets at a time that are closed and have something to send.
const MOST_LINGERING: usize = 64;
/// Descriptors that TLS takes beside those of clients.
pub const TLS_DESCRIPTORS: u32 = (MOST_HANDSHAKES + MOST_LINGERING) as u32;
/// How long a handshake may take, and what is closed may linger, ns.
const HANDSHAKE_NS: u64 = 10_000_000_000;
/// How long, where others wait for its place, ns.
const CROWDED_NS: u64 = 1_000_000_000;
/// Time that handshakes may take of a turn, ns.
const TURN_NS: u64 = 1_000_000;
/// Tokens of handshakes at mio begin here; those of the loop's sources are small numbers.
const FIRST_TOKEN: usize = usize::MAX / 2;
/// And those of sockets that linger here.
const FIRST_LINGERING: usize = FIRST_TOKEN + usize::MAX / 8;

/// A socket with the connection on it.
pub(super) struct TlsSocket {
    pub(super) stream: TcpStream,
    pub(super) tls: TlsConnection,
}

impl TlsSocket {
    fn close(mut self, registry: &Registry) {
        drop(registry.deregister(&mut self.stream));
        drop(self.stream.shutdown(Shutdown::Both));
    }
}

/// A socket that was closed, and has something to send.
struct Lingering {
    socket: TlsSocket,
    begun_ns: u64,
}

/// A connection that was taken from a listener, and is not done with its handshake.
struct Handshake {
    socket: TlsSocket,
    listener: Token,
    remote: SocketAddr,
    local: SocketAddr,
    begun_ns: u64,
    /// It is on its listener's list.
    is_ready: bool,
}

struct Listener {
    token: Token,
    socket: TcpListener,
    /// There may be connections in the kernel's queue: it was not emptied since poll told of it.
    has_more: bool,
    /// Handshakes that may be taken further.
    ready: VecDeque<usize>,
    accepted_in_turn: usize,
}

/// A connection whose handshake is done.
pub(super) struct Established {
    pub(super) socket: TlsSocket,
    pub(super) remote: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) certificate_names: Vec<Vec<u8>>,
}

/// All that the seam knows of TLS.
#[derive(Default)]
pub(super) struct MioTls {
    context: Option<Arc<TlsContext>>,
    pub(super) buffers: Buffers,
    listeners: Vec<Listener>,
    handshakes: Slab<Handshake>,
    lingering: Slab<Lingering>,
    /// The number of this turn.
    pub(super) turn: u64,
    /// Time that handshakes have taken of this turn, ns.
    spent_ns: u64,
    /// Sources that have something to read of which the kernel knows nothing.
    again: Vec<Token>,
}

impl MioTls {
    /// Whether there may be TLS sockets.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.context.is_some()
    }

    /// Has connections from here on made with these options.
    pub(super) fn configure(&mut self, options: &TlsOptions) -> Result<(), String> {
        let context = options.build()?;
        if options.dh_params_file.is_some() {
            log::warn!(
                "tls-dh-params-file has no effect: no cipher suite here takes such parameters"
            );
        }
        self.context = Some(Arc::new(context));
        Ok(())
    }

    /// The same where a file has changed.
    pub(super) fn reload(&mut self, options: &TlsOptions) {
        if !self.context.as_ref().is_some_and(|it| it.is_outdated()) {
            return;
        }
        match options.build() {
            Ok(context) => {
                self.context = Some(Arc::new(context));
                log::info!(
                    "TLS certificates and keys were read again, because their files have changed"
                );
            }
            Err(reason) => {
                log::warn!("TLS files have changed and could not be read again: {reason}");
            }
        }
    }

    /// Takes a listener over that is registered under this token.
    pub(super) fn listen(&mut self, token: Token, socket: TcpListener) -> io::Result<()> {
        if self.context.is_none() {
            return Err(io::Error::other("TLS is not configured"));
        }
        self.listeners.push(Listener {
            token,
            socket,
            has_more: false,
            ready: VecDeque::new(),
            accepted_in_turn: 0,
        });
        Ok(())
    }

    /// Closes a listener, and what was on its way through it.
    pub(super) fn close_listener(&mut self, registry: &Registry, token: Token) {
        let Some(at) = self.listeners.iter().position(|it| it.token == token) else {
            return;
        };
        let mut listener = self.listeners.swap_remove(at);
        drop(registry.deregister(&mut listener.socket));
        let its_own = |(index, it): (usize, &Handshake)| (it.listener == token).then_some(index);
        let gone: Vec<usize> = self.handshakes.iter().filter_map(its_own).collect();
        for index in gone {
            self.handshakes.remove(index).socket.close(registry);
        }
    }

    /// Has a source told as readable by the next poll.
    pub(super) fn again(&mut self, token: Token) {
        self.again.push(token);
    }

    /// Sources that are to be told.
    pub(super) fn take_again(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.again)
    }

    /// Nothing is to be told any more of a source.
    pub(super) fn forget(&mut self, token: Token) {
        self.again.retain(|it| *it != token);
    }

    fn is_full(&self) -> bool {
        self.handshakes.len() >= MOST_HANDSHAKES
    }

    fn has_work(&self) -> bool {
        let has_room = !self.is_full();
        let mut listeners = self.listeners.iter();
        !self.again.is_empty()
            || listeners.any(|it| !it.ready.is_empty() || (it.has_more && has_room))
    }

    /// How long a handshake may take now.
    fn limit_ns(&self) -> u64 {
        let others_wait = self.listeners.iter().any(|it| it.has_more);
        if self.is_full() && others_wait {
            CROWDED_NS
        } else {
            HANDSHAKE_NS
        }
    }

    /// How long poll may sleep.
    pub(super) fn patience(
        &self,
        timeout: Option<Duration>,
        clock: &mut TickClock,
    ) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let oldest = self.handshakes.iter().map(|(_, it)| it.begun_ns).min();
        let ends = oldest.map(|it| it.saturating_add(self.limit_ns()));
        let oldest = self.lingering.iter().map(|(_, it)| it.begun_ns).min();
        let linger = oldest.map(|it| it.saturating_add(HANDSHAKE_NS));
        let Some(end_ns) = ends.into_iter().chain(linger).min() else {
            return timeout;
        };
        let left = Duration::from_nanos(end_ns.saturating_sub(clock.now_ns()));
        Some(timeout.map_or(left, |timeout| timeout.min(left)))
    }

    /// A turn begins: what is bounded by the turn begins anew.
    pub(super) fn turn_begins(&mut self) {
        self.turn += 1;
        self.spent_ns = 0;
        for listener in &mut self.listeners {
            listener.accepted_in_turn = 0;
        }
    }

    /// Takes note of what poll tells of what is known here only; false: the token is somebody else's.
    #[inline]
    pub(super) fn note(&mut self, registry: &Registry, token: mio::Token) -> bool {
        // The waker's token is among the largest numbers.
        if !(FIRST_TOKEN..FIRST_LINGERING + FIRST_TOKEN / 4).contains(&token.0) {
            return false;
        }
        match token.0.checked_sub(FIRST_LINGERING) {
            None => self.queue(token.0 - FIRST_TOKEN),
            Some(index) => self.linger_on(registry, index),
        }
        true
    }

    /// Closes a socket, when the peer has been told that this is the end.
    pub(super) fn close(&mut self, registry: &Registry, clock: &mut TickClock, socket: TlsSocket) {
        let mut socket = socket;
        if socket.tls.close(&mut socket.stream) || self.lingering.len() >= MOST_LINGERING {
            return socket.close(registry);
        }
        let place = self.lingering.vacant_entry();
        let token = mio::Token(FIRST_LINGERING + place.key());
        if registry
            .reregister(&mut socket.stream, token, INTERESTS)
            .is_err()
        {
            return socket.close(registry);
        }
        place.insert(Lingering {
            socket,
            begun_ns: clock.now_ns(),
        });
    }

    /// How many closed sockets linger here.
    #[cfg(test)]
    pub(super) fn lingering(&self) -> usize {
        self.lingering.len()
    }

    /// Sends what a closed socket has to send, and lets it go when that is all, or the peer is gone.
    fn linger_on(&mut self, registry: &Registry, index: usize) {
        let Some(Lingering { socket, .. }) = self.lingering.get_mut(index) else {
            return;
        };
        let waits = match socket.tls.flush(&mut socket.stream) {
            Ok(()) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        if !waits {
            self.lingering.remove(index).socket.close(registry);
        }
    }

    fn queue(&mut self, index: usize) {
        if let Some(handshake) = self.handshakes.get_mut(index)
            && !handshake.is_ready
            && let Some(listener) = self
                .listeners
                .iter_mut()
                .find(|it| it.token == handshake.listener)
        {
            handshake.is_ready = true;
            listener.ready.push_back(index);
        }
    }

    /// Takes note that connections wait at a listener.
    pub(super) fn note_listener(&mut self, token: Token) {
        if let Some(listener) = self.listeners.iter_mut().find(|it| it.token == token) {
            listener.has_more = true;
        }
    }

    /// Ends what has taken too long, and tells of the listeners that have something to be done.
    pub(super) fn tell(
        &mut self,
        registry: &Registry,
        clock: &mut TickClock,
        ready: &mut Vec<Readiness>,
    ) {
        if !self.handshakes.is_empty() {
            let (now_ns, limit_ns) = (clock.now_ns(), self.limit_ns());
            let is_over = |it: &Handshake| now_ns.saturating_sub(it.begun_ns) >= limit_ns;
            let over = self.handshakes.iter().filter(|(_, it)| is_over(it));
            let over: Vec<usize> = over.map(|(index, _)| index).collect();
            for index in over {
                self.end(registry, index, &"the handshake has taken too long");
            }
        }
        if !self.lingering.is_empty() {
            let now_ns = clock.now_ns();
            let is_over = |it: &Lingering| now_ns.saturating_sub(it.begun_ns) >= HANDSHAKE_NS;
            let over = self.lingering.iter().filter(|(_, it)| is_over(it));
            let over: Vec<usize> = over.map(|(index, _)| index).collect();
            for index in over {
                self.lingering.remove(index).socket.close(registry);
            }
        }
        let has_room = !self.is_full();
        for listener in &self.listeners {
            if !listener.ready.is_empty() || (listener.has_more && has_room) {
                ready.push(Readiness {
                    token: listener.token,
                    readable: true,
                    writable: false,
                    ended: false,
                });
            }
        }
    }

    /// Ends a handshake that has failed.
    fn end(&mut self, registry: &Registry, index: usize, reason: &dyn std::fmt::Display) {
        let Some(handshake) = self.handshakes.try_remove(index) else {
            return;
        };
        if handshake.is_ready {
            for listener in &mut self.listeners {
                listener.ready.retain(|it| *it != index);
            }
        }
        log::warn!(
            "Error accepting a client connection: {reason} (addr={} laddr={})",
            handshake.remote,
            handshake.local
        );
        handshake.socket.close(registry);
    }

    /// Takes handshakes of a listener further, and new connections from it, until one is done. `WouldBlock`: none is, or
    /// the turn's share of work is done.
    pub(super) fn accept(
        &mut self,
        registry: &Registry,
        clock: &mut TickClock,
        listener: Token,
        token: Token,
    ) -> io::Result<Established> {
        let at = self.listeners.iter().position(|it| it.token == listener);
        let at = at.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        self.take_new(registry, clock, at)?;
        while self.spent_ns < TURN_NS {
            let Some(index) = self.listeners[at].ready.pop_front() else {
                break;
            };
            let Some(handshake) = self.handshakes.get_mut(index) else {
                continue;
            };
            handshake.is_ready = false;
            let begin_ns = clock.now_ns();
            let TlsSocket { stream, tls } = &mut handshake.socket;
            let outcome = tls.handshake(stream, &mut self.buffers);
            let goes_on = tls.take_broken_off();
            self.spent_ns += clock.now_ns().saturating_sub(begin_ns);
            match outcome {
                Ok(false) if goes_on => self.queue(index),
                Ok(false) => {}
                Err(error) => self.end(registry, index, &describe(&error)),
                Ok(true) => match self.establish(registry, index, token) {
                    Ok(established) => return Ok(established),
                    Err(error) => log::warn!("Accepting client connection: {error}"),
                },
            }
        }
        Err(io::Error::from(io::ErrorKind::WouldBlock))
    }

    /// Takes new connections from the kernel's queue.
    fn take_new(
        &mut self,
        registry: &Registry,
        clock: &mut TickClock,
        at: usize,
    ) -> io::Result<()> {
        let Some(context) = self.context.clone() else {
            return Ok(());
        };
        while !self.is_full() && self.listeners[at].accepted_in_turn < context.accepts_per_turn {
            let listener = &mut self.listeners[at];
            // An error is told: whoever accepts rests, and asks again without being told.
            listener.has_more = false;
            let (mut stream, remote) = match listener.socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            listener.has_more = true;
            listener.accepted_in_turn += 1;
            let token = listener.token;
            let local = stream.local_addr().unwrap_or(remote);
            // Without it answers come later, but they come.
            let _ = stream.set_nodelay(true);
            let tls = TlsConnection::accepted(Arc::clone(&context.server));
            let tls = tls.map_err(io::Error::other)?;
            let place = self.handshakes.vacant_entry();
            let own = mio::Token(FIRST_TOKEN + place.key());
            // Where bytes have come already, the next poll tells of them.
            registry.register(&mut stream, own, INTERESTS)?;
            place.insert(Handshake {
                socket: TlsSocket { stream, tls },
                listener: token,
                remote,
                local,
                begun_ns: clock.now_ns(),
                is_ready: false,
            });
        }
        Ok(())
    }

    /// Makes a connection of a handshake that is done.
    fn establish(
        &mut self,
        registry: &Registry,
        index: usize,
        token: Token,
    ) -> io::Result<Established> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let mut handshake = self.handshakes.try_remove(index).ok_or_else(gone)?;
        let socket = &mut handshake.socket;
        registry.reregister(&mut socket.stream, mio::Token(token.0), INTERESTS)?;
        let field = self.context.as_ref().map(|it| it.user_field);
        let certificate = socket.tls.peer_certificate();
        let certificate_names = match (certificate, field) {
            (Some(certificate), Some(field)) => names_of_user(certificate, field),
            _ => Vec::new(),
        };
        if socket.tls.has_more() {
            self.again.push(token);
        }
        Ok(Established {
            socket: handshake.socket,
            remote: handshake.remote,
            local: handshake.local,
            certificate_names,
        })
    }

    /// Begins a handshake with a server that was connected to.
    pub(super) fn begin(&mut self, host: &str) -> io::Result<TlsConnection> {
        let context = self.context.as_ref();
        let context = context.ok_or_else(|| io::Error::other("TLS is not configured"))?;
        // Only told to the other side, and there only where it is a name.
        let nameless = || ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
        let name = ServerName::try_from(host.to_owned()).unwrap_or_else(|_| nameless());
        TlsConnection::connecting(Arc::clone(&context.client), name).map_err(io::Error::other)
    }
}

/// Why a handshake has failed, for the log.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the peer has closed the connection".to_owned(),
        _ => crate::system::process::os_error_text(error),
    }
}

/// Registers a listener's socket.
pub(super) fn register(
    registry: &Registry,
    listener: &mut TcpListener,
    token: Token,
) -> io::Result<()> {
    registry.register(listener, mio::Token(token.0), Interest::READABLE)
}
