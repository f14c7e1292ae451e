//! What runs commands: the state that they work on, the checks before them, the call, and all that follows from it.
//!
//! In: commands of connections, transactions, scripts and files, as rows of a table that [`crate::commands`] hands over.
//! Out: replies in the buffers of clients, changes in the keyspace, their effects in the journal. Nothing here knows a
//! command by what it does.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`process`] | a command from a connection, from its name to its answer |
//! | [`admit`] | whether it may run: every check, in Redis's order |
//! | [`call`] | running one, for whoever asks: statistics, slow log, propagation hang on it |
//! | [`propagate`] | what the journal is given of it |
//! | [`blocking`], [`acks`] | clients that wait: for keys, for the disk |
//! | [`cluster`] | what a node of a cluster serves, and what follows from what it decides |
//! | [`migration`] | keys on their way to other servers |
//! | [`transactions`] | the queue of MULTI, WATCH |
//! | [`script`], [`functions`] | running programs, and the commands that they call |
//! | [`keyspace_events`], [`notifications`], [`tracking`] | who is told of a change |
//! | [`pubsub`], [`monitor`] | messages and lines on their way to clients |
//! | [`eviction`], [`client_eviction`] | keeping within `maxmemory` and `maxmemory-clients` |
//! | [`persistence`] | what starts, feeds and ends a save, a rewrite, a load |
//! | [`detach`] | what is undone when a client goes |
//! | [`info`] | the text of INFO |
//! | `state.rs` | what all of it works on, and what handlers see |
//! | `spec.rs`, `table.rs`, [`keyspecs`] | what a command is, where it is found, where its keys are |
//! | `errors.rs`, [`parse`] | errors and arguments that commands share |
//!
//! Mirrors `call()` and `processCommand()` of Redis's server.c and what they lead to.

pub mod acks;
pub mod acl_file;
pub mod admit;
pub mod blocking;
pub mod budgets;
pub mod call;
pub mod client_eviction;
pub mod client_line;
pub mod cluster;
pub mod detach;
mod errors;
pub mod eviction;
pub mod functions;
pub mod info;
pub mod keyspace_events;
pub mod keyspecs;
pub mod migration;
pub mod monitor;
pub mod notifications;
pub mod parse;
pub mod permissions;
pub mod permitted;
pub mod persistence;
pub mod process;
pub mod propagate;
pub mod pubsub;
pub mod replication;
pub mod script;
mod spec;
mod state;
mod table;
pub mod tracking;
pub mod transactions;
mod unkept;

pub use errors::{CommandError, shown, shown_cut};
pub use process::Outcome;
pub use spec::*;
pub use state::*;
pub use table::{Command, CommandId, CommandTable};
