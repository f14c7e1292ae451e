//! Handshakes over real sockets, on a clock that the tests move: who keeps a place, who loses it, and what it is for.

use super::*;
use crate::system::tls::testing::{Authority, Files};
use crate::system::tls::{ClientAuth, KeyFiles, UserField};
use mio::{Events, Poll};
use rustls::{ClientConfig, ClientConnection};
use std::io::{Read, Write};
use std::net::TcpStream as StdStream;

const LISTENER: Token = Token(1);

/// A listener, with all of the seam that it needs.
struct Fixture {
    poll: Poll,
    tls: MioTls,
    clock: TickClock,
    authority: Authority,
    files: Files,
    options: TlsOptions,
    address: SocketAddr,
    next: usize,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(dir.path(), "authority");
        let files = authority.issue("server", &[]);
        let options = TlsOptions {
            own: KeyFiles {
                certificate: Some(files.certificate.clone()),
                key: Some(files.key.clone()),
                passphrase: None,
            },
            authorities_file: Some(authority.file.clone()),
            client_auth: ClientAuth::Optional,
            accepts_per_turn: 1000,
            ..TlsOptions::default()
        };
        let poll = Poll::new().expect("an epoll instance");
        let mut tls = MioTls::default();
        tls.configure(poll.registry(), &options)
            .expect("certificates");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut listener = TcpListener::bind(any).expect("a listener");
        let address = listener.local_addr().expect("its address");
        register(poll.registry(), &mut listener, LISTENER).expect("it is registered");
        tls.listen(LISTENER, listener).expect("it is taken over");
        Fixture {
            poll,
            tls,
            clock: TickClock::new(),
            authority,
            files,
            options,
            address,
            next: 100,
            _dir: dir,
        }
    }

    /// One poll, and what it tells: whether the listener has something to be done.
    fn turn(&mut self, timeout: Duration) -> bool {
        let timeout = self.tls.patience(Some(timeout), &mut self.clock);
        let mut events = Events::with_capacity(64);
        self.poll.poll(&mut events, timeout).expect("a poll");
        self.tls.turn_begins(self.clock.now_ns());
        for event in &events {
            if !self.tls.note(self.poll.registry(), event) && event.token().0 == LISTENER.0 {
                self.tls.note_listener(LISTENER);
            }
        }
        self.is_told()
    }

    /// What is told without a poll.
    fn is_told(&mut self) -> bool {
        let mut ready = Vec::new();
        self.tls.tell(self.poll.registry(), &mut ready);
        ready.iter().any(|it| it.token == LISTENER)
    }

    fn accept(&mut self) -> io::Result<Established> {
        self.next += 1;
        let token = Token(self.next);
        let registry = self.poll.registry();
        self.tls.accept(registry, &mut self.clock, LISTENER, token)
    }

    /// Turns until something holds, and accepts meanwhile.
    fn until(&mut self, holds: impl Fn(&Fixture, &[Established]) -> bool) -> Vec<Established> {
        let mut made = Vec::new();
        for _ in 0..2_000 {
            if holds(self, &made) {
                return made;
            }
            if self.turn(Duration::from_millis(20)) {
                while let Ok(established) = self.accept() {
                    made.push(established);
                }
            }
        }
        panic!("it never holds");
    }

    fn connect(&self) -> StdStream {
        StdStream::connect(self.address).expect("a connection")
    }

    /// A client with the first bytes that it sends.
    fn client(&self) -> (ClientConnection, Vec<u8>) {
        let config: Arc<ClientConfig> = self.options.build().expect("a context").client;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut client = ClientConnection::new(config, name).expect("a client");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("a vector");
        (client, hello)
    }

    /// A connection that has sent so many bytes of its first message, which have been looked at.
    fn begun(&mut self, sent: usize) -> (StdStream, Vec<u8>) {
        let (_, hello) = self.client();
        let mut stream = self.connect();
        let before = self.begun_ones();
        stream.write_all(&hello[..sent]).expect("it reads");
        self.until(|it, _| it.begun_ones() > before);
        (stream, hello)
    }

    fn begun_ones(&self) -> usize {
        let all = self.tls.handshakes.iter();
        all.filter(|(_, it)| it.begun.is_some()).count()
    }
}

fn is_closed(stream: &mut StdStream) -> bool {
    stream.set_nonblocking(true).expect("an option");
    let read = stream.read(&mut [0; 100]);
    !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// They had all places, for as long as a second each, and whoever came later waited.
#[test]
fn a_connection_that_is_silent_makes_room_and_one_that_is_not_does_not() {
    let mut fixture = Fixture::new();
    let (mut first, _) = fixture.begun(3);
    let mut silent: Vec<StdStream> = (0..2 * MOST_HANDSHAKES)
        .map(|_| fixture.connect())
        .collect();
    fixture.until(|it, _| !it.tls.listeners[0].has_more && it.tls.is_full());
    while fixture.turn(Duration::ZERO) {
        fixture.accept().err().expect("nobody is done");
    }
    assert_eq!(fixture.tls.handshakes.len(), MOST_HANDSHAKES);
    // A silent one costs no more than its place.
    assert_eq!(fixture.begun_ones(), 1);
    assert!(!is_closed(&mut first));
    let (gone, there) = silent.split_at_mut(MOST_HANDSHAKES + 1);
    assert!(gone.iter_mut().all(is_closed));
    assert!(!there.iter_mut().any(is_closed));
    // Bytes that nobody has looked at yet are bytes.
    let (_, hello) = fixture.client();
    there[0].set_nonblocking(false).expect("an option");
    there[0].write_all(&hello[..1]).expect("it reads");
    let _later = fixture.connect();
    fixture.tls.note_listener(LISTENER);
    let _ = fixture.accept();
    assert!(!is_closed(&mut there[0]));
    assert!(is_closed(&mut there[1]));
}

/// Where all places are taken by those who have sent something, they have a second.
#[test]
fn whoever_stops_in_the_middle_keeps_others_out_for_a_second() {
    let mut fixture = Fixture::new();
    let mut begun: Vec<_> = (0..MOST_HANDSHAKES).map(|_| fixture.begun(3).0).collect();
    let _waits = fixture.connect();
    fixture.until(|it, _| it.tls.is_crowded());
    while fixture.turn(Duration::ZERO) {
        fixture.accept().err().expect("nobody is done");
    }
    assert!(!fixture.turn(Duration::ZERO), "nothing can be done");
    assert!(!begun.iter_mut().any(is_closed));
    fixture.tls.waited_ns += CROWDED_NS;
    assert!(fixture.turn(Duration::ZERO), "there is room");
    assert!(begun.iter_mut().all(is_closed));
    assert_eq!(fixture.tls.handshakes.len(), 0);
}

/// A command that took longer than a handshake may ended all that were under way.
#[test]
fn time_that_the_server_itself_takes_ends_no_handshake() {
    let mut fixture = Fixture::new();
    let (mut stream, _) = fixture.begun(3);
    let before_ns = fixture.tls.waited_ns;
    let now_ns = fixture.clock.now_ns();
    fixture.tls.was_awake(now_ns + 10 * HANDSHAKE_NS);
    assert!(fixture.tls.waited_ns - before_ns <= AWAKE_COUNTED_NS);
    fixture.turn(Duration::ZERO);
    assert!(!is_closed(&mut stream));
    // Time in which the loop sleeps counts.
    fixture
        .tls
        .turn_begins(now_ns + 10 * HANDSHAKE_NS + STEP_NS);
    fixture.is_told();
    assert!(is_closed(&mut stream));
}

/// What has come in time is not too late because nobody has looked.
#[test]
fn what_waits_to_be_read_is_read_before_a_handshake_is_ended() {
    let mut fixture = Fixture::new();
    let (mut idle, _) = fixture.begun(3);
    let (mut stream, hello) = fixture.begun(3);
    fixture.tls.waited_ns += STEP_NS;
    stream.write_all(&hello[3..]).expect("it reads");
    // (Without a poll: no edge has been told.)
    assert!(fixture.is_told(), "there are bytes");
    assert!(is_closed(&mut idle));
    fixture.accept().err().expect("it waits for the client");
    assert_eq!(fixture.begun_ones(), 1);
    // The step begins its time anew.
    fixture.tls.waited_ns += STEP_NS - 1_000_000_000;
    fixture.is_told();
    assert_eq!(fixture.begun_ones(), 1);
    fixture.tls.waited_ns += 1_000_000_000;
    fixture.is_told();
    assert_eq!(fixture.begun_ones(), 0);
}

/// Steps without end are none.
#[test]
fn a_handshake_by_single_bytes_comes_to_its_end() {
    let mut fixture = Fixture::new();
    let (mut stream, hello) = fixture.begun(3);
    let mut steps = 0;
    while fixture.begun_ones() > 0 {
        fixture.tls.waited_ns += STEP_NS / 2;
        stream
            .write_all(&hello[3 + steps..4 + steps])
            .expect("it reads");
        steps += 1;
        assert!(steps < 20, "it never ends");
        // Until the byte was looked at.
        let stepped_ns = fixture.tls.waited_ns;
        fixture.until(|it, _| {
            let mut all = it.tls.handshakes.iter();
            all.all(|(_, it)| it.stepped_ns >= stepped_ns)
        });
    }
    let most = (HANDSHAKE_NS / (STEP_NS / 2)) as usize;
    assert!((most - 1..=most).contains(&steps), "{steps}");
}

/// Where no descriptor was free for new connections, those whose descriptor was there already waited with them.
#[test]
fn nobody_who_is_in_waits_for_a_descriptor() {
    let mut fixture = Fixture::new();
    let (mut client, hello) = fixture.client();
    let mut stream = fixture.connect();
    stream.write_all(&hello).expect("it reads");
    fixture.until(|it, _| it.begun_ones() == 1);
    fixture.tls.listeners[0].fails_with = Some(libc::EMFILE);
    let _late = fixture.connect();
    let thread = std::thread::spawn(move || {
        client.complete_io(&mut stream).expect("it is let in");
        stream
    });
    let mut failures = 0;
    let established = loop {
        fixture.turn(Duration::from_millis(20));
        match fixture.accept() {
            Ok(established) => break established,
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) => failures += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(failures < 2_000, "it is never done");
    };
    assert!(established.socket.tls.is_open());
    // Behind it the failure is told.
    let error = fixture.accept().err().expect("none is free");
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    drop(thread.join().expect("it is let in"));
}

/// Whoever began before a rule counted became a client without it.
#[test]
fn a_handshake_ends_where_other_rules_count_and_not_where_a_certificate_is_renewed() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let elsewhere = Authority::new(elsewhere.path(), "elsewhere");
    let changes: [&dyn Fn(&mut TlsOptions); 4] = [
        &|it| it.client_auth = ClientAuth::Yes,
        &|it| it.user_field = UserField::CommonName,
        &|it| it.authorities_file = Some(elsewhere.file.clone()),
        &|it| it.protocols = "TLSv1.3".to_owned(),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut fixture = Fixture::new();
        let (mut begun, _) = fixture.begun(3);
        let mut silent = fixture.connect();
        fixture.until(|it, _| it.tls.handshakes.len() == 2);
        let mut options = fixture.options.clone();
        let renewed = fixture.authority.issue("renewed", &[]);
        options.own.certificate = Some(renewed.certificate);
        options.own.key = Some(renewed.key);
        let registry = fixture.poll.registry();
        let admits_others = fixture.tls.configure(registry, &options);
        assert_eq!(admits_others, Ok(false), "{at}");
        assert!(!is_closed(&mut begun), "{at}");
        change(&mut options);
        let admits_others = fixture.tls.configure(registry, &options);
        assert_eq!(admits_others, Ok(true), "{at}");
        // One that has sent nothing has begun nothing.
        assert!(is_closed(&mut begun) && !is_closed(&mut silent), "{at}");
    }
}

/// The log had the same line at each look.
#[test]
fn files_that_cannot_be_read_are_told_of_once() {
    let mut fixture = Fixture::new();
    let (mut begun, _) = fixture.begun(3);
    let registry = fixture.poll.registry();
    let key = std::fs::read(&fixture.files.key).expect("a key");
    let mut look = || fixture.tls.reload(registry, &fixture.options);
    assert_eq!(look(), Reloaded::Nothing);
    std::fs::write(&fixture.files.key, "half of a key").expect("a file");
    assert_eq!(
        [look(), look(), look()],
        [Reloaded::Failed, Reloaded::Nothing, Reloaded::Nothing]
    );
    std::fs::write(&fixture.files.key, "another half of a key").expect("a file");
    assert_eq!([look(), look()], [Reloaded::Failed, Reloaded::Nothing]);
    std::fs::write(&fixture.files.key, key).expect("a file");
    assert_eq!([look(), look()], [Reloaded::Done(false), Reloaded::Nothing]);
    assert!(!is_closed(&mut begun));
}

/// A socket that had something to send was closed at once, where as many as may be lingered.
#[test]
fn the_oldest_of_those_that_linger_makes_room() {
    let mut fixture = Fixture::new();
    let registry = fixture.poll.registry();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let mut peers = Vec::new();
    for at in 0..MOST_LINGERING + 1 {
        let stream = StdStream::connect(address).expect("a connection");
        stream.set_nonblocking(true).expect("an option");
        let mut stream = TcpStream::from_std(stream);
        let (peer, _) = listener.accept().expect("the connection");
        let patience = Some(Duration::from_secs(20));
        peer.set_read_timeout(patience).expect("a time limit");
        peers.push(peer);
        let token = mio::Token(1000 + at);
        registry
            .register(&mut stream, token, INTERESTS)
            .expect("it is registered");
        let unsent = vec![at as u8; 100];
        fixture
            .tls
            .lingering
            .put(registry, stream, unsent, at as u64);
    }
    assert_eq!(fixture.tls.lingering.len(), MOST_LINGERING);
    let mut all = Vec::new();
    peers[0].read_to_end(&mut all).expect("an end");
    assert_eq!(all, b"", "the first one is lost");
    while fixture.tls.lingering.len() > 0 {
        fixture.turn(Duration::from_secs(10));
    }
    for (at, peer) in peers.iter_mut().enumerate().skip(1) {
        peer.read_to_end(&mut all).expect("an end");
        assert_eq!(all, vec![at as u8; 100]);
        all.clear();
    }
}
