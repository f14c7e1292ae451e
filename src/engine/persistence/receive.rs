//! Taking in the snapshot of a primary: to a file and from there, or as it comes, in the place of the data or beside them.
//!
//! In: the bytes of the snapshot, from whoever has the link. Out: the data replaced, or the reason why not, once
//! ([`take_received`]). Which data are lost where it fails in the middle is up to [`ReceiveHow`].
//!
//! What always holds:
//! * Old data go only when there is something to put in their place: a file whose head is one, or the first bytes of the link.
//! * Nothing is saved while that happens: a background save is given up, and the append-only file is off from then on until the
//!   new data are there. Where they do not come it stays off, with what is in it, until they do or somebody says that they
//!   never will ([`end_waiting_of_append_only`]).
//! * While a script stands still nothing of what it sees changes: the bytes wait.
//! * What has expired is loaded: only the primary says that it is gone.
//!
//! Mirrors `readSyncBulkPayload` of Redis's replication.c, which holds the loop for most of it.

use super::loading::{self, Enough, Progress};
use super::{aof, kill_child};
use crate::engine::{Host, State, functions};
use crate::keyspace::{Free, Keyspace};
use crate::persistence::loading::{LoadFailure, Loading, OnDuplicate, Step};
use crate::persistence::rdb::SaveInfo;
use crate::persistence::rdb::file::FileReader;
use crate::persistence::read_stream::ReadStream;
use crate::persistence::receive::{self, FileEnd, Job, ReceivedFile};
use crate::persistence::status::{DataLoading, LoadSource};
use crate::scripting::functions::{Libraries, Library, Policy};
use crate::system::helper::{Helper, Jobs};
use std::io;
use std::time::Duration;

/// Bytes that may wait for the disk before no more are wanted.
const FILE_WAITING: usize = 4 * 1024 * 1024;
/// Bytes that may wait to be loaded before no more are wanted.
const STREAM_WAITING: usize = 1024 * 1024;

/// How a snapshot that comes over a link is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveHow {
    /// To a file first (`repl-diskless-load disabled`); then the data are emptied and the file loaded.
    Disk,
    /// The data are emptied first, then it is loaded as it comes (`flushdb`; `on-empty-db` where there are none).
    Flush,
    /// It is loaded as it comes beside the old data, which serve meanwhile, and put in their place when it is whole (`swapdb`
    /// where the old data are an earlier state of the same).
    Swap,
    /// The same, but clients are answered -LOADING meanwhile (`swapdb` where the old data are others).
    SwapUnserved,
}

/// What a snapshot that is loaded has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedInfo {
    /// The database that is selected where the stream goes on behind it; 0 where it does not say.
    pub stream_db: usize,
    /// Whose stream it is a state of, and which, if it says so.
    pub save_info: Option<SaveInfo>,
    /// Keys that were loaded.
    pub keys: u64,
}

/// What is received, and what came of the last time.
pub struct Receive {
    helper: Helper<Job>,
    current: Option<Box<Receiving>>,
    outcome: Option<Result<ReceivedInfo, String>>,
    /// Libraries that were thrown away while a script stood still, which the interpreter is still to forget.
    forgotten: Vec<Library>,
}

impl Default for Receive {
    fn default() -> Receive {
        Receive::new(&Jobs::default())
    }
}

impl Receive {
    /// Nothing is received. The jobs of the helper are done like this.
    pub fn new(jobs: &Jobs) -> Receive {
        Receive {
            helper: receive::helper(jobs),
            current: None,
            outcome: None,
            forgotten: Vec::new(),
        }
    }
    /// The process is about to end: a file that has not come whole is removed; but a disk that does not answer is not waited
    /// for.
    pub fn end(&mut self) {
        /// What is waited for is the removal of a file.
        const PATIENCE: Duration = Duration::from_secs(1);
        if let Some(receiving) = self.current.take()
            && let Input::File(file) = &receiving.input
        {
            file.give_up(&mut self.helper);
            self.helper.drain_for(PATIENCE);
        }
    }
}

/// A snapshot that is being received.
struct Receiving {
    how: ReceiveHow,
    len: Option<u64>,
    input: Input,
    phase: Phase,
    /// The first bytes, which say that it is a snapshot.
    head: Vec<u8>,
    /// All bytes have come.
    is_whole: bool,
    /// Bytes that the helper had written, as the seam says.
    written: u64,
    /// A file that is to be loaded when the old data are gone.
    opened: Option<Box<Loading>>,
}

enum Input {
    File(ReceivedFile),
    Stream(ReadStream),
}

enum Phase {
    /// The old data are as they were.
    Coming,
    /// The file is brought to the disk and gets its name.
    Installing,
    /// The old data are gone, and are freed; the number of the bell that says so.
    Emptying(u64),
    /// In the place of the data.
    Loading,
    /// Beside them.
    Aside(Box<Aside>),
}

/// Data beside those that serve.
struct Aside {
    keyspace: Keyspace,
    libraries: Libraries,
    loading: Loading,
}

impl Receiving {
    fn waiting(&self) -> usize {
        match &self.input {
            Input::File(file) => {
                usize::try_from(file.given().saturating_sub(self.written)).unwrap_or(usize::MAX)
            }
            Input::Stream(stream) => stream.waiting(),
        }
    }
    /// Whether the first bytes have come, and are those of a snapshot: before the data go for it, or the file takes the place of
    /// another one.
    fn has_head(&self) -> Result<bool, String> {
        if self.head.len() < FileReader::HEAD {
            return match self.is_whole {
                true => Err("Short read or OOM loading DB: the snapshot has no head".into()),
                false => Ok(false),
            };
        }
        FileReader::new(&self.head).map_err(|error| error.to_string())?;
        Ok(true)
    }
    fn has_room(&self) -> bool {
        let most = match &self.input {
            Input::File(_) => FILE_WAITING,
            Input::Stream(_) => STREAM_WAITING,
        };
        self.waiting() < most
    }
}

/// Begins to take in a snapshot, of so many bytes if that is known. One that is being received is given up. Nothing fails here
/// yet: a helper opens the file.
pub fn begin_receive(
    state: &mut State,
    host: &mut dyn Host,
    how: ReceiveHow,
    len: Option<u64>,
) -> io::Result<()> {
    abandon_receive(state, host);
    let waker = state.persistence.waker.clone();
    let settings = state.config.settings();
    let input = match how {
        ReceiveHow::Disk => {
            let (unix_s, pid) = (state.now.unix_s(), state.persistence.children.own_pid());
            let temporary = settings.dir.join(format!("temp-{unix_s}.{pid}.rdb"));
            let path = settings.dir.join(&settings.dbfilename);
            let disk = &state.persistence.disk;
            Input::File(ReceivedFile::new(disk, temporary, path, waker))
        }
        ReceiveHow::Flush | ReceiveHow::Swap | ReceiveHow::SwapUnserved => {
            let seed = state.keyspace.hash_seed();
            Input::Stream(ReadStream::new(settings, seed, waker))
        }
    };
    state.receive.current = Some(Box::new(Receiving {
        how,
        len,
        input,
        phase: Phase::Coming,
        head: Vec::new(),
        is_whole: false,
        written: 0,
        opened: None,
    }));
    Ok(())
}

/// Takes bytes of the snapshot, all of them; whether more are welcome now. Where not, [`receive_wants_more`] says when. An error
/// where nothing is received any more, because it has failed.
pub fn received(state: &mut State, _host: &mut dyn Host, bytes: &[u8]) -> Result<bool, String> {
    let receive = &mut state.receive;
    let Some(receiving) = receive.current.as_deref_mut().filter(|it| !it.is_whole) else {
        return Err(failure(state));
    };
    if !bytes.is_empty() {
        let missing = FileReader::HEAD.saturating_sub(receiving.head.len());
        let of_head = bytes.get(..missing.min(bytes.len()));
        receiving
            .head
            .extend_from_slice(of_head.unwrap_or_default());
        match &mut receiving.input {
            Input::File(file) => file.write(&mut receive.helper, bytes),
            Input::Stream(stream) => receive.helper.give(Job::Read(stream.piece(bytes, false))),
        }
    }
    Ok(receiving.has_room())
}

/// Why nothing is received any more.
fn failure(state: &mut State) -> String {
    match state.receive.outcome.take() {
        Some(Err(reason)) => reason,
        _ => "No snapshot is being received".into(),
    }
}

/// Whether more bytes are welcome.
pub fn receive_wants_more(state: &State) -> bool {
    let receiving = state.receive.current.as_deref();
    receiving.is_some_and(|it| !it.is_whole && it.has_room())
}

/// The snapshot is whole: it is loaded, or what is left of it. An error as that of [`received`].
pub fn received_all(state: &mut State, _host: &mut dyn Host) -> Result<(), String> {
    let receive = &mut state.receive;
    let Some(receiving) = receive.current.as_deref_mut().filter(|it| !it.is_whole) else {
        return Err(failure(state));
    };
    receiving.is_whole = true;
    if let Input::Stream(stream) = &receiving.input {
        receive.helper.give(Job::Read(stream.piece(b"", true)));
    }
    Ok(())
}

/// Gives up what is being received: the link is broken, or nobody wants it. A temporary file is removed. Where the data have been
/// emptied they stay empty, without the half of the new ones that is there; else they are as they were.
pub fn abandon_receive(state: &mut State, host: &mut dyn Host) {
    state.receive.outcome = None;
    if let Some(receiving) = state.receive.current.take() {
        throw_away(state, host, *receiving);
    }
}

/// How it came out, if it has and was not asked for yet.
pub fn take_received(state: &mut State) -> Option<Result<ReceivedInfo, String>> {
    state.receive.outcome.take()
}

/// Whether a snapshot is being received.
#[cfg(test)]
fn is_receiving(state: &State) -> bool {
    state.receive.current.is_some()
}

/// Whether all bytes of the snapshot have come.
pub(super) fn is_whole(state: &State) -> bool {
    let receiving = state.receive.current.as_deref();
    receiving.is_some_and(|it| it.is_whole)
}

/// The append-only file, which waits for a snapshot, is not to wait any more: the server is no replica now.
pub fn end_waiting_of_append_only(state: &mut State, host: &mut dyn Host) {
    if std::mem::take(&mut state.persistence.aof_waits_for_sync)
        && let Err(reason) = aof::follow_setting(state, host)
    {
        // The cron tries again.
        log::warn!("{reason}");
    }
}

/// How far others are: how the file has ended, the bytes of it that are written or the pieces that are read, and what is freed.
/// They decide what happens next and come from other threads: they pass the seam. None where there is nothing to do.
pub fn progress(state: &State) -> Option<[u64; 3]> {
    let receive = &state.receive;
    let freed = state.keyspace.rung();
    match receive.current.as_deref().map(|it| &it.input) {
        Some(Input::File(file)) => Some([FileEnd::number(file.end()), file.written(), freed]),
        Some(Input::Stream(stream)) => Some([0, stream.made(), freed]),
        None if receive.forgotten.is_empty() => None,
        None => Some([0, 0, freed]),
    }
}

/// Does what the [`progress`] of others makes possible; what is loaded in the place of the data is loaded by
/// [`loading::step`], what is loaded beside them here, until `enough` says so.
pub fn go_on(
    state: &mut State,
    host: &mut dyn Host,
    progress: [u64; 3],
    enough: Enough<'_>,
) -> Progress {
    let [end, done, freed] = progress;
    if let Some(receiving) = state.receive.current.as_deref_mut() {
        match &receiving.input {
            Input::File(_) => receiving.written = done,
            Input::Stream(stream) => stream.may_take(done),
        }
    }
    if state.scripting.is_busy() {
        // It sees the data, and the interpreter takes nothing in.
        return Progress::Done;
    }
    let forgotten = std::mem::take(&mut state.receive.forgotten);
    functions::forget(state, forgotten);
    let Some(mut receiving) = state.receive.current.take() else {
        return Progress::Done;
    };
    let end = FileEnd::from_number(end);
    let stepped = step(state, host, &mut receiving, end, freed, enough);
    match stepped {
        Ok(Progress::Done) => {}
        Ok(progress) => {
            state.receive.current = Some(receiving);
            return progress;
        }
        Err(reason) => fail(state, host, *receiving, reason),
    }
    Progress::Done
}

/// Whether a helper is at something that what is received waits for, so that the loop is not to sleep where nobody wakes it.
pub fn waits_for_helper(state: &State) -> bool {
    let receiving = state.receive.current.as_deref();
    receiving.is_some_and(|it| match (&it.input, &it.phase) {
        (_, Phase::Emptying(_)) | (Input::File(_), Phase::Installing) => true,
        (Input::File(file), _) => file.given() > it.written,
        (Input::Stream(stream), _) => stream.helper_is_busy(),
    })
}

/// The next steps, as far as they are possible. [`Progress::Done`]: it is over.
fn step(
    state: &mut State,
    host: &mut dyn Host,
    receiving: &mut Receiving,
    end: Option<FileEnd>,
    freed: u64,
    enough: Enough<'_>,
) -> Result<Progress, String> {
    if let (Some(FileEnd::Failed), Input::File(file)) = (end, &receiving.input) {
        // Where it is known from a recording, this one's helper may be behind.
        state.receive.helper.drain();
        return Err(file.failure());
    }
    if matches!(receiving.phase, Phase::Coming) && !receiving.has_head()? {
        return Ok(Progress::Waits);
    }
    match &receiving.phase {
        // One load after the other (DEBUG LOADAOF).
        Phase::Coming if state.persistence.is_loading() => return Ok(Progress::Waits),
        Phase::Coming => match (&receiving.input, receiving.how) {
            (Input::File(_), _) if !receiving.is_whole => return Ok(Progress::Waits),
            (Input::File(file), _) => {
                stop_saving(state, host);
                log::info!("MASTER <-> REPLICA sync: Loading DB in memory");
                file.install(&mut state.receive.helper);
                receiving.phase = Phase::Installing;
                begin_loading(state);
                return Ok(Progress::Waits);
            }
            (Input::Stream(stream), ReceiveHow::Swap | ReceiveHow::SwapUnserved) => {
                let stream = stream.clone();
                begin_beside(state, receiving, stream);
            }
            (Input::Stream(stream), _) => {
                stop_saving(state, host);
                log::info!("MASTER <-> REPLICA sync: Loading DB in memory");
                let loading = Loading::of_stream(stream.clone(), receiving.len);
                receiving.opened = Some(Box::new(loading));
                begin_loading(state);
                begin_emptying(state, receiving);
            }
        },
        Phase::Installing => {
            let (Some(FileEnd::Installed), Input::File(file)) = (end, &receiving.input) else {
                return Ok(Progress::Waits);
            };
            state.receive.helper.drain();
            let persistence = &state.persistence;
            let (disk, jobs) = (&persistence.disk, &persistence.jobs);
            // Before the old data go: what is no snapshot at all is found out here.
            let opened = Loading::open(disk, jobs, file.path(), OnDuplicate::Fail);
            let opened = opened.and_then(|opened| opened.ok_or_else(missing));
            receiving.opened = Some(Box::new(opened.map_err(|failure| text(&failure))?));
            begin_emptying(state, receiving);
        }
        Phase::Emptying(_) | Phase::Loading | Phase::Aside(_) => {}
    }
    if let Phase::Emptying(bell) = receiving.phase
        && bell <= freed
    {
        receiving.phase = Phase::Loading;
        let loading = receiving.opened.take();
        if let (Some(loading), Some(at_work)) = (loading, &mut state.persistence.loading) {
            at_work.source = LoadSource::Snapshot(loading);
        }
    }
    match &mut receiving.phase {
        Phase::Aside(aside) => {
            let progress = step_aside(state, host, aside, enough).map_err(|it| text(&it))?;
            if progress != Progress::Done {
                return Ok(progress);
            }
            if !receiving.is_whole {
                return Ok(Progress::Waits);
            }
        }
        _ => return Ok(Progress::Waits),
    }
    if let Phase::Aside(aside) = std::mem::replace(&mut receiving.phase, Phase::Loading) {
        put_in_place(state, host, *aside);
    }
    Ok(Progress::Done)
}

fn missing() -> LoadFailure {
    LoadFailure::Io(io::Error::from(io::ErrorKind::NotFound))
}

fn text(failure: &LoadFailure) -> String {
    format!("Internal error in RDB reading: {failure}")
}

/// From here on clients are answered -LOADING.
fn begin_loading(state: &mut State) {
    let now = state.now;
    state.persistence.loading = Some(Box::new(DataLoading {
        source: LoadSource::Coming,
        client: None,
        started_unix_s: now.unix_s(),
        started_ns: now.mono_ns,
        asked: None,
        received: true,
    }));
}

/// Nothing of the old data is written from here on.
fn stop_saving(state: &mut State, host: &mut dyn Host) {
    if state.persistence.is_saving() {
        log::info!(
            "Replica is about to load the RDB file received from the master, but there is a pending save running. Giving it \
             up to avoid any race"
        );
        kill_child(state, host);
    }
    state.persistence.scheduled = false;
    aof::stop_for_sync(state, host);
}

/// Removes all data and libraries; the bell that says when they are free.
fn empty(state: &mut State) -> u64 {
    let lazily = state.config.settings().replica_lazy_flush;
    // Who loads waits for what is not to be freed lazily, so that the old data and the new ones are not there together.
    let free = match state.keyspace.rings_when_freed() {
        _ if lazily => Free::Lazily,
        true => Free::Awaited,
        false => Free::Now,
    };
    state.keyspace.flush(None, free);
    functions::flush(state);
    let bell = match free {
        Free::Awaited => state.keyspace.ring_when_freed(),
        Free::Lazily | Free::Now => None,
    };
    bell.unwrap_or(0)
}

fn begin_emptying(state: &mut State, receiving: &mut Receiving) {
    log::info!("MASTER <-> REPLICA sync: Flushing old data");
    crate::engine::replication::replica::data_are_gone(state);
    receiving.phase = Phase::Emptying(empty(state));
}

/// Begins to load beside the data.
fn begin_beside(state: &mut State, receiving: &mut Receiving, stream: ReadStream) {
    log::info!("MASTER <-> REPLICA sync: Loading DB in memory");
    receiving.phase = Phase::Aside(Box::new(Aside {
        keyspace: state.keyspace.beside(),
        libraries: Libraries::default(),
        loading: Loading::of_stream(stream, receiving.len),
    }));
    match receiving.how {
        ReceiveHow::Swap => state.persistence.loads_aside = true,
        _ => begin_loading(state),
    }
}

/// Loads on beside the data.
fn step_aside(
    state: &mut State,
    host: &mut dyn Host,
    aside: &mut Aside,
    enough: Enough<'_>,
) -> Result<Progress, LoadFailure> {
    let mut now = state.now;
    now.keeps_expired = true;
    loop {
        let settings = state.config.settings();
        let step = aside
            .loading
            .step(&mut aside.keyspace, settings, now, &mut || enough(host))?;
        match step {
            Step::Done => return Ok(Progress::Done),
            Step::Rest => return Ok(Progress::More),
            Step::Wait => return Ok(Progress::Waits),
            Step::Library(code) => {
                let library = functions::run_code(state, host, &code, None);
                let added = library.and_then(|library| {
                    let handles: Vec<u64> = library.handles().collect();
                    let added = match aside.libraries.may_load(&library.name, false) {
                        Ok(()) => aside.libraries.add(library).map(|_| ()),
                        Err(reason) => Err(reason),
                    };
                    if added.is_err() {
                        functions::drop_handles(state, handles);
                    }
                    added
                });
                added.map_err(LoadFailure::Library)?;
            }
        }
    }
}

/// Puts data that were loaded aside in the place of those that are there.
fn put_in_place(state: &mut State, host: &mut dyn Host, aside: Aside) {
    stop_saving(state, host);
    log::info!("MASTER <-> REPLICA sync: Swapping active DB with loaded DB");
    // A role that changes before the link is told has to find no stream: the old ID and offset are not those of these data.
    crate::engine::replication::replica::data_are_gone(state);
    let now = state.now;
    state.keyspace.take_over(aside.keyspace, now);
    // Nothing can be in the way of those that replace all.
    if let Ok(old) = state
        .scripting
        .libraries
        .join(aside.libraries, Policy::Flush)
    {
        functions::forget(state, old);
    }
    log::info!("MASTER <-> REPLICA sync: Discarding old DB in background");
    state.persistence.loads_aside = false;
    state.persistence.loading = None;
    loading::note_snapshot(state, &aside.loading);
    end_well(state, host, ReceiveHow::Swap, &aside.loading);
}

/// What was loaded in the place of the data has come to its end.
pub fn loaded(
    state: &mut State,
    host: &mut dyn Host,
    load: &DataLoading,
    result: Result<(), LoadFailure>,
) {
    let Some(receiving) = state.receive.current.take() else {
        return;
    };
    match (result, &load.source) {
        (Ok(()), LoadSource::Snapshot(loading)) => {
            if let Input::File(file) = &receiving.input {
                remove_sync_file(state, file);
            }
            state.keyspace.tell_of_new_data();
            end_well(state, host, receiving.how, loading);
        }
        (Ok(()), _) => fail(state, host, *receiving, String::new()),
        (Err(failure), _) => fail(state, host, *receiving, text(&failure)),
    }
}

/// A server that keeps nothing on the disk shall have no file there only because it is a replica.
fn remove_sync_file(state: &mut State, file: &ReceivedFile) {
    let settings = state.config.settings();
    if settings.rdb_del_sync_files && settings.save.is_empty() && !settings.appendonly {
        log::info!(
            "Removing the RDB file obtained from the master. This replica has persistence disabled"
        );
        let path = file.path().to_owned();
        let disk = state.persistence.disk.clone();
        state.receive.helper.give(Job::Remove(disk, path));
    }
}

fn end_well(state: &mut State, host: &mut dyn Host, how: ReceiveHow, loading: &Loading) {
    match how {
        // What is in memory is in the file.
        ReceiveHow::Disk => state.keyspace.dirty = 0,
        ReceiveHow::Flush | ReceiveHow::Swap | ReceiveHow::SwapUnserved => {
            state.keyspace.dirty += 1
        }
    }
    state.receive.outcome = Some(Ok(ReceivedInfo {
        stream_db: loading.stream_db().unwrap_or(0),
        save_info: loading.save_info(),
        keys: loading.keys,
    }));
    if state.config.settings().appendonly {
        log::info!("MASTER <-> REPLICA sync: Starting AOF after a successful sync");
    }
    end_waiting_of_append_only(state, host);
}

/// Nothing came of it.
fn fail(state: &mut State, host: &mut dyn Host, receiving: Receiving, reason: String) {
    let told = match (&receiving.input, &receiving.phase) {
        (Input::File(_), Phase::Coming | Phase::Installing) => reason,
        (Input::File(file), _) => {
            log::warn!("{reason}");
            remove_sync_file(state, file);
            "Failed trying to load the MASTER synchronization DB from disk, check server logs."
                .into()
        }
        (Input::Stream(_), _) => {
            log::warn!("{reason}");
            "Failed trying to load the MASTER synchronization DB from socket, check server logs."
                .into()
        }
    };
    throw_away(state, host, receiving);
    state.receive.outcome = Some(Err(told));
}

/// Undoes what can be undone.
fn throw_away(state: &mut State, _host: &mut dyn Host, receiving: Receiving) {
    match &receiving.input {
        Input::File(file) => file.give_up(&mut state.receive.helper),
        Input::Stream(stream) => stream.give_up(),
    }
    state.persistence.loads_aside = false;
    if matches!(&receiving.input, Input::Stream(_)) && !receiving.is_whole {
        log::warn!("Internal error in RDB reading: the snapshot has ended before its end");
    }
    match receiving.phase {
        Phase::Coming => {}
        Phase::Installing => state.persistence.loading = None,
        Phase::Emptying(_) | Phase::Loading => {
            state.persistence.loading = None;
            empty(state);
        }
        Phase::Aside(aside) => {
            state.persistence.loading = None;
            log::info!("MASTER <-> REPLICA sync: Discarding temporary DB in background");
            state.keyspace.throw_away(aside.keyspace);
            let mut libraries = aside.libraries;
            state.receive.forgotten.extend(libraries.clear());
        }
    }
}

#[cfg(test)]
mod tests;
