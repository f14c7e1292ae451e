//! Replication as bytes and figures: the stream that all replicas share, what is known of each replica and of the link to a
//! primary, how the two introduce themselves. What follows from it is the engine's.
//!
//! | file | what |
//! | --- | --- |
//! | `stream` | the bytes of the stream, once for all replicas and the backlog |
//! | `replica` | what a primary knows of a replica |
//! | `link` | what a replica knows of the link to its primary |
//! | `handshake` | how the two introduce themselves |
//! | `payload` | how a snapshot is framed |
//!
//! Mirrors the state of Redis's replication.c.

pub mod handshake;
pub mod link;
pub mod payload;
pub mod replica;
pub mod stream;

pub use handshake::{Answer, Handshake, Introduction};
pub use link::{Continuation, Link, LinkState, Receiving};
pub use payload::{Begins, MARK_LEN, Payload};
pub use replica::{Capabilities, Filter, Phase, Replica};
pub use stream::Stream;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

/// The ID of a stream that nobody has.
const NO_ID: &str = "0000000000000000000000000000000000000000";

/// No stream is so long: an offset that is larger is none, and sums of two are numbers.
pub const OFFSET_MAX: i64 = i64::MAX / 4;

/// A snapshot for replicas that is under way.
#[derive(Debug)]
pub struct Transfer {
    /// The clients that get it, by their ids.
    pub replicas: Vec<u64>,
    /// What ends it; none: it is written to a file first.
    pub mark: Option<String>,
    /// The file.
    pub path: Option<PathBuf>,
}

/// All that is known of replication.
#[derive(Debug, Default)]
pub struct Replication {
    /// ID of the stream.
    pub id: String,
    /// ID of the stream that this one has come of.
    pub second_id: String,
    /// Up to where that is the same, as it is counted on the wire (from 1); -1: it is nowhere.
    pub second_offset: i64,
    /// The stream; none: nobody ever asked for it.
    pub stream: Option<Stream>,
    /// The replicas, by the ids of their clients; also clients that have said something of themselves by REPLCONF.
    pub replicas: BTreeMap<u64, Replica>,
    /// How many of them are replicas.
    pub attached: usize,
    /// Since when there have been none, monotonic ns.
    pub alone_since_ns: u64,
    /// The link to the primary; none: this is one.
    pub link: Option<Box<Link>>,
    /// The snapshot that replicas get now.
    pub transfer: Option<Transfer>,
    /// The file that was made for replicas last.
    pub file_made: Option<PathBuf>,
    /// Replicas that are good enough for `min-replicas-to-write`.
    pub good: usize,
    /// When replicas were pinged last, monotonic ns.
    pub pinged_ns: u64,
    /// When what is done once a second was done last, monotonic ns.
    pub cron_ns: u64,
    /// Replicas are to be asked what they have.
    pub asks_acks: bool,
    /// What has been synced of a replica's append-only file, as an offset of the stream.
    pub synced_offset: i64,
    /// What the file has that may not be synced: bytes of it, and the offset of the stream behind them; oldest first.
    pub written: VecDeque<(u64, i64)>,
    /// When it was logged last that what a primary sends cannot be kept, Unix s.
    pub unkept_logged_s: i64,
    /// FAILOVER.
    pub failover: Failover,
    /// Room for what is on its way from the journal to the stream.
    pub scratch: Vec<u8>,
    /// Snapshots that were asked for and begun (`sync_full`).
    pub full_syncs: u64,
    /// Streams that went on (`sync_partial_ok`).
    pub partial_syncs: u64,
    /// Streams that could not go on (`sync_partial_err`).
    pub partial_syncs_refused: u64,
}

/// FAILOVER: handing the role over to a replica.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Failover {
    /// How far it is.
    pub state: FailoverState,
    /// To whom; none: to the first that has everything.
    pub target: Option<(String, u16)>,
    /// Until when, Unix ms.
    pub until_ms: Option<i64>,
    /// At the end of its time it is done all the same.
    pub is_forced: bool,
}

/// How far FAILOVER is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailoverState {
    /// There is none.
    #[default]
    None,
    /// Writes are held until a replica has all of the stream.
    WaitsForSync,
    /// The replica was asked to take over.
    InProgress,
}

impl Failover {
    /// As INFO names it.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            FailoverState::None => "no-failover",
            FailoverState::WaitsForSync => "waiting-for-sync",
            FailoverState::InProgress => "failover-in-progress",
        }
    }
}

impl Replication {
    /// A primary with this ID.
    pub fn new(id: String) -> Replication {
        Replication {
            id,
            second_id: NO_ID.to_owned(),
            second_offset: -1,
            ..Replication::default()
        }
    }
    /// Whether this server is a replica.
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.link.is_some()
    }
    /// Whether there is anything to be done in a turn.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.stream.is_some() || self.link.is_some() || self.transfer.is_some()
    }
    /// Whether this is a replica without its primary.
    pub fn is_cut_off(&self) -> bool {
        self.link.as_ref().is_some_and(|link| !link.is_up())
    }
    /// The position from which on the stream is kept for somebody.
    pub fn needed(&self) -> Option<i64> {
        let replicas = self.replicas.values().filter(|it| it.needs_stream());
        replicas.map(|it| it.cursor).min()
    }
    /// Replicas to which the stream flows.
    pub fn online(&self) -> impl Iterator<Item = &Replica> {
        let replicas = self.replicas.values();
        replicas.filter(|it| it.phase == Phase::Online)
    }
    /// How many replicas have applied the stream up to an offset.
    pub fn acked(&self, offset: i64) -> i64 {
        let has_it = |it: &&Replica| it.has_acked && it.acked >= offset;
        self.online().filter(has_it).count() as i64
    }
    /// How many have it on their disks.
    pub fn acked_on_disk(&self, offset: i64) -> i64 {
        let on_disk = |it: &&Replica| it.acked_aof.is_some_and(|acked| acked >= offset);
        self.online().filter(on_disk).count() as i64
    }
    /// Gives the stream another ID: what it was is the second one, up to here.
    pub fn shift_id(&mut self, id: String, offset: i64) {
        self.second_id = std::mem::replace(&mut self.id, id);
        self.second_offset = offset.saturating_add(1);
    }
    /// Forgets the second ID.
    pub fn clear_second_id(&mut self) {
        self.second_id = NO_ID.to_owned();
        self.second_offset = -1;
    }
}
