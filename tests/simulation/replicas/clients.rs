//! Those who talk to the servers: clients that write what comes to their mind, and those who ask where their writes are.

use crate::commands::{SentKind, Vocabulary, multibulk, script, words};
use gyre::event_loop::{SimulatedPeer, SimulatorHandle};
use gyre::resp::reader::{Value, read_value};
use gyre::system::rng::Rng;
use std::collections::BTreeSet;

/// A client that writes, and cares for no answer.
pub struct Writer {
    peer: SimulatedPeer,
    bytes: Vec<u8>,
    sent: usize,
    piece: usize,
    /// What it sends when all is sent, in 1000 of its moments: else it rests.
    eagerness: u64,
}

/// Commands that empty databases, or exchange them.
const WILD: [&[u8]; 3] = [b"flushall", b"flushdb", b"swapdb"];

fn pipeline(rng: &mut Rng, may: Vocabulary, is_wild: bool, now_ms: i64) -> Vec<u8> {
    let len = [3, 10, 40][rng.index(3)];
    let len = 1 + rng.index(len);
    let all = script(rng, may, len, now_ms);
    let is_kept = |kind: &SentKind| match kind {
        SentKind::Command(args) => {
            let name = args[0].to_ascii_lowercase();
            is_wild || !WILD.contains(&&name[..])
        }
        SentKind::Empty => true,
        SentKind::ProtocolError(_) => false,
    };
    let kept = all.into_iter().filter(|it| is_kept(&it.kind));
    kept.flat_map(|it| it.bytes).collect()
}

impl Writer {
    pub fn new(rng: &mut Rng, handle: &SimulatorHandle) -> Writer {
        Writer {
            peer: handle.connect(),
            bytes: Vec::new(),
            sent: 0,
            piece: [7, 100, 5000, usize::MAX][rng.index(4)],
            eagerness: [20, 100, 400][rng.index(3)],
        }
    }

    /// Sends, takes, goes, as chance will have it; whether it goes on.
    pub fn act(
        &mut self,
        rng: &mut Rng,
        handle: &SimulatorHandle,
        may: Vocabulary,
        is_wild: bool,
    ) -> bool {
        handle.take(self.peer, usize::MAX);
        if handle.is_closed(self.peer) {
            return false;
        }
        if rng.below(300) == 0 {
            self.leave(handle);
            return false;
        }
        if self.sent == self.bytes.len() {
            if rng.below(1000) >= self.eagerness {
                return true;
            }
            self.bytes = pipeline(rng, may, is_wild, handle.unix_us() / 1000);
            self.sent = 0;
            if self.bytes.is_empty() {
                return true;
            }
        }
        // One byte at a time is for short streams.
        let most = self.piece.max(self.bytes.len() / 20);
        let n = 1 + rng.index(most.min(self.bytes.len() - self.sent));
        handle.send(self.peer, &self.bytes[self.sent..self.sent + n]);
        self.sent += n;
        true
    }

    pub fn leave(&self, handle: &SimulatorHandle) {
        handle.close(self.peer);
    }
}

/// What is asked for behind a write.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// WAIT.
    Replicas,
    /// WAITAOF.
    Files,
}

/// What somebody was told of a write.
pub enum Told {
    /// Nothing yet.
    Nothing,
    /// It was refused, or nobody knows.
    NoMore,
    /// So many replicas have it.
    Replicas(i64),
    /// It is in the server's own file, and in those of so many replicas.
    Files(bool, i64),
}

/// A client that writes a key which nobody writes again, and asks where it is.
pub struct Asker {
    peer: SimulatedPeer,
    asked: Asked,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    received: Vec<u8>,
    is_written: bool,
    /// Offset at the end of the turn in which it was written.
    pub offset: Option<i64>,
    /// Servers on which the key was seen.
    pub seen_on: BTreeSet<usize>,
}

impl Asker {
    pub fn new(rng: &mut Rng, handle: &SimulatorHandle, number: u64) -> Asker {
        let peer = handle.connect();
        let key = format!("written-once:{number}").into_bytes();
        let value = format!("{:x}", rng.next_u64()).into_bytes();
        let (asked, line) = match rng.below(2) {
            0 => {
                let (replicas, ms) = (rng.below(3), 1 + rng.below(1500));
                (Asked::Replicas, format!("WAIT {replicas} {ms}"))
            }
            _ => {
                let (local, replicas, ms) = (rng.below(2), rng.below(3), 1 + rng.below(1500));
                (Asked::Files, format!("WAITAOF {local} {replicas} {ms}"))
            }
        };
        let write = match rng.below(3) {
            // In a transaction it is there with all else that is in it.
            0 => {
                let value = String::from_utf8_lossy(&value).into_owned();
                let text = "redis.call('SET',KEYS[1],ARGV[1]) redis.call('INCR','n') return redis.status_reply('OK')";
                let mut args = words("EVAL text 1");
                args[1] = text.into();
                args.extend([key.clone(), value.into_bytes()]);
                multibulk(&args)
            }
            _ => multibulk(&[b"SET".to_vec(), key.clone(), value.clone()]),
        };
        let second = multibulk(&words(&line));
        handle.send(peer, &write);
        handle.send(peer, &second);
        Asker {
            peer,
            asked,
            key,
            value,
            received: Vec::new(),
            is_written: false,
            offset: None,
            seen_on: BTreeSet::new(),
        }
    }

    /// What it has been told by the end of a turn of its server, at this offset.
    pub fn hear(&mut self, handle: &SimulatorHandle, offset: i64) -> Told {
        self.received.extend(handle.take(self.peer, usize::MAX));
        if !self.is_written {
            let Ok((value, used)) = read_value(&self.received) else {
                return self.nothing(handle);
            };
            if !matches!(&value, Value::Simple(text) if text == "OK") {
                return Told::NoMore;
            }
            self.received.drain(..used);
            self.is_written = true;
            self.offset = Some(offset);
        }
        let Ok((value, _)) = read_value(&self.received) else {
            return self.nothing(handle);
        };
        let integers: Vec<i64> = match (&value, value.items()) {
            (Value::Integer(n), _) => vec![*n],
            (_, Some(items)) => items.iter().filter_map(integer).collect(),
            _ => Vec::new(),
        };
        match (self.asked, &integers[..]) {
            (Asked::Replicas, [replicas]) => Told::Replicas(*replicas),
            (Asked::Files, [local, replicas]) => Told::Files(*local == 1, *replicas),
            _ => Told::NoMore,
        }
    }

    fn nothing(&self, handle: &SimulatorHandle) -> Told {
        match handle.is_closed(self.peer) {
            true => Told::NoMore,
            false => Told::Nothing,
        }
    }

    pub fn leave(&self, handle: &SimulatorHandle) {
        handle.close(self.peer);
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(n) => Some(*n),
        _ => None,
    }
}
