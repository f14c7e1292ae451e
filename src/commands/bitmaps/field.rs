//! BITFIELD and BITFIELD_RO: integers of any width at any bit of a string.
//!
//! All operations are read before the first is done, so that a wrong one changes nothing and the string grows once, to
//! where the farthest write reaches.

use super::{bit_offset, insert_zeros_and};
use crate::engine::{CommandError, Context, key_flags, parse};
use crate::keyspace::{EventClass, KeyEntry, Value};
use crate::resp::{Args, Reply};
use crate::structures::bits;
use crate::system::numbers;

/// What becomes of a result that the integer has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    /// The low bits remain.
    Wrap,
    /// The nearest that there is room for.
    Saturate,
    /// Nothing is written, null is answered.
    Fail,
}

/// The type of an integer: `i16`, `u8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    signed: bool,
    /// 1 to 64 bits (unsigned: 63).
    width: u32,
}

impl Kind {
    fn parse(arg: &[u8]) -> Result<Kind, CommandError> {
        const INVALID: CommandError = CommandError::fixed(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        );
        let (signed, width, max) = match arg {
            [b'i', width @ ..] => (true, width, 64),
            [b'u', width @ ..] => (false, width, 63),
            _ => return Err(INVALID),
        };
        match numbers::parse_i64(width) {
            Some(width) if (1..=max).contains(&width) => Ok(Kind {
                signed,
                width: width as u32,
            }),
            _ => Err(INVALID),
        }
    }
    fn read(self, bytes: &[u8], offset: usize) -> i64 {
        if self.signed {
            bits::signed_field(bytes, offset, self.width)
        } else {
            // At most 63 bits.
            bits::field(bytes, offset, self.width) as i64
        }
    }
    /// The least and the greatest that there is room for.
    fn bounds(self) -> (i128, i128) {
        if self.signed {
            let half = 1i128 << (self.width - 1);
            (-half, half - 1)
        } else {
            (0, (1i128 << self.width) - 1)
        }
    }
    /// `value` as it is written and answered; none if it must not be.
    fn fit(self, value: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.bounds();
        let fitted = if (min..=max).contains(&value) {
            value
        } else {
            match overflow {
                Overflow::Fail => return None,
                Overflow::Saturate => value.clamp(min, max),
                Overflow::Wrap if self.signed => bits::signed(value as u64, self.width).into(),
                Overflow::Wrap => value & max,
            }
        };
        Some(fitted as i64)
    }
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Get,
    Set(i64, Overflow),
    Increment(i64, Overflow),
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    kind: Kind,
    offset: usize,
    action: Action,
}

impl Operation {
    /// The last bit that it writes.
    fn last_write(&self) -> Option<usize> {
        match self.action {
            Action::Get => None,
            _ => Some(self.offset + self.kind.width as usize - 1),
        }
    }
}

/// Reads all operations from argument 2 on.
fn operations(context: &Context<'_>, args: Args<'_>) -> Result<Vec<Operation>, CommandError> {
    // GET with its type and offset is the shortest.
    let mut operations = Vec::with_capacity(args.len() / 3);
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let following = args.len() - at - 1;
        if parse::is_word(word, "OVERFLOW") && following >= 1 {
            overflow = match args.at(at + 1) {
                word if parse::is_word(word, "WRAP") => Overflow::Wrap,
                word if parse::is_word(word, "SAT") => Overflow::Saturate,
                word if parse::is_word(word, "FAIL") => Overflow::Fail,
                _ => {
                    return Err(CommandError::fixed("ERR Invalid OVERFLOW type specified"));
                }
            };
            at += 2;
            continue;
        }
        let gets = parse::is_word(word, "GET");
        let sets = parse::is_word(word, "SET");
        let needed = if gets { 2 } else { 3 };
        if !(gets || sets || parse::is_word(word, "INCRBY")) || following < needed {
            return Err(CommandError::Syntax);
        }
        let kind = Kind::parse(args.at(at + 1))?;
        let offset = bit_offset(context, args.at(at + 2), Some(kind.width))?;
        let action = match () {
            () if gets => Action::Get,
            () if sets => Action::Set(parse::integer(args.at(at + 3))?, overflow),
            () => Action::Increment(parse::integer(args.at(at + 3))?, overflow),
        };
        operations.push(Operation {
            kind,
            offset,
            action,
        });
        at += 1 + needed;
    }
    Ok(operations)
}

/// Does all operations on a string that is long enough for every write; whether a value changed.
fn apply(reply: &mut Reply, bytes: &mut [u8], operations: &[Operation]) -> bool {
    let mut changed = false;
    reply.array(operations.len());
    for Operation {
        kind,
        offset,
        action,
    } in operations
    {
        let old = kind.read(bytes, *offset);
        let (new, answers_new) = match action {
            Action::Get => {
                reply.integer(old);
                continue;
            }
            // Redis reads a value for an unsigned integer as unsigned, a negative one is far too great for it.
            Action::Set(value, overflow) if !kind.signed => {
                (kind.fit((*value as u64).into(), *overflow), false)
            }
            Action::Set(value, overflow) => (kind.fit((*value).into(), *overflow), false),
            Action::Increment(by, overflow) => {
                (kind.fit(i128::from(old) + i128::from(*by), *overflow), true)
            }
        };
        match new {
            None => reply.null(),
            Some(new) => {
                reply.integer(if answers_new { new } else { old });
                bits::set_field(bytes, *offset, kind.width, new as u64);
                changed |= new != old;
            }
        }
    }
    changed
}

/// Answers operations that only read.
fn reply_reads(reply: &mut Reply, bytes: &[u8], operations: &[Operation]) {
    reply.array(operations.len());
    for operation in operations {
        reply.integer(operation.kind.read(bytes, operation.offset));
    }
}

pub(super) fn bitfield(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, operations) = (args.at(1), operations(context, args)?);
    let Some(last_bit) = operations.iter().filter_map(Operation::last_write).max() else {
        return read_only(context, key, &operations);
    };
    let last = last_bit / 8;
    let (mut held, created) = match context.db.entry(key) {
        KeyEntry::Occupied(held) => (held, false),
        KeyEntry::Vacant(place) => (insert_zeros_and(place, last, 0), true),
    };
    let is_short = held.entry().string()?.len() <= last;
    if is_short {
        held.set_range(last, &[0])?;
    }
    let changed = apply(context.reply, held.bytes_mut()?, &operations);
    // Redis does not tell a string that only grew because all writes into it failed; but it is not what it was.
    if changed || created || is_short {
        context
            .db
            .signal_modified(EventClass::String, "setbit", key);
    }
    Ok(())
}

pub(super) fn bitfield_ro(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let operations = operations(context, args)?;
    if operations
        .iter()
        .any(|operation| !matches!(operation.action, Action::Get))
    {
        return Err(CommandError::fixed(
            "ERR BITFIELD_RO only supports the GET subcommand",
        ));
    }
    read_only(context, args.at(1), &operations)
}

fn read_only(
    context: &mut Context<'_>,
    key: &[u8],
    operations: &[Operation],
) -> Result<(), CommandError> {
    let entry = context.db.read(key);
    let value = match &entry {
        Some(entry) => entry.string()?,
        None => Value::Bytes(b""),
    };
    value.with_bytes(|bytes| reply_reads(context.reply, bytes, operations));
    Ok(())
}

/// BITFIELD only reads its key when each operation is a GET; what is no operation counts as a write.
pub(super) fn keys(args: Args<'_>) -> Result<Vec<(usize, u32)>, CommandError> {
    let mut at = 2;
    let mut reads = true;
    while let Some(word) = args.get(at) {
        let following = args.len() - at - 1;
        if parse::is_word(word, "GET") && following >= 2 {
            at += 3;
        } else if parse::is_word(word, "OVERFLOW") && following >= 1 {
            at += 2;
        } else {
            reads = false;
            break;
        }
    }
    let flags = if reads {
        key_flags::RO | key_flags::ACCESS
    } else {
        key_flags::RW | key_flags::ACCESS | key_flags::UPDATE
    };
    Ok(vec![(1, flags)])
}
