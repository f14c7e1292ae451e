//! Commands of lists, hashes, sets, sorted sets and streams. Elements are unique, so that each can be followed.

use super::{Vocabulary, any_case, element, pick, small, value};
use gyre::system::rng::Rng;

type Words = Vec<Vec<u8>>;

const LISTS: &[&str] = &["l1", "l2", "l3"];
const HASHES: &[&str] = &["h1", "h2"];
/// Hashes whose fields expire. They are never given an expiry of their own, nor renamed.
const EXPIRING: &[&str] = &["hx1", "hx2"];
const SETS: &[&str] = &["s1", "s2", "s3"];
const SORTED: &[&str] = &["z1", "z2"];
const STREAMS: &[&str] = &["x1", "x2"];
const GROUPS: &[&str] = &["g1", "g2"];
const CONSUMERS: &[&str] = &["c1", "c2", "c3"];
const MEMBERS: &[&str] = &["m1", "m2", "m3", "m4", "m5", "7", "-3", "m6", "m7"];
const FIELDS: &[&str] = &["f1", "f2", "f3", "n", "f4"];

/// Any key of these types, for commands of all types.
pub fn key(rng: &mut Rng) -> Vec<u8> {
    let keys = [LISTS, HASHES, SETS, SORTED, STREAMS][rng.index(5)];
    pick(rng, keys).as_bytes().to_vec()
}

/// Any of them, those included whose fields expire: for what leaves the key's own expiry alone.
pub fn any_key(rng: &mut Rng) -> Vec<u8> {
    if rng.below(8) == 0 {
        return pick(rng, EXPIRING).as_bytes().to_vec();
    }
    key(rng)
}

/// A key of one type; now and then one of another.
fn of(rng: &mut Rng, keys: &[&str]) -> String {
    let keys = match rng.below(25) {
        0 => [LISTS, HASHES, SETS, SORTED, STREAMS][rng.index(5)],
        _ => keys,
    };
    pick(rng, keys).to_owned()
}

fn words(text: &str) -> Words {
    text.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

fn side(rng: &mut Rng) -> &'static str {
    if rng.below(2) == 0 { "LEFT" } else { "RIGHT" }
}

/// A timeout in seconds: mostly short, sometimes none.
fn timeout(rng: &mut Rng) -> String {
    match rng.below(3) {
        0 => "0".into(),
        1 => "0.02".into(),
        _ => "0.3".into(),
    }
}

fn extend(
    rng: &mut Rng,
    mut args: Words,
    most: u64,
    mut more: impl FnMut(&mut Rng) -> Words,
) -> Words {
    for _ in 0..1 + rng.below(most) {
        args.extend(more(rng));
    }
    args
}

pub fn list(rng: &mut Rng) -> Words {
    let key = of(rng, LISTS);
    match rng.below(20) {
        0..=4 => {
            let name = pick(rng, &["LPUSH", "RPUSH", "RPUSH", "LPUSHX", "RPUSHX"]);
            extend(rng, words(&format!("{name} {key}")), 3, |rng| {
                vec![element(rng)]
            })
        }
        5..=6 => words(&format!("{} {key}", pick(rng, &["LPOP", "RPOP"]))),
        7 => words(&format!(
            "{} {key} {}",
            pick(rng, &["LPOP", "RPOP"]),
            rng.below(4)
        )),
        8 => words(&format!("LLEN {key}")),
        9 => words(&format!("LRANGE {key} {} {}", small(rng), small(rng))),
        10 => words(&format!("LINDEX {key} {}", small(rng))),
        11 => {
            let mut args = words(&format!("LSET {key} {}", small(rng)));
            args.push(element(rng));
            args
        }
        12 => {
            let place = pick(rng, &["BEFORE", "AFTER"]);
            let mut args = words(&format!("LINSERT {key} {place} m1"));
            args.push(element(rng));
            args
        }
        13 => words(&format!("LREM {key} {} m1", small(rng))),
        14 => words(&format!("LTRIM {key} {} {}", small(rng), small(rng))),
        15 => words(&format!("LPOS {key} m1")),
        16 => words(&format!("RPUSH {key} m1 m1")),
        17 => words(&format!(
            "LMOVE {key} {} {} {}",
            of(rng, LISTS),
            side(rng),
            side(rng)
        )),
        18 => words(&format!("RPOPLPUSH {key} {}", of(rng, LISTS))),
        _ => {
            let count = rng.below(3) + 1;
            words(&format!(
                "LMPOP 2 {key} {} {} COUNT {count}",
                of(rng, LISTS),
                side(rng)
            ))
        }
    }
}

pub fn hash(rng: &mut Rng, may: Vocabulary, now_ms: i64) -> Words {
    if may.field_expiry && rng.below(2) == 0 {
        return expiring_hash(rng, now_ms);
    }
    let key = of(rng, HASHES);
    plain_hash(rng, &key)
}

fn plain_hash(rng: &mut Rng, key: &str) -> Words {
    let field = pick(rng, FIELDS);
    match rng.below(14) {
        0..=3 => {
            let name = pick(rng, &["HSET", "HSET", "HMSET"]);
            extend(rng, words(&format!("{name} {key}")), 3, |rng| {
                vec![pick(rng, FIELDS).as_bytes().to_vec(), value(rng)]
            })
        }
        4 => words(&format!("HSETNX {key} {field} {}", small(rng))),
        5 => words(&format!("HINCRBY {key} n {}", small(rng))),
        6 => extend(rng, words(&format!("HDEL {key}")), 2, |rng| {
            words(pick(rng, FIELDS))
        }),
        7 => words(&format!("HGET {key} {field}")),
        8 => extend(rng, words(&format!("HMGET {key}")), 3, |rng| {
            words(pick(rng, FIELDS))
        }),
        9 => words(&format!("HGETALL {key}")),
        10 => words(&format!(
            "{} {key}",
            pick(rng, &["HLEN", "HKEYS", "HVALS", "HRANDFIELD"])
        )),
        11 => words(&format!("HSCAN {key} 0 COUNT 100")),
        12 => words(&format!("HRANDFIELD {key} {}", small(rng))),
        _ => words(&format!(
            "{} {key} {field}",
            pick(rng, &["HEXISTS", "HSTRLEN"])
        )),
    }
}

fn expiring_hash(rng: &mut Rng, now_ms: i64) -> Words {
    let key = pick(rng, EXPIRING);
    let ms = match rng.below(3) {
        0 => rng.below(8) as i64,
        _ => 1 + rng.below(1500) as i64,
    };
    let (unit, time) = match rng.below(4) {
        0 => ("EX", 1),
        1 => ("PXAT", now_ms + ms - 100),
        2 => ("EXAT", now_ms / 1000 + rng.below(3) as i64),
        _ => ("PX", ms.max(1)),
    };
    let fields = |rng: &mut Rng, args: Words| {
        let n = 1 + rng.index(3);
        let mut args = args;
        args.extend(words(&format!("FIELDS {n}")));
        (0..n).for_each(|_| args.extend(words(pick(rng, FIELDS))));
        args
    };
    match rng.below(12) {
        0..=1 => plain_hash(rng, key),
        2 => plain_hash(rng, key),
        3..=4 => {
            let name = match unit {
                "EX" => "HEXPIRE",
                "PX" => "HPEXPIRE",
                "EXAT" => "HEXPIREAT",
                _ => "HPEXPIREAT",
            };
            let mut args = words(&format!("{name} {key} {time}"));
            if rng.below(2) == 0 {
                let condition = pick(rng, &["NX", "XX", "GT", "LT"]);
                args.push(any_case(rng, condition));
            }
            fields(rng, args)
        }
        5 => {
            let name = pick(
                rng,
                &["HTTL", "HPTTL", "HEXPIRETIME", "HPEXPIRETIME", "HPERSIST"],
            );
            fields(rng, words(&format!("{name} {key}")))
        }
        6 => fields(rng, words(&format!("HGETDEL {key}"))),
        7..=8 => {
            let mut args = words(&format!("HGETEX {key}"));
            match rng.below(4) {
                0 => {}
                1 => args.extend(words("PERSIST")),
                _ => args.extend(words(&format!("{unit} {time}"))),
            }
            fields(rng, args)
        }
        _ => {
            let mut args = words(&format!("HSETEX {key}"));
            match rng.below(4) {
                0 => args.extend(words("FNX")),
                1 => args.extend(words("FXX")),
                _ => {}
            }
            match rng.below(4) {
                0 => {}
                1 => args.extend(words("KEEPTTL")),
                _ => args.extend(words(&format!("{unit} {time}"))),
            }
            let n = 1 + rng.index(3);
            args.extend(words(&format!("FIELDS {n}")));
            for at in 0..n {
                args.extend(words(FIELDS[(at + rng.index(2)) % FIELDS.len()]));
                args.push(small(rng).to_string().into_bytes());
            }
            args
        }
    }
}

pub fn set(rng: &mut Rng) -> Words {
    let key = of(rng, SETS);
    let member = pick(rng, MEMBERS);
    let several =
        |rng: &mut Rng, args: String| extend(rng, words(&args), 4, |rng| words(pick(rng, MEMBERS)));
    match rng.below(16) {
        0..=3 => several(rng, format!("SADD {key}")),
        4 => several(rng, format!("SREM {key}")),
        5 => several(rng, format!("SMISMEMBER {key}")),
        6 => words(&format!("SISMEMBER {key} {member}")),
        7 => words(&format!(
            "{} {key}",
            pick(rng, &["SCARD", "SMEMBERS", "SRANDMEMBER"])
        )),
        8..=9 => words(&format!("SPOP {key}")),
        10 => words(&format!("SPOP {key} {}", rng.below(5))),
        11 => words(&format!("SRANDMEMBER {key} {}", small(rng))),
        12 => words(&format!("SMOVE {key} {} {member}", of(rng, SETS))),
        13 => {
            let name = pick(rng, &["SINTER", "SUNION", "SDIFF"]);
            words(&format!("{name} {key} {}", of(rng, SETS)))
        }
        14 => {
            let name = pick(rng, &["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]);
            words(&format!("{name} {} {key} {}", of(rng, SETS), of(rng, SETS)))
        }
        _ if rng.below(2) == 0 => words(&format!("SSCAN {key} 0 COUNT 100")),
        _ => words(&format!(
            "SINTERCARD 2 {key} {} LIMIT {}",
            of(rng, SETS),
            rng.below(3)
        )),
    }
}

fn score(rng: &mut Rng) -> String {
    ((rng.below(17) as f64 - 8.0) / 2.0).to_string()
}

fn score_bound(rng: &mut Rng) -> String {
    match rng.below(6) {
        0 => "-inf".into(),
        1 => "+inf".into(),
        2 => format!("({}", score(rng)),
        _ => score(rng),
    }
}

pub fn sorted_set(rng: &mut Rng) -> Words {
    let key = of(rng, SORTED);
    let member = pick(rng, MEMBERS);
    match rng.below(18) {
        0..=3 => {
            let mut args = words(&format!("ZADD {key}"));
            for _ in 0..rng.below(3) {
                let option = pick(rng, &["NX", "XX", "GT", "LT", "CH", "INCR"]);
                args.push(any_case(rng, option));
            }
            extend(rng, args, 3, |rng| {
                words(&format!("{} {}", score(rng), pick(rng, MEMBERS)))
            })
        }
        4 => words(&format!("ZINCRBY {key} {} {member}", score(rng))),
        5 => extend(rng, words(&format!("ZREM {key}")), 2, |rng| {
            words(pick(rng, MEMBERS))
        }),
        6 => words(&format!(
            "{} {key} {member}",
            pick(rng, &["ZSCORE", "ZRANK", "ZREVRANK"])
        )),
        7 => words(&format!("ZMSCORE {key} {member} none")),
        8 => words(&format!(
            "ZCOUNT {key} {} {}",
            score_bound(rng),
            score_bound(rng)
        )),
        9 => words(&format!(
            "{} {key}",
            pick(rng, &["ZPOPMIN", "ZPOPMAX", "ZCARD", "ZRANDMEMBER"])
        )),
        10 => words(&format!(
            "{} {key} {}",
            pick(rng, &["ZPOPMIN", "ZPOPMAX"]),
            rng.below(4)
        )),
        11 => {
            let options = pick(rng, &["", " WITHSCORES", " REV", " REV WITHSCORES"]);
            words(&format!(
                "ZRANGE {key} {} {}{options}",
                small(rng),
                small(rng)
            ))
        }
        12 => {
            let options = pick(rng, &["BYSCORE", "BYSCORE REV", "BYSCORE WITHSCORES"]);
            words(&format!(
                "ZRANGE {key} {} {} {options}",
                score_bound(rng),
                score_bound(rng)
            ))
        }
        13 => words(&format!(
            "ZREVRANGE {key} {} {} WITHSCORES",
            small(rng),
            small(rng)
        )),
        14 => words(&format!(
            "ZREMRANGEBYRANK {key} {} {}",
            small(rng),
            small(rng)
        )),
        15 => words(&format!(
            "ZREMRANGEBYSCORE {key} {} {}",
            score_bound(rng),
            score_bound(rng)
        )),
        16 => {
            let name = pick(rng, &["ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"]);
            let sources = [SORTED, SETS][rng.index(2)];
            words(&format!(
                "{name} {} 2 {key} {}",
                of(rng, SORTED),
                of(rng, sources)
            ))
        }
        _ => {
            let end = pick(rng, &["MIN", "MAX"]);
            words(&format!(
                "ZMPOP 2 {key} {} {end} COUNT {}",
                of(rng, SORTED),
                1 + rng.below(3)
            ))
        }
    }
}

/// An id that may be there: simulated streams have small ones of their own making beside those of the clock.
fn id(rng: &mut Rng) -> String {
    format!("{}-{}", rng.below(30), rng.below(4))
}

pub fn stream(rng: &mut Rng, may: Vocabulary) -> Words {
    let key = of(rng, STREAMS);
    let (group, consumer) = (pick(rng, GROUPS), pick(rng, CONSUMERS));
    match rng.below(26) {
        0..=5 => {
            let mut args = words(&format!("XADD {key}"));
            match rng.below(8) {
                0 => args.extend(words("NOMKSTREAM")),
                1 | 2 if !may.removed_messages => {}
                1 => args.extend(words(&format!("MAXLEN = {}", rng.below(5)))),
                2 => args.extend(words(&format!("MINID = {}", id(rng)))),
                _ => {}
            }
            let is_own = key != "x2";
            args.extend(words(&if is_own { id(rng) } else { "*".into() }));
            args.push(b"f".to_vec());
            args.push(element(rng));
            args
        }
        6 => words(&format!("XLEN {key}")),
        10 | 11 if !may.removed_messages => words(&format!("XLEN {key}")),
        7 => words(&format!("XRANGE {key} - + COUNT {}", 1 + rng.below(5))),
        8 => words(&format!("XRANGE {key} {} {}", id(rng), id(rng))),
        9 => words(&format!("XREVRANGE {key} + -")),
        10 => extend(rng, words(&format!("XDEL {key}")), 3, |rng| words(&id(rng))),
        11 => words(&format!("XTRIM {key} MAXLEN = {}", rng.below(6))),
        12 => words(&format!(
            "XREAD COUNT 3 STREAMS {key} {} {} 0",
            of(rng, STREAMS),
            id(rng)
        )),
        13 => words(&format!("XGROUP CREATE {key} {group} 0 MKSTREAM")),
        14 => words(&format!("XGROUP CREATE {key} {group} $ MKSTREAM")),
        15 => words(&format!("XGROUP SETID {key} {group} {}", id(rng))),
        16 if rng.below(3) == 0 => words(&format!("XGROUP DESTROY {key} {group}")),
        16 => words(&format!("XGROUP CREATECONSUMER {key} {group} {consumer}")),
        17 => words(&format!("XGROUP DELCONSUMER {key} {group} {consumer}")),
        18..=19 => {
            let no_ack = pick(rng, &["", "", " NOACK"]);
            words(&format!(
                "XREADGROUP GROUP {group} {consumer} COUNT 4{no_ack} STREAMS {key} >"
            ))
        }
        20 => words(&format!(
            "XREADGROUP GROUP {group} {consumer} STREAMS {key} 0"
        )),
        21 => extend(rng, words(&format!("XACK {key} {group}")), 3, |rng| {
            words(&id(rng))
        }),
        22 => {
            let mut args = words(&format!(
                "XCLAIM {key} {group} {consumer} {}",
                rng.below(2) * 20
            ));
            args = extend(rng, args, 3, |rng| words(&id(rng)));
            if rng.below(3) == 0 {
                args.extend(words("JUSTID"));
            }
            args
        }
        23 => {
            let just = pick(rng, &["", " JUSTID"]);
            let idle = rng.below(2) * 20;
            words(&format!(
                "XAUTOCLAIM {key} {group} {consumer} {idle} 0 COUNT 2{just}"
            ))
        }
        24 => words(&format!("XPENDING {key} {group} - + 10")),
        _ => words(&format!("XPENDING {key} {group}")),
    }
}

/// A command that may wait.
pub fn blocking(rng: &mut Rng) -> Words {
    let (a, b) = (of(rng, LISTS), of(rng, LISTS));
    let (z, x) = (of(rng, SORTED), of(rng, STREAMS));
    let timeout = timeout(rng);
    let ms = [0, 20, 300][rng.index(3)];
    let (group, consumer) = (pick(rng, GROUPS), pick(rng, CONSUMERS));
    words(&match rng.below(10) {
        0..=1 => format!("{} {a} {b} {timeout}", pick(rng, &["BLPOP", "BRPOP"])),
        2 => format!("BLMOVE {a} {b} {} {} {timeout}", side(rng), side(rng)),
        3 => format!("BRPOPLPUSH {a} {b} {timeout}"),
        4 => format!("BLMPOP {timeout} 2 {a} {b} {} COUNT 2", side(rng)),
        5 => format!("{} {z} {timeout}", pick(rng, &["BZPOPMIN", "BZPOPMAX"])),
        6 => format!(
            "BZMPOP {timeout} 1 {z} {} COUNT 2",
            pick(rng, &["MIN", "MAX"])
        ),
        7 => format!("XREAD BLOCK {ms} STREAMS {x} $"),
        8 => format!("XREAD COUNT 2 BLOCK {ms} STREAMS {x} {}", id(rng)),
        _ => format!("XREADGROUP GROUP {group} {consumer} COUNT 2 BLOCK {ms} STREAMS {x} >"),
    })
}
