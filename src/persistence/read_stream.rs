//! Reading a snapshot that comes piece by piece, over a network: a helper finds the items in the pieces and builds the values, so
//! that the loop has nothing left to do but to put them into their places.
//!
//! In: bytes, as they come. Out: for each piece one [`Chunk`] with the items that end in it. What is in a chunk depends on the
//! pieces alone, and not on when the helper gets to them.
//!
//! Invariants:
//! * The helper never sees the keyspace.
//! * Beside the pieces that wait, which whoever gives them keeps few ([`ReadStream::waiting`]), there is the one item that has
//!   not come whole yet. What its lengths say takes no memory before its bytes are there.
//! * An item is read again only when half as many bytes more are there as at the last attempt, or those that it was known to
//!   lack: so what a large one costs in all is a small multiple of its bytes.
//! * After an error or the end nothing more is read.

use super::rdb::LoadError;
use super::rdb::file::{FileReader, Part};
use super::rdb::load::Loader;
use super::read_ahead::{Chunk, Failure, keep};
use crate::config::Settings;
use crate::event_loop::Waker;
use crate::structures::dict::HashSeed;
use crate::system::memory::Arena;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// An item of less is read again whenever more of it has come.
const SMALL: usize = if cfg!(test) { 64 } else { 4096 };
/// Room for what has not come whole that is kept when it has.
const KEPT: usize = 256 * 1024;

/// The pieces put together, as far as they are not read.
struct Window {
    settings: Settings,
    seed: HashSeed,
    bytes: Vec<u8>,
    /// Before so many are there nothing is read.
    wanted: usize,
    reader: Option<FileReader>,
    is_over: bool,
}

impl Window {
    /// Adds a piece, which may be the last, and reads what is whole.
    fn feed(&mut self, piece: &[u8], is_last: bool, chunk: &mut Chunk) {
        if self.is_over {
            // Behind the end nothing means anything.
            return;
        }
        self.bytes.extend_from_slice(piece);
        if self.bytes.len() < self.wanted.max(FileReader::HEAD) && !is_last {
            return;
        }
        if let Err(error) = self.read(is_last, chunk) {
            chunk.failure = Some(Failure::Format(error));
            self.is_over = true;
        }
        if self.is_over {
            self.bytes = Vec::new();
        }
    }
    fn read(&mut self, is_last: bool, chunk: &mut Chunk) -> Result<(), LoadError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self.reader.insert(FileReader::new(&self.bytes)?),
        };
        let loader = Loader {
            settings: &self.settings,
            seed: self.seed,
        };
        let verify = self.settings.rdb_checksum;
        let cut = loop {
            match reader.next(&self.bytes, &loader, verify) {
                Ok(part) => {
                    self.is_over = matches!(part, Part::End);
                    let part = keep(chunk, part);
                    chunk.items.push((part, reader.offset()));
                    if self.is_over {
                        return Ok(());
                    }
                }
                Err(error) => match reader.wanted() {
                    Some(wanted) if !is_last => break wanted,
                    _ => return Err(error),
                },
            }
        };
        let read = reader.let_go(&self.bytes, verify);
        self.bytes.drain(..read);
        if self.bytes.len() < KEPT {
            self.bytes.shrink_to(KEPT);
        }
        let tried = self.bytes.len();
        let more = if tried < SMALL { 0 } else { tried / 2 };
        self.wanted = cut.saturating_sub(read).max(tried.saturating_add(more));
        Ok(())
    }
}

/// What the two sides share.
struct Shared {
    window: Mutex<Window>,
    /// What the helper has made and the loop has not taken.
    ready: Mutex<VecDeque<Chunk>>,
    came: Condvar,
    /// Chunks that were made so far.
    made: AtomicU64,
    given_up: AtomicBool,
    waker: Option<Waker>,
    arena: Arena,
    /// Of the loop alone.
    account: Mutex<Account>,
}

/// What the loop knows.
#[derive(Default)]
struct Account {
    /// So many chunks may be taken in all, and so many are.
    may_take: u64,
    taken: u64,
    /// Bytes of each piece whose chunk has not been taken, and their sum.
    sizes: VecDeque<usize>,
    waiting: usize,
    /// The last piece has been given.
    is_whole: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A piece for the helper.
pub struct Piece {
    shared: Arc<Shared>,
    bytes: Vec<u8>,
    is_last: bool,
}

impl Piece {
    /// Reads it.
    pub(super) fn read(mut self) {
        let mut chunk = Chunk::default();
        let shared = &self.shared;
        // What is built here lives with the loop, which is to find room in what it frees.
        let arena = shared.arena;
        arena.join();
        if !shared.given_up.load(Ordering::Relaxed) {
            lock(&shared.window).feed(&self.bytes, self.is_last, &mut chunk);
        }
        self.bytes = Vec::new();
        lock(&shared.ready).push_back(chunk);
        shared.made.fetch_add(1, Ordering::Release);
        shared.came.notify_all();
        if let Some(waker) = &shared.waker {
            waker.wake();
        }
    }
}

/// A snapshot that comes piece by piece, seen from the loop. Clones are the same one.
///
/// How many chunks the helper has made is a figure of another thread and decides what happens next: it passes the seam, and only
/// so many may be taken ([`ReadStream::may_take`]).
#[derive(Clone)]
pub struct ReadStream(Arc<Shared>);

impl fmt::Debug for ReadStream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ReadStream").finish_non_exhaustive()
    }
}

impl ReadStream {
    /// One of which nothing has come. Must be called by the thread whose loop loads it.
    pub fn new(settings: &Settings, seed: HashSeed, waker: Option<Waker>) -> ReadStream {
        ReadStream(Arc::new(Shared {
            window: Mutex::new(Window {
                settings: settings.clone(),
                seed,
                bytes: Vec::new(),
                wanted: 0,
                reader: None,
                is_over: false,
            }),
            ready: Mutex::default(),
            came: Condvar::new(),
            made: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
            waker,
            arena: Arena::of_this_thread(),
            account: Mutex::default(),
        }))
    }
    /// A piece, to be given to the helper.
    #[must_use]
    pub fn piece(&self, bytes: &[u8], is_last: bool) -> Piece {
        let mut account = lock(&self.0.account);
        account.sizes.push_back(bytes.len());
        account.waiting += bytes.len();
        account.is_whole |= is_last;
        Piece {
            shared: Arc::clone(&self.0),
            bytes: bytes.to_vec(),
            is_last,
        }
    }
    /// Bytes of the pieces whose items have not been taken. Those of an item that has not come whole are not among them, when
    /// they have been looked at: it cannot be loaded before more comes.
    pub fn waiting(&self) -> usize {
        lock(&self.0.account).waiting
    }
    /// Whether the last piece has been given.
    pub fn is_whole(&self) -> bool {
        lock(&self.0.account).is_whole
    }
    /// Chunks that the helper has made so far: a figure that passes the seam.
    pub fn made(&self) -> u64 {
        self.0.made.load(Ordering::Acquire)
    }
    /// So many chunks are made, as the seam says.
    pub fn may_take(&self, made: u64) {
        lock(&self.0.account).may_take = made;
    }
    /// Whether the helper has something to do, as far as the seam says.
    pub fn helper_is_busy(&self) -> bool {
        let account = lock(&self.0.account);
        account.taken + account.sizes.len() as u64 > account.may_take
    }
    /// The next chunk, if there is one.
    pub(super) fn next(&self) -> Option<Chunk> {
        {
            let mut account = lock(&self.0.account);
            if account.taken >= account.may_take {
                return None;
            }
            account.taken += 1;
            let size = account.sizes.pop_front().unwrap_or(0);
            account.waiting = account.waiting.saturating_sub(size);
        }
        let ready = lock(&self.0.ready);
        // Only a replay may be ahead of its helper.
        let ready = self.0.came.wait_while(ready, |ready| ready.is_empty());
        ready.unwrap_or_else(PoisonError::into_inner).pop_front()
    }
    /// Nobody wants it any more: what the helper has of it, it does not look at.
    pub fn give_up(&self) {
        self.0.given_up.store(true, Ordering::Relaxed);
    }
}
