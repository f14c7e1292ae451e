//! What is known, while the loop's recorder runs, of a client's commands that ran but whose replies are not written.
//!
//! A *served batch* is the commands of one client that ran in one turn. They were ready together (poll told of their bytes)
//! and their replies go out together, so the client waits for them together. Mirrors nothing in Redis.

use crate::event_loop::Work;

/// The commands of one client that ran in one turn; times are monotonic ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServedBatch {
    /// Poll told of the bytes.
    pub ready_ns: u64,
    /// At most so long had the bytes lain in the socket before poll was asked again, ns.
    pub unseen_ns: u64,
    /// The first command began.
    pub began_ns: u64,
    /// The last command ended.
    pub ended_ns: u64,
    /// Commands; 0: there is no batch, and only `ready_ns` and `left_behind` mean something.
    pub commands: u32,
    /// The turn in which they ran.
    pub turn: u64,
    /// All replies are written when the session's `bytes_out` has come so far.
    pub reply_end: u64,
    /// The longest of its own commands.
    pub longest: Work,
    /// The longest command of another client in the turn, kept when the replies did not go out in it.
    pub blocked_by: Option<Work>,
    /// A bound of the turn left requests behind: they have been ready since `ready_ns`.
    pub left_behind: bool,
}
