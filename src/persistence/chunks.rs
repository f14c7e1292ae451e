//! Bytes that a helper makes and the loop takes, in chunks of bounded size.
//!
//! In: pieces of any length, in order. Out: the same bytes as chunks. The helper makes no more of them than wait to be taken
//! anyway, and rests then: it never waits for the loop. Who takes some says when it is to go on.
//!
//! Invariant: what is in a chunk does not depend on when chunks are made or taken, only on the pieces: so a replay and a
//! simulation have the same ones, whatever their helpers are at.

use crate::structures::Blob;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most bytes of a chunk.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that are not taken at which no more chunks are made.
const READY_MAX: usize = 1024 * 1024;

/// Some of the bytes.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// So much of what was given to the helper is done when this is taken, bytes.
    pub(super) done: usize,
}

#[derive(Debug, Default)]
struct Ready {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// Chunks that were made so far.
    made: u64,
    /// The helper has more, and does not make it before it is told to.
    rests: bool,
}

/// What the helper has made and the loop has not taken.
#[derive(Debug, Default)]
pub(super) struct Outlet(Mutex<Ready>);

impl Outlet {
    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Whether there is room for a chunk. Where there is none the helper is taken to rest from now on.
    fn has_room(&self) -> bool {
        let mut ready = self.ready();
        ready.rests = ready.bytes >= READY_MAX;
        !ready.rests
    }
    /// A chunk is made.
    pub(super) fn push(&self, chunk: Chunk) {
        let mut ready = self.ready();
        ready.bytes += chunk.bytes.len();
        ready.made += 1;
        ready.chunks.push_back(chunk);
    }
    /// The next chunk, and whether the helper is to be told to go on, which it has rested for.
    pub(super) fn take(&self) -> Option<(Chunk, bool)> {
        let mut ready = self.ready();
        let chunk = ready.chunks.pop_front()?;
        ready.bytes -= chunk.bytes.len();
        let goes_on = ready.rests && ready.bytes <= READY_MAX / 2;
        ready.rests &= !goes_on;
        Some((chunk, goes_on))
    }
    /// Chunks that were made so far.
    pub(super) fn made(&self) -> u64 {
        self.ready().made
    }
    /// Whether all that was made is taken.
    pub(super) fn is_empty(&self) -> bool {
        self.ready().chunks.is_empty()
    }
    /// Nobody takes anything any more.
    pub(super) fn clear(&self) {
        let chunks = {
            let mut ready = self.ready();
            (ready.bytes, ready.rests) = (0, false);
            std::mem::take(&mut ready.chunks)
        };
        drop(chunks);
    }
}

/// Bytes that chunks are made of.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Blob,
    at: usize,
    /// So much of what was given to the helper is done when the rest of this is, bytes.
    left: usize,
}

/// What the helper has still to make chunks of, in order.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    queue: VecDeque<Piece>,
}

impl Pieces {
    /// Adds the pieces that `left` bytes have become which were given to the helper; what of these no chunk will count.
    pub(super) fn add(&mut self, mut pieces: Vec<Blob>, mut left: usize) -> usize {
        pieces.retain(|bytes| !bytes.is_empty());
        let last = pieces.len().saturating_sub(1);
        for (index, bytes) in pieces.into_iter().enumerate() {
            // The last one has what is left: there are fewer bytes where they are compressed, and some more where not.
            let own = match index == last {
                true => left,
                false => bytes.len().min(left.saturating_sub(1)),
            };
            left -= own;
            self.queue.push_back(Piece {
                bytes,
                at: 0,
                left: own,
            });
        }
        left
    }
    /// Makes chunks until the outlet is full or nothing is left, and asks before each whether to go on; whether all is made.
    /// `see` is shown all bytes in order.
    pub(super) fn make<E>(
        &mut self,
        outlet: &Outlet,
        mut go_on: impl FnMut() -> Result<(), E>,
        mut see: impl FnMut(&[u8]),
    ) -> Result<bool, E> {
        while let Some(piece) = self.queue.front_mut() {
            go_on()?;
            if !outlet.has_room() {
                return Ok(false);
            }
            let end = piece.bytes.len().min(piece.at.saturating_add(CHUNK_BYTES));
            let bytes = piece.bytes.get(piece.at..end).unwrap_or_default().to_vec();
            piece.at = end;
            let is_last = end == piece.bytes.len();
            let done = match is_last {
                true => piece.left,
                false => bytes.len().min(piece.left.saturating_sub(1)),
            };
            piece.left -= done;
            if is_last {
                // Before: who waits to change a string goes by what is done.
                self.queue.pop_front();
            }
            see(&bytes);
            outlet.push(Chunk { bytes, done });
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// However chunks are made and taken, they are the same ones.
    #[test]
    fn chunks_do_not_depend_on_when_they_are_taken() {
        let pieces = |seed: usize| -> Vec<Blob> {
            let lens = [3 * READY_MAX, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 100_000, 0];
            let piece = |len: &usize| {
                let bytes = (0..*len).map(|it| (it * 7 / 3 + seed) as u8).collect();
                Arc::new(bytes)
            };
            lens.iter().map(piece).collect()
        };
        // Fewer and more bytes than were given.
        for given in [1000, 10_000_000] {
            let mut all = Vec::new();
            for taken_at_a_time in [1, 7, usize::MAX] {
                let (outlet, mut queue) = (Outlet::default(), Pieces::default());
                assert_eq!(queue.add(pieces(1), given), 0);
                assert_eq!(queue.add(pieces(2), given), 0);
                assert_eq!(queue.add(Vec::new(), 3), 3);
                let (mut chunks, mut done, mut seen) = (Vec::new(), 0, Vec::<u8>::new());
                loop {
                    let make = queue.make(&outlet, || Ok::<(), ()>(()), |it| seen.extend(it));
                    let is_made = make == Ok(true);
                    assert!(outlet.ready().bytes <= READY_MAX + CHUNK_BYTES);
                    let mut goes_on = false;
                    for _ in 0..taken_at_a_time {
                        let Some((chunk, again)) = outlet.take() else {
                            break;
                        };
                        assert!((1..=CHUNK_BYTES).contains(&chunk.bytes.len()));
                        done += chunk.done;
                        chunks.push(chunk.bytes);
                        goes_on |= again;
                    }
                    assert!(done < 2 * given || is_made && outlet.is_empty());
                    if is_made && outlet.is_empty() {
                        break;
                    }
                    // Who takes all of what there is always has the helper go on.
                    assert!(goes_on || !outlet.is_empty() || is_made);
                }
                assert_eq!((done, outlet.made()), (2 * given, chunks.len() as u64));
                let whole: Vec<u8> = [pieces(1), pieces(2)]
                    .concat()
                    .iter()
                    .flat_map(|it| it.to_vec())
                    .collect();
                assert!(chunks.concat() == whole && seen == whole);
                all.push(chunks);
            }
            assert!(all.iter().all(|it| *it == all[0]));
        }
    }
}
