//! Keys whatever their type: DEL, RENAME, COPY, SCAN, OBJECT and everything of Redis's generic group that needs no type
//! of its own; and the databases that hold them: SELECT, SWAPDB, FLUSHALL, DBSIZE.
//!
//! In: keys. Out: their presence, place, type; each change told once through
//! [`Db::signal_modified`](crate::keyspace::Db::signal_modified), in the database where it happened. KEYS is O(N) by
//! nature; SCAN is what bounds it.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | single keys |
//! | [`databases`] | whole databases: SELECT, SWAPDB, FLUSHDB, FLUSHALL, DBSIZE, KEYS, SCAN, RANDOMKEY |
//! | [`expire`] | EXPIRE, TTL and their like |
//! | [`spec`] | the rows of the command table |
//!
//! Mirrors `db.c`, `expire.c` and `objectCommand` of Redis.

mod databases;
mod expire;
mod spec;

pub use databases::Gathered;
pub use spec::COMMANDS;

use super::help;
use crate::engine::{CommandError, Context, ServerContext, parse};
use crate::keyspace::{EntryRef, EventClass, Free, TransferError, Value};
use crate::resp::Args;

fn remove_all(context: &mut Context<'_>, args: Args<'_>, free: Free) {
    let mut removed = 0;
    for key in args.skip(1).iter() {
        if context.db.remove(key, free) {
            context.db.signal_modified(EventClass::Generic, "del", key);
            removed += 1;
        }
    }
    context.reply.integer(removed);
}

fn del(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let free = if context.settings.lazyfree_lazy_user_del {
        Free::Lazily
    } else {
        Free::Now
    };
    remove_all(context, args, free);
    Ok(())
}

fn unlink(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    remove_all(context, args, Free::Lazily);
    Ok(())
}

fn exists(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let found = args
        .skip(1)
        .iter()
        .filter(|key| context.db.read_no_touch(key).is_some())
        .count();
    context.reply.count(found);
    Ok(())
}

fn touch(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let found = args
        .skip(1)
        .iter()
        .filter(|key| context.db.refresh(key))
        .count();
    context.reply.count(found);
    Ok(())
}

/// TYPE; not named after it, which is a word of the language.
fn type_of(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let name = context
        .db
        .read_no_touch(args.at(1))
        .map_or("none", |entry| entry.kind().name());
    context.reply.simple(name);
    Ok(())
}

fn rename_key(
    context: &mut Context<'_>,
    args: Args<'_>,
    replace: bool,
) -> Result<bool, CommandError> {
    let (from, to) = (args.at(1), args.at(2));
    match context.db.rename(from, to, replace) {
        Ok(()) => {
            context
                .db
                .signal_modified(EventClass::Generic, "rename_from", from);
            context
                .db
                .signal_also_modified(EventClass::Generic, "rename_to", to);
            Ok(true)
        }
        Err(TransferError::NoSuchKey) => Err(CommandError::NoSuchKey),
        Err(TransferError::SameObject | TransferError::TargetExists) => Ok(false),
    }
}

fn rename(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    // A key renamed to its own name is a success without an effect.
    rename_key(context, args, true)?;
    context.reply.ok();
    Ok(())
}

fn renamenx(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let renamed = rename_key(context, args, false)?;
    context.reply.integer(i64::from(renamed));
    Ok(())
}

const SAME_OBJECT: CommandError =
    CommandError::fixed("ERR source and destination objects are the same");

/// MOVE; not named after it, which is a word of the language.
fn move_key(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if context.state.cluster.is_some() {
        return Err(CommandError::fixed(
            "ERR MOVE is not allowed in cluster mode",
        ));
    }
    let key = args.at(1);
    let to = parse::database(args.at(2), context.state.keyspace.count())?;
    let from = context.session().db;
    let (now, no_touch) = (context.now(), context.session().no_touch);
    let keyspace = &mut context.state.keyspace;
    let moved = match keyspace.move_key(from, to, key, now) {
        Ok(()) => true,
        Err(TransferError::SameObject) => return Err(SAME_OBJECT),
        Err(TransferError::NoSuchKey | TransferError::TargetExists) => false,
    };
    if moved {
        keyspace
            .db(from, now, no_touch)
            .signal_modified(EventClass::Generic, "move_from", key);
        keyspace
            .db(to, now, no_touch)
            .signal_also_modified(EventClass::Generic, "move_to", key);
    }
    context.reply().integer(i64::from(moved));
    Ok(())
}

/// Options of COPY: the database to copy to, and whether to replace what is there.
fn parse_copy(options: Args<'_>, own: usize, count: usize) -> Result<(usize, bool), CommandError> {
    let (mut to, mut replace) = (own, false);
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        if parse::is_word(option, "REPLACE") {
            replace = true;
        } else if parse::is_word(option, "DB") {
            to = parse::database(rest.next().ok_or(CommandError::Syntax)?, count)?;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok((to, replace))
}

fn copy(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from_db, count) = (context.session().db, context.state.keyspace.count());
    let (to_db, replace) = parse_copy(args.skip(3), from_db, count)?;
    let (from, to) = (args.at(1), args.at(2));
    let (now, no_touch) = (context.now(), context.session().no_touch);
    let keyspace = &mut context.state.keyspace;
    let copied = match keyspace.copy((from_db, from), (to_db, to), replace, now) {
        Ok(()) => true,
        Err(TransferError::SameObject) => return Err(SAME_OBJECT),
        Err(TransferError::NoSuchKey | TransferError::TargetExists) => false,
    };
    if copied {
        keyspace
            .db(to_db, now, no_touch)
            .signal_modified(EventClass::Generic, "copy_to", to);
    }
    context.reply().integer(i64::from(copied));
    Ok(())
}

/// Answers something about a key without refreshing its access clock; null for a missing key.
fn object(
    context: &mut Context<'_>,
    key: &[u8],
    answer: impl FnOnce(&EntryRef<'_>, &mut crate::resp::Reply) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    match context.db.read_quietly(key) {
        Some(entry) => answer(&entry, context.reply),
        None => {
            context.reply.null();
            Ok(())
        }
    }
}

fn object_encoding(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    object(context, args.at(2), |entry, reply| {
        reply.bulk(entry.encoding().as_bytes());
        Ok(())
    })
}

/// Integers below this are shared objects in Redis, whose count of references stands at the highest `int`.
const SHARED_INTEGERS: i64 = 10_000;

fn object_refcount(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let settings = context.settings;
    // A policy that looks at access times needs an object for each key.
    let policy = settings.maxmemory_policy;
    let shares = settings.maxmemory == 0 || !(policy.is_lru() || policy.is_lfu());
    object(context, args.at(2), |entry, reply| {
        // Here a small integer is part of its entry: like a shared one, it takes no memory of its own.
        let shared = match entry.string() {
            Ok(Value::Int(number)) => shares && (0..SHARED_INTEGERS).contains(&number),
            _ => false,
        };
        reply.integer(if shared { i64::from(i32::MAX) } else { 1 });
        Ok(())
    })
}

fn object_idletime(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (lfu, now) = (context.settings.maxmemory_policy.is_lfu(), context.now);
    object(context, args.at(2), |entry, reply| {
        if lfu {
            return Err(CommandError::fixed(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
                 policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        reply.integer(i64::try_from(entry.idle_ms(now) / 1000).unwrap_or(i64::MAX));
        Ok(())
    })
}

fn object_freq(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (lfu, now) = (context.settings.maxmemory_policy.is_lfu(), context.now);
    object(context, args.at(2), |entry, reply| {
        if !lfu {
            return Err(CommandError::fixed(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        reply.integer(i64::from(entry.frequency(now)));
        Ok(())
    })
}

fn object_help(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    const LINES: &[&str] = &[
        "ENCODING <key>",
        "    Show how the value of <key> is held in memory.",
        "FREQ <key>",
        "    Show the logarithmic counter of accesses to <key>; under an LFU policy only.",
        "IDLETIME <key>",
        "    Show the seconds since the last access to <key>; not under an LFU policy.",
        "REFCOUNT <key>",
        "    Show the number of references to the value of <key>.",
    ];
    help::help(context.reply, args, LINES);
    Ok(())
}

#[cfg(test)]
mod tests;
