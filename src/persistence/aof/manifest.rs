//! The manifest: which files make up the append-only file, in which order.
//!
//! ```text
//! file appendonly.aof.1.base.rdb seq 1 type b
//! file appendonly.aof.1.incr.aof seq 1 type i startoffset 0 length 2048
//! file appendonly.aof.2.incr.aof seq 2 type i startoffset 2048
//! ```
//!
//! In: the text of a manifest. Out: its files, and names for new ones. Types are `b` (base), `h` (history: no longer
//! needed) and `i` (incremental). A number that a file has had is never given to another: whoever removes a file, or
//! finds one that was left behind, must not mean a newer one. Mirrors `aofLoadManifestFromFile` and its kin of aof.c.
//!
//! `length` is ours, and Redis passes over it: how long a file is that a rewrite has ended. It is synced in the background,
//! while effects go to the next one; one that is shorter after a crash has lost its end, and what stands in the files behind
//! it happened after what is lost.

use crate::system::disk::{Disk, Mode};
use crate::system::quoting;
use std::io;
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
    /// Replication offset at its beginning, where that is known.
    pub start_offset: Option<i64>,
    /// Replication offset at its end, where the server has closed it in order.
    pub end_offset: Option<i64>,
    /// Its bytes, where a rewrite has ended it.
    pub length: Option<u64>,
}

impl AofFile {
    fn new(name: String, sequence: u64) -> AofFile {
        AofFile {
            name,
            sequence,
            start_offset: None,
            end_offset: None,
            length: None,
        }
    }
}

/// What has become of a manifest that was to be written.
#[derive(Debug)]
pub enum Persisted {
    /// It has taken the place of the old one, for good.
    Durable,
    /// It has taken the place of the old one, but after a crash of the machine the old one may be back: its files must
    /// stay.
    Renamed(io::Error),
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
        // Those that were left out behind a file that had lost its end have higher numbers than it.
        let was_incremental = |file: &&AofFile| file.name.ends_with(".incr.aof");
        let history = manifest.history.iter().filter(was_incremental);
        let highest = history.map(|file| file.sequence).max().unwrap_or(0);
        manifest.incremental_sequence = manifest.incremental_sequence.max(highest);
        Ok(manifest)
    }
    fn add_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const FORMAT: &str = "Invalid AOF manifest file format";
        let words = quoting::split(line).map_err(|_| FORMAT)?;
        if words.len() < 6 || words.len() % 2 != 0 {
            return Err(FORMAT);
        }
        let (mut name, mut sequence, mut kind) = (None, 0, 0);
        let (mut start_offset, mut end_offset, mut length) = (None, None, None);
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
            } else if key.eq_ignore_ascii_case(b"startoffset") {
                start_offset = offset(value);
            } else if key.eq_ignore_ascii_case(b"endoffset") {
                end_offset = offset(value);
            } else if key.eq_ignore_ascii_case(b"length") {
                let text = std::str::from_utf8(value).ok();
                length = text.and_then(|text| text.parse().ok());
            }
        }
        let name = name.filter(|_| sequence > 0 && kind != 0).ok_or(FORMAT)?;
        let file = AofFile {
            name,
            sequence,
            start_offset,
            end_offset,
            length,
        };
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
    fn to_text(&self) -> String {
        let mut out = String::new();
        let kinds = [
            ('b', self.base.as_slice()),
            ('h', &self.history),
            ('i', &self.incremental),
        ];
        for (kind, files) in kinds {
            for file in files {
                let name = quoted(&file.name);
                out.push_str(&format!("file {name} seq {} type {kind}", file.sequence));
                if let Some(start) = file.start_offset {
                    out.push_str(&format!(" startoffset {start}"));
                    if let Some(end) = file.end_offset {
                        out.push_str(&format!(" endoffset {end}"));
                    }
                }
                if let Some(length) = file.length.filter(|_| kind == 'i') {
                    out.push_str(&format!(" length {length}"));
                }
                out.push('\n');
            }
        }
        out
    }
    /// Writes it to `directory`/`name`, whole or not at all: on error the old one stands.
    pub fn persist(&self, disk: &Disk, directory: &Path, name: &str) -> io::Result<Persisted> {
        let temporary = directory.join(format!("temp-{name}"));
        let path = directory.join(name);
        let text = self.to_text();
        // All that may fail is asked for before the rename, after which there is no way back; and the names of the files
        // in it are on the disk before they are relied on.
        let folder = disk.open_folder(directory)?;
        let written = disk.open(&temporary, Mode::Create).and_then(|file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            folder.sync()
        });
        if let Err(error) = written {
            let _ = disk.remove(&temporary);
            return Err(error);
        }
        match disk.rename(&temporary, &path) {
            Ok(()) => Ok(folder
                .sync()
                .map_or_else(Persisted::Renamed, |()| Persisted::Durable)),
            Err(error) => {
                // If it is still there.
                let _ = disk.remove(&temporary);
                match disk.read(&path) {
                    // A rename may have failed after it was done.
                    Ok(Some(now)) if now == text.as_bytes() => Ok(Persisted::Renamed(error)),
                    _ => Err(error),
                }
            }
        }
    }
    /// Brings the manifest that stands at `directory`/`name`, and the names in the directory, to the disk as they are, which takes
    /// no room there.
    pub fn sync(disk: &Disk, directory: &Path, name: &str) -> io::Result<()> {
        disk.open(&directory.join(name), Mode::Read)?.sync_all()?;
        disk.open_folder(directory)?.sync()
    }
    /// Takes over the numbers that `other` has given away, so that they are not given again.
    pub fn skip_sequences_of(&mut self, other: &Manifest) {
        self.base_sequence = self.base_sequence.max(other.base_sequence);
        self.incremental_sequence = self.incremental_sequence.max(other.incremental_sequence);
    }
    /// Whether `name` is that of a base or incremental file of `stem` that was there before those of the manifest, and
    /// is not one of them.
    pub fn is_left_over(&self, stem: &str, name: &str) -> bool {
        let all = self.files().chain(&self.history);
        if all.into_iter().any(|file| file.name == name) {
            return false;
        }
        let sequence = |rest: &str| {
            let number: u64 = rest.parse().ok().filter(|number| *number > 0)?;
            (number.to_string() == rest).then_some(number)
        };
        let Some(rest) = name
            .strip_prefix(stem)
            .and_then(|rest| rest.strip_prefix('.'))
        else {
            return false;
        };
        let base = rest
            .strip_suffix(".base.rdb")
            .or_else(|| rest.strip_suffix(".base.aof"));
        let (newest, number) = match (base, rest.strip_suffix(".incr.aof")) {
            (Some(number), _) => (self.base.as_ref(), number),
            (None, Some(number)) => (self.incremental.last(), number),
            (None, None) => return false,
        };
        let newest = newest.map_or(0, |file| file.sequence);
        sequence(number).is_some_and(|number| number < newest)
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
        self.base = Some(AofFile::new(name.clone(), sequence));
        name
    }
    /// Takes the new base's next number instead, where a file with its name is there already.
    pub fn next_base(&mut self, stem: &str, is_rdb: bool) -> String {
        self.base = None;
        self.new_base(stem, is_rdb)
    }
    /// Takes a file of an old server, which is base and increments in one, as the base.
    pub fn adopt_base(&mut self, name: &str) {
        self.base_sequence = 1;
        self.base = Some(AofFile::new(name.to_owned(), 1));
    }
    /// Names a new incremental file, which begins at a replication offset.
    pub fn new_incremental(&mut self, stem: &str, start_offset: i64) -> String {
        self.incremental_sequence += 1;
        let sequence = self.incremental_sequence;
        let name = format!("{stem}.{sequence}.incr.aof");
        self.incremental.push(AofFile {
            start_offset: Some(start_offset),
            ..AofFile::new(name.clone(), sequence)
        });
        name
    }
    /// Takes the new incremental file's next number instead, where a file with its name is there already.
    pub fn next_incremental(&mut self, stem: &str, start_offset: i64) -> String {
        self.incremental.pop();
        self.new_incremental(stem, start_offset)
    }
    /// A rewrite ends the last incremental file, which has so many bytes.
    pub fn end_incremental(&mut self, length: u64) {
        if let Some(last) = self.incremental.last_mut() {
            last.length = Some(length);
        }
    }
    /// The last incremental file is appended to again.
    pub fn reopen_incremental(&mut self) -> Option<&str> {
        let last = self.incremental.last_mut()?;
        (last.end_offset, last.length) = (None, None);
        Some(&last.name)
    }
    /// Index of the first incremental file that has lost its end, and has others behind it; `size_of` says how long each is.
    pub fn shortened(
        &self,
        mut size_of: impl FnMut(&str) -> io::Result<Option<u64>>,
    ) -> io::Result<Option<usize>> {
        let Some((_, ended)) = self.incremental.split_last() else {
            return Ok(None);
        };
        for (index, file) in ended.iter().enumerate() {
            // One that is missing is told when it is to be loaded.
            if let (Some(length), Some(size)) = (file.length, size_of(&file.name)?)
                && size < length
            {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
    /// Makes the incremental files behind this one history, and the last of it.
    pub fn leave_out_behind(&mut self, index: usize) {
        let behind = index.saturating_add(1).min(self.incremental.len());
        for file in self.incremental.drain(behind..) {
            self.history.insert(0, file);
        }
        self.reopen_incremental();
    }
    /// Makes all incremental files but the last `kept` history.
    pub fn retire_incremental(&mut self, kept: usize) {
        let retired = self.incremental.len().saturating_sub(kept);
        for file in self.incremental.drain(..retired) {
            self.history.insert(0, file);
        }
    }
}

/// A replication offset; what is none is as if it were not there.
fn offset(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|offset| *offset >= 0)
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
    use crate::system::disk::{Call, Fault, FaultPlan};

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
        assert_eq!(manifest.new_incremental("a", 7), "a.5.incr.aof");
        assert_eq!(manifest.new_base("a", false), "a.3.base.aof");
        manifest.retire_incremental(1);
        assert_eq!(manifest.incremental.len(), 1);
        assert_eq!(manifest.history.len(), 4);
        let again = Manifest::parse(manifest.to_text().as_bytes()).expect("a manifest");
        assert_eq!(again.to_text(), manifest.to_text());
    }

    #[test]
    fn offsets_are_kept_where_they_are_known() {
        let text = "file a.1.incr.aof seq 1 type i startoffset 5 endoffset 9\n\
                    file a.2.incr.aof seq 2 type i\n";
        let mut manifest = Manifest::parse(text.as_bytes()).expect("a manifest");
        assert_eq!(manifest.incremental[0].start_offset, Some(5));
        assert_eq!(manifest.to_text(), text);
        // Where the beginning is not known an end would mislead.
        manifest.incremental[1].end_offset = Some(3);
        assert_eq!(manifest.to_text(), text);
        manifest.new_incremental("a", 12);
        assert!(
            manifest
                .to_text()
                .ends_with("seq 3 type i startoffset 12\n")
        );
        let odd = b"file a.1.incr.aof seq 1 type i startoffset x endoffset -1\n";
        let odd = Manifest::parse(odd).expect("a manifest");
        assert_eq!(odd.incremental[0].start_offset, None);
    }

    #[test]
    fn a_file_that_has_lost_its_end_is_the_last_that_counts() {
        let text = "file a.1.base.rdb seq 1 type b\n\
                    file a.1.incr.aof seq 1 type i length 3\n\
                    file a.2.incr.aof seq 2 type i startoffset 3 length 5\n\
                    file a.3.incr.aof seq 3 type i startoffset 8\n";
        let mut manifest = Manifest::parse(text.as_bytes()).expect("a manifest");
        assert_eq!(manifest.to_text(), text);
        let shortened = |sizes: [u64; 3]| {
            let mut sizes = sizes.into_iter();
            manifest.shortened(|_| Ok(sizes.next())).expect("sizes")
        };
        assert_eq!(shortened([3, 5, 0]), None);
        assert_eq!(shortened([4, 4, 9]), Some(1));
        assert_eq!(shortened([2, 4, 9]), Some(0));
        manifest.leave_out_behind(0);
        let left = "file a.1.base.rdb seq 1 type b\n\
                    file a.3.incr.aof seq 3 type h startoffset 8\n\
                    file a.2.incr.aof seq 2 type h startoffset 3\n\
                    file a.1.incr.aof seq 1 type i\n";
        assert_eq!(manifest.to_text(), left);
        // A number that was given is not given again, lest the removal of one file take the other.
        let mut again = Manifest::parse(left.as_bytes()).expect("a manifest");
        assert_eq!(again.new_incremental("a", 3), "a.4.incr.aof");
    }

    #[test]
    fn only_older_files_of_ours_are_left_over() {
        let manifest = Manifest::parse(TEXT.as_bytes()).expect("a manifest");
        let stem = "appendonly.aof";
        for name in ["1.base.aof", "1.incr.aof", "2.incr.aof"] {
            let name = format!("{stem}.{name}");
            assert!(manifest.is_left_over(stem, &name), "{name}");
        }
        for name in [
            "appendonly.aof.1.base.rdb",
            "appendonly.aof.2.base.rdb",
            "appendonly.aof.3.base.rdb",
            "appendonly.aof.2.base.aof",
            "appendonly.aof.3.incr.aof",
            "appendonly.aof.5.incr.aof",
            "appendonly.aof.01.incr.aof",
            "appendonly.aof.0.incr.aof",
            "appendonly.aof.-1.incr.aof",
            "appendonly.aof.1.incr.aof.bak",
            "appendonly.aof.manifest",
            "appendonly.aof",
            "other.aof.1.incr.aof",
            "notes.txt",
        ] {
            assert!(!manifest.is_left_over(stem, name), "{name}");
        }
        assert!(!Manifest::default().is_left_over("a", "a.1.incr.aof"));
    }

    #[test]
    fn a_manifest_is_replaced_whole_or_not_at_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let plan = FaultPlan::default();
        let disk = Disk::with_faults(&plan);
        let path = directory.path().join("m");
        let (mut manifest, old) = (Manifest::default(), b"the old one".to_vec());
        manifest.new_incremental("a", 0);
        for (call, skip, is_new) in [
            (Call::OpenFolder, 0, false),
            (Call::Open, 0, false),
            (Call::Write, 0, false),
            (Call::Sync, 0, false),
            (Call::SyncFolder, 0, false),
            (Call::Rename, 0, false),
            (Call::SyncFolder, 1, true),
        ] {
            std::fs::write(&path, &old).expect("written");
            plan.heal();
            plan.fail_some(call, "", Fault::Error(libc::EIO), skip, 1);
            let persisted = manifest.persist(&disk, directory.path(), "m");
            let text = std::fs::read(&path).expect("there");
            // One that says the same is no sign that the new one was renamed.
            std::fs::write(&path, manifest.to_text()).expect("written");
            plan.heal();
            plan.fail_some(call, "", Fault::Error(libc::EIO), skip, 1);
            let again = manifest.persist(&disk, directory.path(), "m");
            let is_renamed = matches!(again, Ok(Persisted::Renamed(_)));
            assert_eq!(is_renamed, is_new || call == Call::Rename, "{call:?}");
            if is_new {
                assert!(matches!(persisted, Ok(Persisted::Renamed(_))), "{call:?}");
                assert_eq!(text, manifest.to_text().into_bytes());
            } else {
                assert!(persisted.is_err(), "{call:?}");
                assert_eq!(text, old);
            }
            assert!(!directory.path().join("temp-m").exists(), "{call:?}");
        }
        plan.heal();
        let persisted = manifest.persist(&disk, directory.path(), "m");
        assert!(matches!(persisted, Ok(Persisted::Durable)));
    }

    #[test]
    fn strange_names_survive() {
        let mut manifest = Manifest::default();
        manifest.new_incremental("a \"b'c\u{1}", 0);
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
