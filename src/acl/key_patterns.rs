//! The patterns of keys of one selector, and the index by which a key finds those that match.
//!
//! In: patterns with what they permit. Out: whether one of them permits an access to a key.
//!
//! The index is a radix tree over the plain bytes with which the patterns begin. A key is walked down once, whatever the
//! number of patterns: those on its way are all that can match. Where a pattern is plain to its end, or has only a star
//! behind it, being on the way is the match; the others are tried.
//!
//! ```text
//! ~app:* ~app:[0-9] ~art ~*z          (app: → *, [0-9])
//!                            root ─ a ┤
//!                            (*z)     └ rt → end of the key
//! ```

use super::access;
use super::pattern::Pattern;

const READ_WRITE: u8 = access::READ | access::WRITE;

/// A pattern of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPattern {
    /// Bits of [`access`]: what is permitted with the keys.
    access: u8,
    pattern: Pattern,
}

impl KeyPattern {
    /// Whether it is described as all keys are: only the empty key, which `*` does not match, makes a difference.
    fn is_everything(&self) -> bool {
        self.access == READ_WRITE && self.pattern.text() == b"*"
    }

    fn permits(&self, key: &[u8], access: u8) -> bool {
        self.access & access == access && self.pattern.matches(key)
    }

    fn describe(&self) -> Vec<u8> {
        let sign: &[u8] = match self.access {
            access::READ => b"%R~",
            access::WRITE => b"%W~",
            _ => b"~",
        };
        [sign, self.pattern.text()].concat()
    }
}

/// The patterns of keys of one selector, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPatterns {
    list: Vec<KeyPattern>,
    /// None after a change: it is made when all changes are.
    index: Option<Index>,
}

impl KeyPatterns {
    /// Permits this access to keys that match, besides what was permitted before.
    pub(super) fn add(&mut self, access: u8, pattern: &[u8]) {
        self.index = None;
        match self.list.iter_mut().find(|it| it.pattern.text() == pattern) {
            Some(known) => known.access |= access,
            None => self.list.push(KeyPattern {
                access,
                pattern: Pattern::new(pattern),
            }),
        }
    }

    pub(super) fn clear(&mut self) {
        *self = KeyPatterns::default();
    }

    /// Makes the index, after the last change.
    pub(super) fn finish(&mut self) {
        if self.index.is_none() {
            self.index = Some(Index::new(&self.list));
        }
    }

    #[inline]
    pub(super) fn permit(&self, key: &[u8], access: u8) -> bool {
        match &self.index {
            Some(index) => index.permits(&self.list, key, access),
            None => self.list.iter().any(|it| it.permits(key, access)),
        }
    }

    /// Whether this access to every key is permitted.
    pub(super) fn permit_all(&self, access: u8) -> bool {
        let all = |it: &KeyPattern| it.access & access == access && it.pattern.text() == b"*";
        self.list.iter().any(all)
    }

    /// The words of the rules.
    pub(super) fn words(&self) -> Vec<Vec<u8>> {
        // Behind a pattern for all keys (`%RW~*` can stand among others) a further one would be refused when this is
        // read again, and says nothing.
        match self.list.iter().any(KeyPattern::is_everything) {
            true => vec![b"~*".to_vec()],
            false => self.list.iter().map(KeyPattern::describe).collect(),
        }
    }
}

/// A radix tree over what patterns begin with. Children of a node stand side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Index {
    nodes: Vec<Node>,
    /// The byte by which each node is chosen among its siblings.
    first_bytes: Vec<u8>,
    ends: Vec<End>,
}

/// A node: bytes that a key must go on with behind the one by which the node was chosen, patterns that begin with all bytes
/// up to there, and the nodes below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    label: Label,
    ends: Span,
    children: Span,
}

/// Some bytes, of which up to eight are compared as one number: most labels are short, and a call to compare each would be
/// most of a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Label {
    number: u64,
    /// All bits of the bytes that count.
    mask: u64,
    len: usize,
    behind: Box<[u8]>,
}

impl Label {
    fn new(bytes: &[u8]) -> Label {
        let len = bytes.len().min(8);
        let (first, behind) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
        Label {
            number: number(first),
            mask: number([0xff; 8].get(..len).unwrap_or_default()),
            len,
            behind: behind.into(),
        }
    }

    /// What of the key is behind the label, if it begins with it.
    #[inline]
    fn strip<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        let first = match key.first_chunk::<8>() {
            Some(first) => u64::from_le_bytes(*first),
            None => number(key),
        };
        if first & self.mask != self.number {
            return None;
        }
        // A key that ends within the label looks as if zeros stood behind it, but here it is too short.
        let behind = key.get(self.len..)?;
        match self.behind.is_empty() {
            true => Some(behind),
            false => behind.strip_prefix(&*self.behind),
        }
    }
}

/// The first eight bytes as a number, with zeros behind them where there are fewer.
fn number(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let pairs = first.iter_mut().zip(bytes);
    pairs.for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(first)
}

/// From where to where in one of the tree's lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    begin: u32,
    end: u32,
}

impl Span {
    #[inline]
    fn is_empty(self) -> bool {
        self.begin == self.end
    }
    #[inline]
    fn of<T>(self, list: &[T]) -> &[T] {
        list.get(self.begin as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// A pattern whose plain bytes end in a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    access: u8,
    rest: Rest,
    /// Index of the pattern.
    pattern: u32,
}

/// How a key must go on behind the plain bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Nothing,
    Anything,
    /// As the pattern says.
    Pattern,
}

/// What patterns begin with, sorted.
type Heads = [(Vec<u8>, End)];

impl Index {
    fn new(list: &[KeyPattern]) -> Index {
        let mut heads: Vec<(Vec<u8>, End)> = (0..).zip(list).map(head).collect();
        heads.sort_by(|a, b| a.0.cmp(&b.0));
        let mut index = Index {
            nodes: vec![Node::default()],
            first_bytes: vec![0],
            ends: Vec::with_capacity(heads.len()),
        };
        // Patterns of the node that comes next, and how many of their bytes are those of the nodes above. Nodes are done in
        // the order in which they were made, without recursion: patterns may nest as deep as there are bytes.
        let mut todo: Vec<(&Heads, usize)> = vec![(&heads, 0)];
        let mut next = 0;
        while let Some(&(heads, depth)) = todo.get(next) {
            let node = index.fill(heads, depth, &mut todo);
            if let Some(place) = index.nodes.get_mut(next) {
                *place = node;
            }
            next = next.saturating_add(1);
        }
        index
    }

    /// Makes a node of these patterns, sorted by what they begin with; appends its children to those that are to be made.
    fn fill<'a>(
        &mut self,
        heads: &'a Heads,
        depth: usize,
        todo: &mut Vec<(&'a Heads, usize)>,
    ) -> Node {
        // What the first and the last have in common all between them have.
        let (Some((first, _)), Some((last, _))) = (heads.first(), heads.last()) else {
            return Node::default();
        };
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let label = first.get(depth..common).unwrap_or_default();
        let ends = begin(&self.ends);
        let here = heads.partition_point(|(head, _)| head.len() == common);
        let (here, below) = heads.split_at_checked(here).unwrap_or((heads, &[]));
        self.ends.extend(here.iter().map(|(_, end)| end.clone()));
        let children = begin(&self.nodes);
        for child in below.chunk_by(|(a, _), (b, _)| a.get(common) == b.get(common)) {
            let byte = child.first().and_then(|(head, _)| head.get(common));
            self.first_bytes.push(byte.copied().unwrap_or_default());
            self.nodes.push(Node::default());
            todo.push((child, common.saturating_add(1)));
        }
        let span = |begin, end| Span { begin, end };
        Node {
            label: Label::new(label),
            ends: span(ends, begin(&self.ends)),
            children: span(children, begin(&self.nodes)),
        }
    }

    fn permits(&self, list: &[KeyPattern], key: &[u8], access: u8) -> bool {
        let mut node = self.nodes.first();
        let mut rest = key;
        while let Some(at) = node {
            let Some(behind) = at.label.strip(rest) else {
                return false;
            };
            let permits = |end: &End| {
                end.access & access == access
                    && match end.rest {
                        Rest::Nothing => behind.is_empty(),
                        Rest::Anything => true,
                        Rest::Pattern => {
                            let pattern = list.get(end.pattern as usize);
                            pattern.is_some_and(|it| it.permits(key, access))
                        }
                    }
            };
            if !at.ends.is_empty() && at.ends.of(&self.ends).iter().any(permits) {
                return true;
            }
            let Some((byte, behind)) = behind.split_first() else {
                return false;
            };
            rest = behind;
            let mut children = at
                .children
                .of(&self.first_bytes)
                .iter()
                .zip(at.children.begin..);
            let child = children.find(|(first, _)| *first == byte);
            node = child.and_then(|(_, child)| self.nodes.get(child as usize));
        }
        false
    }
}

/// Where what is appended next will begin.
fn begin<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// The plain bytes with which a pattern begins, and what is asked of a key that begins with them.
fn head((pattern, it): (u32, &KeyPattern)) -> (Vec<u8>, End) {
    let (bytes, rest) = it.pattern.head();
    let rest = match rest {
        [] => Rest::Nothing,
        // An empty key is matched by no star.
        _ if !bytes.is_empty() && rest.iter().all(|byte| *byte == b'*') => Rest::Anything,
        _ => Rest::Pattern,
    };
    let access = it.access;
    let end = End {
        access,
        rest,
        pattern,
    };
    (bytes, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn permits_naively(list: &KeyPatterns, key: &[u8], access: u8) -> bool {
        list.list.iter().any(|it| it.permits(key, access))
    }

    fn bytes(alphabet: &'static [u8], len: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(proptest::sample::select(alphabet), 0..len)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_index_finds_what_a_search_finds(
            patterns in proptest::collection::vec((1u8..4, bytes(b"aaabbc**?[]\\", 8)), 0..30),
            keys in proptest::collection::vec((0u8..4, bytes(b"aaabbc*", 8)), 20),
        ) {
            let mut list = KeyPatterns::default();
            for (access, pattern) in &patterns {
                list.add(*access, pattern);
            }
            let unfinished = list.clone();
            list.finish();
            for (access, key) in &keys {
                let expected = permits_naively(&list, key, *access);
                prop_assert_eq!(list.permit(key, *access), expected);
                prop_assert_eq!(unfinished.permit(key, *access), expected);
            }
            for (_, pattern) in &patterns {
                let expected = permits_naively(&list, pattern, 1);
                prop_assert_eq!(list.permit(pattern, 1), expected);
            }
        }
    }

    /// As deep as there are bytes: a recursive build would overflow its stack.
    #[test]
    fn patterns_may_nest_deeply() {
        let mut list = KeyPatterns::default();
        let long = vec![b'a'; 3000];
        for len in (1..=long.len()).rev() {
            list.add(READ_WRITE, &long[..len]);
        }
        list.finish();
        assert!(list.permit(&long, READ_WRITE) && list.permit(b"a", READ_WRITE));
        assert!(!list.permit(b"", 0) && !list.permit(b"ab", 0));
        assert!(!list.permit(&[&long[..], b"a"].concat(), 0));
    }

    #[test]
    fn a_change_makes_the_index_void() {
        let mut list = KeyPatterns::default();
        list.finish();
        assert!(!list.permit(b"a", 0));
        list.add(access::READ, b"a");
        assert!(list.permit(b"a", access::READ));
        list.finish();
        list.add(access::WRITE, b"a");
        list.finish();
        assert!(list.permit(b"a", READ_WRITE));
        list.clear();
        assert!(!list.permit(b"a", 0));
    }
}
