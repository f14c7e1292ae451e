//! The effects of a command, as the journal is given them.

use super::State;
use crate::clients::ClientKey;
use crate::journal::Targets;
use crate::observe::Executed;
use crate::resp::Args;

/// Gives the journal what the command asks for, or the command as it was. Several commands are one unit.
pub(crate) fn propagate(
    state: &mut State,
    db: usize,
    args: Args<'_>,
    targets: Targets,
    rewritten: &[Vec<Vec<u8>>],
) {
    if !state.journal.has_consumers() {
        return;
    }
    // The moment of the command, not that at which a file gets it: what `#TS` says is when it happened.
    let unix_s = state.now.unix_s();
    if rewritten.is_empty() {
        state.journal.append(db, unix_s, targets, args);
        return;
    }
    state
        .observe
        .executed(|| Executed::PropagatedAs(rewritten.to_vec()));
    // A reader that came to its end between two of them would be left with half of one command.
    let is_unit = rewritten.len() > 1;
    if is_unit {
        state.journal.begin_unit();
    }
    for command in rewritten {
        let words = command.iter().map(Vec::as_slice);
        state.journal.append_words(db, unix_s, targets, words);
    }
    if is_unit {
        state.journal.end_unit();
    }
}

/// Remembers how far the journal was when this client had written last, for WAIT and WAITAOF.
pub(crate) fn note_write(state: &mut State, key: ClientKey) {
    let offset = state.journal.written_bytes(Targets::AOF);
    let stream_offset = state.journal.offset();
    if let Some(client) = state.clients.get_mut(key) {
        client.session.write_offset = offset;
        client.session.stream_offset = stream_offset;
    }
}
