//! The helper that brings the append-only file to the disk, and closes files that have been removed.
//!
//! In: open files, some shared with the loop which goes on appending to them. Out: how many are still to be synced, and
//! the last error. It does what may take long; the loop waits for it only where CONFIG SET is to promise `always`, as there each
//! write will wait from then on. It gets files and never paths: by the time
//! it comes to one, another file may have the path. Mirrors the BIO_AOF_FSYNC and BIO_CLOSE_FILE jobs of
//! Redis's bio.c.

use crate::system::disk::DiskFile;
use crate::system::helper::{Helper, Jobs};
use crate::system::process::os_error_text;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

enum Job {
    /// The file that is appended to is synced.
    Sync(Arc<DiskFile>),
    /// One that was appended to is synced and closed: writes to its successor need not wait for it.
    SyncAndClose(Arc<DiskFile>),
    /// One without a name is closed, and the system frees what it holds.
    Close(DiskFile),
}

#[derive(Debug, Default)]
struct Shared {
    syncing: AtomicU32,
    /// Files that are to be synced and closed.
    closing: AtomicU32,
    /// The system's number of the last error; 0: the last sync went well.
    error: AtomicI32,
    /// Syncs that failed.
    failures: AtomicU32,
}

/// The helper and the way to it.
#[derive(Debug)]
pub(super) struct Syncer {
    helper: Helper<Job>,
    shared: Arc<Shared>,
}

impl Default for Syncer {
    fn default() -> Syncer {
        Syncer::new(&Jobs::default())
    }
}

impl Syncer {
    /// A helper of this kind.
    pub(super) fn new(jobs: &Jobs) -> Syncer {
        let shared = Arc::<Shared>::default();
        let its = Arc::clone(&shared);
        Syncer {
            helper: Helper::new("gyre-fsync", jobs, || (), move |job| run(job, &its)),
            shared,
        }
    }
    /// Syncs a file in the background.
    pub(super) fn sync(&mut self, file: Arc<DiskFile>) {
        self.shared.syncing.fetch_add(1, Ordering::Relaxed);
        self.helper.give(Job::Sync(file));
    }
    /// Syncs and closes a file in the background.
    pub(super) fn sync_and_close(&mut self, file: Arc<DiskFile>) {
        self.shared.closing.fetch_add(1, Ordering::Relaxed);
        self.helper.give(Job::SyncAndClose(file));
    }
    /// Closes a file that has been removed, in the background.
    pub(super) fn close(&mut self, file: DiskFile) {
        self.helper.give(Job::Close(file));
    }
    /// Whether a file is being synced, or waits for it.
    pub(super) fn is_syncing(&self) -> bool {
        self.shared.syncing.load(Ordering::Relaxed) > 0
    }
    /// Whether all that was given to it is on the disk, or could not be brought there.
    pub(super) fn is_done(&self) -> bool {
        let waiting = [&self.shared.syncing, &self.shared.closing];
        waiting
            .iter()
            .all(|waiting| waiting.load(Ordering::Acquire) == 0)
    }
    /// Waits until all that was given to it is on the disk, or could not be brought there.
    pub(super) fn drain(&mut self) {
        if self.is_done() {
            return;
        }
        self.helper.drain();
    }
    /// Waits until all that was given to it is done, closing included, but no longer than `patience`; whether it is done.
    pub(super) fn end(&mut self, patience: Duration) -> bool {
        self.helper.drain_for(patience)
    }
    /// Files that are being synced or wait for it.
    pub(super) fn pending(&self) -> u32 {
        self.shared.syncing.load(Ordering::Relaxed)
    }
    /// The last sync's error.
    pub(super) fn error(&self) -> Option<std::io::Error> {
        match self.shared.error.load(Ordering::Relaxed) {
            0 => None,
            number => Some(std::io::Error::from_raw_os_error(number)),
        }
    }
    /// How many syncs have failed.
    pub(super) fn failures(&self) -> u32 {
        self.shared.failures.load(Ordering::Relaxed)
    }
    /// Forgets the last error.
    pub(super) fn forget_error(&self) {
        self.shared.error.store(0, Ordering::Relaxed);
    }
}

fn run(job: Job, shared: &Shared) {
    match job {
        Job::Sync(file) => {
            sync(&file, shared);
            shared.syncing.fetch_sub(1, Ordering::Release);
        }
        Job::SyncAndClose(file) => {
            sync(&file, shared);
            // With what the loop reads next it sees the error too.
            shared.closing.fetch_sub(1, Ordering::Release);
        }
        Job::Close(file) => drop(file),
    }
}

fn sync(file: &DiskFile, shared: &Shared) {
    let error = match file.sync_data() {
        Ok(()) => 0,
        // What cannot be synced by its nature (a pipe, a terminal) needs no sync.
        Err(error) => match error.raw_os_error() {
            Some(libc::EBADF | libc::EINVAL) => 0,
            number => number.unwrap_or(libc::EIO),
        },
    };
    if error != 0 {
        shared.failures.fetch_add(1, Ordering::Relaxed);
    }
    if error != 0 && shared.error.swap(error, Ordering::Relaxed) == 0 {
        let error = std::io::Error::from_raw_os_error(error);
        // It may have another name by now, but stays in its directory.
        let (path, reason) = (file.directory().display(), os_error_text(&error));
        log::warn!(
            "Fail to fsync the AOF file in {path}: {reason}. It is tried again, and writes are refused until then"
        );
    } else if error == 0 {
        shared.error.store(0, Ordering::Relaxed);
    }
}
