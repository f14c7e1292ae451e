//! The end of the server: signals and SHUTDOWN, the last save, the last replies.
//!
//! In: a signal, or a command that asked for the end. Out: what can be written is on the disk, the clients have read what
//! their sockets took, and [`Core::ended`](super::Core) is set; or the reason why the server goes on is logged.
//!
//! Mirrors `prepareForShutdown` and `finishShutdown` of Redis's server.c.

use super::End;
use super::service::Core;
use crate::clients::ClientKey;
use crate::engine::{self, Shutdown};
use crate::event_loop::EventLoop;
use crate::persistence::aof::AofState;
use crate::persistence::status::ChildKind;
use crate::system::signals::{self, ShutdownSignal};
use crate::system::{process, supervisor};

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

    /// Shuts down in order: says so, writes what can be written, closes, removes what it left on the disk.
    pub(super) fn shut_down(
        &mut self,
        events: &mut EventLoop,
        how: Shutdown,
        by: Option<ClientKey>,
    ) {
        log::info!("User requested shutdown...");
        supervisor::notify("STOPPING=1\n");
        if !self.save_before_exit(events, how) {
            // The signal is forgotten, so that another one can be sent when what was wrong is mended.
            log::warn!(
                "Errors trying to shut down the server. Check the logs for more information."
            );
            signals::call_off_shutdown();
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
        // What they tell of is in the append-only file by now, as well as that could be.
        self.write_replies(events);
        self.listeners.close(events, &mut self.endpoints);
        self.http_close_all(events);
        for key in self.state.clients.keys() {
            self.state.clients.close(key, false);
        }
        self.close_clients(events);
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
