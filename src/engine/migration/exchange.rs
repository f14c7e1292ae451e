//! What is said with the other server while keys go there: requests out, answers in.
//!
//! In: what is to be asked, and the bytes that came. Out: the bytes to write, and answers, each with what it is about. It
//! knows no socket and no key space. An answer that is no plain line ends it: whoever speaks so is no server that could
//! have taken a key. Mirrors the requests of `migrateCommand` of Redis's cluster.c.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::VecDeque;
use std::io::{IoSlice, Write};

/// The longest answer, bytes. Redis reads 1 KiB of each.
const LONGEST_LINE: usize = 16 * 1024;
/// Requests are put together up to this size, bytes; a larger payload is a piece of its own, so that it is not copied.
const PIECE: usize = 16 * 1024;
/// Pieces that are written by one call.
const SLICES: usize = 16;

/// What an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// AUTH.
    Auth,
    /// SELECT.
    Select,
    /// RESTORE of the key of this number.
    Key(usize),
}

/// An answer: what it is about, and the error (without its sign) if it is one.
pub(super) type Answer = (Subject, Result<(), Vec<u8>>);

/// The other side has sent what is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbled;

/// One conversation, from the first request of a migration to its last answer.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that are written.
    written: usize,
    /// Bytes that are not written.
    unwritten: usize,
    input: Vec<u8>,
    awaited: VecDeque<Subject>,
    /// The keys go to a node of a cluster, which takes them though their slot is not its own yet.
    asks: bool,
    /// Whether anything was ever heard.
    pub(super) has_heard: bool,
}

impl Exchange {
    /// A conversation; `in_cluster`: of two nodes of one.
    pub(super) fn new(in_cluster: bool) -> Exchange {
        Exchange {
            asks: in_cluster,
            ..Exchange::default()
        }
    }
    /// Asks to be this user, or (none) the default one.
    pub(super) fn auth(&mut self, user: Option<&[u8]>, password: &[u8]) {
        match user {
            Some(user) => self.request(&[b"AUTH", user, password]),
            None => self.request(&[b"AUTH", password]),
        }
        self.awaited.push_back(Subject::Auth);
    }
    /// Asks for a database.
    pub(super) fn select(&mut self, db: i64) {
        self.request(&[b"SELECT", db.to_string().as_bytes()]);
        self.awaited.push_back(Subject::Select);
    }
    /// Sends a key with its time to live, ms (0: none).
    pub(super) fn restore(
        &mut self,
        number: usize,
        key: &[u8],
        ttl_ms: i64,
        payload: Vec<u8>,
        replaces: bool,
    ) {
        self.begin_request(if replaces { 5 } else { 4 });
        self.word(if self.asks {
            b"RESTORE-ASKING"
        } else {
            b"RESTORE"
        });
        self.word(key);
        self.word(ttl_ms.to_string().as_bytes());
        self.owned_word(payload);
        if replaces {
            self.word(b"REPLACE");
        }
        self.awaited.push_back(Subject::Key(number));
    }

    fn request(&mut self, words: &[&[u8]]) {
        self.begin_request(words.len());
        for word in words {
            self.word(word);
        }
    }
    fn begin_request(&mut self, words: usize) {
        self.put(format!("*{words}\r\n").as_bytes());
    }
    fn word(&mut self, word: &[u8]) {
        self.put(format!("${}\r\n", word.len()).as_bytes());
        self.put(word);
        self.put(b"\r\n");
    }
    fn owned_word(&mut self, word: Vec<u8>) {
        if word.len() <= PIECE {
            return self.word(&word);
        }
        self.put(format!("${}\r\n", word.len()).as_bytes());
        self.unwritten = self.unwritten.saturating_add(word.len());
        self.pieces.push_back(word);
        // What follows begins a piece of its own.
        self.pieces.push_back(Vec::new());
        self.put(b"\r\n");
    }
    fn put(&mut self, bytes: &[u8]) {
        self.unwritten = self.unwritten.saturating_add(bytes.len());
        match self.pieces.back_mut() {
            Some(last) if last.len() < PIECE => last.extend_from_slice(bytes),
            _ => self.pieces.push_back(bytes.to_vec()),
        }
    }

    /// Bytes that are to be written.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten
    }
    /// Gives what is to be written next to `write`, which says how much of it was taken.
    pub(super) fn write<E>(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let mut slices = Vec::with_capacity(SLICES);
        for piece in self.pieces.iter().take(SLICES) {
            let from = if slices.is_empty() { self.written } else { 0 };
            slices.push(IoSlice::new(piece.get(from..).unwrap_or_default()));
        }
        let taken = write(&slices)?;
        self.unwritten = self.unwritten.saturating_sub(taken);
        self.written = self.written.saturating_add(taken);
        while let Some(piece) = self.pieces.front()
            && self.written >= piece.len()
        {
            self.written = self.written.saturating_sub(piece.len());
            self.pieces.pop_front();
        }
        Ok(taken)
    }

    /// Takes bytes that came.
    pub(super) fn heard(&mut self, bytes: &[u8]) {
        self.has_heard |= !bytes.is_empty();
        // Writing to a vector cannot fail.
        let _ = self.input.write_all(bytes);
    }
    /// The next answer that is whole.
    pub(super) fn next_answer(&mut self) -> Result<Option<Answer>, Garbled> {
        let Some(end) = memchr::memchr(b'\n', &self.input) else {
            return match self.input.len() > LONGEST_LINE {
                true => Err(Garbled),
                false => Ok(None),
            };
        };
        let line = self.input.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let answer = match line.split_first() {
            Some((b'-', text)) => Err(text.to_vec()),
            Some((b'+', b"OK")) => Ok(()),
            _ => return Err(Garbled),
        };
        self.input.drain(..=end);
        let subject = self.awaited.pop_front().ok_or(Garbled)?;
        Ok(Some((subject, answer)))
    }
    /// Whether all is written and answered.
    pub(super) fn is_over(&self) -> bool {
        self.unwritten == 0 && self.awaited.is_empty() && self.input.is_empty()
    }
    /// Whether it is still about who asks and where: AUTH, SELECT.
    pub(super) fn is_greeting(&self) -> bool {
        let mut awaited = self.awaited.iter();
        awaited.any(|subject| !matches!(subject, Subject::Key(_)))
    }
    /// The keys that are sent and not answered for.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = usize> {
        self.awaited.iter().filter_map(|subject| match subject {
            Subject::Key(number) => Some(*number),
            Subject::Auth | Subject::Select => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is to be written, taken `most` bytes at a time.
    fn written(exchange: &mut Exchange, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while exchange.unwritten() > 0 {
            let before = exchange.unwritten();
            let taken = exchange.write(|slices| {
                let all = slices.iter().flat_map(|slice| slice.iter().copied());
                let some: Vec<u8> = all.take(most).collect();
                out.extend_from_slice(&some);
                Ok::<usize, ()>(some.len())
            });
            assert_eq!(taken, Ok(before.min(most)));
        }
        assert!(exchange.pieces.is_empty() && exchange.written == 0);
        out
    }

    #[test]
    fn requests_are_whole_however_they_are_cut() {
        let large = vec![b'x'; PIECE * 3];
        for most in [1, 7, 5000, usize::MAX] {
            let mut exchange = Exchange::default();
            exchange.auth(None, b"secret");
            exchange.auth(Some(b"me"), b"secret");
            exchange.select(9);
            exchange.restore(0, b"a key", 0, b"small".to_vec(), false);
            exchange.restore(1, b"k", 12, large.clone(), true);
            let mut expected = b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n\
                *3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$6\r\nsecret\r\n\
                *2\r\n$6\r\nSELECT\r\n$1\r\n9\r\n\
                *4\r\n$7\r\nRESTORE\r\n$5\r\na key\r\n$1\r\n0\r\n$5\r\nsmall\r\n\
                *5\r\n$7\r\nRESTORE\r\n$1\r\nk\r\n$2\r\n12\r\n"
                .to_vec();
            expected.extend_from_slice(format!("${}\r\n", large.len()).as_bytes());
            expected.extend_from_slice(&large);
            expected.extend_from_slice(b"\r\n$7\r\nREPLACE\r\n");
            assert_eq!(exchange.unwritten(), expected.len());
            // One byte at a time would take long for the large one.
            assert_eq!(written(&mut exchange, most), expected);
        }
    }

    #[test]
    fn answers_are_those_of_the_requests_in_order() {
        let mut exchange = Exchange::default();
        exchange.auth(None, b"secret");
        exchange.select(9);
        exchange.restore(0, b"a", 0, b"v".to_vec(), false);
        exchange.restore(1, b"b", 0, b"v".to_vec(), false);
        written(&mut exchange, usize::MAX);
        assert!(exchange.is_greeting() && !exchange.has_heard);
        let busy = b"BUSYKEY Target key name already exists.";
        let mut answers = Vec::new();
        for byte in b"+OK\r\n+OK\r\n-BUSYKEY Target key name already exists.\r\n+OK\n" {
            assert!(!exchange.is_over());
            exchange.heard(&[*byte]);
            while let Some(answer) = exchange.next_answer().expect("lines") {
                answers.push(answer);
            }
        }
        assert!(exchange.is_over() && exchange.has_heard && !exchange.is_greeting());
        assert_eq!(
            answers,
            [
                (Subject::Auth, Ok(())),
                (Subject::Select, Ok(())),
                (Subject::Key(0), Err(busy.to_vec())),
                (Subject::Key(1), Ok(())),
            ]
        );
    }

    /// Redis takes any line for an acknowledgement that is no error, and removes the key.
    #[test]
    fn what_is_no_answer_to_what_was_asked_is_none() {
        let long = vec![b'+'; LONGEST_LINE + 1];
        let garbled: [&[u8]; 6] = [
            b"HTTP/1.1 400 Bad Request\r\n",
            b"+QUEUED\r\n",
            b"$2\r\nOK\r\n",
            b"\r\n",
            b":1\r\n",
            &long,
        ];
        for bytes in garbled {
            let mut exchange = Exchange::default();
            exchange.restore(0, b"a", 0, b"v".to_vec(), false);
            exchange.heard(bytes);
            assert_eq!(exchange.next_answer(), Err(Garbled));
        }
        // Nor is one to what was not asked.
        let mut exchange = Exchange::default();
        exchange.heard(b"+OK\r\n");
        assert_eq!(exchange.next_answer(), Err(Garbled));
    }
}
