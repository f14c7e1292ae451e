//! SORT and SORT_RO: the elements of a list, set or sorted set in order, by themselves or by other keys' values.
//!
//! In: the key and the options of one call. Out: the elements, or what `GET` finds for each, answered or stored as a
//! list. The elements are copied out first, since looking up what they are sorted by changes the keyspace (keys expire,
//! access clocks move). Mirrors `sort.c` of Redis.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | the options, the order, the answer |
//! | [`pattern`] | the patterns of `BY` and `GET` |
//! | [`spec`] | the rows of the command table |

mod pattern;
mod spec;
#[cfg(test)]
mod tests;

pub use spec::COMMANDS;

use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{Db, EventClass, Expiry, Free, KeyEntry, NewValue, Stored};
use crate::resp::Args;
use crate::structures::Collection;
use crate::structures::list::List;
use crate::structures::listpack::Item;
use crate::structures::slots::{slot_of, slot_of_pattern};
use crate::system::numbers;
use pattern::Pattern;
use std::cmp::Ordering;
use std::ops::Range;

const NOT_DOUBLE: CommandError =
    CommandError::fixed("ERR One or more scores can't be converted into double");

/// What a call asks for.
struct Options<'a> {
    descending: bool,
    alpha: bool,
    /// First element and count of `LIMIT`; a negative count: all.
    limit: (i64, i64),
    by: Option<Pattern<'a>>,
    /// A constant pattern asks for no order at all, even if another `BY` comes after it.
    unsorted: bool,
    get: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// `in_cluster`: this server is a node of one.
    fn parse(
        args: Args<'a>,
        may_store: bool,
        in_cluster: bool,
    ) -> Result<Options<'a>, CommandError> {
        let mut options = Options {
            descending: false,
            alpha: false,
            limit: (0, -1),
            by: None,
            unsorted: false,
            get: Vec::new(),
            store: None,
        };
        let mut at = 2;
        while let Some(word) = args.get(at) {
            let left = args.len() - at - 1;
            if parse::is_word(word, "ASC") {
                options.descending = false;
            } else if parse::is_word(word, "DESC") {
                options.descending = true;
            } else if parse::is_word(word, "ALPHA") {
                options.alpha = true;
            } else if parse::is_word(word, "LIMIT") && left >= 2 {
                options.limit = (
                    parse::integer(args.at(at + 1))?,
                    parse::integer(args.at(at + 2))?,
                );
                at += 2;
            } else if may_store && parse::is_word(word, "STORE") && left >= 1 {
                options.store = Some(args.at(at + 1));
                at += 1;
            } else if parse::is_word(word, "BY") && left >= 1 {
                let pattern = Pattern::by(args.at(at + 1));
                if in_cluster && !matches!(pattern, Pattern::Constant) {
                    check_slot(args.at(at + 1), args.at(1), "BY")?;
                }
                options.unsorted |= matches!(pattern, Pattern::Constant);
                options.by = Some(pattern);
                at += 1;
            } else if parse::is_word(word, "GET") && left >= 1 {
                let pattern = Pattern::get(args.at(at + 1));
                if in_cluster && !matches!(pattern, Pattern::Itself) {
                    check_slot(args.at(at + 1), args.at(1), "GET")?;
                }
                options.get.push(pattern);
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }

    /// The elements that `LIMIT` asks for, of `len`.
    fn range(&self, len: usize) -> Range<usize> {
        let start = usize::try_from(self.limit.0).unwrap_or(if self.limit.0 < 0 { 0 } else { len });
        let start = start.min(len);
        let count = usize::try_from(self.limit.1).unwrap_or(usize::MAX);
        start..start + count.min(len - start)
    }
}

/// Refuses a pattern that may name keys of other slots than the sorted key's.
fn check_slot(pattern: &[u8], key: &[u8], option: &str) -> Result<(), CommandError> {
    if slot_of_pattern(pattern) == Some(slot_of(key)) {
        return Ok(());
    }
    Err(CommandError::text_owned(format!(
        "ERR {option} option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots."
    )))
}

/// What an element is sorted by.
enum Weight {
    Score(f64),
    /// A text in the arena of [`Elements`]; `None` where the key does not exist.
    Text(Option<Range<usize>>),
}

/// An element: its text in the arena, and what it is sorted by.
struct Element {
    text: Range<usize>,
    weight: Weight,
    /// Where it stood: what is equal stays in order.
    index: usize,
}

/// Elements, and the texts that they are sorted by, in one buffer.
#[derive(Default)]
struct Elements {
    bytes: Vec<u8>,
    list: Vec<Element>,
}

impl Elements {
    fn push(&mut self, item: Item<'_>) {
        let text = item.with_bytes(|bytes| self.keep(bytes));
        let index = self.list.len();
        self.list.push(Element {
            text,
            weight: Weight::Score(0.0),
            index,
        });
    }
    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }
    /// The texts of some elements.
    fn texts(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let elements = self.list.get(range).unwrap_or_default();
        elements
            .iter()
            .map(|element| &self.bytes[element.text.clone()])
    }

    /// The elements of a key's value; if no order is asked for only those that `LIMIT` asks for, in the value's own
    /// order, and whether there are only those.
    fn gather(value: Stored<'_>, options: &Options<'_>) -> Result<(Elements, bool), CommandError> {
        let mut elements = Elements::default();
        let part = |len: usize| {
            let range = options.range(len);
            let first = if options.descending {
                len.saturating_sub(range.start + 1)
            } else {
                range.start
            };
            (first, range.len())
        };
        match value {
            Stored::Set(set) => set.for_each(|item| elements.push(item)),
            Stored::List(list) if options.unsorted => {
                let (first, count) = part(list.len());
                list.range(first, count, options.descending, |item| elements.push(item));
                return Ok((elements, true));
            }
            Stored::List(list) => list.for_each(|item| elements.push(item)),
            Stored::SortedSet(set) if options.unsorted => {
                let (first, count) = part(set.len());
                set.members_from(first, count, options.descending)
                    .for_each(|item| elements.push(item));
                return Ok((elements, true));
            }
            Stored::SortedSet(set) => set
                .members_from(0, usize::MAX, false)
                .for_each(|item| elements.push(item)),
            _ => return Err(CommandError::WrongType),
        }
        Ok((elements, false))
    }

    /// Looks up what each element is sorted by. Every weight is looked at before a bad one is an error, as in Redis.
    fn weigh(
        &mut self,
        db: &mut Db<'_>,
        by: Option<&Pattern<'_>>,
        alpha: bool,
    ) -> Result<(), CommandError> {
        let mut all_numbers = true;
        for at in 0..self.list.len() {
            let text = self.list[at].text.clone();
            let weight = match (by, alpha) {
                (None, true) => Weight::Text(Some(text)),
                (None, false) => {
                    let score = numbers::parse_decimal(&self.bytes[text]);
                    all_numbers &= score.is_some();
                    Weight::Score(score.unwrap_or(0.0))
                }
                (Some(by), true) => {
                    let found = by.look_up(db, &self.bytes[text], <[u8]>::to_vec);
                    Weight::Text(found.map(|found| self.keep(&found)))
                }
                (Some(by), false) => {
                    let found = by.look_up(db, &self.bytes[text], numbers::parse_decimal);
                    all_numbers &= found != Some(None);
                    Weight::Score(found.flatten().unwrap_or(0.0))
                }
            };
            self.list[at].weight = weight;
        }
        if all_numbers { Ok(()) } else { Err(NOT_DOUBLE) }
    }

    /// Puts the elements of `range` where they belong; what is outside may be in any order.
    fn sort(&mut self, range: &Range<usize>, descending: bool, whole_bytes: bool) {
        let Elements { bytes, list } = self;
        let collate = |a: &Range<usize>, b: &Range<usize>| {
            let (a, b) = (&bytes[a.clone()], &bytes[b.clone()]);
            if whole_bytes {
                a.cmp(b)
            } else {
                c_string(a).cmp(c_string(b))
            }
        };
        let order = |a: &Element, b: &Element| {
            let order = match (&a.weight, &b.weight) {
                (Weight::Score(x), Weight::Score(y)) => x
                    .partial_cmp(y)
                    .unwrap_or(Ordering::Equal)
                    // Equal scores: by bytes, so that the result does not depend on chance.
                    .then_with(|| bytes[a.text.clone()].cmp(&bytes[b.text.clone()])),
                (Weight::Text(Some(x)), Weight::Text(Some(y))) => collate(x, y),
                (Weight::Text(x), Weight::Text(y)) => x.is_some().cmp(&y.is_some()),
                _ => Ordering::Equal,
            };
            let order = if descending { order.reverse() } else { order };
            order.then(a.index.cmp(&b.index))
        };
        if range.is_empty() {
            return;
        }
        let mut rest = &mut list[..];
        if range.end < rest.len() {
            rest.select_nth_unstable_by(range.end, order);
            rest = &mut rest[..range.end];
        }
        if range.start > 0 {
            rest.select_nth_unstable_by(range.start, order);
            rest = &mut rest[range.start..];
        }
        rest.sort_unstable_by(order);
    }
}

/// A text as C's functions see it, up to the first zero byte.
fn c_string(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

fn sort(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let in_cluster = context.settings.cluster.enabled;
    sort_with(context, args, Options::parse(args, true, in_cluster)?)
}

fn sort_ro(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let in_cluster = context.settings.cluster.enabled;
    sort_with(context, args, Options::parse(args, false, in_cluster)?)
}

fn sort_with(
    context: &mut Context<'_>,
    args: Args<'_>,
    mut options: Options<'_>,
) -> Result<(), CommandError> {
    let mut unpack = false;
    let (mut elements, cut) = match context.db.read(args.at(1)) {
        Some(entry) => {
            let value = entry.stored();
            unpack = matches!(value, Stored::SortedSet(set) if set.as_listpack().is_some());
            let has_script = context.session.kind == crate::clients::ClientKind::Script;
            if options.unsorted
                && matches!(value, Stored::Set(_))
                && (options.store.is_some() || has_script)
            {
                // A set has no order of its own: what is stored must be the same wherever the command is run.
                options.unsorted = false;
                options.alpha = true;
                options.by = None;
            }
            Elements::gather(value, &options)?
        }
        None => (Elements::default(), true),
    };
    // Redis sorts a sorted set as a skiplist, which it then remains.
    if unpack && let KeyEntry::Occupied(mut held) = context.db.entry(args.at(1)) {
        held.sorted_set_mut()?.unpack();
    }
    let range = if cut {
        0..elements.list.len()
    } else {
        options.range(elements.list.len())
    };
    if !options.unsorted {
        elements.weigh(&mut context.db, options.by.as_ref(), options.alpha)?;
        elements.sort(
            &range,
            options.descending,
            options.store.is_some() && options.alpha,
        );
    }
    match options.store {
        None => {
            reply_sorted(context, &options.get, &elements, range);
            Ok(())
        }
        Some(key) => {
            store(context, key, &options.get, &elements, range);
            Ok(())
        }
    }
}

fn reply_sorted(
    context: &mut Context<'_>,
    get: &[Pattern<'_>],
    elements: &Elements,
    range: Range<usize>,
) {
    let (db, reply) = (&mut context.db, &mut *context.reply);
    reply.array(range.len().saturating_mul(get.len().max(1)));
    for text in elements.texts(range) {
        if get.is_empty() {
            reply.bulk(text);
        }
        for pattern in get {
            if pattern
                .look_up(db, text, |found| reply.bulk(found))
                .is_none()
            {
                reply.null();
            }
        }
    }
}

/// Stores the result as a list; nothing at all removes the key.
fn store(
    context: &mut Context<'_>,
    key: &[u8],
    get: &[Pattern<'_>],
    elements: &Elements,
    range: Range<usize>,
) {
    let settings = context.settings;
    let db = &mut context.db;
    let limits = super::lists::limits(settings, db);
    let mut list = List::quicklist(&limits);
    for text in elements.texts(range) {
        if get.is_empty() {
            list.push_back(text);
        }
        for pattern in get {
            // What is missing is stored as the empty string: lists have no nulls.
            if pattern
                .look_up(db, text, |found| list.push_back(found))
                .is_none()
            {
                list.push_back(b"");
            }
        }
    }
    context.reply.count(list.len());
    if list.is_empty() {
        let free = if settings.lazyfree_lazy_server_del {
            Free::Lazily
        } else {
            Free::Now
        };
        if db.remove_expired_or_not(key, free) {
            db.signal_modified(EventClass::Generic, "del", key);
        }
        return;
    }
    list.built(&limits);
    let value = NewValue::List(list);
    match db.entry(key) {
        KeyEntry::Occupied(mut held) => held.set(value, Expiry::Clear),
        KeyEntry::Vacant(place) => place.insert(value, Expiry::Clear),
    }
    db.signal_modified(EventClass::List, "sortstore", key);
}
