//! What is told of a cluster.

use super::{SUBCOMMANDS, cluster};
use crate::cluster::{Node, NodeKey, node_flags};
use crate::commands::help::of_rows;
use crate::config::{PreferredEndpoint, Settings};
use crate::engine::cluster::route::{endpoint, speaks_tls};
use crate::engine::{CommandError, ServerContext, State};
use crate::resp::{Args, Reply};
use crate::structures::slots::SLOTS;
use std::collections::BTreeMap;

type Answered = Result<(), CommandError>;

/// Whether the client is told ports for TLS.
fn over_tls(context: &mut ServerContext<'_>) -> bool {
    let settings = context.state.config.settings();
    let client = context.state.clients.get(context.client);
    client.is_some_and(|client| speaks_tls(client.connection(), settings))
}

pub(super) fn help(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    cluster(context)?;
    of_rows(context.reply(), args, SUBCOMMANDS);
    Ok(())
}

pub(super) fn info(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    let over_limit = context.state.observe.stats.cluster_links_exceeded;
    let (cluster, _) = cluster(context)?;
    let text = cluster.info_text(over_limit);
    context.reply().verbatim("txt", text.as_bytes());
    Ok(())
}

pub(super) fn nodes(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    let tls = over_tls(context);
    let (cluster, _) = cluster(context)?;
    let text = cluster.nodes_text(0, tls);
    context.reply().verbatim("txt", text.as_bytes());
    Ok(())
}

pub(super) fn my_id(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    let (cluster, _) = cluster(context)?;
    let id = cluster.myself().id;
    context.reply().bulk(&id.0);
    Ok(())
}

pub(super) fn my_shard_id(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    let (cluster, _) = cluster(context)?;
    let id = cluster.myself().shard;
    context.reply().bulk(&id.0);
    Ok(())
}

pub(super) fn replicas(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let tls = over_tls(context);
    let (cluster, _) = cluster(context)?;
    let id = args.at(2);
    let Some(key) = cluster.find(id) else {
        return Err(CommandError::of_parts(&[
            b"ERR Unknown node ",
            crate::engine::shown(id),
        ]));
    };
    if cluster.node(key).is_some_and(Node::is_replica) {
        return Err(CommandError::fixed(
            "ERR The specified node is not a master",
        ));
    }
    let replicas = cluster.replicas_of(key);
    let lines: Vec<String> = replicas
        .into_iter()
        .map(|key| cluster.node_line(key, tls))
        .collect();
    let reply = context.reply();
    reply.array(lines.len());
    for line in &lines {
        reply.bulk(line.as_bytes());
    }
    Ok(())
}

pub(super) fn count_failure_reports(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let (cluster, facts) = cluster(context)?;
    let count = cluster.failure_reports(args.at(2), &facts);
    let count = count.map_err(CommandError::text_owned)?;
    context.reply().count(count);
    Ok(())
}

/// The state and the reply of the caller, which is out of its place meanwhile.
fn with_reply(context: &mut ServerContext<'_>, write: impl FnOnce(&State, &mut Reply)) {
    let mut reply = std::mem::take(context.reply());
    write(context.state, &mut reply);
    *context.reply() = reply;
}

pub(super) fn links(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    cluster(context)?;
    with_reply(context, |state, reply| {
        let Some(cluster) = &state.cluster else {
            return;
        };
        let links: Vec<_> = cluster.links().collect();
        reply.array(links.len());
        for link in links {
            let figures = state.cluster_links.get(&link.link);
            let (allocated, used) = figures.copied().unwrap_or_default();
            let id = cluster.node(link.node).map(|node| node.id);
            reply.map(6);
            reply.bulk(b"direction");
            reply.bulk(if link.is_inbound { b"from" } else { b"to" });
            reply.bulk(b"node");
            reply.bulk(id.as_ref().map_or(b"", |id| &id.0[..]));
            reply.bulk(b"create-time");
            reply.integer(link.created_ms);
            reply.bulk(b"events");
            reply.bulk(if used > 0 { b"rw" } else { b"r" });
            reply.bulk(b"send-buffer-allocated");
            reply.count(allocated);
            reply.bulk(b"send-buffer-used");
            reply.count(used);
        }
    });
    Ok(())
}

/// A node as CLUSTER SLOTS tells of it.
fn put_node(reply: &mut Reply, node: &Node, settings: &Settings, tls: bool) {
    let preferred = settings.cluster.endpoint;
    reply.array(4);
    match preferred {
        PreferredEndpoint::Unknown => reply.null(),
        PreferredEndpoint::Ip | PreferredEndpoint::Hostname => {
            reply.bulk(endpoint(node, settings).as_bytes());
        }
    }
    reply.integer(node.client_port(tls).into());
    reply.bulk(&node.id.0);
    // What else is known of where it is.
    let ip = (preferred != PreferredEndpoint::Ip).then_some((&b"ip"[..], &node.ip));
    let has_name = preferred != PreferredEndpoint::Hostname && !node.hostname.is_empty();
    let hostname = has_name.then_some((&b"hostname"[..], &node.hostname));
    let more: Vec<_> = ip.into_iter().chain(hostname).collect();
    reply.map(more.len());
    for (name, text) in more {
        reply.bulk(name);
        reply.bulk(text.as_bytes());
    }
}

pub(super) fn slots(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    let tls = over_tls(context);
    cluster(context)?;
    with_reply(context, |state, reply| {
        let (Some(cluster), settings) = (&state.cluster, state.config.settings()) else {
            return;
        };
        let mut runs: Vec<(u16, u16, NodeKey)> = Vec::new();
        for slot in 0..SLOTS as u16 {
            let Some(owner) = cluster.owner(slot) else {
                continue;
            };
            match runs.last_mut() {
                Some((_, last, of)) if *of == owner && last.saturating_add(1) == slot => {
                    *last = slot;
                }
                _ => runs.push((slot, slot, owner)),
            }
        }
        // Asked once for each owner: a slot may be a run of its own.
        let mut replicas: BTreeMap<NodeKey, Vec<&Node>> = BTreeMap::new();
        reply.array(runs.len());
        for (first, last, owner) in runs {
            let its = replicas.entry(owner).or_insert_with(|| {
                let all = cluster.replicas_of(owner).into_iter();
                // One that has no data yet, or does not answer, is of no use to a client.
                all.filter_map(|key| cluster.node(key))
                    .filter(|node| !node.has(node_flags::FAIL) && offset(state, node) != 0)
                    .collect()
            });
            reply.array(its.len().saturating_add(3));
            reply.integer(first.into());
            reply.integer(last.into());
            if let Some(node) = cluster.node(owner) {
                put_node(reply, node, settings, tls);
            }
            for node in its {
                put_node(reply, node, settings, tls);
            }
        }
    });
    Ok(())
}

/// The replication offset of a node, as far as it is known here.
fn offset(state: &State, node: &Node) -> i64 {
    if node.is_myself() {
        return state.journal.offset();
    }
    node.offset
}

pub(super) fn shards(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    cluster(context)?;
    with_reply(context, |state, reply| {
        let (Some(cluster), settings) = (&state.cluster, state.config.settings()) else {
            return;
        };
        let mut shards: BTreeMap<_, Vec<&Node>> = BTreeMap::new();
        for (_, node) in cluster.nodes() {
            shards.entry(node.shard).or_default().push(node);
        }
        reply.array(shards.len());
        for nodes in shards.values() {
            reply.map(2);
            reply.bulk(b"slots");
            let works = nodes.iter().find(|node| !node.has(node_flags::FAIL));
            let primary = works.and_then(|node| match node.primary {
                Some(key) => cluster.node(key),
                None => Some(*node),
            });
            let ranges = primary.map(|node| node.slots.ranges()).unwrap_or_default();
            reply.array(ranges.len().saturating_mul(2));
            for (first, last) in ranges {
                reply.integer(first.into());
                reply.integer(last.into());
            }
            reply.bulk(b"nodes");
            reply.array(nodes.len());
            for node in nodes {
                put_details(state, reply, node, settings);
            }
        }
    });
    Ok(())
}

/// A node as CLUSTER SHARDS tells of it.
fn put_details(state: &State, reply: &mut Reply, node: &Node, settings: &Settings) {
    let offset = offset(state, node);
    let has = [
        node.tcp_port != 0,
        node.tls_port != 0,
        !node.hostname.is_empty(),
    ];
    let optional = has.iter().filter(|it| **it).count();
    reply.map(optional.saturating_add(6));
    let mut text = |name: &str, text: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    };
    text("id", node.id.as_str());
    let mut port = |name: &str, port: u16| {
        if port != 0 {
            reply.bulk(name.as_bytes());
            reply.integer(port.into());
        }
    };
    port("port", node.tcp_port);
    port("tls-port", node.tls_port);
    let mut text = |name: &str, text: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    };
    text("ip", &node.ip);
    text("endpoint", endpoint(node, settings));
    if !node.hostname.is_empty() {
        text("hostname", &node.hostname);
    }
    text(
        "role",
        if node.is_replica() {
            "replica"
        } else {
            "master"
        },
    );
    reply.bulk(b"replication-offset");
    reply.integer(offset);
    reply.bulk(b"health");
    let health = if node.has(node_flags::FAIL) {
        "fail"
    } else if node.is_replica() && offset == 0 {
        "loading"
    } else {
        "online"
    };
    reply.bulk(health.as_bytes());
}
