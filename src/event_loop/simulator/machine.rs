//! What a simulated server has beside the network: its disk, its helpers, and its children.

use super::super::seam::{Readiness, Received};
use super::network::{Node, Socket, World, note};
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
    pub(super) fn run_machine(&mut self, node: usize) {
        let Node {
            machine, sockets, ..
        } = &mut self.nodes[node];
        machine.jobs.run_until(self.mono_ns);
        machine.children.run_until(self.mono_ns);
        for socket in sockets.iter_mut().flatten() {
            if let Socket::Pipe(pipe) = socket {
                pipe.edge |= machine.children.has_news(pipe.child);
            }
        }
        let (calls, hash) = machine.disk.trace_sum();
        if calls != machine.traced_calls {
            machine.traced_calls = calls;
            note!(self, "disk {calls} {hash:x}");
        }
    }

    /// Lets time pass until this time, or until there is something to tell the server: a helper wakes its loop, a child
    /// reports, another server is heard.
    pub(super) fn sleep_until(&mut self, node: usize, end_ns: u64, ready: &mut Vec<Readiness>) {
        loop {
            let next = [
                self.nodes[node].machine.next_ns(),
                self.next_delivery_ns(node),
            ];
            let Some(at_ns) = next.into_iter().flatten().min().filter(|at| *at < end_ns) else {
                break;
            };
            self.mono_ns = self.mono_ns.max(at_ns);
            self.run_machine(node);
            self.deliver_all();
            self.arrive_all(node, true);
            self.report_ready(node, true, ready);
            if !ready.is_empty() {
                return;
            }
        }
        self.mono_ns = self.mono_ns.max(end_ns);
    }

    /// Reads what a child has reported.
    pub(super) fn read_pipe(
        &mut self,
        node: usize,
        child: i32,
        buffer: &mut [u8],
    ) -> io::Result<Received> {
        let read = self.nodes[node].machine.children.read(child, buffer);
        note!(self, "hear {child} {read:?}");
        read.map(|(len, more)| Received { len, more })
    }
}

impl SimulatorHandle {
    /// The disk on which the server keeps its data; nothing on it fails until its faults are set.
    pub fn disk(&self) -> SimulatedDisk {
        self.world.borrow().nodes[self.node].machine.disk.clone()
    }

    /// What the server's helpers have to do: freeing, syncing, closing files.
    pub fn jobs(&self) -> SimulatedJobs {
        self.world.borrow().nodes[self.node].machine.jobs.clone()
    }

    /// The children that work for the server.
    pub fn children(&self) -> SimulatedChildren {
        self.world.borrow().nodes[self.node]
            .machine
            .children
            .clone()
    }

    /// The same world for a server that starts after the one before it has ended: the clocks go on, the disk is as it
    /// was left (crash it before, if the machine is to have crashed), and the connections of old are gone.
    pub fn restart(&self) -> Simulator {
        let mut world = self.world.borrow_mut();
        let node = &mut world.nodes[self.node];
        node.machine.disk.end_process();
        node.machine.jobs.end_process();
        node.machine.children.end_process();
        node.sockets.clear();
        node.open = 0;
        node.accepted.clear();
        node.rung = Arc::default();
        for at in 0..world.unfinished.len() {
            let end = world.unfinished[at];
            if world.connections[end].node == self.node {
                world.close_end(end);
            }
        }
        note!(&mut *world, "restart {}", self.node);
        drop(world);
        Simulator {
            world: Rc::clone(&self.world),
            node: self.node,
        }
    }
}
