//! docs/replication.md is followed to the letter: its commands run, in their order, and answer what it shows.

mod common;

use common::console::{Started, commands};
use common::redis_server::Redis;
use common::{AWAITED, skips};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

fn shell(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output();
    let output = output.expect("a shell");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a reader would look again until it is so.
fn only_looks(command: &str) -> bool {
    [" INFO ", " ROLE ", " DBSIZE", " GET "]
        .iter()
        .any(|word| command.contains(word))
}

#[test]
fn the_way_from_redis_to_gyre_and_back_is_as_it_is_written() {
    if !Path::new("/usr/bin/redis-cli").exists() {
        skips::pass_over("for want of Debian's Redis", "redis-cli");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let Some(redis) = Redis::start_of_system(dir.path(), &[]) else {
        return;
    };
    redis.raw().line("DEBUG POPULATE 1000");
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/replication.md");
    let page = std::fs::read_to_string(path).expect("the document");
    let commands = commands(&page);
    assert!(commands.len() > 15, "{}", commands.len());
    let mut started = Started(None);
    for (command, answer) in commands {
        let own = command
            .replace("6379", &redis.port().to_string())
            .replace("6380", &port.to_string());
        if let Some(arguments) = own.strip_prefix("gyre ") {
            let arguments = arguments.trim_end_matches(" &").split(' ');
            let child = Command::new(env!("CARGO_BIN_EXE_gyre"))
                .current_dir(dir.path())
                .args(arguments)
                .args(["--dbfilename", "gyre.rdb"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn();
            started.0 = Some(child.expect("the binary starts"));
            continue;
        }
        let deadline = Instant::now() + AWAITED;
        loop {
            let answered = shell(&own);
            if answered == answer {
                break;
            }
            assert!(
                only_looks(&command) && Instant::now() < deadline,
                "{command}\nanswers\n{answered}and the document says\n{answer}"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
