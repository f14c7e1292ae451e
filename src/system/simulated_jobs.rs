//! The jobs of helpers in a simulation: done between two turns, at times that a seed says.
//!
//! In: jobs, and the time. Out: the jobs done, those of one helper one after the other and in their order, as a thread would
//! do them. The same seed and the same jobs are done at the same times.

use super::rng::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// How long simulated jobs take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobDelays {
    /// As most of them do, ns at most.
    pub usual_ns: u64,
    /// How many in 1000 take longer.
    pub slow: u32,
    /// As those do, ns at most.
    pub slow_ns: u64,
}

impl Default for JobDelays {
    fn default() -> JobDelays {
        JobDelays {
            usual_ns: 20_000_000,
            slow: 20,
            slow_ns: 4_000_000_000,
        }
    }
}

struct Queue {
    rng: Rng,
    now_ns: u64,
    delays: JobDelays,
    /// For each helper its jobs, with the time at which each is done.
    helpers: BTreeMap<u64, VecDeque<(u64, Job)>>,
    next_helper: u64,
}

/// The helpers of one simulated process; clones are the same ones.
#[derive(Clone)]
pub struct SimulatedJobs(Arc<Mutex<Queue>>);

impl fmt::Debug for SimulatedJobs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SimulatedJobs")
    }
}

impl SimulatedJobs {
    /// Helpers whose jobs take as long as this seed says.
    pub fn new(seed: u64) -> SimulatedJobs {
        SimulatedJobs(Arc::new(Mutex::new(Queue {
            rng: Rng::new(seed),
            now_ns: 0,
            delays: JobDelays::default(),
            helpers: BTreeMap::new(),
            next_helper: 0,
        })))
    }
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(super) fn new_helper(&self) -> u64 {
        let mut queue = self.queue();
        queue.next_helper += 1;
        queue.next_helper
    }
    pub(super) fn push(&self, helper: u64, job: Job) {
        let mut queue = self.queue();
        let delays = queue.delays;
        let most_ns = match queue.rng.below(1000) < u64::from(delays.slow) {
            true => delays.slow_ns,
            false => delays.usual_ns,
        };
        let takes_ns = queue.rng.below(most_ns.saturating_add(1));
        let now_ns = queue.now_ns;
        let jobs = queue.helpers.entry(helper).or_default();
        // It begins when the one before it is done.
        let begins_ns = jobs.back().map_or(now_ns, |(at_ns, _)| *at_ns);
        jobs.push_back((begins_ns.saturating_add(takes_ns), job));
    }
    /// Changes how long jobs take from now on.
    pub fn set_delays(&self, delays: JobDelays) {
        self.queue().delays = delays;
    }
    /// When the next job is done.
    pub fn next_ns(&self) -> Option<u64> {
        let queue = self.queue();
        let first = queue.helpers.values().filter_map(VecDeque::front);
        first.map(|(at_ns, _)| *at_ns).min()
    }
    /// Does what is done by this time, in order.
    pub fn run_until(&self, now_ns: u64) {
        loop {
            let mut queue = self.queue();
            queue.now_ns = queue.now_ns.max(now_ns);
            let due = queue
                .helpers
                .iter()
                .filter_map(|(helper, jobs)| Some((jobs.front()?.0, *helper)))
                .min();
            let Some((_, helper)) = due.filter(|(at_ns, _)| *at_ns <= now_ns) else {
                return;
            };
            let job = queue.helpers.get_mut(&helper).and_then(VecDeque::pop_front);
            // A job may give others.
            drop(queue);
            if let Some((_, job)) = job {
                job();
            }
        }
    }
    /// Does all jobs of a helper now, for someone who waits for them.
    pub(super) fn run_all(&self, helper: u64) {
        loop {
            let mut queue = self.queue();
            let jobs = queue.helpers.get_mut(&helper);
            let Some((_, job)) = jobs.and_then(VecDeque::pop_front) else {
                return;
            };
            drop(queue);
            job();
        }
    }
    /// The process has ended, and its threads with it: what is not done never will be.
    pub fn end_process(&self) {
        let helpers = std::mem::take(&mut self.queue().helpers);
        // Not under the lock: what a job holds may be a helper's owner.
        drop(helpers);
    }
}
