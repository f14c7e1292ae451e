//! A Redis server as a peer of tests: data goes from one to the other, and answers are compared.
//!
//! It is of version 8.0, whose answers, events and files gyre's are: the program that `GYRE_PEER` names, else the one that
//! `make peer` built, else the redis-server on the PATH. A test that finds none fails, or is passed over
//! ([`skips`](super::skips)).

use super::{Raw, skips};
use gyre::resp::reader::Value;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What of its version a Redis must have to be compared with.
const VERSION: &str = "8.0";

/// A Redis server in a directory that is not its own.
pub struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// Starts one on a free port; it loads what is in the directory. None where there is none and that is allowed.
    pub fn start(dir: &Path, directives: &[&str]) -> Option<Redis> {
        let program = program();
        if program.is_none() {
            skips::without_oracle(&format!("redis-server {VERSION}"));
        }
        Some(Redis::start_program(&program?, dir, directives))
    }
    /// Starts the one that Debian has, of version 7.0 or a later one; none where there is none, which is said.
    pub fn start_of_system(dir: &Path, directives: &[&str]) -> Option<Redis> {
        Some(Redis::start_program(program_of_system()?, dir, directives))
    }
    fn start_program(program: &Path, dir: &Path, directives: &[&str]) -> Redis {
        // Between the choice of a port and its use another process may take it.
        (0..5)
            .find_map(|_| Redis::try_start(program, dir, directives))
            .expect("redis-server cannot load what is there")
    }
    /// None where it ends before it answers.
    fn try_start(program: &Path, dir: &Path, directives: &[&str]) -> Option<Redis> {
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--save", ""])
            .args(["--bind", "127.0.0.1", "--dir"])
            .arg(dir)
            .args([
                "--enable-debug-command",
                "yes",
                "--aof-use-rdb-preamble",
                "no",
            ])
            .args(directives)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        let mut redis = Redis { child, port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !redis.answers() {
            let ended = redis.child.try_wait().expect("a child");
            if ended.is_some() {
                return None;
            }
            assert!(Instant::now() < deadline, "redis-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(redis)
    }
    /// Whether it listens and has loaded its data.
    fn answers(&self) -> bool {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        // A connection to a port on which nobody listens may be given that port itself, and reads what it has written.
        if stream.local_addr().ok() == stream.peer_addr().ok() {
            return false;
        }
        let mut raw = Raw::over(stream);
        let answer = raw
            .send_unless_gone(b"PING\r\n")
            .then(|| raw.read_unless_gone());
        answer.flatten() == Some(Value::Simple("PONG".into()))
    }
    /// Its TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// A connection that speaks bytes.
    pub fn raw(&self) -> Raw {
        Raw::over(TcpStream::connect(("127.0.0.1", self.port)).expect("a connection"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program that Debian has, of version 7.0 or a later one; none where there is none, which is said.
pub fn program_of_system() -> Option<&'static Path> {
    let program = Path::new("/usr/bin/redis-server");
    let text = Command::new(program).arg("--version").output();
    let text = text.map_or_else(|_| Vec::new(), |it| it.stdout);
    let text = String::from_utf8_lossy(&text).into_owned();
    let major = text
        .split_once(" v=")
        .and_then(|(_, version)| version.split('.').next()?.parse::<u32>().ok());
    if major.is_none_or(|major| major < 7) {
        skips::pass_over("for want of Debian's Redis", "redis-server 7.0 or later");
        return None;
    }
    Some(program)
}

/// The first of the programs that is of this version. One that is named must be.
fn program() -> Option<PathBuf> {
    let is_right = |program: &PathBuf| {
        let text = Command::new(program).arg("--version").output();
        text.is_ok_and(|text| {
            String::from_utf8_lossy(&text.stdout).contains(&format!(" v={VERSION}."))
        })
    };
    if let Some(named) = std::env::var_os("GYRE_PEER").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        assert!(
            is_right(&named),
            "GYRE_PEER is {}, which is no redis-server {VERSION}",
            named.display()
        );
        return Some(named);
    }
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peer/redis-server");
    [built, "redis-server".into()].into_iter().find(is_right)
}
