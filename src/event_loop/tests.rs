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
