//! What the service tells the loop's recorder: where its phases end, which command was long, how long clients waited.
//!
//! While the recorder is off every function here is one test of a flag. While it is on, a read that brought commands
//! costs two looks at the clock more (the end of parsing, the end of writing its replies); the ends of commands are
//! looked at anyway. Nothing here changes what is answered.

use super::service::Core;
use crate::clients::{Blocked, ClientKey};
use crate::event_loop::{EventLoop, Phase, Progress, Work};
use crate::observe::{Completion, LatencyEvent, LongWait, blocker_of};

/// Asleep for less, a turn may just as well have found its events waiting, ns.
const SURELY_SLEPT_NS: u64 = 50_000;
/// Every so many completions the recording of one is timed. A power of two.
const SELF_TIMED: u64 = 64;

/// The commands of a client that run now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunningBatch {
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
            let hurry_ns = self.state.keyspace.take_slowest_hurry_ns();
            let monitor = &mut self.state.observe.latency;
            monitor.took(LatencyEvent::SaveHurry, hurry_ns, unix_s);
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
        let batch = client.connection_mut().served_batch_mut();
        // Where a bound left some of its bytes behind, or replies of before still wait, it has been ready since then.
        if !std::mem::take(&mut batch.left_behind) && batch.commands == 0 {
            let turn = events.this_turn();
            batch.ready_ns = turn.woke_ns;
            // A turn that hardly slept found events that may have come while the one before was awake, at any time of
            // it: no clock has seen when.
            batch.unseen_ns = if turn.time_in(Phase::Sleep) < SURELY_SLEPT_NS {
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
            client.connection_mut().served_batch_mut().left_behind = true;
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
        let running_batch = &mut self.running_batch;
        // The first of a run: what was noted before it belongs to another client.
        if running_batch.commands == 0 {
            running_batch.began_ns = before_ns;
            running_batch.longest = Work::default();
        }
        running_batch.commands += 1;
        let ns = self.state.now.mono_ns.saturating_sub(before_ns);
        if ns > running_batch.longest.ns
            && let Some(client) = self.state.clients.get_mut(key)
        {
            let what = client.session.last_command.map_or(u32::MAX, u32::from);
            running_batch.longest = Work {
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
            self.join_batch(events, key);
        }
    }

    fn join_batch(&mut self, events: &mut EventLoop, key: ClientKey) {
        let now_ns = self.state.now.mono_ns;
        events.mark_at(Phase::Execute, now_ns);
        let mut running_batch = std::mem::take(&mut self.running_batch);
        if running_batch.commands == 0 {
            return;
        }
        // Told to the turn whoever the client is, and whether it is still there.
        events.worked(running_batch.commands, running_batch.longest);
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        if let Some(Blocked::Command(_) | Blocked::Script) = client.session.blocked {
            // The last one is not answered yet. It waits for a key, or for itself: that is no wait for the server.
            running_batch.commands -= 1;
        }
        let turn = events.this_turn().turn;
        let reply_end = client.connection().bytes_out() + client.reply.output().len() as u64;
        let batch = client.connection_mut().served_batch_mut();
        if batch.commands > 0 && batch.turn != turn {
            // Replies of an earlier turn still wait for the socket. One batch at a time is followed; these are counted
            // as not measured.
            self.state.observe.waits.unmeasured += u64::from(running_batch.commands);
            return;
        }
        if batch.commands == 0 {
            batch.began_ns = running_batch.began_ns;
            batch.turn = turn;
            batch.blocked_by = None;
            batch.longest = Work::default();
        }
        batch.commands += running_batch.commands;
        batch.ended_ns = now_ns;
        if running_batch.longest.ns > batch.longest.ns {
            batch.longest = running_batch.longest;
        }
        batch.reply_end = reply_end;
    }

    /// Replies have been written to a client, perhaps not all.
    #[inline]
    pub(super) fn note_written(&mut self, events: &mut EventLoop, key: ClientKey) {
        if events.is_recording()
            && let Some(client) = self.state.clients.get_mut(key)
            && client.connection_mut().served_batch_mut().commands > 0
        {
            self.complete_batch(events, key);
        }
    }

    fn complete_batch(&mut self, events: &mut EventLoop, key: ClientKey) {
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        let (id, written) = (client.session.id, client.connection().bytes_out());
        let batch = client.connection_mut().served_batch_mut();
        let in_its_turn = batch.turn == events.this_turn().turn;
        // While its turn lasts, the longest of the others is the one that it waited behind; in a later one it waits for
        // its own socket.
        if in_its_turn {
            batch.blocked_by = events.this_turn().longest_but_for(id);
        }
        // The last byte of its replies has not been taken yet.
        if written < batch.reply_end {
            return;
        }
        // The time so far belongs to writing anyway, so the one look serves both.
        events.mark(Phase::Write);
        let now_ns = events.turn_ns();
        let commands = std::mem::take(&mut batch.commands);
        let batch = *batch;
        let may_be_unseen = in_its_turn && batch.unseen_ns > 0;
        let completion = Completion {
            commands,
            turn: batch.turn,
            parts_ns: [
                batch.began_ns.saturating_sub(batch.ready_ns),
                batch.ended_ns.saturating_sub(batch.began_ns),
                now_ns.saturating_sub(batch.ended_ns),
            ],
            unseen_ns: batch.unseen_ns,
            longest: batch.longest,
            blocked_by: batch.blocked_by,
            blocked_by_before: may_be_unseen
                .then(|| events.turn_before().longest_but_for(id))
                .flatten(),
        };
        self.record_completion(events, key, &completion, now_ns);
    }

    fn record_completion(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        completion: &Completion,
        now_ns: u64,
    ) {
        let waits = &mut self.state.observe.waits;
        waits.record(completion);
        if waits.completions.is_multiple_of(SELF_TIMED) {
            let ns = events.seam().monotonic_ns().saturating_sub(now_ns);
            waits.timed = (waits.timed.0 + 1, waits.timed.1 + ns);
        }
        let slower_than = self.state.config.settings().slowlog_log_slower_than_us;
        let Ok(slower_than) = u64::try_from(slower_than) else {
            return;
        };
        if completion.total_ns() + completion.unseen_ns >= slower_than.saturating_mul(1000) {
            self.keep_long(key, *completion);
        }
    }

    #[cold]
    fn keep_long(&mut self, key: ClientKey, completion: Completion) {
        if let Some(client) = self.state.clients.get(key) {
            let wait = LongWait {
                id: 0,
                unix_ms: self.state.now.unix_ms(),
                client: client.session.id,
                address: client.connection().address().to_string(),
                name: client.session.name.clone(),
                completion,
                blocked_by: blocker_of(&self.state.clients, &completion),
            };
            self.state.observe.waits.keep(wait);
        }
    }
}
