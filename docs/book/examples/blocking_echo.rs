//! Chapter 1: one client at a time. `accept` and `read` block, and with them everybody else.
//!
//! ```text
//! cargo run --example blocking_echo 7000
//! nc 127.0.0.1 7000        in two terminals: the second waits until the first is done
//! ```

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "7000".into());
    // The kernel now completes handshakes for us and queues the connections (128 of them, with std) until we take
    // them: a client is "connected" long before this program knows of it.
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        // Blocks: the kernel takes the thread off the processor until a connection is there.
        let (stream, peer) = listener.accept()?;
        println!("{peer} is served");
        match serve(stream) {
            Ok(bytes) => println!("{peer} left after {bytes} bytes"),
            // One client's broken connection is no reason to end the server.
            Err(error) => println!("{peer} broke off: {error}"),
        }
    }
}

/// Sends back what comes, until the client has ended its side.
fn serve(mut stream: TcpStream) -> io::Result<u64> {
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        // Blocks as well: as long as this client says nothing, nobody else gets a word in.
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            // Not "nothing there at the moment" (that would block) but "nothing will ever come".
            return Ok(total);
        }
        // A third place that blocks: when the client does not read, the kernel's buffers fill up, and `write_all`
        // waits until there is room again.
        stream.write_all(&buffer[..n])?;
        total += n as u64;
    }
}
