//! FAILOVER: this primary hands its role over to one of its replicas, and loses nothing.
//!
//! In: the wish, and what replicas acknowledge. Out: writes held until a replica has all of the stream; then this server asks it
//! by PSYNC with FAILOVER to take over, and follows it. Mirrors `failoverCommand` and `updateFailoverStatus` of Redis's
//! replication.c.

use super::primary::address_of;
use super::{State, role};
use crate::engine::Host;
use crate::replication::{Failover, FailoverState, Phase, Replica};

/// Begins it.
pub fn begin(state: &mut State, target: Option<(String, u16)>, until_ms: Option<i64>, force: bool) {
    match &target {
        Some((host, port)) => log::info!("FAILOVER requested to {host}:{port}."),
        None => log::info!("FAILOVER requested to any replica."),
    }
    state.replication.failover = Failover {
        state: FailoverState::WaitsForSync,
        target,
        until_ms,
        is_forced: force,
    };
    state.pauses.for_failover = true;
    state.apply_pause();
}

/// The replica that is at this place, if there is one.
pub fn find<'a>(state: &'a State, host: &str, port: u16) -> Option<&'a Replica> {
    let replicas = state.replication.replicas.values();
    replicas.filter(|it| it.is_attached()).find(|it| {
        it.port == port && address_of(state, it).is_some_and(|own| own.eq_ignore_ascii_case(host))
    })
}

/// Ends it, well or not: writes go on.
pub fn clear(state: &mut State) {
    state.replication.failover = Failover::default();
    state.pauses.for_failover = false;
    state.apply_pause();
}

/// Gives it up: the role stays, or comes back.
pub fn abort(state: &mut State, host: &mut dyn Host, reason: &str) {
    let failover = &state.replication.failover;
    match &failover.target {
        Some((target, port)) => log::info!("FAILOVER to {target}:{port} aborted: {reason}"),
        None => log::info!("FAILOVER to any replica aborted: {reason}"),
    }
    if failover.state == FailoverState::InProgress {
        role::lead(state, host);
    }
    clear(state);
}

/// Goes on with it: looks whether a replica has everything, or the time is over.
pub fn step(state: &mut State, host: &mut dyn Host) {
    let failover = &state.replication.failover;
    if failover.state != FailoverState::WaitsForSync {
        return;
    }
    let is_over = failover
        .until_ms
        .is_some_and(|until_ms| until_ms <= state.now.unix_ms());
    if is_over {
        if failover.is_forced
            && let Some((target, port)) = failover.target.clone()
        {
            log::info!("FAILOVER to {target}:{port} time out exceeded, failing over.");
            hand_over(state, host, &target, port);
        } else {
            abort(state, host, "Replica never caught up before timeout");
        }
        return;
    }
    let offset = state.journal.offset();
    let is_synced = |it: &Replica| it.phase == Phase::Online && it.acked == offset;
    let found = match &failover.target {
        Some((target, port)) => find(state, target, *port)
            .filter(|it| is_synced(it))
            .map(|_| (target.clone(), *port)),
        None => state
            .replication
            .online()
            .find(|it| is_synced(it))
            .and_then(|it| Some((address_of(state, it)?, it.port))),
    };
    if let Some((target, port)) = found {
        log::info!("Failover target {target}:{port} is synced, failing over.");
        hand_over(state, host, &target, port);
    }
}

fn hand_over(state: &mut State, host: &mut dyn Host, target: &str, port: u16) {
    state.replication.failover.state = FailoverState::InProgress;
    state.replication.failover.target = Some((target.to_owned(), port));
    role::follow(state, host, target, port);
    if let Some(link) = &mut state.replication.link {
        link.fails_over = true;
    }
}
