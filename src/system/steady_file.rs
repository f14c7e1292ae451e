//! A file that is written to the disk while it is written, so that the sync at its end is short and the system never
//! holds much of it that is not on the disk.
//!
//! In: bytes. Out: the same in the file. Each time a part of [`PART`] bytes is whole the system begins to write it, and
//! the part before it is waited for. This makes nothing durable: for that stands a sync at the end. Mirrors
//! `rioSetAutoSync` of rio.c.
#![allow(unsafe_code)]

use super::disk::DiskFile;
use std::borrow::Borrow;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

/// Bytes of a part.
pub const PART: u64 = 4 * 1024 * 1024;

/// A file that is written from its beginning.
#[derive(Debug)]
pub struct SteadyFile<F> {
    file: F,
    written: u64,
    steady: bool,
}

impl<F: Borrow<DiskFile>> SteadyFile<F> {
    /// Writes an empty file. `steady`: as said above; else as any file.
    pub fn new(file: F, steady: bool) -> SteadyFile<F> {
        SteadyFile {
            file,
            written: 0,
            steady,
        }
    }
    /// The file.
    pub fn file(&self) -> &DiskFile {
        self.file.borrow()
    }
    fn part_is_whole(&self) -> io::Result<()> {
        let unsupported = || io::Error::from_raw_os_error(libc::ENOSYS);
        let file = self.file.borrow().system().ok_or_else(unsupported)?;
        let range = |from: u64, flags| {
            // SAFETY: a plain system call on an open descriptor; it touches no memory of ours.
            let result =
                unsafe { libc::sync_file_range(file.as_raw_fd(), from as i64, PART as i64, flags) };
            match result {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        range(self.written - PART, libc::SYNC_FILE_RANGE_WRITE)?;
        if self.written >= 2 * PART {
            range(
                self.written - 2 * PART,
                libc::SYNC_FILE_RANGE_WAIT_BEFORE
                    | libc::SYNC_FILE_RANGE_WRITE
                    | libc::SYNC_FILE_RANGE_WAIT_AFTER,
            )?;
        }
        Ok(())
    }
}

impl<F: Borrow<DiskFile>> Write for SteadyFile<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.steady {
            return self.file.borrow().write_some(bytes);
        }
        let room = PART - self.written % PART;
        let most = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let written = self.file.borrow().write_some(&bytes[..most])?;
        self.written += written as u64;
        if written > 0 && self.written.is_multiple_of(PART) {
            match self.part_is_whole() {
                // Not every file system can (nor every file: a pipe): then the sync at the end does it all.
                Err(error) if error.raw_os_error() != Some(libc::EIO) => self.steady = false,
                other => other?,
            }
        }
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::disk::{Disk, Mode};

    #[test]
    fn all_bytes_arrive_whatever_the_parts() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let bytes: Vec<u8> = (0..2 * PART + PART / 2)
            .map(|index| (index % 251) as u8)
            .collect();
        for steady in [true, false] {
            let file = Disk::default().open(&path, Mode::Create).expect("a file");
            let mut writer = SteadyFile::new(&file, steady);
            for piece in bytes.chunks(1_000_003) {
                writer.write_all(piece).expect("written");
            }
            assert_eq!(writer.written, if steady { bytes.len() as u64 } else { 0 });
            assert!(std::fs::read(&path).expect("a file") == bytes);
        }
    }
}
