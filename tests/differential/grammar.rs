//! What is sent: templates of every command that both servers know, filled in from small alphabets.
//!
//! A template is a line of words: `[ ... ]` may be left out, `{ ... }` comes one to three times, `( a | b )` is one of
//! them, `<name>` is filled in, anything else stands for itself.

use super::compare::Class;
use gyre::system::rng::Rng;

use Class::{Any, Exact, Loose, Pairs, Random, RandomChange, ScanOf, Shape, Times, Unordered};

/// (weight, class of the reply, template).
pub const TEMPLATES: &[(u32, Class, &str)] = &[
    // strings
    (
        4,
        Exact,
        "SET <str> <value> [ ( NX | XX ) ] [ GET ] [ ( EX <ttl> | PX <pttl> | EXAT <at> | PXAT <atms> | KEEPTTL ) ]",
    ),
    (3, Exact, "GET <str>"),
    (1, Exact, "SETNX <str> <value>"),
    (1, Exact, "SETEX <str> <ttl> <value>"),
    (1, Exact, "PSETEX <str> <pttl> <value>"),
    (1, Exact, "GETSET <str> <value>"),
    (1, Exact, "GETDEL <str>"),
    (
        1,
        Exact,
        "GETEX <str> [ ( EX <ttl> | PX <pttl> | EXAT <at> | PXAT <atms> | PERSIST ) ]",
    ),
    (1, Exact, "MGET { <any> }"),
    (1, Exact, "MSET { <str> <value> }"),
    (1, Exact, "MSETNX { <str> <value> }"),
    (2, Exact, "APPEND <str> <value>"),
    (1, Exact, "STRLEN <str>"),
    (1, Exact, "INCR <str>"),
    (1, Exact, "DECR <str>"),
    (2, Exact, "INCRBY <str> <int>"),
    (1, Exact, "DECRBY <str> <int>"),
    (2, Exact, "INCRBYFLOAT <str> <float>"),
    (1, Exact, "SETRANGE <str> <offset> <value>"),
    (1, Exact, "GETRANGE <str> <idx> <idx>"),
    (1, Exact, "SUBSTR <str> <idx> <idx>"),
    (
        1,
        Exact,
        "LCS <str> <str> [ LEN ] [ IDX ] [ MINMATCHLEN <idx> ] [ WITHMATCHLEN ]",
    ),
    // bitmaps
    (2, Exact, "SETBIT <str> <bitoffset> <bit>"),
    (1, Exact, "GETBIT <str> <bitoffset>"),
    (
        1,
        Exact,
        "BITCOUNT <str> [ <idx> [ <idx> [ ( BYTE | BIT ) ] ] ]",
    ),
    (
        1,
        Exact,
        "BITPOS <str> <bit> [ <idx> [ <idx> [ ( BYTE | BIT ) ] ] ]",
    ),
    (2, Exact, "BITOP ( AND | OR | XOR ) <str> { <str> }"),
    (1, Exact, "BITOP NOT <str> <str>"),
    (
        3,
        Exact,
        "BITFIELD <str> { ( GET <bftype> <bfoffset> | SET <bftype> <bfoffset> <bfint> | INCRBY <bftype> <bfoffset> <bfint> | OVERFLOW ( WRAP | SAT ) ) }",
    ),
    // A string that grew although every write failed is told as changed in gyre alone: it grows by a write that succeeds.
    (
        1,
        Exact,
        "BITFIELD <bits> SET u8 4000 1 OVERFLOW FAIL { ( GET <bftype> <bfoffset> | SET <bftype> <bfoffset> <bfint> | INCRBY <bftype> <bfoffset> <bfint> ) }",
    ),
    (1, Exact, "BITFIELD_RO <str> { GET <bftype> <bfoffset> }"),
    // hyperloglog
    (2, Exact, "PFADD <hll> { <member> }"),
    (1, Exact, "PFADD <hll>"),
    (1, Exact, "PFCOUNT { <hll> }"),
    (1, Exact, "PFMERGE <hll> { <hll> }"),
    (1, Exact, "PFDEBUG ( ENCODING | DECODE ) <hll>"),
    // lists
    (4, Exact, "LPUSH <list> { <value> }"),
    (4, Exact, "RPUSH <list> { <value> }"),
    (1, Exact, "LPUSHX <list> { <value> }"),
    (1, Exact, "RPUSHX <list> { <value> }"),
    (2, Exact, "LPOP <list> [ <count> ]"),
    (2, Exact, "RPOP <list> [ <count> ]"),
    (1, Exact, "LLEN <list>"),
    (2, Exact, "LRANGE <list> <idx> <idx>"),
    (1, Exact, "LINDEX <list> <idx>"),
    (1, Exact, "LSET <list> <idx> <value>"),
    (
        2,
        Exact,
        "LINSERT <list> ( BEFORE | AFTER ) <value> <value>",
    ),
    (2, Exact, "LREM <list> <idx> <value>"),
    (1, Exact, "LTRIM <list> <idx> <idx>"),
    (1, Exact, "SINTERCARD <numkeys-set> LIMIT <count>"),
    (
        2,
        Exact,
        "LPOS <list> <value> [ RANK <idx> ] [ COUNT <count> ] [ MAXLEN <count> ]",
    ),
    (1, Exact, "RPOPLPUSH <list> <list>"),
    (
        1,
        Exact,
        "LMOVE <list> <list> ( LEFT | RIGHT ) ( LEFT | RIGHT )",
    ),
    (
        1,
        Exact,
        "LMPOP <numkeys-list> ( LEFT | RIGHT ) [ COUNT <count> ]",
    ),
    // hashes
    (5, Exact, "HSET <hash> { <field> <value> }"),
    (1, Exact, "HMSET <hash> { <field> <value> }"),
    (1, Exact, "HSETNX <hash> <field> <value>"),
    (1, Exact, "HGET <hash> <field>"),
    (1, Exact, "HMGET <hash> { <field> }"),
    (3, Exact, "HDEL <hash> { <field> }"),
    (1, Exact, "HLEN <hash>"),
    (1, Exact, "HSTRLEN <hash> <field>"),
    (1, Exact, "HEXISTS <hash> <field>"),
    (2, Exact, "HINCRBY <hash> <field> <int>"),
    (2, Exact, "HINCRBYFLOAT <hash> <field> <float>"),
    (1, Pairs, "HGETALL <hash>"),
    (1, Unordered, "HKEYS <hash>"),
    (1, Unordered, "HVALS <hash>"),
    (1, Random, "HRANDFIELD <hash> [ <count> [ WITHVALUES ] ]"),
    (
        1,
        ScanOf(2),
        "HSCAN <hash> <cursor> COUNT 10000 [ MATCH <pattern> ]",
    ),
    (
        4,
        Exact,
        "( HEXPIRE <hash> <ttl> | HPEXPIRE <hash> <pttl> | HEXPIREAT <hash> <at> | HPEXPIREAT <hash> <atms> ) [ ( NX | XX | GT | LT ) ] FIELDS <numfields>",
    ),
    (
        1,
        Times,
        "( HTTL | HPTTL | HEXPIRETIME | HPEXPIRETIME ) <hash> FIELDS <numfields>",
    ),
    (1, Exact, "HPERSIST <hash> FIELDS <numfields>"),
    (
        2,
        Exact,
        "HGETEX <hash> [ ( EX <ttl> | PX <pttl> | EXAT <at> | PXAT <atms> | PERSIST ) ] FIELDS <numfields>",
    ),
    (
        2,
        Exact,
        "HSETEX <hash> [ ( FNX | FXX ) ] [ ( EX <ttl> | PX <pttl> | EXAT <at> | PXAT <atms> | KEEPTTL ) ] FIELDS <numpairs>",
    ),
    (1, Exact, "HGETDEL <hash> FIELDS <numfields>"),
    (1, ScanOf(1), "HSCAN <hash> 0 COUNT 10000 NOVALUES"),
    // sets
    (5, Exact, "SADD <set> { <member> }"),
    (3, Exact, "SREM <set> { <member> }"),
    (1, Exact, "SCARD <set>"),
    (1, Exact, "SISMEMBER <set> <member>"),
    (1, Exact, "SMISMEMBER <set> { <member> }"),
    (1, Unordered, "SMEMBERS <set>"),
    (1, Unordered, "SPOP <set> 100000"),
    (1, RandomChange, "SPOP <set> [ <count> ]"),
    (1, Random, "SRANDMEMBER <set> [ <count> ]"),
    (1, Exact, "SMOVE <set> <set> <member>"),
    (1, Unordered, "SINTER { <set> }"),
    (1, Unordered, "SUNION { <set> }"),
    (1, Unordered, "SDIFF { <set> }"),
    (1, Exact, "SINTERSTORE <set> { <set> }"),
    (1, Exact, "SUNIONSTORE <set> { <set> }"),
    (1, Exact, "SDIFFSTORE <set> { <set> }"),
    (1, Exact, "SINTERCARD <numkeys-set> [ LIMIT <idx> ]"),
    (
        1,
        ScanOf(1),
        "SSCAN <set> <cursor> COUNT 10000 [ MATCH <pattern> ]",
    ),
    // sorted sets
    (
        6,
        Exact,
        "ZADD <zset> [ ( NX | XX ) ] [ ( GT | LT ) ] [ CH ] { <score> <member> }",
    ),
    (
        1,
        Exact,
        "ZADD <zset> [ ( NX | XX ) ] [ ( GT | LT ) ] INCR <score> <member>",
    ),
    (1, Exact, "ZINCRBY <zset> <score> <member>"),
    (3, Exact, "ZREM <zset> { <member> }"),
    (1, Exact, "ZCARD <zset>"),
    (1, Exact, "ZSCORE <zset> <member>"),
    (1, Exact, "ZMSCORE <zset> { <member> }"),
    (1, Exact, "ZRANK <zset> <member> [ WITHSCORE ]"),
    (1, Exact, "ZREVRANK <zset> <member> [ WITHSCORE ]"),
    (1, Exact, "ZCOUNT <zset> <bound> <bound>"),
    (1, Exact, "SET nolex a"),
    (2, Exact, "ZADD <lexset> 0 <member> 0 <member>"),
    (1, Exact, "ZLEXCOUNT <lexset> <lex> <lex>"),
    (2, Exact, "ZRANGE <zset> <idx> <idx> [ REV ] [ WITHSCORES ]"),
    (
        1,
        Exact,
        "ZRANGE <zset> <bound> <bound> BYSCORE [ REV ] [ LIMIT <skipped> <idx> ] [ WITHSCORES ]",
    ),
    (
        1,
        Exact,
        "ZRANGE <lexset> <lex> <lex> BYLEX [ REV ] [ LIMIT <skipped> <idx> ] [ WITHSCORES ]",
    ),
    (1, Exact, "ZRANGESTORE <zset> <zset> <idx> <idx> [ REV ]"),
    (
        1,
        Exact,
        "ZRANGESTORE <zset> <zset> <bound> <bound> BYSCORE [ REV ] [ LIMIT <skipped> <idx> ]",
    ),
    (
        1,
        Exact,
        "ZRANGESTORE <zset> <lexset> <lex> <lex> BYLEX [ REV ] [ LIMIT <skipped> <idx> ]",
    ),
    (1, Exact, "ZREVRANGE <zset> <idx> <idx> [ WITHSCORES ]"),
    (
        1,
        Exact,
        "ZRANGEBYSCORE <zset> <bound> <bound> [ WITHSCORES ] [ LIMIT <skipped> <idx> ]",
    ),
    (
        1,
        Exact,
        "ZREVRANGEBYSCORE <zset> <bound> <bound> [ WITHSCORES ] [ LIMIT <skipped> <idx> ]",
    ),
    (
        1,
        Exact,
        "ZRANGEBYLEX <lexset> <lex> <lex> [ LIMIT <skipped> <idx> ]",
    ),
    (
        1,
        Exact,
        "ZREVRANGEBYLEX <lexset> <lex> <lex> [ LIMIT <skipped> <idx> ]",
    ),
    (1, Exact, "ZREMRANGEBYRANK <zset> <idx> <idx>"),
    (1, Exact, "ZREMRANGEBYSCORE <zset> <bound> <bound>"),
    (1, Exact, "ZREMRANGEBYLEX <lexset> <lex> <lex>"),
    (1, Exact, "ZPOPMIN <zset> [ <count> ]"),
    (1, Exact, "ZPOPMAX <zset> [ <count> ]"),
    (
        1,
        Exact,
        "ZMPOP <numkeys-zset> ( MIN | MAX ) [ COUNT <count> ]",
    ),
    (1, Random, "ZRANDMEMBER <zset> [ <count> [ WITHSCORES ] ]"),
    (
        1,
        Exact,
        "ZUNION <numkeys-zset> [ AGGREGATE ( SUM | MIN | MAX ) ] [ WITHSCORES ]",
    ),
    (
        1,
        Exact,
        "ZINTER <numkeys-zset> [ AGGREGATE ( SUM | MIN | MAX ) ] [ WITHSCORES ]",
    ),
    (
        1,
        Exact,
        "ZUNION 2 <zset> <set> WEIGHTS <score> <score> [ AGGREGATE ( SUM | MIN | MAX ) ] [ WITHSCORES ]",
    ),
    (
        1,
        Exact,
        "ZINTER 2 <zset> <zset> WEIGHTS <score> <score> [ AGGREGATE ( SUM | MIN | MAX ) ] [ WITHSCORES ]",
    ),
    (1, Exact, "ZDIFF <numkeys-zset> [ WITHSCORES ]"),
    (
        1,
        Exact,
        "ZUNIONSTORE <zset> <numkeys-zset> [ AGGREGATE ( SUM | MIN | MAX ) ]",
    ),
    (
        1,
        Exact,
        "ZINTERSTORE <zset> 2 <zset> <set> [ WEIGHTS <score> <score> ] [ AGGREGATE ( SUM | MIN | MAX ) ]",
    ),
    (1, Exact, "ZDIFFSTORE <zset> <numkeys-zset>"),
    (1, Exact, "ZINTERCARD <numkeys-zset> [ LIMIT <idx> ]"),
    (
        1,
        ScanOf(2),
        "ZSCAN <zset> <cursor> COUNT 10000 [ MATCH <pattern> ]",
    ),
    // geo
    (
        3,
        Exact,
        "GEOADD <geo> [ ( NX | XX ) ] [ CH ] { <lon> <lat> <member> }",
    ),
    (1, Exact, "GEOADD <geo> <far> ( o | p ) <far> <member>"),
    (
        1,
        Exact,
        "GEOSEARCH <geo> FROMLONLAT <far> ( BYRADIUS <dist> <unit> | BYBOX <dist> <dist> <unit> ) ( ASC | DESC ) [ COUNT <count> [ ANY ] ] [ WITHDIST ] [ WITHHASH ] [ WITHCOORD ]",
    ),
    (
        1,
        Exact,
        "GEOSEARCHSTORE <zset> <geo> FROMLONLAT <far> BYRADIUS <dist> ( km | m ) STOREDIST",
    ),
    (1, Exact, "GEOPOS <geo> { <member> }"),
    (1, Exact, "GEODIST <geo> <member> <member> [ <unit> ]"),
    (1, Exact, "GEOHASH <geo> { <member> }"),
    (
        2,
        Exact,
        "GEOSEARCH <geo> ( FROMMEMBER <member> | FROMLONLAT <lon> <lat> ) ( BYRADIUS <dist> <unit> | BYBOX <dist> <dist> <unit> ) ( ASC | DESC ) [ COUNT <count> ] [ WITHDIST ] [ WITHHASH ] [ WITHCOORD ]",
    ),
    (
        1,
        Exact,
        "GEOSEARCHSTORE <zset> <geo> ( FROMMEMBER <member> | FROMLONLAT <lon> <lat> ) ( BYRADIUS <dist> <nearunit> | BYBOX <dist> <dist> <nearunit> ) [ ( ASC | DESC ) ] [ STOREDIST ]",
    ),
    (
        1,
        Exact,
        "GEORADIUS <geo> <lon> <lat> <dist> <unit> [ WITHDIST ] [ WITHCOORD ] [ WITHHASH ] ( ASC | DESC ) [ COUNT <count> ]",
    ),
    (
        1,
        Exact,
        "GEORADIUS <geo> <lon> <lat> <dist> <nearunit> ( ASC | DESC ) ( STORE | STOREDIST ) <zset>",
    ),
    (
        1,
        Exact,
        "GEORADIUSBYMEMBER <geo> <member> <dist> <unit> [ WITHDIST ] [ WITHCOORD ] ( ASC | DESC ) [ COUNT <count> ]",
    ),
    // streams
    (
        6,
        Exact,
        "XADD <stream> [ NOMKSTREAM ] [ ( MAXLEN [ ( = | ~ ) ] <count> | MINID [ ( = | ~ ) ] <id> ) ] <newid> { <field> <value> }",
    ),
    (
        1,
        Exact,
        "XADD <stream> MAXLEN ~ <count> LIMIT <count> <newid> { <field> <value> }",
    ),
    (1, Exact, "XLEN <stream>"),
    (
        1,
        Exact,
        "XRANGE <stream> <rangeid> <rangeid> [ COUNT <count> ]",
    ),
    (
        1,
        Exact,
        "XREVRANGE <stream> <rangeid> <rangeid> [ COUNT <count> ]",
    ),
    (
        1,
        Exact,
        "XREAD [ COUNT <count> ] STREAMS <stream> <stream> <id> <id>",
    ),
    (
        1,
        Exact,
        "XREAD [ COUNT <count> ] STREAMS <stream> ( <id> | $ | + )",
    ),
    (2, Exact, "XDEL <stream> { <id> }"),
    (
        1,
        Exact,
        "XTRIM <stream> ( MAXLEN | MINID ) [ ( = | ~ ) ] <count> [ LIMIT <count> ]",
    ),
    (1, Exact, "XTRIM <stream> MINID <id>"),
    (
        1,
        Exact,
        "XSETID <stream> <id> [ ENTRIESADDED <count> MAXDELETEDID <id> ]",
    ),
    (
        3,
        Exact,
        "XGROUP CREATE <stream> <group> ( <id> | $ ) [ MKSTREAM ] [ ENTRIESREAD <idx> ]",
    ),
    (
        1,
        Exact,
        "XGROUP SETID <stream> <group> ( <id> | $ ) [ ENTRIESREAD <idx> ]",
    ),
    (1, Exact, "XGROUP DESTROY <stream> <group>"),
    (
        1,
        Exact,
        "XGROUP CREATECONSUMER <stream> <group> <consumer>",
    ),
    (1, Exact, "XGROUP DELCONSUMER <stream> <group> <consumer>"),
    (
        4,
        Exact,
        "XREADGROUP GROUP <group> <consumer> [ COUNT <count> ] [ NOACK ] STREAMS <stream> ( > | <id> )",
    ),
    (2, Exact, "XACK <stream> <group> { <id> }"),
    (1, Exact, "XPENDING <stream> <group>"),
    (
        1,
        Loose,
        "XPENDING <stream> <group> <rangeid> <rangeid> <count> [ <consumer> ]",
    ),
    (
        1,
        Loose,
        "XPENDING <stream> <group> IDLE 0 <rangeid> <rangeid> <count> [ <consumer> ]",
    ),
    (
        1,
        Exact,
        "XCLAIM <stream> <group> <consumer> 0 { <id> } [ IDLE <count> ] [ RETRYCOUNT <idx> ] [ FORCE ] [ JUSTID ] [ LASTID <id> ]",
    ),
    (
        1,
        Exact,
        "XAUTOCLAIM <stream> <group> <consumer> 0 <id> [ COUNT <idx> ] [ JUSTID ]",
    ),
    (1, Loose, "XINFO STREAM <stream>"),
    (1, Loose, "XINFO STREAM <stream> FULL [ COUNT <count> ]"),
    (1, Loose, "XINFO GROUPS <stream>"),
    (1, Loose, "XINFO CONSUMERS <stream> <group>"),
    // keys
    (2, Exact, "DEL { <any> }"),
    (1, Exact, "UNLINK { <any> }"),
    (1, Exact, "EXISTS { <any> }"),
    (1, Exact, "TOUCH { <any> }"),
    (1, Exact, "TYPE <any>"),
    (
        2,
        Exact,
        "( EXPIRE <any> <ttl> | PEXPIRE <any> <pttl> | EXPIREAT <any> <at> | PEXPIREAT <any> <atms> ) [ ( NX | XX | GT | LT ) ]",
    ),
    (1, Exact, "( EXPIREAT <any> <at> | PEXPIREAT <any> <atms> )"),
    (2, Times, "( TTL | PTTL | EXPIRETIME | PEXPIRETIME ) <any>"),
    (1, Exact, "PERSIST <any>"),
    (1, Exact, "RENAME <any> <any>"),
    (1, Exact, "RENAMENX <any> <any>"),
    (1, Exact, "COPY <any> <any> [ DB <db> ] [ REPLACE ]"),
    (1, Exact, "MOVE <any> <db>"),
    (1, Exact, "OBJECT ENCODING <any>"),
    (1, Shape, "OBJECT IDLETIME <any>"),
    (1, Shape, "OBJECT FREQ <any>"),
    (1, Shape, "MEMORY USAGE <any> [ SAMPLES <count> ]"),
    // Not in a transaction: there the queued arguments of a MSET still refer to the value.
    (1, Loose, "OBJECT REFCOUNT <any>"),
    (1, Unordered, "KEYS <pattern>"),
    (
        1,
        ScanOf(1),
        "SCAN <cursor> COUNT 10000 [ MATCH <pattern> ] [ TYPE ( string | list | set | zset | hash | stream | foo ) ]",
    ),
    (1, Shape, "DUMP <any>"),
    (1, Any, "RANDOMKEY"),
    (1, Shape, "DBSIZE"),
    (1, Exact, "SELECT <db>"),
    (1, Exact, "SWAPDB <db> <db>"),
    (
        2,
        Exact,
        "SORT <sortable> [ LIMIT <idx> <idx> ] [ ( ASC | DESC ) ] [ ALPHA ]",
    ),
    (
        1,
        Exact,
        "SORT <sortable> BY <sortby> [ LIMIT <idx> <idx> ] [ GET <sortget> ] [ GET # ] [ ( ASC | DESC ) ]",
    ),
    (
        1,
        Unordered,
        "SORT <list> BY nosort [ GET <sortget> ] [ GET # ]",
    ),
    (1, Exact, "SORT <sortable> ALPHA STORE <list>"),
    (
        1,
        Exact,
        "SORT_RO <sortable> [ LIMIT <idx> <idx> ] [ ( ASC | DESC ) ] [ ALPHA ]",
    ),
    (
        1,
        Exact,
        "RESTORE <any> <idx> <junk> [ REPLACE ] [ ABSTTL ] [ IDLETIME <idx> ] [ FREQ <idx> ]",
    ),
    // transactions, and what would block if it were not in one
    (1, Exact, "MULTI"),
    (2, Exact, "EXEC"),
    (1, Exact, "DISCARD"),
    (1, Exact, "WATCH { <watched> }"),
    (1, Exact, "UNWATCH"),
    (1, Exact, "DEBUG SLEEP <zero>"),
    (1, Exact, "COMMAND ( GETKEYS | GETKEYSANDFLAGS ) <getkeys>"),
    (1, Exact, "OBJECT ( NOSUCH | ENCODING ) [ <any> ]"),
    (1, Exact, "ECHO <value>"),
    (1, Exact, "PING [ <value> ]"),
];

/// Sent between MULTI and EXEC only, for elsewhere they would block.
pub const BLOCKING: &[&str] = &[
    "BLPOP { <list> } 0",
    "BRPOP { <list> } 0",
    "BLMOVE <list> <list> ( LEFT | RIGHT ) ( LEFT | RIGHT ) 0",
    "BRPOPLPUSH <list> <list> 0",
    "BLMPOP 0 <numkeys-list> ( LEFT | RIGHT ) [ COUNT <count> ]",
    "BZPOPMIN { <zset> } 0",
    "BZPOPMAX { <zset> } 0",
    "BZMPOP 0 <numkeys-zset> ( MIN | MAX ) [ COUNT <count> ]",
    "XREAD BLOCK 0 STREAMS <stream> $",
    "XREADGROUP GROUP <group> <consumer> BLOCK 0 STREAMS <stream> >",
];

/// Directives that change encodings, with values to choose from.
pub const DIRECTIVES: &[(&str, &[&str])] = &[
    ("hash-max-listpack-entries", &["512", "4", "0", "1"]),
    ("hash-max-listpack-value", &["64", "8", "0"]),
    ("list-max-listpack-size", &["-2", "3", "1", "-1", "-5", "0"]),
    ("list-compress-depth", &["0", "1", "2"]),
    ("set-max-listpack-entries", &["128", "4", "0", "1"]),
    ("set-max-listpack-value", &["64", "8", "0"]),
    ("set-max-intset-entries", &["512", "3", "0"]),
    ("zset-max-listpack-entries", &["128", "4", "0", "1"]),
    ("zset-max-listpack-value", &["64", "8", "0"]),
    ("hll-sparse-max-bytes", &["3000", "30", "0"]),
    ("stream-node-max-entries", &["100", "3", "1", "0"]),
    ("stream-node-max-bytes", &["4096", "60", "0"]),
    ("rdbcompression", &["yes", "no"]),
    (
        "maxmemory-policy",
        &["noeviction", "allkeys-lfu", "volatile-lru"],
    ),
    // What is told of keys: see `events.rs`.
    ("notify-keyspace-events", &["KEA", "KEAmn", "Eg", ""]),
];

/// The connections: that which speaks RESP2, that which speaks RESP3, and the one that interferes with what these two do.
/// Another one is for comparisons.
pub const RESP2: usize = 0;
pub const RESP3: usize = 1;
pub const OTHER: usize = 3;
/// How many of these there are.
pub const CONNECTIONS: usize = 4;

#[derive(Debug)]
enum Part {
    Word(&'static str),
    Fill(&'static str),
    Maybe(Vec<Part>),
    Repeat(Vec<Part>),
    OneOf(Vec<Vec<Part>>),
}

/// All templates, parsed.
pub struct Grammar {
    commands: Vec<(u32, Class, Vec<Part>)>,
    blocking: Vec<Vec<Part>>,
    total: u32,
}

/// What a script calls, whose replies are compared as those of the commands are.
#[derive(Clone, Debug)]
pub enum Inner {
    Nothing,
    /// The reply is that of this command.
    Itself(Box<Command>),
    /// The reply lists those of these commands.
    Listed(Vec<Command>),
}

/// One command to send.
#[derive(Clone, Debug)]
pub struct Command {
    pub words: Vec<Vec<u8>>,
    pub class: Class,
    /// It would block outside of a transaction.
    pub blocks: bool,
    /// Over which connection: [`RESP2`] or another.
    pub on: usize,
    /// How long to wait after its reply, ms.
    pub pause_ms: u64,
    /// Those that it runs.
    pub inner: Inner,
    /// Commands to send after it, whose replies do not matter.
    pub after: Vec<Vec<Vec<u8>>>,
}

impl Command {
    pub fn new(words: Vec<Vec<u8>>, class: Class) -> Command {
        let mut after = Vec::new();
        let own = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect();
        if let (Class::RandomChange, Some(key)) = (class, words.get(1)) {
            after.push(own(&[b"DEL", key]));
        }
        Command {
            words,
            class,
            blocks: false,
            on: 0,
            pause_ms: 0,
            inner: Inner::Nothing,
            after,
        }
    }
}

fn parse(words: &mut std::str::SplitWhitespace<'static>) -> (Vec<Part>, Option<&'static str>) {
    let mut parts = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "[" => parts.push(Part::Maybe(parse(words).0)),
            "{" => parts.push(Part::Repeat(parse(words).0)),
            "(" => {
                let mut choices = Vec::new();
                loop {
                    let (choice, end) = parse(words);
                    choices.push(choice);
                    if end != Some("|") {
                        break;
                    }
                }
                parts.push(Part::OneOf(choices));
            }
            "]" | "}" | ")" | "|" => return (parts, Some(word)),
            // A range that leaves out its own bound looks the same as a bracket.
            _ => match word
                .strip_prefix('<')
                .and_then(|name| name.strip_suffix('>'))
            {
                Some(name) => parts.push(Part::Fill(name)),
                None => parts.push(Part::Word(word)),
            },
        }
    }
    (parts, None)
}

/// The names that the commands of a template have.
fn names(template: &[Part]) -> Vec<&'static str> {
    match template.first() {
        Some(Part::Word(name)) => vec![name],
        Some(Part::OneOf(choices)) => choices.iter().flat_map(|it| names(it)).collect(),
        _ => Vec::new(),
    }
}

impl Grammar {
    pub fn new() -> Grammar {
        let parse_line = |line: &'static str| parse(&mut line.split_whitespace()).0;
        Grammar {
            commands: TEMPLATES
                .iter()
                .map(|(weight, class, line)| (*weight, *class, parse_line(line)))
                .collect(),
            blocking: BLOCKING.iter().map(|line| parse_line(line)).collect(),
            total: TEMPLATES.iter().map(|(weight, ..)| weight).sum(),
        }
    }

    /// Leaves the commands out that are not known; their names.
    pub fn forget(&mut self, mut is_unknown: impl FnMut(&str) -> bool) -> Vec<&'static str> {
        let mut forgotten = Vec::new();
        let mut keep = |template: &Vec<Part>| {
            let names = names(template);
            let unknown = names.iter().find(|name| is_unknown(name));
            forgotten.extend(unknown);
            unknown.is_none()
        };
        self.commands.retain(|(_, _, template)| keep(template));
        self.blocking.retain(&mut keep);
        self.total = self.commands.iter().map(|(weight, ..)| weight).sum();
        forgotten.dedup();
        forgotten
    }

    /// A command, sometimes a wrong one; `queued`: it will go into a transaction.
    pub fn command(&self, rng: &mut Rng, queued: bool) -> Command {
        if queued && rng.index(8) == 0 {
            let template = &self.blocking[rng.index(self.blocking.len())];
            return Command {
                blocks: true,
                ..Command::new(fill_all(template, rng), Class::Exact)
            };
        }
        let mut at = rng.below(u64::from(self.total)) as u32;
        for (weight, class, template) in &self.commands {
            if at < *weight {
                let mut words = fill_all(template, rng);
                // The state of a transaction must be known: see `blocks`.
                let plain = words.len() > 1;
                if plain && !queued && rng.index(80) == 0 {
                    let name = pick(rng, &["GETKEYS", "GETKEYSANDFLAGS"]);
                    words.splice(0..0, [b"COMMAND".to_vec(), name.into()]);
                    return Command::new(words, Class::Exact);
                }
                if may_be_spoiled(&words) {
                    if rng.index(20) == 0 {
                        make_odd(&mut words, rng);
                    }
                    if rng.index(40) == 0 {
                        spoil(&mut words, rng);
                    }
                }
                return Command::new(words, *class);
            }
            at -= weight;
        }
        unreachable!("the weights add up")
    }
}

fn fill_all(parts: &[Part], rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    write(parts, rng, &mut words);
    words
}

fn write(parts: &[Part], rng: &mut Rng, out: &mut Vec<Vec<u8>>) {
    for part in parts {
        match part {
            Part::Word(word) if rng.index(10) == 0 => out.push(word.to_lowercase().into_bytes()),
            Part::Word(word) => out.push(word.as_bytes().to_vec()),
            Part::Fill(name) => fill(name, rng, out),
            Part::Maybe(inner) => {
                if rng.index(3) == 0 {
                    write(inner, rng, out);
                }
            }
            Part::Repeat(inner) => {
                for _ in 0..1 + rng.index(3) {
                    write(inner, rng, out);
                }
            }
            Part::OneOf(choices) => write(&choices[rng.index(choices.len())], rng, out),
        }
    }
}

/// Whether words may be spoiled without becoming undefined or random: SPOP with another count is random, members with
/// other scores have no order by name, nor have those of a set that is sorted by a constant.
fn may_be_spoiled(words: &[Vec<u8>]) -> bool {
    let name = words[0].to_ascii_uppercase();
    let by = |word: &Vec<u8>| word.eq_ignore_ascii_case(b"BY");
    words.len() > 1
        && name != b"SPOP"
        && name != b"DEBUG"
        && !words[1].starts_with(b"lex")
        && !(name.starts_with(b"SORT") && words.iter().any(by))
}

/// Puts a number as few would write it in the place of one.
fn make_odd(words: &mut [Vec<u8>], rng: &mut Rng) {
    // None that asks for a string of hundreds of megabytes.
    const ODD: &[&str] = &[
        "1e-400",
        "0x10",
        "+5",
        "-0",
        " 5",
        "5 ",
        "0\r\n",
        "5\0",
        "inf",
        "-inf",
        "+Infinity",
        "nan",
        "-nan",
        "nan(1)",
        "1e17",
        "1e400",
        "-1e400",
        "1e5000",
        "9223372036854775806",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775807",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "9223372036854775",
        "4294967296",
        "007",
        "00",
        "-00",
        "",
        "1.0",
        "1e3",
        ".5",
        "5.",
        "0x",
        "0x1p3",
        "1_0",
        "--1",
        "0.1e",
        "184467440737095516150000000000000000000000000000000000000000000000000000000",
        "0.000000000000000000000000000000000000000000000000000000000000000000000000000000001",
    ];
    let is_number =
        |word: &Vec<u8>| std::str::from_utf8(word).is_ok_and(|text| text.parse::<f64>().is_ok());
    let at: Vec<usize> = (1..words.len())
        .filter(|at| is_number(&words[*at]))
        .collect();
    let name = words[0].to_ascii_uppercase();
    let random = name.windows(4).any(|part| part == b"RAND");
    let stores = words
        .iter()
        .any(|word| word.eq_ignore_ascii_case(b"STOREDIST"));
    // Redis would choose members for years, or end: see `nearunit`. A cursor is a place in a table of its own.
    if at.is_empty() || random || stores || name.ends_with(b"SCAN") {
        return;
    }
    let odd = pick(rng, ODD);
    // A negative offset counts from the end in some of Redis's encodings, the least of all indexes overflows, and LSET
    // cuts its own to 32 bits.
    let overflows =
        odd.len() > 9 && name == b"LSET" || odd == "-9223372036854775808" && name.starts_with(b"L");
    let counts = words.iter().any(|word| word.eq_ignore_ascii_case(b"LIMIT"))
        && name.starts_with(b"Z")
        && odd.starts_with('-');
    // The count of entries that a group has read overflows in Redis.
    let is_odd_id = name.starts_with(b"X") && odd.contains('\0')
        || name == b"XGROUP" && odd.starts_with("92233720368547758");
    if !overflows && !counts && !is_odd_id {
        words[at[rng.index(at.len())]] = odd.into();
    }
}

/// Takes a word away, adds one or puts another in its place; never the command's name.
fn spoil(words: &mut Vec<Vec<u8>>, rng: &mut Rng) {
    // A count that is spoiled must not become a request for gigabytes.
    const JUNK: &[&str] = &[
        "",
        "x",
        "-1",
        "0",
        "1.5",
        "9999999999999999999999",
        "NX",
        "COUNT",
        "nan",
        "k",
    ];
    let at = 1 + rng.index(words.len() - 1);
    let junk = JUNK[rng.index(JUNK.len())].as_bytes().to_vec();
    match rng.index(3) {
        0 => {
            words.remove(at);
        }
        1 => words[at] = junk,
        _ => words.insert(at, junk),
    }
}

pub fn pick<'a>(rng: &mut Rng, choices: &[&'a str]) -> &'a str {
    choices[rng.index(choices.len())]
}

const KINDS: &[&str] = &["str", "list", "set", "zset", "hash", "stream", "hll", "geo"];

fn key(kind: &str, rng: &mut Rng) -> Vec<u8> {
    // Now and then a key that holds another type.
    let kind = if rng.index(25) == 0 {
        pick(rng, KINDS)
    } else {
        kind
    };
    format!("{kind}{}", rng.index(4)).into_bytes()
}

fn fill(name: &str, rng: &mut Rng, out: &mut Vec<Vec<u8>>) {
    const VALUES: &[&str] = &[
        "a",
        "b",
        "c",
        "hello world",
        "",
        "1",
        "-7",
        "12345678901",
        "3.25",
        "00",
        "9223372036854775807",
        "abcabcabcabcabcabcabcabcabcabcabcabc",
    ];
    const MEMBERS: &[&str] = &[
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "1",
        "2",
        "3",
        "-40",
        "70000",
        "5000000000",
        "",
        "longer than eight",
        "x",
    ];
    const INTS: &[&str] = &[
        "0",
        "1",
        "-1",
        "7",
        "100",
        "9223372036854775807",
        "-9223372036854775808",
        "4294967296",
        "1.5",
        "abc",
        "-100",
    ];
    const FLOATS: &[&str] = &[
        "0",
        "1",
        "-1",
        "0.1",
        "2.5",
        "1e10",
        "-1e-5",
        "3.0e3",
        "inf",
        "nan",
        "x",
        "123456789.123456789",
    ];
    const SCORES: &[&str] = &[
        "0",
        "1",
        "2",
        "3",
        "-1",
        "1.5",
        "-0.25",
        "1e3",
        "inf",
        "-inf",
        "+inf",
        "0.1",
        "1e-10",
        "123456789012345678",
        "-0",
        "1e300",
    ];
    const BOUNDS: &[&str] = &[
        "0", "1", "(1", "2", "(2", "-inf", "+inf", "(inf", "-1", "1.5", "(1.5", "1e3", "x", "(-inf",
    ];
    const LEX: &[&str] = &[
        "-", "+", "[a", "(a", "[c", "(c", "[", "(", "[x", "a", "[1", "(zzz",
    ];
    const INDEXES: &[&str] = &[
        "0", "1", "2", "3", "5", "-1", "-2", "-3", "100", "-100", "0", "1", "-1",
    ];
    const COUNTS: &[&str] = &["0", "1", "2", "3", "10", "1", "2", "100", "-1"];
    const TTLS: &[&str] = &[
        "10000",
        "20000",
        "100000",
        "0",
        "-1",
        "9223372036854775807",
        "1000000000",
    ];
    const PATTERNS: &[&str] = &[
        "*", "a*", "?", "[a-c]", "*1*", "z*", "s*", "\\a", "[^a]*", "h?llo*",
    ];
    let word: Vec<u8> = match name {
        "str" | "list" | "set" | "zset" | "hash" | "stream" | "hll" | "geo" => key(name, rng),
        // All scores are the same, for else an order by members is not defined.
        "lexset" if rng.index(25) == 0 => b"nolex".to_vec(),
        "lexset" => format!("lex{}", rng.index(4)).into_bytes(),
        "any" => key(pick(rng, KINDS), rng),
        // Not streams: see `known_differences.rs`.
        "watched" => {
            let kind = pick(rng, &["str", "list", "set", "zset", "hash"]);
            format!("{kind}{}", rng.index(4)).into_bytes()
        }
        "sortable" => key(pick(rng, &["list", "set", "zset"]), rng),
        "numkeys-list" | "numkeys-set" | "numkeys-zset" => {
            let kind = name.strip_prefix("numkeys-").unwrap_or(name);
            let count = 1 + rng.index(3);
            let said = if rng.index(20) == 0 {
                rng.index(5)
            } else {
                count
            };
            out.push(said.to_string().into_bytes());
            for _ in 0..count {
                let kind = if kind == "zset" && rng.index(5) == 0 {
                    "set"
                } else {
                    kind
                };
                out.push(key(kind, rng));
            }
            return;
        }
        "numfields" | "numpairs" => {
            let count = 1 + rng.index(3);
            let said = if rng.index(20) == 0 {
                rng.index(5)
            } else {
                count
            };
            out.push(said.to_string().into_bytes());
            for _ in 0..count {
                fill("field", rng, out);
                if name == "numpairs" {
                    fill("value", rng, out);
                }
            }
            return;
        }
        // Points, and those on the other side of the earth, as far as rounding goes.
        "far" => {
            const FAR: &[[&str; 2]] = &[
                ["90.00662237405777", "57.399844246526158"],
                ["-89.99337762594223", "-57.399844246526399"],
                ["0", "0"],
                ["180", "0"],
                ["-180", "0"],
                ["0", "85.05112878"],
                ["180", "-85.05112878"],
                ["45", "-30"],
                ["-135", "30"],
                ["-135.0000000001", "30.0000000001"],
                ["13.361389", "38.115556"],
                ["-166.638611", "-38.115556"],
            ];
            out.extend(FAR[rng.index(FAR.len())].map(|word| word.as_bytes().to_vec()));
            return;
        }
        "getkeys" => {
            const LINES: &[&str] = &[
                "PING",
                "GET",
                "GET a",
                "GET a b",
                "NOSUCH a",
                "SET a",
                "SET a b GET",
                "MSET a b c d",
                "MSET a b c",
                "OBJECT ENCODING a",
                "OBJECT",
                "OBJECT NOSUCH a",
                "XGROUP CREATE a b $",
                "EVAL return 2 a b c",
                "EVAL return 5 a",
                "EVAL return x a",
                "EVAL return -1 a",
                "FCALL f 1 a b",
                "SORT a BY b* GET c* STORE d",
                "SORT a STORE d STORE e",
                "ZUNIONSTORE a 2 b c",
                "ZUNIONSTORE a 0 b",
                "ZUNIONSTORE a 99999999999999999999 b",
                "ZUNION 2147483648 a",
                "XREAD COUNT 1 STREAMS a b 0 0",
                "XREAD STREAMS a",
                "XREADGROUP GROUP g c STREAMS a >",
                "GEORADIUS a 1 2 3 m STORE b STOREDIST c",
                "LMPOP 2 a b LEFT",
                "BLMPOP 0 1 a LEFT",
                "LMPOP 1",
                "BITOP AND a b c",
                "RENAME a b",
                "LCS a b",
                "MULTI",
                "COMMAND GETKEYS GET a",
                "CONFIG GET a",
                "SCRIPT LOAD a",
                "PUBLISH a b",
                "SSUBSCRIBE a b",
                "MEMORY USAGE a",
                "HEXPIRE a 1 FIELDS 1 b",
                "PFCOUNT a b",
                "WATCH a b",
            ];
            let line = pick(rng, LINES).split(' ');
            out.extend(line.map(|word| word.as_bytes().to_vec()));
            return;
        }
        "zero" => pick(
            rng,
            &[
                "0", "0\r\n", " 0", "0.0", "1e-400", "0x0", "-0", "0 ", "", "x",
            ],
        )
        .into(),
        "value" => match rng.index(30) {
            0 => vec![b'v'; 100 + rng.index(100)],
            1 => vec![b'w', 0, 255, 13, 10],
            2 => rng.index(300).to_string().into_bytes(),
            _ => pick(rng, VALUES).into(),
        },
        "member" | "field" => match rng.index(12) {
            0 => vec![b'm'; 70],
            1 => vec![b'n', 0, 200],
            2 => rng.index(40).to_string().into_bytes(),
            _ => pick(rng, MEMBERS).into(),
        },
        "int" => pick(rng, INTS).into(),
        "float" => pick(rng, FLOATS).into(),
        "score" => match rng.index(30) {
            0 => pick(rng, &["nan", "x", ""]).into(),
            1 => format!("{}", rng.unit_f64() * 100.0).into_bytes(),
            _ => pick(rng, SCORES).into(),
        },
        "bound" => pick(rng, BOUNDS).into(),
        "lex" => pick(rng, LEX).into(),
        "idx" => pick(rng, INDEXES).into(),
        "count" => pick(rng, COUNTS).into(),
        "offset" => pick(rng, &["0", "1", "5", "40", "-1", "100"]).into(),
        // Redis counts a negative one from the end, in some encodings.
        "skipped" => pick(rng, &["0", "0", "1", "2", "5", "100"]).into(),
        "bits" => b"bits".to_vec(),
        "bitoffset" => pick(
            rng,
            &["0", "1", "7", "8", "63", "64", "500", "-1", "4294967296"],
        )
        .into(),
        "bit" => pick(rng, &["0", "1", "0", "1", "0", "1", "2"]).into(),
        "bftype" => pick(
            rng,
            &[
                "u1", "u8", "i8", "u16", "i16", "i64", "u63", "i5", "u64", "i65", "x8",
            ],
        )
        .into(),
        "bfoffset" => pick(rng, &["0", "1", "#1", "#2", "7", "100", "-1", "#-1"]).into(),
        "bfint" => pick(
            rng,
            &[
                "0",
                "1",
                "-1",
                "7",
                "100",
                "300",
                "-100",
                "4294967296",
                "abc",
            ],
        )
        .into(),
        "ttl" => pick(rng, TTLS).into(),
        "pttl" => pick(
            rng,
            &["10000000", "20000000", "0", "-1", "9223372036854775807"],
        )
        .into(),
        "at" => pick(
            rng,
            &[
                "5000000000",
                "6000000000",
                "1",
                "0",
                "-1",
                "9223372036854775807",
            ],
        )
        .into(),
        "atms" => pick(
            rng,
            &[
                "5000000000000",
                "6000000000000",
                "1",
                "0",
                "-1",
                "9223372036854775807",
            ],
        )
        .into(),
        "pattern" => pick(rng, PATTERNS).into(),
        "cursor" => pick(
            rng,
            &[
                "0", "0", "0", "0", "0", "0", "x", "", "0\0", "+0", "00", " 0", "0 ", "0x0", "-0",
                "0.0",
            ],
        )
        .into(),
        "newid" => match rng.index(10) {
            0 => pick(
                rng,
                &[
                    "0-0",
                    "0-1",
                    "1",
                    "x",
                    "5-*",
                    "18446744073709551615-18446744073709551615",
                ],
            )
            .into(),
            1 => format!("{}-*", rng.index(60)).into_bytes(),
            _ => format!("{}-{}", rng.index(60), rng.index(4)).into_bytes(),
        },
        "id" => match rng.index(10) {
            0 => pick(rng, &["0", "0-0", "x", "", "100", "1-1-1"]).into(),
            _ => format!("{}-{}", rng.index(60), rng.index(4)).into_bytes(),
        },
        "rangeid" => match rng.index(4) {
            0 => pick(rng, &["-", "+"]).into(),
            1 => pick(rng, &["-", "+", "(5", "(10-1", "(0-0", "x", "7"]).into(),
            _ => format!("{}-{}", rng.index(60), rng.index(4)).into_bytes(),
        },
        "group" => pick(rng, &["g1", "g1", "g2"]).into(),
        "consumer" => pick(rng, &["alice", "bob", "carol"]).into(),
        "lon" => pick(
            rng,
            &[
                "13.361389",
                "15.087269",
                "0",
                "-180",
                "179.99",
                "2.35",
                "181",
                "13.5",
            ],
        )
        .into(),
        "lat" => pick(
            rng,
            &[
                "38.115556",
                "37.502669",
                "0",
                "85",
                "-85",
                "48.85",
                "86",
                "38",
            ],
        )
        .into(),
        "dist" => pick(rng, &["0", "1", "100", "200", "1000", "20000", "-1", "5.5"]).into(),
        "unit" => pick(rng, &["m", "km", "mi", "ft", "km", "km", "x"]).into(),
        // Redis ends where the distance to the other side of the earth is not a number and is to be stored.
        "nearunit" => pick(rng, &["m", "km", "ft", "km", "km", "x"]).into(),
        "db" => pick(rng, &["0", "0", "1", "1", "2", "99"]).into(),
        "sortby" => pick(rng, &["str*", "hash*->a", "*"]).into(),
        "sortget" => pick(rng, &["str*", "hash*->1", "#", "hash0->a"]).into(),
        "junk" => pick(rng, &["", "x", "0123456789abc"]).into(),
        other => unreachable!("<{other}> is not known"),
    };
    out.push(word);
}
