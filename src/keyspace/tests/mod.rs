//! Tests of the keyspace as a whole; those of single files stand beside their code.

mod entries;
mod expiry;
mod model;
mod point_in_time;

use super::*;

/// A time in Unix ms.
pub(super) fn at(unix_ms: i64) -> Clock {
    Clock {
        unix_us: unix_ms * 1000,
        mono_ns: 0,
        keeps_expired: false,
    }
}

/// A keyspace with two databases and no thread.
pub(super) fn keyspace() -> Keyspace {
    Keyspace::new(2, [1, 2, 3, 4])
}

/// SET.
pub(super) fn set(db: &mut Db<'_>, key: &[u8], value: &[u8], expiry: Expiry) {
    match db.entry(key) {
        KeyEntry::Occupied(mut occupied) => occupied.set(NewValue::String(value), expiry),
        KeyEntry::Vacant(vacant) => vacant.insert(NewValue::String(value), expiry),
    }
    db.signal_modified(EventClass::String, "set", key);
}

/// GET.
pub(super) fn get(db: &mut Db<'_>, key: &[u8]) -> Option<Vec<u8>> {
    db.read(key).map(|entry| entry.string().unwrap().to_vec())
}
