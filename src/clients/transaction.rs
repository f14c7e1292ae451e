//! MULTI and WATCH: what a client has queued, and the keys on which its EXEC depends.

use crate::resp::OwnedRequest;

/// What stands between MULTI and EXEC. A client that has one is in MULTI, until EXEC has come to its end.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The commands, with their indexes in the command table.
    pub queue: Vec<(u16, OwnedRequest)>,
    /// Flags of all of them together.
    pub flags: u32,
    /// Flags that some of them lack.
    pub lacks: u32,
    /// Bytes that the queue holds.
    pub queue_bytes: usize,
    /// A command was refused: EXEC will be.
    pub aborted: bool,
    /// The EXEC that has begun and stands still, because a script of its queue runs for too long.
    pub standing: Option<StandingExec>,
}

/// An EXEC that stands still. What is left of the queue is run when its script has ended.
#[derive(Debug)]
pub struct StandingExec {
    /// When it began, monotonic ns.
    pub since_ns: u64,
    /// The EXEC as it was sent.
    pub request: OwnedRequest,
}

/// The keys that a client watches (WATCH).
#[derive(Debug, Default)]
pub struct Watching {
    /// The keys; none any more once one has changed.
    pub keys: Vec<WatchedKey>,
    /// Bytes of their names.
    pub name_bytes: usize,
    /// One of them has changed: EXEC will not run.
    pub dirty: bool,
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

impl Transaction {
    /// Bytes that it holds, itself included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Transaction>() + self.queue_bytes
    }
}

impl Watching {
    /// Bytes that it holds, itself included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Watching>() + self.keys.capacity() * size_of::<WatchedKey>() + self.name_bytes
    }
}
