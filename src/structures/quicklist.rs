//! A list that is too large for one listpack: a deque of listpacks (quicklist.c).
//!
//! ```text
//! [listpack] [compressed] [compressed] [plain: one large element] [compressed] [listpack]
//!  front                                                                        back
//! ```
//!
//! A node is a listpack of many elements, or a *plain* node of one element that is too large for one. How much goes
//! into a listpack is the *fill* (`list-max-listpack-size`): a positive one counts elements and is bounded by 8 KiB
//! besides; -1 to -5 stand for 4 to 64 KiB. An element above these bytes is a large one. With a *depth* above zero (`list-compress-depth`) that many nodes at each
//! end stay as they are and those between are compressed with LZF, where it gains something.
//!
//! Invariants: no node is empty; `len` is the sum of the nodes' counts; no node within the depth is compressed.
//!
//! Reading a compressed node unpacks it for the moment and leaves it as it is. Nodes that only grow at one end have
//! their room at that end, so pushing and popping moves no other element.

use super::Collection;
use super::listpack::{Corrupt, Item, Listpack, Needle};
use crate::system::lzf;
use crate::system::size_class::size_class;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Bound of a node that is filled by count.
const SAFE_BYTES: usize = 8192;
/// What an element is reckoned to take beyond its own bytes.
const ELEMENT_OVERHEAD: usize = 8;
/// What two listpacks are reckoned to save when they become one.
const MERGE_SAVES: usize = 7;
/// Smaller nodes are not worth compressing.
const COMPRESS_MIN: usize = 48;
/// What compression has to save.
const COMPRESS_GAIN: usize = 8;

/// How many bytes and elements a fill allows in one listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) bytes: usize,
    pub(super) count: usize,
}

impl Allowed {
    #[inline]
    pub(super) fn by(fill: i32) -> Allowed {
        if fill < 0 {
            Allowed {
                bytes: 2048 << fill.unsigned_abs().min(5),
                count: usize::MAX,
            }
        } else {
            Allowed {
                bytes: SAFE_BYTES,
                count: fill.max(1).unsigned_abs() as usize,
            }
        }
    }

    #[inline]
    pub(super) fn fits(self, bytes: usize, count: usize) -> bool {
        bytes <= self.bytes && count <= self.count
    }
}

/// A list that is too large for one listpack: a deque of them.
#[derive(Clone, Debug)]
pub struct Quicklist {
    nodes: VecDeque<Node>,
    len: usize,
    /// Elements of so many bytes are large, whatever the fill says; 0: the fill decides.
    packed_threshold: u32,
    fill: i16,
    depth: u16,
}

#[derive(Clone, Debug)]
struct Node {
    body: Body,
    count: u32,
}

#[derive(Clone, Debug)]
enum Body {
    Packed(Listpack),
    Plain(Vec<u8>),
    Compressed {
        bytes: Box<[u8]>,
        /// Bytes when it is unpacked.
        size: u32,
        plain: bool,
    },
}

/// A node as DUMP and RDB write it.
#[derive(Clone, Copy, Debug)]
pub enum NodeView<'a> {
    /// A listpack.
    Packed(&'a Listpack),
    /// One large element.
    Plain(&'a [u8]),
    /// Either of them, compressed with LZF.
    Compressed {
        /// What [`lzf::decompress`] takes.
        bytes: &'a [u8],
        /// Bytes when it is unpacked.
        size: usize,
        /// Whether it is one large element.
        plain: bool,
    },
}

impl Node {
    fn packed(listpack: Listpack, count: usize) -> Node {
        Node {
            body: Body::Packed(listpack),
            count: u32::try_from(count).unwrap_or(u32::MAX),
        }
    }

    fn plain(element: &[u8]) -> Node {
        Node {
            body: Body::Plain(element.to_vec()),
            count: 1,
        }
    }

    /// Bytes of the listpack or the element, uncompressed.
    #[inline]
    fn size(&self) -> usize {
        match &self.body {
            Body::Packed(listpack) => listpack.byte_len(),
            Body::Plain(bytes) => bytes.len(),
            Body::Compressed { size, .. } => *size as usize,
        }
    }

    #[inline]
    fn is_plain(&self) -> bool {
        matches!(
            self.body,
            Body::Plain(_) | Body::Compressed { plain: true, .. }
        )
    }

    /// Compresses, where that gains something.
    fn compress(&mut self) {
        let (bytes, plain) = match &self.body {
            Body::Packed(listpack) => (listpack.as_bytes(), false),
            Body::Plain(bytes) => (bytes.as_slice(), true),
            Body::Compressed { .. } => return,
        };
        let Ok(size) = u32::try_from(bytes.len()) else {
            return;
        };
        if bytes.len() < COMPRESS_MIN {
            return;
        }
        // Redis keeps what saves more than the gain, not what saves just it.
        if let Some(packed) = lzf::compress(bytes, bytes.len() - COMPRESS_GAIN - 1) {
            self.body = Body::Compressed {
                bytes: packed.into_boxed_slice(),
                size,
                plain,
            };
        }
    }

    fn decompress(&mut self) {
        if let Body::Compressed { bytes, size, plain } = &self.body {
            let unpacked = unpack(bytes, *size);
            self.body = if *plain {
                Body::Plain(unpacked)
            } else {
                Body::Packed(listpack_of(unpacked))
            };
        }
    }

    /// The elements, unpacked for the moment if need be.
    fn contents(&self) -> Contents<'_> {
        match &self.body {
            Body::Packed(listpack) => Contents::Packed(Cow::Borrowed(listpack)),
            Body::Plain(bytes) => Contents::Plain(Cow::Borrowed(bytes)),
            Body::Compressed { bytes, size, plain } => {
                let unpacked = unpack(bytes, *size);
                if *plain {
                    Contents::Plain(Cow::Owned(unpacked))
                } else {
                    Contents::Packed(Cow::Owned(listpack_of(unpacked)))
                }
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        match &self.body {
            Body::Packed(listpack) => listpack.memory_bytes(),
            Body::Plain(bytes) => size_class(bytes.capacity()),
            Body::Compressed { bytes, .. } => size_class(bytes.len()),
        }
    }
}

enum Contents<'a> {
    Packed(Cow<'a, Listpack>),
    Plain(Cow<'a, [u8]>),
}

/// What we packed ourselves always unpacks.
fn unpack(bytes: &[u8], size: u32) -> Vec<u8> {
    let unpacked = lzf::decompress(bytes, size as usize);
    debug_assert!(unpacked.is_some());
    unpacked.unwrap_or_default()
}

fn listpack_of(bytes: Vec<u8>) -> Listpack {
    Listpack::from_bytes(bytes, false).unwrap_or_default()
}

impl Quicklist {
    /// An empty one that is filled by `list-max-listpack-size` and compressed by `list-compress-depth` as they stand
    /// now; a list keeps them as long as it lives.
    pub fn with_options(fill: i32, depth: usize) -> Quicklist {
        Quicklist {
            nodes: VecDeque::new(),
            len: 0,
            packed_threshold: 0,
            fill: fill.clamp(-5, i32::from(i16::MAX)) as i16,
            depth: u16::try_from(depth).unwrap_or(u16::MAX),
        }
    }

    /// Elements of so many bytes get nodes of their own from now on; 0: those that are too large for the fill.
    #[inline]
    pub fn set_packed_threshold(&mut self, bytes: usize) {
        self.packed_threshold = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// The fill (`ql_listpack_max` of DEBUG OBJECT).
    pub fn fill(&self) -> i32 {
        i32::from(self.fill)
    }

    /// Whether nodes between the ends are compressed (`ql_compressed` of DEBUG OBJECT).
    pub fn compresses(&self) -> bool {
        self.depth > 0
    }

    /// Number of nodes (`ql_nodes` of DEBUG OBJECT).
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of all nodes as if none was compressed (`ql_uncompressed_size` of DEBUG OBJECT). O(nodes).
    pub fn uncompressed_bytes(&self) -> usize {
        self.nodes.iter().map(Node::size).sum()
    }

    /// The nodes from the front, as DUMP and RDB write them.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeView<'_>> {
        self.nodes_from(0)
    }

    /// The nodes from this one on, if there are so many. O(1) to the first.
    pub fn nodes_from(&self, index: usize) -> impl ExactSizeIterator<Item = NodeView<'_>> {
        let from = index.min(self.nodes.len());
        self.nodes.range(from..).map(|node| match &node.body {
            Body::Packed(listpack) => NodeView::Packed(listpack),
            Body::Plain(bytes) => NodeView::Plain(bytes),
            Body::Compressed { bytes, size, plain } => NodeView::Compressed {
                bytes,
                size: *size as usize,
                plain: *plain,
            },
        })
    }

    /// Shows the elements of one node.
    pub(super) fn for_each_in_node(&self, index: usize, visit: impl FnMut(Item<'_>)) {
        match self.nodes.get(index).map(Node::contents) {
            Some(Contents::Packed(listpack)) => listpack.iter().for_each(visit),
            Some(Contents::Plain(bytes)) => std::iter::once(Item::Bytes(&bytes)).for_each(visit),
            None => {}
        }
    }

    /// The one listpack that holds all, if it is so.
    pub(super) fn only_listpack(&self) -> Option<&Listpack> {
        match &self.nodes.front()?.body {
            Body::Packed(listpack) if self.nodes.len() == 1 => Some(listpack),
            _ => None,
        }
    }

    /// Takes the front node's listpack; of a list that has only that.
    pub(super) fn take_listpack(&mut self) -> Listpack {
        self.len = 0;
        match self.nodes.pop_front().map(|node| node.body) {
            Some(Body::Packed(listpack)) => listpack,
            _ => Listpack::new(),
        }
    }

    /// Adds a whole listpack at the back, as RESTORE and RDB read it; it has been checked deeply. An empty one adds
    /// nothing.
    pub fn push_listpack(&mut self, listpack: Listpack) -> Result<(), Corrupt> {
        let count = listpack.iter().count();
        if count != listpack.len() {
            return Err(Corrupt);
        }
        self.adopt(listpack, count);
        Ok(())
    }

    /// Adds a listpack of `count` elements at the back; an empty one adds nothing.
    pub(super) fn adopt(&mut self, listpack: Listpack, count: usize) {
        if count > 0 {
            self.len += count;
            self.put_node(self.nodes.len(), Node::packed(listpack, count));
        }
    }

    /// Adds one element at the back in a node of its own, as RESTORE and RDB read it.
    pub fn push_plain(&mut self, element: Vec<u8>) {
        self.len += 1;
        let body = Body::Plain(element);
        self.put_node(self.nodes.len(), Node { body, count: 1 });
    }

    /// Appends. Amortised O(bytes).
    #[inline]
    pub fn push_back(&mut self, element: &[u8]) {
        match self.end_with_room(false, element.len()) {
            Some((listpack, count)) => {
                listpack.push_back(element);
                *count += 1;
                self.len += 1;
            }
            None => self.push_node(element, false),
        }
    }

    /// Prepends. Amortised O(bytes).
    #[inline]
    pub fn push_front(&mut self, element: &[u8]) {
        match self.end_with_room(true, element.len()) {
            Some((listpack, count)) => {
                listpack.push_front(element);
                *count += 1;
                self.len += 1;
            }
            None => self.push_node(element, true),
        }
    }

    /// Removes the first element after showing it. O(1) save for compressed nodes that come near the front.
    #[inline]
    pub fn pop_front<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        self.pop(true, take)
    }

    /// Removes the last element, likewise.
    #[inline]
    pub fn pop_back<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        self.pop(false, take)
    }

    /// Shows the element of an index; negative ones count from the end (-1: the last). O(nodes to the nearer end).
    pub fn get<R>(&self, index: i64, read: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let (node, offset) = self.locate(index)?;
        match self.nodes[node].contents() {
            Contents::Plain(bytes) => Some(read(Item::Bytes(&bytes))),
            Contents::Packed(listpack) => Some(read(listpack.get(listpack.seek(offset as i64)?))),
        }
    }

    /// Shows up to `count` elements from the index `from` on towards the back or, in reverse, the front.
    #[inline]
    pub fn range(&self, from: usize, count: usize, reverse: bool, mut visit: impl FnMut(Item<'_>)) {
        let mut left = count;
        if left == 0 {
            return;
        }
        self.walk(from, reverse, |item| {
            visit(item);
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
    }

    /// Shows all elements from the front.
    pub fn for_each(&self, visit: impl FnMut(Item<'_>)) {
        self.range(0, self.len, false, visit);
    }

    /// Shows elements from the index `from` on towards the back or, in reverse, the front, until `visit` has enough.
    #[inline]
    pub fn walk(
        &self,
        from: usize,
        reverse: bool,
        mut visit: impl FnMut(Item<'_>) -> ControlFlow<()>,
    ) {
        let Some((first, offset)) = i64::try_from(from).ok().and_then(|from| self.locate(from))
        else {
            return;
        };
        let mut at = first;
        let mut flow = ControlFlow::Continue(());
        while let (ControlFlow::Continue(()), Some(node)) = (flow, self.nodes.get(at)) {
            flow = match node.contents() {
                Contents::Plain(bytes) => visit(Item::Bytes(&bytes)),
                Contents::Packed(listpack) => {
                    let position = (at == first)
                        .then(|| listpack.seek(offset as i64))
                        .flatten();
                    match (reverse, position) {
                        (false, Some(position)) => {
                            listpack.iter_from(position).try_for_each(&mut visit)
                        }
                        (false, None) => listpack.iter().try_for_each(&mut visit),
                        (true, Some(position)) => {
                            listpack.iter_to(position).rev().try_for_each(&mut visit)
                        }
                        (true, None) => listpack.iter().rev().try_for_each(&mut visit),
                    }
                }
            };
            // Before the front there is no node either.
            at = if reverse { at.wrapping_sub(1) } else { at + 1 };
        }
    }

    /// Puts another element in the place of the one at `index`; whether there was one.
    pub fn set(&mut self, index: i64, element: &[u8]) -> bool {
        let Some((at, offset)) = self.locate(index) else {
            return false;
        };
        let large = self.is_large(element.len());
        let node = &mut self.nodes[at];
        node.decompress();
        match &mut node.body {
            Body::Packed(listpack) if large || !listpack.has_room(element.len()) => {
                self.replace_by_node(at, offset, element);
            }
            Body::Packed(listpack) => {
                if let Some(position) = listpack.seek(offset as i64) {
                    listpack.replace(position, element);
                }
                self.keep_compression(Some(at));
            }
            Body::Plain(bytes) if large => {
                *bytes = element.to_vec();
                self.keep_compression(Some(at));
            }
            Body::Plain(_) | Body::Compressed { .. } => {
                let Some(index) = self.absolute(index) else {
                    return false;
                };
                self.insert_at(at, offset, element, true);
                // Nodes may have been split and merged around it, but it still has its index.
                self.remove_range(index, 1);
            }
        }
        true
    }

    /// Inserts an element before or behind the first one that is `pivot`; whether there was one. O(n).
    pub fn insert(&mut self, pivot: &[u8], element: &[u8], after: bool) -> bool {
        let needle = Needle::new(pivot);
        let mut found = None;
        for (at, node) in self.nodes.iter().enumerate() {
            let offset = match node.contents() {
                Contents::Plain(bytes) => (*bytes == *pivot).then_some(0),
                Contents::Packed(listpack) => listpack.iter().position(|item| needle.is(item)),
            };
            if let Some(offset) = offset {
                found = Some((at, offset));
                break;
            }
        }
        let Some((at, offset)) = found else {
            return false;
        };
        self.insert_at(at, offset, element, after);
        true
    }

    /// Removes up to `limit` elements that are `element` (0: all), from the front or, in reverse, from the back on; how
    /// many there were. O(n).
    pub fn remove(&mut self, element: &[u8], limit: usize, reverse: bool) -> usize {
        let needle = Needle::new(element);
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut removed = 0;
        let mut emptied = false;
        for step in 0..self.nodes.len() {
            if removed == limit {
                break;
            }
            let at = if reverse {
                self.nodes.len() - 1 - step
            } else {
                step
            };
            let gone = self.remove_in_node(at, needle, limit - removed, reverse);
            removed += gone;
            emptied |= self.nodes[at].count == 0;
        }
        self.len -= removed;
        if emptied {
            self.nodes.retain(|node| node.count > 0);
            self.nodes_gone();
        }
        removed
    }

    /// Removes up to `count` elements from the index `from` on. O(nodes removed, and bytes of the two at the edges).
    pub fn remove_range(&mut self, from: usize, count: usize) {
        let count = count.min(self.len.saturating_sub(from));
        let located = i64::try_from(from).ok().and_then(|from| self.locate(from));
        let (Some((mut at, offset)), true) = (located, count > 0) else {
            return;
        };
        let mut left = count;
        if offset > 0 {
            left -= self.cut_node(at, offset, left);
            at += 1;
        }
        let whole = self.nodes.range(at..).take_while(|node| {
            let all = node.count as usize <= left;
            if all {
                left -= node.count as usize;
            }
            all
        });
        let whole = whole.count();
        self.nodes.drain(at..at + whole);
        if left > 0 && at < self.nodes.len() {
            self.cut_node(at, 0, left);
        }
        self.len -= count;
        self.nodes_gone();
    }

    // Below: how nodes are found, filled, split, merged and compressed.

    /// Whether an element of `len` bytes gets a node of its own.
    #[inline]
    fn is_large(&self, len: usize) -> bool {
        match self.packed_threshold {
            0 => len > self.allowed().bytes,
            threshold => len >= threshold as usize,
        }
    }

    #[inline]
    fn allowed(&self) -> Allowed {
        Allowed::by(self.fill())
    }

    #[inline]
    fn fits(&self, size: usize, count: usize) -> bool {
        self.allowed().fits(size, count)
    }

    /// The listpack at an end, with the number of its elements, if an element of `len` bytes may be added to it.
    #[inline(always)]
    fn end_with_room(&mut self, front: bool, len: usize) -> Option<(&mut Listpack, &mut u32)> {
        let (allowed, threshold) = (self.allowed(), self.packed_threshold as usize);
        let node = match front {
            true => self.nodes.front_mut(),
            false => self.nodes.back_mut(),
        };
        let Some(Node {
            body: Body::Packed(listpack),
            count,
        }) = node
        else {
            return None;
        };
        // What is large by the fill alone fits nowhere.
        let is_large = threshold != 0 && len >= threshold;
        let size = listpack
            .byte_len()
            .saturating_add(len)
            .saturating_add(ELEMENT_OVERHEAD);
        let has_room = !is_large && allowed.fits(size, *count as usize + 1);
        has_room.then_some((listpack, count))
    }

    /// Whether an element of `len` bytes may be added to a node.
    #[inline]
    fn allows(&self, node: Option<&Node>, len: usize) -> bool {
        match node {
            Some(node) if !self.is_large(len) && !node.is_plain() => {
                let size = node
                    .size()
                    .saturating_add(len)
                    .saturating_add(ELEMENT_OVERHEAD);
                self.fits(size, node.count as usize + 1)
            }
            _ => false,
        }
    }

    fn may_merge(&self, one: &Node, other: &Node) -> bool {
        if one.is_plain() || other.is_plain() {
            return false;
        }
        let size = (one.size() + other.size()).saturating_sub(MERGE_SAVES);
        self.fits(size, one.count as usize + other.count as usize)
    }

    /// An index counted from the front, if there is such an element.
    #[inline]
    fn absolute(&self, index: i64) -> Option<usize> {
        if index < 0 {
            let from_end = usize::try_from(index.unsigned_abs()).ok()?;
            self.len.checked_sub(from_end)
        } else {
            usize::try_from(index)
                .ok()
                .filter(|&index| index < self.len)
        }
    }

    /// The node and the offset in it of an index.
    #[inline]
    fn locate(&self, index: i64) -> Option<(usize, usize)> {
        let index = self.absolute(index)?;
        if index <= self.len / 2 {
            let mut left = index;
            for (at, node) in self.nodes.iter().enumerate() {
                match left.checked_sub(node.count as usize) {
                    Some(behind) => left = behind,
                    None => return Some((at, left)),
                }
            }
        } else {
            let mut behind = self.len;
            for (at, node) in self.nodes.iter().enumerate().rev() {
                behind -= node.count as usize;
                if index >= behind {
                    return Some((at, index - behind));
                }
            }
        }
        None
    }

    /// A node for one element at an end.
    #[cold]
    fn push_node(&mut self, element: &[u8], front: bool) {
        let at = if front { 0 } else { self.nodes.len() };
        let mut node = self.node_of(element);
        let limit = self.allowed().bytes;
        if let (Body::Packed(listpack), ..0, 2..) = (&mut node.body, self.fill, self.nodes.len()) {
            // A list that has filled nodes will most likely fill this one too: have all room at once, at the right end.
            // The neighbour keeps what it has got and gives back the rest.
            let more = limit.saturating_sub(listpack.byte_len());
            if front {
                listpack.reserve_front(more);
            } else {
                listpack.reserve_back(more);
            }
            let neighbour = if front {
                self.nodes.front_mut()
            } else {
                self.nodes.back_mut()
            };
            if let Some(Body::Packed(neighbour)) = neighbour.map(|node| &mut node.body) {
                neighbour.shrink_to_fit();
            }
        }
        self.len += 1;
        self.put_node(at, node);
    }

    /// A node that holds one element.
    fn node_of(&self, element: &[u8]) -> Node {
        if self.is_large(element.len()) {
            return Node::plain(element);
        }
        let mut listpack =
            Listpack::with_capacity(element.len().saturating_add(ELEMENT_OVERHEAD * 2));
        listpack.push_back(element);
        Node::packed(listpack, 1)
    }

    /// Puts a node at `at` and has the neighbours compressed that are no longer near an end. Does not count its
    /// elements.
    fn put_node(&mut self, at: usize, node: Node) {
        if self.nodes.capacity() == 0 {
            // Most lists never get a second node.
            self.nodes.reserve_exact(1);
        }
        let last = self.nodes.len();
        if at == 0 {
            self.nodes.push_front(node);
        } else if at == last {
            self.nodes.push_back(node);
        } else {
            self.nodes.insert(at, node);
        }
        self.keep_compression(Some(at));
    }

    #[inline]
    fn pop<R>(&mut self, front: bool, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let alone = self.nodes.len() == 1;
        let node = if front {
            self.nodes.front_mut()?
        } else {
            self.nodes.back_mut()?
        };
        // The ends are not compressed.
        node.decompress();
        let taken = match &mut node.body {
            Body::Packed(listpack) => {
                let taken = if front {
                    listpack.pop_front(take)
                } else {
                    listpack.pop_back(take)
                };
                if alone {
                    listpack.give_back();
                }
                taken?
            }
            Body::Plain(bytes) => take(Item::Bytes(bytes)),
            Body::Compressed { .. } => return None,
        };
        node.count -= 1;
        self.len -= 1;
        if node.count == 0 {
            if front {
                self.nodes.pop_front();
            } else {
                self.nodes.pop_back();
            }
            self.nodes_gone();
        }
        Some(taken)
    }

    /// Removes up to `count` elements from `offset` of one node, which may be left empty; how many there were.
    fn cut_node(&mut self, at: usize, offset: usize, count: usize) -> usize {
        let node = &mut self.nodes[at];
        let count = count.min(node.count as usize - offset);
        node.decompress();
        if let Body::Packed(listpack) = &mut node.body
            && let Some(position) = listpack.seek(offset as i64)
        {
            listpack.remove_many(position, count);
        }
        node.count -= count as u32;
        if node.count > 0 {
            self.compress_inner(at);
        }
        count
    }

    /// Removes up to `limit` elements of one node that are the needle; the node may be left empty.
    fn remove_in_node(
        &mut self,
        at: usize,
        needle: Needle<'_>,
        limit: usize,
        reverse: bool,
    ) -> usize {
        let node = &mut self.nodes[at];
        let removed = match node.contents() {
            Contents::Plain(bytes) => usize::from(*bytes == *needle.bytes()),
            Contents::Packed(listpack) => {
                let positions = listpack.matches(needle, limit, reverse);
                if !positions.is_empty() {
                    drop(listpack);
                    node.decompress();
                    if let Body::Packed(listpack) = &mut node.body {
                        listpack.remove_positions(&positions);
                    }
                }
                positions.len()
            }
        };
        node.count -= removed as u32;
        if removed > 0 && node.count > 0 {
            self.compress_inner(at);
        }
        removed
    }

    /// Inserts beside the element at `offset` of the node `at`; where that stands and how nodes are split are Redis's.
    fn insert_at(&mut self, at: usize, offset: usize, element: &[u8], after: bool) {
        let node = &self.nodes[at];
        let len = element.len();
        let edge = if after {
            offset + 1 == node.count as usize
        } else {
            offset == 0
        };
        let beside = if after { at + 1 } else { at };
        self.len += 1;
        if !self.is_large(len) {
            if self.allows(Some(node), len) {
                return self.change_packed(at, |listpack| {
                    let Some(position) = listpack.seek(offset as i64) else {
                        return;
                    };
                    if after {
                        listpack.insert_after(position, element);
                    } else {
                        listpack.insert_before(position, element);
                    }
                });
            }
            let neighbour = if after {
                Some(at + 1)
            } else {
                at.checked_sub(1)
            };
            if edge
                && let Some(neighbour) = neighbour
                && self.allows(self.nodes.get(neighbour), len)
            {
                return self.change_packed(neighbour, |listpack| {
                    if after {
                        listpack.push_front(element);
                    } else {
                        listpack.push_back(element);
                    }
                });
            }
        }
        if edge || node.is_plain() {
            let node = self.node_of(element);
            return self.put_node(beside, node);
        }
        self.split_around(at, offset, element, after);
    }

    /// Splits a full node for an element that comes between its elements.
    fn split_around(&mut self, at: usize, offset: usize, element: &[u8], after: bool) {
        let large = self.is_large(element.len());
        let left_count = if after { offset + 1 } else { offset };
        let node = &mut self.nodes[at];
        node.decompress();
        let Body::Packed(left) = &mut node.body else {
            return;
        };
        let Some(position) = left.seek(left_count as i64) else {
            return;
        };
        let right_count = node.count as usize - left_count;
        let mut right = left.split_off(position);
        node.count = left_count as u32;
        if large {
            self.nodes.insert(at + 1, Node::packed(right, right_count));
            self.nodes.insert(at + 1, Node::plain(element));
            self.keep_compression(Some(at));
            self.keep_compression(Some(at + 2));
            return self.keep_compression(Some(at + 1));
        }
        let added_right = usize::from(after);
        if after {
            right.push_front(element);
        } else {
            left.push_back(element);
            node.count += 1;
        }
        let right = Node::packed(right, right_count + added_right);
        self.nodes.insert(at + 1, right);
        self.merge_around(if after { at } else { at + 1 });
    }

    /// Puts an element in the place of another one of a listpack that cannot take it: it gets a node of its own between
    /// what stands before and behind it.
    fn replace_by_node(&mut self, at: usize, offset: usize, element: &[u8]) {
        let new = self.node_of(element);
        let node = &mut self.nodes[at];
        let Body::Packed(left) = &mut node.body else {
            return;
        };
        let right_count = node.count as usize - offset - 1;
        let right = left
            .seek(offset as i64 + 1)
            .map(|position| left.split_off(position));
        left.pop_back(|_| ());
        left.give_back();
        node.count = offset as u32;
        let emptied = node.count == 0;
        if let Some(right) = right {
            self.nodes.insert(at + 1, Node::packed(right, right_count));
        }
        if emptied {
            self.nodes[at] = new;
            self.compress_inner(at + 1);
            return self.keep_compression(Some(at));
        }
        self.nodes.insert(at + 1, new);
        self.merge_around(at + 1);
    }

    /// After a split: merges the two nodes before the centre, the two behind it, and the centre with either, where the
    /// fill allows.
    fn merge_around(&mut self, mut centre: usize) {
        if centre >= 2 && self.merge(centre - 2) {
            centre -= 1;
        }
        self.merge(centre + 1);
        if centre >= 1 && self.merge(centre - 1) {
            centre -= 1;
        }
        self.merge(centre);
        for at in centre.saturating_sub(2)..(centre + 3).min(self.nodes.len()) {
            self.compress_inner(at);
        }
        self.keep_compression(None);
    }

    /// Merges the node at `at` with the one behind it, if there is one and the fill allows.
    fn merge(&mut self, at: usize) -> bool {
        let (Some(one), Some(other)) = (self.nodes.get(at), self.nodes.get(at + 1)) else {
            return false;
        };
        if !self.may_merge(one, other) {
            return false;
        }
        let Some(mut other) = self.nodes.remove(at + 1) else {
            return false;
        };
        let one = &mut self.nodes[at];
        one.decompress();
        other.decompress();
        if let (Body::Packed(one), Body::Packed(other)) = (&mut one.body, &other.body) {
            one.append(other);
        }
        one.count += other.count;
        true
    }

    /// Changes the listpack of a node to which one element is added.
    fn change_packed(&mut self, at: usize, change: impl FnOnce(&mut Listpack)) {
        let node = &mut self.nodes[at];
        node.decompress();
        if let Body::Packed(listpack) = &mut node.body {
            change(listpack);
            node.count += 1;
        }
        self.compress_inner(at);
    }

    /// Compresses a node that is not near an end.
    fn compress_inner(&mut self, at: usize) {
        let depth = usize::from(self.depth);
        if depth > 0
            && at >= depth
            && at + depth < self.nodes.len()
            && let Some(node) = self.nodes.get_mut(at)
        {
            node.compress();
        }
    }

    /// After nodes were removed.
    fn nodes_gone(&mut self) {
        if self.nodes.len() * 4 < self.nodes.capacity() {
            self.nodes.shrink_to(self.nodes.len() * 2);
        }
        self.keep_compression(None);
    }

    /// Brings compression in order after nodes came or went, and compresses the node `touched` if it is not near an
    /// end. O(depth).
    #[inline]
    fn keep_compression(&mut self, touched: Option<usize>) {
        if self.depth > 0 {
            self.restore_compression(touched);
        }
    }

    #[cold]
    fn restore_compression(&mut self, touched: Option<usize>) {
        let depth = usize::from(self.depth);
        let len = self.nodes.len();
        for at in 0..depth.min(len) {
            self.nodes[at].decompress();
            self.nodes[len - 1 - at].decompress();
        }
        if let Some(touched) = touched {
            self.compress_inner(touched);
        }
        if len > 2 * depth {
            self.compress_inner(depth);
            self.compress_inner(len - 1 - depth);
        }
    }
}

impl Collection for Quicklist {
    #[inline]
    fn len(&self) -> usize {
        self.len
    }
    fn encoding(&self) -> &'static str {
        "quicklist"
    }
    fn memory_bytes(&self, samples: usize) -> usize {
        let count = self.nodes.len();
        let samples = if samples == 0 {
            count
        } else {
            samples.min(count)
        };
        let sampled: usize = self
            .nodes
            .iter()
            .take(samples)
            .map(Node::memory_bytes)
            .sum();
        // A sampled average, like Redis's.
        let nodes = sampled
            .saturating_mul(count)
            .checked_div(samples)
            .unwrap_or(0);
        size_class(size_of::<Quicklist>())
            + size_class(self.nodes.capacity() * size_of::<Node>())
            + nodes
    }
    fn free_effort(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests;
