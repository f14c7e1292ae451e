//! Chapters 4 and 8: three ways to answer an edge. One of them loses bytes, one of them starves the others.
//!
//! ```text
//! cargo run --example edge_echo 7000 once     level thinking: reads 16 bytes for each event, and stalls
//! cargo run --example edge_echo 7000 drain    reads until WouldBlock, however long that takes
//! cargo run --example edge_echo 7000 carry    reads a bounded part, remembers who has more
//! ```

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

const LISTENER: Token = Token(usize::MAX);
/// So small that the trouble shows with a handful of bytes.
const READ_LEN: usize = 16;
/// Reads for one connection in one turn, with `carry`.
const READS_PER_TURN: usize = 4;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Once,
    Drain,
    Carry,
}

/// What is known of a connection after it was served.
enum Progress {
    /// WouldBlock was seen: the kernel will tell when something changes.
    Drained,
    /// We stopped by ourselves: the kernel will *not* tell, as nothing will have changed.
    MoreLeft,
}

struct Connection {
    stream: TcpStream,
    waiting: Vec<u8>,
}

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let port = args.next().unwrap_or_else(|| "7000".into());
    let mode = match args.next().as_deref() {
        Some("once") => Mode::Once,
        Some("drain") => Mode::Drain,
        _ => Mode::Carry,
    };
    let address = format!("127.0.0.1:{port}").parse().expect("a port number");
    let mut listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(256);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Slab<Connection> = Slab::new();
    // Those who have more, although no event will say so.
    let mut ready: Vec<usize> = Vec::new();
    loop {
        // While somebody is on the list, poll looks but does not sleep.
        let timeout = (!ready.is_empty()).then_some(Duration::ZERO);
        match poll.poll(&mut events, timeout) {
            // A signal came, or a debugger: no reason to end.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        // Taken as it stands: who is put on it now is served in the *next* turn. And nobody is served twice in one.
        let mut turn = std::mem::take(&mut ready);
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, &poll, &mut connections)?;
            } else if !turn.contains(&event.token().0) {
                turn.push(event.token().0);
            }
        }
        for key in turn {
            let Some(connection) = connections.get_mut(key) else {
                continue;
            };
            match serve(connection, mode) {
                Ok(Progress::Drained) => {}
                // The pitfall in one line: without the ready list, these bytes lie there until the client sends more.
                Ok(Progress::MoreLeft) if mode == Mode::Once => {}
                Ok(Progress::MoreLeft) => ready.push(key),
                Err(_) => {
                    let mut connection = connections.remove(key);
                    poll.registry().deregister(&mut connection.stream)?;
                }
            }
        }
    }
}

fn serve(connection: &mut Connection, mode: Mode) -> io::Result<Progress> {
    let most = match mode {
        Mode::Once => 1,
        Mode::Drain => usize::MAX,
        Mode::Carry => READS_PER_TURN,
    };
    for _ in 0..most {
        if !write_waiting(connection)? {
            return Ok(Progress::Drained); // Full: the "writable" edge brings us back, and then we read on.
        }
        let mut buffer = [0; READ_LEN];
        match connection.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => connection.waiting.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Drained),
            Err(error) => return Err(error),
        }
    }
    write_waiting(connection)?;
    Ok(Progress::MoreLeft)
}

/// Whether all was taken.
fn write_waiting(connection: &mut Connection) -> io::Result<bool> {
    while !connection.waiting.is_empty() {
        match connection.stream.write(&connection.waiting) {
            Ok(n) => drop(connection.waiting.drain(..n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
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
                    waiting: Vec::new(),
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
