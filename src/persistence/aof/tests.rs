//! Tests of the append-only file on real files.

use super::*;
use crate::journal::Targets;
use crate::resp::OwnedRequest;
use crate::system::disk::{Call, Fault, FaultPlan};
use std::fs;

fn options(fsync: Fsync, now_s: i64) -> FlushOptions {
    FlushOptions {
        timed: true,
        fsync,
        now_s,
        force: false,
        no_sync: false,
    }
}

struct Bench {
    _directory: tempfile::TempDir,
    plan: FaultPlan,
    aof: AppendOnly,
    journal: Journal,
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().expect("a directory");
    let plan = FaultPlan::default();
    let mut aof = AppendOnly::default();
    let place = directory.path().join("appendonlydir");
    aof.place(Disk::with_faults(&plan), place, "a.aof");
    aof.read_manifest().expect("none");
    aof.open(true, 0, 1, |path| fs::write(path, b"base"))
        .expect("opened");
    let mut journal = Journal::default();
    journal.attach(Targets::AOF);
    Bench {
        _directory: directory,
        plan,
        aof,
        journal,
    }
}

impl Bench {
    fn append(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        self.journal
            .append(0, 0, Targets::ALL, OwnedRequest::from_slices(&words).args());
    }
    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.aof.path(name)).expect("a file")
    }
    fn flush(&mut self, fsync: Fsync, now_s: i64) -> Result<(), Fatal> {
        let options = FlushOptions {
            force: true,
            ..options(fsync, now_s)
        };
        self.aof.flush(&mut self.journal, options)
    }
    fn begin(&mut self) -> io::Result<()> {
        self.journal.restart(Targets::AOF);
        self.aof.begin_rewrite(0, 1)
    }
    /// A child has written a base.
    fn end(&mut self, base: &str) -> io::Result<()> {
        let temporary = self.aof.temporary_base(1);
        fs::write(&temporary, base).expect("written");
        let ended = self.aof.end_rewrite(&temporary, true, 1);
        if ended.is_ok() {
            self.aof.remove_history(1);
        } else {
            self.aof.remove(&temporary);
        }
        ended
    }
    /// What the next server would load: the text of all files of the manifest on the disk, which must be there.
    fn loaded(&self) -> String {
        let manifest = self.text("a.aof.manifest");
        let manifest = Manifest::parse(manifest.as_bytes()).expect("a manifest");
        let files = manifest.files();
        files.map(|file| self.text(&file.name)).collect()
    }
    /// Files in the directory, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.aof.directory()).expect("a directory");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.flatten().map(name).collect();
        names.sort();
        names
    }
}

#[test]
fn effects_are_in_the_file_after_a_flush() {
    for fsync in [Fsync::Always, Fsync::EverySecond, Fsync::No] {
        let mut bench = bench();
        bench.append("SET a 1");
        bench
            .aof
            .flush(&mut bench.journal, options(fsync, 1))
            .expect("written");
        assert!(
            bench
                .text("a.aof.1.incr.aof")
                .ends_with("SET\r\n$1\r\na\r\n$1\r\n1\r\n")
        );
        assert_eq!(bench.text("a.aof.1.base.rdb"), "base");
        assert_eq!(
            bench.text("a.aof.manifest"),
            "file a.aof.1.base.rdb seq 1 type b\nfile a.aof.1.incr.aof seq 1 type i startoffset 0\n"
        );
        let synced = bench.aof.synced == bench.aof.written;
        assert_eq!(synced, fsync != Fsync::No);
    }
}

#[test]
fn a_rewrite_keeps_what_happened_meanwhile_and_forgets_the_rest() {
    let mut bench = bench();
    bench.append("SET a 1");
    bench
        .aof
        .flush(&mut bench.journal, options(Fsync::No, 1))
        .expect("written");
    bench.journal.restart(Targets::AOF);
    bench.aof.begin_rewrite(1, 1).expect("a new file");
    bench.append("SET b 2");
    bench
        .aof
        .flush(&mut bench.journal, options(Fsync::No, 1))
        .expect("written");
    let temporary = bench.aof.path("temporary");
    fs::write(&temporary, b"new base").expect("written");
    bench
        .aof
        .end_rewrite(&temporary, false, 1)
        .expect("a new base");
    bench.aof.remove_history(1);
    assert_eq!(
        bench.text("a.aof.manifest"),
        "file a.aof.2.base.aof seq 2 type b\nfile a.aof.2.incr.aof seq 2 type i startoffset 1\n"
    );
    assert_eq!(bench.text("a.aof.2.base.aof"), "new base");
    assert!(
        bench
            .text("a.aof.2.incr.aof")
            .starts_with("*2\r\n$6\r\nSELECT")
    );
    assert_eq!(bench.aof.base_bytes, bench.aof.bytes_on_disk());
}

#[test]
fn the_file_of_an_old_server_becomes_the_base() {
    let directory = tempfile::tempdir().expect("a directory");
    let old = directory.path().join("a.aof");
    fs::write(&old, b"old").expect("written");
    let mut aof = AppendOnly::default();
    aof.place(Disk::default(), directory.path().join("dir"), "a.aof");
    aof.read_manifest().expect("none");
    assert!(aof.wants_upgrade(&old).expect("known"));
    aof.upgrade(&old, 1).expect("moved");
    assert!(!aof.wants_upgrade(&old).expect("known"));
    assert_eq!(fs::read(aof.path("a.aof")).expect("moved"), b"old");
    assert_eq!(
        fs::read_to_string(aof.path("a.aof.manifest")).expect("a manifest"),
        "file a.aof seq 1 type b\n"
    );
}

/// Half of a command was written, the file could not be cut, and what was written next went to where the position was: a
/// hole of zeros before it, at which loading ended.
#[test]
fn a_short_write_that_cannot_be_undone_leaves_a_file_that_loads() {
    for cut_fails in [false, true] {
        let mut bench = bench();
        bench.begin().expect("a new file");
        bench.append("SET a 1");
        bench.flush(Fsync::EverySecond, 1).expect("written");
        let plan = bench.plan.clone();
        plan.fail_some(Call::Write, "incr", Fault::Short(30), 0, 1);
        plan.fail(Call::Write, "incr", Fault::Error(libc::ENOSPC));
        if cut_fails {
            plan.fail(Call::SetLen, "incr", Fault::Error(libc::EIO));
        }
        bench.append("SET b 2");
        bench.append("SET c 3");
        bench
            .flush(Fsync::EverySecond, 1)
            .expect("it may be tried again");
        assert_eq!(
            bench.aof.error().expect("refuses").as_str(),
            "No space left on device"
        );
        plan.heal();
        bench.flush(Fsync::EverySecond, 1).expect("written");
        assert_eq!(bench.aof.error(), None);
        bench.append("SET d 4");
        bench.flush(Fsync::EverySecond, 1).expect("written");
        let text = bench.text("a.aof.2.incr.aof");
        assert_eq!(bench.aof.written, text.len() as u64);
        assert_eq!(words_of(&text), "SELECT 0|SET a 1|SET b 2|SET c 3|SET d 4");
    }
}

/// Commands of a file, which must be whole.
fn words_of(text: &str) -> String {
    let (mut at, mut spans, mut all) = (0, Vec::new(), Vec::new());
    loop {
        match load::next(text.as_bytes(), at, &mut spans) {
            load::Next::Command { start, end } => {
                let word = |span: &crate::resp::Span| {
                    let args = &text[start..end];
                    let span = std::slice::from_ref(span);
                    let args = crate::resp::Args::new(args.as_bytes(), span, &[]);
                    String::from_utf8_lossy(args.at(0)).into_owned()
                };
                all.push(spans.iter().map(word).collect::<Vec<_>>().join(" "));
                at = end;
            }
            load::Next::End => return all.join("|"),
            other => panic!("{other:?} at {at} of {text:?}"),
        }
    }
}

/// A sync of the folder that failed after the manifest had been renamed was taken for a failed rewrite, and the base that
/// the manifest names was removed. Here each call of a rewrite fails once, or the process ends before it.
#[test]
fn whatever_fails_in_a_rewrite_the_manifest_names_files_that_are_there() {
    let calls = {
        let mut bench = bench();
        bench.plan.take_calls();
        bench
            .begin()
            .and_then(|()| bench.end("new "))
            .expect("ended");
        bench.plan.take_calls()
    };
    assert!(calls.len() > 15, "{calls:?}");
    for fault in [Fault::Error(libc::EIO), Fault::Stop] {
        for failing in 0..calls.len() {
            let mut bench = bench();
            bench.append("SET a 1");
            bench.flush(Fsync::EverySecond, 1).expect("written");
            let before = bench.loaded();
            let (call, name) = &calls[failing];
            let skip = calls[..failing]
                .iter()
                .filter(|other| other.0 == *call)
                .count();
            bench.plan.fail_some(*call, "", fault, skip, 1);
            let tale = format!("{fault:?} at {call:?} of {name}");
            let begun = bench.begin();
            bench.append("SET b 2");
            let _ = bench.flush(Fsync::EverySecond, 1);
            let ended = begun.and_then(|()| bench.end("new "));
            // "Input/output error", said the log, and not of what.
            let directory = bench.aof.directory().to_string_lossy().into_owned();
            let text = ended.as_ref().err().map(|error| error.to_string());
            assert!(text.is_none_or(|it| it.contains(&directory)), "{tale}");
            let loaded = bench.loaded();
            if fault == Fault::Stop {
                bench.plan.heal();
                let from_base = loaded.starts_with("new ");
                assert!(from_base || loaded.starts_with(&before), "{tale}: {loaded}");
                continue;
            }
            bench.plan.heal();
            bench.flush(Fsync::EverySecond, 3).expect("written");
            let loaded = bench.loaded();
            assert!(
                loaded.ends_with("SET\r\n$1\r\nb\r\n$1\r\n2\r\n"),
                "{tale}: {loaded}"
            );
            assert_eq!(
                loaded.starts_with("new "),
                ended.is_ok(),
                "{tale}: {loaded}"
            );
            // And the next one ends well, whatever is left of this.
            bench.begin().expect("a new file");
            bench.append("SET c 3");
            bench.flush(Fsync::EverySecond, 3).expect("written");
            bench.end("newer ").expect("a new base");
            let loaded = bench.loaded();
            let (base, rest) = loaded.split_once('*').expect("commands");
            assert_eq!(base, "newer ", "{tale}");
            assert!(rest.ends_with("c\r\n$1\r\n3\r\n"), "{tale}");
            bench.aof.remove_left_over();
            assert_eq!(bench.names().len(), 3, "{tale}: {:?}", bench.names());
        }
    }
}

/// A thread removed files by their paths, later: by then they were those of the next rewrite. And a manifest without
/// them was written before they were gone.
#[test]
fn files_are_removed_at_once_and_leave_the_manifest_afterwards() {
    let mut bench = bench();
    bench.plan.fail_some(
        Call::Open,
        "temp-a.aof.manifest",
        Fault::Error(libc::EMFILE),
        1,
        1,
    );
    bench.begin().expect("a new file");
    bench.end("lost ").expect_err("no manifest");
    assert_eq!(
        bench.names(),
        [
            "a.aof.1.base.rdb",
            "a.aof.1.incr.aof",
            "a.aof.2.incr.aof",
            "a.aof.manifest"
        ]
    );
    bench.begin().expect("a new file");
    bench.plan.take_calls();
    bench.end("new ").expect("ended");
    // The number that was given away is not given again.
    assert_eq!(
        bench.names(),
        ["a.aof.3.base.rdb", "a.aof.3.incr.aof", "a.aof.manifest"]
    );
    let calls = bench.plan.take_calls();
    let last_removed = calls.iter().rposition(|(call, _)| *call == Call::Remove);
    let renames =
        |(call, name): &(Call, String)| *call == Call::Rename && name.contains("manifest");
    let last_renamed = calls.iter().rposition(renames);
    assert!(
        last_removed.is_some() && last_removed < last_renamed,
        "{calls:?}"
    );
    assert!(!bench.text("a.aof.manifest").contains("type h"));
    // What cannot be removed stays on record.
    bench
        .plan
        .fail(Call::Remove, "a.aof.3.base", Fault::Error(libc::EACCES));
    bench
        .begin()
        .and_then(|()| bench.end("newer "))
        .expect("ended");
    assert!(
        bench
            .text("a.aof.manifest")
            .contains("a.aof.3.base.rdb seq 3 type h")
    );
}

#[test]
fn files_that_a_crash_has_left_are_removed_and_no_others() {
    let mut bench = bench();
    bench
        .begin()
        .and_then(|()| bench.end("new "))
        .expect("ended");
    let kept = [
        "a.aof.7.incr.aof",
        "a.aof.9.base.rdb",
        "a.aof.1.incr.aof.bak",
        "b.aof.1.incr.aof",
        "notes",
        "temp-rewriteaof-bg-1.aof",
    ];
    let left = [
        "a.aof.1.incr.aof",
        "a.aof.1.base.rdb",
        "a.aof.1.base.aof",
        "temp-a.aof.incr",
        "temp-a.aof.manifest",
        "temp-rewriteaof-bg-2147483646.aof",
    ];
    for name in kept.iter().chain(&left) {
        fs::write(bench.aof.path(name), b"x").expect("written");
    }
    bench.aof.remove_left_over();
    let names = bench.names();
    assert!(
        kept.iter()
            .all(|name| names.iter().any(|there| there == name)),
        "{names:?}"
    );
    assert!(
        !left
            .iter()
            .any(|name| names.iter().any(|there| there == name)),
        "{names:?}"
    );
    // A file with the next number is not emptied, and not replaced.
    fs::write(bench.aof.path("a.aof.3.incr.aof"), b"x").expect("written");
    fs::write(bench.aof.path("a.aof.3.base.rdb"), b"x").expect("written");
    bench
        .begin()
        .and_then(|()| bench.end("newer "))
        .expect("ended");
    assert_eq!(bench.text("a.aof.3.incr.aof"), "x");
    assert_eq!(bench.text("a.aof.3.base.rdb"), "x");
    assert!(bench.loaded().starts_with("newer "));
}

/// A manifest that could not be opened was taken for a missing one, and overwritten.
#[test]
fn only_a_missing_manifest_is_an_empty_one() {
    for number in [libc::EACCES, libc::EIO, libc::EMFILE, libc::ENOTDIR] {
        let bench = bench();
        let plan = FaultPlan::default();
        plan.fail(Call::Read, "manifest", Fault::Error(number));
        let mut aof = AppendOnly::default();
        aof.place(
            Disk::with_faults(&plan),
            bench.aof.directory().to_owned(),
            "a.aof",
        );
        let text = aof.read_manifest().expect_err("refused");
        assert!(text.contains("a.aof.manifest"), "{text}");
        let reason = text_of(&io::Error::from_raw_os_error(number));
        assert!(text.ends_with(&reason), "{text}");
        plan.heal();
        plan.fail(Call::Size, "", Fault::Error(number));
        assert!(aof.wants_upgrade(Path::new("/old")).is_err());
    }
}

#[test]
fn under_always_what_cannot_be_written_or_synced_is_fatal() {
    for (call, fault) in [
        (Call::Write, Fault::Error(libc::ENOSPC)),
        (Call::Sync, Fault::Error(libc::EIO)),
    ] {
        let mut bench = bench();
        bench.append("SET a 1");
        bench.plan.fail_some(call, "incr", fault, 0, 1);
        let fatal = bench.flush(Fsync::Always, 1).expect_err("fatal");
        assert!(fatal.0.contains("'always'"), "{}", fatal.0);
    }
    // A manifest that a crash may undo is no place for promises.
    let mut bench = bench();
    bench
        .plan
        .fail_some(Call::SyncFolder, "", Fault::Error(libc::EIO), 1, 1);
    bench.begin().expect("a new file");
    bench.append("SET a 1");
    let fatal = bench.flush(Fsync::Always, 1).expect_err("fatal");
    assert!(fatal.0.contains("manifest"), "{}", fatal.0);
}

/// After a background sync that failed writes were refused, so none came to bring about another sync: for ever.
#[test]
fn a_background_sync_that_failed_is_tried_again_without_a_write() {
    let mut bench = bench();
    bench.append("SET a 1");
    bench
        .plan
        .fail_some(Call::Sync, "incr", Fault::Error(libc::EIO), 0, 1);
    bench.flush(Fsync::EverySecond, 1).expect("written");
    let mut now_s = 1;
    let mut wait_until = |bench: &mut Bench, failed: bool| {
        while bench.aof.error().is_some() != failed || bench.aof.pending_syncs() > 0 {
            now_s += 1;
            bench
                .flush(Fsync::EverySecond, now_s)
                .expect("it may be tried again");
            std::thread::yield_now();
        }
    };
    // The first is done without the clock going on.
    while bench.aof.pending_syncs() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(
        bench.aof.error().expect("refuses").as_str(),
        "Input/output error"
    );
    assert!(!bench.aof.last_write_ok());
    wait_until(&mut bench, false);
}

/// The machine's clock was set back by an hour, and for an hour nothing was synced.
#[test]
fn a_clock_that_is_set_back_puts_no_sync_off() {
    let mut bench = bench();
    for (now_s, is_idle) in [(10_000, false), (6_400, false), (2_800, true)] {
        bench.append("SET a 1");
        if is_idle {
            // Within the second of the last sync it is only written.
            bench.flush(Fsync::EverySecond, 6_400).expect("written");
        }
        bench.flush(Fsync::EverySecond, now_s).expect("written");
        assert_eq!(bench.aof.synced, bench.aof.written, "{now_s}");
        while bench.aof.pending_syncs() > 0 {
            std::thread::yield_now();
        }
    }
}

/// A manifest that a crash may undo names a file that effects go to: writes are refused until it is for good.
#[test]
fn a_manifest_that_may_be_undone_refuses_writes_until_it_is_written_again() {
    let mut bench = bench();
    bench
        .plan
        .fail_some(Call::SyncFolder, "", Fault::Error(libc::EIO), 1, 2);
    bench.begin().expect("a new file");
    assert_eq!(
        bench.aof.error().expect("refuses").as_str(),
        "Input/output error"
    );
    bench.flush(Fsync::EverySecond, 1).expect("later");
    bench.flush(Fsync::EverySecond, 2).expect("in vain");
    assert!(bench.aof.error().is_some());
    bench.flush(Fsync::EverySecond, 3).expect("written");
    assert_eq!(bench.aof.error(), None);
}

#[test]
fn the_end_is_noted_and_found_again() {
    let mut bench = bench();
    bench.append("SET a 1");
    bench.flush(Fsync::No, 1).expect("written");
    bench.aof.note_end(17, 1);
    assert!(
        bench
            .text("a.aof.manifest")
            .ends_with("startoffset 0 endoffset 17\n")
    );
    let mut aof = AppendOnly::default();
    aof.place(Disk::default(), bench.aof.directory().to_owned(), "a.aof");
    aof.read_manifest().expect("read");
    assert_eq!(aof.end_offset(), Some(17));
    aof.open(true, 17, 1, |_| Ok(())).expect("opened");
    assert!(!bench.text("a.aof.manifest").contains("endoffset"));
    let bytes = bench.text("a.aof.1.incr.aof").len();
    assert_eq!(aof.end_offset(), i64::try_from(bytes).ok());
}

/// A crash between the renaming of the first files and their manifest left files that the next server took for its own: what
/// was in them was loaded before the first effect of that server.
#[test]
fn a_new_file_is_never_one_that_was_left_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("dir");
    fs::create_dir(&place).expect("made");
    for name in ["a.aof.1.base.rdb", "a.aof.1.incr.aof"] {
        fs::write(place.join(name), "old").expect("written");
    }
    let mut aof = AppendOnly::default();
    aof.place(Disk::default(), place.clone(), "a.aof");
    aof.read_manifest().expect("none");
    aof.open(true, 0, 1, |path| fs::write(path, b"base"))
        .expect("opened");
    let manifest = fs::read_to_string(place.join("a.aof.manifest")).expect("a manifest");
    assert_eq!(
        manifest,
        "file a.aof.2.base.rdb seq 2 type b\nfile a.aof.2.incr.aof seq 2 type i startoffset 0\n"
    );
    assert_eq!(aof.bytes_on_disk(), 4);
    for name in ["a.aof.1.base.rdb", "a.aof.1.incr.aof"] {
        assert_eq!(fs::read_to_string(place.join(name)).expect("there"), "old");
    }
}

/// Moved into a directory whose manifest a crash may undo, the file of old would be found by nobody.
#[test]
fn an_old_file_is_moved_only_behind_a_manifest_that_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let old = directory.path().join("a.aof");
    fs::write(&old, "old").expect("written");
    let plan = FaultPlan::default();
    let mut aof = AppendOnly::default();
    aof.place(
        Disk::with_faults(&plan),
        directory.path().join("dir"),
        "a.aof",
    );
    // That of the new directory in its parent, and that of the temporary manifest go well.
    plan.fail_some(Call::SyncFolder, "", Fault::Error(libc::EIO), 2, 1);
    aof.upgrade(&old, 1).expect_err("it may be undone");
    assert!(old.exists());
    aof.read_manifest().expect("read");
    assert!(aof.wants_upgrade(&old).expect("known"));
    aof.upgrade(&old, 1).expect("moved");
    assert_eq!(aof.bytes_on_disk(), 3);
}

/// After a background sync had failed, writes were refused under `always` for ever: none came to bring about a sync.
#[test]
fn a_background_sync_that_failed_is_tried_again_under_always_too() {
    let mut bench = bench();
    bench.append("SET a 1");
    bench
        .plan
        .fail_some(Call::Sync, "incr", Fault::Error(libc::EIO), 0, 1);
    bench.flush(Fsync::EverySecond, 1).expect("written");
    while bench.aof.pending_syncs() > 0 {
        std::thread::yield_now();
    }
    assert!(bench.aof.error().is_some());
    bench.flush(Fsync::Always, 2).expect("nobody waits for it");
    while bench.aof.pending_syncs() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(bench.aof.error(), None);
}

/// The noted end was beyond that of the file.
#[test]
fn no_end_is_noted_where_effects_could_not_be_written() {
    let mut bench = bench();
    bench
        .plan
        .fail(Call::Write, "incr", Fault::Error(libc::ENOSPC));
    bench.append("SET a 1");
    bench.flush(Fsync::No, 1).expect("later");
    bench.aof.note_end(17, 1);
    assert!(!bench.text("a.aof.manifest").contains("endoffset"));
}

/// Dropped with the old place, the thread was waited for.
#[test]
fn the_thread_moves_along_to_another_directory() {
    let mut bench = bench();
    bench
        .plan
        .fail_some(Call::Sync, "incr", Fault::Error(libc::EIO), 0, 1);
    bench.append("SET a 1");
    bench.flush(Fsync::EverySecond, 1).expect("written");
    while bench.aof.pending_syncs() > 0 {
        std::thread::yield_now();
    }
    bench.aof.close();
    let other = tempfile::tempdir().expect("a directory");
    fs::write(other.path().join("a.aof.manifest"), "no manifest").expect("written");
    let here = bench.aof.directory().to_owned();
    let there = other.path().to_owned();
    bench
        .aof
        .move_to(there.clone(), "a.aof")
        .expect_err("it cannot be read");
    assert!(!bench.aof.is_elsewhere(&here));
    fs::remove_file(there.join("a.aof.manifest")).expect("removed");
    bench.aof.move_to(there.clone(), "a.aof").expect("moved");
    assert!(!bench.aof.is_elsewhere(&there) && bench.aof.manifest.is_empty());
    assert_eq!(bench.aof.syncer.failures(), 1, "it is the same thread");
}

/// Each start that failed left files that no manifest names, and the next one took the next numbers, until there were none
/// left. Here each call of a start fails, three times in a row.
#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let start = |plan: &FaultPlan, place: &Path| {
        let disk = Disk::with_faults(plan);
        let mut aof = AppendOnly::default();
        aof.place(disk.clone(), place.to_owned(), "a.aof");
        aof.read_manifest()?;
        aof.open(true, 0, 1, |path| {
            let file = disk.open(path, Mode::Create)?;
            file.write_all(b"ba")?;
            file.write_all(b"se")?;
            file.sync_all()
        })
    };
    let calls = {
        let (directory, plan) = (
            tempfile::tempdir().expect("a directory"),
            FaultPlan::default(),
        );
        start(&plan, &directory.path().join("dir")).expect("opened");
        plan.take_calls()
    };
    assert!(calls.len() > 15, "{calls:?}");
    for (at, (call, name)) in calls.iter().enumerate() {
        let (directory, plan) = (
            tempfile::tempdir().expect("a directory"),
            FaultPlan::default(),
        );
        let place = directory.path().join("dir");
        let skip = calls[..at].iter().filter(|other| other.0 == *call).count();
        for _ in 0..3 {
            plan.fail_some(*call, "", Fault::Error(libc::EDQUOT), skip, 1);
            let started = start(&plan, &place);
            plan.heal();
            let tale = format!("{call:?} of {name}: {started:?}");
            if let Err(text) = &started {
                assert!(
                    text.starts_with(place.to_str().expect("plain")) || *call == Call::Read,
                    "{tale}"
                );
                assert!(text.ends_with("quota exceeded"), "{tale}");
            }
            let left = Disk::default().list(&place).unwrap_or_default();
            let is_named = place.join("a.aof.manifest").exists();
            assert!(
                if is_named {
                    left.len() == 3
                } else {
                    left.is_empty()
                },
                "{tale}: {left:?}"
            );
        }
        start(&plan, &place).expect("opened");
        let mut left = Disk::default().list(&place).expect("a directory");
        left.sort();
        assert_eq!(
            left,
            ["a.aof.1.base.rdb", "a.aof.1.incr.aof", "a.aof.manifest"]
        );
    }
}

/// "Entity already exists", said the server, and not of what.
#[test]
fn a_start_that_finds_no_number_names_a_file() {
    for kind in ["incr.aof", "base.rdb"] {
        let directory = tempfile::tempdir().expect("a directory");
        for number in 1..=TAKEN_MAX + 1 {
            let name = format!("a.aof.{number}.{kind}");
            fs::write(directory.path().join(name), "old").expect("written");
        }
        let mut aof = AppendOnly::default();
        aof.place(Disk::default(), directory.path().to_owned(), "a.aof");
        aof.read_manifest().expect("none");
        let text = aof.open(true, 0, 1, |path| fs::write(path, b"base"));
        let text = text.expect_err("no number is free");
        assert!(text.ends_with(&format!("{kind}: File exists")), "{text}");
    }
}

/// After a sync that failed, one that goes well says nothing of what the first has lost: only a new base does.
#[test]
fn always_is_promised_only_where_no_sync_has_failed_since_the_last_rewrite() {
    let mut bench = bench();
    bench.append("SET a 1");
    bench
        .plan
        .fail_some(Call::Sync, "incr", Fault::Error(libc::EIO), 0, 1);
    bench.flush(Fsync::EverySecond, 1).expect("written");
    bench.aof.wait_for_disk().expect_err("it has failed");
    bench.flush(Fsync::EverySecond, 2).expect("tried again");
    let refusal = bench.aof.wait_for_disk().expect_err("who knows");
    assert!(refusal.contains("BGREWRITEAOF"), "{refusal}");
    assert_eq!(bench.aof.error(), None);
    // One that fails says nothing either.
    bench.begin().expect("a new file");
    bench.aof.wait_for_disk().expect_err("there is no new base");
    bench.end("new ").expect("a new base");
    assert_eq!(bench.aof.wait_for_disk(), Ok(()));
    // Nor can it be promised while writes fail.
    bench.append("SET b 1");
    bench
        .plan
        .fail(Call::Write, "incr", Fault::Error(libc::ENOSPC));
    bench.flush(Fsync::EverySecond, 3).expect("later");
    let refusal = bench.aof.wait_for_disk().expect_err("no room");
    assert!(refusal.ends_with("No space left on device"), "{refusal}");
}

/// The sync of the file that a rewrite had ended failed, that of the new one went well, and all counted as synced.
#[test]
fn what_a_failed_sync_may_have_lost_is_not_said_to_be_on_the_disk() {
    let mut bench = bench();
    bench.append("SET a 1");
    bench.flush(Fsync::No, 1).expect("written");
    bench
        .plan
        .fail_some(Call::Sync, "incr", Fault::Error(libc::EIO), 0, 1);
    bench.begin().expect("a new file");
    bench.append("SET b 1");
    for now_s in [2, 3, 4] {
        bench.flush(Fsync::EverySecond, now_s).expect("written");
        bench.aof.wait_for_disk().expect_err("who knows");
    }
    assert_eq!(bench.aof.error(), None, "the last sync has gone well");
    let written = bench.journal.written_bytes(Targets::AOF);
    assert!(bench.aof.synced_offset() < written);
    // The base of a rewrite that began before the failure does not hold all of it for sure; that of the next does.
    bench.end("new ").expect("a new base");
    assert!(bench.aof.synced_offset() < written);
    bench.begin().expect("a new file");
    bench.end("newer ").expect("a new base");
    assert_eq!(bench.aof.wait_for_disk(), Ok(()));
    assert_eq!(bench.aof.synced_offset(), written);
}

/// A SHUTDOWN that was refused had synced all, and clients of WAITAOF never heard of it.
#[test]
fn a_sync_at_the_end_is_one_that_clients_wait_for() {
    for (fsync, fails) in [
        (Fsync::No, false),
        (Fsync::EverySecond, false),
        (Fsync::No, true),
    ] {
        let mut bench = bench();
        // Within the second of the last sync.
        bench.flush(fsync, 1).expect("nothing to write");
        bench.append("SET a 1");
        bench.aof.last_sync_s = 1;
        bench.flush(fsync, 1).expect("written");
        let written = bench.journal.written_bytes(Targets::AOF);
        assert!(bench.aof.synced_offset() < written);
        if fails {
            bench
                .plan
                .fail_some(Call::Sync, "incr", Fault::Error(libc::EIO), 0, 1);
        }
        bench.aof.sync_now(fsync).expect("no promise");
        assert_eq!(bench.aof.synced_offset() == written, !fails);
    }
}

/// A server that was killed had left bytes that no sync had reached, and the next one had cut off half a command: what its
/// clients had read was not what a crash of the machine left.
#[test]
fn what_was_loaded_is_on_the_disk_before_anybody_reads_it() {
    let bench = bench();
    let mut aof = AppendOnly::default();
    let directory = bench.aof.directory().to_owned();
    aof.place(Disk::with_faults(&bench.plan), directory, "a.aof");
    aof.read_manifest().expect("read");
    bench.plan.take_calls();
    aof.open(true, 0, 1, |_| Ok(())).expect("opened");
    let calls = bench.plan.take_calls();
    let name = "a.aof.1.incr.aof".to_owned();
    assert_eq!(
        calls[1..3],
        [(Call::Open, name.clone()), (Call::Sync, name)]
    );
    bench
        .plan
        .fail(Call::Sync, "a.aof.1.incr.aof", Fault::Error(libc::EIO));
    let refused = aof.open(true, 0, 1, |_| Ok(()));
    assert!(
        refused
            .expect_err("it is not there")
            .contains("a.aof.1.incr.aof")
    );
}

/// A server that was killed when its disk was full did not start again before somebody had made room, though it had nothing to
/// write: its manifest was written anew, with the same words.
#[test]
fn a_full_disk_does_not_keep_a_server_from_its_start() {
    let mut bench = bench();
    bench.append("SET a 1");
    bench.flush(Fsync::Always, 1).expect("written");
    let full = Fault::Error(libc::ENOSPC);
    bench.plan.fail(Call::Write, "", full);
    let mut aof = AppendOnly::default();
    let directory = bench.aof.directory().to_owned();
    aof.place(Disk::with_faults(&bench.plan), directory, "a.aof");
    aof.read_manifest().expect("read");
    bench.plan.take_calls();
    aof.open(true, 0, 1, |_| Ok(())).expect("opened");
    // What it says may be known to the system alone.
    let calls = bench.plan.take_calls();
    let manifest = "a.aof.manifest".to_owned();
    let folder = aof.directory().file_name().expect("a name");
    let folder = folder.to_string_lossy().into_owned();
    assert!(calls.contains(&(Call::Sync, manifest)), "{calls:?}");
    assert!(calls.contains(&(Call::SyncFolder, folder)), "{calls:?}");
    // Where it changes it must be written.
    aof.note_end(7, 1);
    bench.plan.heal();
    aof.note_end(7, 1);
    bench.plan.fail(Call::Write, "", full);
    aof.read_manifest().expect("read");
    let refused = aof.open(true, 7, 1, |_| Ok(())).expect_err("it is full");
    assert!(
        refused.ends_with("a.aof.manifest: No space left on device"),
        "{refused}"
    );
}

/// A process that was killed while the file that a rewrite had ended was synced left it to the next, which synced the last
/// file alone: a crash took the end of the first after WAITAOF had said that all was there.
#[test]
fn all_files_that_were_loaded_are_on_the_disk() {
    let mut bench = bench();
    bench.append("SET a 1");
    bench.flush(Fsync::No, 1).expect("written");
    bench.begin().expect("begun");
    let mut aof = AppendOnly::default();
    let directory = bench.aof.directory().to_owned();
    aof.place(Disk::with_faults(&bench.plan), directory, "a.aof");
    aof.read_manifest().expect("read");
    // A rewrite has told how long the first is.
    let length = bench.text("a.aof.1.incr.aof").len() as u64;
    assert_eq!(aof.manifest.incremental[0].length, Some(length));
    bench.aof.end_helper(std::time::Duration::MAX);
    bench.plan.take_calls();
    aof.open(true, 0, 1, |_| Ok(())).expect("opened");
    let mut synced = bench.plan.take_calls();
    synced.retain(|(call, name)| *call == Call::Sync && name.ends_with(".incr.aof"));
    let names: Vec<_> = synced.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["a.aof.1.incr.aof", "a.aof.2.incr.aof"]);
}
