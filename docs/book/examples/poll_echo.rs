//! Chapter 3: the kernel tells who is ready; until then the thread sleeps.
//!
//! ```text
//! cargo run --example poll_echo 7000
//! strace -f -e epoll_wait,read,recvfrom,sendto -p $(pgrep poll_echo)
//! ```

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use std::io::{self, ErrorKind, Read, Write};

/// The listener's name. Connections are named by their place in the slab.
const LISTENER: Token = Token(usize::MAX);

struct Connection {
    stream: TcpStream,
    waiting: Vec<u8>,
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "7000".into());
    let address = format!("127.0.0.1:{port}").parse().expect("a port number");
    let mut listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let mut poll = Poll::new()?; // One epoll instance: a set of sockets that lives in the kernel.
    let mut events = Events::with_capacity(256);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Slab<Connection> = Slab::new();
    loop {
        // The only place in this program that sleeps, and it sleeps for everybody at once.
        match poll.poll(&mut events, None) {
            // A signal came, or a debugger: no reason to end.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, &poll, &mut connections)?;
                continue;
            }
            let key = event.token().0;
            // May be gone: an event earlier in this same batch can have closed it. Or its place may have been given to
            // a newcomer. Then this event is a false alarm, which is allowed: reading will say WouldBlock.
            let Some(connection) = connections.get_mut(key) else {
                continue;
            };
            if serve(connection).is_err() {
                let mut connection = connections.remove(key);
                poll.registry().deregister(&mut connection.stream)?;
            }
        }
    }
}

/// Takes all connections that wait: mio tells only once that there are some.
fn accept_all(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Slab<Connection>,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                let entry = connections.vacant_entry();
                // Both interests, once and for ever. With edges there is no need to change them later.
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

/// Moves bytes until the socket has none or takes none: only then will we be told again. An error: it is over.
fn serve(connection: &mut Connection) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        while !connection.waiting.is_empty() {
            match connection.stream.write(&connection.waiting) {
                Ok(n) => drop(connection.waiting.drain(..n)),
                // The socket is full. Its next edge will be "writable"; until then we do not read from this client.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        match connection.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => connection.waiting.extend_from_slice(&buffer[..n]),
            // Drained. Its next edge will be "readable".
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
