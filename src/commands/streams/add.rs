//! XADD, XTRIM, XSETID: what changes the end and the beginning of a stream.

use super::{INVALID_ID, PartialId, id, parse_partial};
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{EventClass, Expiry, KeyEntry, NewValue};
use crate::resp::Args;
use crate::structures::stream::{
    AppendError, Keep, NodeLimits, References, Stream, StreamId, Trim, Trimmed,
};

/// The name that Redis gives an entry without one is bounded when no LIMIT is given: 100 nodes' worth of entries.
const LIMIT_NODES: usize = 100;
const LIMIT_MAX: u64 = 1_000_000;
const LIMIT_UNKNOWN: u64 = 10_000;

/// Options of XADD and XTRIM.
struct Options {
    /// What the entry's id was given as; none: `*`.
    id: Option<PartialId>,
    /// Which argument the id is.
    id_at: usize,
    no_mkstream: bool,
    trim: Option<Trim>,
    /// Which argument the threshold is; before it stands `~` if trimming is approximate.
    threshold_at: usize,
    /// Which arguments are LIMIT: it may be said again, and the last one counts.
    limits_at: Vec<usize>,
}

impl Options {
    fn parse(
        context: &Context<'_>,
        args: Args<'_>,
        is_xadd: bool,
    ) -> Result<Options, CommandError> {
        let mut options = Options {
            id: None,
            id_at: 0,
            no_mkstream: false,
            trim: None,
            threshold_at: 0,
            limits_at: Vec::new(),
        };
        let mut limit: Option<i64> = None;
        let mut references: Option<References> = None;
        let mut keep: Option<(Keep, bool)> = None;
        let mut at = 2;
        while let Some(option) = args.get(at) {
            let more = args.len().saturating_sub(at + 1);
            if is_xadd && option == b"*" {
                options.id_at = at;
                break;
            } else if more > 0
                && (parse::is_word(option, "MAXLEN") || parse::is_word(option, "MINID"))
            {
                if keep.is_some() {
                    return Err(CommandError::fixed(
                        "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                    ));
                }
                let operator = args.at(at + 1);
                let has_operator = more >= 2 && matches!(operator, b"~" | b"=");
                at += 1 + usize::from(has_operator);
                options.threshold_at = at;
                let threshold = threshold(option, args.at(at))?;
                keep = Some((threshold, has_operator && operator == b"~"));
            } else if more > 0 && parse::is_word(option, "LIMIT") {
                let given = parse::integer(args.at(at + 1))?;
                if given < 0 {
                    return Err(CommandError::fixed("ERR The LIMIT argument must be >= 0."));
                }
                limit = Some(given);
                options.limits_at.push(at);
                at += 1;
            } else if is_xadd && parse::is_word(option, "NOMKSTREAM") {
                options.no_mkstream = true;
            } else if let Some(word) = references_word(option) {
                if references.replace(word).is_some() {
                    return Err(CommandError::Syntax);
                }
            } else if is_xadd {
                // Neither an option nor `*`: an id, or wrong.
                options.id = Some(match option {
                    b"-" | b"+" => return Err(INVALID_ID),
                    _ => parse_partial(option, 0)?,
                });
                options.id_at = at;
                break;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        options.trim = trimming(context, is_xadd, keep, limit, references)?;
        Ok(options)
    }
}

/// The number or id behind MAXLEN or MINID.
fn threshold(option: &[u8], arg: &[u8]) -> Result<Keep, CommandError> {
    if parse::is_word(option, "MINID") {
        return match parse_partial(arg, 0)? {
            PartialId::Whole(min) => Ok(Keep::From(min)),
            PartialId::Within(_) => Err(INVALID_ID),
        };
    }
    let max = parse::integer(arg)?;
    let max = u64::try_from(max)
        .map_err(|_| CommandError::fixed("ERR The MAXLEN argument must be >= 0."))?;
    Ok(Keep::Newest(max))
}

/// KEEPREF, DELREF or ACKED.
pub(super) fn references_word(word: &[u8]) -> Option<References> {
    match () {
        () if parse::is_word(word, "KEEPREF") => Some(References::Keep),
        () if parse::is_word(word, "DELREF") => Some(References::Delete),
        () if parse::is_word(word, "ACKED") => Some(References::Acknowledged),
        () => None,
    }
}

fn trimming(
    context: &Context<'_>,
    is_xadd: bool,
    keep: Option<(Keep, bool)>,
    limit: Option<i64>,
    references: Option<References>,
) -> Result<Option<Trim>, CommandError> {
    let is_obeyed = context.session.is_obeyed();
    let Some((keep, approximate)) = keep else {
        if limit.is_some_and(|limit| limit > 0) {
            return Err(CommandError::fixed(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ));
        }
        if !is_xadd {
            return Err(CommandError::fixed(
                "ERR syntax error, XTRIM must be called with a trimming strategy",
            ));
        }
        if limit.is_some() && !is_obeyed {
            return Err(limit_without_tilde());
        }
        return Ok(None);
    };
    let limit = match limit {
        // What is repeated trims as much as it did the first time, however long that takes. Redis leaves LIMIT beside `=` in
        // what it tells its replicas and its file.
        _ if is_obeyed => 0,
        Some(_) if !approximate => return Err(limit_without_tilde()),
        Some(limit) => u64::try_from(limit).unwrap_or(0),
        None if approximate => default_limit(context.settings.stream_node_max_entries),
        None => 0,
    };
    Ok(Some(Trim {
        keep,
        approximate,
        limit,
        references: references.unwrap_or_default(),
    }))
}

fn limit_without_tilde() -> CommandError {
    CommandError::fixed("ERR syntax error, LIMIT cannot be used without the special ~ option")
}

/// Approximate trimming without LIMIT does the work of a hundred nodes at most.
fn default_limit(node_entries: usize) -> u64 {
    match node_entries.saturating_mul(LIMIT_NODES) {
        0 => LIMIT_UNKNOWN,
        entries => (entries as u64).min(LIMIT_MAX),
    }
}

/// What XADD did.
struct Added {
    id: StreamId,
    trimmed: Option<Trimmed>,
}

impl Added {
    /// The exact trimming to tell the journal, if there is one to tell.
    fn exactly(&self, stream: &Stream, trim: Option<Trim>) -> Option<(&'static [u8], Vec<u8>)> {
        let (trim, trimmed) = trim.zip(self.trimmed)?;
        Some(exactly(stream, &trim, trimmed))
    }
}

fn add(
    stream: &mut Stream,
    options: &Options,
    pairs: Args<'_>,
    limits: NodeLimits,
    now_ms: i64,
) -> Result<Added, CommandError> {
    if stream.last_id() == StreamId::MAX {
        return Err(CommandError::fixed(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    }
    let not_greater = CommandError::fixed(
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    );
    let id = match options.id {
        None => stream.next_id(now_ms),
        Some(PartialId::Whole(id)) => Some(id),
        Some(PartialId::Within(ms)) => stream.next_id_within(ms),
    };
    let id = id.ok_or(not_greater.clone())?;
    stream
        .append(id, pairs.iter(), limits)
        .map_err(|error| match error {
            AppendError::NotGreater => not_greater,
            AppendError::TooLarge => CommandError::fixed("ERR Elements are too large to be stored"),
        })?;
    Ok(Added {
        id,
        trimmed: options.trim.map(|how| stream.trim(how)),
    })
}

/// The arguments with approximate trimming as exact trimming to what was left, without LIMIT; and with the id.
fn rewrite(
    context: &mut Context<'_>,
    args: Args<'_>,
    options: &Options,
    left: Option<(&'static [u8], Vec<u8>)>,
    id: Option<&[u8]>,
) {
    if !context.propagates || (left.is_none() && id.is_none()) {
        return;
    }
    let mut words: Vec<&[u8]> = args.iter().collect();
    if let (Some(id), Some(word)) = (id, words.get_mut(options.id_at)) {
        *word = id;
    }
    if let Some((strategy, left)) = &left {
        // `MAXLEN ~ threshold`
        let from = options.threshold_at.saturating_sub(2);
        for (word, new) in words.iter_mut().skip(from).zip([*strategy, b"=", left]) {
            *word = new;
        }
        // LIMIT beside `=` would be refused by whoever repeats this and is no replica.
        for at in options.limits_at.iter().rev().copied() {
            words.drain(at..at.saturating_add(2).min(words.len()));
        }
    }
    context.rewrite(&words);
}

/// The exact trimming that comes to what approximate trimming has left.
///
/// A number of entries will not do for ACKED, which passes over entries that are still needed: there it is the id at
/// which trimming came to an end.
fn exactly(stream: &Stream, trim: &Trim, trimmed: Trimmed) -> (&'static [u8], Vec<u8>) {
    match trim.keep {
        Keep::Newest(_) if trim.references != References::Acknowledged => {
            let length = stream.summary().length;
            (b"MAXLEN", itoa::Buffer::new().format(length).into())
        }
        Keep::Newest(_) | Keep::From(_) => (b"MINID", trimmed.end.text().to_vec()),
    }
}

fn limits(context: &Context<'_>) -> NodeLimits {
    NodeLimits {
        bytes: context.settings.stream_node_max_bytes,
        entries: context.settings.stream_node_max_entries,
    }
}

pub(super) fn xadd(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(context, args, true)?;
    let pairs = args.skip(options.id_at + 1);
    if options.id_at == 0 || pairs.is_empty() || pairs.len() % 2 == 1 {
        return Err(CommandError::WrongArity("xadd".to_owned()));
    }
    if options.id == Some(PartialId::Whole(StreamId::MIN)) {
        return Err(CommandError::fixed(
            "ERR The ID specified in XADD must be greater than 0-0",
        ));
    }
    let key = args.at(1);
    let (limits, now_ms) = (limits(context), context.now.unix_ms());
    let rewritten_trim = options
        .trim
        .filter(|trim| trim.approximate && context.propagates);
    let (added, left) = match context.db.entry(key) {
        KeyEntry::Occupied(mut held) => {
            let stream = held.stream_mut()?;
            let added = add(stream, &options, pairs, limits, now_ms)?;
            let left = added.exactly(stream, rewritten_trim);
            (added, left)
        }
        KeyEntry::Vacant(_) if options.no_mkstream => {
            context.reply.null();
            return Ok(());
        }
        KeyEntry::Vacant(place) => {
            let mut stream = Box::new(Stream::default());
            let added = add(&mut stream, &options, pairs, limits, now_ms)?;
            let left = added.exactly(&stream, rewritten_trim);
            place.insert(NewValue::Stream(stream), Expiry::Clear);
            (added, left)
        }
    };
    context.db.signal_modified(EventClass::Stream, "xadd", key);
    if added.trimmed.is_some_and(|trimmed| trimmed.removed > 0) {
        context.db.event(EventClass::Stream, "xtrim", key);
    }
    let text = added.id.text();
    context.reply.bulk(&text);
    let given = matches!(options.id, Some(PartialId::Whole(_)));
    let id = (!given).then_some(&*text);
    rewrite(context, args, &options, left, id);
    Ok(())
}

pub(super) fn xtrim(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(context, args, false)?;
    let Some(trim) = options.trim else {
        return Err(CommandError::Syntax);
    };
    let key = args.at(1);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        context.reply.integer(0);
        return Ok(());
    };
    let stream = held.stream_mut()?;
    let trimmed = stream.trim(trim);
    let removed = trimmed.removed;
    if removed > 0 || trimmed.forgotten > 0 {
        let left = trim.approximate.then(|| exactly(stream, &trim, trimmed));
        if removed > 0 {
            context.db.signal_modified(EventClass::Stream, "xtrim", key);
        } else {
            context.db.count_change();
        }
        rewrite(context, args, &options, left, None);
    }
    context
        .reply
        .integer(i64::try_from(removed).unwrap_or(i64::MAX));
    Ok(())
}

pub(super) fn xsetid(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let last_id = id(args.at(2), 0)?;
    let (mut added, mut max_deleted) = (None, None);
    let mut rest = args.skip(3);
    while let Some(option) = rest.get(0) {
        if rest.len() > 1 && parse::is_word(option, "ENTRIESADDED") {
            let number = parse::integer(rest.at(1))?;
            added = Some(
                u64::try_from(number)
                    .map_err(|_| CommandError::fixed("ERR entries_added must be positive"))?,
            );
        } else if rest.len() > 1 && parse::is_word(option, "MAXDELETEDID") {
            let deleted = id(rest.at(1), 0)?;
            if last_id < deleted {
                return Err(CommandError::fixed(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            max_deleted = Some(deleted);
        } else {
            return Err(CommandError::Syntax);
        }
        rest = rest.skip(2);
    }
    let key = args.at(1);
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Err(CommandError::NoSuchKey);
    };
    let stream = held.stream_mut()?;
    if last_id < stream.max_deleted_id() {
        return Err(CommandError::fixed(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if let Some(top) = stream.last_entry_id() {
        if last_id < top {
            return Err(CommandError::fixed(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            ));
        }
        if added.is_some_and(|added| added < stream.summary().length) {
            return Err(CommandError::fixed(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            ));
        }
    }
    // `0-0` is how a caller says that it knows of none.
    stream.set_ids(last_id, added, max_deleted.filter(|id| !id.is_zero()));
    context.db.count_change();
    context.db.event(EventClass::Stream, "xsetid", key);
    context.reply.ok();
    Ok(())
}
