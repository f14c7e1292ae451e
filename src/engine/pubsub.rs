//! Messages of Pub/Sub on their way to those who listen, and what a client may do that listens.
//!
//! In: a message. Out: it stands in the output of everyone who listens: first those of the channel, then those of the
//! patterns, in the order in which the patterns were subscribed to. A message is encoded once (`PushFrame`). Mirrors
//! `pubsubPublishMessage` of Redis's pubsub.c.

use super::{State, notifications};
use crate::clients::{Client, ClientKey, ClientKind, Listening};

/// Sends a message to all who listen to a channel; how many got it (who listens in several ways, several times).
/// PUBLISH tells the replicas, too; the append-only file has no use for messages.
pub fn publish(state: &mut State, kind: Listening, channel: &[u8], message: &[u8]) -> usize {
    // Borrowed apart: the lists of listeners are read while the clients in them are written to.
    let State {
        messaging, clients, ..
    } = state;
    let (pubsub, frame) = (&messaging.pubsub, &mut messaging.frame);
    let listeners = pubsub.listeners(kind, channel);
    let mut receivers = listeners.len();
    if receivers > 0 {
        let word: &[u8] = match kind {
            Listening::Shard => b"smessage",
            _ => b"message",
        };
        frame.encode(&[word, channel, message]);
        for key in listeners {
            clients.push_frame(*key, frame);
        }
    }
    if kind == Listening::Shard || pubsub.count(Listening::Pattern) == 0 {
        // A message of a shard is for those who listen to that channel of it alone.
        frame.release();
        return receivers;
    }
    pubsub.matching(channel, &mut messaging.found);
    for pattern in &messaging.found {
        let Some((name, listeners)) = pubsub.pattern(*pattern) else {
            continue;
        };
        // Anew for each pattern, whose name is a part of it; once for all who have subscribed to that.
        frame.encode(&[b"pmessage", name, channel, message]);
        for key in listeners {
            clients.push_frame(*key, frame);
        }
        receivers += listeners.len();
    }
    frame.release();
    receivers
}

/// Ends all subscriptions of a client, without telling it (it goes, or is reset).
pub fn leave(state: &mut State, key: ClientKey) {
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    let Some(its) = client.subscriptions.take() else {
        return;
    };
    // The class goes with the last subscription, and with it the limits of output.
    update_kind(client);
    state.messaging.pubsub.leave(key, *its);
    notifications::follow_interest(state);
}

/// A client is of the class `pubsub` while it has a subscription.
pub(crate) fn update_kind(client: &mut Client) {
    let listens = client
        .subscriptions
        .as_ref()
        .is_some_and(|its| !its.is_empty());
    match client.session.kind {
        ClientKind::Normal if listens => client.session.kind = ClientKind::PubSub,
        ClientKind::PubSub if !listens => client.session.kind = ClientKind::Normal,
        _ => {}
    }
    if !listens {
        client.subscriptions = None;
    }
}

/// Whether a client may only subscribe, unsubscribe, ping and go: one that listens and speaks RESP2, which cannot tell a
/// message from an answer.
#[inline]
pub(crate) fn is_restricted(client: &Client) -> bool {
    client.session.kind == ClientKind::PubSub && !client.session.resp3()
}

/// The commands that such a client may call; none of them is a subcommand.
pub(crate) fn is_allowed_while_restricted(name: &str) -> bool {
    const ALLOWED: [&str; 9] = [
        "ping",
        "subscribe",
        "ssubscribe",
        "unsubscribe",
        "sunsubscribe",
        "psubscribe",
        "punsubscribe",
        "quit",
        "reset",
    ];
    ALLOWED.contains(&name)
}
