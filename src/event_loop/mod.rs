//! The reactor: one loop that waits for readiness, serves it fairly, and measures what it did.
//!
//! It knows nothing of Redis. A [`Service`] is told what became ready; all that is not determined by what came
//! before (clock, randomness, readiness, bytes) enters through the [`Seam`], which is mio in production
//! ([`MioSeam`]) and a seeded simulator in tests ([`Simulator`]).
//!
//! One turn:
//!
//! ```text
//!   sleep ─▶ poll ─▶ accept ─▶ read (parse, execute) ─▶ timers ─▶ before sleep ─┐
//!     ▲                                                (replies written, closed) │
//!     └──────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What a turn did is in its [`TurnReport`]; the [`Recorder`] keeps the last of them.
//!
//! Invariants:
//! * mio is edge-triggered: readiness is told once. What a bounded read or accept left behind is on the loop's own
//!   *ready list*, and while that list is not empty the poll does not sleep.
//! * A source is served at most once in a turn, so no connection hogs it.
//! * The token of a closed source is handed out again only after the turn, and by then nothing here names it: neither an
//!   event in hand nor the ready list can reach the wrong source.
//!
//! Mirrors `ae.c` and `ae_epoll.c` of Redis, which are level-triggered and keep a callback per descriptor.

mod mio_lingering;
mod mio_seam;
mod mio_sockets;
mod mio_tls;
mod recorder;
pub mod recording;
mod seam;
mod simulator;
mod timers;
mod tls_connection;
mod turn;

pub use mio_seam::MioSeam;
pub use mio_tls::TLS_DESCRIPTORS;
pub use recorder::{Cost, Recorder};
pub use seam::*;
pub use simulator::{Faults, SimulatedPeer, Simulator, SimulatorHandle};
pub use timers::TimerId;
pub use turn::{PHASES, Phase, TurnReport, Work};

use crate::system::child::Pipe;
use slab::Slab;
use std::io;
use std::time::Duration;
use timers::Timers;

/// Connections accepted from one listener in one turn, unless the owner says otherwise.
const ACCEPTS_PER_TURN: usize = 64;
/// How long a listener rests after the process ran out of file descriptors, ns.
const ACCEPT_REST_NS: u64 = 100_000_000;

/// What the loop serves. Each call is a leaf: it does its work and returns; it never waits.
pub trait Service {
    /// The loop has woken up; nothing was served yet in this turn.
    fn turn_begins(&mut self, events: &mut EventLoop);
    /// A listener took a connection. The service keeps the token or closes it.
    fn accepted(&mut self, events: &mut EventLoop, listener: Token, accepted: Accepted);
    /// Accepting failed for a reason that the operator should know.
    fn accept_failed(&mut self, events: &mut EventLoop, listener: Token, error: &io::Error);
    /// The peer of a source has ended its side, or is gone altogether: told once, before anything is served in the turn
    /// in which poll told of it. There may still be bytes to read.
    fn ended(&mut self, _events: &mut EventLoop, _token: Token) {}
    /// A source has bytes (or its end) to read. Within its own bound the service reads until a read says that there is no
    /// more ([`Received::more`]); it answers whether something may be left.
    fn readable(&mut self, events: &mut EventLoop, token: Token) -> Progress;
    /// A source takes bytes again. For one that [`EventLoop::connect`] made this is also how its outcome is told:
    /// [`EventLoop::connected`] says it.
    fn writable(&mut self, events: &mut EventLoop, token: Token);
    /// A timer is due. It is gone; a periodic one is set again by the service.
    fn timer(&mut self, events: &mut EventLoop, timer: TimerId);
    /// A helper thread or a signal handler rang the [`Waker`].
    fn woken(&mut self, events: &mut EventLoop);
    /// The last thing before the loop sleeps: replies are written here.
    fn before_sleep(&mut self, events: &mut EventLoop);
}

/// Whether a source was drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The socket has nothing more, or the source is closed.
    Drained,
    /// The bound was reached first: serve it again next turn.
    MoreLeft,
}

/// Sums over all turns since the start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopTotals {
    /// Turns.
    pub turns: u64,
    /// Time awake, ns.
    pub awake_ns: u64,
    /// Time for timers, ns: what is done periodically.
    pub timers_ns: u64,
    /// Time for the journal, ns.
    pub journal_ns: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Sources and timers that nobody had any more when they were to be served: closed or cancelled since poll told of
    /// them, or since they were put on the ready list.
    pub ignored: u64,
    /// The turn that was awake longest.
    pub longest: TurnReport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Listener,
    Stream,
}

impl Source {
    fn new(kind: Kind) -> Source {
        Source {
            kind,
            carried: false,
            ended: false,
            closed: false,
            served_turn: 0,
        }
    }
}

#[derive(Debug)]
struct Source {
    kind: Kind,
    /// On the ready list.
    carried: bool,
    /// The peer has ended its side: told once, so remembered.
    ended: bool,
    closed: bool,
    /// The last turn in which it was served.
    served_turn: u64,
}

/// The loop.
pub struct EventLoop {
    seam: Box<dyn Seam>,
    sources: Slab<Source>,
    timers: Timers,
    /// Sources to serve although poll will not tell of them again.
    ready: Vec<Token>,
    /// Closed in this turn; their tokens become free at its end.
    freed: Vec<Token>,
    /// Listeners that rest until the time given, ns, because no descriptor was free.
    resting: Vec<(u64, Token)>,
    /// Reused by every turn.
    events: Vec<Readiness>,
    report: TurnReport,
    /// What stands for a turn that was not recorded.
    no_turn: TurnReport,
    recorder: Recorder,
    totals: LoopTotals,
    mono_ns: u64,
    accepts_per_turn: usize,
    /// Work was left for the next turn: it does not sleep first.
    awake: bool,
}

impl EventLoop {
    /// A loop over this seam.
    pub fn new(mut seam: Box<dyn Seam>) -> EventLoop {
        let mono_ns = seam.monotonic_ns();
        EventLoop {
            seam,
            sources: Slab::new(),
            timers: Timers::default(),
            ready: Vec::new(),
            freed: Vec::new(),
            resting: Vec::new(),
            events: Vec::with_capacity(1024),
            report: TurnReport::default(),
            no_turn: TurnReport::default(),
            recorder: Recorder::default(),
            totals: LoopTotals::default(),
            mono_ns,
            accepts_per_turn: ACCEPTS_PER_TURN,
            awake: false,
        }
    }

    /// Bounds the connections that are accepted from one listener in one turn.
    pub fn set_accepts_per_turn(&mut self, most: usize) {
        self.accepts_per_turn = most.max(1);
    }

    /// Does one turn: sleeps until something is ready, a timer is due or `max_sleep` is over, and serves it.
    pub fn turn(
        &mut self,
        service: &mut impl Service,
        max_sleep: Option<Duration>,
    ) -> io::Result<TurnReport> {
        let start = self.mono_ns;
        self.report = TurnReport {
            turn: self.totals.turns + 1,
            ..TurnReport::default()
        };
        let timeout = self.timeout(start, max_sleep);
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let polled = self.seam.poll(timeout, &mut events);
        self.end_phase(Phase::Sleep);
        if let Err(error) = polled {
            self.events = events;
            return if error.kind() == io::ErrorKind::Interrupted {
                Ok(self.report)
            } else {
                Err(error)
            };
        }
        self.report.woke_ns = self.mono_ns;
        self.report.events = events.len() as u32;

        // What was left behind comes first: it has waited longest. The list is taken, so that what is left
        // behind again is served in the next turn and not in this one.
        let carried = std::mem::take(&mut self.ready);
        self.report.carried = carried.len() as u32;
        service.turn_begins(self);
        self.wake_resting(self.mono_ns);
        let mut woken = false;
        self.accept_phase(service, &carried, &events);
        self.read_phase(service, carried, &events, &mut woken);
        self.timer_phase(service, woken);
        service.before_sleep(self);
        self.end_phase(Phase::Rest);

        self.free_closed();
        self.events = events;
        self.account();
        Ok(self.report)
    }

    fn timeout(&mut self, now: u64, max_sleep: Option<Duration>) -> Option<Duration> {
        if std::mem::take(&mut self.awake) || !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let until = |at: u64| Duration::from_nanos(at.saturating_sub(now));
        let timer = self.timers.next_deadline().map(until);
        let resting = self.resting.iter().map(|(at, _)| until(*at)).min();
        [timer, resting, max_sleep].into_iter().flatten().min()
    }

    /// Gives the tokens of closed sources back. What still names them goes first, for the next turn may give a token to
    /// somebody else, who would be served in the place of the one that is gone.
    fn free_closed(&mut self) {
        if self.freed.is_empty() {
            return;
        }
        let sources = &self.sources;
        let is_open = |token: Token| sources.get(token.0).is_some_and(|source| !source.closed);
        let before = self.ready.len();
        // All at once: each by itself would look through the whole list, as often as sources were closed.
        self.ready.retain(|token| is_open(*token));
        self.totals.ignored += (before - self.ready.len()) as u64;
        self.resting.retain(|(_, listener)| is_open(*listener));
        for token in self.freed.drain(..) {
            self.sources.remove(token.0);
        }
    }

    fn wake_resting(&mut self, now: u64) {
        let mut index = 0;
        while index < self.resting.len() {
            if self.resting[index].0 <= now {
                let (_, token) = self.resting.swap_remove(index);
                self.carry(token);
            } else {
                index += 1;
            }
        }
    }

    fn accept_phase(
        &mut self,
        service: &mut impl Service,
        carried: &[Token],
        events: &[Readiness],
    ) {
        let told = events.iter().map(|event| event.token);
        let turn = self.report.turn;
        let mut any = false;
        for token in carried.iter().copied().chain(told) {
            let Some(source) = self.sources.get_mut(token.0) else {
                continue;
            };
            // One that was on the ready list may be told of as well: accepted from twice, it would have twice the bound.
            if source.kind == Kind::Listener && !source.closed && source.served_turn != turn {
                any = true;
                source.served_turn = turn;
                source.carried = false;
                self.accept_from(service, token);
            }
        }
        if any {
            self.end_phase(Phase::Accept);
        }
    }

    fn accept_from(&mut self, service: &mut impl Service, listener: Token) {
        for _ in 0..self.accepts_per_turn {
            let entry = self.sources.vacant_entry();
            let token = Token(entry.key());
            match self.seam.accept(listener, token) {
                Ok(accepted) => {
                    entry.insert(Source::new(Kind::Stream));
                    self.report.accepted += 1;
                    service.accepted(self, listener, accepted);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The peer went away before we got to it: the next one may be fine.
                Err(error) if is_peer_error(&error) => continue,
                Err(error) => {
                    // Out of descriptors or memory. The edge is spent, so the listener must be tried again by
                    // ourselves, but not at once: nothing has changed yet. One that rests already was asked for something
                    // else (handshakes that go on), and is told of no more often for that.
                    if self.resting.iter().all(|(_, resting)| *resting != listener) {
                        let until_ns = self.mono_ns + ACCEPT_REST_NS;
                        self.resting.push((until_ns, listener));
                        service.accept_failed(self, listener, &error);
                    }
                    return;
                }
            }
        }
        self.carry(listener);
    }

    fn read_phase(
        &mut self,
        service: &mut impl Service,
        carried: Vec<Token>,
        events: &[Readiness],
        woken: &mut bool,
    ) {
        for event in events {
            if event.token == WAKER_TOKEN {
                *woken = true;
                continue;
            }
            let Some(source) = self.sources.get_mut(event.token.0) else {
                self.totals.ignored += u64::from(!event.readable);
                continue;
            };
            let ends = event.ended && !source.ended;
            source.ended |= event.ended;
            self.report.readable += u32::from(event.readable);
            if source.closed {
                // A readable one is counted below, where it would have been served.
                self.totals.ignored += u64::from(!event.readable);
                continue;
            }
            if source.kind != Kind::Stream {
                continue;
            }
            if event.writable {
                self.report.writable += 1;
                service.writable(self, event.token);
            }
            // A connection that could not be made is told writable and ended at once, and may be closed by now.
            if ends && self.is_open(event.token) {
                service.ended(self, event.token);
            }
        }
        for token in carried {
            if let Some(source) = self.sources.get_mut(token.0)
                && source.kind == Kind::Stream
            {
                source.carried = false;
            }
            self.serve_read(service, token);
        }
        for event in events {
            if event.readable {
                self.serve_read(service, event.token);
            }
        }
        self.end_phase(Phase::Read);
    }

    /// Serves a stream, unless it was served in this turn already: then it is on the ready list if need be.
    fn serve_read(&mut self, service: &mut impl Service, token: Token) {
        let turn = self.report.turn;
        let Some(source) = self.sources.get_mut(token.0).filter(|it| !it.closed) else {
            self.totals.ignored += 1;
            return;
        };
        if source.kind != Kind::Stream || source.served_turn == turn {
            return;
        }
        source.served_turn = turn;
        if service.readable(self, token) == Progress::MoreLeft {
            self.carry(token);
        }
    }

    fn timer_phase(&mut self, service: &mut impl Service, woken: bool) {
        let due = self
            .timers
            .next_deadline()
            .is_some_and(|at| at <= self.mono_ns);
        if woken {
            self.report.woken = true;
            service.woken(self);
        }
        if due {
            let now = self.mono_ns;
            // Timers set while these are served are for later turns, even when their time has come.
            for timer in self.timers.take_due(now) {
                self.report.timers += 1;
                service.timer(self, timer);
            }
        }
        if woken || due {
            self.end_phase(Phase::Timers);
        }
    }

    /// The time since the end of the last phase was that of this one.
    fn end_phase(&mut self, phase: Phase) {
        let now = self.seam.monotonic_ns();
        self.end_phase_at(phase, now);
    }

    #[inline]
    fn end_phase_at(&mut self, phase: Phase, now_ns: u64) {
        self.report.phase_ns[phase as usize] += now_ns.saturating_sub(self.mono_ns);
        self.mono_ns = self.mono_ns.max(now_ns);
    }

    // ---- the recorder -------------------------------------------------------------------------------------------

    /// Tells that a phase inside the service's own work ends here. Looks at the clock, and only while recording.
    #[inline]
    pub fn mark(&mut self, phase: Phase) {
        if self.recorder.is_on() {
            self.report.extra_looks += 1;
            self.end_phase(phase);
        }
    }

    /// Ends a phase as [`EventLoop::mark`] does, at a time that the service has just read for its own purposes: free of
    /// charge.
    #[inline]
    pub fn mark_at(&mut self, phase: Phase, now_ns: u64) {
        if self.recorder.is_on() {
            self.end_phase_at(phase, now_ns);
        }
    }

    /// Tells of so many pieces of work for somebody, with the longest of them.
    #[inline]
    pub fn worked(&mut self, works: u32, longest: Work) {
        if self.recorder.is_on() {
            self.report.note(works, longest);
        }
    }

    /// Whether turns are recorded.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.recorder.is_on()
    }

    /// Switches the recorder on or off and sets how many turns its ring holds.
    pub fn record(&mut self, is_on: bool, turns: usize) {
        self.recorder.configure(is_on, turns);
    }

    /// What was recorded.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// What was recorded, with histograms that count every turn; also to reset it.
    pub fn recorder_mut(&mut self) -> &mut Recorder {
        self.recorder.fold();
        &mut self.recorder
    }

    /// The turn that is under way.
    pub fn this_turn(&self) -> &TurnReport {
        &self.report
    }

    /// The turn before it; empty while nothing is recorded.
    pub fn turn_before(&self) -> &TurnReport {
        let newest = self.recorder.newest().filter(|_| self.recorder.is_on());
        newest.unwrap_or(&self.no_turn)
    }

    /// Tells the wall clock of this turn, Unix µs.
    pub fn set_turn_time(&mut self, unix_us: i64) {
        self.report.woke_unix_us = unix_us;
    }

    /// Copies the turn into the recorder's ring, and now and then times that.
    fn record_turn(&mut self, awake_ns: u64) {
        if !self.recorder.times_itself() {
            self.recorder.record(&self.report, awake_ns);
            return;
        }
        // Two looks in a row tell what one costs.
        let first = self.seam.monotonic_ns();
        let begin = self.seam.monotonic_ns();
        self.recorder.record(&self.report, awake_ns);
        let look_ns = begin.saturating_sub(first);
        let ns = self.seam.monotonic_ns().saturating_sub(begin);
        self.recorder.took(look_ns, ns.saturating_sub(look_ns));
    }

    fn account(&mut self) {
        let awake = self.report.awake_ns();
        self.totals.turns += 1;
        self.totals.awake_ns += awake;
        self.totals.timers_ns += self.report.time_in(Phase::Timers);
        self.totals.journal_ns += self.report.time_in(Phase::Journal);
        self.totals.bytes_in += self.report.bytes_in;
        self.totals.bytes_out += self.report.bytes_out;
        if awake > self.totals.longest.awake_ns() {
            self.totals.longest = self.report;
        }
        if self.recorder.is_on() {
            self.record_turn(awake);
        }
    }

    /// Puts a source on the ready list: it is served in the next turn, and the loop does not sleep before.
    pub fn carry(&mut self, token: Token) {
        if let Some(source) = self.sources.get_mut(token.0)
            && !source.closed
            && !source.carried
        {
            source.carried = true;
            self.ready.push(token);
        }
    }

    /// Counts an event that the service knows no owner for.
    pub fn ignore(&mut self) {
        self.totals.ignored += 1;
    }

    /// Lets the next turn begin without sleeping, for work that was left behind and belongs to no source.
    pub fn stay_awake(&mut self) {
        self.awake = true;
    }

    /// Opens a listener.
    pub fn listen(
        &mut self,
        address: &ListenAddress,
        options: &ListenOptions,
    ) -> io::Result<Token> {
        let entry = self.sources.vacant_entry();
        let token = Token(entry.key());
        self.seam.listen(token, address, options)?;
        entry.insert(Source::new(Kind::Listener));
        Ok(token)
    }

    /// Makes the reading end of a child's pipe a source.
    pub fn adopt_pipe(&mut self, pipe: Pipe) -> io::Result<Token> {
        let entry = self.sources.vacant_entry();
        let token = Token(entry.key());
        self.seam.adopt_pipe(token, pipe)?;
        entry.insert(Source::new(Kind::Stream));
        Ok(token)
    }

    /// Begins to connect, and does not wait: the service is told [`Service::writable`] when the connection is made or has
    /// failed, and asks [`EventLoop::connected`] which. What fails at once has no token. Whoever will not wait as long as
    /// the system sets a timer and closes the source.
    pub fn connect(&mut self, to: &ConnectAddress) -> io::Result<Token> {
        let entry = self.sources.vacant_entry();
        let token = Token(entry.key());
        self.seam.connect(token, to)?;
        entry.insert(Source::new(Kind::Stream));
        Ok(token)
    }

    /// How connecting came out; `WouldBlock` while it is under way. A source whose connecting has failed is to be closed.
    pub fn connected(&mut self, token: Token) -> io::Result<()> {
        self.seam.connected(token)
    }

    fn is_open(&self, token: Token) -> bool {
        let source = self.sources.get(token.0);
        source.is_some_and(|source| !source.closed)
    }

    /// Closes a source. Its token stays reserved until the end of the turn.
    pub fn close(&mut self, token: Token) {
        if let Some(source) = self.sources.get_mut(token.0)
            && !source.closed
        {
            source.closed = true;
            self.seam.close(token);
            self.freed.push(token);
            // A descriptor is free again: listeners that wait for one need not rest any longer.
            for (at, _) in &mut self.resting {
                *at = 0;
            }
        }
    }

    /// Whether poll has told that the peer of a source has ended its side. Nothing is missed: the system tells of an end
    /// by an edge of its own, or on that of bytes that came with it, whether those are read or not. (An end behind bytes
    /// for which the system's buffers have no room has not arrived.)
    #[inline]
    pub fn has_ended(&self, token: Token) -> bool {
        self.sources.get(token.0).is_some_and(|source| source.ended)
    }

    /// Has the system look from time to time whether the peer of a silent connection is there; 0: does not.
    pub fn keep_alive(&mut self, token: Token, seconds: u32) {
        self.seam.keep_alive(token, seconds);
    }

    /// Reads from a source into `buffer`: how much, and whether more may be there. A length of 0 is the end of the stream.
    #[inline]
    pub fn read(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<Received> {
        let received = self.seam.read(token, buffer)?;
        self.report.bytes_in += received.len as u64;
        Ok(received)
    }

    /// Writes slices to a source; how many bytes were taken.
    #[inline]
    pub fn write(&mut self, token: Token, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let n = self.seam.write(token, slices)?;
        self.report.bytes_out += n as u64;
        Ok(n)
    }

    /// Bytes of memory that the transport of a connection holds for it; 0: one of a kind that holds none.
    pub fn held_bytes(&mut self, token: Token) -> usize {
        self.seam.held_bytes(token)
    }

    /// Sets a timer. It is served in the first turn after `at_ns` on the monotonic clock.
    pub fn set_timer(&mut self, at_ns: u64) -> TimerId {
        self.timers.set(at_ns)
    }

    /// Forgets a timer; one that is already served is ignored.
    pub fn cancel_timer(&mut self, timer: TimerId) {
        self.timers.cancel(timer);
    }

    /// Monotonic time at the last phase's end, ns: free of charge, right to within a phase (a finer one while the
    /// recorder is on).
    pub fn turn_ns(&self) -> u64 {
        self.mono_ns
    }

    /// The seam, for clock and randomness.
    #[inline]
    pub fn seam(&mut self) -> &mut dyn Seam {
        &mut *self.seam
    }

    /// Something that helper threads and signal handlers can ring.
    pub fn waker(&self) -> Waker {
        self.seam.waker()
    }

    /// Sums since the start or the last reset.
    pub fn totals(&self) -> &LoopTotals {
        &self.totals
    }

    /// Sets the sums to zero; turns keep their numbers.
    pub fn reset_totals(&mut self) {
        self.totals = LoopTotals {
            turns: self.totals.turns,
            ..LoopTotals::default()
        };
    }

    /// Open sources. One that was closed since the last turn counts no more, though its token is still reserved.
    pub fn source_count(&self) -> usize {
        self.sources.len() - self.freed.len()
    }
}

/// Errors of accept that belong to the connection which was to be accepted, not to the listener. Linux passes on what
/// is already known to be wrong with the new connection's network.
fn is_peer_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    ) || matches!(
        error.raw_os_error(),
        Some(
            libc::EPROTO
                | libc::EPERM
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
        )
    )
}

#[cfg(test)]
mod tests;
