//! What changes a cluster: slots, nodes, roles.

use super::cluster;
use crate::cluster::{Failover, message::PORT_DISTANCE};
use crate::engine::{CommandError, ServerContext, parse, shown};
use crate::resp::Args;
use crate::structures::slots::SLOTS;
use crate::system::numbers;

type Answered = Result<(), CommandError>;

/// Answers OK, or why it was refused.
fn answer(context: &mut ServerContext<'_>, done: Result<(), String>) -> Answered {
    done.map_err(CommandError::text_owned)?;
    context.reply().ok();
    Ok(())
}

/// A slot's number.
fn slot(arg: &[u8]) -> Result<u16, CommandError> {
    let slot = numbers::parse_i64(arg).and_then(|slot| u16::try_from(slot).ok());
    slot.filter(|slot| usize::from(*slot) < SLOTS)
        .ok_or(CommandError::fixed("ERR Invalid or out of range slot"))
}

fn slots_of(args: Args<'_>) -> Result<Vec<u16>, CommandError> {
    args.iter().skip(2).map(slot).collect()
}

/// The slots of ranges. No more than there are in all and one: the first that comes twice is refused anyway.
fn slots_of_ranges(name: &str, args: Args<'_>) -> Result<Vec<u16>, CommandError> {
    if args.len() % 2 == 1 {
        return Err(CommandError::WrongArity(format!("cluster|{name}")));
    }
    let mut slots = Vec::new();
    for at in (2..args.len()).step_by(2) {
        let (first, last) = (slot(args.at(at))?, slot(args.at(at.saturating_add(1)))?);
        if first > last {
            return Err(CommandError::text_owned(format!(
                "ERR start slot number {first} is greater than end slot number {last}"
            )));
        }
        slots.extend(first..=last);
        if slots.len() > SLOTS {
            break;
        }
    }
    Ok(slots)
}

pub(super) fn add_slots(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let (cluster, _) = cluster(context)?;
    let done = cluster.add_slots(&slots_of(args)?);
    answer(context, done)
}

pub(super) fn del_slots(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let (cluster, _) = cluster(context)?;
    let done = cluster.del_slots(&slots_of(args)?);
    answer(context, done)
}

pub(super) fn add_slots_range(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let (cluster, _) = cluster(context)?;
    let done = cluster.add_slots(&slots_of_ranges("addslotsrange", args)?);
    answer(context, done)
}

pub(super) fn del_slots_range(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let (cluster, _) = cluster(context)?;
    let done = cluster.del_slots(&slots_of_ranges("delslotsrange", args)?);
    answer(context, done)
}

pub(super) fn flush_slots(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    let (cluster, facts) = cluster(context)?;
    let done = cluster.flush_slots(&facts);
    answer(context, done)
}

pub(super) fn set_slot(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let (cluster, facts) = cluster(context)?;
    if cluster.myself().is_replica() {
        return Err(CommandError::fixed(
            "ERR Please use SETSLOT only with masters.",
        ));
    }
    let slot = slot(args.at(2))?;
    let is = |word| parse::is_word(args.at(3), word);
    let done = match args.len() {
        5 if is("MIGRATING") => cluster.set_slot_migrating(slot, args.at(4)),
        5 if is("IMPORTING") => cluster.set_slot_importing(slot, args.at(4)),
        4 if is("STABLE") => cluster.set_slot_stable(slot),
        5 if is("NODE") => {
            let keys = context.state.keyspace.keys_in_slot(0, slot);
            let (cluster, _) = super::cluster(context)?;
            cluster.set_slot_node(slot, args.at(4), keys, &facts)
        }
        _ => {
            return Err(CommandError::fixed(
                "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
            ));
        }
    };
    answer(context, done)
}

pub(super) fn meet(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let (cluster, facts) = cluster(context)?;
    if args.len() > 5 {
        return Err(CommandError::WrongArity("cluster|meet".to_owned()));
    }
    let wrong = |text: &[u8], arg: &[u8]| CommandError::of_parts(&[text, shown(arg)]);
    let (ip, port) = (args.at(2), args.at(3));
    let Some(base) = numbers::parse_i64(port) else {
        return Err(wrong(b"ERR Invalid base port specified: ", port));
    };
    let bus = match args.get(4) {
        None => base.saturating_add(i64::from(PORT_DISTANCE)),
        Some(arg) => numbers::parse_i64(arg)
            .ok_or_else(|| wrong(b"ERR Invalid bus port specified: ", arg))?,
    };
    let invalid = || {
        CommandError::of_parts(&[
            b"ERR Invalid node address specified: ",
            shown(ip),
            b":",
            shown(port),
        ])
    };
    let (Ok(base), Ok(bus), Ok(ip)) = (
        u16::try_from(base),
        u16::try_from(bus),
        std::str::from_utf8(ip),
    ) else {
        return Err(invalid());
    };
    let done = cluster.meet(ip, base, bus, &facts);
    answer(context, done)
}

pub(super) fn forget(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let (cluster, facts) = cluster(context)?;
    let done = cluster.forget(args.at(2), &facts);
    answer(context, done)
}

pub(super) fn replicate(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let (cluster, facts) = cluster(context)?;
    let done = cluster.replicate(args.at(2), &facts);
    answer(context, done)
}

pub(super) fn reset(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let (cluster, facts) = cluster(context)?;
    let hard = match args.get(2) {
        None => false,
        Some(word) if parse::is_word(word, "SOFT") => false,
        Some(word) if parse::is_word(word, "HARD") => true,
        Some(_) => return Err(CommandError::Syntax),
    };
    if args.len() > 3 {
        return Err(CommandError::WrongArity("cluster|reset".to_owned()));
    }
    let done = cluster.reset(hard, &facts);
    answer(context, done)
}

pub(super) fn failover(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let (cluster, facts) = cluster(context)?;
    let how = match args.get(2) {
        None => Failover::Normal,
        Some(word) if parse::is_word(word, "FORCE") => Failover::Force,
        Some(word) if parse::is_word(word, "TAKEOVER") => Failover::Takeover,
        Some(_) => return Err(CommandError::Syntax),
    };
    if args.len() > 3 {
        return Err(CommandError::WrongArity("cluster|failover".to_owned()));
    }
    let done = cluster.failover(how, &facts);
    answer(context, done)
}

pub(super) fn save_config(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    let (cluster, _) = cluster(context)?;
    let done = cluster.save_config();
    answer(context, done)
}

pub(super) fn bump_epoch(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answered {
    let (cluster, _) = cluster(context)?;
    let (is_new, epoch) = cluster.bump_epoch().map_err(CommandError::text_owned)?;
    let word = if is_new { "BUMPED" } else { "STILL" };
    context.reply().simple(&format!("{word} {epoch}"));
    Ok(())
}

pub(super) fn set_config_epoch(context: &mut ServerContext<'_>, args: Args<'_>) -> Answered {
    let (cluster, _) = cluster(context)?;
    let epoch = parse::integer(args.at(2))?;
    let done = match u64::try_from(epoch) {
        Ok(epoch) => cluster.set_config_epoch(epoch),
        Err(_) => Err(format!("ERR Invalid config epoch specified: {epoch}")),
    };
    answer(context, done)
}
