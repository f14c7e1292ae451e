//! A node of a cluster: what it knows of the others, and what follows from what they say. Nothing of sockets, clients and keys:
//! what is to be done is left as [`Action`]s, and what the rest of the server is like comes as [`Facts`]. So whole clusters run
//! in a test, with a clock of their own.
//!
//! | file | what |
//! | --- | --- |
//! | `node` | what is known of one node |
//! | `message` | the messages of the bus, as values and as bytes |
//! | `state` | the nodes, who holds which slot, epochs; what commands change of them |
//! | `gossip` | what pings tell, and what is learned of it; failure reports |
//! | `receive` | what follows from a message |
//! | `tick` | what is done by the clock: connecting, pinging, suspecting |
//! | `failover` | elections and manual failovers; migration of replicas |
//! | `file` | nodes.conf |
//! | `report` | the texts of CLUSTER NODES and CLUSTER INFO |
//!
//! Mirrors Redis's cluster_legacy.c.

pub mod message;
pub mod node;

pub use node::{Node, NodeId, NodeKey, node_flags};

use std::rc::Rc;

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
    /// Delete the keys of a slot, which is another node's now, and forget its sharded subscriptions (`sunsubscribe` is told).
    DropSlot(u16),
    /// Delete all keys (a primary that becomes a replica after CLUSTER RESET, or a node that lost all).
    FlushAll,
    /// Stop writes for a manual failover, until that moment of the monotonic clock, ms.
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

/// What there is of a cluster at this node.
#[derive(Debug)]
pub struct Cluster {}
