//! What a simulated server has beside the network: its disk.

use super::network::{Socket, World, note};
use super::{Simulator, SimulatorHandle};
use crate::system::simulated_disk::SimulatedDisk;
use std::rc::Rc;
use std::sync::Arc;

/// Sets the disk's draws apart from those of the network.
const DISK_SEED: u64 = 0x6469_736b;

/// The machine of one server.
pub(super) struct Machine {
    /// The disk on which the server keeps its data.
    pub(super) disk: SimulatedDisk,
    /// Calls of the disk that are in the trace.
    traced_calls: u64,
}

impl Machine {
    pub(super) fn new(seed: u64) -> Machine {
        Machine {
            disk: SimulatedDisk::new(seed ^ DISK_SEED),
            traced_calls: 0,
        }
    }
}

impl World {
    /// Adds to the trace what the server has done to its disk since the last turn.
    pub(super) fn trace_disk(&mut self) {
        let (calls, hash) = self.machine.disk.trace_sum();
        if calls != self.machine.traced_calls {
            self.machine.traced_calls = calls;
            note!(self, "disk {calls} {hash:x}");
        }
    }
}

impl SimulatorHandle {
    /// The disk on which the server keeps its data; nothing on it fails until its faults are set.
    pub fn disk(&self) -> SimulatedDisk {
        self.world.borrow().machine.disk.clone()
    }

    /// The same world for a server that starts after the one before it has ended: the clocks go on, the disk is as it
    /// was left (crash it before, if the machine is to have crashed), and the connections of old are gone.
    pub fn restart(&self) -> Simulator {
        let mut world = self.world.borrow_mut();
        world.machine.disk.end_process();
        for socket in std::mem::take(&mut world.sockets).into_iter().flatten() {
            if let Socket::Listener(listener) = socket {
                for peer in listener.waiting {
                    world.connections[peer.0].closed_by_server = true;
                }
            }
        }
        for connection in &mut world.connections {
            connection.token = None;
            connection.closed_by_server = true;
            connection.in_flight.clear();
            connection.arrived.clear();
        }
        world.open = 0;
        world.accepted.clear();
        world.rung = Arc::default();
        note!(&mut *world, "restart");
        drop(world);
        Simulator {
            world: Rc::clone(&self.world),
        }
    }
}
