//! Commands that concern other clients, or more than one command: Pub/Sub, transactions, scripts, kills and pauses.

use super::{Vocabulary, any_key, element, pick, types, words};
use crate::model::{FUNCTIONS, SCRIPTS, UNDECLARED, sha1};
use gyre::system::rng::Rng;

type Words = Vec<Vec<u8>>;

const CHANNELS: &[&str] = &["ch1", "ch2", "cx"];
const PATTERNS: &[&str] = &["ch*", "c*", "*"];

pub fn pubsub(rng: &mut Rng) -> Words {
    let channel = pick(rng, CHANNELS);
    match rng.below(12) {
        0..=4 => {
            let mut args = words(&format!("PUBLISH {channel}"));
            args.push(element(rng));
            args
        }
        5 => words(&format!("SPUBLISH {channel} said")),
        6 => words(&format!("SUBSCRIBE {channel} {}", pick(rng, CHANNELS))),
        7 => words(&format!("PSUBSCRIBE {}", pick(rng, PATTERNS))),
        8 => words(&format!("SSUBSCRIBE {channel}")),
        9 => words(&format!("UNSUBSCRIBE {channel}")),
        10 => words(&format!("PUNSUBSCRIBE {}", pick(rng, PATTERNS))),
        _ => words(pick(rng, &["UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"])),
    }
}

/// Scripts and functions; which keys fit is left to chance.
pub fn script(rng: &mut Rng) -> Words {
    let which = rng.index(UNDECLARED);
    let body = SCRIPTS[which];
    let mut args = match rng.below(12) {
        0 => {
            let mut args = words("SCRIPT LOAD");
            args.push(body.into());
            return args;
        }
        1 => return words(&format!("SCRIPT EXISTS {}", sha1(body.as_bytes()))),
        2 if rng.below(4) == 0 => return words("SCRIPT FLUSH"),
        3 => {
            let mut args = words("FUNCTION LOAD REPLACE");
            args.push(FUNCTIONS.into());
            return args;
        }
        4 if rng.below(4) == 0 => return words("FUNCTION FLUSH"),
        4..=5 => words(&format!("FCALL {} 2", pick(rng, &["sim1", "sim2"]))),
        6..=7 => words(&format!("EVALSHA {} 2", sha1(body.as_bytes()))),
        _ => vec![b"EVAL".to_vec(), body.into(), b"2".to_vec()],
    };
    // Mostly a key of the type that the script is about.
    let key = match which {
        1 | 2 | 8 => pick(rng, &["l1", "l2"]),
        4 => "h1",
        5 => "s1",
        6 => "z1",
        _ => "n",
    };
    args.push(if rng.below(6) == 0 {
        any_key(rng)
    } else {
        key.into()
    });
    args.push(pick(rng, &["l1", "l3", "s1", "x1"]).into());
    args.push(element(rng));
    args
}

/// A script that does not say which keys it changes.
pub fn undeclared(rng: &mut Rng) -> Words {
    let body = SCRIPTS[UNDECLARED + rng.index(SCRIPTS.len() - UNDECLARED)];
    vec![b"EVAL".to_vec(), body.into(), b"0".to_vec(), element(rng)]
}

/// MULTI, some commands, and an end; perhaps WATCH in front.
pub fn transaction(
    rng: &mut Rng,
    may: Vocabulary,
    mut command: impl FnMut(&mut Rng) -> Words,
) -> Vec<Words> {
    let mut all = Vec::new();
    if rng.below(2) == 0 {
        let mut args = words("WATCH");
        for _ in 0..1 + rng.below(2) {
            args.push(any_key(rng));
        }
        all.push(args);
        for _ in 0..rng.below(3) {
            all.push(command(rng));
        }
    }
    all.push(words("MULTI"));
    for _ in 0..rng.below(6) {
        let args = match rng.below(8) {
            0 if may.blocking => types::blocking(rng),
            1 => script(rng),
            _ => command(rng),
        };
        // Half of EXEC's answer in one protocol and half in the other is nothing that anyone could read.
        if !args[0].eq_ignore_ascii_case(b"HELLO") {
            all.push(args);
        }
    }
    if rng.below(12) == 0 {
        all.push(words(pick(rng, &["MULTI", "WATCH a", "NOSUCH", "GET"])));
    }
    all.push(words(pick(
        rng,
        &["EXEC", "EXEC", "EXEC", "EXEC", "DISCARD"],
    )));
    all
}

/// What is done to other clients.
pub fn others(rng: &mut Rng, may: Vocabulary) -> Words {
    let id = 1 + rng.below(20);
    match rng.below(8) {
        0..=1 => words(&format!("CLIENT KILL ID {id}")),
        2..=4 => {
            let how = pick(rng, &["", " TIMEOUT", " ERROR"]);
            words(&format!("CLIENT UNBLOCK {id}{how}"))
        }
        5..=6 if may.pauses => {
            let which = pick(rng, &["WRITE", "ALL"]);
            words(&format!("CLIENT PAUSE {} {which}", 1 + rng.below(40)))
        }
        7 if may.pauses => words("CLIENT UNPAUSE"),
        _ => words("CLIENT ID"),
    }
}
