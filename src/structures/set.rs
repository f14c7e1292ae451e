//! The value of a set: an intset, a listpack or a dict of members (t_set.c).
//!
//! In: members as bytes, and the limits that decide the encoding. Out: members as [`Item`]s.
//!
//! | encoding | while | cost |
//! | --- | --- | --- |
//! | `intset` | all members are canonical integers, at most `set-max-intset-entries` | O(log n) to look up, O(n) to change |
//! | `listpack` | at most `set-max-listpack-entries` members of at most `set-max-listpack-value` bytes | O(n) |
//! | `hashtable` | otherwise | O(1) |
//!
//! A set goes from one encoding to the next only downwards in this table, and never back, save where a command makes a
//! new set of what is left (SPOP) or found (SINTERSTORE). How it decides is Redis's, and part of what clients see.

use super::Collection;
use super::dict::{Dict, HashSeed};
use super::intset::Intset;
use super::listpack::{Item, Listpack};
use super::member::Member;
use super::one_of::{Case, OneOf};
use crate::system::numbers::parse_i64;
use crate::system::size_class::size_class;
use std::collections::HashSet;

/// Most integers in an intset, whatever the directive says: its count has 32 bits.
const INTSET_MOST: usize = 1 << 30;
/// Elements that are drawn anew until they are different have to be at most one in so many of the set.
const DRAW_AGAIN_UP_TO_A: usize = 3;

/// Most members that [`Set::prefetch`] looks ahead.
pub const PREFETCH_MOST: usize = 16;
/// Sets with fewer members are in the cache anyhow.
const PREFETCH_FROM: usize = 8192;

/// The directives that decide a set's encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLimits {
    /// `set-max-intset-entries`.
    pub intset_entries: usize,
    /// `set-max-listpack-entries`; 0: no set is a listpack.
    pub listpack_entries: usize,
    /// `set-max-listpack-value`: bytes.
    pub listpack_value: usize,
    /// Keys the hash table that a set may get.
    pub seed: HashSeed,
}

/// The value of a set, in one word.
pub struct Set(OneOf<Listpack, Intset, Dict<Member>>);

/// What a set is, with what is looked at or changed.
enum Members<L, I, T> {
    Listpack(L),
    Intset(I),
    Table(T),
}

/// A member that has left its set.
#[derive(Debug)]
pub enum Popped {
    /// It was in an intset or a listpack.
    Int(i64),
    /// It was in a listpack.
    Bytes(Vec<u8>),
    /// It was in a hash table.
    Member(Member),
}

impl Popped {
    /// The member that was taken out, to read.
    pub fn item(&self) -> Item<'_> {
        match self {
            Popped::Int(value) => Item::Int(*value),
            Popped::Bytes(bytes) => Item::Bytes(bytes),
            Popped::Member(member) => Item::Bytes(member.bytes()),
        }
    }
}

impl Set {
    #[inline]
    fn members(&self) -> Members<&Listpack, &Intset, &Dict<Member>> {
        match self.0.view() {
            Case::First(listpack) => Members::Listpack(listpack),
            Case::Second(intset) => Members::Intset(intset),
            Case::Third(table) => Members::Table(table),
        }
    }
    #[inline]
    fn members_mut(&mut self) -> Members<&mut Listpack, &mut Intset, &mut Dict<Member>> {
        match self.0.view_mut() {
            Case::First(listpack) => Members::Listpack(listpack),
            Case::Second(intset) => Members::Intset(intset),
            Case::Third(table) => Members::Table(table),
        }
    }

    /// An empty one.
    pub fn new() -> Set {
        Set::from_intset(Intset::new())
    }
    /// An empty one that begins as a listpack.
    pub fn packed() -> Set {
        Set(OneOf::first(Listpack::new()))
    }
    /// An empty one that is a hash table: to gather members of which many may come twice.
    pub fn table(seed: HashSeed) -> Set {
        Set(OneOf::third(Box::new(Dict::new(seed))))
    }
    /// A set that is an intset from outside.
    pub fn from_intset(intset: Intset) -> Set {
        Set(OneOf::second(Box::new(intset)))
    }
    /// A set that is a listpack from outside, whose elements are different. `None` if they are not. O(n) on average.
    pub fn from_listpack(listpack: Listpack, seed: HashSeed) -> Option<Set> {
        let mut seen = Dict::<Member>::new(seed);
        for item in listpack.iter() {
            if !item.with_bytes(|bytes| add_to(&mut seen, bytes)) {
                return None;
            }
        }
        Some(Set(OneOf::first(listpack)))
    }
    /// The intset that it is, if it is one.
    pub fn as_intset(&self) -> Option<&Intset> {
        match self.members() {
            Members::Intset(intset) => Some(intset),
            _ => None,
        }
    }
    /// The listpack that it is, if it is one.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match self.members() {
            Members::Listpack(listpack) => Some(listpack),
            _ => None,
        }
    }
    /// Shape of the hash table, if it has one (DEBUG HTSTATS-KEY).
    pub fn distribution(&self) -> Option<super::dict::Distribution> {
        match self.members() {
            Members::Table(table) => Some(table.distribution()),
            _ => None,
        }
    }

    /// Whether `member` is in it.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match self.members() {
            Members::Table(table) => table.find(member).is_some(),
            Members::Intset(intset) => {
                parse_i64(member).is_some_and(|value| intset.contains(value))
            }
            Members::Listpack(listpack) => position_in(listpack, member).is_some(),
        }
    }
    /// Whether a member of another set is one of this set too.
    #[inline]
    pub fn contains_item(&self, item: Item<'_>) -> bool {
        match (self.members(), item) {
            (Members::Intset(intset), Item::Int(value)) => intset.contains(value),
            (_, Item::Bytes(bytes)) => self.contains(bytes),
            (_, item) => item.with_bytes(|bytes| self.contains(bytes)),
        }
    }

    /// Asks for the memory that look-ups of these members will touch, the first [`PREFETCH_MOST`] of them: all buckets,
    /// then all members, so that the waits overlap.
    #[inline]
    pub fn prefetch<'m>(&self, members: impl Iterator<Item = &'m [u8]>) {
        let Members::Table(table) = self.members() else {
            return;
        };
        if table.len() < PREFETCH_FROM {
            return;
        }
        let (mut hashes, mut count) = ([0; PREFETCH_MOST], 0);
        for (hash, member) in hashes.iter_mut().zip(members) {
            *hash = table.hash(member);
            table.prefetch_bucket(*hash);
            count += 1;
        }
        for hash in &hashes[..count] {
            table.prefetch_element(*hash, false);
        }
    }

    /// Adds a member; whether it was new. It may change the encoding, which is then O(n).
    #[inline]
    pub fn add(&mut self, member: &[u8], limits: &SetLimits) -> bool {
        match self.members_mut() {
            Members::Table(table) => add_to(table, member),
            Members::Intset(intset) => match parse_i64(member) {
                Some(value) => self.add_int(value, limits),
                None => {
                    if fits_listpack(intset, member, limits) {
                        self.0 = OneOf::first(packed(intset, member));
                    } else {
                        add_to(self.become_table(limits.seed), member);
                    }
                    true
                }
            },
            Members::Listpack(listpack) => {
                if position_in(listpack, member).is_some() {
                    return false;
                }
                if listpack.len() < limits.listpack_entries
                    && member.len() <= limits.listpack_value
                    && listpack.has_room(member.len())
                {
                    listpack.push_back(member);
                } else {
                    add_to(self.become_table(limits.seed), member);
                }
                true
            }
        }
    }
    /// Adds a member of another set; whether it is new.
    #[inline]
    pub fn add_item(&mut self, item: Item<'_>, limits: &SetLimits) -> bool {
        match (self.members(), item) {
            (Members::Intset(_), Item::Int(value)) => self.add_int(value, limits),
            (_, Item::Bytes(bytes)) => self.add(bytes, limits),
            (_, item) => item.with_bytes(|bytes| self.add(bytes, limits)),
        }
    }
    /// Adds to an intset.
    fn add_int(&mut self, value: i64, limits: &SetLimits) -> bool {
        let Members::Intset(intset) = self.members_mut() else {
            return false;
        };
        if !intset.add(value) {
            return false;
        }
        if intset.len() > limits.intset_entries.min(INTSET_MOST) {
            self.become_table(limits.seed);
        }
        true
    }
    /// Tells that about `count` members come, the first being `first`: what would become too large for its encoding
    /// becomes a hash table beforehand, and an empty set takes the encoding that may do for all of them.
    #[inline]
    pub fn expect(&mut self, first: &[u8], count: usize, limits: &SetLimits) {
        let too_many = match self.members() {
            Members::Intset(intset) if intset.is_empty() => {
                if count <= limits.intset_entries && parse_i64(first).is_some() {
                    return;
                }
                if count <= limits.listpack_entries {
                    self.0 = OneOf::first(Listpack::new());
                    return;
                }
                true
            }
            Members::Intset(_) => count > limits.intset_entries,
            Members::Listpack(_) => count > limits.listpack_entries,
            Members::Table(_) => false,
        };
        if too_many {
            self.become_table(limits.seed);
        }
    }

    /// Becomes an intset if all members are integers, and not too many of them. Whatever it was filled as, its room is
    /// that of its members afterwards.
    pub fn tighten(&mut self, limits: &SetLimits) {
        if self.len() <= limits.intset_entries.min(INTSET_MOST) {
            let integer = |item: Item<'_>| match item {
                Item::Int(value) => Some(value),
                Item::Bytes(bytes) => parse_i64(bytes),
            };
            let integers: Option<Vec<i64>> = self.iter().map(integer).collect();
            if let Some(mut integers) = integers {
                // In rising order each is added at the end.
                integers.sort_unstable();
                let mut intset = Intset::new();
                integers.into_iter().for_each(|value| {
                    intset.add(value);
                });
                self.0 = OneOf::second(Box::new(intset));
                return;
            }
        }
        if let Members::Listpack(listpack) = self.members_mut() {
            listpack.shrink_to_fit();
        }
    }

    /// Removes a member; whether it was there.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self.members_mut() {
            Members::Table(table) => table.remove(member).is_some(),
            Members::Intset(intset) => parse_i64(member).is_some_and(|value| intset.remove(value)),
            Members::Listpack(listpack) => match position_in(listpack, member) {
                Some(at) => {
                    listpack.remove(at);
                    true
                }
                None => false,
            },
        }
    }
    /// Removes a member of another set; whether it was there.
    pub fn remove_item(&mut self, item: Item<'_>) -> bool {
        match (self.members_mut(), item) {
            (Members::Intset(intset), Item::Int(value)) => intset.remove(value),
            (_, item) => item.with_bytes(|bytes| self.remove(bytes)),
        }
    }

    /// All members: an intset's rising, a listpack's in its order, else in no particular one.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        let (mut ints, mut packed, mut table) = (None, None, None);
        match self.members() {
            Members::Intset(intset) => ints = Some(intset.iter()),
            Members::Listpack(listpack) => packed = Some(listpack.iter()),
            Members::Table(dict) => table = Some(dict.iter()),
        }
        let ints = ints.into_iter().flatten().map(Item::Int);
        let packed = packed.into_iter().flatten();
        let table = table.into_iter().flatten();
        ints.chain(packed)
            .chain(table.map(|member| Item::Bytes(member.key())))
    }
    /// Calls back with each member; faster than [`Set::iter`].
    #[inline]
    pub fn for_each(&self, mut each: impl FnMut(Item<'_>)) {
        match self.members() {
            Members::Intset(intset) => intset.iter().for_each(|value| each(Item::Int(value))),
            Members::Listpack(listpack) => listpack.iter().for_each(each),
            Members::Table(table) => table
                .iter()
                .for_each(|member| each(Item::Bytes(member.bytes()))),
        }
    }
    /// One step of SSCAN: the members of one bucket and the next cursor. All at once where there are no buckets.
    pub fn scan(&self, cursor: u64, mut each: impl FnMut(Item<'_>)) -> u64 {
        match self.members() {
            Members::Table(table) => table.scan(cursor, |member| each(Item::Bytes(member.bytes()))),
            _ => {
                self.for_each(each);
                0
            }
        }
    }

    /// A member at random, each with the same chance. `random` gives 64 random bits.
    pub fn random(&self, random: &mut dyn FnMut() -> u64) -> Option<Item<'_>> {
        match self.members() {
            Members::Table(table) => table.random(random).map(|member| Item::Bytes(member.key())),
            Members::Intset(intset) => intset.get(below(intset.len(), random)).map(Item::Int),
            Members::Listpack(listpack) => {
                let at = listpack.seek(below(listpack.len(), random) as i64)?;
                Some(listpack.get(at))
            }
        }
    }
    /// Removes a member at random, each with the same chance.
    pub fn pop(&mut self, random: &mut dyn FnMut() -> u64) -> Option<Popped> {
        match self.members_mut() {
            Members::Table(table) => table.remove_random(random).map(Popped::Member),
            Members::Intset(intset) => {
                let index = below(intset.len(), random);
                (index < intset.len()).then(|| Popped::Int(intset.remove_at(index)))
            }
            Members::Listpack(listpack) => {
                let at = listpack.seek(below(listpack.len(), random) as i64)?;
                let popped = match listpack.get(at) {
                    Item::Int(value) => Popped::Int(value),
                    Item::Bytes(bytes) => Popped::Bytes(bytes.to_vec()),
                };
                listpack.remove(at);
                Some(popped)
            }
        }
    }
    /// `count` different members, or all where there are not more; each choice of so many has the same chance, in
    /// whatever order. O(`count`), and with a listpack O(n).
    pub fn sample<'a>(
        &'a self,
        count: usize,
        random: &mut dyn FnMut() -> u64,
        mut each: impl FnMut(Item<'a>),
    ) {
        let len = self.len();
        if count >= len {
            self.iter().for_each(each);
            return;
        }
        let many = count.saturating_mul(DRAW_AGAIN_UP_TO_A) > len;
        match self.members() {
            // Drawing until they are different gives every combination the same chance, too.
            Members::Table(table) if !many => {
                let mut seen = HashSet::with_capacity(count);
                while seen.len() < count {
                    let Some(member) = table.random(random) else {
                        return;
                    };
                    if seen.insert(member.raw()) {
                        each(Item::Bytes(member.key()));
                    }
                }
            }
            Members::Intset(intset) if !many => {
                let mut seen = HashSet::with_capacity(count);
                while seen.len() < count {
                    let index = below(len, random);
                    if seen.insert(index) {
                        intset
                            .get(index)
                            .map(Item::Int)
                            .into_iter()
                            .for_each(&mut each);
                    }
                }
            }
            // All of them, of which the first `count` are shuffled to their places.
            _ => {
                let mut all: Vec<Item<'a>> = self.iter().collect();
                for index in 0..count {
                    let from = index + below(len - index, random);
                    all.swap(index, from);
                    each(all[index]);
                }
            }
        }
    }

    /// Turns into a hash table.
    fn become_table(&mut self, seed: HashSeed) -> &mut Dict<Member> {
        if !matches!(self.members(), Members::Table(_)) {
            let mut table = Box::new(Dict::new(seed));
            self.for_each(|item| {
                item.with_bytes(|bytes| add_to(&mut table, bytes));
            });
            self.0 = OneOf::third(table);
        }
        match self.members_mut() {
            Members::Table(table) => table,
            _ => unreachable!("made a table above"),
        }
    }

    /// Bytes that the members of a table take, extrapolated from `samples` of them; 0: all are counted.
    fn members_bytes(table: &Dict<Member>, samples: usize) -> usize {
        let samples = if samples == 0 { table.len() } else { samples };
        let (mut bytes, mut seen) = (0, 0);
        for member in table.iter().take(samples) {
            bytes += member.memory_bytes();
            seen += 1;
        }
        if seen == table.len() {
            return bytes;
        }
        (bytes as f64 / seen as f64 * table.len() as f64) as usize
    }
}

/// Adds to a table; whether the member was new.
#[inline]
fn add_to(table: &mut Dict<Member>, member: &[u8]) -> bool {
    let hash = table.hash(member);
    if table.find_hashed(hash, member).is_some() {
        return false;
    }
    table.insert_new_hashed(hash, Member::new(member));
    true
}

/// Where a member stands in a listpack.
fn position_in(listpack: &Listpack, member: &[u8]) -> Option<super::listpack::Position> {
    listpack.find(listpack.first()?, member, 0)
}

/// An index below `len`, each about equally likely; 0 if `len` is 0.
fn below(len: usize, random: &mut dyn FnMut() -> u64) -> usize {
    ((u128::from(random()) * len as u128) >> 64) as usize
}

/// Whether an intset with this member more can be a listpack. The integers are judged by the longest of them.
fn fits_listpack(intset: &Intset, member: &[u8], limits: &SetLimits) -> bool {
    let digits =
        |value: Option<i64>| value.map_or(0, |value| itoa::Buffer::new().format(value).len());
    // An integer takes ten bytes at most.
    let room = intset.len().saturating_mul(10).saturating_add(member.len());
    intset.len() < limits.listpack_entries
        && Listpack::new().has_room(room)
        && member.len() <= limits.listpack_value
        && digits(intset.min()).max(digits(intset.max())) <= limits.listpack_value
}

/// A listpack of an intset's members and another one.
fn packed(intset: &Intset, member: &[u8]) -> Listpack {
    let mut listpack = Listpack::new();
    for value in intset.iter() {
        listpack.push_back_int(value);
    }
    listpack.push_back(member);
    listpack
}

impl Clone for Set {
    fn clone(&self) -> Set {
        Set(match self.members() {
            Members::Intset(intset) => OneOf::second(Box::new(intset.clone())),
            Members::Listpack(listpack) => OneOf::first(listpack.clone()),
            Members::Table(table) => {
                let mut copy = Box::new(table.same_seed());
                for member in table.iter() {
                    let bytes = member.bytes();
                    copy.insert_new_hashed(copy.hash(bytes), Member::new(bytes));
                }
                OneOf::third(copy)
            }
        })
    }
}

impl Default for Set {
    fn default() -> Set {
        Set::new()
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.members() {
            Members::Intset(intset) => intset.fmt(f),
            Members::Listpack(listpack) => listpack.fmt(f),
            Members::Table(table) => write!(f, "Table of {}", table.len()),
        }
    }
}

impl Collection for Set {
    #[inline]
    fn len(&self) -> usize {
        match self.members() {
            Members::Table(table) => table.len(),
            Members::Intset(intset) => intset.len(),
            Members::Listpack(listpack) => listpack.len(),
        }
    }
    fn encoding(&self) -> &'static str {
        match self.members() {
            Members::Table(_) => "hashtable",
            Members::Intset(_) => "intset",
            Members::Listpack(_) => "listpack",
        }
    }
    fn memory_bytes(&self, samples: usize) -> usize {
        match self.members() {
            Members::Intset(intset) => size_class(size_of::<Intset>()) + intset.memory_bytes(),
            Members::Listpack(listpack) => listpack.memory_bytes(),
            Members::Table(table) => {
                size_class(size_of::<Dict<Member>>())
                    + table.memory_bytes()
                    + Set::members_bytes(table, samples)
            }
        }
    }
    fn free_effort(&self) -> usize {
        match self.members() {
            Members::Table(table) => table.len(),
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const SEED: HashSeed = HashSeed([1, 2, 3, 4]);

    /// As Redis 7.0 has them, but smaller.
    const SMALL: SetLimits = SetLimits {
        intset_entries: 8,
        listpack_entries: 0,
        listpack_value: 64,
        seed: SEED,
    };
    /// Limits under which small sets are listpacks.
    const PACKED: SetLimits = SetLimits {
        listpack_entries: 6,
        listpack_value: 5,
        ..SMALL
    };

    fn random_bits() -> impl FnMut() -> u64 {
        let mut rng = crate::system::rng::Rng::new(7);
        move || rng.next_u64()
    }

    fn texts(set: &Set) -> BTreeSet<Vec<u8>> {
        let texts: Vec<Vec<u8>> = set.iter().map(|item| item.to_vec()).collect();
        let different: BTreeSet<_> = texts.iter().cloned().collect();
        assert_eq!(texts.len(), different.len(), "a member came twice");
        different
    }

    /// What the encoding has to be after members were added one by one.
    fn expected_encoding(added: &[Vec<u8>], limits: &SetLimits) -> &'static str {
        let (mut encoding, mut seen) = ("intset", BTreeSet::new());
        for member in added {
            if !seen.insert(member) || encoding == "hashtable" {
                continue;
            }
            let int = parse_i64(member).is_some();
            let packs = seen.len() <= limits.listpack_entries
                && seen
                    .iter()
                    .all(|member| member.len() <= limits.listpack_value);
            encoding = match encoding {
                "intset" if int && seen.len() <= limits.intset_entries => "intset",
                "intset" if int => "hashtable",
                _ if packs => "listpack",
                _ => "hashtable",
            };
        }
        encoding
    }

    fn member() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => (-12i64..12).prop_map(|n| n.to_string().into_bytes()),
            2 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            3 => "[a-c]{0,3}".prop_map(String::into_bytes),
            1 => prop::sample::select(vec!["01", "-0", "+1", " 1", "toolong", "1.0", ""])
                .prop_map(|text| text.as_bytes().to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_of_strings(
            packs in any::<bool>(),
            steps in prop::collection::vec((0u8..10, member()), 0..80),
        ) {
            let limits = if packs { PACKED } else { SMALL };
            let (mut set, mut model) = (Set::new(), BTreeSet::new());
            let mut random = random_bits();
            for (step, member) in steps {
                match step {
                    0..6 => prop_assert_eq!(set.add(&member, &limits), model.insert(member.clone())),
                    6..8 => prop_assert_eq!(set.remove(&member), model.remove(&member)),
                    8 => match set.pop(&mut random) {
                        Some(popped) => prop_assert!(model.remove(&popped.item().to_vec())),
                        None => prop_assert!(model.is_empty()),
                    },
                    _ => {
                        set = set.clone();
                        match set.random(&mut random) {
                            Some(item) => prop_assert!(model.contains(&item.to_vec())),
                            None => prop_assert!(model.is_empty()),
                        }
                    }
                }
                prop_assert_eq!(set.contains(&member), model.contains(&member));
                prop_assert_eq!(set.len(), model.len());
            }
            prop_assert_eq!(texts(&set), model.clone());
            let mut scanned = BTreeSet::new();
            let mut cursor = 0;
            loop {
                cursor = set.scan(cursor, |item| { scanned.insert(item.to_vec()); });
                if cursor == 0 {
                    break;
                }
            }
            prop_assert_eq!(scanned, model);
            prop_assert!(set.memory_bytes(0) > set.len());
        }

        #[test]
        fn encodings_are_redis(packs in any::<bool>(), added in prop::collection::vec(member(), 0..14)) {
            let limits = if packs { PACKED } else { SMALL };
            let mut set = Set::new();
            for member in &added {
                set.add(member, &limits);
            }
            prop_assert_eq!(set.encoding(), expected_encoding(&added, &limits));
            // Members of other sets, of any encoding, are the same members.
            let mut copy = Set::new();
            set.for_each(|item| { copy.add_item(item, &limits); });
            prop_assert_eq!(texts(&copy), texts(&set));
            for item in set.iter() {
                prop_assert!(copy.contains_item(item));
                prop_assert!(copy.remove_item(item));
            }
            prop_assert!(copy.is_empty());
        }

        #[test]
        fn samples_are_different_members(len in 0usize..40, count in 0usize..50, kind in 0u8..3) {
            let set = of_kind(kind, len);
            let mut drawn = Vec::new();
            set.sample(count, &mut random_bits(), |item| drawn.push(item.to_vec()));
            prop_assert_eq!(drawn.len(), count.min(len));
            let different: BTreeSet<_> = drawn.into_iter().collect();
            prop_assert_eq!(different.len(), count.min(len));
            prop_assert!(different.is_subset(&texts(&set)));
        }
    }

    /// A set of 0, 1, 2, ... as intset, listpack or hash table.
    fn of_kind(kind: u8, len: usize) -> Set {
        let limits = match kind {
            0 => SetLimits {
                intset_entries: 1000,
                ..SMALL
            },
            1 => SetLimits {
                intset_entries: 1000,
                listpack_entries: 1000,
                ..SMALL
            },
            _ => SetLimits {
                intset_entries: 0,
                ..SMALL
            },
        };
        let mut set = Set::new();
        if kind == 1 {
            set.add(b"x", &limits);
        }
        for number in 0..len {
            set.add(number.to_string().as_bytes(), &limits);
        }
        set.remove(b"x");
        set
    }

    /// Draws many times; χ² of the counts, which is about the number of members for a fair draw.
    fn chi_square(members: usize, mut draw: impl FnMut(&mut dyn FnMut(Vec<u8>))) -> f64 {
        let mut counts = std::collections::BTreeMap::new();
        let mut total = 0;
        for _ in 0..2000 {
            draw(&mut |member| {
                *counts.entry(member).or_insert(0u32) += 1;
                total += 1;
            });
        }
        let expected = f64::from(total) / members as f64;
        assert_eq!(counts.len(), members);
        counts
            .values()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum()
    }

    #[test]
    fn draws_are_fair() {
        // 49 degrees of freedom: above 100 is a matter of one in 100 000.
        const MEMBERS: usize = 50;
        for kind in 0..3 {
            let set = of_kind(kind, MEMBERS);
            assert_eq!(
                set.encoding(),
                ["intset", "listpack", "hashtable"][usize::from(kind)]
            );
            let mut random = random_bits();
            let one = chi_square(MEMBERS, |found| {
                found(set.random(&mut random).unwrap().to_vec());
            });
            let popped = chi_square(MEMBERS, |found| {
                found(set.clone().pop(&mut random).unwrap().item().to_vec());
            });
            // Few and many, which are drawn in different ways.
            let few = chi_square(MEMBERS, |found| {
                set.sample(5, &mut random, |item| found(item.to_vec()));
            });
            let many = chi_square(MEMBERS, |found| {
                set.sample(30, &mut random, |item| found(item.to_vec()));
            });
            for chi in [one, popped, few, many] {
                assert!(chi < 100.0, "{one} {popped} {few} {many} for kind {kind}");
            }
        }
    }

    #[test]
    fn listpacks_from_outside_have_no_member_twice() {
        let mut listpack = Listpack::new();
        listpack.push_back(b"a");
        listpack.push_back(b"1");
        assert_eq!(Set::from_listpack(listpack.clone(), SEED).unwrap().len(), 2);
        listpack.push_back(b"a");
        assert!(Set::from_listpack(listpack, SEED).is_none());
    }

    /// The lengths in a listpack end at 4 GiB, and Redis fills none beyond 1 GiB.
    #[test]
    fn a_member_without_room_in_a_listpack_makes_a_table() {
        let limits = SetLimits {
            intset_entries: 8,
            listpack_entries: 8,
            listpack_value: usize::MAX,
            seed: SEED,
        };
        let intset = Intset::new();
        // Zeros that nobody reads take no memory.
        let member = vec![0; (1 << 30) + 1];
        assert!(fits_listpack(&intset, &member[..1 << 20], &limits));
        assert!(!fits_listpack(&intset, &member, &limits));
    }
}
