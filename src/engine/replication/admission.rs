//! What admission asks of replication: whether clients may write, and whether data may be told that may be old.

use super::State;
use crate::engine::admit::unkept;

/// Whether clients may not write.
#[inline]
pub(in crate::engine) fn is_read_only(state: &State) -> bool {
    state.replication.is_replica() && state.config.settings().replica_read_only
}

/// Whether what is here may be old and nobody may be told of it.
#[inline]
pub(in crate::engine) fn is_stale(state: &State) -> bool {
    state.replication.is_cut_off() && !state.config.settings().replica_serve_stale_data
}

/// A replica cannot keep what its primary sends: it goes on where `replica-ignore-disk-write-errors` says so, else it ends, as
/// one that were promoted would lose it.
#[cold]
pub(in crate::engine) fn cannot_keep(state: &mut State) {
    const LOGGED_EVERY_S: i64 = 10;
    let Some(reason) = unkept(state) else {
        return;
    };
    let now_s = state.now.unix_s();
    if state.config.settings().replica_ignore_disk_write_errors {
        if now_s - state.replication.unkept_logged_s >= LOGGED_EVERY_S {
            state.replication.unkept_logged_s = now_s;
            log::warn!("Replica is applying a command it is unable to write to disk.");
        }
        return;
    }
    log::error!("Replica was unable to write command to disk: {reason}");
    (state.persistence.end_unanswered)();
}
