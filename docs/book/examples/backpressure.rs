//! Chapters 6 and 9: clients that ask for more than they read.
//!
//! A line `get N` is answered with N bytes and a newline, a line `held` with how many bytes wait in all output buffers.
//!
//! ```text
//! cargo run --example backpressure 7000 wait   whoever does not read is not read from either
//! cargo run --example backpressure 7000 cut    whoever lets more than 8 MiB wait is cut off
//! cargo run --example backpressure 7000 none   no rule: the memory goes to whoever asks
//! ```

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use std::io::{self, ErrorKind, Read, Write};

const LISTENER: Token = Token(usize::MAX);
/// With `wait`: above this, no further request of the client is run.
const HIGH_WATER: usize = 256 * 1024;
/// With `cut`: above this, the connection is closed.
const HARD_LIMIT: usize = 8 * 1024 * 1024;
/// The most that one request gets. Without this the other two rules would come too late: one request would be enough.
const MAX_GET: usize = 1024 * 1024;
/// A line that is longer is no request of ours.
const MAX_LINE: usize = 64;

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Wait,
    Cut,
    None,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// So many bytes at the front of `output` are written. Moving the rest for each write would cost O(n²).
    sent: usize,
    /// The socket has not said WouldBlock since its last event: it may have more.
    unread: bool,
    /// It has ended its side. It may still read: what is owed goes out before we close.
    ended: bool,
}

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let port = args.next().unwrap_or_else(|| "7000".into());
    let rule = match args.next().as_deref() {
        Some("cut") => Rule::Cut,
        Some("none") => Rule::None,
        _ => Rule::Wait,
    };
    let address = format!("127.0.0.1:{port}").parse().expect("a port number");
    let mut listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(256);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Slab<Connection> = Slab::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, &poll, &mut connections)?;
                continue;
            }
            let key = event.token().0;
            let held = connections.iter().map(|(_, it)| it.held()).sum();
            let Some(connection) = connections.get_mut(key) else {
                continue;
            };
            connection.unread |= event.is_readable() || event.is_read_closed();
            if let Err(error) = connection.serve(rule, held) {
                println!("connection {key} is closed: {error}");
                let mut connection = connections.remove(key);
                poll.registry().deregister(&mut connection.stream)?;
            }
        }
    }
}

impl Connection {
    /// Bytes that wait for the socket.
    fn held(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Writes, runs what is there, reads, until nothing more can be done now.
    fn serve(&mut self, rule: Rule, held_by_all: usize) -> io::Result<()> {
        loop {
            self.write_output()?;
            self.run_lines(rule, held_by_all)?;
            if rule == Rule::Cut && self.held() > HARD_LIMIT {
                return Err(io::Error::other("it lets too much wait"));
            }
            if rule == Rule::Wait && self.held() > HIGH_WATER {
                // Try once more whether the socket takes some. If not, leave it all as it is: the bytes in the
                // socket too. The kernel's receive buffer fills up, the window closes, and the *sender* is stopped by
                // TCP itself. The "writable" edge brings us back.
                self.write_output()?;
                if self.held() > HIGH_WATER {
                    return Ok(());
                }
                continue;
            }
            if !self.unread {
                self.write_output()?;
                let is_over = self.ended && self.held() == 0;
                return if is_over {
                    Err(ErrorKind::UnexpectedEof.into())
                } else {
                    Ok(())
                };
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => (self.ended, self.unread) = (true, false),
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.unread = false,
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs whole lines; under `wait`, only as long as there is room for their answers.
    fn run_lines(&mut self, rule: Rule, held_by_all: usize) -> io::Result<()> {
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            if rule == Rule::Wait && self.held() > HIGH_WATER {
                return Ok(());
            }
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match line.strip_prefix(b"get ").map(number) {
                Some(Some(n)) if n <= MAX_GET => {
                    self.output.resize(self.output.len() + n, b'x');
                    self.output.push(b'\n');
                }
                None if line.starts_with(b"held") => {
                    self.output
                        .extend_from_slice(format!("{held_by_all}\n").as_bytes());
                }
                _ => self.output.extend_from_slice(b"what?\n"),
            }
        }
        if self.input.len() > MAX_LINE {
            return Err(io::Error::other("too long a line"));
        }
        Ok(())
    }

    /// Hands the socket as much as it takes.
    fn write_output(&mut self) -> io::Result<()> {
        while self.held() > 0 {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.held() == 0 {
            // Nothing waits: the memory goes back, or ten thousand clients keep the most they ever needed.
            self.output = Vec::new();
            self.sent = 0;
        }
        Ok(())
    }
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn accept_all(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Slab<Connection>,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                let entry = connections.vacant_entry();
                let both = Interest::READABLE | Interest::WRITABLE;
                poll.registry()
                    .register(&mut stream, Token(entry.key()), both)?;
                entry.insert(Connection {
                    stream,
                    input: Vec::new(),
                    output: Vec::new(),
                    sent: 0,
                    unread: false,
                    ended: false,
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
