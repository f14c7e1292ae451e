//! A background save by the loop itself: it reads a point in time of the keyspace a slice at a time, between commands, and
//! a helper writes it.
//!
//! In: the wish for a snapshot, and in each turn a little time. Out: the file, and what follows from its end. There is no
//! fork, so no stall at its beginning, and no page that a write has to copy. Valkey 9.2 has the like by the same directive,
//! `bgsave-default-method`.

use super::{SavedFor, aof, options, saved_in_background};
use crate::engine::State;
use crate::engine::state::Host;
use crate::keyspace::{DatabaseSize, Encoder, Keyspace};
use crate::persistence::aof::rewrite::CommandEncoder;
use crate::persistence::forkless::{Format, Job, RdbEncoder, SnapshotOutput};
use crate::persistence::rdb::FileVersion;
use crate::persistence::status::{ChildKind, Forkless};
use crate::system::child::Exit;
use crate::system::helper::Helper;
use std::sync::Arc;

/// Bytes that may wait for the helper before no more is read.
const WAITING_MAX: usize = 4 * 1024 * 1024;
/// Bytes that may wait before writes, which add to them, are held back.
const BACKED_UP: usize = 16 * 1024 * 1024;
/// Bytes that are given to the helper at a time.
const CHUNK: usize = 256 * 1024;

/// Bytes that are read, and buckets that are passed, before the time is looked at.
const LOOK_AFTER: usize = 2048;
const BUCKETS_PER_LOOK: usize = 8;

/// Begins a save.
pub(super) fn start(state: &mut State, host: &mut dyn Host, kind: ChildKind, saved_for: SavedFor) {
    let mut options = options(state, host, saved_for);
    let temporary = match kind {
        ChildKind::Snapshot => options.path.with_file_name(temporary_name(options.pid)),
        ChildKind::Rewrite => {
            options.is_aof_base = true;
            options.steady = state.config.settings().aof_rewrite_incremental_fsync;
            state.persistence.aof.temporary_base(options.pid)
        }
    };
    let part_size = state.persistence.part_size;
    let settings = state.config.settings();
    let (format, encoder): (_, Arc<dyn Encoder>) =
        match kind == ChildKind::Rewrite && !settings.aof_use_rdb_preamble {
            true => {
                let timestamp = settings.aof_timestamp_enabled;
                let timestamp_s = timestamp.then(|| state.now.unix_s());
                (
                    Format::Commands(timestamp_s),
                    Arc::new(CommandEncoder { part_size }),
                )
            }
            false => (
                Format::Rdb,
                Arc::new(RdbEncoder::new(&options, part_size, state.now)),
            ),
        };
    // The helper's end is looked for in each turn; it wakes the loop where that may sleep.
    let waker = state.persistence.waker.clone();
    let sizes = state.keyspace.begin_reading(&encoder);
    let keys_total = keys_of(&sizes);
    // A base gets its name from the manifest, together with what follows it.
    let renamed = kind == ChildKind::Snapshot;
    let mut output = SnapshotOutput::begin_file(
        &options, format, temporary, renamed, sizes, state.now, waker,
    );
    if state.persistence.disk_stalled {
        // Nothing is read before the helper has shown that the disk answers again: what an attempt gave to it would wait there,
        // and that of the next ones too.
        output.probe(&mut state.persistence.snapshot_helper);
    }
    begin(state, kind, output, keys_total);
}

/// Begins a snapshot that comes back to the loop, byte for byte what would be in a file, to be sent somewhere. Like the child
/// of a transfer of Redis it counts as a background save while it is under way, but saves nothing.
///
/// In each turn, before [`go_on`], the loop has [`chunks_made`] pass the seam, and takes of so many those that it has room for
/// ([`next_chunk`]). What it does not take counts as waiting: no more is read, and in the end writes are held. There is no
/// bound on the time that it takes: who cannot send gives up by himself ([`super::kill_child`]). When all is taken, or the
/// transfer is given up, by whomever, [`go_on`] says so: `last_transfer_ok` is there.
///
/// Without keys, and without libraries of functions, where nobody wants them.
pub fn start_transfer(
    state: &mut State,
    host: &mut dyn Host,
    excludes_data: bool,
    excludes_functions: bool,
) {
    let mut options = options(state, host, SavedFor::Replicas);
    if excludes_functions {
        options.libraries = Vec::new();
    }
    if excludes_data {
        options.version = FileVersion::V10;
    }
    let part_size = state.persistence.part_size;
    let encoder: Arc<dyn Encoder> = Arc::new(RdbEncoder::new(&options, part_size, state.now));
    let waker = state.persistence.waker.clone();
    let sizes = match excludes_data {
        true => Vec::new(),
        false => state.keyspace.begin_reading(&encoder),
    };
    let keys_total = keys_of(&sizes);
    let mut output = SnapshotOutput::begin_chunks(&options, sizes, state.now, waker);
    state.persistence.last_transfer_ok = None;
    if excludes_data {
        output.finish(&mut state.persistence.snapshot_helper);
    }
    begin(state, ChildKind::Snapshot, output, keys_total);
    if let Some(saving) = &mut state.persistence.forkless {
        saving.is_read = excludes_data;
    }
}

/// How many chunks of a transfer have been made so far; none where there is none. It comes from another thread and decides what
/// happens next: it passes the seam.
pub fn chunks_made(state: &State) -> Option<u64> {
    let saving = state.persistence.forkless.as_ref()?;
    saving.output.chunks_made()
}

/// The next chunk of a transfer, of which [`chunks_made`] are made. O(1)
pub fn next_chunk(state: &mut State, made: u64) -> Option<Vec<u8>> {
    let persistence = &mut state.persistence;
    let saving = persistence.forkless.as_mut()?;
    let helper = &mut persistence.snapshot_helper;
    saving.output.next_chunk(helper, made)
}

fn keys_of(sizes: &[DatabaseSize]) -> u64 {
    sizes.iter().map(|size| size.keys as u64).sum()
}

fn begin(state: &mut State, kind: ChildKind, output: SnapshotOutput, keys_total: u64) {
    state.persistence.forkless = Some(Forkless {
        kind,
        output,
        started_unix_s: state.now.unix_s(),
        started_ns: state.now.mono_ns,
        dirty: state.keyspace.dirty,
        keys_total,
        keys_done: 0,
        rests_until_ns: 0,
        keys_rested: 0,
        is_backed_up: false,
        copied_bytes: 0,
        waiting: 0,
        waiting_memory: 0,
        done_bytes: 0,
        stalled: (0, state.now.mono_ns),
        is_read: false,
    });
}

/// Name of what a server with this process number writes, until it is whole.
fn temporary_name(pid: i32) -> String {
    format!("temp-{pid}.bg.rdb")
}

/// Removes what servers have left in the directory of the data that were killed in the middle of a save, or of a snapshot of
/// their primary. It is nobody else's, and a server that is killed over and over would fill the disk.
pub(super) fn remove_left_over(state: &State) {
    let directory = &state.config.settings().dir;
    let persistence = &state.persistence;
    // What cannot be listed holds nobody up: the data that are loaded next say more.
    for name in persistence.disk.list(directory).unwrap_or_default() {
        let pid = name.to_str().and_then(|name| {
            let middle = name.strip_prefix("temp-")?.strip_suffix(".rdb")?;
            match middle.split_once('.') {
                Some((pid, "bg")) => pid.parse::<i32>().ok(),
                Some((unix_s, pid)) => unix_s.parse::<u64>().ok().and(pid.parse().ok()),
                None => None,
            }
        });
        let is_left_over = pid.is_some_and(|pid| {
            pid == persistence.children.own_pid() || !persistence.children.is_running(pid)
        });
        if is_left_over && persistence.disk.remove(&directory.join(&name)).is_ok() {
            log::info!(
                "Removing the file {}, which a save or a synchronization has left",
                name.display()
            );
        }
    }
}

/// What a slice has left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// There is more to be read.
    More,
    /// There is more to be read, but not before this monotonic time, ns.
    Rests(u64),
    /// The helper has to do something first; it wakes the loop.
    Waits,
    /// There is no save under way.
    None,
}

/// How far the helper is: how a save has ended, as a number (0: it has not; [`ENDED_WELL`], [`FAILED`]), and the bytes that it
/// has still to write. Both are figures that decide what happens next, and come from another thread: they pass the seam.
pub fn progress(state: &State) -> Option<[u64; 2]> {
    let saving = state.persistence.forkless.as_ref()?;
    let end = match saving.output.ended_well() {
        None => 0,
        Some(true) => ENDED_WELL,
        Some(false) => FAILED,
    };
    Some([end, saving.output.waiting() as u64])
}

/// Bytes that the save under way has read because of changes.
pub fn early_bytes(state: &State) -> u64 {
    state
        .persistence
        .forkless
        .as_ref()
        .map_or(0, |it| it.copied_bytes)
}

const ENDED_WELL: u64 = 1;
const FAILED: u64 = 2;

/// Takes note of the helper's [`progress`]; then reads on, where `reads` is true, until `over` says so, and gives what was read
/// to the helper.
pub fn go_on(
    state: &mut State,
    progress: [u64; 2],
    reads: bool,
    over: &mut dyn FnMut() -> bool,
) -> Slice {
    let [end, waiting] = progress;
    if end != 0 {
        take_end(state, end == ENDED_WELL);
        return Slice::None;
    }
    let waiting = waiting as usize;
    if is_stalled(state, waiting) {
        give_up(state);
        return Slice::None;
    }
    let persistence = &mut state.persistence;
    let Some(saving) = &mut persistence.forkless else {
        return Slice::None;
    };
    saving.waiting = waiting;
    while let Some(string) = saving.output.next_let_go(waiting) {
        state.keyspace.let_go(string);
    }
    if saving.output.is_file() {
        persistence.disk_stalled &= saving.done_bytes == 0;
    }
    let copied_bytes = state.keyspace.copied_for_reading() as u64;
    saving.copied_bytes = saving.copied_bytes.max(copied_bytes);
    // What writes have had read meanwhile waits in the keyspace. A long string that is only lent is no reason to wait for all
    // others: it is in the data anyway.
    saving.waiting_memory = saving.output.waiting_memory(waiting);
    let unread = state.keyspace.unread_bytes() + state.keyspace.kept_for_reading();
    saving.is_backed_up = saving.waiting_memory + unread > BACKED_UP;
    if saving.is_read || persistence.disk_stalled && saving.output.is_file() {
        return Slice::Waits;
    }
    let delay_us = state.config.settings().rdb_key_save_delay_us;
    // Whoever is held back waits for what is read, and not for the rest.
    let rests = delay_us > 0 && state.now.mono_ns < saving.rests_until_ns;
    if rests && persistence.held_for_save == 0 {
        return Slice::Rests(saving.rests_until_ns);
    }
    // Also where nothing is read now: it would grow in one piece, whose moves take longer and longer.
    if state.keyspace.unread_bytes() >= CHUNK {
        hand_over(
            &mut state.keyspace,
            saving,
            &mut persistence.snapshot_helper,
        );
    }
    if !reads {
        return Slice::More;
    }
    let (mut is_read, keys_before) = (false, saving.keys_rested);
    // Who is held back for what is to be read does not wait for what is only lent, and takes no memory.
    let has_room = waiting < WAITING_MAX
        || persistence.held_for_save > 0 && saving.waiting_memory < WAITING_MAX;
    if has_room {
        let (keyspace, helper) = (&mut state.keyspace, &mut persistence.snapshot_helper);
        is_read = read_on(keyspace, saving, helper, &mut |looks| {
            delay_us > 0 || looks && over()
        });
    }
    if delay_us > 0 {
        let rest_ns = (saving.keys_done - keys_before).saturating_mul(delay_us * 1000);
        saving.rests_until_ns = state.now.mono_ns.saturating_add(rest_ns);
        saving.keys_rested = saving.keys_done;
    }
    if is_read && delay_us > 0 && saving.keys_done > keys_before {
        // Behind the last key as behind each: tests count on a save being under way for as long as they say.
        return Slice::Rests(saving.rests_until_ns);
    }
    if !is_read {
        return match has_room {
            true if delay_us > 0 => Slice::Rests(saving.rests_until_ns),
            true => Slice::More,
            false => Slice::Waits,
        };
    }
    saving.is_read = true;
    state.keyspace.end_reading();
    saving.output.finish(&mut persistence.snapshot_helper);
    Slice::Waits
}

/// Reads until `over` says so, and gives what was read to the helper; whether all is read. `over` is asked after each bucket and
/// part, and told whether enough was done since it last looked at the time, for which an entry could be read.
fn read_on(
    keyspace: &mut Keyspace,
    saving: &mut Forkless,
    helper: &mut Helper<Job>,
    over: &mut dyn FnMut(bool) -> bool,
) -> bool {
    loop {
        let (mut is_over, mut buckets, mut looked_at) = (false, 0, 0);
        let is_read = keyspace.go_on_reading(&mut |unread: usize| {
            buckets += 1;
            let looks = unread.abs_diff(looked_at) >= LOOK_AFTER || buckets % BUCKETS_PER_LOOK == 0;
            if looks {
                looked_at = unread;
            }
            is_over |= over(looks);
            is_over || unread >= CHUNK
        });
        hand_over(keyspace, saving, helper);
        if is_read || is_over {
            return is_read;
        }
    }
}

/// Gives what was read to the helper.
fn hand_over(keyspace: &mut Keyspace, saving: &mut Forkless, helper: &mut Helper<Job>) {
    keyspace.take_read(&mut |db, encoded| {
        saving.keys_done += encoded.keys;
        saving.waiting += encoded.len();
        saving.waiting_memory += encoded.len().saturating_sub(encoded.lent_bytes);
        saving.output.write(helper, db, encoded);
    });
}

/// Takes note of what the helper has done; whether it has done nothing for so long that the disk is taken not to answer any
/// more.
fn is_stalled(state: &mut State, waiting: usize) -> bool {
    /// The most that counts between two looks: a process that was stopped, or is busy with something else, learns only now
    /// what the helper has done meanwhile.
    const LOOK_NS: u64 = 1_000_000_000;
    /// How long the question takes at most whether a disk answers again, s: writes may be held for it, and saves are tried anew
    /// every few seconds.
    const QUESTION_S: u64 = 2;
    let timeout_s = match (state.config.settings(), state.persistence.disk_stalled) {
        (settings, true) => settings.forkless_disk_timeout_s.min(QUESTION_S),
        (settings, false) => settings.forkless_disk_timeout_s,
    };
    let now_ns = state.now.mono_ns;
    let forkless = state.persistence.forkless.as_mut();
    // Who takes what does not go to the disk has his own patience.
    let Some(saving) = forkless.filter(|saving| saving.output.is_file()) else {
        return false;
    };
    let done_bytes = saving.output.given().saturating_sub(waiting as u64);
    let (stalled_ns, looked_ns) = saving.stalled;
    let is_idle = waiting == 0 && !saving.is_read;
    let stalled_ns = match is_idle || done_bytes != saving.done_bytes {
        true => 0,
        false => stalled_ns + now_ns.saturating_sub(looked_ns).min(LOOK_NS),
    };
    (saving.done_bytes, saving.stalled) = (done_bytes, (stalled_ns, now_ns));
    stalled_ns > (timeout_s + saving.sync_s(waiting)).saturating_mul(1_000_000_000)
}

/// Gives up a save whose helper waits for a disk that does not answer. Who was held back for it goes on; the helper removes the
/// file when it can.
fn give_up(state: &mut State) {
    let Some(saving) = state.persistence.forkless.take() else {
        return;
    };
    if !saving.is_read {
        state.keyspace.end_reading();
    }
    state.keyspace.let_go_of_all();
    let persistence = &mut state.persistence;
    persistence.disk_stalled = true;
    let reason = format!(
        "the disk has not answered the call {} for {} seconds",
        saving.output.doing(),
        saving.stalled.0 / 1_000_000_000
    );
    log_failure(state, saving.kind, &reason);
    let (kind, ended) = (saving.kind, Ended::of(state, &saving));
    saving
        .output
        .abandon(&mut state.persistence.snapshot_helper);
    note_end(state, kind, &ended, false);
}

/// What is noted of a save that has ended.
struct Ended {
    duration_s: i64,
    copied_bytes: u64,
    dirty: u64,
    /// It went to the loop, and saved nothing.
    is_transfer: bool,
}

impl Ended {
    fn of(state: &State, saving: &Forkless) -> Ended {
        Ended {
            duration_s: state.now.unix_s().saturating_sub(saving.started_unix_s),
            copied_bytes: saving.copied_bytes,
            dirty: saving.dirty,
            is_transfer: !saving.output.is_file(),
        }
    }
}

/// Says what has failed, and what the server does now.
fn log_failure(state: &State, kind: ChildKind, reason: &str) {
    let settings = state.config.settings();
    match kind {
        ChildKind::Snapshot => {
            let refuses = settings.stop_writes_on_bgsave_error && !settings.save.is_empty();
            let next = match (refuses, settings.save.is_empty()) {
                (true, _) => "writes are refused until a save goes well; save points try again",
                (false, false) => "save points try again",
                (false, true) => "the last one stays",
            };
            log::warn!("Error saving the data for RDB: {reason}. No new snapshot: {next}");
        }
        ChildKind::Rewrite => log::warn!(
            "Error saving the data for AOF rewrite: {reason}. The append-only file goes on as it is"
        ),
    }
}

/// What follows from the end of a save.
fn note_end(state: &mut State, kind: ChildKind, ended: &Ended, went_well: bool) {
    note_figures(state, kind, ended);
    if kind == ChildKind::Rewrite {
        let pid = state.persistence.children.own_pid();
        return aof::rewrite_ended(state, pid, Exit::Status(i32::from(!went_well)), false);
    }
    if ended.is_transfer {
        state.persistence.last_transfer_ok = Some(went_well);
        match went_well {
            true => log::info!("Background RDB transfer terminated with success"),
            false => log::warn!("Background transfer error"),
        }
        return;
    }
    crate::engine::replication::primary::file_ended(state, went_well);
    if went_well {
        log::info!("DB saved on disk");
        saved_in_background(state, ended.dirty);
    } else {
        log::warn!("Background saving error");
        state.persistence.last_status_ok = false;
    }
}

fn note_figures(state: &mut State, kind: ChildKind, ended: &Ended) {
    let persistence = &mut state.persistence;
    let copied_bytes = ended.copied_bytes;
    persistence.peak_copied_bytes = persistence.peak_copied_bytes.max(copied_bytes);
    match kind {
        ChildKind::Snapshot => {
            persistence.last_copied_bytes = copied_bytes;
            persistence.last_duration_s = ended.duration_s;
            persistence.last_was_forkless = true;
        }
        ChildKind::Rewrite => {
            persistence.rewrite.last_copied_bytes = copied_bytes;
            persistence.rewrite.last_duration_s = ended.duration_s;
        }
    }
}

/// Takes the ids of clients that were held back and are to be admitted anew: what each waited for has passed. Whoever waits for
/// something else stays, so that each is admitted about once.
pub fn take_released(state: &mut State) -> Vec<u64> {
    // What a pause holds back as well goes on when that ends.
    if state.persistence.held_for_save == 0 || state.pause.is_some() {
        return Vec::new();
    }
    let mut released = state.keyspace.take_released();
    let persistence = &mut state.persistence;
    let forkless = persistence.forkless.as_ref();
    if !forkless.is_some_and(|saving| saving.is_backed_up) {
        released.append(&mut persistence.held_for_helper);
    }
    let count = released.len() as u64;
    persistence.held_for_save = persistence.held_for_save.saturating_sub(count);
    released
}

/// Takes the end of a save. Whether it went well was seen through the seam; why it did not is known to the file alone.
fn take_end(state: &mut State, went_well: bool) {
    let Some(saving) = state.persistence.forkless.take() else {
        return;
    };
    state.keyspace.let_go_of_all();
    // One that has failed may have been read in part only.
    if !saving.is_read {
        state.keyspace.end_reading();
    }
    // In a replay the helper may have something to do yet that it had done when this was recorded.
    state.persistence.snapshot_helper.drain();
    let (kind, ended) = (saving.kind, Ended::of(state, &saving));
    if !went_well
        && !ended.is_transfer
        && let Err(failure) = saving.output.result()
    {
        log_failure(state, kind, &failure.to_string());
    }
    note_end(state, kind, &ended, went_well);
}

/// Gives up the save that is under way, if there is one.
pub(super) fn cancel(state: &mut State) {
    let Some(saving) = state.persistence.forkless.take() else {
        return;
    };
    state.keyspace.end_reading();
    state.keyspace.let_go_of_all();
    let ended = Ended::of(state, &saving);
    note_figures(state, saving.kind, &ended);
    match (saving.kind, ended.is_transfer) {
        (ChildKind::Snapshot, true) => state.persistence.last_transfer_ok = Some(false),
        // Replicas that wait for the file have to ask again.
        (ChildKind::Snapshot, false) => {
            crate::engine::replication::primary::file_ended(state, false);
        }
        (ChildKind::Rewrite, _) => {}
    }
    saving.output.cancel(&mut state.persistence.snapshot_helper);
    match saving.kind {
        ChildKind::Snapshot => log::warn!("The background save is given up"),
        ChildKind::Rewrite => {
            // The words by which Redis's tests know it.
            log::info!("Killing running AOF rewrite, which has no child");
            let pid = state.persistence.children.own_pid();
            aof::rewrite_ended(state, pid, Exit::Status(0), true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{Harness, text};
    use crate::config::Config;
    use crate::engine::State;
    use crate::engine::persistence::save_at_end;
    use crate::engine::process::{Outcome, process_found};
    use crate::persistence::forkless::helper;
    use crate::resp::OwnedRequest;
    use crate::system::disk::{Call, Disk, Fault, FaultPlan};
    use crate::system::helper::Jobs;
    use crate::system::simulated_jobs::SimulatedJobs;
    use std::path::Path;

    /// A plan that holds no helper beyond the end of its test, which would wait for it.
    struct Held(FaultPlan);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.heal();
        }
    }

    /// A state that saves in a directory, on a disk whose calls fail as the plan says.
    fn saving(directory: &Path) -> (Harness, Held) {
        let plan = FaultPlan::default();
        let mut harness = Harness::new();
        harness.state.config = Config::with_dir(directory);
        harness.state.persistence.disk = Disk::with_faults(&plan);
        harness.line("CONFIG SET bgsave-default-method forkless");
        harness.line("SET a 1");
        (harness, Held(plan))
    }

    /// Goes on in steps of so many ms until the save has ended; how many ms that took.
    fn ends_after_ms(harness: &mut Harness, step_ms: i64) -> i64 {
        let (mut ms, begun) = (0, std::time::Instant::now());
        while let Some(progress) = progress(&harness.state) {
            go_on(&mut harness.state, progress, true, &mut || false);
            harness.advance_ms(step_ms);
            ms += step_ms;
            std::thread::sleep(std::time::Duration::from_micros(50));
            assert!(begun.elapsed().as_secs() < 60, "it never ends");
        }
        ms
    }

    /// Writes that were held back waited for the disk for ever, no further save began, and none could be cancelled.
    #[test]
    fn a_disk_that_does_not_answer_is_given_up() {
        for (call, part) in [
            (Call::Open, "temp-"),
            (Call::Write, "temp-"),
            (Call::Sync, "temp-"),
            (Call::Rename, "dump.rdb"),
        ] {
            let directory = tempfile::tempdir().expect("a directory");
            let (mut harness, plan) = saving(directory.path());
            plan.0.fail_some(call, part, Fault::Held(libc::EIO), 0, 1);
            harness.line("BGSAVE");
            // The helper is to be there before the time runs, which does so faster here.
            let is_it = |(made, name): &(Call, String)| *made == call && name.contains(part);
            while !plan.0.take_calls().iter().any(is_it) {
                let progress = progress(&harness.state).expect("a save");
                go_on(&mut harness.state, progress, true, &mut || false);
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
            harness.state.persistence.held_for_save = 1;
            harness.state.persistence.held_for_helper = vec![7];
            let ms = ends_after_ms(&mut harness, 500);
            assert!((30_000..35_000).contains(&ms), "{call:?}: {ms}");
            assert_eq!(take_released(&mut harness.state), [7]);
            let persistence = &harness.state.persistence;
            assert!(persistence.disk_is_stalled() && !persistence.last_status_ok);
            assert!(!harness.state.keyspace.is_reading());
            assert!(
                !save_at_end(&mut harness.state, &mut harness.host),
                "{call:?}"
            );
            // The next attempt gives the helper nothing but its question, and is given up as well, but soon: with save points there
            // is always one, and who was to change a large value was held for the most of the time.
            harness.line(&format!("SET large {}", "x".repeat(100_000)));
            harness.line("BGSAVE");
            let saving = harness.state.persistence.forkless.as_ref();
            let doing = saving.expect("a save").output.doing();
            assert!(doing.contains("earlier save"), "{doing}");
            let ms = ends_after_ms(&mut harness, 500);
            assert!((2_000..4_000).contains(&ms), "{call:?}: {ms}");
            assert_eq!(harness.state.persistence.saves, 0);
            plan.0.release();
            harness.line("BGSAVE");
            // However long that takes.
            ends_after_ms(&mut harness, 0);
            let persistence = &harness.state.persistence;
            assert!(persistence.last_status_ok && !persistence.disk_is_stalled());
            assert_eq!(persistence.saves, 1, "{call:?}");
            let files = std::fs::read_dir(directory.path()).expect("a directory");
            assert_eq!(files.count(), 1, "{call:?}");
        }
    }

    /// A save that may have taken long, but of which something is done now and then, goes on.
    #[test]
    fn a_slow_disk_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut harness, plan) = saving(directory.path());
        harness.line("DEBUG POPULATE 50000 key 100");
        plan.0
            .fail_some(Call::Sync, "temp-", Fault::Held(libc::EIO), 0, 1);
        harness.line("BGSAVE");
        let ms = ends_after_ms(&mut harness, 60_000);
        // Each look counts for a second, however late it comes.
        assert!(ms > 30 * 60_000, "{ms}");
    }

    /// To sync a file of many gigabytes takes a while: a server that was to end meanwhile was told that its disk did not answer.
    #[test]
    fn a_large_file_that_is_synced_is_no_disk_that_does_not_answer() {
        const SECOND_NS: u64 = 1_000_000_000;
        let directory = tempfile::tempdir().expect("a directory");
        let (mut harness, _plan) = saving(directory.path());
        harness.line("BGSAVE");
        let persistence = &mut harness.state.persistence;
        for (done_bytes, waiting, stalled_s, is_stalled) in [
            (1_000, 0, 5, false),
            (1_000, 0, 6, true),
            (1_000_000_000, 0, 100, false),
            (1_000_000_000, 0, 106, true),
            (1_000_000_000, 1, 6, true),
        ] {
            let saving = persistence.forkless.as_mut().expect("a save");
            (saving.done_bytes, saving.waiting) = (done_bytes, waiting);
            saving.stalled = (stalled_s * SECOND_NS, 0);
            assert_eq!(persistence.disk_is_stalled(), is_stalled, "{stalled_s} s");
        }
    }

    /// Who cancelled waited for the disk, for as long as that takes.
    #[test]
    fn a_save_is_cancelled_though_the_disk_does_not_answer() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut harness, plan) = saving(directory.path());
        plan.0
            .fail_some(Call::Open, "temp-", Fault::Held(libc::EIO), 0, 1);
        harness.line("BGSAVE");
        let progress = progress(&harness.state).expect("a save");
        go_on(&mut harness.state, progress, true, &mut || false);
        plan.0.wait_for(Call::Open, "temp-");
        let answer = text(&harness.line("BGSAVE CANCEL"));
        assert_eq!(answer, "Background saving cancelled");
        assert!(!harness.state.persistence.is_saving());
        plan.0.release();
    }

    /// The last snapshot had its name and was taken for one that had not: the save went on, and put an older one over it.
    #[test]
    fn a_save_is_given_up_when_the_last_snapshot_has_its_name() {
        for (call, goes_on) in [(Call::SyncFolder, false), (Call::Rename, true)] {
            let directory = tempfile::tempdir().expect("a directory");
            let plan = FaultPlan::default();
            let mut harness = Harness::new();
            harness.state.config = Config::with_dir(directory.path());
            harness.state.persistence.disk = Disk::with_faults(&plan);
            harness.line("CONFIG SET bgsave-default-method forkless");
            harness.line("SET a 1");
            harness.line("BGSAVE");
            plan.fail(call, "", Fault::Error(libc::EIO));
            assert!(!save_at_end(&mut harness.state, &mut harness.host));
            assert_eq!(harness.state.persistence.is_saving(), goes_on, "{call:?}");
            assert_eq!(directory.path().join("dump.rdb").exists(), !goes_on);
        }
    }

    /// Who is held back for a long string goes on when the helper has let go of it.
    #[test]
    fn a_string_that_the_helper_has_is_not_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let jobs = SimulatedJobs::new(1);
        let mut harness = Harness::new();
        harness.state.config = Config::with_dir(directory.path());
        harness.state.persistence.snapshot_helper = helper(&Jobs::Simulated(jobs));
        harness.line("CONFIG SET bgsave-default-method forkless");
        harness.line(&format!("SET long {}", "x".repeat(300_000)));
        harness.line("BGSAVE");
        harness.line("EXPIRE long 1000");
        let held = |harness: &Harness| harness.state.persistence.held_for_save;
        assert_eq!(held(&harness), 0, "what copies nothing does not wait");
        let state = &mut harness.state;
        let client = harness.client;
        let request = OwnedRequest::from_slices(&["SETRANGE", "long", "5", "y"]);
        let args = request.args();
        let command = state.table.find(args.at(0));
        let outcome = process_found(state, &mut harness.host, client, command, args);
        assert_eq!(outcome, Outcome::Postponed);
        let turn = |state: &mut State| {
            let progress = progress(state).expect("a save");
            go_on(state, progress, true, &mut || false);
            take_released(state)
        };
        assert!(turn(state).is_empty());
        assert!(turn(state).is_empty());
        state.persistence.snapshot_helper.drain();
        assert_eq!(turn(state).len(), 1);
        assert_eq!(state.persistence.held_for_save, 0);
    }

    /// One string of 100 MB had all writes wait until it was in the file. One that somebody replaces takes memory.
    #[test]
    fn a_long_string_that_is_lent_holds_nobody_else() {
        for is_replaced in [false, true] {
            let directory = tempfile::tempdir().expect("a directory");
            let mut harness = Harness::new();
            harness.state.config = Config::with_dir(directory.path());
            let jobs = Jobs::Simulated(SimulatedJobs::new(1));
            harness.state.persistence.snapshot_helper = helper(&jobs);
            harness.line("CONFIG SET bgsave-default-method forkless");
            harness.line(&format!("SET long {}", "x".repeat(BACKED_UP + 1)));
            harness.line("BGSAVE");
            if is_replaced {
                harness.line("SET long other");
            }
            let state = &mut harness.state;
            for _ in 0..2 {
                let progress = progress(state).expect("a save");
                go_on(state, progress, true, &mut || false);
            }
            let saving = state.persistence.forkless.as_ref().expect("a save");
            assert_eq!(saving.is_backed_up, is_replaced);
            // What is lent was taken for three times as much that does not count, and data could take its place.
            let own = crate::engine::eviction::not_counted(state);
            let times = own / BACKED_UP as u64;
            assert!(is_replaced && times >= 2 || times <= 1, "{own}");
            state.persistence.snapshot_helper.drain();
        }
    }

    /// On a disk of 2 MB/s who changed a large value waited for half a minute until a string of 50 MB was written that only stood
    /// before it.
    #[test]
    fn who_is_held_does_not_wait_for_what_is_only_lent() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut harness = Harness::new();
        harness.state.config = Config::with_dir(directory.path());
        let jobs = Jobs::Simulated(SimulatedJobs::new(1));
        harness.state.persistence.snapshot_helper = helper(&jobs);
        (0..2000).for_each(|key| drop(harness.line(&format!("SET key:{key} value"))));
        harness.line(&format!("SET long {}", "x".repeat(WAITING_MAX + 1)));
        harness.line("BGSAVE");
        let state = &mut harness.state;
        let step = |state: &mut State| {
            let progress = progress(state).expect("a save");
            let slice = go_on(state, progress, true, &mut || true);
            let saving = state.persistence.forkless.as_ref().expect("a save");
            (slice, saving.keys_done)
        };
        while step(state).0 == Slice::More {}
        let (slice, keys) = step(state);
        assert_eq!((slice, step(state).1), (Slice::Waits, keys));
        state.persistence.held_for_save = 1;
        let (slice, more) = step(state);
        assert!(slice == Slice::More && more > keys, "{keys} {more}");
        while step(state).0 == Slice::More {}
        assert_eq!(step(state).1, 2001);
        state.persistence.snapshot_helper.drain();
    }

    /// A replica of Redis 7.0 refused the version of every snapshot.
    #[test]
    fn snapshots_for_replicas_are_as_old_as_the_data_allow() {
        for (expires, version) in [(false, b"REDIS0010"), (true, b"REDIS0012")] {
            let directory = tempfile::tempdir().expect("a directory");
            let (mut harness, _plan) = saving(directory.path());
            harness.line("HSET hash f v");
            if expires {
                harness.line("HEXPIRE hash 1000 FIELDS 1 f");
            }
            let (state, host) = (&mut harness.state, &mut harness.host);
            start_transfer(state, host, false, false);
            let mut bytes = Vec::new();
            while let (Some(progress), Some(made)) = (progress(state), chunks_made(state)) {
                while let Some(chunk) = next_chunk(state, made) {
                    bytes.extend(chunk);
                }
                go_on(state, progress, true, &mut || false);
            }
            assert!(bytes.starts_with(version), "{bytes:?}");
            let file = || std::fs::read(directory.path().join("dump.rdb")).expect("a file");
            super::super::start_background(state, host, SavedFor::Replicas);
            ends_after_ms(&mut harness, 0);
            assert!(file().starts_with(version), "{:?}", file());
            harness.line("BGSAVE");
            ends_after_ms(&mut harness, 0);
            assert!(file().starts_with(b"REDIS0012"), "{:?}", file());
        }
    }

    /// Who sends a snapshot more slowly than it is read has no more read than may wait; that nobody takes it is no sign of a disk
    /// that does not answer, and it saves nothing.
    #[test]
    fn what_is_not_taken_of_a_transfer_holds_the_reading_back() {
        for is_given_up in [false, true] {
            let directory = tempfile::tempdir().expect("a directory");
            let (mut harness, _plan) = saving(directory.path());
            harness.line("CONFIG SET rdbcompression no");
            let text = "x".repeat(2000);
            for key in 0..10_000 {
                harness.line(&format!("SET key:{key} {text}"));
            }
            let state = &mut harness.state;
            let dirty = state.keyspace.dirty;
            start_transfer(state, &mut harness.host, false, false);
            let mut waits = 0;
            // For a long time nobody takes anything.
            while waits < 1000 {
                let progress = progress(state).expect("a transfer");
                let waiting = progress[1] as usize;
                assert!(waiting < WAITING_MAX + 2 * CHUNK, "{waiting}");
                // What is read in a turn is bounded by its time.
                let mut buckets = 0;
                let slice = go_on(state, progress, true, &mut || {
                    buckets += 1;
                    buckets == 20
                });
                waits += u32::from(slice == Slice::Waits);
                state.now.mono_ns += 1_000_000_000;
            }
            if is_given_up {
                super::super::kill_child(state, &mut harness.host);
                assert!(chunks_made(state).is_none() && next_chunk(state, u64::MAX).is_none());
            }
            let mut bytes = Vec::new();
            while let (Some(progress), Some(made)) = (progress(state), chunks_made(state)) {
                let mut room = 5;
                while room > 0
                    && let Some(chunk) = next_chunk(state, made)
                {
                    bytes.extend(chunk);
                    room -= 1;
                }
                go_on(state, progress, true, &mut || false);
            }
            let persistence = &state.persistence;
            assert_eq!(persistence.last_transfer_ok, Some(!is_given_up));
            assert!(persistence.last_status_ok && !persistence.disk_is_stalled());
            assert!(!state.keyspace.is_reading() && state.keyspace.dirty == dirty);
            assert_eq!(persistence.saves, 0);
            assert_eq!(bytes.len() > 20_000_000, !is_given_up, "{}", bytes.len());
            let files = std::fs::read_dir(directory.path()).expect("a directory");
            assert_eq!(files.count(), 0);
        }
    }
}
