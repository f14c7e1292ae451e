//! What commands change, as all nodes see it after a while.

use super::*;

#[test]
fn a_node_that_is_forgotten_by_one_is_forgotten_by_all() {
    let mut world = World::formed(3, 3, 7);
    let id = world.id(5);
    world.kill(5, false);
    world
        .with(0, |cluster, facts| cluster.forget(&id.0, facts))
        .unwrap();
    // Again it is no error.
    world
        .with(0, |cluster, facts| cluster.forget(&id.0, facts))
        .unwrap();
    world.until("all forget it", 10_000, |world| {
        world
            .up()
            .iter()
            .all(|host| world.node(*host).find(&id.0).is_none())
    });
    world.run(20_000);
    assert!(
        world
            .up()
            .iter()
            .all(|host| world.node(*host).find(&id.0).is_none())
    );
    let me = world.id(0);
    let mut refusal = |id: &[u8], host: usize| {
        world
            .with(host, |cluster, facts| cluster.forget(id, facts))
            .unwrap_err()
    };
    assert_eq!(
        refusal(&me.0, 0),
        "ERR I tried hard but I can't forget myself..."
    );
    assert_eq!(refusal(&me.0, 3), "ERR Can't forget my master!");
    assert_eq!(refusal(b"x", 3), "ERR Unknown node x");
    // After a minute it may come back.
    world.run(60_000);
    world.start(5);
    world.meet(0, 5);
    world.until("it is back", 20_000, |world| {
        let node = world.node(1);
        let back = node.find(&id.0).and_then(|key| node.node(key));
        back.is_some_and(Node::is_replica)
    });
}

#[test]
fn a_slot_moves_and_the_old_owner_believes_it() {
    let mut world = World::formed(3, 3, 8);
    let (from, to) = (world.id(0), world.id(1));
    world
        .with(1, |cluster, _| cluster.set_slot_importing(7, &from.0))
        .unwrap();
    world
        .with(0, |cluster, _| cluster.set_slot_migrating(7, &to.0))
        .unwrap();
    let text = world.node(0).nodes_text(0, false);
    assert!(text.contains(&format!(" [7->-{to}]\n")), "{text}");
    let refused = world.with(0, |cluster, facts| {
        cluster.set_slot_node(7, &to.0, 1, facts)
    });
    assert!(
        refused
            .unwrap_err()
            .contains("while I still hold keys for this hash slot.")
    );
    let before = world.node(1).myself().config_epoch;
    world
        .with(1, |cluster, facts| {
            cluster.set_slot_node(7, &to.0, 5, facts)
        })
        .unwrap();
    assert!(world.node(1).myself().config_epoch > before);
    world.until("all agree", 5_000, |world| {
        world.owner(7) == Some(1) && world.all_agree()
    });
    // Keys that are still there are not the old owner's any longer, though it is left with other slots.
    assert_eq!(
        world.hosts[0].dropped.iter().copied().collect::<Vec<u16>>(),
        [7]
    );
    assert!(world.hosts[3].ended_channels.contains(7));
    world
        .with(0, |cluster, _| cluster.set_slot_stable(7))
        .unwrap();
    assert!(world.node(0).migrating_to(7).is_none());
    assert!(world.node(1).importing_from(7).is_none());
}

#[test]
fn a_primary_that_gives_its_last_slot_becomes_a_replica() {
    let mut world = World::new(2, 9);
    world.with(0, |cluster, _| cluster.add_slots(&[5])).unwrap();
    world.with(1, |cluster, _| cluster.add_slots(&[6])).unwrap();
    world.meet(0, 1);
    world.until("they meet", 5_000, |world| world.view(0) == world.view(1));
    world.run(3_000);
    let to = world.id(1);
    world
        .with(1, |cluster, _| {
            cluster.set_slot_importing(5, &world_id(cluster, false))
        })
        .unwrap();
    world
        .with(1, |cluster, facts| {
            cluster.set_slot_node(5, &to.0, 0, facts)
        })
        .unwrap();
    world.until("it follows", 5_000, |world| {
        world.node(0).myself().is_replica()
    });
    assert_eq!(world.hosts[0].follows.map(|(host, _)| host), Some(1));
    world.until("both know", 5_000, |world| world.view(0) == world.view(1));
}

/// The id of this node, or of the other one.
fn world_id(cluster: &Cluster, is_mine: bool) -> [u8; 40] {
    let mut nodes = cluster
        .nodes()
        .filter(|(_, node)| node.is_myself() == is_mine);
    nodes.next().unwrap().1.id.0
}

#[test]
fn a_reset_forgets_all() {
    let mut world = World::formed(3, 3, 12);
    let (old, shard) = (world.id(3), world.node(3).myself().shard);
    world
        .with(3, |cluster, facts| cluster.reset(false, facts))
        .unwrap();
    assert_eq!((world.id(3), world.hosts[3].flushes), (old, 1));
    assert_eq!(world.hosts[3].led.len(), 1);
    assert!(world.hosts[3].is_empty);
    // It is known to others, who ping it; it knows nobody.
    world.run(5_000);
    assert_eq!(world.node(3).nodes().count(), 1);
    assert!(world.node(3).myself().is_primary());
    let refused = world.with(0, |cluster, facts| cluster.reset(true, facts));
    let text = "ERR CLUSTER RESET can't be called with master nodes containing keys";
    assert_eq!(refused, Err(text.to_owned()));
    world
        .with(4, |cluster, facts| cluster.reset(true, facts))
        .unwrap();
    assert_ne!(world.node(4).myself().shard, shard);
    assert_eq!(
        (
            world.node(4).current_epoch(),
            world.node(4).myself().config_epoch
        ),
        (0, 0)
    );
    // Its old id does not answer any longer.
    world.until("the old one fails", 10_000, |world| {
        world.node(0).nodes_text(0, false).contains("noaddr")
    });
}

#[test]
fn a_node_that_meets_itself_stays_as_it_is() {
    let mut world = World::new(1, 13);
    world.meet(0, 0);
    world.until("the handshake ends", 5_000, |world| {
        world.node(0).nodes().count() == 1
    });
    assert_eq!(world.node(0).myself().ip, "10.0.0.1");
    // And a handshake with nobody ends, too.
    world
        .with(0, |cluster, facts| cluster.meet("10.9.9.9", 1, 2, facts))
        .unwrap();
    assert!(
        world
            .node(0)
            .nodes_text(0, false)
            .contains(" 10.9.9.9:1@2 handshake - ")
    );
    world.until("it is given up", 5_000, |world| {
        world.node(0).nodes().count() == 1
    });
    for (ip, port, bus_port) in [("localhost", 1, 1), ("10.0.0.1", 0, 1), ("10.0.0.1", 1, 0)] {
        let refused = world.with(0, |cluster, facts| cluster.meet(ip, port, bus_port, facts));
        let text = format!("ERR Invalid node address specified: {ip}:{port}");
        assert_eq!(refused, Err(text));
    }
}

#[test]
fn the_refusals_of_commands_are_those_of_redis() {
    let mut world = World::formed(2, 1, 14);
    let (zero, one, two) = (world.id(0), world.id(1), world.id(2));
    let mut refusal = |host: usize, call: &dyn Fn(&mut Cluster, &Facts) -> Done| {
        world.with(host, call).unwrap_err()
    };
    let unknown = "0".repeat(40);
    let unknown = unknown.as_bytes();
    assert_eq!(
        refusal(0, &|c, _| c.add_slots(&[0])),
        "ERR Slot 0 is already busy"
    );
    assert_eq!(
        refusal(0, &|c, _| c.del_slots(&[0, 0])),
        "ERR Slot 0 specified multiple times"
    );
    assert_eq!(
        refusal(2, &|c, _| c.set_slot_stable(1)),
        "ERR Please use SETSLOT only with masters."
    );
    assert_eq!(
        refusal(0, &|c, _| c.set_slot_migrating(16_000, &one.0)),
        "ERR I'm not the owner of hash slot 16000"
    );
    assert_eq!(
        refusal(0, &|c, _| c.set_slot_migrating(1, unknown)),
        format!("ERR I don't know about node {}", "0".repeat(40))
    );
    assert_eq!(
        refusal(0, &|c, _| c.set_slot_migrating(1, &two.0)),
        "ERR Target node is not a master"
    );
    assert_eq!(
        refusal(0, &|c, _| c.set_slot_importing(1, &one.0)),
        "ERR I'm already the owner of hash slot 1"
    );
    assert_eq!(
        refusal(0, &|c, f| c.set_slot_node(1, b"q", 0, f)),
        "ERR Unknown node q"
    );
    assert_eq!(
        refusal(0, &|c, _| c.set_config_epoch(9)),
        "ERR The user can assign a config epoch only when the node does not know any other node."
    );
    assert_eq!(
        refusal(0, &|c, f| c.replicate(&zero.0, f)),
        "ERR Can't replicate myself"
    );
    assert_eq!(
        refusal(0, &|c, f| c.replicate(&two.0, f)),
        "ERR I can only replicate a master, not a replica."
    );
    assert_eq!(
        refusal(0, &|c, f| c.replicate(&one.0, f)),
        "ERR To set a master the node must be empty and without assigned slots."
    );
    assert_eq!(
        refusal(0, &|c, f| c.flush_slots(f)),
        "ERR DB must be empty to perform CLUSTER FLUSHSLOTS."
    );
    let bumped = |cluster: &mut Cluster, _: &Facts| cluster.bump_epoch();
    let first = world.with(0, bumped).unwrap();
    assert_eq!(first, (true, world.node(0).current_epoch()));
    assert_eq!(world.with(0, bumped).unwrap(), (false, first.1));
}

#[test]
fn data_without_a_slot_are_given_one_at_the_start() {
    let mut world = World::formed(2, 1, 15);
    world.with(0, |cluster, _| cluster.del_slots(&[3])).unwrap();
    let theirs = World::slot_of(1, 2);
    world.with(0, |cluster, _| cluster.check_data(&[0, 3, theirs]));
    let node = world.node(0);
    assert_eq!(node.owner(3), Some(node.my_key()));
    assert_eq!(node.importing_from(theirs), node.find(&world.id(1).0));
    // What is importing is kept in nodes.conf.
    world.kill(0, true);
    world.start(0);
    assert_eq!(
        world.node(0).importing_from(theirs),
        world.node(0).find(&world.id(1).0)
    );
}
