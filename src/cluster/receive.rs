//! What follows from a message, and from a connection that is made or lost.

use super::message::Message;
use super::*;

impl Cluster {
    /// Another node has connected.
    pub fn accepted(&mut self, facts: &Facts) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let record = Link {
            node: None,
            is_inbound: true,
            created_ms: facts.unix_ms,
            created_mono_ms: facts.mono_ms,
        };
        self.links.insert(link, record);
        link
    }
    /// A connection that was asked for is made.
    pub fn connected(&mut self, link: LinkId, facts: &Facts) {
        let _ = (link, facts);
    }
    /// A connection is lost, or was not made.
    pub fn closed(&mut self, link: LinkId) {
        let _ = link;
    }
    /// A message has come, from `peer_ip`, to the address `local_ip` of this server. False: the connection must be closed; it is
    /// forgotten here.
    pub fn received(
        &mut self,
        link: LinkId,
        peer_ip: &str,
        local_ip: &str,
        message: Message,
        facts: &Facts,
    ) -> bool {
        let _ = (link, peer_ip, local_ip, message, facts);
        true
    }
}
