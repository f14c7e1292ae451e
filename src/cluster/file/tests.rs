//! nodes.conf, as Redis and Valkey write it, and as nobody should.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn id_of(letter: char) -> NodeId {
    NodeId::parse(letter.to_string().repeat(40).as_bytes()).unwrap()
}

/// What a text says, where A, B, C and S stand for ids.
fn read_with(text: &str, tls_cluster: bool) -> Result<Saved, String> {
    parse(spelled(text).as_bytes(), tls_cluster)
}

fn read(text: &str) -> Result<Saved, String> {
    read_with(text, false)
}

fn spelled(text: &str) -> String {
    let mut text = text.to_owned();
    for letter in ['A', 'B', 'C', 'S'] {
        let id = if letter == 'S' {
            'd'
        } else {
            letter.to_ascii_lowercase()
        };
        text = text.replace(letter, id_of(id).as_str());
    }
    text
}

fn slots_of(range: std::ops::RangeInclusive<u16>) -> SlotSet {
    let mut slots = SlotSet::default();
    for slot in range {
        slots.insert(slot);
    }
    slots
}

/// As Redis 8.0.6 writes it, but for the order.
const REDIS_8: &str = "\
A 127.0.0.1:27001@37001,a.example,tls-port=0,nodename=alpha,shard-id=S myself,master - 0 0 8 connected 0-100 102 [7->-B] [103-<-B]
B 127.0.0.1:27002@37002,,tls-port=6390,shard-id=C master,fail? - 1796010032901 1796010032900 1 disconnected 16382-16383
C ::1:27003@37003,,tls-port=0,shard-id=S slave,nofailover A 0 1796010032900 8 connected
vars currentEpoch 8 lastVoteEpoch 3
";

fn of_redis_8() -> Saved {
    let mut slots = slots_of(0..=100);
    slots.insert(102);
    let mut nodes = [id_of('a'), id_of('b'), id_of('c')].map(SavedNode::new);
    nodes[0] = SavedNode {
        shard: Some(id_of('d')),
        flags: node_flags::MYSELF | node_flags::PRIMARY,
        config_epoch: 8,
        slots,
        ip: "127.0.0.1".to_owned(),
        hostname: "a.example".to_owned(),
        human_name: "alpha".to_owned(),
        tcp_port: 27001,
        bus_port: 37001,
        is_connected: true,
        ..nodes[0].clone()
    };
    nodes[1] = SavedNode {
        shard: Some(id_of('c')),
        flags: node_flags::PRIMARY | node_flags::PFAIL,
        config_epoch: 1,
        slots: slots_of(16382..=16383),
        ip: "127.0.0.1".to_owned(),
        tcp_port: 27002,
        tls_port: 6390,
        bus_port: 37002,
        ping_sent_ms: 1_796_010_032_901,
        pong_received_ms: 1_796_010_032_900,
        ..nodes[1].clone()
    };
    nodes[2] = SavedNode {
        shard: Some(id_of('d')),
        flags: node_flags::REPLICA | node_flags::NOFAILOVER,
        primary: Some(id_of('a')),
        ip: "::1".to_owned(),
        tcp_port: 27003,
        bus_port: 37003,
        pong_received_ms: 1_796_010_032_900,
        is_connected: true,
        ..nodes[2].clone()
    };
    let migration = |slot, is_import| Migration {
        slot,
        peer: id_of('b'),
        is_import,
    };
    Saved {
        nodes: nodes.to_vec(),
        migrations: vec![migration(7, false), migration(103, true)],
        current_epoch: 8,
        last_vote_epoch: 3,
    }
}

#[test]
fn what_redis_8_writes_is_read_and_written() {
    assert_eq!(read(REDIS_8), Ok(of_redis_8()));
    // The port that stands alone is not the one for TLS, whatever the setting: the other one is named.
    assert_eq!(read_with(REDIS_8, true), Ok(of_redis_8()));
    let printed = print(&of_redis_8());
    assert_eq!(String::from_utf8(printed).unwrap(), spelled(REDIS_8));
    let mut shuffled = of_redis_8();
    shuffled.nodes.reverse();
    shuffled.migrations.reverse();
    assert_eq!(print(&shuffled), print(&of_redis_8()));
}

#[test]
fn what_redis_7_0_writes_is_read() {
    let text = "\
B 127.0.0.1:27002@37002 slave A 0 1796010032900 4 connected
A 127.0.0.1:27001@37001,a.example myself,master - 0 1796010032900 4 connected 0-5 7
vars currentEpoch 5 lastVoteEpoch 4
";
    let saved = read(text).unwrap();
    assert_eq!((saved.current_epoch, saved.last_vote_epoch), (5, 4));
    let [primary, replica] = &saved.nodes[..] else {
        panic!("{saved:?}");
    };
    assert_eq!((primary.id, replica.id), (id_of('a'), id_of('b')));
    assert_eq!(primary.hostname, "a.example");
    assert_eq!((primary.shard, replica.shard), (None, None));
    assert_eq!(primary.slots.ranges(), [(0, 5), (7, 7)]);
    assert_eq!((primary.tcp_port, primary.tls_port), (27001, 0));
    assert_eq!(replica.primary, Some(id_of('a')));
    assert_eq!((primary.config_epoch, replica.config_epoch), (4, 0));
    // With TLS in the cluster the one port is that for TLS.
    let saved = read_with(text, true).unwrap();
    assert_eq!(
        (saved.nodes[0].tcp_port, saved.nodes[0].tls_port),
        (0, 27001)
    );
}

#[test]
fn what_valkey_writes_is_read() {
    let text = "\
A 10.0.0.1:6379@16379,,availability-zone=zone-a,client-tls-port=1,client-ipv6=::1,client-ipv4=10.1.1.1,tls-port=6380,nodename=a:1,shard-id=S myself,replica B 0 0 3 connected
B 10.0.0.2:6379@16379,,tcp-port=6381,shard-id=C primary - 0 0 3 connected 0-16383
vars currentEpoch 3 lastVoteEpoch 0 something 9
";
    let saved = read(text).unwrap();
    let [me, primary] = &saved.nodes[..] else {
        panic!("{saved:?}");
    };
    assert_eq!(me.flags, node_flags::MYSELF | node_flags::REPLICA);
    assert_eq!(primary.flags, node_flags::PRIMARY);
    // A replica is of its primary's shard, whatever the file says.
    assert_eq!(
        (me.shard, primary.shard),
        (Some(id_of('c')), Some(id_of('c')))
    );
    assert_eq!(me.human_name, "a:1");
    assert_eq!((me.tcp_port, me.tls_port), (6379, 6380));
    assert_eq!((primary.tcp_port, primary.tls_port), (6381, 6379));
}

#[test]
fn ports_come_from_where_they_are_named() {
    let ports = |address: &str, tls_cluster| {
        let text = format!("A {address} myself,master - 0 0 0 connected");
        let saved = read_with(&text, tls_cluster)?;
        let node = &saved.nodes[0];
        Ok::<_, String>((node.tcp_port, node.tls_port, node.bus_port))
    };
    assert_eq!(ports(":0@0", false), Ok((0, 0, 0)));
    // Older files do not have the port of the bus.
    assert_eq!(ports("h:10", false), Ok((10, 0, 10_010)));
    assert_eq!(ports("h:10", true), Ok((0, 10, 10_010)));
    assert_eq!(ports("h:10,,tls-port=20", false), Ok((10, 20, 10_010)));
    assert_eq!(ports("h:10,,tls-port=20", true), Ok((10, 20, 10_020)));
    assert_eq!(ports("h:10@3,,tcp-port=20", false), Ok((20, 10, 3)));
    assert_eq!(
        ports("h:1@3,,tcp-port=20,tls-port=30", true),
        Ok((20, 30, 3))
    );
    assert!(ports("h:60000", false).is_err());
}

#[test]
fn nodes_that_are_only_named_are_known() {
    let saved = read("A h:1@2 myself,slave B 0 0 0 connected [3-<-C]").unwrap();
    assert_eq!(saved.nodes[1], SavedNode::new(id_of('b')));
    assert_eq!(saved.nodes[2], SavedNode::new(id_of('c')));
    let printed = String::from_utf8(print(&saved)).unwrap();
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(
        lines[1],
        spelled("B :0@0,,tls-port=0 noflags - 0 0 0 disconnected")
    );
}

#[test]
fn of_a_slot_with_two_nodes_the_first_has_it() {
    let saved =
        read("A h:1@2 myself,master - 0 0 0 connected 3-5\nB h:1@2 master - 0 0 0 connected 5-6 1");
    let saved = saved.unwrap();
    assert_eq!(saved.nodes[0].slots.ranges(), [(3, 5)]);
    assert_eq!(saved.nodes[1].slots.ranges(), [(1, 1), (6, 6)]);
}

#[test]
fn the_epoch_is_not_lower_than_that_of_a_node() {
    let node = "A h:1@2 myself,master - 0 0 9 connected";
    for (vars, expected) in [
        ("", 9),
        ("vars currentEpoch 8 lastVoteEpoch 0", 9),
        ("Vars currentepoch 10", 10),
    ] {
        let saved = read(&format!("\n{vars}\n\n{node}\n\n")).unwrap();
        assert_eq!(saved.current_epoch, expected);
    }
}

#[test]
fn lines_may_end_in_other_ways() {
    let with_returns = REDIS_8.replace('\n', "\r\n");
    assert_eq!(read(&with_returns), Ok(of_redis_8()));
    let without_end = REDIS_8.trim_end();
    assert_eq!(read(without_end), Ok(of_redis_8()));
    let padded = format!("{REDIS_8}\n\n\n \n");
    assert_eq!(read(&padded), Ok(of_redis_8()));
    let with_spaces = REDIS_8.replace(' ', " \t ");
    assert_eq!(read(&with_spaces), Ok(of_redis_8()));
}

#[test]
fn of_a_corrupt_file_is_said_what_is_wrong() {
    for (text, why) in [
        ("", "no node is this one"),
        ("vars currentEpoch 1", "no node is this one"),
        ("vars currentEpoch", "a variable has no value"),
        ("vars currentEpoch x", "a number that is none"),
        ("A h:1@2 myself,master - 0 0 0", "fewer than eight columns"),
        (
            "a h:1@2 myself,master - 0 0 0 connected",
            "a node id is none",
        ),
        ("A h myself,master - 0 0 0 connected", "it has no port"),
        (
            "A h:x@2 myself,master - 0 0 0 connected",
            "a number that is none",
        ),
        (
            "A h:1@-2 myself,master - 0 0 0 connected",
            "a number that is none",
        ),
        (
            "A h:1@65536 myself,master - 0 0 0 connected",
            "a number that is none",
        ),
        (
            "A h:1@2,,x myself,master - 0 0 0 connected",
            "a field that is none",
        ),
        (
            "A h:1@2,,x=y=z myself,master - 0 0 0 connected",
            "a field that is none",
        ),
        (
            "A h:1@2,,shard-id=d myself,master - 0 0 0 connected",
            "a node id is none",
        ),
        (
            "A h:1@2,,tls-port=+1 myself,master - 0 0 0 connected",
            "a number that is none",
        ),
        (
            "A h:1@2,\u{1} myself,master - 0 0 0 connected",
            "its host name is none",
        ),
        (
            "A \u{1}:1@2 myself,master - 0 0 0 connected",
            "its address is none",
        ),
        ("A h:1@2 myself,boss - 0 0 0 connected", "an unknown flag"),
        ("A h:1@2 myself, - 0 0 0 connected", "an unknown flag"),
        (
            "A h:1@2 myself - 0 0 0 connected",
            "neither a primary nor a replica",
        ),
        ("A h:1@2 master - 0 0 0 connected", "no node is this one"),
        (
            "A h:1@2 myself,slave - 0 0 0 connected",
            "a replica without a primary",
        ),
        (
            "A h:1@2 myself,slave b 0 0 0 connected",
            "a node id is none",
        ),
        (
            "A h:1@2 myself,master - x 0 0 connected",
            "a number that is none",
        ),
        (
            "A h:1@2 myself,master - 0 x 0 connected",
            "a number that is none",
        ),
        (
            "A h:1@2 myself,master - 0 0 x connected",
            "a number that is none",
        ),
        (
            "A h:1@2 myself,master - 0 0 0 connected 16384",
            "a slot that there is not",
        ),
        (
            "A h:1@2 myself,master - 0 0 0 connected 0-16384",
            "a slot that there is not",
        ),
        (
            "A h:1@2 myself,master - 0 0 0 connected -5",
            "a number that is none",
        ),
        (
            "A h:1@2 myself,master - 0 0 0 connected x",
            "a number that is none",
        ),
        (
            "A h:1@2 myself,master - 0 0 0 connected [3->-B",
            "moved nowhere",
        ),
        (
            "A h:1@2 myself,master - 0 0 0 connected [3]",
            "moved nowhere",
        ),
        (
            "A h:1@2 myself,master - 0 0 0 connected [3-=-B]",
            "moved nowhere",
        ),
        (
            "A h:1@2 myself,master - 0 0 0 connected [3->-b]",
            "a node id is none",
        ),
        (
            "A h:1@2 myself,master - 0 0 0 connected [16384->-B]",
            "a slot that there is not",
        ),
        (
            "A h:1@2,,nodename='a myself,master - 0 0 0 connected",
            "quotes",
        ),
        (
            "A h:1@2 myself,master - 0 0 0 connected\nB h:1@2 myself,master - 0 0 0 connected",
            "this one already",
        ),
        (
            "A h:1@2 myself,master - 0 0 0 connected\nA h:1@2 master - 0 0 0 connected",
            "has had a line",
        ),
    ] {
        let error = read(text).unwrap_err();
        let start = "Unrecoverable error: corrupted cluster config file \"";
        assert!(error.starts_with(start), "{error}");
        assert!(error.contains(why), "{text}: {error}");
    }
    let error = parse(b"\xff\x1b\n", false).unwrap_err();
    assert!(
        error.contains("file \"\\xff\\x1b\": it is not UTF-8"),
        "{error}"
    );
    let error = parse(&[b'x'; 1000], false).unwrap_err();
    assert!(error.len() < 400, "{error}");
}

#[test]
fn names_that_could_not_be_read_again_are_not_written() {
    for name in [
        "a b", "a,b", "a=b", "a\"b", "a'b", "a\\b", "a\nb", "a:b", "a\u{a0}b", "[",
    ] {
        let mut saved = of_redis_8();
        saved.nodes[0].human_name = name.to_owned();
        saved.nodes[1].hostname = name.to_owned();
        let mut expected = of_redis_8();
        expected.nodes[0].human_name = String::new();
        assert_eq!(parse(&print(&saved), false), Ok(expected), "{name:?}");
    }
}

#[test]
fn what_is_in_its_handshake_is_not_written() {
    let mut saved = of_redis_8();
    saved.nodes.push(SavedNode {
        flags: node_flags::HANDSHAKE,
        ..SavedNode::new(id_of('e'))
    });
    assert_eq!(print(&saved), print(&of_redis_8()));
}

fn some_name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z0-9.-]{1,20}",
        "\\PC{1,20}".prop_filter("a name", |name| is_field(name)),
    ]
}

fn some_node() -> impl Strategy<Value = SavedNode> {
    let id = || "[0-9a-f]{40}".prop_map(|id| NodeId::parse(id.as_bytes()).unwrap());
    let ids = (id(), proptest::option::of(id()));
    let names = ("([0-9a-f.:]{1,45})?", some_name(), some_name());
    let numbers = (any::<u64>(), any::<[u16; 4]>());
    let times = (0..=i64::MAX, 0..=i64::MAX);
    (ids, names, numbers, times, any::<bool>()).prop_map(|(ids, names, numbers, times, is)| {
        // Neither this node nor one in its handshake; and a primary, for now.
        let kept = node_flags::PFAIL | node_flags::FAIL | node_flags::NOADDR;
        let (config_epoch, ports) = numbers;
        SavedNode {
            id: ids.0,
            shard: ids.1,
            flags: ports[3] & (kept | node_flags::NOFAILOVER) | node_flags::PRIMARY,
            config_epoch,
            slots: SlotSet::default(),
            primary: None,
            ip: names.0,
            hostname: names.1,
            human_name: names.2,
            tcp_port: ports[0],
            tls_port: ports[1],
            bus_port: ports[2],
            ping_sent_ms: times.0,
            pong_received_ms: times.1,
            is_connected: is,
        }
    })
}

fn some_saved() -> impl Strategy<Value = Saved> {
    let owned = vec(
        (0..SLOTS as u16, 1..300u16, any::<proptest::sample::Index>()),
        0..6,
    );
    let moved = vec(
        (
            0..SLOTS as u16,
            any::<proptest::sample::Index>(),
            any::<bool>(),
        ),
        0..4,
    );
    let replicas = any::<[proptest::sample::Index; 4]>();
    (
        vec(some_node(), 1..7),
        owned,
        moved,
        replicas,
        any::<[u64; 2]>(),
    )
        .prop_map(|(mut nodes, owned, moved, replicas, epochs)| {
            nodes.sort_by_key(|node| node.id);
            nodes.dedup_by_key(|node| node.id);
            for [replica, primary] in [[replicas[0], replicas[1]], [replicas[2], replicas[3]]] {
                let (replica, primary) = (replica.index(nodes.len()), primary.index(nodes.len()));
                let is_primary = nodes
                    .iter()
                    .any(|node| node.primary == Some(nodes[replica].id));
                if replica == primary || is_primary || nodes[primary].primary.is_some() {
                    continue;
                }
                nodes[replica].flags ^= node_flags::PRIMARY | node_flags::REPLICA;
                nodes[replica].primary = Some(nodes[primary].id);
                nodes[replica].flags |= node_flags::REPLICA;
                nodes[replica].flags &= !node_flags::PRIMARY;
                nodes[replica].config_epoch = 0;
                nodes[replica].shard = nodes[primary].shard;
            }
            let mut taken = SlotSet::default();
            for (first, len, node) in owned {
                let node = node.index(nodes.len());
                for slot in first..(first + len).min(SLOTS as u16) {
                    if taken.insert(slot) {
                        nodes[node].slots.insert(slot);
                    }
                }
            }
            let me = replicas[0].index(nodes.len());
            nodes[me].flags |= node_flags::MYSELF;
            nodes[me].is_connected = true;
            let moved = moved.into_iter().map(|(slot, peer, is_import)| Migration {
                slot,
                peer: nodes[peer.index(nodes.len())].id,
                is_import,
            });
            let mut migrations: Vec<_> = moved.collect();
            migrations.sort_by_key(|migration| migration.slot);
            migrations.dedup_by_key(|migration| migration.slot);
            let highest = nodes.iter().map(|node| node.config_epoch).max();
            Saved {
                nodes,
                migrations,
                current_epoch: epochs[0].max(highest.unwrap()),
                last_vote_epoch: epochs[1],
            }
        })
}

/// Reads what may be anything. What is read can be written, and is the same when it is read again.
fn survive(text: &[u8]) -> bool {
    let read = parse(text, false);
    assert!(!matches!(parse(text, true), Err(why) if why.is_empty()));
    let Ok(mut saved) = read else { return false };
    let flags = |node: &SavedNode| node.flags & node_flags::HANDSHAKE != 0;
    let primaries = saved.nodes.iter().filter_map(|node| node.primary);
    let primaries: Vec<NodeId> = primaries.collect();
    // One in its handshake is not written, and the shard of who replicates a replica is not kept.
    let of_primary = |node: &SavedNode| node.primary.is_some() && primaries.contains(&node.id);
    if saved
        .nodes
        .iter()
        .any(|node| flags(node) || of_primary(node))
    {
        return true;
    }
    let printed = print(&saved);
    for node in &mut saved.nodes {
        for name in [&mut node.hostname, &mut node.human_name] {
            if !is_field(name) {
                name.clear();
            }
        }
    }
    saved.migrations.dedup_by_key(|migration| migration.slot);
    assert_eq!(parse(&printed, false), Ok(saved));
    true
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(saved in some_saved(), tls_cluster: bool) {
        prop_assert_eq!(parse(&print(&saved), tls_cluster), Ok(saved));
    }

    #[test]
    fn files_that_were_changed_do_no_harm(
        saved in some_saved(),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>(), 0..4u8), 20),
    ) {
        let whole = print(&saved);
        for changes in changes.chunks(2) {
            let mut text = whole.clone();
            for (at, byte, how) in changes {
                let at = at.index(text.len());
                match how {
                    0 => text[at] = *byte,
                    1 => text[at] = b" ,:@-=[]<>0\n19a?"[usize::from(byte % 16)],
                    2 => { text.remove(at); }
                    _ => text.insert(at, *byte),
                }
            }
            survive(&text);
            let cut = changes[0].0.index(text.len());
            survive(&text[..cut]);
        }
    }

    #[test]
    fn lines_of_words_do_no_harm(
        lines in vec(vec(0..16usize, 0..12), 0..5),
    ) {
        let words = [
            "A", "B", "C", "h:1@2", "h:1@2,x,shard-id=S", "myself,master", "slave", "-", "0", "7",
            "3-5", "[3->-B]", "[4-<-C]", "vars", "currentEpoch", "connected",
        ];
        let mut text = "A h:1@2 myself,master - 0 0 5 connected 2-3\n".to_owned();
        for line in lines {
            let line: Vec<_> = line.into_iter().map(|word| words[word]).collect();
            text.push_str(&line.join(" "));
            text.push('\n');
        }
        survive(spelled(&text).as_bytes());
    }
}
