//! What is done by the clock: connecting, pinging, suspecting; and whether the cluster works.

use super::message::PingKind;
use super::*;

/// A node that drops out of its handshake has had at least so long, ms.
const LEAST_HANDSHAKE_MS: i64 = 1_000;
/// A primary does not work sooner than so after its start, ms: others may have taken its place.
const START_DELAY_MS: i64 = 2_000;
/// Nor sooner after a partition: the node timeout, but no less and no more than this, ms.
const REJOIN_DELAY_MS: (i64, i64) = (500, 5_000);

/// What the replicas of all primaries are like, for their migration.
#[derive(Default)]
struct Coverage {
    /// Primaries that had replicas and have none that works.
    orphans: usize,
    /// The most that one has.
    most: usize,
    /// What this node's primary has.
    mine: usize,
}

impl Cluster {
    /// To be called every 100 ms.
    pub fn tick(&mut self, facts: &Facts) {
        self.facts = *facts;
        self.ticks += 1;
        self.connect_all();
        if self.ticks.is_multiple_of(10) {
            self.ping_one();
        }
        let (coverage, is_changed) = self.check_all();
        if self.myself().is_replica() && !self.follows {
            self.follow_address();
        }
        self.end_manual_failover_if_late();
        if self.myself().is_replica() {
            self.advance_manual_failover();
            self.advance_election();
            if coverage.orphans > 0
                && coverage.most >= 2
                && coverage.mine == coverage.most
                && self.settings.allow_replica_migration
            {
                self.migrate_if_due(coverage.most);
            }
        }
        if is_changed || !self.is_ok() {
            self.judge();
        }
    }
    /// To be called at the end of each turn.
    pub fn before_sleep(&mut self, facts: &Facts) {
        self.facts = *facts;
        if std::mem::take(&mut self.todo.manual_failover) {
            self.todo.failover = false;
            if self.myself().is_replica() {
                self.advance_manual_failover();
                self.advance_election();
            }
        } else if std::mem::take(&mut self.todo.failover) {
            self.advance_election();
        }
        if self.todo.judge {
            self.judge();
        }
        if self.todo.save {
            self.save_now(false);
        }
    }
    /// Connects with all nodes that it knows the place of, and gives up handshakes that take too long.
    fn connect_all(&mut self) {
        let now = self.facts.mono_ms;
        let longest = self.settings.node_timeout_ms.max(LEAST_HANDSHAKE_MS);
        self.pfail_nodes = 0;
        for key in self.keys.clone() {
            let Some(node) = self.node(key) else { continue };
            if node.has(node_flags::MYSELF | node_flags::NOADDR) {
                continue;
            }
            if node.has(node_flags::PFAIL) {
                self.pfail_nodes += 1;
            }
            let Some(node) = self.node(key) else { continue };
            if node.in_handshake() && now.saturating_sub(node.times.created) > longest {
                self.delete_node(key);
                continue;
            }
            if node.link.is_none() {
                let (ip, port) = (node.ip.clone(), node.bus_port);
                let link = self.new_link(Some(key));
                if let Some(node) = self.edit(key) {
                    node.link = Some(link);
                }
                self.actions.push(Action::Connect { link, ip, port });
            }
        }
    }
    /// Pings the one of a few nodes, drawn, that has not answered for the longest time.
    fn ping_one(&mut self) {
        let mut oldest: Option<(i64, LinkId)> = None;
        for _ in 0..5 {
            let key = self.keys[self.rng.index(self.keys.len())];
            let Some(node) = self.node(key) else { continue };
            let Some(link) = node.link else { continue };
            if node.awaits_pong() || node.has(node_flags::MYSELF | node_flags::HANDSHAKE) {
                continue;
            }
            let at = node.times.pong_received;
            if oldest.is_none_or(|(oldest, _)| oldest > at) {
                oldest = Some((at, link));
            }
        }
        if let Some((_, link)) = oldest {
            self.send_ping(link, PingKind::Ping);
        }
    }
    /// Replicas that have not failed, by primary.
    pub(super) fn working_replicas(&self) -> BTreeMap<NodeKey, usize> {
        let mut working = BTreeMap::new();
        for node in self.nodes.values() {
            if let Some(primary) = node.primary
                && !node.has(node_flags::FAIL)
            {
                *working.entry(primary).or_insert(0) += 1;
            }
        }
        working
    }
    /// Pings whom it is time to ping, suspects whom it is time to suspect. True: there is a new suspect.
    fn check_all(&mut self) -> (Coverage, bool) {
        let mut coverage = Coverage::default();
        let mut is_changed = false;
        let is_replica = self.myself().is_replica();
        let my_primary = self.my_primary();
        let working = if is_replica {
            self.working_replicas()
        } else {
            BTreeMap::new()
        };
        for key in self.keys.clone() {
            let left_out = node_flags::MYSELF | node_flags::NOADDR | node_flags::HANDSHAKE;
            let Some(node) = self.node(key).filter(|node| !node.has(left_out)) else {
                continue;
            };
            if is_replica && node.is_primary() && !node.has(node_flags::FAIL) {
                let replicas = working.get(&key).copied().unwrap_or(0);
                if replicas == 0 && !node.slots.is_empty() && node.has(node_flags::MIGRATE_TO) {
                    coverage.orphans += 1;
                }
                coverage.most = coverage.most.max(replicas);
                if my_primary == Some(key) {
                    coverage.mine = replicas;
                }
                if replicas > 0
                    && let Some(node) = self.edit(key)
                {
                    // Or the next time it would be taken for an orphan of long standing.
                    node.times.orphaned = NEVER;
                }
            }
            is_changed |= self.check(key);
        }
        (coverage, is_changed)
    }
    fn check(&mut self, key: NodeKey) -> bool {
        let now = self.facts.mono_ms;
        let timeout = self.settings.node_timeout_ms;
        let Some(node) = self.node(key) else {
            return false;
        };
        let awaits_pong = node.awaits_pong();
        let ping_delay = now.saturating_sub(node.times.ping_sent);
        let data_delay = now.saturating_sub(node.times.data_received);
        let pong_delay = now.saturating_sub(node.times.pong_received);
        let (mut link, flags) = (node.link, node.flags);
        if let Some(name) = link
            && let Some(record) = self.links.get(&name)
            && now.saturating_sub(record.created_mono_ms) > timeout
            && awaits_pong
            && ping_delay > timeout / 2
            && data_delay > timeout / 2
        {
            // Perhaps the connection is at fault and not the node. The next tick makes a new one.
            self.free_link(name);
            link = None;
        }
        let interval = match self.settings.ping_interval_ms {
            0 => timeout / 2,
            interval => interval,
        };
        if let Some(link) = link {
            let waits_for_offset = self.manual.end.is_some()
                && self.myself().is_primary()
                && self.manual.replica == Some(key);
            if !awaits_pong && pong_delay > interval || waits_for_offset {
                self.send_ping(link, PingKind::Ping);
                return false;
            }
        }
        // Whatever comes of a node shows that it lives: under load a pong may be late.
        if !awaits_pong
            || ping_delay.min(data_delay) <= timeout
            || flags & (node_flags::PFAIL | node_flags::FAIL) != 0
        {
            return false;
        }
        if let Some(node) = self.edit(key) {
            node.flags |= node_flags::PFAIL;
            log::trace!("*** NODE {} possibly failing", node.id);
        }
        if self.myself().is_primary() && self.size == 1 {
            self.mark_failed_if_agreed(key);
        }
        true
    }
    /// Finds whether the cluster works.
    pub(super) fn judge(&mut self) {
        self.todo.judge = false;
        let now = self.facts.mono_ms;
        let since_start = now.saturating_sub(*self.judged_at.get_or_insert(now));
        let voters = self.nodes.values();
        let voters = voters.filter(|node| node.is_primary() && !node.slots.is_empty());
        let failing = node_flags::FAIL | node_flags::PFAIL;
        let (mut size, mut reachable) = (0, 0);
        for node in voters {
            size += 1;
            reachable += usize::from(!node.has(failing));
        }
        self.size = size;
        let is_primary = self.myself().is_primary();
        if is_primary && !self.is_ok() && since_start < START_DELAY_MS {
            return;
        }
        let mut down = Down::No;
        if self.settings.require_full_coverage && !self.is_covered() {
            down = Down::Uncovered;
        }
        if reachable < self.quorum() {
            down = Down::Minority;
            self.minority_at = now;
        }
        let is_back = down == Down::No && !self.is_ok();
        let (least, most) = REJOIN_DELAY_MS;
        let delay = self.settings.node_timeout_ms.min(most).max(least);
        if is_back && is_primary && now.saturating_sub(self.minority_at) < delay {
            self.down = Down::Waiting;
            return;
        }
        if is_back {
            log::info!("Cluster state changed: ok");
        } else if down != Down::No && self.is_ok() {
            log::warn!("Cluster state changed: fail");
        }
        self.down = down;
    }
    fn is_covered(&self) -> bool {
        let mut held = 0;
        for node in self.nodes.values() {
            if !node.has(node_flags::FAIL) {
                held += node.slots.len();
            }
        }
        held == SLOTS
    }
}
