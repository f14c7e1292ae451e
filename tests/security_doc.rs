//! docs/security.md is followed to the letter: its commands run, in their order, and answer what it shows.

mod common;

use common::console::{Started, commands};
use common::{skips, wait_for};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_ten_steps_are_as_they_are_written() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");
    let page = std::fs::read_to_string(path).expect("the document");
    for step in 1..=10 {
        assert_eq!(
            page.matches(&format!("\n### {step}. ")).count(),
            1,
            "step {step}"
        );
    }
    let commands = commands(&page);
    assert!(commands.len() > 30, "{}", commands.len());
    if !Path::new("/usr/bin/openssl").exists() {
        skips::pass_over("for want of openssl", "openssl");
        return;
    }
    if !Path::new("/usr/bin/redis-cli").exists() {
        skips::pass_over("for want of Debian's Redis", "redis-cli");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = free.local_addr().expect("its address").port().to_string();
    let free_too = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let tls_port = free_too
        .local_addr()
        .expect("its address")
        .port()
        .to_string();
    drop((free, free_too));
    let gyre = Path::new(env!("CARGO_BIN_EXE_gyre"));
    let beside = gyre.parent().expect("its directory").display();
    let paths = format!("{beside}:{}", std::env::var("PATH").unwrap_or_default());
    let mut started = Started(None);
    for (command, answer) in commands {
        let own = command.replace("6379", &port).replace("6380", &tls_port);
        if let Some(arguments) = own
            .strip_prefix("gyre ")
            .and_then(|it| it.strip_suffix(" &"))
        {
            let child = Command::new(gyre)
                .current_dir(dir.path())
                .args(arguments.split(' '))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn();
            started.0 = Some(child.expect("the binary starts"));
            let address = format!("127.0.0.1:{port}");
            wait_for("the server", || {
                std::net::TcpStream::connect(&address).is_ok()
            });
            continue;
        }
        let output = Command::new("sh")
            .args(["-c", &own])
            .env("PATH", &paths)
            .current_dir(dir.path())
            .output()
            .expect("a shell");
        let answered = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            answered,
            answer,
            "{command}\nanswers this and not what the document says; {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
