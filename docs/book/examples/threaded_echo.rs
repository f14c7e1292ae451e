//! Chapter 2: a thread per connection. The calls still block, but each blocks a thread of its own.
//!
//! ```text
//! cargo run --example threaded_echo 7000
//! grep -E 'Threads|VmSize|VmRSS' /proc/$(pgrep threaded_echo)/status
//! ```

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Each thread gets its stack when it is made. std's default is 2 MiB of address space; what is touched of it is
/// backed by memory.
const STACK_BYTES: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "7000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("listening on {}", listener.local_addr()?);
    // The one thing that all threads share. An addition is one atomic instruction. A table of keys would need a lock,
    // and the threads would wait for each other there instead of in `read`.
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, peer) = listener.accept()?;
        let counter = Arc::clone(&open);
        let work = move || {
            let served = serve(stream);
            let left = counter.fetch_sub(1, Ordering::Relaxed) - 1;
            println!("{peer} is gone ({served:?}), {left} open");
        };
        let now_open = open.fetch_add(1, Ordering::Relaxed) + 1;
        println!("{peer} is served, {now_open} open");
        // The system may refuse: threads are a resource that runs out (`ulimit -u`, cgroup `pids.max`). The closure
        // is dropped with the connection in it, which closes it; the server goes on.
        if let Err(error) = thread::Builder::new().stack_size(STACK_BYTES).spawn(work) {
            open.fetch_sub(1, Ordering::Relaxed);
            println!("{peer} gets no thread: {error}");
        }
    }
}

/// The same straight line as in chapter 1: where this client stands is kept on this thread's stack and in its program
/// counter. That is what makes threads so pleasant to write for, and what an event loop has to keep by hand.
fn serve(mut stream: TcpStream) -> io::Result<u64> {
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(total);
        }
        stream.write_all(&buffer[..n])?;
        total += n as u64;
    }
}
