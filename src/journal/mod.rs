//! The journal: the one stream of write effects, in the order in which they happened.
//!
//! In: after each command that changed something, the command (or what it asks to be propagated instead), with
//! its database. Out: the same to the append-only file and to replicas, which are its consumers. Without a
//! consumer nothing is kept. Mirrors `propagateNow` and `alsoPropagate` of Redis's server.c.

use crate::resp::Args;

/// The stream of effects.
#[derive(Debug, Default)]
pub struct Journal {
    consumers: usize,
    effects: u64,
}

impl Journal {
    /// Whether anyone reads the stream; without a consumer commands need not prepare their effects.
    pub fn has_consumers(&self) -> bool {
        self.consumers > 0
    }
    /// Takes one effect of a command that changed the database `db`.
    pub fn append(&mut self, _db: usize, _command: Args<'_>) {
        self.effects += 1;
    }
    /// Effects so far.
    pub fn effects(&self) -> u64 {
        self.effects
    }
}
