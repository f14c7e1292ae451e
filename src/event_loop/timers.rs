//! The timers that are set, by the times at which they are due.

use std::collections::BTreeSet;

/// Names a timer; never repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    /// When it is due: first, because timers are kept in this order. It is here so that a timer is found by its name.
    at_ns: u64,
    /// Those for the same time come in the order in which they were set.
    number: u64,
}

/// The timers that are set. Setting, cancelling and taking are O(log n), and a timer that is cancelled is gone: whoever
/// sets its timer anew in each turn, long before it is due, leaves nothing behind.
#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeSet<TimerId>,
    last: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at_ns: u64) -> TimerId {
        self.last += 1;
        let timer = TimerId {
            at_ns,
            number: self.last,
        };
        self.set.insert(timer);
        timer
    }

    /// Forgets a timer; one that was taken already is no matter.
    pub(super) fn cancel(&mut self, timer: TimerId) {
        self.set.remove(&timer);
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.set.first().map(|timer| timer.at_ns)
    }

    /// Takes all timers whose time has come, in the order of their times.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Vec<TimerId> {
        let mut due = Vec::new();
        while let Some(timer) = self.set.first().filter(|timer| timer.at_ns <= now_ns) {
            due.push(*timer);
            self.set.pop_first();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_and_cancelled_ones_do_not() {
        let mut timers = Timers::default();
        let late = timers.set(30);
        let early = timers.set(10);
        let gone = timers.set(5);
        let same = timers.set(10);
        timers.cancel(gone);
        assert_eq!(timers.next_deadline(), Some(10));
        assert_eq!(timers.take_due(9), vec![]);
        assert_eq!(timers.take_due(10), vec![early, same]);
        timers.cancel(early);
        assert_eq!(timers.take_due(100), vec![late]);
        assert_eq!(timers.next_deadline(), None);
    }

    /// Each turn that serves one of many who wait cancels the timer of the first deadline and sets the next one's. Cancelled
    /// timers stayed until they were due: behind the cron's, which comes first, they grew without bound, and each cancel
    /// looked at all of them.
    #[test]
    fn a_cancelled_timer_leaves_nothing_behind() {
        let mut timers = Timers::default();
        timers.set(1);
        for at_ns in 100..100_100 {
            let timer = timers.set(at_ns);
            timers.cancel(timer);
        }
        assert_eq!(timers.set.len(), 1);
        assert_eq!(timers.next_deadline(), Some(1));
    }
}
