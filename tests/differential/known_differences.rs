//! The differences that are meant, each with its reason; docs/compatibility.md tells them to users.

use super::compare::show;
use super::grammar::Command;
use gyre::resp::reader::Value;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// One of them.
pub struct Explained {
    /// Why.
    pub reason: &'static str,
    /// Whether this is it: the command, our reply, theirs.
    pub is: fn(&Command, &Value, &Value) -> bool,
}

/// All of them.
pub const EXPLAINED: &[Explained] = &[
    Explained {
        reason: "doubles are written as shortly as they can be read back; Redis misses that for some",
        is: |_, ours, theirs| same_numbers(ours, theirs),
    },
    Explained {
        reason: "a distance is always a number; Redis has none for some places on opposite sides of the earth",
        is: |command, _, theirs| {
            command.words[0].to_ascii_uppercase().starts_with(b"GEO")
                && (show(theirs).contains("nan")
                    || show(theirs).contains("\"-922337203685477.5808\""))
        },
    },
    Explained {
        reason: "COMMAND GETKEYS wants the number of keys spelled as the command does; Redis takes what atoi makes of it",
        is: |command, ours, _| {
            is(command, "COMMAND")
                && (is_error(ours, "ERR Invalid arguments specified for command")
                    || ours.items().is_some_and(<[Value]>::is_empty))
        },
    },
    Explained {
        reason: "the text of a library's error is UTF-8: a byte that is none is replaced in it",
        is: |command, ours, _| {
            (is(command, "EVAL") || command.words[0].to_ascii_uppercase().starts_with(b"EVAL"))
                && show(ours).contains("\\xef\\xbf\\xbd")
        },
    },
    Explained {
        reason: "Redis may find a number out of range in SORT because one of an earlier command was",
        is: |command, ours, theirs| {
            (is(command, "SORT") || is(command, "SORT_RO"))
                && !is_error(ours, "")
                && is_error(
                    theirs,
                    "ERR One or more scores can't be converted into double",
                )
        },
    },
    Explained {
        reason: "MEMORY USAGE does not count a key that has expired and is not removed yet",
        is: |command, ours, _| {
            is(command, "MEMORY") && matches!(ours, Value::Null | Value::NullBulk)
        },
    },
    Explained {
        reason: "small integers count as shared wherever they come from; those that COPY or RESTORE made do not in Redis",
        is: |command, ours, theirs| {
            is(command, "OBJECT")
                && *ours == Value::Integer(i64::from(i32::MAX))
                && *theirs == Value::Integer(1)
        },
    },
];

fn is(command: &Command, name: &str) -> bool {
    command.words[0].eq_ignore_ascii_case(name.as_bytes())
}

fn is_error(value: &Value, start: &str) -> bool {
    matches!(value, Value::Error(text) if text.starts_with(start.as_bytes()))
}

/// Whether two replies differ in the spelling of doubles alone.
pub fn same_numbers(ours: &Value, theirs: &Value) -> bool {
    let equal = |a: &[u8], b: &[u8]| {
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<f64>().ok();
        a == b || number(a).is_some_and(|a| Some(a) == number(b))
    };
    match (ours, theirs) {
        (Value::Double(a), Value::Double(b)) => equal(a.as_bytes(), b.as_bytes()),
        (Value::Bulk(a), Value::Bulk(b)) => equal(a, b),
        (Value::Array(a), Value::Array(b)) | (Value::Set(a), Value::Set(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_numbers(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && (a.iter().zip(b))
                    .all(|((a, x), (b, y))| same_numbers(a, b) && same_numbers(x, y))
        }
        (a, b) => a == b,
    }
}

/// Whether a command or a difference is to be passed over for now: its text has one of the words of
/// `GYRE_DIFF_WITHOUT`, in any case; they are separated by `|`.
pub fn is_passed_over(text: &str) -> bool {
    static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    let words = WORDS.get_or_init(|| {
        let words = std::env::var("GYRE_DIFF_WITHOUT").unwrap_or_default();
        let words = words.split('|').filter(|word| !word.is_empty());
        words.map(str::to_uppercase).collect()
    });
    if words.is_empty() {
        return false;
    }
    let text = text.to_uppercase();
    words.iter().any(|word| text.contains(word.as_str()))
}

/// The reason for a difference, if it has one.
pub fn reason(command: &Command, ours: &Value, theirs: &Value) -> Option<&'static str> {
    let known = (EXPLAINED.iter()).find(|known| (known.is)(command, ours, theirs))?;
    if is_error(ours, "") != is_error(theirs, "") {
        ERRORS_DIFFER.store(true, Relaxed);
    }
    Some(known.reason)
}

/// Set when one of the servers has answered an error and the other has not, for a known reason: then the figures about
/// errors differ.
pub static ERRORS_DIFFER: AtomicBool = AtomicBool::new(false);
