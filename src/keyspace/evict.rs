//! Eviction: which key goes when memory is full.
//!
//! In: the policy and how many keys to sample. Out: one key is gone. True LRU, LFU or TTL order would cost memory for
//! each key; instead a few keys of each database are sampled for each eviction, and the best candidates seen are kept
//! in a pool of sixteen, so that the choice gets better from one eviction to the next. Mirrors `evict.c` of Redis.

use super::entry::Entry;
use super::table::Place;
use super::{AccessPolicy, Clock, EventClass, Keyspace};
use crate::config::MaxmemoryPolicy;

/// Candidates kept.
const POOL_SIZE: usize = 16;
/// Room for a key, bytes, that a candidate may leave for the one that takes its place.
const KEPT_KEY_LEN: usize = 256;
/// Tries to find a candidate that still exists before giving up for this call.
const TRIES_MAX: usize = 64;

/// A key that may go; it may have gone already.
struct Candidate {
    score: u64,
    db: usize,
    key: Vec<u8>,
}

/// The best candidates, the best last.
#[derive(Default)]
pub(super) struct EvictionPool {
    candidates: Vec<Candidate>,
    next_database: usize,
}

impl EvictionPool {
    /// Takes a candidate in if there is room or a worse one.
    fn offer(&mut self, score: u64, db: usize, key: &[u8]) {
        let at = self
            .candidates
            .partition_point(|candidate| candidate.score < score);
        let full = self.candidates.len() == POOL_SIZE;
        if full && at == 0 {
            return;
        }
        if self
            .candidates
            .iter()
            .any(|known| known.db == db && known.key == key)
        {
            return;
        }
        if full {
            // The worst one makes room; its buffer is used again.
            let mut worst = self.candidates.remove(0);
            worst.key.clear();
            worst.key.shrink_to(KEPT_KEY_LEN);
            worst.key.extend_from_slice(key);
            (worst.score, worst.db) = (score, db);
            self.candidates.insert(at - 1, worst);
        } else {
            self.candidates.insert(
                at,
                Candidate {
                    score,
                    db,
                    key: key.to_vec(),
                },
            );
        }
    }
}

/// How good it is to evict an entry: higher is better.
fn score(entry: &Entry, policy: MaxmemoryPolicy, access: AccessPolicy, now: Clock) -> u64 {
    match policy {
        MaxmemoryPolicy::VolatileTtl => {
            u64::MAX - entry.expire_at().unwrap_or(i64::MAX).max(0) as u64
        }
        policy if policy.is_lfu() => u64::from(255 - access.decayed(entry.access(), now)),
        _ => access.idle_ms(entry.access(), now),
    }
}

impl Keyspace {
    /// Evicts one key by the policy: its database and key, or `None` where nothing can be evicted.
    pub fn evict_one(
        &mut self,
        policy: MaxmemoryPolicy,
        samples: u32,
        now: Clock,
    ) -> Option<(usize, Vec<u8>)> {
        let (db, key) = match policy {
            MaxmemoryPolicy::NoEviction => return None,
            MaxmemoryPolicy::AllkeysRandom => self.random_candidate(false)?,
            MaxmemoryPolicy::VolatileRandom => self.random_candidate(true)?,
            _ => self.best_candidate(policy, samples.max(1) as usize, now)?,
        };
        let table = &mut self.databases[db].table;
        let hash = table.hash(&key);
        let Place::Held(held) = table.place(hash, &key) else {
            return None;
        };
        let (entry, _) = held.remove_to_free();
        self.stats.evicted += 1;
        self.shared
            .events
            .modified(db, EventClass::Evicted, "evicted", &key);
        let lazily = self.shared.settings.lazy_eviction;
        self.shared.free_entry(entry, lazily);
        self.fold_stats();
        Some((db, key))
    }

    /// A random key, the databases taking turns.
    fn random_candidate(&mut self, volatile: bool) -> Option<(usize, Vec<u8>)> {
        for _ in 0..self.count() {
            self.pool.next_database = (self.pool.next_database + 1) % self.count();
            let db = self.pool.next_database;
            let rng = &mut self.shared.rng;
            if let Some(entry) = self.databases[db]
                .table
                .random(volatile, &mut || rng.next_u64())
            {
                return Some((db, entry.key().to_vec()));
            }
        }
        None
    }

    /// The best key of the pool after sampling every database.
    fn best_candidate(
        &mut self,
        policy: MaxmemoryPolicy,
        samples: usize,
        now: Clock,
    ) -> Option<(usize, Vec<u8>)> {
        let volatile = !policy.is_allkeys();
        let access = self.shared.policy;
        for _ in 0..TRIES_MAX {
            let mut any = false;
            for (db, database) in self.databases.iter().enumerate() {
                let table = &database.table;
                if if volatile {
                    table.volatile_len()
                } else {
                    table.len()
                } == 0
                {
                    continue;
                }
                any = true;
                let (pool, rng) = (&mut self.pool, &mut self.shared.rng);
                table.sample(volatile, samples, &mut || rng.next_u64(), &mut |entry| {
                    pool.offer(score(entry, policy, access, now), db, entry.key());
                });
            }
            if !any {
                return None;
            }
            while let Some(Candidate { db, key, .. }) = self.pool.candidates.pop() {
                let table = &mut self.databases[db].table;
                let hash = table.hash(&key);
                // Ghosts have gone meanwhile, or have lost their expiry.
                if let Place::Held(held) = table.place(hash, &key)
                    && (!volatile || held.entry().expire_at().is_some())
                {
                    return Some((db, key));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_key_leaves_no_large_room_in_the_pool() {
        let mut pool = EvictionPool::default();
        let long = vec![b'k'; 100_000];
        pool.offer(0, 0, &long);
        for score in 1..POOL_SIZE as u64 {
            pool.offer(score, 0, score.to_string().as_bytes());
        }
        let room = |pool: &EvictionPool| {
            let keys = pool.candidates.iter().map(|one| one.key.capacity());
            keys.sum::<usize>()
        };
        assert!(room(&pool) >= long.len());
        pool.offer(99, 0, b"better");
        assert!(room(&pool) <= POOL_SIZE * KEPT_KEY_LEN);
    }
}
