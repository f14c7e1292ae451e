//! What the directives mean, as plain fields.
//!
//! [`Settings`] is derived from the values of the table and never changed by itself; whoever needs
//! a setting on a hot path reads a field. Only directives that gyre acts on have one. Units stand
//! last in the names.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::cluster::ClusterDirectives;
use super::table;
use super::tls::TlsSettings;
use super::value::{OutputLimit, Value};
use crate::net::Subnet;
pub use crate::system::log::LogLevel;
use crate::system::oom_score::OomScore;

/// When the append-only file is brought to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// When the system likes.
    No,
    /// Before a write is answered.
    Always,
    /// Once a second.
    #[default]
    EverySecond,
}

impl Fsync {
    /// By the numbers that the table of directives gives their names.
    const BY_NUMBER: &[Fsync] = &[Fsync::No, Fsync::Always, Fsync::EverySecond];

    /// The policy of a name, as `appendfsync` takes it.
    pub fn from_name(name: &[u8]) -> Option<Fsync> {
        let mut names = super::table::FSYNC.iter();
        let (_, number) = names.find(|(one, _)| name.eq_ignore_ascii_case(one.as_bytes()))?;
        Fsync::BY_NUMBER.get(*number as usize).copied()
    }
}

/// What to do when memory is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxmemoryPolicy {
    /// Evict the least recently used of the keys with an expiry.
    VolatileLru,
    /// Evict the least frequently used of the keys with an expiry.
    VolatileLfu,
    /// Evict any of the keys with an expiry.
    VolatileRandom,
    /// Evict the key that expires first.
    VolatileTtl,
    /// Evict the least recently used key.
    AllkeysLru,
    /// Evict the least frequently used key.
    AllkeysLfu,
    /// Evict any key.
    AllkeysRandom,
    /// Refuse commands that need memory.
    NoEviction,
}

impl MaxmemoryPolicy {
    const ALL: [MaxmemoryPolicy; 8] = [
        MaxmemoryPolicy::VolatileLru,
        MaxmemoryPolicy::VolatileLfu,
        MaxmemoryPolicy::VolatileRandom,
        MaxmemoryPolicy::VolatileTtl,
        MaxmemoryPolicy::AllkeysLru,
        MaxmemoryPolicy::AllkeysLfu,
        MaxmemoryPolicy::AllkeysRandom,
        MaxmemoryPolicy::NoEviction,
    ];

    /// Whether keys keep a frequency instead of the time of the last access.
    pub fn is_lfu(self) -> bool {
        matches!(
            self,
            MaxmemoryPolicy::VolatileLfu | MaxmemoryPolicy::AllkeysLfu
        )
    }

    /// Whether keys' access times decide what is evicted.
    pub fn is_lru(self) -> bool {
        matches!(
            self,
            MaxmemoryPolicy::VolatileLru | MaxmemoryPolicy::AllkeysLru
        )
    }

    /// Whether any key may go, not only those with an expiry.
    pub fn is_allkeys(self) -> bool {
        matches!(
            self,
            MaxmemoryPolicy::AllkeysLru
                | MaxmemoryPolicy::AllkeysLfu
                | MaxmemoryPolicy::AllkeysRandom
        )
    }

    /// The name that INFO and CONFIG report.
    pub fn name(self) -> &'static str {
        table::POLICIES[self as usize].0
    }
}

/// Who started the server and waits for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervised {
    /// Nobody.
    No,
    /// Whoever the environment names.
    Auto,
    /// systemd, through `NOTIFY_SOCKET`.
    Systemd,
    /// upstart, by stopping oneself.
    Upstart,
}

/// Who may do what is dangerous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtectedAction {
    /// Nobody.
    No,
    /// Everybody.
    Yes,
    /// Who connects over loopback or a Unix socket.
    Local,
}

impl ProtectedAction {
    /// Whether a client may, who is local or not.
    pub fn allows(self, is_local: bool) -> bool {
        self == ProtectedAction::Yes || (self == ProtectedAction::Local && is_local)
    }
}

/// `repl-diskless-load`: where a replica loads a snapshot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisklessLoad {
    /// From a file.
    Disabled,
    /// From the link, where there are no data that could be lost; else from a file.
    OnEmptyDb,
    /// From the link, beside the old data.
    SwapDb,
    /// From the link, behind the end of the old data.
    Flush,
}

impl DisklessLoad {
    const BY_NUMBER: &[DisklessLoad] = &[
        DisklessLoad::Disabled,
        DisklessLoad::OnEmptyDb,
        DisklessLoad::SwapDb,
        DisklessLoad::Flush,
    ];
}

/// How to shut down on a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownOptions {
    /// Save even without save points.
    pub save: bool,
    /// Do not save even with save points.
    pub nosave: bool,
    /// Do not wait for replicas that lag behind.
    pub now: bool,
    /// Go even if saving fails.
    pub force: bool,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// An address, a host name, `*` for every IPv4 or `::*` for every IPv6 address.
    pub host: String,
    /// It was written with a leading `-`: going without it is no error.
    pub optional: bool,
}

/// Bits of `notify_keyspace_events`.
pub mod events {
    /// `K`: publish to the key's channel.
    pub const KEYSPACE: u32 = 1 << 0;
    /// `E`: publish to the event's channel.
    pub const KEYEVENT: u32 = 1 << 1;
    /// `g`: commands of no type.
    pub const GENERIC: u32 = 1 << 2;
    /// `$`: strings.
    pub const STRING: u32 = 1 << 3;
    /// `l`: lists.
    pub const LIST: u32 = 1 << 4;
    /// `s`: sets.
    pub const SET: u32 = 1 << 5;
    /// `h`: hashes.
    pub const HASH: u32 = 1 << 6;
    /// `z`: sorted sets.
    pub const SORTED_SET: u32 = 1 << 7;
    /// `x`: a key expired.
    pub const EXPIRED: u32 = 1 << 8;
    /// `e`: a key was evicted.
    pub const EVICTED: u32 = 1 << 9;
    /// `t`: streams.
    pub const STREAM: u32 = 1 << 10;
    /// `m`: a key was looked for in vain.
    pub const KEY_MISS: u32 = 1 << 11;
    /// `d`: modules' types.
    pub const MODULE: u32 = 1 << 13;
    /// `n`: a key is new.
    pub const NEW: u32 = 1 << 14;
}

/// Every setting that gyre acts on.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Addresses to listen on; empty means no TCP.
    pub bind: Vec<BindAddress>,
    /// Address that outgoing connections start from.
    pub bind_source_addr: Option<String>,
    /// Port to listen on; zero means no TCP.
    pub port: u16,
    /// Refuse clients from elsewhere while there is no password.
    pub protected_mode: bool,
    /// How many connections may wait to be accepted.
    pub tcp_backlog: u32,
    /// Unix socket to listen on.
    pub unixsocket: Option<PathBuf>,
    /// Permissions of the Unix socket; zero leaves what the umask gives.
    pub unixsocketperm: u32,
    /// Idle clients are closed after this; zero means never.
    pub timeout_s: u64,
    /// Interval of TCP keepalive; zero switches it off.
    pub tcp_keepalive_s: u64,
    /// How many connections are accepted in one turn, from one listener.
    pub max_new_connections_per_cycle: u32,
    /// What the `tls-*` directives say.
    pub tls: TlsSettings,
    /// `cluster-*`.
    pub cluster: ClusterDirectives,

    /// Go to the background.
    pub daemonize: bool,
    /// Who supervises.
    pub supervised: Supervised,
    /// File for the process number.
    pub pidfile: Option<PathBuf>,
    /// Level from which lines are logged.
    pub loglevel: LogLevel,
    /// File for the log; standard output otherwise.
    pub logfile: Option<PathBuf>,
    /// Number of databases.
    pub databases: usize,
    /// Show the logo though the log is not a terminal.
    pub always_show_logo: bool,
    /// Write the process title.
    pub set_proc_title: bool,
    /// Template of the process title, for `expand_title`.
    pub proc_title_template: Vec<u8>,
    /// The working directory, absolute.
    pub dir: PathBuf,
    /// How often background work runs in a second, between 1 and 500.
    pub hz: u32,
    /// Raise `hz` with the number of clients.
    pub dynamic_hz: bool,
    /// Write a report when the server crashes.
    pub crash_log_enabled: bool,
    /// Look at the memory when the server crashes.
    pub crash_memcheck_enabled: bool,
    /// Keep keys and values out of the log and of crash reports.
    pub hide_user_data_from_log: bool,
    /// A failed assertion ends the process without a signal.
    pub use_exit_on_panic: bool,
    /// `oom-score-adj`.
    pub oom_score_adj: OomScore,
    /// `oom-score-adj-values`: for a primary, a replica, a child.
    pub oom_score_adj_values: [i32; 3],
    /// Transparent huge pages are kept away from the process.
    pub disable_thp: bool,
    /// `replicaof`: host and port of the primary; none: it is a primary itself.
    pub replica_of: Option<(String, u16)>,
    /// `masterauth`: the password for the primary.
    pub primary_auth: Option<Vec<u8>>,
    /// `masteruser`: the user for the primary.
    pub primary_user: Option<Vec<u8>>,
    /// `replica-serve-stale-data`: a replica answers while its link is down.
    pub replica_serve_stale_data: bool,
    /// `replica-read-only`: clients of a replica cannot write.
    pub replica_read_only: bool,
    /// `replica-lazy-flush`: the old data are freed by the free thread before a snapshot is loaded.
    pub replica_lazy_flush: bool,
    /// `replica-ignore-maxmemory`: a replica evicts nothing by itself.
    pub replica_ignore_maxmemory: bool,
    /// `replica-ignore-disk-write-errors`: a replica goes on where its disk takes no writes.
    pub replica_ignore_disk_write_errors: bool,
    /// `replica-announced`: Sentinel is told of this replica.
    pub replica_announced: bool,
    /// `replica-priority`: Sentinel promotes the lowest; 0: never.
    pub replica_priority: u32,
    /// `replica-announce-ip`: where this replica says that it is.
    pub replica_announce_ip: Option<Vec<u8>>,
    /// `replica-announce-port`; 0: that it listens on.
    pub replica_announce_port: u16,
    /// `repl-diskless-sync`: snapshots for replicas are sent as they are made.
    pub repl_diskless_sync: bool,
    /// `repl-diskless-sync-delay`: how long more replicas are waited for, s.
    pub repl_diskless_sync_delay_s: u64,
    /// `repl-diskless-sync-max-replicas`: so many are waited for at most; 0: for the whole time.
    pub repl_diskless_sync_max_replicas: u64,
    /// `repl-diskless-load`.
    pub repl_diskless_load: DisklessLoad,
    /// `repl-ping-replica-period`, s.
    pub repl_ping_period_s: u64,
    /// `repl-timeout`: a silent link is broken, s.
    pub repl_timeout_s: u64,
    /// `repl-backlog-size`, bytes.
    pub repl_backlog_size: u64,
    /// `repl-backlog-ttl`: the backlog goes when there have been no replicas for so long, s; 0: never.
    pub repl_backlog_ttl_s: u64,
    /// `min-replicas-to-write`; 0: off.
    pub min_replicas_to_write: u64,
    /// `min-replicas-max-lag`, s; 0: off.
    pub min_replicas_max_lag_s: u64,
    /// `propagation-error-behavior` is not `ignore`: a replica ends where what its primary sends fails.
    pub ends_on_divergence: bool,
    /// `rdb-del-sync-files`: what was written for replicas alone is removed.
    pub rdb_del_sync_files: bool,
    /// How long a shutdown waits for replicas.
    pub shutdown_timeout_s: u64,
    /// How to shut down on SIGINT.
    pub shutdown_on_sigint: ShutdownOptions,
    /// How to shut down on SIGTERM.
    pub shutdown_on_sigterm: ShutdownOptions,

    /// Password of the default user.
    pub requirepass: Option<Vec<u8>>,
    /// Where users are kept, if not in the configuration.
    pub acl_file: Option<Vec<u8>>,
    /// Entries of ACL LOG at most.
    pub acllog_max_len: usize,
    /// New users may use all channels.
    pub acl_pubsub_all_channels: bool,
    /// Who may set protected directives.
    pub enable_protected_configs: ProtectedAction,
    /// Who may use DEBUG.
    pub enable_debug_command: ProtectedAction,
    /// Who may use MODULE.
    pub enable_module_command: ProtectedAction,

    /// How many clients may be connected.
    pub maxclients: u32,
    /// `maxclients-reserved`: connections that only `priority-subnets` may have.
    pub maxclients_reserved: u32,
    /// `priority-subnets`: whose connections these are.
    pub priority_subnets: Vec<Subnet>,
    /// `maxclients-per-address`: connections of one host; 0: any number.
    pub maxclients_per_address: u32,
    /// `auth-failures-per-address`: wrong passwords of one host before it has to wait; 0: any number.
    pub auth_failures_per_address: u64,
    /// `auth-failure-delay`: how long it waits first.
    pub auth_failure_delay_ms: u64,
    /// How much of a client's input may wait.
    pub client_query_buffer_limit: usize,
    /// How much of the output may wait: of normal clients, of replicas, of subscribers.
    pub client_output_buffer_limits: [OutputLimit; 3],
    /// How much memory all clients together may take, bytes; below zero a share of `maxmemory`, percent; zero any amount.
    pub maxmemory_clients: i64,
    /// Longest argument of a command.
    pub proto_max_bulk_len: usize,
    /// Longest inline command, and longest line that gives a length.
    pub proto_inline_max_size: usize,

    /// Most keys of the table of client-side caching; zero means any number.
    pub tracking_table_max_keys: usize,

    /// How much memory the data may take; zero means any amount.
    pub maxmemory: u64,
    /// What to do when it is taken.
    pub maxmemory_policy: MaxmemoryPolicy,
    /// How many keys are compared to choose the one to evict.
    pub maxmemory_samples: usize,
    /// How much time eviction may take, from 0 to 100.
    pub maxmemory_eviction_tenacity: u32,
    /// How slowly a frequency rises.
    pub lfu_log_factor: u32,
    /// After how many minutes a frequency falls by one; zero means never.
    pub lfu_decay_time_min: u32,
    /// How much effort goes into finding expired keys, from 1 to 10.
    pub active_expire_effort: u32,
    /// Free evicted values on the helper thread.
    pub lazyfree_lazy_eviction: bool,
    /// Free expired values on the helper thread.
    pub lazyfree_lazy_expire: bool,
    /// Free values that a command overwrites on the helper thread.
    pub lazyfree_lazy_server_del: bool,
    /// DEL is UNLINK.
    pub lazyfree_lazy_user_del: bool,
    /// FLUSHALL and FLUSHDB without SYNC or ASYNC mean ASYNC.
    pub lazyfree_lazy_user_flush: bool,
    /// Use idle time to finish resizing tables.
    pub activerehashing: bool,
    /// Let the allocator give memory back on a thread of its own.
    pub jemalloc_bg_thread: bool,
    /// A turn that takes longer has its stack logged; zero means never.
    pub watchdog_period_ms: u64,

    /// Compress strings in DUMP payloads and RDB files.
    pub rdb_compression: bool,
    /// Count the checks of RESTORE's payloads as deep ones (they always are); `clients` counts as yes.
    pub sanitize_dump_payload: bool,

    /// Commands that take longer are remembered; zero means all, negative none.
    pub slowlog_log_slower_than_us: i64,
    /// How many slow commands are remembered.
    pub slowlog_max_len: usize,
    /// From how long on, ms, an event is kept by LATENCY; 0: never.
    pub latency_monitor_threshold_ms: u64,
    /// Record the turns of the loop.
    pub loop_trace: bool,
    /// Turns that the recorder's ring holds.
    pub loop_trace_turns: usize,
    /// `busy-reply-threshold`: a script that runs for longer lets the loop turn; 0: none does.
    pub busy_reply_threshold_ms: u64,
    /// `lua-enable-deprecated-api`.
    pub lua_enable_deprecated_api: bool,
    /// Keep histograms of each command's latency.
    pub latency_tracking: bool,
    /// Percentiles that INFO shows.
    pub latency_tracking_info_percentiles: Vec<f64>,
    /// Which keyspace events are published: bits of [`events`].
    pub notify_keyspace_events: u32,
    /// Most fields of a hash in one listpack.
    pub hash_max_listpack_entries: usize,
    /// Longest field or value of a hash in one listpack, bytes.
    pub hash_max_listpack_value: usize,
    /// Size of the nodes of a list: elements when positive, else one of five classes of bytes.
    pub list_max_listpack_size: i32,
    /// Nodes at either end of a list that are never compressed; zero compresses none.
    pub list_compress_depth: usize,
    /// Most members of an intset.
    pub set_max_intset_entries: usize,
    /// Most members of a set in one listpack.
    pub set_max_listpack_entries: usize,
    /// Longest member of a set in one listpack, bytes.
    pub set_max_listpack_value: usize,
    /// Most members of a sorted set in one listpack.
    pub zset_max_listpack_entries: usize,
    /// Longest member of a sorted set in one listpack, bytes.
    pub zset_max_listpack_value: usize,
    /// Longest sparse HyperLogLog, bytes.
    pub hll_sparse_max_bytes: usize,
    /// Size of the nodes of a stream, bytes; zero: any.
    pub stream_node_max_bytes: usize,
    /// Entries of a node of a stream; zero: any.
    pub stream_node_max_entries: usize,
    /// Rest after each key that is saved, µs (tests).
    pub rdb_key_save_delay_us: u64,
    /// A snapshot goes to the disk while it is written.
    pub rdb_save_incremental_fsync: bool,
    /// `bgsave-default-method`: background saves are done by the loop itself, not by a child.
    pub bgsave_forkless: bool,
    /// `forkless-loop-share`: the part of its time, percent, that the loop gives to a save while there is other work.
    pub forkless_loop_share: u64,
    /// `forkless-disk-timeout`: a save is given up when the disk has not answered its helper for so many seconds.
    pub forkless_disk_timeout_s: u64,
    /// A base of the append-only file goes to the disk while it is written.
    pub aof_rewrite_incremental_fsync: bool,
    /// Rest after each key that is loaded, µs (tests).
    pub key_load_delay_us: u64,
    /// Effects of writes go to the append-only file.
    pub appendonly: bool,
    /// Beginning of the names of the append-only file's files.
    pub appendfilename: String,
    /// Port of the HTTP pages; 0: none. gyre's own.
    pub http_port: u16,
    /// Addresses that it listens on, parted by blanks, as `bind` spells them; gyre's own.
    pub http_bind: String,
    /// `http-tls`: the pages are over TLS.
    pub http_tls: bool,
    /// File that everything is written to that enters the server; gyre's own.
    pub record: Option<PathBuf>,
    /// How large that file may become, bytes; gyre's own.
    pub record_max_size: u64,
    /// Their directory, in `dir`.
    pub appenddirname: String,
    /// When they are brought to the disk.
    pub appendfsync: Fsync,
    /// Leave that for later while a child writes.
    pub no_appendfsync_on_rewrite: bool,
    /// Growth after which the file is written anew, percent; zero: never by itself.
    pub auto_aof_rewrite_percentage: u32,
    /// Size below which it is not.
    pub auto_aof_rewrite_min_size: u64,
    /// Load a file that ends in the middle of a command up to there.
    pub aof_load_truncated: bool,
    /// `aof-load-corrupt-tail-max-size`: so many bytes at the end of the append-only file may be no commands, and are cut off.
    pub aof_load_corrupt_tail_bytes: u64,
    /// Bases are snapshots, not commands.
    pub aof_use_rdb_preamble: bool,
    /// Note the time in the file.
    pub aof_timestamp_enabled: bool,
    /// Keep files that a rewrite has made superfluous (tests).
    pub aof_disable_auto_gc: bool,
    /// Name of the snapshot's file, in `dir`.
    pub dbfilename: PathBuf,
    /// Snapshots end with a checksum, which is checked at loading.
    pub rdb_checksum: bool,
    /// Refuse writes while snapshots cannot be written.
    pub stop_writes_on_bgsave_error: bool,
    /// Points at which a snapshot is due: seconds and changes.
    pub save: Vec<(u64, u32)>,
}

/// Reads values by name. A name that the table does not have is a mistake of ours.
pub(super) struct Reader<'a>(&'a [Value]);

impl Reader<'_> {
    fn value(&self, name: &str) -> &Value {
        let found = table::find(name.as_bytes()).and_then(|found| self.0.get(found.index));
        found.unwrap_or_else(|| unreachable!("no directive {name}"))
    }
    pub(super) fn yes(&self, name: &str) -> bool {
        matches!(self.value(name), Value::Bool(true))
    }
    /// The bounds in the table keep every number within its field.
    pub(super) fn number<T: TryFrom<i128>>(&self, name: &str) -> T {
        let Value::Number(number) = self.value(name) else {
            unreachable!("{name} is no number")
        };
        T::try_from(*number).unwrap_or_else(|_| unreachable!("{name} does not fit"))
    }
    pub(super) fn choice<T: Copy>(&self, name: &str, choices: &[T]) -> T {
        let Value::Enum(bits) = self.value(name) else {
            unreachable!("{name} is no choice")
        };
        choices[*bits as usize]
    }
    pub(super) fn text(&self, name: &str) -> Option<Vec<u8>> {
        match self.value(name) {
            Value::Text(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }
    /// Microseconds; as in Redis a negative number is so many nanoseconds.
    fn delay(&self, name: &str) -> u64 {
        let number: i64 = self.number(name);
        if number < 0 {
            number.unsigned_abs().div_ceil(1000)
        } else {
            number.unsigned_abs()
        }
    }
    pub(super) fn string(&self, name: &str) -> String {
        let text = self.text(name).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name)
            .map(|text| PathBuf::from(std::ffi::OsString::from_vec(text)))
    }
    fn action(&self, name: &str) -> ProtectedAction {
        self.choice(
            name,
            &[
                ProtectedAction::No,
                ProtectedAction::Yes,
                ProtectedAction::Local,
            ],
        )
    }
    fn shutdown(&self, name: &str) -> ShutdownOptions {
        let Value::Enum(bits) = *self.value(name) else {
            return ShutdownOptions::default();
        };
        let has = |bit: u32| bits & bit != 0;
        ShutdownOptions {
            save: has(1),
            nosave: has(2),
            now: has(4),
            force: has(8),
        }
    }
    fn bind(&self) -> Vec<BindAddress> {
        let Value::Bind(addresses) = self.value("bind") else {
            return Vec::new();
        };
        let address = |address: &Vec<u8>| {
            let (host, optional) = match address.strip_prefix(b"-") {
                Some(host) => (host, true),
                None => (address.as_slice(), false),
            };
            BindAddress {
                host: String::from_utf8_lossy(host).into_owned(),
                optional,
            }
        };
        addresses.iter().map(address).collect()
    }
}

impl Settings {
    /// The port of the cluster's bus.
    pub fn bus_port(&self) -> u16 {
        match self.cluster.port {
            // Checked at the start.
            0 => self.any_port().saturating_add(10_000),
            port => port,
        }
    }

    /// Whether the HTTP pages are listened for over TLS.
    pub fn has_http_over_tls(&self) -> bool {
        self.http_port != 0 && self.http_tls
    }

    /// Whether anything speaks TLS, or may when `http-port` is set.
    pub fn uses_tls(&self) -> bool {
        self.tls.is_used() || self.http_tls
    }

    /// The port that is told where there is room for one: that of TLS if there is no other.
    pub fn any_port(&self) -> u16 {
        match self.port {
            0 => self.tls.port,
            port => port,
        }
    }

    /// Derives the settings from the values, which stand in the order of the table.
    pub(super) fn derive(values: &[Value]) -> Settings {
        let read = Reader(values);
        let levels = [
            LogLevel::Debug,
            LogLevel::Verbose,
            LogLevel::Notice,
            LogLevel::Warning,
            LogLevel::Nothing,
        ];
        let supervisors = [
            Supervised::No,
            Supervised::Auto,
            Supervised::Systemd,
            Supervised::Upstart,
        ];
        Settings {
            bind: read.bind(),
            bind_source_addr: read
                .text("bind-source-addr")
                .map(|text| String::from_utf8_lossy(&text).into_owned()),
            port: read.number("port"),
            protected_mode: read.yes("protected-mode"),
            tcp_backlog: read.number("tcp-backlog"),
            unixsocket: read.path("unixsocket"),
            unixsocketperm: read.number("unixsocketperm"),
            timeout_s: read.number("timeout"),
            tcp_keepalive_s: read.number("tcp-keepalive"),
            max_new_connections_per_cycle: read.number("max-new-connections-per-cycle"),
            tls: TlsSettings::read(&read),
            cluster: ClusterDirectives::read(&read),
            daemonize: read.yes("daemonize"),
            supervised: read.choice("supervised", &supervisors),
            pidfile: read.path("pidfile"),
            loglevel: read.choice("loglevel", &levels),
            logfile: read.path("logfile"),
            databases: read.number("databases"),
            always_show_logo: read.yes("always-show-logo"),
            set_proc_title: read.yes("set-proc-title"),
            proc_title_template: read.text("proc-title-template").unwrap_or_default(),
            dir: match read.value("dir") {
                Value::Dir(dir) => dir.clone(),
                _ => PathBuf::new(),
            },
            hz: read.number("hz"),
            dynamic_hz: read.yes("dynamic-hz"),
            crash_log_enabled: read.yes("crash-log-enabled"),
            crash_memcheck_enabled: read.yes("crash-memcheck-enabled"),
            hide_user_data_from_log: read.yes("hide-user-data-from-log"),
            use_exit_on_panic: read.yes("use-exit-on-panic"),
            oom_score_adj: read.choice(
                "oom-score-adj",
                &[OomScore::No, OomScore::Relative, OomScore::Absolute],
            ),
            oom_score_adj_values: match read.value("oom-score-adj-values") {
                Value::OomValues(values) => *values,
                _ => super::value::OOM_VALUES,
            },
            disable_thp: read.yes("disable-thp"),
            replica_of: match read.value("replicaof") {
                Value::ReplicaOf(Some((host, port))) => {
                    Some((String::from_utf8_lossy(host).into_owned(), *port))
                }
                _ => None,
            },
            primary_auth: read.text("masterauth"),
            primary_user: read.text("masteruser"),
            replica_serve_stale_data: read.yes("replica-serve-stale-data"),
            replica_read_only: read.yes("replica-read-only"),
            replica_lazy_flush: read.yes("replica-lazy-flush"),
            replica_ignore_maxmemory: read.yes("replica-ignore-maxmemory"),
            replica_ignore_disk_write_errors: read.yes("replica-ignore-disk-write-errors"),
            replica_announced: read.yes("replica-announced"),
            replica_priority: read.number("replica-priority"),
            replica_announce_ip: read.text("replica-announce-ip"),
            replica_announce_port: read.number("replica-announce-port"),
            repl_diskless_sync: read.yes("repl-diskless-sync"),
            repl_diskless_sync_delay_s: read.number("repl-diskless-sync-delay"),
            repl_diskless_sync_max_replicas: read.number("repl-diskless-sync-max-replicas"),
            repl_diskless_load: read.choice("repl-diskless-load", DisklessLoad::BY_NUMBER),
            repl_ping_period_s: read.number("repl-ping-replica-period"),
            repl_timeout_s: read.number("repl-timeout"),
            repl_backlog_size: read.number("repl-backlog-size"),
            repl_backlog_ttl_s: read.number("repl-backlog-ttl"),
            min_replicas_to_write: read.number("min-replicas-to-write"),
            min_replicas_max_lag_s: read.number("min-replicas-max-lag"),
            ends_on_divergence: read.choice("propagation-error-behavior", &[false, true, true]),
            rdb_del_sync_files: read.yes("rdb-del-sync-files"),
            shutdown_timeout_s: read.number("shutdown-timeout"),
            shutdown_on_sigint: read.shutdown("shutdown-on-sigint"),
            shutdown_on_sigterm: read.shutdown("shutdown-on-sigterm"),
            requirepass: read.text("requirepass"),
            acl_file: read.text("aclfile"),
            acllog_max_len: read.number("acllog-max-len"),
            acl_pubsub_all_channels: read.choice("acl-pubsub-default", &[false, true]),
            enable_protected_configs: read.action("enable-protected-configs"),
            enable_debug_command: read.action("enable-debug-command"),
            enable_module_command: read.action("enable-module-command"),
            maxclients: read.number("maxclients"),
            maxclients_reserved: read.number("maxclients-reserved"),
            priority_subnets: read
                .text("priority-subnets")
                .and_then(|text| Subnet::parse_list(std::str::from_utf8(&text).ok()?))
                .unwrap_or_default(),
            maxclients_per_address: read.number("maxclients-per-address"),
            auth_failures_per_address: read.number("auth-failures-per-address"),
            auth_failure_delay_ms: read.number("auth-failure-delay"),
            client_query_buffer_limit: read.number("client-query-buffer-limit"),
            client_output_buffer_limits: match read.value("client-output-buffer-limit") {
                Value::OutputLimits(limits) => *limits,
                _ => super::value::OUTPUT_LIMITS,
            },
            maxmemory_clients: read.number("maxmemory-clients"),
            proto_max_bulk_len: read.number("proto-max-bulk-len"),
            proto_inline_max_size: read.number("proto-inline-max-size"),
            maxmemory: read.number("maxmemory"),
            maxmemory_policy: read.choice("maxmemory-policy", &MaxmemoryPolicy::ALL),
            maxmemory_samples: read.number("maxmemory-samples"),
            maxmemory_eviction_tenacity: read.number("maxmemory-eviction-tenacity"),
            lfu_log_factor: read.number("lfu-log-factor"),
            hash_max_listpack_entries: read.number("hash-max-listpack-entries"),
            hash_max_listpack_value: read.number("hash-max-listpack-value"),
            list_max_listpack_size: read.number("list-max-listpack-size"),
            list_compress_depth: read.number("list-compress-depth"),
            set_max_intset_entries: read.number("set-max-intset-entries"),
            set_max_listpack_entries: read.number("set-max-listpack-entries"),
            set_max_listpack_value: read.number("set-max-listpack-value"),
            zset_max_listpack_entries: read.number("zset-max-listpack-entries"),
            zset_max_listpack_value: read.number("zset-max-listpack-value"),
            hll_sparse_max_bytes: read.number("hll-sparse-max-bytes"),
            stream_node_max_bytes: read.number("stream-node-max-bytes"),
            stream_node_max_entries: read.number("stream-node-max-entries"),
            lfu_decay_time_min: read.number("lfu-decay-time"),
            active_expire_effort: read.number("active-expire-effort"),
            lazyfree_lazy_eviction: read.yes("lazyfree-lazy-eviction"),
            lazyfree_lazy_expire: read.yes("lazyfree-lazy-expire"),
            lazyfree_lazy_server_del: read.yes("lazyfree-lazy-server-del"),
            lazyfree_lazy_user_del: read.yes("lazyfree-lazy-user-del"),
            lazyfree_lazy_user_flush: read.yes("lazyfree-lazy-user-flush"),
            activerehashing: read.yes("activerehashing"),
            jemalloc_bg_thread: read.yes("jemalloc-bg-thread"),
            watchdog_period_ms: read.number("watchdog-period"),
            tracking_table_max_keys: read.number("tracking-table-max-keys"),
            rdb_compression: read.yes("rdbcompression"),
            sanitize_dump_payload: read.choice("sanitize-dump-payload", &[false, true, true]),
            slowlog_log_slower_than_us: read.number("slowlog-log-slower-than"),
            slowlog_max_len: read.number("slowlog-max-len"),
            latency_monitor_threshold_ms: read.number("latency-monitor-threshold"),
            loop_trace: read.yes("loop-trace"),
            loop_trace_turns: read.number("loop-trace-turns"),
            busy_reply_threshold_ms: read.number("busy-reply-threshold"),
            lua_enable_deprecated_api: read.yes("lua-enable-deprecated-api"),
            latency_tracking: read.yes("latency-tracking"),
            latency_tracking_info_percentiles: match read.value("latency-tracking-info-percentiles")
            {
                Value::Percentiles(percentiles) => percentiles.clone(),
                _ => Vec::new(),
            },
            notify_keyspace_events: match read.value("notify-keyspace-events") {
                Value::Events(bits) => *bits,
                _ => 0,
            },
            rdb_key_save_delay_us: read.delay("rdb-key-save-delay"),
            rdb_save_incremental_fsync: read.yes("rdb-save-incremental-fsync"),
            bgsave_forkless: read.choice("bgsave-default-method", &[false, true]),
            forkless_disk_timeout_s: read.number("forkless-disk-timeout"),
            forkless_loop_share: read.number("forkless-loop-share"),
            aof_rewrite_incremental_fsync: read.yes("aof-rewrite-incremental-fsync"),
            key_load_delay_us: read.delay("key-load-delay"),
            appendonly: read.yes("appendonly"),
            appendfilename: read.string("appendfilename"),
            http_port: read.number("http-port"),
            http_bind: read.string("http-bind"),
            http_tls: read.yes("http-tls"),
            record: read.path("record"),
            record_max_size: read.number("record-max-size"),
            appenddirname: read.string("appenddirname"),
            appendfsync: read.choice("appendfsync", Fsync::BY_NUMBER),
            no_appendfsync_on_rewrite: read.yes("no-appendfsync-on-rewrite"),
            auto_aof_rewrite_percentage: read.number("auto-aof-rewrite-percentage"),
            auto_aof_rewrite_min_size: read.number("auto-aof-rewrite-min-size"),
            aof_load_truncated: read.yes("aof-load-truncated"),
            aof_load_corrupt_tail_bytes: read.number("aof-load-corrupt-tail-max-size"),
            aof_use_rdb_preamble: read.yes("aof-use-rdb-preamble"),
            aof_timestamp_enabled: read.yes("aof-timestamp-enabled"),
            aof_disable_auto_gc: read.yes("aof-disable-auto-gc"),
            dbfilename: read.path("dbfilename").unwrap_or_default(),
            rdb_checksum: read.yes("rdbchecksum"),
            stop_writes_on_bgsave_error: read.yes("stop-writes-on-bgsave-error"),
            save: match read.value("save") {
                Value::Save(points) => points.clone(),
                _ => Vec::new(),
            },
        }
    }
}
