//! Elections, manual failovers, and replicas that migrate to a primary that has none.
//!
//! A replica whose primary has FAIL waits a little, the longer the older its data are, takes a new epoch, and asks all primaries
//! for their vote in it. Each gives one per epoch. With a majority it takes its primary's slots under that epoch, which is higher
//! than any before.

use super::message::{Body, Header, PingKind};
use super::*;

/// For so long a manual failover is tried, ms.
const MANUAL_MS: i64 = 5_000;
/// For so long the primary stops writes, ms.
const PAUSE_MS: i64 = 2 * MANUAL_MS;
/// An election starts so long after FAIL, so that all know of it, and up to so much later by chance, ms.
const ELECTION_DELAY_MS: i64 = 500;
/// And so much later for each replica that has newer data, ms.
const RANK_DELAY_MS: i64 = 1_000;
/// Votes are waited for at least so long, ms.
const LEAST_VOTING_MS: i64 = 2_000;
/// A primary has had no working replica for so long before another's migrates to it, ms.
const MIGRATION_DELAY_MS: i64 = 5_000;
/// The same reason against a failover is not logged again for so long, ms.
const RELOG_MS: i64 = 10_000;
/// Nothing is logged of an election that is in time: so long after the node timeout, ms.
const LOG_DELAY_MS: i64 = 5_000;

/// Why a replica does not take its primary's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Hindrance {
    #[default]
    None,
    DataAge,
    Delay,
    Expired,
    Votes,
}

/// The election of this node, or the last one.
#[derive(Debug)]
pub(super) struct Election {
    /// When it starts, by the monotonic clock.
    at: i64,
    votes: usize,
    /// The votes have been asked for.
    is_sent: bool,
    /// How many replicas have newer data.
    rank: usize,
    epoch: u64,
    hindrance: Hindrance,
    logged_at: i64,
}

impl Default for Election {
    fn default() -> Election {
        Election {
            at: NEVER,
            votes: 0,
            is_sent: false,
            rank: 0,
            epoch: 0,
            hindrance: Hindrance::None,
            logged_at: NEVER,
        }
    }
}

/// A manual failover in which this node takes part.
#[derive(Debug, Default)]
pub(super) struct Manual {
    /// When it is given up, by the monotonic clock.
    pub(super) end: Option<i64>,
    /// Of the primary: who wants to take its place.
    pub(super) replica: Option<NodeKey>,
    /// Of the replica: the offset at which its primary has stopped writes.
    pub(super) primary_offset: Option<i64>,
    /// Of the replica: it has all data.
    can_start: bool,
}

impl Cluster {
    /// CLUSTER FAILOVER.
    pub fn failover(&mut self, how: Failover, facts: &Facts) -> Done {
        self.facts = *facts;
        if self.myself().is_primary() {
            return Err("ERR You should send CLUSTER FAILOVER to a replica".to_owned());
        }
        let Some((key, primary)) = self
            .my_primary()
            .and_then(|key| Some((key, self.node(key)?)))
        else {
            return Err("ERR I'm a replica but my master is unknown to me".to_owned());
        };
        let is_down = primary.has(node_flags::FAIL) || primary.link.is_none();
        if how == Failover::Normal && is_down {
            let text = "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE";
            return Err(text.to_owned());
        }
        self.reset_manual_failover();
        self.manual.end = Some(facts.mono_ms.saturating_add(MANUAL_MS));
        match how {
            Failover::Takeover => {
                log::info!("Taking over the master (user request).");
                self.bump_alone();
                self.take_place();
            }
            Failover::Force => {
                log::info!("Forced failover user request accepted.");
                self.manual.can_start = true;
            }
            Failover::Normal => {
                log::info!("Manual failover user request accepted.");
                self.send_body(key, Body::ManualFailover);
            }
        }
        Ok(())
    }
    /// Ends a manual failover, or begins a new one.
    pub(super) fn reset_manual_failover(&mut self) {
        if self.manual.replica.is_some() {
            self.facts.is_paused = false;
            self.actions.push(Action::Unpause);
        }
        self.manual = Manual::default();
    }
    pub(super) fn end_manual_failover_if_late(&mut self) {
        if self.manual.end.is_some_and(|end| end < self.facts.mono_ms) {
            log::warn!("Manual failover timed out.");
            self.reset_manual_failover();
        }
    }
    /// A replica of this primary wants to take its place.
    pub(super) fn on_manual_failover(&mut self, link: LinkId, sender: Option<NodeKey>) {
        let Some(sender) = sender else { return };
        let of = self.node(sender).and_then(|node| node.primary);
        if of != Some(self.me) || !self.myself().is_primary() {
            return;
        }
        self.reset_manual_failover();
        let now = self.facts.mono_ms;
        self.manual.end = Some(now.saturating_add(MANUAL_MS));
        self.manual.replica = Some(sender);
        let until_mono_ms = now.saturating_add(PAUSE_MS);
        self.actions.push(Action::Pause { until_mono_ms });
        // From here on the offset stands still, so it may be told as the one to be reached.
        self.facts.is_paused = true;
        log::info!(
            "Manual failover requested by replica {}.",
            self.named(sender)
        );
        self.send_ping(link, PingKind::Ping);
    }
    /// Of a replica: whether it has all that its primary has written.
    pub(super) fn advance_manual_failover(&mut self) {
        let Manual {
            end: Some(_),
            primary_offset: Some(offset),
            can_start: false,
            ..
        } = self.manual
        else {
            return;
        };
        if offset == self.facts.offset {
            self.manual.can_start = true;
            log::info!("All master replication stream processed, manual failover can start.");
            self.todo.failover = true;
        } else {
            self.todo.manual_failover = true;
        }
    }
    /// How many replicas of the same primary have newer data.
    fn rank(&self) -> usize {
        let Some(primary) = self.my_primary() else {
            return 0;
        };
        let ahead = self.nodes().filter(|(key, node)| {
            node.primary == Some(primary)
                && *key != self.me
                && !node.has(node_flags::NOFAILOVER)
                && node.offset > self.facts.offset
        });
        ahead.count()
    }
    /// Takes the next step of an election, if this is a replica whose primary has failed or wants to be replaced.
    pub(super) fn advance_election(&mut self) {
        self.todo.failover = false;
        let now = self.facts.mono_ms;
        let is_manual = self.manual.end.is_some() && self.manual.can_start;
        let primary = self.my_primary().and_then(|key| self.node(key));
        let is_due = primary.is_some_and(|primary| {
            let may = !self.settings.replica_no_failover && primary.has(node_flags::FAIL);
            (may || is_manual) && !primary.slots.is_empty()
        });
        if self.myself().is_primary() || !is_due {
            self.election.hindrance = Hindrance::None;
            return;
        }
        if !is_manual && self.has_old_data() {
            self.log_hindrance(Hindrance::DataAge);
            return;
        }
        let voting = self
            .settings
            .node_timeout_ms
            .saturating_mul(2)
            .max(LEAST_VOTING_MS);
        let age = now.saturating_sub(self.election.at);
        if age > voting.saturating_mul(2) {
            self.plan_election();
            return;
        }
        if !self.election.is_sent && self.manual.end.is_none() {
            let rank = self.rank();
            let added = rank.saturating_sub(self.election.rank);
            if added > 0 {
                let delay = added as i64 * RANK_DELAY_MS;
                self.election.at = self.election.at.saturating_add(delay);
                self.election.rank = rank;
                log::info!("Replica rank updated to #{rank}, added {delay} milliseconds of delay.");
            }
        }
        if now < self.election.at {
            self.log_hindrance(Hindrance::Delay);
        } else if age > voting {
            self.log_hindrance(Hindrance::Expired);
        } else if !self.election.is_sent {
            self.current_epoch = self.current_epoch.saturating_add(1);
            self.election.epoch = self.current_epoch;
            log::info!(
                "Starting a failover election for epoch {}.",
                self.current_epoch
            );
            // After a crash it must not ask in the same epoch again.
            self.save_now(true);
            self.request_votes();
            self.election.is_sent = true;
            self.todo.judge = true;
        } else if self.election.votes >= self.quorum() {
            log::info!("Failover election won: I'm the new master.");
            let epoch = self.election.epoch;
            let me = self.myself_mut();
            if me.config_epoch < epoch {
                me.config_epoch = epoch;
                log::info!("configEpoch set to {epoch} after successful failover");
            }
            self.take_place();
        } else {
            self.log_hindrance(Hindrance::Votes);
        }
    }
    /// A vote has come.
    pub(super) fn on_vote(&mut self, sender: Option<NodeKey>, header: &Header) {
        let node = sender.and_then(|key| self.node(key));
        let may_vote = node.is_some_and(|node| node.is_primary() && !node.slots.is_empty());
        if may_vote && header.current_epoch >= self.election.epoch {
            self.election.votes += 1;
            self.todo.failover = true;
        }
    }
    /// Ends this node's election, if there is one: its votes were for the place of the primary that it had then. (Redis keeps
    /// them, and may take the place of the next primary with them, under an epoch that is too low.)
    pub(super) fn end_election(&mut self) {
        self.election.at = NEVER;
        self.election.is_sent = false;
        self.election.votes = 0;
    }
    fn has_old_data(&self) -> bool {
        let timeout = self.settings.node_timeout_ms;
        let factor = self.settings.replica_validity_factor;
        let mut age = self.facts.data_age_ms;
        if age > timeout {
            // So long it takes to find that the primary has failed.
            age -= timeout;
        }
        let most = timeout.saturating_mul(factor);
        factor != 0 && age > most.saturating_add(self.facts.repl_ping_period_ms)
    }
    fn plan_election(&mut self) {
        let now = self.facts.mono_ms;
        let chance = self.rng.below(ELECTION_DELAY_MS as u64) as i64;
        let mut rank = self.rank();
        let mut delay = ELECTION_DELAY_MS + chance + rank as i64 * RANK_DELAY_MS;
        if self.manual.end.is_some() {
            (rank, delay) = (0, 0);
            self.todo.failover = true;
        }
        self.election.at = now.saturating_add(delay);
        self.election.votes = 0;
        self.election.is_sent = false;
        self.election.rank = rank;
        log::info!(
            "Start of election delayed for {delay} milliseconds (rank #{rank}, offset {}).",
            self.facts.offset
        );
        // The other replicas compare their offsets with this node's.
        self.broadcast_pong(true);
    }
    /// Logs why there is no failover: when the reason is another one, or was not logged for a while, and never as long as it is
    /// in time.
    fn log_hindrance(&mut self, hindrance: Hindrance) {
        let now = self.facts.mono_ms;
        let is_recent = now.saturating_sub(self.election.logged_at) < RELOG_MS;
        if hindrance == self.election.hindrance && is_recent {
            return;
        }
        self.election.hindrance = hindrance;
        let quiet = self.settings.node_timeout_ms.saturating_add(LOG_DELAY_MS);
        let primary = self.my_primary().and_then(|key| self.node(key));
        if primary.is_some_and(|primary| {
            primary.has(node_flags::FAIL) && now.saturating_sub(primary.times.failed) < quiet
        }) {
            return;
        }
        let text = match hindrance {
            Hindrance::None => return,
            Hindrance::DataAge => {
                "Disconnected from master for longer than allowed. Please check the 'cluster-replica-validity-factor' configuration option."
            }
            Hindrance::Delay => "Waiting the delay before I can start a new failover.",
            Hindrance::Expired => "Failover attempt expired.",
            Hindrance::Votes => "Waiting for votes, but majority still not reached.",
        };
        self.election.logged_at = now;
        log::info!("Currently unable to failover: {text}");
        if matches!(hindrance, Hindrance::Votes | Hindrance::Expired) {
            log::info!(
                "Needed quorum: {}. Number of votes received so far: {}",
                self.quorum(),
                self.election.votes
            );
        }
    }
    /// Takes the primary's place: its slots become this node's, and all are told. The epoch for it has been taken before.
    fn take_place(&mut self) {
        let Some(primary) = self.my_primary() else {
            return;
        };
        if self.myself().is_primary() {
            return;
        }
        self.end_election();
        self.set_as_primary(self.me);
        self.lead();
        self.move_slots(primary, self.me);
        self.judge();
        self.save_now(true);
        self.broadcast_pong(false);
        self.reset_manual_failover();
    }
    /// Votes for a replica that asks for it, unless something speaks against it.
    pub(super) fn vote_if_due(&mut self, sender: Option<NodeKey>, request: &Header) {
        let Some(sender) = sender else { return };
        let me = self.myself();
        if me.is_replica() || me.slots.is_empty() {
            return;
        }
        let primary = self.node(sender).and_then(|node| node.primary);
        if let Err(reason) = self.may_vote(sender, primary, request) {
            log::warn!("Failover auth denied to {}: {reason}", self.named(sender));
            return;
        }
        if let Some((slot, owner, epoch)) = self.newer_owner(request) {
            log::warn!(
                "Failover auth denied to {}: slot {slot} epoch ({epoch}) > reqEpoch ({})",
                self.named(sender),
                request.config_epoch
            );
            // The primary may have died before the replica knew its last epoch. With that it can ask again; Redis does not tell
            // it, and so it never succeeds.
            self.send_update(sender, owner);
            return;
        }
        let now = self.facts.mono_ms;
        self.last_vote_epoch = self.current_epoch;
        if let Some(primary) = primary.and_then(|key| self.edit(key)) {
            primary.times.voted = now;
        }
        // After a crash it must not vote in the same epoch again.
        self.save_now(true);
        self.send_body(sender, Body::AuthAck);
        log::info!(
            "Failover auth granted to {} for epoch {}",
            self.named(sender),
            self.current_epoch
        );
    }
    fn may_vote(&self, sender: NodeKey, primary: Option<NodeKey>, request: &Header) -> Done {
        if request.current_epoch < self.current_epoch {
            return Err(format!(
                "reqEpoch ({}) < curEpoch({})",
                request.current_epoch, self.current_epoch
            ));
        }
        if self.last_vote_epoch == self.current_epoch {
            return Err(format!("already voted for epoch {}", self.current_epoch));
        }
        if self.node(sender).is_none_or(Node::is_primary) {
            return Err("it is a master node".to_owned());
        }
        let Some(primary) = primary.and_then(|key| self.node(key)) else {
            return Err("I don't know its master".to_owned());
        };
        if !primary.has(node_flags::FAIL) && !request.force_ack {
            return Err("its master is up".to_owned());
        }
        let pause = self.settings.node_timeout_ms.saturating_mul(2);
        let since = self.facts.mono_ms.saturating_sub(primary.times.voted);
        if since < pause {
            return Err(format!(
                "can't vote about this master before {} milliseconds",
                pause - since
            ));
        }
        Ok(())
    }
    /// Who holds a slot under a higher epoch than the one under which it is claimed in asking for a vote.
    fn newer_owner(&self, request: &Header) -> Option<(u16, NodeKey, u64)> {
        request.slots.iter().find_map(|slot| {
            let key = self.owner(slot).filter(|_| !self.is_unclaimed(slot))?;
            let epoch = self.node(key)?.config_epoch;
            (epoch > request.config_epoch).then_some((slot, key, epoch))
        })
    }
    /// Becomes the replica of a primary that has lost all its replicas, if this one is the one to do so: with the lowest id among
    /// those whose primaries have `most` replicas.
    pub(super) fn migrate_if_due(&mut self, most: usize) {
        let Some(primary) = self.my_primary().filter(|_| self.is_ok()) else {
            return;
        };
        let failing = node_flags::FAIL | node_flags::PFAIL;
        let beside = self.nodes.values();
        let beside = beside.filter(|n| n.primary == Some(primary) && !n.has(failing));
        if beside.count() as i64 <= self.settings.migration_barrier {
            return;
        }
        let now = self.facts.mono_ms;
        let working = self.working_replicas();
        let replicas_of = |key: NodeKey| working.get(&key).copied().unwrap_or(0);
        let mut target = None;
        for (key, node) in &mut self.nodes {
            let is_orphan = !node.is_replica()
                && !node.has(node_flags::FAIL)
                && node.has(node_flags::MIGRATE_TO)
                && replicas_of(*key) == 0;
            if !is_orphan {
                node.times.orphaned = NEVER;
                continue;
            }
            if node.times.orphaned == NEVER {
                node.times.orphaned = now;
            }
            if !node.slots.is_empty() && target.is_none() {
                target = Some((*key, node.times.orphaned));
            }
        }
        let rivals = self.nodes.values().filter(|node| {
            node.primary.is_some_and(|primary| {
                let is_primary = self.node(primary).is_some_and(Node::is_primary);
                is_primary && replicas_of(primary) == most
            })
        });
        let is_chosen = rivals.map(|node| node.id).all(|id| id >= self.myself().id);
        if let Some((target, since)) = target
            && is_chosen
            && now.saturating_sub(since) > MIGRATION_DELAY_MS
        {
            let id = self.node(target).map_or("", |node| node.id.as_str());
            log::info!("Migrating to orphaned master {id}");
            self.follow(target);
            self.save_later(false);
        }
    }
}
