//! The slow log: the last commands that took longer than `slowlog-log-slower-than`.

use crate::resp::Args;
use std::collections::VecDeque;

/// Arguments that are kept of one command; the last says how many more there were.
const MAX_ARGUMENTS: usize = 32;
/// Bytes that are kept of one argument.
const MAX_ARGUMENT_LEN: usize = 128;

/// One slow command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowEntry {
    /// Never repeats while the server runs.
    pub id: u64,
    /// When it ended, Unix seconds.
    pub unix_s: i64,
    /// How long it ran, µs.
    pub duration_us: u64,
    /// Its arguments, cut as Redis cuts them.
    pub arguments: Vec<Vec<u8>>,
    /// Who sent it.
    pub address: String,
    /// CLIENT SETNAME of who sent it.
    pub client_name: Vec<u8>,
}

/// Newest first.
#[derive(Debug, Default)]
pub struct SlowLog {
    entries: VecDeque<SlowEntry>,
    next_id: u64,
}

impl SlowLog {
    /// Adds a command and forgets the oldest ones beyond `max_len`; a log of no length takes none, and counts none.
    pub fn push(
        &mut self,
        args: Args<'_>,
        duration_us: u64,
        unix_s: i64,
        address: &str,
        name: &[u8],
        max_len: usize,
    ) {
        if max_len == 0 {
            return;
        }
        let entry = SlowEntry {
            id: self.next_id,
            unix_s,
            duration_us,
            arguments: cut(args),
            address: address.to_owned(),
            client_name: name.to_vec(),
        };
        self.next_id += 1;
        self.entries.push_front(entry);
        self.entries.truncate(max_len);
    }
    /// Newest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &SlowEntry> {
        self.entries.iter()
    }
    /// How many are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

fn cut(args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > MAX_ARGUMENTS {
        MAX_ARGUMENTS - 1
    } else {
        args.len()
    };
    let mut all: Vec<Vec<u8>> = args.iter().take(kept).map(cut_argument).collect();
    if args.len() > kept {
        all.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    all
}

fn cut_argument(argument: &[u8]) -> Vec<u8> {
    if argument.len() <= MAX_ARGUMENT_LEN {
        return argument.to_vec();
    }
    let mut kept = argument[..MAX_ARGUMENT_LEN].to_vec();
    kept.extend_from_slice(
        format!("... ({} more bytes)", argument.len() - MAX_ARGUMENT_LEN).as_bytes(),
    );
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedRequest;

    #[test]
    fn long_commands_are_cut_and_old_ones_forgotten() {
        let mut log = SlowLog::default();
        let many: Vec<Vec<u8>> = (0..40).map(|n| vec![b'x'; n * 10]).collect();
        log.push(OwnedRequest::from_slices(&many).args(), 5, 1, "a", b"", 2);
        let first = log.iter().next().expect("one entry").clone();
        assert_eq!(first.arguments.len(), 32);
        assert_eq!(first.arguments[31], b"... (9 more arguments)");
        assert!(first.arguments[20].ends_with(b"... (72 more bytes)"));
        for _ in 0..3 {
            log.push(
                OwnedRequest::from_slices(&[b"ping"]).args(),
                5,
                1,
                "a",
                b"",
                2,
            );
        }
        let ids = |log: &SlowLog| log.iter().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!(ids(&log), [3, 2]);
        // As if it were off: the numbers go on where they were.
        let ping = OwnedRequest::from_slices(&[b"ping"]);
        log.push(ping.args(), 5, 1, "a", b"", 0);
        assert_eq!(ids(&log), [3, 2]);
        log.push(ping.args(), 5, 1, "a", b"", 1);
        assert_eq!(ids(&log), [4]);
    }
}
