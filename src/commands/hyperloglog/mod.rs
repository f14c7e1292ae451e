//! HyperLogLog: PFADD, PFCOUNT, PFMERGE and the two commands that look inside.
//!
//! In: keys of strings that are HyperLogLogs, elements. Out: estimates; strings changed in place. A string that is
//! none by its header is refused as the wrong type, one whose registers do not add up as invalid. PFCOUNT of one key
//! keeps its answer in the string and counts as a change then, though it is a read. The structure itself is in
//! [`crate::structures::hyperloglog`]. Mirrors the commands of Redis's hyperloglog.c.

mod spec;

pub use spec::COMMANDS;

use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{
    EMBED_MAX, EntryRef, EventClass, Expiry, KeyEntry, NewValue, OccupiedEntry, Value,
};
use crate::resp::Args;
use crate::structures::hyperloglog::{self, Buffer, Corrupt, Encoding, REGISTERS, Registers};
use crate::system::rng::Rng;
use std::sync::Arc;

impl From<Corrupt> for CommandError {
    fn from(_: Corrupt) -> CommandError {
        CommandError::fixed("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// The encoding of the HyperLogLog at a key; else one of two errors.
fn encoding_of(entry: &EntryRef<'_>) -> Result<Encoding, CommandError> {
    const NONE: CommandError =
        CommandError::fixed("WRONGTYPE Key is not a valid HyperLogLog string value.");
    match entry.string()? {
        Value::Int(_) => Err(NONE),
        Value::Bytes(bytes) => hyperloglog::encoding(bytes).ok_or(NONE),
        Value::Blob(blob) => hyperloglog::encoding(blob).ok_or(NONE),
    }
}

/// Calls back with a string to store.
fn with_value<R>(bytes: Vec<u8>, store: impl FnOnce(NewValue<'_>) -> R) -> R {
    if bytes.len() > EMBED_MAX {
        store(NewValue::Blob(Arc::new(bytes)))
    } else {
        store(NewValue::Raw(&bytes))
    }
}

/// A stored string, which is known to be one, as what elements are added to.
struct Stored<'a, 'b>(&'a mut OccupiedEntry<'b>);

impl Buffer for Stored<'_, '_> {
    fn bytes(&mut self) -> &mut [u8] {
        self.0.bytes_mut().unwrap_or_default()
    }
    fn grow(&mut self, more: usize) {
        const ZEROS: [u8; 8] = [0; 8];
        let added = self.0.append(&ZEROS[..more.min(ZEROS.len())]);
        debug_assert!(added.is_ok() && more <= ZEROS.len());
    }
    fn truncate(&mut self, len: usize) {
        let cut = self.0.truncate(len);
        debug_assert!(cut.is_ok());
    }
    fn replace(&mut self, bytes: Vec<u8>) {
        with_value(bytes, |value| self.0.set(value, Expiry::Keep));
    }
}

fn pfadd(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, elements) = (args.at(1), args.skip(2));
    let sparse_max = context.settings.hll_sparse_max_bytes;
    let (changed, result) = match context.db.entry(key) {
        KeyEntry::Occupied(mut held) => {
            encoding_of(&held.entry())?;
            hyperloglog::add(&mut Stored(&mut held), elements.iter(), sparse_max)
        }
        KeyEntry::Vacant(place) => {
            let mut bytes = hyperloglog::empty();
            let (_, result) = hyperloglog::add(&mut bytes, elements.iter(), sparse_max);
            hyperloglog::forget_count(&mut bytes);
            with_value(bytes, |value| place.insert(value, Expiry::Clear));
            (1, result)
        }
    };
    // Elements before the one at which a corrupt string showed itself are in it.
    if changed > 0 {
        context.db.signal_modified(EventClass::String, "pfadd", key);
    }
    result?;
    context.reply.integer(i64::from(changed > 0));
    Ok(())
}

/// An estimate as it is answered: the one of a broken string may have the top bit.
fn reply_count(context: &mut Context<'_>, count: u64) {
    context.reply.integer(count as i64);
}

/// Merges the HyperLogLogs at these keys; and whether one of them was dense.
fn merged(context: &mut Context<'_>, keys: Args<'_>) -> Result<(Registers, bool), CommandError> {
    let mut registers = Registers::default();
    let mut any_dense = false;
    for key in keys.iter() {
        let Some(entry) = context.db.read(key) else {
            continue;
        };
        any_dense |= encoding_of(&entry)? == Encoding::Dense;
        let value = entry.string()?;
        value.with_bytes(|bytes| registers.merge(bytes))?;
    }
    Ok((registers, any_dense))
}

fn pfcount(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 2 {
        let (registers, _) = merged(context, args.skip(1))?;
        reply_count(context, registers.count());
        return Ok(());
    }
    let key = args.at(1);
    let Some(entry) = context.db.read(key) else {
        context.reply.integer(0);
        return Ok(());
    };
    encoding_of(&entry)?;
    let value = entry.string()?;
    if let Some(count) = value.with_bytes(hyperloglog::cached_count) {
        reply_count(context, count);
        return Ok(());
    }
    let count = value.with_bytes(hyperloglog::count)?;
    if let KeyEntry::Occupied(mut held) = context.db.entry(key) {
        hyperloglog::cache_count(held.bytes_mut()?, count);
        // Watchers, replicas and the file are told; an event is not raised, for nothing was added.
        context.db.signal_modified(EventClass::String, "", key);
    }
    reply_count(context, count);
    Ok(())
}

fn pfmerge(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let (registers, dense) = merged(context, args.skip(1))?;
    let sparse_max = context.settings.hll_sparse_max_bytes;
    match context.db.entry(key) {
        KeyEntry::Occupied(mut held) => {
            let mut bytes = held.entry().string()?.to_vec();
            registers.store(&mut bytes, dense, sparse_max)?;
            with_value(bytes, |value| held.set(value, Expiry::Keep));
        }
        KeyEntry::Vacant(place) => {
            let mut bytes = hyperloglog::empty();
            registers.store(&mut bytes, dense, sparse_max)?;
            with_value(bytes, |value| place.insert(value, Expiry::Clear));
        }
    }
    context.db.signal_modified(EventClass::String, "pfadd", key);
    context.reply.ok();
    Ok(())
}

/// Makes the HyperLogLog at a key dense, if it is not; whether it was not.
fn make_dense(context: &mut Context<'_>, key: &[u8]) -> Result<bool, CommandError> {
    let KeyEntry::Occupied(mut held) = context.db.entry(key) else {
        return Ok(false);
    };
    if encoding_of(&held.entry())? == Encoding::Dense {
        return Ok(false);
    }
    let value = hyperloglog::to_dense(held.bytes_mut()?)?;
    Stored(&mut held).replace(value);
    context.db.signal_modified(EventClass::String, "", key);
    Ok(true)
}

fn pfdebug(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (word, key) = (args.at(1), args.at(2));
    let encoding = match context.db.entry(key) {
        KeyEntry::Occupied(held) => encoding_of(&held.entry())?,
        KeyEntry::Vacant(_) => {
            return Err(CommandError::fixed("ERR The specified key does not exist"));
        }
    };
    match () {
        () if parse::is_word(word, "GETREG") => {
            make_dense(context, key)?;
            let (registers, _) = merged(context, args.skip(2))?;
            context.reply.array(REGISTERS);
            for register in registers.values() {
                context.reply.integer((*register).into());
            }
        }
        () if parse::is_word(word, "DECODE") => {
            if encoding == Encoding::Dense {
                return Err(CommandError::fixed("ERR HLL encoding is not sparse"));
            }
            let Some(entry) = context.db.peek(key) else {
                return Ok(());
            };
            let text = entry.string()?.with_bytes(decoded);
            context.reply.bulk(text.as_bytes());
        }
        () if parse::is_word(word, "ENCODING") => context.reply.simple(match encoding {
            Encoding::Dense => "dense",
            Encoding::Sparse => "sparse",
        }),
        () if parse::is_word(word, "TODENSE") => {
            let was_sparse = make_dense(context, key)?;
            context.reply.integer(was_sparse.into());
        }
        () => {
            return Err(CommandError::showing(
                "ERR Unknown PFDEBUG subcommand '",
                word,
                "'",
            ));
        }
    }
    Ok(())
}

/// The opcodes of a sparse one: `z` and `Z` with the length of a run of zeros, `v` with value and length.
fn decoded(bytes: &[u8]) -> String {
    let spell = |run: hyperloglog::Run| match (run.value, run.is_long) {
        (0, false) => format!("z:{}", run.len),
        (0, true) => format!("Z:{}", run.len),
        (value, _) => format!("v:{value},{}", run.len),
    };
    let words: Vec<String> = hyperloglog::runs(bytes).map(spell).collect();
    words.join(" ")
}

/// Adds a million elements to a dense one and to one that begins sparse: both have to agree, and to be about right.
fn selftest(rng: &mut Rng, sparse_max: usize) -> Result<(), CommandError> {
    const ELEMENTS: u64 = 1_000_000;
    let failed = |text: String| Err(CommandError::text_owned(format!("ERR TESTFAILED {text}")));
    let mut dense = hyperloglog::to_dense(&hyperloglog::empty())?;
    let mut other = hyperloglog::empty();
    let seed = rng.next_u64();
    let mut checkpoint = 1;
    for number in 1..=ELEMENTS {
        let element = (number ^ seed).to_le_bytes();
        for bytes in [&mut dense, &mut other] {
            hyperloglog::add(bytes, [element.as_slice()].into_iter(), sparse_max).1?;
        }
        if number != checkpoint {
            continue;
        }
        let starts_sparse = hyperloglog::encoding(&other) == Some(Encoding::Sparse);
        if number < sparse_max as u64 / 2 && !starts_sparse {
            return failed("sparse encoding not used".to_owned());
        }
        let count = hyperloglog::count(&dense)?;
        if hyperloglog::count(&other)? != count {
            return failed("dense/sparse disagree".to_owned());
        }
        let error = count.abs_diff(number);
        // Six times the standard error is hardly ever exceeded; ten elements may hide one in a collision.
        let relative = 1.04 / (REGISTERS as f64).sqrt();
        let allowed = match number {
            10 => 1,
            _ => (relative * 6.0 * number as f64).ceil() as u64,
        };
        if error > allowed {
            return failed(format!("Too big error. card:{number} abserr:{error}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}

fn pfselftest(context: &mut Context<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    selftest(context.rng, context.settings.hll_sparse_max_bytes)?;
    context.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests;
