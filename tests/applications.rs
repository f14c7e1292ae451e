//! What applications build from the `redis` crate's own helpers: optimistic transactions, a queue of jobs, messages.

mod common;

use common::Server;
use redis::{Commands, ConnectionLike, RedisResult};
use std::collections::BTreeSet;

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
