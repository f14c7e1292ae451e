//! The memory of one bucket: a cache line of nine slots and the chain of smaller nodes behind it.
//!
//! In come tags and pointers that fit 48 bits, out they go again; nothing here knows keys or hashes.
//! All of the dict's byte arithmetic stands in this file. `dict.rs` has the drawing.
//!
//! Invariants (the *canonical shape*: how a bucket looks is a function of how many elements it holds):
//! - a chained node is a line, holds exactly eight elements, and its ninth slot is the link;
//! - the last node of a chain holds at least two elements, in the smallest class that fits them;
//! - elements stand packed at the front of a node, and the bytes behind them are initialised.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

/// Bytes of a bucket: one cache line.
pub(super) const LINE_BYTES: usize = 64;
/// Slots of a line.
pub(super) const LINE_SLOTS: usize = 9;
/// Elements of a line whose last slot is the link to the next node.
const CHAINED_SLOTS: usize = LINE_SLOTS - 1;
/// Bytes of a packed pointer.
const POINTER_BYTES: usize = 6;

const COUNT_MASK: u8 = 0x0f;
const CLASS_SHIFT: u32 = 4;
const CLASS_MASK: u8 = 0x03;
const CHAINED: u8 = 0x80;

/// A tag and the address that belongs to it, in one word: of 48 bits, the three lowest of which are free for a mark, because
/// elements are aligned to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed(u64);

impl Packed {
    const MARK_MASK: u64 = 7;
    const ADDRESS_MASK: u64 = ((1 << 48) - 1) & !Self::MARK_MASK;

    /// Whether `address` is one that a slot can hold.
    #[inline]
    pub(super) fn fits(address: usize) -> bool {
        address as u64 & !Self::ADDRESS_MASK == 0 && address != 0
    }

    #[inline]
    pub(super) fn new(tag: u8, address: usize) -> Packed {
        debug_assert!(Self::fits(address));
        Packed(u64::from(tag) << 56 | address as u64)
    }

    #[inline]
    pub(super) fn tag(self) -> u8 {
        (self.0 >> 56) as u8
    }

    #[inline]
    pub(super) fn address(self) -> usize {
        (self.0 & Self::ADDRESS_MASK) as usize
    }

    /// The mark; 0: none.
    #[inline]
    pub(super) fn mark(self) -> u8 {
        (self.0 & Self::MARK_MASK) as u8
    }

    /// With another mark.
    #[inline]
    pub(super) fn marked(self, mark: u8) -> Packed {
        debug_assert!(u64::from(mark) <= Self::MARK_MASK);
        Packed(self.0 & !Self::MARK_MASK | u64::from(mark))
    }

    /// With another address, under the same tag and mark.
    #[inline]
    pub(super) fn moved(self, address: usize) -> Packed {
        debug_assert!(Self::fits(address));
        Packed(self.0 & !Self::ADDRESS_MASK | address as u64)
    }

    /// What a slot holds of it beside the tag.
    #[inline]
    fn word(self) -> u64 {
        self.0 & (Self::ADDRESS_MASK | Self::MARK_MASK)
    }
}

/// The four sizes of node. The number is what stands in the meta byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// Nine slots, 64 bytes: every bucket, and the inner nodes of long chains.
    const LINE: Class = Class(0);

    /// The smallest class for the end of a chain that holds `count` elements.
    fn for_tail(count: usize) -> Class {
        match count {
            0..=2 => Class(1),
            3..=4 => Class(2),
            5..=6 => Class(3),
            _ => Class::LINE,
        }
    }

    #[inline]
    fn slots(self) -> usize {
        if self.0 == 0 {
            LINE_SLOTS
        } else {
            2 * usize::from(self.0)
        }
    }

    /// Size of a node of this class: its meta byte, tags and pointers, rounded up to 16.
    #[inline]
    pub(super) fn bytes(self) -> usize {
        if self.0 == 0 {
            LINE_BYTES
        } else {
            16 * usize::from(self.0)
        }
    }

    fn layout(self) -> Layout {
        let align = if self.0 == 0 { LINE_BYTES } else { 16 };
        Layout::from_size_align(self.bytes(), align).expect("sizes and alignments are constants")
    }
}

/// What the chains of a dict occupy, counted as their nodes come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChainUse {
    pub(super) nodes: usize,
    pub(super) bytes: usize,
}

/// A handle to a live, initialised node: a bucket in the directory or a link of a chain.
///
/// Whoever makes one ([`Node::from_bucket`], [`Node::allocate`]) vouches that the memory stays
/// alive and unaliased by references for as long as the handle is used; the methods rely on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Node(NonNull<u8>);

impl Node {
    /// # Safety
    /// `line` points to 64 initialised bytes, aligned to 16, which hold a node of class `LINE` or
    /// zeroes (an empty one), and which outlive every use of the handle.
    #[inline]
    pub(super) unsafe fn from_bucket(line: NonNull<u8>) -> Node {
        Node(line)
    }

    fn allocate(class: Class, chains: &mut ChainUse) -> Node {
        let layout = class.layout();
        // SAFETY: no class has size zero.
        let memory = unsafe { alloc(layout) };
        let Some(memory) = NonNull::new(memory) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the block is `class.bytes()` long and ours. It is initialised as a whole because
        // tags are compared sixteen bytes at a time, whatever the count.
        unsafe {
            ptr::write_bytes(memory.as_ptr(), 0, class.bytes());
            memory.as_ptr().write(class.0 << CLASS_SHIFT);
        }
        chains.nodes += 1;
        chains.bytes += class.bytes();
        Node(memory)
    }

    /// # Safety
    /// `self` came from [`Node::allocate`], and no handle to it is used again.
    unsafe fn free(self, chains: &mut ChainUse) {
        let class = self.class();
        chains.nodes -= 1;
        chains.bytes -= class.bytes();
        // SAFETY: allocated with the layout of this class, which never changes in place.
        unsafe { dealloc(self.0.as_ptr(), class.layout()) }
    }

    #[inline]
    fn meta(self) -> u8 {
        // SAFETY: byte 0 of a live node.
        unsafe { self.0.as_ptr().read() }
    }

    #[inline]
    fn set_meta(self, meta: u8) {
        // SAFETY: byte 0 of a live node.
        unsafe { self.0.as_ptr().write(meta) }
    }

    #[inline]
    fn class(self) -> Class {
        Class(self.meta() >> CLASS_SHIFT & CLASS_MASK)
    }

    /// Elements in this node alone.
    #[inline]
    pub(super) fn count(self) -> usize {
        usize::from(self.meta() & COUNT_MASK)
    }

    #[inline]
    fn is_chained(self) -> bool {
        self.meta() & CHAINED != 0
    }

    #[inline]
    fn set_count(self, count: usize) {
        // Whatever reads or writes a slot stays below the count or just behind it, so that this check is enough.
        assert!(count <= self.class().slots());
        self.set_meta(self.meta() & !COUNT_MASK | count as u8);
    }

    #[inline]
    fn tag(self, slot: usize) -> u8 {
        debug_assert!(slot < self.class().slots());
        // SAFETY: the tags follow the meta byte, one for each slot of the class.
        unsafe { self.0.as_ptr().add(1 + slot).read() }
    }

    #[inline]
    fn set_tag(self, slot: usize, tag: u8) {
        debug_assert!(slot < self.class().slots());
        // SAFETY: as in `tag`.
        unsafe { self.0.as_ptr().add(1 + slot).write(tag) }
    }

    /// Where the pointer of `slot` begins.
    #[inline]
    fn offset(self, slot: usize) -> usize {
        let slots = self.class().slots();
        debug_assert!(slot < slots);
        1 + slots + POINTER_BYTES * slot
    }

    /// The 48 bits in `slot`: address and mark.
    #[inline]
    fn word(self, slot: usize) -> u64 {
        // SAFETY: the eight bytes that end where the pointer ends lie inside the node: at least
        // three bytes of meta and tags come before the first pointer.
        let word = unsafe {
            self.0
                .as_ptr()
                .add(self.offset(slot) - 2)
                .cast::<u64>()
                .read_unaligned()
        };
        u64::from_le(word) >> 16
    }

    #[inline]
    fn set_word(self, slot: usize, word: u64) {
        let bytes = word.to_le_bytes();
        // SAFETY: a pointer's six bytes lie inside the node.
        unsafe {
            let to = self.0.as_ptr().add(self.offset(slot));
            ptr::copy_nonoverlapping(bytes.as_ptr(), to, POINTER_BYTES);
        }
    }

    #[inline]
    pub(super) fn get(self, slot: usize) -> Packed {
        Packed(u64::from(self.tag(slot)) << 56 | self.word(slot))
    }

    #[inline]
    fn set(self, slot: usize, item: Packed) {
        self.set_tag(slot, item.tag());
        self.set_word(slot, item.word());
    }

    /// Changes address or mark of what is in `slot`, which keeps its tag.
    #[inline]
    pub(super) fn update(self, slot: usize, item: Packed) {
        debug_assert_eq!(self.tag(slot), item.tag());
        self.set_word(slot, item.word());
    }

    #[inline]
    fn append(self, item: Packed) {
        let count = self.count();
        self.set_count(count + 1);
        self.set(count, item);
    }

    /// The node behind this one.
    #[inline]
    pub(super) fn next(self) -> Option<Node> {
        if !self.is_chained() {
            return None;
        }
        let link = ptr::with_exposed_provenance_mut(self.word(CHAINED_SLOTS) as usize);
        NonNull::new(link).map(Node)
    }

    /// The node behind this one, unless the filter knows that `tag` is not there.
    #[inline]
    pub(super) fn next_for(self, tag: u8) -> Option<Node> {
        if self.is_chained() && self.tag(CHAINED_SLOTS) & filter_bit(tag) != 0 {
            self.next()
        } else {
            None
        }
    }

    fn set_next(self, next: Node) {
        let address = next.0.as_ptr().expose_provenance();
        assert!(Packed::fits(address), "a dict holds pointers of 48 bits");
        self.set_meta(CHAINED | CHAINED_SLOTS as u8);
        self.set_word(CHAINED_SLOTS, address as u64);
    }

    /// One bit for each slot whose tag is `tag`.
    #[inline]
    pub(super) fn matches(self, tag: u8) -> u32 {
        // SAFETY: every class has at least sixteen bytes, all initialised.
        let head = unsafe { self.0.as_ptr().cast::<[u8; 16]>().read() };
        (equal_bytes(&head, tag) >> 1) & ((1 << (head[0] & COUNT_MASK)) - 1)
    }

    /// Asks for the node's memory ahead of its use.
    #[inline]
    pub(super) fn prefetch(self) {
        prefetch(self.0.as_ptr());
    }

    /// Adds an element behind the others of this bucket; returns how many the bucket now holds.
    #[inline]
    pub(super) fn push(self, item: Packed, chains: &mut ChainUse) -> usize {
        let count = self.count();
        if !self.is_chained() && count < LINE_SLOTS {
            self.append(item);
            return count + 1;
        }
        self.push_chained(item, chains)
    }

    fn push_chained(self, item: Packed, chains: &mut ChainUse) -> usize {
        let mut before = 0;
        let mut parent = None;
        let mut tail = self;
        while let Some(next) = tail.next() {
            tail.set_tag(
                CHAINED_SLOTS,
                tail.tag(CHAINED_SLOTS) | filter_bit(item.tag()),
            );
            before += CHAINED_SLOTS;
            parent = Some(tail);
            tail = next;
        }
        let count = tail.count();
        if count < tail.class().slots() {
            tail.append(item);
        } else if let (Some(parent), true) = (parent, tail.class() != Class::LINE) {
            let bigger = tail.moved_to(Class::for_tail(count + 1), chains);
            bigger.append(item);
            parent.set_next(bigger);
        } else {
            // A full line gives its last slot to the link.
            let displaced = tail.get(CHAINED_SLOTS);
            let next = Node::allocate(Class::for_tail(2), chains);
            next.append(displaced);
            next.append(item);
            tail.set_next(next);
            tail.set_tag(
                CHAINED_SLOTS,
                filter_bit(displaced.tag()) | filter_bit(item.tag()),
            );
        }
        before + count + 1
    }

    /// Moves a tail's elements into a new node of `class` and frees the old one; the caller links it.
    fn moved_to(self, class: Class, chains: &mut ChainUse) -> Node {
        let moved = Node::allocate(class, chains);
        for slot in 0..self.count() {
            moved.append(self.get(slot));
        }
        // SAFETY: only the end of a chain is moved, never a bucket, and the caller forgets it.
        unsafe { self.free(chains) };
        moved
    }

    /// Takes the element out of `slot` of `node`, a node of this bucket; the bucket's last element fills the gap.
    pub(super) fn remove(self, node: Node, slot: usize, chains: &mut ChainUse) {
        assert!(slot < node.count());
        let mut parent = None;
        let mut tail = self;
        while let Some(next) = tail.next() {
            parent = Some(tail);
            tail = next;
        }
        let count = tail.count() - 1;
        let last = tail.get(count);
        if node != tail || slot != count {
            node.set(slot, last);
        }
        tail.set_count(count);
        let Some(parent) = parent else { return };
        if count == 1 {
            let remaining = tail.get(0);
            parent.set_meta(LINE_SLOTS as u8);
            parent.set(CHAINED_SLOTS, remaining);
            // SAFETY: a tail with a parent was allocated for the chain; its parent no longer links it.
            unsafe { tail.free(chains) };
            return;
        }
        if Class::for_tail(count) != tail.class() {
            tail = tail.moved_to(Class::for_tail(count), chains);
            parent.set_next(tail);
        }
        // The filter may say yes too often, never no: in long chains it is left as it was.
        if parent == self {
            let filter = (0..count).fold(0, |bits, slot| bits | filter_bit(tail.tag(slot)));
            self.set_tag(CHAINED_SLOTS, filter);
        }
    }

    /// Empties the bucket into `take`, which may push into any bucket, this one too.
    pub(super) fn take_all(
        self,
        chains: &mut ChainUse,
        mut take: impl FnMut(Packed, &mut ChainUse),
    ) {
        let mut copy = Line([0; LINE_BYTES]);
        // SAFETY: a bucket is a line of 64 initialised bytes; afterwards it is an empty one, and
        // the copy alone owns the chain.
        let mut node = unsafe {
            ptr::copy_nonoverlapping(self.0.as_ptr(), copy.0.as_mut_ptr(), LINE_BYTES);
            ptr::write_bytes(self.0.as_ptr(), 0, LINE_BYTES);
            Node::from_bucket(NonNull::from(&mut copy).cast())
        };
        let mut is_head = true;
        loop {
            for slot in 0..node.count() {
                take(node.get(slot), chains);
            }
            let next = node.next();
            if !is_head {
                // SAFETY: a link of the chain that the copy took over, and its last use.
                unsafe { node.free(chains) };
            }
            is_head = false;
            match next {
                Some(next) => node = next,
                None => return,
            }
        }
    }

    /// Node and slot of the element at `position` of this bucket, counted through its chain.
    pub(super) fn nth(self, mut position: usize) -> Option<(Node, usize)> {
        let mut node = self;
        loop {
            if position < node.count() {
                return Some((node, position));
            }
            position -= node.count();
            node = node.next()?;
        }
    }

    /// The bucket's nodes, itself first.
    #[inline]
    pub(super) fn chain(self) -> impl Iterator<Item = Node> {
        std::iter::successors(Some(self), |node| node.next())
    }

    /// The bucket's elements.
    #[inline]
    pub(super) fn items(self) -> impl Iterator<Item = Packed> {
        self.chain()
            .flat_map(|node| (0..node.count()).map(move |slot| node.get(slot)))
    }

    /// Asserts the canonical shape; returns what the chain occupies.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_shape(self) -> ChainUse {
        let mut found = ChainUse::default();
        assert_eq!(self.class(), Class::LINE, "a bucket is a line");
        for node in self.chain() {
            if node != self {
                found.nodes += 1;
                found.bytes += node.class().bytes();
            }
            if let Some(next) = node.next() {
                assert_eq!(node.class(), Class::LINE, "only lines are chained");
                assert_eq!(node.count(), CHAINED_SLOTS, "a chained line is full");
                for item in next.items() {
                    assert!(
                        node.next_for(item.tag()).is_some(),
                        "the filter hides an element"
                    );
                }
            } else if node != self {
                assert!(node.count() >= 2, "a chain ends in two elements or more");
                assert_eq!(
                    node.class(),
                    Class::for_tail(node.count()),
                    "smallest class"
                );
            }
        }
        found
    }
}

/// A bucket's copy on the stack.
#[repr(C, align(64))]
struct Line([u8; LINE_BYTES]);

/// The bit of the chain's filter that an element with `tag` sets.
#[inline]
fn filter_bit(tag: u8) -> u8 {
    1 << (tag & 7)
}

/// One bit for each of the sixteen bytes that equals `byte`.
#[inline]
fn equal_bytes(bytes: &[u8; 16], byte: u8) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{
            __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8,
        };
        // SAFETY: SSE2 is part of x86_64, and the unaligned load reads the array's sixteen bytes.
        unsafe {
            let loaded = _mm_loadu_si128(bytes.as_ptr().cast::<__m128i>());
            let equal = _mm_cmpeq_epi8(loaded, _mm_set1_epi8(byte as i8));
            _mm_movemask_epi8(equal) as u32
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    equal_bytes_portable(bytes, byte)
}

/// The naive form of [`equal_bytes`]: its oracle, and its stand-in on other processors.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_bytes_portable(bytes: &[u8; 16], byte: u8) -> u32 {
    bytes
        .iter()
        .enumerate()
        .fold(0, |mask, (i, &b)| mask | u32::from(b == byte) << i)
}

/// Asks for a cache line ahead of its use; any address will do, it is only a hint.
#[inline]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults and changes no memory.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn vector_and_naive_comparison_agree(bytes: [u8; 16], byte: u8, small in 0u8..3) {
            proptest::prop_assert_eq!(equal_bytes(&bytes, byte), equal_bytes_portable(&bytes, byte));
            let few = bytes.map(|b| b % 3);
            proptest::prop_assert_eq!(equal_bytes(&few, small), equal_bytes_portable(&few, small));
        }
    }

    /// Every class keeps its tags and pointers apart, up to the last byte of a 48-bit address.
    #[test]
    fn classes_hold_what_they_were_given() {
        for class in [Class(0), Class(1), Class(2), Class(3)] {
            let mut chains = ChainUse::default();
            assert!(class.slots() * (1 + POINTER_BYTES) < class.bytes());
            let node = Node::allocate(class, &mut chains);
            let items: Vec<Packed> = (0..class.slots())
                .map(|i| {
                    let address = ((1 << 48) - 1 - i * 0x0101_0101_0101) & !7;
                    Packed::new(0xff - i as u8, address).marked(7 - i as u8 % 8)
                })
                .collect();
            items.iter().for_each(|&item| node.append(item));
            assert_eq!((items[0].mark(), items[1].mark()), (7, 6));
            let back: Vec<Packed> = (0..node.count()).map(|i| node.get(i)).collect();
            assert_eq!(back, items);
            assert_eq!(node.class(), class);
            for (i, item) in items.iter().enumerate() {
                assert_eq!(node.matches(item.tag()), 1 << i);
            }
            // SAFETY: allocated above, not used again.
            unsafe { node.free(&mut chains) };
            assert_eq!(chains, ChainUse::default());
        }
    }

    /// Growing one bucket far and emptying it again, from the front and from the back.
    #[test]
    fn a_bucket_keeps_its_shape_at_every_count() {
        for from_front in [true, false] {
            let mut chains = ChainUse::default();
            let mut line = Line([0; LINE_BYTES]);
            // SAFETY: 64 zeroed bytes that outlive the handle.
            let bucket = unsafe { Node::from_bucket(NonNull::from(&mut line).cast()) };
            for i in 1..=60 {
                assert_eq!(bucket.push(Packed::new(i as u8, i * 8), &mut chains), i);
                assert_eq!(bucket.check_shape(), chains);
            }
            for left in (0..60).rev() {
                let node = if from_front {
                    bucket
                } else {
                    bucket.chain().last().unwrap()
                };
                let slot = if from_front { 0 } else { node.count() - 1 };
                let gone = node.get(slot);
                bucket.remove(node, slot, &mut chains);
                assert_eq!(bucket.check_shape(), chains);
                let mut rest: Vec<usize> = bucket.items().map(Packed::address).collect();
                assert_eq!(rest.len(), left);
                assert!(!rest.contains(&gone.address()));
                rest.sort_unstable();
                rest.dedup();
                assert_eq!(rest.len(), left);
                assert!(bucket.nth(left).is_none());
            }
            assert_eq!(chains, ChainUse::default());
        }
    }
}
