//! The loop over the real system: an echo service that reads with a bound.

use super::*;
use std::collections::HashMap;
use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;

/// Echoes at most `BOUND` bytes of a connection per turn.
#[derive(Default)]
struct Echo {
    bytes: HashMap<Token, usize>,
    reads_in_turn: HashMap<Token, u32>,
    most_reads: u32,
    closed: Vec<Token>,
    woken: u32,
    timers: Vec<TimerId>,
    /// Puts a source on the ready list before it closes it.
    carries_what_it_closes: bool,
}

const BOUND: usize = 8;

impl Service for Echo {
    fn turn_begins(&mut self, _events: &mut EventLoop) {
        self.reads_in_turn.clear();
    }
    fn accepted(&mut self, _events: &mut EventLoop, _listener: Token, accepted: Accepted) {
        let known = self.bytes.insert(accepted.token, 0);
        assert!(
            known.is_none() || self.closed.contains(&accepted.token),
            "a token names one source"
        );
    }
    fn accept_failed(&mut self, _events: &mut EventLoop, _listener: Token, error: &io::Error) {
        panic!("{error}");
    }
    fn readable(&mut self, events: &mut EventLoop, token: Token) -> Progress {
        let reads = self.reads_in_turn.entry(token).or_default();
        *reads += 1;
        self.most_reads = self.most_reads.max(*reads);
        let mut buffer = [0; BOUND];
        match events.read(token, &mut buffer) {
            Ok(Received { len: 0, .. }) => {
                if self.carries_what_it_closes {
                    events.carry(token);
                }
                events.close(token);
                self.closed.push(token);
                Progress::Drained
            }
            Ok(Received { len: n, more }) => {
                *self.bytes.entry(token).or_default() += n;
                events
                    .write(token, &[IoSlice::new(&buffer[..n])])
                    .expect("a small write");
                if more {
                    Progress::MoreLeft
                } else {
                    Progress::Drained
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::Drained,
            Err(error) => panic!("{error}"),
        }
    }
    fn writable(&mut self, _events: &mut EventLoop, _token: Token) {}
    fn timer(&mut self, _events: &mut EventLoop, timer: TimerId) {
        self.timers.push(timer);
    }
    fn woken(&mut self, _events: &mut EventLoop) {
        self.woken += 1;
    }
    fn before_sleep(&mut self, _events: &mut EventLoop) {}
}

/// The seam does not tell which port it was given, so a free one is found first; somebody else may take it meanwhile.
fn free_address() -> std::net::SocketAddr {
    let probe = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    probe.local_addr().expect("its address")
}

fn start() -> (EventLoop, Echo, std::net::SocketAddr) {
    let mut events = EventLoop::new(Box::new(MioSeam::new().expect("an epoll instance")));
    let options = ListenOptions { backlog: 64 };
    loop {
        let address = free_address();
        if events
            .listen(&ListenAddress::Inet(address), &options)
            .is_ok()
        {
            return (events, Echo::default(), address);
        }
    }
}

const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

#[test]
fn what_a_bounded_read_leaves_is_served_in_the_next_turns_without_a_new_edge() {
    let (mut events, mut echo, address) = start();
    let mut peer = TcpStream::connect(address).expect("a connection");
    peer.write_all(&[7; 10 * BOUND + 3]).expect("sent");
    peer.shutdown(std::net::Shutdown::Write)
        .expect("half closed");
    let mut turns_with_leftovers = 0;
    while echo.closed.is_empty() {
        let report = events.turn(&mut echo, PATIENCE).expect("a turn");
        turns_with_leftovers += u32::from(report.carried > 0);
        assert!(report.turn < 1000, "the end was never told");
    }
    assert_eq!(echo.most_reads, 1, "a source is served once in a turn");
    assert!(turns_with_leftovers >= 10);
    let mut back = Vec::new();
    peer.read_to_end(&mut back).expect("the echo");
    assert_eq!(back, [7; 10 * BOUND + 3]);
}

#[test]
fn a_waker_ends_the_sleep() {
    let (mut events, mut echo, _) = start();
    let waker = events.waker();
    let thread = std::thread::spawn(move || waker.wake());
    let start = std::time::Instant::now();
    while echo.woken == 0 {
        events.turn(&mut echo, PATIENCE).expect("a turn");
    }
    assert!(
        start.elapsed() < Duration::from_secs(9),
        "it slept its time out"
    );
    thread.join().expect("the thread ends");
}

#[test]
fn timers_end_the_sleep_and_work_left_behind_prevents_it() {
    let (mut events, mut echo, _) = start();
    let start = std::time::Instant::now();
    let timer = events.set_timer(events.turn_ns() + 20_000_000);
    let cancelled = events.set_timer(events.turn_ns() + 1_000_000);
    events.cancel_timer(cancelled);
    while echo.timers.is_empty() {
        events.turn(&mut echo, PATIENCE).expect("a turn");
    }
    assert_eq!(echo.timers, [timer]);
    assert!(
        start.elapsed() >= Duration::from_millis(15) && start.elapsed() < Duration::from_secs(9)
    );
    events.stay_awake();
    let report = events.turn(&mut echo, PATIENCE).expect("a turn");
    assert!(report.phase_ns[Phase::Sleep as usize] < 5_000_000_000);
}

#[test]
fn tokens_of_closed_sources_are_used_again_after_the_turn() {
    let (mut events, mut echo, address) = start();
    for round in 1..=3 {
        let peer = TcpStream::connect(address).expect("a connection");
        drop(peer);
        while echo.closed.len() < round {
            events.turn(&mut echo, PATIENCE).expect("a turn");
        }
    }
    assert_eq!(echo.closed[0], echo.closed[1]);
    assert_eq!(events.source_count(), 1, "the listener");
}

/// The ready list kept the token of a source that was closed, and whoever had it next was served in its place.
#[test]
fn a_closed_source_leaves_the_ready_list_to_those_who_are_on_it() {
    let (mut events, mut echo, address) = start();
    echo.carries_what_it_closes = true;
    let peer = TcpStream::connect(address).expect("a connection");
    drop(peer);
    while echo.closed.is_empty() {
        events.turn(&mut echo, PATIENCE).expect("a turn");
    }
    let peer = TcpStream::connect(address).expect("a connection");
    let turn = events.turn(&mut echo, PATIENCE).expect("a turn");
    assert_eq!((turn.accepted, turn.carried), (1, 0));
    assert_eq!(echo.bytes.len(), 1, "the newcomer has the token");
    assert!(echo.reads_in_turn.is_empty(), "it has sent nothing");
    drop(peer);
}

/// A listener that had reached its bound was on the ready list and was told of as well: it was accepted from twice in a
/// turn, put on the list twice, and so on.
#[test]
fn a_listener_is_accepted_from_once_in_a_turn() {
    let (mut events, mut echo, address) = start();
    events.set_accepts_per_turn(2);
    let mut peers = Vec::new();
    let mut connect = || peers.push(TcpStream::connect(address).expect("a connection"));
    for _ in 0..10 {
        connect();
    }
    let mut accepted = 0;
    for turn in 0..10 {
        if turn < 5 {
            // While it is on the ready list there is a new edge.
            connect();
        }
        let report = events
            .turn(&mut echo, Some(Duration::ZERO))
            .expect("a turn");
        assert!(report.accepted <= 2 && report.carried <= 1, "{report:?}");
        accepted += report.accepted;
    }
    assert_eq!(accepted, 15);
}

#[test]
fn a_source_that_is_closed_between_two_turns_is_open_no_more() {
    let (mut events, mut echo, _) = start();
    let other = loop {
        let address = ListenAddress::Inet(free_address());
        if let Ok(token) = events.listen(&address, &ListenOptions { backlog: 1 }) {
            break token;
        }
    };
    assert_eq!(events.source_count(), 2);
    events.close(other);
    events.close(other);
    assert_eq!(events.source_count(), 1);
    events
        .turn(&mut echo, Some(Duration::ZERO))
        .expect("a turn");
    assert_eq!(events.source_count(), 1);
}

/// The edge of the last bytes may be that of the end too, and then no other edge will tell of it.
#[test]
fn a_read_of_a_plain_socket_says_more_where_no_edge_will() {
    let mut seam = MioSeam::new().expect("an epoll instance");
    let (listener, token) = (Token(0), Token(1));
    let address = loop {
        let address = free_address();
        let options = ListenOptions { backlog: 4 };
        if seam
            .listen(listener, &ListenAddress::Inet(address), &options)
            .is_ok()
        {
            break address;
        }
    };
    let mut peer = TcpStream::connect(address).expect("a connection");
    let wait = |seam: &mut MioSeam, what: &dyn Fn(&Readiness) -> bool| {
        let mut ready = Vec::new();
        while !ready.iter().any(what) {
            ready.clear();
            seam.poll(PATIENCE, &mut ready).expect("a poll");
            assert!(!ready.is_empty(), "it was never told");
        }
    };
    wait(&mut seam, &|told| told.token == listener);
    seam.accept(listener, token).expect("the connection");
    let mut buffer = [0; 8];
    for (len, more) in [(5, false), (8, true)] {
        peer.write_all(&[7; 8][..len]).expect("sent");
        wait(&mut seam, &|told| told.token == token && told.readable);
        let received = seam.read(token, &mut buffer).expect("bytes");
        assert_eq!(received, Received { len, more });
    }
    let empty = seam.read(token, &mut buffer).expect_err("no bytes");
    assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
    peer.write_all(&[7; 3]).expect("sent");
    drop(peer);
    wait(&mut seam, &|told| told.token == token && told.ended);
    let received = seam.read(token, &mut buffer).expect("bytes");
    assert_eq!(received, Received { len: 3, more: true });
    assert_eq!(seam.read(token, &mut buffer).expect("the end").len, 0);
}

/// A read stops at urgent bytes. What was behind them stayed in the socket until its peer sent more.
#[test]
fn what_is_behind_urgent_bytes_is_read() {
    let (mut events, mut echo, address) = start();
    let mut peer = TcpStream::connect(address).expect("a connection");
    peer.write_all(b"one").expect("sent");
    let urgent = socket2::SockRef::from(&peer).send_out_of_band(b"!");
    assert_eq!(urgent.expect("sent"), 1);
    peer.write_all(b"two").expect("sent");
    peer.set_read_timeout(PATIENCE).expect("a timeout");
    let mut turns = 0;
    let is_all = |echo: &Echo| echo.bytes.values().sum::<usize>() == 6;
    while !is_all(&echo) && turns < 10 {
        events
            .turn(&mut echo, Some(Duration::from_millis(100)))
            .expect("a turn");
        turns += 1;
    }
    assert!(is_all(&echo), "{:?}", echo.bytes);
    let mut back = [0; 6];
    peer.read_exact(&mut back).expect("the echo");
    assert_eq!(&back, b"onetwo");
}

/// The system tells of the failure once. Asked again, before poll had told, it seemed to be under way still.
#[test]
fn a_failure_to_connect_is_told_as_often_as_it_is_asked_for() {
    let mut seam = MioSeam::new().expect("an epoll instance");
    let to = ConnectAddress::Inet(free_address(), None);
    seam.connect(Token(0), &to).expect("it begins");
    let begun = std::time::Instant::now();
    let outcome = |seam: &mut MioSeam| seam.connected(Token(0)).expect_err("refused").kind();
    while outcome(&mut seam) == io::ErrorKind::WouldBlock {
        assert!(begun.elapsed() < Duration::from_secs(10), "it never ends");
        std::thread::yield_now();
    }
    for _ in 0..2 {
        assert_eq!(outcome(&mut seam), io::ErrorKind::ConnectionRefused);
    }
}

/// Connects, says `hello`, and listens until the end.
#[derive(Default)]
struct Caller {
    outcomes: Vec<(Token, Result<(), io::ErrorKind>)>,
    heard: Vec<u8>,
    ended: Vec<Token>,
    told_after_close: bool,
    closed_this_turn: Vec<Token>,
    reused_at_once: bool,
}

impl Caller {
    fn close(&mut self, events: &mut EventLoop, token: Token) {
        events.close(token);
        self.closed_this_turn.push(token);
        self.ended.push(token);
    }
}

impl Service for Caller {
    fn turn_begins(&mut self, _events: &mut EventLoop) {
        self.closed_this_turn.clear();
    }
    fn accepted(&mut self, _events: &mut EventLoop, _listener: Token, _accepted: Accepted) {}
    fn accept_failed(&mut self, _events: &mut EventLoop, _listener: Token, _error: &io::Error) {}
    fn ended(&mut self, _events: &mut EventLoop, token: Token) {
        self.told_after_close |= self.closed_this_turn.contains(&token);
    }
    fn readable(&mut self, events: &mut EventLoop, token: Token) -> Progress {
        let mut buffer = [0; 64];
        match events.read(token, &mut buffer) {
            Ok(Received { len: 0, .. }) => self.close(events, token),
            Ok(received) => {
                self.heard.extend_from_slice(&buffer[..received.len]);
                return if received.more {
                    Progress::MoreLeft
                } else {
                    Progress::Drained
                };
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.close(events, token),
        }
        Progress::Drained
    }
    fn writable(&mut self, events: &mut EventLoop, token: Token) {
        if self.outcomes.iter().any(|(known, _)| *known == token) {
            return;
        }
        match events.connected(token) {
            Ok(()) => {
                self.outcomes.push((token, Ok(())));
                // A peer that has reset the connection meanwhile is told by the next read.
                let _ = events.write(token, &[IoSlice::new(b"hello")]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.outcomes.push((token, Err(error.kind())));
                self.close(events, token);
                // The token stays reserved until the turn is over.
                let other = free_address();
                if let Ok(next) = events.connect(&ConnectAddress::Inet(other, None)) {
                    self.reused_at_once |= next == token;
                    events.close(next);
                }
            }
        }
    }
    fn timer(&mut self, _events: &mut EventLoop, _timer: TimerId) {}
    fn woken(&mut self, _events: &mut EventLoop) {}
    fn before_sleep(&mut self, _events: &mut EventLoop) {}
}

fn turns_until(events: &mut EventLoop, caller: &mut Caller, done: impl Fn(&Caller) -> bool) {
    for _ in 0..1000 {
        if done(caller) {
            return;
        }
        events.turn(caller, PATIENCE).expect("a turn");
    }
    panic!("it was never told");
}

fn caller() -> (EventLoop, Caller) {
    let seam = MioSeam::new().expect("an epoll instance");
    (EventLoop::new(Box::new(seam)), Caller::default())
}

#[test]
fn an_outgoing_connection_is_told_writable_once_it_is_made_and_comes_from_where_it_was_bound() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let (mut events, mut caller) = caller();
    let source = std::net::IpAddr::from([127, 0, 0, 1]);
    let to = ConnectAddress::Inet(address, Some(source));
    let token = events.connect(&to).expect("it begins");
    turns_until(&mut events, &mut caller, |it| !it.outcomes.is_empty());
    assert_eq!(caller.outcomes, [(token, Ok(()))]);
    let (mut peer, from) = listener.accept().expect("the connection");
    assert_eq!(from.ip(), source);
    let mut said = [0; 5];
    peer.read_exact(&mut said).expect("what it says");
    peer.write_all(b"and good bye").expect("sent");
    drop(peer);
    turns_until(&mut events, &mut caller, |it| !it.ended.is_empty());
    assert_eq!((&said, &caller.heard[..]), (b"hello", &b"and good bye"[..]));
    assert_eq!(events.source_count(), 0);
}

#[test]
fn a_refused_connection_is_told_and_its_token_is_free_after_the_turn() {
    let (mut events, mut caller) = caller();
    let to = ConnectAddress::Inet(free_address(), None);
    let token = events.connect(&to).expect("it begins");
    turns_until(&mut events, &mut caller, |it| !it.outcomes.is_empty());
    let refused = io::ErrorKind::ConnectionRefused;
    assert_eq!(caller.outcomes, [(token, Err(refused))]);
    assert!(!caller.told_after_close, "a closed source was told of");
    let ignored = events.totals().ignored;
    assert_eq!(
        ignored, 1,
        "the failure made it readable too, after its close"
    );
    assert!(!caller.reused_at_once, "a token names one source in a turn");
    assert_eq!(events.source_count(), 0);
    // Two were given back: this one, and the one that was begun in the same turn.
    let again = [0, 1].map(|_| events.connect(&to).expect("it begins"));
    assert!(again.contains(&token), "{again:?}");
}

#[test]
fn what_cannot_be_connected_fails_at_once_and_leaves_nothing() {
    let (mut events, _) = caller();
    // An address for documentation is nobody's, so not ours.
    let source = std::net::IpAddr::from([192, 0, 2, 1]);
    let to = ConnectAddress::Inet(free_address(), Some(source));
    let error = events.connect(&to).expect_err("no such address");
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    let to = ConnectAddress::Unix("/nowhere/at.all".into());
    let error = events.connect(&to).expect_err("no such path");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(events.source_count(), 0);
}

/// For Unix sockets nothing is under way: it is made, or there is no room for it.
#[test]
fn a_unix_listener_takes_connections_until_its_queue_is_full() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let address = socket2::SockAddr::unix(&path).expect("a short path");
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let listener = listener.expect("a socket");
    listener.bind(&address).expect("a path");
    listener.listen(0).expect("a listener");
    let (mut events, mut caller) = caller();
    let to = ConnectAddress::Unix(path);
    let token = events.connect(&to).expect("it begins");
    turns_until(&mut events, &mut caller, |it| !it.outcomes.is_empty());
    assert_eq!(caller.outcomes, [(token, Ok(()))]);
    let full = (0..8).find_map(|_| events.connect(&to).err());
    let error = full.expect("the queue is full");
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
}

/// A full queue of a TCP listener is silent: the connection is under way until whoever wants it has lost patience.
#[test]
fn a_connection_that_is_under_way_can_be_closed() {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let listener = listener.expect("a socket");
    listener.bind(&address.into()).expect("a free port");
    listener.listen(0).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let address = address.as_socket().expect("one of the Internet's");
    let (mut events, mut caller) = caller();
    let to = ConnectAddress::Inet(address, None);
    let tokens: Vec<Token> = (0..4)
        .map(|_| events.connect(&to).expect("it begins"))
        .collect();
    for _ in 0..10 {
        let turn = events.turn(&mut caller, Some(Duration::from_millis(5)));
        turn.expect("a turn");
    }
    let made: Vec<Token> = caller.outcomes.iter().map(|(token, _)| *token).collect();
    let mut under_way = tokens.iter().filter(|token| !made.contains(token));
    let silent = *under_way.next().expect("the queue holds fewer");
    let error = events.connected(silent).expect_err("not yet");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    for token in tokens {
        events.close(token);
    }
    let turn = events.turn(&mut caller, Some(Duration::from_millis(1)));
    turn.expect("a turn");
    assert_eq!(events.source_count(), 0);
    assert_eq!(caller.outcomes.len(), made.len(), "nothing was told of it");
}

#[test]
fn a_reset_right_behind_the_connection_is_told_as_its_outcome_or_by_the_next_read() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let (mut events, mut caller) = caller();
    let token = events
        .connect(&ConnectAddress::Inet(address, None))
        .expect("it begins");
    let (peer, _) = listener.accept().expect("the connection");
    let peer = socket2::Socket::from(peer);
    peer.set_linger(Some(Duration::ZERO)).expect("no lingering");
    drop(peer);
    turns_until(&mut events, &mut caller, |it| !it.ended.is_empty());
    assert!(caller.outcomes.len() == 1 && caller.ended == [token]);
    assert!(!caller.told_after_close, "a closed source was told of");
    assert_eq!(events.source_count(), 0);
}
