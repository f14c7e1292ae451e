//! The value of a sorted set: members with a score each, in the order of scores (t_zset.c).
//!
//! In come members and scores; out come scores, ranks, and members in order. A small set is a [`Listpack`] in which
//! member and score alternate, byte-compatible with Redis's. A large one is a [`Dict`] of members, for what is asked
//! by member, and a [`tree`] of the same members, for what is asked by order. Redis calls that `skiplist`, so it is
//! reported by this name.
//!
//! The order is score, then the bytes of the member, the shorter first. Ranks count from 0 at the lowest. Scores are
//! never NaN, for which there is no place in an order: a change that would store one is refused. `-0` and `0` are the
//! same score.
//!
//! # Invariants
//!
//! - a listpack has an even number of elements, in order, each member once;
//! - a large set's dict and tree have the same members, and each member's score is the one in the tree.

#![allow(unsafe_code)]

mod builder;
mod member;
mod range;
#[cfg(test)]
mod tests;
mod tree;

pub use builder::Builder;
pub use range::{LexBound, LexRange, ScoreRange};

use super::Collection;
use super::dict::{Dict, Distribution, HashSeed};
use super::listpack::{Item, Listpack, Position};
use crate::system::numbers::{parse_f64, write_double};
use crate::system::rng::Rng;
use crate::system::size_class::size_class;
use member::{Handle, Member};
use std::collections::HashSet;
use std::ops::Range;
use tree::{Edge, LEAF_MAX, Tree};

/// Members that are drawn anew until they are different have to be at most one in so many of the set.
const DRAW_AGAIN_UP_TO_A: usize = 3;

/// Until when a set stays a listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `zset-max-listpack-entries`: most members.
    pub max_entries: usize,
    /// `zset-max-listpack-value`: longest member, bytes.
    pub max_value: usize,
}

/// What became of a member that was to be added or changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// It is new, with this score.
    Added(f64),
    /// It had another score than this.
    Updated(f64),
    /// It had this score already.
    Same(f64),
    /// It was not wanted, or the score is NaN: nothing changed.
    Refused,
}

/// Members with scores, in order.
pub struct SortedSet {
    shape: Shape,
}

enum Shape {
    Small { pack: Listpack, seed: HashSeed },
    Large(Box<Large>),
}

struct Large {
    // Dropped before the dict, which owns the members; it does not look at them then.
    tree: Tree,
    dict: Dict<Member>,
    seed: HashSeed,
}

impl Large {
    fn new(seed: HashSeed) -> Large {
        Large {
            tree: Tree::new(),
            dict: Dict::new(seed),
            seed,
        }
    }

    /// Adds a member that is not there; `hash` is its dict's.
    fn insert_new(&mut self, hash: u64, member: &[u8], score: f64) {
        let member = Member::new(score, member);
        let handle = member.handle();
        self.dict.insert_new_hashed(hash, member);
        // SAFETY: the dict keeps the member until it is removed from both, from the tree first.
        unsafe { self.tree.insert(score, handle) };
    }

    fn push(&mut self, member: &[u8], score: f64) {
        let hash = self.dict.hash(member);
        self.insert_new(hash, member, score);
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        // Not whole (a builder that did not finish, a panic in the middle of a change): the dict frees what it owns.
        if self.tree.len() != self.dict.len() {
            return;
        }
        // Members lie all over the memory. In the tree's order they can be asked for ahead, which the dict could not.
        let all = self.tree.iter(0, usize::MAX, false);
        self.dict.forget_all();
        for (handle, _) in all {
            // SAFETY: the dict has forgotten the member, so this frees it once; the tree will not look at it again.
            drop(unsafe { handle.into_member() });
        }
    }
}

/// The score in an element of a listpack. One from outside may be anything: what is no number counts as 0.
fn score_in(item: Item<'_>) -> f64 {
    match item {
        Item::Int(score) => score as f64,
        Item::Bytes(text) => parse_f64(text).unwrap_or(0.0),
    }
}

/// A member of a listpack, the place of its score, and its own.
#[derive(Clone, Copy)]
struct Pair<'a> {
    member: Item<'a>,
    at: Position,
    score_at: Position,
}

fn pair_at(pack: &Listpack, at: Option<Position>) -> Option<Pair<'_>> {
    let at = at?;
    Some(Pair {
        member: pack.get(at),
        at,
        score_at: pack.next(at)?,
    })
}

fn small_find(pack: &Listpack, member: &[u8]) -> Option<(Position, f64)> {
    let at = pack.find(pack.first()?, member, 1)?;
    Some((at, score_in(pack.get(pack.next(at)?))))
}

/// Inserts a member that is not there, in its place in the order.
fn small_insert(pack: &mut Listpack, member: &[u8], score: f64) {
    let mut text = Vec::with_capacity(32);
    // Redis stores a zero without its sign here, as an integer.
    write_double(&mut text, if score == 0.0 { 0.0 } else { score });
    let mut at = pack.first();
    let last = pack.last().map(|at| score_in(pack.get(at)));
    if last.is_none_or(|last| last < score) {
        at = None;
    }
    while let Some(pair) = pair_at(pack, at) {
        let other = score_in(pack.get(pair.score_at));
        let behind =
            other > score || (other == score && pair.member.with_bytes(|bytes| bytes > member));
        if behind {
            break;
        }
        at = pack.next(pair.score_at);
    }
    match at {
        Some(at) => {
            let at = pack.insert_before(at, member);
            pack.insert_after(at, &text);
        }
        None => {
            pack.push_back(member);
            pack.push_back(&text);
        }
    }
}

impl SortedSet {
    /// An empty one, small. `seed` keys its hash table, if it gets one.
    pub fn new(seed: HashSeed) -> SortedSet {
        SortedSet {
            shape: Shape::Small {
                pack: Listpack::new(),
                seed,
            },
        }
    }

    /// An empty one that is large from the beginning, for results of unknown size; [`SortedSet::fit`] makes it small
    /// in the end where it may be.
    pub fn new_large(seed: HashSeed) -> SortedSet {
        SortedSet {
            shape: Shape::Large(Box::new(Large::new(seed))),
        }
    }

    /// As ZADD creates one for its first member: small unless the limits forbid it.
    pub fn for_first(seed: HashSeed, member: &[u8], limits: Limits) -> SortedSet {
        if limits.max_entries == 0 || member.len() > limits.max_value {
            SortedSet::new_large(seed)
        } else {
            SortedSet::new(seed)
        }
    }

    /// Makes a small set large before a command adds so many members, some of which it may have already: Redis does not
    /// look at them either.
    pub fn expect(&mut self, count: usize, limits: Limits) {
        if count > limits.max_entries {
            self.make_large();
        }
    }

    /// Takes a listpack from outside (RESTORE). The caller has checked that it has pairs, each member once.
    pub fn from_listpack(pack: Listpack, seed: HashSeed) -> SortedSet {
        SortedSet {
            shape: Shape::Small { pack, seed },
        }
    }

    /// The listpack of a small set (DUMP).
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.shape {
            Shape::Small { pack, .. } => Some(pack),
            Shape::Large(_) => None,
        }
    }

    /// The score of a member. O(1) in a large set.
    pub fn score_of(&self, member: &[u8]) -> Option<f64> {
        match &self.shape {
            Shape::Small { pack, .. } => small_find(pack, member).map(|(_, score)| score),
            Shape::Large(large) => large.dict.find(member).map(|member| member.score()),
        }
    }

    /// Adds a member or changes its score; NaN is refused.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: Limits) -> Change {
        self.update(member, limits, |_| Some(score))
    }

    /// Adds a member or changes its score to what `decide` makes of the present score (none: it is not there). When
    /// that is nothing, or NaN, nothing is changed. One look-up, and O(log n) where the score changes.
    pub fn update(
        &mut self,
        member: &[u8],
        limits: Limits,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Change {
        // NaN compares with nothing: in a tree it would never be found again.
        let decide = |present| decide(present).filter(|score| !score.is_nan());
        match &mut self.shape {
            Shape::Large(large) => update_large(large, member, decide),
            Shape::Small { pack, .. } => {
                let found = small_find(pack, member);
                let Some(score) = decide(found.map(|(_, score)| score)) else {
                    return Change::Refused;
                };
                match found {
                    Some((_, old)) if old == score => return Change::Same(score),
                    Some((at, _)) => {
                        pack.remove_many(at, 2);
                        small_insert(pack, member, score);
                        return Change::Updated(score);
                    }
                    None => {}
                }
                let fits = pack.len() / 2 < limits.max_entries
                    && member.len() <= limits.max_value
                    && pack.has_room(member.len());
                if fits {
                    small_insert(pack, member, score);
                } else {
                    self.make_large().push(member, score);
                }
                Change::Added(score)
            }
        }
    }

    /// Removes a member; the score that it had. O(log n).
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.shape {
            Shape::Small { pack, .. } => {
                let (at, score) = small_find(pack, member)?;
                pack.remove_many(at, 2);
                Some(score)
            }
            Shape::Large(large) => {
                let found = large.dict.find_mut(member)?;
                let score = found.score();
                // What the tree still had would be read after the member is freed.
                let removed = large.tree.remove(score, found.bytes());
                assert!(removed, "a member of the dict is in the tree");
                found.remove();
                Some(score)
            }
        }
    }

    /// Rank and score of a member. O(log n).
    pub fn rank_of(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.shape {
            Shape::Small { pack, .. } => {
                let mut at = pack.first();
                let mut rank = 0;
                while let Some(pair) = pair_at(pack, at) {
                    if pair.member.is(member) {
                        return Some((rank, score_in(pack.get(pair.score_at))));
                    }
                    rank += 1;
                    at = pack.next(pair.score_at);
                }
                None
            }
            Shape::Large(large) => {
                let score = large.dict.find(member)?.score();
                let edge = Edge::Key {
                    score,
                    member,
                    past: false,
                };
                Some((large.tree.rank(edge), score))
            }
        }
    }

    /// The ranks of the members with a score in a range. O(log n).
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        match &self.shape {
            Shape::Small { pack, .. } => small_ranks(
                pack,
                |pair| range.reaches(score_in(pack.get(pair.score_at))),
                |pair| range.keeps(score_in(pack.get(pair.score_at))),
            ),
            Shape::Large(large) => {
                let start = large.tree.rank(Edge::Score {
                    score: range.min,
                    past: range.min_exclusive,
                });
                let end = large.tree.rank(Edge::Score {
                    score: range.max,
                    past: !range.max_exclusive,
                });
                start..end.max(start)
            }
        }
    }

    /// The ranks of the members in a range of their bytes; meaningful where all scores are the same. O(log n).
    pub fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        match &self.shape {
            Shape::Small { pack, .. } => small_ranks(
                pack,
                |pair| pair.member.with_bytes(|member| range.reaches(member)),
                |pair| pair.member.with_bytes(|member| range.keeps(member)),
            ),
            Shape::Large(large) => {
                let rank = |bound: LexBound<'_>, lower: bool| {
                    let (member, past) = match bound {
                        LexBound::Lowest => return 0,
                        LexBound::Highest => return large.tree.len(),
                        LexBound::Including(member) => (member, !lower),
                        LexBound::Excluding(member) => (member, lower),
                    };
                    large.tree.rank(Edge::Lex { member, past })
                };
                let (start, end) = (rank(range.min, true), rank(range.max, false));
                start..end.max(start)
            }
        }
    }

    /// Up to `count` members with their scores from the one of this rank on, upwards, or downwards with `reverse`.
    pub fn iter_from(&self, rank: usize, count: usize, reverse: bool) -> Iter<'_> {
        Iter(self.walk(rank, count, reverse))
    }

    /// All members with their scores, the lowest first.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0, usize::MAX, false)
    }

    /// The members that [`SortedSet::iter_from`] gives, without reading their scores.
    pub fn members_from(&self, rank: usize, count: usize, reverse: bool) -> Members<'_> {
        Members(self.walk(rank, count, reverse))
    }

    fn walk(&self, rank: usize, count: usize, reverse: bool) -> Walk<'_> {
        match &self.shape {
            Shape::Small { pack, .. } => {
                let len = pack.len() / 2;
                let room = match (rank < len, reverse) {
                    (false, _) => 0,
                    (true, true) => rank + 1,
                    (true, false) => len - rank,
                };
                let index = i64::try_from(rank.saturating_mul(2)).ok();
                Walk::Small {
                    pack,
                    at: index.filter(|_| room > 0).and_then(|at| pack.seek(at)),
                    left: count.min(room),
                    reverse,
                }
            }
            Shape::Large(large) => Walk::Large(large.tree.iter(rank, count, reverse)),
        }
    }

    /// Takes out the members of these ranks; how many there were. O(log n) and a little for each.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) -> usize {
        let end = ranks.end.min(self.len());
        let count = end.saturating_sub(ranks.start);
        if count == 0 {
            return 0;
        }
        match &mut self.shape {
            Shape::Small { pack, .. } => {
                // Small: its ranks are far below the limits of the numbers.
                if let Some(at) = pack.seek(2 * ranks.start as i64) {
                    pack.remove_many(at, 2 * count);
                }
            }
            Shape::Large(large) => {
                let mut left = count;
                while left > 0 {
                    let mut run = [Handle::NONE; LEAF_MAX];
                    let mut taken = 0;
                    let removed = large.tree.remove_run(ranks.start, left, |_, handle| {
                        handle.prefetch();
                        run[taken] = handle;
                        taken += 1;
                    });
                    for handle in &run[..taken] {
                        // SAFETY: not in the tree any more, but still alive: the dict has it.
                        large.dict.remove(unsafe { handle.bytes() });
                    }
                    left -= removed.clamp(1, left);
                }
            }
        }
        count
    }

    /// Takes out the lowest or the highest member and hands it over.
    pub fn pop<R>(&mut self, highest: bool, read: impl FnOnce(Item<'_>, f64) -> R) -> Option<R> {
        match &mut self.shape {
            Shape::Small { pack, .. } => {
                let at = if highest {
                    pack.previous(pack.last()?)
                } else {
                    pack.first()
                };
                let pair = pair_at(pack, at)?;
                let answer = read(pair.member, score_in(pack.get(pair.score_at)));
                let at = pair.at;
                pack.remove_many(at, 2);
                Some(answer)
            }
            Shape::Large(large) => {
                let rank = if highest {
                    large.tree.len().checked_sub(1)?
                } else {
                    0
                };
                let mut popped = None;
                let take = |score, handle| popped = Some((score, handle));
                large.tree.remove_run(rank, 1, take);
                let (score, handle) = popped?;
                // SAFETY: not in the tree any more, but still alive: the dict has it.
                let member = large.dict.remove(unsafe { handle.bytes() })?;
                Some(read(Item::Bytes(member.bytes()), score))
            }
        }
    }

    /// A member at random, each with the same chance.
    pub fn random(&self, rng: &mut Rng) -> Option<(Item<'_>, f64)> {
        match &self.shape {
            Shape::Small { pack, .. } => {
                let rank = rng.index(pack.len() / 2);
                self.iter_from(rank, 1, false).next()
            }
            Shape::Large(large) => {
                let member = large.dict.random(&mut || rng.next_u64())?;
                Some((Item::Bytes(member.key()), member.score()))
            }
        }
    }

    /// `count` different members, or all where there are not more; each choice of so many has the same chance. O(count),
    /// and O(n) where that is much of it.
    pub fn sample<'a>(
        &'a self,
        count: usize,
        rng: &mut Rng,
        mut each: impl FnMut((Item<'a>, f64)),
    ) {
        let len = self.len();
        if count >= len {
            self.iter().for_each(each);
            return;
        }
        // Drawing until they are different gives every combination the same chance, too, but takes long when few are
        // left to be drawn.
        match &self.shape {
            Shape::Large(large) if count.saturating_mul(DRAW_AGAIN_UP_TO_A) <= len => {
                let mut seen = HashSet::with_capacity(count);
                while seen.len() < count {
                    let Some(member) = large.dict.random(&mut || rng.next_u64()) else {
                        return;
                    };
                    if seen.insert(member.raw()) {
                        each((Item::Bytes(member.key()), member.score()));
                    }
                }
            }
            _ => {
                let mut all: Vec<_> = self.iter().collect();
                for index in 0..count {
                    let from = index + rng.index(len - index);
                    all.swap(index, from);
                    each(all[index]);
                }
            }
        }
    }

    /// Shape of the hash table, if it has one (DEBUG HTSTATS-KEY).
    pub fn distribution(&self) -> Option<Distribution> {
        match &self.shape {
            Shape::Small { .. } => None,
            Shape::Large(large) => Some(large.dict.distribution()),
        }
    }

    /// One step of a scan with a cursor ([`Dict::scan`]); a small set is emitted whole.
    pub fn scan<'a>(&'a self, cursor: u64, mut emit: impl FnMut(Item<'a>, f64)) -> u64 {
        match &self.shape {
            Shape::Small { .. } => {
                self.iter().for_each(|(member, score)| emit(member, score));
                0
            }
            Shape::Large(large) => large.dict.scan(cursor, |member| {
                // SAFETY: in the dict, so alive as long as the set is borrowed.
                let bytes = unsafe { member.handle().bytes() };
                emit(Item::Bytes(bytes), member.score());
            }),
        }
    }

    /// Makes a large set small where the limits allow it (Redis's `zsetConvertToListpackIfNeeded`).
    pub fn fit(&mut self, limits: Limits) {
        let Shape::Large(large) = &self.shape else {
            return;
        };
        if large.tree.len() > limits.max_entries {
            return;
        }
        let mut bytes = 0usize;
        for member in self.members_from(0, usize::MAX, false) {
            bytes = bytes.saturating_add(member.len());
            if member.len() > limits.max_value {
                return;
            }
        }
        let mut pack = Listpack::new();
        if !pack.has_room(bytes) {
            return;
        }
        let mut text = Vec::with_capacity(32);
        for (member, score) in self.iter() {
            member.with_bytes(|member| pack.push_back(member));
            text.clear();
            write_double(&mut text, if score == 0.0 { 0.0 } else { score });
            pack.push_back(&text);
        }
        let seed = large.seed;
        self.shape = Shape::Small { pack, seed };
    }

    /// Makes it large for good (SORT does).
    pub fn unpack(&mut self) {
        self.make_large();
    }

    /// Makes it large, if it is not.
    fn make_large(&mut self) -> &mut Large {
        if let Shape::Small { seed, .. } = self.shape {
            let mut large = Box::new(Large::new(seed));
            for (member, score) in self.iter() {
                member.with_bytes(|member| {
                    // A listpack from outside may have been trusted too much.
                    if large.dict.find(member).is_none() {
                        large.push(member, score);
                    }
                });
            }
            self.shape = Shape::Large(large);
        }
        match &mut self.shape {
            Shape::Large(large) => large,
            Shape::Small { .. } => unreachable!("just made large"),
        }
    }

    /// Asserts every invariant of the module's documentation. Reads every member.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        match &self.shape {
            Shape::Small { pack, .. } => {
                assert_eq!(pack.len() % 2, 0);
                let mut before: Option<(f64, Vec<u8>)> = None;
                for (member, score) in self.iter() {
                    let this = (score, member.to_vec());
                    assert!(before.is_none_or(|before| before < this), "out of order");
                    before = Some(this);
                }
            }
            Shape::Large(large) => {
                large.tree.check_invariants();
                large.dict.check_invariants();
                assert_eq!(large.tree.len(), large.dict.len());
                for (handle, score) in large.tree.iter(0, usize::MAX, false) {
                    // SAFETY: in the tree, so alive.
                    let found = large.dict.find(unsafe { handle.bytes() });
                    assert!(found.is_some_and(|found| found.handle() == handle
                        && found.score().to_bits() == score.to_bits()));
                }
            }
        }
    }
}

fn update_large(
    large: &mut Large,
    member: &[u8],
    decide: impl FnOnce(Option<f64>) -> Option<f64>,
) -> Change {
    let hash = large.dict.hash(member);
    if let Some(mut found) = large.dict.find_mut_hashed(hash, member) {
        let old = found.score();
        let Some(score) = decide(Some(old)) else {
            return Change::Refused;
        };
        if score == old {
            return Change::Same(score);
        }
        found.set_score(score);
        let handle = found.handle();
        drop(found);
        // SAFETY: the member is in the dict, and in the tree with its old score.
        unsafe { large.tree.change_score(old, score, handle) };
        return Change::Updated(score);
    }
    let Some(score) = decide(None) else {
        return Change::Refused;
    };
    large.insert_new(hash, member, score);
    Change::Added(score)
}

/// The ranks from the first pair that reaches a range to the one that does not keep in it any more.
fn small_ranks<'a>(
    pack: &'a Listpack,
    reaches: impl Fn(Pair<'a>) -> bool,
    keeps: impl Fn(Pair<'a>) -> bool,
) -> Range<usize> {
    let mut at = pack.first();
    let mut rank = 0;
    let mut start = None;
    while let Some(pair) = pair_at(pack, at) {
        if start.is_none() && reaches(pair) {
            start = Some(rank);
        }
        if start.is_some() && !keeps(pair) {
            break;
        }
        rank += 1;
        at = pack.next(pair.score_at);
    }
    start.unwrap_or(rank)..rank
}

/// A walk along the order.
enum Walk<'a> {
    Small {
        pack: &'a Listpack,
        at: Option<Position>,
        left: usize,
        reverse: bool,
    },
    Large(tree::Iter<'a>),
}

/// The score of a member that was walked to.
#[derive(Clone, Copy)]
enum Score<'a> {
    Here(f64),
    In(&'a Listpack, Position),
}

impl Score<'_> {
    fn read(self) -> f64 {
        match self {
            Score::Here(score) => score,
            Score::In(pack, at) => score_in(pack.get(at)),
        }
    }
}

impl<'a> Walk<'a> {
    #[inline]
    fn step(&mut self) -> Option<(Item<'a>, Score<'a>)> {
        match self {
            Walk::Large(iter) => {
                let (handle, score) = iter.next()?;
                // SAFETY: in the tree, so alive as long as the set is borrowed.
                let member = unsafe { handle.bytes() };
                Some((Item::Bytes(member), Score::Here(score)))
            }
            Walk::Small {
                pack,
                at,
                left,
                reverse,
            } => {
                *left = left.checked_sub(1)?;
                let pair = pair_at(pack, *at)?;
                *at = if *reverse {
                    pack.previous(pair.at).and_then(|at| pack.previous(at))
                } else {
                    pack.next(pair.score_at)
                };
                Some((pair.member, Score::In(pack, pair.score_at)))
            }
        }
    }

    fn left(&self) -> usize {
        match self {
            Walk::Small { left, .. } => *left,
            Walk::Large(iter) => iter.len(),
        }
    }
}

/// Members with their scores, in order; knows how many there are.
pub struct Iter<'a>(Walk<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = (Item<'a>, f64);
    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, f64)> {
        let (member, score) = self.0.step()?;
        Some((member, score.read()))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.left(), Some(self.0.left()))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Members in order; knows how many there are.
pub struct Members<'a>(Walk<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = Item<'a>;
    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        Some(self.0.step()?.0)
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.left(), Some(self.0.left()))
    }
}

impl ExactSizeIterator for Members<'_> {}

impl Clone for SortedSet {
    fn clone(&self) -> SortedSet {
        let shape = match &self.shape {
            Shape::Small { pack, seed } => Shape::Small {
                pack: pack.clone(),
                seed: *seed,
            },
            Shape::Large(large) => {
                let mut copy = Box::new(Large::new(large.seed));
                for (member, score) in self.iter() {
                    member.with_bytes(|member| copy.push(member, score));
                }
                Shape::Large(copy)
            }
        };
        SortedSet { shape }
    }
}

impl std::fmt::Debug for SortedSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SortedSet")
            .field("encoding", &self.encoding())
            .field("len", &self.len())
            .finish()
    }
}

impl Default for SortedSet {
    fn default() -> SortedSet {
        SortedSet::new(HashSeed::default())
    }
}

impl Collection for SortedSet {
    fn len(&self) -> usize {
        match &self.shape {
            Shape::Small { pack, .. } => pack.len() / 2,
            Shape::Large(large) => large.tree.len(),
        }
    }
    fn encoding(&self) -> &'static str {
        match &self.shape {
            Shape::Small { .. } => "listpack",
            Shape::Large(_) => "skiplist",
        }
    }
    fn memory_bytes(&self, samples: usize) -> usize {
        let own = size_class(size_of::<SortedSet>());
        match &self.shape {
            Shape::Small { pack, .. } => own + pack.memory_bytes(),
            Shape::Large(large) => {
                let len = large.dict.len();
                let counted = if samples == 0 { len } else { samples.min(len) };
                let some = large.dict.iter().take(counted);
                let bytes: usize = some.map(|member| member.memory_bytes()).sum();
                let members = bytes as u128 * len as u128 / counted.max(1) as u128;
                own + size_class(size_of::<Large>())
                    + large.dict.memory_bytes()
                    + large.tree.memory_bytes()
                    + usize::try_from(members).unwrap_or(usize::MAX / 2)
            }
        }
    }
    fn free_effort(&self) -> usize {
        match &self.shape {
            Shape::Small { .. } => 1,
            Shape::Large(large) => large.tree.len() + large.tree.nodes(),
        }
    }
}
