//! A snapshot of all databases on the disk, written so that the old one stays until the new one is whole.
//!
//! In: the keyspace. Out: a file under its name, or an error and the old file as it was. A temporary file is written,
//! brought to the disk, renamed, and the directory brought to the disk too. Mirrors `rdbSave` of rdb.c.

use super::rdb::file::{FileWriter, Usage};
use super::rdb::{FileVersion, SaveInfo};
use crate::keyspace::{Clock, Keyspace};
use crate::system::child;
use crate::system::disk::{Disk, DiskFolder, Mode};
use crate::system::steady_file::SteadyFile;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a snapshot is written.
#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    /// Where the file is written.
    pub disk: Disk,
    /// The file.
    pub path: PathBuf,
    /// Its version, which can hold all that is in the data when it begins.
    pub version: FileVersion,
    /// The number of the process that writes it, which is in the name of what is not yet whole.
    pub pid: i32,
    /// `rdbcompression`.
    pub compress: bool,
    /// `rdbchecksum`.
    pub checksum: bool,
    /// What a policy of eviction wants to find again.
    pub usage: UsageKind,
    /// Used memory, for the file's own account.
    pub used_memory: u64,
    /// Rest after each key, µs (`rdb-key-save-delay`, for tests).
    pub key_delay_us: u64,
    /// It goes to the disk while it is written.
    pub steady: bool,
    /// It is the base of an append-only file.
    pub is_aof_base: bool,
    /// The code of each library of functions.
    pub libraries: Vec<Arc<[u8]>>,
    /// Which state of the server's stream the data are, where there is one.
    pub save_info: Option<SaveInfo>,
}

/// What is written about the use of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum UsageKind {
    None,
    Idle,
    Frequency,
}

/// Writes a snapshot; `progress` is told the number of keys written, now and then.
pub fn write(
    keyspace: &Keyspace,
    now: Clock,
    options: &SnapshotOptions,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    write_temporary(keyspace, now, options, progress)?;
    install(options)?.sync()
}

fn temporary(options: &SnapshotOptions) -> PathBuf {
    let name = format!("temp-{}.rdb", options.pid);
    options.path.with_file_name(name)
}

/// The first half of [`write`]: a whole snapshot under another name.
pub fn write_temporary(
    keyspace: &Keyspace,
    now: Clock,
    options: &SnapshotOptions,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let (disk, temporary) = (&options.disk, temporary(options));
    let written = disk.open(&temporary, Mode::Create).and_then(|file| {
        let mut sink = SteadyFile::new(&file, options.steady);
        write_to(keyspace, now, options, &mut sink, progress)?;
        file.sync_all()
    });
    if written.is_err() {
        let _ = disk.remove(&temporary);
    }
    written
}

/// The second half of [`write`]: the snapshot gets its name, which is on the disk only once the folder is. On error the old
/// file has it still.
pub fn install(options: &SnapshotOptions) -> io::Result<DiskFolder> {
    let (disk, temporary) = (&options.disk, temporary(options));
    let directory = options.path.parent().unwrap_or(Path::new("."));
    // All that may fail is asked for before the rename.
    let installed = disk.open_folder(directory).and_then(|folder| {
        // The server of a child that was killed may have a successor, with a newer snapshot under the name.
        if child::parent_is_gone() {
            return Err(io::Error::other("the server that wanted it is gone"));
        }
        disk.rename(&temporary, &options.path)?;
        Ok(folder)
    });
    if installed.is_err() {
        let _ = disk.remove(&temporary);
    }
    installed
}

/// Rests, for tests that want a save or a load to take its time.
pub(crate) fn delay(us: u64) {
    if us > 0 {
        std::thread::sleep(std::time::Duration::from_micros(us));
    }
}

/// What stands before the keys.
fn begin(writer: &mut FileWriter<'_>, now: Clock, options: &SnapshotOptions) {
    writer.aux("redis-ver", crate::REDIS_VERSION);
    writer.aux("redis-bits", "64");
    writer.aux("ctime", &now.unix_s().to_string());
    writer.aux("used-mem", &options.used_memory.to_string());
    // Not in a base: what follows it in the append-only file has moved on.
    if let Some(info) = options.save_info.as_ref().filter(|_| !options.is_aof_base) {
        writer.aux("repl-stream-db", &info.stream_db.to_string());
        writer.aux("repl-id", &info.replication_id);
        writer.aux("repl-offset", &info.offset.to_string());
    }
    writer.aux("aof-base", if options.is_aof_base { "1" } else { "0" });
    for code in &options.libraries {
        writer.library(code);
    }
}

/// The bytes of a snapshot before its first key.
pub(super) fn beginning(options: &SnapshotOptions, now: Clock) -> Vec<u8> {
    let mut nowhere = io::sink();
    let mut writer = FileWriter::new(&mut nowhere, options.version, options.compress, false);
    begin(&mut writer, now, options);
    writer.into_unwritten()
}

/// Writes a snapshot to any sink.
pub fn write_to(
    keyspace: &Keyspace,
    now: Clock,
    options: &SnapshotOptions,
    sink: &mut dyn io::Write,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    const PROGRESS_KEYS: u64 = 1024;
    let mut writer = FileWriter::new(sink, options.version, options.compress, options.checksum);
    begin(&mut writer, now, options);
    let mut keys = 0;
    for index in 0..keyspace.count() {
        let (count, volatile, _) = keyspace.figures(index);
        if count == 0 {
            continue;
        }
        writer.select(index, count, volatile);
        let mut result = Ok(());
        keyspace.for_each(index, &mut |entry| {
            if result.is_err() {
                return;
            }
            let usage = match options.usage {
                UsageKind::None => None,
                UsageKind::Idle => Some(Usage::Idle(entry.idle_ms(now) / 1000)),
                UsageKind::Frequency => Some(Usage::Frequency(entry.frequency(now))),
            };
            result = writer.entry(&entry, usage);
            delay(options.key_delay_us);
            keys += 1;
            if keys % PROGRESS_KEYS == 0 {
                progress(keys);
            }
        });
        result?;
    }
    writer.finish()?;
    progress(keys);
    Ok(())
}
