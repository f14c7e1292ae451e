//! A snapshot that comes over a network: what a helper does with its bytes, which are written to a file or read as they come.
//!
//! In: bytes. Out: a file under the name of the server's own snapshot, or what [`super::read_stream`] makes of them.
//!
//! Invariants:
//! * The loop never waits for the disk: the helper opens, writes, syncs, renames and removes.
//! * Until it is whole and on the disk the file has a name of its own, and the old snapshot stays. What is given up is removed.
//!
//! Mirrors the part of Redis's `readSyncBulkPayload` that has to do with files.

use super::read_stream::Piece;
use crate::event_loop::Waker;
use crate::system::disk::{Disk, DiskFile, Mode};
use crate::system::helper::{Helper, Jobs};
use crate::system::process::os_error_text;
use crate::system::steady_file::SteadyFile;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the helper does.
pub enum Job {
    /// Something with a file that comes.
    File(FileJob),
    /// Reads a piece of a snapshot.
    Read(Piece),
    /// Removes a file that nobody needs any more.
    Remove(Disk, PathBuf),
}

/// The helper that takes snapshots in.
pub fn helper(jobs: &Jobs) -> Helper<Job> {
    Helper::new(
        "gyre-receive",
        jobs,
        || (),
        |job| match job {
            Job::File(job) => job.run(),
            Job::Read(piece) => piece.read(),
            Job::Remove(disk, path) => {
                if let Err(error) = disk.remove(&path) {
                    let (path, reason) = (path.display(), os_error_text(&error));
                    log::warn!("Can't remove the file {path}: {reason}");
                }
            }
        },
    )
}

/// How a file is, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileEnd {
    /// It has its name.
    Installed,
    /// Something has failed: [`ReceivedFile::failure`].
    Failed,
}

impl FileEnd {
    /// A number for the seam; 0: neither.
    pub fn number(end: Option<FileEnd>) -> u64 {
        match end {
            None => 0,
            Some(FileEnd::Installed) => 1,
            Some(FileEnd::Failed) => 2,
        }
    }
    /// What such a number stands for.
    pub fn from_number(number: u64) -> Option<FileEnd> {
        match number {
            1 => Some(FileEnd::Installed),
            2 => Some(FileEnd::Failed),
            _ => None,
        }
    }
}

enum Stage {
    Unopened,
    Writing(SteadyFile<DiskFile>),
    /// Nothing more is done with it, and why.
    Over(String),
}

struct Shared {
    disk: Disk,
    /// Its name until it is whole.
    temporary: PathBuf,
    /// Its name from then on.
    path: PathBuf,
    stage: Mutex<Stage>,
    /// Bytes that are written.
    written: AtomicU64,
    /// [`FileEnd::number`].
    end: AtomicU8,
    given_up: AtomicBool,
    waker: Option<Waker>,
}

enum Step {
    Write(Vec<u8>),
    Install,
    Remove,
}

/// Something that is done with a file that comes.
pub struct FileJob {
    shared: Arc<Shared>,
    step: Step,
}

impl FileJob {
    fn run(self) {
        let shared = &self.shared;
        let mut stage = shared.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match &self.step {
            // Its end is a job of its own, behind this one.
            Step::Write(_) if shared.given_up.load(Ordering::Relaxed) => Ok(()),
            Step::Write(bytes) => shared.write(&mut stage, bytes).map(|()| {
                let len = bytes.len() as u64;
                shared.written.fetch_add(len, Ordering::Release);
            }),
            Step::Install => shared.install(&mut stage).map(|()| {
                let end = FileEnd::number(Some(FileEnd::Installed));
                shared.end.store(end as u8, Ordering::Release);
            }),
            Step::Remove => {
                shared.remove(&mut stage, String::new());
                Ok(())
            }
        };
        if let Err(reason) = done {
            shared.remove(&mut stage, reason);
            let end = FileEnd::number(Some(FileEnd::Failed));
            shared.end.store(end as u8, Ordering::Release);
        }
        drop(stage);
        if let Some(waker) = &shared.waker {
            waker.wake();
        }
    }
}

impl Shared {
    /// The file, opened if it is not yet.
    fn opened<'a>(&self, stage: &'a mut Stage) -> Result<&'a mut SteadyFile<DiskFile>, String> {
        if matches!(stage, Stage::Unopened) {
            let file = self.disk.open(&self.temporary, Mode::Create);
            let file = file.map_err(|error| {
                format!(
                    "Opening the temp file needed for MASTER <-> REPLICA synchronization: {}",
                    os_error_text(&error)
                )
            })?;
            // To the disk as it comes, so that the sync at the end is short.
            *stage = Stage::Writing(SteadyFile::new(file, true));
        }
        match stage {
            Stage::Writing(file) => Ok(file),
            Stage::Over(reason) => Err(reason.clone()),
            Stage::Unopened => Err(String::new()),
        }
    }
    fn write(&self, stage: &mut Stage, bytes: &[u8]) -> Result<(), String> {
        let file = self.opened(stage)?;
        file.write_all(bytes).map_err(|error| {
            format!(
                "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {}",
                os_error_text(&error)
            )
        })
    }
    fn install(&self, stage: &mut Stage) -> Result<(), String> {
        let file = self.opened(stage)?.file();
        file.sync_all().map_err(|error| {
            format!(
                "Failed trying to sync the temp DB to disk in MASTER <-> REPLICA synchronization: {}",
                os_error_text(&error)
            )
        })?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let unsynced = |error| {
            format!(
                "Failed trying to sync DB directory {} in MASTER <-> REPLICA synchronization: {}",
                directory.display(),
                os_error_text(&error)
            )
        };
        // All that may fail is asked for before the rename.
        let folder = self.disk.open_folder(directory).map_err(unsynced)?;
        if self.given_up.load(Ordering::Acquire) {
            return Err("it was given up".into());
        }
        self.disk
            .rename(&self.temporary, &self.path)
            .map_err(|error| {
                format!(
                    "Failed trying to rename the temp DB into {} in MASTER <-> REPLICA synchronization: {}",
                    self.path.display(),
                    os_error_text(&error)
                )
            })?;
        *stage = Stage::Over("it is over".into());
        folder.sync().map_err(unsynced)
    }
    /// Removes what there is of the file, unless it has its name.
    fn remove(&self, stage: &mut Stage, reason: String) {
        if let Stage::Writing(file) = std::mem::replace(stage, Stage::Over(reason)) {
            drop(file);
            if let Err(error) = self.disk.remove(&self.temporary) {
                let (path, reason) = (self.temporary.display(), os_error_text(&error));
                log::warn!("Can't remove the file {path}: {reason}");
            }
        }
    }
}

/// A file that comes, seen from the loop. How far the helper is ([`ReceivedFile::written`], [`ReceivedFile::end`]) are figures of
/// another thread, which pass the seam.
pub struct ReceivedFile {
    shared: Arc<Shared>,
    given: u64,
}

impl ReceivedFile {
    /// One that is to be at `path` when it is whole, and at `temporary` until then. That it cannot be opened is told like all
    /// that fails.
    pub fn new(
        disk: &Disk,
        temporary: PathBuf,
        path: PathBuf,
        waker: Option<Waker>,
    ) -> ReceivedFile {
        ReceivedFile {
            shared: Arc::new(Shared {
                disk: disk.clone(),
                temporary,
                path,
                stage: Mutex::new(Stage::Unopened),
                written: AtomicU64::new(0),
                end: AtomicU8::new(0),
                given_up: AtomicBool::new(false),
                waker,
            }),
            given: 0,
        }
    }
    fn job(&self, step: Step) -> Job {
        Job::File(FileJob {
            shared: Arc::clone(&self.shared),
            step,
        })
    }
    /// Writes bytes to its end.
    pub fn write(&mut self, helper: &mut Helper<Job>, bytes: &[u8]) {
        self.given += bytes.len() as u64;
        helper.give(self.job(Step::Write(bytes.to_vec())));
    }
    /// All bytes have been given: it is to be synced and to get its name.
    pub fn install(&self, helper: &mut Helper<Job>) {
        helper.give(self.job(Step::Install));
    }
    /// Gives it up: the helper removes it, unless it has its name.
    pub fn give_up(&self, helper: &mut Helper<Job>) {
        self.shared.given_up.store(true, Ordering::Release);
        helper.give(self.job(Step::Remove));
    }
    /// Bytes that were given.
    pub fn given(&self) -> u64 {
        self.given
    }
    /// Bytes that are written.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Acquire)
    }
    /// How it has ended, if it has.
    pub fn end(&self) -> Option<FileEnd> {
        FileEnd::from_number(u64::from(self.shared.end.load(Ordering::Acquire)))
    }
    /// Its name when it is whole.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }
    /// Why it has failed.
    pub fn failure(&self) -> String {
        let stage = self.shared.stage.lock();
        match &*stage.unwrap_or_else(PoisonError::into_inner) {
            Stage::Over(reason) => reason.clone(),
            Stage::Unopened | Stage::Writing(_) => String::new(),
        }
    }
}
