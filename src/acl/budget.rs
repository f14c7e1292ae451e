//! What clients of a user may use up: time of the loop, commands, memory.
//!
//! In: the rules `cpu=<ms>/s`, `rate=<commands>/s`, `memory=<bytes>`, `throttle-error` and `nobudget`. Out: the limits,
//! which the engine keeps. They are gyre's own; a user without them is described as Redis describes it.

use super::rule::{Fault, value_of};
use crate::system::numbers::{parse_bytes, parse_u64};

/// All of the loop's time: there is one loop.
const CPU_MS_MAX: u64 = 1000;

/// Limits on what all clients of a user together use. Most users have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Milliseconds of the loop's time in each second (`cpu=`).
    pub cpu_ms_per_s: Option<u32>,
    /// Commands in each second (`rate=`).
    pub commands_per_s: Option<u64>,
    /// Bytes of memory (`memory=`).
    pub memory_bytes: Option<u64>,
    /// True if a command beyond the limits is answered with an error, false if it waits (`throttle-error`).
    pub throttle_error: bool,
}

impl Budget {
    /// Applies a rule. `None` if it is not about limits.
    pub(super) fn apply(&mut self, rule: &[u8]) -> Option<Result<(), Fault>> {
        let result = if let Some(value) = value_of(rule, b"cpu") {
            let ms = per_second(value).filter(|ms| *ms <= CPU_MS_MAX);
            set(&mut self.cpu_ms_per_s, ms.and_then(|ms| ms.try_into().ok()))
        } else if let Some(value) = value_of(rule, b"rate") {
            set(&mut self.commands_per_s, per_second(value))
        } else if let Some(value) = value_of(rule, b"memory") {
            let bytes = parse_bytes(value).filter(|bytes| *bytes > 0);
            set(&mut self.memory_bytes, bytes)
        } else if rule.eq_ignore_ascii_case(b"throttle-error") {
            self.throttle_error = true;
            Ok(())
        } else if rule.eq_ignore_ascii_case(b"nobudget") {
            *self = Budget::default();
            Ok(())
        } else {
            return None;
        };
        Some(result)
    }

    /// Whether anything is bounded.
    pub(super) fn has_limit(&self) -> bool {
        self.cpu_ms_per_s.is_some() || self.commands_per_s.is_some() || self.memory_bytes.is_some()
    }

    /// The rules that make this budget.
    pub(super) fn words(&self) -> Vec<String> {
        let rules = [
            self.cpu_ms_per_s.map(|ms| format!("cpu={ms}/s")),
            self.commands_per_s.map(|rate| format!("rate={rate}/s")),
            self.memory_bytes.map(|bytes| format!("memory={bytes}")),
            self.throttle_error.then(|| "throttle-error".to_owned()),
        ];
        rules.into_iter().flatten().collect()
    }
}

fn set<T>(limit: &mut Option<T>, value: Option<T>) -> Result<(), Fault> {
    *limit = Some(value.ok_or(Fault::Limit)?);
    Ok(())
}

fn per_second(value: &[u8]) -> Option<u64> {
    parse_u64(value.strip_suffix(b"/s")?).filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_described() {
        let mut budget = Budget::default();
        for rule in ["CPU=50/s", "rate=1000/s", "memory=2mb", "Throttle-Error"] {
            assert_eq!(budget.apply(rule.as_bytes()), Some(Ok(())), "{rule}");
        }
        let words = [
            "cpu=50/s",
            "rate=1000/s",
            "memory=2097152",
            "throttle-error",
        ];
        assert_eq!(budget.words(), words);
        assert_eq!(budget.apply(b"nobudget"), Some(Ok(())));
        assert_eq!(budget, Budget::default());
        for wrong in [
            "cpu=",
            "cpu=0/s",
            "cpu=1001/s",
            "cpu=5",
            "cpu=-1/s",
            "rate=0/s",
            "rate=1/m",
            "memory=0",
            "memory=",
            "memory=1tb",
            "memory=18446744073709551615kb",
            "memory=-1",
        ] {
            assert_eq!(
                budget.apply(wrong.as_bytes()),
                Some(Err(Fault::Limit)),
                "{wrong}"
            );
        }
        for other in ["cpu", "cpus=1/s", "", "rates", "on"] {
            assert_eq!(budget.apply(other.as_bytes()), None, "{other}");
        }
        assert_eq!(budget, Budget::default());
    }
}
