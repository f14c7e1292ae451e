//! The tools `redis-check-rdb` and `redis-check-aof`: what is wrong with a file, where, and what can be saved.
//!
//! In: a path, and for a repair the operator's word. Out: lines as Redis's tools print them, and whether all is well. A
//! file is changed only by `--fix` or `--truncate-to-timestamp`, and only shortened. Mirrors redis-check-rdb.c and
//! redis-check-aof.c.

use super::aof::load::{Next, next};
use super::aof::manifest::Manifest;
use super::rdb::file::{FileReader, Part, is_snapshot};
use super::rdb::load::Loader;
use super::rdb::{LoadError, Reason};
use crate::config::Settings;
use crate::resp::Span;
use crate::structures::dict::HashSeed;
use crate::system::clock;
use crate::system::disk::{Disk, Mode};
use crate::system::mapped_file::MappedFile;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;

/// Bytes of a comment that are read at once.
const COMMENT_PART: u64 = 1024;
/// Bytes of the longest manifest: far more than any server writes.
const MANIFEST_MAX: u64 = 16 * 1024 * 1024;

/// Where the tools find the files, where they print, and where they read the operator's answer.
pub struct Console<'a> {
    /// Where the files are.
    pub disk: &'a Disk,
    /// Lines for the operator.
    pub out: &'a mut dyn Write,
    /// The operator's answers.
    pub input: &'a mut dyn BufRead,
}

/// Prints a line; a console that is gone is no reason to stop.
macro_rules! say {
    ($console:expr, $($text:tt)*) => {{ let _ = writeln!($console.out, $($text)*); }};
}

/// The file is not well; what there is to say has been said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwell;

#[derive(Default)]
struct Counts {
    keys: u64,
    expires: u64,
    expired: u64,
    libraries: u64,
}

fn map(disk: &Disk, path: &Path) -> io::Result<MappedFile> {
    disk.open(path, Mode::Read)?.map()
}

/// `redis-check-rdb FILE`.
pub fn check_rdb(
    console: &mut Console<'_>,
    settings: &Settings,
    path: &Path,
) -> Result<(), Unwell> {
    let bytes = match map(console.disk, path) {
        Ok(bytes) => bytes,
        Err(error) => {
            say!(console, "Cannot open file {}: {error}", path.display());
            return Err(Unwell);
        }
    };
    let name = path.display().to_string();
    let checked = check_rdb_bytes(console, settings, &name, &bytes);
    if let Err(error) = bytes.verify() {
        say!(console, "Cannot read file {name}: {error}");
        return Err(Unwell);
    }
    checked.map(|_| ())
}

/// Checks a snapshot, which may have commands behind it; the offset at which it ends.
fn check_rdb_bytes(
    console: &mut Console<'_>,
    settings: &Settings,
    name: &str,
    bytes: &[u8],
) -> Result<usize, Unwell> {
    say!(console, "[offset 0] Checking RDB file {name}");
    let mut counts = Counts::default();
    let loader = Loader {
        settings,
        seed: HashSeed([0; 4]),
    };
    let now_ms = clock::unix_us() as i64 / 1000;
    let checked = FileReader::new(bytes).and_then(|mut reader| {
        loop {
            let item = reader.next(bytes, &loader, settings.rdb_checksum)?;
            match item {
                Part::End => return Ok(reader.offset()),
                Part::Aux(name, value) => say!(
                    console,
                    "[offset {}] AUX FIELD {} = '{}'",
                    reader.offset(),
                    String::from_utf8_lossy(&name),
                    String::from_utf8_lossy(&value)
                ),
                Part::Select(db) => {
                    say!(console, "[offset {}] Selecting DB ID {db}", reader.offset());
                }
                Part::Entry { expire_at, .. } => {
                    counts.keys += 1;
                    if let Some(at) = expire_at {
                        counts.expires += 1;
                        counts.expired += u64::from(at < now_ms);
                    }
                }
                Part::Function(_) => counts.libraries += 1,
                Part::Resize(..) | Part::ModuleAux => {}
            }
        }
    });
    let result = match checked {
        Ok(end) => {
            say!(console, "[offset {end}] Checksum OK");
            say!(console, "[offset {end}] \\o/ RDB looks OK! \\o/");
            Ok(end)
        }
        Err(LoadError { offset, reason }) => {
            let text = match reason {
                Reason::Truncated => "Unexpected EOF reading RDB file".to_owned(),
                Reason::UnknownType(kind) => format!("Invalid object type: {kind}"),
                other => LoadError {
                    offset,
                    reason: other,
                }
                .to_string(),
            };
            say!(console, "--- RDB ERROR DETECTED ---");
            say!(console, "[offset {offset}] {text}");
            Err(Unwell)
        }
    };
    say!(console, "[info] {} keys read", counts.keys);
    say!(console, "[info] {} expires", counts.expires);
    say!(console, "[info] {} already expired", counts.expired);
    if counts.libraries > 0 {
        say!(
            console,
            "[info] {} libraries of functions",
            counts.libraries
        );
    }
    result
}

/// What `redis-check-aof` may do about a file that is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    None,
    /// Cut off what is not whole, after asking.
    Fix,
    /// Cut off what is later than this Unix time, s.
    ToTimestamp(i64),
}

/// What was found in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Valid,
    Empty,
    Truncated,
    TruncatedToTimestamp,
}

/// `redis-check-aof [--fix|--truncate-to-timestamp T] FILE`.
pub fn check_aof(
    console: &mut Console<'_>,
    settings: &Settings,
    path: &Path,
    repair: Repair,
) -> Result<(), Unwell> {
    let opened = map(console.disk, path).and_then(|bytes| {
        let is_manifest = begins_as_manifest(&mut &*bytes)?;
        // What could not be read was zeroes.
        bytes.check()?;
        Ok((bytes, is_manifest))
    });
    let (bytes, is_manifest) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            say!(console, "Cannot open file {}: {error}", path.display());
            return Err(Unwell);
        }
    };
    let mut checker = Checker {
        console,
        settings,
        repair,
    };
    if !is_manifest {
        let console = &mut *checker.console;
        say!(console, "Start checking Old-Style AOF");
        let name = path.display().to_string();
        let found = checker.check_file(&name, path, true)?;
        checker.report(&format!("AOF {name}"), &name, found);
        return Ok(());
    }
    say!(checker.console, "Start checking Multi Part AOF");
    let manifest = match read_manifest(&bytes) {
        Ok(manifest) => manifest,
        Err(error) => {
            say!(checker.console, "{error}");
            return Err(Unwell);
        }
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    let disk = checker.console.disk;
    let shortened = manifest.shortened(|name| disk.size(&directory.join(name)));
    let shortened = match shortened {
        Ok(shortened) => shortened,
        Err(error) => {
            say!(
                checker.console,
                "Cannot tell how long the files are: {error}"
            );
            return Err(Unwell);
        }
    };
    // What is behind one that has lost its end is not to be loaded.
    let bases = usize::from(manifest.base.is_some());
    let total = shortened.map_or(manifest.files().count(), |index| bases + index + 1);
    for (index, file) in manifest.files().take(total).enumerate() {
        let is_base = index == 0 && manifest.base.is_some();
        let path = directory.join(&file.name);
        if is_base {
            let format = if is_rdb(checker.console.disk, &path) {
                "RDB"
            } else {
                "RESP"
            };
            say!(
                checker.console,
                "Start to check BASE AOF ({format} format)."
            );
        } else if index == usize::from(manifest.base.is_some()) {
            say!(checker.console, "Start to check INCR files.");
        }
        let found = checker.check_file(&file.name, &path, index + 1 == total)?;
        let kind = if is_base { "BASE" } else { "INCR" };
        checker.report(&format!("{kind} AOF {}", file.name), &file.name, found);
    }
    if let Some(index) = shortened {
        checker.leave_out_behind(manifest, index, path)?;
    }
    say!(checker.console, "All AOF files and manifest are valid");
    Ok(())
}

/// Whether a file is a manifest: its first line that is no comment says `file`. Anything may stand further down in the
/// data of an append-only file, of which no more than that line is read.
fn begins_as_manifest(file: &mut dyn BufRead) -> io::Result<bool> {
    const WORD: &[u8] = b"file";
    let mut begins = Vec::new();
    loop {
        begins.clear();
        Read::take(&mut *file, WORD.len() as u64).read_until(b'\n', &mut begins)?;
        if begins.first() != Some(&b'#') {
            return Ok(begins == WORD);
        }
        // The rest of a comment, however long.
        while !begins.ends_with(b"\n") {
            begins.clear();
            Read::take(&mut *file, COMMENT_PART).read_until(b'\n', &mut begins)?;
            if begins.is_empty() {
                return Ok(false);
            }
        }
    }
}

/// Reads a manifest from its file.
fn read_manifest(bytes: &MappedFile) -> Result<Manifest, String> {
    if bytes.len() as u64 > MANIFEST_MAX {
        return Err("The manifest is too long".to_owned());
    }
    let manifest = Manifest::parse(bytes).map_err(|error| error.to_string());
    bytes
        .check()
        .map_err(|error| format!("Cannot read the manifest: {error}"))?;
    manifest
}

fn is_rdb(disk: &Disk, path: &Path) -> bool {
    map(disk, path).is_ok_and(|bytes| is_snapshot(&bytes))
}

struct Checker<'a, 'c> {
    console: &'a mut Console<'c>,
    settings: &'a Settings,
    repair: Repair,
}

impl Checker<'_, '_> {
    fn report(&mut self, what: &str, name: &str, found: Found) {
        match (found, self.repair) {
            (Found::Valid, _) => say!(self.console, "{what} is valid"),
            (Found::Empty, _) => say!(self.console, "{what} is empty"),
            (Found::TruncatedToTimestamp, Repair::ToTimestamp(timestamp)) => say!(
                self.console,
                "Successfully truncated AOF {name} to timestamp {timestamp}"
            ),
            _ => say!(self.console, "Successfully truncated AOF {name}"),
        }
    }
    fn check_file(&mut self, name: &str, path: &Path, is_last: bool) -> Result<Found, Unwell> {
        let bytes = match map(self.console.disk, path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let path = path.display();
                say!(
                    self.console,
                    "Cannot open file {path}: {error}, aborting..."
                );
                return Err(Unwell);
            }
        };
        if bytes.is_empty() {
            return Ok(Found::Empty);
        }
        let mut at = 0;
        if is_snapshot(&bytes) {
            match check_rdb_bytes(self.console, self.settings, name, &bytes) {
                Ok(end) => at = end,
                Err(unwell) => {
                    say!(
                        self.console,
                        "RDB preamble of AOF file is not sane, aborting."
                    );
                    return Err(unwell);
                }
            }
            say!(
                self.console,
                "RDB preamble is OK, proceeding with AOF tail..."
            );
        }
        let walked = walk(&bytes, at, self.repair);
        match walked {
            Walked::Timestamp(at) => self.truncate_to_timestamp(name, path, at, is_last),
            Walked::End { good, line, error } => {
                if let Some(error) = error {
                    say!(self.console, "{error}");
                }
                self.conclude(name, path, (bytes.len(), good, line), is_last)
            }
        }
    }
    /// Asks the operator.
    fn may_go_on(&mut self) -> bool {
        let _ = write!(self.console.out, "Continue? [y/N]: ");
        let _ = self.console.out.flush();
        let mut answer = String::new();
        let answered = self.console.input.read_line(&mut answer);
        let may = answered.is_ok() && answer.to_ascii_lowercase().starts_with('y');
        if !may {
            say!(self.console, "Aborting...");
        }
        may
    }
    /// A file has lost its end in a crash: leaves out those behind it, which go on where it has ended.
    fn leave_out_behind(
        &mut self,
        mut manifest: Manifest,
        index: usize,
        path: &Path,
    ) -> Result<(), Unwell> {
        let name = manifest.incremental.get(index).map(|file| &file.name);
        let name = name.cloned().unwrap_or_default();
        say!(
            self.console,
            "AOF {name} has lost its end in a crash, and the files behind it are not to be loaded"
        );
        if self.repair != Repair::Fix {
            say!(
                self.console,
                "AOF {name} is not valid. Use the --fix option to try fixing it."
            );
            return Err(Unwell);
        }
        say!(
            self.console,
            "This will make the files behind {name} history, which the server removes"
        );
        if !self.may_go_on() {
            return Err(Unwell);
        }
        manifest.leave_out_behind(index);
        let directory = path.parent().unwrap_or(Path::new(""));
        let file = path.file_name().map(|name| name.to_string_lossy());
        let written = manifest.persist(self.console.disk, directory, &file.unwrap_or_default());
        if let Err(error) = written {
            say!(self.console, "Failed to write the manifest: {error}");
            return Err(Unwell);
        }
        Ok(())
    }
    fn truncate_to_timestamp(
        &mut self,
        name: &str,
        path: &Path,
        at: usize,
        is_last: bool,
    ) -> Result<Found, Unwell> {
        let Repair::ToTimestamp(timestamp) = self.repair else {
            return Ok(Found::Valid);
        };
        if at == 0 {
            say!(
                self.console,
                "AOF {name} has nothing before timestamp {timestamp}, aborting..."
            );
            return Err(Unwell);
        }
        if !is_last {
            say!(
                self.console,
                "Failed to truncate AOF {name} to timestamp {timestamp} to offset {at} because it is not the last file."
            );
            say!(
                self.console,
                "If you insist, please delete all files after this file according to the manifest file and delete the \
                 corresponding records in manifest file manually. Then re-run redis-check-aof."
            );
            return Err(Unwell);
        }
        if cut(self.console.disk, path, at).is_err() {
            say!(
                self.console,
                "Failed to truncate AOF {name} to timestamp {timestamp}"
            );
            return Err(Unwell);
        }
        Ok(Found::TruncatedToTimestamp)
    }
    fn conclude(
        &mut self,
        name: &str,
        path: &Path,
        (size, good, line): (usize, usize, usize),
        is_last: bool,
    ) -> Result<Found, Unwell> {
        let bad = size - good;
        if let (0, Repair::ToTimestamp(timestamp)) = (bad, self.repair) {
            say!(
                self.console,
                "Truncate nothing in AOF {name} to timestamp {timestamp}"
            );
            return Ok(Found::Valid);
        }
        say!(
            self.console,
            "AOF analyzed: filename={name}, size={size}, ok_up_to={good}, ok_up_to_line={line}, diff={bad}"
        );
        if bad == 0 {
            return Ok(Found::Valid);
        }
        if self.repair != Repair::Fix {
            say!(
                self.console,
                "AOF {name} is not valid. Use the --fix option to try fixing it."
            );
            return Err(Unwell);
        }
        if !is_last {
            say!(
                self.console,
                "Failed to truncate AOF {name} because it is not the last file"
            );
            return Err(Unwell);
        }
        say!(
            self.console,
            "This will shrink the AOF {name} from {size} bytes, with {bad} bytes, to {good} bytes"
        );
        if !self.may_go_on() {
            return Err(Unwell);
        }
        if cut(self.console.disk, path, good).is_err() {
            say!(self.console, "Failed to truncate AOF {name}");
            return Err(Unwell);
        }
        Ok(Found::Truncated)
    }
}

fn cut(disk: &Disk, path: &Path, len: usize) -> io::Result<()> {
    let file = disk.open(path, Mode::Change)?;
    file.set_len(len as u64)?;
    file.sync_all()
}

enum Walked {
    /// An annotation that is too late begins here.
    Timestamp(usize),
    /// The file is good up to an offset and a line; and why not further.
    End {
        good: usize,
        line: usize,
        error: Option<String>,
    },
}

/// Goes over the commands from `at` on; lines are counted from there too.
fn walk(bytes: &[u8], mut at: usize, repair: Repair) -> Walked {
    let mut spans: Vec<Span> = Vec::new();
    let mut good = at;
    let mut in_multi = false;
    let begin = at;
    let end = |good: usize, error: Option<String>| {
        let line = bytes[begin..good]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Walked::End { good, line, error }
    };
    loop {
        if !in_multi {
            good = at;
        }
        if let Repair::ToTimestamp(limit) = repair
            && timestamp(&bytes[at..]).is_some_and(|told| told > limit)
        {
            return Walked::Timestamp(at);
        }
        if bytes.get(at) == Some(&b'#') {
            match memchr::memchr(b'\n', &bytes[at..]) {
                Some(len) => at += len + 1,
                None => return end(good, Some("The annotation has no end".to_owned())),
            }
            continue;
        }
        match next(bytes, at, &mut spans) {
            Next::Command { start, end: behind } => {
                let word = crate::resp::Args::new(&bytes[start..behind], &spans, &[]).at(0);
                let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
                if is(b"multi") && in_multi {
                    let text = format!("0x{at:16x}: Unexpected MULTI in AOF");
                    return end(good, Some(text));
                }
                if is(b"exec") && !in_multi {
                    let text = format!("0x{at:16x}: Unexpected EXEC in AOF");
                    return end(good, Some(text));
                }
                in_multi = (in_multi || is(b"multi")) && !is(b"exec");
                at = behind;
            }
            Next::End if in_multi => {
                let text = format!("0x{at:16x}: Reached EOF before reading EXEC for MULTI");
                return end(good, Some(text));
            }
            Next::End => return end(at, None),
            Next::Truncated => {
                let text = format!("0x{at:16x}: Expected to read more bytes than there are");
                return end(good, Some(text));
            }
            Next::Malformed => {
                let first = char::from(bytes.get(at).copied().unwrap_or(b' '));
                let text =
                    format!("0x{at:16x}: Expected prefix '*', got: '{first}' (format error)");
                return end(good, Some(text));
            }
        }
    }
}

/// The time that an annotation at the beginning of `bytes` tells.
fn timestamp(bytes: &[u8]) -> Option<i64> {
    let rest = bytes.strip_prefix(b"#TS:")?;
    let len = memchr::memchr(b'\r', rest)?;
    std::str::from_utf8(rest.get(..len)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn run(text: &str, repair: Repair, answer: &str) -> (Result<(), Unwell>, String, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.aof");
        std::fs::write(&path, text).expect("written");
        let config = Config::with_dir(Path::new("/"));
        let mut out = Vec::new();
        let mut console = Console {
            disk: &Disk::default(),
            out: &mut out,
            input: &mut answer.as_bytes(),
        };
        let result = check_aof(&mut console, config.settings(), &path, repair);
        let left = std::fs::read_to_string(&path).expect("still there");
        (result, String::from_utf8(out).expect("text"), left)
    }

    /// Whether the tool finds nothing wrong with these files and does as asked.
    fn check_files(files: &[(&str, &str)], repair: Repair, answer: &str) -> (bool, Vec<String>) {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("written");
        }
        let config = Config::with_dir(Path::new("/"));
        let path = directory.path().join("m");
        let check = |repair, answer: &str| {
            let mut console = Console {
                disk: &Disk::default(),
                out: &mut io::sink(),
                input: &mut answer.as_bytes(),
            };
            check_aof(&mut console, config.settings(), &path, repair).is_ok()
        };
        let is_done = check(repair, answer);
        assert_eq!(check(Repair::None, ""), is_done);
        let text = std::fs::read(&path).expect("still there");
        let manifest = Manifest::parse(&text).expect("a manifest");
        (
            is_done,
            manifest.files().map(|file| file.name.clone()).collect(),
        )
    }

    /// A crash of the machine while the file that a rewrite had ended was synced: the next one was loaded behind the hole, or
    /// nothing was, and no tool could mend it.
    #[test]
    fn files_behind_one_that_has_lost_its_end_are_left_out() {
        let manifest = "file 1.incr.aof seq 1 type i length 28\nfile 2.incr.aof seq 2 type i\n";
        let twice = format!("{GOOD}{GOOD}");
        let all = ["1.incr.aof", "2.incr.aof"];
        for (first, repair, answer, is_done, left) in [
            (&*twice, Repair::None, "", true, 2),
            (GOOD, Repair::None, "", false, 2),
            (GOOD, Repair::Fix, "n\n", false, 2),
            (GOOD, Repair::Fix, "y\n", true, 1),
            (&twice[..20], Repair::None, "", false, 2),
            (&twice[..20], Repair::Fix, "y\ny\n", true, 1),
            ("", Repair::Fix, "y\n", true, 1),
        ] {
            let files = [("m", manifest), ("1.incr.aof", first), ("2.incr.aof", GOOD)];
            let found = check_files(&files, repair, answer);
            let left = all[..left].iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(found, (is_done, left), "{first:?} {repair:?} {answer:?}");
        }
    }

    const GOOD: &str = "*1\r\n$4\r\nPING\r\n";
    const OPEN: &str = "*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nPING\r\n";

    #[test]
    fn a_good_file_is_valid() {
        let (result, said, left) = run(GOOD, Repair::None, "");
        assert_eq!(result, Ok(()));
        assert!(
            said.contains("ok_up_to=14, ok_up_to_line=4, diff=0"),
            "{said}"
        );
        assert!(said.contains("is valid"), "{said}");
        assert_eq!(left, GOOD);
        assert!(run("", Repair::None, "").1.contains("is empty"));
    }

    /// A value with a line that begins like one of a manifest made one of any file.
    #[test]
    fn only_the_first_line_makes_a_manifest() {
        let value = "file a.aof.1.base.rdb seq 1 type b";
        let text = format!("*2\r\n$4\r\nECHO\r\n$34\r\n{value}\r\n");
        let (result, said, _) = run(&text, Repair::None, "");
        assert_eq!(result, Ok(()), "{said}");
        assert!(
            said.contains("Old-Style") && said.contains("is valid"),
            "{said}"
        );
        let long = "x".repeat(3000);
        for (text, is_manifest) in [
            (format!("{value}\n"), true),
            (format!("# a comment\n#{long}\n#\n{value}\n"), true),
            (format!("#{long}"), false),
            (format!("#{long}\n{GOOD}{value}\n"), false),
            (format!("\n{value}\n"), false),
            ("fil".to_owned(), false),
            (String::new(), false),
        ] {
            let is = begins_as_manifest(&mut text.as_bytes()).expect("read");
            assert_eq!(is, is_manifest, "{text}");
        }
    }

    #[test]
    fn what_is_not_whole_is_cut_off_only_when_asked() {
        for tail in [
            OPEN,
            "*1\r\n$4\r\nPI",
            "*1\r\n$4\r\nEXEC\r\n",
            "garbage\r\n",
        ] {
            let text = format!("{GOOD}{tail}");
            let (result, said, left) = run(&text, Repair::None, "");
            assert_eq!((result, left == text), (Err(Unwell), true), "{tail}");
            assert!(said.contains("Use the --fix option"), "{said}");
            let (result, said, left) = run(&text, Repair::Fix, "n\n");
            assert_eq!((result, left == text), (Err(Unwell), true), "{said}");
            let (result, said, left) = run(&text, Repair::Fix, "y\n");
            assert_eq!((result, left.as_str()), (Ok(()), GOOD), "{said}");
            assert!(said.contains("Successfully truncated AOF"), "{said}");
        }
    }

    #[test]
    fn a_file_is_cut_at_a_time() {
        let text = format!("#TS:10\r\n{GOOD}#TS:20\r\n{GOOD}#TS:30\r\n{GOOD}");
        let (result, said, left) = run(&text, Repair::ToTimestamp(20), "");
        assert_eq!(result, Ok(()), "{said}");
        assert_eq!(left, format!("#TS:10\r\n{GOOD}#TS:20\r\n{GOOD}"));
        let (result, said, _) = run(&text, Repair::ToTimestamp(5), "");
        assert_eq!(result, Err(Unwell));
        assert!(said.contains("nothing before timestamp"), "{said}");
        let (result, said, left) = run(&text, Repair::ToTimestamp(40), "");
        assert_eq!((result, left), (Ok(()), text));
        assert!(said.contains("Truncate nothing"), "{said}");
    }
}
