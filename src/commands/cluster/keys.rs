//! Which keys are in which slot, and what a connection says of itself in a cluster.

use super::cluster;
use crate::clients::Asking;
use crate::engine::{CommandError, ServerContext, parse};
use crate::resp::Args;
use crate::structures::slots::{SLOTS, slot_of};

type Answered = Result<(), CommandError>;

pub(super) fn key_slot(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    cluster(context)?;
    context.reply().integer(slot_of(args.at(2)).into());
    Ok(())
}

pub(super) fn count_keys_in_slot(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    cluster(context)?;
    let slot = parse::integer(args.at(2))?;
    let slot = u16::try_from(slot)
        .ok()
        .filter(|it| usize::from(*it) < SLOTS);
    let slot = slot.ok_or(CommandError::fixed("ERR Invalid slot"))?;
    let count = context.state.keyspace.keys_in_slot(0, slot);
    context.reply().count(count);
    Ok(())
}

pub(super) fn get_keys_in_slot(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    cluster(context)?;
    let (slot, most) = (parse::integer(args.at(2))?, parse::integer(args.at(3))?);
    let slot = u16::try_from(slot)
        .ok()
        .filter(|it| usize::from(*it) < SLOTS);
    let (Some(slot), Ok(most)) = (slot, usize::try_from(most)) else {
        return Err(CommandError::fixed("ERR Invalid slot or number of keys"));
    };
    let keys = context.state.keyspace.some_keys_in_slot(0, slot, most);
    let reply = context.reply();
    reply.array(keys.len());
    for key in &keys {
        reply.bulk(key);
    }
    Ok(())
}

pub(super) fn asking(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    cluster(context)?;
    context.session().asking = Asking::Begins;
    context.reply().ok();
    Ok(())
}

pub(super) fn readonly(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    cluster(context)?;
    context.session().readonly = true;
    context.reply().ok();
    Ok(())
}

pub(super) fn readwrite(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    cluster(context)?;
    context.session().readonly = false;
    context.reply().ok();
    Ok(())
}
