//! XDEL, XDELEX, XACK, XACKDEL: entries and references to them go.

use super::add::references_word;
use super::ids;
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{EventClass, KeyEntry};
use crate::resp::{Args, Reply};
use crate::structures::stream::{Deletion, References, Stream, StreamId};

pub(super) fn xdel(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        context.reply.integer(0);
        return Ok(());
    };
    let stream = held.stream_mut()?;
    let mut deleted = 0;
    for id in ids(args.skip(2))? {
        deleted += usize::from(stream.delete(id, References::Keep) == Deletion::Deleted);
    }
    if deleted > 0 {
        context.db.signal_modified(EventClass::Stream, "xdel", key);
    }
    context.reply.count(deleted);
    Ok(())
}

pub(super) fn xack(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut acknowledged = 0;
    // As in Redis it is a read that may miss, though it changes what it finds.
    if context.db.read(args.at(1)).is_some()
        && let KeyEntry::Occupied(mut held) = context.db.entry(args.at(1))
        && let Some(group) = held.stream_mut()?.group_mut(args.at(2))
    {
        for id in ids(args.skip(3))? {
            acknowledged += usize::from(group.acknowledge(id));
        }
    }
    if acknowledged > 0 {
        context.db.count_change();
    }
    context.reply.count(acknowledged);
    Ok(())
}

/// Options of XDELEX and XACKDEL: what becomes of references, and the ids.
fn deletion_options(args: Args<'_>) -> Result<(References, Vec<StreamId>), CommandError> {
    let mut references = None;
    let mut found: Option<Args<'_>> = None;
    let mut rest = args;
    while let Some(option) = rest.get(0) {
        if let (None, Some(word)) = (references, references_word(option)) {
            references = Some(word);
            rest = rest.skip(1);
        } else if parse::is_word(option, "IDS") && rest.len() > 1 && found.is_none() {
            let number = parse::integer(rest.at(1)).ok().filter(|number| *number > 0);
            let number = number.and_then(|number| usize::try_from(number).ok());
            let number = number.ok_or(CommandError::fixed(
                "ERR Number of IDs must be a positive integer",
            ))?;
            rest = rest.skip(2);
            if number > rest.len() {
                return Err(CommandError::fixed(
                    "ERR The `numids` parameter must match the number of arguments",
                ));
            }
            found = Some(rest.take(number));
            rest = rest.skip(number);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let found = found.ok_or(CommandError::Syntax)?;
    Ok((references.unwrap_or_default(), ids(found)?))
}

fn write_outcome(reply: &mut Reply, outcome: Deletion) {
    reply.integer(match outcome {
        Deletion::NoEntry => -1,
        Deletion::Deleted => 1,
        Deletion::Referenced => 2,
    });
}

fn none_of(reply: &mut Reply, wanted: &[StreamId]) {
    reply.array(wanted.len());
    for _ in wanted {
        write_outcome(reply, Deletion::NoEntry);
    }
}

pub(super) fn xdelex(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (references, wanted) = deletion_options(args.skip(2))?;
    let key = args.at(1);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        none_of(context.reply, &wanted);
        return Ok(());
    };
    let stream = held.stream_mut()?;
    let before = pending_total(stream);
    let mut deleted = false;
    context.reply.array(wanted.len());
    for id in wanted {
        let outcome = stream.delete(id, references);
        deleted |= outcome == Deletion::Deleted;
        write_outcome(context.reply, outcome);
    }
    let forgot = references == References::Delete && pending_total(stream) != before;
    if deleted {
        context.db.signal_modified(EventClass::Stream, "xdel", key);
    } else if forgot {
        context.db.count_change();
    }
    Ok(())
}

/// Pending entries of all groups.
fn pending_total(stream: &Stream) -> usize {
    stream.groups().map(|(_, group)| group.pending_len()).sum()
}

pub(super) fn xackdel(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (references, wanted) = deletion_options(args.skip(3))?;
    let key = args.at(1);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        none_of(context.reply, &wanted);
        return Ok(());
    };
    let stream = held.stream_mut()?;
    if stream.group(args.at(2)).is_none() {
        none_of(context.reply, &wanted);
        return Ok(());
    }
    let (mut acknowledged, mut deleted) = (false, false);
    context.reply.array(wanted.len());
    for id in wanted {
        let group = stream.group_mut(args.at(2));
        if !group.is_some_and(|group| group.acknowledge(id)) {
            write_outcome(context.reply, Deletion::NoEntry);
            continue;
        }
        acknowledged = true;
        // An entry that was acknowledged but is gone already counts as deleted.
        let outcome = match stream.delete(id, references) {
            Deletion::Referenced => Deletion::Referenced,
            outcome => {
                deleted |= outcome == Deletion::Deleted;
                Deletion::Deleted
            }
        };
        write_outcome(context.reply, outcome);
    }
    if deleted {
        context.db.signal_modified(EventClass::Stream, "xdel", key);
    } else if acknowledged {
        context.db.count_change();
    }
    Ok(())
}
