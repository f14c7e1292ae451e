//! The registries of Pub/Sub: who listens to which channel, and whose pattern a channel matches.
//!
//! In: subscriptions, and the names of channels that something is published to. Out: the clients that listen. Channels
//! are found by their hash. Patterns are found by their *literal head*, the bytes before the first wildcard: a channel
//! that matches begins with them, so a publish looks, for each length of a head that is in use, whether there are
//! patterns with that beginning of the channel for a head, and matches those alone. Only patterns that begin with a
//! wildcard (head of length zero) are tried by every publish. Mirrors `pubsub.c` of Redis, which walks all patterns.

use crate::clients::{ClientKey, Listening, Subscriptions};
use crate::system::glob;
use slab::Slab;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Keyed at random. No order of them is ever shown.
type Map<K, V> = HashMap<K, V>;

/// Listeners up to which one is looked for from the beginning.
const FEW: usize = 32;
/// Longest head, bytes. Longer ones are cut, so that a publish does not look for ever more lengths.
const HEAD_LEN: usize = 64;

/// All of them.
#[derive(Debug, Default)]
pub struct PubSub {
    channels: Map<Arc<[u8]>, Listeners>,
    shard: Map<Arc<[u8]>, Listeners>,
    patterns: Patterns,
    /// Clients with at least one subscription.
    clients: usize,
}

impl PubSub {
    /// Adds a subscription; whether the client did not have it before.
    pub fn subscribe(
        &mut self,
        kind: Listening,
        name: &[u8],
        client: ClientKey,
        its: &mut Subscriptions,
    ) -> bool {
        if its.has(kind, name) {
            return false;
        }
        self.clients += usize::from(its.is_empty());
        let name = match kind {
            Listening::Pattern => self.patterns.add(name, client),
            Listening::Channel => add(&mut self.channels, name, client),
            Listening::Shard => add(&mut self.shard, name, client),
        };
        its.add(kind, name);
        true
    }
    /// Ends a subscription; whether the client had it.
    pub fn unsubscribe(
        &mut self,
        kind: Listening,
        name: &[u8],
        client: ClientKey,
        its: &mut Subscriptions,
    ) -> bool {
        if !its.remove(kind, name) {
            return false;
        }
        match kind {
            Listening::Pattern => self.patterns.remove(name, client),
            Listening::Channel => remove(&mut self.channels, name, client),
            Listening::Shard => remove(&mut self.shard, name, client),
        }
        self.clients -= usize::from(its.is_empty());
        true
    }
    /// Ends all subscriptions of a client.
    pub fn leave(&mut self, client: ClientKey, its: Subscriptions) {
        self.clients -= usize::from(!its.is_empty());
        for (kind, name) in its.into_names() {
            match kind {
                Listening::Pattern => self.patterns.remove(&name, client),
                Listening::Channel => remove(&mut self.channels, &name, client),
                Listening::Shard => remove(&mut self.shard, &name, client),
            }
        }
    }
    /// Whether nobody listens to any channel that is not of the shard.
    #[inline]
    pub fn is_silent(&self) -> bool {
        self.channels.is_empty() && self.patterns.all.is_empty()
    }
    /// Clients that listen to a channel ([`Listening::Channel`] or [`Listening::Shard`]).
    #[inline]
    pub fn listeners(&self, kind: Listening, channel: &[u8]) -> &[ClientKey] {
        let map = match kind {
            Listening::Shard => &self.shard,
            _ => &self.channels,
        };
        map.get(channel).map_or(&[], |it| &it.clients)
    }
    /// Fills `found` with the patterns that match, those first that were subscribed to first. O(lengths of heads in use
    /// + patterns whose head the channel begins with).
    pub fn matching(&self, channel: &[u8], found: &mut Vec<PatternKey>) {
        self.patterns.matching(channel, found);
    }
    /// A pattern, and the clients that listen to it.
    pub fn pattern(&self, key: PatternKey) -> Option<(&[u8], &[ClientKey])> {
        let pattern = self.patterns.all.get(key.slot)?;
        Some((&pattern.name, &pattern.listeners.clients))
    }
    /// Distinct names of a kind.
    pub fn count(&self, kind: Listening) -> usize {
        match kind {
            Listening::Channel => self.channels.len(),
            Listening::Pattern => self.patterns.all.len(),
            Listening::Shard => self.shard.len(),
        }
    }
    /// Clients that have a subscription.
    pub fn clients(&self) -> usize {
        self.clients
    }
    /// All channels of a kind, sorted. O(n log n).
    pub fn channels(&self, kind: Listening) -> Vec<&[u8]> {
        let map = match kind {
            Listening::Shard => &self.shard,
            _ => &self.channels,
        };
        let mut names: Vec<&[u8]> = map.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }
}

fn add(map: &mut Map<Arc<[u8]>, Listeners>, name: &[u8], client: ClientKey) -> Arc<[u8]> {
    if let Some((known, _)) = map.get_key_value(name) {
        let known = known.clone();
        if let Some(listeners) = map.get_mut(name) {
            listeners.add(client);
        }
        return known;
    }
    let name: Arc<[u8]> = name.into();
    let mut listeners = Listeners::default();
    listeners.add(client);
    map.insert(name.clone(), listeners);
    name
}

fn remove(map: &mut Map<Arc<[u8]>, Listeners>, name: &[u8], client: ClientKey) {
    let Some(listeners) = map.get_mut(name) else {
        return;
    };
    listeners.remove(client);
    if listeners.clients.is_empty() {
        map.remove(name);
        if map.capacity() > 64 && map.len() < map.capacity() / 8 {
            map.shrink_to(map.len() * 2);
        }
    }
}

/// The clients that listen to one name: in a row, for publishing, and when they are many also with their places, so
/// that none has to be looked for when it goes.
#[derive(Debug, Default)]
struct Listeners {
    clients: Vec<ClientKey>,
    places: Option<Box<Map<ClientKey, usize>>>,
}

impl Listeners {
    fn add(&mut self, client: ClientKey) {
        let place = self.clients.len();
        self.clients.push(client);
        if let Some(places) = &mut self.places {
            places.insert(client, place);
        } else if self.clients.len() > FEW {
            let places = self.clients.iter().copied().zip(0..);
            self.places = Some(Box::new(places.collect()));
        }
    }
    fn remove(&mut self, client: ClientKey) {
        let Some(places) = &mut self.places else {
            if let Some(place) = self.clients.iter().position(|it| *it == client) {
                self.clients.remove(place);
            }
            return;
        };
        let Some(place) = places.remove(&client) else {
            return;
        };
        self.clients.swap_remove(place);
        if let Some(moved) = self.clients.get(place) {
            places.insert(*moved, place);
        }
        if self.clients.len() < FEW / 2 {
            self.places = None;
            self.clients.shrink_to(FEW);
        }
    }
}

/// A pattern that matched; valid until the next subscription ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatternKey {
    /// Its place in the order of subscriptions; first, because this is what is sorted by.
    order: u64,
    slot: usize,
}

#[derive(Debug)]
struct Pattern {
    name: Arc<[u8]>,
    order: u64,
    listeners: Listeners,
    /// Its place among the patterns of its head.
    place: usize,
}

#[derive(Debug, Default)]
struct Patterns {
    all: Slab<Pattern>,
    by_name: Map<Arc<[u8]>, usize>,
    /// Slots of the patterns of each head.
    by_head: Map<Box<[u8]>, Vec<usize>>,
    /// Lengths of heads, each with the number of heads of that length.
    lengths: BTreeMap<usize, usize>,
    next_order: u64,
}

impl Patterns {
    fn add(&mut self, name: &[u8], client: ClientKey) -> Arc<[u8]> {
        if let Some(slot) = self.by_name.get(name)
            && let Some(pattern) = self.all.get_mut(*slot)
        {
            pattern.listeners.add(client);
            return pattern.name.clone();
        }
        let name: Arc<[u8]> = name.into();
        let mut listeners = Listeners::default();
        listeners.add(client);
        self.next_order += 1;
        let entry = self.all.vacant_entry();
        let slot = entry.key();
        let head = head(&name);
        let place = match self.by_head.get_mut(&*head) {
            Some(slots) => {
                slots.push(slot);
                slots.len() - 1
            }
            None => {
                *self.lengths.entry(head.len()).or_default() += 1;
                self.by_head.insert((&*head).into(), vec![slot]);
                0
            }
        };
        entry.insert(Pattern {
            name: name.clone(),
            order: self.next_order,
            listeners,
            place,
        });
        self.by_name.insert(name.clone(), slot);
        name
    }

    fn remove(&mut self, name: &[u8], client: ClientKey) {
        let Some(&slot) = self.by_name.get(name) else {
            return;
        };
        let Some(pattern) = self.all.get_mut(slot) else {
            return;
        };
        pattern.listeners.remove(client);
        if !pattern.listeners.clients.is_empty() {
            return;
        }
        self.by_name.remove(name);
        let gone = self.all.remove(slot);
        let head = head(&gone.name);
        let Some(slots) = self.by_head.get_mut(&*head) else {
            return;
        };
        slots.swap_remove(gone.place);
        if let Some(moved) = slots.get(gone.place)
            && let Some(pattern) = self.all.get_mut(*moved)
        {
            pattern.place = gone.place;
        }
        if slots.is_empty() {
            self.by_head.remove(&*head);
            if let Some(heads) = self.lengths.get_mut(&head.len()) {
                *heads -= 1;
                if *heads == 0 {
                    self.lengths.remove(&head.len());
                }
            }
        }
        if self.all.is_empty() {
            *self = Patterns {
                next_order: self.next_order,
                ..Patterns::default()
            };
        }
    }

    fn matching(&self, channel: &[u8], found: &mut Vec<PatternKey>) {
        found.clear();
        for len in self.lengths.keys() {
            let Some(head) = channel.get(..*len) else {
                break;
            };
            for slot in self.by_head.get(head).into_iter().flatten() {
                if let Some(pattern) = self.all.get(*slot)
                    && glob::matches(&pattern.name, channel)
                {
                    let order = pattern.order;
                    found.push(PatternKey { order, slot: *slot });
                }
            }
        }
        found.sort_unstable();
    }
}

/// What every text that matches begins with: the pattern up to its first wildcard, without its escapes.
fn head(pattern: &[u8]) -> Cow<'_, [u8]> {
    let plain = |byte: &u8| !matches!(byte, b'*' | b'?' | b'[' | b'\\');
    let len = pattern
        .iter()
        .take(HEAD_LEN)
        .take_while(|b| plain(b))
        .count();
    if pattern.get(len) != Some(&b'\\') || len == HEAD_LEN {
        return Cow::Borrowed(pattern.get(..len).unwrap_or_default());
    }
    let mut head = pattern.get(..len).unwrap_or_default().to_vec();
    let mut rest = pattern.get(len..).unwrap_or_default();
    while head.len() < HEAD_LEN {
        match rest {
            [b'\\', escaped, after @ ..] => {
                head.push(*escaped);
                rest = after;
            }
            // An escape of nothing stands for itself.
            [b'\\'] => {
                head.push(b'\\');
                break;
            }
            [byte, after @ ..] if plain(byte) => {
                head.push(*byte);
                rest = after;
            }
            _ => break,
        }
    }
    Cow::Owned(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads() {
        let cases: [(&[u8], &[u8]); 9] = [
            (b"", b""),
            (b"*x", b""),
            (b"news.*", b"news."),
            (b"a?c", b"a"),
            (b"ab[c]", b"ab"),
            (b"a\\*b*", b"a*b"),
            (b"a\\", b"a\\"),
            (b"a\\\\b[", b"a\\b"),
            (b"plain", b"plain"),
        ];
        for (pattern, expected) in cases {
            assert_eq!(*head(pattern), *expected, "{pattern:?}");
        }
        assert_eq!(head(&[b'x'; 100]).len(), HEAD_LEN);
        assert_eq!(head(&b"\\x".repeat(100)).len(), HEAD_LEN);
    }

    /// Many listeners of one channel come and go in any order; the registry is empty at the end.
    #[test]
    fn many_listeners_are_removed_in_any_order() {
        let mut pubsub = PubSub::default();
        let mut clients: Vec<Subscriptions> = (0..300).map(|_| Subscriptions::default()).collect();
        for kind in Listening::ALL {
            for (key, its) in clients.iter_mut().enumerate() {
                assert!(pubsub.subscribe(kind, b"name", ClientKey(key), its));
                assert!(!pubsub.subscribe(kind, b"name", ClientKey(key), its));
            }
            assert_eq!(pubsub.count(kind), 1);
        }
        assert_eq!(pubsub.clients(), 300);
        for step in 0..300 {
            let key = step * 7 % 300;
            for kind in Listening::ALL {
                let its = &mut clients[key];
                assert!(pubsub.unsubscribe(kind, b"name", ClientKey(key), its));
                assert!(!pubsub.unsubscribe(kind, b"name", ClientKey(key), its));
            }
            for kind in [Listening::Channel, Listening::Shard] {
                let mut left = pubsub.listeners(kind, b"name").to_vec();
                left.sort();
                left.dedup();
                assert_eq!(left.len(), 299 - step);
                assert!(!left.contains(&ClientKey(key)));
            }
        }
        assert!(pubsub.is_silent());
        assert_eq!((pubsub.clients(), pubsub.count(Listening::Shard)), (0, 0));
    }

    #[test]
    fn who_leaves_is_forgotten() {
        let mut pubsub = PubSub::default();
        let (mut first, mut second) = (Subscriptions::default(), Subscriptions::default());
        for kind in Listening::ALL {
            for name in [&b"a"[..], b"b", b"*"] {
                pubsub.subscribe(kind, name, ClientKey(1), &mut first);
                pubsub.subscribe(kind, name, ClientKey(2), &mut second);
            }
        }
        pubsub.leave(ClientKey(1), first);
        assert_eq!(pubsub.listeners(Listening::Shard, b"a"), [ClientKey(2)]);
        assert_eq!((pubsub.clients(), pubsub.count(Listening::Pattern)), (1, 3));
        pubsub.leave(ClientKey(2), second);
        pubsub.leave(ClientKey(3), Subscriptions::default());
        assert!(pubsub.is_silent());
        assert_eq!((pubsub.clients(), pubsub.count(Listening::Shard)), (0, 0));
    }

    fn bytes_of(alphabet: &'static [u8], len: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(proptest::sample::select(alphabet), 0..len)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        /// The index finds what a walk over all patterns finds, in the order of subscription, while patterns come and go.
        #[test]
        fn the_index_finds_what_a_walk_finds(
            steps in proptest::collection::vec(
                (bytes_of(b"aab*?[]^\\-\xf0", 7), 0..3_usize, any::<bool>()), 1..40),
            channels in proptest::collection::vec(bytes_of(b"aab*]\\-\xf0", 6), 1..12),
        ) {
            let mut pubsub = PubSub::default();
            let mut clients: Vec<Subscriptions> = (0..3).map(|_| Subscriptions::default()).collect();
            let mut naive: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
            for (pattern, client, comes) in steps {
                let its = &mut clients[client];
                let at = naive.iter().position(|(name, _)| *name == pattern);
                if comes {
                    let is_new = pubsub.subscribe(Listening::Pattern, &pattern, ClientKey(client), its);
                    match at {
                        Some(at) => {
                            prop_assert_eq!(is_new, !naive[at].1.contains(&client));
                            if is_new {
                                naive[at].1.push(client);
                            }
                        }
                        None => {
                            prop_assert!(is_new);
                            naive.push((pattern, vec![client]));
                        }
                    }
                } else {
                    let was = pubsub.unsubscribe(Listening::Pattern, &pattern, ClientKey(client), its);
                    prop_assert_eq!(was, at.is_some_and(|at| naive[at].1.contains(&client)));
                    if let (true, Some(at)) = (was, at) {
                        naive[at].1.retain(|it| *it != client);
                        if naive[at].1.is_empty() {
                            naive.remove(at);
                        }
                    }
                }
            }
            for channel in channels {
                let mut found = Vec::new();
                pubsub.matching(&channel, &mut found);
                let found: Vec<(Vec<u8>, Vec<usize>)> = found
                    .into_iter()
                    .filter_map(|key| pubsub.pattern(key))
                    .map(|(name, clients)| (name.to_vec(), clients.iter().map(|it| it.0).collect()))
                    .collect();
                let walked: Vec<_> = naive
                    .iter()
                    .filter(|(name, _)| glob::matches(name, &channel))
                    .cloned()
                    .collect();
                prop_assert_eq!(found, walked);
            }
            prop_assert_eq!(pubsub.count(Listening::Pattern), naive.len());
        }
    }
}
