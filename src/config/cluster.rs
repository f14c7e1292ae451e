//! What the `cluster-*` directives mean, as plain fields.

use super::settings::Reader;

/// What nodes are called in MOVED, CLUSTER SLOTS and CLUSTER SHARDS (`cluster-preferred-endpoint-type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PreferredEndpoint {
    /// By their addresses.
    #[default]
    Ip,
    /// By their announced host names.
    Hostname,
    /// Not at all: clients use the address that they have.
    Unknown,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterDirectives {
    /// `cluster-enabled`.
    pub enabled: bool,
    /// `cluster-config-file`: the file's name in the working directory.
    pub config_file: String,
    /// `cluster-port`: where the bus is listened for; 0: 10000 above the port for clients.
    pub port: u16,
    /// `cluster-node-timeout`, ms.
    pub node_timeout_ms: i64,
    /// `cluster-ping-interval`, ms; 0: by the timeout.
    pub ping_interval_ms: i64,
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
    /// `cluster-link-sendbuf-limit`, bytes; 0: none.
    pub link_limit: u64,
    /// `cluster-announce-ip`; empty: what others see.
    pub announce_ip: String,
    /// `cluster-announce-hostname`.
    pub announce_hostname: String,
    /// `cluster-announce-human-nodename`.
    pub announce_human_name: String,
    /// `cluster-preferred-endpoint-type`.
    pub endpoint: PreferredEndpoint,
    /// `cluster-announce-port`; 0: the one that is listened on.
    pub announce_port: u16,
    /// `cluster-announce-tls-port`; 0: the one that is listened on.
    pub announce_tls_port: u16,
    /// `cluster-announce-bus-port`; 0: the one that is listened on.
    pub announce_bus_port: u16,
}

impl ClusterDirectives {
    pub(super) fn read(read: &Reader<'_>) -> ClusterDirectives {
        let text = |name: &str| {
            let text = read.text(name).unwrap_or_default();
            String::from_utf8_lossy(&text).into_owned()
        };
        ClusterDirectives {
            enabled: read.yes("cluster-enabled"),
            config_file: text("cluster-config-file"),
            port: read.number("cluster-port"),
            node_timeout_ms: read.number("cluster-node-timeout"),
            ping_interval_ms: read.number("cluster-ping-interval"),
            replica_validity_factor: read.number("cluster-replica-validity-factor"),
            migration_barrier: read.number("cluster-migration-barrier"),
            allow_replica_migration: read.yes("cluster-allow-replica-migration"),
            require_full_coverage: read.yes("cluster-require-full-coverage"),
            replica_no_failover: read.yes("cluster-replica-no-failover"),
            allow_reads_when_down: read.yes("cluster-allow-reads-when-down"),
            allow_pubsubshard_when_down: read.yes("cluster-allow-pubsubshard-when-down"),
            link_limit: read.number("cluster-link-sendbuf-limit"),
            announce_ip: text("cluster-announce-ip"),
            announce_hostname: text("cluster-announce-hostname"),
            announce_human_name: text("cluster-announce-human-nodename"),
            endpoint: read.choice(
                "cluster-preferred-endpoint-type",
                &[
                    PreferredEndpoint::Ip,
                    PreferredEndpoint::Hostname,
                    PreferredEndpoint::Unknown,
                ],
            ),
            announce_port: read.number("cluster-announce-port"),
            announce_tls_port: read.number("cluster-announce-tls-port"),
            announce_bus_port: read.number("cluster-announce-bus-port"),
        }
    }
}
