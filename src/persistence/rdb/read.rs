//! Reading lengths, strings and numbers from a bounded slice.
//!
//! In: bytes. Out: parts of them, or an error with its offset; never a byte behind the end. Mirrors `rdbLoadLen`,
//! `rdbGenericLoadStringObject` and their like of rdb.c, but where those take an encoded string's mark for a length, it
//! is an error here.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::{LoadError, Reason};
use crate::system::{lzf, numbers};
use std::borrow::Cow;

/// An error of the kind that has nothing but a text.
macro_rules! invalid {
    ($reader:expr, $text:expr) => {
        $reader.error($crate::persistence::rdb::Reason::Invalid($text))
    };
}
pub(super) use invalid;

/// Most bytes that one byte of LZF can stand for: three bytes spell a repetition of 264.
const LZF_RATIO_MAX: u64 = 88;

/// A length, or the mark of an encoded string.
enum Prefix {
    Len(u64),
    Encoded(u8),
}

/// Bytes with a place in them.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many bytes there would have to be, at least, for what was asked for last and was not there.
    wanted: Option<usize>,
}

impl<'a> Reader<'a> {
    /// At the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader::at(bytes, 0)
    }
    /// At a place in the middle.
    pub fn at(bytes: &'a [u8], at: usize) -> Reader<'a> {
        Reader {
            bytes,
            at,
            wanted: None,
        }
    }
    /// What was read from `from` on.
    pub fn since(&self, from: usize) -> &'a [u8] {
        self.bytes.get(from..self.at).unwrap_or_default()
    }
    /// Bytes read so far.
    pub fn offset(&self) -> usize {
        self.at
    }
    /// Bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
    /// An error at this place.
    pub fn error(&self, reason: Reason) -> LoadError {
        LoadError {
            offset: self.at,
            reason,
        }
    }
    /// How many bytes there have to be at least, counted from their beginning, before it is of any use to read them again:
    /// where what was asked for reaches behind their end. None where they are wrong and not only short.
    pub fn wanted(&self) -> Option<usize> {
        self.wanted
    }
    /// An error because of bytes that are not there, which may be because they have not come yet.
    fn short(&mut self, len: u64) -> LoadError {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.wanted = Some(self.at.saturating_add(len));
        self.error(Reason::Truncated)
    }
    /// The next `len` bytes.
    pub fn take(&mut self, len: u64) -> Result<&'a [u8], LoadError> {
        let taken = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest().get(..len));
        let Some(taken) = taken else {
            return Err(self.short(len));
        };
        self.at = self.at.saturating_add(taken.len());
        Ok(taken)
    }
    /// The next N bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], LoadError> {
        let Some(taken) = self.rest().first_chunk::<N>().copied() else {
            return Err(self.short(N as u64));
        };
        self.at = self.at.saturating_add(N);
        Ok(taken)
    }
    /// One byte.
    pub fn byte(&mut self) -> Result<u8, LoadError> {
        self.array::<1>().map(|[byte]| byte)
    }
    fn prefix(&mut self) -> Result<Prefix, LoadError> {
        let first = self.byte()?;
        Ok(match (first >> 6, first & 0x3f) {
            (0, low) => Prefix::Len(u64::from(low)),
            (1, high) => Prefix::Len(u64::from(high) << 8 | u64::from(self.byte()?)),
            (2, 0) => Prefix::Len(u64::from(u32::from_be_bytes(self.array()?))),
            (2, 1) => Prefix::Len(u64::from_be_bytes(self.array()?)),
            (2, _) => return Err(invalid!(self, "Unknown length encoding")),
            (_, encoding) => Prefix::Encoded(encoding),
        })
    }
    /// A number as lengths are spelled.
    pub fn number(&mut self) -> Result<u64, LoadError> {
        match self.prefix()? {
            Prefix::Len(len) => Ok(len),
            Prefix::Encoded(_) => Err(invalid!(self, "A string where a length was expected")),
        }
    }
    /// The number of parts that follow, each of which takes at least `each` bytes: one that cannot be true is refused
    /// before anything is made of it.
    pub fn count(&mut self, each: usize) -> Result<usize, LoadError> {
        let count = self.number()?;
        let most = self.rest().len().checked_div(each).unwrap_or(0);
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(self.short(count.saturating_mul(each as u64))),
        }
    }
    /// A string: verbatim (borrowed), an integer or compressed.
    pub fn string(&mut self) -> Result<Cow<'a, [u8]>, LoadError> {
        let number = match self.prefix()? {
            Prefix::Len(len) => return self.take(len).map(Cow::Borrowed),
            Prefix::Encoded(0) => i64::from(i8::from_le_bytes(self.array()?)),
            Prefix::Encoded(1) => i64::from(i16::from_le_bytes(self.array()?)),
            Prefix::Encoded(2) => i64::from(i32::from_le_bytes(self.array()?)),
            Prefix::Encoded(3) => return self.compressed().map(Cow::Owned),
            Prefix::Encoded(_) => return Err(invalid!(self, "Unknown RDB string encoding type")),
        };
        let mut text = Vec::with_capacity(numbers::I64_TEXT_MAX);
        numbers::write_i64(&mut text, number);
        Ok(Cow::Owned(text))
    }
    fn compressed(&mut self) -> Result<Vec<u8>, LoadError> {
        let compressed_len = self.number()?;
        let len = self.number()?;
        let compressed = self.take(compressed_len)?;
        let wrong = invalid!(self, "Invalid LZF compressed string");
        if len > compressed_len.saturating_mul(LZF_RATIO_MAX) {
            return Err(wrong);
        }
        let len = usize::try_from(len).map_err(|_| wrong.clone())?;
        lzf::decompress(compressed, len).ok_or(wrong)
    }
    /// A double of eight bytes that is a number.
    pub fn score(&mut self) -> Result<f64, LoadError> {
        let score = f64::from_le_bytes(self.array()?);
        self.no_nan(score)
    }
    /// A double spelled as text, as ZSETs had it before Redis 4.0.
    pub fn score_text(&mut self) -> Result<f64, LoadError> {
        let score = match self.byte()? {
            255 => f64::NEG_INFINITY,
            254 => f64::INFINITY,
            253 => f64::NAN,
            len => {
                let text = self.take(u64::from(len))?;
                numbers::parse_f64(text).ok_or(invalid!(self, "Zset score is no number"))?
            }
        };
        self.no_nan(score)
    }
    fn no_nan(&self, score: f64) -> Result<f64, LoadError> {
        if score.is_nan() {
            return Err(invalid!(self, "Zset with NAN score detected"));
        }
        Ok(score)
    }
    /// Unix ms.
    pub fn time_ms(&mut self) -> Result<i64, LoadError> {
        self.array().map(i64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistence::rdb::write::Writer;
    use proptest::prelude::*;

    fn strings(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Reason> {
        Reader::new(bytes).string().map_err(|error| error.reason)
    }

    #[test]
    fn integers_are_text() {
        assert_eq!(strings(b"\xc0\xff").unwrap(), &b"-1"[..]);
        assert_eq!(strings(b"\xc1\x39\x30").unwrap(), &b"12345"[..]);
        assert_eq!(
            strings(b"\xc2\x00\x00\x00\x80").unwrap(),
            &b"-2147483648"[..]
        );
        assert_eq!(strings(b"\xc2\x00\x00"), Err(Reason::Truncated));
        assert!(matches!(strings(b"\xc4"), Err(Reason::Invalid(_))));
    }

    #[test]
    fn announced_lengths_are_not_believed() {
        assert_eq!(
            strings(b"\x81\xff\xff\xff\xff\xff\xff\xff\xf7x"),
            Err(Reason::Truncated)
        );
        assert_eq!(strings(b"\x80\xff\xff\xff\xffx"), Err(Reason::Truncated));
        assert!(matches!(strings(b"\x82x"), Err(Reason::Invalid(_))));
        // A compressed string that claims to be a terabyte.
        let huge = b"\xc3\x02\x81\x00\x00\x01\x00\x00\x00\x00\x00\x00a";
        assert!(matches!(strings(huge), Err(Reason::Invalid(_))));
        let mut many = Reader::new(b"\x0aabc");
        assert_eq!(many.count(1).map_err(|error| error.offset), Err(1));
    }

    #[test]
    fn scores_of_old_and_new() {
        let score = |bytes: &[u8]| Reader::new(bytes).score_text();
        assert_eq!(score(b"\x043.25"), Ok(3.25));
        assert_eq!(score(b"\xff"), Ok(f64::NEG_INFINITY));
        assert_eq!(score(b"\xfe"), Ok(f64::INFINITY));
        assert!(score(b"\xfd").is_err());
        assert!(score(b"\x02x1").is_err());
        assert!(Reader::new(&f64::NAN.to_le_bytes()).score().is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(numbers: Vec<u64>, strings: Vec<Vec<u8>>, repeat in 0usize..300) {
            let long = b"abcabcabd".repeat(repeat);
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out, true);
            numbers.iter().for_each(|number| writer.number(*number));
            strings.iter().for_each(|string| writer.string(string));
            writer.string(&long);
            let mut reader = Reader::new(&out);
            for number in &numbers {
                prop_assert_eq!(reader.number(), Ok(*number));
            }
            for string in &strings {
                prop_assert_eq!(reader.string().unwrap(), &string[..]);
            }
            prop_assert_eq!(reader.string().unwrap(), &long[..]);
            prop_assert_eq!(reader.rest().len(), 0);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.string().is_ok() {}
            prop_assert!(reader.offset() <= bytes.len());
        }
    }
}
