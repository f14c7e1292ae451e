//! Addresses of host names, looked up beside the loop: the system's call may wait for a server of names for half a minute.
//!
//! In: a host name and a port. Out: its addresses, in the order in which they are to be tried, or why there are none; a bell
//! is rung when some are there. A few threads look up side by side, so that one name which nobody answers for does not hold
//! up the others; they end when there is nothing to look up. Redis calls `getaddrinfo` in its loop (anet.c).

use std::collections::VecDeque;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names that are looked up at the same time; more wait for one of them.
const MOST_THREADS: usize = 4;

/// Names one look-up of a [`Resolver`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lookup(u64);

/// What came of a look-up: the addresses, at least one, or the system's text why there is none.
pub type Addresses = Result<Vec<SocketAddr>, String>;

struct Query {
    lookup: Lookup,
    host: String,
    port: u16,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Query>,
    threads: usize,
    found: Vec<(Lookup, Addresses)>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Whether `found` may have something, so that who looks often needs no lock.
    has_found: AtomicBool,
    ring: Box<dyn Fn() + Send + Sync>,
}

/// Looks host names up.
pub struct Resolver {
    shared: Arc<Shared>,
    last: u64,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Resolver")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver that rings this bell, from another thread, when a name was looked up.
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Resolver {
        Resolver {
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                has_found: AtomicBool::new(false),
                ring: Box::new(ring),
            }),
            last: 0,
        }
    }
    /// Has a name looked up. [`Resolver::take`] says what came of it, once.
    pub fn begin(&mut self, host: &str, port: u16) -> Lookup {
        self.last += 1;
        let lookup = Lookup(self.last);
        let mut queue = self.shared.queue();
        queue.waiting.push_back(Query {
            lookup,
            host: host.to_owned(),
            port,
        });
        if queue.threads < MOST_THREADS {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("gyre-names".to_owned());
            match thread.spawn(move || shared.look_up()) {
                Ok(_) => queue.threads += 1,
                // One of those that run comes to it.
                Err(_) if queue.threads > 0 => {}
                Err(error) => {
                    queue.waiting.pop_back();
                    drop(queue);
                    self.shared.tell(lookup, Err(error.to_string()));
                }
            }
        }
        lookup
    }
    /// Forgets a look-up, unless it is under way already: then it is told of, to nobody.
    pub fn cancel(&mut self, lookup: Lookup) {
        let mut queue = self.shared.queue();
        queue.waiting.retain(|query| query.lookup != lookup);
    }
    /// What came of look-ups since it was asked last.
    pub fn take(&mut self) -> Vec<(Lookup, Addresses)> {
        if !self.shared.has_found.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut self.shared.queue().found)
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// What a thread does: looks names up until none waits.
    fn look_up(&self) {
        loop {
            let mut queue = self.queue();
            let Some(query) = queue.waiting.pop_front() else {
                queue.threads -= 1;
                return;
            };
            drop(queue);
            self.tell(query.lookup, addresses(&query.host, query.port));
        }
    }
    fn tell(&self, lookup: Lookup, found: Addresses) {
        self.queue().found.push((lookup, found));
        self.has_found.store(true, Ordering::Release);
        (self.ring)();
    }
}

/// Asks the system, and waits for what it says.
fn addresses(host: &str, port: u16) -> Addresses {
    match (host, port).to_socket_addrs() {
        Ok(found) => {
            let found: Vec<SocketAddr> = found.collect();
            match found.is_empty() {
                true => Err("the name has no address".to_owned()),
                false => Ok(found),
            }
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn names_are_looked_up_beside_who_asks_and_each_is_told_once() {
        let (ring, rung) = channel();
        let mut resolver = Resolver::new(move || ring.send(()).expect("who asks is there"));
        assert!(resolver.take().is_empty());
        // More than there are threads.
        let known = (0..20).map(|port| (resolver.begin("localhost", port), port));
        let known: BTreeMap<Lookup, u16> = known.collect();
        let unknown = resolver.begin("no such name", 1);
        let mut found = Vec::new();
        while found.len() < 21 {
            let patience = Duration::from_secs(60);
            rung.recv_timeout(patience).expect("the bell");
            found.extend(resolver.take());
        }
        for (lookup, addresses) in found {
            match known.get(&lookup) {
                Some(port) => {
                    let addresses = addresses.expect("every host knows it");
                    let is_it = |it: &SocketAddr| it.ip().is_loopback() && it.port() == *port;
                    assert!(!addresses.is_empty() && addresses.iter().all(is_it));
                }
                None => {
                    assert_eq!(lookup, unknown);
                    assert!(addresses.is_err());
                }
            }
        }
        assert!(resolver.take().is_empty());
        while resolver.shared.queue().threads > 0 {
            std::thread::yield_now();
        }
    }
}
