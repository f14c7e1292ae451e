//! Entries between two ids, from either end; deleted ones are passed over.

use super::StreamId;
use super::index::NodeIter;
use super::node::{Backward, Entry, Forward};

/// Entries between two ids in ascending order.
#[derive(Clone, Debug)]
pub struct Range<'a> {
    nodes: NodeIter<'a>,
    entries: Option<Forward<'a>>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Range<'a> {
    #[inline]
    pub(super) fn new(nodes: NodeIter<'a>, start: StreamId, end: StreamId) -> Range<'a> {
        Range {
            nodes,
            entries: None,
            start,
            end,
        }
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;
    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            if let Some(entries) = &mut self.entries {
                for entry in entries.by_ref() {
                    if entry.id() > self.end {
                        self.entries = None;
                        self.nodes = NodeIter::default();
                        return None;
                    }
                    if entry.id() >= self.start && !entry.is_deleted() {
                        return Some(entry);
                    }
                }
            }
            let (key, node) = self.nodes.next()?;
            self.entries = Forward::new(key, node);
        }
    }
}

/// Entries between two ids in descending order.
#[derive(Clone, Debug)]
pub struct RangeBack<'a> {
    nodes: NodeIter<'a>,
    entries: Option<Backward<'a>>,
    start: StreamId,
    end: StreamId,
}

impl<'a> RangeBack<'a> {
    #[inline]
    pub(super) fn new(nodes: NodeIter<'a>, start: StreamId, end: StreamId) -> RangeBack<'a> {
        RangeBack {
            nodes,
            entries: None,
            start,
            end,
        }
    }
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = Entry<'a>;
    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            if let Some(entries) = &mut self.entries {
                for entry in entries.by_ref() {
                    if entry.id() < self.start {
                        self.entries = None;
                        self.nodes = NodeIter::default();
                        return None;
                    }
                    if entry.id() <= self.end && !entry.is_deleted() {
                        return Some(entry);
                    }
                }
            }
            let (key, node) = self.nodes.next_back()?;
            self.entries = Backward::new(key, node);
        }
    }
}
