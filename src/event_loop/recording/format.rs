//! The bytes of a recording: a header that tells how the server began, then one entry for each answer of the seam.
//!
//! Numbers are LEB128: seven bits a byte, low ones first. Times are differences to the time before, so that an entry
//! is two or three bytes; bytes that were read stand as they are (secrets masked), bytes that were written are only a
//! length and a checksum. A recording of a server that was killed ends in the middle of an entry, which is no error.

use super::super::seam::{Accepted, Peer, Readiness, Received, Token, WAKER_TOKEN};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The first bytes of every recording, in front of the version of the format.
const MAGIC: &[u8; 7] = b"GYREREC";
/// The version of the format. 3: reads say whether more may be there, and there are outgoing connections. 4: how a child
/// has ended is a figure. 5: accepted connections bring the names of their certificates. 6: what the transport of a connection
/// holds is asked.
const VERSION: u8 = b'6';
/// A text or a file of a header longer than this is not one of ours, bytes.
const LONGEST_PART: u64 = 1 << 40;

/// Tags of entries.
pub(super) mod tag {
    pub const END: u8 = 0;
    pub const MONOTONIC: u8 = 1;
    pub const UNIX: u8 = 2;
    pub const RANDOM: u8 = 3;
    pub const POLLED: u8 = 4;
    pub const POLL_FAILED: u8 = 5;
    pub const LISTENED: u8 = 6;
    pub const LISTEN_FAILED: u8 = 7;
    pub const ACCEPTED: u8 = 8;
    pub const ACCEPT_FAILED: u8 = 9;
    pub const ADOPTED: u8 = 10;
    pub const ADOPT_FAILED: u8 = 11;
    pub const READ: u8 = 12;
    pub const READ_FAILED: u8 = 13;
    pub const WRITTEN: u8 = 14;
    pub const WRITE_FAILED: u8 = 15;
    pub const SLEPT: u8 = 16;
    pub const OBSERVED: u8 = 17;
    pub const SIGNALLED: u8 = 18;
    pub const CONNECTING: u8 = 19;
    pub const CONNECT_FAILED: u8 = 20;
    pub const CONNECTED: u8 = 21;
    pub const NOT_CONNECTED: u8 = 22;
    pub const HELD: u8 = 23;

    /// What an entry tells, for messages.
    pub fn name(tag: u8) -> &'static str {
        match tag {
            END => "the end",
            MONOTONIC => "the monotonic clock",
            UNIX => "the wall clock",
            RANDOM => "randomness",
            POLLED | POLL_FAILED => "a poll",
            LISTENED | LISTEN_FAILED => "a listener",
            ACCEPTED | ACCEPT_FAILED => "an accept",
            ADOPTED | ADOPT_FAILED => "a child's pipe",
            READ | READ_FAILED => "a read",
            WRITTEN | WRITE_FAILED => "a write",
            SLEPT => "a sleep",
            OBSERVED => "a figure of the process",
            SIGNALLED => "a signal",
            CONNECTING | CONNECT_FAILED => "an outgoing connection",
            CONNECTED | NOT_CONNECTED => "the outcome of connecting",
            HELD => "what a transport holds",
            _ => "something unknown",
        }
    }
}

/// How the server began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Its configuration as the text of a redis.conf, secrets masked.
    pub config: Vec<u8>,
    /// It had a configuration file.
    pub has_config_file: bool,
    /// Files of its working directory that it loads.
    pub files: Vec<RecordedFile>,
}

/// A file of the working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedFile {
    /// Its path within the directory.
    pub path: PathBuf,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Header {
    /// Its bytes, the magic in front.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        put_bytes(&mut out, &self.config);
        out.push(u8::from(self.has_config_file));
        put_number(&mut out, self.files.len() as u64);
        for file in &self.files {
            put_bytes(&mut out, file.path.as_os_str().as_bytes());
            put_bytes(&mut out, &file.bytes);
        }
        out
    }
    /// Reads one.
    pub(super) fn decode(from: &mut impl Read) -> io::Result<Header> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(damaged("this is not a recording of gyre"));
        }
        if get_byte(from)? != VERSION {
            return Err(damaged("this recording is of another version of gyre"));
        }
        let config = get_bytes(from)?;
        let has_config_file = get_byte(from)? != 0;
        let count = get_number(from)?;
        let mut files = Vec::new();
        for _ in 0..count {
            let path = PathBuf::from(std::ffi::OsString::from_vec(get_bytes(from)?));
            let bytes = get_bytes(from)?;
            files.push(RecordedFile { path, bytes });
        }
        Ok(Header {
            config,
            has_config_file,
            files,
        })
    }
}

fn damaged(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

pub(super) fn put_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A number that may be negative: its sign is its lowest bit.
pub(super) fn put_signed(out: &mut Vec<u8>, n: i64) {
    put_number(out, ((n << 1) ^ (n >> 63)) as u64);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A token; the waker's is the smallest number.
pub(super) fn put_token(out: &mut Vec<u8>, token: Token) {
    let number = if token == WAKER_TOKEN {
        0
    } else {
        token.0 as u64 + 1
    };
    put_number(out, number);
}

pub(super) fn put_readiness(out: &mut Vec<u8>, event: &Readiness) {
    put_token(out, event.token);
    out.push(u8::from(event.readable) | u8::from(event.writable) << 1 | u8::from(event.ended) << 2);
}

/// The head of what a read brought: how many bytes follow, and in the lowest bit whether more may have been there.
pub(super) fn put_received(out: &mut Vec<u8>, received: Received) {
    put_number(out, (received.len as u64) << 1 | u64::from(received.more));
}

pub(super) fn put_accepted(out: &mut Vec<u8>, accepted: &Accepted) {
    put_signed(out, accepted.fd);
    match &accepted.peer {
        Peer::Inet { remote, local } => {
            out.push(0);
            put_bytes(out, remote.to_string().as_bytes());
            put_bytes(out, local.to_string().as_bytes());
        }
        Peer::Unix(path) => {
            out.push(1);
            put_bytes(out, path.as_os_str().as_bytes());
        }
    }
    put_number(out, accepted.certificate_names.len() as u64);
    for name in &accepted.certificate_names {
        put_bytes(out, name);
    }
}

/// The number of an error as the system counts them.
pub(super) fn error_code(error: &io::Error) -> u64 {
    let code = error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::WouldBlock => libc::EAGAIN,
        io::ErrorKind::Interrupted => libc::EINTR,
        io::ErrorKind::ConnectionReset => libc::ECONNRESET,
        io::ErrorKind::ConnectionAborted => libc::ECONNABORTED,
        io::ErrorKind::ConnectionRefused => libc::ECONNREFUSED,
        io::ErrorKind::TimedOut => libc::ETIMEDOUT,
        io::ErrorKind::BrokenPipe => libc::EPIPE,
        io::ErrorKind::NotConnected => libc::ENOTCONN,
        io::ErrorKind::InvalidInput => libc::EINVAL,
        io::ErrorKind::Unsupported => libc::EOPNOTSUPP,
        io::ErrorKind::AddrInUse => libc::EADDRINUSE,
        io::ErrorKind::HostUnreachable => libc::EHOSTUNREACH,
        _ => libc::EIO,
    });
    u64::from(code.unsigned_abs())
}

pub(super) fn get_byte(from: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(byte[0])
}

pub(super) fn get_number(from: &mut impl Read) -> io::Result<u64> {
    let mut n = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = get_byte(from)?;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(n);
        }
    }
    Err(damaged("a number is too long"))
}

pub(super) fn get_signed(from: &mut impl Read) -> io::Result<i64> {
    let n = get_number(from)?;
    Ok((n >> 1) as i64 ^ -((n & 1) as i64))
}

fn get_bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let len = get_number(from)?;
    get_exactly(from, len)
}

/// What a read brought, and whether more may have been there.
pub(super) fn get_received(from: &mut impl Read) -> io::Result<(Vec<u8>, bool)> {
    let head = get_number(from)?;
    Ok((get_exactly(from, head >> 1)?, head & 1 != 0))
}

fn get_exactly(from: &mut impl Read, len: u64) -> io::Result<Vec<u8>> {
    if len > LONGEST_PART {
        return Err(damaged("a length is too large"));
    }
    // What is not there is not allocated for.
    let mut bytes = Vec::new();
    from.take(len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(bytes)
}

pub(super) fn get_token(from: &mut impl Read) -> io::Result<Token> {
    let n = get_number(from)?;
    Ok(match usize::try_from(n) {
        Ok(0) => WAKER_TOKEN,
        Ok(n) => Token(n - 1),
        Err(_) => return Err(damaged("a token is too large")),
    })
}

pub(super) fn get_readiness(from: &mut impl Read) -> io::Result<Readiness> {
    let token = get_token(from)?;
    let flags = get_byte(from)?;
    Ok(Readiness {
        token,
        readable: flags & 1 != 0,
        writable: flags & 2 != 0,
        ended: flags & 4 != 0,
    })
}

pub(super) fn get_accepted(from: &mut impl Read, token: Token) -> io::Result<Accepted> {
    let fd = get_signed(from)?;
    let peer = if get_byte(from)? == 0 {
        let mut address = || {
            let text = String::from_utf8_lossy(&get_bytes(from)?).into_owned();
            text.parse()
                .map_err(|_| damaged("an address is none of the Internet's"))
        };
        Peer::Inet {
            remote: address()?,
            local: address()?,
        }
    } else {
        Peer::Unix(PathBuf::from(std::ffi::OsString::from_vec(get_bytes(
            from,
        )?)))
    };
    let mut certificate_names = Vec::new();
    for _ in 0..get_number(from)? {
        certificate_names.push(get_bytes(from)?);
    }
    Ok(Accepted {
        token,
        peer,
        fd,
        certificate_names,
    })
}

pub(super) fn get_error(from: &mut impl Read) -> io::Result<io::Error> {
    let code = i32::try_from(get_number(from)?).map_err(|_| damaged("an error is unknown"))?;
    Ok(io::Error::from_raw_os_error(code))
}
