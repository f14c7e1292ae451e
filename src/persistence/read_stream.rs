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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::keyspace::NewValue;
    use crate::persistence::rdb::tests::{mutate, stored, value};
    use crate::persistence::rdb::write::Writer;
    use crate::persistence::rdb::{FileVersion, save};
    use crate::persistence::read_ahead::{ReadPart, ReadValue};
    use crate::system::crc64::crc64;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    const SEED: HashSeed = HashSeed([1, 2, 3, 4]);

    fn settings() -> Settings {
        Config::with_dir(Path::new("/")).settings().clone()
    }

    fn window() -> Window {
        let stream = ReadStream::new(&settings(), SEED, None);
        let shared = Arc::into_inner(stream.0).expect("the only one");
        shared.window.into_inner().expect("no panic")
    }

    /// What is in a chunk, as text.
    fn texts(chunk: &Chunk, into: &mut Vec<String>) {
        for (part, end) in &chunk.items {
            let shown = |text| format!("{:?}", chunk.text(text));
            into.push(match part {
                ReadPart::Aux(name, value) => format!("{end} {} {}", shown(name), shown(value)),
                ReadPart::Function(code) => format!("{end} {}", shown(code)),
                ReadPart::Empty(key) => format!("{end} {} is empty", shown(key)),
                ReadPart::Entry {
                    key,
                    value,
                    expire_at,
                    usage,
                } => {
                    let value = match value {
                        ReadValue::Text(text) => shown(text),
                        ReadValue::Built(value) => format!("{value:?}"),
                    };
                    format!("{end} {} {value} {expire_at:?} {usage:?}", shown(key))
                }
                other => format!("{end} {other:?}"),
            });
        }
    }

    /// All that is read of these pieces, as text, and why no more.
    fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Option<LoadError>) {
        let mut window = window();
        let (mut all, mut failure) = (Vec::new(), None);
        for (piece, is_last) in pieces
            .map(|piece| (piece, false))
            .chain(std::iter::once((&b""[..], true)))
        {
            let mut chunk = Chunk::default();
            window.feed(piece, is_last, &mut chunk);
            texts(&chunk, &mut all);
            match chunk.take_failure() {
                Some(Failure::Format(error)) => failure = Some(error),
                Some(Failure::Io(error)) => panic!("{error}"),
                None => {}
            }
        }
        (all, failure)
    }

    /// The same by a reader that has all bytes from the beginning.
    fn read_at_once(bytes: &[u8]) -> (Vec<String>, Option<LoadError>) {
        let settings = settings();
        let loader = Loader {
            settings: &settings,
            seed: SEED,
        };
        let mut reader = match FileReader::new(bytes) {
            Ok(reader) => reader,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let mut chunk = Chunk::default();
        let mut failure = None;
        loop {
            match reader.next(bytes, &loader, true) {
                Ok(part) => {
                    let is_over = matches!(part, Part::End);
                    let part = keep(&mut chunk, part);
                    chunk.items.push((part, reader.offset()));
                    if is_over {
                        break;
                    }
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let mut all = Vec::new();
        texts(&chunk, &mut all);
        (all, failure)
    }

    /// A file with these values, and whatever else there may be in one.
    fn file(values: &[NewValue<'static>], compress: bool) -> Vec<u8> {
        let mut bytes = b"REDIS0012".to_vec();
        let mut writer = Writer::new(&mut bytes, compress);
        writer.byte(0xfa);
        writer.string(b"repl-offset");
        writer.string(b"12345");
        writer.byte(0xf5);
        writer.string(b"#!lua name=a\nredis.register_function('f', function() end)");
        writer.byte(0xfe);
        writer.len(3);
        writer.byte(0xfb);
        writer.len(values.len());
        writer.len(1);
        for (at, value) in values.iter().enumerate() {
            match at % 4 {
                1 => {
                    writer.byte(0xfc);
                    (0..8).for_each(|byte| writer.byte(byte));
                }
                2 => {
                    writer.byte(0xf8);
                    writer.len(at * 1000);
                }
                3 => {
                    writer.byte(0xf9);
                    writer.byte(7);
                }
                _ => {}
            }
            writer.byte(save::kind_of(stored(value), FileVersion::V12));
            writer.string(format!("key:{at}").as_bytes());
            save::save(stored(value), &mut writer);
        }
        writer.byte(0xff);
        let sum = crc64(0, &bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However a snapshot is cut, the same is read as when it is there at once.
        #[test]
        fn cuts_change_nothing(
            values in proptest::collection::vec(value(), 0..5),
            compress: bool,
            step in 1usize..2000,
        ) {
            let bytes = file(&values, compress);
            let expected = read_at_once(&bytes);
            prop_assert_eq!(&expected.1, &None);
            prop_assert!(expected.0.len() >= values.len() + 5);
            prop_assert_eq!(&read(bytes.chunks(1)), &expected);
            prop_assert_eq!(&read(bytes.chunks(step)), &expected);
        }

        /// Wrong bytes are as wrong, at the same place, however they are cut.
        #[test]
        fn cuts_change_no_errors(
            values in proptest::collection::vec(value(), 0..4),
            compress: bool,
            step in 1usize..500,
            changes in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
        ) {
            let mut bytes = file(&values, compress);
            mutate(&mut bytes, &changes);
            let expected = read_at_once(&bytes);
            prop_assert_eq!(&read(bytes.chunks(step)), &expected);
            prop_assert_eq!(&read(bytes.chunks(1)), &expected);
        }
    }

    /// Each place at which a file can be cut in two, with a value of each type.
    #[test]
    fn a_cut_may_be_anywhere() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        // Small ones, so that there are not too many places.
        let length = |value: &NewValue<'static>| file(std::slice::from_ref(value), true).len();
        let values: Vec<_> = (0..80)
            .map(|_| {
                let tree = value().new_tree(&mut runner).expect("a value");
                proptest::strategy::ValueTree::current(&tree)
            })
            .filter(|value| length(value) < 400)
            .take(16)
            .collect();
        let bytes = file(&values, true);
        let kinds: BTreeSet<u8> = values
            .iter()
            .map(|it| save::kind_of(stored(it), FileVersion::V12))
            .collect();
        assert!(kinds.len() > 4, "{kinds:?}");
        let expected = read_at_once(&bytes);
        assert_eq!(expected.1, None);
        for at in 0..bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(read([first, second].into_iter()), expected, "{at}");
        }
        // What ends too early is never taken for whole.
        for at in 0..bytes.len() {
            let (_, failure) = read(std::iter::once(&bytes[..at]));
            assert!(failure.is_some(), "{at}");
        }
    }

    /// A value that comes in many pieces was read from its beginning for each of them.
    #[test]
    fn a_large_value_is_not_read_again_for_each_piece() {
        let mut bytes = b"REDIS0012\x02\x01k".to_vec();
        let mut writer = Writer::new(&mut bytes, false);
        let members = 20_000;
        writer.len(members);
        for member in 0..members {
            writer.string(format!("member:{member}").as_bytes());
        }
        writer.byte(0xff);
        bytes.extend([0; 8]);
        let mut window = window();
        let mut read = 0;
        for piece in bytes.chunks(1000) {
            let held = window.bytes.len() + piece.len();
            if held >= window.wanted {
                read += held;
            }
            let mut chunk = Chunk::default();
            window.feed(piece, false, &mut chunk);
            assert!(chunk.failure.is_none());
        }
        window.feed(b"", true, &mut Chunk::default());
        assert!(window.is_over);
        assert!(read < 4 * bytes.len(), "{read} of {}", bytes.len());
        assert_eq!(window.bytes.capacity(), 0);
    }

    /// Neither a length that is announced nor what comes behind the end takes memory.
    #[test]
    fn nothing_is_kept_that_is_not_needed() {
        let mut window = self::window();
        let mut chunk = Chunk::default();
        window.feed(
            b"REDIS0012\x00\x01k\x81\xff\xff\xff\xff\xff\xff\xff\x00v",
            false,
            &mut chunk,
        );
        assert!(chunk.failure.is_none());
        assert!(window.bytes.capacity() < 1000);
        window.feed(b"", true, &mut chunk);
        assert!(chunk.failure.is_some() && window.is_over);
        window.feed(&[0; 100_000], false, &mut chunk);
        assert_eq!(window.bytes.capacity(), 0);
        // Large values that are whole leave no room behind.
        let mut window = self::window();
        let mut bytes = b"REDIS0012\x00\x01k\x80".to_vec();
        bytes.extend(4_000_000_u32.to_be_bytes());
        bytes.extend(vec![b'v'; 4_000_000]);
        for piece in bytes.chunks(10_000) {
            window.feed(piece, false, &mut Chunk::default());
        }
        assert!(window.bytes.capacity() <= KEPT && !window.is_over);
    }

    /// What is given up is not looked at, and its pieces are done with all the same.
    #[test]
    fn what_is_given_up_is_not_read() {
        let stream = ReadStream::new(&settings(), SEED, None);
        let pieces = [stream.piece(b"REDIS", false), stream.piece(b"0012", true)];
        assert!(stream.is_whole() && stream.helper_is_busy());
        assert_eq!((stream.waiting(), stream.made()), (9, 0));
        assert!(stream.next().is_none());
        stream.give_up();
        pieces.into_iter().for_each(Piece::read);
        stream.may_take(stream.made());
        assert!(!stream.helper_is_busy());
        for _ in 0..2 {
            let chunk = stream.next().expect("made");
            assert!(chunk.items.is_empty() && chunk.failure.is_none());
        }
        assert!(stream.next().is_none());
        assert_eq!(stream.waiting(), 0);
    }
}
