//! The value of a sorted set: a listpack, or a dict with an ordered tree that counts (t_zset.c).

use super::Collection;
use super::dict::HashSeed;

/// The value of a sorted set: a listpack, or a dict with an ordered tree that counts (t_zset.c).
#[derive(Clone, Debug, Default)]
pub struct SortedSet {}

impl SortedSet {
    /// An empty one. `seed` keys its hash table, if it gets one.
    pub fn new(_seed: HashSeed) -> SortedSet {
        SortedSet {}
    }
}

impl Collection for SortedSet {
    fn len(&self) -> usize {
        0
    }
    fn encoding(&self) -> &'static str {
        "skiplist"
    }
    fn memory_bytes(&self, _samples: usize) -> usize {
        0
    }
    fn free_effort(&self) -> usize {
        1
    }
}
