//! Bytes per entry and time per operation of the keyspace, with the allocator of the server.
//!
//! `cargo test --release --test memory -- --ignored --nocapture --test-threads 1` prints them.

use gyre::keyspace::{Clock, Expiry, KeyEntry, Keyspace, NewValue};
use gyre::system::size_class::size_class;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ENTRIES: usize = 2_000_000;
const NOW: Clock = Clock {
    unix_us: 1_700_000_000_000_000,
    mono_ns: 0,
    keeps_expired: false,
};

fn allocated() -> usize {
    tikv_jemalloc_ctl::epoch::advance().unwrap();
    tikv_jemalloc_ctl::stats::allocated::read().unwrap()
}

fn key(buffer: &mut [u8; 16], number: usize) {
    buffer.copy_from_slice(b"key:000000000000");
    let (mut at, mut rest) = (16, number);
    while rest > 0 {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

fn set(keyspace: &mut Keyspace, key: &[u8], value: &[u8], expiry: Expiry) {
    match keyspace.db(0, NOW, false).entry(key) {
        KeyEntry::Occupied(mut occupied) => occupied.set(NewValue::String(value), expiry),
        KeyEntry::Vacant(vacant) => vacant.insert(NewValue::String(value), expiry),
    }
}

/// Random order, the same each time.
fn shuffled(step: usize) -> impl Iterator<Item = usize> {
    (0..ENTRIES).map(move |i| i * step % ENTRIES)
}

fn measure(what: &str, value: &[u8], expiry: Expiry, goal: f64) {
    let mut keyspace = Keyspace::new(16, [1, 2, 3, 4]);
    let mut name = [0; 16];
    let before = allocated();
    let time = |label: &str, work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        println!(
            "{what}: {label} {:.0} ns",
            start.elapsed().as_nanos() as f64 / ENTRIES as f64
        );
    };
    time("insert", &mut || {
        for number in 0..ENTRIES {
            key(&mut name, number);
            set(&mut keyspace, &name, value, expiry);
        }
    });
    let bytes = (allocated() - before) as f64 / ENTRIES as f64;
    println!("{what}: {bytes:.1} bytes per entry (goal {goal})");
    time("overwrite in random order", &mut || {
        for number in shuffled(1_299_709) {
            key(&mut name, number);
            set(&mut keyspace, &name, value, expiry);
        }
    });
    let mut sum = 0;
    time("get in random order", &mut || {
        for number in shuffled(1_299_709) {
            key(&mut name, number);
            sum += keyspace
                .db(0, NOW, false)
                .read(&name)
                .unwrap()
                .string()
                .unwrap()
                .len();
        }
    });
    assert_eq!(sum, ENTRIES * value.len());
    sum = 0;
    time("get in random order, prefetched in sixteens", &mut || {
        let mut numbers = shuffled(1_299_709);
        let mut batch = [[0u8; 16]; 16];
        for _ in 0..ENTRIES / 16 {
            for (name, number) in batch.iter_mut().zip(&mut numbers) {
                key(name, number);
            }
            for stage in 0..2 {
                for name in &batch {
                    keyspace.prefetch(0, keyspace.hash(name), stage);
                }
            }
            for name in &batch {
                sum += keyspace
                    .db(0, NOW, false)
                    .read(name)
                    .unwrap()
                    .string()
                    .unwrap()
                    .len();
            }
        }
    });
    assert_eq!(sum, ENTRIES * value.len());
    assert!(bytes <= goal, "{what}: {bytes:.1} bytes per entry");
}

#[test]
#[ignore = "a measurement: two million entries"]
fn bytes_and_time_per_entry() {
    measure("16 B key, 64 B value", &[b'v'; 64], Expiry::Clear, 107.0);
    measure(
        "16 B key, 16 B value, TTL",
        &[b'v'; 16],
        Expiry::At(1_800_000_000_000),
        75.0,
    );
    measure("16 B key, integer", b"1234567", Expiry::Clear, 43.0);
}

#[test]
fn size_classes_are_the_allocators() {
    for size in (1..20_000).chain((20_000..600_000).step_by(512)).chain([
        100_000,
        1 << 20,
        (1 << 20) + 1,
        5_000_000,
    ]) {
        // SAFETY: computes a size, touches no memory.
        let class = unsafe { tikv_jemalloc_sys_nallocx(size, 0) };
        assert_eq!(size_class(size), class, "size {size}");
    }
}

unsafe extern "C" {
    #[link_name = "_rjem_nallocx"]
    fn tikv_jemalloc_sys_nallocx(size: usize, flags: i32) -> usize;
}
