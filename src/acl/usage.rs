//! What users have used, and what is left of their budgets.
//!
//! In: the time and the commands of a user's clients. Out: whether the next one has to wait, and for how long. A budget is a
//! bucket of tokens for each of its figures, as large as one second's worth: who was quiet may begin at once, and who took more
//! than was there (a command's length is known when it has run) waits until that is paid.

use super::Budget;
use std::cell::Cell;

/// Commands are counted in parts of this: so many nanoseconds bring one of them at a rate of one a second.
const NS: i64 = 1_000_000_000;

/// Nobody waits longer than this before it is asked again, ns: the budget may become another.
const LONGEST_WAIT_NS: u64 = 10_000_000_000;

/// While a user's clients hold too much memory they are looked at again after this long, ns.
const MEMORY_WAIT_NS: u64 = 100_000_000;

/// What all clients of one user have used together. It is the user's whatever becomes of its rules.
#[derive(Debug, Default)]
pub struct Usage {
    cpu_ns: Cell<u64>,
    commands: Cell<u64>,
    waits: Cell<u64>,
    refusals: Cell<u64>,
    memory_bytes: Cell<u64>,
    /// What is left, or owed, of the budget: ns, and commands times [`NS`].
    cpu_left: Cell<i64>,
    commands_left: Cell<i64>,
    /// When the buckets were filled last, monotonic ns; 0: never.
    filled_ns: Cell<u64>,
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

impl Usage {
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
    /// Memory of the clients' buffers when it was looked at last, bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.get()
    }
    /// Sets what the clients' buffers hold, bytes.
    pub fn set_memory_bytes(&self, bytes: u64) {
        self.memory_bytes.set(bytes);
    }

    /// Commands of a client have run for so long.
    #[inline]
    pub fn charge(&self, cpu_ns: u64, commands: u64) {
        add(&self.cpu_ns, cpu_ns);
        add(&self.commands, commands);
        let owed = i64::try_from(cpu_ns).unwrap_or(i64::MAX);
        self.cpu_left.set(self.cpu_left.get().saturating_sub(owed));
    }

    /// Takes what so many commands need out of the budget; or for how many ns they have to wait before it is there.
    pub fn take(&self, budget: &Budget, commands: u64, now_ns: u64) -> Result<(), u64> {
        self.fill(budget, now_ns);
        let mut wait_ns = 0;
        if let Some(most) = budget.memory_bytes
            && self.memory_bytes.get() > most
        {
            wait_ns = MEMORY_WAIT_NS;
        }
        if let Some(ms) = budget.cpu_ms_per_s {
            // So many nanoseconds of a second bring one.
            wait_ns = wait_ns.max(missing(self.cpu_left.get(), u64::from(ms) * 1_000_000));
        }
        if let Some(rate) = budget.commands_per_s {
            wait_ns = wait_ns.max(missing(
                self.commands_left.get(),
                rate.saturating_mul(NS as u64),
            ));
        }
        if wait_ns > 0 {
            return Err(wait_ns);
        }
        if budget.commands_per_s.is_some() {
            let taken = i64::try_from(commands)
                .unwrap_or(i64::MAX)
                .saturating_mul(NS);
            let left = self.commands_left.get().saturating_sub(taken);
            self.commands_left.set(left);
        }
        Ok(())
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
        let since_ns = match self.filled_ns.replace(now_ns.max(1)) {
            // The first time there is as much as there can be.
            0 => NS as u64,
            before_ns => now_ns.saturating_sub(before_ns),
        };
        if let Some(ms) = budget.cpu_ms_per_s {
            refill(&self.cpu_left, u64::from(ms) * 1_000_000, since_ns);
        }
        if let Some(rate) = budget.commands_per_s {
            refill(
                &self.commands_left,
                rate.saturating_mul(NS as u64),
                since_ns,
            );
        }
    }
}

/// Puts into a bucket what so many ns bring, up to what a second brings.
fn refill(left: &Cell<i64>, per_second: u64, since_ns: u64) {
    let brought = u128::from(per_second)
        .saturating_mul(u128::from(since_ns))
        .div_euclid(NS as u128);
    let full = i64::try_from(per_second).unwrap_or(i64::MAX);
    let brought = i64::try_from(brought).unwrap_or(i64::MAX);
    left.set(left.get().saturating_add(brought).min(full));
}

/// After how many ns there is something in a bucket again.
fn missing(left: i64, per_second: u64) -> u64 {
    if left > 0 {
        return 0;
    }
    if per_second == 0 {
        // Nothing ever will be: it is asked again now and then, for the budget may become another.
        return NS as u64;
    }
    let owed = u128::from(left.unsigned_abs()) + 1;
    let ns = owed
        .saturating_mul(NS as u128)
        .div_ceil(u128::from(per_second));
    u64::try_from(ns)
        .unwrap_or(u64::MAX)
        .clamp(1, LONGEST_WAIT_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = NS as u64;

    #[test]
    fn a_rate_is_kept_over_time_and_not_saved_up_for_long() {
        let budget = Budget {
            commands_per_s: Some(100),
            ..Budget::default()
        };
        let usage = Usage::default();
        let (mut now_ns, mut ran) = (5 * SECOND, 0);
        // Ten seconds of one who always has a command to run.
        while now_ns < 15 * SECOND {
            match usage.take(&budget, 1, now_ns) {
                Ok(()) => ran += 1,
                Err(wait_ns) => now_ns += wait_ns,
            }
        }
        assert!((1095..=1105).contains(&ran), "{ran}");
        // An hour of silence is worth a second.
        now_ns += 3600 * SECOND;
        let burst = (0..1000).take_while(|_| usage.take(&budget, 1, now_ns).is_ok());
        assert_eq!(burst.count(), 100);
    }

    #[test]
    fn time_is_paid_when_it_was_used() {
        let budget = Budget {
            cpu_ms_per_s: Some(100),
            ..Budget::default()
        };
        let usage = Usage::default();
        assert_eq!(usage.take(&budget, 1, SECOND), Ok(()));
        // A second's work is ten seconds' worth, of which one was there.
        usage.charge(SECOND, 1);
        let wait_ns = usage.take(&budget, 1, SECOND).unwrap_err();
        assert!(
            (8_900_000_000..=9_100_000_000).contains(&wait_ns),
            "{wait_ns}"
        );
        assert_eq!(usage.take(&budget, 1, SECOND + wait_ns), Ok(()));
        assert_eq!((usage.cpu_ns(), usage.commands()), (SECOND, 1));
    }

    #[test]
    fn memory_holds_until_it_is_free() {
        let budget = Budget {
            memory_bytes: Some(1000),
            ..Budget::default()
        };
        let usage = Usage::default();
        usage.set_memory_bytes(1001);
        assert_eq!(usage.take(&budget, 1, 7), Err(MEMORY_WAIT_NS));
        usage.set_memory_bytes(1000);
        assert_eq!(usage.take(&budget, 1, 8), Ok(()));
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
            usage.charge(u64::MAX, u64::MAX);
            for now_ns in [0, 1, u64::MAX, 5] {
                let _ = usage.take(&budget, u64::MAX, now_ns);
            }
        }
    }
}
