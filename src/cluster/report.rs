//! The texts of CLUSTER NODES and CLUSTER INFO.

use super::*;
use std::fmt::Write;

/// Names of the types of messages, by their number.
const TYPE_NAMES: [&str; message::TYPES] = [
    "ping",
    "pong",
    "meet",
    "fail",
    "publish",
    "auth-req",
    "auth-ack",
    "update",
    "mfstart",
    "module",
    "publishshard",
];

impl Cluster {
    /// CLUSTER NODES, without the nodes that have one of these flags. With `tls`: the port for TLS is the one shown.
    pub fn nodes_text(&self, skip_flags: u16, tls: bool) -> String {
        let mut text = String::new();
        for (key, _) in self.nodes().filter(|(_, node)| !node.has(skip_flags)) {
            text.push_str(&self.node_line(key, tls));
            text.push('\n');
        }
        text
    }
    /// One line of it, without the newline.
    pub fn node_line(&self, key: NodeKey, tls: bool) -> String {
        let Some(node) = self.node(key) else {
            return String::new();
        };
        let mut line = format!(
            "{} {}:{}@{}",
            node.id,
            node.ip,
            node.client_port(tls),
            node.bus_port
        );
        if !node.hostname.is_empty() {
            line.push(',');
            line.push_str(&node.hostname);
        }
        let primary = node.primary.and_then(|key| self.node(key));
        let epoch = primary
            .filter(|_| node.is_replica())
            .map_or(node.config_epoch, |primary| primary.config_epoch);
        let is_connected = node.link.is_some() || node.is_myself();
        line.push(' ');
        file::push_flags(&mut line, node.flags);
        // Writing to a string does not fail.
        let _ = write!(
            line,
            " {} {} {} {epoch} {}",
            primary.map_or("-", |primary| primary.id.as_str()),
            node.ping_sent_ms,
            node.pong_received_ms,
            if is_connected {
                "connected"
            } else {
                "disconnected"
            },
        );
        file::push_slots(&mut line, &node.slots);
        if node.is_myself() {
            file::push_migrations(&mut line, &self.migrations());
        }
        line
    }
    /// CLUSTER INFO. `links_over_limit`: connections that were closed because too much waited to be sent.
    pub fn info_text(&self, links_over_limit: u64) -> String {
        let (mut assigned, mut ok, mut pfail, mut fail) = (0, 0, 0, 0);
        for node in self.nodes.values() {
            assigned += node.slots.len();
            if node.has(node_flags::FAIL) {
                fail += node.slots.len();
            } else if node.has(node_flags::PFAIL) {
                pfail += node.slots.len();
            } else {
                ok += node.slots.len();
            }
        }
        let primary = self.my_primary().and_then(|key| self.node(key));
        let my_epoch = primary.unwrap_or(self.myself()).config_epoch;
        let mut text = format!(
            "cluster_state:{}\r\n\
             cluster_slots_assigned:{assigned}\r\n\
             cluster_slots_ok:{ok}\r\n\
             cluster_slots_pfail:{pfail}\r\n\
             cluster_slots_fail:{fail}\r\n\
             cluster_known_nodes:{}\r\n\
             cluster_size:{}\r\n\
             cluster_current_epoch:{}\r\n\
             cluster_my_epoch:{my_epoch}\r\n",
            if self.is_ok() { "ok" } else { "fail" },
            self.nodes.len(),
            self.size,
            self.current_epoch,
        );
        for (counts, way) in [(&self.sent, "sent"), (&self.received, "received")] {
            for (name, count) in TYPE_NAMES.iter().zip(counts) {
                if *count != 0 {
                    let _ = write!(text, "cluster_stats_messages_{name}_{way}:{count}\r\n");
                }
            }
            let total: u64 = counts.iter().sum();
            let _ = write!(text, "cluster_stats_messages_{way}:{total}\r\n");
        }
        let _ = write!(
            text,
            "total_cluster_links_buffer_limit_exceeded:{links_over_limit}\r\n"
        );
        text
    }
}
