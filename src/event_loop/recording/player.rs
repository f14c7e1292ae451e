//! The seam that plays a recording: the same answers in the same order, without a socket and without a clock.

use super::super::seam::*;
use super::format::*;
use super::recorder::checksum;
use crate::system::child::Pipe;
use crate::system::machine::{Machine, Stopwatch};
use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufReader, IoSlice, Read};
use std::rc::Rc;
use std::time::Duration;

/// Something else was asked for than was asked for when it was recorded: the code is another, or something enters the
/// server past the seam.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Entries that were played before.
    pub entry: u64,
    /// What was recorded.
    pub recorded: String,
    /// What was asked for.
    pub asked: String,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at entry {} the recording has {}, but the server asked for {}",
            self.entry, self.recorded, self.asked
        )
    }
}

/// What came of playing so far.
#[derive(Debug, Default)]
pub struct Played {
    /// Entries played.
    pub entries: u64,
    /// The recording is used up.
    pub ended: bool,
    /// It went another way, and nothing after it means anything.
    pub divergence: Option<Divergence>,
    /// Writes that took the same bytes as when it was recorded.
    pub same_writes: u64,
    /// The first writes that took other bytes: their numbers from 1, with what they take now.
    pub other_writes: Vec<(u64, Vec<u8>)>,
    /// How many those are.
    pub other_write_count: u64,
    /// Keep what passes.
    pub keeps_traffic: bool,
    /// Bytes that were read and (where `true`) written, if they are kept; taken by whoever shows them.
    pub traffic: Vec<(Token, bool, Vec<u8>)>,
}

/// A view of what is played, shared with the seam.
pub type Playback = Rc<RefCell<Played>>;

/// Differing writes that are kept, and bytes of each.
const SHOWN_WRITES: usize = 8;
const SHOWN_BYTES: usize = 160;

/// Plays a recording.
pub struct PlayingSeam<R: Read> {
    from: BufReader<R>,
    next_tag: Option<u8>,
    played: Playback,
    now_ns: u64,
    unix_us: i64,
}

impl<R: Read> PlayingSeam<R> {
    /// Opens a recording: how the server began, and the seam for the rest.
    pub fn open(recording: R) -> io::Result<(Header, PlayingSeam<R>)> {
        let mut from = BufReader::new(recording);
        let header = Header::decode(&mut from)?;
        let seam = PlayingSeam {
            from,
            next_tag: None,
            played: Playback::default(),
            now_ns: 0,
            unix_us: 0,
        };
        Ok((header, seam))
    }

    /// The view.
    pub fn playback(&self) -> Playback {
        Rc::clone(&self.played)
    }

    /// The next entry's tag, which stays the next.
    fn peek(&mut self) -> u8 {
        if let Some(tag) = self.next_tag {
            return tag;
        }
        // A recording that breaks off has ended there.
        let tag = get_byte(&mut self.from).unwrap_or(tag::END);
        self.next_tag = Some(tag);
        tag
    }

    fn is_over(&self) -> bool {
        let played = self.played.borrow();
        played.ended || played.divergence.is_some()
    }

    /// Takes the next entry if its tag is one of these; else playing is over.
    fn take(&mut self, wanted: &[u8]) -> io::Result<u8> {
        if self.is_over() {
            return Err(over());
        }
        let found = self.peek();
        let mut played = self.played.borrow_mut();
        if found == tag::END {
            played.ended = true;
            return Err(over());
        }
        if !wanted.contains(&found) {
            let asked = wanted.first().copied().unwrap_or(tag::END);
            played.divergence = Some(Divergence {
                entry: played.entries,
                recorded: tag::name(found).to_owned(),
                asked: tag::name(asked).to_owned(),
            });
            return Err(over());
        }
        played.entries += 1;
        drop(played);
        self.next_tag = None;
        Ok(found)
    }

    /// What an entry holds; one that breaks off is the end.
    fn value<T>(&mut self, get: impl FnOnce(&mut BufReader<R>) -> io::Result<T>) -> io::Result<T> {
        let value = get(&mut self.from);
        if value.is_err() {
            self.played.borrow_mut().ended = true;
        }
        value.map_err(|_| over())
    }

    fn failure(&mut self) -> io::Error {
        self.value(get_error).unwrap_or_else(|error| error)
    }

    /// The entry's source must be the one that was asked for.
    fn expect_token(&mut self, token: Token, what: &str) -> io::Result<()> {
        let recorded = self.value(get_token)?;
        if recorded == token {
            return Ok(());
        }
        let mut played = self.played.borrow_mut();
        played.divergence = Some(Divergence {
            entry: played.entries,
            recorded: format!("{what} of source {}", recorded.0),
            asked: format!("{what} of source {}", token.0),
        });
        Err(over())
    }

    fn keep(&mut self, token: Token, is_output: bool, bytes: &[u8]) {
        let mut played = self.played.borrow_mut();
        if played.keeps_traffic {
            played.traffic.push((token, is_output, bytes.to_vec()));
        }
    }
}

fn over() -> io::Error {
    io::Error::other("the recording is over")
}

/// What a read or write fails with once playing is over: nothing is ready any more.
fn nothing(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::Other {
        io::Error::from(io::ErrorKind::WouldBlock)
    } else {
        error
    }
}

impl<R: Read> Seam for PlayingSeam<R> {
    fn monotonic_ns(&mut self) -> u64 {
        if self.take(&[tag::MONOTONIC]).is_ok()
            && let Ok(passed) = self.value(get_number)
        {
            self.now_ns = self.now_ns.saturating_add(passed);
        }
        self.now_ns
    }

    fn unix_us(&mut self) -> i64 {
        if self.take(&[tag::UNIX]).is_ok()
            && let Ok(passed) = self.value(get_signed)
        {
            self.unix_us = self.unix_us.wrapping_add(passed);
        }
        self.unix_us
    }

    fn random_u64(&mut self) -> u64 {
        let mut bits = [0; 8];
        if self.take(&[tag::RANDOM]).is_ok() {
            let _ = self.value(|from| from.read_exact(&mut bits));
        }
        u64::from_le_bytes(bits)
    }

    fn poll(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        if self.take(&[tag::POLLED, tag::POLL_FAILED])? == tag::POLL_FAILED {
            return Err(self.failure());
        }
        let count = self.value(get_number)?;
        for _ in 0..count {
            ready.push(self.value(get_readiness)?);
        }
        Ok(())
    }

    fn listen(
        &mut self,
        token: Token,
        _address: &ListenAddress,
        _options: &ListenOptions,
    ) -> io::Result<()> {
        if self.take(&[tag::LISTENED, tag::LISTEN_FAILED])? == tag::LISTEN_FAILED {
            return Err(self.failure());
        }
        self.expect_token(token, "a listener")
    }

    fn accept(&mut self, _listener: Token, token: Token) -> io::Result<Accepted> {
        let found = self.take(&[tag::ACCEPTED, tag::ACCEPT_FAILED]);
        if found.map_err(nothing)? == tag::ACCEPT_FAILED {
            return Err(self.failure());
        }
        self.value(|from| get_accepted(from, token))
    }

    fn connect(&mut self, token: Token, _to: &ConnectAddress) -> io::Result<()> {
        if self.take(&[tag::CONNECTING, tag::CONNECT_FAILED])? == tag::CONNECT_FAILED {
            return Err(self.failure());
        }
        self.expect_token(token, "an outgoing connection")
    }

    fn connected(&mut self, token: Token) -> io::Result<()> {
        let found = self.take(&[tag::CONNECTED, tag::NOT_CONNECTED]);
        if found.map_err(nothing)? == tag::NOT_CONNECTED {
            return Err(self.failure());
        }
        let what = "the outcome of connecting";
        self.expect_token(token, what).map_err(nothing)
    }

    fn adopt_pipe(&mut self, token: Token, pipe: Pipe) -> io::Result<()> {
        // What the child says was recorded.
        drop(pipe);
        if self.take(&[tag::ADOPTED, tag::ADOPT_FAILED])? == tag::ADOPT_FAILED {
            return Err(self.failure());
        }
        self.expect_token(token, "a pipe")
    }

    fn read(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<Received> {
        let found = self.take(&[tag::READ, tag::READ_FAILED]).map_err(nothing)?;
        if found == tag::READ_FAILED {
            return Err(self.failure());
        }
        self.expect_token(token, "a read").map_err(nothing)?;
        let (bytes, more) = self.value(get_received).map_err(nothing)?;
        if bytes.len() > buffer.len() {
            let mut played = self.played.borrow_mut();
            played.divergence = Some(Divergence {
                entry: played.entries,
                recorded: format!("a read of {} bytes", bytes.len()),
                asked: format!("one of at most {}", buffer.len()),
            });
            return Err(nothing(over()));
        }
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.keep(token, false, &bytes);
        Ok(Received {
            len: bytes.len(),
            more,
        })
    }

    fn write(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let found = self.take(&[tag::WRITTEN, tag::WRITE_FAILED]);
        if found.map_err(nothing)? == tag::WRITE_FAILED {
            return Err(self.failure());
        }
        self.expect_token(token, "a write").map_err(nothing)?;
        let taken = self.value(get_number).map_err(nothing)?;
        let mut sum = [0; 8];
        self.value(|from| from.read_exact(&mut sum))
            .map_err(nothing)?;
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        // What took all then takes all now, though it may be longer: a reply that differs is counted, and the next
        // ones are in step again.
        let (taken, took_all) = (taken >> 1, taken & 1 != 0);
        let n = if took_all {
            offered
        } else {
            usize::try_from(taken).unwrap_or(usize::MAX).min(offered)
        };
        let is_same = n as u64 == taken && checksum(slices, n) == u64::from_le_bytes(sum);
        let mut played = self.played.borrow_mut();
        if is_same {
            played.same_writes += 1;
        } else {
            played.other_write_count += 1;
            let number = played.same_writes + played.other_write_count;
            if played.other_writes.len() < SHOWN_WRITES {
                let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
                let bytes = bytes.take(n.min(SHOWN_BYTES)).collect();
                played.other_writes.push((number, bytes));
            }
        }
        drop(played);
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        self.keep(token, true, &bytes[..n]);
        Ok(n)
    }

    fn held_bytes(&mut self, token: Token) -> usize {
        if self.take(&[tag::HELD]).is_err() || self.expect_token(token, "what is held").is_err() {
            return 0;
        }
        let bytes = self.value(get_number).unwrap_or(0);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    fn close(&mut self, _token: Token) {}

    fn waker(&self) -> Waker {
        // Who rang and when was recorded with the polls.
        Waker::new(|| {})
    }

    fn machine(&self) -> Machine {
        Machine {
            stopwatch: Stopwatch::Stopped,
            ..Machine::default()
        }
    }

    fn tells_of_jobs(&self) -> bool {
        false
    }

    fn sleep(&mut self, _duration: Duration) {
        let _ = self.take(&[tag::SLEPT]);
    }

    fn is_replay(&self) -> bool {
        true
    }

    fn observed(&mut self, figure: u64) -> u64 {
        if self.take(&[tag::OBSERVED]).is_err() {
            return figure;
        }
        self.value(get_number).unwrap_or(figure)
    }

    fn signalled(&mut self, _signal: Option<u8>) -> Option<u8> {
        if self.is_over() || self.peek() != tag::SIGNALLED {
            return None;
        }
        self.take(&[tag::SIGNALLED]).ok()?;
        self.value(get_byte).ok()
    }
}
