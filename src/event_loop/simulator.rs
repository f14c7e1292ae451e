//! The seeded simulator: the seam's second implementation, a whole network and two clocks inside one process.
//!
//! In: a seed, and what the test's peers do through a [`SimulatorHandle`] (connect, send, take, finish, close, reset,
//! let time pass). Out: readiness, bytes and times for the loop above, and a trace of every decision. The same seed
//! and the same doings of the peers give the same trace, byte for byte.
//!
//! ```text
//!   peer ─ send ─▶ [ in flight ] ─ arrives, cut anywhere ─▶ [ arrived ] ─ read ─▶ server
//!   peer ◀─ take ─ [ outbox, bounded ]                      ◀─ write, cut anywhere ─ server
//! ```
//!
//! It is as nasty as a kernel may be, and never nastier:
//! * Readiness is edge-triggered. A change is told once, maybe late, maybe together with others, always in the state
//!   in which the source is when it is told. A source may be told without cause.
//! * A read yields less than was asked for only when nothing more had arrived; what arrives a moment later is a new
//!   edge. A write that takes less than it was given, or nothing, owes an edge only after `WouldBlock`.
//! * A poll that may sleep does not, as long as there is something to tell.
//! * The end of a peer's stream comes on the edge of its last bytes, or later, and not before there is room for those.
//!   A reset may come in front of bytes that had arrived.
//!
//! It is test equipment, compiled into the library because whole servers are run on it from outside of the crate. What
//! passes the seam by (files, child processes) is as it is on the machine, and is not the same for the same seed.

use super::seam::*;
use crate::system::rng::Rng;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Wall-clock time at which every simulation begins, µs: a fixed moment of November 2026.
const WALL_START_US: i64 = 1_795_500_000_000_000;
/// Port of the first peer; the others follow.
const FIRST_PORT: u16 = 10_000;
/// A change is told after so many polls at the latest.
const HELD_BACK_POLLS: u32 = 6;
/// Room of a socket for what the server has not read, unless the test says otherwise.
const DEFAULT_INBOX: usize = 256 * 1024;
/// Room of a socket for what its peer has not taken, unless the test says otherwise.
const DEFAULT_CAPACITY: usize = 256 * 1024;

/// How often things go wrong, each in 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A change is not told in this poll but in a later one.
    pub hold_back: u32,
    /// A source is told although nothing has changed.
    pub spurious: u32,
    /// Poll is interrupted by a signal.
    pub interrupt: u32,
    /// Bytes in flight arrive in part, or not in this turn.
    pub cut: u32,
    /// A write takes only a part although there is room.
    pub short_write: u32,
    /// A write would block although there is room (which is told as an edge).
    pub write_block: u32,
    /// Accepting fails: no descriptor, a connection that was aborted, a signal.
    pub accept_error: u32,
    /// The wall clock jumps, either way.
    pub clock_jump: u32,
    /// How far the wall clock jumps at most, ms.
    pub longest_jump_ms: u64,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Faults = Faults {
        hold_back: 0,
        spurious: 0,
        interrupt: 0,
        cut: 0,
        short_write: 0,
        write_block: 0,
        accept_error: 0,
        clock_jump: 0,
        longest_jump_ms: 0,
    };

    /// Some mixture; the wall clock is left alone.
    pub fn any(rng: &mut Rng) -> Faults {
        let mut often = |most: u64| {
            // Each fault is absent from a quarter of the runs, so that one does not always hide another.
            if rng.below(4) == 0 {
                0
            } else {
                rng.below(most) as u32
            }
        };
        Faults {
            hold_back: often(500),
            spurious: often(100),
            interrupt: often(50),
            cut: often(900),
            short_write: often(700),
            write_block: often(300),
            accept_error: often(500),
            clock_jump: 0,
            longest_jump_ms: 0,
        }
    }
}

/// Names a peer of the server, in the order in which they connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SimulatedPeer(pub usize);

/// The end of a connection, from the server's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Open,
    /// The peer said that no more will come; it may still read.
    Finished,
    /// The peer is gone: what is written to it is lost and answered by a reset.
    Gone,
    /// Reset: reads and writes fail.
    Reset,
}

#[derive(Debug)]
struct Connection {
    /// Its source, from accept to close.
    token: Option<Token>,
    closed_by_server: bool,
    in_flight: VecDeque<u8>,
    /// How the stream ends after the bytes in flight.
    ending_in_flight: Ending,
    arrived: VecDeque<u8>,
    ending: Ending,
    outbox: VecDeque<u8>,
    /// Bytes that were written when nobody was there to take them.
    lost: Vec<u8>,
    capacity: usize,
    inbox: usize,
    /// The server was told of the end.
    end_told: bool,
    /// A write was told to wait: room is a change.
    owes_room: bool,
    /// Something changed that was not told.
    edge: bool,
    /// Polls that did not tell it.
    held_back: u32,
}

impl Connection {
    fn new() -> Connection {
        Connection {
            token: None,
            closed_by_server: false,
            in_flight: VecDeque::new(),
            ending_in_flight: Ending::Open,
            arrived: VecDeque::new(),
            ending: Ending::Open,
            outbox: VecDeque::new(),
            lost: Vec::new(),
            capacity: DEFAULT_CAPACITY,
            inbox: DEFAULT_INBOX,
            end_told: false,
            owes_room: false,
            edge: false,
            held_back: 0,
        }
    }

    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.outbox.len())
    }
    fn is_broken(&self) -> bool {
        matches!(self.ending, Ending::Gone | Ending::Reset)
    }
    fn is_readable(&self) -> bool {
        !self.arrived.is_empty() || self.ending != Ending::Open
    }
    fn is_writable(&self) -> bool {
        self.is_broken() || self.room() > 0
    }
    fn has_more_to_come(&self) -> bool {
        !self.in_flight.is_empty() || self.ending_in_flight != self.ending
    }
}

#[derive(Debug)]
struct Listener {
    address: ListenAddress,
    waiting: VecDeque<SimulatedPeer>,
    edge: bool,
    held_back: u32,
}

enum Socket {
    Listener(Listener),
    Stream(SimulatedPeer),
}

struct World {
    rng: Rng,
    faults: Faults,
    mono_ns: u64,
    wall_jumps_us: i64,
    sockets: Vec<Option<Socket>>,
    connections: Vec<Connection>,
    accepted: Vec<SimulatedPeer>,
    /// Connections that may be open at once (the process's descriptors).
    descriptors: usize,
    open: usize,
    rung: Arc<AtomicBool>,
    trace_hash: u64,
    trace_len: u64,
    /// The trace itself, when it is asked for.
    trace: Option<String>,
    line: String,
}

/// The seam that the server gets.
pub struct Simulator {
    world: Rc<RefCell<World>>,
}

/// The other side of the seam: the peers, and time.
#[derive(Clone)]
pub struct SimulatorHandle {
    world: Rc<RefCell<World>>,
}

impl Simulator {
    /// A simulated system, and the handle to its other side.
    pub fn new(seed: u64, faults: Faults) -> (Simulator, SimulatorHandle) {
        let world = Rc::new(RefCell::new(World {
            rng: Rng::new(seed),
            faults,
            mono_ns: 1,
            wall_jumps_us: 0,
            sockets: Vec::new(),
            connections: Vec::new(),
            accepted: Vec::new(),
            descriptors: usize::MAX,
            open: 0,
            rung: Arc::default(),
            trace_hash: 0xcbf2_9ce4_8422_2325,
            trace_len: 0,
            trace: None,
            line: String::new(),
        }));
        let handle = SimulatorHandle {
            world: Rc::clone(&world),
        };
        (Simulator { world }, handle)
    }
}

/// Adds a line to the trace.
macro_rules! note {
    ($world:expr, $($format:tt)*) => {{
        let world: &mut World = $world;
        world.line.clear();
        let _ = writeln!(world.line, $($format)*);
        world.end_line();
    }};
}

fn hash_bytes(mut hash: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

impl World {
    fn end_line(&mut self) {
        self.trace_hash = hash_bytes(self.trace_hash, self.line.bytes());
        self.trace_len += self.line.len() as u64;
        if let Some(trace) = &mut self.trace {
            trace.push_str(&self.line);
        }
    }

    fn chance(&mut self, in_1000: u32) -> bool {
        in_1000 > 0 && self.rng.below(1000) < u64::from(in_1000)
    }

    fn listener(&mut self, token: Token) -> Option<&mut Listener> {
        match self.sockets.get_mut(token.0)? {
            Some(Socket::Listener(listener)) => Some(listener),
            _ => None,
        }
    }

    fn peer_of(&self, token: Token) -> io::Result<SimulatedPeer> {
        match self.sockets.get(token.0) {
            Some(Some(Socket::Stream(peer))) => Ok(*peer),
            _ => Err(io::Error::from(io::ErrorKind::NotConnected)),
        }
    }

    fn put(&mut self, token: Token, socket: Socket) {
        if self.sockets.len() <= token.0 {
            self.sockets.resize_with(token.0 + 1, || None);
        }
        assert!(
            self.sockets[token.0].is_none(),
            "token {} was given out twice",
            token.0
        );
        self.sockets[token.0] = Some(socket);
    }

    /// Lets bytes of one connection arrive: all, or a part. `force`: at least something.
    fn arrive(&mut self, peer: SimulatedPeer, force: bool) {
        let connection = &self.connections[peer.0];
        if connection.closed_by_server || !connection.has_more_to_come() {
            return;
        }
        let waiting = connection.in_flight.len();
        let cut = self.chance(self.faults.cut);
        let n = if !cut {
            waiting
        } else {
            match self.rng.below(4) {
                0 if !force => 0,
                1 => waiting.min(1),
                2 => waiting.min(1 + self.rng.index(64)),
                _ => waiting.min(1 + self.rng.index(waiting + 1)),
            }
        };
        let connection = &self.connections[peer.0];
        let n = n.min(connection.inbox.saturating_sub(connection.arrived.len()));
        // A reset may overtake bytes, an end never does. Either comes on the edge of the last bytes, or apart, later.
        let apart = cut && n > 0 && self.rng.below(2) == 0;
        let ends = n == waiting && !apart;
        let resets_early = connection_resets(&self.connections[peer.0]) && self.rng.below(2) == 0;
        let connection = &mut self.connections[peer.0];
        connection
            .arrived
            .extend(connection.in_flight.iter().take(n));
        connection.in_flight.drain(..n);
        let mut changed = n > 0;
        if connection.ending != connection.ending_in_flight && (ends || resets_early) {
            connection.ending = connection.ending_in_flight;
            changed = true;
            if connection.ending == Ending::Reset && resets_early {
                connection.arrived.clear();
                connection.in_flight.clear();
            }
        }
        if changed {
            connection.edge = true;
            let ending = connection.ending;
            note!(self, "arrive {} {n} {ending:?}", peer.0);
        }
    }

    fn arrive_all(&mut self, force: bool) {
        for index in 0..self.connections.len() {
            if force || !self.chance(self.faults.cut / 2) {
                self.arrive(SimulatedPeer(index), force);
            }
        }
    }

    fn jump_clock(&mut self) {
        if !self.chance(self.faults.clock_jump) {
            return;
        }
        let far_us = self.rng.below(self.faults.longest_jump_ms.max(1) * 1000) as i64;
        let jump = if self.rng.below(2) == 0 {
            far_us
        } else {
            -far_us
        };
        self.wall_jumps_us += jump;
        note!(self, "clock {jump}");
    }

    /// What there is to tell; `all`: hold nothing back.
    fn tell(&mut self, all: bool, ready: &mut Vec<Readiness>) {
        let from = ready.len();
        if self.rung.swap(false, Ordering::Relaxed) {
            ready.push(Readiness {
                token: WAKER_TOKEN,
                readable: true,
                writable: false,
                ended: false,
            });
        }
        for index in 0..self.sockets.len() {
            let spurious = self.chance(self.faults.spurious);
            let hold = !all && self.chance(self.faults.hold_back);
            if let Some(told) = self.tell_one(Token(index), spurious, hold) {
                ready.push(told);
            }
        }
        // In any order.
        for index in (from + 1..ready.len()).rev() {
            let other = from + self.rng.index(index - from + 1);
            ready.swap(index, other);
        }
        for told in &ready[from..] {
            note!(self, "tell {told:?}");
        }
    }

    fn tell_one(&mut self, token: Token, spurious: bool, hold: bool) -> Option<Readiness> {
        match self.sockets[token.0].as_mut()? {
            Socket::Listener(listener) => {
                let ready = listener.edge && !listener.waiting.is_empty();
                if ready && hold && listener.held_back < HELD_BACK_POLLS {
                    listener.held_back += 1;
                    return None;
                }
                listener.edge &= !ready;
                listener.held_back = 0;
                (ready || spurious).then_some(Readiness {
                    token,
                    readable: true,
                    writable: false,
                    ended: false,
                })
            }
            Socket::Stream(peer) => {
                let connection = &mut self.connections[peer.0];
                let (readable, writable) = (connection.is_readable(), connection.is_writable());
                let ready = connection.edge && (readable || writable);
                if ready && hold && connection.held_back < HELD_BACK_POLLS {
                    connection.held_back += 1;
                    return None;
                }
                if ready {
                    connection.edge = false;
                    connection.held_back = 0;
                }
                connection.end_told |= (ready || spurious) && connection.ending != Ending::Open;
                (ready || spurious).then_some(Readiness {
                    token,
                    readable: readable || spurious,
                    writable: writable || spurious,
                    ended: connection.ending != Ending::Open,
                })
            }
        }
    }
}

fn connection_resets(connection: &Connection) -> bool {
    connection.ending_in_flight == Ending::Reset && connection.ending != Ending::Reset
}

impl Seam for Simulator {
    fn monotonic_ns(&mut self) -> u64 {
        let mut world = self.world.borrow_mut();
        // Mostly well under a microsecond; now and then the process was not scheduled for a while.
        let step = match world.rng.below(256) {
            0 => world.rng.below(2_000_000),
            _ => world.rng.below(1_000),
        };
        world.mono_ns += step;
        world.mono_ns
    }

    fn unix_us(&mut self) -> i64 {
        self.world.borrow().unix_us()
    }

    fn random_u64(&mut self) -> u64 {
        self.world.borrow_mut().rng.next_u64()
    }

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        world.jump_clock();
        if world.chance(world.faults.interrupt) {
            note!(world, "interrupted");
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        world.arrive_all(false);
        world.tell(false, ready);
        let sleeps = timeout != Some(Duration::ZERO);
        if !ready.is_empty() || !sleeps {
            return Ok(());
        }
        world.tell(true, ready);
        let timeout_ns = timeout.map_or(1_000_000_000, |timeout| timeout.as_nanos() as u64);
        if ready.is_empty() {
            // Nothing to tell: time passes until something arrives.
            let to_come = world
                .connections
                .iter()
                .any(|connection| !connection.closed_by_server && connection.has_more_to_come());
            if to_come {
                world.mono_ns += world.rng.below(timeout_ns.min(1_000_000) + 1);
                world.arrive_all(true);
                world.tell(true, ready);
            }
        }
        if ready.is_empty() {
            world.mono_ns += timeout_ns;
        }
        let now = world.mono_ns;
        note!(world, "slept {now}");
        Ok(())
    }

    fn listen(
        &mut self,
        token: Token,
        address: &ListenAddress,
        _options: &ListenOptions,
    ) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let taken = world.sockets.iter().flatten().any(
            |socket| matches!(socket, Socket::Listener(listener) if listener.address == *address),
        );
        if taken {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        world.put(
            token,
            Socket::Listener(Listener {
                address: address.clone(),
                waiting: VecDeque::new(),
                edge: false,
                held_back: 0,
            }),
        );
        note!(&mut *world, "listen {} {address:?}", token.0);
        Ok(())
    }

    fn accept(&mut self, listener: Token, token: Token) -> io::Result<Accepted> {
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        let waiting = match world.listener(listener) {
            Some(listener) => listener.waiting.len(),
            None => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        if waiting > 0
            && (world.open >= world.descriptors || world.chance(world.faults.accept_error))
        {
            let error = match world.rng.below(4) {
                _ if world.open >= world.descriptors => libc::EMFILE,
                0 => libc::ECONNABORTED,
                1 => libc::EINTR,
                2 => libc::ENFILE,
                _ => libc::EMFILE,
            };
            note!(world, "accept {} fails {error}", listener.0);
            return Err(io::Error::from_raw_os_error(error));
        }
        let Some((peer, address)) = world.listener(listener).and_then(|listener| {
            let peer = listener.waiting.pop_front()?;
            Some((peer, listener.address.clone()))
        }) else {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        };
        let connection = &mut world.connections[peer.0];
        connection.token = Some(token);
        // A socket is told once when it is registered: it takes bytes.
        connection.edge = true;
        world.open += 1;
        world.accepted.push(peer);
        world.put(token, Socket::Stream(peer));
        note!(world, "accept {} {}", peer.0, token.0);
        let peer_address = match address {
            ListenAddress::Inet(local) => Peer::Inet {
                remote: SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT + peer.0 as u16)),
                local,
            },
            ListenAddress::Unix(path, _) => Peer::Unix(path),
        };
        Ok(Accepted {
            token,
            peer: peer_address,
            fd: peer.0 as i64 + 8,
        })
    }

    fn adopt_pipe(&mut self, _token: Token, _pipe: std::os::fd::OwnedFd) -> io::Result<()> {
        // A simulation is one process: what would run in a child does not.
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn read(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        let peer = world.peer_of(token)?;
        let connection = &world.connections[peer.0];
        let there = connection.arrived.len().min(buffer.len());
        if there == 0 {
            let ending = connection.ending;
            world.connections[peer.0].end_told |= ending != Ending::Open;
            note!(world, "read {} nothing {ending:?}", peer.0);
            return match ending {
                Ending::Open => Err(io::Error::from(io::ErrorKind::WouldBlock)),
                Ending::Finished | Ending::Gone => Ok(0),
                Ending::Reset => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            };
        }
        // A shorter read stands for bytes that arrived right after it: they are a new edge.
        let n = if world.chance(world.faults.cut / 4) {
            1 + world.rng.index(there)
        } else {
            there
        };
        let connection = &mut world.connections[peer.0];
        for (to, from) in buffer.iter_mut().zip(connection.arrived.drain(..n)) {
            *to = from;
        }
        connection.edge |= n < there;
        note!(world, "read {} {n}", peer.0);
        // And more may come while the server is still reading.
        if world.chance(world.faults.cut / 4) {
            world.arrive(peer, false);
        }
        Ok(n)
    }

    fn write(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        let peer = world.peer_of(token)?;
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let blocks = world.chance(world.faults.write_block);
        let cuts = world.chance(world.faults.short_write);
        let connection = &mut world.connections[peer.0];
        match connection.ending {
            Ending::Open | Ending::Finished => {}
            Ending::Gone => {
                // The kernel takes it; the answer is a reset.
                connection.ending_in_flight = Ending::Reset;
                let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
                connection.lost.extend(bytes);
                note!(world, "write {} {total} lost", peer.0);
                return Ok(total);
            }
            Ending::Reset => {
                note!(world, "write {} reset", peer.0);
                return Err(io::Error::from(io::ErrorKind::BrokenPipe));
            }
        }
        let room = connection.room().min(total);
        if total > 0 && (room == 0 || blocks) {
            connection.owes_room = room == 0;
            connection.edge |= room > 0;
            note!(world, "write {} {total} blocks", peer.0);
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        let n = if cuts && room > 1 {
            1 + world.rng.index(room)
        } else {
            room
        };
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        let connection = &mut world.connections[peer.0];
        let before = connection.outbox.len();
        if slices.len() == 1 {
            connection.outbox.extend(&slices[0][..n]);
        } else {
            connection.outbox.extend(bytes.take(n));
        }
        let hash = hash_bytes(0, connection.outbox.range(before..).copied());
        note!(world, "write {} {n} of {total} {hash:x}", peer.0);
        Ok(n)
    }

    fn close(&mut self, token: Token) {
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        match world.sockets.get_mut(token.0).and_then(Option::take) {
            Some(Socket::Stream(peer)) => {
                let connection = &mut world.connections[peer.0];
                connection.token = None;
                connection.closed_by_server = true;
                connection.in_flight = VecDeque::new();
                connection.arrived = VecDeque::new();
                world.open -= 1;
                note!(world, "close {}", peer.0);
            }
            Some(Socket::Listener(listener)) => {
                for peer in listener.waiting {
                    world.connections[peer.0].closed_by_server = true;
                }
                note!(world, "close listener {}", token.0);
            }
            None => {}
        }
    }

    fn waker(&self) -> Waker {
        let rung = Arc::clone(&self.world.borrow().rung);
        Waker::new(move || rung.store(true, Ordering::Relaxed))
    }

    fn sleep(&mut self, duration: Duration) {
        self.world.borrow_mut().mono_ns += duration.as_nanos() as u64;
    }
}

impl World {
    fn unix_us(&self) -> i64 {
        WALL_START_US + (self.mono_ns / 1000) as i64 + self.wall_jumps_us
    }
}

impl SimulatorHandle {
    fn connection<R>(&self, peer: SimulatedPeer, act: impl FnOnce(&mut Connection) -> R) -> R {
        act(&mut self.world.borrow_mut().connections[peer.0])
    }

    /// Connects a peer to the first listener that is open; it waits there until the server accepts it.
    pub fn connect(&self) -> SimulatedPeer {
        self.connect_to(None)
    }

    /// Connects a peer to the listener of this port, or to any if none is named.
    pub fn connect_to(&self, port: Option<u16>) -> SimulatedPeer {
        let mut world = self.world.borrow_mut();
        let peer = SimulatedPeer(world.connections.len());
        world.connections.push(Connection::new());
        let is_wanted = |address: &ListenAddress| match (port, address) {
            (None, _) => true,
            (Some(port), ListenAddress::Inet(address)) => address.port() == port,
            (Some(_), ListenAddress::Unix(..)) => false,
        };
        let listener = world
            .sockets
            .iter_mut()
            .flatten()
            .find_map(|socket| match socket {
                Socket::Listener(listener) if is_wanted(&listener.address) => Some(listener),
                Socket::Listener(_) | Socket::Stream(_) => None,
            });
        match listener {
            Some(listener) => {
                listener.waiting.push_back(peer);
                listener.edge = true;
            }
            None => world.connections[peer.0].closed_by_server = true,
        }
        note!(&mut *world, "connect {}", peer.0);
        peer
    }

    /// Sends bytes; they arrive when the seed says so.
    pub fn send(&self, peer: SimulatedPeer, bytes: &[u8]) {
        let mut world = self.world.borrow_mut();
        let connection = &mut world.connections[peer.0];
        if connection.closed_by_server || connection.ending_in_flight != Ending::Open {
            return;
        }
        connection.in_flight.extend(bytes);
        let hash = hash_bytes(0, bytes.iter().copied());
        note!(&mut *world, "send {} {} {hash:x}", peer.0, bytes.len());
    }

    /// Takes up to `most` of the bytes that the server wrote.
    pub fn take(&self, peer: SimulatedPeer, most: usize) -> Vec<u8> {
        let mut world = self.world.borrow_mut();
        let connection = &mut world.connections[peer.0];
        let n = connection.outbox.len().min(most);
        if n == 0 {
            return Vec::new();
        }
        let taken: Vec<u8> = connection.outbox.drain(..n).collect();
        // The kernel tells of room when a good part is free.
        if connection.owes_room && connection.outbox.len() <= connection.capacity * 2 / 3 {
            connection.owes_room = false;
            connection.edge = true;
        }
        note!(&mut *world, "take {} {n}", peer.0);
        taken
    }

    /// Bytes that the server wrote and the peer has not taken.
    pub fn untaken(&self, peer: SimulatedPeer) -> usize {
        self.connection(peer, |connection| connection.outbox.len())
    }

    /// Bytes that the peer sent and the server has not read.
    pub fn unread(&self, peer: SimulatedPeer) -> usize {
        self.connection(peer, |connection| {
            connection.in_flight.len() + connection.arrived.len()
        })
    }

    /// Whether the server has closed (or refused) the connection. What it wrote before can still be taken.
    pub fn is_closed(&self, peer: SimulatedPeer) -> bool {
        self.connection(peer, |connection| connection.closed_by_server)
    }

    /// Sets how many untaken bytes the socket holds before writes block; at least one.
    pub fn set_capacity(&self, peer: SimulatedPeer, bytes: usize) {
        self.connection(peer, |connection| connection.capacity = bytes.max(1));
    }

    /// Sets how many unread bytes the socket holds before more, or an end behind them, can arrive; at least one.
    pub fn set_inbox(&self, peer: SimulatedPeer, bytes: usize) {
        self.connection(peer, |connection| connection.inbox = bytes.max(1));
    }

    /// Whether the server was told that this peer has ended its side or is gone.
    pub fn end_was_told(&self, peer: SimulatedPeer) -> bool {
        self.connection(peer, |connection| connection.end_told)
    }

    /// Takes what the server wrote when the peer was gone.
    pub fn take_lost(&self, peer: SimulatedPeer) -> Vec<u8> {
        self.connection(peer, |connection| std::mem::take(&mut connection.lost))
    }

    /// Ends the peer's side of the stream after the bytes in flight; it still takes replies.
    pub fn finish(&self, peer: SimulatedPeer) {
        self.end(peer, Ending::Finished);
    }

    /// Closes the peer's socket after the bytes in flight; what the server writes from then on is lost.
    pub fn close(&self, peer: SimulatedPeer) {
        self.end(peer, Ending::Gone);
    }

    /// Resets the connection; bytes in flight may be lost.
    pub fn reset(&self, peer: SimulatedPeer) {
        self.end(peer, Ending::Reset);
    }

    fn end(&self, peer: SimulatedPeer, ending: Ending) {
        let mut world = self.world.borrow_mut();
        let connection = &mut world.connections[peer.0];
        if connection.ending_in_flight != Ending::Reset {
            connection.ending_in_flight = ending;
        }
        note!(&mut *world, "end {} {ending:?}", peer.0);
    }

    /// Peers in the order in which the server accepted them.
    pub fn accepted(&self) -> Vec<SimulatedPeer> {
        self.world.borrow().accepted.clone()
    }

    /// How many connections the process has descriptors for.
    pub fn set_descriptors(&self, most: usize) {
        self.world.borrow_mut().descriptors = most;
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.world.borrow_mut().faults = faults;
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, duration: Duration) {
        let mut world = self.world.borrow_mut();
        world.mono_ns += duration.as_nanos() as u64;
        note!(&mut *world, "advance {}", duration.as_nanos());
    }

    /// Sets the wall clock forward or back.
    pub fn jump_wall_clock(&self, us: i64) {
        self.world.borrow_mut().wall_jumps_us += us;
    }

    /// The wall clock.
    pub fn unix_us(&self) -> i64 {
        self.world.borrow().unix_us()
    }

    /// Keeps the trace itself from now on, not only its sum.
    pub fn keep_trace(&self) {
        self.world.borrow_mut().trace.get_or_insert_default();
    }

    /// Adds a line of the test's own.
    pub fn note(&self, text: &str) {
        note!(&mut *self.world.borrow_mut(), "{text}");
    }

    /// Length and hash of the trace so far.
    pub fn trace_sum(&self) -> (u64, u64) {
        let world = self.world.borrow();
        (world.trace_len, world.trace_hash)
    }

    /// The trace, if it was kept.
    pub fn trace(&self) -> Option<String> {
        self.world.borrow().trace.clone()
    }
}
