//! The journal: the one stream of write effects, in the order in which they happened.
//!
//! In: after each command that changed something, the command (or what it asks to be propagated instead), with its
//! database and its targets; keys that went by themselves. What belongs together (a transaction, a script) is one *unit*:
//! published as a whole when it has ended, and never before, because half of one is nothing that a reader could use.
//! Out: for each reader its own encoding of what is for it, as RESP bytes: SELECT where the database changes, MULTI and
//! EXEC around a unit of several commands, for the append-only file the time where `aof-timestamp-enabled` asks for it.
//! Readers are told apart by their targets; each counts its own bytes. Without a reader nothing is kept. Mirrors
//! `propagateNow`, `alsoPropagate`, `feedAppendOnlyFile` and `replicationFeedSlaves` of Redis.

use crate::resp::Args;
use std::io::Write;
use std::ops::Range;

/// Room that a unit may leave for the next one: bytes of text, and commands.
const KEPT_BYTES: usize = 64 * 1024;
const KEPT_COMMANDS: usize = 1024;

/// A database that no SELECT has named yet.
const NONE: usize = usize::MAX;

/// Whom effects are for, and which of them a reader is: the values of `redis.set_repl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets(u8);

impl Targets {
    /// Nobody.
    pub const NONE: Targets = Targets(0);
    /// The append-only file.
    pub const AOF: Targets = Targets(1);
    /// Replicas, through the backlog.
    pub const REPLICAS: Targets = Targets(2);
    /// Everybody: what is not said otherwise.
    pub const ALL: Targets = Targets(3);

    /// Of the value that a script has given.
    pub fn from_bits(bits: u8) -> Targets {
        Targets(bits & Targets::ALL.0)
    }
    /// Whether one of those is among them.
    #[inline]
    pub fn has(self, others: Targets) -> bool {
        self.0 & others.0 != 0
    }
}

/// A command of the unit that is open.
#[derive(Debug)]
struct Queued {
    database: usize,
    targets: Targets,
    /// Where its words stand in the unit's text.
    text: Range<usize>,
}

/// What belongs together and has not ended.
#[derive(Debug, Default)]
struct Unit {
    /// So many have begun and not ended: a script within a transaction, a transaction of the file that is loaded within
    /// one. They are one unit, which ends with the first of them.
    depth: u32,
    /// When its first effect happened, Unix s.
    unix_s: i64,
    commands: Vec<Queued>,
    text: Vec<u8>,
}

impl Unit {
    fn clear(&mut self) {
        self.commands.clear();
        self.text.clear();
        // A large one leaves no large room behind.
        if self.commands.capacity() > KEPT_COMMANDS {
            self.commands = Vec::new();
        }
        if self.text.capacity() > KEPT_BYTES {
            self.text = Vec::new();
        }
    }
}

/// One who reads: an encoding, and the bytes that wait to be taken.
#[derive(Debug)]
struct Reader {
    is: Targets,
    bytes: Vec<u8>,
    /// Bytes that were taken so far.
    taken: u64,
    selected: usize,
    timestamps: bool,
    last_timestamp: i64,
    /// So many commands of the open unit came before it began to read.
    joined_at: usize,
}

impl Reader {
    fn time(&mut self, unix_s: i64) {
        if self.timestamps && unix_s > self.last_timestamp {
            self.last_timestamp = unix_s;
            // Writing to a vector cannot fail.
            let _ = write!(self.bytes, "#TS:{unix_s}\r\n");
        }
    }
    fn select(&mut self, database: usize) {
        if self.selected != database {
            self.selected = database;
            let number = database.to_string();
            let words = [&b"SELECT"[..], number.as_bytes()];
            write_command(&mut self.bytes, words.into_iter());
        }
    }
    /// Encodes what of a unit is for this reader; whether it needed MULTI and EXEC.
    fn publish(&mut self, unit: &Unit) -> bool {
        let joined_at = std::mem::take(&mut self.joined_at);
        let is = self.is;
        let own = unit.commands.iter().skip(joined_at);
        let own = own.filter(|command| command.targets.has(is));
        let is_several = own.clone().nth(1).is_some();
        if own.clone().next().is_some() {
            self.time(unit.unix_s);
        }
        if is_several {
            // Before SELECT, where Redis has it.
            write_command(&mut self.bytes, [&b"MULTI"[..]].into_iter());
        }
        for command in own {
            self.select(command.database);
            let text = unit.text.get(command.text.clone());
            self.bytes.extend_from_slice(text.unwrap_or_default());
        }
        if is_several {
            write_command(&mut self.bytes, [&b"EXEC"[..]].into_iter());
        }
        is_several
    }
    fn written(&self) -> u64 {
        self.taken.saturating_add(self.bytes.len() as u64)
    }
}

/// The stream of effects.
#[derive(Debug, Default)]
pub struct Journal {
    readers: Vec<Reader>,
    unit: Unit,
    effects: u64,
    /// How often something was given to readers.
    published: u64,
    offset: i64,
    /// The offset is that of a primary's stream, and counted by whoever follows it.
    follows: bool,
    /// Bytes that each reader of before had been given, so that one that comes back counts on.
    counted: [u64; 2],
}

impl Journal {
    /// Whether anyone reads the stream; without a reader commands need not prepare their effects.
    #[inline]
    pub fn has_consumers(&self) -> bool {
        !self.readers.is_empty()
    }
    /// A reader begins: it gets what is for it from here on. One that reads already goes on.
    pub fn attach(&mut self, reader: Targets) {
        if self.reader(reader).is_none() {
            let taken = self.written_bytes(reader);
            self.readers.push(Reader {
                is: reader,
                bytes: Vec::new(),
                taken,
                selected: NONE,
                timestamps: false,
                last_timestamp: 0,
                joined_at: self.unit.commands.len(),
            });
        }
    }
    /// A reader goes, with what it has not taken.
    pub fn detach(&mut self, reader: Targets) {
        let written = self.written_bytes(reader);
        if let Some(counted) = self.counted_of(reader) {
            *counted = written;
        }
        self.readers.retain(|one| one.is != reader);
        if self.readers.is_empty() {
            self.unit.clear();
        }
    }
    fn counted_of(&mut self, reader: Targets) -> Option<&mut u64> {
        self.counted
            .get_mut(usize::from(reader.has(Targets::REPLICAS)))
    }
    #[inline]
    fn reader(&self, reader: Targets) -> Option<&Reader> {
        self.readers.iter().find(|one| one.is == reader)
    }
    fn reader_mut(&mut self, reader: Targets) -> Option<&mut Reader> {
        self.readers.iter_mut().find(|one| one.is == reader)
    }
    /// Has a reader's stream annotated with the time, once a second (`aof-timestamp-enabled`).
    pub fn set_timestamps(&mut self, reader: Targets, on: bool) {
        if let Some(reader) = self.reader_mut(reader) {
            reader.timestamps = on;
        }
    }
    /// A new file begins: the next effect names its database.
    pub fn restart(&mut self, reader: Targets) {
        if let Some(reader) = self.reader_mut(reader) {
            reader.selected = NONE;
        }
    }
    /// What follows, up to its [`Journal::end_unit`], belongs together (a transaction). Within a unit it is a part of that.
    pub fn begin_unit(&mut self) {
        self.unit.depth += 1;
    }
    /// Ends what belongs together; the end of the outermost publishes it.
    pub fn end_unit(&mut self) {
        debug_assert!(self.unit.depth > 0, "each end has its beginning");
        self.unit.depth = self.unit.depth.saturating_sub(1);
        if self.is_in_unit() || self.unit.commands.is_empty() {
            return;
        }
        let mut is_wrapped = false;
        let mut for_replicas = None;
        for reader in &mut self.readers {
            let before = reader.bytes.len();
            is_wrapped |= reader.publish(&self.unit);
            if reader.is == Targets::REPLICAS {
                for_replicas = Some(reader.bytes.len() - before);
            }
        }
        self.offset += match for_replicas {
            Some(bytes) => bytes as i64,
            // MULTI and EXEC, which are for all.
            None if !self.follows => i64::from(is_wrapped) * 2,
            None => 0,
        };
        self.published += 1;
        self.unit.clear();
    }
    /// Whether a unit is open.
    pub fn is_in_unit(&self) -> bool {
        self.unit.depth > 0
    }
    /// Takes one effect on the database `db`.
    pub fn append(&mut self, db: usize, unix_s: i64, targets: Targets, command: Args<'_>) {
        self.append_words(db, unix_s, targets, command.iter());
    }
    /// Appends a command that is given as words.
    pub fn append_words<'a>(
        &mut self,
        db: usize,
        unix_s: i64,
        targets: Targets,
        words: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) {
        if !self.readers.iter().any(|reader| targets.has(reader.is)) {
            return;
        }
        self.effects += 1;
        let is_counted = !self.follows && self.reader(Targets::REPLICAS).is_none();
        if is_counted && targets.has(Targets::REPLICAS) {
            self.offset += 1;
        }
        if self.is_in_unit() {
            let unit = &mut self.unit;
            if unit.commands.is_empty() {
                unit.unix_s = unix_s;
            }
            let start = unit.text.len();
            write_command(&mut unit.text, words);
            unit.commands.push(Queued {
                database: db,
                targets,
                text: start..unit.text.len(),
            });
            return;
        }
        // A unit of its own: the usual one, written where it is read.
        self.published += 1;
        for reader in self
            .readers
            .iter_mut()
            .filter(|reader| targets.has(reader.is))
        {
            let before = reader.bytes.len();
            reader.time(unix_s);
            reader.select(db);
            write_command(&mut reader.bytes, words.clone());
            if reader.is == Targets::REPLICAS {
                self.offset += (reader.bytes.len() - before) as i64;
            }
        }
    }
    /// Tells replicas something that is no effect and belongs to no database (PING, REPLCONF GETACK). What is open is told
    /// behind it.
    pub fn tell_replicas(&mut self, words: &[&[u8]]) {
        if let Some(reader) = self.reader_mut(Targets::REPLICAS) {
            let before = reader.bytes.len();
            write_command(&mut reader.bytes, words.iter().copied());
            let told = reader.bytes.len() - before;
            self.offset += told as i64;
        }
    }
    /// Grows whenever readers are given something: a command that has published something ends at another number than it
    /// began at.
    #[inline]
    pub fn published(&self) -> u64 {
        self.published
    }
    /// Bytes that wait for a reader, those of the open unit included: memory that is gone when they are taken.
    #[inline]
    pub fn pending(&self, reader: Targets) -> usize {
        let waiting = self.reader(reader).map_or(0, |reader| reader.bytes.len());
        waiting.saturating_add(self.unit.text.len())
    }
    /// The database of a reader's last command; none: its next one names its own.
    pub fn selected(&self, reader: Targets) -> Option<usize> {
        let selected = self.reader(reader)?.selected;
        (selected != NONE).then_some(selected)
    }
    /// Memory that a reader's bytes have, those that were taken too.
    pub fn room(&self, reader: Targets) -> usize {
        self.reader(reader).map_or(0, |it| it.bytes.capacity())
    }
    /// Bytes that a reader was given and has not taken.
    #[inline]
    pub fn waiting(&self, reader: Targets) -> usize {
        self.reader(reader).map_or(0, |reader| reader.bytes.len())
    }
    /// Bytes that a reader was given so far: where the effects of a command end that has just run, when it is no part of
    /// a unit or has ended it.
    #[inline]
    pub fn written_bytes(&self, reader: Targets) -> u64 {
        match self.reader(reader) {
            Some(reader) => reader.written(),
            None => self.written_before(reader),
        }
    }
    #[cold]
    fn written_before(&self, reader: Targets) -> u64 {
        let index = usize::from(reader.has(Targets::REPLICAS));
        self.counted.get(index).copied().unwrap_or_default()
    }
    /// Bytes that a reader has taken so far.
    pub fn taken_bytes(&self, reader: Targets) -> u64 {
        self.reader(reader)
            .map_or_else(|| self.written_bytes(reader), |reader| reader.taken)
    }
    /// Moves what waits for a reader behind the bytes of `into`.
    pub fn take(&mut self, reader: Targets, into: &mut Vec<u8>) {
        let Some(reader) = self.reader_mut(reader) else {
            return;
        };
        reader.taken = reader.written();
        if into.is_empty() {
            std::mem::swap(into, &mut reader.bytes);
        } else {
            into.append(&mut reader.bytes);
        }
    }
    /// Position in the stream of replicas (`master_repl_offset`): its bytes, where replicas are read for. While they are not
    /// it is counted as Redis counts it: a step for each command that they would get, if the append-only file gets it too,
    /// and two for MULTI and EXEC.
    pub fn offset(&self) -> i64 {
        self.offset
    }
    /// Whether the stream of a primary is followed: what it has had applied is counted, and no effect of that for itself.
    pub fn set_follows(&mut self, follows: bool) {
        self.follows = follows;
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
        journal.append(
            db,
            7,
            Targets::ALL,
            OwnedRequest::from_slices(&words).args(),
        );
    }

    /// The commands in the stream, one to a line.
    fn taken(journal: &mut Journal) -> String {
        let mut bytes = Vec::new();
        journal.take(Targets::AOF, &mut bytes);
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
        assert_eq!((journal.pending(Targets::AOF), journal.effects()), (0, 0));
    }

    #[test]
    fn databases_are_selected_where_they_change() {
        let mut journal = Journal::default();
        journal.attach(Targets::AOF);
        append(&mut journal, 0, "SETa");
        append(&mut journal, 0, "SETb");
        append(&mut journal, 3, "SETc");
        assert_eq!(taken(&mut journal), "SELECT0|SETa|SETb|SELECT3|SETc");
        append(&mut journal, 3, "SETd");
        journal.restart(Targets::AOF);
        append(&mut journal, 3, "SETe");
        assert_eq!(taken(&mut journal), "SETd|SELECT3|SETe");
    }

    #[test]
    fn a_unit_without_effects_leaves_no_trace() {
        let mut journal = Journal::default();
        journal.attach(Targets::AOF);
        journal.begin_unit();
        journal.end_unit();
        assert_eq!(journal.pending(Targets::AOF), 0);
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

    /// The end of the inner one was taken for the end of all, and what followed stood alone.
    #[test]
    fn a_unit_within_a_unit_is_a_part_of_it() {
        let mut journal = Journal::default();
        journal.attach(Targets::AOF);
        journal.begin_unit();
        append(&mut journal, 0, "SETa");
        journal.begin_unit();
        append(&mut journal, 0, "SETb");
        journal.end_unit();
        append(&mut journal, 0, "SETc");
        assert!(journal.is_in_unit());
        assert_eq!(taken(&mut journal), "");
        journal.end_unit();
        assert!(!journal.is_in_unit());
        assert_eq!(taken(&mut journal), "MULTI|SELECT0|SETa|SETb|SETc|EXEC");
    }

    /// Redis counts a step for each command that goes to replicas, if there were any, and two for each pair of MULTI and
    /// EXEC, whomever that is for.
    #[test]
    fn the_offset_counts_what_is_for_replicas() {
        let mut journal = Journal::default();
        let mut steps = |targets: &[Targets]| {
            let before = journal.offset();
            journal.begin_unit();
            for targets in targets {
                let request = OwnedRequest::from_slices(&["SET", "a"]);
                journal.append(0, 7, *targets, request.args());
            }
            journal.end_unit();
            if targets.is_empty() {
                journal.attach(Targets::AOF);
            }
            journal.offset() - before
        };
        assert_eq!(steps(&[Targets::ALL]), 0, "nobody reads");
        assert_eq!(steps(&[]), 0);
        assert_eq!(steps(&[Targets::ALL]), 1);
        assert_eq!(steps(&[Targets::AOF]), 0);
        assert_eq!(steps(&[Targets::REPLICAS]), 0, "they are none");
        assert_eq!(steps(&[Targets::AOF, Targets::AOF]), 2);
        assert_eq!(steps(&[Targets::AOF, Targets::REPLICAS]), 0);
        assert_eq!(steps(&[Targets::ALL, Targets::ALL, Targets::AOF]), 4);
    }

    #[test]
    fn a_unit_of_one_effect_needs_no_wrapping() {
        let mut journal = Journal::default();
        journal.attach(Targets::AOF);
        journal.begin_unit();
        append(&mut journal, 2, "SETa");
        journal.end_unit();
        append(&mut journal, 2, "SETb");
        assert_eq!(taken(&mut journal), "SELECT2|SETa|SETb");
        // The last reader goes in the middle of one, and comes back.
        append(&mut journal, 2, "SETg");
        journal.begin_unit();
        append(&mut journal, 2, "SETh");
        journal.detach(Targets::AOF);
        journal.attach(Targets::AOF);
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
        journal.attach(Targets::AOF);
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

    /// A transaction of a million commands kept the room for a million.
    #[test]
    fn a_large_unit_leaves_no_large_room_behind() {
        let mut journal = Journal::default();
        journal.attach(Targets::AOF);
        for (number, keeps) in [(10, true), (2 * KEPT_COMMANDS, false)] {
            journal.begin_unit();
            (0..number).for_each(|_| append(&mut journal, 0, "SETa"));
            journal.end_unit();
            assert_eq!(journal.unit.commands.capacity() > 0, keeps, "{number}");
        }
        journal.begin_unit();
        append(&mut journal, 0, &"x".repeat(2 * KEPT_BYTES));
        journal.end_unit();
        assert_eq!(journal.unit.text.capacity(), 0);
    }

    #[test]
    fn the_time_is_noted_once_a_second() {
        let mut journal = Journal::default();
        journal.attach(Targets::AOF);
        let request = OwnedRequest::from_slices(&["SETa"]);
        let times = |journal: &mut Journal, at_s: &[i64], is_unit: bool| -> String {
            if is_unit {
                journal.begin_unit();
            }
            for unix_s in at_s {
                journal.append(0, *unix_s, Targets::ALL, request.args());
            }
            if is_unit {
                journal.end_unit();
            }
            let mut bytes = Vec::new();
            journal.take(Targets::AOF, &mut bytes);
            let text = String::from_utf8(bytes).expect("plain text");
            let notes = text
                .split("\r\n")
                .filter(|line| line.starts_with(['#', 'S']));
            notes.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            times(&mut journal, &[6], false),
            "SELECT SETa",
            "switched off"
        );
        journal.set_timestamps(Targets::AOF, true);
        let noted = times(&mut journal, &[7, 7, 8, 8], false);
        assert_eq!(noted, "#TS:7 SETa SETa #TS:8 SETa SETa");
        assert_eq!(
            times(&mut journal, &[8, 7], false),
            "SETa SETa",
            "the clock went back"
        );
        assert_eq!(
            times(&mut journal, &[8, 9], true),
            "SETa SETa",
            "the unit began before"
        );
        assert_eq!(times(&mut journal, &[9, 10], true), "#TS:9 SETa SETa");
        assert_eq!(times(&mut journal, &[10], false), "#TS:10 SETa");
    }

    /// A replica with an append-only file counted each effect for itself, beside the bytes that it had had applied: its offset
    /// was ahead of all that its primary had written.
    #[test]
    fn who_follows_a_stream_counts_no_effects() {
        let mut journal = Journal::default();
        journal.attach(Targets::AOF);
        journal.set_follows(true);
        append(&mut journal, 0, "SETa");
        journal.begin_unit();
        append(&mut journal, 0, "SETb");
        append(&mut journal, 0, "SETc");
        journal.end_unit();
        assert_eq!(journal.offset(), 0);
        journal.set_follows(false);
        append(&mut journal, 0, "SETd");
        assert_eq!(journal.offset(), 1);
    }

    /// WAITAOF compares the offsets of clients with how far the file is synced: both count on when the file is switched
    /// off and on again.
    #[test]
    fn the_bytes_of_a_reader_count_on_when_it_comes_back() {
        let mut journal = Journal::default();
        let both = |journal: &Journal| {
            let readers = [Targets::AOF, Targets::REPLICAS];
            readers.map(|reader| journal.written_bytes(reader))
        };
        assert_eq!(both(&journal), [0, 0]);
        journal.attach(Targets::AOF);
        append(&mut journal, 0, "SETa");
        let [first, _] = both(&journal);
        assert!(first > 0);
        taken(&mut journal);
        append(&mut journal, 0, "SETb");
        let [second, _] = both(&journal);
        assert!(second > first);
        // With what it has not taken, which nobody will ever take.
        journal.detach(Targets::AOF);
        assert_eq!(both(&journal), [second, 0]);
        assert_eq!(journal.taken_bytes(Targets::AOF), second);
        append(&mut journal, 0, "SETc");
        journal.attach(Targets::REPLICAS);
        append(&mut journal, 0, "SETc");
        let [aof, replicas] = both(&journal);
        assert_eq!((aof, replicas), (second, first));
        journal.attach(Targets::AOF);
        assert_eq!(both(&journal), [second, first]);
        append(&mut journal, 0, "SETd");
        assert_eq!(both(&journal), [second + first, second]);
        assert_eq!(journal.taken_bytes(Targets::AOF), second);
        taken(&mut journal);
        assert_eq!(journal.taken_bytes(Targets::AOF), second + first);
    }

    /// Each reader has its own encoding of what is for it: the file has the time, replicas have not, and
    /// `redis.set_repl` tells them apart.
    #[test]
    fn readers_get_what_is_for_them_in_their_own_encoding() {
        let mut journal = Journal::default();
        journal.attach(Targets::AOF);
        journal.set_timestamps(Targets::AOF, true);
        journal.begin_unit();
        append(&mut journal, 0, "SETa");
        // It joins in the middle of a unit: what stands before that is in the snapshot that it begins with.
        journal.attach(Targets::REPLICAS);
        let to = |journal: &mut Journal, targets: Targets, line: &str| {
            journal.append(1, 7, targets, OwnedRequest::from_slices(&[line]).args());
        };
        to(&mut journal, Targets::AOF, "SETb");
        to(&mut journal, Targets::REPLICAS, "SETc");
        to(&mut journal, Targets::NONE, "SETd");
        journal.end_unit();
        append(&mut journal, 1, "SETe");
        let text = |journal: &mut Journal, reader: Targets| {
            let mut bytes = Vec::new();
            journal.take(reader, &mut bytes);
            String::from_utf8(bytes).expect("plain text")
        };
        let aof = text(&mut journal, Targets::AOF);
        let replicas = text(&mut journal, Targets::REPLICAS);
        let names = |text: &str| -> Vec<String> {
            let words = text
                .split("\r\n")
                .filter(|word| !word.starts_with(['*', '$']));
            words
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(
            names(&aof),
            [
                "#TS:7", "MULTI", "SELECT", "0", "SETa", "SELECT", "1", "SETb", "EXEC", "SETe"
            ]
        );
        assert_eq!(names(&replicas), ["SELECT", "1", "SETc", "SETe"]);
        assert_eq!(journal.written_bytes(Targets::AOF), aof.len() as u64);
        assert_eq!(
            journal.written_bytes(Targets::REPLICAS),
            replicas.len() as u64
        );
        journal.detach(Targets::AOF);
        assert!(journal.has_consumers());
        journal.detach(Targets::REPLICAS);
        assert!(!journal.has_consumers());
    }
}
