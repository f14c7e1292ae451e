//! A member of a set in a hash table: its length and its bytes in one allocation.
//!
//! ```text
//! ┌────────────────────┬───────┐        ┌──────┬────────────┬───────┐
//! │ length (1), < 254  │ bytes │   or   │ 254  │ length (2) │ bytes │   or 255 and a length of 8 bytes
//! └────────────────────┴───────┘        └──────┴────────────┴───────┘
//! ```
#![allow(unsafe_code)]

use super::dict::Element;
use crate::system::size_class::size_class;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// First byte before a length of two bytes; what is less is a length itself.
const TWO: u8 = 254;
/// First byte before a length of eight bytes.
const EIGHT: u8 = 255;

/// Bytes with their length, behind one thin pointer.
pub struct Member(NonNull<u8>);

// SAFETY: a member owns its allocation, which is bound to no thread and never changes.
unsafe impl Send for Member {}
// SAFETY: as above.
unsafe impl Sync for Member {}

/// Bytes of the header before so many bytes.
#[inline]
fn header_of(len: usize) -> usize {
    if len < usize::from(TWO) {
        1
    } else if len <= usize::from(u16::MAX) {
        3
    } else {
        9
    }
}

impl Member {
    /// A copy of `bytes`.
    pub fn new(bytes: &[u8]) -> Member {
        let header = header_of(bytes.len());
        let layout = layout(header + bytes.len());
        // SAFETY: the layout is not empty.
        let Some(raw) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the allocation has room for the header and the bytes behind it.
        unsafe {
            match header {
                1 => raw.write(bytes.len() as u8),
                3 => {
                    raw.write(TWO);
                    raw.add(1).cast::<u16>().write_unaligned(bytes.len() as u16);
                }
                _ => {
                    raw.write(EIGHT);
                    raw.add(1).cast::<u64>().write_unaligned(bytes.len() as u64);
                }
            }
            raw.add(header)
                .copy_from_nonoverlapping(NonNull::from(bytes).cast::<u8>(), bytes.len());
        }
        Member(raw)
    }
    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the member lives as long as it is borrowed.
        unsafe { bytes_at(self.0) }
    }
    /// Size of the allocation as the allocator rounds it.
    pub fn memory_bytes(&self) -> usize {
        let len = self.bytes().len();
        size_class(header_of(len) + len)
    }
}

fn layout(size: usize) -> Layout {
    // Slices are no longer than isize::MAX; what the header adds cannot be allocated beyond it.
    Layout::from_size_align(size, 8).unwrap_or_else(|_| handle_alloc_error(Layout::new::<u64>()))
}

/// The bytes of a member.
///
/// # Safety
/// `raw` is the allocation of a member that lives for `'a`.
#[inline]
unsafe fn bytes_at<'a>(raw: NonNull<u8>) -> &'a [u8] {
    // SAFETY: the header is initialised and tells how many bytes are behind it.
    unsafe {
        let (header, len) = match raw.read() {
            TWO => (3, usize::from(raw.add(1).cast::<u16>().read_unaligned())),
            EIGHT => (9, raw.add(1).cast::<u64>().read_unaligned() as usize),
            len => (1, usize::from(len)),
        };
        std::slice::from_raw_parts(raw.add(header).as_ptr(), len)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let len = self.bytes().len();
        // SAFETY: allocated with this layout, and not used again.
        unsafe { dealloc(self.0.as_ptr(), layout(header_of(len) + len)) }
    }
}

// SAFETY: the raw form is the allocation's address; the bytes neither move nor change while the member lives.
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
        // SAFETY: the caller's.
        unsafe { bytes_at(raw) }
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Member({:?})", String::from_utf8_lossy(self.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_bytes_of_any_length() {
        for len in [0, 1, 7, 253, 254, 255, 65535, 65536, 100_000] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let member = Member::new(&bytes);
            assert_eq!(member.bytes(), bytes);
            let raw = member.into_raw();
            // SAFETY: given up just now, taken back once.
            let member = unsafe { Member::from_raw(raw) };
            assert_eq!(member.bytes(), bytes);
            assert!(member.memory_bytes() > len && member.memory_bytes() <= 2 * len + 16);
        }
        assert_eq!(Member::new(&[b'x'; 15]).memory_bytes(), 16);
    }
}
