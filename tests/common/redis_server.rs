//! A Redis server as a peer of tests: data goes from one to the other, and answers are compared.
//!
//! It is the program that `GYRE_PEER` names, else the one that `make peer` built, else the redis-server on the PATH.

use super::Raw;
use gyre::resp::reader::Value;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A Redis server in a directory that is not its own.
pub struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// Whether there is one, of whichever version; says so if not.
    pub fn is_installed() -> bool {
        let found = program("").is_some();
        if !found {
            eprintln!("skipped: there is no redis-server on the PATH, nor one of `make peer`");
        }
        found
    }
    /// Starts one of whichever version as [`Redis::start_of`] does.
    pub fn start(dir: &Path, directives: &[&str]) -> Redis {
        Redis::start_of(&program("").expect("a redis-server"), dir, directives)
    }
    /// Starts a program on a free port; it loads what is in the directory.
    pub fn start_of(program: &Path, dir: &Path, directives: &[&str]) -> Redis {
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
            assert!(ended.is_none(), "redis-server cannot load what is there");
            assert!(Instant::now() < deadline, "redis-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        redis
    }
    /// Whether it listens and has loaded its data.
    fn answers(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port))
            .is_ok_and(|stream| Raw::over(stream).line("PING") == Value::Simple("PONG".into()))
    }
    /// Whether it is of 7.4 or newer, which reads snapshots and dumps of version 12; says so if not.
    pub fn reads_snapshots_of_gyre(&self) -> bool {
        let Value::Bulk(page) = self.raw().line("INFO server") else {
            panic!("INFO answers a bulk")
        };
        let page = String::from_utf8_lossy(&page).into_owned();
        let version = page.split("redis_version:").nth(1).unwrap_or_default();
        let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0u32));
        let is_new = (numbers.next(), numbers.next()) >= (Some(7), Some(4));
        if !is_new {
            eprintln!(
                "skipped: the way back to a Redis before 7.4, which does not read snapshots of version 12"
            );
        }
        is_new
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

/// The first of the programs whose version begins so. One that is named must be of that version.
pub fn program(version: &str) -> Option<PathBuf> {
    let is_right = |program: &PathBuf| {
        let text = Command::new(program).arg("--version").output();
        text.is_ok_and(|text| {
            String::from_utf8_lossy(&text.stdout).contains(&format!(" v={version}"))
        })
    };
    if let Some(named) = std::env::var_os("GYRE_PEER").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        assert!(
            is_right(&named),
            "GYRE_PEER is {}, which is no redis-server {version}",
            named.display()
        );
        return Some(named);
    }
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peer/redis-server");
    [built, "redis-server".into()].into_iter().find(is_right)
}
