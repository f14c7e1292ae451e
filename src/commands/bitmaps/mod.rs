//! Bitmaps: strings whose bits are set, counted, searched and combined.
//!
//! In: keys of strings, positions in bits or bytes. Out: bits, counts, positions; strings changed in place, grown in
//! one step where a position lies behind their end, and only told as changed where they did. No position reaches
//! beyond `proto-max-bulk-len`, which bounds the memory that it can ask for.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP |
//! | [`field`] | BITFIELD and BITFIELD_RO |
//! | [`spec`] | the rows of the command table |
//!
//! The work on the bits themselves is in [`crate::structures::bits`]. Mirrors the commands of Redis's bitops.c.

mod field;
mod spec;

pub use spec::COMMANDS;

use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{
    EMBED_MAX, EventClass, Expiry, KeyEntry, NewValue, OccupiedEntry, VacantEntry, Value,
};
use crate::resp::Args;
use crate::structures::Blob;
use crate::structures::bits::{self, Operation};
use crate::system::numbers;
use std::sync::Arc;

/// A string outside of the keyspace: long ones are shared with it, not copied.
enum Owned {
    Bytes(Vec<u8>),
    Blob(Blob),
}

impl Owned {
    /// A string that was built here.
    fn new(bytes: Vec<u8>) -> Owned {
        if bytes.len() > EMBED_MAX {
            Owned::Blob(Arc::new(bytes))
        } else {
            Owned::Bytes(bytes)
        }
    }
    /// A string that is stored, to be held while others are looked up.
    fn of(value: Value<'_>) -> Owned {
        match value {
            Value::Blob(blob) => Owned::Blob(Arc::clone(blob)),
            value => Owned::Bytes(value.to_vec()),
        }
    }
    fn bytes(&self) -> &[u8] {
        match self {
            Owned::Bytes(bytes) => bytes,
            Owned::Blob(blob) => blob,
        }
    }
    /// The value to store, as bytes even where they spell a number.
    fn value(&self) -> NewValue<'_> {
        match self {
            Owned::Bytes(bytes) => NewValue::Raw(bytes),
            Owned::Blob(blob) => NewValue::Blob(Arc::clone(blob)),
        }
    }
}

/// A position in bits. Behind `#` it counts integers of `width` bits, where the command has such.
fn bit_offset(
    context: &Context<'_>,
    arg: &[u8],
    width: Option<u32>,
) -> Result<usize, CommandError> {
    const INVALID: CommandError =
        CommandError::fixed("ERR bit offset is not an integer or out of range");
    let (digits, unit) = match (width, arg) {
        (Some(width), [b'#', digits @ ..]) => (digits, i64::from(width)),
        _ => (arg, 1),
    };
    numbers::parse_i64(digits)
        .and_then(|number| number.checked_mul(unit))
        .and_then(|offset| usize::try_from(offset).ok())
        .filter(|offset| offset / 8 < context.longest_string())
        .ok_or(INVALID)
}

/// Creates a string of zeros but for one byte, the last.
fn insert_zeros_and(place: VacantEntry<'_>, last: usize, byte: u8) -> OccupiedEntry<'_> {
    // Zeroed pages come from the system untouched, so a far position costs no more than its pages.
    let mut bytes = vec![0; last + 1];
    bytes[last] = byte;
    place.insert_held(Owned::new(bytes).value(), Expiry::Clear)
}

fn setbit(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, offset) = (args.at(1), bit_offset(context, args.at(2), None)?);
    let on = match numbers::parse_i64(args.at(3)) {
        Some(bit @ 0..=1) => bit == 1,
        _ => {
            return Err(CommandError::fixed(
                "ERR bit is not an integer or out of range",
            ));
        }
    };
    let (at, mask) = (offset / 8, 0x80u8 >> (offset % 8));
    let with = if on { mask } else { 0 };
    let old = match context.db.entry(key) {
        KeyEntry::Vacant(place) => {
            insert_zeros_and(place, at, with);
            false
        }
        KeyEntry::Occupied(mut held) => {
            if let Value::Blob(blob) = held.entry().string()?
                && let Some(byte) = blob.get(at)
                && (byte & mask != 0) == on
            {
                // Said before the bytes are asked for to be changed: these would be copied if a reply shares them.
                context.reply.integer(i64::from(on));
                return Ok(());
            }
            match held.bytes_mut()?.get_mut(at) {
                Some(byte) => {
                    let old = *byte & mask != 0;
                    if old == on {
                        context.reply.integer(i64::from(old));
                        return Ok(());
                    }
                    *byte ^= mask;
                    old
                }
                None => {
                    held.set_range(at, &[with])?;
                    false
                }
            }
        }
    };
    context
        .db
        .signal_modified(EventClass::String, "setbit", key);
    context.reply.integer(i64::from(old));
    Ok(())
}

fn getbit(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let offset = bit_offset(context, args.at(2), None)?;
    let bit = match context.db.read(args.at(1)) {
        Some(entry) => entry
            .string()?
            .with_bytes(|bytes| bits::field(bytes, offset, 1)),
        None => 0,
    };
    context.reply.integer(i64::from(bit == 1));
    Ok(())
}

/// Whether positions count bits: `BIT` or `BYTE`.
fn counts_bits(unit: &[u8]) -> Result<bool, CommandError> {
    match () {
        () if parse::is_word(unit, "BIT") => Ok(true),
        () if parse::is_word(unit, "BYTE") => Ok(false),
        () => Err(CommandError::Syntax),
    }
}

/// A range as BITCOUNT and BITPOS take it: two positions, negative ones from the end, of bytes or of bits.
#[derive(Clone, Copy)]
struct Range {
    start: i64,
    end: i64,
    of_bits: bool,
}

impl Range {
    /// The first and the last bit of it in a string of `len` bytes, which has them; none if it is empty.
    fn bits(self, len: usize) -> Option<(usize, usize)> {
        let unit = if self.of_bits { 1 } else { 8 };
        let total = i64::try_from(len * 8 / unit).unwrap_or(i64::MAX);
        let from_front = |index: i64| {
            if index < 0 {
                (total + index).max(0)
            } else {
                index
            }
        };
        let start = usize::try_from(from_front(self.start)).ok()?;
        let end = usize::try_from(from_front(self.end).min(total - 1)).ok()?;
        (start <= end).then(|| (start * unit, end * unit + unit - 1))
    }
}

fn bitcount(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let range = match args.len() {
        2 => None,
        4 | 5 => Some(Range {
            start: parse::integer(args.at(2))?,
            end: parse::integer(args.at(3))?,
            of_bits: args.get(4).map_or(Ok(false), counts_bits)?,
        }),
        _ => return Err(CommandError::Syntax),
    };
    let Some(entry) = context.db.read(args.at(1)) else {
        context.reply.integer(0);
        return Ok(());
    };
    let value = entry.string()?;
    let count = value.with_bytes(|bytes| match range {
        None => bits::count_ones(bytes),
        // Empty whatever the length: both ends are moved to the beginning where the string is too short for them.
        Some(Range { start, end, .. }) if start < 0 && end < 0 && start > end => 0,
        Some(range) => match range.bits(bytes.len()) {
            Some((first, last)) => bits::count_ones_between(bytes, first, last),
            None => 0,
        },
    });
    context
        .reply
        .integer(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(())
}

fn bitpos(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let wanted = match parse::integer(args.at(2))? {
        0 => false,
        1 => true,
        _ => {
            return Err(CommandError::fixed("ERR The bit argument must be 1 or 0."));
        }
    };
    if args.len() > 6 {
        return Err(CommandError::Syntax);
    }
    let start = args.get(3).map_or(Ok(0), parse::integer)?;
    let of_bits = args.get(5).map_or(Ok(false), counts_bits)?;
    let end = args.get(4).map(parse::integer).transpose()?;
    let Some(entry) = context.db.read(args.at(1)) else {
        // Zeros without end: the first of them, or no one.
        context.reply.integer(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let value = entry.string()?;
    let range = Range {
        start,
        end: end.unwrap_or(-1),
        of_bits,
    };
    let found = value.with_bytes(|bytes| {
        let (first, last) = range.bits(bytes.len())?;
        bits::find_between(bytes, wanted, first, last)
            // Where no end is given, zeros go on behind the end of the string.
            .or_else(|| (!wanted && end.is_none()).then_some(bytes.len() * 8))
    });
    context
        .reply
        .integer(found.map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX)));
    Ok(())
}

/// The operation that a word names.
fn operation(word: &[u8]) -> Result<(Operation, &'static str), CommandError> {
    const WORDS: [(&str, Operation); 8] = [
        ("AND", Operation::And),
        ("OR", Operation::Or),
        ("XOR", Operation::Xor),
        ("NOT", Operation::Not),
        ("DIFF", Operation::Diff),
        ("DIFF1", Operation::Diff1),
        ("ANDOR", Operation::AndOr),
        ("ONE", Operation::One),
    ];
    WORDS
        .iter()
        .find(|(known, _)| parse::is_word(word, known))
        .map(|(name, operation)| (*operation, *name))
        .ok_or(CommandError::Syntax)
}

fn bitop(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (operation, name) = operation(args.at(1))?;
    let (target, keys) = (args.at(2), args.skip(3));
    if operation == Operation::Not && keys.len() != 1 {
        return Err(CommandError::fixed(
            "ERR BITOP NOT must be called with a single source key.",
        ));
    }
    let compares = [Operation::Diff, Operation::Diff1, Operation::AndOr];
    if compares.contains(&operation) && keys.len() < 2 {
        return Err(CommandError::text_owned(format!(
            "ERR BITOP {name} must be called with at least two source keys."
        )));
    }
    let mut sources = Vec::with_capacity(keys.len());
    for key in keys.iter() {
        sources.push(match context.db.read(key) {
            None => Owned::Bytes(Vec::new()),
            Some(entry) => Owned::of(entry.string()?),
        });
    }
    let slices: Vec<&[u8]> = sources.iter().map(Owned::bytes).collect();
    let result = bits::combine(operation, &slices);
    drop(sources);
    let len = result.len();
    let result = Owned::new(result);
    let value = (len > 0).then(|| result.value());
    context.store(target, value, EventClass::String, "set");
    context.reply.count(len);
    Ok(())
}

#[cfg(test)]
mod tests;
