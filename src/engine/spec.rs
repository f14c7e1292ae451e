//! What a command *is*, said once.
//!
//! A [`CommandSpec`] is one declarative row per command and subcommand. `COMMAND`, `COMMAND DOCS`, HELP,
//! ACL categories, key extraction, `docs/compatibility.md` and dispatch all read these rows. What a command does with
//! its arguments is its handler's: that the row's arguments are those that the handler reads is shown by tests only. The
//! rows stand beside their handlers, in the file of their group;
//! [`super::table`] gathers them. Mirrors `src/commands/*.json` and `struct redisCommand` of Redis.

use super::{Context, ServerContext};
use crate::engine::CommandError;
use crate::resp::Args;

/// A handler that sees one database and its own session: nearly every command.
pub type DatabaseHandler = fn(&mut Context<'_>, Args<'_>) -> Result<(), CommandError>;
/// A handler that sees the whole [`super::State`]: the administrative commands.
pub type ServerHandler = fn(&mut ServerContext<'_>, Args<'_>) -> Result<(), CommandError>;

/// How a command is run. `args` always begins with the command's name (for a subcommand: container, then name).
#[derive(Clone, Copy)]
pub enum Handler {
    /// Runs with disjoint borrows of one database, session and reply.
    Database(DatabaseHandler),
    /// Runs with the whole state.
    Server(ServerHandler),
    /// A container: only its subcommands run.
    Container,
}

/// Command flags, as `COMMAND INFO` names them. Combine with `|`.
pub mod flags {
    /// May change the keyspace.
    pub const WRITE: u32 = 1 << 0;
    /// Reads the keyspace, never changes it.
    pub const READONLY: u32 = 1 << 1;
    /// May grow memory: refused when over `maxmemory`.
    pub const DENYOOM: u32 = 1 << 2;
    /// Administrative.
    pub const ADMIN: u32 = 1 << 3;
    /// Publish/subscribe.
    pub const PUBSUB: u32 = 1 << 4;
    /// Not to be called from scripts.
    pub const NOSCRIPT: u32 = 1 << 5;
    /// May block the client.
    pub const BLOCKING: u32 = 1 << 6;
    /// Allowed while the dataset loads.
    pub const LOADING: u32 = 1 << 7;
    /// Allowed on a replica with stale data.
    pub const STALE: u32 = 1 << 8;
    /// Not shown in MONITOR.
    pub const SKIP_MONITOR: u32 = 1 << 9;
    /// Not recorded in the slow log (may carry secrets or be pure noise).
    pub const SKIP_SLOWLOG: u32 = 1 << 10;
    /// `ASKING` implied.
    pub const ASKING: u32 = 1 << 11;
    /// O(1) or O(log n): shown as `fast`.
    pub const FAST: u32 = 1 << 12;
    /// Allowed before authentication.
    pub const NO_AUTH: u32 = 1 << 13;
    /// May replicate though it is not a write (`EVAL`, `PUBLISH`).
    pub const MAY_REPLICATE: u32 = 1 << 14;
    /// Not allowed inside MULTI.
    pub const NO_MULTI: u32 = 1 << 15;
    /// Keys can only be found by the command's own function.
    pub const MOVABLE_KEYS: u32 = 1 << 16;
    /// Allowed while a script is busy.
    pub const ALLOW_BUSY: u32 = 1 << 17;
    /// It meets keys that it does not name; those that expire under its eyes are no unit.
    pub const TOUCHES_ARBITRARY_KEYS: u32 = 1 << 18;
    /// Not to run inside an asynchronously loading replica.
    pub const NO_ASYNC_LOADING: u32 = 1 << 19;
    /// Keys are not mandatory (SCAN-like, EVAL with 0 keys).
    pub const NO_MANDATORY_KEYS: u32 = 1 << 20;
    /// Protected: gated by `enable-debug-command` and its like.
    pub const PROTECTED: u32 = 1 << 21;
    /// Runs at once between MULTI and EXEC instead of being queued.
    pub const RUNS_IN_MULTI: u32 = 1 << 23;
    /// Runs what was queued: what is asked of those commands is asked of it (EXEC).
    pub const RUNS_QUEUE: u32 = 1 << 24;
    /// Runs a program, whose flags tell what the command is (EVAL, FCALL).
    pub const RUNS_SCRIPT: u32 = 1 << 25;
    /// The names that `COMMAND INFO` prints, in the order that Redis prints them; it hides the others on purpose.
    pub const NAMES: &[(u32, &str)] = &[
        (WRITE, "write"),
        (READONLY, "readonly"),
        (DENYOOM, "denyoom"),
        (ADMIN, "admin"),
        (PUBSUB, "pubsub"),
        (NOSCRIPT, "noscript"),
        (BLOCKING, "blocking"),
        (LOADING, "loading"),
        (STALE, "stale"),
        (SKIP_MONITOR, "skip_monitor"),
        (SKIP_SLOWLOG, "skip_slowlog"),
        (ASKING, "asking"),
        (FAST, "fast"),
        (NO_AUTH, "no_auth"),
        (NO_MANDATORY_KEYS, "no_mandatory_keys"),
        (NO_ASYNC_LOADING, "no_async_loading"),
        (NO_MULTI, "no_multi"),
        (MOVABLE_KEYS, "movablekeys"),
        (ALLOW_BUSY, "allow_busy"),
    ];
}

/// ACL categories (`ACL CAT`). A command's full set is its explicit ones plus those that follow from flags and group.
pub mod acl {
    /// Writing or reading keys, databases or their metadata in a type-agnostic way.
    pub const KEYSPACE: u32 = 1 << 0;
    /// Reads values or metadata of keys.
    pub const READ: u32 = 1 << 1;
    /// Writes values or metadata of keys.
    pub const WRITE: u32 = 1 << 2;
    /// Data type: sets.
    pub const SET: u32 = 1 << 3;
    /// Data type: sorted sets.
    pub const SORTEDSET: u32 = 1 << 4;
    /// Data type: lists.
    pub const LIST: u32 = 1 << 5;
    /// Data type: hashes.
    pub const HASH: u32 = 1 << 6;
    /// Data type: strings.
    pub const STRING: u32 = 1 << 7;
    /// Data type: bitmaps.
    pub const BITMAP: u32 = 1 << 8;
    /// Data type: HyperLogLog.
    pub const HYPERLOGLOG: u32 = 1 << 9;
    /// Data type: geo.
    pub const GEO: u32 = 1 << 10;
    /// Data type: streams.
    pub const STREAM: u32 = 1 << 11;
    /// Publish/subscribe.
    pub const PUBSUB: u32 = 1 << 12;
    /// Administrative.
    pub const ADMIN: u32 = 1 << 13;
    /// O(1) or O(log n).
    pub const FAST: u32 = 1 << 14;
    /// All that is not fast.
    pub const SLOW: u32 = 1 << 15;
    /// May block.
    pub const BLOCKING: u32 = 1 << 16;
    /// Worth a second thought.
    pub const DANGEROUS: u32 = 1 << 17;
    /// Commands about the connection itself.
    pub const CONNECTION: u32 = 1 << 18;
    /// WATCH, MULTI, EXEC and their like.
    pub const TRANSACTION: u32 = 1 << 19;
    /// Scripts and functions.
    pub const SCRIPTING: u32 = 1 << 20;
    /// Category names in Redis's order.
    pub const NAMES: &[(u32, &str)] = &[
        (KEYSPACE, "keyspace"),
        (READ, "read"),
        (WRITE, "write"),
        (SET, "set"),
        (SORTEDSET, "sortedset"),
        (LIST, "list"),
        (HASH, "hash"),
        (STRING, "string"),
        (BITMAP, "bitmap"),
        (HYPERLOGLOG, "hyperloglog"),
        (GEO, "geo"),
        (STREAM, "stream"),
        (PUBSUB, "pubsub"),
        (ADMIN, "admin"),
        (FAST, "fast"),
        (SLOW, "slow"),
        (BLOCKING, "blocking"),
        (DANGEROUS, "dangerous"),
        (CONNECTION, "connection"),
        (TRANSACTION, "transaction"),
        (SCRIPTING, "scripting"),
    ];
}

/// Flags of a key specification, as `COMMAND INFO` names them.
pub mod key_flags {
    /// Read-write: reads the value (or its metadata) and changes it.
    pub const RW: u32 = 1 << 0;
    /// Read-only.
    pub const RO: u32 = 1 << 1;
    /// Overwrites without reading.
    pub const OW: u32 = 1 << 2;
    /// Removes.
    pub const RM: u32 = 1 << 3;
    /// Returns or uses the user data.
    pub const ACCESS: u32 = 1 << 4;
    /// Changes existing data.
    pub const UPDATE: u32 = 1 << 5;
    /// Adds data, changing none.
    pub const INSERT: u32 = 1 << 6;
    /// Deletes explicitly.
    pub const DELETE: u32 = 1 << 7;
    /// Not a key, but routed as one.
    pub const NOT_KEY: u32 = 1 << 8;
    /// The spec may miss keys.
    pub const INCOMPLETE: u32 = 1 << 9;
    /// Flags depend on the arguments.
    pub const VARIABLE_FLAGS: u32 = 1 << 10;
    /// Names in Redis's order.
    pub const NAMES: &[(u32, &str)] = &[
        (RO, "RO"),
        (RW, "RW"),
        (OW, "OW"),
        (RM, "RM"),
        (ACCESS, "access"),
        (UPDATE, "update"),
        (INSERT, "insert"),
        (DELETE, "delete"),
        (NOT_KEY, "not_key"),
        (INCOMPLETE, "incomplete"),
        (VARIABLE_FLAGS, "variable_flags"),
    ];
}

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginSearch {
    /// At this argument (0 is the command's name).
    Index(i32),
    /// After this keyword, looked for from `start_from` (negative: backwards from the end).
    Keyword {
        /// The keyword, upper case.
        keyword: &'static str,
        /// First argument to look at.
        start_from: i32,
    },
    /// Only the command's own function knows.
    Unknown,
}

/// Which arguments from there on are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindKeys {
    /// From the beginning to `last` (relative; negative counts from the end), each `step`-th; `limit` divides the rest.
    Range {
        /// Relative index of the last key; negative counts from the end.
        last: i32,
        /// Distance between keys.
        step: i32,
        /// How much of the rest is keys, where `last` is -1: with 0 or 1 all of it, with 2 half of it, and so on.
        limit: i32,
    },
    /// An argument says how many keys follow.
    KeyNum {
        /// Relative index of the count.
        key_num: i32,
        /// Relative index of the first key.
        first: i32,
        /// Distance between keys.
        step: i32,
    },
    /// Only the command's own function knows.
    Unknown,
}

/// One key specification of a command (redis.io: "Command key specifications").
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Bits of [`key_flags`].
    pub flags: u32,
    /// Where to begin.
    pub begin: BeginSearch,
    /// What to take.
    pub find: FindKeys,
    /// A note for readers, or "".
    pub notes: &'static str,
}

impl KeySpec {
    /// One key at argument 1.
    pub const fn first(flags: u32) -> KeySpec {
        KeySpec::range(flags, 1, 0, 1)
    }
    /// Keys from argument `from` to `last` (relative to `from`; -1: to the end), each `step`-th.
    pub const fn range(flags: u32, from: i32, last: i32, step: i32) -> KeySpec {
        KeySpec {
            flags,
            begin: BeginSearch::Index(from),
            find: FindKeys::Range {
                last,
                step,
                limit: 0,
            },
            notes: "",
        }
    }
}

/// Type of a documented argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ArgumentType {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl ArgumentType {
    /// The name that `COMMAND DOCS` prints.
    pub const fn name(self) -> &'static str {
        match self {
            ArgumentType::String => "string",
            ArgumentType::Integer => "integer",
            ArgumentType::Double => "double",
            ArgumentType::Key => "key",
            ArgumentType::Pattern => "pattern",
            ArgumentType::UnixTime => "unix-time",
            ArgumentType::PureToken => "pure-token",
            ArgumentType::OneOf => "oneof",
            ArgumentType::Block => "block",
        }
    }
}

/// One documented argument (`COMMAND DOCS`).
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Name.
    pub name: &'static str,
    /// What stands for it in a syntax line, where that is not its name; or "".
    pub display: &'static str,
    /// Type.
    pub kind: ArgumentType,
    /// The token before it, or "".
    pub token: &'static str,
    /// Index of its key specification, or -1.
    pub key_spec: i8,
    /// May be left out.
    pub optional: bool,
    /// May be repeated.
    pub multiple: bool,
    /// When repeated, the token is repeated too.
    pub multiple_token: bool,
    /// Since which version of Redis, or "" (since the command).
    pub since: &'static str,
    /// Version in which it was deprecated, or "".
    pub deprecated_since: &'static str,
    /// Members of a `oneof` or `block`.
    pub arguments: &'static [Argument],
}

impl Argument {
    /// An argument of a type.
    pub const fn new(name: &'static str, kind: ArgumentType) -> Argument {
        Argument {
            name,
            display: "",
            kind,
            token: "",
            key_spec: -1,
            optional: false,
            multiple: false,
            multiple_token: false,
            since: "",
            deprecated_since: "",
            arguments: &[],
        }
    }
    /// A key, by its key specification 0.
    pub const fn key(name: &'static str) -> Argument {
        Argument {
            key_spec: 0,
            ..Argument::new(name, ArgumentType::Key)
        }
    }
    /// A string.
    pub const fn string(name: &'static str) -> Argument {
        Argument::new(name, ArgumentType::String)
    }
    /// An integer.
    pub const fn integer(name: &'static str) -> Argument {
        Argument::new(name, ArgumentType::Integer)
    }
    /// A pattern.
    pub const fn pattern(name: &'static str) -> Argument {
        Argument::new(name, ArgumentType::Pattern)
    }
    /// A bare token.
    pub const fn token(name: &'static str, token: &'static str) -> Argument {
        Argument {
            token,
            ..Argument::new(name, ArgumentType::PureToken)
        }
    }
    /// One of several.
    pub const fn one_of(name: &'static str, arguments: &'static [Argument]) -> Argument {
        Argument {
            arguments,
            ..Argument::new(name, ArgumentType::OneOf)
        }
    }
    /// Several together.
    pub const fn block(name: &'static str, arguments: &'static [Argument]) -> Argument {
        Argument {
            arguments,
            ..Argument::new(name, ArgumentType::Block)
        }
    }
    /// This argument, optional.
    pub const fn optional(self) -> Argument {
        Argument {
            optional: true,
            ..self
        }
    }
    /// This argument, repeatable.
    pub const fn multiple(self) -> Argument {
        Argument {
            multiple: true,
            ..self
        }
    }
    /// This argument, after a token.
    pub const fn after(self, token: &'static str) -> Argument {
        Argument { token, ..self }
    }
    /// This argument, shown under another name.
    pub const fn shown_as(self, display: &'static str) -> Argument {
        Argument { display, ..self }
    }
    /// What stands for it in a syntax line.
    pub const fn display_text(&self) -> &'static str {
        if self.display.is_empty() {
            self.name
        } else {
            self.display
        }
    }
    /// This argument, with the version that deprecated it.
    pub const fn deprecated(self, deprecated_since: &'static str) -> Argument {
        Argument {
            deprecated_since,
            ..self
        }
    }
    /// This argument, with the version that brought it.
    pub const fn since(self, since: &'static str) -> Argument {
        Argument { since, ..self }
    }
}

/// Command groups, as `COMMAND DOCS` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    PubSub,
    Transactions,
    Connection,
    Server,
    Scripting,
    HyperLogLog,
    Cluster,
    Geo,
    Stream,
    Bitmap,
}

impl Group {
    /// The name that `COMMAND DOCS` prints.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::PubSub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::HyperLogLog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
        }
    }
}

/// Finds the keys of a command whose key specifications cannot: returns argument indexes with [`key_flags`].
pub type GetKeys = fn(Args<'_>) -> Result<Vec<(usize, u32)>, CommandError>;

/// Which arguments of a command are channels that it uses. Those of which it only tells (PUBSUB NUMSUB) are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// No argument is.
    None,
    /// The first is: a message is sent there.
    First,
    /// All are: the client will hear what is sent there.
    All,
    /// All are patterns of channels which the client will hear.
    Patterns,
    /// All are, or are patterns: the client will hear them no more, for which nobody needs leave.
    Left,
}

/// The databases that a command uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Databases {
    /// True if it uses the selected one, should it look at keys (which its categories say).
    pub uses_selected: bool,
    /// Those that it uses beside that one.
    pub others: OtherDatabases,
}

/// Databases that a command uses beside the selected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherDatabases {
    /// Those whose numbers are these arguments, mostly none.
    At(&'static [usize]),
    /// Those whose numbers stand behind this word, from this argument on.
    Behind(&'static str, usize),
    /// All that there are.
    All,
}

impl Databases {
    /// The selected one and no other, as of most commands.
    pub const SELECTED: Databases = Databases {
        uses_selected: true,
        others: OtherDatabases::At(&[]),
    };
    /// The selected one and others.
    pub const fn selected_and(others: OtherDatabases) -> Databases {
        Databases {
            uses_selected: true,
            others,
        }
    }
    /// These, and not the selected one.
    pub const fn only(others: OtherDatabases) -> Databases {
        Databases {
            uses_selected: false,
            others,
        }
    }
}

/// Looks in a call for an option by which it reads keys that no argument names: how it is refused to who may not read all keys.
pub type ReadsUnnamed = fn(Args<'_>) -> Option<CommandError>;

/// One command or subcommand. Write rows with `..CommandSpec::DEFAULT`.
#[derive(Clone, Copy)]
pub struct CommandSpec {
    /// Lower-case name; for a subcommand without its container.
    pub name: &'static str,
    /// One line of what it does.
    pub summary: &'static str,
    /// Version of Redis that brought it.
    pub since: &'static str,
    /// Big-O text.
    pub complexity: &'static str,
    /// Group of the documentation.
    pub group: Group,
    /// Number of arguments with the name; negative: at least so many. For subcommands the container counts too.
    pub arity: i32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Bits of [`acl`] beyond those that follow from flags.
    pub acl: u32,
    /// Key specifications.
    pub keys: &'static [KeySpec],
    /// Own key finder, where `keys` is incomplete or unknown.
    pub get_keys: Option<GetKeys>,
    /// How calls may read keys that no argument names, if they may.
    pub reads_unnamed: Option<ReadsUnnamed>,
    /// The channels among the arguments.
    pub channels: Channels,
    /// The databases that calls use.
    pub databases: Databases,
    /// Command tips (redis.io: "Command tips").
    pub tips: &'static [&'static str],
    /// (version, what changed).
    pub history: &'static [(&'static str, &'static str)],
    /// Version in which it was deprecated, or "".
    pub deprecated_since: &'static str,
    /// What replaces it, or "".
    pub replaced_by: &'static str,
    /// True for a command that the server's own parts use, not applications (`syscmd` of `COMMAND DOCS`).
    pub is_internal: bool,
    /// Documented arguments.
    pub arguments: &'static [Argument],
    /// Subcommands of a container.
    pub subcommands: &'static [CommandSpec],
    /// What runs.
    pub handler: Handler,
}

impl CommandSpec {
    /// Whether so many arguments, the name counted, pass the arity.
    #[inline]
    pub fn accepts(&self, given: usize) -> bool {
        let wanted = self.arity.unsigned_abs() as usize;
        if self.arity >= 0 {
            given == wanted
        } else {
            given >= wanted
        }
    }
    /// The values that most rows share.
    pub const DEFAULT: CommandSpec = CommandSpec {
        name: "",
        summary: "",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: 1,
        flags: 0,
        acl: 0,
        keys: &[],
        get_keys: None,
        reads_unnamed: None,
        channels: Channels::None,
        databases: Databases::SELECTED,
        tips: &[],
        history: &[],
        deprecated_since: "",
        replaced_by: "",
        is_internal: false,
        arguments: &[],
        subcommands: &[],
        handler: Handler::Container,
    };

    /// A container that itself does nothing.
    pub const fn container(
        name: &'static str,
        since: &'static str,
        group: Group,
        summary: &'static str,
        subcommands: &'static [CommandSpec],
    ) -> CommandSpec {
        CommandSpec {
            name,
            summary,
            since,
            complexity: "Depends on subcommand.",
            group,
            arity: -2,
            subcommands,
            ..CommandSpec::DEFAULT
        }
    }
}
