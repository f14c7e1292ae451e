//! The value of a hash: a listpack or a dict of fields, fields with an expiry included (t_hash.c).

use super::Collection;
use super::dict::HashSeed;

/// The value of a hash: a listpack or a dict of fields, fields with an expiry included (t_hash.c).
#[derive(Clone, Debug, Default)]
pub struct Hash {}

impl Hash {
    /// An empty one. `seed` keys its hash table, if it gets one.
    pub fn new(_seed: HashSeed) -> Hash {
        Hash {}
    }
}

impl Collection for Hash {
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
