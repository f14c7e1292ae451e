//! What users have used, and what is left of their budgets.
//!
//! In: the time and the commands of a user's clients. Out: whether the next one has to wait, and for how long. A budget is a
//! bucket of tokens for each of its figures, as large as one second's worth: who was quiet may begin at once, and who took more
//! than was there (a command's length is known when it has run) waits until that is paid.

use super::Budget;
use std::cell::Cell;

/// Commands are counted in parts of this: so many nanoseconds bring one of them at a rate of one a second.
const NS: i64 = 1_000_000_000;

/// Time is counted in parts of a nanosecond: so many nanoseconds bring one of it at a budget of a millisecond a second. Both
/// buckets are filled exactly, however often: what is rounded away each time would add up to all of a small budget.
const PARTS: i64 = 1000;

/// Nobody waits longer than this before it is asked again, ns: the budget may become another.
const LONGEST_WAIT_NS: u64 = 10_000_000_000;

/// What all clients of one user have used together. It is the user's whatever becomes of its rules.
#[derive(Debug, Default)]
pub struct Usage {
    cpu_ns: Cell<u64>,
    commands: Cell<u64>,
    waits: Cell<u64>,
    refusals: Cell<u64>,
    memory_bytes: Cell<u64>,
    /// What is left, or owed, of the budget: ns times [`PARTS`], and commands times [`NS`].
    cpu_left: Cell<i64>,
    commands_left: Cell<i64>,
    /// When the buckets were filled last, monotonic ns; 0: never.
    filled_ns: Cell<u64>,
}

/// What commands have taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Time of the loop, ns.
    pub cpu_ns: u64,
    /// Commands that were run.
    pub commands: u64,
    /// Those of them that scripts have called: nobody was asked for these before.
    pub called: u64,
}

/// What was used is no part of who somebody is.
impl PartialEq for Usage {
    fn eq(&self, _other: &Usage) -> bool {
        true
    }
}

impl Eq for Usage {}

fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get().saturating_add(more));
}

/// Takes something out of a bucket, which may owe it then.
fn owe(left: &Cell<i64>, amount: u64, unit: i64) {
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    left.set(left.get().saturating_sub(amount.saturating_mul(unit)));
}

impl Usage {
    /// Whether anything was used, or asked for in vain.
    pub fn is_used(&self) -> bool {
        self.commands.get() > 0 || self.waits.get() > 0 || self.refusals.get() > 0
    }
    /// Time that the user's commands have run, ns.
    pub fn cpu_ns(&self) -> u64 {
        self.cpu_ns.get()
    }
    /// Commands that were run.
    pub fn commands(&self) -> u64 {
        self.commands.get()
    }
    /// How often a command had to wait for the budget.
    pub fn waits(&self) -> u64 {
        self.waits.get()
    }
    /// How often a command was refused for the budget.
    pub fn refusals(&self) -> u64 {
        self.refusals.get()
    }
    /// Memory that the clients had the server hold when it was looked at last, bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.get()
    }
    /// Sets what the clients have the server hold, bytes.
    pub fn set_memory_bytes(&self, bytes: u64) {
        self.memory_bytes.set(bytes);
    }

    /// Commands of a client have run.
    pub fn charge(&self, budget: &Budget, ran: Ran) {
        add(&self.cpu_ns, ran.cpu_ns);
        add(&self.commands, ran.commands);
        // Nothing is owed of a budget that there is not: who is given one later begins with all of it.
        if budget.cpu_ms_per_s.is_some() {
            owe(&self.cpu_left, ran.cpu_ns, PARTS);
        }
        if budget.commands_per_s.is_some() {
            owe(&self.commands_left, ran.called, NS);
        }
    }

    /// Whether the clients have the server hold more than they may.
    pub fn is_over_memory(&self, budget: &Budget) -> bool {
        budget
            .memory_bytes
            .is_some_and(|most| self.memory_bytes.get() > most)
    }

    /// After how many ns there is something of time and commands again; 0: there is now.
    pub fn wait_ns(&self, budget: &Budget, now_ns: u64) -> u64 {
        self.fill(budget, now_ns);
        let of_cpu = budget
            .cpu_ms_per_s
            .map_or(0, |ms| missing(self.cpu_left.get(), u64::from(ms)));
        // A whole one, where of time any will do.
        let of_commands = budget.commands_per_s.map_or(0, |rate| {
            missing(self.commands_left.get().saturating_sub(NS - 1), rate)
        });
        of_cpu.max(of_commands)
    }

    /// How many commands the rate has room for now; where there is none, as many as one likes.
    pub fn commands_left(&self, budget: &Budget) -> u64 {
        match budget.commands_per_s {
            None => u64::MAX,
            Some(_) => {
                let left = u64::try_from(self.commands_left.get()).unwrap_or(0);
                left.div_euclid(NS as u64)
            }
        }
    }

    /// Takes so many commands out of the budget.
    pub fn take(&self, budget: &Budget, commands: u64) {
        if budget.commands_per_s.is_some() {
            owe(&self.commands_left, commands, NS);
        }
    }

    /// Forgets what is shown (LOOP RESET). What is left or owed of the budget stays, and so does the memory that is held.
    pub fn reset(&self) {
        for shown in [&self.cpu_ns, &self.commands, &self.waits, &self.refusals] {
            shown.set(0);
        }
    }

    /// A command was held back for the budget.
    pub fn note_wait(&self) {
        add(&self.waits, 1);
    }
    /// A command was refused for the budget.
    pub fn note_refusal(&self) {
        add(&self.refusals, 1);
    }

    fn fill(&self, budget: &Budget, now_ns: u64) {
        let now_ns = now_ns.max(1);
        let since_ns = match self.filled_ns.get() {
            // The first time there is as much as there can be.
            0 => NS as u64,
            before_ns => now_ns.saturating_sub(before_ns),
        };
        // A look at an earlier time must not have the same time fill the buckets twice.
        self.filled_ns.set(self.filled_ns.get().max(now_ns));
        if let Some(ms) = budget.cpu_ms_per_s {
            refill(&self.cpu_left, u64::from(ms), since_ns);
        }
        if let Some(rate) = budget.commands_per_s {
            refill(&self.commands_left, rate, since_ns);
        }
    }
}

/// Puts into a bucket what so many ns bring, up to what a second brings.
fn refill(left: &Cell<i64>, per_ns: u64, since_ns: u64) {
    let brought = |ns: u64| i64::try_from(per_ns.saturating_mul(ns)).unwrap_or(i64::MAX);
    let full = brought(NS as u64);
    left.set(left.get().saturating_add(brought(since_ns)).min(full));
}

/// After how many ns there is something in a bucket again.
fn missing(left: i64, per_ns: u64) -> u64 {
    if left > 0 {
        return 0;
    }
    let owed = left.unsigned_abs().saturating_add(1);
    owed.div_ceil(per_ns.max(1)).clamp(1, LONGEST_WAIT_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = NS as u64;

    /// Takes what a command needs, or says for how long it has to wait.
    fn take(usage: &Usage, budget: &Budget, now_ns: u64) -> Result<(), u64> {
        match usage.wait_ns(budget, now_ns) {
            0 => {
                usage.take(budget, 1);
                Ok(())
            }
            wait_ns => Err(wait_ns),
        }
    }

    fn of_cpu(ms: u32) -> Budget {
        Budget {
            cpu_ms_per_s: Some(ms),
            ..Budget::default()
        }
    }

    fn of_rate(rate: u64) -> Budget {
        Budget {
            commands_per_s: Some(rate),
            ..Budget::default()
        }
    }

    fn ran(cpu_ns: u64) -> Ran {
        Ran {
            cpu_ns,
            commands: 1,
            called: 0,
        }
    }

    #[test]
    fn a_rate_is_kept_over_time_and_not_saved_up_for_long() {
        let (budget, usage) = (of_rate(100), Usage::default());
        let (mut now_ns, mut count) = (5 * SECOND, 0);
        // Ten seconds of one who always has a command to run.
        while now_ns < 15 * SECOND {
            match take(&usage, &budget, now_ns) {
                Ok(()) => count += 1,
                Err(wait_ns) => now_ns += wait_ns,
            }
        }
        assert!((1095..=1105).contains(&count), "{count}");
        // An hour of silence is worth a second.
        now_ns += 3600 * SECOND;
        assert_eq!(usage.wait_ns(&budget, now_ns), 0);
        assert_eq!(usage.commands_left(&budget), 100);
        let burst = (0..1000).take_while(|_| take(&usage, &budget, now_ns).is_ok());
        assert_eq!(burst.count(), 100);
    }

    #[test]
    fn time_is_paid_when_it_was_used() {
        let (budget, usage) = (of_cpu(100), Usage::default());
        assert_eq!(usage.wait_ns(&budget, SECOND), 0);
        // A second's work is ten seconds' worth, of which one was there.
        usage.charge(&budget, ran(SECOND));
        let wait_ns = usage.wait_ns(&budget, SECOND);
        assert!(
            (8_900_000_000..=9_100_000_000).contains(&wait_ns),
            "{wait_ns}"
        );
        assert_eq!(usage.wait_ns(&budget, SECOND + wait_ns), 0);
        assert_eq!((usage.cpu_ns(), usage.commands()), (SECOND, 1));
    }

    /// What a user had used before it was given a budget was owed then: hours of waiting.
    #[test]
    fn nothing_is_owed_of_a_budget_that_there_was_not() {
        let usage = Usage::default();
        usage.charge(&Budget::default(), ran(3600 * SECOND));
        assert_eq!(usage.wait_ns(&of_cpu(1), 3600 * SECOND), 0);
    }

    /// Asked each 500 ns, a budget of a thousandth was rounded to nothing each time.
    #[test]
    fn small_budgets_are_filled_however_often_one_looks() {
        let (budget, usage) = (of_cpu(1), Usage::default());
        assert_eq!(usage.wait_ns(&budget, SECOND), 0);
        usage.charge(&budget, ran(1_001_000));
        let mut now_ns = SECOND;
        while usage.wait_ns(&budget, now_ns) > 0 {
            now_ns += 500;
        }
        let waited_ns = now_ns - SECOND;
        assert!((1_000_000..1_002_000).contains(&waited_ns), "{waited_ns}");
    }

    #[test]
    fn no_time_fills_the_buckets_twice() {
        let (budget, usage) = (of_rate(10), Usage::default());
        (0..10).for_each(|_| assert_eq!(take(&usage, &budget, 5 * SECOND), Ok(())));
        for _ in 0..100 {
            assert!(take(&usage, &budget, 4 * SECOND).is_err());
            assert!(take(&usage, &budget, 5 * SECOND).is_err());
        }
    }

    #[test]
    fn what_scripts_call_is_owed_behind_them() {
        let (budget, usage) = (of_rate(10), Usage::default());
        assert_eq!(take(&usage, &budget, SECOND), Ok(()));
        let called = Ran {
            called: 29,
            commands: 30,
            cpu_ns: 1,
        };
        usage.charge(&budget, called);
        let wait_ns = usage.wait_ns(&budget, SECOND);
        assert!(
            (2 * SECOND..=2 * SECOND + SECOND / 5).contains(&wait_ns),
            "{wait_ns}"
        );
    }

    #[test]
    fn what_is_forgotten_is_still_owed() {
        let (budget, usage) = (of_cpu(100), Usage::default());
        assert_eq!(usage.wait_ns(&budget, SECOND), 0);
        usage.charge(&budget, ran(SECOND));
        usage.note_wait();
        usage.note_refusal();
        usage.set_memory_bytes(7);
        let wait_ns = usage.wait_ns(&budget, SECOND);
        usage.reset();
        assert!(!usage.is_used());
        assert_eq!((usage.cpu_ns(), usage.memory_bytes()), (0, 7));
        assert_eq!(usage.wait_ns(&budget, SECOND), wait_ns);
    }

    #[test]
    fn memory_is_compared_with_its_bound() {
        let budget = Budget {
            memory_bytes: Some(1000),
            ..Budget::default()
        };
        let usage = Usage::default();
        usage.set_memory_bytes(1001);
        assert!(usage.is_over_memory(&budget));
        assert!(!usage.is_over_memory(&Budget::default()));
        usage.set_memory_bytes(1000);
        assert!(!usage.is_over_memory(&budget));
    }

    #[test]
    fn extreme_figures_do_not_overflow() {
        for rate in [0, 1, u64::MAX] {
            let budget = Budget {
                cpu_ms_per_s: Some(u32::MAX),
                commands_per_s: Some(rate),
                memory_bytes: Some(0),
                throttle_error: false,
            };
            let usage = Usage::default();
            let most = Ran {
                cpu_ns: u64::MAX,
                commands: u64::MAX,
                called: u64::MAX,
            };
            usage.charge(&budget, most);
            for now_ns in [0, 1, u64::MAX, 5] {
                let _ = usage.wait_ns(&budget, now_ns);
                let _ = usage.commands_left(&budget);
                usage.take(&budget, u64::MAX);
            }
        }
    }
}
