//! Reading a snapshot ahead of the loop: a helper checks sums, decompresses and builds values, so that the loop has nothing left
//! to do but to put them into their places.
//!
//! In: a file. Out: its items, in order, some hundred at a time. What is read is the same however fast the helper is: a chunk
//! ends by what is in it and not by time. Redis and Valkey read and build in their one thread.
//!
//! Invariants:
//! * The helper reads the file and never sees the keyspace.
//! * At most [`AHEAD`] chunks are ready or under way, so that memory stays bounded; a single value may be large.
//! * After an error or the end nothing more is read.

use super::rdb::LoadError;
use super::rdb::file::{FileReader, FileValue, Part, Usage};
use super::rdb::load::Loader;
use crate::config::Settings;
use crate::keyspace::NewValue;
use crate::structures::dict::HashSeed;
use crate::system::helper::{Helper, Jobs};
use crate::system::mapped_file::MappedFile;
use crate::system::memory::Arena;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Chunks that are read before the first is asked for.
const AHEAD: usize = 4;
/// Bytes of the file after which a chunk ends.
const CHUNK_BYTES: usize = if cfg!(test) { 4 * 1024 } else { 64 * 1024 };
/// A file of less is read where it is wanted: a thread would cost more than it saves.
const LEAST_BYTES: usize = if cfg!(test) { 16 * 1024 } else { 1024 * 1024 };
/// Longer strings are built where they are read, shorter ones with their entries.
const TEXT_MAX: usize = 1024;

/// Bytes within [`Chunk::texts`].
type Text = Range<usize>;

/// One thing of a snapshot, like [`Part`], but that it borrows from its chunk.
#[derive(Debug)]
pub(super) enum ReadPart {
    Aux(Text, Text),
    Select(u64),
    /// So many keys follow in this database, of which so many expire.
    Resize(u64, u64),
    /// Nothing to be done.
    Skipped,
    Function(Text),
    /// A collection without elements.
    Empty(Text),
    Entry {
        key: Text,
        value: ReadValue,
        expire_at: Option<i64>,
        usage: Option<Usage>,
    },
    End,
}

#[derive(Debug)]
pub(super) enum ReadValue {
    /// A string that is not built yet.
    Text(Text),
    Built(NewValue<'static>),
}

/// Items that follow each other, each with where the next one begins in the file.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    texts: Vec<u8>,
    pub(super) items: Vec<(ReadPart, usize)>,
    /// Why there is none after them.
    pub(super) failure: Option<Failure>,
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(super) enum Failure {
    /// The file cannot be read.
    Io(io::Error),
    /// It is not what a snapshot is.
    Format(LoadError),
}

impl Chunk {
    pub(super) fn text(&self, text: &Text) -> &[u8] {
        self.texts.get(text.clone()).unwrap_or_default()
    }
    fn put(&mut self, bytes: &[u8]) -> Text {
        let from = self.texts.len();
        self.texts.extend_from_slice(bytes);
        from..self.texts.len()
    }
    pub(super) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }
    fn clear(&mut self) {
        self.texts.clear();
        self.items.clear();
        // One long text is no reason to keep its room.
        self.texts.shrink_to(8 * CHUNK_BYTES);
    }
}

/// What is read, and how far it is.
struct Source {
    file: Arc<MappedFile>,
    settings: Settings,
    seed: HashSeed,
    /// None after the end and after an error.
    reader: Mutex<Option<FileReader>>,
}

impl Source {
    /// Reads on until a chunk is full.
    fn fill(&self, chunk: &mut Chunk) {
        let mut held = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reader) = held.as_mut() else { return };
        let loader = Loader {
            settings: &self.settings,
            seed: self.seed,
        };
        let verify = self.settings.rdb_checksum;
        let full = reader.offset().saturating_add(CHUNK_BYTES);
        let mut is_over = false;
        while !is_over && reader.offset() < full {
            match reader.next(&self.file, &loader, verify) {
                Ok(part) => {
                    is_over = matches!(part, Part::End);
                    let part = keep(chunk, part);
                    chunk.items.push((part, reader.offset()));
                }
                Err(error) => {
                    chunk.failure = Some(Failure::Format(error));
                    is_over = true;
                }
            }
        }
        if is_over {
            *held = None;
        }
        // First whether it could be read at all: else zeroes stood in its place.
        if let Err(error) = self.file.check() {
            chunk.clear();
            chunk.failure = Some(Failure::Io(error));
            *held = None;
        }
    }
}

/// Takes a part of a file into a chunk.
pub(super) fn keep(chunk: &mut Chunk, part: Part<'_>) -> ReadPart {
    match part {
        Part::Aux(name, value) => ReadPart::Aux(chunk.put(&name), chunk.put(&value)),
        Part::Select(db) => ReadPart::Select(db),
        Part::Resize(keys, volatile) => ReadPart::Resize(keys, volatile),
        Part::ModuleAux => ReadPart::Skipped,
        Part::Function(code) => ReadPart::Function(chunk.put(&code)),
        Part::End => ReadPart::End,
        Part::Entry {
            key,
            value: FileValue::Empty,
            ..
        } => ReadPart::Empty(chunk.put(&key)),
        Part::Entry {
            key,
            value: FileValue::Text(text),
            expire_at,
            usage,
        } => ReadPart::Entry {
            key: chunk.put(&key),
            value: match text.len() <= TEXT_MAX {
                true => ReadValue::Text(chunk.put(&text)),
                false => ReadValue::Built(NewValue::Blob(Arc::new(text.into_owned()))),
            },
            expire_at,
            usage,
        },
        Part::Entry {
            key,
            value: FileValue::Built(value),
            expire_at,
            usage,
        } => ReadPart::Entry {
            key: chunk.put(&key),
            value: ReadValue::Built(value),
            expire_at,
            usage,
        },
    }
}

struct Job {
    source: Arc<Source>,
    chunk: Chunk,
    done: Sender<Chunk>,
    arena: Arena,
}

fn run(mut job: Job) {
    // What is built here lives with the loop, which is to find room in what it frees.
    job.arena.join();
    job.source.fill(&mut job.chunk);
    // Nobody hears of it where the load was given up.
    let _ = job.done.send(job.chunk);
}

struct Thread {
    helper: Helper<Job>,
    sender: Sender<Chunk>,
    receiver: Receiver<Chunk>,
    arena: Arena,
}

impl Thread {
    fn give(&mut self, source: &Arc<Source>, chunk: Chunk) {
        self.helper.give(Job {
            source: Arc::clone(source),
            chunk,
            done: self.sender.clone(),
            arena: self.arena,
        });
    }
}

/// A snapshot that is read ahead.
pub(super) struct ReadAhead {
    source: Arc<Source>,
    thread: Option<Thread>,
    /// One to be filled again.
    spare: Chunk,
}

impl fmt::Debug for ReadAhead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ReadAhead").finish_non_exhaustive()
    }
}

impl ReadAhead {
    /// Begins to read where `reader` is.
    pub(super) fn begin(
        file: Arc<MappedFile>,
        reader: FileReader,
        settings: &Settings,
        seed: HashSeed,
        jobs: &Jobs,
    ) -> ReadAhead {
        let is_long = file.len().saturating_sub(reader.offset()) >= LEAST_BYTES;
        let mut ahead = ReadAhead {
            source: Arc::new(Source {
                file,
                settings: settings.clone(),
                seed,
                reader: Mutex::new(Some(reader)),
            }),
            thread: None,
            spare: Chunk::default(),
        };
        if is_long && matches!(jobs, Jobs::Threads) {
            let (sender, receiver) = channel();
            let mut thread = Thread {
                helper: Helper::new("gyre-load", jobs, || (), run),
                sender,
                receiver,
                arena: Arena::of_this_thread(),
            };
            for _ in 0..AHEAD {
                thread.give(&ahead.source, Chunk::default());
            }
            ahead.thread = Some(thread);
        }
        ahead
    }
    /// The next items, for those of `done`, which are taken back. Waits for the helper where it is behind; how long depends on
    /// the largest value, which is built whole.
    pub(super) fn next(&mut self, mut done: Chunk) -> Chunk {
        done.clear();
        if let Some(thread) = &mut self.thread {
            thread.give(&self.source, done);
            // It has a sender of its own, so that there is always one.
            return thread.receiver.recv().unwrap_or_default();
        }
        let mut chunk = std::mem::replace(&mut self.spare, done);
        self.source.fill(&mut chunk);
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::persistence::rdb::write::Writer;
    use crate::system::crc64::crc64;
    use std::path::Path;

    const SEED: HashSeed = HashSeed([1, 2, 3, 4]);

    /// A file of strings, integers and sets, of more than one chunk and more than is read in the loop's own thread.
    fn file(keys: usize) -> Vec<u8> {
        let mut bytes = b"REDIS0012".to_vec();
        let mut writer = Writer::new(&mut bytes, true);
        for key in 0..keys {
            match key % 4 {
                0 => {
                    writer.byte(2);
                    writer.string(format!("key:{key}").as_bytes());
                    writer.len(2);
                    writer.string(b"a");
                    writer.string(b"b");
                }
                kind => {
                    writer.byte(0);
                    writer.string(format!("key:{key}").as_bytes());
                    let text = format!("{key}");
                    match kind {
                        1 => writer.string(text.as_bytes()),
                        2 => writer.string(text.repeat(10).as_bytes()),
                        _ => writer.string(text.repeat(300).as_bytes()),
                    }
                }
            }
        }
        writer.byte(255);
        let sum = crc64(0, &bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    fn begin(bytes: &[u8], jobs: &Jobs) -> ReadAhead {
        let settings = Config::with_dir(Path::new("/")).settings().clone();
        let reader = FileReader::new(bytes).expect("a head");
        let file = Arc::new(MappedFile::of_bytes(bytes.to_vec()));
        ReadAhead::begin(file, reader, &settings, SEED, jobs)
    }

    /// All that is read, as text, and why no more.
    fn read(bytes: &[u8], jobs: &Jobs) -> (Vec<String>, Option<LoadError>, bool) {
        let mut ahead = begin(bytes, jobs);
        let mut all = Vec::new();
        let mut chunk = Chunk::default();
        loop {
            chunk = ahead.next(chunk);
            for (part, end) in &chunk.items {
                let text = match part {
                    ReadPart::End => return (all, None, ahead.thread.is_some()),
                    ReadPart::Entry { key, value, .. } => {
                        let value = match value {
                            ReadValue::Text(text) => format!("{:?}", chunk.text(text)),
                            ReadValue::Built(value) => format!("{value:?}"),
                        };
                        format!("{end} {:?} {value}", chunk.text(key))
                    }
                    other => format!("{end} {other:?}"),
                };
                all.push(text);
            }
            match chunk.take_failure() {
                Some(Failure::Format(error)) => return (all, Some(error), ahead.thread.is_some()),
                Some(Failure::Io(error)) => panic!("{error}"),
                None => assert!(!chunk.items.is_empty(), "it ends or goes on"),
            }
        }
    }

    fn inline() -> Jobs {
        Jobs::Simulated(crate::system::simulated_jobs::SimulatedJobs::new(1))
    }

    #[test]
    fn a_helper_reads_what_the_loop_would_have_read() {
        let bytes = file(5_000);
        assert!(bytes.len() > 3 * LEAST_BYTES);
        let (own, error, is_thread) = read(&bytes, &inline());
        assert_eq!((own.len(), error, is_thread), (5_000, None, false));
        assert_eq!(read(&bytes, &Jobs::Threads), (own, None, true));
    }

    /// What stands before an error is read first, with and without a helper.
    #[test]
    fn an_error_comes_behind_what_is_whole() {
        let bytes = file(5_000);
        let cut = &bytes[..bytes.len() / 2];
        let (own, error, _) = read(cut, &inline());
        assert!(own.len() > 1_000 && error.is_some());
        assert_eq!(read(cut, &Jobs::Threads), (own, error, true));
        let mut wrong_sum = bytes.clone();
        *wrong_sum.last_mut().expect("a sum") ^= 1;
        let (own, error, _) = read(&wrong_sum, &inline());
        assert_eq!(own.len(), 5_000);
        assert!(format!("{error:?}").contains("CRC"), "{error:?}");
        assert_eq!(read(&wrong_sum, &Jobs::Threads), (own, error, true));
    }

    /// Whoever gives a load up waits for the chunks that are under way alone.
    #[test]
    fn what_is_given_up_ends() {
        let mut ahead = begin(&file(5_000), &Jobs::Threads);
        let chunk = ahead.next(Chunk::default());
        assert!(!chunk.items.is_empty());
        drop(ahead);
    }
}
