//! A simulated client: what it sends and takes, and what it must receive.

use crate::answers::{Compared, compare};
use crate::commands::{Sent, SentKind, Vocabulary, script};
use crate::model::{Answer, Caller};
use gyre::event_loop::{SimulatedPeer, SimulatorHandle};
use gyre::system::rng::Rng;
use std::collections::VecDeque;

/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaving {
    /// When all is answered.
    Afterwards,
    /// Ends its side right behind the last request.
    Finish,
    /// Closes after so many bytes.
    Close(usize),
    /// Resets after so many bytes.
    Reset(usize),
}

pub struct Client {
    pub peer: SimulatedPeer,
    pub caller: Caller,
    /// Sent or still to be sent, and not yet answered.
    pub script: VecDeque<Sent>,
    pub bytes: Vec<u8>,
    pub sent: usize,
    pub leaving: Leaving,
    pub left: bool,
    /// Bytes sent in one go at most.
    piece: usize,
    /// Chance in 100 of sending something in a turn.
    eager_to_send: u64,
    /// Bytes taken in one go at most, and the chance in 100 of taking some.
    gulp: usize,
    eager_to_take: u64,
    /// Takes nothing before this turn.
    deaf_until: u64,
    /// Its command waits for work that goes on without it, and is answered like this then.
    pub works: Option<Option<Answer>>,
    /// Answers, each in RESP3 or not, with the number of the event that it follows from.
    pub expected: VecDeque<(Answer, bool, u64)>,
    /// The number of the latest event of which it has read.
    pub has_read: u64,
    pub received: Vec<u8>,
    /// The turn of the last progress, and what it was judged by.
    pub progress: (u64, [usize; 4]),
    pub closed: bool,
}

impl Client {
    pub fn new(rng: &mut Rng, handle: &SimulatorHandle, may: Vocabulary) -> Client {
        let peer = handle.connect();
        let len = match rng.below(4) {
            0 => rng.index(3),
            1 => rng.index(150),
            _ => rng.index(30),
        };
        let script = script(rng, may, len, handle.unix_us() / 1000);
        let sending = Client::sending(peer, script);
        let bytes = &sending.bytes;
        let leaving = match rng.below(12) {
            0 | 1 => Leaving::Finish,
            2 => Leaving::Close(rng.index(bytes.len() + 1)),
            3 => Leaving::Reset(rng.index(bytes.len() + 1)),
            _ => Leaving::Afterwards,
        };
        let piece = [1, 7, 100, 5000, 100_000, usize::MAX][rng.index(6)];
        let slow = rng.below(5) == 0;
        handle.set_capacity(peer, [64, 1000, 20_000, 1 << 20][rng.index(4)]);
        Client {
            // One byte at a time is for short streams.
            piece: piece.max(bytes.len() / 200),
            leaving,
            eager_to_send: 5 + rng.below(96),
            gulp: if slow { 1 + rng.index(500) } else { usize::MAX },
            eager_to_take: if slow { 5 } else { 20 + rng.below(81) },
            deaf_until: if rng.below(8) == 0 { rng.below(300) } else { 0 },
            ..sending
        }
    }

    /// One that sends all at once and takes everything.
    pub fn sending(peer: SimulatedPeer, script: Vec<Sent>) -> Client {
        let mut bytes = Vec::new();
        script
            .iter()
            .for_each(|item| bytes.extend_from_slice(&item.bytes));
        Client {
            peer,
            caller: Caller::default(),
            bytes,
            script: script.into(),
            sent: 0,
            leaving: Leaving::Afterwards,
            left: false,
            piece: usize::MAX,
            eager_to_send: 100,
            gulp: usize::MAX,
            eager_to_take: 100,
            deaf_until: 0,
            works: None,
            expected: VecDeque::new(),
            has_read: 0,
            received: Vec::new(),
            progress: (0, [0; 4]),
            closed: false,
        }
    }

    /// Sends, takes, leaves, as chance will have it; in a `hurry` all of it.
    pub fn act(&mut self, rng: &mut Rng, handle: &SimulatorHandle, turn: u64, hurry: bool) {
        if self.left {
            return;
        }
        if self.sent < self.bytes.len() && (hurry || rng.below(100) < self.eager_to_send) {
            let most = self.piece.min(self.bytes.len() - self.sent);
            let n = if hurry { most } else { 1 + rng.index(most) };
            handle.send(self.peer, &self.bytes[self.sent..self.sent + n]);
            self.sent += n;
        }
        let everything = self.sent == self.bytes.len();
        match self.leaving {
            Leaving::Finish if everything => {
                // It goes on taking what is answered; whether it gets all is the server's choice.
                handle.finish(self.peer);
                self.leaving = Leaving::Close(usize::MAX);
            }
            Leaving::Close(after) if self.sent >= after => {
                handle.close(self.peer);
                self.left = true;
            }
            Leaving::Reset(after) if self.sent >= after => {
                handle.reset(self.peer);
                self.left = true;
            }
            _ => {}
        }
        if hurry {
            handle.set_capacity(self.peer, 1 << 20);
            self.received.extend(handle.take(self.peer, usize::MAX));
        } else if turn >= self.deaf_until && rng.below(100) < self.eager_to_take {
            self.received.extend(handle.take(self.peer, self.gulp));
        }
    }

    /// Has it expect an answer to an event, as its protocol is now.
    pub fn expect(&mut self, answer: Answer, event: u64) {
        let resp3 = self.caller.resp3;
        match answer {
            Answer::Several(answers) => {
                let answers = answers.into_iter().map(|answer| (answer, resp3, event));
                self.expected.extend(answers);
            }
            answer => self.expected.push_back((answer, resp3, event)),
        }
    }

    /// Checks what was received against what the model said.
    pub fn check(&mut self) {
        let mut at = 0;
        while at < self.received.len() {
            let Some((answer, resp3, event)) = self.expected.front() else {
                panic!(
                    "client {}: nothing was to be answered, but {:?} was",
                    self.caller.id,
                    lossy(&self.received[at..])
                );
            };
            match compare(answer, *resp3, &self.received[at..]) {
                Compared::Same(n) => {
                    at += n;
                    self.has_read = self.has_read.max(*event);
                    self.expected.pop_front();
                }
                Compared::Incomplete => break,
                Compared::Different => panic!(
                    "client {}: {answer:?} was to be answered, but {:?} was",
                    self.caller.id,
                    lossy(&self.received[at..])
                ),
            }
        }
        self.received.drain(..at);
    }

    /// Drops what is never answered in front of the next command.
    pub fn skip_empty(&mut self) {
        while matches!(self.script.front(), Some(item) if matches!(item.kind, SentKind::Empty)) {
            self.script.pop_front();
        }
    }

    /// The bytes behind the last command were not the protocol, and it was told so.
    pub fn protocol_error(&mut self, event: u64) {
        self.skip_empty();
        let item = self.script.pop_front().map(|item| item.kind);
        let Some(SentKind::ProtocolError(text)) = item else {
            panic!("{item:?} was taken for an error");
        };
        if !self.caller.off && !self.caller.skip {
            let error = Answer::Error(format!("ERR Protocol error: {text}"));
            self.expect(error, event);
        }
        self.script.clear();
        self.caller.quit = true;
    }

    /// Nothing is to come, unless others do something.
    pub fn is_done(&self) -> bool {
        let waits = self.caller.waiting.as_ref();
        let waits_for_ever = waits.is_some_and(|waiting| waiting.until_ms.is_none());
        let all_answered = self.expected.is_empty() && waits.is_none() && self.works.is_none();
        let only_empty = || {
            let mut rest = self.script.iter();
            rest.all(|item| matches!(item.kind, SentKind::Empty))
        };
        self.left || self.closed || waits_for_ever || (all_answered && only_empty())
    }
}

pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}
