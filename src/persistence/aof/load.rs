//! Reading the files of an append-only file, command by command.
//!
//! In: the manifest's files, each a snapshot, commands, or a snapshot with commands behind it. Out: commands as ranges of
//! the file, and what to do about a file that ends in the middle of one. What runs the commands is above this module.
//! Mirrors `loadSingleAppendOnlyFile` of aof.c.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::persistence::loading::{LoadFailure, Loading};
use crate::persistence::rdb::file::is_snapshot;
use crate::resp::Span;
use crate::system::disk::{Disk, Mode};
use crate::system::mapped_file::MappedFile;
use crate::system::process::os_error_text;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

/// Longest line that gives a number.
const LINE_MAX: usize = 1024;
/// Most words of a command: far more than any server writes.
const WORDS_MAX: usize = 64 * 1024 * 1024;

/// What follows in a file of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A command: it ends there; its words are in the list of spans, relative to where it begins.
    Command {
        /// Offset of its first byte.
        start: usize,
        /// Offset behind its last byte.
        end: usize,
    },
    /// The file has ended, with a whole command or an annotation.
    End,
    /// The file ends in the middle of a command.
    Truncated,
    /// These are no commands.
    Malformed,
}

/// Finds the command at `at`. `spans` gets its words, relative to the command's start.
pub fn next(bytes: &[u8], mut at: usize, spans: &mut Vec<Span>) -> Next {
    spans.clear();
    loop {
        match bytes.get(at) {
            None => return Next::End,
            Some(b'#') => match line(bytes, at) {
                Some((_, end)) => at = end,
                None => return Next::Truncated,
            },
            Some(_) => break,
        }
    }
    let start = at;
    let words = match number(bytes, &mut at, b'*') {
        Ok(words) if (1..=WORDS_MAX).contains(&words) => words,
        Ok(_) => return Next::Malformed,
        Err(next) => return next,
    };
    for _ in 0..words {
        let len = match number(bytes, &mut at, b'$') {
            Ok(len) => len,
            Err(next) => return next,
        };
        let from = at;
        let Some(end) = from.checked_add(len).and_then(|end| end.checked_add(2)) else {
            return Next::Malformed;
        };
        if end > bytes.len() {
            return Next::Truncated;
        }
        at = end;
        spans.push(Span::range(from.saturating_sub(start), len));
    }
    Next::Command { start, end: at }
}

/// A line from `at` on without its end, and where the next one begins.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let len = memchr::memchr(b'\n', rest)?;
    let text = rest.get(..len)?;
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    Some((text, at.checked_add(len)?.checked_add(1)?))
}

/// Reads a line of a mark and a number, and goes behind it.
fn number(bytes: &[u8], at: &mut usize, mark: u8) -> Result<usize, Next> {
    let Some((text, end)) = line(bytes, *at) else {
        let rest = bytes.get(*at..).unwrap_or_default();
        let begins_right = rest.first().is_none_or(|first| *first == mark);
        return Err(if begins_right && rest.len() < LINE_MAX {
            Next::Truncated
        } else {
            Next::Malformed
        });
    };
    let digits = text
        .strip_prefix(&[mark])
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok());
    match digits {
        Some(number) => {
            *at = end;
            Ok(number)
        }
        None => Err(Next::Malformed),
    }
}

/// The bytes of a file; one that cannot be had is named.
fn map(disk: &Disk, path: &Path) -> Result<MappedFile, LoadFailure> {
    disk.open(path, Mode::Read)
        .and_then(|file| file.map())
        .map_err(|error| LoadFailure::File(path.to_owned(), error))
}

/// Commands of one file, being run.
#[derive(Debug)]
pub struct CommandFile {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: MappedFile,
    /// Where the next command begins.
    pub at: usize,
    /// All before this was run.
    pub valid: usize,
    /// Bytes before the MULTI that is open.
    pub valid_before_multi: usize,
}

/// What is being done with the file that is being read.
#[derive(Debug)]
pub enum Stage {
    /// Its snapshot is loaded.
    Snapshot(Box<Loading>, PathBuf, String),
    /// Its commands are run.
    Commands(CommandFile),
}

/// The files of an append-only file, being loaded.
#[derive(Debug)]
pub struct AofLoading {
    files: VecDeque<(String, PathBuf)>,
    /// The file at work.
    pub stage: Option<Stage>,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Bytes of files that are done.
    pub done_bytes: u64,
    /// Monotonic time at which the file at work was begun, ns.
    pub file_started_ns: u64,
}

impl AofLoading {
    /// To load these files.
    pub fn new(disk: &Disk, files: VecDeque<(String, PathBuf)>) -> Result<AofLoading, LoadFailure> {
        let mut total_bytes = 0_u64;
        for (name, path) in &files {
            let missing = || io::Error::from_raw_os_error(libc::ENOENT);
            let size = disk.size(path).and_then(|size| size.ok_or_else(missing));
            let size = size.map_err(|error| {
                LoadFailure::Aof(format!(
                    "Unable to obtain the AOF file {name} length. stat: {}",
                    os_error_text(&error)
                ))
            })?;
            total_bytes = total_bytes.saturating_add(size);
        }
        Ok(AofLoading {
            files,
            stage: None,
            total_bytes,
            done_bytes: 0,
            file_started_ns: 0,
        })
    }
    /// Whether the file at work is the last.
    pub fn is_last(&self) -> bool {
        self.files.is_empty()
    }
    /// Opens the next file; whether there was one.
    pub fn open_next(
        &mut self,
        disk: &Disk,
        open_snapshot: impl FnOnce(&Path) -> Result<Loading, LoadFailure>,
    ) -> Result<bool, LoadFailure> {
        let Some((name, path)) = self.files.pop_front() else {
            return Ok(false);
        };
        let bytes = map(disk, &path)?;
        self.stage = Some(if is_snapshot(&bytes) {
            Stage::Snapshot(Box::new(open_snapshot(&path)?), path, name)
        } else {
            Stage::Commands(CommandFile {
                name,
                path,
                bytes,
                at: 0,
                valid: 0,
                valid_before_multi: 0,
            })
        });
        Ok(true)
    }
    /// Goes on with the commands behind a snapshot that has been loaded.
    pub fn after_snapshot(&mut self, disk: &Disk) -> Result<(), LoadFailure> {
        let Some(Stage::Snapshot(loading, path, name)) = self.stage.take() else {
            return Ok(());
        };
        let at = usize::try_from(loading.bytes().1).unwrap_or(usize::MAX);
        let bytes = map(disk, &path)?;
        self.stage = Some(Stage::Commands(CommandFile {
            name,
            path,
            bytes,
            at,
            valid: at,
            valid_before_multi: at,
        }));
        Ok(())
    }
    /// Bytes loaded so far.
    pub fn loaded_bytes(&self) -> u64 {
        let here = match &self.stage {
            Some(Stage::Snapshot(loading, ..)) => loading.bytes().1,
            Some(Stage::Commands(file)) => file.at as u64,
            None => 0,
        };
        self.done_bytes.saturating_add(here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Next> {
        let mut spans = Vec::new();
        let mut at = 0;
        let mut all = Vec::new();
        loop {
            let found = next(text.as_bytes(), at, &mut spans);
            all.push(found);
            match found {
                Next::Command { end, .. } => at = end,
                _ => return all,
            }
        }
    }

    #[test]
    fn commands_annotations_and_ends() {
        let text = "#TS:1\r\n*1\r\n$4\r\nPING\r\n#TS:2\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n";
        assert_eq!(
            read(text),
            [
                Next::Command { start: 7, end: 21 },
                Next::Command { start: 28, end: 47 },
                Next::End
            ]
        );
        assert_eq!(read(""), [Next::End]);
    }

    #[test]
    fn every_cut_is_a_truncation_or_an_end() {
        let text = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        for cut in 1..text.len() {
            assert_eq!(read(&text[..cut]), [Next::Truncated], "cut at {cut}");
        }
    }

    #[test]
    fn half_an_annotation_is_a_truncation() {
        let text = "#TS:1\r\n";
        for cut in 1..text.len() {
            assert_eq!(read(&text[..cut]), [Next::Truncated], "cut at {cut}");
        }
        assert_eq!(read(text), [Next::End]);
    }

    #[test]
    fn what_is_no_command_is_malformed() {
        for text in [
            "PING\r\n",
            "*0\r\n",
            "*-1\r\n",
            "*x\r\n",
            "*1\r\n+OK\r\n",
            "*1\r\n$-1\r\n",
            "*1\r\n$99999999999999999999\r\n",
            "*1\r\n$18446744073709551615\r\n",
            "*99999999999\r\n",
        ] {
            assert_eq!(read(text), [Next::Malformed], "{text:?}");
        }
    }
}
