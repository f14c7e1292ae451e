//! The append-only file: every effect of a write, on the disk before (or soon after) it is answered.
//!
//! In: the bytes of the journal, once a turn, before replies are written. Out: files in `appenddirname`, which the
//! [`manifest`] lists. Between them stands the policy: `always` syncs before anyone is answered, once for all clients of
//! a turn; `everysec` writes at once and syncs on a thread of its own; `no` leaves it to the system.
//!
//! | file | what it is for |
//! | --- | --- |
//! | `mod.rs` | writing, syncing, opening, errors |
//! | [`manifest`] | which files make up the whole |
//! | `syncer.rs` | the thread that syncs |
//! | [`rewrite`] | a data set as the shortest commands that make it |
//!
//! Mirrors aof.c of Redis 7.

pub mod load;
pub mod manifest;
pub mod rewrite;
mod syncer;

pub use crate::config::Fsync;
use crate::journal::Journal;
use crate::system::disk::Disk;
use manifest::{Manifest, ManifestError};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use syncer::Syncer;

/// A write is put off for a sync that is under way at most so long, s.
const POSTPONE_S: i64 = 2;
/// Errors are logged at most once in so many seconds.
const ERROR_LOG_S: i64 = 30;
/// Room that the buffer may keep from one turn to the next.
const KEPT_BYTES: usize = 64 * 1024;

/// Whether effects are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AofState {
    /// Not.
    #[default]
    Off,
    /// They are.
    On,
    /// Switched on while running: a child writes the base, effects go to a temporary file.
    WaitRewrite,
}

/// What the writing needs to know.
#[derive(Clone, Copy, Debug)]
pub struct FlushOptions {
    /// `appendfsync`.
    pub fsync: Fsync,
    /// Now, Unix s.
    pub now_s: i64,
    /// Write although a sync is under way.
    pub force: bool,
    /// Leave syncing for later (`no-appendfsync-on-rewrite` and a child writes).
    pub no_sync: bool,
    /// Keep how long it took in [`AppendOnly::times`].
    pub timed: bool,
}

/// How long the last flush took, where it was to be timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushTimes {
    /// Writing, ns; 0: nothing was written.
    pub write_ns: u64,
    /// A sync was under way meanwhile.
    pub beside_sync: bool,
    /// Waiting for the sync of `always`, ns.
    pub sync_ns: u64,
}

/// An error under `always`: what was promised cannot be kept, and the server must end.
#[derive(Debug)]
pub struct Fatal(pub String);

/// The append-only file.
#[derive(Debug, Default)]
pub struct AppendOnly {
    /// Whether effects are written.
    pub state: AofState,
    /// Its files.
    pub manifest: Manifest,
    /// Bytes of all files that would be loaded.
    pub current_bytes: u64,
    /// The same after the last rewrite, or at the start.
    pub base_bytes: u64,
    /// Syncs that took so long that a write did not wait for them.
    pub delayed_syncs: u64,
    /// Of the last flush.
    pub times: FlushTimes,
    disk: Disk,
    directory: PathBuf,
    stem: String,
    file: Option<Arc<File>>,
    buffer: Vec<u8>,
    /// Bytes of the open file, and how many of them are synced or being synced.
    written: u64,
    synced: u64,
    last_sync_s: i64,
    postponed_since_s: Option<i64>,
    /// Rest before each write, for tests, µs (DEBUG AOF-FLUSH-SLEEP).
    pub flush_sleep_us: u64,
    write_error: Option<io::Error>,
    error_logged_s: i64,
    syncer: Syncer,
}

impl AppendOnly {
    /// Sets where its files are: a directory and the beginning of their names.
    pub fn place(&mut self, disk: Disk, directory: PathBuf, stem: &str) {
        self.disk = disk;
        self.directory = directory;
        self.stem = stem.to_owned();
    }
    /// The directory of its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
    /// Path of one of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
    /// Name of the manifest.
    pub fn manifest_name(&self) -> String {
        format!("{}.manifest", self.stem)
    }
    fn temporary_incremental(&self) -> String {
        format!("temp-{}.incr", self.stem)
    }
    /// Bytes that are not written yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }
    /// Syncs that are under way or wait.
    pub fn pending_syncs(&self) -> u32 {
        self.syncer.pending()
    }
    /// Why nothing can be written: the error of the last write or background sync.
    pub fn error(&self) -> Option<String> {
        if self.state == AofState::Off {
            return None;
        }
        match &self.write_error {
            Some(error) => Some(text_of(error)),
            None => self.syncer.error().map(|error| text_of(&error)),
        }
    }
    /// Whether the last write went well (INFO).
    pub fn last_write_ok(&self) -> bool {
        self.write_error.is_none() && self.syncer.error().is_none()
    }

    // ---- opening ------------------------------------------------------------------------------------------------

    /// Reads the manifest from the disk; a missing one is an empty one.
    pub fn read_manifest(&mut self) -> Result<(), ManifestError> {
        self.manifest = match fs::read(self.path(&self.manifest_name())) {
            Ok(text) => Manifest::parse(&text)?,
            Err(_) => Manifest::default(),
        };
        Ok(())
    }
    fn persist(&self, manifest: &Manifest) -> io::Result<()> {
        manifest.persist(&self.directory, &self.manifest_name())
    }
    /// Makes the directory where it is missing.
    pub fn create_directory(&self) -> io::Result<()> {
        match fs::create_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }
    /// Moves the one file of a server before 7.0 into the directory, as the base.
    pub fn upgrade(&mut self, old: &Path) -> io::Result<()> {
        self.create_directory()?;
        let mut manifest = Manifest::default();
        manifest.adopt_base(&self.stem);
        self.persist(&manifest)?;
        fs::rename(old, self.path(&self.stem))?;
        self.manifest = manifest;
        log::info!(
            "Successfully migrated an old-style AOF file ({}) into the AOF directory ({}).",
            self.stem,
            self.directory.display()
        );
        Ok(())
    }
    /// Whether the single file of an old server at `old` is to be taken over.
    pub fn wants_upgrade(&self, old: &Path) -> bool {
        if !old.exists() {
            return false;
        }
        let half_done = self.manifest.incremental.is_empty()
            && self
                .manifest
                .base
                .as_ref()
                .is_some_and(|base| base.name == self.stem && !self.path(&base.name).exists());
        !self.directory.exists() || self.manifest.is_empty() || half_done
    }
    /// Begins to append, at the start of the server, after all was loaded: to the last incremental file, or to a new
    /// one. `write_base` writes the base of an empty file.
    pub fn open(
        &mut self,
        base_is_rdb: bool,
        write_base: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        self.create_directory()?;
        if self.manifest.is_empty() {
            let name = self.manifest.new_base(&self.stem, base_is_rdb);
            write_base(&self.path(&name))?;
            log::info!("Creating AOF base file {name} on server start");
        }
        let (name, action) = match self.manifest.incremental.last() {
            Some(file) => (file.name.clone(), "Opening"),
            None => (self.manifest.new_incremental(&self.stem), "Creating"),
        };
        let path = self.path(&name);
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        self.written = file.metadata()?.len();
        self.synced = self.written;
        self.file = Some(Arc::new(file));
        self.persist(&self.manifest)?;
        self.current_bytes = self.bytes_on_disk();
        // What the last rewrite left is not on record; its base is, which makes the next one a little early.
        let base = self.manifest.base.as_ref();
        self.base_bytes = base
            .and_then(|base| fs::metadata(self.path(&base.name)).ok())
            .map_or(0, |data| data.len());
        self.state = AofState::On;
        log::info!("{action} AOF incr file {name} on server start");
        Ok(())
    }
    /// Bytes of the files of the manifest.
    pub fn bytes_on_disk(&self) -> u64 {
        let sizes = self
            .manifest
            .files()
            .map(|file| fs::metadata(self.path(&file.name)).map_or(0, |data| data.len()));
        sizes.sum()
    }
    /// Opens the incremental file for what happens from a fork on; on error all is as before.
    pub fn begin_rewrite(&mut self) -> io::Result<()> {
        self.create_directory()?;
        let mut manifest = self.manifest.clone();
        let name = match self.state {
            AofState::Off => return Ok(()),
            AofState::WaitRewrite => self.temporary_incremental(),
            AofState::On => manifest.new_incremental(&self.stem),
        };
        let file = File::create(self.path(&name))?;
        if self.state == AofState::On {
            self.persist(&manifest)?;
            self.manifest = manifest;
        }
        log::info!("Creating AOF incr file {name} on background rewrite");
        if let Some(old) = self.file.replace(Arc::new(file)) {
            self.syncer.sync(old);
        }
        (self.written, self.synced) = (0, 0);
        Ok(())
    }
    /// A child has written a base to `temporary`: makes it the base, and what it holds history.
    pub fn end_rewrite(&mut self, temporary: &Path, base_is_rdb: bool) -> io::Result<()> {
        let mut manifest = self.manifest.clone();
        let base = manifest.new_base(&self.stem, base_is_rdb);
        fs::rename(temporary, self.path(&base))?;
        log::info!(
            "Successfully renamed the temporary AOF base file {} into {base}",
            temporary.display()
        );
        let mut renamed = Ok(());
        if self.state == AofState::WaitRewrite {
            let temporary = self.temporary_incremental();
            let name = manifest.new_incremental(&self.stem);
            renamed = fs::rename(self.path(&temporary), self.path(&name));
            if renamed.is_ok() {
                log::info!(
                    "Successfully renamed the temporary AOF incr file {temporary} into {name}"
                );
            }
        }
        // Without the file being on, nothing has happened after the fork that the base does not hold.
        manifest.retire_incremental(usize::from(self.state != AofState::Off));
        if let Err(error) = renamed.and_then(|()| self.persist(&manifest)) {
            self.syncer.remove(self.path(&base));
            return Err(error);
        }
        self.manifest = manifest;
        if self.state != AofState::Off {
            self.state = AofState::On;
            self.current_bytes = self.bytes_on_disk();
            self.base_bytes = self.current_bytes;
        }
        Ok(())
    }
    /// Removes what a rewrite has made superfluous, in the background.
    pub fn remove_history(&mut self) {
        if self.manifest.history.is_empty() {
            return;
        }
        for file in std::mem::take(&mut self.manifest.history) {
            log::info!("Removing the history file {} in the background", file.name);
            self.syncer.remove(self.path(&file.name));
        }
        if let Err(error) = self.persist(&self.manifest) {
            log::warn!("Writing the AOF manifest failed: {error}");
        }
    }
    /// Removes a file in the background.
    pub fn remove_file(&mut self, path: PathBuf) {
        self.syncer.remove(path);
    }
    /// A rewrite that was to switch the file on has failed: forgets what was gathered for it.
    pub fn forget_waiting(&mut self) {
        if self.state == AofState::WaitRewrite {
            self.buffer = Vec::new();
            let name = self.temporary_incremental();
            log::info!("Removing the temp incr aof file {name} in the background");
            self.syncer.remove(self.path(&name));
        }
    }
    /// Begins to gather effects for a file that a rewrite will begin.
    pub fn wait_for_rewrite(&mut self, now_s: i64) {
        self.state = AofState::WaitRewrite;
        self.last_sync_s = now_s;
        self.write_error = None;
        self.syncer.forget_error();
    }
    /// Brings what was written to the disk before it returns.
    pub fn sync_now(&mut self) {
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.sync_data()) {
            log::warn!("Fail to fsync the AOF file: {error}");
        }
    }
    /// Ends the appending; the caller has flushed.
    pub fn close(&mut self) {
        self.sync_now();
        self.file = None;
        self.state = AofState::Off;
        self.buffer = Vec::new();
        (self.written, self.synced) = (0, 0);
        self.postponed_since_s = None;
    }

    // ---- writing ------------------------------------------------------------------------------------------------

    /// Takes what the journal has, writes it and syncs by the policy. Call it before replies are written.
    pub fn flush(&mut self, journal: &mut Journal, options: FlushOptions) -> Result<(), Fatal> {
        self.times = FlushTimes::default();
        journal.take(&mut self.buffer);
        let Some(file) = self.file.clone() else {
            return Ok(());
        };
        if self.buffer.is_empty() {
            let behind = self.synced != self.written;
            return match options.fsync {
                Fsync::Always if behind => self.sync(&file, options),
                Fsync::EverySecond if behind && options.now_s > self.last_sync_s => {
                    self.sync(&file, options)
                }
                _ => Ok(()),
            };
        }
        if options.fsync == Fsync::EverySecond && !options.force && self.syncer.is_syncing() {
            // The system would make this write wait for the sync.
            let since = *self.postponed_since_s.get_or_insert(options.now_s);
            if options.now_s - since < POSTPONE_S {
                return Ok(());
            }
            self.delayed_syncs += 1;
            log::info!(
                "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without waiting for \
                 fsync to complete, this may slow down Redis."
            );
        }
        self.postponed_since_s = None;
        std::thread::sleep(std::time::Duration::from_micros(self.flush_sleep_us));
        let begin = options.timed.then(Instant::now);
        self.times.beside_sync = self.syncer.is_syncing();
        self.write(&file, options)?;
        self.times.write_ns = begin.map_or(0, elapsed_ns);
        if !self.buffer.is_empty() {
            return Ok(());
        }
        self.sync(&file, options)
    }
    fn write(&mut self, mut file: &File, options: FlushOptions) -> Result<(), Fatal> {
        let mut done = 0;
        let error = loop {
            match self.buffer.get(done..) {
                None | Some([]) => break None,
                Some(rest) => match file.write(rest) {
                    Ok(0) => break Some(io::Error::from(io::ErrorKind::WriteZero)),
                    Ok(n) => done += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Some(error),
                },
            }
        };
        let Some(error) = error else {
            if self.write_error.take().is_some() {
                log::warn!("AOF write error looks solved, Redis can write again.");
            }
            self.wrote(done);
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BYTES);
            return Ok(());
        };
        let logs = options.now_s - self.error_logged_s > ERROR_LOG_S;
        if logs {
            self.error_logged_s = options.now_s;
            log::warn!("Error writing to the AOF file: {}", text_of(&error));
        }
        if done > 0 {
            // Half a command must not stay: it is written again as a whole.
            match file.set_len(self.written) {
                Ok(()) => done = 0,
                Err(error) if logs => log::warn!(
                    "Could not remove short write from the append-only file.  Redis may refuse to load the AOF the \
                     next time it starts.  ftruncate: {error}"
                ),
                Err(_) => {}
            }
        }
        if options.fsync == Fsync::Always {
            return Err(Fatal(
                "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting..."
                    .to_owned(),
            ));
        }
        self.wrote(done);
        self.buffer.drain(..done);
        self.write_error = Some(error);
        Ok(())
    }
    fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        self.current_bytes += bytes as u64;
    }
    fn sync(&mut self, file: &Arc<File>, options: FlushOptions) -> Result<(), Fatal> {
        if options.no_sync {
            return Ok(());
        }
        match options.fsync {
            Fsync::Always => {
                let begin = options.timed.then(Instant::now);
                file.sync_data().map_err(|error| {
                    Fatal(format!(
                        "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. Exiting...",
                        text_of(&error)
                    ))
                })?;
                self.times.sync_ns = begin.map_or(0, elapsed_ns);
                self.synced = self.written;
                self.last_sync_s = options.now_s;
            }
            Fsync::EverySecond if options.now_s > self.last_sync_s => {
                if !self.syncer.is_syncing() {
                    self.syncer.sync(Arc::clone(file));
                    self.synced = self.written;
                }
                self.last_sync_s = options.now_s;
            }
            Fsync::EverySecond | Fsync::No => {}
        }
        Ok(())
    }
    /// Whether a flush has something to do later although nothing new comes: a write that was put off or failed, or
    /// bytes that are not synced.
    pub fn is_behind(&self) -> bool {
        !self.buffer.is_empty() || self.synced != self.written
    }
}

fn elapsed_ns(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The system's words for an error, as Redis shows them.
fn text_of(error: &io::Error) -> String {
    crate::system::process::os_error_text(error)
}

#[cfg(test)]
mod tests;
