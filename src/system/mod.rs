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

pub mod glob;
pub mod long_double;
pub mod numbers;
