//! The free thread: frees what would stall the loop.
//!
//! In: entries and whole tables, owned. Out: a count of what is still to be freed. It never sees the keyspace. The
//! thread starts with the first load and ends with its owner. Simulations do without it ([`FreeThread::inline`]).
//! Who wants to know when all is free that was given so far asks for a bell ([`FreeThread::ring_after`]): it wakes the loop.
//! Mirrors `lazyfree.c` of Redis.

use super::entry::Entry;
use super::table::Table;
use crate::event_loop::Waker;
use crate::structures::Collection;
use crate::structures::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

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
#[derive(Default)]
pub(super) struct FreeThread {
    thread: Option<(Sender<Load>, JoinHandle<()>)>,
    pending: Arc<AtomicU64>,
    inline: bool,
    waker: Option<Waker>,
    /// Bells sent, and how many of them have rung.
    bells: u64,
    rung: Arc<AtomicU64>,
}

impl FreeThread {
    /// From now on everything is freed before the call returns.
    pub(super) fn inline(&mut self) {
        self.inline = true;
    }
    /// The loop can be woken by this from now on.
    pub(super) fn wake_with(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }
    /// Whether [`FreeThread::ring_after`] can ring.
    pub(super) fn can_ring(&self) -> bool {
        self.waker.is_some() && !self.inline
    }
    /// Wakes the loop when all that was given until now is free; the number of the bell. None where it is free already.
    pub(super) fn ring_after(&mut self) -> Option<u64> {
        let (sender, _) = self.thread.as_ref()?;
        sender.send(Load::Bell(self.waker.clone()?)).ok()?;
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
        if self.inline || objects == 0 {
            return objects;
        }
        if self.thread.is_none() {
            self.thread = start(Arc::clone(&self.pending), Arc::clone(&self.rung));
        }
        // Without a thread (the system gives us none) the load is freed here, on return.
        if let Some((sender, _)) = &self.thread {
            self.pending.fetch_add(objects, Ordering::Relaxed);
            if sender.send(load).is_err() {
                self.pending.fetch_sub(objects, Ordering::Relaxed);
            }
        }
        objects
    }
}

fn start(pending: Arc<AtomicU64>, rung: Arc<AtomicU64>) -> Option<(Sender<Load>, JoinHandle<()>)> {
    let (sender, receiver) = channel::<Load>();
    let work = move || {
        crate::system::process::yield_to_others();
        for load in receiver {
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
    };
    let handle = std::thread::Builder::new()
        .name("gyre-free".into())
        .spawn(work)
        .ok()?;
    Some((sender, handle))
}

impl Drop for FreeThread {
    fn drop(&mut self) {
        if let Some((sender, handle)) = self.thread.take() {
            // The closed channel ends the thread after what is still in it.
            drop(sender);
            let _ = handle.join();
        }
    }
}
