//! Connections from their accepting to their end: who is let in, whose waiting ends with its peer, who is closed.
//!
//! In: connections that a listener took, sources whose peer has ended its side, clients that were marked to be closed.
//! Out: clients in the slab, and their removal from it.
//!
//! Invariants:
//! * No client waits for something that may never come while its peer is known to be gone: it is asked when it begins to
//!   wait, and told of when it goes. Its own script and FLUSHALL's work it waits for all the same: they end by themselves.
//! * A client that is being closed counts nowhere any more before the next command runs; its slot and its token stay its
//!   own until the turn ends, because the loop may still hold events for them.
//!
//! Mirrors `acceptCommonHandler`, `createClient` and `freeClientsInAsyncFreeQueue` of Redis's networking.c.

use super::endpoints::Endpoint;
use super::service::Core;
use crate::clients::{
    Address, Awaited, Blocked, Client, ClientKey, Connection, HeldBy, Identity, hosts,
};
use crate::engine;
use crate::event_loop::{Accepted, EventLoop, Peer};
use crate::net::HostKey;
use crate::observe::Executed;
use std::io::IoSlice;
use std::rc::Rc;

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

impl Core {
    /// Takes a connection in as a client, or tells it why not and closes it.
    pub(super) fn accept(&mut self, events: &mut EventLoop, accepted: Accepted) {
        self.state.observe.stats.connections_received += 1;
        let settings = self.state.config.settings();
        let (address, local_address) = match accepted.peer {
            Peer::Inet { remote, local } => (Address::Inet(remote), Address::Inet(local)),
            Peer::Unix(path) => {
                let path = path.to_string_lossy().into_owned();
                (Address::Unix(path.clone()), Address::Unix(path))
            }
        };
        let connection = Connection::new(
            accepted.token,
            accepted.fd,
            address,
            local_address,
            events.turn_ns(),
        );
        let is_priority = match connection.address() {
            Address::Inet(peer) => settings
                .priority_subnets
                .iter()
                .any(|subnet| subnet.contains(peer.ip())),
            Address::Unix(_) | Address::None => false,
        };
        let host = hosts::counted(&connection);
        if let Some(text) = self.refusal(&connection, host, is_priority) {
            // Best effort, as in Redis: a socket that has just been opened takes a line.
            let _ = events.write(accepted.token, &[IoSlice::new(text)]);
            let stats = &mut self.state.observe.stats;
            stats.connections_rejected += 1;
            stats.priority_connections_rejected += u64::from(is_priority);
            self.endpoints.close(events, accepted.token);
            return;
        }
        let mut connection = connection.admitted(is_priority, host.is_some());
        connection.set_transport_bytes(events.held_bytes(accepted.token));
        self.state.clients.priority += usize::from(is_priority);
        if let Some(host) = host {
            self.state.clients.by_host.opened(host);
        }
        let settings = self.state.config.settings();
        let keepalive_s = u32::try_from(settings.tcp_keepalive_s).unwrap_or(u32::MAX);
        events.keep_alive(accepted.token, keepalive_s);
        log::debug!("Accepted {}", connection.address());
        let identity = match self.user_of_certificate(&accepted.certificate_names) {
            Some(identity) => identity,
            None => Identity::newcomer(&self.state.users),
        };
        let client = Client::connected(connection, identity);
        let key = self.state.clients.insert(client);
        self.state.clients.connected += 1;
        self.endpoints
            .register(accepted.token, Endpoint::Client(key));
    }

    /// Why a connection is not taken in, if it is not; in Redis's words where Redis has any.
    fn refusal(
        &mut self,
        connection: &Connection,
        host: Option<HostKey>,
        is_priority: bool,
    ) -> Option<&'static [u8]> {
        let settings = self.state.config.settings();
        let clients = &self.state.clients;
        let most = settings.maxclients as usize;
        // Without subnets nobody could have the places that are kept.
        let reserved = match settings.priority_subnets.is_empty() {
            true => 0,
            false => settings.maxclients_reserved as usize,
        };
        // More of those than places are kept for them take none from the others, short of `maxclients` itself.
        let others = clients.connected.saturating_sub(clients.priority);
        let is_full = reserved > 0 && !is_priority && others >= most.saturating_sub(reserved);
        if clients.connected >= most || is_full {
            return Some(b"-ERR max number of clients reached\r\n");
        }
        let most_of_host = settings.maxclients_per_address;
        if let Some(host) = host
            && most_of_host > 0
            && clients.by_host.of(host) >= most_of_host
        {
            self.state.observe.stats.host_connections_rejected += 1;
            return Some(b"-ERR max number of clients of this address reached\r\n");
        }
        // Nobody has said that the server may be reached from elsewhere, nor by whom.
        let is_kept_out = settings.protected_mode
            && self.state.users.default_user().has_nopass()
            && !connection.is_local();
        is_kept_out.then_some(PROTECTED_MODE_REFUSAL)
    }

    /// Who a client is by its certificate: the first of the users that it names. A name with a NUL in it is nobody's: whoever
    /// reads it only as far as that takes it for another.
    fn user_of_certificate(&mut self, names: &[Vec<u8>]) -> Option<Identity> {
        if names.is_empty() {
            return None;
        }
        let mut plain = names.iter().filter(|name| !name.contains(&0));
        let user = plain.find_map(|name| self.state.users.find(name).filter(|user| user.is_on()));
        let identity = user.map(|user| Identity::User(Rc::clone(user)));
        self.state.observe.stats.denied_certificate += u64::from(identity.is_none());
        identity
    }

    /// Takes note of what the transport of a client's connection holds for it, where that is of a kind that holds anything.
    pub(super) fn note_transport(&mut self, events: &mut EventLoop, key: ClientKey) {
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        let connection = client.connection_mut();
        let before = connection.transport_bytes();
        let Some(token) = connection.token().filter(|_| before > 0) else {
            return;
        };
        connection.set_transport_bytes(events.held_bytes(token));
        if connection.transport_bytes() != before {
            engine::client_eviction::count(&mut self.state, key);
        }
    }

    /// Closes a client that waits although nobody is left to be answered. What it is owed from before is written first:
    /// the end may be that of its sending side only.
    pub(super) fn drop_if_gone(&mut self, events: &EventLoop, key: ClientKey) {
        let client = self.state.clients.get(key);
        let token = client.and_then(|client| client.connection().token());
        if token.is_some_and(|token| events.has_ended(token)) {
            self.drop_waiting(key);
        }
    }

    /// Ends the waiting of a client whose peer has ended its side, and closes it.
    pub(super) fn drop_waiting(&mut self, key: ClientKey) {
        let Some(client) = self.state.clients.get_mut(key) else {
            return;
        };
        match &client.session.blocked {
            // Its script, or the transaction around it, comes to its end, whoever reads the answer.
            None | Some(Blocked::Script) => return,
            Some(Blocked::Command(command)) => match command.awaits {
                // What it waits for is under way (FLUSHALL, MIGRATE), comes by itself, and is its to hear.
                Awaited::Work => return,
                Awaited::Keys(_) | Awaited::Acks(_) | Awaited::Turn(_) => {}
            },
            // It was sent to be run, and nobody was told that it would wait.
            Some(Blocked::Held {
                by: HeldBy::Save | HeldBy::Migration,
                ..
            }) => return,
            Some(Blocked::Held { .. }) => {}
        }
        let id = client.session.id;
        log::debug!("Client closed connection id={id}");
        self.state
            .observe
            .executed(|| Executed::Dropped { client: id });
        // Out of its queues first, so that nothing is served to it that nobody would read.
        engine::blocking::end(&mut self.state, key);
        self.state.budgets.leave(id);
        if let Some(client) = self.state.clients.get_mut(key) {
            client.session.blocked = None;
            client.connection_mut().drop_input();
        }
        self.state.clients.close(key, true);
        self.state.clients.mark_pending_write(key);
    }

    /// Has clients that are being closed count nowhere any more, so that the next command does not meet them as listeners,
    /// watchers or waiters.
    pub(super) fn detach_closing(&mut self) {
        while let Some(key) = self.state.clients.next_to_detach() {
            engine::detach::detach(&mut self.state, key);
        }
    }

    /// Closes the connections of all clients that are marked, and takes them out of the slab.
    pub(super) fn close_clients(&mut self, events: &mut EventLoop) {
        let mut held = None;
        while let Some(key) = self.state.clients.pop_closing() {
            if engine::script::holds(&self.state, key) {
                // Its transaction is to come to its end, whoever reads the answer.
                held = Some(key);
                continue;
            }
            engine::detach::detach(&mut self.state, key);
            let Some(client) = self.state.clients.remove(key) else {
                continue;
            };
            if let Some(token) = client.connection().token() {
                self.endpoints.close(events, token);
                self.state.clients.connected -= 1;
                self.state.clients.priority -= usize::from(client.connection().is_priority());
                if client.connection().is_counted()
                    && let Some(host) = hosts::counted(client.connection())
                {
                    self.state.clients.by_host.closed(host);
                }
            }
        }
        if let Some(key) = held {
            // Not within the loop, which would meet it again.
            self.state.clients.close_later(key);
        }
    }
}
