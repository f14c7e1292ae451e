//! The link of this server to its primary.
//!
//! In: what came over the link, its end, the clock. Out: a snapshot for whoever loads it, the stream for the client that runs
//! it, and the same bytes for the replicas of this replica; what is acknowledged. Mirrors `readSyncBulkPayload`,
//! `replicationHandleMasterDisconnection` and the replica's half of `replicationCron` of Redis's replication.c.
//!
//! Invariants:
//! * The replication offset counts what has been applied, whole commands and transactions. What came and was not applied is
//!   dropped with the link, and asked for again.
//! * The stream goes on to the replicas of this one byte by byte as it came.

use super::{State, disconnect_replicas, new_id};
use crate::clients::ClientKey;
use crate::engine::Host;
use crate::engine::persistence::receive;
use crate::journal::Targets;
use crate::persistence::aof::AofState;
use crate::replication::{Continuation, Introduction, Link, LinkState, Stream};

const SECOND_NS: u64 = 1_000_000_000;
/// The longest pause between two attempts, ns.
const PAUSE_MAX_NS: u64 = 10 * SECOND_NS;
/// Bytes that are applied and still kept before those that are not.
const UNAPPLIED_MOVED: usize = 256 * 1024;
/// A link that was up for so long has no failures any more, ns.
const FORGET_NS: u64 = 10 * SECOND_NS;
/// Attempts after which pauses grow.
const QUICK_ATTEMPTS: u32 = 5;

/// What is said to the primary at the beginning.
pub fn introduction(state: &State) -> Introduction {
    let settings = state.config.settings();
    let auth = settings.primary_auth.clone();
    let link = state.replication.link.as_ref();
    let can_go_on = link.and_then(|link| link.continuation.as_ref());
    Introduction {
        auth: auth.map(|password| (settings.primary_user.clone(), password)),
        port: match settings.replica_announce_port {
            // Where others are to connect to as this one connects to its primary.
            0 if settings.tls.replication && settings.tls.port != 0 => settings.tls.port,
            0 => settings.port,
            announced => announced,
        },
        ip: settings.replica_announce_ip.clone(),
        version: crate::REDIS_VERSION,
        wants: can_go_on.map(|it| (it.id.clone(), state.journal.offset())),
        fails_over: link.is_some_and(|link| link.fails_over),
    }
}

/// The link has broken, or could not be made, because of `reason`. Whoever owns the source closes it.
pub fn lost(state: &mut State, host: &mut dyn Host, reason: &str) {
    let (now_ns, jitter) = (state.now.mono_ns, state.rng.below(1000));
    let Some(link) = &mut state.replication.link else {
        return;
    };
    link.broke = reason.to_owned();
    let was = std::mem::take(&mut link.state);
    link.input.clear();
    link.output.clear();
    let receives = matches!(was, LinkState::Receiving(..) | LinkState::Loading(..));
    link.down_since_ns.get_or_insert(now_ns);
    let is_faulty = std::mem::take(&mut link.is_corrupt);
    rest(link, receives && !is_faulty, now_ns, jitter);
    if receives {
        receive::abandon_receive(state, host);
    }
}

/// Says when the link is made again. One that worked is made again at once, if not for the second time within a second: most
/// links break for a reason that has passed. Where what comes is wrong, or cannot be kept, or nobody listens, pauses grow.
fn rest(link: &mut Link, has_worked: bool, now_ns: u64, jitter: u64) {
    let pause_ns = if has_worked {
        let since_ns = now_ns.saturating_sub(link.tried_ns);
        SECOND_NS.saturating_sub(since_ns)
    } else {
        link.failures = link.failures.saturating_add(1);
        let doublings = link.failures.saturating_sub(QUICK_ATTEMPTS).min(4);
        let pause_ns = (SECOND_NS << doublings).min(PAUSE_MAX_NS);
        // Not all replicas of a primary that comes back at the same moment.
        match doublings {
            0 => pause_ns,
            _ => pause_ns - pause_ns / 5000 * jitter,
        }
    };
    link.retry_ns = now_ns.saturating_add(pause_ns);
}

/// The data are gone, and others are about to be loaded: whoever has what was here cannot go on with anything of this server.
pub fn data_are_gone(state: &mut State) {
    disconnect_replicas(state);
    state.replication.id = new_id(state);
    state.replication.clear_second_id();
    state.replication.stream = None;
    if let Some(link) = &mut state.replication.link {
        link.continuation = None;
    }
}

/// The client of the stream is closed.
pub fn client_gone(state: &mut State, key: ClientKey) {
    let jitter = state.rng.below(1000);
    let Some(link) = &mut state.replication.link else {
        return;
    };
    if link.client() != Some(key) {
        return;
    }
    let client = state.clients.get(key);
    let db = client.map_or(0, |client| client.session.db);
    let is_broken = std::mem::take(&mut link.is_corrupt);
    log::warn!("Connection with master lost.");
    link.drop_unapplied();
    if is_broken {
        // What came was no stream: it is not asked for again.
        link.continuation = None;
    } else {
        log::info!("Caching the disconnected master state.");
        let id = state.replication.id.clone();
        link.continuation = Some(Continuation { id, db });
    }
    link.state = LinkState::Down;
    let now_ns = state.now.mono_ns;
    if now_ns.saturating_sub(link.up_since_ns) >= FORGET_NS {
        link.failures = 0;
    }
    link.down_since_ns = Some(now_ns);
    rest(link, !is_broken, now_ns, jitter);
    let reason = link.breaks.take();
    link.broke = reason.unwrap_or_else(|| "the connection was closed".to_owned());
}

/// A snapshot is loaded whose stream has this ID and begins at this offset: the data are now those.
pub fn synchronised(state: &mut State, id: &str, offset: i64) {
    state.replication.id = id.to_owned();
    state.replication.clear_second_id();
    // Those who follow this server have other data now.
    disconnect_replicas(state);
    state.replication.stream = Some(Stream::new(offset));
    state.journal.set_offset(offset);
    state.replication.synced_offset = 0;
    state.replication.written.clear();
    state.own_keys.clear();
}

/// The stream goes on, perhaps under another ID.
pub fn continued(state: &mut State, id: Option<String>) {
    if let Some(id) = id
        && id != state.replication.id
    {
        let offset = state.journal.offset();
        log::info!("Master replication ID changed to {id}");
        state.replication.shift_id(id, offset);
        disconnect_replicas(state);
    }
    super::begin_stream(state);
}

/// A request of the stream was parsed: its bytes, and those that were passed over before it.
pub fn parsed(link: &mut Link, bytes: &[u8], is_request: bool) {
    link.unapplied.extend_from_slice(bytes);
    match is_request {
        true => link.lengths.push_back(bytes.len()),
        // An empty line counts with what follows it; behind all that was parsed it is applied at once.
        false if link.lengths.is_empty() => link.applied += bytes.len(),
        false => {
            if let Some(last) = link.lengths.back_mut() {
                *last += bytes.len();
            }
        }
    }
}

/// The next request of the stream has run. Where it is no part of a transaction that is open, all that has run is applied, and
/// goes on to the replicas of this one.
pub fn ran(state: &mut State, key: ClientKey) {
    let in_multi = state
        .clients
        .get(key)
        .is_some_and(|client| client.session.in_multi());
    let Some(link) = &mut state.replication.link else {
        return;
    };
    link.applied += link.lengths.pop_front().unwrap_or(0);
    if !in_multi {
        apply(state);
    }
}

/// What has run of the stream is applied.
pub fn apply(state: &mut State) {
    let replication = &mut state.replication;
    let Some(link) = &mut replication.link else {
        return;
    };
    if link.applied == 0 {
        return;
    }
    let applied = std::mem::take(&mut link.applied);
    let until = (link.unapplied_from + applied).min(link.unapplied.len());
    let bytes = link.unapplied.get(link.unapplied_from..until);
    if let Some(stream) = &mut replication.stream {
        stream.append(bytes.unwrap_or_default());
    }
    link.unapplied_from = until;
    if until == link.unapplied.len() {
        super::clear(&mut link.unapplied);
        link.unapplied_from = 0;
    } else if until >= UNAPPLIED_MOVED {
        // Moved to the front now and then, not for each command.
        link.unapplied.drain(..until);
        link.unapplied_from = 0;
    }
    state.observe.stats.repl_bytes_in += applied as u64;
    let offset = state.journal.offset().saturating_add(applied as i64);
    state.journal.set_offset(offset);
}

/// What the primary has sent has failed here: the data are not the same, or the primary knows commands that this server does
/// not. Nobody is told but the log and INFO; `propagation-error-behavior` may end the server.
pub fn diverged(state: &mut State, key: ClientKey, command: &str, error: &[u8]) {
    let link = state.replication.link.as_ref();
    if link.is_none_or(|link| link.client() != Some(key)) {
        return;
    }
    state.observe.stats.unexpected_error_replies += 1;
    let text = String::from_utf8_lossy(error);
    let text = format!(
        "== CRITICAL == This replica is sending an error to its master: '{text}' after processing the command '{command}'"
    );
    log::warn!("{text}");
    if state.config.settings().ends_on_divergence {
        log::error!(
            "This replica panicked sending an error to its master, as propagation-error-behavior says"
        );
        (state.persistence.end_unanswered)();
    }
}

/// Keeps account of what of the stream is in the file, and on the disk; call it when the file was flushed. Whether more is on the
/// disk now than before.
pub fn note_synced(state: &mut State) -> bool {
    /// Entries of the account: of turns that came between, only the last one counts.
    const KEPT: usize = 64;
    if state.persistence.aof.state != AofState::On {
        state.replication.written.clear();
        return false;
    }
    let now = (
        state.journal.written_bytes(Targets::AOF),
        state.journal.offset(),
    );
    let written = &mut state.replication.written;
    if written.back() != Some(&now) {
        if written.len() >= KEPT {
            written.pop_back();
        }
        written.push_back(now);
    }
    let synced = state.persistence.aof.synced_offset();
    let before = state.replication.synced_offset;
    while let Some((bytes, offset)) = state.replication.written.front().copied()
        && bytes <= synced
    {
        state.replication.synced_offset = offset;
        if state.replication.written.len() == 1 {
            break;
        }
        state.replication.written.pop_front();
    }
    state.replication.synced_offset != before
}

/// REPLCONF ACK, as it is sent to the primary.
pub fn acknowledge(state: &mut State) {
    let offset = state.journal.offset();
    let synced = state.replication.synced_offset;
    let has_file = state.persistence.aof.state == AofState::On;
    let link = state.replication.link.as_ref();
    let Some(key) = link.and_then(|link| link.client()) else {
        return;
    };
    let (offset, synced) = (offset.to_string(), synced.to_string());
    let mut words: Vec<&[u8]> = vec![b"REPLCONF", b"ACK", offset.as_bytes()];
    if has_file {
        words.extend([&b"FACK"[..], synced.as_bytes()]);
    }
    let bytes = crate::replication::handshake::command(&words);
    state.clients.push(key, |reply| reply.raw(&bytes));
}

/// What is done once a second; why the link is given up, if it is.
pub fn cron(state: &mut State) -> Option<&'static str> {
    let now_ns = state.now.mono_ns;
    let timeout_ns = state
        .config
        .settings()
        .repl_timeout_s
        .saturating_mul(SECOND_NS);
    let link = state.replication.link.as_ref()?;
    let silent_ns = now_ns.saturating_sub(link.io_ns);
    match link.state {
        LinkState::Down => None,
        LinkState::Connecting(_) | LinkState::Handshake(..) if silent_ns > timeout_ns => {
            Some("Timeout connecting to the MASTER...")
        }
        LinkState::Receiving(..) if silent_ns > timeout_ns => Some(
            "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter \
             in redis.conf to a larger value.",
        ),
        LinkState::Up(key) => {
            let client = state.clients.get(key);
            let last_ns = client.map_or(now_ns, |it| it.connection().last_interaction_ns());
            if now_ns.saturating_sub(last_ns.max(link.io_ns)) > timeout_ns {
                return Some("MASTER timeout: no data nor PING received...");
            }
            acknowledge(state);
            None
        }
        _ => None,
    }
}
