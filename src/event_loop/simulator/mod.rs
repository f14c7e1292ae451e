//! The seeded simulator: the seam's second implementation, a whole network with its machines and clocks inside one process.
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
//! [`SimulatorHandle::another`] adds a machine for another server to the same network. Their turns are taken one after the
//! other, in the order in which the test polls; one that sleeps lets time pass for all. They find each other at
//! [`SimulatorHandle::address`], or by the name that [`SimulatorHandle::set_name`] gave them:
//!
//! ```text
//!   server ─ write ─▶ [ outbox, bounded ] ─ latency, cuts, partitions ─▶ [ in flight ] ─▶ [ arrived ] ─ read ─▶ server
//! ```
//!
//! It is as nasty as a kernel may be, and never nastier:
//! * Readiness is edge-triggered. A change is told once, maybe late, maybe together with others, always in the state
//!   in which the source is when it is told. A source may be told without cause.
//! * A read may yield less than was asked for although there is more, and say so, as a transport does that unwraps
//!   records; or say so although there is not. Where it says that there is no more, what arrives a moment later is a new
//!   edge. A write that takes less than it was given, or nothing, owes an edge only after `WouldBlock`.
//! * A poll that may sleep does not, as long as there is something to tell.
//! * The end of a peer's stream comes on the edge of its last bytes, or later, and not before there is room for those.
//!   A reset may come in front of bytes that had arrived.
//! * Connecting takes time. It is refused where nobody listens, silent where nobody is, the way is cut or the queue of the
//!   listener is full, and given up after two minutes.
//! * Between servers nothing is lost, doubled or overtaken, as TCP has it: what is cut is late. A connection is reset when
//!   the seed or the test says so, or when its other end is closed with something unread or written to.
//!
//! What it does not do: several addresses of a name, IPv6 between servers, keepalive probes, giving up on a connection that is made and whose
//! way is cut for long (the test resets it), clocks of servers that run at different speeds (they jump apart), and turns
//! of servers at the same time.
//!
//! | file | what |
//! | --- | --- |
//! | `faults` | how often what goes wrong |
//! | `network` | connections, listeners, time and the trace: all that the two sides share |
//! | `handle` | the peers' side |
//! | `links` | connections between servers: latency, cuts, partitions, resets |
//! | `machine` | what a server has beside the network: its disk, its helpers, its children |
//!
//! It is test equipment, compiled into the library because whole servers are run on it from outside of the crate. What
//! passes the seam by decides nothing that is in the trace, and may be another for the same seed: figures of the process
//! (memory, processor time, its number), the times of log lines, the rests of directives and DEBUG commands that are there
//! for tests. The files of the configuration, of the process's number and of recordings are the system's.

use super::seam::*;
use crate::system::child::Pipe;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

mod faults;
mod handle;
mod links;
mod machine;
mod network;
#[cfg(test)]
mod tests;

pub use faults::Faults;
pub use handle::{SimulatedPeer, SimulatorHandle};
use links::Connecting;
use machine::PipeEnd;
use network::{Ending, Listener, Socket, World, hash_bytes, note};

/// The seam that the server gets.
pub struct Simulator {
    world: Rc<RefCell<World>>,
    /// Which of the servers.
    node: usize,
}

impl Simulator {
    /// A simulated system, and the handle to its other side.
    pub fn new(seed: u64, faults: Faults) -> (Simulator, SimulatorHandle) {
        let world = Rc::new(RefCell::new(World::new(seed, faults)));
        let handle = SimulatorHandle {
            world: Rc::clone(&world),
            node: 0,
        };
        (Simulator { world, node: 0 }, handle)
    }
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
        self.world.borrow().unix_us(self.node)
    }

    fn random_u64(&mut self) -> u64 {
        self.world.borrow_mut().rng.next_u64()
    }

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let node = self.node;
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        if world.at_node != node {
            world.at_node = node;
            note!(world, "node {node}");
        }
        world.jump_clock(node);
        world.run_machine(node);
        world.deliver_all();
        if world.chance(world.faults.interrupt) {
            note!(world, "interrupted");
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        world.arrive_all(node, false);
        world.report_ready(node, false, ready);
        let sleeps = timeout != Some(Duration::ZERO);
        if !ready.is_empty() || !sleeps {
            return Ok(());
        }
        world.report_ready(node, true, ready);
        let timeout_ns = timeout.map_or(1_000_000_000, |timeout| timeout.as_nanos() as u64);
        if ready.is_empty() {
            // Nothing to tell: time passes until something arrives.
            let to_come = world.unfinished.iter().any(|end| {
                let connection = &world.connections[*end];
                connection.node == node
                    && !connection.closed_by_server
                    && connection.has_more_to_come()
            });
            if to_come {
                world.mono_ns += world.rng.below(timeout_ns.min(1_000_000) + 1);
                world.arrive_all(node, true);
                world.report_ready(node, true, ready);
            }
        }
        if ready.is_empty() {
            world.sleep_until(node, world.mono_ns.saturating_add(timeout_ns), ready);
        }
        let now = world.mono_ns;
        note!(world, "slept {now}");
        Ok(())
    }

    fn listen(
        &mut self,
        token: Token,
        address: &ListenAddress,
        options: &ListenOptions,
    ) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let node = &mut world.nodes[self.node];
        if node
            .listeners()
            .any(|listener| listener.address == *address)
        {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        node.put(
            token,
            Socket::Listener(Listener {
                address: address.clone(),
                waiting: VecDeque::new(),
                backlog: usize::try_from(options.backlog).unwrap_or(usize::MAX),
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
        let node = &mut world.nodes[self.node];
        let has_descriptor = node.open < node.descriptors;
        let waiting = match node.listener(listener) {
            Some(listener) => listener.waiting.len(),
            None => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        if waiting > 0 && (!has_descriptor || world.chance(world.faults.accept_error)) {
            let error = match world.rng.below(4) {
                _ if !has_descriptor => libc::EMFILE,
                0 => libc::ECONNABORTED,
                1 => libc::EINTR,
                2 => libc::ENFILE,
                _ => libc::EMFILE,
            };
            note!(world, "accept {} fails {error}", listener.0);
            return Err(io::Error::from_raw_os_error(error));
        }
        let node = &mut world.nodes[self.node];
        let Some((peer, address)) = node.listener(listener).and_then(|listener| {
            let peer = listener.waiting.pop_front()?;
            Some((peer, listener.address.clone()))
        }) else {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        };
        node.open += 1;
        node.accepted.push(peer);
        node.put(token, Socket::Stream(peer));
        let remote = world.address_of_other_end(peer.0);
        let connection = &mut world.connections[peer.0];
        connection.token = Some(token);
        // A socket is told once when it is registered: it takes bytes.
        connection.edge = true;
        note!(world, "accept {} {}", peer.0, token.0);
        let peer_address = match address {
            // What is above sees the same of both.
            ListenAddress::Inet(local) | ListenAddress::Tls(local) => Peer::Inet { remote, local },
            ListenAddress::Unix(path, _) => Peer::Unix(path),
        };
        Ok(Accepted {
            token,
            peer: peer_address,
            fd: peer.0 as i64 + 8,
            certificate_names: Vec::new(),
        })
    }

    fn connect(&mut self, token: Token, to: &ConnectAddress) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let begun = world.begin_connecting(self.node, token, to);
        note!(&mut *world, "connect {} to {to:?}: {begun:?}", token.0);
        begun
    }

    fn connected(&mut self, token: Token) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let end = world.nodes[self.node].peer_of(token)?;
        let outcome = world.outcome_of_connecting(end.0);
        note!(&mut *world, "connected {} {outcome:?}", end.0);
        outcome
    }

    fn adopt_pipe(&mut self, token: Token, pipe: Pipe) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let Pipe::Simulated(child) = pipe else {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        };
        world.nodes[self.node].put(token, Socket::Pipe(PipeEnd::new(child)));
        note!(&mut *world, "adopt {child} {}", token.0);
        Ok(())
    }

    fn read(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<Received> {
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        if let Some(Some(Socket::Pipe(pipe))) = world.nodes[self.node].sockets.get(token.0) {
            let child = pipe.child;
            return world.read_pipe(self.node, child, buffer);
        }
        let peer = world.nodes[self.node].peer_of(token)?;
        if let Connecting::Failed(error) = world.connections[peer.0].connecting {
            return Err(io::Error::from_raw_os_error(error));
        }
        let connection = &world.connections[peer.0];
        let there = connection.arrived.len().min(buffer.len());
        if there == 0 {
            let ending = connection.ending;
            world.connections[peer.0].end_told |= ending != Ending::Open;
            note!(world, "read {} nothing {ending:?}", peer.0);
            return match ending {
                Ending::Open => Err(io::Error::from(io::ErrorKind::WouldBlock)),
                Ending::Finished | Ending::Gone => Ok(Received {
                    len: 0,
                    more: false,
                }),
                Ending::Reset => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            };
        }
        // A shorter read stands for one of two: for bytes that arrived right after it, which are a new edge; or for a
        // transport that holds back what it has unwrapped, which is no edge, and is told.
        let n = if world.chance(world.faults.cut / 4) {
            1 + world.rng.index(there)
        } else {
            there
        };
        let holds_back = world.chance(world.faults.short_more);
        let connection = &mut world.connections[peer.0];
        for (to, from) in buffer.iter_mut().zip(connection.arrived.drain(..n)) {
            *to = from;
        }
        connection.edge |= n < there && !holds_back;
        // An end whose edge was told already makes no other.
        let ended = connection.ending != Ending::Open && !connection.edge;
        let more = holds_back || ended || n == buffer.len();
        note!(world, "read {} {n} {more}", peer.0);
        // And more may come while the server is still reading.
        if world.chance(world.faults.cut / 4) {
            world.arrive(peer, false);
        }
        Ok(Received { len: n, more })
    }

    fn write(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        let peer = world.nodes[self.node].peer_of(token)?;
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let blocks = world.chance(world.faults.write_block);
        let cuts = world.chance(world.faults.short_write);
        let is_made = !matches!(
            world.connections[peer.0].connecting,
            Connecting::UnderWay { .. }
        );
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
        let room = if is_made {
            connection.room().min(total)
        } else {
            0
        };
        if total > 0 && (room == 0 || blocks) {
            // One that is not made yet is told writable when it is.
            connection.owes_room = room == 0 && is_made;
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
        world.send_segment(peer.0, n, Ending::Open);
        if world.connections[peer.0].link.is_some() && world.chance(world.faults.link_reset) {
            world.reset_link(peer.0);
        }
        Ok(n)
    }

    fn close(&mut self, token: Token) {
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        let node = &mut world.nodes[self.node];
        match node.sockets.get_mut(token.0).and_then(Option::take) {
            Some(Socket::Stream(peer)) => {
                node.open -= 1;
                world.close_end(peer.0);
                note!(world, "close {}", peer.0);
            }
            Some(Socket::Listener(listener)) => {
                for peer in listener.waiting {
                    world.close_end(peer.0);
                }
                note!(world, "close listener {}", token.0);
            }
            Some(Socket::Pipe(pipe)) => note!(world, "close pipe {}", pipe.child),
            None => {}
        }
    }

    fn waker(&self) -> Waker {
        let rung = Arc::clone(&self.world.borrow().nodes[self.node].rung);
        Waker::new(move || rung.store(true, Ordering::Relaxed))
    }

    fn machine(&self) -> crate::system::machine::Machine {
        self.world.borrow().nodes[self.node].machine.handles()
    }

    fn sleep(&mut self, duration: Duration) {
        self.world.borrow_mut().mono_ns += duration.as_nanos() as u64;
    }
}
