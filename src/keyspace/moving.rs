//! Keys that are on their way to another server, and whether something has changed them since they were sent.
//!
//! In: keys when they are sent and when that has ended, and each change as it is signalled. Out: whether a key is on its
//! way, so that its writers are held; whether it changed all the same (a program that did not name it, FLUSHALL). What
//! goes by its own time is no change: what was sent has the same time.

use std::collections::HashMap;

/// Keys on their way, by database; true: changed since.
#[derive(Debug, Default)]
pub(super) struct Moving(HashMap<usize, HashMap<Vec<u8>, bool>>);

impl Moving {
    /// A key is sent as it is now.
    pub(super) fn begin(&mut self, db: usize, key: &[u8]) {
        self.0.entry(db).or_default().insert(key.to_vec(), false);
    }
    /// A key is on its way no more; whether it has changed meanwhile.
    pub(super) fn end(&mut self, db: usize, key: &[u8]) -> bool {
        let Some(keys) = self.0.get_mut(&db) else {
            return false;
        };
        let changed = keys.remove(key);
        if keys.is_empty() {
            self.0.remove(&db);
        }
        changed.unwrap_or(false)
    }
    /// Whether a key is on its way.
    pub(super) fn has(&self, db: usize, key: &[u8]) -> bool {
        self.0.get(&db).is_some_and(|keys| keys.contains_key(key))
    }
    /// Whether no key is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// A key has changed.
    pub(super) fn key_changed(&mut self, db: usize, key: &[u8]) {
        if let Some(changed) = self.0.get_mut(&db).and_then(|keys| keys.get_mut(key)) {
            *changed = true;
        }
    }
    /// A whole database is emptied or replaced.
    pub(super) fn database_changed(&mut self, db: usize) {
        let keys = self.0.get_mut(&db).into_iter();
        keys.flat_map(HashMap::values_mut)
            .for_each(|changed| *changed = true);
    }
}
