//! Whole clusters, in the world of `world`, on many seeds.

use super::message::{Body, Extension, Gossip, Header, Message, PingKind};
use super::world::*;
use super::*;

/// Runs a test on so many seeds, and says on which one it fails.
fn on_seeds(seeds: u64, test: impl Fn(u64)) {
    for seed in 0..seeds {
        let run = std::panic::AssertUnwindSafe(|| test(seed));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("on seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn six_nodes_meet_and_agree() {
    on_seeds(20, |seed| {
        let world = World::formed(3, 3, seed);
        for host in 0..6 {
            let node = world.node(host);
            assert_eq!((node.size(), node.nodes().count()), (3, 6));
            assert_eq!(node.my_primary().is_some(), host >= 3);
        }
    });
}

#[test]
fn a_primary_that_is_cut_off_is_replaced_and_comes_back_as_a_replica() {
    on_seeds(20, |seed| {
        let mut world = World::formed(3, 3, seed);
        world.cut_off(&[0]);
        world.until("its replica takes its place", 15_000, |world| {
            world.node(3).myself().is_primary() && world.node(3).is_ok()
        });
        world.until("it stops by itself", 5_000, |world| !world.node(0).is_ok());
        let slots = world.node(3).myself().slots.clone();
        assert!(slots.contains(0) && slots.contains(1000));
        world.cut.clear();
        world.until("it follows", 20_000, |world| world.all_agree());
        let old = world.node(0);
        assert_eq!(old.my_primary(), old.find(&world.id(3).0));
        assert_eq!(world.owner(0), Some(3));
        assert_eq!(world.hosts[0].follows.map(|(host, _)| host), Some(3));
        assert!(world.hosts[0].dropped.is_empty());
    });
}

#[test]
fn a_primary_that_is_killed_is_replaced_and_comes_back_as_a_replica() {
    on_seeds(20, |seed| {
        let mut world = World::formed(3, 3, seed);
        world.kill(1, seed % 2 == 0);
        world.until("its replica takes its place", 15_000, |world| {
            world.owner(World::slot_of(1, 3)) == Some(4)
        });
        world.start(1);
        world.until("it follows", 20_000, |world| world.all_agree());
        let old = world.node(1);
        assert_eq!(old.my_primary(), old.find(&world.id(4).0));
    });
}

#[test]
fn a_manual_failover_loses_nothing() {
    on_seeds(20, |seed| {
        let mut world = World::formed(3, 3, seed);
        world.run(500 + world.now % 300);
        world.with(3, |cluster, facts| {
            cluster.failover(Failover::Normal, facts).unwrap();
        });
        world.until("it takes the place", 5_000, |world| {
            world.node(3).myself().is_primary()
        });
        let (at, offset) = world.hosts[3].led[0];
        assert!(at > 0);
        // Nothing was written between the pause and the end of it.
        assert_eq!(world.hosts[0].offset, offset);
        world.until("all agree", 5_000, |world| world.all_agree());
        assert_eq!(world.owner(0), Some(3));
        assert!(world.node(0).myself().is_replica());
        assert!(!world.facts(0).is_paused);
    });
}

/// All kinds of misfortune, and then none: votes and owners are watched by the world all the time.
#[test]
fn after_any_misfortune_all_agree_again() {
    on_seeds(40, |seed| {
        let mut world = World::formed(3, 3, seed);
        let mut rng = Rng::new(seed);
        let hosts = world.hosts.len();
        for _ in 0..rng.below(12) {
            let (a, b) = (rng.index(hosts), rng.index(hosts));
            match rng.below(8) {
                0 => world.cut_off(&[a]),
                1 => world.cut_off(&[a, b]),
                2 | 3 => world.cut.clear(),
                4 if world.up().len() > 4 && world.is_up(a) => world.kill(a, rng.below(2) == 0),
                5 => {
                    for host in (0..hosts)
                        .filter(|host| rng.below(2) == 0 && !world.is_up(*host))
                        .collect::<Vec<_>>()
                    {
                        world.start(host);
                    }
                }
                6 if world.is_up(a) => {
                    let how = [Failover::Normal, Failover::Force][rng.index(2)];
                    // It may be refused.
                    let _ = world.with(a, |cluster, facts| cluster.failover(how, facts));
                }
                7 => world.delay_ms = [(1, 20), (1, 300), (50, 60)][rng.index(3)],
                _ => {}
            }
            world.run(rng.below(8_000) as i64);
        }
        world.cut.clear();
        world.delay_ms = (1, 20);
        for host in 0..hosts {
            if !world.is_up(host) {
                world.start(host);
            }
        }
        world.until("all agree", 60_000, |world| world.all_agree());
        // Of each shard one is a primary, and all follow it.
        let primaries = |host: &usize| world.node(*host).myself().is_primary();
        assert!((0..hosts).filter(primaries).count() >= 3);
        for host in 0..hosts {
            let follows = world.hosts[host].follows.map(|(of, _)| world.id(of));
            let node = world.node(host);
            let primary = node.my_primary().and_then(|key| node.node(key));
            assert_eq!(follows, primary.map(|node| node.id));
        }
    });
}

#[test]
fn a_jump_of_the_wall_clock_makes_nobody_fail() {
    on_seeds(5, |seed| {
        let mut world = World::formed(3, 3, seed);
        let failing = node_flags::PFAIL | node_flags::FAIL;
        for jump in [3_600_000, -7_200_000, 90_000_000] {
            world.hosts[1].skew_ms += jump;
            for _ in 0..100 {
                world.run(100);
                for host in 0..6 {
                    assert!(world.node(host).nodes().all(|(_, node)| !node.has(failing)));
                    assert!(world.node(host).is_ok());
                }
            }
        }
        // And a failure is found as soon as ever.
        world.kill(1, false);
        world.until("its replica takes its place", 10_000, |world| {
            world.owner(World::slot_of(1, 3)) == Some(4)
        });
    });
}

#[test]
fn nodes_that_start_with_the_same_epoch_end_with_different_ones() {
    on_seeds(10, |seed| {
        let mut world = World::new(5, seed);
        for host in 0..5 {
            world
                .with(host, |cluster, _| cluster.add_slots(&[host as u16]))
                .unwrap();
        }
        for host in 1..5 {
            world.meet(host - 1, host);
        }
        world.until("all epochs differ", 30_000, |world| {
            let epochs = (0..5).map(|host| world.node(host).myself().config_epoch);
            let mut epochs: Vec<u64> = epochs.collect();
            epochs.sort_unstable();
            epochs.dedup();
            epochs.len() == 5 && world.view(0) == world.view(4)
        });
        world.until("all know the highest", 5_000, |world| {
            let epochs = (0..5).map(|host| world.node(host).myself().config_epoch);
            let highest = epochs.max().unwrap();
            (0..5).all(|host| world.node(host).current_epoch() == highest)
        });
    });
}

#[test]
fn a_minority_stops_and_waits_before_it_goes_on() {
    let mut world = World::formed(3, 0, 1);
    world.cut_off(&[0]);
    world.until("both sides find it", 6_000, |world| {
        !world.node(0).is_ok() && world.seen(1, 0).has(node_flags::FAIL)
    });
    assert_eq!(world.node(0).why_down(), Down::Minority);
    // A slot is not covered.
    assert_eq!(world.node(1).why_down(), Down::Uncovered);
    assert!(
        world
            .node(0)
            .info_text(0)
            .starts_with("cluster_state:fail\r\n")
    );
    world.configure(1, |settings| settings.require_full_coverage = false);
    world.until("that need not be", 500, |world| world.node(1).is_ok());
    world.cut.clear();
    world.until("they reach each other", 5_000, |world| {
        world.node(0).why_down() == Down::Waiting
    });
    let back = world.now;
    world.until("it works", 10_000, |world| world.node(0).is_ok());
    assert!(world.now - back >= TIMEOUT_MS - 300, "{}", world.now - back);
    // FAIL is taken off a primary with slots only after a while.
    world.until("all agree", 10_000, |world| world.all_agree());
}

#[test]
fn a_start_waits_before_it_works() {
    let mut world = World::formed(3, 0, 2);
    world.kill(0, false);
    world.run(200);
    world.start(0);
    let at = world.now;
    world.until("it works", 10_000, |world| world.node(0).is_ok());
    assert!(world.now - at >= 2_000, "{}", world.now - at);
}

#[test]
fn nobody_takes_the_place_of_a_primary_with_old_data_or_without_leave() {
    let mut world = World::formed(3, 3, 3);
    world.configure(3, |settings| settings.replica_no_failover = true);
    world.run(3_000);
    assert!(world.seen(1, 3).has(node_flags::NOFAILOVER));
    assert!(
        world
            .node(1)
            .nodes_text(0, false)
            .contains("slave,nofailover")
    );
    world.kill(0, false);
    world.run(30_000);
    assert!(world.node(3).myself().is_replica());
    // By hand it may.
    let refused = world.with(3, |cluster, facts| {
        cluster.failover(Failover::Normal, facts)
    });
    let text = "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE";
    assert_eq!(refused, Err(text.to_owned()));
    world
        .with(3, |cluster, facts| cluster.failover(Failover::Force, facts))
        .unwrap();
    world.until("it does", 10_000, |world| world.owner(0) == Some(3));

    // The link was down for longer than ten node timeouts when the primary failed.
    let mut world = World::formed(3, 3, 4);
    world.hosts[3].follows = Some((3, 0));
    world.run(45_000);
    world.kill(0, false);
    world.run(20_000);
    assert!(world.node(3).myself().is_replica());
    world.configure(3, |settings| settings.replica_validity_factor = 0);
    world.until("old data are better than none", 20_000, |world| {
        world.owner(0) == Some(3)
    });
}

#[test]
fn the_replica_with_the_newest_data_is_the_next_primary() {
    on_seeds(20, |seed| {
        let mut world = World::formed(3, 6, seed);
        // One of the two falls behind.
        let (ahead, behind) = if seed % 2 == 0 { (3, 6) } else { (6, 3) };
        world.hosts[behind].follows = Some((behind, 0));
        world.run(3_000);
        assert!(world.hosts[ahead].offset > world.hosts[behind].offset);
        world.kill(0, false);
        world.until("there is one", 20_000, |world| {
            world.owner(0).is_some_and(|host| host != 0)
        });
        assert_eq!(world.owner(0), Some(ahead));
    });
}

#[test]
fn a_takeover_asks_nobody() {
    let mut world = World::formed(3, 3, 5);
    // Alone with its primary gone, there is no majority.
    world.cut_off(&[3]);
    world.run(4_000);
    world
        .with(3, |cluster, facts| {
            cluster.failover(Failover::Takeover, facts)
        })
        .unwrap();
    assert!(world.node(3).myself().is_primary());
    assert!(world.node(3).myself().slots.contains(0));
    world.cut.clear();
    world.until("the others follow", 20_000, |world| world.all_agree());
    assert_eq!(world.owner(0), Some(3));
    assert!(world.node(0).myself().is_replica());
}

#[test]
fn a_manual_failover_that_does_not_get_on_is_given_up() {
    let mut world = World::formed(3, 3, 6);
    world.hosts[3].follows = Some((3, 0));
    world.run(1_000);
    world
        .with(3, |cluster, facts| {
            cluster.failover(Failover::Normal, facts)
        })
        .unwrap();
    world.until("writes stop", 300, |world| world.facts(0).is_paused);
    world.run(4_500);
    assert!(world.facts(0).is_paused);
    world.run(700);
    assert!(!world.facts(0).is_paused);
    world.run(10_000);
    assert!(world.node(3).myself().is_replica() && world.node(0).is_ok());
    let refused = world.with(0, |cluster, facts| {
        cluster.failover(Failover::Normal, facts)
    });
    let text = "ERR You should send CLUSTER FAILOVER to a replica";
    assert_eq!(refused, Err(text.to_owned()));
}

#[test]
fn a_replica_too_many_migrates_to_a_primary_that_has_none() {
    on_seeds(10, |seed| {
        // Primary 0 has two replicas, 3 and 6.
        let mut world = World::formed(3, 4, seed);
        world.kill(4, false);
        world.run(4_000);
        assert!(world.node(3).my_primary() == world.node(3).find(&world.id(0).0));
        world.until("one migrates", 20_000, |world| {
            let of = world.id(1);
            let follows = |host: usize| {
                let node = world.node(host);
                node.my_primary() == node.find(&of.0)
            };
            follows(3) != follows(6)
        });
        let least = world.id(3).min(world.id(6));
        let moved = if world.id(3) == least { 3 } else { 6 };
        assert_eq!(world.hosts[moved].follows.map(|(host, _)| host), Some(1));
        // And the shard is that of the new primary.
        assert_eq!(
            world.node(moved).myself().shard,
            world.node(1).myself().shard
        );
        // There is none too many any longer.
        world.kill(5, false);
        world.run(20_000);
        assert!(world.node(2).replicas_of(world.node(2).my_key()).len() == 1);
    });
}

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
fn a_node_at_another_address_is_found() {
    on_seeds(10, |seed| {
        let mut world = World::formed(3, 3, seed);
        world.kill(0, false);
        world.run(500);
        world.hosts[0].address = "10.0.0.77".to_owned();
        world.start(0);
        world.until("all know it", 20_000, |world| {
            let knows = |host: usize| world.seen(host, 0).ip == "10.0.0.77";
            (1..6).all(knows) && world.all_agree()
        });
        if world.owner(0) == Some(0) {
            // Its replica replicates from there.
            assert_eq!(world.hosts[3].follows.map(|(host, _)| host), Some(0));
        }
    });
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
