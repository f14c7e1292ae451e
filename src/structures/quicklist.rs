//! The value of a list: a deque of listpacks (quicklist.c).

use super::Collection;
use super::dict::HashSeed;

/// The value of a list: a deque of listpacks (quicklist.c).
#[derive(Clone, Debug, Default)]
pub struct Quicklist {}

impl Quicklist {
    /// An empty one. `seed` keys its hash table, if it gets one.
    pub fn new(_seed: HashSeed) -> Quicklist {
        Quicklist {}
    }
}

impl Collection for Quicklist {
    fn len(&self) -> usize {
        0
    }
    fn encoding(&self) -> &'static str {
        "quicklist"
    }
    fn memory_bytes(&self, _samples: usize) -> usize {
        0
    }
    fn free_effort(&self) -> usize {
        1
    }
}
