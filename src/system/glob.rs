//! Glob-style matching as `KEYS`, `SCAN MATCH`, `PSUBSCRIBE` and `CONFIG GET` use it; mirrors `stringmatchlen` of
//! Redis's util.c, with its odd corners, because clients see them.
//!
//! In: a pattern and a text, both raw bytes, both from clients. Out: whether they match.
//!
//! Nearly every match ends within a few steps for each byte of the two, by trying. One that does not is begun again in
//! another way ([`thorough`]): what stands between two stars is searched for, in linear time where it is plain bytes,
//! in `pattern × text / 64` steps where it is not. Of these there is a bound, [`WORDS_MAX`]; beyond it the text counts
//! as not matching. No pattern can make it recurse.
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

use memchr::memmem;

/// Steps by trying, for each byte of pattern and text, before the match is begun again in the other way. As many again
/// are free, so that short ones are never.
const STEPS_PER_BYTE: usize = 16;
const STEPS_FREE: usize = 4096;

/// The most words of 64 positions that the search for one part of a pattern may go through: about 50 ms. A part with
/// `?` or classes of 50 KB on a text of 100 KB is well within it.
const WORDS_MAX: u64 = 1 << 27;

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

fn run<const NOCASE: bool>(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let bytes = pattern.len().saturating_add(text.len());
    let steps = bytes
        .saturating_mul(STEPS_PER_BYTE)
        .saturating_add(STEPS_FREE);
    match by_trying::<NOCASE>(pattern, text, steps) {
        Some(matched) => matched,
        None => thorough::<NOCASE>(pattern, text),
    }
}

/// Tries every place for what is behind a star; `None` when that takes more than so many steps. The text is not empty.
///
/// A star first takes nothing. When something after it fails, it takes one byte more and all is tried again from
/// there. Only the *last* star is ever revisited: if what stands between two stars was found as early as possible, then
/// finding it later leaves less text for the rest and cannot help.
fn by_trying<const NOCASE: bool>(pattern: &[u8], text: &[u8], mut steps: usize) -> Option<bool> {
    let (mut p, mut t) = (0, 0);
    // Behind the last star: the pattern there, and the text where its next attempt starts.
    let mut retry: Option<(usize, usize)> = None;
    let mut stars = 0;
    loop {
        if t == text.len() {
            if pattern[p..].iter().all(|&byte| byte == b'*') {
                return Some(true);
            }
        } else if let Some(&first) = pattern.get(p) {
            if first == b'*' {
                p = behind_stars(pattern, p);
                if p == pattern.len() {
                    return Some(true);
                }
                stars += 1;
                if stars > STARS_MAX {
                    return Some(false);
                }
                retry = Some((p, t));
                continue;
            }
            let (matched, after) = match_one::<NOCASE>(pattern, p, text[t]);
            steps = steps.checked_sub(after - p)?;
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
            _ => return Some(false),
        }
    }
}

/// Where the pattern goes on behind the stars at `p`.
fn behind_stars(pattern: &[u8], mut p: usize) -> usize {
    while pattern.get(p) == Some(&b'*') {
        p += 1;
    }
    p
}

/// Matches one byte against what the pattern has at `p`, which is no star; answers also where the pattern goes on.
#[inline]
fn match_one<const NOCASE: bool>(pattern: &[u8], p: usize, byte: u8) -> (bool, usize) {
    match pattern[p] {
        b'?' => (true, p + 1),
        b'[' => match_class::<NOCASE>(pattern, p + 1, byte),
        b'\\' if p + 1 < pattern.len() => (same::<NOCASE>(pattern[p + 1], byte), p + 2),
        literal => (same::<NOCASE>(literal, byte), p + 1),
    }
}

/// What stands between two stars, or between one and an end of the pattern.
struct Part {
    /// Where it begins and ends in the pattern.
    start: usize,
    end: usize,
    /// Bytes that it takes of the text.
    len: usize,
    /// Whether it is plain bytes, perhaps escaped.
    is_plain: bool,
}

impl Part {
    /// The part of the pattern that begins at `start`.
    fn at(pattern: &[u8], start: usize) -> Part {
        let mut part = Part {
            start,
            end: start,
            len: 0,
            is_plain: true,
        };
        while let Some(&first) = pattern.get(part.end)
            && first != b'*'
        {
            part.is_plain &= !matches!(first, b'?' | b'[');
            part.end = match_one::<false>(pattern, part.end, 0).1;
            part.len += 1;
        }
        part
    }

    /// Whether the text begins with it.
    fn begins<const NOCASE: bool>(&self, pattern: &[u8], text: &[u8]) -> bool {
        if self.len > text.len() {
            return false;
        }
        let mut p = self.start;
        text.iter().take(self.len).all(|&byte| {
            let (matched, after) = match_one::<NOCASE>(pattern, p, byte);
            p = after;
            matched
        })
    }

    /// Where in the text it first begins.
    fn find<const NOCASE: bool>(&self, pattern: &[u8], text: &[u8]) -> Option<usize> {
        if self.len > text.len() {
            return None;
        }
        if !self.is_plain {
            return self.find_any::<NOCASE>(pattern, text);
        }
        let mut plain = Vec::with_capacity(self.len);
        let mut p = self.start;
        while p < self.end {
            p += usize::from(pattern[p] == b'\\' && p + 1 < pattern.len());
            plain.push(pattern[p]);
            p += 1;
        }
        if NOCASE {
            plain.make_ascii_lowercase();
            memmem::find(&text.to_ascii_lowercase(), &plain)
        } else {
            memmem::find(text, &plain)
        }
    }

    /// Finds a part with classes in it: for each byte of the text one step of all beginnings at once, a bit for each
    /// (the algorithm is known as shift-and).
    fn find_any<const NOCASE: bool>(&self, pattern: &[u8], text: &[u8]) -> Option<usize> {
        let words = self.len.div_ceil(64);
        if words as u64 * text.len() as u64 > WORDS_MAX {
            return None;
        }
        // For each byte: at which places of the part it may stand.
        let mut places = vec![0u64; 256 * words];
        let mut p = self.start;
        for at in 0..self.len {
            let (accepted, after) = accepted_at::<NOCASE>(pattern, p);
            for byte in 0..=255u8 {
                let bit = u64::from(accepted.has(byte)) << (at % 64);
                places[usize::from(byte) * words + at / 64] |= bit;
            }
            p = after;
        }
        let last = 1u64 << ((self.len - 1) % 64);
        // Bit i: the i + 1 bytes that were read last are what the part begins with.
        let mut state = vec![0u64; words];
        let mut next = vec![0u64; words];
        for (at, &byte) in text.iter().enumerate() {
            let allowed = &places[usize::from(byte) * words..][..words];
            next[0] = (state[0] << 1 | 1) & allowed[0];
            for ((next, pair), allowed) in next[1..]
                .iter_mut()
                .zip(state.windows(2))
                .zip(&allowed[1..])
            {
                *next = (pair[1] << 1 | pair[0] >> 63) & allowed;
            }
            std::mem::swap(&mut state, &mut next);
            if state[words - 1] & last != 0 {
                return Some(at + 1 - self.len);
            }
        }
        None
    }
}

/// Matches part by part. The text is not empty.
///
/// The first part stands at the beginning of the text and the last at its end, which takes one comparison each. Each of
/// the others is searched for behind the one before, so that no byte of the text is searched twice.
fn thorough<const NOCASE: bool>(pattern: &[u8], text: &[u8]) -> bool {
    let first = Part::at(pattern, 0);
    if !first.begins::<NOCASE>(pattern, text) {
        return false;
    }
    if first.end == pattern.len() {
        return first.len == text.len();
    }
    let mut text = &text[first.len..];
    let mut p = behind_stars(pattern, first.end);
    let mut stars = 0;
    while p < pattern.len() {
        stars += 1;
        if stars > STARS_MAX {
            return false;
        }
        let part = Part::at(pattern, p);
        if part.end == pattern.len() {
            let tail = text.len().checked_sub(part.len).map(|at| &text[at..]);
            return tail.is_some_and(|tail| part.begins::<NOCASE>(pattern, tail));
        }
        let Some(at) = part.find::<NOCASE>(pattern, text) else {
            return false;
        };
        text = &text[at + part.len..];
        p = behind_stars(pattern, part.end);
    }
    true
}

/// A set of bytes, in the order of signed ones.
#[derive(Clone, Copy, Default)]
struct ByteSet([u64; 4]);

impl ByteSet {
    fn has(&self, byte: u8) -> bool {
        let at = usize::from(byte ^ 0x80);
        self.0[at / 64] >> (at % 64) & 1 != 0
    }
    fn add(&mut self, byte: u8) {
        self.add_range(byte as i8, byte as i8);
    }
    /// Adds all from one to the other; none if they are not in order.
    fn add_range(&mut self, low: i8, high: i8) {
        let at = |byte: i8| usize::from(byte as u8 ^ 0x80);
        let (low, high) = (at(low), at(high));
        for (index, word) in self.0.iter_mut().enumerate() {
            let from = low.max(64 * index);
            let to = high.min(64 * index + 63);
            if from <= to {
                *word |= (u64::MAX >> (63 - (to - from))) << (from % 64);
            }
        }
    }
}

/// The bytes that match what the pattern has at `p`, and where it goes on; one look at each byte of a class.
fn accepted_at<const NOCASE: bool>(pattern: &[u8], p: usize) -> (ByteSet, usize) {
    let mut accepted = ByteSet::default();
    if pattern[p] != b'[' {
        let after = match_one::<NOCASE>(pattern, p, 0).1;
        let matching = (0..=255).filter(|&byte| match_one::<NOCASE>(pattern, p, byte).0);
        matching.for_each(|byte| accepted.add(byte));
        return (accepted, after);
    }
    let (mut exact, mut folded) = (ByteSet::default(), ByteSet::default());
    let class = walk_class(pattern, p + 1, |member| match member {
        Member::Exact(byte) => exact.add(byte),
        Member::Byte(byte) => folded.add(fold::<NOCASE>(byte)),
        Member::Range(low, high) => {
            folded.add_range(fold::<NOCASE>(low) as i8, fold::<NOCASE>(high) as i8);
        }
    });
    for byte in 0..=255 {
        if (exact.has(byte) || folded.has(fold::<NOCASE>(byte))) != class.is_negated {
            accepted.add(byte);
        }
    }
    (accepted, class.end)
}

fn fold<const NOCASE: bool>(byte: u8) -> u8 {
    if NOCASE {
        byte.to_ascii_lowercase()
    } else {
        byte
    }
}

fn same<const NOCASE: bool>(a: u8, b: u8) -> bool {
    if NOCASE {
        a.eq_ignore_ascii_case(&b)
    } else {
        a == b
    }
}

/// What a class has.
enum Member {
    /// An escaped byte, compared with regard to case.
    Exact(u8),
    Byte(u8),
    /// All bytes from one to the other, which are in the order of signed bytes.
    Range(u8, u8),
}

/// What is known of a class when it was walked through.
struct Class {
    is_negated: bool,
    /// Where the pattern goes on behind it.
    end: usize,
}

/// Goes through the class whose `[` ended at `p`.
#[inline]
fn walk_class(pattern: &[u8], mut p: usize, mut each: impl FnMut(Member)) -> Class {
    let is_negated = pattern.get(p) == Some(&b'^');
    if is_negated {
        p += 1;
    }
    let class = |end: usize| Class { is_negated, end };
    loop {
        match pattern[p..] {
            [] => return class(p),
            [b'\\', escaped, ..] => {
                each(Member::Exact(escaped));
                p += 2;
            }
            [b']', ..] => return class(p + 1),
            [low, b'-', high, ..] => {
                let swapped = low as i8 > high as i8;
                let (low, high) = if swapped { (high, low) } else { (low, high) };
                each(Member::Range(low, high));
                p += 3;
            }
            [member, ..] => {
                each(Member::Byte(member));
                p += 1;
            }
        }
    }
}

/// Matches one byte against the class whose `[` ended at `p`; answers also where the pattern goes on behind it.
fn match_class<const NOCASE: bool>(pattern: &[u8], p: usize, byte: u8) -> (bool, usize) {
    let mut found = false;
    let folded = fold::<NOCASE>(byte) as i8;
    let class = walk_class(pattern, p, |member| {
        found |= match member {
            Member::Exact(exact) => exact == byte,
            Member::Byte(member) => same::<NOCASE>(member, byte),
            Member::Range(low, high) => {
                let (low, high) = (fold::<NOCASE>(low) as i8, fold::<NOCASE>(high) as i8);
                (low..=high).contains(&folded)
            }
        };
    });
    (found != class.is_negated, class.end)
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
            if !text.is_empty() {
                prop_assert_eq!(thorough::<false>(&pattern, &text), oracle(&pattern, &text, false));
                prop_assert_eq!(thorough::<true>(&pattern, &text), oracle(&pattern, &text, true));
            }
        }

        /// Few different bytes and long texts: parts that begin again and again, over the words' ends.
        #[test]
        fn both_ways_agree_on_long_texts(
            parts in proptest::collection::vec(bytes_of(b"aaaaaaaabA?", 150), 1..4),
            text in bytes_of(b"aaaaaaaaaabA", 700),
            classed in any::<bool>(),
        ) {
            let mut pattern = parts.join(&b'*');
            if classed {
                pattern = pattern.iter().flat_map(|&byte| match byte {
                    b'A' => b"[aA]".to_vec(),
                    b'b' => b"[^a]".to_vec(),
                    byte => vec![byte],
                }).collect();
            }
            if !text.is_empty() {
                let tried = by_trying::<false>(&pattern, &text, usize::MAX);
                prop_assert_eq!(tried, Some(thorough::<false>(&pattern, &text)));
                let tried = by_trying::<true>(&pattern, &text, usize::MAX);
                prop_assert_eq!(tried, Some(thorough::<true>(&pattern, &text)));
            }
        }
    }

    /// Each of these took the product of both lengths, 27 s for the first in a build with all optimisations.
    #[test]
    fn long_patterns_on_long_texts_end_quickly() {
        let text = b"a".repeat(20_000);
        let long = |piece: &[u8]| piece.repeat(10_000 / piece.len());
        let class = [b"*[", &long(b"bc")[..], b"]b*"].concat();
        let begin = std::time::Instant::now();
        for pattern in [
            [b"*", &long(b"a")[..], b"b*"].concat(),
            [b"*", &long(b"a")[..], b"b"].concat(),
            [b"*", &long(b"?")[..], b"b*"].concat(),
            [b"*", &long(b"a[ab]")[..], b"b*"].concat(),
            [b"*", &long(b"A")[..], b"b*"].concat(),
            [&long(b"*a")[..1998], b"b*"].concat(),
            class,
        ] {
            assert!(!matches(&pattern, &text));
            assert!(!matches_nocase(&pattern, &text));
            let mut found = text.clone();
            found.push(b'b');
            if !pattern.contains(&b'A') && !pattern.starts_with(b"*[bc") {
                assert!(matches(&pattern, &found));
            }
        }
        // The product of the lengths would be minutes without optimisations.
        assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
    }
}
