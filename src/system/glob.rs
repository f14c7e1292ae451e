//! Glob-style matching as `KEYS`, `SCAN MATCH`, `PSUBSCRIBE` and `CONFIG GET` use it; mirrors `stringmatchlen` of
//! Redis's util.c, with its odd corners, because clients see them.
//!
//! In: a pattern and a text, both raw bytes, both from clients. Out: whether they match. Time is at most
//! `O(pattern × text)`, stack and heap are constant: no pattern can make it recurse or blow up.
//!
//! Pattern language: `*` any run, `?` any byte, `[a-z]` one byte of a class, `[^a-z]` one byte not of it, `\x` the byte
//! `x` itself, everything else itself.
//!
//! The odd corners that are kept:
//! - an empty text is matched by nothing but an empty pattern (not even by `*`);
//! - a class that is not closed ends where the pattern ends;
//! - the end of a range may be any byte, a `]` too (`[a-]` is the range from `a` to `]`, and is not closed);
//! - a range is compared as signed bytes, its ends swapped if they are in the wrong order, and folded only after that;
//! - an escaped byte inside a class is compared with regard to case even if the rest is not;
//! - more than 1000 stars that have something behind them match nothing.

/// Redis gives up beyond this number of nested stars.
const STARS_MAX: u32 = 1000;

/// Whether `text` matches `pattern`, byte for byte.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run::<false>(pattern, text)
}

/// Whether `text` matches `pattern` without regard to the case of ASCII letters.
pub fn matches_nocase(pattern: &[u8], text: &[u8]) -> bool {
    run::<true>(pattern, text)
}

/// The pattern and where we are in it; the text and where we are in it.
///
/// A star first takes nothing. When something after it fails, it takes one byte more and all is tried again from
/// there. Only the *last* star is ever revisited: if what stands between two stars was found as early as possible, then
/// finding it later leaves less text for the rest and cannot help.
fn run<const NOCASE: bool>(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Behind the last star: the pattern there, and the text where its next attempt starts.
    let mut retry: Option<(usize, usize)> = None;
    let mut stars = 0;
    loop {
        if t == text.len() {
            if pattern[p..].iter().all(|&byte| byte == b'*') {
                return true;
            }
        } else if let Some(&first) = pattern.get(p) {
            if first == b'*' {
                while pattern.get(p) == Some(&b'*') {
                    p += 1;
                }
                if p == pattern.len() {
                    return true;
                }
                stars += 1;
                if stars > STARS_MAX {
                    return false;
                }
                retry = Some((p, t));
                continue;
            }
            let (matched, after) = match first {
                b'?' => (true, p + 1),
                b'[' => match_class::<NOCASE>(pattern, p + 1, text[t]),
                b'\\' if p + 1 < pattern.len() => (same::<NOCASE>(pattern[p + 1], text[t]), p + 2),
                literal => (same::<NOCASE>(literal, text[t]), p + 1),
            };
            if matched {
                p = after;
                t += 1;
                continue;
            }
        }
        // A mismatch, or one of the two is used up before the other: the last star takes one byte more.
        match retry {
            Some((behind_star, start)) if start + 1 < text.len() => {
                retry = Some((behind_star, start + 1));
                (p, t) = (behind_star, start + 1);
            }
            _ => return false,
        }
    }
}

fn same<const NOCASE: bool>(a: u8, b: u8) -> bool {
    if NOCASE {
        a.eq_ignore_ascii_case(&b)
    } else {
        a == b
    }
}

/// Matches one byte against the class whose `[` ended at `p`; answers also where the pattern goes on behind it.
fn match_class<const NOCASE: bool>(pattern: &[u8], mut p: usize, byte: u8) -> (bool, usize) {
    let negated = pattern.get(p) == Some(&b'^');
    if negated {
        p += 1;
    }
    let mut found = false;
    loop {
        match pattern[p..] {
            [] => return (found != negated, p),
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                p += 2;
            }
            [b']', ..] => return (found != negated, p + 1),
            [low, b'-', high, ..] => {
                found |= in_range::<NOCASE>(low, high, byte);
                p += 3;
            }
            [member, ..] => {
                found |= same::<NOCASE>(member, byte);
                p += 1;
            }
        }
    }
}

fn in_range<const NOCASE: bool>(low: u8, high: u8, byte: u8) -> bool {
    let fold = |byte: i8| {
        if NOCASE {
            (byte as u8).to_ascii_lowercase() as i8
        } else {
            byte
        }
    };
    let (low, high) = (low as i8, high as i8);
    let (low, high) = if low > high { (high, low) } else { (low, high) };
    (fold(low)..=fold(high)).contains(&fold(byte as i8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literal_any_and_star() {
        assert!(matches(b"", b""));
        assert!(!matches(b"", b"a"));
        assert!(matches(b"hello", b"hello"));
        assert!(!matches(b"hello", b"hellO"));
        assert!(matches_nocase(b"hEllo", b"HellO"));
        assert!(matches(b"h?llo", b"hallo"));
        assert!(!matches(b"h?llo", b"hllo"));
        assert!(matches(b"h*llo", b"hllo"));
        assert!(matches(b"h*llo", b"heeeello"));
        assert!(matches(b"*", b"x"));
        assert!(matches(b"a**", b"a"));
        assert!(matches(b"foo*bar*baz*", b"foo-bar-bar-baz"));
        assert!(!matches(b"*foo", b"foobar"));
    }

    #[test]
    fn an_empty_text_is_matched_by_an_empty_pattern_only() {
        assert!(!matches(b"*", b""));
        assert!(!matches(b"**", b""));
        assert!(!matches(b"?", b""));
    }

    #[test]
    fn classes() {
        assert!(matches(b"h[ae]llo", b"hello"));
        assert!(!matches(b"h[ae]llo", b"hillo"));
        assert!(matches(b"h[^e]llo", b"hallo"));
        assert!(!matches(b"h[^e]llo", b"hello"));
        assert!(matches(b"h[a-b]llo", b"hbllo"));
        assert!(matches(b"h[b-a]llo", b"hallo"));
        assert!(matches(b"[\\]]", b"]"));
        assert!(!matches(b"[]", b"a"));
        assert!(matches(b"[^]", b"a"));
        // A class that is never closed.
        assert!(matches(b"[abc", b"b"));
        assert!(matches(b"[^", b"b"));
        assert!(!matches(b"[", b"["));
        // The end of the range is the bracket, and so the class is not closed.
        assert!(matches(b"[A-]x", b"x"));
        assert!(matches(b"[A-]x", b"]"));
        // Signed bytes: the range from 'a' to 0xff is the range from -1 to 97.
        assert!(matches(b"[a-\xff]", b"0"));
        assert!(!matches(b"[a-\xff]", b"\xf0"));
        assert!(matches(b"[\x80-\xff]", b"\xf0"));
    }

    #[test]
    fn classes_without_regard_to_case() {
        assert!(matches_nocase(b"[a-c]", b"B"));
        assert!(matches_nocase(b"[A-C]", b"b"));
        assert!(matches_nocase(b"[Q]", b"q"));
        assert!(!matches_nocase(b"[\\Q]", b"q"));
        // Ends are swapped before they are folded: nothing lies between 'z' and 'a'.
        assert!(!matches_nocase(b"[a-Z]", b"m"));
    }

    #[test]
    fn escapes() {
        assert!(matches(b"a\\*b", b"a*b"));
        assert!(!matches(b"a\\*b", b"axb"));
        assert!(matches(b"a\\", b"a\\"));
        assert!(matches(b"\\a\\b", b"ab"));
    }

    /// Redis's regression test of the pattern that once took exponential time.
    #[test]
    fn many_stars_end_quickly() {
        let text = vec![b'a'; 100_000];
        let pattern = b"a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b";
        assert!(!matches(pattern, &text));
    }

    #[test]
    fn more_stars_than_redis_nests_match_nothing() {
        let text = vec![b'a'; 2000];
        let deep = |stars: usize| [b"*a".repeat(stars), b"*".to_vec()].concat();
        assert!(matches(&deep(1000), &text));
        assert!(!matches(&deep(1001), &text));
    }

    /// The oracle: the pattern as a list of what it accepts, tried in every way.
    #[derive(Debug)]
    enum Piece {
        Star,
        One(Box<[bool; 256]>),
    }

    fn pieces(pattern: &[u8], nocase: bool) -> Vec<Piece> {
        let lower = |byte: u8| {
            if nocase {
                byte.to_ascii_lowercase()
            } else {
                byte
            }
        };
        let set = |accept: &dyn Fn(u8) -> bool| {
            Piece::One(Box::new(std::array::from_fn(|byte| accept(byte as u8))))
        };
        let mut out = Vec::new();
        let mut i = 0;
        while i < pattern.len() {
            match pattern[i] {
                b'*' => out.push(Piece::Star),
                b'?' => out.push(set(&|_| true)),
                b'[' => {
                    let mut accepted = [false; 256];
                    i += 1;
                    let not = i < pattern.len() && pattern[i] == b'^';
                    i += usize::from(not);
                    while i < pattern.len() && pattern[i] != b']' {
                        if pattern[i] == b'\\' && i + 1 < pattern.len() {
                            i += 1;
                            accepted[pattern[i] as usize] = true;
                        } else if i + 2 < pattern.len() && pattern[i + 1] == b'-' {
                            let mut ends = [pattern[i] as i8, pattern[i + 2] as i8];
                            ends.sort();
                            for byte in 0..=255u8 {
                                let folded = ends.map(|end| lower(end as u8) as i8);
                                let candidate = lower(byte) as i8;
                                if folded[0] <= candidate && candidate <= folded[1] {
                                    accepted[byte as usize] = true;
                                }
                            }
                            i += 2;
                        } else {
                            for byte in 0..=255u8 {
                                accepted[byte as usize] |= lower(byte) == lower(pattern[i]);
                            }
                        }
                        i += 1;
                    }
                    out.push(set(&|byte| accepted[byte as usize] != not));
                }
                _ => {
                    if pattern[i] == b'\\' && i + 1 < pattern.len() {
                        i += 1;
                    }
                    let literal = pattern[i];
                    out.push(set(&|byte| lower(byte) == lower(literal)));
                }
            }
            i += 1;
        }
        out
    }

    fn naive(pieces: &[Piece], text: &[u8]) -> bool {
        match (pieces, text) {
            ([], rest) => rest.is_empty(),
            ([Piece::Star, after @ ..], _) => (0..=text.len()).any(|n| naive(after, &text[n..])),
            ([Piece::One(_), ..], []) => false,
            ([Piece::One(set), after @ ..], [byte, rest @ ..]) => {
                set[*byte as usize] && naive(after, rest)
            }
        }
    }

    fn oracle(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
        if text.is_empty() {
            return pattern.is_empty();
        }
        naive(&pieces(pattern, nocase), text)
    }

    fn bytes_of(alphabet: &'static [u8], len: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(proptest::sample::select(alphabet), 0..len)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn agrees_with_the_oracle(
            pattern in bytes_of(b"**??[]^\\-aAbBz\xf0", 10),
            text in bytes_of(b"aAbB]-\\*z\xf0\x10", 8),
        ) {
            prop_assert_eq!(matches(&pattern, &text), oracle(&pattern, &text, false));
            prop_assert_eq!(matches_nocase(&pattern, &text), oracle(&pattern, &text, true));
        }
    }
}
