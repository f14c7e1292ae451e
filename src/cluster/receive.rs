//! What follows from a message, and from a connection that is made or lost.

use super::message::{Body, Extension, Gossip, Header, Message, PingKind, is_address};
use super::*;

/// A ping of some kind that has come.
struct Ping {
    link: LinkId,
    kind: PingKind,
    /// A node of the table whose handshake is done, or being done on another connection.
    sender: Option<NodeKey>,
    gossip: Vec<Gossip>,
    extensions: Vec<Extension>,
}

impl Cluster {
    /// Another node has connected.
    pub fn accepted(&mut self, facts: &Facts) -> LinkId {
        self.facts = *facts;
        self.new_link(None)
    }
    /// A connection that was asked for is made.
    pub fn connected(&mut self, link: LinkId, facts: &Facts) {
        self.facts = *facts;
        let Some(key) = self.links.get(&link).and_then(|record| record.node) else {
            return;
        };
        let Some(node) = self.node(key) else { return };
        let sent_before = (node.times.ping_sent, node.ping_sent_ms);
        let awaits_pong = node.awaits_pong();
        let kind = if node.has(node_flags::MEET) {
            PingKind::Meet
        } else {
            PingKind::Ping
        };
        self.send_ping(link, kind);
        if let Some(node) = self.edit(key) {
            if awaits_pong {
                // The answer is waited for since the ping on the connection before.
                (node.times.ping_sent, node.ping_sent_ms) = sent_before;
            }
            node.flags &= !node_flags::MEET;
        }
    }
    /// A connection is lost, or was not made.
    pub fn closed(&mut self, link: LinkId) {
        self.unlink(link);
    }
    /// A message has come, from `peer_ip`, to the address `local_ip` of this server. False: the connection must be closed; it is
    /// forgotten here.
    pub fn received(
        &mut self,
        link: LinkId,
        peer_ip: &str,
        local_ip: &str,
        message: Message,
        facts: &Facts,
    ) -> bool {
        self.facts = *facts;
        if !self.links.contains_key(&link) {
            return false;
        }
        let kind = usize::from(message.body.type_number());
        self.received[kind] += 1;
        if self.dropped_type == Some(kind) {
            log::warn!("Dropping packet that matches debug drop filter");
            return true;
        }
        let Message { header, body } = message;
        let sender = self.sender(link, header.as_ref());
        if sender == Some(self.me) && !matches!(body, Body::Ping { .. }) {
            return true;
        }
        if let Some(sender) = sender {
            self.hear_header(sender, header.as_ref());
        }
        let is_known = sender.is_some();
        match (body, header) {
            (
                Body::Ping {
                    kind,
                    gossip,
                    extensions,
                },
                Some(header),
            ) => {
                let ping = Ping {
                    link,
                    kind,
                    sender,
                    gossip,
                    extensions,
                };
                self.on_ping(ping, &header, peer_ip, local_ip);
            }
            (Body::Fail(id), header) => self.on_fail(sender, header.as_ref(), id),
            (Body::AuthRequest, Some(header)) => self.vote_if_due(sender, &header),
            (Body::AuthAck, Some(header)) => self.on_vote(sender, &header),
            (
                Body::Publish {
                    is_sharded,
                    channel,
                    message,
                },
                _,
            ) if is_known => {
                self.actions.push(Action::Publish {
                    is_sharded,
                    channel,
                    message,
                });
            }
            (
                Body::Update {
                    config_epoch,
                    id,
                    slots,
                },
                _,
            ) if is_known => self.on_update(config_epoch, &id, &slots),
            (Body::ManualFailover, _) => self.on_manual_failover(link, sender),
            _ => {}
        }
        self.links.contains_key(&link)
    }
    /// Who sends. An inbound connection belongs to the first known node that says its id on it.
    fn sender(&mut self, link: LinkId, header: Option<&Header>) -> Option<NodeKey> {
        let record = self.links.get(&link).copied()?;
        if let Some(key) = record.node
            && self.node(key).is_some_and(|node| !node.in_handshake())
        {
            return Some(key);
        }
        let sender = self.lookup(&header?.sender)?;
        if record.node.is_none() && sender != self.me {
            let before = self
                .edit(sender)
                .and_then(|node| node.inbound.replace(link));
            if let Some(before) = before {
                // More likely the older one is dead than this one.
                if let Some(record) = self.links.get_mut(&before) {
                    record.node = None;
                }
                self.free_link(before);
            }
            if let Some(record) = self.links.get_mut(&link) {
                record.node = Some(sender);
            }
        }
        Some(sender)
    }
    /// What every message tells of its sender.
    fn hear_header(&mut self, sender: NodeKey, header: Option<&Header>) {
        let now = self.facts.mono_ms;
        let is_my_primary = self.myself().is_replica() && self.my_primary() == Some(sender);
        let Some(node) = self.edit(sender) else {
            return;
        };
        node.times.data_received = now;
        let Some(header) = header else { return };
        node.flags |= header.flags & node_flags::EXTENSIONS;
        if node.has(node_flags::HANDSHAKE | node_flags::MYSELF) {
            return;
        }
        (node.offset, node.times.offset) = (header.offset, now);
        let is_newer = header.config_epoch > node.config_epoch;
        if is_newer {
            node.config_epoch = header.config_epoch;
            self.save_later(true);
        }
        self.current_epoch = self.current_epoch.max(header.current_epoch);
        if self.manual.end.is_some()
            && is_my_primary
            && header.is_paused
            && self.manual.primary_offset.is_none()
        {
            self.manual.primary_offset = Some(header.offset);
            self.todo.manual_failover = true;
            log::info!(
                "Received replication offset for paused master manual failover: {}",
                header.offset
            );
        }
    }
    fn on_ping(&mut self, ping: Ping, header: &Header, peer_ip: &str, local_ip: &str) {
        let Ping {
            link, kind, sender, ..
        } = ping;
        let is_met = kind == PingKind::Meet;
        if kind != PingKind::Pong {
            self.learn_my_address(is_met, local_ip);
            if sender.is_none() && is_met {
                self.be_met(header, peer_ip);
                self.hear_gossip(None, &ping.gossip);
            }
            self.send_ping(link, PingKind::Pong);
        }
        let Some(record) = self.links.get(&link).copied() else {
            return;
        };
        let outbound = record.node.filter(|_| !record.is_inbound);
        if let Some(key) = outbound
            && !self.is_whom_it_should_be(link, key, sender, header, peer_ip)
        {
            return;
        }
        if let (Some(key), PingKind::Pong) = (outbound, kind) {
            self.on_answer(key);
        }
        // Of itself a node learns nothing by what it says; a copy of it must not change it.
        let Some(sender) = sender.filter(|key| *key != self.me) else {
            return;
        };
        if let Some(node) = self.edit(sender) {
            node.flags &= !node_flags::NOFAILOVER;
            node.flags |= header.flags & node_flags::NOFAILOVER;
        }
        if kind == PingKind::Ping
            && self.node(sender).is_some_and(|node| !node.in_handshake())
            && self.update_address(sender, link, header, peer_ip)
        {
            self.todo.judge = true;
            self.save_later(false);
        }
        self.hear_role(sender, header);
        self.hear_slots(sender, header);
        // When a failover is first heard of from the old primary, the claim of the new one says nothing new later.
        self.leave_sub_replica();
        if self.myself().is_primary()
            && self.node(sender).is_some_and(Node::is_primary)
            && header.config_epoch == self.myself().config_epoch
        {
            self.solve_collision(sender);
        }
        self.hear_gossip(Some(sender), &ping.gossip);
        self.hear_extensions(sender, ping.extensions);
    }
    /// Others say MEET to the address that this node is known by.
    fn learn_my_address(&mut self, is_met: bool, local_ip: &str) {
        let is_wanted = is_met || self.myself().ip.is_empty();
        if is_wanted
            && self.settings.announce_ip.is_empty()
            && !local_ip.is_empty()
            && self.myself().ip != local_ip
        {
            self.myself_mut().ip = local_ip.to_owned();
            log::info!("IP address for this node updated to {local_ip}");
            self.save_later(false);
        }
    }
    fn be_met(&mut self, header: &Header, peer_ip: &str) {
        let ip = address_of(header, peer_ip);
        let is_there = self.is_in_handshake(ip, header.port, header.bus_port);
        if !is_there && is_address(ip.as_bytes()) && self.has_room_for_handshake() {
            let ports = ports_of(header, self.settings.tls);
            self.start_handshake(ip.to_owned(), ports, header.bus_port, node_flags::HANDSHAKE);
            self.save_later(false);
        }
    }
    /// Ends the handshake of the node that this connection is to. False: it was another one that was meant, or it is known.
    fn is_whom_it_should_be(
        &mut self,
        link: LinkId,
        key: NodeKey,
        sender: Option<NodeKey>,
        header: &Header,
        peer_ip: &str,
    ) -> bool {
        let Some(node) = self.node(key) else {
            return false;
        };
        if node.in_handshake() {
            if let Some(sender) = sender {
                log::debug!(
                    "Handshake: we already know node {}, updating the address if needed.",
                    self.named(sender)
                );
                if sender != self.me && self.update_address(sender, link, header, peer_ip) {
                    self.todo.judge = true;
                    self.save_later(false);
                }
                self.delete_node(key);
                return false;
            }
            if NodeId::parse(&header.sender.0).is_none() {
                self.delete_node(key);
                return false;
            }
            self.rename(key, header.sender);
            log::trace!("Handshake with node {} completed.", header.sender);
            if let Some(node) = self.edit(key) {
                node.flags &= !node_flags::HANDSHAKE;
                node.flags |= header.flags & (node_flags::PRIMARY | node_flags::REPLICA);
            }
            self.save_later(false);
        } else if node.id != header.sender {
            log::trace!(
                "PONG contains mismatching sender ID. About node {}",
                node.id
            );
            if let Some(node) = self.edit(key) {
                node.flags |= node_flags::NOADDR;
                node.ip.clear();
                (node.tcp_port, node.tls_port, node.bus_port) = (0, 0, 0);
            }
            self.free_link(link);
            self.save_later(false);
            return false;
        }
        true
    }
    /// A node has answered.
    fn on_answer(&mut self, key: NodeKey) {
        let facts = self.facts;
        let Some(node) = self.edit(key) else { return };
        node.times.pong_received = facts.mono_ms;
        node.pong_received_ms = facts.unix_ms;
        node.times.ping_sent = NEVER;
        node.ping_sent_ms = 0;
        if node.has(node_flags::PFAIL) {
            node.flags &= !node_flags::PFAIL;
            self.todo.judge = true;
            self.save_later(false);
        } else if node.has(node_flags::FAIL) {
            self.clear_failure_if_due(key);
        }
    }
    /// A node that pings from elsewhere has moved. False: it has not.
    fn update_address(
        &mut self,
        key: NodeKey,
        link: LinkId,
        header: &Header,
        peer_ip: &str,
    ) -> bool {
        let ip = address_of(header, peer_ip);
        let ports = ports_of(header, self.settings.tls);
        let Some(node) = self.edit(key) else {
            return false;
        };
        let is_same = node.ip == ip
            && (node.tcp_port, node.tls_port) == ports
            && node.bus_port == header.bus_port;
        if node.link == Some(link) || is_same || ip.is_empty() || !is_address(ip.as_bytes()) {
            return false;
        }
        node.ip = ip.to_owned();
        (node.tcp_port, node.tls_port) = ports;
        node.bus_port = header.bus_port;
        node.flags &= !node_flags::NOADDR;
        if let Some(link) = node.link {
            self.free_link(link);
        }
        log::info!(
            "Address updated for node {}, now {ip}:{}",
            self.named(key),
            header.port
        );
        if self.myself().is_replica() && self.my_primary() == Some(key) {
            self.follow_address();
        }
        true
    }
    /// Whether the sender is a primary, and whose replica it is.
    fn hear_role(&mut self, sender: NodeKey, header: &Header) {
        let Some(primary_id) = header.replica_of else {
            self.set_as_primary(sender);
            return;
        };
        let primary = self.lookup(&primary_id).filter(|key| *key != sender);
        // It cannot make a primary of this node.
        let is_late = primary == Some(self.me) && self.myself().is_replica();
        let Some(node) = self.node(sender) else {
            return;
        };
        if node.is_primary() {
            let (shard, known_epoch) = (node.shard, node.config_epoch);
            let of = primary.and_then(|key| Some((key, self.node(key)?.shard)));
            match of {
                Some((_, theirs))
                    if theirs == shard && (is_late || known_epoch > header.config_epoch) =>
                {
                    log::info!(
                        "Ignore stale message from {} in shard {shard}; gossip config epoch: {}, current config epoch: {known_epoch}",
                        self.named(sender),
                        header.config_epoch
                    );
                }
                Some((primary, theirs)) if theirs == shard => {
                    let slots = self.move_slots(sender, primary);
                    self.set_as_primary(primary);
                    if let Some(node) = self.edit(primary) {
                        node.config_epoch = header.config_epoch;
                    }
                    log::info!(
                        "A failover occurred in shard {shard}; node {} lost {slots} slot(s) to node {} with a config epoch of {}",
                        self.named(sender),
                        self.named(primary),
                        header.config_epoch
                    );
                }
                _ => {
                    let slots = self.drop_slots_of(sender);
                    log::info!(
                        "Node {} is no longer master of shard {shard}; removed all {slots} slot(s) it used to own",
                        self.named(sender)
                    );
                    if let Some((_, theirs)) = of {
                        log::info!("Node {} is now part of shard {theirs}", self.named(sender));
                    }
                }
            }
            if let Some(node) = self.edit(sender) {
                node.flags &= !(node_flags::PRIMARY | node_flags::MIGRATE_TO);
                node.flags |= node_flags::REPLICA;
            }
            self.todo.judge = true;
            self.save_later(false);
        }
        if let Some(primary) = primary
            && self
                .node(sender)
                .is_some_and(|node| node.primary != Some(primary))
        {
            self.set_primary(sender, Some(primary));
            if let Some(shard) = self.node(primary).map(|node| node.shard) {
                self.set_shard(sender, shard);
            }
            self.save_later(false);
        }
    }
    /// Which slots the sender claims, or its primary.
    fn hear_slots(&mut self, sender: NodeKey, header: &Header) {
        let Some(node) = self.node(sender) else {
            return;
        };
        let is_primary = node.is_primary();
        let of = if is_primary {
            Some(node)
        } else {
            node.primary.and_then(|key| self.node(key))
        };
        if of.is_none_or(|of| of.slots == header.slots) {
            return;
        }
        if is_primary {
            self.take_claim(sender, header.config_epoch, &header.slots);
        }
        // What it claims another one may hold under a higher epoch. One such message at a time.
        for slot in header.slots.iter() {
            let Some(owner) = self.owner(slot) else {
                continue;
            };
            if owner == sender || self.not_claimed.contains(slot) {
                continue;
            }
            let Some(node) = self.node(owner) else {
                continue;
            };
            if node.config_epoch > header.config_epoch {
                log::debug!(
                    "Node {} has old slots configuration, sending an UPDATE message about {}",
                    self.named(sender),
                    node.id
                );
                self.send_update(sender, owner);
                break;
            }
        }
    }
    fn on_fail(&mut self, sender: Option<NodeKey>, header: Option<&Header>, id: NodeId) {
        let Some(sender) = sender else {
            let from = header.map_or("", |header| header.sender.as_str());
            log::info!("Ignoring FAIL message from unknown node {from} about {id}");
            return;
        };
        let Some(key) = self.lookup(&id) else { return };
        let has = node_flags::FAIL | node_flags::MYSELF;
        if self.node(key).is_some_and(|node| !node.has(has)) {
            log::info!(
                "FAIL message received from {} about {}",
                self.named(sender),
                self.named(key)
            );
            self.set_failed(key);
        }
    }
    fn on_update(&mut self, config_epoch: u64, id: &NodeId, slots: &SlotSet) {
        let Some(key) = self.lookup(id) else { return };
        if self
            .node(key)
            .is_none_or(|node| node.config_epoch >= config_epoch)
        {
            return;
        }
        if key == self.me && self.myself().is_replica() {
            return;
        }
        self.set_as_primary(key);
        if let Some(node) = self.edit(key) {
            node.config_epoch = config_epoch;
            self.save_later(true);
        }
        // Or the next epoch that this node takes would be lower than one that is taken.
        self.current_epoch = self.current_epoch.max(config_epoch);
        self.take_claim(key, config_epoch, slots);
    }
}

fn address_of<'a>(header: &'a Header, peer_ip: &'a str) -> &'a str {
    if header.ip.is_empty() {
        peer_ip
    } else {
        &header.ip
    }
}

/// Ports for clients: without TLS, and with it.
fn ports_of(header: &Header, tls: bool) -> (u16, u16) {
    if tls {
        (header.secondary_port, header.port)
    } else {
        (header.port, header.secondary_port)
    }
}
