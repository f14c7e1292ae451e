//! The command table: every [`CommandSpec`] with what is derived from it, found by name.
//!
//! Built once at start; `rename-command` changes names, nothing else ever changes. A [`CommandId`] is an index into
//! it and into the per-command counters.

use super::permitted::Asks;
use super::{CommandSpec, Group, Handler, acl, flags};
use crate::config::secrets;
use crate::resp::Args;
use std::collections::HashMap;

/// Index of a command or subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u16);

/// A command or subcommand with all that follows from its spec.
pub struct Command {
    /// Its row.
    pub spec: &'static CommandSpec,
    /// Name as clients call it: lower case, `config|get` for subcommands; another after `rename-command`.
    pub name: String,
    /// Name whatever it was renamed to: what ACL rules and refusals call it.
    pub full_name: String,
    /// All flags, derived ones included.
    pub flags: u32,
    /// All ACL categories.
    pub acl: u32,
    /// Its container.
    pub parent: Option<CommandId>,
    /// Its subcommands by name.
    pub subcommands: Vec<(&'static str, CommandId)>,
    /// First key at this argument; 0 if there is none there. For prefetching.
    pub first_key: u8,
    /// Whether passwords may be among its arguments.
    pub may_carry_secrets: bool,
    /// What has to be asked of a user's rules about each call.
    pub asks: Asks,
}

/// The table.
pub struct CommandTable {
    commands: Vec<Command>,
    by_name: HashMap<Box<[u8]>, CommandId, ahash::RandomState>,
    /// Bytes of the longest name.
    longest: usize,
    /// Direct-mapped cache from short names as they were sent (any case) to ids: most look-ups end here.
    cache: Vec<Option<(Packed, CommandId)>>,
}

const CACHE_LEN: usize = 256;

impl CommandTable {
    /// The table of all groups.
    pub fn new(groups: &[&'static [CommandSpec]]) -> CommandTable {
        // Always the same: names come from our rows and from the configuration, so no client can choose them to
        // collide.
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut table = CommandTable {
            commands: Vec::new(),
            by_name: HashMap::with_hasher(hasher),
            longest: 0,
            cache: vec![None; CACHE_LEN],
        };
        for spec in groups.iter().flat_map(|group| group.iter()) {
            let id = table.add(spec, None);
            for sub in spec.subcommands {
                let sub_id = table.add(sub, Some(id));
                table.commands[id.0 as usize]
                    .subcommands
                    .push((sub.name, sub_id));
            }
            table.longest = table.longest.max(spec.name.len());
            let known = table.by_name.insert(spec.name.as_bytes().into(), id);
            debug_assert!(known.is_none(), "{} is in the table twice", spec.name);
        }
        table
    }

    fn add(&mut self, spec: &'static CommandSpec, parent: Option<CommandId>) -> CommandId {
        let id = CommandId(self.commands.len() as u16);
        let name = match parent {
            Some(parent) => format!("{}|{}", self.get(parent).name, spec.name),
            None => spec.name.to_owned(),
        };
        let flags = effective_flags(spec);
        self.commands.push(Command {
            spec,
            full_name: name.clone(),
            name,
            flags,
            acl: effective_acl(spec),
            parent,
            subcommands: Vec::new(),
            first_key: first_key(spec),
            may_carry_secrets: secrets::may_carry(spec.name.as_bytes()),
            asks: Asks::of(spec, flags),
        });
        id
    }

    /// The command of an id.
    #[inline]
    pub fn get(&self, id: CommandId) -> &Command {
        &self.commands[id.0 as usize]
    }

    /// All commands and subcommands in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (CommandId, &Command)> {
        self.commands
            .iter()
            .enumerate()
            .map(|(index, command)| (CommandId(index as u16), command))
    }

    /// Indexes of the arguments of a call that logs must not show.
    pub fn hidden_arguments(&self, id: CommandId, args: Args<'_>) -> Vec<usize> {
        let command = self.get(id);
        let container = command.parent.map_or(command, |parent| self.get(parent));
        secrets::hidden(container.spec.name, args)
    }
    /// Top-level commands that can be called (renamed ones under their new names).
    pub fn top_level(&self) -> impl Iterator<Item = (CommandId, &Command)> {
        let mut ids: Vec<CommandId> = self.by_name.values().copied().collect();
        ids.sort_unstable();
        ids.into_iter().map(|id| (id, self.get(id)))
    }

    /// Commands and subcommands together.
    pub fn len(&self) -> usize {
        self.commands.len()
    }
    /// Whether the table is empty (it never is).
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }
    /// Top-level commands.
    pub fn top_level_len(&self) -> usize {
        self.by_name.len()
    }

    /// Finds a top-level command, whatever the case of its name.
    #[inline]
    pub fn find(&mut self, name: &[u8]) -> Option<CommandId> {
        let Some(packed) = pack(name) else {
            return self.find_slow(name);
        };
        let (low, high, len) = packed;
        let mixed = (low ^ high.rotate_left(29) ^ len as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let slot = (mixed >> 56) as usize;
        // The whole name is compared, not its hash: two names in one place only drive each other out.
        if let Some(Some((known, id))) = self.cache.get(slot)
            && *known == packed
        {
            return Some(*id);
        }
        let id = self.find_slow(name)?;
        self.cache[slot] = Some((packed, id));
        Some(id)
    }

    /// The command of this name ([`CommandTable::find`]), looked up without the cache.
    pub fn find_slow(&self, name: &[u8]) -> Option<CommandId> {
        const ON_STACK: usize = 64;
        if name.len() > self.longest {
            // Whatever a client sends as a name, no more of it is copied than a name can have.
            return None;
        }
        if name.len() > ON_STACK {
            return self.by_name.get(&*name.to_ascii_lowercase()).copied();
        }
        let mut lower = [0; ON_STACK];
        lower[..name.len()].copy_from_slice(name);
        let lower = &mut lower[..name.len()];
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower).copied()
    }

    /// Finds a subcommand of a container.
    pub fn find_subcommand(&self, container: CommandId, name: &[u8]) -> Option<CommandId> {
        let subcommands = &self.get(container).subcommands;
        subcommands
            .iter()
            .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
            .map(|(_, id)| *id)
    }

    /// Finds `name` or `container|subcommand`, as COMMAND INFO and ACL name them.
    pub fn find_full(&self, name: &[u8]) -> Option<CommandId> {
        match memchr::memchr(b'|', name) {
            None => self.find_slow(name),
            Some(at) => self.find_subcommand(self.find_slow(&name[..at])?, &name[at + 1..]),
        }
    }

    /// `rename-command`: to an empty name, the command is gone. Errors as redis.conf's reader words them.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), &'static str> {
        let Some(id) = self.find_slow(from) else {
            return Err("No such command in rename-command");
        };
        let lower = to.to_ascii_lowercase();
        if !to.is_empty() && self.by_name.contains_key(&*lower) {
            return Err("Target command name already exists");
        }
        self.by_name.remove(&*from.to_ascii_lowercase());
        // What was found under the old name must not be found there again.
        self.cache.fill(None);
        if !to.is_empty() {
            self.longest = self.longest.max(lower.len());
            self.by_name.insert(lower.clone().into(), id);
            let new_name = String::from_utf8_lossy(&lower).into_owned();
            // Statistics and ACL name subcommands by their container, so they are renamed with it.
            for (sub, sub_id) in self.get(id).subcommands.clone() {
                self.commands[sub_id.0 as usize].name = format!("{new_name}|{sub}");
            }
            self.commands[id.0 as usize].name = new_name;
        }
        Ok(())
    }
}

/// A short name as it was sent, in registers: two words that overlap where it is shorter than both, and its length.
/// (Copying the bytes to a word in memory and reading that back would wait for the store each time.)
type Packed = (u64, u64, usize);

/// The name in two words; names beyond 16 bytes are not cached.
#[inline]
fn pack(name: &[u8]) -> Option<Packed> {
    let word = |at: usize| {
        name.get(at..at + 8)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_le_bytes)
    };
    let half = |at: usize| {
        name.get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_le_bytes)
    };
    match name.len() {
        len @ 8..=16 => Some((word(0)?, word(len - 8)?, len)),
        len @ 4..=7 => Some((u64::from(half(0)?), u64::from(half(len - 4)?), len)),
        len @ 1..=3 => {
            let byte = |at: usize| u64::from(name[at]);
            Some((byte(0) | byte(len / 2) << 8 | byte(len - 1) << 16, 0, len))
        }
        _ => None,
    }
}

fn effective_flags(spec: &CommandSpec) -> u32 {
    let mut all = spec.flags;
    if super::keyspecs::legacy_range(spec.keys).3 {
        all |= flags::MOVABLE_KEYS;
    }
    all
}

/// Explicit categories plus those that Redis derives from the flags (`setImplicitACLCategories`).
fn effective_acl(spec: &CommandSpec) -> u32 {
    // A container is in no group's category: it is its subcommands that do something.
    let of_group = match spec.handler {
        Handler::Container => 0,
        _ => group_category(spec.group),
    };
    let mut all = spec.acl | of_group;
    if spec.flags & flags::WRITE != 0 {
        all |= acl::WRITE;
    }
    if spec.flags & flags::READONLY != 0 && all & acl::SCRIPTING == 0 {
        all |= acl::READ;
    }
    if spec.flags & flags::ADMIN != 0 {
        all |= acl::ADMIN | acl::DANGEROUS;
    }
    if spec.flags & flags::PUBSUB != 0 {
        all |= acl::PUBSUB;
    }
    if spec.flags & flags::BLOCKING != 0 {
        all |= acl::BLOCKING;
    }
    all | if spec.flags & flags::FAST != 0 {
        acl::FAST
    } else {
        acl::SLOW
    }
}

/// Groups whose every command is in the category of the same name. Generic and server commands say it themselves.
fn group_category(group: Group) -> u32 {
    match group {
        Group::String => acl::STRING,
        Group::List => acl::LIST,
        Group::Set => acl::SET,
        Group::SortedSet => acl::SORTEDSET,
        Group::Hash => acl::HASH,
        Group::Transactions => acl::TRANSACTION,
        Group::Connection => acl::CONNECTION,
        Group::Scripting => acl::SCRIPTING,
        Group::HyperLogLog => acl::HYPERLOGLOG,
        Group::Geo => acl::GEO,
        Group::Stream => acl::STREAM,
        Group::Bitmap => acl::BITMAP,
        Group::PubSub | Group::Generic | Group::Server | Group::Cluster => 0,
    }
}

fn first_key(spec: &CommandSpec) -> u8 {
    match spec.keys.first().map(|key| key.begin) {
        Some(super::BeginSearch::Index(at)) if (1..=3).contains(&at) => at as u8,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn packed_names_differ_where_names_do() {
        let mut seen: HashMap<Packed, Vec<u8>> = HashMap::new();
        for len in 1..=16usize {
            for at in 0..len {
                for byte in [b'a', b'z', 0, 255] {
                    let mut name = vec![b'm'; len];
                    name[at] = byte;
                    let packed = pack(&name).expect("a short name");
                    let before = seen.insert(packed, name.clone());
                    assert!(before.is_none_or(|before| before == name));
                }
            }
        }
        assert_eq!(pack(b""), None);
        assert_eq!(pack(&[b'x'; 17]), None);
    }

    #[test]
    fn names_are_found_in_any_case_and_renamed() {
        let mut table = CommandTable::new(crate::commands::GROUPS);
        let ping = table.find(b"PiNg").expect("PING");
        assert_eq!(table.find(b"ping"), Some(ping));
        assert_eq!(table.find(b"pingg"), None);
        table.rename(b"ping", b"Hello-There").expect("renamed");
        assert_eq!(table.find(b"ping"), None);
        assert_eq!(table.find(b"HELLO-THERE"), Some(ping));
        let long = [b'L'; 100];
        table.rename(b"hello-there", &long).expect("renamed");
        assert_eq!(table.find(&long.to_ascii_lowercase()), Some(ping));
        assert_eq!(table.find(&[b'L'; 101]), None);
        assert!(table.rename(b"get", b"set").is_err());
        assert!(table.rename(b"nope", b"x").is_err());
        table.rename(b"get", b"").expect("removed");
        assert_eq!(table.find(b"get"), None);
        let client = table.find(b"client").expect("CLIENT");
        table.rename(b"client", b"c").expect("renamed");
        let id = table.find_subcommand(client, b"ID").expect("CLIENT ID");
        assert_eq!(table.get(id).name, "c|id");
    }
}
