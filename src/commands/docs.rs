//! The generated parts of docs/compatibility.md.
//!
//! In: the rows of the command table and of the directives. Out: Markdown. `tests/docs.rs` holds the file to what
//! these functions say, and `make docs` writes it anew; so the document cannot promise what the server does not know.

use super::{GROUPS, help};
use crate::config;
use crate::engine::{CommandSpec, Group};
use std::fmt::Write;

/// Groups in the order of the document, with the names of all of Redis's commands in them.
const REDIS: &[(Group, &str, &str)] = &[
    (
        Group::Connection,
        "Connection",
        "auth client echo hello ping quit reset select",
    ),
    (
        Group::Server,
        "Server",
        "acl bgrewriteaof bgsave command config dbsize debug failover flushall flushdb info lastsave latency lolwut \
         memory module monitor psync replconf replicaof restore-asking role save shutdown slaveof slowlog swapdb sync \
         time",
    ),
    (
        Group::Generic,
        "Keys",
        "copy del dump exists expire expireat expiretime keys migrate move object persist pexpire pexpireat \
         pexpiretime pttl randomkey rename renamenx restore scan sort sort_ro touch ttl type unlink wait waitaof",
    ),
    (
        Group::String,
        "Strings",
        "append decr decrby delex digest get getdel getex getrange getset incr incrby incrbyfloat lcs mget mset \
         msetex msetnx psetex set setex setnx setrange strlen substr",
    ),
    (
        Group::Bitmap,
        "Bitmaps",
        "bitcount bitfield bitfield_ro bitop bitpos getbit setbit",
    ),
    (
        Group::List,
        "Lists",
        "blmove blmpop blpop brpop brpoplpush lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange lrem lset \
         ltrim rpop rpoplpush rpush rpushx",
    ),
    (
        Group::Hash,
        "Hashes",
        "hdel hexists hexpire hexpireat hexpiretime hget hgetall hgetdel hgetex hincrby hincrbyfloat hkeys hlen hmget \
         hmset hpersist hpexpire hpexpireat hpexpiretime hpttl hrandfield hscan hset hsetex hsetnx hstrlen httl hvals",
    ),
    (
        Group::Set,
        "Sets",
        "sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers smismember smove spop \
         srandmember srem sscan sunion sunionstore",
    ),
    (
        Group::SortedSet,
        "Sorted sets",
        "bzmpop bzpopmax bzpopmin zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount \
         zmpop zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem \
         zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan \
         zscore zunion zunionstore",
    ),
    (
        Group::Geo,
        "Geo",
        "geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro geosearch \
         geosearchstore",
    ),
    (
        Group::HyperLogLog,
        "HyperLogLog",
        "pfadd pfcount pfdebug pfmerge pfselftest",
    ),
    (
        Group::Stream,
        "Streams",
        "xack xackdel xadd xautoclaim xclaim xdel xdelex xgroup xinfo xlen xpending xrange xread xreadgroup xrevrange \
         xsetid xtrim",
    ),
    (
        Group::PubSub,
        "Publish and subscribe",
        "psubscribe publish pubsub punsubscribe spublish ssubscribe subscribe sunsubscribe unsubscribe",
    ),
    (
        Group::Transactions,
        "Transactions",
        "discard exec multi unwatch watch",
    ),
    (
        Group::Scripting,
        "Scripts and functions",
        "eval eval_ro evalsha evalsha_ro fcall fcall_ro function script",
    ),
    (
        Group::Cluster,
        "Cluster",
        "asking cluster readonly readwrite",
    ),
];

/// Every command and subcommand that the server knows, group by group, and Redis's that it does not know yet.
pub fn compatibility_table() -> String {
    let mut out = String::new();
    let (mut known, mut missing) = (0, 0);
    for (group, title, redis) in REDIS {
        let mut rows: Vec<&CommandSpec> = GROUPS
            .iter()
            .flat_map(|rows| rows.iter())
            .filter(|spec| spec.group == *group)
            .collect();
        rows.sort_by_key(|spec| spec.name);
        let absent: Vec<&str> = redis
            .split_whitespace()
            .filter(|name| !rows.iter().any(|spec| spec.name == *name))
            .collect();
        known += rows.len();
        missing += absent.len();
        line(&mut out, format_args!("### {title}\n"));
        if !rows.is_empty() {
            line(
                &mut out,
                format_args!("| command | since Redis | what it does |"),
            );
            line(&mut out, format_args!("| --- | --- | --- |"));
            for spec in rows {
                row(&mut out, "", spec);
                for sub in spec.subcommands {
                    row(&mut out, spec.name, sub);
                }
            }
            line(&mut out, format_args!(""));
        }
        if !absent.is_empty() {
            let absent = absent.join(", ").to_ascii_uppercase();
            line(&mut out, format_args!("Not yet: {absent}.\n"));
        }
    }
    format!(
        "gyre knows {known} commands (containers count once); {missing} of Redis's are still to come.\n\n{out}"
    )
}

fn row(out: &mut String, container: &str, spec: &CommandSpec) {
    let space = if container.is_empty() { "" } else { " " };
    let container = container.to_ascii_uppercase();
    // A bar in a cell would end it.
    let syntax = help::syntax(spec).replace('|', "\\|");
    let since = spec.since;
    let summary = spec.summary.replace('|', "\\|");
    line(
        out,
        format_args!("| `{container}{space}{syntax}` | {since} | {summary} |"),
    );
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

/// The directives that are read, checked and reported back, and do nothing yet.
pub fn directives_without_effect() -> String {
    named(&config::not_yet_directives())
}

/// The directives that end the start, because what they ask for is missing.
pub fn directives_refused() -> String {
    named(&config::refused_directives())
}

fn named(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("{}.\n", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_in_the_document() {
        let table = compatibility_table();
        for spec in GROUPS.iter().flat_map(|rows| rows.iter()) {
            assert!(!spec.summary.is_empty(), "{} has no summary", spec.name);
            let name = spec.name.to_ascii_uppercase();
            assert!(table.contains(&format!("| `{name}")), "{name} is missing");
            for sub in spec.subcommands {
                let sub_name = sub.name.to_ascii_uppercase();
                assert!(
                    table.contains(&format!("| `{name} {sub_name}")),
                    "{name} {sub_name}"
                );
            }
        }
        assert!(table.contains("| `CLIENT PAUSE <timeout> [WRITE\\|ALL]` | 3.0.0 |"));
    }

    #[test]
    fn what_is_there_is_not_said_to_be_missing() {
        let table = compatibility_table();
        for not_yet in table
            .lines()
            .filter_map(|line| line.strip_prefix("Not yet: "))
        {
            for name in not_yet.trim_end_matches('.').split(", ") {
                let name = name.to_ascii_lowercase();
                let known = GROUPS.iter().flat_map(|rows| rows.iter());
                assert!(
                    !known.clone().any(|spec| spec.name == name),
                    "{name} is in another group"
                );
            }
        }
    }
}
