//! Values as bytes: what DUMP writes, RESTORE reads and RDB files are made of.
//!
//! In: a stored value, or bytes from anywhere. Out: the same the other way. [`rdb`] is a pure codec: it knows no file,
//! no socket and no command, and trusts nothing that it reads. Mirrors the object part of Redis's rdb.c.

pub mod rdb;
