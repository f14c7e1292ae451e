//! A field of a large hash with its value in one allocation.
//!
//! ```text
//! ┌───────┬──────────────┬──────────────┬─────────────┬───────┬───────┬ ─ ─ ─
//! │ flags │ field length │ value length │ expiry (8)? │ field │ value │ room
//! └───────┴──────────────┴──────────────┴─────────────┴───────┴───────┴ ─ ─ ─
//! ```
//!
//! Lengths have one byte each, or eight when [`WIDE`] is set: three bytes of header for what hashes usually hold. The
//! allocation has exactly one of the allocator's class sizes: the class of the bytes in use, raised by the two
//! [`SLACK`] bits, so that a value can change its length in place and the capacity need not be stored.
#![allow(unsafe_code)]

use crate::structures::dict::Element;
use crate::system::size_class::{next_class, size_class};
use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// The expiry is there.
const EXPIRY: u8 = 1;
/// Lengths have eight bytes each.
const WIDE: u8 = 1 << 1;
const SLACK_SHIFT: u8 = 2;
/// Bits of the number of classes by which the allocation is larger than what is in use needs.
const SLACK: u8 = 3 << SLACK_SHIFT;
/// Most classes that the bits can say.
const SLACK_MAX: u8 = SLACK >> SLACK_SHIFT;
const EXPIRY_BYTES: usize = 8;

/// A field with its value and, where it has one, its expiry in Unix ms. Owned; the dict's element.
pub(super) struct Field(NonNull<u8>);

// SAFETY: a field owns its allocation, in which nothing is bound to a thread.
unsafe impl Send for Field {}

// SAFETY: the raw form is the allocation's address; `key_of` reads the field's name, which stays in the allocation
// unchanged as long as the element lives in it. Copies are only read.
unsafe impl Element for Field {
    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).0
    }
    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Field {
        Field(raw)
    }
    #[inline]
    unsafe fn key_of<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: the caller vouches that `raw` is a live field for 'a.
        unsafe { name_at(raw) }
    }
}

/// Where the parts are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    wide: bool,
    expiry: bool,
    name_at: usize,
    name_len: usize,
    value_len: usize,
}

impl Shape {
    #[inline]
    fn new(name_len: usize, value_len: usize, expiry: bool) -> Shape {
        let wide = name_len > 255 || value_len > 255;
        Shape {
            wide,
            expiry,
            name_at: name_place(wide, expiry),
            name_len,
            value_len,
        }
    }
    #[inline]
    fn value_at(&self) -> usize {
        self.name_at + self.name_len
    }
    #[inline]
    fn size(&self) -> usize {
        // Both parts exist in memory, so their lengths cannot overflow together with a header.
        self.name_at + self.name_len + self.value_len
    }
}

#[inline]
fn lengths_bytes(wide: bool) -> usize {
    if wide { 16 } else { 2 }
}

#[inline]
fn name_place(wide: bool, expiry: bool) -> usize {
    1 + lengths_bytes(wide) + if expiry { EXPIRY_BYTES } else { 0 }
}

/// Reads what the header says.
///
/// # Safety
/// `raw` is a live field.
#[inline]
unsafe fn shape_at(raw: NonNull<u8>) -> Shape {
    // SAFETY: the header is initialised and has the lengths in the form that its flags say.
    unsafe {
        let flags = raw.read();
        let wide = flags & WIDE != 0;
        let (name_len, value_len) = if wide {
            let lengths = raw.add(1).cast::<[u64; 2]>().read_unaligned();
            (lengths[0] as usize, lengths[1] as usize)
        } else {
            let lengths = raw.add(1).cast::<[u8; 2]>().read();
            (usize::from(lengths[0]), usize::from(lengths[1]))
        };
        let expiry = flags & EXPIRY != 0;
        Shape {
            wide,
            expiry,
            name_at: name_place(wide, expiry),
            name_len,
            value_len,
        }
    }
}

/// The field's name.
///
/// # Safety
/// `raw` is a field that lives unchanged for `'a`.
#[inline]
pub(super) unsafe fn name_at<'a>(raw: NonNull<u8>) -> &'a [u8] {
    // SAFETY: the caller's.
    unsafe {
        let shape = shape_at(raw);
        std::slice::from_raw_parts(raw.add(shape.name_at).as_ptr(), shape.name_len)
    }
}

/// The field's value.
///
/// # Safety
/// `raw` is a field that lives unchanged for `'a`.
#[inline]
pub(super) unsafe fn value_at<'a>(raw: NonNull<u8>) -> &'a [u8] {
    // SAFETY: the caller's.
    unsafe {
        let shape = shape_at(raw);
        std::slice::from_raw_parts(raw.add(shape.value_at()).as_ptr(), shape.value_len)
    }
}

/// The field's expiry.
///
/// # Safety
/// `raw` is a live field.
#[inline]
pub(super) unsafe fn expiry_at(raw: NonNull<u8>) -> Option<i64> {
    // SAFETY: the caller's; the flag says that the expiry is there.
    unsafe {
        let flags = raw.read();
        (flags & EXPIRY != 0).then(|| {
            let place = 1 + lengths_bytes(flags & WIDE != 0);
            raw.add(place).cast::<i64>().read_unaligned()
        })
    }
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, 8)
        .unwrap_or_else(|_| std::alloc::handle_alloc_error(Layout::new::<u64>()))
}

impl Field {
    pub(super) fn new(name: &[u8], value: &[u8], expiry: Option<i64>) -> Field {
        let shape = Shape::new(name.len(), value.len(), expiry.is_some());
        let layout = layout(size_class(shape.size()));
        // SAFETY: the size is not zero.
        let Some(raw) = NonNull::new(unsafe { std::alloc::alloc(layout) }) else {
            std::alloc::handle_alloc_error(layout)
        };
        let mut field = Field(raw);
        // SAFETY: the allocation has room for `shape`, and name and value lie elsewhere.
        unsafe {
            field.write_header(shape, 0, expiry);
            field.write_part(shape.name_at, name);
            field.write_part(shape.value_at(), value);
        }
        field
    }

    /// Writes flags, lengths and expiry.
    ///
    /// # Safety
    /// The allocation has room for `shape`, and the header has the place that it says.
    #[inline]
    unsafe fn write_header(&mut self, shape: Shape, slack: u8, expiry: Option<i64>) {
        let mut flags = slack << SLACK_SHIFT;
        // SAFETY: the caller's.
        unsafe {
            if shape.wide {
                flags |= WIDE;
                let lengths = [shape.name_len as u64, shape.value_len as u64];
                self.0.add(1).cast::<[u64; 2]>().write_unaligned(lengths);
            } else {
                let lengths = [shape.name_len as u8, shape.value_len as u8];
                self.0.add(1).cast::<[u8; 2]>().write(lengths);
            }
            if let Some(at) = expiry {
                flags |= EXPIRY;
                let place = self.0.add(1 + lengths_bytes(shape.wide));
                place.cast::<i64>().write_unaligned(at);
            }
            self.0.write(flags);
        }
    }

    /// # Safety
    /// The allocation has room for the bytes there, and they lie elsewhere.
    #[inline]
    unsafe fn write_part(&mut self, place: usize, bytes: &[u8]) {
        // SAFETY: the caller's.
        unsafe {
            self.0
                .add(place)
                .copy_from_nonoverlapping(NonNull::from(bytes).cast::<u8>(), bytes.len());
        }
    }

    #[inline]
    fn shape(&self) -> Shape {
        // SAFETY: this field is alive.
        unsafe { shape_at(self.0) }
    }
    #[inline]
    fn flags(&self) -> u8 {
        // SAFETY: this field is alive.
        unsafe { self.0.read() }
    }
    /// Size of the allocation.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        let mut class = size_class(self.shape().size());
        for _ in 0..(self.flags() & SLACK) >> SLACK_SHIFT {
            class = next_class(class);
        }
        class
    }
    #[inline]
    pub(super) fn name(&self) -> &[u8] {
        // SAFETY: this field is alive and borrowed.
        unsafe { name_at(self.0) }
    }
    #[inline]
    pub(super) fn value(&self) -> &[u8] {
        // SAFETY: this field is alive and borrowed.
        unsafe { value_at(self.0) }
    }
    #[inline]
    pub(super) fn expiry(&self) -> Option<i64> {
        // SAFETY: this field is alive.
        unsafe { expiry_at(self.0) }
    }
    /// The address, by which the queue of expiries names the field.
    #[inline]
    pub(super) fn address(&self) -> NonNull<u8> {
        self.0
    }

    /// Puts another value in: in place where the lengths stay of one form and the class is near, otherwise in a new
    /// allocation. The expiry stays.
    #[inline]
    pub(super) fn set_value(&mut self, value: &[u8]) {
        let old = self.shape();
        let new = Shape::new(old.name_len, value.len(), old.expiry);
        if new.wide == old.wide
            && let Some(slack) = slack_of(new.size(), self.capacity())
        {
            // SAFETY: there is room; header and name stay where they are, and the value comes from elsewhere, for the
            // exclusive borrow forbids that it is this field's own.
            unsafe {
                self.write_part(new.value_at(), value);
                self.write_header(new, slack, self.expiry());
            }
            return;
        }
        *self = Field::new(self.name(), value, self.expiry());
    }

    /// Sets or removes the expiry; in place only where the shape stays the same, for the name never moves inside an
    /// allocation.
    pub(super) fn set_expiry(&mut self, expiry: Option<i64>) {
        let shape = self.shape();
        if shape.expiry == expiry.is_some() {
            let slack = (self.flags() & SLACK) >> SLACK_SHIFT;
            // SAFETY: the same shape as before.
            unsafe { self.write_header(shape, slack, expiry) };
            return;
        }
        *self = Field::new(self.name(), self.value(), expiry);
    }
}

/// The slack bits of `size` bytes in an allocation of `capacity`; none where they do not fit, or would waste more than
/// the bits can say.
#[inline]
fn slack_of(size: usize, capacity: usize) -> Option<u8> {
    let mut class = size_class(size);
    if class > capacity {
        return None;
    }
    for slack in 0..=SLACK_MAX {
        if class == capacity {
            return Some(slack);
        }
        class = next_class(class);
    }
    None
}

impl Clone for Field {
    fn clone(&self) -> Field {
        Field::new(self.name(), self.value(), self.expiry())
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        let capacity = self.capacity();
        // SAFETY: the allocation was made with this size and alignment.
        unsafe { std::alloc::dealloc(self.0.as_ptr(), layout(capacity)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_field_fits_the_class_of_32_bytes() {
        let field = Field::new(&[b'f'; 18], &[b'v'; 8], None);
        assert_eq!(field.capacity(), 32);
        let expiring = Field::new(&[b'f'; 18], &[b'v'; 8], Some(1));
        assert_eq!(expiring.capacity(), 48);
    }

    #[test]
    fn a_value_stays_in_place_while_the_class_is_near() {
        let mut field = Field::new(b"name", &[7; 100], Some(5));
        let address = field.address();
        field.set_value(&[8; 60]);
        assert_eq!((field.address(), field.value().len()), (address, 60));
        field.set_value(b"");
        assert_ne!(field.address(), address, "a class too far is given back");
        assert_eq!((field.name(), field.value()), (&b"name"[..], &b""[..]));
        assert_eq!(field.expiry(), Some(5));
    }

    proptest! {
        #[test]
        fn a_field_is_what_was_last_written(
            name in proptest::collection::vec(any::<u8>(), 0..300),
            steps in proptest::collection::vec(
                (proptest::option::of(proptest::collection::vec(any::<u8>(), 0..600)), any::<Option<i64>>()),
                0..20,
            ),
        ) {
            let mut field = Field::new(&name, b"", None);
            let (mut value, mut expiry) = (Vec::new(), None);
            for (new_value, new_expiry) in steps {
                match new_value {
                    Some(new_value) => {
                        field.set_value(&new_value);
                        value = new_value;
                    }
                    None => {
                        field.set_expiry(new_expiry);
                        expiry = new_expiry;
                    }
                }
                prop_assert_eq!(field.name(), &name[..]);
                prop_assert_eq!(field.value(), &value[..]);
                prop_assert_eq!(field.expiry(), expiry);
                let copy = field.clone();
                prop_assert_eq!((copy.name(), copy.value(), copy.expiry()), (&name[..], &value[..], expiry));
                prop_assert!(field.capacity() >= copy.capacity());
            }
        }
    }
}
