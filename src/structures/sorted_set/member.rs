//! A member of a large sorted set: one allocation that dict and tree share.
//!
//! ```text
//! ┌───────────┬───────────────────────────────┬─────────┐
//! │ score (8) │ length (1; from 255 on 1 + 8) │ bytes   │
//! └───────────┴───────────────────────────────┴─────────┘
//! ```
//!
//! The dict owns it as a [`Member`]; the tree holds a [`Handle`], which is only the address. The tree keeps the score
//! beside the handle, so that most searches never come here; the score in here answers ZSCORE without a search.

#![allow(unsafe_code)]

use crate::structures::dict::Element;
use crate::system::size_class::size_class;
use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// Where the length stands.
const LENGTH: usize = 8;
/// Mark of a length of eight bytes.
const LONG: u8 = 255;

/// A member with its score, owned.
pub(super) struct Member(NonNull<u8>);

// SAFETY: a member owns its allocation, which is plain bytes.
unsafe impl Send for Member {}
// SAFETY: it is changed through `&mut` only.
unsafe impl Sync for Member {}

/// The address of a member that somebody else owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(NonNull<u8>);

impl Handle {
    /// An address that is no member's, for room that is not in use.
    pub(super) const NONE: Handle = Handle(NonNull::dangling());

    /// The member's bytes.
    ///
    /// # Safety
    /// The member lives for `'a`.
    #[inline]
    pub(super) unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: the caller vouches that this is a live member's address.
        unsafe { bytes_at(self.0) }
    }

    /// Takes the ownership that the dict is giving up without having run a destructor.
    ///
    /// # Safety
    /// The member lives, and nobody else frees it.
    pub(super) unsafe fn into_member(self) -> Member {
        Member(self.0)
    }

    /// Asks for the member's memory ahead of its use.
    #[inline]
    pub(super) fn prefetch(self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch of any address does nothing that could be observed.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch(self.0.as_ptr().cast_const().cast(), _MM_HINT_T0);
        }
    }
}

/// # Safety
/// `raw` is the address of a member that lives for `'a`.
#[inline]
unsafe fn bytes_at<'a>(raw: NonNull<u8>) -> &'a [u8] {
    // SAFETY: the length is initialised and says how much follows it.
    unsafe {
        let short = raw.add(LENGTH).read();
        let (at, len) = if short == LONG {
            let len = raw.add(LENGTH + 1).cast::<u64>().read_unaligned();
            (LENGTH + 9, len as usize)
        } else {
            (LENGTH + 1, usize::from(short))
        };
        std::slice::from_raw_parts(raw.add(at).as_ptr(), len)
    }
}

/// Bytes to allocate for a member of `len` bytes.
fn layout_for(len: usize) -> Layout {
    let head = if len < usize::from(LONG) {
        LENGTH + 1
    } else {
        LENGTH + 9
    };
    // A member is a slice in memory, so its length is far from overflowing here.
    Layout::from_size_align(size_class(head + len), 8)
        .unwrap_or_else(|_| std::alloc::handle_alloc_error(Layout::new::<u64>()))
}

impl Member {
    /// A new one.
    pub(super) fn new(score: f64, bytes: &[u8]) -> Member {
        let layout = layout_for(bytes.len());
        // SAFETY: the size is not zero.
        let Some(raw) = NonNull::new(unsafe { std::alloc::alloc(layout) }) else {
            std::alloc::handle_alloc_error(layout)
        };
        // SAFETY: the allocation has room for the score, either length and the bytes.
        unsafe {
            raw.cast::<f64>().write(score);
            let at = if bytes.len() < usize::from(LONG) {
                raw.add(LENGTH).write(bytes.len() as u8);
                LENGTH + 1
            } else {
                raw.add(LENGTH).write(LONG);
                let len = raw.add(LENGTH + 1).cast::<u64>();
                len.write_unaligned(bytes.len() as u64);
                LENGTH + 9
            };
            let to = raw.add(at);
            to.copy_from_nonoverlapping(NonNull::from(bytes).cast::<u8>(), bytes.len());
        }
        Member(raw)
    }

    /// Its bytes.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: alive as long as `self`.
        unsafe { bytes_at(self.0) }
    }

    /// Its score.
    #[inline]
    pub(super) fn score(&self) -> f64 {
        // SAFETY: the score stands at the beginning, aligned.
        unsafe { self.0.cast::<f64>().read() }
    }

    /// Changes the score. The tree has to be told.
    #[inline]
    pub(super) fn set_score(&mut self, score: f64) {
        // SAFETY: as in `score`; `&mut self` is the only access.
        unsafe { self.0.cast::<f64>().write(score) }
    }

    /// Its address, for the tree.
    #[inline]
    pub(super) fn handle(&self) -> Handle {
        Handle(self.0)
    }

    /// Bytes with the allocator's rounding.
    pub(super) fn memory_bytes(&self) -> usize {
        layout_for(self.bytes().len()).size()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let layout = layout_for(self.bytes().len());
        // SAFETY: allocated with this layout, and not used any more.
        unsafe { std::alloc::dealloc(self.0.as_ptr(), layout) }
    }
}

// SAFETY: the raw form is the allocation's address; `key_of` reads the bytes in it, which never change.
unsafe impl Element for Member {
    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).0
    }
    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Member {
        Member(raw)
    }
    #[inline]
    unsafe fn key_of<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: the caller vouches that the member lives for 'a.
        unsafe { bytes_at(raw) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_all_lengths_keep_bytes_and_score() {
        for len in [0, 1, 19, 23, 24, 254, 255, 256, 70_000] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut member = Member::new(1.5, &bytes);
            assert_eq!((member.bytes(), member.score()), (&bytes[..], 1.5));
            member.set_score(f64::NEG_INFINITY);
            assert_eq!(member.score(), f64::NEG_INFINITY);
            let head = if len < 255 { 9 } else { 17 };
            assert_eq!(member.memory_bytes(), size_class(len + head));
            // SAFETY: the member lives.
            assert_eq!(unsafe { member.handle().bytes() }, &bytes[..]);
        }
    }
}
