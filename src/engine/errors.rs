//! Why commands are refused or fail, and the texts that clients read of it.
//!
//! Errors are variants, and the texts that several commands answer with are written here. A text that belongs to one
//! command alone stands with its handler, in [`CommandError::Text`]. The prefix (`ERR`, `WRONGTYPE`, ...)
//! is the first word of the text and is what `errorstats` counts by.

use crate::keyspace::WrongType;
use crate::resp::Args;
use std::borrow::Cow;

/// Why a command was refused or failed; `bytes()` is the reply without the leading `-`.
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
    DatabaseOutOfRange,
    StringTooLong,
    InvalidExpire(String),
    WrongArity(String),
    /// A node of a cluster does not run the command: the text, prefix included.
    NotServed(Cow<'static, str>),
    /// Any other text, prefix included.
    Text(Cow<'static, str>),
    /// Any other text with bytes of a client in it, which need not be UTF-8; prefix included.
    Bytes(Vec<u8>),
}

/// Bytes that an error tells of one argument where its length is bounded.
const SHOWN_MAX: usize = 128;

/// An argument as errors show it: as Redis, whose texts are C strings, up to the first zero byte.
pub fn shown(arg: &[u8]) -> &[u8] {
    let end = memchr::memchr(0, arg).unwrap_or(arg.len());
    arg.get(..end).unwrap_or(arg)
}

/// An argument as [`shown`] gives it, cut after 128 bytes.
pub fn shown_cut(arg: &[u8]) -> &[u8] {
    let arg = shown(arg);
    arg.get(..SHOWN_MAX).unwrap_or(arg)
}

impl CommandError {
    /// A write where there are fewer replicas than `min-replicas-to-write` asks for.
    pub const NO_REPLICAS: CommandError =
        CommandError::fixed("NOREPLICAS Not enough good replicas to write.");
    /// A write on a replica.
    pub const READ_ONLY: CommandError =
        CommandError::fixed("READONLY You can't write against a read only replica.");
    /// Data that may be old, where nobody is to be told of them.
    pub const PRIMARY_DOWN: CommandError = CommandError::fixed(
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    );
    /// An error of the generic kind: the text with its prefix.
    pub fn text_owned(text: impl Into<String>) -> CommandError {
        CommandError::Text(Cow::Owned(text.into()))
    }
    /// A fixed text with its prefix.
    pub const fn fixed(text: &'static str) -> CommandError {
        CommandError::Text(Cow::Borrowed(text))
    }
    /// A text with what a client sent in it, byte for byte, put together from its parts; prefix included.
    pub fn of_parts(parts: &[&[u8]]) -> CommandError {
        CommandError::Bytes(parts.concat())
    }
    /// A text that shows one argument, of any length.
    pub fn showing(before: &str, arg: &[u8], after: &str) -> CommandError {
        CommandError::of_parts(&[before.as_bytes(), shown(arg), after.as_bytes()])
    }
    /// What a container command answers to arguments that fit none of its forms.
    pub fn subcommand_syntax(args: Args<'_>) -> CommandError {
        CommandError::of_parts(&[
            b"ERR unknown subcommand or wrong number of arguments for '",
            shown_cut(args.at(1)),
            b"'. Try ",
            &args.at(0).to_ascii_uppercase(),
            b" HELP.",
        ])
    }
    /// What the client reads, without the leading `-`.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            CommandError::Bytes(bytes) => Cow::Borrowed(bytes),
            other => match other.text() {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
        }
    }
    /// The error's bytes as text, for those who can use nothing else.
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
            CommandError::NotServed(text) | CommandError::Text(text) => return Cow::Borrowed(text),
            CommandError::Bytes(bytes) => return String::from_utf8_lossy(bytes),
        };
        Cow::Borrowed(fixed)
    }
}

impl From<WrongType> for CommandError {
    fn from(_: WrongType) -> CommandError {
        CommandError::WrongType
    }
}
