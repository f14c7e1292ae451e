//! Whether two replies say the same, as far as that is asked of the command.

use gyre::resp::reader::Value;

/// How the replies of a command are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Byte for byte.
    Exact,
    /// Elements in any order.
    Unordered,
    /// Fields with their values in any order, flat or as a map.
    Pairs,
    /// A cursor, and elements in any order that belong together so many at a time.
    ScanOf(usize),
    /// The same at every depth.
    AnyOrder,
    /// Chosen at random: the same number and types of elements.
    Random,
    /// The same, and the command has changed something; whatever it changed is deleted after it.
    RandomChange,
    /// The same type, null or not.
    Shape,
    /// A time that may differ by the time that passed.
    Times,
    /// Maps with times in them.
    Loose,
    /// Not at all.
    Any,
}

/// What may pass between the two servers' looks at their clocks, ms.
const TOLERANCE_MS: i64 = 10_000;

pub fn same(class: Class, ours: &Value, theirs: &Value) -> bool {
    if ours == theirs || class == Class::Any {
        return true;
    }
    if matches!(ours, Value::Error(_)) || matches!(theirs, Value::Error(_)) {
        return false;
    }
    match class {
        Class::Exact | Class::Any => false,
        Class::Unordered => sorted(ours, 1) == sorted(theirs, 1),
        Class::Pairs => sorted(ours, 2) == sorted(theirs, 2),
        Class::AnyOrder => any_order(ours) == any_order(theirs),
        Class::ScanOf(width) => match (ours.items(), theirs.items()) {
            (Some([a, ours]), Some([b, theirs])) => {
                a == b && sorted(ours, width) == sorted(theirs, width)
            }
            _ => false,
        },
        Class::Random | Class::RandomChange => shape(ours, true) == shape(theirs, true),
        Class::Shape => shape(ours, false) == shape(theirs, false),
        Class::Times => match (ours, theirs) {
            (Value::Integer(a), Value::Integer(b)) => *a >= 0 && *b >= 0 && close(*a, *b),
            // Of fields.
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(class, a, b))
            }
            _ => false,
        },
        Class::Loose => loose(ours) == loose(theirs),
    }
}

fn close(a: i64, b: i64) -> bool {
    a.abs_diff(b) <= TOLERANCE_MS.unsigned_abs()
}

/// Doubles in one spelling; see `known_differences.rs`.
fn plain(value: &Value) -> String {
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<f64>().ok();
    match value {
        Value::Bulk(bytes) => match number(bytes) {
            Some(number) if bytes.contains(&b'.') || bytes.contains(&b'e') => format!("{number:?}"),
            _ => format!("{value:?}"),
        },
        other => format!("{other:?}"),
    }
}

/// A value as text, its elements in order.
fn any_order(value: &Value) -> String {
    let mut parts: Vec<String> = match value {
        Value::Map(pairs) => (pairs.iter())
            .map(|(name, value)| format!("{}: {}", any_order(name), any_order(value)))
            .collect(),
        Value::Set(items) | Value::Array(items) => items.iter().map(any_order).collect(),
        other => return plain(other),
    };
    parts.sort_unstable();
    let kind = match value {
        Value::Map(_) => "map",
        Value::Set(_) => "set",
        _ => "array",
    };
    format!("{kind}{parts:?}")
}

/// The elements as text, in order, `width` of them together.
fn sorted(value: &Value, width: usize) -> (bool, Vec<String>) {
    let text = |items: &[Value]| items.iter().map(plain).collect::<Vec<_>>().join(" ");
    let (is_map, mut all): (bool, Vec<String>) = match value {
        Value::Map(pairs) => (true, pairs.iter().map(|pair| format!("{pair:?}")).collect()),
        Value::Set(items) => (true, items.chunks(width).map(text).collect()),
        Value::Array(items) => (false, items.chunks(width).map(text).collect()),
        other => (false, vec![format!("{other:?}")]),
    };
    all.sort_unstable();
    (is_map, all)
}

/// The types of a value and, `deep`, of its elements.
fn shape(value: &Value, deep: bool) -> String {
    let name = |value: &Value| {
        let text = format!("{value:?}");
        text.split(['(', ' ']).next().unwrap_or_default().to_owned()
    };
    match value.items() {
        Some(items) if deep => {
            let inner: Vec<String> = items.iter().map(|item| shape(item, true)).collect();
            format!("{}{inner:?}", name(value))
        }
        _ => name(value),
    }
}

/// Fields whose values depend on clocks or on how a server keeps its data, or that one of the two does not have.
const UNSTABLE: &[&str] = &[
    "idle",
    "inactive",
    "seen-time",
    "active-time",
    "radix-tree-keys",
    "radix-tree-nodes",
];

/// A value without what is unstable in it.
fn loose(value: &Value) -> Value {
    match value {
        Value::Map(pairs) => Value::Map(
            pairs
                .iter()
                .filter(|(name, _)| !is_unstable(name))
                .map(|(name, value)| (name.clone(), loose(value)))
                .collect(),
        ),
        // A flat map of RESP2.
        Value::Array(items) if items.len() % 2 == 0 && items.iter().any(is_unstable) => {
            let pairs = items.chunks(2).filter(|pair| !is_unstable(&pair[0]));
            Value::Array(pairs.flatten().map(loose).collect())
        }
        // One pending entry: id, consumer, idle time or time of delivery, deliveries.
        Value::Array(items) => Value::Array(match items.as_slice() {
            [
                id @ Value::Bulk(_),
                who @ Value::Bulk(_),
                Value::Integer(_),
                count @ Value::Integer(_),
            ] => {
                vec![id.clone(), who.clone(), count.clone()]
            }
            [
                id @ Value::Bulk(_),
                Value::Integer(_),
                count @ Value::Integer(_),
            ] => {
                vec![id.clone(), count.clone()]
            }
            _ => items.iter().map(loose).collect(),
        }),
        other => other.clone(),
    }
}

fn is_unstable(name: &Value) -> bool {
    name.as_bytes()
        .is_some_and(|name| UNSTABLE.iter().any(|known| known.as_bytes() == name))
}

/// A value on one line, for people.
pub fn show(value: &Value) -> String {
    match value {
        Value::Simple(text) => format!("+{text}"),
        Value::Error(text) => format!("-{}", String::from_utf8_lossy(text)),
        Value::Integer(number) => format!(":{number}"),
        Value::Bulk(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        Value::Double(text) => format!(",{text}"),
        Value::Array(items) => format!("[{}]", show_all(items)),
        Value::Set(items) => format!("~[{}]", show_all(items)),
        Value::Push(items) => format!(">[{}]", show_all(items)),
        Value::Map(pairs) => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(name, value)| format!("{}: {}", show(name), show(value)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn show_all(items: &[Value]) -> String {
    let all: Vec<String> = items.iter().map(show).collect();
    all.join(", ")
}
