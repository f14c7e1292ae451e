//! Replicas that take their primary's place, and those that go to another one.

use super::message::{Body, Header, Message};
use super::*;

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

/// Their replicas may well ask in the same epoch, and each of the others has one vote in it.
#[test]
fn two_primaries_that_fail_at_once_are_both_replaced() {
    on_seeds(30, |seed| {
        let mut world = World::formed(5, 4, seed);
        world.delay_ms = (1, 300);
        world.kill(0, false);
        world.kill(1, seed % 2 == 0);
        world.until("both are replaced", 40_000, |world| {
            let owner = |host| world.owner(World::slot_of(host, 5));
            owner(0) == Some(5) && owner(1) == Some(6)
        });
    });
}

#[test]
fn a_manual_failover_loses_nothing() {
    on_seeds(20, |seed| {
        let mut world = World::formed(3, 3, seed);
        world.delay_ms = [(1, 20), (1, 300)][seed as usize % 2];
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

/// A node that had won an election, and was replaced, took the next primary's place with the votes of the first one.
#[test]
fn votes_are_not_counted_twice() {
    on_seeds(10, |seed| {
        let mut world = World::formed(3, 3, seed);
        for host in [3, 0] {
            world
                .with(host, |cluster, facts| {
                    cluster.failover(Failover::Normal, facts)
                })
                .unwrap();
            world.until("it takes the place", 3_000, |world| {
                world.node(host).myself().is_primary() && world.all_agree()
            });
        }
        let (epoch, votes) = (world.node(3).current_epoch(), world.votes.len());
        world
            .with(3, |cluster, facts| cluster.failover(Failover::Force, facts))
            .unwrap();
        world.run(1_000);
        // The others do not vote about the same primary so soon.
        assert_eq!(world.votes.len(), votes);
        assert!(world.node(3).current_epoch() > epoch);
        assert_eq!(world.owner(0), Some(0));
        world.run(10_000);
        world
            .with(3, |cluster, facts| cluster.failover(Failover::Force, facts))
            .unwrap();
        world.until("later they do", 3_000, |world| world.owner(0) == Some(3));
    });
}

#[test]
fn whom_less_than_half_cannot_reach_has_not_failed() {
    on_seeds(5, |seed| {
        let mut world = World::formed(5, 1, seed);
        world.cut.extend([(0, 1), (0, 2)]);
        for _ in 0..200 {
            world.run(100);
            for host in 0..6 {
                let node = world.node(host);
                assert!(node.nodes().all(|(_, node)| !node.has(node_flags::FAIL)));
                assert!(node.is_ok());
            }
        }
        assert!(world.seen(0, 1).has(node_flags::PFAIL));
        assert!(world.seen(1, 0).has(node_flags::PFAIL));
        let facts = world.facts(3);
        let id = world.id(0);
        let reports = world.with(3, |cluster, _| cluster.failure_reports(&id.0, &facts));
        assert_eq!(reports, Ok(2));
        // With a third one they are a majority.
        world.cut.insert((0, 3));
        world.until("it has failed", 10_000, |world| {
            world.seen(4, 0).has(node_flags::FAIL)
        });
        world.cut.clear();
        world.until("all agree", 30_000, |world| world.all_agree());
    });
}

#[test]
fn the_other_replicas_follow_the_new_primary() {
    on_seeds(20, |seed| {
        let mut world = World::formed(3, 6, seed);
        world.delay_ms = (1, 300);
        world
            .with(3, |cluster, facts| cluster.failover(Failover::Force, facts))
            .unwrap();
        world.until("they follow", 10_000, |world| {
            let follows = |host: usize| world.hosts[host].follows.map(|(of, _)| of) == Some(3);
            follows(0) && follows(6) && world.all_agree()
        });
    });
}

/// A and B are primary and replica. A is cut off, B takes its place, B fails, A is back: of the others it must learn that its
/// slots are B's.
#[test]
fn who_comes_back_late_is_told_by_others() {
    on_seeds(10, |seed| {
        let mut world = World::formed(3, 3, seed);
        world.cut_off(&[0]);
        world.until("its replica takes its place", 15_000, |world| {
            world.node(1).owner(0) == world.node(1).find(&world.id(3).0)
        });
        let epoch = world.node(3).myself().config_epoch;
        world.kill(3, false);
        world.cut.clear();
        world.until("it is told", 10_000, |world| {
            world.node(0).myself().is_replica()
        });
        // And takes the place in its turn.
        world.until("it is elected", 20_000, |world| world.owner(0) == Some(0));
        assert!(world.node(0).myself().config_epoch > epoch);
    });
}

#[test]
fn who_claims_more_than_is_its_own_gets_no_vote() {
    let mut world = World::formed(3, 3, 1);
    let mut header = world.node(3).header();
    header.force_ack = true;
    header.current_epoch += 1;
    let mut ask = |header: &Header| {
        let link = world.seen(1, 3).inbound.unwrap();
        let message = Message {
            header: Some(header.clone()),
            body: Body::AuthRequest,
        };
        world.with(1, |cluster, facts| {
            cluster.received(link, "10.0.0.4", "10.0.0.2", message, facts)
        });
        world.votes.len()
    };
    let mut more = header.clone();
    more.slots.insert(World::slot_of(2, 3));
    assert_eq!(ask(&more), 0);
    let mut old = header.clone();
    old.current_epoch -= 1;
    assert_eq!(ask(&old), 0);
    let mut unforced = header.clone();
    unforced.force_ack = false;
    assert_eq!(ask(&unforced), 0);
    assert_eq!(ask(&header), 1);
    // Once.
    assert_eq!(ask(&header), 1);
}

/// A primary took a new epoch and died before its replica knew of it. All refused to vote for it, again and again.
#[test]
fn a_replica_that_has_missed_an_epoch_is_told() {
    on_seeds(5, |seed| {
        let mut world = World::formed(3, 3, seed);
        // So that there is a higher one.
        world.with(2, |cluster, _| cluster.bump_epoch()).unwrap();
        world.run(3_000);
        world.cut.insert((1, 4));
        let bumped = world.with(1, |cluster, _| cluster.bump_epoch());
        assert!(bumped.unwrap().0);
        let epoch = world.node(1).myself().config_epoch;
        world.until("the others know", 5_000, |world| {
            let knows = |host: usize| world.seen(host, 1).config_epoch == epoch;
            knows(0) && knows(2)
        });
        assert!(world.seen(4, 1).config_epoch < epoch);
        world.kill(1, false);
        world.cut.clear();
        world.until("it takes the place", 30_000, |world| {
            world.owner(World::slot_of(1, 3)) == Some(4)
        });
        assert!(world.node(4).myself().config_epoch > epoch);
    });
}
