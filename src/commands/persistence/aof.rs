//! BGREWRITEAOF, and what switches the append-only file on and off.
//!
//! In: the wish for a rewrite, from a command, a trigger or CONFIG SET. Out: a child that writes a new base, and a new
//! incremental file for what happens meanwhile. Mirrors `rewriteAppendOnlyFileBackground`,
//! `backgroundRewriteDoneHandler`, `startAppendOnly` and `stopAppendOnly` of Redis's aof.c.

use super::{ChildKind, fork_child, options};
use crate::commands::{CommandError, Host, State, WideContext};
use crate::keyspace::interest;
use crate::observe::LatencyEvent;
use crate::persistence::aof::{AofState, Fatal, FlushOptions, rewrite};
use crate::persistence::snapshot::{self, SnapshotOptions};
use crate::resp::Args;
use crate::system::child::Exit;
use crate::system::disk::Mode;
use crate::system::steady_file::SteadyFile;
use std::io;
use std::path::{Path, PathBuf};

/// After so many failed rewrites in a row the next ones wait.
const FAILURES_MAX: u64 = 3;
/// The longest that they wait, minutes.
const DELAY_MAX_MIN: i64 = 60;

pub(super) fn command(context: &mut WideContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let in_multi = context.session().in_multi;
    let state = &mut *context.state;
    match &state.persistence.child {
        Some(child) if child.kind == ChildKind::Rewrite => {
            return Err(CommandError::fixed(
                "ERR Background append only file rewriting already in progress",
            ));
        }
        child if child.is_some() || in_multi => {
            state.persistence.rewrite.scheduled = true;
            state.persistence.rewrite.failures = 0;
            context
                .reply()
                .simple("Background append only file rewriting scheduled");
            return Ok(());
        }
        _ => {}
    }
    if !start_rewrite(state, context.host) {
        return Err(CommandError::fixed(
            "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
        ));
    }
    context
        .reply()
        .simple("Background append only file rewriting started");
    Ok(())
}

/// Switches the journal on or off, and with it the interest in keys that go by themselves.
pub fn set_journal(state: &mut State, on: bool) {
    state.journal.set_consumers(usize::from(on));
    state
        .journal
        .set_timestamps(state.config.settings().aof_timestamp_enabled);
    state.keyspace.set_interest(interest::JOURNAL, on);
}

/// How the file is flushed now.
pub fn flush_options(state: &State, force: bool) -> FlushOptions {
    let settings = state.config.settings();
    FlushOptions {
        fsync: settings.appendfsync,
        now_s: state.now.unix_s(),
        force,
        timed: state.observe.latency.is_on(),
        no_sync: settings.no_appendfsync_on_rewrite && state.persistence.child.is_some(),
    }
}

/// Brings the journal to the file.
pub fn flush(state: &mut State, force: bool) -> Result<(), Fatal> {
    let options = flush_options(state, force);
    let flushed = state.persistence.aof.flush(&mut state.journal, options);
    if options.timed {
        note_times(state);
    }
    flushed
}

/// Tells the latency monitor how long the flush took.
fn note_times(state: &mut State) {
    let times = state.persistence.aof.times;
    let unix_s = state.now.unix_s();
    let monitor = &mut state.observe.latency;
    let how = if times.beside_sync {
        LatencyEvent::AofWritePendingFsync
    } else if state.persistence.child.is_some() {
        LatencyEvent::AofWriteActiveChild
    } else {
        LatencyEvent::AofWriteAlone
    };
    monitor.took(how, times.write_ns, unix_s);
    monitor.took(LatencyEvent::AofWrite, times.write_ns, unix_s);
    monitor.took(LatencyEvent::AofFsyncAlways, times.sync_ns, unix_s);
}

/// Writes a base: a snapshot, or commands.
fn write_base(
    state: &State,
    mut options: SnapshotOptions,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let settings = state.config.settings();
    let file = state.persistence.disk.open(path, Mode::Create)?;
    let mut sink = SteadyFile::new(&file, settings.aof_rewrite_incremental_fsync);
    if settings.aof_use_rdb_preamble {
        options.is_aof_base = true;
        snapshot::write_to(&state.keyspace, state.now, &options, &mut sink, progress)?;
    } else {
        let timestamp = settings.aof_timestamp_enabled.then(|| state.now.unix_s());
        let libraries = state.scripting.libraries.codes();
        rewrite::write_to(&state.keyspace, &libraries, timestamp, &mut sink, progress)?;
    }
    file.sync_all()
}

fn temporary(state: &State, pid: i32) -> PathBuf {
    let directory = &state.config.settings().dir;
    directory.join(format!("temp-rewriteaof-bg-{pid}.aof"))
}

/// Forks a child that writes a new base; whether it could be started (else the log says why).
pub fn start_rewrite(state: &mut State, host: &mut dyn Host) -> bool {
    if state.persistence.child.is_some() {
        return false;
    }
    state.journal.restart();
    let begun = flush(state, true)
        .map_err(|fatal| io::Error::other(fatal.0))
        .and_then(|()| state.persistence.aof.begin_rewrite());
    if let Err(error) = begun {
        log::warn!("Can't open the append-only file: {error}");
        state.persistence.rewrite.last_ok = false;
        return false;
    }
    // Gathered until the new file was there: that was of the old one.
    state.persistence.rewrite.rewrites += 1;
    let options = options(state, host);
    let started = fork_child(state, host, ChildKind::Rewrite, |state, progress| {
        let path = temporary(state, std::process::id() as i32);
        let written = write_base(state, options, &path, progress);
        if written.is_ok() {
            let path = path.display();
            log::info!("Successfully created the temporary AOF base file {path}");
        }
        written
    });
    match started {
        Ok(pid) => {
            log::info!("Background append only file rewriting started by pid {pid}");
            let rewrite = &mut state.persistence.rewrite;
            rewrite.scheduled = false;
            true
        }
        Err(error) => {
            log::warn!("Can't rewrite append only file in background: fork: {error}");
            state.persistence.rewrite.last_ok = false;
            false
        }
    }
}

/// What follows from the end of the child that wrote a base.
pub(super) fn rewrite_ended(state: &mut State, pid: i32, exit: Exit, killed: bool) {
    let path = temporary(state, pid);
    let base_is_rdb = state.config.settings().aof_use_rdb_preamble;
    let result = match exit {
        Exit::Status(0) => {
            log::info!("Background AOF rewrite terminated with success");
            let ended = state.persistence.aof.end_rewrite(&path, base_is_rdb);
            if let Err(error) = &ended {
                log::warn!("Error trying to install the new AOF base file: {error}");
            }
            ended.is_ok()
        }
        Exit::Status(_) => {
            log::warn!("Background AOF rewrite terminated with error");
            false
        }
        Exit::Signal(signal) => {
            log::warn!("Background AOF rewrite terminated by signal {signal}");
            false
        }
    };
    let aof = &mut state.persistence.aof;
    let rewrite = &mut state.persistence.rewrite;
    if result {
        if !state.config.settings().aof_disable_auto_gc {
            aof.remove_history();
        }
        rewrite.last_ok = true;
        rewrite.failures = 0;
        log::info!("Background AOF rewrite finished successfully");
    } else {
        if !killed {
            rewrite.last_ok = false;
            rewrite.failures += 1;
        }
        aof.remove_file(path);
        // What was gathered for the new file belongs to none; the next attempt begins anew.
        aof.forget_waiting();
    }
    if aof.state == AofState::WaitRewrite {
        rewrite.scheduled = true;
    }
}

/// Follows `appendonly` and `aof-disable-auto-gc` after CONFIG SET.
pub fn follow_setting(state: &mut State, host: &mut dyn Host) -> Result<(), String> {
    if !state.config.settings().aof_disable_auto_gc {
        state.persistence.aof.remove_history();
    }
    let wanted = state.config.settings().appendonly;
    let is_on = state.persistence.aof.state != AofState::Off;
    if wanted == is_on {
        return Ok(());
    }
    if wanted {
        switch_on(state, host)
    } else {
        switch_off(state, host);
        Ok(())
    }
}

fn switch_on(state: &mut State, host: &mut dyn Host) -> Result<(), String> {
    let now_s = state.now.unix_s();
    state.persistence.aof.wait_for_rewrite(now_s);
    set_journal(state, true);
    if let Some(child) = &state.persistence.child {
        if child.kind == ChildKind::Snapshot {
            state.persistence.rewrite.scheduled = true;
            log::warn!(
                "AOF was enabled but there is already another background operation. An AOF background was scheduled to \
                 start when possible."
            );
            return Ok(());
        }
        log::warn!(
            "AOF was enabled but there is already an AOF rewriting in background. Stopping background AOF and starting a \
             rewrite now."
        );
        super::kill_child(state, host);
    } else if state.journal.is_in_unit() {
        // The child's copy of the data would have half of the transaction.
        state.persistence.rewrite.scheduled = true;
        log::warn!(
            "AOF was enabled during a transaction. An AOF background was scheduled to start when possible."
        );
        return Ok(());
    }
    if !start_rewrite(state, host) {
        state.persistence.aof.close();
        set_journal(state, false);
        let reason = "Redis needs to enable the AOF but can't trigger a background AOF rewrite operation. Check the above \
                      logs for more info about the error.";
        log::warn!("{reason}");
        return Err("Unable to turn on AOF. Check server logs.".to_owned());
    }
    Ok(())
}

fn switch_off(state: &mut State, host: &mut dyn Host) {
    if let Err(fatal) = flush(state, true) {
        log::warn!("{}", fatal.0);
    }
    // Before the state changes: the end of the child removes the file that gathered for it.
    if state
        .persistence
        .child
        .as_ref()
        .is_some_and(|child| child.kind == ChildKind::Rewrite)
    {
        super::kill_child(state, host);
    }
    state.persistence.aof.close();
    state.persistence.rewrite.scheduled = false;
    set_journal(state, false);
}

/// Starts a rewrite that was scheduled, or that the growth of the file asks for.
pub fn look_at_growth(state: &mut State, host: &mut dyn Host) {
    if state.persistence.child.is_some() || state.persistence.loading.is_some() {
        return;
    }
    if state.persistence.rewrite.scheduled {
        if !is_limited(state) {
            start_rewrite(state, host);
        }
        return;
    }
    let settings = state.config.settings();
    let aof = &state.persistence.aof;
    let percentage = settings.auto_aof_rewrite_percentage;
    if aof.state != AofState::On
        || percentage == 0
        || aof.current_bytes <= settings.auto_aof_rewrite_min_size
    {
        return;
    }
    let base = aof.base_bytes.max(1);
    let growth = (u128::from(aof.current_bytes) * 100 / u128::from(base)).saturating_sub(100);
    if growth >= u128::from(percentage) && !is_limited(state) {
        log::info!("Starting automatic rewriting of AOF on {growth}% growth");
        start_rewrite(state, host);
    }
}

/// Whether rewrites failed so often that the next one has to wait, each time longer.
fn is_limited(state: &mut State) -> bool {
    let now_s = state.now.unix_s();
    let rewrite = &mut state.persistence.rewrite;
    if rewrite.failures < FAILURES_MAX {
        rewrite.delay_min = 0;
        rewrite.next_s = None;
        return false;
    }
    if let Some(next_s) = rewrite.next_s {
        if now_s < next_s {
            return true;
        }
        rewrite.next_s = None;
        return false;
    }
    rewrite.delay_min = (rewrite.delay_min * 2).clamp(1, DELAY_MAX_MIN);
    rewrite.next_s = Some(now_s + rewrite.delay_min * 60);
    log::warn!(
        "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {} minutes",
        rewrite.delay_min
    );
    true
}

/// Begins to append at the start of the server, after loading.
pub fn open_at_start(state: &mut State, host: &mut dyn Host) -> io::Result<()> {
    let base_is_rdb = state.config.settings().aof_use_rdb_preamble;
    let options = options(state, host);
    let mut aof = std::mem::take(&mut state.persistence.aof);
    let opened = aof.open(base_is_rdb, |path| {
        write_base(state, options, path, &mut |_| {})
    });
    state.persistence.aof = aof;
    opened?;
    set_journal(state, true);
    Ok(())
}
