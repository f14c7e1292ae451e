//! Chapter 10: work that would stall the loop goes to a helper thread, which rings when it is done.
//!
//! A line `primes 1000000` is counted by the helper; a line `ping` is answered at once, even meanwhile.
//!
//! ```text
//! cargo run --release --example waker 7000
//! printf 'primes 1000000\nping\n' | nc -N 127.0.0.1 7000      pong comes first
//! ```

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// Jobs that may wait. A queue without a bound is only another way to run out of memory.
const MAX_JOBS: usize = 64;
const MAX_N: u64 = 50_000_000;

/// What travels: owned data, and the token of whoever asked. No connection, no lock, nothing of the loop's.
struct Job(Token, u64);
struct Answer(Token, String);

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Answers that the helper owes it.
    owed: usize,
    /// It has ended its side, but may still read: it is closed after its last answer.
    ended: bool,
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "7000".into());
    let address = format!("127.0.0.1:{port}").parse().expect("a port number");
    let mut listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(256);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    // On Linux an eventfd: a counter in the kernel, readable while it is not zero. So a thread can do what otherwise
    // only a socket can: end the sleep of epoll_wait.
    let waker = Waker::new(poll.registry(), WAKER)?;
    let (jobs, jobs_of_helper) = sync_channel(MAX_JOBS);
    let (answers_of_helper, answers) = channel();
    thread::spawn(move || help(jobs_of_helper, answers_of_helper, waker));

    let mut connections: HashMap<Token, Connection> = HashMap::new();
    let mut last_token = WAKER.0;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            match event.token() {
                LISTENER => {
                    while let Ok((mut stream, _)) = listener.accept() {
                        last_token += 1;
                        let both = Interest::READABLE | Interest::WRITABLE;
                        poll.registry()
                            .register(&mut stream, Token(last_token), both)?;
                        let connection = Connection {
                            stream,
                            input: Vec::new(),
                            output: Vec::new(),
                            owed: 0,
                            ended: false,
                        };
                        connections.insert(Token(last_token), connection);
                    }
                }
                // Several rings may have become one event: take all that is there, not one answer per event.
                WAKER => {
                    for Answer(token, text) in answers.try_iter() {
                        // Who asked may have left meanwhile. The answer is dropped.
                        let Some(connection) = connections.get_mut(&token) else {
                            continue;
                        };
                        connection.owed -= 1;
                        connection.output.extend_from_slice(text.as_bytes());
                        if connection.write().is_err()
                            && let Some(mut gone) = connections.remove(&token)
                        {
                            poll.registry().deregister(&mut gone.stream)?;
                        }
                    }
                }
                token => {
                    let Some(connection) = connections.get_mut(&token) else {
                        continue;
                    };
                    if connection.serve(token, &jobs).is_err()
                        && let Some(mut gone) = connections.remove(&token)
                    {
                        poll.registry().deregister(&mut gone.stream)?;
                    }
                }
            }
        }
    }
}

/// The helper. First the answer goes into the channel, then the bell: rung the other way round, the loop could look,
/// find nothing, and go back to sleep.
fn help(jobs: Receiver<Job>, answers: Sender<Answer>, waker: Waker) {
    for Job(token, n) in jobs {
        let text = format!("{} primes below {n}\n", count_primes(n));
        if answers.send(Answer(token, text)).is_err() || waker.wake().is_err() {
            return; // The loop is gone.
        }
    }
}

/// Deliberately slow: trial division.
fn count_primes(n: u64) -> u64 {
    let has_divisor = |n: u64| {
        (2..)
            .take_while(|d| d * d <= n)
            .any(|d| n.is_multiple_of(d))
    };
    (2..n).filter(|n| !has_divisor(*n)).count() as u64
}

impl Connection {
    fn serve(&mut self, token: Token, jobs: &SyncSender<Job>) -> io::Result<()> {
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
            self.run_lines(token, jobs)?;
        }
        self.write()
    }

    fn run_lines(&mut self, token: Token, jobs: &SyncSender<Job>) -> io::Result<()> {
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let mut words = line.split_whitespace();
            let answer = match (words.next(), words.next().map(str::parse)) {
                (Some("ping"), None) => "pong\n",
                // `try_send` and not `send`: a full queue is answered, never waited for. The loop does not block.
                (Some("primes"), Some(Ok(n))) if n <= MAX_N => match jobs.try_send(Job(token, n)) {
                    Ok(()) => {
                        self.owed += 1;
                        ""
                    }
                    Err(TrySendError::Full(_)) => "busy\n",
                    Err(TrySendError::Disconnected(_)) => "no helper\n",
                },
                _ => "what?\n",
            };
            self.output.extend_from_slice(answer.as_bytes());
        }
        if self.input.len() > 64 {
            return Err(io::Error::other("too long a line"));
        }
        Ok(())
    }

    /// Writes what the socket takes. An error when the connection is over, be it in peace.
    fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.ended && self.owed == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}
