//! Who asks: the part of a client that command handlers see.

use std::net::SocketAddr;

/// Kind of a client for output limits and CLIENT KILL TYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum ClientKind {
    #[default]
    Normal,
    PubSub,
    Replica,
    Primary,
    /// No socket: a loader.
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

/// Address of a peer or of the server's own side.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Address {
    /// Not known (clients without a socket).
    #[default]
    None,
    /// TCP.
    Inet(SocketAddr),
    /// Unix socket: its path.
    Unix(String),
}

impl std::fmt::Display for Address {
    /// As CLIENT LIST spells it: `ip:port`, `[ip6]:port`, `path:0`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::None => write!(f, "?:0"),
            Address::Inet(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "{path}:0"),
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

/// Why a client's commands wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// CLIENT PAUSE holds it back.
    Paused,
    /// A command waits for a key.
    Keys,
    /// Its script runs for too long, and the loop turns meanwhile.
    Script,
    /// SHUTDOWN waits (for replicas or a save).
    Shutdown,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Never repeats.
    pub id: u64,
    /// Selected database.
    pub db: usize,
    /// RESP3 instead of RESP2. The writer has its own copy: change it through `Context::set_protocol`.
    pub resp3: bool,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: Vec<u8>,
    /// Has given the password, or none is asked for.
    pub authenticated: bool,
    /// Offset of the journal behind this client's last write.
    pub write_offset: u64,
    /// User name (until ACL: always `default`).
    pub user: Vec<u8>,
    /// Normal, pubsub, ...
    pub kind: ClientKind,
    /// Peer.
    pub address: Address,
    /// Own side.
    pub local_address: Address,
    /// File descriptor, for CLIENT LIST; -1 without a socket.
    pub fd: i64,
    /// Monotonic time of the connection's beginning, ns.
    pub created_ns: u64,
    /// Monotonic time of the last bytes from or to it, ns.
    pub last_interaction_ns: u64,
    /// Index of the last command in the command table.
    pub last_command: Option<u16>,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// CLIENT NO-EVICT.
    pub no_evict: bool,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// It is in MONITOR.
    pub monitors: bool,
    /// READONLY of a cluster; reported by CLIENT LIST.
    pub readonly: bool,
    /// Why its commands wait.
    pub blocked: Option<Blocked>,
    /// Its place among the clients that are held back, while it is.
    pub held_at: u64,
    /// Close when the replies are written.
    pub close_after_reply: bool,
    /// In `Clients::to_close`.
    pub closing: bool,
    /// In `Clients::pending_write`.
    pub write_pending: bool,
    /// In `Clients::pushed`.
    pub pushed: bool,
    /// In MULTI: commands are queued.
    pub in_multi: bool,
    /// Bytes read from it.
    pub bytes_in: u64,
    /// Bytes written to it.
    pub bytes_out: u64,
    /// Commands run for it.
    pub commands: u64,
    /// Since when (monotonic ns) its output has been over the soft limit; 0 when it is not.
    pub soft_limit_since_ns: u64,
    /// The connection is one of the Unix socket.
    pub unix_socket: bool,
    /// What it holds as [`super::Clients::counted_bytes`] has it, bytes.
    pub counted_bytes: usize,
    /// What it asks for was granted before: it repeats what is in the append-only file.
    pub repeats: bool,
}

impl Session {
    /// Whether the bounds that directives set do not bind it, because the data would become another: the append-only
    /// file and a primary repeat what was within the bounds when it was first done.
    pub fn is_obeyed(&self) -> bool {
        self.repeats || self.kind == ClientKind::Primary
    }
    /// Connected from this machine: over a Unix socket or a loopback address.
    pub fn is_local(&self) -> bool {
        match &self.address {
            Address::Inet(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
            Address::None => false,
        }
    }
}
