//! Keys that clients have given a time to on a writable replica. No primary knows of them, so that this server removes them
//! itself when their time is over. Mirrors `slaveKeysWithExpire` of Redis's expire.c.

use super::State;
use crate::engine::keyspecs::keys_of;
use crate::engine::{CommandId, flags};
use crate::keyspace::Clock;
use crate::resp::Args;
use std::collections::BTreeSet;

/// Keys that are looked at in one cron.
const KEYS_PER_CRON: usize = 4096;

/// The keys, with their databases, in the order of their bytes; and where the last look at them has ended.
#[derive(Debug, Default)]
pub struct OwnKeys {
    keys: BTreeSet<(usize, Vec<u8>)>,
    looked_at: Option<(usize, Vec<u8>)>,
}

impl OwnKeys {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
    /// How many there are (`slave_expires_tracked_keys`).
    pub fn len(&self) -> usize {
        self.keys.len()
    }
    /// Forgets all of them: the data are others.
    pub fn clear(&mut self) {
        *self = OwnKeys::default();
    }
}

/// A client of a writable replica has run a command that changed something: which of its keys have a time now.
#[cold]
pub fn note(state: &mut State, id: CommandId, db: usize, args: Args<'_>) {
    let spec = state.table.get(id).spec;
    if spec.flags & flags::WRITE == 0 {
        return;
    }
    let now = state.now;
    for (at, _) in keys_of(spec, args).unwrap_or_default() {
        let Some(key) = args.get(at) else { continue };
        let has_time = state.keyspace.db(db, now, true).has_expiry(key);
        let named = (db, key.to_vec());
        match has_time {
            true => state.own_keys.keys.insert(named),
            false => state.own_keys.keys.remove(&named),
        };
    }
}

/// Removes those whose time is over: some of them at a time.
pub fn expire(state: &mut State) {
    if state.own_keys.is_empty() {
        return;
    }
    if !state.replication.is_replica() {
        state.own_keys.clear();
        return;
    }
    let from = state.own_keys.looked_at.take();
    let keys = &state.own_keys.keys;
    let next = match &from {
        Some(from) => keys.range(from.clone()..),
        None => keys.range(..),
    };
    let mut batch: Vec<(usize, Vec<u8>)> = next.take(KEYS_PER_CRON + 1).cloned().collect();
    if batch.len() > KEYS_PER_CRON {
        state.own_keys.looked_at = batch.pop();
    }
    let now = Clock {
        keeps_expired: false,
        ..state.now
    };
    for (db, key) in batch {
        let mut place = state.keyspace.db(db, now, true);
        // What has gone, and what lives for ever now, is no more of these.
        if place.expire_own(&key) || !place.has_expiry(&key) {
            state.own_keys.keys.remove(&(db, key));
        }
    }
}
