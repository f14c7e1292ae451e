//! The value of a stream: listpacks by the id of their first entry, consumer groups (t_stream.c).

use super::Collection;
use super::dict::HashSeed;

/// The value of a stream: listpacks by the id of their first entry, consumer groups (t_stream.c).
#[derive(Clone, Debug, Default)]
pub struct Stream {}

impl Stream {
    /// An empty one. `seed` keys its hash table, if it gets one.
    pub fn new(_seed: HashSeed) -> Stream {
        Stream {}
    }
}

impl Collection for Stream {
    fn len(&self) -> usize {
        0
    }
    fn encoding(&self) -> &'static str {
        "stream"
    }
    fn memory_bytes(&self, _samples: usize) -> usize {
        0
    }
    fn free_effort(&self) -> usize {
        1
    }
}
