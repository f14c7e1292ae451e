//! What simulated clients send: pipelines of commands over a few keys, with the values that break things.

mod clients;
mod strings;
mod types;

use gyre::system::rng::Rng;
use strings::{string_or_key, value};

/// One thing that a client sends.
#[derive(Clone, Debug)]
pub struct Sent {
    pub bytes: Vec<u8>,
    pub kind: SentKind,
}

#[derive(Clone, Debug)]
pub enum SentKind {
    /// Answered.
    Command(Vec<Vec<u8>>),
    /// Nothing to answer: an empty line, an empty array.
    Empty,
    /// Answered by this, and the connection is closed.
    ProtocolError(&'static str),
}

/// What may be asked in a simulation.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary {
    /// Commands that see which expired keys are still there (not while the wall clock goes back).
    pub whole_database: bool,
    /// Fields of hashes that expire (likewise).
    pub field_expiry: bool,
    /// Commands that wait.
    pub blocking: bool,
    /// CLIENT PAUSE.
    pub pauses: bool,
    /// Commands by which clients concern each other: Pub/Sub, kills.
    pub others: bool,
    /// Messages of streams are removed alone, and leave pending entries behind.
    pub removed_messages: bool,
    /// Scripts that change keys of which they do not say so, often.
    pub undeclared_keys: bool,
    /// How many commands in 100 are of strings and of keys in general.
    pub strings: u64,
}

const KEYS: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"key:1",
    b"key:2",
    b"n",
    b"",
    b"\x00\r\n\xff",
    &[b'k'; 300],
];
fn pick<'a, T: ?Sized>(rng: &mut Rng, from: &[&'a T]) -> &'a T {
    from[rng.index(from.len())]
}

fn key(rng: &mut Rng) -> Vec<u8> {
    if rng.below(20) == 0 {
        return types::key(rng);
    }
    pick(rng, KEYS).to_vec()
}

/// A key of any type.
fn any_key(rng: &mut Rng) -> Vec<u8> {
    match rng.below(2) {
        0 => key(rng),
        _ => types::key(rng),
    }
}

/// Something that was never there before, or that often is.
fn element(rng: &mut Rng) -> Vec<u8> {
    match rng.below(8) {
        0 => b"m1".to_vec(),
        _ => format!("e{:x}", rng.next_u64() >> 20).into_bytes(),
    }
}

/// An index or a count.
fn small(rng: &mut Rng) -> i64 {
    rng.below(11) as i64 - 5
}

pub fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

fn any_case(rng: &mut Rng, word: &str) -> Vec<u8> {
    if rng.below(3) == 0 {
        word.to_lowercase().into_bytes()
    } else {
        word.as_bytes().to_vec()
    }
}

fn command(rng: &mut Rng, may: Vocabulary, now_ms: i64) -> Vec<Vec<u8>> {
    if may.undeclared_keys && rng.below(6) == 0 {
        return clients::undeclared(rng);
    }
    if rng.below(100) < may.strings {
        return string_or_key(rng, may, now_ms);
    }
    match rng.below(5) {
        0 => types::list(rng),
        1 => types::hash(rng, may, now_ms),
        2 => types::set(rng),
        3 => types::sorted_set(rng),
        _ => types::stream(rng, may),
    }
}

/// A command as a multibulk request.
pub fn multibulk(args: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend(format!("${}\r\n", arg.len()).bytes());
        bytes.extend(arg);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// Commands whose answers together tell all of a key that holds a value of this type; `is_reloaded`: with what tells two
/// moments apart, and without what is pending in groups, which is asked for when their names are known.
pub fn asking(key: &[u8], kind: &str, is_reloaded: bool) -> Vec<Vec<Vec<u8>>> {
    let lines: &[&str] = match kind {
        "string" => &["GET"],
        "list" => &["LRANGE 0 -1"],
        "hash" => &["HLEN", "HGETALL", "HPEXPIRETIME FIELDS 5 f1 f2 f3 n f4"],
        "set" => &["SMEMBERS"],
        "zset" => &["ZRANGE 0 -1 WITHSCORES"],
        // Errors do not spell such a name as it is. And without the ids that stand nowhere else, two moments could not be
        // told apart.
        _ if is_reloaded || key.contains(&b'\r') => &["XRANGE - +", "XINFO STREAM", "XINFO GROUPS"],
        _ => &["XRANGE - +", "XPENDING g1 - + 1000", "XPENDING g2 - + 1000"],
    };
    let all = ["TYPE", "PEXPIRETIME"].iter().chain(lines);
    all.map(|line| {
        let mut args = words(line);
        let at = if args[0] == b"XINFO" { 2 } else { 1 };
        args.insert(at, key.to_vec());
        args
    })
    .collect()
}

fn is_plain(args: &[Vec<u8>]) -> bool {
    args.iter().all(|arg| {
        (1..200).contains(&arg.len()) && arg.iter().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn item(rng: &mut Rng, args: Vec<Vec<u8>>) -> Sent {
    let inline = is_plain(&args) && rng.below(4) == 0;
    let bytes = if inline {
        let mut line = args.join(&b' ');
        line.extend_from_slice(if rng.below(2) == 0 { b"\r\n" } else { b"\n" });
        line
    } else {
        multibulk(&args)
    };
    Sent {
        bytes,
        kind: SentKind::Command(args),
    }
}

/// All that one client is going to send.
pub fn script(rng: &mut Rng, may: Vocabulary, len: usize, now_ms: i64) -> Vec<Sent> {
    let mut items = Vec::new();
    while items.len() < len {
        match rng.below(60) {
            0 => items.push(Sent {
                bytes: pick(rng, &[&b"\r\n"[..], b"*0\r\n", b"*-1\r\n", b"\n"]).to_vec(),
                kind: SentKind::Empty,
            }),
            1 => {
                // What is not answered, and something to be swallowed.
                items.push(item(rng, words("CLIENT REPLY SKIP")));
                items.push(item(rng, vec![b"INCR".to_vec(), b"n".to_vec()]));
            }
            2 => {
                items.push(item(rng, words("CLIENT REPLY OFF")));
                for _ in 0..rng.below(6) {
                    let args = command(rng, may, now_ms);
                    items.push(item(rng, args));
                }
                items.push(item(rng, words("CLIENT REPLY ON")));
            }
            3 => {
                let all = clients::transaction(rng, may, |rng| command(rng, may, now_ms));
                for args in all {
                    items.push(item(rng, args));
                }
            }
            4..=5 => {
                let args = clients::script(rng);
                items.push(item(rng, args));
            }
            6..=8 if may.blocking => {
                let args = types::blocking(rng);
                items.push(item(rng, args));
            }
            9..=12 if may.others => {
                let args = match rng.below(3) {
                    0 => clients::others(rng, may),
                    _ => clients::pubsub(rng),
                };
                items.push(item(rng, args));
            }
            _ => {
                let args = command(rng, may, now_ms);
                items.push(item(rng, args));
            }
        }
    }
    match rng.below(12) {
        0 => items.push(item(rng, words("QUIT"))),
        1 => {
            let (bytes, text) = ERRORS[rng.index(ERRORS.len())];
            items.push(Sent {
                bytes: bytes.to_vec(),
                kind: SentKind::ProtocolError(text),
            });
        }
        _ => return items,
    }
    // Nobody reads this.
    items.push(item(rng, words("SET a never")));
    items
}

const ERRORS: &[(&[u8], &str)] = &[
    (b"*x\r\n", "invalid multibulk length"),
    (b"*1\r\n!4\r\nPING\r\n", "expected '$', got '!'"),
    (b"*1\r\n$-1\r\n", "invalid bulk length"),
    (b"*2\r\n$3\r\nGET\r\n$x\r\n", "invalid bulk length"),
    (b"*1048577000\r\n", "invalid multibulk length"),
    (b"SET \"a b\r\n", "unbalanced quotes in request"),
];
