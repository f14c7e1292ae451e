//! TLS connections over streams that cut, stop, end and lie.

use super::*;
use crate::system::rng::Rng;
use crate::system::tls::testing::{Anybody, Authority, Files};
use crate::system::tls::{ClientAuth, KeyFiles, TlsContext, TlsOptions};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// One direction of a connection: a socket's buffers in between, with its edges.
#[derive(Default)]
struct Wire {
    bytes: VecDeque<u8>,
    /// Bytes that fit.
    room: usize,
    /// It ends behind them.
    ended: bool,
    /// It is broken behind them.
    reset: bool,
    /// Nobody is there to take any.
    refuses: bool,
    /// Something came since the reader was told.
    came: bool,
    /// There was no room, and the writer waits for some.
    is_waited_for: bool,
    /// There is room again since the writer was told.
    has_room: bool,
    /// All bytes that were written.
    passed: u64,
}

/// An end of a connection.
struct End {
    incoming: Rc<RefCell<Wire>>,
    outgoing: Rc<RefCell<Wire>>,
    rng: Rng,
    /// A read or write takes so many bytes at most.
    most: usize,
}

impl Read for End {
    /// What a socket does: less than was asked for only where nothing is left.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.incoming.borrow_mut();
        let len = wire.bytes.len().min(room.len());
        if len == 0 && !room.is_empty() {
            return match wire.ended {
                _ if wire.reset => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
                true => Ok(0),
                false => Err(io::Error::from(io::ErrorKind::WouldBlock)),
            };
        }
        for (to, from) in room.iter_mut().zip(wire.bytes.drain(..len)) {
            *to = from;
        }
        if wire.is_waited_for {
            wire.is_waited_for = false;
            wire.has_room = true;
        }
        Ok(len)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.outgoing.borrow_mut();
        if wire.refuses {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        let room = wire.room.saturating_sub(wire.bytes.len());
        if room == 0 {
            wire.is_waited_for = true;
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        let most = 1 + self.rng.index(self.most);
        let len = bytes.len().min(room).min(most);
        wire.bytes.extend(&bytes[..len]);
        wire.passed += len as u64;
        wire.came = true;
        Ok(len)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A side of a connection as the seam and those above it have it: served by edges, and by what reads say is left.
struct Side {
    tls: TlsConnection,
    end: End,
    buffers: Buffers,
    to_send: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    /// Reading is to go on though no edge tells it.
    more: bool,
    /// Poll has told of the end.
    reads_on: bool,
    turn: u64,
    /// Something is to be written, and no edge is waited for.
    may_write: bool,
    ended: bool,
    failed: Option<String>,
}

impl Side {
    /// What poll does, and then those above: whether anything was done.
    fn turn(&mut self) -> bool {
        let came = std::mem::take(&mut self.end.incoming.borrow_mut().came);
        let has_room = std::mem::take(&mut self.end.outgoing.borrow_mut().has_room);
        if came {
            let wire = self.end.incoming.borrow();
            self.reads_on |= wire.ended || wire.reset;
        }
        let broke_off = self.tls.take_broken_off();
        if self.failed.is_some() {
            return false;
        }
        if !self.tls.is_open() {
            if came || has_room || broke_off {
                match self.tls.handshake(&mut self.end, &mut self.buffers) {
                    Ok(done) => {
                        self.may_write = done;
                        self.more = done;
                    }
                    Err(error) => self.failed = Some(error.to_string()),
                }
            }
            return came || has_room || broke_off || self.more;
        }
        if has_room {
            let _ = self.tls.flush(&mut self.end);
            self.may_write |= self.tls.outgoing.is_empty();
        }
        let reads = came || self.more || broke_off;
        if reads {
            self.read();
        }
        let writes = self.may_write && self.sent < self.to_send.len();
        if writes {
            self.write();
        }
        reads || writes || has_room
    }

    fn read(&mut self) {
        let len = 1 + self.end.rng.index(40_000);
        let mut room = vec![0; len];
        self.turn += 1;
        let turn = Turn {
            number: self.turn,
            reads_on: self.reads_on,
        };
        match self
            .tls
            .read(&mut self.end, &mut self.buffers, &mut room, turn)
        {
            Ok(Received { len: 0, .. }) => {
                self.ended = true;
                self.more = false;
            }
            Ok(Received { len, more }) => {
                self.received.extend(&room[..len]);
                self.more = more;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.more = false,
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    fn write(&mut self) {
        let rest = &self.to_send[self.sent..];
        let cut = self.end.rng.index(rest.len() + 1);
        let cuts = [&rest[..cut / 2], &rest[cut / 2..cut], &rest[cut..]];
        let slices = cuts.map(IoSlice::new);
        match self.tls.write(&mut self.end, &mut self.buffers, &slices) {
            Ok(len) => self.sent += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.may_write = false,
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    /// The invariants on what is kept.
    fn check(&self) {
        let tls = &self.tls;
        assert!(tls.held.len() <= MOST_HELD, "{}", tls.held.len());
        assert!(
            tls.plain.len() <= 2 * READ + MOST_HELD,
            "{}",
            tls.plain.len()
        );
        let most = BATCH + 8 * 1024;
        assert!(tls.outgoing.len() <= most, "{}", tls.outgoing.len());
    }
}

struct Fixture {
    _dir: tempfile::TempDir,
    contexts: Vec<TlsContext>,
}

/// Contexts of TLS 1.3 and 1.2, whose clients show certificates.
fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path(), "authority");
    // What `openssl x509 -req` makes is of version 1.
    let files = [
        authority.issue("server", &[]),
        authority.issue_version_1("old"),
    ];
    let of = |protocols: &str, Files { certificate, key }: &Files| {
        let own = KeyFiles {
            certificate: Some(certificate.clone()),
            key: Some(key.clone()),
            passphrase: None,
        };
        let options = TlsOptions {
            own,
            authorities_file: Some(authority.file.clone()),
            client_auth: ClientAuth::Yes,
            protocols: protocols.to_owned(),
            caches_sessions: true,
            sessions: 10,
            session_timeout_s: 300,
            ..TlsOptions::default()
        };
        options.build().expect("a context")
    };
    let contexts = files
        .iter()
        .flat_map(|files| ["TLSv1.3", "TLSv1.2"].map(|protocols| of(protocols, files)))
        .collect();
    Fixture {
        _dir: dir,
        contexts,
    }
}

/// A connection's two sides, with so many bytes to send each and buffers of so many bytes in between.
fn pair(context: &TlsContext, seed: u64, lengths: [usize; 2], room: usize) -> [Side; 2] {
    let wire = || {
        let wire = Wire {
            room,
            came: true,
            ..Wire::default()
        };
        Rc::new(RefCell::new(wire))
    };
    let (there, back) = (wire(), wire());
    let server = TlsConnection::accepted(Arc::clone(&context.server)).expect("a server");
    let name = ServerName::try_from("localhost").expect("a name");
    let client = TlsConnection::connecting(Arc::clone(&context.client), name).expect("a client");
    let mut rng = Rng::new(seed);
    let mut side = |tls, incoming: &Rc<RefCell<Wire>>, outgoing: &Rc<RefCell<Wire>>, len| {
        let mut to_send = vec![0; len];
        rng.fill(&mut to_send);
        let most = [50, 100_000][rng.index(2)];
        Side {
            tls,
            end: End {
                incoming: Rc::clone(incoming),
                outgoing: Rc::clone(outgoing),
                rng: Rng::new(rng.next_u64()),
                most: 1 + rng.index(most),
            },
            buffers: Buffers::default(),
            to_send,
            sent: 0,
            received: Vec::new(),
            more: false,
            reads_on: false,
            turn: 0,
            may_write: false,
            ended: false,
            failed: None,
        }
    };
    [
        side(client, &back, &there, lengths[0]),
        side(server, &there, &back, lengths[1]),
    ]
}

/// Turns both sides until neither has anything to do.
fn run(sides: &mut [Side; 2]) {
    let mut idle = 0;
    for turn in 0..2_000_000 {
        let side = &mut sides[turn % 2];
        idle = if side.turn() { 0 } else { idle + 1 };
        side.check();
        if idle > 4 {
            return;
        }
    }
    panic!("it does not come to an end");
}

/// Every edge is told once, so whatever is forgotten stays behind for ever.
#[test]
fn all_bytes_arrive_whatever_is_cut_and_nothing_is_kept_behind() {
    let fixture = fixture();
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let context = &fixture.contexts[seed as usize % fixture.contexts.len()];
        let mut length = || {
            let most = [0, 100, 20_000, 300_000][rng.index(4)];
            rng.index(most + 1)
        };
        let lengths = [length(), length()];
        let room = [1, 100, 5_000, 70_000, 10_000_000][rng.index(5)];
        let mut sides = pair(context, seed, lengths, room);
        run(&mut sides);
        let [client, server] = &sides;
        for (from, to) in [(client, server), (server, client)] {
            assert_eq!(from.failed, None, "seed {seed}");
            assert_eq!(from.sent, from.to_send.len(), "seed {seed}, room {room}");
            assert!(from.to_send == to.received, "seed {seed}");
            let tls = &to.tls;
            let kept = [
                tls.held.capacity(),
                tls.plain.capacity(),
                tls.outgoing.capacity(),
            ];
            assert_eq!(kept, [0, 0, 0], "seed {seed}");
        }
        // An announced end is one, and the other direction goes on.
        let [client, server] = &mut sides;
        client.tls.close(&mut client.end);
        server.to_send.extend(b"more");
        server.may_write = true;
        run(&mut sides);
        let [client, server] = &sides;
        assert!(server.ended && server.failed.is_none(), "seed {seed}");
        assert_eq!(client.received, server.to_send);
    }
}

/// Bytes count as written once they are encrypted: they go out with the next edges, also behind the end, and before that
/// no others are taken.
#[test]
fn what_the_stream_does_not_take_goes_out_later_and_nothing_else_before() {
    let fixture = fixture();
    for context in &fixture.contexts {
        let mut sides = pair(context, 7, [0, 0], 1_000_000);
        run(&mut sides);
        let [client, server] = &mut sides;
        client.end.incoming.borrow_mut().room = 3_000;
        server.end.most = 100_000;
        server.to_send = vec![b'x'; 1_000_000];
        server.may_write = true;
        server.write();
        assert!(server.sent > 0 && server.sent <= BATCH, "{}", server.sent);
        let sent = server.sent;
        for _ in 0..2 {
            server.write();
            assert_eq!((server.sent, server.may_write), (sent, false));
        }
        // Nothing more is written, and it is closed.
        server.to_send.truncate(sent);
        assert!(!server.tls.close(&mut server.end));
        run(&mut sides);
        let [client, server] = &sides;
        assert_eq!(client.received, server.to_send);
        assert!(client.ended && client.failed.is_none());
    }
}

/// However fast the peer reads, the loop has its bound on what is written in a turn.
#[test]
fn a_write_takes_no_more_than_its_bound() {
    let fixture = fixture();
    let mut sides = pair(&fixture.contexts[0], 11, [0, 0], usize::MAX);
    run(&mut sides);
    let [_, server] = &mut sides;
    server.end.most = usize::MAX;
    server.to_send = vec![b'x'; 10 * MOST_WRITTEN];
    server.write();
    assert_eq!(server.sent, MOST_WRITTEN);
}

#[test]
fn an_end_that_is_not_announced_is_an_error() {
    let fixture = fixture();
    let mut sides = pair(&fixture.contexts[0], 8, [100, 0], 1_000_000);
    run(&mut sides);
    let [client, server] = &mut sides;
    assert_eq!(server.received, client.to_send);
    server.end.incoming.borrow_mut().ended = true;
    server.end.incoming.borrow_mut().came = true;
    server.turn();
    assert_eq!(server.failed.as_deref(), Some("unexpected end of file"));
}

/// Whoever speaks something else is not answered in TLS.
#[test]
fn plain_text_is_refused_in_silence() {
    let fixture = fixture();
    for text in [
        &b"PING\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\0",
    ] {
        let [_, mut server] = pair(&fixture.contexts[0], 9, [0, 0], 1_000_000);
        server.end.incoming.borrow_mut().bytes.extend(text);
        server.turn();
        let failed = server.failed.expect("a reason");
        assert!(failed.contains("wrong version number"), "{failed}");
        assert!(server.end.outgoing.borrow().bytes.is_empty());
    }
}

/// A server that cannot speak with a client says so before it has said anything else, and speaks TLS all the same.
#[test]
fn an_alert_that_comes_first_is_told() {
    let fixture = fixture();
    let [mut client, _] = pair(&fixture.contexts[0], 14, [0, 0], 1_000_000);
    client.turn();
    {
        let mut wire = client.end.incoming.borrow_mut();
        wire.bytes.extend([ALERT_RECORD, 3, 3, 0, 2, 2, 70]);
        wire.came = true;
    }
    client.turn();
    let failed = client.failed.expect("a reason");
    assert_eq!(failed, "received fatal alert: ProtocolVersion");
}

/// In TLS 1.3 a client is done with its handshake before the server has looked at its certificate. The server says why it
/// closes, and whoever writes next finds the connection broken.
#[test]
fn the_alert_of_a_peer_that_has_closed_is_told_by_a_write() {
    let (fixture, elsewhere) = (fixture(), fixture());
    let mut sides = pair(&fixture.contexts[0], 15, [0, 0], 1_000_000);
    let strict = Arc::clone(&elsewhere.contexts[0].server);
    sides[1].tls = TlsConnection::accepted(strict).expect("a server");
    // Whom it connects to does not matter here.
    let name = ServerName::try_from("localhost").expect("a name");
    let trusting = Arc::new(trusting(&fixture.contexts[0].client));
    sides[0].tls = TlsConnection::connecting(trusting, name).expect("a client");
    let [client, server] = &mut sides;
    while server.failed.is_none() {
        if !client.tls.is_open() {
            client.turn();
        }
        server.turn();
    }
    assert!(client.tls.is_open() && client.failed.is_none());
    client.end.outgoing.borrow_mut().refuses = true;
    client.to_send = b"PING".to_vec();
    client.write();
    let failed = client.failed.as_deref().expect("a reason");
    // Both authorities have one name, so that it is the signature that is wrong.
    assert_eq!(failed, "received fatal alert: DecryptError");
}

/// A client that does not ask who the server is.
fn trusting(config: &rustls::ClientConfig) -> rustls::ClientConfig {
    let mut config = config.clone();
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(Anybody::new()));
    config
}

/// Has new keys used for what a side sends, which the peer is told by a record without a plain byte.
fn update_keys(side: &mut Side) {
    let mut sink = Sink {
        room: &mut [],
        filled: 0,
        came: 0,
        plain: &mut side.tls.plain,
        outgoing: &mut side.tls.outgoing,
    };
    with_session!(&mut side.tls.session, it => {
        let status = it.process_tls_records(&mut []);
        let Ok(ConnectionState::WriteTraffic(traffic)) = status.state else {
            panic!("nothing can be written");
        };
        traffic.refresh_traffic_keys().expect("new keys");
        while let (_, Step::Again) = handle(it.process_tls_records(&mut []), &mut sink) {}
    });
    side.send_bytes(b"");
}

impl Side {
    /// Sends a record of its own for each byte.
    fn send_bytes(&mut self, bytes: &[u8]) {
        self.end.most = usize::MAX;
        let mut output = std::mem::take(&mut self.tls.outgoing);
        for byte in bytes {
            let what = Send::Plain(std::slice::from_ref(byte));
            self.tls.send(&what, &mut output).expect("it is open");
        }
        self.end.write_all(&output).expect("room");
    }
}

/// An end on the edge of bytes that come to nothing is found, by a read that no edge tells: without it the connection would
/// stay open for ever.
#[test]
fn an_end_behind_what_yields_no_plain_byte_is_found() {
    let fixture = fixture();
    for (is_reset, what) in [false, true]
        .into_iter()
        .flat_map(|it| ["part", "keys", "part behind a byte", "nothing"].map(|what| (it, what)))
    {
        let mut sides = pair(&fixture.contexts[0], 12, [10, 0], usize::MAX);
        run(&mut sides);
        let [client, server] = &mut sides;
        match what {
            "part" => {
                client.send_bytes(b"x");
                let mut wire = server.end.incoming.borrow_mut();
                wire.bytes.truncate(7);
            }
            "keys" => {
                for _ in 0..3 {
                    update_keys(client);
                }
            }
            "part behind a byte" => {
                client.send_bytes(b"xy");
                server.end.incoming.borrow_mut().bytes.pop_back();
            }
            _ => {}
        }
        {
            let mut wire = server.end.incoming.borrow_mut();
            assert_eq!(wire.bytes.is_empty(), what == "nothing");
            (wire.came, wire.ended, wire.reset) = (true, true, is_reset);
        }
        while server.turn() {}
        let failed = server.failed.as_deref().unwrap_or("nothing");
        let error = match is_reset {
            true => io::ErrorKind::ConnectionReset,
            false => io::ErrorKind::UnexpectedEof,
        };
        let expected = io::Error::from(error).to_string();
        assert_eq!(failed, expected, "{what}, reset: {is_reset}");
    }
}

/// One read that yields nothing has the others served before the next. No edge tells of what may be left, so it is told
/// that there may be something.
#[test]
fn reads_without_a_byte_hold_nobody_up() {
    let fixture = fixture();
    let mut sides = pair(&fixture.contexts[0], 10, [0, 0], usize::MAX);
    run(&mut sides);
    let [client, server] = &mut sides;
    let mut read = |client: &mut Side, bytes: &[u8]| {
        update_keys(client);
        client.send_bytes(bytes);
        let Side {
            tls, end, buffers, ..
        } = &mut *server;
        let turn = Turn {
            number: 1,
            reads_on: true,
        };
        let read = tls.read(end, buffers, &mut [0; 10], turn);
        let read = read.map(|it| it.len).map_err(|it| it.kind());
        (read, tls.take_broken_off())
    };
    assert_eq!(read(client, b""), (Err(io::ErrorKind::WouldBlock), true));
    assert_eq!(read(client, b"x"), (Ok(1), false));
}

/// A turn decrypts about a thousand records for a connection and no more, though they have a byte each, and those that are
/// left come in the next turns without an edge.
#[test]
fn the_records_of_a_turn_are_bounded_whatever_they_hold() {
    let fixture = fixture();
    for context in &fixture.contexts {
        let mut sides = pair(context, 13, [0, 0], usize::MAX);
        run(&mut sides);
        let [client, server] = &mut sides;
        let bytes = vec![b'x'; 10_000];
        client.send_bytes(&bytes);
        let Side { tls, end, .. } = server;
        let mut room = vec![0; 256 * 1024];
        let (mut all, mut turns) = (0, 0);
        while all < bytes.len() {
            server.turn += 1;
            turns += 1;
            assert!(turns < 100, "it does not go on");
            let turn = Turn {
                number: server.turn,
                reads_on: false,
            };
            let mut in_turn = 0;
            while let Ok(received) = tls.read(end, &mut server.buffers, &mut room, turn) {
                in_turn += received.len;
                if !received.more {
                    break;
                }
            }
            all += in_turn;
            assert!(in_turn <= 1100, "{in_turn}");
            assert!(all == bytes.len() || tls.take_broken_off());
        }
        assert!(turns >= 9, "{turns}");
    }
}

/// A session is resumed once its client comes again, if there is a cache.
#[test]
fn a_client_that_comes_again_goes_on_with_its_session() {
    let fixture = fixture();
    for context in &fixture.contexts {
        let mut config = (*context.client).clone();
        config.resumption = rustls::client::Resumption::in_memory_sessions(4);
        let config = Arc::new(config);
        let mut kinds = Vec::new();
        for seed in 0..2 {
            let mut sides = pair(context, seed, [10, 10], 1_000_000);
            let name = ServerName::try_from("localhost").expect("a name");
            sides[0].tls = TlsConnection::connecting(Arc::clone(&config), name).expect("a client");
            run(&mut sides);
            let [client, server] = &sides;
            assert_eq!(client.received, server.to_send);
            // Who it is, is known all the same.
            assert!(server.tls.peer_certificate().is_some());
            let kind = with_session!(&server.tls.session, it => it.handshake_kind());
            kinds.push(format!("{:?}", kind.expect("it is done")));
        }
        assert_eq!(kinds, ["Full", "Resumed"]);
    }
}

/// What is done to bytes on their way.
fn break_something(rng: &mut Rng, wire: &mut Wire) {
    let len = wire.bytes.len();
    match rng.index(8) {
        0 => wire.bytes.truncate(rng.index(len + 1)),
        1 => wire.ended = true,
        2 => {
            // A record of any type, version and length.
            let mut head = [20 + rng.index(6) as u8, 3, rng.index(5) as u8, 0, 0];
            rng.fill(&mut head[3..]);
            if rng.below(2) == 0 {
                head[3] = 0;
            }
            let mut body = vec![0; rng.index(300)];
            rng.fill(&mut body);
            let at = if rng.below(2) == 0 { 0 } else { len };
            let rest = wire.bytes.split_off(at);
            wire.bytes.extend(head);
            wire.bytes.extend(body);
            wire.bytes.extend(rest);
        }
        3 => {
            // Renegotiation, as those who know no better ask for it: a handshake's first message again.
            wire.bytes.extend([22, 3, 3, 0, 4, 0, 0, 0, 0]);
        }
        4 => {
            let copy: Vec<u8> = wire.bytes.iter().copied().collect();
            wire.bytes.extend(copy);
        }
        5 => {
            let mut noise = vec![0; rng.index(100_000)];
            rng.fill(&mut noise);
            wire.bytes.extend(noise);
        }
        _ if len > 0 => {
            for _ in 0..1 + rng.index(3) {
                wire.bytes[rng.index(len)] ^= 1 << rng.index(8);
            }
        }
        _ => {}
    }
    wire.came = true;
}

/// Broken bytes at any point of a connection: no panic, nothing kept without bound, no end of turns, and no byte that
/// the other side has not sent. `GYRE_FUZZ_INPUTS` says for how many connections.
#[test]
fn broken_bytes_break_the_connection_and_nothing_else() {
    let inputs = std::env::var("GYRE_FUZZ_INPUTS");
    let inputs = inputs.map_or(400, |it| it.parse().expect("a number"));
    let fixture = fixture();
    let mut failed = 0_u64;
    for seed in 0..inputs {
        let mut rng = Rng::new(seed ^ 0x71e5);
        let context = &fixture.contexts[rng.index(fixture.contexts.len())];
        let lengths = [rng.index(30_000), rng.index(30_000)];
        let room = [50, 5_000, 1_000_000][rng.index(3)];
        let mut sides = pair(context, seed, lengths, room);
        let breaks_at = rng.index(60);
        for turn in 0..400 {
            let side = &mut sides[turn % 2];
            side.turn();
            side.check();
            let mut wire = side.end.outgoing.borrow_mut();
            if turn >= breaks_at && rng.below(4) == 0 && wire.bytes.len() < 200_000 {
                break_something(&mut rng, &mut wire);
            }
            drop(wire);
            if sides.iter().all(|side| side.failed.is_some()) {
                break;
            }
        }
        let [client, server] = &sides;
        for (from, to) in [(client, server), (server, client)] {
            let len = to.received.len();
            assert!(
                from.to_send.get(..len) == Some(&to.received[..]),
                "seed {seed}"
            );
            failed += u64::from(to.failed.is_some());
        }
    }
    assert!(failed > inputs / 2, "{failed} of {inputs}");
}

/// What is kept for a connection counts, so that whoever makes a server keep much is found out.
#[test]
fn what_is_kept_is_counted() {
    let fixture = fixture();
    let mut sides = pair(&fixture.contexts[0], 16, [0, 0], 1_000_000);
    run(&mut sides);
    let [client, server] = &mut sides;
    let idle = server.tls.memory_bytes();
    assert!((2_000..6_000).contains(&idle), "{idle}");
    // Part of a record.
    client.to_send = vec![b'x'; 16_000];
    client.end.most = usize::MAX;
    client.write();
    server.end.incoming.borrow_mut().bytes.pop_back();
    server.read();
    assert!(server.received.is_empty());
    let kept = server.tls.memory_bytes() - idle;
    assert!((14_000..100_000).contains(&kept), "{kept}");
    // What the peer does not take.
    server.end.outgoing.borrow_mut().room = 0;
    let before = server.tls.memory_bytes();
    server.to_send = vec![b'y'; 16_000];
    server.write();
    while server.sent == 0 {
        server.write();
    }
    let waits = server.tls.memory_bytes() - before;
    assert!((1..100_000).contains(&waits), "{waits}");
    assert_eq!(server.tls.outgoing.capacity(), waits);
}

/// What a connection takes that is open and idle, in memory: docs/architecture.md tells it.
#[test]
fn an_idle_connection_keeps_no_buffers() {
    assert!(
        size_of::<TlsConnection>() <= 4096,
        "{}",
        size_of::<TlsConnection>()
    );
}
