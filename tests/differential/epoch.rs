//! An epoch of random commands: single ones, transactions and scripts, over two connections and one that interferes.

use super::compare::Class;
use super::grammar::{Command, DIRECTIVES, Grammar, RESP2, RESP3};
use super::{scripts, transactions};
use gyre::system::rng::Rng;

const EPOCH: usize = 2000;

/// A command that no generator made.
fn fixed(words: &[&str]) -> Command {
    let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    Command::new(words, Class::Exact)
}

/// One epoch's commands.
pub fn generate(grammar: &Grammar, seed: u64) -> Vec<Command> {
    let rng = &mut Rng::new(seed);
    let mut commands = Vec::new();
    for (name, values) in DIRECTIVES {
        let value = if rng.index(2) == 0 {
            values[0]
        } else {
            values[rng.index(values.len())]
        };
        commands.push(fixed(&["CONFIG", "SET", name, value]));
    }
    // Elements of a hundred bytes in nodes of their own, or none.
    let threshold = ["0", "100b"][rng.index(2)];
    commands.push(fixed(&["DEBUG", "QUICKLIST-PACKED-THRESHOLD", threshold]));
    // Fields that have expired are counted until something removes them: then nothing does that by itself.
    let fields_expire = rng.index(4) != 0;
    if !fields_expire {
        // Who meets a key that has expired first, the cycle or a command, is not told then.
        commands.push(fixed(&["CONFIG", "SET", "notify-keyspace-events", ""]));
        commands.push(fixed(&["DEBUG", "SET-ACTIVE-EXPIRE", "1"]));
    }
    let mut queued = [false, false];
    let mut on = RESP2;
    while commands.len() < EPOCH {
        if rng.index(20) == 0 {
            on = RESP2 + RESP3 - on;
        }
        let queued = &mut queued[on];
        if !*queued && rng.index(60) == 0 {
            transactions::transaction(grammar, rng, on, !fields_expire, &mut commands);
            continue;
        }
        if !*queued && rng.index(80) == 0 {
            transactions::expiring(grammar, rng, on, fields_expire, &mut commands);
            continue;
        }
        if rng.index(15) == 0 {
            scripts::script(grammar, rng, on, &mut commands);
            continue;
        }
        let mut command = grammar.command(rng, *queued);
        command.on = on;
        if *queued && !transactions::may_be_queued(&command) {
            continue;
        }
        match command.words[0].to_ascii_uppercase().as_slice() {
            b"MULTI" => *queued = true,
            b"EXEC" | b"DISCARD" => *queued = false,
            _ => {}
        }
        commands.push(command);
    }
    commands
}
