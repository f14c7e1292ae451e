//! The children of a simulated process: nothing is forked.
//!
//! In: jobs. Out: what they report, how they end. A job is done in place, at the moment at which its child would have been
//! forked: it sees the same data as a child would, and does to the simulated disk what that would do. What it reports, and
//! that it has ended, is told when the time of that comes, which the seed says. A child that the seed has die is cut off
//! after some call of the disk, as one that was killed there.

use super::child::Exit;
use super::disk::{Disk, FaultPlan};
use super::rng::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number of the first process.
const FIRST_PID: i32 = 1000;
/// A child that dies has made less calls of the disk than this.
const CALLS_MAX: usize = 12;

/// What becomes of children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildFaults {
    /// How many in 1000 cannot be forked.
    pub fork_error: u32,
    /// How many in 1000 are killed by somebody else before they are done.
    pub dies: u32,
    /// How long they take at most, ns.
    pub longest_ns: u64,
}

impl ChildFaults {
    /// All are forked and live.
    pub const NONE: ChildFaults = ChildFaults {
        fork_error: 0,
        dies: 0,
        longest_ns: 300_000_000,
    };

    /// Some mixture.
    pub fn any(rng: &mut Rng) -> ChildFaults {
        ChildFaults {
            fork_error: [0, 100, 300][rng.index(3)],
            dies: [0, 200, 600][rng.index(3)],
            longest_ns: [1_000_000, 300_000_000, 5_000_000_000][rng.index(3)],
        }
    }
}

/// The end of a simulated child that its job has.
#[derive(Debug)]
pub(super) struct SimulatedEnd {
    pid: i32,
    reports: Vec<Vec<u8>>,
    /// Has the disk stop for it when it dies.
    plan: FaultPlan,
}

impl SimulatedEnd {
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }
    pub(super) fn disk(&self, disk: &Disk) -> Disk {
        disk.and_faults(&self.plan)
    }
    pub(super) fn report(&mut self, bytes: &[u8]) {
        self.reports.push(bytes.to_vec());
    }
}

struct Child {
    /// What it will report, and when.
    reports: VecDeque<(u64, Vec<u8>)>,
    ends_ns: u64,
    exit: Exit,
    has_ended: bool,
    /// Reported, and not read.
    unread: VecDeque<u8>,
    /// There is something to read since this was asked last, or the end.
    has_news: bool,
}

struct State {
    rng: Rng,
    faults: ChildFaults,
    now_ns: u64,
    own_pid: i32,
    last_pid: i32,
    children: BTreeMap<i32, Child>,
}

/// The children of one simulated process; clones are the same ones.
#[derive(Clone)]
pub struct SimulatedChildren(Arc<Mutex<State>>);

impl fmt::Debug for SimulatedChildren {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SimulatedChildren")
    }
}

impl SimulatedChildren {
    /// Children that end when this seed says.
    pub fn new(seed: u64) -> SimulatedChildren {
        SimulatedChildren(Arc::new(Mutex::new(State {
            rng: Rng::new(seed),
            faults: ChildFaults::NONE,
            now_ns: 0,
            own_pid: FIRST_PID,
            last_pid: FIRST_PID,
            children: BTreeMap::new(),
        })))
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Changes what becomes of those that are started from now on.
    pub fn set_faults(&self, faults: ChildFaults) {
        self.state().faults = faults;
    }

    // ---- the calls of the process -------------------------------------------------------------------------------

    pub(super) fn own_pid(&self) -> i32 {
        self.state().own_pid
    }
    pub(super) fn is_running(&self, pid: i32) -> bool {
        let state = self.state();
        pid == state.own_pid || state.children.contains_key(&pid)
    }
    /// Does the job of a child; its number.
    pub(super) fn start(&self, job: impl FnOnce(&mut SimulatedEnd) -> i32) -> io::Result<i32> {
        let mut state = self.state();
        let faults = state.faults;
        if state.rng.below(1000) < u64::from(faults.fork_error) {
            let number = [libc::EAGAIN, libc::ENOMEM][state.rng.index(2)];
            return Err(io::Error::from_raw_os_error(number));
        }
        state.last_pid += 1;
        let pid = state.last_pid;
        let plan = FaultPlan::default();
        let dies = state.rng.below(1000) < u64::from(faults.dies);
        if dies {
            plan.stop_after(state.rng.index(CALLS_MAX));
        }
        // The job asks who is running.
        drop(state);
        let mut end = SimulatedEnd {
            pid,
            reports: Vec::new(),
            plan,
        };
        let status = job(&mut end);
        let mut state = self.state();
        let takes_ns = state.rng.below(faults.longest_ns.saturating_add(1));
        let mut moments: Vec<u64> = (0..end.reports.len())
            .map(|_| state.now_ns + state.rng.below(takes_ns.saturating_add(1)))
            .collect();
        moments.sort_unstable();
        let child = Child {
            reports: moments.into_iter().zip(end.reports).collect(),
            ends_ns: state.now_ns + takes_ns,
            exit: match dies {
                true => Exit::Signal(libc::SIGKILL),
                false => Exit::Status(status),
            },
            has_ended: false,
            unread: VecDeque::new(),
            has_news: false,
        };
        state.children.insert(pid, child);
        Ok(pid)
    }
    /// Ends a child that has not ended by itself just now.
    pub(super) fn kill(&self, pid: i32) {
        let mut state = self.state();
        let is_late = state.rng.below(8) == 0;
        let Some(child) = state.children.get_mut(&pid) else {
            return;
        };
        if !child.has_ended && !is_late {
            child.exit = Exit::Signal(libc::SIGUSR1);
        }
        child.has_ended = true;
    }
    /// How a child has ended; nobody asks for one that has not, unless it was killed.
    pub(super) fn wait(&self, pid: i32) -> Exit {
        let child = self.state().children.remove(&pid);
        child.map_or(Exit::Status(-1), |child| child.exit)
    }

    // ---- the simulation -----------------------------------------------------------------------------------------

    /// When the next child reports or ends.
    pub fn next_ns(&self) -> Option<u64> {
        let state = self.state();
        let running = state.children.values().filter(|child| !child.has_ended);
        running
            .map(|child| child.reports.front().map_or(child.ends_ns, |it| it.0))
            .min()
    }
    /// Has children report, and end, that do so by this time.
    pub fn run_until(&self, now_ns: u64) {
        let mut state = self.state();
        state.now_ns = state.now_ns.max(now_ns);
        for child in state.children.values_mut().filter(|child| !child.has_ended) {
            let due = child.reports.partition_point(|(at_ns, _)| *at_ns <= now_ns);
            for (_, bytes) in child.reports.drain(..due) {
                child.unread.extend(bytes);
                child.has_news = true;
            }
            if child.ends_ns <= now_ns {
                child.has_ended = true;
                child.has_news = true;
            }
        }
    }
    /// Whether there is something to read from a child, or its end, that was not there when this was asked last.
    pub fn has_news(&self, pid: i32) -> bool {
        let mut state = self.state();
        let child = state.children.get_mut(&pid);
        child.is_some_and(|child| std::mem::take(&mut child.has_news))
    }
    /// Reads what a child has reported: how much, and whether the end is behind it; nothing is its end.
    pub fn read(&self, pid: i32, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
        let mut state = self.state();
        let child = state.children.get_mut(&pid);
        let child = child.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        let len = child.unread.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(child.unread.drain(..len)) {
            *to = from;
        }
        match (len, child.has_ended) {
            (0, false) => Err(io::Error::from(io::ErrorKind::WouldBlock)),
            (_, ended) => Ok((len, ended || !child.unread.is_empty())),
        }
    }
    /// The process has ended, and its children with it.
    pub fn end_process(&self) {
        let mut state = self.state();
        state.children.clear();
        state.last_pid += 1;
        state.own_pid = state.last_pid;
    }
}
