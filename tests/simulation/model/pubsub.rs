//! Pub/Sub: who listens to what, and who is told what.

use super::{Answer, Args, Model, Outcome, Run, bulk, int};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Channel,
    Pattern,
    Shard,
}

/// One subscription of one client.
#[derive(Clone, Debug, PartialEq)]
struct Subscription {
    kind: Kind,
    name: Vec<u8>,
    client: i64,
}

/// All subscriptions, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    all: Vec<Subscription>,
    /// Patterns in the order in which each got its first subscription.
    patterns: Vec<Vec<u8>>,
}

pub const COMMANDS: &[(&str, i64, Run)] = &[
    ("psubscribe", -2, Model::subscribe),
    ("publish", 3, Model::publish),
    ("punsubscribe", -1, Model::unsubscribe),
    ("spublish", 3, Model::publish),
    ("ssubscribe", -2, Model::subscribe),
    ("subscribe", -2, Model::subscribe),
    ("sunsubscribe", -1, Model::unsubscribe),
    ("unsubscribe", -1, Model::unsubscribe),
];

fn kind(command: &str) -> Kind {
    match command.as_bytes()[0] {
        b'p' => Kind::Pattern,
        b's' if command != "subscribe" => Kind::Shard,
        _ => Kind::Channel,
    }
}

/// Patterns here are a prefix and a star.
fn matches(pattern: &[u8], channel: &[u8]) -> bool {
    channel.starts_with(pattern.strip_suffix(b"*").expect("a prefix and a star"))
}

impl Subscriptions {
    fn names(&self, client: i64, kind: Kind) -> impl Iterator<Item = &Vec<u8>> {
        let its = self
            .all
            .iter()
            .filter(move |it| it.client == client && it.kind == kind);
        its.map(|it| &it.name)
    }

    /// The number in a confirmation.
    fn count(&self, client: i64, kind: Kind) -> usize {
        let count = |kind| self.names(client, kind).count();
        match kind {
            Kind::Shard => count(Kind::Shard),
            _ => count(Kind::Channel) + count(Kind::Pattern),
        }
    }

    pub fn listens(&self, client: i64) -> bool {
        self.all.iter().any(|it| it.client == client)
    }

    pub fn leave(&mut self, client: i64) {
        self.all.retain(|it| it.client != client);
        self.forget_patterns();
    }

    fn forget_patterns(&mut self) {
        let all = &self.all;
        let is_used = |pattern: &Vec<u8>| {
            all.iter()
                .any(|it| it.kind == Kind::Pattern && it.name == *pattern)
        };
        self.patterns.retain(is_used);
    }
}

impl Model {
    /// A client that listens and speaks RESP2 may do nothing else.
    pub(super) fn pubsub_allows(&self, name: &str, args: Args<'_>) -> Result<(), String> {
        let allowed = name.ends_with("subscribe") || ["ping", "quit", "reset"].contains(&name);
        if allowed || self.caller.resp3 || !self.pubsub.listens(self.caller.id) {
            return Ok(());
        }
        let full = match name {
            "client" | "script" | "function" | "xgroup" => {
                format!(
                    "{name}|{}",
                    String::from_utf8_lossy(&args[1]).to_lowercase()
                )
            }
            _ => name.to_owned(),
        };
        Err(format!(
            "ERR Can't execute '{full}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
             this context"
        ))
    }

    fn subscribe(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let (kind, client) = (kind(name), self.caller.id);
        let mut confirmations = Vec::new();
        for channel in &args[1..] {
            let subscription = Subscription {
                kind,
                name: channel.clone(),
                client,
            };
            if !self.pubsub.all.contains(&subscription) {
                self.pubsub.all.push(subscription);
                if kind == Kind::Pattern && !self.pubsub.patterns.contains(channel) {
                    self.pubsub.patterns.push(channel.clone());
                }
            }
            let count = int(self.pubsub.count(client, kind));
            confirmations.push(Answer::Push(vec![bulk(name), bulk(channel), count]));
        }
        Ok(Answer::Several(confirmations))
    }

    fn unsubscribe(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let (kind, client) = (kind(&name.replace("un", "")), self.caller.id);
        let mut names = args[1..].to_vec();
        if names.is_empty() {
            names = self.pubsub.names(client, kind).cloned().collect();
        }
        let mut confirmations = Vec::new();
        for channel in &names {
            let its =
                |it: &Subscription| it.client == client && it.kind == kind && it.name == *channel;
            self.pubsub.all.retain(|it| !its(it));
            let count = int(self.pubsub.count(client, kind));
            confirmations.push(Answer::Push(vec![bulk(name), bulk(channel), count]));
        }
        self.pubsub.forget_patterns();
        if names.is_empty() {
            let count = int(self.pubsub.count(client, kind));
            confirmations.push(Answer::Push(vec![bulk(name), Answer::Null, count]));
        }
        Ok(Answer::Several(confirmations))
    }

    fn publish(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let (channel, message) = (&args[1], &args[2]);
        let (kind, said) = match name {
            "publish" => (Kind::Channel, "message"),
            _ => (Kind::Shard, "smessage"),
        };
        let mut told = Vec::new();
        for it in &self.pubsub.all {
            if it.kind == kind && it.name == *channel {
                let parts = vec![bulk(said), bulk(channel), bulk(message)];
                told.push((it.client, Answer::Push(parts)));
            }
        }
        for pattern in self
            .pubsub
            .patterns
            .iter()
            .filter(|_| kind == Kind::Channel)
        {
            if !matches(pattern, channel) {
                continue;
            }
            for it in &self.pubsub.all {
                if it.kind == Kind::Pattern && it.name == *pattern {
                    let parts = [&b"pmessage"[..], pattern, channel, message].map(bulk);
                    told.push((it.client, Answer::Push(parts.into())));
                }
            }
        }
        let receivers = told.len();
        self.pushes.extend(told);
        Ok(int(receivers))
    }

    /// A client counts nowhere any more.
    pub fn is_gone(&mut self, client: i64) {
        self.pubsub.leave(client);
        if self.gone.insert(client) {
            self.gone_now.insert(client);
        }
    }
}
