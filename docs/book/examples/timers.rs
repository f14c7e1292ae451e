//! Chapter 7: a heap of timers, and a poll that sleeps exactly until the first of them.
//!
//! A line `500 tea` is answered with `tea`, half a second later.
//!
//! ```text
//! cargo run --example timers 7000
//! printf '900 third\n300 first\n600 second\n' | nc -N 127.0.0.1 7000
//! ```

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// Tokens are counted up and never used twice, so that a timer can not reach a newcomer in a dead client's place.
const LISTENER: Token = Token(0);
/// A client may not ask for more timers, or longer ones, or longer lines.
const MAX_TIMERS: usize = 1000;
const MAX_MS: u64 = 3_600_000;
const MAX_LINE: usize = 1024;

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    timers: usize,
    /// It has ended its side (`printf ... | nc -N`), but may still read: it is closed after its last timer.
    ended: bool,
}

/// A timer: when, in which order among those of the same time, for whom, what. Compared in that order.
type Timer = (Instant, u64, Token, Vec<u8>);

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "7000".into());
    let address = format!("127.0.0.1:{port}").parse().expect("a port number");
    let mut listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(256);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: HashMap<Token, Connection> = HashMap::new();
    // Rust's heap has its largest element on top; Reverse makes that the earliest one.
    let mut timers: BinaryHeap<Reverse<Timer>> = BinaryHeap::new();
    let mut last_token = 0;
    let mut sequence = 0;
    loop {
        // Sleep until the first timer, or for ever when there is none. No tick, no thread per timer, no signal.
        let first = timers.peek().map(|Reverse((at, ..))| *at);
        let timeout = first.map(|at| at.saturating_duration_since(Instant::now()));
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    last_token += 1;
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry()
                        .register(&mut stream, Token(last_token), both)?;
                    let connection = Connection {
                        stream,
                        input: Vec::new(),
                        output: Vec::new(),
                        timers: 0,
                        ended: false,
                    };
                    connections.insert(Token(last_token), connection);
                }
                continue;
            }
            let Some(connection) = connections.get_mut(&event.token()) else {
                continue;
            };
            let read = connection.read();
            for (delay, text) in connection.take_lines() {
                connection.timers += 1;
                sequence += 1;
                let at = Instant::now() + delay;
                timers.push(Reverse((at, sequence, event.token(), text)));
            }
            let written = read.and_then(|()| connection.write());
            if written.is_err() || connection.is_over() {
                // Its timers stay in the heap. To search them out would be O(n); when their time comes, nobody is
                // found under their token, and that is that.
                if let Some(mut gone) = connections.remove(&event.token()) {
                    poll.registry().deregister(&mut gone.stream)?;
                }
            }
        }
        // Poll may come back early (for an event) or late (we were busy): the clock decides, not the return of poll.
        let now = Instant::now();
        while timers.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, token, text))) = timers.pop() else {
                break;
            };
            if let Some(connection) = connections.get_mut(&token) {
                connection.timers -= 1;
                connection.output.extend_from_slice(&text);
                let written = connection.write();
                if (written.is_err() || connection.is_over())
                    && let Some(mut gone) = connections.remove(&token)
                {
                    poll.registry().deregister(&mut gone.stream)?;
                }
            }
        }
    }
}

impl Connection {
    /// Nothing will come from it, and nothing is owed to it.
    fn is_over(&self) -> bool {
        self.ended && self.timers == 0 && self.output.is_empty()
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let last_line = self.input.rsplit(|byte| *byte == b'\n').next();
        if last_line.is_some_and(|line| line.len() > MAX_LINE) {
            return Err(io::Error::other("too long a line"));
        }
        Ok(())
    }

    /// Takes the whole lines; what is wrong with one is answered at once.
    fn take_lines(&mut self) -> Vec<(Duration, Vec<u8>)> {
        let mut lines = Vec::new();
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let space = line.iter().position(|byte| *byte == b' ').unwrap_or(0);
            let number = std::str::from_utf8(&line[..space]).ok();
            match number.and_then(|text| text.parse::<u64>().ok()) {
                Some(ms) if ms <= MAX_MS && self.timers + lines.len() < MAX_TIMERS => {
                    lines.push((Duration::from_millis(ms), line[space + 1..].to_vec()));
                }
                _ => self.output.extend_from_slice(b"no\n"),
            }
        }
        lines
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
