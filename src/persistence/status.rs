//! What is known of saving and loading: times, counts, the child that is at work.
//!
//! In: what the server did and what the child reported. Out: figures for INFO, and whether another child may be
//! started. Mirrors the `rdb_*` and `child_*` fields of `redisServer`.

use super::aof::AppendOnly;
use super::aof::load::AofLoading;
use super::forkless::{self, SnapshotFile};
use super::loading::Loading;
use crate::clients::ClientKey;
use crate::event_loop::{Token, Waker};
use crate::system::child::{Child, Children};
use crate::system::disk::Disk;
use crate::system::helper::{Helper, Jobs};
use crate::system::machine::{Machine, Stopwatch};

/// Bytes of one report of a child: keys done and bytes of copy-on-write, both little-endian.
const REPORT_LEN: usize = 16;

/// Where data is loaded from.
#[derive(Debug)]
pub enum LoadSource {
    /// A snapshot.
    Snapshot(Loading),
    /// An append-only file.
    Aof(AofLoading),
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
        }
    }
    /// Used memory when the snapshot was written, as it says.
    pub fn used_memory(&self) -> u64 {
        match &self.source {
            LoadSource::Snapshot(loading) => loading.used_memory,
            LoadSource::Aof(_) => 0,
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

/// A background save that the loop does itself.
pub struct Forkless {
    /// What it writes.
    pub kind: ChildKind,
    /// Where to.
    pub file: SnapshotFile,
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
    /// The helper is so far behind that writes are held back.
    pub is_backed_up: bool,
    /// Bytes that the helper had not written when it was looked at last.
    pub waiting: usize,
    /// Large values that had been read when those who are held back were last admitted.
    pub large_read: u64,
    /// Everything has been read, and the helper writes the rest.
    pub is_read: bool,
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
    /// Clients that it holds back, which have not been admitted anew.
    pub held_for_save: u64,
    /// Commands that were held back for saves.
    pub holds_for_save: u64,
    /// Who writes its file.
    pub snapshot_helper: Helper<forkless::Job>,
    /// Wakes the loop when there is news of it.
    pub waker: Option<Waker>,
    /// The last background save was of that kind.
    pub last_was_forkless: bool,
    /// A background save waits for another one to end.
    pub scheduled: bool,
    /// The append-only file.
    pub aof: AppendOnly,
    /// Its rewrites.
    pub rewrite: Rewrites,
    /// The load at work.
    pub loading: Option<Box<DataLoading>>,
    /// The load has been taken out to do a step of it.
    pub load_steps: bool,
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
            held_for_save: 0,
            holds_for_save: 0,
            snapshot_helper: forkless::helper(&Jobs::default()),
            waker: None,
            last_was_forkless: false,
            scheduled: false,
            aof: AppendOnly::default(),
            rewrite: Rewrites::default(),
            loading: None,
            load_steps: false,
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
        self.children = machine.children;
        self.stopwatch = machine.stopwatch;
    }
    /// What is being saved in the background, by whomever.
    pub fn saving(&self) -> Option<ChildKind> {
        let child = self.child.as_ref().map(|child| child.kind);
        child.or_else(|| self.forkless.as_ref().map(|it| it.kind))
    }
    /// Waits for what helpers have still to do with files, at the end of the process.
    pub fn end_helpers(&mut self) {
        self.aof.end_helper();
        self.snapshot_helper.drain();
    }
    /// Whether something is being saved in the background.
    pub fn is_saving(&self) -> bool {
        self.saving().is_some()
    }
    /// Keys that the background save has written or read, and that it will.
    pub fn keys(&self) -> (u64, u64) {
        let child = self.child.as_ref().map(|it| (it.keys_done, it.keys_total));
        let own = self.forkless.as_ref();
        let own = own.map(|it| (it.keys_done, it.keys_total));
        child.or(own).unwrap_or((0, 0))
    }
    /// When the background save began, Unix s.
    pub fn started_unix_s(&self) -> Option<i64> {
        let child = self.child.as_ref().map(|it| it.started_unix_s);
        child.or_else(|| self.forkless.as_ref().map(|it| it.started_unix_s))
    }
    /// How the background save that is under way is done, and how the last one was, as INFO names them.
    pub fn methods(&self) -> (&'static str, &'static str) {
        let current = match (&self.child, &self.forkless) {
            (Some(_), _) => "fork",
            (None, Some(_)) => "forkless",
            (None, None) => "none",
        };
        let last = match (self.last_duration_s, self.last_was_forkless) {
            (-1, _) => "none",
            (_, true) => "forkless",
            (_, false) => "fork",
        };
        (current, last)
    }
    /// Seconds that the loop's own save will still take, if it goes on as until now.
    pub fn estimated_seconds(&self, now_ns: u64) -> Option<u64> {
        let saving = self.forkless.as_ref()?;
        let spent_ns = u128::from(now_ns.saturating_sub(saving.started_ns));
        let left = u128::from(saving.keys_total.saturating_sub(saving.keys_done));
        let left_ns = (spent_ns * left).checked_div(saving.keys_done.into())?;
        u64::try_from(left_ns / 1_000_000_000).ok()
    }
    /// Whether data is being loaded, also for what asks while a step of it is done.
    #[inline]
    pub fn is_loading(&self) -> bool {
        self.loading.is_some() || self.load_steps
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
}
