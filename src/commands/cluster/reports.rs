//! The subcommands of CLUSTER that only ask.

use super::{Answer, DISABLED, cluster, slot, spec};
use crate::clients::ClientKey;
use crate::cluster::{Cluster, Node, NodeKey, node_flags};
use crate::commands::help as help_text;
use crate::config::{PreferredEndpoint, Settings};
use crate::engine::cluster::route::{endpoint, speaks_tls};
use crate::engine::cluster::{LinkBuffer, facts};
use crate::engine::{CommandError, ServerContext, State, parse, shown};
use crate::resp::{Args, Reply};
use crate::structures::slots::{SLOTS, slot_of};
use std::ops::RangeInclusive;

pub(super) fn help(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    cluster(context.state)?;
    help_text::of_rows(context.reply(), args, spec::SUBCOMMANDS);
    Ok(())
}

/// What is told of nodes depends on who asks: ports for TLS to those who speak it, also through a script.
fn tells_tls(state: &State, asker: ClientKey) -> bool {
    let settings = state.config.settings();
    let client = state.clients.get(asker);
    client.map_or(settings.tls.cluster, |client| {
        speaks_tls(client.connection(), settings)
    })
}

pub(super) fn myid(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let id = cluster(context.state)?.myself().id;
    context.reply().bulk(&id.0);
    Ok(())
}

pub(super) fn myshardid(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let id = cluster(context.state)?.myself().shard;
    context.reply().bulk(&id.0);
    Ok(())
}

pub(super) fn keyslot(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    cluster(context.state)?;
    context.reply().integer(slot_of(args.at(2)).into());
    Ok(())
}

pub(super) fn countkeysinslot(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    cluster(context.state)?;
    parse::integer(args.at(2))?;
    let slot = slot(args.at(2)).map_err(|_| CommandError::fixed("ERR Invalid slot"))?;
    let keys = context.state.keyspace.keys_in_slot(0, slot);
    context.reply().count(keys);
    Ok(())
}

pub(super) fn getkeysinslot(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    const INVALID: CommandError = CommandError::fixed("ERR Invalid slot or number of keys");
    cluster(context.state)?;
    parse::integer(args.at(2))?;
    let most = parse::integer(args.at(3))?;
    let slot = slot(args.at(2)).map_err(|_| INVALID)?;
    let most = usize::try_from(most).map_err(|_| INVALID)?;
    let keys = context.state.keyspace.some_keys_in_slot(0, slot, most);
    let reply = context.reply();
    reply.array(keys.len());
    for key in keys {
        reply.bulk(&key);
    }
    Ok(())
}

pub(super) fn nodes(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let tls = tells_tls(context.state, context.asker);
    let text = cluster(context.state)?.nodes_text(0, tls);
    context.reply().verbatim("txt", text.as_bytes());
    Ok(())
}

pub(super) fn info(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let over_limit = context.state.cluster_links.over_limit;
    let text = cluster(context.state)?.info_text(over_limit);
    context.reply().verbatim("txt", text.as_bytes());
    Ok(())
}

pub(super) fn count_failure_reports(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let facts = facts(context.state);
    let cluster = context.state.cluster.as_deref_mut().ok_or(DISABLED)?;
    let reports = cluster.failure_reports(shown(args.at(2)), &facts);
    let reports = reports.map_err(CommandError::text_owned)?;
    context.reply().count(reports);
    Ok(())
}

pub(super) fn replicas(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let tls = tells_tls(context.state, context.asker);
    let cluster = cluster(context.state)?;
    let Some(key) = cluster.find(args.at(2)) else {
        return Err(CommandError::showing("ERR Unknown node ", args.at(2), ""));
    };
    if cluster.node(key).is_some_and(Node::is_replica) {
        return Err(CommandError::fixed(
            "ERR The specified node is not a master",
        ));
    }
    let replicas = cluster.replicas_of(key).into_iter();
    let lines: Vec<String> = replicas.map(|key| cluster.node_line(key, tls)).collect();
    let reply = context.reply();
    reply.array(lines.len());
    for line in lines {
        reply.bulk(line.as_bytes());
    }
    Ok(())
}

/// What the answers that describe nodes are made of, and the answer.
struct Page<'a> {
    cluster: &'a Cluster,
    settings: &'a Settings,
    tls: bool,
    /// The replication offset of this node.
    offset: i64,
    reply: &'a mut Reply,
}

/// Writes an answer that describes nodes.
fn describe(context: &mut ServerContext<'_>, write: impl FnOnce(&mut Page<'_>)) -> Answer {
    let tls = tells_tls(context.state, context.asker);
    let client = context.client;
    let state = &mut *context.state;
    let cluster = state.cluster.as_deref().ok_or(DISABLED)?;
    if let Some(client) = state.clients.get_mut(client) {
        write(&mut Page {
            cluster,
            settings: state.config.settings(),
            tls,
            offset: state.journal.offset(),
            reply: &mut client.reply,
        });
    }
    Ok(())
}

pub(super) fn slots(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    describe(context, |page| page.slots())
}

pub(super) fn shards(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    describe(context, |page| page.shards())
}

impl Page<'_> {
    fn word(&mut self, name: &str, value: &str) {
        self.reply.bulk(name.as_bytes());
        self.reply.bulk(value.as_bytes());
    }
    fn number(&mut self, name: &str, value: i64) {
        self.reply.bulk(name.as_bytes());
        self.reply.integer(value);
    }
    /// How much of the stream a node has, as far as that is known.
    fn offset_of(&self, node: &Node) -> i64 {
        match node.is_myself() {
            true => self.offset,
            false => node.offset,
        }
    }
    /// Runs of slots that have the same owner, ascending.
    fn runs(&self) -> Vec<(RangeInclusive<u16>, NodeKey)> {
        let mut runs: Vec<(RangeInclusive<u16>, NodeKey)> = Vec::new();
        for slot in 0..SLOTS as u16 {
            let Some(owner) = self.cluster.owner(slot) else {
                continue;
            };
            match runs.last_mut() {
                Some((run, of)) if *of == owner && run.end() + 1 == slot => {
                    *run = *run.start()..=slot;
                }
                _ => runs.push((slot..=slot, owner)),
            }
        }
        runs
    }
    fn slots(&mut self) {
        let runs = self.runs();
        self.reply.array(runs.len());
        for (run, owner) in runs {
            let mut nodes = vec![owner];
            // Clients may read from replicas that are told: from one that has nothing there is nothing to read.
            let replicas = self.cluster.replicas_of(owner).into_iter();
            nodes.extend(replicas.filter(|key| {
                let replica = self.cluster.node(*key);
                replica.is_some_and(|node| !node.has(node_flags::FAIL) && self.offset_of(node) != 0)
            }));
            self.reply.array(2 + nodes.len());
            self.reply.integer((*run.start()).into());
            self.reply.integer((*run.end()).into());
            for key in nodes {
                self.node_of_slots(key);
            }
        }
    }
    fn node_of_slots(&mut self, key: NodeKey) {
        let Some(node) = self.cluster.node(key) else {
            return self.reply.null_array();
        };
        let preferred = self.settings.cluster.endpoint;
        self.reply.array(4);
        match preferred {
            PreferredEndpoint::Unknown => self.reply.null(),
            _ => self.reply.bulk(endpoint(node, self.settings).as_bytes()),
        }
        self.reply.integer(node.client_port(self.tls).into());
        self.reply.bulk(&node.id.0);
        // What else is known of where it is.
        let ip = (preferred != PreferredEndpoint::Ip).then_some(("ip", &node.ip));
        let hostname = preferred != PreferredEndpoint::Hostname && !node.hostname.is_empty();
        let hostname = hostname.then_some(("hostname", &node.hostname));
        let more: Vec<_> = ip.into_iter().chain(hostname).collect();
        self.reply.map(more.len());
        for (name, value) in more {
            self.word(name, value);
        }
    }
    fn shards(&mut self) {
        let mut shards: Vec<(crate::cluster::NodeId, Vec<NodeKey>)> = Vec::new();
        for (key, node) in self
            .cluster
            .nodes()
            .filter(|(_, node)| !node.in_handshake())
        {
            match shards.iter_mut().find(|(shard, _)| *shard == node.shard) {
                Some((_, nodes)) => nodes.push(key),
                None => shards.push((node.shard, vec![key])),
            }
        }
        self.reply.array(shards.len());
        for (_, nodes) in shards {
            self.reply.map(2);
            self.reply.bulk(b"slots");
            let ranges = self.slots_of_shard(&nodes);
            self.reply.array(ranges.len() * 2);
            for (first, last) in ranges {
                self.reply.integer(first.into());
                self.reply.integer(last.into());
            }
            self.reply.bulk(b"nodes");
            self.reply.array(nodes.len());
            for key in nodes {
                self.node_of_shard(key);
            }
        }
    }
    /// The slots of the primary of a shard, which is the one that the first node that works follows, or that node.
    fn slots_of_shard(&self, nodes: &[NodeKey]) -> Vec<(u16, u16)> {
        let mut nodes = nodes.iter().filter_map(|key| self.cluster.node(*key));
        let Some(node) = nodes.find(|node| !node.has(node_flags::FAIL)) else {
            return Vec::new();
        };
        let mut primary = node;
        // A chain of replicas is soon repaired, and its end is the primary. One that leads back to its beginning has none.
        for _ in 0..4 {
            match primary.primary.and_then(|key| self.cluster.node(key)) {
                Some(next) => primary = next,
                None => break,
            }
        }
        primary.slots.ranges()
    }
    fn node_of_shard(&mut self, key: NodeKey) {
        let Some(node) = self.cluster.node(key) else {
            return self.reply.map(0);
        };
        let ports = [("port", node.tcp_port), ("tls-port", node.tls_port)];
        let ports = ports.into_iter().filter(|(_, port)| *port != 0);
        let hostname = (!node.hostname.is_empty()).then_some(&node.hostname);
        let offset = self.offset_of(node);
        self.reply
            .map(6 + ports.clone().count() + usize::from(hostname.is_some()));
        self.word("id", node.id.as_str());
        for (name, port) in ports {
            self.number(name, port.into());
        }
        self.word("ip", &node.ip);
        self.word("endpoint", endpoint(node, self.settings));
        if let Some(hostname) = hostname {
            self.word("hostname", hostname);
        }
        let (is_replica, has_failed) = (node.is_replica(), node.has(node_flags::FAIL));
        self.word("role", if is_replica { "replica" } else { "master" });
        self.number("replication-offset", offset);
        let health = match () {
            () if has_failed => "fail",
            () if is_replica && offset == 0 => "loading",
            () => "online",
        };
        self.word("health", health);
    }
}

pub(super) fn links(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let state = &mut *context.state;
    let cluster = state.cluster.as_deref().ok_or(DISABLED)?;
    let Some(client) = state.clients.get_mut(context.client) else {
        return Ok(());
    };
    let reply = &mut client.reply;
    let links: Vec<_> = cluster.links().collect();
    reply.array(links.len());
    for link in links {
        let buffers = &state.cluster_links.buffers;
        let LinkBuffer { allocated, used } = buffers.get(&link.link).copied().unwrap_or_default();
        reply.map(6);
        let name = cluster.node(link.node).map_or("", |node| node.id.as_str());
        let created = link.created_ms;
        let word = |reply: &mut Reply, name: &str, value: &str| {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        };
        word(
            reply,
            "direction",
            if link.is_inbound { "from" } else { "to" },
        );
        word(reply, "node", name);
        reply.bulk(b"create-time");
        reply.integer(created);
        word(reply, "events", if used > 0 { "rw" } else { "r" });
        for (name, bytes) in [
            ("send-buffer-allocated", allocated),
            ("send-buffer-used", used),
        ] {
            reply.bulk(name.as_bytes());
            reply.count(bytes);
        }
    }
    Ok(())
}
