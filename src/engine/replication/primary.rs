//! Replicas of this server: how they come to the stream, and what is done for them once a second.
//!
//! In: PSYNC, SYNC and REPLCONF of clients; chunks of a snapshot; the clock. Out: replicas that the stream flows to, as the
//! server writes it; what they have acknowledged. Mirrors `syncCommand`, `masterTryPartialResync`, `startBgsaveForReplication`
//! and `replicationCron` of Redis's replication.c.
//!
//! Invariants:
//! * A snapshot is a point in time, and the stream of those who get it begins at the offset of that moment: so each effect is in
//!   the snapshot or behind it, and never in both.
//! * A snapshot waits in a replica's queue within bounds; the slowest of those who share one holds back the others, and the save.

use super::{State, begin_stream, end_stream, feed, new_id};
use crate::clients::{Address, ClientKey, ClientKind};
use crate::config::Settings;
use crate::engine::persistence::{self, SavedFor, forkless};
use crate::engine::{CommandError, Host, ServerContext};
use crate::journal::Targets;
use crate::persistence::aof::AofState;
use crate::replication::{FailoverState, Filter, MARK_LEN, Phase, Replica, Transfer};
use crate::resp::Args;
use crate::system::disk::Mode;
use crate::system::numbers;
use std::sync::Arc;

/// Bytes of a snapshot that may wait for the slowest of those who get it.
const QUEUED_MAX: usize = 1024 * 1024;
const SECOND_NS: u64 = 1_000_000_000;

/// How a client is named in the log: where it listens, if it says so.
pub fn name_of(state: &State, replica: &Replica) -> String {
    let ip = address_of(state, replica).unwrap_or_else(|| {
        let client = state.clients.get(replica.client);
        client.map_or_else(String::new, |it| it.connection().address().to_string())
    });
    match replica.port {
        0 => format!("{ip}:<unknown-replica-port>"),
        port => format!("{ip}:{port}"),
    }
}

/// The address of a replica, as it wants to be known.
pub fn address_of(state: &State, replica: &Replica) -> Option<String> {
    if let Some(ip) = &replica.ip {
        return Some(String::from_utf8_lossy(ip).into_owned());
    }
    match state.clients.get(replica.client)?.connection().address() {
        Address::Inet(address) => Some(address.ip().to_string()),
        _ => None,
    }
}

/// What is known of a client as a replica, from its first word on.
pub fn entry(state: &mut State, key: ClientKey) -> Option<&mut Replica> {
    let client = state.clients.get(key)?;
    let id = client.session.id;
    let replica = state
        .replication
        .replicas
        .entry(id)
        .or_insert_with(|| Replica {
            client: key,
            ..Replica::default()
        });
    Some(replica)
}

/// PSYNC and SYNC: from here on the client is a replica. Whatever is answered is written here.
pub fn sync(context: &mut ServerContext<'_>, args: Args<'_>, is_psync: bool) {
    let key = context.client;
    let state = &mut *context.state;
    let Some(client) = state.clients.get(key) else {
        return;
    };
    // One that is a replica already has said it twice.
    if client.session.kind != ClientKind::Normal || client.session.monitors {
        return;
    }
    let has_output = !client.reply.output().is_empty();
    if is_psync
        && args
            .get(3)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"failover"))
        && let Err(error) = super::role::take_over(state, context.host, args.at(1))
    {
        refuse(state, key, &error);
        return;
    }
    let state = &mut *context.state;
    if state.replication.is_cut_off() {
        refuse(
            state,
            key,
            &CommandError::fixed("NOMASTERLINK Can't SYNC while not connected with my master"),
        );
        return;
    }
    if state.replication.failover.state != FailoverState::None {
        let error = CommandError::fixed("NOMASTERLINK Can't SYNC while failing over");
        refuse(state, key, &error);
        return;
    }
    if has_output {
        refuse(
            state,
            key,
            &CommandError::fixed("ERR SYNC and PSYNC are invalid with pending output"),
        );
        return;
    }
    let Some(replica) = entry(state, key) else {
        return;
    };
    replica.is_old = !is_psync;
    let is_filtered = replica.filter != Filter::default();
    if is_filtered && !replica.capabilities.eof {
        let error = CommandError::fixed("ERR Filtered replica requires EOF capability");
        refuse(state, key, &error);
        return;
    }
    let name = name_of(state, &state.replication.replicas[&id_of(state, key)]);
    log::info!("Replica {name} asks for synchronization");
    if is_psync {
        let offset = numbers::parse_i64(args.at(2));
        let Some(offset) = offset else {
            let error = CommandError::fixed("ERR value is not an integer or out of range");
            refuse(state, key, &error);
            return;
        };
        if go_on(state, key, args.at(1), offset, &name) {
            state.replication.partial_syncs += 1;
            return;
        }
        // Who asks for no stream in particular was not refused one.
        if args.at(1) != b"?" {
            state.replication.partial_syncs_refused += 1;
        }
    }
    attach(state, key);
    state.replication.full_syncs += 1;
    let now_ns = state.now.mono_ns;
    if let Some(replica) = entry(state, key) {
        replica.phase = Phase::Waits { since_ns: now_ns };
        replica.acked_ns = now_ns;
    }
    join_or_wait(state, context.host, key);
}

fn id_of(state: &State, key: ClientKey) -> u64 {
    state.clients.get(key).map_or(0, |client| client.session.id)
}

fn refuse(state: &mut State, key: ClientKey, error: &CommandError) {
    if let Some(client) = state.clients.get_mut(key) {
        client.reply.error(error.bytes());
        state.observe.error_replied(client.reply.last_error_code());
    }
}

/// Makes a replica of a client.
fn attach(state: &mut State, key: ClientKey) {
    begin_stream(state);
    if let Some(client) = state.clients.get_mut(key) {
        client.session.kind = ClientKind::Replica;
        state.replication.attached += 1;
    }
}

/// Bytes of the stream that may wait for a replica. What is kept anyway costs nothing.
pub fn output_limit(settings: &Settings) -> u64 {
    match settings.client_output_buffer_limits[1].hard_bytes {
        0 => u64::MAX,
        hard => hard.max(settings.repl_backlog_size),
    }
}

/// Has a replica go on with the stream where it stands, if that is the same stream and all that it lacks is there.
fn go_on(state: &mut State, key: ClientKey, id: &[u8], wanted: i64, name: &str) -> bool {
    feed(state);
    let replication = &mut state.replication;
    let asker = state.clients.get(key).map(|client| client.session.id);
    let asker = asker.and_then(|id| replication.replicas.get(&id));
    if asker.is_some_and(|it| it.rdb_only) {
        // The stream is of no use to it.
        return false;
    }
    let is_first = id == replication.id.as_bytes();
    let is_second = id == replication.second_id.as_bytes() && wanted <= replication.second_offset;
    if !is_first && !is_second {
        if id == b"?" {
            log::info!("Full resync requested by replica {name}");
        } else if id == replication.second_id.as_bytes() {
            log::info!(
                "Partial resynchronization not accepted: Requested offset for second ID was {wanted}, but I can reply up to {}",
                replication.second_offset
            );
        } else {
            log::info!(
                "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{}', my replication \
                 IDs are '{}' and '{}')",
                String::from_utf8_lossy(id),
                replication.id,
                replication.second_id
            );
        }
        return false;
    }
    // On the wire positions count from 1.
    let cursor = wanted.saturating_sub(1);
    let Some(stream) = replication.stream.as_ref().filter(|it| it.has(cursor)) else {
        log::info!(
            "Unable to partial resync with replica {name} for lack of backlog (Replica request was: {wanted})."
        );
        if replication
            .stream
            .as_ref()
            .is_some_and(|it| cursor > it.end())
        {
            log::warn!(
                "Warning: replica {name} tried to PSYNC with an offset that is greater than the master replication offset."
            );
        }
        return false;
    };
    let bytes = stream.end() - cursor;
    if u64::try_from(bytes).unwrap_or(u64::MAX) > output_limit(state.config.settings()) {
        // It would be cut off for it, come back and ask for the same.
        log::info!(
            "Unable to partial resync with replica {name}: what it lacks is more than may wait for it (Replica request was: {wanted})."
        );
        return false;
    }
    let own_id = replication.id.clone();
    attach(state, key);
    let now_ns = state.now.mono_ns;
    let Some(replica) = entry(state, key) else {
        return false;
    };
    replica.phase = Phase::Online;
    replica.cursor = cursor;
    replica.acked_ns = now_ns;
    let line = match replica.capabilities.psync2 {
        true => format!("+CONTINUE {own_id}\r\n"),
        false => "+CONTINUE\r\n".to_owned(),
    };
    state.clients.push(key, |reply| reply.raw(line.as_bytes()));
    log::info!(
        "Partial resynchronization request from {name} accepted. Sending {bytes} bytes of backlog starting from offset {wanted}."
    );
    refresh_good(state);
    true
}

/// A replica that needs a snapshot joins the one that is being written to a file, has one begun, or waits for the next.
fn join_or_wait(state: &mut State, host: &mut dyn Host, key: ClientKey) {
    let id = id_of(state, key);
    let replication = &state.replication;
    if let Some(transfer) = &replication.transfer {
        if transfer.mark.is_some() {
            // Its beginning is gone.
            log::info!("Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC");
            return;
        }
        let filter = replication.replicas.get(&id).map(|it| it.filter);
        let model = transfer.replicas.iter().find_map(|other| {
            let other = replication.replicas.get(other)?;
            (Some(other.filter) == filter && other.phase == Phase::WaitsForFile)
                .then_some(other.cursor)
        });
        if let Some(cursor) = model {
            joins_file(state, key, cursor);
            log::info!("Waiting for end of BGSAVE for SYNC");
            return;
        }
        log::info!(
            "Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC"
        );
        return;
    }
    if state.persistence.saving().is_some() {
        log::info!(
            "No BGSAVE in progress for replication, but another one is active. BGSAVE for replication delayed"
        );
        return;
    }
    let settings = state.config.settings();
    let takes_mark = replication
        .replicas
        .get(&id)
        .is_some_and(|it| it.capabilities.eof);
    if settings.repl_diskless_sync && takes_mark && settings.repl_diskless_sync_delay_s > 0 {
        log::info!("Delay next BGSAVE for diskless SYNC");
        return;
    }
    start_if_due(state, host);
}

/// A replica waits for the end of a file whose stream begins at this position.
fn joins_file(state: &mut State, key: ClientKey, cursor: i64) {
    let id = id_of(state, key);
    if let Some(transfer) = &mut state.replication.transfer {
        transfer.replicas.push(id);
    }
    full_resync(state, key, cursor, Phase::WaitsForFile);
}

/// Tells a replica that a snapshot follows, and the stream from this position.
fn full_resync(state: &mut State, key: ClientKey, cursor: i64, phase: Phase) {
    let own_id = state.replication.id.clone();
    let Some(replica) = entry(state, key) else {
        return;
    };
    replica.phase = phase;
    replica.cursor = cursor;
    let is_old = replica.is_old;
    if !is_old {
        let line = format!("+FULLRESYNC {own_id} {cursor}\r\n");
        state.clients.push(key, |reply| reply.raw(line.as_bytes()));
    }
}

/// Begins a snapshot for those who wait, when it is time to: no other is under way, and who could share it has come.
fn start_if_due(state: &mut State, host: &mut dyn Host) {
    if state.replication.attached == 0
        || state.persistence.saving().is_some()
        || state.replication.transfer.is_some()
        || state.persistence.loading.is_some()
        || state.scripting.is_busy()
        || state.replication.is_cut_off()
    {
        return;
    }
    let now_ns = state.now.mono_ns;
    let settings = state.config.settings();
    let waiting = state
        .replication
        .replicas
        .iter()
        .filter_map(|(id, it)| match it.phase {
            Phase::Waits { since_ns } => Some((*id, since_ns, it.filter, it.capabilities.eof)),
            _ => None,
        });
    let waiting: Vec<_> = waiting.collect();
    let Some((_, _, filter, _)) = waiting.first().copied() else {
        return;
    };
    // Those who want the same share it.
    let same: Vec<_> = waiting.into_iter().filter(|it| it.2 == filter).collect();
    let takes_marks = same.iter().all(|it| it.3);
    let is_diskless = settings.repl_diskless_sync && takes_marks
        || filter.excludes_data
        || filter.excludes_functions;
    if is_diskless && settings.repl_diskless_sync {
        let waits_ns = same.iter().map(|it| now_ns.saturating_sub(it.1)).max();
        let most = settings.repl_diskless_sync_max_replicas;
        let is_full = most > 0 && same.len() as u64 >= most;
        let delay_ns = settings
            .repl_diskless_sync_delay_s
            .saturating_mul(SECOND_NS);
        if waits_ns.unwrap_or(0) < delay_ns && !is_full {
            return;
        }
    }
    let ids: Vec<u64> = same.iter().map(|it| it.0).collect();
    start(state, host, ids, is_diskless);
}

fn start(state: &mut State, host: &mut dyn Host, ids: Vec<u64>, is_diskless: bool) {
    let target = if is_diskless {
        "replicas sockets"
    } else {
        "disk"
    };
    log::info!("Starting BGSAVE for SYNC with target: {target}");
    feed(state);
    // The stream of those who get it begins with the database of its first command.
    state.journal.restart(Targets::REPLICAS);
    let cursor = state.journal.offset();
    let filter = ids
        .first()
        .and_then(|id| state.replication.replicas.get(id))
        .map_or_else(Default::default, |it| it.filter);
    let mark = is_diskless.then(|| new_id(state));
    let has_begun = match is_diskless {
        true => {
            forkless::start_transfer(state, host, filter.excludes_data, filter.excludes_functions);
            true
        }
        false => persistence::start_background(state, host, SavedFor::Replicas),
    };
    let keys = ids
        .iter()
        .filter_map(|id| state.replication.replicas.get(id));
    let keys: Vec<ClientKey> = keys.map(|it| it.client).collect();
    if !has_begun {
        log::warn!("BGSAVE for replication failed");
        for key in keys {
            refuse(
                state,
                key,
                &CommandError::fixed("ERR BGSAVE failed, replication can't continue"),
            );
            state.clients.close(key, true);
            state.clients.mark_pending_write(key);
        }
        return;
    }
    let settings = state.config.settings();
    let path = (!is_diskless).then(|| settings.dir.join(&settings.dbfilename));
    let head = mark
        .as_ref()
        .map(|mark| Arc::new(format!("$EOF:{mark}\r\n").into_bytes()));
    state.replication.transfer = Some(Transfer {
        replicas: ids,
        mark,
        path,
    });
    for key in keys {
        let phase = match &head {
            Some(_) => Phase::Receives,
            None => Phase::WaitsForFile,
        };
        full_resync(state, key, cursor, phase);
        if let (Some(head), Some(replica)) = (&head, entry(state, key)) {
            replica.snapshot.push(head);
            replica.starts_on_ack = true;
            state.clients.mark_pending_write(key);
        }
    }
}

/// The replicas that still get the snapshot.
fn receivers(state: &State) -> Vec<(u64, ClientKey)> {
    let replication = &state.replication;
    let transfer = replication.transfer.as_ref();
    let ids = transfer.map(|it| &it.replicas[..]).unwrap_or_default();
    let found = ids.iter().filter_map(|id| {
        let replica = replication.replicas.get(id)?;
        let waits = matches!(replica.phase, Phase::Receives | Phase::WaitsForFile);
        let client = state.clients.get(replica.client)?;
        (waits && client.connection().is_open()).then_some((*id, replica.client))
    });
    found.collect()
}

fn give(state: &mut State, receivers: &[(u64, ClientKey)], piece: &Arc<Vec<u8>>, is_all: bool) {
    for (id, key) in receivers {
        if let Some(replica) = state.replication.replicas.get_mut(id) {
            replica.snapshot.push(piece);
            replica.snapshot.is_all |= is_all;
            state.clients.mark_pending_write(*key);
        }
    }
}

/// Goes on with a snapshot for the sockets of replicas: gives them what was made of it, and ends it. `made` chunks are made. (One
/// that is written to a file is gone on with when that has ended.)
pub fn go_on_with_transfer(state: &mut State, host: &mut dyn Host, made: Option<u64>) {
    let transfer = state.replication.transfer.as_ref();
    if transfer.is_none_or(|transfer| transfer.mark.is_none()) {
        return;
    }
    let receivers = receivers(state);
    if receivers.is_empty() {
        if state.persistence.last_transfer_ok.is_none() {
            log::warn!("Diskless rdb transfer, last replica dropped, killing fork child.");
            persistence::kill_child(state, host);
        }
        state.replication.transfer = None;
        return;
    }
    while let Some(made) = made {
        let queued = receivers
            .iter()
            .filter_map(|(id, _)| state.replication.replicas.get(id))
            .map(|it| it.snapshot.len());
        if queued.max().unwrap_or(0) >= QUEUED_MAX {
            break;
        }
        let Some(chunk) = forkless::next_chunk(state, made) else {
            break;
        };
        give(state, &receivers, &Arc::new(chunk), false);
    }
    match state.persistence.last_transfer_ok {
        None => {}
        Some(true) => {
            let mark = state.replication.transfer.take().and_then(|it| it.mark);
            let mark = mark.unwrap_or_default();
            debug_assert_eq!(mark.len(), MARK_LEN);
            log::info!(
                "Diskless rdb transfer, done reading from pipe, {} replicas still up.",
                receivers.len()
            );
            give(state, &receivers, &Arc::new(mark.into_bytes()), true);
        }
        Some(false) => {
            for (_, key) in receivers {
                state.clients.close(key, false);
            }
            state.replication.transfer = None;
        }
    }
}

/// The file of a snapshot has ended: those who wait for it get it. It is opened at once: a SAVE in the same turn would put a
/// newer one in its place, and the stream behind its offset is not for that.
pub fn file_ended(state: &mut State, ok: bool) {
    let transfer = state.replication.transfer.as_ref();
    if transfer.is_none_or(|transfer| transfer.mark.is_some()) {
        return;
    }
    let receivers = receivers(state);
    let path = state.replication.transfer.take().and_then(|it| it.path);
    let path = path.unwrap_or_default();
    state.replication.file_made = Some(path.clone());
    if !ok {
        for (_, key) in receivers {
            log::warn!("SYNC failed. BGSAVE child returned an error");
            state.clients.close(key, false);
        }
        return;
    }
    // Mapped and not read: as much of it is in memory as the system finds good.
    let disk = &state.persistence.disk;
    let file = disk.open(&path, Mode::Read).and_then(|file| file.map());
    let file = file.map(Arc::new);
    for (id, key) in receivers {
        match &file {
            Ok(file) => {
                let file = Arc::clone(file);
                if let Some(replica) = state.replication.replicas.get_mut(&id) {
                    let head = format!("${}\r\n", file.len());
                    replica.snapshot.push(&Arc::new(head.into_bytes()));
                    replica.snapshot.file = Some((file, 0));
                    replica.snapshot.is_all = true;
                    replica.phase = Phase::Receives;
                }
                state.clients.mark_pending_write(key);
            }
            Err(error) => {
                log::warn!("Can't open/stat DB after BGSAVE: {error}");
                state.clients.close(key, false);
            }
        }
    }
}

/// All of the snapshot is written to a replica.
pub fn snapshot_sent(state: &mut State, id: u64) {
    let Some(replica) = state.replication.replicas.get_mut(&id) else {
        return;
    };
    replica.snapshot = Default::default();
    replica.acked_ns = state.now.mono_ns;
    if replica.rdb_only {
        replica.phase = Phase::HasSnapshot;
        let name = name_of(state, &state.replication.replicas[&id]);
        log::info!("RDB transfer completed, rdb only replica ({name}) should be disconnected asap");
        return;
    }
    replica.phase = Phase::Online;
    let waits = replica.starts_on_ack;
    // One of SYNC acknowledges nothing.
    replica.starts_on_ack &= !replica.is_old;
    let key = replica.client;
    let name = name_of(state, &state.replication.replicas[&id]);
    match waits {
        true => log::info!(
            "Streamed replica with replica {name} (socket). Waiting for REPLCONF ACK from replica to enable streaming"
        ),
        false => log::info!("Synchronization with replica {name} succeeded"),
    }
    state.clients.mark_pending_write(key);
    refresh_good(state);
}

/// A replica has shown that it is there.
pub fn is_alive(state: &mut State, key: ClientKey) {
    let (id, now_ns) = (id_of(state, key), state.now.mono_ns);
    let replica = state.replication.replicas.get_mut(&id);
    if let Some(replica) = replica.filter(|it| it.is_attached()) {
        replica.acked_ns = now_ns;
    }
}

/// Bytes of answers that wait for a replica; none: the client is no replica.
pub fn owed(state: &State, key: ClientKey) -> Option<usize> {
    let client = state.clients.get(key)?;
    (client.session.kind == ClientKind::Replica).then(|| client.reply.output().len())
}

/// A replica has run a command, before which so much was owed to it. What is answered would be taken for a part of the stream:
/// who asks for it is no replica.
pub fn answered(state: &mut State, key: ClientKey, before: usize, args: Args<'_>) {
    if owed(state, key).is_some_and(|owed| owed > before) {
        log::warn!(
            "Replica generated a reply to command '{}', disconnecting it",
            String::from_utf8_lossy(args.at(0))
        );
        state.clients.close(key, false);
    }
}

/// REPLCONF ACK.
pub fn acknowledged(state: &mut State, key: ClientKey, offset: i64, aof: Option<i64>) {
    let id = id_of(state, key);
    let now_ns = state.now.mono_ns;
    let Some(replica) = state.replication.replicas.get_mut(&id) else {
        return;
    };
    if !replica.is_attached() {
        return;
    }
    replica.acked = replica.acked.max(offset);
    replica.has_acked = true;
    if let Some(aof) = aof {
        replica.acked_aof = Some(replica.acked_aof.unwrap_or(0).max(aof));
    }
    replica.acked_ns = now_ns;
    if replica.phase == Phase::Online && std::mem::take(&mut replica.starts_on_ack) {
        let name = name_of(state, &state.replication.replicas[&id]);
        log::info!("Synchronization with replica {name} succeeded");
        state.clients.mark_pending_write(key);
    }
}

/// A client that was a replica, or had said something of itself, is closed.
pub fn gone(state: &mut State, key: ClientKey) {
    let id = id_of(state, key);
    let Some(replica) = state.replication.replicas.get(&id) else {
        return;
    };
    if replica.is_attached() {
        let name = name_of(state, replica);
        log::info!("Connection with replica {name} lost.");
        state.replication.attached -= 1;
        if state.replication.attached == 0 {
            state.replication.alone_since_ns = state.now.mono_ns;
        }
    }
    state.replication.replicas.remove(&id);
    refresh_good(state);
    // What was kept for it alone goes with it, not in the next turn, which may be far.
    super::forget_unneeded(state);
}

/// Counts the replicas that are good enough for `min-replicas-to-write`.
pub fn refresh_good(state: &mut State) {
    let settings = state.config.settings();
    if settings.min_replicas_to_write == 0 || settings.min_replicas_max_lag_s == 0 {
        return;
    }
    let (now_ns, most_ns) = (
        state.now.mono_ns,
        settings.min_replicas_max_lag_s.saturating_mul(SECOND_NS),
    );
    let is_good = |it: &&Replica| now_ns.saturating_sub(it.acked_ns) <= most_ns;
    state.replication.good = state.replication.online().filter(is_good).count();
}

/// Whether there are replicas enough for writes.
pub fn has_good(state: &State) -> bool {
    let settings = state.config.settings();
    state.replication.is_replica()
        || settings.min_replicas_to_write == 0
        || settings.min_replicas_max_lag_s == 0
        || state.replication.good as u64 >= settings.min_replicas_to_write
}

/// Removes the file that was made for replicas alone, when they have it (`rdb-del-sync-files`).
fn remove_file(state: &mut State) {
    let replication = &state.replication;
    let settings = state.config.settings();
    let in_use = replication
        .replicas
        .values()
        .any(|it| it.snapshot.file.is_some());
    if replication.file_made.is_none() || replication.transfer.is_some() || in_use {
        return;
    }
    let path = state.replication.file_made.take().unwrap_or_default();
    let is_wanted = !settings.rdb_del_sync_files
        || !settings.save.is_empty()
        || state.persistence.aof.state != AofState::Off;
    if !is_wanted && state.persistence.disk.remove(&path).is_ok() {
        log::info!("Removing the RDB file used to feed replicas in a persistence-less instance");
    }
}

/// What is done once a second: pings, signs of life for those who wait, who is silent for too long, the end of a backlog that
/// nobody wants.
pub fn cron(state: &mut State, host: &mut dyn Host) {
    let now_ns = state.now.mono_ns;
    let settings = state.config.settings();
    let timeout_ns = settings.repl_timeout_s.saturating_mul(SECOND_NS);
    let ping_ns = settings.repl_ping_period_s.saturating_mul(SECOND_NS);
    let ttl_ns = settings.repl_backlog_ttl_s.saturating_mul(SECOND_NS);
    if state.replication.attached > 0
        && !state.replication.is_replica()
        && now_ns.saturating_sub(state.replication.pinged_ns) >= ping_ns
    {
        state.replication.pinged_ns = now_ns;
        // During a pause the stream is to stand still: somebody waits for it.
        if state.pause.is_none() {
            state.journal.tell_replicas(&[b"PING"]);
        }
    }
    let mut late = Vec::new();
    let mut waiting = Vec::new();
    for replica in state.replication.replicas.values() {
        match replica.phase {
            Phase::Waits { .. } | Phase::WaitsForFile => waiting.push(replica.client),
            Phase::Online if replica.is_old => {}
            Phase::Online | Phase::HasSnapshot
                if now_ns.saturating_sub(replica.acked_ns) > timeout_ns =>
            {
                log::warn!(
                    "Disconnecting timedout replica (streaming sync): {}",
                    name_of(state, replica)
                );
                late.push(replica.client);
            }
            // It takes nothing, and holds back all who share the snapshot.
            Phase::Receives
                if state.clients.get(replica.client).is_some_and(|client| {
                    let last_ns = client.connection().last_interaction_ns();
                    !replica.snapshot.is_empty() && now_ns.saturating_sub(last_ns) > timeout_ns
                }) =>
            {
                log::warn!(
                    "Disconnecting timedout replica (full sync): {}",
                    name_of(state, replica)
                );
                late.push(replica.client);
            }
            _ => {}
        }
    }
    for key in waiting {
        // A sign of life, which every replica passes over.
        state.clients.push(key, |reply| reply.raw(b"\n"));
    }
    for key in late {
        state.clients.close(key, false);
    }
    refresh_good(state);
    remove_file(state);
    if state.replication.attached == 0
        && ttl_ns > 0
        && state.replication.stream.is_some()
        && !state.replication.is_replica()
        && now_ns.saturating_sub(state.replication.alone_since_ns) > ttl_ns
    {
        // What is written from here on is known to nobody: whoever comes back needs another ID to see that.
        state.replication.id = new_id(state);
        state.replication.clear_second_id();
        end_stream(state);
        log::info!(
            "Replication backlog freed after {} seconds without connected replicas.",
            ttl_ns / SECOND_NS
        );
    }
    start_if_due(state, host);
}
