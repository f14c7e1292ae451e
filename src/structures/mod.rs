//! Pure data structures, which know neither clients nor commands.
//!
//! In come bytes and elements, out come the same, found, ordered or counted. Each file states its
//! own invariants and which Redis file it mirrors. `unsafe` is allowed here, file by file.

pub mod bits;
mod blob;
mod bytes;
pub mod dict;
pub mod geohash;
pub mod hash;
pub mod hyperloglog;
pub mod intset;
pub mod list;
pub mod listpack;
pub mod member;
mod one_of;
pub mod quicklist;
pub mod set;
pub mod slots;
pub mod sorted_set;
pub mod stream;

pub use blob::Blob;

/// What the keyspace asks of every collection.
pub trait Collection {
    /// Number of elements (of a stream: entries).
    fn len(&self) -> usize;
    /// Whether there are none. An empty collection is removed with its key, save a stream.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Name for OBJECT ENCODING.
    fn encoding(&self) -> &'static str;
    /// Bytes with the allocator's rounding, without the entry; elements that have allocations of their own are
    /// extrapolated from `samples` of them (0: all are counted).
    fn memory_bytes(&self, samples: usize) -> usize;
    /// Number of allocations to free, about (Redis's `lazyfreeGetFreeEffort`).
    fn free_effort(&self) -> usize;
}
