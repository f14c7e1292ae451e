//! Commands of strings, of keys in general and of databases, with the numbers that break things.

use super::{Vocabulary, any_case, any_key, key, pick, types, words};
use gyre::system::rng::Rng;

/// Floats live at keys of their own, where the model's doubles are exact.
const FLOAT_KEYS: &[&[u8]] = &[b"f1", b"f2"];
const LENGTHS: &[usize] = &[
    20, 43, 44, 45, 100, 1000, 16_383, 16_384, 16_385, 32_767, 32_768, 32_769, 70_000, 200_000,
];

fn number(rng: &mut Rng) -> Vec<u8> {
    const EDGES: &[&str] = &[
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-0",
        "01",
        "+1",
        " 1",
        "1 ",
        "1e3",
        "",
        "x",
        "4294967296",
        "2147483648",
    ];
    match rng.below(8) {
        0 => pick(rng, EDGES).as_bytes().to_vec(),
        1 => (rng.next_u64() as i64 >> rng.below(64))
            .to_string()
            .into_bytes(),
        _ => (rng.below(200) as i64 - 100).to_string().into_bytes(),
    }
}

pub fn value(rng: &mut Rng) -> Vec<u8> {
    match rng.below(10) {
        0..=3 => number(rng),
        4..=6 => {
            let mut bytes = vec![0; rng.index(30)];
            rng.fill(&mut bytes);
            bytes
        }
        7..=8 => {
            let len = LENGTHS[rng.index(8)];
            vec![b'a' + rng.below(26) as u8; len]
        }
        _ => {
            let len = LENGTHS[rng.index(LENGTHS.len())];
            let mut bytes = vec![0; len];
            rng.fill(&mut bytes[..len.min(64)]);
            bytes
        }
    }
}

/// A number for an option of expiry: mostly soon.
fn time(rng: &mut Rng, unit: &str, now_ms: i64) -> Vec<u8> {
    if rng.below(10) == 0 {
        return number(rng);
    }
    // Some so soon that the very millisecond of the expiry is seen.
    let ms = match rng.below(3) {
        0 => rng.below(8) as i64,
        _ => rng.below(4000) as i64 - 300,
    };
    let in_unit = if unit.starts_with('P') { ms } else { ms / 1000 };
    let now = match unit {
        "EXAT" => now_ms / 1000,
        "PXAT" => now_ms,
        _ => 0,
    };
    (now + in_unit).to_string().into_bytes()
}

const UNITS: &[&str] = &["EX", "PX", "EXAT", "PXAT"];

fn set(rng: &mut Rng, now_ms: i64) -> Vec<Vec<u8>> {
    let mut args = vec![b"SET".to_vec(), key(rng), value(rng)];
    if rng.below(2) == 0 {
        return args;
    }
    for _ in 0..rng.below(3) {
        match rng.below(7) {
            0 => args.push(any_case(rng, "NX")),
            1 => args.push(any_case(rng, "XX")),
            2 => args.push(any_case(rng, "GET")),
            3 => args.push(any_case(rng, "KEEPTTL")),
            4 => {
                args.push(any_case(rng, "IFEQ"));
                args.push(number(rng));
            }
            _ => {
                let unit = pick(rng, UNITS);
                args.push(any_case(rng, unit));
                args.push(time(rng, unit, now_ms));
            }
        }
    }
    if rng.below(20) == 0 {
        args.push(b"WHAT".to_vec());
    }
    args
}

pub fn string_or_key(rng: &mut Rng, may: Vocabulary, now_ms: i64) -> Vec<Vec<u8>> {
    let name = |word: &str| word.as_bytes().to_vec();
    match rng.below(46) {
        0..=5 => set(rng, now_ms),
        6..=9 => vec![name("GET"), key(rng)],
        10 => vec![name("GETSET"), key(rng), value(rng)],
        11 => vec![name("GETDEL"), key(rng)],
        12..=13 => {
            let mut args = vec![name("GETEX"), key(rng)];
            match rng.below(5) {
                0 => {}
                1 => args.push(name("persist")),
                _ => {
                    let unit = pick(rng, UNITS);
                    args.push(any_case(rng, unit));
                    args.push(time(rng, unit, now_ms));
                }
            }
            args
        }
        14 => vec![name("SETNX"), key(rng), value(rng)],
        15 => vec![name("SETEX"), key(rng), time(rng, "EX", now_ms), value(rng)],
        16 => vec![
            name("PSETEX"),
            key(rng),
            time(rng, "PX", now_ms),
            value(rng),
        ],
        17..=18 => {
            let mut args = vec![name(pick(rng, &["MSET", "MSET", "MSETNX"]))];
            for _ in 0..1 + rng.below(4) {
                args.push(key(rng));
                args.push(value(rng));
            }
            if rng.below(20) == 0 {
                args.push(key(rng));
            }
            args
        }
        19..=20 => several(rng, "MGET", 6),
        21..=22 => vec![name("APPEND"), key(rng), value(rng)],
        23 => {
            let offset = match rng.below(12) {
                0 => number(rng),
                1 => b"536870912".to_vec(),
                2 => b"40000".to_vec(),
                _ => rng.below(60).to_string().into_bytes(),
            };
            // Within the limit, but so far that a run would be about nothing else.
            let far = |offset: &[u8]| {
                let number = String::from_utf8_lossy(offset).parse::<u64>();
                number.is_ok_and(|number| (100_000..536_870_912).contains(&number))
            };
            let offset = if far(&offset) { b"-1".to_vec() } else { offset };
            vec![name("SETRANGE"), key(rng), offset, value(rng)]
        }
        24 => vec![
            name(pick(rng, &["GETRANGE", "SUBSTR"])),
            key(rng),
            number(rng),
            number(rng),
        ],
        25 => vec![name("STRLEN"), key(rng)],
        26..=28 => match rng.below(4) {
            0 => vec![name("INCR"), key(rng)],
            1 => vec![name("DECR"), key(rng)],
            2 => vec![name("INCRBY"), key(rng), number(rng)],
            _ => vec![name("DECRBY"), key(rng), number(rng)],
        },
        29 => {
            let key = pick(rng, FLOAT_KEYS).to_vec();
            let quarters = rng.below(4001) as f64 / 4.0 - 500.0;
            match rng.below(5) {
                0 => vec![name("SET"), key, quarters.to_string().into_bytes()],
                1 => vec![name("GET"), key],
                _ => vec![name("INCRBYFLOAT"), key, quarters.to_string().into_bytes()],
            }
        }
        30..=31 => {
            let (word, unit) = match rng.below(4) {
                0 => ("EXPIRE", "EX"),
                1 => ("PEXPIRE", "PX"),
                2 => ("EXPIREAT", "EXAT"),
                _ => ("PEXPIREAT", "PXAT"),
            };
            let mut args = vec![name(word), any_key(rng), time(rng, unit, now_ms)];
            for _ in 0..rng.below(3) {
                let word = pick(rng, &["NX", "XX", "GT", "LT", "XX", "LT"]);
                args.push(any_case(rng, word));
            }
            if rng.below(30) == 0 {
                args.push(name("AB"));
            }
            args
        }
        32 => vec![
            name(pick(rng, &["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"])),
            any_key(rng),
        ],
        33 => vec![
            name(pick(rng, &["PERSIST", "TYPE", "STRLEN"])),
            any_key(rng),
        ],
        34 => {
            let word = pick(rng, &["DEL", "UNLINK"]);
            several(rng, word, 3)
        }
        35 => {
            let word = pick(rng, &["EXISTS", "TOUCH"]);
            several(rng, word, 5)
        }
        36 => vec![
            name(pick(rng, &["RENAME", "RENAMENX"])),
            any_key(rng),
            any_key(rng),
        ],
        37..=38 => {
            let mut args = vec![name("COPY"), any_key(rng), any_key(rng)];
            if rng.below(3) == 0 {
                args.extend(words("DB"));
                args.push(database(rng));
            }
            if rng.below(2) == 0 {
                args.extend(words("REPLACE"));
            }
            args
        }
        39 => vec![name("MOVE"), any_key(rng), database(rng)],
        40 => vec![name("SELECT"), database(rng)],
        41 if may.whole_database => match rng.below(5) {
            0 => words("DBSIZE"),
            1 => words("RANDOMKEY"),
            2 => vec![
                name("KEYS"),
                if rng.below(2) == 0 {
                    name("*")
                } else {
                    name("key:1")
                },
            ],
            3 => {
                let cursor = rng.next_u64() >> rng.below(64);
                vec![
                    name("SCAN"),
                    if cursor == 7 {
                        name("x")
                    } else {
                        cursor.to_string().into_bytes()
                    },
                ]
            }
            _ => words("SCAN 0 COUNT 1000"),
        },
        42 => match rng.below(12) {
            0 => words("FLUSHDB"),
            1 => words("FLUSHALL ASYNC"),
            2..=4 => vec![name("SWAPDB"), database(rng), database(rng)],
            5 => words("HELLO 3"),
            6 => words("HELLO 2"),
            7 => vec![name("HELLO"), number(rng)],
            8 => words("CLIENT ID"),
            9 => vec![
                name("CLIENT"),
                name("SETNAME"),
                name(pick(rng, &["me", "", "a b"])),
            ],
            10 => words("CLIENT GETNAME"),
            _ => words("RESET"),
        },
        43 => match rng.below(6) {
            0 => words("GET"),
            1 => words("SET a"),
            2 => words("MSET a"),
            3 => words("SET a b EX"),
            4 => vec![name("NOSUCH"), name("x"), name("y")],
            _ => words("COPY a"),
        },
        _ => match rng.below(3) {
            0 => words("PING"),
            1 => vec![name("PING"), value(rng)],
            _ => vec![name("ECHO"), value(rng)],
        },
    }
}

fn several(rng: &mut Rng, word: &str, most: u64) -> Vec<Vec<u8>> {
    let mut args = vec![word.as_bytes().to_vec()];
    for _ in 0..1 + rng.below(most) {
        args.push(if rng.below(3) == 0 {
            types::any_key(rng)
        } else {
            key(rng)
        });
    }
    args
}

fn database(rng: &mut Rng) -> Vec<u8> {
    match rng.below(12) {
        0 => number(rng),
        1 => b"16".to_vec(),
        _ => rng.below(3).to_string().into_bytes(),
    }
}
