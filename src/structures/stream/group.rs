//! Consumer groups: how far a group has read, who got what, and what has not been acknowledged.
//!
//! An entry that was delivered and not acknowledged is *pending*. The group holds its delivery time, count and owner;
//! the owner holds only its id. Ids of pending entries are ordered, for they are asked for by range. Invariant: an id is
//! in a consumer's list exactly when the group's entry names that consumer. Mirrors `streamCG`, `streamConsumer` and
//! `streamNACK` of Redis's stream.h.

use super::{COUNTED_MAX, StreamId};
use crate::system::size_class::size_class;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// A consumer within its group; good until that consumer is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerKey(u32);

impl ConsumerKey {
    /// While a group is being loaded: nobody yet.
    const NOBODY: ConsumerKey = ConsumerKey(u32::MAX);
}

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Unix ms of the last delivery.
    pub delivered_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
    owner: ConsumerKey,
}

impl Pending {
    /// Who has it.
    #[cfg(test)]
    pub fn owner(&self) -> ConsumerKey {
        self.owner
    }
}

/// One who reads on behalf of a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// Unix ms of its last attempt to read or claim.
    pub seen_ms: i64,
    /// Unix ms of its last successful one; -1: none yet.
    pub active_ms: i64,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
    /// Ids of the entries that it has not acknowledged, in order.
    pub fn pending(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.pending.iter().copied()
    }
    /// The same from an id on. O(log n) to the first.
    pub fn pending_from(&self, id: StreamId) -> impl Iterator<Item = StreamId> + '_ {
        self.pending.range(id..).copied()
    }
    /// Number of them.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }
}

/// A consumer group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Id of the last entry that was delivered to anyone.
    pub last_id: StreamId,
    /// How many entries of the stream's whole history are at or before `last_id`; -1: not known.
    pub entries_read: i64,
    pending: BTreeMap<StreamId, Pending>,
    consumers: Slab<Consumer>,
    by_name: BTreeMap<Box<[u8]>, ConsumerKey>,
}

impl Group {
    /// A group without consumers.
    pub fn new(last_id: StreamId, entries_read: i64) -> Group {
        Group {
            last_id,
            entries_read,
            ..Group::default()
        }
    }

    // ---- consumers -------------------------------------------------------------------------------

    /// The consumer of a name.
    pub fn find(&self, name: &[u8]) -> Option<ConsumerKey> {
        self.by_name.get(name).copied()
    }
    /// A new consumer; none when there is one of this name.
    pub fn add_consumer(&mut self, name: &[u8], now_ms: i64) -> Option<ConsumerKey> {
        if self.by_name.contains_key(name) {
            return None;
        }
        let key = ConsumerKey(u32::try_from(self.consumers.vacant_key()).ok()?);
        self.consumers.insert(Consumer {
            name: name.into(),
            seen_ms: now_ms,
            active_ms: -1,
            pending: BTreeSet::new(),
        });
        self.by_name.insert(name.into(), key);
        Some(key)
    }
    /// Deletes a consumer with all that is pending for it; how much that was.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let key = self.by_name.remove(name)?;
        let consumer = self.consumers.try_remove(key.0 as usize)?;
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }
    /// Consumers in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.by_name.values().filter_map(|key| self.consumer(*key))
    }
    /// The consumer behind the place of a name, which need not be there. O(log consumers).
    pub fn consumer_after(&self, name: &[u8]) -> Option<&Consumer> {
        let behind = (Bound::Excluded(name), Bound::Unbounded);
        let (_, key) = self.by_name.range::<[u8], _>(behind).next()?;
        self.consumer(*key)
    }
    /// Number of consumers.
    pub fn consumers_len(&self) -> usize {
        self.by_name.len()
    }
    /// A consumer that was found before.
    #[inline]
    pub fn consumer(&self, key: ConsumerKey) -> Option<&Consumer> {
        self.consumers.get(key.0 as usize)
    }
    /// A consumer by its key, to change its times.
    #[inline]
    pub fn consumer_mut(&mut self, key: ConsumerKey) -> Option<&mut Consumer> {
        self.consumers.get_mut(key.0 as usize)
    }
    /// Name of a pending entry's owner.
    pub fn owner_name(&self, pending: &Pending) -> &[u8] {
        self.consumer(pending.owner).map_or(&[], Consumer::name)
    }

    // ---- pending entries -------------------------------------------------------------------------

    /// Number of entries that are not acknowledged.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }
    /// What is pending of an id.
    pub fn pending(&self, id: StreamId) -> Option<&Pending> {
        self.pending.get(&id)
    }
    /// All that is pending, in order.
    pub fn pending_iter(&self) -> impl DoubleEndedIterator<Item = (StreamId, &Pending)> {
        self.pending.iter().map(|(id, pending)| (*id, pending))
    }
    /// What is pending between two ids, both included, in order; of one consumer, or of all.
    pub fn pending_between(
        &self,
        start: StreamId,
        end: StreamId,
        of: Option<ConsumerKey>,
    ) -> impl Iterator<Item = (StreamId, &Pending)> {
        // A range that ends before it begins would panic.
        let range = (Bound::Included(start), Bound::Included(end.max(start)));
        let empty = start > end;
        let owned = of.map(|key| {
            self.consumer(key)
                .into_iter()
                .flat_map(move |consumer| consumer.pending.range(range))
                .filter_map(|id| self.pending.get_key_value(id))
        });
        let all = owned.is_none().then(|| self.pending.range(range));
        owned
            .into_iter()
            .flatten()
            .chain(all.into_iter().flatten())
            .take_while(move |_| !empty)
            .map(|(id, pending)| (*id, pending))
    }
    /// The first pending entry at or behind an id.
    pub fn first_pending_from(&self, id: StreamId) -> Option<StreamId> {
        self.pending.range(id..).next().map(|(id, _)| *id)
    }
    /// An entry goes to a consumer for the first time; one that somebody has already (the group was set back) is taken
    /// over and counts anew.
    pub fn deliver(&mut self, id: StreamId, to: ConsumerKey, now_ms: i64) -> Pending {
        self.put(
            id,
            Pending {
                delivered_ms: now_ms,
                deliveries: 1,
                owner: to,
            },
        )
    }
    /// Sets who has an entry, since when and how often; it need not have been pending.
    pub fn claim(
        &mut self,
        id: StreamId,
        to: ConsumerKey,
        delivered_ms: i64,
        deliveries: u64,
    ) -> Pending {
        self.put(
            id,
            Pending {
                delivered_ms,
                deliveries: deliveries.min(COUNTED_MAX),
                owner: to,
            },
        )
    }
    /// An entry is delivered again to the one who has it.
    pub fn deliver_again(&mut self, id: StreamId, now_ms: i64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.delivered_ms = now_ms;
            pending.deliveries = COUNTED_MAX.min(pending.deliveries.saturating_add(1));
        }
    }
    fn put(&mut self, id: StreamId, pending: Pending) -> Pending {
        let before = self.pending.insert(id, pending).map(|old| old.owner);
        if before != Some(pending.owner) {
            if let Some(old) = before.and_then(|key| self.consumer_mut(key)) {
                old.pending.remove(&id);
            }
            if let Some(new) = self.consumer_mut(pending.owner) {
                new.pending.insert(id);
            }
        }
        pending
    }
    /// Acknowledges; whether it was pending.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else {
            return false;
        };
        if let Some(owner) = self.consumer_mut(pending.owner) {
            owner.pending.remove(&id);
        }
        true
    }
    /// Whether an entry has still to be delivered or acknowledged.
    pub fn needs(&self, id: StreamId) -> bool {
        id > self.last_id || self.pending.contains_key(&id)
    }

    // ---- loading ---------------------------------------------------------------------------------

    /// While loading: a pending entry whose owner comes later. False when there is one of this id.
    pub fn load_pending(&mut self, id: StreamId, delivered_ms: i64, deliveries: u64) -> bool {
        let pending = Pending {
            delivered_ms,
            deliveries: deliveries.min(COUNTED_MAX),
            owner: ConsumerKey::NOBODY,
        };
        self.pending.insert(id, pending).is_none()
    }
    /// While loading: a consumer gets one of the pending entries. False when there is none or it has an owner.
    pub fn load_owner(&mut self, id: StreamId, owner: ConsumerKey) -> bool {
        match self.pending.get_mut(&id) {
            Some(pending) if pending.owner == ConsumerKey::NOBODY => pending.owner = owner,
            _ => return false,
        }
        match self.consumer_mut(owner) {
            Some(consumer) => consumer.pending.insert(id),
            None => false,
        }
    }
    /// After loading: whether every pending entry has its owner.
    pub fn is_loaded(&self) -> bool {
        let owned: usize = self
            .consumers
            .iter()
            .map(|(_, one)| one.pending.len())
            .sum();
        owned == self.pending.len()
    }

    // ---- memory ----------------------------------------------------------------------------------

    /// Bytes with the allocator's rounding; consumers are extrapolated from `samples` of them (0: all are counted).
    pub(super) fn memory_bytes(&self, samples: usize) -> usize {
        let all = self.consumers_len();
        let samples = if samples == 0 { all } else { samples.min(all) };
        let counted: usize = self
            .consumers()
            .take(samples)
            .map(|consumer| {
                2 * size_class(consumer.name.len().max(1))
                    + tree_bytes(consumer.pending.len(), size_of::<StreamId>())
            })
            .sum();
        size_class(size_of::<Group>())
            + tree_bytes(self.pending.len(), size_of::<(StreamId, Pending)>())
            + self.consumers.capacity() * size_of::<(usize, Consumer)>()
            + tree_bytes(all, size_of::<(Box<[u8]>, ConsumerKey)>())
            + (counted * all).checked_div(samples).unwrap_or(0)
    }
}

/// Bytes of a B-tree, about: nodes are two thirds full.
pub(super) fn tree_bytes(elements: usize, element: usize) -> usize {
    if elements == 0 {
        return 0;
    }
    // Eleven elements to a node, with a header; every seventh is in an inner node, which is larger by its edges.
    elements
        .div_ceil(7)
        .saturating_mul(size_class(11 * element + 16) + 16)
}
