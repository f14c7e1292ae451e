//! One HTTP connection: requests out of its bytes, bytes of responses into its socket.

use super::routes::Response;
use super::trace::Cursor;
use super::{Written, live};
use crate::acl::User;
use crate::event_loop::{EventLoop, Received, Token};
use crate::net::HostKey;
use std::io::{self, IoSlice};
use std::rc::Rc;

/// Bytes of a request's head beyond which it is refused.
const MOST_HEAD: usize = 8 * 1024;
/// Header fields of a request.
const MOST_FIELDS: usize = 64;
/// Bytes that are read at once.
const READ: usize = 4 * 1024;
/// Bytes that may wait for a viewer; one that is further behind is dropped.
const MOST_OUTPUT: usize = 512 * 1024;
/// Bytes written in one turn.
const WRITE_BUDGET: usize = 256 * 1024;

/// A request's head, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub is_head: bool,
    /// GET or HEAD.
    pub is_read: bool,
    /// Path without the query.
    pub path: String,
    pub query: String,
    pub keep_alive: bool,
    /// HTTP/1.1, which knows chunks.
    pub is_1_1: bool,
    /// Whom it takes us for, perhaps with a port.
    pub host: Option<Vec<u8>>,
    pub authorization: Option<Vec<u8>>,
}

impl Request {
    /// A number in the query.
    pub fn number(&self, name: &str) -> Option<u64> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name)?.1.parse().ok()
    }
}

/// What a connection's bytes hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Request(Request),
    Incomplete,
    /// Bytes that are no request: the connection is answered with this status and closed.
    Wrong(u16, &'static str),
}

/// What is sent besides single responses.
#[derive(Default)]
enum Stream {
    #[default]
    None,
    /// A trace, a part at a time.
    Trace { cursor: Cursor, chunked: bool },
    /// Events until it goes.
    Events,
}

/// One connection.
pub(super) struct Connection {
    pub token: Token,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of `output` that are written.
    written: usize,
    stream: Stream,
    /// It came to a loopback address.
    pub is_local: bool,
    /// It came from one.
    pub is_from_here: bool,
    /// The host that it came from, if wrong passwords are counted for that.
    pub host: Option<HostKey>,
    /// The user as whom it asked last.
    pub watcher: Option<Rc<User>>,
    /// It has one of the places that are for those who ask whether the server lives.
    pub only_probes: bool,
    /// It is closed when all is written.
    pub closes: bool,
    /// When it came, or last took something that was written, monotonic ns. Bytes that it sends do not count: a head
    /// that comes a byte at a time has as long as one that does not come.
    pub last_ns: u64,
}

impl Connection {
    pub fn new(token: Token, now_ns: u64, is_local: bool) -> Connection {
        Connection {
            token,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            stream: Stream::None,
            is_local,
            is_from_here: is_local,
            host: None,
            only_probes: false,
            watcher: None,
            closes: false,
            last_ns: now_ns,
        }
    }

    /// Whether an answer is still on its way.
    pub fn is_busy(&self) -> bool {
        !self.is_written() || !matches!(self.stream, Stream::None) || self.closes
    }
    pub fn is_written(&self) -> bool {
        self.written == self.output.len()
    }
    pub fn is_viewer(&self) -> bool {
        matches!(self.stream, Stream::Events)
    }
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Reads once.
    pub fn read(&mut self, events: &mut EventLoop) -> io::Result<Received> {
        let mut buffer = [0; READ];
        let received = events.read(self.token, &mut buffer)?;
        self.input.extend_from_slice(&buffer[..received.len]);
        Ok(received)
    }

    /// Takes the first request out of what was read.
    pub fn take_request(&mut self) -> Taken {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        // From its first byte each time that more of it comes: a head is short, and a state kept between would be one
        // more thing to get wrong.
        let mut head = httparse::Request::new(&mut fields);
        match head.parse(&self.input) {
            Ok(httparse::Status::Complete(len)) if len <= MOST_HEAD => {
                let taken = request(&head);
                self.input.drain(..len);
                taken
            }
            Ok(httparse::Status::Partial) if self.input.len() < MOST_HEAD => Taken::Incomplete,
            Ok(_) | Err(httparse::Error::TooManyHeaders) => {
                Taken::Wrong(431, "the head of the request is too large\n")
            }
            Err(_) => Taken::Wrong(400, "this is not HTTP/1.1\n"),
        }
    }

    /// Has a response written.
    pub fn respond(&mut self, response: &Response, is_head: bool, closes: bool) {
        self.output
            .extend_from_slice(&response.bytes(is_head, !closes));
        self.closes |= closes;
    }

    /// Begins a trace: its parts follow as they are taken.
    pub fn begin_trace(&mut self, cursor: Cursor, request: &Request) {
        let chunked = request.is_1_1;
        let mut head = String::from(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n\
             Content-Disposition: attachment; filename=\"gyre-trace.json\"\r\n",
        );
        // How long it is shows at its end only. HTTP/1.0 knows no chunks: there the end is that of the connection.
        if chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        }
        self.closes = !chunked || !request.keep_alive;
        let connection = if self.closes { "close" } else { "keep-alive" };
        head.push_str(&format!("Connection: {connection}\r\n\r\n"));
        self.output.extend_from_slice(head.as_bytes());
        if !request.is_head {
            self.stream = Stream::Trace { cursor, chunked };
        }
    }

    /// Begins a stream of events.
    pub fn begin_events(&mut self) {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
            live::CONTENT_TYPE
        );
        self.output.extend_from_slice(head.as_bytes());
        self.stream = Stream::Events;
    }

    /// Adds an event; false if the viewer is too far behind.
    pub fn push_event(&mut self, event: &[u8]) -> bool {
        if self.output.len() - self.written + event.len() > MOST_OUTPUT {
            // It would get old events late and hold memory for them; a browser connects again.
            return false;
        }
        self.output.extend_from_slice(event);
        true
    }

    /// Writes what waits, within a turn's bound, and within what is `left` for all connections.
    pub fn write(&mut self, events: &mut EventLoop, left: &mut usize) -> Written {
        let mut budget = WRITE_BUDGET.min(*left);
        // Neither one connection nor all of them may hold up the commands.
        loop {
            if self.is_written() {
                self.output.clear();
                self.written = 0;
                if !self.next_part(events) {
                    return Written::All;
                }
            }
            if budget == 0 {
                return Written::Bounded;
            }
            let end = self.output.len().min(self.written + budget);
            match events.write(self.token, &[IoSlice::new(&self.output[self.written..end])]) {
                Ok(0) => return Written::Gone,
                Ok(n) => {
                    self.written += n;
                    budget -= n;
                    *left -= n;
                    self.last_ns = events.turn_ns();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // What is written goes, so that a stream that never comes to its end does not grow.
                    self.output.drain(..self.written);
                    self.written = 0;
                    return Written::Some;
                }
                Err(_) => return Written::Gone,
            }
        }
    }

    /// Makes the next part of a trace; false if there is none.
    fn next_part(&mut self, events: &EventLoop) -> bool {
        let Stream::Trace { cursor, chunked } = &mut self.stream else {
            return false;
        };
        let chunked = *chunked;
        // Made when the one before is written: one part at a time is in memory.
        let part = cursor.next(events.recorder());
        if part.is_empty() {
            // From here on it is a connection as others, and is closed or takes the next request.
            self.stream = Stream::None;
            if chunked {
                self.output.extend_from_slice(b"0\r\n\r\n");
            }
            return chunked;
        }
        if chunked {
            let head = format!("{:x}\r\n", part.len());
            self.output.extend_from_slice(head.as_bytes());
        }
        self.output.extend_from_slice(part.as_bytes());
        if chunked {
            self.output.extend_from_slice(b"\r\n");
        }
        true
    }
}

/// What a head that was parsed asks for.
fn request(head: &httparse::Request<'_, '_>) -> Taken {
    let method = head.method.unwrap_or_default();
    let target = head.path.unwrap_or_default();
    // A target may name its host, as for a proxy; that name counts then.
    let (named, target) = match target.strip_prefix("http://") {
        Some(rest) => {
            let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(host), if path.is_empty() { "/" } else { path })
        }
        None => (None, target),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let is_1_1 = head.version == Some(1);
    let mut request = Request {
        is_head: method == "HEAD",
        is_read: matches!(method, "GET" | "HEAD"),
        path: path.to_owned(),
        query: query.to_owned(),
        // What holds if it says nothing of it.
        keep_alive: is_1_1,
        is_1_1,
        host: None,
        authorization: None,
    };
    for field in head.headers.iter() {
        let value = field.value.trim_ascii();
        match field.name.to_ascii_lowercase().as_str() {
            // Two could be read as either.
            "host" if request.host.is_some() => {
                return Taken::Wrong(400, "one Host field was expected\n");
            }
            "host" => request.host = Some(value.to_vec()),
            "connection" => {
                // A list, in any case of letters; `close` has the last word.
                let value = value.to_ascii_lowercase();
                let mut words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                if words.clone().any(|word| word == b"close") {
                    request.keep_alive = false;
                } else if words.any(|word| word == b"keep-alive") {
                    request.keep_alive = true;
                }
            }
            "authorization" => request.authorization = Some(value.to_vec()),
            // No request that reads has a body; what follows one could not be told from it.
            "content-length" if value != b"0" && request.is_read => {
                return Taken::Wrong(400, "a body was not expected\n");
            }
            "transfer-encoding" if request.is_read => {
                return Taken::Wrong(400, "a body was not expected\n");
            }
            _ => {}
        }
    }
    if is_1_1 && request.host.is_none() {
        return Taken::Wrong(400, "a Host field was expected\n");
    }
    if let Some(named) = named {
        request.host = Some(named.as_bytes().to_vec());
    }
    if !request.is_read {
        return Taken::Wrong(405, "only GET and HEAD are answered\n");
    }
    Taken::Request(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take(text: &str) -> Taken {
        let mut connection = Connection::new(Token(0), 0, true);
        connection.input.extend_from_slice(text.as_bytes());
        connection.take_request()
    }

    #[test]
    fn heads_are_read() {
        let Taken::Request(request) =
            take("GET /trace?turns=7 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n\r\n")
        else {
            panic!("a request")
        };
        assert_eq!(
            (request.path.as_str(), request.number("turns")),
            ("/trace", Some(7))
        );
        assert_eq!(request.authorization.as_deref(), Some(&b"Bearer x"[..]));
        assert!(request.keep_alive && !request.is_head);
        let Taken::Request(request) = take("HEAD / HTTP/1.0\r\n\r\n") else {
            panic!("a request")
        };
        assert!(request.is_head && !request.keep_alive);
        assert_eq!(take("GET / HTTP/1.1\r\nHost:"), Taken::Incomplete);
        let Taken::Request(request) = take("GET http://b:1/metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        else {
            panic!("a request")
        };
        assert_eq!(request.path, "/metrics");
        assert_eq!(request.host.as_deref(), Some(&b"b:1"[..]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let status = |text: &str| match take(text) {
            Taken::Wrong(status, _) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status("*1\r\n$4\r\nPING\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
        assert_eq!(
            status("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"),
            405
        );
        assert_eq!(
            status("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"),
            400
        );
        assert_eq!(
            status(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(MOST_HEAD))),
            431
        );
        let fields = "A: b\r\n".repeat(MOST_FIELDS + 1);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{fields}\r\n")), 431);
    }

    #[test]
    fn a_viewer_that_does_not_read_is_too_far_behind() {
        let mut connection = Connection::new(Token(0), 0, true);
        connection.begin_events();
        let event = vec![b'x'; 100 * 1024];
        let pushed = (0..20)
            .take_while(|_| connection.push_event(&event))
            .count();
        assert_eq!(pushed, 5);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_wrong_or_not_all(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut connection = Connection::new(Token(0), 0, true);
            connection.input = bytes;
            let _ = connection.take_request();
        }
    }
}
