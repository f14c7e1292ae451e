//! A value of any type from bytes, as any Redis from 2.6 to 8.0 has written it.
//!
//! Every member, field and score is looked at, so that what was built is whole. Limits that are lower here than where
//! the bytes were written make a table, a tree or smaller nodes at once. Mirrors `rdbLoadObject` of rdb.c, always with
//! its deepest checks.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::packed::{self, Corrupt, Element};
use super::read::{Reader, invalid};
use super::{LoadError, Reason, kind, stream};
use crate::config::Settings;
use crate::keyspace::NewValue;
use crate::structures::Collection;
use crate::structures::dict::HashSeed;
use crate::structures::hash::{EXPIRY_MAX, Hash, HashLimits};
use crate::structures::intset::Intset;
use crate::structures::list::{List, ListLimits};
use crate::structures::listpack::{Item, Listpack};
use crate::structures::set::{Set, SetLimits};
use crate::structures::sorted_set::{Change, Limits, SortedSet};
use crate::system::numbers;
use std::borrow::Cow;
use std::sync::Arc;

/// What loading needs to know beyond the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Loader<'a> {
    /// The directives that hold the limits of the encodings.
    pub settings: &'a Settings,
    /// Keys the hash tables.
    pub seed: HashSeed,
}

/// Loads a value of the RDB type `kind`.
pub fn load(
    kind: u8,
    reader: &mut Reader<'_>,
    loader: &Loader<'_>,
) -> Result<NewValue<'static>, LoadError> {
    match kind {
        kind::STRING => Ok(string(reader.string()?)),
        kind::LIST_OLD | kind::LIST_ZIPLIST | kind::QUICKLIST_ZIPLISTS | kind::QUICKLIST => {
            list(kind, reader, loader)
        }
        kind::SET | kind::SET_INTSET | kind::SET_LISTPACK => set(kind, reader, loader),
        kind::ZSET_OLD | kind::ZSET | kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK => {
            sorted_set(kind, reader, loader)
        }
        kind::HASH
        | kind::HASH_ZIPMAP
        | kind::HASH_ZIPLIST
        | kind::HASH_LISTPACK
        | kind::HASH_TTL_PRE_GA
        | kind::HASH_LISTPACK_TTL_PRE_GA
        | kind::HASH_TTL
        | kind::HASH_TTL_VALKEY
        | kind::HASH_LISTPACK_TTL => hash(kind, reader, loader),
        kind::STREAM_OLD | kind::STREAM | kind::STREAM_ACTIVE_TIME => {
            let stream = stream::load(kind, reader, loader.seed)?;
            Ok(NewValue::Stream(Box::new(stream)))
        }
        kind::MODULE_OLD | kind::MODULE => Err(module(reader)?),
        _ => Err(reader.error(Reason::UnknownType(kind))),
    }
}

fn string(bytes: Cow<'_, [u8]>) -> NewValue<'static> {
    match numbers::parse_i64(&bytes) {
        Some(number) => NewValue::Int(number),
        None => NewValue::Blob(Arc::new(bytes.into_owned())),
    }
}

/// The error for a module's value, which names it: nine characters of six bits in an id.
fn module(reader: &mut Reader<'_>) -> Result<LoadError, LoadError> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let id = reader.number()?;
    let letter = |at: u32| {
        let shift = at.saturating_mul(6).saturating_add(10);
        let index = id.unbounded_shr(shift) & 63;
        usize::try_from(index)
            .ok()
            .and_then(|index| LETTERS.get(index))
    };
    let name = (0..9)
        .rev()
        .filter_map(letter)
        .copied()
        .map(char::from)
        .collect();
    Ok(reader.error(Reason::Module(name)))
}

/// A listpack that was checked to its last element.
pub(super) fn listpack(
    reader: &mut Reader<'_>,
    wrong: &'static str,
) -> Result<Listpack, LoadError> {
    let bytes = reader.string()?.into_owned();
    Listpack::from_bytes(bytes, true).map_err(|_| invalid!(reader, wrong))
}

fn append(pack: &mut Listpack, element: Element<'_>) -> Result<(), Corrupt> {
    match element {
        Element::Int(number) => pack.push_back_int(number),
        Element::Bytes(bytes) if pack.has_room(bytes.len()) => pack.push_back(bytes),
        Element::Bytes(_) => return Err(Corrupt),
    }
    Ok(())
}

/// A ziplist made a listpack.
fn ziplist(reader: &mut Reader<'_>, wrong: &'static str) -> Result<Listpack, LoadError> {
    let bytes = reader.string()?;
    let mut pack = Listpack::with_capacity(bytes.len());
    packed::ziplist(&bytes, &mut |element| append(&mut pack, element))
        .map_err(|Corrupt| invalid!(reader, wrong))?;
    pack.shrink_to_fit();
    Ok(pack)
}

// ---- lists ---------------------------------------------------------------------------------------

/// The mark of a list's node that is one element (`QUICKLIST_NODE_CONTAINER_PLAIN`).
pub(super) const PLAIN: u64 = 1;
/// The mark of a list's node that is a listpack (`QUICKLIST_NODE_CONTAINER_PACKED`).
pub(super) const PACKED: u64 = 2;

fn list(
    kind: u8,
    reader: &mut Reader<'_>,
    loader: &Loader<'_>,
) -> Result<NewValue<'static>, LoadError> {
    let settings = loader.settings;
    let limits = ListLimits {
        fill: settings.list_max_listpack_size,
        depth: settings.list_compress_depth,
        packed_threshold: 0,
    };
    let mut list = List::quicklist(&limits);
    match kind {
        kind::LIST_ZIPLIST => {
            let pack = ziplist(reader, "List ziplist integrity check failed.")?;
            for item in pack.iter() {
                item.with_bytes(|bytes| list.push_back(bytes));
            }
        }
        kind::LIST_OLD => {
            for _ in 0..reader.count(1)? {
                list.push_back(&reader.string()?);
            }
        }
        _ => {
            for _ in 0..reader.count(1)? {
                node(kind, reader, &mut list)?;
            }
        }
    }
    if list.is_empty() {
        return Err(reader.error(Reason::EmptyKey));
    }
    list.built(&limits);
    Ok(NewValue::List(list))
}

/// A node of a quicklist. An empty one is passed over, as in Redis: old versions may have written one.
fn node(kind: u8, reader: &mut Reader<'_>, list: &mut List) -> Result<(), LoadError> {
    const WRONG: &str = "Quicklist integrity check failed.";
    let pack = if kind == kind::QUICKLIST_ZIPLISTS {
        ziplist(reader, "Ziplist integrity check failed.")?
    } else {
        match reader.number()? {
            PLAIN => {
                let element = reader.string()?;
                if element.is_empty() {
                    return Err(invalid!(reader, WRONG));
                }
                return list
                    .push_plain(element.into_owned())
                    .map_err(|_| invalid!(reader, WRONG));
            }
            PACKED => listpack(reader, "Listpack integrity check failed.")?,
            _ => return Err(invalid!(reader, WRONG)),
        }
    };
    list.push_listpack(pack)
        .map_err(|_| invalid!(reader, WRONG))
}

// ---- sets ----------------------------------------------------------------------------------------

fn set_limits(loader: &Loader<'_>) -> SetLimits {
    let settings = loader.settings;
    SetLimits {
        seed: loader.seed,
        intset_entries: settings.set_max_intset_entries,
        listpack_entries: settings.set_max_listpack_entries,
        listpack_value: settings.set_max_listpack_value,
    }
}

fn set(
    kind: u8,
    reader: &mut Reader<'_>,
    loader: &Loader<'_>,
) -> Result<NewValue<'static>, LoadError> {
    const TWICE: &str = "Duplicate set members detected";
    let limits = set_limits(loader);
    let mut table = Table::new(loader.seed);
    let set = match kind {
        kind::SET_INTSET => {
            let bytes = reader.string()?.into_owned();
            let intset = Intset::from_bytes(bytes)
                .map_err(|_| invalid!(reader, "Intset integrity check failed."))?;
            if intset.len() <= limits.intset_entries {
                Some(Set::from_intset(intset))
            } else {
                intset
                    .iter()
                    .for_each(|number| table.add_item(Item::Int(number)));
                table.finish()
            }
        }
        kind::SET_LISTPACK => {
            let pack = listpack(reader, "Set listpack integrity check failed.")?;
            if pack.is_empty() {
                return Err(reader.error(Reason::EmptyKey));
            }
            if pack.len() <= limits.listpack_entries {
                Set::from_listpack(pack, loader.seed)
            } else {
                pack.iter().for_each(|item| table.add_item(item));
                table.finish()
            }
        }
        _ => {
            let count = reader.count(1)?;
            if count == 0 {
                return Err(reader.error(Reason::EmptyKey));
            }
            if count > limits.intset_entries {
                for _ in 0..count {
                    table.add(&reader.string()?);
                }
                table.finish()
            } else {
                let members: Result<Vec<_>, _> = (0..count).map(|_| reader.string()).collect();
                few_members(&members?, loader.seed, limits)
            }
        }
    };
    let set = set.ok_or(invalid!(reader, TWICE))?;
    Ok(NewValue::Set(set))
}

/// A set that is a hash table from the first member on, and whether all were different.
struct Table {
    set: Set,
    different: bool,
}

impl Table {
    /// Limits for a set that is a table already, and stays one whatever they are.
    const LIMITS: SetLimits = SetLimits {
        intset_entries: 0,
        listpack_entries: 0,
        listpack_value: 0,
        seed: HashSeed([0; 4]),
    };
    fn new(seed: HashSeed) -> Table {
        Table {
            set: Set::table(seed),
            different: true,
        }
    }
    fn add(&mut self, member: &[u8]) {
        self.different &= self.set.add(member, &Table::LIMITS);
    }
    fn add_item(&mut self, item: Item<'_>) {
        self.different &= self.set.add_item(item, &Table::LIMITS);
    }
    fn finish(self) -> Option<Set> {
        self.different.then_some(self.set)
    }
}

/// A set in the smallest encoding that its members allow; none if one comes twice.
fn few_members(members: &[Cow<'_, [u8]>], seed: HashSeed, limits: SetLimits) -> Option<Set> {
    let numbers: Option<Vec<i64>> = members
        .iter()
        .map(|member| numbers::parse_i64(member))
        .collect();
    if let Some(mut numbers) = numbers {
        // In ascending order each is added at the end.
        numbers.sort_unstable();
        let mut intset = Intset::new();
        let different = numbers.iter().all(|number| intset.add(*number));
        return different.then(|| Set::from_intset(intset));
    }
    let longest = members.iter().map(|member| member.len()).max().unwrap_or(0);
    if members.len() <= limits.listpack_entries && longest <= limits.listpack_value {
        let mut pack = Listpack::new();
        // Redis has the integers that come first in an intset by then.
        let mut integers: Vec<i64> = members
            .iter()
            .map_while(|member| numbers::parse_i64(member))
            .collect();
        integers.sort_unstable();
        integers
            .iter()
            .for_each(|number| pack.push_back_int(*number));
        for member in members.iter().skip(integers.len()) {
            if !pack.has_room(member.len()) {
                return None;
            }
            pack.push_back(member);
        }
        return Set::from_listpack(pack, seed);
    }
    let mut table = Table::new(seed);
    members.iter().for_each(|member| table.add(member));
    table.finish()
}

// ---- sorted sets ---------------------------------------------------------------------------------

fn sorted_set(
    kind: u8,
    reader: &mut Reader<'_>,
    loader: &Loader<'_>,
) -> Result<NewValue<'static>, LoadError> {
    let limits = Limits {
        max_entries: loader.settings.zset_max_listpack_entries,
        max_value: loader.settings.zset_max_listpack_value,
    };
    let set = match kind {
        kind::ZSET_LISTPACK => {
            const WRONG: &str = "Zset listpack integrity check failed.";
            let pack = listpack(reader, WRONG)?;
            packed_sorted_set(pack, reader, loader.seed, limits, WRONG)?
        }
        kind::ZSET_ZIPLIST => {
            const WRONG: &str = "Zset ziplist integrity check failed.";
            let pack = ziplist(reader, WRONG)?;
            packed_sorted_set(pack, reader, loader.seed, limits, WRONG)?
        }
        _ => {
            let count = reader.count(2)?;
            if count == 0 {
                return Err(reader.error(Reason::EmptyKey));
            }
            let mut set = SortedSet::new_large(loader.seed);
            for _ in 0..count {
                let member = reader.string()?;
                let score = if kind == kind::ZSET {
                    reader.score()?
                } else {
                    reader.score_text()?
                };
                if !matches!(set.insert(&member, score, limits), Change::Added(_)) {
                    return Err(invalid!(reader, "Duplicate zset fields detected"));
                }
            }
            set.fit(limits);
            set
        }
    };
    Ok(NewValue::SortedSet(Box::new(set)))
}

/// A sorted set of a whole listpack: of pairs in order, each member once, each score a number.
fn packed_sorted_set(
    pack: Listpack,
    reader: &Reader<'_>,
    seed: HashSeed,
    limits: Limits,
    wrong: &'static str,
) -> Result<SortedSet, LoadError> {
    let count = pack.len();
    if count == 0 {
        return Err(reader.error(Reason::EmptyKey));
    }
    let mut members = Table::new(seed);
    let mut previous: Option<(f64, Vec<u8>)> = None;
    let mut in_order = count.is_multiple_of(2);
    for (member, score) in pack.pairs() {
        let score = match score {
            Item::Int(score) => Some(score as f64),
            Item::Bytes(text) => numbers::parse_f64(text).filter(|score| !score.is_nan()),
        };
        let score = score.ok_or(invalid!(reader, wrong))?;
        let member_bytes = member.to_vec();
        if let Some((before, other)) = &previous {
            in_order &= *before < score || *before == score && *other < member_bytes;
        }
        previous = Some((score, member_bytes));
        members.add_item(member);
    }
    if !in_order || !members.different {
        return Err(invalid!(reader, wrong));
    }
    if count / 2 <= limits.max_entries {
        return Ok(SortedSet::from_listpack(pack, seed));
    }
    let mut set = SortedSet::new_large(seed);
    for (member, score) in pack.pairs() {
        let score = match score {
            Item::Int(score) => score as f64,
            Item::Bytes(text) => numbers::parse_f64(text).unwrap_or(0.0),
        };
        member.with_bytes(|bytes| set.insert(bytes, score, limits));
    }
    Ok(set)
}

// ---- hashes --------------------------------------------------------------------------------------

fn hash(
    kind: u8,
    reader: &mut Reader<'_>,
    loader: &Loader<'_>,
) -> Result<NewValue<'static>, LoadError> {
    let limits = HashLimits {
        max_entries: loader.settings.hash_max_listpack_entries,
        max_value: loader.settings.hash_max_listpack_value,
        seed: loader.seed,
    };
    // A listpack of somebody else stays one, whatever the length of its values.
    let any_length = HashLimits {
        max_value: usize::MAX,
        ..limits
    };
    const PACK: &str = "Hash listpack integrity check failed.";
    let hash = match kind {
        kind::HASH => fields(reader, &limits, false, &mut |_| Ok(None))?,
        kind::HASH_TTL_PRE_GA => fields(reader, &limits, true, &mut |reader| {
            expiry(reader.number()?, reader)
        })?,
        kind::HASH_TTL => {
            let least = reader.time_ms()?;
            let least = u64::try_from(least).map_err(|_| invalid!(reader, PACK))?;
            fields(
                reader,
                &limits,
                true,
                &mut |reader| match reader.number()? {
                    0 => Ok(None),
                    behind => expiry(behind.wrapping_sub(1).saturating_add(least), reader),
                },
            )?
        }
        kind::HASH_TTL_VALKEY => valkey_fields(reader, &limits)?,
        kind::HASH_ZIPMAP => zipmap(reader, &limits)?,
        kind::HASH_ZIPLIST => {
            const WRONG: &str = "Hash ziplist integrity check failed.";
            let pack = ziplist(reader, WRONG)?;
            packed_hash(pack, false, reader, &any_length, WRONG)?
        }
        kind::HASH_LISTPACK => {
            let pack = listpack(reader, PACK)?;
            packed_hash(pack, false, reader, &any_length, PACK)?
        }
        _ => {
            if kind == kind::HASH_LISTPACK_TTL {
                // The least of the expiries, which are there themselves.
                reader.time_ms()?;
            }
            let pack = listpack(reader, PACK)?;
            packed_hash(pack, true, reader, &any_length, PACK)?
        }
    };
    Ok(NewValue::Hash(Box::new(hash)))
}

fn packed_hash(
    pack: Listpack,
    with_expiry: bool,
    reader: &Reader<'_>,
    limits: &HashLimits,
    wrong: &'static str,
) -> Result<Hash, LoadError> {
    if pack.is_empty() {
        return Err(reader.error(Reason::EmptyKey));
    }
    Hash::from_listpack(pack, with_expiry, limits).ok_or(invalid!(reader, wrong))
}

/// An expiry as 7.4 keeps it: 48 bits, 0 for none.
fn expiry(at: u64, reader: &Reader<'_>) -> Result<Option<i64>, LoadError> {
    match i64::try_from(at) {
        Ok(0) => Ok(None),
        Ok(time) if time <= EXPIRY_MAX => Ok(Some(time)),
        _ => Err(invalid!(reader, "Hash field with an invalid expiry")),
    }
}

type ReadExpiry<'f> = &'f mut dyn FnMut(&mut Reader<'_>) -> Result<Option<i64>, LoadError>;

/// Fields one by one, each with its expiry before it where they have one.
fn fields(
    reader: &mut Reader<'_>,
    limits: &HashLimits,
    with_expiry: bool,
    read_expiry: ReadExpiry<'_>,
) -> Result<Hash, LoadError> {
    const TWICE: &str = "Duplicate hash fields detected";
    let count = reader.count(if with_expiry { 3 } else { 2 })?;
    if count == 0 {
        return Err(reader.error(Reason::EmptyKey));
    }
    if count > limits.max_entries {
        let mut table = Hash::new();
        let none = HashLimits::none(limits.seed);
        for _ in 0..count {
            let expiry = read_expiry(reader)?;
            let (field, value) = (reader.string()?, reader.string()?);
            if !table.insert(&field, &value, expiry, &none) {
                return Err(invalid!(reader, TWICE));
            }
        }
        return Ok(table);
    }
    let mut few = Vec::new();
    for _ in 0..count {
        few.push((read_expiry(reader)?, reader.string()?, reader.string()?));
    }
    few_fields(few, limits).ok_or(invalid!(reader, TWICE))
}

/// Fields as Valkey has them: the expiry stands last, and is -1 where there is none.
fn valkey_fields(reader: &mut Reader<'_>, limits: &HashLimits) -> Result<Hash, LoadError> {
    const TWICE: &str = "Duplicate hash fields detected";
    const LEAST_BYTES: usize = 10;
    let count = reader.count(LEAST_BYTES)?;
    if count == 0 {
        return Err(reader.error(Reason::EmptyKey));
    }
    let mut few = Vec::new();
    let mut table = Hash::new();
    let none = HashLimits::none(limits.seed);
    for _ in 0..count {
        let (field, value) = (reader.string()?, reader.string()?);
        let expiry = match reader.time_ms()? {
            -1 => None,
            at => {
                let at = u64::try_from(at).unwrap_or(u64::MAX);
                expiry(at, reader)?
            }
        };
        if count <= limits.max_entries {
            few.push((expiry, field, value));
        } else if !table.insert(&field, &value, expiry, &none) {
            return Err(invalid!(reader, TWICE));
        }
    }
    if count > limits.max_entries {
        return Ok(table);
    }
    few_fields(few, limits).ok_or(invalid!(reader, TWICE))
}

/// A field, its value and its expiry.
type Field<'a> = (Option<i64>, Cow<'a, [u8]>, Cow<'a, [u8]>);

/// A hash in the smallest encoding that its fields allow; none if one comes twice. The listpack is built as a whole,
/// for looking up each field in it would be quadratic.
fn few_fields(mut fields: Vec<Field<'_>>, limits: &HashLimits) -> Option<Hash> {
    let lens = fields
        .iter()
        .flat_map(|(_, field, value)| [field.len(), value.len()]);
    let longest = lens.clone().max().unwrap_or(0);
    let sum = lens.fold(0, usize::saturating_add);
    let mut pack = Listpack::new();
    if longest > limits.max_value || !pack.has_room(sum) {
        let mut table = Hash::new();
        let none = HashLimits::none(limits.seed);
        let different = fields
            .iter()
            .all(|(expiry, field, value)| table.insert(field, value, *expiry, &none));
        return different.then_some(table);
    }
    let expiring = fields.iter().any(|(expiry, ..)| expiry.is_some());
    // By expiry, those without one last: the order of such a listpack.
    fields.sort_by_key(|(expiry, ..)| expiry.unwrap_or(i64::MAX));
    for (expiry, field, value) in &fields {
        pack.push_back(field);
        pack.push_back(value);
        if expiring {
            pack.push_back_int(expiry.unwrap_or(0));
        }
    }
    Hash::from_listpack(pack, expiring, limits)
}

fn zipmap(reader: &mut Reader<'_>, limits: &HashLimits) -> Result<Hash, LoadError> {
    const WRONG: &str = "Zipmap integrity check failed.";
    let bytes = reader.string()?;
    let mut pack = Listpack::with_capacity(bytes.len());
    let mut longest = 0;
    packed::zipmap(&bytes, &mut |field, value| {
        longest = longest.max(field.len()).max(value.len());
        append(&mut pack, Element::Bytes(field))?;
        append(&mut pack, Element::Bytes(value))
    })
    .map_err(|Corrupt| invalid!(reader, WRONG))?;
    pack.shrink_to_fit();
    // Unlike a ziplist, which is taken as it is, one with too long a value becomes a table.
    let limits = HashLimits {
        max_entries: if longest > limits.max_value {
            0
        } else {
            limits.max_entries
        },
        ..*limits
    };
    Hash::from_listpack(pack, false, &limits).ok_or(invalid!(reader, WRONG))
}
