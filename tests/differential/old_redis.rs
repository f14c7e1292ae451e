//! What is written for replicas, which may be of Redis 7.0, loaded by a Redis of that version: the data are the same.
//!
//! Random commands of every type make the data, but those that have fields of hashes expire. A server saves them, and what it
//! has saved is written again in the oldest version that can hold it: at once, or in small parts.

use super::common::redis_server::Redis;
use super::common::{Raw, Server};
use super::grammar::{DIRECTIVES, Grammar};
use super::known_differences::same_numbers;
use gyre::config::Config;
use gyre::keyspace::{Clock, Encoder, Keyspace};
use gyre::persistence::forkless::{Format, RdbEncoder, SnapshotOutput, helper};
use gyre::persistence::loading::{Loading, OnDuplicate, Step};
use gyre::persistence::rdb::FileVersion;
use gyre::persistence::rdb::save::PartSize;
use gyre::persistence::snapshot::{self, SnapshotOptions, UsageKind};
use gyre::resp::reader::Value;
use gyre::system::disk::Disk;
use gyre::system::helper::Jobs;
use gyre::system::rng::Rng;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const DATABASES: usize = 3;
const COMMANDS: usize = 1500;
const LIBRARY: &str = "#!lua name=lib\nredis.register_function('f', function() return 7 end)";

/// Commands that have fields of hashes expire.
const EXPIRE_FIELDS: &[&str] = &[
    "HEXPIRE",
    "HPEXPIRE",
    "HEXPIREAT",
    "HPEXPIREAT",
    "HSETEX",
    "HGETEX",
];
/// Commands after which others do not run at once.
const QUEUE: &[&str] = &["MULTI", "EXEC", "DISCARD", "WATCH"];

fn fill(raw: &mut Raw, grammar: &Grammar, rng: &mut Rng) {
    raw.line("SELECT 0");
    raw.line("FLUSHALL");
    for (name, values) in DIRECTIVES {
        raw.run(&["CONFIG", "SET", name, values[rng.index(values.len())]]);
    }
    for _ in 0..COMMANDS {
        let command = grammar.command(rng, false);
        let name = String::from_utf8_lossy(&command.words[0]).to_ascii_uppercase();
        if EXPIRE_FIELDS.contains(&name.as_str()) || QUEUE.contains(&name.as_str()) {
            continue;
        }
        raw.run(&command.words);
        for words in &command.after {
            raw.run(words);
        }
    }
    // No key expires while it is compared.
    for db in 0..DATABASES {
        raw.run(&["SELECT", &db.to_string()]);
        for key in keys(raw) {
            raw.run(&[b"EXPIRE", &key[..], b"100000", b"XX"]);
        }
    }
}

fn keys(raw: &mut Raw) -> Vec<Vec<u8>> {
    let answer = raw.line("KEYS *");
    let keys = answer.items().expect("an array").iter();
    let mut keys: Vec<Vec<u8>> = keys
        .map(|key| key.as_bytes().expect("a key").to_vec())
        .collect();
    keys.sort_unstable();
    keys
}

fn now() -> Clock {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Clock {
        unix_us: since.expect("after 1970").as_micros() as i64,
        mono_ns: 1,
        keeps_expired: false,
    }
}

fn load(path: &Path) -> Keyspace {
    let mut keyspace = Keyspace::new(16, [1, 2, 3, 4]);
    let config = Config::with_dir(Path::new("/"));
    let opened = Loading::open(&Disk::default(), &Jobs::Threads, path, OnDuplicate::Fail);
    let mut loading = opened.expect("opened").expect("there");
    let step = loading.step(&mut keyspace, config.settings(), now(), &mut || false);
    assert_eq!(step.expect("loaded"), Step::Done);
    keyspace
}

fn write_in_parts(keyspace: &mut Keyspace, options: &SnapshotOptions) {
    let part_size = PartSize {
        elements: 3,
        bytes: 100,
    };
    let encoder: Arc<dyn Encoder> = Arc::new(RdbEncoder::new(options, part_size, now()));
    let sizes = keyspace.begin_reading(&encoder);
    let temporary = options.path.with_file_name("temporary.rdb");
    let mut output =
        SnapshotOutput::begin_file(options, Format::Rdb, temporary, true, sizes, now(), None);
    let mut helper = helper(&Jobs::Threads);
    while !keyspace.go_on_reading(&mut |_| false) {}
    keyspace.take_read(&mut |db, encoded| output.write(&mut helper, db, encoded));
    keyspace.end_reading();
    output.finish(&mut helper);
    helper.drain();
    output.result().expect("written");
}

/// Writes what was saved there as for replicas, now in this way and now in that.
fn write_again(path: PathBuf, in_parts: bool) {
    let mut keyspace = load(&path);
    let options = SnapshotOptions {
        disk: Disk::default(),
        path,
        version: FileVersion::oldest_for(&keyspace),
        pid: 1,
        compress: in_parts,
        checksum: true,
        usage: UsageKind::Idle,
        used_memory: 0,
        key_delay_us: 0,
        steady: false,
        is_aof_base: false,
        libraries: vec![LIBRARY.as_bytes().into()],
        save_info: None,
    };
    assert_eq!(options.version, FileVersion::V10);
    match in_parts {
        true => write_in_parts(&mut keyspace, &options),
        false => snapshot::write(&keyspace, now(), &options, &mut |_| {}).expect("written"),
    }
}

/// What two servers answer about a key is the same.
fn compare(ours: &mut Raw, theirs: &mut Raw, key: &[u8], seed: u64) {
    let mut both = |words: &[&[u8]]| (ours.run(words), theirs.run(words));
    let (our_digest, their_digest) = both(&[b"DEBUG", b"DIGEST-VALUE", key]);
    if our_digest != their_digest {
        // A digest takes in how scores are spelled, which Redis 8.0 does in another way.
        let (ours, theirs) = both(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]);
        let are_scores = matches!(ours, Value::Array(_)) && same_numbers(&ours, &theirs);
        assert!(are_scores, "seed {seed}: {}", key.escape_ascii());
    }
    let (ours, theirs) = both(&[b"PEXPIRETIME", key]);
    assert_eq!(ours, theirs, "seed {seed}: {}", key.escape_ascii());
    // Of each group: its name, consumers, pending entries, the last that was delivered, and how many were read.
    let (ours, theirs) = both(&[b"XINFO", b"GROUPS", key]);
    let groups = |answer: &Value| {
        let groups = answer.items().unwrap_or_default().iter();
        let figures = groups.map(|it| it.items().unwrap_or_default()[..10].to_vec());
        figures.collect::<Vec<_>>()
    };
    assert_eq!(groups(&ours), groups(&theirs), "{}", key.escape_ascii());
}

#[test]
fn what_is_written_for_replicas_is_the_same_data_in_redis_7_0() {
    let directory = tempfile::tempdir().expect("a directory");
    let dir = directory.path().to_str().expect("a plain path");
    let server = Server::with(&["--dir", dir, "--save", ""]);
    let mut ours = server.raw();
    let grammar = Grammar::new();
    let mut compared = 0;
    for seed in 1..=6 {
        fill(&mut ours, &grammar, &mut Rng::new(seed));
        assert_eq!(ours.line("SAVE"), Value::Simple("OK".into()));
        write_again(directory.path().join("dump.rdb"), seed % 2 == 0);
        let Some(redis) = Redis::start_of_system(directory.path(), &[]) else {
            return;
        };
        let mut theirs = redis.raw();
        for db in 0..DATABASES {
            ours.run(&["SELECT", &db.to_string()]);
            theirs.run(&["SELECT", &db.to_string()]);
            let keys = keys(&mut ours);
            assert_eq!(keys, self::keys(&mut theirs), "seed {seed}");
            for key in &keys {
                compare(&mut ours, &mut theirs, key, seed);
            }
            compared += keys.len();
        }
        assert_eq!(theirs.line("FCALL f 0"), Value::Integer(7));
    }
    assert!(compared > 100, "{compared}");
}
