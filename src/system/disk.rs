//! The disk: the file calls on which persistence stands, in one place.
//!
//! In: paths and bytes. Out: what the system answers; or, where a test has handed in a [`FaultPlan`], what the plan says
//! for this call: an error, half a write, or a disk that does nothing any more, as at the moment at which a process is
//! killed. Without a plan a call costs one look at an empty option. Whoever keeps data takes a [`Disk`] and asks the
//! system for files only through it, so that each step of a protocol of writes, syncs and renames can be made to fail.
//!
//! Behind it stands the system, or in simulations a [`SimulatedDisk`] in memory.

use super::mapped_file::MappedFile;
use super::process::os_error_text;
use super::simulated_disk::{SimulatedDisk, SimulatedFile, SimulatedFolder};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A kind of file call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Opening a file, or making one.
    Open,
    /// Opening a folder, to sync it.
    OpenFolder,
    /// Making a folder.
    CreateFolder,
    /// Listing a folder.
    List,
    /// Reading a whole file.
    Read,
    /// Asking how long a file is, or whether there is one.
    Size,
    /// Writing.
    Write,
    /// Bringing a file to the disk.
    Sync,
    /// Bringing a folder, with the names in it, to the disk.
    SyncFolder,
    /// Cutting a file short.
    SetLen,
    /// Renaming; both paths are looked at.
    Rename,
    /// Removing a name.
    Remove,
}

/// What a plan makes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this number of the system.
    Error(i32),
    /// A write takes only so many bytes.
    Short(usize),
    /// It takes until the plan is released or healed, and then fails with this number of the system.
    Held(i32),
    /// Neither this call nor any after it does anything: the process has been killed before it.
    Stop,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The file is read.
    Read,
    /// The file is written from the beginning; what is in it goes.
    Create,
    /// Writes go to the file's end; it is made where it is missing.
    Append,
    /// Writes go to its end; there must be none yet.
    AppendNew,
    /// Writes go to the file's end; what is in it goes.
    AppendEmpty,
    /// The file is cut short; it must be there.
    Change,
}

#[derive(Debug)]
struct Rule {
    call: Call,
    part: String,
    fault: Fault,
    skip: usize,
    times: usize,
}

#[derive(Debug, Default)]
struct Plan {
    rules: Vec<Rule>,
    stopped: bool,
    /// Calls until it is stopped.
    stops_after: Option<usize>,
    /// How often calls that are held have been let go.
    releases: u64,
    calls: Vec<(Call, String)>,
}

#[derive(Debug, Default)]
struct SharedPlan {
    plan: Mutex<Plan>,
    /// There was a call, or calls that are held are let go.
    changed: Condvar,
}

/// A test that waits longer for a call has failed.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Which calls fail, for tests; clones are one plan.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan(Arc<SharedPlan>);

impl FaultPlan {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// From now on each such call on a path with `part` in it fails like this.
    pub fn fail(&self, call: Call, part: &str, fault: Fault) {
        self.fail_some(call, part, fault, 0, usize::MAX);
    }
    /// `skip` such calls pass, then `times` fail like this.
    pub fn fail_some(&self, call: Call, part: &str, fault: Fault, skip: usize, times: usize) {
        self.plan().rules.push(Rule {
            call,
            part: part.to_owned(),
            fault,
            skip,
            times,
        });
    }
    /// After so many calls nothing does anything any more, as with [`Fault::Stop`].
    pub(super) fn stop_after(&self, calls: usize) {
        self.plan().stops_after = Some(calls);
    }
    /// Nothing fails any more.
    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.rules.clear();
        plan.stopped = false;
        drop(plan);
        self.release();
    }
    /// Lets go the calls that are held now.
    pub fn release(&self) {
        self.plan().releases += 1;
        self.0.changed.notify_all();
    }
    /// Waits for such a call on a file with `part` in its name; calls that have been taken do not count.
    pub fn wait_for(&self, call: Call, part: &str) {
        let is_there = |plan: &mut Plan| {
            let mut calls = plan.calls.iter();
            calls.any(|(made, name)| *made == call && name.contains(part))
        };
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.plan(), PATIENCE, |plan| !is_there(plan));
        let (plan, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(plan);
        assert!(!waited.timed_out(), "no {call:?} of {part:?} came");
    }
    /// The calls so far, each with the name of its file, in order; they are forgotten.
    pub fn take_calls(&self) -> Vec<(Call, String)> {
        std::mem::take(&mut self.plan().calls)
    }
    /// What becomes of a call: how many bytes it may write.
    fn inject(&self, call: Call, paths: &[&Path]) -> io::Result<usize> {
        let mut plan = self.plan();
        let name = |path: &&Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let names: Vec<String> = paths.iter().filter_map(name).collect();
        plan.calls.push((call, names.join(" -> ")));
        self.0.changed.notify_all();
        let stopped = || io::Error::from_raw_os_error(libc::EIO);
        match &mut plan.stops_after {
            Some(0) => plan.stopped = true,
            Some(left) => *left -= 1,
            None => {}
        }
        if plan.stopped {
            return Err(stopped());
        }
        for rule in &mut plan.rules {
            let matches = |path: &&Path| path.to_string_lossy().contains(&rule.part);
            if rule.call != call || rule.times == 0 || !paths.iter().any(matches) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times = rule.times.saturating_sub(1);
            return match rule.fault {
                Fault::Error(number) => Err(io::Error::from_raw_os_error(number)),
                Fault::Short(bytes) => Ok(bytes),
                Fault::Held(number) => {
                    let before = plan.releases;
                    let is_held = |plan: &mut Plan| plan.releases == before;
                    drop(self.0.changed.wait_while(plan, is_held));
                    Err(io::Error::from_raw_os_error(number))
                }
                Fault::Stop => {
                    plan.stopped = true;
                    Err(stopped())
                }
            };
        }
        Ok(usize::MAX)
    }
}

/// The way to the disk. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    faults: Option<FaultPlan>,
    /// What stands in the system's place.
    simulated: Option<SimulatedDisk>,
}

impl Disk {
    /// The system's disk, whose calls fail as the plan says.
    pub fn with_faults(plan: &FaultPlan) -> Disk {
        Disk {
            faults: Some(plan.clone()),
            simulated: None,
        }
    }
    /// The same disk, whose calls also fail as this plan says, for those who ask through what this returns.
    pub(super) fn and_faults(&self, plan: &FaultPlan) -> Disk {
        Disk {
            faults: Some(plan.clone()),
            simulated: self.simulated.clone(),
        }
    }
    /// A disk in memory.
    pub fn simulated(disk: &SimulatedDisk) -> Disk {
        Disk {
            faults: None,
            simulated: Some(disk.clone()),
        }
    }
    fn inject(&self, call: Call, paths: &[&Path]) -> io::Result<usize> {
        match &self.faults {
            None => Ok(usize::MAX),
            Some(plan) => plan.inject(call, paths),
        }
    }
    /// Opens a file.
    pub fn open(&self, path: &Path, mode: Mode) -> io::Result<DiskFile> {
        self.inject(Call::Open, &[path])?;
        let file = match &self.simulated {
            None => Backing::System(open_file(path, mode)?),
            Some(disk) => Backing::Simulated(disk.open(path, mode)?),
        };
        Ok(DiskFile {
            file,
            path: path.to_owned(),
            disk: self.clone(),
        })
    }
    /// Opens a folder, to bring the names in it to the disk.
    pub fn open_folder(&self, path: &Path) -> io::Result<DiskFolder> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        self.inject(Call::OpenFolder, &[path])?;
        let folder = match &self.simulated {
            None => FolderBacking::System(File::open(path)?),
            Some(disk) => FolderBacking::Simulated(disk.open_folder(path)?),
        };
        Ok(DiskFolder {
            folder,
            path: path.to_owned(),
            disk: self.clone(),
        })
    }
    /// Makes a folder where it is missing, and brings its name to the disk: without it all that is in it would be lost.
    pub fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.inject(Call::CreateFolder, &[path])?;
        let created = match &self.simulated {
            None => fs::create_dir(path),
            Some(disk) => disk.create_folder(path),
        };
        match created {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            other => other?,
        }
        let parent = path.parent().unwrap_or(Path::new("."));
        let synced = match self.open_folder(parent) {
            // Who may make names in it need not be allowed to read them. No later attempt would get further.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let (path, parent) = (path.display(), parent.display());
                let reason = os_error_text(&error);
                log::warn!(
                    "A crash may undo the new directory {path}: can't open {parent} to sync it: {reason}"
                );
                Ok(())
            }
            opened => opened.and_then(|folder| folder.sync()),
        };
        if synced.is_err() {
            // The next attempt is to make it anew.
            let _ = match &self.simulated {
                None => fs::remove_dir(path),
                Some(disk) => disk.remove_folder(path),
            };
        }
        synced
    }
    /// The names in a folder.
    pub fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.inject(Call::List, &[path])?;
        if let Some(disk) = &self.simulated {
            return disk.list(path);
        }
        fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect()
    }
    /// The whole of a file; `None` only where there is none.
    pub fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        unless_missing(
            self.inject(Call::Read, &[path])
                .and_then(|_| match &self.simulated {
                    None => fs::read(path),
                    Some(disk) => disk.read(path),
                }),
        )
    }
    /// The length of a file; `None` only where there is none.
    pub fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        let found = self
            .inject(Call::Size, &[path])
            .and_then(|_| match &self.simulated {
                None => fs::metadata(path).map(|data| data.len()),
                Some(disk) => disk.size(path),
            });
        unless_missing(found)
    }
    /// Renames.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inject(Call::Rename, &[from, to])?;
        match &self.simulated {
            None => fs::rename(from, to),
            Some(disk) => disk.rename(from, to),
        }
    }
    /// Removes a name.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.inject(Call::Remove, &[path])?;
        match &self.simulated {
            None => fs::remove_file(path),
            Some(disk) => disk.remove(path),
        }
    }
}

fn open_file(path: &Path, mode: Mode) -> io::Result<File> {
    let mut options = OpenOptions::new();
    match mode {
        Mode::Read => options.read(true),
        Mode::Create => options.write(true).create(true).truncate(true),
        Mode::Append => options.append(true).create(true),
        Mode::AppendNew => options.append(true).create_new(true),
        // The library has no word for both, and a call of its own to empty the file could fail of itself.
        Mode::AppendEmpty => options
            .append(true)
            .create(true)
            .custom_flags(libc::O_TRUNC),
        Mode::Change => options.write(true),
    };
    options.open(path)
}

/// Tells a missing file from one that cannot be had: only the first may be taken for an empty one.
fn unless_missing<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Debug)]
enum Backing {
    System(File),
    Simulated(SimulatedFile),
}

#[derive(Debug)]
enum FolderBacking {
    System(File),
    Simulated(SimulatedFolder),
}

/// An open file.
#[derive(Debug)]
pub struct DiskFile {
    file: Backing,
    path: PathBuf,
    disk: Disk,
}

impl DiskFile {
    /// The directory in which it was opened.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
    /// The system's file, for calls that this layer does not have; a simulated one has none.
    pub(super) fn system(&self) -> Option<&File> {
        match &self.file {
            Backing::System(file) => Some(file),
            Backing::Simulated(_) => None,
        }
    }
    /// The bytes of the file as they are now. What cannot be read later is an error of [`MappedFile::check`].
    pub fn map(&self) -> io::Result<MappedFile> {
        match &self.file {
            Backing::System(file) => MappedFile::open(file),
            Backing::Simulated(file) => Ok(MappedFile::of_bytes(file.bytes(&self.path)?)),
        }
    }
    /// Writes some of the bytes; how many.
    pub fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.disk.inject(Call::Write, &[&self.path])?;
        let bytes = bytes.get(..most).unwrap_or(bytes);
        match &self.file {
            Backing::System(file) => {
                let mut file = file;
                file.write(bytes)
            }
            Backing::Simulated(file) => file.write(&self.path, bytes),
        }
    }
    /// Writes all the bytes.
    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        Write::write_all(&mut file, bytes)
    }
    /// Brings its bytes to the disk, and of what is known about it only what is needed to read them.
    pub fn sync_data(&self) -> io::Result<()> {
        self.disk.inject(Call::Sync, &[&self.path])?;
        match &self.file {
            Backing::System(file) => file.sync_data(),
            Backing::Simulated(file) => file.sync(&self.path),
        }
    }
    /// Brings its bytes and all that is known about it to the disk.
    pub fn sync_all(&self) -> io::Result<()> {
        self.disk.inject(Call::Sync, &[&self.path])?;
        match &self.file {
            Backing::System(file) => file.sync_all(),
            Backing::Simulated(file) => file.sync(&self.path),
        }
    }
    /// Cuts it short.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.inject(Call::SetLen, &[&self.path])?;
        match &self.file {
            Backing::System(file) => file.set_len(len),
            Backing::Simulated(file) => file.set_len(&self.path, len),
        }
    }
    /// How long it is.
    pub fn size(&self) -> io::Result<u64> {
        self.disk.inject(Call::Size, &[&self.path])?;
        match &self.file {
            Backing::System(file) => Ok(file.metadata()?.len()),
            Backing::Simulated(file) => file.size(),
        }
    }
}

impl Write for &DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_some(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An open folder.
#[derive(Debug)]
pub struct DiskFolder {
    folder: FolderBacking,
    path: PathBuf,
    disk: Disk,
}

impl DiskFolder {
    /// Brings the names in it to the disk; done where the file system cannot sync folders, which then keeps names as it
    /// does.
    pub fn sync(&self) -> io::Result<()> {
        let injected = self.disk.inject(Call::SyncFolder, &[&self.path]);
        let synced = injected.and_then(|_| match &self.folder {
            FolderBacking::System(folder) => folder.sync_all(),
            FolderBacking::Simulated(folder) => folder.sync(&self.path),
        });
        match synced {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EBADF)) => {
                Ok(())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_plan_it_is_the_system() {
        let directory = tempfile::tempdir().expect("a directory");
        let (disk, folder) = (Disk::default(), directory.path().join("folder"));
        disk.create_folder(&folder).expect("made");
        disk.create_folder(&folder).expect("there already");
        let path = folder.join("a");
        assert_eq!(disk.read(&path).expect("no error"), None);
        assert_eq!(disk.size(&path).expect("no error"), None);
        let file = disk.open(&path, Mode::AppendNew).expect("made");
        file.write_all(b"one two").expect("written");
        file.sync_data().expect("synced");
        assert!(disk.open(&path, Mode::AppendNew).is_err());
        let other = disk.open(&path, Mode::Append).expect("opened");
        // Both write to the end, wherever the other has put it.
        other.set_len(3).expect("cut");
        file.write_all(b" 2").expect("written");
        assert_eq!(disk.read(&path).expect("read"), Some(b"one 2".to_vec()));
        assert_eq!(file.size().expect("known"), 5);
        disk.rename(&path, &folder.join("b")).expect("renamed");
        disk.open_folder(&folder)
            .and_then(|it| it.sync())
            .expect("synced");
        assert_eq!(disk.list(&folder).expect("listed"), ["b"]);
        let empty = disk.open(&folder.join("b"), Mode::AppendEmpty);
        assert_eq!(empty.and_then(|file| file.size()).expect("known"), 0);
        disk.remove(&folder.join("b")).expect("removed");
        assert!(disk.list(&folder).expect("listed").is_empty());
    }

    /// Files that were synced were lost with the name of their folder.
    #[test]
    fn a_new_folder_is_on_the_disk_or_not_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let plan = FaultPlan::default();
        let disk = Disk::with_faults(&plan);
        let folder = directory.path().join("folder");
        plan.fail_some(Call::SyncFolder, "", Fault::Error(libc::EIO), 0, 1);
        disk.create_folder(&folder).expect_err("not synced");
        assert!(!folder.exists());
        disk.create_folder(&folder).expect("made");
        plan.take_calls();
        disk.create_folder(&folder).expect("there already");
        assert_eq!(plan.take_calls().len(), 1);
    }

    /// A server that may not read the parent of its folder, or whose file system syncs no folders, did not start.
    #[test]
    fn a_new_folder_needs_no_more_of_its_parent_than_the_system_gives() {
        let directory = tempfile::tempdir().expect("a directory");
        let plan = FaultPlan::default();
        let disk = Disk::with_faults(&plan);
        for (call, number, is_made) in [
            (Call::OpenFolder, libc::EACCES, true),
            (Call::OpenFolder, libc::EMFILE, false),
            (Call::SyncFolder, libc::EINVAL, true),
            (Call::SyncFolder, libc::EBADF, true),
            (Call::SyncFolder, libc::ENOSPC, false),
        ] {
            plan.fail(call, "", Fault::Error(number));
            let folder = directory.path().join(format!("{call:?}-{number}"));
            let made = disk.create_folder(&folder);
            assert_eq!(made.is_ok(), is_made, "{call:?} {number}");
            assert_eq!(folder.is_dir(), is_made, "{call:?} {number}");
            plan.heal();
        }
    }

    #[test]
    fn a_plan_holds_a_call_until_it_is_released() {
        let directory = tempfile::tempdir().expect("a directory");
        let plan = FaultPlan::default();
        let file = Disk::with_faults(&plan).open(&directory.path().join("a"), Mode::Append);
        let file = file.expect("made");
        plan.fail_some(Call::Sync, "a", Fault::Held(libc::EIO), 0, 1);
        let error = std::thread::scope(|scope| {
            let held = scope.spawn(|| file.sync_data());
            plan.wait_for(Call::Sync, "a");
            assert!(!held.is_finished());
            // Others go on meanwhile.
            file.write_all(b"1").expect("written");
            plan.release();
            held.join().expect("no panic").expect_err("it fails")
        });
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        file.sync_data().expect("once only");
    }

    #[test]
    fn a_plan_fails_calls_shortens_writes_and_stops() {
        let directory = tempfile::tempdir().expect("a directory");
        let plan = FaultPlan::default();
        let disk = Disk::with_faults(&plan);
        let path = directory.path().join("a");
        let file = disk.open(&path, Mode::Append).expect("made");
        plan.fail_some(Call::Write, "a", Fault::Short(2), 1, 1);
        plan.fail_some(Call::Sync, "a", Fault::Error(libc::ENOSPC), 0, 1);
        assert_eq!(file.write_some(b"123").expect("written"), 3);
        assert_eq!(file.write_some(b"456").expect("written"), 2);
        assert_eq!(file.write_some(b"6").expect("written"), 1);
        let error = file.sync_all().expect_err("no room");
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        file.sync_all().expect("once only");
        plan.fail(Call::Rename, "a", Fault::Stop);
        assert!(disk.rename(&path, &directory.path().join("b")).is_err());
        assert!(file.write_some(b"7").is_err() && disk.read(&path).is_err());
        plan.heal();
        assert_eq!(disk.read(&path).expect("read"), Some(b"123456".to_vec()));
        let calls = plan.take_calls();
        assert_eq!(calls[0], (Call::Open, "a".to_owned()));
        assert!(calls.contains(&(Call::Rename, "a -> b".to_owned())));
    }
}
