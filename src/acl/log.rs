//! The record of what was refused, for `ACL LOG`.

use std::collections::VecDeque;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A command.
    Command,
    /// A key.
    Key,
    /// A channel.
    Channel,
    /// A name or a password.
    Auth,
    /// The user that a client's certificate names.
    TlsCert,
    /// A database.
    Database,
}

impl Reason {
    /// The reason as `ACL LOG` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Auth => "auth",
            Reason::TlsCert => "tls-cert",
            Reason::Database => "database",
        }
    }
}

/// Where the command came from that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A client.
    Toplevel,
    /// A transaction.
    Multi,
    /// A script or a function.
    Lua,
    /// A module.
    Module,
}

impl Context {
    /// The context as `ACL LOG` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Context::Toplevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
            Context::Module => "module",
        }
    }
}

/// One refusal, as it is reported to the log.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// What was refused.
    pub reason: Reason,
    /// Where the command came from.
    pub context: Context,
    /// The command, key or channel that was refused.
    pub object: &'a [u8],
    /// Name of the user.
    pub username: &'a [u8],
    /// The client, as `CLIENT LIST` shows it.
    pub client_info: &'a [u8],
}

/// An entry of the log: refusals of one kind that followed each other closely.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Number of refusals.
    pub count: u64,
    /// What was refused.
    pub reason: Reason,
    /// Where the commands came from.
    pub context: Context,
    /// The command, key or channel that was refused.
    pub object: Vec<u8>,
    /// Name of the user.
    pub username: Vec<u8>,
    /// The client of the last refusal.
    pub client_info: Vec<u8>,
    /// Number of the entry since the start of the server.
    pub id: u64,
    /// Unix time of the first refusal.
    pub created_ms: u64,
    /// Unix time of the last refusal.
    pub updated_ms: u64,
}

/// What was refused, latest first.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl Log {
    /// Records a refusal, in the entry of a like one if that is not long ago. Keeps `max_len` entries.
    pub fn push(&mut self, _refusal: &Refusal<'_>, _now_ms: u64, _max_len: usize) {}
    /// The entries, latest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }
    /// Removes all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
    /// Removes the oldest entries beyond so many.
    pub fn trim(&mut self, max_len: usize) {
        self.entries.truncate(max_len);
    }
}
