//! Whether bytes are the answer that the model expects.

use crate::model::Answer;
use gyre::resp::reader::{ReadError, Value, read_value};
use std::collections::BTreeSet;

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
    match answer {
        Answer::Simple(text) => out.extend(format!("+{text}\r\n").bytes()),
        Answer::Error(text) => out.extend(format!("-{text}\r\n").bytes()),
        Answer::Int(number) => out.extend(format!(":{number}\r\n").bytes()),
        Answer::Bulk(bytes) => {
            out.extend(format!("${}\r\n", bytes.len()).bytes());
            out.extend(bytes);
            out.extend(b"\r\n");
        }
        Answer::Null => out.extend(if resp3 { &b"_\r\n"[..] } else { b"$-1\r\n" }),
        Answer::Array(items) => {
            out.extend(format!("*{}\r\n", items.len()).bytes());
            return items.iter().all(|item| spell(item, resp3, out));
        }
        Answer::IntWithin(..)
        | Answer::Members(_)
        | Answer::OneOf(_)
        | Answer::Scan { .. }
        | Answer::Hello(_) => return false,
    }
    true
}

/// Compares.
pub fn compare(answer: &Answer, resp3: bool, bytes: &[u8]) -> Compared {
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

fn names(value: &Value, may_repeat: bool) -> Option<BTreeSet<Vec<u8>>> {
    let items = value.items()?;
    let set: Option<BTreeSet<Vec<u8>>> = items
        .iter()
        .map(|item| item.as_bytes().map(<[u8]>::to_vec))
        .collect();
    set.filter(|set| may_repeat || set.len() == items.len())
}

fn fits(answer: &Answer, resp3: bool, value: &Value) -> bool {
    match (answer, value) {
        (Answer::IntWithin(least, most), Value::Integer(number)) => {
            (least..=most).contains(&number)
        }
        (Answer::Members(members), value) => names(value, false).as_ref() == Some(members),
        (Answer::OneOf(members), Value::Bulk(name)) => members.contains(name),
        (Answer::OneOf(members), Value::Null) => resp3 && members.is_empty(),
        (Answer::OneOf(members), Value::NullBulk) => !resp3 && members.is_empty(),
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
