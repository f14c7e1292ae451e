//! A key with its value and metadata in one allocation.
//!
//! ```text
//! ┌─────────────────── 8-byte header ───────────────────┐
//! │ encoding 4 │ type 4 │ flags 8 │ access clock 24 │ key length 8 │ value length 16 │
//! ├──────────────┬──────────────────┬───────────┬───────┴──────────────┘
//! │ expiry (8)?  │ key length (8)?  │ key bytes │ value
//! └──────────────┴──────────────────┴───────────┘
//! ```
//!
//! The expiry is there when [`EXPIRY`] is set, the long key length when [`LONG_KEY`] is (keys over 255 bytes). The
//! value is one of: 8 bytes of an integer; a string of at most [`EMBED_MAX`] bytes; an [`Object`], which is a pointer
//! in an aligned place; where there is an object, the value length says as what size the table has counted it.
//! Allocations have exactly the allocator's class sizes, so that the room for growth in place is known: the class of the
//! size in use, raised by the two [`SLACK_SHIFT`] bits.
//!
//! An operation that finds no room returns a new entry that has to take this one's place: the owner of entries
//! ([`Table`](super::table::Table)) swaps it in where the old one is known, and only then is the old one freed.

#![allow(unsafe_code)]

use super::Stored;
use super::layout::*;
use super::object::{Object, object_of};
use super::sizes::Counted;
use super::{NewValue, Type, Value, WrongType};
use crate::structures::dict::Element;
use crate::structures::hash::Hash;
use crate::structures::list::List;
use crate::structures::set::Set;
use crate::structures::sorted_set::SortedSet;
use crate::structures::stream::Stream;
use crate::structures::{Blob, Collection};
use crate::system::numbers::{i64_text_len, parse_i64};
use crate::system::size_class::{next_class, size_class};
use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

/// Longest string inside an entry. Beyond it a string has its own buffer, which costs two more allocations (~80 bytes)
/// and two more cache misses, but can be shared with output buffers and grow with slack.
pub const EMBED_MAX: usize = 1024;
/// Longest string that reports `embstr`.
const EMBSTR_MAX: usize = 44;
/// Length from which freeing a string may be left to the free thread; in units of [`FREE_UNIT`] as "elements".
const FREE_UNIT: usize = 64 * 1024;

/// A value on its way into an entry.
enum Part<'a> {
    Int(i64),
    Bytes { bytes: &'a [u8], raw: bool },
    Object(Object),
}

impl Part<'_> {
    fn encoding(&self) -> u8 {
        match self {
            Part::Int(_) => INT,
            Part::Bytes { .. } => EMBEDDED,
            Part::Object(_) => OBJECT,
        }
    }
    /// The length that the header is to remember. A number's is that of its text: it is counted with the sizes of strings,
    /// and a counter is counted at every step.
    fn value_len(&self) -> usize {
        match self {
            Part::Bytes { bytes, .. } => bytes.len(),
            Part::Int(number) => i64_text_len(*number),
            Part::Object(_) => 0,
        }
    }
}

/// A key with its value, owned.
///
/// Not `Sync`: the access clock is written through a shared reference, as in a `Cell`.
pub struct Entry(NonNull<u8>);

// SAFETY: an entry owns its allocation and its object (an `Arc` of bytes), nothing of which is bound to a thread.
unsafe impl Send for Entry {}

// SAFETY: the raw form is the allocation's address, at least 8-aligned; `key_of` reads the key that stays in the
// allocation as long as the entry lives.
unsafe impl Element for Entry {
    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).0
    }
    unsafe fn from_raw(raw: NonNull<u8>) -> Entry {
        Entry(raw)
    }
    unsafe fn key_of<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: the caller vouches that `raw` is a live entry for 'a.
        unsafe { key_at(raw) }
    }
}

/// The key of a live entry.
///
/// # Safety
/// `raw` is the address of an entry that lives for `'a`, whose key is not moved meanwhile.
#[inline]
unsafe fn key_at<'a>(raw: NonNull<u8>) -> &'a [u8] {
    // SAFETY: the header is initialised and says where the key is.
    unsafe {
        let head = Head(raw.cast::<u64>().read());
        let mut at = if head.has(EXPIRY) { HEADER + 8 } else { HEADER };
        let mut len = usize::from(head.short_key());
        if head.has(LONG_KEY) {
            len = raw.add(at).cast::<u64>().read() as usize;
            at += 8;
        }
        std::slice::from_raw_parts(raw.add(at).as_ptr(), len)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let capacity = self.capacity();
        if self.head().holds_object() {
            // SAFETY: the object is there and is not used again.
            drop(unsafe { self.read_object() });
        }
        // SAFETY: the allocation was made with this size and alignment.
        unsafe { std::alloc::dealloc(self.0.as_ptr(), layout(capacity)) }
    }
}

fn layout(capacity: usize) -> Layout {
    // A capacity beyond isize::MAX cannot be allocated by anyone: the key of such an entry could not exist.
    Layout::from_size_align(capacity, 8)
        .unwrap_or_else(|_| std::alloc::handle_alloc_error(Layout::new::<u64>()))
}

impl Entry {
    /// A new entry. `access` is its access clock, `at` its expiry in Unix ms.
    pub fn new(key: &[u8], value: NewValue<'_>, access: u32, at: Option<i64>) -> Entry {
        match value {
            NewValue::Int(number) => Entry::build(key, access, at, Part::Int(number)),
            NewValue::String(bytes) => Entry::build(key, access, at, part_of(bytes, false)),
            NewValue::Raw(bytes) => Entry::build(key, access, at, part_of(bytes, true)),
            NewValue::Text(bytes) if bytes.len() <= EMBED_MAX => {
                Entry::build(key, access, at, Part::Bytes { bytes, raw: false })
            }
            NewValue::Blob(blob) if blob.len() <= EMBED_MAX => {
                Entry::build(key, access, at, part_of(&blob, false))
            }
            other => Entry::build(key, access, at, Part::Object(object_of(other))),
        }
    }

    fn build(key: &[u8], access: u32, at: Option<i64>, part: Part<'_>) -> Entry {
        let shape = Shape::new(at.is_some(), key.len(), part.encoding(), part.value_len());
        let layout = layout(size_class(shape.size));
        // SAFETY: the size is not zero.
        let Some(raw) = NonNull::new(unsafe { std::alloc::alloc(layout) }) else {
            std::alloc::handle_alloc_error(layout)
        };
        let mut entry = ManuallyDrop::new(Entry(raw));
        // SAFETY: the allocation has room for `shape`; all parts are written before the entry is used.
        unsafe {
            entry.write_key_len(at.is_some(), key.len());
            raw.add(shape.key_at)
                .copy_from_nonoverlapping(NonNull::from(key).cast::<u8>(), key.len());
            entry.write_part(shape, key.len(), access, 0, at, part);
        }
        ManuallyDrop::into_inner(entry)
    }

    /// Writes the long key length where the key needs one.
    ///
    /// # Safety
    /// The allocation has room for it.
    unsafe fn write_key_len(&mut self, expiry: bool, key_len: usize) {
        if key_len > 255 {
            let at = if expiry { HEADER + 8 } else { HEADER };
            // SAFETY: the caller's.
            unsafe { self.0.add(at).cast::<u64>().write(key_len as u64) }
        }
    }

    /// Writes expiry, value and header.
    ///
    /// # Safety
    /// The allocation has room for `shape`, which was computed for these arguments; what was there needs no drop.
    unsafe fn write_part(
        &mut self,
        shape: Shape,
        key_len: usize,
        access: u32,
        slack: u8,
        at: Option<i64>,
        part: Part<'_>,
    ) {
        let mut flags = slack;
        let (encoding, value_len) = (part.encoding(), part.value_len());
        let mut kind = Type::String;
        // SAFETY: the caller's; objects are written to an aligned place.
        unsafe {
            if let Some(at) = at {
                flags |= EXPIRY;
                self.0.add(HEADER).cast::<i64>().write(at);
            }
            let place = self.0.add(shape.value_at);
            match part {
                Part::Int(number) => place.cast::<i64>().write_unaligned(number),
                Part::Bytes { bytes, raw } => {
                    if raw {
                        flags |= RAW;
                    }
                    place.copy_from_nonoverlapping(NonNull::from(bytes).cast::<u8>(), bytes.len());
                }
                Part::Object(object) => {
                    kind = object.kind();
                    match object {
                        Object::Blob(blob) => place.cast::<Blob>().write(blob),
                        Object::List(list) => place.cast::<List>().write(list),
                        Object::Set(set) => place.cast::<Set>().write(set),
                        Object::SortedSet(set) => place.cast::<Box<SortedSet>>().write(set),
                        Object::Hash(hash) => place.cast::<Box<Hash>>().write(hash),
                        Object::Stream(stream) => place.cast::<Box<Stream>>().write(stream),
                    }
                }
            }
        }
        let short_key = if key_len > 255 {
            flags |= LONG_KEY;
            0
        } else {
            key_len as u8
        };
        self.set_head(Head::new(
            kind,
            encoding,
            flags,
            access,
            short_key,
            value_len as u16,
        ));
    }

    #[inline]
    pub(super) fn head(&self) -> Head {
        // SAFETY: the header is initialised as long as the entry lives.
        Head(unsafe { self.0.cast::<u64>().read() })
    }
    #[inline]
    fn set_head(&self, head: Head) {
        // SAFETY: as above; no reference to the header is ever given out, and the type is not `Sync`.
        unsafe { self.0.cast::<u64>().write(head.0) }
    }
    #[inline]
    fn key_len(&self) -> usize {
        self.key().len()
    }
    #[inline]
    fn shape(&self) -> Shape {
        let head = self.head();
        Shape::new(
            head.has(EXPIRY),
            self.key_len(),
            head.encoding(),
            head.value_len(),
        )
    }
    /// Size of the allocation.
    #[inline]
    fn capacity(&self) -> usize {
        let mut class = size_class(self.shape().size);
        for _ in 0..(self.head().flags() & SLACK_MASK) >> SLACK_SHIFT {
            class = next_class(class);
        }
        class
    }
    /// Takes the object out, leaving its bits behind.
    ///
    /// # Safety
    /// The encoding is OBJECT and the object is not taken twice.
    unsafe fn read_object(&self) -> Object {
        assert!(
            self.head().holds_object(),
            "no object, or one that has moved"
        );
        // SAFETY: the caller's; the type in the header says what is there.
        unsafe {
            let place = self.0.add(self.shape().value_at);
            match self.head().kind() {
                Type::String => Object::Blob(place.cast::<Blob>().read()),
                Type::List => Object::List(place.cast::<List>().read()),
                Type::Set => Object::Set(place.cast::<Set>().read()),
                Type::SortedSet => Object::SortedSet(place.cast::<Box<SortedSet>>().read()),
                Type::Hash => Object::Hash(place.cast::<Box<Hash>>().read()),
                Type::Stream => Object::Stream(place.cast::<Box<Stream>>().read()),
                Type::Module => unreachable!("no object of a module is ever written"),
            }
        }
    }
    /// Takes the object out for another entry; this one is only good to be dropped afterwards.
    fn move_object(&mut self) -> Object {
        // SAFETY: the encoding was checked by the caller (and is asserted); MOVED keeps it from being taken twice.
        let object = unsafe { self.read_object() };
        self.set_head(self.head().with_flags(self.head().flags() | MOVED));
        object
    }
    /// The object, if there is one of this type that has not moved into another entry, whose owner may free it.
    ///
    /// # Safety
    /// `T` is the type that [`Entry::write_part`] writes for `kind`.
    #[inline]
    unsafe fn object<T>(&self, kind: Type) -> Option<&T> {
        let head = self.head();
        if !head.holds_object() || head.kind() != kind {
            return None;
        }
        // SAFETY: the caller's: such an object stands in an aligned place; borrowed no longer than the entry.
        Some(unsafe { self.0.add(self.shape().value_at).cast::<T>().as_ref() })
    }
    /// The object to change, if there is one of this type ([`Entry::object`]).
    ///
    /// # Safety
    /// As for [`Entry::object`].
    #[inline]
    unsafe fn object_mut<T>(&mut self, kind: Type) -> Option<&mut T> {
        let head = self.head();
        if !head.holds_object() || head.kind() != kind {
            return None;
        }
        // SAFETY: as above, exclusively.
        Some(unsafe { self.0.add(self.shape().value_at).cast::<T>().as_mut() })
    }
    fn blob(&self) -> Option<&Blob> {
        // SAFETY: a string's object is a `Blob`.
        unsafe { self.object(Type::String) }
    }
    fn blob_mut(&mut self) -> Option<&mut Blob> {
        // SAFETY: a string's object is a `Blob`.
        unsafe { self.object_mut(Type::String) }
    }
    /// The list; else WRONGTYPE.
    #[inline]
    pub fn list(&self) -> Result<&List, WrongType> {
        // SAFETY: a list's object is a `List`.
        unsafe { self.object::<List>(Type::List) }.ok_or(WrongType)
    }
    /// The set; else WRONGTYPE.
    #[inline]
    pub fn set(&self) -> Result<&Set, WrongType> {
        // SAFETY: a set's object is a `Set`.
        unsafe { self.object::<Set>(Type::Set) }.ok_or(WrongType)
    }
    /// The sorted set; else WRONGTYPE.
    #[inline]
    pub fn sorted_set(&self) -> Result<&SortedSet, WrongType> {
        // SAFETY: a sorted set's object is a boxed `SortedSet`.
        unsafe { self.object::<Box<SortedSet>>(Type::SortedSet) }
            .map(|it| &**it)
            .ok_or(WrongType)
    }
    /// The hash; else WRONGTYPE.
    #[inline]
    pub fn hash(&self) -> Result<&Hash, WrongType> {
        // SAFETY: a hash's object is a boxed `Hash`.
        unsafe { self.object::<Box<Hash>>(Type::Hash) }
            .map(|it| &**it)
            .ok_or(WrongType)
    }
    /// The stream; else WRONGTYPE.
    #[inline]
    pub fn stream(&self) -> Result<&Stream, WrongType> {
        // SAFETY: a stream's object is a boxed `Stream`.
        unsafe { self.object::<Box<Stream>>(Type::Stream) }
            .map(|it| &**it)
            .ok_or(WrongType)
    }
    /// The list, to change; else WRONGTYPE.
    #[inline]
    pub fn list_mut(&mut self) -> Result<&mut List, WrongType> {
        // SAFETY: a list's object is a `List`.
        unsafe { self.object_mut::<List>(Type::List) }.ok_or(WrongType)
    }
    /// The set, to change; else WRONGTYPE.
    #[inline]
    pub fn set_mut(&mut self) -> Result<&mut Set, WrongType> {
        // SAFETY: a set's object is a `Set`.
        unsafe { self.object_mut::<Set>(Type::Set) }.ok_or(WrongType)
    }
    /// The sorted set, to change; else WRONGTYPE.
    #[inline]
    pub fn sorted_set_mut(&mut self) -> Result<&mut SortedSet, WrongType> {
        // SAFETY: a sorted set's object is a boxed `SortedSet`.
        unsafe { self.object_mut::<Box<SortedSet>>(Type::SortedSet) }
            .map(|it| &mut **it)
            .ok_or(WrongType)
    }
    /// The hash, to change; else WRONGTYPE.
    #[inline]
    pub fn hash_mut(&mut self) -> Result<&mut Hash, WrongType> {
        // SAFETY: a hash's object is a boxed `Hash`.
        unsafe { self.object_mut::<Box<Hash>>(Type::Hash) }
            .map(|it| &mut **it)
            .ok_or(WrongType)
    }
    /// The stream, to change; else WRONGTYPE.
    #[inline]
    pub fn stream_mut(&mut self) -> Result<&mut Stream, WrongType> {
        // SAFETY: a stream's object is a boxed `Stream`.
        unsafe { self.object_mut::<Box<Stream>>(Type::Stream) }
            .map(|it| &mut **it)
            .ok_or(WrongType)
    }
    /// The value, whatever its type; not to be asked for once it has moved.
    pub fn stored(&self) -> Stored<'_> {
        let known = match self.kind() {
            Type::String => self.string().map(Stored::String),
            Type::List => self.list().map(Stored::List),
            Type::Set => self.set().map(Stored::Set),
            Type::SortedSet => self.sorted_set().map(Stored::SortedSet),
            Type::Hash => self.hash().map(Stored::Hash),
            Type::Stream => self.stream().map(Stored::Stream),
            Type::Module => Err(WrongType),
        };
        known.unwrap_or_else(|_| unreachable!("the type in the header says what is there"))
    }
    /// The value as a collection, unless it is a string.
    pub(super) fn collection(&self) -> Option<&dyn Collection> {
        match self.stored() {
            Stored::String(_) => None,
            Stored::List(it) => Some(it),
            Stored::Set(it) => Some(it),
            Stored::SortedSet(it) => Some(it),
            Stored::Hash(it) => Some(it),
            Stored::Stream(it) => Some(it),
        }
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        // SAFETY: this entry is alive and borrowed.
        unsafe { key_at(self.0) }
    }
    /// Type of the value.
    #[inline]
    pub fn kind(&self) -> Type {
        self.head().kind()
    }
    /// The value of a string.
    #[inline]
    pub fn string(&self) -> Result<Value<'_>, WrongType> {
        let head = self.head();
        if head.kind() != Type::String {
            return Err(WrongType);
        }
        let place = self.shape().value_at;
        // SAFETY: the encoding says what is at the value's place.
        unsafe {
            let place = self.0.add(place);
            Ok(match head.encoding() {
                INT => Value::Int(place.cast::<i64>().read_unaligned()),
                EMBEDDED => {
                    Value::Bytes(std::slice::from_raw_parts(place.as_ptr(), head.value_len()))
                }
                _ => Value::Blob(place.cast::<Blob>().as_ref()),
            })
        }
    }
    /// The expiry in Unix ms, if the key has one.
    #[inline]
    pub fn expire_at(&self) -> Option<i64> {
        // SAFETY: the flag says that the expiry is there.
        self.head()
            .has(EXPIRY)
            .then(|| unsafe { self.0.add(HEADER).cast::<i64>().read() })
    }
    /// Whether the key has expired: its time is over, not just reached.
    #[inline]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expire_at().is_some_and(|at| now_ms > at)
    }
    /// The access clock.
    #[inline]
    pub fn access(&self) -> u32 {
        self.head().access()
    }
    /// Sets the access clock.
    #[inline]
    pub fn set_access(&self, bits: u32) {
        self.set_head(self.head().with_access(bits));
    }
    /// Name for OBJECT ENCODING.
    pub fn encoding(&self) -> &'static str {
        let head = self.head();
        match (head.kind(), head.encoding()) {
            (Type::String, INT) => "int",
            (Type::String, EMBEDDED) if head.value_len() <= EMBSTR_MAX && !head.has(RAW) => {
                "embstr"
            }
            (Type::String, _) => "raw",
            _ => self.collection().map_or("unknown", Collection::encoding),
        }
    }
    /// Bytes of the entry and its value with the allocator's rounding; elements of a collection are extrapolated from
    /// `samples` of them (0: all are counted).
    pub fn memory_bytes(&self, samples: usize) -> usize {
        if let Some(collection) = self.collection() {
            return self.capacity() + collection.memory_bytes(samples);
        }
        let object = match self.blob() {
            // Reference counts and the vector's own three words, then its buffer.
            Some(blob) => size_class(16 + size_of::<Vec<u8>>()) + size_class(blob.capacity()),
            None => 0,
        };
        self.capacity() + object
    }
    /// Number of steps that freeing takes, in elements of a collection (Redis's `lazyfreeGetFreeEffort`).
    #[inline]
    pub fn free_effort(&self) -> usize {
        // Also where the value has moved into another entry: only the key is left here.
        if !self.head().holds_object() {
            return 1;
        }
        match self.blob() {
            Some(blob) if Arc::strong_count(blob) == 1 => blob.capacity() / FREE_UNIT,
            Some(_) => 1,
            None => self.collection().map_or(1, Collection::free_effort),
        }
    }

    /// Remembers the bin in which the size of what is behind a pointer has been counted.
    #[inline]
    pub(super) fn set_counted(&mut self, at: Counted) {
        let head = self.head();
        if head.encoding() == OBJECT {
            let bits = at.map_or(0, |(_, bin)| bin.to_bits());
            self.set_head(head.with_value_len(bits));
        }
    }

    /// Replaces value and expiry, in place where it fits; otherwise the new entry is returned.
    #[must_use = "a returned entry takes the place of this one"]
    pub fn assign(&mut self, value: NewValue<'_>, at: Option<i64>) -> Option<Entry> {
        match value {
            NewValue::Int(number) => self.put(Part::Int(number), at),
            NewValue::String(bytes) => self.put_bytes(bytes, false, at),
            NewValue::Raw(bytes) => self.put_bytes(bytes, true, at),
            NewValue::Text(bytes) if bytes.len() <= EMBED_MAX => {
                self.put(Part::Bytes { bytes, raw: false }, at)
            }
            NewValue::Blob(blob) if blob.len() <= EMBED_MAX => self.put_bytes(&blob, false, at),
            other => self.put(Part::Object(object_of(other)), at),
        }
    }
    fn put_bytes(&mut self, bytes: &[u8], raw: bool, at: Option<i64>) -> Option<Entry> {
        // A long string over a long string that nobody shares and that has about the right size.
        if bytes.len() > EMBED_MAX
            && let Some(buffer) = self.blob_mut().and_then(Arc::get_mut)
            && buffer.capacity() >= bytes.len()
            && bytes.len() >= buffer.capacity() / 4 * 3
        {
            buffer.clear();
            buffer.extend_from_slice(bytes);
            return self.set_expiry(at);
        }
        self.put(part_of(bytes, raw), at)
    }
    #[inline]
    fn put(&mut self, part: Part<'_>, at: Option<i64>) -> Option<Entry> {
        if self.put_over(&part, at) {
            return None;
        }
        self.put_elsewhere(part, at)
    }
    /// Writes a number over a number, or bytes over as many bytes, where the expiry stays there or away as well: nothing
    /// moves then. Whether it was so. It is what counters do, and values of one form.
    #[inline]
    fn put_over(&mut self, part: &Part<'_>, at: Option<i64>) -> bool {
        let head = self.head();
        let value_len = part.value_len();
        let is_alike = match part {
            Part::Int(_) => head.encoding() == INT,
            Part::Bytes { .. } => head.encoding() == EMBEDDED && head.value_len() == value_len,
            Part::Object(_) => false,
        };
        if !is_alike || head.has(EXPIRY) != at.is_some() {
            return false;
        }
        let place = self.shape().value_at;
        let mut flags = head.flags() & !RAW;
        // SAFETY: the shape is the one that the entry has: the expiry's place is there where it has one, and a value of
        // this encoding and length stands at `place`, which needs no drop.
        unsafe {
            if let Some(at) = at {
                self.0.add(HEADER).cast::<i64>().write(at);
            }
            let place = self.0.add(place);
            match part {
                Part::Int(number) => place.cast::<i64>().write_unaligned(*number),
                Part::Bytes { bytes, raw } => {
                    if *raw {
                        flags |= RAW;
                    }
                    place.copy_from_nonoverlapping(NonNull::from(*bytes).cast::<u8>(), value_len);
                }
                Part::Object(_) => {}
            }
        }
        self.set_head(head.with_flags(flags).with_value_len(value_len as u16));
        true
    }
    fn put_elsewhere(&mut self, part: Part<'_>, at: Option<i64>) -> Option<Entry> {
        let head = self.head();
        let key_len = self.key_len();
        // An object is replaced with its entry, so that the owner can have both freed elsewhere.
        if head.encoding() != OBJECT {
            let shape = Shape::new(at.is_some(), key_len, part.encoding(), part.value_len());
            if let Some(slack) = fit(shape.size, self.capacity()) {
                let old_key_at = self.shape().key_at;
                // SAFETY: `fit` says that the new shape has room; the old value needs no drop. The key is moved first,
                // since it is the only thing that is kept; the regions may overlap.
                unsafe {
                    if old_key_at != shape.key_at {
                        self.0
                            .add(shape.key_at)
                            .copy_from(self.0.add(old_key_at), key_len);
                        self.write_key_len(at.is_some(), key_len);
                    }
                    self.write_part(shape, key_len, head.access(), slack, at, part);
                }
                return None;
            }
        }
        Some(Entry::build(self.key(), head.access(), at, part))
    }

    /// Sets or removes the expiry, in place where it fits; otherwise the new entry is returned and this one is only
    /// good to be dropped.
    #[must_use = "a returned entry takes the place of this one"]
    pub fn set_expiry(&mut self, at: Option<i64>) -> Option<Entry> {
        let head = self.head();
        if head.has(EXPIRY) != at.is_some() {
            let old_size = self.shape().size;
            let (from, to) = if at.is_some() {
                (HEADER, HEADER + 8)
            } else {
                (HEADER + 8, HEADER)
            };
            let Some(slack) = fit(old_size - from + to, self.capacity()) else {
                let part = match head.encoding() {
                    OBJECT => Part::Object(self.move_object()),
                    _ => self.part(),
                };
                let new = Entry::build(self.key(), head.access(), at, part);
                if head.encoding() == OBJECT {
                    new.set_head(new.head().with_value_len(head.value_len() as u16));
                }
                return Some(new);
            };
            // SAFETY: everything behind the expiry moves by eight bytes, which keeps an object aligned; `fit` says
            // that there is room.
            unsafe { self.0.add(to).copy_from(self.0.add(from), old_size - from) };
            let flags = head.flags() & !(EXPIRY | SLACK_MASK)
                | slack
                | if at.is_some() { EXPIRY } else { 0 };
            self.set_head(head.with_flags(flags));
        }
        if let Some(at) = at {
            // SAFETY: the expiry is there now.
            unsafe { self.0.add(HEADER).cast::<i64>().write(at) };
        }
        None
    }

    /// Appends to a string; its new length, and the new entry where this one had no room.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(usize, Option<Entry>), WrongType> {
        let old_len = self.string()?.len();
        Ok(self.write_at(old_len, old_len, bytes))
    }
    /// Overwrites a string from `offset`, padding with zero bytes; its new length, and the new entry where this one had
    /// no room.
    pub fn set_range(
        &mut self,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(usize, Option<Entry>), WrongType> {
        let old_len = self.string()?.len();
        Ok(self.write_at(old_len, offset, bytes))
    }
    fn write_at(&mut self, old_len: usize, offset: usize, bytes: &[u8]) -> (usize, Option<Entry>) {
        let new_len = old_len.max(offset.saturating_add(bytes.len()));
        let head = self.head();
        if let Some(blob) = self.blob_mut() {
            match Arc::get_mut(blob) {
                Some(buffer) => overlay(buffer, offset, bytes),
                // Shared with an output buffer or a copied key: they keep the old one.
                None => {
                    let mut buffer = Vec::with_capacity(new_len.saturating_add(new_len / 4));
                    buffer.extend_from_slice(blob);
                    overlay(&mut buffer, offset, bytes);
                    *blob = Arc::new(buffer);
                }
            }
            return (new_len, None);
        }
        if head.encoding() == EMBEDDED && new_len <= EMBED_MAX {
            let shape = Shape::new(head.has(EXPIRY), self.key_len(), EMBEDDED, new_len);
            if let Some(slack) = fit(shape.size, self.capacity()) {
                // SAFETY: there is room for the longer value; bytes between the old end and the offset are zeroed.
                unsafe {
                    let value = self.0.add(shape.value_at);
                    if offset > old_len {
                        value.add(old_len).write_bytes(0, offset - old_len);
                    }
                    value
                        .add(offset)
                        .copy_from_nonoverlapping(NonNull::from(bytes).cast::<u8>(), bytes.len());
                }
                let flags = head.flags() & !SLACK_MASK | slack | RAW;
                let short_key = head.short_key();
                self.set_head(Head::new(
                    Type::String,
                    EMBEDDED,
                    flags,
                    head.access(),
                    short_key,
                    new_len as u16,
                ));
                return (new_len, None);
            }
        }
        let mut buffer = Vec::with_capacity(if new_len > EMBED_MAX {
            new_len.saturating_add(new_len / 4)
        } else {
            new_len
        });
        if let Ok(value) = self.string() {
            value.with_bytes(|old| buffer.extend_from_slice(old));
        }
        overlay(&mut buffer, offset, bytes);
        let at = self.expire_at();
        let new = if new_len > EMBED_MAX {
            self.put(Part::Object(Object::Blob(Arc::new(buffer))), at)
        } else {
            self.put(
                Part::Bytes {
                    bytes: &buffer,
                    raw: true,
                },
                at,
            )
        };
        (new_len, new)
    }

    /// Shortens a string; the new entry where this one would have too much room.
    pub fn truncate(&mut self, len: usize) -> Result<Option<Entry>, WrongType> {
        let head = self.head();
        let old_len = self.string()?.len();
        if len >= old_len {
            return Ok(None);
        }
        if let Some(blob) = self.blob_mut() {
            Arc::make_mut(blob).truncate(len);
            return Ok(None);
        }
        let shape = Shape::new(head.has(EXPIRY), self.key_len(), EMBEDDED, len);
        if head.encoding() == EMBEDDED
            && let Some(slack) = fit(shape.size, self.capacity())
        {
            let flags = head.flags() & !SLACK_MASK | slack | RAW;
            let (access, short_key) = (head.access(), head.short_key());
            self.set_head(Head::new(
                Type::String,
                EMBEDDED,
                flags,
                access,
                short_key,
                len as u16,
            ));
            return Ok(None);
        }
        let mut bytes = self.string()?.to_vec();
        bytes.truncate(len);
        let part = Part::Bytes {
            bytes: &bytes,
            raw: true,
        };
        Ok(self.put(part, self.expire_at()))
    }

    /// The value as a part that borrows from the entry; not for objects.
    fn part(&self) -> Part<'_> {
        match self.string() {
            Ok(Value::Int(number)) => Part::Int(number),
            Ok(Value::Bytes(bytes)) => Part::Bytes {
                bytes,
                raw: self.head().has(RAW),
            },
            Ok(Value::Blob(blob)) => Part::Object(Object::Blob(Arc::clone(blob))),
            Err(WrongType) => Part::Object(match self.stored() {
                Stored::List(it) => Object::List(it.clone()),
                Stored::Set(it) => Object::Set(it.clone()),
                Stored::SortedSet(it) => Object::SortedSet(Box::new(it.clone())),
                Stored::Hash(it) => Object::Hash(Box::new(it.clone())),
                Stored::Stream(it) => Object::Stream(Box::new(it.clone())),
                Stored::String(_) => unreachable!("strings are handled above"),
            }),
        }
    }
    /// The bytes of a string, to be changed in place; an integer becomes its text, a shared long string a copy. `Err`
    /// holds the new entry, which takes this one's place and has such bytes.
    pub fn bytes_mut(&mut self) -> Result<&mut [u8], BytesMut> {
        let head = self.head();
        if head.kind() != Type::String {
            return Err(BytesMut::WrongType);
        }
        match head.encoding() {
            INT => {
                let text = self.string().map(|value| value.to_vec());
                let part = Part::Bytes {
                    bytes: &text.unwrap_or_default(),
                    raw: true,
                };
                match self.put(part, self.expire_at()) {
                    Some(entry) => Err(BytesMut::Moved(entry)),
                    None => self.bytes_mut(),
                }
            }
            EMBEDDED => {
                self.set_head(head.with_flags(head.flags() | RAW));
                let place = self.shape().value_at;
                // SAFETY: an embedded string has so many bytes there; borrowed exclusively.
                Ok(unsafe {
                    std::slice::from_raw_parts_mut(self.0.add(place).as_ptr(), head.value_len())
                })
            }
            _ => match self.blob_mut() {
                Some(blob) => Ok(Arc::make_mut(blob).as_mut_slice()),
                None => Err(BytesMut::WrongType),
            },
        }
    }
    /// An entry with this value under another key; expiry and access clock go along.
    pub fn renamed(mut self, key: &[u8]) -> Entry {
        let (access, at) = (self.access(), self.expire_at());
        if self.head().encoding() == OBJECT {
            let object = self.move_object();
            return Entry::build(key, access, at, Part::Object(object));
        }
        Entry::build(key, access, at, self.part())
    }
    /// A copy of the value under another key, expiry included; long strings are shared until one of them changes.
    pub fn copied(&self, key: &[u8], access: u32) -> Entry {
        Entry::build(key, access, self.expire_at(), self.part())
    }
    /// Another name for the same entry.
    ///
    /// # Safety
    /// It is used only while the entry lives, and never dropped as an `Entry`.
    #[inline]
    pub(super) unsafe fn alias(&self) -> ManuallyDrop<Entry> {
        ManuallyDrop::new(Entry(self.0))
    }
    /// Whether both are names of one entry.
    #[inline]
    pub(super) fn is_same(&self, other: &Entry) -> bool {
        self.0 == other.0
    }
}

/// Why [`Entry::bytes_mut`] gives no bytes.
pub enum BytesMut {
    /// Not a string.
    WrongType,
    /// There was no room: this entry takes the place of the old one.
    Moved(Entry),
}

/// The form in which bytes are best stored.
fn part_of(bytes: &[u8], raw: bool) -> Part<'_> {
    if !raw
        && bytes.len() <= crate::system::numbers::I64_TEXT_MAX
        && let Some(number) = parse_i64(bytes)
    {
        return Part::Int(number);
    }
    if bytes.len() <= EMBED_MAX {
        return Part::Bytes { bytes, raw };
    }
    Part::Object(Object::Blob(Arc::new(bytes.to_vec())))
}

/// Writes `bytes` at `offset`, padding with zero bytes.
fn overlay(buffer: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if offset > buffer.len() {
        buffer.resize(offset, 0);
    }
    let kept = (buffer.len() - offset).min(bytes.len());
    buffer[offset..offset + kept].copy_from_slice(&bytes[..kept]);
    buffer.extend_from_slice(&bytes[kept..]);
}
