//! Clients that other people wrote, over TLS: redis-cli and redis-py with OpenSSL, redis-rs with rustls.
//!
//! Each of them is refused without a certificate and let in with one, whose common name says which user it is; and each does
//! there what it does without TLS: pipelines, large values both ways, transactions, messages, waiting, RESP3.

mod common;
#[path = "common/tls.rs"]
mod encrypted;

use common::{Server, info, python_with, skips, text, wait_for};
use encrypted::{Certificates, Files};
use gyre::resp::reader::Value;
use redis::{Commands, RedisResult};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

/// The protocols that each client is tried with.
const PROTOCOLS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];

/// The size of a value that fits into no buffer on the way.
const LARGE: usize = 5_000_000;

/// A server that asks clients for a certificate and takes them for the user that it names: `shop`, who may do all but see
/// keys that are not his, is one. `default` may do everything.
fn start(certificates: &Certificates) -> (Server, u16, Files) {
    let directives = ["--tls-auth-clients", "yes", "--tls-auth-clients-user", "CN"];
    let (server, port) = certificates.start(&directives);
    let rules = "ACL SETUSER shop on nopass +@all ~shop:* &*";
    assert_eq!(server.raw().line(rules), Value::Simple("OK".to_owned()));
    (server, port, certificates.authority.issue("shop", &[]))
}

fn speak(server: &Server, protocol: &str) {
    let line = format!("CONFIG SET tls-protocols {protocol}");
    assert_eq!(server.raw().line(&line), Value::Simple("OK".to_owned()));
}

/// How often a handshake was refused for want of a certificate.
fn refusals(server: &Server) -> usize {
    server.log().matches("peer sent no certificates").count()
}

/// Bytes that no compression and no end of a line hides mistakes in.
fn large() -> Vec<u8> {
    (0..LARGE as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// The client of the `redis` crate that shows this certificate.
fn redis_rs(
    certificates: &Certificates,
    port: u16,
    own: Option<&Files>,
    protocol: &str,
) -> redis::Client {
    let read = |path| std::fs::read(path).expect("a file");
    let certificates = redis::TlsCertificates {
        client_tls: own.map(|files| redis::ClientTlsConfig {
            client_cert: read(&files.certificate),
            client_key: read(&files.key),
        }),
        root_cert: Some(read(&certificates.authority.file)),
    };
    let url = format!("rediss://localhost:{port}/?protocol={protocol}");
    redis::Client::build_with_tls(url, certificates).expect("a client")
}

#[test]
fn redis_rs_does_over_tls_what_it_does_without() -> RedisResult<()> {
    let certificates = Certificates::new();
    let (server, port, shop) = start(&certificates);
    for (protocol, resp) in PROTOCOLS.iter().zip(["resp2", "resp3"]) {
        speak(&server, protocol);
        let before = refusals(&server);
        let stranger = redis_rs(&certificates, port, None, resp);
        let answer = stranger
            .get_connection()
            .and_then(|mut it| redis::cmd("PING").query::<String>(&mut it));
        answer.expect_err("it has no certificate");
        wait_for("the refusal", || refusals(&server) > before);

        let client = redis_rs(&certificates, port, Some(&certificates.client), resp);
        let mut connection = client.get_connection()?;
        // A pipeline whose answers are longer than a record.
        let mut pipeline = redis::pipe();
        for n in 0..5_000 {
            pipeline.set(format!("key:{n}"), n).ignore();
            pipeline.get(format!("key:{n}"));
        }
        let numbers: Vec<usize> = pipeline.query(&mut connection)?;
        assert!(numbers.iter().copied().eq(0..5_000));
        let value = large();
        let () = connection.set("large", &value)?;
        assert!(connection.get::<_, Vec<u8>>("large")? == value);
        // MULTI and EXEC, with WATCH before them.
        let () = connection.set("counter", 1)?;
        let (counter,): (i64,) = redis::transaction(&mut connection, &["counter"], |it, pipe| {
            let counter: i64 = it.get("counter")?;
            pipe.set("counter", counter + 1)
                .ignore()
                .get("counter")
                .query(it)
        })?;
        assert_eq!(counter, 2);
        let () = connection.hset_multiple("hash", &[("a", 1), ("b", 2)])?;
        let kind: redis::Value = redis::cmd("HGETALL").arg("hash").query(&mut connection)?;
        let is_map = matches!(&kind, redis::Value::Map(pairs) if pairs.len() == 2);
        assert_eq!(is_map, resp == "resp3", "{kind:?}");
        // Messages.
        let mut listener = client.get_connection()?;
        let mut messages = listener.as_pubsub();
        messages.subscribe("news")?;
        let () = connection.publish("news", &value)?;
        assert!(messages.get_message()?.get_payload::<Vec<u8>>()? == value);
        drop(messages);
        // The listener waits now for what the other one brings.
        let waiting = std::thread::spawn(move || listener.blpop("jobs", 60.0));
        let mut raw = server.raw();
        wait_for("the wait", || info(&mut raw, "blocked_clients") == "1");
        let () = connection.rpush("jobs", "first")?;
        let (queue, job): (String, String) = waiting.join().expect("a job")?;
        assert_eq!((queue.as_str(), job.as_str()), ("jobs", "first"));

        let user = |connection: &mut redis::Connection| -> RedisResult<String> {
            redis::cmd("ACL").arg("WHOAMI").query(connection)
        };
        assert_eq!(user(&mut connection)?, "default");
        let client = redis_rs(&certificates, port, Some(&shop), resp);
        let mut connection = client.get_connection()?;
        assert_eq!(user(&mut connection)?, "shop");
        let () = connection.set("shop:1", "apple")?;
        let refused = connection.get::<_, String>("counter");
        assert_eq!(refused.unwrap_err().code(), Some("NOPERM"));
    }
    Ok(())
}

/// redis-py, whose part is the program beside this one.
#[test]
fn redis_py_does_over_tls_what_it_does_without() {
    let Some(python) = python_with("redis") else {
        return skips::without_oracle("Python's redis");
    };
    let certificates = Certificates::new();
    let (server, port, shop) = start(&certificates);
    for protocol in PROTOCOLS {
        speak(&server, protocol);
        let before = refusals(&server);
        let output = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls_clients.py"))
            .arg(port.to_string())
            .arg(&certificates.authority.file)
            .args([&certificates.client.certificate, &certificates.client.key])
            .args([&shop.certificate, &shop.key])
            .output()
            .expect("python starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{protocol}: {complaint}");
        // It says what it has come to.
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(told.lines().last(), Some("all"), "{told}");
        wait_for("the refusal", || refusals(&server) > before);
    }
}

/// redis-cli with what it needs to connect.
struct Cli<'a> {
    port: u16,
    certificates: &'a Certificates,
    own: Option<&'a Files>,
}

impl Cli<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("redis-cli");
        command
            .args(["-p", &self.port.to_string(), "--tls", "--cacert"])
            .arg(&self.certificates.authority.file);
        if let Some(own) = self.own {
            command.arg("--cert").arg(&own.certificate);
            command.arg("--key").arg(&own.key);
        }
        command.args(words).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> String {
        let output = self.command(words).output().expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn spawn(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.stdout(Stdio::piped()).spawn().expect("redis-cli")
    }

    /// With this to read from its standard input.
    fn fed(&self, words: &[&str], input: Vec<u8>) -> Output {
        let mut command = self.command(words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("redis-cli");
        let mut stdin = child.stdin.take().expect("a pipe");
        let feeding = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("it ends");
        feeding.join().expect("no panic").expect("it reads");
        output
    }
}

fn printed(output: Output) -> String {
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn redis_cli_does_over_tls_what_it_does_without() {
    let has_cli = Command::new("redis-cli").arg("--version").output();
    if !has_cli.is_ok_and(|it| it.status.success()) {
        return skips::without_oracle("redis-cli");
    }
    let certificates = Certificates::new();
    let (server, port, shop) = start(&certificates);
    let as_user = |own| Cli {
        port,
        certificates: &certificates,
        own,
    };
    for protocol in PROTOCOLS {
        speak(&server, protocol);
        let before = refusals(&server);
        let stranger = as_user(None);
        let output = stranger.command(&["PING"]).output().expect("redis-cli");
        assert!(!output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"");
        wait_for("the refusal", || refusals(&server) > before);

        let cli = as_user(Some(&certificates.client));
        // Many requests at once, and their answers.
        let mut requests = Vec::new();
        for n in 0..20_000 {
            write!(requests, "SET key:{n} value:{n}\r\n").expect("a vector");
        }
        let told = printed(cli.fed(&["--pipe"], requests));
        assert!(told.contains("errors: 0, replies: 20000"), "{told}");
        assert_eq!(cli.run(&["GET", "key:19999"]), "value:19999");
        // Large values there and back; it ends what it prints with the end of a line.
        let value = large();
        let output = cli.fed(&["-x", "SET", "large"], value.clone());
        assert_eq!(printed(output), "OK\n");
        let output = cli.command(&["GET", "large"]).output().expect("redis-cli");
        assert!(output.stdout.strip_suffix(b"\n") == Some(&value));
        // A transaction, in one connection.
        let lines = b"MULTI\nSET counter 1\nINCR counter\nEXEC\n".to_vec();
        let told = printed(cli.fed(&[], lines));
        assert_eq!(told, "OK\nQUEUED\nQUEUED\nOK\n2\n");
        cli.run(&["HSET", "hash", "a", "1"]);
        let map = cli.run(&["-3", "--no-raw", "HGETALL", "hash"]);
        assert_eq!(map, "1# \"a\" => \"1\"");
        // Messages.
        let mut listener = cli.spawn(&["SUBSCRIBE", "news"]);
        let mut raw = server.raw();
        wait_for("the subscription", || {
            cli.run(&["PUBLISH", "news", "hello"]) == "1"
        });
        let heard = BufReader::new(listener.stdout.take().expect("a pipe")).lines();
        let heard: Vec<String> = heard.take(6).map(|it| it.expect("a line")).collect();
        let expected = ["subscribe", "news", "1", "message", "news", "hello"];
        assert_eq!(heard, expected);
        listener.kill().expect("it was there");
        listener.wait().expect("an end");
        // Waiting.
        let waiting = cli.spawn(&["BLPOP", "jobs", "60"]);
        wait_for("the wait", || info(&mut raw, "blocked_clients") == "1");
        assert_eq!(cli.run(&["RPUSH", "jobs", "first"]), "1");
        let told = waiting.wait_with_output().expect("a job");
        assert_eq!(printed(told), "jobs\nfirst\n");

        assert_eq!(cli.run(&["ACL", "WHOAMI"]), "default");
        let cli = as_user(Some(&shop));
        assert_eq!(cli.run(&["ACL", "WHOAMI"]), "shop");
        assert_eq!(cli.run(&["SET", "shop:1", "apple"]), "OK");
        assert!(cli.run(&["GET", "counter"]).starts_with("NOPERM "));
        assert_eq!(text(raw.line("GET shop:1")), "apple");
    }
}
