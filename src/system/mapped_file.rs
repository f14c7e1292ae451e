//! A whole file as bytes, without reading it into memory first.
//!
//! In: a file. Out: its bytes, as they are while nobody changes it: a file that is shortened meanwhile ends the process
//! with SIGBUS, so this is for files that only we write.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// The bytes of a file.
#[derive(Debug)]
pub struct MappedFile {
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is private to this value, read-only, and bound to no thread.
unsafe impl Send for MappedFile {}
// SAFETY: it is only ever read.
unsafe impl Sync for MappedFile {}

impl MappedFile {
    /// Maps a file.
    pub fn open(file: &File) -> io::Result<MappedFile> {
        let len = usize::try_from(file.metadata()?.len())
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        if len == 0 {
            return Ok(MappedFile {
                address: NonNull::dangling(),
                len,
            });
        }
        let null = std::ptr::null_mut();
        // SAFETY: a new mapping of our own, at a place of the system's choice.
        let address = unsafe {
            libc::mmap(
                null,
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(address.cast::<u8>()) {
            Some(address) if address.as_ptr().cast() != libc::MAP_FAILED => {
                // SAFETY: the mapping has `len` bytes; the advice changes nothing but the reading ahead.
                unsafe { libc::madvise(address.as_ptr().cast(), len, libc::MADV_SEQUENTIAL) };
                Ok(MappedFile { address, len })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Deref for MappedFile {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping has `len` readable bytes as long as this lives.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.len) }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the mapping is ours, and nothing borrows from it any more.
            unsafe { libc::munmap(self.address.as_ptr().cast(), self.len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_its_bytes() {
        let mut file = tempfile::tempfile().expect("a file");
        assert_eq!(&*MappedFile::open(&file).expect("empty"), b"");
        file.write_all(&[7; 10_000]).expect("room");
        assert_eq!(&*MappedFile::open(&file).expect("mapped"), &[7; 10_000]);
    }
}
