//! The seam over mio and the operating system.
//!
//! All interests are registered once, when a socket arrives; nothing is ever re-registered. Epoll then tells each
//! change once, and the loop above keeps what it has not drained.
//!
//! A read that yields less than it was asked for has emptied the socket: what comes later makes a new edge. There are three
//! exceptions. An end that was told on the same edge as the last bytes makes none; and a read stops at urgent bytes (telnet
//! sends them), whatever is behind those. Both are told by poll, so they are remembered here, and such a socket is read until
//! it has no more. The third is not told: at a Unix socket a read stops behind bytes with which descriptors were passed, and
//! what is behind those waits for the next edge. To know of it would cost a second read for each request, and whoever passes
//! descriptors to a server that takes none delays nobody but itself.

use super::mio_sockets::*;
use super::mio_tls::{Established, MioTls, OTHER_CONTEXT, Reloaded, TlsSocket, register};
use super::seam::*;
use super::tls_connection::Turn;
use crate::system::child::Pipe;
use crate::system::resolver::{Addresses, Lookup, Resolver};
use crate::system::ticks::TickClock;
use crate::system::tls::TlsOptions;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::unix::pipe;
use mio::{Events, Interest, Poll};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Readiness taken from the kernel in one poll.
const EVENTS_PER_POLL: usize = 1024;

/// Interests of a connection. Urgent bytes are told, though nobody wants them, because a read stops at them.
pub(super) const INTERESTS: Interest = Interest::READABLE
    .add(Interest::WRITABLE)
    .add(Interest::PRIORITY);

enum Socket {
    /// It is to be connected to a host whose name is being looked up.
    Named(Lookup),
    TcpListener(TcpListener),
    /// One whose connections speak TLS: it is [`MioTls`]'s.
    TlsListener,
    UnixListener(UnixListener, PathBuf),
    Tcp(TcpStream),
    Tls(Box<TlsSocket>),
    Unix(UnixStream),
    Pipe(pipe::Receiver),
}

/// A source, as the kernel has it.
struct Registered {
    socket: Socket,
    /// Poll has told that the peer has ended its side (or that the connection is broken), which it does once.
    ended: bool,
    /// A read that yields less than it was asked for may have left something: an end, or what is behind urgent bytes.
    reads_on: bool,
    /// Why it could not be connected.
    failed: Option<Failure>,
    /// Where else it may be connected to.
    others: Option<Box<OtherAddresses>>,
    /// TLS is to be spoken on it with this host, as soon as it is connected.
    wraps: Option<Box<str>>,
}

/// The addresses of a host name that were not tried yet.
#[derive(Default)]
struct OtherAddresses {
    addresses: VecDeque<SocketAddr>,
    source: Option<IpAddr>,
}

impl Registered {
    /// Begins to connect to the next address of the host that was named; fails as the last of them does.
    fn try_next_address(&mut self, poll: &Poll, token: Token) -> io::Result<()> {
        let mut failed = io::Error::from(io::ErrorKind::NotConnected);
        let Some(others) = &mut self.others else {
            return Err(failed);
        };
        while let Some(address) = others.addresses.pop_front() {
            let begun = tcp_connecting(address, others.source).and_then(|mut stream| {
                let registry = poll.registry();
                registry.register(&mut stream, mio::Token(token.0), INTERESTS)?;
                Ok(stream)
            });
            match begun {
                Ok(stream) => {
                    if let Socket::Tcp(refused) = &mut self.socket {
                        drop(poll.registry().deregister(refused));
                    }
                    self.socket = Socket::Tcp(stream);
                    (self.ended, self.reads_on) = (false, false);
                    return Ok(());
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Whether it connects, now that the addresses of its host are known.
    fn begins_named(&mut self, poll: &Poll, token: Token, found: Addresses) -> bool {
        let begun = match found {
            Ok(addresses) => {
                if let Some(others) = &mut self.others {
                    others.addresses = addresses.into();
                }
                self.try_next_address(poll, token)
            }
            Err(text) => Err(io::Error::other(text)),
        };
        if let Err(error) = &begun {
            self.failed = Some(Failure::of(error));
            self.ended = true;
        }
        begun.is_ok()
    }

    /// Whether a socket, of which poll tells that it has ended, was refused by one address of its host and connects to
    /// another now.
    #[cold]
    fn tries_another(&mut self, poll: &Poll, token: Token) -> bool {
        let Socket::Tcp(stream) = &self.socket else {
            return false;
        };
        if self.others.is_none() || has_other_end(stream).is_ok() {
            return false;
        }
        // Taken from the system, it is not told again.
        if let Ok(Some(error)) = stream.take_error() {
            self.failed = Some(Failure::of(&error));
        }
        let tries = self.try_next_address(poll, token).is_ok();
        if tries {
            self.failed = None;
        }
        tries
    }
}

/// Production: mio, the system's clocks and its randomness.
pub struct MioSeam {
    poll: Poll,
    events: Events,
    /// The sockets by token; the loop hands tokens out densely.
    sockets: Vec<Option<Registered>>,
    waker: Arc<mio::Waker>,
    clock: TickClock,
    resolver: Resolver,
    /// Who waits for the address of a name.
    named: BTreeMap<Lookup, Token>,
    tls: MioTls,
}

impl MioSeam {
    /// A seam with its own epoll instance.
    pub fn new() -> io::Result<MioSeam> {
        let poll = Poll::new()?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(WAKER_TOKEN.0))?);
        let bell = Arc::clone(&waker);
        Ok(MioSeam {
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            sockets: Vec::new(),
            waker,
            clock: TickClock::new(),
            // A bell that cannot be rung has been rung.
            resolver: Resolver::new(move || drop(bell.wake())),
            named: BTreeMap::new(),
            tls: MioTls::default(),
        })
    }

    fn put(&mut self, token: Token, socket: Socket) {
        if self.sockets.len() <= token.0 {
            self.sockets.resize_with(token.0 + 1, || None);
        }
        debug_assert!(self.sockets[token.0].is_none(), "a token names one socket");
        self.sockets[token.0] = Some(Registered {
            socket,
            ended: false,
            reads_on: false,
            failed: None,
            others: None,
            wraps: None,
        });
    }

    /// Begins to connect to the hosts whose addresses are known by now. One that cannot be connected is told as the system
    /// tells it of a socket.
    fn begin_named(&mut self, ready: &mut Vec<Readiness>) {
        for (lookup, found) in self.resolver.take() {
            // One that was closed meanwhile waits no more.
            if let Some(token) = self.named.remove(&lookup)
                && let Some(Some(registered)) = self.sockets.get_mut(token.0)
                && !registered.begins_named(&self.poll, token, found)
            {
                ready.push(Readiness {
                    token,
                    readable: true,
                    writable: true,
                    ended: true,
                });
            }
        }
    }

    /// What poll tells of a source that may speak TLS: whether it takes bytes. `None`: nothing is to be told, because what has
    /// come was the protocol's own.
    fn tls_event(&mut self, token: Token, writable: bool, ended: bool) -> Option<bool> {
        let Some(Some(registered)) = self.sockets.get_mut(token.0) else {
            return Some(writable);
        };
        match &mut registered.socket {
            Socket::TlsListener => {
                self.tls.note_listener(token);
                None
            }
            Socket::Tls(socket) if socket.tls.is_open() => {
                // What was encrypted goes before whatever comes next. Where that cannot be written, the next write says why.
                let flushed = match writable {
                    true => socket.tls.flush(&mut socket.stream),
                    false => Ok(()),
                };
                let is_full = flushed.is_err_and(|it| it.kind() == io::ErrorKind::WouldBlock);
                Some(writable && !is_full)
            }
            Socket::Tls(_) => self.takes_handshake_further(token),
            Socket::Tcp(stream) if registered.wraps.is_some() => {
                if ended || has_other_end(stream).is_err() {
                    return Some(writable);
                }
                self.wrap(token)
            }
            _ => Some(writable),
        }
    }

    /// Begins to speak TLS on a connection of ours that was made. `None`: it is not done.
    fn wrap(&mut self, token: Token) -> Option<bool> {
        let registered = self.sockets.get_mut(token.0)?.as_mut()?;
        let host = registered.wraps.take()?;
        registered.others = None;
        match self.tls.begin(&host) {
            Ok(tls) => {
                let unwrapped = std::mem::replace(&mut registered.socket, Socket::TlsListener);
                if let Socket::Tcp(stream) = unwrapped {
                    registered.socket = Socket::Tls(Box::new(TlsSocket { stream, tls }));
                }
                self.takes_handshake_further(token)
            }
            Err(error) => {
                registered.failed = Some(Failure::of(&error));
                registered.ended = true;
                Some(true)
            }
        }
    }

    /// Takes the handshake of a connection of ours further. There are few of those, so nothing bounds them in a turn.
    /// `None`: it is not done.
    fn takes_handshake_further(&mut self, token: Token) -> Option<bool> {
        let registered = self.sockets.get_mut(token.0)?.as_mut()?;
        let Socket::Tls(socket) = &mut registered.socket else {
            return Some(true);
        };
        if registered.failed.is_some() {
            return Some(true);
        }
        match socket
            .tls
            .handshake(&mut socket.stream, &mut self.tls.buffers)
        {
            Ok(true) => Some(true),
            Ok(false) => {
                if socket.tls.take_broken_off() {
                    self.tls.again(token);
                }
                None
            }
            Err(error) => {
                registered.failed = Some(Failure::of(&error));
                registered.ended = true;
                Some(true)
            }
        }
    }

    /// Tells what there is to be told without the kernel: bytes that were read with others, listeners with handshakes.
    fn tell_of_tls(&mut self, ready: &mut Vec<Readiness>) {
        for token in self.tls.take_again() {
            let is_open = match self.sockets.get(token.0) {
                Some(Some(Registered {
                    socket: Socket::Tls(socket),
                    ..
                })) => socket.tls.is_open(),
                _ => continue,
            };
            let writable = if is_open {
                Some(false)
            } else {
                self.takes_handshake_further(token)
            };
            if let Some(writable) = writable {
                self.push_ready(token, true, writable, ready);
            }
        }
        self.tls.tell(self.poll.registry(), ready);
    }

    /// Ends the handshakes of connections of ours that began with another context than counts now.
    fn end_handshakes(&mut self) {
        for (index, registered) in self.sockets.iter_mut().enumerate() {
            if let Some(registered) = registered
                && let Socket::Tls(socket) = &registered.socket
                && !socket.tls.is_open()
                && registered.failed.is_none()
            {
                registered.failed = Some(Failure::Name(OTHER_CONTEXT.into()));
                registered.ended = true;
                self.tls.again(Token(index));
            }
        }
    }

    fn push_ready(&self, token: Token, readable: bool, writable: bool, ready: &mut Vec<Readiness>) {
        let registered = self.sockets.get(token.0).and_then(Option::as_ref);
        let ended = registered.is_some_and(|it| it.ended);
        ready.push(Readiness {
            token,
            readable,
            writable,
            ended,
        });
    }

    /// What the kernel tells, as the seam tells it.
    fn tell(&mut self, events: &Events, ready: &mut Vec<Readiness>) {
        let speaks_tls = self.tls.is_on();
        if speaks_tls {
            self.tls.turn_begins(self.clock.now_ns());
        }
        for event in events {
            if speaks_tls && self.tls.note(self.poll.registry(), event) {
                continue;
            }
            let token = Token(event.token().0);
            let mut ended = event.is_read_closed() || event.is_error();
            if (ended || event.is_priority())
                && let Some(Some(registered)) = self.sockets.get_mut(token.0)
            {
                if ended && registered.tries_another(&self.poll, token) {
                    continue;
                }
                registered.ended |= ended;
                registered.reads_on = true;
            }
            let mut writable = event.is_writable();
            if speaks_tls {
                match self.tls_event(token, writable, ended) {
                    None => continue,
                    Some(takes) => writable = takes,
                }
                // A handshake may have found the end, and was made while this side was not told of anything.
                if let Some(Some(registered)) = self.sockets.get(token.0) {
                    ended |= registered.ended;
                }
            }
            ready.push(Readiness {
                token,
                // An error or an end is told by the next read. What came behind a handshake was read with it.
                readable: event.is_readable() || ended || self.has_more(token),
                writable,
                ended,
            });
        }
    }

    /// Whether bytes wait that were read with others.
    fn has_more(&self, token: Token) -> bool {
        match self.sockets.get(token.0) {
            Some(Some(Registered {
                socket: Socket::Tls(socket),
                ..
            })) => socket.tls.has_more(),
            _ => false,
        }
    }

    /// Reads from a connection that speaks TLS.
    fn read_tls(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<Received> {
        let registered = self.sockets.get_mut(token.0).and_then(Option::as_mut);
        let registered = registered.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let Socket::Tls(socket) = &mut registered.socket else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let TlsSocket { stream, tls } = &mut **socket;
        // Whether a read has emptied the socket matters within, where bytes may come to nothing that is seen here.
        let turn = Turn {
            number: self.tls.turn,
            reads_on: registered.reads_on,
        };
        let result = tls.read(stream, &mut self.tls.buffers, buffer, turn);
        if tls.take_broken_off() {
            self.tls.again(token);
        }
        result
    }

    #[inline]
    fn registered(&mut self, token: Token) -> io::Result<&mut Registered> {
        self.sockets
            .get_mut(token.0)
            .and_then(Option::as_mut)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
    }

    #[inline]
    fn socket(&mut self, token: Token) -> io::Result<&mut Socket> {
        self.registered(token).map(|it| &mut it.socket)
    }
}

impl Seam for MioSeam {
    #[inline]
    fn monotonic_ns(&mut self) -> u64 {
        self.clock.now_ns()
    }

    fn unix_us(&mut self) -> i64 {
        crate::system::clock::unix_us() as i64
    }

    fn random_u64(&mut self) -> u64 {
        crate::system::process::random_bytes().map_or(0, u64::from_ne_bytes)
    }

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let timeout = match self.tls.is_on() {
            true => self.tls.patience(timeout, &mut self.clock),
            false => timeout,
        };
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = self.poll.poll(&mut events, timeout);
        if polled.is_ok() {
            self.tell(&events, ready);
            if self.tls.is_on() {
                self.tell_of_tls(ready);
            }
        }
        self.events = events;
        polled?;
        self.begin_named(ready);
        Ok(())
    }

    fn listen(
        &mut self,
        token: Token,
        address: &ListenAddress,
        options: &ListenOptions,
    ) -> io::Result<()> {
        let mut socket = match address {
            ListenAddress::Inet(address) => Socket::TcpListener(tcp_listener(*address, options)?),
            ListenAddress::Tls(address) => {
                let mut listener = tcp_listener(*address, options)?;
                register(self.poll.registry(), &mut listener, token)?;
                self.tls.listen(token, listener)?;
                self.put(token, Socket::TlsListener);
                return Ok(());
            }
            ListenAddress::Unix(path, mode) => {
                // A stale file of an earlier run would make bind fail; Redis removes it too.
                let _ = std::fs::remove_file(path);
                let listener = unix_listener(path, options.backlog)?;
                if let Some(mode) = mode {
                    use std::os::unix::fs::PermissionsExt;
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode))?;
                }
                Socket::UnixListener(listener, path.clone())
            }
        };
        let registry = self.poll.registry();
        match &mut socket {
            Socket::TcpListener(listener) => {
                registry.register(listener, mio::Token(token.0), Interest::READABLE)?
            }
            Socket::UnixListener(listener, _) => {
                registry.register(listener, mio::Token(token.0), Interest::READABLE)?
            }
            _ => {}
        }
        self.put(token, socket);
        Ok(())
    }

    fn accept(&mut self, listener: Token, token: Token) -> io::Result<Accepted> {
        let mut certificate_names = Vec::new();
        let (socket, peer, fd) = match self.socket(listener)? {
            Socket::TlsListener => {
                let registry = self.poll.registry();
                let Established {
                    socket,
                    remote,
                    local,
                    certificate_names: names,
                } = self
                    .tls
                    .accept(registry, &mut self.clock, listener, token)?;
                certificate_names = names;
                let fd = socket.stream.as_raw_fd();
                let peer = Peer::Inet { remote, local };
                (Socket::Tls(socket), peer, fd)
            }
            Socket::TcpListener(listener) => {
                let (mut stream, remote) = listener.accept()?;
                let local = stream.local_addr().unwrap_or(remote);
                // Without it answers come later, but they come.
                let _ = stream.set_nodelay(true);
                self.poll
                    .registry()
                    .register(&mut stream, mio::Token(token.0), INTERESTS)?;
                let fd = stream.as_raw_fd();
                (Socket::Tcp(stream), Peer::Inet { remote, local }, fd)
            }
            Socket::UnixListener(listener, path) => {
                let path = path.clone();
                let (mut stream, _) = listener.accept()?;
                self.poll
                    .registry()
                    .register(&mut stream, mio::Token(token.0), INTERESTS)?;
                let fd = stream.as_raw_fd();
                (Socket::Unix(stream), Peer::Unix(path), fd)
            }
            _ => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        self.put(token, socket);
        Ok(Accepted {
            token,
            peer,
            fd: i64::from(fd),
            certificate_names,
        })
    }

    fn configure_tls(&mut self, options: &TlsOptions) -> Result<(), String> {
        if self.tls.configure(self.poll.registry(), options)? {
            self.end_handshakes();
        }
        Ok(())
    }

    fn reload_tls(&mut self, options: &TlsOptions) {
        if self.tls.reload(self.poll.registry(), options) == Reloaded::Done(true) {
            self.end_handshakes();
        }
    }

    fn connect(&mut self, token: Token, to: &ConnectAddress) -> io::Result<()> {
        if let ConnectAddress::Name {
            host,
            port,
            source,
            tls,
        } = to
        {
            if *tls && !self.tls.is_on() {
                return Err(io::Error::other("TLS is not configured"));
            }
            if let Ok(ip) = host.parse::<IpAddr>() {
                let address = SocketAddr::new(ip, *port);
                self.connect(token, &ConnectAddress::Inet(address, *source))?;
                self.registered(token)?.wraps = tls.then(|| host.as_str().into());
                return Ok(());
            }
        }
        // Registered after the call of connect: before it epoll tells of a socket that is not connected as of one that
        // has ended.
        let socket = match to {
            ConnectAddress::Inet(address, source) => {
                let mut stream = tcp_connecting(*address, *source)?;
                self.poll
                    .registry()
                    .register(&mut stream, mio::Token(token.0), INTERESTS)?;
                Socket::Tcp(stream)
            }
            ConnectAddress::Name {
                host,
                port,
                source,
                tls,
            } => {
                let lookup = self.resolver.begin(host, *port);
                self.named.insert(lookup, token);
                self.put(token, Socket::Named(lookup));
                let registered = self.registered(token)?;
                registered.wraps = tls.then(|| host.as_str().into());
                registered.others = Some(Box::new(OtherAddresses {
                    addresses: VecDeque::new(),
                    source: *source,
                }));
                return Ok(());
            }
            ConnectAddress::Unix(path) => {
                let mut stream = UnixStream::connect(path)?;
                self.poll
                    .registry()
                    .register(&mut stream, mio::Token(token.0), INTERESTS)?;
                Socket::Unix(stream)
            }
        };
        self.put(token, socket);
        Ok(())
    }

    fn connected(&mut self, token: Token) -> io::Result<()> {
        let poll = &self.poll;
        let registered = self.sockets.get_mut(token.0).and_then(Option::as_mut);
        let registered = registered.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        // A failure is the socket's pending error, which the system tells once; without one the socket has a peer, or
        // does not have it yet.
        if let Some(failure) = &registered.failed {
            return Err(failure.error());
        }
        let (error, is_connected) = match &registered.socket {
            Socket::Named(_) => return Err(io::Error::from(io::ErrorKind::WouldBlock)),
            Socket::Tcp(stream) => (stream.take_error()?, has_other_end(stream)),
            Socket::Unix(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Socket::Tls(socket) if socket.tls.is_open() => (None, Ok(())),
            Socket::Tls(_) => return Err(io::Error::from(io::ErrorKind::WouldBlock)),
            _ => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        match (error, is_connected) {
            (Some(error), _) => {
                if registered.try_next_address(poll, token).is_ok() {
                    return Err(io::Error::from(io::ErrorKind::WouldBlock));
                }
                registered.failed = Some(Failure::of(&error));
                Err(error)
            }
            (None, Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io::Error::from(if registered.ended {
                    io::ErrorKind::NotConnected
                } else {
                    io::ErrorKind::WouldBlock
                }))
            }
            // It is connected, and not made before the handshake is done.
            (None, Ok(())) if registered.wraps.is_some() => {
                Err(io::Error::from(if registered.ended {
                    io::ErrorKind::NotConnected
                } else {
                    io::ErrorKind::WouldBlock
                }))
            }
            (None, result) => {
                if result.is_ok() {
                    registered.others = None;
                }
                result
            }
        }
    }

    fn keep_alive(&mut self, token: Token, seconds: u32) {
        let stream = match self.socket(token) {
            Ok(Socket::Tcp(stream)) => stream,
            Ok(Socket::Tls(socket)) => &mut socket.stream,
            _ => return,
        };
        if seconds > 0
            && let Err(error) = keepalive(stream, seconds)
        {
            log::debug!("Setting TCP keepalive to {seconds} seconds: {error}");
        }
    }

    fn adopt_pipe(&mut self, token: Token, pipe: Pipe) -> io::Result<()> {
        let Pipe::System(pipe) = pipe else {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        };
        let mut receiver = pipe::Receiver::from(pipe);
        receiver.set_nonblocking(true)?;
        let readable = Interest::READABLE;
        self.poll
            .registry()
            .register(&mut receiver, mio::Token(token.0), readable)?;
        self.put(token, Socket::Pipe(receiver));
        Ok(())
    }

    #[inline]
    fn read(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<Received> {
        let registered = self.registered(token)?;
        loop {
            let result = match &mut registered.socket {
                Socket::Tcp(stream) => stream.read(buffer),
                Socket::Unix(stream) => stream.read(buffer),
                Socket::Pipe(pipe) => pipe.read(buffer),
                Socket::Tls(_) => return self.read_tls(token, buffer),
                Socket::Named(_) => Err(io::Error::from(io::ErrorKind::WouldBlock)),
                _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
            };
            match result {
                Ok(len) => {
                    let more = len == buffer.len() || registered.reads_on;
                    return Ok(Received { len, more });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
        }
    }

    #[inline]
    fn write(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let registered = self.sockets.get_mut(token.0).and_then(Option::as_mut);
            let registered =
                registered.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
            let result = match (&mut registered.socket, slices) {
                // One slice is the common case, and write is cheaper than writev.
                (Socket::Tcp(stream), [one]) => stream.write(one),
                (Socket::Tcp(stream), many) => stream.write_vectored(many),
                (Socket::Unix(stream), many) => stream.write_vectored(many),
                (Socket::Tls(socket), many) => {
                    let TlsSocket { stream, tls } = &mut **socket;
                    tls.write(stream, &mut self.tls.buffers, many)
                }
                (Socket::Named(_), _) => Err(io::Error::from(io::ErrorKind::WouldBlock)),
                _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return result,
            }
        }
    }

    fn close(&mut self, token: Token) {
        let Some(slot) = self.sockets.get_mut(token.0) else {
            return;
        };
        // Closing the descriptor takes it out of epoll; deregistering first is what mio asks for.
        let registry = self.poll.registry();
        match slot.take().map(|it| it.socket) {
            Some(Socket::TlsListener) => self.tls.close_listener(registry, token),
            Some(Socket::Tls(socket)) => {
                self.tls.close(registry, *socket);
                self.tls.forget(token);
            }
            Some(Socket::TcpListener(mut listener)) => drop(registry.deregister(&mut listener)),
            Some(Socket::UnixListener(mut listener, path)) => {
                drop(registry.deregister(&mut listener));
                let _ = std::fs::remove_file(path);
            }
            // Shut down before they are closed: a child that was forked just now may still hold a copy, and the peer is to
            // see the end at once. One that has ended already is no matter.
            Some(Socket::Tcp(mut stream)) => {
                drop(registry.deregister(&mut stream));
                drop(stream.shutdown(Shutdown::Both));
            }
            Some(Socket::Unix(mut stream)) => {
                drop(registry.deregister(&mut stream));
                drop(stream.shutdown(Shutdown::Both));
            }
            Some(Socket::Pipe(mut pipe)) => drop(registry.deregister(&mut pipe)),
            Some(Socket::Named(lookup)) => {
                self.named.remove(&lookup);
                self.resolver.cancel(lookup);
            }
            None => {}
        }
    }

    fn waker(&self) -> Waker {
        let waker = Arc::clone(&self.waker);
        Waker::new(move || {
            // The pipe or eventfd being full means that the loop is going to wake up anyway.
            let _ = waker.wake();
        })
    }

    fn held_bytes(&mut self, token: Token) -> usize {
        match self.sockets.get(token.0) {
            Some(Some(Registered {
                socket: Socket::Tls(socket),
                ..
            })) => socket.tls.memory_bytes(),
            _ => 0,
        }
    }

    fn finish(&mut self, patience: Duration) {
        let until_ns = self
            .clock
            .now_ns()
            .saturating_add(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX));
        while self.tls.lingering.len() > 0 {
            let left_ns = until_ns.saturating_sub(self.clock.now_ns());
            let left = Duration::from_nanos(left_ns);
            match self.poll.poll(&mut self.events, Some(left)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
            for event in &self.events {
                self.tls.note(self.poll.registry(), event);
            }
            if left_ns == 0 {
                break;
            }
        }
        self.tls.lingering.end_all(self.poll.registry());
    }

    fn sleep(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

#[cfg(test)]
#[path = "mio_seam_tests.rs"]
mod tests;
