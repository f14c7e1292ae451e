//! What is known of saving and loading: times, counts, the child that is at work.
//!
//! In: what the server did and what the child reported. Out: figures for INFO, and whether another child may be
//! started. Mirrors the `rdb_*` and `child_*` fields of `redisServer`.

use super::aof::AppendOnly;
use super::aof::load::AofLoading;
use super::forkless::{self, SnapshotOutput};
use super::loading::Loading;
use super::loading::Removals;
use super::rdb::SaveInfo;
use super::rdb::save::PartSize;
use crate::clients::ClientKey;
use crate::event_loop::{Token, Waker};
use crate::system::child::{Child, Children};
use crate::system::disk::Disk;
use crate::system::helper::{Helper, Jobs};
use crate::system::machine::{Machine, Stopwatch};
use std::time::Duration;

/// Bytes of one report of a child: keys done and bytes of copy-on-write, both little-endian.
const REPORT_LEN: usize = 16;

/// Where data is loaded from.
#[derive(Debug)]
pub enum LoadSource {
    /// A snapshot.
    Snapshot(Box<Loading>),
    /// An append-only file.
    Aof(AofLoading),
    /// A snapshot that is not where it can be loaded from yet: it is being brought to the disk, or what it replaces is being
    /// freed.
    Coming,
}

/// A load that is under way.
#[derive(Debug)]
pub struct DataLoading {
    /// Where from.
    pub source: LoadSource,
    /// Who runs the commands of an append-only file.
    pub client: Option<ClientKey>,
    /// Unix time at which it began, s.
    pub started_unix_s: i64,
    /// Monotonic time of the same, ns.
    pub started_ns: u64,
    /// Who had the data loaded anew (DEBUG LOADAOF); none at the start of the server.
    pub asked: Option<Asked>,
    /// It comes from a primary: what is there is replaced, and a failure is not the end of the server.
    pub received: bool,
}

/// A client that waits until the data is loaded anew, and what is switched on again then.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Id of the client.
    pub client: u64,
    /// The journal had consumers.
    pub journal: bool,
}

impl DataLoading {
    /// Bytes in all, and how many of them are loaded.
    pub fn bytes(&self) -> (u64, u64) {
        match &self.source {
            LoadSource::Snapshot(loading) => loading.bytes(),
            LoadSource::Aof(aof) => (aof.total_bytes, aof.loaded_bytes()),
            LoadSource::Coming => (0, 0),
        }
    }
    /// Used memory when the snapshot was written, as it says.
    pub fn used_memory(&self) -> u64 {
        match &self.source {
            LoadSource::Snapshot(loading) => loading.used_memory,
            LoadSource::Aof(_) | LoadSource::Coming => 0,
        }
    }
}

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildKind {
    /// Writes a snapshot.
    Snapshot,
    /// Writes a base of the append-only file.
    Rewrite,
}

/// Rewrites of the append-only file.
#[derive(Debug)]
pub struct Rewrites {
    /// One waits for another child to end.
    pub scheduled: bool,
    /// The last one went well.
    pub last_ok: bool,
    /// How long the last one took, s; -1: there was none.
    pub last_duration_s: i64,
    /// Bytes that its child copied.
    pub last_copied_bytes: u64,
    /// Rewrites begun.
    pub rewrites: u64,
    /// Failures in a row.
    pub failures: u64,
    /// After failures: minutes to wait, and until when (Unix s).
    pub delay_min: i64,
    /// See `delay_min`.
    pub next_s: Option<i64>,
}

impl Default for Rewrites {
    fn default() -> Rewrites {
        Rewrites {
            scheduled: false,
            last_ok: true,
            last_duration_s: -1,
            last_copied_bytes: 0,
            rewrites: 0,
            failures: 0,
            delay_min: 0,
            next_s: None,
        }
    }
}

/// A child that writes all data.
#[derive(Debug)]
pub struct SavingChild {
    /// What it writes.
    pub kind: ChildKind,
    /// The process.
    pub child: Child,
    /// Its pipe.
    pub token: Token,
    /// Unix time of its start, s.
    pub started_unix_s: i64,
    /// Monotonic time of its start, ns.
    pub started_ns: u64,
    /// Changes that its snapshot has.
    pub dirty: u64,
    /// Keys that it will write.
    pub keys_total: u64,
    /// Keys that it has written.
    pub keys_done: u64,
    /// Bytes that it had to copy so far.
    pub copied_bytes: u64,
    /// Monotonic time of its last report, ns.
    pub reported_ns: u64,
    /// Bytes of a report that is not complete.
    pub unread: Vec<u8>,
    /// It was told to end.
    pub killed: bool,
}

impl SavingChild {
    /// Takes bytes from the pipe.
    pub fn heard(&mut self, bytes: &[u8], now_ns: u64) {
        self.unread.extend_from_slice(bytes);
        while let Some((report, _)) = self.unread.split_first_chunk::<REPORT_LEN>() {
            let number = |at: usize| {
                let bytes: [u8; 8] = std::array::from_fn(|index| report[at + index]);
                u64::from_le_bytes(bytes)
            };
            (self.keys_done, self.copied_bytes) = (number(0), number(8));
            self.reported_ns = now_ns;
            self.unread.drain(..REPORT_LEN);
        }
    }
}

/// Spells a report.
pub fn report(keys_done: u64, copied_bytes: u64) -> [u8; REPORT_LEN] {
    let mut bytes = [0; REPORT_LEN];
    bytes[..8].copy_from_slice(&keys_done.to_le_bytes());
    bytes[8..].copy_from_slice(&copied_bytes.to_le_bytes());
    bytes
}

/// How INFO names saves of the loop itself.
const FORKLESS: &str = "forkless";

/// How far a background save is, whoever does it.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What it writes.
    pub kind: ChildKind,
    /// Who does it: `fork` or `forkless`.
    pub method: &'static str,
    /// Unix time of its start, s.
    pub started_unix_s: i64,
    /// Time that it took for what it has done, ns.
    pub spent_ns: u64,
    /// Keys that it has read.
    pub keys_done: u64,
    /// Keys that it reads in all.
    pub keys_total: u64,
    /// Bytes that had to be copied because of changes meanwhile.
    pub copied_bytes: u64,
    /// Monotonic time at which all this was so, ns.
    pub reported_ns: u64,
}

impl Progress {
    /// What part of the keys is read, percent. One without keys has nothing left to read, and is at its end.
    pub fn percent(&self) -> f64 {
        match self.keys_total {
            0 => 100.0,
            total => self.keys_done as f64 * 100.0 / total as f64,
        }
    }
    /// What it writes, in a word.
    pub fn what(&self) -> &'static str {
        match self.kind {
            ChildKind::Snapshot => "snapshot",
            ChildKind::Rewrite => "aof-rewrite",
        }
    }
    /// Whether the loop does it itself.
    pub fn is_forkless(&self) -> bool {
        self.method == FORKLESS
    }
    /// Seconds that it will still take, if it goes on as until now; none before it has read a key.
    pub fn seconds_left(&self) -> Option<u64> {
        let left = u128::from(self.keys_total.saturating_sub(self.keys_done));
        let left_ns = (u128::from(self.spent_ns) * left).checked_div(self.keys_done.into())?;
        u64::try_from(left_ns / 1_000_000_000).ok()
    }
}

/// A background save that the loop does itself.
pub struct Forkless {
    /// What it writes.
    pub kind: ChildKind,
    /// Where to: a snapshot may also go to the loop, which sends it.
    pub output: SnapshotOutput,
    /// Unix time of its start, s.
    pub started_unix_s: i64,
    /// Monotonic time of its start, ns.
    pub started_ns: u64,
    /// Changes that it has.
    pub dirty: u64,
    /// Keys that it will write.
    pub keys_total: u64,
    /// Keys that it has read.
    pub keys_done: u64,
    /// Monotonic time before which nothing more is read, ns (`rdb-key-save-delay`).
    pub rests_until_ns: u64,
    /// Keys that were rested for so far; also for those that were read because of a change.
    pub keys_rested: u64,
    /// The helper is so far behind that writes are held back.
    pub is_backed_up: bool,
    /// Bytes that it keeps because somebody changed what was not read yet.
    pub copied_bytes: u64,
    /// Bytes that the helper had not written when it was looked at last.
    pub waiting: usize,
    /// Those of them that take memory of their own: all but what is lent.
    pub waiting_memory: usize,
    /// Bytes that it had done then.
    pub done_bytes: u64,
    /// For how long it had done nothing, ns, and when that was (monotonic, ns).
    pub stalled: (u64, u64),
    /// Everything has been read, and the helper writes the rest.
    pub is_read: bool,
}

impl Forkless {
    /// For how long the helper may do nothing because it syncs the whole file, s, where so many bytes wait for it.
    pub fn sync_s(&self, waiting: usize) -> u64 {
        /// A disk that is slower than this while a whole file is synced counts as one that does not answer, bytes per second.
        const SLOW_DISK: u64 = 10_000_000;
        match waiting {
            // All is written, and what is left takes as long as the file is large.
            0 => self.done_bytes / SLOW_DISK,
            _ => 0,
        }
    }
}

/// What is known of saving and loading.
pub struct Persistence {
    /// Where files are read and written.
    pub disk: Disk,
    /// Who runs the child that saves.
    pub children: Children,
    /// What times that for the latency monitor.
    pub stopwatch: Stopwatch,
    /// Ends the process where a promise cannot be kept, before anyone is answered; tests put a panic in its place.
    pub end_unanswered: fn() -> !,
    /// Unix time of the last snapshot, s; at first of the start.
    pub last_save_unix_s: i64,
    /// Unix time of the last attempt by a save point, s.
    pub last_try_unix_s: i64,
    /// The last background save went well.
    pub last_status_ok: bool,
    /// How long the last background save took, s; -1: there was none.
    pub last_duration_s: i64,
    /// Bytes that the last child copied.
    pub last_copied_bytes: u64,
    /// Most bytes that any child copied.
    pub peak_copied_bytes: u64,
    /// Snapshots written.
    pub saves: u64,
    /// The child at work.
    pub child: Option<SavingChild>,
    /// The save that the loop does itself.
    pub forkless: Option<Forkless>,
    /// Whether the last snapshot that went to the loop ended well; none while one is under way.
    pub last_transfer_ok: Option<bool>,
    /// Clients that it holds back, which have not been admitted anew.
    pub held_for_save: u64,
    /// Ids of those of them that wait for its helper alone, in the order in which they came.
    pub held_for_helper: Vec<u64>,
    /// Commands that were held back for saves.
    pub holds_for_save: u64,
    /// How much of a large value is read at a time; tests and simulations have small ones read in parts.
    pub part_size: PartSize,
    /// Who writes its file.
    pub snapshot_helper: Helper<forkless::Job>,
    /// Who does the jobs of further helpers.
    pub jobs: Jobs,
    /// A save was given up because the disk did not answer, and it has not answered since, as far as is known.
    pub disk_stalled: bool,
    /// Wakes the loop when there is news of it.
    pub waker: Option<Waker>,
    /// The last background save was of that kind.
    pub last_was_forkless: bool,
    /// A background save waits for another one to end.
    pub scheduled: bool,
    /// A transaction or a script has deleted all data, and the file is to have what is there at its end.
    pub owes_snapshot: bool,
    /// The append-only file.
    pub aof: AppendOnly,
    /// Its rewrites.
    pub rewrite: Rewrites,
    /// The load at work.
    pub loading: Option<Box<DataLoading>>,
    /// The load has been taken out to do a step of it.
    pub load_steps: bool,
    /// A snapshot is loaded beside the data, which serve meanwhile.
    pub loads_aside: bool,
    /// The append-only file is off until the snapshot of a primary is loaded: what is in it stays until there is something to
    /// put in its place.
    pub aof_waits_for_sync: bool,
    /// What the snapshot that was loaded at the start says of the stream that its data are a state of.
    pub loaded_info: Option<SaveInfo>,
    /// The keys that had expired, as commands of that stream.
    pub loaded_removals: Option<Removals>,
    /// Keys of the last load.
    pub loaded_keys: u64,
    /// Keys that the last load left out because they had expired.
    pub expired_keys: u64,
    /// Time of the last fork, µs.
    pub fork_us: u64,
    /// Forks.
    pub forks: u64,
}

impl Default for Persistence {
    fn default() -> Persistence {
        Persistence {
            disk: Disk::default(),
            children: Children::default(),
            stopwatch: Stopwatch::default(),
            end_unanswered: || std::process::exit(1),
            last_save_unix_s: 0,
            last_try_unix_s: 0,
            last_status_ok: true,
            last_duration_s: -1,
            last_copied_bytes: 0,
            peak_copied_bytes: 0,
            saves: 0,
            child: None,
            forkless: None,
            last_transfer_ok: None,
            held_for_save: 0,
            held_for_helper: Vec::new(),
            holds_for_save: 0,
            part_size: PartSize::USUAL,
            snapshot_helper: forkless::helper(&Jobs::default()),
            jobs: Jobs::default(),
            disk_stalled: false,
            waker: None,
            last_was_forkless: false,
            scheduled: false,
            owes_snapshot: false,
            aof: AppendOnly::default(),
            rewrite: Rewrites::default(),
            loading: None,
            load_steps: false,
            loads_aside: false,
            aof_waits_for_sync: false,
            loaded_info: None,
            loaded_removals: None,
            loaded_keys: 0,
            expired_keys: 0,
            fork_us: 0,
            forks: 0,
        }
    }
}

impl Persistence {
    /// Sets the machine, before there is any data.
    pub fn set_machine(&mut self, machine: Machine) {
        self.disk = machine.disk;
        self.snapshot_helper = forkless::helper(&machine.jobs);
        self.jobs = machine.jobs;
        self.children = machine.children;
        self.stopwatch = machine.stopwatch;
    }
    /// What is being saved in the background, by whomever.
    pub fn saving(&self) -> Option<ChildKind> {
        let child = self.child.as_ref().map(|child| child.kind);
        child.or_else(|| self.forkless.as_ref().map(|it| it.kind))
    }
    /// Waits for what helpers have still to do with files, at the end of the process; but not for a disk that does not
    /// answer.
    pub fn end_helpers(&mut self) {
        /// What is waited for is the removal and the close of files, and syncs nobody was promised.
        const PATIENCE: Duration = Duration::from_secs(10);
        let is_done = self.aof.end_helper(PATIENCE);
        if !(self.snapshot_helper.drain_for(PATIENCE) && is_done) {
            log::warn!(
                "The disk does not answer: the process ends without having closed its files"
            );
        }
    }
    /// Whether something is being saved in the background.
    pub fn is_saving(&self) -> bool {
        self.saving().is_some()
    }
    /// How far the background save is that is under way. All who tell of it take it from here.
    pub fn progress(&self, now_ns: u64) -> Option<Progress> {
        match (&self.child, &self.forkless) {
            (Some(child), _) => Some(Progress {
                kind: child.kind,
                method: "fork",
                started_unix_s: child.started_unix_s,
                // What it has done is as of its last report.
                spent_ns: child.reported_ns.saturating_sub(child.started_ns),
                keys_done: child.keys_done,
                keys_total: child.keys_total,
                copied_bytes: child.copied_bytes,
                reported_ns: child.reported_ns,
            }),
            (None, Some(saving)) => Some(Progress {
                kind: saving.kind,
                method: FORKLESS,
                started_unix_s: saving.started_unix_s,
                spent_ns: now_ns.saturating_sub(saving.started_ns),
                keys_done: saving.keys_done,
                keys_total: saving.keys_total,
                copied_bytes: saving.copied_bytes,
                reported_ns: now_ns,
            }),
            (None, None) => None,
        }
    }
    /// How the last background save was done, as INFO names it.
    pub fn last_method(&self) -> &'static str {
        match (self.last_duration_s, self.last_was_forkless) {
            (-1, _) => "none",
            (_, true) => FORKLESS,
            (_, false) => "fork",
        }
    }
    /// Whether a helper has waited for the disk for so long that whoever asked it for something would wait as well.
    pub fn disk_is_stalled(&self) -> bool {
        const LONG_S: u64 = 5;
        let is_long = |saving: &Forkless| {
            saving.stalled.0 / 1_000_000_000 > LONG_S + saving.sync_s(saving.waiting)
        };
        self.disk_stalled || self.forkless.as_ref().is_some_and(is_long)
    }
    /// Whether data is being loaded, also for what asks while a step of it is done.
    #[inline]
    pub fn is_loading(&self) -> bool {
        self.loading.is_some() || self.load_steps
    }
    /// Whether data is being loaded, in the place of what there is or beside it.
    #[inline]
    pub fn loads_any(&self) -> bool {
        self.is_loading() || self.loads_aside
    }
    /// A snapshot with `dirty` of the keyspace's changes is on the disk.
    pub fn saved(&mut self, now_unix_s: i64) {
        self.last_save_unix_s = now_unix_s;
        self.last_status_ok = true;
        self.saves += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_may_come_in_pieces() {
        let mut bytes = report(7, 1 << 40).to_vec();
        bytes.extend(report(9, 3));
        let mut child = SavingChild {
            kind: ChildKind::Snapshot,
            child: Children::Forks.start(|_| 0).expect("a child").0,
            token: Token(0),
            started_unix_s: 0,
            started_ns: 0,
            dirty: 0,
            keys_total: 10,
            keys_done: 0,
            copied_bytes: 0,
            reported_ns: 0,
            unread: Vec::new(),
            killed: false,
        };
        child.heard(&bytes[..5], 1);
        assert_eq!((child.keys_done, child.reported_ns), (0, 0));
        child.heard(&bytes[5..20], 2);
        assert_eq!((child.keys_done, child.copied_bytes), (7, 1 << 40));
        child.heard(&bytes[20..], 3);
        assert_eq!(
            (child.keys_done, child.copied_bytes, child.reported_ns),
            (9, 3, 3)
        );
        assert!(child.unread.is_empty());
        child.child.wait();
    }

    #[test]
    fn what_is_left_is_estimated_from_what_is_done() {
        let mut progress = Progress {
            kind: ChildKind::Snapshot,
            method: "fork",
            started_unix_s: 0,
            spent_ns: 2_000_000_000,
            keys_done: 0,
            keys_total: 1000,
            copied_bytes: 0,
            reported_ns: 0,
        };
        assert_eq!((progress.percent(), progress.seconds_left()), (0.0, None));
        progress.keys_done = 250;
        assert_eq!(
            (progress.percent(), progress.seconds_left()),
            (25.0, Some(6))
        );
        (progress.keys_done, progress.spent_ns) = (1000, u64::MAX);
        assert_eq!(progress.seconds_left(), Some(0));
        (progress.keys_done, progress.keys_total) = (0, 0);
        assert_eq!((progress.percent(), progress.seconds_left()), (100.0, None));
    }
}
