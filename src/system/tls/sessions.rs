//! Sessions that clients may resume, with a limit on how many there are and for how long.
//!
//! In: what rustls wants remembered of a handshake, under a number that the client will bring back. Out: the same, once or
//! never. What is here are secrets of connections, so what is too old goes when something new comes.
//!
//! Mirrors the session cache of OpenSSL's `SSL_CTX`.

use rustls::server::StoresServerSessions;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The sessions of one context.
pub(super) struct Sessions {
    /// 0: no limit.
    most: usize,
    timeout: Duration,
    // rustls asks for something that threads may share. There is one thread, and the lock is always free.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_id: HashMap<Vec<u8>, (Instant, Vec<u8>)>,
    /// In the order of their coming. One that was taken or replaced is here still.
    by_age: VecDeque<(Instant, Vec<u8>)>,
}

impl Sessions {
    pub(super) fn new(most: usize, timeout: Duration) -> Sessions {
        Sessions {
            most,
            timeout,
            kept: Mutex::default(),
        }
    }

    fn put_at(&self, id: Vec<u8>, value: Vec<u8>, now: Instant) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { by_id, by_age } = &mut *kept;
        while let Some((since, oldest)) = by_age.front() {
            let is_full = self.most != 0 && by_age.len() >= self.most;
            if !is_full && now.saturating_duration_since(*since) < self.timeout {
                break;
            }
            // Unless it was put again since.
            if by_id.get(oldest).is_some_and(|(put, _)| put == since) {
                by_id.remove(oldest);
            }
            by_age.pop_front();
        }
        by_age.push_back((now, id.clone()));
        by_id.insert(id, (now, value));
    }

    fn is_fresh(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) < self.timeout
    }

    fn get_at(&self, id: &[u8], now: Instant) -> Option<Vec<u8>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, value) = kept.by_id.get(id)?;
        self.is_fresh(*since, now).then(|| value.clone())
    }

    fn take_at(&self, id: &[u8], now: Instant) -> Option<Vec<u8>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, value) = kept.by_id.remove(id)?;
        self.is_fresh(since, now).then_some(value)
    }
}

// Secrets stay out of whatever prints a configuration.
impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, id: Vec<u8>, value: Vec<u8>) -> bool {
        self.put_at(id, value, Instant::now());
        true
    }
    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.get_at(id, Instant::now())
    }
    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.take_at(id, Instant::now())
    }
    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_with_their_time_and_the_oldest_goes_where_there_are_too_many() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let sessions = Sessions::new(2, Duration::from_secs(10));
        for (at, id) in [(0, b"a"), (1, b"b"), (2, b"c")] {
            sessions.put_at(id.to_vec(), id.to_vec(), after(at));
        }
        assert_eq!(sessions.get_at(b"a", after(2)), None);
        assert_eq!(sessions.get_at(b"b", after(10)), Some(b"b".to_vec()));
        assert_eq!(sessions.get_at(b"b", after(11)), None);
        assert_eq!(sessions.take_at(b"c", after(11)), Some(b"c".to_vec()));
        assert_eq!(sessions.take_at(b"c", after(11)), None);
        sessions.put_at(b"d".to_vec(), Vec::new(), after(30));
        let kept = sessions.kept.lock().expect("nobody has it");
        assert_eq!((kept.by_id.len(), kept.by_age.len()), (1, 1));
    }

    /// One that is put again is as old as its second coming.
    #[test]
    fn a_session_that_is_put_again_is_new() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let sessions = Sessions::new(0, Duration::from_secs(10));
        sessions.put_at(b"a".to_vec(), b"1".to_vec(), after(0));
        sessions.put_at(b"a".to_vec(), b"2".to_vec(), after(5));
        sessions.put_at(b"b".to_vec(), b"1".to_vec(), after(12));
        assert_eq!(sessions.get_at(b"a", after(13)), Some(b"2".to_vec()));
    }
}
