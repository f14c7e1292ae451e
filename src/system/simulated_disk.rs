//! A disk in memory, with a seed: what is written and not synced may be lost when the machine crashes, and calls fail
//! where the seed says.
//!
//! In: the file calls of [`super::disk::Disk`], and what a test does to the disk through [`SimulatedDisk`] (a crash,
//! faults, less room). Out: what a file system on one disk answers. The same seed and the same calls give the same
//! answers, and the same content after a crash.
//!
//! ```text
//!   open, write ─▶ [ what processes see ] ─ sync ─▶ [ what is on the disk ]
//!                          ▲                                │
//!                          └──────────── crash ─────────────┘   with a part of what was not synced
//! ```
//!
//! What a crash leaves:
//! * Bytes that were synced are there. Of what was done to a file after that (writes, cuts), a crash keeps what was done
//!   up to some moment; of the write at that moment a part may be there: its beginning, and where it went over older
//!   bytes, any of its pages. A file never has bytes that nobody wrote: this is a disk in ordered mode.
//! * Names that were synced with their folder are there. Of what was done after that in a folder (files made, renamed,
//!   removed), some crashes keep what was done up to some moment, which for each folder is another one: so do file systems
//!   with a journal. Others keep any of it, also what came after something that is lost, as POSIX allows; some of these keep
//!   the last rename and little else, which is the worst for whoever relies on an order. A rename is there whole or not at
//!   all, also from one folder to another. Syncing a file does not sync its name.
//! * Files and names do not wait for each other: a new name may lead to a file whose bytes are lost.
//!
//! The end of a process alone ([`SimulatedDisk::end_process`]) loses nothing. So that it can end between any two calls, the
//! disk can be told to stop after so many ([`SimulatedDisk::stop_after`]): later ones fail and do nothing.
//!
//! After a sync that fails, Linux takes the bytes that it could not write for written: processes go on reading them, and
//! no later sync brings them to the disk. So it is here: each write since the last sync has come to the disk or not, and
//! where it has not, the disk has what was there before, or zeroes.

use super::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::Mode;

mod file;

use file::{Change, File, PAGE};

/// How often calls fail, each in 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// A write takes only a part.
    pub short_write: u32,
    /// A write fails with EIO.
    pub write_error: u32,
    /// A write fails with ENOSPC although there is room.
    pub no_space: u32,
    /// A sync of a file fails with EIO, and what it was to bring to the disk may be lost.
    pub sync_error: u32,
    /// A sync of a folder fails with EIO; its names stay as they were, on the disk and for processes.
    pub folder_sync_error: u32,
    /// Opening fails with EIO or EMFILE.
    pub open_error: u32,
    /// Reading, mapping or listing fails with EIO.
    pub read_error: u32,
    /// Renaming fails with EIO.
    pub rename_error: u32,
    /// Removing fails with EIO.
    pub remove_error: u32,
}

impl DiskFaults {
    /// Nothing fails.
    pub const NONE: DiskFaults = DiskFaults {
        short_write: 0,
        write_error: 0,
        no_space: 0,
        sync_error: 0,
        folder_sync_error: 0,
        open_error: 0,
        read_error: 0,
        rename_error: 0,
        remove_error: 0,
    };

    /// Some mixture, in which few calls fail.
    pub fn any(rng: &mut Rng) -> DiskFaults {
        let mut often = |most: u64| {
            // As with the faults of the network: each is absent from some of the runs.
            if rng.below(3) == 0 {
                0
            } else {
                rng.below(most) as u32
            }
        };
        DiskFaults {
            short_write: often(300),
            write_error: often(30),
            no_space: often(30),
            sync_error: often(30),
            folder_sync_error: often(30),
            open_error: often(20),
            read_error: often(20),
            rename_error: often(30),
            remove_error: often(30),
        }
    }
}

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    File(u64),
    Folder(u64),
}

type Names = BTreeMap<OsString, Node>;

#[derive(Clone, Debug, Default)]
struct Folder {
    /// What processes see.
    names: Names,
    /// What is on the disk.
    durable: Names,
}

/// Names that change together: of one folder, or of the two of a rename.
#[derive(Clone, Debug)]
struct Renaming {
    names: Vec<(u64, OsString, Option<Node>)>,
}

impl Renaming {
    fn folders(&self) -> impl Iterator<Item = u64> + '_ {
        self.names.iter().map(|(folder, ..)| *folder)
    }
}

const ROOT: u64 = 0;

#[derive(Clone, Debug)]
struct State {
    rng: Rng,
    faults: DiskFaults,
    files: BTreeMap<u64, File>,
    folders: BTreeMap<u64, Folder>,
    /// Changes of names that are not on the disk, in order.
    pending: Vec<Renaming>,
    next: u64,
    /// Bytes that all files may have together.
    room: u64,
    /// What was opened before the last end of a process is closed.
    process: u64,
    /// Calls until the disk stops for this process.
    stops_in: Option<u64>,
    /// Renames behind which it stops.
    stops_behind: Option<u64>,
    has_stopped: bool,
    calls: u64,
    crashes: u64,
    trace_hash: u64,
    trace: Option<String>,
    line: String,
}

/// The disk, for tests and for those who hand it to a server; clones are one disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl State {
    fn chance(&mut self, in_1000: u32) -> bool {
        in_1000 > 0 && self.rng.below(1000) < u64::from(in_1000)
    }
    /// Fails so often.
    fn may_fail(&mut self, in_1000: u32, number: i32) -> io::Result<()> {
        if self.chance(in_1000) {
            return Err(error(number));
        }
        Ok(())
    }
    /// Takes a call, unless the disk has stopped.
    fn begin_call(&mut self) -> io::Result<()> {
        match &mut self.stops_in {
            Some(0) => {
                self.has_stopped = true;
                return Err(error(libc::EIO));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }
    /// The process has ended: what it had open does nothing any more.
    fn end_process(&mut self) {
        self.process += 1;
        (self.stops_in, self.stops_behind) = (None, None);
        self.has_stopped = false;
    }
    /// Adds a call and what came of it to the trace.
    fn note<T>(&mut self, call: &str, path: &Path, result: &io::Result<T>, figure: usize) {
        let failed = result
            .as_ref()
            .err()
            .map_or(0, |error| error.raw_os_error().unwrap_or(-1));
        self.line.clear();
        let _ = writeln!(self.line, "{call} {} {figure} {failed}", path.display());
        self.calls += 1;
        for byte in self.line.bytes() {
            self.trace_hash =
                (self.trace_hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if let Some(trace) = &mut self.trace {
            trace.push_str(&self.line);
        }
    }
    fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = Node::Folder(ROOT);
        for part in parts(path)? {
            let Node::Folder(folder) = node else {
                return Err(error(libc::ENOTDIR));
            };
            let found = self
                .folders
                .get(&folder)
                .and_then(|folder| folder.names.get(part));
            node = *found.ok_or_else(|| error(libc::ENOENT))?;
        }
        Ok(node)
    }
    fn find_file(&self, path: &Path) -> io::Result<u64> {
        match self.find(path)? {
            Node::File(file) => Ok(file),
            Node::Folder(_) => Err(error(libc::EISDIR)),
        }
    }
    fn find_folder(&self, path: &Path) -> io::Result<u64> {
        match self.find(path)? {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(error(libc::ENOTDIR)),
        }
    }
    /// The folder in which a name stands, and the name.
    fn place(&self, path: &Path) -> io::Result<(u64, OsString)> {
        let parts = parts(path)?;
        let (name, above) = parts.split_last().ok_or_else(|| error(libc::EBUSY))?;
        let above: PathBuf = above.iter().collect();
        Ok((self.find_folder(&above)?, (*name).to_owned()))
    }
    fn file(&mut self, id: u64) -> io::Result<&mut File> {
        self.files.get_mut(&id).ok_or_else(|| error(libc::EIO))
    }
    fn rename_nodes(&mut self, names: Vec<(u64, OsString, Option<Node>)>) {
        for (folder, name, node) in &names {
            if let Some(folder) = self.folders.get_mut(folder) {
                set_name(&mut folder.names, name, *node);
            }
        }
        self.pending.push(Renaming { names });
    }
    fn new_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
    /// Brings the names of a folder to the disk, and what was done before to folders from or to which one of them was
    /// renamed.
    fn sync_names(&mut self, folder: u64) {
        let mut folders = BTreeSet::from([folder]);
        let mut synced = Vec::new();
        for index in (0..self.pending.len()).rev() {
            if self.pending[index]
                .folders()
                .any(|id| folders.contains(&id))
            {
                folders.extend(self.pending[index].folders());
                synced.push(self.pending.remove(index));
            }
        }
        for renaming in synced.iter().rev() {
            self.put_names(renaming);
        }
        self.forget_files();
    }
    fn put_names(&mut self, renaming: &Renaming) {
        for (folder, name, node) in &renaming.names {
            if let Some(folder) = self.folders.get_mut(folder) {
                set_name(&mut folder.durable, name, *node);
            }
        }
    }
    /// Forgets files and folders that no name leads to, now or after a crash, and that nobody has open.
    fn forget_files(&mut self) {
        let mut named = BTreeSet::from([Node::Folder(ROOT)]);
        for folder in self.folders.values() {
            named.extend(folder.names.values().chain(folder.durable.values()));
        }
        for renaming in &self.pending {
            named.extend(renaming.names.iter().filter_map(|(.., node)| *node));
        }
        self.files
            .retain(|id, file| file.open > 0 || named.contains(&Node::File(*id)));
        self.folders
            .retain(|id, _| named.contains(&Node::Folder(*id)));
    }
    fn used(&self) -> u64 {
        self.files
            .values()
            .map(|file| file.bytes.len() as u64)
            .sum()
    }
    fn crash(&mut self) {
        self.crashes += 1;
        self.end_process();
        let likely = self.rng.below(4);
        let is_in_order = self.rng.below(2) == 0;
        let mut stopped = BTreeSet::new();
        let is_rename = |it: &Renaming| it.names.len() > 1;
        let kept = match !is_in_order && self.rng.below(2) == 0 {
            true => self.pending.iter().rposition(is_rename),
            false => None,
        };
        for (index, renaming) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            let stops = match likely {
                _ if kept == Some(index) => false,
                _ if kept.is_some() => self.rng.below(4) > 0,
                0 => true,
                1 => false,
                _ => self.rng.below(4) == 0,
            };
            let is_behind =
                is_in_order && renaming.folders().any(|folder| stopped.contains(&folder));
            if stops || is_behind {
                stopped.extend(renaming.folders());
            } else {
                self.put_names(&renaming);
            }
        }
        for folder in self.folders.values_mut() {
            folder.names.clone_from(&folder.durable);
        }
        for file in self.files.values_mut() {
            file.crash(&mut self.rng);
        }
        self.forget_files();
        let crashes = self.crashes as usize;
        self.note("crash", Path::new(""), &Ok(()), crashes);
    }
    /// Takes a call of a file that was opened by a process that runs.
    fn check_process(&self, process: u64) -> io::Result<()> {
        if self.process == process {
            return Ok(());
        }
        Err(error(libc::EIO))
    }
}

fn set_name(names: &mut Names, name: &OsStr, node: Option<Node>) {
    match node {
        Some(node) => names.insert(name.to_owned(), node),
        None => names.remove(name),
    };
}

/// The names of a path from the root on: a path that is not absolute begins there too.
fn parts(path: &Path) -> io::Result<Vec<&OsStr>> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(error(libc::EINVAL)),
        }
    }
    Ok(parts)
}

impl SimulatedDisk {
    /// An empty disk of this seed, on which nothing fails.
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(State {
            rng: Rng::new(seed),
            faults: DiskFaults::NONE,
            files: BTreeMap::new(),
            folders: BTreeMap::from([(ROOT, Folder::default())]),
            pending: Vec::new(),
            next: ROOT,
            room: u64::MAX,
            process: 0,
            stops_in: None,
            stops_behind: None,
            has_stopped: false,
            calls: 0,
            crashes: 0,
            trace_hash: 0xcbf2_9ce4_8422_2325,
            trace: None,
            line: String::new(),
        })))
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- what a test does to it ---------------------------------------------------------------------------------

    /// Another disk with the same content, of this seed: what is done to the one the other does not see. What is open is
    /// open on the first only.
    pub fn copy(&self, seed: u64) -> SimulatedDisk {
        let mut state = self.state().clone();
        state.rng = Rng::new(seed);
        state.end_process();
        SimulatedDisk(Arc::new(Mutex::new(state)))
    }
    /// The machine crashes: what was not synced is lost, or not, or in part. Whoever used the disk has ended.
    pub fn crash(&self) {
        self.state().crash();
    }
    /// The process that used the disk has ended: nothing is lost, and what it had open does nothing any more.
    pub fn end_process(&self) {
        let mut state = self.state();
        state.end_process();
        for file in state.files.values_mut() {
            file.open = 0;
        }
        state.forget_files();
    }
    /// After so many more calls the disk stops for the process that uses it, as where that is killed or the machine ends
    /// between two calls: later ones fail and do nothing. Until that process is told to have ended.
    pub fn stop_after(&self, calls: u64) {
        self.state().stops_in = Some(calls);
    }
    /// The same, right behind the last of so many renames, at least one: what was to be synced before it was, or not.
    pub fn stop_behind_rename(&self, renames: u64) {
        self.state().stops_behind = Some(renames);
    }
    /// Whether a call has failed because the disk has stopped.
    pub fn has_stopped(&self) -> bool {
        self.state().has_stopped
    }
    /// Changes how often calls fail from now on.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.state().faults = faults;
    }
    /// Changes how many bytes all files may have together.
    pub fn set_room(&self, bytes: u64) {
        self.state().room = bytes;
    }
    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.state().used()
    }
    /// Whether a sync that failed has lost bytes of a file that processes still see: a crash would show it.
    pub fn has_lost(&self) -> bool {
        self.state().files.values().any(|file| file.has_lost)
    }
    /// Makes a folder, and those above it; they are on the disk.
    pub fn make_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let mut above = PathBuf::new();
        for part in parts(path)? {
            let parent = state.find_folder(&above)?;
            above.push(part);
            if state.find(&above).is_err() {
                let id = state.new_id();
                state.folders.insert(id, Folder::default());
                state.rename_nodes(vec![(parent, part.to_owned(), Some(Node::Folder(id)))]);
            }
            state.sync_names(parent);
        }
        Ok(())
    }
    /// The paths of all files, in order, with what processes see in them.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.state();
        let mut found = Vec::new();
        let mut to_do = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, folder)) = to_do.pop() {
            for (name, node) in state
                .folders
                .get(&folder)
                .into_iter()
                .flat_map(|it| &it.names)
            {
                match node {
                    Node::File(id) => {
                        let bytes = state.files.get(id).map(|file| file.bytes.clone());
                        found.push((path.join(name), bytes.unwrap_or_default()));
                    }
                    Node::Folder(id) => to_do.push((path.join(name), *id)),
                }
            }
        }
        found.sort();
        found
    }
    /// Number of calls so far, and the hash of them and of what came of them.
    pub fn trace_sum(&self) -> (u64, u64) {
        let state = self.state();
        (state.calls, state.trace_hash)
    }
    /// Keeps the calls themselves from now on, not only their sum.
    pub fn keep_trace(&self) {
        self.state().trace.get_or_insert_default();
    }
    /// The calls, a line each, if they were kept; they are forgotten.
    pub fn take_trace(&self) -> Option<String> {
        self.state().trace.as_mut().map(std::mem::take)
    }

    // ---- the calls of a process ---------------------------------------------------------------------------------

    pub(super) fn open(&self, path: &Path, mode: Mode) -> io::Result<SimulatedFile> {
        let mut state = self.state();
        let opened = state.open(path, mode);
        state.note("open", path, &opened, mode as usize);
        let file = opened?;
        let process = state.process;
        drop(state);
        Ok(SimulatedFile {
            disk: self.clone(),
            file,
            process,
            mode,
            at: AtomicU64::new(0),
        })
    }
    pub(super) fn open_folder(&self, path: &Path) -> io::Result<SimulatedFolder> {
        let mut state = self.state();
        let in_1000 = state.faults.open_error;
        let opened = state
            .begin_call()
            .and_then(|()| state.may_fail(in_1000, libc::EMFILE))
            .and_then(|()| state.find_folder(path));
        state.note("open folder", path, &opened, 0);
        let folder = opened?;
        let process = state.process;
        drop(state);
        Ok(SimulatedFolder {
            disk: self.clone(),
            folder,
            process,
        })
    }
    pub(super) fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let created = state.create_folder(path);
        state.note("make folder", path, &created, 0);
        created
    }
    pub(super) fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let removed = state.remove_folder(path);
        state.note("remove folder", path, &removed, 0);
        removed
    }
    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut state = self.state();
        let in_1000 = state.faults.read_error;
        let listed = state.begin_call().and_then(|()| {
            state.may_fail(in_1000, libc::EIO)?;
            let folder = state.find_folder(path)?;
            let names = state.folders.get(&folder).map(|folder| &folder.names);
            Ok(names
                .into_iter()
                .flat_map(|names| names.keys().cloned())
                .collect())
        });
        state.note("list", path, &listed, 0);
        listed
    }
    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        let in_1000 = state.faults.read_error;
        let read = state.begin_call().and_then(|()| {
            state.may_fail(in_1000, libc::EIO)?;
            let file = state.find_file(path)?;
            Ok(state.file(file)?.bytes.clone())
        });
        let len = read.as_ref().map_or(0, Vec::len);
        state.note("read", path, &read, len);
        read
    }
    pub(super) fn size(&self, path: &Path) -> io::Result<u64> {
        let mut state = self.state();
        state.begin_call()?;
        match state.find(path)? {
            Node::File(file) => Ok(state.file(file)?.bytes.len() as u64),
            Node::Folder(_) => Ok(PAGE as u64),
        }
    }
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let renamed = state.rename(from, to);
        state.note("rename", from, &renamed, 0);
        state.note("to", to, &renamed, 0);
        renamed
    }
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let removed = state.remove(path);
        state.note("remove", path, &removed, 0);
        removed
    }
}

impl State {
    fn open(&mut self, path: &Path, mode: Mode) -> io::Result<u64> {
        self.begin_call()?;
        let number = match self.rng.below(2) {
            0 => libc::EIO,
            _ => libc::EMFILE,
        };
        self.may_fail(self.faults.open_error, number)?;
        let found = match self.find_file(path) {
            Ok(file) => Some(file),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
            Err(error) => return Err(error),
        };
        let creates = !matches!(mode, Mode::Read | Mode::Change);
        let id = match found {
            Some(_) if mode == Mode::AppendNew => return Err(error(libc::EEXIST)),
            Some(file) => file,
            None if creates => {
                let (folder, name) = self.place(path)?;
                let id = self.new_id();
                self.files.insert(id, File::default());
                self.rename_nodes(vec![(folder, name, Some(Node::File(id)))]);
                id
            }
            None => return Err(error(libc::ENOENT)),
        };
        let file = self.file(id)?;
        if matches!(mode, Mode::Create | Mode::AppendEmpty) && !file.bytes.is_empty() {
            file.change(Change::SetLen(0));
        }
        file.open += 1;
        Ok(id)
    }
    fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        self.begin_call()?;
        if self.find(path).is_ok() {
            return Err(error(libc::EEXIST));
        }
        let (folder, name) = self.place(path)?;
        let id = self.new_id();
        self.folders.insert(id, Folder::default());
        self.rename_nodes(vec![(folder, name, Some(Node::Folder(id)))]);
        Ok(())
    }
    fn remove_folder(&mut self, path: &Path) -> io::Result<()> {
        self.begin_call()?;
        let id = self.find_folder(path)?;
        let is_empty = self.folders.get(&id).is_none_or(|it| it.names.is_empty());
        if !is_empty {
            return Err(error(libc::ENOTEMPTY));
        }
        let (folder, name) = self.place(path)?;
        self.rename_nodes(vec![(folder, name, None)]);
        Ok(())
    }
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin_call()?;
        self.may_fail(self.faults.rename_error, libc::EIO)?;
        let node = self.find(from)?;
        let (from_folder, from_name) = self.place(from)?;
        let (to_folder, to_name) = self.place(to)?;
        match self.find(to) {
            Ok(there) if there == node => return Ok(()),
            Ok(Node::Folder(_)) => return Err(error(libc::EISDIR)),
            Ok(Node::File(_)) | Err(_) => {}
        }
        self.rename_nodes(vec![
            (from_folder, from_name, None),
            (to_folder, to_name, Some(node)),
        ]);
        if let Some(left) = &mut self.stops_behind {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.stops_in = Some(0);
            }
        }
        Ok(())
    }
    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.begin_call()?;
        self.may_fail(self.faults.remove_error, libc::EIO)?;
        self.find_file(path)?;
        let (folder, name) = self.place(path)?;
        self.rename_nodes(vec![(folder, name, None)]);
        Ok(())
    }
    /// How many bytes of a write of `len` are taken.
    fn taken(&mut self, len: usize) -> io::Result<usize> {
        if len == 0 {
            return Ok(0);
        }
        self.may_fail(self.faults.write_error, libc::EIO)?;
        let room = usize::try_from(self.room.saturating_sub(self.used())).unwrap_or(usize::MAX);
        if room == 0 || self.chance(self.faults.no_space) {
            return Err(error(libc::ENOSPC));
        }
        let most = len.min(room);
        if self.chance(self.faults.short_write) {
            return Ok(1 + self.rng.index(most));
        }
        Ok(most)
    }
}

/// An open file.
#[derive(Debug)]
pub(super) struct SimulatedFile {
    disk: SimulatedDisk,
    file: u64,
    process: u64,
    mode: Mode,
    /// Where the next write goes, for one that does not append.
    at: AtomicU64,
}

impl SimulatedFile {
    /// Does something to the file, and tells the trace.
    fn call<T>(
        &self,
        call: &str,
        path: &Path,
        figure: usize,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.disk.state();
        state.check_process(self.process)?;
        let result = state.begin_call().and_then(|()| act(&mut state));
        state.note(call, path, &result, figure);
        result
    }
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<usize> {
        self.call("write", path, bytes.len(), |state| {
            if matches!(self.mode, Mode::Read) {
                return Err(error(libc::EBADF));
            }
            let taken = state.taken(bytes.len())?;
            let file = state.file(self.file)?;
            let at = match self.mode {
                Mode::Append | Mode::AppendNew | Mode::AppendEmpty => file.bytes.len(),
                Mode::Read | Mode::Create | Mode::Change => {
                    self.at.fetch_add(taken as u64, Ordering::Relaxed) as usize
                }
            };
            let bytes = bytes[..taken].to_vec();
            file.change(Change::Write { at, bytes });
            Ok(taken)
        })
    }
    pub(super) fn sync(&self, path: &Path) -> io::Result<()> {
        self.call("sync", path, 0, |state| {
            let fails = state.chance(state.faults.sync_error);
            let Some(file) = state.files.get_mut(&self.file) else {
                return Err(error(libc::EIO));
            };
            if fails {
                file.fail_sync(&mut state.rng);
                return Err(error(libc::EIO));
            }
            file.sync();
            Ok(())
        })
    }
    pub(super) fn set_len(&self, path: &Path, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| error(libc::EFBIG))?;
        self.call("cut", path, len, |state| {
            state.file(self.file)?.change(Change::SetLen(len));
            Ok(())
        })
    }
    pub(super) fn size(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.check_process(self.process)?;
        state.begin_call()?;
        Ok(state.file(self.file)?.bytes.len() as u64)
    }
    pub(super) fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.call("map", path, 0, |state| {
            state.may_fail(state.faults.read_error, libc::EIO)?;
            Ok(state.file(self.file)?.bytes.clone())
        })
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.process != self.process {
            return;
        }
        if let Some(file) = state.files.get_mut(&self.file) {
            file.open = file.open.saturating_sub(1);
            if file.open == 0 {
                state.forget_files();
            }
        }
    }
}

/// An open folder.
#[derive(Debug)]
pub(super) struct SimulatedFolder {
    disk: SimulatedDisk,
    folder: u64,
    process: u64,
}

impl SimulatedFolder {
    pub(super) fn sync(&self, path: &Path) -> io::Result<()> {
        let mut state = self.disk.state();
        state.check_process(self.process)?;
        let in_1000 = state.faults.folder_sync_error;
        let synced = state
            .begin_call()
            .and_then(|()| state.may_fail(in_1000, libc::EIO));
        if synced.is_ok() {
            state.sync_names(self.folder);
        }
        state.note("sync folder", path, &synced, 0);
        synced
    }
}

#[cfg(test)]
mod tests;
