//! From replies to a socket's bytes, and the limits on what may wait to be written.
//!
//! In: clients with replies that wait. Out: bytes written, as far as their sockets take them, once a turn; clients that
//! are over their limits, closed. Mirrors `writeToClient` and `checkClientOutputBufferLimits` of Redis.

use super::service::Core;
use crate::clients::{ClientKey, UNCOUNTED_OUTPUT};
use crate::engine;
use crate::event_loop::EventLoop;
use crate::net::WRITE_BUDGET;
use std::io::{self, IoSlice};

/// Slices of one vectored write.
const SLICES: usize = 64;
/// Output buffers kept for the next clients.
const POOLED_BUFFERS: usize = 64;

impl Core {
    /// Cuts a client off whose output is over its hard limit, or over the soft one for too long.
    pub(super) fn enforce_output_limit(&mut self, events: &EventLoop, key: ClientKey) {
        self.close_over_output_limit(events, key);
        // One that is cut off for itself makes room: nobody else need go.
        engine::client_eviction::count(&mut self.state, key);
    }

    fn close_over_output_limit(&mut self, events: &EventLoop, key: ClientKey) {
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        let waiting = client.reply.output().len();
        // Before it has authenticated it may have no more. Less would cut off pipelines that forgot to authenticate before
        // they are told so.
        if waiting <= UNCOUNTED_OUTPUT || client.connection().is_closing() {
            client.connection_mut().below_soft_limit();
            return;
        }
        let Some(class) = client.session.kind.limit_class() else {
            return;
        };
        let limit = &self.state.config.settings().client_output_buffer_limits[class];
        // Memory and not bytes that wait: a buffer that is mostly empty takes its room all the same.
        let used = client.reply.output().memory_bytes() as u64;
        // Who has been somebody may still be owed answers from then (RESET, a user that was removed).
        let session = &client.session;
        let unauthenticated = session.identity.is_stranger() && !session.was_authenticated;
        let mut over = unauthenticated || (limit.hard_bytes > 0 && used >= limit.hard_bytes);
        if limit.soft_bytes > 0 && used >= limit.soft_bytes {
            let now = events.turn_ns();
            let since = client.connection_mut().over_soft_limit(now);
            over |= now.saturating_sub(since) > limit.soft_seconds.saturating_mul(1_000_000_000);
        } else {
            client.connection_mut().below_soft_limit();
        }
        if over {
            log::warn!(
                "Client id={} addr={} closed for overcoming of output buffer limits.",
                client.session.id,
                client.connection().address()
            );
            // It will not be written, and is what there is too much of.
            client.reply.output_mut().clear();
            self.state
                .observe
                .stats
                .client_output_buffer_limit_disconnections += 1;
            self.state.clients.close(key, false);
        }
    }

    /// Looks at the output limits of those who were sent what they did not ask for.
    pub(super) fn enforce_pushed_limits(&mut self, events: &EventLoop) {
        while let Some(key) = self.state.clients.pop_pushed() {
            self.enforce_output_limit(events, key);
        }
    }

    /// Writes to every client that has replies, once; what a socket does not take waits for its writable edge.
    pub(super) fn write_replies(&mut self, events: &mut EventLoop) {
        let pending = self.state.clients.begin_writing();
        for key in &pending {
            // Marked anew by whatever comes from here on; that is written in the next turn.
            if self.state.clients.is_written_now(*key) {
                self.write_to(events, *key);
                engine::client_eviction::count(&mut self.state, *key);
            }
        }
        self.state.clients.end_writing(pending);
    }

    /// Writes what the socket takes, within the bound of a turn.
    fn write_to(&mut self, events: &mut EventLoop, key: ClientKey) {
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        let Some(token) = client.connection().token() else {
            return;
        };
        if client.connection().is_closing() {
            return;
        }
        let mut written = 0;
        while !client.reply.output().is_empty() {
            if written >= WRITE_BUDGET {
                // More would go out at once: served again next turn, before the loop sleeps.
                events.carry(token);
                self.state.clients.mark_pending_write(key);
                break;
            }
            // Many chunks in one system call: a long answer does not cost one for each.
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = client.reply.output().io_slices(&mut slices);
            match events.write(token, &slices[..used]) {
                Ok(0) => break,
                Ok(n) => {
                    client.reply.output_mut().advance(n);
                    written += n;
                    self.state.observe.stats.writes_processed += 1;
                }
                // Its writable edge will mark it again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::debug!("Error writing to client: {error}");
                    self.state.clients.close(key, false);
                    return;
                }
            }
        }
        if self.replica_wants_writing(key)
            && self
                .state
                .clients
                .get(key)
                .is_some_and(|client| client.reply.output().is_empty())
        {
            self.write_to_replica(events, key, token);
        }
        let keep_buffers = self.state.clients.keep_buffers;
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        client
            .connection_mut()
            .was_written(written, events.turn_ns());
        self.note_written(events, key);
        self.note_transport(events, key);
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        if client.connection().soft_limit_since_ns() > 0 {
            // What drains in between does not add up.
            let class = client.session.kind.limit_class();
            let limits = &self.state.config.settings().client_output_buffer_limits;
            let output = client.reply.output();
            let is_below = output.len() <= UNCOUNTED_OUTPUT
                || class
                    .is_none_or(|class| (output.memory_bytes() as u64) < limits[class].soft_bytes);
            if is_below {
                client.connection_mut().below_soft_limit();
            }
        }
        if client.reply.output().is_empty() {
            // All written: the buffer goes to whoever is answered next, so that there are as many as are answered at a
            // time and not as many as are connected.
            if !keep_buffers
                && let Some(buffer) = client.reply.output_mut().release()
                && self.pool.len() < POOLED_BUFFERS
            {
                self.pool.push(buffer);
            }
            if client.connection().closes_after_replies() {
                self.state.clients.close(key, false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::server::simulated;
    use std::time::Duration;

    /// A client that had ended its side was written to when that was read, with a write (and a sync) of the append-only file
    /// for itself, though the turn went on.
    #[test]
    fn nothing_is_read_behind_the_first_reply_of_a_turn() {
        let (mut server, handle) = simulated(&[]);
        let peers: Vec<_> = (0..4).map(|_| handle.connect()).collect();
        let mut turn = || server.turn(Some(Duration::ZERO)).expect("a turn");
        while handle.accepted().len() < peers.len() {
            turn();
        }
        handle.keep_trace();
        for peer in &peers {
            handle.send(*peer, b"PING\r\n");
            handle.finish(*peer);
        }
        for _ in 0..20 {
            turn();
        }
        for peer in &peers {
            assert_eq!(handle.take(*peer, 100), b"+PONG\r\n");
            assert!(handle.is_closed(*peer));
        }
        let trace = handle.trace().expect("it was kept");
        let mut has_written = false;
        for line in trace.lines() {
            match line.split(' ').next() {
                Some("slept") => has_written = false,
                Some("write") => has_written = true,
                Some("read") => assert!(!has_written, "{trace}"),
                _ => {}
            }
        }
    }
}
