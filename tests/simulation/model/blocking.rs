//! Commands that wait for a key: who waits, who would be served, and what becomes of it.

use super::{Answer, Args, Caller, Model, Outcome};

/// A command that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// As it is run again.
    pub args: Vec<Vec<u8>>,
    pub db: usize,
    /// Name of the type that it waits for.
    kind: &'static str,
    pub keys: Vec<Vec<u8>>,
    /// Unix ms.
    pub until_ms: Option<i64>,
    /// It is served also when a key goes, with an error.
    on_removal: bool,
    /// The order in which commands began to wait.
    pub ticket: u64,
    /// A save holds it, and those behind it.
    pub is_held: bool,
}

impl Model {
    /// Has the caller wait for one of these keys, `timeout` seconds at most; where it may not, it is answered `nothing`.
    pub(super) fn wait(
        &self,
        kind: &'static str,
        keys: Args<'_>,
        timeout: &[u8],
        nothing: Answer,
    ) -> Outcome {
        let seconds = super::double(timeout)?;
        if !self.may_wait {
            return Ok(nothing);
        }
        let until_ms = (seconds > 0.0).then(|| self.now_ms + (seconds * 1000.0).ceil() as i64);
        Ok(Answer::Waits(Box::new(Waiting {
            args: Vec::new(),
            db: self.db,
            kind,
            keys: keys.to_vec(),
            until_ms,
            on_removal: false,
            ticket: 0,
            is_held: false,
        })))
    }

    /// The same for entries of streams, `timeout_ms` at most.
    pub(super) fn wait_for_entries(
        &self,
        keys: Args<'_>,
        timeout_ms: i64,
        args: Vec<Vec<u8>>,
        on_removal: bool,
    ) -> Outcome {
        if !self.may_wait {
            return Ok(Answer::NullArray);
        }
        Ok(Answer::Waits(Box::new(Waiting {
            args,
            db: self.db,
            kind: "stream",
            keys: keys.to_vec(),
            until_ms: (timeout_ms > 0).then(|| self.now_ms + timeout_ms),
            on_removal,
            ticket: 0,
            is_held: false,
        })))
    }

    /// Whether a command that waits would be answered if it were run again.
    pub fn is_servable(&self, waiting: &Waiting) -> bool {
        if waiting.kind == "stream" {
            return self.has_entries(waiting.db, &waiting.args);
        }
        waiting.keys.iter().any(|key| self.is_ready(waiting, key))
    }

    /// Whether a key has what a command waits for.
    fn is_ready(&self, waiting: &Waiting, key: &[u8]) -> bool {
        let entry = self.get(waiting.db, key);
        entry.is_some_and(|entry| entry.value.kind() == waiting.kind)
    }

    /// Of two that wait, whether the first must be served before the second, which came later, is: for each key that the
    /// second may have been served from, the first is in front of it.
    pub fn comes_first(&self, first: &Waiting, second: &Waiting) -> bool {
        let shared = |key: &Vec<u8>| first.db == second.db && first.keys.contains(key);
        let mut ready = second
            .keys
            .iter()
            .filter(|key| self.is_ready(second, key))
            .peekable();
        ready.peek().is_some()
            && ready.all(|key| shared(key) && self.is_ready(first, key))
            && self.is_servable(first)
    }

    /// The server has run a waiting command again and answered it; what must have been answered.
    pub fn woken(&mut self, caller: &mut Caller, now_ms: i64) -> Option<Answer> {
        let waiting = caller.waiting.take().expect("a client that waits");
        self.now_ms = now_ms;
        self.caller = std::mem::take(caller);
        (self.db, self.resp3) = (waiting.db, self.caller.resp3);
        let name = String::from_utf8_lossy(&waiting.args[0]).to_lowercase();
        let answer = self
            .call(&name, &waiting.args)
            .unwrap_or_else(Answer::Error);
        self.propagated_as.clear();
        *caller = std::mem::take(&mut self.caller);
        assert!(
            !matches!(answer, Answer::Waits(_)),
            "client {} was served, but there is nothing for {waiting:?}",
            caller.id
        );
        self.answered(caller, false, answer)
    }

    /// The server has ended a waiting without anything.
    pub fn gave_up(&mut self, caller: &mut Caller, now_ms: i64) -> Option<Answer> {
        let waiting = caller.waiting.take().expect("a client that waits");
        self.now_ms = now_ms;
        let is_due = |until: i64| until <= now_ms || !self.steady;
        let is_over = waiting.until_ms.is_some_and(is_due);
        self.given_up.push((caller.id, is_over));
        let mut answers = vec![Answer::NullArray];
        // CLIENT UNBLOCK is told later.
        let error = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
        answers.push(Answer::Error(error.into()));
        self.answered(caller, false, Answer::Either(answers))
    }

    /// At the end of a turn: whoever gave up before the time was told to.
    pub fn check_given_up(&mut self) {
        for (id, is_over) in std::mem::take(&mut self.given_up) {
            assert!(
                is_over,
                "client {id} was told that there is nothing before its time"
            );
        }
    }
}
