//! Whether what is written now could be kept.
//!
//! In: how the last snapshot and the append-only file fare. Out: why writes are refused, if they are.

use super::State;

/// Why writes are refused: what they change could not be kept.
pub(crate) enum Unkept {
    /// The last snapshot failed.
    Snapshot,
    /// The append-only file cannot be written.
    Aof(String),
}

impl std::fmt::Display for Unkept {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unkept::Snapshot => {
                out.write_str("writes are refused: the last background save failed")
            }
            Unkept::Aof(reason) => {
                write!(out, "writes are refused: the append-only file: {reason}")
            }
        }
    }
}

/// Whether what is written now could not be kept, and why.
#[inline]
pub(crate) fn unkept(state: &State) -> Option<Unkept> {
    let settings = state.config.settings();
    // Without save points nobody relies on snapshots: that BGSAVE has failed stops no writes then.
    if settings.stop_writes_on_bgsave_error
        && !state.persistence.last_status_ok
        && !settings.save.is_empty()
    {
        return Some(Unkept::Snapshot);
    }
    state
        .persistence
        .aof
        .error()
        .map(|reason| Unkept::Aof(reason.to_string()))
}
