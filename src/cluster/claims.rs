//! Who holds a slot when several claim it: the one with the highest epoch. And the roles that follow from it.

use super::*;

impl Cluster {
    /// A primary says, or it is said of it, that under this epoch it holds these slots. Takes from others what they hold under an
    /// older one. If nothing is left to this node, or to its primary, this node becomes a replica of the new owner.
    pub(super) fn take_claim(&mut self, sender: NodeKey, epoch: u64, slots: &SlotSet) {
        if sender == self.me {
            log::info!("Discarding UPDATE message about myself.");
            return;
        }
        let is_replica = self.myself().is_replica();
        // Of whom this node's data are.
        let mine = if is_replica {
            self.my_primary()
        } else {
            Some(self.me)
        };
        let mut lost_keys = Vec::new();
        let mut lost = 0;
        for slot in 0..SLOTS as u16 {
            let owner = self.owner(slot);
            if !slots.contains(slot) {
                if owner == Some(sender) {
                    // It stays the owner until somebody claims the slot: a redirection more is better than an error.
                    self.not_claimed.insert(slot);
                }
                continue;
            }
            if owner == Some(sender) {
                self.not_claimed.remove(slot);
                continue;
            }
            // The end of a migration is given by hand, even when the other side has ended it.
            if self.importing.contains_key(&slot) {
                continue;
            }
            let is_older = |key| self.node(key).is_none_or(|node| node.config_epoch < epoch);
            if !self.is_unclaimed(slot) && !owner.is_some_and(is_older) {
                continue;
            }
            if owner == Some(self.me) {
                lost_keys.push(slot);
            }
            if owner.is_some() && owner == mine {
                lost += 1;
            }
            self.del_slot(slot);
            self.add_slot(sender, slot);
            self.todo.judge = true;
            self.save_later(true);
        }
        let is_left_without =
            lost > 0 && mine.is_some_and(|key| self.node(key).is_some_and(|n| n.slots.is_empty()));
        // Without leave to migrate, only the failover within a shard is followed: the sender has just what this one had.
        if is_left_without && (self.settings.allow_replica_migration || lost == slots.len()) {
            log::info!(
                "Configuration change detected. Reconfiguring myself as a replica of {}",
                self.named(sender)
            );
            self.follow_after_claim(sender);
        } else if self.leave_sub_replica() {
            // Its last slot was taken from its primary.
        } else {
            // Still a primary, so nobody else will make the data agree with the slots.
            self.actions
                .extend(lost_keys.into_iter().map(Action::DropSlot));
        }
    }
    /// Follows the primary of this node's primary, if that has become a replica. False: it has not.
    pub(super) fn leave_sub_replica(&mut self) -> bool {
        let primary = self.my_primary().and_then(|key| self.node(key));
        let grand = primary.and_then(|primary| primary.primary);
        // After a takeover two may be replicas of each other: that is for people to solve.
        let Some(grand) = grand.filter(|grand| *grand != self.me) else {
            return false;
        };
        log::info!(
            "I'm a sub-replica! Reconfiguring myself as a replica of grandmaster {}",
            self.named(grand)
        );
        self.follow_after_claim(grand);
        true
    }
    fn follow_after_claim(&mut self, key: NodeKey) {
        self.follow(key);
        self.todo.judge = true;
        self.save_later(true);
    }
    /// Makes this node a replica.
    pub(super) fn follow(&mut self, primary: NodeKey) {
        if primary == self.me || self.node(primary).is_none() {
            return;
        }
        self.drop_slots_of(self.me);
        self.end_election();
        if self.myself().is_primary() {
            let me = self.myself_mut();
            me.flags &= !(node_flags::PRIMARY | node_flags::MIGRATE_TO);
            me.flags |= node_flags::REPLICA;
            self.importing.clear();
            self.migrating.clear();
        }
        self.set_primary(self.me, Some(primary));
        if let Some(shard) = self.node(primary).map(|node| node.shard) {
            self.set_shard(self.me, shard);
        }
        self.follow_address();
        for slot in 0..SLOTS as u16 {
            if self.owner(slot) != Some(primary) {
                self.lost_channels.insert(slot);
            }
        }
        self.reset_manual_failover();
    }
    /// Has the server replicate from where this node's primary is. If that is not known, a tick will do it.
    pub(super) fn follow_address(&mut self) {
        self.follows = false;
        let Some(primary) = self.my_primary().and_then(|key| self.node(key)) else {
            return;
        };
        if primary.has(node_flags::NOADDR) || primary.ip.is_empty() {
            return;
        }
        let port = primary.client_port(self.settings.tls_replication);
        let ip = primary.ip.clone();
        self.actions.push(Action::Follow { ip, port });
        self.follows = true;
    }
    /// Has the server be a primary.
    pub(super) fn lead(&mut self) {
        self.follows = false;
        self.actions.push(Action::Lead);
    }
    /// Takes note that a node is a primary now.
    pub(super) fn set_as_primary(&mut self, key: NodeKey) {
        let Some(node) = self.node(key).filter(|node| !node.is_primary()) else {
            return;
        };
        if node.primary.is_some() {
            self.set_primary(key, None);
            if key != self.me
                && let Some(node) = self.edit(key)
            {
                node.flags |= node_flags::MIGRATE_TO;
            }
        }
        if let Some(node) = self.edit(key) {
            node.flags &= !node_flags::REPLICA;
            node.flags |= node_flags::PRIMARY;
        }
        self.todo.judge = true;
        self.save_later(false);
    }
    /// Two primaries have the same epoch: the one with the lower id takes a new one.
    pub(super) fn solve_collision(&mut self, sender: NodeKey) {
        let Some(other) = self.node(sender) else {
            return;
        };
        let me = self.myself();
        if other.config_epoch != me.config_epoch
            || !other.is_primary()
            || !me.is_primary()
            || other.id <= me.id
        {
            return;
        }
        self.take_next_epoch();
        self.save_now(true);
        log::debug!(
            "WARNING: configEpoch collision with node {}. configEpoch set to {}",
            self.named(sender),
            self.current_epoch
        );
    }
}
