//! Hashes on a real server: what is on the wire, and fields that go by themselves.

mod common;

use common::Server;
use gyre::resp::reader::Value;
use std::time::{Duration, Instant};

#[test]
fn the_bytes_on_the_wire() {
    let server = Server::start();
    let mut raw = server.raw();
    let exchange: &[(&str, &[u8])] = &[
        ("HSET h f v\r\n", b":1\r\n"),
        ("HGET h f\r\n", b"$1\r\nv\r\n"),
        ("HGET h none\r\n", b"$-1\r\n"),
        ("HMGET h f none\r\n", b"*2\r\n$1\r\nv\r\n$-1\r\n"),
        ("HGETALL h\r\n", b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n"),
        ("HGETALL none\r\n", b"*0\r\n"),
        (
            "HSCAN h 0\r\n",
            b"*2\r\n$1\r\n0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
        ),
        ("HINCRBY h n 7\r\n", b":7\r\n"),
        ("HTTL h FIELDS 2 f x\r\n", b"*2\r\n:-1\r\n:-2\r\n"),
    ];
    for (request, answer) in exchange {
        raw.send(request.as_bytes());
        let got = raw.read_bytes(answer.len());
        assert_eq!(
            got,
            *answer,
            "{request} gave {:?}",
            got.escape_ascii().to_string()
        );
    }
}

/// Nobody asks for the fields: the cron finds them.
#[test]
fn fields_expire_without_being_met() {
    for entries in ["512", "0"] {
        let server = Server::with(&["--hz", "100", "--hash-max-listpack-entries", entries]);
        let mut raw = server.raw();
        raw.line("HSET h a 1 b 2 c 3");
        raw.line("HSET whole a 1");
        let set = raw.line("HPEXPIRE h 20 FIELDS 2 a b");
        assert_eq!(set, Value::Array(vec![Value::Integer(1); 2]));
        raw.line("HPEXPIRE whole 20 FIELDS 1 a");
        let start = Instant::now();
        while raw.line("HLEN h") != Value::Integer(1) || raw.line("DBSIZE") != Value::Integer(1) {
            assert!(start.elapsed() < Duration::from_secs(10), "fields stay");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(
            raw.line("HGETALL h"),
            Value::Array(vec![Value::bulk("c"), Value::bulk("3")])
        );
    }
}
