//! The keyspace: databases with expiry and eviction, and the signal of each change.
//!
//! In: keys and values from command handlers. Out: values by reference, and the events of what changed.
//! A handler gets a [`Db`]: one database and what all databases share. It signals each change with
//! [`Db::signal_modified`], one call for the dirty counter, watchers, blocked clients, tracking and notifications; values
//! change through other calls, so that it is for the handler to call it, and for the tests of its group to show that it
//! does. Keys that go by themselves (expired, evicted, flushed) are signalled here.
//!
//! | file | what it is for | mirrors |
//! | --- | --- | --- |
//! | `entry.rs`, `layout.rs`, `object.rs` | a key with its value in one allocation | object.c |
//! | `table.rs` | the owner of entries: all of them, and the index of those with an expiry | kvstore.c, db.c |
//! | `access.rs` | LRU and LFU clocks | evict.c |
//! | `keyspace.rs` | all databases, and what goes from one to another | db.c |
//! | `database.rs`, `key_entry.rs` | one database as a command sees it; a key's place in it | db.c |
//! | `slots.rs` | which keys are in which slot of a cluster | kvstore.c |
//! | `sizes.rs` | how many keys have what size | db.c |
//! | `encoded.rs` | what that makes of entries | |
//! | `point_in_time.rs` | all databases as they are at one moment, read while commands go on | rdb.c |
//! | `long_strings.rs` | long strings that are shared with a save, and who waits to change one | rdb.c |
//! | `events.rs` | keyspace events: what changed | notify.c |
//! | `waiting.rs` | who waits for a key, who watches one | blocked.c, multi.c |
//! | `moving.rs` | keys on their way to another server | cluster.c |
//! | `expire.rs`, `evict.rs`, `lazyfree.rs` | keys that go by themselves, and where large values go | expire.c, evict.c, lazyfree.c |
//! | `field_expiry.rs` | fields of hashes that go by themselves | t_hash.c |
//!
//! Invariants: an expired key is never seen by a command; a key has an expiry exactly when the table's index of
//! volatile keys has it; no operation but those documented as O(N) does unbounded work.

mod access;
mod clock;
mod database;
mod digest;
mod encoded;
mod entry;
mod events;
mod evict;
mod expire;
mod field_expiry;
mod key_entry;
#[allow(clippy::module_inception)]
mod keyspace;
mod layout;
mod lazyfree;
mod long_strings;
mod moving;
mod object;
mod point_in_time;
mod sizes;
mod slots;
mod table;
#[cfg(test)]
mod tests;
mod value;
mod waiting;

pub use access::AccessPolicy;
pub use clock::Clock;
pub use database::Db;
pub use digest::{Digest, digest_of};
pub use encoded::{Deferred, Encoded, Encoder, FieldsPart, Inside, Position};
pub use entry::{EMBED_MAX, Entry};
pub use events::{EventClass, KeyspaceEvent, interest};
pub use expire::ExpireCycle;
pub use field_expiry::FieldsExpired;
pub use key_entry::{EntryRef, KeyEntry, OccupiedEntry, VacantEntry};
pub use keyspace::{Free, Keyspace, KeyspaceSettings, KeyspaceStats, TransferError};
pub use point_in_time::{Change, DatabaseSize, Wish};
pub use sizes::Sizes;
pub use value::{Expiry, NewValue, Stored, Type, Value};
pub use waiting::Waiter;

/// The value at a key is not of the type that the command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;
