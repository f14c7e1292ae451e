//! gyre: a Redis-compatible data-structure server that is one event loop.
//!
//! Bytes take one way through the server and never turn back:
//! socket → query buffer → request → command → keyspace → reply buffer → socket.
//! Effects of writes take one other way: engine → journal → append-only file.
//!
//! The modules, by floor; a module uses only those on its own or lower floors (`tests/tidy.rs` holds it to that):
//!
//! | floor | module | what lives there |
//! | --- | --- | --- |
//! | 6 | [`server`] | owns every module below and wires one turn of the loop |
//! | 5 | [`commands`] | a file or folder per command group: rows of the command table, and handlers |
//! | 4 | [`engine`] | what runs commands: state, checks, `call`, propagation, blocking, scripts, saving |
//! | 3 | [`observe`] | counters, slow log, latency histograms, the latency monitor |
//! | 3 | [`messaging`] | Pub/Sub, notifications, client-side caching, MONITOR |
//! | 3 | [`scripting`] | Lua: the interpreter, its libraries, functions |
//! | 3 | [`persistence`] | values and snapshots as bytes: RDB, the append-only file, loading |
//! | 3 | [`cluster`] | a node of a cluster: the other nodes, who holds which slot, the messages of the bus |
//! | 3 | [`replication`] | the stream of effects as replicas get it, what is known of them and of the link to a primary |
//! | 2 | [`keyspace`] | databases, expiry, eviction, the signal of a change |
//! | 2 | [`clients`] | what is known of each connected client |
//! | 2 | [`journal`] | the one stream of write effects |
//! | 2 | [`config`] | the table of directives, redis.conf reading and rewriting |
//! | 1 | [`acl`] | users and what they may do: rules, selectors, the file of users, the log |
//! | 1 | [`event_loop`] | the reactor and the seam to everything that is not deterministic |
//! | 1 | [`net`] | query buffers of a connection, and the bounds of a turn |
//! | 1 | [`resp`] | the protocol: incremental parser and reply writer |
//! | 1 | [`structures`] | pure data structures |
//! | 0 | [`system`] | system calls, clock, log, crash report, numbers, globs |
#![deny(unsafe_code)]

pub mod acl;
pub mod clients;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod engine;
pub mod event_loop;
pub mod journal;
pub mod keyspace;
pub mod messaging;
pub mod net;
pub mod observe;
pub mod persistence;
pub mod replication;
pub mod resp;
pub mod scripting;
pub mod server;
pub mod structures;
pub mod system;

/// The version that `INFO` and `HELLO` report as Redis's, because clients switch features on by it.
pub const REDIS_VERSION: &str = "8.0.6";
/// gyre's own version.
pub const GYRE_VERSION: &str = env!("CARGO_PKG_VERSION");
