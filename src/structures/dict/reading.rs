//! The elements that a dict had at one moment, read some at a time while it changes.
//!
//! In: a dict, and whoever changes it, who says so before. Out: each element as it was at that moment, once. Buckets are
//! passed in order; what changes before its bucket's turn is marked and its old state kept, what is new is marked.

use super::{Dict, Element, ElementRef, Geometry, Mark, Marks};

/// How far it has come.
pub struct Reading<E: Element> {
    was: Geometry,
    /// All buckets below have been passed.
    next: usize,
    mark: Mark,
    /// Elements as they were, which have changed or gone since.
    kept: Vec<E>,
    kept_bytes: usize,
}

impl<E: Element> Reading<E> {
    /// Begins to read a dict as it is now. O(1), but see [`Marks::begin`].
    pub fn begin(dict: &mut Dict<E>, marks: &mut Marks) -> Reading<E> {
        Reading {
            was: dict.geometry(),
            next: 0,
            mark: marks.begin(dict),
            kept: Vec::new(),
            kept_bytes: 0,
        }
    }
    #[inline]
    fn is_passed(&self, hash: u64) -> bool {
        self.was.bucket_of(hash).is_none_or(|it| it < self.next)
    }
    /// To be called before the element of a key changes or goes; the element, where what it is now is to be kept
    /// ([`Reading::keep`]).
    pub fn before_change<'d>(
        &self,
        dict: &'d mut Dict<E>,
        hash: u64,
        key: &[u8],
    ) -> Option<ElementRef<'d, E>> {
        match self.is_passed(hash) {
            true => None,
            false => dict.mark(hash, key, self.mark),
        }
    }
    /// To be called when an element has been added.
    pub fn after_insert(&self, dict: &mut Dict<E>, hash: u64, key: &[u8]) {
        if !self.is_passed(hash) {
            dict.mark(hash, key, self.mark);
        }
    }
    /// Keeps an element, which takes so many bytes, until it is read.
    pub fn keep(&mut self, element: E, bytes: usize) {
        self.kept.push(element);
        self.kept_bytes += bytes;
    }
    /// Bytes of the elements that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }
    /// Reads on until `each`, which is asked after each element, says that it is enough, or to the end; whether it is the end.
    /// `each` is told whether the element is one that was kept, and is dropped then; `bytes` are those of such a one.
    pub fn go_on(
        &mut self,
        dict: &mut Dict<E>,
        bytes: impl Fn(&E) -> usize,
        mut each: impl FnMut(&E, bool) -> bool,
    ) -> bool {
        while let Some(element) = self.kept.pop() {
            self.kept_bytes = self.kept_bytes.saturating_sub(bytes(&element));
            if !each(&element, true) {
                return self.is_done();
            }
        }
        self.kept = Vec::new();
        let mut is_enough = false;
        while !is_enough && self.next < self.was.buckets() {
            dict.prefetch_ahead(self.next);
            let is_passed = dict.pass_some(self.was, self.next, self.mark, |element| {
                let takes = !is_enough;
                is_enough |= takes && !each(element, false);
                takes
            });
            self.next += usize::from(is_passed);
        }
        self.is_done()
    }
    fn is_done(&self) -> bool {
        self.next == self.was.buckets() && self.kept.is_empty()
    }
    /// Ends it. What is kept is dropped.
    pub fn end(self, marks: &mut Marks) {
        marks.end(self.mark, self.next == self.was.buckets());
    }
}
