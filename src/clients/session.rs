//! Who asks, and what it is doing: the part of a client that command handlers see and change. Its socket and what lies
//! in its buffers is the [`Connection`](super::Connection)'s.

use super::{Blocked, BlockedCommand, Identity, Transaction, Watching};
use crate::resp::{Protocol, Reply};

/// Kind of a client for output limits and CLIENT KILL TYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum ClientKind {
    #[default]
    Normal,
    PubSub,
    Replica,
    Primary,
    /// No socket: the loader of the append-only file. What it asks for was granted before, when it was first done.
    Internal,
    /// No socket: the one that runs the commands of scripts.
    Script,
}

impl ClientKind {
    /// Which of the limits of output binds it (normal, replica, pubsub), if any.
    pub fn limit_class(self) -> Option<usize> {
        match self {
            ClientKind::Normal => Some(0),
            ClientKind::Replica => Some(1),
            ClientKind::PubSub => Some(2),
            ClientKind::Primary | ClientKind::Internal | ClientKind::Script => None,
        }
    }
}

/// Whether replies are sent (CLIENT REPLY).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The command after this one is not answered.
    SkipNext,
    /// This command is not answered.
    Skip,
}

/// ASKING of a cluster: the command after it may be served from a slot that is on its way to this node. Within MULTI it holds to
/// the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Asking {
    /// It was not sent.
    #[default]
    No,
    /// It is the command that runs.
    Begins,
    /// It is in force.
    Holds,
}

/// Who asks. In the order of its fields: what every command looks at comes first and lies together.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Session {
    /// Never repeats.
    pub id: u64,
    /// Selected database.
    pub db: usize,
    /// Who it is.
    pub identity: Identity,
    /// Why its commands do not run; none: they do.
    pub blocked: Option<Blocked>,
    /// What it has queued since MULTI; none: it is not in MULTI.
    pub transaction: Option<Box<Transaction>>,
    /// Commands run for it.
    pub commands: u64,
    /// Index of the last command in the command table.
    pub last_command: Option<u16>,
    /// Normal, pubsub, ...
    pub kind: ClientKind,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// RESP2 or RESP3. The writer has its own copy: both are set by [`Session::set_protocol`].
    protocol: Protocol,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// CLIENT NO-EVICT.
    pub no_evict: bool,
    /// It is in MONITOR.
    pub monitors: bool,
    /// It has waited for its turn to try a password, and may try one.
    pub has_turn: bool,
    /// It has tried a wrong password.
    pub has_failed_auth: bool,
    /// It has been somebody before, whoever it is now.
    pub was_authenticated: bool,
    /// READONLY of a cluster; reported by CLIENT LIST.
    pub readonly: bool,
    /// ASKING of a cluster.
    pub asking: Asking,
    /// The slot of the keys of the last command, in a cluster; none: it had no keys.
    pub slot: Option<u16>,
    /// Offset of the journal behind this client's last write, as the append-only file counts.
    pub write_offset: u64,
    /// The same, as replicas count.
    pub stream_offset: i64,
    /// The keys that it watches; none for most clients.
    pub watching: Option<Box<Watching>>,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: Vec<u8>,
}

impl Session {
    /// Whether the bounds that directives set do not bind it, because the data would become another: the append-only
    /// file and a primary repeat what was within the bounds when it was first done.
    pub fn is_obeyed(&self) -> bool {
        matches!(self.kind, ClientKind::Internal | ClientKind::Primary)
    }
    /// Whether it is in MULTI: its commands are queued, or run by its EXEC.
    #[inline]
    pub fn in_multi(&self) -> bool {
        self.transaction.is_some()
    }
    /// Whether it speaks RESP3.
    #[inline]
    pub fn resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }
    /// Switches the dialect, from the next value on; `reply` is the same client's.
    pub fn set_protocol(&mut self, protocol: Protocol, reply: &mut Reply) {
        self.protocol = protocol;
        reply.set_protocol(protocol);
    }
    /// Its command that waits, if one does.
    #[inline]
    pub fn waiting(&self) -> Option<&BlockedCommand> {
        match &self.blocked {
            Some(Blocked::Command(command)) => Some(command),
            _ => None,
        }
    }
    /// Its command that waits, if one does, to change.
    #[inline]
    pub fn waiting_mut(&mut self) -> Option<&mut BlockedCommand> {
        match &mut self.blocked {
            Some(Blocked::Command(command)) => Some(command),
            _ => None,
        }
    }
    /// How many keys it watches.
    pub fn watched(&self) -> usize {
        self.watching.as_ref().map_or(0, |it| it.keys.len())
    }
    /// Whether a key that it watches has changed.
    pub fn is_dirty(&self) -> bool {
        self.watching.as_ref().is_some_and(|it| it.dirty)
    }
}
