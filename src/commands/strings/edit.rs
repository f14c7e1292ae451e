//! Strings in part: APPEND, SETRANGE, GETRANGE.
//!
//! Every result stays within `proto-max-bulk-len`, which is what bounds the memory that an offset can ask for.

use super::{CommandError, Context, new_value, parse};
use crate::keyspace::{EventClass, Expiry, KeyEntry, NewValue};
use crate::resp::Args;
use std::sync::Arc;

/// A string that is built here and is at least this long is handed over instead of copied.
const HAND_OVER_LEN: usize = 32 * 1024;

/// The length that `len` and `more` make together, if a string may be so long.
fn checked_len(context: &Context<'_>, len: usize, more: usize) -> Result<usize, CommandError> {
    match len.checked_add(more) {
        Some(total) if total <= context.longest_string() => Ok(total),
        _ => Err(CommandError::StringTooLong),
    }
}

pub(super) fn append(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, more) = (args.at(1), args.at(2));
    let limit = context.longest_string();
    let total = match context.db.entry(key) {
        KeyEntry::Occupied(mut held) => {
            let len = held.entry().string()?.len();
            if len
                .checked_add(more.len())
                .is_none_or(|total| total > limit)
            {
                return Err(CommandError::StringTooLong);
            }
            held.append(more)?
        }
        KeyEntry::Vacant(place) => {
            place.insert(new_value(args, 2), Expiry::Clear);
            more.len()
        }
    };
    context
        .db
        .signal_modified(EventClass::String, "append", key);
    context.reply.count(total);
    Ok(())
}

pub(super) fn setrange(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, patch) = (args.at(1), args.at(3));
    let offset =
        usize::try_from(parse::integer(args.at(2))?).map_err(|_| CommandError::OffsetOutOfRange)?;
    // Judged only when there is something to write, after the type.
    let total = checked_len(context, offset, patch.len());
    let total = match context.db.entry(key) {
        KeyEntry::Occupied(mut held) => {
            let len = held.entry().string()?.len();
            if patch.is_empty() {
                context.reply.count(len);
                return Ok(());
            }
            total?;
            held.set_range(offset, patch)?
        }
        KeyEntry::Vacant(_) if patch.is_empty() => {
            context.reply.integer(0);
            return Ok(());
        }
        KeyEntry::Vacant(place) => {
            let total = total?;
            // Zeroed pages come from the system untouched, so a far offset costs no more than its pages.
            let mut bytes = vec![0; total];
            if let Some(end) = bytes.get_mut(offset..) {
                end.copy_from_slice(patch);
            }
            if total >= HAND_OVER_LEN {
                place.insert(NewValue::Blob(Arc::new(bytes)), Expiry::Clear);
            } else {
                place.insert(NewValue::Raw(&bytes), Expiry::Clear);
            }
            total
        }
    };
    context
        .db
        .signal_modified(EventClass::String, "setrange", key);
    context.reply.count(total);
    Ok(())
}

pub(super) fn getrange(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (start, end) = (parse::integer(args.at(2))?, parse::integer(args.at(3))?);
    let Some(entry) = context.db.read(args.at(1)) else {
        context.reply.bulk(b"");
        return Ok(());
    };
    let value = entry.string()?;
    value.with_bytes(|bytes| context.reply.bulk(range(bytes, start, end)));
    Ok(())
}

/// The bytes from `start` to `end`, both included; negative numbers count from the end. One that lies before the
/// beginning is the beginning, for `end` too, unless two negative ones stand in the wrong order.
fn range(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < start {
        return b"";
    }
    let len = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let from_front = |index: i64| {
        if index < 0 {
            index.saturating_add(len)
        } else {
            index
        }
    };
    let (start, end) = (
        from_front(start).max(0),
        from_front(end).max(0).min(len.saturating_sub(1)),
    );
    if end < start {
        return b"";
    }
    let (start, end) = (
        usize::try_from(start).unwrap_or(usize::MAX),
        usize::try_from(end).unwrap_or(0),
    );
    bytes.get(start..=end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Element by element: is this position between the two, as counted from either end?
    fn naive(bytes: &[u8], start: i64, end: i64) -> Vec<u8> {
        let len = bytes.len() as i128;
        let place = |index: i64| {
            if index < 0 {
                i128::from(index) + len
            } else {
                i128::from(index)
            }
        };
        if start < 0 && end < 0 && start > end {
            return Vec::new();
        }
        let last = place(end).max(0);
        let inside = |at: usize| (place(start)..=last).contains(&(at as i128));
        bytes
            .iter()
            .enumerate()
            .filter(|(at, _)| inside(*at))
            .map(|(_, byte)| *byte)
            .collect()
    }

    #[test]
    fn ranges() {
        assert_eq!(range(b"Hello World", 0, 4), b"Hello");
        assert_eq!(range(b"Hello World", -5, -1), b"World");
        assert_eq!(range(b"Hello World", 5, 3), b"");
        assert_eq!(range(b"Hello World", 5, 5000), b" World");
        assert_eq!(range(b"Hello World", -5000, 10000), b"Hello World");
        assert_eq!(range(b"", i64::MIN, i64::MAX), b"");
        assert_eq!(range(b"foo", 0, -4), b"f");
        assert_eq!(range(b"foo", -9, -5), b"f");
        assert_eq!(range(b"foo", -5, -9), b"");
        assert_eq!(range(b"", 0, -4), b"");
    }

    proptest! {
        #[test]
        fn ranges_agree_with_the_naive_ones(
            bytes in proptest::collection::vec(any::<u8>(), 0..12),
            start in prop_oneof![-15i64..15, any::<i64>()],
            end in prop_oneof![-15i64..15, any::<i64>()],
        ) {
            prop_assert_eq!(range(&bytes, start, end).to_vec(), naive(&bytes, start, end));
        }
    }
}
