//! The nodes of a stream, ordered by the id of their first entry.
//!
//! A `BTreeMap`, and beside it the last node. Streams are appended to, read near the end and trimmed at the front: the
//! node that is worked on is nearly always the last, so it is kept where it is found without a search, and the map
//! only sees a node once it is full. Everything else is O(log n) in the number of nodes, of which there is one for
//! about a hundred entries.

use super::StreamId;
use crate::structures::listpack::Listpack;
use std::collections::BTreeMap;
use std::collections::btree_map::Range;

/// Nodes in order. The last one is `tail` whenever there is any.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    sealed: BTreeMap<StreamId, Listpack>,
    tail: Option<(StreamId, Listpack)>,
}

impl Nodes {
    pub(super) fn len(&self) -> usize {
        self.sealed.len() + usize::from(self.tail.is_some())
    }
    #[inline]
    pub(super) fn tail(&self) -> Option<(StreamId, &Listpack)> {
        self.tail.as_ref().map(|(id, node)| (*id, node))
    }
    #[inline]
    pub(super) fn tail_mut(&mut self) -> Option<(StreamId, &mut Listpack)> {
        self.tail.as_mut().map(|(id, node)| (*id, node))
    }
    /// Adds a node behind all others.
    pub(super) fn push(&mut self, id: StreamId, node: Listpack) {
        if let Some((id, mut full)) = self.tail.replace((id, node)) {
            full.shrink_to_fit();
            self.sealed.insert(id, full);
        }
    }
    pub(super) fn first(&self) -> Option<(StreamId, &Listpack)> {
        match self.sealed.first_key_value() {
            Some((id, node)) => Some((*id, node)),
            None => self.tail(),
        }
    }
    pub(super) fn first_mut(&mut self) -> Option<(StreamId, &mut Listpack)> {
        if self.sealed.is_empty() {
            return self.tail_mut();
        }
        let mut first = self.sealed.iter_mut();
        first.next().map(|(id, node)| (*id, node))
    }
    /// The node with the smallest key that is greater than `id`.
    pub(super) fn after_mut(&mut self, id: StreamId) -> Option<(StreamId, &mut Listpack)> {
        let from = id.next()?;
        if let Some((id, node)) = self.sealed.range_mut(from..).next() {
            return Some((*id, node));
        }
        self.tail
            .as_mut()
            .filter(|(key, _)| *key > id)
            .map(|(key, node)| (*key, node))
    }
    /// The node in which an id would be.
    pub(super) fn holding_mut(&mut self, id: StreamId) -> Option<(StreamId, &mut Listpack)> {
        match &mut self.tail {
            Some((key, node)) if *key <= id => Some((*key, node)),
            _ => {
                let before = self.sealed.range_mut(..=id).next_back();
                before.map(|(key, node)| (*key, node))
            }
        }
    }
    pub(super) fn remove(&mut self, id: StreamId) {
        match self.tail {
            Some((key, _)) if key == id => self.tail = self.sealed.pop_last(),
            _ => {
                self.sealed.remove(&id);
            }
        }
    }
    pub(super) fn iter(&self) -> NodeIter<'_> {
        NodeIter {
            sealed: self.sealed.range(..),
            tail: self.tail(),
        }
    }
    /// The nodes that may have entries between two ids, both included.
    pub(super) fn between(&self, start: StreamId, end: StreamId) -> NodeIter<'_> {
        if start > end {
            return NodeIter::default();
        }
        let tail = self.tail().filter(|(key, _)| *key <= end);
        // All others are in front of the tail; a start that lies in it needs none of them.
        let sealed = match tail {
            Some((key, _)) if key <= start => Range::default(),
            _ => match self.sealed.range(..=start).next_back() {
                Some((from, _)) => self.sealed.range(*from..=end),
                None => self.sealed.range(start..=end),
            },
        };
        NodeIter { sealed, tail }
    }
}

/// Nodes from either end.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeIter<'a> {
    sealed: Range<'a, StreamId, Listpack>,
    tail: Option<(StreamId, &'a Listpack)>,
}

impl<'a> Iterator for NodeIter<'a> {
    type Item = (StreamId, &'a Listpack);
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.sealed.next() {
            Some((id, node)) => Some((*id, node)),
            None => self.tail.take(),
        }
    }
}

impl DoubleEndedIterator for NodeIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match self.tail.take() {
            Some(tail) => Some(tail),
            None => self.sealed.next_back().map(|(id, node)| (*id, node)),
        }
    }
}
