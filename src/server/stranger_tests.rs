//! What strangers may do to a server: connect, try passwords, and leave answers unread. In a simulation, where they come
//! from other addresses than this machine's.

use super::{Server, simulated};
use crate::clients::hosts::FAILING_HOSTS;
use crate::event_loop::{SimulatedPeer, SimulatorHandle};
use std::net::IpAddr;
use std::time::Duration;

const WRONG: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
const REFUSED: &str = "-ERR too many wrong passwords from this address, try again later\r\n";
const FULL: &str = "-ERR max number of clients reached\r\n";

/// A server in a simulation, and the other side of it.
pub(super) struct World {
    pub(super) server: Server,
    pub(super) handle: SimulatorHandle,
}

impl World {
    pub(super) fn new(directives: &[&str]) -> World {
        let (server, handle) = simulated(directives);
        World { server, handle }
    }

    pub(super) fn turn(&mut self) {
        for _ in 0..20 {
            self.server.turn(Some(Duration::ZERO)).expect("a turn");
        }
    }

    pub(super) fn connect(&mut self, address: &str) -> SimulatedPeer {
        let address: IpAddr = address.parse().expect("an address");
        let peer = self.handle.connect_from(address, None);
        self.turn();
        peer
    }

    pub(super) fn send(&mut self, peer: SimulatedPeer, bytes: &str) {
        self.handle.send(peer, bytes.as_bytes());
        self.turn();
    }

    pub(super) fn take(&mut self, peer: SimulatedPeer) -> String {
        self.turn();
        String::from_utf8_lossy(&self.handle.take(peer, 1 << 20)).into_owned()
    }

    pub(super) fn ask(&mut self, peer: SimulatedPeer, bytes: &str) -> String {
        self.send(peer, bytes);
        self.take(peer)
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        self.handle.advance(duration);
        self.turn();
    }

    pub(super) fn close(&mut self, peer: SimulatedPeer) {
        self.handle.close(peer);
        self.turn();
    }

    pub(super) fn info(&mut self, field: &str) -> u64 {
        let peer = self.handle.connect();
        self.turn();
        let text = self.ask(peer, "AUTH right\r\nINFO everything\r\n");
        self.close(peer);
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let value = lines.find(|(name, _)| *name == field);
        let (_, value) = value.unwrap_or_else(|| panic!("{field} is in INFO: {text}"));
        value.parse().expect("a number")
    }
}

/// A server with a password whose hosts may try two wrong ones.
fn guarded() -> World {
    World::new(&[
        "--requirepass",
        "right",
        "--auth-failures-per-address",
        "2",
        "--auth-failure-delay",
        "1000",
    ])
}

#[test]
fn behind_wrong_passwords_the_next_one_waits_and_only_its_own_client() {
    let mut world = guarded();
    let guesser = world.connect("203.0.113.5");
    assert_eq!(
        world.ask(guesser, "AUTH a\r\nAUTH default b\r\n"),
        [WRONG, WRONG].concat()
    );
    // The right one waits too, or the missing delay would tell it. What comes behind it waits with it.
    assert_eq!(world.ask(guesser, "AUTH right\r\nECHO behind\r\n"), "");
    let other = world.connect("203.0.113.6");
    assert_eq!(
        world.ask(other, "AUTH right\r\nPING\r\n"),
        "+OK\r\n+PONG\r\n"
    );
    let local = world.handle.connect();
    world.turn();
    for _ in 0..20 {
        assert_eq!(
            world.ask(local, "AUTH x\r\n"),
            WRONG,
            "nobody waits on this machine"
        );
    }
    world.wait(Duration::from_millis(900));
    assert_eq!(world.take(guesser), "");
    world.wait(Duration::from_millis(101));
    assert_eq!(world.take(guesser), "+OK\r\n$6\r\nbehind\r\n");
    // A wrong one doubles the delay.
    assert_eq!(world.ask(guesser, "HELLO 3 AUTH default c\r\nPING\r\n"), "");
    world.wait(Duration::from_millis(1001));
    assert_eq!(world.take(guesser), [WRONG, "+PONG\r\n"].concat());
    assert_eq!(world.ask(guesser, "HELLO 2 AUTH default right\r\n"), "");
    world.wait(Duration::from_millis(1001));
    assert_eq!(world.take(guesser), "");
    world.wait(Duration::from_millis(1000));
    assert!(world.take(guesser).starts_with("*14\r\n$6\r\nserver\r\n"));
    assert_eq!(world.info("auth_delayed"), 3);
    assert_eq!(world.info("auth_failing_addresses"), 1);
    assert_eq!(world.info("acl_access_denied_auth"), 23);
    // Forgotten after a while.
    world.wait(Duration::from_secs(15 * 60 + 1));
    assert_eq!(world.ask(guesser, "AUTH d\r\n"), WRONG);
}

/// More connections were more guesses.
#[test]
fn connections_of_one_host_share_one_queue_of_passwords() {
    let mut world = guarded();
    let first = world.connect("2001:db8::1");
    assert_eq!(
        world.ask(first, "AUTH a\r\nAUTH b\r\n"),
        [WRONG, WRONG].concat()
    );
    // The same host by another address of its own.
    let peers: Vec<_> = (0..10)
        .map(|n| world.connect(&format!("2001:db8::{n}:2")))
        .collect();
    for peer in &peers {
        world.send(*peer, "AUTH c\r\n");
    }
    for peer in &peers[8..] {
        assert_eq!(world.take(*peer), REFUSED);
    }
    for peer in &peers[..8] {
        assert_eq!(world.take(*peer), "");
        world.wait(Duration::from_millis(1001));
        assert_eq!(world.take(*peer), WRONG);
    }
    assert_eq!(world.info("auth_refused_unseen"), 2);
    // Its neighbour is another host.
    let neighbour = world.connect("2001:db8:0:1::1");
    assert_eq!(world.ask(neighbour, "AUTH right\r\n"), "+OK\r\n");
}

#[test]
fn a_client_that_waits_for_its_turn_can_go_be_killed_and_not_be_woken() {
    let mut world = guarded();
    let guesser = world.connect("203.0.113.5");
    world.ask(guesser, "AUTH a\r\nAUTH b\r\n");
    let admin = world.handle.connect();
    world.turn();
    world.ask(admin, "AUTH right\r\n");
    for end in ["close", "finish", "reset", "kill"] {
        let peer = world.connect("203.0.113.5");
        world.send(peer, "AUTH right\r\n");
        assert_eq!(world.info("blocked_clients"), 1, "{end}");
        match end {
            "close" => world.handle.close(peer),
            "finish" => world.handle.finish(peer),
            "reset" => world.handle.reset(peer),
            _ => {
                assert_eq!(
                    world.ask(admin, "CLIENT KILL TYPE normal SKIPME yes\r\n"),
                    ":2\r\n"
                );
            }
        }
        world.turn();
        assert!(world.handle.is_closed(peer), "{end}");
        assert_eq!(world.info("blocked_clients"), 0, "{end}");
    }
    // Nothing of their turns is left behind: this test waited a minute here, which hid that all turns were taken.
    let peer = world.connect("203.0.113.5");
    let id = world.ask(admin, "CLIENT LIST\r\n");
    let line = id
        .lines()
        .find(|line| line.contains("addr=203.0.113.5"))
        .expect("its line");
    let id = line.split(['=', ' ']).nth(1).expect("its id").to_owned();
    world.send(peer, "AUTH right\r\nPING\r\n");
    let unblock = format!("CLIENT UNBLOCK {id}\r\nCLIENT UNBLOCK {id} ERROR\r\n");
    assert_eq!(world.ask(admin, &unblock), ":0\r\n:0\r\n");
    assert_eq!(world.take(peer), "");
    world.wait(Duration::from_millis(1001));
    assert_eq!(world.take(peer), "+OK\r\n+PONG\r\n");
}

/// Who connected, tried and left in a loop took all turns of its address, and the right password was refused for as long as
/// that went on.
#[test]
fn turns_of_those_who_left_are_given_back() {
    let mut world = guarded();
    let guesser = world.connect("203.0.113.5");
    world.ask(guesser, "AUTH a\r\nAUTH b\r\n");
    for _ in 0..50 {
        let peer = world.connect("203.0.113.5");
        world.send(peer, "AUTH right\r\n");
        world.close(peer);
    }
    let (first, second) = (world.connect("203.0.113.5"), world.connect("203.0.113.5"));
    world.send(first, "AUTH right\r\n");
    world.send(second, "AUTH right\r\n");
    assert_eq!(world.take(second), "");
    // The second moves up.
    world.close(first);
    world.wait(Duration::from_millis(1001));
    assert_eq!(world.take(second), "+OK\r\n");
    assert_eq!(world.info("auth_refused_unseen"), 0);
}

/// Connections that went on guessing left no place for another one.
#[test]
fn a_new_connection_finds_a_place_beside_those_that_go_on_guessing() {
    let mut world = guarded();
    let peers: Vec<_> = (0..8).map(|_| world.connect("203.0.113.5")).collect();
    for peer in &peers[..2] {
        world.send(*peer, "AUTH a\r\n");
    }
    for peer in &peers[2..] {
        world.send(*peer, "AUTH a\r\nAUTH b\r\nAUTH c\r\n");
    }
    world.wait(Duration::from_secs(15 * 60));
    for _ in 0..8 {
        world.wait(Duration::from_secs(30));
    }
    for peer in &peers {
        world.send(*peer, "AUTH d\r\n");
    }
    assert!(world.take(peers[7]).ends_with(REFUSED));
    assert_eq!(world.info("blocked_clients"), 7);
    let owner = world.connect("203.0.113.5");
    world.send(owner, "AUTH right\r\n");
    for _ in 0..8 {
        world.wait(Duration::from_secs(30));
    }
    assert_eq!(world.take(owner), "+OK\r\n");
}

/// Of commands that were refused, put off or unknown, passwords stayed in the buffer that is read into.
#[test]
fn passwords_are_wiped_whatever_comes_of_their_commands() {
    let mut world = World::new(&["--user", "weak", "on", "nopass", "~*", "+auth"]);
    let has_secret = |world: &World| {
        let read: &[u8] = &world.server.core.scratch;
        read.windows(7).any(|it| it == b"hunter2")
    };
    for line in [
        "ECHO hunter2",
        "AUTH hunter2",
        "AUTH a hunter2 more",
        "HELLO 4 AUTH default hunter2",
        "ACL SETUSER u <hunter2",
        "ACL SETUSER u >hunter2 +nosuch",
        "ACL DRYRUN default AUTH hunter2",
        "MIGRATE h x k 0 5 AUTH hunter2",
        "MIGRATE h x k AUTH hunter2",
        "CONFIG SET requirepass hunter2 more",
        "CONFIG NOSUCH hunter2",
        "AUHT hunter2",
    ] {
        let peer = world.handle.connect();
        world.turn();
        world.ask(peer, &format!("{line}\r\n"));
        assert_eq!(has_secret(&world), line.starts_with("ECHO"), "{line}");
        world.close(peer);
    }
    let weak = world.handle.connect();
    world.turn();
    let answer = world.ask(weak, "AUTH weak x\r\nACL SETUSER u >hunter2\r\n");
    assert!(answer.starts_with("+OK\r\n-NOPERM"), "{answer}");
    assert!(!has_secret(&world), "who may not");
    for line in [
        "BLPOP k 1\r\nAUTH hunter2\r\n",
        "MULTI\r\nAUTH hunter2\r\nEXEC\r\n",
    ] {
        let peer = world.handle.connect();
        world.turn();
        world.send(peer, line);
        assert!(!has_secret(&world), "{line}");
    }
    let paused = world.handle.connect();
    world.turn();
    world.send(paused, "CLIENT PAUSE 100000\r\nAUTH hunter2\r\n");
    assert!(!has_secret(&world), "while paused");
}

/// A transaction cannot wait; it was a way to try as many passwords as it had room for.
#[test]
fn a_transaction_tries_no_more_passwords_than_others() {
    let mut world = World::new(&[
        "--user",
        "default",
        "on",
        "nopass",
        "~*",
        "+@all",
        "--user",
        "boss",
        "on",
        ">right",
        "~*",
        "+@all",
        "--protected-mode",
        "no",
        "--auth-failures-per-address",
        "2",
        "--auth-failure-delay",
        "1000",
    ]);
    let peer = world.connect("203.0.113.5");
    let guesses = "AUTH boss x\r\n".repeat(5);
    let answer = world.ask(peer, &format!("MULTI\r\n{guesses}EXEC\r\n"));
    let queued = "+QUEUED\r\n".repeat(5);
    let expected = format!("+OK\r\n{queued}*5\r\n{WRONG}{WRONG}{REFUSED}{REFUSED}{REFUSED}");
    assert_eq!(answer, expected);
    world.wait(Duration::from_secs(1));
    let answer = world.ask(peer, &format!("MULTI\r\n{guesses}EXEC\r\n"));
    assert!(
        answer.ends_with(&[WRONG, REFUSED, REFUSED, REFUSED, REFUSED].concat()),
        "{answer}"
    );
    // RESET does not make a new client of it.
    assert_eq!(
        world.ask(peer, "RESET\r\nAUTH boss right\r\n"),
        "+RESET\r\n"
    );
    assert_eq!(
        world.ask(peer, "RESET\r\n"),
        "",
        "it waits with what it sent before"
    );
    world.wait(Duration::from_secs(4));
    assert_eq!(world.take(peer), "+OK\r\n+RESET\r\n");
}

/// The pages' password is the users'.
#[test]
fn passwords_tried_at_the_pages_count_as_well() {
    let directives = [
        "--http-port",
        "8379",
        "--auth-failures-per-address",
        "2",
        "--auth-failure-delay",
        "1000",
    ];
    let mut world = World::new(&[&["--requirepass", "right"], &directives[..]].concat());
    let address: IpAddr = "203.0.113.5".parse().expect("an address");
    let get = |world: &mut World, password: &str| {
        let peer = world.handle.connect_from(address, Some(8379));
        let answer = world.ask(
            peer,
            &format!(
                "GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {password}\r\n\r\n"
            ),
        );
        answer.get(9..12).unwrap_or_default().to_owned()
    };
    assert_eq!(get(&mut world, "right"), "200");
    assert_eq!(
        (get(&mut world, "a"), get(&mut world, "b")),
        ("401".into(), "401".into())
    );
    assert_eq!(get(&mut world, "right"), "429");
    let client = world.connect("203.0.113.5");
    assert_eq!(
        world.ask(client, "AUTH right\r\n"),
        "",
        "it waits here, too"
    );
    world.wait(Duration::from_millis(1001));
    assert_eq!(world.take(client), "+OK\r\n");
    assert_eq!(
        get(&mut world, "right"),
        "429",
        "behind the one that waited"
    );
    world.wait(Duration::from_millis(1001));
    assert_eq!(get(&mut world, "right"), "200");
    assert_eq!(world.info("acl_access_denied_auth"), 2);
}

#[test]
fn a_password_that_waited_is_shown_once() {
    let mut world = guarded();
    let guesser = world.connect("203.0.113.5");
    world.ask(guesser, "AUTH a\r\nAUTH b\r\n");
    let admin = world.handle.connect();
    world.turn();
    world.ask(admin, "AUTH right\r\nMONITOR\r\n");
    world.send(guesser, "AUTH right\r\n");
    assert_eq!(world.take(admin), "");
    world.wait(Duration::from_secs(2));
    let shown = world.take(admin);
    assert_eq!(
        shown.matches("\"AUTH\" \"(redacted)\"").count(),
        1,
        "{shown}"
    );
    assert_eq!(shown.lines().count(), 1, "{shown}");
}

#[test]
fn switching_the_limit_off_forgets_all() {
    let mut world = guarded();
    let guesser = world.connect("203.0.113.5");
    world.ask(guesser, "AUTH a\r\nAUTH b\r\n");
    let admin = world.handle.connect();
    world.turn();
    world.ask(admin, "AUTH right\r\n");
    assert_eq!(world.info("auth_failing_addresses"), 1);
    world.ask(admin, "CONFIG SET auth-failures-per-address 0\r\n");
    assert_eq!(world.info("auth_failing_addresses"), 0);
    assert_eq!(
        world.ask(guesser, "AUTH c\r\nAUTH right\r\n"),
        [WRONG, "+OK\r\n"].concat()
    );
    const { assert!(FAILING_HOSTS <= 4096, "memory for hosts is bounded") };
}

#[test]
fn connections_are_bounded_by_host() {
    let mut world = World::new(&["--protected-mode", "no", "--maxclients-per-address", "2"]);
    let one = world.connect("203.0.113.5");
    let two = world.connect("203.0.113.5");
    let three = world.connect("203.0.113.5");
    assert_eq!(
        world.take(three),
        "-ERR max number of clients of this address reached\r\n"
    );
    assert!(world.handle.is_closed(three));
    assert_eq!(world.ask(one, "PING\r\n"), "+PONG\r\n");
    let other = world.connect("203.0.113.6");
    assert_eq!(world.ask(other, "PING\r\n"), "+PONG\r\n");
    let locals: Vec<_> = (0..5).map(|_| world.connect("127.0.0.1")).collect();
    for local in locals {
        assert_eq!(world.ask(local, "PING\r\n"), "+PONG\r\n");
    }
    assert_eq!(world.info("rejected_connections_per_address"), 1);
    world.close(two);
    let four = world.connect("::ffff:203.0.113.5");
    assert_eq!(world.ask(four, "PING\r\n"), "+PONG\r\n");
}

#[test]
fn places_are_kept_for_priority_subnets() {
    let mut world = World::new(&[
        "--protected-mode",
        "no",
        "--maxclients",
        "6",
        "--maxclients-reserved",
        "3",
    ]);
    let admin = world.connect("10.0.0.1");
    // Without subnets nothing is kept.
    let more: Vec<_> = (0..5).map(|_| world.connect("203.0.113.5")).collect();
    for peer in &more {
        assert_eq!(world.ask(*peer, "PING\r\n"), "+PONG\r\n");
    }
    world.ask(
        admin,
        "CONFIG SET priority-subnets \"10.0.0.0/8, 2001:db8::/32\"\r\n",
    );
    // Who is there stays, and is what it was when it came.
    for peer in more {
        assert_eq!(world.ask(peer, "PING\r\n"), "+PONG\r\n");
        world.close(peer);
    }
    let normal: Vec<_> = (0..2).map(|_| world.connect("203.0.113.5")).collect();
    let late = world.connect("203.0.113.5");
    assert_eq!(world.take(late), FULL);
    let first = world.connect("10.1.2.3");
    let listed = world.ask(first, "CLIENT LIST\r\n");
    assert_eq!(listed.matches(" flags=H ").count(), 1, "{listed}");
    let second = world.connect("2001:db8::1");
    assert!(
        world
            .ask(second, "INFO clients\r\n")
            .contains("\r\nconnected_priority_clients:2\r\n")
    );
    let third = world.connect("10.1.2.4");
    assert_eq!(world.ask(third, "PING\r\n"), "+PONG\r\n");
    let beyond = world.connect("10.1.2.5");
    assert_eq!(world.take(beyond), FULL);
    world.close(third);
    // More of them than are kept take no place of the others.
    world.close(normal[0]);
    let fourth = world.connect("10.1.2.4");
    assert_eq!(world.ask(fourth, "PING\r\n"), "+PONG\r\n");
    let again = world.connect("203.0.113.7");
    assert_eq!(world.ask(again, "PING\r\n"), "+PONG\r\n");
    let answer = world.ask(admin, "INFO everything\r\n");
    for field in [
        "rejected_connections:2",
        "rejected_priority_connections:1",
        "connected_priority_clients:3",
    ] {
        assert!(
            answer.contains(&format!("\r\n{field}\r\n")),
            "{field}: {answer}"
        );
    }
    world.close(fourth);
    world.ask(admin, "CONFIG SET maxclients-reserved 100\r\n");
    let late = world.connect("203.0.113.5");
    assert_eq!(world.take(late), FULL, "all places are kept");
}

#[test]
fn subnets_that_are_none_are_refused() {
    let mut world = World::new(&[]);
    let peer = world.connect("127.0.0.1");
    for text in ["127.0.0.1/99", "invalid/24"] {
        let answer = world.ask(peer, &format!("CONFIG SET priority-subnets {text}\r\n"));
        assert!(
            answer.ends_with("- Invalid IP address or CIDR subnet\r\n"),
            "{answer}"
        );
    }
}

/// The default limits of output know no bound, and whoever can connect could fill the memory (CVE-2025-21605).
#[test]
fn a_stranger_is_owed_little_and_who_has_been_somebody_is_not_cut_off() {
    let mut world = World::new(&["--requirepass", "right"]);
    let stranger = world.connect("203.0.113.5");
    world.handle.set_capacity(stranger, 1);
    for _ in 0..100 {
        world.send(stranger, &"GET x\r\n".repeat(20));
    }
    assert!(world.handle.is_closed(stranger));
    assert_eq!(world.info("client_output_buffer_limit_disconnections"), 1);
    let known = world.connect("203.0.113.6");
    world.ask(known, "AUTH right\r\n");
    world.handle.set_capacity(known, 1);
    let long = "x".repeat(50_000);
    world.send(known, &format!("ECHO {long}\r\nRESET\r\nPING\r\n"));
    assert!(!world.handle.is_closed(known));
    world.handle.set_capacity(known, 1 << 20);
    let mut taken = String::new();
    for _ in 0..10 {
        taken += &world.take(known);
    }
    assert!(
        taken.ends_with("+RESET\r\n-NOAUTH Authentication required.\r\n"),
        "{}",
        taken.len()
    );
}

#[test]
fn protected_mode_asks_for_the_default_users_password_alone() {
    for (directives, is_kept_out) in [
        (&[][..], true),
        (&["--bind", "127.0.0.1"], true),
        (&["--protected-mode", "no"], false),
        (&["--requirepass", "right"], false),
        (&["--user", "other", "on", ">right", "~*", "+@all"], true),
        (&["--user", "default", "off", "nopass", "~*", "+@all"], true),
        (&["--user", "default", "on", ">right", "~*", "+@all"], false),
    ] {
        let mut world = World::new(directives);
        let peer = world.connect("203.0.113.5");
        let answer = world.take(peer);
        assert_eq!(
            answer.starts_with("-DENIED "),
            is_kept_out,
            "{directives:?}: {answer}"
        );
        for local in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            let peer = world.connect(local);
            assert!(
                !world.ask(peer, "PING\r\n").starts_with("-DENIED"),
                "{local}"
            );
        }
    }
}
