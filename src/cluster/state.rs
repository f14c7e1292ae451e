//! The nodes, who holds which slot, epochs; and what commands change of them.

use super::*;

impl Cluster {
    /// A node that knows no other: a primary without slots, with an id of its own.
    pub fn new(settings: ClusterSettings, seed: u64, facts: &Facts) -> Cluster {
        let mut cluster = Cluster {
            settings,
            rng: Rng::new(seed),
            facts: *facts,
            nodes: BTreeMap::new(),
            by_id: BTreeMap::new(),
            next_key: 0,
            me: NodeKey(0),
            owners: vec![None; SLOTS],
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 1,
            current_epoch: 0,
            last_vote_epoch: 0,
            size: 0,
            down: Down::Waiting,
            sent: [0; MESSAGE_TYPES],
            received: [0; MESSAGE_TYPES],
            actions: Vec::new(),
        };
        let id = cluster.random_id();
        let shard = cluster.random_id();
        let node = Node {
            id,
            shard,
            flags: node_flags::MYSELF | node_flags::PRIMARY,
            config_epoch: 0,
            slots: SlotSet::default(),
            primary: None,
            ip: cluster.settings.announce_ip.clone(),
            hostname: cluster.settings.announce_hostname.clone(),
            human_name: cluster.settings.announce_human_name.clone(),
            availability_zone: cluster.settings.availability_zone.clone(),
            tcp_port: cluster.settings.tcp_port,
            tls_port: cluster.settings.tls_port,
            bus_port: cluster.settings.bus_port,
            created_ms: facts.unix_ms,
            ping_sent_ms: 0,
            pong_received_ms: 0,
            data_received_ms: 0,
            fail_ms: 0,
            voted_ms: 0,
            orphaned_ms: 0,
            offset: 0,
            offset_ms: 0,
            failure_reports: Vec::new(),
            link: None,
            inbound: None,
        };
        cluster.nodes.insert(NodeKey(0), node);
        cluster.by_id.insert(id, NodeKey(0));
        cluster.next_key = 1;
        cluster
    }
    fn random_id(&mut self) -> NodeId {
        let mut id = [0; node::ID_LEN];
        id.fill_with(|| b"0123456789abcdef"[self.rng.index(16)]);
        NodeId(id)
    }
    /// The node that nodes.conf describes. The error says why it is unreadable.
    pub fn restore(
        text: &[u8],
        settings: ClusterSettings,
        seed: u64,
        facts: &Facts,
    ) -> Result<Cluster, String> {
        let _ = text;
        Ok(Cluster::new(settings, seed, facts))
    }
    /// nodes.conf.
    pub fn config_text(&self) -> Vec<u8> {
        Vec::new()
    }
    /// Takes over directives that were changed (CONFIG SET).
    pub fn configure(&mut self, settings: ClusterSettings) {
        self.settings = settings;
    }
    /// Compares slots that hold keys (at the start, once the data are loaded) with who holds them: those of nobody become this
    /// node's, those of others are marked as coming from them.
    pub fn check_data(&mut self, slots: &[u16]) {
        let _ = slots;
    }
    /// CLUSTER MEET.
    pub fn meet(&mut self, ip: &str, port: u16, bus_port: u16, facts: &Facts) -> Done {
        let _ = (ip, port, bus_port, facts);
        Ok(())
    }
    /// CLUSTER FORGET.
    pub fn forget(&mut self, id: &[u8], facts: &Facts) -> Done {
        let _ = (id, facts);
        Ok(())
    }
    /// CLUSTER ADDSLOTS, CLUSTER ADDSLOTSRANGE.
    pub fn add_slots(&mut self, slots: &[u16]) -> Done {
        let _ = slots;
        Ok(())
    }
    /// CLUSTER DELSLOTS, CLUSTER DELSLOTSRANGE.
    pub fn del_slots(&mut self, slots: &[u16]) -> Done {
        let _ = slots;
        Ok(())
    }
    /// CLUSTER FLUSHSLOTS.
    pub fn flush_slots(&mut self, facts: &Facts) -> Done {
        let _ = facts;
        Ok(())
    }
    /// CLUSTER SETSLOT slot MIGRATING id.
    pub fn set_slot_migrating(&mut self, slot: u16, id: &[u8]) -> Done {
        let _ = (slot, id);
        Ok(())
    }
    /// CLUSTER SETSLOT slot IMPORTING id.
    pub fn set_slot_importing(&mut self, slot: u16, id: &[u8]) -> Done {
        let _ = (slot, id);
        Ok(())
    }
    /// CLUSTER SETSLOT slot STABLE.
    pub fn set_slot_stable(&mut self, slot: u16) -> Done {
        let _ = slot;
        Ok(())
    }
    /// CLUSTER SETSLOT slot NODE id.
    pub fn set_slot_node(
        &mut self,
        slot: u16,
        id: &[u8],
        keys_in_slot: usize,
        facts: &Facts,
    ) -> Done {
        let _ = (slot, id, keys_in_slot, facts);
        Ok(())
    }
    /// CLUSTER BUMPEPOCH: whether there is a new epoch, and this node's.
    pub fn bump_epoch(&mut self) -> Done<(bool, u64)> {
        Ok((false, self.myself().config_epoch))
    }
    /// CLUSTER SET-CONFIG-EPOCH.
    pub fn set_config_epoch(&mut self, epoch: u64) -> Done {
        let _ = epoch;
        Ok(())
    }
    /// CLUSTER REPLICATE.
    pub fn replicate(&mut self, id: &[u8], facts: &Facts) -> Done {
        let _ = (id, facts);
        Ok(())
    }
    /// CLUSTER RESET.
    pub fn reset(&mut self, hard: bool, facts: &Facts) -> Done {
        let _ = (hard, facts);
        Ok(())
    }
    /// CLUSTER SAVECONFIG.
    pub fn save_config(&mut self) -> Done {
        self.actions.push(Action::Save { sync: true });
        Ok(())
    }
    /// DEBUG CLUSTERLINK KILL: closes connections from and to a node.
    pub fn kill_links(&mut self, id: &[u8], from: bool, to: bool) -> Done {
        let _ = (id, from, to);
        Ok(())
    }
    /// DEBUG CLUSTER-PACKET-FILTER: messages of this type are passed over; -1: none.
    pub fn drop_messages(&mut self, kind: i64) {
        let _ = kind;
    }
}
