//! The value of a stream: entries in order of their ids, and consumer groups (t_stream.c).
//!
//! | file | what it is for |
//! | --- | --- |
//! | `id.rs` | ids and their spelling |
//! | `node.rs` | about a hundred entries in one listpack, in exactly Redis's layout, so that DUMP and RDB carry it as it is |
//! | `index.rs` | the nodes in order: a B-tree, with the last node beside it |
//! | `range.rs` | entries between two ids, from either end |
//! | `group.rs` | consumer groups, pending entries |
//!
//! Redis keeps the nodes in a radix tree by their 128-bit key. Here it is the standard B-tree: keys of a fixed length
//! of two words compare in two instructions, eleven of them lie together, and there is nothing for path compression to
//! win but the bytes of one key for each node of about four kilobytes. What XINFO calls `radix-tree-keys` and
//! `radix-tree-nodes` is therefore the number of nodes, and one more for the root.
//!
//! Deleting marks an entry in its node; a node whose last valid entry goes is freed whole. Invariants: `length` is the
//! sum of the nodes' counts; ids ascend within a node and from node to node, and none is greater than `last_id`;
//! `first_id` is that of the first valid entry, or `0-0`.

mod group;
mod id;
mod index;
mod node;
mod range;
#[cfg(test)]
mod tests;

pub use group::{Consumer, ConsumerKey, Group, Pending};
pub use id::{IdText, StreamId};
pub use node::{Entry, Pairs};
pub use range::{Range, RangeBack};

use super::Collection;
use super::dict::HashSeed;
use super::listpack::{Corrupt, Listpack};
use crate::system::size_class::size_class;
use index::Nodes;
use node::Verdict;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A node does not grow beyond this, whatever the directives say.
const NODE_BYTES_MAX: usize = 1 << 30;

/// Counters of a stream stay where commands can set them: XSETID and XCLAIM read signed numbers.
const COUNTED_MAX: u64 = i64::MAX.unsigned_abs();

/// When a node is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// `stream-node-max-bytes`; 0: no limit.
    pub bytes: usize,
    /// `stream-node-max-entries`; 0: no limit.
    pub entries: usize,
}

/// Why an entry was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The id is not greater than the last one.
    NotGreater,
    /// More than a gigabyte.
    TooLarge,
}

/// What trimming leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// At most so many entries.
    Newest(u64),
    /// No entry before this id.
    From(StreamId),
}

/// What becomes of references of consumer groups to entries that are deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum References {
    /// They stay (KEEPREF).
    #[default]
    Keep,
    /// They are removed too (DELREF).
    Delete,
    /// An entry that any group has still to read or to acknowledge is not deleted (ACKED).
    Acknowledged,
}

/// How to trim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What stays.
    pub keep: Keep,
    /// Only whole nodes go (`~`).
    pub approximate: bool,
    /// Most entries to remove; 0: no limit. It is counted by nodes.
    pub limit: u64,
    /// References of groups.
    pub references: References,
}

/// What trimming did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Entries that are gone.
    pub removed: u64,
    /// References that led nowhere and are gone, with [`References::Delete`].
    pub forgotten: usize,
    /// After approximate trimming: exact trimming from this id on comes to the same, wherever nodes begin and end.
    pub end: StreamId,
}

/// What became of an entry that should be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// There is none.
    NoEntry,
    /// It is deleted.
    Deleted,
    /// A group needs it.
    Referenced,
}

/// The entries of a stream, apart from its groups.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    nodes: Nodes,
    length: u64,
    last_id: StreamId,
    first_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
}

/// A stream. What is asked of its [`Entries`] can be asked of it.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    entries: Entries,
    groups: BTreeMap<Box<[u8]>, Box<Group>>,
}

impl std::ops::Deref for Stream {
    type Target = Entries;
    #[inline]
    fn deref(&self) -> &Entries {
        &self.entries
    }
}

/// What a stream knows besides its entries, as RDB carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of entries.
    pub length: u64,
    /// Greatest id that was ever used.
    pub last_id: StreamId,
    /// Id of the first entry, `0-0` without one.
    pub first_id: StreamId,
    /// Greatest id that was deleted by XDEL.
    pub max_deleted_id: StreamId,
    /// Number of entries that were ever added.
    pub entries_added: u64,
}

impl Entries {
    // ---- what it is ------------------------------------------------------------------------------

    /// Length and ids.
    pub fn summary(&self) -> Summary {
        Summary {
            length: self.length,
            last_id: self.last_id,
            first_id: self.first_id,
            max_deleted_id: self.max_deleted_id,
            entries_added: self.entries_added,
        }
    }
    /// Greatest id that was ever used; a new entry's must be greater.
    #[inline]
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }
    /// Id of the first entry, `0-0` without one.
    #[cfg(test)]
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }
    /// Greatest id that was deleted by XDEL.
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }
    /// Number of entries that were ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }
    /// Number of nodes.
    pub fn nodes_len(&self) -> usize {
        self.nodes.len()
    }
    /// The nodes in order, with their keys, as DUMP and RDB carry them.
    pub fn nodes(&self) -> impl Iterator<Item = (StreamId, &Listpack)> {
        self.nodes.iter()
    }
    /// [`Stream::nodes`] from the one with this key on. O(log n) to the first.
    pub fn nodes_from(&self, key: StreamId) -> impl Iterator<Item = (StreamId, &Listpack)> {
        self.nodes.between(key, StreamId::MAX)
    }
    /// Entries between two ids, both included. O(log n + entries of one node) to the first.
    #[inline]
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        Range::new(self.nodes.between(start, end), start, end)
    }
    /// The entries of a range of ids, from its end.
    #[inline]
    pub fn range_back(&self, start: StreamId, end: StreamId) -> RangeBack<'_> {
        RangeBack::new(self.nodes.between(start, end), start, end)
    }
    /// Whether there is an entry of this id.
    pub fn contains(&self, id: StreamId) -> bool {
        self.range(id, id).next().is_some()
    }
    /// Id of the last entry.
    #[inline]
    pub fn last_entry_id(&self) -> Option<StreamId> {
        let last = self.range_back(StreamId::MIN, StreamId::MAX).next();
        last.map(|entry| entry.id())
    }
    /// Id of the first entry, deleted ones of its node included.
    fn first_stored_id(&self) -> Option<StreamId> {
        let (key, node) = self.nodes.first()?;
        node::Forward::new(key, node)?
            .next()
            .map(|entry| entry.id())
    }

    // ---- adding ----------------------------------------------------------------------------------

    /// The id of a new entry that is not told any; none after the last that is possible.
    #[inline]
    pub fn next_id(&self, now_ms: i64) -> Option<StreamId> {
        let ms = u64::try_from(now_ms).unwrap_or(0);
        if ms > self.last_id.ms {
            return Some(StreamId { ms, seq: 0 });
        }
        self.last_id.next()
    }
    /// The id of a new entry of a given millisecond; none when its sequence numbers are used up.
    pub fn next_id_within(&self, ms: u64) -> Option<StreamId> {
        if ms == self.last_id.ms {
            let seq = self.last_id.seq.checked_add(1)?;
            return Some(StreamId { ms, seq });
        }
        Some(StreamId { ms, seq: 0 })
    }
    /// Adds an entry; `pairs` are fields and values in turn. O(size of the entry).
    #[inline]
    fn append<'f>(
        &mut self,
        id: StreamId,
        pairs: impl ExactSizeIterator<Item = &'f [u8]> + Clone,
        limits: NodeLimits,
    ) -> Result<(), AppendError> {
        if id <= self.last_id {
            return Err(AppendError::NotGreater);
        }
        let bytes = pairs
            .clone()
            .fold(0usize, |sum, part| sum.saturating_add(part.len()));
        if bytes > NODE_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        let room = node::room_for(bytes, pairs.len());
        let tail = self.nodes.tail_mut().filter(|(_, node)| {
            let max = match limits.bytes {
                0 => NODE_BYTES_MAX,
                bytes => bytes.min(NODE_BYTES_MAX),
            };
            node.byte_len().saturating_add(bytes) < max && !is_full(node, limits.entries)
        });
        match tail {
            Some((key, node)) => {
                node::reserve(node, room);
                node::recount(node, 1, 0);
                let same = node::has_fields(node, pairs.clone().step_by(2));
                node::push(node, (key, id), same, pairs);
            }
            None => {
                let mut node =
                    node::create(pairs.clone().step_by(2), room.saturating_add(bytes / 2));
                node::push(&mut node, (id, id), true, pairs);
                self.nodes.push(id, node);
            }
        }
        self.length += 1;
        self.entries_added = COUNTED_MAX.min(self.entries_added.saturating_add(1));
        self.last_id = id;
        if self.length == 1 {
            self.first_id = id;
        }
        Ok(())
    }

    // ---- removing -----

    fn trim_nodes(&mut self, how: Trim) {
        let mut removed = 0u64;
        while let Some((key, node)) = self.nodes.first() {
            if matches!(how.keep, Keep::Newest(max) if self.length <= max) {
                break;
            }
            let count = node::Master::read(node).map_or(0, |master| master.count);
            if how.limit > 0 && removed.saturating_add(count) > how.limit {
                break;
            }
            if goes_whole(self.length, count, key, node, how.keep) {
                self.nodes.remove(key);
                self.length = self.length.saturating_sub(count);
                removed = removed.saturating_add(count);
                continue;
            }
            if how.approximate {
                break;
            }
            let mut length = self.length;
            if let Some((key, node)) = self.nodes.first_mut() {
                node::sweep(node, key, |id| {
                    if !goes(length, id, how.keep) {
                        return Verdict::Stop;
                    }
                    length = length.saturating_sub(1);
                    Verdict::Delete
                });
                self.length = length;
                self.remove_if_empty(key);
            }
            break;
        }
    }
    fn remove_if_empty(&mut self, key: StreamId) {
        let left = self.nodes.holding_mut(key);
        let left = left.and_then(|(_, node)| node::Master::read(node));
        if left.is_some_and(|master| master.count == 0) {
            self.nodes.remove(key);
        }
    }
    fn find_first(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX).next();
        self.first_id = first.map_or(StreamId::MIN, |entry| entry.id());
    }
    // ---- what groups want to know -----

    /// Number of entries that a group has still to read; none where deleted entries make it unknowable.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.entries_added == 0 || self.length == 0 {
            return Some(0);
        }
        if group.last_id < self.first_id && self.max_deleted_id < self.first_id {
            // All that was deleted lies behind the group: what is left is what it has to read.
            return i64::try_from(self.length).ok();
        }
        let added = i64::try_from(self.entries_added).ok()?;
        let read = if group.entries_read != -1 && !self.has_deleted_since(group.last_id) {
            group.entries_read
        } else {
            self.position(group.last_id)?
        };
        Some(added.saturating_sub(read))
    }
    /// Whether an entry at or behind an id was deleted by XDEL, as far as the greatest such id tells.
    fn has_deleted_since(&self, id: StreamId) -> bool {
        self.length > 0 && !self.max_deleted_id.is_zero() && id <= self.max_deleted_id
    }
    /// How many entries of the stream's whole history are at or before an id, where that can be told from the ends:
    /// it is the last id, or the first entry or before it, and nothing was deleted in between.
    fn position(&self, id: StreamId) -> Option<i64> {
        let added = i64::try_from(self.entries_added).ok()?;
        let length = i64::try_from(self.length).ok()?;
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.length == 0 && id <= self.last_id {
            return Some(added);
        }
        if !id.is_zero() && id < self.max_deleted_id {
            return None;
        }
        if id == self.last_id {
            return Some(added);
        }
        if id > self.last_id {
            return None;
        }
        if self.max_deleted_id.is_zero() || self.max_deleted_id < self.first_id {
            if id < self.first_id {
                return Some(added.saturating_sub(length));
            }
            if id == self.first_id {
                return Some(added.saturating_sub(length).saturating_add(1));
            }
        }
        None
    }
    /// Tells where a group's count stands after it has been delivered the entry `id`, the next it had not got.
    pub fn entries_read_after(&self, group: &Group, id: StreamId) -> i64 {
        // Nothing may be gone between where it stood and the entry: neither deleted, nor trimmed from the beginning.
        if group.entries_read != -1
            && group.last_id >= self.first_id
            && !self.has_deleted_since(group.last_id)
        {
            group.entries_read.saturating_add(1)
        } else if self.entries_added > 0 {
            self.position(id).unwrap_or(-1)
        } else {
            group.entries_read
        }
    }

    /// What older formats do not carry of a group: how many entries it has read, as far as the ends of the stream tell;
    /// -1 if they do not.
    pub fn estimate_entries_read(&self, last_id: StreamId) -> i64 {
        self.position(last_id).unwrap_or(-1)
    }
}

impl Stream {
    /// An empty one. It has no hash table to key with the seed.
    pub fn new(_seed: HashSeed) -> Stream {
        Stream::default()
    }

    /// Adds an entry; `pairs` are fields and values in turn. O(size of the entry).
    #[inline]
    pub fn append<'f>(
        &mut self,
        id: StreamId,
        pairs: impl ExactSizeIterator<Item = &'f [u8]> + Clone,
        limits: NodeLimits,
    ) -> Result<(), AppendError> {
        self.entries.append(id, pairs, limits)
    }
    // ---- removing --------------------------------------------------------------------------------

    /// Deletes an entry. O(log n + entries of its node).
    pub fn delete(&mut self, id: StreamId, references: References) -> Deletion {
        match references {
            References::Keep => {}
            // Dangling references go even when the entry is gone already.
            References::Delete => self.forget(id),
            References::Acknowledged => {
                if self.is_needed(id) {
                    return match self.contains(id) {
                        true => Deletion::Referenced,
                        false => Deletion::NoEntry,
                    };
                }
            }
        }
        let Some((key, node)) = self.entries.nodes.holding_mut(id) else {
            return Deletion::NoEntry;
        };
        let Some(left) = node::delete(node, key, id) else {
            return Deletion::NoEntry;
        };
        if left.count == 0 {
            self.entries.nodes.remove(key);
        }
        self.entries.length = self.entries.length.saturating_sub(1);
        self.entries.max_deleted_id = self.entries.max_deleted_id.max(id);
        if id == self.entries.first_id {
            self.entries.find_first();
        }
        Deletion::Deleted
    }
    /// Removes the oldest entries. O(nodes that go), and the entries of one node; with references to look after
    /// O(entries).
    pub fn trim(&mut self, how: Trim) -> Trimmed {
        let before = self.entries.length;
        let end = match how.references {
            References::Keep => {
                self.entries.trim_nodes(how);
                self.entries.first_stored_id().unwrap_or(StreamId::MAX)
            }
            References::Delete | References::Acknowledged => self.trim_entries(how),
        };
        let removed = before.saturating_sub(self.entries.length);
        if removed > 0 {
            self.entries.find_first();
        }
        let forgotten = match how.references {
            References::Delete => self.forget_before_first(),
            _ => 0,
        };
        Trimmed {
            removed,
            end,
            forgotten,
        }
    }
    /// Removes references to entries before the first that is left, which XDEL has left behind or trimming that keeps
    /// references; how many there were.
    fn forget_before_first(&mut self) -> usize {
        let last = match self.entries.length {
            0 => Some(StreamId::MAX),
            _ => self.entries.first_id.previous(),
        };
        let Some(last) = last else { return 0 };
        let mut forgotten = 0;
        for group in self.groups.values_mut() {
            let gone = group.pending_between(StreamId::MIN, last, None);
            let gone: Vec<StreamId> = gone.map(|(id, _)| id).collect();
            forgotten += gone.len();
            for id in gone {
                group.acknowledge(id);
            }
        }
        forgotten
    }
    /// Trimming that has to look at every entry's references. Answers the key of the first node that was left alone,
    /// which is where approximate trimming came to an end.
    fn trim_entries(&mut self, how: Trim) -> StreamId {
        let mut removed = 0u64;
        let mut next = self.entries.nodes.first().map(|(key, _)| key);
        while let Some(key) = next {
            if matches!(how.keep, Keep::Newest(max) if self.entries.length <= max) {
                break;
            }
            let Some((_, node)) = self.entries.nodes.holding_mut(key) else {
                break;
            };
            let count = node::Master::read(node).map_or(0, |master| master.count);
            if how.limit > 0 && removed.saturating_add(count) > how.limit {
                break;
            }
            let whole = goes_whole(self.entries.length, count, key, node, how.keep);
            if how.approximate && !whole {
                break;
            }
            let (groups, mut length) = (&mut self.groups, self.entries.length);
            let mut stopped = false;
            let marked = node::sweep(node, key, |id| {
                if !goes(length, id, how.keep) {
                    stopped = true;
                    return Verdict::Stop;
                }
                if how.references == References::Acknowledged {
                    if groups.values().any(|group| group.needs(id)) {
                        return Verdict::Keep;
                    }
                } else {
                    for group in groups.values_mut() {
                        group.acknowledge(id);
                    }
                }
                length = length.saturating_sub(1);
                Verdict::Delete
            });
            self.entries.length = length;
            removed = removed.saturating_add(marked);
            self.entries.remove_if_empty(key);
            if stopped {
                break;
            }
            // What is kept for its references does not end exact trimming: others behind it go in its place.
            next = self.entries.nodes.after_mut(key).map(|(key, _)| key);
        }
        next.unwrap_or(StreamId::MAX)
    }
    /// Removes every group's reference to an entry.
    fn forget(&mut self, id: StreamId) {
        for group in self.groups.values_mut() {
            group.acknowledge(id);
        }
    }
    /// Whether any group has still to read or acknowledge an entry.
    fn is_needed(&self, id: StreamId) -> bool {
        self.groups.values().any(|group| group.needs(id))
    }
    /// Sets what XSETID sets; the caller has checked it against the entries.
    pub fn set_ids(
        &mut self,
        last_id: StreamId,
        entries_added: Option<u64>,
        max_deleted_id: Option<StreamId>,
    ) {
        self.entries.last_id = last_id;
        self.entries.entries_added = entries_added.unwrap_or(self.entries.entries_added);
        self.entries.max_deleted_id = max_deleted_id.unwrap_or(self.entries.max_deleted_id);
    }

    // ---- groups ----------------------------------------------------------------------------------

    /// A new group; none when there is one of this name.
    pub fn add_group(
        &mut self,
        name: &[u8],
        last_id: StreamId,
        entries_read: i64,
    ) -> Option<&mut Group> {
        if self.groups.contains_key(name) {
            return None;
        }
        let group = self.groups.entry(name.into()).or_default();
        **group = Group::new(last_id, entries_read);
        Some(group)
    }
    /// The group of a name.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name).map(|group| &**group)
    }
    /// A group by its name, to change.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(name).map(|group| &mut **group)
    }
    /// Removes a group with all that is pending in it; whether there was one.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        self.groups.remove(name).is_some()
    }
    /// Groups in the order of their names.
    pub fn groups(&self) -> impl Iterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, &**group))
    }
    /// The group behind the place of a name, which need not be there. O(log groups).
    pub fn group_after(&self, name: &[u8]) -> Option<(&[u8], &Group)> {
        let behind = (Bound::Excluded(name), Bound::Unbounded);
        let mut groups = self.groups.range::<[u8], _>(behind);
        groups.next().map(|(name, group)| (&**name, &**group))
    }
    /// Number of groups.
    pub fn groups_len(&self) -> usize {
        self.groups.len()
    }
    /// A group, to change, beside the entries that it reads.
    pub fn group_with_entries(&mut self, name: &[u8]) -> Option<(&Entries, &mut Group)> {
        let group = self.groups.get_mut(name)?;
        Some((&self.entries, group))
    }
    // ---- loading ---------------------------------------------------------------------------------

    /// While loading: adds a node behind those that are there. Its listpack must have been checked deeply; here its
    /// layout is.
    pub fn load_node(&mut self, key: StreamId, node: Listpack) -> Result<(), Corrupt> {
        let contents = node::validate(key, &node)?;
        // A key may be smaller than the first entry's id, never smaller than the last one before.
        if self.entries.nodes.len() > 0
            && (key <= self.entries.last_id || contents.first <= self.entries.last_id)
        {
            return Err(Corrupt);
        }
        self.entries.length = self.entries.length.saturating_add(contents.count);
        self.entries.last_id = contents.last;
        self.entries.nodes.push(key, node);
        Ok(())
    }
    /// After the nodes: what was stored beside them. `first_id` is taken from the entries. What no command could set,
    /// XSETID would refuse when the append-only file is read.
    pub fn load_summary(&mut self, summary: Summary) -> Result<(), Corrupt> {
        if summary.length != self.entries.length
            || summary.last_id < self.entries.last_id
            || summary.last_id < summary.max_deleted_id
            || summary.entries_added < summary.length
        {
            return Err(Corrupt);
        }
        self.entries.last_id = summary.last_id;
        self.entries.max_deleted_id = summary.max_deleted_id;
        self.entries.entries_added = summary.entries_added.min(COUNTED_MAX);
        self.entries.find_first();
        Ok(())
    }
}

/// Whether a node has as many entries as it may, deleted ones included.
#[inline]
fn is_full(node: &Listpack, max: usize) -> bool {
    let held = || {
        let first = node.first()?;
        let deleted = node.next(first)?;
        let count = node.get(first).as_int()?;
        Some(count.saturating_add(node.get(deleted).as_int()?))
    };
    max > 0 && held().is_none_or(|held| u64::try_from(held).is_ok_and(|held| held >= max as u64))
}

/// Whether an entry, the oldest of `length`, is one that trimming removes.
fn goes(length: u64, id: StreamId, keep: Keep) -> bool {
    match keep {
        Keep::Newest(max) => length > max,
        Keep::From(min) => id < min,
    }
}

/// Whether all of the first node is.
fn goes_whole(length: u64, count: u64, key: StreamId, node: &Listpack, keep: Keep) -> bool {
    match keep {
        Keep::Newest(max) => length.saturating_sub(count) >= max,
        Keep::From(min) => {
            let last = node::Backward::new(key, node).and_then(|mut entries| entries.next());
            last.is_none_or(|last| last.id() < min)
        }
    }
}

impl Collection for Stream {
    fn len(&self) -> usize {
        usize::try_from(self.entries.length).unwrap_or(usize::MAX)
    }
    fn encoding(&self) -> &'static str {
        "stream"
    }
    fn memory_bytes(&self, samples: usize) -> usize {
        let all = self.entries.nodes.len();
        let samples = if samples == 0 { all } else { samples.min(all) };
        // The last node is the one that is not like the others: it is always counted, the others by the first ones.
        let last = self
            .entries
            .nodes
            .tail()
            .map_or(0, |(_, node)| node.memory_bytes());
        let others = all.saturating_sub(1);
        let samples = samples.min(others);
        let counted: usize = self
            .nodes()
            .take(samples)
            .map(|(_, node)| node.memory_bytes())
            .sum();
        let groups: usize = self
            .groups
            .iter()
            .map(|(name, group)| size_class(name.len().max(1)) + group.memory_bytes(samples))
            .sum();
        size_class(size_of::<Stream>())
            + last
            + (counted.saturating_mul(others))
                .checked_div(samples)
                .unwrap_or(0)
            + group::tree_bytes(others, size_of::<(StreamId, Listpack)>())
            + group::tree_bytes(self.groups.len(), size_of::<(Box<[u8]>, Box<Group>)>())
            + groups
    }
    fn free_effort(&self) -> usize {
        let pending = self.groups.values().next();
        let pending = pending.map_or(0, |group| group.pending_len());
        self.entries.nodes.len() + 1 + self.groups.len().saturating_mul(1 + pending)
    }
}
