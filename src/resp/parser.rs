//! The request parser: bytes in, spans out; resumable at every byte.
//!
//! The work is done twice, by two parsers that agree:
//!
//! - `parse_whole`, the fast one: a complete multibulk request of the everyday kind, in one pass over
//!   the bytes with no state. At anything else it gives up and has done nothing.
//! - `Partial::advance`, the one that knows all of the protocol: inline requests, requests that
//!   arrive in pieces, large bulks, errors. It remembers where it stood, so that no byte is searched
//!   twice, and exists only while a request is incomplete.
//!
//! Three things that Redis does and we keep: the two bytes after a payload and the byte after a `\r`
//! are skipped unread; a NUL hides the rest of a line (it is found with C's `strchr`), so that the
//! line never ends and in time is too long; and limits are checked before the payload is awaited.
//! One thing we do otherwise: Redis refuses a line of more than 64 KiB only if its end is not in the
//! buffer yet, which depends on how the stream was cut; we refuse it always.
//!
//! # Large bulks
//!
//! A bulk of [`Limits::large_bulk_len`] or more that has not wholly arrived gets a buffer of its
//! own. [`Parsed::Large`] tells the caller that everything from `keep` on was moved there and must be
//! dropped from the query buffer. From then on the caller reads into [`Parser::large_wanted`] until
//! that returns `None`, then into the query buffer again, where the `\r\n` after the payload and the
//! rest of the request are expected. (A caller that cannot read there may as well append to its
//! buffer and call [`Parser::parse`]: the parser moves the bytes over, and answers `Large` again or
//! goes on.) The buffer grows as bytes arrive, never ahead of them by more than their number.
//!
//! Mirrors `processInlineBuffer` and `processMultibulkBuffer` of Redis's `networking.c`.

use std::fmt;
use std::sync::Arc;

use memchr::memchr2;

use super::request::{LARGE_BULK_LEN, Span};
use crate::structures::Blob;
use crate::system::numbers::parse_i64;

/// The first step of a large bulk's buffer.
const LARGE_FIRST_STEP: usize = 64 * 1024;
/// What a client that has yet to authenticate may send, at most.
const UNAUTHENTICATED_MULTIBULK: usize = 10;
const UNAUTHENTICATED_BULK: usize = 16384;

/// What a client may send. Cheap to make anew for every read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest bulk (`proto-max-bulk-len`); `usize::MAX` for the stream of a primary.
    pub proto_max_bulk_len: usize,
    /// The longest line: an inline request, or the header of a multibulk or bulk.
    pub proto_inline_max_size: usize,
    /// The most arguments of one request.
    pub max_multibulk: usize,
    /// From this length on a bulk is received apart; `usize::MAX` means never (the stream of a
    /// primary is handed on byte by byte and has to stay in one buffer).
    pub large_bulk_len: usize,
    /// Whether the client may send more than a few short arguments.
    pub authenticated: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            proto_max_bulk_len: 512 * 1024 * 1024,
            proto_inline_max_size: 64 * 1024,
            max_multibulk: i32::MAX as usize,
            large_bulk_len: LARGE_BULK_LEN,
            authenticated: true,
        }
    }
}

/// How far [`Parser::parse`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A request: its spans and blobs were appended, and it took so many of the bytes.
    Request {
        /// Bytes of the query buffer that belong to the request.
        consumed: usize,
    },
    /// Nothing to run (an empty line, `*0`, `*-1`), but so many bytes are done with.
    Empty {
        /// Bytes of the query buffer to skip.
        consumed: usize,
    },
    /// A large bulk is being received: drop `bytes[keep..]`, which were moved to it, and read on
    /// into [`Parser::large_wanted`].
    Large {
        /// Bytes of the query buffer to keep; less than all only if some were moved.
        keep: usize,
    },
    /// More bytes are needed. The caller keeps all that it has.
    Incomplete,
}

/// What a client said that is not the protocol. The connection is answered and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// An inline request whose quotes do not match.
    UnbalancedQuotes,
    /// An inline request without an end.
    TooBigInline,
    /// `*` and then no end of line.
    TooBigMultibulkCount,
    /// The number after `*` is not one, or too large.
    InvalidMultibulkLength,
    /// Too many arguments for a client that has not authenticated.
    UnauthenticatedMultibulkLength,
    /// `$` and then no end of line.
    TooBigBulkCount,
    /// This byte instead of `$`.
    ExpectedDollar(u8),
    /// The number after `$` is not one, or negative, or too large.
    InvalidBulkLength,
    /// Too long an argument for a client that has not authenticated.
    UnauthenticatedBulkLength,
}

impl ProtocolError {
    /// The error's text with its code, as [`super::Reply::error`] wants it.
    pub fn reply(&self) -> Vec<u8> {
        let mut text = b"ERR Protocol error: ".to_vec();
        match self {
            // The byte as it came, which need not be a character.
            ProtocolError::ExpectedDollar(got) => {
                text.extend_from_slice(b"expected '$', got '");
                text.push(*got);
                text.push(b'\'');
            }
            _ => text.extend_from_slice(self.text().as_bytes()),
        }
        text
    }

    /// The shorter words that Redis's log has for it: `Protocol error (...) from client: ...`.
    pub fn log_text(&self) -> &'static str {
        match self {
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in inline request",
            ProtocolError::InvalidMultibulkLength => "invalid mbulk count",
            ProtocolError::UnauthenticatedMultibulkLength => "unauth mbulk count",
            ProtocolError::ExpectedDollar(_) => "expected $ but got something else",
            ProtocolError::UnauthenticatedBulkLength => "unauth bulk length",
            other => other.text(),
        }
    }

    fn text(&self) -> &'static str {
        match self {
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
            ProtocolError::TooBigInline => "too big inline request",
            ProtocolError::TooBigMultibulkCount => "too big mbulk count string",
            ProtocolError::InvalidMultibulkLength => "invalid multibulk length",
            ProtocolError::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            ProtocolError::TooBigBulkCount => "too big bulk count string",
            ProtocolError::ExpectedDollar(_) => "expected '$'",
            ProtocolError::InvalidBulkLength => "invalid bulk length",
            ProtocolError::UnauthenticatedBulkLength => "unauthenticated bulk length",
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.reply()))
    }
}

impl std::error::Error for ProtocolError {}

/// The parser of one connection: one pointer, null while no request is under way.
#[derive(Debug, Default)]
pub struct Parser {
    partial: Option<Box<Partial>>,
}

impl Parser {
    /// A parser at the beginning of a request.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Parses one request.
    ///
    /// `bytes` begins at the first byte of the current, possibly partly parsed, request, and what
    /// was in it at the last call has not changed (but for the tail that [`Parsed::Large`] took).
    /// Spans are relative to it; the index of a blob counts from the first of `blobs`, whatever was
    /// in there before.
    #[inline]
    pub fn parse(
        &mut self,
        bytes: &[u8],
        spans: &mut Vec<Span>,
        blobs: &mut Vec<Blob>,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        if self.partial.is_none()
            && let Some(consumed) = parse_whole(bytes, spans, limits)
        {
            return Ok(Parsed::Request { consumed });
        }
        self.parse_resumable(bytes, spans, blobs, limits)
    }

    fn parse_resumable(
        &mut self,
        bytes: &[u8],
        spans: &mut Vec<Span>,
        blobs: &mut Vec<Blob>,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        if bytes.is_empty() {
            return Ok(Parsed::Incomplete);
        }
        // At an error or at the end the state is dropped with this box.
        let mut partial = self.partial.take().unwrap_or_default();
        let step = partial.advance(bytes, limits)?;
        debug_assert!(partial.pos <= bytes.len() && partial.pos <= partial.scan);
        let consumed = partial.pos;
        match step {
            Step::Done => {
                let base = blobs.len();
                spans.extend(partial.spans.iter().map(|span| match span.blob_index() {
                    Some(index) => Span::blob(base.saturating_add(index)),
                    None => *span,
                }));
                blobs.append(&mut partial.blobs);
                Ok(Parsed::Request { consumed })
            }
            Step::Empty => Ok(Parsed::Empty { consumed }),
            Step::More => {
                self.partial = Some(partial);
                Ok(Parsed::Incomplete)
            }
            Step::Large => {
                self.partial = Some(partial);
                Ok(Parsed::Large { keep: consumed })
            }
        }
    }

    /// While a large bulk is being received: where its next bytes go, at most `max` of them. `None`
    /// if there is none, or it is complete; then the query buffer is read into.
    ///
    /// Say with [`Parser::large_filled`] how many came.
    pub fn large_wanted(&mut self, max: usize) -> Option<&mut [u8]> {
        debug_assert!(max > 0, "an empty read looks like the end of the stream");
        self.partial.as_mut()?.large.as_mut()?.wanted(max.max(1))
    }

    /// While a large bulk is being received: how much of it has come, bytes.
    pub fn large_received(&self) -> Option<usize> {
        Some(self.partial.as_ref()?.large.as_ref()?.filled)
    }

    /// So many bytes were written to the front of what [`Parser::large_wanted`] gave.
    pub fn large_filled(&mut self, n: usize) {
        if let Some(large) = self.partial.as_mut().and_then(|p| p.large.as_mut()) {
            debug_assert!(n <= large.bytes.len().saturating_sub(large.filled));
            large.filled = large.filled.saturating_add(n).min(large.bytes.len());
        }
    }

    /// No request is under way.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// What the parser holds on the heap.
    pub fn memory_bytes(&self) -> usize {
        let Some(partial) = &self.partial else {
            return 0;
        };
        let finished = partial
            .blobs
            .iter()
            .fold(0, |sum: usize, blob| sum.saturating_add(blob.capacity()));
        std::mem::size_of::<Partial>()
            .saturating_add(
                partial
                    .spans
                    .capacity()
                    .saturating_mul(std::mem::size_of::<Span>()),
            )
            .saturating_add(
                partial
                    .blobs
                    .capacity()
                    .saturating_mul(std::mem::size_of::<Blob>()),
            )
            .saturating_add(finished)
            .saturating_add(partial.large.as_ref().map_or(0, |l| l.bytes.capacity()))
    }

    /// Forgets the request under way.
    pub fn reset(&mut self) {
        self.partial = None;
    }
}

// ---- the everyday request ------------------------------------------------------------------------

/// A whole multibulk request, and how many bytes it took; or `None` with `spans` as they were.
#[inline]
fn parse_whole(bytes: &[u8], spans: &mut Vec<Span>, limits: &Limits) -> Option<usize> {
    let before = spans.len();
    let done = parse_whole_into(bytes, spans, limits);
    if done.is_none() {
        spans.truncate(before);
    }
    done
}

#[inline]
fn parse_whole_into(bytes: &[u8], spans: &mut Vec<Span>, limits: &Limits) -> Option<usize> {
    let (count, mut rest) = header(bytes, b'*')?;
    let (max_count, max_len) = if limits.authenticated {
        (limits.max_multibulk, limits.proto_max_bulk_len)
    } else {
        (
            limits.max_multibulk.min(UNAUTHENTICATED_MULTIBULK),
            limits.proto_max_bulk_len.min(UNAUTHENTICATED_BULK),
        )
    };
    if count == 0 || count > max_count {
        return None;
    }
    for _ in 0..count {
        let (len, payload) = header(rest, b'$')?;
        if len > max_len {
            return None;
        }
        let [_, _, next @ ..] = payload.get(len..)? else {
            return None;
        };
        // `payload` is a tail of `bytes`: no wrap.
        spans.push(Span::range(bytes.len().wrapping_sub(payload.len()), len));
        rest = next;
    }
    Some(bytes.len().wrapping_sub(rest.len()))
}

/// `marker`, up to five digits, `\r` and one more byte; and what follows.
///
/// The lengths of nearly all arguments have one to three digits: those are patterns, so that there
/// is no loop and no search.
#[inline(always)]
fn header(bytes: &[u8], marker: u8) -> Option<(usize, &[u8])> {
    match bytes {
        [m, a @ b'0'..=b'9', b'\r', _, rest @ ..] if *m == marker => Some((digit(*a), rest)),
        [m, a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', _, rest @ ..] if *m == marker => {
            Some((tens(digit(*a), *b), rest))
        }
        [
            m,
            a @ b'1'..=b'9',
            b @ b'0'..=b'9',
            c @ b'0'..=b'9',
            b'\r',
            _,
            rest @ ..,
        ] if *m == marker => Some((tens(tens(digit(*a), *b), *c), rest)),
        _ => long_header(bytes, marker),
    }
}

fn long_header(bytes: &[u8], marker: u8) -> Option<(usize, &[u8])> {
    let [m, first @ b'1'..=b'9', rest @ ..] = bytes else {
        return None;
    };
    let mut value = digit(*first);
    let mut rest = rest;
    for _ in 0..5 {
        match rest {
            [b @ b'0'..=b'9', after @ ..] => {
                value = tens(value, *b);
                rest = after;
            }
            [b'\r', _, after @ ..] if *m == marker => return Some((value, after)),
            _ => return None,
        }
    }
    None
}

#[inline(always)]
fn digit(b: u8) -> usize {
    usize::from(b.wrapping_sub(b'0'))
}

/// Appends a digit to a number of at most five.
#[inline(always)]
fn tens(value: usize, b: u8) -> usize {
    value.wrapping_mul(10).wrapping_add(digit(b))
}

// ---- all of the protocol -------------------------------------------------------------------------

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum Kind {
    #[default]
    Unknown,
    Inline,
    Multibulk,
}

enum Step {
    Done,
    Empty,
    More,
    Large,
}

/// A request under way.
#[derive(Debug, Default)]
struct Partial {
    kind: Kind,
    /// Arguments still to come; 0 until the count is known.
    remaining: usize,
    /// The length of the argument under way, once its header is read.
    bulk_len: Option<usize>,
    /// Everything before is parsed.
    pos: usize,
    /// No line ends between `pos` and here: the search goes on here.
    scan: usize,
    spans: Vec<Span>,
    blobs: Vec<Blob>,
    large: Option<Large>,
}

impl Partial {
    fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Result<Step, ProtocolError> {
        if self.kind == Kind::Unknown {
            self.kind = match bytes.first() {
                Some(b'*') => Kind::Multibulk,
                Some(_) => Kind::Inline,
                None => return Ok(Step::More),
            };
        }
        match self.kind {
            Kind::Multibulk => self.multibulk(bytes, limits),
            _ => self.inline(bytes, limits),
        }
    }

    fn multibulk(&mut self, bytes: &[u8], limits: &Limits) -> Result<Step, ProtocolError> {
        if self.remaining == 0 {
            let too_big = ProtocolError::TooBigMultibulkCount;
            let Some(line) = self.header_line(bytes, limits, too_big)? else {
                return Ok(Step::More);
            };
            let count = line.get(1..).and_then(parse_i64);
            let count = count.ok_or(ProtocolError::InvalidMultibulkLength)?;
            // Negative counts are as good as none.
            let count = usize::try_from(count).unwrap_or(0);
            if count > limits.max_multibulk {
                return Err(ProtocolError::InvalidMultibulkLength);
            }
            if count > UNAUTHENTICATED_MULTIBULK && !limits.authenticated {
                return Err(ProtocolError::UnauthenticatedMultibulkLength);
            }
            if count == 0 {
                return Ok(Step::Empty);
            }
            self.remaining = count;
        }
        while self.remaining > 0 {
            let len = match self.bulk_len {
                Some(len) => len,
                None => match self.bulk_header(bytes, limits)? {
                    Some(len) => len,
                    None => return Ok(Step::More),
                },
            };
            self.bulk_len = Some(len);
            if let Some(stop) = self.payload(bytes, len, limits) {
                return Ok(stop);
            }
            self.bulk_len = None;
            self.scan = self.pos;
            self.remaining = self.remaining.saturating_sub(1);
        }
        Ok(Step::Done)
    }

    /// The length that an argument's header announces; `None` if the header is incomplete.
    fn bulk_header(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        let start = self.pos;
        let Some(line) = self.header_line(bytes, limits, ProtocolError::TooBigBulkCount)? else {
            return Ok(None);
        };
        // The first byte of an empty line is its `\r`.
        let first = bytes.get(start).copied().unwrap_or_default();
        if first != b'$' {
            return Err(ProtocolError::ExpectedDollar(first));
        }
        let len = line.get(1..).and_then(parse_i64);
        let len = len.and_then(|len| usize::try_from(len).ok());
        let len = len.filter(|len| *len <= limits.proto_max_bulk_len);
        let len = len.ok_or(ProtocolError::InvalidBulkLength)?;
        if len > UNAUTHENTICATED_BULK && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        Ok(Some(len))
    }

    /// Takes the payload at `pos` and the two bytes after it, or says why it must wait.
    fn payload(&mut self, bytes: &[u8], len: usize, limits: &Limits) -> Option<Step> {
        let rest = bytes.get(self.pos..).unwrap_or_default();
        if self.large.is_none() {
            if rest.len() >= len.saturating_add(2) {
                self.spans.push(Span::range(self.pos, len));
                self.pos = self.pos.saturating_add(len).saturating_add(2);
                return None;
            }
            if len < limits.large_bulk_len || rest.len() >= len {
                return Some(Step::More);
            }
        }
        let large = self.large.get_or_insert_with(|| Large::new(len));
        let taken = large.absorb(rest);
        if large.missing() > 0 {
            return Some(Step::Large);
        }
        // Complete. Bytes of it that were appended to the query buffer are passed over there.
        self.pos = self.pos.saturating_add(taken);
        self.scan = self.pos;
        if bytes.len().saturating_sub(self.pos) < 2 {
            return Some(Step::More);
        }
        self.pos = self.pos.saturating_add(2);
        if let Some(large) = self.large.take() {
            self.spans.push(Span::blob(self.blobs.len()));
            self.blobs.push(Arc::new(large.bytes));
        }
        None
    }

    fn inline(&mut self, bytes: &[u8], limits: &Limits) -> Result<Step, ProtocolError> {
        let too_big = ProtocolError::TooBigInline;
        let Some(end) = self.line_end(bytes, b'\n', limits, too_big)? else {
            return Ok(Step::More);
        };
        let line = bytes.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        split_inline(line, &mut self.spans, &mut self.blobs)?;
        self.pos = end.saturating_add(1);
        self.scan = self.pos;
        Ok(if self.spans.is_empty() {
            Step::Empty
        } else {
            Step::Done
        })
    }

    /// The line at `pos`, which ends with `\r` and one more byte, and moves behind it; `None` if it
    /// is incomplete.
    fn header_line<'a>(
        &mut self,
        bytes: &'a [u8],
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<Option<&'a [u8]>, ProtocolError> {
        let Some(end) = self.line_end(bytes, b'\r', limits, too_big)? else {
            return Ok(None);
        };
        let next = end.saturating_add(2);
        if next > bytes.len() {
            return Ok(None);
        }
        let line = bytes.get(self.pos..end);
        self.pos = next;
        self.scan = next;
        Ok(line)
    }

    /// Where the line at `pos` ends; remembers how far it looked.
    fn line_end(
        &mut self,
        bytes: &[u8],
        end: u8,
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let rest = bytes.get(self.scan..).unwrap_or_default();
        let found = memchr2(end, 0, rest);
        let is_end = found.is_some_and(|at| rest.get(at) == Some(&end));
        self.scan = self.scan.saturating_add(found.unwrap_or(rest.len()));
        let line_len = if is_end { self.scan } else { bytes.len() }.saturating_sub(self.pos);
        if line_len > limits.proto_inline_max_size {
            return Err(too_big);
        }
        Ok(is_end.then_some(self.scan))
    }
}

/// A large bulk on its way in: the first `filled` of `total` bytes are there.
#[derive(Debug)]
struct Large {
    /// `filled <= bytes.len() <= total`; what is between is zeroes to be read over.
    bytes: Vec<u8>,
    filled: usize,
    total: usize,
}

impl Large {
    fn new(total: usize) -> Large {
        Large {
            bytes: Vec::new(),
            filled: 0,
            total,
        }
    }

    fn missing(&self) -> usize {
        self.total.saturating_sub(self.filled)
    }

    /// Takes what belongs to it from the front of `rest`.
    fn absorb(&mut self, rest: &[u8]) -> usize {
        let rest = rest.get(..self.missing()).unwrap_or(rest);
        if rest.is_empty() {
            return 0;
        }
        self.bytes.truncate(self.filled);
        self.reserve(self.filled.saturating_add(rest.len()));
        self.bytes.extend_from_slice(rest);
        self.filled = self.bytes.len();
        rest.len()
    }

    fn wanted(&mut self, max: usize) -> Option<&mut [u8]> {
        if self.missing() == 0 {
            return None;
        }
        if self.filled == self.bytes.len() {
            self.reserve(self.filled.saturating_add(1));
            self.bytes.resize(self.bytes.capacity().min(self.total), 0);
        }
        let room = self.bytes.get_mut(self.filled..)?;
        let len = room.len().min(max);
        room.get_mut(..len)
    }

    /// Makes room for `needed` bytes in all, in doubling steps that end exactly at `total`: what a
    /// client announces costs it bytes before it costs us memory.
    fn reserve(&mut self, needed: usize) {
        if needed > self.bytes.capacity() {
            let step = self.filled.saturating_mul(2).max(LARGE_FIRST_STEP);
            let capacity = step.max(needed).min(self.total);
            self.bytes
                .reserve_exact(capacity.saturating_sub(self.bytes.len()));
        }
    }
}

// ---- inline requests -----------------------------------------------------------------------------

/// One argument of a line while it is put together: a range of the line as long as it is one, else
/// bytes of its own.
#[derive(Default)]
struct Token {
    start: usize,
    len: usize,
    owned: Option<Vec<u8>>,
}

impl Token {
    /// Appends a byte of the line.
    fn take(&mut self, line: &[u8], at: usize, byte: u8) {
        if self.owned.is_none() {
            if self.len == 0 {
                self.start = at;
            }
            if self.start.saturating_add(self.len) == at {
                self.len = self.len.saturating_add(1);
                return;
            }
        }
        self.add(line, byte);
    }

    /// Appends a byte that is not in the line like that.
    fn add(&mut self, line: &[u8], byte: u8) {
        let owned = self.owned.get_or_insert_with(|| {
            let end = self.start.saturating_add(self.len);
            line.get(self.start..end).unwrap_or_default().to_vec()
        });
        owned.push(byte);
    }

    fn finish(self, spans: &mut Vec<Span>, blobs: &mut Vec<Blob>) {
        match self.owned {
            None => spans.push(Span::range(self.start, self.len)),
            Some(bytes) => {
                spans.push(Span::blob(blobs.len()));
                blobs.push(Arc::new(bytes));
            }
        }
    }
}

/// Splits a line (without its end, and without NUL) at blanks, minding quotes: `"..."` with escapes,
/// `'...'` with only `\'`. A closing quote must end the argument.
fn split_inline(
    line: &[u8],
    spans: &mut Vec<Span>,
    blobs: &mut Vec<Blob>,
) -> Result<(), ProtocolError> {
    let mut at = 0usize;
    loop {
        while line.get(at).is_some_and(|b| is_space(*b)) {
            at = at.saturating_add(1);
        }
        if at >= line.len() {
            return Ok(());
        }
        let mut token = Token::default();
        at = split_token(line, at, &mut token)?;
        token.finish(spans, blobs);
    }
}

/// Reads the argument that begins at `at`; returns where it ended.
fn split_token(line: &[u8], mut at: usize, token: &mut Token) -> Result<usize, ProtocolError> {
    while let Some(&byte) = line.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => break,
            b'"' | b'\'' => return quoted(line, at.saturating_add(1), byte, token),
            _ => token.take(line, at, byte),
        }
        at = at.saturating_add(1);
    }
    Ok(at)
}

/// Reads from behind an opening quote to behind the closing one.
fn quoted(
    line: &[u8],
    mut at: usize,
    quote: u8,
    token: &mut Token,
) -> Result<usize, ProtocolError> {
    loop {
        let rest = line.get(at..).unwrap_or_default();
        let used = match rest {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'\\', b'x', a, b, ..]
                if quote == b'"' && a.is_ascii_hexdigit() && b.is_ascii_hexdigit() =>
            {
                token.add(line, hex(*a).wrapping_shl(4) | hex(*b));
                4
            }
            [b'\\', escaped, ..] if quote == b'"' => {
                token.add(line, unescape(*escaped));
                2
            }
            [b'\\', b'\'', ..] if quote == b'\'' => {
                token.add(line, b'\'');
                2
            }
            [byte, after @ ..] if *byte == quote => {
                return match after.first() {
                    Some(next) if !is_space(*next) => Err(ProtocolError::UnbalancedQuotes),
                    _ => Ok(at.saturating_add(1)),
                };
            }
            [byte, ..] => {
                token.take(line, at, *byte);
                1
            }
        };
        at = at.saturating_add(used);
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte.wrapping_sub(b'0'),
        _ => (byte | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
