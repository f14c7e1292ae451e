//! The journal: the one stream of write effects, in the order in which they happened.
//!
//! In: after each command that changed something, the command (or what it asks to be propagated instead), with its
//! database; keys that went by themselves. Out: the same as RESP bytes, with SELECT where the database changes and
//! MULTI and EXEC around what belongs together (and is more than one effect), for the append-only file and, later, replicas. Without a consumer
//! nothing is kept. Mirrors `propagateNow`, `alsoPropagate` and `feedAppendOnlyFile` of Redis.

use crate::resp::Args;
use std::io::Write;

/// A database that no SELECT has named yet.
const NONE: usize = usize::MAX;

/// The stream of effects.
#[derive(Debug)]
pub struct Journal {
    consumers: usize,
    effects: u64,
    offset: i64,
    bytes: Vec<u8>,
    /// Bytes that were taken so far.
    taken: u64,
    selected: usize,
    /// What is appended belongs together.
    in_unit: bool,
    /// The unit has begun in `bytes`: its first effect is there.
    unit_begun: bool,
    /// Where in `bytes`.
    unit_start: usize,
    /// MULTI is there too: a unit of one effect needs none.
    unit_wrapped: bool,
    timestamps: bool,
    last_timestamp: i64,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal {
            consumers: 0,
            effects: 0,
            offset: 0,
            bytes: Vec::new(),
            taken: 0,
            selected: NONE,
            in_unit: false,
            unit_begun: false,
            unit_start: 0,
            unit_wrapped: false,
            timestamps: false,
            last_timestamp: 0,
        }
    }
}

impl Journal {
    /// Whether anyone reads the stream; without a consumer commands need not prepare their effects.
    #[inline]
    pub fn has_consumers(&self) -> bool {
        self.consumers > 0
    }
    /// One more reader, or one less.
    pub fn set_consumers(&mut self, consumers: usize) {
        self.consumers = consumers;
        if consumers == 0 {
            self.taken = self.written_bytes();
            self.bytes = Vec::new();
            (self.unit_begun, self.unit_wrapped) = (false, false);
            self.restart();
        }
    }
    /// Annotates the stream with the time, once a second (`aof-timestamp-enabled`).
    pub fn set_timestamps(&mut self, on: bool) {
        self.timestamps = on;
    }
    /// A new file begins: the next effect names its database.
    pub fn restart(&mut self) {
        self.selected = NONE;
    }
    /// What follows, up to [`Journal::end_unit`], belongs together (a transaction).
    pub fn begin_unit(&mut self) {
        self.in_unit = true;
    }
    /// Ends what belongs together.
    pub fn end_unit(&mut self) {
        self.in_unit = false;
        self.unit_begun = false;
        if std::mem::take(&mut self.unit_wrapped) {
            self.offset += 1;
            write_command(&mut self.bytes, [&b"EXEC"[..]].into_iter());
        }
    }
    /// Whether a unit is open.
    pub fn is_in_unit(&self) -> bool {
        self.in_unit
    }
    /// Takes one effect on the database `db`.
    pub fn append(&mut self, db: usize, unix_s: i64, command: Args<'_>) {
        self.append_words(db, unix_s, command.iter());
    }
    /// The same for a command given as words.
    pub fn append_words<'a>(
        &mut self,
        db: usize,
        unix_s: i64,
        words: impl ExactSizeIterator<Item = &'a [u8]>,
    ) {
        if self.consumers == 0 {
            return;
        }
        self.effects += 1;
        self.offset += 1;
        if self.timestamps && unix_s > self.last_timestamp {
            self.last_timestamp = unix_s;
            let _ = write!(self.bytes, "#TS:{unix_s}\r\n");
        }
        if self.in_unit && !self.unit_begun {
            self.unit_begun = true;
            // What is found out about MULTI later goes here: before SELECT, where Redis has it.
            self.unit_start = self.bytes.len();
        } else if self.unit_begun {
            self.wrap_unit();
        }
        self.select(db);
        write_command(&mut self.bytes, words);
    }
    /// Puts MULTI before the first effect of the unit: there is a second one.
    fn wrap_unit(&mut self) {
        if !std::mem::replace(&mut self.unit_wrapped, true) {
            self.offset += 1;
            let mut multi = Vec::new();
            write_command(&mut multi, [&b"MULTI"[..]].into_iter());
            let start = self.unit_start;
            self.bytes.splice(start..start, multi);
        }
    }
    fn select(&mut self, db: usize) {
        if self.selected != db {
            self.selected = db;
            let number = db.to_string();
            let words = [&b"SELECT"[..], number.as_bytes()];
            write_command(&mut self.bytes, words.into_iter());
        }
    }
    /// Bytes that nobody has taken yet.
    #[inline]
    pub fn pending(&self) -> usize {
        self.bytes.len()
    }
    /// Bytes that were given to the stream so far.
    #[inline]
    pub fn written_bytes(&self) -> u64 {
        self.taken.saturating_add(self.bytes.len() as u64)
    }
    /// Bytes that were taken from it so far.
    pub fn taken_bytes(&self) -> u64 {
        self.taken
    }
    /// Moves bytes behind those of `into`: all that stand before the unit that is open. A unit is given away as a whole
    /// when it has ended: half of one is nothing that a reader could use.
    pub fn take(&mut self, into: &mut Vec<u8>) {
        let before = self.bytes.len();
        if self.unit_begun {
            into.extend(self.bytes.drain(..self.unit_start));
            self.unit_start = 0;
        } else if into.is_empty() {
            std::mem::swap(into, &mut self.bytes);
        } else {
            into.append(&mut self.bytes);
        }
        let moved = before.saturating_sub(self.bytes.len());
        self.taken = self.taken.saturating_add(moved as u64);
    }
    /// Position in the stream, counted as Redis counts it while nobody replicates: a step for each command.
    pub fn offset(&self) -> i64 {
        self.offset
    }
    /// Goes on from a position that a file tells.
    pub fn set_offset(&mut self, offset: i64) {
        self.offset = offset;
    }
    /// Effects so far.
    pub fn effects(&self) -> u64 {
        self.effects
    }
}

/// Writes a command as an array of bulk strings.
pub fn write_command<'a>(out: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    let mut number = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(number.format(words.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for word in words {
        out.push(b'$');
        out.extend_from_slice(number.format(word.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedRequest;

    fn append(journal: &mut Journal, db: usize, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        journal.append(db, 7, OwnedRequest::from_slices(&words).args());
    }

    /// The commands in the stream, one to a line.
    fn taken(journal: &mut Journal) -> String {
        let mut bytes = Vec::new();
        journal.take(&mut bytes);
        let text = String::from_utf8(bytes).expect("plain text");
        let mut out = String::new();
        for line in text.split("\r\n") {
            match line.as_bytes().first() {
                Some(b'*') if !out.is_empty() => out.push('|'),
                Some(b'*' | b'$') | None => {}
                Some(_) => out.push_str(line),
            }
        }
        out
    }

    #[test]
    fn without_a_reader_nothing_is_kept() {
        let mut journal = Journal::default();
        append(&mut journal, 0, "SET a 1");
        assert_eq!((journal.pending(), journal.effects()), (0, 0));
    }

    #[test]
    fn databases_are_selected_where_they_change() {
        let mut journal = Journal::default();
        journal.set_consumers(1);
        append(&mut journal, 0, "SETa");
        append(&mut journal, 0, "SETb");
        append(&mut journal, 3, "SETc");
        assert_eq!(taken(&mut journal), "SELECT0|SETa|SETb|SELECT3|SETc");
        append(&mut journal, 3, "SETd");
        journal.restart();
        append(&mut journal, 3, "SETe");
        assert_eq!(taken(&mut journal), "SETd|SELECT3|SETe");
    }

    #[test]
    fn a_unit_without_effects_leaves_no_trace() {
        let mut journal = Journal::default();
        journal.set_consumers(1);
        journal.begin_unit();
        journal.end_unit();
        assert_eq!(journal.pending(), 0);
        journal.begin_unit();
        append(&mut journal, 0, "SETa");
        append(&mut journal, 1, "SETb");
        journal.end_unit();
        append(&mut journal, 1, "SETc");
        assert_eq!(
            taken(&mut journal),
            "MULTI|SELECT0|SETa|SELECT1|SETb|EXEC|SETc"
        );
    }

    #[test]
    fn a_unit_of_one_effect_needs_no_wrapping() {
        let mut journal = Journal::default();
        journal.set_consumers(1);
        journal.begin_unit();
        append(&mut journal, 2, "SETa");
        journal.end_unit();
        append(&mut journal, 2, "SETb");
        assert_eq!(taken(&mut journal), "SELECT2|SETa|SETb");
        // The last reader goes in the middle of one, and comes back.
        append(&mut journal, 2, "SETg");
        journal.begin_unit();
        append(&mut journal, 2, "SETh");
        for consumers in [0, 1] {
            journal.set_consumers(consumers);
        }
        append(&mut journal, 2, "SETi");
        append(&mut journal, 2, "SETj");
        journal.end_unit();
        assert_eq!(taken(&mut journal), "MULTI|SELECT2|SETi|SETj|EXEC");
    }

    /// While a script was busy, nothing was given away of what others had done in its turn: they read OK for what no file
    /// had.
    #[test]
    fn what_stands_before_an_open_unit_is_given_away() {
        let mut journal = Journal::default();
        journal.set_consumers(1);
        append(&mut journal, 0, "SETa");
        journal.begin_unit();
        assert_eq!(taken(&mut journal), "SELECT0|SETa");
        append(&mut journal, 0, "SETb");
        assert_eq!(taken(&mut journal), "");
        append(&mut journal, 1, "SETc");
        assert_eq!(taken(&mut journal), "");
        journal.end_unit();
        append(&mut journal, 1, "SETd");
        let unit = "MULTI|SETb|SELECT1|SETc|EXEC|SETd";
        assert_eq!(taken(&mut journal), unit);
        append(&mut journal, 1, "SETe");
        journal.begin_unit();
        append(&mut journal, 2, "SETf");
        assert_eq!(taken(&mut journal), "SETe");
        journal.end_unit();
        assert_eq!(taken(&mut journal), "SELECT2|SETf");
        assert_eq!(journal.offset(), 8, "MULTI and EXEC count");
    }

    #[test]
    fn the_time_is_noted_once_a_second() {
        let mut journal = Journal::default();
        journal.set_consumers(1);
        journal.set_timestamps(true);
        append(&mut journal, 0, "SETa");
        append(&mut journal, 0, "SETb");
        let mut bytes = Vec::new();
        journal.take(&mut bytes);
        let text = String::from_utf8(bytes).expect("plain text");
        assert!(text.starts_with("#TS:7\r\n*2\r\n$6\r\nSELECT"));
        assert_eq!(text.matches("#TS").count(), 1);
    }
}
