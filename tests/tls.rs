//! TLS over real sockets: who is let in, that all arrives whatever is large or slow, that files may change while the server
//! runs, and that nobody else waits for those who shake hands.

mod common;
#[path = "common/tls.rs"]
mod encrypted;
#[path = "common/memory.rs"]
mod memory;

use common::{Raw, Server, info, skips, text, wait_for};
use encrypted::{Certificates, Files, Secure, client_config, free_port};
use gyre::resp::reader::Value;
use memory::has_in_memory;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn ok() -> Value {
    Value::Simple("OK".to_owned())
}

fn refused(value: Value) -> String {
    match value {
        Value::Error(text) => String::from_utf8(text).expect("text"),
        other => panic!("{other:?}"),
    }
}

fn der(path: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(path)
        .expect("a certificate")
        .as_ref()
        .to_vec()
}

#[test]
fn commands_run_over_each_protocol_and_what_is_large_arrives() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&[]);
    let mut raw = server.raw();
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let line = format!("CONFIG SET tls-protocols {protocol}");
        assert_eq!(raw.line(&line), ok());
        let mut secure = Secure::connect(port, certificates.config()).expect("it is let in");
        let spoken = secure.stream.conn.protocol_version().expect("one");
        assert_eq!(format!("{spoken:?}").replace('_', "."), protocol);
        // A pipeline of many small requests.
        let mut pipeline = Vec::new();
        for n in 0..20_000 {
            write!(pipeline, "SET key:{n} value:{n}\r\n").expect("a vector");
        }
        secure.send(&pipeline);
        for _ in 0..20_000 {
            assert_eq!(secure.read(), ok());
        }
        // Values larger than any buffer on the way, there and back.
        let value: Vec<u8> = (0..16_000_000_u32)
            .map(|n| (n.wrapping_mul(7) >> 3) as u8)
            .collect();
        assert_eq!(secure.run(&[b"SET", b"large", &value]), ok());
        assert!(secure.line("GET large") == Value::Bulk(value.clone()));
        assert!(raw.line("GET large") == Value::Bulk(value));
    }
    assert_eq!(raw.run(&["CONFIG", "SET", "tls-protocols", ""]), ok());
    let mut secure = Secure::connect(port, certificates.config()).expect("it is let in");
    let page = text(secure.line("INFO server"));
    assert!(
        page.contains(&format!("listener1:name=tls,bind=127.0.0.1,port={port}")),
        "{page}"
    );
    let own = secure.stream.sock.local_addr().expect("an address");
    let list = text(secure.line("CLIENT LIST"));
    assert!(
        list.contains(&format!("addr={own} laddr=127.0.0.1:{port}")),
        "{list}"
    );
    assert!(server.log().contains("Ready to accept connections tls"));
}

#[test]
fn clients_show_certificates_as_the_directive_says() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&[]);
    let mut raw = server.raw();
    let elsewhere = Certificates::new();
    let received = |raw: &mut Raw| {
        let received = info(raw, "total_connections_received");
        received.parse::<u64>().expect("a number")
    };
    let before = received(&mut raw);
    let authority = certificates.authority.file.as_path();
    let with = |own: Option<&Files>| client_config(Some(authority), own);
    // (What a stranger shows is trusted by nobody here.)
    for (mode, nothing, strange) in [
        ("yes", false, false),
        ("optional", true, false),
        ("no", true, true),
    ] {
        assert_eq!(
            raw.line(&format!("CONFIG SET tls-auth-clients {mode}")),
            ok()
        );
        let is_let_in = |own| Secure::connect(port, with(own)).is_ok();
        assert!(is_let_in(Some(&certificates.client)), "{mode}");
        assert_eq!(is_let_in(None), nothing, "{mode}");
        assert_eq!(is_let_in(Some(&elsewhere.client)), strange, "{mode}");
    }
    // The client does not trust the server.
    let other = client_config(Some(&elsewhere.authority.file), Some(&certificates.client));
    Secure::connect(port, other).expect_err("another authority");
    let log = server.log();
    assert!(
        log.contains(
            "Error accepting a client connection: peer sent no certificates (addr=127.0.0.1:"
        ),
        "{log}"
    );
    assert!(log.contains(&format!(" laddr=127.0.0.1:{port})")), "{log}");
    assert!(
        log.contains("connection: invalid peer certificate: "),
        "{log}"
    );
    // None of those was a client.
    let clients = received(&mut raw) - before;
    assert_eq!(clients, 6);
}

#[test]
fn who_speaks_something_else_is_refused_and_told_once() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&[]);
    let mut plain = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    plain.write_all(b"PING\r\n").expect("it reads");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    wait_for("the line", || server.log().contains("wrong version number"));
    assert_eq!(server.log().matches("Error accepting").count(), 1);
    // The other way round the server takes the handshake for a request that makes no sense.
    let mut lost = Secure::begin(server.port, certificates.config());
    let patience = Some(Duration::from_millis(500));
    lost.stream
        .sock
        .set_read_timeout(patience)
        .expect("a limit");
    lost.stream.read(&mut [0; 10]).expect_err("no TLS there");
    assert_eq!(server.raw().line("PING"), Value::Simple("PONG".into()));
    Secure::connect(port, certificates.config()).expect("it is let in");
    // A client that goes in the middle of its handshake is one whose handshake has failed.
    let mut half = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    half.write_all(&[22, 3, 1, 2, 0, 1]).expect("it reads");
    drop(half);
    wait_for("the line", || {
        server.log().contains("the peer has closed the connection")
    });
}

#[test]
fn certificates_change_without_dropping_anybody() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&[]);
    let mut raw = server.raw();
    let mut first = Secure::connect(port, certificates.config()).expect("it is let in");
    assert_eq!(first.certificate(), der(&certificates.server.certificate));
    let second = certificates.authority.issue("second", &[]);
    let set = |files: &Files| {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        format!("CONFIG SET tls-cert-file {certificate} tls-key-file {key}")
    };
    // Through the connection itself.
    assert_eq!(first.line(&set(&second)), ok());
    assert_eq!(first.line("PING"), Value::Simple("PONG".into()));
    let shown = |certificates: &Certificates| {
        let secure = Secure::connect(port, certificates.config()).expect("it is let in");
        secure.certificate()
    };
    assert_eq!(shown(&certificates), der(&second.certificate));
    // What does not fit changes nothing.
    for line in [
        format!(
            "CONFIG SET tls-key-file {}",
            certificates.server.key.display()
        ),
        "CONFIG SET tls-cert-file /nowhere".to_owned(),
        "CONFIG SET tls-ca-cert-file /nowhere".to_owned(),
        "CONFIG SET tls-protocols TLSv1.1".to_owned(),
        "CONFIG SET tls-ciphers UNKNOWN".to_owned(),
        "CONFIG SET tls-ciphersuites UNKNOWN".to_owned(),
        "CONFIG SET tls-groups UNKNOWN".to_owned(),
        "CONFIG SET tls-dh-params-file /nowhere".to_owned(),
    ] {
        let error = refused(raw.line(&line));
        assert!(
            error.ends_with("Unable to update TLS configuration. Check server logs."),
            "{error}"
        );
    }
    assert!(server.log().contains("key values mismatch"));
    assert_eq!(shown(&certificates), der(&second.certificate));
    // Files that change under their names.
    assert_eq!(raw.line("CONFIG SET tls-auto-reload-interval 1"), ok());
    std::fs::write(&second.key, "half of a key").expect("a file");
    wait_for("the complaint", || {
        server
            .log()
            .contains("TLS files have changed and could not be read again")
    });
    assert_eq!(shown(&certificates), der(&second.certificate));
    let old = der(&second.certificate);
    certificates.authority.issue("second", &[]);
    let new = der(&second.certificate);
    assert_ne!(old, new);
    wait_for("the new certificate", || shown(&certificates) == new);
    assert_eq!(first.line("PING"), Value::Simple("PONG".into()));
    assert_eq!(first.certificate(), der(&certificates.server.certificate));
}

#[test]
fn ports_change_between_plain_and_tls() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&["--protected-mode", "no"]);
    let mut secure = Secure::connect(port, certificates.config()).expect("it is let in");
    let plain = server.port;
    let swap = format!("CONFIG SET port {port} tls-port {plain}");
    assert_eq!(secure.line(&swap), ok());
    let mut raw = Raw::over(TcpStream::connect(("127.0.0.1", port)).expect("a connection"));
    assert_eq!(raw.line("PING"), Value::Simple("PONG".into()));
    let mut other = Secure::connect(plain, certificates.config()).expect("it is let in");
    assert_eq!(other.line("CONFIG SET port 0"), ok());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(text(other.line("INFO server")).contains(&format!("tcp_port:{plain}")));
    // Those who were there stay.
    assert_eq!(secure.line("PING"), Value::Simple("PONG".into()));
    assert_eq!(
        other.line(&format!("CONFIG SET tls-port 0 port {port}")),
        ok()
    );
    assert!(TcpStream::connect(("127.0.0.1", plain)).is_err());
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let taken = listener.local_addr().expect("its address").port();
    let error = refused(other.line(&format!("CONFIG SET tls-port {taken}")));
    assert!(
        error.ends_with("Unable to listen on this port. Check server logs."),
        "{error}"
    );
    drop(listener);
}

/// What a client does not read is kept for it, and others are served meanwhile.
#[test]
fn a_slow_reader_gets_all_and_keeps_nobody_waiting() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&[]);
    let mut raw = server.raw();
    let value = "x".repeat(1_000_000);
    raw.run(&["SET", "key", &value]);
    let mut slow = Secure::connect(port, certificates.config()).expect("it is let in");
    slow.send("GET key\r\n".repeat(60).as_bytes());
    wait_for("the output", || {
        let list = text(raw.line("CLIENT LIST"));
        let most = list
            .split([' ', '\n'])
            .filter_map(|word| word.strip_prefix("omem=")?.parse::<u64>().ok());
        most.max().expect("a client") > 20_000_000
    });
    let mut other = Secure::connect(port, certificates.config()).expect("it is let in");
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(other.line("PING"), Value::Simple("PONG".into()));
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    for _ in 0..60 {
        assert!(slow.read() == Value::Bulk(value.clone().into_bytes()));
    }
    assert_eq!(slow.line("PING"), Value::Simple("PONG".into()));
}

#[test]
fn an_end_of_sending_is_one_and_a_cut_one_ends_all() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&[]);
    let mut raw = server.raw();
    raw.run(&["SET", "key", &"x".repeat(3_000_000)]);
    let mut secure = Secure::connect(port, certificates.config()).expect("it is let in");
    secure.send(b"GET key\r\nPING\r\n");
    secure.end_sending();
    assert!(matches!(secure.read(), Value::Bulk(bytes) if bytes.len() == 3_000_000));
    assert_eq!(secure.read(), Value::Simple("PONG".into()));
    // The server announces its end as well.
    assert_eq!(secure.try_read(), Err("the end".to_owned()));
    // One that is told to go has its answers first.
    let mut secure = Secure::connect(port, certificates.config()).expect("it is let in");
    secure.send(b"GET key\r\nQUIT\r\n");
    // It is closed before all is out.
    std::thread::sleep(Duration::from_millis(300));
    assert!(matches!(secure.read(), Value::Bulk(bytes) if bytes.len() == 3_000_000));
    assert_eq!(secure.read(), ok());
    assert_eq!(secure.try_read(), Err("the end".to_owned()));
    // The same for one that ends without a word, also with part of a record behind what is whole. Nothing is kept open.
    for part in [&b""[..], &[23, 3, 3, 0, 40, 1, 2]] {
        let mut secure = Secure::connect(port, certificates.config()).expect("it is let in");
        secure.send(b"GET key\r\nPING\r\n");
        let socket = &mut secure.stream.sock;
        socket.write_all(part).expect("it reads");
        socket.shutdown(std::net::Shutdown::Write).expect("an end");
        assert!(matches!(secure.read(), Value::Bulk(bytes) if bytes.len() == 3_000_000));
        assert_eq!(secure.read(), Value::Simple("PONG".into()));
        assert_eq!(secure.try_read(), Err("the end".to_owned()));
    }
    // Nobody waits for a key who is gone, announced or not.
    let mut secure = Secure::connect(port, certificates.config()).expect("it is let in");
    secure.send(b"BLPOP nothing 0\r\n");
    wait_for("the wait", || info(&mut raw, "blocked_clients") == "1");
    drop(secure);
    wait_for("the end of it", || info(&mut raw, "blocked_clients") == "0");
    wait_for("the end of all", || {
        info(&mut raw, "connected_clients") == "1"
    });
}

/// Connections that send nothing take places that are limited, and give them to whoever comes.
#[test]
fn silent_connections_keep_nobody_out() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&["--max-new-tls-connections-per-cycle", "1000"]);
    let mut there = Secure::connect(port, certificates.config()).expect("it is let in");
    let silent: Vec<TcpStream> = (0..400)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).expect("a connection"))
        .collect();
    for _ in 0..200 {
        let begun = Instant::now();
        assert_eq!(there.line("PING"), Value::Simple("PONG".into()));
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    let begun = Instant::now();
    Secure::connect(port, certificates.config()).expect("it is let in");
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    // They were no clients, and none of them had time to be late.
    let mut raw = server.raw();
    assert_eq!(info(&mut raw, "connected_clients"), "2");
    assert!(!server.log().contains("the handshake has taken too long"));
    drop(silent);
}

#[test]
fn a_handshake_that_does_not_end_is_ended() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&[]);
    let mut silent = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let begun = Instant::now();
    let mut answer = Vec::new();
    // While nothing else happens.
    assert_eq!(silent.read_to_end(&mut answer).expect("an end"), 0);
    let elapsed = begun.elapsed();
    assert!(elapsed > Duration::from_secs(9), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(30), "{elapsed:?}");
    assert!(server.log().contains("the handshake has taken too long"));
}

/// A client sends its first request in one piece with the end of its handshake: no edge tells of it by itself.
#[test]
fn what_comes_with_the_end_of_a_handshake_is_read() {
    let certificates = Certificates::new();
    let (_server, port) = certificates.start(&[]);
    let mut secure = Secure::begin(port, certificates.config());
    let session = &mut secure.stream.conn;
    let socket = &mut secure.stream.sock;
    session.write_tls(socket).expect("it reads");
    while session.is_handshaking() {
        session.read_tls(socket).expect("it answers");
        session.process_new_packets().expect("it is let in");
    }
    let mut request = session.writer();
    request.write_all(b"PING\r\n").expect("a buffer");
    let mut all = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut all).expect("a buffer");
    }
    socket.write_all(&all).expect("it reads");
    assert_eq!(secure.read(), Value::Simple("PONG".into()));
}

/// Many at once, all of whom are let in.
#[test]
fn a_crowd_is_let_in() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&[]);
    let config = Arc::new(certificates.config());
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let crowd: Vec<Secure> = (0..20)
                    .map(|_| Secure::begin(port, Arc::clone(&config)))
                    .collect();
                for mut secure in crowd {
                    assert_eq!(secure.line("PING"), Value::Simple("PONG".into()));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("all are let in");
    }
    assert!(
        !server.log().contains("Error accepting"),
        "{}",
        server.log()
    );
}

#[test]
fn sessions_are_resumed_if_they_are_kept() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&[]);
    let mut raw = server.raw();
    let mut kinds = |protocol: &str, caching: &str| {
        let line = format!("CONFIG SET tls-protocols {protocol} tls-session-caching {caching}");
        assert_eq!(raw.line(&line), ok());
        let mut config = certificates.config();
        config.resumption = Resumption::in_memory_sessions(10);
        let config = Arc::new(config);
        [0, 1].map(|_| {
            let secure = Secure::connect(port, Arc::clone(&config)).expect("it is let in");
            format!("{:?}", secure.stream.conn.handshake_kind().expect("one"))
        })
    };
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        assert_eq!(kinds(protocol, "yes"), ["Full", "Resumed"]);
        assert_eq!(kinds(protocol, "no"), ["Full", "Full"]);
    }
}

#[test]
fn a_certificate_may_name_its_user() {
    let certificates = Certificates::new();
    let default = certificates.authority.issue("default", &["urn:nobody"]);
    let by_uri = certificates
        .authority
        .issue("x", &["urn:nobody", "default"]);
    let cut = certificates.authority.issue_version_1("default\0x");
    // No string at all: a name that is nobody's, though a second one would be somebody's.
    let names: [(u8, &[u8]); 2] = [(4, b"default"), (0x0c, b"default")];
    let unreadable = certificates.authority.issue_named("unreadable", &names);
    let directives = ["--requirepass", "secret", "--tls-auth-clients-user", "CN"];
    let (server, port) = certificates.start(&directives);
    let mut raw = server.raw();
    assert_eq!(raw.line("AUTH secret"), ok());
    let answer = |own: &Files| {
        let config = client_config(Some(&certificates.authority.file), Some(own));
        let mut secure = Secure::connect(port, config).expect("it is let in");
        secure.line("PING")
    };
    let pong = Value::Simple("PONG".into());
    assert_eq!(answer(&default), pong);
    assert_eq!(info(&mut raw, "acl_access_denied_tls_cert"), "0");
    for own in [&certificates.client, &cut, &unreadable] {
        assert!(refused(answer(own)).starts_with("NOAUTH"));
    }
    assert_eq!(info(&mut raw, "acl_access_denied_tls_cert"), "3");
    assert_eq!(raw.line("CONFIG SET tls-auth-clients-user uri"), ok());
    assert_eq!(answer(&by_uri), pong);
    assert!(refused(answer(&default)).starts_with("NOAUTH"));
    assert_eq!(raw.line("CONFIG SET tls-auth-clients-user off"), ok());
    assert!(refused(answer(&by_uri)).starts_with("NOAUTH"));
    assert_eq!(info(&mut raw, "acl_access_denied_tls_cert"), "4");
}

/// A server whose only port speaks TLS, as one that follows another over TLS.
#[test]
fn a_replica_follows_its_primary_over_tls() {
    let certificates = Certificates::new();
    let (primary, port) = certificates.start(&["--repl-diskless-sync-delay", "0"]);
    let mut writer = primary.raw();
    let value = "y".repeat(2_000_000);
    writer.run(&["SET", "before", &value]);
    let client = &certificates.client;
    let (certificate, key) = (client.certificate.display(), client.key.display());
    let port_text = port.to_string();
    let (replica, replica_port) = certificates.start(&[
        "--tls-replication",
        "yes",
        "--tls-client-cert-file",
        &certificate.to_string(),
        "--tls-client-key-file",
        &key.to_string(),
        "--replicaof",
        "localhost",
        &port_text,
    ]);
    let mut reader = replica.raw();
    wait_for("the link", || {
        info(&mut reader, "master_link_status") == "up"
    });
    assert!(reader.line("GET before") == Value::Bulk(value.into_bytes()));
    // It listens where it connects to: over TLS.
    let slave = info(&mut writer, "slave0");
    assert!(slave.contains(&format!("port={replica_port},")), "{slave}");
    let more = "z".repeat(3_000_000);
    writer.run(&["SET", "after", &more]);
    assert_eq!(writer.line("WAIT 1 20000"), Value::Integer(1));
    assert!(reader.line("GET after") == Value::Bulk(more.into_bytes()));
    // Whoever else answers there is none to follow.
    let elsewhere = Certificates::new();
    for (name, wrong, right) in [
        ("tls-expected-peer-name", "other.example", "localhost"),
        (
            "tls-ca-cert-file",
            elsewhere.authority.file.to_str().expect("a plain path"),
            certificates.authority.file.to_str().expect("a plain path"),
        ),
    ] {
        assert_eq!(reader.run(&["CONFIG", "SET", name, wrong]), ok());
        let refusals = || replica.log().matches("invalid peer certificate").count();
        let before = refusals();
        assert_eq!(writer.line("CLIENT KILL TYPE replica"), Value::Integer(1));
        wait_for("the failure", || refusals() > before);
        assert_eq!(info(&mut reader, "master_link_status"), "down");
        assert_eq!(reader.run(&["CONFIG", "SET", name, right]), ok());
        wait_for("the link", || {
            info(&mut reader, "master_link_status") == "up"
        });
    }
    // A primary that speaks none.
    let plain = format!("REPLICAOF 127.0.0.1 {}", primary.port);
    assert_eq!(reader.line(&plain), ok());
    wait_for("the failure", || {
        replica
            .log()
            .matches("Error condition on socket for SYNC")
            .count()
            >= 2
    });
    assert_eq!(reader.line(&format!("REPLICAOF 127.0.0.1 {port}")), ok());
    wait_for("the link", || {
        info(&mut reader, "master_link_status") == "up"
    });
}

/// Of a primary that refuses it a replica said that it spoke no TLS, or that the connection was broken.
#[test]
fn a_replica_tells_what_its_primary_refuses_it_for() {
    let (certificates, elsewhere) = (Certificates::new(), Certificates::new());
    let (primary, port) = certificates.start(&[]);
    let client = &elsewhere.client;
    let (certificate, key) = (client.certificate.display(), client.key.display());
    let (replica, _) = certificates.start(&[
        "--tls-replication",
        "yes",
        "--tls-client-cert-file",
        &certificate.to_string(),
        "--tls-client-key-file",
        &key.to_string(),
        "--replicaof",
        "localhost",
        &port.to_string(),
    ]);
    let tells = |alert: &str| {
        let text = format!("received fatal alert: {alert}");
        wait_for(alert, || replica.log().contains(&text));
    };
    // The two authorities have one name, so that it is the signature that is wrong.
    tells("DecryptError");
    for (server, protocol) in [(&primary, "TLSv1.3"), (&replica, "TLSv1.2")] {
        let line = format!("CONFIG SET tls-protocols {protocol}");
        assert_eq!(server.raw().line(&line), ok());
    }
    tells("ProtocolVersion");
    assert!(!replica.log().contains("does not speak TLS"));
}

/// What a client makes the server keep below its query buffer was seen nowhere.
#[test]
fn what_tls_holds_for_a_client_counts_as_its_memory() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&[]);
    let mut raw = server.raw();
    let held = |raw: &mut Raw, secure: &Secure| -> u64 {
        let address = secure.stream.sock.local_addr().expect("an address");
        let list = text(raw.line("CLIENT LIST"));
        let own = format!(" addr={address} ");
        let line = list.lines().find(|line| line.contains(&own));
        let mut words = line.expect("its line").split(' ');
        let total = words.find_map(|word| word.strip_prefix("tot-mem="));
        total.expect("a figure").parse().expect("a number")
    };
    let mut crowd: Vec<Secure> = (0..10)
        .map(|_| Secure::connect(port, certificates.config()).expect("it is let in"))
        .collect();
    let idle = held(&mut raw, &crowd[0]);
    assert!(idle > 2_000, "{idle}");
    for secure in &mut crowd {
        // A record that is never whole.
        let mut record = vec![23, 3, 3, 0x40, 0];
        record.resize(16_000, 0);
        secure.stream.sock.write_all(&record).expect("it reads");
    }
    wait_for("what is held", || {
        crowd.iter().all(|it| held(&mut raw, it) >= idle + 15_000)
    });
    wait_for("the figure of all", || {
        let all = info(&mut raw, "mem_clients_normal");
        all.parse::<u64>().expect("a number") > 150_000
    });
    assert_eq!(info(&mut raw, "evicted_clients"), "0");
    // As little as can be asked for: 128 KiB.
    assert_eq!(raw.line("CONFIG SET maxmemory-clients 1"), ok());
    wait_for("the eviction", || info(&mut raw, "evicted_clients") != "0");
}

/// The limit was raised for whoever listened for TLS from the start, and for nobody else.
#[test]
fn descriptors_are_had_for_tls_when_it_is_listened_for() {
    let certificates = Certificates::new();
    let server = Server::with(&["--maxclients", "100"]);
    let limited = Command::new("prlimit")
        .args(["--pid", &server.pid().to_string(), "--nofile=140:"])
        .status();
    assert!(limited.expect("prlimit of util-linux").success());
    let limit = || -> u64 {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid()));
        let limits = limits.expect("its limits");
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let mut words = line.expect("a line").split_ascii_whitespace();
        words.nth(3).expect("a figure").parse().expect("a number")
    };
    assert_eq!(limit(), 140);
    let mut raw = server.raw();
    let directives = certificates.directives(free_port()).join(" ");
    let line = format!("CONFIG SET {}", directives.replace("--", ""));
    assert_eq!(raw.line(&line), ok());
    // Those of clients, of the server itself, and of as many handshakes as there may be.
    assert!(limit() >= 100 + 32 + 256, "{}", limit());
}

/// Where no descriptor is free for new connections, those that are there go on, and the log is not filled with it.
#[test]
fn handshakes_go_on_where_no_descriptor_is_free() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&[]);
    let path = format!("/proc/{}/fd", server.pid());
    let files = || std::fs::read_dir(&path).map_or(0, |files| files.count());
    // It may have a file of the system open just when one looks.
    let least = || (0..1000).map(|_| files()).min().unwrap_or(0);
    let before = least();
    let mut waiting: Vec<Secure> = (0..5)
        .map(|_| Secure::begin(port, certificates.config()))
        .collect();
    wait_for("they are accepted", || least() >= before + 5);
    let limited = Command::new("prlimit")
        .args(["--pid", &server.pid().to_string()])
        .arg(format!("--nofile={}:", least()))
        .status();
    assert!(limited.expect("prlimit of util-linux").success());
    let failures = || {
        let log = server.log();
        log.matches("Accepting client connection: Too many open files")
            .count()
    };
    let begun = Instant::now();
    let mut late = Secure::begin(port, certificates.config());
    wait_for("the failure", || failures() > 0);
    for secure in &mut waiting {
        assert_eq!(secure.line("PING"), Value::Simple("PONG".into()));
    }
    let most = begun.elapsed().as_millis() / 100 + 2;
    assert!(failures() as u128 <= most, "{} in {most}", failures());
    drop(waiting.pop());
    assert_eq!(late.line("PING"), Value::Simple("PONG".into()));
}

/// What was written in the last turns was lost with the server, unless the kernel had it.
#[test]
fn the_end_of_the_server_does_not_cut_off_what_is_encrypted() {
    let certificates = Certificates::new();
    let (mut server, port) = certificates.start(&[]);
    let mut raw = server.raw();
    raw.run(&["SET", "key", &"x".repeat(1_000_000)]);
    let mut slow = Secure::connect(port, certificates.config()).expect("it is let in");
    slow.send("GET key\r\n".repeat(60).as_bytes());
    // It waits for its socket.
    wait_for("the output", || {
        text(raw.line("CLIENT LIST")).contains(" events=rw ")
    });
    raw.send(b"SHUTDOWN NOSAVE\r\n");
    assert_eq!(raw.try_read(), None);
    // All are closed in that turn, and what the kernel has no room for is still with the server.
    std::thread::sleep(Duration::from_millis(100));
    let mut room = vec![0; 1_000_000];
    // What was not encrypted is lost, as in Redis what no socket has taken. The end is announced all the same.
    loop {
        match slow.stream.read(&mut room) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(server.wait(), Some(0));
}

/// The text of a key, and what was decoded from it, stayed where they had been read to.
#[test]
#[cfg_attr(
    feature = "sanitizer",
    ignore = "AddressSanitizer maps more memory than can be read, and keeps what was freed"
)]
fn a_key_is_only_where_it_is_signed_with() {
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&["--tls-auto-reload-interval", "1"]);
    let second = certificates.authority.issue("second", &[]);
    let mut raw = server.raw();
    let (certificate, key) = (second.certificate.display(), second.key.display());
    let set = format!("CONFIG SET tls-cert-file {certificate} tls-key-file {key}");
    assert_eq!(raw.line(&set), ok());
    let secure = Secure::connect(port, certificates.config()).expect("it is let in");
    assert_eq!(secure.certificate(), der(&second.certificate));
    for files in [&certificates.server, &second] {
        let text = std::fs::read_to_string(&files.key).expect("a key");
        let line = text.lines().nth(1).expect("a line of it");
        assert!(!has_in_memory(server.pid(), line.as_bytes()), "its text");
        let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
        let PrivateKeyDer::Pkcs8(key) = &key else {
            panic!("a key of another kind");
        };
        // The number itself is what is signed with; here it stands behind the bytes that say what it is.
        let bytes = key.secret_pkcs8_der();
        let number = bytes.windows(2).position(|it| it == [4, 32]);
        let at = number.expect("the number");
        let part = &bytes[at - 3..at + 20];
        assert!(!has_in_memory(server.pid(), part), "its bytes");
    }
    assert!(has_in_memory(
        server.pid(),
        certificate.to_string().as_bytes()
    ));
}

#[test]
fn keys_go_to_other_servers_over_tls_where_the_cluster_speaks_it() {
    let certificates = Certificates::new();
    let (from, _) = certificates.start(&["--tls-cluster", "yes"]);
    let (to, port) = certificates.start(&[]);
    let mut raw = from.raw();
    let value = "v".repeat(1_000_000);
    raw.run(&["SET", "key", &value]);
    assert_eq!(
        raw.line(&format!("MIGRATE 127.0.0.1 {port} key 0 20000")),
        ok()
    );
    assert!(to.raw().line("GET key") == Value::Bulk(value.into_bytes()));
    raw.line("SET other 1");
    let plain = format!("MIGRATE 127.0.0.1 {} other 0 500", to.port);
    let error = refused(raw.line(&plain));
    assert!(error.starts_with("IOERR"), "{error}");
    assert_eq!(raw.line("EXISTS other"), Value::Integer(1));
    assert_eq!(raw.line("CONFIG SET tls-cluster no"), ok());
    assert_eq!(raw.line(&plain), ok());
}

#[test]
fn a_server_that_cannot_speak_tls_as_it_was_asked_to_does_not_start() {
    let certificates = Certificates::new();
    let dir = tempfile::tempdir().expect("a folder");
    let run = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_gyre"))
            .args(["--port", "0", "--save", ""])
            .args(certificates.directives(free_port()))
            .args(more)
            .arg("--dir")
            .arg(dir.path())
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (more, reason) in [
        (["--tls-cert-file", ""], "No tls-cert-file configured!"),
        (
            ["--tls-key-file", "/nowhere"],
            "Failed to load private key: /nowhere: No such file",
        ),
        (
            ["--tls-ca-cert-file", ""],
            "Either tls-ca-cert-file or tls-ca-cert-dir",
        ),
        (
            ["--tls-protocols", "TLSv1"],
            "does not speak older protocols",
        ),
        (
            ["--tls-ciphers", "RC4-MD5"],
            "Failed to configure ciphers: RC4-MD5",
        ),
    ] {
        let log = run(&more);
        assert!(log.contains(reason), "{log}");
        assert!(
            log.contains("Failed to configure TLS. Check logs for more info."),
            "{log}"
        );
    }
}

/// A recording holds what passes the seam: plain bytes, and a replay needs no certificates.
#[test]
fn what_was_recorded_over_tls_is_replayed_without() {
    let certificates = Certificates::new();
    let (mut server, port) = certificates.start(&["--record", "recording"]);
    let mut secure = Secure::connect(port, certificates.config()).expect("it is let in");
    for n in 0..300 {
        assert_eq!(secure.line(&format!("SET key:{n} value:{n}")), ok());
    }
    let second = certificates.authority.issue("second", &[]);
    let (certificate, key) = (second.certificate.display(), second.key.display());
    let set = format!("CONFIG SET tls-cert-file {certificate} tls-key-file {key}");
    assert_eq!(secure.line(&set), ok());
    refused(secure.line("CONFIG SET tls-cert-file /nowhere"));
    let Value::Simple(digest) = secure.line("DEBUG DIGEST") else {
        panic!("no digest")
    };
    let mut raw = server.raw();
    raw.send(b"SHUTDOWN NOSAVE\r\n");
    assert_eq!(server.wait(), Some(0));
    let file = server.dir.path().join("recording");
    drop(certificates);
    let output = Command::new(env!("CARGO_BIN_EXE_gyre"))
        .arg("--replay")
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let bytes = std::fs::read(&file).expect("a file");
    let has = |part: &[u8]| bytes.windows(part.len()).any(|it| it == part);
    assert!(has(b"SET key:299 value:299"));
    assert!(told.contains(&digest) || !told.contains("digest"), "{told}");
}

/// The programs that people have: Redis's client with OpenSSL, and keys as that writes them.
#[test]
fn redis_s_own_client_connects_and_sealed_keys_are_read() {
    for tool in ["redis-cli", "openssl"] {
        let there = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output();
        if !there.is_ok_and(|it| it.status.success()) {
            skips::without_oracle(tool);
            return;
        }
    }
    let certificates = Certificates::new();
    let (server, port) = certificates.start(&[]);
    let mut raw = server.raw();
    let sealed = |name: &str, args: &[&str]| {
        let path = certificates.dir.path().join(name);
        let status = Command::new("openssl")
            .args(args)
            .arg("-in")
            .arg(&certificates.server.key)
            .arg("-out")
            .arg(&path)
            .args(["-passout", "pass:1234"])
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("openssl").success(), "{args:?}");
        path
    };
    let paths = [
        sealed("traditional.key", &["ec", "-aes256"]),
        sealed("new.key", &["pkcs8", "-topk8"]),
    ];
    let cli = |args: &[&str]| {
        let output = Command::new("redis-cli")
            .args(["-p", &port.to_string(), "--tls", "--cacert"])
            .arg(&certificates.authority.file)
            .arg("--cert")
            .arg(&certificates.client.certificate)
            .arg("--key")
            .arg(&certificates.client.key)
            .args(args)
            .output()
            .expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for path in paths {
        let set = format!("CONFIG SET tls-key-file {}", path.display());
        let error = refused(raw.line(&set));
        assert!(error.contains("Unable to update TLS"), "{error}");
        assert_eq!(raw.line("CONFIG SET tls-key-file-pass 1234"), ok());
        assert_eq!(raw.line(&set), ok());
        assert_eq!(cli(&["ping"]), "PONG");
        let plain = format!(
            "CONFIG SET tls-key-file {}",
            certificates.server.key.display()
        );
        assert_eq!(raw.line(&plain), ok());
        assert_eq!(raw.run(&["CONFIG", "SET", "tls-key-file-pass", ""]), ok());
    }
    assert_eq!(raw.line("CONFIG SET tls-protocols TLSv1.2"), ok());
    assert_eq!(cli(&["set", "key", "value"]), "OK");
    assert_eq!(cli(&["get", "key"]), "value");
    assert!(
        !server.log().contains("1234"),
        "no passphrase is in the log"
    );
}

/// Asks for a page, and says what came before the connection ended.
fn page(mut stream: impl Read + Write, path: &str) -> Result<String, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let asked = stream.write_all(request.as_bytes());
    let answered = asked.and_then(|()| stream.read_to_string(&mut answer));
    answered.map_err(|error| error.to_string())?;
    Ok(answer)
}

/// The pages are over TLS only where they are asked to be, by the same certificates and rules as clients.
#[test]
fn the_pages_are_over_tls_where_they_are_asked_to_be() {
    let certificates = Certificates::new();
    let http = free_port();
    let (server, _) = certificates.start(&["--http-port", &http.to_string()]);
    let mut raw = server.raw();
    let plain = |path: &str| {
        let stream = TcpStream::connect(("127.0.0.1", http)).expect("a connection");
        page(stream, path)
    };
    let secure = |own: Option<&Files>, path: &str| {
        let config = client_config(Some(&certificates.authority.file), own);
        page(Secure::begin(http, config).stream, path)
    };
    let client = Some(&certificates.client);
    let is_page = |answer: Result<String, String>| {
        answer.is_ok_and(|it| it.starts_with("HTTP/1.1 200") && it.ends_with("# EOF\n"))
    };
    assert!(is_page(plain("/metrics")));
    assert!(!is_page(secure(client, "/metrics")));
    assert_eq!(raw.line("CONFIG SET http-tls yes"), ok());
    assert!(is_page(secure(client, "/metrics")));
    assert!(!is_page(plain("/metrics")));
    let whole = secure(client, "/").expect("the page");
    assert!(whole.trim_end().ends_with("</html>"), "{}", whole.len());
    assert!(secure(None, "/metrics").is_err(), "no certificate");
    assert_eq!(raw.line("CONFIG SET tls-auth-clients no"), ok());
    assert!(is_page(secure(None, "/metrics")));
    assert_eq!(raw.line("CONFIG SET http-tls no"), ok());
    assert!(is_page(plain("/metrics")));
    // Nothing else speaks TLS.
    assert_eq!(raw.line("CONFIG SET tls-port 0"), ok());
    assert_eq!(raw.line("CONFIG SET http-port 0 http-tls yes"), ok());
    let line = format!("CONFIG SET http-port {http}");
    assert_eq!(raw.line(&line), ok());
    assert!(is_page(secure(None, "/metrics")));
    // Without certificates there are no such pages, and those that there are stay.
    let bare = Server::with(&["--http-port", &free_port().to_string()]);
    let error = refused(bare.raw().line("CONFIG SET http-tls yes"));
    assert!(error.contains("Unable to update TLS"), "{error}");
    assert_eq!(
        bare.raw().line("CONFIG GET http-tls"),
        Value::Array(vec![
            Value::Bulk(b"http-tls".to_vec()),
            Value::Bulk(b"no".to_vec())
        ])
    );
}
