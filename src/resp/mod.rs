//! The protocol. In: bytes of a query buffer. Out: requests as ranges into it, and replies as bytes
//! in an output buffer.
//!
//! | file | what |
//! | --- | --- |
//! | [`parser`] | one resumable [`Parser`] per connection: bytes → spans, or "need more", or a protocol error |
//! | [`request`] | [`Args`], the spans of one request seen as arguments, and [`OwnedRequest`] for those that must outlive the buffer |
//! | [`output`] | [`OutputBuffer`], what waits to be written to one client |
//! | [`frame`] | [`PushFrame`], one message encoded once for all who get it |
//! | [`reply`] | [`Reply`], typed values spelled in RESP2 or RESP3; the one place that knows how |
//! | [`reader`] | a naive reader of values, for tests, the simulator and fuzzing |
//!
//! Invariants: nothing that comes from a socket can panic here (the lints below hold us to that), no
//! allocation is sized by a number from the wire alone, and the outcome of parsing does not depend
//! on how the stream was cut into reads.
//!
//! Mirrors the protocol parts of Redis's `networking.c`.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod frame;
pub mod output;
pub mod parser;
pub mod reader;
pub mod reply;
pub mod request;

pub use frame::PushFrame;
pub use output::OutputBuffer;
pub use parser::{Limits, Parsed, Parser, ProtocolError};
pub use reply::{Deferred, Reply};
pub use request::{Args, OwnedRequest, Span};

/// The dialect in which a client is answered; `HELLO` switches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What every connection starts with.
    #[default]
    Resp2,
    /// Typed maps, sets, doubles, pushes.
    Resp3,
}
