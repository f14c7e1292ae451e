//! What a simulated server has beside the network: its disk, its helpers, and its children.

use super::super::seam::{Readiness, Received};
use super::network::{Socket, World, note};
use super::{Simulator, SimulatorHandle};
use crate::system::child::Children;
use crate::system::disk::Disk;
use crate::system::helper::Jobs;
use crate::system::machine as system;
use crate::system::simulated_children::SimulatedChildren;
use crate::system::simulated_disk::SimulatedDisk;
use crate::system::simulated_jobs::SimulatedJobs;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Sets the disk's draws apart from those of the network.
const DISK_SEED: u64 = 0x6469_736b;
/// The same for those of the helpers.
const JOBS_SEED: u64 = 0x6a6f_6273;
/// The same for those of the children.
const CHILDREN_SEED: u64 = 0x6b69_6473;

/// The reading end of a child's pipe.
#[derive(Debug)]
pub(super) struct PipeEnd {
    /// The child's number.
    pub(super) child: i32,
    /// There is something that was not told.
    pub(super) edge: bool,
    /// Polls that did not tell it.
    pub(super) held_back: u32,
}

impl PipeEnd {
    pub(super) fn new(child: i32) -> PipeEnd {
        PipeEnd {
            child,
            edge: false,
            held_back: 0,
        }
    }
}

/// The machine of one server.
pub(super) struct Machine {
    /// The disk on which the server keeps its data.
    pub(super) disk: SimulatedDisk,
    /// Calls of the disk that are in the trace.
    traced_calls: u64,
    /// What its helpers have to do.
    pub(super) jobs: SimulatedJobs,
    /// The children that work for it.
    pub(super) children: SimulatedChildren,
}

impl Machine {
    pub(super) fn new(seed: u64) -> Machine {
        Machine {
            disk: SimulatedDisk::new(seed ^ DISK_SEED),
            traced_calls: 0,
            jobs: SimulatedJobs::new(seed ^ JOBS_SEED),
            children: SimulatedChildren::new(seed ^ CHILDREN_SEED),
        }
    }

    /// The machine as its server sees it.
    pub(super) fn handles(&self) -> system::Machine {
        system::Machine {
            disk: Disk::simulated(&self.disk),
            jobs: Jobs::Simulated(self.jobs.clone()),
            children: Children::Simulated(self.children.clone()),
            stopwatch: system::Stopwatch::Stopped,
        }
    }

    /// When the next helper or child has done something.
    fn next_ns(&self) -> Option<u64> {
        let next = [self.jobs.next_ns(), self.children.next_ns()];
        next.into_iter().flatten().min()
    }
}

impl World {
    /// Does what helpers and children have done by now, and adds to the trace what was done to the disk since the last
    /// turn.
    pub(super) fn run_machine(&mut self) {
        self.machine.jobs.run_until(self.mono_ns);
        self.machine.children.run_until(self.mono_ns);
        for socket in self.sockets.iter_mut().flatten() {
            if let Socket::Pipe(pipe) = socket {
                pipe.edge |= self.machine.children.has_news(pipe.child);
            }
        }
        let (calls, hash) = self.machine.disk.trace_sum();
        if calls != self.machine.traced_calls {
            self.machine.traced_calls = calls;
            note!(self, "disk {calls} {hash:x}");
        }
    }

    /// Lets time pass until this time, or until a helper wakes the loop or a child reports.
    pub(super) fn sleep_until(&mut self, end_ns: u64, ready: &mut Vec<Readiness>) {
        while let Some(at_ns) = self.machine.next_ns().filter(|at_ns| *at_ns < end_ns) {
            self.mono_ns = self.mono_ns.max(at_ns);
            self.run_machine();
            let is_news = |socket: &Socket| matches!(socket, Socket::Pipe(pipe) if pipe.edge);
            if self.rung.load(Ordering::Relaxed) || self.sockets.iter().flatten().any(is_news) {
                self.tell(true, ready);
                return;
            }
        }
        self.mono_ns = self.mono_ns.max(end_ns);
    }

    /// Reads what a child has reported.
    pub(super) fn read_pipe(&mut self, child: i32, buffer: &mut [u8]) -> io::Result<Received> {
        let read = self.machine.children.read(child, buffer);
        note!(self, "hear {child} {read:?}");
        read.map(|(len, more)| Received { len, more })
    }
}

impl SimulatorHandle {
    /// The disk on which the server keeps its data; nothing on it fails until its faults are set.
    pub fn disk(&self) -> SimulatedDisk {
        self.world.borrow().machine.disk.clone()
    }

    /// What the server's helpers have to do: freeing, syncing, closing files.
    pub fn jobs(&self) -> SimulatedJobs {
        self.world.borrow().machine.jobs.clone()
    }

    /// The children that work for the server.
    pub fn children(&self) -> SimulatedChildren {
        self.world.borrow().machine.children.clone()
    }

    /// The same world for a server that starts after the one before it has ended: the clocks go on, the disk is as it
    /// was left (crash it before, if the machine is to have crashed), and the connections of old are gone.
    pub fn restart(&self) -> Simulator {
        let mut world = self.world.borrow_mut();
        world.machine.disk.end_process();
        world.machine.jobs.end_process();
        world.machine.children.end_process();
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
