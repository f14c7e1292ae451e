//! Debian's Redis as a peer of tests: data goes from one to the other.

use super::Raw;
use gyre::resp::reader::Value;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A Redis server in a directory that is not its own.
pub struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// Whether there is one on the PATH; says so if not.
    pub fn is_installed() -> bool {
        let found = Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !found {
            eprintln!("skipped: redis-server is not installed");
        }
        found
    }
    /// Starts it on a free port; it loads what is in the directory.
    pub fn start(dir: &Path, directives: &[&str]) -> Redis {
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--dir"])
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
