//! Typed values, spelled in RESP2 or RESP3. Handlers answer through this and nothing else.
//!
//! In: `integer(3)`, `map(2)`, `null()`. Out: bytes at the end of the client's [`OutputBuffer`].
//!
//! An aggregate whose length is known only at its end is *deferred*: [`Reply::begin_deferred`]
//! leaves a header for one digit, and the end writes the true one over it, which moves what follows
//! only if it has more digits. Deferred aggregates nest and are ended innermost first, before the
//! buffer is written to the socket.
//!
//! Errors are counted here, because only here they all come by: dispatch compares
//! [`Reply::error_count`] before and after a command.
//!
//! Mirrors the `addReply*` functions of Redis's `networking.c`.

use super::Protocol;
use super::frame::PushFrame;
use super::output::OutputBuffer;
use crate::structures::Blob;
use crate::system::numbers::write_double;

/// Longest header: a marker, 20 characters of a number, `\r\n`, with some to spare.
const HEADER_LEN: usize = 24;
/// Room for a double with its header (no double takes more than 25 characters).
const DOUBLE_LEN: usize = 64;
/// Up to here a bulk is written in one piece with its header.
const ONE_PIECE_LEN: usize = 8 * 1024;
/// How much of the last error is remembered.
const LAST_ERROR_LEN: usize = 256;

/// The header of a deferred aggregate as it stands until the end.
const PLACEHOLDER: &[u8; 4] = b"*0\r\n";

/// Where a deferred aggregate began.
#[must_use = "a deferred aggregate has to be ended"]
#[derive(Debug)]
pub struct Deferred {
    /// In the sense of `OutputBuffer::total_bytes`; `NOWHERE` if replies were discarded.
    position: u64,
}

const NOWHERE: u64 = u64::MAX;

/// The replies of one client.
#[derive(Debug, Default)]
pub struct Reply {
    output: OutputBuffer,
    protocol: Protocol,
    discard: bool,
    errors: u64,
    last_error: Vec<u8>,
}

impl Reply {
    /// Answers in this dialect, into an empty buffer.
    pub fn new(protocol: Protocol) -> Reply {
        Reply {
            protocol,
            ..Reply::default()
        }
    }

    /// What waits to be written.
    #[inline]
    pub fn output(&self) -> &OutputBuffer {
        &self.output
    }

    /// What waits to be written.
    #[inline]
    pub fn output_mut(&mut self) -> &mut OutputBuffer {
        &mut self.output
    }

    /// The dialect.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// True if values are spelled in RESP3.
    #[inline]
    pub fn resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// Switches the dialect, from the next value on.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// While set, values are not written (`CLIENT REPLY OFF` and `SKIP`); errors still count.
    pub fn set_discard(&mut self, discard: bool) {
        self.discard = discard;
    }

    /// Whether values are not written.
    #[inline]
    pub fn is_discarding(&self) -> bool {
        self.discard
    }

    /// How many errors were answered since the beginning.
    #[inline]
    pub fn error_count(&self) -> u64 {
        self.errors
    }

    /// The last error, with its code, without `-` (cut at 256 bytes); empty if there was none.
    #[cfg(test)]
    pub fn last_error(&self) -> &[u8] {
        &self.last_error
    }

    /// The code of the last error, as `INFO errorstats` counts it: the first word, or `ERR` if the
    /// text has none.
    pub fn last_error_code(&self) -> &[u8] {
        let head = self.last_error.get(..31).unwrap_or(&self.last_error);
        match memchr::memchr(b' ', head) {
            Some(end) => head.get(..end).unwrap_or(b"ERR"),
            None => b"ERR",
        }
    }

    /// Bytes appended to the buffer since the beginning, whether or not they were written since.
    #[inline]
    #[cfg(test)]
    pub fn bytes_written(&self) -> u64 {
        self.output.total_bytes()
    }

    // ---- scalars ---------------------------------------------------------------------------------

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.fixed(b"+OK\r\n");
    }

    /// A simple string; `text` has no line breaks.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        if self.discard {
            return;
        }
        self.output.extend(b"+");
        self.output.extend(text.as_bytes());
        self.output.extend(b"\r\n");
    }

    /// An error: its code, a blank, its text, without the leading `-`. Line breaks would end it
    /// early, so they become blanks; at the end they are dropped.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.write_error(text.as_ref());
    }

    fn write_error(&mut self, text: &[u8]) {
        let is_break = |b: &u8| matches!(b, b'\r' | b'\n');
        let end = text.iter().rposition(|b| !is_break(b));
        let text = end.and_then(|end| text.get(..=end)).unwrap_or_default();
        let clean = text.iter().map(|b| if is_break(b) { b' ' } else { *b });

        self.errors = self.errors.wrapping_add(1);
        self.last_error.clear();
        self.last_error.extend(clean.clone().take(LAST_ERROR_LEN));
        if self.discard {
            return;
        }
        self.output.extend(b"-");
        if text.len() <= LAST_ERROR_LEN {
            self.output.extend(&self.last_error);
        } else {
            self.output.extend(&clean.collect::<Vec<u8>>());
        }
        self.output.extend(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, n: i64) {
        if !self.discard {
            number_line(self.output.room(HEADER_LEN), b':', n);
        }
    }

    /// A length or a count as an integer.
    #[inline]
    pub fn count(&mut self, n: usize) {
        self.integer(i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        if self.discard {
            return;
        }
        if bytes.len() <= ONE_PIECE_LEN {
            let out = self.output.room(bytes.len().wrapping_add(HEADER_LEN));
            length_line(out, b'$', bytes.len());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        } else {
            length_line(self.output.room(HEADER_LEN), b'$', bytes.len());
            self.output.extend(bytes);
            self.output.extend(b"\r\n");
        }
    }

    /// A bulk string, or null.
    #[inline]
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// A bulk string that is shared with the keyspace: without a copy if it is long.
    pub fn blob(&mut self, blob: &Blob) {
        if self.discard {
            return;
        }
        length_line(self.output.room(HEADER_LEN), b'$', blob.len());
        self.output.extend_blob(blob);
        self.output.extend(b"\r\n");
    }

    /// An integer as a bulk string.
    #[inline]
    pub fn bulk_i64(&mut self, n: i64) {
        if !self.discard {
            let mut buffer = itoa::Buffer::new();
            let text = buffer.format(n).as_bytes();
            let out = self.output.room(HEADER_LEN.wrapping_mul(2));
            length_line(out, b'$', text.len());
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// No value: `$-1` or `_`.
    #[inline]
    pub fn null(&mut self) {
        if self.resp3() {
            self.fixed(b"_\r\n");
        } else {
            self.fixed(b"$-1\r\n");
        }
    }

    /// No array: `*-1` or `_`.
    #[inline]
    pub fn null_array(&mut self) {
        if self.resp3() {
            self.fixed(b"_\r\n");
        } else {
            self.fixed(b"*-1\r\n");
        }
    }

    /// A truth value; in RESP2 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        match (self.resp3(), value) {
            (true, true) => self.fixed(b"#t\r\n"),
            (true, false) => self.fixed(b"#f\r\n"),
            (false, true) => self.fixed(b":1\r\n"),
            (false, false) => self.fixed(b":0\r\n"),
        }
    }

    /// A double in its shortest form; in RESP2 a bulk string of the same text.
    pub fn double(&mut self, value: f64) {
        if !self.resp3() {
            return self.bulk_double(value);
        }
        if !self.discard {
            let out = self.output.room(DOUBLE_LEN);
            out.push(b',');
            write_double(out, value);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// A double that RESP3 too wants as a bulk string.
    pub fn bulk_double(&mut self, value: f64) {
        if self.discard {
            return;
        }
        let out = self.output.room(DOUBLE_LEN);
        let start = out.len();
        write_double(out, value);
        let text_end = out.len();
        // The length is known only now: write its line behind and turn it to the front.
        length_line(out, b'$', text_end.saturating_sub(start));
        let header_len = out.len().saturating_sub(text_end);
        if let Some(written) = out.get_mut(start..) {
            written.rotate_right(header_len);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Text with its format (`txt`, `mkd`: three characters); in RESP2 a bulk string.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        if !self.resp3() {
            return self.bulk(text);
        }
        if self.discard {
            return;
        }
        let mut prefix = *b"   :";
        for (to, from) in prefix.iter_mut().take(3).zip(format.bytes()) {
            *to = from;
        }
        let len = text.len().saturating_add(prefix.len());
        length_line(self.output.room(HEADER_LEN), b'=', len);
        self.output.extend(&prefix);
        self.output.extend(text);
        self.output.extend(b"\r\n");
    }

    /// A number beyond 64 bits; in RESP2 a bulk string.
    pub fn big_number(&mut self, digits: &str) {
        if self.resp3() {
            self.line(b'(', digits.as_bytes());
        } else {
            self.bulk(digits.as_bytes());
        }
    }

    /// Bytes that are encoded already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        if !self.discard {
            self.output.extend(bytes);
        }
    }

    /// A push message that is encoded already, in either dialect.
    #[inline]
    pub fn frame(&mut self, frame: &PushFrame) {
        if !self.discard {
            let resp3 = self.resp3();
            frame.append_to(&mut self.output, resp3);
        }
    }

    // ---- aggregates ------------------------------------------------------------------------------

    /// The header of an array; `n` values follow.
    #[inline]
    pub fn array(&mut self, n: usize) {
        self.aggregate(b'*', n);
    }

    /// The header of a map; `n` pairs of values follow. In RESP2 an array of twice as many.
    #[inline]
    pub fn map(&mut self, n: usize) {
        if self.resp3() {
            self.aggregate(b'%', n);
        } else {
            self.aggregate(b'*', n.saturating_mul(2));
        }
    }

    /// The header of a set; `n` values follow. In RESP2 an array.
    #[inline]
    pub fn set(&mut self, n: usize) {
        self.aggregate(if self.resp3() { b'~' } else { b'*' }, n);
    }

    /// The header of a message that nobody asked for; `n` values follow. In RESP2 an array.
    #[inline]
    pub fn push(&mut self, n: usize) {
        self.aggregate(if self.resp3() { b'>' } else { b'*' }, n);
    }

    /// The header of an attribute of the next value; `n` pairs follow. RESP2 has none: the caller
    /// asks [`Reply::resp3`] first.
    pub fn attribute(&mut self, n: usize) {
        debug_assert!(self.resp3(), "RESP2 has no attributes");
        if self.resp3() {
            self.aggregate(b'|', n);
        }
    }

    /// Begins an aggregate whose length is not known yet.
    #[inline]
    pub fn begin_deferred(&mut self) -> Deferred {
        if self.discard {
            return Deferred { position: NOWHERE };
        }
        let position = self.output.total_bytes();
        self.output.extend(PLACEHOLDER);
        Deferred { position }
    }

    /// Ends it as an array of `n` values.
    #[inline]
    pub fn end_deferred_array(&mut self, mark: Deferred, n: usize) {
        self.end_deferred(mark, b'*', n);
    }

    /// Ends it as a map of `n` pairs.
    pub fn end_deferred_map(&mut self, mark: Deferred, n: usize) {
        if self.resp3() {
            self.end_deferred(mark, b'%', n);
        } else {
            self.end_deferred(mark, b'*', n.saturating_mul(2));
        }
    }

    /// Ends it as a set of `n` values.
    pub fn end_deferred_set(&mut self, mark: Deferred, n: usize) {
        self.end_deferred(mark, if self.resp3() { b'~' } else { b'*' }, n);
    }

    fn end_deferred(&mut self, mark: Deferred, marker: u8, n: usize) {
        if mark.position != NOWHERE {
            let mut header = Vec::with_capacity(HEADER_LEN);
            length_line(&mut header, marker, n);
            self.output
                .replace(mark.position, PLACEHOLDER.len(), &header);
        }
    }

    #[inline]
    fn aggregate(&mut self, marker: u8, n: usize) {
        if !self.discard {
            length_line(self.output.room(HEADER_LEN), marker, n);
        }
    }

    /// Bytes that are known when this is compiled.
    #[inline]
    fn fixed<const N: usize>(&mut self, bytes: &[u8; N]) {
        if !self.discard {
            self.output.room(N).extend_from_slice(bytes);
        }
    }

    fn line(&mut self, marker: u8, text: &[u8]) {
        if !self.discard {
            self.output.extend(&[marker]);
            self.output.extend(text);
            self.output.extend(b"\r\n");
        }
    }
}

/// `marker`, a number, `\r\n`.
#[inline]
fn number_line(out: &mut Vec<u8>, marker: u8, n: i64) {
    match u8::try_from(n) {
        Ok(small @ 0..=99) => small_line(out, marker, small),
        _ => {
            let mut buffer = itoa::Buffer::new();
            long_line(out, marker, buffer.format(n));
        }
    }
}

/// `marker`, a length, `\r\n`.
#[inline]
fn length_line(out: &mut Vec<u8>, marker: u8, n: usize) {
    match u8::try_from(n) {
        Ok(small @ 0..=99) => small_line(out, marker, small),
        _ => {
            let mut buffer = itoa::Buffer::new();
            long_line(out, marker, buffer.format(n));
        }
    }
}

/// Most numbers have one or two digits: those are written as one array of known length.
#[inline(always)]
fn small_line(out: &mut Vec<u8>, marker: u8, n: u8) {
    let (tens, ones) = (n / 10, b'0'.wrapping_add(n % 10));
    if tens == 0 {
        out.extend_from_slice(&[marker, ones, b'\r', b'\n']);
    } else {
        out.extend_from_slice(&[marker, b'0'.wrapping_add(tens), ones, b'\r', b'\n']);
    }
}

fn long_line(out: &mut Vec<u8>, marker: u8, digits: &str) {
    out.push(marker);
    out.extend_from_slice(digits.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
