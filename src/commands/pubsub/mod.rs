//! Commands: publish and subscribe. SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE and their counterparts, PUBLISH, SPUBLISH, PUBSUB.
//!
//! In: names to listen to and messages. Out: a confirmation for each name, as a push message in RESP3, and each message
//! in the output of everyone who listens: first those of the channel, then those of the patterns, in the order in which
//! the patterns were subscribed to. A message is encoded once (`PushFrame`). Mirrors `pubsub.c` of Redis.

mod spec;
#[cfg(test)]
mod tests;

pub use spec::COMMANDS;

use super::help;
use crate::clients::{ClientKind, Listening, Subscriptions};
use crate::engine::pubsub::{publish, update_kind};
use crate::engine::{CommandError, Context, ServerContext, State, notifications};
use crate::resp::{Args, Reply};
use crate::system::glob;

/// The words of confirmations, and of the command in errors.
const fn words(kind: Listening) -> (&'static str, &'static str, &'static str) {
    match kind {
        Listening::Channel => ("subscribe", "unsubscribe", "SUBSCRIBE"),
        Listening::Pattern => ("psubscribe", "punsubscribe", "PSUBSCRIBE"),
        Listening::Shard => ("ssubscribe", "sunsubscribe", "SSUBSCRIBE"),
    }
}

/// The number in a confirmation: that of the shard's channels, or of all other subscriptions.
fn told_count(kind: Listening, its: Option<&Subscriptions>) -> usize {
    its.map_or(0, |its| match kind {
        Listening::Shard => its.count(kind),
        Listening::Channel | Listening::Pattern => its.unsharded(),
    })
}

/// Confirmations are pushes: CLIENT REPLY OFF does not silence them.
fn confirm(reply: &mut Reply, word: &str, name: Option<&[u8]>, count: usize) {
    let discards = reply.is_discarding();
    reply.set_discard(false);
    reply.push(3);
    reply.bulk(word.as_bytes());
    reply.bulk_or_null(name);
    reply.count(count);
    reply.set_discard(discards);
}

fn subscribe(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
    kind: Listening,
) -> Result<(), CommandError> {
    let (word, _, command) = words(kind);
    let session = context.session();
    // Who may not block expects one answer for each command. Transactions are excepted, but for the shard's, because
    // they could always do it.
    let denied = session.kind == ClientKind::Internal
        || (session.in_multi() && matches!(kind, Listening::Shard));
    if denied {
        return Err(CommandError::text_owned(format!(
            "ERR {command} isn't allowed for a DENY BLOCKING client"
        )));
    }
    let key = context.client;
    let State {
        clients, messaging, ..
    } = &mut *context.state;
    let Some(client) = clients.get_mut(key) else {
        return Ok(());
    };
    let its = client.subscriptions.get_or_insert_default();
    for name in args.skip(1).iter() {
        messaging.pubsub.subscribe(kind, name, key, its);
        let count = told_count(kind, Some(its));
        confirm(&mut client.reply, word, Some(name), count);
    }
    update_kind(client);
    clients.mark_pending_write(key);
    notifications::follow_interest(context.state);
    Ok(())
}

fn unsubscribe(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
    kind: Listening,
) -> Result<(), CommandError> {
    let (_, word, _) = words(kind);
    let key = context.client;
    let State {
        clients, messaging, ..
    } = &mut *context.state;
    let Some(client) = clients.get_mut(key) else {
        return Ok(());
    };
    let all = match &client.subscriptions {
        Some(its) if args.len() == 1 => its.in_order(kind),
        _ => Vec::new(),
    };
    let named = args.skip(1);
    let (its, reply) = (&mut client.subscriptions, &mut client.reply);
    for name in named.iter().chain(all.iter().map(|name| &**name)) {
        if let Some(its) = its {
            messaging.pubsub.unsubscribe(kind, name, key, its);
        }
        confirm(reply, word, Some(name), told_count(kind, its.as_deref()));
    }
    if args.len() == 1 && all.is_empty() {
        // Who gave up nothing is answered too.
        confirm(reply, word, None, told_count(kind, its.as_deref()));
    }
    update_kind(client);
    clients.mark_pending_write(key);
    notifications::follow_interest(context.state);
    Ok(())
}

fn subscribe_channels(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    subscribe(context, args, Listening::Channel)
}

fn subscribe_patterns(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    subscribe(context, args, Listening::Pattern)
}

fn subscribe_shard(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    subscribe(context, args, Listening::Shard)
}

fn unsubscribe_channels(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    unsubscribe(context, args, Listening::Channel)
}

fn unsubscribe_patterns(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    unsubscribe(context, args, Listening::Pattern)
}

fn unsubscribe_shard(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    unsubscribe(context, args, Listening::Shard)
}

fn publish_command(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let receivers = publish(context.state, Listening::Channel, args.at(1), args.at(2));
    context.reply().count(receivers);
    tell_others(context, false, args);
    Ok(())
}

/// Clients of other servers hear of it as well: those of replicas by the stream, those of the nodes of a cluster by its bus,
/// which reaches replicas too.
fn tell_others(context: &mut ServerContext<'_>, is_sharded: bool, args: Args<'_>) {
    if let Some(cluster) = &mut context.state.cluster {
        return cluster.publish(is_sharded, args.at(1), args.at(2));
    }
    context.effects.propagate = true;
    context.effects.for_replicas = true;
}

fn publish_shard(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let receivers = publish(context.state, Listening::Shard, args.at(1), args.at(2));
    context.reply().count(receivers);
    tell_others(context, true, args);
    Ok(())
}

// ---- PUBSUB -------------------------------------------------------------------------------------------------------

fn channels(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
    kind: Listening,
) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::subcommand_syntax(args));
    }
    let State {
        clients, messaging, ..
    } = &mut *context.state;
    let Some(client) = clients.get_mut(context.client) else {
        return Ok(());
    };
    let mut names = messaging.pubsub.channels(kind);
    if let Some(pattern) = args.get(2) {
        names.retain(|name| glob::matches(pattern, name));
    }
    client.reply.array(names.len());
    for name in names {
        client.reply.bulk(name);
    }
    Ok(())
}

fn count_listeners(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
    kind: Listening,
) -> Result<(), CommandError> {
    let State {
        clients, messaging, ..
    } = &mut *context.state;
    let Some(client) = clients.get_mut(context.client) else {
        return Ok(());
    };
    let names = args.skip(2);
    client.reply.array(names.len().saturating_mul(2));
    for name in names.iter() {
        client.reply.bulk(name);
        client
            .reply
            .count(messaging.pubsub.listeners(kind, name).len());
    }
    Ok(())
}

fn list_channels(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    channels(context, args, Listening::Channel)
}

fn list_shard(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    channels(context, args, Listening::Shard)
}

fn count_channels(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    count_listeners(context, args, Listening::Channel)
}

fn count_shard(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    count_listeners(context, args, Listening::Shard)
}

fn count_patterns(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let patterns = context.state.messaging.pubsub.count(Listening::Pattern);
    context.reply().count(patterns);
    Ok(())
}

fn print_help(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::of_rows(context.reply, args, spec::SUBCOMMANDS);
    Ok(())
}
