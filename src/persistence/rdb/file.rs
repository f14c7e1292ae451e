//! The frame of an RDB file: what stands before, between and behind the values.
//!
//! ```text
//! "REDIS" version 4 │ AUX field ... │ per database: SELECTDB, RESIZEDB, [expiry][idle|freq] type key value ... │ EOF │ CRC64 8
//! ```
//!
//! In: entries of the keyspace, or the bytes of a file. Out: bytes that Redis 7.0 loads, or [`Part`]s one by one.
//! Mirrors `rdbSaveRio` and `rdbLoadRioWithLoadingCtx` of rdb.c.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::load::{self, Loader};
use super::read::{Reader, invalid};
use super::write::Writer;
use super::{FileVersion, LoadError, Reason, kind, library, save};
use crate::keyspace::{EntryRef, NewValue};
use crate::system::crc64::crc64;
use std::borrow::Cow;
use std::io::{self, Write};

/// Versions of the file that are read: 1 to this one (Redis 8.0 writes 12).
const VERSION_MAX: u32 = 12;
/// Valkey wrote versions of Redis up to 8; since 9 it has its own magic and counts from here.
const VALKEY_VERSION: u32 = 80;
/// From this version on the file ends with a checksum.
const CHECKSUM_SINCE: u32 = 5;
const MAGIC_LEN: usize = 9;
/// Bytes that are gathered before they are written.
const FLUSH_BYTES: usize = 256 * 1024;

pub(in crate::persistence) mod op {
    pub const SLOT_INFO: u8 = 244;
    pub const FUNCTION: u8 = 245;
    pub const FUNCTION_PRE_GA: u8 = 246;
    pub const MODULE_AUX: u8 = 247;
    pub const IDLE: u8 = 248;
    pub const FREQ: u8 = 249;
    pub const AUX: u8 = 250;
    pub const RESIZE_DB: u8 = 251;
    pub const EXPIRE_MS: u8 = 252;
    pub const EXPIRE_S: u8 = 253;
    pub const SELECT_DB: u8 = 254;
    pub const EOF: u8 = 255;
}

/// How recently or how often a key was used, where a policy of eviction wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Seconds since the last access.
    Idle(u64),
    /// LFU counter.
    Frequency(u8),
}

/// Writes an RDB file.
pub struct FileWriter<'a> {
    sink: &'a mut dyn Write,
    buffer: Vec<u8>,
    version: FileVersion,
    compress: bool,
    checksum: Option<u64>,
}

impl<'a> FileWriter<'a> {
    /// Begins a file of this version. `checksum`: it ends with one; else with zeroes, which no reader checks.
    pub fn new(
        sink: &'a mut dyn Write,
        version: FileVersion,
        compress: bool,
        checksum: bool,
    ) -> FileWriter<'a> {
        FileWriter {
            sink,
            buffer: format!("REDIS{:04}", version.number()).into_bytes(),
            version,
            compress,
            checksum: checksum.then_some(0),
        }
    }
    fn writer(&mut self) -> Writer<'_> {
        Writer::new(&mut self.buffer, self.compress).in_version(self.version)
    }
    /// A field about the file as a whole.
    pub fn aux(&mut self, name: &str, value: &str) {
        let mut writer = self.writer();
        writer.byte(op::AUX);
        writer.string(name.as_bytes());
        writer.string(value.as_bytes());
    }
    /// A library of functions.
    pub fn library(&mut self, code: &[u8]) {
        let mut writer = self.writer();
        writer.byte(op::FUNCTION);
        writer.string(code);
    }
    /// Begins a database with so many keys, of which so many expire.
    pub fn select(&mut self, index: usize, keys: usize, volatile: usize) {
        let mut writer = self.writer();
        writer.byte(op::SELECT_DB);
        writer.len(index);
        writer.byte(op::RESIZE_DB);
        writer.len(keys);
        writer.len(volatile);
    }
    /// One key.
    pub fn entry(&mut self, entry: &EntryRef<'_>, usage: Option<Usage>) -> io::Result<()> {
        let kind = save::kind_of(entry.stored(), self.version);
        let mut writer = self.writer();
        save::head(entry, kind, usage, &mut writer);
        save::save(entry.stored(), &mut writer);
        if self.buffer.len() >= FLUSH_BYTES {
            self.flush()?;
        }
        Ok(())
    }
    /// What has not been given to the sink; nothing else follows it.
    pub(in crate::persistence) fn into_unwritten(self) -> Vec<u8> {
        self.buffer
    }
    /// Ends the file.
    pub fn finish(mut self) -> io::Result<()> {
        self.buffer.push(op::EOF);
        self.flush()?;
        self.sink
            .write_all(&self.checksum.unwrap_or(0).to_le_bytes())
    }
    fn flush(&mut self) -> io::Result<()> {
        if let Some(sum) = &mut self.checksum {
            *sum = crc64(*sum, &self.buffer);
        }
        self.sink.write_all(&self.buffer)?;
        self.buffer.clear();
        // One large value is no reason to keep its room for the rest of the file.
        self.buffer.shrink_to(FLUSH_BYTES.saturating_mul(2));
        Ok(())
    }
}

/// Whether a file that begins like this is a snapshot (an append-only file may begin with one).
pub fn is_snapshot(head: &[u8]) -> bool {
    head.starts_with(b"REDIS") || head.starts_with(b"VALKEY")
}

/// One thing in an RDB file.
#[derive(Debug)]
pub enum Part<'a> {
    /// A field about the file as a whole.
    Aux(Cow<'a, [u8]>, Cow<'a, [u8]>),
    /// What follows is of this database.
    Select(u64),
    /// So many keys follow, of which so many expire.
    Resize(u64, u64),
    /// A library of functions: its code.
    Function(Cow<'a, [u8]>),
    /// Data of a module that belongs to no key; it was skipped.
    ModuleAux,
    /// A key.
    Entry {
        /// Its name.
        key: Cow<'a, [u8]>,
        /// Its value.
        value: FileValue<'a>,
        /// Unix ms of expiry.
        expire_at: Option<i64>,
        /// Access, if the file tells.
        usage: Option<Usage>,
    },
    /// The end. The checksum, if the file has one, was right.
    End,
}

/// The value of a key in a file.
#[derive(Debug)]
pub enum FileValue<'a> {
    /// A string, as it is spelled: it may be an integer.
    Text(Cow<'a, [u8]>),
    /// Any other, built.
    Built(NewValue<'static>),
    /// A collection without elements, which no server should have written.
    Empty,
}

/// Bytes that are summed at a time.
const SUM_BYTES: usize = 16 * 1024;

/// Reads an RDB file item by item; between two items it can rest as long as it likes.
#[derive(Clone, Debug, Default)]
pub struct FileReader {
    /// Where the next item begins.
    at: usize,
    version: u32,
    /// A file of Valkey with versions of its own.
    is_valkey: bool,
    summed: usize,
    sum: u64,
    /// Bytes that were read and let go of, before the first of those that are still there.
    gone: usize,
    /// How many bytes there have to be for the item that was cut off.
    wanted: Option<usize>,
}

impl FileReader {
    /// Bytes of a file's head.
    pub const HEAD: usize = MAGIC_LEN;

    /// Reads the head of a file.
    pub fn new(bytes: &[u8]) -> Result<FileReader, LoadError> {
        let mut reader = Reader::new(bytes);
        let head = reader.take(MAGIC_LEN as u64)?;
        let is_valkey = head.starts_with(b"VALKEY");
        let digits = head
            .strip_prefix(b"REDIS")
            .or_else(|| head.strip_prefix(b"VALKEY"))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .ok_or(Reader::new(bytes).error(Reason::Invalid(
                "Wrong signature trying to load DB from file",
            )))?;
        let version = digits.parse().unwrap_or(0);
        let known = if is_valkey {
            version == VALKEY_VERSION
        } else {
            (1..=VERSION_MAX).contains(&version)
        };
        if !known {
            return Err(invalid!(reader, "Can't handle RDB format version"));
        }
        Ok(FileReader {
            at: MAGIC_LEN,
            version,
            is_valkey,
            summed: 0,
            sum: 0,
            gone: 0,
            wanted: None,
        })
    }
    /// Bytes read so far.
    pub fn offset(&self) -> usize {
        self.gone.saturating_add(self.at)
    }
    /// Where bytes come piece by piece: how many of those that are held there have to be, at least, before it is of any use to
    /// read again the item that the last error was about. None where the item is wrong and not only cut off.
    pub fn wanted(&self) -> Option<usize> {
        self.wanted
    }
    /// How many of the bytes that are held are of items that were read.
    pub fn held(&self) -> usize {
        self.at
    }
    /// Sees to it that nothing is wanted any more of those bytes that are of items which were read. How many they are: what
    /// [`FileReader::next`] is given from here on begins behind them.
    pub fn let_go(&mut self, bytes: &[u8], verify: bool) -> usize {
        self.sum_up(bytes, verify, 0);
        let read = std::mem::take(&mut self.at);
        self.summed = 0;
        self.gone = self.gone.saturating_add(read);
        read
    }
    /// Sums up what was read, where it is as much.
    fn sum_up(&mut self, bytes: &[u8], verify: bool, least: usize) {
        let unsummed = self.at.saturating_sub(self.summed);
        if verify && self.version >= CHECKSUM_SINCE && unsummed >= least {
            let new = bytes.get(self.summed..self.at).unwrap_or_default();
            self.sum = crc64(self.sum, new);
            self.summed = self.at;
        }
    }
    /// Reads the next item. `bytes` is the whole file, as given to [`FileReader::new`], or what is held of it
    /// ([`FileReader::let_go`]); `verify`: the checksum counts.
    pub fn next<'a>(
        &mut self,
        bytes: &'a [u8],
        loader: &Loader<'_>,
        verify: bool,
    ) -> Result<Part<'a>, LoadError> {
        let mut reader = Reader::at(bytes, self.at);
        let item = self.item(&mut reader, loader, verify);
        self.wanted = reader.wanted();
        let item = item.map_err(|error| LoadError {
            offset: self.gone.saturating_add(error.offset),
            ..error
        })?;
        self.at = reader.offset();
        self.sum_up(bytes, verify, SUM_BYTES);
        Ok(item)
    }
    fn item<'a>(
        &self,
        reader: &mut Reader<'a>,
        loader: &Loader<'_>,
        verify: bool,
    ) -> Result<Part<'a>, LoadError> {
        let mut expire_at = None;
        let mut usage = None;
        loop {
            match reader.byte()? {
                op::EXPIRE_S => {
                    let seconds = i32::from_le_bytes(reader.array()?);
                    expire_at = Some(i64::from(seconds).saturating_mul(1000));
                }
                op::EXPIRE_MS => expire_at = Some(reader.time_ms()?),
                op::FREQ => usage = Some(Usage::Frequency(reader.byte()?)),
                op::IDLE => usage = Some(Usage::Idle(reader.number()?)),
                op::EOF => return self.end(reader, verify),
                op::SELECT_DB => return Ok(Part::Select(reader.number()?)),
                op::RESIZE_DB => return Ok(Part::Resize(reader.number()?, reader.number()?)),
                op::SLOT_INFO => {
                    for _ in 0..3 {
                        reader.number()?;
                    }
                }
                op::AUX => return Ok(Part::Aux(reader.string()?, reader.string()?)),
                op::FUNCTION => return Ok(Part::Function(reader.string()?)),
                op::FUNCTION_PRE_GA => return library::pre_release(reader).map(Part::Function),
                op::MODULE_AUX => {
                    skip_module(reader)?;
                    return Ok(Part::ModuleAux);
                }
                kind => {
                    let key = reader.string()?;
                    let kind = match kind {
                        kind::HASH_TTL_PRE_GA if self.is_valkey => kind::HASH_TTL_VALKEY,
                        kind => kind,
                    };
                    let value = match kind {
                        kind::STRING => FileValue::Text(reader.string()?),
                        _ => match load::load(kind, reader, loader) {
                            Ok(value) => FileValue::Built(value),
                            Err(LoadError {
                                reason: Reason::EmptyKey,
                                ..
                            }) => FileValue::Empty,
                            Err(error) => return Err(error),
                        },
                    };
                    return Ok(Part::Entry {
                        key,
                        value,
                        expire_at,
                        usage,
                    });
                }
            }
        }
    }
    fn end<'a>(&self, reader: &mut Reader<'a>, verify: bool) -> Result<Part<'a>, LoadError> {
        if self.version < CHECKSUM_SINCE {
            return Ok(Part::End);
        }
        let sum = match verify {
            true => crc64(self.sum, reader.since(self.summed)),
            false => 0,
        };
        let told = u64::from_le_bytes(reader.array()?);
        if verify && told == 0 {
            log::warn!("RDB file was saved with checksum disabled: no check performed.");
        } else if verify && told != sum {
            log::warn!("Wrong RDB checksum expected: ({sum:x}) but got ({told:x}). Aborting now.");
            return Err(invalid!(reader, "RDB CRC error"));
        }
        Ok(Part::End)
    }
}

/// Skips the data of a module: an id, then marked parts up to an end.
fn skip_module(reader: &mut Reader<'_>) -> Result<(), LoadError> {
    // The id, then when the data was written (before or after the keys), itself a marked number.
    reader.number()?;
    loop {
        match reader.number()? {
            0 => return Ok(()),
            1 | 2 => {
                reader.number()?;
            }
            3 => {
                reader.take(4)?;
            }
            4 => {
                reader.take(8)?;
            }
            5 => {
                reader.string()?;
            }
            _ => return Err(invalid!(reader, "Unknown part of a module's data")),
        }
    }
}
