//! What pings tell, and what is learned of it; failure reports; sending.

use super::message::{self, Body, Extension, Gossip, Header, Message, PingKind};
use super::*;
use std::collections::BTreeSet;

/// Nodes that must not come back, told of in a ping.
const MOST_FORGOTTEN_TOLD: usize = 256;
/// Nodes told of in a ping.
const MOST_GOSSIP: usize = 16_384;

impl Cluster {
    // Sending.

    /// What all messages begin with.
    pub(super) fn header(&self) -> Header {
        let me = self.myself();
        // A replica tells of what its primary holds.
        let of = me.primary.and_then(|key| self.node(key)).unwrap_or(me);
        let settings = &self.settings;
        let (port, secondary_port) = if settings.tls {
            (settings.tls_port, settings.tcp_port)
        } else {
            (settings.tcp_port, settings.tls_port)
        };
        Header {
            port,
            secondary_port,
            bus_port: settings.bus_port,
            current_epoch: self.current_epoch,
            config_epoch: of.config_epoch,
            offset: self.facts.offset,
            sender: me.id,
            slots: of.slots.clone(),
            replica_of: (me.primary.is_some()).then_some(of.id),
            ip: settings.announce_ip.clone(),
            flags: me.flags,
            is_ok: self.is_ok(),
            // Said only while the offset stands still: a replica that has reached it has all.
            is_paused: me.is_primary() && self.manual.end.is_some() && self.facts.is_paused,
            force_ack: false,
        }
    }
    /// Sends a message to all nodes that there is a connection to, and that `is_meant` for.
    pub(super) fn broadcast(
        &mut self,
        header: Header,
        body: Body,
        is_meant: impl Fn(&Node) -> bool,
    ) {
        let nodes = self.nodes.values();
        let meant = nodes
            .filter(|node| !node.has(node_flags::MYSELF | node_flags::HANDSHAKE) && is_meant(node));
        let links: Vec<LinkId> = meant.filter_map(|node| node.link).collect();
        self.send_to(&links, header, body);
    }
    fn send_to(&mut self, links: &[LinkId], header: Header, body: Body) {
        if links.is_empty() {
            return;
        }
        let kind = usize::from(body.type_number());
        let message = Message {
            header: Some(header),
            body,
        };
        let bytes: Rc<[u8]> = message::encode(&message).into();
        if bytes.is_empty() {
            return; // Longer than any message may be.
        }
        self.sent[kind] += links.len() as u64;
        self.actions.extend(links.iter().map(|&link| Action::Send {
            link,
            bytes: bytes.clone(),
        }));
    }
    /// Sends a message that is no ping to a node, if there is a connection to it.
    pub(super) fn send_body(&mut self, to: NodeKey, body: Body) {
        let link = self.node(to).and_then(|node| node.link);
        self.send_to(link.as_slice(), self.header(), body);
    }
    /// Asks all nodes for their votes.
    pub(super) fn request_votes(&mut self) {
        let mut header = self.header();
        header.force_ack = self.manual.end.is_some();
        self.broadcast(header, Body::AuthRequest, |_| true);
    }
    /// Tells all nodes that one has failed.
    fn tell_failure(&mut self, id: NodeId) {
        self.broadcast(self.header(), Body::Fail(id), |_| true);
    }
    /// Tells a node whose slots it claims under an older epoch.
    pub(super) fn send_update(&mut self, to: NodeKey, about: NodeKey) {
        let Some(node) = self.node(about) else { return };
        let mut slots = node.slots.clone();
        for slot in self.not_claimed.iter() {
            slots.remove(slot);
        }
        let body = Body::Update {
            config_epoch: node.config_epoch,
            id: node.id,
            slots,
        };
        self.send_body(to, body);
    }
    /// Tells other nodes of a message published here (PUBLISH, SPUBLISH).
    pub fn publish(&mut self, is_sharded: bool, channel: &[u8], message: &[u8]) {
        let mut header = self.header();
        // The offset may be an old one here.
        header.is_paused = false;
        let body = Body::Publish {
            is_sharded,
            channel: channel.to_vec(),
            message: message.to_vec(),
        };
        let shard = self.myself().shard;
        self.broadcast(header, body, |node| !is_sharded || node.shard == shard);
    }
    /// Tells the state of this node to all that there is a connection to; or only to the replicas of the same primary.
    pub(super) fn broadcast_pong(&mut self, only_near: bool) {
        let (me, primary) = (self.me, self.my_primary());
        let near = |node: &Node| {
            let of = node.primary.filter(|_| node.is_replica());
            of.is_some() && (of == Some(me) || of == primary)
        };
        let nodes = self.nodes.values();
        let meant = nodes.filter(|node| {
            !node.has(node_flags::MYSELF | node_flags::HANDSHAKE) && (!only_near || near(node))
        });
        let links: Vec<LinkId> = meant.filter_map(|node| node.link).collect();
        for link in links {
            self.send_ping(link, PingKind::Pong);
        }
    }
    /// Sends a ping of some kind, with what this node has to tell of others.
    pub(super) fn send_ping(&mut self, link: LinkId, kind: PingKind) {
        let Some(record) = self.links.get(&link).copied() else {
            return;
        };
        if !record.is_inbound && kind == PingKind::Ping {
            let facts = self.facts;
            if let Some(node) = record.node.and_then(|key| self.edit(key)) {
                node.times.ping_sent = facts.mono_ms;
                node.ping_sent_ms = facts.unix_ms;
            }
        }
        let gossip = self.gossip(record.node);
        let to = record.node.and_then(|key| self.node(key));
        let extensions = if to.is_some_and(|node| node.has(node_flags::EXTENSIONS)) {
            self.extensions()
        } else {
            Vec::new()
        };
        let body = Body::Ping {
            kind,
            gossip,
            extensions,
        };
        self.send_to(&[link], self.header(), body);
    }
    /// A tenth of the nodes, drawn, and all that do not answer: so many that a failure is known to most before the reports of it
    /// are too old.
    fn gossip(&mut self, receiver: Option<NodeKey>) -> Vec<Gossip> {
        let mut fresh = self.nodes.len().saturating_sub(2);
        let wanted = (self.nodes.len() / 10).max(3).min(fresh).min(MOST_GOSSIP);
        let mut told = BTreeSet::new();
        let mut entries = Vec::new();
        for _ in 0..wanted * 3 {
            if fresh == 0 || entries.len() >= wanted {
                break;
            }
            let key = self.keys[self.rng.index(self.keys.len())];
            let Some(node) = self.node(key) else { continue };
            if key == self.me || Some(key) == receiver || node.has(node_flags::PFAIL) {
                continue;
            }
            if node.has(node_flags::HANDSHAKE | node_flags::NOADDR)
                || node.link.is_none() && node.slots.is_empty()
            {
                fresh -= 1;
                continue;
            }
            if told.insert(key) {
                entries.push(self.gossip_of(node));
                fresh -= 1;
            }
        }
        if self.pfail_nodes > 0 {
            let left_out = node_flags::HANDSHAKE | node_flags::NOADDR;
            let failing = self.nodes.values();
            let failing = failing.filter(|n| n.has(node_flags::PFAIL) && !n.has(left_out));
            let failing = failing.take(self.pfail_nodes.min(MOST_GOSSIP));
            entries.extend(failing.map(|node| self.gossip_of(node)));
        }
        entries
    }
    fn gossip_of(&self, node: &Node) -> Gossip {
        let tls = self.settings.tls;
        Gossip {
            id: node.id,
            ping_sent_s: (node.ping_sent_ms / 1000) as u32,
            pong_received_s: (node.pong_received_ms / 1000) as u32,
            ip: node.ip.clone(),
            port: node.client_port(tls),
            secondary_port: node.client_port(!tls),
            bus_port: node.bus_port,
            flags: node.flags,
        }
    }
    fn extensions(&self) -> Vec<Extension> {
        let me = self.myself();
        let mut told = Vec::new();
        if !me.hostname.is_empty() {
            told.push(Extension::Hostname(me.hostname.clone()));
        }
        if !me.human_name.is_empty() {
            told.push(Extension::HumanName(me.human_name.clone()));
        }
        let now = self.facts.mono_ms;
        let forgotten = self.forgotten.iter().filter(|(_, until)| **until >= now);
        for (id, until) in forgotten.take(MOST_FORGOTTEN_TOLD) {
            told.push(Extension::Forgotten(*id, ((until - now) / 1000) as u64));
        }
        told.push(Extension::Shard(me.shard));
        told.push(Extension::InternalSecret(self.secret));
        if !me.availability_zone.is_empty() {
            told.push(Extension::AvailabilityZone(me.availability_zone.clone()));
        }
        told
    }

    // Hearing.

    /// Takes in what a ping tells of other nodes. `sender`: a node of the table, or one that is not known but has sent MEET.
    pub(super) fn hear_gossip(&mut self, sender: Option<NodeKey>, gossip: &[Gossip]) {
        let invalid = gossip
            .iter()
            .filter(|told| NodeId::parse(&told.id.0).is_none());
        let invalid = invalid.count();
        if invalid > 0 {
            match sender {
                Some(key) => log::warn!(
                    "Node {} gossiped {invalid} nodes with invalid IDs.",
                    self.named(key)
                ),
                None => log::warn!("Unknown node gossiped {invalid} nodes with invalid IDs."),
            }
            return;
        }
        for told in gossip {
            match self.lookup(&told.id) {
                Some(key) if key == self.me => {}
                Some(key) => self.hear_of_known(sender, key, told),
                None => self.hear_of_unknown(sender, told),
            }
        }
    }
    fn hear_of_known(&mut self, sender: Option<NodeKey>, key: NodeKey, told: &Gossip) {
        let is_failing = told.flags & (node_flags::PFAIL | node_flags::FAIL) != 0;
        let reporter = sender.filter(|key| self.node(*key).is_some_and(Node::is_primary));
        if let Some(reporter) = reporter {
            if is_failing {
                if self.add_failure_report(key, reporter) {
                    log::debug!(
                        "Node {} reported node {} as not reachable.",
                        self.named(reporter),
                        self.named(key)
                    );
                }
                self.mark_failed_if_agreed(key);
            } else if self.del_failure_report(key, reporter) {
                log::debug!(
                    "Node {} reported node {} is back online.",
                    self.named(reporter),
                    self.named(key)
                );
            }
        }
        let facts = self.facts;
        let tls = self.settings.tls;
        if !is_failing && self.node(key).is_some_and(|node| !node.awaits_pong()) {
            let reports = self.count_failure_reports(key);
            let pong_ms = i64::from(told.pong_received_s) * 1000;
            if let Some(node) = self.edit(key)
                && reports == 0
                && pong_ms <= facts.unix_ms + 500
                && pong_ms > node.pong_received_ms
            {
                node.pong_received_ms = pong_ms;
                let at = facts.mono_ms - (facts.unix_ms - pong_ms).max(0);
                node.times.pong_received = node.times.pong_received.max(at);
            }
        }
        let Some(node) = self.edit(key) else { return };
        let is_elsewhere = node.ip != told.ip
            || node.client_port(tls) != told.port
            || node.client_port(!tls) != told.secondary_port
            || node.bus_port != told.bus_port;
        if node.has(node_flags::FAIL | node_flags::PFAIL)
            && !is_failing
            && told.flags & node_flags::NOADDR == 0
            && is_elsewhere
            && message::is_address(told.ip.as_bytes())
        {
            Cluster::take_address(node, told, tls);
            if let Some(link) = node.link {
                self.free_link(link);
            }
        }
    }
    fn take_address(node: &mut Node, told: &Gossip, tls: bool) {
        node.ip = told.ip.clone();
        (node.tcp_port, node.tls_port) = if tls {
            (told.secondary_port, told.port)
        } else {
            (told.port, told.secondary_port)
        };
        node.bus_port = told.bus_port;
        node.flags &= !node_flags::NOADDR;
    }
    /// A node is taken into the table only when one that is in it tells of it, else two clusters might be joined.
    fn hear_of_unknown(&mut self, sender: Option<NodeKey>, told: &Gossip) {
        if sender.is_none()
            || told.flags & node_flags::NOADDR != 0
            || self.is_kept_out(&told.id)
            || !message::is_address(told.ip.as_bytes())
            || !self.has_room()
        {
            return;
        }
        let taken = node_flags::PRIMARY
            | node_flags::REPLICA
            | node_flags::PFAIL
            | node_flags::FAIL
            | node_flags::MIGRATE_TO
            | node_flags::NOFAILOVER
            | node_flags::EXTENSIONS;
        let key = self.add_node(told.id, told.flags & taken);
        let tls = self.settings.tls;
        if let Some(node) = self.edit(key) {
            Cluster::take_address(node, told, tls);
        }
    }
    /// Takes in what a ping tells of its sender.
    pub(super) fn hear_extensions(&mut self, sender: NodeKey, extensions: Vec<Extension>) {
        let (mut hostname, mut human_name) = (String::new(), String::new());
        let (mut zone, mut shard) = (String::new(), None);
        for extension in extensions {
            match extension {
                Extension::Hostname(name) => hostname = name,
                Extension::HumanName(name) => human_name = name,
                Extension::AvailabilityZone(name) => zone = name,
                Extension::Forgotten(id, for_s) => self.hear_of_forgotten(id, for_s),
                Extension::Shard(id) => shard = NodeId::parse(&id.0),
                Extension::InternalSecret(secret) => self.secret = self.secret.min(secret),
            }
        }
        let Some(node) = self.edit(sender) else {
            return;
        };
        if node.hostname != hostname
            || node.human_name != human_name
            || node.availability_zone != zone
        {
            node.hostname = hostname;
            node.human_name = human_name;
            node.availability_zone = zone;
            self.save_later(false);
        }
        // One that is too old to tell of its shard is of its primary's.
        let shard = shard.or_else(|| {
            let primary = self.node(sender)?.primary?;
            Some(self.node(primary)?.shard)
        });
        if let Some(shard) = shard {
            self.set_shard(sender, shard);
        }
    }
    fn hear_of_forgotten(&mut self, id: NodeId, for_s: u64) {
        let Some(key) = self.lookup(&id) else { return };
        if key == self.me || self.myself().is_replica() && self.my_primary() == Some(key) {
            return;
        }
        let for_ms = i64::try_from(for_s).unwrap_or(i64::MAX);
        self.keep_out(id, for_ms.saturating_mul(1000));
        self.delete_node(key);
        self.todo.judge = true;
        self.save_later(false);
    }

    // Failures.

    /// CLUSTER COUNT-FAILURE-REPORTS.
    pub fn failure_reports(&mut self, id: &[u8], facts: &Facts) -> Done<usize> {
        self.facts = *facts;
        let Some(key) = self.find(id) else {
            return Err(format!("ERR Unknown node {}", String::from_utf8_lossy(id)));
        };
        Ok(self.count_failure_reports(key))
    }
    /// How many say that a node fails, who said it not too long ago.
    fn count_failure_reports(&mut self, key: NodeKey) -> usize {
        let oldest = self
            .facts
            .mono_ms
            .saturating_sub(self.settings.node_timeout_ms.saturating_mul(2));
        let Some(node) = self.edit(key) else { return 0 };
        node.failure_reports.retain(|(_, at)| *at >= oldest);
        node.failure_reports.len()
    }
    /// Takes note that `by` says that a node fails. True: it did not say so before.
    fn add_failure_report(&mut self, key: NodeKey, by: NodeKey) -> bool {
        let now = self.facts.mono_ms;
        let Some(node) = self.edit(key) else {
            return false;
        };
        let reports = &mut node.failure_reports;
        if let Some((_, at)) = reports.iter_mut().find(|(from, _)| *from == by) {
            *at = now;
            return false;
        }
        reports.push((by, now));
        true
    }
    /// Takes note that `by` does not say so. True: it did.
    fn del_failure_report(&mut self, key: NodeKey, by: NodeKey) -> bool {
        let Some(node) = self.edit(key) else {
            return false;
        };
        let reports = &mut node.failure_reports;
        let Some(at) = reports.iter().position(|(from, _)| *from == by) else {
            return false;
        };
        reports.remove(at);
        self.count_failure_reports(key);
        true
    }
    /// A node that does not answer has failed once a majority of the primaries says so. All are told.
    pub(super) fn mark_failed_if_agreed(&mut self, key: NodeKey) {
        let Some(node) = self.node(key) else { return };
        if !node.has(node_flags::PFAIL) || node.has(node_flags::FAIL) {
            return;
        }
        let mine = usize::from(self.myself().is_primary());
        if self.count_failure_reports(key) + mine < self.quorum() {
            return;
        }
        log::info!(
            "Marking node {} as failing (quorum reached).",
            self.named(key)
        );
        if let Some(id) = self.set_failed(key) {
            self.tell_failure(id);
        }
    }
    /// Sets FAIL.
    pub(super) fn set_failed(&mut self, key: NodeKey) -> Option<NodeId> {
        let now = self.facts.mono_ms;
        let node = self.edit(key)?;
        node.flags &= !node_flags::PFAIL;
        node.flags |= node_flags::FAIL;
        node.times.failed = now;
        let id = node.id;
        self.todo.judge = true;
        self.save_later(false);
        Some(id)
    }
    /// A node that has FAIL answers again: takes FAIL off, but of a primary with slots only when nobody has taken its place for a
    /// while.
    pub(super) fn clear_failure_if_due(&mut self, key: NodeKey) {
        let Some(node) = self.node(key) else { return };
        let since = self.facts.mono_ms.saturating_sub(node.times.failed);
        if node.is_replica() || node.slots.is_empty() {
            let what = if node.is_replica() {
                "replica"
            } else {
                "master without slots"
            };
            log::info!(
                "Clear FAIL state for node {}:{what} is reachable again.",
                self.named(key)
            );
        } else if node.is_primary() && since > self.settings.node_timeout_ms.saturating_mul(2) {
            log::info!(
                "Clear FAIL state for node {}: is reachable again and nobody is serving its slots after some time.",
                self.named(key)
            );
        } else {
            return;
        }
        if let Some(node) = self.edit(key) {
            node.flags &= !node_flags::FAIL;
        }
        self.todo.judge = true;
        self.save_later(false);
    }
    /// The votes, or reports, that are a majority.
    pub(super) fn quorum(&self) -> usize {
        self.size / 2 + 1
    }
}
