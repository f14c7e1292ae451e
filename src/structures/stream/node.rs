//! One node of a stream: a listpack of entries, in exactly Redis's layout.
//!
//! ```text
//! master entry   count | deleted | num-fields | field ... | 0
//! entry          flags | ms-diff | seq-diff | num-fields | field | value | ... | lp-count
//! SAMEFIELDS     flags | ms-diff | seq-diff | value | ... | lp-count
//! ```
//!
//! `count` and `deleted` number the entries that are valid and those that are marked as deleted; the diffs are relative
//! to the node's key, wrapping; `lp-count` is the number of elements before it in its entry, so that a reader who comes
//! from the end finds the entry's beginning (the master entry ends with 0 for it). An entry with the master entry's
//! fields carries only its values.
//!
//! Nodes from outside pass [`validate`] first. What is read here is nevertheless never trusted to be there: a reader
//! that runs off the end yields nothing.

use super::StreamId;
use crate::structures::listpack::{Corrupt, Item, Listpack, Position};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;
/// Elements of an entry before its fields: flags and the two differences.
const FIXED: i64 = 3;

/// Reads element by element.
#[derive(Clone, Copy, Debug)]
struct Reader<'a> {
    node: &'a Listpack,
    at: Option<Position>,
}

impl<'a> Reader<'a> {
    #[inline]
    fn take(&mut self) -> Option<Item<'a>> {
        let at = self.at?;
        self.at = self.node.next(at);
        Some(self.node.get(at))
    }
    #[inline]
    fn int(&mut self) -> Option<i64> {
        self.take()?.as_int()
    }
    #[inline]
    fn skip(&mut self, count: usize) -> Option<()> {
        for _ in 0..count {
            self.at = self.node.next(self.at?);
        }
        Some(())
    }
}

/// What the master entry says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Master {
    /// Entries that are not deleted.
    pub(super) count: u64,
    fields: usize,
    first_field: Option<Position>,
    /// The first entry.
    entries: Option<Position>,
}

impl Master {
    /// Reads it.
    #[inline]
    pub(super) fn read(node: &Listpack) -> Option<Master> {
        let mut reader = Reader {
            node,
            at: node.first(),
        };
        let count = u64::try_from(reader.int()?).ok()?;
        reader.skip(1)?;
        let fields = usize::try_from(reader.int()?).ok()?;
        let first_field = reader.at;
        reader.skip(fields)?;
        reader.skip(1)?;
        Some(Master {
            count,
            fields,
            first_field,
            entries: reader.at,
        })
    }
}

/// One entry; deleted ones are seen only inside this module and its parent.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    id: StreamId,
    node: &'a Listpack,
    /// Where its flags stand.
    at: Position,
    flags: i64,
    fields: usize,
    /// The master entry's fields, where they are this entry's too.
    shared_fields: Option<Position>,
    /// Behind the fixed part: fields and values, or values.
    body: Option<Position>,
}

impl<'a> Entry<'a> {
    /// Its id.
    #[inline]
    pub fn id(&self) -> StreamId {
        self.id
    }
    /// Number of its fields.
    #[inline]
    pub fn len(&self) -> usize {
        self.fields
    }
    /// Whether it has no fields, which no command can store.
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }
    /// Fields with their values.
    #[inline]
    pub fn pairs(&self) -> Pairs<'a> {
        let reader = |at| Reader {
            node: self.node,
            at,
        };
        Pairs {
            fields: self.shared_fields.map(|at| reader(Some(at))),
            body: reader(self.body),
            left: self.fields,
        }
    }
    #[inline]
    pub(super) fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }
    /// Reads the entry whose flags stand at `at`.
    #[inline]
    fn read(node: &'a Listpack, key: StreamId, master: &Master, at: Position) -> Option<Entry<'a>> {
        let mut reader = Reader { node, at: Some(at) };
        let flags = reader.int()?;
        // Differences wrap: of a later millisecond the sequence number may be smaller than the key's.
        let ms = key.ms.wrapping_add(reader.int()? as u64);
        let seq = key.seq.wrapping_add(reader.int()? as u64);
        let (fields, shared_fields) = if flags & SAME_FIELDS != 0 {
            (master.fields, master.first_field)
        } else {
            (usize::try_from(reader.int()?).ok()?, None)
        };
        Some(Entry {
            id: StreamId { ms, seq },
            node,
            at,
            flags,
            fields,
            shared_fields,
            body: reader.at,
        })
    }
    /// Where its lp-count stands.
    #[inline]
    fn end(&self) -> Option<Position> {
        let mut reader = Reader {
            node: self.node,
            at: self.body,
        };
        let elements = if self.flags & SAME_FIELDS != 0 {
            self.fields
        } else {
            self.fields.checked_mul(2)?
        };
        reader.skip(elements)?;
        reader.at
    }
}

/// Fields with their values.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    fields: Option<Reader<'a>>,
    body: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Item<'a>, Item<'a>);
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let field = match &mut self.fields {
            Some(fields) => fields.take()?,
            None => self.body.take()?,
        };
        Some((field, self.body.take()?))
    }
}

/// The entries of one node, deleted ones included.
#[derive(Clone, Debug)]
pub(super) struct Forward<'a> {
    node: &'a Listpack,
    key: StreamId,
    master: Master,
    next: Option<Position>,
}

impl<'a> Forward<'a> {
    #[inline]
    pub(super) fn new(key: StreamId, node: &'a Listpack) -> Option<Forward<'a>> {
        let master = Master::read(node)?;
        Some(Forward {
            node,
            key,
            next: master.entries,
            master,
        })
    }
}

impl<'a> Iterator for Forward<'a> {
    type Item = Entry<'a>;
    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        let entry = Entry::read(self.node, self.key, &self.master, self.next?)?;
        self.next = entry.end().and_then(|end| self.node.next(end));
        Some(entry)
    }
}

/// The entries of a node, from its end.
#[derive(Clone, Debug)]
pub(super) struct Backward<'a> {
    node: &'a Listpack,
    key: StreamId,
    master: Master,
    /// The lp-count of the entry that comes next.
    end: Option<Position>,
}

impl<'a> Backward<'a> {
    #[inline]
    pub(super) fn new(key: StreamId, node: &'a Listpack) -> Option<Backward<'a>> {
        Some(Backward {
            node,
            key,
            master: Master::read(node)?,
            end: node.last(),
        })
    }
}

impl<'a> Iterator for Backward<'a> {
    type Item = Entry<'a>;
    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        let mut at = self.end?;
        let elements = self.node.get(at).as_int()?;
        if elements <= 0 {
            // The master entry.
            return None;
        }
        for _ in 0..elements {
            at = self.node.previous(at)?;
        }
        self.end = self.node.previous(at);
        Entry::read(self.node, self.key, &self.master, at)
    }
}

/// Bytes that an entry takes at most, about: strings of `bytes` in `parts`, and its numbers.
#[inline]
pub(super) fn room_for(bytes: usize, parts: usize) -> usize {
    const PER_PART: usize = 4;
    const NUMBERS: usize = 24;
    bytes
        .saturating_add(parts.saturating_mul(PER_PART))
        .saturating_add(NUMBERS)
}

/// Makes room for an entry. A node grows by half, for it will get many; what is too much is given back when it is full.
#[inline]
pub(super) fn reserve(node: &mut Listpack, room: usize) {
    let len = node.byte_len();
    if node.memory_bytes().saturating_sub(len) < room {
        node.reserve_back(room.max(len / 2));
    }
}

/// A new node with the fields of its first entry, which is counted but not yet in it.
pub(super) fn create<'f>(fields: impl ExactSizeIterator<Item = &'f [u8]>, room: usize) -> Listpack {
    let mut node = Listpack::with_capacity(room);
    node.push_back_int(1);
    node.push_back_int(0);
    node.push_back_int(count_of(fields.len()));
    for field in fields {
        node.push_back(field);
    }
    node.push_back_int(0);
    node
}

/// Whether an entry with these fields can leave them to the master entry.
#[inline]
pub(super) fn has_fields<'f>(
    node: &Listpack,
    fields: impl ExactSizeIterator<Item = &'f [u8]>,
) -> bool {
    let mut reader = Reader {
        node,
        at: node.first(),
    };
    if reader.skip(2).is_none() || reader.int() != Some(count_of(fields.len())) {
        return false;
    }
    for field in fields {
        if !reader.take().is_some_and(|known| known.is(field)) {
            return false;
        }
    }
    true
}

/// Appends an entry; the master entry's count is the caller's ([`recount`]). `pairs` are fields and values in turn.
#[inline]
pub(super) fn push<'f>(
    node: &mut Listpack,
    (key, id): (StreamId, StreamId),
    same_fields: bool,
    pairs: impl ExactSizeIterator<Item = &'f [u8]>,
) {
    let fields = count_of(pairs.len() / 2);
    node.push_back_int(if same_fields { SAME_FIELDS } else { 0 });
    node.push_back_int(id.ms.wrapping_sub(key.ms) as i64);
    node.push_back_int(id.seq.wrapping_sub(key.seq) as i64);
    if same_fields {
        for value in pairs.skip(1).step_by(2) {
            node.push_back(value);
        }
        node.push_back_int(FIXED + fields);
    } else {
        node.push_back_int(fields);
        for part in pairs {
            node.push_back(part);
        }
        node.push_back_int(FIXED + 1 + 2 * fields);
    }
}

/// Number of arguments as an element; never near the limit of its type.
fn count_of(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Adds to the master entry's numbers of valid and of deleted entries.
#[inline]
pub(super) fn recount(node: &mut Listpack, valid: i64, deleted: i64) {
    let add = |node: &mut Listpack, at: Option<Position>, more: i64| {
        let at = at?;
        if more != 0 {
            let now = node.get(at).as_int()?.saturating_add(more);
            node.replace_int(at, now);
        }
        Some(at)
    };
    let first = node.first();
    let first = add(node, first, valid);
    let second = first.and_then(|at| node.next(at));
    add(node, second, deleted);
}

/// Marks the first valid entry with this id as deleted, counters included; what the master entry then says. None when
/// there is no such entry.
pub(super) fn delete(node: &mut Listpack, key: StreamId, id: StreamId) -> Option<Master> {
    let found = Forward::new(key, node)?
        .take_while(|entry| entry.id <= id)
        .find(|entry| entry.id == id && !entry.is_deleted())?;
    let (at, flags) = (found.at, found.flags);
    node.replace_int(at, flags | DELETED);
    recount(node, -1, 1);
    Master::read(node)
}

/// What becomes of an entry that a sweep comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Marked as deleted.
    Delete,
    /// Left as it is.
    Keep,
    /// This one and all behind it are left as they are.
    Stop,
}

/// Marks entries as deleted from the first one on, as `judge` says of each that is not deleted yet; how many were.
pub(super) fn sweep(
    node: &mut Listpack,
    key: StreamId,
    mut judge: impl FnMut(StreamId) -> Verdict,
) -> u64 {
    let mut marked = 0u64;
    let Some(master) = Master::read(node) else {
        return 0;
    };
    let mut next = master.entries;
    while let Some(at) = next {
        let Some(entry) = Entry::read(node, key, &master, at) else {
            break;
        };
        let end = entry.end();
        let after = end.and_then(|end| node.next(end));
        let (id, flags, deleted) = (entry.id, entry.flags, entry.is_deleted());
        next = after;
        if deleted {
            continue;
        }
        match judge(id) {
            Verdict::Stop => break,
            Verdict::Keep => {}
            Verdict::Delete => {
                let len = node.byte_len();
                node.replace_int(at, flags | DELETED);
                marked += 1;
                if node.byte_len() != len {
                    // Flags that were stored wider than need be: everything behind them has moved.
                    next = Entry::read(node, key, &master, at)
                        .and_then(|entry| entry.end())
                        .and_then(|end| node.next(end));
                }
            }
        }
    }
    let count = i64::try_from(marked).unwrap_or(i64::MAX);
    recount(node, -count, count);
    marked
}

/// What a node from outside holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// Entries that are not deleted.
    pub(super) count: u64,
    /// Id of the first entry, deleted or not.
    pub(super) first: StreamId,
    /// Id of the last entry, deleted or not.
    pub(super) last: StreamId,
}

/// Checks a node whose listpack is sound: the layout, the counters, ids that ascend. More is asked than Redis does
/// (which looks at the layout only), for readers rely on it.
pub(super) fn validate(key: StreamId, node: &Listpack) -> Result<Contents, Corrupt> {
    walk(key, node).ok_or(Corrupt)
}

fn walk(key: StreamId, node: &Listpack) -> Option<Contents> {
    let mut reader = Reader {
        node,
        at: node.first(),
    };
    let count = u64::try_from(reader.int()?).ok()?;
    let deleted = u64::try_from(reader.int()?).ok()?;
    let fields = usize::try_from(reader.int()?).ok()?;
    let first_field = reader.at;
    reader.skip(fields)?;
    if reader.int()? != 0 {
        return None;
    }
    let master = Master {
        count,
        fields,
        first_field,
        entries: reader.at,
    };
    let (mut valid, mut marked) = (0u64, 0u64);
    let mut contents: Option<Contents> = None;
    let mut next = master.entries;
    while let Some(at) = next {
        let entry = Entry::read(node, key, &master, at)?;
        let end = entry.end()?;
        let fields = i64::try_from(entry.fields).ok()?;
        let expected = if entry.flags & SAME_FIELDS != 0 {
            fields.checked_add(FIXED)?
        } else {
            fields.checked_mul(2)?.checked_add(FIXED + 1)?
        };
        if node.get(end).as_int()? != expected {
            return None;
        }
        if entry.is_deleted() {
            marked += 1;
        } else {
            valid += 1;
        }
        contents = Some(match contents {
            None if entry.id >= key => Contents {
                count,
                first: entry.id,
                last: entry.id,
            },
            Some(before) if before.last < entry.id => Contents {
                last: entry.id,
                ..before
            },
            _ => return None,
        });
        next = node.next(end);
    }
    contents.filter(|_| valid == count && marked == deleted)
}
