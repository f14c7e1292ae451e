//! docs/cluster.md is followed to the letter: its commands run, in their order, and answer what it shows.

mod common;

use common::console::{Started, commands};
use common::{AWAITED, skips};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

fn shell(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output();
    let output = output.expect("a shell");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a reader would look again until it is so: nodes start, hear of each other, change places.
fn only_looks(command: &str) -> bool {
    const LOOKS: [&str; 7] = [
        " INFO ",
        " ROLE ",
        " GET ",
        " SET ",
        " PING",
        " COUNTKEYSINSLOT ",
        " NODES ",
    ];
    LOOKS.iter().any(|word| command.contains(word))
}

/// A row of ports of which the first is free, and the buses with them.
fn ports() -> u16 {
    for _ in 0..100 {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = free.local_addr().expect("its address").port();
        // Below those that the system gives to others.
        let first = 20_000 + port % 1_000 * 10;
        let is_free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + 12).all(|port| is_free(port) && is_free(port + 10_000)) {
            return first;
        }
    }
    panic!("no free ports");
}

#[test]
fn the_way_from_one_node_to_many_is_as_it_is_written() {
    if !Path::new("/usr/bin/redis-cli").exists() {
        skips::pass_over("for want of Debian's Redis", "redis-cli");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let first = ports();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cluster.md");
    let page = std::fs::read_to_string(path).expect("the document");
    let commands = commands(&page);
    assert!(commands.len() > 10, "{}", commands.len());
    let mut all = Vec::new();
    for (command, answer) in commands {
        let mut own = command.clone();
        let mut expected = answer;
        for at in (0..12).rev() {
            let (shown, real) = (format!("70{at:02}"), (first + at).to_string());
            own = own.replace(&shown, &real);
            expected = expected.replace(&shown, &real);
        }
        if let Some(arguments) = own.strip_prefix("gyre ") {
            let arguments: Vec<&str> = arguments.trim_end_matches(" &").split(' ').collect();
            for folder in ["one", "two"] {
                std::fs::create_dir_all(dir.path().join(folder)).expect("a folder");
            }
            let child = Command::new(env!("CARGO_BIN_EXE_gyre"))
                .current_dir(dir.path())
                .args(arguments)
                .args(["--bind", "127.0.0.1", "--save", ""])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            all.push(Ended(Started(Some(child.expect("the binary starts")))));
            continue;
        }
        let deadline = Instant::now() + AWAITED;
        loop {
            let answered = shell(&own);
            if answered == expected {
                break;
            }
            assert!(
                only_looks(&command) && Instant::now() < deadline,
                "{own}\nanswers\n{answered}and the document says\n{expected}"
            );
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// Ends a server and, of a cluster, all that it has started.
struct Ended(Started);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0.0 {
            let pid = child.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            let _ = child.wait();
        }
    }
}
