//! Whether a user's rules permit a call.
//!
//! In: a command's row, the arguments of a call, the database that is selected, and the user. Out: that it is permitted, or
//! which part of it is not. What the rules say is [`crate::acl`]'s to know; which arguments are keys, channels and databases
//! the rows know.
//!
//! This is asked before each command of a user who may not do everything, so there are two ways. The quick one takes from the
//! table what has to be asked ([`Asks`]) and lists nothing; it permits nearly all that is permitted, and never refuses. What it
//! does not permit is asked in full, which lists what the call names and can tell what of it was refused.

use super::keyspecs::keys_of;
use super::spec::{BeginSearch, FindKeys, KeySpec, key_flags};
use super::{
    Channels, Command, CommandId, CommandSpec, CommandTable, OtherDatabases, acl, flags, parse,
};
use crate::acl::{ALL_DBS, Call, ChannelUse, Denied, KeyUse, NO_DB, Selector, User, access};
use crate::resp::Args;
use crate::system::numbers;

/// What has to be asked about a call of a command, as far as its row tells that for every call. The selected database is always
/// among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nothing: anybody may run it, also who has yet to say who it is.
    Nothing,
    /// The command: it names no keys and no channels.
    Command,
    /// The command, and this access to the key which is this argument.
    Key {
        /// Index of the argument.
        at: u8,
        /// Bits of [`access`].
        access: u8,
    },
    /// The command, and this access to several keys.
    Keys {
        /// Index of the first.
        first: u8,
        /// How many arguments stand behind the last.
        behind: u8,
        /// Distance between keys.
        step: u8,
        /// Bits of [`access`].
        access: u8,
    },
    /// The command, and keys that must be looked for among the arguments.
    FoundKeys,
    /// More than that: channels, other databases, or keys that no argument names.
    More,
}

impl Asks {
    /// `all_flags`: those of the row, and those that follow from it.
    pub(super) fn of(spec: &CommandSpec, all_flags: u32) -> Asks {
        const UNSURE: u32 = key_flags::NOT_KEY | key_flags::INCOMPLETE;
        if all_flags & flags::NO_AUTH != 0 {
            return Asks::Nothing;
        }
        let has_more = spec.channels != Channels::None
            || spec.databases.others != OtherDatabases::At(&[])
            || spec.reads_unnamed.is_some();
        if has_more {
            return Asks::More;
        }
        match (spec.keys, spec.get_keys) {
            ([], None) => Asks::Command,
            // Where it depends on other arguments what is done with the key (SET with GET), this asks for all of it: who may do
            // that may do less, and others are asked in full.
            ([key], find)
                if key.flags & UNSURE == 0
                    && (find.is_none() || key.flags & key_flags::VARIABLE_FLAGS != 0) =>
            {
                in_one_range(key).unwrap_or(Asks::FoundKeys)
            }
            _ => Asks::FoundKeys,
        }
    }
}

/// The keys of a specification that says where they stand by numbers alone.
fn in_one_range(key: &KeySpec) -> Option<Asks> {
    let BeginSearch::Index(first) = key.begin else {
        return None;
    };
    let FindKeys::Range {
        last,
        step,
        limit: 0,
    } = key.find
    else {
        return None;
    };
    let (first, access) = (u8::try_from(first).ok()?, access_of(key.flags));
    match last {
        0 => Some(Asks::Key { at: first, access }),
        ..0 => Some(Asks::Keys {
            first,
            behind: u8::try_from(last.unsigned_abs().checked_sub(1)?).ok()?,
            step: u8::try_from(step).ok().filter(|step| *step > 0)?,
            access,
        }),
        _ => None,
    }
}

/// What this use of a key asks for.
fn access_of(key: u32) -> u8 {
    let mut all = 0;
    if key & key_flags::ACCESS != 0 {
        all |= access::READ;
    }
    if key & (key_flags::INSERT | key_flags::DELETE | key_flags::UPDATE) != 0 {
        all |= access::WRITE;
    }
    all
}

/// The channels of a call.
fn channels_of(spec: &CommandSpec, args: Args<'_>) -> Vec<ChannelUse> {
    let last = match spec.channels {
        Channels::None => return Vec::new(),
        Channels::First => args.len().min(2),
        Channels::All | Channels::Patterns | Channels::Left => args.len(),
    };
    let channel = |at| ChannelUse {
        at,
        is_pattern: spec.channels == Channels::Patterns,
        is_unsubscribe: spec.channels == Channels::Left,
    };
    (1..last).map(channel).collect()
}

/// Whether a command looks at keys of the selected database, named or not.
fn uses_selected(command: &Command) -> bool {
    const OF_DATA: u32 = acl::KEYSPACE | acl::READ | acl::WRITE | acl::SCRIPTING;
    command.acl & OF_DATA != 0 && command.spec.databases.uses_selected
}

/// The databases that a call is about, beyond the one that is selected. What is no number the handler refuses.
fn databases_of(spec: &CommandSpec, args: Args<'_>) -> Vec<usize> {
    let number = |at: usize| {
        let number = numbers::parse_i64(args.get(at)?)?;
        usize::try_from(number).ok()
    };
    match spec.databases.others {
        OtherDatabases::At(indexes) => indexes.iter().filter_map(|at| number(*at)).collect(),
        OtherDatabases::All => vec![ALL_DBS],
        // Each of them: the last counts, and which that is the handler says.
        OtherDatabases::Behind(word, first) => (first..args.len())
            .filter(|at| parse::is_word(args.at(*at), word))
            .filter_map(|at| number(at + 1))
            .collect(),
    }
}

/// What came of asking a user's rules.
pub(super) enum Asked {
    /// It is permitted.
    Permitted,
    /// It is not.
    Denied(Denied),
    /// All that the call names is permitted, but it may read keys which it does not name.
    ReadsUnnamed,
}

/// Asks, the quick way where that will do.
#[inline(never)]
pub(super) fn ask(
    table: &CommandTable,
    user: &User,
    id: CommandId,
    args: Args<'_>,
    db: usize,
) -> Asked {
    let command = table.get(id);
    if user.is_unrestricted() || permits_quickly(command, user.root(), id, args, db) {
        return Asked::Permitted;
    }
    ask_on(table, user, id, args, db)
}

/// Whether a selector permits a call, as far as that can be told without lists.
#[inline(always)]
fn permits_quickly(
    command: &Command,
    selector: &Selector,
    id: CommandId,
    args: Args<'_>,
    db: usize,
) -> bool {
    match command.asks {
        Asks::Nothing => true,
        Asks::Command => selector.permits_simply(id.0, db),
        // One that is missing is missed by the handler.
        Asks::Key { at, access } => {
            selector.permits_simply(id.0, db)
                && (args.get(usize::from(at))).is_some_and(|key| selector.permits_key(key, access))
        }
        Asks::Keys {
            first,
            behind,
            step,
            access,
        } => {
            let end = args.len().saturating_sub(usize::from(behind));
            let places = (usize::from(first)..end).step_by(usize::from(step));
            selector.permits_simply(id.0, db) && permits_keys(selector, args, places, access)
        }
        Asks::FoundKeys => selector.has_all_keys() && selector.permits_simply(id.0, db),
        Asks::More => false,
    }
}

// Apart, so that the way of those with one key stays short.
#[inline(never)]
fn permits_keys(
    selector: &Selector,
    args: Args<'_>,
    mut places: impl Iterator<Item = usize>,
    access: u8,
) -> bool {
    places.all(|at| selector.permits_key(args.at(at), access))
}

/// Asks the selectors behind the root the quick way, then all of them in full.
#[inline(never)]
fn ask_on(table: &CommandTable, user: &User, id: CommandId, args: Args<'_>, db: usize) -> Asked {
    let command = table.get(id);
    let mut further = user.further_selectors();
    if further.any(|it| permits_quickly(command, it, id, args, db)) {
        return Asked::Permitted;
    }
    match check(table, user, id, args, db) {
        Err(denied) => Asked::Denied(denied),
        Ok(()) if command.spec.reads_unnamed.is_some() => Asked::ReadsUnnamed,
        Ok(()) => Asked::Permitted,
    }
}

/// Asks whether a user may run a command in a database. Commands that anybody may run are not to be asked for.
pub(crate) fn check(
    table: &CommandTable,
    user: &User,
    id: CommandId,
    args: Args<'_>,
    db: usize,
) -> Result<(), Denied> {
    with_call(table, user, id, args, db, |call| user.check(call))
}

/// Asks whether a user may also read keys that the arguments do not name (SORT with BY and GET).
pub(super) fn may_read_all_keys(
    table: &CommandTable,
    user: &User,
    id: CommandId,
    args: Args<'_>,
    db: usize,
) -> bool {
    with_call(table, user, id, args, db, |call| {
        user.may_access_all_keys(call, access::READ)
    })
}

/// Lists what a call names, and asks something about it.
fn with_call<R>(
    table: &CommandTable,
    user: &User,
    id: CommandId,
    args: Args<'_>,
    db: usize,
    ask: impl FnOnce(&Call<'_>) -> R,
) -> R {
    let command = table.get(id);
    let mut keys = Vec::new();
    if !user.sees_all_keys() && super::keyspecs::has_keys(command.spec) {
        // A call whose keys cannot be found is one that its handler refuses.
        let found = keys_of(command.spec, args).unwrap_or_default();
        keys.extend(found.into_iter().map(|(at, key)| KeyUse {
            at,
            access: access_of(key),
        }));
    }
    ask(&Call {
        command: id.0,
        parent: command.parent.map(|parent| parent.0),
        args,
        keys: &keys,
        channels: &channels_of(command.spec, args),
        db: if uses_selected(command) { db } else { NO_DB },
        other_dbs: &databases_of(command.spec, args),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Argument, ArgumentType, Group};

    fn table() -> CommandTable {
        CommandTable::new(crate::commands::GROUPS)
    }

    #[test]
    fn rows_tell_what_has_to_be_asked() {
        const READ: u8 = access::READ;
        const WRITE: u8 = access::WRITE;
        let table = table();
        let key = |access| Asks::Key { at: 1, access };
        let keys = |behind, step, access| Asks::Keys {
            first: 1,
            behind,
            step,
            access,
        };
        for (name, asks) in [
            ("auth", Asks::Nothing),
            ("ping", Asks::Command),
            ("config|get", Asks::Command),
            ("pubsub|channels", Asks::Command),
            ("get", key(READ)),
            ("strlen", key(0)),
            ("lpush", key(WRITE)),
            ("mget", keys(0, 1, READ)),
            ("mset", keys(0, 2, WRITE)),
            ("blpop", keys(1, 1, READ | WRITE)),
            ("object|encoding", Asks::Key { at: 2, access: 0 }),
            ("set", key(READ | WRITE)),
            ("rename", Asks::FoundKeys),
            ("eval", Asks::FoundKeys),
            ("sort", Asks::More),
            ("select", Asks::More),
            ("copy", Asks::More),
            ("publish", Asks::More),
            ("unsubscribe", Asks::More),
        ] {
            let id = table.find_full(name.as_bytes()).expect(name);
            assert_eq!(table.get(id).asks, asks, "{name}");
        }
    }

    /// The arguments of a row, also those within others.
    fn all(arguments: &'static [Argument]) -> Vec<&'static Argument> {
        let with_parts = |it: &'static Argument| [vec![it], all(it.arguments)].concat();
        arguments.iter().flat_map(with_parts).collect()
    }

    /// What a command says of its arguments it must say to who asks for permission, too.
    #[test]
    fn no_row_forgets_its_channels_its_databases_or_what_it_reads_unnamed() {
        const DATABASES: [&str; 5] = ["db", "index", "index1", "index2", "destination-db"];
        let (mut channels, mut databases, mut patterns) = (0, 0, 0);
        for (_, command) in table().iter() {
            let (spec, name) = (command.spec, &command.name);
            let arguments = all(spec.arguments);
            let is_of_channels = command.flags & flags::PUBSUB != 0 && command.parent.is_none();
            if is_of_channels && !arguments.is_empty() {
                assert_ne!(spec.channels, Channels::None, "{name}");
                channels += 1;
            }
            // An index in a list is none of a database, and MIGRATE's is one of another server.
            let has_databases = matches!(
                spec.group,
                Group::Generic | Group::Server | Group::Connection
            );
            let is_database =
                |it: &&Argument| it.kind == ArgumentType::Integer && DATABASES.contains(&it.name);
            if has_databases && arguments.iter().any(is_database) && name != "migrate" {
                assert_ne!(spec.databases.others, OtherDatabases::At(&[]), "{name}");
                databases += 1;
            }
            if arguments
                .iter()
                .any(|it| it.kind == ArgumentType::Pattern && it.key_spec >= 0)
            {
                assert!(spec.reads_unnamed.is_some(), "{name}");
                patterns += 1;
            }
        }
        assert_eq!((channels, databases, patterns), (8, 4, 2));
    }
}
