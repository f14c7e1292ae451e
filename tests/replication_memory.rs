//! Many replicas cost the memory of one: the stream waits for all of them in one buffer, and who is too slow is cut off.

mod common;

use common::{Raw, Server, info, wait_for};
use gyre::resp::reader::Value;

const MB: usize = 1024 * 1024;
const VALUE: usize = 64 * 1024;
const REPLICAS: usize = 10;

/// A line of the primary without its end.
fn line(raw: &mut Raw) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") || line == b"\n" {
        if line == b"\n" {
            line.clear();
        }
        line.extend(raw.read_bytes(1));
    }
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

/// A replica that goes on where the first one began.
fn replica(server: &Server, id: &str, offset: u64) -> Raw {
    let mut raw = server.raw();
    raw.send(format!("PSYNC {id} {}\r\n", offset + 1).as_bytes());
    assert!(line(&mut raw).starts_with("+CONTINUE"));
    raw
}

/// Writes so many bytes over the same key.
fn write(client: &mut Raw, bytes: usize) {
    let value = vec![b'v'; VALUE];
    for _ in 0..bytes / VALUE {
        let answer = client.run(&[&b"SET"[..], b"key", &value]);
        assert_eq!(answer, Value::Simple("OK".into()));
    }
}

fn figure(client: &mut Raw, name: &str) -> usize {
    info(client, name).parse().expect("a number")
}

/// Bytes of the stream from an offset to where it is now; read them, and they are the same for all.
fn drain(replicas: &mut [Raw], bytes: usize) {
    let mut first = None;
    for raw in replicas {
        let stream = raw.read_bytes(bytes);
        match &first {
            None => first = Some(stream),
            Some(first) => assert!(stream == *first, "the same bytes for all"),
        }
    }
}

#[test]
fn ten_replicas_share_one_buffer_and_the_slowest_is_cut_off() {
    let server = Server::with(&[
        "--repl-diskless-sync-delay",
        "0",
        "--repl-backlog-size",
        "1mb",
        "--repl-ping-replica-period",
        "3600",
        "--client-output-buffer-limit",
        "replica 20mb 0 0",
    ]);
    let mut client = server.raw();
    // The first one makes the stream known; the others go on with it, and it leaves.
    let mut first = server.raw();
    first.send(b"PSYNC ? -1\r\n");
    let answer = line(&mut first);
    let words: Vec<&str> = answer.split(' ').collect();
    let (id, begin) = (words[1], words[2].parse::<u64>().expect("an offset"));
    let mut replicas: Vec<Raw> = (0..REPLICAS).map(|_| replica(&server, id, begin)).collect();
    drop(first);
    wait_for("ten replicas", || {
        figure(&mut client, "connected_slaves") == REPLICAS
    });
    write(&mut client, VALUE);
    let before = figure(&mut client, "used_memory");
    let offset = |client: &mut Raw| figure(client, "master_repl_offset") - begin as usize;

    // None of them reads: what the system's buffers do not take waits once.
    write(&mut client, 16 * MB);
    let waiting = figure(&mut client, "mem_total_replication_buffers");
    let grown = figure(&mut client, "used_memory").saturating_sub(before);
    assert!((4 * MB..18 * MB).contains(&waiting), "{waiting}");
    assert!(grown < 20 * MB, "{grown}");
    assert!(figure(&mut client, "mem_clients_slaves") < 20 * MB);

    // Nine of them read everything, at different times; the last one nothing.
    let written = offset(&mut client);
    drain(&mut replicas[..5], written);
    write(&mut client, MB);
    let more = offset(&mut client) - written;
    drain(&mut replicas[5..9], written);
    drain(&mut replicas[..9], more);
    assert_eq!(figure(&mut client, "connected_slaves"), REPLICAS);
    assert!(figure(&mut client, "mem_total_replication_buffers") >= 4 * MB);

    // It is cut off at its limit, and what was kept for it goes.
    for _ in 0..8 {
        let written = offset(&mut client);
        write(&mut client, 2 * MB);
        let more = offset(&mut client) - written;
        drain(&mut replicas[..9], more);
    }
    wait_for("its end", || {
        figure(&mut client, "connected_slaves") == REPLICAS - 1
    });
    assert_eq!(
        figure(&mut client, "client_output_buffer_limit_disconnections"),
        1
    );
    wait_for("the memory back", || {
        figure(&mut client, "mem_total_replication_buffers") < 3 * MB
    });
    let grown = figure(&mut client, "used_memory").saturating_sub(before);
    assert!(grown < 5 * MB, "{grown}");
}
