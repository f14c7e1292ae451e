//! Which clients may hold which keys in caches of their own (CLIENT TRACKING).
//!
//! In: the keys that clients have read, the prefixes that clients want to hear of, the keys that have changed. Out: the
//! ids of the clients to be told. Clients that are gone stay named until a key of theirs changes or is given up: to
//! search the table for them would cost more than it frees. Mirrors `tracking.c` of Redis.
//!
//! The table is a [`Hash`]: the key with the ids of its readers is one allocation, each id eight bytes, sorted. A
//! reader that is known already costs one look-up, a new one a copy of the ids of that key.
//!
//! Invariants: `items` is the number of ids in the table; a prefix is there as long as a client wants it, and counted
//! by its length in `lengths`.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::structures::Collection;
use crate::structures::dict::HashSeed;
use crate::structures::hash::{Hash, HashLimits};
use crate::structures::listpack::Item;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of an id in the table.
const ID: usize = 8;
/// Keys that are given up in the first round over the limit; each further round gives up as many more.
const EFFORT: usize = 100;
/// Most keys that one round gives up.
const EFFORT_MAX: usize = 10_000;

/// The tables of client-side caching.
#[derive(Debug)]
pub struct Tracking {
    clients: usize,
    readers: Hash,
    items: usize,
    limits: HashLimits,
    prefixes: BTreeMap<Vec<u8>, Prefix>,
    /// How many prefixes there are of each length.
    lengths: BTreeMap<usize, usize>,
    /// Prefixes of keys that have changed.
    noted: BTreeSet<Vec<u8>>,
    rounds_over: usize,
}

/// Keys that begin with something, of which clients want to hear.
#[derive(Debug, Default)]
struct Prefix {
    clients: BTreeSet<u64>,
    changed: BTreeMap<Vec<u8>, Option<u64>>,
}

/// Changed keys with the same prefix, and who wants to hear of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// The keys, each with the client that has changed it last (none: it went by itself).
    pub keys: BTreeMap<Vec<u8>, Option<u64>>,
    /// Ids of clients.
    pub clients: Vec<u64>,
}

impl Default for Tracking {
    fn default() -> Tracking {
        Tracking {
            clients: 0,
            readers: Hash::new(),
            items: 0,
            limits: HashLimits::none(HashSeed::default()),
            prefixes: BTreeMap::new(),
            lengths: BTreeMap::new(),
            noted: BTreeSet::new(),
            rounds_over: 0,
        }
    }
}

/// A value of the table.
fn bytes(item: Item<'_>) -> Cow<'_, [u8]> {
    match item {
        Item::Bytes(bytes) => Cow::Borrowed(bytes),
        Item::Int(_) => Cow::Owned(item.to_vec()),
    }
}

/// The ids that a value of the table holds, in their order.
fn ids(value: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, _) = value.as_chunks::<ID>();
    whole.iter().map(|id| u64::from_be_bytes(*id))
}

impl Tracking {
    /// Whether any client tracks.
    pub fn is_active(&self) -> bool {
        self.clients > 0
    }
    /// Clients that track.
    pub fn clients(&self) -> usize {
        self.clients
    }
    /// Keys in the table.
    pub fn keys(&self) -> usize {
        self.readers.len()
    }
    /// Pairs of a key and a reader in the table.
    pub fn items(&self) -> usize {
        self.items
    }
    /// Prefixes that clients want to hear of.
    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }
    /// Another client tracks. `seed` keys the table, if this is the first.
    pub fn begin(&mut self, seed: HashSeed) {
        if self.clients == 0 {
            self.limits = HashLimits::none(seed);
        }
        self.clients = self.clients.saturating_add(1);
    }
    /// A client tracks no longer. After the last one the table is given away, to be freed.
    pub fn end(&mut self) -> Option<Hash> {
        self.clients = self.clients.saturating_sub(1);
        (self.clients == 0).then(|| self.forget_all())
    }

    /// Remembers that a client has read a key.
    pub fn remember(&mut self, key: &[u8], client: u64) {
        let id = client.to_be_bytes();
        let Some(held) = self.readers.get(key) else {
            self.readers.set(key, &id, false, &self.limits);
            self.items = self.items.saturating_add(1);
            return;
        };
        let value = bytes(held.value);
        let (whole, _) = value.as_chunks::<ID>();
        let Err(place) = whole.binary_search(&id) else {
            return;
        };
        let (before, after) = whole.split_at(place);
        let grown = [before.as_flattened(), &id, after.as_flattened()].concat();
        drop(value);
        self.readers.set(key, &grown, false, &self.limits);
        self.items = self.items.saturating_add(1);
    }
    /// Forgets a key; who has read it.
    pub fn forget(&mut self, key: &[u8]) -> Vec<u64> {
        let Some(held) = self.readers.get(key) else {
            return Vec::new();
        };
        let clients: Vec<u64> = ids(&bytes(held.value)).collect();
        self.readers.remove(key);
        self.items = self.items.saturating_sub(clients.len());
        clients
    }
    /// Forgets all keys; the table, to be freed.
    pub fn forget_all(&mut self) -> Hash {
        self.items = 0;
        self.rounds_over = 0;
        std::mem::take(&mut self.readers)
    }
    /// One of the keys.
    pub fn random_key(&self, random: &mut dyn FnMut() -> u64) -> Option<Vec<u8>> {
        Some(self.readers.random(random)?.field.to_vec())
    }
    /// How many keys are to be given up now, so that no more than `max_keys` (0: any number) are left. What is over
    /// after a round is given up in the next ones, which do more each.
    pub fn excess(&mut self, max_keys: usize) -> usize {
        let over = self.keys().saturating_sub(max_keys);
        if max_keys == 0 || over == 0 {
            self.rounds_over = 0;
            return 0;
        }
        self.rounds_over = self.rounds_over.saturating_add(1);
        over.min(EFFORT.saturating_mul(self.rounds_over).min(EFFORT_MAX))
    }

    /// A client wants to hear of keys that begin with something.
    pub fn add_prefix(&mut self, prefix: &[u8], client: u64) {
        if !self.prefixes.contains_key(prefix) {
            let count = self.lengths.entry(prefix.len()).or_default();
            *count = count.saturating_add(1);
        }
        let held = self.prefixes.entry(prefix.to_vec()).or_default();
        held.clients.insert(client);
    }
    /// A client does not want to hear of them any more.
    pub fn remove_prefix(&mut self, prefix: &[u8], client: u64) {
        let Some(held) = self.prefixes.get_mut(prefix) else {
            return;
        };
        held.clients.remove(&client);
        if !held.clients.is_empty() {
            return;
        }
        self.prefixes.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }
    /// A key has changed, through the client `by` or by itself: those who want to hear of such keys will. O(number of
    /// lengths that prefixes have).
    pub fn note(&mut self, key: &[u8], by: Option<u64>) {
        for len in self.lengths.range(..=key.len()).map(|(len, _)| *len) {
            if let Some(prefix) = key.get(..len)
                && let Some(held) = self.prefixes.get_mut(prefix)
            {
                if held.changed.is_empty() {
                    self.noted.insert(prefix.to_vec());
                }
                held.changed.insert(key.to_vec(), by);
            }
        }
    }
    /// Whether there is anything to broadcast.
    pub fn has_noted(&self) -> bool {
        !self.noted.is_empty()
    }
    /// Gives away what was noted since the last time, prefix by prefix. O(prefixes of changed keys).
    pub fn take_noted(&mut self) -> Vec<Broadcast> {
        let mut broadcasts = Vec::new();
        for prefix in std::mem::take(&mut self.noted) {
            // One whose last client has gone is gone.
            let Some(held) = self.prefixes.get_mut(&prefix) else {
                continue;
            };
            if !held.changed.is_empty() {
                broadcasts.push(Broadcast {
                    keys: std::mem::take(&mut held.changed),
                    clients: held.clients.iter().copied().collect(),
                });
            }
        }
        broadcasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Remember(u8, u64),
        Forget(u8),
        ForgetAll,
        Prefix(Vec<u8>, u64),
        NoPrefix(Vec<u8>, u64),
        Note(Vec<u8>, Option<u64>),
        Take,
    }

    fn word() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b"ab".to_vec()), 0..4)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (any::<u8>(), 0..6u64).prop_map(|(key, id)| Step::Remember(key % 16, id << 30)),
            3 => any::<u8>().prop_map(|key| Step::Forget(key % 16)),
            1 => Just(Step::ForgetAll),
            3 => (word(), 0..3u64).prop_map(|(prefix, id)| Step::Prefix(prefix, id)),
            2 => (word(), 0..3u64).prop_map(|(prefix, id)| Step::NoPrefix(prefix, id)),
            4 => (word(), prop::option::of(0..3u64)).prop_map(|(key, id)| Step::Note(key, id)),
            2 => Just(Step::Take),
        ]
    }

    proptest! {
        /// The oracle keeps sets and looks at every prefix.
        #[test]
        fn agrees_with_sets_of_ids(steps in prop::collection::vec(step(), 0..120)) {
            let mut tracking = Tracking::default();
            tracking.begin(HashSeed([1, 2, 3, 4]));
            let mut readers: BTreeMap<Vec<u8>, BTreeSet<u64>> = BTreeMap::new();
            let mut wants: BTreeMap<Vec<u8>, BTreeSet<u64>> = BTreeMap::new();
            let mut changed: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Option<u64>>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Remember(key, id) => {
                        tracking.remember(&[key], id);
                        readers.entry(vec![key]).or_default().insert(id);
                    }
                    Step::Forget(key) => {
                        let expected: Vec<u64> =
                            readers.remove(&vec![key]).unwrap_or_default().into_iter().collect();
                        prop_assert_eq!(tracking.forget(&[key]), expected);
                    }
                    Step::ForgetAll => {
                        prop_assert_eq!(tracking.forget_all().len(), readers.len());
                        readers.clear();
                    }
                    Step::Prefix(prefix, id) => {
                        tracking.add_prefix(&prefix, id);
                        wants.entry(prefix).or_default().insert(id);
                    }
                    Step::NoPrefix(prefix, id) => {
                        tracking.remove_prefix(&prefix, id);
                        if let Some(ids) = wants.get_mut(&prefix) {
                            ids.remove(&id);
                            if ids.is_empty() {
                                wants.remove(&prefix);
                                changed.remove(&prefix);
                            }
                        }
                    }
                    Step::Note(key, by) => {
                        tracking.note(&key, by);
                        for prefix in wants.keys().filter(|prefix| key.starts_with(prefix)) {
                            changed.entry(prefix.clone()).or_default().insert(key.clone(), by);
                        }
                    }
                    Step::Take => {
                        let expected: Vec<Broadcast> = std::mem::take(&mut changed)
                            .into_iter()
                            .map(|(prefix, keys)| Broadcast {
                                keys,
                                clients: wants[&prefix].iter().copied().collect(),
                            })
                            .collect();
                        prop_assert_eq!(tracking.take_noted(), expected);
                        prop_assert!(!tracking.has_noted());
                    }
                }
                prop_assert_eq!(tracking.keys(), readers.len());
                prop_assert_eq!(tracking.items(), readers.values().map(BTreeSet::len).sum::<usize>());
                prop_assert_eq!(tracking.prefixes(), wants.len());
                let random = tracking.random_key(&mut || 7);
                prop_assert_eq!(random.is_some(), !readers.is_empty());
                prop_assert!(random.is_none_or(|key| readers.contains_key(&key)));
            }
        }
    }

    /// A radix tree per key would be hundreds.
    #[test]
    fn a_key_that_one_client_reads_takes_few_bytes() {
        let mut tracking = Tracking::default();
        tracking.begin(HashSeed([1, 2, 3, 4]));
        for key in 0..10_000u64 {
            tracking.remember(format!("key:{key:012}").as_bytes(), 1 << 20);
        }
        let bytes = tracking.readers.memory_bytes(0) / 10_000;
        assert!(bytes <= 48, "{bytes} bytes for each key");
    }

    #[test]
    fn the_effort_grows_while_there_are_too_many() {
        let mut tracking = Tracking::default();
        tracking.begin(HashSeed([1, 2, 3, 4]));
        for key in 0..1000u64 {
            tracking.remember(&key.to_be_bytes(), 1);
        }
        assert_eq!(tracking.excess(0), 0);
        assert_eq!(tracking.excess(1000), 0);
        assert_eq!([tracking.excess(1), tracking.excess(1)], [100, 200]);
        assert_eq!(tracking.excess(950), 50);
        assert_eq!(tracking.excess(2000), 0);
        assert_eq!(tracking.excess(1), 100);
        assert!(tracking.end().is_some_and(|table| table.len() == 1000));
        assert_eq!((tracking.keys(), tracking.is_active()), (0, false));
    }
}
