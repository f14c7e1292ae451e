//! MONITOR: a client is shown every command that the server runs.
//!
//! In: commands that have run, with the arguments that must not be shown. Out: a line for each client in MONITOR.
//! Commands are shown after they have run, as by Redis 7.0, so that those of a transaction stand before its EXEC;
//! scripts are shown before what they run. Administrative commands are not shown. Mirrors `replicationFeedMonitors`
//! of Redis's replication.c.

use crate::engine::{CommandError, CommandSpec, Group, Handler, ServerContext, flags};
use crate::resp::Args;

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "monitor",
    summary: "Shows this connection every command that the server runs from here on.",
    since: "1.0.0",
    complexity: "",
    group: Group::Server,
    arity: 1,
    flags: flags::ADMIN | flags::NOSCRIPT | flags::LOADING | flags::STALE,
    handler: Handler::Server(monitor),
    ..CommandSpec::DEFAULT
}];

fn monitor(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let (key, session) = (context.client, context.session());
    if session.in_multi() {
        // Who runs it there waits for one answer to each command.
        return Err(CommandError::fixed(
            "ERR MONITOR isn't allowed for DENY BLOCKING client",
        ));
    }
    if session.monitors {
        // As in Redis it is not even answered.
        return Ok(());
    }
    session.monitors = true;
    context.state.messaging.monitors.push(key);
    context.state.messaging.note_listeners();
    context.reply().ok();
    Ok(())
}
