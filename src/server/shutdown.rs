//! The end of the server: signals and SHUTDOWN, the last save, the last replies.
//!
//! In: a signal, or a command that asked for the end. Out: what can be written is on the disk, the clients have read what
//! their sockets took, and [`Core::ended`](super::Core) is set; or the reason why the server goes on is logged.
//!
//! Mirrors `prepareForShutdown` and `finishShutdown` of Redis's server.c.

use super::End;
use super::service::Core;
use crate::clients::ClientKey;
use crate::engine::{self, CommandError, Ending, Shutdown};
use crate::event_loop::EventLoop;
use crate::persistence::aof::AofState;
use crate::persistence::status::ChildKind;
use crate::system::signals::{self, ShutdownSignal};
use crate::system::{process, supervisor};
use std::time::Duration;

/// How long the end waits for sockets to take what was written to them over TLS. (Redis waits for none: what a socket has not
/// taken at the end is lost.)
const LAST_WRITES: Duration = Duration::from_secs(1);

impl Core {
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

    /// Shuts down in order; where replicas have not got all of the stream, when they have, or when it has waited for long.
    pub(super) fn shut_down(
        &mut self,
        events: &mut EventLoop,
        how: Shutdown,
        by: Option<ClientKey>,
    ) {
        if let Some(ending) = &mut self.state.ending {
            // It is under way already. Whoever asks again waits with the others.
            let client = by.and_then(|key| self.state.clients.get(key));
            ending
                .clients
                .extend(client.map(|client| client.session.id));
            self.wait_for_end(by);
            return;
        }
        log::info!("User requested shutdown...");
        supervisor::notify("STOPPING=1\n");
        let timeout_s = self.state.config.settings().shutdown_timeout_s;
        if how.now || timeout_s == 0 || self.replicas_have_all() {
            self.finish(events, how, by.into_iter().collect());
            return;
        }
        log::info!("Waiting for replicas before shutting down.");
        let client = by.and_then(|key| self.state.clients.get(key));
        self.state.ending = Some(Ending {
            how,
            clients: client.map(|client| client.session.id).into_iter().collect(),
            until_ns: self
                .state
                .now
                .mono_ns
                .saturating_add(timeout_s.saturating_mul(1_000_000_000)),
            is_aborted: false,
        });
        self.state.replication.asks_acks = true;
        self.state.pauses.for_shutdown = true;
        self.state.apply_pause();
        self.wait_for_end(by);
    }

    /// Has a client that asked for the end wait for it.
    fn wait_for_end(&mut self, by: Option<ClientKey>) {
        if let (Some(key), Some(command)) = (by, self.state.table.find(b"shutdown")) {
            engine::blocking::begin_work(&mut self.state, key, command);
        }
    }

    fn replicas_have_all(&self) -> bool {
        let offset = self.state.journal.offset();
        let mut replicas = self.state.replication.replicas.values();
        replicas.all(|it| !it.is_attached() || it.acked == offset)
    }

    /// Goes on with an end that waits for replicas.
    pub(super) fn end_when_replicas_have_all(&mut self, events: &mut EventLoop) {
        let Some(ending) = &self.state.ending else {
            return;
        };
        let is_over = ending.until_ns <= self.state.now.mono_ns;
        if !ending.is_aborted && !is_over && !self.replicas_have_all() {
            return;
        }
        let Some(ending) = self.state.ending.take() else {
            return;
        };
        let clients = ending.clients.iter();
        let keys = clients.filter_map(|id| self.state.clients.by_id(*id));
        let keys: Vec<ClientKey> = keys.collect();
        if ending.is_aborted {
            self.refuse_end(&keys);
        } else {
            self.finish(events, ending.how, keys);
        }
        if self.ended.is_none() {
            self.resume_unblocked(events);
            self.state.pauses.for_shutdown = false;
            self.state.apply_pause();
            events.stay_awake();
        }
    }

    /// Tells those who asked for the end that there is none.
    fn refuse_end(&mut self, by: &[ClientKey]) {
        const REFUSED: CommandError =
            CommandError::fixed("ERR Errors trying to SHUTDOWN. Check logs.");
        for key in by {
            let client = self.state.clients.get(*key);
            if client.is_some_and(|client| client.session.waiting().is_some()) {
                engine::blocking::give_up(&mut self.state, *key, 0, Some(&REFUSED));
            } else if let Some(client) = self.state.clients.get_mut(*key) {
                client.reply.error(REFUSED.bytes());
                let code = client.reply.last_error_code().to_vec();
                self.state.observe.error_replied(&code);
            }
        }
    }

    /// Says what replicas have not got.
    fn log_replicas(&self) {
        let offset = self.state.journal.offset();
        let (mut all, mut lagging) = (0, 0);
        for replica in self.state.replication.replicas.values() {
            if !replica.is_attached() {
                continue;
            }
            all += 1;
            if replica.acked != offset {
                lagging += 1;
                let lag_ns = self.state.now.mono_ns.saturating_sub(replica.acked_ns);
                log::info!(
                    "Lagging replica {} reported offset {} behind master, lag={}, state={}.",
                    engine::replication::primary::name_of(&self.state, replica),
                    offset - replica.acked,
                    lag_ns / 1_000_000_000,
                    replica.state_name()
                );
            }
        }
        if all > 0 {
            log::info!(
                "{} of {all} replicas are in sync when shutting down.",
                all - lagging
            );
        }
    }

    /// Says so, writes what can be written, closes, removes what it left on the disk.
    fn finish(&mut self, events: &mut EventLoop, how: Shutdown, by: Vec<ClientKey>) {
        self.log_replicas();
        if !self.save_before_exit(events, how) {
            // The signal is forgotten, so that another one can be sent when what was wrong is mended.
            log::warn!(
                "Errors trying to shut down the server. Check the logs for more information."
            );
            signals::call_off_shutdown();
            self.refuse_end(&by);
            return;
        }
        if let Some(path) = self.pid_path() {
            log::info!("Removing the pid file.");
            let _ = process::remove_pid_file(&path);
        }
        // Whoever asked sees the connection close; others get what they are owed as far as sockets take it.
        for key in by {
            self.state.clients.close(key, false);
        }
        // What they tell of is in the append-only file by now, as well as that could be; replicas get it, too.
        engine::replication::feed(&mut self.state);
        self.mark_replicas(events);
        self.write_replies(events);
        self.listeners.close(events, &mut self.endpoints);
        self.http_close_all(events);
        for key in self.state.clients.keys() {
            self.state.clients.close(key, false);
        }
        self.close_clients(events);
        // What is encrypted is with us and not with the kernel, which goes on sending when the process is gone.
        events.seam().finish(LAST_WRITES);
        log::warn!("Redis is now ready to exit, bye bye...");
        self.ended = Some(End::Shutdown);
    }

    /// Writes the last snapshot, where one is wanted; whether the server may end.
    fn save_before_exit(&mut self, events: &mut EventLoop, how: Shutdown) -> bool {
        let (state, mut host) = self.state_and_host(events);
        let has_save_points = !state.config.settings().save.is_empty();
        // Half a data set must not replace the file that it comes from.
        let is_whole = state.persistence.loading.is_none();
        let saves = is_whole && (how.save || (has_save_points && !how.nosave));
        if state.persistence.aof.state == AofState::WaitRewrite && !how.force {
            log::warn!("Writing initial AOF, can't exit.");
            supervisor::notify("STATUS=Writing initial AOF, can't exit.\n");
            return false;
        }
        if state.persistence.aof.state == AofState::WaitRewrite {
            log::warn!("Writing initial AOF. Exit anyway.");
        }
        // What a script leaves half done is lost with it: only what is whole is written.
        engine::persistence::aof::flush_at_end(state);
        if saves {
            log::info!("Saving the final RDB snapshot before exiting.");
            supervisor::notify("STATUS=Saving the final RDB snapshot\n");
            // The child that saves is ended only when the server surely does: where this is refused it goes on.
            if !engine::persistence::save_at_end(state, &mut host) {
                if !how.force {
                    log::warn!("Error trying to save the DB, can't exit.");
                    supervisor::notify("STATUS=Error trying to save the DB, can't exit.\n");
                    return false;
                }
                log::warn!("Error trying to save the DB. Exit anyway.");
            }
        }
        // Its file would be taken over by nobody. The old ones are whole, and stay.
        if state.persistence.saving() == Some(ChildKind::Rewrite) {
            log::warn!("There is a child rewriting the AOF. Killing it!");
        }
        engine::persistence::kill_child(state, &mut host);
        // Its file would be left behind.
        state.receive.end();
        engine::persistence::aof::note_end(state);
        true
    }
}
