//! The disk forgets what it may, and nothing else.

use super::*;
use crate::system::disk::Disk;

fn disk(seed: u64) -> (SimulatedDisk, Disk) {
    let simulated = SimulatedDisk::new(seed);
    let disk = Disk::simulated(&simulated);
    (simulated, disk)
}

fn sync(disk: &Disk, folder: &str) {
    let folder = disk.open_folder(Path::new(folder)).expect("opened");
    folder.sync().expect("synced");
}

/// What a disk reads as, over so many seeds.
fn outcomes<T: Ord>(run: impl Fn(u64) -> T) -> BTreeSet<T> {
    (0..1000).map(run).collect()
}

#[test]
fn without_a_crash_it_is_any_file_system() {
    let (_, disk) = disk(1);
    let folder = Path::new("/folder");
    disk.create_folder(folder).expect("made");
    disk.create_folder(folder).expect("there already");
    let path = folder.join("a");
    assert_eq!(disk.read(&path).expect("no error"), None);
    assert_eq!(disk.size(&path).expect("no error"), None);
    let file = disk.open(&path, Mode::AppendNew).expect("made");
    file.write_all(b"one two").expect("written");
    file.sync_data().expect("synced");
    assert!(disk.open(&path, Mode::AppendNew).is_err());
    let other = disk.open(&path, Mode::Append).expect("opened");
    other.set_len(3).expect("cut");
    file.write_all(b" 2").expect("written");
    assert_eq!(disk.read(&path).expect("read"), Some(b"one 2".to_vec()));
    assert_eq!(&*file.map().expect("mapped"), b"one 2");
    assert_eq!(file.size().expect("known"), 5);
    disk.rename(&path, &folder.join("b")).expect("renamed");
    sync(&disk, "/folder");
    assert_eq!(disk.list(folder).expect("listed"), ["b"]);
    // A file that is written from its beginning, by two writes.
    let created = disk.open(&folder.join("c"), Mode::Create).expect("made");
    created.write_all(b"12").expect("written");
    created.write_all(b"34").expect("written");
    disk.rename(&folder.join("c"), &folder.join("b"))
        .expect("in its place");
    assert_eq!(
        disk.read(&folder.join("b")).expect("read"),
        Some(b"1234".to_vec())
    );
    // What is open stays, without a name.
    assert_eq!(file.size().expect("known"), 5);
    let empty = disk.open(&folder.join("b"), Mode::AppendEmpty);
    assert_eq!(empty.and_then(|file| file.size()).expect("known"), 0);
    disk.remove(&folder.join("b")).expect("removed");
    assert!(disk.list(folder).expect("listed").is_empty());
    for (path, number) in [
        ("/none/a", libc::ENOENT),
        ("/folder", libc::EISDIR),
        ("/folder/../a", libc::EINVAL),
    ] {
        let error = disk.open(Path::new(path), Mode::Create).expect_err(path);
        assert_eq!(error.raw_os_error(), Some(number), "{path}");
    }
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_beginning_of_the_rest() {
    let found = outcomes(|seed| {
        let (simulated, disk) = disk(seed);
        let path = Path::new("/a");
        let file = disk.open(path, Mode::Append).expect("made");
        file.write_all(b"ab").expect("written");
        file.sync_data().expect("synced");
        sync(&disk, "/");
        file.write_all(b"cd").expect("written");
        file.write_all(b"ef").expect("written");
        assert_eq!(disk.size(path).expect("known"), Some(6));
        simulated.crash();
        assert!(file.write_some(b"x").is_err() && file.sync_data().is_err());
        let bytes = disk.read(path).expect("read").expect("there");
        String::from_utf8(bytes).expect("as written")
    });
    let all: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(all, ["ab", "abc", "abcd", "abcde", "abcdef"]);
}

#[test]
fn over_older_bytes_any_page_may_be_old() {
    let pages = |seed: u64| {
        let (simulated, disk) = disk(seed);
        let path = Path::new("/a");
        let file = disk.open(path, Mode::Create).expect("made");
        file.write_all(&[1; 2 * PAGE]).expect("written");
        file.sync_all().expect("synced");
        sync(&disk, "/");
        drop(file);
        let file = disk.open(path, Mode::Change).expect("opened");
        file.write_all(&[2; 2 * PAGE]).expect("written");
        simulated.crash();
        let bytes = disk.read(path).expect("read").expect("there");
        let page = |from: usize| {
            let page = &bytes[from..from + PAGE];
            assert!(page.iter().all(|byte| *byte == page[0]), "no half page");
            page[0]
        };
        (page(0), page(PAGE))
    };
    let all: Vec<(u8, u8)> = outcomes(pages).into_iter().collect();
    assert_eq!(all, [(1, 1), (1, 2), (2, 1), (2, 2)]);
}

/// A name without a sync of its folder is no name.
#[test]
fn a_crash_keeps_names_up_to_some_moment() {
    let found = outcomes(|seed| {
        let (simulated, disk) = disk(seed);
        for name in ["/a", "/b"] {
            let file = disk.open(Path::new(name), Mode::AppendNew).expect("made");
            file.write_all(name.as_bytes()).expect("written");
            file.sync_all().expect("synced");
            if name == "/a" {
                sync(&disk, "/");
            }
        }
        disk.rename(Path::new("/b"), Path::new("/a"))
            .expect("renamed");
        simulated.crash();
        simulated.files()
    });
    let file = |name: &str, bytes: &[u8]| (PathBuf::from(name), bytes.to_vec());
    let all = [
        vec![file("/a", b"/a")],
        vec![file("/a", b"/a"), file("/b", b"/b")],
        vec![file("/a", b"/b")],
    ];
    assert_eq!(found, BTreeSet::from(all));
}

/// POSIX promises no order: who relies on one has to sync the folder.
#[test]
fn a_crash_may_keep_a_later_name_and_lose_an_earlier() {
    let found = outcomes(|seed| {
        let (simulated, disk) = disk(seed);
        for name in ["/a", "/b"] {
            disk.open(Path::new(name), Mode::AppendNew).expect("made");
        }
        disk.rename(Path::new("/b"), Path::new("/c"))
            .expect("renamed");
        simulated.crash();
        let files = simulated.files().into_iter();
        let names: String = files.map(|(name, _)| name.display().to_string()).collect();
        names
    });
    let all = ["", "/a", "/a/b", "/a/c", "/b", "/c"];
    assert_eq!(found, BTreeSet::from(all.map(str::to_owned)));
}

#[test]
fn a_disk_stops_after_so_many_calls_until_the_process_has_ended() {
    let (simulated, disk) = disk(1);
    let file = disk.open(Path::new("/a"), Mode::Append).expect("made");
    simulated.stop_after(2);
    file.write_all(b"1").expect("written");
    file.sync_all().expect("synced");
    assert!(!simulated.has_stopped());
    file.write_all(b"2").expect_err("it has stopped");
    assert!(simulated.has_stopped());
    disk.open(Path::new("/b"), Mode::Append).expect_err("so");
    disk.remove(Path::new("/a")).expect_err("so");
    disk.open_folder(Path::new("/")).expect_err("so");
    simulated.end_process();
    let now = disk.read(Path::new("/a")).expect("it goes on");
    assert_eq!(now, Some(b"1".to_vec()));
    assert!(!simulated.has_stopped());
    simulated.stop_behind_rename(2);
    for (from, to) in [("/a", "/b"), ("/b", "/c")] {
        let renamed = disk.rename(Path::new(from), Path::new(to));
        renamed.expect("renamed");
    }
    disk.read(Path::new("/c")).expect_err("it has stopped");
}

#[test]
fn a_sync_of_a_folder_brings_a_rename_into_it_whole() {
    for seed in 0..100 {
        let (simulated, disk) = disk(seed);
        disk.create_folder(Path::new("/folder")).expect("made");
        let file = disk.open(Path::new("/a"), Mode::AppendNew).expect("made");
        file.write_all(b"1").expect("written");
        file.sync_all().expect("synced");
        disk.rename(Path::new("/a"), Path::new("/folder/a"))
            .expect("renamed");
        sync(&disk, "/folder");
        simulated.crash();
        let names: Vec<_> = simulated
            .files()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, [PathBuf::from("/folder/a")]);
    }
}

#[test]
fn the_end_of_a_process_loses_nothing() {
    let (simulated, disk) = disk(1);
    let file = disk.open(Path::new("/a"), Mode::Append).expect("made");
    file.write_all(b"1").expect("written");
    simulated.end_process();
    assert!(file.write_some(b"2").is_err());
    assert_eq!(
        disk.read(Path::new("/a")).expect("read"),
        Some(b"1".to_vec())
    );
}

/// The next sync says that all is well.
#[test]
fn what_a_failed_sync_has_lost_no_later_one_brings_back() {
    let found = outcomes(|seed| {
        let (simulated, disk) = disk(seed);
        let path = Path::new("/a");
        let file = disk.open(path, Mode::Append).expect("made");
        sync(&disk, "/");
        file.write_all(b"ab").expect("written");
        simulated.set_faults(DiskFaults {
            sync_error: 1000,
            ..DiskFaults::NONE
        });
        file.sync_data().expect_err("it fails");
        simulated.set_faults(DiskFaults::NONE);
        file.write_all(b"c").expect("written");
        file.sync_data().expect("well, it says");
        assert_eq!(disk.read(path).expect("read"), Some(b"abc".to_vec()));
        let has_lost = simulated.has_lost();
        simulated.crash();
        let bytes = disk.read(path).expect("read").expect("there");
        assert_eq!(has_lost, bytes == b"\0\0c");
        bytes
    });
    assert_eq!(found, BTreeSet::from([b"\0\0c".to_vec(), b"abc".to_vec()]));
}

#[test]
fn a_full_disk_takes_what_there_is_room_for() {
    let (simulated, disk) = disk(1);
    simulated.set_room(3);
    let file = disk.open(Path::new("/a"), Mode::Append).expect("made");
    assert_eq!(file.write_some(b"1234").expect("written"), 3);
    let full = file.write_some(b"4").expect_err("no room");
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    // A file without a name takes room as long as it is open.
    disk.remove(Path::new("/a")).expect("removed");
    sync(&disk, "/");
    assert_eq!(simulated.used(), 3);
    drop(file);
    assert_eq!(simulated.used(), 0);
}

#[test]
fn the_same_seed_and_calls_fail_alike() {
    let run = |seed: u64| {
        let (simulated, disk) = disk(seed);
        simulated.set_faults(DiskFaults::any(&mut Rng::new(seed)));
        simulated.keep_trace();
        for round in 0..50 {
            let path = PathBuf::from(format!("/{}", round % 7));
            if let Ok(file) = disk.open(&path, Mode::Append) {
                let _ = file.write_all(&[round; 100]);
                let _ = file.sync_data();
            }
            let _ = disk.rename(&path, Path::new("/other"));
            if round % 10 == 9 {
                simulated.crash();
            }
        }
        (
            simulated.trace_sum(),
            simulated.take_trace(),
            simulated.files(),
        )
    };
    assert!(run(3) == run(3));
    assert!(run(3).0 != run(4).0);
}

#[test]
fn a_copy_is_another_disk() {
    let (simulated, disk) = disk(1);
    let file = disk.open(Path::new("/a"), Mode::Append).expect("made");
    file.write_all(b"1").expect("written");
    let copy = simulated.copy(2);
    file.write_all(b"2").expect("still open");
    copy.crash();
    assert_eq!(
        disk.read(Path::new("/a")).expect("read"),
        Some(b"12".to_vec())
    );
    assert!(copy.used() <= 1);
}
