//! What waits to be written to one client.
//!
//! Bytes are appended to `tail`; when that is full it becomes a chunk of the queue and a new tail
//! begins, so that a long reply is never copied to grow. A large value is not copied at all but
//! queued as a shared chunk.
//!
//! ```text
//!   chunks: [ owned: sent | pending ] [ shared value ] [ owned ] ...   tail: [ sent | pending | room ]
//!                          ^ next byte to write                                ^ (if chunks is empty)
//! ```
//!
//! Invariants, checked after each step in debug builds: no chunk is empty; the tail has sent bytes
//! only if there are no chunks; `queued` and `chunk_memory` are the sums over the chunks. An idle
//! client holds no buffer: [`OutputBuffer::release`] gives it back.
//!
//! It stands in this module and not in `net/` because replies are written into it and blobs queued in
//! it; `net` re-exports it. Mirrors the reply list of Redis's `networking.c`.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use crate::structures::Blob;

/// How long the tail may become before it is queued as a chunk.
const CHUNK_LEN: usize = 16 * 1024;
/// The first allocation, if no buffer was installed.
const FIRST_LEN: usize = 1024;
/// A tail of less than this is copied out when it must be queued, so that it keeps its buffer.
const SMALL_TAIL_LEN: usize = 4 * 1024;

#[derive(Debug)]
enum ChunkBytes {
    Owned(Vec<u8>),
    Shared(Blob),
}

#[derive(Debug)]
struct Chunk {
    bytes: ChunkBytes,
    /// So many bytes at the front are written.
    sent: usize,
}

impl Chunk {
    fn pending(&self) -> &[u8] {
        let bytes = match &self.bytes {
            ChunkBytes::Owned(bytes) => bytes.as_slice(),
            ChunkBytes::Shared(blob) => blob.as_slice(),
        };
        bytes.get(self.sent..).unwrap_or_default()
    }

    /// Shared bytes count in full: as long as they wait here they cannot be freed.
    fn memory(&self) -> usize {
        match &self.bytes {
            ChunkBytes::Owned(bytes) => bytes.capacity(),
            ChunkBytes::Shared(blob) => blob.capacity(),
        }
    }
}

/// The output buffer of one client.
#[derive(Debug, Default)]
pub struct OutputBuffer {
    tail: Vec<u8>,
    /// So many bytes at the front of the tail are written.
    tail_sent: usize,
    chunks: VecDeque<Chunk>,
    /// Pending bytes of all chunks.
    queued: usize,
    /// Memory of all chunks.
    chunk_memory: usize,
    /// Bytes that were written, or dropped by `clear`, since the beginning.
    gone: u64,
}

impl OutputBuffer {
    /// An empty buffer; allocates nothing.
    pub fn new() -> OutputBuffer {
        OutputBuffer::default()
    }

    /// Bytes that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.queued
            .wrapping_add(self.tail.len().wrapping_sub(self.tail_sent))
    }

    /// Nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes that were ever appended.
    #[inline]
    pub fn total_bytes(&self) -> u64 {
        self.gone.wrapping_add(self.len() as u64)
    }

    /// The tail, with room for `n` more bytes in one piece.
    #[inline]
    pub fn room(&mut self, n: usize) -> &mut Vec<u8> {
        if self.tail.capacity().wrapping_sub(self.tail.len()) < n {
            self.make_room(n);
        }
        &mut self.tail
    }

    /// Appends bytes.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        if bytes.len() > CHUNK_LEN {
            return self.extend_large(bytes);
        }
        self.room(bytes.len()).extend_from_slice(bytes);
    }

    /// Appends a shared value without copying it.
    pub fn push_blob(&mut self, blob: Blob) {
        if blob.is_empty() {
            return;
        }
        self.queue_tail();
        self.queue(ChunkBytes::Shared(blob), 0);
        self.check();
    }

    /// Fills `slices` with the front of what waits, for a vectored write; returns how many it used.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = self.tail.get(self.tail_sent..).unwrap_or_default();
        let pending = self.chunks.iter().map(Chunk::pending);
        let all = pending.chain((!tail.is_empty()).then_some(tail));
        let mut used = 0usize;
        for (slot, bytes) in slices.iter_mut().zip(all) {
            *slot = IoSlice::new(bytes);
            used = used.saturating_add(1);
        }
        used
    }

    /// The front of what waits, in one piece: all of it if nothing is queued before the tail.
    pub fn front(&self) -> &[u8] {
        match self.chunks.front() {
            Some(chunk) => chunk.pending(),
            None => self.tail.get(self.tail_sent..).unwrap_or_default(),
        }
    }

    /// So many bytes were written.
    pub fn advance(&mut self, n: usize) {
        debug_assert!(n <= self.len());
        let mut left = n.min(self.len());
        self.gone = self.gone.wrapping_add(left as u64);
        while let Some(chunk) = self.chunks.front_mut() {
            let pending = chunk.pending().len();
            if left < pending {
                chunk.sent = chunk.sent.saturating_add(left);
                self.queued = self.queued.saturating_sub(left);
                left = 0;
                break;
            }
            left = left.saturating_sub(pending);
            self.queued = self.queued.saturating_sub(pending);
            self.chunk_memory = self.chunk_memory.saturating_sub(chunk.memory());
            self.chunks.pop_front();
        }
        self.tail_sent = self.tail_sent.saturating_add(left);
        if self.tail_sent >= self.tail.len() {
            self.tail.clear();
            self.tail_sent = 0;
        }
        self.check();
    }

    /// What it holds, for the limits: buffers at their full size, and shared values.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        self.chunk_memory.saturating_add(self.tail.capacity())
    }

    /// Figures for CLIENT LIST: bytes that wait in the tail, size of the tail, number of chunks before it, and what all hold
    /// when there are such: by that figure (`omem`) the limits are followed from outside.
    pub fn figures(&self) -> (usize, usize, usize, usize) {
        let is_queued = !self.chunks.is_empty();
        (
            self.tail.len().saturating_sub(self.tail_sent),
            self.tail.capacity(),
            self.chunks.len(),
            if is_queued { self.memory_bytes() } else { 0 },
        )
    }

    /// Drops all that waits and all memory.
    pub fn clear(&mut self) {
        *self = OutputBuffer {
            gone: self.total_bytes(),
            ..OutputBuffer::default()
        };
    }

    /// Gives an idle client a buffer, from a pool. Ignored (and dropped) if it has a better one.
    pub fn install(&mut self, mut buffer: Vec<u8>) {
        if self.tail.is_empty() && buffer.capacity() > self.tail.capacity() {
            buffer.clear();
            self.tail = buffer;
            self.tail_sent = 0;
        }
    }

    /// True if there is a buffer to append to.
    #[inline]
    pub fn has_buffer(&self) -> bool {
        self.tail.capacity() > 0
    }

    /// When nothing waits: takes the buffer, for a pool.
    pub fn release(&mut self) -> Option<Vec<u8>> {
        if !self.is_empty() || self.tail.capacity() == 0 {
            return None;
        }
        self.chunks = VecDeque::new();
        self.tail_sent = 0;
        let mut buffer = std::mem::take(&mut self.tail);
        buffer.clear();
        Some(buffer)
    }

    /// A copy of all that waits.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        for chunk in &self.chunks {
            all.extend_from_slice(chunk.pending());
        }
        all.extend_from_slice(self.tail.get(self.tail_sent..).unwrap_or_default());
        all
    }

    /// Moves all that waits behind what `into` holds, and keeps the room of the tail.
    pub fn drain_into(&mut self, into: &mut Vec<u8>) {
        while let Some(chunk) = self.chunks.pop_front() {
            into.extend_from_slice(chunk.pending());
        }
        into.extend_from_slice(self.tail.get(self.tail_sent..).unwrap_or_default());
        let gone = self.total_bytes();
        self.tail.clear();
        self.tail_sent = 0;
        self.queued = 0;
        self.chunk_memory = 0;
        self.gone = gone;
        self.check();
    }

    /// Takes all that waits from `other` and appends it; large pieces move without a copy.
    pub fn append(&mut self, other: &mut OutputBuffer) {
        while let Some(chunk) = other.chunks.pop_front() {
            let pending = chunk.pending();
            if pending.len() < SMALL_TAIL_LEN {
                self.extend(pending);
            } else {
                self.queue_tail();
                self.queue(chunk.bytes, chunk.sent);
            }
        }
        self.extend(other.tail.get(other.tail_sent..).unwrap_or_default());
        other.gone = other.gone.wrapping_add(other.queued as u64);
        other.gone = other
            .gone
            .wrapping_add(other.tail.len().saturating_sub(other.tail_sent) as u64);
        other.queued = 0;
        other.chunk_memory = 0;
        other.tail.clear();
        other.tail_sent = 0;
        self.check();
        other.check();
    }

    /// Replaces the `old_len` bytes that were appended at `position` (see
    /// [`OutputBuffer::total_bytes`]) in one piece and not written yet. Costs a move of what follows
    /// in the same chunk if the length differs.
    ///
    /// Positions of later bytes shift; those of earlier ones stay.
    pub fn replace(&mut self, position: u64, old_len: usize, new: &[u8]) {
        let from_end = self.total_bytes().saturating_sub(position);
        let Ok(mut from_end) = usize::try_from(from_end) else {
            return;
        };
        let tail_pending = self.tail.len().saturating_sub(self.tail_sent);
        if from_end <= tail_pending {
            let at = self.tail.len().saturating_sub(from_end);
            splice(&mut self.tail, at, old_len, new);
        } else {
            from_end = from_end.saturating_sub(tail_pending);
            for chunk in self.chunks.iter_mut().rev() {
                let pending = chunk.pending().len();
                if from_end > pending {
                    from_end = from_end.saturating_sub(pending);
                    continue;
                }
                let before = chunk.memory();
                if let ChunkBytes::Owned(bytes) = &mut chunk.bytes {
                    let at = bytes.len().saturating_sub(from_end);
                    splice(bytes, at, old_len, new);
                } else {
                    debug_assert!(false, "no one writes into a shared value");
                }
                let after = chunk.pending().len();
                self.queued = self.queued.saturating_sub(pending).saturating_add(after);
                self.chunk_memory = self
                    .chunk_memory
                    .saturating_sub(before)
                    .saturating_add(chunk.memory());
                break;
            }
        }
        self.check();
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self, n: usize) {
        if self.tail_sent > 0 {
            self.tail.drain(..self.tail_sent);
            self.tail_sent = 0;
        }
        let needed = self.tail.len().saturating_add(n);
        if needed > CHUNK_LEN && !self.tail.is_empty() {
            self.queue_tail();
            if self.tail.capacity() < n {
                self.tail = Vec::with_capacity(CHUNK_LEN.max(n));
            }
        } else if needed > self.tail.capacity() {
            let doubled = self.tail.capacity().saturating_mul(2).min(CHUNK_LEN);
            let capacity = needed.max(doubled).max(FIRST_LEN);
            self.tail
                .reserve_exact(capacity.saturating_sub(self.tail.len()));
        }
        self.check();
    }

    fn extend_large(&mut self, bytes: &[u8]) {
        self.queue_tail();
        self.queue(ChunkBytes::Owned(bytes.to_vec()), 0);
        self.check();
    }

    /// Queues what is in the tail, which is empty afterwards.
    fn queue_tail(&mut self) {
        let pending = self.tail.len().saturating_sub(self.tail_sent);
        if pending > 0 {
            let bytes = if pending < SMALL_TAIL_LEN {
                let bytes = self.tail.get(self.tail_sent..).unwrap_or_default().to_vec();
                self.tail.clear();
                self.tail_sent = 0;
                bytes
            } else {
                std::mem::take(&mut self.tail)
            };
            let sent = std::mem::take(&mut self.tail_sent);
            self.queue(ChunkBytes::Owned(bytes), sent);
        }
        self.tail.clear();
        self.tail_sent = 0;
    }

    fn queue(&mut self, bytes: ChunkBytes, sent: usize) {
        let chunk = Chunk { bytes, sent };
        self.queued = self.queued.saturating_add(chunk.pending().len());
        self.chunk_memory = self.chunk_memory.saturating_add(chunk.memory());
        self.chunks.push_back(chunk);
    }

    #[inline]
    fn check(&self) {
        if cfg!(debug_assertions) {
            assert!(self.tail_sent <= self.tail.len());
            assert!(self.tail_sent == 0 || self.chunks.is_empty());
            // The sums cost a walk, so only short queues are walked each time.
            if self.chunks.len() <= 64 {
                let mut queued = 0usize;
                let mut memory = 0usize;
                for chunk in &self.chunks {
                    assert!(!chunk.pending().is_empty());
                    queued = queued.saturating_add(chunk.pending().len());
                    memory = memory.saturating_add(chunk.memory());
                }
                assert_eq!((queued, memory), (self.queued, self.chunk_memory));
            }
        }
    }
}

/// Replaces `old_len` bytes at `at`.
fn splice(bytes: &mut Vec<u8>, at: usize, old_len: usize, new: &[u8]) {
    let old_end = at.saturating_add(old_len);
    let Some(old) = bytes.get_mut(at..old_end) else {
        debug_assert!(false, "the bytes are not in one piece");
        return;
    };
    if old_len == new.len() {
        old.copy_from_slice(new);
    } else {
        bytes.splice(at..old_end, new.iter().copied());
    }
}

/// A value of at least this length is shared with the reply instead of copied into it.
///
/// Below, the copy is cheaper than a separate slice of the vectored write and the counting.
pub const SHARE_LEN: usize = 16 * 1024;

impl OutputBuffer {
    /// Appends a value: shared if it is long, else copied.
    pub fn extend_blob(&mut self, blob: &Blob) {
        if blob.len() >= SHARE_LEN {
            self.push_blob(Arc::clone(blob));
        } else {
            self.extend(blob);
        }
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
