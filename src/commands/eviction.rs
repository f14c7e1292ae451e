//! Keeping within `maxmemory`: the OOM gate.
//!
//! In: used memory and the policy. Out: keys are gone, and whether that was enough. What is too much for one command
//! goes on between the turns ([`super::Effects::evict`]). Mirrors `performEvictions` of Redis's evict.c.

use super::{Host, State};
use crate::config::MaxmemoryPolicy;
use crate::observe::LatencyEvent;

/// Keys evicted for one command at most; Redis bounds the time, we bound the work.
const EVICTIONS_PER_COMMAND: usize = 64;

/// How an attempt to make room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Used memory is within the limit.
    Made,
    /// There was more to evict than one command may: it goes on, and commands that need memory may run meanwhile.
    Making,
    /// Nothing can be evicted.
    None,
}

/// Evicts by the policy until used memory is within `maxmemory` or enough was done for one command.
pub fn make_room(state: &mut State, host: &mut dyn Host) -> Room {
    if !state.observe.latency.is_on() {
        return evict(state, host, &mut |state, _, policy, samples| {
            state
                .keyspace
                .evict_one(policy, samples, state.now)
                .is_some()
        });
    }
    let begin_ns = host.monotonic_ns();
    let unix_s = state.now.unix_s();
    let room = evict(state, host, &mut |state, host, policy, samples| {
        let begin_ns = host.monotonic_ns();
        let is_gone = state
            .keyspace
            .evict_one(policy, samples, state.now)
            .is_some();
        let ns = host.monotonic_ns().saturating_sub(begin_ns);
        state
            .observe
            .latency
            .took(LatencyEvent::EvictionDel, ns, unix_s);
        is_gone
    });
    let ns = host.monotonic_ns().saturating_sub(begin_ns);
    state
        .observe
        .latency
        .took(LatencyEvent::EvictionCycle, ns, unix_s);
    room
}

/// Evicts one key by a policy with so many samples; whether there was one.
type EvictOne<'a> = &'a mut dyn FnMut(&mut State, &mut dyn Host, MaxmemoryPolicy, u32) -> bool;

fn evict(state: &mut State, host: &mut dyn Host, evict_one: EvictOne<'_>) -> Room {
    let settings = state.config.settings();
    let (limit, policy, samples) = (
        settings.maxmemory,
        settings.maxmemory_policy,
        settings.maxmemory_samples as u32,
    );
    if limit == 0 || state.persistence.loading.is_some() {
        return Room::Made;
    }
    if host.used_memory() <= limit || host.fresh_used_memory() <= limit {
        return Room::Made;
    }
    for _ in 0..EVICTIONS_PER_COMMAND {
        if host.used_memory() <= limit {
            return Room::Made;
        }
        if policy == MaxmemoryPolicy::NoEviction {
            return Room::None;
        }
        if !evict_one(state, host, policy, samples) {
            return Room::None;
        }
    }
    if host.used_memory() <= limit {
        return Room::Made;
    }
    state.effects.evict = true;
    Room::Making
}
