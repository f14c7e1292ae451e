//! What the servers tell of keys: the messages of a subscriber on each side, compared.
//!
//! Keys that expire do so when something meets them, and what goes through all keys meets them in an order of its own,
//! as SORT does the keys that the members of a set name: events of expiry and of keys that are missing are compared
//! within the events of their key, all others in order.

use gyre::resp::reader::Value;
use std::collections::BTreeMap;

/// What is published when a step of commands is over.
pub const MARK: &str = "differential:mark";
/// A key that the comparison itself makes.
pub const COPY: &str = "differential:copy";

/// One message: its channel and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    channel: String,
    text: String,
}

impl Event {
    /// The event of a pattern's message; none for anything else, and for those of the comparison itself.
    pub fn of(message: &Value) -> Option<Event> {
        let text = |value: &Value| Some(value.as_bytes()?.escape_ascii().to_string());
        let [kind, _, channel, payload] = message.items()? else {
            return None;
        };
        let event = Event {
            channel: text(channel)?,
            text: text(payload)?,
        };
        (kind.as_bytes() == Some(b"pmessage") && event.key() != COPY).then_some(event)
    }

    /// Database and kind: the channel without the key or the event.
    fn place(&self) -> &str {
        self.channel.split_once(':').map_or("", |(place, _)| place)
    }

    fn rest(&self) -> &str {
        self.channel.split_once(':').map_or("", |(_, rest)| rest)
    }

    fn is_of_key(&self) -> bool {
        self.channel.starts_with("__keyspace")
    }

    fn key(&self) -> &str {
        if self.is_of_key() {
            self.rest()
        } else {
            &self.text
        }
    }

    fn name(&self) -> &str {
        if self.is_of_key() {
            &self.text
        } else {
            self.rest()
        }
    }

    fn is_met(&self) -> bool {
        ["expired", "keymiss"].contains(&self.name())
    }
}

/// The first difference between the events of both sides: what tells it from others, and the events.
pub fn difference(ours: &[Event], theirs: &[Event]) -> Option<(String, String)> {
    fn others(events: &[Event]) -> Vec<&Event> {
        events.iter().filter(|event| !event.is_met()).collect()
    }
    fn by_key(events: &[Event]) -> BTreeMap<(&str, &str), Vec<&Event>> {
        let mut keys: BTreeMap<_, Vec<&Event>> = BTreeMap::new();
        for event in events {
            let key = (event.place(), event.key());
            keys.entry(key).or_default().push(event);
        }
        keys
    }
    if let Some(found) = first(&others(ours), &others(theirs)) {
        return Some(found);
    }
    let (ours, theirs) = (by_key(ours), by_key(theirs));
    let none = Vec::new();
    ours.keys().chain(theirs.keys()).find_map(|key| {
        let of = |keys: &BTreeMap<_, Vec<_>>| keys.get(key).unwrap_or(&none).clone();
        first(&of(&ours), &of(&theirs))
    })
}

fn first(ours: &[&Event], theirs: &[&Event]) -> Option<(String, String)> {
    let at = (0..ours.len().max(theirs.len())).find(|at| ours.get(*at) != theirs.get(*at))?;
    let name = |events: &[&Event]| {
        events
            .get(at)
            .map_or("none", |event| event.name())
            .to_owned()
    };
    let list = |events: &[&Event]| {
        let around = events.iter().skip(at.saturating_sub(2)).take(6);
        let texts: Vec<String> = around
            .map(|event| format!("{} {}", event.channel, event.text))
            .collect();
        texts.join(", ")
    };
    Some((
        format!("events {} {}", name(ours), name(theirs)),
        format!("gyre:  {}\nredis: {}", list(ours), list(theirs)),
    ))
}
