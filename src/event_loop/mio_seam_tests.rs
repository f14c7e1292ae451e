//! Connections by name, and what becomes of bytes when a connection is closed.

use super::*;

fn address_of_nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    listener.local_addr().expect("its address")
}

/// Polls until poll tells of the source.
fn told(seam: &mut MioSeam, token: Token) -> Readiness {
    for _ in 0..1000 {
        let mut ready = Vec::new();
        let patience = Some(Duration::from_secs(10));
        seam.poll(patience, &mut ready).expect("a poll");
        if let Some(told) = ready.into_iter().find(|it| it.token == token) {
            return told;
        }
    }
    panic!("it is never told");
}

/// Whether it is poll that learns of a refusal first or who asks, the next address is tried, and nothing is told of the
/// one before: the loop would take the source for one whose peer has ended.
#[test]
fn a_name_with_several_addresses_is_tried_until_somebody_listens() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let token = Token(0);
    for asks in [false, true] {
        let mut seam = MioSeam::new().expect("an epoll instance");
        // As if a look-up had found these.
        let addresses = vec![address_of_nobody(), address_of_nobody(), address];
        seam.put(token, Socket::Named(Lookup::default()));
        let registered = seam.sockets[0].as_mut().expect("it was put there");
        registered.others = Some(Box::default());
        assert!(registered.begins_named(&seam.poll, token, Ok(addresses)));
        let mut is_made = false;
        while asks && !is_made {
            is_made = match seam.connected(token) {
                Ok(()) => true,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    false
                }
            };
        }
        let told = told(&mut seam, token);
        assert!(told.writable && !told.ended, "{told:?}");
        seam.connected(token).expect("it is connected");
        listener.accept().expect("the connection");
    }
    let mut seam = MioSeam::new().expect("an epoll instance");
    let addresses = vec![address_of_nobody(), address_of_nobody()];
    seam.put(token, Socket::Named(Lookup::default()));
    let registered = seam.sockets[0].as_mut().expect("it was put there");
    registered.others = Some(Box::default());
    registered.begins_named(&seam.poll, token, Ok(addresses));
    assert!(told(&mut seam, token).ended);
    let error = seam.connected(token).expect_err("nobody listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

/// What was taken goes out behind the end, however late the peer reads, and the end is told behind it; also where it is
/// the end of the server, which turns no more.
#[test]
fn what_was_written_over_tls_arrives_though_its_socket_is_closed() {
    for is_end_of_all in [false, true] {
        what_was_written_arrives(is_end_of_all);
    }
}

fn what_was_written_arrives(is_end_of_all: bool) {
    use crate::system::tls::testing::Authority;
    use crate::system::tls::{ClientAuth, KeyFiles};
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path(), "authority");
    let files = authority.issue("server", &[]);
    let options = TlsOptions {
        own: KeyFiles {
            certificate: Some(files.certificate),
            key: Some(files.key),
            passphrase: None,
        },
        authorities_file: Some(authority.file.clone()),
        client_auth: ClientAuth::Yes,
        ..TlsOptions::default()
    };
    let mut seam = MioSeam::new().expect("an epoll instance");
    let (address, listener, token) = (address_of_nobody(), Token(0), Token(1));
    let backlog = ListenOptions { backlog: 1 };
    seam.listen(listener, &ListenAddress::Tls(address), &backlog)
        .expect_err("without certificates");
    seam.configure_tls(&options).expect("certificates");
    seam.listen(listener, &ListenAddress::Tls(address), &backlog)
        .expect("a listener");
    let config = options.build().expect("a context").client;
    let (tell, told_to_read) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let name = "localhost".try_into().expect("a name");
        let session = rustls::ClientConnection::new(config, name).expect("a client");
        let socket = std::net::TcpStream::connect(address).expect("a connection");
        let mut stream = rustls::StreamOwned::new(session, socket);
        stream.write_all(b"hello").expect("it is let in");
        told_to_read.recv().expect("a word");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("an announced end");
        all.len()
    });
    let mut is_accepted = false;
    while !is_accepted {
        told(&mut seam, listener);
        is_accepted = seam.accept(listener, token).is_ok();
    }
    // A socket that is closed with bytes unread resets its connection.
    let mut room = [0; 10];
    while seam.read(token, &mut room).map_or(0, |it| it.len) != 5 {
        told(&mut seam, token);
    }
    let bytes = vec![b'x'; 1_000_000];
    let mut written = 0;
    while let Ok(len) = seam.write(token, &[IoSlice::new(&bytes)]) {
        written += len;
    }
    seam.close(token);
    assert_eq!(seam.tls.lingering.len(), 1);
    tell.send(()).expect("somebody listens");
    if is_end_of_all {
        seam.finish(Duration::from_secs(60));
    }
    while seam.tls.lingering.len() > 0 {
        let patience = Some(Duration::from_secs(10));
        seam.poll(patience, &mut Vec::new()).expect("a poll");
    }
    assert_eq!(reader.join().expect("it has read"), written);
}

#[test]
fn a_host_is_connected_to_by_its_name_and_an_unknown_name_is_told() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    let mut seam = MioSeam::new().expect("an epoll instance");
    let of_host = |host: &str| ConnectAddress::Name {
        host: host.to_owned(),
        port,
        source: None,
        tls: false,
    };
    seam.connect(Token(0), &of_host("localhost"))
        .expect("it begins");
    let error = seam.connected(Token(0)).expect_err("not yet");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let told_of = told(&mut seam, Token(0));
    assert!(told_of.writable && !told_of.ended, "{told_of:?}");
    seam.connected(Token(0)).expect("it is connected");
    seam.connect(Token(1), &of_host("no such name"))
        .expect("it begins");
    assert!(told(&mut seam, Token(1)).ended);
    for _ in 0..2 {
        let error = seam.connected(Token(1)).expect_err("nobody has it");
        assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
    }
    // Closed while it is looked up, its token may be another's when the addresses come.
    seam.connect(Token(2), &of_host("localhost"))
        .expect("it begins");
    assert_eq!(seam.named.len(), 1);
    seam.close(Token(2));
    assert!(seam.named.is_empty());
    // An address needs no look-up.
    seam.connect(Token(3), &of_host("127.0.0.1"))
        .expect("it begins");
    assert!(seam.named.is_empty());
    assert!(!told(&mut seam, Token(3)).ended);
}
