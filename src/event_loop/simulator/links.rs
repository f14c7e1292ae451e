//! Connections between servers: how they are made, what is on its way, what cuts them.
//!
//! Each end is a [`Connection`] of its own server. What that writes stays in its outbox, as in a socket's buffer, until the
//! other side has it: after a latency that the seed says, not while the way is cut, and not while the other side has no
//! room. From there on it is as with a peer of the test: it is in flight, and arrives in parts.

use super::super::seam::*;
use super::network::{Connection, Ending, FIRST_PORT, Socket, World, note};
use super::{SimulatedPeer, Simulator, SimulatorHandle};
use crate::event_loop::simulator::network::Node;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// An attempt to connect that nobody answers is repeated after this long, ns.
const RETRY_NS: u64 = 1_000_000_000;
/// And given up after this long, as Linux does it by default, ns.
const GIVE_UP_NS: u64 = 127_000_000_000;

/// How far a connection is, seen from the side that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connecting {
    /// It is made, or was accepted.
    Done,
    /// It is under way.
    UnderWay {
        /// None: the name that was asked for is nobody's.
        to: Option<SocketAddr>,
        begun_ns: u64,
        /// When it is tried (again), with the answer of the other side.
        due_ns: u64,
    },
    /// It has failed with this number.
    Failed(i32),
}

/// What a server has written, or how it has ended, on its way to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    due_ns: u64,
    /// So many bytes of the outbox.
    len: usize,
    /// What ends behind them.
    ending: Ending,
}

/// The address of a server.
fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, (node + 1) as u8)
}

impl World {
    /// The server with this address, as this one sees it.
    fn node_at(&self, from: usize, ip: IpAddr) -> Option<usize> {
        if ip.is_loopback() {
            return Some(from);
        }
        (0..self.nodes.len()).find(|node| ip == address(*node))
    }

    /// Whether nothing gets through from one server to another.
    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    fn latency_ns(&mut self) -> u64 {
        let most_ns = self.faults.longest_latency_ms * 1_000_000;
        self.rng.below(most_ns + 1)
    }

    // ---- connecting ---------------------------------------------------------------------------------------------

    /// Begins to connect, as [`Seam::connect`] does.
    pub(super) fn begin_connecting(
        &mut self,
        node: usize,
        token: Token,
        to: &ConnectAddress,
    ) -> io::Result<()> {
        let error = |number| Err(io::Error::from_raw_os_error(number));
        if self.nodes[node].open >= self.nodes[node].descriptors {
            return error(libc::EMFILE);
        }
        let end = self.connections.next();
        let named = match to {
            ConnectAddress::Inet(to, _) => Some(*to),
            ConnectAddress::Name { host, port, .. } => {
                let named = self.names.get(host).map(|node| address(*node));
                let ip = match host.as_str() {
                    "localhost" => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
                    host => named.map(IpAddr::from).or(host.parse().ok()),
                };
                ip.map(|ip| SocketAddr::from((ip, *port)))
            }
            ConnectAddress::Unix(_) => None,
        };
        match to {
            ConnectAddress::Inet(_, source) | ConnectAddress::Name { source, .. } => {
                if source.is_some_and(|source| self.node_at(node, source) != Some(node)) {
                    return error(libc::EADDRNOTAVAIL);
                }
                let mut due_ns = self.mono_ns;
                // There and back; and before it to a server of names and back.
                let ways = if matches!(to, ConnectAddress::Inet(..)) {
                    2
                } else {
                    4
                };
                for _ in 0..ways {
                    due_ns += self.latency_ns();
                }
                let mut connection = Connection::new(node);
                connection.connecting = Connecting::UnderWay {
                    to: named,
                    begun_ns: self.mono_ns,
                    due_ns,
                };
                self.add(connection);
            }
            ConnectAddress::Unix(path) => {
                let mut listeners = self.nodes[node].listeners();
                let listener = listeners.find(
                    |it| matches!(&it.address, ListenAddress::Unix(there, _) if there == path),
                );
                match listener {
                    None => return error(libc::ENOENT),
                    Some(listener) if listener.waiting.len() > listener.backlog => {
                        return error(libc::EAGAIN);
                    }
                    Some(listener) => {
                        listener.waiting.push_back(SimulatedPeer(end + 1));
                        listener.edge = true;
                    }
                }
                drop(listeners);
                self.add(Connection::new(node));
                self.link(end, node);
            }
        }
        self.connections[end].token = Some(token);
        self.nodes[node].open += 1;
        self.nodes[node].put(token, Socket::Stream(SimulatedPeer(end)));
        Ok(())
    }

    /// Gives an end its other end, at this server.
    fn link(&mut self, end: usize, to: usize) {
        let other = self.add(Connection::new(to));
        self.connections[other].link = Some(end);
        let connection = &mut self.connections[end];
        connection.link = Some(other);
        connection.connecting = Connecting::Done;
        connection.edge = true;
        note!(self, "link {end} {other}");
    }

    /// How connecting came out, as [`Seam::connected`] tells it.
    pub(super) fn outcome_of_connecting(&self, end: usize) -> io::Result<()> {
        let connection = &self.connections[end];
        match connection.connecting {
            Connecting::UnderWay { .. } => Err(io::Error::from(io::ErrorKind::WouldBlock)),
            Connecting::Failed(error) => Err(io::Error::from_raw_os_error(error)),
            Connecting::Done if connection.ending == Ending::Reset => {
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            }
            Connecting::Done => Ok(()),
        }
    }

    /// Takes an attempt to connect further, if it is time.
    fn try_to_connect(&mut self, end: usize) {
        let node = self.connections[end].node;
        let Connecting::UnderWay {
            to,
            begun_ns,
            due_ns,
        } = self.connections[end].connecting
        else {
            return;
        };
        if due_ns > self.mono_ns || self.connections[end].closed_by_server {
            return;
        }
        let Some(to) = to else {
            return self.fail_to_connect(end, libc::EHOSTUNREACH);
        };
        let reached = self
            .node_at(node, to.ip())
            .filter(|there| !self.is_cut(node, *there) && !self.is_cut(*there, node));
        let next = SimulatedPeer(self.connections.next());
        let answer = reached.map(|there| {
            let is_meant = |it: &ListenAddress| match it {
                ListenAddress::Inet(it) | ListenAddress::Tls(it) => {
                    let is_at = it.ip() == to.ip() || it.ip().is_unspecified();
                    it.port() == to.port() && is_at
                }
                ListenAddress::Unix(..) => false,
            };
            let mut listeners = self.nodes[there].listeners();
            match listeners.find(|listener| is_meant(&listener.address)) {
                None => Some(Err(libc::ECONNREFUSED)),
                // A queue that is full is silent.
                Some(listener) if listener.waiting.len() > listener.backlog => None,
                Some(listener) => {
                    listener.waiting.push_back(next);
                    listener.edge = true;
                    Some(Ok(there))
                }
            }
        });
        let failed = match answer.flatten() {
            Some(Ok(there)) => return self.link(end, there),
            Some(Err(error)) => error,
            None if self.mono_ns - begun_ns >= GIVE_UP_NS => libc::ETIMEDOUT,
            None => {
                self.connections[end].connecting = Connecting::UnderWay {
                    to: Some(to),
                    begun_ns,
                    due_ns: self.mono_ns + RETRY_NS,
                };
                return;
            }
        };
        self.fail_to_connect(end, failed);
    }

    fn fail_to_connect(&mut self, end: usize, failed: i32) {
        let connection = &mut self.connections[end];
        connection.connecting = Connecting::Failed(failed);
        (connection.ending, connection.ending_in_flight) = (Ending::Reset, Ending::Reset);
        connection.edge = true;
        note!(self, "connecting {end} fails {failed}");
    }

    /// The address of the other end of a connection: another server, or a peer of the test.
    pub(super) fn address_of_other_end(&self, end: usize) -> SocketAddr {
        let connection = &self.connections[end];
        match connection.link {
            Some(other) => {
                let node = self.connections[other].node;
                SocketAddr::from((address(node), FIRST_PORT + other as u16))
            }
            None => {
                let from = connection.from.unwrap_or(Ipv4Addr::LOCALHOST.into());
                SocketAddr::from((from, FIRST_PORT + end as u16))
            }
        }
    }

    // ---- what is on its way -------------------------------------------------------------------------------------

    /// Sends what a server has just written, or that it has ended, to the other, where there is another.
    pub(super) fn send_segment(&mut self, end: usize, len: usize, ending: Ending) {
        if self.connections[end].link.is_none() || (len == 0 && ending == Ending::Open) {
            return;
        }
        let due_ns = self.mono_ns + self.latency_ns();
        let segments = &mut self.connections[end].segments;
        // Nothing overtakes what was sent before.
        let due_ns = segments.back().map_or(due_ns, |it| it.due_ns.max(due_ns));
        segments.push_back(Segment {
            due_ns,
            len,
            ending,
        });
    }

    /// Lets all that is due get to the other side.
    pub(super) fn deliver_all(&mut self) {
        self.forget_finished();
        for at in 0..self.unfinished.len() {
            let end = self.unfinished[at];
            self.try_to_connect(end);
            if let Some(other) = self.connections[end].link {
                self.deliver(end, other);
            }
        }
    }

    fn deliver(&mut self, end: usize, other: usize) {
        let is_cut = self.is_cut(self.connections[end].node, self.connections[other].node);
        let now_ns = self.mono_ns;
        let (mut moved, mut is_answered_by_reset) = (0, false);
        let [from, to] = self.connections.both(end, other);
        while let Some(segment) = from.segments.front_mut() {
            if is_cut || segment.due_ns > now_ns {
                break;
            }
            let room = to
                .inbox
                .saturating_sub(to.in_flight.len() + to.arrived.len());
            // What comes to an end that was closed is gone, and answered by a reset; nothing comes behind a reset.
            let is_lost = to.closed_by_server || to.ending_in_flight == Ending::Reset;
            let len = segment.len.min(if is_lost { usize::MAX } else { room });
            let bytes = from.outbox.drain(..len);
            if is_lost {
                is_answered_by_reset |= len > 0;
            } else {
                to.in_flight.extend(bytes);
            }
            moved += len;
            segment.len -= len;
            if segment.len > 0 {
                break;
            }
            if segment.ending != Ending::Open && to.ending_in_flight != Ending::Reset {
                to.ending_in_flight = segment.ending;
            }
            from.segments.pop_front();
        }
        if from.owes_room && moved > 0 && from.outbox.len() <= from.capacity * 2 / 3 {
            from.owes_room = false;
            from.edge = true;
        }
        if is_answered_by_reset {
            self.send_segment(other, 0, Ending::Reset);
        }
        if moved > 0 {
            note!(self, "deliver {end} {other} {moved}");
        }
    }

    /// When something gets to a server that is not there yet.
    pub(super) fn next_delivery_ns(&self, node: usize) -> Option<u64> {
        let concerns = |end: &usize| {
            let connection = &self.connections[*end];
            let other = connection.link.map(|other| self.connections[other].node);
            let of_attempt = match connection.connecting {
                Connecting::UnderWay { to, due_ns, .. } if !connection.closed_by_server => {
                    let is_ours = connection.node == node
                        || to.and_then(|to| self.node_at(connection.node, to.ip())) == Some(node);
                    Some(due_ns).filter(|_| is_ours)
                }
                _ => None,
            };
            let segment = connection.segments.front().filter(|_| other == Some(node));
            // What is due and not there is held up by something else than time.
            [of_attempt, segment.map(|segment| segment.due_ns)]
                .into_iter()
                .flatten()
                .filter(|due_ns| *due_ns > self.mono_ns)
                .min()
        };
        self.unfinished.iter().filter_map(concerns).min()
    }

    // ---- ends ---------------------------------------------------------------------------------------------------

    /// A server closes its end, or ends itself. The other side gets what was written, and then learns of it; at once by a
    /// reset if there was something that was not read.
    pub(super) fn close_end(&mut self, end: usize) {
        let connection = &mut self.connections[end];
        if connection.closed_by_server {
            return;
        }
        let has_unread = !connection.arrived.is_empty() || !connection.in_flight.is_empty();
        connection.token = None;
        connection.closed_by_server = true;
        connection.in_flight = VecDeque::new();
        connection.arrived = VecDeque::new();
        let ending = if has_unread {
            Ending::Reset
        } else {
            Ending::Gone
        };
        self.send_segment(end, 0, ending);
    }

    /// Something in between resets a connection of two servers: both sides learn of it, and what was on its way is lost.
    pub(super) fn reset_link(&mut self, end: usize) {
        let Some(other) = self.connections[end].link else {
            return;
        };
        for end in [end, other] {
            let connection = &mut self.connections[end];
            connection.segments.clear();
            connection.outbox.clear();
            connection.ending_in_flight = Ending::Reset;
        }
        note!(self, "reset link {end} {other}");
    }
}

impl SimulatorHandle {
    /// Another machine in the same network, for another server: time is the same, all else is its own.
    pub fn another(&self, seed: u64) -> (Simulator, SimulatorHandle) {
        let mut world = self.world.borrow_mut();
        let node = world.nodes.len();
        world.nodes.push(Node::new(seed));
        let of_node = |node| SimulatorHandle {
            world: Rc::clone(&self.world),
            node,
        };
        let simulator = Simulator {
            world: Rc::clone(&self.world),
            node,
        };
        (simulator, of_node(node))
    }

    /// The address at which other servers find this one.
    pub fn address(&self) -> Ipv4Addr {
        address(self.node)
    }

    /// Gives this server a name by which others find it; `localhost` is each server's own.
    pub fn set_name(&self, name: &str) {
        let mut world = self.world.borrow_mut();
        world.names.insert(name.to_owned(), self.node);
    }

    /// Lets nothing get through from this server to another until it is healed; what was sent then is late, not lost.
    pub fn cut_to(&self, other: &SimulatorHandle) {
        let mut world = self.world.borrow_mut();
        world.cuts.insert((self.node, other.node));
        note!(&mut *world, "cut {} {}", self.node, other.node);
    }

    /// Cuts this server off from all others, in both directions.
    pub fn partition(&self) {
        let mut world = self.world.borrow_mut();
        for other in (0..world.nodes.len()).filter(|other| *other != self.node) {
            world.cuts.extend([(self.node, other), (other, self.node)]);
        }
        note!(&mut *world, "partition {}", self.node);
    }

    /// Lets everything through again, between all servers.
    pub fn heal(&self) {
        let mut world = self.world.borrow_mut();
        world.cuts.clear();
        note!(&mut *world, "heal");
    }

    /// Resets all connections of this server to others.
    pub fn reset_links(&self) {
        let mut world = self.world.borrow_mut();
        for at in 0..world.unfinished.len() {
            let end = world.unfinished[at];
            if world.connections[end].node == self.node {
                world.reset_link(end);
            }
        }
    }
}
