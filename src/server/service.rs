//! What happens at each event of the loop: accept, execute, wait, close. (Reading and writing are in
//! [`super::reading`] and [`super::writing`].)
//!
//! Invariants:
//! * No client waits whose peer is known to be gone: it is asked when it begins to wait, and told of when it goes.
//! * A client is closed only at the end of a turn; until then its slot and its token stay its own.
//! * Replies are written once per turn, before the loop sleeps.

use super::cron::Cron;
use super::flights::Tally;
use super::host::{LoopHost, MemoryGauge};
use super::{End, Listeners};
use crate::clients::{Address, Blocked, Client, ClientKey};
use crate::engine::{CommandId, Host, Outcome, Shutdown, State};
use crate::event_loop::{Accepted, EventLoop, Peer, Phase, Progress, Service, TimerId, Token};
use crate::net::READ_LEN;
use crate::persistence::aof::AofState;
use crate::persistence::loading::LoadFailure;
use crate::persistence::status::ChildKind;
use crate::resp::Args;
use crate::system::signals::{self, ShutdownSignal};
use crate::system::{crash, process, supervisor};
use crate::{commands, engine};
use std::io::{self, IoSlice};

/// Time for loading in one turn, ns.
const LOAD_NS: u64 = 10_000_000;
/// Items that are loaded between two looks at the clock.
const LOAD_ITEMS: u32 = 64;

/// Everything but the loop: the state of the commands, and what belongs to connections.
pub struct Core {
    /// What commands see.
    pub state: State,
    /// The listening sockets.
    pub listeners: Listeners,
    /// Why the loop shall end.
    pub ended: Option<End>,
    pub(super) cron: Cron,
    /// Timer for the first deadline of a client that waits, with that time, ns.
    wait_timer: Option<(u64, TimerId)>,
    /// Timer for the end of CLIENT PAUSE, with that time, Unix ms.
    pause_timer: Option<(i64, TimerId)>,
    pub(super) gauge: MemoryGauge,
    /// The commands that run now, while the recorder is on.
    pub(super) tally: Tally,
    /// Client of each token.
    by_token: Vec<Option<ClientKey>>,
    /// The HTTP pages.
    pub(super) http: super::http::Http,
    /// The shared read buffer.
    pub(super) scratch: Vec<u8>,
    pub(super) batch: super::reading::Batch,
    /// Empty output buffers.
    pub(super) pool: Vec<Vec<u8>>,
}

impl Core {
    /// A core without listeners.
    pub fn new(state: State) -> Core {
        Core {
            state,
            listeners: Listeners::default(),
            ended: None,
            cron: Cron::default(),
            wait_timer: None,
            pause_timer: None,
            gauge: MemoryGauge::default(),
            tally: Tally::default(),
            by_token: Vec::new(),
            http: Default::default(),
            scratch: vec![0; READ_LEN],
            batch: Default::default(),
            pool: Vec::new(),
        }
    }

    fn key_of(&self, token: Token) -> Option<ClientKey> {
        self.by_token.get(token.0).copied().flatten()
    }

    /// Moves the command's clock on to now.
    pub(super) fn refresh_clock(&mut self, events: &mut EventLoop) {
        let mono_ns = events.seam().monotonic_ns();
        self.set_clock(mono_ns);
        events.mark_at(Phase::Read, mono_ns);
    }

    pub(super) fn set_clock(&mut self, mono_ns: u64) {
        let elapsed_us = (mono_ns.saturating_sub(self.state.now.mono_ns) / 1000) as i64;
        self.state.now.unix_us = self.state.now.unix_us.saturating_add(elapsed_us);
        self.state.now.mono_ns = mono_ns;
    }

    /// Runs one request and drains what it wants to happen beyond itself.
    pub(super) fn execute(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        command: Option<CommandId>,
        args: Args<'_>,
    ) -> Outcome {
        if args.is_empty() {
            return Outcome::Done;
        }
        if self.state.clients.counts_memory {
            engine::client_eviction::evict(&mut self.state);
            if !self.is_served(key) {
                return Outcome::Done;
            }
        }
        let mut host = LoopHost {
            events,
            listeners: &mut self.listeners,
            gauge: &mut self.gauge,
            command_ns: self.state.observe.stats.command_ns,
        };
        let before_ns = self.state.now.mono_ns;
        let waiting = self.state.clients.waiting;
        let outcome =
            engine::process::process_found(&mut self.state, &mut host, key, command, args);
        if outcome == Outcome::Postponed || self.state.clients.waiting > waiting {
            self.drop_if_gone(events, key);
        }
        if outcome == Outcome::Done {
            self.note_command(events, key, before_ns);
        }
        if std::mem::take(&mut self.state.requests.close_caller) {
            self.state.clients.close(key, true);
        }
        if let Some(shutdown) = self.state.requests.shutdown.take() {
            self.shut_down(events, shutdown, Some(key));
        }
        if std::mem::take(&mut self.state.requests.unpaused) {
            self.resume_paused(events);
        }
        self.enforce_output_limit(events, key);
        self.enforce_pushed_limits(events);
        self.detach_closing();
        if self.state.keyspace.has_ready() || !self.state.clients.unblocked.is_empty() {
            self.serve_waiting(events);
        }
        outcome
    }

    /// Runs what waits for keys that are ready now, and puts clients that waited back on the ready list.
    pub(super) fn serve_waiting(&mut self, events: &mut EventLoop) {
        let mut host = LoopHost {
            events,
            listeners: &mut self.listeners,
            gauge: &mut self.gauge,
            command_ns: self.state.observe.stats.command_ns,
        };
        // What is loaded is there for those who wait when all of it is.
        if !self.state.scripting.is_busy() && self.state.persistence.loading.is_none() {
            engine::blocking::serve_ready(&mut self.state, &mut host);
        }
        self.resume_unblocked(events);
    }

    /// Puts clients whose waiting has ended back on the ready list, and has what they are told written.
    fn resume_unblocked(&mut self, events: &mut EventLoop) {
        for key in std::mem::take(&mut self.state.clients.unblocked) {
            self.state.clients.mark_pending_write(key);
            if let Some(token) = self.state.clients.get(key).and_then(|client| client.token) {
                events.carry(token);
            }
            self.enforce_output_limit(events, key);
        }
    }

    /// Gives a script that has run for too long its slice of this turn.
    fn run_script(&mut self, events: &mut EventLoop) {
        if !engine::script::wants_turns(&self.state) {
            return;
        }
        let mut host = LoopHost {
            events,
            listeners: &mut self.listeners,
            gauge: &mut self.gauge,
            command_ns: self.state.observe.stats.command_ns,
        };
        engine::script::go_on(&mut self.state, &mut host);
        events.mark(Phase::Execute);
        if engine::script::wants_turns(&self.state) {
            events.stay_awake();
        }
    }

    /// Brings the effects of this turn to the append-only file, before anyone is answered. What a busy script has done so
    /// far stays in the journal: it goes to the file as a whole, and what others did before it goes without waiting.
    pub(super) fn flush_append_only(&mut self, force: bool) {
        if self.state.persistence.aof.state != AofState::Off {
            engine::persistence::aof::flush(&mut self.state, force);
        }
    }

    /// Answers clients whose waiting is over, and sets the timer for the next one.
    fn end_waits(&mut self, events: &mut EventLoop) {
        self.detach_closing();
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
            engine::blocking::expire(&mut self.state, events.turn_ns());
        }
        if !self.state.clients.unblocked.is_empty() {
            may_go_on = true;
            self.serve_waiting(events);
        }
        if may_end || may_go_on {
            events.mark(Phase::Unblock);
        }
        let next = self.state.clients.next_deadline().map(|(at_ns, _)| at_ns);
        if next != self.wait_timer.map(|(at_ns, _)| at_ns) {
            if let Some((_, timer)) = self.wait_timer.take() {
                events.cancel_timer(timer);
            }
            self.wait_timer = next.map(|at_ns| (at_ns, events.set_timer(at_ns)));
        }
    }
    // ---- closing ------------------------------------------------------------------------------------------------

    /// Closes a client that waits although nobody is left to be answered. What it is owed from before is written first:
    /// the end may be that of its sending side only.
    pub(super) fn drop_if_gone(&mut self, events: &EventLoop, key: ClientKey) {
        let token = self.state.clients.get(key).and_then(|client| client.token);
        if token.is_some_and(|token| events.has_ended(token)) {
            self.drop_waiting(key);
        }
    }

    /// Ends the waiting of a client whose peer has ended its side, and closes it.
    pub(super) fn drop_waiting(&mut self, key: ClientKey) {
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        match client.session.blocked {
            // Its script, or the transaction around it, comes to its end, whoever reads the answer.
            None | Some(Blocked::Script) => return,
            // What it waits for is under way (FLUSHALL), comes by itself, and is its to hear.
            Some(Blocked::Keys)
                if client
                    .waits
                    .as_ref()
                    .is_some_and(|it| it.keys.is_empty() && it.acks.is_none()) =>
            {
                return;
            }
            Some(Blocked::Keys | Blocked::Paused | Blocked::Shutdown) => {}
        }
        log::debug!("Client closed connection id={}", client.session.id);
        engine::blocking::end(&mut self.state, key);
        if let Some(client) = self.state.clients.get_mut(key) {
            client.session.blocked = None;
            client.query = Default::default();
        }
        self.state.clients.close(key, true);
        self.state.clients.mark_pending_write(key);
    }

    /// Has clients that are being closed count nowhere any more.
    fn detach_closing(&mut self) {
        while let Some(key) = self
            .state
            .clients
            .to_close
            .get(self.state.clients.detached)
            .copied()
        {
            self.state.clients.detached += 1;
            engine::detach::detach(&mut self.state, key);
        }
    }

    fn close_clients(&mut self, events: &mut EventLoop) {
        self.state.clients.detached = 0;
        let mut held = None;
        while let Some(key) = self.state.clients.to_close.pop() {
            if engine::script::holds(&self.state, key) {
                // Its transaction is to come to its end, whoever reads the answer.
                held = Some(key);
                continue;
            }
            engine::detach::detach(&mut self.state, key);
            let Some(client) = self.state.clients.remove(key) else {
                continue;
            };
            if let Some(token) = client.token {
                events.close(token);
                if let Some(slot) = self.by_token.get_mut(token.0) {
                    *slot = None;
                }
                self.state.clients.connected -= 1;
            }
        }
        self.state.clients.to_close.extend(held);
    }

    /// Ends CLIENT PAUSE when its time is over, else sets the timer for its end.
    fn time_pause(&mut self, events: &mut EventLoop) {
        self.end_pause(events);
        let end = self.state.pause.map(|pause| pause.until_ms);
        if end == self.pause_timer.map(|(until_ms, _)| until_ms) {
            return;
        }
        if let Some((_, timer)) = self.pause_timer.take() {
            events.cancel_timer(timer);
        }
        let now = self.state.now;
        self.pause_timer = end.map(|until_ms| {
            let left_us = until_ms.saturating_mul(1000).saturating_sub(now.unix_us);
            let left_ns = u64::try_from(left_us).unwrap_or(0).saturating_mul(1000);
            let timer = events.set_timer(now.mono_ns.saturating_add(left_ns));
            (until_ms, timer)
        });
    }

    /// Lets the clients go on that CLIENT PAUSE held back.
    pub(super) fn resume_paused(&mut self, events: &mut EventLoop) {
        for key in self.state.clients.held() {
            if let Some(client) = self.state.clients.get_mut(key) {
                client.session.blocked = None;
                if let Some(token) = client.token {
                    events.carry(token);
                }
            }
        }
        // Keys that became ready meanwhile.
        self.serve_waiting(events);
    }

    // ---- shutting down ------------------------------------------------------------------------------------------

    /// SIGTERM or SIGINT came.
    pub(super) fn signalled(&mut self, events: &mut EventLoop, signal: ShutdownSignal) {
        let settings = self.state.config.settings();
        let options = match signal {
            ShutdownSignal::Interrupt => settings.shutdown_on_sigint,
            ShutdownSignal::Terminate => settings.shutdown_on_sigterm,
        };
        let shutdown = Shutdown {
            save: options.save,
            nosave: options.nosave,
            now: options.now,
            force: options.force,
        };
        self.shut_down(events, shutdown, None);
    }

    /// Writes the last snapshot, where one is wanted; whether the server may end.
    fn save_before_exit(&mut self, events: &mut EventLoop, how: Shutdown) -> bool {
        let mut host = LoopHost {
            events,
            listeners: &mut self.listeners,
            gauge: &mut self.gauge,
            command_ns: self.state.observe.stats.command_ns,
        };
        let state = &mut self.state;
        let has_save_points = !state.config.settings().save.is_empty();
        // Half a data set must not replace the file that it comes from.
        let is_whole = state.persistence.loading.is_none();
        let saves = is_whole && (how.save || (has_save_points && !how.nosave));
        if state.persistence.aof.state == AofState::WaitRewrite && !how.force {
            log::warn!("Writing initial AOF, can't exit.");
            supervisor::tell("STATUS=Writing initial AOF, can't exit.\n");
            return false;
        }
        if state.persistence.aof.state == AofState::WaitRewrite {
            log::warn!("Writing initial AOF. Exit anyway.");
        }
        // What a script leaves half done is lost with it: only what is whole is written.
        engine::persistence::aof::flush_at_end(state);
        if saves {
            log::info!("Saving the final RDB snapshot before exiting.");
            supervisor::tell("STATUS=Saving the final RDB snapshot\n");
            // The child that saves is ended only when the server surely does: where this is refused it goes on.
            if !engine::persistence::save_at_end(state, &mut host) {
                if !how.force {
                    log::warn!("Error trying to save the DB, can't exit.");
                    supervisor::tell("STATUS=Error trying to save the DB, can't exit.\n");
                    return false;
                }
                log::warn!("Error trying to save the DB. Exit anyway.");
            }
        }
        let child = state.persistence.child.as_ref().map(|child| child.kind);
        if child == Some(ChildKind::Rewrite) {
            log::warn!("There is a child rewriting the AOF. Killing it!");
        }
        engine::persistence::kill_child(state, &mut host);
        engine::persistence::aof::note_end(state);
        true
    }

    /// Reads what the child that saves has to say; at the end of its pipe it is done.
    fn hear_child(&mut self, events: &mut EventLoop, token: Token) -> Progress {
        let Some(child) = &mut self.state.persistence.child else {
            return Progress::Drained;
        };
        let mut buffer = [0; 1024];
        match events.read(token, &mut buffer) {
            Ok(0) => {}
            Ok(n) => {
                child.heard(&buffer[..n], events.turn_ns());
                return Progress::MoreLeft;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Drained,
            Err(error) => log::warn!("Reading from the child that saves: {error}"),
        }
        // Its end of the pipe is closed by its exit, so this does not wait.
        let exit = child.child.wait();
        events.close(token);
        let exit = exit.unwrap_or(crate::system::child::Exit::Status(-1));
        engine::persistence::child_ended(&mut self.state, exit);
        Progress::Drained
    }

    /// Begins to load the data, if there is any; else opens the append-only file.
    pub(super) fn begin_loading(&mut self, events: &mut EventLoop) -> Result<(), LoadFailure> {
        engine::persistence::loading::begin(&mut self.state)?;
        match self.state.persistence.loading {
            Some(_) => signals::set_loading(true),
            None => self.open_append_only(events)?,
        }
        Ok(())
    }

    fn open_append_only(&mut self, events: &mut EventLoop) -> Result<(), LoadFailure> {
        let mut host = LoopHost {
            events,
            listeners: &mut self.listeners,
            gauge: &mut self.gauge,
            command_ns: self.state.observe.stats.command_ns,
        };
        engine::persistence::aof::open_at_start(&mut self.state, &mut host)
    }

    /// Loads on for a while; the loop stays awake until all is loaded. A file that is wrong ends the server, with the
    /// file untouched.
    fn load_some(&mut self, events: &mut EventLoop) {
        if self.state.scripting.is_busy() {
            // It came from the append-only file, and what follows it there waits for its end.
            return;
        }
        let Some(mut loading) = self.state.persistence.loading.take() else {
            return;
        };
        let mut host = LoopHost {
            events,
            listeners: &mut self.listeners,
            gauge: &mut self.gauge,
            command_ns: self.state.observe.stats.command_ns,
        };
        let until_ns = host.monotonic_ns().saturating_add(LOAD_NS);
        let mut items = 0_u32;
        let mut enough = |host: &mut dyn Host| {
            items += 1;
            items.is_multiple_of(LOAD_ITEMS) && host.monotonic_ns() >= until_ns
        };
        let state = &mut self.state;
        let stepped =
            engine::persistence::loading::step(state, &mut host, &mut loading, &mut enough);
        if let Ok(false) = stepped {
            state.persistence.loading = Some(loading);
            events.stay_awake();
            return;
        }
        if loading.asked.is_some() {
            let took_ns = host.monotonic_ns().saturating_sub(loading.started_ns);
            if let Some(asked) = engine::persistence::loading::end_again(state, &mut loading) {
                let failure = stepped.as_ref().err();
                commands::debug::aof_loaded(state, asked, took_ns, failure);
            }
            // It may have been switched meanwhile, which waited for this. Whoever asked has long been answered: what
            // fails here is tried again by the cron.
            if let Err(reason) = engine::persistence::aof::follow_setting(state, &mut host) {
                log::warn!("{reason}");
            }
            return;
        }
        let failure = match stepped {
            Ok(_) => {
                signals::set_loading(false);
                let ns = events.turn_ns().saturating_sub(loading.started_ns);
                log::info!(
                    "DB loaded from disk: {:.3} seconds",
                    ns as f64 / 1_000_000_000.0
                );
                state.keyspace.dirty = 0;
                match self.open_append_only(events) {
                    Ok(()) => {
                        self.ready(events);
                        return;
                    }
                    Err(failure) => failure,
                }
            }
            Err(failure) => failure,
        };
        let settings = self.state.config.settings();
        engine::persistence::loading::tell_fatal(settings, &failure);
        self.ended = Some(End::Failed);
    }

    /// Shuts down in order: says so, writes what can be written, closes, removes what it left on the disk.
    fn shut_down(&mut self, events: &mut EventLoop, how: Shutdown, by: Option<ClientKey>) {
        log::info!("User requested shutdown...");
        supervisor::tell("STOPPING=1\n");
        if !self.save_before_exit(events, how) {
            log::warn!(
                "Errors trying to shut down the server. Check the logs for more information."
            );
            crate::system::signals::call_off_shutdown();
            if let Some(client) = by.and_then(|key| self.state.clients.get_mut(key)) {
                client
                    .reply
                    .error(b"ERR Errors trying to SHUTDOWN. Check logs.");
                let code = client.reply.last_error_code().to_vec();
                self.state.observe.error_replied(&code);
            }
            return;
        }
        if let Some(path) = self.pid_path() {
            log::info!("Removing the pid file.");
            let _ = process::remove_pid_file(&path);
        }
        // Whoever asked sees the connection close; others get what they are owed as far as sockets take it.
        if let Some(key) = by {
            self.state.clients.close(key, false);
        }
        self.write_replies(events);
        self.listeners.close(events);
        self.http_close_all(events);
        for key in self.state.clients.keys() {
            self.state.clients.close(key, false);
        }
        self.close_clients(events);
        log::warn!("Redis is now ready to exit, bye bye...");
        self.ended = Some(End::Shutdown);
    }
}

impl Service for Core {
    fn turn_begins(&mut self, events: &mut EventLoop) {
        self.state.now.unix_us = events.seam().unix_us();
        self.state.now.mono_ns = events.turn_ns();
        events.set_turn_time(self.state.now.unix_us);
        self.http_turn_begins();
        self.note_long_phases(events);
    }

    fn accepted(&mut self, events: &mut EventLoop, listener: Token, accepted: Accepted) {
        if self.listeners.is_http(listener) {
            self.http_accepted(events, &accepted);
            return;
        }
        self.state.observe.stats.connections_received += 1;
        let settings = self.state.config.settings();
        let (address, local_address, unix_socket) = match accepted.peer {
            Peer::Inet { remote, local } => (Address::Inet(remote), Address::Inet(local), false),
            Peer::Unix(path) => {
                let path = path.to_string_lossy().into_owned();
                (Address::Unix(path.clone()), Address::Unix(path), true)
            }
        };
        let mut client = Client {
            token: Some(accepted.token),
            ..Client::default()
        };
        let now = events.turn_ns();
        let session = &mut client.session;
        session.authenticated = settings.requirepass.is_none();
        session.user = b"default".to_vec();
        session.address = address;
        session.local_address = local_address;
        session.unix_socket = unix_socket;
        session.fd = accepted.fd;
        session.created_ns = now;
        session.last_interaction_ns = now;
        let refusal = if self.state.clients.connected >= settings.maxclients as usize {
            Some(&b"-ERR max number of clients reached\r\n"[..])
        } else if settings.protected_mode && settings.requirepass.is_none() && !session.is_local() {
            Some(PROTECTED_MODE_REFUSAL)
        } else {
            None
        };
        if let Some(text) = refusal {
            // Best effort, as in Redis: a socket that has just been opened takes a line.
            let _ = events.write(accepted.token, &[IoSlice::new(text)]);
            self.state.observe.stats.connections_rejected += 1;
            events.close(accepted.token);
            return;
        }
        let keepalive_s = u32::try_from(settings.tcp_keepalive_s).unwrap_or(u32::MAX);
        events.keep_alive(accepted.token, keepalive_s);
        log::debug!("Accepted {}", client.session.address);
        let key = self.state.clients.insert(client);
        self.state.clients.connected += 1;
        if self.by_token.len() <= accepted.token.0 {
            self.by_token.resize(accepted.token.0 + 1, None);
        }
        self.by_token[accepted.token.0] = Some(key);
    }

    fn accept_failed(&mut self, _events: &mut EventLoop, _listener: Token, error: &io::Error) {
        log::warn!(
            "Accepting client connection: {}",
            process::os_error_text(error)
        );
    }

    fn ended(&mut self, events: &mut EventLoop, token: Token) {
        if let Some(key) = self.key_of(token) {
            self.drop_if_gone(events, key);
        }
    }

    fn readable(&mut self, events: &mut EventLoop, token: Token, ended: bool) -> Progress {
        let Some(key) = self.key_of(token) else {
            if self.http.has(token) {
                return self.http_readable(events, token);
            }
            return self.hear_child(events, token);
        };
        let Some(client) = self.state.clients.get_mut(key) else {
            return Progress::Drained;
        };
        if client.session.closing || client.session.close_after_reply {
            return Progress::Drained;
        }
        match client.session.blocked {
            None => {}
            // It leaves its bytes in the socket; when it goes on it is put on the ready list.
            Some(Blocked::Script) => return Progress::Drained,
            Some(_) => return self.read_ahead(events, key, token),
        }
        if !client.reply.output().has_buffer()
            && let Some(buffer) = self.pool.pop()
        {
            client.reply.output_mut().install(buffer);
        }
        self.note_ready(events, key);
        let progress = self.serve(events, key, token, ended);
        self.note_served(events, key, progress);
        progress
    }

    fn writable(&mut self, events: &mut EventLoop, token: Token) {
        if self.http.has(token) {
            self.http_writable(events, token);
            return;
        }
        if let Some(key) = self.key_of(token)
            && self
                .state
                .clients
                .get(key)
                .is_some_and(|client| !client.reply.output().is_empty())
        {
            self.state.clients.mark_pending_write(key);
        }
    }

    fn timer(&mut self, events: &mut EventLoop, timer: TimerId) {
        if self.cron.timer == Some(timer) {
            self.run_cron(events);
        }
        // Waits that are over are ended before the loop sleeps.
        if self.wait_timer.is_some_and(|(_, set)| set == timer) {
            self.wait_timer = None;
        }
        if self.http.timer == Some(timer) {
            self.http_tick(events);
        }
        if self.pause_timer.is_some_and(|(_, set)| set == timer) {
            self.pause_timer = None;
        }
    }

    fn woken(&mut self, _events: &mut EventLoop) {}

    fn before_sleep(&mut self, events: &mut EventLoop) {
        crash::set_command("");
        self.state.observe.turn_ended();
        // A step that found nothing to do marks no phase: that would be a look at the clock for nothing.
        if self.state.persistence.loading.is_some() {
            self.load_some(events);
            events.mark(Phase::Load);
        }
        self.run_script(events);
        self.expire_before_sleep(events);
        self.evict_before_sleep(events);
        self.time_pause(events);
        self.end_waits(events);
        engine::keyspace_events::drain(&mut self.state, None);
        engine::tracking::broadcast(&mut self.state);
        self.enforce_pushed_limits(events);
        if self.state.persistence.aof.state != AofState::Off {
            self.flush_append_only(false);
            events.mark(Phase::Journal);
        }
        if !self.state.waits_for_sync.is_empty() {
            engine::acks::serve(&mut self.state);
            self.resume_unblocked(events);
        }
        if !self.state.clients.pending_write.is_empty() {
            self.write_replies(events);
            events.mark(Phase::Write);
        }
        engine::client_eviction::evict(&mut self.state);
        if !self.state.clients.to_close.is_empty() {
            self.close_clients(events);
            events.mark(Phase::Close);
        }
        self.http_turn_ends(events);
        // Those that were closed while they waited are gone.
        self.state.clients.unblocked.clear();
    }
}

/// What a client from elsewhere reads while there is neither a password nor an explicit choice to go without.
const PROTECTED_MODE_REFUSAL: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is enabled \
and no password is set for the default user. In this mode connections are only accepted from the loopback interface. \
If you want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable \
protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis \
from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do \
so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by \
editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. \
3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Set up an \
authentication password for the default user. NOTE: You only need to do one of the above things in order for the \
server to start accepting connections from the outside.\r\n";
