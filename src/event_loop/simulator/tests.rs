//! Servers that connect to each other in one simulated network: nothing is lost, doubled or told twice, whatever the
//! network does; and what is broken is told to both.

use super::*;
use crate::system::rng::Rng;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const PORT: u16 = 6379;
const LISTENER: Token = Token(0);

/// What a source was told of and has not used up.
#[derive(Default)]
struct Told {
    readable: bool,
    writable: bool,
}

/// The least of a server: it goes by edges alone, so that one that is not told is missed.
struct Station {
    seam: Simulator,
    handle: SimulatorHandle,
    told: BTreeMap<Token, Told>,
    next: usize,
    /// What is to be written to a source, what was read from it, and how it has ended.
    to_write: BTreeMap<Token, VecDeque<u8>>,
    received: BTreeMap<Token, Vec<u8>>,
    ended: BTreeMap<Token, io::Result<()>>,
    /// It writes back what it reads.
    echoes: bool,
}

impl Station {
    fn new((seam, handle): (Simulator, SimulatorHandle)) -> Station {
        Station {
            seam,
            handle,
            told: BTreeMap::new(),
            next: 1,
            to_write: BTreeMap::new(),
            received: BTreeMap::new(),
            ended: BTreeMap::new(),
            echoes: false,
        }
    }
    fn listen(&mut self) {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        self.seam
            .listen(
                LISTENER,
                &ListenAddress::Inet(address),
                &ListenOptions { backlog: 3 },
            )
            .expect("a listener");
    }
    fn token(&mut self) -> Token {
        self.next += 1;
        self.told.insert(Token(self.next), Told::default());
        Token(self.next)
    }
    fn connect(&mut self, to: Ipv4Addr) -> Token {
        let token = self.token();
        let to = ConnectAddress::Inet(SocketAddr::from((to, PORT)), None);
        self.seam.connect(token, &to).expect("it begins");
        token
    }
    fn close(&mut self, token: Token) {
        self.seam.close(token);
        self.told.remove(&token);
    }
    /// One turn of at most so many milliseconds.
    fn turn(&mut self, most_ms: u64) {
        let mut ready = Vec::new();
        let polled = self
            .seam
            .poll(Some(Duration::from_millis(most_ms)), &mut ready);
        if let Err(error) = polled {
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        }
        for event in ready {
            if event.token == LISTENER {
                self.accept();
            } else if let Some(told) = self.told.get_mut(&event.token) {
                told.readable |= event.readable;
                told.writable |= event.writable;
            }
        }
        for token in self.told.keys().copied().collect::<Vec<_>>() {
            self.serve(token);
        }
    }
    fn accept(&mut self) {
        loop {
            let token = self.token();
            match self.seam.accept(LISTENER, token) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // As the loop does, which rests and tries again.
                Err(_) => {}
            }
        }
    }
    fn serve(&mut self, token: Token) {
        let mut buffer = [0; 700];
        while self.told[&token].readable {
            match self.seam.read(token, &mut buffer) {
                Ok(Received { len: 0, .. }) => self.end(token, Ok(())),
                Ok(Received { len, more }) => {
                    let bytes = &buffer[..len];
                    self.received.entry(token).or_default().extend(bytes);
                    if self.echoes {
                        self.to_write.entry(token).or_default().extend(bytes);
                    }
                    self.told.get_mut(&token).expect("a source").readable = more;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.told.get_mut(&token).expect("a source").readable = false;
                }
                Err(error) => self.end(token, Err(error)),
            }
        }
        let to_write = self.to_write.entry(token).or_default();
        while self.told[&token].writable && !to_write.is_empty() {
            to_write.make_contiguous();
            match self
                .seam
                .write(token, &[IoSlice::new(to_write.as_slices().0)])
            {
                Ok(n) => drop(to_write.drain(..n)),
                Err(_) => self.told.get_mut(&token).expect("a source").writable = false,
            }
        }
    }
    fn end(&mut self, token: Token, how: io::Result<()>) {
        self.ended.entry(token).or_insert(how);
        self.told.get_mut(&token).expect("a source").readable = false;
    }
    fn connected(&mut self, token: Token) -> Option<i32> {
        match self.seam.connected(token) {
            Ok(()) => Some(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(error.raw_os_error().unwrap_or(libc::ECONNRESET)),
        }
    }
    fn error_of(&self, token: Token) -> Option<io::ErrorKind> {
        let ended = self.ended.get(&token)?;
        ended.as_ref().err().map(io::Error::kind)
    }
}

/// Two servers, of which the second listens.
fn two(seed: u64, faults: Faults) -> (Station, Station) {
    let (simulator, handle) = Simulator::new(seed, faults);
    let other = handle.another(seed + 1);
    let (a, mut b) = (Station::new((simulator, handle)), Station::new(other));
    b.listen();
    (a, b)
}

/// Lets both turn until something holds.
fn until(
    a: &mut Station,
    b: &mut Station,
    what: &str,
    holds: impl Fn(&mut Station, &mut Station) -> bool,
) {
    for _ in 0..5000 {
        if holds(a, b) {
            return;
        }
        a.turn(20);
        b.turn(20);
    }
    panic!("{what} does not happen");
}

fn some_bytes(rng: &mut Rng) -> Vec<u8> {
    (0..rng.index(60_000))
        .map(|_| rng.below(256) as u8)
        .collect()
}

#[test]
fn all_that_is_written_comes_back_over_a_network_that_delays_cuts_and_heals() {
    let mut counts = [0; 2];
    for seed in 0..150 {
        let run = || {
            let mut rng = Rng::new(seed);
            let faults = Faults {
                link_reset: 0,
                ..Faults::any(&mut rng)
            };
            let (mut a, mut b) = two(seed, faults);
            b.echoes = true;
            let bytes = some_bytes(&mut rng);
            let token = a.connect(b.handle.address());
            a.to_write.insert(token, bytes.iter().copied().collect());
            let mut turns = 0;
            while a.received.get(&token).map_or(0, Vec::len) < bytes.len() {
                turns += 1;
                assert!(turns < 20_000, "seed {seed}: {turns} turns");
                match rng.below(200) {
                    0 => a.handle.partition(),
                    1 => b.handle.cut_to(&a.handle),
                    _ if turns % 97 == 0 => a.handle.heal(),
                    _ => {}
                }
                let ms = rng.below(30);
                [&mut a, &mut b][rng.index(2)].turn(ms);
            }
            assert!(
                bytes.is_empty() || a.received[&token] == bytes,
                "seed {seed}"
            );
            assert!(a.ended.is_empty() && b.ended.is_empty(), "seed {seed}");
            (turns, a.handle.trace_sum())
        };
        let (turns, trace) = run();
        assert_eq!(run().1, trace, "seed {seed}");
        counts[usize::from(turns > 100)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
}

/// The end comes behind the last byte, also when it is written before the connection was accepted.
#[test]
fn what_was_written_before_the_end_is_there_before_it() {
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let faults = Faults {
            link_reset: 0,
            accept_error: 0,
            ..Faults::any(&mut rng)
        };
        let (mut a, mut b) = two(seed, faults);
        let bytes = some_bytes(&mut rng);
        let token = a.connect(b.handle.address());
        a.to_write.insert(token, bytes.iter().copied().collect());
        let written =
            |a: &mut Station| a.connected(token) == Some(0) && a.to_write[&token].is_empty();
        until(&mut a, &mut b, "the last write", |a, _| written(a));
        a.close(token);
        until(&mut a, &mut b, "the end", |_, b| !b.ended.is_empty());
        let (token, how) = b.ended.first_key_value().expect("an end");
        assert!(how.is_ok(), "seed {seed}: {how:?}");
        assert!(
            b.received.get(token).is_none_or(|it| *it == bytes),
            "seed {seed}"
        );
    }
}

#[test]
fn a_connection_in_between_that_is_reset_is_told_to_both() {
    let mut resets = 0;
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let faults = Faults {
            link_reset: 30,
            ..Faults::any(&mut rng)
        };
        let (mut a, mut b) = two(seed, faults);
        b.echoes = true;
        let bytes = some_bytes(&mut rng);
        let token = a.connect(b.handle.address());
        a.to_write.insert(token, bytes.iter().copied().collect());
        let is_over = |a: &mut Station, _: &mut Station| {
            a.received.get(&token).map_or(0, Vec::len) == bytes.len() || !a.ended.is_empty()
        };
        until(&mut a, &mut b, "an end", is_over);
        // What came is a beginning of what was sent.
        let received = a.received.remove(&token).unwrap_or_default();
        assert!(bytes.starts_with(&received), "seed {seed}");
        if let Some(error) = a.error_of(token) {
            assert_eq!(error, io::ErrorKind::ConnectionReset);
            until(&mut a, &mut b, "the reset at the other end", |_, b| {
                !b.ended.is_empty() || b.handle.accepted().is_empty()
            });
            resets += 1;
        }
    }
    assert!(resets > 10 && resets < 100, "{resets}");
    let (mut a, mut b) = two(1, Faults::NONE);
    let token = a.connect(b.handle.address());
    until(&mut a, &mut b, "connecting", |_, b| {
        !b.handle.accepted().is_empty()
    });
    b.handle.reset_links();
    until(&mut a, &mut b, "the reset", |a, b| {
        a.error_of(token).is_some() && !b.ended.is_empty()
    });
}

#[test]
fn who_listens_not_refuses_and_who_is_not_there_is_silent_for_two_minutes() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let faults = Faults {
            longest_latency_ms: rng.below(100),
            ..Faults::NONE
        };
        let (mut a, mut b) = two(seed, faults);
        // The first does not listen.
        let refused = b.connect(a.handle.address());
        assert_eq!(
            b.connected(refused).unwrap_or(libc::ECONNREFUSED),
            libc::ECONNREFUSED
        );
        until(&mut b, &mut a, "the refusal", |b, _| {
            b.error_of(refused).is_some()
        });
        assert_eq!(b.connected(refused), Some(libc::ECONNREFUSED));
        assert!(b.told[&refused].writable, "that is told as a write");
        let nobody = a.connect(Ipv4Addr::new(10, 0, 0, 99));
        a.turn(100_000);
        assert_eq!(a.connected(nobody), None);
        let error = a
            .seam
            .write(nobody, &[IoSlice::new(b"x")])
            .expect_err("not yet");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        a.turn(100_000);
        a.turn(0);
        assert_eq!(a.connected(nobody), Some(libc::ETIMEDOUT));
    }
}

#[test]
fn a_connection_over_a_cut_is_made_when_it_heals() {
    for one_way in [false, true] {
        let (mut a, mut b) = two(5, Faults::NONE);
        match one_way {
            true => b.handle.cut_to(&a.handle),
            false => a.handle.partition(),
        }
        let token = a.connect(b.handle.address());
        for _ in 0..50 {
            a.turn(100);
            b.turn(100);
        }
        assert_eq!(a.connected(token), None);
        a.handle.heal();
        until(&mut a, &mut b, "connecting", |a, _| {
            a.connected(token) == Some(0)
        });
        until(&mut a, &mut b, "the accept", |_, b| {
            b.handle.accepted().len() == 1
        });
    }
}

#[test]
fn a_full_queue_is_silent_and_a_listener_that_closes_resets_its_queue() {
    let (mut a, mut b) = two(5, Faults::NONE);
    // The listener does not turn: nobody accepts.
    let tokens: Vec<Token> = (0..6).map(|_| a.connect(b.handle.address())).collect();
    a.turn(3000);
    a.turn(3000);
    let made = |a: &mut Station| {
        let made = tokens.iter().map(|token| a.connected(*token) == Some(0));
        made.filter(|is_made| *is_made).count()
    };
    assert_eq!(made(&mut a), 4, "the queue has three and one");
    b.turn(0);
    until(&mut a, &mut b, "the rest", |a, _| made(a) == 6);
    let last = a.connect(b.handle.address());
    until(&mut a, &mut b, "one that waits", |a, _| {
        a.connected(last) == Some(0)
    });
    let (mut a, mut b) = two(6, Faults::NONE);
    let token = a.connect(b.handle.address());
    while a.connected(token).is_none() {
        a.turn(10);
    }
    b.close(LISTENER);
    until(&mut a, &mut b, "the end", |a, _| {
        a.ended.contains_key(&token)
    });
}

/// The other side of a server that has ended learns of it, and what is written to it then is lost.
#[test]
fn a_server_that_has_ended_ends_its_connections_and_can_be_reached_again() {
    let (mut a, mut b) = two(5, Faults::NONE);
    let token = a.connect(b.handle.address());
    until(&mut a, &mut b, "the accept", |_, b| {
        b.handle.accepted().len() == 1
    });
    let seam = b.handle.restart();
    let mut b = Station::new((seam, b.handle));
    until(&mut a, &mut b, "the end", |a, _| {
        a.ended.contains_key(&token)
    });
    assert_eq!(a.error_of(token), None);
    a.seam
        .write(token, &[IoSlice::new(b"lost")])
        .expect("it is taken");
    until(&mut a, &mut b, "the reset", |a, _| {
        a.seam.write(token, &[IoSlice::new(b"x")]).is_err()
    });
    let refused = a.connect(b.handle.address());
    until(&mut a, &mut b, "the refusal", |a, _| {
        a.connected(refused).is_some()
    });
    assert_eq!(a.connected(refused), Some(libc::ECONNREFUSED));
    b.listen();
    let again = a.connect(b.handle.address());
    until(&mut a, &mut b, "connecting", |a, _| {
        a.connected(again) == Some(0)
    });
}

#[test]
fn closing_with_something_unread_resets() {
    let (mut a, mut b) = two(5, Faults::NONE);
    let token = a.connect(b.handle.address());
    until(&mut a, &mut b, "the accept", |_, b| {
        b.handle.accepted().len() == 1
    });
    a.to_write
        .insert(token, b"never read".iter().copied().collect());
    while !a.to_write[&token].is_empty() {
        a.turn(1);
    }
    // The bytes arrive, and all but one stay there.
    b.seam
        .poll(Some(Duration::from_millis(1)), &mut Vec::new())
        .expect("a poll");
    let ends = *b.told.first_key_value().expect("the connection").0;
    b.seam.read(ends, &mut [0; 1]).expect("a byte");
    b.close(ends);
    until(&mut a, &mut b, "the reset", |a, _| {
        a.error_of(token).is_some()
    });
    assert_eq!(a.error_of(token), Some(io::ErrorKind::ConnectionReset));
}

#[test]
fn what_cannot_be_connected_fails_at_once_and_a_unix_socket_waits_for_nobody() {
    let (mut a, b) = two(5, Faults::NONE);
    let number = |failed: io::Result<()>| failed.expect_err("it fails").raw_os_error();
    let to = SocketAddr::from((b.handle.address(), PORT));
    let token = a.token();
    let foreign = Some(IpAddr::V4(b.handle.address()));
    let failed = a.seam.connect(token, &ConnectAddress::Inet(to, foreign));
    assert_eq!(number(failed), Some(libc::EADDRNOTAVAIL));
    a.handle.set_descriptors(0);
    let failed = a.seam.connect(token, &ConnectAddress::Inet(to, None));
    assert_eq!(number(failed), Some(libc::EMFILE));
    a.handle.set_descriptors(100);
    let path = ConnectAddress::Unix("/s".into());
    assert_eq!(number(a.seam.connect(token, &path)), Some(libc::ENOENT));
    let address = ListenAddress::Unix("/s".into(), None);
    let options = ListenOptions { backlog: 1 };
    a.seam
        .listen(LISTENER, &address, &options)
        .expect("a listener");
    let tokens = [token, a.token(), a.token()];
    for token in &tokens[..2] {
        a.seam.connect(*token, &path).expect("made");
        assert_eq!(a.connected(*token), Some(0));
    }
    assert_eq!(number(a.seam.connect(tokens[2], &path)), Some(libc::EAGAIN));
    let own = Some(IpAddr::V4(a.handle.address()));
    a.seam
        .connect(tokens[2], &ConnectAddress::Inet(to, own))
        .expect("it begins");
}

#[test]
fn a_server_is_found_by_its_name_and_nobody_by_a_name_that_is_nobodys() {
    let (mut a, mut b) = two(6, Faults::NONE);
    b.handle.set_name("b.example");
    let of_host = |host: &str| ConnectAddress::Name {
        host: host.to_owned(),
        port: PORT,
        source: None,
        tls: false,
    };
    let [known, unknown, own] = ["b.example", "c.example", "localhost"].map(|host| {
        let token = a.token();
        a.seam.connect(token, &of_host(host)).expect("it begins");
        assert_eq!(a.connected(token), None);
        token
    });
    until(&mut a, &mut b, "the outcomes", |a, _| {
        [known, unknown, own].map(|token| a.connected(token))
            == [Some(0), Some(libc::EHOSTUNREACH), Some(libc::ECONNREFUSED)]
    });
}
