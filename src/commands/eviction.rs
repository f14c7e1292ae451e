//! Keeping within `maxmemory`: the OOM gate.

use super::{Host, State};
use crate::config::MaxmemoryPolicy;

/// Keys evicted for one command at most; Redis bounds the time, we bound the work.
const EVICTIONS_PER_COMMAND: usize = 64;

/// Evicts by the policy until used memory is below `maxmemory`; whether it is.
pub fn make_room(state: &mut State, host: &mut dyn Host) -> bool {
    let settings = state.config.settings();
    let (limit, policy, samples) = (
        settings.maxmemory,
        settings.maxmemory_policy,
        settings.maxmemory_samples as u32,
    );
    for _ in 0..EVICTIONS_PER_COMMAND {
        if host.used_memory() <= limit {
            return true;
        }
        if policy == MaxmemoryPolicy::NoEviction {
            return false;
        }
        if state
            .keyspace
            .evict_one(policy, samples, state.now)
            .is_none()
        {
            return false;
        }
    }
    host.used_memory() <= limit
}
