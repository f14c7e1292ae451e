//! Messages of the bus, as values and as bytes.
//!
//! In: bytes of a peer, which may be anything. Out: messages; and the other way. Lengths are checked before anything is
//! taken. Mirrors `clusterMsg` of Redis's cluster_legacy.h (protocol version 1) and Valkey's light header.

use super::node::NodeId;
use crate::structures::slots::SlotSet;

/// The bus's port is so far above that of clients.
pub const PORT_DISTANCE: u16 = 10_000;
/// A message of more is refused.
pub const MOST_BYTES: usize = 1 << 30;

/// The head that all messages have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Port for clients: TCP, or TLS with `tls-cluster`.
    pub port: u16,
    /// The other of the two; 0: none.
    pub secondary_port: u16,
    /// Port of the bus.
    pub bus_port: u16,
    /// The highest epoch that the sender knows.
    pub current_epoch: u64,
    /// The epoch of the sender, or of its primary.
    pub config_epoch: u64,
    /// Its replication offset.
    pub offset: i64,
    /// Who sends.
    pub sender: NodeId,
    /// The slots of the sender, or of its primary.
    pub slots: SlotSet,
    /// Of a replica: its primary.
    pub replica_of: Option<NodeId>,
    /// Announced address; empty: the one that it comes from.
    pub ip: String,
    /// [`super::node::node_flags`].
    pub flags: u16,
    /// The cluster works, as far as the sender knows.
    pub is_ok: bool,
    /// The sender is a primary that has stopped writes, for a manual failover.
    pub is_paused: bool,
    /// A vote is asked for although the primary is up.
    pub force_ack: bool,
}

/// What a ping tells of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gossip {
    /// Whom it is about.
    pub id: NodeId,
    /// When the sender pinged it last, s; 0: no ping is unanswered.
    pub ping_sent_s: u32,
    /// When it answered, s.
    pub pong_received_s: u32,
    /// Where it is.
    pub ip: String,
    /// Its ports, as in [`Header`].
    pub port: u16,
    /// See `port`.
    pub secondary_port: u16,
    /// See `port`.
    pub bus_port: u16,
    /// [`super::node::node_flags`].
    pub flags: u16,
}

/// What a ping may tell besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// The sender's host name.
    Hostname(String),
    /// Its name for people.
    HumanName(String),
    /// A node that must not be known again for so many seconds.
    Forgotten(NodeId, u64),
    /// The sender's shard.
    Shard(NodeId),
    /// Redis's secret of the cluster.
    InternalSecret([u8; 40]),
    /// Valkey's availability zone of the sender.
    AvailabilityZone(String),
}

/// Which of the three that are built alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingKind {
    /// To be answered.
    Ping,
    /// The answer.
    Pong,
    /// To be answered, and whoever sends it is to be known.
    Meet,
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// PING, PONG, MEET.
    Ping {
        /// Which.
        kind: PingKind,
        /// Of other nodes.
        gossip: Vec<Gossip>,
        /// Sent only to who understands them (flag `EXTENSIONS`).
        extensions: Vec<Extension>,
    },
    /// A node is down.
    Fail(NodeId),
    /// PUBLISH, or SPUBLISH.
    Publish {
        /// Only the shard's nodes are told.
        is_sharded: bool,
        /// The channel.
        channel: Vec<u8>,
        /// The message.
        message: Vec<u8>,
    },
    /// A replica asks for a vote.
    AuthRequest,
    /// It has it.
    AuthAck,
    /// Somebody's slots, of whom the receiver knows an older epoch.
    Update {
        /// The epoch.
        config_epoch: u64,
        /// Whose.
        id: NodeId,
        /// The slots.
        slots: SlotSet,
    },
    /// A replica wants to take its primary's place: writes are to be stopped.
    ManualFailover,
    /// Of a module: passed over.
    Module,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The head; none: it came with a light one, from whom the link tells.
    pub header: Option<Header>,
    /// What it is about.
    pub body: Body,
}
