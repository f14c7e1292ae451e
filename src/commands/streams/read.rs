//! XREAD and XREADGROUP: entries behind an id, of several streams, now or when they come.
//!
//! Both first resolve every id, with all errors, and then serve each stream that has something. When none has, they may
//! wait: they are run again when a key changes, and `$` is the last id of the first run then.

use super::claim::claimant;
use super::{Rewrites, count, id, no_group, write_entries, write_entry, write_id};
use crate::engine::{CommandError, Context, Wait, parse};
use crate::keyspace::{EventClass, KeyEntry, Type};
use crate::resp::{Args, Deferred, Reply};
use crate::structures::stream::{ConsumerKey, Entries, Group, Stream, StreamId};

/// What one stream is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// Entries behind this id; with a group, those that the consumer has already.
    Id(StreamId),
    /// Entries that the group has not delivered yet (`>`).
    New,
}

/// Arguments of both commands.
struct Reading<'a> {
    /// BLOCK was given; with the monotonic time at which it ends, ns.
    block: Option<Option<u64>>,
    /// 0: no limit.
    count: usize,
    no_ack: bool,
    /// Group and consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    /// Which argument the first key is.
    keys_at: usize,
    keys: Args<'a>,
    ids: Args<'a>,
}

impl<'a> Reading<'a> {
    fn parse(
        context: &Context<'_>,
        args: Args<'a>,
        is_group: bool,
    ) -> Result<Reading<'a>, CommandError> {
        let mut reading = Reading {
            block: None,
            count: 0,
            no_ack: false,
            group: None,
            keys_at: 0,
            keys: args.take(0),
            ids: args.take(0),
        };
        let mut at = 1;
        while let Some(option) = args.get(at) {
            let more = args.len().saturating_sub(at + 1);
            if more > 0 && parse::is_word(option, "BLOCK") {
                at += 1;
                reading.block = Some(parse::timeout_ms(args.at(at), context.now)?);
            } else if more > 0 && parse::is_word(option, "COUNT") {
                at += 1;
                reading.count = count(args.at(at))?;
            } else if more > 0 && parse::is_word(option, "STREAMS") {
                let rest = args.skip(at + 1);
                if rest.len() % 2 == 1 {
                    return Err(unbalanced(is_group));
                }
                reading.keys_at = at + 1;
                reading.keys = rest.take(rest.len() / 2);
                reading.ids = rest.skip(rest.len() / 2);
                break;
            } else if more > 1 && parse::is_word(option, "GROUP") {
                if !is_group {
                    return Err(only_for_groups("GROUP"));
                }
                reading.group = Some((args.at(at + 1), args.at(at + 2)));
                at += 2;
            } else if parse::is_word(option, "NOACK") {
                if !is_group {
                    return Err(only_for_groups("NOACK"));
                }
                reading.no_ack = true;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        if reading.keys_at == 0 {
            return Err(CommandError::Syntax);
        }
        if is_group && reading.group.is_none() {
            return Err(CommandError::fixed(
                "ERR Missing GROUP option for XREADGROUP",
            ));
        }
        Ok(reading)
    }
    /// Has the command wait, or answers that there is nothing.
    fn wait(&self, context: &mut Context<'_>, args: Args<'_>, resolved: &[From]) {
        let Some(deadline_ns) = self.block else {
            context.reply.null_array();
            return;
        };
        if !context.may_block {
            context.reply.null_array();
            return;
        }
        let is_end = |id: &[u8]| id == b"$";
        let again_as = self.ids.iter().any(is_end).then(|| {
            let mut words: Vec<Vec<u8>> = args.iter().map(<[u8]>::to_vec).collect();
            let ids = words.iter_mut().skip(self.keys_at + self.keys.len());
            for (word, from) in ids.zip(resolved) {
                if let (true, From::Id(id)) = (is_end(word), from) {
                    *word = id.text().to_vec();
                }
            }
            words
        });
        context.block(Wait {
            keys: self.keys.iter().map(<[u8]>::to_vec).collect(),
            kind: Type::Stream,
            deadline_ns,
            on_removal: self.group.is_some(),
            again_as,
        });
    }
}

fn unbalanced(is_group: bool) -> CommandError {
    CommandError::fixed(if is_group {
        "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."
    } else {
        "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified."
    })
}

fn only_for_groups(option: &str) -> CommandError {
    CommandError::text_owned(format!(
        "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
    ))
}

/// Ids that only name a place when a stream is read without a group.
fn meaningless(id: char) -> CommandError {
    CommandError::text_owned(format!(
        "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer \
         by specifying a proper ID, or use the > ID to get new messages. The {id} ID would just return an empty result \
         set."
    ))
}

// ---- without a group -------------------------------------------------------------------------------

/// Behind which id a stream is to be read.
fn resolve(arg: &[u8], stream: Option<&Stream>) -> Result<StreamId, CommandError> {
    match arg {
        b"$" => Ok(stream.map_or(StreamId::MIN, |stream| stream.last_id())),
        // What stands before the last entry that is left; where there is none, the last that there was.
        b"+" => Ok(stream.map_or(StreamId::MIN, |stream| {
            let last = stream.last_entry_id();
            last.and_then(StreamId::previous)
                .unwrap_or(stream.last_id())
        })),
        b">" => Err(CommandError::fixed(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        )),
        _ => id(arg, 0),
    }
}

pub(super) fn xread(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let reading = Reading::parse(context, args, false)?;
    if reading.keys.len() == 1 {
        return read_one(context, args, &reading);
    }
    let mut resolved = Vec::with_capacity(reading.keys.len());
    for (key, arg) in reading.keys.iter().zip(reading.ids.iter()) {
        let entry = context.db.read(key);
        let stream = entry.as_ref().map(|entry| entry.stream()).transpose()?;
        resolved.push(From::Id(resolve(arg, stream)?));
    }
    let mut mark = None;
    let mut served = 0;
    for (key, from) in reading.keys.iter().zip(&resolved) {
        // Redis looks twice, and so tells twice of a key that is missing.
        let (Some(entry), From::Id(behind)) = (context.db.read(key), from) else {
            continue;
        };
        let Ok(stream) = entry.stream() else {
            continue;
        };
        let Some(start) = has_behind(stream, *behind) else {
            continue;
        };
        mark.get_or_insert_with(|| context.reply.begin_deferred());
        served += 1;
        if !context.reply.resp3() {
            context.reply.array(2);
        }
        context.reply.bulk(key);
        let entries = stream.range(start, StreamId::MAX);
        write_entries(context.reply, entries, reading.count);
    }
    match mark {
        Some(mark) if context.reply.resp3() => context.reply.end_deferred_map(mark, served),
        Some(mark) => context.reply.end_deferred_array(mark, served),
        None => reading.wait(context, args, &resolved),
    }
    Ok(())
}

/// Reads from one stream, which needs one look-up and no list.
fn read_one(
    context: &mut Context<'_>,
    args: Args<'_>,
    reading: &Reading<'_>,
) -> Result<(), CommandError> {
    let key = reading.keys.at(0);
    let entry = context.db.read(key);
    let stream = entry.as_ref().map(|entry| entry.stream()).transpose()?;
    let behind = resolve(reading.ids.at(0), stream)?;
    if let Some(stream) = stream
        && let Some(start) = has_behind(stream, behind)
    {
        if context.reply.resp3() {
            context.reply.map(1);
        } else {
            context.reply.array(1);
            context.reply.array(2);
        }
        context.reply.bulk(key);
        let entries = stream.range(start, StreamId::MAX);
        write_entries(context.reply, entries, reading.count);
        return Ok(());
    }
    if stream.is_none() {
        // Redis looks twice, and so tells twice of a key that is missing.
        context.db.read(key);
    }
    reading.wait(context, args, &[From::Id(behind)]);
    Ok(())
}

/// The first id behind another one, if there are entries from there on.
fn has_behind(stream: &Stream, id: StreamId) -> Option<StreamId> {
    if stream.last_id() <= id {
        return None;
    }
    stream.last_entry_id().filter(|last| *last > id)?;
    id.next()
}

// ---- with a group ----------------------------------------------------------------------------------

/// What a consumer wants of one stream; all errors that the arguments can have. A command that waited and is run again
/// has them too: its key went, became something else, or lost the group.
fn resolve_for_group(
    context: &mut Context<'_>,
    key: &[u8],
    group: &[u8],
    arg: &[u8],
) -> Result<From, CommandError> {
    let entry = context.db.read(key);
    let stream = entry.as_ref().map(|entry| entry.stream()).transpose()?;
    if stream.and_then(|stream| stream.group(group)).is_none() {
        return Err(no_group(key, group, " in XREADGROUP with GROUP option"));
    }
    match arg {
        b"$" => Err(meaningless('$')),
        b"+" => Err(meaningless('+')),
        b">" => Ok(From::New),
        // The last id that is possible stands for `>` in Redis, and so it does for its clients.
        _ => match id(arg, 0)? {
            StreamId::MAX => Ok(From::New),
            id => Ok(From::Id(id)),
        },
    }
}

pub(super) fn xreadgroup(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let reading = Reading::parse(context, args, true)?;
    let Some((group, consumer)) = reading.group else {
        return Err(CommandError::Syntax);
    };
    let mut resolved = Vec::with_capacity(reading.keys.len());
    for (key, arg) in reading.keys.iter().zip(reading.ids.iter()) {
        resolved.push(resolve_for_group(context, key, group, arg)?);
    }
    let mut mark = None;
    let mut served = 0;
    for (key, from) in reading.keys.iter().zip(&resolved) {
        let what = Delivery {
            names: (key, group),
            consumer,
            from: *from,
            count: reading.count,
            no_ack: reading.no_ack,
        };
        if deliver(context, &what, &mut mark) {
            served += 1;
        }
    }
    match mark {
        Some(mark) if context.reply.resp3() => context.reply.end_deferred_map(mark, served),
        Some(mark) => context.reply.end_deferred_array(mark, served),
        None => reading.wait(context, args, &resolved),
    }
    Rewrites {
        active: context.propagates,
        effects: context.effects,
    }
    .finish();
    Ok(())
}

/// What one stream of XREADGROUP is asked for.
struct Delivery<'a> {
    /// Key and group.
    names: (&'a [u8], &'a [u8]),
    consumer: &'a [u8],
    from: From,
    count: usize,
    no_ack: bool,
}

/// Serves one stream; whether it had anything. `mark` is where the whole reply began, once it has.
fn deliver(context: &mut Context<'_>, what: &Delivery<'_>, mark: &mut Option<Deferred>) -> bool {
    let (key, group_name) = what.names;
    let now_ms = context.now.unix_ms();
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return false;
    };
    let Ok(stream) = held.stream_mut() else {
        return false;
    };
    let Some((entries, group)) = stream.group_with_entries(group_name) else {
        return false;
    };
    let mut rewrites = Rewrites {
        effects: context.effects,
        active: context.propagates,
    };
    let Some((consumer, created)) = claimant(group, what.consumer, now_ms) else {
        return false;
    };
    let has_new = || {
        entries.last_id() > group.last_id
            && entries
                .last_entry_id()
                .is_some_and(|last| last > group.last_id)
    };
    let serves = matches!(what.from, From::Id(_)) || has_new();
    // Claims name their consumer; where none is made, the journal has to be told of it.
    if created && (what.no_ack || !serves || what.from != From::New) {
        rewrites.create_consumer(what.names, what.consumer);
    }
    let mut changed = false;
    if serves {
        mark.get_or_insert_with(|| context.reply.begin_deferred());
        if !context.reply.resp3() {
            context.reply.array(2);
        }
        context.reply.bulk(key);
        let deferred = context.reply.begin_deferred();
        let written = match what.from {
            From::Id(behind) => {
                what.history(context.reply, (entries, group), (consumer, behind), now_ms)
            }
            From::New => {
                changed = true;
                let written = what.fresh(
                    context.reply,
                    &mut rewrites,
                    (entries, group),
                    (consumer, now_ms),
                );
                rewrites.group_position(what.names, group);
                written
            }
        };
        context.reply.end_deferred_array(deferred, written);
    }
    signal(context, key, created, changed);
    serves
}

impl Delivery<'_> {
    /// Answers what the consumer has not acknowledged behind an id, and counts it as delivered once more; how much it
    /// was. Entries that are gone from the stream are told by their id alone.
    fn history(
        &self,
        reply: &mut Reply,
        (entries, group): (&Entries, &mut Group),
        (consumer, behind): (ConsumerKey, StreamId),
        now_ms: i64,
    ) -> usize {
        let start = behind.next().unwrap_or(StreamId::MAX);
        let pending = group.pending_between(start, StreamId::MAX, Some(consumer));
        let most = if self.count == 0 {
            usize::MAX
        } else {
            self.count
        };
        let ids: Vec<StreamId> = pending.map(|(id, _)| id).take(most).collect();
        for id in &ids {
            match entries.range(*id, *id).next() {
                Some(entry) => {
                    write_entry(reply, &entry);
                    group.deliver_again(*id, now_ms);
                }
                None => {
                    reply.array(2);
                    write_id(reply, *id);
                    reply.null_array();
                }
            }
        }
        ids.len()
    }
    /// Delivers what the group has not got yet; how much it was.
    fn fresh(
        &self,
        reply: &mut Reply,
        rewrites: &mut Rewrites<'_>,
        (entries, group): (&Entries, &mut Group),
        (consumer, now_ms): (ConsumerKey, i64),
    ) -> usize {
        let start = group.last_id.next().unwrap_or(StreamId::MAX);
        let mut written = 0;
        for entry in entries.range(start, StreamId::MAX) {
            let id = entry.id();
            group.entries_read = entries.entries_read_after(group, id);
            group.last_id = id;
            write_entry(reply, &entry);
            written += 1;
            if !self.no_ack {
                let pending = group.deliver(id, consumer, now_ms);
                rewrites.claim(self.names, group, id, &pending);
            }
            if written == self.count {
                break;
            }
        }
        if let Some(consumer) = group.consumer_mut(consumer)
            && !self.no_ack
            && written > 0
        {
            consumer.active_ms = now_ms;
        }
        written
    }
}

/// Tells of what changed.
fn signal(context: &mut Context<'_>, key: &[u8], created: bool, changed: bool) {
    if created {
        context.db.count_change();
        context
            .db
            .event(EventClass::Stream, "xgroup-createconsumer", key);
    }
    if changed {
        context.db.count_change();
    }
}
