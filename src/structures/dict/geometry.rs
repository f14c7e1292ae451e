//! The buckets that a dict had at one moment, found again in what it has become since.
//!
//! In: the shape of a dict at that moment, and the dict as it is now. Out: the elements that one of the old buckets would
//! hold. Growth and shrinking only split and join buckets, so that an old bucket is some whole buckets of a dict that has
//! grown, or a part of one of a dict that has shrunk.

use super::node::{LINE_BYTES, Node, prefetch};
use super::{Dict, Element, ElementRef, lend, to_raw};

/// Which bucket each hash belonged to when this was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    buckets: usize,
    /// As in [`Dict`].
    mask: usize,
}

impl Geometry {
    /// How many buckets there were.
    pub fn buckets(self) -> usize {
        self.buckets
    }
    /// The bucket of a hash, whose number is below [`Geometry::buckets`]. None where there was no bucket.
    #[inline]
    pub fn bucket_of(self, hash: u64) -> Option<usize> {
        let index = hash as usize & self.mask;
        match index < self.buckets {
            true => Some(index),
            false if self.buckets > 0 => Some(index & (self.mask >> 1)),
            false => None,
        }
    }
    /// The bits of a hash that chose a bucket.
    #[inline]
    fn mask_of(self, bucket: usize) -> usize {
        let low = self.mask >> 1;
        // A bucket is divided already where its other half is there.
        let is_divided = bucket > low || (bucket & low) + low + 1 < self.buckets;
        if is_divided { self.mask } else { low }
    }
}

impl<E: Element> Dict<E> {
    /// The shape of the dict now.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            buckets: self.directory.len(),
            mask: self.mask,
        }
    }

    /// Calls `each` with all elements of the bucket that a hash names. Of a hash only as many bits count as choose a bucket: 32 are
    /// enough for as many buckets as there is memory for.
    pub fn for_each_near(&self, hash: u64, each: &mut dyn FnMut(&E)) {
        if self.is_empty() {
            return;
        }
        for item in self.bucket_of(hash).items() {
            // SAFETY: in this dict, which `&self` keeps as it is.
            each(&*unsafe { lend::<E>(item) });
        }
    }

    /// Prefetches for whoever goes over all buckets in order and is at this one: what it touches soon.
    pub fn prefetch_ahead(&self, bucket: usize) {
        /// Buckets ahead whose elements, and whose lines are fetched.
        const ELEMENTS_AHEAD: usize = 2;
        const LINES_AHEAD: usize = 6;
        if bucket + LINES_AHEAD < self.directory.len() {
            self.directory.bucket(bucket + LINES_AHEAD).prefetch();
            self.prefetch_elements(bucket + ELEMENTS_AHEAD);
        }
    }
    /// The elements of a bucket, in its first line: their waits overlap.
    #[inline]
    fn prefetch_elements(&self, bucket: usize) {
        let node = self.directory.bucket(bucket);
        for slot in 0..node.count() {
            let element = to_raw(node.get(slot)).as_ptr();
            prefetch(element);
            // Key and value of most.
            prefetch(element.wrapping_add(LINE_BYTES));
        }
        if let Some(next) = node.next() {
            next.prefetch();
        }
    }

    /// Marks an element, which is found no more by whoever passes its bucket with this mark. None: it was marked so before, or
    /// there is no such element. The mark stays with the element's key wherever that moves in the dict, and when the element is
    /// replaced.
    pub fn mark(&mut self, hash: u64, key: &[u8], mark: Mark) -> Option<ElementRef<'_, E>> {
        let place = self.place_of(hash, key)?;
        let item = place.node.get(place.slot);
        if item.mark() == mark.0 {
            return None;
        }
        place.node.update(place.slot, item.marked(mark.0));
        // SAFETY: just found in this dict.
        Some(unsafe { lend(item) })
    }

    /// Emits the elements that belonged, or would have belonged, to a bucket of an earlier shape, each once, but those with
    /// this mark; takes all marks from them. O(elements) while the dict has not shrunk much; else what is in the buckets that
    /// it has been joined with is looked at too.
    pub fn pass_bucket(
        &mut self,
        was: Geometry,
        bucket: usize,
        mark: Mark,
        mut emit: impl FnMut(&E),
    ) {
        let has_passed = self.pass_some(was, bucket, mark, |element| {
            emit(element);
            true
        });
        debug_assert!(has_passed);
    }

    /// [`Dict::pass_bucket`], where `emit` may refuse an element: then those before it are marked, and it comes again with the
    /// next call. Whether the bucket is passed.
    pub fn pass_some(
        &mut self,
        was: Geometry,
        bucket: usize,
        mark: Mark,
        mut emit: impl FnMut(&E) -> bool,
    ) -> bool {
        let mut passed = 0;
        let is_whole = self.each_slot_in(was, bucket, |node, slot| {
            let item = node.get(slot);
            if item.mark() != mark.0 {
                // SAFETY: in this dict, which nobody changes meanwhile.
                let element = unsafe { lend::<E>(item) };
                if !emit(&element) {
                    return false;
                }
            }
            if item.mark() != 0 {
                node.update(slot, item.marked(0));
            }
            passed += 1;
            true
        });
        if !is_whole {
            self.each_slot_in(was, bucket, |node, slot| {
                let is_before = passed > 0;
                if is_before {
                    passed -= 1;
                    node.update(slot, node.get(slot).marked(mark.0));
                }
                is_before
            });
        }
        is_whole
    }

    /// Calls `visit` with the place of each element that belonged to a bucket of an earlier shape, until it says no; whether it
    /// never did.
    #[inline]
    fn each_slot_in(
        &mut self,
        was: Geometry,
        bucket: usize,
        mut visit: impl FnMut(Node, usize) -> bool,
    ) -> bool {
        let is = self.geometry();
        if is.buckets == 0 {
            return true;
        }
        let chosen_by = was.mask_of(bucket);
        // Parts of the old bucket have its number in the bits that chose it. There may be none: it has been joined.
        let parts = (bucket..is.buckets).step_by(chosen_by + 1);
        let joined = is.bucket_of(bucket as u64).filter(|it| *it != bucket);
        for index in parts.chain(joined) {
            let holds_others = is.mask_of(index) < chosen_by;
            self.prefetch_elements(index);
            for node in self.directory.bucket(index).chain() {
                for slot in 0..node.count() {
                    // SAFETY: in this dict, which nobody changes meanwhile.
                    let key = unsafe { E::key_of(to_raw(node.get(slot))) };
                    if holds_others && was.bucket_of(self.hash(key)) != Some(bucket) {
                        continue;
                    }
                    if !visit(node, slot) {
                        return false;
                    }
                }
            }
        }
        true
    }
}

/// What marks an element for one who passes all buckets of a dict: one of seven marks, so that those which somebody has left
/// who gave up on his way are no others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u8);

/// Which marks there may be in a dict.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// A bit for each that somebody has left.
    left: u8,
}

impl Marks {
    /// A mark that nothing in the dict has. O(1), but O(buckets) where seven in a row have given up.
    pub fn begin<E: Element>(&mut self, dict: &mut Dict<E>) -> Mark {
        let free = (1..8).find(|mark| self.left >> mark & 1 == 0);
        Mark(free.unwrap_or_else(|| {
            self.left = 0;
            for index in 0..dict.directory.len() {
                for node in dict.directory.bucket(index).chain() {
                    (0..node.count()).for_each(|slot| node.update(slot, node.get(slot).marked(0)));
                }
            }
            1
        }))
    }
    /// Whoever used a mark has passed all buckets, or has given up.
    pub fn end(&mut self, mark: Mark, has_passed_all: bool) {
        match has_passed_all {
            true => self.left = 0,
            false => self.left |= 1 << mark.0,
        }
    }
}
