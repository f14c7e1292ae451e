//! The hash table under databases, the expires index, hashes and sets.
//!
//! In come elements (something pointer-like that knows its own key, see [`Element`]) and keys to
//! look up; out come borrowed or owned elements. It knows neither clients nor commands nor time.
//! It mirrors Redis's `dict.c` and Valkey's `hashtable.c`, with another way to grow.
//!
//! # Memory
//!
//! A bucket is one cache line: a meta byte, nine tags (the top eight bits of each hash) and nine
//! packed 48-bit pointers, whose three lowest bits, zero by alignment, are free for a mark ([`Mark`]).
//!
//! ```text
//!   0    1                   10                                                    64
//!   ┌────┬───────────────────┬──────┬──────┬──────┬──────┬──────┬──────┬──────┬──────┬──────┐
//!   │meta│ t0 t1 t2 ...   t8 │  p0  │  p1  │  p2  │  p3  │  p4  │  p5  │  p6  │  p7  │  p8  │
//!   └────┴───────────────────┴──────┴──────┴──────┴──────┴──────┴──────┴──────┴──────┴──────┘
//!   meta: bits 0-3 elements in this node, bits 4-5 class of node, bit 7 "p8 is the link"
//! ```
//!
//! A tenth element turns `p8` into a link to the rest. The rest stands in the smallest node that
//! holds it: 16 bytes for two elements, 32 for four, 48 for six, 64 for nine; longer chains have
//! more full lines between. `t8`, free now, is a filter of the tags behind the link, so that a
//! lookup of what is not there seldom follows it. All tags are compared at once.
//!
//! # Growth
//!
//! By linear hashing: there are N = 2^L + s buckets, and buckets are split in order, one at a time.
//!
//! ```text
//!   0          s           2^L         N              hash h lives in bucket
//!   ├──────────┼────────────┼──────────┤                h mod 2^(L+1)  if that is below N
//!   │ split:   │ not yet:   │ the other│                h mod 2^L      otherwise
//!   │ L+1 bits │ L bits     │ halves   │
//!   └──────────┴────────────┴──────────┘
//! ```
//!
//! An insertion splits at most one bucket (bucket s into s and N), a removal merges at most one, so
//! neither ever stops for long, and there is never a second table. Which bucket is split next is
//! known several insertions ahead: its line and its elements' memory are prefetched by then.
//! The load is 7¼ elements per bucket on average, which costs at most 10.3 bytes per element
//! wherever s stands, and about 1.1 lines per hit (`measure` in `dict/tests.rs` prints both).
//!
//! # SCAN
//!
//! The cursor is a position in the space of hashes read from their lowest bit up. A bucket covers
//! one interval of that space (of 2^-L or 2^-(L+1) of it), growth and shrinking only cut and join
//! intervals, and a call emits the whole bucket that covers the cursor and moves on to the end of
//! its interval. So whatever is present from the first call to the last is emitted at least once.
//!
//! # Invariants
//!
//! - an element stands in the bucket that its hash names, under its hash's tag, and only once;
//! - every bucket has the canonical shape of `dict/node.rs`;
//! - insertions keep `len <= most_for(N)` and removals `len >= least_for(N)`, one step each (a dict
//!   that is being drained in slices may be off, and gets there again);
//! - `longest` is at least the number of elements in any bucket (fair random choice rests on it).
#![allow(unsafe_code)]

mod directory;
mod distribution;
mod geometry;
mod node;
mod reading;
#[cfg(test)]
mod tests;

use ahash::RandomState;
use directory::Directory;
pub use distribution::Distribution;
pub use geometry::{Geometry, Mark, Marks};
use node::{ChainUse, LINE_BYTES, LINE_SLOTS, Node, Packed, prefetch};
pub use reading::Reading;
use std::hash::{BuildHasher, Hasher};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

/// Something pointer-like that a dict can hold: a box, a thin handle, a pointer that others own.
///
/// # Safety
///
/// - `from_raw(into_raw(e))` is `e`; `into_raw` gives a pointer whose upper 16 bits and lowest 3 are zero (which is asserted).
/// - `key_of` is the key of the element that the pointer came from, without taking it over. The key
///   neither moves nor changes while the element is in a dict (a new allocation with an equal key,
///   put there through [`ElementMut`], is fine).
/// - A copy of the element made by `from_raw` that is never dropped does no harm.
pub unsafe trait Element: Sized {
    /// Gives the element up for a pointer.
    fn into_raw(self) -> NonNull<u8>;
    /// Takes the element back.
    ///
    /// # Safety
    /// `raw` came from [`Element::into_raw`] of this type and was not taken back since.
    unsafe fn from_raw(raw: NonNull<u8>) -> Self;
    /// The key of the element behind `raw`.
    ///
    /// # Safety
    /// As for [`Element::from_raw`], and the element stays alive and unchanged for `'a`.
    unsafe fn key_of<'a>(raw: NonNull<u8>) -> &'a [u8];
}

/// The secret from which a dict's hashes are made. Equal seeds give equal hashes, and the same run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashSeed(pub [u64; 4]);

/// A hash table of elements; the module's documentation tells how it works.
pub struct Dict<E: Element> {
    directory: Directory,
    /// Bits 0 to L of a hash: 2^(L+1) - 1 where 2^L <= buckets < 2^(L+1); 0 without buckets.
    mask: usize,
    len: usize,
    chains: ChainUse,
    /// An upper bound of the elements in one bucket; falls back only when the dict is empty.
    longest: usize,
    hasher: RandomState,
    /// Tests weaken the hash with this to force collisions.
    #[cfg(test)]
    hash_mask: u64,
    owns: PhantomData<E>,
}

// SAFETY: the dict owns its memory and its elements alone; the raw pointers in it are not shared.
unsafe impl<E: Element + Send> Send for Dict<E> {}
// SAFETY: through `&Dict` one reaches only `&E`, and nothing is changed behind it.
unsafe impl<E: Element + Sync> Sync for Dict<E> {}

/// Where an element stands: which bucket, which node of it, which slot.
#[derive(Clone, Copy)]
struct Place {
    bucket: Node,
    node: Node,
    slot: usize,
}

/// The tag of a hash: bits that do not choose the bucket.
#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// The most elements that `buckets` buckets hold before one is split: 7¼ on average. The two on
/// top let a single line be full before there is a second.
#[inline]
fn most_for(buckets: usize) -> usize {
    if buckets == 0 {
        0
    } else {
        buckets * 29 / 4 + 2
    }
}

/// The fewest elements for which `buckets` buckets stay: seven eighths of what would fill one less,
/// so that a length that goes up and down a little splits and merges nothing.
#[inline]
fn least_for(buckets: usize) -> usize {
    if buckets <= 1 {
        0
    } else {
        most_for(buckets - 1) * 7 / 8
    }
}

/// How many insertions before a split its bucket's elements are prefetched; then its chain's.
const PREFETCH_ELEMENTS_BEFORE: usize = 5;
const PREFETCH_CHAIN_BEFORE: usize = 3;
/// Below this many buckets all is in the cache anyhow.
const PREFETCH_FROM_BUCKETS: usize = 2048;

/// Tries of a fair random choice before it settles for a less fair one: a try succeeds with a
/// chance of about one in four, so that this is never reached by hashes that are spread.
const RANDOM_TRIES: usize = 128;

#[inline]
fn to_raw(item: Packed) -> NonNull<u8> {
    let raw = ptr::with_exposed_provenance_mut(item.address());
    NonNull::new(raw).expect("no slot holds a null pointer")
}

/// Lends the element behind `item` without taking it over.
///
/// # Safety
/// `item` is in the dict that `'a` borrows.
#[inline]
unsafe fn lend<'a, E: Element>(item: Packed) -> ElementRef<'a, E> {
    let raw = to_raw(item);
    // SAFETY: what is in the dict came from `into_raw`; it is never dropped through this copy.
    let element = ManuallyDrop::new(unsafe { E::from_raw(raw) });
    ElementRef {
        element,
        raw,
        dict: PhantomData,
    }
}

impl<E: Element> Dict<E> {
    /// An empty dict, which has allocated nothing yet.
    pub fn new(seed: HashSeed) -> Dict<E> {
        let [a, b, c, d] = seed.0;
        Dict {
            directory: Directory::new(),
            mask: 0,
            len: 0,
            chains: ChainUse::default(),
            longest: LINE_SLOTS,
            hasher: RandomState::with_seeds(a, b, c, d),
            #[cfg(test)]
            hash_mask: u64::MAX,
            owns: PhantomData,
        }
    }

    /// An empty dict with the seed of this one.
    pub fn same_seed(&self) -> Dict<E> {
        let mut empty = Dict::new(HashSeed([0; 4]));
        empty.hasher = self.hasher.clone();
        empty
    }

    /// Elements in the dict.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Buckets in use.
    #[cfg(test)]
    pub fn bucket_count(&self) -> usize {
        self.directory.len()
    }

    /// Bytes that the dict has allocated, without its elements and without `Dict` itself.
    pub fn memory_bytes(&self) -> usize {
        self.directory.bytes() + self.chains.bytes
    }

    /// The hash of a key, for the `_hashed` functions.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        #[cfg(test)]
        return hasher.finish() & self.hash_mask;
        #[cfg(not(test))]
        hasher.finish()
    }

    /// The bucket of a hash. There must be one.
    #[inline]
    fn bucket_of(&self, hash: u64) -> Node {
        let index = hash as usize & self.mask;
        let index = if index < self.directory.len() {
            index
        } else {
            index & (self.mask >> 1)
        };
        self.directory.bucket(index)
    }

    #[inline]
    fn place_of(&self, hash: u64, key: &[u8]) -> Option<Place> {
        if self.len == 0 {
            return None;
        }
        let tag = tag_of(hash);
        let bucket = self.bucket_of(hash);
        let mut node = bucket;
        loop {
            let mut matches = node.matches(tag);
            while matches != 0 {
                let slot = matches.trailing_zeros() as usize;
                // SAFETY: the slot holds an element of this dict, which `&self` keeps unchanged.
                if unsafe { E::key_of(to_raw(node.get(slot))) } == key {
                    return Some(Place { bucket, node, slot });
                }
                matches &= matches - 1;
            }
            node = node.next_for(tag)?;
        }
    }

    /// Looks a key up.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<ElementRef<'_, E>> {
        self.find_hashed(self.hash(key), key)
    }

    /// Looks a key up whose hash is known.
    #[inline]
    pub fn find_hashed(&self, hash: u64, key: &[u8]) -> Option<ElementRef<'_, E>> {
        debug_assert_eq!(hash, self.hash(key));
        let place = self.place_of(hash, key)?;
        // SAFETY: just found in this dict.
        Some(unsafe { lend(place.node.get(place.slot)) })
    }

    /// Looks a key up to change, replace or remove its element.
    #[inline]
    pub fn find_mut(&mut self, key: &[u8]) -> Option<ElementMut<'_, E>> {
        self.find_mut_hashed(self.hash(key), key)
    }

    /// [`Dict::find_mut`] with a known hash.
    #[inline]
    pub fn find_mut_hashed(&mut self, hash: u64, key: &[u8]) -> Option<ElementMut<'_, E>> {
        debug_assert_eq!(hash, self.hash(key));
        let place = self.place_of(hash, key)?;
        // SAFETY: in the dict, so it came from `into_raw`. The `ElementMut` stands for it until it
        // puts the pointer back or removes it.
        let element = unsafe { E::from_raw(to_raw(place.node.get(place.slot))) };
        Some(ElementMut {
            dict: self,
            place,
            element: ManuallyDrop::new(element),
        })
    }

    /// Adds an element whose key is not in the dict; `hash` is its key's.
    ///
    /// # Panics
    /// When the element's pointer does not fit 48 bits or is not aligned to 8.
    pub fn insert_new_hashed(&mut self, hash: u64, element: E) {
        let raw = element.into_raw();
        let address = raw.as_ptr().expose_provenance();
        assert!(
            Packed::fits(address),
            "a dict holds pointers of 48 bits, aligned to 8"
        );
        #[cfg(debug_assertions)]
        {
            // SAFETY: given up by `into_raw` just now.
            let key = unsafe { E::key_of(raw) };
            assert_eq!(hash, self.hash(key));
            assert!(
                self.place_of(hash, key).is_none(),
                "the key is in the dict already"
            );
        }
        if self.directory.len() == 0 {
            self.first_bucket();
        }
        let population = self
            .bucket_of(hash)
            .push(Packed::new(tag_of(hash), address), &mut self.chains);
        self.longest = self.longest.max(population);
        self.len += 1;
        self.grow_a_step();
    }

    /// Adds an element; returns the one with the same key that it replaces.
    pub fn insert(&mut self, element: E) -> Option<E> {
        let raw = element.into_raw();
        // SAFETY: given up just now, taken back below.
        let key = unsafe { E::key_of(raw) };
        let hash = self.hash(key);
        let place = self.place_of(hash, key);
        // SAFETY: the pointer that `into_raw` gave, taken back once; `key` is not used again.
        let element = unsafe { E::from_raw(raw) };
        match place {
            Some(place) => Some(self.swap_at(place, element)),
            None => {
                self.insert_new_hashed(hash, element);
                None
            }
        }
    }

    /// Removes a key's element.
    pub fn remove(&mut self, key: &[u8]) -> Option<E> {
        self.remove_hashed(self.hash(key), key)
    }

    /// Removes a key's element; the key's hash is known.
    pub fn remove_hashed(&mut self, hash: u64, key: &[u8]) -> Option<E> {
        debug_assert_eq!(hash, self.hash(key));
        let place = self.place_of(hash, key)?;
        Some(self.take_at(place))
    }

    /// Puts `element`, which has the same key, in the place of another.
    fn swap_at(&mut self, place: Place, element: E) -> E {
        let address = element.into_raw().as_ptr().expose_provenance();
        assert!(
            Packed::fits(address),
            "a dict holds pointers of 48 bits, aligned to 8"
        );
        let old = place.node.get(place.slot);
        place.node.update(place.slot, old.moved(address));
        // SAFETY: it was in the dict and is no more.
        unsafe { E::from_raw(to_raw(old)) }
    }

    fn take_at(&mut self, place: Place) -> E {
        let item = place.node.get(place.slot);
        self.forget_at(place);
        // SAFETY: it was in the dict and is no more.
        unsafe { E::from_raw(to_raw(item)) }
    }

    /// Takes the pointer at `place` out of the dict; its element is now the caller's affair.
    fn forget_at(&mut self, place: Place) {
        place
            .bucket
            .remove(place.node, place.slot, &mut self.chains);
        self.len -= 1;
        self.shrink_a_step();
    }

    /// Splits one bucket when there are too many elements, or readies the next split.
    #[inline]
    fn grow_a_step(&mut self) {
        let buckets = self.directory.len();
        let most = most_for(buckets);
        if self.len > most {
            self.split();
        } else if buckets >= PREFETCH_FROM_BUCKETS {
            match most - self.len {
                PREFETCH_ELEMENTS_BEFORE => self.prefetch_split(false),
                PREFETCH_CHAIN_BEFORE => self.prefetch_split(true),
                _ => {}
            }
        }
    }

    /// Makes room for `len` elements in all, so that adding them splits nothing; `steps` buckets at most. Whether there is. What
    /// is not filled then goes again by removals, a bucket each. O(steps), for buckets that are empty.
    pub fn reserve_some(&mut self, len: usize, steps: usize) -> bool {
        for _ in 0..steps {
            if most_for(self.directory.len()) >= len {
                break;
            }
            match self.directory.len() {
                0 => self.first_bucket(),
                _ => self.split(),
            }
        }
        most_for(self.directory.len()) >= len
    }

    #[inline]
    fn first_bucket(&mut self) {
        self.directory.push();
        self.mask = 1;
    }

    /// The bucket that the next split will divide.
    #[inline]
    fn next_to_split(&self) -> usize {
        self.directory.len() & (self.mask >> 1)
    }

    #[inline]
    fn prefetch_split(&self, chain: bool) {
        let bucket = self.directory.bucket(self.next_to_split());
        let node = if chain { bucket.next() } else { Some(bucket) };
        let Some(node) = node else { return };
        for slot in 0..node.count() {
            prefetch(to_raw(node.get(slot)).as_ptr());
        }
        if let Some(next) = node.next() {
            next.prefetch();
        }
    }

    fn split(&mut self) {
        let index = self.next_to_split();
        // The new bucket's number has this bit more than that of the bucket that it comes from.
        let bit = (self.mask >> 1) + 1;
        let high = self.directory.push();
        // After `push`, which may move the buckets.
        let low = self.directory.bucket(index);
        let mut chains = self.chains;
        low.take_all(&mut chains, |item, chains| {
            // SAFETY: an element of this dict, unchanged meanwhile.
            let key = unsafe { E::key_of(to_raw(item)) };
            let to = if self.hash(key) as usize & bit != 0 {
                high
            } else {
                low
            };
            to.push(item, chains);
        });
        self.chains = chains;
        if self.directory.len() > self.mask {
            self.mask = self.mask << 1 | 1;
        }
        self.check_mask();
        if self.directory.len() >= PREFETCH_FROM_BUCKETS {
            self.directory.bucket(self.next_to_split()).prefetch();
        }
    }

    /// Merges the last bucket into the one that it was split from when there are too few elements.
    fn shrink_a_step(&mut self) {
        if self.len == 0 {
            self.longest = LINE_SLOTS;
        }
        if self.len < least_for(self.directory.len()) {
            let last = self.directory.len() - 1;
            let into = self.directory.bucket(last & !(1 << last.ilog2()));
            let mut longest = self.longest;
            self.directory
                .bucket(last)
                .take_all(&mut self.chains, |item, chains| {
                    longest = longest.max(into.push(item, chains));
                });
            self.longest = longest;
            self.drop_last_bucket();
        }
    }

    fn drop_last_bucket(&mut self) {
        self.directory.pop();
        if self.directory.len() <= self.mask >> 1 && self.mask > 1 {
            self.mask >>= 1;
        }
        self.check_mask();
    }

    /// Asserts that every number which [`Dict::bucket_of`] and [`Dict::scan`] make of the mask is that of a bucket.
    fn check_mask(&self) {
        let buckets = self.directory.len();
        assert!(self.mask >> 1 < buckets.max(1) && buckets <= self.mask + 1);
    }

    /// Emits the elements of one bucket and returns the cursor of the next call. 0 begins a scan
    /// and 0 ends it; any other number is accepted, too. The module's documentation tells what is
    /// guaranteed. An element may come more than once in a scan, never twice in one call.
    pub fn scan(&self, cursor: u64, mut emit: impl FnMut(&E)) -> u64 {
        let buckets = self.directory.len();
        if buckets == 0 {
            return 0;
        }
        let low_mask = self.mask >> 1;
        let split_already = buckets - (low_mask + 1);
        let low_index = cursor as usize & low_mask;
        let mask = if low_index < split_already {
            self.mask
        } else {
            low_mask
        };
        for item in self.directory.bucket(cursor as usize & mask).items() {
            // SAFETY: in this dict, which `&self` keeps as it is.
            emit(&*unsafe { lend::<E>(item) });
        }
        // One is added to the bits that choose the bucket, the highest first.
        (cursor | !(mask as u64))
            .reverse_bits()
            .wrapping_add(1)
            .reverse_bits()
    }

    /// An element at random, each with the same chance. `random` gives 64 random bits.
    ///
    /// A bucket and a position in it are drawn until there is an element; so a fuller bucket is
    /// chosen as often as it is fuller.
    pub fn random(&self, random: &mut dyn FnMut() -> u64) -> Option<ElementRef<'_, E>> {
        let place = self.random_place(random)?;
        // SAFETY: in this dict, which `&self` keeps as it is.
        Some(unsafe { lend(place.node.get(place.slot)) })
    }

    /// Takes out an element at random, each with the same chance (see [`Dict::random`]).
    pub fn remove_random(&mut self, random: &mut dyn FnMut() -> u64) -> Option<E> {
        let place = self.random_place(random)?;
        Some(self.take_at(place))
    }

    fn random_place(&self, random: &mut dyn FnMut() -> u64) -> Option<Place> {
        if self.len == 0 {
            return None;
        }
        let place = |bucket: Node, position| {
            let (node, slot) = bucket.nth(position)?;
            Some(Place { bucket, node, slot })
        };
        let buckets = self.directory.len() as u128;
        for _ in 0..RANDOM_TRIES {
            // The product's upper half is uniform below `buckets`, and so is the lower in its range.
            let drawn = u128::from(random()) * buckets;
            let index = (drawn >> 64) as usize;
            let position = ((drawn as u64 as u128 * self.longest as u128) >> 64) as usize;
            let found = place(self.directory.bucket(index), position);
            if found.is_some() {
                return found;
            }
        }
        let buckets = self.directory.len();
        let start = random() as usize % buckets;
        let position = random() as usize;
        (0..buckets).find_map(|step| {
            let bucket = self.directory.bucket((start + step) % buckets);
            let population: usize = bucket.chain().map(Node::count).sum();
            place(bucket, position.checked_rem(population)?)
        })
    }

    /// Emits up to `count` different elements from buckets that stand side by side, beginning at a
    /// random one: cheap samples for eviction and expiry, less fair than [`Dict::random`].
    pub fn sample(&self, count: usize, random: &mut dyn FnMut() -> u64, mut emit: impl FnMut(&E)) {
        let buckets = self.directory.len();
        if self.len == 0 {
            return;
        }
        let mut left = count;
        let mut index = ((u128::from(random()) * buckets as u128) >> 64) as usize;
        for _ in 0..buckets {
            for item in self.directory.bucket(index).items() {
                if left == 0 {
                    return;
                }
                left -= 1;
                // SAFETY: in this dict, which `&self` keeps as it is.
                emit(&*unsafe { lend::<E>(item) });
            }
            index = if index + 1 == buckets { 0 } else { index + 1 };
        }
    }

    /// All elements, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = ElementRef<'_, E>> {
        let buckets = self.directory.len();
        (0..buckets).flat_map(move |index| {
            // The elements are scattered in memory: those of the next bucket come while this one is read.
            if buckets >= PREFETCH_FROM_BUCKETS && index + 1 < buckets {
                let ahead = self.directory.bucket(index + 1);
                for slot in 0..ahead.count() {
                    prefetch(to_raw(ahead.get(slot)).as_ptr());
                }
            }
            // SAFETY: in this dict, which the iterator borrows.
            self.directory
                .bucket(index)
                .items()
                .map(|item| unsafe { lend(item) })
        })
    }

    /// Takes out up to `max` elements and hands them over; true once the dict is empty. For large
    /// dicts to be taken apart in slices, which are usable in between.
    fn drain_some(&mut self, max: usize, mut take: impl FnMut(E)) -> bool {
        for _ in 0..max {
            if self.len == 0 {
                break;
            }
            let bucket = loop {
                let bucket = self.directory.bucket(self.directory.len() - 1);
                if bucket.count() > 0 {
                    break bucket;
                }
                // Merging an empty bucket is dropping it.
                self.drop_last_bucket();
            };
            // From the end of the chain, where a removal moves nothing.
            let node = bucket.chain().last().unwrap_or(bucket);
            let slot = node.count() - 1;
            let item = node.get(slot);
            bucket.remove(node, slot, &mut self.chains);
            self.len -= 1;
            // SAFETY: it was in the dict and is no more.
            take(unsafe { E::from_raw(to_raw(item)) });
        }
        if self.len == 0 {
            self.directory = Directory::new();
            self.mask = 0;
            self.longest = LINE_SLOTS;
        }
        self.len == 0
    }

    /// Empties the dict without dropping the elements, whose owner the caller becomes.
    pub fn forget_all(&mut self) {
        while self.directory.len() > 0 {
            let bucket = self.directory.bucket(self.directory.len() - 1);
            bucket.take_all(&mut self.chains, |_, _| ());
            self.drop_last_bucket();
        }
        self.len = 0;
        self.drain_some(0, drop);
    }

    /// Asks for the memory of a hash's bucket ahead of its use.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        if self.len > 0 {
            self.bucket_of(hash).prefetch();
        }
    }

    /// Asks for the memory of what [`Dict::find_hashed`] will compare: elements in the bucket whose
    /// tags match, or the chain behind it. Worth it once the bucket itself is there. `whole`: also what stands behind the key.
    #[inline]
    pub fn prefetch_element(&self, hash: u64, whole: bool) {
        if self.len == 0 {
            return;
        }
        let tag = tag_of(hash);
        let bucket = self.bucket_of(hash);
        let mut matches = bucket.matches(tag);
        if matches == 0
            && let Some(next) = bucket.next_for(tag)
        {
            next.prefetch();
        }
        while matches != 0 {
            let element = to_raw(bucket.get(matches.trailing_zeros() as usize)).as_ptr();
            prefetch(element);
            if whole {
                prefetch(element.wrapping_add(LINE_BYTES));
            }
            matches &= matches - 1;
        }
    }

    /// Asserts every invariant of the module's documentation. Reads every element.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        let buckets = self.directory.len();
        assert!(self.mask >> 1 < buckets.max(1) && buckets <= self.mask);
        let mut len = 0;
        let mut chains = ChainUse::default();
        for index in 0..buckets {
            let bucket = self.directory.bucket(index);
            let found = bucket.check_shape();
            chains.nodes += found.nodes;
            chains.bytes += found.bytes;
            let mut population = 0;
            for item in bucket.items() {
                // SAFETY: in this dict, which `&self` keeps as it is.
                let hash = self.hash(unsafe { E::key_of(to_raw(item)) });
                assert_eq!(item.tag(), tag_of(hash));
                assert!(
                    self.bucket_of(hash) == bucket,
                    "an element in a bucket of others"
                );
                population += 1;
            }
            assert!(population <= self.longest);
            len += population;
        }
        assert_eq!(len, self.len);
        assert_eq!(chains, self.chains);
    }
}

impl<E: Element> Drop for Dict<E> {
    fn drop(&mut self) {
        self.drain_some(usize::MAX, drop);
    }
}

/// An element that is in the dict, for reading.
pub struct ElementRef<'a, E: Element> {
    /// A copy that is never dropped.
    element: ManuallyDrop<E>,
    raw: NonNull<u8>,
    dict: PhantomData<&'a E>,
}

impl<'a, E: Element> ElementRef<'a, E> {
    /// The element's key, for as long as the dict is borrowed.
    pub fn key(&self) -> &'a [u8] {
        // SAFETY: the element is in the dict, which is borrowed for `'a`.
        unsafe { E::key_of(self.raw) }
    }

    /// The element's pointer, as [`Element::into_raw`] gave it; it is still the dict's.
    pub fn raw(&self) -> NonNull<u8> {
        self.raw
    }
}

impl<E: Element> Deref for ElementRef<'_, E> {
    type Target = E;

    #[inline]
    fn deref(&self) -> &E {
        &self.element
    }
}

/// An element that is in the dict, to change, replace or remove.
///
/// The element may become another allocation meanwhile (not another key): when this is dropped, the
/// slot gets its pointer. It must not be leaked by `mem::forget` after such a change.
pub struct ElementMut<'a, E: Element> {
    dict: &'a mut Dict<E>,
    place: Place,
    /// Stands for the element until `drop` or `remove` gives it up.
    element: ManuallyDrop<E>,
}

impl<E: Element> ElementMut<'_, E> {
    /// Takes the element out of the dict, without another lookup.
    pub fn remove(self) -> E {
        // The slot's pointer may be outdated, so it is the copy that goes to the caller.
        let mut this = ManuallyDrop::new(self);
        let place = this.place;
        this.dict.forget_at(place);
        // SAFETY: taken once; `this` is not dropped.
        unsafe { ManuallyDrop::take(&mut this.element) }
    }

    /// Puts another element with the same key in its place and returns the old one.
    pub fn replace(&mut self, element: E) -> E {
        ManuallyDrop::into_inner(std::mem::replace(
            &mut self.element,
            ManuallyDrop::new(element),
        ))
    }
}

impl<E: Element> Deref for ElementMut<'_, E> {
    type Target = E;

    #[inline]
    fn deref(&self) -> &E {
        &self.element
    }
}

impl<E: Element> DerefMut for ElementMut<'_, E> {
    #[inline]
    fn deref_mut(&mut self) -> &mut E {
        &mut self.element
    }
}

impl<E: Element> Drop for ElementMut<'_, E> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken once, here, at the end of its life.
        let element = unsafe { ManuallyDrop::take(&mut self.element) };
        let raw = element.into_raw();
        let address = raw.as_ptr().expose_provenance();
        assert!(
            Packed::fits(address),
            "a dict holds pointers of 48 bits, aligned to 8"
        );
        #[cfg(debug_assertions)]
        {
            // SAFETY: given up by `into_raw` just now.
            let hash = self.dict.hash(unsafe { E::key_of(raw) });
            assert!(
                self.dict.bucket_of(hash) == self.place.bucket,
                "the key was changed"
            );
            assert_eq!(self.place.node.get(self.place.slot).tag(), tag_of(hash));
        }
        let item = self.place.node.get(self.place.slot);
        self.place.node.update(self.place.slot, item.moved(address));
    }
}
