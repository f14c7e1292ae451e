//! A sorted set in the making, whose order does not matter until it is whole.

#![allow(unsafe_code)]

use super::member::Member;
use super::{Large, Shape, SortedSet};
use crate::structures::dict::HashSeed;
use std::cmp::Ordering;

/// Collects members with scores and puts them in order in the end: O(n) look-ups and one sort, where a sorted set
/// would be put in order again at each change (unions, intersections, stores of search results).
pub struct Builder {
    large: Box<Large>,
}

impl Builder {
    /// A builder with nothing in it.
    pub fn new(seed: HashSeed) -> Builder {
        Builder {
            large: Box::new(Large::new(seed)),
        }
    }

    /// Members so far.
    pub fn len(&self) -> usize {
        self.large.dict.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives a member the score that `decide` makes of the one that it has (none: it is not there yet). NaN is refused:
    /// nothing changes.
    pub fn put(&mut self, member: &[u8], decide: impl FnOnce(Option<f64>) -> f64) {
        let dict = &mut self.large.dict;
        let hash = dict.hash(member);
        if let Some(mut found) = dict.find_mut_hashed(hash, member) {
            let score = decide(Some(found.score()));
            if !score.is_nan() {
                found.set_score(score);
            }
            return;
        }
        let score = decide(None);
        if !score.is_nan() {
            dict.insert_new_hashed(hash, Member::new(score, member));
        }
    }

    /// Takes a member out again.
    pub fn remove(&mut self, member: &[u8]) {
        self.large.dict.remove(member);
    }

    /// The sorted set, a large one; [`SortedSet::fit`] makes it small where it may be. O(n log n).
    pub fn finish(mut self) -> SortedSet {
        let mut order: Vec<_> = self
            .large
            .dict
            .iter()
            .map(|member| (member.score(), member.handle()))
            .collect();
        order.sort_unstable_by(|(score, handle), (other_score, other)| {
            // Never NaN; and unlike `total_cmp` this takes both zeros for one.
            let by_score = score.partial_cmp(other_score);
            by_score.unwrap_or(Ordering::Equal).then_with(|| {
                // SAFETY: the dict has both members.
                let (this, other) = unsafe { (handle.bytes(), other.bytes()) };
                this.cmp(other)
            })
        });
        for (score, handle) in order {
            // SAFETY: the dict keeps the member until it is removed from both.
            unsafe { self.large.tree.insert(score, handle) };
        }
        SortedSet {
            shape: Shape::Large(self.large),
        }
    }
}
