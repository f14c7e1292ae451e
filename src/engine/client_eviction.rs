//! Eviction of clients: `maxmemory-clients` bounds what all connections together may hold.
//!
//! In: each client when bytes came from it or went to it, which is when what it holds changes. Out: a sum that is right
//! at the end of every turn, and, when it is over the limit, the largest clients marked to be closed. While there is no
//! limit nothing is counted. Mirrors `evictClients` of Redis's networking.c, without its buckets: the clients are gone
//! through only when some have to go.

use super::client_line as line;
use crate::clients::{ClientKey, ClientKind};
use crate::config::Settings;
use crate::engine::State;

/// Less than this would let nobody in who could raise it, bytes.
const LEAST_LIMIT: u64 = 128 * 1024;

/// The limit in bytes; none: clients are not evicted.
fn limit(settings: &Settings) -> Option<u64> {
    let limit = match settings.maxmemory_clients {
        0 => return None,
        percent @ ..0 if settings.maxmemory > 0 => {
            let share = u128::from(settings.maxmemory) * u128::from(percent.unsigned_abs()) / 100;
            u64::try_from(share).unwrap_or(u64::MAX)
        }
        // A share of no limit.
        ..0 => return None,
        bytes => bytes.unsigned_abs(),
    };
    Some(limit.max(LEAST_LIMIT))
}

/// Counts anew what a client holds, if anyone counts.
#[inline]
pub fn count(state: &mut State, key: ClientKey) {
    if state.clients.counts_memory {
        count_now(state, key);
    }
}

fn count_now(state: &mut State, key: ClientKey) {
    if let Some(client) = state.clients.get(key)
        && matches!(client.session.kind, ClientKind::Normal | ClientKind::PubSub)
    {
        // What is about to be closed is as good as gone.
        let bytes = match client.connection().is_closing() {
            true => 0,
            false => line::memory(client),
        };
        state.clients.set_counted(key, bytes);
    }
}

/// Closes the largest clients while all together hold too much. O(1) while they don't.
pub fn evict(state: &mut State) {
    let limit = limit(state.config.settings());
    if limit.is_some() != state.clients.counts_memory {
        // The directive was changed since: all are counted once, from here on each when it changes.
        state.clients.counts_memory = limit.is_some();
        for key in state.clients.keys() {
            match limit {
                Some(_) => count_now(state, key),
                None => state.clients.set_counted(key, 0),
            }
        }
    }
    if let Some(limit) = limit
        && state.clients.counted_bytes >= limit
    {
        evict_over(state, limit);
    }
}

#[cold]
fn evict_over(state: &mut State, limit: u64) {
    // Sorted only now: to keep clients in order would cost at every read and write.
    let mut by_size: Vec<(usize, ClientKey)> = state
        .clients
        .iter()
        .filter(|(_, client)| !client.session.no_evict && client.connection().counted_bytes() > 0)
        .map(|(key, client)| (client.connection().counted_bytes(), key))
        .collect();
    by_size.sort_unstable_by(|a, b| b.cmp(a));
    for (bytes, key) in by_size {
        if state.clients.counted_bytes < limit {
            return;
        }
        let Some(client) = state.clients.get(key) else {
            continue;
        };
        if !client.connection().is_closing() {
            let mut text = Vec::new();
            line::write_line(&mut text, client, &state.table, state.now, None);
            log::info!("Evicting client: {}", String::from_utf8_lossy(&text));
            state.observe.stats.evicted_clients += 1;
            state.clients.close(key, false);
        }
        debug_assert!(bytes > 0);
        // It counts no more at once, though it is closed at the end of the turn.
        state.clients.set_counted(key, 0);
    }
    if state.clients.counted_bytes >= limit {
        log::warn!("Over client maxmemory after evicting all evictable clients");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Client;
    use crate::commands::testing::Harness;

    fn with_query(harness: &mut Harness, bytes: usize) -> ClientKey {
        let mut client = Client::default();
        client.connection_mut().query_mut().bytes = Vec::with_capacity(bytes);
        let key = harness.state.clients.insert(client);
        count(&mut harness.state, key);
        key
    }

    fn closing(harness: &Harness, key: ClientKey) -> bool {
        let client = harness.state.clients.get(key).unwrap();
        client.connection().is_closing()
    }

    #[test]
    fn the_largest_go_first_and_no_more_than_must() {
        let mut harness = Harness::new();
        let [small, large, middle] =
            [100_000, 900_000, 500_000].map(|bytes| with_query(&mut harness, bytes));
        evict(&mut harness.state);
        assert_eq!(harness.state.clients.counted_bytes, 0, "nobody counts");
        harness.config("maxmemory-clients", "1mb");
        evict(&mut harness.state);
        assert!(closing(&harness, large));
        assert!(!closing(&harness, middle) && !closing(&harness, small));
        harness.config("maxmemory-clients", "300kb");
        harness.line("CLIENT NO-EVICT ON");
        evict(&mut harness.state);
        assert!(closing(&harness, middle) && !closing(&harness, small));
        // The least limit, with one client that is spared.
        with_query(&mut harness, 200_000);
        let spared = with_query(&mut harness, 300_000);
        harness
            .state
            .clients
            .get_mut(spared)
            .unwrap()
            .session
            .no_evict = true;
        harness.config("maxmemory-clients", "1");
        evict(&mut harness.state);
        assert!(closing(&harness, small) && !closing(&harness, spared));
        assert_eq!(harness.state.observe.stats.evicted_clients, 4);
    }

    #[test]
    fn a_share_of_maxmemory_counts_only_where_there_is_one() {
        let mut harness = Harness::new();
        harness.config("maxmemory-clients", "10%");
        assert_eq!(limit(harness.state.config.settings()), None);
        harness.config("maxmemory", "100mb");
        assert_eq!(limit(harness.state.config.settings()), Some(10 << 20));
    }
}
