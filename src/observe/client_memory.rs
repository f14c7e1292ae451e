//! Memory of the clients, gathered by the cron a few clients at a time.
//!
//! In: each client once a second or so, and the end of each round. Out: the sum over the last whole round, and the
//! largest buffers of the last seconds. Nobody has to walk all clients to answer INFO. Mirrors
//! `updateClientMemoryUsage` and `clientsCronTrackExpansiveClients` of Redis's server.c.

use crate::clients::Client;

/// Seconds that the largest buffers are remembered for.
const PEAK_SECONDS: usize = 8;

/// What clients hold.
#[derive(Clone, Debug, Default)]
pub struct ClientMemory {
    /// Bytes of all clients in the last whole round.
    pub total_bytes: u64,
    round_bytes: u64,
    round_clients: u64,
    /// (second, largest query buffer, largest output buffer), by second.
    peaks: [(u64, usize, usize); PEAK_SECONDS],
}

impl ClientMemory {
    /// Bytes that one client holds, itself included.
    pub fn of(client: &Client) -> usize {
        let session = &client.session;
        let input = client.connection().query().memory_bytes();
        let buffers = input + client.reply.output().memory_bytes();
        let waits = session.waiting().map_or(0, |it| it.memory_bytes());
        let queued = session
            .transaction
            .as_ref()
            .map_or(0, |it| it.memory_bytes());
        let watched = session.watching.as_ref().map_or(0, |it| it.memory_bytes());
        let subscriptions = client.subscriptions.as_ref();
        let subscriptions = subscriptions.map_or(0, |it| it.memory_bytes());
        let caching = client.caching.as_ref().map_or(0, |it| it.memory_bytes());
        let transport = client.connection().transport_bytes();
        std::mem::size_of::<Client>()
            + transport
            + buffers
            + waits
            + queued
            + watched
            + subscriptions
            + caching
    }
    /// Measures one client.
    pub fn measure(&mut self, client: &Client, now_ns: u64) {
        let (input, output) = (
            client.connection().query().memory_bytes(),
            client.reply.output().memory_bytes(),
        );
        self.round_bytes += ClientMemory::of(client) as u64;
        self.round_clients += 1;
        let second = now_ns / 1_000_000_000;
        let peak = &mut self.peaks[(second % PEAK_SECONDS as u64) as usize];
        if peak.0 != second {
            *peak = (second, 0, 0);
        }
        *peak = (second, peak.1.max(input), peak.2.max(output));
    }
    /// Every client was looked at once since the last call.
    pub fn end_round(&mut self) {
        if self.round_clients > 0 {
            self.total_bytes = self.round_bytes;
        }
        (self.round_bytes, self.round_clients) = (0, 0);
    }
    /// Largest query buffer and largest output buffer of the last seconds.
    pub fn recent_peaks(&self, now_ns: u64) -> (usize, usize) {
        let second = now_ns / 1_000_000_000;
        let recent = self
            .peaks
            .iter()
            .filter(|peak| peak.0 + PEAK_SECONDS as u64 > second);
        recent.fold((0, 0), |largest, peak| {
            (largest.0.max(peak.1), largest.1.max(peak.2))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_whole_rounds_and_peaks_fade() {
        let second = 1_000_000_000;
        let mut memory = ClientMemory::default();
        let mut client = Client::default();
        client.connection_mut().query_mut().bytes = Vec::with_capacity(5000);
        memory.measure(&client, 20 * second);
        assert_eq!(memory.total_bytes, 0);
        memory.end_round();
        assert!(memory.total_bytes >= 5000);
        memory.end_round();
        assert!(memory.total_bytes >= 5000, "an empty round tells nothing");
        assert!(memory.recent_peaks(27 * second).0 >= 5000);
        assert_eq!(memory.recent_peaks(28 * second), (0, 0));
        // The slot is used anew, and the old peak is not seen in the new second.
        memory.measure(&Client::default(), 28 * second);
        assert!(memory.recent_peaks(28 * second).0 < 5000);
    }
}
