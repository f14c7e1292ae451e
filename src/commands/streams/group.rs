//! XGROUP: groups and consumers come and go.

use super::{id, id_or_end};
use crate::commands::help;
use crate::engine::{CommandError, Context, parse, shown};
use crate::keyspace::{EventClass, KeyEntry, NewValue};
use crate::resp::Args;
use crate::structures::stream::{Group, Stream, StreamId};

/// Options of CREATE and SETID.
#[derive(Default)]
struct Options {
    make_stream: bool,
    /// -1: not known.
    entries_read: i64,
}

fn options(args: Args<'_>, is_create: bool) -> Result<Options, CommandError> {
    let mut options = Options {
        make_stream: false,
        entries_read: -1,
    };
    let mut rest = args.skip(5);
    while let Some(option) = rest.get(0) {
        if is_create && parse::is_word(option, "MKSTREAM") {
            options.make_stream = true;
            rest = rest.skip(1);
        } else if rest.len() > 1 && parse::is_word(option, "ENTRIESREAD") {
            options.entries_read = parse::integer(rest.at(1))?;
            if options.entries_read < -1 {
                return Err(CommandError::fixed(
                    "ERR value for ENTRIESREAD must be positive or -1",
                ));
            }
            rest = rest.skip(2);
        } else {
            return Err(CommandError::subcommand_syntax(args));
        }
    }
    Ok(options)
}

fn no_key() -> CommandError {
    CommandError::fixed(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
         option to create an empty stream automatically.",
    )
}

/// A group that must exist.
fn group_of<'a>(stream: &'a mut Stream, args: Args<'_>) -> Result<&'a mut Group, CommandError> {
    stream
        .group_mut(args.at(3))
        .ok_or_else(|| no_group_for_key(args.at(2), args.at(3)))
}

pub(super) fn no_group_for_key(key: &[u8], group: &[u8]) -> CommandError {
    CommandError::of_parts(&[
        b"NOGROUP No such consumer group '",
        shown(group),
        b"' for key name '",
        shown(key),
        b"'",
    ])
}

pub(super) fn create(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = options(args, true)?;
    if args.len() > 8 {
        return Err(CommandError::subcommand_syntax(args));
    }
    let (key, name, start) = (args.at(2), args.at(3), args.at(4));
    let slot = context.db.entry(key);
    let at_end = match &slot {
        KeyEntry::Occupied(held) => held.entry().stream()?.last_id(),
        KeyEntry::Vacant(_) if options.make_stream => StreamId::MIN,
        KeyEntry::Vacant(_) => return Err(no_key()),
    };
    let start = match start {
        b"$" => at_end,
        _ => id(start, 0)?,
    };
    let (mut held, created) = slot.or_insert(|seed| NewValue::Stream(Box::new(Stream::new(seed))));
    let added = held
        .stream_mut()?
        .add_group(name, start, options.entries_read)
        .is_some();
    if !added {
        return Err(CommandError::fixed(
            "BUSYGROUP Consumer Group name already exists",
        ));
    }
    if created {
        context
            .db
            .signal_modified(EventClass::Stream, "xgroup-create", key);
    } else {
        context.db.count_change();
        context.db.event(EventClass::Stream, "xgroup-create", key);
    }
    context.reply.ok();
    Ok(())
}

pub(super) fn set_id(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = options(args, false)?;
    let key = args.at(2);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Err(no_key());
    };
    let stream = held.stream_mut()?;
    let last_id = stream.last_id();
    let group = group_of(stream, args)?;
    if args.len() != 5 && args.len() != 7 {
        return Err(CommandError::subcommand_syntax(args));
    }
    group.last_id = match args.at(4) {
        b"$" => last_id,
        start => id_or_end(start, 0)?,
    };
    group.entries_read = options.entries_read;
    context.db.count_change();
    context.db.event(EventClass::Stream, "xgroup-setid", key);
    context.reply.ok();
    Ok(())
}

pub(super) fn destroy(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(2);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Err(no_key());
    };
    let existed = held.stream_mut()?.remove_group(args.at(3));
    if existed {
        // Those who wait for its entries have to learn that there will be none.
        context
            .db
            .signal_modified(EventClass::Stream, "xgroup-destroy", key);
    }
    context.reply.integer(i64::from(existed));
    Ok(())
}

pub(super) fn create_consumer(
    context: &mut Context<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let key = args.at(2);
    let now_ms = context.now.unix_ms();
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Err(no_key());
    };
    let group = group_of(held.stream_mut()?, args)?;
    let created = group.add_consumer(args.at(4), now_ms).is_some();
    if created {
        context.db.count_change();
        context
            .db
            .event(EventClass::Stream, "xgroup-createconsumer", key);
    }
    context.reply.integer(i64::from(created));
    Ok(())
}

pub(super) fn delete_consumer(
    context: &mut Context<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let key = args.at(2);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Err(no_key());
    };
    let group = group_of(held.stream_mut()?, args)?;
    let pending = group.remove_consumer(args.at(4));
    if pending.is_some() {
        context.db.count_change();
        context
            .db
            .event(EventClass::Stream, "xgroup-delconsumer", key);
    }
    context.reply.count(pending.unwrap_or(0));
    Ok(())
}

pub(super) fn help(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::of_rows(context.reply, args, super::spec::XGROUP);
    Ok(())
}
