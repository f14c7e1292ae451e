//! The free thread: frees what would stall the loop.
//!
//! In: entries and whole tables, owned. Out: a count of what is still to be freed. It never sees the keyspace. It is one
//! of the helpers ([`crate::system::helper`]).
//! Who wants to know when all is free that was given so far asks for a bell ([`FreeThread::ring_after`]): it wakes the loop.
//! Mirrors `lazyfree.c` of Redis.

use super::entry::Entry;
use super::table::Table;
use crate::event_loop::Waker;
use crate::structures::Collection;
use crate::structures::hash::Hash;
use crate::system::helper::{Helper, Jobs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Values with more elements than this are worth a message to the thread.
const EFFORT_MIN: usize = 64;

/// Something to free.
pub(super) enum Load {
    Entry(Entry),
    Table(Box<Table>),
    Hash(Box<Hash>),
    /// Nothing, but the loop is told when it is the turn of it.
    Bell(Waker),
}

impl Load {
    fn objects(&self) -> u64 {
        match self {
            Load::Entry(_) => 1,
            Load::Table(table) => table.len() as u64,
            Load::Hash(hash) => hash.len() as u64,
            Load::Bell(_) => 0,
        }
    }
}

/// The thread and the way to it.
pub(super) struct FreeThread {
    helper: Helper<Load>,
    /// Frees what somebody waits for (FLUSHALL), at the usual priority: where all processors are busy the other would be at it
    /// for fifty times as long, and a thread that has yielded may not take that back.
    awaited: Helper<Load>,
    pending: Arc<AtomicU64>,
    waker: Option<Waker>,
    /// Bells sent, and how many of them have rung.
    bells: u64,
    rung: Arc<AtomicU64>,
}

impl Default for FreeThread {
    fn default() -> FreeThread {
        FreeThread::new(&Jobs::default())
    }
}

impl FreeThread {
    /// A helper of this kind.
    pub(super) fn new(jobs: &Jobs) -> FreeThread {
        let (pending, rung) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (its_pending, its_rung) = (Arc::clone(&pending), Arc::clone(&rung));
        let begin = crate::system::process::yield_to_others;
        let run = move |load| free(load, &its_pending, &its_rung);
        FreeThread {
            awaited: Helper::new("gyre-flush", jobs, || (), run.clone()),
            helper: Helper::new("gyre-free", jobs, begin, run),
            pending,
            waker: None,
            bells: 0,
            rung,
        }
    }
    /// The loop can be woken by this from now on.
    pub(super) fn wake_with(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }
    /// Whether [`FreeThread::ring_after`] can ring.
    pub(super) fn can_ring(&self) -> bool {
        self.waker.is_some()
    }
    /// Wakes the loop when all is free that was given until now to be waited for; the number of the bell. None where it is
    /// free already.
    pub(super) fn ring_after(&mut self) -> Option<u64> {
        if !self.awaited.has_begun() {
            return None;
        }
        self.awaited.give(Load::Bell(self.waker.clone()?));
        self.bells += 1;
        Some(self.bells)
    }
    /// Bells that have rung.
    pub(super) fn rung(&self) -> u64 {
        self.rung.load(Ordering::Acquire)
    }
    /// Objects not yet freed.
    pub(super) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }
    /// Frees an entry: here, or when `lazily` and it is large, in the thread. The number of objects handed over.
    #[inline]
    pub(super) fn entry(&mut self, entry: Entry, lazily: bool) -> u64 {
        if lazily && entry.free_effort() > EFFORT_MIN {
            return self.give(Load::Entry(entry));
        }
        0
    }
    /// Frees a whole table in the thread. The number of objects handed over.
    pub(super) fn table(&mut self, table: Table) -> u64 {
        self.give(Load::Table(Box::new(table)))
    }
    /// The same for one that somebody waits for.
    pub(super) fn awaited_table(&mut self, table: Table) -> u64 {
        let load = Load::Table(Box::new(table));
        let objects = load.objects();
        self.pending.fetch_add(objects, Ordering::Relaxed);
        self.awaited.give(load);
        objects
    }
    /// Frees a hash that is none of the keyspace's: in the thread if it is large, else here. The number of objects handed
    /// over.
    pub(super) fn hash(&mut self, hash: Hash) -> u64 {
        if hash.free_effort() > EFFORT_MIN {
            return self.give(Load::Hash(Box::new(hash)));
        }
        0
    }
    fn give(&mut self, load: Load) -> u64 {
        let objects = load.objects();
        if objects == 0 {
            return objects;
        }
        self.pending.fetch_add(objects, Ordering::Relaxed);
        self.helper.give(load);
        objects
    }
}

fn free(load: Load, pending: &AtomicU64, rung: &AtomicU64) {
    let objects = load.objects();
    match load {
        Load::Entry(entry) => drop(entry),
        Load::Table(table) => {
            drop(table);
            // The allocator gives memory back as it is used; after a whole table there may be no use for long.
            crate::system::memory::purge();
        }
        Load::Hash(hash) => drop(hash),
        Load::Bell(waker) => {
            rung.fetch_add(1, Ordering::Release);
            waker.wake();
        }
    }
    pending.fetch_sub(objects, Ordering::Relaxed);
}
