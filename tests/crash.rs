//! Servers that are killed in the middle of their work, again and again: what was promised is there afterwards, and
//! nothing that was never sent.
//!
//! Writers increment counters, append to lists and move pairs in transactions, each remembering what it sent and what
//! was acknowledged; meanwhile snapshots and rewrites run. Then the server is killed (-9), started again and asked.
//! `CRASHES` says how often, `SEED` where randomness begins; `make crash` does it 200 times.

mod common;

use common::{Raw, Server, skips};
use gyre::resp::reader::Value;
use gyre::system::rng::Rng;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const WRITERS: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// Every acknowledged write.
    Always,
    /// Every write that was acknowledged a second before.
    EverySecond,
    /// The last snapshot, whole.
    Snapshot,
}

/// What one writer knows.
#[derive(Default)]
struct Account {
    /// The last number that was sent.
    sent: u64,
    /// Acknowledged numbers, with the time of each.
    acknowledged: Vec<(Instant, u64)>,
}

impl Account {
    fn acknowledged_at(&self, time: Instant) -> u64 {
        let before = self.acknowledged.partition_point(|(at, _)| *at <= time);
        before
            .checked_sub(1)
            .map_or(0, |last| self.acknowledged[last].1)
    }
}

fn env(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Writes numbers from `from` on until the server goes.
fn write(server: &Server, writer: usize, from: u64) -> JoinHandle<Account> {
    let mut raw = server.raw();
    std::thread::spawn(move || {
        let mut account = Account {
            sent: from,
            ..Account::default()
        };
        loop {
            let number = account.sent + 1;
            let commands = format!(
                "SET counter:{writer} {number}\r\nRPUSH list:{writer} {number}\r\nMULTI\r\nSET left:{writer} {number}\r\n\
                 HSET right:{writer} f {number}\r\nEXEC\r\n"
            );
            account.sent = number;
            if !raw.send_unless_gone(commands.as_bytes()) {
                return account;
            }
            for _ in 0..6 {
                match raw.read_unless_gone() {
                    Some(Value::Error(text)) => panic!("{}", String::from_utf8_lossy(&text)),
                    Some(_) => {}
                    None => return account,
                }
            }
            account.acknowledged.push((Instant::now(), number));
        }
    })
}

/// Has snapshots and rewrites written, at random times; the times at which snapshots began that are known to be whole.
fn disturb(
    server: &Server,
    promise: Promise,
    seed: u64,
    stop: Arc<AtomicBool>,
) -> JoinHandle<Option<Instant>> {
    let mut raw = server.raw();
    std::thread::spawn(move || {
        let mut rng = Rng::new(seed);
        let (mut begun, mut whole) = (None, None);
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(rng.next_u64() % 40));
            let command = match promise {
                Promise::Snapshot => "BGSAVE\r\n",
                _ if rng.next_u64().is_multiple_of(4) => "BGSAVE\r\n",
                _ => "BGREWRITEAOF\r\n",
            };
            let at = Instant::now();
            if !raw.send_unless_gone(command.as_bytes()) {
                return whole;
            }
            match raw.read_unless_gone() {
                Some(Value::Simple(_)) => begun = Some(at),
                Some(_) => {}
                None => return whole,
            }
            if !raw.send_unless_gone(b"INFO persistence\r\n") {
                return whole;
            }
            let Some(Value::Bulk(page)) = raw.read_unless_gone() else {
                return whole;
            };
            let page = String::from_utf8_lossy(&page);
            if page.contains("rdb_bgsave_in_progress:0")
                && page.contains("rdb_last_bgsave_status:ok")
            {
                whole = begun.or(whole);
            }
        }
        whole
    })
}

fn number(raw: &mut Raw, line: &str) -> u64 {
    match raw.line(line) {
        Value::Bulk(text) => String::from_utf8_lossy(&text).parse().expect("a number"),
        Value::NullBulk => 0,
        other => panic!("{line}: {other:?}"),
    }
}

/// Asks what is there for one writer and compares; the number to go on with.
fn check(raw: &mut Raw, writer: usize, account: &Account, least: u64, tale: &str) -> u64 {
    let counter = number(raw, &format!("GET counter:{writer}"));
    let (left, right) = (
        number(raw, &format!("GET left:{writer}")),
        number(raw, &format!("HGET right:{writer} f")),
    );
    assert_eq!(left, right, "{tale}: half a transaction of writer {writer}");
    let Value::Array(list) = raw.line(&format!("LRANGE list:{writer} 0 -1")) else {
        panic!("a list")
    };
    let list: Vec<u64> = list
        .iter()
        .map(|item| {
            String::from_utf8_lossy(item.as_bytes().expect("a string"))
                .parse()
                .expect("a number")
        })
        .collect();
    assert!(
        list.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{tale}: writer {writer} has gaps or repetitions: {list:?}"
    );
    let last = list.last().copied().unwrap_or(0);
    for (what, value) in [("counter", counter), ("list", last), ("pair", left)] {
        assert!(
            value <= account.sent,
            "{tale}: writer {writer}: {what} is {value}, sent was {}",
            account.sent
        );
        assert!(
            value >= least,
            "{tale}: writer {writer}: {what} is {value}, promised was {least}"
        );
    }
    // The next run begins with equal numbers.
    let top = counter.max(last).max(left);
    raw.line(&format!("DEL list:{writer}"));
    for line in [
        format!("SET counter:{writer} {top}"),
        format!("SET left:{writer} {top}"),
        format!("HSET right:{writer} f {top}"),
        format!("RPUSH list:{writer} {top}"),
    ] {
        raw.line(&line);
    }
    top
}

fn crash(promise: Promise, times: u64, seed: u64) {
    let directives: &[&str] = match promise {
        Promise::Always => &["--appendonly", "yes", "--appendfsync", "always"],
        Promise::EverySecond => &["--appendonly", "yes", "--appendfsync", "everysec"],
        Promise::Snapshot => &["--appendonly", "no"],
    };
    let mut server = Server::with(directives);
    let mut rng = Rng::new(seed);
    let mut tops = [0; WRITERS];
    for time in 0..times {
        let begin = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| write(&server, writer, tops[writer]))
            .collect();
        let disturber = disturb(&server, promise, rng.next_u64(), Arc::clone(&stop));
        // Under `everysec` some runs are longer than the second that may be lost.
        let longest = if promise == Promise::EverySecond && time.is_multiple_of(8) {
            1600
        } else {
            250
        };
        std::thread::sleep(Duration::from_millis(5 + rng.next_u64() % longest));
        let killed = Instant::now();
        server.kill();
        stop.store(true, Ordering::Relaxed);
        let whole = disturber.join().expect("the disturber ends");
        let accounts: Vec<_> = writers
            .into_iter()
            .map(|writer| writer.join().expect("the writer ends"))
            .collect();
        server.start_again();
        let tale = format!("{promise:?}, seed {seed}, crash {time}");
        let mut raw = server.raw();
        for (writer, account) in accounts.iter().enumerate() {
            let least = match promise {
                Promise::Always => account.acknowledged_at(killed),
                Promise::EverySecond => killed
                    .checked_sub(Duration::from_secs(1))
                    .filter(|then| *then > begin)
                    .map_or(0, |then| account.acknowledged_at(then)),
                Promise::Snapshot => whole.map_or(0, |then| account.acknowledged_at(then)),
            };
            tops[writer] = check(&mut raw, writer, account, least, &tale);
        }
        if promise == Promise::Snapshot {
            raw.line("SAVE");
        }
    }
}

#[test]
fn always_loses_nothing_that_was_acknowledged() {
    crash(Promise::Always, env("CRASHES", 9) / 3, env("SEED", 1));
}

#[test]
fn everysec_loses_at_most_a_second() {
    crash(Promise::EverySecond, env("CRASHES", 9) / 3, env("SEED", 1));
}

#[test]
fn snapshots_are_whole_or_the_old_ones() {
    crash(
        Promise::Snapshot,
        env("CRASHES", 9).div_ceil(3),
        env("SEED", 1),
    );
}

/// A small file system of its own, gone with it.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None where mounting is not allowed.
    fn new(kib: u32) -> Option<SmallDisk> {
        let directory = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "gyre-test"])
            .arg(directory.path())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(SmallDisk(directory))
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_writes_keeps_what_was_acknowledged_and_recovers() {
    let Some(disk) = SmallDisk::new(1024) else {
        skips::pass_over("for want of leave to mount", "a small file system");
        return;
    };
    let path = disk.path().to_str().expect("a plain path").to_owned();
    // The directive comes after the test's own directory, and the last one counts.
    let mut server = Server::with(&["--appendonly", "yes", "--dir", &path]);
    let mut raw = server.raw();
    // Nothing that compresses, so that a snapshot is as large as the data.
    let mut rng = Rng::new(1);
    let value: String = (0..1250)
        .map(|_| format!("{:016x}", rng.next_u64()))
        .collect();
    let mut acknowledged = 0;
    let refusal = loop {
        match raw.line(&format!("SET key:{acknowledged} {value}")) {
            Value::Simple(_) => acknowledged += 1,
            Value::Error(text) => break String::from_utf8_lossy(&text).into_owned(),
            other => panic!("{other:?}"),
        }
        assert!(acknowledged < 1000, "the disk never fills");
    };
    assert!(
        refusal.starts_with("MISCONF Errors writing to the AOF file: No space left on device"),
        "{refusal}"
    );
    assert_eq!(raw.line("EXISTS key:0"), Value::Integer(1), "reads go on");
    // Who watches the server by PING saw a healthy one.
    match raw.line("PING") {
        Value::Error(text) => assert!(text.starts_with(b"MISCONF Errors writing to the AOF")),
        other => panic!("{other:?}"),
    }
    // A snapshot has no room either, and says so; the old one (none) stays.
    assert!(matches!(raw.line("SAVE"), Value::Error(_)));
    assert!(!disk.path().join("dump.rdb").exists());
    // Room comes back: the server recovers by itself.
    let grown = Command::new("mount")
        .args(["-o", "remount,size=8192k"])
        .arg(disk.path())
        .status();
    assert!(grown.is_ok_and(|status| status.success()));
    let deadline = Instant::now() + Duration::from_secs(20);
    while matches!(raw.line("SET after 1"), Value::Error(_)) {
        assert!(
            Instant::now() < deadline,
            "it does not recover:\n{}",
            server.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let before = raw.line("DEBUG DIGEST");
    server.kill();
    server.start_again();
    let mut raw = server.raw();
    assert_eq!(raw.line("DEBUG DIGEST"), before);
    assert_eq!(raw.line("EXISTS after"), Value::Integer(1));
    drop(raw);
    server.kill();
}
