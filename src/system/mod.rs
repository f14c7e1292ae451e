//! Floor 0: the few system calls that need `unsafe`, and small leaves that know nothing of Redis's objects.
//!
//! In: plain bytes, numbers, paths. Out: plain values; every message that belongs in the server's log is either
//! returned as text or written through `log`. Nothing here knows clients, commands or keys. Uses only crates.
//!
//! | file | what it is for | mirrors |
//! | --- | --- | --- |
//! | [`numbers`] | numbers from and to text, as Redis spells them | util.c, fpconv |
//! | [`long_double`] | the 80-bit float behind `INCRBYFLOAT` | `string2ld`, `ld2string` |
//! | [`quoting`] | words and quotes of a configuration line | `sdssplitargs`, `sdscatrepr` |
//! | [`glob`] | patterns of `KEYS`, `SCAN MATCH`, `PSUBSCRIBE` | `stringmatchlen` |
//! | [`crc64`] | checksum of DUMP and RDB | crc64.c |
//! | [`lzf`] | compression of RDB strings and list nodes | lzf_c.c, lzf_d.c |
//! | [`histogram`] | how times are distributed | hdr_histogram.c |
//! | [`rng`] | randomness with a seed | |
//! | [`clock`] | the time, and its spelling in log lines | monotonic.c, localtime.c |
//! | [`log`] | the server's log | `serverLog` |
//! | [`process`] | limits, title, daemon, children, what the system knows of us | server.c, setproctitle.c |
//! | [`supervisor`] | systemd and its like; advice for the machine | `redisIsSupervised`, syscheck.c |
//! | [`oom_score`] | whom the kernel ends when memory runs out | `setOOMScoreAdj` |
//! | [`size_class`] | sizes as the allocator rounds them | |
//! | [`memory`] | the allocator's figures | zmalloc.c |
//! | [`signals`] | SIGTERM and SIGINT become readiness of a socket | `setupSignalHandlers` |
//! | [`child`] | a forked child and its pipe | childinfo.c |
//! | [`disk`] | the file calls of persistence, and their faults in tests | |
//! | [`helper`] | threads for what would stall the loop | bio.c |
//! | [`resolver`] | addresses of host names, looked up beside the loop | anet.c |
//! | [`simulated_children`] | children that are done in place and end when a seed says | |
//! | [`simulated_disk`] | a disk in memory that crashes and fails by a seed | |
//! | [`simulated_jobs`] | jobs of helpers that are done between turns, by a seed | |
//! | [`machine`] | disk, helpers, children and stopwatch of one server | |
//! | [`mapped_file`] | a whole file as bytes | |
//! | [`steady_file`] | a file that is written to the disk while it is written | `rioSetAutoSync` |
//! | [`tls`] | what TLS connections are made with: certificates, keys, ciphers | tls.c |
//! | [`crash`] | the report of a crash, the software watchdog | debug.c |
//!
//! What a well-kept crate does as well is left to it (`crc64` is a name for one, XXH3 and SHA-1 are called where they are
//! used). Of what is written by hand:
//!
//! | file | why no crate |
//! | --- | --- |
//! | `numbers`, `long_double`, `glob`, `log` | clients and tools see each odd corner; none spells them as Redis does |
//! | `lzf` | the bytes have to be those of liblzf, without a panic on any; the crates for it bind the C code |
//! | `histogram` | recorded at every command: one that is right to 3 % in 5 KiB, and reset in place |
//! | `rng` | replays need the same numbers from the same seed for ever, which `rand` does not promise |
//! | `clock` | local time without a look at the zone's file per line, also from a signal handler |
//! | `ticks` | `quanta` goes without the bound on the drift from the system's clock that deadlines need |
//! | `process`, `child`, `signals`, `oom_score`, `supervisor` | a handful of calls each, in the order and with the errors that Redis has; signals are `signal-hook`'s |
//! | `size_class` | arithmetic of the allocator that is linked in |
//! | `memory` | figures are `tikv-jemalloc-ctl`'s; here are those that it cannot spell |
//! | `disk`, `simulated_disk`, `steady_file` | faults at each call of a protocol are what they are for |
//! | `mapped_file` | `memmap2` ends the process by SIGBUS where the disk fails |
//! | `crash` | what it writes, and that it takes no lock and no memory in a handler |

pub mod child;
pub mod clock;
pub mod crash;
pub mod crc64;
pub mod disk;
pub mod glob;
pub mod helper;
pub mod histogram;
pub mod log;
pub mod long_double;
pub mod lzf;
pub mod machine;
pub mod mapped_file;
pub mod memory;
pub mod numbers;
pub mod oom_score;
pub mod process;
pub mod quoting;
pub mod resolver;
pub mod rng;
pub mod signals;
pub mod simulated_children;
pub mod simulated_disk;
pub mod simulated_jobs;
pub mod size_class;
pub mod steady_file;
pub mod supervisor;
pub mod ticks;
pub mod tls;
