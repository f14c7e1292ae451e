//! A node of a cluster, as the engine sees it: how it begins, what it is told of the server, what it asks for.
//!
//! | file | what |
//! | --- | --- |
//! | `mod` | the directives and the server as [`crate::cluster`] sees them; nodes.conf read |
//! | `actions` | what follows from what it has decided: roles, pauses, keys that go |
//! | `route` | whether a command's keys are this node's to serve, and who is named if not |
//!
//! What is known of the other nodes is [`crate::cluster`]'s; the sockets of the bus are the server's.

pub mod actions;
pub mod channels;
pub mod route;

use super::State;
use crate::cluster::{Cluster, ClusterSettings, Facts, LinkId};
use crate::config::Settings;
use crate::structures::slots::SLOTS;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Bytes that wait to be sent to another node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkBuffer {
    /// What their room takes.
    pub allocated: usize,
    /// How many they are.
    pub used: usize,
}

/// What is to be told of the connections of the bus, which the server owns. It brings this up to date.
#[derive(Debug, Default)]
pub struct Links {
    /// What waits in each. (One that is not here has nothing to send.)
    pub buffers: BTreeMap<LinkId, LinkBuffer>,
    /// Connections that were closed because more waited than `cluster-link-sendbuf-limit` allows.
    pub over_limit: u64,
    /// How many there are.
    pub count: usize,
    /// Memory of all of them but what waits, bytes.
    pub memory_bytes: usize,
}

/// Memory that the connections of the bus take, with what waits to be sent, bytes.
pub fn links_memory(state: &State) -> usize {
    let links = &state.cluster_links;
    let waiting: usize = links.buffers.values().map(|buffer| buffer.allocated).sum();
    let cluster = state.cluster.as_ref();
    let left = cluster.map_or(0, |cluster| cluster.unsent_bytes());
    links.memory_bytes + waiting + left
}

/// What the directives say.
pub fn settings(settings: &Settings) -> ClusterSettings {
    let own = &settings.cluster;
    let or = |announced: u16, own: u16| if announced == 0 { own } else { announced };
    ClusterSettings {
        node_timeout_ms: own.node_timeout_ms,
        replica_validity_factor: own.replica_validity_factor,
        migration_barrier: own.migration_barrier,
        allow_replica_migration: own.allow_replica_migration,
        require_full_coverage: own.require_full_coverage,
        replica_no_failover: own.replica_no_failover,
        allow_reads_when_down: own.allow_reads_when_down,
        allow_pubsubshard_when_down: own.allow_pubsubshard_when_down,
        announce_ip: own.announce_ip.clone(),
        announce_hostname: own.announce_hostname.clone(),
        announce_human_name: own.announce_human_name.clone(),
        availability_zone: String::new(),
        tcp_port: or(own.announce_port, settings.port),
        tls_port: or(own.announce_tls_port, settings.tls.port),
        bus_port: or(own.announce_bus_port, settings.bus_port()),
        tls: settings.tls.cluster,
        tls_replication: settings.tls.replication,
        ping_interval_ms: own.ping_interval_ms,
    }
}

/// What the server is like now.
pub fn facts(state: &State) -> Facts {
    const MS_NS: u64 = 1_000_000;
    let ms = |ns: u64| i64::try_from(ns / MS_NS).unwrap_or(i64::MAX);
    let now_ns = state.now.mono_ns;
    let link = state.replication.link.as_deref();
    let since_ns = |link: &crate::replication::Link| match link.client() {
        Some(key) => {
            let client = state.clients.get(key);
            let last_ns = client.map(|client| client.connection().last_interaction_ns());
            now_ns.saturating_sub(last_ns.unwrap_or(now_ns))
        }
        None => match link.down_since_ns {
            Some(since_ns) => now_ns.saturating_sub(since_ns),
            // It never was up: its data are of no age.
            None => u64::MAX,
        },
    };
    Facts {
        unix_ms: state.now.unix_ms(),
        mono_ms: ms(now_ns),
        offset: state.journal.offset(),
        link_is_up: link.is_some_and(|link| link.is_up()),
        data_age_ms: link.map_or(0, |link| ms(since_ns(link))),
        repl_ping_period_ms: i64::try_from(state.config.settings().repl_ping_period_s)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000),
        is_paused: state.pauses.for_cluster,
        is_empty: (0..state.keyspace.count()).all(|db| state.keyspace.figures(db).0 == 0),
    }
}

/// Where nodes.conf is.
pub fn config_path(settings: &Settings) -> PathBuf {
    settings.dir.join(&settings.cluster.config_file)
}

/// Becomes a node, if `cluster-enabled` says so: the one that nodes.conf tells of, or a new one. The error is a line for the log.
pub fn begin(state: &mut State) -> Result<(), String> {
    let all = state.config.settings();
    if !all.cluster.enabled {
        return Ok(());
    }
    let path = config_path(all);
    let text = state.persistence.disk.read(&path).map_err(|error| {
        format!(
            "Loading the cluster node config from {}: {error}",
            path.display()
        )
    })?;
    let text = text.unwrap_or_default();
    let facts = facts(state);
    let seed = state.rng.next_u64();
    let settings = settings(state.config.settings());
    let cluster = if text.is_empty() {
        let cluster = Cluster::new(settings, seed, &facts);
        log::info!(
            "No cluster configuration found, I'm {}",
            cluster.myself().id
        );
        cluster
    } else {
        let cluster = Cluster::restore(&text, settings, seed, &facts);
        let cluster = cluster.map_err(|reason| {
            log::error!("{reason}");
            "Unrecoverable error: corrupted cluster config file.".to_owned()
        })?;
        log::info!("Node configuration loaded, I'm {}", cluster.myself().id);
        cluster
    };
    state.cluster = Some(Box::new(cluster));
    state.keyspace.index_slots();
    Ok(())
}

/// Compares the data, when they are loaded, with who holds their slots: what is in a slot of nobody becomes this node's.
pub fn check_data(state: &mut State) {
    let Some(cluster) = &mut state.cluster else {
        return;
    };
    let keyspace = &state.keyspace;
    let slots = (0..SLOTS as u16).filter(|slot| keyspace.keys_in_slot(0, *slot) > 0);
    let slots: Vec<u16> = slots.collect();
    cluster.check_data(&slots);
}
