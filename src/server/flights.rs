//! What the service tells the loop's recorder: where its phases end, which command was long, how long clients waited.
//!
//! While the recorder is off every function here is one test of a flag. While it is on, a read that brought commands
//! costs two looks at the clock more (the end of parsing, the end of writing its replies); the ends of commands are
//! looked at anyway. Nothing here changes what is answered.

use super::service::Core;
use crate::clients::{Blocked, ClientKey};
use crate::event_loop::{EventLoop, Phase, Progress, Work};
use crate::observe::{Landing, LatencyEvent, LongWait, behind_of};

/// Asleep for less, a turn may just as well have found its events waiting, ns.
const SURELY_SLEPT_NS: u64 = 50_000;
/// Every so many landings the recording of one is timed. A power of two.
const SELF_TIMED: u64 = 64;

/// The commands of a client that run now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    commands: u32,
    began_ns: u64,
    longest: Work,
}

impl Core {
    /// Tells the latency monitor which phases of the turn before took long.
    #[inline]
    pub(super) fn note_long_phases(&mut self, events: &EventLoop) {
        if self.state.observe.latency.is_on() {
            let unix_s = self.state.now.unix_s();
            let removal_ns = self.state.keyspace.take_slowest_removal_ns();
            let monitor = &mut self.state.observe.latency;
            monitor.took(LatencyEvent::ExpireDel, removal_ns, unix_s);
            // All but the time asleep, which is no latency.
            for phase in Phase::ALL.into_iter().skip(1) {
                let ns = events.turn_before().time_in(phase);
                monitor.took(LatencyEvent::of_phase(phase), ns, unix_s);
            }
        }
    }

    /// A client is about to be served: since when are its bytes ready?
    #[inline]
    pub(super) fn note_ready(&mut self, events: &EventLoop, key: ClientKey) {
        if !events.is_recording() {
            return;
        }
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        let flight = client.connection_mut().flight_mut();
        if !std::mem::take(&mut flight.left_behind) && flight.commands == 0 {
            let turn = events.this_turn();
            flight.ready_ns = turn.woke_ns;
            flight.unseen_ns = if turn.time_in(Phase::Sleep) < SURELY_SLEPT_NS {
                events.turn_before().awake_ns()
            } else {
                0
            };
        }
    }

    /// A client has been served. What a bound left behind has been ready all the time.
    #[inline]
    pub(super) fn note_served(&mut self, events: &EventLoop, key: ClientKey, progress: Progress) {
        if progress == Progress::MoreLeft
            && events.is_recording()
            && let Some(client) = self.state.clients.get_mut(key)
        {
            client.connection_mut().flight_mut().left_behind = true;
        }
    }

    /// A batch has been parsed.
    #[inline]
    pub(super) fn note_parsed(&mut self, events: &mut EventLoop) {
        if events.is_recording() {
            events.mark(Phase::Parse);
            // The commands' own times are the better for it.
            self.set_clock(events.turn_ns());
        }
    }

    /// A command has run, or was refused; it began at `before_ns`.
    #[inline]
    pub(super) fn note_command(&mut self, events: &EventLoop, key: ClientKey, before_ns: u64) {
        if !events.is_recording() {
            return;
        }
        let tally = &mut self.tally;
        if tally.commands == 0 {
            tally.began_ns = before_ns;
            tally.longest = Work::default();
        }
        tally.commands += 1;
        let ns = self.state.now.mono_ns.saturating_sub(before_ns);
        if ns > tally.longest.ns
            && let Some(client) = self.state.clients.get_mut(key)
        {
            let what = client.session.last_command.map_or(u32::MAX, u32::from);
            tally.longest = Work {
                who: client.session.id,
                what,
                ns,
            };
        }
    }

    /// All that a client's bytes held has run.
    #[inline]
    pub(super) fn note_ran(&mut self, events: &mut EventLoop, key: ClientKey) {
        if events.is_recording() {
            self.join_flight(events, key);
        }
    }

    fn join_flight(&mut self, events: &mut EventLoop, key: ClientKey) {
        let now_ns = self.state.now.mono_ns;
        events.mark_at(Phase::Execute, now_ns);
        let mut tally = std::mem::take(&mut self.tally);
        if tally.commands == 0 {
            return;
        }
        events.worked(tally.commands, tally.longest);
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        if let Some(Blocked::Command(_) | Blocked::Script) = client.session.blocked {
            // The last one is not answered yet. It waits for a key, or for itself: that is no wait for the server.
            tally.commands -= 1;
        }
        let turn = events.this_turn().turn;
        let reply_end = client.connection().bytes_out() + client.reply.output().len() as u64;
        let flight = client.connection_mut().flight_mut();
        if flight.commands > 0 && flight.turn != turn {
            self.state.observe.waits.unmeasured += u64::from(tally.commands);
            return;
        }
        if flight.commands == 0 {
            flight.began_ns = tally.began_ns;
            flight.turn = turn;
            flight.behind = None;
            flight.longest = Work::default();
        }
        flight.commands += tally.commands;
        flight.ended_ns = now_ns;
        if tally.longest.ns > flight.longest.ns {
            flight.longest = tally.longest;
        }
        flight.reply_end = reply_end;
    }

    /// Replies have been written to a client, perhaps not all.
    #[inline]
    pub(super) fn note_written(&mut self, events: &mut EventLoop, key: ClientKey) {
        if events.is_recording()
            && let Some(client) = self.state.clients.get_mut(key)
            && client.connection_mut().flight_mut().commands > 0
        {
            self.land(events, key);
        }
    }

    fn land(&mut self, events: &mut EventLoop, key: ClientKey) {
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        let (id, written) = (client.session.id, client.connection().bytes_out());
        let flight = client.connection_mut().flight_mut();
        let in_its_turn = flight.turn == events.this_turn().turn;
        if in_its_turn {
            flight.behind = events.this_turn().longest_but_for(id);
        }
        if written < flight.reply_end {
            return;
        }
        // The time so far belongs to writing anyway, so the one look serves both.
        events.mark(Phase::Write);
        let now_ns = events.turn_ns();
        let commands = std::mem::take(&mut flight.commands);
        let flight = *flight;
        let may_be_unseen = in_its_turn && flight.unseen_ns > 0;
        let landing = Landing {
            commands,
            turn: flight.turn,
            parts_ns: [
                flight.began_ns.saturating_sub(flight.ready_ns),
                flight.ended_ns.saturating_sub(flight.began_ns),
                now_ns.saturating_sub(flight.ended_ns),
            ],
            unseen_ns: flight.unseen_ns,
            longest: flight.longest,
            behind: flight.behind,
            behind_before: may_be_unseen
                .then(|| events.turn_before().longest_but_for(id))
                .flatten(),
        };
        self.record_landing(events, key, &landing, now_ns);
    }

    fn record_landing(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        landing: &Landing,
        now_ns: u64,
    ) {
        let waits = &mut self.state.observe.waits;
        waits.record(landing);
        if waits.landings.is_multiple_of(SELF_TIMED) {
            let ns = events.seam().monotonic_ns().saturating_sub(now_ns);
            waits.timed = (waits.timed.0 + 1, waits.timed.1 + ns);
        }
        let slower_than = self.state.config.settings().slowlog_log_slower_than_us;
        let Ok(slower_than) = u64::try_from(slower_than) else {
            return;
        };
        if landing.total_ns() + landing.unseen_ns >= slower_than.saturating_mul(1000) {
            self.keep_long(key, *landing);
        }
    }

    #[cold]
    fn keep_long(&mut self, key: ClientKey, landing: Landing) {
        if let Some(client) = self.state.clients.get(key) {
            let wait = LongWait {
                id: 0,
                unix_ms: self.state.now.unix_ms(),
                client: client.session.id,
                address: client.connection().address().to_string(),
                name: client.session.name.clone(),
                landing,
                behind: behind_of(&self.state.clients, &landing),
            };
            self.state.observe.waits.keep(wait);
        }
    }
}
