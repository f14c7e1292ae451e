//! Pure data structures, which know neither clients nor commands.
//!
//! In come bytes and elements, out come the same, found, ordered or counted. Each file states its
//! own invariants and which Redis file it mirrors. `unsafe` is allowed here, file by file.

pub mod dict;
