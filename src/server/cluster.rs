//! The bus of a cluster: its sockets, and nodes.conf.
//!
//! In: what the loop tells of the bus's sources, and the actions that [`crate::cluster`] leaves. Out: messages, as far as
//! sockets take them; the file before what it promises is sent.
//!
//! Invariants:
//! * A connection has a name ([`LinkId`]) that both sides of this file know it by, and is forgotten by both when it is closed.
//! * Actions are done in the order in which they were left, all before the turn's replies are written.
//! * What was decided is in nodes.conf before anyone is told of it; where it cannot be written the server ends, as a node that has
//!   forgotten whom it voted for could vote again.

use super::endpoints::{Endpoint, TimerOwner};
use super::service::Core;
use crate::cluster::{Action, LinkId, message};
use crate::engine::cluster as engine;
use crate::event_loop::{
    Accepted, ConnectAddress, EventLoop, ListenAddress, ListenOptions, Peer, Progress, Received,
    Token,
};
use crate::net::READ_BUDGET;
use crate::system::disk::Mode;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;

/// How often what is done by the clock is done, ns.
const TICK_NS: u64 = 100_000_000;
/// Messages in one vectored write.
const SLICES: usize = 32;
/// Rounds of actions in one turn: what is left waits for the next.
const ROUNDS: usize = 64;

/// A connection of the bus.
#[derive(Debug)]
struct BusLink {
    token: Token,
    is_connecting: bool,
    /// The other end's address, and ours.
    peer_ip: String,
    local_ip: String,
    /// What was read and is no whole message yet.
    input: Vec<u8>,
    /// Messages that the socket has not taken, the first `sent` bytes of the first of which it has.
    output: VecDeque<Rc<[u8]>>,
    sent: usize,
    /// Bytes of all of them.
    waiting: usize,
}

/// All connections of the bus.
#[derive(Debug, Default)]
pub(super) struct Bus {
    listeners: Vec<Token>,
    links: BTreeMap<LinkId, BusLink>,
    names: BTreeMap<Token, LinkId>,
    /// Connections that are to be closed and told of, when nobody is at work on them.
    broken: Vec<LinkId>,
}

impl Core {
    /// Listens for other nodes, and sets the first tick; on error the text for the log.
    pub(super) fn start_cluster(&mut self, events: &mut EventLoop) -> Result<(), String> {
        if self.state.cluster.is_none() {
            return Ok(());
        }
        let settings = self.state.config.settings();
        if settings.any_port() == 0 {
            return Err(
                "No bind address is configured, but it is required for the Cluster bus.".to_owned(),
            );
        }
        if settings.cluster.port == 0 && settings.any_port() > u16::MAX - 10_000 {
            return Err(
                "Redis port number too high for cluster mode. Cluster bus port number is calculated by \
                 adding 10000 to the Redis listening port number. Your Redis port number must be 55535 or less."
                    .to_owned(),
            );
        }
        let port = settings.bus_port();
        let options = ListenOptions {
            backlog: i32::try_from(settings.tcp_backlog).unwrap_or(i32::MAX),
        };
        let tls = settings.tls.cluster;
        for bind in settings.bind.clone() {
            for address in super::listeners::addresses(&bind.host, port, bind.optional)? {
                let address = match tls {
                    true => ListenAddress::Tls(address),
                    false => ListenAddress::Inet(address),
                };
                let opened =
                    self.endpoints
                        .listen(events, &address, &options, Endpoint::BusListener);
                match opened {
                    Ok(token) => self.bus.listeners.push(token),
                    Err(_) if bind.optional => {}
                    Err(error) => {
                        let reason = crate::system::process::os_error_text(&error);
                        log::warn!(
                            "Warning: Could not create server TCP listening socket {}:{port}: bind: {reason}",
                            bind.host
                        );
                        return Err(format!(
                            "Failed listening on port {port} (cluster), aborting."
                        ));
                    }
                }
            }
        }
        self.timers
            .set(events, TimerOwner::Cluster, events.turn_ns() + TICK_NS);
        Ok(())
    }

    /// What is done by the clock.
    pub(super) fn cluster_tick(&mut self, events: &mut EventLoop) {
        self.timers
            .set(events, TimerOwner::Cluster, events.turn_ns() + TICK_NS);
        let facts = engine::facts(&self.state);
        let limit = self.state.config.settings().cluster.link_limit;
        if limit > 0 {
            let over = |it: &&LinkId| self.bus.links[*it].waiting as u64 > limit;
            let over: Vec<LinkId> = self.bus.links.keys().filter(over).copied().collect();
            for link in over {
                log::warn!(
                    "Freeing a link of the cluster bus whose output has exceeded its limit of {limit} bytes"
                );
                self.state.cluster_links.over_limit += 1;
                self.bus.broken.push(link);
            }
        }
        let links = &mut self.state.cluster_links;
        links.count = self.bus.links.len();
        let memory = |link: &BusLink| link.input.capacity() + size_of::<BusLink>();
        links.memory_bytes = self.bus.links.values().map(memory).sum();
        if let Some(cluster) = &mut self.state.cluster {
            cluster.tick(&facts);
        }
        if self.state.persistence.loading.is_none() {
            let (state, mut host) = self.state_and_host(events);
            engine::actions::follow_primary(state, &mut host);
        }
        engine::route::redirect_blocked(&mut self.state);
    }

    /// The cluster's part of the end of a turn.
    pub(super) fn run_cluster(&mut self, events: &mut EventLoop) {
        self.close_broken(events);
        let facts = engine::facts(&self.state);
        let Some(cluster) = &mut self.state.cluster else {
            return;
        };
        cluster.before_sleep(&facts);
        for _ in 0..ROUNDS {
            let Some(cluster) = self.state.cluster.as_mut().filter(|it| it.has_actions()) else {
                break;
            };
            for action in cluster.take_actions() {
                self.perform(events, action);
            }
            self.close_broken(events);
        }
        let has_more = self
            .state
            .cluster
            .as_ref()
            .is_some_and(|it| it.has_actions());
        if has_more || !self.bus.broken.is_empty() {
            events.stay_awake();
        }
    }

    fn perform(&mut self, events: &mut EventLoop, action: Action) {
        match action {
            Action::Connect { link, ip, port } => self.bus_connect(events, link, ip, port),
            Action::Send { link, bytes } => self.bus_send(events, link, bytes),
            Action::Close(link) => {
                if let Some(gone) = self.bus.links.remove(&link) {
                    self.bus.names.remove(&gone.token);
                    self.endpoints.close(events, gone.token);
                    self.state.cluster_links.buffers.remove(&link);
                }
            }
            Action::Save { sync } => self.save_nodes(sync),
            other => {
                let (state, mut host) = self.state_and_host(events);
                engine::actions::perform(state, &mut host, other);
            }
        }
    }

    // ---- nodes.conf -----------------------------------------------------------------------------------------------

    /// Writes nodes.conf, or ends the server.
    fn save_nodes(&mut self, sync: bool) {
        let Some(cluster) = &self.state.cluster else {
            return;
        };
        let text = cluster.config_text();
        let path = engine::config_path(self.state.config.settings());
        if let Err(error) = self.replace_nodes(&path, &text, sync) {
            log::error!(
                "Fatal: can't update cluster config file {}: {}",
                path.display(),
                crate::system::process::os_error_text(&error)
            );
            (self.state.persistence.end_unanswered)();
        }
    }

    fn replace_nodes(&self, path: &Path, text: &[u8], sync: bool) -> io::Result<()> {
        let disk = &self.state.persistence.disk;
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".tmp-{}", crate::system::process::pid()));
        let temporary = std::path::PathBuf::from(temporary);
        let write = || {
            let file = disk.open(&temporary, Mode::Create)?;
            file.write_all(text)?;
            if sync {
                file.sync_data()?;
            }
            let folder = disk.open_folder(path.parent().unwrap_or(Path::new(".")))?;
            disk.rename(&temporary, path)?;
            if sync {
                folder.sync()?;
            }
            Ok(())
        };
        let written = write();
        if written.is_err() {
            let _ = disk.remove(&temporary);
        }
        written
    }

    // ---- connections ----------------------------------------------------------------------------------------------

    fn bus_connect(&mut self, events: &mut EventLoop, link: LinkId, ip: String, port: u16) {
        let settings = self.state.config.settings();
        let source = settings.bind_source_addr.as_ref();
        let to = ConnectAddress::Name {
            host: ip.clone(),
            port,
            source: source.and_then(|address| address.parse().ok()),
            tls: settings.tls.cluster,
        };
        match events.connect(&to) {
            Ok(token) => {
                self.endpoints.register(token, Endpoint::Bus);
                self.add_link(link, token, true, ip, String::new());
            }
            Err(error) => {
                log::debug!("Unable to connect to Cluster Node [{ip}]:{port} -> {error}");
                if let Some(cluster) = &mut self.state.cluster {
                    cluster.closed(link);
                }
            }
        }
    }

    fn add_link(
        &mut self,
        link: LinkId,
        token: Token,
        is_connecting: bool,
        peer_ip: String,
        local_ip: String,
    ) {
        self.bus.names.insert(token, link);
        let new = BusLink {
            token,
            is_connecting,
            peer_ip,
            local_ip,
            input: Vec::new(),
            output: VecDeque::new(),
            sent: 0,
            waiting: 0,
        };
        self.bus.links.insert(link, new);
    }

    /// A node has connected to the bus.
    pub(super) fn bus_accepted(&mut self, events: &mut EventLoop, accepted: Accepted) {
        let facts = engine::facts(&self.state);
        let is_loading = self.state.persistence.loading.is_some();
        let (Some(cluster), Peer::Inet { remote, local }, false) =
            (&mut self.state.cluster, accepted.peer, is_loading)
        else {
            self.endpoints.close(events, accepted.token);
            return;
        };
        let link = cluster.accepted(&facts);
        let settings = self.state.config.settings();
        // Half of the time after which a node that is silent is suspected.
        let seconds = settings.cluster.node_timeout_ms / 2000;
        events.keep_alive(
            accepted.token,
            u32::try_from(seconds.max(1)).unwrap_or(u32::MAX),
        );
        self.endpoints.register(accepted.token, Endpoint::Bus);
        let text = |ip: IpAddr| ip.to_canonical().to_string();
        self.add_link(
            link,
            accepted.token,
            false,
            text(remote.ip()),
            text(local.ip()),
        );
    }

    /// Closes connections that are broken, and tells of them.
    fn close_broken(&mut self, events: &mut EventLoop) {
        for link in std::mem::take(&mut self.bus.broken) {
            let Some(gone) = self.bus.links.remove(&link) else {
                continue;
            };
            self.bus.names.remove(&gone.token);
            self.endpoints.close(events, gone.token);
            self.state.cluster_links.buffers.remove(&link);
            if let Some(cluster) = &mut self.state.cluster {
                cluster.closed(link);
            }
        }
    }

    /// A connection's source takes bytes: it is made, or goes on.
    pub(super) fn bus_writable(&mut self, events: &mut EventLoop, token: Token) {
        let Some(link) = self.bus.names.get(&token).copied() else {
            return;
        };
        let Some(one) = self.bus.links.get_mut(&link) else {
            return;
        };
        if one.is_connecting {
            match events.connected(token) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    log::debug!("Connection with a node at {} failed: {error}", one.peer_ip);
                    self.bus.broken.push(link);
                    return;
                }
            }
            one.is_connecting = false;
            let facts = engine::facts(&self.state);
            if let Some(cluster) = &mut self.state.cluster {
                cluster.connected(link, &facts);
            }
        }
        self.bus_flush(events, link);
    }

    fn bus_send(&mut self, events: &mut EventLoop, link: LinkId, bytes: Rc<[u8]>) {
        let Some(one) = self.bus.links.get_mut(&link) else {
            return;
        };
        one.waiting += bytes.len();
        one.output.push_back(bytes);
        if !one.is_connecting {
            self.bus_flush(events, link);
        }
    }

    fn bus_flush(&mut self, events: &mut EventLoop, link: LinkId) {
        let Some(one) = self.bus.links.get_mut(&link) else {
            return;
        };
        while !one.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut used = 0;
            for (slice, bytes) in slices.iter_mut().zip(&one.output) {
                let from = if used == 0 { one.sent } else { 0 };
                *slice = IoSlice::new(bytes.get(from..).unwrap_or_default());
                used += 1;
            }
            match events.write(one.token, &slices[..used]) {
                Ok(n) => {
                    one.waiting = one.waiting.saturating_sub(n);
                    let mut left = one.sent + n;
                    while let Some(first) = one.output.front()
                        && left >= first.len()
                    {
                        left -= first.len();
                        one.output.pop_front();
                    }
                    one.sent = left;
                }
                // Its writable edge goes on.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::debug!("I/O error writing to node link: {error}");
                    self.bus.broken.push(link);
                    break;
                }
            }
        }
        let buffer = engine::LinkBuffer {
            allocated: one.waiting,
            used: one.waiting,
        };
        self.state.cluster_links.buffers.insert(link, buffer);
    }

    /// A connection has bytes, or its end.
    pub(super) fn bus_readable(&mut self, events: &mut EventLoop, token: Token) -> Progress {
        let Some(link) = self.bus.names.get(&token).copied() else {
            return Progress::Drained;
        };
        let mut left = READ_BUDGET;
        loop {
            // What is done for one message may close the connection.
            let Some(one) = self.bus.links.get_mut(&link).filter(|it| !it.is_connecting) else {
                return Progress::Drained;
            };
            let mut scratch = std::mem::take(&mut self.scratch);
            let read = events.read(token, &mut scratch);
            if let Ok(Received { len, .. }) = read {
                one.input
                    .extend_from_slice(scratch.get(..len).unwrap_or_default());
            }
            self.scratch = scratch;
            let more = match read {
                Ok(Received { len: 0, .. }) => {
                    log::debug!("I/O error reading from node link: connection closed");
                    self.bus.broken.push(link);
                    return Progress::Drained;
                }
                Ok(Received { len, more }) => {
                    left = left.saturating_sub(len);
                    more
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Progress::Drained;
                }
                Err(error) => {
                    log::debug!("I/O error reading from node link: {error}");
                    self.bus.broken.push(link);
                    return Progress::Drained;
                }
            };
            if !self.take_messages(link) {
                self.bus.broken.push(link);
                return Progress::Drained;
            }
            match (more, left) {
                (false, _) => return Progress::Drained,
                (true, 0) => return Progress::MoreLeft,
                (true, _) => {}
            }
        }
    }

    /// Takes the whole messages that have come; false: nothing more of the connection can be understood or is wanted.
    fn take_messages(&mut self, link: LinkId) -> bool {
        let facts = engine::facts(&self.state);
        let Some(one) = self.bus.links.get_mut(&link) else {
            return true;
        };
        let mut input = std::mem::take(&mut one.input);
        let (peer_ip, local_ip) = (one.peer_ip.clone(), one.local_ip.clone());
        let (mut at, mut is_wanted) = (0, true);
        while is_wanted {
            let rest = input.get(at..).unwrap_or_default();
            let len = match message::total_len(rest) {
                Ok(Some(len)) if len <= rest.len() => len,
                Ok(_) => break,
                Err(error) => {
                    log::warn!(
                        "Bad message length or signature received from the Cluster bus: {error}"
                    );
                    is_wanted = false;
                    break;
                }
            };
            at += len;
            let Some(cluster) = &mut self.state.cluster else {
                return false;
            };
            match message::decode(rest.get(..len).unwrap_or_default()) {
                Ok(message) => {
                    is_wanted = cluster.received(link, &peer_ip, &local_ip, message, &facts);
                }
                Err(error) => log::debug!("A message of the Cluster bus was passed over: {error}"),
            }
        }
        input.drain(..at);
        if let Some(one) = self.bus.links.get_mut(&link) {
            one.input = input;
        }
        is_wanted
    }
}
