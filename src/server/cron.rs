//! What is done by the clock: expiry, idle clients, limits that take time, samples for INFO.

use super::endpoints::TimerOwner;
use super::service::Core;
use crate::clients::ClientKind;
use crate::config::SetContext;
use crate::engine::Host;
use crate::engine::eviction::{Room, make_room};
use crate::event_loop::{EventLoop, Phase};
use crate::observe::LatencyEvent;
use crate::system::{crash, process, supervisor};

/// Share of a cron interval that active expiry may take, percent (Redis's default effort).
const EXPIRE_SHARE_PERCENT: u64 = 25;
/// Budget of the short expiry before sleeping, ns, and how long it rests, ns.
const FAST_EXPIRE_NS: u64 = 1_000_000;
/// Time for eviction before each sleep while used memory is over its limit, ns.
const EVICT_NS: u64 = 1_000_000;
/// Samples of rates and memory are taken this often, ns.
const SAMPLE_NS: u64 = 100_000_000;
/// What a report of a crash shows is renewed this often, ns, and it shows so many clients at most.
const NOTE_NS: u64 = 1_000_000_000;
const CLIENTS_NOTED: usize = 100;
/// At least so many clients are looked at in each cron.
const CLIENTS_PER_CRON: usize = 5;

/// A client that is to be closed when its replies are written, and takes none of them for so long, is closed without, ns.
const LINGER_NS: u64 = 60_000_000_000;

/// State of the periodic work.
#[derive(Debug, Default)]
pub(super) struct Cron {
    /// Expiry ran out of time: keys that have expired are waiting.
    expiry_is_behind: bool,
    /// When the short cycle before sleeping ran last.
    last_fast_ns: u64,
    /// When samples were taken last.
    last_sample_ns: u64,
    /// When notes for a crash were left last; none: no report would be about this server.
    last_note_ns: Option<u64>,
    /// The last client that was looked at, by id.
    last_client: u64,
    /// When the files of certificates and keys were looked at last.
    tls_looked_at_ns: u64,
}

impl Core {
    /// Sets the timer of the first cron.
    pub(super) fn start_cron(&mut self, events: &mut EventLoop) {
        self.gauge.refresh(events.turn_ns());
        // From the start on: a loop that never comes to its first cron is one of those that it is there for.
        if self.state.watchdog_ms() > 0 {
            crash::set_watchdog(self.state.watchdog_ms());
        }
        let first_ns = events.turn_ns() + self.interval_ns();
        self.timers.set(events, TimerOwner::Cron, first_ns);
    }

    /// Time between crons, ns.
    fn interval_ns(&self) -> u64 {
        1_000_000_000 / self.state.effective_hz()
    }

    pub(super) fn run_cron(&mut self, events: &mut EventLoop) {
        let interval_ns = self.interval_ns();
        let settings = self.state.config.settings();
        events.set_accepts_per_turn(settings.max_new_connections_per_cycle as usize);
        let watchdog_ms = self.state.watchdog_ms();
        if watchdog_ms > 0 {
            crash::feed_watchdog(watchdog_ms);
        }
        // Set before anything may return: there is always a next one.
        let next_ns = events.turn_ns() + interval_ns;
        self.timers.set(events, TimerOwner::Cron, next_ns);
        if self.state.cron_paused {
            return;
        }
        self.expire(events, interval_ns * EXPIRE_SHARE_PERCENT / 100);
        if !self.state.scripting.is_busy() {
            // A snapshot that begins below is one without them, and says how far the stream is: they are to be in that.
            crate::engine::keyspace_events::drain(&mut self.state, None);
        }
        self.check_clients(events, interval_ns);
        self.end_pause(events);
        crate::engine::tracking::limit(&mut self.state);
        crate::engine::budgets::measure_memory(&self.state);
        self.save_if_due(events);
        self.replication_cron(events);
        self.reload_tls(events);
        self.sample(events);
    }

    /// Looks whether certificates and keys are others by now, as often as `tls-auto-reload-interval` says.
    fn reload_tls(&mut self, events: &mut EventLoop) {
        let settings = self.state.config.settings();
        let tls = &settings.tls;
        if tls.auto_reload_s == 0 || !settings.uses_tls() {
            return;
        }
        let now_ns = events.turn_ns();
        let pause_ns = tls.auto_reload_s.saturating_mul(1_000_000_000);
        if now_ns.saturating_sub(self.cron.tls_looked_at_ns) >= pause_ns {
            self.cron.tls_looked_at_ns = now_ns;
            events.seam().reload_tls(&tls.options);
        }
    }

    fn expire(&mut self, events: &mut EventLoop, budget_ns: u64) {
        // The files have been written to their end: what is removed now would be there again, as if it had not been told.
        if self.ended.is_some() {
            return;
        }
        // What a script has found there is there until it ends.
        if self.state.scripting.is_busy() {
            return;
        }
        if self.state.persistence.loading.is_some() {
            // What has expired may be given a longer life by a command that is still to be loaded.
            return;
        }
        let effort = self.state.config.settings().active_expire_effort;
        let now = self.state.now;
        let is_timed = self.state.observe.latency.is_on();
        let begin_ns = if is_timed {
            events.seam().monotonic_ns()
        } else {
            0
        };
        let cycle = self
            .state
            .keyspace
            .expire_cycle(now, effort, budget_ns, &mut || events.seam().monotonic_ns());
        self.cron.expiry_is_behind = cycle.time_cap_reached;
        if is_timed {
            let ns = events.seam().monotonic_ns().saturating_sub(begin_ns);
            let event = LatencyEvent::ExpireCycle;
            self.state.observe.latency.took(event, ns, now.unix_s());
        }
    }

    fn save_if_due(&mut self, events: &mut EventLoop) {
        // A snapshot would have half of the script's effects.
        if self.state.scripting.is_busy() {
            return;
        }
        let (state, mut host) = self.state_and_host(events);
        crate::engine::persistence::save_if_due(state, &mut host);
        crate::engine::persistence::aof::rewrite_if_due(state, &mut host);
    }

    /// When the slow cycle ran out of time, a short one is put before each sleep, not too often.
    pub(super) fn expire_before_sleep(&mut self, events: &mut EventLoop) {
        let now = events.turn_ns();
        if self.cron.expiry_is_behind
            && now.saturating_sub(self.cron.last_fast_ns) > 2 * FAST_EXPIRE_NS
        {
            self.cron.last_fast_ns = now;
            self.expire(events, FAST_EXPIRE_NS);
            events.mark(Phase::Expire);
        }
    }

    /// Goes on with an eviction that was too much for one command, a short time in each turn; the loop does not sleep
    /// before it is done.
    pub(super) fn evict_before_sleep(&mut self, events: &mut EventLoop) {
        if self.state.scripting.is_busy()
            || !std::mem::take(&mut self.state.requests.evict)
            || self.state.pause.is_some()
        {
            return;
        }
        let until = events.seam().monotonic_ns().saturating_add(EVICT_NS);
        // `make_room` does as much as one command may do, and asks for more in `requests.evict`. Here it is called
        // until the time is over.
        loop {
            let (state, mut host) = self.state_and_host(events);
            if make_room(state, &mut host) != Room::Making {
                events.mark(Phase::Evict);
                return;
            }
            if events.seam().monotonic_ns() >= until {
                break;
            }
            self.state.requests.evict = false;
        }
        events.mark(Phase::Evict);
        // `requests.evict` still stands.
        events.stay_awake();
    }

    /// Looks at a part of the clients, so that each is looked at once a second: idle ones are closed, and those that
    /// stay over a soft limit are cut off.
    fn check_clients(&mut self, events: &mut EventLoop, interval_ns: u64) {
        let timeout_ns = self
            .state
            .config
            .settings()
            .timeout_s
            .saturating_mul(1_000_000_000);
        // So many that all have been looked at after a second, however often the cron runs.
        let share = self.state.clients.len() as u64 * interval_ns / 1_000_000_000;
        let most = (share as usize + 1).max(CLIENTS_PER_CRON);
        let keys = self.state.clients.keys_after(self.cron.last_client, most);
        let now = events.turn_ns();
        let is_last_part = keys.len() < most;
        self.cron.last_client = 0;
        for key in keys {
            let Some(client) = self.state.clients.get_mut(key) else {
                continue;
            };
            self.cron.last_client = client.session.id;
            self.state.observe.client_memory.measure(client, now);
            let idle_ns = now.saturating_sub(client.connection().last_interaction_ns());
            // Subscribers, those in MONITOR and those that wait say nothing for long because they have nothing to say.
            let may_time_out = client.session.kind == ClientKind::Normal
                && client.session.blocked.is_none()
                && !client.session.monitors;
            if client.connection().closes_after_replies()
                && now.saturating_sub(client.connection_mut().lingers(now)) > LINGER_NS
            {
                log::debug!("Closing a client that does not take what it is owed");
                self.state.clients.close(key, false);
                continue;
            }
            if timeout_ns > 0 && may_time_out && idle_ns > timeout_ns {
                log::debug!("Closing idle client");
                self.state.clients.close(key, false);
                continue;
            }
            if client.connection().soft_limit_since_ns() > 0 {
                // Nothing is written to it, so nothing else would find that its time is over.
                self.enforce_output_limit(events, key);
            }
        }
        if is_last_part {
            self.state.observe.client_memory.end_round();
        }
    }

    pub(super) fn end_pause(&mut self, events: &mut EventLoop) {
        let own = self.state.pauses.by_client;
        if own.is_some_and(|pause| pause.until_ms <= self.state.now.unix_ms()) {
            self.state.pauses.by_client = None;
            // Keys whose time is over may go again: during the pause the data stayed as it was.
            self.state.apply_pause();
        }
        // Who is held goes on, whatever it was that has ended.
        let is_paused = self.state.pause.is_some();
        if std::mem::replace(&mut self.was_paused, is_paused) && !is_paused {
            self.resume_held(events);
        }
    }

    fn sample(&mut self, events: &mut EventLoop) {
        let now = events.turn_ns();
        if now.saturating_sub(self.cron.last_sample_ns) < SAMPLE_NS {
            return;
        }
        self.cron.last_sample_ns = now;
        self.http_sweep(events);
        self.gauge.refresh(now);
        let totals = *events.totals();
        let stats = &mut self.state.observe.stats;
        stats.peak_memory = stats.peak_memory.max(self.gauge.used());
        stats
            .commands_per_second
            .sample(now, stats.commands_processed);
        stats.bytes_in = totals.bytes_in;
        stats.bytes_out = totals.bytes_out;
        stats.in_per_second.sample(now, totals.bytes_in);
        stats.out_per_second.sample(now, totals.bytes_out);
        stats.turns_per_second.sample(now, totals.turns);
        stats
            .turn_us
            .sample_per(totals.turns, totals.awake_ns / 1000);
        self.note_for_crash(events);
    }

    /// From now on a report of a crash is about this server.
    pub(super) fn leave_notes(&mut self) {
        self.cron.last_note_ns = Some(0);
    }

    /// Leaves INFO and CLIENT LIST for the report of a crash: made while all is well, because in the handler of a signal
    /// nothing may be allocated and nothing of the data is to be trusted.
    fn note_for_crash(&mut self, events: &mut EventLoop) {
        let now = events.turn_ns();
        let settings = self.state.config.settings();
        if !settings.crash_log_enabled
            || self
                .cron
                .last_note_ns
                .is_none_or(|last| now.saturating_sub(last) < NOTE_NS)
        {
            return;
        }
        self.cron.last_note_ns = Some(now);
        let used = self.gauge.used();
        let (state, host) = self.state_and_host(events);
        let figures = host.loop_figures();
        let recorder = host.events.recorder();
        let sections: [&[u8]; 2] = [b"default", b"commandstats"];
        let mut text =
            crate::engine::info::build(state, figures, recorder, used, &sections).into_bytes();
        text.extend_from_slice(b"\n------ CLIENT LIST OUTPUT ------\n");
        crate::engine::client_line::write_lines(&mut text, state, CLIENTS_NOTED);
        crash::set_snapshot(text);
    }

    /// Hands changed directives to the modules that keep their own copy.
    pub fn apply_settings(&mut self) {
        self.state.apply_settings();
    }

    /// Raises the file limit for `maxclients`; lowers `maxclients` where it cannot be raised enough.
    pub(super) fn limit_clients(&mut self) -> Result<(), String> {
        let settings = self.state.config.settings();
        let wanted = settings.maxclients;
        let possible =
            process::adjust_open_files(wanted, super::host::other_descriptors(settings))?;
        // Told here and not where the limit is raised: CONFIG SET answers in place of telling the log.
        for (level, text) in &possible.messages {
            log::log!(*level, "{text}");
        }
        if possible.maxclients != wanted {
            let value = possible.maxclients.to_string();
            let context = SetContext {
                is_local: true,
                is_loading: false,
            };
            let set = self
                .state
                .config
                .set_many(&[(b"maxclients", value.as_bytes())], context);
            debug_assert!(set.is_ok(), "the possible number of clients is a valid one");
        }
        Ok(())
    }

    /// Where the process number is written: where `pidfile` says, or Redis's default for a daemon.
    pub(super) fn pid_path(&self) -> Option<std::path::PathBuf> {
        let settings = self.state.config.settings();
        let default = || settings.daemonize.then(|| "/var/run/redis.pid".into());
        settings.pidfile.clone().or_else(default)
    }

    pub(super) fn write_pid_file(&self) {
        let Some(path) = self.pid_path() else { return };
        if let Err(error) = process::write_pid_file(&path) {
            log::warn!(
                "Failed to write PID file: {}",
                process::os_error_text(&error)
            );
        }
        // A server that crashes removes it too.
        crash::set_pid_file(Some(&path));
    }

    /// Sets the process title by `proc-title-template`.
    pub(super) fn set_title(&self) {
        self.state.set_process_title();
    }

    /// Says that connections are welcome: to the log, and to systemd when it supervises.
    pub(super) fn ready(&self, _events: &EventLoop) {
        use crate::event_loop::ListenAddress;
        // In the words of Redis's log, which tools wait for.
        let mut addresses = self.listeners.addresses();
        if addresses.any(|address| matches!(address, ListenAddress::Inet(_))) {
            log::info!("Ready to accept connections tcp");
        }
        let mut addresses = self.listeners.addresses();
        if addresses.any(|address| matches!(address, ListenAddress::Tls(_))) {
            log::info!("Ready to accept connections tls");
        }
        for address in self.listeners.addresses() {
            if let ListenAddress::Unix(path, _) = address {
                log::info!(
                    "The server is now ready to accept connections at {}",
                    path.display()
                );
                log::info!("Ready to accept connections unix");
            }
        }
        supervisor::notify("STATUS=Ready to accept connections\nREADY=1\n");
    }
}

#[cfg(test)]
mod tests {
    use crate::server::{Server, simulated};
    use crate::system::simulated_jobs::JobDelays;
    use std::time::Duration;

    /// Over `maxmemory` with nothing to evict, the loop looked again every millisecond until the free thread was done, which
    /// got no time because of that; and commands that take memory ran meanwhile.
    #[test]
    fn memory_that_is_being_freed_is_waited_for_asleep_and_not_for_ever() {
        let (mut server, handle) = simulated(&["--maxmemory-policy", "volatile-lru"]);
        let never_ns = u64::MAX / 4;
        handle.jobs().set_delays(JobDelays {
            usual_ns: never_ns,
            slow: 0,
            slow_ns: 0,
        });
        let peer = handle.connect();
        let run = |server: &mut Server, line: &str| {
            handle.send(peer, format!("{line}\r\n").as_bytes());
            for _ in 0..1000 {
                server.turn(Some(Duration::ZERO)).expect("a turn");
                let answer = handle.take(peer, 1000);
                if !answer.is_empty() {
                    return String::from_utf8(answer).expect("text");
                }
            }
            panic!("no answer to {line}");
        };
        let members: Vec<String> = (0..200).map(|number| format!("m{number}")).collect();
        assert_eq!(
            run(&mut server, &format!("SADD set {}", members.join(" "))),
            ":200\r\n"
        );
        assert_eq!(run(&mut server, "UNLINK set"), ":1\r\n");
        // Less than the process has, whatever it does.
        assert_eq!(run(&mut server, "CONFIG SET maxmemory 1"), "+OK\r\n");
        assert_eq!(
            run(&mut server, "SET key value"),
            "+OK\r\n",
            "it may be free at once"
        );
        let (begun_ns, begun) = (server.events().turn_ns(), server.events().totals().turns);
        while server.events().turn_ns() < begun_ns + 1_000_000_000 {
            server.turn(Some(Duration::from_secs(1))).expect("a turn");
        }
        let turns = server.events().totals().turns - begun;
        assert!(turns < 30, "those of the cron, not {turns}");
        let refused = run(&mut server, "SET key other");
        assert!(refused.starts_with("-OOM "), "{refused}");
        assert_eq!(run(&mut server, "GET key"), "$5\r\nvalue\r\n");
    }
}
