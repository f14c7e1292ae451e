//! A growing buffer behind one pointer, for the many small values whose own words would cost as much as their bytes.
//!
//! ```text
//! ┌──────────────┬───────────┬─────────────────┬──────────────────────────────────┬────────┐
//! │ capacity (4) │ start (2) │ start bytes gap │ length of this part (4, LE), ... │ unused │
//! └──────────────┴───────────┴─────────────────┴──────────────────────────────────┴────────┘
//! ```
//!
//! What it holds begins with its own length, as a listpack does, so that no second one has to be kept. Positions count
//! from behind the six bytes, gap included. An allocation has exactly one of the allocator's class sizes; that the words
//! take no more matters for listpacks of just below a class, as the nodes of a quicklist are. Lengths have 32 bits; to ask
//! for more is a mistake of the caller and ends the process, as for a `Vec` beyond `isize::MAX`.

#![allow(unsafe_code)]

use crate::system::size_class::size_class;
use std::alloc::Layout;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes of the allocation before the first of the buffer.
pub(super) const HEAD: usize = 6;
/// Bytes of the length with which the contents begin.
const LENGTH: usize = 4;
/// Where the gap's size stands.
const START: usize = 4;
/// Largest gap.
pub(super) const GAP_MAX: usize = u16::MAX as usize;

/// Alignment of the allocation: what [`super::one_of`] needs for its mark.
const ALIGN: usize = 8;

/// A growing buffer behind one pointer.
///
/// Invariant: the pointer is that of an allocation of `HEAD + capacity` bytes, aligned to [`ALIGN`], that begins with the
/// capacity and the gap's size. `start + LENGTH <= len <= capacity`, where `len` is `start` and what the four bytes at
/// `start` say; the first `len` bytes of the buffer are initialised. The owner may write those four bytes through
/// [`DerefMut`]: so they are checked against the capacity wherever they are read.
#[repr(transparent)]
pub(super) struct Bytes(NonNull<u8>);

// SAFETY: it owns its allocation, which holds plain bytes, and gives them out by the rules of borrowing.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

/// The capacity that comes with an allocation for so many bytes.
#[inline]
pub(super) fn class(bytes: usize) -> usize {
    size_class(bytes.saturating_add(HEAD)) - HEAD
}

/// Class and layout of an allocation for so many bytes.
#[inline]
fn room(bytes: usize) -> (u32, Layout) {
    let capacity = u32::try_from(bytes).map(|bytes| class(bytes as usize).min(u32::MAX as usize));
    let layout = capacity
        .ok()
        .and_then(|capacity| Layout::from_size_align(HEAD + capacity, ALIGN).ok());
    match (capacity, layout) {
        (Ok(capacity), Some(layout)) => (capacity as u32, layout),
        _ => too_long(),
    }
}

#[cold]
#[allow(clippy::panic)]
fn too_long() -> ! {
    panic!("capacity overflow")
}

impl Bytes {
    /// Holds these bytes, which begin with their own length, with room for so many.
    pub(super) fn new(contents: &[u8], capacity: usize) -> Bytes {
        let length = contents
            .first_chunk()
            .map(|length| u32::from_le_bytes(*length));
        assert!(
            length.is_some_and(|length| length as usize == contents.len()),
            "the bytes begin with their length"
        );
        let (capacity, layout) = room(capacity.max(contents.len()));
        // SAFETY: the size is not zero.
        let Some(place) = NonNull::new(unsafe { std::alloc::alloc(layout) }) else {
            std::alloc::handle_alloc_error(layout)
        };
        // SAFETY: the allocation has room for its words and the contents, and is aligned for them.
        unsafe {
            place.cast::<u32>().write(capacity);
            place.add(START).cast::<u16>().write(0);
            place
                .add(HEAD)
                .copy_from_nonoverlapping(NonNull::from(contents).cast::<u8>(), contents.len());
        }
        Bytes(place)
    }

    /// Bytes that it has room for.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        // SAFETY: the allocation begins with it.
        unsafe { self.0.cast::<u32>().read() as usize }
    }

    /// Bytes of the allocation.
    #[inline]
    pub(super) fn memory_bytes(&self) -> usize {
        HEAD + self.capacity()
    }

    /// Bytes of the gap.
    #[inline]
    pub(super) fn start(&self) -> usize {
        // SAFETY: it stands there, initialised and aligned.
        usize::from(unsafe { self.0.add(START).cast::<u16>().read() })
    }

    /// Bytes behind the gap.
    #[inline]
    pub(super) fn live_len(&self) -> usize {
        let start = self.start();
        // SAFETY: the four bytes are within the allocation and initialised.
        let length = unsafe { self.0.add(HEAD + start).cast::<[u8; LENGTH]>().read() };
        let length = u32::from_le_bytes(length) as usize;
        assert!(
            start + length <= self.capacity() && length >= LENGTH,
            "a length within the allocation"
        );
        length
    }

    /// Bytes with the gap.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.start() + self.live_len()
    }

    /// What is behind the gap.
    #[inline]
    pub(super) fn live(&self) -> &[u8] {
        let (start, length) = (self.start(), self.live_len());
        // SAFETY: so many bytes are initialised behind the gap.
        unsafe { std::slice::from_raw_parts(self.0.add(HEAD + start).as_ptr(), length) }
    }

    /// What is behind the gap, to change.
    #[inline]
    pub(super) fn live_mut(&mut self) -> &mut [u8] {
        let (start, length) = (self.start(), self.live_len());
        // SAFETY: as above, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(HEAD + start).as_ptr(), length) }
    }

    /// Says where the contents begin and end now. All up to `len` has to be initialised.
    #[inline]
    pub(super) fn set_bounds(&mut self, start: usize, len: usize) {
        assert!(
            start <= GAP_MAX && start + LENGTH <= len && len <= self.capacity(),
            "bounds within the allocation"
        );
        let length = (len - start) as u32;
        // SAFETY: both places are within the allocation.
        unsafe {
            self.0.add(START).cast::<u16>().write(start as u16);
            self.0
                .add(HEAD + start)
                .cast::<[u8; LENGTH]>()
                .write(length.to_le_bytes());
        }
    }

    /// Makes room for so many bytes more.
    #[inline]
    pub(super) fn reserve_exact(&mut self, more: usize) {
        let len = self.len();
        if self.capacity() - len < more {
            self.resize_to(len.saturating_add(more));
        }
    }

    /// Gives back room beyond so many bytes.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let bytes = bytes.max(self.len());
        if class(bytes) < self.capacity() {
            self.resize_to(bytes);
        }
    }

    /// Has the allocation be that of `bytes`, which are not fewer than the length.
    #[cold]
    fn resize_to(&mut self, bytes: usize) {
        let (capacity, layout) = room(bytes);
        let old = self.layout();
        // SAFETY: the allocation was made with this layout; the new size is not zero and below `isize::MAX`.
        let place = unsafe { std::alloc::realloc(self.0.as_ptr(), old, layout.size()) };
        let Some(place) = NonNull::new(place) else {
            std::alloc::handle_alloc_error(layout)
        };
        self.0 = place;
        // SAFETY: the allocation begins with it.
        unsafe { place.cast::<u32>().write(capacity) }
    }

    #[inline]
    fn layout(&self) -> Layout {
        let size = HEAD + self.capacity();
        // SAFETY: a layout of this size was made when it was allocated; the alignment is a power of two.
        unsafe { Layout::from_size_align_unchecked(size, ALIGN) }
    }

    /// Appends a byte.
    #[inline]
    pub(super) fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    /// Takes the last byte off.
    #[inline]
    pub(super) fn pop(&mut self) {
        let len = self.len();
        self.set_bounds(self.start(), len - 1);
    }

    /// Appends bytes.
    #[inline]
    pub(super) fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve_exact(bytes.len());
        let len = self.len();
        // SAFETY: there is room behind the length, and what is borrowed from elsewhere does not overlap it.
        unsafe {
            self.0
                .add(HEAD + len)
                .copy_from_nonoverlapping(NonNull::from(bytes).cast::<u8>(), bytes.len());
        }
        self.set_bounds(self.start(), len + bytes.len());
    }

    /// Cuts to a length.
    #[inline]
    pub(super) fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.set_bounds(self.start(), len);
        }
    }

    /// Cuts to a length, or lengthens with zero bytes.
    #[inline]
    pub(super) fn resize(&mut self, len: usize) {
        let before = self.len();
        if len <= before {
            return self.truncate(len);
        }
        self.reserve_exact(len - before);
        // SAFETY: there is room up to the new length.
        unsafe {
            self.0.add(HEAD + before).write_bytes(0, len - before);
        }
        self.set_bounds(self.start(), len);
    }
}

impl Deref for Bytes {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        let len = self.len();
        // SAFETY: so many bytes are initialised.
        unsafe { std::slice::from_raw_parts(self.0.add(HEAD).as_ptr(), len) }
    }
}

impl DerefMut for Bytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len();
        // SAFETY: as above, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(HEAD).as_ptr(), len) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: the allocation was made with this layout and is not used again.
        unsafe { std::alloc::dealloc(self.0.as_ptr(), self.layout()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Pop,
        Extend(Vec<u8>),
        Truncate(usize),
        Resize(usize),
        Reserve(usize),
        Shrink(usize),
        Bounds(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<u8>().prop_map(Step::Push),
            Just(Step::Pop),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Step::Extend),
            (0usize..300).prop_map(Step::Truncate),
            (0usize..900).prop_map(Step::Resize),
            (0usize..900).prop_map(Step::Reserve),
            (0usize..300).prop_map(Step::Shrink),
            (0usize..300).prop_map(Step::Bounds),
        ]
    }

    proptest! {
        #[test]
        fn is_a_vector_with_a_gap(steps in prop::collection::vec(step(), 0..60)) {
            let mut bytes = Bytes::new(&[4, 0, 0, 0], 0);
            // What stands behind gap and length.
            let (mut model, mut start) = (Vec::new(), 0);
            for step in steps {
                let front = start + LENGTH;
                match step {
                    Step::Push(byte) => {
                        bytes.push(byte);
                        model.push(byte);
                    }
                    Step::Pop if !model.is_empty() => {
                        bytes.pop();
                        model.pop();
                    }
                    Step::Pop => {}
                    Step::Extend(more) => {
                        bytes.extend_from_slice(&more);
                        model.extend_from_slice(&more);
                    }
                    Step::Truncate(len) => {
                        bytes.truncate(front + len);
                        model.truncate(len);
                    }
                    Step::Resize(len) => {
                        bytes.resize(front + len);
                        model.resize(len, 0);
                    }
                    Step::Reserve(more) => {
                        bytes.reserve_exact(more);
                        prop_assert!(bytes.capacity() >= front + model.len() + more);
                    }
                    Step::Shrink(len) => bytes.shrink_to(len),
                    Step::Bounds(new) => {
                        let len = front + model.len();
                        let new = new.min(model.len());
                        bytes.copy_within(front.., (new + LENGTH).min(front));
                        let kept = if new + LENGTH <= front {
                            new + LENGTH + model.len()
                        } else {
                            // The contents stay where they are, less what the gap takes.
                            model.drain(..new - start);
                            len
                        };
                        bytes.set_bounds(new, kept);
                        start = new;
                    }
                }
                prop_assert_eq!(&bytes.live()[LENGTH..], &model[..]);
                prop_assert_eq!(bytes.live_mut().len(), LENGTH + model.len());
                prop_assert_eq!(bytes.start(), start);
                prop_assert_eq!(bytes.len(), start + LENGTH + model.len());
                prop_assert_eq!(size_class(bytes.memory_bytes()), bytes.memory_bytes());
            }
        }
    }
}
