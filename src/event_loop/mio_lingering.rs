//! TLS sockets that are closed and whose kernel has not taken all that was encrypted for them.
//!
//! In: a socket with the bytes that are left. Out: nothing, but the bytes on their way, as the kernel itself sends what a
//! closed plain socket has left in its buffers. The session is gone by then: bytes are all that is kept.
//!
//! Bounds: there are [`MOST_LINGERING`] at a time, and the oldest of them makes room for another; each has [`LINGER_NS`]. What is
//! lost so is told in the log. Where the server ends, all of them together have what its owner gives them.

use super::mio_seam::INTERESTS;
use super::mio_tls::{FIRST_LINGERING, shut};
use mio::Registry;
use mio::net::TcpStream;
use slab::Slab;
use std::io::{self, Write};

/// Sockets at a time.
pub(super) const MOST_LINGERING: usize = if cfg!(test) { 3 } else { 256 };
/// How long one may linger, ns: long enough for a peer that takes its bytes slowly, since before these it has all that the
/// kernel holds for it.
const LINGER_NS: u64 = 60_000_000_000;

/// A socket with what it is to send.
struct Left {
    stream: TcpStream,
    unsent: Vec<u8>,
    sent: usize,
    begun_ns: u64,
}

impl Left {
    /// Sends what the kernel takes. True: it takes no more now, and may later.
    fn waits(&mut self) -> bool {
        while let Some(left) = self.unsent.get(self.sent..)
            && !left.is_empty()
        {
            match self.stream.write(left) {
                Ok(0) => return false,
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        false
    }

    /// Closes it; what it has not sent is lost.
    fn close(mut self, registry: &Registry) {
        let lost = self.unsent.len().saturating_sub(self.sent);
        if lost > 0 {
            let peer = self.stream.peer_addr();
            let peer = peer.map_or("a peer that is gone".to_owned(), |it| it.to_string());
            log::debug!("The last {lost} encrypted bytes for {peer} are lost");
        }
        shut(&mut self.stream, registry);
    }
}

/// The sockets.
#[derive(Default)]
pub(super) struct Lingering {
    sockets: Slab<Left>,
}

impl Lingering {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// When the first of them has had its time.
    pub(super) fn first_end(&self) -> Option<u64> {
        let begun = self.sockets.iter().map(|(_, it)| it.begun_ns).min();
        begun.map(|it| it.saturating_add(LINGER_NS))
    }

    /// Takes a socket over that has something to send.
    pub(super) fn put(
        &mut self,
        registry: &Registry,
        stream: TcpStream,
        unsent: Vec<u8>,
        now_ns: u64,
    ) {
        if self.sockets.len() >= MOST_LINGERING {
            let oldest = self.sockets.iter().min_by_key(|(_, it)| it.begun_ns);
            let oldest = oldest.map(|(index, _)| index);
            if let Some(index) = oldest {
                self.close(registry, index);
            }
        }
        let mut left = Left {
            stream,
            unsent,
            sent: 0,
            begun_ns: now_ns,
        };
        let place = self.sockets.vacant_entry();
        let token = mio::Token(FIRST_LINGERING + place.key());
        // Registered anew, it is told as soon as it takes bytes, also where it does already.
        match registry.reregister(&mut left.stream, token, INTERESTS) {
            Ok(()) => {
                place.insert(left);
            }
            Err(_) => left.close(registry),
        }
    }

    /// Sends what a socket has to send, and lets it go when that is all, or the peer is gone.
    pub(super) fn flush(&mut self, registry: &Registry, index: usize) {
        if self.sockets.get_mut(index).is_some_and(|it| !it.waits()) {
            self.close(registry, index);
        }
    }

    /// Closes those that have had their time.
    pub(super) fn end_old(&mut self, registry: &Registry, now_ns: u64) {
        while self.first_end().is_some_and(|end_ns| end_ns <= now_ns) {
            let oldest = self.sockets.iter().min_by_key(|(_, it)| it.begun_ns);
            if let Some((index, _)) = oldest {
                self.close(registry, index);
            }
        }
    }

    /// Closes all of them.
    pub(super) fn end_all(&mut self, registry: &Registry) {
        for left in self.sockets.drain() {
            left.close(registry);
        }
    }

    fn close(&mut self, registry: &Registry, index: usize) {
        if let Some(left) = self.sockets.try_remove(index) {
            left.close(registry);
        }
    }
}
