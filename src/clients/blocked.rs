//! Why a client's commands do not run, and all that is kept of it meanwhile.

use crate::resp::OwnedRequest;

/// Why a client's commands do not run.
#[derive(Debug)]
pub enum Blocked {
    /// The last one has not answered yet: it waits for something.
    Command(Box<BlockedCommand>),
    /// The next one is held back.
    Held {
        /// By what.
        by: HeldBy,
        /// Its place in the order in which the clients that are held back go on.
        place: u64,
    },
    /// Its script runs for too long, and the loop turns meanwhile.
    Script,
}

/// What holds commands back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// CLIENT PAUSE.
    Pause,
    /// A script that stands still: what a primary sends meanwhile can be neither run nor refused.
    Script,
    /// A save that the loop does itself. Nobody asked for the wait, so that what was sent is run even where its client has
    /// ended its side meanwhile.
    Save,
    /// The way of a key to another server, which the command would change. Nobody asked for this wait either.
    Migration,
    /// Its user's budget, which is used up.
    Budget,
}

/// A command that waits.
#[derive(Debug)]
pub struct BlockedCommand {
    /// Index in the command table.
    pub command: u16,
    /// Monotonic time at which it gives up and answers that nothing came, ns.
    pub deadline_ns: Option<u64>,
    /// What it waits for.
    pub awaits: Awaited,
}

/// What a command waits for.
#[derive(Debug)]
pub enum Awaited {
    /// A change of a key.
    Keys(AwaitedKeys),
    /// Acknowledgements: WAIT and WAITAOF.
    Acks(AckWait),
    /// Its turn to try a password, which comes at the deadline: others of its host were wrong. The request is run then.
    Turn(OwnedRequest),
    /// The end of work that has begun for it and cannot be given up: its databases are freed (FLUSHALL), the data are
    /// loaded again (DEBUG LOADAOF), keys go to another server (MIGRATE).
    Work,
}

/// The keys that a command waits for.
#[derive(Debug)]
pub struct AwaitedKeys {
    /// What is run again when one of them is ready.
    pub request: OwnedRequest,
    /// Their database.
    pub db: usize,
    /// Their names.
    pub names: Vec<Vec<u8>>,
    /// The command's place in their queues.
    pub ticket: u64,
    /// One of them was ready, and a save has to read first what the command would change. It keeps its place and its time, and
    /// nobody behind it is served before.
    pub is_held: bool,
}

/// What a client of WAIT or WAITAOF waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckWait {
    /// Offset of the journal behind its last write, as the append-only file counts.
    pub offset: u64,
    /// The same, as replicas count.
    pub stream_offset: i64,
    /// Whether files are waited for (WAITAOF).
    pub on_disk: bool,
    /// Whether the server's own file must be on the disk up to there.
    pub local: bool,
    /// Number of replicas that must have it, or whose file must be on the disk.
    pub replicas: i64,
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

impl BlockedCommand {
    /// The keys that it waits for, if it waits for keys.
    pub fn keys_mut(&mut self) -> Option<&mut AwaitedKeys> {
        match &mut self.awaits {
            Awaited::Keys(keys) => Some(keys),
            Awaited::Acks(_) | Awaited::Turn(_) | Awaited::Work => None,
        }
    }
    /// Whether it may be answered before it has what it waits for.
    pub fn may_give_up(&self) -> bool {
        !matches!(self.awaits, Awaited::Work | Awaited::Turn(_))
    }
    /// Bytes of the request that it keeps.
    pub fn memory_bytes(&self) -> usize {
        match &self.awaits {
            Awaited::Keys(keys) => keys.request.memory_bytes(),
            Awaited::Turn(request) => request.memory_bytes(),
            Awaited::Acks(_) | Awaited::Work => 0,
        }
    }
}
