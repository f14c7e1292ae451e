//! What pings tell, and what is learned of it; failure reports; sending.

use super::*;

impl Cluster {
    /// Tells other nodes of a message published here (PUBLISH, SPUBLISH).
    pub fn publish(&mut self, is_sharded: bool, channel: &[u8], message: &[u8]) {
        let _ = (is_sharded, channel, message);
    }
    /// CLUSTER COUNT-FAILURE-REPORTS.
    pub fn failure_reports(&mut self, id: &[u8], facts: &Facts) -> Done<usize> {
        let _ = (id, facts);
        Ok(0)
    }
}
