//! Keys that go by themselves, and who is told.

use super::super::*;
use super::{at, get, keyspace, set};
use crate::config::MaxmemoryPolicy;

fn number(prefix: &str, number: usize) -> Vec<u8> {
    format!("{prefix}{number}").into_bytes()
}

#[test]
fn an_expired_key_is_gone_at_access_and_counted() {
    let mut keyspace = keyspace();
    set(
        &mut keyspace.db(0, at(1000), false),
        b"k",
        b"v",
        Expiry::At(2000),
    );
    assert_eq!(
        get(&mut keyspace.db(0, at(2000), false), b"k"),
        Some(b"v".to_vec()),
        "not before its time is over"
    );
    assert_eq!(keyspace.figures(0).0, 1);
    assert_eq!(get(&mut keyspace.db(0, at(2001), false), b"k"), None);
    assert_eq!(keyspace.figures(0), (0, 0, 0));
    assert_eq!(
        (
            keyspace.stats.expired,
            keyspace.stats.hits,
            keyspace.stats.misses
        ),
        (1, 1, 1)
    );
    set(
        &mut keyspace.db(0, at(1000), false),
        b"k",
        b"v",
        Expiry::At(2000),
    );
    assert!(
        !keyspace.db(0, at(3000), false).remove(b"k", Free::Now),
        "DEL does not find it"
    );
}

#[test]
fn the_trail_tells_only_those_who_listen() {
    let mut keyspace = keyspace();
    set(
        &mut keyspace.db(0, at(1000), false),
        b"k",
        b"v",
        Expiry::At(2000),
    );
    assert_eq!(keyspace.dirty, 1);
    assert!(!keyspace.has_events(), "nobody listens");

    keyspace.set_interest(interest::JOURNAL, true);
    get(&mut keyspace.db(0, at(1000), false), b"absent");
    set(
        &mut keyspace.db(0, at(1000), false),
        b"k2",
        b"v",
        Expiry::At(2000),
    );
    get(&mut keyspace.db(0, at(2001), false), b"k");
    let events = keyspace.take_events();
    let note = |class, event, key: &[u8], modified| KeyspaceEvent::Key {
        db: 0,
        class,
        event,
        key: key.to_vec(),
        modified,
    };
    assert_eq!(
        events,
        [note(EventClass::Expired, "expired", b"k", true)],
        "the journal is told of other changes by the commands that make them"
    );

    keyspace.set_interest(interest::NOTIFICATIONS, true);
    get(&mut keyspace.db(0, at(1000), false), b"absent");
    set(
        &mut keyspace.db(0, at(1000), false),
        b"k3",
        b"v",
        Expiry::Clear,
    );
    keyspace
        .db(0, at(1000), false)
        .event(EventClass::Generic, "expire", b"k3");
    keyspace.flush(Some(0), Free::Now);
    let events = keyspace.take_events();
    assert_eq!(
        events,
        [
            note(EventClass::KeyMiss, "keymiss", b"absent", false),
            note(EventClass::New, "new", b"k3", false),
            note(EventClass::String, "set", b"k3", true),
            note(EventClass::Generic, "expire", b"k3", false),
            KeyspaceEvent::Flushed { db: Some(0) },
        ]
    );
    assert_eq!(
        keyspace.dirty, 3,
        "whether emptying it is a change is up to the caller"
    );
    keyspace.set_interest(interest::ALL, false);
    assert_eq!(keyspace.interest(), 0);
}

#[test]
fn cycles_remove_what_nobody_asks_for() {
    let mut keyspace = keyspace();
    for index in 0..5000 {
        let expiry = if index % 2 == 0 {
            Expiry::At(2000)
        } else {
            Expiry::At(60_000)
        };
        set(
            &mut keyspace.db(index % 2, at(1000), false),
            &number("k", index / 2),
            b"v",
            expiry,
        );
    }
    let cycle = keyspace.expire_cycle(at(2001), 1, u64::MAX, &mut || 0);
    // Database 0 has only expired keys: the cycle goes on until it is empty. Database 1 has none: one round.
    assert_eq!(
        cycle,
        ExpireCycle {
            expired: 2500,
            time_cap_reached: false
        }
    );
    assert_eq!(keyspace.figures(0), (0, 0, 0));
    let (keys, volatile, ttl) = keyspace.figures(1);
    assert_eq!((keys, volatile), (2500, 2500));
    assert!((57_000..=58_000).contains(&ttl), "{ttl}");
    assert_eq!(keyspace.stats.expired, 2500);
    assert!(keyspace.stats.expired_stale_perc > 4.0);
    keyspace.configure(KeyspaceSettings {
        active_expire: false,
        ..keyspace.settings()
    });
    assert_eq!(
        keyspace
            .expire_cycle(at(90_000), 1, u64::MAX, &mut || 0)
            .expired,
        0
    );
}

#[test]
fn a_cycle_keeps_to_its_time() {
    let mut keyspace = keyspace();
    for index in 0..20_000 {
        set(
            &mut keyspace.db(0, at(1000), false),
            &number("k", index),
            b"v",
            Expiry::At(2000),
        );
    }
    // A look at the clock takes a tenth of the budget.
    let mut ns = 0;
    let mut clock = || {
        ns += 100_000;
        ns
    };
    let cycle = keyspace.expire_cycle(at(2001), 1, 1_000_000, &mut clock);
    assert!(cycle.time_cap_reached);
    assert!(
        (10 * 16 * 20..12 * 16 * 30).contains(&cycle.expired),
        "{}",
        cycle.expired
    );
    assert_eq!(keyspace.stats.expired_time_cap_reached, 1);
    // It goes on where it stopped, until all are gone.
    for _ in 0..11 {
        keyspace.expire_cycle(at(2001), 1, 1_000_000, &mut clock);
    }
    assert_eq!(keyspace.figures(0).0, 0);
}

#[test]
fn few_expired_keys_are_left_alone() {
    let mut keyspace = keyspace();
    for index in 0..10_000 {
        let expiry = if index % 100 == 0 { 2000 } else { 90_000 };
        set(
            &mut keyspace.db(0, at(1000), false),
            &number("k", index),
            b"v",
            Expiry::At(expiry),
        );
    }
    let cycle = keyspace.expire_cycle(at(2001), 1, u64::MAX, &mut || 0);
    assert!(cycle.expired < 50, "{}", cycle.expired);
}

#[test]
fn scan_and_random_never_show_expired_keys() {
    let mut keyspace = keyspace();
    for index in 0..500 {
        set(
            &mut keyspace.db(0, at(1000), false),
            &number("k", index),
            b"v",
            Expiry::At(2000),
        );
    }
    set(
        &mut keyspace.db(0, at(1000), false),
        b"live",
        b"v",
        Expiry::Clear,
    );
    assert_eq!(
        keyspace.db(0, at(2001), false).random_key(),
        Some(b"live".to_vec())
    );
    let mut seen = vec![];
    let mut cursor = 0;
    loop {
        cursor = keyspace
            .db(0, at(2001), false)
            .scan(cursor, &mut |entry| seen.push(entry.key().to_vec()));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen, [b"live".to_vec()]);
    assert_eq!(keyspace.figures(0), (1, 0, 0));
    keyspace.db(0, at(2001), false).remove(b"live", Free::Now);
    assert_eq!(keyspace.db(0, at(2001), false).random_key(), None);
}

/// A key set at its number in minutes, so that a higher number is younger, lives longer and is used more often.
fn fill(keyspace: &mut Keyspace, keys: usize) {
    for index in 0..keys {
        let time = at(index as i64 * 60_000);
        let expiry = if index % 2 == 0 {
            Expiry::At(1_000_000_000 + index as i64)
        } else {
            Expiry::Clear
        };
        set(
            &mut keyspace.db(index % 2, time, false),
            &number("k", index),
            b"v",
            expiry,
        );
        for _ in 0..index / 10 {
            get(
                &mut keyspace.db(index % 2, time, false),
                &number("k", index),
            );
        }
    }
}

#[test]
fn every_policy_evicts_the_right_kind() {
    use MaxmemoryPolicy::*;
    for policy in [
        VolatileLru,
        VolatileLfu,
        VolatileRandom,
        VolatileTtl,
        AllkeysLru,
        AllkeysLfu,
        AllkeysRandom,
    ] {
        let mut keyspace = keyspace();
        keyspace.configure(KeyspaceSettings {
            lfu: policy.is_lfu(),
            lfu_decay_minutes: 0,
            ..keyspace.settings()
        });
        fill(&mut keyspace, 1000);
        keyspace.set_interest(interest::JOURNAL, true);
        let now = at(1000 * 60_000);
        let volatile = !policy.is_allkeys();
        let mut sum = 0;
        for _ in 0..200 {
            let (db, key) = keyspace
                .evict_one(policy, 5, now)
                .expect("there is something to evict");
            let index: usize = std::str::from_utf8(&key[1..]).unwrap().parse().unwrap();
            assert_eq!(db, index % 2);
            assert!(!volatile || db == 0, "{policy:?}");
            assert!(keyspace.db(db, now, false).peek(&key).is_none());
            sum += index;
        }
        // The mean of all is 500; those that ought to go have low numbers.
        let mean = sum / 200;
        match policy {
            VolatileRandom | AllkeysRandom => {
                assert!((400..600).contains(&mean), "{policy:?} {mean}")
            }
            VolatileLru | VolatileTtl => assert!(mean < 330, "{policy:?} {mean}"),
            _ => assert!(mean < 350, "{policy:?} {mean}"),
        }
        assert_eq!(keyspace.stats.evicted, 200);
        let events = keyspace.take_events();
        assert_eq!(events.len(), 200);
        // On to the last one that may go.
        let mut more = 0;
        while keyspace.evict_one(policy, 5, now).is_some() {
            more += 1;
        }
        assert_eq!(more, if volatile { 300 } else { 800 });
        assert_eq!(keyspace.evict_one(NoEviction, 5, now), None);
    }
}

#[test]
fn the_free_thread_frees_whole_databases() {
    let mut keyspace = Keyspace::new(2, [1, 2, 3, 4]);
    for index in 0..10_000 {
        set(
            &mut keyspace.db(0, at(1000), false),
            &number("k", index),
            b"v",
            Expiry::At(2000),
        );
    }
    // Beyond 4 MiB a string is large.
    set(
        &mut keyspace.db(1, at(1000), false),
        b"large",
        &vec![b'x'; 8 << 20],
        Expiry::Clear,
    );
    set(
        &mut keyspace.db(1, at(1000), false),
        b"small",
        b"x",
        Expiry::Clear,
    );
    assert!(
        keyspace
            .db(1, at(1000), false)
            .remove(b"large", Free::Lazily)
    );
    assert!(
        keyspace
            .db(1, at(1000), false)
            .remove(b"small", Free::Lazily)
    );
    assert_eq!(keyspace.flush(None, Free::Lazily), 10_000);
    assert_eq!(keyspace.stats.lazyfreed, 10_001);
    assert_eq!(keyspace.figures(0), (0, 0, 0));
    for _ in 0..1000 {
        if keyspace.lazyfree_pending() == 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the thread does not free");
}

#[test]
fn access_clocks_follow_reads_and_writes() {
    let mut keyspace = keyspace();
    set(
        &mut keyspace.db(0, at(100_000), false),
        b"k",
        b"v",
        Expiry::Clear,
    );
    let idle = |keyspace: &mut Keyspace, ms| {
        keyspace
            .db(0, at(ms), false)
            .peek(b"k")
            .unwrap()
            .idle_ms(at(ms))
    };
    assert_eq!(idle(&mut keyspace, 130_000), 30_000);
    get(&mut keyspace.db(0, at(130_000), true), b"k");
    assert_eq!(idle(&mut keyspace, 130_000), 30_000, "NO-TOUCH");
    assert!(
        keyspace.db(0, at(120_000), true).refresh(b"k"),
        "TOUCH refreshes nevertheless"
    );
    assert_eq!(idle(&mut keyspace, 130_000), 10_000);
    get(&mut keyspace.db(0, at(130_000), false), b"k");
    assert_eq!(idle(&mut keyspace, 130_000), 0);
    // SET keeps the frequency, as Redis's does.
    keyspace.configure(KeyspaceSettings {
        lfu: true,
        ..keyspace.settings()
    });
    set(&mut keyspace.db(0, at(0), false), b"f", b"v", Expiry::Clear);
    for _ in 0..1000 {
        get(&mut keyspace.db(0, at(0), false), b"f");
    }
    let before = keyspace
        .db(0, at(0), false)
        .peek(b"f")
        .unwrap()
        .frequency(at(0));
    assert!(before > 10);
    set(
        &mut keyspace.db(0, at(0), false),
        b"f",
        &[b'x'; 500],
        Expiry::Clear,
    );
    assert!(
        keyspace
            .db(0, at(0), false)
            .peek(b"f")
            .unwrap()
            .frequency(at(0))
            >= before
    );
}

#[test]
fn a_random_key_is_found_although_nothing_may_be_removed() {
    let mut keyspace = keyspace();
    set(
        &mut keyspace.db(0, at(0), false),
        b"gone",
        b"v",
        Expiry::At(10),
    );
    keyspace.freeze(true);
    // Every draw is expired and stays: the draws must end all the same.
    assert_eq!(
        keyspace.db(0, at(100), false).random_key(),
        Some(b"gone".to_vec())
    );
    keyspace.freeze(false);
    assert_eq!(keyspace.db(0, at(100), false).random_key(), None);
}

/// Two entries of one key were in the table then, and freeing the one left the other's value in use.
#[test]
fn a_key_is_moved_over_one_that_has_expired_but_may_not_be_removed() {
    let mut keyspace = keyspace();
    for (db, value, expiry) in [(0, b"new", Expiry::At(1000)), (1, b"old", Expiry::At(10))] {
        set(&mut keyspace.db(db, at(0), false), b"key", value, expiry);
    }
    keyspace.freeze(true);
    assert!(keyspace.move_key(0, 1, b"key", at(100)).is_ok());
    keyspace.freeze(false);
    let mut db = keyspace.db(1, at(100), false);
    assert_eq!(db.len(), 1);
    assert_eq!(db.peek(b"key").unwrap().expire_at(), Some(1000));
    assert!(db.remove(b"key", Free::Now));
    assert!(db.peek(b"key").is_none());
}
