//! A heap of timers. Cancelled ones stay in the heap until their time, as tombstones.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

/// Names a timer; never repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(u64);

/// The timers that are set. Setting and taking are O(log n).
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(u64, TimerId)>>,
    cancelled: HashSet<TimerId>,
    last: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at_ns: u64) -> TimerId {
        self.last += 1;
        let timer = TimerId(self.last);
        self.heap.push(Reverse((at_ns, timer)));
        timer
    }

    pub(super) fn cancel(&mut self, timer: TimerId) {
        // A tombstone for a timer that is not in the heap would never be collected.
        if self.heap.iter().any(|Reverse((_, id))| *id == timer) {
            self.cancelled.insert(timer);
            self.drop_tombstones();
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes all timers whose time has come, in the order of their times.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Vec<TimerId> {
        let mut due = Vec::new();
        while let Some(Reverse((at, timer))) = self.heap.peek().copied() {
            if at > now_ns {
                break;
            }
            self.heap.pop();
            if !self.cancelled.remove(&timer) {
                due.push(timer);
            }
        }
        self.drop_tombstones();
        due
    }

    /// The top is always a live timer, so that `next_deadline` never wakes the loop for nothing.
    fn drop_tombstones(&mut self) {
        while let Some(Reverse((_, timer))) = self.heap.peek() {
            if !self.cancelled.remove(timer) {
                break;
            }
            self.heap.pop();
        }
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
        assert!(timers.cancelled.is_empty());
    }
}
