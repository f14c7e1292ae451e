//! Patterns of keys and channels, taken apart once so that most are compared and not matched.
//!
//! In: a glob as a rule spells it. Out: whether a name matches, exactly as `system::glob` says.
//!
//! Nearly every pattern in use is a plain name, or a plain beginning with a star behind it.

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
    /// Plain bytes between stars.
    Contains(Box<[u8]>),
    /// Everything else.
    Glob,
}

/// Where a name that matches a pattern has the pattern's plain bytes ([`Pattern::needle`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Somewhere: whatever has them matches.
    Anywhere,
    /// At its end: whatever has them there matches.
    End,
    /// Somewhere, and there is more to the pattern.
    Unsure,
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
                (middle, rest) if rest.iter().all(|byte| *byte == b'*') => {
                    Kind::Contains(middle.into())
                }
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

    /// The plain bytes with which each name begins that matches, and the rest of the pattern.
    pub(super) fn head(&self) -> (Vec<u8>, &[u8]) {
        plain(&self.text)
    }

    /// The longest plain bytes that each name has which matches, as far as the pattern is read for them, and where.
    pub(super) fn needle(&self) -> (Vec<u8>, Place) {
        let place = match &self.kind {
            Kind::Suffix(_) => Place::End,
            Kind::Contains(_) => Place::Anywhere,
            _ => Place::Unsure,
        };
        let (mut longest, mut rest) = plain(&self.text);
        // Where a class ends is the glob's to know: what is behind one is not looked at.
        while let [b'*' | b'?', behind @ ..] = rest {
            let (bytes, behind) = plain(behind);
            rest = behind;
            if bytes.len() > longest.len() {
                longest = bytes;
            }
        }
        (longest, place)
    }

    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match &self.kind {
            Kind::Any => !name.is_empty(),
            Kind::Exact(literal) => name == &literal[..],
            Kind::Prefix(literal) => name.starts_with(literal),
            Kind::Suffix(literal) => name.ends_with(literal),
            Kind::Contains(literal) => contains(name, literal),
            Kind::Glob => glob::matches(&self.text, name),
        }
    }
}

/// Whether a name has these bytes, at least one, somewhere within.
fn contains(name: &[u8], literal: &[u8]) -> bool {
    let Some(first) = literal.first() else {
        return !name.is_empty();
    };
    memchr::memchr_iter(*first, name)
        .any(|at| name.get(at..).is_some_and(|rest| rest.starts_with(literal)))
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
        assert_eq!(kind(b"*:log:*"), Kind::Contains((*b":log:").into()));
        for glob in [&b"a*b"[..], b"*a*b*", b"a?", b"[a]", b"*a?", b"a*?"] {
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
        }
    }
}
