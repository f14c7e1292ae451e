//! A TCP proxy between two servers that breaks the links through it, at bytes that a seed chooses.
//!
//! In: connections on its port. Out: the same bytes at the target's, as long as the link lasts: it may be cut, reset, or
//! stand still for a while. No byte is changed, and none comes twice.

use gyre::system::rng::Rng;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// What it does to links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Weather {
    /// Nothing.
    Calm,
    /// They break or stand still after some bytes.
    Rough,
    /// None is made.
    Closed,
}

#[derive(Debug)]
struct Shared {
    target: u16,
    weather: AtomicUsize,
    /// Links of an earlier one are cut.
    generation: AtomicU64,
    is_over: AtomicUsize,
    seed: AtomicU64,
}

/// A running proxy. It ends, with its links, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    shared: Arc<Shared>,
}

/// A pause after which a waiting thread looks whether it is still wanted.
const TICK: Duration = Duration::from_millis(10);

impl Proxy {
    /// One to this port of this host.
    pub fn to(target: u16, seed: u64) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        listener.set_nonblocking(true).expect("not to wait");
        let shared = Arc::new(Shared {
            target,
            weather: AtomicUsize::new(Weather::Calm as usize),
            generation: AtomicU64::new(0),
            is_over: AtomicUsize::new(0),
            seed: AtomicU64::new(seed),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            while own.is_over.load(SeqCst) == 0 {
                match listener.accept() {
                    Ok((stream, _)) => link(&own, stream),
                    Err(_) => std::thread::sleep(TICK),
                }
            }
        });
        Proxy { port, shared }
    }
    /// Changes what it does to links, from their next bytes on.
    pub fn set(&self, weather: Weather) {
        self.shared.weather.store(weather as usize, SeqCst);
    }
    /// Cuts all links there are.
    pub fn cut(&self) {
        self.shared.generation.fetch_add(1, SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.shared.is_over.store(1, SeqCst);
    }
}

fn link(shared: &Arc<Shared>, client: TcpStream) {
    if shared.weather.load(SeqCst) == Weather::Closed as usize {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target)) else {
        return;
    };
    let generation = shared.generation.load(SeqCst);
    let end = Arc::new(AtomicUsize::new(LASTS));
    for (from, to) in [(&client, &server), (&server, &client)] {
        let _ = from.set_nonblocking(false);
        let _ = from.set_nodelay(true);
        let _ = from.set_read_timeout(Some(TICK));
        // Who does not read holds up the other one, and not this thread's end.
        let _ = from.set_write_timeout(Some(TICK));
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
            return;
        };
        let mut pump = Pump {
            shared: Arc::clone(shared),
            generation,
            end: Arc::clone(&end),
            rng: Rng::new(shared.seed.fetch_add(1, SeqCst)),
        };
        std::thread::spawn(move || pump.run(from, to));
    }
}

/// How a link has ended, for both of its directions.
const LASTS: usize = 0;
const CLOSED: usize = 1;
const RESET: usize = 2;

/// One direction of a link.
struct Pump {
    shared: Arc<Shared>,
    generation: u64,
    end: Arc<AtomicUsize>,
    rng: Rng,
}

impl Pump {
    /// Carries bytes until the link ends.
    fn run(&mut self, mut from: TcpStream, mut to: TcpStream) {
        self.carry(&mut from, &mut to);
        let _ = self.end.compare_exchange(LASTS, CLOSED, SeqCst, SeqCst);
        if self.end.load(SeqCst) == RESET {
            // The last close of the sockets sends RST, and what waits in them is lost.
            for stream in [&from, &to] {
                let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
            return;
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
    fn is_over(&self) -> bool {
        self.end.load(SeqCst) != LASTS || self.shared.generation.load(SeqCst) != self.generation
    }
    fn carry(&mut self, from: &mut TcpStream, to: &mut TcpStream) {
        let mut buffer = vec![0; 16 * 1024];
        let mut left = self.distance();
        while !self.is_over() {
            let len = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(len) => len,
                Err(error) if is_wait(&error) => continue,
                Err(_) => return,
            };
            let mut bytes = &buffer[..len];
            while !bytes.is_empty() {
                if self.is_over() {
                    return;
                }
                let is_rough = self.shared.weather.load(SeqCst) == Weather::Rough as usize;
                let now = match is_rough {
                    true => bytes.len().min(left),
                    false => bytes.len(),
                };
                match to.write(&bytes[..now]) {
                    Ok(written) => {
                        bytes = &bytes[written..];
                        left = left.saturating_sub(written);
                    }
                    Err(error) if is_wait(&error) => {}
                    Err(_) => return,
                }
                if is_rough && left == 0 {
                    left = self.distance();
                    match self.rng.index(4) {
                        0 => return,
                        1 => return self.end.store(RESET, SeqCst),
                        _ => self.stall(),
                    }
                }
            }
        }
    }
    /// Bytes until something happens: often few, sometimes many.
    fn distance(&mut self) -> usize {
        let most = 1 << (4 + self.rng.index(15));
        1 + self.rng.index(most)
    }
    /// Nothing goes this way for a while; seldom for so long that the other side gives up.
    fn stall(&mut self) {
        let most_ms = match self.rng.index(8) {
            0 => 3000,
            _ => 100,
        };
        let until = Instant::now() + Duration::from_millis(self.rng.below(most_ms));
        while Instant::now() < until && !self.is_over() {
            std::thread::sleep(TICK);
        }
    }
}

fn is_wait(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
