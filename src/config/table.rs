//! The table of directives: one row for each.
//!
//! A row says how a directive is called, what values it takes, what it is when nobody sets it,
//! what may be done to it at run time, and whether gyre acts on it yet. Reading a file, CONFIG GET,
//! SET and REWRITE and the start-up warning are all driven by these rows. The typed values are in `settings.rs`, and what
//! follows from a change at run time is in `commands/config.rs`. It mirrors
//! `static_configs` of Redis's `config.c`: the defaults are those of 7.0.15, for directives that
//! came later those of 7.2, 7.4 and 8.0.

use std::collections::HashMap;
use std::sync::OnceLock;

/// What a number counts, which decides how it is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A bare decimal integer (a count, or seconds, milliseconds, microseconds).
    Plain,
    /// Bytes; read with `k`, `kb`, `m`, `mb`, `g`, `gb` and reported as a bare number.
    Bytes,
    /// Bytes, or a percentage of `maxmemory`, which is held as a negative number.
    BytesOrPercent,
    /// An octal number: file permissions.
    Octal,
}

/// What values a directive takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    Bool(bool),
    /// An integer within inclusive bounds.
    Number {
        /// Smallest value allowed.
        min: i128,
        /// Largest value allowed.
        max: i128,
        /// Value when nobody sets it.
        default: i128,
        /// How it is read and reported.
        unit: Unit,
    },
    /// One of several names, or a set of them where the directive takes several arguments.
    Enum {
        /// Name and value of each choice, in the order in which Redis lists them.
        names: &'static [(&'static str, u32)],
        /// Value when nobody sets it.
        default: u32,
    },
    /// Bytes.
    Text {
        /// Value when nobody sets it.
        default: &'static str,
        /// The empty string means "not set": CONFIG REWRITE then leaves the directive out.
        empty_is_unset: bool,
        /// What else the value must satisfy.
        check: TextCheck,
    },
    /// The working directory.
    Dir,
    /// `save`: pairs of seconds and changes, which add up over several lines.
    Save,
    /// `bind`: the addresses to listen on.
    Bind,
    /// `client-output-buffer-limit`: the limits of each class of clients.
    OutputLimits,
    /// `oom-score-adj-values`: three integers.
    OomValues,
    /// `notify-keyspace-events`: a set of event classes, one character each.
    Events,
    /// `latency-tracking-info-percentiles`: a list of percentages.
    Percentiles,
    /// `replicaof`: host and port of a primary.
    ReplicaOf,
}

/// What the text of a directive must satisfy beyond being text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextCheck {
    /// Anything goes.
    Any,
    /// A file name without a directory.
    DbFilename,
    /// A file name without a directory, and not empty.
    AofFilename,
    /// A directory's name without a parent, and not empty.
    AofDirname,
    /// A host name.
    Hostname,
    /// A name of a cluster node.
    NodeName,
    /// Addresses and subnets, between blanks or commas.
    Subnets,
    /// A template of the process title.
    ProcTitle,
    /// A locale that the system knows; empty: that of the environment.
    Locale,
}

/// Whether setting the directive does what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// gyre acts on it.
    Acted,
    /// Accepted and reported back; what it configures does not exist yet.
    NotYet,
}

/// What a refused directive asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Modules.
    Modules,
}

impl Missing {
    /// What is missing, and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            Missing::Modules => {
                "gyre loads no modules yet, and clients would miss their commands. Take the directive out"
            }
        }
    }
}

/// One directive.
#[derive(Debug)]
pub struct Directive {
    /// The name under which it is reported and rewritten.
    pub name: &'static str,
    /// An older name, reported by CONFIG GET as well.
    pub alias: Option<&'static str>,
    /// What values it takes.
    pub kind: Kind,
    /// CONFIG SET refuses it.
    pub immutable: bool,
    /// Its value is kept out of the slow log and of MONITOR.
    pub sensitive: bool,
    /// CONFIG SET refuses it unless `enable-protected-configs` allows it.
    pub protected: bool,
    /// Only an exact name finds it, not a pattern.
    pub hidden: bool,
    /// It takes any number of arguments.
    pub multi: bool,
    /// CONFIG SET refuses it while a data set is being loaded.
    pub deny_loading: bool,
    /// Setting it again to the same value still counts as a change (a certificate's file may have
    /// new content under the same name).
    pub volatile: bool,
    /// Whether gyre acts on it.
    pub effect: Effect,
}

impl Directive {
    const fn new(name: &'static str, kind: Kind) -> Directive {
        Directive {
            name,
            alias: None,
            kind,
            immutable: false,
            sensitive: false,
            protected: false,
            hidden: false,
            multi: false,
            deny_loading: false,
            volatile: false,
            effect: Effect::Acted,
        }
    }
    const fn alias(mut self, name: &'static str) -> Directive {
        self.alias = Some(name);
        self
    }
    const fn fixed(mut self) -> Directive {
        self.immutable = true;
        self
    }
    const fn secret(mut self) -> Directive {
        self.sensitive = true;
        self
    }
    const fn guarded(mut self) -> Directive {
        self.protected = true;
        self
    }
    const fn hidden(mut self) -> Directive {
        self.hidden = true;
        self
    }
    const fn multi(mut self) -> Directive {
        self.multi = true;
        self
    }
    const fn not_loading(mut self) -> Directive {
        self.deny_loading = true;
        self
    }
    const fn volatile(mut self) -> Directive {
        self.volatile = true;
        self
    }
    const fn later(mut self) -> Directive {
        self.effect = Effect::NotYet;
        self
    }
}

const INT_MAX: i128 = i32::MAX as i128;
const INT_MIN: i128 = i32::MIN as i128;
const UINT_MAX: i128 = u32::MAX as i128;
const LONG_MAX: i128 = i64::MAX as i128;
const ULONG_MAX: i128 = u64::MAX as i128;
const KB: i128 = 1024;
const MB: i128 = 1024 * KB;
const GB: i128 = 1024 * MB;

const fn yes_no(name: &'static str, default: bool) -> Directive {
    Directive::new(name, Kind::Bool(default))
}
const fn int(name: &'static str, min: i128, max: i128, default: i128) -> Directive {
    let unit = Unit::Plain;
    Directive::new(
        name,
        Kind::Number {
            min,
            max,
            default,
            unit,
        },
    )
}
const fn bytes(name: &'static str, min: i128, max: i128, default: i128) -> Directive {
    let unit = Unit::Bytes;
    Directive::new(
        name,
        Kind::Number {
            min,
            max,
            default,
            unit,
        },
    )
}
/// Text whose empty value is a value.
const fn text(name: &'static str, default: &'static str) -> Directive {
    checked(name, default, TextCheck::Any)
}
const fn checked(name: &'static str, default: &'static str, check: TextCheck) -> Directive {
    Directive::new(
        name,
        Kind::Text {
            default,
            empty_is_unset: false,
            check,
        },
    )
}
/// Text whose empty value means that it is not set.
const fn optional(name: &'static str) -> Directive {
    let check = TextCheck::Any;
    Directive::new(
        name,
        Kind::Text {
            default: "",
            empty_is_unset: true,
            check,
        },
    )
}
const fn choice(
    name: &'static str,
    names: &'static [(&'static str, u32)],
    default: u32,
) -> Directive {
    Directive::new(name, Kind::Enum { names, default })
}

/// `maxmemory-policy`.
pub const POLICIES: &[(&str, u32)] = &[
    ("volatile-lru", 0),
    ("volatile-lfu", 1),
    ("volatile-random", 2),
    ("volatile-ttl", 3),
    ("allkeys-lru", 4),
    ("allkeys-lfu", 5),
    ("allkeys-random", 6),
    ("noeviction", 7),
];
const FACILITIES: &[(&str, u32)] = &[
    ("user", 1),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];
/// `loglevel`. `nothing` came with Redis 7.2.
const LOG_LEVELS: &[(&str, u32)] = &[
    ("debug", 0),
    ("verbose", 1),
    ("notice", 2),
    ("warning", 3),
    ("nothing", 4),
];
/// `supervised`.
const SUPERVISED: &[(&str, u32)] = &[("upstart", 3), ("systemd", 2), ("auto", 1), ("no", 0)];
const BGSAVE_METHODS: &[(&str, u32)] = &[("fork", 0), ("forkless", 1)];
pub(super) const FSYNC: &[(&str, u32)] = &[("everysec", 2), ("always", 1), ("no", 0)];
/// `shutdown-on-sigint` and `shutdown-on-sigterm`: bits that may be combined.
pub const SHUTDOWN: &[(&str, u32)] = &[
    ("default", 0),
    ("save", 1),
    ("nosave", 2),
    ("now", 4),
    ("force", 8),
];
const DISKLESS_LOAD: &[(&str, u32)] = &[
    ("disabled", 0),
    ("on-empty-db", 1),
    ("swapdb", 2),
    ("flushdb", 3),
    // Valkey's name for it.
    ("flush-before-load", 3),
];
const TLS_CLIENTS: &[(&str, u32)] = &[("no", 0), ("yes", 1), ("optional", 2)];
const TLS_USERS: &[(&str, u32)] = &[("off", 0), ("CN", 1), ("URI", 2)];
const OOM_ADJ: &[(&str, u32)] = &[("no", 0), ("yes", 1), ("relative", 1), ("absolute", 2)];
const PUBSUB_DEFAULT: &[(&str, u32)] = &[("allchannels", 1), ("resetchannels", 0)];
const SANITIZE: &[(&str, u32)] = &[("no", 0), ("yes", 1), ("clients", 2)];
/// `enable-debug-command` and its sisters.
const PROTECTED_ACTION: &[(&str, u32)] = &[("no", 0), ("yes", 1), ("local", 2)];
const ENDPOINT: &[(&str, u32)] = &[("ip", 0), ("hostname", 1), ("unknown-endpoint", 2)];
const PROPAGATION: &[(&str, u32)] = &[("ignore", 0), ("panic", 1), ("panic-on-replicas", 2)];

/// Every directive.
#[rustfmt::skip]
pub static DIRECTIVES: &[Directive] = &[
    // Network
    Directive::new("bind", Kind::Bind).multi(),
    optional("bind-source-addr").later(),
    yes_no("protected-mode", true),
    int("port", 0, 65535, 6379),
    int("tcp-backlog", 0, INT_MAX, 511).fixed(),
    optional("unixsocket").fixed(),
    Directive::new("unixsocketperm", Kind::Number { min: 0, max: 0o777, default: 0, unit: Unit::Octal }).fixed(),
    int("timeout", 0, INT_MAX, 0),
    int("tcp-keepalive", 0, INT_MAX, 300),
    int("socket-mark-id", 0, UINT_MAX, 0).fixed().later(),
    int("max-new-connections-per-cycle", 1, 1000, 10),
    int("max-new-tls-connections-per-cycle", 1, 1000, 1),

    // TLS
    int("tls-port", 0, 65535, 0),
    optional("tls-cert-file").volatile(),
    optional("tls-key-file").volatile(),
    optional("tls-key-file-pass").secret(),
    optional("tls-alt-cert-file").volatile(),
    optional("tls-alt-key-file").volatile(),
    optional("tls-alt-key-file-pass").secret(),
    optional("tls-client-cert-file").volatile(),
    optional("tls-client-key-file").volatile(),
    optional("tls-client-key-file-pass").secret(),
    optional("tls-dh-params-file").volatile().later(),
    optional("tls-ca-cert-file").volatile(),
    optional("tls-ca-cert-dir").volatile(),
    choice("tls-auth-clients", TLS_CLIENTS, 1),
    choice("tls-auth-clients-user", TLS_USERS, 0),
    yes_no("tls-replication", false),
    yes_no("tls-cluster", false),
    optional("tls-protocols"),
    optional("tls-ciphers"),
    optional("tls-ciphersuites"),
    optional("tls-groups"),
    yes_no("tls-prefer-server-ciphers", false),
    yes_no("tls-session-caching", true),
    int("tls-session-cache-size", 0, INT_MAX, 20 * 1024),
    int("tls-session-cache-timeout", 0, INT_MAX, 300),
    int("tls-auto-reload-interval", 0, INT_MAX, 0),
    optional("tls-expected-peer-name"),

    // General
    yes_no("daemonize", false).fixed(),
    choice("supervised", SUPERVISED, 0).fixed(),
    optional("pidfile").fixed(),
    choice("loglevel", LOG_LEVELS, 2),
    text("logfile", "").fixed(),
    yes_no("syslog-enabled", false).fixed().later(),
    text("syslog-ident", "redis").fixed().later(),
    choice("syslog-facility", FACILITIES, 16).fixed().later(),
    yes_no("crash-log-enabled", true),
    yes_no("crash-memcheck-enabled", true),
    yes_no("hide-user-data-from-log", false),
    int("databases", 1, INT_MAX, 16).fixed(),
    yes_no("always-show-logo", false).fixed(),
    yes_no("set-proc-title", true).fixed(),
    checked("proc-title-template", "{title} {listen-addr} {server-mode}", TextCheck::ProcTitle),
    checked("locale-collate", "", TextCheck::Locale).later(),
    choice("enable-protected-configs", PROTECTED_ACTION, 0).fixed(),
    choice("enable-debug-command", PROTECTED_ACTION, 0).fixed(),
    choice("enable-module-command", PROTECTED_ACTION, 0).fixed(),
    text("ignore-warnings", "").later(),
    int("shutdown-timeout", 0, INT_MAX, 10),
    choice("shutdown-on-sigint", SHUTDOWN, 0).multi(),
    choice("shutdown-on-sigterm", SHUTDOWN, 0).multi(),
    Directive::new("dir", Kind::Dir).guarded().not_loading(),
    optional("record").fixed().hidden(),
    bytes("record-max-size", 1, LONG_MAX, 1024 * MB).fixed().hidden(),
    int("hz", 0, INT_MAX, 10),
    yes_no("dynamic-hz", true),
    int("watchdog-period", 0, INT_MAX, 0).hidden(),
    yes_no("use-exit-on-panic", false).hidden(),

    // Snapshots
    Directive::new("save", Kind::Save).multi(),
    yes_no("stop-writes-on-bgsave-error", true),
    yes_no("rdbcompression", true),
    yes_no("rdbchecksum", true).fixed(),
    choice("sanitize-dump-payload", SANITIZE, 0),
    checked("dbfilename", "dump.rdb", TextCheck::DbFilename).guarded(),
    yes_no("rdb-del-sync-files", false),
    yes_no("rdb-save-incremental-fsync", true),
    choice("bgsave-default-method", BGSAVE_METHODS, 1),
    int("forkless-loop-share", 1, 100, 20),
    int("forkless-disk-timeout", 1, 1_000_000, 30),
    int("rdb-key-save-delay", INT_MIN, INT_MAX, 0).hidden(),
    int("key-load-delay", INT_MIN, INT_MAX, 0).hidden(),
    int("loading-process-events-interval-bytes", 1024, INT_MAX, 512 * KB).hidden().later(),

    // Replication
    Directive::new("replicaof", Kind::ReplicaOf).alias("slaveof").fixed().multi(),
    optional("masterauth").secret(),
    optional("masteruser").secret(),
    yes_no("replica-serve-stale-data", true).alias("slave-serve-stale-data"),
    yes_no("replica-read-only", true).alias("slave-read-only"),
    yes_no("replica-lazy-flush", false).alias("slave-lazy-flush"),
    yes_no("replica-ignore-maxmemory", true).alias("slave-ignore-maxmemory"),
    yes_no("replica-ignore-disk-write-errors", false),
    yes_no("replica-announced", true),
    int("replica-priority", 0, INT_MAX, 100).alias("slave-priority"),
    optional("replica-announce-ip").alias("slave-announce-ip"),
    int("replica-announce-port", 0, 65535, 0).alias("slave-announce-port"),
    yes_no("repl-diskless-sync", true),
    int("repl-diskless-sync-delay", 0, INT_MAX, 5),
    int("repl-diskless-sync-max-replicas", 0, INT_MAX, 0),
    choice("repl-diskless-load", DISKLESS_LOAD, 0).not_loading(),
    yes_no("repl-rdb-channel", false).hidden().later(),
    int("repl-ping-replica-period", 1, INT_MAX, 10).alias("repl-ping-slave-period"),
    int("repl-timeout", 1, INT_MAX, 60),
    yes_no("repl-disable-tcp-nodelay", false).later(),
    bytes("repl-backlog-size", 1, LONG_MAX, MB),
    int("repl-backlog-ttl", 0, LONG_MAX, 3600),
    bytes("replica-full-sync-buffer-limit", 0, ULONG_MAX, 0).later(),
    int("min-replicas-to-write", 0, INT_MAX, 0).alias("min-slaves-to-write"),
    int("min-replicas-max-lag", 0, INT_MAX, 10).alias("min-slaves-max-lag"),
    choice("propagation-error-behavior", PROPAGATION, 0),

    // Security
    optional("requirepass").secret(),
    text("aclfile", "").fixed(),
    int("acllog-max-len", 0, LONG_MAX, 128),
    choice("acl-pubsub-default", PUBSUB_DEFAULT, 0),
    int("tracking-table-max-keys", 0, LONG_MAX, 1_000_000),

    // Clients
    int("maxclients", 1, UINT_MAX, 10_000),
    // Valkey's, since 9.2.
    int("maxclients-reserved", 0, UINT_MAX, 0),
    checked("priority-subnets", "", TextCheck::Subnets),
    // gyre's own: bounds for strangers (docs/security.md)
    int("maxclients-per-address", 0, UINT_MAX, 0),
    int("auth-failures-per-address", 0, INT_MAX, 0),
    int("auth-failure-delay", 1, 30_000, 500),
    bytes("client-query-buffer-limit", MB, LONG_MAX, GB),
    Directive::new("client-output-buffer-limit", Kind::OutputLimits).multi(),
    Directive::new("maxmemory-clients", Kind::Number { min: -100, max: LONG_MAX, default: 0, unit: Unit::BytesOrPercent }),
    bytes("proto-max-bulk-len", MB, LONG_MAX, 512 * MB),
    // Redis has this limit as a constant.
    bytes("proto-inline-max-size", KB, LONG_MAX, 64 * KB).hidden(),
    int("client-default-resp", 2, 3, 2).fixed().hidden().later(),
    optional("req-res-logfile").fixed().hidden().later(),

    // Memory
    bytes("maxmemory", 0, ULONG_MAX, 0),
    choice("maxmemory-policy", POLICIES, 7),
    int("maxmemory-samples", 1, 64, 5),
    int("maxmemory-eviction-tenacity", 0, 100, 10),
    int("lfu-log-factor", 0, INT_MAX, 10),
    int("lfu-decay-time", 0, INT_MAX, 1),
    int("active-expire-effort", 1, 10, 1),
    yes_no("lazyexpire-nested-arbitrary-keys", true).hidden().later(),
    yes_no("lazyfree-lazy-eviction", false),
    yes_no("lazyfree-lazy-expire", false),
    yes_no("lazyfree-lazy-server-del", false),
    yes_no("lazyfree-lazy-user-del", false),
    yes_no("lazyfree-lazy-user-flush", false),
    yes_no("activerehashing", true),
    yes_no("jemalloc-bg-thread", true),
    yes_no("disable-thp", true).fixed(),
    choice("oom-score-adj", OOM_ADJ, 0),
    Directive::new("oom-score-adj-values", Kind::OomValues).multi(),

    // Threads and processors
    int("io-threads", 1, 128, 1).fixed().later(),
    optional("server-cpulist").alias("server_cpulist").fixed().later(),
    optional("bio-cpulist").alias("bio_cpulist").fixed().later(),
    optional("aof-rewrite-cpulist").alias("aof_rewrite_cpulist").fixed().later(),
    optional("bgsave-cpulist").alias("bgsave_cpulist").fixed().later(),

    // The append-only file
    yes_no("appendonly", false),
    checked("appendfilename", "appendonly.aof", TextCheck::AofFilename).fixed(),
    checked("appenddirname", "appendonlydir", TextCheck::AofDirname).fixed(),
    choice("appendfsync", FSYNC, 2),
    yes_no("no-appendfsync-on-rewrite", false),
    int("auto-aof-rewrite-percentage", 0, INT_MAX, 100),
    bytes("auto-aof-rewrite-min-size", 0, LONG_MAX, 64 * MB),
    yes_no("aof-load-truncated", true),
    bytes("aof-load-corrupt-tail-max-size", 0, LONG_MAX, 0),
    yes_no("aof-use-rdb-preamble", true),
    yes_no("aof-timestamp-enabled", false),
    yes_no("aof-rewrite-incremental-fsync", true),
    yes_no("aof-disable-auto-gc", false).hidden(),

    // Scripts
    int("busy-reply-threshold", 0, LONG_MAX, 5000).alias("lua-time-limit"),
    yes_no("lua-enable-deprecated-api", false).fixed().hidden(),

    // Cluster
    yes_no("cluster-enabled", false).fixed(),
    text("cluster-config-file", "nodes.conf").fixed(),
    int("cluster-node-timeout", 0, LONG_MAX, 15_000),
    int("cluster-ping-interval", 0, LONG_MAX, 0).hidden(),
    int("cluster-port", 0, 65535, 0).fixed(),
    int("cluster-replica-validity-factor", 0, INT_MAX, 10).alias("cluster-slave-validity-factor"),
    int("cluster-migration-barrier", 0, INT_MAX, 1),
    yes_no("cluster-allow-replica-migration", true),
    yes_no("cluster-require-full-coverage", true),
    yes_no("cluster-replica-no-failover", false).alias("cluster-slave-no-failover"),
    yes_no("cluster-allow-reads-when-down", false),
    yes_no("cluster-allow-pubsubshard-when-down", true),
    bytes("cluster-link-sendbuf-limit", 0, ULONG_MAX, 0),
    int("cluster-compatibility-sample-ratio", 0, 100, 0).later(),
    optional("cluster-announce-ip"),
    Directive::new("cluster-announce-hostname", Kind::Text { default: "", empty_is_unset: true, check: TextCheck::Hostname }),
    Directive::new("cluster-announce-human-nodename", Kind::Text { default: "", empty_is_unset: true, check: TextCheck::NodeName }),
    choice("cluster-preferred-endpoint-type", ENDPOINT, 0),
    int("cluster-announce-port", 0, 65535, 0),
    int("cluster-announce-tls-port", 0, 65535, 0),
    int("cluster-announce-bus-port", 0, 65535, 0),

    // What is observed
    int("slowlog-log-slower-than", -1, LONG_MAX, 10_000),
    int("slowlog-max-len", 0, LONG_MAX, 128),
    int("latency-monitor-threshold", 0, LONG_MAX, 0),
    yes_no("latency-tracking", true),
    Directive::new("latency-tracking-info-percentiles", Kind::Percentiles).multi(),
    Directive::new("notify-keyspace-events", Kind::Events),
    // gyre's own: the recorder of the loop (docs/loop-trace.md)
    int("http-port", 0, 65535, 0),
    text("http-bind", "127.0.0.1 -::1"),
    yes_no("http-tls", false),
    yes_no("loop-trace", true),
    int("loop-trace-turns", 1, 1_000_000, 4096),

    // Encodings
    int("hash-max-listpack-entries", 0, LONG_MAX, 512).alias("hash-max-ziplist-entries"),
    bytes("hash-max-listpack-value", 0, LONG_MAX, 64).alias("hash-max-ziplist-value"),
    int("list-max-listpack-size", INT_MIN, INT_MAX, -2).alias("list-max-ziplist-size"),
    int("list-compress-depth", 0, INT_MAX, 0),
    int("set-max-intset-entries", 0, LONG_MAX, 512),
    // Redis 7.2 begins with 128; 0 keeps the encodings that a redis.conf of 7.0 knows (docs/compatibility.md).
    int("set-max-listpack-entries", 0, LONG_MAX, 128),
    int("set-max-listpack-value", 0, LONG_MAX, 64),
    int("zset-max-listpack-entries", 0, LONG_MAX, 128).alias("zset-max-ziplist-entries"),
    bytes("zset-max-listpack-value", 0, LONG_MAX, 64).alias("zset-max-ziplist-value"),
    bytes("hll-sparse-max-bytes", 0, LONG_MAX, 3000),
    bytes("stream-node-max-bytes", 0, LONG_MAX, 4096),
    int("stream-node-max-entries", 0, LONG_MAX, 100),

    // Defragmentation
    yes_no("activedefrag", false).later(),
    bytes("active-defrag-ignore-bytes", 1, LONG_MAX, 100 * MB).later(),
    int("active-defrag-threshold-lower", 0, 1000, 10).later(),
    int("active-defrag-threshold-upper", 0, 1000, 100).later(),
    int("active-defrag-cycle-min", 1, 99, 1).later(),
    int("active-defrag-cycle-max", 1, 99, 25).later(),
    int("active-defrag-max-scan-fields", 1, LONG_MAX, 1000).later(),
];

/// Directives of older versions that are read over in silence when they have one value.
pub const DEPRECATED: &[&str] = &[
    "list-max-ziplist-entries",
    "list-max-ziplist-value",
    "lua-replicate-commands",
    "io-threads-do-reads",
];

/// Directives that only a file knows: CONFIG GET and SET do not find them.
pub const FILE_ONLY: &[&str] = &[
    "include",
    "rename-command",
    "user",
    "role",
    "loadmodule",
    "sentinel",
];

/// Which of a directive's names was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The one under which it is rewritten.
    Primary,
    /// The older one.
    Alias,
}

/// A directive found by one of its names.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Place in [`DIRECTIVES`].
    pub index: usize,
    /// The row.
    pub directive: &'static Directive,
    /// The one of its names by which it was found.
    pub by: Name,
}

impl Found {
    /// The name that it was found by, as the table spells it.
    pub fn spelled(&self) -> &'static str {
        let directive = self.directive;
        match self.by {
            Name::Primary => directive.name,
            Name::Alias => directive.alias.unwrap_or(directive.name),
        }
    }
}

/// Finds a directive by any of its names, whatever their case.
pub fn find(name: &[u8]) -> Option<Found> {
    static INDEX: OnceLock<HashMap<&'static [u8], (usize, Name)>> = OnceLock::new();
    let names = INDEX.get_or_init(|| {
        let mut names = HashMap::with_capacity(DIRECTIVES.len() * 2);
        for (index, directive) in DIRECTIVES.iter().enumerate() {
            names.insert(directive.name.as_bytes(), (index, Name::Primary));
            if let Some(alias) = directive.alias {
                names.insert(alias.as_bytes(), (index, Name::Alias));
            }
        }
        names
    });
    let (index, by) = *names.get(name.to_ascii_lowercase().as_slice())?;
    Some(Found {
        index,
        directive: &DIRECTIVES[index],
        by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_lower_case_and_used_once() {
        let mut seen = std::collections::HashSet::new();
        for directive in DIRECTIVES {
            for name in [Some(directive.name), directive.alias]
                .into_iter()
                .flatten()
            {
                assert_eq!(name, name.to_ascii_lowercase());
                assert!(seen.insert(name), "{name} is there twice");
            }
        }
    }

    #[test]
    fn defaults_keep_their_own_bounds() {
        for directive in DIRECTIVES {
            if let Kind::Number {
                min, max, default, ..
            } = directive.kind
            {
                assert!(min <= default && default <= max, "{}", directive.name);
            }
            if let Kind::Enum { names, default } = directive.kind {
                assert!(
                    names.iter().any(|(_, value)| *value == default),
                    "{}",
                    directive.name
                );
            }
        }
    }

    #[test]
    fn finds_by_each_name_in_any_case() {
        assert_eq!(find(b"MaxMemory").unwrap().directive.name, "maxmemory");
        let found = find(b"slaveof").unwrap();
        assert_eq!(
            (found.directive.name, found.by, found.spelled()),
            ("replicaof", Name::Alias, "slaveof")
        );
        assert_eq!(find(b"server_cpulist").unwrap().by, Name::Alias);
        assert!(find(b"maxmemor").is_none());
        assert!(find(b"rename-command").is_none());
    }
}
