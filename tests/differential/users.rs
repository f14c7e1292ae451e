//! Random rules of users and random commands, to gyre and to Redis side by side: what a rule does or why it is refused, how the
//! user is told (LIST, GETUSER), and what it may run (DRYRUN).
//!
//! `GYRE_DIFF_RULES` is how many rules are tried (4000), `GYRE_DIFF_SEED` the first seed.

use super::common::{Raw, Server, redis_server::Redis};
use super::variable;
use gyre::resp::reader::Value;
use gyre::system::rng::Rng;

/// Names of commands and subcommands that both servers have, and some that none has.
const COMMANDS: &[&str] = &[
    "get",
    "set",
    "SET",
    "mget",
    "mset",
    "del",
    "lpush",
    "blpop",
    "sort",
    "sort_ro",
    "copy",
    "rename",
    "eval",
    "evalsha",
    "fcall",
    "publish",
    "spublish",
    "subscribe",
    "psubscribe",
    "ssubscribe",
    "unsubscribe",
    "config",
    "config|get",
    "config|set",
    "CONFIG|resetstat",
    "client",
    "client|id",
    "client|kill",
    "client|no-such",
    "select",
    "swapdb",
    "auth",
    "hello",
    "xreadgroup",
    "xadd",
    "zunionstore",
    "sintercard",
    "getex",
    "bitfield",
    "georadius",
    "ping",
    "multi",
    "exec",
    "object|encoding",
    "memory|usage",
    "acl|whoami",
    "acl",
    "script|load",
    "function",
    "no-such",
    "select|0",
    "get|x",
    "config|get|x",
    "debug|sleep",
    "",
];
const CATEGORIES: &[&str] = &[
    "all",
    "read",
    "write",
    "keyspace",
    "set",
    "string",
    "list",
    "hash",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
    "READ",
    "no-such",
    "",
];
const PATTERNS: &[&str] = &[
    "*", "a", "a*", "*a", "a?c", "[ab]", "[^a]*", "", "foo:*", "\\*", "a b", "**", "x*y*z",
];
/// Rules as they stand.
const PLAIN: &[&str] = &[
    "on",
    "off",
    "ON",
    "nopass",
    "resetpass",
    "reset",
    "resetkeys",
    "resetchannels",
    "allkeys",
    "allchannels",
    "allcommands",
    "nocommands",
    "sanitize-payload",
    "skip-sanitize-payload",
    "clearselectors",
    "AllKeys",
    "no-such",
    "~",
    "&",
    "+",
    "-",
    "+@",
    "-@",
    "%",
    "%R",
    "%RW",
    "%X~a",
    "%R~",
    "%RR~a",
    "%WR~b",
    "(",
    ")",
    "()",
    "(~a",
    "(+get ~b)",
    "( +@read %R~c* )",
    "(on)",
    "((+get))",
    ">",
    "<",
    "#",
    "!",
    ">pass",
    "<pass",
    "<other",
    "#abc",
    "!abc",
    "#1b58ee375b42e41f0e48ef2ff27d10a5b1f6924a9acdcdba7cae868e7adce6bf",
    "!1b58ee375b42e41f0e48ef2ff27d10a5b1f6924a9acdcdba7cae868e7adce6bf",
    "#1B58ee375b42e41f0e48ef2ff27d10a5b1f6924a9acdcdba7cae868e7adce6bf",
];
/// Commands to be asked for.
const CALLS: &[&str] = &[
    "get a",
    "get foo:1",
    "set a 1",
    "set abc 1 GET",
    "mget a b foo:2",
    "mset a 1 b 2",
    "del abc",
    "lpush xyz 1",
    "blpop a b 0",
    "sort a BY w* GET #",
    "copy a b",
    "rename a foo:3",
    "eval return 2 a b",
    "eval return 0",
    "eval_ro return 1 a",
    "fcall f 1 a",
    "publish a x",
    "spublish foo:1 x",
    "subscribe a b",
    "psubscribe a* *",
    "ssubscribe a",
    "unsubscribe zzz",
    "config get port",
    "config set port 1",
    "client id",
    "client kill 1",
    "select 0",
    "select 1",
    "swapdb 0 1",
    "auth x",
    "hello",
    "xreadgroup GROUP g c STREAMS a b 1 2",
    "xadd a * f v",
    "zunionstore a 2 b c",
    "sintercard 2 a b",
    "getex a",
    "getex a EX 1",
    "bitfield a GET u8 0",
    "bitfield a SET u8 0 1",
    "georadius a 1 1 1 m STORE b",
    "ping",
    "multi",
    "exec",
    "object encoding a",
    "memory usage foo:1",
    "acl whoami",
    "no-such a",
    "get",
    "config",
    "config no-such",
    "debug sleep 0",
    "lmpop 2 a b LEFT",
    "zrangestore a b 0 1",
    "migrate h 1 a 0 1",
    "migrate h 1 \"\" 0 1 KEYS a b",
    "object freq a",
    "set",
    "script load x",
    "function list",
];

fn pick(rng: &mut Rng, from: &[&str]) -> String {
    from[rng.index(from.len())].to_owned()
}

fn rule(rng: &mut Rng) -> String {
    let sign = ["+", "-"][rng.index(2)];
    match rng.below(10) {
        0..=2 => format!("{sign}{}", pick(rng, COMMANDS)),
        3..=4 => format!("{sign}@{}", pick(rng, CATEGORIES)),
        5 => format!("~{}", pick(rng, PATTERNS)),
        6 => format!("&{}", pick(rng, PATTERNS)),
        7 => {
            let kind = ["R", "W", "RW", "r", "wr"][rng.index(5)];
            // Of `%R~*` and `%W~*` Redis makes a `~*` among others, and then writes a file that it will not read again.
            match pick(rng, PATTERNS).as_str() {
                "*" => format!("%{kind}~b*"),
                pattern => format!("%{kind}~{pattern}"),
            }
        }
        8 => {
            let rules: Vec<String> = (0..1 + rng.below(3)).map(|_| rule(rng)).collect();
            format!("({})", rules.join(" "))
        }
        _ => pick(rng, PLAIN),
    }
}

/// Asks both, and compares what they answer.
struct Both {
    gyre: Raw,
    redis: Raw,
    told: Vec<String>,
}

impl Both {
    fn ask(&mut self, words: &[&str]) -> Value {
        self.told.push(words.join(" "));
        let gyre = self.gyre.run(words);
        let redis = self.redis.run(words);
        assert_eq!(
            show(&gyre),
            show(&redis),
            "gyre (left) and Redis at the end of {:#?}",
            &self.told[self.told.len().saturating_sub(12)..]
        );
        gyre
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) | Value::Error(bytes) => bytes.escape_ascii().to_string(),
        Value::Array(values) => {
            let shown: Vec<String> = values.iter().map(show).collect();
            format!("[{}]", shown.join(", "))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn rules_do_what_they_do_in_redis() {
    let server = Server::start();
    let dir = tempfile::tempdir().expect("a directory");
    let Some(redis) = Redis::start(dir.path(), &[]) else {
        return;
    };
    let mut both = Both {
        gyre: server.raw(),
        redis: redis.raw(),
        told: Vec::new(),
    };
    let rules = variable("GYRE_DIFF_RULES", 4000);
    let mut rng = Rng::new(variable("GYRE_DIFF_SEED", 1));
    let (mut taken, mut allowed, mut denied) = (0, 0, 0);
    for number in 0..rules {
        if number % 100 == 0 {
            both.ask(&["ACL", "DELUSER", "u"]);
            both.ask(&["ACL", "SETUSER", "u"]);
        }
        let some: Vec<String> = (0..1 + rng.below(2)).map(|_| rule(&mut rng)).collect();
        let mut words = vec!["ACL", "SETUSER", "u"];
        words.extend(some.iter().map(String::as_str));
        if matches!(both.ask(&words), Value::Error(_)) {
            continue;
        }
        taken += 1;
        both.ask(&["ACL", "GETUSER", "u"]);
        both.ask(&["ACL", "LIST"]);
        for _ in 0..4 {
            let call = pick(&mut rng, CALLS);
            let mut words = vec!["ACL", "DRYRUN", "u"];
            words.extend(call.split(' '));
            match both.ask(&words) {
                Value::Simple(_) => allowed += 1,
                Value::Bulk(_) => denied += 1,
                _ => {}
            }
        }
    }
    // Or all this would be about nothing.
    let few = rules / 20;
    assert!(
        taken > few && allowed > few && denied > few,
        "{taken} rules were taken, {allowed} calls allowed, {denied} denied"
    );
}
