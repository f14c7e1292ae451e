//! The change of role: REPLICAOF, and PSYNC with FAILOVER.

use super::{State, apply_role, begin_stream, disconnect_replicas, feed, new_id, read_journal};
use crate::engine::persistence::receive;
use crate::engine::{CommandError, Host, blocking};
use crate::replication::{Continuation, Link, LinkState, Stream};

/// What clients read whose commands waited when the role changed.
pub(crate) const UNBLOCKED: CommandError = CommandError::fixed(
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
);

/// This server is a replica of that one from here on.
pub fn follow(state: &mut State, host: &mut dyn Host, primary: &str, port: u16) {
    let was_replica = state.replication.is_replica();
    // Who waits for a write that can come here no more would wait for ever.
    for key in state.clients.keys() {
        let client = state.clients.get(key);
        let waits = client.and_then(|client| client.session.waiting());
        if waits.is_some_and(|it| it.may_give_up()) {
            blocking::unblock(state, key, Some(&UNBLOCKED));
        }
    }
    let continuation = if was_replica {
        drop_link(state, host)
    } else {
        log::info!(
            "Before turning into a replica, using my own master parameters to synthesize a cached master: I may be able to \
             synchronize with the new master with just a partial transfer."
        );
        // What a transaction has done before it said so is in no stream.
        let is_halfway = state.journal.is_in_unit();
        feed(state);
        begin_stream(state);
        feed(state);
        read_journal(state, false);
        // Whatever it is that a new primary sends first, it names its database.
        let id = state.replication.id.clone();
        (!is_halfway).then_some(Continuation { id, db: 0 })
    };
    let mut link = Link::to(primary, port);
    link.continuation = continuation;
    link.retry_ns = state.now.mono_ns;
    link.down_since_ns = Some(state.now.mono_ns);
    state.replication.link = Some(Box::new(link));
    let name = primary.as_bytes();
    // A node of a cluster finds its primary in nodes.conf; in redis.conf it would end the next start.
    if state.cluster.is_none() {
        state.config.set_replica_of(Some((name, port)));
    }
    apply_role(state);
    adjust_oom_score(state, host);
    log::info!("Connecting to MASTER {primary}:{port}");
}

/// This server is a primary from here on, with the data that it has.
pub fn lead(state: &mut State, host: &mut dyn Host) {
    if !state.replication.is_replica() {
        return;
    }
    state.own_keys.clear();
    drop_link(state, host);
    state.replication.link = None;
    // A node of a cluster finds its primary in nodes.conf; in redis.conf it would end the next start.
    if state.cluster.is_none() {
        state.config.set_replica_of(None);
    }
    let offset = state.journal.offset();
    let id = new_id(state);
    state.replication.shift_id(id, offset);
    log::info!(
        "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
        state.replication.second_id,
        state.replication.second_offset,
        state.replication.id
    );
    // They have to hear of the new ID, and go on with it.
    disconnect_replicas(state);
    receive::end_waiting_of_append_only(state, host);
    state.replication.alone_since_ns = state.now.mono_ns;
    if state.replication.stream.is_some() {
        read_journal(state, true);
    }
    apply_role(state);
    adjust_oom_score(state, host);
}

/// How readily the kernel ends the process is another thing for a replica.
fn adjust_oom_score(state: &State, host: &mut dyn Host) {
    let settings = state.config.settings();
    let value = settings.oom_score_adj_values[usize::from(state.replication.is_replica())];
    // Why it could not be set was logged.
    let _ = host.adjust_oom_score(settings.oom_score_adj, value);
}

/// Ends the link, however far it is; what could be gone on with.
fn drop_link(state: &mut State, host: &mut dyn Host) -> Option<Continuation> {
    let link = state.replication.link.as_mut()?;
    let was = std::mem::take(&mut link.state);
    let continuation = link.continuation.take();
    link.drop_unapplied();
    let id = state.replication.id.clone();
    match was {
        LinkState::Down => continuation,
        LinkState::Connecting(token) | LinkState::Handshake(token, _) => {
            host.close_source(token);
            continuation
        }
        LinkState::Receiving(token, _) | LinkState::Loading(token, _) => {
            host.close_source(token);
            receive::abandon_receive(state, host);
            None
        }
        LinkState::Up(key) => {
            let client = state.clients.get(key);
            let db = client.map_or(0, |client| client.session.db);
            state.clients.close(key, false);
            Some(Continuation { id, db })
        }
    }
}

/// PSYNC with FAILOVER: the primary of this replica hands its role over. An error is why it cannot.
pub fn take_over(state: &mut State, host: &mut dyn Host, id: &[u8]) -> Result<(), CommandError> {
    log::warn!(
        "Failover request received for replid {}.",
        String::from_utf8_lossy(id)
    );
    if !state.replication.is_replica() {
        return Err(CommandError::fixed(
            "ERR PSYNC FAILOVER can't be sent to a master.",
        ));
    }
    if !id.eq_ignore_ascii_case(state.replication.id.as_bytes()) {
        return Err(CommandError::fixed(
            "ERR PSYNC FAILOVER replid must match my replid.",
        ));
    }
    lead(state, host);
    log::info!("MASTER MODE enabled (failover request from a replica)");
    Ok(())
}

/// What was loaded at the start says which state of which stream it is: a replica goes on there, and so may the replicas of a
/// primary.
pub fn restored(state: &mut State) {
    let Some(info) = state.persistence.loaded_info.take() else {
        return;
    };
    let id = String::from_utf8_lossy(info.replication_id.as_bytes()).into_owned();
    if !(0..crate::replication::OFFSET_MAX).contains(&info.offset)
        || !crate::replication::handshake::is_id(&id)
    {
        return;
    }
    if let Some(link) = &mut state.replication.link {
        state.journal.set_offset(info.offset);
        state.replication.stream = Some(Stream::new(info.offset));
        link.continuation = Some(Continuation {
            id: id.clone(),
            db: info.stream_db,
        });
        state.replication.id = id;
        return;
    }
    // What was written since is known to nobody, and has another name.
    begin_stream(state);
    let removals = state.persistence.loaded_removals.take();
    let (bytes, len) = removals.map_or((Vec::new(), 0), |it| (it.bytes, it.len));
    let end = info
        .offset
        .saturating_add(i64::try_from(len).unwrap_or(i64::MAX));
    state.journal.set_offset(end);
    let mut stream = Stream::new(end.saturating_sub(bytes.len() as i64));
    stream.append(&bytes);
    state.replication.stream = Some(stream);
    state.replication.second_id = id;
    state.replication.second_offset = info.offset.saturating_add(1);
    state.replication.alone_since_ns = state.now.mono_ns;
}
