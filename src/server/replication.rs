//! The sockets of replication: the link to a primary, and what is written to replicas.
//!
//! In: what the loop tells of the link's source; the stream and snapshots that replicas get. Out: bytes, as far as sockets take
//! them; a client that runs the primary's stream.
//!
//! Invariants:
//! * A replica gets its answers, then its snapshot, then the stream, and never two of them mixed.
//! * One replica gets so much in one turn at most; what is left is written in the next.
//! * A replica that takes too little of the stream is cut off at its limit: what it needs is kept for it meanwhile.

use super::endpoints::Endpoint;
use super::service::Core;
use crate::clients::{
    Address, Blocked, Client, ClientKey, ClientKind, Connection, HeldBy, Identity, ReplyMode,
};
use crate::config::Fsync;
use crate::engine::persistence::forkless;
use crate::engine::persistence::receive::{self, ReceiveHow};
use crate::engine::replication::{self as engine, failover, own_keys, primary, replica};
use crate::event_loop::{ConnectAddress, EventLoop, Progress, Received, Token};
use crate::net::{READ_BUDGET, WRITE_BUDGET};
use crate::replication::{Answer, Begins, FailoverState, Handshake, LinkState, Phase, Receiving};
use std::io::{self, IoSlice};
use std::net::SocketAddr;

/// Slices of the stream in one vectored write.
const SLICES: usize = 64;
const SECOND_NS: u64 = 1_000_000_000;
/// The most that a line of the primary may have before its end.
const LINE_MAX: usize = 64 * 1024;

impl Core {
    /// What replication does at the end of a turn, before the replies are written.
    pub(super) fn replicate(&mut self, events: &mut EventLoop) {
        let replication = &self.state.replication;
        if replication.link.is_some() {
            self.follow_primary(events);
        }
        if self.state.replication.failover.state == FailoverState::WaitsForSync {
            let (state, mut host) = self.state_and_host(events);
            failover::step(state, &mut host);
        }
        let replication = &self.state.replication;
        if replication.stream.is_none() && replication.transfer.is_none() {
            return;
        }
        // During a pause the stream stands still, but for an end that waits for the replicas.
        let stands = self.state.pause.is_some() && self.state.ending.is_none();
        if !stands && std::mem::take(&mut self.state.replication.asks_acks) {
            let getack: [&[u8]; 3] = [b"REPLCONF", b"GETACK", b"*"];
            self.state.journal.tell_replicas(&getack);
        }
        engine::feed(&mut self.state);
        if self.state.replication.transfer.is_some() {
            let made = forkless::chunks_made(&self.state);
            let made = made.map(|made| events.seam().observed(made));
            let (state, mut host) = self.state_and_host(events);
            primary::go_on_with_transfer(state, &mut host, made);
        }
        self.mark_replicas(events);
    }

    /// Has the stream written to those who have not got all of it, and cuts off who is too far behind.
    pub(super) fn mark_replicas(&mut self, events: &EventLoop) {
        let Some(stream) = &self.state.replication.stream else {
            return;
        };
        let end = stream.end();
        let settings = self.state.config.settings();
        let limit = settings.client_output_buffer_limits[1];
        let hard = primary::output_limit(settings);
        let now_ns = events.turn_ns();
        let (mut behind, mut over) = (Vec::new(), Vec::new());
        for replica in self.state.replication.replicas.values_mut() {
            if !replica.needs_stream() {
                continue;
            }
            if replica.streams() && end > replica.cursor {
                behind.push(replica.client);
            }
            // What is new in this turn has not been offered to it yet: one large value cuts nobody off who takes it.
            let offered = std::mem::replace(&mut replica.offered, end);
            let waiting = u64::try_from(offered - replica.cursor).unwrap_or(0);
            let mut is_over = waiting > hard;
            if limit.soft_bytes > 0 && waiting > limit.soft_bytes.max(settings.repl_backlog_size) {
                if replica.over_soft_since_ns == 0 {
                    replica.over_soft_since_ns = now_ns.max(1);
                }
                let over_ns = now_ns.saturating_sub(replica.over_soft_since_ns);
                is_over |= over_ns > limit.soft_seconds.saturating_mul(SECOND_NS);
            } else {
                replica.over_soft_since_ns = 0;
            }
            if is_over {
                over.push(replica.client);
            }
        }
        for key in behind {
            self.state.clients.mark_pending_write(key);
        }
        for key in over {
            if let Some(client) = self.state.clients.get(key) {
                log::warn!(
                    "Client id={} addr={} scheduled to be closed ASAP for overcoming of output buffer limits.",
                    client.session.id,
                    client.connection().address()
                );
            }
            let stats = &mut self.state.observe.stats;
            stats.client_output_buffer_limit_disconnections += 1;
            self.state.clients.close(key, false);
        }
    }

    /// Writes to a replica what is behind its answers: a snapshot, then the stream.
    pub(super) fn write_to_replica(
        &mut self,
        events: &mut EventLoop,
        key: ClientKey,
        token: Token,
    ) {
        let Some(client) = self.state.clients.get(key) else {
            return;
        };
        let id = client.session.id;
        let (mut written, mut is_sent, mut fails) = (0, false, false);
        let replication = &mut self.state.replication;
        let Some(replica) = replication.replicas.get_mut(&id) else {
            return;
        };
        loop {
            if written >= WRITE_BUDGET {
                events.carry(token);
                self.state.clients.mark_pending_write(key);
                break;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = if replica.phase == Phase::Receives {
                if replica.snapshot.is_empty() {
                    is_sent = replica.snapshot.is_all;
                    break;
                }
                slices[0] = IoSlice::new(replica.snapshot.first());
                1
            } else if replica.streams()
                && let Some(stream) = &replication.stream
            {
                stream.slices(replica.cursor, &mut slices)
            } else {
                0
            };
            let offered: usize = slices[..used].iter().map(|slice| slice.len()).sum();
            if offered == 0 {
                break;
            }
            match events.write(token, &slices[..used]) {
                Ok(n) => {
                    written += n;
                    self.state.observe.stats.writes_processed += 1;
                    match replica.phase {
                        Phase::Receives => replica.snapshot.advance(n),
                        _ => replica.cursor += n as i64,
                    }
                    if n < offered {
                        // Its writable edge will mark it again.
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::debug!("Error writing to replica: {error}");
                    fails = true;
                    break;
                }
            }
        }
        if fails {
            self.state.clients.close(key, false);
            return;
        }
        self.state.observe.stats.repl_bytes_out += written as u64;
        if let Some(client) = self.state.clients.get_mut(key) {
            let now_ns = events.turn_ns();
            client.connection_mut().was_written(written, now_ns);
        }
        if is_sent {
            primary::snapshot_sent(&mut self.state, id);
        }
    }

    /// Whether a replica has something to be written beside its answers.
    pub(super) fn replica_wants_writing(&self, key: ClientKey) -> bool {
        let Some(client) = self.state.clients.get(key) else {
            return false;
        };
        if client.session.kind != ClientKind::Replica {
            return false;
        }
        let replica = self.state.replication.replicas.get(&client.session.id);
        replica.is_some_and(|it| it.streams() || it.phase == Phase::Receives)
    }

    /// What is done by the clock, once a second.
    pub(super) fn replication_cron(&mut self, events: &mut EventLoop) {
        let now_ns = self.state.now.mono_ns;
        let last_ns = self.state.replication.cron_ns;
        if now_ns.saturating_sub(last_ns) < SECOND_NS {
            return;
        }
        self.state.replication.cron_ns = now_ns;
        if let Some(reason) = replica::cron(&mut self.state) {
            log::warn!("{reason}");
            self.break_link(events, reason);
        }
        let (state, mut host) = self.state_and_host(events);
        primary::cron(state, &mut host);
        if !self.state.scripting.is_busy() && self.state.persistence.loading.is_none() {
            own_keys::expire(&mut self.state);
        }
    }

    // ---- the link to a primary ------------------------------------------------------------------------------------

    /// Makes the link where there is none, goes on with a snapshot that comes.
    fn follow_primary(&mut self, events: &mut EventLoop) {
        self.resume_primary(events);
        self.end_receiving(events);
        // With `always` it is synced in the turn in which it is asked for; else the primary is told when it is.
        let is_told = self.state.config.settings().appendfsync != Fsync::Always;
        let has_more = replica::note_synced(&mut self.state) && is_told;
        let link = self.state.replication.link.as_mut();
        if link.is_some_and(|link| std::mem::take(&mut link.owes_ack)) || has_more {
            replica::acknowledge(&mut self.state);
        }
        let now_ns = events.turn_ns();
        let Some(link) = &mut self.state.replication.link else {
            return;
        };
        let (is_down, is_due) = (
            matches!(link.state, LinkState::Down),
            link.retry_ns <= now_ns,
        );
        if let LinkState::Receiving(_, receiving) = &link.state
            && !receiving.held.is_empty()
            && receive::receive_wants_more(&self.state)
        {
            self.take_held(events);
        }
        // While something is loaded there is nothing that a snapshot could take the place of.
        if is_down && is_due && self.state.persistence.loading.is_none() && self.ended.is_none() {
            self.connect_to_primary(events);
        }
    }

    fn connect_to_primary(&mut self, events: &mut EventLoop) {
        let Some(link) = &mut self.state.replication.link else {
            return;
        };
        log::info!("MASTER <-> REPLICA sync started");
        link.tried_ns = events.turn_ns();
        let (host, port) = (link.host.clone(), link.port);
        let settings = self.state.config.settings();
        let source = settings.bind_source_addr.as_ref();
        let source = source.and_then(|address| address.parse().ok());
        let connected = events.connect(&ConnectAddress::Name {
            host,
            port,
            source,
            tls: settings.tls.replication,
        });
        match connected {
            Ok(token) => {
                link.io_ns = events.turn_ns();
                link.state = LinkState::Connecting(token);
                self.endpoints.register(token, Endpoint::PrimaryLink);
            }
            Err(error) => {
                let reason = format!("Unable to connect to MASTER: {error}");
                log::warn!("{reason}");
                let (state, mut host) = self.state_and_host(events);
                replica::lost(state, &mut host, &reason);
            }
        }
    }

    /// Gives the link up; it is made again.
    fn break_link(&mut self, events: &mut EventLoop, reason: &str) {
        let Some(link) = &mut self.state.replication.link else {
            return;
        };
        if let Some(key) = link.client() {
            link.breaks = Some(reason.to_owned());
            self.state.clients.close(key, false);
            return;
        }
        if let Some(token) = link.token() {
            self.endpoints.close(events, token);
        }
        let (state, mut host) = self.state_and_host(events);
        replica::lost(state, &mut host, reason);
    }

    fn fail_link(&mut self, events: &mut EventLoop, reason: &str) {
        log::warn!("{reason}");
        self.break_link(events, reason);
    }

    /// The same where not the connection is at fault, but what came over it, or this server, which cannot keep it.
    fn fail_snapshot(&mut self, events: &mut EventLoop, reason: &str) {
        if let Some(link) = &mut self.state.replication.link {
            link.is_corrupt = true;
        }
        self.fail_link(events, reason);
    }

    /// The link's source takes bytes: it is connected, or goes on.
    pub(super) fn link_writable(&mut self, events: &mut EventLoop, token: Token) {
        let introduction = replica::introduction(&self.state);
        let now_ns = events.turn_ns();
        let Some(link) = &mut self.state.replication.link else {
            return;
        };
        if let LinkState::Connecting(own) = link.state
            && own == token
        {
            match events.connected(token) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    let reason = format!("Error condition on socket for SYNC: {error}");
                    return self.fail_link(events, &reason);
                }
            }
            log::info!("Non blocking connect for SYNC fired the event.");
            let keep_alive = self.state.config.settings().repl_timeout_s;
            events.keep_alive(token, u32::try_from(keep_alive).unwrap_or(u32::MAX));
            let (handshake, ping) = Handshake::new(introduction);
            link.state = LinkState::Handshake(token, Box::new(handshake));
            link.io_ns = now_ns;
            link.output = ping;
        }
        self.write_link(events, token);
    }

    fn write_link(&mut self, events: &mut EventLoop, token: Token) {
        let Some(link) = &mut self.state.replication.link else {
            return;
        };
        while !link.output.is_empty() {
            match events.write(token, &[IoSlice::new(&link.output)]) {
                Ok(n) => {
                    link.output.drain(..n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A snapshot that has come whole is loaded to its end, and its stream gone on with over another link: this
                // one is found broken when the stream begins.
                Err(_) if matches!(link.state, LinkState::Loading(..)) => {
                    link.output.clear();
                    return;
                }
                Err(error) => {
                    let reason = format!("Sending to the master failed: {error}");
                    return self.fail_link(events, &reason);
                }
            }
        }
    }

    /// The link's source has bytes, or its end.
    pub(super) fn link_readable(&mut self, events: &mut EventLoop, token: Token) -> Progress {
        let mut read_left = READ_BUDGET;
        loop {
            let Some(link) = &mut self.state.replication.link else {
                return Progress::Drained;
            };
            if link.token() != Some(token) || matches!(link.state, LinkState::Connecting(_)) {
                return Progress::Drained;
            }
            if let LinkState::Receiving(_, receiving) = &link.state
                && !receiving.held.is_empty()
            {
                // Whoever takes it puts the source on the ready list again.
                return Progress::Drained;
            }
            if let LinkState::Loading(..) = link.state {
                // What comes behind the snapshot is read when that is loaded.
                return Progress::Drained;
            }
            let mut scratch = std::mem::take(&mut self.scratch);
            let result = events.read(token, &mut scratch);
            let progress = self.link_read(events, token, &result, &scratch);
            self.scratch = scratch;
            match (progress, result) {
                (true, Ok(Received { len, more })) => {
                    read_left = read_left.saturating_sub(len);
                    if read_left == 0 {
                        return Progress::MoreLeft;
                    }
                    if !more {
                        return Progress::Drained;
                    }
                }
                _ => return Progress::Drained,
            }
        }
    }

    /// Takes what one read has brought; whether to read on.
    fn link_read(
        &mut self,
        events: &mut EventLoop,
        token: Token,
        result: &io::Result<Received>,
        scratch: &[u8],
    ) -> bool {
        let len = match result {
            Ok(Received { len: 0, .. }) => {
                self.fail_link(events, "Connection closed by the master");
                return false;
            }
            Ok(received) => received.len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => {
                let reason = format!("I/O error reading from MASTER: {error}");
                self.fail_link(events, &reason);
                return false;
            }
        };
        self.state.observe.stats.repl_bytes_in += len as u64;
        if let Some(link) = &mut self.state.replication.link {
            link.io_ns = events.turn_ns();
        }
        self.link_bytes(events, token, scratch.get(..len).unwrap_or_default());
        self.state
            .replication
            .link
            .as_ref()
            .is_some_and(|link| link.token() == Some(token))
    }

    /// Takes bytes of the link, whatever it is at.
    fn link_bytes(&mut self, events: &mut EventLoop, token: Token, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(link) = &mut self.state.replication.link else {
                return;
            };
            match &mut link.state {
                LinkState::Handshake(_, handshake) => {
                    let end = memchr::memchr(b'\n', bytes);
                    let taken = end.map_or(bytes.len(), |end| end + 1);
                    link.input
                        .extend_from_slice(bytes.get(..taken).unwrap_or_default());
                    bytes = bytes.get(taken..).unwrap_or_default();
                    if link.input.len() > LINE_MAX {
                        return self.fail_link(events, "The master has sent no line");
                    }
                    if end.is_none() {
                        return;
                    }
                    let line = std::mem::take(&mut link.input);
                    match handshake.line(line.trim_ascii()) {
                        Ok(answer) => self.answered(events, token, answer),
                        Err(reason) => {
                            let has_asked = handshake.has_asked();
                            self.fail_link(events, &reason);
                            if has_asked {
                                self.refuse_failover(events);
                            }
                            return;
                        }
                    }
                }
                LinkState::Receiving(..) => {
                    bytes = match self.receive(events, token, bytes) {
                        Some(taken) => bytes.get(taken..).unwrap_or_default(),
                        None => return,
                    };
                }
                LinkState::Loading(_, receiving) => {
                    receiving.held.extend_from_slice(bytes);
                    return;
                }
                LinkState::Up(key) => {
                    let key = *key;
                    if let Some(client) = self.state.clients.get_mut(key) {
                        let query = client.connection_mut().query_mut();
                        query.append(bytes);
                        query.stalled = true;
                    }
                    events.carry(token);
                    return;
                }
                LinkState::Down | LinkState::Connecting(_) => return,
            }
        }
    }

    /// Whoever was to take over would not.
    fn refuse_failover(&mut self, events: &mut EventLoop) {
        if self.state.replication.failover.state == FailoverState::InProgress {
            let (state, mut host) = self.state_and_host(events);
            failover::abort(state, &mut host, "Failover target rejected psync request");
        }
    }

    /// The primary has answered the handshake.
    fn answered(&mut self, events: &mut EventLoop, token: Token, answer: Answer) {
        let receiving = |id, offset| {
            Box::new(Receiving {
                payload: Default::default(),
                id,
                offset,
                held: Vec::new(),
            })
        };
        let goes_on = !matches!(answer, Answer::Send(_));
        if goes_on && self.state.replication.failover.state == FailoverState::InProgress {
            failover::clear(&mut self.state);
            events.stay_awake();
        }
        let Some(link) = &mut self.state.replication.link else {
            return;
        };
        match answer {
            Answer::Send(bytes) => {
                link.output.extend_from_slice(&bytes);
                self.write_link(events, token);
            }
            Answer::FullSync { id, offset } => {
                link.continuation = None;
                link.fails_over = false;
                link.state = LinkState::Receiving(token, receiving(Some(id), offset));
            }
            Answer::Old => {
                link.continuation = None;
                link.state = LinkState::Receiving(token, receiving(None, 0));
                link.output.extend_from_slice(b"SYNC\r\n");
                self.write_link(events, token);
            }
            Answer::Continue { id } => {
                let continuation = link.continuation.take();
                link.fails_over = false;
                replica::continued(&mut self.state, id);
                self.stream_begins(events, token, continuation.map_or(0, |it| it.db));
            }
        }
    }

    /// Takes bytes of a snapshot; how many, or none where there is no link any more.
    fn receive(&mut self, events: &mut EventLoop, token: Token, bytes: &[u8]) -> Option<usize> {
        let Some(link) = &mut self.state.replication.link else {
            return None;
        };
        let LinkState::Receiving(_, receiving) = &mut link.state else {
            return None;
        };
        let mut payload = std::mem::take(&mut receiving.payload);
        let (state, mut host) = self.state_and_host(events);
        let mut failure = None;
        let fed = payload.feed(bytes, &mut |bytes| {
            if failure.is_none()
                && !bytes.is_empty()
                && let Err(reason) = receive::received(state, &mut host, bytes)
            {
                failure = Some(reason);
            }
        });
        let fed = match (fed, failure) {
            (_, Some(reason)) => {
                self.fail_snapshot(events, &reason);
                return None;
            }
            (Err(line), None) => {
                let reason = format!(
                    "Bad protocol from MASTER, the first byte is not '$' (we received '{line}'), are you sure the host \
                     and port are right?"
                );
                self.fail_snapshot(events, &reason);
                return None;
            }
            (Ok(fed), None) => fed,
        };
        if let Some(LinkState::Receiving(_, receiving)) = self
            .state
            .replication
            .link
            .as_mut()
            .map(|link| &mut link.state)
        {
            receiving.payload = payload;
        }
        if let Some(begins) = fed.begins
            && !self.snapshot_begins(events, begins)
        {
            return None;
        }
        if fed.is_whole {
            self.snapshot_is_whole(events, token);
        } else if !receive::receive_wants_more(&self.state)
            && let Some(LinkState::Receiving(_, receiving)) = self
                .state
                .replication
                .link
                .as_mut()
                .map(|link| &mut link.state)
        {
            // The rest of what was read is kept until there is room.
            let rest = bytes.get(fed.taken..).unwrap_or_default();
            receiving.held.extend_from_slice(rest);
            return Some(bytes.len());
        }
        Some(fed.taken)
    }

    /// The line of a snapshot has come; whether there is somebody to take it.
    fn snapshot_begins(&mut self, events: &mut EventLoop, begins: Begins) -> bool {
        use crate::config::DisklessLoad;
        let settings = self.state.config.settings();
        let replication = &self.state.replication;
        let is_same = match replication.link.as_ref().map(|link| &link.state) {
            Some(LinkState::Receiving(_, receiving)) => {
                receiving.id.as_ref() == Some(&replication.id)
            }
            _ => false,
        };
        let is_empty =
            (0..self.state.keyspace.count()).all(|index| self.state.keyspace.figures(index).0 == 0);
        let how = match settings.repl_diskless_load {
            DisklessLoad::Disabled => ReceiveHow::Disk,
            DisklessLoad::OnEmptyDb if is_empty => ReceiveHow::Flush,
            DisklessLoad::OnEmptyDb => ReceiveHow::Disk,
            // The old data may be told meanwhile where they are an earlier state of the same.
            DisklessLoad::SwapDb if is_same => ReceiveHow::Swap,
            DisklessLoad::SwapDb => ReceiveHow::SwapUnserved,
            DisklessLoad::Flush => ReceiveHow::Flush,
        };
        let to = match how {
            ReceiveHow::Disk => "to disk",
            _ => "to parser",
        };
        let len = match begins {
            Begins::Length(len) => {
                log::info!("MASTER <-> REPLICA sync: receiving {len} bytes from master {to}");
                Some(len)
            }
            Begins::Mark => {
                log::info!(
                    "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {to}"
                );
                None
            }
        };
        let (state, mut host) = self.state_and_host(events);
        match receive::begin_receive(state, &mut host, how, len) {
            Ok(()) => true,
            Err(error) => {
                let reason = format!(
                    "Opening the temp file needed for MASTER <-> REPLICA synchronization: {error}"
                );
                self.fail_link(events, &reason);
                false
            }
        }
    }

    fn snapshot_is_whole(&mut self, events: &mut EventLoop, token: Token) {
        let (state, mut host) = self.state_and_host(events);
        if let Err(reason) = receive::received_all(state, &mut host) {
            return self.fail_snapshot(events, &reason);
        }
        if let Some(link) = &mut self.state.replication.link
            && let LinkState::Receiving(_, receiving) = std::mem::take(&mut link.state)
        {
            link.state = LinkState::Loading(token, receiving);
        }
        events.stay_awake();
    }

    /// Gives what was held back to whoever takes the snapshot.
    fn take_held(&mut self, events: &mut EventLoop) {
        let Some(link) = &mut self.state.replication.link else {
            return;
        };
        let LinkState::Receiving(token, receiving) = &mut link.state else {
            return;
        };
        let (token, held) = (*token, std::mem::take(&mut receiving.held));
        self.link_bytes(events, token, &held);
        events.carry(token);
    }

    /// A snapshot is loaded, or could not be.
    fn end_receiving(&mut self, events: &mut EventLoop) {
        let now_ns = events.turn_ns();
        let Some(link) = &mut self.state.replication.link else {
            return;
        };
        let (LinkState::Loading(token, _) | LinkState::Receiving(token, _)) = &link.state else {
            return;
        };
        let token = *token;
        let is_whole = matches!(link.state, LinkState::Loading(..));
        if is_whole && now_ns.saturating_sub(link.newline_ns) > SECOND_NS {
            // A sign of life: the primary would take the link for broken.
            link.newline_ns = now_ns;
            link.output.push(b'\n');
            self.write_link(events, token);
        }
        let Some(result) = receive::take_received(&mut self.state) else {
            return;
        };
        let Some(link) = &mut self.state.replication.link else {
            return;
        };
        match result {
            Err(reason) => self.fail_snapshot(events, &reason),
            // The link still has its source here, which is closed with it.
            Ok(info) if info.stream_db >= self.state.keyspace.count() => self.fail_snapshot(
                events,
                "The stream of the master is for a database that is not here",
            ),
            Ok(info) => {
                let LinkState::Loading(token, receiving) = std::mem::take(&mut link.state) else {
                    return;
                };
                let id = receiving.id.clone();
                let db = info.stream_db;
                // Who knows no PSYNC names no stream: nobody can go on with it.
                let id = id.unwrap_or_else(|| engine::new_id(&mut self.state));
                replica::synchronised(&mut self.state, &id, receiving.offset);
                log::info!("MASTER <-> REPLICA sync: Finished with success");
                self.stream_begins(events, token, db);
                self.link_bytes(events, token, &receiving.held);
            }
        }
    }

    /// From here on the stream comes: the link's source is that of a client.
    fn stream_begins(&mut self, events: &mut EventLoop, token: Token, db: usize) {
        let now_ns = events.turn_ns();
        let Some(link) = &mut self.state.replication.link else {
            return;
        };
        let rest = std::mem::take(&mut link.output);
        let ip = link.host.parse().ok();
        let address = ip.map_or(Address::None, |ip| {
            Address::Inet(SocketAddr::new(ip, link.port))
        });
        let connection = Connection::new(token, -1, address, Address::None, now_ns);
        let mut client = Client::connected(connection, Identity::superuser(&self.state.users));
        client.session.kind = ClientKind::Primary;
        client.session.db = db;
        // What it sends is not answered; what it asks for is pushed.
        client.session.reply_mode = ReplyMode::Off;
        client.reply.raw(&rest);
        client.reply.set_discard(true);
        let key = self.state.clients.insert(client);
        self.state.clients.connected += 1;
        self.endpoints.hand_over(token, Endpoint::Client(key));
        link.state = LinkState::Up(key);
        link.io_ns = now_ns;
        link.down_since_ns = None;
        link.up_since_ns = now_ns;
        link.drop_unapplied();
        link.is_corrupt = false;
        self.state.clients.mark_pending_write(key);
        replica::acknowledge(&mut self.state);
        // Bytes of the stream may be there, and no edge will tell of them.
        events.carry(token);
    }

    /// A stream that waited for a script of this server goes on.
    fn resume_primary(&mut self, events: &mut EventLoop) {
        let link = self.state.replication.link.as_ref();
        let Some(key) = link.and_then(|link| link.client()) else {
            return;
        };
        if self.state.scripting.is_busy() || self.state.persistence.loading.is_some() {
            return;
        }
        let client = self.state.clients.get(key);
        let blocked = client.and_then(|client| client.session.blocked.as_ref());
        if matches!(
            blocked,
            Some(Blocked::Held {
                by: HeldBy::Script,
                ..
            })
        ) {
            self.resume(events, key, HeldBy::Script);
        }
    }
}
