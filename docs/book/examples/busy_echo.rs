//! Chapter 3: one thread, many clients, nothing blocks, and the processor is never idle.
//!
//! ```text
//! cargo run --example busy_echo 7000
//! top        shows 100 % although nobody says a word
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// One client. `waiting` is what the socket did not take yet.
struct Connection {
    stream: TcpStream,
    waiting: Vec<u8>,
}

/// How often we asked, and how often there was something.
#[derive(Default)]
struct Asked {
    calls: u64,
    useful: u64,
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "7000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    // From here on `accept` answers at once: with a connection, or with the error WouldBlock.
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);
    let mut connections: Vec<Connection> = Vec::new();
    let mut asked = Asked::default();
    let mut told = Instant::now();
    loop {
        asked.calls += 1;
        match listener.accept() {
            Ok((stream, _)) => {
                // Not inherited from the listener on Linux: each socket is told by itself.
                stream.set_nonblocking(true)?;
                asked.useful += 1;
                connections.push(Connection {
                    stream,
                    waiting: Vec::new(),
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => println!("accept: {error}"),
        }
        // Everybody is asked in each pass, whether or not they have something to say: with 10,000 idle clients a pass
        // is 10,000 system calls, and the one who speaks waits for all of them.
        connections.retain_mut(|connection| serve(connection, &mut asked).is_ok());
        if told.elapsed() >= Duration::from_secs(1) {
            println!(
                "{} open; {} calls in a second, {} of them useful",
                connections.len(),
                asked.calls,
                asked.useful
            );
            (asked, told) = (Asked::default(), Instant::now());
        }
    }
}

/// Writes what waits; reads once when nothing waits. An error means that the connection is over.
fn serve(connection: &mut Connection, asked: &mut Asked) -> io::Result<()> {
    if connection.waiting.is_empty() {
        let mut buffer = [0; 4096];
        asked.calls += 1;
        match connection.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                asked.useful += 1;
                connection.waiting.extend_from_slice(&buffer[..n]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    asked.calls += 1;
    match connection.stream.write(&connection.waiting) {
        Ok(n) => {
            asked.useful += 1;
            // A socket may take a part: the rest keeps its place for the next pass.
            connection.waiting.drain(..n);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}
