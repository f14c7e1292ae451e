//! Who listens to what: Pub/Sub, keyspace notifications, client-side caching, MONITOR.
//!
//! In: subscriptions and what is published. Out: the clients that are to be told; the commands above push it to them
//! (`Clients::push`), for nothing in this module knows a client's output. Mirrors `pubsub.c`, `notify.c` and `tracking.c`
//! of Redis.

pub mod pubsub;
pub mod tracking;

use crate::clients::ClientKey;
use tracking::Tracking;

/// The registries of this module.
#[derive(Debug, Default)]
pub struct Messaging {
    /// Who listens to which channels and patterns.
    pub pubsub: pubsub::PubSub,
    /// The message that is being published; its room is used again.
    pub frame: crate::resp::PushFrame,
    /// Patterns that match its channel; the room is used again.
    pub found: Vec<pubsub::PatternKey>,
    /// Client-side caching.
    pub tracking: Tracking,
    /// Clients in MONITOR, in the order in which they came.
    pub monitors: Vec<ClientKey>,
    /// Client-side caching or MONITOR has to hear of commands. Set through [`Messaging::note_listeners`].
    pub hears_commands: bool,
}

impl Messaging {
    /// Finds out anew who has to hear of commands; after each client that begins or ends to track or monitor.
    pub fn note_listeners(&mut self) {
        self.hears_commands = self.tracking.is_active() || !self.monitors.is_empty();
    }
}
