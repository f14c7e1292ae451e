//! The network and the clocks that both sides of the simulated seam share, with the trace of all decisions.

use super::super::seam::*;
use super::links::{Connecting, Segment};
use super::machine::{Machine, PipeEnd};
use super::{Faults, SimulatedPeer};
use crate::system::rng::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wall-clock time at which every simulation begins, µs: a fixed moment of November 2026.
pub(super) const WALL_START_US: i64 = 1_795_500_000_000_000;
/// Port of the first peer; the others follow.
pub(super) const FIRST_PORT: u16 = 10_000;
/// A change is told after so many polls at the latest.
pub(super) const HELD_BACK_POLLS: u32 = 6;
/// Room of a socket for what the server has not read, unless the test says otherwise.
pub(super) const DEFAULT_INBOX: usize = 256 * 1024;
/// Room of a socket for what its peer has not taken, unless the test says otherwise.
pub(super) const DEFAULT_CAPACITY: usize = 256 * 1024;

/// How the stream that a server reads ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Open,
    /// The peer said that no more will come; it may still read.
    Finished,
    /// The peer is gone: what is written to it is lost and answered by a reset.
    Gone,
    /// Reset: reads and writes fail.
    Reset,
}

/// One end of a connection, which a server has. At the other end is a peer of the test, or another server.
#[derive(Debug)]
pub(super) struct Connection {
    /// Whose it is.
    pub(super) node: usize,
    /// The end at the other side, where that is a server's.
    pub(super) link: Option<usize>,
    /// Where a peer of the test comes from, if not from the machine of the server.
    pub(super) from: Option<std::net::IpAddr>,
    /// How far it is, where this end asked for the connection.
    pub(super) connecting: Connecting,
    /// What of the outbox is on its way to the other server, and when it is there.
    pub(super) segments: VecDeque<Segment>,
    /// Its source, from accept to close.
    pub(super) token: Option<Token>,
    pub(super) closed_by_server: bool,
    pub(super) in_flight: VecDeque<u8>,
    /// How the stream ends after the bytes in flight.
    pub(super) ending_in_flight: Ending,
    pub(super) arrived: VecDeque<u8>,
    pub(super) ending: Ending,
    pub(super) outbox: VecDeque<u8>,
    /// Bytes that were written when nobody was there to take them.
    pub(super) lost: Vec<u8>,
    pub(super) capacity: usize,
    pub(super) inbox: usize,
    /// The server was told of the end.
    pub(super) end_told: bool,
    /// A write was told to wait: room is a change.
    pub(super) owes_room: bool,
    /// Something changed that was not told.
    pub(super) edge: bool,
    /// Polls that did not tell it.
    pub(super) held_back: u32,
}

impl Connection {
    pub(super) fn new(node: usize) -> Connection {
        Connection {
            node,
            link: None,
            from: None,
            connecting: Connecting::Done,
            segments: VecDeque::new(),
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

    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.outbox.len())
    }
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.ending, Ending::Gone | Ending::Reset)
    }
    pub(super) fn is_readable(&self) -> bool {
        !self.arrived.is_empty() || self.ending != Ending::Open
    }
    pub(super) fn is_writable(&self) -> bool {
        let is_made = !matches!(self.connecting, Connecting::UnderWay { .. });
        self.is_broken() || (is_made && self.room() > 0)
    }
    /// Frees what nobody can ask for any more, where the server has closed its side.
    pub(super) fn release(&mut self) {
        self.in_flight = VecDeque::new();
        self.arrived = VecDeque::new();
        self.segments = VecDeque::new();
        let peer_reads = self.link.is_none() && self.ending_in_flight != Ending::Gone;
        if !peer_reads || self.outbox.is_empty() {
            self.outbox = VecDeque::new();
        }
    }

    pub(super) fn has_more_to_come(&self) -> bool {
        !self.in_flight.is_empty() || self.ending_in_flight != self.ending
    }
}

/// All connections that there ever were, named by their places. Indexing panics for an attempt to connect that was given up.
#[derive(Debug, Default)]
pub(super) struct Connections {
    ends: Vec<Option<Box<Connection>>>,
}

impl Connections {
    /// The place of the one that begins next.
    pub(super) fn next(&self) -> usize {
        self.ends.len()
    }

    /// Two of them at once, which are not the same.
    pub(super) fn both(&mut self, one: usize, other: usize) -> [&mut Connection; 2] {
        let both = self.ends.get_disjoint_mut([one, other]);
        both.expect("two ends")
            .map(|end| end.as_deref_mut().expect("an end that was not given up"))
    }
}

impl Index<usize> for Connections {
    type Output = Connection;

    fn index(&self, end: usize) -> &Connection {
        self.ends[end]
            .as_deref()
            .expect("an end that was not given up")
    }
}

impl IndexMut<usize> for Connections {
    fn index_mut(&mut self, end: usize) -> &mut Connection {
        self.ends[end]
            .as_deref_mut()
            .expect("an end that was not given up")
    }
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) address: ListenAddress,
    pub(super) waiting: VecDeque<SimulatedPeer>,
    /// So many servers may wait; clients of the test always find room.
    pub(super) backlog: usize,
    pub(super) edge: bool,
    pub(super) held_back: u32,
}

pub(super) enum Socket {
    Listener(Listener),
    Stream(SimulatedPeer),
    /// What a child reports.
    Pipe(PipeEnd),
}

/// One server with its machine.
pub(super) struct Node {
    pub(super) wall_jumps_us: i64,
    pub(super) sockets: Vec<Option<Socket>>,
    pub(super) accepted: Vec<SimulatedPeer>,
    /// Connections that may be open at once (the process's descriptors).
    pub(super) descriptors: usize,
    pub(super) open: usize,
    pub(super) rung: Arc<AtomicBool>,
    pub(super) machine: Machine,
}

impl Node {
    pub(super) fn new(seed: u64) -> Node {
        Node {
            wall_jumps_us: 0,
            sockets: Vec::new(),
            accepted: Vec::new(),
            descriptors: usize::MAX,
            open: 0,
            rung: Arc::default(),
            machine: Machine::new(seed),
        }
    }

    pub(super) fn listener(&mut self, token: Token) -> Option<&mut Listener> {
        match self.sockets.get_mut(token.0)? {
            Some(Socket::Listener(listener)) => Some(listener),
            _ => None,
        }
    }

    pub(super) fn listeners(&mut self) -> impl Iterator<Item = &mut Listener> {
        let sockets = self.sockets.iter_mut().flatten();
        sockets.filter_map(|socket| match socket {
            Socket::Listener(listener) => Some(listener),
            Socket::Stream(_) | Socket::Pipe(_) => None,
        })
    }

    pub(super) fn peer_of(&self, token: Token) -> io::Result<SimulatedPeer> {
        match self.sockets.get(token.0) {
            Some(Some(Socket::Stream(peer))) => Ok(*peer),
            _ => Err(io::Error::from(io::ErrorKind::NotConnected)),
        }
    }

    pub(super) fn put(&mut self, token: Token, socket: Socket) {
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
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) mono_ns: u64,
    /// The servers; one, unless the test adds more.
    pub(super) nodes: Vec<Node>,
    /// Whose turn it is, for the trace.
    pub(super) at_node: usize,
    /// Servers by their host names.
    pub(super) names: BTreeMap<String, usize>,
    /// From which servers nothing gets through to which.
    pub(super) cuts: BTreeSet<(usize, usize)>,
    pub(super) connections: Connections,
    /// Those to which something may still happen, in the order in which they began.
    pub(super) unfinished: Vec<usize>,
    pub(super) trace_hash: u64,
    pub(super) trace_len: u64,
    /// The trace itself, when it is asked for.
    pub(super) trace: Option<String>,
    pub(super) line: String,
}

/// Adds a line to the trace.
macro_rules! note {
    ($world:expr, $($format:tt)*) => {{
        let world: &mut $crate::event_loop::simulator::network::World = $world;
        world.line.clear();
        let _ = std::fmt::Write::write_fmt(&mut world.line, format_args!($($format)*));
        world.line.push('\n');
        world.end_line();
    }};
}

pub(super) use note;

pub(super) fn hash_bytes(mut hash: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> World {
        World {
            rng: Rng::new(seed),
            faults,
            mono_ns: 1,
            nodes: vec![Node::new(seed)],
            at_node: 0,
            names: BTreeMap::new(),
            cuts: BTreeSet::new(),
            connections: Connections::default(),
            unfinished: Vec::new(),
            trace_hash: 0xcbf2_9ce4_8422_2325,
            trace_len: 0,
            trace: None,
            line: String::new(),
        }
    }

    pub(super) fn end_line(&mut self) {
        self.trace_hash = hash_bytes(self.trace_hash, self.line.bytes());
        self.trace_len += self.line.len() as u64;
        if let Some(trace) = &mut self.trace {
            trace.push_str(&self.line);
        }
    }

    pub(super) fn chance(&mut self, in_1000: u32) -> bool {
        in_1000 > 0 && self.rng.below(1000) < u64::from(in_1000)
    }

    /// Begins a connection; which one it is.
    pub(super) fn add(&mut self, connection: Connection) -> usize {
        let end = self.connections.next();
        self.connections.ends.push(Some(Box::new(connection)));
        self.unfinished.push(end);
        end
    }

    /// Passes over the ends to which nothing can happen any more, and frees what they hold. O(ends that are unfinished).
    pub(super) fn forget_finished(&mut self) {
        let connections = &mut self.connections;
        self.unfinished.retain(|end| {
            let connection = &connections[*end];
            // One that is written to when it is closed has still a reset to send.
            let other_is_open =
                (connection.link).is_some_and(|other| !connections[other].closed_by_server);
            if !connection.closed_by_server || !connection.segments.is_empty() || other_is_open {
                return true;
            }
            // Of an attempt that failed only the server ever knew.
            if connection.link.is_none() && connection.connecting != Connecting::Done {
                connections.ends[*end] = None;
            } else {
                connections[*end].release();
            }
            false
        });
    }

    /// Lets bytes of one connection arrive: all, or a part. `force`: at least something.
    pub(super) fn arrive(&mut self, peer: SimulatedPeer, force: bool) {
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

    /// Lets bytes of the connections of a server arrive.
    pub(super) fn arrive_all(&mut self, node: usize, force: bool) {
        for at in 0..self.unfinished.len() {
            let index = self.unfinished[at];
            let connection = &self.connections[index];
            if connection.node != node || !connection.has_more_to_come() {
                continue;
            }
            if force || !self.chance(self.faults.cut / 2) {
                self.arrive(SimulatedPeer(index), force);
            }
        }
    }

    pub(super) fn jump_clock(&mut self, node: usize) {
        if !self.chance(self.faults.clock_jump) {
            return;
        }
        let far_us = self.rng.below(self.faults.longest_jump_ms.max(1) * 1000) as i64;
        let jump = if self.rng.below(2) == 0 {
            far_us
        } else {
            -far_us
        };
        self.nodes[node].wall_jumps_us += jump;
        note!(self, "clock {jump}");
    }

    /// What there is to tell a server; `all`: hold nothing back.
    pub(super) fn report_ready(&mut self, node: usize, all: bool, ready: &mut Vec<Readiness>) {
        let from = ready.len();
        if self.nodes[node].rung.swap(false, Ordering::Relaxed) {
            ready.push(Readiness {
                token: WAKER_TOKEN,
                readable: true,
                writable: false,
                ended: false,
            });
        }
        for index in 0..self.nodes[node].sockets.len() {
            let spurious = self.chance(self.faults.spurious);
            let hold = !all && self.chance(self.faults.hold_back);
            if let Some(told) = self.report(node, Token(index), spurious, hold) {
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

    pub(super) fn report(
        &mut self,
        node: usize,
        token: Token,
        spurious: bool,
        hold: bool,
    ) -> Option<Readiness> {
        match self.nodes[node].sockets[token.0].as_mut()? {
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
            Socket::Pipe(pipe) => {
                let ready = pipe.edge;
                if ready && hold && pipe.held_back < HELD_BACK_POLLS {
                    pipe.held_back += 1;
                    return None;
                }
                pipe.edge = false;
                pipe.held_back = 0;
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

pub(super) fn connection_resets(connection: &Connection) -> bool {
    connection.ending_in_flight == Ending::Reset && connection.ending != Ending::Reset
}

impl World {
    pub(super) fn unix_us(&self, node: usize) -> i64 {
        WALL_START_US + (self.mono_ns / 1000) as i64 + self.nodes[node].wall_jumps_us
    }
}
