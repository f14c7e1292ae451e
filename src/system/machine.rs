//! What a server has of its machine beside the network, as one value that the seam hands out: the system's, a
//! simulation's, or that of a replay.

use super::child::Children;
use super::clock;
use super::disk::Disk;
use super::helper::Jobs;

/// The machine of one server. By default it is the system's.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Where data is kept.
    pub disk: Disk,
    /// Who does what would stall the loop.
    pub jobs: Jobs,
    /// Who runs children.
    pub children: Children,
    /// What statistics time work with.
    pub stopwatch: Stopwatch,
}

/// Times pieces of work, for statistics alone: nothing may depend on what it says. It is no clock of the seam, for how often
/// it is asked may depend on the disk and on how fast helpers are, which a recording does not have.
#[derive(Clone, Copy, Debug, Default)]
pub enum Stopwatch {
    /// One that runs.
    #[default]
    Running,
    /// One that stands still: in simulations work takes no time, and in a replay other time than then.
    Stopped,
}

impl Stopwatch {
    /// Nanoseconds since some point in the past.
    pub fn now_ns(self) -> u64 {
        match self {
            Stopwatch::Running => clock::monotonic_ns(),
            Stopwatch::Stopped => 0,
        }
    }
    /// Nanoseconds since the watch said this.
    pub fn since_ns(self, begin_ns: u64) -> u64 {
        self.now_ns().saturating_sub(begin_ns)
    }
}
