//! Loading the data at the start of the server, a slice in each turn.
//!
//! In: the files that the directives name. Out: the data in the keyspace; or why the server cannot start. Commands of
//! the append-only file are run by [`crate::engine::call`] for a client without a socket, whose answers go nowhere.
//! Mirrors `loadDataFromDisk` of server.c and `loadAppendOnlyFiles` of aof.c.

use crate::clients::{Client, ClientKey, ClientKind, Identity, ReplyMode};
use crate::config::Settings;
use crate::engine::script::{go_on, wants_turns};
use crate::engine::{CommandError, Host, State, blocking, functions, process, transactions};
use crate::keyspace::Free;
use crate::persistence::aof::AppendOnly;
use crate::persistence::aof::load::{AofLoading, CommandFile, Next, Stage, next};
use crate::persistence::check::{Console, check_rdb};
use crate::persistence::loading::{LoadFailure, Loading, OnDuplicate, Removals, Step};
use crate::persistence::status::{Asked, DataLoading, LoadSource};
use crate::resp::{Args, Span};
use crate::system::disk::{Disk, Mode};
use crate::system::process::os_error_text;
use std::io;

/// Begins to load what there is: the append-only file when it is on, else the snapshot.
pub fn begin(state: &mut State) -> Result<(), LoadFailure> {
    super::forkless::remove_left_over(state);
    let settings = state.config.settings().clone();
    let now = state.now;
    let aof = &mut state.persistence.aof;
    aof.place(
        state.persistence.disk.clone(),
        settings.dir.join(&settings.appenddirname),
        &settings.appendfilename,
    );
    // Also where the file is off: whoever switches it on later must not give names anew that files there have.
    aof.read_manifest()
        .map_err(|error| LoadFailure::Aof(format!("FATAL AOF MANIFEST FILE ERROR. {error}")))?;
    aof.opens_at_start = settings.appendonly;
    let source = if settings.appendonly {
        let old = settings.dir.join(&settings.appendfilename);
        let file = |error| LoadFailure::File(old.clone(), error);
        // One file without a manifest is what Redis had before version 7: it becomes the base.
        if aof.wants_upgrade(&old).map_err(file)? {
            aof.upgrade(&old, now.unix_s()).map_err(file)?;
        }
        leave_out_what_follows_a_hole(aof, &settings, now.unix_s())?;
        let files = aof
            .manifest
            .files()
            .map(|file| (file.name.clone(), aof.path(&file.name)))
            .collect();
        let loading = AofLoading::new(&state.persistence.disk, files)?;
        // Empty files are those of a server that has written nothing: nothing is loaded, and no -LOADING answered.
        (loading.total_bytes > 0).then_some(LoadSource::Aof(loading))
    } else {
        let path = settings.dir.join(&settings.dbfilename);
        let persistence = &state.persistence;
        Loading::open(
            &persistence.disk,
            &persistence.jobs,
            &path,
            OnDuplicate::Fail,
        )?
        .map(|mut loading| {
            let keep = settings.repl_backlog_size;
            loading.removals = (!state.replication.is_replica()).then(|| Removals::new(keep));
            LoadSource::Snapshot(Box::new(loading))
        })
    };
    state.persistence.loading = source.map(|source| {
        Box::new(DataLoading {
            source,
            client: None,
            started_unix_s: now.unix_s(),
            started_ns: now.mono_ns,
            asked: None,
            received: false,
        })
    });
    Ok(())
}

/// A crash of the machine may have taken the end of a file that a rewrite had ended and whose sync was under way, while the
/// next one had come to the disk: that it loads would make data of it that never were. What it holds is as good as the
/// truncated end of the last file, and the same directive says whether it may go.
fn leave_out_what_follows_a_hole(
    aof: &mut AppendOnly,
    settings: &Settings,
    now_s: i64,
) -> Result<(), LoadFailure> {
    let unknown = |error: io::Error| {
        let reason = os_error_text(&error);
        LoadFailure::Aof(format!("Unable to tell whether the AOF is whole: {reason}"))
    };
    let Some(name) = aof.shortened().map_err(unknown)?.map(str::to_owned) else {
        return Ok(());
    };
    if !settings.aof_load_truncated {
        return Err(LoadFailure::Aof(format!(
            "The append only file {name} has lost its end, and others follow it. You can: 1) Make a backup of your AOF \
             files, then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the \
             'aof-load-truncated' configuration option to yes and restart the server."
        )));
    }
    log::warn!(
        "!!! Warning: the AOF file {name} has lost its end in a crash, before it was on the disk. What is in the files behind \
         it happened after what is lost, and is left out because aof-load-truncated is enabled !!!"
    );
    aof.leave_out_behind_shortened(now_s).map_err(|error| {
        let reason = os_error_text(&error);
        LoadFailure::Aof(format!("Writing the AOF manifest failed: {reason}"))
    })
}

/// Says why the data could not be loaded. For a snapshot that is wrong this goes over the whole file once more, as
/// `redis-check-rdb` does.
pub fn log_fatal(disk: &Disk, settings: &Settings, failure: &LoadFailure) {
    match failure {
        // Nothing behind it: operators and scripts look at the last line.
        LoadFailure::Aof(text) => log::error!("{text}"),
        LoadFailure::Io(error) => log::error!(
            "Fatal error loading the DB: {}. Exiting.",
            os_error_text(error)
        ),
        LoadFailure::File(path, error) => {
            let (path, reason) = (path.display(), os_error_text(error));
            log::error!("Fatal error: can't open the file {path} for reading: {reason}");
            log::error!("Fatal error loading the DB: {reason}. Exiting.");
        }
        LoadFailure::Format(..)
        | LoadFailure::Duplicate(..)
        | LoadFailure::Database(_)
        | LoadFailure::Library(_) => {
            log::error!("Internal error in RDB reading: {failure}");
            if let LoadFailure::Format(_, path) = failure {
                // It tells which key it was at, which helps whoever has to mend the file.
                let mut out = Vec::new();
                let mut console = Console {
                    disk,
                    out: &mut out,
                    input: &mut io::empty(),
                };
                let _ = check_rdb(&mut console, settings, path);
                for line in String::from_utf8_lossy(&out).lines() {
                    log::error!("{line}");
                }
            }
            log::error!("Terminating server after rdb file reading failure.");
        }
    }
}

/// Begins to load the append-only file anew, by what the manifest on the disk says, for a client that waits until it is
/// loaded (DEBUG LOADAOF): a slice in each turn, as at the start of the server, so that others read LOADING meanwhile.
/// What was there goes, unless there is nothing to load.
pub fn begin_again(state: &mut State, client: u64) -> Result<(), LoadFailure> {
    let loading = open_again(state, client)?;
    state.persistence.loading = Some(Box::new(loading));
    Ok(())
}

/// Loads the append-only file again (DEBUG LOADAOF) at once, for a client that cannot wait.
pub fn load_again(state: &mut State, host: &mut dyn Host, client: u64) -> Result<(), LoadFailure> {
    let mut loading = open_again(state, client)?;
    // As in the turns of a server that loads.
    state.persistence.load_steps = true;
    // To its end: within a transaction or a script there is nobody who could be answered later.
    let loaded = loop {
        match step(state, host, &mut loading, &mut |_| false) {
            Ok(Progress::More | Progress::Waits) => {}
            Ok(Progress::Done) => break Ok(()),
            Err(failure) => break Err(failure),
        }
        // Nothing but a script that has run for long stands in the way.
        while wants_turns(state) {
            go_on(state, host);
        }
    };
    state.persistence.load_steps = false;
    end_again(state, &mut loading);
    loaded
}

/// Puts back what [`begin_again`] has switched off; who asked for it.
pub fn end_again(state: &mut State, loading: &mut DataLoading) -> Option<Asked> {
    remove_client(state, loading);
    let asked = loading.asked.take()?;
    super::aof::set_journal(state, asked.journal);
    // What was loaded is on the disk.
    state.keyspace.dirty = 0;
    Some(asked)
}

fn open_again(state: &mut State, client: u64) -> Result<DataLoading, LoadFailure> {
    let keeps_history = state.config.settings().aof_disable_auto_gc;
    // A save that is under way writes to where the files were when it began.
    if !state.persistence.is_saving() {
        super::aof::follow_directory(state).map_err(LoadFailure::Aof)?;
    }
    let aof = &mut state.persistence.aof;
    let before = aof.manifest.clone();
    aof.read_manifest()
        .map_err(|error| LoadFailure::Aof(format!("FATAL AOF MANIFEST FILE ERROR. {error}")))?;
    if aof.manifest.files().next().is_none() {
        // Found out before anything goes: the data stay, and so does what is known of the files.
        aof.manifest = before;
        return Err(LoadFailure::Aof("There is no append-only file".to_owned()));
    }
    if !keeps_history {
        aof.remove_history(state.now.unix_s());
    }
    let files = aof
        .manifest
        .files()
        .map(|file| (file.name.clone(), aof.path(&file.name)))
        .collect();
    let loading = DataLoading {
        source: LoadSource::Aof(AofLoading::new(&state.persistence.disk, files)?),
        client: None,
        started_unix_s: state.now.unix_s(),
        started_ns: state.now.mono_ns,
        asked: Some(Asked {
            client,
            journal: state.journal.has_consumers(),
        }),
        received: false,
    };
    // Only now: what fails above has taken nothing.
    state.keyspace.flush(None, Free::Now);
    functions::flush(state);
    // What is loaded is in the file. That stays on: clients wait for its sync.
    super::aof::set_journal(state, false);
    Ok(loading)
}

/// Says after each item whether loading is to stop for now; it may look at the clock.
pub type Enough<'a> = &'a mut dyn FnMut(&mut dyn Host) -> bool;

/// How far a load has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All is loaded.
    Done,
    /// There is more.
    More,
    /// There is more, which has not come yet, or which a helper is at.
    Waits,
}

/// Loads on until `enough` says so, or until a script of the append-only file has run for too long and stands: nothing is
/// to be loaded before it has ended.
pub fn step(
    state: &mut State,
    host: &mut dyn Host,
    loading: &mut DataLoading,
    enough: Enough<'_>,
) -> Result<Progress, LoadFailure> {
    let done = match &mut loading.source {
        LoadSource::Coming => return Ok(Progress::Waits),
        LoadSource::Snapshot(snapshot) => {
            // What has expired is the primary's to remove, also from the file that a replica begins with.
            state.now.keeps_expired = loading.received || state.replication.is_replica();
            let stepped = step_snapshot(state, host, snapshot, enough);
            state.now.keeps_expired = false;
            let progress = stepped?;
            // What comes over a link may go on behind its end, which is then no good one.
            let is_end = progress == Progress::Done
                && (!loading.received || super::receive::is_whole(state));
            if is_end {
                note_snapshot(state, snapshot);
                if !loading.received {
                    state.persistence.loaded_info = snapshot.save_info();
                    state.persistence.loaded_removals = snapshot.removals.take();
                }
            }
            return Ok(match progress {
                Progress::Done if !is_end => Progress::Waits,
                progress => progress,
            });
        }
        LoadSource::Aof(aof) => {
            let client = *loading.client.get_or_insert_with(|| add_client(state));
            // What has expired since was there when the commands ran.
            state.now.keeps_expired = true;
            let stepped = step_aof(state, host, client, aof, enough);
            state.now.keeps_expired = false;
            stepped?
        }
    };
    if !done {
        return Ok(Progress::More);
    }
    // It was there for commands only, and would be counted and shown.
    remove_client(state, loading);
    Ok(Progress::Done)
}

/// Loads a snapshot on, and the libraries of functions in it as they come.
pub(crate) fn step_snapshot(
    state: &mut State,
    host: &mut dyn Host,
    loading: &mut Loading,
    enough: Enough<'_>,
) -> Result<Progress, LoadFailure> {
    // It stops by itself for a library, whose code only the engine can run.
    loop {
        let settings = state.config.settings();
        let step = loading.step(&mut state.keyspace, settings, state.now, &mut || {
            enough(host)
        })?;
        match step {
            Step::Done => return Ok(Progress::Done),
            Step::Rest => return Ok(Progress::More),
            Step::Wait => return Ok(Progress::Waits),
            Step::Library(code) => {
                let replace = loading.replaces();
                // What comes over a link was within its limit elsewhere, which nobody here has seen.
                let is_replica = state.replication.is_replica();
                let limit_ms = is_replica.then_some(functions::FOREIGN_LIMIT_MS);
                functions::load(state, host, &code, replace, limit_ms)
                    .map_err(LoadFailure::Library)?;
            }
        }
    }
}

pub(super) fn note_snapshot(state: &mut State, loading: &Loading) {
    let (keys, expired, empty) = (loading.keys, loading.expired, loading.empty);
    if empty > 0 {
        log::warn!(
            "Done loading RDB, keys loaded: {keys}, keys expired: {expired}, empty keys skipped: {empty}."
        );
    } else {
        log::info!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}.");
    }
    state.persistence.loaded_keys = loading.keys;
    state.persistence.expired_keys = loading.expired;
}

fn add_client(state: &mut State) -> ClientKey {
    let identity = Identity::superuser(&state.users);
    let mut client = Client::without_socket(ClientKind::Internal, identity);
    // Nobody reads what it is answered.
    client.session.reply_mode = ReplyMode::Off;
    state.clients.insert(client)
}

/// Removes the client that ran the commands. Nothing holds its key: it has no socket, and its commands never wait.
fn remove_client(state: &mut State, loading: &mut DataLoading) {
    if let Some(key) = loading.client.take() {
        // The last file may end within MULTI.
        transactions::discard(state, key);
        blocking::end(state, key);
        state.clients.unblocked.retain(|other| *other != key);
        state.clients.remove(key);
    }
}

fn step_aof(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    aof: &mut AofLoading,
    enough: Enough<'_>,
) -> Result<bool, LoadFailure> {
    loop {
        match &mut aof.stage {
            None => {
                // A file at a time, in the order of the manifest: the base, then what was added to it.
                aof.file_started_ns = host.monotonic_ns();
                let (disk, jobs) = (&state.persistence.disk, &state.persistence.jobs);
                let opened = aof.open_next(disk, |path| {
                    log::info!("Reading RDB base file on AOF loading...");
                    let missing = || {
                        let error = io::Error::from_raw_os_error(libc::ENOENT);
                        LoadFailure::File(path.to_owned(), error)
                    };
                    Loading::open(disk, jobs, path, OnDuplicate::Fail)?.ok_or_else(missing)
                })?;
                if !opened {
                    return Ok(true);
                }
            }
            Some(Stage::Snapshot(loading, ..)) => {
                if step_snapshot(state, host, loading, enough)? != Progress::Done {
                    return Ok(false);
                }
                note_snapshot(state, loading);
                aof.after_snapshot(&state.persistence.disk)?;
            }
            Some(Stage::Commands(_)) => {
                if !run_commands(state, host, client, aof, enough)? {
                    return Ok(false);
                }
            }
        }
    }
}

/// Bytes of a tail that is cut off which the log shows.
const TAIL_SHOWN: usize = 64;

/// Whether what follows the last whole command, or transaction, is so little that the operator allows to lose it.
fn tail_may_go(state: &State, file: &CommandFile, in_multi: bool) -> bool {
    let valid = match in_multi {
        true => file.valid_before_multi,
        false => file.valid,
    };
    let tail = file.bytes.len().saturating_sub(valid) as u64;
    tail <= state.config.settings().aof_load_corrupt_tail_bytes
}

/// Runs commands of the file at work; whether it is done.
fn run_commands(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    aof: &mut AofLoading,
    enough: Enough<'_>,
) -> Result<bool, LoadFailure> {
    let is_last = aof.is_last();
    let Some(Stage::Commands(file)) = &mut aof.stage else {
        return Ok(true);
    };
    let mut spans: Vec<Span> = Vec::new();
    let in_multi = |state: &State| {
        let client = state.clients.get(client);
        client.is_some_and(|client| client.session.in_multi())
    };
    let wrong = |text: String| Err(LoadFailure::Aof(text));
    loop {
        let found = next(&file.bytes, file.at, &mut spans);
        // What could not be read is not what the file ends with: it must not be cut off.
        match found {
            Next::Command { .. } => file.bytes.check(),
            Next::End | Next::Truncated | Next::Malformed => file.bytes.verify(),
        }
        .map_err(|error| LoadFailure::File(file.path.clone(), error))?;
        match found {
            Next::Command { start, end } => {
                let bytes = file.bytes.get(start..end).unwrap_or_default();
                let args = Args::new(bytes, &spans, &[]);
                if args.at(0).eq_ignore_ascii_case(b"multi") {
                    // Should the file end before its EXEC, it is cut off here: half a transaction is none.
                    file.valid_before_multi = file.valid;
                }
                if let Err(reason) = process::run_trusted(state, host, client, args) {
                    return wrong(format!(
                        "{reason} reading the append only file {}",
                        file.name
                    ));
                }
                crate::persistence::snapshot::delay(state.config.settings().key_load_delay_us);
                file.at = end;
                // What the file holds up to here may stay whatever follows.
                if !in_multi(state) {
                    file.valid = end;
                }
            }
            Next::End if !in_multi(state) => break,
            Next::End | Next::Truncated => {
                if in_multi(state) {
                    log::warn!(
                        "Revert incomplete MULTI/EXEC transaction in AOF file {}",
                        file.name
                    );
                    file.valid = file.valid_before_multi;
                    transactions::discard(state, client);
                }
                let name = &file.name;
                // A crash in the middle of a write leaves such an end. Whether that is taken for one is the operator's
                // to say.
                if !state.config.settings().aof_load_truncated {
                    return wrong(format!(
                        "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your \
                         AOF file, then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set \
                         the 'aof-load-truncated' configuration option to yes and restart the server."
                    ));
                }
                if !is_last {
                    // A crash can only have cut the last one: it alone was written to, and those behind one that was not
                    // synced yet are left out.
                    return wrong(
                        "Fatal error: the truncated file is not the last file".to_owned(),
                    );
                }
                let valid = file.valid as u64;
                log::warn!("!!! Warning: short read while loading the AOF file {name}!!!");
                log::warn!("!!! Truncating the AOF {name} at offset {valid} !!!");
                let disk = &state.persistence.disk;
                // Cut off before anything is appended, which would stand behind half a command.
                let cut = disk
                    .open(&file.path, Mode::Change)
                    .and_then(|file| file.set_len(valid));
                if let Err(error) = cut {
                    return wrong(format!("Error truncating the AOF file {name}: {error}"));
                }
                log::warn!("AOF {name} loaded anyway because aof-load-truncated is enabled");
                break;
            }
            Next::Malformed if is_last && tail_may_go(state, file, in_multi(state)) => {
                if in_multi(state) {
                    file.valid = file.valid_before_multi;
                    transactions::discard(state, client);
                }
                let (name, valid) = (&file.name, file.valid);
                let tail = file.bytes.get(valid..).unwrap_or_default();
                let begin = tail.get(..TAIL_SHOWN).unwrap_or(tail).escape_ascii();
                log::warn!(
                    "!!! Warning: the last {} bytes of the AOF file {name} are no commands. They begin with: {begin}",
                    tail.len()
                );
                log::warn!("!!! Truncating the AOF {name} at offset {valid} !!!");
                let disk = &state.persistence.disk;
                let cut = disk
                    .open(&file.path, Mode::Change)
                    .and_then(|file| file.set_len(valid as u64));
                if let Err(error) = cut {
                    return wrong(format!("Error truncating the AOF file {name}: {error}"));
                }
                log::warn!(
                    "AOF {name} loaded anyway because aof-load-corrupt-tail-max-size allows for it"
                );
                break;
            }
            Next::Malformed => {
                return wrong(format!(
                    "Bad file format reading the append only file {}: make a backup of your AOF file, then use \
                     ./redis-check-aof --fix <filename.manifest>",
                    file.name
                ));
            }
        }
        // A script that stands still has to end first: what follows was done after it.
        if wants_turns(state) || enough(host) {
            return Ok(false);
        }
    }
    let kind = if file.name.contains(".incr.") {
        "incr"
    } else {
        "base"
    };
    let seconds = host.monotonic_ns().saturating_sub(aof.file_started_ns) as f64 / 1_000_000_000.0;
    log::info!(
        "DB loaded from {kind} file {}: {seconds:.3} seconds",
        file.name
    );
    aof.done_bytes = aof.done_bytes.saturating_add(file.bytes.len() as u64);
    aof.stage = None;
    Ok(true)
}

/// The error that a client reads whose DEBUG LOADAOF has failed; the reason goes to the log.
pub(crate) fn aof_failure(failure: &LoadFailure) -> CommandError {
    log::warn!("Loading the append-only file failed: {failure}");
    CommandError::fixed("ERR Error trying to load the AOF files, check server logs.")
}

/// Answers the client whose DEBUG LOADAOF has come to its end.
pub fn aof_loaded(state: &mut State, asked: Asked, took_ns: u64, failure: Option<&LoadFailure>) {
    let error = failure.map(aof_failure);
    if error.is_none() {
        log::warn!("Append Only File loaded by DEBUG LOADAOF");
    }
    if let Some(key) = state.clients.by_id(asked.client) {
        blocking::give_up(state, key, took_ns, error.as_ref());
    }
}
