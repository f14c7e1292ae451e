//! The commands: one file or folder per group, each with its handlers and its rows of the command table.
//!
//! In: a client and the arguments of one command. Out: a reply in the client's buffer, changes in the keyspace,
//! and effects on others. Whether a command may run, and all that follows from it, is one floor down: in
//! [`crate::engine`]. Mirrors the `t_*.c` files of Redis.

pub mod acks;
pub mod bitmaps;
pub mod client;
pub mod cluster;
pub mod command;
pub mod config;
pub mod connection;
pub mod debug;
pub mod docs;
pub mod dump;
pub mod functions;
pub mod geo;
pub mod hashes;
pub mod help;
pub mod hyperloglog;
pub mod info;
pub mod keys;
pub mod latency;
pub mod lists;
pub mod loop_command;
pub mod memory_command;
pub mod migrate;
pub mod modules;
pub mod monitor;
pub mod persistence;
pub mod pubsub;
pub mod replication;
pub mod scripting;
pub mod server_commands;
pub mod sets;
pub mod slowlog;
pub mod sort;
pub mod sorted_sets;
pub mod streams;
pub mod strings;
#[cfg(test)]
pub mod testing;
pub mod tracking;
pub mod transactions;
pub mod users;

use crate::engine::CommandSpec;

/// Every group's rows: what the server knows.
pub const GROUPS: &[&[CommandSpec]] = &[
    connection::COMMANDS,
    client::COMMANDS,
    command::COMMANDS,
    config::COMMANDS,
    keys::COMMANDS,
    strings::COMMANDS,
    lists::COMMANDS,
    hashes::COMMANDS,
    sets::COMMANDS,
    sorted_sets::COMMANDS,
    streams::COMMANDS,
    replication::COMMANDS,
    bitmaps::COMMANDS,
    hyperloglog::COMMANDS,
    geo::COMMANDS,
    sort::COMMANDS,
    dump::COMMANDS,
    migrate::COMMANDS,
    transactions::COMMANDS,
    pubsub::COMMANDS,
    scripting::COMMANDS,
    functions::COMMANDS,
    info::COMMANDS,
    slowlog::COMMANDS,
    latency::COMMANDS,
    loop_command::COMMANDS,
    memory_command::COMMANDS,
    monitor::COMMANDS,
    debug::COMMANDS,
    persistence::COMMANDS,
    server_commands::COMMANDS,
    users::COMMANDS,
    modules::COMMANDS,
    acks::COMMANDS,
    cluster::COMMANDS,
];
