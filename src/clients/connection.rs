//! A client's socket and what lies between it and the commands: bytes that came, whether replies wait, its end.
//!
//! In: what the server reads and writes. Out, for everybody else: figures. The server alone changes a connection, by
//! [`Client::connection_mut`](super::Client::connection_mut) and the lists of [`Clients`](super::Clients): a command
//! sees a [`Session`](super::Session), and what it wants of a connection it asks for (`Clients::close`, `Effects`).
//! `tests/tidy.rs` holds the code to that. Clients without a socket have one that was never opened.

use super::ServedBatch;
use crate::event_loop::Token;
use crate::net::QueryBuffer;
use std::net::SocketAddr;

/// Address of a peer or of the server's own side.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Address {
    /// Not known (clients without a socket).
    #[default]
    None,
    /// TCP.
    Inet(SocketAddr),
    /// Unix socket: its path.
    Unix(String),
}

impl std::fmt::Display for Address {
    /// As CLIENT LIST spells it: `ip:port`, `[ip6]:port`, `path:0`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::None => write!(f, "?:0"),
            Address::Inet(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "{path}:0"),
        }
    }
}

/// How far a connection is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Ending {
    /// It is served.
    #[default]
    Open,
    /// Nothing of it is served any more; it closes when its replies are written.
    AfterReplies,
    /// It closes at the end of the turn: it is in `Clients::to_close`.
    Now,
}

/// A client's connection. In the order of its fields: what each command looks at comes first and lies together.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Connection {
    token: Option<Token>,
    pub(super) ending: Ending,
    /// It is in `Clients::pending_write`.
    pub(super) write_pending: bool,
    /// It is in `Clients::pushed`.
    pub(super) pushed: bool,
    /// It came from one of `priority-subnets` when it was accepted.
    is_priority: bool,
    /// It is counted among the connections of its host.
    is_counted: bool,
    /// What its transport holds for it below the seam, KiB, for which there is room here; 0: it is of a kind that holds nothing.
    transport_kib: u16,
    query: QueryBuffer,
    bytes_in: u64,
    bytes_out: u64,
    last_interaction_ns: u64,
    /// Since when (monotonic ns) its output has been over the soft limit; 0 when it is not.
    soft_limit_since_ns: u64,
    /// What its client holds as `Clients::counted_bytes` has it, bytes.
    pub(super) counted_bytes: usize,
    served_batch: ServedBatch,
    created_ns: u64,
    /// When it was first found to wait for nothing but that its replies are written, s since it was created, rounded up; 0: it
    /// was not.
    lingers_since_s: u32,
    fd: i32,
    address: Address,
    local_address: Address,
}

impl Connection {
    /// A connection that a listener has taken: its source in the loop, its descriptor, both of its sides.
    pub fn new(
        token: Token,
        fd: i64,
        address: Address,
        local_address: Address,
        now_ns: u64,
    ) -> Connection {
        Connection {
            token: Some(token),
            fd: i32::try_from(fd).unwrap_or(-1),
            address,
            local_address,
            created_ns: now_ns,
            last_interaction_ns: now_ns,
            ..Connection::default()
        }
    }
    /// The same as one that came from `priority-subnets`, and as one that is counted among those of its host.
    pub fn admitted(mut self, is_priority: bool, is_counted: bool) -> Connection {
        (self.is_priority, self.is_counted) = (is_priority, is_counted);
        self
    }
    /// What stands in the place of a connection for a client without a socket.
    pub fn none() -> Connection {
        Connection {
            fd: -1,
            ..Connection::default()
        }
    }

    // ---- what everybody may ask -----------------------------------------------------------------------------------

    /// Token of its socket in the event loop; none for clients without a socket.
    #[inline]
    pub fn token(&self) -> Option<Token> {
        self.token
    }
    /// Peer.
    pub fn address(&self) -> &Address {
        &self.address
    }
    /// Own side.
    pub fn local_address(&self) -> &Address {
        &self.local_address
    }
    /// File descriptor, for CLIENT LIST; -1 without a socket.
    pub fn fd(&self) -> i64 {
        self.fd.into()
    }
    /// Whether it is one of the Unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self.address, Address::Unix(_))
    }
    /// Whether it comes from this machine: over a Unix socket or a loopback address.
    pub fn is_local(&self) -> bool {
        match &self.address {
            Address::Inet(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
            Address::None => false,
        }
    }
    /// Whether it came from one of `priority-subnets` when it was accepted.
    pub fn is_priority(&self) -> bool {
        self.is_priority
    }
    /// Whether it is counted among the connections of its host.
    pub fn is_counted(&self) -> bool {
        self.is_counted
    }
    /// Monotonic time of its beginning, ns.
    pub fn created_ns(&self) -> u64 {
        self.created_ns
    }
    /// Monotonic time of the last bytes from or to it, ns.
    pub fn last_interaction_ns(&self) -> u64 {
        self.last_interaction_ns
    }
    /// Bytes read from it.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in
    }
    /// Bytes written to it.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out
    }
    /// What came in and is not yet run.
    pub fn query(&self) -> &QueryBuffer {
        &self.query
    }
    /// What its client holds, bytes, when it was last counted for `maxmemory-clients`.
    pub fn counted_bytes(&self) -> usize {
        self.counted_bytes
    }
    /// What its transport (TLS) holds for it, bytes, in whole KiB; 0: it is of a kind that holds nothing.
    pub fn transport_bytes(&self) -> usize {
        usize::from(self.transport_kib) * 1024
    }
    /// Since when (monotonic ns) its output has been over the soft limit; 0 when it is not.
    pub fn soft_limit_since_ns(&self) -> u64 {
        self.soft_limit_since_ns
    }
    /// Whether its requests are served: it is not on its way out.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.ending == Ending::Open
    }
    /// Whether it only waits for its replies to be written.
    pub fn closes_after_replies(&self) -> bool {
        self.ending == Ending::AfterReplies
    }
    /// Whether it is gone at the end of this turn.
    #[inline]
    pub fn is_closing(&self) -> bool {
        self.ending == Ending::Now
    }
    /// Whether its replies are to be written before the loop sleeps.
    pub fn has_pending_write(&self) -> bool {
        self.write_pending
    }

    // ---- what the server does -------------------------------------------------------------------------------------

    /// What came in and is not yet run, to change.
    #[inline]
    pub fn query_mut(&mut self) -> &mut QueryBuffer {
        &mut self.query
    }
    /// What is known of its commands whose replies are not written, while the loop's recorder runs.
    pub fn served_batch_mut(&mut self) -> &mut ServedBatch {
        &mut self.served_batch
    }
    /// Its transport holds so many bytes for it.
    pub fn set_transport_bytes(&mut self, bytes: usize) {
        self.transport_kib = u16::try_from(bytes.div_ceil(1024)).unwrap_or(u16::MAX);
    }
    /// So many bytes were read from it.
    #[inline]
    pub fn was_read(&mut self, bytes: usize, now_ns: u64) {
        self.bytes_in += bytes as u64;
        self.last_interaction_ns = now_ns;
    }
    /// So many bytes were written to it, perhaps none.
    #[inline]
    pub fn was_written(&mut self, bytes: usize, now_ns: u64) {
        if bytes > 0 {
            self.bytes_out += bytes as u64;
            self.last_interaction_ns = now_ns;
        }
    }
    /// Its output is over the soft limit; since when it has been.
    pub fn over_soft_limit(&mut self, now_ns: u64) -> u64 {
        if self.soft_limit_since_ns == 0 {
            self.soft_limit_since_ns = now_ns;
        }
        self.soft_limit_since_ns
    }
    /// Its output is not over the soft limit: what was over it before does not count any more.
    #[inline]
    pub fn below_soft_limit(&mut self) {
        self.soft_limit_since_ns = 0;
    }
    /// It waits for nothing but that its replies are written; since when it has been found to, or when it took some of them
    /// last. What it was before does not count: its commands may have been held back for long.
    pub fn lingers(&mut self, now_ns: u64) -> u64 {
        const SECOND_NS: u64 = 1_000_000_000;
        if self.lingers_since_s == 0 {
            let age_ns = now_ns.saturating_sub(self.created_ns);
            self.lingers_since_s = u32::try_from(age_ns / SECOND_NS + 1).unwrap_or(u32::MAX);
        }
        let since_ns = self.created_ns + u64::from(self.lingers_since_s) * SECOND_NS;
        since_ns.max(self.last_interaction_ns)
    }
    /// Forgets what came in: nobody will run it.
    pub fn drop_input(&mut self) {
        self.query = QueryBuffer::default();
    }
}
