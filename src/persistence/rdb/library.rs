//! Libraries of functions as bytes, and the frame of FUNCTION DUMP: `(245 │ code) ... │ version 2 │ CRC64 8`.
//!
//! Mirrors `rdbSaveFunctions` and `rdbFunctionLoad` of rdb.c, `functionDumpCommand` and `functionRestoreCommand` of
//! functions.c.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::file::op;
use super::read::Reader;
use super::write::Writer;
use super::{LoadError, VERSION, payload};
use std::borrow::Cow;

/// A library as the release candidates of 7.0 wrote it: its name, engine and description stand beside the code; put
/// together as 7.0 does it.
pub(super) fn pre_release<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, [u8]>, LoadError> {
    let name = reader.string()?;
    let engine = reader.string()?;
    if reader.number()? != 0 {
        reader.string()?;
    }
    let code = reader.string()?;
    let parts: [&[u8]; 6] = [b"#!", &engine, b" name=", &name, b"\n", &code];
    Ok(Cow::Owned(parts.concat()))
}

/// The libraries as FUNCTION DUMP answers them.
pub fn dump<'a>(codes: impl Iterator<Item = &'a [u8]>, compress: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for code in codes {
        out.push(op::FUNCTION);
        Writer::new(&mut out, compress).string(code);
    }
    payload::close(&mut out, VERSION);
    out
}

/// The code of each library in what is between the ends of such a frame ([`payload::verify`]). The error is Redis's
/// text.
pub fn restore(body: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, &'static str> {
    let mut reader = Reader::new(body);
    let mut codes = Vec::new();
    while let Ok(kind) = reader.byte() {
        let code = match kind {
            op::FUNCTION => reader.string(),
            op::FUNCTION_PRE_GA => pre_release(&mut reader),
            _ => return Err("given type is not a function"),
        };
        codes.push(code.map_err(|_| "Failed loading library payload")?);
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::persistence::rdb::FileVersion;
    use crate::persistence::rdb::file::{FileReader, FileWriter, Part};
    use crate::persistence::rdb::load::Loader;
    use crate::structures::dict::HashSeed;
    use proptest::prelude::*;

    /// What Redis 8.0.6 answers to FUNCTION DUMP.
    const DUMPED: &[u8] = b"\xf58#!lua name=a\nredis.register_function('f',function() end)\x0c\x00[\xeb%\xf0A\xcb\xa1&";
    const CODE: &[u8] = b"#!lua name=a\nredis.register_function('f',function() end)";

    #[test]
    fn dumps_are_those_of_redis() {
        assert_eq!(dump([CODE].into_iter(), true), DUMPED);
        let body = payload::verify(DUMPED, true).expect("a frame");
        assert_eq!(restore(body), Ok(vec![Cow::Borrowed(CODE)]));
        let none = b"\x0c\x00\x96\xedh\x80\xf5U<\x93";
        assert_eq!(dump([].into_iter(), true), none);
        assert_eq!(restore(b""), Ok(vec![]));
    }

    #[test]
    fn release_candidates_are_translated() {
        let mut body = vec![op::FUNCTION_PRE_GA];
        let mut writer = Writer::new(&mut body, false);
        for word in [&b"lib"[..], b"LUA"] {
            writer.string(word);
        }
        writer.number(1);
        writer.string(b"about");
        writer.string(b"return 1");
        let expected: &[u8] = b"#!LUA name=lib\nreturn 1";
        assert_eq!(restore(&body), Ok(vec![Cow::Borrowed(expected)]));
        assert_eq!(
            restore(body.get(..body.len() - 1).expect("a body")),
            Err("Failed loading library payload")
        );
    }

    #[test]
    fn wrong_bytes_are_told_as_redis_does() {
        assert_eq!(restore(b"\x00\x01a"), Err("given type is not a function"));
        assert_eq!(restore(b"\xf5\x09a"), Err("Failed loading library payload"));
        assert_eq!(restore(b"\xf5"), Err("Failed loading library payload"));
    }

    proptest! {
        #[test]
        fn libraries_of_a_file_come_back(codes: Vec<Vec<u8>>, compress: bool) {
            let mut bytes = Vec::new();
            let mut writer = FileWriter::new(&mut bytes, FileVersion::V10, compress, true);
            codes.iter().for_each(|code| writer.library(code));
            writer.finish().expect("written");
            let config = Config::with_dir(std::path::Path::new("/"));
            let loader = Loader { settings: config.settings(), seed: HashSeed([0; 4]) };
            let mut reader = FileReader::new(&bytes).expect("a file");
            for code in &codes {
                let item = reader.next(&bytes, &loader, true).expect("an item");
                prop_assert!(matches!(item, Part::Function(read) if *read == **code));
            }
            prop_assert!(matches!(reader.next(&bytes, &loader, true), Ok(Part::End)));
            let dumped = dump(codes.iter().map(Vec::as_slice), compress);
            let body = payload::verify(&dumped, true).expect("a frame");
            prop_assert_eq!(restore(body).expect("libraries"), codes);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = restore(&bytes);
        }
    }
}
