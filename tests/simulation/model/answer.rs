//! What the model answers: values, and where chance decides, what is possible.

use super::Waiting;
use std::collections::{BTreeMap, BTreeSet};

/// What must be answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    /// A double in RESP3, a bulk string in RESP2.
    Score(f64),
    Null,
    NullArray,
    Array(Vec<Answer>),
    /// A map in RESP3, an array twice as long in RESP2.
    Map(Vec<(Answer, Answer)>),
    /// What was not asked for: a push in RESP3, an array in RESP2.
    Push(Vec<Answer>),
    /// An integer between two bounds.
    IntWithin(i64, i64),
    /// An array or set of exactly these bulk strings, in any order.
    Members(BTreeSet<Vec<u8>>),
    /// So many of these bulk strings, each once.
    Some(usize, BTreeSet<Vec<u8>>),
    /// So many of these bulk strings, perhaps repeatedly.
    Repeated(usize, BTreeSet<Vec<u8>>),
    /// An array of exactly these bulk strings, in any order; they may be equal, and come sorted here.
    Bag(Vec<Vec<u8>>),
    /// A whole scan of these pairs.
    ScanPairs(BTreeMap<Vec<u8>, Vec<u8>>),
    /// Exactly these pairs, in any order.
    Pairs(BTreeMap<Vec<u8>, Vec<u8>>),
    /// A map in RESP3, an array twice as long in RESP2, in which this field has this value.
    Holds(&'static str, Vec<u8>),
    /// One of these bulk strings; null if there are none.
    OneOf(BTreeSet<Vec<u8>>),
    /// Any of these.
    Either(Vec<Answer>),
    /// A cursor and some of these keys; all of them if the cursor ends a scan that began at 0. A key comes twice only
    /// if the table shrinks meanwhile, which it does when the scan removes what has expired.
    Scan {
        keys: BTreeSet<Vec<u8>>,
        whole: bool,
        may_repeat: bool,
    },
    /// HELLO, in this protocol.
    Hello(i64),
    /// Several answers to one command (SUBSCRIBE).
    Several(Vec<Answer>),
    /// None yet: the command waits.
    Waits(Box<Waiting>),
}

pub(super) fn ok() -> Answer {
    Answer::Simple("OK".into())
}
pub(super) fn bulk(bytes: impl AsRef<[u8]>) -> Answer {
    Answer::Bulk(bytes.as_ref().to_vec())
}
pub(super) fn int(number: usize) -> Answer {
    Answer::Int(number as i64)
}
pub(super) fn optional(bytes: Option<&Vec<u8>>) -> Answer {
    bytes.map_or(Answer::Null, bulk)
}
pub(super) fn bulks<'a>(all: impl IntoIterator<Item = &'a Vec<u8>>) -> Answer {
    Answer::Array(all.into_iter().map(bulk).collect())
}
pub(super) fn invalid_expire(command: &str) -> String {
    format!("ERR invalid expire time in '{command}' command")
}
pub(super) fn wrong_arity(command: &str) -> String {
    format!("ERR wrong number of arguments for '{command}' command")
}
