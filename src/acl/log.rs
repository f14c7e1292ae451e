//! The record of what was refused, for `ACL LOG`.
//!
//! In: refusals, with the time. Out: entries, latest first, in which refusals of one kind are counted together that
//! follow each other within a minute.

use std::collections::VecDeque;

/// Refusals that are no further apart, and alike, share an entry.
const GROUPED_MS: u64 = 60_000;
/// Latest entries among which a like one is looked for.
const LOOKED_AT: usize = 10;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A command.
    Command,
    /// A key.
    Key,
    /// A channel.
    Channel,
    /// A name or a password.
    Auth,
    /// The user that a client's certificate names.
    TlsCert,
    /// A database.
    Database,
}

impl Reason {
    /// The reason as `ACL LOG` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Auth => "auth",
            Reason::TlsCert => "tls-cert",
            Reason::Database => "database",
        }
    }
}

/// Where the command came from that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A client.
    Toplevel,
    /// A transaction.
    Multi,
    /// A script or a function.
    Lua,
    /// A module.
    Module,
}

impl Context {
    /// The context as `ACL LOG` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Context::Toplevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
            Context::Module => "module",
        }
    }
}

/// One refusal, as it is reported to the log.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// What was refused.
    pub reason: Reason,
    /// Where the command came from.
    pub context: Context,
    /// The command, key or channel that was refused.
    pub object: &'a [u8],
    /// Name of the user.
    pub username: &'a [u8],
    /// The client, as `CLIENT LIST` shows it.
    pub client_info: &'a [u8],
}

/// An entry of the log: refusals of one kind that followed each other closely.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Number of refusals.
    pub count: u64,
    /// What was refused.
    pub reason: Reason,
    /// Where the commands came from.
    pub context: Context,
    /// The command, key or channel that was refused.
    pub object: Vec<u8>,
    /// Name of the user.
    pub username: Vec<u8>,
    /// The client of the last refusal.
    pub client_info: Vec<u8>,
    /// Number of the entry since the start of the server.
    pub id: u64,
    /// Unix time of the first refusal.
    pub created_ms: u64,
    /// Unix time of the last refusal.
    pub updated_ms: u64,
}

impl Entry {
    fn new(refusal: &Refusal<'_>, now_ms: u64, id: u64) -> Entry {
        Entry {
            count: 0,
            reason: refusal.reason,
            context: refusal.context,
            object: refusal.object.to_vec(),
            username: refusal.username.to_vec(),
            client_info: Vec::new(),
            id,
            created_ms: now_ms,
            updated_ms: now_ms,
        }
    }

    /// Whether a refusal now is counted here.
    fn is_like(&self, refusal: &Refusal<'_>, now_ms: u64) -> bool {
        self.reason == refusal.reason
            && self.context == refusal.context
            && self.updated_ms.abs_diff(now_ms) <= GROUPED_MS
            && self.object == refusal.object
            && self.username == refusal.username
    }
}

/// What was refused, latest first.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl Log {
    /// Records a refusal, in the entry of a like one if that is not long ago. Keeps `max_len` entries.
    pub fn push(&mut self, refusal: &Refusal<'_>, now_ms: u64, max_len: usize) {
        if max_len == 0 {
            return self.clear();
        }
        let like = |entry: &Entry| entry.is_like(refusal, now_ms);
        let mut entry = match self.entries.iter().take(LOOKED_AT).position(like) {
            Some(at) => self.entries.remove(at),
            None => None,
        }
        .unwrap_or_else(|| {
            let entry = Entry::new(refusal, now_ms, self.next_id);
            self.next_id = self.next_id.saturating_add(1);
            entry
        });
        entry.count = entry.count.saturating_add(1);
        entry.updated_ms = now_ms;
        entry.client_info = refusal.client_info.to_vec();
        self.entries.push_front(entry);
        self.trim(max_len);
    }
    /// The entries, latest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }
    /// Removes all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
    /// Removes the oldest entries beyond so many.
    pub fn trim(&mut self, max_len: usize) {
        self.entries.truncate(max_len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<'a>(object: &'a [u8], client_info: &'a [u8]) -> Refusal<'a> {
        Refusal {
            reason: Reason::Key,
            context: Context::Toplevel,
            object,
            username: b"alice",
            client_info,
        }
    }

    fn shown(log: &Log) -> Vec<(Vec<u8>, u64, u64)> {
        log.iter()
            .map(|it| (it.object.clone(), it.id, it.count))
            .collect()
    }

    #[test]
    fn like_refusals_within_a_minute_share_an_entry() {
        let mut log = Log::default();
        log.push(&refusal(b"a", b"1"), 1000, 128);
        log.push(&refusal(b"b", b"2"), 2000, 128);
        log.push(&refusal(b"a", b"3"), 61_000, 128);
        assert_eq!(shown(&log), [(b"a".to_vec(), 0, 2), (b"b".to_vec(), 1, 1)]);
        let first = log.iter().next().unwrap();
        assert_eq!((first.created_ms, first.updated_ms), (1000, 61_000));
        assert_eq!(first.client_info, b"3");
        // Time is counted from the last refusal, and may go back.
        log.push(&refusal(b"a", b"3"), 121_001, 128);
        log.push(&refusal(b"b", b"3"), 0, 128);
        assert_eq!(
            shown(&log),
            [
                (b"b".to_vec(), 1, 2),
                (b"a".to_vec(), 2, 1),
                (b"a".to_vec(), 0, 2)
            ]
        );
        for (reason, context, username) in [
            (Reason::Channel, Context::Toplevel, &b"alice"[..]),
            (Reason::Key, Context::Multi, b"alice"),
            (Reason::Key, Context::Toplevel, b"bob"),
        ] {
            let other = Refusal {
                reason,
                context,
                username,
                ..refusal(b"b", b"")
            };
            let count = log.iter().len();
            log.push(&other, 0, 128);
            assert_eq!(log.iter().len(), count + 1);
        }
    }

    #[test]
    fn only_the_latest_ten_are_looked_at() {
        let mut log = Log::default();
        for number in 0..11u8 {
            log.push(&refusal(&[number], b""), 0, 128);
        }
        log.push(&refusal(&[1], b""), 0, 128);
        assert_eq!(log.iter().len(), 11);
        log.push(&refusal(&[0], b""), 0, 128);
        assert_eq!(log.iter().len(), 12);
    }

    #[test]
    fn the_log_keeps_its_length() {
        let mut log = Log::default();
        for number in 0..5u8 {
            log.push(&refusal(&[number], b""), 0, 3);
        }
        assert_eq!(
            shown(&log),
            [(vec![4], 4, 1), (vec![3], 3, 1), (vec![2], 2, 1)]
        );
        log.trim(1);
        assert_eq!(shown(&log), [(vec![4], 4, 1)]);
        log.push(&refusal(b"x", b""), 0, 0);
        assert_eq!(log.iter().len(), 0);
        log.push(&refusal(b"x", b""), 0, 1);
        assert_eq!(shown(&log), [(b"x".to_vec(), 5, 1)]);
        log.clear();
        assert_eq!(log.iter().len(), 0);
    }
}
