//! What lies between a socket and the protocol: the query buffer of a connection and the rules for reading into it.
//!
//! A connection that is not in the middle of a request owns no buffer at all: its bytes are read into the loop's
//! one shared buffer, parsed and run there, and only what is left of an incomplete request is copied into the
//! connection's own [`QueryBuffer`]. (The output buffer is [`crate::resp::OutputBuffer`], beside its only writer.)
//!
//! Mirrors `readQueryFromClient` and the query-buffer rules of Redis's networking.c.

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
    /// Room for more without growing (CLIENT LIST `qbuf-free`).
    pub fn free(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
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
    /// All memory that it holds.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.argument_memory()
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
}
