//! Data that outlives the process: snapshots, the append-only file, and the values in both.
//!
//! In: the keyspace and the journal, or files from anywhere. Out: files, or data in the keyspace. No byte that is read is
//! trusted. What runs commands, forks and answers clients is above this module.
//!
//! | file | what it is for | mirrors |
//! | --- | --- | --- |
//! | [`rdb`] | values and whole snapshots as bytes, both ways | rdb.c |
//! | [`snapshot`] | a snapshot on the disk, or the old one | `rdbSave` |
//! | [`loading`] | a snapshot into the keyspace, a slice at a time | `rdbLoad` |
//! | [`receive`] | a snapshot that comes over a network: to a file, or read as it comes | `readSyncBulkPayload` |
//! | [`aof`] | the append-only file | aof.c |
//! | [`status`] | what is known of saving and loading | `redisServer` |
//! | [`check`] | redis-check-rdb and redis-check-aof | |

pub mod aof;
pub mod check;
mod chunks;
pub mod forkless;
pub mod loading;
pub mod rdb;
mod read_ahead;
pub mod read_stream;
pub mod receive;
pub mod snapshot;
pub mod status;
