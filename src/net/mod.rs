//! What lies between a socket and the protocol: the query buffer of a connection and the rules for reading into it. And
//! what stands for a host, and for many of them (`subnet`).
//!
//! A connection that is not in the middle of a request owns no buffer at all: its bytes are read into the loop's
//! one shared buffer, parsed and run there, and only what is left of an incomplete request is copied into the
//! connection's own [`QueryBuffer`]. (The output buffer is [`crate::resp::OutputBuffer`], beside its only writer.)
//!
//! Mirrors `readQueryFromClient` and the query-buffer rules of Redis's networking.c.

mod subnet;

pub use subnet::{HostKey, Subnet};

use crate::resp::{OwnedRequest, Parser};

/// Size of the shared read buffer, and of one read into a connection's own buffer.
pub const READ_LEN: usize = 64 * 1024;
/// Bytes read from one connection in one turn; the rest waits for the next.
pub const READ_BUDGET: usize = 256 * 1024;
/// Commands run for one connection in one turn; the rest waits for the next.
pub const COMMAND_BUDGET: usize = 4096;
/// Bytes written to one connection in one turn.
pub const WRITE_BUDGET: usize = 1024 * 1024;
/// A buffer of an idle connection is given back when it is larger than this.
const SHRINK_ABOVE: usize = 32 * 1024;

/// What came in on a connection and has not yet been run.
#[derive(Debug, Default)]
pub struct QueryBuffer {
    /// Where in the current request the parser stands.
    pub parser: Parser,
    /// From the first byte of the current, incomplete request on, behind `done` bytes that have been run.
    pub bytes: Vec<u8>,
    /// So many bytes at the front are done with, and dropped when they are the greater part: to move the rest for each
    /// share of a long pipeline would take the square of its length.
    pub done: usize,
    /// Requests that were parsed before the client had to wait; they run first.
    pub parsed: std::collections::VecDeque<OwnedRequest>,
    /// Whole requests may be in `parsed` or `bytes`, because a bound or a pause was reached before they ran.
    pub stalled: bool,
}

impl QueryBuffer {
    /// Nothing is held back: the next read can go to the shared buffer.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.bytes.len() == self.done && self.parser.is_idle() && self.parsed.is_empty()
    }
    /// Bytes that wait (CLIENT LIST `qbuf`).
    pub fn len(&self) -> usize {
        // Of a request whose large bulk is on its way Redis's buffer holds that bulk and nothing else.
        let large = self.parser.large_received();
        large.unwrap_or(self.bytes.len().saturating_sub(self.done))
    }
    /// No bytes wait.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Room for more without growing, once what is done with is dropped (CLIENT LIST `qbuf-free`).
    pub fn free(&self) -> usize {
        self.bytes.capacity() - self.bytes.len() + self.done.min(self.bytes.len())
    }
    /// Bytes of requests that are parsed in part (CLIENT LIST `argv-mem`).
    pub fn argument_memory(&self) -> usize {
        self.parser.memory_bytes()
            + self
                .parsed
                .iter()
                .map(OwnedRequest::memory_bytes)
                .sum::<usize>()
    }
    /// Bytes that wait to be run, arguments parsed already among them: what `client-query-buffer-limit` bounds. Neither
    /// what was run nor room that is free counts.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.len().saturating_sub(self.done) + self.argument_memory()
    }
    /// All memory that it holds.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.argument_memory()
    }
    /// Takes in what came, behind what waits. What is done with is dropped before the buffer would grow.
    pub fn append(&mut self, more: &[u8]) {
        if self.done > 0 && more.len() > self.bytes.capacity() - self.bytes.len() {
            let left = self.bytes.len().saturating_sub(self.done);
            if self.done < left {
                // To move more than that makes room for would be paid again at the next append: room for as much as
                // waits is made at the same time, which pays for the move.
                let mut grown = Vec::with_capacity(left.saturating_add(left.max(more.len())));
                grown.extend_from_slice(&self.bytes[self.done..]);
                self.bytes = grown;
                self.done = 0;
            } else {
                self.bytes.drain(..std::mem::take(&mut self.done));
            }
        }
        self.bytes.extend_from_slice(more);
    }
    /// Drops the first `n` bytes that wait, and the whole allocation when nothing is left or far too much is free.
    pub fn consume(&mut self, n: usize) {
        self.done = self.done.saturating_add(n);
        let Some(left) = self.bytes.len().checked_sub(self.done).filter(|it| *it > 0) else {
            self.bytes = Vec::new();
            self.done = 0;
            return;
        };
        if self.done < left {
            return;
        }
        self.bytes.drain(..std::mem::take(&mut self.done));
        if self.bytes.capacity() > SHRINK_ABOVE && left < self.bytes.capacity() / 4 {
            self.bytes.shrink_to(left * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came while a client waited is run in many turns; the rest was moved in each of them.
    #[test]
    fn a_long_pipeline_is_not_moved_for_each_share_of_it() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut query = QueryBuffer {
            bytes: bytes.clone(),
            ..QueryBuffer::default()
        };
        let (mut left, mut moved) = (bytes.len(), 0);
        while left > 0 {
            let before = query.bytes.len();
            query.consume(100);
            left -= 100;
            assert_eq!(query.len(), left);
            if query.bytes.len() != before {
                moved += query.bytes.len();
            }
            assert_eq!(query.bytes[query.done..], bytes[bytes.len() - left..]);
            assert!(
                query.bytes.len() <= 2 * left + 100,
                "it is dropped in the end"
            );
        }
        assert!(moved <= bytes.len(), "{moved} bytes were moved");
        assert_eq!((query.memory_bytes(), query.done), (0, 0));
        assert!(query.is_idle());
    }
    /// What was run counted with what waits, because the buffer grew with both in it: a client that was within the limit
    /// was closed.
    #[test]
    fn what_was_run_is_dropped_before_the_buffer_grows() {
        let mut query = QueryBuffer::default();
        query.append(&vec![b'x'; 1_000_000]);
        query.consume(400_000);
        assert_eq!((query.len(), query.done), (600_000, 400_000));
        assert_eq!(query.free(), query.bytes.capacity() - 600_000);
        query.append(&vec![b'y'; 200_000]);
        assert_eq!((query.len(), query.done), (800_000, 0));
        assert_eq!(query.waiting_bytes(), 800_000);
        assert_eq!(query.free(), query.bytes.capacity() - 800_000);
        assert!(query.bytes[..600_000].iter().all(|byte| *byte == b'x'));
        assert!(query.bytes[600_000..].iter().all(|byte| *byte == b'y'));
    }

    /// A client that sends about as fast as it is served, with much waiting: the buffer neither grows without end, nor is
    /// what waits moved at each append.
    #[test]
    fn a_long_pipeline_is_not_moved_for_each_part_that_comes() {
        const SHARE: usize = 64;
        for waiting in [1_000, 100_000] {
            let mut query = QueryBuffer::default();
            query.append(&vec![b'x'; waiting]);
            let (mut moved, mut came) = (0, 0);
            while came < 10 * waiting {
                query.consume(SHARE);
                let (place, done) = (query.bytes.as_ptr(), query.done);
                query.append(&[b'y'; SHARE]);
                came += SHARE;
                if query.bytes.as_ptr() != place || query.done != done {
                    moved += query.len();
                }
                assert_eq!(query.len(), waiting);
                assert!(query.bytes.capacity() <= 3 * waiting);
            }
            assert!(moved <= 2 * came, "{moved} bytes were moved for {came}");
        }
    }
}
