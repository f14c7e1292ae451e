//! Chapter 5: requests that arrive in pieces. A parser that can stop after any byte, and go on there.
//!
//! Answers each request with how many arguments it had and in how many reads it came.
//!
//! ```text
//! cargo run --example resp_parser 7000
//! redis-cli -p 7000 SET greeting hello
//! ```
//!
//! The protocol, RESP: `*3\r\n` says that three arguments follow, each as `$5\r\nhello\r\n`.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::thread;

/// No allocation and no waiting is sized by a number from outside before it is checked.
const MAX_ARGUMENTS: usize = 1024;
const MAX_ARGUMENT_LEN: usize = 1024 * 1024;
/// `*1024` is a long line; whoever sends more without an end is not speaking RESP.
const MAX_LINE: usize = 32;

/// Where the parser stands in the request at the front of the buffer. This is what a thread would keep on its stack.
#[derive(Default)]
struct Parser {
    /// Bytes that are done with: never looked at again.
    position: usize,
    /// Arguments that are still to come; `None` before the first line was read.
    missing: Option<usize>,
    /// The length of the argument that is coming, when its `$` line was read.
    length: Option<usize>,
    /// Where the finished arguments lie in the buffer. Places, not copies.
    arguments: Vec<Range<usize>>,
}

enum Parsed {
    /// A whole request: its arguments, and the bytes it took.
    Request(Vec<Range<usize>>, usize),
    /// Not an error: the rest has not arrived yet.
    Incomplete,
}

impl Parser {
    /// Goes on where it stopped. `bytes` begins with the first byte of the request, as at the last call, with more
    /// bytes at its end.
    fn parse(&mut self, bytes: &[u8]) -> Result<Parsed, &'static str> {
        loop {
            if self.missing == Some(0) {
                let done = std::mem::take(self);
                return Ok(Parsed::Request(done.arguments, done.position));
            }
            if let Some(length) = self.length {
                // The payload is not searched for its end: its length is known, and it may contain anything.
                let end = self.position + length;
                if bytes.len() < end + 2 {
                    return Ok(Parsed::Incomplete);
                }
                if &bytes[end..end + 2] != b"\r\n" {
                    return Err("expected the end of the argument");
                }
                self.arguments.push(self.position..end);
                self.position = end + 2;
                self.length = None;
                self.missing = self.missing.map(|missing| missing - 1);
                continue;
            }
            let (mark, most) = match self.missing {
                None => (b'*', MAX_ARGUMENTS),
                Some(_) => (b'$', MAX_ARGUMENT_LEN),
            };
            let Some((number, next)) = self.line(bytes, mark, most)? else {
                return Ok(Parsed::Incomplete);
            };
            self.position = next;
            match self.missing {
                None => self.missing = Some(number),
                Some(_) => self.length = Some(number),
            }
        }
    }

    /// The number of the line at `position`, and where the next one begins. `None`: its end has not arrived.
    fn line(
        &self,
        bytes: &[u8],
        mark: u8,
        most: usize,
    ) -> Result<Option<(usize, usize)>, &'static str> {
        let rest = &bytes[self.position..];
        if rest.first().is_some_and(|first| *first != mark) {
            return Err("expected '*' or '$'");
        }
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            // Limits are checked before the end is there: else a line that never ends would fill the memory.
            return if rest.len() > MAX_LINE {
                Err("too long a line")
            } else {
                Ok(None)
            };
        };
        let digits = rest[1..end].strip_suffix(b"\r").ok_or("expected \\r\\n")?;
        let text = std::str::from_utf8(digits).map_err(|_| "expected a number")?;
        let number: usize = text.parse().map_err(|_| "expected a number")?;
        if number > most {
            return Err("too large a number");
        }
        Ok(Some((number, self.position + end + 1)))
    }
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "7000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("listening on {}", listener.local_addr()?);
    // Threads, so that only the parser is new here. It does not know where its bytes come from.
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || serve(stream));
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut parser = Parser::default();
    let mut bytes: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    let mut reads = 0;
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        reads += 1;
        bytes.extend_from_slice(&buffer[..n]);
        // One read may also bring many requests: take them all before reading again.
        while !bytes.is_empty() {
            match parser.parse(&bytes) {
                Ok(Parsed::Request(arguments, consumed)) => {
                    let count = arguments.len();
                    // Made whole first: `write!` to a socket would be a system call for each piece.
                    let answer = format!("+{count} arguments in {reads} reads\r\n");
                    stream.write_all(answer.as_bytes())?;
                    bytes.drain(..consumed);
                    // What is left came with the last read.
                    reads = usize::from(!bytes.is_empty());
                }
                Ok(Parsed::Incomplete) => break,
                // Behind an error nobody knows where the next request begins: answer, and close.
                Err(what) => {
                    return stream.write_all(format!("-ERR Protocol error: {what}\r\n").as_bytes());
                }
            }
        }
    }
}
