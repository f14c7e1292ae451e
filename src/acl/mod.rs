//! Users and what they may do: ACL as data.
//!
//! In: rules, as `ACL SETUSER`, a configuration line or the file of users spell them, and calls of commands with the
//! keys and channels that they name. Out: who there is ([`Users`]), whether a call is permitted ([`User::check`]), the
//! rules as text, and the record of what was refused ([`Log`]).
//!
//! A [`User`] is never changed once it is shared. A rule makes a changed copy, and who holds the old one is given the
//! new one by the engine ([`Changed`]), so that a check needs no lookup.
//!
//! A user has a root [`Selector`], any number of further ones, and those of its roles. A call is permitted when one
//! selector permits all of it: the command, each key, each channel, each database. Selectors never add up.
//!
//! Nothing here knows clients, the command table or the configuration: of commands it knows what a [`Catalogue`]
//! answers. Mirrors acl.c of Redis 8.0, with databases and roles as Valkey has them.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod budget;
mod commands;
mod file;
mod key_patterns;
mod log;
mod needles;
mod password;
mod pattern;
mod prefix_tree;
mod roles;
mod rule;
mod selector;
#[cfg(test)]
mod tests;
mod usage;
mod user;
mod users;

pub use budget::Budget;
pub use log::{Context, Entry, Log, Reason, Refusal};
pub use roles::Role;
pub use rule::RuleError;
pub use selector::Selector;
pub use usage::{Ran, Usage};
pub use user::User;
pub use users::{Changed, StandsFor, Users, is_valid_name};

use crate::resp::Args;

/// Name of the user that every connection is which has not said otherwise. This user always exists.
pub const DEFAULT_USER: &[u8] = b"default";

/// What the rules must know of commands, which the engine's command table answers.
///
/// Ids are dense: `0..len()`. Names are those that are compiled in, whatever `rename-command` says, so that rules mean
/// the same under any configuration.
#[expect(clippy::len_without_is_empty, reason = "no catalogue is empty")]
pub trait Catalogue {
    /// How many commands and subcommands there are.
    fn len(&self) -> usize;
    /// The command of a name in any case, a subcommand as `config|get`.
    fn find(&self, name: &[u8]) -> Option<u16>;
    /// The name of a command in lower case, of a subcommand as `config|get`.
    fn name(&self, id: u16) -> &str;
    /// The command that this is a subcommand of.
    fn parent(&self, id: u16) -> Option<u16>;
    /// The subcommands of a command.
    fn subcommands(&self, id: u16) -> Vec<u16>;
    /// The categories of a command, a bit for each.
    fn categories(&self, id: u16) -> u32;
    /// The bit of a category, whose name may be in any case. There is none for `all`.
    fn category(&self, name: &[u8]) -> Option<u32>;
}

/// What a command does with a key, as bits.
pub mod access {
    /// It reads the value.
    pub const READ: u8 = 1;
    /// It changes, adds or removes the key.
    pub const WRITE: u8 = 2;
}

/// A key that a call names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Index of the argument.
    pub at: usize,
    /// Bits of [`access`]. None is set where the value is neither read nor changed: any pattern that matches will do.
    pub access: u8,
}

/// A channel, or a pattern of channels, that a call names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelUse {
    /// Index of the argument.
    pub at: usize,
    /// True if the argument is a pattern, which only a rule with the same pattern permits.
    pub is_pattern: bool,
    /// True if the call ends a subscription, which everybody may.
    pub is_unsubscribe: bool,
}

/// As a call's database: the command uses none.
pub const NO_DB: usize = usize::MAX;

/// Among a call's further databases: the command works on all of them, and so needs a selector that permits all.
pub const ALL_DBS: usize = usize::MAX - 1;

/// A command that somebody wants to run.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Id of the command, or of the subcommand.
    pub command: u16,
    /// Id of the command that it is a subcommand of.
    pub parent: Option<u16>,
    /// The arguments, the command's name first.
    pub args: Args<'a>,
    /// Keys among the arguments.
    pub keys: &'a [KeyUse],
    /// Channels among the arguments.
    pub channels: &'a [ChannelUse],
    /// The database in which the command works, or [`NO_DB`].
    pub db: usize,
    /// Further databases that it names, or [`ALL_DBS`].
    pub other_dbs: &'a [usize],
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The user may not run the command.
    Command,
    /// The user may not do that with the key which is this argument.
    Key(usize),
    /// The user may not use the channel which is this argument.
    Channel(usize),
    /// The user may not use the database of this number, or all databases ([`ALL_DBS`]).
    Database(usize),
}
