//! Redirections in all states of a slot and of the cluster.

use super::*;
use crate::clients::{Client, ClientKind, Identity};
use crate::commands::testing::{Harness, bulk, error, int, ok, text};
use crate::engine::cluster::facts;
use crate::engine::process::process;
use crate::resp::OwnedRequest;
use crate::resp::reader::Value;

/// This node (`a`) with its replica, and another primary (`b`) with the other half of the slots.
const NODES: &str = "\
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 127.0.0.1:7001@17001,,tls-port=0,shard-id=1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa myself,master - 0 0 1 connected 0-8191
bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 10.0.0.2:7002@17002,b.example,tls-port=7443,shard-id=1bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb master - 0 0 2 connected 8192-16383
cccccccccccccccccccccccccccccccccccccccc 10.0.0.3:7003@17003,,tls-port=0,shard-id=1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa slave aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0 0 1 connected
vars currentEpoch 2 lastVoteEpoch 0
";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn node() -> Harness {
    Harness::node(NODES)
}

/// The same cluster as its replica `c` sees it, which follows `b`.
fn replica() -> Harness {
    Harness::node(&NODES.replace("myself,", "").replace(
        "slave aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        &format!("myself,slave {B}"),
    ))
}

fn check(harness: &mut Harness, lines: &[(&str, Value)]) {
    for (line, expected) in lines {
        assert_eq!(harness.line(line), *expected, "{line}");
    }
}

fn moved() -> Value {
    error("MOVED 12182 10.0.0.2:7002")
}

fn cross() -> Value {
    error("CROSSSLOT Keys in request don't hash to the same slot")
}

fn try_again() -> Value {
    error("TRYAGAIN Multiple keys request during rehashing of slot")
}

fn newcomer(harness: &mut Harness) -> ClientKey {
    let identity = Identity::default_user(&harness.state.users);
    let client = Client::without_socket(ClientKind::Normal, identity);
    harness.state.clients.insert(client)
}

fn send(harness: &mut Harness, client: ClientKey, line: &str) -> String {
    let request = OwnedRequest::from_slices(&line.split(' ').collect::<Vec<_>>());
    process(
        &mut harness.state,
        &mut harness.host,
        client,
        request.args(),
    );
    answer(harness, client)
}

fn answer(harness: &mut Harness, client: ClientKey) -> String {
    let client = harness.state.clients.get_mut(client).expect("it stays");
    let bytes = client.reply.output().to_vec();
    client.reply.output_mut().clear();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn keys_are_served_where_their_slot_is() {
    let mut harness = node();
    check(
        &mut harness,
        &[
            ("SET b 1", ok()),
            ("GET b", bulk("1")),
            ("GET foo", moved()),
            ("SET foo 1", moved()),
            (
                "MGET b{b} {b}c",
                Value::Array(vec![Value::NullBulk, Value::NullBulk]),
            ),
            ("MGET b foo", cross()),
            ("MSET foo 1 b 2", cross()),
            // All that has no keys is served anywhere.
            ("PING", Value::Simple("PONG".into())),
            ("DBSIZE", int(1)),
            // Those whose keys are counted, or stand behind words.
            ("EVAL return(1) 1 foo", moved()),
            ("EVAL return(1) 2 b foo", cross()),
            ("ZUNIONSTORE b 2 b foo", cross()),
            ("XREAD STREAMS foo 0", moved()),
            (
                "SORT b BY x*",
                error(
                    "ERR BY option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots.",
                ),
            ),
            (
                "SORT b GET foo*",
                error(
                    "ERR GET option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots.",
                ),
            ),
            // What does not fit the command is refused by it.
            (
                "EVAL return(1) x foo",
                error("ERR value is not an integer or out of range"),
            ),
        ],
    );
    // They are refused before anything else is looked at, as in Redis, and counted.
    let stats = text(&harness.line("INFO errorstats"));
    assert!(
        stats.contains("errorstat_MOVED:count=") && stats.contains("errorstat_CROSSSLOT:count=")
    );
}

#[test]
fn nodes_are_named_as_clients_are_to_call_them() {
    let mut harness = node();
    for (endpoint, expected) in [
        ("ip", "MOVED 12182 10.0.0.2:7002"),
        ("hostname", "MOVED 12182 b.example:7002"),
        ("unknown-endpoint", "MOVED 12182 :7002"),
    ] {
        harness.config("cluster-preferred-endpoint-type", endpoint);
        assert_eq!(harness.line("GET foo"), error(expected));
    }
    let mut harness = Harness::node(&NODES.replace("b.example", ""));
    harness.config("cluster-preferred-endpoint-type", "hostname");
    assert_eq!(harness.line("GET foo"), error("MOVED 12182 ?:7002"));
}

/// Ports for TLS are told to those who came over TLS: by the port of their own side.
#[test]
fn clients_on_tls_are_told_ports_for_tls() {
    let harness = node();
    let mut settings = harness.state.config.settings().clone();
    settings.tls.port = 7443;
    let connection = |port: u16| {
        let side = |port| Address::Inet(([127, 0, 0, 1], port).into());
        Connection::new(crate::event_loop::Token(1), 1, side(50_000), side(port), 0)
    };
    assert!(speaks_tls(&connection(7443), &settings));
    assert!(!speaks_tls(&connection(7001), &settings));
    assert!(!speaks_tls(&Connection::none(), &settings));
    settings.tls.cluster = true;
    assert!(speaks_tls(&Connection::none(), &settings));
    let cluster = harness.state.cluster.as_deref().expect("a node");
    let b = cluster.find(B.as_bytes()).expect("a node");
    let error = Refusal::Moved(12182, b).error(cluster, &settings, true);
    assert_eq!(error.text(), "MOVED 12182 10.0.0.2:7443");
}

#[test]
fn a_refusal_spoils_a_transaction() {
    let mut harness = node();
    let aborted = error("EXECABORT Transaction discarded because of previous errors.");
    check(
        &mut harness,
        &[
            ("MULTI", ok()),
            ("SET foo 1", moved()),
            ("SET b 1", Value::Simple("QUEUED".into())),
            ("EXEC", aborted),
            ("GET b", Value::NullBulk),
            // Two commands of one queue are as two keys of one command.
            ("MULTI", ok()),
            ("SET b 1", Value::Simple("QUEUED".into())),
            ("SET {b}c 1", Value::Simple("QUEUED".into())),
            ("EXEC", Value::Array(vec![ok(), ok()])),
        ],
    );
}

#[test]
fn a_queue_with_keys_of_two_slots_is_refused_whole() {
    let mut harness = node();
    check(
        &mut harness,
        &[
            ("MULTI", ok()),
            ("SET b 1", Value::Simple("QUEUED".into())),
            ("SET f 1", Value::Simple("QUEUED".into())),
            ("EXEC", cross()),
            ("EXEC", error("ERR EXEC without MULTI")),
            ("EXISTS b", int(0)),
        ],
    );
}

#[test]
fn of_a_slot_that_goes_only_the_keys_that_are_there_are_served() {
    let mut harness = node();
    let ask = error("ASK 3300 10.0.0.2:7002");
    check(
        &mut harness,
        &[
            ("SET b 1", ok()),
            (&format!("CLUSTER SETSLOT 3300 MIGRATING {B}"), ok()),
            ("GET b", bulk("1")),
            ("GET {b}2", ask.clone()),
            ("SET {b}2 1", ask.clone()),
            ("MGET b {b}2", try_again()),
            ("MGET {b}2 {b}3", ask.clone()),
            // It has gone, but is still there.
            ("PEXPIRE b 10", int(1)),
        ],
    );
    harness.advance_ms(11);
    assert_eq!(harness.line("GET b"), ask);
    // Sharded channels stay until the slot has gone, and MIGRATE is what makes it go.
    assert_eq!(harness.line("SPUBLISH {b}2 hello"), int(0));
    let nokey = Value::Simple("NOKEY".into());
    assert_eq!(harness.line("MIGRATE 10.0.0.2 7002 {b}2 0 100"), nokey);
}

#[test]
fn of_a_slot_that_comes_keys_are_served_to_those_who_ask() {
    let mut harness = node();
    check(
        &mut harness,
        &[
            (&format!("CLUSTER SETSLOT 12182 IMPORTING {B}"), ok()),
            ("GET foo", moved()),
            ("ASKING", ok()),
            ("GET foo", Value::NullBulk),
            // It holds for one command.
            ("GET foo", moved()),
            ("ASKING", ok()),
            ("PING", Value::Simple("PONG".into())),
            ("GET foo", moved()),
            // Within a transaction it holds to the end.
            ("ASKING", ok()),
            ("MULTI", ok()),
            ("SET foo 1", Value::Simple("QUEUED".into())),
            ("GET foo", Value::Simple("QUEUED".into())),
            ("EXEC", Value::Array(vec![ok(), bulk("1")])),
            ("GET foo", moved()),
            ("ASKING", ok()),
            ("MGET foo {foo}2", try_again()),
            ("ASKING", ok()),
            ("MGET foo foo", Value::Array(vec![bulk("1"), bulk("1")])),
            ("ASKING", ok()),
            ("RESET", Value::Simple("RESET".into())),
            ("GET foo", moved()),
            // RESTORE-ASKING asks by itself: here it is found that the payload is none.
            (
                "RESTORE-ASKING {foo}3 0 x",
                error("ERR DUMP payload version or checksum are wrong"),
            ),
        ],
    );
}

#[test]
fn replicas_serve_reads_of_their_primary_to_those_who_take_them() {
    let mut harness = replica();
    check(
        &mut harness,
        &[
            ("GET foo", moved()),
            ("READONLY", ok()),
            ("GET foo", Value::NullBulk),
            ("SET foo 1", moved()),
            ("GET b", error("MOVED 3300 127.0.0.1:7001")),
            ("EVAL return(1) 1 foo", int(1)),
            ("EVAL_RO return(1) 1 foo", int(1)),
            ("MULTI", ok()),
            ("GET foo", Value::Simple("QUEUED".into())),
            ("EXEC", Value::Array(vec![Value::NullBulk])),
            ("READWRITE", ok()),
            ("GET foo", moved()),
            // Channels are served by all nodes of a shard.
            ("SPUBLISH foo hello", int(0)),
        ],
    );
}

#[test]
fn a_cluster_that_is_down_serves_what_directives_say() {
    let mut harness = Harness::node(&NODES.replace("8192-16383", "8192-16000"));
    let down = error("CLUSTERDOWN The cluster is down");
    check(
        &mut harness,
        &[
            ("GET b", down.clone()),
            ("GET 2a", down.clone()),
            ("PING", Value::Simple("PONG".into())),
            ("SPUBLISH b hello", int(0)),
            ("CONFIG SET cluster-allow-pubsubshard-when-down no", ok()),
            ("SPUBLISH b hello", down.clone()),
            ("CONFIG SET cluster-allow-reads-when-down yes", ok()),
            ("GET b", Value::NullBulk),
            ("GET foo", moved()),
            (
                "SET b 1",
                error("CLUSTERDOWN The cluster is down and only accepts read commands"),
            ),
        ],
    );
    let unserved = (0..).map(|n| format!("k{n}"));
    let unserved = unserved
        .into_iter()
        .find(|key| slot_of(key.as_bytes()) > 16000);
    let line = format!("GET {}", unserved.expect("a key"));
    let expected = error("CLUSTERDOWN Hash slot not served");
    assert_eq!(harness.line(&line), expected);
}

#[test]
fn scripts_touch_keys_of_this_node_and_of_one_slot() {
    let mut harness = node();
    let run = |harness: &mut Harness, script: &str, keys: &[&str]| {
        let count = keys.len().to_string();
        let words = [&["EVAL", script, &count][..], keys].concat();
        text(&harness.run(&words))
    };
    let told = |harness: &mut Harness, script: &str, keys: &[&str], expected: &str| {
        let answer = run(harness, script, keys);
        assert!(answer.contains(expected), "{script}: {answer}");
    };
    told(&mut harness, "return redis.call('set','b','1')", &[], "OK");
    let not_ours = "Script attempted to access a non local key in a cluster node";
    told(
        &mut harness,
        "return redis.call('get','foo')",
        &[],
        not_ours,
    );
    told(
        &mut harness,
        "return redis.call('mget','b','f')",
        &[],
        "Command 'mget' in script attempted to access keys that don't hash to the same slot",
    );
    // One without a first line may use several slots, each by its own.
    let both = "redis.call('get','b') return redis.call('set','f','2')";
    told(&mut harness, both, &[], "OK");
    let cross = "Script attempted to access keys that do not hash to the same slot";
    told(&mut harness, &format!("#!lua\n{both}"), &[], cross);
    // Those that it names count.
    told(
        &mut harness,
        "#!lua\nreturn redis.call('get','f')",
        &["b"],
        cross,
    );
    let allowed = format!("#!lua flags=allow-cross-slot-keys\n{both}");
    told(&mut harness, &allowed, &["b"], "OK");
    told(
        &mut harness,
        "#!lua flags=no-cluster\nreturn 1",
        &[],
        "ERR Can not run script on cluster, 'no-cluster' flag is set.",
    );
    assert_eq!(
        harness.line(&format!("CLUSTER SETSLOT 3300 MIGRATING {B}")),
        ok()
    );
    told(
        &mut harness,
        "return redis.call('mget','b','{b}2')",
        &["b"],
        "Unable to execute command 'mget' in script because undeclared keys were accessed during rehashing of the slot",
    );
}

#[test]
fn who_waits_for_a_key_that_goes_is_sent_after_it() {
    let mut harness = node();
    let (first, second) = (newcomer(&mut harness), newcomer(&mut harness));
    assert_eq!(send(&mut harness, first, "BLPOP b 0"), "");
    assert_eq!(send(&mut harness, second, "BLPOP f 0"), "");
    redirect_blocked(&mut harness.state);
    assert_eq!(answer(&mut harness, first), "");
    assert_eq!(
        harness.line(&format!("CLUSTER SETSLOT 3300 NODE {B}")),
        ok()
    );
    redirect_blocked(&mut harness.state);
    assert_eq!(answer(&mut harness, first), "-MOVED 3300 10.0.0.2:7002\r\n");
    assert_eq!(answer(&mut harness, second), "");
    assert_eq!(harness.line("CLUSTER DELSLOTS 3168"), ok());
    redirect_blocked(&mut harness.state);
    assert_eq!(
        answer(&mut harness, second),
        "-CLUSTERDOWN Hash slot not served\r\n"
    );
    // Down is down, whoever has the slot.
    assert_eq!(send(&mut harness, first, "BLPOP a1 0"), "");
    for _ in 0..3 {
        harness.advance_ms(1000);
        let facts = facts(&harness.state);
        let node = harness.state.cluster.as_mut().expect("a node");
        node.tick(&facts);
        node.before_sleep(&facts);
    }
    redirect_blocked(&mut harness.state);
    assert_eq!(
        answer(&mut harness, first),
        "-CLUSTERDOWN The cluster is down\r\n"
    );
}

#[test]
fn readers_on_a_replica_wait_on() {
    let mut harness = replica();
    let (reader, other) = (newcomer(&mut harness), newcomer(&mut harness));
    send(&mut harness, reader, "READONLY");
    assert_eq!(
        send(&mut harness, reader, "XREAD BLOCK 0 STREAMS foo 0"),
        ""
    );
    redirect_blocked(&mut harness.state);
    assert_eq!(answer(&mut harness, reader), "");
    // Whoever would change something waits for what comes from the primary alone.
    assert_eq!(
        send(&mut harness, other, "BLPOP foo 0"),
        "-MOVED 12182 10.0.0.2:7002\r\n"
    );
}
