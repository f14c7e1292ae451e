//! The plain model: what each command must answer, in the most straightforward code. A database is a sorted map from
//! keys to values and an optional time; nothing is shared with the server, neither code nor the words of the errors.
//!
//! In: what the server says has happened ([`gyre::observe::Executed`]), in its order. Out: the answer of each command,
//! and what other clients are told because of it. Where chance decides (SPOP, the moment at which what has expired goes,
//! the victims of eviction) the model is told the choice, and asserts that it was possible.

mod answer;
mod blocking;
mod connection;
mod groups;
mod hashes;
mod keys;
mod lists;
mod pubsub;
mod scripts;
mod sets;
mod streams;
mod strings;
mod transactions;
mod zsets;

pub use answer::Answer;
pub use blocking::Waiting;
pub use scripts::{FUNCTIONS, SCRIPTS, UNDECLARED, sha1};
pub use streams::Stream;

use answer::{bulk, bulks, int, invalid_expire, ok, optional, wrong_arity};
use gyre::observe::Executed;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Numbers of the databases that there are.
pub const DATABASES: usize = 16;
const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
const SYNTAX: &str = "ERR syntax error";
const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    String(Vec<u8>),
    List(VecDeque<Vec<u8>>),
    /// Fields, each perhaps with its own time.
    Hash(BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>),
    Set(BTreeSet<Vec<u8>>),
    SortedSet(BTreeMap<Vec<u8>, f64>),
    Stream(Stream),
}

impl Value {
    pub fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "string",
            Value::List(_) => "list",
            Value::Hash(_) => "hash",
            Value::Set(_) => "set",
            Value::SortedSet(_) => "zset",
            Value::Stream(_) => "stream",
        }
    }

    /// Whether a key with this value goes.
    fn is_empty(&self) -> bool {
        match self {
            Value::List(list) => list.is_empty(),
            Value::Hash(hash) => hash.is_empty(),
            Value::Set(set) => set.is_empty(),
            Value::SortedSet(set) => set.is_empty(),
            Value::String(_) | Value::Stream(_) => false,
        }
    }
}

/// A value and when it expires.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub value: Value,
    pub at: Option<i64>,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    pub id: i64,
    pub db: usize,
    pub resp3: bool,
    pub name: Vec<u8>,
    /// Replies are off.
    pub off: bool,
    /// This command is not answered; the next will not be.
    pub skip: bool,
    pub skip_next: bool,
    /// It asked to be closed.
    pub quit: bool,
    /// What is queued since MULTI.
    pub multi: Option<transactions::Queue>,
    pub watched: transactions::Watched,
    /// What it waits for.
    pub waiting: Option<Waiting>,
}

pub type Database = BTreeMap<Vec<u8>, Entry>;
type Args<'a> = &'a [Vec<u8>];
type Outcome = Result<Answer, String>;
type Run = fn(&mut Model, &str, Args<'_>) -> Outcome;

/// All databases, and what clients have to do with each other.
#[derive(Clone, Debug)]
pub struct Model {
    pub databases: Vec<Database>,
    pub now_ms: i64,
    /// Who asks now, and in which database and protocol; a script asks in RESP2.
    caller: Caller,
    db: usize,
    resp3: bool,
    /// Whether a command may wait: not within EXEC and scripts.
    may_wait: bool,
    /// The time of each command of the queue that EXEC runs now, and what went by itself before it.
    pub queued: VecDeque<(i64, Vec<Executed>)>,
    /// What the commands that are told next were propagated as.
    pub propagated_as: VecDeque<Vec<Vec<u8>>>,
    /// What clients are told though they did not ask, in order: from PUBLISH.
    pub pushes: Vec<(i64, Answer)>,
    /// Streams with a group that was set back; who waits for such an entry is not told before the next one comes.
    set_back: BTreeSet<(usize, Vec<u8>)>,
    /// Commands that have begun to wait so far.
    tickets: u64,
    /// Clients that are to be closed by CLIENT KILL.
    pub killed: BTreeSet<i64>,
    /// Clients whose waiting was ended in this turn, and whether their time was over; CLIENT UNBLOCK accounts for others.
    pub given_up: Vec<(i64, bool)>,
    /// Clients that are gone, and of them those that went since the last command.
    pub gone: BTreeSet<i64>,
    gone_now: BTreeSet<i64>,
    /// Until when commands may be held back (CLIENT PAUSE), Unix ms.
    pub paused_until_ms: i64,
    pubsub: pubsub::Subscriptions,
    scripts: BTreeSet<String>,
    has_functions: bool,
    /// How often each key that somebody watches was named by a command.
    mentions: BTreeMap<Vec<u8>, u64>,
    /// Changes of whole databases, which concern every watched key.
    floods: u64,
    /// It goes on with what a server has loaded.
    is_restarted: bool,
    /// Of what that has loaded, it has not been told yet what was left to chance.
    is_just_loaded: bool,
    /// The wall clock only goes forward.
    pub steady: bool,
}

impl Model {
    /// An empty one. `steady`: the wall clock only goes forward.
    pub fn new(steady: bool) -> Model {
        Model {
            databases: vec![BTreeMap::new(); DATABASES],
            now_ms: 0,
            caller: Caller::default(),
            db: 0,
            resp3: false,
            may_wait: true,
            queued: VecDeque::new(),
            propagated_as: VecDeque::new(),
            pushes: Vec::new(),
            set_back: BTreeSet::new(),
            tickets: 0,
            killed: BTreeSet::new(),
            given_up: Vec::new(),
            gone_now: BTreeSet::new(),
            gone: BTreeSet::new(),
            paused_until_ms: 0,
            pubsub: pubsub::Subscriptions::default(),
            scripts: BTreeSet::new(),
            has_functions: false,
            mentions: BTreeMap::new(),
            floods: 0,
            is_restarted: false,
            is_just_loaded: false,
            steady,
        }
    }
}

fn integer(text: &[u8]) -> Result<i64, String> {
    let number: Option<i64> = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    // Only the one canonical spelling counts.
    number
        .filter(|number| number.to_string().as_bytes() == text)
        .ok_or_else(|| NOT_INTEGER.to_owned())
}

/// A number of which the generator knows that it is small and well spelled.
fn small(text: &[u8]) -> usize {
    let number = integer(text).expect("a small number");
    usize::try_from(number).expect("a number that is not negative")
}

fn double(text: &[u8]) -> Result<f64, String> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|number| !number.is_nan())
        .ok_or_else(|| "ERR value is not a valid float".to_owned())
}

fn database(text: &[u8]) -> Result<usize, String> {
    let number = integer(text)?;
    if i32::try_from(number).is_err() {
        return Err(
            "ERR value is out of range, value must between -2147483648 and 2147483647".to_owned(),
        );
    }
    usize::try_from(number)
        .ok()
        .filter(|number| *number < DATABASES)
        .ok_or_else(|| "ERR DB index is out of range".to_owned())
}

/// The time that a number and its unit (`EX`, `PX`, `EXAT`, `PXAT`) stand for, if there is such a time.
fn time_ms(unit: &str, number: i64, now_ms: i64) -> Option<i64> {
    let ms = i128::from(number) * if unit.starts_with('E') { 1000 } else { 1 };
    let at = if unit.ends_with("AT") {
        ms
    } else {
        ms + i128::from(now_ms)
    };
    // Each step must fit by itself.
    i64::try_from(ms).ok()?;
    i64::try_from(at).ok()
}

fn positive_time_ms(unit: &str, text: &[u8], now_ms: i64, command: &str) -> Result<i64, String> {
    let number = integer(text)?;
    if number <= 0 {
        return Err(invalid_expire(command));
    }
    time_ms(unit, number, now_ms)
        .filter(|at| *at > 0)
        .ok_or_else(|| invalid_expire(command))
}

/// From and to (excluded) of a range that may be counted from the end.
fn span(from: i64, to: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let place = |index: i64| if index < 0 { index + len } else { index };
    let (from, to) = (place(from).max(0), place(to).min(len - 1));
    if from > to {
        (0, 0)
    } else {
        (from as usize, to as usize + 1)
    }
}

fn word(text: &[u8]) -> String {
    String::from_utf8_lossy(text).to_uppercase()
}

impl Model {
    /// What is left when the server has ended and another has loaded the same data.
    pub fn restarted(&self) -> Model {
        let mut model = Model::new(self.steady);
        model.databases = self.databases.clone();
        model.has_functions = self.has_functions;
        model.is_restarted = true;
        model.is_just_loaded = true;
        model
    }

    /// It has been told all that a server has loaded.
    pub fn is_told(&mut self) {
        self.is_just_loaded = false;
    }

    /// Runs one command; what must be answered, if anything.
    pub fn run(&mut self, caller: &mut Caller, now_ms: i64, args: Args<'_>) -> Option<Answer> {
        self.now_ms = now_ms;
        self.caller = std::mem::take(caller);
        (self.db, self.resp3) = (self.caller.db, self.caller.resp3);
        let name = String::from_utf8_lossy(&args[0]).to_lowercase();
        let answer = self.checked(&name, args).unwrap_or_else(Answer::Error);
        self.propagated_as.clear();
        self.queued.clear();
        self.gone_now.clear();
        *caller = std::mem::take(&mut self.caller);
        if let Answer::Waits(waiting) = answer {
            let mut waiting = *waiting;
            if waiting.args.is_empty() {
                waiting.args = args.to_vec();
            }
            self.tickets += 1;
            waiting.ticket = self.tickets;
            caller.waiting = Some(waiting);
            return None;
        }
        self.answered(caller, name == "client", answer)
    }

    /// What of an answer is sent, given CLIENT REPLY.
    fn answered(&self, caller: &mut Caller, is_client: bool, answer: Answer) -> Option<Answer> {
        let silent = caller.off || caller.skip || (is_client && caller.skip_next);
        caller.skip = std::mem::take(&mut caller.skip_next);
        // Confirmations of subscriptions are never silenced.
        (!silent || matches!(answer, Answer::Several(_))).then_some(answer)
    }

    fn checked(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let found = find(name);
        let queues = self.caller.multi.is_some() && !RUN_IN_MULTI.contains(&name);
        let checked = match found {
            None => Err(unknown(args)),
            Some((_, arity, _)) => {
                let given = args.len() as i64;
                if given == *arity || (*arity < 0 && given >= -arity) {
                    self.pubsub_allows(name, args)
                } else {
                    Err(wrong_arity(name))
                }
            }
        };
        if let Err(error) = checked {
            if name == "exec" {
                (self.caller.multi, self.caller.watched) = (None, BTreeMap::new());
                let error = error.trim_start_matches("ERR ");
                return Err(format!(
                    "EXECABORT Transaction discarded because of: {error}"
                ));
            }
            if let Some(queue) = &mut self.caller.multi {
                queue.aborted = true;
            }
            return Err(error);
        }
        if let (true, Some(queue)) = (queues, &mut self.caller.multi) {
            queue.commands.push(args.to_vec());
            return Ok(Answer::Simple("QUEUED".into()));
        }
        self.call(name, args)
    }

    /// Runs a command that is known and has so many arguments.
    fn call(&mut self, name: &str, args: Args<'_>) -> Outcome {
        for arg in &args[1..] {
            if let Some(count) = self.mentions.get_mut(arg) {
                *count += 1;
            }
        }
        let (_, _, run) = find(name).expect("a command that was found before");
        run(self, name, args)
    }

    /// What is at a key and has not expired.
    fn get(&self, db: usize, key: &[u8]) -> Option<&Entry> {
        let entry = self.databases[db].get(key)?;
        entry.at.is_none_or(|at| self.now_ms <= at).then_some(entry)
    }

    fn exists(&self, db: usize, key: &[u8]) -> bool {
        self.get(db, key).is_some()
    }

    fn remove(&mut self, db: usize, key: &[u8]) {
        self.databases[db].remove(key);
    }

    fn put(&mut self, db: usize, key: &[u8], value: Value, at: Option<i64>) {
        self.databases[db].insert(key.to_vec(), Entry { value, at });
    }

    fn expiry(&self, key: &[u8]) -> Option<i64> {
        self.get(self.db, key)?.at
    }

    /// Stores a result: a key with nothing in it is removed.
    fn store(&mut self, key: &[u8], value: Value) {
        if value.is_empty() {
            self.remove(self.db, key);
        } else {
            self.put(self.db, key, value, None);
        }
    }

    /// Puts a changed value back, with the expiry that the key has.
    fn put_back(&mut self, key: &[u8], value: Value) {
        let at = self.expiry(key);
        if value.is_empty() {
            self.remove(self.db, key);
        } else {
            self.put(self.db, key, value, at);
        }
    }

    fn live(&self, db: usize) -> BTreeSet<Vec<u8>> {
        let keys = self.databases[db].keys();
        keys.filter(|key| self.exists(db, key)).cloned().collect()
    }

    /// The fields of a hash that is there, with those whose time is over.
    pub fn held_fields(&self, db: usize, key: &[u8]) -> Option<BTreeMap<Vec<u8>, Option<i64>>> {
        match &self.get(db, key)?.value {
            Value::Hash(hash) => {
                let fields = hash.iter().map(|(field, (_, at))| (field.clone(), *at));
                Some(fields.collect())
            }
            _ => None,
        }
    }

    /// A field went by itself from what may be these data. If they are not, it stays: what is asked next shows that.
    pub fn may_have_lost(&mut self, what: &Executed) {
        if let Executed::FieldExpired {
            db,
            key,
            field,
            unix_us,
        } = what
            && let Some(entry) = self.databases[*db].get(key)
            && let Value::Hash(hash) = &entry.value
            && let Some((_, Some(at))) = hash.get(field)
            && *at < unix_us / 1000
        {
            self.went(what);
        }
    }

    /// A key or a field went by itself.
    pub fn went(&mut self, what: &Executed) {
        self.floods += 1;
        match what {
            Executed::Removed {
                db,
                key,
                evicted,
                unix_us,
            } => {
                let entry = self.databases[*db].remove(key);
                if entry.is_none() && self.is_restarted {
                    // That it had gone was not written down.
                    return;
                }
                let at = entry.expect("a key that is there").at;
                let is_over = at.is_some_and(|at| at < unix_us / 1000 || !self.steady);
                assert!(*evicted || is_over, "{what:?}, but it expires at {at:?}");
            }
            Executed::FieldExpired {
                db,
                key,
                field,
                unix_us,
            } => {
                let held = self.databases[*db]
                    .get_mut(key)
                    .map(|entry| &mut entry.value);
                if held.is_none() && self.is_restarted {
                    return;
                }
                let Some(Value::Hash(hash)) = held else {
                    panic!("{what:?}, but it holds {held:?}");
                };
                let removed = hash.remove(field);
                if removed.is_none() && self.is_restarted {
                    return;
                }
                let (_, at) = removed.expect("a field that is there");
                let is_over = at.is_some_and(|at| at < unix_us / 1000);
                assert!(is_over, "{what:?}, but it expires at {at:?}");
                if hash.is_empty() {
                    self.remove(*db, key);
                }
            }
            _ => unreachable!("{what:?} is something else"),
        }
    }
}

/// Access to values of one type: what is there, a copy of it, or an error if it is of another type.
macro_rules! typed {
    ($name:ident, $variant:ident, $type:ty) => {
        impl Model {
            fn $name(&self, key: &[u8]) -> Result<Option<$type>, String> {
                match self.get(self.db, key).map(|entry| &entry.value) {
                    None => Ok(None),
                    Some(Value::$variant(value)) => Ok(Some(value.clone())),
                    Some(_) => Err(WRONG_TYPE.to_owned()),
                }
            }
        }
    };
}
typed!(string, String, Vec<u8>);
typed!(list, List, VecDeque<Vec<u8>>);
typed!(hash, Hash, BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>);
typed!(set, Set, BTreeSet<Vec<u8>>);
typed!(sorted_set, SortedSet, BTreeMap<Vec<u8>, f64>);
typed!(stream, Stream, Stream);

fn find(name: &str) -> Option<&'static (&'static str, i64, Run)> {
    let tables = [
        strings::COMMANDS,
        keys::COMMANDS,
        lists::COMMANDS,
        hashes::COMMANDS,
        sets::COMMANDS,
        zsets::COMMANDS,
        streams::COMMANDS,
        groups::COMMANDS,
        connection::COMMANDS,
        transactions::COMMANDS,
        scripts::COMMANDS,
        pubsub::COMMANDS,
    ];
    let mut all = tables.into_iter().flatten();
    all.find(|(known, ..)| *known == name)
}

/// Commands that MULTI does not queue.
const RUN_IN_MULTI: &[&str] = &["multi", "exec", "discard", "watch", "quit", "reset"];

fn unknown(args: Args<'_>) -> String {
    let shown: String = args[1..]
        .iter()
        .map(|arg| format!("'{}' ", String::from_utf8_lossy(arg)))
        .collect();
    let name = String::from_utf8_lossy(&args[0]);
    format!("ERR unknown command '{name}', with args beginning with: {shown}")
}
