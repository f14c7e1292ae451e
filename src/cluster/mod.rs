//! A node of a cluster: what it knows of the others, and what follows from what they say. Nothing of sockets, clients and keys:
//! what is to be done is left as [`Action`]s, and what the rest of the server is like comes as [`Facts`]. So whole clusters run
//! in a test, with a clock of their own.
//!
//! | file | what |
//! | --- | --- |
//! | `node` | what is known of one node |
//! | `message` | the messages of the bus, as values and as bytes |
//! | `state` | the nodes, who holds which slot, epochs; from and to nodes.conf |
//! | `commands` | what commands change of them |
//! | `claims` | who holds a slot when several claim it; roles that follow from it |
//! | `gossip` | what pings tell, and what is learned of it; failure reports |
//! | `receive` | what follows from a message |
//! | `tick` | what is done by the clock: connecting, pinging, suspecting |
//! | `failover` | elections and manual failovers; migration of replicas |
//! | `file` | nodes.conf |
//! | `report` | the texts of CLUSTER NODES and CLUSTER INFO |
//!
//! Two clocks: what is awaited (an answer, a vote, the end of a delay) is measured by [`Facts::mono_ms`], so that a jump of the
//! wall clock neither makes nodes fail nor keeps them from failing; what is shown or told to others (`ping_sent_ms`,
//! `pong_received_ms`, the age of connections) is by Unix's clock. Nothing here depends on the order of a hash table: all that a
//! cluster does follows from the calls and the seed.
//!
//! How it is driven: the server calls one of the events (`accepted`, `connected`, `closed`, `received`, `tick`) or commands, then
//! does what [`Cluster::take_actions`] gives, in that order; and at the end of each turn [`Cluster::before_sleep`], and again what
//! it gives. What was to be sent in a turn is written to the sockets after that: so nodes.conf has what this node has learned
//! before others see what follows from it. Where the order is vital (a vote, an election, a new epoch) [`Action::Save`] stands
//! before [`Action::Send`].
//!
//! Mirrors Redis's cluster_legacy.c. On purpose it differs in a few points, none of which another node can tell from a Redis that
//! is in luck: votes end with the election that they were for; who asks for a vote with an old epoch is told the new one; a replica
//! leaves a primary that has become a replica as soon as it hears of it, and not only with the next change of slots; how long a
//! primary has been without replicas is counted from the last time that it had one; a node believes nothing that is told in its
//! own name; what cannot stand in nodes.conf is not taken in; the tables have bounds.

mod claims;
mod commands;
mod failover;
pub mod file;
mod gossip;
pub mod message;
pub mod node;
mod receive;
mod report;
mod state;
#[cfg(test)]
mod tests;
mod tick;

pub use node::{Node, NodeId, NodeKey, node_flags};

use crate::structures::slots::{SLOTS, SlotSet};
use crate::system::rng::Rng;
use failover::{Election, Manual};
use node::NEVER;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a command is answered: an error is the whole text of it.
pub type Done<T = ()> = Result<T, String>;

/// Names a connection of the bus. Given by this module for those that it asks for, and by [`Cluster::accepted`] for the others;
/// never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LinkId(pub u64);

/// What the directives say (`cluster-*`), and where this server listens.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// `cluster-node-timeout`, ms.
    pub node_timeout_ms: i64,
    /// `cluster-replica-validity-factor`.
    pub replica_validity_factor: i64,
    /// `cluster-migration-barrier`.
    pub migration_barrier: i64,
    /// `cluster-allow-replica-migration`.
    pub allow_replica_migration: bool,
    /// `cluster-require-full-coverage`.
    pub require_full_coverage: bool,
    /// `cluster-replica-no-failover`.
    pub replica_no_failover: bool,
    /// `cluster-allow-reads-when-down`.
    pub allow_reads_when_down: bool,
    /// `cluster-allow-pubsubshard-when-down`.
    pub allow_pubsubshard_when_down: bool,
    /// `cluster-announce-ip`; empty: what others see.
    pub announce_ip: String,
    /// `cluster-announce-hostname`.
    pub announce_hostname: String,
    /// `cluster-announce-human-nodename`.
    pub announce_human_name: String,
    /// `availability-zone`.
    pub availability_zone: String,
    /// Port for clients as announced: `cluster-announce-port`, or `port`; 0: none.
    pub tcp_port: u16,
    /// `cluster-announce-tls-port`, or `tls-port`; 0: none.
    pub tls_port: u16,
    /// `cluster-announce-bus-port`, or `cluster-port`, or 10000 above the port for clients.
    pub bus_port: u16,
    /// `tls-cluster`: which of the two ports is the first one in messages.
    pub tls: bool,
    /// `tls-replication`: which of the two ports of its primary a replica connects to.
    pub tls_replication: bool,
    /// `cluster-ping-interval`, ms, for tests; 0: half of `node_timeout_ms`.
    pub ping_interval_ms: i64,
}

/// What the rest of the server is like at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// Milliseconds of a clock that never goes back: all that is awaited is measured by it.
    pub mono_ms: i64,
    /// The replication offset: of a primary what it has written, of a replica what it has processed.
    pub offset: i64,
    /// Of a replica: it is connected to its primary, and has its data.
    pub link_is_up: bool,
    /// Of a replica: for how long nothing has come of its primary, ms.
    pub data_age_ms: i64,
    /// `repl-ping-replica-period`, ms.
    pub repl_ping_period_ms: i64,
    /// The server has stopped writes because this module asked for it.
    pub is_paused: bool,
    /// There are no keys.
    pub is_empty: bool,
}

/// What is to be done outside of this module, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make a connection, under this name. [`Cluster::connected`] is called when it is made, and [`Cluster::closed`] when it ends.
    Connect {
        /// Its name.
        link: LinkId,
        /// Where to.
        ip: String,
        /// The bus's port there.
        port: u16,
    },
    /// Send bytes behind all that was sent before. (Before the connection is made they wait.)
    Send {
        /// On which connection.
        link: LinkId,
        /// A whole message.
        bytes: Rc<[u8]>,
    },
    /// Close a connection; [`Cluster::closed`] is not called for it.
    Close(LinkId),
    /// Write nodes.conf ([`Cluster::config_text`]) before what follows takes effect outside: before a vote is sent, and where
    /// `sync` also to the disk.
    Save {
        /// The disk must have it.
        sync: bool,
    },
    /// Become a replica of this server, or of another one.
    Follow {
        /// Its address.
        ip: String,
        /// Its port for clients.
        port: u16,
    },
    /// Become a primary, with the data that are there.
    Lead,
    /// Delete the keys of a slot, which is another node's now.
    DropSlot(u16),
    /// End the sharded subscriptions of these slots, which have changed hands (`sunsubscribe` is told).
    DropChannels(SlotSet),
    /// Delete all keys (a primary that becomes a replica after CLUSTER RESET, or a node that lost all).
    FlushAll,
    /// Stop writes for a manual failover, and all else that moves the replication offset (expiry, eviction, pings to replicas),
    /// until that moment of the monotonic clock, ms.
    Pause {
        /// Until when.
        until_mono_ms: i64,
    },
    /// Go on with writes.
    Unpause,
    /// Give this to the subscribers of a channel here.
    Publish {
        /// To those of SSUBSCRIBE.
        is_sharded: bool,
        /// The channel.
        channel: Vec<u8>,
        /// The message.
        message: Vec<u8>,
    },
}

/// Why commands on keys are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Down {
    /// They are not.
    No,
    /// A slot has no node, or one that has failed, and `cluster-require-full-coverage` is on.
    Uncovered,
    /// Most of the primaries cannot be reached.
    Minority,
    /// It works again, but others may first have to tell what has changed: after a start, or after a partition.
    Waiting,
}

/// How a replica takes its primary's place (CLUSTER FAILOVER).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failover {
    /// The primary stops writes first, so that nothing is lost.
    Normal,
    /// The primary is not asked.
    Force,
    /// Nobody is asked.
    Takeover,
}

/// A connection of the bus whose other end is known (CLUSTER LINKS).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkInfo {
    /// Its name.
    pub link: LinkId,
    /// Whom it connects with.
    pub node: NodeKey,
    /// The other end made it.
    pub is_inbound: bool,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// Whom it connects with; of an inbound one that is told by its first message.
    node: Option<NodeKey>,
    is_inbound: bool,
    /// By the clock of Unix, to be shown.
    created_ms: i64,
    /// By the other clock.
    created_mono_ms: i64,
}

/// What is left to be done at the end of the turn.
#[derive(Clone, Copy, Debug, Default)]
struct Todo {
    failover: bool,
    manual_failover: bool,
    judge: bool,
    save: bool,
    sync: bool,
}

/// What there is of a cluster at this node.
#[derive(Debug)]
pub struct Cluster {
    settings: ClusterSettings,
    rng: Rng,
    /// As of the last call that brought them.
    facts: Facts,
    nodes: BTreeMap<NodeKey, Node>,
    /// The keys of `nodes`, ascending: to draw one.
    keys: Vec<NodeKey>,
    by_id: BTreeMap<NodeId, NodeKey>,
    next_key: usize,
    me: NodeKey,
    /// Who holds each slot; [`Node::slots`] is the same the other way.
    owners: Vec<Option<NodeKey>>,
    /// Slots whose owner has stopped to claim them, though nobody else has claimed them so far: not told to others as its own.
    not_claimed: SlotSet,
    migrating: BTreeMap<u16, NodeKey>,
    importing: BTreeMap<u16, NodeKey>,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    /// Nodes that are not to be known again until that moment of the monotonic clock, ms.
    forgotten: BTreeMap<NodeId, i64>,
    current_epoch: u64,
    last_vote_epoch: u64,
    size: usize,
    down: Down,
    /// When this node was last among less than half of the primaries.
    minority_at: i64,
    /// When the state was judged first.
    judged_at: Option<i64>,
    election: Election,
    manual: Manual,
    /// Of a replica: the server has been told to follow.
    follows: bool,
    /// The least that is known of what Redis's nodes agree on as a secret. Told as they tell it; not used.
    secret: [u8; 40],
    ticks: u64,
    /// Nodes with PFAIL as of the last tick.
    pfail_nodes: usize,
    /// Type of messages that are passed over, for tests.
    dropped_type: Option<usize>,
    todo: Todo,
    /// Slots whose sharded subscriptions are to end.
    lost_channels: SlotSet,
    sent: [u64; message::TYPES],
    received: [u64; message::TYPES],
    actions: Vec<Action>,
}

impl Cluster {
    /// The directives in force.
    pub fn settings(&self) -> &ClusterSettings {
        &self.settings
    }
    /// What is to be done outside; it is not kept.
    pub fn take_actions(&mut self) -> Vec<Action> {
        if !self.lost_channels.is_empty() {
            let slots = std::mem::take(&mut self.lost_channels);
            self.actions.push(Action::DropChannels(slots));
        }
        std::mem::take(&mut self.actions)
    }
    /// Whether something is to be done outside.
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty() || !self.lost_channels.is_empty()
    }
    /// Whether commands on keys are taken.
    pub fn is_ok(&self) -> bool {
        self.down == Down::No
    }
    /// Why they are not.
    #[cfg(test)]
    fn why_down(&self) -> Down {
        self.down
    }
    /// This node.
    pub fn my_key(&self) -> NodeKey {
        self.me
    }
    /// This node.
    pub fn myself(&self) -> &Node {
        // It is put in when the table is made, and never taken out.
        &self.nodes[&self.me]
    }
    /// A node.
    pub fn node(&self, key: NodeKey) -> Option<&Node> {
        self.nodes.get(&key)
    }
    /// The node that has this id.
    pub fn find(&self, id: &[u8]) -> Option<NodeKey> {
        self.by_id.get(&NodeId::parse(id)?).copied()
    }
    /// All nodes, this one and those in their handshake too, in the order in which they came to be known.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeKey, &Node)> {
        self.nodes.iter().map(|(key, node)| (*key, node))
    }
    /// Who holds a slot.
    #[inline]
    pub fn owner(&self, slot: u16) -> Option<NodeKey> {
        self.owners.get(usize::from(slot)).copied().flatten()
    }
    /// Where a slot of this node is going to.
    pub fn migrating_to(&self, slot: u16) -> Option<NodeKey> {
        self.migrating.get(&slot).copied()
    }
    /// Where a slot is coming from to this node.
    pub fn importing_from(&self, slot: u16) -> Option<NodeKey> {
        self.importing.get(&slot).copied()
    }
    /// Of a replica: its primary. None: this is a primary.
    pub fn my_primary(&self) -> Option<NodeKey> {
        self.myself().primary
    }
    /// The replicas of a node, in the order in which they came to be known.
    pub fn replicas_of(&self, key: NodeKey) -> Vec<NodeKey> {
        let of = self.nodes().filter(|(_, node)| node.primary == Some(key));
        of.map(|(key, _)| key).collect()
    }
    /// Primaries that hold slots.
    pub fn size(&self) -> usize {
        self.size
    }
    /// The highest epoch known.
    pub fn current_epoch(&self) -> u64 {
        self.current_epoch
    }
    /// The connections whose other end is known, by node.
    pub fn links(&self) -> impl Iterator<Item = LinkInfo> {
        let of_nodes = self
            .nodes
            .values()
            .flat_map(|node| [node.link, node.inbound]);
        of_nodes.flatten().filter_map(|link| {
            let of = self.links.get(&link)?;
            Some(LinkInfo {
                link,
                node: of.node?,
                is_inbound: of.is_inbound,
                created_ms: of.created_ms,
            })
        })
    }
    /// Messages sent and received, by the number of their type.
    #[cfg(test)]
    fn message_counts(&self) -> (&[u64], &[u64]) {
        (&self.sent, &self.received)
    }
}
