//! What is known of a node.

use super::LinkId;
use crate::structures::slots::SlotSet;
use std::fmt;

/// Letters of an id.
pub const ID_LEN: usize = 40;

/// The id of a node or of a shard: 40 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub [u8; ID_LEN]);

impl NodeId {
    /// Of 40 bytes that are lowercase hex digits.
    pub fn parse(text: &[u8]) -> Option<NodeId> {
        let id: [u8; ID_LEN] = text.try_into().ok()?;
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        id.iter().all(is_hex).then_some(NodeId(id))
    }
    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Names a node in the tables of [`super::Cluster`], cheaper than its id. Not given to another one while it is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeKey(pub usize);

/// Flags of a node, as on the wire.
pub mod node_flags {
    /// It is a primary.
    pub const PRIMARY: u16 = 1;
    /// It is a replica.
    pub const REPLICA: u16 = 2;
    /// It does not answer; others have not said so.
    pub const PFAIL: u16 = 4;
    /// It is down: a majority has said so.
    pub const FAIL: u16 = 8;
    /// It is this node.
    pub const MYSELF: u16 = 16;
    /// The first ping is not answered: its id is made up.
    pub const HANDSHAKE: u16 = 32;
    /// Where it is, is not known.
    pub const NOADDR: u16 = 64;
    /// It is to be sent MEET.
    pub const MEET: u16 = 128;
    /// Replicas may migrate to it: a primary that had some.
    pub const MIGRATE_TO: u16 = 256;
    /// A replica that does not take its primary's place.
    pub const NOFAILOVER: u16 = 512;
    /// It understands extensions of pings.
    pub const EXTENSIONS: u16 = 1024;
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id, made up during the handshake.
    pub id: NodeId,
    /// Which nodes hold the same slots.
    pub shard: NodeId,
    /// [`node_flags`].
    pub flags: u16,
    /// Its epoch; a replica's is that of its primary, as far as it is told.
    pub config_epoch: u64,
    /// The slots it holds.
    pub slots: SlotSet,
    /// Of a replica: its primary, if that is known.
    pub primary: Option<NodeKey>,
    /// Where it is; empty: not known.
    pub ip: String,
    /// The announced host name, or nothing.
    pub hostname: String,
    /// The announced name for people, or nothing.
    pub human_name: String,
    /// Valkey's availability zone, or nothing.
    pub availability_zone: String,
    /// Port for clients without TLS; 0: none.
    pub tcp_port: u16,
    /// Port for clients with TLS; 0: none.
    pub tls_port: u16,
    /// Port of the bus.
    pub bus_port: u16,
    /// When it came to be known, ms (as all that follow, by the clock of Unix).
    pub created_ms: i64,
    /// When the ping was sent that is not answered; 0: none is.
    pub ping_sent_ms: i64,
    /// When it answered last.
    pub pong_received_ms: i64,
    /// When anything came of it last.
    pub data_received_ms: i64,
    /// When FAIL was set.
    pub fail_ms: i64,
    /// When one of its replicas was voted for last.
    pub voted_ms: i64,
    /// Since when it is a primary without a replica that works.
    pub orphaned_ms: i64,
    /// Its replication offset, and when it was told.
    pub offset: i64,
    /// See `offset`.
    pub offset_ms: i64,
    /// Who says that it fails, and when that was said last.
    pub failure_reports: Vec<(NodeKey, i64)>,
    /// The connection to it.
    pub link: Option<LinkId>,
    /// The connection from it.
    pub inbound: Option<LinkId>,
}

impl Node {
    /// Whether it has one of these flags.
    pub fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }
    /// Whether it is a primary.
    pub fn is_primary(&self) -> bool {
        self.has(node_flags::PRIMARY)
    }
    /// Whether it is a replica.
    pub fn is_replica(&self) -> bool {
        self.has(node_flags::REPLICA)
    }
    /// Whether it is in its handshake.
    pub fn in_handshake(&self) -> bool {
        self.has(node_flags::HANDSHAKE)
    }
    /// Whether it is this node.
    pub fn is_myself(&self) -> bool {
        self.has(node_flags::MYSELF)
    }
}
