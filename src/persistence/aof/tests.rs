//! Tests of the append-only file on real files.

use super::*;
use crate::resp::OwnedRequest;

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
    aof: AppendOnly,
    journal: Journal,
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().expect("a directory");
    let mut aof = AppendOnly::default();
    aof.place(
        Disk::default(),
        directory.path().join("appendonlydir"),
        "a.aof",
    );
    aof.read_manifest().expect("none");
    aof.open(true, |path| fs::write(path, b"base"))
        .expect("opened");
    let mut journal = Journal::default();
    journal.set_consumers(1);
    Bench {
        _directory: directory,
        aof,
        journal,
    }
}

impl Bench {
    fn append(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        self.journal
            .append(0, 0, OwnedRequest::from_slices(&words).args());
    }
    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.aof.path(name)).expect("a file")
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
            "file a.aof.1.base.rdb seq 1 type b\nfile a.aof.1.incr.aof seq 1 type i\n"
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
    bench.journal.restart();
    bench.aof.begin_rewrite().expect("a new file");
    bench.append("SET b 2");
    bench
        .aof
        .flush(&mut bench.journal, options(Fsync::No, 1))
        .expect("written");
    let temporary = bench.aof.path("temporary");
    fs::write(&temporary, b"new base").expect("written");
    bench
        .aof
        .end_rewrite(&temporary, false)
        .expect("a new base");
    bench.aof.remove_history();
    assert_eq!(
        bench.text("a.aof.manifest"),
        "file a.aof.2.base.aof seq 2 type b\nfile a.aof.2.incr.aof seq 2 type i\n"
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
    assert!(aof.wants_upgrade(&old));
    aof.upgrade(&old).expect("moved");
    assert!(!aof.wants_upgrade(&old));
    assert_eq!(fs::read(aof.path("a.aof")).expect("moved"), b"old");
    assert_eq!(
        fs::read_to_string(aof.path("a.aof.manifest")).expect("a manifest"),
        "file a.aof seq 1 type b\n"
    );
}
