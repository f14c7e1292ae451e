//! Some fields of a hash: HRANDFIELD by chance, HSCAN step by step.

use super::write_item;
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::FieldsExpired;
use crate::resp::{Args, Reply};
use crate::structures::Collection;
use crate::structures::hash::{Hash, Pair};
use crate::system::rng::Rng;
use std::collections::HashSet;

/// Fields are drawn one by one, and those drawn twice again, when the hash is more than so many times larger than what
/// is wanted. In smaller ones all are taken and the superfluous thrown out.
const DRAW_FROM: usize = 3;
/// Most fields that are answered with repetitions: more would not fit into memory anyway.
const REPEATED_MOST: usize = 1 << 28;

/// How fields are answered.
#[derive(Clone, Copy)]
struct Form {
    values: bool,
    /// A pair is an array of its own (RESP3).
    nested: bool,
}

impl Form {
    fn head(self, reply: &mut Reply, fields: usize) {
        let flat = self.values && !self.nested;
        reply.array(if flat {
            fields.saturating_mul(2)
        } else {
            fields
        });
    }
    fn pair(self, reply: &mut Reply, pair: Pair<'_>) {
        if self.values && self.nested {
            reply.array(2);
        }
        write_item(reply, pair.field);
        if self.values {
            write_item(reply, pair.value);
        }
    }
}

pub(super) fn hrandfield(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    if args.len() == 2 {
        return one_field(context, key);
    }
    let count = parse::integer_within(args.at(2), -i64::MAX, i64::MAX)?;
    let values = args.len() == 4 && parse::is_word(args.at(3), "WITHVALUES");
    if args.len() > 4 || (args.len() == 4 && !values) {
        return Err(CommandError::Syntax);
    }
    if values && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count) {
        return Err(CommandError::fixed("ERR value is out of range"));
    }
    let form = Form {
        values,
        nested: context.reply.resp3(),
    };
    if !ready(context, key)? {
        context.reply.array(0);
        return Ok(());
    }
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 && wanted > REPEATED_MOST {
        return Err(CommandError::fixed("ERR value is out of range"));
    }
    let held_max = context.settings.client_output_buffer_limits[0].hard_bytes;
    let Some(entry) = context.db.peek(key) else {
        return Ok(());
    };
    let hash = entry.hash()?;
    let (reply, rng) = (&mut *context.reply, &mut *context.rng);
    if let Some(mut live) = only_live(hash, context.now.expiry_ms()) {
        let wanted = if live.is_empty() || count > 0 {
            wanted.min(live.len())
        } else {
            wanted
        };
        form.head(reply, wanted);
        for place in 0..wanted {
            // With repetitions all are always there to be drawn.
            let from = if count < 0 { 0 } else { place };
            let drawn = from + rng.index(live.len() - from);
            live.swap(from, drawn);
            form.pair(reply, live[from]);
            if held_max > 0 && reply.output().memory_bytes() as u64 > held_max {
                break;
            }
        }
        return Ok(());
    }
    if count < 0 || wanted == 1 {
        form.head(reply, wanted);
        for _ in 0..wanted {
            let Some(pair) = hash.random(&mut || rng.next_u64()) else {
                break;
            };
            form.pair(reply, pair);
            // The client is cut off for it after this command; more would only take memory.
            if held_max > 0 && reply.output().memory_bytes() as u64 > held_max {
                break;
            }
        }
    } else if wanted >= hash.len() {
        form.head(reply, hash.len());
        hash.iter().for_each(|pair| form.pair(reply, pair));
    } else {
        form.head(reply, wanted);
        distinct(hash, wanted, rng, &mut |pair| form.pair(reply, pair));
    }
    Ok(())
}

/// Looks the hash up to draw from it: expired fields are removed first. Whether any is left.
fn ready(context: &mut Context<'_>, key: &[u8]) -> Result<bool, CommandError> {
    let now_ms = context.now.expiry_ms();
    let Some(entry) = context.db.read(key) else {
        return Ok(false);
    };
    let expired = entry
        .hash()?
        .earliest_expiry()
        .is_some_and(|at| at < now_ms);
    Ok(!expired || context.db.expire_fields(key) != FieldsExpired::All)
}

/// The fields whose time is not over, if there are others too: while writes are paused these cannot be removed. O(N).
fn only_live(hash: &Hash, now_ms: i64) -> Option<Vec<Pair<'_>>> {
    let passed = hash.earliest_expiry().is_some_and(|at| at < now_ms);
    passed.then(|| hash.iter_live(now_ms).collect())
}

fn one_field(context: &mut Context<'_>, key: &[u8]) -> Result<(), CommandError> {
    if ready(context, key)?
        && let Some(entry) = context.db.peek(key)
    {
        let rng = &mut *context.rng;
        let hash = entry.hash()?;
        let drawn = match only_live(hash, context.now.expiry_ms()) {
            Some(live) if live.is_empty() => None,
            Some(live) => Some(live[rng.index(live.len())]),
            None => hash.random(&mut || rng.next_u64()),
        };
        if let Some(pair) = drawn {
            write_item(context.reply, pair.field);
            return Ok(());
        }
    }
    context.reply.null();
    Ok(())
}

/// Calls back with `wanted` different fields, fewer than there are; every choice of them has the same chance.
fn distinct(hash: &Hash, wanted: usize, rng: &mut Rng, each: &mut dyn FnMut(Pair<'_>)) {
    let len = hash.len();
    if hash.listpack().is_some() {
        // One pass: each field is taken with the chance that what is still wanted has among what is left.
        let (mut left, mut wanted) = (len, wanted);
        for pair in hash.iter() {
            if rng.index(left) < wanted {
                each(pair);
                wanted -= 1;
            }
            left = left.saturating_sub(1);
        }
    } else if wanted.saturating_mul(DRAW_FROM) > len {
        let mut pairs: Vec<Pair<'_>> = hash.iter().collect();
        for place in 0..wanted {
            let drawn = place + rng.index(pairs.len() - place);
            pairs.swap(place, drawn);
            each(pairs[place]);
        }
    } else {
        let mut seen = HashSet::with_capacity(wanted);
        while seen.len() < wanted {
            let Some(pair) = hash.random(&mut || rng.next_u64()) else {
                break;
            };
            // In a table the name stands at an address of its own as long as nothing changes.
            let crate::structures::listpack::Item::Bytes(name) = pair.field else {
                break;
            };
            if seen.insert(name.as_ptr()) {
                each(pair);
            }
        }
    }
}

pub(super) fn hscan(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut cursor = parse::cursor(args.at(2))?;
    let now_ms = context.now.expiry_ms();
    let Some(entry) = context.db.read(args.at(1)) else {
        context.reply.array(2);
        context.reply.bulk(b"0");
        context.reply.array(0);
        return Ok(());
    };
    let hash = entry.hash()?;
    let options = parse::ScanOptions::parse_hash(args.skip(3))?;
    let reply = &mut *context.reply;
    // The cursor stands before the fields but is known after them: they go to a buffer of their own.
    let mut found = Reply::new(reply.protocol());
    let mut elements = 0;
    let mut seen = 0;
    let mut steps = options.count.saturating_mul(10);
    loop {
        cursor = hash.scan(cursor, |pair| {
            seen += 1;
            let matches = pair.field.with_bytes(|name| options.matches(name));
            if matches && !pair.is_expired(now_ms) {
                write_item(&mut found, pair.field);
                elements += 1;
                if !options.no_values {
                    write_item(&mut found, pair.value);
                    elements += 1;
                }
            }
        });
        steps -= 1;
        if cursor == 0 || steps == 0 || seen >= options.count {
            break;
        }
    }
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(cursor).as_bytes());
    reply.array(elements);
    if !reply.is_discarding() {
        reply.output_mut().append(found.output_mut());
    }
    Ok(())
}
