//! Loading a snapshot, a slice at a time, so that the loop goes on turning.
//!
//! In: a file. Out: keys in the keyspace, and how far it is. An error leaves what was loaded so far in the keyspace; at
//! a start the process ends then, as Redis does. Mirrors `rdbLoad` of rdb.c.

use super::rdb::file::{FileReader, Usage};
use super::rdb::{LoadError, SaveInfo};
use super::read_ahead::{Chunk, Failure, ReadAhead, ReadPart, ReadValue};
use super::read_stream::ReadStream;
use crate::config::Settings;
use crate::journal::write_command;
use crate::keyspace::{Clock, Expiry, KeyEntry, Keyspace, NewValue};
use crate::system::disk::{Disk, Mode};
use crate::system::helper::Jobs;
use crate::system::mapped_file::MappedFile;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So many of the keys that are left out because they are empty are named in the log.
const EMPTY_KEYS_LOGGED: u64 = 10;

/// Why a file cannot be loaded.
#[derive(Debug)]
pub enum LoadFailure {
    /// The system's reason.
    Io(io::Error),
    /// The file that the system does not give, and its reason.
    File(PathBuf, io::Error),
    /// What is wrong in a snapshot, where, and in which file.
    Format(LoadError, PathBuf),
    /// What is wrong with the append-only file.
    Aof(String),
    /// A key is in it twice: its database and name.
    Duplicate(usize, Vec<u8>),
    /// It has more databases than are configured.
    Database(u64),
    /// A library of functions in it cannot be loaded.
    Library(String),
}

impl std::fmt::Display for LoadFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadFailure::Io(error) => write!(f, "{error}"),
            LoadFailure::File(path, error) => write!(f, "{}: {error}", path.display()),
            LoadFailure::Format(error, _) => write!(f, "{error}"),
            LoadFailure::Aof(text) => f.write_str(text),
            LoadFailure::Duplicate(db, key) => write!(
                f,
                "RDB has duplicated key '{}' in DB {db}",
                String::from_utf8_lossy(key)
            ),
            LoadFailure::Library(text) => write!(f, "Failed creating function, {text}"),
            LoadFailure::Database(db) => write!(
                f,
                "Data file was created with a server configured to handle more than {db} databases"
            ),
        }
    }
}

/// What happens with a key that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The file is wrong.
    Fail,
    /// The key in the file wins (DEBUG RELOAD MERGE).
    Replace,
}

/// What loading has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The end of the file.
    Done,
    /// The time of a slice is over.
    Rest,
    /// What comes next has not come yet, or has not been read by the helper.
    Wait,
    /// A library of functions: its code, which is to be loaded before the next step.
    Library(Vec<u8>),
}

/// Keys that are read before the first of them is stored, so that the memory they go to is there in time.
const BATCH: usize = 16;

/// No entry of a file has fewer bytes: type, key and value.
const ENTRY_BYTES_LEAST: usize = 3;

/// Of what has not come yet no more entries are believed than this: the rest of the room is made when they are there.
const BELIEVED_UNSEEN: usize = 1024 * 1024;

/// Buckets for which room is made before it is asked whether that is enough for now.
const BUCKETS_AT_ONCE: usize = 4096;

/// A key that was read and not stored yet.
struct Loaded<'a> {
    db: usize,
    key: &'a [u8],
    value: NewValue<'a>,
    expire_at: Option<i64>,
    usage: Option<Usage>,
}

/// Where a snapshot is loaded from.
#[derive(Debug)]
enum Source {
    /// A file.
    File {
        path: PathBuf,
        file: Arc<MappedFile>,
        jobs: Jobs,
        /// What reads it, once it has begun.
        ahead: Option<Box<ReadAhead>>,
    },
    /// What comes over a network, of so many bytes, if that is known.
    Stream(Box<ReadStream>, Option<u64>),
}

impl Source {
    /// The file's name in what is said of it.
    fn path(&self) -> PathBuf {
        match self {
            Source::File { path, .. } => path.clone(),
            Source::Stream(..) => PathBuf::new(),
        }
    }
}

/// What a snapshot says of the stream of its server, as far as it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ToldOfStream {
    db: Option<usize>,
    replication_id: Option<String>,
    offset: Option<i64>,
}

/// Removals of keys that had expired, as commands: replicas that go on with the stream have those keys still.
#[derive(Debug)]
pub struct Removals {
    /// The last of the bytes.
    pub bytes: Vec<u8>,
    /// How many there were in all.
    pub len: u64,
    /// How many are to be kept.
    keep: usize,
    db: Option<usize>,
}

impl Removals {
    /// None so far; of which so many bytes are to be kept.
    pub fn new(keep: u64) -> Removals {
        Removals {
            bytes: Vec::new(),
            len: 0,
            keep: usize::try_from(keep).unwrap_or(usize::MAX),
            db: None,
        }
    }
    fn add(&mut self, db: usize, key: &[u8]) {
        let before = self.bytes.len();
        if self.db.replace(db) != Some(db) {
            let number = db.to_string();
            write_command(
                &mut self.bytes,
                [&b"SELECT"[..], number.as_bytes()].into_iter(),
            );
        }
        write_command(&mut self.bytes, [&b"DEL"[..], key].into_iter());
        self.len += (self.bytes.len() - before) as u64;
        // Moved to the front now and then, not for each key.
        if self.bytes.len() / 2 > self.keep {
            self.bytes.drain(..self.bytes.len() - self.keep);
        }
    }
}

/// A load that is under way.
#[derive(Debug)]
pub struct Loading {
    source: Source,
    /// Where the next item begins in the file.
    at: usize,
    /// The end has been read.
    is_over: bool,
    /// What was read, and how many of its items are loaded.
    chunk: Chunk,
    next: usize,
    db: usize,
    /// Keys and expiries of the database for which room is still to be made.
    room_for: Option<(usize, usize)>,
    on_duplicate: OnDuplicate,
    /// Keys that were loaded.
    pub keys: u64,
    /// Keys that had expired and were left out.
    pub expired: u64,
    /// Their removals as commands of a stream, the last of them, if somebody wants them; how many bytes there were of all.
    pub removals: Option<Removals>,
    /// Collections without elements, which were left out.
    pub empty: u64,
    /// Used memory when the file was written, as it says.
    pub used_memory: u64,
    /// What it says of its server's stream.
    told: ToldOfStream,
}

impl Loading {
    /// Opens a file; `None` if there is none.
    pub fn open(
        disk: &Disk,
        jobs: &Jobs,
        path: &Path,
        on_duplicate: OnDuplicate,
    ) -> Result<Option<Loading>, LoadFailure> {
        let file = match disk.open(path, Mode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LoadFailure::File(path.to_owned(), error)),
        };
        let file = file
            .map()
            .map_err(|error| LoadFailure::File(path.to_owned(), error))?;
        // Here, so that what is no snapshot at all is known before anything is done for it.
        let reader =
            FileReader::new(&file).map_err(|error| LoadFailure::Format(error, path.to_owned()))?;
        let at = reader.offset();
        let source = Source::File {
            path: path.to_owned(),
            file: Arc::new(file),
            jobs: jobs.clone(),
            ahead: None,
        };
        Ok(Some(Loading::new(source, at, on_duplicate)))
    }
    /// Loads what comes over a network, of so many bytes, if that is known.
    pub fn of_stream(stream: ReadStream, len: Option<u64>) -> Loading {
        Loading::new(Source::Stream(Box::new(stream), len), 0, OnDuplicate::Fail)
    }
    fn new(source: Source, at: usize, on_duplicate: OnDuplicate) -> Loading {
        Loading {
            source,
            at,
            is_over: false,
            chunk: Chunk::default(),
            next: 0,
            db: 0,
            room_for: None,
            on_duplicate,
            keys: 0,
            expired: 0,
            removals: None,
            empty: 0,
            used_memory: 0,
            told: ToldOfStream::default(),
        }
    }
    /// A key that had expired.
    fn leave_out(&mut self, key: &[u8]) {
        self.expired += 1;
        if let Some(removals) = &mut self.removals {
            removals.add(self.db, key);
        }
    }
    /// Whether what is in the file takes the place of what is there.
    pub fn replaces(&self) -> bool {
        self.on_duplicate == OnDuplicate::Replace
    }
    /// Bytes in all (0: nobody knows), and how many of them are done.
    pub fn bytes(&self) -> (u64, u64) {
        let all = match &self.source {
            Source::File { file, .. } => file.len() as u64,
            Source::Stream(_, len) => len.unwrap_or(0),
        };
        (all, self.at as u64)
    }
    /// What the snapshot says of its server's stream, where it says all of it.
    pub fn save_info(&self) -> Option<SaveInfo> {
        Some(SaveInfo {
            stream_db: self.told.db?,
            replication_id: self.told.replication_id.clone()?,
            offset: self.told.offset?,
        })
    }
    /// The database that is selected where the stream goes on behind the snapshot, if it says so.
    pub fn stream_db(&self) -> Option<usize> {
        self.told.db
    }
    /// Loads on until `enough` says so (it is asked after each item) or a library comes. Keys that have expired
    /// are left out, unless `now` keeps them: changes of the commands behind a base may still save them.
    pub fn step(
        &mut self,
        keyspace: &mut Keyspace,
        settings: &Settings,
        now: Clock,
        enough: &mut dyn FnMut() -> bool,
    ) -> Result<Step, LoadFailure> {
        if self.is_over {
            return Ok(Step::Done);
        }
        let step = self.step_unverified(keyspace, settings, now, enough);
        self.is_over = matches!(step, Ok(Step::Done));
        // Nothing can be said of what is in a file that could not be read.
        match (step, &self.source) {
            (Err(failure), Source::File { path, file, .. }) => match file.verify() {
                Err(error) => Err(LoadFailure::File(path.clone(), error)),
                Ok(()) => Err(failure),
            },
            (step, _) => step,
        }
    }
    fn step_unverified(
        &mut self,
        keyspace: &mut Keyspace,
        settings: &Settings,
        now: Clock,
        enough: &mut dyn FnMut() -> bool,
    ) -> Result<Step, LoadFailure> {
        // Out of here for the while, so that what borrows from it can be kept while the rest changes.
        let mut chunk = std::mem::take(&mut self.chunk);
        let step = loop {
            let loaded = self.load_chunk(&mut chunk, keyspace, settings, now, enough);
            match loaded {
                Ok(None) => {}
                Ok(Some(step)) => break Ok(step),
                Err(failure) => break Err(failure),
            }
            match chunk.take_failure() {
                None => {}
                Some(Failure::Io(error)) => {
                    break Err(LoadFailure::File(self.source.path(), error));
                }
                Some(Failure::Format(error)) => {
                    break Err(LoadFailure::Format(error, self.source.path()));
                }
            }
            self.next = 0;
            match self.read_chunk(chunk, settings, keyspace)? {
                Some(read) => chunk = read,
                None => {
                    chunk = Chunk::default();
                    break Ok(Step::Wait);
                }
            }
        };
        self.chunk = chunk;
        step
    }
    /// The next items, for those that are done; none where they have not come yet.
    fn read_chunk(
        &mut self,
        done: Chunk,
        settings: &Settings,
        keyspace: &Keyspace,
    ) -> Result<Option<Chunk>, LoadFailure> {
        let (path, file, jobs, ahead) = match &mut self.source {
            Source::Stream(stream, _) => return Ok(stream.next()),
            Source::File {
                path,
                file,
                jobs,
                ahead,
            } => (path, file, jobs, ahead),
        };
        let ahead = match ahead {
            Some(ahead) => ahead,
            None => {
                let reader = FileReader::new(file)
                    .map_err(|error| LoadFailure::Format(error, path.clone()))?;
                let (file, seed) = (Arc::clone(file), keyspace.hash_seed());
                ahead.insert(Box::new(ReadAhead::begin(
                    file, reader, settings, seed, jobs,
                )))
            }
        };
        Ok(Some(ahead.next(done)))
    }
    /// Loads the items of a chunk; what there is to stop for before its end.
    fn load_chunk(
        &mut self,
        chunk: &mut Chunk,
        keyspace: &mut Keyspace,
        settings: &Settings,
        now: Clock,
        enough: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Step>, LoadFailure> {
        let mut items = std::mem::take(&mut chunk.items);
        let loaded = self.load_items(&mut items, chunk, keyspace, settings, now, enough);
        chunk.items = items;
        loaded
    }
    fn load_items(
        &mut self,
        items: &mut [(ReadPart, usize)],
        chunk: &Chunk,
        keyspace: &mut Keyspace,
        settings: &Settings,
        now: Clock,
        enough: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Step>, LoadFailure> {
        if !self.make_room(keyspace, enough) {
            return Ok(Some(Step::Rest));
        }
        let mut batch: Vec<Loaded<'_>> = Vec::with_capacity(BATCH);
        while let Some((item, end)) = items.get_mut(self.next) {
            self.at = *end;
            self.next += 1;
            match std::mem::replace(item, ReadPart::Skipped) {
                ReadPart::End => {
                    self.store(keyspace, &mut batch, settings, now)?;
                    return Ok(Some(Step::Done));
                }
                ReadPart::Select(db) => {
                    self.db = usize::try_from(db)
                        .ok()
                        .filter(|db| *db < keyspace.count())
                        .ok_or(LoadFailure::Database(keyspace.count() as u64))?;
                }
                ReadPart::Aux(name, value) => {
                    self.note_aux(chunk.text(&name), chunk.text(&value), now)
                }
                ReadPart::Resize(keys, volatile) => {
                    // It may take more than what is left of the slice, after which the batch is gone.
                    self.store(keyspace, &mut batch, settings, now)?;
                    self.room_for = Some(self.believed(keys, volatile));
                    if !self.make_room(keyspace, enough) {
                        return Ok(Some(Step::Rest));
                    }
                }
                ReadPart::Skipped => {}
                ReadPart::Function(code) => {
                    self.store(keyspace, &mut batch, settings, now)?;
                    return Ok(Some(Step::Library(chunk.text(&code).to_vec())));
                }
                ReadPart::Empty(key) => {
                    self.empty += 1;
                    if self.empty <= EMPTY_KEYS_LOGGED {
                        let key = String::from_utf8_lossy(chunk.text(&key));
                        log::warn!("rdbLoadObject skipping empty key: {key}");
                    }
                }
                ReadPart::Entry {
                    expire_at: Some(at),
                    key,
                    ..
                } if at < now.expiry_ms() => self.leave_out(chunk.text(&key)),
                ReadPart::Entry {
                    key,
                    value,
                    expire_at,
                    usage,
                } => {
                    let key = chunk.text(&key);
                    let hash = keyspace.hash(key);
                    keyspace.prefetch(self.db, hash, 0);
                    batch.push(Loaded {
                        db: self.db,
                        key,
                        value: match value {
                            ReadValue::Text(text) => NewValue::String(chunk.text(&text)),
                            ReadValue::Built(value) => value,
                        },
                        expire_at,
                        usage,
                    });
                    if batch.len() == BATCH {
                        self.store(keyspace, &mut batch, settings, now)?;
                    }
                }
            }
            if enough() {
                self.store(keyspace, &mut batch, settings, now)?;
                return Ok(Some(Step::Rest));
            }
        }
        self.store(keyspace, &mut batch, settings, now)?;
        Ok(None)
    }
    /// How many keys, and expiries, room is made for where the file says that so many come: as many as its bytes can hold.
    fn believed(&self, keys: u64, volatile: u64) -> (usize, usize) {
        let most = match &self.source {
            Source::File { file, .. } => file.len().saturating_sub(self.at) / ENTRY_BYTES_LEAST,
            Source::Stream(_, Some(len)) => {
                let left = len.saturating_sub(self.at as u64);
                let left = usize::try_from(left).unwrap_or(usize::MAX);
                (left / ENTRY_BYTES_LEAST).min(BELIEVED_UNSEEN)
            }
            Source::Stream(_, None) => BELIEVED_UNSEEN,
        };
        let believed = |told: u64| usize::try_from(told).map_or(most, |told| told.min(most));
        (believed(keys), believed(volatile))
    }
    /// Makes the room that is still to be made; false where the time is over before.
    fn make_room(&mut self, keyspace: &mut Keyspace, enough: &mut dyn FnMut() -> bool) -> bool {
        while let Some((keys, volatile)) = self.room_for {
            if keyspace.reserve_some(self.db, keys, volatile, BUCKETS_AT_ONCE) {
                self.room_for = None;
            } else if enough() {
                return false;
            }
        }
        true
    }
    fn note_aux(&mut self, name: &[u8], value: &[u8], now: Clock) {
        let text = String::from_utf8_lossy(value);
        match name {
            b"used-mem" => self.used_memory = text.parse().unwrap_or(0),
            b"repl-stream-db" => self.told.db = text.parse().ok(),
            b"repl-id" if value.len() == SaveInfo::ID_LEN => {
                self.told.replication_id = Some(text.into_owned());
            }
            b"repl-offset" => self.told.offset = text.parse().ok(),
            _ => {}
        }
        note_aux(name, value, now);
    }
    /// Puts what was read into the keyspace.
    fn store(
        &mut self,
        keyspace: &mut Keyspace,
        batch: &mut Vec<Loaded<'_>>,
        settings: &Settings,
        now: Clock,
    ) -> Result<(), LoadFailure> {
        for item in batch.drain(..) {
            let expiry = item.expire_at.map_or(Expiry::Clear, Expiry::At);
            let mut db = keyspace.db(item.db, now, true);
            let mut held = match db.entry(item.key) {
                KeyEntry::Vacant(vacant) => vacant.insert_held(item.value, expiry),
                KeyEntry::Occupied(_) if self.on_duplicate == OnDuplicate::Fail => {
                    return Err(LoadFailure::Duplicate(item.db, item.key.to_vec()));
                }
                KeyEntry::Occupied(mut occupied) => {
                    occupied.set(item.value, expiry);
                    occupied
                }
            };
            match item.usage {
                Some(Usage::Idle(seconds)) => {
                    held.set_use(now, i64::try_from(seconds).ok(), None);
                }
                Some(Usage::Frequency(counter)) => held.set_use(now, None, Some(counter)),
                None => {}
            }
            self.keys += 1;
            super::snapshot::delay(settings.key_load_delay_us);
        }
        Ok(())
    }
}

/// Says what the file tells about itself.
fn note_aux(name: &[u8], value: &[u8], now: Clock) {
    let text = String::from_utf8_lossy(value);
    match name {
        b"redis-ver" => log::info!("Loading RDB produced by version {text}"),
        b"ctime" => {
            let age = text
                .parse::<i64>()
                .map_or(0, |at| now.unix_s().saturating_sub(at));
            log::info!("RDB age {} seconds", age.max(0));
        }
        b"used-mem" => {
            let megabytes = text.parse::<f64>().unwrap_or(0.0) / (1024.0 * 1024.0);
            log::info!("RDB memory usage when created {megabytes:.2} Mb");
        }
        b"redis-bits" | b"aof-base" | b"aof-preamble" | b"repl-stream-db" | b"repl-id"
        | b"repl-offset" => {}
        _ if name.starts_with(b"%") => {
            log::info!("RDB '{}': {text}", String::from_utf8_lossy(name))
        }
        _ => log::debug!(
            "Unrecognized RDB AUX field: '{}'",
            String::from_utf8_lossy(name)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::persistence::rdb::FileVersion;
    use crate::persistence::rdb::write::Writer;
    use crate::persistence::snapshot::{SnapshotOptions, UsageKind, write};

    const NOW: Clock = Clock {
        unix_us: 1_700_000_000_000_000,
        mono_ns: 1,
        keeps_expired: false,
    };

    fn open(path: &Path) -> Loading {
        let opened = Loading::open(&Disk::default(), &Jobs::Threads, path, OnDuplicate::Fail);
        opened.expect("opened").expect("there")
    }

    /// So many keys with empty strings.
    fn put_keys(writer: &mut Writer<'_>, keys: usize) {
        for key in 0..keys {
            writer.byte(0);
            writer.string(&(key as u32).to_le_bytes());
            writer.string(b"");
        }
    }

    /// What cannot be read is neither an end of the file nor a fault of its format: whoever takes it for one cuts off or
    /// refuses a file that is whole.
    #[test]
    fn a_file_that_cannot_be_read_on_is_no_file_of_a_wrong_format() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("dump.rdb");
        let mut keyspace = Keyspace::new(1, [1, 2, 3, 4]);
        let value = vec![b'v'; 1000];
        for key in 0..200 {
            let key = format!("key:{key}");
            let mut db = keyspace.db(0, NOW, true);
            match db.entry(key.as_bytes()) {
                KeyEntry::Vacant(vacant) => {
                    vacant.insert_held(NewValue::String(&value), Expiry::Clear);
                }
                KeyEntry::Occupied(_) => panic!("{key} is there twice"),
            }
        }
        let options = SnapshotOptions {
            disk: Disk::default(),
            version: FileVersion::V12,
            pid: 1,
            path: path.clone(),
            compress: false,
            checksum: true,
            usage: UsageKind::None,
            used_memory: 0,
            key_delay_us: 0,
            steady: false,
            is_aof_base: false,
            libraries: Vec::new(),
            save_info: None,
        };
        write(&keyspace, NOW, &options, &mut |_| {}).expect("written");
        let mut loading = open(&path);
        let file = std::fs::OpenOptions::new().write(true).open(&path);
        file.expect("a file").set_len(20_000).expect("cut");
        let mut keyspace = Keyspace::new(1, [1, 2, 3, 4]);
        let config = Config::with_dir(Path::new("/"));
        let failure = loading
            .step(&mut keyspace, config.settings(), NOW, &mut || false)
            .expect_err("not all of it is there");
        let LoadFailure::File(name, error) = failure else {
            panic!("{failure:?}")
        };
        assert_eq!((name, error.raw_os_error()), (path, Some(libc::EIO)));
    }

    /// Keys that were read and not stored yet were lost where the time was over while room was made for the next database.
    #[test]
    fn what_stands_before_another_database_is_stored_before_room_is_made_for_that() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("dump.rdb");
        let (few, many) = (BATCH - 1, 100_000_usize);
        let mut bytes = b"REDIS0012".to_vec();
        let mut writer = Writer::new(&mut bytes, false);
        for (db, keys) in [(0, few), (1, many)] {
            writer.byte(0xfe);
            writer.len(db);
            writer.byte(0xfb);
            writer.len(keys);
            writer.len(0);
            put_keys(&mut writer, keys);
        }
        writer.byte(255);
        bytes.extend([0; 8]);
        std::fs::write(&path, &bytes).expect("written");
        let mut loading = open(&path);
        let mut keyspace = Keyspace::new(2, [1, 2, 3, 4]);
        let config = Config::with_dir(Path::new("/"));
        let (mut steps, mut asked) = (0, 0);
        // Not before the first database is read, so that its keys wait for more.
        while loading
            .step(&mut keyspace, config.settings(), NOW, &mut || {
                asked += 1;
                asked > few + 4
            })
            .expect("loaded")
            != Step::Done
        {
            steps += 1;
        }
        assert!(steps > many, "{steps}: room is made in slices of its own");
        let loaded = [0, 1].map(|db| keyspace.db(db, NOW, true).len());
        assert_eq!(loaded, [few, many]);
    }

    /// Room for as many keys as the file can hold, whatever it says, in slices.
    #[test]
    fn room_is_made_for_what_comes_and_no_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("dump.rdb");
        let keys = 100_000_usize;
        for told in [keys, usize::MAX >> 1] {
            let mut bytes = b"REDIS0012\xfb".to_vec();
            let mut writer = Writer::new(&mut bytes, false);
            writer.len(told);
            writer.len(told);
            put_keys(&mut writer, keys);
            writer.byte(255);
            bytes.extend([0; 8]);
            std::fs::write(&path, &bytes).expect("written");
            let mut loading = open(&path);
            let mut keyspace = Keyspace::new(1, [1, 2, 3, 4]);
            let config = Config::with_dir(Path::new("/"));
            let mut steps = 0;
            while loading
                .step(&mut keyspace, config.settings(), NOW, &mut || true)
                .expect("loaded")
                != Step::Done
            {
                steps += 1;
            }
            assert_eq!(keyspace.db(0, NOW, true).len(), keys);
            assert!(steps > keys, "{steps}: room is made in slices of its own");
            let most = bytes.len() / ENTRY_BYTES_LEAST;
            let buckets = keyspace.overhead_bytes(0).0 / 64;
            assert!(buckets < 2 * most / 7 + 4096, "{buckets} for {most}");
        }
    }
}
