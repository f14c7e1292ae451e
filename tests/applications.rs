//! What applications build from the `redis` crate's own helpers: optimistic transactions, a lock, a queue of jobs, a
//! script that is sent once, messages.

mod common;

use common::Server;
use redis::{Commands, ConnectionLike, RedisResult};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[test]
fn a_pipeline_is_one_transaction() -> RedisResult<()> {
    let server = Server::start();
    let mut connection = server.client();
    let (first, second): (i64, String) = redis::pipe()
        .atomic()
        .incr("counter", 5)
        .set("name", "gyre")
        .ignore()
        .get("name")
        .query(&mut connection)?;
    assert_eq!((first, second.as_str()), (5, "gyre"));
    // One that fails takes nothing back, and says which.
    let failed: RedisResult<((), i64)> = redis::pipe()
        .atomic()
        .lpush("name", 1)
        .incr("counter", 1)
        .query(&mut connection);
    assert!(failed.is_err());
    assert_eq!(connection.get::<_, i64>("counter")?, 6);
    Ok(())
}

/// Read, compute, write: whoever was overtaken begins again, and no increment is lost.
#[test]
fn optimistic_increments_lose_nothing() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 50;
    let server = Server::start();
    let increment = |connection: &mut redis::Connection| -> RedisResult<bool> {
        let mut tries = 0;
        redis::transaction(connection, &["balance"], |connection, pipe| {
            tries += 1;
            let balance: Option<i64> = connection.get("balance")?;
            let next = balance.unwrap_or(0) + 1;
            pipe.set("balance", next).ignore().query(connection)
        })
        .map(|()| tries > 1)
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let mut connection = server.client();
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    increment(&mut connection).expect("a transaction");
                }
            });
        }
    });
    let mut connection = server.client();
    let balance: usize = connection.get("balance").expect("a number");
    assert_eq!(balance, THREADS * ROUNDS);
    let watching: String = redis::cmd("INFO")
        .arg("clients")
        .query(&mut connection)
        .expect("a text");
    assert!(watching.contains("total_watched_keys:0\r\n"), "{watching}");
}

/// Workers wait, jobs come, each is done once.
#[test]
fn a_queue_hands_each_job_to_one_worker() {
    const JOBS: usize = 200;
    let server = Server::start();
    let work = |mut connection: redis::Connection| {
        let mut done = Vec::new();
        loop {
            let (_, job): (String, String) = connection
                .blpop(&["urgent", "jobs"], 0.0)
                .expect("a job or the end");
            if job == "stop" {
                return done;
            }
            done.push(job);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let connection = server.client();
                scope.spawn(move || work(connection))
            })
            .collect();
        let mut producer = server.client();
        for job in 0..JOBS {
            let queue = if job % 2 == 0 { "jobs" } else { "urgent" };
            let _: usize = producer.rpush(queue, job).expect("a length");
        }
        for _ in 0..3 {
            let _: usize = producer.rpush("jobs", "stop").expect("a length");
        }
        let done: Vec<String> = workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a worker"))
            .collect();
        assert_eq!(done.len(), JOBS);
        assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), JOBS);
    });
}

/// Deletes a lock only if it is still the one that was taken.
const UNLOCK: &str = r"
    if redis.call('GET', KEYS[1]) == ARGV[1] then
        return redis.call('DEL', KEYS[1])
    end
    return 0";

#[test]
fn a_lock_is_held_by_one_and_given_back_by_that_one() -> RedisResult<()> {
    let server = Server::start();
    let (mut alice, mut bob) = (server.client(), server.client());
    let lock = |connection: &mut redis::Connection, token: &str, ms: u64| -> RedisResult<bool> {
        let options = redis::SetOptions::default()
            .conditional_set(redis::ExistenceCheck::NX)
            .with_expiration(redis::SetExpiry::PX(ms));
        let answer: Option<String> = connection.set_options("lock", token, options)?;
        Ok(answer.is_some())
    };
    let unlock = redis::Script::new(UNLOCK);
    let give_back = |connection: &mut redis::Connection, token: &str| -> RedisResult<i64> {
        unlock.key("lock").arg(token).invoke(connection)
    };
    assert!(lock(&mut alice, "a", 60_000)?);
    assert!(!lock(&mut bob, "b", 60_000)?);
    assert_eq!(give_back(&mut bob, "b")?, 0, "it is not his");
    assert_eq!(give_back(&mut alice, "a")?, 1);
    assert!(lock(&mut bob, "b", 30)?);
    let start = Instant::now();
    while !lock(&mut alice, "a2", 60_000)? {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(give_back(&mut bob, "b")?, 0, "his time was over");
    assert_eq!(alice.get::<_, String>("lock")?, "a2");
    Ok(())
}

/// EVALSHA first; the server says NOSCRIPT, and only then the text is sent.
#[test]
fn a_script_is_sent_once() -> RedisResult<()> {
    let server = Server::start();
    let mut connection = server.client();
    let script = redis::Script::new("return {KEYS[1], ARGV[1] + 1, redis.call('INCR', KEYS[1])}");
    for round in 1..=2 {
        let answer: (String, i64, i64) = script.key("n").arg(41).invoke(&mut connection)?;
        assert_eq!(answer, ("n".to_owned(), 42, round));
    }
    let () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut connection)?;
    let answer: (String, i64, i64) = script.key("n").arg(1).invoke(&mut connection)?;
    assert_eq!(answer.2, 3, "sent again after it was forgotten");
    assert_eq!(script.load(&mut connection)?, script.get_hash());
    let info: String = redis::cmd("INFO")
        .arg("commandstats")
        .query(&mut connection)?;
    assert!(info.contains("cmdstat_evalsha:calls="), "{info}");
    let failed: RedisResult<()> =
        redis::Script::new("return redis.error_reply('MYCODE no')").invoke(&mut connection);
    assert_eq!(failed.unwrap_err().code(), Some("MYCODE"));
    Ok(())
}

#[test]
fn messages_reach_who_subscribed() -> RedisResult<()> {
    let server = Server::start();
    let mut publisher = server.client();
    let mut listener = server.client();
    let mut messages = listener.as_pubsub();
    messages.subscribe(&["news", "sport"])?;
    messages.psubscribe("weather.*")?;
    for (channel, text, receivers) in [
        ("news", "one", 1),
        ("weather.north", "cold", 1),
        ("other", "nobody hears", 0),
        ("sport", "two", 1),
    ] {
        assert_eq!(publisher.publish::<_, _, i64>(channel, text)?, receivers);
    }
    let mut heard = Vec::new();
    for _ in 0..3 {
        let message = messages.get_message()?;
        let pattern: Option<String> = message.get_pattern()?;
        let text: String = message.get_payload()?;
        heard.push((message.get_channel_name().to_owned(), pattern, text));
    }
    let expected = [
        ("news", None, "one"),
        ("weather.north", Some("weather.*"), "cold"),
        ("sport", None, "two"),
    ]
    .map(|(channel, pattern, text)| {
        (
            channel.to_owned(),
            pattern.map(str::to_owned),
            text.to_owned(),
        )
    });
    assert_eq!(heard, expected);
    // The connection is an ordinary one again when the subscriptions are dropped.
    drop(messages);
    assert!(listener.check_connection());
    assert_eq!(listener.set::<_, _, String>("k", "v")?, "OK");
    Ok(())
}
