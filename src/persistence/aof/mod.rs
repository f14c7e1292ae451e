//! The append-only file: every effect of a write, on the disk before (or soon after) it is answered.
//!
//! In: the bytes of the journal, once a turn, before replies are written. Out: files in `appenddirname`, which the
//! [`manifest`] lists. Between them stands the policy: `always` syncs before anyone is answered, once for all clients of
//! a turn; `everysec` writes at once and syncs on a thread of its own; `no` leaves it to the system.
//!
//! What always holds: the manifest on the disk names only files that are there, whatever call fails and whenever the
//! process ends. So a file is made before it is named, and removed after it is no longer loaded; a manifest that may be
//! undone by a crash ([`Persisted::Renamed`]) removes nothing. A file that cannot be had is never taken for a missing one.
//!
//! | file | what it is for |
//! | --- | --- |
//! | `mod.rs` | writing, syncing, opening, errors |
//! | [`manifest`] | which files make up the whole |
//! | `syncer.rs` | the helper that syncs |
//! | [`rewrite`] | a data set as the shortest commands that make it |
//!
//! Mirrors aof.c of Redis 7.

pub mod load;
pub mod manifest;
pub mod rewrite;
mod syncer;

pub use crate::config::Fsync;
use crate::journal::{Journal, Targets};
use crate::system::child::Children;
use crate::system::disk::{Disk, DiskFile, Mode};
use crate::system::machine::{Machine, Stopwatch};
use manifest::{Manifest, Persisted};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use syncer::Syncer;

/// A write is put off for a sync that is under way at most so long, s.
const POSTPONE_S: i64 = 2;
/// Errors are logged at most once in so many seconds.
const ERROR_LOG_S: i64 = 30;
/// So many numbers are passed over where files with the next names are there already.
const TAKEN_MAX: usize = 1000;
/// Beginning of the name of a base that a child writes; its process number follows.
const TEMPORARY_BASE: &str = "temp-rewriteaof-bg-";
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
    /// Switched on while running: a child writes the base, effects go to a temporary file. Until that child is there,
    /// nothing is gathered: its copy of the data will have it.
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

/// An error under `always`: what was promised cannot be kept, and the server must end without another answer. The call
/// that failed is not to be repeated: a second sync says of bytes that the first has lost that all is well.
#[derive(Debug)]
#[must_use]
pub struct Fatal(pub String);

impl Fatal {
    fn sync(error: &io::Error) -> Fatal {
        Fatal(format!(
            "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. Exiting...",
            text_of(error)
        ))
    }
}

/// The append-only file.
#[derive(Debug, Default)]
pub struct AppendOnly {
    /// Whether effects are written.
    pub state: AofState,
    /// Its files.
    pub manifest: Manifest,
    /// Bytes of all files that would be loaded.
    pub current_bytes: u64,
    /// Bytes of all files after the last rewrite, or at the start.
    pub base_bytes: u64,
    /// Syncs that took so long that a write did not wait for them.
    pub delayed_syncs: u64,
    /// The data at the start came from it, so that it goes on where it ended. The directive may have changed since.
    pub opens_at_start: bool,
    /// How long the steps of the last flush took.
    pub times: FlushTimes,
    disk: Disk,
    directory: PathBuf,
    stem: String,
    file: Option<Arc<DiskFile>>,
    buffer: Vec<u8>,
    /// Bytes of the open file, and how many of them are synced or being synced.
    written: u64,
    synced: u64,
    /// Offset of the journal up to which effects have been taken, up to which they are being synced or stand in a base
    /// that is being written, and up to which they are on the disk.
    offset: u64,
    syncing_offset: u64,
    synced_offset: u64,
    last_sync_s: i64,
    postponed_since_s: Option<i64>,
    /// Rest before each write, for tests, µs (DEBUG AOF-FLUSH-SLEEP).
    pub flush_sleep_us: u64,
    write_error: Option<io::Error>,
    error_logged_s: i64,
    /// Why the manifest may be undone by a crash, and when it was last written, Unix s.
    manifest_behind: Option<(io::Error, i64)>,
    /// Background syncs that had failed when the last rewrite began, and when the last one that ended well did: what
    /// they may have lost is in the base.
    failed_syncs: u32,
    rewritten_failures: u32,
    /// What stands in the file or waits for it was promised a sync, by a policy that is no more.
    owes_sync: bool,
    /// Replication offset at the beginning of the temporary file.
    temporary_offset: i64,
    syncer: Syncer,
    children: Children,
    stopwatch: Stopwatch,
}

impl AppendOnly {
    /// Sets where its files are: a directory and the beginning of their names.
    pub fn place(&mut self, disk: Disk, directory: PathBuf, stem: &str) {
        self.disk = disk;
        self.directory = directory;
        self.stem = stem.to_owned();
    }
    /// Sets who syncs its files and closes them, who writes its bases, and what times that, before there are any.
    pub fn set_machine(&mut self, machine: &Machine) {
        self.syncer = Syncer::new(&machine.jobs);
        self.children = machine.children.clone();
        self.stopwatch = machine.stopwatch;
    }
    /// Leaves its files, which are off, for those in another directory; on error all is as before.
    pub fn move_to(&mut self, directory: PathBuf, stem: &str) -> Result<(), String> {
        let mut there = AppendOnly {
            delayed_syncs: self.delayed_syncs,
            flush_sleep_us: self.flush_sleep_us,
            children: self.children.clone(),
            stopwatch: self.stopwatch,
            ..AppendOnly::default()
        };
        there.place(self.disk.clone(), directory, stem);
        there.read_manifest()?;
        // The thread may have large files to close, for which nobody is to wait.
        there.syncer = std::mem::take(&mut self.syncer);
        there.rewritten_failures = there.syncer.failures();
        *self = there;
        Ok(())
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
    fn manifest_name(&self) -> String {
        format!("{}.manifest", self.stem)
    }
    /// Path of the file that is appended to.
    fn open_path(&self) -> PathBuf {
        match (self.state, self.manifest.incremental.last()) {
            (AofState::On, Some(file)) => self.path(&file.name),
            _ => self.path(&self.temporary_incremental()),
        }
    }
    fn manifest_path(&self) -> PathBuf {
        self.path(&self.manifest_name())
    }
    fn manifest_failed(&self, error: &io::Error, next: &str) {
        let (path, reason) = (self.manifest_path(), text_of(error));
        log::warn!(
            "Writing the AOF manifest {} failed: {reason}: {next}",
            path.display()
        );
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
    /// Why nothing can be written: the error of the last write, background sync or manifest.
    pub fn error(&self) -> Option<String> {
        if self.state == AofState::Off {
            return None;
        }
        match (&self.write_error, &self.manifest_behind) {
            (Some(error), _) | (None, Some((error, _))) => Some(text_of(error)),
            (None, None) => self.syncer.error().map(|error| text_of(&error)),
        }
    }
    /// Whether the last write went well (INFO).
    pub fn last_write_ok(&self) -> bool {
        self.write_error.is_none()
            && self.manifest_behind.is_none()
            && self.syncer.error().is_none()
    }

    // ---- opening ------------------------------------------------------------------------------------------------

    /// Reads the manifest from the disk; a missing one is an empty one, any other that cannot be had is an error: the
    /// text says which file, and why.
    pub fn read_manifest(&mut self) -> Result<(), String> {
        let path = self.path(&self.manifest_name());
        self.manifest = match self.disk.read(&path) {
            Ok(Some(text)) => Manifest::parse(&text).map_err(|error| error.to_string())?,
            Ok(None) => Manifest::default(),
            Err(error) => {
                return Err(format!(
                    "Fatal error: can't open the AOF manifest file {} for reading: {}",
                    path.display(),
                    text_of(&error)
                ));
            }
        };
        Ok(())
    }
    /// The name of a file that a crash has taken the end of, before it was synced, while effects went to the next ones
    /// already: what is in those happened after what is lost.
    pub fn shortened(&self) -> io::Result<Option<&str>> {
        let index = self.find_shortened()?;
        let file = index.and_then(|index| self.manifest.incremental.get(index));
        Ok(file.map(|file| file.name.as_str()))
    }
    fn find_shortened(&self) -> io::Result<Option<usize>> {
        let size_of = |name: &str| self.disk.size(&self.path(name));
        self.manifest.shortened(size_of)
    }
    /// Makes the files behind one that has lost its end history, so that the data end where they did at some moment.
    pub fn leave_out_behind_shortened(&mut self, now_s: i64) -> io::Result<()> {
        let Some(index) = self.find_shortened()? else {
            return Ok(());
        };
        let mut manifest = self.manifest.clone();
        manifest.leave_out_behind(index);
        self.replace_manifest(manifest, now_s)
    }
    /// Makes `manifest` the one that counts. On error the old one does, only that no number is given twice.
    fn replace_manifest(&mut self, manifest: Manifest, now_s: i64) -> io::Result<()> {
        match manifest.persist(&self.disk, &self.directory, &self.manifest_name()) {
            Ok(Persisted::Durable) => self.manifest_behind = None,
            Ok(Persisted::Renamed(error)) => {
                log::warn!(
                    "Fail to fsync AOF directory {}: {}. A crash may undo the new manifest: it is written again, and writes are \
                     refused until then",
                    self.directory.display(),
                    text_of(&error)
                );
                self.manifest_behind = Some((error, now_s));
            }
            Err(error) => {
                self.manifest.skip_sequences_of(&manifest);
                return Err(error);
            }
        }
        self.manifest = manifest;
        Ok(())
    }
    /// Makes the directory where it is missing.
    pub fn create_directory(&self) -> io::Result<()> {
        self.disk.create_folder(&self.directory)
    }
    /// Whether the files are in another directory than this.
    pub fn is_elsewhere(&self, directory: &Path) -> bool {
        self.directory != directory
    }
    /// Moves the one file of a server before 7.0 into the directory, as the base.
    pub fn upgrade(&mut self, old: &Path, now_s: i64) -> io::Result<()> {
        self.create_directory()?;
        let mut manifest = Manifest::default();
        manifest.adopt_base(&self.stem);
        self.replace_manifest(manifest, now_s)?;
        if let Some((error, _)) = self.manifest_behind.take() {
            // Moved into a directory without a manifest the file would never be found again.
            return Err(error);
        }
        self.disk.rename(old, &self.path(&self.stem))?;
        self.disk.open_folder(&self.directory)?.sync()?;
        log::info!(
            "Successfully migrated an old-style AOF file ({}) into the AOF directory ({}).",
            self.stem,
            self.directory.display()
        );
        Ok(())
    }
    /// Whether the single file of an old server at `old` is to be taken over.
    pub fn wants_upgrade(&self, old: &Path) -> io::Result<bool> {
        if self.disk.size(old)?.is_none() {
            return Ok(false);
        }
        if self.manifest.is_empty() || self.disk.size(&self.directory)?.is_none() {
            return Ok(true);
        }
        // It stopped between the manifest and the move.
        Ok(match &self.manifest.base {
            Some(base) if base.name == self.stem && self.manifest.incremental.is_empty() => {
                self.disk.size(&self.path(&base.name))?.is_none()
            }
            _ => false,
        })
    }
    /// Begins to append, at the start of the server, after all was loaded: to the last incremental file, or to a new
    /// one, which begins at `offset`. `write_base` writes the base of an empty file. On error the text says which file,
    /// and why; what was made until then is gone again, so that the next start begins where this one did.
    pub fn open(
        &mut self,
        base_is_rdb: bool,
        offset: i64,
        now_s: i64,
        write_base: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), String> {
        let mut made = Vec::new();
        let opened = self.try_open(base_is_rdb, offset, now_s, write_base, &mut made);
        if opened.is_err() {
            made.iter().for_each(|name| self.remove_now(name));
        }
        opened
    }
    /// The same; `made` are the files that no manifest names, at any moment.
    fn try_open(
        &mut self,
        base_is_rdb: bool,
        offset: i64,
        now_s: i64,
        write_base: impl FnOnce(&Path) -> io::Result<()>,
        made: &mut Vec<String>,
    ) -> Result<(), String> {
        let directory = self.directory.clone();
        let describe = |name: &str, error: &io::Error| {
            format!("{}: {}", directory.join(name).display(), text_of(error))
        };
        self.create_directory()
            .map_err(|error| describe("", &error))?;
        let mut manifest = self.manifest.clone();
        if manifest.is_empty() {
            // Under another name: half of a base is never one.
            let temporary = temporary_base_name(self.children.own_pid());
            made.push(temporary.clone());
            let from = self.path(&temporary);
            write_base(&from).map_err(|error| describe(&temporary, &error))?;
            let name = manifest.new_base(&self.stem, base_is_rdb);
            let name = self
                .free_name(name.clone(), || manifest.next_base(&self.stem, base_is_rdb))
                .map_err(|error| describe(&name, &error))?;
            self.disk
                .rename(&from, &self.path(&name))
                .map_err(|error| describe(&name, &error))?;
            log::info!("Creating AOF base file {name} on server start");
            *made = vec![name];
        }
        // One that a rewrite has ended was perhaps not synced before the process ended: what stands in the next file, and all
        // that follows, would stand behind a hole.
        let ended = manifest.incremental.split_last().map(|(_, ended)| ended);
        for file in ended.unwrap_or_default() {
            let opened = self.disk.open(&self.path(&file.name), Mode::Change);
            let synced = opened.and_then(|opened| opened.sync_all());
            synced.map_err(|error| describe(&file.name, &error))?;
        }
        // From here on it goes beyond where it was closed.
        let known = manifest.reopen_incremental().map(str::to_owned);
        let (name, file, action) = match known {
            Some(name) => {
                let file = self.disk.open(&self.path(&name), Mode::Append);
                let file = file.map_err(|error| describe(&name, &error))?;
                // What was loaded, and what was cut off its end, may be known to the system alone: a crash would bring back
                // another state than the one that clients are about to read.
                file.sync_all().map_err(|error| describe(&name, &error))?;
                (name, file, "Opening")
            }
            None => match self.new_incremental(&mut manifest, offset) {
                Ok((name, file)) => {
                    made.push(name.clone());
                    (name, file, "Creating")
                }
                Err(error) => {
                    let last = manifest.incremental.last();
                    return Err(describe(last.map_or("", |file| &file.name), &error));
                }
            },
        };
        let size = file.size().map_err(|error| describe(&name, &error))?;
        (self.written, self.synced) = (size, size);
        let manifest_name = self.manifest_name();
        let is_as_read = manifest == self.manifest && self.manifest_behind.is_none();
        let persisted = match is_as_read {
            // A full disk has no room to write it anew, and what is on it is to be read and removed all the same.
            true => Manifest::sync(&self.disk, &self.directory, &manifest_name),
            false => self.replace_manifest(manifest, now_s),
        };
        persisted.map_err(|error| describe(&manifest_name, &error))?;
        // From here on they are named, though a crash may undo that.
        made.clear();
        if let Some((error, _)) = self.manifest_behind.take() {
            return Err(describe(&manifest_name, &error));
        }
        self.file = Some(Arc::new(file));
        self.current_bytes = self.bytes_on_disk();
        // What the last rewrite left is not on record; its base is, which makes the next one a little early.
        let base = self.manifest.base.as_ref();
        self.base_bytes = base.map_or(0, |base| self.size_of(&base.name));
        self.state = AofState::On;
        log::info!("{action} AOF incr file {name} on server start");
        Ok(())
    }
    /// Bytes of the files of the manifest.
    fn bytes_on_disk(&self) -> u64 {
        let files = self.manifest.files();
        files.map(|file| self.size_of(&file.name)).sum()
    }
    /// Length of a file, for figures: one that cannot be had is told and counts as empty.
    fn size_of(&self, name: &str) -> u64 {
        let missing = || io::Error::from_raw_os_error(libc::ENOENT);
        let size = self.disk.size(&self.path(name));
        size.and_then(|size| size.ok_or_else(missing))
            .unwrap_or_else(|error| {
                let reason = text_of(&error);
                log::warn!("Unable to obtain the AOF file {name} length. stat: {reason}");
                0
            })
    }
    /// Opens the incremental file for what happens from a fork on, at this replication offset; on error all is as
    /// before. Nothing may wait to be written to the old one.
    pub fn begin_rewrite(&mut self, offset: i64, now_s: i64) -> io::Result<()> {
        debug_assert!(self.buffer.is_empty());
        let (name, file) = match self.state {
            AofState::Off => return Ok(()),
            AofState::WaitRewrite => {
                let name = self.temporary_incremental();
                let path = self.path(&name);
                let file = self.disk.open(&path, Mode::AppendEmpty);
                let file = file.map_err(|error| named("open", &path, &error))?;
                self.temporary_offset = offset;
                (name, file)
            }
            AofState::On => self.next_incremental(offset, now_s)?,
        };
        log::info!("Creating AOF incr file {name} on background rewrite");
        if let Some(old) = self.file.replace(Arc::new(file)) {
            self.syncer.sync_and_close(old);
            self.last_sync_s = now_s;
        }
        self.failed_syncs = self.syncer.failures();
        // What was written goes to the disk now; where nothing was, it is in the base that the child writes.
        self.note_sync();
        (self.written, self.synced) = (0, 0);
        self.owes_sync = false;
        Ok(())
    }
    /// A new incremental file, in the manifest.
    fn next_incremental(&mut self, offset: i64, now_s: i64) -> io::Result<(String, DiskFile)> {
        let mut manifest = self.manifest.clone();
        // It is synced in the background, which may be too late: whoever loads it is to see that its end is missing.
        manifest.end_incremental(self.written);
        let opened = self.new_incremental(&mut manifest, offset);
        let (name, file) = opened.map_err(|error| {
            let last = manifest.incremental.last();
            named(
                "open",
                &self.path(last.map_or("", |file| &file.name)),
                &error,
            )
        })?;
        if let Err(error) = self.replace_manifest(manifest, now_s) {
            self.remove_now(&name);
            return Err(named("write", &self.manifest_path(), &error));
        }
        Ok((name, file))
    }
    /// A new incremental file under a name that no file has yet: effects behind what is in one that a crash has left
    /// would be loaded after it.
    fn new_incremental(
        &self,
        manifest: &mut Manifest,
        offset: i64,
    ) -> io::Result<(String, DiskFile)> {
        let mut name = manifest.new_incremental(&self.stem, offset);
        let mut tries = 0;
        loop {
            match self.disk.open(&self.path(&name), Mode::AppendNew) {
                // As in `free_name`.
                Err(error) if is_taken(&error) && tries < TAKEN_MAX => {
                    tries += 1;
                    name = manifest.next_incremental(&self.stem, offset);
                }
                other => return Ok((name, other?)),
            }
        }
    }
    /// The first of these names under which there is no file. One that was left by a crash, or put there by someone, is
    /// not ours to replace.
    fn free_name(&self, first: String, mut next: impl FnMut() -> String) -> io::Result<String> {
        let mut name = first;
        for _ in 0..TAKEN_MAX {
            if self.disk.size(&self.path(&name))?.is_none() {
                return Ok(name);
            }
            name = next();
        }
        Err(io::Error::from_raw_os_error(libc::EEXIST))
    }
    /// A child has written a base to `temporary`: makes it the base, and what it holds history.
    pub fn end_rewrite(
        &mut self,
        temporary: &Path,
        base_is_rdb: bool,
        now_s: i64,
    ) -> io::Result<()> {
        if self.state == AofState::WaitRewrite && self.file.is_none() {
            // It began before the file was to be switched on: what has happened since is in no file.
            return Err(io::Error::other("the rewrite has no incremental file"));
        }
        let mut manifest = self.manifest.clone();
        let base = manifest.new_base(&self.stem, base_is_rdb);
        let from = temporary;
        let base = self
            .free_name(base, || manifest.next_base(&self.stem, base_is_rdb))
            .map_err(|error| named("find a name for", from, &error))?;
        self.manifest.skip_sequences_of(&manifest);
        self.disk
            .rename(from, &self.path(&base))
            .map_err(|error| named("rename", from, &error))?;
        log::info!(
            "Successfully renamed the temporary AOF base file {} into {base}",
            temporary.display()
        );
        let mut made = vec![base];
        let mut done = Ok(());
        if self.state == AofState::WaitRewrite {
            let temporary = self.temporary_incremental();
            let offset = self.temporary_offset;
            let name = manifest.new_incremental(&self.stem, offset);
            let free = self.free_name(name, || manifest.next_incremental(&self.stem, offset));
            self.manifest.skip_sequences_of(&manifest);
            let from = self.path(&temporary);
            let free = free.map_err(|error| named("find a name for", &from, &error));
            done = free.and_then(|name| {
                self.disk
                    .rename(&from, &self.path(&name))
                    .map_err(|error| named("rename", &from, &error))?;
                log::info!(
                    "Successfully renamed the temporary AOF incr file {temporary} into {name}"
                );
                made.push(name);
                Ok(())
            });
        }
        // Without the file being on, nothing has happened after the fork that the base does not hold.
        manifest.retire_incremental(usize::from(self.state != AofState::Off));
        done = done.and_then(|()| {
            self.replace_manifest(manifest, now_s)
                .map_err(|error| named("write", &self.manifest_path(), &error))
        });
        if let Err(error) = done {
            // No manifest names them.
            made.iter().for_each(|name| self.remove_now(name));
            return Err(error);
        }
        if self.state != AofState::Off {
            self.state = AofState::On;
            self.rewritten_failures = self.failed_syncs;
            if self.failed_syncs == self.syncer.failures() {
                // The sync that failed was of a file that is history now.
                self.syncer.forget_error();
            }
            self.current_bytes = self.bytes_on_disk();
            self.base_bytes = self.current_bytes;
        }
        Ok(())
    }
    /// Removes what a rewrite has made superfluous. Only then it leaves the manifest: were it the other way round, a
    /// crash between the two would leave files that nobody knows of.
    pub fn remove_history(&mut self, now_s: i64) {
        if self.manifest.history.is_empty() || self.manifest_behind.is_some() {
            return;
        }
        let mut manifest = self.manifest.clone();
        manifest.history.retain(|file| {
            log::info!("Removing the history file {} in the background", file.name);
            !self.remove(&self.path(&file.name))
        });
        if manifest.history.len() < self.manifest.history.len()
            && let Err(error) = self.replace_manifest(manifest, now_s)
        {
            self.manifest_failed(
                &error,
                "it still lists files that are gone, which nobody loads",
            );
        }
    }
    /// Removes files that a crash has left: older ones than those of the manifest, which does not name them, and
    /// temporary ones. What does not bear one of our own names stays.
    pub fn remove_left_over(&mut self) {
        let names = match self.disk.list(&self.directory) {
            Ok(names) => names,
            Err(error) => {
                log::warn!("Can't list the append-only dir: {}", text_of(&error));
                return;
            }
        };
        for name in names.iter().filter_map(|name| name.to_str()) {
            let is_temporary = name == self.temporary_incremental()
                || name == format!("temp-{}", self.manifest_name())
                || self.is_of_a_dead_child(name);
            if is_temporary || self.manifest.is_left_over(&self.stem, name) {
                log::info!("Removing the file {name}, which no AOF manifest lists");
                self.remove_now(name);
            }
        }
    }
    /// Whether this is a base that a child was writing which is no more.
    fn is_of_a_dead_child(&self, name: &str) -> bool {
        let pid = name
            .strip_prefix(TEMPORARY_BASE)
            .and_then(|rest| rest.strip_suffix(".aof"))
            .and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| !self.children.is_running(pid))
    }
    /// Where the child with this process number writes a base: beside the others, so that it can be renamed to one.
    pub fn temporary_base(&self, pid: i32) -> PathBuf {
        self.path(&temporary_base_name(pid))
    }
    /// Removes a file, whose space is freed in the background; whether it is gone.
    pub fn remove(&mut self, path: &Path) -> bool {
        // While it is open here, removing its name frees nothing, which is what may take long.
        let open = self.disk.open(path, Mode::Read);
        let removed = self.disk.remove(path);
        if let Ok(file) = open {
            self.syncer.close(file);
        }
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let reason = text_of(&error);
                log::warn!("Can't remove {}: {reason}", path.display());
                false
            }
            _ => true,
        }
    }
    fn remove_now(&mut self, name: &str) {
        self.remove(&self.path(name));
    }
    /// A rewrite that was to switch the file on has failed: forgets what was gathered for it.
    pub fn forget_waiting(&mut self) {
        if self.state == AofState::WaitRewrite {
            self.buffer = Vec::new();
            self.file = None;
            (self.written, self.synced) = (0, 0);
            self.owes_sync = false;
            let name = self.temporary_incremental();
            log::info!("Removing the temp incr aof file {name} in the background");
            self.remove_now(&name);
        }
    }
    /// What always holds: where it is on there is a file to write to.
    #[cfg(test)]
    pub fn is_whole(&self) -> bool {
        self.state != AofState::On || self.file.is_some()
    }
    /// It is to be switched on: waits for a rewrite, which will begin its file.
    pub fn wait_for_rewrite(&mut self, now_s: i64) -> io::Result<()> {
        if self.manifest_behind.is_some() {
            self.replace_manifest(self.manifest.clone(), now_s)?;
        }
        if let Some((error, _)) = &self.manifest_behind {
            return Err(io::Error::from(error.kind()));
        }
        // A crash may have left one.
        self.remove_now(&self.temporary_incremental());
        self.state = AofState::WaitRewrite;
        self.last_sync_s = now_s;
        self.write_error = None;
        self.syncer.forget_error();
        Ok(())
    }
    /// Brings all that was written to the disk before it returns; the caller has flushed.
    pub fn sync_now(&mut self, fsync: Fsync) -> Result<(), Fatal> {
        let Some(file) = self.file.as_ref() else {
            return Ok(());
        };
        // What a thread is syncing, or could not sync, is not yet on the disk.
        if self.synced == self.written && !self.syncer.is_syncing() && self.syncer.error().is_none()
        {
            return Ok(());
        }
        match file.sync_data() {
            Ok(()) => {
                self.synced = self.written;
                self.note_sync();
            }
            Err(error) if fsync == Fsync::Always => return Err(Fatal::sync(&error)),
            Err(error) => {
                let (path, reason) = (self.open_path(), text_of(&error));
                let path = path.display();
                log::warn!("Fail to fsync the AOF file {path}: {reason}");
            }
        }
        Ok(())
    }
    /// Waits until files that were handed over are synced and closed, at the end of the process.
    pub fn end_helper(&mut self, patience: std::time::Duration) -> bool {
        self.syncer.end(patience)
    }
    /// Notes in the manifest where the open file ends. It is not vital: without it the end is estimated.
    pub fn note_end(&mut self, offset: i64, now_s: i64) {
        let mut manifest = self.manifest.clone();
        let last = manifest.incremental.last_mut();
        let Some(last) = last.filter(|file| file.start_offset.is_some()) else {
            return;
        };
        // Where effects could not be written it does not end there.
        if self.state != AofState::On || !self.buffer.is_empty() {
            return;
        }
        last.end_offset = Some(offset);
        if let Err(error) = self.replace_manifest(manifest, now_s) {
            self.manifest_failed(&error, "where the file ends is estimated at the next start");
        }
    }
    /// Replication offset at the end of the files that have been loaded: as it was noted, or an estimate.
    pub fn end_offset(&self) -> Option<i64> {
        let last = self.manifest.incremental.last()?;
        last.end_offset.or_else(|| {
            let bytes = i64::try_from(self.size_of(&last.name)).unwrap_or(i64::MAX);
            Some(last.start_offset.unwrap_or(0).saturating_add(bytes))
        })
    }
    /// Ends the appending; the caller has flushed and synced.
    pub fn close(&mut self) {
        self.file = None;
        self.state = AofState::Off;
        if !self.buffer.is_empty() {
            let bytes = self.buffer.len();
            log::warn!("{bytes} bytes could not be written to the AOF file, and are lost for it");
        }
        self.buffer = Vec::new();
        (self.written, self.synced) = (0, 0);
        self.owes_sync = false;
        self.postponed_since_s = None;
        self.write_error = None;
    }

    // ---- writing ------------------------------------------------------------------------------------------------

    /// Takes what the journal has, writes it and syncs by the policy. Call it before replies are written.
    pub fn flush(&mut self, journal: &mut Journal, options: FlushOptions) -> Result<(), Fatal> {
        self.times = FlushTimes::default();
        let Some(file) = self.file.clone() else {
            self.offset = journal.taken_bytes(Targets::AOF);
            return Ok(());
        };
        journal.take(Targets::AOF, &mut self.buffer);
        self.offset = journal.taken_bytes(Targets::AOF);
        self.repeat_manifest(options)?;
        if self.buffer.is_empty() {
            let behind = self.synced != self.written;
            return match options.fsync {
                Fsync::Always if self.synced != self.written => self.sync(&file, options),
                _ if self.owes_sync => self.sync(&file, options),
                // Under `always` it was of a file that a rewrite has closed, whose effects were synced before they were
                // answered: a policy that makes promises is not set while one of the open file may fail.
                _ if self.syncer.error().is_some() => {
                    self.sync_again(&file, options);
                    Ok(())
                }
                Fsync::EverySecond if behind && options.now_s != self.last_sync_s => {
                    self.sync(&file, options)
                }
                _ => Ok(()),
            };
        }
        if options.fsync == Fsync::EverySecond && !options.force && self.syncer.is_syncing() {
            // The system would make this write wait for the sync.
            let since = *self.postponed_since_s.get_or_insert(options.now_s);
            if (0..POSTPONE_S).contains(&(options.now_s - since)) {
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
        let begin_ns = options.timed.then(|| self.stopwatch.now_ns());
        self.times.beside_sync = self.syncer.is_syncing();
        self.write(&file, options)?;
        self.times.write_ns = begin_ns.map_or(0, |ns| self.stopwatch.since_ns(ns));
        if !self.buffer.is_empty() {
            return Ok(());
        }
        self.sync(&file, options)
    }
    /// Writes a manifest again that a crash might undo: what is written to a file that only it names might be lost.
    fn repeat_manifest(&mut self, options: FlushOptions) -> Result<(), Fatal> {
        let Some((error, tried_s)) = &self.manifest_behind else {
            return Ok(());
        };
        if options.fsync == Fsync::Always {
            return Err(Fatal(format!(
                "Can't persist the AOF manifest when the AOF fsync policy is 'always': {}. Exiting...",
                text_of(error)
            )));
        }
        if options.now_s != *tried_s {
            let again = self.replace_manifest(self.manifest.clone(), options.now_s);
            if let Err(error) = again {
                self.manifest_failed(&error, "writes are refused until it can be written");
                if let Some((_, tried_s)) = &mut self.manifest_behind {
                    *tried_s = options.now_s;
                }
            }
        }
        Ok(())
    }
    fn write(&mut self, file: &DiskFile, options: FlushOptions) -> Result<(), Fatal> {
        let mut done = 0;
        let error = loop {
            match self.buffer.get(done..) {
                None | Some([]) => break None,
                Some(rest) => match file.write_some(rest) {
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
            let (reason, path) = (text_of(&error), self.open_path());
            let path = path.display();
            let next = match options.fsync {
                Fsync::Always => "the server ends",
                _ => "writes are refused until one goes well",
            };
            log::warn!("Error writing to the AOF file: {reason} ({path}): {next}");
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
    fn sync(&mut self, file: &Arc<DiskFile>, options: FlushOptions) -> Result<(), Fatal> {
        if options.no_sync {
            return Ok(());
        }
        match options.fsync {
            Fsync::EverySecond | Fsync::No if self.owes_sync => {
                self.hand_over(file);
                self.last_sync_s = options.now_s;
            }
            Fsync::Always => {
                let begin_ns = options.timed.then(|| self.stopwatch.now_ns());
                file.sync_data().map_err(|error| Fatal::sync(&error))?;
                self.times.sync_ns = begin_ns.map_or(0, |ns| self.stopwatch.since_ns(ns));
                self.synced = self.written;
                self.owes_sync = false;
                self.note_sync();
                self.last_sync_s = options.now_s;
            }
            // Not later: a clock that is set back would put it off for as long.
            Fsync::EverySecond if options.now_s != self.last_sync_s => {
                if !self.syncer.is_syncing() {
                    self.hand_over(file);
                }
                self.last_sync_s = options.now_s;
            }
            Fsync::EverySecond | Fsync::No => {}
        }
        Ok(())
    }
    /// After a background sync that failed writes are refused until one goes well; so it is tried again without one. As in
    /// Redis the next that goes well is believed, though Linux may have given up what the first could not write: that is
    /// as much as `everysec` promises, and refusing until a rewrite would leave a server that fails each write.
    fn sync_again(&mut self, file: &Arc<DiskFile>, options: FlushOptions) {
        if options.now_s != self.last_sync_s && !self.syncer.is_syncing() {
            self.hand_over(file);
            self.last_sync_s = options.now_s;
        }
    }
    /// Has the thread sync all that is written.
    fn hand_over(&mut self, file: &Arc<DiskFile>) {
        self.syncer.sync(Arc::clone(file));
        self.synced = self.written;
        self.owes_sync = self.owes_sync && !self.buffer.is_empty();
        self.note_sync();
    }
    /// The policy is about to change from this one; the caller has flushed. What that one would have synced is synced
    /// whatever comes: now, or when it can be written.
    pub fn leave_policy(&mut self, old: Fsync) {
        self.owes_sync |=
            old != Fsync::No && (self.synced != self.written || !self.buffer.is_empty());
        if let Some(file) = self.file.clone()
            && self.synced != self.written
            && self.owes_sync
        {
            self.hand_over(&file);
        }
    }
    /// Whether `always` can be promised from now on; the caller has flushed. Waits until all that was written is on the
    /// disk: what is promised must not stand behind a hole. After a background sync that failed since the last rewrite it
    /// cannot, though the next has gone well: Linux may have given up what the first could not write, and only a new
    /// base is sure to have it.
    pub fn wait_for_disk(&mut self) -> Result<(), String> {
        let Some(file) = self.file.clone() else {
            // It begins with a rewrite.
            return Ok(());
        };
        if self.synced != self.written {
            self.hand_over(&file);
        }
        self.syncer.drain();
        if let Some(error) = self
            .write_error
            .as_ref()
            .or(self.manifest_behind.as_ref().map(|it| &it.0))
        {
            let reason = text_of(error);
            return Err(format!("the append-only file cannot be written: {reason}"));
        }
        if self.syncer.failures() != self.rewritten_failures {
            return Err(
                "a background sync of the append-only file has failed, and what it has lost cannot be known: write the file \
                 anew (BGREWRITEAOF) before"
                    .to_owned(),
            );
        }
        Ok(())
    }
    /// Whether a background sync has failed since the last rewrite: what it has lost cannot be known, and only a new base has
    /// it for sure.
    pub fn has_lost_a_sync(&self) -> bool {
        self.state == AofState::On && self.syncer.failures() != self.rewritten_failures
    }
    /// All that is written so far is on the disk as soon as nothing is being synced any more.
    fn note_sync(&mut self) {
        self.syncing_offset = self.offset.saturating_sub(self.buffer.len() as u64);
    }
    /// Offset of the journal up to which effects are on the disk, in files that would be loaded. It stands still from a
    /// background sync that failed to the next rewrite: that a later one went well, perhaps of another file, does not say
    /// where the bytes of the first are, and whoever waits is to be told what is sure.
    pub fn synced_offset(&mut self) -> u64 {
        let is_whole = self.state == AofState::On
            && self.manifest_behind.is_none()
            && self.syncer.failures() == self.rewritten_failures;
        if is_whole && self.syncer.is_done() && self.syncer.error().is_none() {
            self.synced_offset = self.syncing_offset;
        }
        self.synced_offset
    }
}

fn temporary_base_name(pid: i32) -> String {
    format!("{TEMPORARY_BASE}{pid}.aof")
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}

/// The same error, which says of which call and file it is.
fn named(doing: &str, path: &Path, error: &io::Error) -> io::Error {
    let (path, reason) = (path.display(), text_of(error));
    io::Error::new(error.kind(), format!("can't {doing} {path}: {reason}"))
}

/// The system's words for an error, as Redis shows them.
fn text_of(error: &io::Error) -> String {
    crate::system::process::os_error_text(error)
}

#[cfg(test)]
mod tests;
