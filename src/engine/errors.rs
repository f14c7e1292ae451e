//! Every error text that a command can answer, in one file.
//!
//! Errors are variants; what a client reads of them is written here only. The prefix (`ERR`, `WRONGTYPE`, ...)
//! is the first word of the text and is what `errorstats` counts by.

use crate::keyspace::WrongType;
use std::borrow::Cow;

/// Why a command was refused or failed; `text()` is the reply without the leading `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CommandError {
    WrongType,
    Syntax,
    NotInteger,
    NotFloat,
    NanOrInfinity,
    IncrOverflow,
    DecrOverflow,
    OffsetOutOfRange,
    OutOfRange,
    NoSuchKey,
    NoAuth,
    NoPerm(String),
    WrongPass,
    OutOfMemory,
    Loading,
    SnapshotFailed,
    ExecAbort,
    InvalidDatabase,
    DatabaseOutOfRange,
    StringTooLong,
    InvalidExpire(String),
    WrongArity(String),
    /// Any other text, prefix included.
    Text(Cow<'static, str>),
}

impl CommandError {
    /// An error of the generic kind: the text with its prefix.
    pub fn text_owned(text: impl Into<String>) -> CommandError {
        CommandError::Text(Cow::Owned(text.into()))
    }
    /// A fixed text with its prefix.
    pub const fn fixed(text: &'static str) -> CommandError {
        CommandError::Text(Cow::Borrowed(text))
    }
    /// What the client reads, without the leading `-`.
    pub fn text(&self) -> Cow<'_, str> {
        let fixed = match self {
            CommandError::WrongType => {
                "WRONGTYPE Operation against a key holding the wrong kind of value"
            }
            CommandError::Syntax => "ERR syntax error",
            CommandError::NotInteger => "ERR value is not an integer or out of range",
            CommandError::NotFloat => "ERR value is not a valid float",
            CommandError::NanOrInfinity => "ERR increment would produce NaN or Infinity",
            CommandError::IncrOverflow => "ERR increment or decrement would overflow",
            CommandError::DecrOverflow => "ERR decrement would overflow",
            CommandError::OffsetOutOfRange => "ERR offset is out of range",
            CommandError::OutOfRange => "ERR index out of range",
            CommandError::NoSuchKey => "ERR no such key",
            CommandError::NoAuth => "NOAUTH Authentication required.",
            CommandError::WrongPass => {
                "WRONGPASS invalid username-password pair or user is disabled."
            }
            CommandError::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            CommandError::Loading => "LOADING Redis is loading the dataset in memory",
            CommandError::SnapshotFailed => {
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                 Commands that may modify the data set are disabled, because this instance is configured to report \
                 errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check \
                 the Redis logs for details about the RDB error."
            }
            CommandError::ExecAbort => {
                "EXECABORT Transaction discarded because of previous errors."
            }
            CommandError::InvalidDatabase => "ERR invalid DB index",
            CommandError::DatabaseOutOfRange => "ERR DB index is out of range",
            CommandError::StringTooLong => {
                "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
            }
            CommandError::InvalidExpire(command) => {
                return Cow::Owned(format!("ERR invalid expire time in '{command}' command"));
            }
            CommandError::WrongArity(command) => {
                return Cow::Owned(format!(
                    "ERR wrong number of arguments for '{command}' command"
                ));
            }
            CommandError::NoPerm(text) => return Cow::Borrowed(text),
            CommandError::Text(text) => return Cow::Borrowed(text),
        };
        Cow::Borrowed(fixed)
    }
}

impl From<WrongType> for CommandError {
    fn from(_: WrongType) -> CommandError {
        CommandError::WrongType
    }
}
