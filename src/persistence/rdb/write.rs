//! Writing lengths, strings and numbers, each in the shortest form that Redis would choose.
//!
//! Mirrors `rdbSaveLen`, `rdbSaveRawString` and their like of rdb.c.

use super::FileVersion;
use super::save::Room;
use crate::keyspace::{Deferred, Encoded, Inside};
use crate::structures::Blob;
use crate::system::{lzf, numbers};
use std::io;
use std::sync::Arc;

/// Longest text of an integer that is written as one.
const INTEGER_TEXT_MAX: usize = 11;
/// Shorter strings are not worth compressing.
const COMPRESS_MIN: usize = 21;
/// Shorter strings are copied, longer ones shared, where they are written later.
const SHARE_MIN: usize = 16 * 1024;
/// Bytes that compression has to save.
const COMPRESS_GAIN_MIN: usize = 4;

/// Appends to a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// `rdbcompression`.
    compress: bool,
    version: FileVersion,
    /// Where strings are noted that whoever takes the buffer writes ([`put_in`]): those that may be compressed, and those
    /// that would take long to copy. None: all are written here.
    deferred: Option<DeferredStrings<'a>>,
    /// The element that is written, where long ones are written in parts.
    element: Option<Element>,
}

/// An element of which a part is written. What is before that and behind it is left out: so whoever writes an element writes all
/// of it each time.
#[derive(Debug)]
struct Element {
    from: Inside,
    room: Room,
    /// Long strings that it has had so far.
    strings: u8,
    /// What is written now was written before, or is written later.
    is_left_out: bool,
    /// Where it goes on.
    next: Option<Inside>,
}

/// How a long string is written.
enum Long {
    /// As it is, behind its length.
    Verbatim,
    /// By whoever takes the buffer, when all of it is there.
    Deferred,
    /// Compressed already, of so many bytes.
    Compressed(usize),
}

#[derive(Debug)]
struct DeferredStrings<'a> {
    list: &'a mut Vec<(usize, Deferred)>,
    shared_bytes: &'a mut usize,
}

impl Writer<'_> {
    /// Appends to `out`; `compress`: long strings by LZF, where that makes them shorter.
    pub fn new(out: &mut Vec<u8>, compress: bool) -> Writer<'_> {
        Writer {
            out,
            compress,
            version: FileVersion::V12,
            deferred: None,
            element: None,
        }
    }
    /// Appends to what is finished later, by [`put_in`].
    pub fn deferring(encoded: &mut Encoded, compress: bool) -> Writer<'_> {
        Writer {
            out: &mut encoded.bytes,
            compress,
            version: FileVersion::V12,
            deferred: Some(DeferredStrings {
                list: &mut encoded.strings,
                shared_bytes: &mut encoded.shared_bytes,
            }),
            element: None,
        }
    }
    /// The same for a file of this version.
    pub fn in_version(self, version: FileVersion) -> Self {
        Writer { version, ..self }
    }
    /// Version of the file that values are written for.
    pub fn version(&self) -> FileVersion {
        self.version
    }
    /// Writes an element from a place in it on, as much as there is room for, but always something; where it goes on, or none
    /// at its end. `write` writes all of it.
    pub(in crate::persistence) fn element(
        &mut self,
        from: Inside,
        room: Room,
        write: impl FnOnce(&mut Self),
    ) -> Option<Inside> {
        self.element = Some(Element {
            from,
            room,
            strings: 0,
            is_left_out: from != Inside::default(),
            next: None,
        });
        write(self);
        self.element.take().and_then(|element| element.next)
    }
    fn is_left_out(&self) -> bool {
        self.element.as_ref().is_some_and(|it| it.is_left_out)
    }
    /// Whether a string of so many bytes is to be written in parts.
    fn is_long(&self, len: usize) -> bool {
        self.element.as_ref().is_some_and(|it| it.room.is_long(len))
    }
    /// Writes what it is the turn of, of a long string of an element.
    fn long_string(&mut self, bytes: &[u8], how: &Long) {
        let written = self.out.len();
        let Some(element) = &mut self.element else {
            return;
        };
        let index = element.strings;
        element.strings = index.saturating_add(1);
        if element.next.is_some() || index < element.from.string {
            return;
        }
        let from = match index == element.from.string {
            true => element.from.at.min(bytes.len()),
            false => 0,
        };
        let end = bytes.len().min(from + element.room.left(written).max(1));
        element.is_left_out = false;
        if from == 0 {
            match how {
                Long::Verbatim => self.len(bytes.len()),
                Long::Compressed(len) => self.compressed_head(bytes.len(), *len),
                Long::Deferred => {}
            }
        }
        if let (Long::Deferred, Some(deferred)) = (how, &mut self.deferred) {
            let part = Deferred::Part {
                here: end - from,
                whole: bytes.len(),
            };
            deferred.list.push((self.out.len(), part));
        }
        self.raw(bytes.get(from..end).unwrap_or_default());
        if let Some(element) = &mut self.element
            && end < bytes.len()
        {
            element.is_left_out = true;
            element.next = Some(Inside {
                string: index,
                at: end,
            });
        }
    }
    /// Bytes in the buffer, but for shared strings.
    pub fn written(&self) -> usize {
        self.out.len()
    }
    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        if !self.is_left_out() {
            self.out.extend_from_slice(bytes);
        }
    }
    /// One byte.
    pub fn byte(&mut self, byte: u8) {
        if !self.is_left_out() {
            self.out.push(byte);
        }
    }
    /// A number as lengths are spelled.
    pub fn number(&mut self, number: u64) {
        match number {
            0..0x40 => self.byte(number as u8),
            0x40..0x4000 => self.raw(&(0x4000 | number as u16).to_be_bytes()),
            0x4000..0x1_0000_0000 => {
                self.byte(0x80);
                self.raw(&(number as u32).to_be_bytes());
            }
            _ => {
                self.byte(0x81);
                self.raw(&number.to_be_bytes());
            }
        }
    }
    /// A length.
    pub fn len(&mut self, len: usize) {
        self.number(len as u64);
    }
    /// A string: as an integer where it spells one of 32 bits, compressed where that helps, else verbatim.
    pub fn string(&mut self, bytes: &[u8]) {
        if self.is_long(bytes.len()) {
            return self.long_string(
                bytes,
                match self.compress && self.deferred.is_some() {
                    true => &Long::Deferred,
                    false => &Long::Verbatim,
                },
            );
        }
        if self.is_left_out() {
            return;
        }
        if bytes.len() <= INTEGER_TEXT_MAX
            && let Some(number) = numbers::parse_i64(bytes)
            && self.integer(number)
        {
            return;
        }
        if self.compress
            && bytes.len() >= COMPRESS_MIN
            && let Some(deferred) = &mut self.deferred
        {
            let here = Deferred::Here(bytes.len());
            deferred.list.push((self.out.len(), here));
            return self.raw(bytes);
        }
        if self.compress
            && bytes.len() >= COMPRESS_MIN
            && let Some(compressed) = lzf::compress(bytes, bytes.len() - COMPRESS_GAIN_MIN)
        {
            return self.compressed(&compressed, bytes.len());
        }
        self.len(bytes.len());
        self.raw(bytes);
    }
    /// A string that others may share.
    pub fn shared_string(&mut self, blob: &Blob) {
        match &mut self.deferred {
            Some(deferred) if blob.len() >= SHARE_MIN => {
                *deferred.shared_bytes += blob.len();
                let shared = Deferred::Shared(Arc::clone(blob));
                deferred.list.push((self.out.len(), shared));
            }
            _ => self.string(blob),
        }
    }
    /// A string of `len` bytes that is compressed already.
    pub fn compressed(&mut self, compressed: &[u8], len: usize) {
        if self.is_long(compressed.len()) {
            return self.long_string(compressed, &Long::Compressed(len));
        }
        self.compressed_head(compressed.len(), len);
        self.raw(compressed);
    }
    /// What stands before such a string.
    fn compressed_head(&mut self, compressed: usize, len: usize) {
        self.byte(0xc3);
        self.len(compressed);
        self.len(len);
    }
    /// An integer as a string; the text where it needs more than 32 bits.
    pub fn integer_string(&mut self, number: i64) {
        if !self.integer(number) {
            let mut text = itoa::Buffer::new();
            let text = text.format(number).as_bytes();
            self.len(text.len());
            self.raw(text);
        }
    }
    fn integer(&mut self, number: i64) -> bool {
        if let Ok(number) = i8::try_from(number) {
            self.byte(0xc0);
            self.raw(&number.to_le_bytes());
        } else if let Ok(number) = i16::try_from(number) {
            self.byte(0xc1);
            self.raw(&number.to_le_bytes());
        } else if let Ok(number) = i32::try_from(number) {
            self.byte(0xc2);
            self.raw(&number.to_le_bytes());
        } else {
            return false;
        }
        true
    }
    /// A double of eight bytes.
    pub fn score(&mut self, score: f64) {
        self.raw(&score.to_le_bytes());
    }
    /// Unix ms.
    pub fn time_ms(&mut self, time: i64) {
        self.raw(&time.to_le_bytes());
    }
}

/// Bytes that are put together before they go to the sink; a string that is longer goes there by itself, without a copy.
pub(in crate::persistence) const GATHERED: usize = 1024 * 1024;

/// Bytes on their way to a sink, which may read them or keep them without a copy.
#[derive(Debug)]
pub enum Portion<'a> {
    /// Put together from many. What is taken out of it is not missed.
    Gathered(&'a mut Vec<u8>),
    /// A long string that others have too.
    Shared(&'a Blob),
    /// A long string that is nobody else's.
    Own(Vec<u8>),
}

impl Portion<'_> {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Portion::Gathered(bytes) => bytes,
            Portion::Shared(blob) => blob,
            Portion::Own(bytes) => bytes,
        }
    }
    /// Keeps them. O(1)
    pub fn into_blob(self) -> Blob {
        match self {
            Portion::Gathered(bytes) => Arc::new(std::mem::take(bytes)),
            Portion::Shared(blob) => Arc::clone(blob),
            Portion::Own(bytes) => Arc::new(bytes),
        }
    }
}

/// Where bytes go: a file or the loop, some at a time.
pub type Sink<'a> = &'a mut dyn FnMut(Portion<'_>) -> io::Result<()>;

/// A string whose parts come one after the other, as far as it is there ([`Deferred::Part`]).
pub type Partial = Vec<u8>;

/// Gives what was encoded by a [`Writer::deferring`] to a sink, with the strings that it has left out; `partial` has the beginning
/// of one that ends later. O(bytes), most of it for the compression.
pub fn put_in(
    encoded: &Encoded,
    compress: bool,
    partial: &mut Partial,
    sink: Sink<'_>,
) -> io::Result<()> {
    let mut gathered = Vec::with_capacity(encoded.len().min(2 * GATHERED));
    let mut written = 0;
    for (at, string) in &encoded.strings {
        let mut writer = Writer::new(&mut gathered, compress);
        writer.raw(encoded.bytes.get(written..*at).unwrap_or_default());
        let mut here = |len: &usize| {
            let end = at.saturating_add(*len);
            written = end;
            encoded.bytes.get(*at..end).unwrap_or_default()
        };
        match string {
            Deferred::Here(len) => writer.string(here(len)),
            Deferred::Part { here: len, whole } => {
                partial.reserve_exact(whole.saturating_sub(partial.len()));
                partial.extend_from_slice(here(len));
                if partial.len() >= *whole {
                    let whole = std::mem::take(partial);
                    put_long(&mut gathered, &Blob::new(whole), compress, sink)?;
                }
            }
            Deferred::Shared(blob) => {
                written = *at;
                put_long(&mut gathered, blob, compress, sink)?;
            }
        }
        if gathered.len() >= GATHERED {
            sink(Portion::Gathered(&mut gathered))?;
            gathered.clear();
        }
    }
    gathered.extend_from_slice(encoded.bytes.get(written..).unwrap_or_default());
    sink(Portion::Gathered(&mut gathered))
}

/// Puts in a string that may be so long that it goes to the sink by itself.
fn put_long(gathered: &mut Vec<u8>, blob: &Blob, compress: bool, sink: Sink<'_>) -> io::Result<()> {
    let mut writer = Writer::new(gathered, compress);
    if blob.len() < GATHERED {
        writer.string(blob);
        return Ok(());
    }
    let most = blob.len().saturating_sub(COMPRESS_GAIN_MIN);
    let compressed = compress.then(|| lzf::compress(blob, most)).flatten();
    match &compressed {
        Some(compressed) => writer.compressed_head(compressed.len(), blob.len()),
        None => writer.len(blob.len()),
    }
    sink(Portion::Gathered(gathered))?;
    gathered.clear();
    sink(match compressed {
        Some(compressed) => Portion::Own(compressed),
        None => Portion::Shared(blob),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out, false));
        out
    }

    #[test]
    fn the_shortest_form_is_chosen() {
        assert_eq!(written(|w| w.number(63)), b"\x3f");
        assert_eq!(written(|w| w.number(64)), b"\x40\x40");
        assert_eq!(written(|w| w.number(16383)), b"\x7f\xff");
        assert_eq!(written(|w| w.number(16384)), b"\x80\x00\x00\x40\x00");
        assert_eq!(
            written(|w| w.number(u64::from(u32::MAX))),
            b"\x80\xff\xff\xff\xff"
        );
        assert_eq!(
            written(|w| w.number(1 << 32)),
            b"\x81\x00\x00\x00\x01\x00\x00\x00\x00"
        );
        assert_eq!(written(|w| w.string(b"-128")), b"\xc0\x80");
        assert_eq!(written(|w| w.string(b"128")), b"\xc1\x80\x00");
        assert_eq!(written(|w| w.string(b"-40000")), b"\xc2\xc0\x63\xff\xff");
        assert_eq!(written(|w| w.string(b"2147483648")), b"\x0a2147483648");
        assert_eq!(written(|w| w.string(b"01")), b"\x0201");
        assert_eq!(
            written(|w| w.integer_string(2_147_483_648)),
            b"\x0a2147483648"
        );
    }

    /// Long strings were put together with all else before a byte was written, which took twice their memory.
    #[test]
    fn long_strings_go_to_the_sink_as_they_are() {
        let random = |len: usize| {
            let mut rng = crate::system::rng::Rng::new(1);
            (0..len).map(|_| rng.next_u64() as u8).collect::<Vec<u8>>()
        };
        let blobs: Vec<Blob> = [
            random(GATHERED + 1),
            vec![b'x'; GATHERED],
            vec![b'y'; GATHERED - 1],
            random(20_000),
        ]
        .map(Arc::new)
        .into();
        for compress in [false, true] {
            let (mut encoded, mut whole) = (Encoded::default(), Vec::new());
            for blob in &blobs {
                for mut writer in [
                    Writer::deferring(&mut encoded, compress),
                    Writer::new(&mut whole, compress),
                ] {
                    writer.string(b"a text that may be compressed, text, text, text, text");
                    writer.shared_string(blob);
                    writer.byte(7);
                }
            }
            let (mut put, mut as_they_are) = (Vec::new(), 0);
            put_in(&encoded, compress, &mut Partial::new(), &mut |portion| {
                let bytes = portion.bytes();
                assert!(bytes.len() <= 2 * GATHERED);
                as_they_are += blobs
                    .iter()
                    .filter(|it| it.as_ptr() == bytes.as_ptr())
                    .count();
                put.extend_from_slice(bytes);
                Ok(())
            })
            .expect("written");
            assert!(put == whole, "with compression: {compress}");
            assert_eq!(as_they_are, if compress { 1 } else { 2 });
        }
        let refused = put_in(&Encoded::default(), false, &mut Partial::new(), &mut |_| {
            Err(io::Error::other("full"))
        });
        assert!(refused.is_err());
    }
}
