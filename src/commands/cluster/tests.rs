//! The answers of CLUSTER, READONLY, READWRITE and ASKING.

use super::spec::SUBCOMMANDS;
use crate::cluster::node_flags;
use crate::commands::testing::{Harness, bulk, error, int, ok, text};
use crate::resp::reader::Value;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const C: &str = "cccccccccccccccccccccccccccccccccccccccc";
const NODES: &str = "\
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 127.0.0.1:7001@17001,,tls-port=0,shard-id=1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa myself,master - 0 0 1 connected 0-100 200
bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 10.0.0.2:7002@17002,b.example,tls-port=7443,shard-id=1bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb master - 0 0 2 connected 101-199 201-16383
cccccccccccccccccccccccccccccccccccccccc 10.0.0.3:7003@17003,,tls-port=0,shard-id=1bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb slave bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 0 0 2 connected
vars currentEpoch 2 lastVoteEpoch 0
";

/// A node without slots that knows no other.
fn alone() -> Harness {
    let line = NODES
        .lines()
        .next()
        .unwrap_or_default()
        .replace("0 0 1 connected 0-100 200", "0 0 0 connected");
    Harness::node(&format!("{line}\nvars currentEpoch 0 lastVoteEpoch 0\n"))
}

#[test]
fn every_command_of_a_cluster_is_disabled_without_one() {
    let mut harness = Harness::new();
    let disabled = error("ERR This instance has cluster support disabled");
    for spec in SUBCOMMANDS {
        let mut words = vec!["CLUSTER", spec.name];
        words.resize(spec.arity.unsigned_abs() as usize, "1");
        assert_eq!(harness.run(&words), disabled, "{words:?}");
        // Whatever the arguments are.
        words.fill("x");
        (words[0], words[1]) = ("CLUSTER", spec.name);
        assert_eq!(harness.run(&words), disabled, "{words:?}");
    }
    for line in ["READONLY", "READWRITE", "ASKING"] {
        assert_eq!(harness.line(line), disabled, "{line}");
    }
    assert_eq!(
        harness.line("CLUSTER"),
        error("ERR wrong number of arguments for 'cluster' command")
    );
    assert_eq!(
        harness.line("CLUSTER KEYSLOT"),
        error("ERR wrong number of arguments for 'cluster|keyslot' command")
    );
    assert_eq!(
        harness.line("CLUSTER NOSUCH"),
        error("ERR unknown subcommand 'NOSUCH'. Try CLUSTER HELP.")
    );
}

#[test]
fn arguments_are_refused_as_by_redis() {
    let mut harness = Harness::node(NODES);
    let out_of_range = "ERR Invalid or out of range slot";
    let syntax = |name: &str| {
        format!(
            "ERR unknown subcommand or wrong number of arguments for '{name}'. Try CLUSTER HELP."
        )
    };
    let (reset, failover, meet) = (syntax("RESET"), syntax("FAILOVER"), syntax("MEET"));
    for (line, expected) in [
        ("CLUSTER ADDSLOTS x", out_of_range),
        ("CLUSTER ADDSLOTS 16384", out_of_range),
        ("CLUSTER DELSLOTS -1", out_of_range),
        ("CLUSTER ADDSLOTS 0", "ERR Slot 0 is already busy"),
        (
            "CLUSTER DELSLOTS 5 5",
            "ERR Slot 5 specified multiple times",
        ),
        (
            "CLUSTER ADDSLOTSRANGE 1",
            "ERR wrong number of arguments for 'cluster|addslotsrange' command",
        ),
        (
            "CLUSTER DELSLOTSRANGE 1 2 3",
            "ERR wrong number of arguments for 'cluster|delslotsrange' command",
        ),
        (
            "CLUSTER DELSLOTSRANGE 6000 5000",
            "ERR start slot number 6000 is greater than end slot number 5000",
        ),
        (
            "CLUSTER DELSLOTSRANGE 5000 6000 5500 5600",
            "ERR Slot 5500 specified multiple times",
        ),
        ("CLUSTER ADDSLOTSRANGE 50 60", "ERR Slot 50 is already busy"),
        ("CLUSTER SETSLOT 20000 STABLE", out_of_range),
        (
            "CLUSTER SETSLOT 1 FOO",
            "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
        ),
        (
            "CLUSTER SETSLOT 1 STABLE x",
            "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
        ),
        (
            "CLUSTER SETSLOT 101 MIGRATING x",
            "ERR I'm not the owner of hash slot 101",
        ),
        (
            "CLUSTER SETSLOT 1 MIGRATING x",
            "ERR I don't know about node x",
        ),
        (
            "CLUSTER SETSLOT 1 IMPORTING x",
            "ERR I'm already the owner of hash slot 1",
        ),
        ("CLUSTER SETSLOT 1 NODE x", "ERR Unknown node x"),
        (
            "CLUSTER COUNTKEYSINSLOT x",
            "ERR value is not an integer or out of range",
        ),
        ("CLUSTER COUNTKEYSINSLOT 16384", "ERR Invalid slot"),
        (
            "CLUSTER GETKEYSINSLOT 1 x",
            "ERR value is not an integer or out of range",
        ),
        (
            "CLUSTER GETKEYSINSLOT 1 -1",
            "ERR Invalid slot or number of keys",
        ),
        (
            "CLUSTER GETKEYSINSLOT 16384 1",
            "ERR Invalid slot or number of keys",
        ),
        (
            "CLUSTER MEET a 1",
            "ERR Invalid node address specified: a:1",
        ),
        (
            "CLUSTER MEET 127.0.0.1 x",
            "ERR Invalid base port specified: x",
        ),
        (
            "CLUSTER MEET 127.0.0.1 1 x",
            "ERR Invalid bus port specified: x",
        ),
        (
            "CLUSTER MEET 127.0.0.1 60000",
            "ERR Invalid node address specified: 127.0.0.1:60000",
        ),
        (
            "CLUSTER MEET 127.0.0.1 0",
            "ERR Invalid node address specified: 127.0.0.1:0",
        ),
        ("CLUSTER MEET 1 2 3 4", &meet),
        (
            "CLUSTER SET-CONFIG-EPOCH x",
            "ERR value is not an integer or out of range",
        ),
        (
            "CLUSTER SET-CONFIG-EPOCH -1",
            "ERR Invalid config epoch specified: -1",
        ),
        (
            "CLUSTER SET-CONFIG-EPOCH 7",
            "ERR The user can assign a config epoch only when the node does not know any other node.",
        ),
        (
            "CLUSTER FAILOVER",
            "ERR You should send CLUSTER FAILOVER to a replica",
        ),
        ("CLUSTER FAILOVER x", "ERR syntax error"),
        ("CLUSTER FAILOVER FORCE x", &failover),
        ("CLUSTER RESET x", "ERR syntax error"),
        ("CLUSTER RESET HARD x", &reset),
        ("CLUSTER FORGET x", "ERR Unknown node x"),
        (
            &format!("CLUSTER FORGET {A}"),
            "ERR I tried hard but I can't forget myself...",
        ),
        ("CLUSTER REPLICATE x", "ERR Unknown node x"),
        (
            &format!("CLUSTER REPLICATE {A}"),
            "ERR Can't replicate myself",
        ),
        (
            &format!("CLUSTER REPLICATE {B}"),
            "ERR To set a master the node must be empty and without assigned slots.",
        ),
        ("CLUSTER REPLICAS x", "ERR Unknown node x"),
        (
            &format!("CLUSTER SLAVES {C}"),
            "ERR The specified node is not a master",
        ),
        ("CLUSTER COUNT-FAILURE-REPORTS x", "ERR Unknown node x"),
        ("SELECT 1", "ERR SELECT is not allowed in cluster mode"),
        ("SWAPDB 0 0", "ERR SWAPDB is not allowed in cluster mode"),
        (
            "REPLICAOF a 1",
            "ERR REPLICAOF not allowed in cluster mode.",
        ),
        (
            "FAILOVER",
            "ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.",
        ),
    ] {
        assert_eq!(harness.line(line), error(expected), "{line}");
    }
}

#[test]
fn slots_are_assigned_and_taken() {
    let mut harness = alone();
    let owned = |harness: &Harness| {
        let node = harness.state.cluster.as_ref().expect("a node");
        node.myself().slots.ranges()
    };
    for (line, expected) in [
        ("CLUSTER ADDSLOTS 5 7 6", &[(5, 7)][..]),
        (
            "CLUSTER ADDSLOTSRANGE 10 12 20 20",
            &[(5, 7), (10, 12), (20, 20)],
        ),
        ("CLUSTER DELSLOTS 6", &[(5, 5), (7, 7), (10, 12), (20, 20)]),
        (
            "CLUSTER DELSLOTSRANGE 5 5 10 11",
            &[(7, 7), (12, 12), (20, 20)],
        ),
        ("CLUSTER FLUSHSLOTS", &[]),
        ("CLUSTER ADDSLOTSRANGE 0 16383", &[(0, 16383)]),
    ] {
        assert_eq!(harness.line(line), ok(), "{line}");
        assert_eq!(owned(&harness), expected, "{line}");
    }
    for _ in 0..7 {
        harness.advance_ms(1000);
        let facts = crate::engine::cluster::facts(&harness.state);
        let node = harness.state.cluster.as_mut().expect("a node");
        node.tick(&facts);
        node.before_sleep(&facts);
    }
    for (line, expected) in [
        ("SET {b}1 1", ok()),
        ("SET {b}2 1", ok()),
        ("SET other 1", ok()),
        ("SELECT 0", ok()),
        ("CLUSTER COUNTKEYSINSLOT 3300", int(2)),
        ("DEL {b}1", int(1)),
        ("CLUSTER COUNTKEYSINSLOT 3300", int(1)),
        (
            "CLUSTER GETKEYSINSLOT 3300 10",
            Value::Array(vec![bulk("{b}2")]),
        ),
        ("CLUSTER GETKEYSINSLOT 3300 0", Value::Array(vec![])),
        ("CLUSTER GETKEYSINSLOT 3301 10", Value::Array(vec![])),
        ("CLUSTER KEYSLOT {b}1", int(3300)),
        (
            "CLUSTER FLUSHSLOTS",
            error("ERR DB must be empty to perform CLUSTER FLUSHSLOTS."),
        ),
        (
            "CLUSTER RESET",
            error("ERR CLUSTER RESET can't be called with master nodes containing keys"),
        ),
        ("MOVE b 1", error("ERR MOVE is not allowed in cluster mode")),
        (
            "COPY other {other}2 DB 1",
            error("ERR DB index is out of range"),
        ),
        ("FLUSHALL", ok()),
        ("CLUSTER COUNTKEYSINSLOT 3300", int(0)),
        ("CLUSTER BUMPEPOCH", Value::Simple("BUMPED 1".into())),
        ("CLUSTER BUMPEPOCH", Value::Simple("STILL 1".into())),
        ("CLUSTER SAVECONFIG", ok()),
        ("CLUSTER RESET HARD", ok()),
        ("CLUSTER SET-CONFIG-EPOCH 9", ok()),
        (
            "CLUSTER SET-CONFIG-EPOCH 9",
            error("ERR Node config epoch is already non-zero"),
        ),
        ("CLUSTER MEET 127.0.0.1 7002", ok()),
    ] {
        assert_eq!(harness.line(line), expected, "{line}");
    }
    assert!(owned(&harness).is_empty());
}

/// As Redis answers, with the same nodes.
#[test]
fn slots_and_shards_have_the_shape_of_redis() {
    let mut harness = Harness::node(NODES);
    let array = |items: &[Value]| Value::Array(items.to_vec());
    let node = |name: Value, port: i64, id: &str, more: &[&str]| {
        let more = more.iter().map(|word| bulk(word)).collect();
        array(&[name, int(port), bulk(id), Value::Array(more)])
    };
    let b = |name: Value, more: &[&str]| node(name, 7002, B, more);
    let runs = |a: Value, b: Value| {
        array(&[
            array(&[int(0), int(100), a.clone()]),
            array(&[int(101), int(199), b.clone()]),
            array(&[int(200), int(200), a]),
            array(&[int(201), int(16383), b]),
        ])
    };
    assert_eq!(
        harness.line("CLUSTER SLOTS"),
        runs(
            node(bulk("127.0.0.1"), 7001, A, &[]),
            b(bulk("10.0.0.2"), &["hostname", "b.example"]),
        )
    );
    harness.config("cluster-preferred-endpoint-type", "hostname");
    assert_eq!(
        harness.line("CLUSTER SLOTS"),
        runs(
            node(bulk("?"), 7001, A, &["ip", "127.0.0.1"]),
            b(bulk("b.example"), &["ip", "10.0.0.2"]),
        )
    );
    harness.config("cluster-preferred-endpoint-type", "unknown-endpoint");
    assert_eq!(
        harness.line("CLUSTER SLOTS"),
        runs(
            node(Value::NullBulk, 7001, A, &["ip", "127.0.0.1"]),
            b(
                Value::NullBulk,
                &["ip", "10.0.0.2", "hostname", "b.example"]
            ),
        )
    );
    harness.config("cluster-preferred-endpoint-type", "ip");
    let shards = text(&harness.line("CLUSTER SHARDS"));
    assert_eq!(
        shards,
        format!(
            "slots 0 100 200 200 nodes id {A} port 7001 ip 127.0.0.1 endpoint 127.0.0.1 role master \
             replication-offset 0 health online \
             slots 101 199 201 16383 nodes id {B} port 7002 tls-port 7443 ip 10.0.0.2 endpoint 10.0.0.2 \
             hostname b.example role master replication-offset 0 health online \
             id {C} port 7003 ip 10.0.0.3 endpoint 10.0.0.3 role replica replication-offset 0 health loading"
        )
    );
    harness.resp3();
    let shards = harness.line("CLUSTER SHARDS");
    let Value::Array(shards) = shards else {
        panic!("{shards:?}");
    };
    let Value::Map(first) = &shards[0] else {
        panic!("{shards:?}");
    };
    assert_eq!(first.len(), 2);
    assert!(matches!(harness.line("CLUSTER NODES"), Value::Verbatim(format, _) if format == "txt"));
    assert!(matches!(harness.line("CLUSTER INFO"), Value::Verbatim(format, _) if format == "txt"));
}

#[test]
fn who_asks_is_told_who_is_who() {
    let mut harness = Harness::node(NODES);
    assert_eq!(harness.line("CLUSTER MYID"), bulk(A));
    let shard = format!("1{}", &A[1..]);
    assert_eq!(harness.line("CLUSTER MYSHARDID"), bulk(&shard));
    let nodes = text(&harness.line("CLUSTER NODES"));
    assert_eq!(nodes.lines().count(), 3);
    let line = nodes.lines().find(|line| line.starts_with(C));
    for name in ["REPLICAS", "SLAVES"] {
        let replicas = harness.line(&format!("CLUSTER {name} {B}"));
        assert_eq!(text(&replicas), line.unwrap_or_default());
    }
    let reports = harness.line(&format!("CLUSTER COUNT-FAILURE-REPORTS {B}"));
    assert_eq!(reports, int(0));
    let info = text(&harness.line("CLUSTER INFO"));
    assert!(info.contains("cluster_state:ok\r\n"), "{info}");
    assert!(text(&harness.line("CLUSTER HELP")).contains("COUNTKEYSINSLOT <slot>"));
    assert!(text(&harness.line("INFO cluster")).contains("cluster_enabled:1"));
    assert!(text(&harness.line("INFO server")).contains("redis_mode:cluster"));
    assert!(text(&harness.line("HELLO")).contains("mode cluster"));
    let databases = text(&harness.line("CONFIG GET databases"));
    assert_eq!(databases, "databases 1");
}

#[test]
fn links_are_told_with_what_waits_in_them() {
    let mut harness = Harness::node(NODES);
    let node = harness.state.cluster.as_mut().expect("a node");
    let link = node.links().find(|link| {
        node.node(link.node)
            .is_some_and(|node| node.id.as_str() == B)
    });
    let link = link.expect("it connects with all that it knows").link;
    let waits = crate::engine::cluster::LinkBuffer {
        allocated: 20,
        used: 3,
    };
    harness.state.cluster_links.buffers.insert(link, waits);
    let told = text(&harness.line("CLUSTER LINKS"));
    let of_b = format!("direction to node {B} create-time ");
    let of_c = format!("direction to node {C} create-time ");
    assert!(told.contains(&of_b) && told.contains(&of_c), "{told}");
    assert!(
        told.contains("events rw send-buffer-allocated 20 send-buffer-used 3"),
        "{told}"
    );
    assert!(
        told.contains("events r send-buffer-allocated 0 send-buffer-used 0"),
        "{told}"
    );
}

#[test]
fn messages_go_over_the_bus_in_the_place_of_the_stream() {
    let mut harness = Harness::node(NODES);
    let sent = |harness: &mut Harness| {
        let node = harness.state.cluster.as_mut().expect("a node");
        let actions = node.take_actions();
        let is_send = |action: &&crate::cluster::Action| {
            matches!(action, crate::cluster::Action::Send { .. })
        };
        actions.iter().filter(is_send).count()
    };
    sent(&mut harness);
    let offset = harness.state.journal.offset();
    assert_eq!(harness.line("PUBLISH channel message"), int(0));
    let to_all = sent(&mut harness);
    assert_eq!(to_all, 2);
    // A shard's message is for the nodes of the shard: there is no other.
    let channel = (0..)
        .map(|n| format!("c{n}"))
        .find(|name| crate::structures::slots::slot_of(name.as_bytes()) <= 100);
    let line = format!("SPUBLISH {} message", channel.expect("one of our slots"));
    assert_eq!(harness.line(&line), int(0));
    assert_eq!(sent(&mut harness), 0);
    assert_eq!(harness.state.journal.offset(), offset);
}

#[test]
fn who_listens_to_a_slot_that_goes_is_told() {
    let mut harness = Harness::node(
        &NODES
            .replace("0-100", "0-100 3300")
            .replace("201-16383", "201-3299 3301-16383"),
    );
    harness.line("SSUBSCRIBE {b}1");
    harness.line("SSUBSCRIBE {b}2");
    let mut slots = crate::structures::slots::SlotSet::default();
    slots.insert(3301);
    crate::engine::cluster::channels::drop_channels(&mut harness.state, &slots);
    let output = |harness: &mut Harness| {
        let client = harness
            .state
            .clients
            .get_mut(harness.client)
            .expect("it stays");
        let bytes = client.reply.output().to_vec();
        client.reply.output_mut().clear();
        String::from_utf8(bytes).expect("text")
    };
    assert_eq!(output(&mut harness), "");
    slots.insert(3300);
    crate::engine::cluster::channels::drop_channels(&mut harness.state, &slots);
    let one =
        |name: &str, left: u8| format!("*3\r\n$12\r\nsunsubscribe\r\n$4\r\n{name}\r\n:{left}\r\n");
    assert_eq!(output(&mut harness), one("{b}1", 1) + &one("{b}2", 0));
    // It is no subscriber any more.
    assert_eq!(harness.line("DBSIZE"), int(0));
}

#[test]
fn debug_reaches_the_bus() {
    let mut harness = Harness::node(NODES);
    let arguments = ["--enable-debug-command", "yes"].map(Into::into);
    harness.state.config = crate::config::Config::load(&arguments, &mut || Ok(Vec::new()))
        .expect("a good configuration");
    for (line, expected) in [
        (&*format!("DEBUG CLUSTERLINK KILL all {B}"), ok()),
        (
            &format!("DEBUG CLUSTERLINK KILL sideways {B}"),
            error("ERR Unknown direction sideways"),
        ),
        ("DEBUG CLUSTERLINK KILL to x", error("ERR Unknown node x")),
        ("DEBUG DROP-CLUSTER-PACKET-FILTER 1", ok()),
        ("DEBUG DROP-CLUSTER-PACKET-FILTER -1", ok()),
    ] {
        assert_eq!(harness.line(line), expected, "{line}");
    }
    let node = harness.state.cluster.as_ref().expect("a node");
    let b = node
        .find(B.as_bytes())
        .and_then(|key| node.node(key))
        .expect("a node");
    assert!(b.link.is_none() && !b.has(node_flags::FAIL));
}
