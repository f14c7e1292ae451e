//! Values on their way out: the spellings of CONFIG GET and the lines of a rewritten file.
//!
//! A [`Value`] comes in, text goes out, which `value::parse` reads back as the same value. It mirrors
//! the get and rewrite functions of Redis's `config.c`.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::table::{Directive, Kind, Unit};
use super::value::{CLASSES, EVENTS, EVENTS_ALL, OUTPUT_LIMITS, OutputLimit, Value, default};
use crate::system::quoting;

/// A percentage with up to six decimals and no zeroes at the end.
fn spell_percentile(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn spell_enum(names: &[(&str, u32)], bits: u32) -> String {
    if let Some((name, _)) = names.iter().find(|(_, value)| *value == bits) {
        return (*name).to_string();
    }
    let set: Vec<&str> = names
        .iter()
        .filter(|(_, value)| *value != 0 && bits & value == *value)
        .map(|(name, _)| *name)
        .collect();
    set.join(" ")
}

/// The characters of a set of event classes, as CONFIG GET reports them.
pub fn spell_events(bits: u32) -> String {
    let all = bits & EVENTS_ALL == EVENTS_ALL;
    let mut text = String::new();
    if all {
        text.push('A');
    }
    for (class, bit) in EVENTS {
        // `n` is not part of `A`, yet Redis leaves it out beside `A`.
        let covered = all && (EVENTS_ALL & bit != 0 || class == b'n');
        if bits & bit != 0 && !covered {
            text.push(char::from(class));
        }
    }
    text
}

fn spell_bytes(bytes: u64) -> String {
    match bytes {
        0 => "0".to_string(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}gb", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}mb", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}kb", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// The value as CONFIG GET reports it.
pub fn spell(directive: &Directive, value: &Value) -> Vec<u8> {
    let text = match value {
        Value::Bool(value) => if *value { "yes" } else { "no" }.to_string(),
        Value::Number(number) => match directive.kind {
            Kind::Number {
                unit: Unit::Octal, ..
            } => format!("{number:o}"),
            Kind::Number {
                unit: Unit::BytesOrPercent,
                ..
            } if *number < 0 => format!("{}%", number.unsigned_abs()),
            _ => number.to_string(),
        },
        Value::Enum(bits) => match directive.kind {
            Kind::Enum { names, .. } => spell_enum(names, *bits),
            _ => String::new(),
        },
        Value::Text(text) => return text.clone(),
        Value::Dir(path) => return path.as_os_str().as_bytes().to_vec(),
        Value::Save(points) => {
            let points: Vec<String> = points
                .iter()
                .map(|(seconds, changes)| format!("{seconds} {changes}"))
                .collect();
            points.join(" ")
        }
        Value::Bind(addresses) => return addresses.join(&b' '),
        Value::OutputLimits(limits) => {
            let limits = limits.iter().zip(CLASSES).map(|(limit, names)| {
                let OutputLimit {
                    hard_bytes,
                    soft_bytes,
                    soft_seconds,
                } = limit;
                format!(
                    "{} {hard_bytes} {soft_bytes} {soft_seconds}",
                    names.first().copied().unwrap_or_default()
                )
            });
            limits.collect::<Vec<_>>().join(" ")
        }
        Value::OomValues(values) => values.map(|value| value.to_string()).join(" "),
        Value::Events(bits) => spell_events(*bits),
        Value::Percentiles(values) => values
            .iter()
            .map(|value| spell_percentile(*value))
            .collect::<Vec<_>>()
            .join(" "),
        Value::ReplicaOf(None) => String::new(),
        Value::ReplicaOf(Some((host, port))) => {
            return [host.as_slice(), b" ", port.to_string().as_bytes()].concat();
        }
    };
    text.into_bytes()
}

/// What CONFIG REWRITE does with a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Its lines go.
    Remove,
    /// These lines take the place of the old ones. One that is not needed (the value is the
    /// default) is written only where an old line stands.
    Keep(Vec<Line>),
}

/// One line of a rewritten file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The whole line.
    pub text: Vec<u8>,
    /// The line is added even where the old file has no such line.
    pub needed: bool,
}

/// The lines that a directive gets in a rewritten file.
pub fn lines(directive: &Directive, value: &Value) -> Lines {
    let default = default(directive, Path::new(""));
    let line = |argument: &[u8], needed: bool| Line {
        text: [directive.name.as_bytes(), b" ", argument].concat(),
        needed,
    };
    let needed = *value != default;
    let one = |argument: &[u8], needed: bool| Lines::Keep(vec![line(argument, needed)]);
    match value {
        Value::Text(text) => match directive.kind {
            Kind::Text {
                empty_is_unset: true,
                ..
            } if text.is_empty() => Lines::Remove,
            _ => one(&quoting::quote(text), needed),
        },
        Value::Dir(path) => one(&quoting::quote(path.as_os_str().as_bytes()), true),
        Value::Number(number) => match (directive.kind, u64::try_from(*number)) {
            (
                Kind::Number {
                    unit: Unit::Bytes | Unit::BytesOrPercent,
                    ..
                },
                Ok(bytes),
            ) => one(spell_bytes(bytes).as_bytes(), needed),
            _ => one(&spell(directive, value), needed),
        },
        Value::Save(points) if points.is_empty() => one(b"\"\"", true),
        Value::Save(points) => Lines::Keep(
            points
                .iter()
                .map(|(seconds, changes)| line(format!("{seconds} {changes}").as_bytes(), true))
                .collect(),
        ),
        // The default cannot be told from the file's silence.
        Value::Bind(_) if !needed => Lines::Remove,
        Value::Bind(addresses) if addresses.is_empty() => one(b"\"\"", true),
        Value::OutputLimits(limits) => {
            let limits =
                limits
                    .iter()
                    .zip(OUTPUT_LIMITS)
                    .zip(CLASSES)
                    .map(|((limit, default), names)| {
                        let name = names.last().copied().unwrap_or_default();
                        let (hard, soft) =
                            (spell_bytes(limit.hard_bytes), spell_bytes(limit.soft_bytes));
                        line(
                            format!("{name} {hard} {soft} {}", limit.soft_seconds).as_bytes(),
                            *limit != default,
                        )
                    });
            Lines::Keep(limits.collect())
        }
        Value::Events(bits) => one(&quoting::quote(spell_events(*bits).as_bytes()), needed),
        Value::Percentiles(values) if values.is_empty() => one(b"\"\"", true),
        Value::Percentiles(_) => one(&spell(directive, value), true),
        Value::ReplicaOf(None) => Lines::Remove,
        _ => one(&spell(directive, value), needed),
    }
}
