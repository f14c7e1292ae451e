//! What the allocator knows: figures for INFO and MEMORY, purging, the background thread. Mirrors the jemalloc part of
//! zmalloc.c.
//!
//! The allocator is jemalloc in the server. In a program that does not make it the global allocator (the tests of this
//! crate) the figures are those of an idle jemalloc: small, but there; nothing here panics for it. For AddressSanitizer,
//! which sees nothing of what jemalloc hands out, the server takes the system's allocator, counted (`Counted`).
#![allow(unsafe_code)]

use tikv_jemalloc_ctl::{epoch, raw, stats, thread};

/// The allocator's figures, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllocatorStats {
    /// Handed to the program, with what it has given back and the threads keep for their next requests.
    pub allocated: u64,
    /// What the threads keep: given back by the program, and as good as free.
    pub cached: u64,
    /// In pages that hold something in use.
    pub active: u64,
    /// In pages that are in memory, the allocator's own among them.
    pub resident: u64,
    /// Address space kept for later.
    pub retained: u64,
    /// In active extents.
    pub mapped: u64,
}

impl AllocatorStats {
    /// In use by the program.
    pub fn in_use(&self) -> u64 {
        self.allocated.saturating_sub(self.cached)
    }
}

/// Reads the figures afresh, which costs some microseconds; all zero if there are none.
pub fn allocator_stats() -> AllocatorStats {
    #[cfg(feature = "sanitizer")]
    if let Some(allocated) = Counted::net_bytes() {
        return AllocatorStats {
            allocated,
            active: allocated,
            resident: allocated,
            mapped: allocated,
            ..AllocatorStats::default()
        };
    }
    // The figures stand still until the epoch advances.
    let _ = epoch::advance();
    let known = |figure: Result<usize, _>| figure.map_or(0, |figure: usize| figure as u64);
    AllocatorStats {
        allocated: known(stats::allocated::read()),
        cached: known(cached()),
        active: known(stats::active::read()),
        resident: known(stats::resident::read()),
        retained: known(stats::retained::read()),
        mapped: known(stats::mapped::read()),
    }
}

/// Bytes in the caches of all threads. Without them in the sum a program that gives everything back seems to hold on to
/// up to some MiB: the caches fill as it does.
fn cached() -> tikv_jemalloc_ctl::Result<usize> {
    // 4096 is jemalloc's MALLCTL_ARENAS_ALL.
    // SAFETY: the name ends with a NUL and the control is a size_t.
    unsafe { raw::read(b"stats.arenas.4096.tcache_bytes\0") }
}

/// Memory that this thread has taken and not given back: two loads, for asking after every command (eviction).
///
/// What another thread frees is counted there and not here, so correct it from [`allocator_stats`] now and then.
pub struct ThreadMemory {
    allocated: thread::ThreadLocal<u64>,
    deallocated: thread::ThreadLocal<u64>,
}

impl ThreadMemory {
    /// The counters of the calling thread; none without jemalloc's statistics.
    pub fn of_this_thread() -> Option<ThreadMemory> {
        Some(ThreadMemory {
            allocated: thread::allocatedp::read().ok()?,
            deallocated: thread::deallocatedp::read().ok()?,
        })
    }

    /// Bytes taken minus bytes given back; negative if this thread freed what others took.
    #[inline]
    pub fn net_bytes(&self) -> i64 {
        #[cfg(feature = "sanitizer")]
        if let Some(bytes) = Counted::net_bytes() {
            return bytes as i64;
        }
        self.allocated.get().wrapping_sub(self.deallocated.get()) as i64
    }
}

/// Where a thread takes its memory from. Each thread has its own, by default, and what is freed goes back to where it came
/// from: memory that one thread has taken is of no use to another one.
#[derive(Clone, Copy, Debug)]
pub struct Arena(Option<u32>);

impl Arena {
    const NAME: &'static [u8] = b"thread.arena\0";

    /// That of the calling thread; none that can be named without jemalloc.
    pub fn of_this_thread() -> Arena {
        // SAFETY: the name ends with a NUL and the control is an unsigned.
        Arena(unsafe { raw::read(Arena::NAME) }.ok())
    }
    /// Has the calling thread take its memory from here.
    pub fn join(self) {
        if let Some(arena) = self.0 {
            // SAFETY: the name ends with a NUL and the control is an unsigned.
            let _ = unsafe { raw::write(Arena::NAME, arena) };
        }
    }
}

/// The system's allocator, which AddressSanitizer watches, with a count of what it has handed out.
#[cfg(feature = "sanitizer")]
pub struct Counted;

#[cfg(feature = "sanitizer")]
static NET_BYTES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

#[cfg(feature = "sanitizer")]
impl Counted {
    /// Bytes handed out and not given back; none where another allocator is the global one.
    fn net_bytes() -> Option<u64> {
        let bytes = NET_BYTES.load(std::sync::atomic::Ordering::Relaxed);
        (bytes > 0).then_some(bytes)
    }
    fn count(taken: usize, given_back: usize) {
        let change = (taken as u64).wrapping_sub(given_back as u64);
        NET_BYTES.fetch_add(change, std::sync::atomic::Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came.
#[cfg(feature = "sanitizer")]
unsafe impl std::alloc::GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        Counted::count(layout.size(), 0);
        // SAFETY: the caller's.
        unsafe { std::alloc::System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: std::alloc::Layout) {
        Counted::count(0, layout.size());
        // SAFETY: the caller's.
        unsafe { std::alloc::System.dealloc(place, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: std::alloc::Layout) -> *mut u8 {
        Counted::count(layout.size(), 0);
        // SAFETY: the caller's.
        unsafe { std::alloc::System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: std::alloc::Layout, size: usize) -> *mut u8 {
        Counted::count(size, layout.size());
        // SAFETY: the caller's.
        unsafe { std::alloc::System.realloc(place, layout, size) }
    }
}

/// Gives all unused dirty pages back to the system (`MEMORY PURGE`); whether the allocator did.
pub fn purge() -> bool {
    // 4096 is jemalloc's MALLCTL_ARENAS_ALL.
    let name = c"arena.4096.purge";
    // SAFETY: the name is a C string, and this control takes and returns no value, so all pointers are null.
    let code = unsafe {
        tikv_jemalloc_sys::mallctl(
            name.as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        )
    };
    code == 0
}

/// Turns jemalloc's thread that purges in the background on or off (`jemalloc-bg-thread`); whether it did.
pub fn set_background_thread(on: bool) -> bool {
    // SAFETY: the name ends with a NUL and the control is a bool.
    unsafe { raw::write(b"background_thread\0", on) }.is_ok()
}

/// What jemalloc prints of itself (`MEMORY MALLOC-STATS`); empty without jemalloc's statistics.
pub fn statistics_text() -> Vec<u8> {
    unsafe extern "C" fn append(text: *mut libc::c_void, piece: *const libc::c_char) {
        // SAFETY: `text` is what was handed over below and lives until the call returns; `piece` is a C string.
        unsafe {
            let text = &mut *text.cast::<Vec<u8>>();
            text.extend_from_slice(std::ffi::CStr::from_ptr(piece).to_bytes());
        }
    }
    let _ = epoch::advance();
    let mut text: Vec<u8> = Vec::with_capacity(64 * 1024);
    // SAFETY: `append` takes exactly this pointer, and no options are given.
    unsafe {
        tikv_jemalloc_sys::malloc_stats_print(
            Some(append),
            (&raw mut text).cast(),
            std::ptr::null(),
        );
    }
    text
}

/// Version of the allocator as `mem_allocator` of INFO shows it.
pub fn allocator_name() -> String {
    let version = tikv_jemalloc_ctl::version::read().unwrap_or("unknown");
    format!("jemalloc-{}", version.split('-').next().unwrap_or(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_there_and_in_order() {
        let stats = allocator_stats();
        assert!(
            stats.allocated <= stats.active && stats.active <= stats.mapped,
            "{stats:?}"
        );
        assert!(
            allocator_name().starts_with("jemalloc-5."),
            "{}",
            allocator_name()
        );
    }

    #[test]
    fn purging_works_without_being_the_global_allocator() {
        assert!(purge());
    }

    #[test]
    fn net_bytes_can_be_read() {
        let memory = ThreadMemory::of_this_thread().unwrap();
        // The tests' allocations are not jemalloc's.
        assert!(memory.net_bytes().abs() < 1 << 30);
    }
}
