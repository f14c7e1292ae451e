//! One TLS connection over a stream that does not block: records in, plain bytes out, and the other way.
//!
//! In: ciphertext that the stream yields, plain bytes to be sent. Out: plain bytes, ciphertext that the stream takes. It
//! owns no buffers while nothing is on its way: bytes are read, decrypted and encrypted in buffers that all connections share
//! ([`Buffers`]), and only what is left over is kept here.
//!
//! Invariants:
//! * What was encrypted counts as written, as what the kernel has in its buffers does: whoever owns the connection sees to it
//!   that it goes out ([`TlsConnection::flush`]), also behind the end. Nothing more is taken before that.
//! * What waits to be sent is less than [`BATCH`] and the records' overhead, and what was read and not taken less than what one
//!   read brings and a handshake message: a peer cannot make it more.
//! * Records go out in the order in which they were encrypted.
//!
//! rustls's unbuffered interface is used, because the other one keeps buffers of its own for each connection.

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, ServerConfig};
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use super::seam::Received;

/// Ciphertext that is read at once, bytes.
const READ: usize = 64 * 1024;
/// What is read for a reader beyond its room: a whole record, so that few reads yield nothing.
const LEAST_READ: usize = RECORD + 1024;
/// Plain bytes that are encrypted before the stream is given them.
const BATCH: usize = 64 * 1024;
/// Plain bytes that are taken at once: the rest has to be offered again, so that the loop can bound what it writes in a turn.
const MOST_WRITTEN: usize = 4 * BATCH;
/// Plain bytes of one record.
const RECORD: usize = 16 * 1024;
/// Reads of a handshake before others have their turn.
const HANDSHAKE_READS: usize = 4;
/// Bytes beside the plain ones that may be decrypted for a connection in one turn: those of about a thousand records. What a
/// turn costs is counted in these where records are small or empty; plain bytes are bounded by who reads them.
const OVERHEAD_IN_TURN: isize = 22 * 1024;
/// More than this is never needed to understand what was read: the longest handshake message, and one read.
const MOST_HELD: usize = 256 * 1024;
/// The first byte of what a peer sends that speaks TLS: of a handshake's message, ...
const HANDSHAKE_RECORD: u8 = 22;
/// ... or of an alert, with which a server answers a client that it cannot speak with.
const ALERT_RECORD: u8 = 21;
/// What rustls keeps of a connection that is open, beside what is in its own struct, about, bytes: names, keys, certificates.
const SESSION_HEAP: usize = 1024;

/// Buffers that all connections share.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
    gathered: Vec<u8>,
}

enum Session {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What the one who reads knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// The turn of the loop, in which the work for a connection is bounded.
    pub(super) number: u64,
    /// A read of the stream that yields less than it was asked for has not emptied it, as where its end was told on the edge
    /// of its last bytes. Then it is read until nothing is there, also where what came was no plain byte.
    pub(super) reads_on: bool,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    Open,
}

/// A connection.
pub(super) struct TlsConnection {
    session: Session,
    stage: Stage,
    /// Ciphertext that was read and is no whole message yet, or comes behind plain bytes for which there was no room.
    held: Vec<u8>,
    /// There may be whole records in `held`.
    has_records: bool,
    /// Plain bytes for which there was no room, the first `plain_taken` of which have been taken since.
    plain: Vec<u8>,
    plain_taken: usize,
    /// Ciphertext that the stream has not taken yet, behind `sent` bytes that it has.
    outgoing: Vec<u8>,
    sent: usize,
    /// Something was read.
    has_read: bool,
    /// The peer has said that it sends no more.
    peer_closed: bool,
    /// Reading was broken off between two reads, so that no edge will tell of what is left.
    broke_off: bool,
    /// The turn in which was read last.
    turn: u64,
    /// Bytes of ciphertext that were done with in it, less the plain bytes that they were.
    overhead: isize,
    /// Why there is nothing more to be had of it.
    failed: Option<Box<str>>,
}

/// What one state of rustls came to.
enum Step {
    /// There may be more to do.
    Again,
    /// Plain bytes came.
    Plain,
    /// The peer has said that it sends no more.
    PeerClosed,
    /// Nothing is left to do before the peer sends something. True: plain bytes may be sent.
    Idle(bool),
    Failed(String),
}

/// Where what rustls yields goes.
struct Sink<'a> {
    /// The reader's room.
    room: &'a mut [u8],
    /// Bytes of it that were filled.
    filled: usize,
    /// Bytes that came, with those that did not fit.
    came: usize,
    /// What does not fit there.
    plain: &'a mut Vec<u8>,
    outgoing: &'a mut Vec<u8>,
}

impl Sink<'_> {
    fn take(&mut self, bytes: &[u8]) {
        self.came += bytes.len();
        let left = self.room.get_mut(self.filled..).unwrap_or_default();
        // Nothing goes past what had no room.
        let fits = if self.plain.is_empty() {
            bytes.len().min(left.len())
        } else {
            0
        };
        left[..fits].copy_from_slice(&bytes[..fits]);
        self.filled += fits;
        self.plain.extend_from_slice(&bytes[fits..]);
    }
}

/// Does what a state of rustls asks for; how many bytes of the input it is done with.
fn handle<D>(status: UnbufferedStatus<'_, '_, D>, sink: &mut Sink<'_>) -> (usize, Step) {
    let mut done = status.discard;
    let step = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    done += record.discard;
                    sink.take(record.payload);
                }
                Some(Err(error)) => break Step::Failed(error.to_string()),
                None => break Step::Plain,
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let at = sink.outgoing.len();
            let mut room = RECORD;
            loop {
                sink.outgoing.resize(at + room, 0);
                match data.encode(&mut sink.outgoing[at..]) {
                    Ok(len) => {
                        sink.outgoing.truncate(at + len);
                        break Step::Again;
                    }
                    Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => {
                        room = needed.required_size;
                    }
                    Err(error) => {
                        sink.outgoing.truncate(at);
                        break Step::Failed(error.to_string());
                    }
                }
            }
        }
        // What waits to be sent is sent in its order, so for rustls it is sent.
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Step::Again
        }
        Ok(ConnectionState::PeerClosed) => Step::PeerClosed,
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Step::Idle(false),
        Ok(ConnectionState::WriteTraffic(_)) => Step::Idle(true),
        // Early data, which is not offered, and what later versions may have.
        Ok(_) => Step::Failed("unexpected state of the connection".to_owned()),
        Err(error) => Step::Failed(error.to_string()),
    };
    (done, step)
}

/// Encrypts plain bytes behind `out`.
fn encrypt<D>(
    traffic: &mut WriteTraffic<'_, D>,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let at = out.len();
    let mut room = plain.len() + 256;
    loop {
        out.resize(at + room, 0);
        match traffic.encrypt(plain, &mut out[at..]) {
            Ok(len) => {
                out.truncate(at + len);
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(needed)) if needed.required_size > room => {
                room = needed.required_size;
            }
            Err(error) => {
                out.truncate(at);
                return Err(io::Error::other(error.to_string()));
            }
        }
    }
}

/// What is to be done where plain bytes may be sent.
enum Send<'a> {
    Plain(&'a [u8]),
    CloseNotify,
}

/// Sends, if a state of rustls lets it, and else does what that asks for. With `Step::Idle(true)` it was sent.
fn send<D>(
    mut status: UnbufferedStatus<'_, '_, D>,
    what: &Send<'_>,
    sink: &mut Sink<'_>,
) -> (usize, Step) {
    let Ok(ConnectionState::WriteTraffic(traffic)) = &mut status.state else {
        return handle(status, sink);
    };
    let sent = match what {
        Send::Plain(plain) => encrypt(traffic, plain, sink.outgoing),
        Send::CloseNotify => {
            let at = sink.outgoing.len();
            sink.outgoing.resize(at + 256, 0);
            let queued = traffic.queue_close_notify(&mut sink.outgoing[at..]);
            sink.outgoing
                .truncate(at + queued.as_ref().map_or(0, |len| *len));
            queued
                .map(drop)
                .map_err(|error| io::Error::other(error.to_string()))
        }
    };
    let step = match sent {
        Ok(()) => Step::Idle(true),
        Err(error) => Step::Failed(error.to_string()),
    };
    (status.discard, step)
}

/// The same for both sides of a connection, whose types differ.
macro_rules! with_session {
    ($session:expr, $connection:ident => $what:expr) => {
        match $session {
            Session::Server($connection) => $what,
            Session::Client($connection) => $what,
        }
    };
}

/// What came of looking at ciphertext.
struct Looked {
    /// Bytes that are done with.
    done: usize,
    /// Plain bytes that were put into the reader's room.
    filled: usize,
}

impl TlsConnection {
    /// The side of the one that was connected to.
    pub(super) fn accepted(config: Arc<ServerConfig>) -> Result<TlsConnection, String> {
        let session = UnbufferedServerConnection::new(config).map_err(|error| error.to_string())?;
        Ok(TlsConnection::new(Session::Server(session)))
    }

    /// The side of the one that connects. The name is told to the other side, where it is no address.
    pub(super) fn connecting(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<TlsConnection, String> {
        let session =
            UnbufferedClientConnection::new(config, name).map_err(|error| error.to_string())?;
        Ok(TlsConnection::new(Session::Client(session)))
    }

    fn new(session: Session) -> TlsConnection {
        TlsConnection {
            session,
            stage: Stage::Handshake,
            held: Vec::new(),
            has_records: false,
            plain: Vec::new(),
            plain_taken: 0,
            outgoing: Vec::new(),
            sent: 0,
            has_read: false,
            peer_closed: false,
            broke_off: false,
            turn: 0,
            overhead: 0,
            failed: None,
        }
    }

    /// Whether the handshake is done.
    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether something that was read already waits to be taken: no edge will tell of it.
    pub(super) fn has_more(&self) -> bool {
        self.has_records || !self.plain.is_empty() || self.peer_closed || self.failed.is_some()
    }

    /// Whether reading was broken off between two reads since this was asked last.
    pub(super) fn take_broken_off(&mut self) -> bool {
        std::mem::take(&mut self.broke_off)
    }

    /// Bytes of memory that it holds, itself included; of what rustls keeps elsewhere about.
    pub(super) fn memory_bytes(&self) -> usize {
        let buffers = [&self.held, &self.plain, &self.outgoing];
        let buffers: usize = buffers.iter().map(|it| it.capacity()).sum();
        size_of::<TlsConnection>() + SESSION_HEAP + buffers
    }

    /// Ciphertext that the stream has not taken, of a connection that is closed.
    pub(super) fn into_unsent(mut self) -> Vec<u8> {
        self.outgoing.drain(..self.sent);
        self.outgoing
    }

    /// The certificate that the peer has shown, and was trusted.
    pub(super) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        let certificates = with_session!(&self.session, it => it.peer_certificates());
        certificates.and_then(|it| it.first())
    }

    /// Takes the handshake as far as what is there lets it; true: it is done. An error ends the connection; the peer has
    /// been told, as far as the stream takes it.
    pub(super) fn handshake(
        &mut self,
        stream: &mut (impl Read + Write),
        buffers: &mut Buffers,
    ) -> io::Result<bool> {
        for _ in 0..HANDSHAKE_READS {
            // Plain bytes that come right behind the handshake have no room yet: they stay with the connection.
            let (read, _) = self.read_records(stream, buffers, &mut [], 0)?;
            let flushed = would_block(self.flush(stream));
            // Before what the stream says: a peer that has sent an alert has closed it.
            if let Some(error) = self.failure() {
                return Err(error);
            }
            let flushed = flushed.map_err(|error| self.refusal(stream, buffers, error))?;
            let is_over = with_session!(&self.session, it => !it.is_handshaking());
            if is_over {
                // Where its end waits to be sent, the next edge sends it.
                if flushed {
                    self.stage = Stage::Open;
                }
                return Ok(flushed);
            }
            match read {
                Pulled::Nothing => return Ok(false),
                Pulled::End => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                // Read on to where nothing is: an end that came on the same edge as these is told by no other.
                Pulled::Some { .. } | Pulled::Bytes(_) => {}
            }
        }
        self.broke_off = true;
        Ok(false)
    }

    /// Reads plain bytes. As of a plain stream: `WouldBlock` where there are none, a length of 0 when the peer has ended its
    /// side. An end that the peer has not announced is an error: what it was about to send may have been cut off by another.
    pub(super) fn read(
        &mut self,
        stream: &mut (impl Read + Write),
        buffers: &mut Buffers,
        room: &mut [u8],
        turn: Turn,
    ) -> io::Result<Received> {
        if self.stage != Stage::Open {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        let len = self.take_plain(room);
        if len > 0 {
            return Ok(Received { len, more: true });
        }
        if !self.has_records
            && let Some(end) = self.end()
        {
            return end;
        }
        if self.turn != turn.number {
            (self.turn, self.overhead) = (turn.number, 0);
        }
        if self.overhead >= OVERHEAD_IN_TURN {
            self.broke_off = true;
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        let least = room.len().saturating_add(LEAST_READ);
        let (read, len) = self.read_records(stream, buffers, room, least)?;
        // Answers to what the peer's protocol asked, and what it is told where it has failed. What the stream does not take
        // goes with its next edge; that it is broken, the next read or write finds.
        let _ = self.flush(stream);
        let drained = match read {
            Pulled::Nothing => true,
            Pulled::Some { drained } => drained && !turn.reads_on,
            _ => false,
        };
        if len > 0 {
            let more = !drained || self.has_more();
            return Ok(Received { len, more });
        }
        if !self.has_records
            && let Some(end) = self.end()
        {
            return end;
        }
        match read {
            Pulled::End => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            _ if drained && !self.has_more() => {}
            // Part of a record, or records without a byte in them, perhaps one after the other: the others have their turn
            // first, and no edge tells of what is left.
            _ => self.broke_off = true,
        }
        Err(io::Error::from(io::ErrorKind::WouldBlock))
    }

    /// What a read says behind the last plain byte.
    fn end(&self) -> Option<io::Result<Received>> {
        if let Some(error) = self.failure() {
            return Some(Err(error));
        }
        let end = Received {
            len: 0,
            more: false,
        };
        self.peer_closed.then_some(Ok(end))
    }

    /// Writes plain bytes; how many were taken. `WouldBlock`: what was taken before has to go out first.
    pub(super) fn write(
        &mut self,
        stream: &mut (impl Read + Write),
        buffers: &mut Buffers,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        if self.stage != Stage::Open {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        if let Err(error) = self.flush(stream) {
            return Err(self.refusal(stream, buffers, error));
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut written = 0;
        while written < offered && written < MOST_WRITTEN {
            written += self.encrypt_batch(buffers, slices, written)?;
            let output = std::mem::take(&mut buffers.output);
            let has_all = self.give(stream, &output);
            buffers.output = output;
            match has_all {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(self.refusal(stream, buffers, error)),
            }
        }
        Ok(written)
    }

    /// Why the stream takes nothing more. A peer that gives a connection up sends an alert before it closes, and that says
    /// more than that the stream is broken.
    fn refusal(
        &mut self,
        stream: &mut impl Read,
        buffers: &mut Buffers,
        error: io::Error,
    ) -> io::Error {
        if error.kind() == io::ErrorKind::WouldBlock {
            return error;
        }
        // Plain bytes that come first stay for the reader: there are none of those yet, where a handshake was refused.
        for _ in 0..HANDSHAKE_READS {
            if self.has_more() {
                break;
            }
            match self.read_records(stream, buffers, &mut [], 0) {
                Ok((Pulled::Some { .. } | Pulled::Bytes(_), _)) => {}
                Ok((Pulled::Nothing | Pulled::End, _)) | Err(_) => break,
            }
        }
        self.failure().unwrap_or(error)
    }

    /// Gives the stream what waits for it.
    pub(super) fn flush(&mut self, stream: &mut impl Write) -> io::Result<()> {
        while self.sent < self.outgoing.len() {
            match stream.write(&self.outgoing[self.sent..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.sent > 0 {
            self.outgoing = Vec::new();
            self.sent = 0;
        }
        Ok(())
    }

    /// Tells the peer that nothing more comes, behind what waits. False: there is something that the stream does not take yet.
    pub(super) fn close(&mut self, stream: &mut impl Write) -> bool {
        let mut output = Vec::new();
        if self.stage == Stage::Open
            && self.failed.is_none()
            && self.send(&Send::CloseNotify, &mut output).is_ok()
        {
            self.outgoing.extend_from_slice(&output);
        }
        match self.flush(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            // Nobody is there to be told.
            _ => true,
        }
    }

    fn failure(&self) -> Option<io::Error> {
        let text = self.failed.as_ref()?;
        Some(io::Error::other(text.as_ref()))
    }

    /// Takes plain bytes for which there was no room before.
    fn take_plain(&mut self, room: &mut [u8]) -> usize {
        let waiting = self.plain.get(self.plain_taken..).unwrap_or_default();
        let len = waiting.len().min(room.len());
        room[..len].copy_from_slice(&waiting[..len]);
        self.plain_taken += len;
        if self.plain_taken == self.plain.len() {
            self.plain = Vec::new();
            self.plain_taken = 0;
        }
        len
    }

    /// Looks at what is held, behind what one read of the stream brings, unless there are records enough. How many plain
    /// bytes that came to.
    fn read_records(
        &mut self,
        stream: &mut impl Read,
        buffers: &mut Buffers,
        room: &mut [u8],
        wanted: usize,
    ) -> io::Result<(Pulled, usize)> {
        let held = self.held.len();
        let input = &mut buffers.input;
        let most = if wanted == 0 {
            READ
        } else {
            wanted.clamp(LEAST_READ, READ)
        };
        if input.len() < held + most {
            input.resize(held + most, 0);
        }
        input[..held].copy_from_slice(&self.held);
        let pulled = if self.has_records {
            Pulled::Some { drained: false }
        } else {
            pull(stream, &mut input[held..held + most])?
        };
        let (pulled, got) = match pulled {
            Pulled::Bytes(len) => (
                Pulled::Some {
                    drained: len < most,
                },
                len,
            ),
            other => (other, 0),
        };
        let is_first = got > 0 && !std::mem::replace(&mut self.has_read, true);
        if is_first && ![HANDSHAKE_RECORD, ALERT_RECORD].contains(&input[0]) {
            // It does not speak TLS, and would not know what an alert is.
            self.failed = Some("wrong version number: the peer does not speak TLS".into());
            return Ok((pulled, 0));
        }
        let end = held + got;
        let looked = self.look(&mut input[..end], room);
        if looked.done == end {
            self.held = Vec::new();
        } else {
            self.held.clear();
            self.held.extend_from_slice(&input[looked.done..end]);
        }
        if self.held.len() > MOST_HELD {
            self.failed = Some("a message is too long".into());
        }
        Ok((pulled, looked.filled))
    }

    /// Looks at ciphertext until there is nothing left to do, or no room for what comes.
    fn look(&mut self, input: &mut [u8], room: &mut [u8]) -> Looked {
        let mut looked = Looked { done: 0, filled: 0 };
        self.has_records = false;
        while self.failed.is_none() {
            let mut sink = Sink {
                room: &mut *room,
                filled: looked.filled,
                came: 0,
                plain: &mut self.plain,
                outgoing: &mut self.outgoing,
            };
            let rest = &mut input[looked.done..];
            let (done, step) = with_session!(&mut self.session, it => {
                handle(it.process_tls_records(rest), &mut sink)
            });
            looked.filled = sink.filled;
            looked.done += done;
            // (Below zero where bytes are told as done with one step behind their plain ones.)
            self.overhead += done as isize - sink.came as isize;
            match step {
                Step::Again => {}
                Step::Plain if !self.plain.is_empty() => {
                    self.has_records = looked.done < input.len();
                    break;
                }
                Step::Plain if self.overhead >= OVERHEAD_IN_TURN => {
                    self.has_records = looked.done < input.len();
                    break;
                }
                Step::Plain => {}
                Step::PeerClosed => self.peer_closed = true,
                Step::Idle(_) => break,
                Step::Failed(text) => {
                    self.fail(&text, &mut input[looked.done..]);
                }
            }
        }
        looked
    }

    /// Remembers why a connection is at its end, and has what the peer is told of it wait to be sent: all up to the alert,
    /// behind which rustls must not be asked for more. It would look at what is left of the input, and find it as bad.
    fn fail(&mut self, text: &str, input: &mut [u8]) {
        self.failed = Some(text.into());
        let mut at = 0;
        loop {
            let begin = self.outgoing.len();
            let mut sink = Sink {
                room: &mut [],
                filled: 0,
                came: 0,
                plain: &mut self.plain,
                outgoing: &mut self.outgoing,
            };
            let rest = input.get_mut(at..).unwrap_or_default();
            let (done, step) = with_session!(&mut self.session, it => {
                handle(it.process_tls_records(rest), &mut sink)
            });
            at += done;
            if !matches!(step, Step::Again) || is_alert(&self.outgoing[begin..]) {
                break;
            }
        }
    }

    /// Encrypts bytes of the slices, behind the first `skipped` of them, into the shared output buffer; how many.
    fn encrypt_batch(
        &mut self,
        buffers: &mut Buffers,
        slices: &[IoSlice<'_>],
        skipped: usize,
    ) -> io::Result<usize> {
        let mut output = std::mem::take(&mut buffers.output);
        let mut gathered = std::mem::take(&mut buffers.gathered);
        output.clear();
        gathered.clear();
        let (mut batch, mut skip) = (0, skipped);
        let mut result = Ok(());
        for slice in slices {
            let mut bytes = slice.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(slice.len());
            while !bytes.is_empty() && batch < BATCH && result.is_ok() {
                let room = (RECORD - gathered.len()).min(BATCH - batch);
                let (taken, rest) = bytes.split_at(bytes.len().min(room));
                bytes = rest;
                batch += taken.len();
                if gathered.is_empty() && taken.len() == RECORD {
                    // A record of its own, without a copy.
                    result = self.send(&Send::Plain(taken), &mut output);
                    continue;
                }
                gathered.extend_from_slice(taken);
                if gathered.len() == RECORD {
                    result = self.send(&Send::Plain(&gathered), &mut output);
                    gathered.clear();
                }
            }
        }
        if result.is_ok() && !gathered.is_empty() {
            result = self.send(&Send::Plain(&gathered), &mut output);
        }
        buffers.output = output;
        buffers.gathered = gathered;
        result.map(|()| batch)
    }

    /// Has something sent into `output`, behind what must be sent first.
    fn send(&mut self, what: &Send<'_>, output: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let mut sink = Sink {
                room: &mut [],
                filled: 0,
                came: 0,
                plain: &mut self.plain,
                outgoing: &mut *output,
            };
            // What is held has to be shown: rustls remembers how far in it it is.
            let held = &mut self.held;
            let (done, step) = with_session!(&mut self.session, it => {
                send(it.process_tls_records(held), what, &mut sink)
            });
            self.held.drain(..done.min(self.held.len()));
            match step {
                Step::Idle(true) => return Ok(()),
                Step::Again | Step::Plain => {}
                Step::PeerClosed => self.peer_closed = true,
                Step::Idle(false) => return Err(io::Error::from(io::ErrorKind::BrokenPipe)),
                Step::Failed(text) => {
                    self.failed = Some(text.as_str().into());
                    return Err(io::Error::other(text));
                }
            }
        }
    }

    /// Gives ciphertext to the stream; what that does not take waits. True: it has all of it.
    fn give(&mut self, stream: &mut impl Write, output: &[u8]) -> io::Result<bool> {
        let mut at = 0;
        while at < output.len() {
            match stream.write(&output[at..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(len) => at += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.outgoing.extend_from_slice(&output[at..]);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Whether a record is an alert. An encrypted one shows it by its length: no handshake message is that short.
fn is_alert(record: &[u8]) -> bool {
    const DATA: u8 = 23;
    /// Two bytes, their type, what authenticates them, and the record's head.
    const SEALED_ALERT: usize = 2 + 1 + 16 + 5;
    match record.first() {
        Some(&ALERT_RECORD) => true,
        Some(&DATA) => record.len() <= SEALED_ALERT,
        _ => false,
    }
}

/// What one read of a stream brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pulled {
    /// So many bytes.
    Bytes(usize),
    /// Bytes, or none because there were records enough. Drained: the stream had no more.
    Some { drained: bool },
    /// Nothing is there.
    Nothing,
    /// The end of the stream.
    End,
}

fn pull(stream: &mut impl Read, room: &mut [u8]) -> io::Result<Pulled> {
    loop {
        match stream.read(room) {
            Ok(0) => return Ok(Pulled::End),
            Ok(len) => return Ok(Pulled::Bytes(len)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Pulled::Nothing),
            Err(error) => return Err(error),
        }
    }
}

/// False: it would block.
fn would_block(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "tls_connection_tests.rs"]
mod tests;
