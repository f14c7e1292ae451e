//! Which keys are in which slot of a cluster: how many there are, and which, without a look at the others.
//!
//! In: the hash of each key that comes or goes, with its slot. Out: the hashes of a slot's keys, cut to 32 bits: these choose the
//! bucket of the table that has the key, which is told from the others there by its slot. So a key costs some six bytes here,
//! and is nowhere twice. Mirrors what Redis has a table per slot for (`kvstore.c`).
//!
//! A slot's set is a row of cells, probed linearly. Past [`PART`] hashes there are several, by the lowest bits of a hash: they are
//! split and joined one at a time (linear hashing, as in `structures/dict.rs`), so that no key takes long, however many share a
//! slot.

use crate::structures::slots::SLOTS;

/// Hashes of a part, on average, beyond which one more part is made.
const PART: usize = 16_384;

/// The keys of each slot of one table.
#[derive(Clone, Debug)]
pub(super) struct SlotIndex {
    slots: Box<[SlotKeys]>,
}

impl Default for SlotIndex {
    fn default() -> SlotIndex {
        SlotIndex {
            slots: vec![SlotKeys::default(); SLOTS].into_boxed_slice(),
        }
    }
}

impl SlotIndex {
    /// A key has come.
    pub(super) fn add(&mut self, slot: u16, hash: u64) {
        if let Some(keys) = self.slots.get_mut(usize::from(slot)) {
            keys.add(cut(hash));
        }
    }
    /// A key has gone.
    pub(super) fn remove(&mut self, slot: u16, hash: u64) {
        if let Some(keys) = self.slots.get_mut(usize::from(slot)) {
            let was_there = keys.remove(cut(hash));
            debug_assert!(was_there, "what goes has come");
        }
    }
    /// Keys in a slot.
    pub(super) fn count(&self, slot: u16) -> usize {
        let keys = self.slots.get(usize::from(slot));
        keys.map_or(0, |keys| keys.len)
    }
    /// Calls `each` with the hashes of a slot's keys, each once though several keys may have it, until it says false.
    pub(super) fn hashes(&mut self, slot: u16, each: &mut dyn FnMut(u32) -> bool) {
        if let Some(keys) = self.slots.get_mut(usize::from(slot)) {
            keys.hashes(each);
        }
    }
    /// Bytes that it holds.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        let parts = |keys: &SlotKeys| {
            let cells: usize = keys.parts.iter().map(|part| part.cells.len() * 4).sum();
            cells + keys.parts.capacity() * size_of::<Part>()
        };
        let slots: usize = self.slots.iter().map(parts).sum();
        slots + size_of_val(&*self.slots)
    }
}

/// The part of a hash that is kept. Zero means an empty cell; its keys are found as those of one.
pub(super) fn cut(hash: u64) -> u32 {
    (hash as u32).max(1)
}

/// The hashes of one slot's keys; equal ones are there as often as keys have them.
#[derive(Clone, Debug, Default)]
struct SlotKeys {
    len: usize,
    parts: Vec<Part>,
}

impl SlotKeys {
    fn part_of(&self, hash: u32) -> usize {
        let parts = self.parts.len();
        let mask = parts.next_power_of_two().saturating_sub(1);
        let at = hash as usize & mask;
        if at < parts { at } else { at & (mask >> 1) }
    }
    fn add(&mut self, hash: u32) {
        if self.parts.is_empty() {
            self.parts.push(Part::default());
        }
        let at = self.part_of(hash);
        if let Some(part) = self.parts.get_mut(at) {
            part.add(hash);
        }
        self.len += 1;
        if self.len > self.parts.len() * PART {
            self.split();
        }
    }
    /// Makes one more part of a half of another.
    fn split(&mut self) {
        let new = self.parts.len();
        let from = new - (1 << new.ilog2());
        self.parts.push(Part::default());
        let Some(part) = self.parts.get_mut(from) else {
            return;
        };
        for hash in std::mem::take(part).cells.iter().filter(|cell| **cell != 0) {
            let at = self.part_of(*hash);
            if let Some(part) = self.parts.get_mut(at) {
                part.add(*hash);
            }
        }
    }
    fn remove(&mut self, hash: u32) -> bool {
        let at = self.part_of(hash);
        let part = self.parts.get_mut(at);
        if !part.is_some_and(|part| part.remove(hash)) {
            return false;
        }
        self.len -= 1;
        if self.len == 0 {
            self.parts = Vec::new();
        } else if self.parts.len() > 1 && self.len < (self.parts.len() - 1) * PART / 2 {
            self.join();
        }
        true
    }
    /// Puts the last part back to the one that it was split from.
    fn join(&mut self) {
        let Some(last) = self.parts.pop() else { return };
        for hash in last.cells.iter().filter(|cell| **cell != 0) {
            let at = self.part_of(*hash);
            if let Some(part) = self.parts.get_mut(at) {
                part.add(*hash);
            }
        }
    }
    fn hashes(&mut self, each: &mut dyn FnMut(u32) -> bool) {
        for part in &mut self.parts {
            if !part.hashes(each) {
                return;
            }
        }
    }
}

/// A row of cells.
#[derive(Clone, Debug, Default)]
struct Part {
    len: u32,
    /// No cell before this one holds anything. Who takes the first keys of a slot away again and again does not pass over the
    /// same empty cells each time.
    first: u32,
    cells: Box<[u32]>,
}

impl Part {
    /// Where a hash is looked for first. By other bits than those that choose the part, and in the same order for any length.
    fn home(&self, hash: u32) -> usize {
        let spread = u64::from(hash.wrapping_mul(0x9e37_79b9));
        ((spread * self.cells.len() as u64) >> 32) as usize
    }
    fn next(&self, at: usize) -> usize {
        if at + 1 < self.cells.len() { at + 1 } else { 0 }
    }
    fn add(&mut self, hash: u32) {
        // At most four cells of five are used: then the way to an empty one is short.
        let room = self.cells.len() * 4 / 5;
        if self.len as usize >= room {
            self.rebuild(self.cells.len() * 3 / 2 + 4);
        }
        self.put(hash);
        self.len += 1;
    }
    fn put(&mut self, hash: u32) {
        let mut at = self.home(hash);
        while self.cells[at] != 0 {
            at = self.next(at);
        }
        self.cells[at] = hash;
        self.first = self.first.min(at as u32);
    }
    fn rebuild(&mut self, cells: usize) {
        let old = std::mem::replace(&mut self.cells, vec![0; cells].into_boxed_slice());
        self.first = cells as u32;
        for hash in old.iter().filter(|cell| **cell != 0) {
            self.put(*hash);
        }
    }
    /// The first cell with a hash.
    fn find(&self, hash: u32) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        let mut at = self.home(hash);
        while self.cells[at] != hash {
            if self.cells[at] == 0 {
                return None;
            }
            at = self.next(at);
        }
        Some(at)
    }
    fn remove(&mut self, hash: u32) -> bool {
        let Some(mut hole) = self.find(hash) else {
            return false;
        };
        // What was pushed on by the one that goes moves up, so that no search ends at the hole.
        let cells = self.cells.len();
        let mut at = hole;
        loop {
            at = self.next(at);
            let moved = self.cells[at];
            if moved == 0 {
                break;
            }
            let from_home = (at + cells - self.home(moved)) % cells;
            let from_hole = (at + cells - hole) % cells;
            if from_home >= from_hole {
                self.cells[hole] = moved;
                self.first = self.first.min(hole as u32);
                hole = at;
            }
        }
        self.cells[hole] = 0;
        self.len -= 1;
        if (self.len as usize) < cells / 4 && cells > 8 {
            self.rebuild(self.len as usize * 3 / 2 + 4);
        }
        true
    }
    /// Whether `each` wants more.
    fn hashes(&mut self, each: &mut dyn FnMut(u32) -> bool) -> bool {
        let cells = self.cells.iter().skip(self.first as usize);
        self.first += cells.take_while(|cell| **cell == 0).count() as u32;
        for (at, hash) in self.cells.iter().enumerate().skip(self.first as usize) {
            // Of equal ones the first in the way of a search stands for all.
            if *hash != 0 && self.find(*hash) == Some(at) && !each(*hash) {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn same(keys: &mut SlotKeys, model: &BTreeMap<u32, usize>) {
        assert_eq!(keys.len, model.values().sum::<usize>());
        let mut found = Vec::new();
        keys.hashes(&mut |hash| {
            found.push(hash);
            true
        });
        found.sort_unstable();
        assert!(found.iter().eq(model.keys()));
        for part in &keys.parts {
            assert!((part.len as usize) < part.cells.len());
            let used = part.cells.iter().filter(|cell| **cell != 0).count();
            assert_eq!(used, part.len as usize);
            let before = part.cells.iter().take(part.first as usize);
            assert!(before.copied().all(|cell| cell == 0));
        }
    }

    proptest! {
        #[test]
        fn a_set_of_hashes_behaves_like_one(
            steps in proptest::collection::vec((any::<bool>(), 0..60u32, any::<bool>()), 1..400),
        ) {
            let (mut keys, mut model) = (SlotKeys::default(), BTreeMap::new());
            for (adds, hash, looks) in steps {
                // Some are neighbours, and some are far apart.
                let hash = cut(u64::from(hash % 7 * 0x1234_5678 + hash / 7));
                if adds {
                    keys.add(hash);
                    *model.entry(hash).or_insert(0) += 1;
                } else {
                    let held = model.get_mut(&hash);
                    prop_assert_eq!(keys.remove(hash), held.is_some());
                    if let Some(held) = held {
                        *held -= 1;
                        if *held == 0 {
                            model.remove(&hash);
                        }
                    }
                }
                if looks {
                    same(&mut keys, &model);
                }
            }
            same(&mut keys, &model);
        }
    }

    #[test]
    fn many_keys_of_one_slot_are_kept_in_parts() {
        let (mut keys, mut model) = (SlotKeys::default(), BTreeMap::new());
        let hash = |n: u32| cut(u64::from(n.wrapping_mul(0x85eb_ca6b)));
        for n in 0..150_000 {
            keys.add(hash(n));
            *model.entry(hash(n)).or_insert(0) += 1;
        }
        assert!(keys.parts.len() > 8, "{}", keys.parts.len());
        assert!(keys.parts.iter().all(|part| part.cells.len() < 5 * PART));
        same(&mut keys, &model);
        for n in 0..150_000 {
            assert!(keys.remove(hash(n)));
            model.remove(&hash(n));
            if n % 20_000 == 0 {
                same(&mut keys, &model);
            }
        }
        assert!(keys.parts.is_empty());
    }

    #[test]
    fn a_key_costs_less_than_eight_bytes() {
        let mut index = SlotIndex::default();
        let empty = index.memory_bytes();
        for n in 0..2_000_000u64 {
            let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
            index.add((n % SLOTS as u64) as u16, hash);
        }
        let bytes = index.memory_bytes() - empty;
        assert!(bytes < 2_000_000 * 8, "{bytes}");
    }
}
