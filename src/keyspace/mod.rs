//! The keyspace: databases with expiry and eviction, and the one door for changes.
//!
//! In: keys and values from command handlers. Out: values by reference, and the trail of what changed.
//! A handler gets a [`Db`]: one database and what all databases share. Every change goes through
//! [`Db::touch`] (or [`Occupied`]/[`Vacant`], which call for it), so that no command can forget the dirty
//! counter, watchers, blocked clients, tracking, notifications or the journal.
//!
//! Mirrors `db.c`, `expire.c`, `evict.c`, `object.c` and `lazyfree.c` of Redis.

mod clock;
mod database;
mod entry;

pub use clock::Clock;
pub use database::*;
pub use entry::*;

/// The value at a key is not of the type that the command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;
