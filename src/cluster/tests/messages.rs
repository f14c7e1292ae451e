//! Messages between clients of different nodes, names, and messages that no node should send.

use super::message::{Body, Extension, Gossip, Header, Message, PingKind};
use super::*;

/// What a peer may send that is out of its mind: nothing panics, and the tables stay sound.
#[test]
fn no_message_can_break_a_node() {
    on_seeds(12, |seed| {
        let mut world = World::formed(2, 1, seed % 4);
        let mut rng = Rng::new(seed);
        world.writes = false;
        let ids: Vec<NodeId> = (0..3).map(|host| world.id(host)).collect();
        let mut links = Vec::new();
        for turn in 0..500 {
            if links.is_empty() || rng.below(20) == 0 {
                links.push(world.with(0, |cluster, facts| cluster.accepted(facts)));
            }
            // Its own connections as well.
            let own: Vec<LinkId> = world.node(0).links().map(|info| info.link).collect();
            let link = match own.get(rng.index(own.len() * 2)) {
                Some(link) if rng.below(2) == 0 => *link,
                _ => links[rng.index(links.len())],
            };
            let message = any_message(&mut rng, &ids);
            let keeps = world.with(0, |cluster, facts| {
                let kept = cluster.received(link, "10.0.0.9", "10.0.0.1", message, facts);
                if turn % 8 == 0 {
                    cluster.check_invariants();
                }
                kept
            });
            if !keeps {
                links.retain(|of| *of != link);
            }
            if rng.below(30) == 0 {
                world.run(rng.below(500) as i64);
                if rng.below(5) == 0 {
                    let text = world.node(0).config_text();
                    let facts = world.facts(0);
                    let again = Cluster::restore(&text, settings(), 1, &facts).unwrap();
                    again.check_invariants();
                    assert_eq!(again.myself().id, world.id(0));
                    assert!(again.current_epoch() >= world.node(0).current_epoch());
                }
            }
        }
    });
}

fn any_message(rng: &mut Rng, ids: &[NodeId]) -> Message {
    let id = |rng: &mut Rng| match rng.below(8) {
        0 => NodeId([b"abc"[rng.index(3)]; 40]),
        1 => NodeId([0; 40]),
        _ => ids[rng.index(ids.len())],
    };
    let slots = |rng: &mut Rng| {
        let mut slots = SlotSet::default();
        for _ in 0..rng.below(4) {
            let first = rng.below(SLOTS as u64) as u16;
            for slot in first..first.saturating_add(3000).min(SLOTS as u16) {
                slots.insert(slot);
            }
        }
        slots
    };
    let epoch = |rng: &mut Rng| match rng.below(20) {
        0 => u64::MAX - rng.below(2),
        _ => rng.below(10),
    };
    let address = |rng: &mut Rng| ["", "10.0.0.2", "a b,c", "10.0.0.66"][rng.index(4)].to_owned();
    let flags = |rng: &mut Rng| rng.next_u64() as u16 & if rng.below(2) == 0 { 0x7ff } else { 0xf };
    let header = Header {
        port: rng.below(3) as u16,
        secondary_port: 0,
        bus_port: rng.below(3) as u16,
        current_epoch: epoch(rng),
        config_epoch: epoch(rng),
        offset: rng.next_u64() as i64,
        sender: id(rng),
        slots: slots(rng),
        replica_of: (rng.below(2) == 0).then(|| id(rng)),
        ip: address(rng),
        flags: flags(rng),
        is_ok: rng.below(2) == 0,
        is_paused: rng.below(2) == 0,
        force_ack: rng.below(2) == 0,
    };
    let gossip = |rng: &mut Rng| Gossip {
        id: id(rng),
        ping_sent_s: rng.next_u64() as u32,
        pong_received_s: rng.next_u64() as u32,
        ip: address(rng),
        port: rng.below(3) as u16,
        secondary_port: 0,
        bus_port: rng.below(3) as u16,
        flags: flags(rng),
    };
    let body = match rng.below(12) {
        0 => Body::Fail(id(rng)),
        1 => Body::AuthRequest,
        2 => Body::AuthAck,
        3 => Body::ManualFailover,
        4 => Body::Module,
        5 => Body::Update {
            config_epoch: epoch(rng),
            id: id(rng),
            slots: slots(rng),
        },
        _ => Body::Ping {
            kind: [PingKind::Ping, PingKind::Pong, PingKind::Meet][rng.index(3)],
            gossip: (0..rng.below(4)).map(|_| gossip(rng)).collect(),
            extensions: vec![
                Extension::Shard(id(rng)),
                Extension::Forgotten(id(rng), rng.next_u64() >> rng.below(64)),
                Extension::Hostname("h".repeat(rng.index(300))),
            ],
        },
    };
    Message {
        header: (rng.below(20) != 0).then_some(header),
        body,
    }
}

#[test]
fn messages_reach_all_nodes_or_the_shard() {
    let mut world = World::formed(3, 3, 10);
    world.with(0, |cluster, _| cluster.publish(false, b"all", b"x"));
    world.with(3, |cluster, _| cluster.publish(true, b"shard", b"x"));
    world.run(200);
    for host in 0..6 {
        let mut expected = Vec::new();
        if host != 0 {
            expected.push((false, b"all".to_vec()));
        }
        if host == 0 {
            expected.push((true, b"shard".to_vec()));
        }
        assert_eq!(world.hosts[host].published, expected, "{host}");
    }
    let (sent, received) = world.node(0).message_counts();
    assert_eq!((sent[4], received[10]), (5, 1));
    assert!(
        world
            .node(0)
            .info_text(3)
            .ends_with("total_cluster_links_buffer_limit_exceeded:3\r\n")
    );
    assert!(
        world
            .node(0)
            .info_text(0)
            .contains("cluster_stats_messages_publish_sent:5\r\n")
    );
}

#[test]
fn names_are_told() {
    let mut world = World::formed(3, 1, 11);
    world.configure(1, |settings| {
        settings.announce_hostname = "one.example".to_owned();
        settings.announce_human_name = "one".to_owned();
    });
    world.until("all know them", 5_000, |world| {
        let knows = |host: usize| {
            let node = world.seen(host, 1);
            node.hostname == "one.example" && node.human_name == "one"
        };
        [0, 2, 3].into_iter().all(knows)
    });
    let line = world
        .node(0)
        .node_line(world.node(0).find(&world.id(1).0).unwrap(), false);
    assert!(
        line.contains(" 10.0.0.2:6379@16379,one.example master - "),
        "{line}"
    );
    world.configure(1, |settings| settings.announce_hostname.clear());
    world.until("and that they are gone", 5_000, |world| {
        world.seen(0, 1).hostname.is_empty()
    });
    // Shards are told, too.
    for host in [0, 1, 2] {
        let shard = world.node(3).myself().shard;
        assert_eq!(
            (world.seen(host, 3).shard, world.seen(host, 0).shard),
            (shard, shard)
        );
    }
}
