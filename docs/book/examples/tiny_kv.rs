//! Chapter 11: a server that redis-cli and redis-benchmark can talk to. GET, SET, DEL, PING, and one event loop.
//!
//! ```text
//! cargo run --release --example tiny_kv 7000
//! redis-cli -p 7000 SET greeting hello
//! redis-benchmark -p 7000 -t set,get -P 16 -q
//! ```

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::time::Duration;

const LISTENER: Token = Token(usize::MAX);
/// Reads of one connection in one turn; the rest waits until the others were served (chapter 8).
const READS_PER_TURN: usize = 4;
/// Output above which no further request of the client is run (chapter 9).
const HIGH_WATER: usize = 1024 * 1024;
const MAX_ARGUMENTS: usize = 1024;
const MAX_ARGUMENT_LEN: usize = 1024 * 1024;

/// The whole database. One thread owns it: no lock, and each command runs as if it were alone in the world.
type Keyspace = HashMap<Vec<u8>, Vec<u8>>;

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

enum Progress {
    Drained,
    MoreLeft,
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "7000".into());
    let address = format!("127.0.0.1:{port}").parse().expect("a port number");
    let mut listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Slab<Connection> = Slab::new();
    let mut keyspace = Keyspace::new();
    let mut ready: Vec<usize> = Vec::new();
    loop {
        // Sleep, unless somebody was left behind.
        let timeout = (!ready.is_empty()).then_some(Duration::ZERO);
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        // Those left behind first, then those of whom poll tells; each once.
        let mut turn = std::mem::take(&mut ready);
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, &poll, &mut connections)?;
            } else {
                turn.push(event.token().0);
            }
        }
        turn.sort_unstable();
        turn.dedup();
        for key in turn {
            let Some(connection) = connections.get_mut(key) else {
                continue;
            };
            match connection.serve(&mut keyspace) {
                Ok(Progress::Drained) => {}
                Ok(Progress::MoreLeft) => ready.push(key),
                Err(_) => {
                    let mut connection = connections.remove(key);
                    poll.registry().deregister(&mut connection.stream)?;
                }
            }
        }
    }
}

impl Connection {
    /// Read, parse, execute, write: one connection's part of a turn.
    fn serve(&mut self, keyspace: &mut Keyspace) -> io::Result<Progress> {
        let mut buffer = [0; 16 * 1024];
        for _ in 0..READS_PER_TURN {
            self.run_requests(keyspace)?;
            while !self.output.is_empty() {
                // All replies of the batch in one write, not a write for each.
                self.write()?;
                if !self.output.is_empty() {
                    // Backpressure: who does not take its answers is not read from. "Writable" goes on here.
                    return Ok(Progress::Drained);
                }
                // There may be more: it stops when the output is long.
                self.run_requests(keyspace)?;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Drained);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::MoreLeft)
    }

    /// Runs the whole requests at the front of the input.
    fn run_requests(&mut self, keyspace: &mut Keyspace) -> io::Result<()> {
        let mut done = 0;
        while self.output.len() < HIGH_WATER {
            match parse(&self.input[done..]) {
                Ok(Some((arguments, consumed))) => {
                    let request = &self.input[done..done + consumed];
                    let arguments: Vec<&[u8]> =
                        arguments.into_iter().map(|at| &request[at]).collect();
                    execute(&arguments, keyspace, &mut self.output);
                    done += consumed;
                }
                Ok(None) => break,
                Err(error) => {
                    // The answers before it and the error, as far as the socket takes them; then the connection ends.
                    self.output.extend_from_slice(error.as_bytes());
                    self.write()?;
                    return Err(ErrorKind::InvalidData.into());
                }
            }
        }
        self.input.drain(..done);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.output.len() {
            match self.stream.write(&self.output[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.output.drain(..sent);
        Ok(())
    }
}

/// A request at the front of the bytes: where its arguments lie, and its length. `None`: not all of it is there, and
/// the next call begins anew, which costs time where chapter 5's parser would not; and is shorter.
type Request = (Vec<Range<usize>>, usize);
fn parse(bytes: &[u8]) -> Result<Option<Request>, &'static str> {
    let Some((count, mut at)) = header(bytes, 0, b'*', MAX_ARGUMENTS)? else {
        return Ok(None);
    };
    let mut arguments = Vec::with_capacity(count);
    for _ in 0..count {
        let Some((length, start)) = header(bytes, at, b'$', MAX_ARGUMENT_LEN)? else {
            return Ok(None);
        };
        at = start + length + 2;
        if bytes.len() < at {
            return Ok(None);
        }
        arguments.push(start..start + length);
    }
    Ok(Some((arguments, at)))
}

/// `*3\r\n` or `$5\r\n`: its number, and where the next byte is.
fn header(
    bytes: &[u8],
    at: usize,
    mark: u8,
    most: usize,
) -> Result<Option<(usize, usize)>, &'static str> {
    let rest = &bytes[at..];
    if rest.first().is_some_and(|first| *first != mark) {
        return Err("-ERR Protocol error\r\n");
    }
    let Some(end) = rest.iter().take(16).position(|byte| *byte == b'\n') else {
        return if rest.len() < 16 {
            Ok(None)
        } else {
            Err("-ERR Protocol error: too long a line\r\n")
        };
    };
    let text = std::str::from_utf8(&rest[1..end]).unwrap_or("").trim_end();
    match text.parse() {
        Ok(number) if number <= most => Ok(Some((number, at + end + 1))),
        _ => Err("-ERR Protocol error: invalid length\r\n"),
    }
}

fn execute(arguments: &[&[u8]], keyspace: &mut Keyspace, output: &mut Vec<u8>) {
    let Some((name, rest)) = arguments.split_first() else {
        return;
    };
    match (name.to_ascii_uppercase().as_slice(), rest) {
        (b"PING", []) => output.extend_from_slice(b"+PONG\r\n"),
        (b"SET", [key, value]) => {
            keyspace.insert(key.to_vec(), value.to_vec());
            output.extend_from_slice(b"+OK\r\n");
        }
        (b"GET", [key]) => match keyspace.get(*key) {
            Some(value) => {
                output.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
                output.extend_from_slice(value);
                output.extend_from_slice(b"\r\n");
            }
            None => output.extend_from_slice(b"$-1\r\n"),
        },
        (b"DEL", keys) if !keys.is_empty() => {
            let removed = keys.iter().filter(|key| keyspace.remove(**key).is_some());
            output.extend_from_slice(format!(":{}\r\n", removed.count()).as_bytes());
        }
        _ => output.extend_from_slice(b"-ERR unknown command or wrong arguments\r\n"),
    }
}

fn accept_all(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Slab<Connection>,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nodelay(true)?;
                let entry = connections.vacant_entry();
                let both = Interest::READABLE | Interest::WRITABLE;
                poll.registry()
                    .register(&mut stream, Token(entry.key()), both)?;
                entry.insert(Connection {
                    stream,
                    input: Vec::new(),
                    output: Vec::new(),
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
