//! Who owns each source and each timer of the loop: the one place where a token becomes a client.
//!
//! In: sources when they are opened or taken over, timers when they are set. Out: their owners, when the loop tells that
//! they are ready or due.
//!
//! Invariants:
//! * A source that is open between two turns has an owner, and what has an owner is open: a source is closed by
//!   [`Endpoints::close`], which forgets the owner at once. The loop tells nothing of a source that is closed.
//! * No owner is guessed from what a token is not. An event of a token without an owner is counted and left alone.
//! * Finding an owner is one indexed look, because it comes before every read.
//!
//! A new kind of connection is a variant of [`Endpoint`], registered where its source is made, and an arm in each function
//! of `turn.rs` that the compiler then asks for; so do their timers, in [`TimerOwner`].

use super::http::HttpKey;
use crate::clients::ClientKey;
use crate::event_loop::{EventLoop, ListenAddress, ListenOptions, TimerId, Token};
use std::io;

/// What a source is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A client's connection.
    Client(ClientKey),
    /// A connection to the HTTP pages.
    Http(HttpKey),
    /// The pipe of the child that saves.
    ChildPipe,
    /// The link to a primary, before its stream comes.
    PrimaryLink,
    /// A connection to another server, to which keys go (MIGRATE).
    Migration,
    /// A connection to or from another node of the cluster.
    Bus,
    /// A listener whose connections are those of other nodes.
    BusListener,
    /// A listener whose connections are clients.
    ClientListener,
    /// A listener whose connections are for the HTTP pages.
    HttpListener,
}

/// The owners of all open sources.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    /// By the token's number. Tokens are small numbers that are used again, so there are about as many places as there
    /// have been sources at one time.
    owners: Vec<Option<Endpoint>>,
    /// Places that are taken.
    open: usize,
}

impl Endpoints {
    /// The owner of a source; none: it is closed, or not taken over yet.
    #[inline]
    pub(super) fn owner(&self, token: Token) -> Option<Endpoint> {
        self.owners.get(token.0).copied().flatten()
    }

    /// Says whose a source is from here on.
    pub(super) fn register(&mut self, token: Token, endpoint: Endpoint) {
        if self.owners.len() <= token.0 {
            self.owners.resize(token.0 + 1, None);
        }
        let before = self.owners[token.0].replace(endpoint);
        debug_assert!(before.is_none(), "{token:?} is still that of {before:?}");
        self.open += 1;
    }

    /// Says that a source is another's from here on.
    pub(super) fn hand_over(&mut self, token: Token, endpoint: Endpoint) {
        if let Some(place) = self.owners.get_mut(token.0) {
            debug_assert!(place.is_some(), "{token:?} is nobody's");
            *place = Some(endpoint);
        }
    }

    /// Closes a source, whoever owns it. One without an owner (a connection that is refused) is closed too.
    pub(super) fn close(&mut self, events: &mut EventLoop, token: Token) {
        // Before the loop closes it: an event of this turn that is still in hand finds no owner.
        let place = self.owners.get_mut(token.0);
        self.open -= usize::from(place.and_then(Option::take).is_some());
        events.close(token);
    }

    /// Opens a listener, whose connections are those of `endpoint`.
    pub(super) fn listen(
        &mut self,
        events: &mut EventLoop,
        address: &ListenAddress,
        options: &ListenOptions,
        endpoint: Endpoint,
    ) -> io::Result<Token> {
        let token = events.listen(address, options)?;
        // At once: its first connection may be taken in the next turn.
        self.register(token, endpoint);
        Ok(token)
    }

    /// How many sources have an owner.
    pub(super) fn len(&self) -> usize {
        self.open
    }
}

/// What a timer is for. Each has one timer at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerOwner {
    /// The next cron.
    Cron,
    /// The first deadline of a client whose command waits.
    Waits,
    /// The end of CLIENT PAUSE.
    PauseEnd,
    /// The next slice of a save that the loop does itself and that rests (`rdb-key-save-delay`).
    Save,
    /// The first of the other servers that has been silent for too long, or of the sockets that nobody has used.
    Migrations,
    /// The first client whose user's budget has something in it again.
    Budgets,
    /// What a node of a cluster does by the clock.
    Cluster,
    /// The next event for those who watch the HTTP pages.
    HttpEvents,
}

impl TimerOwner {
    const COUNT: usize = TimerOwner::HttpEvents as usize + 1;
    const ALL: [TimerOwner; TimerOwner::COUNT] = [
        TimerOwner::Cron,
        TimerOwner::Waits,
        TimerOwner::PauseEnd,
        TimerOwner::Save,
        TimerOwner::Migrations,
        TimerOwner::Budgets,
        TimerOwner::Cluster,
        TimerOwner::HttpEvents,
    ];
}

/// A timer that is set.
#[derive(Clone, Copy, Debug)]
struct SetTimer {
    id: TimerId,
    /// The time that it stands for, by its owner's clock.
    wanted: u64,
}

/// The timers that are set, by their owners. So few that an owner is found by looking at all of them.
#[derive(Debug, Default)]
pub(super) struct OwnedTimers {
    timers: [Option<SetTimer>; TimerOwner::COUNT],
}

impl OwnedTimers {
    /// Sets an owner's timer, in place of the one that it may have had.
    pub(super) fn set(&mut self, events: &mut EventLoop, owner: TimerOwner, at_ns: u64) {
        self.follow(events, owner, Some(at_ns), |at_ns| at_ns);
    }

    /// Has an owner's timer stand for this time by the owner's own clock; `None`: has it have no timer. What that is on the
    /// loop's clock is asked only where the time is another than before, so that this may be called in every turn.
    pub(super) fn follow(
        &mut self,
        events: &mut EventLoop,
        owner: TimerOwner,
        wanted: Option<u64>,
        at_ns: impl FnOnce(u64) -> u64,
    ) {
        let timer = &mut self.timers[owner as usize];
        if timer.map(|timer| timer.wanted) == wanted {
            return;
        }
        if let Some(before) = timer.take() {
            events.cancel_timer(before.id);
        }
        *timer = wanted.map(|wanted| SetTimer {
            id: events.set_timer(at_ns(wanted)),
            wanted,
        });
    }

    /// Whether an owner has a timer.
    pub(super) fn is_set(&self, owner: TimerOwner) -> bool {
        self.timers[owner as usize].is_some()
    }

    /// The owner of a timer that is due, which has none from here on. `None`: it was cancelled or replaced in the turn in
    /// which it came due.
    pub(super) fn take_due(&mut self, id: TimerId) -> Option<TimerOwner> {
        TimerOwner::ALL.into_iter().find(|owner| {
            let timer = &mut self.timers[*owner as usize];
            timer.take_if(|timer| timer.id == id).is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::{Faults, Simulator};
    use std::net::SocketAddr;

    fn events() -> EventLoop {
        let (seam, _) = Simulator::new(1, Faults::NONE);
        EventLoop::new(Box::new(seam))
    }

    fn listen(endpoints: &mut Endpoints, events: &mut EventLoop, endpoint: Endpoint) -> Token {
        let port = 7000 + u16::from(endpoint == Endpoint::HttpListener);
        let address = ListenAddress::Inet(SocketAddr::from(([127, 0, 0, 1], port)));
        endpoints
            .listen(events, &address, &ListenOptions { backlog: 1 }, endpoint)
            .expect("a listener")
    }

    /// A source that was closed must not be taken for the one that has its token next.
    #[test]
    fn a_source_has_its_owner_until_it_is_closed() {
        let (mut events, mut endpoints) = (events(), Endpoints::default());
        let clients = listen(&mut endpoints, &mut events, Endpoint::ClientListener);
        let http = listen(&mut endpoints, &mut events, Endpoint::HttpListener);
        assert_eq!(endpoints.owner(clients), Some(Endpoint::ClientListener));
        assert_eq!(endpoints.owner(http), Some(Endpoint::HttpListener));
        endpoints.close(&mut events, clients);
        // Closed again, as by two who both find it broken.
        endpoints.close(&mut events, clients);
        assert_eq!((endpoints.owner(clients), endpoints.len()), (None, 1));
        assert_eq!(endpoints.owner(Token(1000)), None);
        let key = ClientKey(7);
        endpoints.register(clients, Endpoint::Client(key));
        assert_eq!(endpoints.owner(clients), Some(Endpoint::Client(key)));
        assert_eq!(endpoints.len(), 2);
    }

    #[test]
    fn an_owner_is_no_larger_than_a_clients_key_with_its_mark() {
        assert_eq!(
            size_of::<Option<Endpoint>>(),
            size_of::<Option<ClientKey>>()
        );
    }

    /// What comes due for a timer that was replaced in the same turn is nobody's: its owner waits for the new one.
    #[test]
    fn a_timer_is_its_owners_until_it_is_due_or_replaced() {
        let (mut events, mut timers) = (events(), OwnedTimers::default());
        let id = |timers: &OwnedTimers, owner: TimerOwner| {
            timers.timers[owner as usize].map(|timer| timer.id)
        };
        timers.set(&mut events, TimerOwner::Cron, 10);
        timers.follow(&mut events, TimerOwner::PauseEnd, Some(3), |ms| ms * 1000);
        let cron = id(&timers, TimerOwner::Cron).expect("a timer");
        let first = id(&timers, TimerOwner::PauseEnd).expect("a timer");
        timers.follow(&mut events, TimerOwner::PauseEnd, Some(3), |_| {
            unreachable!("the same time is no new timer")
        });
        assert_eq!(id(&timers, TimerOwner::PauseEnd), Some(first));
        timers.follow(&mut events, TimerOwner::PauseEnd, Some(4), |ms| ms * 1000);
        let second = id(&timers, TimerOwner::PauseEnd).expect("a timer");
        assert_eq!(timers.take_due(first), None);
        assert_eq!(timers.take_due(second), Some(TimerOwner::PauseEnd));
        assert!(!timers.is_set(TimerOwner::PauseEnd));
        assert_eq!(timers.take_due(cron), Some(TimerOwner::Cron));
        assert_eq!(timers.take_due(cron), None);
        timers.set(&mut events, TimerOwner::HttpEvents, 10);
        timers.follow(&mut events, TimerOwner::HttpEvents, None, |at_ns| at_ns);
        assert!(!timers.is_set(TimerOwner::HttpEvents));
    }

    #[test]
    fn every_owner_of_timers_is_in_its_own_place() {
        for (index, owner) in TimerOwner::ALL.into_iter().enumerate() {
            assert_eq!(owner as usize, index);
        }
    }
}
