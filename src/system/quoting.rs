//! Words of a configuration line: taking them apart and putting quotes around them.
//!
//! A line is words between white space; a word may be quoted: "…" with the escapes
//! `\n \r \t \b \a \xHH \\ \"`, '…' with `\'` only. A closing quote must end the word. It mirrors
//! `sdssplitargs` and `sdscatrepr` of Redis's `sds.c`, and `split(quote(x))` is always `[x]`.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

/// Quotes were opened and not closed, or closed in the middle of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnbalancedQuotes;

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Splits a line into words. A NUL byte ends the line, as it ends a string in C.
pub fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let line = line.split(|byte| *byte == 0).next().unwrap_or(&[]);
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        while let [first, tail @ ..] = rest {
            if !is_space(*first) {
                break;
            }
            rest = tail;
        }
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, tail) = word(rest)?;
        words.push(word);
        rest = tail;
    }
}

/// One word, and what follows it.
fn word(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    let mut word = Vec::new();
    loop {
        rest = match rest {
            [] => return Ok((word, rest)),
            [b' ' | b'\n' | b'\r' | b'\t', tail @ ..] => return Ok((word, tail)),
            // A quote may open within a word: what follows is added to it.
            [b'"', tail @ ..] => return double_quoted(word, tail),
            [b'\'', tail @ ..] => return single_quoted(word, tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        };
    }
}

fn double_quoted(mut word: Vec<u8>, mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    loop {
        rest = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'"', tail @ ..] => return closed(word, tail),
            [b'\\', b'x', high, low, tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push((hex(*high) << 4) | hex(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                tail
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        };
    }
}

fn single_quoted(mut word: Vec<u8>, mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    loop {
        rest = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'\'', tail @ ..] => return closed(word, tail),
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                tail
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        };
    }
}

/// After a closing quote there must be white space or nothing.
fn closed(word: Vec<u8>, rest: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    match rest {
        [] => Ok((word, rest)),
        [next, ..] if is_space(*next) => Ok((word, rest)),
        _ => Err(UnbalancedQuotes),
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit.wrapping_sub(b'0'),
        b'a'..=b'f' => digit.wrapping_sub(b'a').wrapping_add(10),
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

/// Appends `text` in double quotes, with all that is not printable ASCII escaped.
pub fn quote_into(out: &mut Vec<u8>, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => {
                let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
                let (high, low) = (digit(byte >> 4), digit(byte & 15));
                out.extend_from_slice(&[b'\\', b'x', high, low]);
            }
        }
    }
    out.push(b'"');
}

/// Whether a word of a line is read back as it stands, without quotes around it.
pub fn is_plain(word: &[u8]) -> bool {
    let is_odd = |byte: &u8| matches!(byte, 0..=b' ' | b'"' | b'\'' | 0x7f);
    !word.is_empty() && !word.iter().any(is_odd)
}

/// `text` in double quotes, with all that is not printable ASCII escaped.
pub fn quote(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().saturating_add(2));
    quote_into(&mut out, text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split(line.as_bytes()).ok()?;
        Some(
            words
                .into_iter()
                .map(|word| String::from_utf8(word).unwrap())
                .collect(),
        )
    }

    #[test]
    fn splits_as_redis_does() {
        let of = |line: &str| words(line).unwrap();
        assert_eq!(of(""), [""; 0]);
        assert_eq!(of(" \t\r\n"), [""; 0]);
        assert_eq!(of("port  6379\r"), ["port", "6379"]);
        assert_eq!(of("save \"\""), ["save", ""]);
        assert_eq!(of("save ''"), ["save", ""]);
        assert_eq!(of("a \"b c\" d"), ["a", "b c", "d"]);
        assert_eq!(of(r#"a "\x41\n\"\\\q\xZZ""#), ["a", "A\n\"\\qxZZ"]);
        assert_eq!(of(r"a '\n\'x'"), ["a", r"\n'x"]);
        assert_eq!(of(r#"pre"fix in" x"#), ["prefix in", "x"]);
        assert_eq!(of("a\u{b}b"), ["a\u{b}b"], "a vertical tab ends no word");
    }

    #[test]
    fn refuses_unbalanced_quotes() {
        for line in [
            "\"", "'", "a \"b", "a \"b\"c", "a 'b'c", "\"\\\"", "a \"b\\",
        ] {
            assert_eq!(words(line), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(parts in proptest::collection::vec(any::<Vec<u8>>(), 0..6)) {
            let line = parts.iter().map(|part| quote(part)).collect::<Vec<_>>().join(&b' ');
            prop_assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert_eq!(split(&line), Ok(parts));
        }

        #[test]
        fn what_is_plain_needs_no_quotes(parts in proptest::collection::vec(any::<Vec<u8>>(), 0..6)) {
            let parts: Vec<_> = parts.into_iter().filter(|part| is_plain(part)).collect();
            prop_assert_eq!(split(&parts.join(&b' ')), Ok(parts));
        }

        #[test]
        fn nothing_panics(line in any::<Vec<u8>>(), ascii in "[ -~\\\\\"'x]{0,30}") {
            let _ = split(&line);
            let _ = split(ascii.as_bytes());
        }
    }
}
