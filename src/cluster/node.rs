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

/// Before all that happens: the time of what did not.
pub const NEVER: i64 = i64::MIN / 4;

/// When things happened, by a clock that never goes back, ms; [`NEVER`]: they did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// It came to be known.
    pub created: i64,
    /// The ping was sent that is not answered.
    pub ping_sent: i64,
    /// It answered last, to this node or, as far as that is told, to another one.
    pub pong_received: i64,
    /// Anything came of it last.
    pub data_received: i64,
    /// FAIL was set.
    pub failed: i64,
    /// One of its replicas was voted for last.
    pub voted: i64,
    /// It came to be a primary without a replica that works.
    pub orphaned: i64,
    /// Its replication offset was told last.
    pub offset: i64,
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
    /// When the ping was sent that is not answered, milliseconds since the Unix epoch; 0: none is. This is shown and told to others;
    /// what is awaited is measured by [`Node::times`], so that a jump of the wall clock makes no node fail.
    pub ping_sent_ms: i64,
    /// When it answered last, milliseconds since the Unix epoch; 0: it did not.
    pub pong_received_ms: i64,
    /// When things happened that something is waited for after.
    pub times: Times,
    /// Its replication offset.
    pub offset: i64,
    /// Who says that it fails, and when that was said last, by the clock of [`Times`].
    pub failure_reports: Vec<(NodeKey, i64)>,
    /// The connection to it, made by this node.
    pub link: Option<LinkId>,
    /// The connection from it, made by the other.
    pub inbound: Option<LinkId>,
}

impl Node {
    /// A node of which nothing more is known at this moment of the monotonic clock, ms.
    pub fn new(id: NodeId, shard: NodeId, flags: u16, now: i64) -> Node {
        Node {
            id,
            shard,
            flags,
            config_epoch: 0,
            slots: SlotSet::default(),
            primary: None,
            ip: String::new(),
            hostname: String::new(),
            human_name: String::new(),
            availability_zone: String::new(),
            tcp_port: 0,
            tls_port: 0,
            bus_port: 0,
            ping_sent_ms: 0,
            pong_received_ms: 0,
            times: Times {
                created: now,
                ping_sent: NEVER,
                pong_received: NEVER,
                data_received: NEVER,
                failed: NEVER,
                voted: NEVER,
                orphaned: NEVER,
                offset: NEVER,
            },
            offset: 0,
            failure_reports: Vec::new(),
            link: None,
            inbound: None,
        }
    }
    /// Whether a ping to it is not answered yet.
    pub fn awaits_pong(&self) -> bool {
        self.times.ping_sent != NEVER
    }
    /// Port for clients: the one for TLS, or the other.
    pub fn client_port(&self, tls: bool) -> u16 {
        if tls { self.tls_port } else { self.tcp_port }
    }
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
