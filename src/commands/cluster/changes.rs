//! The subcommands of CLUSTER that change it.

use super::{Answer, DISABLED, cluster, slot};
use crate::cluster::{Cluster, Done, Facts, Failover};
use crate::engine::cluster::facts;
use crate::engine::{CommandError, ServerContext, parse, shown};
use crate::resp::Args;
use crate::system::numbers;
use std::borrow::Cow;

/// How far the bus's port is above the one for clients, where nothing else is said.
const BUS_PORT_ABOVE: i64 = 10_000;

/// Changes the cluster.
fn change<T>(
    context: &mut ServerContext<'_>,
    change: impl FnOnce(&mut Cluster, &Facts) -> Done<T>,
) -> Result<T, CommandError> {
    let facts = facts(context.state);
    let cluster = context.state.cluster.as_deref_mut().ok_or(DISABLED)?;
    change(cluster, &facts).map_err(CommandError::text_owned)
}

/// Changes the cluster and answers OK.
fn change_or_refuse(
    context: &mut ServerContext<'_>,
    how: impl FnOnce(&mut Cluster, &Facts) -> Done,
) -> Answer {
    change(context, how)?;
    context.reply().ok();
    Ok(())
}

fn text(arg: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(shown(arg))
}

pub(super) fn meet(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    cluster(context.state)?;
    if args.len() > 5 {
        return Err(CommandError::subcommand_syntax(args));
    }
    let number = |at: usize, name: &str| {
        let arg = args.at(at);
        let before = format!("ERR Invalid {name} port specified: ");
        numbers::parse_i64(arg).ok_or_else(|| CommandError::showing(&before, arg, ""))
    };
    let port = number(3, "base")?;
    let bus_port = match args.len() {
        5 => number(4, "bus")?,
        _ => port.saturating_add(BUS_PORT_ABOVE),
    };
    let (Ok(port), Ok(bus_port)) = (u16::try_from(port), u16::try_from(bus_port)) else {
        let (ip, port) = (shown(args.at(2)), shown(args.at(3)));
        let parts = [b"ERR Invalid node address specified: ", ip, b":", port];
        return Err(CommandError::of_parts(&parts));
    };
    let ip = text(args.at(2));
    change_or_refuse(context, |cluster, facts| {
        cluster.meet(&ip, port, bus_port, facts)
    })
}

pub(super) fn forget(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    change_or_refuse(context, |cluster, facts| {
        cluster.forget(shown(args.at(2)), facts)
    })
}

/// The slots that arguments name one by one.
fn named(args: Args<'_>) -> Result<Vec<u16>, CommandError> {
    args.skip(2).iter().map(slot).collect()
}

pub(super) fn addslots(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    cluster(context.state)?;
    let slots = named(args)?;
    change_or_refuse(context, |cluster, _| cluster.add_slots(&slots))
}

pub(super) fn delslots(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    cluster(context.state)?;
    let slots = named(args)?;
    change_or_refuse(context, |cluster, _| cluster.del_slots(&slots))
}

/// The slots of the ranges that arguments name. Each range is looked at by `check` before the next one is, as that decides which of
/// two errors is told; no slot is named more than twice, however many ranges there are.
fn in_ranges(args: Args<'_>, cluster: &Cluster, is_del: bool) -> Result<Vec<u16>, CommandError> {
    if args.len() % 2 == 1 {
        let name = String::from_utf8_lossy(args.at(1)).to_ascii_lowercase();
        return Err(CommandError::WrongArity(format!("cluster|{name}")));
    }
    let mut slots = crate::structures::slots::SlotSet::default();
    let mut ranges = args.skip(2).iter();
    while let (Some(start), Some(end)) = (ranges.next(), ranges.next()) {
        let (start, end) = (slot(start)?, slot(end)?);
        if start > end {
            return Err(CommandError::text_owned(format!(
                "ERR start slot number {start} is greater than end slot number {end}"
            )));
        }
        for slot in start..=end {
            let why = match cluster.owner(slot) {
                None if is_del => "is already unassigned",
                Some(_) if !is_del => "is already busy",
                _ if !slots.insert(slot) => "specified multiple times",
                _ => continue,
            };
            return Err(CommandError::text_owned(format!("ERR Slot {slot} {why}")));
        }
    }
    Ok(slots.iter().collect())
}

pub(super) fn addslotsrange(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let slots = in_ranges(args, cluster(context.state)?, false)?;
    change_or_refuse(context, |cluster, _| cluster.add_slots(&slots))
}

pub(super) fn delslotsrange(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let slots = in_ranges(args, cluster(context.state)?, true)?;
    change_or_refuse(context, |cluster, _| cluster.del_slots(&slots))
}

pub(super) fn flushslots(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    change_or_refuse(context, |cluster, facts| cluster.flush_slots(facts))
}

pub(super) fn setslot(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    if cluster(context.state)?.myself().is_replica() {
        return Err(CommandError::fixed(
            "ERR Please use SETSLOT only with masters.",
        ));
    }
    let slot = slot(args.at(2))?;
    let is = |word| parse::is_word(args.at(3), word);
    let id = shown(args.at(4.min(args.len() - 1)));
    match args.len() {
        5 if is("MIGRATING") => {
            change_or_refuse(context, |cluster, _| cluster.set_slot_migrating(slot, id))
        }
        5 if is("IMPORTING") => {
            change_or_refuse(context, |cluster, _| cluster.set_slot_importing(slot, id))
        }
        4 if is("STABLE") => change_or_refuse(context, |cluster, _| cluster.set_slot_stable(slot)),
        5 if is("NODE") => {
            let keys = context.state.keyspace.keys_in_slot(0, slot);
            change_or_refuse(context, |cluster, facts| {
                cluster.set_slot_node(slot, id, keys, facts)
            })
        }
        _ => Err(CommandError::fixed(
            "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
        )),
    }
}

pub(super) fn bumpepoch(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let (is_new, epoch) = change(context, |cluster, _| cluster.bump_epoch())?;
    let word = if is_new { "BUMPED" } else { "STILL" };
    context.reply().simple(&format!("{word} {epoch}"));
    Ok(())
}

pub(super) fn set_config_epoch(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    cluster(context.state)?;
    let epoch = parse::integer(args.at(2))?;
    let Ok(epoch) = u64::try_from(epoch) else {
        return Err(CommandError::text_owned(format!(
            "ERR Invalid config epoch specified: {epoch}"
        )));
    };
    change_or_refuse(context, |cluster, _| cluster.set_config_epoch(epoch))
}

pub(super) fn saveconfig(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    change_or_refuse(context, |cluster, _| cluster.save_config())
}

pub(super) fn replicate(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    change_or_refuse(context, |cluster, facts| {
        cluster.replicate(shown(args.at(2)), facts)
    })
}

pub(super) fn failover(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    cluster(context.state)?;
    let how = match args.len() {
        2 => Failover::Normal,
        3 if parse::is_word(args.at(2), "FORCE") => Failover::Force,
        3 if parse::is_word(args.at(2), "TAKEOVER") => Failover::Takeover,
        3 => return Err(CommandError::Syntax),
        _ => return Err(CommandError::subcommand_syntax(args)),
    };
    change_or_refuse(context, |cluster, facts| cluster.failover(how, facts))
}

pub(super) fn reset(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    cluster(context.state)?;
    let hard = match args.len() {
        2 => false,
        3 if parse::is_word(args.at(2), "HARD") => true,
        3 if parse::is_word(args.at(2), "SOFT") => false,
        3 => return Err(CommandError::Syntax),
        _ => return Err(CommandError::subcommand_syntax(args)),
    };
    change_or_refuse(context, |cluster, facts| cluster.reset(hard, facts))
}
