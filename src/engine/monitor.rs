//! What clients in MONITOR are shown.
//!
//! In: commands that have run, whose secrets must not be shown. Out: a line for each client in MONITOR.
//! Commands are shown after they have run, as by Redis 7.0, so that those of a transaction stand before its EXEC;
//! scripts are shown before what they run. Administrative commands are not shown. Mirrors `replicationFeedMonitors`
//! of Redis's replication.c.

use super::{CommandId, State, flags};
use crate::clients::{Address, ClientKey, ClientKind, ReplyMode};
use crate::resp::Args;
use crate::system::quoting;
use std::io::Write;

/// Ends a client's MONITOR, if it is in it: RESET, and when the client goes.
pub fn end(state: &mut State, key: ClientKey) {
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    if std::mem::take(&mut client.session.monitors) {
        state.messaging.monitors.retain(|monitor| *monitor != key);
        state.messaging.note_listeners();
    }
}

/// Whether a command is shown before it runs: a script, so that what it runs comes after it.
pub(crate) fn is_shown_before(row_flags: u32) -> bool {
    row_flags & flags::SKIP_MONITOR != 0
}

/// Shows a command that has run, unless it is one of those that are not shown, or not after they have run.
pub(crate) fn ran(state: &mut State, key: ClientKey, id: CommandId, args: Args<'_>) {
    if state.table.get(id).flags & (flags::SKIP_MONITOR | flags::ADMIN) == 0 {
        show(state, key, id, args);
    }
}

/// Shows a command to all who are in MONITOR, without its secrets.
pub(crate) fn show(state: &mut State, key: ClientKey, id: CommandId, args: Args<'_>) {
    if state.messaging.monitors.is_empty() || state.persistence.is_loading() {
        return;
    }
    let line = line(state, key, id, args);
    for index in 0..state.messaging.monitors.len() {
        let monitor = state.messaging.monitors[index];
        // Unlike messages and invalidations, lines are replies: CLIENT REPLY OFF holds for them.
        let mode = |key| Some(state.clients.get(key)?.session.reply_mode);
        if matches!(mode(monitor), Some(ReplyMode::On | ReplyMode::SkipNext)) {
            state.clients.push(monitor, |reply| reply.raw(&line));
        }
    }
}

/// The line with its line end: `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`.
fn line(state: &State, key: ClientKey, id: CommandId, args: Args<'_>) -> Vec<u8> {
    let mut hidden = state
        .table
        .hidden_arguments(id, args)
        .into_iter()
        .peekable();
    let mut line = Vec::with_capacity(64 + args.total_bytes());
    let now = state.now.unix_us;
    // Writing to a vector cannot fail.
    let _ = write!(line, "+{}.{:06} ", now / 1_000_000, now % 1_000_000);
    if let Some(client) = state.clients.get(key) {
        let session = &client.session;
        let _ = write!(line, "[{} ", session.db);
        let _ = match (
            client.connection().address(),
            &state.config.settings().unixsocket,
        ) {
            _ if session.kind == ClientKind::Script => write!(line, "lua"),
            (Address::Unix(_), Some(path)) => write!(line, "unix:{}", path.display()),
            (Address::Unix(path), None) => write!(line, "unix:{path}"),
            (address, _) => write!(line, "{address}"),
        };
        line.extend_from_slice(b"] ");
    }
    for (index, arg) in args.iter().enumerate() {
        if index > 0 {
            line.push(b' ');
        }
        let hides = hidden.next_if_eq(&index).is_some();
        quoting::quote_into(&mut line, if hides { b"(redacted)" } else { arg });
    }
    line.extend_from_slice(b"\r\n");
    line
}
