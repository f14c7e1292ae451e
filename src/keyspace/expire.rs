//! Active expiry: removes keys whose time is over although nobody asks for them.
//!
//! In: the time, the effort and a time budget. Out: expired keys are gone, their number, and an estimate of the share
//! that is still there. Works by a cursor over the index of keys with an expiry, a few keys at a time; another round
//! in the same database follows only while a good part of what was looked at had expired. Mirrors `expire.c` of Redis.

use super::database::live;
use super::table::Place;
use super::{Clock, Keyspace};

/// Keys looked at in one round at effort 1.
const KEYS_PER_ROUND: u64 = 20;
/// Share of expired keys that is left alone at effort 1, percent.
const ACCEPTABLE_STALE_PERCENT: u64 = 10;
/// Databases looked at in one cycle.
const DATABASES_PER_CYCLE: usize = 16;
/// Rounds between two looks at the clock.
const ROUNDS_PER_CLOCK: u64 = 16;

/// Room for keys, bytes, that a round may leave for the next one.
const KEPT_BYTES: usize = 64 * 1024;

/// What one cycle of active expiry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ExpireCycle {
    pub expired: u64,
    pub time_cap_reached: bool,
}

/// What a cycle leaves for the next one.
#[derive(Default)]
pub(super) struct ExpireState {
    next_database: usize,
    time_cap_reached: bool,
    cpu_ns: u64,
    found: Found,
}

/// Keys that one step found expired: their bytes one after another, and where each ends. The room is reused.
#[derive(Default)]
struct Found {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// What one round saw.
#[derive(Default)]
struct Round {
    sampled: u64,
    expired: u64,
    ttl_sum: u128,
    ttl_samples: u64,
}

/// `active-expire-effort` counted from 0.
fn effort_above_least(effort: u32) -> u64 {
    u64::from(effort.clamp(1, 10) - 1)
}

impl Keyspace {
    /// One cycle of active expiry within a time budget (`clock` is called between small steps; monotonic ns). How often
    /// one runs, and with what budget, is the cron's business.
    pub fn expire_cycle(
        &mut self,
        now: Clock,
        effort: u32,
        budget_ns: u64,
        clock: &mut dyn FnMut() -> u64,
    ) -> ExpireCycle {
        self.fold_stats();
        if !self.shared.settings.active_expire || self.shared.frozen {
            return ExpireCycle::default();
        }
        let start_ns = clock();
        let capped_before = std::mem::take(&mut self.expiring.time_cap_reached);
        let databases = if capped_before {
            self.count()
        } else {
            DATABASES_PER_CYCLE.min(self.count())
        };
        let mut spent_ns = || clock().saturating_sub(start_ns);
        let mut total = Round::default();
        let mut rounds = 0;
        for _ in 0..databases {
            let index = self.expiring.next_database % self.count();
            // Counted on now: if time runs out in this database the next cycle begins with another one.
            self.expiring.next_database = index + 1;
            // Fields first, but half of the time is left to keys.
            let fields_left = self.expire_fields_of(index, now, &mut || spent_ns() > budget_ns / 2);
            let mut over = || spent_ns() > budget_ns;
            let keys_left =
                self.expire_database(index, now, effort, &mut rounds, &mut total, &mut over);
            if fields_left || keys_left {
                self.expiring.time_cap_reached = true;
                self.stats.expired_time_cap_reached += 1;
                break;
            }
        }
        self.expiring.cpu_ns += clock().saturating_sub(start_ns);
        self.stats.expire_cycle_cpu_ms += self.expiring.cpu_ns / 1_000_000;
        self.expiring.cpu_ns %= 1_000_000;
        let share = if total.sampled == 0 {
            0.0
        } else {
            total.expired as f64 / total.sampled as f64
        };
        self.stats.expired_stale_perc = share * 100.0 * 0.05 + self.stats.expired_stale_perc * 0.95;
        self.fold_stats();
        ExpireCycle {
            expired: total.expired,
            time_cap_reached: self.expiring.time_cap_reached,
        }
    }

    /// Rounds in one database until few enough expired keys are found; true when time ran out.
    fn expire_database(
        &mut self,
        index: usize,
        now: Clock,
        effort: u32,
        rounds: &mut u64,
        total: &mut Round,
        over: &mut dyn FnMut() -> bool,
    ) -> bool {
        let above = effort_above_least(effort);
        loop {
            *rounds += 1;
            let volatile = self.databases[index].table.volatile_len() as u64;
            if volatile == 0 {
                self.databases[index].average_ttl_ms = 0;
                return false;
            }
            let round = self.expire_round(
                index,
                now,
                volatile.min(KEYS_PER_ROUND + KEYS_PER_ROUND / 4 * above),
            );
            total.sampled += round.sampled;
            total.expired += round.expired;
            if round.ttl_samples > 0 {
                let average = (round.ttl_sum / u128::from(round.ttl_samples)) as u64;
                let running = &mut self.databases[index].average_ttl_ms;
                // A running average in which the present estimate weighs 2 %.
                *running = if *running == 0 { average } else { *running };
                *running = *running / 50 * 49 + average / 50;
            }
            if rounds.is_multiple_of(ROUNDS_PER_CLOCK) && over() {
                return true;
            }
            let acceptable = ACCEPTABLE_STALE_PERCENT - above;
            if round.sampled > 0 && round.expired * 100 / round.sampled <= acceptable {
                return false;
            }
        }
    }

    /// Looks at about `keys` keys from where the last round ended.
    fn expire_round(&mut self, index: usize, now: Clock, keys: u64) -> Round {
        let mut round = Round::default();
        let mut found = std::mem::take(&mut self.expiring.found);
        let mut steps = 0;
        // Empty buckets cost little but are not free: a bound on steps too.
        while round.sampled < keys && steps < keys * 20 {
            steps += 1;
            found.bytes.clear();
            found.ends.clear();
            let now_ms = now.expiry_ms();
            let database = &mut self.databases[index];
            database.expire_cursor =
                database
                    .table
                    .scan_volatile(database.expire_cursor, &mut |entry| {
                        round.sampled += 1;
                        let Some(at) = entry.expire_at() else { return };
                        if now_ms > at {
                            found.bytes.extend_from_slice(entry.key());
                            found.ends.push(found.bytes.len());
                        } else if at > now_ms {
                            round.ttl_sum += u128::from(at.abs_diff(now_ms));
                            round.ttl_samples += 1;
                        }
                    });
            let mut begin = 0;
            for &end in &found.ends {
                let key = &found.bytes[begin..end];
                begin = end;
                let hash = database.table.hash(key);
                // `live` removes what has expired, which this has.
                let place = live(
                    &mut database.table,
                    &mut self.shared,
                    &mut self.stats,
                    index,
                    now,
                    (hash, key),
                );
                round.expired += u64::from(matches!(place, Place::Free(_)));
            }
        }
        if found.bytes.capacity() <= KEPT_BYTES {
            self.expiring.found = found;
        }
        round
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, keyspace, set};
    use super::*;
    use crate::keyspace::Expiry;

    #[test]
    fn a_long_key_that_expires_leaves_no_large_room_behind() {
        let mut keyspace = keyspace();
        for (len, keeps) in [(100, true), (KEPT_BYTES + 1, false)] {
            let key = vec![b'k'; len];
            let mut db = keyspace.db(0, at(1000), false);
            set(&mut db, &key, b"v", Expiry::At(2000));
            let cycle = keyspace.expire_cycle(at(2001), 1, u64::MAX, &mut || 0);
            assert_eq!(cycle.expired, 1, "{len}");
            assert_eq!(keyspace.expiring.found.bytes.capacity() > 0, keeps, "{len}");
        }
    }
}
