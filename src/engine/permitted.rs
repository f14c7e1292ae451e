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
use crate::acl::{ALL_DBS, Call, ChannelUse, Denied, KeyUse, NO_DB, User, access};
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
        const UNSURE: u32 = key_flags::NOT_KEY | key_flags::INCOMPLETE | key_flags::VARIABLE_FLAGS;
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
            ([key], None) if key.flags & UNSURE == 0 => {
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
    if user.is_unrestricted() || permits_quickly(command, user, id, args, db) {
        return Asked::Permitted;
    }
    ask_in_full(table, user, id, args, db)
}

#[inline(always)]
fn permits_quickly(
    command: &Command,
    user: &User,
    id: CommandId,
    args: Args<'_>,
    db: usize,
) -> bool {
    match command.asks {
        Asks::Nothing => true,
        Asks::Command => user.permits_simply(id.0, db, |_| true),
        // One that is missing is missed by the handler.
        Asks::Key { at, access } => match args.get(usize::from(at)) {
            Some(key) => user.permits_simply(id.0, db, |it| it.permits_key(key, access)),
            None => false,
        },
        Asks::Keys {
            first,
            behind,
            step,
            access,
        } => {
            let end = args.len().saturating_sub(usize::from(behind));
            let keys = (usize::from(first)..end).step_by(usize::from(step));
            user.permits_simply(id.0, db, |it| {
                keys.clone().all(|at| it.permits_key(args.at(at), access))
            })
        }
        Asks::FoundKeys => user.sees_all_keys() && user.permits_simply(id.0, db, |_| true),
        Asks::More => false,
    }
}

#[cold]
#[inline(never)]
fn ask_in_full(
    table: &CommandTable,
    user: &User,
    id: CommandId,
    args: Args<'_>,
    db: usize,
) -> Asked {
    match check(table, user, id, args, db) {
        Err(denied) => Asked::Denied(denied),
        Ok(()) if table.get(id).spec.reads_unnamed.is_some() => Asked::ReadsUnnamed,
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
