//! Floor 0: the few system calls that need `unsafe`, and small leaves that know nothing of Redis's objects.
//!
//! In: plain bytes, numbers, paths. Out: plain values; every message that belongs in the server's log is either
//! returned as text or written through `log`. Nothing here knows clients, commands or keys. Uses only crates.
//!
//! | file | what it is for | mirrors |
//! | --- | --- | --- |
//! | [`numbers`] | numbers from and to text, as Redis spells them | util.c, fpconv |
//! | [`long_double`] | the 80-bit float behind `INCRBYFLOAT` | `string2ld`, `ld2string` |
//! | [`glob`] | patterns of `KEYS`, `SCAN MATCH`, `PSUBSCRIBE` | `stringmatchlen` |
//! | [`crc64`] | checksum of DUMP and RDB | crc64.c |
//! | [`xxh3`] | digests of DIGEST and `IFDEQ` | xxhash |
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
//! | [`simulated_disk`] | a disk in memory that crashes and fails by a seed | |
//! | [`mapped_file`] | a whole file as bytes | |
//! | [`steady_file`] | a file that is written to the disk while it is written | `rioSetAutoSync` |
//! | [`crash`] | the report of a crash, the software watchdog | debug.c |

pub mod child;
pub mod clock;
pub mod crash;
pub mod crc64;
pub mod disk;
pub mod glob;
pub mod histogram;
pub mod log;
pub mod long_double;
pub mod lzf;
pub mod mapped_file;
pub mod memory;
pub mod numbers;
pub mod oom_score;
pub mod process;
pub mod rng;
pub mod signals;
pub mod simulated_disk;
pub mod size_class;
pub mod steady_file;
pub mod supervisor;
pub mod ticks;
pub mod xxh3;
