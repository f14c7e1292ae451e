//! What a client holds while it waits for a key or collects a transaction.

use crate::resp::OwnedRequest;

/// A command that waits for a key.
#[derive(Debug)]
pub struct BlockedCommand {
    /// Index in the command table.
    pub command: u16,
    /// What is run again when a key is ready.
    pub request: OwnedRequest,
    /// Database of the keys.
    pub db: usize,
    /// The keys.
    pub keys: Vec<Vec<u8>>,
    /// Its place in their queues.
    pub ticket: u64,
    /// Monotonic time at which it gives up and answers the null array, ns.
    pub deadline_ns: Option<u64>,
    /// It waits for acknowledgements and not for keys (WAIT, and with something in it WAITAOF).
    pub acks: Option<Option<AckWait>>,
}

/// What a client of WAITAOF waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckWait {
    /// Offset of the journal behind its last write.
    pub offset: u64,
    /// Whether the server's own file must be on the disk up to there.
    pub local: bool,
    /// Number of replicas whose file must be.
    pub replicas: i64,
}

/// A key that a client watches.
#[derive(Clone, Debug)]
pub struct WatchedKey {
    /// Its database.
    pub db: usize,
    /// Its name.
    pub name: Vec<u8>,
    /// Its time was over when the watching began, though it was still there: writes were paused.
    pub was_expired: bool,
}

/// MULTI and WATCH.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The commands between MULTI and EXEC, with their indexes in the command table.
    pub queue: Vec<(u16, OwnedRequest)>,
    /// Flags of all of them together.
    pub flags: u32,
    /// Flags that some of them lack.
    pub lacks: u32,
    /// Bytes that the queue holds.
    pub queue_bytes: usize,
    /// A command was refused: EXEC will be.
    pub aborted: bool,
    /// The watched keys.
    pub watched: Vec<WatchedKey>,
    /// Bytes of their names.
    pub watched_bytes: usize,
    /// A watched key has changed.
    pub dirty: bool,
    /// EXEC stands still, because a script of it runs for too long: since when it has run (monotonic ns). What is left
    /// of the queue is to be run then.
    pub stands_since_ns: Option<u64>,
    /// The EXEC that it stands in, as it was sent.
    pub exec: Option<OwnedRequest>,
}

/// A client that waits until its databases are freed.
#[derive(Clone, Copy, Debug)]
pub struct Freeing {
    /// Id of the client.
    pub client: u64,
    /// The bell that it waits for.
    pub bell: u64,
    /// Since when, monotonic ns.
    pub since_ns: u64,
}
