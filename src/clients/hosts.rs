//! What is counted by the address that clients come from: connections, and passwords that were wrong.
//!
//! In: hosts ([`HostKey`]) as their connections come and go, and try passwords. Out: how many connections a host has, and
//! when its next password may be looked at. Unix sockets have no address and loopback addresses are not counted (see
//! [`counted`]). Memory is bounded: by the connections that are open, and by [`FAILING_HOSTS`].

use super::{Address, Connection};
use crate::net::HostKey;
use std::collections::{BTreeMap, VecDeque};

/// Hosts whose wrong passwords are remembered. Beyond them the one is forgotten whose last wrong password is the oldest.
pub const FAILING_HOSTS: usize = 4096;
/// How long a host is remembered after its last wrong password, ns.
const REMEMBERED_NS: u64 = 15 * 60 * 1_000_000_000;
/// The longest time between two passwords of a host, ns.
const LONGEST_DELAY_NS: u64 = 30 * 1_000_000_000;
/// Passwords of one host that may wait for their turn. Those beyond are refused unseen: the wait would be of no use to
/// anybody, and each is a connection that is kept open. The last place is kept for connections that have tried no wrong
/// password yet: those that go on guessing must not take all of them.
const MOST_WAITING: usize = 8;

/// The host of a connection, if things are counted for it. Loopback addresses are not: behind a proxy on this machine
/// all come from there, and one who guesses passwords would lock out everybody, whoever repairs it among them.
pub fn counted(connection: &Connection) -> Option<HostKey> {
    match connection.address() {
        Address::Inet(address) if !connection.is_local() => Some(HostKey::of(address.ip())),
        Address::Inet(_) | Address::Unix(_) | Address::None => None,
    }
}

/// How many connections each host has.
#[derive(Debug, Default)]
pub struct Connections {
    by_host: BTreeMap<HostKey, u32>,
}

impl Connections {
    /// How many a host has.
    pub fn of(&self, host: HostKey) -> u32 {
        self.by_host.get(&host).copied().unwrap_or(0)
    }
    /// A host has one more.
    pub fn opened(&mut self, host: HostKey) {
        let count = self.by_host.entry(host).or_default();
        *count = count.saturating_add(1);
    }
    /// A host has one less.
    pub fn closed(&mut self, host: HostKey) {
        if let Some(count) = self.by_host.get_mut(&host) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_host.remove(&host);
            }
        }
    }
}

/// What is to be done with a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is looked at now.
    Now,
    /// It waits until this monotonic time, ns.
    At(u64),
    /// Too many wait before it.
    Never,
}

/// A client that has a password to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    client: u64,
    /// It has tried a wrong one before.
    has_failed: bool,
}

impl Waiting {
    /// A client of this id; `has_failed`: it has tried a wrong password before.
    pub fn new(client: u64, has_failed: bool) -> Waiting {
        Waiting { client, has_failed }
    }
}

/// Wrong passwords of a host.
#[derive(Clone, Debug)]
struct Failing {
    /// How many there were.
    failures: u64,
    last_ns: u64,
    /// When the last password that waited had its turn.
    turned_ns: u64,
    /// Clients whose passwords wait, with the time of their turns, in order.
    waiting: VecDeque<(u64, u64)>,
}

impl Failing {
    /// When the last turn is or was, of those that are given.
    fn taken_until_ns(&self) -> u64 {
        self.waiting
            .back()
            .map_or(self.turned_ns, |(_, due_ns)| *due_ns)
    }
}

/// When wrong passwords have a host wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthLimits {
    /// How many wrong passwords a host may try at once; 0: as many as it likes.
    pub free: u64,
    /// The first delay, ns; it doubles with each wrong password.
    pub delay_ns: u64,
}

/// Wrong passwords by host.
#[derive(Debug, Default)]
pub struct AuthFailures {
    by_host: BTreeMap<HostKey, Failing>,
    /// Passwords that had to wait.
    pub delayed: u64,
    /// Passwords that were refused unseen.
    pub refused: u64,
}

impl AuthFailures {
    /// Hosts that are remembered.
    pub fn len(&self) -> usize {
        self.by_host.len()
    }
    /// Whether no host is remembered.
    pub fn is_empty(&self) -> bool {
        self.by_host.is_empty()
    }
    /// How long a password of the host waits behind the one before it, ns; 0: it does not.
    fn delay_ns(&self, host: HostKey, limits: AuthLimits, now_ns: u64) -> u64 {
        let Some(failing) = self.by_host.get(&host) else {
            return 0;
        };
        let is_over = now_ns.saturating_sub(failing.last_ns) > REMEMBERED_NS;
        if limits.free == 0 || is_over || failing.failures < limits.free {
            return 0;
        }
        let doublings = failing.failures.saturating_sub(limits.free).min(32);
        limits
            .delay_ns
            .saturating_mul(1 << doublings)
            .min(LONGEST_DELAY_NS)
    }
    /// Gives a password of the host its turn, behind those that wait already: more connections are no more guesses.
    pub fn take_turn(
        &mut self,
        host: HostKey,
        who: Waiting,
        limits: AuthLimits,
        now_ns: u64,
    ) -> Turn {
        let delay_ns = self.delay_ns(host, limits, now_ns);
        let Some(failing) = self.by_host.get_mut(&host).filter(|_| delay_ns > 0) else {
            return Turn::Now;
        };
        let due_ns = failing
            .taken_until_ns()
            .max(now_ns)
            .saturating_add(delay_ns);
        let places = MOST_WAITING.saturating_sub(usize::from(who.has_failed));
        if failing.waiting.len() >= places {
            self.refused += 1;
            return Turn::Never;
        }
        failing.waiting.push_back((who.client, due_ns));
        self.delayed += 1;
        Turn::At(due_ns)
    }
    /// A client waits no more. If its turn had not come, those behind it move up, each to the turn of the one before it:
    /// who connects and leaves again must not keep the turns. Returns those that moved, with their new turns.
    pub fn leave(&mut self, host: HostKey, client: u64, now_ns: u64) -> Vec<(u64, u64)> {
        let Some(failing) = self.by_host.get_mut(&host) else {
            return Vec::new();
        };
        let waiting = &mut failing.waiting;
        let Some(at) = waiting.iter().position(|(id, _)| *id == client) else {
            return Vec::new();
        };
        let Some((_, mut free_ns)) = waiting.remove(at) else {
            return Vec::new();
        };
        if free_ns <= now_ns {
            failing.turned_ns = failing.turned_ns.max(free_ns);
            return Vec::new();
        }
        let behind = waiting.iter_mut().skip(at);
        behind
            .map(|(id, due_ns)| {
                std::mem::swap(due_ns, &mut free_ns);
                (*id, *due_ns)
            })
            .collect()
    }
    /// Whether a password of the host comes too early, by who cannot wait (a transaction, an HTTP request). It is refused if so.
    pub fn must_wait(&mut self, host: HostKey, limits: AuthLimits, now_ns: u64) -> bool {
        let delay_ns = self.delay_ns(host, limits, now_ns);
        let must_wait = self.by_host.get(&host).is_some_and(|failing| {
            let since_ns = failing.last_ns.max(failing.taken_until_ns());
            now_ns < since_ns.saturating_add(delay_ns)
        });
        self.refused += u64::from(must_wait);
        must_wait
    }
    /// A password of the host was wrong.
    pub fn failed(&mut self, host: HostKey, limits: AuthLimits, now_ns: u64) {
        if limits.free == 0 {
            return;
        }
        if !self.by_host.contains_key(&host) && self.by_host.len() >= FAILING_HOSTS {
            self.make_room(now_ns);
        }
        let failing = self.by_host.entry(host).or_insert(Failing {
            failures: 0,
            last_ns: now_ns,
            turned_ns: 0,
            waiting: VecDeque::new(),
        });
        if now_ns.saturating_sub(failing.last_ns) > REMEMBERED_NS {
            failing.failures = 0;
        }
        failing.failures = failing.failures.saturating_add(1);
        failing.last_ns = now_ns;
    }
    /// Forgets the hosts that need not be remembered any more, or else the one with the oldest wrong password. O(hosts), and
    /// only a host that was not heard of before has it done.
    fn make_room(&mut self, now_ns: u64) {
        self.by_host
            .retain(|_, failing| now_ns.saturating_sub(failing.last_ns) <= REMEMBERED_NS);
        if self.by_host.len() < FAILING_HOSTS {
            return;
        }
        let oldest = self
            .by_host
            .iter()
            .min_by_key(|(_, failing)| failing.last_ns);
        if let Some(host) = oldest.map(|(host, _)| *host) {
            self.by_host.remove(&host);
        }
    }
    /// Forgets all hosts: the directive was switched off.
    pub fn forget(&mut self) {
        self.by_host.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    const SECOND_NS: u64 = 1_000_000_000;
    const LIMITS: AuthLimits = AuthLimits {
        free: 3,
        delay_ns: SECOND_NS,
    };

    fn host(number: u32) -> HostKey {
        HostKey::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    /// A client that has tried none yet.
    fn new(id: u64) -> Waiting {
        Waiting::new(id, false)
    }

    #[test]
    fn the_delay_begins_behind_the_free_ones_doubles_and_ends() {
        let mut failures = AuthFailures::default();
        let mut now_ns = 0;
        for _ in 0..3 {
            assert_eq!(
                failures.take_turn(host(1), new(1), LIMITS, now_ns),
                Turn::Now
            );
            failures.failed(host(1), LIMITS, now_ns);
        }
        for expected_s in [1, 2, 4, 8, 16, 30, 30] {
            let due_ns = now_ns + expected_s * SECOND_NS;
            assert_eq!(
                failures.take_turn(host(1), new(1), LIMITS, now_ns),
                Turn::At(due_ns)
            );
            now_ns = due_ns;
            assert_eq!(failures.leave(host(1), 1, now_ns), []);
            failures.failed(host(1), LIMITS, now_ns);
        }
        assert_eq!(
            failures.take_turn(host(2), new(2), LIMITS, now_ns),
            Turn::Now
        );
        assert!(failures.must_wait(host(1), LIMITS, now_ns + 29 * SECOND_NS));
        assert!(!failures.must_wait(host(1), LIMITS, now_ns + 30 * SECOND_NS));
        now_ns += REMEMBERED_NS + 1;
        assert_eq!(
            failures.take_turn(host(1), new(1), LIMITS, now_ns),
            Turn::Now
        );
        assert!(!failures.must_wait(host(1), LIMITS, now_ns));
        failures.failed(host(1), LIMITS, now_ns);
        assert_eq!(
            failures.take_turn(host(1), new(1), LIMITS, now_ns),
            Turn::Now,
            "they count anew"
        );
        assert_eq!((failures.delayed, failures.refused), (7, 1));
    }

    /// Guesses on many connections at one time were as many times as fast.
    #[test]
    fn passwords_of_one_host_wait_for_each_other() {
        let mut failures = AuthFailures::default();
        (0..3).for_each(|_| failures.failed(host(1), LIMITS, 0));
        for turn in 1..=MOST_WAITING as u64 {
            assert_eq!(
                failures.take_turn(host(1), new(turn), LIMITS, 0),
                Turn::At(turn * SECOND_NS)
            );
        }
        assert_eq!(failures.take_turn(host(1), new(9), LIMITS, 0), Turn::Never);
        assert_eq!(
            failures.leave(host(1), 1, SECOND_NS),
            [],
            "its turn has come"
        );
        assert_eq!(
            failures.take_turn(host(1), new(9), LIMITS, SECOND_NS),
            Turn::At(9 * SECOND_NS)
        );
    }

    /// A host's turns were gone with clients that had left, so that connecting, trying and leaving kept everybody out.
    #[test]
    fn those_behind_one_that_leaves_move_up() {
        let mut failures = AuthFailures::default();
        (0..3).for_each(|_| failures.failed(host(1), LIMITS, 0));
        for id in 0..100 {
            assert_eq!(
                failures.take_turn(host(1), new(id), LIMITS, 0),
                Turn::At(SECOND_NS)
            );
            assert_eq!(failures.leave(host(1), id, 0), []);
        }
        for id in 1..=4 {
            failures.take_turn(host(1), new(id), LIMITS, 0);
        }
        assert_eq!(
            failures.leave(host(1), 2, 5),
            [(3, 2 * SECOND_NS), (4, 3 * SECOND_NS)]
        );
        assert_eq!(
            failures.leave(host(1), 2, 5),
            [],
            "it is not there any more"
        );
        assert_eq!(failures.leave(host(2), 3, 5), []);
        assert_eq!(
            failures.take_turn(host(1), new(5), LIMITS, 5),
            Turn::At(4 * SECOND_NS)
        );
        assert_eq!(
            failures.leave(host(1), 1, 5),
            [(3, SECOND_NS), (4, 2 * SECOND_NS), (5, 3 * SECOND_NS)]
        );
        assert_eq!(failures.leave(host(1), 3, SECOND_NS), []);
        // What had its turn counts for who cannot wait.
        failures.leave(host(1), 5, SECOND_NS);
        failures.leave(host(1), 4, SECOND_NS);
        assert!(failures.must_wait(host(1), LIMITS, 2 * SECOND_NS - 1));
        assert!(!failures.must_wait(host(1), LIMITS, 2 * SECOND_NS));
    }

    /// Clients that go on guessing had all the places.
    #[test]
    fn one_place_is_for_who_has_tried_no_wrong_password() {
        let mut failures = AuthFailures::default();
        (0..3).for_each(|_| failures.failed(host(1), LIMITS, 0));
        let guesser = |id| Waiting::new(id, true);
        for id in 1..MOST_WAITING as u64 {
            let turn = failures.take_turn(host(1), guesser(id), LIMITS, 0);
            assert_eq!(turn, Turn::At(id * SECOND_NS));
        }
        assert_eq!(
            failures.take_turn(host(1), guesser(8), LIMITS, 0),
            Turn::Never
        );
        assert_eq!(
            failures.take_turn(host(1), new(9), LIMITS, 0),
            Turn::At(8 * SECOND_NS)
        );
    }

    #[test]
    fn the_memory_is_bounded_and_the_oldest_goes() {
        let mut failures = AuthFailures::default();
        let most = FAILING_HOSTS as u32;
        for number in 0..most {
            failures.failed(host(number), LIMITS, u64::from(number));
        }
        failures.failed(host(0), LIMITS, u64::from(most));
        failures.failed(host(most), LIMITS, u64::from(most));
        assert_eq!(failures.len(), FAILING_HOSTS);
        assert!(
            failures.by_host.contains_key(&host(0)) && !failures.by_host.contains_key(&host(1))
        );
        failures.failed(host(most + 1), LIMITS, REMEMBERED_NS * 2);
        assert_eq!(failures.len(), 1);
        failures.forget();
        assert!(failures.is_empty());
    }

    #[test]
    fn without_the_directive_nothing_is_remembered() {
        let off = AuthLimits { free: 0, ..LIMITS };
        let mut failures = AuthFailures::default();
        failures.failed(host(1), off, 0);
        assert!(failures.is_empty());
        assert_eq!(failures.take_turn(host(1), new(1), off, 0), Turn::Now);
    }

    #[test]
    fn connections_are_counted_by_host() {
        let mut connections = Connections::default();
        connections.opened(host(1));
        connections.opened(host(1));
        connections.opened(host(2));
        connections.closed(host(1));
        connections.closed(host(3));
        assert_eq!((connections.of(host(1)), connections.of(host(2))), (1, 1));
        connections.closed(host(1));
        assert_eq!((connections.of(host(1)), connections.by_host.len()), (0, 1));
    }
}
