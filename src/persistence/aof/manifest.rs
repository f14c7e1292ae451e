//! The manifest: which files make up the append-only file, in which order.
//!
//! ```text
//! file appendonly.aof.1.base.rdb seq 1 type b
//! file appendonly.aof.1.incr.aof seq 1 type i
//! ```
//!
//! In: the text of a manifest. Out: its files, and names for new ones. Types are `b` (base), `h` (history: no longer
//! needed) and `i` (incremental). Mirrors `aofLoadManifestFromFile` and its kin of aof.c.

use crate::config::quoting;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Longest line.
const LINE_MAX: usize = 1024;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AofFile {
    /// Its name, without a directory.
    pub name: String,
    /// Its number among those of its type.
    pub sequence: u64,
}

/// The files of an append-only file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// A whole data set, to begin with.
    pub base: Option<AofFile>,
    /// What happened since, in order.
    pub incremental: Vec<AofFile>,
    /// Files that are to be removed.
    pub history: Vec<AofFile>,
    base_sequence: u64,
    incremental_sequence: u64,
}

/// Why a text is no manifest: the reason, and the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// What is wrong.
    pub reason: &'static str,
    /// Line, from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
}

impl std::fmt::Display for ManifestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Reading the manifest file, at line {}\n>>> '{}'\n{}",
            self.line, self.text, self.reason
        )
    }
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        let error = |reason, line: usize, text: &[u8]| ManifestError {
            reason,
            line,
            text: String::from_utf8_lossy(text).into_owned(),
        };
        if text.is_empty() {
            return Err(error("Found an empty AOF manifest", 0, b""));
        }
        for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            if line.first() == Some(&b'#') {
                continue;
            }
            let Some(line) = line
                .strip_suffix(b"\n")
                .filter(|line| line.len() < LINE_MAX)
            else {
                let reason = "The AOF manifest file contains too long line";
                return Err(error(reason, number, line));
            };
            manifest
                .add_line(line)
                .map_err(|reason| error(reason, number, line))?;
        }
        Ok(manifest)
    }
    fn add_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const FORMAT: &str = "Invalid AOF manifest file format";
        let words = quoting::split(line).map_err(|_| FORMAT)?;
        if words.len() < 6 || words.len() % 2 != 0 {
            return Err(FORMAT);
        }
        let (mut name, mut sequence, mut kind) = (None, 0, 0);
        for pair in words.chunks_exact(2) {
            let [key, value] = pair else { continue };
            if key.eq_ignore_ascii_case(b"file") {
                let text = String::from_utf8(value.clone()).map_err(|_| FORMAT)?;
                if text.contains('/') || text.contains('\\') {
                    return Err("File can't be a path, just a filename");
                }
                name = Some(text);
            } else if key.eq_ignore_ascii_case(b"seq") {
                let text = std::str::from_utf8(value).map_err(|_| FORMAT)?;
                sequence = text.parse::<u64>().unwrap_or(0);
            } else if key.eq_ignore_ascii_case(b"type") {
                kind = value.first().copied().unwrap_or(0);
            }
        }
        let name = name.filter(|_| sequence > 0 && kind != 0).ok_or(FORMAT)?;
        let file = AofFile { name, sequence };
        match kind {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => {
                self.base_sequence = sequence;
                self.base = Some(file);
            }
            b'h' => self.history.push(file),
            b'i' if sequence <= self.incremental_sequence => {
                return Err("Found a non-monotonic sequence number");
            }
            b'i' => {
                self.incremental_sequence = sequence;
                self.incremental.push(file);
            }
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }
    /// Whether there is nothing to load.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incremental.is_empty()
    }
    /// Base and incremental files in the order in which they are loaded.
    pub fn files(&self) -> impl Iterator<Item = &AofFile> {
        self.base.iter().chain(&self.incremental)
    }
    /// The text of the manifest.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let kinds = [
            ('b', self.base.as_slice()),
            ('h', &self.history),
            ('i', &self.incremental),
        ];
        for (kind, files) in kinds {
            for file in files {
                let name = quoted(&file.name);
                out.push_str(&format!("file {name} seq {} type {kind}\n", file.sequence));
            }
        }
        out
    }
    /// Writes it to `directory`/`name`, whole or not at all.
    pub fn persist(&self, directory: &Path, name: &str) -> io::Result<()> {
        let temporary = directory.join(format!("temp-{name}"));
        let mut file = File::create(&temporary)?;
        file.write_all(self.to_text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, directory.join(name))?;
        File::open(directory)?.sync_all()
    }
    /// Names a new base; the old one becomes history.
    pub fn new_base(&mut self, stem: &str, is_rdb: bool) -> String {
        if let Some(old) = self.base.take() {
            self.history.insert(0, old);
        }
        self.base_sequence += 1;
        let sequence = self.base_sequence;
        let suffix = if is_rdb { "rdb" } else { "aof" };
        let name = format!("{stem}.{sequence}.base.{suffix}");
        self.base = Some(AofFile {
            name: name.clone(),
            sequence,
        });
        name
    }
    /// Takes a file of an old server, which is base and increments in one, as the base.
    pub fn adopt_base(&mut self, name: &str) {
        self.base_sequence = 1;
        self.base = Some(AofFile {
            name: name.to_owned(),
            sequence: 1,
        });
    }
    /// Names a new incremental file.
    pub fn new_incremental(&mut self, stem: &str) -> String {
        self.incremental_sequence += 1;
        let sequence = self.incremental_sequence;
        let name = format!("{stem}.{sequence}.incr.aof");
        self.incremental.push(AofFile {
            name: name.clone(),
            sequence,
        });
        name
    }
    /// Makes all incremental files but the last `kept` history.
    pub fn retire_incremental(&mut self, kept: usize) {
        let retired = self.incremental.len().saturating_sub(kept);
        for file in self.incremental.drain(..retired) {
            self.history.insert(0, file);
        }
    }
}

/// A name as a manifest spells it: in quotes where it has blanks or worse.
fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if name.bytes().all(plain) {
        return name.to_owned();
    }
    String::from_utf8_lossy(&quoting::quote(name.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "file appendonly.aof.2.base.rdb seq 2 type b\n\
                        file appendonly.aof.1.base.rdb seq 1 type h\n\
                        file appendonly.aof.3.incr.aof seq 3 type i\n\
                        file appendonly.aof.4.incr.aof seq 4 type i\n";

    #[test]
    fn a_manifest_is_read_and_written() {
        let manifest = Manifest::parse(TEXT.as_bytes()).expect("a manifest");
        assert_eq!(manifest.to_text(), TEXT);
        let names: Vec<_> = manifest.files().map(|file| file.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "appendonly.aof.2.base.rdb",
                "appendonly.aof.3.incr.aof",
                "appendonly.aof.4.incr.aof"
            ]
        );
    }

    #[test]
    fn a_rewrite_makes_history() {
        let mut manifest = Manifest::parse(TEXT.as_bytes()).expect("a manifest");
        assert_eq!(manifest.new_incremental("a"), "a.5.incr.aof");
        assert_eq!(manifest.new_base("a", false), "a.3.base.aof");
        manifest.retire_incremental(1);
        assert_eq!(manifest.incremental.len(), 1);
        assert_eq!(manifest.history.len(), 4);
        let again = Manifest::parse(manifest.to_text().as_bytes()).expect("a manifest");
        assert_eq!(again.to_text(), manifest.to_text());
    }

    #[test]
    fn strange_names_survive() {
        let mut manifest = Manifest::default();
        manifest.new_incremental("a \"b'c\u{1}");
        let again = Manifest::parse(manifest.to_text().as_bytes()).expect("a manifest");
        assert_eq!(again.incremental, manifest.incremental);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("", "Found an empty AOF manifest"),
            ("\n", "Invalid AOF manifest file format"),
            ("file a seq 1\n", "Invalid AOF manifest file format"),
            ("file a seq 1 type\n", "Invalid AOF manifest file format"),
            (
                "file a/b seq 1 type b\n",
                "File can't be a path, just a filename",
            ),
            ("file a seq 0 type b\n", "Invalid AOF manifest file format"),
            ("file a seq 1 type x\n", "Unknown AOF file type"),
            (
                "file a seq 1 type b",
                "The AOF manifest file contains too long line",
            ),
            (
                "file a seq 1 type b\nfile b seq 2 type b\n",
                "Found duplicate base file information",
            ),
            (
                "file a seq 2 type i\nfile b seq 2 type i\n",
                "Found a non-monotonic sequence number",
            ),
        ] {
            let error = Manifest::parse(text.as_bytes()).expect_err(text);
            assert_eq!(error.reason, reason, "{text:?}");
        }
        assert!(Manifest::parse(b"# a comment\nfile a seq 1 type b new field\n").is_ok());
    }
}
