//! Who waits for a key, and who watches one.
//!
//! In: clients (by id) with the keys that they block on or WATCH, and each change as it is signalled. Out: keys that
//! became ready, in the order in which they did, with the clients that wait for them in the order in which they began
//! to; and the clients whose watched keys changed. Mirrors `blocked.c` and the watch half of `multi.c` of Redis.
//!
//! Invariant: a queue exists exactly as long as it has waiters; a key is in `ready` at most once.

use super::Type;
use std::collections::{BTreeMap, HashMap};

/// A client in the queue of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Client id.
    pub client: u64,
    /// When it began to wait, as a number that only grows; the order of the queue.
    pub ticket: u64,
    /// Type of value that it waits for.
    pub kind: Type,
    /// It wants to know also when the key goes.
    pub on_removal: bool,
}

#[derive(Debug, Default)]
struct Queue {
    waiters: BTreeMap<u64, Waiter>,
    /// How many of them want to know when the key goes.
    on_removal: usize,
    ready: bool,
}

/// Queues by database and key.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queues: HashMap<usize, HashMap<Vec<u8>, Queue>>,
    ready: Vec<(usize, Vec<u8>)>,
    tickets: u64,
}

impl Waiting {
    /// The next ticket.
    pub(super) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
    /// Adds a waiter to a key's queue.
    pub(super) fn add(&mut self, db: usize, key: &[u8], waiter: Waiter) {
        let queue = self
            .queues
            .entry(db)
            .or_default()
            .entry(key.to_vec())
            .or_default();
        if queue.waiters.insert(waiter.ticket, waiter).is_none() {
            queue.on_removal += usize::from(waiter.on_removal);
        }
    }
    /// Takes a waiter out of a key's queue.
    pub(super) fn remove(&mut self, db: usize, key: &[u8], ticket: u64) {
        let Some(queues) = self.queues.get_mut(&db) else {
            return;
        };
        if let Some(queue) = queues.get_mut(key) {
            if let Some(waiter) = queue.waiters.remove(&ticket) {
                queue.on_removal -= usize::from(waiter.on_removal);
            }
            if queue.waiters.is_empty() {
                queues.remove(key);
            }
        }
        if queues.is_empty() {
            self.queues.remove(&db);
        }
    }
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }
    /// Keys that somebody waits for, and those of them where somebody waits for the removal.
    pub(super) fn keys(&self) -> (usize, usize) {
        let queues = self.queues.values().flat_map(HashMap::values);
        queues.fold((0, 0), |(all, removal), queue| {
            (all + 1, removal + usize::from(queue.on_removal > 0))
        })
    }
    /// All keys that somebody waits for, with the clients, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&[u8], impl Iterator<Item = u64>)> {
        let queues = self.queues.values().flatten();
        queues.map(|(key, queue)| {
            let clients = queue.waiters.values().map(|waiter| waiter.client);
            (&**key, clients)
        })
    }
    /// A key has changed.
    pub(super) fn key_changed(&mut self, db: usize, key: &[u8]) {
        let Some(queue) = self.queues.get_mut(&db).and_then(|all| all.get_mut(key)) else {
            return;
        };
        if !queue.ready {
            queue.ready = true;
            self.ready.push((db, key.to_vec()));
        }
    }
    /// A whole database has changed: every key of it may be ready. They become so in the order of those who wait
    /// longest for each, which chance must not decide.
    pub(super) fn database_changed(&mut self, db: usize) {
        let mut ready = Vec::new();
        for (key, queue) in self.queues.get_mut(&db).into_iter().flatten() {
            if !queue.ready {
                queue.ready = true;
                let first = queue.waiters.keys().next().copied();
                ready.push((first, (db, key.clone())));
            }
        }
        ready.sort_unstable();
        self.ready.extend(ready.into_iter().map(|(_, key)| key));
    }
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
    /// Takes the keys that are ready; from here on they can become so again.
    pub(super) fn take_ready(&mut self) -> Vec<(usize, Vec<u8>)> {
        let ready = std::mem::take(&mut self.ready);
        for (db, key) in &ready {
            if let Some(queue) = self.queues.get_mut(db).and_then(|all| all.get_mut(key)) {
                queue.ready = false;
            }
        }
        ready
    }
    /// Whether somebody waits for the removal of a key.
    pub(super) fn any_on_removal(&self, db: usize, key: &[u8]) -> bool {
        let queue = self.queues.get(&db).and_then(|all| all.get(key));
        queue.is_some_and(|queue| queue.on_removal > 0)
    }
    /// The first waiter of a key with a ticket above `after`.
    pub(super) fn next(&self, db: usize, key: &[u8], after: u64) -> Option<Waiter> {
        let queue = self.queues.get(&db)?.get(key)?;
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        queue.waiters.range(range).next().map(|(_, waiter)| *waiter)
    }
}

/// A client that watches a key.
#[derive(Clone, Copy, Debug)]
struct Watcher {
    client: u64,
    /// The key's time was over when it began to, though the key was still there: to this client it was missing, so that
    /// its removal is no change.
    found_expired: bool,
}

/// What a change of a whole database makes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    /// It was missing, and is.
    Same,
    /// It was there, and is no more.
    Missing,
    /// It is there, another or for the first time.
    Other,
}

/// A key that is watched is gone, which is news only to those who found it there.
fn went(watchers: &mut [Watcher], dirty: &mut Vec<u64>) {
    for watcher in watchers {
        if !std::mem::take(&mut watcher.found_expired) {
            dirty.push(watcher.client);
        }
    }
}

/// Clients by the database and key that they watch.
#[derive(Debug, Default)]
pub(super) struct Watched {
    clients: HashMap<usize, HashMap<Vec<u8>, Vec<Watcher>>>,
    dirty: Vec<u64>,
}

impl Watched {
    /// Adds a client; whether it did not watch the key before. `found_expired`: the key is there, but its time is over.
    pub(super) fn add(&mut self, db: usize, key: &[u8], client: u64, found_expired: bool) -> bool {
        let keys = self.clients.entry(db).or_default();
        let clients = keys.entry(key.to_vec()).or_default();
        let is_new = clients.iter().all(|watcher| watcher.client != client);
        if is_new {
            clients.push(Watcher {
                client,
                found_expired,
            });
        }
        is_new
    }
    /// Removes a client from a key.
    pub(super) fn remove(&mut self, db: usize, key: &[u8], client: u64) {
        let Some(keys) = self.clients.get_mut(&db) else {
            return;
        };
        if let Some(clients) = keys.get_mut(key) {
            clients.retain(|watcher| watcher.client != client);
            if clients.is_empty() {
                keys.remove(key);
            }
        }
        if keys.is_empty() {
            self.clients.remove(&db);
        }
    }
    /// Clients that watch, and keys that are watched.
    pub(super) fn figures(&self) -> (usize, usize) {
        let keys = self.clients.values().flatten();
        let watchers = keys.clone().flat_map(|(_, watchers)| watchers);
        let mut clients: Vec<u64> = watchers.map(|watcher| watcher.client).collect();
        clients.sort_unstable();
        clients.dedup();
        (clients.len(), keys.count())
    }
    /// Names of the watched keys of these databases.
    pub(super) fn names(&self, databases: &[usize]) -> Vec<Vec<u8>> {
        let keys = databases.iter().filter_map(|db| self.clients.get(db));
        keys.flat_map(HashMap::keys).cloned().collect()
    }
    /// Whether nobody watches anything.
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }
    /// A key has changed.
    pub(super) fn key_changed(&mut self, db: usize, key: &[u8]) {
        if let Some(clients) = self.clients.get(&db).and_then(|keys| keys.get(key)) {
            self.dirty
                .extend(clients.iter().map(|watcher| watcher.client));
        }
    }
    /// A key has gone by itself.
    pub(super) fn key_went(&mut self, db: usize, key: &[u8]) {
        let keys = self.clients.get_mut(&db);
        if let Some(clients) = keys.and_then(|keys| keys.get_mut(key)) {
            went(clients, &mut self.dirty);
        }
    }
    /// A whole database has changed: what became of each key is for `what` to say.
    pub(super) fn database_changed(&mut self, db: usize, mut what: impl FnMut(&[u8]) -> Became) {
        for (key, clients) in self.clients.get_mut(&db).into_iter().flatten() {
            match what(key) {
                Became::Same => {}
                Became::Missing => went(clients, &mut self.dirty),
                Became::Other => self.dirty.extend(clients.iter().map(|it| it.client)),
            }
        }
    }
    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }
    pub(super) fn take_dirty(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.dirty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(client: u64, ticket: u64) -> Waiter {
        Waiter {
            client,
            ticket,
            kind: Type::List,
            on_removal: false,
        }
    }

    #[test]
    fn waiters_are_served_in_the_order_in_which_they_came() {
        let mut waiting = Waiting::default();
        for client in [7, 3, 5] {
            let ticket = waiting.ticket();
            waiting.add(0, b"k", waiter(client, ticket));
        }
        let mut order = Vec::new();
        let mut after = 0;
        while let Some(next) = waiting.next(0, b"k", after) {
            order.push(next.client);
            after = next.ticket;
        }
        assert_eq!(order, [7, 3, 5]);
        assert!(waiting.next(1, b"k", 0).is_none());
    }

    #[test]
    fn a_key_is_ready_once_until_it_is_taken() {
        let mut waiting = Waiting::default();
        waiting.key_changed(0, b"k");
        assert!(!waiting.has_ready(), "nobody waits for it");
        waiting.add(0, b"k", waiter(1, 1));
        waiting.key_changed(0, b"k");
        waiting.key_changed(0, b"k");
        waiting.key_changed(1, b"k");
        assert_eq!(waiting.take_ready(), [(0, b"k".to_vec())]);
        assert!(!waiting.has_ready());
        waiting.database_changed(0);
        assert!(waiting.has_ready());
        waiting.remove(0, b"k", 1);
        assert!(waiting.is_empty());
    }

    #[test]
    fn of_a_whole_database_who_waits_longest_comes_first() {
        let mut waiting = Waiting::default();
        let keys: Vec<Vec<u8>> = (0..20u8).map(|at| vec![at.wrapping_mul(37)]).collect();
        for key in &keys {
            let ticket = waiting.ticket();
            waiting.add(0, key, waiter(1, ticket));
        }
        waiting.database_changed(0);
        let ready: Vec<Vec<u8>> = waiting
            .take_ready()
            .into_iter()
            .map(|(_, key)| key)
            .collect();
        assert_eq!(ready, keys);
    }

    #[test]
    fn who_waits_for_the_removal_is_counted() {
        let mut waiting = Waiting::default();
        let on_removal = |ticket| Waiter {
            on_removal: true,
            ..waiter(ticket, ticket)
        };
        waiting.add(0, b"k", waiter(1, 1));
        assert!(!waiting.any_on_removal(0, b"k"));
        // A command that names a key twice.
        waiting.add(0, b"k", on_removal(2));
        waiting.add(0, b"k", on_removal(2));
        assert!(waiting.any_on_removal(0, b"k"));
        assert_eq!(waiting.keys(), (1, 1));
        waiting.remove(0, b"k", 2);
        waiting.remove(0, b"k", 2);
        assert!(!waiting.any_on_removal(0, b"k"));
        assert_eq!(waiting.keys(), (1, 0));
    }

    #[test]
    fn what_was_missing_to_a_watcher_may_go() {
        let mut watched = Watched::default();
        assert!(watched.add(0, b"a", 1, true));
        assert!(watched.add(0, b"a", 2, false));
        watched.key_went(0, b"a");
        assert_eq!(watched.take_dirty(), [2]);
        // Now that it is gone, one that goes again has been there in between.
        watched.key_went(0, b"a");
        assert_eq!(watched.take_dirty(), [1, 2]);
        assert!(watched.add(0, b"b", 1, true));
        watched.database_changed(0, |_| Became::Same);
        watched.database_changed(0, |key| match key == b"b" {
            true => Became::Missing,
            false => Became::Same,
        });
        assert!(!watched.has_dirty());
        watched.database_changed(0, |_| Became::Missing);
        assert_eq!(watched.take_dirty().len(), 3);
        assert!(watched.add(0, b"c", 3, true));
        watched.key_changed(0, b"c");
        assert_eq!(watched.take_dirty(), [3]);
    }

    #[test]
    fn watchers_learn_of_their_keys_only() {
        let mut watched = Watched::default();
        assert!(watched.add(0, b"a", 1, false));
        assert!(!watched.add(0, b"a", 1, false));
        assert!(watched.add(0, b"b", 2, false));
        watched.key_changed(0, b"c");
        assert!(!watched.has_dirty());
        watched.key_changed(0, b"a");
        watched.database_changed(0, |key| match key == b"b" {
            true => Became::Other,
            false => Became::Same,
        });
        assert_eq!(watched.take_dirty(), [1, 2]);
        watched.remove(0, b"a", 1);
        watched.remove(0, b"b", 2);
        assert!(watched.is_empty());
    }
}
