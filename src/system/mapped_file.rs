//! A whole file as bytes, without reading it into memory first.
//!
//! In: a file. Out: its bytes, as they are while nobody changes it. What cannot be read (the disk fails, or somebody has
//! shortened the file) comes as a signal, SIGBUS, where another program would get an error; by default it ends the
//! process. Here the handler puts zeroes in the place of what is missing and marks the file, and [`MappedFile::check`]
//! tells the error: whoever reads asks it before believing what was read.
//!
//! Why not read(2): a snapshot is read once, from the beginning to the end, and values are made from the bytes where they
//! lie. A mapping needs no second copy, nor a window that every reader of a value would have to know of.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Files that are mapped at one time; the server has two at most.
const PLACES: usize = 64;

/// Where a file is mapped, for the handler.
struct Place {
    /// Its first byte; 0 for a place that is free.
    start: AtomicUsize,
    /// The byte behind its last; 0 while the place is being taken.
    end: AtomicUsize,
    failed: AtomicBool,
}

static MAPPED: [Place; PLACES] = [const {
    Place {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
    }
}; PLACES];

/// The bytes of a file.
#[derive(Debug)]
pub struct MappedFile {
    address: NonNull<u8>,
    len: usize,
    /// In [`MAPPED`]; an empty file has none.
    place: Option<usize>,
    source: Source,
}

/// Where the bytes come from.
#[derive(Debug)]
enum Source {
    /// A file, mapped.
    File(File),
    /// None: the bytes are in memory anyway, and are ours.
    Memory,
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
        let file = file.try_clone()?;
        if len == 0 {
            return Ok(MappedFile {
                address: NonNull::dangling(),
                len,
                place: None,
                source: Source::File(file),
            });
        }
        guard();
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
        let address = match NonNull::new(address.cast::<u8>()) {
            Some(address) if address.as_ptr().cast() != libc::MAP_FAILED => address,
            _ => return Err(io::Error::last_os_error()),
        };
        // SAFETY: the mapping has `len` bytes; the advice changes nothing but the reading ahead.
        unsafe { libc::madvise(address.as_ptr().cast(), len, libc::MADV_SEQUENTIAL) };
        let place = take_place(address.as_ptr() as usize, len);
        let mapped = MappedFile {
            address,
            len,
            place,
            source: Source::File(file),
        };
        match place {
            Some(_) => Ok(mapped),
            None => Err(io::Error::other("too many files are mapped")),
        }
    }

    /// Takes bytes that are in memory for a file's.
    pub(crate) fn of_bytes(bytes: Vec<u8>) -> MappedFile {
        let len = bytes.len();
        let bytes = NonNull::from(Box::leak(bytes.into_boxed_slice()));
        MappedFile {
            address: bytes.cast(),
            len,
            place: None,
            source: Source::Memory,
        }
    }

    /// An error if what was read is not what the file was when it was mapped. Beside what [`MappedFile::check`] knows this
    /// asks the system how long the file is: behind the end of one that was shortened, the last page reads as zeroes without
    /// a signal. For when something in the file is found to be wrong.
    pub fn verify(&self) -> io::Result<()> {
        self.check()?;
        let Source::File(file) = &self.source else {
            return Ok(());
        };
        match file.metadata()?.len() {
            len if len < self.len as u64 => Err(io::Error::from_raw_os_error(libc::EIO)),
            _ => Ok(()),
        }
    }

    /// An error if a part of the file could not be read: then zeroes were read instead. Costs one look at a flag.
    pub fn check(&self) -> io::Result<()> {
        let place = self.place.and_then(|place| MAPPED.get(place));
        match place {
            Some(place) if place.failed.load(Ordering::Relaxed) => {
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            _ => Ok(()),
        }
    }
}

fn take_place(start: usize, len: usize) -> Option<usize> {
    let index = MAPPED.iter().position(|place| {
        let taken = place
            .start
            .compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed);
        taken.is_ok()
    })?;
    let place = &MAPPED[index];
    place.failed.store(false, Ordering::Relaxed);
    place.end.store(start + len, Ordering::Release);
    Some(index)
}

/// The report of crashes handles the signal, and asks [`mend`] first.
static REPORT_HANDLES: AtomicBool = AtomicBool::new(false);

/// Says whether the report of crashes handles SIGBUS. When it no longer does, the signal is handled here.
pub(super) fn handled_by_report(is_handled: bool) {
    REPORT_HANDLES.store(is_handled, Ordering::Relaxed);
    if !is_handled {
        guard();
    }
}

/// Sees to it that a part that cannot be read does not end the process. The handler that the standard library begins with
/// goes; it would only do what ours does for a signal that is none of ours.
fn guard() {
    if REPORT_HANDLES.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: all-zero bytes are a valid sigaction, and it is a live one; the handler has the signature that SA_SIGINFO
    // wants.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_bus_error as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
    }
}

extern "C" fn on_bus_error(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid siginfo to a handler installed with SA_SIGINFO.
    if !unsafe { mend(&*info) } {
        // It is none of ours: it comes again at once, and ends the process.
        // SAFETY: the default action runs no code of ours.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
    }
}

/// For a handler of SIGBUS: if it came from a mapped file, puts zeroes in the place of the rest of the file and marks it.
/// Whether the code that was interrupted can go on. Async-signal-safe.
pub(super) fn mend(info: &libc::siginfo_t) -> bool {
    if info.si_code <= 0 {
        // Sent by somebody.
        return false;
    }
    // SAFETY: a SIGBUS of the kernel has an address.
    let address = unsafe { info.si_addr() } as usize;
    let Some(place) = MAPPED.iter().find(|place| {
        let start = place.start.load(Ordering::Acquire);
        start != 0 && (start..place.end.load(Ordering::Acquire)).contains(&address)
    }) else {
        return false;
    };
    place.failed.store(true, Ordering::Relaxed);
    // SAFETY: sysconf only answers a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = usize::try_from(page).unwrap_or(4096);
    let from = address - address % page;
    let len = place.end.load(Ordering::Acquire).saturating_sub(from);
    // SAFETY: the range lies in a mapping of ours, which nobody can have read here, since reading it brought us here; from
    // now on its bytes are zero. Nobody writes it.
    let zeroes = unsafe {
        libc::mmap(
            from as *mut libc::c_void,
            len,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    zeroes != libc::MAP_FAILED
}

impl Deref for MappedFile {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping, or the box, has `len` readable bytes as long as this lives.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.len) }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        if let Some(place) = self.place.and_then(|place| MAPPED.get(place)) {
            // The end first: a place that is being given back holds nothing.
            place.end.store(0, Ordering::Release);
            place.start.store(0, Ordering::Release);
        }
        match self.source {
            Source::Memory => {
                let bytes = std::ptr::slice_from_raw_parts_mut(self.address.as_ptr(), self.len);
                // SAFETY: this was a box, which nobody else has, and nothing borrows from it any more.
                drop(unsafe { Box::from_raw(bytes) });
            }
            Source::File(_) if self.len > 0 => {
                // SAFETY: the mapping is ours, and nothing borrows from it any more.
                unsafe { libc::munmap(self.address.as_ptr().cast(), self.len) };
            }
            Source::File(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_its_bytes() {
        assert_eq!(&*MappedFile::of_bytes(Vec::new()), b"");
        let bytes = MappedFile::of_bytes(vec![7; 10_000]);
        assert_eq!(&*bytes, &[7; 10_000]);
        assert!(bytes.check().is_ok() && bytes.verify().is_ok());
        let mut file = tempfile::tempfile().expect("a file");
        assert_eq!(&*MappedFile::open(&file).expect("empty"), b"");
        file.write_all(&[7; 10_000]).expect("room");
        assert_eq!(&*MappedFile::open(&file).expect("mapped"), &[7; 10_000]);
    }

    /// A file that somebody shortens, or a disk that fails, once ended the process by a signal.
    #[test]
    fn what_cannot_be_read_is_an_error() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[7; 100_000]).expect("room");
        let mapped = MappedFile::open(&file).expect("mapped");
        let other = MappedFile::open(&file).expect("mapped");
        assert_eq!(mapped[99_999], 7);
        assert!(mapped.check().is_ok());
        file.set_len(5000).expect("cut");
        assert_eq!((mapped[0], mapped[4999]), (7, 7));
        assert!(mapped.check().is_ok() && mapped.verify().is_err());
        // The rest of the last page is zero anyway; the pages behind it are gone.
        assert_eq!((mapped[50_000], mapped[99_999], mapped[0]), (0, 0, 7));
        assert_eq!(
            mapped.check().expect_err("marked").raw_os_error(),
            Some(libc::EIO)
        );
        assert!(other.check().is_ok(), "each for itself");
        drop((mapped, other));
        let mapped = MappedFile::open(&file).expect("mapped");
        assert!(mapped.check().is_ok(), "a mark does not outlive its file");
    }
}
