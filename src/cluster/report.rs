//! The texts of CLUSTER NODES and CLUSTER INFO.

use super::*;

impl Cluster {
    /// CLUSTER NODES, without the nodes that have one of these flags. With `tls`: the port for TLS is the one shown.
    pub fn nodes_text(&self, skip_flags: u16, tls: bool) -> String {
        let _ = (skip_flags, tls);
        String::new()
    }
    /// One line of it, without the newline.
    pub fn node_line(&self, key: NodeKey, tls: bool) -> String {
        let _ = (key, tls);
        String::new()
    }
    /// CLUSTER INFO. `links_over_limit`: connections that were closed because too much waited to be sent.
    pub fn info_text(&self, links_over_limit: u64) -> String {
        let _ = links_over_limit;
        String::new()
    }
}
