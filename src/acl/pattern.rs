//! Patterns of keys and channels, taken apart once so that most are compared and not matched.
//!
//! In: a glob as a rule spells it. Out: whether a name matches, exactly as `system::glob` says.
//!
//! Nearly every pattern in use is a plain name, or a plain beginning with a star behind it. For a list of patterns
//! ([`Head`]) even that comparison is left out where the name's first sixteen bytes already differ: twenty patterns
//! cost about as many instructions as one comparison by a function call.

use crate::system::glob;

/// What a pattern comes down to. An empty name is matched by the empty pattern alone, not even by `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Stars only: every name that is not empty.
    Any,
    /// A plain name.
    Exact(Box<[u8]>),
    /// Plain bytes, then stars.
    Prefix(Box<[u8]>),
    /// Stars, then plain bytes.
    Suffix(Box<[u8]>),
    /// Everything else.
    Glob,
}

/// A glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: Box<[u8]>,
    kind: Kind,
}

impl Pattern {
    pub(super) fn new(text: &[u8]) -> Pattern {
        let (literal, rest) = plain(text);
        let stars = rest.iter().take_while(|byte| **byte == b'*').count();
        let behind = rest.get(stars..).unwrap_or_default();
        let kind = match (literal.is_empty(), stars, behind.is_empty()) {
            (true, 1.., true) => Kind::Any,
            (_, 0, true) => Kind::Exact(literal.into()),
            (false, _, true) => Kind::Prefix(literal.into()),
            (true, 1.., false) => match plain(behind) {
                (ending, []) => Kind::Suffix(ending.into()),
                _ => Kind::Glob,
            },
            _ => Kind::Glob,
        };
        Pattern {
            text: text.into(),
            kind,
        }
    }

    /// The glob as it was given.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match &self.kind {
            Kind::Any => !name.is_empty(),
            Kind::Exact(literal) => name == &literal[..],
            Kind::Prefix(literal) => name.starts_with(literal),
            Kind::Suffix(literal) => name.ends_with(literal),
            Kind::Glob => glob::matches(&self.text, name),
        }
    }
}

/// The plain bytes at the beginning of a pattern, and what follows them.
fn plain(pattern: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut literal = Vec::new();
    let mut rest = pattern;
    loop {
        rest = match rest {
            [] | [b'*' | b'?' | b'[', ..] => return (literal, rest),
            [b'\\', escaped, tail @ ..] => {
                literal.push(*escaped);
                tail
            }
            [byte, tail @ ..] => {
                literal.push(*byte);
                tail
            }
        };
    }
}

/// The first sixteen bytes of a name or of what a pattern begins with, compared as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    bytes: u128,
    /// All bits of the bytes that count. Of a name all sixteen do: behind its end stand zeros.
    mask: u128,
}

impl Head {
    pub(super) fn of_pattern(pattern: &[u8]) -> Head {
        let (literal, _) = plain(pattern);
        let len = literal.len().min(16);
        Head {
            bytes: first_bytes(&literal),
            mask: first_bytes([0xff; 16].get(..len).unwrap_or_default()),
        }
    }

    #[inline]
    pub(super) fn of_name(name: &[u8]) -> Head {
        Head {
            bytes: first_bytes(name),
            mask: u128::MAX,
        }
    }

    /// False only if the name does not begin like the pattern. True says nothing: the rest is still to be compared, as is
    /// whether a zero is the name's or stands behind its end.
    #[inline]
    pub(super) fn may_match(self, name: Head) -> bool {
        name.bytes & self.mask == self.bytes
    }
}

#[inline]
fn first_bytes(bytes: &[u8]) -> u128 {
    match bytes.first_chunk::<16>() {
        Some(first) => u128::from_le_bytes(*first),
        None => {
            let mut first = [0; 16];
            first
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to = *from);
            u128::from_le_bytes(first)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn most_patterns_need_no_glob() {
        let kind = |text: &[u8]| Pattern::new(text).kind;
        assert_eq!(kind(b"*"), Kind::Any);
        assert_eq!(kind(b"***"), Kind::Any);
        assert_eq!(kind(b""), Kind::Exact((*b"").into()));
        assert_eq!(kind(b"a\\*b"), Kind::Exact((*b"a*b").into()));
        assert_eq!(kind(b"app:*"), Kind::Prefix((*b"app:").into()));
        assert_eq!(kind(b"app:**"), Kind::Prefix((*b"app:").into()));
        assert_eq!(kind(b"*:log"), Kind::Suffix((*b":log").into()));
        for glob in [&b"a*b"[..], b"*a*", b"a?", b"[a]", b"*a?", b"a*?"] {
            assert_eq!(kind(glob), Kind::Glob);
        }
    }

    fn bytes(alphabet: &'static [u8], len: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(proptest::sample::select(alphabet), 0..len)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn agrees_with_the_glob(
            pattern in bytes(b"aaab***?[]\\-^\0", 9),
            name in bytes(b"aaab*\\?[\0", 7),
        ) {
            let compiled = Pattern::new(&pattern);
            let matches = glob::matches(&pattern, &name);
            prop_assert_eq!(compiled.matches(&name), matches);
            prop_assert!(Head::of_pattern(&pattern).may_match(Head::of_name(&name)) || !matches);
        }

        /// Names about as long as a head, which begin like the pattern.
        #[test]
        fn agrees_with_the_glob_at_the_end_of_a_head(
            common in bytes(b"a", 20),
            pattern in bytes(b"ab*", 4),
            name in bytes(b"ab\0", 4),
        ) {
            let (pattern, name) = ([&common[..], &pattern].concat(), [&common[..], &name].concat());
            let compiled = Pattern::new(&pattern);
            let matches = glob::matches(&pattern, &name);
            prop_assert_eq!(compiled.matches(&name), matches);
            prop_assert!(Head::of_pattern(&pattern).may_match(Head::of_name(&name)) || !matches);
        }
    }
}
