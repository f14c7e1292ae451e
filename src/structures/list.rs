//! The value of a list: one listpack while it is small, a quicklist beyond (t_list.c).
//!
//! | encoding | while |
//! | --- | --- |
//! | `listpack` | all of it fits what `list-max-listpack-size` allows in one listpack |
//! | `quicklist` | otherwise |
//!
//! Who adds elements says beforehand how much comes ([`List::grow`]), who has removed or replaced some says so
//! afterwards ([`List::shrunk`]), and who has built one has its encoding decided ([`List::built`]). A quicklist becomes
//! a listpack again only when it takes less than half of what is allowed, so that a list at the limit does not go to
//! and fro.

use super::Collection;
use super::listpack::{Corrupt, Item, Listpack, Needle, Position};
use super::one_of::{Case, OneOf};
use super::quicklist::{Allowed, NodeView, Quicklist};
use std::convert::Infallible;
use std::ops::ControlFlow;

/// The directives that decide a list's encoding and its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListLimits {
    /// `list-max-listpack-size`.
    pub fill: i32,
    /// `list-compress-depth`.
    pub depth: usize,
    /// DEBUG QUICKLIST-PACKED-THRESHOLD; 0: elements that are too large for the fill get nodes of their own.
    pub packed_threshold: usize,
}

/// The value of a list, in one word.
#[derive(Clone)]
pub struct List(OneOf<Listpack, Quicklist, Never>);

/// There is no third form of a list. Aligned, as what is boxed there has to be.
#[derive(Clone)]
struct Never {
    never: Infallible,
    _aligned: [u64; 0],
}

/// What a list is, with what is looked at or changed.
enum Body<P, N> {
    Packed(P),
    Nodes(N),
}

impl List {
    #[inline]
    fn body(&self) -> Body<&Listpack, &Quicklist> {
        match self.0.view() {
            Case::First(listpack) => Body::Packed(listpack),
            Case::Second(nodes) => Body::Nodes(nodes),
            Case::Third(Never { never, .. }) => match *never {},
        }
    }

    #[inline]
    fn body_mut(&mut self) -> Body<&mut Listpack, &mut Quicklist> {
        match self.0.view_mut() {
            Case::First(listpack) => Body::Packed(listpack),
            Case::Second(nodes) => Body::Nodes(nodes),
            Case::Third(Never { never, .. }) => match *never {},
        }
    }
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.body() {
            Body::Packed(listpack) => listpack.fmt(f),
            Body::Nodes(nodes) => nodes.fmt(f),
        }
    }
}

impl List {
    /// An empty one.
    pub fn new() -> List {
        List(OneOf::first(Listpack::new()))
    }

    /// An empty one that is a quicklist, to be filled from outside; [`List::built`] ends that.
    pub fn quicklist(limits: &ListLimits) -> List {
        List(OneOf::second(Box::new(empty_quicklist(limits))))
    }

    /// The listpack that it is, if it is one.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match self.body() {
            Body::Packed(listpack) => Some(listpack),
            Body::Nodes(_) => None,
        }
    }

    /// The quicklist that it is, if it is one.
    pub fn as_quicklist(&self) -> Option<&Quicklist> {
        match self.body() {
            Body::Packed(_) => None,
            Body::Nodes(nodes) => Some(nodes),
        }
    }

    /// The listpacks and large elements that it consists of, as DUMP and RDB write them.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.nodes_from(0)
    }

    /// [`List::nodes`] from this one on. O(1) to the first.
    pub fn nodes_from(&self, index: usize) -> impl Iterator<Item = NodeView<'_>> {
        let (mut packed, mut nodes) = (None, None);
        match self.body() {
            Body::Packed(listpack) => packed = (index == 0).then_some(NodeView::Packed(listpack)),
            Body::Nodes(quicklist) => nodes = Some(quicklist.nodes_from(index)),
        }
        packed.into_iter().chain(nodes.into_iter().flatten())
    }

    /// Shows the elements of one of [`List::nodes`]. O(bytes of it), wherever it is.
    pub fn for_each_in_node(&self, index: usize, visit: impl FnMut(Item<'_>)) {
        match self.body() {
            Body::Packed(listpack) if index == 0 => listpack.iter().for_each(visit),
            Body::Packed(_) => {}
            Body::Nodes(nodes) => nodes.for_each_in_node(index, visit),
        }
    }

    /// Number of [`List::nodes`].
    pub fn node_count(&self) -> usize {
        match self.body() {
            Body::Packed(_) => 1,
            Body::Nodes(nodes) => nodes.node_count(),
        }
    }

    /// Tells that `count` elements of `bytes` in all are about to come. Every addition has to be preceded by it.
    #[inline]
    pub fn grow(&mut self, bytes: usize, count: usize, limits: &ListLimits) {
        match self.body_mut() {
            Body::Packed(listpack) => {
                let bytes = listpack.byte_len().saturating_add(bytes);
                let count = listpack.len().saturating_add(count);
                if !Allowed::by(limits.fill).fits(bytes, count) {
                    self.become_nodes(limits);
                }
            }
            Body::Nodes(nodes) => nodes.set_packed_threshold(limits.packed_threshold),
        }
    }

    /// Tells that elements were removed or replaced.
    #[inline]
    pub fn shrunk(&mut self, limits: &ListLimits) {
        self.try_listpack(limits, 2);
    }

    /// Tells that a list was built from outside and is whole.
    pub fn built(&mut self, limits: &ListLimits) {
        self.try_listpack(limits, 1);
    }

    /// Becomes a listpack if it is one node that takes no more than one `part`th of what is allowed.
    #[inline]
    fn try_listpack(&mut self, limits: &ListLimits, part: usize) {
        let Body::Nodes(nodes) = self.body_mut() else {
            return;
        };
        let allowed = Allowed::by(limits.fill);
        // A fill that counts does not look at the bytes here.
        let bytes = if limits.fill < 0 {
            allowed.bytes / part
        } else {
            usize::MAX
        };
        let fits = nodes.only_listpack().is_some_and(|listpack| {
            listpack.byte_len() <= bytes && nodes.len() <= allowed.count / part
        });
        if fits {
            let mut listpack = nodes.take_listpack();
            listpack.shrink_to_fit();
            self.0 = OneOf::first(listpack);
        }
    }

    #[cold]
    fn become_nodes(&mut self, limits: &ListLimits) {
        let mut nodes = empty_quicklist(limits);
        if let Body::Packed(listpack) = self.body_mut() {
            let listpack = std::mem::take(listpack);
            let count = listpack.len();
            nodes.adopt(listpack, count);
        }
        self.0 = OneOf::second(Box::new(nodes));
    }

    /// Adds a whole listpack at the back of a quicklist from outside, see [`Quicklist::push_listpack`].
    pub fn push_listpack(&mut self, listpack: Listpack) -> Result<(), Corrupt> {
        match self.body_mut() {
            Body::Packed(_) => Err(Corrupt),
            Body::Nodes(nodes) => nodes.push_listpack(listpack),
        }
    }

    /// Adds an element at the back of a quicklist from outside in a node of its own.
    pub fn push_plain(&mut self, element: Vec<u8>) -> Result<(), Corrupt> {
        match self.body_mut() {
            Body::Packed(_) => Err(Corrupt),
            Body::Nodes(nodes) => {
                nodes.push_plain(element);
                Ok(())
            }
        }
    }

    /// Appends. Amortised O(bytes).
    #[inline]
    pub fn push_back(&mut self, element: &[u8]) {
        match self.body_mut() {
            Body::Packed(listpack) => listpack.push_back(element),
            Body::Nodes(nodes) => nodes.push_back(element),
        }
    }

    /// Prepends. Amortised O(bytes).
    #[inline]
    pub fn push_front(&mut self, element: &[u8]) {
        match self.body_mut() {
            Body::Packed(listpack) => listpack.push_front(element),
            Body::Nodes(nodes) => nodes.push_front(element),
        }
    }

    /// Removes the first element after showing it.
    #[inline]
    pub fn pop_front<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        match self.body_mut() {
            Body::Packed(listpack) => {
                let taken = listpack.pop_front(take);
                listpack.give_back();
                taken
            }
            Body::Nodes(nodes) => nodes.pop_front(take),
        }
    }

    /// Removes the last element after showing it.
    #[inline]
    pub fn pop_back<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        match self.body_mut() {
            Body::Packed(listpack) => {
                let taken = listpack.pop_back(take);
                listpack.give_back();
                taken
            }
            Body::Nodes(nodes) => nodes.pop_back(take),
        }
    }

    /// Shows the element of an index; negative ones count from the end (-1: the last).
    pub fn get<R>(&self, index: i64, read: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        match self.body() {
            Body::Packed(listpack) => Some(read(listpack.get(listpack.seek(index)?))),
            Body::Nodes(nodes) => nodes.get(index, read),
        }
    }

    /// Shows up to `count` elements from the index `from` on towards the back or, in reverse, the front.
    #[inline]
    pub fn range(&self, from: usize, count: usize, reverse: bool, mut visit: impl FnMut(Item<'_>)) {
        match self.body() {
            Body::Packed(listpack) => match (position(listpack, from), reverse) {
                (None, _) => {}
                (Some(at), false) => listpack.iter_from(at).take(count).for_each(visit),
                (Some(at), true) => listpack.iter_to(at).rev().take(count).for_each(visit),
            },
            Body::Nodes(nodes) => nodes.range(from, count, reverse, &mut visit),
        }
    }

    /// Shows all elements from the front.
    #[inline]
    pub fn for_each(&self, visit: impl FnMut(Item<'_>)) {
        match self.body() {
            Body::Packed(listpack) => listpack.iter().for_each(visit),
            Body::Nodes(nodes) => nodes.for_each(visit),
        }
    }

    /// Shows elements from the index `from` on towards the back or, in reverse, the front, until `visit` has enough.
    #[inline]
    pub fn walk(
        &self,
        from: usize,
        reverse: bool,
        mut visit: impl FnMut(Item<'_>) -> ControlFlow<()>,
    ) {
        match self.body() {
            Body::Packed(listpack) => {
                // That it was told to stop is all that the result says.
                let _ = match (position(listpack, from), reverse) {
                    (None, _) => ControlFlow::Continue(()),
                    (Some(at), false) => listpack.iter_from(at).try_for_each(visit),
                    (Some(at), true) => listpack.iter_to(at).rev().try_for_each(visit),
                };
            }
            Body::Nodes(nodes) => nodes.walk(from, reverse, &mut visit),
        }
    }

    /// Puts another element in the place of the one at `index`; whether there was one.
    pub fn set(&mut self, index: i64, element: &[u8]) -> bool {
        match self.body_mut() {
            Body::Packed(listpack) => match listpack.seek(index) {
                Some(at) => {
                    listpack.replace(at, element);
                    true
                }
                None => false,
            },
            Body::Nodes(nodes) => nodes.set(index, element),
        }
    }

    /// Inserts an element before or behind the first one that is `pivot`; whether there was one. O(n).
    pub fn insert(&mut self, pivot: &[u8], element: &[u8], after: bool) -> bool {
        match self.body_mut() {
            Body::Packed(listpack) => {
                let found = listpack
                    .first()
                    .and_then(|first| listpack.find(first, pivot, 0));
                match (found, after) {
                    (None, _) => return false,
                    (Some(at), true) => listpack.insert_after(at, element),
                    (Some(at), false) => listpack.insert_before(at, element),
                };
                true
            }
            Body::Nodes(nodes) => nodes.insert(pivot, element, after),
        }
    }

    /// Removes up to `limit` elements that are `element` (0: all), from the front or, in reverse, from the back on; how
    /// many there were. O(n).
    pub fn remove(&mut self, element: &[u8], limit: usize, reverse: bool) -> usize {
        match self.body_mut() {
            Body::Packed(listpack) => {
                let needle = Needle::new(element);
                let limit = if limit == 0 { usize::MAX } else { limit };
                listpack.remove_matches(needle, limit, reverse)
            }
            Body::Nodes(nodes) => nodes.remove(element, limit, reverse),
        }
    }

    /// Removes up to `count` elements from the index `from` on.
    pub fn remove_range(&mut self, from: usize, count: usize) {
        match self.body_mut() {
            Body::Packed(listpack) => {
                if count > 0 && from < listpack.len() {
                    listpack.remove_range(from as i64, count);
                }
            }
            Body::Nodes(nodes) => nodes.remove_range(from, count),
        }
    }
}

fn empty_quicklist(limits: &ListLimits) -> Quicklist {
    let mut nodes = Quicklist::with_options(limits.fill, limits.depth);
    nodes.set_packed_threshold(limits.packed_threshold);
    nodes
}

/// Where the element of an index stands.
#[inline]
fn position(listpack: &Listpack, index: usize) -> Option<Position> {
    listpack.seek(i64::try_from(index).ok()?)
}

impl Default for List {
    fn default() -> List {
        List::new()
    }
}

impl Collection for List {
    #[inline]
    fn len(&self) -> usize {
        match self.body() {
            Body::Packed(listpack) => listpack.len(),
            Body::Nodes(nodes) => nodes.len(),
        }
    }
    fn encoding(&self) -> &'static str {
        match self.body() {
            Body::Packed(_) => "listpack",
            Body::Nodes(nodes) => nodes.encoding(),
        }
    }
    fn memory_bytes(&self, samples: usize) -> usize {
        match self.body() {
            Body::Packed(listpack) => listpack.memory_bytes(),
            Body::Nodes(nodes) => nodes.memory_bytes(samples),
        }
    }
    fn free_effort(&self) -> usize {
        match self.body() {
            Body::Packed(_) => 1,
            Body::Nodes(nodes) => nodes.free_effort(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const LIMITS: ListLimits = ListLimits {
        fill: -2,
        depth: 0,
        packed_threshold: 0,
    };

    fn push(list: &mut List, element: &[u8], limits: &ListLimits) {
        list.grow(element.len(), 1, limits);
        list.push_back(element);
    }

    fn elements(list: &List) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        list.for_each(|item| all.push(item.to_vec()));
        all
    }

    #[test]
    fn encodings_are_redis() {
        let limits = ListLimits { fill: 4, ..LIMITS };
        let mut list = List::new();
        for _ in 0..4 {
            push(&mut list, b"x", &limits);
        }
        assert_eq!(list.encoding(), "listpack");
        push(&mut list, b"x", &limits);
        assert_eq!((list.encoding(), list.node_count()), ("quicklist", 2));
        list.pop_back(|_| ());
        list.shrunk(&limits);
        assert_eq!((list.encoding(), list.node_count()), ("quicklist", 1));
        list.pop_back(|_| ());
        list.shrunk(&limits);
        assert_eq!(list.encoding(), "quicklist");
        // Half of what is allowed.
        list.pop_back(|_| ());
        list.shrunk(&limits);
        assert_eq!(list.encoding(), "listpack");
        // An element too large for the limit of bytes.
        list.grow(8193, 1, &LIMITS);
        list.push_back(&[b'x'; 8193]);
        assert_eq!((list.encoding(), list.node_count()), ("quicklist", 2));
        assert!(matches!(list.nodes().last(), Some(NodeView::Plain(_))));
        list.pop_back(|_| ());
        list.shrunk(&LIMITS);
        assert_eq!(list.encoding(), "listpack");
    }

    #[test]
    fn what_was_built_decides_by_the_whole_limit() {
        let limits = ListLimits { fill: 4, ..LIMITS };
        let mut list = List::quicklist(&limits);
        (0..4).for_each(|_| list.push_back(b"x"));
        list.shrunk(&limits);
        assert_eq!(list.encoding(), "quicklist");
        list.built(&limits);
        assert_eq!(list.encoding(), "listpack");
        // A large element is no listpack, however few there are.
        let mut list = List::quicklist(&LIMITS);
        list.push_back(&[b'x'; 9000]);
        list.built(&LIMITS);
        assert_eq!(list.encoding(), "quicklist");
    }

    #[test]
    fn small_lists_are_small() {
        assert_eq!(size_of::<List>(), 8);
        let mut list = List::new();
        push(&mut list, b"x", &LIMITS);
        assert_eq!(list.memory_bytes(0), 16);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(bool, Vec<u8>),
        Pop(bool),
        Set(i64, Vec<u8>),
        Insert(usize, Vec<u8>, bool),
        Remove(usize, usize, bool),
        RemoveRange(usize, usize),
    }

    fn element() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => (0u8..9).prop_map(|n| n.to_string().into_bytes()),
            1 => (b'a'..b'd', 40usize..90).prop_map(|(byte, len)| vec![byte; len]),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (any::<bool>(), element()).prop_map(|(front, e)| Step::Push(front, e)),
            3 => any::<bool>().prop_map(Step::Pop),
            1 => (-9i64..9, element()).prop_map(|(at, e)| Step::Set(at, e)),
            1 => (any::<usize>(), element(), any::<bool>())
                .prop_map(|(at, e, after)| Step::Insert(at, e, after)),
            1 => (any::<usize>(), 0usize..3, any::<bool>())
                .prop_map(|(at, n, reverse)| Step::Remove(at, n, reverse)),
            1 => (0usize..12, 0usize..4).prop_map(|(at, n)| Step::RemoveRange(at, n)),
        ]
    }

    proptest! {
        #[test]
        fn is_a_vector(
            fill in prop_oneof![Just(1), Just(4), Just(9), Just(-1)],
            steps in vec(step(), 1..80),
            from in 0usize..9,
            count in 0usize..9,
        ) {
            let limits = ListLimits { fill, ..LIMITS };
            let mut list = List::new();
            let mut model: Vec<Vec<u8>> = Vec::new();
            for step in steps {
                match step {
                    Step::Push(front, e) => {
                        list.grow(e.len(), 1, &limits);
                        if front { list.push_front(&e) } else { list.push_back(&e) }
                        model.insert(if front { 0 } else { model.len() }, e);
                    }
                    Step::Pop(true) => {
                        let expected = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(list.pop_front(|item| item.to_vec()), expected);
                        list.shrunk(&limits);
                    }
                    Step::Pop(false) => {
                        prop_assert_eq!(list.pop_back(|item| item.to_vec()), model.pop());
                        list.shrunk(&limits);
                    }
                    Step::Set(at, e) => {
                        list.grow(e.len(), 1, &limits);
                        let len = model.len() as i64;
                        let there = at >= -len && at < len;
                        prop_assert_eq!(list.set(at, &e), there);
                        if there {
                            model[at.rem_euclid(len) as usize] = e;
                        }
                        list.shrunk(&limits);
                    }
                    Step::Insert(at, e, after) if !model.is_empty() => {
                        list.grow(e.len(), 1, &limits);
                        let pivot = model[at % model.len()].clone();
                        prop_assert!(list.insert(&pivot, &e, after));
                        let found = model.iter().position(|other| *other == pivot).unwrap();
                        model.insert(found + usize::from(after), e);
                    }
                    Step::Insert(..) => prop_assert!(!list.insert(b"none", b"x", true)),
                    Step::Remove(at, limit, reverse) => {
                        let what = model.get(at % model.len().max(1)).cloned().unwrap_or_default();
                        let mut places: Vec<_> =
                            (0..model.len()).filter(|&at| model[at] == what).collect();
                        if reverse {
                            places.reverse();
                        }
                        if limit > 0 {
                            places.truncate(limit);
                        }
                        prop_assert_eq!(list.remove(&what, limit, reverse), places.len());
                        places.sort_unstable();
                        for at in places.into_iter().rev() {
                            model.remove(at);
                        }
                        list.shrunk(&limits);
                    }
                    Step::RemoveRange(from, count) => {
                        list.remove_range(from, count);
                        let from = from.min(model.len());
                        model.drain(from..(from + count).min(model.len()));
                        list.shrunk(&limits);
                    }
                }
                prop_assert_eq!(list.len(), model.len());
                prop_assert_eq!(list.is_empty(), model.is_empty());
                let allowed = Allowed::by(fill);
                if let Some(listpack) = list.as_listpack() {
                    prop_assert!(allowed.fits(listpack.byte_len().saturating_sub(90), listpack.len()));
                }
            }
            prop_assert_eq!(&elements(&list), &model);
            prop_assert_eq!(&elements(&list.clone()), &model);
            for (index, element) in model.iter().enumerate() {
                prop_assert!(list.get(index as i64, |item| item.is(element)).unwrap());
            }
            let mut seen = Vec::new();
            list.range(from, count, false, |item| seen.push(item.to_vec()));
            let forward: Vec<_> = model.iter().skip(from).take(count).cloned().collect();
            prop_assert_eq!(&seen, &forward);
            seen.clear();
            list.walk(from, true, |item| {
                seen.push(item.to_vec());
                ControlFlow::Continue(())
            });
            let backward: Vec<_> = model.iter().take(from + 1).rev().cloned().collect();
            if from < model.len() {
                prop_assert_eq!(&seen, &backward);
            } else {
                prop_assert!(seen.is_empty());
            }
        }
    }
}
