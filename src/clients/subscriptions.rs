//! What one client listens to.
//!
//! The registries of `messaging/` know the listeners of each channel; here stands the other side, so that a client is
//! told how many subscriptions it has, may give up all of them, and pays for the memory of their names. Mirrors the
//! `pubsub_*` fields of Redis's `client`.

use std::collections::HashMap;
use std::sync::Arc;

/// The three kinds of subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// Who listens to one channel (SUBSCRIBE).
    Channel,
    /// Who listens to all channels of a pattern (PSUBSCRIBE).
    Pattern,
    /// Who listens to a channel of the shard (SSUBSCRIBE).
    Shard,
}

impl Listening {
    /// All of them.
    pub const ALL: [Listening; 3] = [Listening::Channel, Listening::Pattern, Listening::Shard];
}

/// Names, each with its place in the order in which the client named them. No order but this one is ever shown.
type Names = HashMap<Arc<[u8]>, u64>;

/// What one client listens to. Clients that listen to nothing have none.
#[derive(Debug, Default)]
pub struct Subscriptions {
    names: [Names; 3],
    next: u64,
    name_bytes: usize,
}

impl Subscriptions {
    /// Whether it listens to this.
    pub fn has(&self, kind: Listening, name: &[u8]) -> bool {
        self.names[kind as usize].contains_key(name)
    }
    /// Adds a name that is not there yet.
    pub fn add(&mut self, kind: Listening, name: Arc<[u8]>) {
        self.name_bytes += name.len();
        self.next += 1;
        let before = self.names[kind as usize].insert(name, self.next);
        debug_assert!(before.is_none(), "it was there already");
    }
    /// Removes a name; whether it was there.
    pub fn remove(&mut self, kind: Listening, name: &[u8]) -> bool {
        let names = &mut self.names[kind as usize];
        let was_there = names.remove(name).is_some();
        if was_there {
            self.name_bytes -= name.len();
            if names.capacity() > 64 && names.len() < names.capacity() / 8 {
                names.shrink_to(names.len() * 2);
            }
        }
        was_there
    }
    /// How many of a kind.
    pub fn count(&self, kind: Listening) -> usize {
        self.names[kind as usize].len()
    }
    /// Channels and patterns together: the number that SUBSCRIBE and PSUBSCRIBE answer.
    pub fn unsharded(&self) -> usize {
        self.count(Listening::Channel) + self.count(Listening::Pattern)
    }
    /// Whether there is none of any kind.
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(HashMap::is_empty)
    }
    /// All names of a kind, in any order.
    pub fn names(&self, kind: Listening) -> impl Iterator<Item = &[u8]> {
        self.names[kind as usize].keys().map(|name| &name[..])
    }
    /// All names of a kind in the order in which the client named them. O(n log n).
    pub fn in_order(&self, kind: Listening) -> Vec<Arc<[u8]>> {
        let names = &self.names[kind as usize];
        let mut names: Vec<(u64, &Arc<[u8]>)> =
            names.iter().map(|(name, place)| (*place, name)).collect();
        names.sort_unstable_by_key(|(place, _)| *place);
        names.into_iter().map(|(_, name)| name.clone()).collect()
    }
    /// All names with their kinds, in no order.
    pub fn into_names(self) -> impl Iterator<Item = (Listening, Arc<[u8]>)> {
        let kinds = Listening::ALL.into_iter().zip(self.names);
        kinds.flat_map(|(kind, names)| names.into_keys().map(move |name| (kind, name)))
    }
    /// Bytes that it holds. Names are shared with the registries and other clients and counted in full all the same:
    /// for each of them it may be this client alone that keeps them.
    pub fn memory_bytes(&self) -> usize {
        // Each name with its place, a control byte, and the two counts of its allocation.
        const SLOT: usize = size_of::<(Arc<[u8]>, u64)>() + 1;
        let counts = 2 * size_of::<usize>();
        let tables: usize = self
            .names
            .iter()
            .map(|names| (names.len() * 8 / 7).next_power_of_two() * SLOT + names.len() * counts)
            .sum();
        size_of::<Subscriptions>() + tables + self.name_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_order_and_their_kinds_apart() {
        let mut all = Subscriptions::default();
        assert!(all.is_empty());
        for name in ["c", "a", "b"] {
            all.add(Listening::Channel, name.as_bytes().into());
        }
        all.add(Listening::Shard, b"a"[..].into());
        all.add(Listening::Pattern, b"a*"[..].into());
        assert_eq!((all.unsharded(), all.count(Listening::Shard)), (4, 1));
        assert!(all.remove(Listening::Channel, b"a"));
        assert!(!all.remove(Listening::Channel, b"a"));
        assert!(all.has(Listening::Shard, b"a") && !all.has(Listening::Channel, b"a"));
        let order: Vec<_> = all.in_order(Listening::Channel);
        assert_eq!(order, [b"c"[..].into(), b"b"[..].into()]);
        let held = all.memory_bytes();
        all.add(Listening::Channel, vec![0; 1000].into());
        assert!(all.memory_bytes() >= held + 1000);
        assert!(all.remove(Listening::Channel, &[0; 1000]));
        assert!(all.memory_bytes() < held + 1000);
    }
}
