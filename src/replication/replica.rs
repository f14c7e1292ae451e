//! What a primary knows of each of its replicas.

use crate::clients::ClientKey;
use crate::system::mapped_file::MappedFile;
use std::collections::VecDeque;
use std::sync::Arc;

/// How far a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// It has said something of itself, and has not asked for anything.
    #[default]
    Introduced,
    /// It waits for a snapshot to begin, since this monotonic time, ns.
    Waits {
        /// Since when.
        since_ns: u64,
    },
    /// The snapshot that it gets is written to a file.
    WaitsForFile,
    /// It gets a snapshot.
    Receives,
    /// It wanted a snapshot and nothing behind it, and has got it.
    HasSnapshot,
    /// It gets the stream.
    Online,
}

/// What it understands (`REPLCONF capa`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// A snapshot whose length is not known before.
    pub eof: bool,
    /// A new ID behind +CONTINUE.
    pub psync2: bool,
}

/// Which parts of a snapshot it wants (`REPLCONF rdb-filter-only`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Filter {
    /// Without keys.
    pub excludes_data: bool,
    /// Without libraries of functions.
    pub excludes_functions: bool,
}

/// Bytes of a snapshot that wait for its socket.
#[derive(Debug, Default)]
pub struct Outgoing {
    pieces: VecDeque<Arc<Vec<u8>>>,
    /// So much of the first is gone.
    at: usize,
    bytes: usize,
    /// The file that comes behind the pieces, and how much of it is gone.
    pub file: Option<(Arc<MappedFile>, usize)>,
    /// Nothing comes behind them.
    pub is_all: bool,
}

impl Outgoing {
    /// Adds a piece, which others may share.
    pub fn push(&mut self, piece: &Arc<Vec<u8>>) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(Arc::clone(piece));
        }
    }
    /// How many wait.
    pub fn len(&self) -> usize {
        self.bytes
    }
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.first().is_empty()
    }
    /// The next ones; of a file no more than this many.
    pub fn first(&self) -> &[u8] {
        /// What is read of a file at a time.
        const AT_ONCE: usize = 256 * 1024;
        if let Some(piece) = self.pieces.front() {
            return piece.get(self.at..).unwrap_or_default();
        }
        let Some((file, at)) = &self.file else {
            return &[];
        };
        let rest = file.get(*at..).unwrap_or_default();
        rest.get(..AT_ONCE).unwrap_or(rest)
    }
    /// So many of [`Outgoing::first`] are gone.
    pub fn advance(&mut self, n: usize) {
        match (self.pieces.front(), &mut self.file) {
            (Some(piece), _) => {
                self.bytes -= n;
                self.at += n;
                if self.at >= piece.len() {
                    self.pieces.pop_front();
                    self.at = 0;
                }
            }
            (None, Some((_, at))) => *at += n,
            (None, None) => {}
        }
    }
}

/// A replica, from its first REPLCONF on.
#[derive(Debug, Default)]
pub struct Replica {
    /// Its client.
    pub client: ClientKey,
    /// How far it is.
    pub phase: Phase,
    /// Position of the first byte of the stream that is not written to it.
    pub cursor: i64,
    /// Position up to which it was offered the stream in the turn before.
    pub offered: i64,
    /// The stream waits for its first acknowledgement: behind a mark nothing may follow at once.
    pub starts_on_ack: bool,
    /// What it has applied.
    pub acked: i64,
    /// It has said so: before that it may still load its snapshot, or have got nothing.
    pub has_acked: bool,
    /// What it has on its disk; none: it does not say.
    pub acked_aof: Option<i64>,
    /// When it has said so last, monotonic ns.
    pub acked_ns: u64,
    /// Where it says that it listens; 0: it does not.
    pub port: u16,
    /// The address that it wants to be known by.
    pub ip: Option<Vec<u8>>,
    /// What it understands.
    pub capabilities: Capabilities,
    /// It wants no stream behind the snapshot (`redis-cli --rdb`).
    pub rdb_only: bool,
    /// Which parts of the snapshot.
    pub filter: Filter,
    /// It was asked for by SYNC, and acknowledges nothing.
    pub is_old: bool,
    /// What it gets of a snapshot.
    pub snapshot: Outgoing,
    /// Bytes over its soft limit since then, monotonic ns; 0: it is not.
    pub over_soft_since_ns: u64,
}

impl Replica {
    /// Whether it is one, and not only a client that said something.
    pub fn is_attached(&self) -> bool {
        self.phase != Phase::Introduced
    }
    /// Whether the stream flows to it now.
    pub fn streams(&self) -> bool {
        self.phase == Phase::Online && !self.starts_on_ack
    }
    /// Whether bytes of the stream are kept for it.
    pub fn needs_stream(&self) -> bool {
        !self.rdb_only
            && matches!(
                self.phase,
                Phase::Online | Phase::Receives | Phase::WaitsForFile
            )
    }
    /// As INFO names its state.
    pub fn state_name(&self) -> &'static str {
        match self.phase {
            Phase::Introduced => "",
            Phase::Waits { .. } | Phase::WaitsForFile => "wait_bgsave",
            Phase::Receives => "send_bulk",
            Phase::HasSnapshot => "rdb_transmitted",
            Phase::Online => "online",
        }
    }
}
