//! TLS below the seam over mio: listeners, handshakes on their way, and the sockets that come of them.
//!
//! In: what poll tells of listeners and of connections that are not done with their handshake, calls of accept. Out:
//! connections whose handshake is done. Nobody above knows of the others: they are no clients, count against no
//! `maxclients`, are in no recording, and cost nobody anything but what is bounded here:
//!
//! * The work of handshakes is done where a listener is accepted from, so it is measured as accepting, and takes
//!   [`TURN_NS`] of a turn, or one step where that takes longer. What is left makes the next turn not sleep.
//! * From each listener `max-new-tls-connections-per-cycle` connections are taken in a turn, as in Redis.
//! * There are [`MOST_HANDSHAKES`] at a time; more wait in the kernel's queue. One that has sent nothing costs a descriptor, and
//!   where all places are taken the oldest of those gives its place to whoever comes, at once.
//! * The others have [`STEP_NS`] for each step and [`HANDSHAKE_NS`] in all, and [`CROWDED_NS`] where all places are taken, so
//!   that whoever stops in the middle keeps no others out. Only time in which they could have been served counts: a command
//!   that takes long ends nobody's handshake, and what has come is looked at before one is ended.
//! * A handshake is bound to the context that it began with. It ends where another context says otherwise who may connect, so
//!   that nobody becomes a client who would not be let in now.
//!
//! What is closed before the kernel has all that was written to it lingers (`mio_lingering.rs`).
//!
//! A handshake has a token of its own kind at mio, since the loop gives one to a connection only when that is accepted. It
//! is registered anew then, which makes epoll tell all that it is ready for: no edge is lost between the two.
//!
//! Mirrors the accept handler of Redis's tls.c.

use super::mio_lingering::{Lingering, MOST_LINGERING};
use super::mio_seam::INTERESTS;
use super::seam::{Readiness, Token};
use super::tls_connection::{Buffers, TlsConnection};
use crate::system::ticks::TickClock;
use crate::system::tls::{Rejected, TlsContext, TlsOptions, names_of_user};
use mio::event::Event;
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
const MOST_HANDSHAKES: usize = if cfg!(test) { 6 } else { 256 };
/// Descriptors that TLS takes beside those of clients. (One connection is taken before another gives its place to it.)
pub const TLS_DESCRIPTORS: u32 = (MOST_HANDSHAKES + 1 + MOST_LINGERING) as u32;
/// How long a peer may take to send anything, and then for each step of its handshake, ns.
const STEP_NS: u64 = 10_000_000_000;
/// How long for all of them, ns.
const HANDSHAKE_NS: u64 = 30_000_000_000;
/// How long for all of them, where others wait for its place, ns.
const CROWDED_NS: u64 = 1_000_000_000;
/// Of the time between two polls so much at most counts as time that peers were waited for, ns.
const AWAKE_COUNTED_NS: u64 = 10_000_000;
/// Time that handshakes may take of a turn, ns.
const TURN_NS: u64 = 1_000_000;
/// Tokens of handshakes at mio begin here; those of the loop's sources are small numbers.
const FIRST_TOKEN: usize = usize::MAX / 2;
/// And those of sockets that linger here.
pub(super) const FIRST_LINGERING: usize = FIRST_TOKEN + usize::MAX / 8;

/// A socket with the connection on it.
pub(super) struct TlsSocket {
    pub(super) stream: TcpStream,
    pub(super) tls: TlsConnection,
}

/// A connection that was taken from a listener, and is not done with its handshake.
struct Handshake {
    stream: TcpStream,
    /// None: nothing has come of it yet.
    begun: Option<Box<Begun>>,
    listener: Token,
    remote: SocketAddr,
    local: SocketAddr,
    /// How many were accepted before it.
    number: u64,
    /// When it was accepted, and when its last step was taken, by [`MioTls::waited_ns`].
    accepted_ns: u64,
    stepped_ns: u64,
    /// It is on its listener's list.
    is_ready: bool,
}

/// What has sent something.
struct Begun {
    tls: TlsConnection,
    /// What it is made with.
    context: Arc<TlsContext>,
}

impl Handshake {
    /// It may give its place to another.
    fn is_silent(&self) -> bool {
        self.begun.is_none() && !self.is_ready
    }

    /// Whether a step may find something: bytes, an end, an error.
    fn has_unread(&self) -> bool {
        match self.stream.peek(&mut [0]) {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Goes as far as what is there lets it; true: it is done. A connection is made only for one that has sent something.
    fn step(&mut self, context: &Arc<TlsContext>, buffers: &mut Buffers) -> io::Result<bool> {
        let begun = match &mut self.begun {
            Some(begun) => begun,
            None => {
                match self.stream.peek(&mut [0]) {
                    Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
                let tls = TlsConnection::accepted(Arc::clone(&context.server));
                self.begun.insert(Box::new(Begun {
                    tls: tls.map_err(io::Error::other)?,
                    context: Arc::clone(context),
                }))
            }
        };
        begun.tls.handshake(&mut self.stream, buffers)
    }

    /// Whether its last step was broken off: no edge tells of what is left.
    fn take_broken_off(&mut self) -> bool {
        let begun = self.begun.as_mut();
        begun.is_some_and(|it| it.tls.take_broken_off())
    }

    fn close(mut self, registry: &Registry) {
        shut(&mut self.stream, registry);
    }
}

/// Ends a socket.
pub(super) fn shut(stream: &mut TcpStream, registry: &Registry) {
    drop(registry.deregister(stream));
    drop(stream.shutdown(Shutdown::Both));
}

struct Listener {
    token: Token,
    socket: TcpListener,
    /// There may be connections in the kernel's queue: it was not emptied since poll told of it.
    has_more: bool,
    /// Handshakes that may be taken further.
    ready: VecDeque<usize>,
    accepted_in_turn: usize,
    /// Accepting fails with this number.
    #[cfg(test)]
    fails_with: Option<i32>,
}

impl Listener {
    fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        #[cfg(test)]
        if let Some(number) = self.fails_with {
            return Err(io::Error::from_raw_os_error(number));
        }
        self.socket.accept()
    }
}

/// What came of a look at files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reloaded {
    /// There was nothing new to do or to say.
    Nothing,
    /// They were read. True: what [`MioTls::configure`] says.
    Done(bool),
    /// They could not be read, which was said.
    Failed,
}

/// A connection whose handshake is done.
pub(super) struct Established {
    pub(super) socket: Box<TlsSocket>,
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
    /// How many there have been.
    accepted: u64,
    pub(super) lingering: Lingering,
    /// The number of this turn.
    pub(super) turn: u64,
    /// Time that handshakes have taken of this turn, ns.
    spent_ns: u64,
    /// Time that peers were waited for, ns: a clock that hardly goes on while the loop does not come round.
    waited_ns: u64,
    /// When that was counted last.
    counted_ns: u64,
    /// Files that have changed and could not be read again.
    rejected: Option<Rejected>,
    /// Sources that have something to read of which the kernel knows nothing.
    again: Vec<Token>,
}

impl MioTls {
    /// Whether there may be TLS sockets.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.context.is_some()
    }

    /// Has connections from here on made with these options. True: others may connect, or be connected to, than before, and
    /// handshakes under way were ended.
    pub(super) fn configure(
        &mut self,
        registry: &Registry,
        options: &TlsOptions,
    ) -> Result<bool, String> {
        let context = options.build()?;
        if options.dh_params_file.is_some() {
            log::warn!(
                "tls-dh-params-file has no effect: no cipher suite here takes such parameters"
            );
        }
        Ok(self.replace(registry, context))
    }

    /// The same where a file has changed. Files that cannot be read are told of once, until they change again.
    pub(super) fn reload(&mut self, registry: &Registry, options: &TlsOptions) -> Reloaded {
        if !self.context.as_ref().is_some_and(|it| it.is_outdated()) {
            self.rejected = None;
            return Reloaded::Nothing;
        }
        if self.rejected.as_ref().is_some_and(|it| !it.is_outdated()) {
            return Reloaded::Nothing;
        }
        match options.try_build() {
            Ok(context) => {
                log::info!(
                    "TLS certificates and keys were read again, because their files have changed"
                );
                Reloaded::Done(self.replace(registry, context))
            }
            Err(rejected) => {
                log::warn!(
                    "TLS files have changed and could not be read again: {}",
                    rejected.reason
                );
                self.rejected = Some(rejected);
                Reloaded::Failed
            }
        }
    }

    fn replace(&mut self, registry: &Registry, context: TlsContext) -> bool {
        self.rejected = None;
        let before = self.context.replace(Arc::new(context));
        let (Some(before), Some(now)) = (before, &self.context) else {
            return false;
        };
        let admits_others = !now.admits_as(&before);
        if admits_others {
            let begun = self.handshakes.iter().filter(|(_, it)| it.begun.is_some());
            let begun: Vec<usize> = begun.map(|(index, _)| index).collect();
            for index in begun {
                self.end(registry, index, &OTHER_CONTEXT);
            }
        }
        admits_others
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
            #[cfg(test)]
            fails_with: None,
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
            self.handshakes.remove(index).close(registry);
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

    /// Whether there is a place for whoever comes.
    fn has_room(&self) -> bool {
        !self.is_full() || self.handshakes.iter().any(|(_, it)| it.is_silent())
    }

    fn has_work(&self) -> bool {
        let has_room = self.has_room();
        let mut listeners = self.listeners.iter();
        !self.again.is_empty()
            || listeners.any(|it| !it.ready.is_empty() || (it.has_more && has_room))
    }

    /// Whether others wait for the places of those who have sent something.
    fn is_crowded(&self) -> bool {
        !self.has_room() && self.listeners.iter().any(|it| it.has_more)
    }

    /// When a handshake has taken too long, by [`MioTls::waited_ns`].
    fn end_of(it: &Handshake, is_crowded: bool) -> u64 {
        let step_ends = it.stepped_ns.saturating_add(STEP_NS);
        step_ends.min(MioTls::last_end_of(it, is_crowded))
    }

    /// The same, whatever steps it takes.
    fn last_end_of(it: &Handshake, is_crowded: bool) -> u64 {
        let limit_ns = if is_crowded { CROWDED_NS } else { HANDSHAKE_NS };
        it.accepted_ns.saturating_add(limit_ns)
    }

    /// How long poll may sleep. It is called where the loop is about to.
    pub(super) fn patience(
        &mut self,
        timeout: Option<Duration>,
        clock: &mut TickClock,
    ) -> Option<Duration> {
        self.was_awake(clock.now_ns());
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let is_crowded = self.is_crowded();
        let ends = self.handshakes.iter();
        let ends = ends.map(|(_, it)| MioTls::end_of(it, is_crowded)).min();
        let Some(end_ns) = ends.into_iter().chain(self.lingering.first_end()).min() else {
            return timeout;
        };
        let left = Duration::from_nanos(end_ns.saturating_sub(self.waited_ns));
        Some(timeout.map_or(left, |timeout| timeout.min(left)))
    }

    /// The loop has been awake until now.
    fn was_awake(&mut self, now_ns: u64) {
        let awake_ns = now_ns.saturating_sub(self.counted_ns);
        self.waited_ns += awake_ns.min(AWAKE_COUNTED_NS);
        self.counted_ns = now_ns;
    }

    /// A turn begins, behind a sleep until now: what is bounded by the turn begins anew.
    pub(super) fn turn_begins(&mut self, now_ns: u64) {
        self.waited_ns += now_ns.saturating_sub(self.counted_ns);
        self.counted_ns = now_ns;
        self.turn += 1;
        self.spent_ns = 0;
        for listener in &mut self.listeners {
            listener.accepted_in_turn = 0;
        }
    }

    /// Takes note of what poll tells of what is known here only; false: the token is somebody else's.
    #[inline]
    pub(super) fn note(&mut self, registry: &Registry, event: &Event) -> bool {
        let token = event.token().0;
        // The waker's token is among the largest numbers.
        if !(FIRST_TOKEN..FIRST_LINGERING + FIRST_TOKEN / 4).contains(&token) {
            return false;
        }
        if let Some(index) = token.checked_sub(FIRST_LINGERING) {
            self.lingering.flush(registry, index);
            return true;
        }
        // That one takes bytes is nothing to it before it has sent any.
        let index = token - FIRST_TOKEN;
        let brings = event.is_readable() || event.is_read_closed() || event.is_error();
        let has_begun = |it: &Handshake| it.begun.is_some();
        if brings || self.handshakes.get(index).is_some_and(has_begun) {
            self.queue(index);
        }
        true
    }

    /// Closes a socket, when the peer has been told that this is the end and the kernel has all that was written.
    pub(super) fn close(&mut self, registry: &Registry, socket: TlsSocket) {
        let TlsSocket {
            mut stream,
            mut tls,
        } = socket;
        if tls.close(&mut stream) {
            return shut(&mut stream, registry);
        }
        let unsent = tls.into_unsent();
        self.lingering.put(registry, stream, unsent, self.waited_ns);
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
    pub(super) fn tell(&mut self, registry: &Registry, ready: &mut Vec<Readiness>) {
        let is_crowded = self.is_crowded();
        let is_over = |it: &Handshake| self.waited_ns >= MioTls::end_of(it, is_crowded);
        let over = self.handshakes.iter();
        let over = over.filter(|(_, it)| !it.is_ready && is_over(it));
        let over: Vec<(usize, bool)> = over.map(|(index, it)| (index, it.has_unread())).collect();
        for (index, has_unread) in over {
            match has_unread {
                // It has waited for the server, and not the server for it.
                true => self.queue(index),
                false => self.end(registry, index, &TOO_LONG),
            }
        }
        self.lingering.end_old(registry, self.waited_ns);
        let has_room = self.has_room();
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
        handshake.close(registry);
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
        // What keeps new ones out, as where no descriptor is free, is told behind the steps of those that are there.
        let taken = self.take_new(registry, at);
        while self.spent_ns < TURN_NS {
            let Some(index) = self.listeners[at].ready.pop_front() else {
                break;
            };
            let begin_ns = clock.now_ns();
            let outcome = self.step(index);
            self.spent_ns += clock.now_ns().saturating_sub(begin_ns);
            match outcome {
                Ok(false) => {}
                Err(error) => self.end(registry, index, &describe(&error)),
                Ok(true) => match self.establish(registry, index, token) {
                    Ok(established) => return Ok(established),
                    Err(error) => log::warn!("Accepting client connection: {error}"),
                },
            }
        }
        taken?;
        Err(io::Error::from(io::ErrorKind::WouldBlock))
    }

    /// Takes a handshake further; true: it is done.
    fn step(&mut self, index: usize) -> io::Result<bool> {
        let is_crowded = self.is_crowded();
        let (Some(context), Some(handshake)) = (&self.context, self.handshakes.get_mut(index))
        else {
            return Ok(false);
        };
        handshake.is_ready = false;
        if handshake.step(context, &mut self.buffers)? {
            return Ok(true);
        }
        // However many steps it takes. The last one was taken, for it may have waited for the server until now.
        if handshake.begun.is_some() {
            if self.waited_ns >= MioTls::last_end_of(handshake, is_crowded) {
                return Err(io::Error::other(TOO_LONG));
            }
            handshake.stepped_ns = self.waited_ns;
        }
        if handshake.take_broken_off() {
            self.queue(index);
        }
        Ok(false)
    }

    /// Takes new connections from the kernel's queue.
    fn take_new(&mut self, registry: &Registry, at: usize) -> io::Result<()> {
        let Some(context) = &self.context else {
            return Ok(());
        };
        let most = context.accepts_per_turn;
        while self.listeners[at].accepted_in_turn < most {
            let gives_way = self.is_full().then(|| self.oldest_silent());
            if gives_way == Some(None) {
                return Ok(());
            }
            let listener = &mut self.listeners[at];
            // An error is told: whoever accepts rests, and asks again without being told.
            listener.has_more = false;
            let (mut stream, remote) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            listener.has_more = true;
            listener.accepted_in_turn += 1;
            let token = listener.token;
            if let Some(Some(index)) = gives_way {
                let handshake = self.handshakes.remove(index);
                log::debug!(
                    "A TLS connection that has sent nothing makes room for another (addr={} laddr={})",
                    handshake.remote,
                    handshake.local
                );
                handshake.close(registry);
            }
            let local = stream.local_addr().unwrap_or(remote);
            // Without it answers come later, but they come.
            let _ = stream.set_nodelay(true);
            let place = self.handshakes.vacant_entry();
            let own = mio::Token(FIRST_TOKEN + place.key());
            self.accepted += 1;
            // Where bytes have come already, the next poll tells of them.
            registry.register(&mut stream, own, INTERESTS)?;
            place.insert(Handshake {
                stream,
                begun: None,
                listener: token,
                remote,
                local,
                number: self.accepted,
                accepted_ns: self.waited_ns,
                stepped_ns: self.waited_ns,
                is_ready: false,
            });
        }
        Ok(())
    }

    /// The oldest connection that has sent nothing. Those that have, of which poll has not told yet, are found on the way.
    fn oldest_silent(&mut self) -> Option<usize> {
        loop {
            let silent = self.handshakes.iter().filter(|(_, it)| it.is_silent());
            let (index, oldest) = silent.min_by_key(|(_, it)| it.number)?;
            if !oldest.has_unread() {
                return Some(index);
            }
            self.queue(index);
        }
    }

    /// Makes a connection of a handshake that is done.
    fn establish(
        &mut self,
        registry: &Registry,
        index: usize,
        token: Token,
    ) -> io::Result<Established> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let handshake = self.handshakes.try_remove(index).ok_or_else(gone)?;
        let mut stream = handshake.stream;
        let Begun { tls, context } = *handshake.begun.ok_or_else(gone)?;
        registry.reregister(&mut stream, mio::Token(token.0), INTERESTS)?;
        let certificate_names = match tls.peer_certificate() {
            Some(certificate) => names_of_user(certificate, context.user_field),
            None => Vec::new(),
        };
        if tls.has_more() {
            self.again.push(token);
        }
        Ok(Established {
            socket: Box::new(TlsSocket { stream, tls }),
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

/// Why a handshake has ended.
const TOO_LONG: &str = "the handshake has taken too long";
/// The same, of those that began with another context.
pub(super) const OTHER_CONTEXT: &str = "the certificates or rules that it began with have changed";

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

#[cfg(test)]
#[path = "mio_tls_tests.rs"]
mod tests;
