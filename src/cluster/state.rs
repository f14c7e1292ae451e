//! The nodes, who holds which slot, epochs; from and to nodes.conf.
//!
//! Invariants: a slot's owner has it in its set, and nobody else; a node's primary, a slot's other end and who reports a failure
//! are nodes of the table; this node is in it.

use super::*;

/// Nodes beyond so many are not taken into the table.
const MOST_NODES: usize = 20_000;
/// Nor nodes in their handshake beyond so many.
const MOST_HANDSHAKES: usize = 1_000;
/// Nodes beyond so many are not kept from coming back.
const MOST_FORGOTTEN: usize = 10_000;
/// For so long a node is not known again after CLUSTER FORGET, ms.
pub(super) const FORGOTTEN_MS: i64 = 60_000;

impl Cluster {
    /// A node that knows no other: a primary without slots, with an id of its own.
    pub fn new(settings: ClusterSettings, seed: u64, facts: &Facts) -> Cluster {
        let mut cluster = Cluster::without_nodes(settings, seed, facts);
        let id = cluster.random_id();
        let flags = node_flags::MYSELF | node_flags::PRIMARY;
        cluster.me = cluster.add_node(id, flags);
        log::info!("No cluster configuration found, I'm {id}");
        cluster.announce();
        cluster.save_now(true);
        cluster
    }
    /// The node that nodes.conf describes. The error says why it is unreadable.
    pub fn restore(
        text: &[u8],
        settings: ClusterSettings,
        seed: u64,
        facts: &Facts,
    ) -> Result<Cluster, String> {
        let saved = file::parse(text, settings.tls)?;
        let mut cluster = Cluster::without_nodes(settings, seed, facts);
        for node in &saved.nodes {
            cluster.restore_node(node);
        }
        for node in &saved.nodes {
            let Some(key) = cluster.lookup(&node.id) else {
                continue;
            };
            let primary = node.primary.and_then(|id| cluster.lookup(&id));
            cluster.set_primary(key, primary);
            for slot in node.slots.iter() {
                cluster.add_slot(key, slot);
            }
        }
        // In files of Redis 7.0 there are no shards; a replica's is that of its primary.
        for key in cluster.keys.clone() {
            let primary = cluster.node(key).and_then(|node| node.primary);
            let shard = primary.and_then(|key| Some(cluster.node(key)?.shard));
            if let (Some(shard), Some(node)) = (shard, cluster.edit(key)) {
                node.shard = shard;
            }
        }
        for migration in &saved.migrations {
            if let Some(peer) = cluster.lookup(&migration.peer) {
                let slots = if migration.is_import {
                    &mut cluster.importing
                } else {
                    &mut cluster.migrating
                };
                slots.insert(migration.slot, peer);
            }
        }
        let me = cluster.nodes.iter().find(|(_, node)| node.is_myself());
        let Some((me, node)) = me else {
            return Err("this node is not in it".to_owned());
        };
        log::info!("Node configuration loaded, I'm {}", node.id);
        cluster.me = *me;
        cluster.current_epoch = saved.current_epoch;
        cluster.current_epoch = cluster.max_epoch();
        cluster.last_vote_epoch = saved.last_vote_epoch;
        cluster.announce();
        Ok(cluster)
    }
    fn restore_node(&mut self, saved: &file::SavedNode) {
        let facts = self.facts;
        let key = self.add_node(saved.id, saved.flags);
        let Some(node) = self.edit(key) else { return };
        if let Some(shard) = saved.shard {
            node.shard = shard;
        }
        node.config_epoch = saved.config_epoch;
        node.ip = saved.ip.clone();
        node.hostname = saved.hostname.clone();
        node.human_name = saved.human_name.clone();
        (node.tcp_port, node.tls_port) = (saved.tcp_port, saved.tls_port);
        node.bus_port = saved.bus_port;
        if saved.ping_sent_ms != 0 {
            (node.times.ping_sent, node.ping_sent_ms) = (facts.mono_ms, facts.unix_ms);
        }
        if saved.pong_received_ms != 0 {
            node.times.pong_received = facts.mono_ms;
            node.pong_received_ms = facts.unix_ms;
        }
        if node.has(node_flags::FAIL) {
            node.times.failed = facts.mono_ms;
        }
    }
    /// nodes.conf.
    pub fn config_text(&self) -> Vec<u8> {
        let id_of = |key: NodeKey| self.node(key).map(|node| node.id);
        let nodes = self.nodes.values().map(|node| file::SavedNode {
            id: node.id,
            shard: Some(node.shard),
            flags: node.flags,
            config_epoch: node.config_epoch,
            slots: node.slots.clone(),
            primary: node.primary.and_then(id_of),
            ip: node.ip.clone(),
            hostname: node.hostname.clone(),
            human_name: node.human_name.clone(),
            tcp_port: node.tcp_port,
            tls_port: node.tls_port,
            bus_port: node.bus_port,
            ping_sent_ms: node.ping_sent_ms,
            pong_received_ms: node.pong_received_ms,
            is_connected: node.link.is_some(),
        });
        let nodes = nodes.collect();
        file::print(&file::Saved {
            nodes,
            migrations: self.migrations(),
            current_epoch: self.current_epoch,
            last_vote_epoch: self.last_vote_epoch,
        })
    }
    /// The slots that are moving from and to this node.
    pub(super) fn migrations(&self) -> Vec<file::Migration> {
        let to = self
            .migrating
            .iter()
            .map(|(slot, peer)| (slot, peer, false));
        let from = self.importing.iter().map(|(slot, peer)| (slot, peer, true));
        let moving = to.chain(from).filter_map(|(slot, peer, is_import)| {
            Some(file::Migration {
                slot: *slot,
                peer: self.node(*peer)?.id,
                is_import,
            })
        });
        moving.collect()
    }
    fn without_nodes(settings: ClusterSettings, seed: u64, facts: &Facts) -> Cluster {
        let mut cluster = Cluster {
            settings,
            rng: Rng::new(seed),
            facts: *facts,
            nodes: BTreeMap::new(),
            keys: Vec::new(),
            by_id: BTreeMap::new(),
            next_key: 0,
            me: NodeKey(0),
            owners: vec![None; SLOTS],
            not_claimed: SlotSet::default(),
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 1,
            forgotten: BTreeMap::new(),
            current_epoch: 0,
            last_vote_epoch: 0,
            size: 0,
            down: Down::Waiting,
            minority_at: NEVER,
            judged_at: None,
            election: Election::default(),
            manual: Manual::default(),
            follows: false,
            secret: [0; 40],
            ticks: 0,
            pfail_nodes: 0,
            dropped_type: None,
            todo: Todo::default(),
            lost_channels: SlotSet::default(),
            sent: [0; message::TYPES],
            received: [0; message::TYPES],
            actions: Vec::new(),
        };
        cluster.secret = cluster.random_id().0;
        cluster
    }
    /// Takes over directives that were changed (CONFIG SET).
    pub fn configure(&mut self, settings: ClusterSettings) {
        // Taken back: the address is to be found out again.
        let is_address_open =
            settings.announce_ip.is_empty() && !self.settings.announce_ip.is_empty();
        self.settings = settings;
        if is_address_open {
            self.myself_mut().ip.clear();
        }
        self.announce();
    }
    /// Makes this node's entry what the directives say.
    fn announce(&mut self) {
        let before = self.myself().clone();
        let Cluster { settings, .. } = self;
        let settings = settings.clone();
        let me = self.myself_mut();
        me.flags &= !node_flags::NOFAILOVER;
        if settings.replica_no_failover {
            me.flags |= node_flags::NOFAILOVER;
        }
        (me.tcp_port, me.tls_port, me.bus_port) =
            (settings.tcp_port, settings.tls_port, settings.bus_port);
        if !settings.announce_ip.is_empty() {
            me.ip = settings.announce_ip;
        }
        me.hostname = settings.announce_hostname;
        me.human_name = settings.announce_human_name;
        me.availability_zone = settings.availability_zone;
        let what = |node: &Node| {
            let ports = (node.tcp_port, node.tls_port, node.bus_port);
            let names = (node.hostname.clone(), node.human_name.clone());
            let zone = node.availability_zone.clone();
            (node.flags, ports, node.ip.clone(), names, zone)
        };
        if what(&before) != what(self.myself()) {
            self.todo.judge = true;
            self.save_later(false);
        }
    }
    /// Bytes of messages among the actions that nobody has taken.
    pub fn unsent_bytes(&self) -> usize {
        let bytes = self.actions.iter().map(|action| match action {
            Action::Send { bytes, .. } => bytes.len(),
            _ => 0,
        });
        bytes.sum()
    }
    /// Compares slots that hold keys (at the start, once the data are loaded) with who holds them: those of nobody become this
    /// node's, those of others are marked as coming from them.
    pub fn check_data(&mut self, slots: &[u16]) {
        if self.myself().is_replica() {
            return;
        }
        let mut is_changed = false;
        for &slot in slots {
            let owner = self.owner(slot);
            if owner == Some(self.me) || self.importing.contains_key(&slot) {
                continue;
            }
            is_changed = true;
            if let Some(owner) = owner {
                log::info!(
                    "I have keys for slot {slot}, but the slot is assigned to another node. Setting it to importing state."
                );
                self.importing.insert(slot, owner);
            } else {
                log::info!("I have keys for unassigned slot {slot}. Taking responsibility for it.");
                self.add_slot(self.me, slot);
            }
        }
        if is_changed {
            self.save_now(true);
        }
    }

    // Saving.

    /// Has nodes.conf written at the end of the turn.
    pub(super) fn save_later(&mut self, sync: bool) {
        self.todo.save = true;
        self.todo.sync |= sync;
    }
    /// Has nodes.conf written before what is to be done next.
    pub(super) fn save_now(&mut self, sync: bool) {
        self.todo.save = false;
        let sync = sync | std::mem::take(&mut self.todo.sync);
        self.actions.push(Action::Save { sync });
    }

    // The table of nodes.

    pub(super) fn random_id(&mut self) -> NodeId {
        let mut id = [0; node::ID_LEN];
        for digit in &mut id {
            *digit = b"0123456789abcdef"[self.rng.index(16)];
        }
        NodeId(id)
    }
    pub(super) fn myself_mut(&mut self) -> &mut Node {
        let me = self.nodes.get_mut(&self.me);
        me.expect("this node is in its table")
    }
    pub(super) fn edit(&mut self, key: NodeKey) -> Option<&mut Node> {
        self.nodes.get_mut(&key)
    }
    pub(super) fn lookup(&self, id: &NodeId) -> Option<NodeKey> {
        self.by_id.get(id).copied()
    }
    /// A node's id and name for people, as they stand in the log.
    pub(super) fn named(&self, key: NodeKey) -> String {
        self.node(key).map_or(String::new(), |node| {
            format!("{} ({})", node.id, node.human_name)
        })
    }
    /// Whether there is room for a node that others tell of.
    pub(super) fn has_room(&self) -> bool {
        self.nodes.len() < MOST_NODES
    }
    /// Whether there is room for a node in its handshake.
    pub(super) fn has_room_for_handshake(&self) -> bool {
        let in_handshake = self.nodes.values().filter(|node| node.in_handshake());
        self.has_room() && in_handshake.count() < MOST_HANDSHAKES
    }
    /// Puts in a node. Its id must be a new one.
    pub(super) fn add_node(&mut self, id: NodeId, flags: u16) -> NodeKey {
        let shard = self.random_id();
        let key = NodeKey(self.next_key);
        self.next_key += 1;
        let node = Node::new(id, shard, flags, self.facts.mono_ms);
        self.nodes.insert(key, node);
        self.keys.push(key);
        self.by_id.insert(id, key);
        key
    }
    /// Gives a node its id, which was made up. The new one must not be another's.
    pub(super) fn rename(&mut self, key: NodeKey, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&key) {
            self.by_id.remove(&node.id);
            node.id = id;
            self.by_id.insert(id, key);
        }
    }
    /// Takes a node out, and all that points to it.
    pub(super) fn delete_node(&mut self, key: NodeKey) {
        if key == self.me {
            return;
        }
        self.importing.retain(|_, from| *from != key);
        self.migrating.retain(|_, to| *to != key);
        self.drop_slots_of(key);
        self.set_primary(key, None);
        if self.manual.replica == Some(key) {
            self.reset_manual_failover();
        }
        let Some(node) = self.nodes.remove(&key) else {
            return;
        };
        self.by_id.remove(&node.id);
        if let Ok(at) = self.keys.binary_search(&key) {
            self.keys.remove(at);
        }
        for link in [node.link, node.inbound].into_iter().flatten() {
            self.free_link(link);
        }
        for other in self.nodes.values_mut() {
            other.failure_reports.retain(|(from, _)| *from != key);
            if other.primary == Some(key) {
                other.primary = None;
            }
        }
    }
    /// Makes a node the replica of another one, or of none that is known.
    pub(super) fn set_primary(&mut self, key: NodeKey, to: Option<NodeKey>) {
        let Some(node) = self.nodes.get_mut(&key) else {
            return;
        };
        let from = std::mem::replace(&mut node.primary, to);
        if from == to {
            return;
        }
        if let Some(from) = from
            && !self.nodes.values().any(|node| node.primary == Some(from))
            && let Some(from) = self.edit(from)
        {
            from.flags &= !node_flags::MIGRATE_TO;
        }
        if let Some(to) = to.and_then(|to| self.edit(to)) {
            to.flags |= node_flags::MIGRATE_TO;
        }
    }
    /// Forgets a connection and closes it.
    pub(super) fn free_link(&mut self, link: LinkId) {
        if self.unlink(link) {
            self.actions.push(Action::Close(link));
        }
    }
    /// Forgets a connection. False: it was not known.
    pub(super) fn unlink(&mut self, link: LinkId) -> bool {
        let Some(record) = self.links.remove(&link) else {
            return false;
        };
        if let Some(node) = record.node.and_then(|key| self.edit(key)) {
            for place in [&mut node.link, &mut node.inbound] {
                place.take_if(|of| *of == link);
            }
        }
        true
    }
    /// A name for a connection.
    pub(super) fn new_link(&mut self, node: Option<NodeKey>) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let record = Link {
            node,
            is_inbound: node.is_none(),
            created_ms: self.facts.unix_ms,
            created_mono_ms: self.facts.mono_ms,
        };
        self.links.insert(link, record);
        link
    }

    // Shards.

    /// Takes over a node's shard. A primary's replicas are of its shard; a replica is of its primary's, whatever it says.
    pub(super) fn set_shard(&mut self, key: NodeKey, shard: NodeId) {
        let Some(node) = self.node(key) else { return };
        if node.shard == shard {
            return;
        }
        match node.primary {
            None => {
                let of_shard = self.nodes.iter_mut();
                for (_, node) in
                    of_shard.filter(|(other, node)| **other == key || node.primary == Some(key))
                {
                    node.shard = shard;
                }
                self.save_later(true);
            }
            Some(primary) => {
                let theirs = self.node(primary).map(|node| node.shard);
                if theirs == Some(shard)
                    && let Some(node) = self.edit(key)
                {
                    node.shard = shard;
                    self.save_later(false);
                }
            }
        }
    }

    // Slots.

    /// Whether a slot has no owner, or one that does not claim it any longer.
    pub(super) fn is_unclaimed(&self, slot: u16) -> bool {
        self.owner(slot).is_none() || self.not_claimed.contains(slot)
    }
    /// Gives a slot of nobody to a node.
    pub(super) fn add_slot(&mut self, key: NodeKey, slot: u16) {
        let is_first = self.node(key).is_some_and(|node| node.slots.is_empty());
        // A primary with its first slot is one that replicas may migrate to, unless there are none at all.
        let may_migrate = is_first
            && self.nodes.values().any(|node| {
                let primary = node.primary.and_then(|key| self.node(key));
                primary.is_some_and(|primary| !primary.is_replica())
            });
        let Some(owner) = self.owners.get_mut(usize::from(slot)) else {
            return;
        };
        if owner.is_some() {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&key) {
            *owner = Some(key);
            node.slots.insert(slot);
            if may_migrate {
                node.flags |= node_flags::MIGRATE_TO;
            }
        }
    }
    /// Takes a slot from its owner. False: it has none.
    pub(super) fn del_slot(&mut self, slot: u16) -> bool {
        let owner = self.owners.get_mut(usize::from(slot));
        let Some(key) = owner.and_then(Option::take) else {
            return false;
        };
        self.lost_channels.insert(slot);
        self.not_claimed.remove(slot);
        if let Some(node) = self.edit(key) {
            node.slots.remove(slot);
        }
        true
    }
    /// Takes all slots from a node; how many they were.
    pub(super) fn drop_slots_of(&mut self, key: NodeKey) -> usize {
        let slots = self.slots_of(key);
        for &slot in &slots {
            self.del_slot(slot);
        }
        slots.len()
    }
    /// Gives all slots of a node to another one; how many they are.
    pub(super) fn move_slots(&mut self, from: NodeKey, to: NodeKey) -> usize {
        let slots = self.slots_of(from);
        for &slot in &slots {
            self.del_slot(slot);
            self.add_slot(to, slot);
        }
        slots.len()
    }
    fn slots_of(&self, key: NodeKey) -> Vec<u16> {
        let node = self.node(key).filter(|node| !node.slots.is_empty());
        node.map_or(Vec::new(), |node| node.slots.iter().collect())
    }

    // Epochs.

    /// The highest epoch of all.
    fn max_epoch(&self) -> u64 {
        let of_nodes = self.nodes.values().map(|node| node.config_epoch);
        of_nodes.max().unwrap_or(0).max(self.current_epoch)
    }
    /// Gives this node an epoch that is higher than all others, without asking anybody. False: it has the highest one.
    pub(super) fn bump_alone(&mut self) -> bool {
        let mine = self.myself().config_epoch;
        if mine != 0 && mine == self.max_epoch() {
            return false;
        }
        self.take_next_epoch();
        self.save_later(true);
        log::info!("New configEpoch set to {}", self.current_epoch);
        true
    }
    pub(super) fn take_next_epoch(&mut self) {
        self.current_epoch = self.current_epoch.saturating_add(1);
        self.myself_mut().config_epoch = self.current_epoch;
    }

    // Nodes that are not to come back.

    /// Keeps a node from being known again for a while.
    pub(super) fn keep_out(&mut self, id: NodeId, for_ms: i64) {
        let now = self.facts.mono_ms;
        self.forgotten.retain(|_, until| *until >= now);
        if self.forgotten.len() < MOST_FORGOTTEN {
            self.forgotten.insert(id, now.saturating_add(for_ms));
        }
    }
    /// Whether it is kept from that.
    pub(super) fn is_kept_out(&self, id: &NodeId) -> bool {
        let until = self.forgotten.get(id);
        until.is_some_and(|until| *until >= self.facts.mono_ms)
    }
}
