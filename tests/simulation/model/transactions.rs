//! MULTI, EXEC, DISCARD, WATCH.
//!
//! Which changes of a key count for WATCH is the server's affair where a command leaves it as it was; what is certain is
//! that EXEC does not run if a watched key differs from what it was, and that it does if no command has named the key.

use super::{Answer, Args, Entry, Model, Outcome, Run, Value, ok};
use std::collections::BTreeMap;

/// What MULTI has queued.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    pub commands: Vec<Vec<Vec<u8>>>,
    /// A command was refused.
    pub aborted: bool,
}

/// What was watched: each key with what it held, how often it had been named, and how often all keys had changed.
pub type Watched = BTreeMap<WatchedKey, Noted>;
type WatchedKey = (usize, Vec<u8>);
type Noted = (Option<Entry>, u64, u64);

pub const COMMANDS: &[(&str, i64, Run)] = &[
    ("discard", 1, Model::transactions),
    ("exec", 1, Model::exec),
    ("multi", 1, Model::transactions),
    ("unwatch", 1, Model::transactions),
    ("watch", -2, Model::watch),
];

impl Model {
    fn transactions(&mut self, name: &str, _: Args<'_>) -> Outcome {
        match name {
            "multi" if self.caller.multi.is_some() => {
                Err("ERR MULTI calls can not be nested".into())
            }
            "multi" => {
                self.caller.multi = Some(Queue::default());
                Ok(ok())
            }
            "discard" if self.caller.multi.is_none() => Err("ERR DISCARD without MULTI".into()),
            "discard" => {
                self.caller.multi = None;
                self.caller.watched.clear();
                Ok(ok())
            }
            _ => {
                self.caller.watched.clear();
                Ok(ok())
            }
        }
    }

    fn watch(&mut self, _: &str, args: Args<'_>) -> Outcome {
        if self.caller.multi.is_some() {
            return Err("ERR WATCH inside MULTI is not allowed".into());
        }
        for key in &args[1..] {
            let named = *self.mentions.entry(key.clone()).or_default();
            let held = self.get(self.db, key).cloned();
            let watched = &mut self.caller.watched;
            let first = watched.entry((self.db, key.clone()));
            first.or_insert((held, named, self.floods));
        }
        Ok(ok())
    }

    fn exec(&mut self, _: &str, _: Args<'_>) -> Outcome {
        let Some(queue) = self.caller.multi.take() else {
            return Err("ERR EXEC without MULTI".into());
        };
        let watched = std::mem::take(&mut self.caller.watched);
        if queue.aborted {
            return Err("EXECABORT Transaction discarded because of previous errors.".into());
        }
        let differs = |((db, key), (held, ..)): (&WatchedKey, &Noted)| {
            // Groups and consumers may change without a sign.
            let without_groups = |entry: &Entry| {
                let mut entry = entry.clone();
                if let Value::Stream(stream) = &mut entry.value {
                    stream.groups.clear();
                }
                entry
            };
            self.get(*db, key).map(without_groups) != held.as_ref().map(without_groups)
        };
        // A clock that goes back brings back what had expired.
        let has_changed = watched.iter().any(differs);
        let must_not_run = self.steady && has_changed;
        let must_run = watched.iter().all(|((_, key), (_, named, floods))| {
            self.mentions[key] == *named && *floods == self.floods
        });
        let ran = match queue.commands.is_empty() {
            // Nothing tells whether it ran: a key may have expired that nobody named.
            true => must_run && !has_changed,
            false => !self.queued.is_empty(),
        };
        assert!(
            !(ran && must_not_run),
            "EXEC ran though {watched:?} has changed"
        );
        // What expires by the clock alone is no command's doing.
        assert!(
            ran || !must_run || must_not_run || !self.steady,
            "EXEC did not run though nobody named {watched:?}"
        );
        if !ran {
            let nothing = Answer::NullArray;
            return Ok(match queue.commands.is_empty() && !must_not_run {
                true => Answer::Either(vec![nothing, Answer::Array(Vec::new())]),
                false => nothing,
            });
        }
        let before = std::mem::replace(&mut self.may_wait, false);
        let mut answers = Vec::new();
        for args in &queue.commands {
            let queued = self.queued.pop_front();
            let (now_ms, gone) = queued.expect("each command is told");
            self.now_ms = now_ms;
            gone.iter().for_each(|what| self.went(what));
            let name = String::from_utf8_lossy(&args[0]).to_lowercase();
            answers.push(self.call(&name, args).unwrap_or_else(Answer::Error));
        }
        self.may_wait = before;
        Ok(Answer::Array(answers))
    }
}
