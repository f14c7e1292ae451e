//! Helper threads: what would stall the loop is done beside it, by a thread for each kind of job.
//!
//! In: jobs with all that they need, owned. Out: whatever a job leaves in what it shares with its owner; jobs of one
//! helper are done one after the other, in their order. The thread starts with the first job and ends with its owner,
//! after what it was given until then. A job that panics ends the process, like any other panic ([`super::crash`]): nobody
//! waits for what will never be done. Mirrors bio.c of Redis.
//!
//! In simulations there are no threads: a [`SimulatedJobs`] does the jobs between two turns, at a time that its seed
//! says, so that the same seed sees the same job under way at the same moment.

use super::simulated_jobs::SimulatedJobs;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Who does the jobs of helpers.
#[derive(Clone, Debug, Default)]
pub enum Jobs {
    /// A thread for each helper.
    #[default]
    Threads,
    /// A simulation, between turns.
    Simulated(SimulatedJobs),
}

enum Message<J> {
    Job(J),
    /// All that was given before is done.
    Tell(Sender<()>),
}

enum Way<J> {
    /// The thread, once there was a job.
    Thread(Option<(Sender<Message<J>>, JoinHandle<()>)>),
    Simulated(SimulatedJobs, u64),
}

/// A helper, seen from its owner.
pub struct Helper<J> {
    name: &'static str,
    /// What its thread does before the first job.
    begin: fn(),
    run: Arc<dyn Fn(J) + Send + Sync>,
    way: Way<J>,
}

impl<J> fmt::Debug for Helper<J> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Helper")
            .field("name", &self.name)
            .finish()
    }
}

impl<J: Send + 'static> Helper<J> {
    /// A helper that does its jobs like this. `name` is the thread's.
    pub fn new(
        name: &'static str,
        jobs: &Jobs,
        begin: fn(),
        run: impl Fn(J) + Send + Sync + 'static,
    ) -> Helper<J> {
        Helper {
            name,
            begin,
            run: Arc::new(run),
            way: match jobs {
                Jobs::Threads => Way::Thread(None),
                Jobs::Simulated(jobs) => Way::Simulated(jobs.clone(), jobs.new_helper()),
            },
        }
    }
    /// Has a job done soon. Where there is no thread to be had it is done before this returns.
    pub fn give(&mut self, job: J) {
        match &mut self.way {
            Way::Simulated(jobs, helper) => {
                let run = Arc::clone(&self.run);
                jobs.push(*helper, Box::new(move || run(job)));
            }
            Way::Thread(thread) => {
                if thread.is_none() {
                    *thread = start(self.name, self.begin, Arc::clone(&self.run));
                }
                let unsent = match thread {
                    Some((sender, _)) => sender.send(Message::Job(job)).err().map(|it| it.0),
                    None => Some(Message::Job(job)),
                };
                if let Some(Message::Job(job)) = unsent {
                    (self.run)(job);
                }
            }
        }
    }
    /// Waits until all that was given is done.
    pub fn drain(&mut self) {
        self.drain_for(Duration::MAX);
    }
    /// Waits until all that was given is done, for as long as `patience` at most; whether it is.
    pub fn drain_for(&mut self, patience: Duration) -> bool {
        match &self.way {
            Way::Simulated(jobs, helper) => jobs.run_all(*helper),
            Way::Thread(Some((sender, _))) => {
                let (asked, told) = channel();
                // An error would say that there is no thread any more, which might be waited for.
                if sender.send(Message::Tell(asked)).is_ok() {
                    return told.recv_timeout(patience) != Err(RecvTimeoutError::Timeout);
                }
            }
            Way::Thread(None) => {}
        }
        true
    }
    /// Whether a job has been given to it, ever.
    pub fn has_begun(&self) -> bool {
        match &self.way {
            Way::Thread(thread) => thread.is_some(),
            Way::Simulated(..) => true,
        }
    }
}

fn start<J: Send + 'static>(
    name: &str,
    begin: fn(),
    run: Arc<dyn Fn(J) + Send + Sync>,
) -> Option<(Sender<Message<J>>, JoinHandle<()>)> {
    let (sender, receiver) = channel();
    let work = move || {
        begin();
        for message in receiver {
            match message {
                Message::Job(job) => run(job),
                // Whoever asked waits.
                Message::Tell(asked) => drop(asked.send(())),
            }
        }
    };
    let thread = std::thread::Builder::new().name(name.into());
    Some((sender, thread.spawn(work).ok()?))
}

impl<J> Drop for Helper<J> {
    fn drop(&mut self) {
        match &mut self.way {
            Way::Simulated(jobs, helper) => jobs.run_all(*helper),
            Way::Thread(thread) => {
                if let Some((sender, handle)) = thread.take() {
                    // The closed channel ends the thread after what is still in it.
                    drop(sender);
                    let _ = handle.join();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn helper(jobs: &Jobs) -> (Helper<usize>, Arc<Mutex<Vec<usize>>>) {
        let done = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&done);
        let run = move |job| shared.lock().expect("no panic").push(job);
        (Helper::new("gyre-test", jobs, || (), run), done)
    }

    /// A process that was to end waited for a disk for ever.
    #[test]
    fn who_has_waited_long_enough_goes() {
        let (hold, held) = channel::<()>();
        let held = Mutex::new(held);
        let run = move |()| {
            let _ = held.lock().expect("no panic").recv();
        };
        let mut helper = Helper::new("gyre-test", &Jobs::Threads, || (), run);
        assert!(helper.drain_for(Duration::from_millis(1)));
        helper.give(());
        assert!(!helper.drain_for(Duration::from_millis(1)));
        drop(hold);
        assert!(helper.drain_for(Duration::MAX));
    }

    #[test]
    fn a_thread_does_its_jobs_in_order() {
        let (mut helper, done) = helper(&Jobs::Threads);
        helper.drain();
        assert!(!helper.has_begun());
        (0..100).for_each(|job| helper.give(job));
        helper.drain();
        assert_eq!(
            *done.lock().expect("no panic"),
            (0..100).collect::<Vec<_>>()
        );
        helper.give(100);
        drop(helper);
        assert_eq!(done.lock().expect("no panic").last(), Some(&100));
    }

    #[test]
    fn a_simulation_does_them_in_order_when_their_time_comes() {
        let orders = |seed: u64| {
            let simulated = SimulatedJobs::new(seed);
            let jobs = Jobs::Simulated(simulated.clone());
            let (mut first, done) = helper(&jobs);
            let (mut second, _others) = helper(&jobs);
            (0..10).for_each(|job| first.give(job));
            second.give(0);
            assert!(done.lock().expect("no panic").is_empty());
            let mut times = Vec::new();
            while let Some(at_ns) = simulated.next_ns() {
                simulated.run_until(at_ns);
                times.push((at_ns, done.lock().expect("no panic").len()));
            }
            assert_eq!(*done.lock().expect("no panic"), (0..10).collect::<Vec<_>>());
            times
        };
        assert_eq!(orders(1), orders(1));
        assert_ne!(orders(1), orders(2));
    }

    #[test]
    fn who_waits_in_a_simulation_does_not_wait_and_the_dead_do_nothing() {
        let simulated = SimulatedJobs::new(1);
        let (mut helper, done) = helper(&Jobs::Simulated(simulated.clone()));
        helper.give(1);
        helper.drain();
        assert_eq!(*done.lock().expect("no panic"), [1]);
        helper.give(2);
        simulated.end_process();
        drop(helper);
        assert_eq!(*done.lock().expect("no panic"), [1]);
    }

    /// What was given is counted by who gave it, so it must not be done twice nor dropped.
    #[test]
    fn each_job_is_done_once() {
        let count = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&count);
        let mut helper = Helper::new(
            "gyre-test",
            &Jobs::Threads,
            || (),
            move |by: usize| {
                shared.fetch_add(by, Ordering::Relaxed);
            },
        );
        (0..1000).for_each(|_| helper.give(1));
        drop(helper);
        assert_eq!(count.load(Ordering::Relaxed), 1000);
    }
}
