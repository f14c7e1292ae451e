//! Commands of the connection itself: PING, ECHO and their like.

use super::{CommandError, CommandSpec, Context, Group, Handler, flags};
use crate::resp::Args;

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "ping",
    summary: "Answers PONG, or the message that was given.",
    group: Group::Connection,
    arity: -1,
    flags: flags::FAST,
    handler: Handler::Plain(ping),
    ..CommandSpec::DEFAULT
}];

fn ping(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match args.get(1) {
        Some(message) => context.reply.bulk(message),
        None => context.reply.simple("PONG"),
    }
    Ok(())
}
