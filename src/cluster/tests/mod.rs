//! Whole clusters, in the world of `world`, on many seeds.

mod commands;
mod failover;
mod messages;
mod world;

use super::*;
use world::*;

/// Runs a test on so many seeds, and says on which one it fails.
pub fn on_seeds(seeds: u64, test: impl Fn(u64)) {
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

/// All kinds of misfortune, and then none: votes and owners are watched by the world all the time.
#[test]
fn after_any_misfortune_all_agree_again() {
    on_seeds(40, |seed| {
        let mut world = World::formed(3, 3 + seed as usize % 3, seed);
        let mut rng = Rng::new(seed);
        let hosts = world.hosts.len();
        for _ in 0..rng.below(12) {
            let (a, b) = (rng.index(hosts), rng.index(hosts));
            match rng.below(8) {
                0 => world.cut_off(&[a]),
                1 => world.cut_off(&[a, b]),
                2 | 3 => world.cut.clear(),
                4 if world.up().len() + 2 > hosts && world.is_up(a) => {
                    world.kill(a, rng.below(2) == 0)
                }
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
fn of_two_that_claim_a_slot_under_one_epoch_the_lower_id_gets_it() {
    on_seeds(20, |seed| {
        let mut world = World::new(2, seed);
        world.is_by_hand = true;
        for host in 0..2 {
            world.with(host, |cluster, _| {
                cluster.set_config_epoch(3).unwrap();
                cluster.add_slots(&[5, 6 + host as u16]).unwrap();
            });
        }
        world.meet(0, 1);
        world.until("one gets it", 10_000, |world| {
            world.owner(5).is_some() && world.view(0) == world.view(1)
        });
        let lower = usize::from(world.id(1) < world.id(0));
        assert_eq!(world.owner(5), Some(lower));
        assert_eq!(
            world.hosts[1 - lower]
                .dropped
                .iter()
                .copied()
                .collect::<Vec<u16>>(),
            [5]
        );
    });
}
