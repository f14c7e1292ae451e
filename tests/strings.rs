//! Strings and keys on a real server: over raw bytes, and through the `redis` crate.

mod common;

use common::Server;
use gyre::resp::reader::Value;
use redis::Commands;

/// The answers' bytes, not only their values: what is on the wire is what a client lives with.
#[test]
fn the_bytes_on_the_wire() {
    let server = Server::start();
    let mut raw = server.raw();
    let exchange: &[(&str, &[u8])] = &[
        ("SET k v\r\n", b"+OK\r\n"),
        ("GET k\r\n", b"$1\r\nv\r\n"),
        ("GET none\r\n", b"$-1\r\n"),
        ("SET k w NX\r\n", b"$-1\r\n"),
        ("MGET k none\r\n", b"*2\r\n$1\r\nv\r\n$-1\r\n"),
        ("INCR n\r\n", b":1\r\n"),
        ("GET n\r\n", b"$1\r\n1\r\n"),
        (
            "INCR k\r\n",
            b"-ERR value is not an integer or out of range\r\n",
        ),
        ("TYPE k\r\n", b"+string\r\n"),
        ("GETRANGE none 0 -1\r\n", b"$0\r\n\r\n"),
        (
            "SCAN 0 COUNT 100 MATCH k\r\n",
            b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n",
        ),
        ("KEYS x*\r\n", b"*0\r\n"),
    ];
    for (request, answer) in exchange {
        raw.send(request.as_bytes());
        let got = raw.read_bytes(answer.len());
        assert_eq!(
            got,
            *answer,
            "{request} gave {:?}",
            String::from_utf8_lossy(&got)
        );
    }
}

/// Values around every border at which they are kept or sent differently come back as they went in.
#[test]
fn values_of_every_size_come_back() {
    let server = Server::start();
    let mut raw = server.raw();
    let borders = [
        0, 1, 43, 44, 45, 63, 64, 127, 255, 256, 1023, 4096, 16_383, 16_384, 32_767, 32_768, 65_536,
    ];
    let sizes = borders
        .iter()
        .flat_map(|size: &usize| [size.saturating_sub(1), *size, size + 1]);
    for size in sizes.chain([1 << 20, 5_000_000]) {
        let value: Vec<u8> = (0..size).map(|at| (at * 7 + size) as u8).collect();
        let key = format!("key:{size}");
        assert_eq!(
            raw.run(&[b"SET", key.as_bytes(), &value]),
            Value::Simple("OK".into())
        );
        assert_eq!(raw.run(&["STRLEN", &key]), Value::Integer(size as i64));
        assert!(
            raw.run(&["GET", &key]) == Value::bulk(&value),
            "{size} bytes"
        );
        assert_eq!(
            raw.run(&["APPEND", &key, "x"]),
            Value::Integer(size as i64 + 1)
        );
        assert_eq!(raw.run(&["GETRANGE", &key, "-1", "-1"]), Value::bulk("x"));
    }
}

/// A pipeline is answered in its order, however it is cut.
#[test]
fn a_pipeline_cut_into_pieces() {
    let server = Server::start();
    let mut raw = server.raw();
    let mut bytes = Vec::new();
    for number in 0..300 {
        let key = format!("k{number}");
        bytes.extend(
            format!(
                "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$3\r\n{number:03}\r\n",
                key.len()
            )
            .bytes(),
        );
        bytes.extend(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).bytes());
    }
    for piece in bytes.chunks(97) {
        raw.send(piece);
    }
    for number in 0..300 {
        assert_eq!(raw.read(), Value::Simple("OK".into()));
        assert_eq!(raw.read(), Value::bulk(format!("{number:03}")));
    }
}

#[test]
fn a_reply_that_is_being_sent_is_not_changed() {
    let server = Server::start();
    let mut raw = server.raw();
    let value = vec![b'a'; 3_000_000];
    raw.run(&[b"SET".as_slice(), b"k", &value]);
    // The answer to GET shares the value's buffer while the next command would change it.
    raw.send(b"GET k\r\nSETRANGE k 0 bbbb\r\nAPPEND k c\r\nGET k\r\n");
    assert!(raw.read() == Value::bulk(&value), "the value as it was");
    assert_eq!(raw.read(), Value::Integer(3_000_000));
    assert_eq!(raw.read(), Value::Integer(3_000_001));
    let changed = raw.read();
    let changed = changed.as_bytes().expect("a string");
    assert!(
        changed.starts_with(b"bbbba") && changed.ends_with(b"aac") && changed.len() == 3_000_001
    );
}

#[test]
fn the_redis_crate() -> redis::RedisResult<()> {
    let server = Server::start();
    let mut client = server.client();
    let _: () = client.set("name", "gyre")?;
    assert_eq!(client.get::<_, String>("name")?, "gyre");
    assert_eq!(client.get::<_, Option<String>>("none")?, None);
    let _: () = client.mset(&[("a", 1), ("b", 2)])?;
    assert_eq!(
        client.mget::<_, Vec<Option<i64>>>(&["a", "none", "b"])?,
        [Some(1), None, Some(2)]
    );
    assert_eq!(client.incr::<_, _, i64>("a", 41)?, 42);
    assert_eq!(client.incr::<_, _, f64>("a", 0.5)?, 42.5);
    assert!(client.expire::<_, bool>("a", 100)?);
    assert!((99..=100).contains(&client.ttl::<_, i64>("a")?));
    assert_eq!(client.getrange::<_, String>("name", 1, 2)?, "yr");
    assert!(client.rename_nx::<_, _, bool>("name", "other")?);
    assert_eq!(client.del::<_, i64>(&["a", "b", "none"])?, 2);
    for number in 0..500 {
        let _: () = client.set(format!("scan:{number}"), number)?;
    }
    let mut found: Vec<String> = client
        .scan_match::<_, String>("scan:*")?
        .collect::<redis::RedisResult<_>>()?;
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 500);
    let (old, new): (i64, i64) = redis::pipe()
        .cmd("SET")
        .arg("n")
        .arg(5)
        .ignore()
        .cmd("GET")
        .arg("n")
        .incr("n", 2)
        .query(&mut client)?;
    assert_eq!((old, new), (5, 7));
    Ok(())
}

/// Keys whose time is over are gone for whoever asks, and in the end from memory.
#[test]
fn expired_keys_go() {
    let server = Server::start();
    let mut raw = server.raw();
    for number in 0..200 {
        raw.line(&format!("SET k{number} v PX 20"));
    }
    raw.line("SET stays v");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while raw.line("DBSIZE") != Value::Integer(1) {
        assert!(
            std::time::Instant::now() < deadline,
            "active expiry removes them without being asked"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(raw.line("GET k7"), Value::NullBulk);
    assert_eq!(raw.line("TTL k7"), Value::Integer(-2));
}

/// Databases are apart, for each connection its own choice.
#[test]
fn databases_and_connections() {
    let server = Server::start();
    let (mut first, mut second) = (server.raw(), server.raw());
    first.line("SELECT 3");
    first.line("SET k three");
    assert_eq!(second.line("GET k"), Value::NullBulk);
    second.line("SWAPDB 0 3");
    assert_eq!(second.line("GET k"), Value::bulk("three"));
    assert_eq!(first.line("GET k"), Value::NullBulk);
    second.line("FLUSHALL");
    assert_eq!(second.line("DBSIZE"), Value::Integer(0));
}

/// A string may be `proto-max-bulk-len` long and no longer; what asks for more changes nothing.
#[test]
fn a_string_too_long_is_refused() {
    let server = Server::with(&["--proto-max-bulk-len", "1mb"]);
    let mut raw = server.raw();
    let refused =
        Value::Error(b"ERR string exceeds maximum allowed size (proto-max-bulk-len)".to_vec());
    assert_eq!(raw.line("SETRANGE k 1048576 x"), refused);
    assert_eq!(raw.line("EXISTS k"), Value::Integer(0));
    assert_eq!(raw.line("SETRANGE k 1048575 x"), Value::Integer(1_048_576));
    assert_eq!(raw.line("APPEND k x"), refused);
    assert_eq!(raw.line("STRLEN k"), Value::Integer(1_048_576));
    let lcs = raw.line("LCS k k");
    let text =
        b"ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len".to_vec();
    assert_eq!(lcs, Value::Error(text));
}
