//! A radix tree over the plain bytes with which patterns begin.
//!
//! In: patterns, and a key. Out: whether one of the patterns that begin as the key does permits an access to it. A key is
//! walked down once, whatever the number of patterns: those on its way are all that can match. Where a pattern has only a star
//! behind its plain bytes, being on the way is the match, and where it has nothing, being at the end of it; the others are
//! tried.
//!
//! ```text
//!                                 pp: → *, [0-9]
//! ~app:* ~app:[0-9] ~art   root ─ a ┤
//!                                   └ rt → end of the key
//! ```

use super::key_patterns::{Accesses, KeyPattern, permits};

/// The tree. Children of a node stand side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PrefixTree {
    nodes: Vec<Node>,
    /// The root's child for each byte with which a key may begin; 0 if there is none.
    by_first: Box<[u16; 256]>,
    /// The byte by which each node is chosen among its siblings.
    first_bytes: Vec<u8>,
    /// Patterns to be tried, by the nodes in which their plain bytes end.
    tried: Vec<u32>,
}

/// A node: bytes that a key must go on with behind the one by which the node was chosen, what is permitted then, and the nodes
/// below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    label: Label,
    /// Permitted with all keys that come here.
    anything: Accesses,
    /// Permitted with the key that ends here.
    nothing: Accesses,
    tried: Span,
    children: Span,
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

/// Some bytes. The first eight are compared as one number where the key is as long: most labels are short, and a call to
/// compare each would be most of a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Label {
    number: u64,
    /// All bits of the bytes that count.
    mask: u64,
    bytes: Box<[u8]>,
}

impl Label {
    fn new(bytes: &[u8]) -> Label {
        let mut number = [0; 8];
        let mut mask = [0; 8];
        for ((number, mask), byte) in number.iter_mut().zip(&mut mask).zip(bytes) {
            (*number, *mask) = (*byte, 0xff);
        }
        Label {
            number: u64::from_le_bytes(number),
            mask: u64::from_le_bytes(mask),
            bytes: bytes.into(),
        }
    }

    /// What of the key is behind the label, if it begins with it.
    #[inline(always)]
    fn strip<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        let label = &*self.bytes;
        match key.first_chunk::<8>() {
            _ if label.is_empty() => Some(key),
            Some(first) if label.len() <= 8 => {
                let is_same = u64::from_le_bytes(*first) & self.mask == self.number;
                key.get(label.len()..).filter(|_| is_same)
            }
            _ => {
                let behind = key.get(label.len()..)?;
                let is_same = label.iter().zip(key).all(|(a, b)| a == b);
                is_same.then_some(behind)
            }
        }
    }
}

/// A pattern as it is put into the tree.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    /// The plain bytes with which it begins.
    pub(super) head: Vec<u8>,
    pub(super) rest: Rest,
    pub(super) permitted: Accesses,
    /// Index of the pattern.
    pub(super) pattern: u32,
}

/// How a key must go on behind the plain bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Nothing,
    Anything,
    /// As the pattern says.
    Pattern,
}

impl PrefixTree {
    pub(super) fn new(mut branches: Vec<Branch>) -> PrefixTree {
        branches.sort_by(|a, b| a.head.cmp(&b.head));
        let mut tree = PrefixTree {
            nodes: vec![Node::default()],
            by_first: Box::new([0; 256]),
            first_bytes: vec![0],
            tried: Vec::new(),
        };
        // Patterns of the node that comes next, and how many of their bytes are those of the nodes above. Nodes are done in
        // the order in which they were made, without recursion: patterns may nest as deep as there are bytes.
        let mut todo: Vec<(&[Branch], usize)> = vec![(&branches, 0)];
        let mut next = 0;
        while let Some(&(branches, depth)) = todo.get(next) {
            let node = tree.fill(branches, depth, &mut todo);
            if let Some(place) = tree.nodes.get_mut(next) {
                *place = node;
            }
            next = next.saturating_add(1);
        }
        let root = tree.nodes.first().map(|root| root.children);
        let below = root.unwrap_or_default().of(&tree.first_bytes);
        // They stand right behind the root.
        for (byte, child) in below.iter().zip(1..) {
            if let Some(place) = tree.by_first.get_mut(usize::from(*byte)) {
                *place = child;
            }
        }
        tree
    }

    /// Makes a node of these patterns, sorted by what they begin with; appends its children to those that are to be made.
    fn fill<'a>(
        &mut self,
        branches: &'a [Branch],
        depth: usize,
        todo: &mut Vec<(&'a [Branch], usize)>,
    ) -> Node {
        // What the first and the last have in common all between them have.
        let (Some(first), Some(last)) = (branches.first(), branches.last()) else {
            return Node::default();
        };
        let same = first.head.iter().zip(&last.head);
        // The root has no bytes, so that it need not be walked through.
        let common = match depth {
            0 => 0,
            _ => same.take_while(|(a, b)| a == b).count(),
        };
        let mut node = Node {
            label: Label::new(first.head.get(depth..common).unwrap_or_default()),
            ..Node::default()
        };
        let here = branches.partition_point(|it| it.head.len() == common);
        let (here, below) = branches.split_at_checked(here).unwrap_or((branches, &[]));
        node.tried.begin = begin(&self.tried);
        for branch in here {
            match branch.rest {
                Rest::Nothing => node.nothing.add(branch.permitted),
                Rest::Anything => node.anything.add(branch.permitted),
                Rest::Pattern => self.tried.push(branch.pattern),
            }
        }
        node.tried.end = begin(&self.tried);
        node.children.begin = begin(&self.nodes);
        for child in below.chunk_by(|a, b| a.head.get(common) == b.head.get(common)) {
            let byte = child.first().and_then(|branch| branch.head.get(common));
            self.first_bytes.push(byte.copied().unwrap_or_default());
            self.nodes.push(Node::default());
            todo.push((child, common.saturating_add(1)));
        }
        node.children.end = begin(&self.nodes);
        node
    }

    /// The key must not be empty.
    #[inline]
    pub(super) fn permits(&self, list: &[KeyPattern], key: &[u8], access: u8) -> bool {
        let (Some(root), Some((first, mut rest))) = (self.nodes.first(), key.split_first()) else {
            return false;
        };
        if root.anything.has(access) {
            return true;
        }
        let child = self.by_first.get(usize::from(*first)).copied().unwrap_or(0);
        let mut node = self.nodes.get(usize::from(child)).filter(|_| child != 0);
        while let Some(at) = node {
            let Some(behind) = at.label.strip(rest) else {
                return false;
            };
            if at.anything.has(access) {
                return true;
            }
            if !at.tried.is_empty() && self.any_permits(at.tried, list, key, access) {
                return true;
            }
            let Some((byte, behind)) = behind.split_first() else {
                return at.nothing.has(access);
            };
            rest = behind;
            let siblings = at.children.of(&self.first_bytes).iter();
            let child = siblings
                .zip(at.children.begin..)
                .find(|(it, _)| *it == byte);
            node = child.and_then(|(_, child)| self.nodes.get(child as usize));
        }
        false
    }

    // Apart, so that a walk without it keeps all that it needs in registers.
    #[inline(never)]
    fn any_permits(&self, tried: Span, list: &[KeyPattern], key: &[u8], access: u8) -> bool {
        let mut tried = tried.of(&self.tried).iter();
        tried.any(|it| permits(list, *it, key, access))
    }
}

/// Where what is appended next will begin.
fn begin<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}
