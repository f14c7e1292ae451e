//! Streams and consumer groups.

use super::{Answer, Args, Model, Outcome, Run, SYNTAX, Value, bulk, int, integer, small, word};
use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds and sequence number.
pub type Id = (u64, u64);
const LAST: Id = (u64::MAX, u64::MAX);

/// A stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream {
    /// Fields and values of each entry.
    pub entries: BTreeMap<Id, Vec<Vec<u8>>>,
    pub last: Id,
    pub groups: BTreeMap<Vec<u8>, Group>,
}

/// A consumer group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    pub last: Id,
    pub consumers: BTreeSet<Vec<u8>>,
    pub pending: BTreeMap<Id, Pending>,
}

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    pub consumer: Vec<u8>,
    pub delivered: Delivered,
    /// What a server that has loaded the data may have in its place: all since the last that was propagated.
    pub before: Vec<Delivered>,
}

/// When an entry was delivered last, Unix ms, and how often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delivered {
    pub at_ms: i64,
    pub times: i64,
}

impl Delivered {
    /// How long ago that was.
    pub(super) fn idle_ms(&self, now_ms: i64) -> i64 {
        (now_ms - self.at_ms).max(0)
    }
}

impl Pending {
    /// One that was delivered or claimed, which is propagated.
    pub(super) fn new(consumer: &[u8], at_ms: i64, times: i64) -> Pending {
        Pending {
            consumer: consumer.to_vec(),
            delivered: Delivered { at_ms, times },
            before: Vec::new(),
        }
    }

    /// Its consumer reads it again. That is not propagated: the append-only file forgets it, unless it is written anew, and a
    /// snapshot keeps it.
    fn read_again(&mut self, now_ms: i64) {
        self.before.push(self.delivered);
        self.delivered.at_ms = now_ms;
        self.delivered.times += 1;
    }

    /// Of what a server that has loaded it may have, it has this.
    pub(super) fn is_told(&mut self, is: impl Fn(&Delivered) -> bool) {
        if !is(&self.delivered) {
            let found = self.before.iter().position(&is);
            let found = found.expect("what may have been loaded");
            std::mem::swap(&mut self.delivered, &mut self.before[found]);
        }
    }
}

pub const COMMANDS: &[(&str, i64, Run)] = &[
    ("xadd", -5, Model::xadd),
    ("xdel", -3, Model::streams),
    ("xinfo", -3, Model::xinfo),
    ("xlen", 2, Model::streams),
    ("xrange", -4, Model::streams),
    ("xread", -4, Model::xread),
    ("xreadgroup", -7, Model::xreadgroup),
    ("xrevrange", -4, Model::streams),
    ("xtrim", -4, Model::streams),
];

pub(super) fn show(id: Id) -> Answer {
    bulk(format!("{}-{}", id.0, id.1))
}

pub(super) fn entry(id: Id, fields: Option<&Vec<Vec<u8>>>) -> Answer {
    let fields = fields.map_or(Answer::NullArray, super::bulks);
    Answer::Array(vec![show(id), fields])
}

/// An id; the generator spells it well. Without a sequence number it is the first of its millisecond.
pub(super) fn id(text: &[u8]) -> Id {
    let text = std::str::from_utf8(text).expect("an id");
    match text {
        "-" => return (0, 0),
        "+" => return LAST,
        _ => {}
    }
    let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
    (ms.parse().expect("an id"), seq.parse().expect("an id"))
}

fn after(id: Id) -> Id {
    id.1.checked_add(1).map_or((id.0 + 1, 0), |seq| (id.0, seq))
}

/// Removes the oldest entries as MAXLEN or MINID says; how many.
fn trim(stream: &mut Stream, how: &str, threshold: &[u8]) -> usize {
    let before = stream.entries.len();
    if how == "MINID" {
        let least = id(threshold);
        stream.entries.retain(|id, _| *id >= least);
    } else {
        let most = small(threshold);
        while stream.entries.len() > most {
            stream.entries.pop_first();
        }
    }
    before - stream.entries.len()
}

impl Model {
    pub(super) fn put_stream(&mut self, key: &[u8], stream: Stream) {
        self.put_back(key, Value::Stream(stream));
    }

    /// XADD `key [NOMKSTREAM] [MAXLEN|MINID = n] id field value...`.
    fn xadd(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let mut at = 2;
        let (mut makes, mut trims) = (true, None);
        if word(&args[at]) == "NOMKSTREAM" {
            makes = false;
            at += 1;
        }
        if matches!(word(&args[at]).as_str(), "MAXLEN" | "MINID") {
            trims = Some((word(&args[at]), args[at + 2].clone()));
            at += 3;
        }
        let fields = &args[at + 1..];
        if fields.is_empty() || !fields.len().is_multiple_of(2) {
            return Err(super::wrong_arity(name));
        }
        if args[at] == b"0-0" {
            return Err("ERR The ID specified in XADD must be greater than 0-0".into());
        }
        let held = self.stream(&args[1])?;
        if held.is_none() && !makes {
            return Ok(Answer::Null);
        }
        let mut stream = held.unwrap_or_default();
        let new = if args[at] == b"*" {
            let now = self.now_ms as u64;
            if now > stream.last.0 {
                (now, 0)
            } else {
                after(stream.last)
            }
        } else {
            let new = id(&args[at]);
            if new <= stream.last {
                return Err(
                    "ERR The ID specified in XADD is equal or smaller than the target stream top item"
                        .into(),
                );
            }
            new
        };
        self.set_back.remove(&(self.db, args[1].clone()));
        stream.last = new;
        stream.entries.insert(new, fields.to_vec());
        if let Some((how, threshold)) = trims {
            trim(&mut stream, &how, &threshold);
        }
        self.put_stream(&args[1], stream);
        Ok(show(new))
    }

    /// What a crash could undo and no other command shows.
    fn xinfo(&mut self, _: &str, args: Args<'_>) -> Outcome {
        let stream = self.stream(&args[2])?.ok_or("ERR no such key")?;
        let spelled = |id: Id| format!("{}-{}", id.0, id.1).into_bytes();
        Ok(match word(&args[1]).as_str() {
            "STREAM" => Answer::Holds("last-generated-id", spelled(stream.last)),
            _ => {
                let last = |group: &Group| Answer::Holds("last-delivered-id", spelled(group.last));
                Answer::Array(stream.groups.values().map(last).collect())
            }
        })
    }

    fn streams(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let held = self.stream(&args[1])?;
        let exists = held.is_some();
        let mut stream = held.unwrap_or_default();
        match name {
            "xlen" => Ok(int(stream.entries.len())),
            "xrange" | "xrevrange" => {
                let most = args.get(5).map_or(usize::MAX, |count| small(count));
                let (mut from, mut to) = (id(&args[2]), id(&args[3]));
                if name == "xrevrange" {
                    std::mem::swap(&mut from, &mut to);
                }
                if from > to {
                    return Ok(Answer::Array(Vec::new()));
                }
                let range = stream.entries.range(from..=to);
                let shown = range.map(|(id, fields)| entry(*id, Some(fields)));
                let shown: Vec<Answer> = match name {
                    "xrange" => shown.take(most).collect(),
                    _ => shown.rev().take(most).collect(),
                };
                // A count of zero asks for nothing, and is answered so.
                Ok(if most == 0 && exists {
                    Answer::NullArray
                } else {
                    Answer::Array(shown)
                })
            }
            "xdel" => {
                let ids: BTreeSet<Id> = args[2..].iter().map(|text| id(text)).collect();
                let before = stream.entries.len();
                stream.entries.retain(|id, _| !ids.contains(id));
                let removed = before - stream.entries.len();
                if exists {
                    self.put_stream(&args[1], stream);
                }
                Ok(int(removed))
            }
            _ => {
                let removed = trim(&mut stream, &word(&args[2]), &args[4]);
                if exists {
                    self.put_stream(&args[1], stream);
                }
                Ok(int(removed))
            }
        }
    }

    /// Entries of several streams, by key: a map in RESP3.
    fn by_key(&self, served: Vec<(Vec<u8>, Vec<Answer>)>) -> Answer {
        let served = served.into_iter();
        let pairs = served.map(|(key, entries)| (Answer::Bulk(key), Answer::Array(entries)));
        if self.resp3 {
            return Answer::Map(pairs.collect());
        }
        Answer::Array(
            pairs
                .map(|(key, entries)| Answer::Array(vec![key, entries]))
                .collect(),
        )
    }

    /// XREAD `[COUNT n] [BLOCK ms] STREAMS key... id...`.
    fn xread(&mut self, _: &str, args: Args<'_>) -> Outcome {
        let options = Options::parse(&args[1..])?;
        let mut served = Vec::new();
        let mut resolved = args.to_vec();
        for at in 0..options.keys.len() {
            let stream = self.stream(&options.keys[at])?.unwrap_or_default();
            if options.ids[at] == b"$" {
                let place = args.len() - options.ids.len() + at;
                resolved[place] = format!("{}-{}", stream.last.0, stream.last.1).into_bytes();
            }
        }
        for (key, text) in options.keys.iter().zip(options.ids) {
            let stream = self.stream(key)?.unwrap_or_default();
            if text == b"$" || id(text) == LAST {
                continue;
            }
            let range = stream.entries.range(after(id(text))..).take(options.count);
            let entries: Vec<Answer> = range.map(|(id, it)| entry(*id, Some(it))).collect();
            if !entries.is_empty() {
                served.push((key.clone(), entries));
            }
        }
        match options.block {
            _ if !served.is_empty() => Ok(self.by_key(served)),
            Some(timeout) => self.wait_for_entries(options.keys, timeout, resolved, false),
            None => Ok(Answer::NullArray),
        }
    }

    /// XREADGROUP `GROUP group consumer [COUNT n] [BLOCK ms] [NOACK] STREAMS key... id...`.
    fn xreadgroup(&mut self, _: &str, args: Args<'_>) -> Outcome {
        let (name, consumer) = (&args[2], &args[3]);
        let options = Options::parse(&args[4..])?;
        for key in options.keys {
            let stream = self.stream(key)?;
            if !stream.is_some_and(|stream| stream.groups.contains_key(name)) {
                let error = super::groups::no_group(key, name);
                return Err(format!("{error} in XREADGROUP with GROUP option"));
            }
        }
        let mut served = Vec::new();
        for (key, text) in options.keys.iter().zip(options.ids) {
            let mut stream = self.stream(key)?.expect("a stream");
            let group = stream.groups.get_mut(name).expect("a group");
            group.consumers.insert(consumer.clone());
            let mut entries = Vec::new();
            if text == b">" {
                let range = stream
                    .entries
                    .range(after(group.last)..)
                    .take(options.count);
                for (id, fields) in range {
                    entries.push(entry(*id, Some(fields)));
                    group.last = *id;
                    if !options.no_ack {
                        let pending = Pending::new(consumer, self.now_ms, 1);
                        group.pending.insert(*id, pending);
                    }
                }
            } else {
                let now_ms = self.now_ms;
                let mine = group.pending.range_mut(after(id(text))..);
                let mine = mine.filter(|(_, pending)| pending.consumer == *consumer);
                for (id, pending) in mine.take(options.count) {
                    let fields = stream.entries.get(id);
                    entries.push(entry(*id, fields));
                    if fields.is_some() {
                        pending.read_again(now_ms);
                    }
                }
            }
            if !entries.is_empty() || text != b">" {
                served.push((key.clone(), entries));
            }
            self.put_stream(key, stream);
        }
        match options.block {
            _ if !served.is_empty() => Ok(self.by_key(served)),
            Some(timeout) => self.wait_for_entries(options.keys, timeout, args.to_vec(), true),
            None => Ok(Answer::NullArray),
        }
    }
}

/// Options of XREAD and XREADGROUP behind the group.
struct Options<'a> {
    count: usize,
    block: Option<i64>,
    no_ack: bool,
    keys: Args<'a>,
    ids: Args<'a>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Options<'a>, String> {
        let (mut count, mut block, mut no_ack) = (usize::MAX, None, false);
        let mut at = 0;
        loop {
            match word(args.get(at).ok_or(SYNTAX)?).as_str() {
                "COUNT" => count = small(&args[at + 1]),
                "BLOCK" => block = Some(integer(&args[at + 1])?),
                "NOACK" => {
                    no_ack = true;
                    at += 1;
                    continue;
                }
                _ => break,
            }
            at += 2;
        }
        let (keys, ids) = args[at + 1..].split_at((args.len() - at - 1) / 2);
        Ok(Options {
            count,
            block,
            no_ack,
            keys,
            ids,
        })
    }
}

impl Model {
    /// Whether XREAD or XREADGROUP would have something to answer. A stream that has expired is missed when it goes.
    pub(super) fn has_entries(&self, db: usize, args: Args<'_>) -> bool {
        let is_group = word(&args[0]) == "XREADGROUP";
        let options = &args[if is_group { 4 } else { 1 }..];
        let options = Options::parse(options).expect("as it was parsed");
        options.keys.iter().zip(options.ids).any(|(key, text)| {
            let behind = if is_group {
                match self.databases[db].get(key).map(|entry| &entry.value) {
                    Some(_) if self.set_back.contains(&(db, key.clone())) => return false,
                    Some(Value::Stream(stream)) => match stream.groups.get(&args[2]) {
                        Some(group) => group.last,
                        None => return true,
                    },
                    _ => return true,
                }
            } else {
                id(text)
            };
            match self.get(db, key).map(|entry| &entry.value) {
                Some(Value::Stream(stream)) => {
                    stream.entries.range(after(behind)..).next().is_some()
                }
                _ => false,
            }
        })
    }
}
