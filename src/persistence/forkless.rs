//! A snapshot that is written while commands go on, without a child: entries become bytes in the loop, bytes become a file
//! in a helper, or come back to the loop, which sends them somewhere.
//!
//! In: a point in time of the keyspace, as it is read ([`crate::keyspace::Encoder`]). Out: a file under its name, or the
//! reason why there is none, and the old file as it was; or the bytes of the file in chunks ([`SnapshotOutput::next_chunk`]). What
//! takes time and needs no keyspace (compression, checksum, writing, syncing, renaming) is the helper's, which gets bytes and
//! never sees the keyspace. Takes the place of the child of Redis's `rdbSaveBackground` and `rdbSaveToSlavesSockets`; Valkey
//! 9.2 has the like.
//!
//! Invariants: the file gets its name only when it is whole and on the disk; one that was cancelled never does. What comes
//! back to the loop is what would be in the file, byte for byte.

use super::aof::rewrite;
use super::chunks::{Chunk, Outlet, Pieces};
use super::rdb::FileVersion;
use super::rdb::file::{Usage, op};
use super::rdb::save::{self, PartSize};
use super::rdb::write::{Partial, Sink, Writer, put_in};
use super::snapshot::{SnapshotOptions, UsageKind};
use crate::event_loop::Waker;
use crate::keyspace::{
    Clock, DatabaseSize, Deferred, Encoded, Encoder, EntryRef, FieldsPart, Position,
};
use crate::system::crc64::crc64;
use crate::system::disk::{Disk, DiskFile, Mode};
use crate::system::helper::{Helper, Jobs};
use crate::system::process::os_error_text;
use crate::system::steady_file::SteadyFile;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Entries in the form of an RDB file.
#[derive(Debug)]
pub struct RdbEncoder {
    part_size: PartSize,
    version: FileVersion,
    compress: bool,
    usage: UsageKind,
    now: Clock,
}

impl RdbEncoder {
    /// For a snapshot that begins now.
    pub fn new(options: &SnapshotOptions, part_size: PartSize, now: Clock) -> RdbEncoder {
        RdbEncoder {
            part_size,
            version: options.version,
            compress: options.compress,
            usage: options.usage,
            now,
        }
    }
    fn head(&self, entry: &EntryRef<'_>, kind: u8, writer: &mut Writer<'_>) {
        let usage = match self.usage {
            UsageKind::None => None,
            UsageKind::Idle => Some(Usage::Idle(entry.idle_ms(self.now) / 1000)),
            UsageKind::Frequency => Some(Usage::Frequency(entry.frequency(self.now))),
        };
        save::head(entry, kind, usage, writer);
    }
}

impl Encoder for RdbEncoder {
    fn part(&self, entry: &EntryRef<'_>, from: &Position, out: &mut Encoded) -> Option<Position> {
        let mut writer = Writer::deferring(out, self.compress).in_version(self.version);
        if *from == Position::default() {
            self.head(
                entry,
                save::kind_of(entry.stored(), self.version),
                &mut writer,
            );
        }
        save::save_part(entry.stored(), from, self.part_size, &mut writer)
    }
    fn fields(&self, mut part: FieldsPart<'_>, out: &mut Encoded) -> bool {
        let mut writer = Writer::deferring(out, self.compress).in_version(self.version);
        if part.is_first {
            self.head(&part.entry, save::kind_of_fields(part.was), &mut writer);
        }
        save::save_fields(&mut part, self.part_size, &mut writer)
    }
}

/// How far it is.
#[derive(Debug)]
enum Stage {
    /// Nothing has been done.
    Unopened,
    /// It is written.
    Writing(Writing),
    /// It is whole, and under its name where it is a file.
    Whole,
    /// It could not be written, and is gone.
    Failed(Failure),
}

/// What the helper is writing.
#[derive(Debug)]
struct Writing {
    way: Way,
    /// Checksum of what is written.
    sum: u64,
    /// The beginning of a string that is not whole yet.
    partial: Partial,
}

/// What the helper writes to.
#[derive(Debug)]
enum Way {
    File(SteadyFile<DiskFile>),
    /// To the loop.
    Chunks {
        pieces: Pieces,
        /// Nothing comes behind the pieces but the checksum.
        is_finished: bool,
    },
}

/// Why there is no snapshot.
#[derive(Debug)]
pub struct Failure {
    /// What could not be done.
    doing: Doing,
    /// To what.
    to: String,
    /// What the system says.
    pub error: io::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (doing, error) = (self.doing.text(), os_error_text(&self.error));
        write!(out, "can't {doing} {}: {error}", self.to)
    }
}

/// What the helper is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doing {
    /// Something of an earlier file; this one is to be opened behind it.
    #[default]
    Earlier,
    Open,
    Write,
    Sync,
    OpenFolder,
    Rename,
    SyncFolder,
}

impl Doing {
    fn text(self) -> &'static str {
        match self {
            Doing::Earlier | Doing::Open => "open",
            Doing::Write => "write",
            Doing::Sync => "sync",
            Doing::OpenFolder => "open the directory of",
            Doing::Rename => "rename",
            Doing::SyncFolder => "sync the directory of",
        }
    }
}

/// Who may make the file or give it its name: whoever wants it, one at a time, and nobody once it is cancelled. No lock is
/// held while the disk is waited for, which may not answer.
#[derive(Debug, Default)]
struct Naming {
    state: Mutex<NamingState>,
    /// Somebody is done.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct NamingState {
    /// Nobody wants it any more.
    is_cancelled: bool,
    /// Somebody is at it.
    is_busy: bool,
}

impl Naming {
    fn state(&self) -> MutexGuard<'_, NamingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn is_cancelled(&self) -> bool {
        self.state().is_cancelled
    }
    /// Waits until nobody is at it, for as long as `patience` at most.
    fn idle(&self, patience: Duration) -> Option<MutexGuard<'_, NamingState>> {
        let waited =
            (self.changed).wait_timeout_while(self.state(), patience, |state| state.is_busy);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        (!waited.timed_out()).then_some(state)
    }
    /// Does something to the file that is wanted, unless it is cancelled; whether it then is cancelled is `work`'s to say.
    fn unless_cancelled<T>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> io::Result<T>,
        cancels: bool,
    ) -> io::Result<T> {
        let mut state = self.idle(patience).ok_or_else(no_answer)?;
        if state.is_cancelled {
            return Err(given_up());
        }
        state.is_busy = true;
        drop(state);
        let done = work();
        let mut state = self.state();
        state.is_busy = false;
        state.is_cancelled |= cancels && done.is_ok();
        drop(state);
        self.changed.notify_all();
        done
    }
    /// Cancels it. Who is at it just now is waited for, but not for long.
    fn cancel(&self, patience: Duration) {
        self.state().is_cancelled = true;
        drop(self.idle(patience));
    }
}

/// What the loop and the helper share.
#[derive(Debug)]
struct Shared {
    /// Bytes given to the helper that are not in the file, or not with the loop again.
    waiting: AtomicUsize,
    naming: Naming,
    /// Nothing will change any more.
    ended: AtomicBool,
    stage: Mutex<Stage>,
    /// What the helper did last, or does now. For the log only.
    doing: Mutex<Doing>,
}

impl Shared {
    /// A helper that panicked has left a stage that is as good as any.
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn doing(&self) -> Doing {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn begin(&self, doing: Doing) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = doing;
    }
}

/// What a file is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RDB.
    Rdb,
    /// Commands, with an annotation of this Unix time before them, s.
    Commands(Option<i64>),
}

/// What is written, and where to.
#[derive(Clone, Debug)]
struct Target {
    format: Format,
    compress: bool,
    checksum: bool,
    to: Destination,
}

/// Where a snapshot goes.
#[derive(Clone, Debug)]
enum Destination {
    File(FileTarget),
    /// To the loop.
    Chunks(Arc<Outlet>),
}

#[derive(Clone, Debug)]
struct FileTarget {
    disk: Disk,
    temporary: PathBuf,
    /// Its name when it is whole; none: somebody else gives it one.
    path: Option<PathBuf>,
    steady: bool,
}

impl Destination {
    /// What it is called in the log.
    fn name(&self) -> String {
        match self {
            Destination::File(file) => file.temporary.display().to_string(),
            Destination::Chunks(_) => "a snapshot for the network".into(),
        }
    }
}

enum Step {
    Write(Encoded),
    /// The loop has taken some of what was made.
    GoOn,
    Finish,
}

/// What the helper does.
pub struct Job {
    shared: Arc<Shared>,
    target: Target,
    step: Step,
    waker: Option<Waker>,
}

/// The helper that writes snapshots.
pub fn helper(jobs: &Jobs) -> Helper<Job> {
    Helper::new(
        "gyre-save",
        jobs,
        // No lower priority: on a machine that is busy the file would be late, and in the end writes wait for it.
        || (),
        run,
    )
}

/// A snapshot that is being written, seen from the loop.
///
/// Where it is for the loop ([`SnapshotOutput::begin_chunks`]) the helper makes chunks of it, some ahead, and wakes the loop. How many
/// it has made ([`SnapshotOutput::chunks_made`]) is a figure of another thread: it has to pass the seam, as what
/// [`SnapshotOutput::ended_well`] and [`SnapshotOutput::waiting`] say. Then the loop may take so many ([`SnapshotOutput::next_chunk`]); what is in
/// each is determined. What it does not take counts as waiting, so that no more is read; that it has ended is not told before
/// all is taken.
pub struct SnapshotOutput {
    shared: Arc<Shared>,
    target: Target,
    waker: Option<Waker>,
    /// Chunks that the loop has taken.
    taken: u64,
    db: Option<usize>,
    sizes: Vec<DatabaseSize>,
    /// What stands before the next entries.
    before: Vec<u8>,
    /// Bytes that were given to the helper.
    given: usize,
    /// Long strings that the helper has, with the bytes that it was given up to their end.
    long: VecDeque<(usize, usize)>,
    /// Bytes that it was given up to some end, and those of them that are lent ([`Encoded::lent_bytes`]).
    lent: VecDeque<(usize, usize)>,
    lent_bytes: usize,
    /// Bytes of strings that the helper puts together from parts, though they do not count as waiting: else the last part of a
    /// long one would never be read.
    partial_bytes: usize,
    /// Those of them that are of one which is not whole.
    beginning_bytes: usize,
    /// Those that are whole, with the bytes that the helper was given up to their end.
    wholes: VecDeque<(usize, usize)>,
}

impl SnapshotOutput {
    /// Begins a file for databases of these sizes. `temporary` is its name until it is whole, and afterwards where `renamed` is
    /// false. The helper wakes the loop when it has done something. That the file cannot be opened is told at the end, like
    /// all that fails: the helper opens it, after it has removed one of this name that was given up.
    pub fn begin_file(
        options: &SnapshotOptions,
        format: Format,
        temporary: PathBuf,
        renamed: bool,
        sizes: Vec<DatabaseSize>,
        now: Clock,
        waker: Option<Waker>,
    ) -> SnapshotOutput {
        let file = FileTarget {
            disk: options.disk.clone(),
            temporary,
            path: renamed.then(|| options.path.clone()),
            steady: options.steady,
        };
        let before = match format {
            Format::Rdb => super::snapshot::beginning(options, now),
            Format::Commands(timestamp_s) => rewrite::beginning(&options.libraries, timestamp_s),
        };
        SnapshotOutput::begin(
            options,
            format,
            Destination::File(file),
            sizes,
            before,
            waker,
        )
    }
    /// Begins one in RDB that comes back to the loop. The helper wakes the loop when it has made something of it.
    pub fn begin_chunks(
        options: &SnapshotOptions,
        sizes: Vec<DatabaseSize>,
        now: Clock,
        waker: Option<Waker>,
    ) -> SnapshotOutput {
        let before = super::snapshot::beginning(options, now);
        let to = Destination::Chunks(Arc::default());
        SnapshotOutput::begin(options, Format::Rdb, to, sizes, before, waker)
    }
    fn begin(
        options: &SnapshotOptions,
        format: Format,
        to: Destination,
        sizes: Vec<DatabaseSize>,
        before: Vec<u8>,
        waker: Option<Waker>,
    ) -> SnapshotOutput {
        SnapshotOutput {
            shared: Arc::new(Shared {
                waiting: AtomicUsize::new(0),
                naming: Naming::default(),
                ended: AtomicBool::new(false),
                stage: Mutex::new(Stage::Unopened),
                doing: Mutex::default(),
            }),
            target: Target {
                format,
                compress: options.compress,
                checksum: options.checksum && format == Format::Rdb,
                to,
            },
            waker,
            taken: 0,
            db: None,
            sizes,
            before,
            given: 0,
            long: VecDeque::new(),
            lent: VecDeque::new(),
            lent_bytes: 0,
            partial_bytes: 0,
            beginning_bytes: 0,
            wholes: VecDeque::new(),
        }
    }
    /// Gives the helper what stands before all entries, to see whether it does something.
    pub fn probe(&mut self, helper: &mut Helper<Job>) {
        self.give_before(helper);
    }
    fn give_before(&mut self, helper: &mut Helper<Job>) {
        if !self.before.is_empty() {
            let bytes = std::mem::take(&mut self.before);
            let encoded = Encoded {
                bytes,
                ..Encoded::default()
            };
            self.give_bytes(helper, encoded);
        }
    }
    fn give(&self, helper: &mut Helper<Job>, step: Step) {
        helper.give(Job {
            shared: Arc::clone(&self.shared),
            target: self.target.clone(),
            step,
            waker: self.waker.clone(),
        });
    }
    fn give_bytes(&mut self, helper: &mut Helper<Job>, encoded: Encoded) {
        self.shared
            .waiting
            .fetch_add(encoded.len(), Ordering::Relaxed);
        self.given = self.given.wrapping_add(encoded.len());
        let given = self.given;
        let strings = encoded.long_strings().map(|it| (given, it));
        self.long.extend(strings);
        for (_, string) in &encoded.strings {
            let Deferred::Part { here, whole } = string else {
                continue;
            };
            self.partial_bytes += here;
            self.beginning_bytes += here;
            if self.beginning_bytes >= *whole {
                let bytes = std::mem::take(&mut self.beginning_bytes);
                self.wholes.push_back((given, bytes));
            }
        }
        if encoded.lent_bytes > 0 {
            self.lent.push_back((given, encoded.lent_bytes));
            self.lent_bytes += encoded.lent_bytes;
        }
        self.give(helper, Step::Write(encoded));
    }
    /// Gives entries of a database to the helper.
    pub fn write(&mut self, helper: &mut Helper<Job>, db: usize, encoded: Encoded) {
        if self.db != Some(db) && self.target.format != Format::Rdb {
            self.db = Some(db);
            rewrite::select(&mut self.before, db);
        } else if self.db != Some(db) {
            self.db = Some(db);
            let mut writer = Writer::new(&mut self.before, false);
            writer.byte(op::SELECT_DB);
            writer.len(db);
            // Once is enough to make room.
            if let Some(at) = self.sizes.iter().position(|size| size.db == db) {
                let size = self.sizes.swap_remove(at);
                writer.byte(op::RESIZE_DB);
                writer.len(size.keys);
                writer.len(size.volatile);
            }
        }
        self.give_before(helper);
        self.give_bytes(helper, encoded);
    }
    /// All entries have been given: the file is to be ended, synced and named.
    pub fn finish(&mut self, helper: &mut Helper<Job>) {
        if self.target.format == Format::Rdb {
            self.before.push(op::EOF);
        }
        self.give_before(helper);
        self.give(helper, Step::Finish);
    }
    /// Whether it goes to the disk, which may not answer; else to the loop.
    pub fn is_file(&self) -> bool {
        matches!(self.target.to, Destination::File(_))
    }
    /// How many chunks have been made so far, where it comes back to the loop. The figure has to pass the seam.
    pub fn chunks_made(&self) -> Option<u64> {
        match &self.target.to {
            Destination::File(_) => None,
            Destination::Chunks(outlet) => Some(outlet.made()),
        }
    }
    /// The next of the chunks, each of 64 KiB at most, of which so many have been made as the seam says; none when all of them
    /// are taken. O(1): the helper has made it. Only in a replay it may not be there yet, and is waited for.
    pub fn next_chunk(&mut self, helper: &mut Helper<Job>, made: u64) -> Option<Vec<u8>> {
        let Destination::Chunks(outlet) = &self.target.to else {
            return None;
        };
        if self.taken >= made {
            return None;
        }
        let outlet = Arc::clone(outlet);
        let next = outlet.take().or_else(|| {
            helper.drain();
            outlet.take()
        });
        let (chunk, goes_on) = next?;
        self.taken += 1;
        self.shared.waiting.fetch_sub(chunk.done, Ordering::Release);
        if goes_on {
            self.give(helper, Step::GoOn);
        }
        Some(chunk.bytes)
    }
    /// Bytes that the helper has not written yet, or that the loop has not taken.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Acquire)
    }
    /// The next long string that the helper has let go of, where so many bytes wait ([`SnapshotOutput::waiting`]).
    pub fn next_let_go(&mut self, waiting: usize) -> Option<usize> {
        let written = self.given.wrapping_sub(waiting);
        let (given, _) = self.long.front()?;
        if *given > written {
            return None;
        }
        self.long.pop_front().map(|(_, string)| string)
    }
    /// Bytes that were given to the helper so far.
    pub fn given(&self) -> u64 {
        self.given as u64
    }
    /// What the helper is at, of which file.
    pub fn doing(&self) -> String {
        let (doing, to) = (self.shared.doing(), self.target.to.name());
        match doing {
            Doing::Earlier => format!("of an earlier save, behind which {to} waits,"),
            doing => format!("to {} {to}", doing.text()),
        }
    }
    /// Of so many bytes that wait, those that take memory.
    pub fn waiting_memory(&mut self, waiting: usize) -> usize {
        let written = self.given.wrapping_sub(waiting);
        while let Some((given, bytes)) = self.lent.front()
            && *given <= written
        {
            self.lent_bytes -= bytes;
            self.lent.pop_front();
        }
        while let Some((given, bytes)) = self.wholes.front()
            && *given <= written
        {
            self.partial_bytes -= bytes;
            self.wholes.pop_front();
        }
        // Of the first a part may be written: what is left of it alone is among what waits.
        let first = self.lent.front().map_or(0, |(given, bytes)| {
            bytes.saturating_sub(given.wrapping_sub(written))
        });
        waiting.saturating_sub(self.lent_bytes - first)
    }
    /// Bytes of strings that the helper puts together from parts, beyond those that wait, as of the last
    /// [`SnapshotOutput::waiting_memory`].
    pub fn partial_bytes(&self) -> usize {
        self.partial_bytes
    }
    /// Whether it is there (and taken, where it comes back to the loop), or has failed; none: it is not known yet.
    pub fn ended_well(&self) -> Option<bool> {
        if !self.shared.ended.load(Ordering::Acquire) {
            return None;
        }
        if let Destination::Chunks(outlet) = &self.target.to
            && !outlet.is_empty()
        {
            return None;
        }
        Some(matches!(*self.shared.stage(), Stage::Whole))
    }
    /// How it ended. An error where it has not.
    pub fn result(self) -> Result<(), Failure> {
        let failure = |error| Failure {
            doing: self.shared.doing(),
            to: self.target.to.name(),
            error,
        };
        let given_up = Stage::Failed(failure(given_up()));
        match std::mem::replace(&mut *self.shared.stage(), given_up) {
            Stage::Whole => Ok(()),
            Stage::Failed(failure) => Err(failure),
            Stage::Unopened | Stage::Writing(_) => {
                Err(failure(io::Error::other("it is not finished")))
            }
        }
    }
    /// Puts another file, a newer one, under the name. Where that is done this one does not get the name any more, and is to
    /// be cancelled; else it goes on. A disk that does not answer the helper is an error.
    pub fn install_instead<T>(&self, install: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.shared.naming.unless_cancelled(PATIENCE, install, true)
    }
    /// Gives it up: from here on its file does not get its name, unless it has it or the disk does not answer just when it is
    /// to get it. The helper removes it. Waits for no more than a rename, and not for long.
    pub fn cancel(self, helper: &mut Helper<Job>) {
        self.shared.naming.cancel(PATIENCE);
        self.give(helper, Step::Finish);
    }
    /// Gives it up as [`SnapshotOutput::cancel`] does, but waits for nothing: the disk is known not to answer.
    pub fn abandon(self, helper: &mut Helper<Job>) {
        self.shared.naming.cancel(Duration::ZERO);
        self.give(helper, Step::Finish);
    }
}

/// How long the loop waits for a rename of the helper.
const PATIENCE: Duration = Duration::from_secs(1);

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer")
}

fn given_up() -> io::Error {
    io::Error::other("it was given up")
}

/// Most bytes that are written at a time.
const WRITE_BYTES: usize = 1024 * 1024;

fn run(job: Job) {
    let Job {
        shared,
        target,
        mut step,
        waker,
    } = job;
    let mut stage = shared.stage();
    let mut left = match &step {
        Step::Write(encoded) => encoded.len(),
        Step::GoOn | Step::Finish => 0,
    };
    let done = open(&mut stage, &target, &shared).and_then(|()| match &mut *stage {
        Stage::Writing(writing) => write_on(writing, &mut step, &mut left, &target, &shared),
        // It was whole when it was given up, and nobody gives it a name any more.
        Stage::Whole => match (&step, &target.to) {
            (Step::Finish, Destination::File(FileTarget { path: None, .. })) => Err(given_up()),
            _ => Ok(false),
        },
        Stage::Unopened | Stage::Failed(_) => Ok(false),
    });
    if let Step::Write(encoded) = &mut step {
        // Before: who waits to change a string in it goes by the number.
        drop(std::mem::take(encoded));
    }
    shared.waiting.fetch_sub(left, Ordering::Release);
    match done {
        Ok(false) => {}
        Ok(true) => *stage = Stage::Whole,
        Err(error) => {
            let failure = Failure {
                doing: shared.doing(),
                to: target.to.name(),
                error,
            };
            match &target.to {
                Destination::File(file) => drop(file.disk.remove(&file.temporary)),
                Destination::Chunks(outlet) => outlet.clear(),
            }
            *stage = Stage::Failed(failure);
        }
    }
    let has_ended = matches!(*stage, Stage::Whole | Stage::Failed(_));
    drop(stage);
    if has_ended {
        shared.ended.store(true, Ordering::Release);
    }
    if let Some(waker) = &waker {
        waker.wake();
    }
}

fn open(stage: &mut Stage, target: &Target, shared: &Shared) -> io::Result<()> {
    if !matches!(stage, Stage::Unopened) {
        return Ok(());
    }
    shared.begin(Doing::Open);
    let way = match &target.to {
        Destination::File(file) => {
            let open = || file.disk.open(&file.temporary, Mode::Create);
            let naming = &shared.naming;
            let opened = naming.unless_cancelled(Duration::MAX, open, false)?;
            Way::File(SteadyFile::new(opened, file.steady))
        }
        Destination::Chunks(_) => Way::Chunks {
            pieces: Pieces::default(),
            is_finished: false,
        },
    };
    *stage = Stage::Writing(Writing {
        way,
        sum: 0,
        partial: Partial::new(),
    });
    Ok(())
}

/// Does a step; whether all is whole. What stays in `left` of the bytes of the step is done when it is.
fn write_on(
    Writing { way, sum, partial }: &mut Writing,
    step: &mut Step,
    left: &mut usize,
    target: &Target,
    shared: &Shared,
) -> io::Result<bool> {
    if !matches!(step, Step::Finish) {
        shared.begin(Doing::Write);
    }
    match (way, &target.to) {
        (Way::File(file), Destination::File(to)) => match step {
            Step::Write(encoded) => {
                let sink: Sink<'_> = &mut |portion| {
                    for part in portion.bytes().chunks(WRITE_BYTES) {
                        // A large value may take long, and nobody may want it any more.
                        if shared.naming.is_cancelled() {
                            return Err(given_up());
                        }
                        if target.checksum {
                            *sum = crc64(*sum, part);
                        }
                        file.write_all(part)?;
                        // The loop sees that something is done. (They are fewer where they are compressed, and some more
                        // where not.) The last one is counted when nobody holds the strings any more.
                        let written = part.len().min(left.saturating_sub(1));
                        *left -= written;
                        shared.waiting.fetch_sub(written, Ordering::Relaxed);
                    }
                    Ok(())
                };
                encode(encoded, target, partial, sink).map(|()| false)
            }
            Step::GoOn => Ok(false),
            Step::Finish => install(file, *sum, to, target.format, shared).map(|()| true),
        },
        (
            Way::Chunks {
                pieces,
                is_finished,
            },
            Destination::Chunks(outlet),
        ) => {
            match step {
                Step::Write(encoded) => {
                    let mut portions = Vec::new();
                    encode(encoded, target, partial, &mut |portion| {
                        portions.push(portion.into_blob());
                        Ok(())
                    })?;
                    // Nobody but the pieces holds its strings from here on.
                    drop(std::mem::take(encoded));
                    *left = pieces.add(portions, *left);
                }
                Step::GoOn => {}
                Step::Finish => *is_finished = true,
            }
            let is_made = make_chunks(pieces, sum, outlet, target.checksum, shared)?;
            if is_made && *is_finished {
                outlet.push(Chunk {
                    bytes: sum.to_le_bytes().into(),
                    done: 0,
                });
            }
            Ok(is_made && *is_finished)
        }
        // The way was opened for this target.
        _ => Ok(false),
    }
}

/// Gives the bytes of entries to a sink, strings put in.
fn encode(
    encoded: &Encoded,
    target: &Target,
    partial: &mut Partial,
    sink: Sink<'_>,
) -> io::Result<()> {
    match target.format {
        Format::Rdb => put_in(encoded, target.compress, partial, sink),
        Format::Commands(_) => rewrite::put_in(encoded, sink),
    }
}

/// Makes chunks for as long as there is room for them; whether all is made.
fn make_chunks(
    pieces: &mut Pieces,
    sum: &mut u64,
    outlet: &Outlet,
    checksum: bool,
    shared: &Shared,
) -> io::Result<bool> {
    let go_on = || match shared.naming.is_cancelled() {
        true => Err(given_up()),
        false => Ok(()),
    };
    go_on()?;
    pieces.make(outlet, go_on, |bytes| {
        if checksum {
            *sum = crc64(*sum, bytes);
        }
    })
}

fn install(
    file: &mut SteadyFile<DiskFile>,
    sum: u64,
    target: &FileTarget,
    format: Format,
    shared: &Shared,
) -> io::Result<()> {
    if shared.naming.is_cancelled() {
        return Err(given_up());
    }
    shared.begin(Doing::Write);
    if format == Format::Rdb {
        file.write_all(&sum.to_le_bytes())?;
    }
    shared.begin(Doing::Sync);
    file.file().sync_all()?;
    let Some(path) = &target.path else {
        return Ok(());
    };
    // All that may fail is asked for before the rename.
    let disk = &target.disk;
    shared.begin(Doing::OpenFolder);
    let folder = disk.open_folder(path.parent().unwrap_or(Path::new(".")))?;
    shared.begin(Doing::Rename);
    let rename = || disk.rename(&target.temporary, path);
    let naming = &shared.naming;
    naming.unless_cancelled(Duration::MAX, rename, false)?;
    shared.begin(Doing::SyncFolder);
    // The new name is on the disk only once its directory is.
    folder.sync()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::keyspace::{Expiry, Free, KeyEntry, Keyspace, NewValue, digest_of};
    use crate::persistence::loading::{Loading, OnDuplicate};
    use crate::persistence::rdb::file::{FileReader, Part};
    use crate::persistence::rdb::kind;
    use crate::persistence::rdb::load::Loader;
    use crate::persistence::rdb::tests::value;
    use crate::persistence::snapshot;
    use crate::structures::Collection;
    use crate::structures::dict::HashSeed;
    use crate::structures::hash::{Hash, HashLimits};
    use crate::structures::list::{List, ListLimits};
    use crate::structures::set::{Set, SetLimits};
    use crate::structures::sorted_set::{Limits, SortedSet};
    use crate::structures::stream::{NodeLimits, Stream, StreamId};
    use crate::system::disk::{Call, Fault, FaultPlan};
    use crate::system::rng::Rng;
    use crate::system::simulated_jobs::SimulatedJobs;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    use std::collections::BTreeSet;

    const SEED: [u64; 4] = [1, 2, 3, 4];
    const NOW: Clock = Clock {
        unix_us: 1_700_000_000_000_000,
        mono_ns: 1,
        keeps_expired: false,
    };

    fn options(disk: &Disk, directory: &Path, compress: bool) -> SnapshotOptions {
        SnapshotOptions {
            disk: disk.clone(),
            path: directory.join("dump.rdb"),
            pid: 1,
            version: FileVersion::V12,
            compress,
            checksum: true,
            usage: UsageKind::None,
            used_memory: 0,
            key_delay_us: 0,
            steady: true,
            is_aof_base: false,
            libraries: Vec::new(),
            save_info: None,
        }
    }

    fn put(keyspace: &mut Keyspace, db: usize, key: &[u8], value: NewValue<'static>) {
        let mut db = keyspace.db(db, NOW, true);
        match db.entry(key) {
            KeyEntry::Occupied(mut held) => held.set(value, Expiry::Clear),
            KeyEntry::Vacant(vacant) => vacant.insert(value, Expiry::Clear),
        }
    }

    /// Values with many elements, of each type that is written in parts.
    fn large(kind: usize, keyspace: &Keyspace) -> NewValue<'static> {
        let (seed, len) = (keyspace.hash_seed(), 5000);
        let text = |number: usize| format!("element number {number}").into_bytes();
        match kind {
            0 => {
                let limits = ListLimits {
                    fill: 20,
                    depth: 1,
                    packed_threshold: 0,
                };
                let mut list = List::quicklist(&limits);
                (0..len).for_each(|number| list.push_back(&text(number)));
                list.built(&limits);
                NewValue::List(list)
            }
            1 => {
                let limits = SetLimits {
                    intset_entries: 8,
                    listpack_entries: 8,
                    listpack_value: 64,
                    seed,
                };
                let mut set = Set::new();
                (0..len).for_each(|number| {
                    set.add(&text(number), &limits);
                });
                NewValue::Set(set)
            }
            2 => {
                let limits = Limits {
                    max_entries: 8,
                    max_value: 64,
                };
                let mut set = SortedSet::new_large(seed);
                (0..len).for_each(|number| {
                    set.insert(&text(number), number as f64, limits);
                });
                NewValue::SortedSet(Box::new(set))
            }
            3 | 4 => {
                let limits = HashLimits {
                    max_entries: 8,
                    max_value: 64,
                    seed,
                };
                let mut hash = Hash::new();
                for number in 0..len {
                    hash.set(&text(number), b"a value", false, &limits);
                }
                if kind == 4 {
                    hash.set_expiry(&text(7), Some(1_800_000_000_000));
                }
                NewValue::Hash(Box::new(hash))
            }
            _ => {
                let limits = NodeLimits {
                    bytes: 4096,
                    entries: 10,
                };
                let mut stream = Stream::new(seed);
                for number in 1..len as u64 {
                    let id = StreamId { ms: number, seq: 0 };
                    let pair = [&b"field"[..], b"value"];
                    stream
                        .append(id, pair.into_iter(), limits)
                        .expect("a later id");
                }
                NewValue::Stream(Box::new(stream))
            }
        }
    }

    struct Saving {
        file: Option<SnapshotOutput>,
        helper: Helper<Job>,
        /// What came back to the loop.
        chunks: Vec<u8>,
    }

    impl Saving {
        fn begin(keyspace: &mut Keyspace, options: &SnapshotOptions, jobs: &Jobs) -> Saving {
            Saving::begin_in_parts(keyspace, options, jobs, PartSize::USUAL)
        }
        fn begin_in_parts(
            keyspace: &mut Keyspace,
            options: &SnapshotOptions,
            jobs: &Jobs,
            part_size: PartSize,
        ) -> Saving {
            let encoder: Arc<dyn Encoder> = Arc::new(RdbEncoder::new(options, part_size, NOW));
            let sizes = keyspace.begin_reading(&encoder);
            let temporary = options.path.with_file_name("temp-1.rdb");
            let file =
                SnapshotOutput::begin_file(options, Format::Rdb, temporary, true, sizes, NOW, None);
            Saving {
                file: Some(file),
                helper: helper(jobs),
                chunks: Vec::new(),
            }
        }
        /// Takes so many chunks, of those that have been made.
        fn take_chunks(&mut self, most: u64) {
            let file = self.file.as_mut().expect("an output");
            let made = file.chunks_made().expect("chunks");
            for _ in 0..most {
                let waiting = file.waiting();
                let Some(chunk) = file.next_chunk(&mut self.helper, made) else {
                    return;
                };
                assert!((1..=64 * 1024).contains(&chunk.len()) && file.waiting() <= waiting);
                self.chunks.extend(chunk);
            }
        }
        /// Reads all and takes all chunks, a few at a time.
        fn end_chunks(mut self, keyspace: &mut Keyspace) -> Vec<u8> {
            let mut file = self.read_all(keyspace);
            file.finish(&mut self.helper);
            self.file = Some(file);
            loop {
                let file = self.file.as_ref().expect("an output");
                match file.ended_well() {
                    Some(well) => break assert!(well && file.waiting() == 0),
                    None => self.take_chunks(3),
                }
                std::thread::yield_now();
            }
            assert!(self.file.is_some_and(|file| file.result().is_ok()));
            self.chunks
        }
        /// Reads all; what is done with the file then is its taker's affair.
        fn read_all(&mut self, keyspace: &mut Keyspace) -> SnapshotOutput {
            while !keyspace.go_on_reading(&mut |_| false) {}
            self.take(keyspace);
            keyspace.end_reading();
            self.file.take().expect("a file")
        }
        fn take(&mut self, keyspace: &mut Keyspace) {
            let file = self.file.as_mut().expect("a file");
            keyspace.take_read(&mut |db, encoded| file.write(&mut self.helper, db, encoded));
        }
        fn end(mut self, keyspace: &mut Keyspace) -> Result<(), Failure> {
            let mut file = self.read_all(keyspace);
            file.finish(&mut self.helper);
            self.helper.drain();
            assert!(file.ended_well().is_some());
            assert_eq!(file.waiting(), 0);
            file.result()
        }
    }

    fn load(options: &SnapshotOptions) -> Keyspace {
        let mut keyspace = Keyspace::new(3, SEED);
        let config = Config::with_dir(Path::new("/"));
        let mut loading = Loading::open(
            &Disk::default(),
            &Jobs::Threads,
            &options.path,
            OnDuplicate::Fail,
        )
        .expect("opened")
        .expect("there");
        loading
            .step(&mut keyspace, config.settings(), NOW, &mut || false)
            .expect("loaded");
        keyspace
    }

    /// Changes fields of all hashes of a database, one of which has few that are long.
    fn change_fields(rng: &mut Rng, keyspace: &mut Keyspace, db: usize, key: &[u8]) {
        let limits = HashLimits {
            max_entries: 8,
            max_value: 64,
            seed: keyspace.hash_seed(),
        };
        let mut hashes = vec![key.to_vec()];
        keyspace.for_each(db, &mut |entry| {
            if entry.hash().is_ok() {
                hashes.push(entry.key().to_vec());
            }
        });
        for key in hashes {
            let mut db = keyspace.db(db, NOW, true);
            let (mut held, _) = db.entry(&key).or_insert(|_| {
                let mut hash = Hash::new();
                for number in 0..12 {
                    let (name, len) = (format!("f{number}").into_bytes(), 100 * number);
                    hash.set(&name, &vec![b'v'; len], false, &limits);
                }
                NewValue::Hash(Box::new(hash))
            });
            let Ok(hash) = held.hash_mut() else { continue };
            for _ in 0..rng.below(8) {
                let place = rng.index(hash.len().min(20));
                let found = hash.iter().nth(place).map(|pair| pair.field.to_vec());
                let Some(name) = found.filter(|_| hash.len() > 2) else {
                    break;
                };
                match rng.below(4) {
                    0 => drop(hash.remove(&name)),
                    1 => {
                        let at = 1_800_000_000_000 - rng.below(1000) as i64;
                        hash.set_expiry(&name, Some(at).filter(|_| rng.below(4) > 0));
                    }
                    2 => drop(hash.set(&[b'n', rng.below(50) as u8], b"new", false, &limits)),
                    _ => {
                        let value = vec![b'o'; rng.index(500)];
                        hash.set(&name, &value, rng.below(2) == 0, &limits);
                    }
                }
            }
            held.reindex_fields();
        }
    }

    /// What a test does to a keyspace while it is saved, and where that is saved.
    struct Scenario {
        values: BoxedStrategy<NewValue<'static>>,
        runner: TestRunner,
        rng: Rng,
        keyspace: Keyspace,
    }

    impl Scenario {
        fn new(seed: u64) -> Scenario {
            let mut it = Scenario {
                values: value().boxed(),
                runner: TestRunner::deterministic(),
                rng: Rng::new(seed),
                keyspace: Keyspace::new(3, SEED),
            };
            for _ in 0..it.rng.below(400) {
                it.change();
            }
            it
        }
        /// No field expires any more.
        fn keep_fields(&mut self) {
            for db in 0..self.keyspace.count() {
                let mut keys = Vec::new();
                let mut note = |entry: EntryRef<'_>| keys.push(entry.key().to_vec());
                self.keyspace.for_each(db, &mut note);
                for key in keys {
                    let mut db = self.keyspace.db(db, NOW, true);
                    let KeyEntry::Occupied(mut held) = db.entry(&key) else {
                        continue;
                    };
                    let Ok(hash) = held.hash_mut() else { continue };
                    if hash.earliest_expiry().is_none() {
                        continue;
                    }
                    let names: Vec<_> = hash.iter().map(|pair| pair.field.to_vec()).collect();
                    for name in names {
                        hash.set_expiry(&name, None);
                    }
                    held.reindex_fields();
                }
            }
        }
        fn change(&mut self) {
            let (rng, keyspace) = (&mut self.rng, &mut self.keyspace);
            let (db, key) = (rng.index(3), format!("key:{}", rng.below(200)));
            match rng.below(44) {
                0..30 => {
                    let tree = self.values.new_tree(&mut self.runner).expect("a value");
                    put(keyspace, db, key.as_bytes(), tree.current());
                }
                30 => {
                    let large = large(rng.index(6), keyspace);
                    put(keyspace, db, key.as_bytes(), large);
                }
                31 => {
                    let most = [100_000, 3_000_000][usize::from(rng.below(10) == 0)];
                    let text: Vec<u8> = (0..rng.below(most)).map(|it| (it % 251) as u8).collect();
                    put(keyspace, db, key.as_bytes(), NewValue::Blob(Arc::new(text)));
                }
                32 => {
                    if let KeyEntry::Occupied(mut held) =
                        keyspace.db(db, NOW, true).entry(key.as_bytes())
                    {
                        let _ = held.append(&[b'x'; 100]);
                    }
                }
                33 if rng.below(5) == 0 => drop(keyspace.flush(Some(db), Free::Now)),
                34..37 => change_fields(rng, keyspace, db, key.as_bytes()),
                _ => drop(
                    keyspace
                        .db(db, NOW, true)
                        .remove(key.as_bytes(), Free::Lazily),
                ),
            }
        }
        /// Saves while it changes, up to the last bit, which is the caller's.
        fn save(&mut self, options: &SnapshotOptions, to_loop: bool) -> Saving {
            // Small values become large ones when a part is a few elements or bytes.
            let part_size = PartSize {
                elements: [3, 512][self.rng.index(2)],
                bytes: [100, 128 * 1024][self.rng.index(2)],
            };
            let jobs = Jobs::Threads;
            let mut saving = Saving::begin_in_parts(&mut self.keyspace, options, &jobs, part_size);
            if to_loop {
                let file = saving.file.take().expect("a file");
                let output = SnapshotOutput::begin_chunks(options, file.sizes, NOW, None);
                saving.file = Some(output);
            }
            for _ in 0..self.rng.below(200) {
                self.change();
                let mut left = self.rng.below(4);
                self.keyspace.go_on_reading(&mut |_| {
                    left = left.saturating_sub(1);
                    left == 0
                });
                saving.take(&mut self.keyspace);
                if to_loop {
                    saving.take_chunks(1);
                }
            }
            saving
        }
    }

    /// Everything that is in the file is what was there at the beginning, whatever is done while it is written; and what comes
    /// back to the loop is that file.
    #[test]
    fn a_file_holds_what_was_there_at_the_beginning_and_chunks_hold_the_file() {
        for seed in 0..40 {
            let directory = tempfile::tempdir().expect("a directory");
            let mut options = options(&Disk::default(), directory.path(), seed % 2 == 0);
            options.checksum = seed % 5 != 0;
            let mut scenario = Scenario::new(seed);
            let expected = digest_of(&mut scenario.keyspace, NOW);
            let saving = scenario.save(&options, false);
            saving.end(&mut scenario.keyspace).expect("written");
            assert!(!options.path.with_file_name("temp-1.rdb").exists());
            assert_eq!(digest_of(&mut load(&options), NOW), expected, "seed {seed}");

            let mut scenario = Scenario::new(seed);
            let saving = scenario.save(&options, true);
            let chunks = saving.end_chunks(&mut scenario.keyspace);
            let file = std::fs::read(&options.path).expect("a file");
            assert!(chunks == file, "seed {seed}");
            assert_eq!(
                std::fs::read_dir(directory.path()).expect("there").count(),
                1
            );
        }
    }

    /// The version of a file and the types of its values.
    fn types_of(path: &Path) -> (Vec<u8>, BTreeSet<u8>) {
        let bytes = std::fs::read(path).expect("a file");
        let config = Config::with_dir(Path::new("/"));
        let loader = Loader {
            settings: config.settings(),
            seed: HashSeed(SEED),
        };
        let mut reader = FileReader::new(&bytes).expect("a file");
        let mut types = BTreeSet::new();
        loop {
            let at = reader.offset();
            match reader.next(&bytes, &loader, true).expect("a right file") {
                Part::End => break,
                Part::Entry { .. } if bytes[at] == op::EXPIRE_MS => types.insert(bytes[at + 9]),
                Part::Entry { .. } => types.insert(bytes[at]),
                _ => continue,
            };
        }
        (bytes[..9].to_vec(), types)
    }

    /// A Redis 7.0 refuses a file of a later version, and one with a type that it does not know. A hash whose fields are to
    /// expire is written as it was when none of them was.
    #[test]
    fn a_file_for_replicas_is_as_old_as_the_data_at_its_beginning_allow() {
        let (mut types, mut expire_since) = (BTreeSet::new(), 0);
        for seed in 0..16 {
            let directory = tempfile::tempdir().expect("a directory");
            let mut options = options(&Disk::default(), directory.path(), seed % 2 == 0);
            let mut scenario = Scenario::new(seed);
            let may_expire = seed % 8 == 7;
            if !may_expire {
                scenario.keep_fields();
            }
            // Few others are listpacks and have never had a field that expires.
            let (keyspace, mut hash) = (&mut scenario.keyspace, Hash::new());
            let limits = HashLimits {
                max_entries: 8,
                max_value: 64,
                seed: keyspace.hash_seed(),
            };
            hash.set(b"field", b"value", false, &limits);
            put(keyspace, 0, b"small", NewValue::Hash(Box::new(hash)));
            options.version = FileVersion::oldest_for(&scenario.keyspace);
            let is_v12 = scenario.keyspace.has_expiring_fields();
            assert!(may_expire || !is_v12);
            let expected = digest_of(&mut scenario.keyspace, NOW);
            let mut check = |how: &str| {
                let (head, written) = types_of(&options.path);
                if is_v12 {
                    assert_eq!(head, b"REDIS0012");
                } else {
                    assert_eq!(head, b"REDIS0010");
                    assert!(written.last() <= Some(&kind::STREAM), "{written:?}");
                    types.extend(written);
                }
                let loaded = digest_of(&mut load(&options), NOW);
                assert_eq!(loaded, expected, "{how}, seed {seed}");
            };
            snapshot::write(&scenario.keyspace, NOW, &options, &mut |_| {}).expect("written");
            check("at once");
            let saving = scenario.save(&options, false);
            expire_since += usize::from(scenario.keyspace.has_expiring_fields());
            saving.end(&mut scenario.keyspace).expect("written");
            check("while it changes");
        }
        let all = [
            kind::STRING,
            kind::SET,
            kind::HASH,
            kind::ZSET,
            kind::SET_INTSET,
            kind::HASH_LISTPACK,
            kind::ZSET_LISTPACK,
            kind::QUICKLIST,
            kind::STREAM,
        ];
        assert_eq!(types, all.into());
        assert!(expire_since > 8, "{expire_since}");
    }

    /// A replay takes the chunks that were made when it was recorded, though its helper has made none yet; and who gives up gets
    /// none.
    #[test]
    fn chunks_that_a_replay_has_not_made_are_waited_for() {
        let options = options(&Disk::default(), Path::new("/nowhere"), false);
        let mut taken = Vec::new();
        for replays in [false, true] {
            let mut helper = helper(&Jobs::Simulated(SimulatedJobs::new(1)));
            let mut output = SnapshotOutput::begin_chunks(&options, Vec::new(), NOW, None);
            let long: Vec<u8> = (0..5_000_000u32).map(|it| (it / 7) as u8).collect();
            let mut encoded = Encoded::default();
            let mut writer = Writer::deferring(&mut encoded, false);
            writer.shared_string(&Arc::new(long));
            output.write(&mut helper, 0, encoded);
            if !replays {
                helper.drain();
                let made = output.chunks_made().expect("chunks");
                assert!((16..20).contains(&made), "it rests: {made}");
            }
            let chunks: Vec<Vec<u8>> = (0..30)
                .map(|_| {
                    if !replays {
                        helper.drain();
                    }
                    output.next_chunk(&mut helper, 30).expect("a chunk")
                })
                .collect();
            assert!(output.next_chunk(&mut helper, 30).is_none());
            taken.push(chunks);
            let shared = Arc::clone(&output.shared);
            output.cancel(&mut helper);
            helper.drain();
            assert!(matches!(*shared.stage(), Stage::Failed(_)));
        }
        assert!(taken[0] == taken[1]);
    }

    /// Whatever call fails, the old file stays, and no other one.
    #[test]
    fn what_fails_leaves_the_old_file() {
        let calls = [
            (Call::Open, "temp-1.rdb"),
            (Call::Write, "temp-1.rdb"),
            (Call::Sync, "temp-1.rdb"),
            (Call::OpenFolder, ""),
            (Call::Rename, "temp-1.rdb"),
        ];
        for (call, name) in calls {
            let directory = tempfile::tempdir().expect("a directory");
            let plan = FaultPlan::default();
            let options = options(&Disk::with_faults(&plan), directory.path(), true);
            std::fs::write(&options.path, "the old one").expect("written");
            let mut keyspace = Keyspace::new(3, SEED);
            let hash = large(3, &keyspace);
            put(&mut keyspace, 0, b"a hash", hash);
            plan.fail(call, name, Fault::Error(libc::EIO));
            let saving = Saving::begin(&mut keyspace, &options, &Jobs::Threads);
            let error = saving.end(&mut keyspace).expect_err("it fails");
            assert_eq!(error.error.raw_os_error(), Some(libc::EIO), "{call:?}");
            let text = error.to_string();
            assert!(text.ends_with("temp-1.rdb: Input/output error"), "{text}");
            assert_eq!(
                std::fs::read(&options.path).expect("a file"),
                b"the old one"
            );
            let files = std::fs::read_dir(directory.path()).expect("a directory");
            assert_eq!(files.count(), 1, "{call:?}");
            assert!(!keyspace.is_reading());
        }
    }

    #[test]
    fn what_is_cancelled_gets_no_name() {
        for is_finished in [false, true] {
            let directory = tempfile::tempdir().expect("a directory");
            let options = options(&Disk::default(), directory.path(), true);
            let mut keyspace = Keyspace::new(3, SEED);
            put(&mut keyspace, 0, b"key", NewValue::Int(1));
            // What is given to the helper is not begun before it is waited for.
            let jobs = Jobs::Simulated(SimulatedJobs::new(1));
            let mut saving = Saving::begin(&mut keyspace, &options, &jobs);
            let mut file = saving.read_all(&mut keyspace);
            if is_finished {
                file.finish(&mut saving.helper);
            }
            file.cancel(&mut saving.helper);
            saving.helper.drain();
            let files = std::fs::read_dir(directory.path()).expect("a directory");
            assert_eq!(files.count(), 0);
        }
    }

    /// What somebody else was to give a name stayed on the disk, as large as the data, when it was given up after its end.
    #[test]
    fn what_is_given_up_when_it_is_whole_is_removed() {
        for is_given_up in [false, true] {
            let directory = tempfile::tempdir().expect("a directory");
            let options = options(&Disk::default(), directory.path(), true);
            let mut helper = helper(&Jobs::Simulated(SimulatedJobs::new(1)));
            let temporary = directory.path().join("temp.aof");
            let (format, sizes) = (Format::Rdb, Vec::new());
            let mut file =
                SnapshotOutput::begin_file(&options, format, temporary, false, sizes, NOW, None);
            file.finish(&mut helper);
            helper.drain();
            assert_eq!(file.ended_well(), Some(true));
            if is_given_up {
                file.cancel(&mut helper);
                helper.drain();
            }
            let files = std::fs::read_dir(directory.path()).expect("a directory");
            assert_eq!(files.count(), usize::from(!is_given_up));
        }
    }

    /// While a long string was written that is only lent, nothing that waited behind it counted: not even what took memory.
    #[test]
    fn what_is_written_of_a_lent_string_is_not_lent() {
        let options = options(&Disk::default(), Path::new("/"), true);
        let temporary = options.path.clone();
        let mut file = SnapshotOutput::begin_file(
            &options,
            Format::Rdb,
            temporary,
            true,
            Vec::new(),
            NOW,
            None,
        );
        let mut helper = helper(&Jobs::Simulated(SimulatedJobs::new(1)));
        file.before.clear();
        for (own, lent) in [(10, 1000), (500, 0), (10, 1000)] {
            let encoded = Encoded {
                bytes: vec![0; own],
                shared_bytes: lent,
                lent_bytes: lent,
                ..Encoded::default()
            };
            file.give_bytes(&mut helper, encoded);
        }
        for (waiting, memory) in [
            (2520, 520),
            (2510, 510),
            (1610, 510),
            (1510, 510),
            (1200, 200),
            (1010, 10),
            (400, 0),
            (0, 0),
        ] {
            assert_eq!(file.waiting_memory(waiting), memory, "{waiting}");
        }
    }

    /// What the helper puts together takes memory, though nobody waits for it.
    #[test]
    fn strings_that_are_put_together_count_until_they_are_written() {
        let options = options(&Disk::default(), Path::new("/nowhere"), true);
        let mut output = SnapshotOutput::begin_chunks(&options, Vec::new(), NOW, None);
        let mut helper = helper(&Jobs::Simulated(SimulatedJobs::new(1)));
        output.before.clear();
        for (here, partial) in [(100, 100), (100, 200), (50, 250), (250, 500), (7, 507)] {
            let part = Deferred::Part { here, whole: 250 };
            let encoded = Encoded {
                bytes: vec![0; here],
                strings: vec![(0, part)],
                ..Encoded::default()
            };
            output.give_bytes(&mut helper, encoded);
            assert_eq!(output.partial_bytes(), partial);
        }
        for (waiting, partial) in [(507, 507), (258, 507), (257, 257), (8, 257), (7, 7), (0, 7)] {
            output.waiting_memory(waiting);
            assert_eq!(output.partial_bytes(), partial, "{waiting}");
        }
    }

    /// The last snapshot of a server is newer than one that is being written, and may still fail.
    #[test]
    fn what_is_installed_instead_stays_and_what_fails_to_be_does_not_matter() {
        for is_installed in [false, true] {
            let directory = tempfile::tempdir().expect("a directory");
            let options = options(&Disk::default(), directory.path(), true);
            let mut keyspace = Keyspace::new(3, SEED);
            let jobs = Jobs::Simulated(SimulatedJobs::new(1));
            let mut saving = Saving::begin(&mut keyspace, &options, &jobs);
            let mut file = saving.read_all(&mut keyspace);
            file.finish(&mut saving.helper);
            let instead = file.install_instead(|| match is_installed {
                true => std::fs::write(&options.path, "newer"),
                false => Err(io::Error::other("no room")),
            });
            assert_eq!(instead.is_ok(), is_installed);
            saving.helper.drain();
            let text = std::fs::read(&options.path).expect("a file");
            assert_eq!(text == b"newer", is_installed);
            assert_eq!(file.result().is_ok(), !is_installed);
            let files = std::fs::read_dir(directory.path()).expect("a directory");
            assert_eq!(files.count(), 1);
        }
    }
}
