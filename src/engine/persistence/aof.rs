//! The append-only file: when it is flushed, rewritten, switched on and off.
//!
//! In: the wish for a rewrite, from a command, a trigger or CONFIG SET. Out: a child that writes a new base, and a new
//! incremental file for what happens meanwhile. Mirrors `rewriteAppendOnlyFileBackground`,
//! `backgroundRewriteDoneHandler`, `startAppendOnly` and `stopAppendOnly` of Redis's aof.c.

use super::{ChildKind, SavedFor, options, start_child};
use crate::engine::{Host, State};
use crate::journal::Targets;
use crate::keyspace::interest;
use crate::observe::LatencyEvent;
use crate::persistence::aof::{AofState, Fatal, FlushOptions, Fsync, rewrite};
use crate::persistence::loading::LoadFailure;
use crate::persistence::snapshot::{self, SnapshotOptions};
use crate::system::child::Exit;
use crate::system::disk::Mode;
use crate::system::process::os_error_text;
use crate::system::steady_file::SteadyFile;
use std::io;
use std::path::Path;

/// After so many failed rewrites in a row the next ones wait.
const FAILURES_MAX: u64 = 3;
/// The longest that they wait, minutes.
const DELAY_MAX_MIN: i64 = 60;

/// Switches the journal on or off, and with it the interest in keys that go by themselves.
pub fn set_journal(state: &mut State, on: bool) {
    if on {
        state.journal.attach(Targets::AOF);
        let timestamps = state.config.settings().aof_timestamp_enabled;
        state.journal.set_timestamps(Targets::AOF, timestamps);
    } else {
        state.journal.detach(Targets::AOF);
    }
    // Keys that go by themselves make events only where somebody wants them; the journal has to have their removals.
    let is_read = state.journal.has_consumers();
    state.keyspace.set_interest(interest::JOURNAL, is_read);
}

/// How the file is flushed now.
fn flush_options(state: &State, force: bool) -> FlushOptions {
    let settings = state.config.settings();
    FlushOptions {
        fsync: settings.appendfsync,
        now_s: state.now.unix_s(),
        force,
        timed: state.observe.latency.is_on(),
        // A disk that a child keeps busy makes a sync wait long; whoever sets this takes the risk.
        no_sync: settings.no_appendfsync_on_rewrite && state.persistence.is_saving(),
    }
}

/// Brings the journal to the file by the policy. Where a promise of `always` cannot be kept this does not return: the
/// process ends before anyone is answered, whoever has asked for the flush.
pub fn flush(state: &mut State, force: bool) {
    let options = flush_options(state, force);
    let flushed = state.persistence.aof.flush(&mut state.journal, options);
    keep_or_end(state, flushed);
    if options.timed {
        note_times(state);
    }
}

/// Brings the journal to the file and all of the file to the disk. Returns as [`flush`] does.
fn flush_and_sync(state: &mut State) {
    flush(state, true);
    let synced = state
        .persistence
        .aof
        .sync_now(state.config.settings().appendfsync);
    keep_or_end(state, synced);
}

fn keep_or_end(state: &State, done: Result<(), Fatal>) {
    if let Err(fatal) = done {
        log::error!("{}", fatal.0);
        (state.persistence.end_unanswered)();
    }
}

/// The last that is written, at the end of the server.
pub fn flush_at_end(state: &mut State) {
    if state.persistence.aof.state != AofState::Off {
        log::info!("Calling fsync() on the AOF file.");
        // Whatever the policy: the server knows that it ends.
        flush_and_sync(state);
        let aof = &state.persistence.aof;
        if aof.buffered() > 0 {
            let (bytes, reason) = (aof.buffered(), aof.error().unwrap_or_default());
            log::warn!(
                "{bytes} bytes of acknowledged writes are lost: the AOF file cannot be written: {reason}"
            );
        }
    }
}

/// `appendfsync` is about to change: what was written before is synced if the old policy would have. To `always` it only
/// changes when all of it is on the disk; if not, the text says why. This waits for the disk, as each write will from
/// then on. Where nothing changes nothing is done.
pub fn before_policy_changes(state: &mut State, new: Fsync) -> Result<(), String> {
    match (state.config.settings().appendfsync, new) {
        (old, new) if old == new => {}
        // What was promised is kept here and now, or ends the process: of a background sync that fails nobody would hear.
        (Fsync::Always, _) => flush_and_sync(state),
        (old, new) => {
            flush(state, true);
            let aof = &mut state.persistence.aof;
            aof.leave_policy(old);
            if new == Fsync::Always {
                aof.wait_for_disk()?;
            }
        }
    }
    Ok(())
}

/// The server ends in order: the manifest is told where the file ends.
pub fn note_end(state: &mut State) {
    let (offset, now_s) = (state.journal.offset(), state.now.unix_s());
    state.persistence.aof.note_end(offset, now_s);
}

/// Tells the latency monitor how long the flush took.
fn note_times(state: &mut State) {
    let times = state.persistence.aof.times;
    let unix_s = state.now.unix_s();
    let monitor = &mut state.observe.latency;
    let how = if times.beside_sync {
        LatencyEvent::AofWritePendingFsync
    } else if state.persistence.is_saving() {
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
    let file = options.disk.open(path, Mode::Create)?;
    // Written to the disk as it goes, so that the sync at the end does not stall all who use that disk.
    let mut sink = SteadyFile::new(&file, settings.aof_rewrite_incremental_fsync);
    if settings.aof_use_rdb_preamble {
        options.is_aof_base = true;
        snapshot::write_to(&state.keyspace, state.now, &options, &mut sink, progress)?;
    } else {
        let timestamp = settings.aof_timestamp_enabled.then(|| state.now.unix_s());
        let libraries = state.scripting.libraries.codes();
        let delay_us = settings.rdb_key_save_delay_us;
        let keyspace = &state.keyspace;
        rewrite::write_to(
            keyspace, &libraries, timestamp, delay_us, &mut sink, progress,
        )?;
    }
    // On the disk before its name is in the manifest: what it replaces goes then.
    file.sync_all()
}

/// Forks a child that writes a new base; whether it could be started (else the log says why). A failure counts like one
/// of the child: those that are asked for by growth then rest.
pub fn start_rewrite(state: &mut State, host: &mut dyn Host) -> bool {
    if state.persistence.is_saving() {
        return false;
    }
    match try_start_rewrite(state, host) {
        Ok(by) => {
            log::info!("Background append only file rewriting started by {by}");
            state.persistence.rewrite.scheduled = false;
            true
        }
        Err(reason) => {
            log::warn!("{reason}");
            let rewrite = &mut state.persistence.rewrite;
            rewrite.last_ok = false;
            rewrite.failures = rewrite.failures.saturating_add(1);
            false
        }
    }
}

/// Starts a rewrite; who does it.
fn try_start_rewrite(state: &mut State, host: &mut dyn Host) -> Result<String, String> {
    follow_directory(state)?;
    flush(state, true);
    let aof = &state.persistence.aof;
    if aof.buffered() > 0 {
        // It belongs before the fork. In the new file it would be applied twice: the new base will have it too.
        let reason = aof.error().unwrap_or_default();
        return Err(format!(
            "Can't rewrite append only file in background while it cannot be written: {reason}"
        ));
    }
    if let Err(error) = aof.create_directory() {
        let (path, reason) = (aof.directory().display(), os_error_text(&error));
        return Err(format!(
            "Can't open or create append-only dir {path}: {reason}"
        ));
    }
    let by = match state.config.settings().bgsave_forkless {
        true => {
            super::forkless::start(state, host, ChildKind::Rewrite, SavedFor::Ourselves);
            "the loop".to_owned()
        }
        false => format!("pid {}", fork_rewrite(state, host)?),
    };
    // After the fork, so that one that fails leaves no file behind. Nothing has run in between: what the child does not
    // have is what follows from here.
    state.journal.restart(Targets::AOF);
    let (offset, now_s) = (state.journal.offset(), state.now.unix_s());
    if let Err(error) = state.persistence.aof.begin_rewrite(offset, now_s) {
        super::kill_child(state, host);
        let reason = os_error_text(&error);
        return Err(format!(
            "Can't begin a new append-only file: {reason}. All goes on as before"
        ));
    }
    state.persistence.rewrite.rewrites += 1;
    if state.persistence.aof.state == AofState::WaitRewrite {
        // The file was switched on, and this is the moment from which on it has all that happens.
        set_journal(state, true);
    }
    Ok(by)
}

/// Forks the child that writes a base; its process number.
fn fork_rewrite(state: &mut State, host: &mut dyn Host) -> Result<i32, String> {
    let started = start_child(
        state,
        host,
        ChildKind::Rewrite,
        SavedFor::Ourselves,
        |state, options, progress| {
            let path = state.persistence.aof.temporary_base(options.pid);
            write_base(state, options, &path, progress)?;
            let path = path.display();
            log::info!("Successfully created the temporary AOF base file {path}");
            Ok(())
        },
    );
    started.map_err(|error| format!("Can't rewrite append only file in background: fork: {error}"))
}

/// What follows from the end of the child that wrote a base.
pub(crate) fn rewrite_ended(state: &mut State, pid: i32, exit: Exit, killed: bool) {
    let path = state.persistence.aof.temporary_base(pid);
    let is_own = pid == state.persistence.children.own_pid();
    let now_s = state.now.unix_s();
    let base_is_rdb = state.config.settings().aof_use_rdb_preamble;
    let result = match exit {
        // It was given up: its incremental file was never opened, or is of no use any more. That the child had been quicker
        // than the signal changes nothing: what it wrote holds what the open file has as well, and would be applied twice.
        Exit::Status(0) if killed => {
            log::info!("Background AOF rewrite had been given up; its base is not installed");
            false
        }
        Exit::Status(0) => {
            log::info!("Background AOF rewrite terminated with success");
            let ended = state.persistence.aof.end_rewrite(&path, base_is_rdb, now_s);
            if let Err(error) = &ended {
                let reason = os_error_text(error);
                log::warn!(
                    "Error trying to install the new AOF base file: {reason}. The files of before stay as they are"
                );
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
            aof.remove_history(now_s);
        }
        rewrite.last_ok = true;
        rewrite.failures = 0;
        log::info!("Background AOF rewrite finished successfully");
    } else {
        if !killed {
            // One that we have ended ourselves is no failure, and makes nothing wait.
            rewrite.last_ok = false;
            rewrite.failures += 1;
        }
        // What a helper could not write, or was given up, it removes itself: it alone waits for a disk that does not answer.
        let is_removed = is_own && (killed || exit != Exit::Status(0));
        if !is_removed {
            aof.remove(&path);
        }
        if aof.state == AofState::WaitRewrite {
            // What was gathered for the new file belongs to none; the next attempt begins anew, and until then nothing
            // is gathered.
            aof.forget_waiting();
            rewrite.scheduled = true;
            set_journal(state, false);
        }
    }
}

/// Follows `appendonly` and `aof-disable-auto-gc` after CONFIG SET.
pub fn follow_setting(state: &mut State, host: &mut dyn Host) -> Result<(), String> {
    if state.persistence.is_loading() || state.persistence.aof_waits_for_sync {
        // Afterwards.
        return Ok(());
    }
    if !state.config.settings().aof_disable_auto_gc {
        let now_s = state.now.unix_s();
        state.persistence.aof.remove_history(now_s);
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
    let saving = state.persistence.saving();
    if saving == Some(ChildKind::Rewrite) {
        log::warn!(
            "AOF was enabled but there is already an AOF rewriting in background. Stopping background AOF and starting a \
             rewrite now."
        );
        // Before the directory may change: what it has written is where it began.
        super::kill_child(state, host);
    }
    prepare_switch_on(state).map_err(|reason| {
        log::warn!("{reason}");
        "Unable to turn on AOF. Check server logs.".to_owned()
    })?;
    if saving == Some(ChildKind::Snapshot) {
        state.persistence.rewrite.scheduled = true;
        log::warn!(
            "AOF was enabled but there is already another background operation. An AOF background was scheduled to start \
             when possible."
        );
        return Ok(());
    }
    if state.journal.is_in_unit() {
        // The child's copy of the data would have half of the transaction.
        state.persistence.rewrite.scheduled = true;
        log::warn!(
            "AOF was enabled during a transaction. An AOF background was scheduled to start when possible."
        );
        return Ok(());
    }
    if !start_rewrite(state, host) {
        state.persistence.aof.close();
        state.persistence.rewrite.scheduled = false;
        set_journal(state, false);
        let reason = "Redis needs to enable the AOF but can't trigger a background AOF rewrite operation. Check the above \
                      logs for more info about the error.";
        log::warn!("{reason}");
        return Err("Unable to turn on AOF. Check server logs.".to_owned());
    }
    Ok(())
}

/// One more attempt to do what `appendonly` says. Each that fails counts as a failed rewrite, so that the next ones rest.
fn switch_on_again(state: &mut State, host: &mut dyn Host) {
    let failures = state.persistence.rewrite.failures;
    // Why it failed is in the log.
    if switch_on(state, host).is_err() {
        let rewrite = &mut state.persistence.rewrite;
        rewrite.failures = rewrite.failures.max(failures.saturating_add(1));
    }
}

/// While the file is off, `dir` may change: whoever needs its files from then on needs those of the new directory. Not to
/// be called while a child writes one of them.
pub(super) fn follow_directory(state: &mut State) -> Result<(), String> {
    let settings = state.config.settings();
    let directory = settings.dir.join(&settings.appenddirname);
    let aof = &mut state.persistence.aof;
    if aof.state == AofState::Off && aof.is_elsewhere(&directory) {
        aof.move_to(directory, &settings.appendfilename)?;
    }
    Ok(())
}

/// Makes ready to wait for the first rewrite.
fn prepare_switch_on(state: &mut State) -> Result<(), String> {
    follow_directory(state)?;
    let now_s = state.now.unix_s();
    let aof = &mut state.persistence.aof;
    aof.wait_for_rewrite(now_s)
        .map_err(|error| format!("Writing the AOF manifest failed: {}", os_error_text(&error)))
}

/// Whether `dir` may become this directory: not while the append-only file is on, which would stay behind, and a server
/// that starts in the new place would not find it.
pub fn may_change_directory(state: &State, directory: &Path) -> Result<(), String> {
    let settings = state.config.settings();
    let files = directory.join(&settings.appenddirname);
    if state.persistence.aof.state != AofState::Off && state.persistence.aof.is_elsewhere(&files) {
        return Err(
            "can't change the directory while the append-only file is on: set appendonly to no before, and to yes after"
                .to_owned(),
        );
    }
    Ok(())
}

fn switch_off(state: &mut State, host: &mut dyn Host) {
    // What was written while it was on is promised by its policy.
    flush_and_sync(state);
    // Before the state changes: the end of the child removes the file that gathered for it.
    if state.persistence.saving() == Some(ChildKind::Rewrite) {
        super::kill_child(state, host);
    }
    note_end(state);
    state.persistence.aof.close();
    state.persistence.rewrite.scheduled = false;
    set_journal(state, false);
}

/// Stops the file for a snapshot of a primary, which is to be in it as a whole when it is loaded: until then it stays off.
pub(super) fn stop_for_sync(state: &mut State, host: &mut dyn Host) {
    if state.persistence.aof.state != AofState::Off {
        switch_off(state, host);
    }
    state.persistence.aof_waits_for_sync = true;
}

/// Starts a rewrite that was scheduled, or that the growth of the file asks for.
pub fn rewrite_if_due(state: &mut State, host: &mut dyn Host) {
    if state.persistence.is_saving() || state.persistence.is_loading() {
        return;
    }
    if state.config.settings().appendonly && state.persistence.aof.state == AofState::Off {
        // It was set while data was loaded, and could not be followed then.
        if !state.persistence.aof_waits_for_sync && !is_limited(state) {
            switch_on_again(state, host);
        }
        return;
    }
    if state.persistence.rewrite.scheduled {
        if !is_limited(state) {
            start_rewrite(state, host);
        }
        return;
    }
    if state.persistence.aof.has_lost_a_sync() && state.persistence.aof.error().is_none() {
        if !is_limited(state) {
            log::warn!("Rewriting the AOF, because a background sync of it has failed");
            start_rewrite(state, host);
        }
        return;
    }
    let settings = state.config.settings();
    let aof = &state.persistence.aof;
    let percentage = settings.auto_aof_rewrite_percentage;
    // While it cannot be written, what waits for it could be in no new file.
    if aof.state != AofState::On
        || aof.error().is_some()
        || percentage == 0
        || aof.current_bytes <= settings.auto_aof_rewrite_min_size
    {
        return;
    }
    let base = aof.base_bytes.max(1);
    // In wider numbers: a hundred times the size of a file may be more than 64 bits hold.
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
    // A few in a row may be chance.
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

/// Begins to append at the start of the server, after loading, where the file is to be on; and removes what a crash has
/// left.
pub fn open_at_start(state: &mut State, host: &mut dyn Host) -> Result<(), LoadFailure> {
    let settings = state.config.settings();
    let keeps_history = settings.aof_disable_auto_gc;
    let is_on = state.persistence.aof.opens_at_start && settings.appendonly;
    let now_s = state.now.unix_s();
    if is_on {
        let base_is_rdb = settings.aof_use_rdb_preamble;
        let options = options(state, host, SavedFor::Ourselves);
        // Out of the state for the call, whose base is written from the rest of it.
        let mut aof = std::mem::take(&mut state.persistence.aof);
        if let Some(offset) = aof.end_offset() {
            state.journal.set_offset(offset);
        }
        let offset = state.journal.offset();
        let opened = aof.open(base_is_rdb, offset, now_s, |path| {
            write_base(state, options, path, &mut |_| {})
        });
        state.persistence.aof = aof;
        opened.map_err(|reason| {
            LoadFailure::Aof(format!("Can't open the append-only file {reason}"))
        })?;
        set_journal(state, true);
    }
    // Not before all was loaded: whoever cannot load may want to look at them.
    let aof = &mut state.persistence.aof;
    if !keeps_history {
        aof.remove_history(now_s);
        if is_on {
            aof.remove_left_over();
        }
    }
    // It was switched on while a snapshot was loaded, which it does not have: it begins with a rewrite.
    follow_setting(state, host).map_err(LoadFailure::Aof)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{Harness, text};
    use crate::config::Config;
    use crate::system::disk::{Call, Disk, Fault, FaultPlan};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    struct Bench {
        directory: tempfile::TempDir,
        plan: FaultPlan,
        harness: Harness,
        /// Bytes of the file that a test has seen.
        seen: usize,
    }

    /// A state with the append-only file on, in a directory of its own. Rewrites want a child, and its host takes no pipe: each
    /// fork fails.
    fn bench(fsync: &str) -> Bench {
        let directory = tempfile::tempdir().expect("a directory");
        let plan = FaultPlan::default();
        let mut harness = Harness::new();
        configure(&mut harness, directory.path(), fsync);
        harness.config("bgsave-default-method", "fork");
        let state = &mut harness.state;
        state.persistence.disk = Disk::with_faults(&plan);
        state.persistence.end_unanswered = || panic!("the process ends");
        crate::engine::persistence::loading::begin(state).expect("nothing to load");
        open_at_start(state, &mut harness.host).expect("opened");
        Bench {
            directory,
            plan,
            harness,
            seen: 0,
        }
    }

    fn configure(harness: &mut Harness, directory: &Path, fsync: &str) {
        harness.state.config = Config::with_dir(directory);
        for (name, value) in [
            ("save", ""),
            ("appendonly", "yes"),
            ("appendfsync", fsync),
            ("auto-aof-rewrite-min-size", "0"),
        ] {
            harness.config(name, value);
        }
    }

    fn flush_now(bench: &mut Bench) {
        flush(&mut bench.harness.state, false);
    }

    impl Bench {
        fn names(&self) -> Vec<String> {
            let path = self.directory.path().join("appendonlydir");
            let names = Disk::default().list(&path).expect("a directory");
            let mut names: Vec<String> = names
                .iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        }
        fn written(&self) -> String {
            let path = self.directory.path();
            let path = path.join("appendonlydir/appendonly.aof.1.incr.aof");
            let bytes = Disk::default().read(&path).expect("read").expect("there");
            String::from_utf8_lossy(&bytes).into_owned()
        }
        /// The commands that were written since this was asked last, without those that select a database.
        fn commands(&mut self) -> Vec<String> {
            flush(&mut self.harness.state, true);
            let text = self.written();
            let new = text.get(self.seen..).unwrap_or_default();
            self.seen = text.len();
            let mut commands: Vec<String> = Vec::new();
            for line in new.split("\r\n") {
                match line.as_bytes().first() {
                    Some(b'*') => commands.push(String::new()),
                    Some(b'$') | None => {}
                    Some(_) => {
                        let command = commands.last_mut().expect("a command begins with *");
                        let space = if command.is_empty() { "" } else { " " };
                        command.push_str(space);
                        command.push_str(line);
                    }
                }
            }
            commands.retain(|command| !command.starts_with("SELECT"));
            commands
        }
        /// Syncs of the open file since this was asked last.
        fn syncs(&self) -> usize {
            let begun = std::time::Instant::now();
            while self.harness.state.persistence.aof.pending_syncs() > 0 {
                assert!(begun.elapsed().as_secs() < 60, "a sync never ends");
                std::thread::yield_now();
            }
            let calls = self.plan.take_calls();
            let is_sync =
                |(call, name): &&(Call, String)| *call == Call::Sync && name.contains("incr");
            calls.iter().filter(is_sync).count()
        }
        /// Whether a command ends the process.
        fn ends(&mut self, line: &str) -> bool {
            catch_unwind(AssertUnwindSafe(|| self.harness.line(line))).is_err()
        }
    }

    /// As in Redis: the removal of what a command finds expired stands in one transaction with what it does. SCAN and
    /// RANDOMKEY are not wrapped, nor is what has no command.
    #[test]
    fn what_expires_under_a_command_is_one_unit_with_it() {
        let mut bench = bench("everysec");
        for (line, written) in [
            ("SET k 2", &["MULTI", "DEL k", "SET k 2", "EXEC"][..]),
            ("GET k", &["DEL k"]),
            ("SET other 1", &["SET other 1"]),
            ("MGET k l", &["MULTI", "DEL k", "DEL l", "EXEC"]),
            ("SCAN 0 COUNT 100", &["DEL k", "DEL l"]),
            ("FLUSHALL", &["FLUSHALL"]),
        ] {
            bench.harness.line("SET k 1 PX 10");
            bench.harness.line("SET l 1 PX 10");
            bench.harness.advance_ms(11);
            bench.commands();
            bench.harness.line(line);
            let mut commands = bench.commands();
            if line.starts_with("SCAN") {
                commands.sort();
            }
            assert_eq!(commands, written, "{line}");
            assert!(!bench.harness.state.journal.is_in_unit());
        }
    }

    /// While growth asked for a rewrite and there was no child to be had, each cron made a file and two syncs.
    #[test]
    fn a_fork_that_fails_leaves_no_file_and_counts_as_a_failure() {
        let mut bench = bench("everysec");
        bench.harness.line(&format!("SET a {}", "x".repeat(1000)));
        flush_now(&mut bench);
        let before = bench.names();
        bench.plan.take_calls();
        for _ in 0..100 {
            rewrite_if_due(&mut bench.harness.state, &mut bench.harness.host);
        }
        assert_eq!(bench.names(), before);
        assert_eq!(bench.harness.state.persistence.rewrite.failures, 3);
        assert!(!bench.harness.state.persistence.rewrite.last_ok);
        let calls = bench.plan.take_calls();
        let makes = |(call, name): &(Call, String)| {
            matches!(call, Call::SyncFolder | Call::Rename)
                || (*call == Call::Open && name.contains("incr"))
        };
        assert!(!calls.iter().any(makes), "{calls:?}");
        // Asked for by a command it is tried all the same.
        let refused = text(&bench.harness.line("BGREWRITEAOF"));
        assert!(refused.starts_with("ERR Can't execute"), "{refused}");
        assert_eq!(bench.names(), before);
    }

    /// Nobody asked for the rewrite that alone has for sure what the sync has lost, and who waited for the disk waited for ever.
    #[test]
    fn a_background_sync_that_failed_has_the_file_rewritten() {
        let mut bench = bench("everysec");
        bench
            .harness
            .line("CONFIG SET bgsave-default-method forkless");
        bench
            .plan
            .fail_some(Call::Sync, "incr", Fault::Error(libc::EIO), 0, 1);
        for _ in 0..3 {
            bench.harness.line("INCR a");
            bench.harness.advance_ms(1001);
            flush(&mut bench.harness.state, false);
            let _ = bench.harness.state.persistence.aof.wait_for_disk();
        }
        assert!(bench.harness.state.persistence.aof.has_lost_a_sync());
        rewrite_if_due(&mut bench.harness.state, &mut bench.harness.host);
        let saving = bench.harness.state.persistence.saving();
        assert_eq!(saving, Some(ChildKind::Rewrite));
    }

    /// What could not be written went to the new file as well, and was in the new base: applied twice.
    #[test]
    fn no_rewrite_begins_while_writes_fail() {
        let mut bench = bench("everysec");
        bench.harness.line("INCR a");
        bench
            .plan
            .fail(Call::Write, "incr", Fault::Error(libc::ENOSPC));
        flush_now(&mut bench);
        let before = bench.names();
        let refused = text(&bench.harness.line("BGREWRITEAOF"));
        assert!(refused.starts_with("ERR Can't execute"), "{refused}");
        rewrite_if_due(&mut bench.harness.state, &mut bench.harness.host);
        assert_eq!(bench.names(), before);
        assert_eq!(bench.harness.state.persistence.rewrite.failures, 1);
        bench.plan.heal();
        flush_now(&mut bench);
        assert_eq!(bench.written().matches("INCR").count(), 1);
        assert_eq!(bench.harness.state.persistence.aof.buffered(), 0);
    }

    /// The error was logged and swallowed where a command asked for the flush: another client of the turn read OK.
    #[test]
    fn under_always_nobody_goes_on_after_a_failed_write_or_sync() {
        for (call, number) in [(Call::Write, libc::ENOSPC), (Call::Sync, libc::EIO)] {
            for line in [
                "CONFIG SET appendonly no",
                "CONFIG SET appendfsync no",
                "BGREWRITEAOF",
                "",
            ] {
                let mut bench = bench("always");
                bench.harness.line("SET a 1");
                // Once only: a second sync would say that all is well.
                bench
                    .plan
                    .fail_some(call, "incr", Fault::Error(number), 0, 1);
                let ends = match line {
                    "" => {
                        let state = &mut bench.harness.state;
                        catch_unwind(AssertUnwindSafe(|| flush_at_end(state))).is_err()
                    }
                    line => bench.ends(line),
                };
                assert!(ends, "{line:?} after a failed {call:?}");
            }
        }
    }

    /// A child that had ended before it was killed was installed, though the rewrite had not begun: all that the open file
    /// held was applied twice at the next start.
    #[test]
    fn a_base_of_a_rewrite_that_was_given_up_is_not_installed() {
        let mut bench = bench("everysec");
        bench.harness.line("INCR a");
        flush_now(&mut bench);
        let before = (
            bench.names(),
            bench.harness.state.persistence.aof.manifest.clone(),
        );
        let base = bench.harness.state.persistence.aof.temporary_base(7);
        std::fs::write(&base, "REDIS").expect("a file");
        rewrite_ended(&mut bench.harness.state, 7, Exit::Status(0), true);
        let aof = &bench.harness.state.persistence.aof;
        assert_eq!((bench.names(), aof.manifest.clone()), before);
        assert!(aof.is_whole() && bench.harness.state.journal.has_consumers());
    }

    /// A rewrite that began while the file was off made it On without a file, when a temporary one was left of a crash.
    #[test]
    fn a_rewrite_of_before_does_not_switch_the_file_on() {
        let mut bench = bench("everysec");
        bench.harness.line("INCR a");
        flush_now(&mut bench);
        bench.harness.state.persistence.aof.close();
        set_journal(&mut bench.harness.state, false);
        let left = bench
            .directory
            .path()
            .join("appendonlydir/temp-appendonly.aof.incr");
        std::fs::write(&left, "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n").expect("a file");
        let aof = &mut bench.harness.state.persistence.aof;
        aof.wait_for_rewrite(1).expect("it waits");
        assert!(!left.exists(), "what a crash has left is of no rewrite");
        std::fs::write(&left, "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n").expect("a file");
        let base = aof.temporary_base(7);
        std::fs::write(&base, "REDIS").expect("a file");
        let manifest = aof.manifest.clone();
        rewrite_ended(&mut bench.harness.state, 7, Exit::Status(0), false);
        let aof = &bench.harness.state.persistence.aof;
        assert_eq!(
            (aof.state, &aof.manifest),
            (AofState::WaitRewrite, &manifest)
        );
        assert!(aof.is_whole() && !bench.harness.state.journal.has_consumers());
        assert!(bench.harness.state.persistence.rewrite.scheduled);
    }

    /// A CONFIG SET that names the policy in force handed the file to the thread: under `always`, where a sync that fails
    /// there is tried again and not the end.
    #[test]
    fn a_policy_that_stays_leaves_the_file_alone() {
        let mut bench = bench("everysec");
        flush_now(&mut bench);
        bench.harness.line("SET a 1");
        flush_now(&mut bench);
        bench.syncs();
        bench.harness.line("SET b 1");
        flush_now(&mut bench);
        for line in [
            "CONFIG SET appendfsync everysec",
            "CONFIG SET appendfsync bogus",
        ] {
            bench.harness.line(line);
            assert_eq!(bench.syncs(), 0, "{line}");
        }
        bench.harness.line("CONFIG SET appendfsync no");
        assert_eq!(bench.syncs(), 1);
    }

    /// The switch did not wait for the sync under way, which then failed: what was written next was promised for good
    /// behind a hole.
    #[test]
    fn appendfsync_becomes_always_only_when_all_before_is_on_the_disk() {
        let mut bench = bench("everysec");
        let plan = bench.plan.clone();
        plan.fail_some(Call::Sync, "incr", Fault::Held(libc::EIO), 0, 1);
        bench.harness.line("SET a 1");
        flush_now(&mut bench);
        plan.wait_for(Call::Sync, "incr");
        plan.take_calls();
        bench.harness.line("SET b 2");
        let answer = std::thread::scope(|scope| {
            scope.spawn(|| {
                // What it writes shows that the switch has begun.
                plan.wait_for(Call::Write, "incr");
                plan.release();
            });
            text(&bench.harness.line("CONFIG SET appendfsync always"))
        });
        assert!(answer.contains("a background sync"), "{answer}");
        let policy = |bench: &Bench| bench.harness.state.config.settings().appendfsync;
        assert_eq!(policy(&bench), Fsync::EverySecond);
        // And it waits for one that is only slow; here none has failed.
        let mut bench = self::bench("everysec");
        bench.harness.line("SET a 1");
        bench.plan.take_calls();
        let answer = text(&bench.harness.line("CONFIG SET appendfsync always"));
        assert_eq!(answer, "OK");
        assert_eq!(policy(&bench), Fsync::Always);
        assert_eq!(bench.syncs(), 1);
    }

    /// The last write before the switch was never synced.
    #[test]
    fn what_was_written_under_everysec_is_synced_when_that_ends() {
        for write_fails in [false, true] {
            let mut bench = bench("everysec");
            bench.harness.line("SET a 1");
            flush_now(&mut bench);
            assert_eq!(bench.syncs(), 1);
            // Within the same second.
            bench.harness.line("SET b 2");
            if write_fails {
                let fault = Fault::Error(libc::ENOSPC);
                bench.plan.fail(Call::Write, "incr", fault);
            }
            bench.harness.line("CONFIG SET appendfsync no");
            assert_eq!(bench.syncs(), usize::from(!write_fails));
            bench.plan.heal();
            flush_now(&mut bench);
            assert_eq!(bench.syncs(), usize::from(write_fails));
            assert!(bench.written().ends_with("b\r\n$1\r\n2\r\n"));
            // What follows is the system's.
            bench.harness.line("SET c 3");
            flush_now(&mut bench);
            bench.harness.line("CONFIG SET appendfsync no");
            assert_eq!(bench.syncs(), 0);
        }
    }

    /// CONFIG SET appendonly yes while data was loaded read OK; when it failed afterwards, the file was off for good, and
    /// CONFIG GET said yes.
    #[test]
    fn what_could_not_be_switched_on_after_loading_is_tried_again() {
        let mut bench = bench("everysec");
        let state = &mut bench.harness.state;
        switch_off(state, &mut bench.harness.host);
        let folder = |bench: &Bench| {
            let calls = bench.plan.take_calls();
            calls
                .iter()
                .filter(|(call, _)| *call == Call::CreateFolder)
                .count()
        };
        folder(&bench);
        for _ in 0..100 {
            rewrite_if_due(&mut bench.harness.state, &mut bench.harness.host);
        }
        assert_eq!(folder(&bench), 3);
        let state = &mut bench.harness.state;
        assert_eq!(state.persistence.aof.state, AofState::Off);
        state.now.unix_us += 61_000_000;
        rewrite_if_due(state, &mut bench.harness.host);
        assert_eq!(folder(&bench), 1);
        // Nobody wants it any more.
        bench.harness.config("appendonly", "no");
        bench.harness.state.now.unix_us += 3_600_000_000;
        rewrite_if_due(&mut bench.harness.state, &mut bench.harness.host);
        assert_eq!(folder(&bench), 0);
    }

    /// The file stayed where it was, and a server that began in the new directory found none.
    #[test]
    fn the_directory_changes_only_while_the_file_is_off() {
        let mut bench = bench("everysec");
        let other = tempfile::tempdir().expect("a directory");
        let state = &mut bench.harness.state;
        let here = bench.directory.path();
        assert_eq!(may_change_directory(state, here), Ok(()));
        assert!(may_change_directory(state, other.path()).is_err());
        switch_off(state, &mut bench.harness.host);
        assert_eq!(may_change_directory(state, other.path()), Ok(()));
        configure(&mut bench.harness, other.path(), "everysec");
        let state = &mut bench.harness.state;
        prepare_switch_on(state).expect("ready");
        assert_eq!(
            state.persistence.aof.directory(),
            other.path().join("appendonlydir")
        );
        assert!(state.persistence.aof.manifest.is_empty());
    }

    /// Until a child was there, all effects were kept, and were then applied twice.
    #[test]
    fn nothing_is_gathered_while_a_rewrite_is_waited_for() {
        let mut bench = bench("everysec");
        let state = &mut bench.harness.state;
        switch_off(state, &mut bench.harness.host);
        prepare_switch_on(state).expect("ready");
        for _ in 0..100 {
            bench.harness.line("INCR a");
            flush_now(&mut bench);
        }
        let state = &bench.harness.state;
        assert_eq!(state.persistence.aof.state, AofState::WaitRewrite);
        assert_eq!(
            (
                state.persistence.aof.buffered(),
                state.journal.pending(Targets::AOF)
            ),
            (0, 0)
        );
    }
}
