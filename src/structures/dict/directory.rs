//! Where the buckets stand: numbered lines in segments, added and taken away at the end.
//!
//! The first segment grows and shrinks by reallocation, in steps of a quarter, so that a small dict
//! is small; every later one is allocated whole and touched line by line as buckets come into use,
//! so that growing never stalls on a large block. Invariant: `len <= capacity()`, the lines below
//! `len` are initialised, those above are not.
#![allow(unsafe_code)]

use super::node::{LINE_BYTES, Node};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::{self, NonNull};

const SEGMENT_SHIFT: u32 = 11;
/// Buckets of a segment: 128 KiB.
pub(super) const SEGMENT_BUCKETS: usize = 1 << SEGMENT_SHIFT;

pub(super) struct Directory {
    first: NonNull<u8>,
    first_capacity: usize,
    rest: Vec<NonNull<u8>>,
    len: usize,
}

/// The capacity of the first segment that comes next to hold `buckets`: four steps to each doubling.
fn first_capacity_for(buckets: usize) -> usize {
    if buckets <= 8 {
        return buckets;
    }
    let step = 1 << ((buckets - 1).ilog2() - 2);
    buckets.next_multiple_of(step)
}

fn layout(buckets: usize) -> Layout {
    Layout::from_size_align(buckets * LINE_BYTES, LINE_BYTES).expect("at most one segment")
}

impl Directory {
    pub(super) const fn new() -> Directory {
        Directory {
            first: NonNull::dangling(),
            first_capacity: 0,
            rest: Vec::new(),
            len: 0,
        }
    }

    /// Buckets in use.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes allocated for segments and for the list of them.
    pub(super) fn bytes(&self) -> usize {
        (self.first_capacity + self.rest.len() * SEGMENT_BUCKETS) * LINE_BYTES
            + self.rest.capacity() * size_of::<NonNull<u8>>()
    }

    #[inline]
    fn line(&self, index: usize) -> NonNull<u8> {
        let segment = index >> SEGMENT_SHIFT;
        let base = if segment == 0 {
            self.first
        } else {
            self.rest[segment - 1]
        };
        // SAFETY: `index` is below the capacity (both callers see to it), so the line is inside
        // its segment.
        unsafe { base.add((index & (SEGMENT_BUCKETS - 1)) * LINE_BYTES) }
    }

    /// Bucket `index`, which must be below `len`. Each look-up comes by here, and a check costs it a fifth of its time, so
    /// what makes the numbers is checked instead where it changes ([`super::Dict::check_mask`]).
    #[inline]
    pub(super) fn bucket(&self, index: usize) -> Node {
        debug_assert!(index < self.len);
        // SAFETY: lines below `len` are initialised and live as long as the directory is not
        // changed; the dict keeps no handle across a change.
        unsafe { Node::from_bucket(self.line(index)) }
    }

    /// Adds an empty bucket at the end.
    pub(super) fn push(&mut self) -> Node {
        if self.len < SEGMENT_BUCKETS {
            if self.len == self.first_capacity {
                self.resize_first(first_capacity_for(self.len + 1));
            }
        } else if self.len == (self.rest.len() + 1) * SEGMENT_BUCKETS {
            // SAFETY: the layout's size is not zero.
            let segment = unsafe { alloc(layout(SEGMENT_BUCKETS)) };
            let Some(segment) = NonNull::new(segment) else {
                handle_alloc_error(layout(SEGMENT_BUCKETS))
            };
            self.rest.push(segment);
        }
        // SAFETY: there is room for one more line at `len`, made so above.
        unsafe { ptr::write_bytes(self.line(self.len).as_ptr(), 0, LINE_BYTES) };
        self.len += 1;
        self.bucket(self.len - 1)
    }

    /// Takes the last bucket away, which must be empty. Memory is given back with some slack, so
    /// that a dict that breathes around a border does not allocate at each breath.
    pub(super) fn pop(&mut self) {
        assert_eq!(self.bucket(self.len - 1).count(), 0);
        self.len -= 1;
        if let Some(&last) = self.rest.last() {
            if self.len + SEGMENT_BUCKETS / 4 <= self.rest.len() * SEGMENT_BUCKETS {
                self.rest.pop();
                // SAFETY: allocated in `push` with this layout; no bucket in use lies in it.
                unsafe { dealloc(last.as_ptr(), layout(SEGMENT_BUCKETS)) };
            }
        } else if self.len > 0 && self.len * 2 <= self.first_capacity {
            self.resize_first(first_capacity_for(self.len));
        }
    }

    fn resize_first(&mut self, capacity: usize) {
        assert!(capacity >= self.len && capacity > 0 && capacity <= SEGMENT_BUCKETS);
        let memory = if self.first_capacity == 0 {
            // SAFETY: `capacity` is not zero.
            unsafe { alloc(layout(capacity)) }
        } else {
            // SAFETY: `first` was allocated with this layout, and the new size is neither zero nor
            // above that of a segment.
            unsafe {
                let old = layout(self.first_capacity);
                realloc(self.first.as_ptr(), old, capacity * LINE_BYTES)
            }
        };
        self.first = NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout(capacity)));
        self.first_capacity = capacity;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for segment in &self.rest {
            // SAFETY: allocated in `push` with this layout.
            unsafe { dealloc(segment.as_ptr(), layout(SEGMENT_BUCKETS)) };
        }
        if self.first_capacity > 0 {
            // SAFETY: allocated in `resize_first` with this layout.
            unsafe { dealloc(self.first.as_ptr(), layout(self.first_capacity)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_waste_at_most_a_quarter() {
        for buckets in 1..=SEGMENT_BUCKETS {
            let capacity = first_capacity_for(buckets);
            assert!(
                capacity >= buckets && capacity * 4 <= buckets * 5,
                "{buckets}: {capacity}"
            );
            assert!(capacity <= SEGMENT_BUCKETS);
        }
    }

    #[test]
    fn memory_follows_the_buckets_both_ways() {
        let mut directory = Directory::new();
        assert_eq!(directory.bytes(), 0);
        for _ in 0..5 * SEGMENT_BUCKETS {
            directory.push();
        }
        assert!(directory.bytes() <= 5 * SEGMENT_BUCKETS * LINE_BYTES + 64);
        while directory.len() > 1 {
            directory.pop();
        }
        assert!(directory.bytes() <= LINE_BYTES + 64);
    }
}
