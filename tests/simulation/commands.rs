//! What simulated clients send: pipelines of commands over a few keys, with the values that break things.

use gyre::system::rng::Rng;

/// One thing that a client sends.
#[derive(Clone, Debug)]
pub struct Item {
    pub bytes: Vec<u8>,
    pub kind: ItemKind,
}

#[derive(Clone, Debug)]
pub enum ItemKind {
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
/// Floats live at keys of their own, where the model's doubles are exact.
const FLOAT_KEYS: &[&[u8]] = &[b"f1", b"f2"];
const LENGTHS: &[usize] = &[
    20, 43, 44, 45, 100, 1000, 16_383, 16_384, 16_385, 32_767, 32_768, 32_769, 70_000, 200_000,
];

fn pick<'a, T: ?Sized>(rng: &mut Rng, from: &[&'a T]) -> &'a T {
    from[rng.index(from.len())]
}

fn key(rng: &mut Rng) -> Vec<u8> {
    pick(rng, KEYS).to_vec()
}

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

fn value(rng: &mut Rng) -> Vec<u8> {
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

fn words(text: &str) -> Vec<Vec<u8>> {
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

fn command(rng: &mut Rng, may: Vocabulary, now_ms: i64) -> Vec<Vec<u8>> {
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
            let mut args = vec![name(word), key(rng), time(rng, unit, now_ms)];
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
            key(rng),
        ],
        33 => vec![name(pick(rng, &["PERSIST", "TYPE", "STRLEN"])), key(rng)],
        34 => {
            let word = pick(rng, &["DEL", "UNLINK"]);
            several(rng, word, 3)
        }
        35 => {
            let word = pick(rng, &["EXISTS", "TOUCH"]);
            several(rng, word, 5)
        }
        36 => vec![name(pick(rng, &["RENAME", "RENAMENX"])), key(rng), key(rng)],
        37..=38 => {
            let mut args = vec![name("COPY"), key(rng), key(rng)];
            if rng.below(3) == 0 {
                args.extend(words("DB"));
                args.push(database(rng));
            }
            if rng.below(2) == 0 {
                args.extend(words("REPLACE"));
            }
            args
        }
        39 => vec![name("MOVE"), key(rng), database(rng)],
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
        args.push(key(rng));
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

fn is_plain(args: &[Vec<u8>]) -> bool {
    args.iter().all(|arg| {
        (1..200).contains(&arg.len()) && arg.iter().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn item(rng: &mut Rng, args: Vec<Vec<u8>>) -> Item {
    let inline = is_plain(&args) && rng.below(4) == 0;
    let bytes = if inline {
        let mut line = args.join(&b' ');
        line.extend_from_slice(if rng.below(2) == 0 { b"\r\n" } else { b"\n" });
        line
    } else {
        multibulk(&args)
    };
    Item {
        bytes,
        kind: ItemKind::Command(args),
    }
}

/// All that one client is going to send.
pub fn script(rng: &mut Rng, may: Vocabulary, len: usize, now_ms: i64) -> Vec<Item> {
    let mut items = Vec::new();
    while items.len() < len {
        match rng.below(60) {
            0 => items.push(Item {
                bytes: pick(rng, &[&b"\r\n"[..], b"*0\r\n", b"*-1\r\n", b"\n"]).to_vec(),
                kind: ItemKind::Empty,
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
            items.push(Item {
                bytes: bytes.to_vec(),
                kind: ItemKind::ProtocolError(text),
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
