//! Random commands of every type, sent to gyre and to a redis-server side by side.
//!
//! Commands come in epochs, each with a seed of its own that begins with empty databases and directives that make
//! values change their encodings early. They go pipelined to both servers, now on a connection that speaks RESP2, now
//! on one that speaks RESP3, among them transactions that a further connection interferes with, and scripts; replies are compared as [`compare::Class`] says, and every few hundred commands all keys
//! with their encodings, expiries and DEBUG DIGEST-VALUE, and each value by DUMP and RESTORE from one server to the
//! other. What differs is cut down to the shortest list of commands that still differs, and printed.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `GYRE_DIFF_COMMANDS` | how many commands to send (20000) |
//! | `GYRE_DIFF_SEED` | first seed (1) |
//! | `GYRE_DIFF_FAILURES` | stop after so many different differences (1) |
//! | `GYRE_DIFF_WITHOUT` | pass over commands and differences whose text has one of these words, separated by a bar |
//!
//! The Redis is of version 8.0 ([`common::redis_server`]).

#[path = "../common/mod.rs"]
mod common;
mod compare;
mod epoch;
mod events;
mod grammar;
mod known_differences;
mod old_redis;
mod pair;
mod scripts;
mod transactions;
mod users;

use compare::show;
use epoch::generate;
use grammar::{Command, Grammar, RESP2, RESP3};
use gyre::resp::reader::Value;
use pair::Pair;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use transactions::Queues;

/// Commands between two comparisons of all data.
const STEP: usize = 200;

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// A difference, and where it was seen.
struct Difference {
    /// Index of the command; none: in the data.
    at: Option<usize>,
    /// Index of the last command before it was seen.
    seen: usize,
    /// What tells it from others.
    signature: String,
    text: String,
}

/// When a play compares all data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Now and then, and at the end.
    Often,
    /// At the end.
    AtTheEnd,
    Never,
}

/// Plays commands from empty databases on; the first difference.
fn play(pair: &mut Pair, commands: &[Command], look: Look) -> Option<Difference> {
    pair.reset();
    known_differences::ERRORS_DIFFER.store(false, Relaxed);
    let mut queued = [false; grammar::CONNECTIONS];
    let mut played = Vec::new();
    for (at, command) in commands.iter().enumerate() {
        let queued = &mut queued[command.on];
        match command.words[0].to_ascii_uppercase().as_slice() {
            b"MULTI" => *queued = true,
            b"EXEC" | b"DISCARD" => *queued = false,
            _ if command.blocks && !*queued => continue,
            _ if known_differences::is_passed_over(&print(command)) => continue,
            _ => {}
        }
        played.push(at);
    }
    let mut queues = Queues::default();
    for step in played.chunks(STEP) {
        let is_last = step.last() == played.last();
        for (at, (ours, theirs)) in step
            .iter()
            .zip(pair.run(step.iter().map(|at| &commands[*at])))
        {
            let command = &commands[*at];
            if queues.agree(command, &ours, &theirs) {
                continue;
            }
            let found = difference(*at, command, &ours, &theirs);
            if !known_differences::is_passed_over(&format!("{} {}", print(command), found.text)) {
                return Some(found);
            }
        }
        let mut found = None;
        if look == Look::Often || look == Look::AtTheEnd && is_last {
            found = pair.compare_events().or_else(|| pair.compare_data());
        }
        if look != Look::Never && is_last && !known_differences::ERRORS_DIFFER.load(Relaxed) {
            found = found.or_else(|| pair.compare_figures());
        }
        if let Some((signature, text)) = found {
            return Some(Difference {
                at: None,
                seen: step.last().copied().unwrap_or(0),
                signature,
                text,
            });
        }
    }
    None
}

fn difference(at: usize, command: &Command, ours: &Value, theirs: &Value) -> Difference {
    let name = String::from_utf8_lossy(&command.words[0]).to_ascii_uppercase();
    let kind = |value: &Value| {
        let text = show(value);
        match value {
            Value::Error(_) => text,
            _ => text.chars().take(1).collect(),
        }
    };
    Difference {
        at: Some(at),
        seen: at,
        signature: format!("{name} {} {}", kind(ours), kind(theirs)),
        text: format!("gyre:  {}\nredis: {}", show(ours), show(theirs)),
    }
}

/// The shortest list that was found that still shows the same difference.
fn shorten(pair: &mut Pair, commands: &[Command], found: &Difference) -> Vec<Command> {
    let look = if found.at.is_some() {
        Look::Never
    } else {
        Look::AtTheEnd
    };
    let end = found.at.unwrap_or(found.seen);
    let mut left = commands[..=end].to_vec();
    let mut chunk = left.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < left.len() && left.len() > 1 {
            let mut fewer = left.clone();
            fewer.drain(at..(at + chunk).min(left.len()));
            match play(pair, &fewer, look) {
                Some(again) if again.signature == found.signature => {
                    let end = again.at.map_or(fewer.len(), |at| at + 1);
                    fewer.truncate(end);
                    left = fewer;
                }
                _ => at += chunk,
            }
        }
        if chunk == 1 {
            return left;
        }
        chunk = chunk.div_ceil(2).max(1);
    }
}

fn print(command: &Command) -> String {
    let words: Vec<String> = command
        .words
        .iter()
        .map(|word| {
            let text = word.escape_ascii().to_string();
            if text.is_empty() || text.contains([' ', '\\']) {
                format!("\"{text}\"")
            } else {
                text
            }
        })
        .collect();
    let connection = match command.on {
        RESP2 => "2> ",
        RESP3 => "3> ",
        _ => "other> ",
    };
    let pause = match command.pause_ms {
        0 => String::new(),
        ms => format!("  (and {ms} ms pass)"),
    };
    format!("{connection}{}{pause}", words.join(" "))
}

#[test]
fn gyre_answers_as_redis_does() {
    let Some(mut pair) = Pair::start() else {
        return;
    };
    let wanted = variable("GYRE_DIFF_COMMANDS", 20_000);
    let first_seed = variable("GYRE_DIFF_SEED", 1);
    let most_failures = variable("GYRE_DIFF_FAILURES", 1) as usize;
    let mut grammar = Grammar::new();
    let unknown = grammar.forget(|name| !pair.gyre_knows(name));
    if !unknown.is_empty() {
        println!("differential: not in gyre: {}", unknown.join(" "));
    }
    let mut failures: BTreeMap<String, u64> = BTreeMap::new();
    let (mut sent, mut seed) = (0, first_seed);
    while sent < wanted {
        let commands = generate(&grammar, seed);
        sent += commands.len() as u64;
        if let Some(found) = play(&mut pair, &commands, Look::Often)
            && !failures.contains_key(&found.signature)
        {
            let shortest = shorten(&mut pair, &commands, &found);
            let text =
                play(&mut pair, &shortest, Look::Often).map_or(found.text, |again| again.text);
            println!("\n== a difference, seed {seed}: {}", found.signature);
            shortest
                .iter()
                .for_each(|command| println!("{}", print(command)));
            println!("{text}");
            failures.insert(found.signature, seed);
            if failures.len() >= most_failures {
                break;
            }
        }
        seed += 1;
    }
    println!(
        "differential: {sent} commands, seeds {first_seed} to {}",
        seed.saturating_sub(1)
    );
    assert!(
        failures.is_empty(),
        "{} differences: {failures:?}",
        failures.len()
    );
}
