//! Whether bytes are the answer that the model expects.

use crate::model::Answer;
use gyre::resp::reader::{ReadError, Value, read_value};
use std::collections::{BTreeMap, BTreeSet};

/// How one answer compares with the front of some bytes.
pub enum Compared {
    /// It takes so many of them.
    Same(usize),
    /// So far so good.
    Incomplete,
    /// This is something else.
    Different,
}

/// Spells an answer, where there is only one way to.
pub fn spell(answer: &Answer, resp3: bool, out: &mut Vec<u8>) -> bool {
    let all = |items: &[Answer], out: &mut Vec<u8>| items.iter().all(|it| spell(it, resp3, out));
    match answer {
        Answer::Simple(text) => out.extend(format!("+{text}\r\n").bytes()),
        Answer::Error(text) => out.extend(format!("-{text}\r\n").bytes()),
        Answer::Int(number) => out.extend(format!(":{number}\r\n").bytes()),
        Answer::Score(score) if resp3 => out.extend(format!(",{score}\r\n").bytes()),
        Answer::Score(score) => {
            let text = score.to_string();
            out.extend(format!("${}\r\n{text}\r\n", text.len()).bytes());
        }
        Answer::Bulk(bytes) => {
            out.extend(format!("${}\r\n", bytes.len()).bytes());
            out.extend(bytes);
            out.extend(b"\r\n");
        }
        Answer::Null | Answer::NullArray if resp3 => out.extend(b"_\r\n"),
        Answer::Null => out.extend(b"$-1\r\n"),
        Answer::NullArray => out.extend(b"*-1\r\n"),
        Answer::Array(items) => {
            out.extend(format!("*{}\r\n", items.len()).bytes());
            return all(items, out);
        }
        Answer::Push(items) => {
            let marker = if resp3 { '>' } else { '*' };
            out.extend(format!("{marker}{}\r\n", items.len()).bytes());
            return all(items, out);
        }
        Answer::Map(pairs) => {
            let (marker, len) = if resp3 {
                ('%', pairs.len())
            } else {
                ('*', 2 * pairs.len())
            };
            out.extend(format!("{marker}{len}\r\n").bytes());
            return pairs
                .iter()
                .all(|(key, value)| spell(key, resp3, out) && spell(value, resp3, out));
        }
        _ => return false,
    }
    true
}

/// Compares.
pub fn compare(answer: &Answer, resp3: bool, bytes: &[u8]) -> Compared {
    if let Answer::Either(answers) = answer {
        let mut result = Compared::Different;
        for answer in answers {
            match compare(answer, resp3, bytes) {
                Compared::Same(n) => return Compared::Same(n),
                Compared::Incomplete => result = Compared::Incomplete,
                Compared::Different => {}
            }
        }
        return result;
    }
    let mut spelled = Vec::new();
    if spell(answer, resp3, &mut spelled) {
        return if bytes.starts_with(&spelled) {
            Compared::Same(spelled.len())
        } else if spelled.starts_with(bytes) {
            Compared::Incomplete
        } else {
            Compared::Different
        };
    }
    match read_value(bytes) {
        Err(ReadError::Incomplete) => Compared::Incomplete,
        Err(ReadError::Malformed(_)) => Compared::Different,
        Ok((value, used)) if fits(answer, resp3, &value) => Compared::Same(used),
        Ok(_) => Compared::Different,
    }
}

/// The bulk strings of an array or a set, sorted.
fn sorted(value: &Value) -> Option<Vec<Vec<u8>>> {
    let items = value.items()?.iter();
    let names: Option<Vec<Vec<u8>>> = items.map(|it| it.as_bytes().map(<[u8]>::to_vec)).collect();
    names.map(|mut names| {
        names.sort();
        names
    })
}

fn names(value: &Value, may_repeat: bool) -> Option<BTreeSet<Vec<u8>>> {
    let sorted = sorted(value)?;
    let len = sorted.len();
    let set: BTreeSet<Vec<u8>> = sorted.into_iter().collect();
    (may_repeat || set.len() == len).then_some(set)
}

/// Pairs as a map of RESP3, or one behind the other.
fn pairs(value: &Value) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    let bytes = |value: &Value| value.as_bytes().map(<[u8]>::to_vec);
    let (found, len): (Option<BTreeMap<_, _>>, usize) = match value {
        Value::Map(pairs) => {
            let found = pairs.iter().map(|(a, b)| Some((bytes(a)?, bytes(b)?)));
            (found.collect(), pairs.len())
        }
        Value::Array(items) => {
            let found = items
                .chunks(2)
                .map(|pair| Some((bytes(&pair[0])?, bytes(pair.get(1)?)?)));
            (found.collect(), items.len() / 2)
        }
        _ => return None,
    };
    found.filter(|found| found.len() == len)
}

fn fits(answer: &Answer, resp3: bool, value: &Value) -> bool {
    let mut spelled = Vec::new();
    if spell(answer, resp3, &mut spelled) {
        return read_value(&spelled).is_ok_and(|(expected, _)| expected == *value);
    }
    match (answer, value) {
        (Answer::Array(answers), Value::Array(items)) => {
            answers.len() == items.len()
                && answers
                    .iter()
                    .zip(items)
                    .all(|(answer, item)| fits(answer, resp3, item))
        }
        (Answer::Either(answers), value) => answers.iter().any(|it| fits(it, resp3, value)),
        (Answer::IntWithin(least, most), Value::Integer(number)) => {
            (least..=most).contains(&number)
        }
        (Answer::Members(members), value) => names(value, false).as_ref() == Some(members),
        (Answer::Bag(values), value) => sorted(value).as_ref() == Some(values),
        (Answer::Pairs(expected), value) => {
            pairs(value).as_ref() == Some(expected) && (resp3 == matches!(value, Value::Map(_)))
        }
        (Answer::Some(count, members), value) => names(value, false)
            .is_some_and(|found| found.len() == *count && found.is_subset(members)),
        (Answer::Repeated(count, members), value) => sorted(value).is_some_and(|found| {
            found.len() == *count && found.iter().all(|name| members.contains(name))
        }),
        (Answer::Holds(name, wanted), Value::Array(items)) => items.chunks(2).any(|pair| {
            pair[0].as_bytes() == Some(name.as_bytes())
                && pair.get(1).and_then(Value::as_bytes) == Some(wanted)
        }),
        (Answer::OneOf(members), Value::Bulk(name)) => members.contains(name),
        (Answer::OneOf(members), Value::Null) => resp3 && members.is_empty(),
        (Answer::OneOf(members), Value::NullBulk) => !resp3 && members.is_empty(),
        (Answer::ScanPairs(expected), Value::Array(parts)) => match &parts[..] {
            [Value::Bulk(cursor), found] if cursor == b"0" => {
                pairs(found).as_ref() == Some(expected)
            }
            _ => false,
        },
        (
            Answer::Scan {
                keys,
                whole,
                may_repeat,
            },
            Value::Array(parts),
        ) => match &parts[..] {
            [Value::Bulk(cursor), found] => names(found, *may_repeat).is_some_and(|found| {
                let ended = cursor == b"0";
                found.is_subset(keys) && (!(ended && *whole) || found == *keys)
            }),
            _ => false,
        },
        (Answer::Hello(protocol), Value::Map(pairs)) => {
            *protocol == 3 && pairs.contains(&(Value::bulk("proto"), Value::Integer(3)))
        }
        (Answer::Hello(protocol), Value::Array(items)) => {
            *protocol == 2 && items.len() == 14 && items[5] == Value::Integer(2)
        }
        _ => false,
    }
}
