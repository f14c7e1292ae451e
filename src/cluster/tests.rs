//! Whole clusters, in the world of `world`, on many seeds.

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
