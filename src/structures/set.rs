//! The value of a set: an intset, a listpack or a dict of members (t_set.c).

use super::Collection;
use super::dict::HashSeed;

/// The value of a set: an intset, a listpack or a dict of members (t_set.c).
#[derive(Clone, Debug, Default)]
pub struct Set {}

impl Set {
    /// An empty one. `seed` keys its hash table, if it gets one.
    pub fn new(_seed: HashSeed) -> Set {
        Set {}
    }
}

impl Collection for Set {
    fn len(&self) -> usize {
        0
    }
    fn encoding(&self) -> &'static str {
        "hashtable"
    }
    fn memory_bytes(&self, _samples: usize) -> usize {
        0
    }
    fn free_effort(&self) -> usize {
        1
    }
}
