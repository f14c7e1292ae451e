//! Keeping within `maxmemory`: what is evicted, and the check for memory.
//!
//! In: used memory and the policy. Out: keys are gone, and whether that was enough. What is too much for one command
//! goes on between the turns ([`super::Requests::evict`]). Mirrors `performEvictions` of Redis's evict.c.

use super::{Host, State};
use crate::config::MaxmemoryPolicy;
use crate::journal::Targets;
use crate::observe::LatencyEvent;

/// Keys evicted for one command at most; Redis bounds the time, we bound the work.
const EVICTIONS_PER_COMMAND: usize = 64;

/// After so many the allocator is asked what other threads have freed meanwhile.
const EVICTIONS_PER_LOOK: usize = 16;

/// So long commands that need memory run although nothing can be evicted, while the free thread is at what was removed
/// before, ns. (Redis waits for its thread, half a millisecond by default.)
const FREEING_NS: u64 = 10_000_000;

/// How an attempt to make room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Used memory is within the limit.
    Made,
    /// There was more to evict than one command may: it goes on, and commands that need memory may run meanwhile.
    Making,
    /// Nothing can be evicted, but what was removed before is being freed, not for long yet: commands that need memory may
    /// run. Nobody need try again in between, for each command does.
    Freeing,
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
    if state.replication.is_replica() && state.config.settings().replica_ignore_maxmemory {
        // What goes is its primary's to say.
        return Room::Made;
    }
    let room = evict_some(state, host, evict_one);
    if matches!(room, Room::Made | Room::Making) {
        state.freeing_since_ns = None;
    }
    room
}

fn evict_some(state: &mut State, host: &mut dyn Host, evict_one: EvictOne<'_>) -> Room {
    let settings = state.config.settings();
    let (limit, policy, samples) = (
        settings.maxmemory,
        settings.maxmemory_policy,
        settings.maxmemory_samples as u32,
    );
    if limit == 0 || state.persistence.loads_any() {
        return Room::Made;
    }
    // What waits to be written to the append-only file is gone in a moment, and evicting makes more of it.
    let used = |state: &State, host: &mut dyn Host| match host.used_memory() {
        used if used <= limit => used,
        used => used.saturating_sub(not_counted(state)),
    };
    let fresh = |state: &State, host: &mut dyn Host| {
        host.fresh_used_memory().saturating_sub(not_counted(state))
    };
    // The allocator is asked only where the cheap figure is over the limit: it may be, for what other threads have
    // freed is not in it.
    if used(state, host) <= limit || fresh(state, host) <= limit {
        return Room::Made;
    }
    // Before any key goes: the buffers of those who were told of keys that went before may be what is too much.
    host.release_pooled();
    if used(state, host) <= limit {
        return Room::Made;
    }
    if policy == MaxmemoryPolicy::NoEviction {
        return Room::None;
    }
    for evicted in 1..=EVICTIONS_PER_COMMAND {
        if !evict_one(state, host, policy, samples) {
            return match fresh(state, host) <= limit {
                true => Room::Made,
                false => nothing_to_evict(state),
            };
        }
        let is_enough = used(state, host) <= limit
            // What other threads have freed is not in the cheap figure.
            || (evicted % EVICTIONS_PER_LOOK == 0 && fresh(state, host) <= limit);
        if is_enough {
            return Room::Made;
        }
    }
    // What the free thread has got done meanwhile may be enough.
    if fresh(state, host) <= limit {
        return Room::Made;
    }
    state.requests.evict = true;
    Room::Making
}

/// Large values go on another thread: there is room as soon as it has freed them. That it takes long (it runs where nobody
/// else wants to) must not be a way past the limit, nor have the loop look again and again, which would keep it from running.
fn nothing_to_evict(state: &mut State) -> Room {
    if state.keyspace.lazyfree_pending() == 0 {
        state.freeing_since_ns = None;
        return Room::None;
    }
    let now_ns = state.now.mono_ns;
    let since_ns = *state.freeing_since_ns.get_or_insert(now_ns);
    if now_ns.saturating_sub(since_ns) > FREEING_NS {
        return Room::None;
    }
    Room::Freeing
}

/// Used memory that does not count against `maxmemory`, bytes: what waits for the append-only file, what a save of the loop
/// keeps for itself, and the names of keys that go, until those who want to know are told.
pub fn not_counted(state: &State) -> u64 {
    (state.persistence.aof.buffered() as u64)
        .saturating_add(state.journal.pending(Targets::AOF) as u64)
        .saturating_add(for_saving(state))
        .saturating_add(for_replicas(state))
        .saturating_add(state.keyspace.event_memory() as u64)
}

/// What replicas have still to get, beyond what is kept for those who come back: that keys go would only make it more.
fn for_replicas(state: &State) -> u64 {
    let replication = &state.replication;
    let Some(stream) = &replication.stream else {
        return 0;
    };
    let backlog = state.config.settings().repl_backlog_size;
    let snapshots = replication.replicas.values().map(|it| it.snapshot.len());
    (stream.memory_bytes() as u64)
        .saturating_sub(backlog)
        .saturating_add(state.journal.room(Targets::REPLICAS) as u64)
        .saturating_add(replication.scratch.capacity() as u64)
        .saturating_add(snapshots.sum::<usize>() as u64)
}

fn for_saving(state: &State) -> u64 {
    let Some(saving) = &state.persistence.forkless else {
        return 0;
    };
    // What the helper has is in buffers that have room left, and is there once more while it is put together. A long string
    // that is lent is there once more while it is compressed, or the helper alone has it, where it was removed meanwhile.
    let lent = saving.waiting.saturating_sub(saving.waiting_memory);
    let partial = saving.output.partial_bytes();
    (state.keyspace.bytes_for_reading() as u64)
        .saturating_add(3 * saving.waiting_memory as u64)
        // As it is put together, and once more when it is compressed.
        .saturating_add(2 * partial as u64)
        .saturating_add(lent as u64)
}
