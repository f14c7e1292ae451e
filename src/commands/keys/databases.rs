//! Whole databases: choosing, swapping and emptying them, and going through their keys.

use crate::clients::ClientKind;
use crate::engine::{CommandError, Context, ServerContext, blocking, parse, persistence, tracking};
use crate::keyspace::Free;
use crate::resp::{Args, Reply};
use crate::system::{glob, numbers};

pub(super) fn select(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let number = parse::int(args.at(1))?;
    if context.settings.cluster.enabled && number != 0 {
        return Err(CommandError::fixed(
            "ERR SELECT is not allowed in cluster mode",
        ));
    }
    context.session.db = parse::database_of(number, context.settings.databases)?;
    context.reply.ok();
    Ok(())
}

pub(super) fn swapdb(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if context.state.cluster.is_some() {
        return Err(CommandError::fixed(
            "ERR SWAPDB is not allowed in cluster mode",
        ));
    }
    let count = context.state.keyspace.count();
    let first = parse::int_or(args.at(1), "ERR invalid first DB index")?;
    let second = parse::int_or(args.at(2), "ERR invalid second DB index")?;
    let (first, second) = (
        parse::database_of(first, count)?,
        parse::database_of(second, count)?,
    );
    let now = context.now();
    context.state.keyspace.swap(first, second, now);
    context.reply().ok();
    Ok(())
}

pub(super) fn dbsize(context: &mut Context<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    context.reply.count(context.db.len());
    Ok(())
}

/// Empties one database or all.
fn flush(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
    db: Option<usize>,
) -> Result<(), CommandError> {
    let free = match args.len() {
        1 if context.state.config.settings().lazyfree_lazy_user_flush => Free::Lazily,
        1 => Free::Now,
        2 if parse::is_word(args.at(1), "SYNC") => Free::Now,
        2 if parse::is_word(args.at(1), "ASYNC") => Free::Lazily,
        _ => return Err(CommandError::Syntax),
    };
    // A client that can wait does so while the free thread works, and the others go on.
    let can_wait = blocking::can_wait(context.session());
    let is_waited_for = free == Free::Now;
    let waits = is_waited_for && can_wait && context.state.keyspace.rings_when_freed();
    let free = if waits { Free::Awaited } else { free };
    let removed = context.state.keyspace.flush(db, free);
    context.state.keyspace.dirty += removed;
    // Replicas and files shall be empty too, whatever they held.
    context.effects.propagate = true;
    // A flush that an append-only file repeats is of long ago.
    let repeats = context.session().kind == ClientKind::Internal;
    if db.is_none() && !repeats {
        persistence::forget_snapshot(context.state, context.host);
    }
    if free == Free::Now && removed > 0 {
        // The allocator gives memory back as time goes by and as it is used; after this there may be no use for long.
        crate::system::memory::purge();
    }
    if waits
        && removed > 0
        && let Some(bell) = context.state.keyspace.ring_when_freed()
    {
        context.effects.details_mut().block =
            blocking::wait_for_freeing(context.state, context.client, bell);
        return Ok(());
    }
    if is_waited_for {
        tracking::send_before_reply(context.state, context.client, context.asker);
    }
    context.reply().ok();
    Ok(())
}

pub(super) fn flushdb(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let own = context.session().db;
    flush(context, args, Some(own))
}

pub(super) fn flushall(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    flush(context, args, None)
}

pub(super) fn randomkey(context: &mut Context<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let key = context.db.random_key();
    context.reply.bulk_or_null(key.as_deref());
    Ok(())
}

pub(super) fn keys(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let pattern = args.at(1);
    let (db, reply) = (&mut context.db, &mut *context.reply);
    let mark = reply.begin_deferred();
    let mut found = 0;
    db.for_each(&mut |entry| {
        if pattern == b"*" || glob::matches(pattern, entry.key()) {
            reply.bulk(entry.key());
            found += 1;
        }
    });
    reply.end_deferred_array(mark, found);
    Ok(())
}

/// Strings gathered before they are answered: their bytes one after another, and where each ends.
#[derive(Default)]
pub struct Gathered {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Gathered {
    /// Adds one.
    pub fn push(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
    }
    /// Answers what a SCAN command answers: the next cursor, and the strings.
    pub fn reply_scan(&self, reply: &mut Reply, cursor: u64) {
        let mut text = Vec::new();
        numbers::write_u64(&mut text, cursor);
        reply.array(2);
        reply.bulk(&text);
        reply.array(self.ends.len());
        for string in self.iter() {
            reply.bulk(string);
        }
    }
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[start..*end])
    }
}

pub(super) fn scan(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut cursor = parse::cursor(args.at(1))?;
    let options = parse::ScanOptions::parse(args.skip(2), true)?;
    // Filters do not count against COUNT, or a rare pattern would be looked for through the whole database at once. Nor
    // may a table that is nearly empty make the call long.
    let mut seen = 0;
    let mut steps = options.count.saturating_mul(10);
    let mut found = Gathered::default();
    loop {
        cursor = context.db.scan(cursor, &mut |entry| {
            seen += 1;
            if options.matches_type(entry.kind()) && options.matches(entry.key()) {
                found.push(entry.key());
            }
        });
        if cursor == 0 || steps == 0 || seen >= options.count {
            break;
        }
        steps -= 1;
    }
    found.reply_scan(context.reply, cursor);
    Ok(())
}
