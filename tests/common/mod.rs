//! A real server for tests: the built binary on a free port, in a directory of its own, gone when the test is.
//!
//! In: directives. Out: a [`Server`] that answers PING, and ways to speak to it: raw bytes ([`Raw`]) or the `redis`
//! crate. The server is killed and its directory removed on drop, however the test ends.
#![allow(dead_code)] // Each test file uses a part of it.

pub mod console;
pub mod proxy;
pub mod redis_server;
pub mod skips;

use gyre::resp::reader::{ReadError, Value, read_value};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start, and an answer to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a condition may take to hold. Less than a child that saves slowly takes in the tests that look at what
/// happens before it is done.
pub const AWAITED: Duration = Duration::from_secs(20);

/// Waits until the condition holds, and fails the test when it never does.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + AWAITED;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A Python that has this package. The system's own has those of the distribution, another one on the PATH may not.
pub fn python_with(package: &str) -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let tried = Command::new(python)
            .args(["-c", &format!("import {package}")])
            .output();
        tried.is_ok_and(|output| output.status.success())
    })
}

/// Sends a signal (`-STOP`, `-KILL`, ...) to a process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.expect("kill").success());
}

/// A running server.
pub struct Server {
    child: Child,
    /// Its TCP port.
    pub port: u16,
    /// Its working directory; removed with it.
    pub dir: tempfile::TempDir,
    directives: Vec<String>,
}

impl Server {
    /// With default directives.
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// With these directives besides, as on a command line: `["--maxmemory", "1mb"]`.
    pub fn with(directives: &[&str]) -> Server {
        // A port that was free a moment ago may be taken by another test by now: then try another one.
        for _ in 0..10 {
            if let Some(server) = Server::try_start(free_port(), directives) {
                return server;
            }
        }
        panic!("the server did not start on any of ten ports");
    }

    fn try_start(port: u16, directives: &[&str]) -> Option<Server> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let directives: Vec<String> = directives.iter().map(|word| (*word).to_owned()).collect();
        let child = Server::spawn(port, dir.path(), &directives);
        let mut server = Server {
            child,
            port,
            dir,
            directives,
        };
        server.await_answer().then_some(server)
    }

    fn spawn(port: u16, dir: &std::path::Path, directives: &[String]) -> Child {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .expect("a log file");
        Command::new(env!("CARGO_BIN_EXE_gyre"))
            .args([
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--bind",
                "127.0.0.1",
            ])
            .args(["--enable-debug-command", "yes"])
            .arg("--dir")
            .arg(dir)
            .args(directives)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("the binary starts")
    }

    /// Waits until it answers and has loaded its data; whether it does, and not another one on its port.
    fn await_answer(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                let mut raw = Raw::over(stream);
                // Whatever it answers (NOAUTH too): it is this server only if ours still lives.
                let answer = raw.try_send(b"PING\r\n").then(|| raw.try_read()).flatten();
                let is_loading =
                    matches!(&answer, Some(Value::Error(text)) if text.starts_with(b"LOADING"));
                if answer.is_some() && !is_loading && self.is_running() {
                    return true;
                }
            }
            if !self.is_running() {
                let log = self.log();
                assert!(log.contains("in use"), "the server ended at once:\n{log}");
                return false;
            }
            assert!(
                Instant::now() < deadline,
                "the server is not ready:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for it to end by itself; its exit status.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("a child").code()
    }

    /// Starts it again in the same place with the same directives, without waiting for an answer.
    pub fn spawn_again(&mut self) {
        self.kill();
        self.child = Server::spawn(self.port, self.dir.path(), &self.directives);
    }

    /// Starts it again in the same place with the same directives.
    pub fn start_again(&mut self) {
        self.spawn_again();
        assert!(self.await_answer(), "its port was taken meanwhile");
    }

    /// Starts it again in the same place with these directives.
    pub fn start_again_with(&mut self, directives: &[&str]) {
        self.directives = directives.iter().map(|word| (*word).to_owned()).collect();
        self.start_again();
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it wrote to its output so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection that speaks bytes.
    pub fn raw(&self) -> Raw {
        Raw::over(TcpStream::connect(("127.0.0.1", self.port)).expect("a connection"))
    }

    /// A connection of the `redis` crate.
    pub fn client(&self) -> redis::Connection {
        let client = redis::Client::open(("127.0.0.1", self.port)).expect("an address");
        client.get_connection().expect("a connection")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A connection that sends bytes and reads values.
pub struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Raw {
    /// Over an open stream.
    pub fn over(stream: TcpStream) -> Raw {
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a read timeout");
        stream.set_nodelay(true).expect("no delay");
        Raw {
            stream,
            unread: Vec::new(),
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends bytes; whether the server was still there.
    pub fn send_unless_gone(&mut self, bytes: &[u8]) -> bool {
        self.try_send(bytes)
    }

    /// Reads one value; none if the server goes first, in whatever way.
    pub fn read_unless_gone(&mut self) -> Option<Value> {
        loop {
            match read_value(&self.unread) {
                Ok((value, len)) => {
                    self.unread.drain(..len);
                    return Some(value);
                }
                Err(ReadError::Incomplete) => {}
                Err(error) => panic!("{error:?} in {:?}", String::from_utf8_lossy(&self.unread)),
            }
            let mut buffer = [0; 64 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.unread.extend(&buffer[..len]),
            }
        }
    }

    /// Sends a command as an array of bulks.
    pub fn command<T: AsRef<[u8]>>(&mut self, words: &[T]) {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            let word = word.as_ref();
            bytes.extend(format!("${}\r\n", word.len()).bytes());
            bytes.extend(word);
            bytes.extend(b"\r\n");
        }
        self.send(&bytes);
    }

    /// Reads one value.
    pub fn read(&mut self) -> Value {
        self.try_read()
            .expect("an answer before the connection closes")
    }

    /// Reads one value; none if the connection closes first.
    pub fn try_read(&mut self) -> Option<Value> {
        loop {
            match read_value(&self.unread) {
                Ok((value, len)) => {
                    self.unread.drain(..len);
                    return Some(value);
                }
                Err(ReadError::Incomplete) => {}
                Err(error) => panic!("{error:?} in {:?}", String::from_utf8_lossy(&self.unread)),
            }
            let mut buffer = [0; 64 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(len) => self.unread.extend(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                // With a time limit even a stop and a continue of the process end a read.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Exactly `len` bytes as they come.
    pub fn read_bytes(&mut self, len: usize) -> Vec<u8> {
        while self.unread.len() < len {
            let mut buffer = [0; 64 * 1024];
            let got = self.stream.read(&mut buffer).expect("an answer in time");
            assert!(
                got > 0,
                "the connection closed after {:?}",
                String::from_utf8_lossy(&self.unread)
            );
            self.unread.extend(&buffer[..got]);
        }
        self.unread.drain(..len).collect()
    }

    /// Sends a command and reads its answer.
    pub fn run<T: AsRef<[u8]>>(&mut self, words: &[T]) -> Value {
        self.command(words);
        self.read()
    }

    /// The same for a line, split at spaces.
    pub fn line(&mut self, line: &str) -> Value {
        self.run(&line.split(' ').collect::<Vec<_>>())
    }
}

/// The text of an answer; of one that is none, how it is spelled here.
pub fn text(value: Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::Simple(text) => text,
        other => format!("{other:?}"),
    }
}

/// A field of INFO, which must be there.
pub fn info(raw: &mut Raw, field: &str) -> String {
    let page = text(raw.line("INFO everything"));
    let line = page.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name == field).then(|| value.to_owned())
    });
    line.unwrap_or_else(|| panic!("no {field} in INFO"))
}
