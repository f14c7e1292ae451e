//! XPENDING, XCLAIM, XAUTOCLAIM: what was delivered and not acknowledged, and how others take it over.

use super::{Rewrites, count, id, interval_end, interval_start, no_group, write_entry, write_id};
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{EventClass, KeyEntry};
use crate::resp::{Args, Reply};
use crate::structures::stream::{ConsumerKey, Entries, Group, StreamId};
use crate::system::numbers;

// ---- XPENDING --------------------------------------------------------------------------------------

/// The range form of XPENDING.
struct PendingRange<'a> {
    min_idle_ms: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> PendingRange<'a> {
    /// The arguments behind key and group; none: the summary is wanted.
    fn parse(args: Args<'a>) -> Result<Option<PendingRange<'a>>, CommandError> {
        if args.is_empty() {
            return Ok(None);
        }
        if args.len() < 3 || args.len() > 6 {
            return Err(CommandError::Syntax);
        }
        let (mut min_idle_ms, mut rest) = (0, args);
        if parse::is_word(args.at(0), "IDLE") {
            min_idle_ms = parse::integer(args.at(1))?;
            if args.len() < 5 {
                return Err(CommandError::Syntax);
            }
            rest = args.skip(2);
        }
        let count = count(rest.at(2))?;
        Ok(Some(PendingRange {
            min_idle_ms,
            start: interval_start(rest.at(0))?,
            end: interval_end(rest.at(1))?,
            count,
            consumer: rest.get(3),
        }))
    }
}

pub(super) fn xpending(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let range = PendingRange::parse(args.skip(3))?;
    let (key, name) = (args.at(1), args.at(2));
    let entry = context.db.read(key);
    let stream = entry.as_ref().map(|entry| entry.stream()).transpose()?;
    let group = stream.and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| no_group(key, name, ""))?;
    match range {
        None => write_summary(context.reply, group),
        Some(range) => write_pending(context.reply, group, &range, context.now.unix_ms()),
    }
    Ok(())
}

fn write_summary(reply: &mut Reply, group: &Group) {
    reply.array(4);
    reply.count(group.pending_len());
    let mut pending = group.pending_iter().map(|(id, _)| id);
    let Some(first) = pending.next() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    write_id(reply, first);
    write_id(reply, pending.next_back().unwrap_or(first));
    let mark = reply.begin_deferred();
    let mut owners = 0;
    for consumer in group.consumers().filter(|one| one.pending_len() > 0) {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_i64(i64::try_from(consumer.pending_len()).unwrap_or(i64::MAX));
        owners += 1;
    }
    reply.end_deferred_array(mark, owners);
}

fn write_pending(reply: &mut Reply, group: &Group, range: &PendingRange<'_>, now_ms: i64) {
    let consumer = match range.consumer.map(|name| group.find(name)) {
        // Nobody of this name has anything.
        Some(None) => {
            reply.array(0);
            return;
        }
        Some(consumer) => consumer,
        None => None,
    };
    let mark = reply.begin_deferred();
    let mut written = 0;
    for (id, pending) in group.pending_between(range.start, range.end, consumer) {
        if written == range.count {
            break;
        }
        let idle_ms = now_ms.saturating_sub(pending.delivered_ms);
        if range.min_idle_ms != 0 && idle_ms < range.min_idle_ms {
            continue;
        }
        reply.array(4);
        write_id(reply, id);
        reply.bulk(group.owner_name(pending));
        reply.integer(idle_ms.max(0));
        reply.integer(i64::try_from(pending.deliveries).unwrap_or(i64::MAX));
        written += 1;
    }
    reply.end_deferred_array(mark, written);
}

// ---- claiming --------------------------------------------------------------------------------------

/// An integer; whatever is wrong with it, the answer is `otherwise`.
fn integer_or(arg: &[u8], otherwise: &'static str) -> Result<i64, CommandError> {
    numbers::parse_i64(arg).ok_or(CommandError::fixed(otherwise))
}

/// The consumer who reads or claims, seen now; whether it was created.
pub(super) fn claimant(group: &mut Group, name: &[u8], now_ms: i64) -> Option<(ConsumerKey, bool)> {
    let found = group.find(name);
    let consumer = found.or_else(|| group.add_consumer(name, now_ms))?;
    if let Some(consumer) = group.consumer_mut(consumer) {
        consumer.seen_ms = now_ms;
    }
    Some((consumer, found.is_none()))
}

/// How entries are taken over.
struct Claim<'a> {
    /// Key and group.
    names: (&'a [u8], &'a [u8]),
    consumer: ConsumerKey,
    min_idle_ms: i64,
    /// Time of delivery that they get.
    delivered_ms: i64,
    /// Number of deliveries that they get; none: one more than they had.
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    now_ms: i64,
}

/// What became of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claimed {
    /// Taken over, and answered.
    Yes,
    /// Not pending, or not idle for long enough.
    No,
    /// Pending, but deleted from the stream: no longer pending.
    Gone,
}

impl Claim<'_> {
    fn take(
        &self,
        reply: &mut Reply,
        rewrites: &mut Rewrites<'_>,
        (entries, group): (&Entries, &mut Group),
        id: StreamId,
    ) -> Claimed {
        let before = group.pending(id).copied();
        let Some(entry) = entries.range(id, id).next() else {
            let Some(pending) = before else {
                return Claimed::No;
            };
            // A reader of the journal finds the entry gone too, and drops it as this does.
            rewrites.claim(self.names, group, id, &pending);
            group.acknowledge(id);
            return Claimed::Gone;
        };
        let deliveries = match before {
            None if !self.force => return Claimed::No,
            None => 1,
            Some(pending) => {
                let idle_ms = self.now_ms.saturating_sub(pending.delivered_ms);
                if self.min_idle_ms > 0 && idle_ms < self.min_idle_ms {
                    return Claimed::No;
                }
                pending.deliveries
            }
        };
        let deliveries = match self.deliveries {
            Some(given) => given,
            None if self.just_id => deliveries,
            None => deliveries.saturating_add(1),
        };
        let pending = group.claim(id, self.consumer, self.delivered_ms, deliveries);
        if self.just_id {
            write_id(reply, id);
        } else {
            write_entry(reply, &entry);
        }
        if let Some(consumer) = group.consumer_mut(self.consumer) {
            consumer.active_ms = self.now_ms;
        }
        rewrites.claim(self.names, group, id, &pending);
        Claimed::Yes
    }
}

/// Tells of a consumer that was created and of entries that were claimed.
fn signal(context: &mut Context<'_>, key: &[u8], created: bool, changed: bool) {
    if created {
        context
            .db
            .event(EventClass::Stream, "xgroup-createconsumer", key);
    }
    if created || changed {
        context.db.count_change();
    }
    Rewrites {
        active: context.propagates,
        effects: context.effects,
    }
    .finish();
}

// ---- XCLAIM ----------------------------------------------------------------------------------------

/// Options of XCLAIM, which stand behind the ids.
#[derive(Default)]
struct ClaimOptions {
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    last_id: StreamId,
    force: bool,
    just_id: bool,
}

impl ClaimOptions {
    fn parse(args: Args<'_>, now_ms: i64) -> Result<ClaimOptions, CommandError> {
        let mut options = ClaimOptions::default();
        let mut rest = args;
        while let Some(option) = rest.get(0) {
            let value = rest.get(1);
            rest = rest.skip(1);
            if parse::is_word(option, "FORCE") {
                options.force = true;
                continue;
            }
            if parse::is_word(option, "JUSTID") {
                options.just_id = true;
                continue;
            }
            match value {
                Some(value) if parse::is_word(option, "IDLE") => {
                    let idle = integer_or(value, "ERR Invalid IDLE option argument for XCLAIM")?;
                    options.delivered_ms = Some(now_ms.saturating_sub(idle));
                }
                Some(value) if parse::is_word(option, "TIME") => {
                    let time = integer_or(value, "ERR Invalid TIME option argument for XCLAIM")?;
                    options.delivered_ms = Some(time);
                }
                Some(value) if parse::is_word(option, "RETRYCOUNT") => {
                    let retries =
                        integer_or(value, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                    options.deliveries = u64::try_from(retries).ok();
                }
                Some(value) if parse::is_word(option, "LASTID") => options.last_id = id(value, 0)?,
                _ => {
                    let problem = "ERR Unrecognized XCLAIM option '";
                    return Err(CommandError::showing(problem, option, "'"));
                }
            }
            rest = rest.skip(1);
        }
        Ok(options)
    }
}

pub(super) fn xclaim(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, name) = (args.at(1), args.at(2));
    // Redis looks it up as a reader does: hits and misses count, and a miss is told.
    context.db.read(key);
    let now_ms = context.now.unix_ms();
    let mut slot = context.db.entry(key);
    let stream = match &mut slot {
        KeyEntry::Occupied(held) => held.stream_mut()?,
        KeyEntry::Vacant(_) => return Err(no_group(key, name, "")),
    };
    let (entries, group) = stream
        .group_with_entries(name)
        .ok_or_else(|| no_group(key, name, ""))?;
    let min_idle_ms = integer_or(args.at(4), "ERR Invalid min-idle-time argument for XCLAIM")?;
    // Whatever is no id any more is an option.
    let rest = args.skip(5);
    let ids: Vec<StreamId> = rest.iter().map_while(|arg| id(arg, 0).ok()).collect();
    let options = ClaimOptions::parse(rest.skip(ids.len()), now_ms)?;

    let mut rewrites = Rewrites {
        effects: context.effects,
        active: context.propagates,
    };
    let moved = options.last_id > group.last_id;
    if moved {
        group.last_id = options.last_id;
    }
    let Some((consumer, created)) = claimant(group, args.at(3), now_ms) else {
        return Err(CommandError::OutOfMemory);
    };
    let claim = Claim {
        names: (key, name),
        consumer,
        min_idle_ms,
        // A time that cannot be is taken as now: clients compute it from clocks of their own.
        delivered_ms: options
            .delivered_ms
            .filter(|at| (0..=now_ms).contains(at))
            .unwrap_or(now_ms),
        deliveries: options.deliveries,
        force: options.force,
        just_id: options.just_id,
        now_ms,
    };
    let mark = context.reply.begin_deferred();
    let (mut claimed, mut changed) = (0, false);
    for id in ids {
        let outcome = claim.take(context.reply, &mut rewrites, (entries, group), id);
        claimed += usize::from(outcome == Claimed::Yes);
        changed |= outcome != Claimed::No;
    }
    context.reply.end_deferred_array(mark, claimed);
    if moved && !changed {
        // Claims carry the group's last id; without one it is told by itself.
        rewrites.group_position((key, name), group);
    }
    if created && claimed == 0 {
        rewrites.create_consumer((key, name), args.at(3));
    }
    signal(context, key, created, changed || moved);
    Ok(())
}

// ---- XAUTOCLAIM ------------------------------------------------------------------------------------

/// So many entries are looked at for each that may be claimed.
const ATTEMPTS: usize = 10;
/// Largest COUNT: its attempts, and the ids of as many deleted entries, must be countable.
const COUNT_MAX: i64 = i64::MAX / 16;

/// COUNT and JUSTID.
fn auto_options(args: Args<'_>) -> Result<(usize, bool), CommandError> {
    let (mut count, mut just_id) = (100, false);
    let mut rest = args;
    while let Some(option) = rest.get(0) {
        if rest.len() > 1 && parse::is_word(option, "COUNT") {
            count = numbers::parse_i64(rest.at(1))
                .filter(|count| (1..=COUNT_MAX).contains(count))
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(CommandError::fixed("ERR COUNT must be > 0"))?;
            rest = rest.skip(2);
        } else if parse::is_word(option, "JUSTID") {
            just_id = true;
            rest = rest.skip(1);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok((count, just_id))
}

pub(super) fn xautoclaim(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, name) = (args.at(1), args.at(2));
    // Redis looks it up as a reader does: hits and misses count, and a miss is told.
    context.db.read(key);
    let now_ms = context.now.unix_ms();
    let min_idle_ms = integer_or(
        args.at(4),
        "ERR Invalid min-idle-time argument for XAUTOCLAIM",
    )?;
    let start = interval_start(args.at(5))?;
    let (count, just_id) = auto_options(args.skip(6))?;
    let mut slot = context.db.entry(key);
    let stream = match &mut slot {
        KeyEntry::Occupied(held) => held.stream_mut()?,
        KeyEntry::Vacant(_) => return Err(no_group(key, name, "")),
    };
    let (entries, group) = stream
        .group_with_entries(name)
        .ok_or_else(|| no_group(key, name, ""))?;
    let mut rewrites = Rewrites {
        effects: context.effects,
        active: context.propagates,
    };
    let Some((consumer, created)) = claimant(group, args.at(3), now_ms) else {
        return Err(CommandError::OutOfMemory);
    };
    let claim = Claim {
        names: (key, name),
        consumer,
        min_idle_ms,
        delivered_ms: now_ms,
        deliveries: None,
        force: false,
        just_id,
        now_ms,
    };
    // What is answered first, where to go on, is known last: the entries are written to the side of it.
    let (mut left, mut attempts) = (count, count.saturating_mul(ATTEMPTS));
    let mut next = group.first_pending_from(start);
    let (mut claimed, mut gone) = (Vec::new(), Vec::new());
    while let Some(id) = next
        && left > 0
        && attempts > 0
    {
        attempts -= 1;
        match claim.peek(entries, group, id) {
            Claimed::Yes => {
                claimed.push(id);
                left -= 1;
            }
            Claimed::Gone => {
                gone.push(id);
                left -= 1;
            }
            Claimed::No => {}
        }
        next = id.next().and_then(|id| group.first_pending_from(id));
    }
    context.reply.array(3);
    write_id(context.reply, next.unwrap_or(StreamId::MIN));
    context.reply.array(claimed.len());
    // In the order of ids, as the journal's reader will do it.
    let (mut of_claimed, mut of_gone) = (claimed.iter().peekable(), gone.iter().peekable());
    while let Some(id) = match (of_claimed.peek(), of_gone.peek()) {
        (Some(one), Some(other)) if other < one => of_gone.next(),
        (Some(_), _) => of_claimed.next(),
        (None, _) => of_gone.next(),
    } {
        claim.take(context.reply, &mut rewrites, (entries, group), *id);
    }
    context.reply.array(gone.len());
    for id in &gone {
        write_id(context.reply, *id);
    }
    let changed = !claimed.is_empty() || !gone.is_empty();
    if created && claimed.is_empty() {
        rewrites.create_consumer((key, name), args.at(3));
    }
    signal(context, key, created, changed);
    Ok(())
}

impl Claim<'_> {
    /// What [`Claim::take`] will do with a pending entry.
    fn peek(&self, entries: &Entries, group: &Group, id: StreamId) -> Claimed {
        let Some(pending) = group.pending(id) else {
            return Claimed::No;
        };
        if !entries.contains(id) {
            return Claimed::Gone;
        }
        let idle_ms = self.now_ms.saturating_sub(pending.delivered_ms);
        if self.min_idle_ms > 0 && idle_ms < self.min_idle_ms {
            return Claimed::No;
        }
        Claimed::Yes
    }
}
