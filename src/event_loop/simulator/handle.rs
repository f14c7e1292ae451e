//! The other side of the simulated seam: what the test's peers do, and time.

use super::super::seam::ListenAddress;
use super::Faults;
use super::network::{Connection, Ending, World, hash_bytes, note};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Names a peer of the server, in the order in which they connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SimulatedPeer(pub usize);

/// The other side of the seam of one server: its peers, its machine, and the time and the network that all share.
#[derive(Clone)]
pub struct SimulatorHandle {
    pub(super) world: Rc<RefCell<World>>,
    pub(super) node: usize,
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
        let peer = SimulatedPeer(world.add(Connection::new(self.node)));
        let is_wanted = |address: &ListenAddress| match (port, address) {
            (None, _) => true,
            (Some(port), ListenAddress::Inet(address) | ListenAddress::Tls(address)) => {
                address.port() == port
            }
            (Some(_), ListenAddress::Unix(..)) => false,
        };
        let mut listeners = world.nodes[self.node].listeners();
        let is_refused = match listeners.find(|listener| is_wanted(&listener.address)) {
            Some(listener) => {
                listener.waiting.push_back(peer);
                listener.edge = true;
                false
            }
            None => true,
        };
        drop(listeners);
        world.connections[peer.0].closed_by_server = is_refused;
        note!(&mut *world, "connect {}", peer.0);
        peer
    }

    /// Connects a peer that has this address; to which listener: as [`SimulatorHandle::connect_to`].
    pub fn connect_from(&self, address: std::net::IpAddr, port: Option<u16>) -> SimulatedPeer {
        let peer = self.connect_to(port);
        self.connection(peer, |connection| connection.from = Some(address));
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
        if connection.outbox.is_empty() && connection.closed_by_server {
            connection.release();
        }
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
        self.world.borrow().nodes[self.node].accepted.clone()
    }

    /// How many connections the process has descriptors for.
    pub fn set_descriptors(&self, most: usize) {
        self.world.borrow_mut().nodes[self.node].descriptors = most;
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
        self.world.borrow_mut().nodes[self.node].wall_jumps_us += us;
    }

    /// The wall clock.
    pub fn unix_us(&self) -> i64 {
        self.world.borrow().unix_us(self.node)
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
