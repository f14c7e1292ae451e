//! The seam that records: passes every call on to a live seam and writes the answer down.

use super::super::seam::*;
use super::format::*;
use crate::system::child::Pipe;
use crate::system::crc64::crc64;
use crate::system::machine::Machine;
use crate::system::tls::TlsOptions;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Entries are written to the file once they are so many bytes, or when the loop is about to sleep.
const BUFFER: usize = 64 * 1024;

/// Hides what must not be in a file. It is shown all bytes that are read, in order and cut anywhere, and overwrites
/// what is secret, keeping its length; the same secret must become the same bytes everywhere.
pub trait Mask {
    /// Bytes that were read from a source, which will be `at` this place of the recording. What a secret becomes may be
    /// known only at its end: pieces of it that were shown earlier are then `patches` of what was recorded of them.
    fn hide(&mut self, token: Token, bytes: &mut [u8], at: u64, patches: &mut Vec<Patch>);
    /// A source is closed; its token may be another's next.
    fn closed(&mut self, token: Token);
}

/// Bytes that take the place of others in a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where they begin.
    pub at: u64,
    /// As many as they replace.
    pub bytes: Vec<u8>,
}

/// Records what a live seam answers.
pub struct RecordingSeam {
    live: Box<dyn Seam>,
    mask: Box<dyn Mask>,
    /// None once the recording has ended: it was full, or the disk was.
    file: Option<File>,
    entries: Vec<u8>,
    written: u64,
    limit: u64,
    last_ns: u64,
    last_unix_us: i64,
}

impl RecordingSeam {
    /// Begins a recording in `file` that grows to `limit` bytes at most.
    pub fn begin(
        live: Box<dyn Seam>,
        mask: Box<dyn Mask>,
        file: File,
        header: &Header,
        limit: u64,
    ) -> io::Result<RecordingSeam> {
        let entries = header.encode();
        if entries.len() as u64 >= limit {
            return Err(io::Error::other(
                "what the server begins with is larger than record-max-size",
            ));
        }
        let mut recording = RecordingSeam {
            live,
            mask,
            file: Some(file),
            entries,
            written: 0,
            limit,
            last_ns: 0,
            last_unix_us: 0,
        };
        recording.write_out()?;
        Ok(recording)
    }

    fn write_out(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            self.entries.clear();
            return Ok(());
        };
        file.write_all(&self.entries)?;
        self.written += self.entries.len() as u64;
        self.entries.clear();
        Ok(())
    }

    /// Writes what is held, and ends the recording where it cannot go on.
    fn flush(&mut self) {
        if let Err(error) = self.write_out() {
            log::warn!("The recording ends here: {error}");
            self.file = None;
            self.entries.clear();
        }
    }

    /// Adds an entry.
    fn note(&mut self, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
        if self.file.is_none() {
            return;
        }
        let begin = self.entries.len();
        self.entries.push(tag);
        write(&mut self.entries);
        if self.written + self.entries.len() as u64 >= self.limit {
            self.entries.truncate(begin);
            self.entries.push(tag::END);
            self.flush();
            log::warn!("The recording is full (record-max-size) and ends here");
            self.file = None;
        } else if self.entries.len() >= BUFFER {
            self.flush();
        }
    }

    /// Writes over what was recorded earlier. A recording that goes to a pipe keeps what it had.
    fn patch(&mut self, patch: &Patch) {
        let Some(file) = &self.file else { return };
        if patch.at < self.written {
            // An entry is written out whole, so it is all there.
            if let Err(error) = file.write_all_at(&patch.bytes, patch.at) {
                log::debug!("A secret stays blotted out in the recording: {error}");
            }
            return;
        }
        let begin = usize::try_from(patch.at - self.written).unwrap_or(usize::MAX);
        let end = begin.saturating_add(patch.bytes.len());
        if let Some(there) = self.entries.get_mut(begin..end) {
            there.copy_from_slice(&patch.bytes);
        }
    }

    fn note_error(&mut self, tag: u8, error: &io::Error) {
        self.note(tag, |out| put_number(out, error_code(error)));
    }
}

impl Drop for RecordingSeam {
    fn drop(&mut self) {
        self.note(tag::END, |_| {});
        self.flush();
    }
}

impl Seam for RecordingSeam {
    fn monotonic_ns(&mut self) -> u64 {
        let now = self.live.monotonic_ns();
        let passed = now.saturating_sub(self.last_ns);
        self.last_ns = now;
        self.note(tag::MONOTONIC, |out| put_number(out, passed));
        now
    }

    fn unix_us(&mut self) -> i64 {
        let now = self.live.unix_us();
        let passed = now.wrapping_sub(self.last_unix_us);
        self.last_unix_us = now;
        self.note(tag::UNIX, |out| put_signed(out, passed));
        now
    }

    fn random_u64(&mut self) -> u64 {
        let bits = self.live.random_u64();
        self.note(tag::RANDOM, |out| {
            out.extend_from_slice(&bits.to_le_bytes())
        });
        bits
    }

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        if timeout != Some(Duration::ZERO) {
            self.flush();
        }
        let before = ready.len();
        let result = self.live.poll(timeout, ready);
        match &result {
            Ok(()) => {
                let events = &ready[before..];
                self.note(tag::POLLED, |out| {
                    put_number(out, events.len() as u64);
                    for event in events {
                        put_readiness(out, event);
                    }
                });
            }
            Err(error) => self.note_error(tag::POLL_FAILED, error),
        }
        result
    }

    fn listen(
        &mut self,
        token: Token,
        address: &ListenAddress,
        options: &ListenOptions,
    ) -> io::Result<()> {
        let result = self.live.listen(token, address, options);
        match &result {
            Ok(()) => self.note(tag::LISTENED, |out| put_token(out, token)),
            Err(error) => self.note_error(tag::LISTEN_FAILED, error),
        }
        result
    }

    // Whether that could be done is whoever asks's to record: it changes what is above.
    fn configure_tls(&mut self, options: &TlsOptions) -> Result<(), String> {
        self.live.configure_tls(options)
    }

    fn reload_tls(&mut self, options: &TlsOptions) {
        self.live.reload_tls(options);
    }

    fn accept(&mut self, listener: Token, token: Token) -> io::Result<Accepted> {
        let result = self.live.accept(listener, token);
        match &result {
            Ok(accepted) => self.note(tag::ACCEPTED, |out| put_accepted(out, accepted)),
            Err(error) => self.note_error(tag::ACCEPT_FAILED, error),
        }
        result
    }

    fn connect(&mut self, token: Token, to: &ConnectAddress) -> io::Result<()> {
        let result = self.live.connect(token, to);
        match &result {
            Ok(()) => self.note(tag::CONNECTING, |out| put_token(out, token)),
            Err(error) => self.note_error(tag::CONNECT_FAILED, error),
        }
        result
    }

    fn connected(&mut self, token: Token) -> io::Result<()> {
        let result = self.live.connected(token);
        match &result {
            Ok(()) => self.note(tag::CONNECTED, |out| put_token(out, token)),
            Err(error) => self.note_error(tag::NOT_CONNECTED, error),
        }
        result
    }

    fn keep_alive(&mut self, token: Token, seconds: u32) {
        self.live.keep_alive(token, seconds);
    }

    fn adopt_pipe(&mut self, token: Token, pipe: Pipe) -> io::Result<()> {
        let result = self.live.adopt_pipe(token, pipe);
        match &result {
            Ok(()) => self.note(tag::ADOPTED, |out| put_token(out, token)),
            Err(error) => self.note_error(tag::ADOPT_FAILED, error),
        }
        result
    }

    fn read(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<Received> {
        let result = self.live.read(token, buffer);
        match &result {
            Ok(received) if self.file.is_some() => {
                let mut shown = buffer[..received.len].to_vec();
                let mut head = Vec::new();
                put_token(&mut head, token);
                put_received(&mut head, *received);
                let at = self.written + (self.entries.len() + 1 + head.len()) as u64;
                let mut patches = Vec::new();
                self.mask.hide(token, &mut shown, at, &mut patches);
                self.note(tag::READ, |out| {
                    out.extend_from_slice(&head);
                    out.extend_from_slice(&shown);
                });
                for patch in &patches {
                    self.patch(patch);
                }
            }
            Ok(_) => {}
            Err(error) => self.note_error(tag::READ_FAILED, error),
        }
        result
    }

    fn write(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let result = self.live.write(token, slices);
        match &result {
            Ok(n) if self.file.is_some() => {
                let sum = checksum(slices, *n);
                let offered: usize = slices.iter().map(|slice| slice.len()).sum();
                let taken = (*n as u64) << 1 | u64::from(*n == offered);
                self.note(tag::WRITTEN, |out| {
                    put_token(out, token);
                    put_number(out, taken);
                    out.extend_from_slice(&sum.to_le_bytes());
                });
            }
            Ok(_) => {}
            Err(error) => self.note_error(tag::WRITE_FAILED, error),
        }
        result
    }

    fn held_bytes(&mut self, token: Token) -> usize {
        let bytes = self.live.held_bytes(token);
        self.note(tag::HELD, |out| {
            put_token(out, token);
            put_number(out, bytes as u64);
        });
        bytes
    }

    fn finish(&mut self, patience: Duration) {
        self.live.finish(patience);
    }

    fn close(&mut self, token: Token) {
        self.mask.closed(token);
        self.live.close(token);
    }

    fn waker(&self) -> Waker {
        self.live.waker()
    }

    fn machine(&self) -> Machine {
        self.live.machine()
    }

    fn tells_of_jobs(&self) -> bool {
        false
    }

    fn sleep(&mut self, duration: Duration) {
        self.note(tag::SLEPT, |_| {});
        self.live.sleep(duration);
    }

    fn observed(&mut self, figure: u64) -> u64 {
        self.note(tag::OBSERVED, |out| put_number(out, figure));
        figure
    }

    fn signalled(&mut self, signal: Option<u8>) -> Option<u8> {
        if let Some(signal) = signal {
            self.note(tag::SIGNALLED, |out| out.push(signal));
        }
        signal
    }
}

/// Checksum of the first `n` bytes of some slices.
pub(super) fn checksum(slices: &[IoSlice<'_>], n: usize) -> u64 {
    let mut left = n;
    let mut sum = 0;
    for slice in slices {
        let taken = slice.len().min(left);
        sum = crc64(sum, &slice[..taken]);
        left -= taken;
    }
    sum
}
