//! What commands change of a cluster (CLUSTER ...). CLUSTER FAILOVER is in `failover`.

use super::state::FORGOTTEN_MS;
use super::*;
use std::net::IpAddr;

impl Cluster {
    /// CLUSTER MEET.
    pub fn meet(&mut self, ip: &str, port: u16, bus_port: u16, facts: &Facts) -> Done {
        self.facts = *facts;
        let address: Option<IpAddr> = ip.parse().ok();
        let Some(address) = address.filter(|_| port != 0 && bus_port != 0) else {
            return Err(format!("ERR Invalid node address specified: {ip}:{port}"));
        };
        let ip = address.to_string();
        if self.is_in_handshake(&ip, port, bus_port) {
            return Ok(());
        }
        if !self.has_room_for_handshake() {
            return Err("ERR Too many nodes are being met at the same time".to_owned());
        }
        let flags = node_flags::HANDSHAKE | node_flags::MEET;
        let ports = if self.settings.tls {
            (0, port)
        } else {
            (port, 0)
        };
        self.start_handshake(ip, ports, bus_port, flags);
        Ok(())
    }
    /// Whether a node at this address is in its handshake.
    pub(super) fn is_in_handshake(&self, ip: &str, port: u16, bus_port: u16) -> bool {
        self.nodes.values().any(|node| {
            let of = node.client_port(self.settings.tls);
            node.in_handshake() && node.ip == ip && of == port && node.bus_port == bus_port
        })
    }
    /// Puts in a node whose id is not known.
    pub(super) fn start_handshake(
        &mut self,
        ip: String,
        (tcp_port, tls_port): (u16, u16),
        bus_port: u16,
        flags: u16,
    ) {
        let id = self.random_id();
        let key = self.add_node(id, flags);
        if let Some(node) = self.edit(key) {
            (node.ip, node.bus_port) = (ip, bus_port);
            (node.tcp_port, node.tls_port) = (tcp_port, tls_port);
        }
    }
    fn known(&self, id: &[u8]) -> Done<NodeKey> {
        let unknown = || format!("ERR Unknown node {}", String::from_utf8_lossy(id));
        self.find(id).ok_or_else(unknown)
    }
    /// CLUSTER FORGET.
    pub fn forget(&mut self, id: &[u8], facts: &Facts) -> Done {
        self.facts = *facts;
        let key = match self.known(id) {
            Ok(key) => key,
            // Another node has told of it already.
            Err(_) if NodeId::parse(id).is_some_and(|id| self.is_kept_out(&id)) => return Ok(()),
            Err(error) => return Err(error),
        };
        if key == self.me {
            return Err("ERR I tried hard but I can't forget myself...".to_owned());
        }
        if self.myself().is_replica() && self.my_primary() == Some(key) {
            return Err("ERR Can't forget my master!".to_owned());
        }
        if let Some(id) = self.node(key).map(|node| node.id) {
            self.keep_out(id, FORGOTTEN_MS);
        }
        self.delete_node(key);
        self.todo.judge = true;
        self.save_later(false);
        Ok(())
    }
    /// CLUSTER ADDSLOTS, CLUSTER ADDSLOTSRANGE.
    pub fn add_slots(&mut self, slots: &[u16]) -> Done {
        self.change_slots(slots, false)
    }
    /// CLUSTER DELSLOTS, CLUSTER DELSLOTSRANGE.
    pub fn del_slots(&mut self, slots: &[u16]) -> Done {
        self.change_slots(slots, true)
    }
    fn change_slots(&mut self, slots: &[u16], is_del: bool) -> Done {
        let mut seen = SlotSet::default();
        for &slot in slots {
            if usize::from(slot) >= SLOTS {
                return Err("ERR Invalid or out of range slot".to_owned());
            }
            match self.owner(slot) {
                None if is_del => return Err(format!("ERR Slot {slot} is already unassigned")),
                Some(_) if !is_del => return Err(format!("ERR Slot {slot} is already busy")),
                _ => {}
            }
            if !seen.insert(slot) {
                return Err(format!("ERR Slot {slot} specified multiple times"));
            }
        }
        for slot in seen.iter() {
            self.importing.remove(&slot);
            if is_del {
                self.del_slot(slot);
            } else {
                self.add_slot(self.me, slot);
            }
        }
        self.todo.judge = true;
        self.save_later(false);
        Ok(())
    }
    /// CLUSTER FLUSHSLOTS.
    pub fn flush_slots(&mut self, facts: &Facts) -> Done {
        self.facts = *facts;
        if !facts.is_empty {
            return Err("ERR DB must be empty to perform CLUSTER FLUSHSLOTS.".to_owned());
        }
        self.drop_slots_of(self.me);
        self.todo.judge = true;
        self.save_later(false);
        Ok(())
    }
    fn must_be_primary(&self) -> Done {
        if self.myself().is_replica() {
            return Err("ERR Please use SETSLOT only with masters.".to_owned());
        }
        Ok(())
    }
    fn must_be_target(&self, key: NodeKey) -> Done {
        if self.node(key).is_some_and(Node::is_replica) {
            return Err("ERR Target node is not a master".to_owned());
        }
        Ok(())
    }
    fn other_end(&self, id: &[u8]) -> Done<NodeKey> {
        let unknown = || {
            format!(
                "ERR I don't know about node {}",
                String::from_utf8_lossy(id)
            )
        };
        let key = self.find(id).ok_or_else(unknown)?;
        self.must_be_target(key)?;
        Ok(key)
    }
    /// CLUSTER SETSLOT slot MIGRATING id.
    pub fn set_slot_migrating(&mut self, slot: u16, id: &[u8]) -> Done {
        self.must_be_primary()?;
        if self.owner(slot) != Some(self.me) {
            return Err(format!("ERR I'm not the owner of hash slot {slot}"));
        }
        let to = self.other_end(id)?;
        self.migrating.insert(slot, to);
        self.todo.judge = true;
        self.save_later(false);
        Ok(())
    }
    /// CLUSTER SETSLOT slot IMPORTING id.
    pub fn set_slot_importing(&mut self, slot: u16, id: &[u8]) -> Done {
        self.must_be_primary()?;
        if self.owner(slot) == Some(self.me) {
            return Err(format!("ERR I'm already the owner of hash slot {slot}"));
        }
        let from = self.other_end(id)?;
        self.importing.insert(slot, from);
        self.todo.judge = true;
        self.save_later(false);
        Ok(())
    }
    /// CLUSTER SETSLOT slot STABLE.
    pub fn set_slot_stable(&mut self, slot: u16) -> Done {
        self.must_be_primary()?;
        self.importing.remove(&slot);
        self.migrating.remove(&slot);
        self.todo.judge = true;
        self.save_later(false);
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
        self.facts = *facts;
        self.must_be_primary()?;
        let to = self.known(id)?;
        self.must_be_target(to)?;
        let was_mine = self.owner(slot) == Some(self.me);
        if was_mine && to != self.me && keys_in_slot != 0 {
            return Err(format!(
                "ERR Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
            ));
        }
        if keys_in_slot == 0 {
            self.migrating.remove(&slot);
        }
        self.del_slot(slot);
        self.add_slot(to, slot);
        self.todo.judge = true;
        self.save_later(false);
        let is_left_without = was_mine && to != self.me && self.myself().slots.is_empty();
        if is_left_without && self.settings.allow_replica_migration {
            log::info!(
                "Configuration change detected. Reconfiguring myself as a replica of {}",
                self.named(to)
            );
            self.follow(to);
            self.save_later(true);
        }
        if to == self.me && self.importing.contains_key(&slot) {
            // The new owner needs a higher epoch than the old one, or nobody would believe it.
            if self.bump_alone() {
                log::info!("configEpoch updated after importing slot {slot}");
            }
            self.importing.remove(&slot);
            self.save_now(true);
            self.broadcast_pong(false);
        }
        Ok(())
    }
    /// CLUSTER BUMPEPOCH: whether there is a new epoch, and this node's.
    pub fn bump_epoch(&mut self) -> Done<(bool, u64)> {
        let is_new = self.bump_alone();
        Ok((is_new, self.myself().config_epoch))
    }
    /// CLUSTER SET-CONFIG-EPOCH.
    pub fn set_config_epoch(&mut self, epoch: u64) -> Done {
        if self.nodes.len() > 1 {
            let text = "ERR The user can assign a config epoch only when the node does not know any other node.";
            return Err(text.to_owned());
        }
        if self.myself().config_epoch != 0 {
            return Err("ERR Node config epoch is already non-zero".to_owned());
        }
        self.myself_mut().config_epoch = epoch;
        log::info!("configEpoch set to {epoch} via CLUSTER SET-CONFIG-EPOCH");
        self.current_epoch = self.current_epoch.max(epoch);
        self.todo.judge = true;
        self.save_later(false);
        Ok(())
    }
    /// CLUSTER REPLICATE.
    pub fn replicate(&mut self, id: &[u8], facts: &Facts) -> Done {
        self.facts = *facts;
        let of = self.known(id)?;
        if of == self.me {
            return Err("ERR Can't replicate myself".to_owned());
        }
        if self.node(of).is_some_and(Node::is_replica) {
            return Err("ERR I can only replicate a master, not a replica.".to_owned());
        }
        let is_used = !self.myself().slots.is_empty() || !facts.is_empty;
        if self.myself().is_primary() && is_used {
            let text = "ERR To set a master the node must be empty and without assigned slots.";
            return Err(text.to_owned());
        }
        self.follow(of);
        self.todo.judge = true;
        self.save_later(false);
        Ok(())
    }
    /// CLUSTER RESET.
    pub fn reset(&mut self, hard: bool, facts: &Facts) -> Done {
        self.facts = *facts;
        if self.myself().is_primary() && !facts.is_empty {
            let text = "ERR CLUSTER RESET can't be called with master nodes containing keys";
            return Err(text.to_owned());
        }
        if self.myself().is_replica() {
            self.set_as_primary(self.me);
            self.lead();
            self.actions.push(Action::FlushAll);
        }
        self.importing.clear();
        self.migrating.clear();
        self.reset_manual_failover();
        for slot in 0..SLOTS as u16 {
            self.del_slot(slot);
        }
        for key in self.keys.clone() {
            self.delete_node(key);
        }
        self.forgotten.clear();
        if hard {
            self.current_epoch = 0;
            self.last_vote_epoch = 0;
            self.election = Election::default();
            self.myself_mut().config_epoch = 0;
            log::info!("configEpoch set to 0 via CLUSTER RESET HARD");
            let (id, shard) = (self.random_id(), self.random_id());
            self.rename(self.me, id);
            self.myself_mut().shard = shard;
            log::info!("Node hard reset, now I'm {id}");
        }
        self.todo.judge = true;
        self.save_later(true);
        Ok(())
    }
    /// CLUSTER SAVECONFIG.
    pub fn save_config(&mut self) -> Done {
        self.save_now(true);
        Ok(())
    }
    /// DEBUG CLUSTERLINK KILL: closes the connections from and to a node.
    pub fn kill_links(&mut self, id: &[u8], from: bool, to: bool) -> Done {
        let key = self.known(id)?;
        let Some(node) = self.node(key) else {
            return Ok(());
        };
        let ends = [node.link.filter(|_| to), node.inbound.filter(|_| from)];
        for link in ends.into_iter().flatten() {
            self.free_link(link);
        }
        Ok(())
    }
    /// DEBUG INTERNAL_SECRET: what Redis's nodes agree on as a secret, the least that is known of theirs.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }
    /// DEBUG CLUSTER-PACKET-FILTER: messages of this type are passed over; -1: none.
    pub fn drop_messages(&mut self, kind: i64) {
        self.dropped_type = usize::try_from(kind).ok();
    }
}
