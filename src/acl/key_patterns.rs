//! The patterns of keys of one selector, and the index by which a key finds those that match.
//!
//! In: patterns with what they permit. Out: whether one of them permits an access to a key.
//!
//! The index sorts patterns by how they can be found. Those that begin with plain bytes (`app:*`) are in a tree, down which a
//! key is walked ([`super::prefix_tree`]); those with plain bytes behind a star (`*:log`, `*:orders:*`) are searched for in one
//! pass over the key ([`super::needles`]). What neither finds (`?`, `[ab]*`) is tried one by one, as all would be without it.

use super::access;
use super::needles::Needles;
use super::pattern::{Pattern, Place};
use super::prefix_tree::{Branch, PrefixTree, Rest};

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

/// Which accesses are permitted, a bit for each of those that can be asked for. Two patterns that match one key do not add up: who
/// may read it by one and write it by another may not read and write it at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accesses(u8);

impl Accesses {
    /// Those that a pattern permits: each that asks for no more.
    fn of(pattern: &KeyPattern) -> Accesses {
        let is_within = |asked: &u8| pattern.access & asked == *asked;
        let asked = (0..=READ_WRITE).filter(is_within);
        Accesses(asked.fold(0, |all, asked| all | bit(asked)))
    }
    pub(super) fn add(&mut self, more: Accesses) {
        self.0 |= more.0;
    }
    #[inline]
    pub(super) fn has(self, access: u8) -> bool {
        self.0 & bit(access) != 0
    }
}

#[inline]
fn bit(access: u8) -> u8 {
    1u8.wrapping_shl(u32::from(access))
}

/// Where each pattern is found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Index {
    /// Permitted with the empty key, which the empty pattern alone matches.
    empty: Accesses,
    /// Patterns with plain bytes at their beginning, and those for every key.
    tree: PrefixTree,
    /// Whether there are others.
    has_others: bool,
    /// Those that begin with a star and have plain bytes behind it.
    sought: Vec<Sought>,
    needles: Option<Needles>,
    /// All others are tried, by their indexes.
    tried: Vec<u32>,
}

/// A pattern with plain bytes that are searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sought {
    bytes: Vec<u8>,
    place: Place,
    permitted: Accesses,
    /// Index of the pattern.
    pattern: u32,
}

impl Index {
    fn new(list: &[KeyPattern]) -> Index {
        let mut empty = Accesses::default();
        let (mut branches, mut sought, mut tried) = (Vec::new(), Vec::new(), Vec::new());
        for (pattern, it) in (0..).zip(list) {
            let permitted = Accesses::of(it);
            let (head, rest) = it.pattern.head();
            let only_stars = rest.iter().all(|byte| *byte == b'*');
            if it.pattern.text().is_empty() {
                empty.add(permitted);
            } else if !head.is_empty() || only_stars {
                let rest = match only_stars {
                    _ if rest.is_empty() => Rest::Nothing,
                    true => Rest::Anything,
                    false => Rest::Pattern,
                };
                branches.push(Branch {
                    head,
                    rest,
                    permitted,
                    pattern,
                });
            } else {
                let (bytes, place) = it.pattern.needle();
                match bytes.len() >= Needles::SHORTEST {
                    true => sought.push(Sought {
                        bytes,
                        place,
                        permitted,
                        pattern,
                    }),
                    false => tried.push(pattern),
                }
            }
        }
        let needles: Vec<(&[u8], u32)> = sought.iter().map(|it| &it.bytes[..]).zip(0..).collect();
        let needles = Needles::new(&needles);
        Index {
            empty,
            tree: PrefixTree::new(branches),
            has_others: needles.is_some() || !tried.is_empty(),
            sought,
            needles,
            tried,
        }
    }

    #[inline]
    fn permits(&self, list: &[KeyPattern], key: &[u8], access: u8) -> bool {
        if key.is_empty() {
            return self.empty.has(access);
        }
        self.tree.permits(list, key, access)
            || self.has_others && self.others_permit(list, key, access)
    }

    // Apart, so that what most patterns need stays short.
    #[inline(never)]
    fn others_permit(&self, list: &[KeyPattern], key: &[u8], access: u8) -> bool {
        (self.needles.as_ref()).is_some_and(|it| self.has_needle(it, list, key, access))
            || self.tried.iter().any(|it| permits(list, *it, key, access))
    }

    fn has_needle(&self, needles: &Needles, list: &[KeyPattern], key: &[u8], access: u8) -> bool {
        // Those that have more to them are tried behind the search, each once however often the key has the bytes.
        let mut is_unsure = false;
        let is_found = needles.any(key, |index, begin| {
            let Some(it) = self.sought.get(index as usize) else {
                return false;
            };
            let rest = key.get(begin..).unwrap_or_default();
            it.permitted.has(access)
                && match it.place {
                    Place::Anywhere => rest.starts_with(&it.bytes),
                    Place::End => rest == it.bytes,
                    Place::Unsure => {
                        is_unsure = true;
                        false
                    }
                }
        });
        let mut unsure = self.sought.iter().filter(|it| it.place == Place::Unsure);
        is_found || is_unsure && unsure.any(|it| permits(list, it.pattern, key, access))
    }
}

/// Whether the pattern of this index permits the access.
pub(super) fn permits(list: &[KeyPattern], index: u32, key: &[u8], access: u8) -> bool {
    let pattern = list.get(index as usize);
    pattern.is_some_and(|it| it.permits(key, access))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::glob;
    use proptest::prelude::*;

    /// The oracle: each pattern by itself, as a glob.
    fn permits_naively(list: &KeyPatterns, key: &[u8], access: u8) -> bool {
        let matches = |it: &KeyPattern| glob::matches(it.pattern.text(), key);
        (list.list.iter()).any(|it| it.access & access == access && matches(it))
    }

    fn bytes(alphabet: &'static [u8], len: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(proptest::sample::select(alphabet), 0..len)
    }

    /// Soups of what patterns are made of, and patterns as they are used.
    fn pattern() -> impl Strategy<Value = Vec<u8>> {
        let plain = || bytes(b"aaabbc", 12);
        prop_oneof![
            2 => bytes(b"aaabbc**?[]\\", 8),
            1 => plain().prop_map(|it| [&it[..], b"*"].concat()),
            2 => plain().prop_map(|it| [b"*", &it[..], b"*"].concat()),
            1 => plain().prop_map(|it| [b"*", &it[..]].concat()),
            1 => (plain(), bytes(b"ab**?[", 5)).prop_map(|(it, more)| [b"*", &it[..], &more].concat()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_index_finds_what_a_search_finds(
            patterns in proptest::collection::vec((1u8..4, pattern()), 0..30),
            keys in proptest::collection::vec((0u8..4, bytes(b"aaabbc*", 24)), 20),
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
    fn patterns_are_sorted_by_how_they_are_found() {
        let mut list = KeyPatterns::default();
        for pattern in [
            "", "a:*", "b", "*:x:*", "*:y", "*:z*?", "*:", "?", "[ab]*", "*c",
        ] {
            list.add(READ_WRITE, pattern.as_bytes());
        }
        list.finish();
        let index = list.index.as_ref().unwrap();
        assert!(index.empty.has(READ_WRITE));
        let sought = |it: &Sought| (it.bytes.clone(), it.place);
        let sought: Vec<_> = index.sought.iter().map(sought).collect();
        let expected = [
            (b":x:".to_vec(), Place::Anywhere),
            (b":y".to_vec(), Place::End),
            (b":z".to_vec(), Place::Unsure),
        ];
        assert_eq!(sought, expected);
        // A byte is too short to be sought, and these two have none.
        assert_eq!(index.tried, [6, 7, 8, 9]);
        for (key, permitted) in [
            ("", true),
            ("b", true),
            ("bb", true),
            ("ee", false),
            ("dd:x:d", true),
            ("dd:yd", false),
            ("dd:y", true),
            ("dd:z", false),
            ("dd:z:", true),
            ("d", true),
        ] {
            assert_eq!(list.permit(key.as_bytes(), READ_WRITE), permitted, "{key}");
        }
    }

    /// A pattern that is searched for, and has more to it, would be tried at each place where the bytes are.
    #[test]
    fn patterns_are_tried_once_for_each_key() {
        let mut list = KeyPatterns::default();
        list.add(READ_WRITE, b"*aaaaaaaa?b");
        list.add(READ_WRITE, &[b"*", &[b'a'; 50][..], b"b*"].concat());
        list.finish();
        let begin = std::time::Instant::now();
        assert!(!list.permit(&vec![b'a'; 1_000_000], READ_WRITE));
        assert!(begin.elapsed().as_secs() < 10);
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
