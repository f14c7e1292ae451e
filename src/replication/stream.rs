//! The stream of effects as replicas get it: one buffer for all of them, and for those that come back (the backlog).
//!
//! In: bytes, in order. Out: for each reader the bytes behind its own position. Mirrors `repl_buffer_blocks` of Redis.
//!
//! Invariants:
//! * A byte is kept once, however many read it: readers have positions, and nothing of their own.
//! * What the slowest reader has still to get is kept, and of what all have got at least the last so many bytes.

use std::collections::VecDeque;
use std::io::IoSlice;

/// Room of a block, bytes: what is forgotten at a time. (What is kept beyond what is asked for is less than that.)
const BLOCK_BYTES: usize = 16 * 1024;

/// Some of the bytes; a block grows to its room and is never moved then.
#[derive(Debug)]
struct Block {
    /// Position of its first byte.
    start: i64,
    bytes: Vec<u8>,
}

impl Block {
    fn end(&self) -> i64 {
        self.start + self.bytes.len() as i64
    }
}

/// The last of the bytes, by their positions. The first byte that ever was has position 0, so that the position behind the last
/// one is the replication offset.
#[derive(Debug)]
pub struct Stream {
    blocks: VecDeque<Block>,
    /// Position of the oldest byte that is kept; it may lie within the first block.
    start: i64,
    end: i64,
    memory: usize,
}

impl Stream {
    /// An empty one, whose next byte has this position.
    pub fn new(at: i64) -> Stream {
        Stream {
            blocks: VecDeque::new(),
            start: at,
            end: at,
            memory: 0,
        }
    }
    /// Position of the oldest byte that is there.
    pub fn start(&self) -> i64 {
        self.start
    }
    /// Position behind the newest byte: the replication offset.
    pub fn end(&self) -> i64 {
        self.end
    }
    /// How many bytes are there.
    pub fn len(&self) -> usize {
        usize::try_from(self.end - self.start).unwrap_or(0)
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
    /// Memory that it takes, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.memory + self.blocks.capacity() * size_of::<Block>()
    }
    /// Whether what follows a position is there.
    pub fn has(&self, position: i64) -> bool {
        (self.start..=self.end).contains(&position)
    }
    /// Adds bytes at the end. O(bytes)
    pub fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self
                .blocks
                .back()
                .map_or(0, |block| block.bytes.capacity() - block.bytes.len());
            if room == 0 {
                self.memory += BLOCK_BYTES;
                self.blocks.push_back(Block {
                    start: self.end,
                    bytes: Vec::with_capacity(BLOCK_BYTES),
                });
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if let Some(block) = self.blocks.back_mut() {
                block.bytes.extend_from_slice(now);
            }
            self.end += now.len() as i64;
            bytes = later;
        }
    }
    /// Forgets what is older than the last `keep` bytes and not wanted from `needed` on. Whole blocks go, so that it may keep
    /// some more.
    pub fn trim(&mut self, keep: u64, needed: Option<i64>) {
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        let kept_from = self.end.saturating_sub(keep);
        let from = needed.map_or(kept_from, |needed| needed.min(kept_from));
        // The last one is written to: it goes when another has come.
        while self.blocks.len() > 1
            && let Some(first) = self.blocks.front()
            && first.end() <= from
        {
            self.start = first.end();
            self.memory -= first.bytes.capacity();
            self.blocks.pop_front();
        }
    }
    /// The bytes behind a position, as far as the slices go; how many slices there are. O(log blocks)
    pub fn slices<'a>(&'a self, position: i64, out: &mut [IoSlice<'a>]) -> usize {
        if position < self.start {
            // Bytes that are gone: nothing may be sent in their place.
            return 0;
        }
        let first = self.blocks.partition_point(|block| block.end() <= position);
        let mut used = 0;
        for (block, slice) in self.blocks.range(first..).zip(out) {
            let skip = usize::try_from(position - block.start).unwrap_or(0);
            *slice = IoSlice::new(block.bytes.get(skip..).unwrap_or_default());
            used += 1;
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::rng::Rng;

    fn read(stream: &Stream, position: i64) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let used = stream.slices(position, &mut slices);
        slices[..used]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    #[test]
    fn every_position_that_is_there_reads_on_to_the_end() {
        let mut rng = Rng::new(7);
        let mut all: Vec<u8> = Vec::new();
        let mut stream = Stream::new(1000);
        for round in 0..200_u64 {
            let len = match round % 20 {
                19 => 100_000,
                _ => rng.below(3000) as usize,
            };
            let piece: Vec<u8> = (0..len).map(|_| rng.below(256) as u8).collect();
            all.extend_from_slice(&piece);
            stream.append(&piece);
            assert_eq!(stream.end(), 1000 + all.len() as i64);
            let keep = 50_000;
            let needed = (rng.below(2) == 0).then(|| stream.start().max(stream.end() - 200_000));
            stream.trim(keep, needed);
            let least = needed.unwrap_or(i64::MAX).min(stream.end() - 50_000);
            assert!(stream.start() <= least.max(1000));
            let span = (stream.end() - stream.start()) as u64;
            let position = stream.start() + rng.below(span + 1) as i64;
            let from = (position - 1000) as usize;
            assert_eq!(read(&stream, position), all[from..], "{position}");
        }
        assert!(stream.memory_bytes() < 500_000, "{}", stream.memory_bytes());
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let mut stream = Stream::new(0);
        for _ in 0..100 {
            stream.append(&[b'x'; 10_000]);
            stream.trim(1, None);
        }
        assert!(stream.memory_bytes() < 3 * BLOCK_BYTES);
        assert!(!stream.has(0) && stream.has(1_000_000) && !stream.has(1_000_001));
    }
}
