//! Saving: what starts and ends a snapshot, written here or by a child; and what loads one again (DEBUG RELOAD).
//!
//! In: the wish for a snapshot, from a command, a save point or a shutdown. Out: a file, written here or by a forked
//! child whose pipe is a source of the loop. Mirrors `saveCommand`, `rdbSaveBackground` and `checkChildrenDone` of Redis.

pub mod aof;
pub mod forkless;
pub mod loading;
pub mod receive;

use crate::engine::{CommandError, Host, State, functions};
use crate::journal::Targets;
use crate::observe::LatencyEvent;
use crate::persistence::loading::{LoadFailure, Loading, OnDuplicate};
use crate::persistence::rdb::{FileVersion, SaveInfo};
use crate::persistence::snapshot::{self, SnapshotOptions, UsageKind};
use crate::persistence::status::{ChildKind, SavingChild, report};
use crate::system::child::{ChildEnd, Exit};
use crate::system::signals::set_temporary_file;
use std::io;

/// A save point that failed is tried again after so many seconds.
const RETRY_S: i64 = 5;

/// Who is to load a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavedFor {
    /// This server: it is written as Redis 8.0 does.
    Ourselves,
    /// Replicas, which do not say what they can read: it is as old as the data at its beginning allow. A field of a hash that
    /// is to expire after that is in the stream alone.
    Replicas,
}

/// How a snapshot is written that begins now.
fn options(state: &State, host: &mut dyn Host, saved_for: SavedFor) -> SnapshotOptions {
    let settings = state.config.settings();
    let policy = settings.maxmemory_policy;
    SnapshotOptions {
        disk: state.persistence.disk.clone(),
        path: settings.dir.join(&settings.dbfilename),
        version: match saved_for {
            SavedFor::Ourselves => FileVersion::V12,
            SavedFor::Replicas => FileVersion::oldest_for(&state.keyspace),
        },
        pid: state.persistence.children.own_pid(),
        compress: settings.rdb_compression,
        checksum: settings.rdb_checksum,
        usage: match () {
            () if policy.is_lfu() => UsageKind::Frequency,
            () if policy.is_lru() => UsageKind::Idle,
            () => UsageKind::None,
        },
        used_memory: host.used_memory(),
        key_delay_us: settings.rdb_key_save_delay_us,
        steady: settings.rdb_save_incremental_fsync,
        is_aof_base: false,
        libraries: state.scripting.libraries.codes(),
        save_info: save_info(state),
    }
}

/// Which state of the server's stream the data are, for the files that are written now; none: nobody could go on from there.
fn save_info(state: &State) -> Option<SaveInfo> {
    // In the middle of a transaction there are effects in the data that the stream does not have yet: whoever went on from
    // here would have them twice, or never.
    if state.journal.is_in_unit() {
        return None;
    }
    let replication = &state.replication;
    let stream_db = match &replication.link {
        Some(link) => match link.client() {
            Some(key) => state.clients.get(key)?.session.db,
            None => link.continuation.as_ref()?.db,
        },
        None => {
            replication.stream.as_ref()?;
            state.journal.selected(Targets::REPLICAS).unwrap_or(0)
        }
    };
    Some(SaveInfo {
        stream_db,
        replication_id: replication.id.clone(),
        offset: state.journal.offset(),
    })
}

/// Writes a snapshot here and now; whether it went well (else the log says why). O(N).
pub fn save_now(state: &mut State, host: &mut dyn Host) -> bool {
    let options = options(state, host, SavedFor::Ourselves);
    save_with(state, &options)
}

fn save_with(state: &mut State, options: &SnapshotOptions) -> bool {
    let written = snapshot::write(&state.keyspace, state.now, options, &mut |_| {});
    saved(state, options, written)
}

/// Writes the last snapshot, at the end of the server; whether it went well. A background save must not put its older
/// snapshot in the place of this one, so it stands still while this one gets its name, and is given up when that is done.
/// Where it cannot be done, or the disk is known not to answer, the server goes on, and so does the save.
pub fn save_at_end(state: &mut State, host: &mut dyn Host) -> bool {
    let options = options(state, host, SavedFor::Ourselves);
    if state.persistence.disk_is_stalled() {
        // The loop would wait for it, and the server neither serve nor end.
        let error = io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer");
        return saved(state, &options, Err(error));
    }
    let written = snapshot::write_temporary(&state.keyspace, state.now, &options, &mut |_| {});
    let persistence = &state.persistence;
    let child = persistence.child.as_ref();
    let child = child.filter(|child| child.kind == ChildKind::Snapshot);
    let installed = written.and_then(|()| match (child, &persistence.forkless) {
        (Some(saving), _) => {
            saving.child.stop();
            let installed = snapshot::install(&options);
            if installed.is_err() {
                saving.child.go_on();
            }
            installed
        }
        (None, Some(saving)) => saving
            .output
            .install_instead(|| snapshot::install(&options)),
        (None, None) => snapshot::install(&options),
    });
    if installed.is_ok() && persistence.saving() == Some(ChildKind::Snapshot) {
        kill_child(state, host);
    }
    // From the rename on the new file is the one that there is, whatever becomes of the folder's sync.
    saved(state, &options, installed.and_then(|folder| folder.sync()))
}

fn saved(state: &mut State, options: &SnapshotOptions, written: io::Result<()>) -> bool {
    if let Err(error) = written {
        log::warn!(
            "Error saving the snapshot to {}: {error}",
            options.path.display()
        );
        return false;
    }
    log::info!("DB saved on disk");
    state.keyspace.dirty = 0;
    state.persistence.saved(state.now.unix_s());
    true
}

/// Begins to write a snapshot, by a child or in the loop; whether it could be begun (else the log says why).
pub fn start_background(state: &mut State, host: &mut dyn Host, saved_for: SavedFor) -> bool {
    state.persistence.scheduled = false;
    // Also if it cannot be started: the next attempt rests from here.
    state.persistence.last_try_unix_s = state.now.unix_s();
    if state.config.settings().bgsave_forkless {
        forkless::start(state, host, ChildKind::Snapshot, saved_for);
        log::info!("Background saving started by the loop");
        return true;
    }
    let started = start_child(
        state,
        host,
        ChildKind::Snapshot,
        saved_for,
        |state, options, progress| {
            snapshot::write(&state.keyspace, state.now, &options, progress)?;
            log::info!("DB saved on disk");
            Ok(())
        },
    );
    match started {
        Ok(pid) => {
            log::info!("Background saving started by pid {pid}");
            true
        }
        Err(error) => {
            state.persistence.last_status_ok = false;
            log::warn!("Can't save in background: fork: {error}");
            false
        }
    }
}

/// What a child does: writes the data like this, and tells the number of keys written.
type Work = fn(&State, SnapshotOptions, &mut dyn FnMut(u64)) -> io::Result<()>;

/// Starts a child that does `work`; its process number. The host stays with the parent: the child has none of its
/// descriptors.
fn start_child(
    state: &mut State,
    host: &mut dyn Host,
    kind: ChildKind,
    saved_for: SavedFor,
    work: Work,
) -> io::Result<i32> {
    let keys_total = (0..state.keyspace.count())
        .map(|index| state.keyspace.figures(index).0 as u64)
        .sum();
    // Taken before: the child asks nothing of the host.
    let options = options(state, host, saved_for);
    let begin_ns = host.monotonic_ns();
    let children = &state.persistence.children;
    let (child, pipe) = children.start(|end| work_as_child(state, kind, end, options, work))?;
    let token = match host.adopt_pipe(pipe) {
        Ok(token) => token,
        Err(error) => {
            // Nobody would hear of its end.
            child.kill();
            child.wait();
            remove_temporary(state, kind, child.pid());
            return Err(error);
        }
    };
    state.persistence.forks += 1;
    let fork_ns = host.monotonic_ns().saturating_sub(begin_ns);
    state.persistence.fork_us = fork_ns / 1000;
    let unix_s = state.now.unix_s();
    state
        .observe
        .latency
        .took(LatencyEvent::Fork, fork_ns, unix_s);
    let pid = child.pid();
    state.persistence.child = Some(SavingChild {
        kind,
        child,
        token,
        started_unix_s: state.now.unix_s(),
        started_ns: state.now.mono_ns,
        // What was changed before is in the snapshot; what comes from here on is not.
        dirty: state.keyspace.dirty,
        keys_total,
        keys_done: 0,
        copied_bytes: 0,
        reported_ns: state.now.mono_ns,
        unread: Vec::new(),
        killed: false,
    });
    Ok(pid)
}

/// Does the work of a child, in the child; its status.
fn work_as_child(
    state: &State,
    kind: ChildKind,
    end: &mut ChildEnd<'_>,
    mut options: SnapshotOptions,
    work: Work,
) -> i32 {
    let (title, name) = match kind {
        ChildKind::Snapshot => ("redis-rdb-bgsave", "RDB"),
        ChildKind::Rewrite => ("redis-aof-rewrite", "AOF rewrite"),
    };
    // Temporary files have the number of the process that writes them.
    (options.pid, options.disk) = (end.pid(), end.disk(&options.disk));
    if end.is_process() {
        // In a simulation it is no process of its own: these would be done to the tests'.
        crate::system::process::set_title(title.as_bytes());
        let settings = state.config.settings();
        let [.., for_child] = settings.oom_score_adj_values;
        // Why it could not be set was logged, and is no reason not to save.
        let _ = crate::system::oom_score::adjust(settings.oom_score_adj, for_child);
        if kind == ChildKind::Rewrite {
            // Should a signal end it, its handler removes this. (The name of a snapshot it knows by itself.)
            set_temporary_file(&state.persistence.aof.temporary_base(options.pid));
        }
    }
    let mut done = 0;
    let written = work(state, options, &mut |keys| {
        done = keys;
        if end.may_report() {
            let copied = end.copied_bytes();
            end.report(&report(keys, copied));
        }
    });
    let copied = end.copied_bytes();
    end.report(&report(done, copied));
    log::info!("Fork CoW for {name}: current {} MB", copied >> 20);
    if let Err(error) = written {
        log::warn!("Error saving the data for {name}: {error}");
        return 1;
    }
    0
}

/// Removes the file that a child was writing when it was ended.
fn remove_temporary(state: &mut State, kind: ChildKind, pid: i32) {
    let path = match kind {
        ChildKind::Snapshot => {
            let directory = &state.config.settings().dir;
            directory.join(format!("temp-{pid}.rdb"))
        }
        ChildKind::Rewrite => state.persistence.aof.temporary_base(pid),
    };
    state.persistence.aof.remove(&path);
}

/// A background save with `dirty` changes has ended well.
fn saved_in_background(state: &mut State, dirty: u64) {
    log::info!("Background saving terminated with success");
    // Changes since its beginning are still to be saved.
    state.keyspace.dirty = state.keyspace.dirty.saturating_sub(dirty);
    state.persistence.saved(state.now.unix_s());
}

/// Takes the end of the child at work.
pub fn child_ended(state: &mut State, exit: Exit) {
    let Some(child) = state.persistence.child.take() else {
        return;
    };
    let persistence = &mut state.persistence;
    persistence.peak_copied_bytes = persistence.peak_copied_bytes.max(child.copied_bytes);
    let duration_s = state.now.unix_s().saturating_sub(child.started_unix_s);
    if child.kind == ChildKind::Rewrite {
        persistence.rewrite.last_copied_bytes = child.copied_bytes;
        persistence.rewrite.last_duration_s = duration_s;
        aof::rewrite_ended(state, child.child.pid(), exit, child.killed);
        return;
    }
    persistence.last_copied_bytes = child.copied_bytes;
    persistence.last_duration_s = duration_s;
    persistence.last_was_forkless = false;
    super::replication::primary::file_ended(state, exit == Exit::Status(0));
    let persistence = &mut state.persistence;
    match exit {
        Exit::Status(0) => saved_in_background(state, child.dirty),
        Exit::Status(_) => {
            log::warn!("Background saving error");
            persistence.last_status_ok = false;
        }
        Exit::Signal(signal) => {
            log::warn!("Background saving terminated by signal {signal}");
            // One that we ended ourselves is no failure.
            persistence.last_status_ok &= child.killed;
            let stopwatch = persistence.stopwatch;
            let begin_ns = stopwatch.now_ns();
            remove_temporary(state, child.kind, child.child.pid());
            let ns = stopwatch.since_ns(begin_ns);
            let (event, unix_s) = (LatencyEvent::RdbUnlinkTempFile, state.now.unix_s());
            state.observe.latency.took(event, ns, unix_s);
        }
    }
}

/// Gives up what is being saved in the background, if there is something; a child's end is waited for.
pub fn kill_child(state: &mut State, host: &mut dyn Host) {
    forkless::cancel(state);
    let Some(child) = &mut state.persistence.child else {
        return;
    };
    match child.kind {
        ChildKind::Snapshot => log::warn!("There is a child saving an .rdb. Killing it!"),
        ChildKind::Rewrite => {
            log::info!("Killing running AOF rewrite child: {}", child.child.pid());
        }
    }
    // Before it is killed: its end is told apart from one that others have brought about.
    child.killed = true;
    child.child.kill();
    let exit = host.wait_for_child(&child.child);
    host.close_source(child.token);
    child_ended(state, exit);
}

/// Gives up a snapshot for BGSAVE CANCEL.
pub fn cancel_snapshot(state: &mut State, host: &mut dyn Host) {
    log::info!("Background saving will be aborted due to user request");
    kill_child(state, host);
}

/// All data is gone: so is the reason of a snapshot that is being written, and where save points ask for snapshots the file
/// is to be empty too, before anyone is told. In the middle of a transaction or a script it waits for the end of that: a crash
/// must not leave the half of it.
pub fn forget_snapshot(state: &mut State, host: &mut dyn Host) {
    if state.persistence.saving() == Some(ChildKind::Snapshot) {
        kill_child(state, host);
    }
    state.persistence.owes_snapshot = !state.config.settings().save.is_empty();
    save_emptied(state, host);
}

/// Writes the snapshot that is owed since all data were deleted, unless a transaction or a script goes on.
pub(crate) fn save_emptied(state: &mut State, host: &mut dyn Host) {
    if state.persistence.owes_snapshot && !state.journal.is_in_unit() {
        state.persistence.owes_snapshot = false;
        if state.persistence.saving() == Some(ChildKind::Snapshot) {
            kill_child(state, host);
        }
        // The command that has emptied them is not in the stream yet: replicas that went on with it from here would keep all.
        let options = SnapshotOptions {
            save_info: None,
            ..options(state, host, SavedFor::Ourselves)
        };
        save_with(state, &options);
    }
}

/// Starts a background save where a save point says so, or one was scheduled.
pub fn save_if_due(state: &mut State, host: &mut dyn Host) {
    let persistence = &state.persistence;
    if persistence.is_saving() || persistence.loads_any() {
        return;
    }
    let now = state.now.unix_s();
    // After a failure not at once again: it would fork in each cron as long as the disk is full.
    let rested = persistence.last_status_ok || now - persistence.last_try_unix_s > RETRY_S;
    let since = match persistence.last_save_unix_s {
        0 => state.observe.stats.start_unix_ms / 1000,
        at => at,
    };
    let elapsed_s = u64::try_from(now.saturating_sub(since)).unwrap_or(0);
    let dirty = state.keyspace.dirty;
    let due = state
        // The first that is over its two bounds is as good as any: it is told in the log.
        .config
        .settings()
        .save
        .iter()
        .find(|(seconds, changes)| dirty >= u64::from(*changes) && elapsed_s > *seconds)
        .copied();
    if let Some((seconds, changes)) = due.filter(|_| rested) {
        log::info!("{changes} changes in {seconds} seconds. Saving...");
        start_background(state, host, SavedFor::Ourselves);
    } else if state.persistence.scheduled && rested {
        start_background(state, host, SavedFor::Ourselves);
    }
}

/// DEBUG RELOAD: saves, empties and loads; each of the first two can be left out.
pub fn reload(
    state: &mut State,
    host: &mut dyn Host,
    save: bool,
    flush: bool,
    on_duplicate: OnDuplicate,
) -> Result<(), CommandError> {
    // Redis answers no more than that either; the log says why.
    if save && !save_now(state, host) {
        return Err(CommandError::fixed("ERR"));
    }
    if flush {
        state.keyspace.flush(None, crate::keyspace::Free::Now);
        functions::flush(state);
    }
    if let Err(error) = load_now(state, host, on_duplicate) {
        log::warn!("Loading the snapshot failed: {error}");
        return Err(CommandError::fixed("ERR Error trying to load the RDB dump"));
    }
    log::warn!("DB reloaded by DEBUG RELOAD");
    Ok(())
}

/// Loads the snapshot whole; a missing file is an error.
fn load_now(
    state: &mut State,
    host: &mut dyn Host,
    on_duplicate: OnDuplicate,
) -> Result<(), LoadFailure> {
    let settings = state.config.settings();
    let path = settings.dir.join(&settings.dbfilename);
    let persistence = &state.persistence;
    let Some(mut loading) =
        Loading::open(&persistence.disk, &persistence.jobs, &path, on_duplicate)?
    else {
        return Err(LoadFailure::Io(io::Error::from(io::ErrorKind::NotFound)));
    };
    let dirty = state.keyspace.dirty;
    let loaded = loading::step_snapshot(state, host, &mut loading, &mut |_| false);
    // Nothing that is loaded is a change, and least of all one that the append-only file is to repeat.
    state.keyspace.dirty = dirty;
    loaded?;
    state.persistence.loaded_keys = loading.keys;
    state.persistence.expired_keys = loading.expired;
    Ok(())
}
