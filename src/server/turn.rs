//! One turn of the loop: what each of its events leads to, and what is done, in which order, before it sleeps.
//!
//! In: what the loop tells ([`Service`]). Out: calls to the files beside this one, and the replies of the turn.
//!
//! Invariants:
//! * Whatever changes data comes before the append-only file is written, and that before anyone is answered.
//! * Replies are written once per turn, before the loop sleeps; those of a client that has ended its side as well.
//! * A client is closed only at the end of a turn; until then its slot and its token stay its own. (SHUTDOWN writes to all
//!   and closes them where it stands: no client is left whose command could run in the rest of the turn.)
//!
//! Mirrors `beforeSleep` of Redis's server.c.

use super::endpoints::{Endpoint, TimerOwner};
use super::service::Core;
use crate::clients::{Blocked, ClientKey, HeldBy};
use crate::engine;
use crate::event_loop::{Accepted, EventLoop, Phase, Progress, Service, TimerId, Token};
use crate::persistence::aof::AofState;
use crate::system::{crash, process};
use std::io;

impl Service for Core {
    fn turn_begins(&mut self, events: &mut EventLoop) {
        debug_assert_eq!(
            self.endpoints.len(),
            events.source_count(),
            "each source that is open between two turns has an owner"
        );
        // The one reading of the Unix clock in a turn: all that happens in it counts on from here.
        self.state.now.unix_us = events.seam().unix_us();
        self.state.now.mono_ns = events.turn_ns();
        events.set_turn_time(self.state.now.unix_us);
        self.http_turn_begins();
        self.note_long_phases(events);
    }

    fn accepted(&mut self, events: &mut EventLoop, listener: Token, accepted: Accepted) {
        match self.endpoints.owner(listener) {
            Some(Endpoint::ClientListener) => self.accept(events, accepted),
            Some(Endpoint::HttpListener) => self.http_accepted(events, &accepted),
            Some(Endpoint::BusListener) => self.bus_accepted(events, accepted),
            Some(
                Endpoint::Client(_)
                | Endpoint::Http(_)
                | Endpoint::ChildPipe
                | Endpoint::PrimaryLink
                | Endpoint::Migration
                | Endpoint::Bus,
            )
            | None => {
                self.ignore_event(events, listener);
                self.endpoints.close(events, accepted.token);
            }
        }
    }

    fn accept_failed(&mut self, _events: &mut EventLoop, _listener: Token, error: &io::Error) {
        log::warn!(
            "Accepting client connection: {}",
            process::os_error_text(error)
        );
    }

    fn ended(&mut self, events: &mut EventLoop, token: Token) {
        match self.endpoints.owner(token) {
            Some(Endpoint::Client(key)) => self.drop_if_gone(events, key),
            // A read finds the child's end. The end of an HTTP connection is found by a read too, or, while an answer is on
            // its way, by a write: its peer may have ended the sending side only, and still want to see the answer.
            Some(
                Endpoint::Http(_) | Endpoint::ChildPipe | Endpoint::PrimaryLink | Endpoint::Bus,
            ) => {}
            Some(Endpoint::Migration) => self.state.migrations.note_ready(token),
            Some(Endpoint::ClientListener | Endpoint::HttpListener | Endpoint::BusListener)
            | None => {
                self.ignore_event(events, token);
            }
        }
    }

    fn readable(&mut self, events: &mut EventLoop, token: Token) -> Progress {
        match self.endpoints.owner(token) {
            Some(Endpoint::Client(key)) => self.read_client(events, key, token),
            Some(Endpoint::Http(key)) => self.http_readable(events, key),
            Some(Endpoint::ChildPipe) => self.hear_child(events, token),
            Some(Endpoint::PrimaryLink) => self.link_readable(events, token),
            Some(Endpoint::Bus) => self.bus_readable(events, token),
            // Read before the loop sleeps, to the end of what is there.
            Some(Endpoint::Migration) => {
                self.state.migrations.note_ready(token);
                Progress::Drained
            }
            Some(Endpoint::ClientListener | Endpoint::HttpListener | Endpoint::BusListener)
            | None => {
                self.ignore_event(events, token);
                Progress::Drained
            }
        }
    }

    fn writable(&mut self, events: &mut EventLoop, token: Token) {
        match self.endpoints.owner(token) {
            Some(Endpoint::Client(key)) => {
                let client = self.state.clients.get(key);
                if client.is_some_and(|client| !client.reply.output().is_empty())
                    || self.replica_wants_writing(key)
                {
                    self.state.clients.mark_pending_write(key);
                }
                self.note_transport(events, key);
            }
            Some(Endpoint::Http(key)) => self.http_writable(events, key),
            Some(Endpoint::PrimaryLink) => self.link_writable(events, token),
            Some(Endpoint::Bus) => self.bus_writable(events, token),
            Some(Endpoint::Migration) => self.state.migrations.note_ready(token),
            Some(
                Endpoint::ChildPipe
                | Endpoint::ClientListener
                | Endpoint::HttpListener
                | Endpoint::BusListener,
            )
            | None => self.ignore_event(events, token),
        }
    }

    fn timer(&mut self, events: &mut EventLoop, timer: TimerId) {
        match self.timers.take_due(timer) {
            Some(TimerOwner::Cron) => self.run_cron(events),
            Some(TimerOwner::HttpEvents) => self.http_tick(events),
            Some(TimerOwner::Cluster) => self.cluster_tick(events),
            // That the loop is awake is all that these are for: waits and pauses are ended before it sleeps.
            Some(
                TimerOwner::Waits
                | TimerOwner::PauseEnd
                | TimerOwner::Save
                | TimerOwner::Migrations
                | TimerOwner::Budgets,
            ) => {}
            // It was replaced or cancelled while it was in hand.
            None => events.ignore(),
        }
    }

    /// A helper thread has ended what a client waits for. The loop is awake, and [`Core::end_waits`] looks at all of them.
    fn woken(&mut self, _events: &mut EventLoop) {}

    /// The end of a turn, as one list. Three rules make its order: what changes data comes before the append-only file,
    /// the file before the replies, the replies before the closing. A step that found nothing to do marks no phase, for
    /// that would be a reading of the clock for nothing.
    fn before_sleep(&mut self, events: &mut EventLoop) {
        // The commands that came in this turn have run: a crash in what follows is not the last one's.
        crash::set_command("");
        self.state.observe.turn_ended();

        // 1. Loading is first because the steps below rest while it lasts (expiry, serving those who wait); in the turn
        //    in which it ends, they see all that was loaded. What comes from a primary comes before it, for it says what is
        //    loaded and whether.
        self.receive_some(events);
        if self.state.persistence.loading.is_some() {
            self.load_some(events);
            events.mark(Phase::Load);
        }
        // 2. The slice of a script that runs for long, for the same reason: when it ends here, what rested for it goes on
        //    in this turn, and its effects reach the file as a whole.
        self.run_script(events);
        // 3. Expiry, if the cron's cycle could not keep up: its removals are in the file before anyone reads that a key is
        //    gone.
        self.expire_before_sleep(events);
        // 4. Eviction, if it was too much for one command: after expiry, which may have made the room.
        self.evict_before_sleep(events);
        // 5. The end of CLIENT PAUSE: before the waits, so that who was served late because of it is served before its
        //    time is found to be over.
        self.time_pause(events);
        // 6. Keys on their way to other servers: what was acknowledged goes. Whoever was held for it, or waits for the end of
        //    it, is let go on in the next step. Behind the end nothing goes: the files have been written.
        if self.state.migrations.is_active() && self.ended.is_none() {
            self.migrate_some(events);
        }
        //    The cluster, in the same place: slots that have changed hands take their keys with them, before the file; roles
        //    change before those who wait are served, and nodes.conf is written before anyone is answered.
        if self.state.cluster.is_some() && self.ended.is_none() {
            self.run_cluster(events);
        }
        // 7. Clients that wait: after all that could give them something (1, 2) or remove the key whose end they wait for
        //    (3, 4, 6). What they take is the last change of data in a turn, but for what step 17 may
        //    let somebody take, which goes to the file and is answered in the next turn.
        self.end_waits(events);
        self.end_budget_waits(events);
        // 8. Key events of the steps above; those of commands were drained after each. This is where the journal gets the
        //    removals of expired and evicted keys, so it stands before the file.
        engine::keyspace_events::drain(&mut self.state, None);
        // 9. Invalidations for prefixes, one message for all keys of the turn: when there can be no more of them.
        engine::tracking::broadcast(&mut self.state);
        // 10. Those who were sent what they did not ask for (8, 9): whoever is over its limit is cut off before work is put
        //     into writing to it.
        self.enforce_pushed_limits(events);
        // 11. The append-only file: after every change, so that `always` costs one sync for the whole turn; before any
        //     reply, so that nobody reads of a write that a crash would undo.
        if self.state.persistence.aof.state != AofState::Off {
            match self.ended {
                None => self.flush_append_only(false),
                // What could not be written at the end, and was said to be lost, may be now: then it is synced as well.
                Some(_) if self.state.persistence.aof.buffered() > 0 => {
                    engine::persistence::aof::flush_at_end(&mut self.state);
                }
                Some(_) => {}
            }
            events.mark(Phase::Journal);
        }
        // 12. WAITAOF: its answer is what the step above has just made true, and goes out with the replies below.
        if !self.state.waits_for_acks.is_empty() {
            engine::acks::serve(&mut self.state);
            self.resume_unblocked(events);
        }
        // 13. Replication: what the turn has changed goes to the stream, and with the replies to the replicas. Behind the file,
        //     so that no replica has what a crash of this server would undo.
        if self.state.replication.is_active() {
            self.replicate(events);
            // Those who waited learn of another role.
            self.resume_unblocked(events);
            // Whoever reads below that a replica is cut off finds it cut off there, too.
            if self.state.clients.has_closing() {
                self.close_clients(events);
            }
        }
        if self.state.ending.is_some() {
            self.end_when_replicas_have_all(events);
        }
        // 14. Replies: once for each client, so that those of a pipeline share a system call.
        if self.state.clients.has_pending_write() {
            self.write_replies(events);
            events.mark(Phase::Write);
        }
        // 15. `maxmemory-clients`: when what could be written counts no more, and before those go whom it cuts off.
        engine::client_eviction::evict(&mut self.state);
        // 16. Closing is last: until here a client that was marked may still be owed a reply, and the steps above hold keys
        //     to it.
        if self.state.clients.has_closing() {
            self.close_clients(events);
            events.mark(Phase::Close);
        }
        // 17. A slice of a save, when nobody waits for this turn any more.
        let persistence = &self.state.persistence;
        if persistence.forkless.is_some() || persistence.held_for_save > 0 {
            let waits = self.state.replication.transfer.is_some();
            self.save_some(events);
            // Replicas that wait for what has ended here get the rest of it in the next turn.
            let (persistence, replication) = (&self.state.persistence, &self.state.replication);
            if waits && (persistence.last_transfer_ok.is_some() || replication.transfer.is_none()) {
                events.stay_awake();
            }
        }
        // 18. HTTP connections that have more to do are put on the ready list last, behind all else that is served first in
        //     the next turn.
        self.http_turn_ends(events);
        // 19. Closing ended the waits of those that went: they are listed as unblocked, and are gone.
        self.state.clients.unblocked.clear();
        // 20. Who waits for a key gets in the next turn what the save has let go of (17), or one that went was to get (16); and so
        //     does who waits for a budget behind one that went.
        let is_behind = self.state.budgets.next_ns() == Some(0);
        if (self.state.keyspace.has_ready() || is_behind)
            && !self.state.scripting.is_busy()
            && self.state.persistence.loading.is_none()
        {
            events.stay_awake();
        }
    }
}

impl Core {
    /// Counts an event that is nobody's: its source has no owner, or one of a kind that such an event means nothing to.
    /// Nothing else is done, because it would be done to the wrong one.
    #[cold]
    fn ignore_event(&mut self, events: &mut EventLoop, token: Token) {
        let owner = self.endpoints.owner(token);
        log::debug!("An event of source {} was ignored: {owner:?}", token.0);
        events.ignore();
    }

    /// Moves the time that the next commands see on to now, and ends the phase of reading there.
    pub(super) fn refresh_clock(&mut self, events: &mut EventLoop) {
        let mono_ns = events.seam().monotonic_ns();
        self.set_clock(mono_ns);
        events.mark_at(Phase::Read, mono_ns);
    }

    /// Sets the time that commands see, by the monotonic clock: within a turn the Unix clock follows it, so that a step of
    /// the system's clock is seen between turns only.
    pub(super) fn set_clock(&mut self, mono_ns: u64) {
        self.state.now = self.state.now.at(mono_ns);
    }

    /// Gives a script that has run for too long its slice of this turn.
    fn run_script(&mut self, events: &mut EventLoop) {
        if !engine::script::wants_turns(&self.state) {
            return;
        }
        let caller = self.state.scripting.running.as_ref();
        let caller = caller.map(|running| running.caller);
        let (state, mut host) = self.state_and_host(events);
        engine::script::go_on(state, &mut host);
        if let Some(caller) = caller {
            // Behind the script in its EXEC there may have been CLIENT KILL or CLIENT UNPAUSE.
            self.do_requested(events, caller);
        }
        events.mark(Phase::Execute);
        if engine::script::wants_turns(&self.state) {
            events.stay_awake();
        }
    }

    /// Ends CLIENT PAUSE when its time is over, else sets the timer for its end.
    fn time_pause(&mut self, events: &mut EventLoop) {
        self.end_pause(events);
        let end = self.state.pauses.by_client;
        let end_ms = end.map(|pause| u64::try_from(pause.until_ms).unwrap_or(0));
        let now = self.state.now;
        // A pause ends by the Unix clock, which may be set; a timer goes by the monotonic one. Where the two have come
        // apart, the loop wakes early and sets the timer anew for what is left, or the cron finds the pause over.
        self.timers
            .follow(events, TimerOwner::PauseEnd, end_ms, |end_ms| {
                let now_us = u64::try_from(now.unix_us).unwrap_or(0);
                let left_us = end_ms.saturating_mul(1000).saturating_sub(now_us);
                now.mono_ns.saturating_add(left_us.saturating_mul(1000))
            });
    }

    /// Lets clients go on whose users' budgets have something in them again, and sets the timer for the next one.
    fn end_budget_waits(&mut self, events: &mut EventLoop) {
        let mut next_ns = None;
        if !self.state.budgets.is_empty() {
            for key in engine::budgets::take_due(&mut self.state, events.turn_ns()) {
                self.resume(events, key, HeldBy::Budget);
            }
            // While a script stands still the loop turns anyway, and nobody is let go on.
            if !self.state.scripting.is_busy() {
                next_ns = self.state.budgets.next_ns();
            }
        }
        self.timers
            .follow(events, TimerOwner::Budgets, next_ns, |at_ns| at_ns);
    }

    /// Answers clients whose waiting is over, and sets the timer for the next one.
    fn end_waits(&mut self, events: &mut EventLoop) {
        self.detach_closing();
        // While a script stands still in the middle of its effects nobody else may be run or answered from the data.
        let is_busy = self.state.scripting.is_busy();
        if !self.state.clients.freeing.is_empty() && !is_busy {
            engine::blocking::end_freeing(&mut self.state, events.turn_ns());
        }
        let may_end = self.state.clients.deadlines() > 0 && !is_busy;
        let mut may_go_on = self.state.keyspace.has_ready();
        if may_go_on {
            // Whoever has something to get by now gets it, though its time is over as well.
            self.serve_waiting(events);
        }
        if may_end {
            // By the time of the turn, which has gone on since the last command.
            self.set_clock(self.state.now.mono_ns.max(events.turn_ns()));
            engine::blocking::expire(&mut self.state);
        }
        if !self.state.clients.unblocked.is_empty() {
            may_go_on = true;
            self.serve_waiting(events);
        }
        if may_end || may_go_on {
            events.mark(Phase::Unblock);
        }
        let next = self.state.clients.next_deadline().map(|(at_ns, _)| at_ns);
        self.timers
            .follow(events, TimerOwner::Waits, next, |at_ns| at_ns);
    }

    /// Runs what waits for keys that are ready now, and puts clients that waited back on the ready list.
    pub(super) fn serve_waiting(&mut self, events: &mut EventLoop) {
        // What is loaded is there for those who wait when all of it is.
        if !self.state.scripting.is_busy() && self.state.persistence.loading.is_none() {
            let (state, mut host) = self.state_and_host(events);
            engine::blocking::serve_ready(state, &mut host);
        }
        self.resume_unblocked(events);
    }

    /// Puts clients whose waiting has ended back on the ready list, and has what they are told written.
    pub(super) fn resume_unblocked(&mut self, events: &mut EventLoop) {
        for key in std::mem::take(&mut self.state.clients.unblocked) {
            self.state.clients.mark_pending_write(key);
            let client = self.state.clients.get(key);
            if let Some(token) = client.and_then(|client| client.connection().token()) {
                events.carry(token);
            }
            self.enforce_output_limit(events, key);
        }
    }

    /// Lets a client go on, if it is this that holds it back.
    pub(super) fn resume(&mut self, events: &mut EventLoop, key: ClientKey, held_by: HeldBy) {
        if let Some(client) = self.state.clients.get_mut(key)
            && let Some(Blocked::Held { by, .. }) = client.session.blocked
            && by == held_by
        {
            client.session.blocked = None;
            if let Some(token) = client.connection().token() {
                events.carry(token);
            }
        }
    }

    /// Lets the clients go on that CLIENT PAUSE holds back.
    pub(super) fn resume_held(&mut self, events: &mut EventLoop) {
        for key in self.state.clients.held() {
            self.resume(events, key, HeldBy::Pause);
        }
        // Keys became ready meanwhile, for whom nobody could be run again.
        self.serve_waiting(events);
    }

    /// Brings the effects of this turn to the append-only file, before anyone is answered. What a busy script has done so
    /// far stays in the journal: it goes to the file as a whole, and what others did before it goes without waiting.
    fn flush_append_only(&mut self, force: bool) {
        debug_assert!(
            !self.state.journal.is_in_unit() || self.state.scripting.is_busy(),
            "a unit that never ends holds back all that follows"
        );
        if self.state.persistence.aof.state != AofState::Off {
            engine::persistence::aof::flush(&mut self.state, force);
        }
    }
}
