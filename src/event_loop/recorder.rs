//! The recorder: the last turns of the loop in a ring, and how long each phase took in all of them.
//!
//! In: one [`TurnReport`] at the end of each turn. Out: the ring, the slowest turns, a histogram per phase, and what
//! the recorder itself cost. It knows nothing of Redis, asks nobody, and is asked by whoever wants to see: the LOOP
//! command, the metrics, the page.
//!
//! What makes it cheap: a turn's report exists anyway, so recording is one copy of some 250 bytes into a ring that is
//! used again and again. The histograms are brought up to date from the ring, for some turns at once, when their memory
//! is in the cache anyway. Nothing is allocated in a turn once the ring is full. [`Cost`] counts the looks at the clock.
//!
//! Invariants:
//! * `ring.len() <= capacity`; the newest report is at `next - 1` (modulo the ring's length), the oldest at `next` once
//!   the ring is full.
//! * The newest `unfolded` turns of the ring, fewer than [`FOLDED_AT_ONCE`] and than the ring holds, are not yet in
//!   histograms and sums.
//! * `slowest` is in falling order of time awake, and no recorded turn since the last reset that was awake longer than
//!   its last entry is missing from it.

use super::turn::{PHASES, Phase, TurnReport};
use crate::system::histogram::Histogram;

/// Slowest turns that are kept.
const SLOWEST: usize = 32;
/// Turns that are brought into the histograms at once.
const FOLDED_AT_ONCE: usize = 32;
/// Asleep for so long, ns, the loop has time to bring the histograms up to date.
const IDLE_NS: u64 = 1_000_000;
/// A recording that took longer was interrupted, or waited for memory from the system, and tells nothing, ns.
const INTERRUPTED_NS: u64 = 20_000;
/// Every so many turns the recorder times itself. A power of two.
const SELF_TIMED: u64 = 64;

/// What recording costs, measured while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Looks at the clock that are due to the recorder alone.
    pub looks: u64,
    /// Turns whose recording was timed.
    pub timed_turns: u64,
    /// Time for recording these, ns.
    pub timed_ns: u64,
    /// Time for one look at the clock in each of these, ns.
    pub timed_looks_ns: u64,
    /// Turns recorded.
    pub turns: u64,
}

impl Cost {
    /// One look at the clock, ns.
    pub fn look_ns(&self) -> u64 {
        self.timed_looks_ns
            .checked_div(self.timed_turns)
            .unwrap_or(0)
    }

    /// Estimate of all that recording has cost, ns: the looks at the clock, and what was timed, for all turns.
    pub fn total_ns(&self) -> u64 {
        let timed_turns = u128::from(self.timed_turns.max(1));
        let looks = u128::from(self.timed_looks_ns) * u128::from(self.looks) / timed_turns;
        let turns = u128::from(self.timed_ns) * u128::from(self.turns) / timed_turns;
        u64::try_from(looks + turns).unwrap_or(u64::MAX)
    }
}

/// What is kept while recording: allocated when it is first switched on.
struct Kept {
    phases: [Histogram; PHASES],
    awake: Histogram,
    sums_ns: [u64; PHASES],
}

impl Default for Kept {
    fn default() -> Kept {
        Kept {
            phases: std::array::from_fn(|_| Histogram::default()),
            awake: Histogram::default(),
            sums_ns: [0; PHASES],
        }
    }
}

/// The recorder.
#[derive(Default)]
pub struct Recorder {
    is_on: bool,
    /// Turns that the ring holds.
    capacity: usize,
    ring: Vec<TurnReport>,
    next: usize,
    unfolded: usize,
    slowest: Vec<TurnReport>,
    /// Time awake of the last of them, ns.
    slow_ns: u64,
    kept: Option<Box<Kept>>,
    cost: Cost,
}

impl Recorder {
    /// Whether turns are recorded.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Turns that the ring holds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Switches recording on or off and sets how many turns the ring holds; a smaller ring keeps the newest. What was
    /// recorded stays until [`Recorder::reset`]. O(turns kept) when the size changes.
    pub(crate) fn configure(&mut self, is_on: bool, capacity: usize) {
        let capacity = capacity.max(1);
        self.fold();
        if capacity != self.capacity {
            let mut turns: Vec<TurnReport> = self.newest_first().take(capacity).copied().collect();
            turns.reverse();
            self.next = turns.len() % capacity;
            self.ring = turns;
            self.capacity = capacity;
        }
        if is_on {
            self.take_memory();
        }
        self.is_on = is_on;
    }

    /// Takes all memory at once: what grew with the turns would look like data to whoever watches `maxmemory`.
    fn take_memory(&mut self) {
        self.kept.get_or_insert_default();
        self.ring
            .reserve_exact(self.capacity - self.ring.len().min(self.capacity));
        self.slowest.reserve_exact(SLOWEST - self.slowest.len());
    }

    /// Whether the loop shall time the recording of this turn.
    #[inline]
    pub(super) fn times_itself(&self) -> bool {
        self.cost.turns.is_multiple_of(SELF_TIMED)
    }

    /// So long did the recording of one turn take, and so long one look at the clock, ns.
    pub(super) fn took(&mut self, look_ns: u64, ns: u64) {
        if ns > INTERRUPTED_NS || look_ns > INTERRUPTED_NS {
            return;
        }
        self.cost.timed_turns += 1;
        self.cost.timed_looks_ns += look_ns;
        self.cost.timed_ns += ns;
    }

    /// Records a turn that was awake for so long. O(1); now and then O(turns folded at once).
    pub(crate) fn record(&mut self, report: &TurnReport, awake_ns: u64) {
        if self.ring.len() < self.capacity {
            self.ring.push(*report);
        } else if let Some(oldest) = self.ring.get_mut(self.next) {
            *oldest = *report;
        }
        self.next = if self.next + 1 >= self.capacity {
            0
        } else {
            self.next + 1
        };
        let is_slow = self.slowest.len() < SLOWEST || awake_ns > self.slow_ns;
        if is_slow {
            self.keep_slow(report, awake_ns);
        }
        self.cost.turns += 1;
        self.cost.looks += u64::from(report.extra_looks);
        self.unfolded += 1;
        let most = FOLDED_AT_ONCE.min(self.capacity);
        if self.unfolded >= most || report.time_in(Phase::Sleep) > IDLE_NS {
            self.fold();
        }
    }

    /// Brings histograms and sums up to date.
    pub(super) fn fold(&mut self) {
        let unfolded = std::mem::take(&mut self.unfolded);
        let Some(mut kept) = self.kept.take() else {
            return;
        };
        for report in self.newest_first().take(unfolded) {
            for (phase, ns) in report.phase_ns.iter().copied().enumerate() {
                if ns > 0 {
                    kept.phases[phase].record(ns);
                    kept.sums_ns[phase] += ns;
                }
            }
            kept.awake.record(report.awake_ns());
        }
        self.kept = Some(kept);
    }

    /// The turn that was recorded last.
    pub(super) fn newest(&self) -> Option<&TurnReport> {
        self.newest_first().next()
    }

    #[cold]
    fn keep_slow(&mut self, report: &TurnReport, awake_ns: u64) {
        let at = self
            .slowest
            .partition_point(|slower| slower.awake_ns() >= awake_ns);
        self.slowest.truncate(SLOWEST - 1);
        self.slowest.insert(at, *report);
        self.slow_ns = self.slowest.last().map_or(0, TurnReport::awake_ns);
    }

    /// Forgets what was recorded. Recording goes on if it is on.
    pub fn reset(&mut self) {
        self.ring = Vec::new();
        (self.next, self.unfolded, self.slow_ns) = (0, 0, 0);
        self.slowest = Vec::new();
        self.kept = None;
        self.cost = Cost::default();
        if self.is_on {
            self.take_memory();
        }
    }

    /// The recorded turns, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &TurnReport> {
        let (old, new) = self.ring.split_at(self.next.min(self.ring.len()));
        old.iter().rev().chain(new.iter().rev())
    }

    /// The recorded turns after turn number `turn`, the oldest first: what a viewer has not seen yet. O(turns answered).
    pub fn since(&self, turn: u64) -> Vec<&TurnReport> {
        let mut turns: Vec<&TurnReport> = self
            .newest_first()
            .take_while(|report| report.turn > turn)
            .collect();
        turns.reverse();
        turns
    }

    /// Turns in the ring.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether the ring is empty.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// The turns that were awake longest since the last reset, the slowest first; at most 32.
    pub fn slowest(&self) -> &[TurnReport] {
        &self.slowest
    }

    /// How the time of a phase is distributed over the turns in which it took any, up to some 30 busy turns ago (see
    /// [`EventLoop::recorder_mut`](super::EventLoop::recorder_mut)). None before the first recording.
    pub fn histogram(&self, phase: Phase) -> Option<&Histogram> {
        self.kept.as_ref().map(|kept| &kept.phases[phase as usize])
    }

    /// How the time awake is distributed over the turns. None before the first recording.
    pub fn awake(&self) -> Option<&Histogram> {
        self.kept.as_ref().map(|kept| &kept.awake)
    }

    /// Time in a phase in all recorded turns, ns.
    pub fn sum_ns(&self, phase: Phase) -> u64 {
        self.kept
            .as_ref()
            .map_or(0, |kept| kept.sums_ns[phase as usize])
    }

    /// Time awake in all recorded turns, ns.
    pub fn awake_sum_ns(&self) -> u64 {
        self.kept
            .as_ref()
            .map_or(0, |kept| kept.sums_ns[1..].iter().sum())
    }

    /// What recording has cost.
    pub fn cost(&self) -> &Cost {
        &self.cost
    }

    /// Bytes that the recorder holds.
    pub fn memory_bytes(&self) -> usize {
        let reports = self.ring.capacity() + self.slowest.capacity();
        let histograms = self.kept.as_ref().map_or(0, |kept| {
            (PHASES + 1) * kept.awake.memory_bytes() + std::mem::size_of::<Kept>()
        });
        reports * std::mem::size_of::<TurnReport>() + histograms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turn(number: u64, execute_ns: u64) -> TurnReport {
        let mut report = TurnReport {
            turn: number,
            extra_looks: 3,
            ..TurnReport::default()
        };
        report.phase_ns[Phase::Sleep as usize] = IDLE_NS;
        report.phase_ns[Phase::Execute as usize] = execute_ns;
        report
    }

    fn record(recorder: &mut Recorder, report: &TurnReport) {
        recorder.record(report, report.awake_ns());
    }

    #[test]
    fn a_stalled_turn_is_the_slowest_and_its_phase_shows() {
        let mut recorder = Recorder::default();
        recorder.configure(true, 16);
        assert!(recorder.times_itself());
        recorder.took(20, 300);
        for number in 1..=100 {
            let stalled = number == 60;
            record(
                &mut recorder,
                &turn(number, if stalled { 5_000_000 } else { number }),
            );
        }
        assert_eq!(recorder.slowest().len(), SLOWEST);
        assert_eq!(recorder.slowest()[0].turn, 60);
        assert_eq!(recorder.slowest()[1].turn, 100);
        assert_eq!(recorder.slowest()[0].phases_by_time()[0].0, Phase::Execute);
        recorder.fold();
        let execute = recorder.histogram(Phase::Execute).expect("it records");
        assert_eq!(execute.total(), 100);
        assert!(execute.max() >= 5_000_000 && execute.percentile(50.0) < 100);
        assert_eq!(
            recorder.histogram(Phase::Write).map(Histogram::total),
            Some(0)
        );
        assert_eq!(recorder.cost().looks, 300);
        assert_eq!(recorder.cost().look_ns(), 20);
        assert_eq!(recorder.cost().total_ns(), 300 * 20 + 100 * 300);
        recorder.reset();
        assert!(recorder.is_empty() && recorder.slowest().is_empty() && recorder.is_on());
        assert_eq!(recorder.awake().map(Histogram::total), Some(0));
    }

    #[test]
    fn a_viewer_gets_what_it_has_not_seen() {
        let mut recorder = Recorder::default();
        recorder.configure(true, 4);
        let seen = |recorder: &Recorder, after| -> Vec<u64> {
            let turns = recorder.since(after);
            turns.iter().map(|report| report.turn).collect()
        };
        assert_eq!(seen(&recorder, 0), Vec::<u64>::new());
        (1..=6).for_each(|number| record(&mut recorder, &turn(number, 1)));
        assert_eq!(seen(&recorder, 0), [3, 4, 5, 6]);
        assert_eq!(seen(&recorder, 5), [6]);
        assert_eq!(seen(&recorder, 6), Vec::<u64>::new());
    }

    #[test]
    fn what_was_recorded_stays_when_it_is_switched_off() {
        let mut recorder = Recorder::default();
        assert!(recorder.is_empty() && recorder.histogram(Phase::Read).is_none());
        recorder.configure(true, 4);
        record(&mut recorder, &turn(2, 1));
        recorder.configure(false, 4);
        assert_eq!((recorder.len(), recorder.is_on()), (1, false));
        recorder.reset();
        assert_eq!(recorder.memory_bytes(), 0);
    }

    proptest! {
        #[test]
        fn the_ring_is_the_tail_of_what_was_recorded(
            steps in prop::collection::vec(prop_oneof![3 => Just(None), 1 => (1usize..9).prop_map(Some)], 0..60)
        ) {
            let mut recorder = Recorder::default();
            recorder.configure(true, 3);
            let (mut all, mut capacity, mut number): (Vec<u64>, usize, u64) = (Vec::new(), 3, 0);
            for step in steps {
                match step {
                    Some(size) => {
                        recorder.configure(true, size);
                        capacity = size;
                    }
                    None => {
                        number += 1;
                        record(&mut recorder, &turn(number, number));
                        all.push(number);
                    }
                }
                let kept = all.len().saturating_sub(capacity);
                all.drain(..kept);
                let ring: Vec<u64> = recorder.newest_first().map(|report| report.turn).collect();
                let expected: Vec<u64> = all.iter().rev().copied().collect();
                prop_assert_eq!(ring, expected);
            }
            recorder.fold();
            prop_assert_eq!(recorder.awake().map(Histogram::total), Some(number), "each turn is counted once");
        }
    }
}
