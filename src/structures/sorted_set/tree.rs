//! The order of a large sorted set: a B+tree that counts (in the place of the skiplist of Redis's t_zset.c).
//!
//! In come scores and the addresses of members that the set's dict owns; out come ranks and runs of neighbours. The
//! order is score, then the members' bytes, as by `memcmp`, the shorter first.
//!
//! ```text
//! inner, 2 KiB   len │ score of each child's first │ its member │ elements below each child │ child
//!                                   │
//! leaf, 1 KiB    len, previous, next │ score … (62) │ member … (62)
//! ```
//!
//! Scores stand together, so that a search reads a few neighbouring cache lines of each node and follows no member's
//! address unless scores tie. Counts let the same descent find a rank, or find by rank.
//!
//! # Memory
//!
//! A full leaf first shares with a neighbour, and where both are full, two become three. So leaves are 80 to 85 % full
//! after insertions in random order, and 100 % after those in ascending or descending order, which open a new leaf
//! only when the last one is full.
//!
//! # Invariants
//!
//! - every leaf has the same depth; there is always one, which may be empty when it is the root;
//! - a separator is exactly the first element below its child (so that no address of a removed member is kept), a
//!   count exactly the number of elements below it;
//! - a node that is neither the root nor on the left or right edge is at least a quarter full. On the edges nodes may
//!   have as little as one element or child: popping from an end moves nothing between nodes, and appending splits
//!   none.

#![allow(unsafe_code)]

use super::member::Handle;
use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Elements in a leaf: as many as make it 1 KiB.
pub(super) const LEAF_MAX: usize = 62;
/// Children of an inner node: as many as make it 2 KiB.
const FAN: usize = 63;
/// A node below this looks for a neighbour to be merged with.
const LEAF_LOW: usize = LEAF_MAX / 2;
const INNER_LOW: usize = FAN / 2;
/// Below this it takes from a neighbour where merging is not possible.
const LEAF_MIN: usize = LEAF_MAX / 4;
const INNER_MIN: usize = FAN / 4;
/// Merged nodes keep some room, so that the next insertion does not split them again.
const LEAF_MERGED: usize = LEAF_MAX * 7 / 8;
const INNER_MERGED: usize = FAN * 3 / 4;
/// A full leaf shares with a neighbour that has at least this much room.
const SHARE_ROOM: usize = 8;
/// Inner levels that a descent can record. With 15 children below each but the edges' nodes, 16 levels hold more
/// elements than an address space.
const MAX_HEIGHT: usize = 16;

#[repr(C, align(64))]
struct Leaf {
    len: usize,
    previous: Option<LeafPtr>,
    next: Option<LeafPtr>,
    scores: [f64; LEAF_MAX],
    members: [Handle; LEAF_MAX],
}

#[repr(C, align(64))]
struct Inner {
    len: usize,
    scores: [f64; FAN],
    members: [Handle; FAN],
    counts: [usize; FAN],
    children: [NonNull<u8>; FAN],
}

const _: () = assert!(size_of::<Leaf>() == 1024 && size_of::<Inner>() == 2048);

/// A leaf of the tree. Copied freely; whoever frees a node makes sure that none is left.
#[derive(Clone, Copy, PartialEq, Eq)]
struct LeafPtr(NonNull<Leaf>);

/// An inner node of the tree, likewise.
#[derive(Clone, Copy, PartialEq, Eq)]
struct InnerPtr(NonNull<Inner>);

impl LeafPtr {
    fn new() -> LeafPtr {
        LeafPtr(NonNull::from(Box::leak(Box::new(Leaf {
            len: 0,
            previous: None,
            next: None,
            scores: [0.0; LEAF_MAX],
            members: [Handle::NONE; LEAF_MAX],
        }))))
    }
    fn of(child: NonNull<u8>) -> LeafPtr {
        LeafPtr(child.cast())
    }
    fn raw(self) -> NonNull<u8> {
        self.0.cast()
    }
    fn free(self) {
        // SAFETY: made by `Box`, and the caller has taken it out of the tree.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Deref for LeafPtr {
    type Target = Leaf;
    #[inline]
    fn deref(&self) -> &Leaf {
        // SAFETY: a node lives as long as the tree refers to it, and references to it last one statement.
        unsafe { self.0.as_ref() }
    }
}

impl DerefMut for LeafPtr {
    #[inline]
    fn deref_mut(&mut self) -> &mut Leaf {
        // SAFETY: as above; only functions that have `&mut Tree` change nodes.
        unsafe { self.0.as_mut() }
    }
}

impl InnerPtr {
    fn new() -> InnerPtr {
        InnerPtr(NonNull::from(Box::leak(Box::new(Inner {
            len: 0,
            scores: [0.0; FAN],
            members: [Handle::NONE; FAN],
            counts: [0; FAN],
            children: [NonNull::dangling(); FAN],
        }))))
    }
    fn of(child: NonNull<u8>) -> InnerPtr {
        InnerPtr(child.cast())
    }
    fn raw(self) -> NonNull<u8> {
        self.0.cast()
    }
    fn free(self) {
        // SAFETY: made by `Box`, and the caller has taken it out of the tree.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Deref for InnerPtr {
    type Target = Inner;
    #[inline]
    fn deref(&self) -> &Inner {
        // SAFETY: as for leaves.
        unsafe { self.0.as_ref() }
    }
}

impl DerefMut for InnerPtr {
    #[inline]
    fn deref_mut(&mut self) -> &mut Inner {
        // SAFETY: as for leaves.
        unsafe { self.0.as_mut() }
    }
}

/// Makes room for one in front of `at` in a list of `len` and fills it.
#[inline]
fn put<T: Copy>(list: &mut [T], len: usize, at: usize, item: T) {
    list.copy_within(at..len, at + 1);
    list[at] = item;
}

/// Takes `count` from `at` on out of a list of `len`.
#[inline]
fn cut<T: Copy>(list: &mut [T], len: usize, at: usize, count: usize) {
    list.copy_within(at + count..len, at);
}

/// Moves the last `count` of `from` to the front of `to`.
fn shift_right<T: Copy>(from: &[T], to: &mut [T], to_len: usize, count: usize) {
    to.copy_within(..to_len, count);
    to[..count].copy_from_slice(&from[from.len() - count..]);
}

/// Moves the first `count` of `from` behind the `to_len` of `to`.
fn shift_left<T: Copy>(from: &mut [T], to: &mut [T], to_len: usize, count: usize) {
    to[to_len..to_len + count].copy_from_slice(&from[..count]);
    from.copy_within(count.., 0);
}

impl Leaf {
    #[inline]
    fn insert(&mut self, at: usize, score: f64, member: Handle) {
        put(&mut self.scores, self.len, at, score);
        put(&mut self.members, self.len, at, member);
        self.len += 1;
    }
    fn remove(&mut self, at: usize, count: usize) {
        cut(&mut self.scores, self.len, at, count);
        cut(&mut self.members, self.len, at, count);
        self.len -= count;
    }
}

/// What an inner node knows of a child.
#[derive(Clone, Copy)]
struct Branch {
    score: f64,
    member: Handle,
    count: usize,
    child: NonNull<u8>,
}

impl Inner {
    fn insert(&mut self, at: usize, branch: Branch) {
        put(&mut self.scores, self.len, at, branch.score);
        put(&mut self.members, self.len, at, branch.member);
        put(&mut self.counts, self.len, at, branch.count);
        put(&mut self.children, self.len, at, branch.child);
        self.len += 1;
    }
    fn remove(&mut self, at: usize) {
        cut(&mut self.scores, self.len, at, 1);
        cut(&mut self.members, self.len, at, 1);
        cut(&mut self.counts, self.len, at, 1);
        cut(&mut self.children, self.len, at, 1);
        self.len -= 1;
    }
    fn total(&self) -> usize {
        self.counts[..self.len].iter().sum()
    }
    /// Moves the last `count` branches to the front of `to`.
    fn give_right(&mut self, to: &mut Inner, count: usize) {
        shift_right(&self.scores[..self.len], &mut to.scores, to.len, count);
        shift_right(&self.members[..self.len], &mut to.members, to.len, count);
        shift_right(&self.counts[..self.len], &mut to.counts, to.len, count);
        shift_right(&self.children[..self.len], &mut to.children, to.len, count);
        self.len -= count;
        to.len += count;
    }
    /// Moves the first `count` branches behind those of `to`.
    fn give_left(&mut self, to: &mut Inner, count: usize) {
        let (len, to_len) = (self.len, to.len);
        shift_left(&mut self.scores[..len], &mut to.scores, to_len, count);
        shift_left(&mut self.members[..len], &mut to.members, to_len, count);
        shift_left(&mut self.counts[..len], &mut to.counts, to_len, count);
        shift_left(&mut self.children[..len], &mut to.children, to_len, count);
        self.len -= count;
        to.len += count;
    }
    /// What a parent has to know of this node.
    fn branch(&self, child: NonNull<u8>) -> Branch {
        Branch {
            score: self.scores[0],
            member: self.members[0],
            count: self.total(),
            child,
        }
    }
    /// Writes down what is known of the leaf `at`.
    fn describe_leaf(&mut self, at: usize, leaf: LeafPtr) {
        self.scores[at] = leaf.scores[0];
        self.members[at] = leaf.members[0];
        self.counts[at] = leaf.len;
    }
}

/// A place in the order, given by what stands before it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edge<'a> {
    /// Before the first with this score or, `past` it, behind the last.
    Score { score: f64, past: bool },
    /// Before (or behind) this element.
    Key {
        score: f64,
        member: &'a [u8],
        past: bool,
    },
    /// Before (or behind) this member where all scores are the same.
    Lex { member: &'a [u8], past: bool },
}

/// How many of `members` stand before the edge; they are sorted.
fn before(members: &[Handle], edge: &[u8], past: bool) -> usize {
    members.partition_point(|member| {
        // SAFETY: members of the tree are alive, which its one unsafe function asks for.
        match unsafe { member.bytes() }.cmp(edge) {
            Ordering::Less => true,
            Ordering::Equal => past,
            Ordering::Greater => false,
        }
    })
}

/// How many scores are lower. They are sorted, but counting all of them has no branch to mispredict and lets the
/// processor read the lines at once.
#[inline]
fn count_below(scores: &[f64], score: f64) -> usize {
    // Appending is common.
    if scores.last().is_none_or(|last| *last < score) {
        return scores.len();
    }
    scores.iter().map(|other| usize::from(*other < score)).sum()
}

/// How many scores are lower or the same.
#[inline]
fn count_not_above(scores: &[f64], score: f64) -> usize {
    if scores.last().is_none_or(|last| *last <= score) {
        return scores.len();
    }
    scores
        .iter()
        .map(|other| usize::from(*other <= score))
        .sum()
}

impl Edge<'_> {
    /// How many elements of a node stand before the edge.
    #[inline]
    fn count(self, scores: &[f64], members: &[Handle]) -> usize {
        match self {
            Edge::Score { score, past: false } => count_below(scores, score),
            Edge::Score { score, past: true } => count_not_above(scores, score),
            Edge::Key {
                score,
                member,
                past,
            } => {
                let low = count_below(scores, score);
                if scores.get(low).is_none_or(|other| *other != score) {
                    return low;
                }
                let high = low + count_not_above(&scores[low..], score);
                low + before(&members[low..high], member, past)
            }
            Edge::Lex { member, past } => before(members, member, past),
        }
    }
}

/// The way from the root to a leaf: inner nodes with the index of the child that was taken.
struct Path {
    steps: [(Option<InnerPtr>, usize); MAX_HEIGHT],
    len: usize,
}

impl Path {
    #[inline]
    fn new() -> Path {
        Path {
            steps: [(None, 0); MAX_HEIGHT],
            len: 0,
        }
    }
    #[inline]
    fn push(&mut self, node: InnerPtr, index: usize) {
        self.steps[self.len] = (Some(node), index);
        self.len += 1;
    }
    /// The step of a level, 0 being the root's.
    #[inline]
    #[allow(clippy::expect_used)]
    fn at(&self, level: usize) -> (InnerPtr, usize) {
        let (node, index) = self.steps[level];
        (node.expect("a level that was walked"), index)
    }
    /// Whether the node of a level is the last of its level.
    fn on_right_edge(&self, level: usize) -> bool {
        (0..level).all(|above| {
            let (node, index) = self.at(above);
            index + 1 == node.len
        })
    }
    /// Whether the node of a level is the first or the last of its level.
    fn on_edge(&self, level: usize) -> bool {
        (0..level).all(|above| self.at(above).1 == 0) || self.on_right_edge(level)
    }
}

/// Elements of a few leaves side by side, with the one that did not fit.
struct Pool {
    scores: [f64; 2 * LEAF_MAX + 1],
    members: [Handle; 2 * LEAF_MAX + 1],
    len: usize,
}

impl Pool {
    fn new() -> Pool {
        Pool {
            scores: [0.0; 2 * LEAF_MAX + 1],
            members: [Handle::NONE; 2 * LEAF_MAX + 1],
            len: 0,
        }
    }
    fn take(&mut self, leaf: LeafPtr) {
        let to = self.len..self.len + leaf.len;
        self.scores[to.clone()].copy_from_slice(&leaf.scores[..leaf.len]);
        self.members[to].copy_from_slice(&leaf.members[..leaf.len]);
        self.len += leaf.len;
    }
    fn insert(&mut self, at: usize, score: f64, member: Handle) {
        put(&mut self.scores, self.len, at, score);
        put(&mut self.members, self.len, at, member);
        self.len += 1;
    }
    /// Deals them out to leaves, as evenly as can be.
    fn deal(&self, leaves: &mut [LeafPtr]) {
        let (mut from, mut left) = (0, leaves.len());
        for leaf in leaves {
            let count = (self.len - from).div_ceil(left);
            leaf.scores[..count].copy_from_slice(&self.scores[from..from + count]);
            leaf.members[..count].copy_from_slice(&self.members[from..from + count]);
            leaf.len = count;
            from += count;
            left -= 1;
        }
    }
}

/// The tree; the module's documentation tells how it works.
pub(super) struct Tree {
    root: NonNull<u8>,
    /// Levels of inner nodes.
    height: usize,
    len: usize,
    leaves: usize,
    inners: usize,
}

// SAFETY: the tree owns its nodes alone; the members belong to the set that owns the tree.
unsafe impl Send for Tree {}
// SAFETY: nothing is changed through `&Tree`.
unsafe impl Sync for Tree {}

impl Tree {
    /// An empty one.
    pub(super) fn new() -> Tree {
        Tree {
            root: LeafPtr::new().raw(),
            height: 0,
            len: 0,
            leaves: 1,
            inners: 0,
        }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the nodes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.leaves * size_of::<Leaf>() + self.inners * size_of::<Inner>()
    }

    /// Number of nodes.
    pub(super) fn nodes(&self) -> usize {
        self.leaves + self.inners
    }

    /// Walks to the leaf in which the edge is; records the way; the edge's index in the leaf, which may be its length.
    #[inline]
    fn descend(&self, edge: Edge<'_>, path: &mut Path) -> (LeafPtr, usize) {
        let mut child = self.root;
        for _ in 0..self.height {
            let node = InnerPtr::of(child);
            let len = node.len;
            let index = edge
                .count(&node.scores[..len], &node.members[..len])
                .saturating_sub(1);
            path.push(node, index);
            child = node.children[index];
        }
        let leaf = LeafPtr::of(child);
        let len = leaf.len;
        let index = edge.count(&leaf.scores[..len], &leaf.members[..len]);
        (leaf, index)
    }

    /// Walks to the element of a rank below the length; records the way.
    fn descend_to(&self, mut rank: usize, path: &mut Path) -> (LeafPtr, usize) {
        let mut child = self.root;
        for _ in 0..self.height {
            let node = InnerPtr::of(child);
            let mut index = 0;
            while rank >= node.counts[index] && index + 1 < node.len {
                rank -= node.counts[index];
                index += 1;
            }
            path.push(node, index);
            child = node.children[index];
        }
        (LeafPtr::of(child), rank)
    }

    /// How many elements stand before the edge. O(log n).
    pub(super) fn rank(&self, edge: Edge<'_>) -> usize {
        let mut child = self.root;
        let mut rank = 0;
        for _ in 0..self.height {
            let node = InnerPtr::of(child);
            let len = node.len;
            let index = edge
                .count(&node.scores[..len], &node.members[..len])
                .saturating_sub(1);
            rank += node.counts[..index].iter().sum::<usize>();
            child = node.children[index];
        }
        let leaf = LeafPtr::of(child);
        let len = leaf.len;
        rank + edge.count(&leaf.scores[..len], &leaf.members[..len])
    }

    /// Up to `count` elements from the one of this rank on, upwards or downwards.
    pub(super) fn iter(&self, rank: usize, count: usize, reverse: bool) -> Iter<'_> {
        let room = if rank >= self.len {
            0
        } else if reverse {
            rank + 1
        } else {
            self.len - rank
        };
        let left = count.min(room);
        let place = (left > 0).then(|| self.descend_to(rank, &mut Path::new()));
        Iter {
            place,
            left,
            reverse,
            tree: PhantomData,
        }
    }

    /// Adds an element that is not there yet. O(log n).
    ///
    /// # Safety
    /// The member lives, and its bytes stay, until it is removed from the tree or the tree is dropped.
    pub(super) unsafe fn insert(&mut self, score: f64, member: Handle) {
        // Whoever frees a member removes it from the tree first, and this would not be found.
        assert!(!score.is_nan(), "NaN has no place in the order");
        let mut path = Path::new();
        let edge = Edge::Key {
            score,
            // SAFETY: alive, as the caller vouches.
            member: unsafe { member.bytes() },
            past: false,
        };
        let (mut leaf, at) = self.descend(edge, &mut path);
        self.len += 1;
        for level in 0..path.len {
            let (mut node, index) = path.at(level);
            node.counts[index] += 1;
        }
        if leaf.len < LEAF_MAX {
            leaf.insert(at, score, member);
            if at == 0 {
                describe_up(&path, leaf);
            }
            return;
        }
        self.insert_into_full(path, leaf, at, score, member);
    }

    /// Inserts where the leaf has no room: into a new leaf at either end, shared with a neighbour, or by splitting.
    #[cold]
    fn insert_into_full(
        &mut self,
        mut path: Path,
        leaf: LeafPtr,
        at: usize,
        score: f64,
        member: Handle,
    ) {
        if path.len == 0 {
            let root = self.grow_root(Branch {
                score: leaf.scores[0],
                member: leaf.members[0],
                count: self.len,
                child: leaf.raw(),
            });
            path.push(root, 0);
        }
        let level = path.len - 1;
        let (mut parent, index) = path.at(level);
        let at_end = at == leaf.len && leaf.next.is_none();
        let at_start = at == 0 && leaf.previous.is_none();
        if at_end || at_start {
            let mut new = self.new_leaf();
            new.insert(0, score, member);
            link(leaf, new, at_end);
            parent.counts[index] -= 1;
            let branch = Branch {
                score,
                member,
                count: 1,
                child: new.raw(),
            };
            let place = index + usize::from(at_end);
            if at_start {
                // On the left edge: the new element is the first below all nodes of the way.
                for above in 0..level {
                    let (mut node, index) = path.at(above);
                    (node.scores[index], node.members[index]) = (score, member);
                }
            }
            self.insert_child(&path, level, place, branch);
            return;
        }
        let room = |neighbour: Option<usize>| {
            neighbour
                .filter(|at| *at < parent.len)
                .map_or(0, |at| LEAF_MAX - parent.counts[at])
        };
        let left = index.checked_sub(1);
        let first = if room(left) > room(Some(index + 1)) || index + 1 >= parent.len {
            left.unwrap_or(index)
        } else {
            index
        };
        let mut leaves = [leaf; 3];
        let held = (parent.len - first).min(2);
        let mut pool = Pool::new();
        for (step, place) in leaves.iter_mut().take(held).enumerate() {
            let mut this = LeafPtr::of(parent.children[first + step]);
            *place = this;
            let offset = pool.len;
            pool.take(this);
            if this == leaf {
                pool.insert(offset + at, score, member);
            }
            this.len = 0;
        }
        let share = held == 2 && 2 * LEAF_MAX + 1 - pool.len > SHARE_ROOM;
        let used = if share { held } else { held + 1 };
        if !share {
            leaves[held] = self.new_leaf();
            link(leaves[held - 1], leaves[held], true);
        }
        pool.deal(&mut leaves[..used]);
        for (step, leaf) in leaves.iter().take(held).enumerate() {
            parent.describe_leaf(first + step, *leaf);
        }
        describe_above(&path, level);
        if !share {
            let new = leaves[held];
            let branch = Branch {
                score: new.scores[0],
                member: new.members[0],
                count: new.len,
                child: new.raw(),
            };
            self.insert_child(&path, level, first + held, branch);
        }
    }

    fn new_leaf(&mut self) -> LeafPtr {
        self.leaves += 1;
        LeafPtr::new()
    }

    fn new_inner(&mut self) -> InnerPtr {
        self.inners += 1;
        InnerPtr::new()
    }

    /// Puts a new root above the old one.
    fn grow_root(&mut self, old: Branch) -> InnerPtr {
        let mut root = self.new_inner();
        root.insert(0, old);
        self.root = root.raw();
        self.height += 1;
        root
    }

    /// Adds a child to the inner node of a level of the way, splitting it if it is full. Its elements are counted in
    /// the nodes above already.
    fn insert_child(&mut self, path: &Path, level: usize, at: usize, branch: Branch) {
        let (mut node, _) = path.at(level);
        if node.len < FAN {
            node.insert(at, branch);
            return;
        }
        let mut new = self.new_inner();
        if at == FAN {
            // Behind all others: most likely the tree is being filled in ascending order.
            let moved = if path.on_right_edge(level) {
                0
            } else {
                FAN / 2
            };
            node.give_right(&mut new, moved);
            let end = new.len;
            new.insert(end, branch);
        } else {
            node.give_right(&mut new, FAN / 2);
            if at <= node.len {
                node.insert(at, branch);
            } else {
                let at = at - node.len;
                new.insert(at, branch);
            }
        }
        let (old, new) = (node.branch(node.raw()), new.branch(new.raw()));
        if level == 0 {
            let mut root = self.grow_root(old);
            root.insert(1, new);
            return;
        }
        let (mut parent, index) = path.at(level - 1);
        parent.counts[index] = old.count;
        self.insert_child(path, level - 1, index + 1, new);
    }

    /// Walks to an element; none if it is not there. Records the way.
    #[inline]
    fn descend_to_key(
        &self,
        score: f64,
        member: &[u8],
        path: &mut Path,
    ) -> Option<(LeafPtr, usize)> {
        // Behind it: the edge before the first of a leaf is found at the end of the leaf before.
        let edge = Edge::Key {
            score,
            member,
            past: true,
        };
        let (leaf, behind) = self.descend(edge, path);
        let at = behind.checked_sub(1)?;
        // SAFETY: members of the tree are alive.
        (unsafe { leaf.members[at].bytes() } == member).then_some((leaf, at))
    }

    /// Removes an element; whether it was there. O(log n).
    pub(super) fn remove(&mut self, score: f64, member: &[u8]) -> bool {
        let mut path = Path::new();
        let found = self.descend_to_key(score, member, &mut path);
        if let Some((leaf, at)) = found {
            self.remove_from_leaf(&path, leaf, at, 1);
        }
        found.is_some()
    }

    /// Removes the element of this rank and up to `max - 1` that follow it, as many as stand in the same leaf, and
    /// hands them over; how many. O(log n).
    pub(super) fn remove_run(
        &mut self,
        rank: usize,
        max: usize,
        mut take: impl FnMut(f64, Handle),
    ) -> usize {
        if rank >= self.len || max == 0 {
            return 0;
        }
        let mut path = Path::new();
        let (leaf, at) = self.descend_to(rank, &mut path);
        let count = max.min(leaf.len - at);
        for index in at..at + count {
            take(leaf.scores[index], leaf.members[index]);
        }
        self.remove_from_leaf(&path, leaf, at, count);
        count
    }

    /// Gives an element another score; `member` is the same member's handle. O(log n), and nothing moves if it keeps
    /// its place between its neighbours.
    ///
    /// # Safety
    /// As for [`Tree::insert`]; the element is in the tree.
    #[allow(clippy::expect_used)]
    pub(super) unsafe fn change_score(&mut self, old: f64, new: f64, member: Handle) {
        // SAFETY: alive, as the caller vouches.
        let bytes = unsafe { member.bytes() };
        let mut path = Path::new();
        assert!(!new.is_nan(), "NaN has no place in the order");
        let found = self.descend_to_key(old, bytes, &mut path);
        // Anything else would leave an address in the tree that nobody keeps alive.
        let (mut leaf, at) = found
            .filter(|(leaf, at)| leaf.members[*at] == member)
            .expect("the element is in the tree");
        let inside = at > 0 || leaf.previous.is_none();
        let after = at == 0 || leaf.scores[at - 1] < new;
        let before = if at + 1 < leaf.len {
            new < leaf.scores[at + 1]
        } else {
            leaf.next.is_none()
        };
        if inside && after && before {
            leaf.scores[at] = new;
            if at == 0 {
                describe_up(&path, leaf);
            }
            return;
        }
        self.remove_from_leaf(&path, leaf, at, 1);
        // SAFETY: passed on.
        unsafe { self.insert(new, member) };
    }

    fn remove_from_leaf(&mut self, path: &Path, mut leaf: LeafPtr, at: usize, count: usize) {
        leaf.remove(at, count);
        self.len -= count;
        for level in 0..path.len {
            let (mut node, index) = path.at(level);
            node.counts[index] -= count;
        }
        let Some(level) = path.len.checked_sub(1) else {
            return;
        };
        if leaf.len == 0 {
            self.free_leaf(leaf);
            self.remove_child(path, level, path.at(level).1);
            return;
        }
        if at == 0 {
            describe_up(path, leaf);
        }
        if leaf.len < LEAF_LOW {
            self.relieve_leaf(path, level, leaf);
        }
    }

    /// Merges a leaf that has become small with a neighbour, or takes some of the neighbour's elements.
    fn relieve_leaf(&mut self, path: &Path, level: usize, leaf: LeafPtr) {
        let (mut parent, index) = path.at(level);
        let edge = leaf.previous.is_none() || leaf.next.is_none();
        let merged = if edge { LEAF_LOW } else { LEAF_MERGED };
        let firsts = [Some(index), index.checked_sub(1)];
        let pairs = firsts.into_iter().flatten();
        let pairs = pairs.filter(|first| first + 1 < parent.len);
        for first in pairs.clone() {
            if parent.counts[first] + parent.counts[first + 1] > merged {
                continue;
            }
            let mut left = LeafPtr::of(parent.children[first]);
            let right = LeafPtr::of(parent.children[first + 1]);
            let to = left.len..left.len + right.len;
            left.scores[to.clone()].copy_from_slice(&right.scores[..right.len]);
            left.members[to].copy_from_slice(&right.members[..right.len]);
            left.len += right.len;
            parent.describe_leaf(first, left);
            self.free_leaf(right);
            self.remove_child(path, level, first + 1);
            return;
        }
        if edge || leaf.len >= LEAF_MIN {
            return;
        }
        if let Some(first) = pairs.into_iter().next() {
            let mut leaves = [first, first + 1].map(|at| LeafPtr::of(parent.children[at]));
            let mut pool = Pool::new();
            pool.take(leaves[0]);
            pool.take(leaves[1]);
            pool.deal(&mut leaves);
            parent.describe_leaf(first, leaves[0]);
            parent.describe_leaf(first + 1, leaves[1]);
            describe_above(path, level);
        }
    }

    /// Takes a leaf out of the chain and frees it.
    fn free_leaf(&mut self, leaf: LeafPtr) {
        if let Some(mut previous) = leaf.previous {
            previous.next = leaf.next;
        }
        if let Some(mut next) = leaf.next {
            next.previous = leaf.previous;
        }
        leaf.free();
        self.leaves -= 1;
    }

    /// Removes a child from the inner node of a level of the way. Its elements are not counted above it any more, or
    /// are counted for its neighbour.
    fn remove_child(&mut self, path: &Path, level: usize, at: usize) {
        let (mut node, _) = path.at(level);
        node.remove(at);
        if level == 0 {
            self.shrink_root();
            return;
        }
        if node.len == 0 {
            self.free_inner(node);
            self.remove_child(path, level - 1, path.at(level - 1).1);
            return;
        }
        if at == 0 {
            describe_above(path, level);
        }
        if node.len < INNER_LOW {
            self.relieve_inner(path, level, node);
        }
    }

    /// Merges an inner node that has become small with a neighbour, or takes some of the neighbour's children.
    fn relieve_inner(&mut self, path: &Path, level: usize, node: InnerPtr) {
        let (mut parent, index) = path.at(level - 1);
        let edge = path.on_edge(level);
        let merged = if edge { INNER_LOW } else { INNER_MERGED };
        let firsts = [Some(index), index.checked_sub(1)];
        let pairs = firsts.into_iter().flatten();
        let pairs = pairs.filter(|first| first + 1 < parent.len);
        for first in pairs.clone() {
            let mut left = InnerPtr::of(parent.children[first]);
            let mut right = InnerPtr::of(parent.children[first + 1]);
            if left.len + right.len > merged {
                continue;
            }
            let all = right.len;
            right.give_left(&mut left, all);
            parent.counts[first] += parent.counts[first + 1];
            self.free_inner(right);
            self.remove_child(path, level - 1, first + 1);
            return;
        }
        if edge || node.len >= INNER_MIN {
            return;
        }
        if let Some(first) = pairs.into_iter().next() {
            let mut left = InnerPtr::of(parent.children[first]);
            let mut right = InnerPtr::of(parent.children[first + 1]);
            let half = (left.len + right.len) / 2;
            if left.len > half {
                let count = left.len - half;
                left.give_right(&mut right, count);
            } else {
                let count = half - left.len;
                right.give_left(&mut left, count);
            }
            for (at, side) in [(first, left), (first + 1, right)] {
                let branch = side.branch(side.raw());
                parent.scores[at] = branch.score;
                parent.members[at] = branch.member;
                parent.counts[at] = branch.count;
            }
        }
    }

    fn free_inner(&mut self, node: InnerPtr) {
        node.free();
        self.inners -= 1;
    }

    /// A root with a single child gives way to it; one without becomes an empty leaf.
    fn shrink_root(&mut self) {
        while self.height > 0 {
            let root = InnerPtr::of(self.root);
            match root.len {
                0 => {
                    self.root = self.new_leaf().raw();
                    self.height = 0;
                }
                1 => {
                    self.root = root.children[0];
                    self.height -= 1;
                }
                _ => return,
            }
            self.free_inner(root);
        }
    }

    /// The leaf at the left end.
    fn first_leaf(&self) -> LeafPtr {
        let mut child = self.root;
        for _ in 0..self.height {
            child = InnerPtr::of(child).children[0];
        }
        LeafPtr::of(child)
    }

    /// Asserts every invariant of the module's documentation.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        let mut level = vec![(self.root, true, None::<(f64, Handle, usize)>)];
        let mut inners = 0;
        for _ in 0..self.height {
            let mut below = Vec::new();
            let last = level.len() - 1;
            for (at, (child, on_edge, known)) in level.iter().enumerate() {
                let node = InnerPtr::of(*child);
                inners += 1;
                let edge = at == 0 || at == last;
                assert!(node.len >= if edge { 1 } else { INNER_MIN } && node.len <= FAN);
                assert!(*on_edge || node.len > 1 || at == 0 || at == last);
                if let Some((score, member, count)) = known {
                    assert!(*score == node.scores[0] && *member == node.members[0]);
                    assert_eq!(*count, node.total());
                }
                for index in 0..node.len {
                    let known = (node.scores[index], node.members[index], node.counts[index]);
                    below.push((node.children[index], edge, Some(known)));
                }
            }
            level = below;
        }
        assert!(self.height == 0 || InnerPtr::of(self.root).len > 1);
        let last = level.len() - 1;
        let mut previous = None;
        let mut total = 0;
        let mut highest: Option<(f64, &[u8])> = None;
        for (at, (child, _, known)) in level.iter().enumerate() {
            let leaf = LeafPtr::of(*child);
            assert!(leaf.previous == previous);
            if let Some(previous) = previous {
                assert!(previous.next == Some(leaf));
            }
            previous = Some(leaf);
            let least = match (self.height, at == 0 || at == last) {
                (0, _) => 0,
                (_, true) => 1,
                (_, false) => LEAF_MIN,
            };
            assert!(leaf.len >= least && leaf.len <= LEAF_MAX);
            if let Some((score, member, count)) = known {
                assert!(*score == leaf.scores[0] && *member == leaf.members[0]);
                assert_eq!(*count, leaf.len);
            }
            total += leaf.len;
            for index in 0..leaf.len {
                // SAFETY: members of the tree are alive.
                let this = (leaf.scores[index], unsafe { leaf.members[index].bytes() });
                assert!(highest.is_none_or(|highest| highest < this), "out of order");
                highest = Some(this);
            }
        }
        assert!(previous.is_some_and(|last| last.next.is_none()));
        assert_eq!(total, self.len);
        assert_eq!((level.len(), inners), (self.leaves, self.inners));
    }
}

/// Puts a new leaf into the chain, behind or before another.
fn link(mut beside: LeafPtr, mut new: LeafPtr, behind: bool) {
    if behind {
        new.previous = Some(beside);
        new.next = beside.next;
        if let Some(mut next) = beside.next {
            next.previous = Some(new);
        }
        beside.next = Some(new);
    } else {
        new.next = Some(beside);
        new.previous = beside.previous;
        if let Some(mut previous) = beside.previous {
            previous.next = Some(new);
        }
        beside.previous = Some(new);
    }
}

/// Corrects the separators of a leaf whose first element is another one.
fn describe_up(path: &Path, leaf: LeafPtr) {
    if let Some(level) = path.len.checked_sub(1) {
        let (mut parent, index) = path.at(level);
        parent.scores[index] = leaf.scores[0];
        parent.members[index] = leaf.members[0];
        if index == 0 {
            describe_above(path, level);
        }
    }
}

/// Corrects the separators above the inner node of a level, whose first one may have changed.
fn describe_above(path: &Path, level: usize) {
    for above in (0..level).rev() {
        let (child, _) = path.at(above + 1);
        let (mut node, index) = path.at(above);
        node.scores[index] = child.scores[0];
        node.members[index] = child.members[0];
        if index != 0 {
            return;
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Level by level, from the leaves' chain: the height bounds the loop, nothing recurses.
        let mut leaf = Some(self.first_leaf());
        let mut level: Vec<NonNull<u8>> = vec![self.root];
        for _ in 0..self.height {
            let mut below = Vec::new();
            for child in level {
                let node = InnerPtr::of(child);
                below.extend_from_slice(&node.children[..node.len]);
                node.free();
            }
            level = below;
        }
        while let Some(this) = leaf {
            leaf = this.next;
            this.free();
        }
    }
}

/// Neighbours in the order.
pub(super) struct Iter<'a> {
    place: Option<(LeafPtr, usize)>,
    left: usize,
    reverse: bool,
    tree: PhantomData<&'a Tree>,
}

/// How many elements ahead members are prefetched: they are scattered in memory.
const PREFETCH_AHEAD: usize = 6;

impl Iterator for Iter<'_> {
    type Item = (Handle, f64);

    #[inline]
    fn next(&mut self) -> Option<(Handle, f64)> {
        let (leaf, at) = self.place.filter(|_| self.left > 0)?;
        self.left -= 1;
        let item = (leaf.members[at], leaf.scores[at]);
        self.place = if self.reverse {
            if let Some(ahead) = at.checked_sub(PREFETCH_AHEAD) {
                leaf.members[ahead].prefetch();
            }
            match at.checked_sub(1) {
                Some(at) => Some((leaf, at)),
                None => leaf.previous.map(|leaf| (leaf, leaf.len - 1)),
            }
        } else {
            if at + PREFETCH_AHEAD < leaf.len {
                leaf.members[at + PREFETCH_AHEAD].prefetch();
            }
            if at + 1 < leaf.len {
                Some((leaf, at + 1))
            } else {
                leaf.next.map(|leaf| (leaf, 0))
            }
        };
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}
