//! The tools that the same binary is: `--check-rdb`, `--check-aof`, `--check-config`, `--cluster-local`, and the names of Redis's
//! tools. Sentinel is none of them.
//!
//! In: the program's name and arguments. Out: the exit status, if they ask for a tool. Mirrors the beginning of `main`
//! of Redis's server.c.

use crate::config::Config;
use crate::persistence::check::{Console, Repair, Unwell, check_aof, check_rdb};
use crate::system::disk::Disk;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// What whoever wants to start a Sentinel reads.
const NO_SENTINEL: &str = "gyre is a data server and no Sentinel. Redis's own Sentinel watches over gyre as it does over \
    Redis: start `redis-sentinel FILE` or `redis-server FILE --sentinel` of a Redis, and monitor gyre's port with it.";

/// Runs the tool that is asked for, if one is; its exit status.
pub fn run(program: &OsStr, args: &[OsString]) -> Option<u8> {
    let name = Path::new(program).file_name().unwrap_or_default();
    let is_sentinel = name
        .to_str()
        .is_some_and(|name| name.contains("redis-sentinel"));
    if is_sentinel || args.iter().any(|arg| arg == "--sentinel") {
        eprintln!("{NO_SENTINEL}");
        return Some(1);
    }
    let first = args.first().and_then(|arg| arg.to_str());
    if first == Some("--replay") {
        let Some(options) = super::replay::Options::parse(&args[1..]) else {
            eprintln!("Usage: gyre --replay FILE [--until TURN] [--step]");
            return Some(2);
        };
        return Some(super::replay::run(&options));
    }
    if first == Some("--cluster-local") {
        return Some(match super::local_cluster::Options::parse(&args[1..]) {
            Ok(options) => super::local_cluster::run(&options),
            Err(reason) => {
                eprintln!("{reason}");
                2
            }
        });
    }
    let mut out = io::stdout().lock();
    if first == Some("--check-config") {
        return Some(super::check_config::run(&args[1..], &mut out));
    }
    let mut input = io::stdin().lock();
    let mut console = Console {
        disk: &Disk::default(),
        out: &mut out,
        input: &mut input,
    };
    let result = match (name.to_str(), first) {
        (Some("redis-check-rdb"), _) => rdb(&mut console, args),
        (Some("redis-check-aof"), _) => aof(&mut console, args),
        (_, Some("--check-rdb")) => rdb(&mut console, &args[1..]),
        (_, Some("--check-aof")) => aof(&mut console, &args[1..]),
        _ => return None,
    };
    Some(u8::from(result.is_err()))
}

fn rdb(console: &mut Console<'_>, args: &[OsString]) -> Result<(), Unwell> {
    let config = Config::with_dir(Path::new("."));
    match args {
        [version] if version == "-v" || version == "--version" => {
            let _ = writeln!(console.out, "redis-check-rdb {}", crate::REDIS_VERSION);
            Ok(())
        }
        [file] => check_rdb(console, config.settings(), Path::new(file)),
        _ => {
            eprintln!("Usage: redis-check-rdb <rdb-file-name>");
            Err(Unwell)
        }
    }
}

fn aof(console: &mut Console<'_>, args: &[OsString]) -> Result<(), Unwell> {
    let config = Config::with_dir(Path::new("."));
    let (repair, file) = match args {
        [version] if version == "-v" || version == "--version" => {
            let _ = writeln!(console.out, "redis-check-aof {}", crate::REDIS_VERSION);
            return Ok(());
        }
        [file] => (Repair::None, file),
        [fix, file] if fix == "--fix" => (Repair::Fix, file),
        [option, timestamp, file] if option == "--truncate-to-timestamp" => {
            let Some(timestamp) = timestamp.to_str().and_then(|text| text.parse().ok()) else {
                let _ = writeln!(console.out, "Invalid timestamp, aborting...");
                return Err(Unwell);
            };
            (Repair::ToTimestamp(timestamp), file)
        }
        _ => {
            let _ = writeln!(
                console.out,
                "Usage: redis-check-aof [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>"
            );
            return Err(Unwell);
        }
    };
    check_aof(console, config.settings(), Path::new(file), repair)
}
