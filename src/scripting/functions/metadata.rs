//! The first line of a library, `#!lua name=mylib`, and the rule for names.
//!
//! In: the code as a client or a file gave it. Out: its engine, its name and where the program begins; or the text of
//! what is wrong. Mirrors `functionExtractLibMetaData` and `functionsVerifyName` of Redis's functions.c.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::system::quoting;

/// What is answered to a name that breaks the rule, of a library or of a function.
pub const BAD_NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// What the first line of a library says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// Its name; it keeps the rule.
    pub name: Vec<u8>,
    /// The program: what follows the first line, beginning with its line feed, so that lines are numbered as in the
    /// whole.
    pub program: &'a [u8],
}

/// Whether a name of a library or function is made of letters, digits and underscores.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Reads the first line. The error is Redis's text, without a code in front.
pub fn parse(code: &[u8]) -> Result<Metadata<'_>, String> {
    const INVALID: &str = "Invalid library metadata";
    let body = code.strip_prefix(b"#!").ok_or("Missing library metadata")?;
    // For Redis a zero byte ends the text.
    let end = memchr::memchr2(b'\n', 0, body)
        .filter(|end| body.get(*end) == Some(&b'\n'))
        .ok_or(INVALID)?;
    let (_, program) = body.split_at_checked(end).ok_or(INVALID)?;
    let shebang = code
        .get(..code.len().saturating_sub(program.len()))
        .ok_or(INVALID)?;
    let words = quoting::split(shebang).map_err(|_| INVALID)?;
    let (engine, options) = words.split_first().ok_or(INVALID)?;
    let engine = engine.get(2..).unwrap_or_default();
    let mut name = None;
    for option in options {
        let value = option
            .split_at_checked(5)
            .filter(|(key, _)| key.eq_ignore_ascii_case(b"name="))
            .map(|(_, value)| value);
        match value {
            Some(_) if name.is_some() => {
                return Err(
                    "Invalid metadata value, name argument was given multiple times".into(),
                );
            }
            Some(value) => name = Some(value),
            None => return Err(format!("Invalid metadata value given: {}", shown(option))),
        }
    }
    let name = name.ok_or("Library name was not given")?;
    if !is_name(name) {
        return Err(BAD_NAME.into());
    }
    if !engine.eq_ignore_ascii_case(super::ENGINE.as_bytes()) {
        return Err(format!("Engine '{}' not found", shown(engine)));
    }
    Ok(Metadata {
        name: name.to_vec(),
        program,
    })
}

/// Bytes of a client within an error's text.
pub fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str) -> String {
        parse(code.as_bytes()).expect_err("an error")
    }

    #[test]
    fn the_first_line_is_read() {
        let metadata = parse(b"#!LUA  name=my_lib1 \nreturn 1").expect("a library");
        assert_eq!(metadata.name, b"my_lib1");
        assert_eq!(metadata.program, b"\nreturn 1");
        assert_eq!(parse(b"#!lua NAME=\"foo\"\n").expect("quoted").name, b"foo");
        assert_eq!(parse(b"#!lua name='a'\n").expect("quoted").program, b"\n");
    }

    #[test]
    fn what_is_wrong_is_told_as_redis_does() {
        for code in ["", "return 1", "#lua name=x\n", " #!lua name=x\n", "#"] {
            assert_eq!(error(code), "Missing library metadata", "{code:?}");
        }
        for code in [
            "#!",
            "#!lua name=x",
            "#!lua name=\"x\n",
            "#!lua name=\"x\"y\n",
            "#!lua name=x\0\n",
        ] {
            assert_eq!(error(code), "Invalid library metadata", "{code:?}");
        }
        assert_eq!(error("#!lua\nx"), "Library name was not given");
        assert_eq!(
            error("#!lua name=x name=y\n"),
            "Invalid metadata value, name argument was given multiple times"
        );
        assert_eq!(
            error("#!lua name=x foo=bar\n"),
            "Invalid metadata value given: foo=bar"
        );
        assert_eq!(error("#!lua n\n"), "Invalid metadata value given: n");
        assert_eq!(error("#! name=x\n"), "Engine '' not found");
        assert_eq!(error("#!\nx"), "Library name was not given");
        assert_eq!(error("#!bad name=x\n"), "Engine 'bad' not found");
        for name in ["", "a-b", "a\\0b", "\u{e9}", "\"a b\""] {
            assert_eq!(error(&format!("#!bad name={name}\n")), BAD_NAME, "{name:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, words in "#![a-z =\"'\\\\xn\n]{0,30}") {
            let _ = parse(&bytes);
            let _ = parse(words.as_bytes());
        }
    }
}
